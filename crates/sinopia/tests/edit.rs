//! `sinopia edit` as a person meets it, on the real miniature with few steps.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "these are tests")]

use std::path::PathBuf;
use std::process::{Command, Output, Stdio};

use image::{ImageFormat, Rgb, RgbImage};
use serde_json::Value;
use tempfile::TempDir;

const LAYOUT: &str = include_str!("../../../examples/blue-dog-white-bowl.json");

/// A scratch folder with a picture of ours, `dog.png`, and the program started inside it.
struct Desk(TempDir);

impl Desk {
    fn new() -> Self {
        let desk = Self(tempfile::tempdir().unwrap());
        std::fs::write(desk.path("layout.json"), LAYOUT).unwrap();
        desk.ok(&[
            "paint",
            "layout.json",
            "--method",
            "gligen",
            "--steps",
            "6",
            "--seed",
            "3",
            "-q",
            "--out",
            "dog.png",
        ]);
        desk
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    fn bytes(&self, name: &str) -> Vec<u8> {
        std::fs::read(self.path(name)).unwrap()
    }

    fn pixels(&self, name: &str) -> RgbImage {
        image::open(self.path(name)).unwrap().to_rgb8()
    }

    fn files(&self) -> Vec<String> {
        let entries = std::fs::read_dir(self.0.path()).unwrap();
        let mut names: Vec<String> = entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
        names.sort();
        names
    }

    fn run(&self, args: &[&str]) -> Output {
        let mut command = Command::new(env!("CARGO_BIN_EXE_sinopia"));
        command.args(args).current_dir(self.0.path()).stdin(Stdio::null());
        for (name, _) in std::env::vars().filter(|(name, _)| name.starts_with("SINOPIA_")) {
            command.env_remove(name);
        }
        command.env("HF_HUB_OFFLINE", "1").env("HF_HOME", self.path("hub"));
        command.output().unwrap()
    }

    fn ok(&self, args: &[&str]) -> Output {
        let output = self.run(args);
        assert!(output.status.success(), "{args:?}\n{}", stderr(&output));
        output
    }

    fn json(&self, args: &[&str]) -> Value {
        serde_json::from_slice(&self.ok(&[args, &["--json", "-q"]].concat()).stdout).unwrap()
    }

    /// Runs what must be refused before any work, with a message that holds every one of `words`.
    fn refuses(&self, args: &[&str], words: &[&str]) {
        let before = self.files();
        let output = self.run(args);
        let message = stderr(&output);
        assert_eq!(output.status.code(), Some(2), "{args:?}\n{message}");
        for word in words {
            assert!(message.contains(word), "{args:?}: `{word}` is missing in\n{message}");
        }
        assert!(!message.contains("panicked") && output.stdout.is_empty(), "{message}");
        assert_eq!(self.files(), before, "{args:?} left files behind");
    }
}

fn stderr(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

/// The share of pixels that differ.
fn changed(before: &RgbImage, after: &RgbImage) -> f64 {
    assert_eq!(before.dimensions(), after.dimensions());
    let changed = before.pixels().zip(after.pixels()).filter(|(before, after)| before != after).count();
    changed as f64 / f64::from(before.width() * before.height())
}

#[test]
fn one_thing_is_changed_and_the_rest_keeps_its_bytes() {
    let desk = Desk::new();
    // Steps and method are those of the recipe.
    let same = ["--steps", "6", "--method", "gligen"];
    let recolour = ["edit", "dog.png", "--recolour", "the bowl", "red", "--out", "red.png"];
    let told = desk.json(&[&recolour[..], &same].concat());
    assert_eq!(told["operations"][0]["phrase"], "a red bowl");
    assert_eq!(told["inverted"], false, "{told:#}");
    assert_eq!(told["operations"][0]["op"], "recolour");
    // The picture was painted again, and then a part of it.
    let work = |told: &Value| told["unet_work"]["multiply_accumulates"].as_u64().unwrap();
    assert!(0 < work(&told["change"]) && 2 * work(&told["change"]) < work(&told), "{told:#}");
    assert!(!told["change"]["timings"].as_array().unwrap().is_empty());
    let (before, after) = (desk.pixels("dog.png"), desk.pixels("red.png"));
    let share = changed(&before, &after);
    assert!(share > 0.0 && share < 0.6 && (share - told["changed_share"].as_f64().unwrap()).abs() < 1e-9, "{share}");
    // The dog stands on the left, the bowl on the right.
    for (x, y) in [(2, 2), (10, 100), (30, 60)] {
        assert_eq!(before.get_pixel(x, y), after.get_pixel(x, y), "{x}, {y}");
    }
    // It is painted again from its own recipe, and a further edit goes on from it.
    desk.ok(&["generate", "--from", "red.png", "-q", "--out", "again.png"]);
    assert!(desk.bytes("red.png") == desk.bytes("again.png"), "the second picture differs");
    let told = desk.json(&["edit", "red.png", "--remove", "red bowl", "--threads", "1", "--out", "gone.png"]);
    assert_eq!(told["inverted"], false, "{told:#}");
    assert_eq!(told["recipe"]["edits"].as_array().unwrap().len(), 2);
    let objects = told["layout"]["objects"].as_array().unwrap();
    assert_eq!((objects.len(), &objects[0]["phrase"]), (1, &Value::from("a blue dog")));
    assert!(changed(&after, &desk.pixels("gone.png")) < 0.6);
}

#[test]
fn another_layout_and_another_seed_make_other_pictures() {
    let desk = Desk::new();
    let mut layout: Value = serde_json::from_str(LAYOUT).unwrap();
    layout["objects"].as_array_mut().unwrap().pop();
    std::fs::write(desk.path("one.json"), layout.to_string()).unwrap();
    let told = desk.json(&["edit", "dog.png", "--layout", "one.json", "--out", "a.png"]);
    assert_eq!(told["operations"][0]["op"], "remove", "{told:#}");
    desk.ok(&["edit", "dog.png", "--layout", "one.json", "-q", "--out", "b.png"]);
    assert!(desk.bytes("a.png") == desk.bytes("b.png"), "the same edit gave another picture");
    desk.ok(&["edit", "dog.png", "--layout", "one.json", "--seed", "9", "-q", "--out", "c.png"]);
    assert!(desk.pixels("a.png") != desk.pixels("c.png"), "another seed gave the same picture");
    let told = desk.json(&["edit", "dog.png", "--layout", "one.json", "--steps", "5", "--out", "d.png"]);
    assert!(told["inverted"] == true && told["notes"].to_string().contains("with what is asked for"), "{told:#}");
    desk.refuses(&["edit", "dog.png", "--layout", "layout.json"], &["nothing to do", "as the layout has it already"]);
}

#[test]
fn any_picture_is_scaled_and_inverted_and_its_edit_can_be_done_again() {
    let desk = Desk::new();
    let photo = image::imageops::resize(&desk.pixels("dog.png"), 200, 150, image::imageops::FilterType::Triangle);
    photo.save_with_format(desk.path("photo.jpg"), ImageFormat::Jpeg).unwrap();
    let quick = ["--steps", "6", "--method", "gligen"];
    let add =
        ["edit", "photo.jpg", "--caption", "a dog and a bowl", "--add", "a red star", "4,4,60,60", "--out", "star.png"];
    let told = desk.json(&[&add[..], &quick].concat());
    assert_eq!(told["inverted"], true, "{told:#}");
    assert!(told["notes"][0].as_str().unwrap().contains("scaled from 200 × 150"), "{told:#}");
    // It keeps its size, and what was not to be changed its bytes.
    let (photo, star) = (image::open(desk.path("photo.jpg")).unwrap().to_rgb8(), desk.pixels("star.png"));
    let share = changed(&photo, &star);
    assert!(share > 0.02 && share < 0.7 && (share - told["changed_share"].as_f64().unwrap()).abs() < 1e-9, "{share}");
    for (x, y) in [(197, 147), (197, 2), (2, 147)] {
        assert_eq!(photo.get_pixel(x, y), star.get_pixel(x, y), "{x}, {y}");
    }
    // Its recipe needs the picture it was made of.
    desk.refuses(&["generate", "--from", "star.png"], &["SHA-256", "sinopia edit SOURCE --from \"star.png\""]);
    desk.ok(&["edit", "photo.jpg", "--from", "star.png", "-q", "--out", "again.png"]);
    assert!(desk.bytes("star.png") == desk.bytes("again.png"), "the second picture differs");
    desk.refuses(&["edit", "dog.png", "--from", "star.png"], &["another picture than the one that was edited"]);
    desk.refuses(&["edit", "photo.jpg", "--from", "dog.png"], &["sinopia generate --from"]);
}

#[test]
fn a_picture_of_any_size_keeps_it() {
    let desk = Desk::new();
    let quick = ["--steps", "4", "--method", "gligen", "--add", "a red star", "20%,20%,40%,40%", "--out", "star.png"];
    for ((width, height), scaled) in [((300, 200), "144 × 96"), ((60, 60), "128 × 128")] {
        let photo =
            image::imageops::resize(&desk.pixels("dog.png"), width, height, image::imageops::FilterType::Triangle);
        photo.save(desk.path("photo.png")).unwrap();
        let told = desk.json(&[&["edit", "photo.png"][..], &quick].concat());
        let note = told["notes"][0].as_str().unwrap();
        assert!(note.contains(&format!("to {scaled}")) && note.contains("keeps its size"), "{note}");
        let star = desk.pixels("star.png");
        let share = changed(&photo, &star);
        assert!(share > 0.02 && share < 0.7, "{width} × {height}: {share}");
        assert_eq!(photo.get_pixel(width - 1, height - 1), star.get_pixel(width - 1, height - 1));
    }
    // More than is worth waiting for is refused by its head.
    RgbImage::new(5001, 5000).save(desk.path("large.png")).unwrap();
    desk.refuses(&["edit", "large.png", "--add", "a star"], &["5001 × 5000 pixels", "scale it down"]);
}

#[test]
fn what_is_gone_is_not_moved() {
    let desk = Desk::new();
    // The layout goes on naming the dog.
    desk.ok(&["edit", "dog.png", "--remove", "thing@50,200,200,300", "-q", "--out", "gone.png"]);
    let place = "50,200,200,300";
    desk.refuses(
        &["edit", "gone.png", "--move", "the dog", "up", "--out", "moved.png"],
        &[&format!("`a blue dog` is not seen at {place}"), "--add", &format!("`a blue dog@{place}`")],
    );
    // Who points at a place means what is there.
    desk.ok(&["edit", "gone.png", "--move", &format!("the dog@{place}"), "up", "-q", "--out", "moved.png"]);
    assert!(desk.pixels("gone.png") != desk.pixels("moved.png"), "nothing was moved");
}

#[test]
fn a_picture_whose_pixels_were_changed_since_is_taken_as_any_other() {
    let desk = Desk::new();
    let mut image = desk.pixels("dog.png");
    image.put_pixel(0, 0, Rgb([255, 0, 255]));
    let recipe = sinopia::studio::recipe_in(&desk.bytes("dog.png")).unwrap();
    let png = sinopia::studio::encode_png(&image, "a dog", &recipe).unwrap();
    std::fs::write(desk.path("touched.png"), png).unwrap();
    let told = desk.json(&["edit", "touched.png", "--remove", "bowl", "--out", "out.png"]);
    assert_eq!(told["inverted"], true, "{told:#}");
    assert!(told["notes"].to_string().contains("its recipe gives another picture"), "{told:#}");
    assert_eq!(desk.pixels("out.png").get_pixel(0, 0), &Rgb([255, 0, 255]));
}

#[test]
fn what_newcomers_type_is_answered() {
    let desk = Desk::new();
    std::fs::write(desk.path("text.png"), "this is a text").unwrap();
    desk.pixels("dog.png").save(desk.path("photo.png")).unwrap(); // without its recipe
    RgbImage::new(1, 1).save(desk.path("dot.png")).unwrap();
    RgbImage::new(400, 40).save(desk.path("long.png")).unwrap();
    for (args, words) in [
        (&["dog.png"][..], &["there is nothing to do yet", "--move"][..]),
        (&["dog.png", "--remove", "the unicorn"], &["there is no `the unicorn`", "`a blue dog`, `a white bowl`"]),
        (&["dog.png", "--remove", "a blue dgo"], &["did you mean `a blue dog`?"]),
        (&["dog.png", "--move", "dog", "backwards"], &["left, right, up, down or a box"]),
        (&["dog.png", "--move", "dog", "9000,9000,10,10"], &["lies outside the picture", "512×512"]),
        (&["dog.png", "--resize", "dog", "enormous"], &["larger, smaller or a box"]),
        (&["dog.png", "--add", "a hat", "over there"], &["a box X,Y,W,H is expected"]),
        (&["--add", "a hat", "dog.png"], &["<IMAGE>", "the picture stands before the flags"]),
        (&["dog.png", "--remove", "dog", "--move", "dog", "left"], &["removed and moved"]),
        (&["dog.png", "--recolour", "dog", "a blue dog"], &["is what it is already"]),
        (&["dog.png", "--recolour", "dog", "a red dog", "--strength", "2"], &["`--strength` is 2"]),
        (&["dog.png", "--recolour", "dog", ""], &["the phrase is empty"]),
        (&["dog.png", "--remove", "dog", "--layout", "layout.json"], &["leave the single changes out"]),
        (&["dog.png", "--remove", "dog", "--count", "3"], &["an edit makes one picture"]),
        (&["dog.png", "--remove", "dog", "--out", "dog.png"], &["would write over", "--in-place"]),
        (&["dog.png", "--remove", "dog", "--out", "dog.jpg"], &["images are written as PNG"]),
        (&["photo.png", "--add", "a red star", "4,4,60,60", "--in-place"], &["it is not written over", "--out"]),
        (&["dog.png", "--remove", "the second dog"], &["there is no `dog #2`"]),
        (&["dog.png", "--remove", "the dog and the bowl"], &["names more than one thing"]),
        (&["dog.png", "--add", "a hat", "0.5,0.5,0.2,1.5"], &["is no box"]),
        (&["dog.png", "--remove", "dog", "--out", "-", "--json"], &["need a file"]),
        (&["text.png", "--remove", "dog"], &["cannot change `text.png`", "no picture"]),
        (&["dot.png", "--remove", "dog"], &["1 × 1 pixels", "shorter side must have 32"]),
        (&["long.png", "--remove", "dog"], &["more than 4 times the other"]),
        (&["layout.json", "--remove", "dog"], &["cannot change `layout.json`", "`sinopia plan --edit \"layout.json\""]),
        (&["nowhere.png", "--remove", "dog"], &["cannot read `nowhere.png`", "no such file"]),
        (&["dgo.png", "--remove", "dog"], &["did you mean `dog.png`?"]),
        (&["dog.png", "--layout", "dog.png"], &["is a PNG picture, not a text"]),
        (&["dog.png", "--from", "layout.json"], &["layout.json"]),
    ] {
        desk.refuses(&[&["edit"], args].concat(), words);
    }
}

#[test]
fn the_picture_itself_is_written_over_only_when_that_is_asked_for() {
    let desk = Desk::new();
    let before = desk.bytes("dog.png");
    let output = desk.ok(&["edit", "dog.png", "--move", "the dog", "up", "--in-place"]);
    assert!(desk.bytes("dog.png") != before, "nothing was written");
    let told = stderr(&output);
    for words in ["- move `a blue dog` from", "painting it again from its recipe", "% of its pixels are new"] {
        assert!(told.contains(words), "`{words}` is missing in\n{told}");
    }
}
