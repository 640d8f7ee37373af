//! Keeps the crates' arrows as ARCHITECTURE.md draws them.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "these are tests")]

use std::collections::{BTreeMap, BTreeSet};
use std::process::Command;

use serde_json::Value;

/// What each crate may use of the workspace, besides tests.
const ARROWS: [(&str, &[&str]); 10] = [
    (
        "sinopia",
        &[
            "sinopia-layout",
            "sinopia-models",
            "sinopia-nn",
            "sinopia-diffusion",
            "sinopia-eval",
            "sinopia-miniature",
            "sinopia-planner",
            "sinopia-server",
        ],
    ),
    ("sinopia-server", &["sinopia-layout"]),
    ("sinopia-eval", &["sinopia-layout", "sinopia-models", "sinopia-diffusion"]),
    ("sinopia-diffusion", &["sinopia-layout", "sinopia-models", "sinopia-nn"]),
    ("sinopia-planner", &["sinopia-layout", "sinopia-llm"]),
    ("sinopia-llm", &["sinopia-layout"]),
    ("sinopia-models", &["sinopia-layout", "sinopia-nn"]),
    ("sinopia-nn", &[]),
    ("sinopia-layout", &[]),
    ("sinopia-miniature", &[]),
];

fn dependencies() -> BTreeMap<String, BTreeSet<String>> {
    let output = Command::new(env!("CARGO"))
        .args(["metadata", "--format-version", "1", "--no-deps", "--offline", "--manifest-path"])
        .arg(concat!(env!("CARGO_MANIFEST_DIR"), "/../../Cargo.toml"))
        .output()
        .unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let metadata: Value = serde_json::from_slice(&output.stdout).unwrap();
    let packages = metadata["packages"].as_array().unwrap();
    let name_of = |v: &Value| v["name"].as_str().unwrap().to_owned();
    let used = |package: &Value| {
        let all = package["dependencies"].as_array().unwrap();
        all.iter().filter(|d| d["kind"].is_null()).map(name_of).collect()
    };
    packages.iter().map(|p| (name_of(p), used(p))).collect()
}

#[test]
fn crates_use_only_what_lies_below_them() {
    let dependencies = dependencies();
    let known: BTreeSet<&str> = ARROWS.iter().map(|(name, _)| *name).collect();
    let found: BTreeSet<&str> = dependencies.keys().map(String::as_str).collect();
    assert_eq!(found, known, "a new crate needs its arrows here and in ARCHITECTURE.md");
    for (name, allowed) in ARROWS {
        for used in &dependencies[name] {
            let inside = used.starts_with("sinopia");
            assert!(!inside || allowed.contains(&used.as_str()), "`{name}` must not use `{used}`");
        }
    }
}

#[test]
fn the_server_knows_nothing_of_pictures() {
    let dependencies = dependencies();
    for library in ["candle-core", "image", "png"] {
        assert!(!dependencies["sinopia-server"].contains(library), "sinopia-server must not use {library}");
    }
}

#[test]
fn layouts_know_nothing_of_tensors() {
    let dependencies = dependencies();
    for library in ["candle-core", "tokio", "reqwest"] {
        assert!(!dependencies["sinopia-layout"].contains(library), "sinopia-layout must not use {library}");
    }
}
