//! The report as data.

use serde_json::{Value, json};

use super::runs::Report;
use crate::benchmark::Protocol;

/// Everything in the tables, and every verdict.
pub fn json(report: &Report) -> Value {
    let protocols = |run| {
        let of = |protocol: Protocol| (protocol.name().to_owned(), json!(report.tallies(run, protocol)));
        Value::Object(Protocol::ALL.map(of).into_iter().collect())
    };
    let equal_work = |run| {
        let of = |protocol: Protocol| (protocol.name().to_owned(), json!(report.attempts_of_equal_work(run, protocol)));
        Value::Object(Protocol::ALL.map(of).into_iter().collect())
    };
    let runs = report.runs.iter().map(|run| {
        json!({
            "label": run.label,
            "manifest": run.run.manifest(),
            "detector": run.scores.as_ref().map(|scores| &scores.detector),
            "rates": protocols(run),
            "cost": run.cost,
            "attempts_of_equal_work": equal_work(run),
            "images": run.scores.as_ref().map(|scores| &scores.images),
        })
    });
    let comparisons = |protocol| {
        let pairs = report.comparisons(protocol).into_iter().map(|pair| {
            json!({
                "first": report.runs[pair.first].label, "second": report.runs[pair.second].label, "captions": pair.shared,
                "only_first": pair.only_first, "only_second": pair.only_second, "p": pair.p,
            })
        });
        Value::Array(pairs.collect())
    };
    json!({
        "benchmark": report.benchmark.name(),
        "note": report.benchmark.note(),
        "published": report.benchmark.published().iter().map(|row| json!({
            "name": row.name, "stage": if row.is_layout { 1 } else { 2 }, "tasks": row.tasks, "overall": row.overall,
        })).collect::<Vec<_>>(),
        "runs": runs.collect::<Vec<_>>(),
        "comparisons": { "published": comparisons(Protocol::Published), "strict": comparisons(Protocol::Strict) },
    })
}
