//! Tables in Markdown.

use std::fmt::Write;

use sinopia_layout::counted;

use super::runs::{Report, RunReport};
use crate::benchmark::{Benchmark, Protocol, tasks};
use crate::published::Published;
use crate::tally::Tally;

/// The whole report.
pub fn markdown(report: &Report) -> String {
    let benchmark = report.benchmark.as_ref();
    let mut text = format!("# {}\n\n{}\n", benchmark.name(), benchmark.note());
    for protocol in Protocol::ALL {
        let rows: Vec<(String, Vec<Tally>)> = report
            .runs
            .iter()
            .filter(|run| run.scores.is_some())
            .map(|run| (run.label.clone(), report.tallies(run, protocol)))
            .collect();
        let others = if protocol == Protocol::Published { benchmark.published() } else { &[] };
        let images: Vec<&Published> = others.iter().filter(|row| !row.is_layout).collect();
        let _ = write!(text, "\n## Right by the {protocol} protocol, %\n\n{}", rates_table(benchmark, &rows, &images));
        if report.runs.len() > 1 {
            let _ = write!(text, "\n{}", comparison_table(report, protocol));
        }
    }
    if report.runs.iter().any(|run| run.cost.is_some()) {
        let _ = write!(text, "\n## What a picture costs\n\n{}", cost_table(report));
    }
    text.push_str("\n## Runs\n\n");
    for run in &report.runs {
        let _ = writeln!(text, "- {}", describe(run));
    }
    text
}

/// A row a run, a column a task, with 95 % intervals; others' figures below.
pub fn rates_table(benchmark: &dyn Benchmark, rows: &[(String, Vec<Tally>)], others: &[&Published]) -> String {
    let tasks = tasks(benchmark);
    let mut text =
        format!("| | {} | overall | images |\n|---|{}---|---|\n", tasks.join(" | "), "---|".repeat(tasks.len()));
    for (label, tallies) in rows {
        let cell = |task: &str| match tallies.iter().find(|tally| tally.task == task) {
            Some(tally) if tally.total > 0 => rate(tally),
            _ => "–".to_owned(),
        };
        let cells: Vec<String> = tasks.iter().copied().chain([Tally::OVERALL]).map(cell).collect();
        let total = tallies.iter().find(|tally| tally.task == Tally::OVERALL).map_or(0, |tally| tally.total);
        let _ = writeln!(text, "| **{label}** | {} | {total} |", cells.join(" | "));
    }
    for row in others {
        let cells = row.tasks.map(|percent| format!("{percent:.0}"));
        let _ = writeln!(text, "| {} (published) | {} | {:.1} | 400 |", row.name, cells.join(" | "), row.overall);
    }
    text
}

/// `62.0 (52–71)`.
fn rate(tally: &Tally) -> String {
    let (low, high) = tally.interval;
    format!("{:.1} ({:.0}–{:.0})", 100.0 * tally.rate, 100.0 * low, 100.0 * high)
}

/// A row a pair of runs: who is right where the other is not, and whether that may be chance.
pub fn comparison_table(report: &Report, protocol: Protocol) -> String {
    let mut text = "| first | second | captions | only first right | only second right | McNemar's p |\n|---|---|---|---|---|---|\n".to_owned();
    for pair in report.comparisons(protocol) {
        let (first, second) = (&report.runs[pair.first].label, &report.runs[pair.second].label);
        let (b, c) = (pair.only_first, pair.only_second);
        let _ = writeln!(text, "| {first} | {second} | {} | {b} | {c} | {:.3} |", pair.shared, pair.p);
    }
    text
}

/// A row a run: how many of its pictures are right, their work in paintings and their seconds in the mean; behind a run that repairs, what attempts get for the same work.
fn cost_table(report: &Report) -> String {
    let mut text = "| | right (strict), % | work, paintings | seconds | attempts | edits tried, kept | chosen as right, % |\n|---|---|---|---|---|---|---|\n".to_owned();
    for run in &report.runs {
        let Some(cost) = &run.cost else { continue };
        let tallies = report.tallies(run, Protocol::Strict);
        let right = tallies.iter().find(|tally| tally.task == Tally::OVERALL).map_or("–".to_owned(), rate);
        let edits = format!("{:.2}, {:.2}", cost.edits_tried, cost.edits_kept);
        let chosen = cost.chosen_as_right.map_or("–".to_owned(), |share| format!("{:.1}", 100.0 * share));
        let _ = writeln!(
            text,
            "| **{}** | {right} | {:.2} | {:.1} | {:.2} | {edits} | {chosen} |",
            run.label, cost.paintings, cost.seconds, cost.attempts
        );
        if let Some(equal) = report.attempts_of_equal_work(run, Protocol::Strict) {
            let (between, rate) = (equal.between.join(" and "), 100.0 * equal.rate);
            let _ = writeln!(
                text,
                "| attempts of equal work, by {between} | {rate:.1} | {:.2} | – | – | – | – |",
                equal.paintings
            );
        }
    }
    text
}

/// A run in a sentence.
pub(super) fn describe(run: &RunReport) -> String {
    let manifest = run.run.manifest();
    let settings = &manifest.settings;
    let sampling = &settings.sampling;
    let layouts =
        settings.layouts.as_ref().map_or("no layouts".to_owned(), |layouts| format!("layouts of `{}`", layouts.file));
    let seen =
        run.scores.as_ref().map_or("not scored".to_owned(), |scores| format!("seen by `{}`", scores.detector.id));
    let checked = settings.check.as_ref().map_or(String::new(), |check| {
        let repaired = if check.repair { ", repaired" } else { "" };
        format!(", best of {}{repaired} by `{}`", counted(check.attempts as usize, "attempt"), check.evaluator.id)
    });
    format!(
        "**{}**: `{}` on `{}` ({}), {layouts}, {} × {} px, {}, guidance {}, {} a caption{checked}, {} captions planned, Sinopia {}; {seen}.",
        run.label,
        settings.method,
        settings.model.id,
        settings.model.hash.get(..12).unwrap_or(&settings.model.hash),
        sampling.width,
        sampling.height,
        counted(sampling.num_inference_steps, "step"),
        sampling.guidance_scale,
        counted(settings.repeats, "image"),
        manifest.planned.len(),
        manifest.sinopia
    )
}
