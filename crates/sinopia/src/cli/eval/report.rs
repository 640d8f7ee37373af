//! `sinopia eval score` and `sinopia eval report`.

use std::path::Path;

use anyhow::Context;
use sinopia_eval::evaluators::{ClipEvaluator, VqaEvaluator};
use sinopia_eval::report::{Report, html, json, markdown};
use sinopia_eval::run::captions_sha256;
use sinopia_eval::{Benchmark, Capability, Detector, Evaluator, RunFolder, benchmarks, score};
use sinopia_models::Precision;

use super::args::{ReportArgs, ScoreArgs};
use super::vqa::Vqa;
use crate::cli::failure::bad_request;
use crate::cli::output;
use crate::cli::progress::Bars;

/// The value of `--detector` for no detector.
pub(super) const NONE: &str = "none";

/// What looks at a benchmark's images; unasked, the built-in detector for pictures of the built-in model. Nothing if nobody is to look.
pub(super) fn open_evaluator(
    capability: Capability,
    asked: Option<&str>,
    model: &str,
) -> anyhow::Result<Option<Box<dyn Evaluator>>> {
    let is_miniature = model == sinopia_miniature::NAME;
    let evaluator = match (capability, asked) {
        (_, Some(NONE)) | (Capability::Answers | Capability::ClipScore, None) => return Ok(None),
        (Capability::Answers, Some(name)) => return Err(bad_request(no_questions(name))),
        (Capability::Boxes, None) if !is_miniature => return Ok(None),
        (Capability::Boxes, None | Some(sinopia_miniature::NAME)) => built_in(),
        (Capability::Boxes, Some(folder)) => Detector::open(Path::new(folder), Precision::Auto).map(boxed),
        (Capability::ClipScore, Some(folder)) => ClipEvaluator::open(Path::new(folder), Precision::Auto).map(boxed),
    };
    let name = asked.unwrap_or(sinopia_miniature::NAME);
    evaluator.map(Some).with_context(|| format!("cannot open the detector `{name}`"))
}

fn boxed(evaluator: impl Evaluator + 'static) -> Box<dyn Evaluator> {
    Box::new(evaluator)
}

fn built_in() -> sinopia_eval::Result<Box<dyn Evaluator>> {
    Detector::from_embedded(sinopia_miniature::NAME, sinopia_miniature::DETECTOR_FILES).map(boxed)
}

fn no_questions(detector: &str) -> String {
    format!(
        "this benchmark asks questions, which `{detector}` cannot answer: name a vision model to `sinopia eval score` with `--llm-model`"
    )
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
    let bars = Bars::new(args.quiet);
    let evaluator = match benchmark.capability() {
        Capability::Answers if args.detector.is_none() => boxed(VqaEvaluator(Vqa::new(&args.vqa, &bars)?)),
        capability => {
            let evaluator = open_evaluator(capability, args.detector.as_deref(), &settings.model.id)?;
            evaluator.ok_or_else(|| bad_request(no_evaluator(capability, &args.run, &settings.model.id)))?
        }
    };
    score_and_print(&run, benchmark.as_ref(), evaluator.as_ref(), args.json, args.quiet)
}

fn no_evaluator(capability: Capability, run: &Path, model: &str) -> String {
    match capability {
        Capability::ClipScore => {
            "name a folder of CLIP weights with `--detector`, such as a download of openai/clip-vit-base-patch32"
                .to_owned()
        }
        _ => format!(
            "name a detector with `--detector`: a folder such as a download of google/owlvit-base-patch32 (`{}` was painted by `{model}`, and the \
             built-in detector knows the world of `{}` only)",
            run.display(),
            sinopia_miniature::NAME
        ),
    }
}

/// Scores what is not scored yet and prints the run's report.
pub(super) fn score_and_print(
    run: &RunFolder,
    benchmark: &dyn Benchmark,
    evaluator: &dyn Evaluator,
    as_json: bool,
    quiet: bool,
) -> anyhow::Result<()> {
    let bars = Bars::new(quiet);
    bars.line(&format!("scoring {} with {}", run.root().display(), evaluator.id().id));
    score::score(run, benchmark, evaluator, &mut |done, total| bars.line(&format!("{done}/{total} images seen")))?;
    let report = Report::open(&[run.root()])?;
    output::print(&if as_json { format!("{:#}", json(&report)) } else { markdown(&report) })
}

pub(super) fn report(args: &ReportArgs) -> anyhow::Result<()> {
    output::check_writable(&args.out.with_extension("md"))?;
    let report = Report::open(&args.runs)?;
    let files = [("md", markdown(&report)), ("json", format!("{:#}\n", json(&report))), ("html", html(&report)?)];
    for (ending, text) in files {
        let path = args.out.with_extension(ending);
        output::write(&path, text.as_bytes())?;
        output::print(&path.display().to_string())?;
    }
    Ok(())
}
