//! Files that earlier versions wrote are read, or refused by what they are. `tests/compatibility/README.md` says where they are from.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "these are tests")]

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

use serde_json::Value;
use sinopia::diffusion::{Recipe, methods};
use sinopia::pictures::{Origin, read};

const FILES: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../../tests/compatibility");

fn file(name: &str) -> PathBuf {
    Path::new(FILES).join(name)
}

fn run(folder: &Path, args: &[&str]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_sinopia"));
    for (name, _) in std::env::vars_os().filter(|(name, _)| name.to_string_lossy().starts_with("SINOPIA_")) {
        command.env_remove(name);
    }
    command.current_dir(folder).args(args).stdin(Stdio::null()).output().unwrap()
}

fn ok(folder: &Path, args: &[&str]) -> String {
    let output = run(folder, args);
    assert!(output.status.success(), "{args:?}\n{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap()
}

/// The recipe in one of the pictures.
fn recipe(name: &str) -> Recipe {
    let bytes = std::fs::read(file("pictures").join(name)).unwrap();
    match read(&bytes).unwrap() {
        Origin::Sinopia { recipe } => Recipe::from_json(&recipe).unwrap(),
        Origin::Foreign(made) => panic!("{name}: {made:?}"),
    }
}

#[test]
fn pictures_of_every_method_say_how_to_paint_them_again() {
    let entries = std::fs::read_dir(file("pictures")).unwrap();
    let names: BTreeSet<String> = entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
    for method in ["sd", "multidiffusion", "backward-guidance", "boxdiff", "lmd", "lmd-plus", "gligen"] {
        let recipe = recipe(&format!("{method}.png"));
        assert_eq!(recipe.method, method);
        assert_eq!((recipe.sampling.seed.0, recipe.sampling.width), (u64::MAX, 32));
    }
    assert!(names.len() >= 9, "{names:?}");
    for name in &names {
        let recipe = recipe(name);
        let method = recipe.build_method().unwrap_or_else(|error| panic!("{name}: {error}"));
        // An option that is new since then has its default; none of those that were written is another now.
        let (then, now) = (recipe.options.as_object().unwrap(), method.options());
        for (option, value) in then {
            assert_eq!(now.get(option), Some(value), "{name}: {option}");
        }
        assert!(methods::find(&recipe.method).is_ok());
        assert_eq!(recipe.model.id, "miniature");
    }
}

#[test]
fn nothing_of_a_recipe_is_lost() {
    let recipe = recipe("everything.png");
    assert_eq!(recipe.caption.as_deref(), Some("A photo of a blue dog and a white bowl"));
    assert_eq!(recipe.layout.as_ref().unwrap().objects[1].phrase, "a white bowl");
    assert_eq!(recipe.negative.as_deref(), Some("blurry, grey"));
    assert_eq!(recipe.sampling.guidance_scale, 4.25);
    assert_eq!(recipe.sampling.scheduler.unwrap().name(), "euler");
    assert_eq!((recipe.sampling.shortcuts.deep_every, recipe.sampling.shortcuts.merge_tokens), (2, 2));
    assert_eq!(recipe.sampling.shortcuts.guidance_interval, (0.1, 0.9));
    assert_eq!(recipe.sampling.text_encoding.encoder.as_str(), "ella+clip");
    assert_eq!(recipe.options["frozen_step_ratio"], 0.4);
    assert_eq!(recipe.sam.unwrap().id, "miniature");
    assert_eq!(recipe.ella.unwrap().t5, "miniature");
    assert_eq!(recipe.precision, "f32");
}

#[test]
fn a_picture_is_inspected_and_painted_again() {
    let folder = tempfile::tempdir().unwrap();
    let picture = file("pictures/sd.png");
    let picture = picture.to_str().unwrap();
    let shown: Value = serde_json::from_str(&ok(folder.path(), &["inspect", picture, "--json"])).unwrap();
    assert_eq!((&shown["method"], &shown["format"]), (&"sd".into(), &1.into()));
    let output = run(folder.path(), &["generate", "--from", picture, "--out", "again.png", "--quiet"]);
    if output.status.success() {
        return;
    }
    // Another miniature paints another picture: that is refused with both hashes.
    let message = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(output.status.code(), Some(2), "{message}");
    assert!(message.contains("7562e2040201b94a2a0b1ac4a29fd40f9a6a6762256ecc446b4b07179a2ebd4c"), "{message}");
}

#[test]
fn remembered_plans_are_listed_and_exported() {
    let folder = tempfile::tempdir().unwrap();
    // A copy: opening one may write beside it.
    std::fs::copy(file("plans.sqlite"), folder.path().join("plans.sqlite")).unwrap();
    let listed = ok(folder.path(), &["cache", "--file", "plans.sqlite", "list"]);
    assert!(listed.contains("a red car left of a green apple in a field (stale)"), "{listed}");
    assert!(listed.contains("1 of them stale") && listed.contains("cache import"), "{listed}");
    let exported = ok(folder.path(), &["cache", "--file", "plans.sqlite", "export", "-"]);
    let exported: Value = serde_json::from_str(&exported).unwrap();
    let answer = exported["a red car left of a green apple in a field"][0].as_str().unwrap();
    assert!(answer.starts_with("[('a red car', [40, 210, 200, 215])"), "{answer}");
    // The way back: judged by today's reading, they are used again.
    let cache = ["--file", "plans.sqlite"];
    ok(folder.path(), &[&["cache"], &cache[..], &["export", "old.json", "--stale"]].concat());
    ok(folder.path(), &[&["cache"], &cache[..], &["import", "old.json", "--llm-model", "gpt-4"]].concat());
    ok(folder.path(), &[&["cache"], &cache[..], &["clear", "--stale"]].concat());
    let listed = ok(folder.path(), &[&["cache"], &cache[..], &["list"]].concat());
    assert!(listed.contains("1 layouts") && !listed.contains("stale"), "{listed}");
}

#[test]
fn every_setting_is_still_known() {
    let folder = tempfile::tempdir().unwrap();
    std::fs::copy(file("sinopia.toml"), folder.path().join("sinopia.toml")).unwrap();
    let layout = concat!(env!("CARGO_MANIFEST_DIR"), "/../../examples/blue-dog-white-bowl.json");
    let args = [
        "generate",
        "a blue dog",
        "--layout",
        layout,
        "--width",
        "32",
        "--height",
        "32",
        "--out",
        "dog.png",
        "--quiet",
    ];
    ok(folder.path(), &args);
    let made: Value = serde_json::from_str(&ok(folder.path(), &["inspect", "dog.png", "--json"])).unwrap();
    assert_eq!((&made["method"], &made["sampling"]["num_inference_steps"]), (&"boxdiff".into(), &2.into()));
    assert_eq!((&made["sampling"]["scheduler"], &made["precision"]), (&"euler".into(), &"f32".into()));
    // A cache of the file's name is made where a caption is planned; the settings of the planner are read before.
    let planned = run(folder.path(), &["plan", "a blue dog", "--plan-timeout", "0.1", "--no-plan-cache", "--quiet"]);
    let message = String::from_utf8_lossy(&planned.stderr).into_owned();
    assert!(!message.contains("sinopia.toml"), "{message}");
}
