//! `sinopia plan`: the layout of a caption, a changed layout, or the layouts of a file of captions.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering};

use serde_json::{Value, json};
use sinopia_layout::{Canvas, Layout, LayoutCache, write_answer};
use sinopia_planner::batch::{self, BatchItem, BatchReport};
use sinopia_planner::{Error as PlanError, Plan, PlanContext, PlanNote, PlanTask, Planner, Usage};
use sinopia_studio::verdict::Program;

use super::args::PlanArgs;
use super::failure::{bad_request, with_hint};
use super::kinds::{self, Kind};
use super::planning::Audience;
use super::progress::Bars;
use super::{input, output, planning, settings};

pub(crate) fn run(args: PlanArgs) -> anyhow::Result<()> {
    if args.json && output::is_stdout(&args.out) && args.batch.is_some() {
        return Err(bad_request(
            "`--batch` with `--json` prints a report on stdout: name a file for the layouts with `--out`",
        ));
    }
    let inputs: Vec<&Path> = args.edit.iter().chain(&args.batch).map(PathBuf::as_path).collect();
    output::check_text(&args.out, &inputs)?;
    let bars = Bars::new(args.quiet);
    let choice = settings::merge_planner(args.planner.clone(), args.config.as_deref())?;
    let planner = planning::open(&choice, &bars)?;
    let (done, audience) = match &args.batch {
        Some(captions) => (run_batch(&args, captions, planner.as_ref(), &bars), Audience::Batch),
        None => (run_one(&args, planner.as_ref(), &bars), Audience::Terminal),
    };
    planning::tell_of_local_servers(&choice, audience, &bars);
    done
}

fn run_one(args: &PlanArgs, planner: &dyn Planner, bars: &Bars) -> anyhow::Result<()> {
    let caption = input::caption(args.caption.as_deref().unwrap_or_default())?;
    let tell = planning::progress(bars);
    let context = PlanContext::default().on_event(&tell);
    let occurrence = args.occurrence as usize;
    let mut plans = Vec::new();
    match &args.edit {
        None => plans.push(planner.plan(&PlanTask { occurrence, ..PlanTask::caption(&caption) }, &context)?),
        Some(path) => {
            let (mut layout, told) = input::layout(path)?;
            bars.lines(&told, "");
            for instruction in std::iter::once(&caption).chain(&args.then) {
                bars.line(&format!("change: {instruction}"));
                let task = PlanTask { occurrence, ..PlanTask::edit(&layout, instruction) };
                let plan = planner.plan(&task, &context)?;
                layout = plan.layout.clone();
                plans.push(plan);
            }
        }
    }
    bars.finish();
    for plan in &plans {
        planning::show(planner, plan, bars);
        bars.lines(&input::told(&plan.understood, &plan.changes), "");
    }
    let Some(plan) = plans.last() else { return Ok(()) }; // there is at least one
    bars.show_layout(&plan.layout);
    let reasons = if args.explain { reasons(args, &caption, &plan.layout) } else { Vec::new() };
    bars.lines(&reasons, "why ");
    if !(args.json && output::is_stdout(&args.out)) {
        output::write(&args.out, plan.layout.to_json().as_bytes())?;
    }
    if !output::is_stdout(&args.out) {
        bars.line(&format!("wrote {}", args.out.display()));
    }
    if args.json {
        let mut report = described(&caption, plan);
        report["steps"] = plans.iter().map(|plan| json!(plan.usage)).collect();
        let mut all = Usage::default();
        plans.iter().for_each(|plan| all += plan.usage);
        report["cost"] = json!(planner.info().cost(&all));
        if args.explain {
            report["reasons"] = json!(reasons);
        }
        output::print(&format!("{report:#}"))?;
    }
    Ok(())
}

/// What each box is there for. Of a changed layout the caption is not known.
fn reasons(args: &PlanArgs, caption: &str, layout: &Layout) -> Vec<String> {
    Program::compile(layout, args.edit.is_none().then_some(caption)).reasons()
}

