//! The labels of 120 published captions: drawn from four files of T2I-CompBench, GenEval's and DPG-Bench's, half of them for tuning.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::Value;

const TUNING: &str = include_str!("data/labels-tuning.json");
const BLIND: &str = include_str!("data/labels-blind.json");

#[test]
fn each_half_has_as_many_captions_of_each_source() {
    for labels in [TUNING, BLIND] {
        let rows: Vec<Value> = serde_json::from_str(labels).unwrap();
        let mut sources: BTreeMap<&str, usize> = BTreeMap::new();
        for row in &rows {
            let source = row["source"].as_str().unwrap();
            *sources.entry(if source.starts_with("dpg-bench/") { "dpg-bench" } else { source }).or_default() += 1;
        }
        let expected = [
            ("dpg-bench", 6),
            ("geneval/generation_prompts.txt", 6),
            ("t2i-compbench/color_val.txt", 12),
            ("t2i-compbench/complex_val.txt", 12),
            ("t2i-compbench/numeracy_val.txt", 12),
            ("t2i-compbench/spatial_val.txt", 12),
        ];
        assert_eq!(sources.into_iter().collect::<Vec<_>>(), expected);
    }
}

#[test]
fn no_caption_is_in_both_halves_and_none_is_printed() {
    let rows = |labels: &str| -> Vec<Value> { serde_json::from_str(labels).unwrap() };
    let all = [rows(TUNING), rows(BLIND)].concat();
    let hashes: BTreeSet<&str> = all.iter().map(|row| row["sha256"].as_str().unwrap()).collect();
    assert_eq!(hashes.len(), 120);
    assert!(all.iter().all(|row| row.get("caption").is_none()));
}
