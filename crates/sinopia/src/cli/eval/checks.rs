//! `--attempts` and `--repair` of `sinopia eval image`: a detector looks at every picture before it is kept, and says what is tried next.

use sinopia_eval::run::{CheckId, PaintError};
use sinopia_eval::{Capability, Detector, Evaluator, Painted, PictureRecord};
use sinopia_studio::checked::{Ended, LocalHand};
use sinopia_studio::{
    AttemptReport, CheckOptions, CheckSettings, Checked, Picture, ResolvedSpec, detector_for, open_detector,
};

use super::args::ImageArgs;
use super::jobs::Workshop;
use super::report::{self, NONE};
use crate::cli::failure::bad_request;

/// Who looks at the pictures of a run: before they are kept and afterwards, afterwards only, or nobody.
#[derive(Debug)]
pub(super) enum Eyes {
    Choosing(Box<Checks>),
    Scoring(Option<Box<dyn Evaluator>>),
}

impl Eyes {
    /// Those that the flags ask for.
    pub(super) fn open(args: &ImageArgs, capability: Capability, model: &str) -> anyhow::Result<Self> {
        Ok(match Checks::open(args, model)? {
            Some(checks) => Self::Choosing(Box::new(checks)),
            None => Self::Scoring(report::open_evaluator(capability, args.detector.as_deref(), model)?),
        })
    }

    /// What is done before a picture is kept.
    pub(super) fn checks(&self) -> Option<&Checks> {
        match self {
            Self::Choosing(checks) => Some(checks),
            Self::Scoring(_) => None,
        }
    }

    /// Who scores the pictures, which whoever chooses them does if a benchmark needs no more than boxes.
    pub(super) fn scorer(&self, capability: Capability) -> Option<&dyn Evaluator> {
        match self {
            Self::Choosing(checks) => {
                Some(&checks.detector as &dyn Evaluator).filter(|_| capability == Capability::Boxes)
            }
            Self::Scoring(evaluator) => evaluator.as_deref(),
        }
    }
}

/// Who looks at pictures before they are kept, and how much is tried.
#[derive(Debug)]
pub(super) struct Checks {
    options: CheckOptions,
    /// Who looks. It scores the kept pictures, too: how far it flatters itself, a judge that chooses nothing can tell.
    detector: Detector,
}

impl Checks {
    /// What the flags ask for, if they ask for anything.
    fn open(args: &ImageArgs, model: &str) -> anyhow::Result<Option<Self>> {
        let settings = args.check.settings();
        if !settings.is_checking() {
            return Ok(None);
        }
        if args.detector.as_deref() == Some(NONE) {
            return Err(bad_request(
                "`--attempts` and `--repair` need somebody who looks: `--detector none` is nobody",
            ));
        }
        if args.layouts.is_none() {
            return Err(bad_request(
                "`--attempts` and `--repair` need to know what stands where: give a cache of layouts with `--layouts`",
            ));
        }
        let detector = open_detector(detector_for(args.detector.as_deref(), model)?)?;
        let settings = CheckSettings { detector: None, ..settings.clone() };
        // Which picture is kept must not depend on how quick a machine is.
        let options = CheckOptions { max_seconds: None, ..CheckOptions::from(&settings) };
        Ok(Some(Self { options, detector }))
    }

    /// As a run folder remembers it.
    pub(super) fn id(&self) -> CheckId {
        let CheckOptions { attempts, repair, .. } = self.options;
        CheckId { attempts, repair, evaluator: self.detector.id().clone() }
    }

    /// The best picture of a spec's layout, and what it cost.
    pub(super) fn paint(&self, resolved: &ResolvedSpec, workshop: &Workshop) -> Result<Painted, PaintError> {
        let hand = LocalHand::new(resolved, workshop.model, workshop.bars, workshop.cancellation);
        let wanted = resolved.layout().ok_or("there is no layout to check the picture by")?;
        let checked = hand.check(&self.detector, wanted, &self.options, &|_, _| ())?;
        if checked.ended == Ended::Cancelled {
            return Err(sinopia_diffusion::Error::Cancelled.into()); // the next invocation tries all of it
        }
        let record = record_of(&checked);
        Ok(Painted { png: checked.picture.png, record })
    }
}

fn record_of(checked: &Checked<Picture>) -> PictureRecord {
    let tries = &checked.tries;
    let count = |holds: &dyn Fn(&&AttemptReport) -> bool| tries.iter().filter(holds).count() as u32;
    PictureRecord {
        seconds: tries.iter().map(|report| report.seconds).sum(),
        work: tries.iter().map(|report| report.work).sum(),
        first_painting: tries.first().map_or(0, |first| first.work),
        attempts: count(&|report| !report.is_repair()),
        edits_tried: count(&|report| report.is_repair()),
        edits_kept: count(&|report| report.is_repair() && report.accepted),
        chosen_as_right: Some(checked.verdict.is_right()),
    }
}
