//! `sinopia eval score` and `sinopia eval report`.

use std::path::Path;

use anyhow::Context;
use sinopia_eval::report::{Report, html, json, markdown};
use sinopia_eval::run::captions_sha256;
use sinopia_eval::score::{self, Detector};
use sinopia_eval::{Benchmark, RunFolder, benchmarks};
use sinopia_models::Precision;

use super::args::{ReportArgs, ScoreArgs};
use crate::cli::failure::bad_request;
use crate::cli::output;
use crate::cli::progress::Bars;

pub(super) fn open_detector(folder: &Path) -> anyhow::Result<Detector> {
    Detector::open(folder, Precision::Auto).with_context(|| format!("cannot open the detector `{}`", folder.display()))
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
    let detector = open_detector(&args.detector)?;
    score_and_print(&run, benchmark.as_ref(), &detector, args.json, args.quiet)
}

/// Scores what is not scored yet and prints the run's report.
pub(super) fn score_and_print(
    run: &RunFolder,
    benchmark: &dyn Benchmark,
    detector: &Detector,
    as_json: bool,
    quiet: bool,
) -> anyhow::Result<()> {
    let bars = Bars::new(quiet);
    bars.line(&format!("scoring {} with {}", run.root().display(), detector.id().id));
    score::score(run, benchmark, detector, &mut |done, total| bars.line(&format!("{done}/{total} images seen")))?;
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
