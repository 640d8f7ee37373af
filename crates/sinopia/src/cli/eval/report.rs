//! `sinopia eval score` and `sinopia eval report`.

use std::path::Path;

use anyhow::Context;
use sinopia_eval::report::{Report, html, json, markdown};
use sinopia_eval::run::captions_sha256;
use sinopia_eval::{Benchmark, Detector, Eye, RunFolder, benchmarks, score};
use sinopia_models::Precision;

use super::args::{ReportArgs, ScoreArgs};
use crate::cli::failure::bad_request;
use crate::cli::output;
use crate::cli::progress::Bars;

/// The value of `--detector` for no detector.
const NONE: &str = "none";

/// The detector that was asked for; unasked, the built-in one for pictures of the built-in model. Nothing if there is to be none.
pub(super) fn open_detector(asked: Option<&str>, model: &str) -> anyhow::Result<Option<Detector>> {
    let is_miniature = model == sinopia_miniature::NAME;
    let detector = match asked {
        Some(NONE) => return Ok(None),
        None if !is_miniature => return Ok(None),
        None | Some(sinopia_miniature::NAME) => {
            Detector::from_embedded(sinopia_miniature::NAME, sinopia_miniature::DETECTOR_FILES)
        }
        Some(folder) => Detector::open(Path::new(folder), Precision::Auto),
    };
    let name = asked.unwrap_or(sinopia_miniature::NAME);
    detector.map(Some).with_context(|| format!("cannot open the detector `{name}`"))
}

pub(super) fn score(args: &ScoreArgs) -> anyhow::Result<()> {
    let run = RunFolder::open(&args.run)?;
    let settings = &run.manifest().settings;
    let benchmark = benchmarks::open(&settings.benchmark)?;
    if captions_sha256(benchmark.as_ref()) != settings.captions_sha256 {
        return Err(bad_request(format!(
            "the captions of `{}` are not those that `{}` was painted from",
            settings.benchmark,
            args.run.display()
        )));
    }
    let Some(detector) = open_detector(args.detector.as_deref(), &settings.model.id)? else {
        return Err(bad_request(format!(
            "name a detector with `--detector`: a folder such as a download of google/owlvit-base-patch32 (`{}` was painted by `{}`, and the built-in \
             detector knows the world of `{}` only)",
            args.run.display(),
            settings.model.id,
            sinopia_miniature::NAME
        )));
    };
    score_and_print(&run, benchmark.as_ref(), &detector, args.json, args.quiet)
}

/// Scores what is not scored yet and prints the run's report.
pub(super) fn score_and_print(
    run: &RunFolder,
    benchmark: &dyn Benchmark,
    eye: &dyn Eye,
    as_json: bool,
    quiet: bool,
) -> anyhow::Result<()> {
    let bars = Bars::new(quiet);
    bars.line(&format!("scoring {} with {}", run.root().display(), eye.id().id));
    score::score(run, benchmark, eye, &mut |done, total| bars.line(&format!("{done}/{total} images seen")))?;
    let report = Report::open(&[run.root()])?;
    output::print(&if as_json { format!("{:#}", json(&report)) } else { markdown(&report) })
}

pub(super) fn report(args: &ReportArgs) -> anyhow::Result<()> {
    let report = Report::open(&args.runs)?;
    let files = [("md", markdown(&report)), ("json", format!("{:#}\n", json(&report))), ("html", html(&report)?)];
    for (ending, text) in files {
        let path = args.out.with_extension(ending);
        output::write(&path, text.as_bytes())?;
        output::print(&path.display().to_string())?;
    }
    Ok(())
}
