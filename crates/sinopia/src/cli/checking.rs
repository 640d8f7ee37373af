//! `--attempts` and `--repair`: who looks at the pictures of a job, how much is tried, and what is told of it.

use std::collections::BTreeSet;
use std::path::Path;
use std::sync::Mutex;

use serde_json::{Value, json};
use sinopia_diffusion::{CancellationToken, DenoiserWork, Observer};
use sinopia_eval::Detector;
use sinopia_layout::Layout;
use sinopia_studio::checked::{Ended, LocalHand};
use sinopia_studio::models::{LoadedModel, check_file, names};
use sinopia_studio::{
    AttemptReport, CheckOptions, CheckSettings, Checked, Error, PaintSpec, Picture, ResolvedSpec, detector_for,
    open_detector,
};

use super::failure::bad_request;
use super::progress::Bars;
use super::settings::merge_check;

/// What is asked for, before anything is opened.
#[derive(Debug, Clone)]
pub(crate) struct CheckRequest {
    /// How much is tried.
    pub(crate) options: CheckOptions,
    /// The name of what looks.
    detector: String,
    /// What the pictures have to show, where they are not painted from a layout.
    pub(crate) wanted: Option<Layout>,
}

/// The same, ready to look.
#[derive(Debug)]
pub(crate) struct Checking {
    options: CheckOptions,
    detector: Detector,
    wanted: Option<Layout>,
    /// What was told of already: a picture's unknown things are those of the next, too.
    told: Mutex<BTreeSet<String>>,
}

/// A picture that was looked at.
pub(crate) struct CheckedPicture {
    /// The best one.
    pub(crate) picture: Picture,
    /// `verdict`, `attempts` and why they `ended`, as `--json` has them; null where nobody looked.
    pub(crate) seen: Value,
    /// Of all attempts and repairs.
    pub(crate) work: DenoiserWork,
    /// Whether somebody stopped it before everything was tried.
    pub(crate) is_cancelled: bool,
}

/// What is said about looking at pictures that begin as `init` says, with a line for each thing that was said and does not count.
pub(crate) fn settings(
    typed: &CheckSettings,
    config: Option<&Path>,
    has_init: bool,
) -> anyhow::Result<(CheckSettings, Vec<String>)> {
    let mut merged = merge_check(typed.clone(), config)?;
    let mut told = Vec::new();
    // What was typed is refused; what only stands in a file is meant for other pictures.
    if has_init && merged.repair == Some(true) && typed.repair != Some(true) {
        merged.repair = Some(false);
        told.push("`repair` is left out: it does not go with `--init`".to_owned());
    }
    let is_useless = !merged.is_checking();
    if let CheckSettings { detector: Some(_), .. } = typed
        && is_useless
    {
        told.push("`--detector` looks at nothing without `--attempts` or `--repair`".to_owned());
    }
    Ok((merged, told))
}

impl CheckRequest {
    /// What the settings ask for, if they ask for anything. A model whose pictures nobody knows is refused.
    pub(crate) fn new(settings: &CheckSettings, spec: &PaintSpec) -> anyhow::Result<Option<Self>> {
        if !settings.is_checking() {
            return Ok(None);
        }
        if spec.init.is_some() && settings.repair == Some(true) {
            return Err(Error::RepairedInit.into());
        }
        let model = spec.model_name();
        if model != sinopia_miniature::NAME {
            names::source(names::without_variant(model))?; // a model that is none is told as that
        }
        let detector = detector_for(settings.detector.as_deref(), model)?.to_owned();
        if detector != sinopia_miniature::NAME {
            check_file("detector", &detector)?;
        }
        Ok(Some(Self { options: CheckOptions::from(settings), detector, wanted: None }))
    }

    /// What the settings ask a server for, which has a detector of its own.
    pub(crate) fn of_server(settings: &CheckSettings) -> Option<Self> {
        let (options, detector) = (CheckOptions::from(settings), String::new());
        settings.is_checking().then_some(Self { options, detector, wanted: None })
    }

    /// With what the pictures have to show, where they are not painted from it.
    pub(crate) fn of_wanted(self, wanted: Layout) -> Self {
        Self { wanted: Some(wanted), ..self }
    }

    /// Opens what looks.
    pub(crate) fn open(self) -> anyhow::Result<Checking> {
        let Self { options, detector, wanted } = self;
        Ok(Checking { options, detector: open_detector(&detector)?, wanted, told: Mutex::default() })
    }

    /// `, up to 4 attempts, repaired`: what is added to the line that says what is painted.
    pub(crate) fn words(&self) -> String {
        let (attempts, repair) = (self.options.most_attempts(), self.options.repair);
        let attempts = (attempts > 1).then(|| format!(", up to {attempts} attempts"));
        format!("{}{}", attempts.unwrap_or_default(), if repair { ", repaired if need be" } else { "" })
    }
}

impl Checking {
    /// Paints a picture and its further attempts, and tells of each.
    pub(crate) fn paint(
        &self,
        resolved: &ResolvedSpec,
        model: &LoadedModel,
        observer: &dyn Observer,
        cancellation: &CancellationToken,
        bars: &Bars,
    ) -> anyhow::Result<CheckedPicture> {
        let hand = LocalHand::new(resolved, model, observer, cancellation);
        let wanted = self.wanted.as_ref().or(resolved.layout());
        let wanted = wanted.ok_or_else(|| bad_request(NOTHING_WANTED))?;
        let tell = |report: &AttemptReport, _: &Picture| self.tell(report, bars);
        let checked = hand.check(&self.detector, wanted, &self.options, &tell)?;
        bars.finish();
        checked.shortfall().iter().for_each(|line| bars.warn(line));
        let seen = seen(&checked);
        let is_cancelled = checked.ended == Ended::Cancelled;
        Ok(CheckedPicture { picture: checked.picture, seen, work: hand.denoiser_work(), is_cancelled })
    }

    fn tell(&self, report: &AttemptReport, bars: &Bars) {
        bars.line(&report.line());
        let mut told = self.told.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        for unknown in &report.verdict.unknown {
            if told.insert(unknown.clone()) {
                bars.warn(&format!("the detector cannot tell whether this is right: {unknown}"));
            }
        }
    }
}

const NOTHING_WANTED: &str = "\
`--attempts` and `--repair` need something to look for: a caption that can be laid out, or a layout";

/// What `--json` says of it.
fn seen(checked: &Checked<Picture>) -> Value {
    json!({ "verdict": checked.verdict, "attempts": checked.tries, "ended": checked.ended })
}
