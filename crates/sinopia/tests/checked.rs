//! `--attempts` and `--repair` as somebody at a terminal meets them.

#![allow(clippy::unwrap_used, reason = "these are tests")]

use std::collections::BTreeSet;
use std::path::Path;
use std::process::{Command, Output, Stdio};

use serde_json::Value;
use sinopia::diffusion::noise::Seed;
use sinopia::diffusion::{CancellationToken, Edit, Operation, Recipe, Run, Silent};
use sinopia::layout::{BBox, Layout};
use sinopia::models::hub::NoProgress;
use sinopia::studio::models::LoadedModel;
use sinopia::studio::{Compute, PaintSettings, PaintSpec, Picture, Studio, recipe_in};

const LAYOUT: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../../examples/blue-dog-white-bowl.json");

fn run(folder: &Path, args: &[&str]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_sinopia"));
    for (name, _) in std::env::vars_os().filter(|(name, _)| name.to_string_lossy().starts_with("SINOPIA_")) {
        command.env_remove(name);
    }
    command.current_dir(folder).args(args).stdin(Stdio::null()).output().unwrap()
}

/// What is printed and what is told.
fn ok(folder: &Path, args: &[&str]) -> (String, String) {
    let output = run(folder, args);
    let told = String::from_utf8(output.stderr).unwrap();
    assert!(output.status.success(), "{args:?}\n{told}");
    (String::from_utf8(output.stdout).unwrap(), told)
}

fn refused(folder: &Path, args: &[&str]) -> String {
    let output = run(folder, args);
    let told = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(2), "{args:?}\n{told}");
    assert!(output.stdout.is_empty() && std::fs::read_dir(folder).unwrap().count() == 0, "{args:?}");
    told
}

#[test]
fn what_nobody_can_look_at_is_refused_before_anything_is_done() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    let said = |args: &[&str]| refused(folder, &[&["generate", "a red apple"], args].concat());
    let no_detector = said(&["--attempts", "4", "--model", "owner/name"]);
    for part in ["no detector knows pictures of the model `owner/name`", "--detector", "owlv2-base-patch16-ensemble"] {
        assert!(no_detector.contains(part), "{no_detector}");
    }
    assert!(said(&["--repair", "--model", "owner/name"]).contains("no detector"));
    let no_model = said(&["--repair", "--model", "./no/such/folder"]);
    assert!(no_model.contains("`./no/such/folder` does not exist") && !no_model.contains("detector"), "{no_model}");
    assert!(said(&["--attempts", "0"]).contains("a whole number from 1 to 16 is expected"));
    assert!(said(&["--attempts", "17"]).contains("a whole number from 1 to 16 is expected"));
    assert!(said(&["--repair=perhaps"]).contains("--repair"));
    assert!(said(&["--repair", "--detector", "nowhere"]).contains("`--detector nowhere`: there is no such folder"));
    assert!(said(&["--attempts", "2", "--debug-maps", "maps"]).contains("--debug-maps"));
    let last = u64::MAX.to_string();
    assert!(said(&["--attempts", "2", "--seed", &last]).contains("beyond the largest seed"));
}