fn run_batch(args: &PlanArgs, captions: &Path, planner: &dyn Planner, bars: &Bars) -> anyhow::Result<()> {
    let hinted = |error| with_hint(error, kinds::hint(captions, Kind::Captions));
    let items = batch::items(&input::read(captions).map_err(hinted)?);
    if items.is_empty() {
        return Err(bad_request(format!("`{}` has no caption; one a line is expected", captions.display())));
    }
    let finished = AtomicUsize::new(0);
    let total = items.len();
    let done = |index: usize, result: &sinopia_planner::Result<Plan>| {
        let number = finished.fetch_add(1, Ordering::Relaxed) + 1;
        let caption = items.get(index).map_or("", |item| item.caption.as_str());
        tell(&format!("[{number}/{total}] {caption}"), result, bars);
    };
    let jobs = args.jobs.unwrap_or(4) as usize;
    let BatchReport { results, usage } = batch::run(planner, &items, jobs, &done);
    let answers = answers(&items, &results);
    output::write(&args.out, format!("{:#}\n", json!(answers)).as_bytes())?;
    if args.json {
        let plans = items.iter().zip(&results).map(|(item, result)| match result {
            Some(Ok(plan)) => described(&item.caption, plan),
            Some(Err(error)) => json!({"caption": item.caption, "error": error.to_string()}),
            None => json!({"caption": item.caption, "error": "not begun"}),
        });
        output::print(&format!(
            "{:#}",
            json!({"usage": usage, "cost": planner.info().cost(&usage), "plans": plans.collect::<Vec<_>>()})
        ))?;
    }
    let good = results.iter().flatten().filter(|result| result.is_ok()).count();
    bars.line(&format!("{good} of {total} captions have a layout; {}", planner.info().format_usage(&usage)));
    without_layout(results)
}

/// What became of a caption of a batch, on one line.
fn tell(caption: &str, result: &sinopia_planner::Result<Plan>, bars: &Bars) {
    let plan = match result {
        Ok(plan) => plan,
        Err(error) => return bars.warn(&format!("{caption}: {error}")),
    };
    let notes = plan.notes();
    let mut said = vec![counted_boxes(plan.layout.objects.len())];
    said.extend(plan.is_cached.then(|| "remembered".to_owned()));
    said.extend(plan.understood.iter().cloned());
    said.extend(notes.iter().map(|PlanNote { is_fault, text }| match is_fault {
        true => format!("not the caption's: {text}"),
        false => format!("remark: {text}"),
    }));
    let line = format!("{caption}: {}", said.join("; "));
    match notes.iter().any(|note| note.is_fault) {
        true => bars.warn(&line),
        false => bars.line(&line),
    }
}

fn counted_boxes(count: usize) -> String {
    if count == 1 { "1 box".to_owned() } else { format!("{count} boxes") }
}

/// The error of a batch that lacks layouts: how many, whether asking again helps, and the first reason.
fn without_layout(results: Vec<Option<sinopia_planner::Result<Plan>>>) -> anyhow::Result<()> {
    let total = results.len();
    let is_lacking = |result: &&Option<_>| !matches!(result, Some(Ok(_)));
    let lacking = results.iter().filter(is_lacking).count();
    let fails_again = |result: &Option<_>| matches!(result, Some(Err(error)) if PlanError::is_of_caption(error));
    let advice = match results.iter().filter(is_lacking).all(fails_again) {
        true => "they are beyond this planner: say them in other words, or leave them out",
        false => "start again to ask for those only",
    };
    match results.into_iter().flatten().find_map(Result::err) {
        Some(error) => {
            let message = format!("{lacking} of {total} captions have no layout; {advice}");
            Err(anyhow::Error::new(error).context(message))
        }
        None => Ok(()),
    }
}

/// The layouts in the form of the published caches. A caption without a layout ends the list of its answers, because answers are
/// counted.
fn answers(items: &[BatchItem], results: &[Option<sinopia_planner::Result<Plan>>]) -> BTreeMap<String, Vec<String>> {
    let mut answers: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for (item, result) in items.iter().zip(results) {
        let Some(Ok(plan)) = result else { continue };
        let known = answers.entry(LayoutCache::key(&item.caption).to_owned()).or_default();
        if known.len() == item.occurrence {
            known.push(answer(&plan.layout));
        }
    }
    answers.retain(|_, known| !known.is_empty());
    answers
}

/// The text form, or layout JSON where the canvas has to be told.
fn answer(layout: &Layout) -> String {
    if layout.canvas == Canvas::PUBLISHED { write_answer(layout) } else { layout.to_json() }
}

fn described(caption: &str, plan: &Plan) -> Value {
    let notes = plan.notes().into_iter().map(|PlanNote { is_fault, text }| json!({"fault": is_fault, "text": text}));
    let changes = plan.changes.to_string();
    json!({
        "caption": caption,
        "layout": plan.layout,
        "answer": plan.answer,
        "findings": notes.collect::<Vec<_>>(),
        "understood": plan.understood,
        "mended": changes.lines().collect::<Vec<_>>(),
        "cached": plan.is_cached,
        "usage": plan.usage,
    })
}
