//! The solver's layouts are right by the benchmark's own predicates.

#![allow(clippy::unwrap_used, reason = "these are tests")]

use sinopia_english::read;
use sinopia_eval::{Protocol, benchmarks, layouts};
use sinopia_layout::Layout;
use sinopia_solver::{SolveOptions, solve};

/// The layout of a caption; the seed is how often the benchmark had it before, so that no two are alike.
fn lay_out(caption: &str, occurrence: usize) -> Layout {
    let options = SolveOptions { seed: occurrence as u64, ..SolveOptions::default() };
    solve(caption, &read(caption), &options).unwrap().layout
}

#[test]
fn every_caption_of_lmd_gets_a_layout_that_both_protocols_accept() {
    let benchmark = benchmarks::open("lmd").unwrap();
    let mut failures = Vec::new();
    for sample in benchmark.samples() {
        let layout = lay_out(&sample.caption, sample.occurrence);
        for protocol in Protocol::ALL {
            let verdict = layouts::judge(benchmark.as_ref(), sample, layout.clone(), protocol);
            if !verdict.passed() {
                failures.push(format!("{} ({}): {}", sample.caption, protocol.name(), verdict.reason));
            }
        }
    }
    assert_eq!(benchmark.samples().len(), 400);
    assert_eq!(failures, [""; 0]);
}

#[test]
fn what_a_caption_of_lmd_excludes_is_in_the_negative_caption() {
    let benchmark = benchmarks::open("lmd").unwrap();
    let negations: Vec<_> = benchmark.samples().iter().filter(|sample| sample.task == "negation").collect();
    assert_eq!(negations.len(), 100);
    for sample in negations {
        let layout = lay_out(&sample.caption, sample.occurrence);
        let (_, excluded) = sample.caption.rsplit_once(' ').unwrap();
        assert!(layout.negative.contains(excluded), "{}: negative `{}`", sample.caption, layout.negative);
    }
}