#[test]
fn every_attempt_is_told_and_counted_images_share_no_seed() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    let args = ["paint", LAYOUT, "--method", "sd", "--steps", "2", "--width", "64", "--height", "64"];
    let (printed, told) = ok(
        folder,
        &[&args[..], &["--attempts", "2", "--count", "2", "--seed", "5", "--json", "--out", "dog.png"]].concat(),
    );
    let images: Value = serde_json::from_str(&printed).unwrap();
    let images = images["images"].as_array().unwrap();
    assert_eq!(images.len(), 2);
    let mut seeds = BTreeSet::new();
    for image in images {
        assert_eq!(image["verdict"]["objects"].as_array().unwrap().len(), 2, "{image}");
        let attempts = image["attempts"].as_array().unwrap();
        assert!(attempts.iter().all(|tried| seeds.insert(tried["seed"].as_u64().unwrap())), "{attempts:?}");
        for tried in attempts {
            assert!(told.contains(&format!(
                "attempt {}, seed {}: ",
                tried["attempt"].as_u64().unwrap() + 1,
                tried["seed"]
            )));
        }
        let kept = attempts.iter().rfind(|tried| tried["accepted"] == true).unwrap();
        assert_eq!(kept["seed"], image["seed"]);
        assert_eq!(image["recipe"]["checked"]["tries"].as_array().unwrap().len(), attempts.len());
        assert_eq!(image["recipe"]["format"], 2);
    }
    // Noise of two steps shows nothing: all attempts are made, and it is said that the picture is not right.
    assert_eq!(seeds.into_iter().collect::<Vec<_>>(), [5, 6, 7, 8]);
    assert!(told.contains("the best picture is kept, and it is not right: 0 of 2 right"), "{told}");
    assert!(told.contains("seeds 5 to 8, 2 an image, up to 2 attempts"), "{told}");
}

#[test]
fn a_repaired_picture_is_made_again_without_looking() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    let size = ["--width", "64", "--height", "64", "--steps", "4"];
    let (_, told) =
        ok(folder, &[&["paint", LAYOUT, "--method", "gligen"], &size[..], &["--repair", "--out", "dog.png"]].concat());
    assert!(told.contains("attempt 1, seed 0: ") && told.contains(", repaired if need be"), "{told}");
    let (_, again) = ok(folder, &["generate", "--from", "dog.png", "--out", "again.png"]);
    assert!(!again.contains("attempt"), "{again}");
    let edits = Recipe::from_json(&recipe_in(&std::fs::read(folder.join("dog.png")).unwrap()).unwrap()).unwrap().edits;
    assert_eq!(again.contains("what was done to the image is done again"), !edits.is_empty(), "{again}");
    let bytes = |name: &str| std::fs::read(folder.join(name)).unwrap();
    assert!(bytes("dog.png") == bytes("again.png"));
    // Another seed is another picture, of which nobody knows whether it is right.
    ok(folder, &["generate", "--from", "dog.png", "--seed", "9", "--out", "other.png"]);
    let recipe = Recipe::from_json(&recipe_in(&bytes("other.png")).unwrap()).unwrap();
    assert!(recipe.checked.is_none() && recipe.edits.is_empty() && recipe.format == 1);
    let (shown, _) = ok(folder, &["inspect", "dog.png"]);
    assert!(shown.contains("checked") && shown.contains("miniature"), "{shown}");
}

#[test]
fn a_caption_that_is_painted_without_a_layout_is_looked_at_by_one() {
    let folder = tempfile::tempdir().unwrap();
    let args =
        ["generate", "a red apple to the left of a blue bowl", "--method", "sd", "--steps", "2", "--width", "64"];
    let args = [&args[..], &["--height", "64", "--attempts", "2", "--json", "--out", "a.png"]].concat();
    let (printed, _) = ok(folder.path(), &args);
    let image: Value = serde_json::from_str(&printed).unwrap();
    let image = &image["images"][0];
    assert!(image["recipe"]["layout"].is_null());
    assert_eq!(image["verdict"]["objects"].as_array().unwrap().len(), 2);
}

#[test]
fn a_plan_says_what_its_boxes_are_there_for() {
    let folder = tempfile::tempdir().unwrap();
    let args = ["plan", "two red apples to the left of a cat", "--explain", "--json", "--out", "a.json"];
    let (printed, told) = ok(folder.path(), &args);
    assert!(told.contains("why a red apple: 1 of 2 apples, red; to the left of the cat"), "{told}");
    let report: Value = serde_json::from_str(&printed).unwrap();
    assert_eq!(report["reasons"].as_array().unwrap().len(), 3);
}

