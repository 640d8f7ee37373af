//! Forty captions of the benchmark, ten of each task, painted by the miniature in a few steps: no method may get worse by more than chance allows.
//!
//! Pictures and verdicts are the same on every processor but for the last bits, so the figures below repeat; the margin is the 95 % interval (Wilson's) of what was
//! measured. Who makes a method better writes the new figure here.

#![allow(clippy::unwrap_used, clippy::print_stderr, reason = "these are tests, and their figures are read")]

use std::path::Path;
use std::process::{Command, Stdio};

use serde_json::Value;
use sinopia_eval::stats::wilson_interval;

const LAYOUTS: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../sinopia-eval/tests/data/gpt-4.json");
const CAPTIONS: usize = 40;

/// Images of forty that are right by the (published, strict) protocol.
fn check(method: &str, steps: &str, more: &[&str], measured: (usize, usize)) {
    let folder = tempfile::tempdir().unwrap();
    let args = [
        "eval",
        "image",
        "--method",
        method,
        "--layouts",
        LAYOUTS,
        "--limit",
        "10",
        "--steps",
        steps,
        "--out",
        "run",
        "--quiet",
    ];
    let mut command = Command::new(env!("CARGO_BIN_EXE_sinopia"));
    command.args(args).args(more).current_dir(folder.path()).env("HF_HUB_OFFLINE", "1").stdin(Stdio::null());
    for (name, _) in std::env::vars().filter(|(name, _)| name.starts_with("SINOPIA_")) {
        command.env_remove(name);
    }
    let output = command.output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    for (protocol, measured) in [("published", measured.0), ("strict", measured.1)] {
        let (passed, by_task) = passed(&folder.path().join("run/scores.json"), protocol);
        let floor = wilson_interval(measured, CAPTIONS).0 * CAPTIONS as f64;
        eprintln!(
            "{method}, {protocol}: {passed} of {CAPTIONS} right {by_task:?}, measured {measured}, at least {floor:.1} expected"
        );
        assert!(
            passed as f64 >= floor,
            "{method} got worse by the {protocol} protocol: {passed} of {CAPTIONS}, {measured} before"
        );
    }
}

/// Images that are right, all and by task (negation, numeracy, attribution, spatial).
fn passed(scores: &Path, protocol: &str) -> (usize, [usize; 4]) {
    let scores: Value = serde_json::from_slice(&std::fs::read(scores).unwrap()).unwrap();
    let images = scores["images"].as_array().unwrap();
    assert_eq!(images.len(), CAPTIONS);
    let mut by_task = [0; 4];
    for image in images {
        let right = image[protocol]["verdict"]["score"].as_f64().unwrap() >= 1.0;
        by_task[image["index"].as_u64().unwrap() as usize / 100] += usize::from(right);
    }
    (by_task.iter().sum(), by_task)
}

#[test]
fn stable_diffusion_is_as_good_as_it_was() {
    check("sd", "10", &["--ignore-negative-prompt"], (7, 7));
}

#[test]
fn lmd_is_as_good_as_it_was() {
    check("lmd", "10", &[], (37, 35));
}

#[test]
fn lmd_plus_is_as_good_as_it_was() {
    check("lmd-plus", "10", &[], (36, 35));
}

#[test]
fn gligen_is_as_good_as_it_was() {
    check("gligen", "10", &[], (31, 28));
}

#[test]
fn boxdiff_is_as_good_as_it_was() {
    check("boxdiff", "10", &[], (27, 26));
}

#[test]
fn backward_guidance_is_as_good_as_it_was() {
    check("backward-guidance", "10", &[], (27, 26));
}

#[test]
fn multidiffusion_is_as_good_as_it_was() {
    check("multidiffusion", "10", &[], (13, 13));
}
