//! `sinopia eval layout`: stage 1, beside the published figures.

use serde_json::json;
use sinopia_eval::published::Published;
use sinopia_eval::report::rates_table;
use sinopia_eval::tally::tally;
use sinopia_eval::{Benchmark, Protocol, Verdict, benchmarks, layouts, run};

use super::args::LayoutArgs;
use super::read_cache;
use crate::cli::output;

pub(super) fn run(args: &LayoutArgs) -> anyhow::Result<()> {
    let benchmark = benchmarks::open(&args.benchmark.benchmark)?;
    let benchmark = benchmark.as_ref();
    let limit = args.benchmark.limit.map(|limit| limit as usize);
    let samples = run::select(benchmark, args.benchmark.task.as_deref(), limit)?;
    let (cache, _) = read_cache(&args.layouts)?;
    let protocol = if args.strict { Protocol::Strict } else { Protocol::Published };
    let judge = |(sample, layout): (&sinopia_eval::Sample, _)| {
        (sample.index, layouts::judge(benchmark, sample, layout, protocol))
    };
    let verdicts: Vec<(usize, Verdict)> = layouts::find_all(&cache, &samples)?.into_iter().map(judge).collect();
    let name = args.layouts.file_name().unwrap_or_default().to_string_lossy().into_owned();
    if args.json {
        return output::print(&format!("{:#}", as_json(benchmark, protocol, &verdicts)));
    }
    let others: Vec<&Published> = benchmark.published().iter().filter(|row| row.is_layout && !args.strict).collect();
    let table = rates_table(benchmark, &[(name, tally(benchmark, &verdicts))], &others);
    output::print(&format!("Layouts right by the {protocol} protocol, % (95 % interval)\n\n{}", table.trim_end()))?;
    for (index, verdict) in verdicts.iter().filter(|(_, verdict)| !verdict.passed()) {
        output::print(&format!(
            "\nwrong: {} ({index})\n       {}",
            benchmark.samples()[*index].caption,
            verdict.reason
        ))?;
    }
    Ok(())
}

fn as_json(benchmark: &dyn Benchmark, protocol: Protocol, verdicts: &[(usize, Verdict)]) -> serde_json::Value {
    let failures = verdicts.iter().filter(|(_, verdict)| !verdict.passed()).map(|(index, verdict)| {
        json!({ "index": index, "caption": benchmark.samples()[*index].caption, "score": verdict.score, "reason": verdict.reason })
    });
    json!({
        "benchmark": benchmark.name(),
        "protocol": protocol.name(),
        "rates": tally(benchmark, verdicts),
        "failures": failures.collect::<Vec<_>>(),
    })
}