#[test]
fn a_sentence_as_a_change_takes_a_language_model_and_a_layout() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    let said = |picture: &str| {
        let output = run(folder, &["edit", picture, "--instruction", "move the dog left", "--out", "new.png"]);
        assert_eq!(output.status.code(), Some(2));
        assert!(!folder.join("new.png").exists());
        String::from_utf8(output.stderr).unwrap()
    };
    std::fs::write(folder.join("dog.png"), painted(Vec::new(), None).png).unwrap();
    let told = said("dog.png");
    assert!(told.contains("language model"), "{told}");
    image::RgbImage::new(64, 64).save(folder.join("plain.png")).unwrap();
    let told = said("plain.png");
    assert!(told.contains("this one's file has none"), "{told}");
    assert!(told.contains("--move"), "{told}");
}

/// A small picture of a dog and a bowl, with edits.
fn painted(edits: Vec<Edit>, repeated: Option<Recipe>) -> Picture {
    let layout = Layout::from_json(&std::fs::read_to_string(LAYOUT).unwrap()).unwrap();
    let settings = PaintSettings {
        method: Some("gligen".to_owned()),
        steps: Some(4),
        width: Some(64),
        height: Some(64),
        seed: Some(3),
        ..PaintSettings::default()
    };
    let spec = match repeated {
        Some(recipe) => PaintSpec::repeat(recipe, Path::new("a.png"), PaintSpec::default()).unwrap(),
        None => PaintSpec { edits, ..PaintSpec::of_layout(layout).with(settings) },
    };
    Studio::new().unwrap().paint_with(&spec, &Silent, &CancellationToken::default()).unwrap()
}

#[test]
fn a_segmentation_model_that_a_recipe_does_not_name_says_nothing_of_its_edits() {
    let layout = Layout::from_json(&std::fs::read_to_string(LAYOUT).unwrap()).unwrap();
    let settings = PaintSettings { method: Some("gligen".to_owned()), steps: Some(4), ..PaintSettings::default() };
    let remove = Operation::Remove { phrase: "a white bowl".to_owned(), bbox: BBox::new(0.4, 0.4, 0.9, 0.9).unwrap() };
    let edit = Edit::new(vec![remove], layout.clone(), Seed(3));
    let resolved = PaintSpec::of_layout(layout).with(settings).resolve().unwrap();
    let opened = resolved.open(&NoProgress).unwrap();
    let edited = |sam: Option<&str>| {
        let model = LoadedModel::load(&opened, sam, None, Compute::default()).unwrap();
        let picture = resolved.paint_seed(Seed(3), &model, &Run::silent().keeping_trajectory()).unwrap();
        resolved.edited(&picture, &edit, &model, &Run::silent()).unwrap().picture
    };
    let (with, without) = (edited(Some("miniature")), edited(None));
    assert!(with.recipe.sam.is_none() && with.png == without.png);
}

#[test]
fn edits_of_a_recipe_are_done_again_byte_for_byte_and_leave_the_rest_alone() {
    let plain = painted(Vec::new(), None);
    let bbox = BBox::new(0.0, 0.0, 0.3, 0.3).unwrap();
    let remove = Operation::Remove { phrase: "a white bowl".to_owned(), bbox };
    let edit = Edit::new(vec![remove], plain.recipe.layout.clone().unwrap(), Seed(3));
    let edited = painted(vec![edit.clone()], None);
    assert_eq!((edited.recipe.edits.as_slice(), edited.recipe.format), (&[edit][..], 2));
    let (before, after) = (plain.painting.image.pixels(), edited.painting.image.pixels());
    assert!(before != after);
    // The lower right quarter is far from what was changed.
    for row in 40..64 {
        let quarter = 3 * (row * 64 + 40)..3 * (row * 64 + 64);
        assert!(before[quarter.clone()] == after[quarter], "row {row}");
    }
    let recipe = Recipe::from_json(&recipe_in(&edited.png).unwrap()).unwrap();
    let again = painted(Vec::new(), Some(recipe));
    assert!(again.png == edited.png);
}
