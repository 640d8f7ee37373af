//! The shipped caches of GPT answers score what their authors published, with exactly the failures that are known.

#![allow(clippy::unwrap_used, reason = "these are tests")]

use sinopia_eval::tally::{Tally, tally};
use sinopia_eval::{Benchmark, Protocol, Verdict, benchmarks, layouts};
use sinopia_layout::LayoutCache;

const GPT_3_5: &str = include_str!("data/gpt-3.5.json");
const GPT_4: &str = include_str!("data/gpt-4.json");

fn judge(cache: &str, protocol: Protocol) -> (Box<dyn Benchmark>, Vec<(usize, Verdict)>) {
    let benchmark = benchmarks::open("lmd").unwrap();
    let samples: Vec<_> = benchmark.samples().iter().collect();
    let found = layouts::find_all(&LayoutCache::from_json(cache).unwrap(), &samples).unwrap();
    let verdicts = found
        .into_iter()
        .map(|(sample, layout)| (sample.index, layouts::judge(benchmark.as_ref(), sample, layout, protocol)));
    let verdicts = verdicts.collect();
    (benchmark, verdicts)
}

fn failures(benchmark: &dyn Benchmark, verdicts: &[(usize, Verdict)]) -> Vec<String> {
    let failed = verdicts.iter().filter(|(_, verdict)| !verdict.passed());
    failed.map(|(index, verdict)| format!("{}: {}", benchmark.samples()[*index].caption, verdict.reason)).collect()
}

#[test]
fn gpt_3_5_scores_396_and_fails_where_it_is_known_to() {
    let (benchmark, verdicts) = judge(GPT_3_5, Protocol::Published);
    assert_eq!(
        failures(benchmark.as_ref(), &verdicts),
        [
            "A realistic photo of a scene with one cat: 0 × cat, 1 expected",
            "A realistic photo of a scene with two chairs: 1 × chair, 2 expected",
            "A realistic photo of a scene with two chairs: 1 × chair, 2 expected",
            "A realistic photo of a scene with a dog on the top and a bowl on the bottom: a dog is missing",
        ]
    );
    let rates: Vec<(String, usize, usize)> =
        tally(benchmark.as_ref(), &verdicts).into_iter().map(|t: Tally| (t.task, t.passed, t.total)).collect();
    let expected = [
        ("negation", 100, 100),
        ("numeracy", 97, 100),
        ("attribution", 100, 100),
        ("spatial", 99, 100),
        ("overall", 396, 400),
    ];
    assert_eq!(rates, expected.map(|(task, passed, total)| (task.to_owned(), passed, total)));
}

#[test]
fn gpt_4_scores_all_400() {
    let (benchmark, verdicts) = judge(GPT_4, Protocol::Published);
    assert_eq!(failures(benchmark.as_ref(), &verdicts), [""; 0]);
    assert_eq!(verdicts.len(), 400);
}

#[test]
fn the_strict_protocol_finds_no_more_failures_in_gpt_4() {
    let (benchmark, verdicts) = judge(GPT_4, Protocol::Strict);
    assert_eq!(failures(benchmark.as_ref(), &verdicts), [""; 0]);
    let (benchmark, verdicts) = judge(GPT_3_5, Protocol::Strict);
    assert_eq!(failures(benchmark.as_ref(), &verdicts).len(), 4);
}

#[test]
fn a_cache_that_lacks_captions_says_how_many() {
    let benchmark = benchmarks::open("lmd").unwrap();
    let samples: Vec<_> = benchmark.samples().iter().collect();
    let cache =
        LayoutCache::from_json(r#"{"A realistic photo of a scene without backpacks": ["[]\nBackground prompt: x"]}"#);
    let error = layouts::find_all(&cache.unwrap(), &samples).unwrap_err();
    insta::assert_snapshot!(error, @"the cache lacks layouts for 399 of 400 captions; the first is number 1: the cache has 1 answer for the caption `A realistic photo of a scene without backpacks`; number 2 was asked for");
}
