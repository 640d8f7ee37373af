//! The program as a person meets it: what is typed, what comes back, what lies on disk afterwards.
//!
//! Everything runs the real binary on the real miniature, with few steps.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "these are tests")]

use std::collections::HashMap;
use std::io::{BufRead, BufReader, Write};
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

use serde_json::{Value, json};
use tempfile::TempDir;

/// A layout that is there.
const LAYOUT: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../../examples/blue-dog-white-bowl.json");
/// A tiny checkpoint with grounding adapters and random weights.
const GATED: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../../parity/fixtures/models/gligen");
/// A tiny SAM with random weights.
const TINY_SAM: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../../parity/fixtures/models/sam");
/// A tiny checkpoint without.
const PLAIN: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../../parity/fixtures/models/small");
const EXAMPLES: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../../examples");

/// A scratch folder and the program, started inside it.
struct Desk(TempDir);

impl Desk {
    fn new() -> Self {
        Self(tempfile::tempdir().unwrap())
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    fn put(&self, name: &str, content: &str) {
        std::fs::write(self.path(name), content).unwrap();
    }

    fn files(&self) -> Vec<String> {
        let entries = std::fs::read_dir(self.0.path()).unwrap();
        let mut names: Vec<String> = entries.map(|e| e.unwrap().file_name().into_string().unwrap()).collect();
        names.sort();
        names
    }

    fn command(&self) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_sinopia"));
        command.current_dir(self.0.path()).env("HF_HUB_OFFLINE", "1").env("HF_HOME", self.path("hub"));
        for name in ["SINOPIA_MODEL", "SINOPIA_SAM", "SINOPIA_METHOD", "SINOPIA_STEPS", "SINOPIA_CONFIG"] {
            command.env_remove(name);
        }
        command
    }

    fn run(&self, args: &[&str]) -> Output {
        self.command().args(args).stdin(Stdio::null()).output().unwrap()
    }

    fn run_with_stdin(&self, args: &[&str], input: &str) -> Output {
        let mut command = self.command();
        let mut child =
            command.args(args).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        child.stdin.take().unwrap().write_all(input.as_bytes()).unwrap();
        child.wait_with_output().unwrap()
    }

    fn ok(&self, args: &[&str]) -> Output {
        let output = self.run(args);
        assert!(output.status.success(), "{args:?}\n{}", stderr(&output));
        output
    }

    /// Runs what must fail with `code`, and checks that the message holds every one of `words` and that no file appeared.
    fn refuses(&self, args: &[&str], code: i32, words: &[&str]) {
        let before = self.files();
        let output = self.run(args);
        check_refusal(&output, args, code, words);
        assert_eq!(self.files(), before, "{args:?} left files behind");
    }
}

fn check_refusal(output: &Output, args: &[&str], code: i32, words: &[&str]) {
    let message = stderr(output);
    assert_eq!(output.status.code(), Some(code), "{args:?}\n{message}");
    for word in words {
        assert!(message.contains(word), "{args:?}: `{word}` is missing in\n{message}");
    }
    assert!(!message.contains("panicked"), "{message}");
    assert!(output.stdout.is_empty(), "{args:?}: {}", String::from_utf8_lossy(&output.stdout));
}

fn stderr(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

fn example(name: &str) -> String {
    format!("{EXAMPLES}/{name}")
}

fn size_of(path: &Path) -> (u32, u32) {
    image::open(path).unwrap().to_rgb8().dimensions()
}

#[test]
fn lmd_paints_a_layout_and_draws_it() {
    let desk = Desk::new();
    let layout = example("blue-dog-white-bowl.json");
    let output = desk.ok(&["generate", "a dog", "--layout", &layout, "--steps", "2", "--out", "dog.png", "--grid"]);
    assert_eq!(desk.files(), ["dog.grid.png", "dog.layout.svg", "dog.png"]);
    assert_eq!(size_of(&desk.path("dog.png")), (128, 128));
    let shown = stderr(&output);
    assert!(shown.contains("a blue dog") && shown.contains("a white bowl"), "the layout is not shown:\n{shown}");
    assert!(output.stdout.is_empty());
    let svg = std::fs::read_to_string(desk.path("dog.layout.svg")).unwrap();
    assert!(svg.contains("a white bowl"), "{svg}");
}

#[test]
fn an_image_is_made_again_byte_for_byte() {
    let desk = Desk::new();
    let layout = example("cat-left-of-car.json");
    desk.ok(&["paint", &layout, "--steps", "3", "--seed", "5", "--set", "frozen_step_ratio=0.4", "--out", "one.png"]);
    desk.ok(&["generate", "--from", "one.png", "--threads", "1", "--out", "two.png"]);
    let (one, two) = (std::fs::read(desk.path("one.png")).unwrap(), std::fs::read(desk.path("two.png")).unwrap());
    assert!(one == two, "the second image differs");
    desk.ok(&["generate", "--from", "one.png", "--seed", "6", "--out", "three.png"]);
    assert!(one != std::fs::read(desk.path("three.png")).unwrap(), "another seed gave the same image");
}

/// Every pixel of a picture, row by row.
fn pixels_of(path: &Path) -> Vec<[u8; 3]> {
    image::open(path).unwrap().to_rgb8().pixels().map(|pixel| pixel.0).collect()
}

/// A mask of 128 × 128, white in the columns from 32 to 63.
fn striped_mask(desk: &Desk) {
    let mask = image::GrayImage::from_fn(128, 128, |x, _| image::Luma([if (32..64).contains(&x) { 255 } else { 0 }]));
    mask.save(desk.path("mask.png")).unwrap();
}

#[test]
fn an_image_is_gone_on_from_and_what_the_mask_shows_black_stays() {
    let desk = Desk::new();
    striped_mask(&desk);
    desk.ok(&["generate", "a cat", "--method", "sd", "--steps", "1", "--seed", "1", "--out", "base.png"]);
    let init = ["--init", "base.png", "--mask", "mask.png"];
    desk.ok(&[&["generate", "a red ball", "--steps", "2", "--strength", "1", "--out", "new.png"][..], &init].concat());
    let (base, new) = (pixels_of(&desk.path("base.png")), pixels_of(&desk.path("new.png")));
    let changed = |inside: bool| {
        let columns = (0..base.len()).filter(|at| (32..64).contains(&(at % 128)) == inside);
        columns.filter(|at| base[*at] != new[*at]).count()
    };
    assert_eq!(changed(false), 0, "pixels outside the mask were changed");
    assert!(changed(true) > 1000, "only {} pixels are new", changed(true));

    // The recipe knows the files by their content, whatever they are called.
    desk.refuses(&["generate", "--from", "new.png", "--out", "b.png"], 2, &["`base.png`", "--init", "SHA-256"]);
    let half = ["generate", "--from", "new.png", "--init", "base.png", "--out", "b.png"];
    desk.refuses(&half, 2, &["`mask.png`", "--mask", "SHA-256"]);
    let other = ["generate", "--from", "new.png", "--init", "new.png", "--mask", "mask.png", "--out", "b.png"];
    desk.refuses(&other, 2, &["`base.png`", "`new.png`", "SHA-256"]);
    std::fs::rename(desk.path("base.png"), desk.path("renamed.png")).unwrap();
    desk.ok(&["generate", "--from", "new.png", "--init", "renamed.png", "--mask", "mask.png", "--out", "again.png"]);
    assert_eq!(pixels_of(&desk.path("again.png")), new);
    let shown = desk.ok(&["inspect", "new.png", "--json"]);
    let shown = String::from_utf8_lossy(&shown.stdout).into_owned();
    assert!(shown.contains("base.png") && shown.contains("strength"), "{shown}");
}

#[test]
fn an_image_of_any_size_is_scaled_to_a_picture_of_its_shape() {
    let desk = Desk::new();
    let photo = image::RgbImage::from_fn(300, 150, |x, y| image::Rgb([(x / 2) as u8, y as u8, 99]));
    photo.save(desk.path("photo.jpg")).unwrap();
    let told =
        desk.ok(&["generate", "a cat", "--init", "photo.jpg", "--steps", "4", "--strength", "0.5", "--out", "a.png"]);
    let told = stderr(&told);
    assert!(told.contains("`photo.jpg` is scaled from 300 × 150 pixels to 184 × 88 pixels"), "{told}");
    assert!(told.contains("painting with sd"), "{told}");
    assert_eq!(size_of(&desk.path("a.png")), (184, 88));
    let layout = example("blue-dog-white-bowl.json");
    let told = desk.ok(&["paint", &layout, "--init", "photo.jpg", "--size", "64", "--steps", "2", "--out", "b.png"]);
    assert!(stderr(&told).contains("painting with gligen"), "{}", stderr(&told));
    assert_eq!(size_of(&desk.path("b.png")), (64, 64));
}

#[test]
fn what_cannot_be_gone_on_from_is_refused_before_any_work() {
    let desk = Desk::new();
    striped_mask(&desk);
    desk.put("notes.txt", "no picture");
    image::RgbImage::new(64, 128).save(desk.path("half.png")).unwrap();
    image::GrayImage::new(64, 128).save(desk.path("black.png")).unwrap();
    let begin = |flags: &[&'static str]| [&["generate", "a cat", "--out", "a.png"][..], flags].concat();
    for (flags, words) in [
        (begin(&["--init", "missing.png"]), vec!["missing.png"]),
        (begin(&["--init", "notes.txt"]), vec!["notes.txt", "no picture"]),
        (begin(&["--init", "half.png", "--mask", "mask.png"]), vec!["the mask", "128 × 128", "64 × 128"]),
        (begin(&["--init", "half.png", "--mask", "black.png"]), vec!["mask", "black everywhere", "white"]),
        (begin(&["--init", "half.png", "--strength", "0"]), vec!["--strength", "above 0"]),
        (begin(&["--init", "half.png", "--strength", "1.5"]), vec!["--strength", "at most 1"]),
        (begin(&["--init", "half.png", "--method", "lmd"]), vec!["`lmd`", "--method sd"]),
        (begin(&["--mask", "mask.png"]), vec!["--mask", "--init"]),
        (begin(&["--strength", "0.5"]), vec!["--strength", "--init"]),
        (begin(&["--init", "half.png", "--server", "http://127.0.0.1:9"]), vec!["--init", "--server"]),
        (begin(&["--init", "half.png", "--steps", "3", "--strength", "0.2"]), vec!["strength", "less than one"]),
    ] {
        desk.refuses(&flags, 2, &words);
    }
    // What is begun with is not painted over.
    let over = ["generate", "a cat", "--init", "half.png", "--out", "half.png"];
    desk.refuses(&over, 2, &["half.png"]);
}

#[test]
fn a_new_method_on_an_old_image_brings_its_own_scheduler_and_needs_its_own_input() {
    let desk = Desk::new();
    desk.ok(&["generate", "a cat", "--method", "sd", "--scheduler", "euler", "--steps", "1", "--out", "sd.png"]);
    desk.refuses(&["generate", "--from", "sd.png", "--method", "lmd"], 2, &["--layout"]);
    let layout = example("cat-left-of-car.json");
    desk.ok(&["generate", "--from", "sd.png", "--method", "lmd", "--layout", &layout, "--out", "lmd.png"]);
    let output = desk.ok(&["inspect", "lmd.png", "--json"]);
    let recipe: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!((&recipe["sampling"]["scheduler"], &recipe["caption"]), (&json!("ddim"), &json!("a cat")));
}

#[cfg(unix)]
#[test]
fn what_is_typed_wins_over_a_graph_and_an_image() {
    let desk = Desk::new();
    desk.ok(&["export", "a car", "--comfyui", "--method", "sd", "--steps", "1", "--out", "graph.json"]);
    let mut graph: Value = serde_json::from_slice(&std::fs::read(desk.path("graph.json")).unwrap()).unwrap();
    let latent = graph.as_object_mut().unwrap().values_mut().find(|node| node["class_type"] == "EmptyLatentImage");
    latent.unwrap()["inputs"]["width"] = json!(4);
    desk.put("graph.json", &graph.to_string());
    desk.refuses(&["run", "graph.json"], 2, &["`width` of"]);
    desk.ok(&["run", "graph.json", "--size", "64x48", "--out", "a.png"]);
    assert_eq!(size_of(&desk.path("a.png")), (64, 48));
    desk.ok(&["generate", "--from", "a.png", "--size", "48x32", "--out", "b.png"]);
    assert_eq!(size_of(&desk.path("b.png")), (48, 32));
    // A variant belongs to the model that is named, or else to the graph's or the image's.
    for variant in [&["--variant", "fp16"][..], &["--variant", "fp16", "--model", "Miniature"]] {
        let words = ["`miniature` has one edition of its weights, no variant `fp16`"];
        desk.refuses(&[&["generate", "--from", "a.png"], variant].concat(), 2, &words);
        desk.refuses(&[&["run", "graph.json", "--size", "64x48"], variant].concat(), 2, &words);
    }
    desk.refuses(&["generate", "a car", "--variant", "fp16"], 2, &["name the model with `--model`"]);
}

#[test]
fn steps_that_a_scheduler_cannot_take_are_refused_before_any_work() {
    let desk = Desk::new();
    let config = desk.path("model/scheduler/scheduler_config.json");
    miniature_folder(&desk.path("model"), |_, bytes| bytes.to_vec());
    let mut short: Value = serde_json::from_slice(&std::fs::read(&config).unwrap()).unwrap();
    short["num_train_timesteps"] = json!(20);
    std::fs::write(config, short.to_string()).unwrap();
    // The language model is asked after that, if at all.
    let model = ["--model", "model", "--llm-base-url", "http://127.0.0.1:1/v1", "--llm-model", "x"];
    for (method, scheduler) in [("lmd", "ddim"), ("sd", "pndm"), ("sd", "euler-karras")] {
        let how = ["generate", "a car", "--method", method, "--scheduler", scheduler, "--steps", "900"];
        let refused = desk.run(&[&how[..], &model].concat());
        check_refusal(&refused, &how, 2, &["20"]);
        assert!(!stderr(&refused).contains("painting with"), "{}", stderr(&refused));
    }
    let levels = ["generate", "a car", "--method", "sd", "--scheduler", "pndm-karras"];
    desk.refuses(&levels, 2, &["`--scheduler pndm-karras`: pndm has noise levels of its own"]);
}

#[test]
fn links_pipes_and_inputs_are_not_replaced() {
    let desk = Desk::new();
    desk.put("layout.json", &layout_of(&[[10.0, 10.0, 200.0, 200.0]]));
    desk.refuses(&["paint", "layout.json", "--steps", "1", "--out", "layout.json"], 2, &["layout.json"]);
    desk.put("real.png", "old");
    std::os::unix::fs::symlink("real.png", desk.path("link.png")).unwrap();
    let request = ["generate", "a cat", "--method", "sd", "--steps", "1", "--out"];
    desk.ok(&[&request[..], &["link.png"]].concat());
    assert!(desk.path("link.png").is_symlink());
    assert_eq!(size_of(&desk.path("real.png")), (128, 128));
    desk.ok(&[&request[..], &["/dev/null"]].concat());
    assert!(!Path::new("/dev/null").is_file());
}

#[test]
fn inspect_tells_how_an_image_was_made() {
    let desk = Desk::new();
    desk.ok(&["generate", "a red ball", "--method", "sd", "--steps", "2", "--seed", "9", "--out", "ball.png"]);
    let text = desk.ok(&["inspect", "ball.png"]);
    let text = String::from_utf8(text.stdout).unwrap();
    for word in ["a red ball", "sd", "9", "miniature"] {
        assert!(text.contains(word), "`{word}` is missing in\n{text}");
    }
    let output = desk.ok(&["inspect", "ball.png", "--json"]);
    let recipe: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!((&recipe["caption"], &recipe["sampling"]["seed"]), (&json!("a red ball"), &json!(9)));
}

#[test]
fn check_tells_whether_an_image_shows_what_was_asked_for() {
    let desk = Desk::new();
    desk.ok(&["paint", LAYOUT, "--method", "gligen", "--steps", "20", "--seed", "1", "--out", "dog.png"]);
    let text = String::from_utf8(desk.ok(&["check", "dog.png"]).stdout).unwrap();
    assert!(text.starts_with("dog.png: ") && text.contains("of 2 right"), "{text}");
    let verdicts = |args: &[&str]| -> Value {
        serde_json::from_slice(&desk.ok(&[&["check", "--json"], args].concat()).stdout).unwrap()
    };
    let both = verdicts(&["dog.png", "dog.png"]);
    let first = &both["images"][0];
    assert_eq!((&first["file"], &first["verdict"]), (&json!("dog.png"), &both["images"][1]["verdict"]));
    assert_eq!(first["verdict"]["evaluator"]["id"], "miniature");
    assert_eq!(first["verdict"]["objects"][0]["phrase"], "a blue dog");
    // Held against another layout, of things that the detector has no word for.
    desk.put("other.json", r#"{"canvas": {"width": 512, "height": 512}, "objects": [{"phrase": "a gray elephant", "bbox": [0, 0, 200, 200]}], "background": "", "negative": ""}"#);
    let other = verdicts(&["dog.png", "--layout", "other.json", "--caption", "an elephant, no dogs"]);
    let verdict = &other["images"][0]["verdict"];
    assert_eq!((&verdict["objects"][0]["state"], &verdict["right"]), (&json!("unsure"), &json!(false)));
    assert!(verdict["unknown"].as_array().unwrap().contains(&json!("an elephant")), "{verdict}");
}

#[test]
fn a_caption_alone_says_what_to_look_for() {
    let desk = Desk::new();
    let verdict = |args: &[&str]| -> Value {
        let told = desk.ok(&[&["check", "--json"], args].concat());
        serde_json::from_slice::<Value>(&told.stdout).unwrap()["images"][0]["verdict"].take()
    };
    let phrases = |verdict: &Value| -> Vec<String> {
        let objects = verdict["objects"].as_array().unwrap().iter();
        objects.map(|object| object["phrase"].as_str().unwrap().to_owned()).collect()
    };
    // A picture that was painted without a layout has its caption.
    desk.ok(&["generate", "a red ball", "--method", "sd", "--steps", "2", "--out", "ball.png"]);
    assert_eq!(phrases(&verdict(&["ball.png"])), ["a red ball"]);
    // A caption that is given wins over what the picture was painted for, and its boxes go with it.
    desk.ok(&["paint", LAYOUT, "--method", "gligen", "--steps", "2", "--out", "dog.png"]);
    let other = verdict(&["dog.png", "--caption", "two red apples and a cat"]);
    assert_eq!(phrases(&other), ["a red apple", "a red apple", "a cat"]);
    let misplaced = other["objects"].as_array().unwrap().iter().filter(|object| object["state"] == "misplaced");
    assert_eq!(misplaced.count(), 0, "words say no places: {other}");
}

#[test]
fn check_refuses_what_nobody_can_look_at() {
    let desk = Desk::new();
    desk.ok(&["paint", LAYOUT, "--model", PLAIN, "--method", "multidiffusion", "--steps", "1", "--out", "small.png"]);
    desk.refuses(&["check", "small.png"], 2, &["no detector knows", "--detector"]);
    desk.refuses(&["check", "small.png", "--detector", "nowhere"], 2, &["nowhere"]);
    image::RgbImage::new(16, 16).save(desk.path("plain.png")).unwrap();
    desk.refuses(&["check", "plain.png", "--layout", LAYOUT], 2, &["`plain.png`", "--detector"]);
    desk.ok(&["check", "plain.png", "--layout", LAYOUT, "--detector", "miniature"]);
    desk.refuses(&["check", "plain.png", "--detector", "miniature"], 2, &["`plain.png`", "--caption", "--layout"]);
    desk.refuses(&["check", "plain.png", "--caption", "красная кошка", "--detector", "miniature"], 2, &["caption"]);
    desk.refuses(&["check", "nothing.png"], 2, &["nothing.png"]);
    desk.refuses(&["check"], 2, &["IMAGE"]);
}

#[test]
fn reference_fills_in_the_published_options_and_set_still_wins() {
    let desk = Desk::new();
    let layout = example("cat-left-of-car.json");
    let options = |args: &[&str]| {
        let output = desk.ok(&[args, &["--steps", "1", "--json", "--out", "x.png"]].concat());
        let report: Value = serde_json::from_slice(&output.stdout).unwrap();
        report["images"][0]["recipe"]["options"].clone()
    };
    for method in ["multidiffusion", "boxdiff"] {
        let request = ["paint", layout.as_str(), "--method", method, "--reference"];
        let published = sinopia::diffusion::methods::reference_options(method).unwrap();
        assert_eq!(options(&request), published, "{method}");
        let mended = options(&[&request[..], &["--set", "stretch_schedule=true"]].concat());
        let mut expected = published.clone();
        expected["stretch_schedule"] = json!(true);
        assert_eq!(mended, expected, "{method}");
        // An image made with mends, made again without.
        desk.ok(&["paint", &layout, "--method", method, "--steps", "1", "--out", "old.png"]);
        assert_eq!(options(&["generate", "--from", "old.png", "--reference"]), published, "{method}");
    }
}

#[test]
fn attention_maps_are_written_for_guided_phrases() {
    let desk = Desk::new();
    let layout = example("blue-dog-white-bowl.json");
    let request = ["paint", layout.as_str(), "--method", "boxdiff", "--steps", "2", "--seed", "4", "--out", "dog.png"];
    desk.ok(&[&request[..], &["--debug-maps", "maps"]].concat());
    let maps = |name: &str| desk.path("maps").join(name);
    let (width, height) = size_of(&maps("seed-4.01-a-blue-dog.png"));
    assert!(width > 100 && height > 5 * 64, "{width} × {height}");
    assert!(maps("seed-4.02-a-white-bowl.png").is_file());
    let output =
        desk.ok(&["generate", "a cat", "--method", "sd", "--steps", "1", "--debug-maps", "none", "--out", "c.png"]);
    assert!(stderr(&output).contains("guided no attention") && !desk.path("none").exists());
    desk.refuses(
        &["generate", "a cat", "--method", "sd", "--steps", "1", "--debug-maps", "c.png"],
        2,
        &["c.png", "folder"],
    );
}

#[test]
fn json_on_stdout_names_what_was_made() {
    let desk = Desk::new();
    let output =
        desk.ok(&["generate", "a cup", "--method", "sd", "--steps", "1", "--count", "2", "--json", "--out", "c.png"]);
    let report: Value = serde_json::from_slice(&output.stdout).unwrap();
    let images = report["images"].as_array().unwrap();
    assert_eq!(images.len(), 2);
    assert_eq!((&images[0]["file"], &images[1]["file"]), (&json!("c-001.png"), &json!("c-002.png")));
    assert_eq!((&images[0]["seed"], &images[1]["seed"]), (&json!(0), &json!(1)));
    let work = &images[1]["unet_work"];
    assert_eq!((&work["sampling"]["calls"], &work["guidance_forward"]["calls"]), (&json!(1), &json!(0)));
    assert!(
        work["multiply_accumulates"].as_u64().unwrap() > 1_000_000 && work["sampling"]["parts"]["mid"].is_u64(),
        "{work}"
    );
    assert_eq!(desk.files(), ["c-001.png", "c-002.png"]);
}

#[test]
fn captions_layouts_and_images_go_through_pipes() {
    let desk = Desk::new();
    let piped =
        desk.run_with_stdin(&["generate", "-", "--method", "sd", "--steps", "1", "--out", "-"], "a green car\n");
    assert!(piped.status.success(), "{}", stderr(&piped));
    assert!(piped.stdout.starts_with(b"\x89PNG"), "stdout holds no PNG");
    let layout = std::fs::read_to_string(example("three-apples.txt")).unwrap();
    let piped = desk.run_with_stdin(&["paint", "-", "--steps", "1", "--out", "-"], &layout);
    assert!(piped.status.success(), "{}", stderr(&piped));
    assert!(piped.stdout.starts_with(b"\x89PNG"), "stdout holds no PNG");
    assert!(desk.files().is_empty(), "{:?}", desk.files());
}

#[test]
fn a_cache_of_answers_gives_the_layout_of_its_caption() {
    let desk = Desk::new();
    let answer = "[('a blue dog', [50, 200, 200, 300])]\nBackground prompt: A beach\nNegative prompt: cats";
    desk.put("cache.json", &json!({ "A dog on a beach": [answer] }).to_string());
    let output =
        desk.ok(&["generate", "A dog on a beach.", "--replay", "cache.json", "--steps", "1", "--out", "d.png"]);
    assert!(stderr(&output).contains("a blue dog"), "{}", stderr(&output));
    desk.refuses(
        &["generate", "A dog on a beech", "--replay", "cache.json"],
        2,
        &["A dog on a beech", "A dog on a beach"],
    );
    desk.put("broken.json", "{\"A dog\": [");
    desk.refuses(&["generate", "A dog", "--replay", "broken.json"], 2, &["broken.json"]);
}

#[test]
fn settings_come_from_the_file_the_environment_and_flags() {
    let desk = Desk::new();
    desk.put("sinopia.toml", "steps = 3\nmethod = \"sd\"\n");
    let steps = |args: &[&str], env: &[(&str, &str)]| {
        let mut command = desk.command();
        let mut args = args.to_vec();
        args.extend(["--json", "--out", "x.png"]);
        let output = command.args(args).envs(env.iter().copied()).stdin(Stdio::null()).output().unwrap();
        assert!(output.status.success(), "{}", stderr(&output));
        let report: Value = serde_json::from_slice(&output.stdout).unwrap();
        report["images"][0]["recipe"]["sampling"]["num_inference_steps"].clone()
    };
    assert_eq!(steps(&["generate", "a cat"], &[]), json!(3));
    assert_eq!(steps(&["generate", "a cat"], &[("SINOPIA_STEPS", "2")]), json!(2));
    assert_eq!(steps(&["generate", "a cat", "--steps", "1"], &[("SINOPIA_STEPS", "2")]), json!(1));
    desk.put("sinopia.toml", "stepz = 3\n");
    desk.refuses(&["generate", "a cat"], 2, &["sinopia.toml", "stepz"]);
}

#[test]
fn without_a_layout_the_built_in_planner_makes_one() {
    let desk = Desk::new();
    let painted = desk.ok(&["generate", "two cats", "--steps", "2", "--json", "--out", "cats.png"]);
    let summary: Value = serde_json::from_slice(&painted.stdout).unwrap();
    let objects = summary["images"][0]["recipe"]["layout"]["objects"].as_array().unwrap();
    assert_eq!(objects.iter().filter(|object| object["phrase"] == "a cat").count(), 2, "{objects:?}");
}

#[test]
fn bad_requests_are_answered() {
    let desk = Desk::new();
    desk.put("not.png", "hello");
    desk.put("empty.json", "");
    desk.put("words.txt", "I cannot help with that.");
    let cases: &[(&[&str], &[&str])] = &[
        (&["generate", "a cat", "--layout", "missing.json"], &["missing.json"]),
        (&["generate", "", "--method", "sd"], &["caption", "empty"]),
        (&["generate", "  ", "--method", "sd"], &["caption", "empty"]),
        (&["generate", "--method", "sd"], &["caption"]),
        (&["generate", "a cat", "--layout", "empty.json"], &["empty.json"]),
        (&["generate", "a cat", "--layout", "words.txt"], &["words.txt"]),
        (&["generate", "a cat", "--method", "lmb"], &["lmb", "lmd"]),
        (&["generate", "a cat", "--method", "sd", "--scheduler", "heun"], &["heun", "ddim"]),
        (&["generate", "a cat", "--method", "sd", "--seed", "-1"], &["--seed"]),
        (&["generate", "a cat", "--method", "sd", "--seed", "18446744073709551616"], &["--seed"]),
        (&["generate", "a cat", "--method", "sd", "--steps", "0"], &["--steps"]),
        (&["generate", "a cat", "--method", "sd", "--guidance-scale", "NaN"], &["--guidance-scale"]),
        (&["generate", "a cat", "--method", "sd", "--width", "100"], &["100 × 128 pixels", "must be multiples of 8"]),
        (&["generate", "a cat", "--method", "sd", "--set", "colour=red"], &["colour"]),
        (&["generate", "a cat", "--method", "sd", "--set", "colour"], &["name=value"]),
        (&["paint", LAYOUT, "--sam", "nowhere"], &["--sam nowhere", "miniature", "none"]),
        (&["paint", LAYOUT, "--set", "mask_prompt=circle"], &["circle", "box"]),
        (&["generate", "a cat", "--preset", "magic"], &["magic", "diffusers-lmd-plus"]),
        (
            &["generate", "a cat", "--method", "lmd", "--preset", "diffusers-lmd-plus", "--layout", LAYOUT],
            &["lmd-plus"],
        ),
        (
            &["generate", "a cat", "--method", "gligen", "--model", PLAIN, "--layout", LAYOUT],
            &["gligen", "adapters", "lmd_plus", "miniature"],
        ),
        (
            &["generate", "a cat", "--preset", "diffusers-lmd-plus", "--model", PLAIN, "--layout", LAYOUT],
            &["lmd-plus", "adapters"],
        ),
        (&["generate", "a cat", "--layout", "a.json", "--replay", "b.json"], &["--replay"]),
        (
            &["generate", "a cat", "--layout", LAYOUT, "--set", "frozen_steps_ratio=1"],
            &["no option `frozen_steps_ratio`", "did you mean `frozen_step_ratio`?"],
        ),
        (
            &["generate", "a cat", "--method", "sd", "--layout", LAYOUT, "--set", "whatever=1"],
            &["method `sd` has no option `whatever`"],
        ),
        (
            &["generate", "a cat", "--layout", LAYOUT, "--set", "frozen_step_ratio=much"],
            &["option `frozen_step_ratio` of method `lmd`", "much"],
        ),
        (&["generate", "a cat", "--layout", LAYOUT, "--out", "no/x.png"], &["there is no folder `no`; make it first"]),
        (&["generate", "a cat", "--method", "sd", "--json", "--out", "-"], &["stdout"]),
        (&["generate", "a cat", "--method", "sd", "--json", "--preview"], &["--preview"]),
        (&["generate", "a cat", "--method", "sd", "--out", "cat.jpg"], &["PNG"]),
        (&["generate", "a cat", "--method", "sd", "--seed", "18446744073709551615", "--count", "2"], &["--seed"]),
        (&["generate", "a cat", "--method", "sd", "--scheduler", "dpm-solver++", "--steps", "1000"], &["1000"]),
        (&["generate", "-", "--layout", "-"], &["stdin"]),
    ];
    for (args, words) in cases {
        desk.refuses(args, 2, words);
    }
}

#[test]
fn flags_and_layouts_that_mean_nothing_are_refused() {
    let desk = Desk::new();
    desk.put("hello.txt", "hello, this is no model");
    desk.put("void.json", &layout_of(&[]).replace("A room", " . "));
    desk.put("huge.json", &layout_of(&[[10.0, 10.0, 50.0, 50.0]]).replacen("50.0", "1e308", 1));
    let nameless = layout_of(&[[10.0, 10.0, 50.0, 50.0]]).replace("a cat", "?!");
    desk.put("nameless.json", &nameless);
    desk.put(
        "dots.json",
        &layout_of(&[[10.0, 10.0, 50.0, 50.0], [90.0, 90.0, 300.0, 300.0]]).replacen("a cat", "?!", 1),
    );
    let cases: &[(&[&str], &[&str])] = &[
        (&["paint", LAYOUT, "--ignore-negative-prompt"], &["--method sd", "`lmd` has no such option"]),
        (&["models", "pull", "miniature"], &["`miniature` is built in"]),
        (&["models", "info", "hello.txt"], &["`hello.txt` is no safetensors file", "a diffusers folder"]),
        (&["paint", "void.json"], &["the layout is empty", "no caption"]),
        (&["paint", "void.json", "--method", "sd"], &["the layout is empty", "no caption"]),
        (
            &["paint", LAYOUT, "--set", "max_iter=[1000000]"],
            &["option `max_iter` of method `lmd` is 1000000", "from 0 to 1000"],
        ),
        (&["paint", "huge.json"], &["huge.json", "1e308"]),
        (&["paint", "nameless.json"], &["nameless.json", "none of its boxes can be painted", "it has no name"]),
    ];
    for (args, words) in cases {
        let output = desk.run(args);
        check_refusal(&output, args, 2, words);
        assert!(stderr(&output).lines().all(|line| line.chars().count() < 300), "{args:?}\n{}", stderr(&output));
    }
    let told = stderr(&desk.ok(&["paint", "dots.json", "--steps", "1", "--out", "x.png"]));
    assert!(told.contains("layout repaired: dropped `?!` [10, 10, 50, 50]: it has no name"), "{told}");
    assert!(told.contains("painting with lmd on miniature, 1 step, seed 0\n"), "{told}");
    let refused = stderr(&desk.run(&["paint", LAYOUT, "--width", "102"]));
    assert!(!refused.contains("painting with"), "{refused}");
}

/// What an answer means that does not say it is told, and the picture is that of the same layout as it is asked for.
#[test]
fn layouts_in_any_format_are_painted_and_what_they_are_is_told() {
    let desk = Desk::new();
    desk.put("asked.txt", "[('a cat', [128, 256, 256, 128])]\nBackground prompt: A room\nNegative prompt: ");
    desk.put("answer.txt", "<think>\n[('a cat', [1, 1, 9, 9])]\nBackground: no\n</think>\n```json\n{\"objects\": [{\"label\": \"a cat\", \"box_2d\": [500, 250, 750, 750]}], \"background\": \"A room\"}\n```");
    desk.put(
        "caption.json",
        r#"{"background": "A room", "elements": [{"type": "obj", "bbox": [500, 250, 750, 750], "desc": "a cat"}]}"#,
    );
    desk.put(
        "answers.json",
        r#"{"a cat": ["no</think>[('a cat', [0.25, 0.5, 0.5, 0.25])]\nBackground prompt: A room"]}"#,
    );
    let paint = |args: &[&str], words: &[&str]| {
        let told = stderr(&desk.ok(&[args, &["--method", "sd", "--steps", "1", "--out", "x.png"]].concat()));
        assert!(words.iter().all(|word| told.contains(word)), "{told}");
        assert_eq!(told.matches("note: ").count(), words.len(), "{told}");
        std::fs::read(desk.path("x.layout.svg")).unwrap()
    };
    let asked = paint(&["paint", "asked.txt"], &["it is read as the answer of a language model"]);
    let corners = "corners [y1, x1, y2, x2] in thousandths of the picture";
    assert_eq!(paint(&["paint", "answer.txt"], &["it is read as the answer", corners]), asked);
    let of_caption = ["it is read as an Ideogram caption", "it is taken for 512×512"];
    assert_eq!(paint(&["paint", "caption.json"], &of_caption), asked);
    assert_eq!(paint(&["generate", "a cat", "--replay", "answers.json"], &["in shares of the picture"]), asked);
}

#[test]
fn plain_stable_diffusion_needs_no_caption_beside_a_layout() {
    let desk = Desk::new();
    desk.ok(&["paint", LAYOUT, "--method", "sd", "--steps", "1", "--out", "x.png"]);
    desk.ok(&["generate", "--from", "x.png", "--out", "y.png"]);
    assert_eq!(std::fs::read(desk.path("x.png")).unwrap(), std::fs::read(desk.path("y.png")).unwrap());
    let output = desk.ok(&["paint", LAYOUT, "--method", "sd", "--steps", "1", "--json", "--out", "z.png"]);
    let report: Value = serde_json::from_slice(&output.stdout).unwrap();
    let prompt = report["images"][0]["prompts"]["overall"].as_str().unwrap();
    assert!(prompt.contains("a blue dog") && prompt.contains("a white bowl"), "{prompt}");
}

#[test]
fn a_preview_puts_nothing_into_a_pipe() {
    let desk = Desk::new();
    let output = desk.ok(&["generate", "a cat", "--method", "sd", "--steps", "1", "--preview", "--out", "x.png"]);
    assert!(output.stdout.is_empty(), "{:?}", String::from_utf8_lossy(&output.stdout));
    assert!(
        stderr(&output).contains("warning: `--preview` shows nothing: stdout is not a terminal"),
        "{}",
        stderr(&output)
    );
    assert!(desk.path("x.png").is_file());
}

#[test]
fn variables_that_nobody_reads_are_warned_of() {
    let desk = Desk::new();
    let output = desk.command().args(["models", "list"]).env("SINOPIA_STEP", "3").output().unwrap();
    assert!(output.status.success());
    let told = stderr(&output);
    assert!(
        told.contains("warning: no setting is called `SINOPIA_STEP`; known are ") && told.contains("SINOPIA_STEPS"),
        "{told}"
    );
}

#[test]
fn what_is_given_and_cannot_be_used_has_exit_code_2() {
    let desk = Desk::new();
    desk.put("not.png", "hello");
    std::fs::write(desk.path("latin1"), b"a caf\xe9").unwrap();
    std::fs::create_dir(desk.path("folder")).unwrap();
    image::RgbImage::new(8, 8).save(desk.path("foreign.png")).unwrap();
    let sd = ["generate", "a cat", "--method", "sd"];
    let cases: &[(&[&str], &[&str])] = &[
        (&["paint", "missing.json"], &["cannot read `missing.json`"]),
        (&["paint", "latin1"], &["`latin1` is not text in UTF-8"]),
        (&["paint", "folder"], &["cannot read `folder`"]),
        (&["generate", "a cat", "--replay", "latin1"], &["`latin1` is not text in UTF-8"]),
        (&["generate", "a cat", "--config", "latin1"], &["cannot read the settings `latin1`", "UTF-8"]),
        (&["plan", "a cat", "--llm-model", "x", "--template", "latin1"], &["prompt template `latin1`", "UTF-8"]),
        (&["generate", "--from", "not.png"], &["not.png", "PNG"]),
        (&["generate", "--from", "foreign.png"], &["foreign.png", "not made by Sinopia"]),
        (&["inspect", "nothing.png"], &["nothing.png"]),
        (&[&sd[..], &["--out", "no/such/folder/x.png"]].concat(), &["no/such/folder/x.png"]),
        (&[&sd[..], &["--model", "nope"]].concat(), &["`nope`", "owner/name"]),
        (&[&sd[..], &["--model", "foreign.png"]].concat(), &["foreign.png"]),
    ];
    for (args, words) in cases {
        desk.refuses(args, 2, words);
    }
    let mut piped = desk.command();
    piped.args(["generate", "-", "--method", "sd"]).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = piped.spawn().unwrap();
    child.stdin.take().unwrap().write_all(b"a caf\xe9").unwrap();
    check_refusal(&child.wait_with_output().unwrap(), &["-"], 2, &["`stdin` is not text in UTF-8"]);
}

#[test]
fn places_that_cannot_be_written_are_found_before_painting() {
    let desk = Desk::new();
    for folder in ["p.layout.svg", "c-002.png", "g.grid.png"] {
        std::fs::create_dir(desk.path(folder)).unwrap();
    }
    // So many steps that painting first would not go unnoticed.
    let refuses = |args: &[&str], word: &str| {
        desk.refuses(
            &[&["paint", LAYOUT, "--steps", "1000"], args].concat(),
            2,
            &["cannot write", word, "it is a folder"],
        );
    };
    refuses(&["--out", "new/"], "new/");
    refuses(&["--out", "p.png"], "p.layout.svg");
    refuses(&["--out", "c.png", "--count", "3"], "c-002.png");
    refuses(&["--out", "g.png", "--grid"], "g.grid.png");
}

fn layout_of(boxes: &[[f64; 4]]) -> String {
    let objects: Vec<Value> = boxes.iter().map(|b| json!({ "phrase": "a cat", "bbox": b })).collect();
    let canvas = json!({ "width": 512, "height": 512 });
    json!({ "canvas": canvas, "objects": objects, "background": "A room", "negative": "" }).to_string()
}

#[test]
fn a_sam_outlines_objects_and_is_part_of_the_recipe() {
    let desk = Desk::new();
    let sam = desk.path("sam");
    std::fs::create_dir(&sam).unwrap();
    for file in ["config.json", "model.safetensors"] {
        std::fs::copy(Path::new(TINY_SAM).join(file), sam.join(file)).unwrap();
    }
    let common = ["paint", LAYOUT, "--steps", "3", "--quiet"];
    let paint = |out: &str, args: &[&str]| {
        desk.ok(&[&common, args, &["--out", out]].concat());
        std::fs::read(desk.path(out)).unwrap()
    };
    let inspect = |image: &str| String::from_utf8(desk.ok(&["inspect", image]).stdout).unwrap();
    let with = paint("with.png", &["--sam", "sam"]);
    let shown = inspect("with.png");
    assert!(shown.contains("sam         sam (sha256 ") && shown.contains("mask_prompt=\"box\""), "{shown}");
    paint("point.png", &["--sam", "sam", "--set", "mask_prompt=point"]);
    assert!(inspect("point.png").contains("mask_prompt=\"point\""));
    paint("none.png", &["--sam", "none"]);
    assert!(!inspect("none.png").contains("\nsam "), "{}", inspect("none.png"));

    desk.ok(&["generate", "--from", "with.png", "--quiet", "--out", "again.png"]);
    assert!(std::fs::read(desk.path("again.png")).unwrap() == with, "the second image differs");
    desk.ok(&["generate", "--from", "with.png", "--sam", "none", "--quiet", "--out", "without.png"]);
    assert!(!inspect("without.png").contains("\nsam "));
    // Another model under the same name is another picture.
    std::fs::write(sam.join("model.safetensors"), other_weights(&sam.join("model.safetensors"))).unwrap();
    desk.refuses(&["generate", "--from", "with.png", "--out", "third.png"], 2, &["model `sam`", "hash"]);
    std::fs::remove_dir_all(&sam).unwrap();
    desk.refuses(&["generate", "--from", "with.png", "--out", "third.png"], 2, &["--sam sam"]);
}

/// The same file with the last bit of its last number flipped.
fn other_weights(file: &Path) -> Vec<u8> {
    let mut bytes = std::fs::read(file).unwrap();
    let last = bytes.len() - 2;
    bytes[last] ^= 1;
    bytes
}

#[test]
fn what_is_no_sam_is_refused_before_any_work() {
    let desk = Desk::new();
    desk.put("empty.safetensors", "");
    let cases: [(&str, &[&str]); 3] = [
        ("empty.safetensors", &["cannot open the SAM `empty.safetensors`", "is empty"]),
        (EXAMPLES, &["cannot open the SAM", "it has no config.json"]),
        (GATED, &["cannot open the SAM", "it has no config.json"]),
    ];
    for (sam, words) in cases {
        desk.refuses(&["paint", LAYOUT, "--sam", sam, "--out", "one.png"], 2, words);
    }
}

#[test]
fn the_built_in_sam_outlines_objects() {
    let desk = Desk::new();
    desk.ok(&["paint", LAYOUT, "--steps", "3", "--quiet", "--sam", "miniature", "--out", "one.png"]);
    let shown = String::from_utf8(desk.ok(&["inspect", "one.png"]).stdout).unwrap();
    assert!(shown.contains("sam         miniature (sha256 "), "{shown}");
}

#[test]
fn a_model_with_adapters_paints_with_the_methods_for_it() {
    let desk = Desk::new();
    let info = desk.ok(&["models", "info", GATED]);
    assert!(String::from_utf8_lossy(&info.stdout).contains("adapters"));
    let paint = |out: &str, args: &[&str]| {
        let common = ["generate", "a blue dog", "--layout", LAYOUT, "--model", GATED, "--steps", "2", "--out", out];
        desk.ok(&[&common, args].concat());
        std::fs::read(desk.path(out)).unwrap()
    };
    let plain = paint("gligen.png", &["--method", "gligen"]);
    paint("lmd-plus.png", &["--method", "lmd-plus"]);
    let preset = paint("preset.png", &["--preset", "diffusers-lmd-plus", "--set", "overall_loss_scale=3"]);
    assert_ne!(plain, preset);
    let inspected = desk.ok(&["inspect", "preset.png"]);
    let inspected = String::from_utf8_lossy(&inspected.stdout).into_owned();
    let words =
        ["method      lmd-plus", "overall_loss_scale=3", "boxes_as_objects=true", "guidance_grounding=\"none\""];
    assert!(words.iter().all(|word| inspected.contains(word)), "{inspected}");
    desk.ok(&["generate", "--from", "preset.png", "--out", "again.png"]);
    assert_eq!(std::fs::read(desk.path("again.png")).unwrap(), preset);
    // A preset on an old image takes the place of its method and options.
    desk.ok(&["generate", "--from", "gligen.png", "--preset", "diffusers-lmd-plus", "--out", "other.png"]);
    let other = desk.ok(&["inspect", "other.png"]);
    assert!(String::from_utf8_lossy(&other.stdout).contains("overall_loss_scale=20"));
}

/// How much redder than blue a box of the picture is, in mean, −255..=255; the box in proportions.
fn redness(picture: &image::RgbImage, [x0, y0, x1, y1]: [f64; 4]) -> f64 {
    let (width, height) = picture.dimensions();
    let within = |at: u32, length: u32, low: f64, high: f64| (low..high).contains(&(f64::from(at) / f64::from(length)));
    let inside = picture.enumerate_pixels().filter(|(x, y, _)| within(*x, width, x0, x1) && within(*y, height, y0, y1));
    let differences: Vec<f64> = inside.map(|(.., pixel)| f64::from(pixel[0]) - f64::from(pixel[2])).collect();
    differences.iter().sum::<f64>() / differences.len() as f64
}

/// Two boxes side by side in pixels of a canvas of 128, and what lies 8 pixels inside them in proportions.
const SIDE_BY_SIDE: [[f64; 4]; 2] = [[8.0, 40.0, 48.0, 48.0], [72.0, 40.0, 48.0, 48.0]];

fn inner([x, y, w, h]: [f64; 4]) -> [f64; 4] {
    [x + 8.0, y + 8.0, x + w - 8.0, y + h - 8.0].map(|pixels| pixels / 128.0)
}

/// Paints phrases into boxes on the miniature and says how red the two boxes of [`SIDE_BY_SIDE`] are.
fn redness_of_both(desk: &Desk, method: &str, caption: &str, objects: &[(&str, [f64; 4])]) -> [f64; 2] {
    let objects: Vec<Value> = objects.iter().map(|(phrase, bbox)| json!({ "phrase": phrase, "bbox": bbox })).collect();
    let canvas = json!({ "width": 128, "height": 128 });
    let layout = json!({ "canvas": canvas, "objects": objects, "background": "A realistic scene", "negative": "" });
    desk.put("layout.json", &layout.to_string());
    let request = ["generate", caption, "--layout", "layout.json", "--method", method, "--steps", "10"];
    desk.ok(&[&request[..], &["--seed", "1", "--out", "boxes.png"]].concat());
    let picture = image::open(desk.path("boxes.png")).unwrap().to_rgb8();
    SIDE_BY_SIDE.map(|bbox| redness(&picture, inner(bbox)))
}

#[test]
fn the_miniature_paints_a_thing_into_the_box_it_is_told_of() {
    let desk = Desk::new();
    let about = String::from_utf8(desk.ok(&["models", "info", "miniature"]).stdout).unwrap();
    assert!(about.contains("adapters"), "{about}");
    let caption = "A realistic scene with a red ball";
    for method in ["gligen", "lmd-plus"] {
        let paint = |bbox| redness_of_both(&desk, method, caption, &[("a red ball", bbox)]);
        let [inside, outside] = paint(SIDE_BY_SIDE[0]);
        assert!(inside > outside + 60.0, "{method}, on the left: {inside:.0} inside, {outside:.0} outside");
        let [outside, inside] = paint(SIDE_BY_SIDE[1]);
        assert!(inside > outside + 60.0, "{method}, on the right: {inside:.0} inside, {outside:.0} outside");
    }
}

#[test]
fn lmd_plus_on_the_miniature_keeps_colours_in_their_boxes() {
    let desk = Desk::new();
    let caption = "A realistic scene with a red ball and a blue ball";
    let [left, right] = SIDE_BY_SIDE;
    for (red_at, blue_at, is_swapped) in [(left, right, false), (right, left, true)] {
        let objects = [("a red ball", red_at), ("a blue ball", blue_at)];
        let [on_the_left, on_the_right] = redness_of_both(&desk, "lmd-plus", caption, &objects);
        let (red, blue) = if is_swapped { (on_the_right, on_the_left) } else { (on_the_left, on_the_right) };
        assert!(red > 40.0 && blue < -40.0, "swapped: {is_swapped}, red box {red:.0}, blue box {blue:.0}");
    }
}

#[test]
fn any_number_of_boxes_is_painted_or_refused() {
    let desk = Desk::new();
    desk.put("none.json", &layout_of(&[]));
    desk.ok(&["paint", "none.json", "--steps", "1", "--out", "none.png"]);
    desk.put("outside.json", &layout_of(&[[400.0, 400.0, 300.0, 300.0]]));
    let output = desk.ok(&["paint", "outside.json", "--steps", "1", "--out", "outside.png"]);
    let told = stderr(&output);
    let mended = told.lines().find(|line| line.starts_with("layout repaired: ")).unwrap_or_default();
    assert!(mended.contains("`a cat`") && mended.contains("[400, 400, 300, 300] to [400, 400, 112, 112]"), "{told}");
    desk.put("thousand.json", &layout_of(&[[10.0, 10.0, 50.0, 50.0]; 1000]));
    desk.refuses(&["paint", "thousand.json"], 2, &["1000", "thousand.json"]);
    desk.put("nan.json", &layout_of(&[[10.0, 10.0, 50.0, 50.0]]).replacen("50.0", "1e999", 1));
    desk.refuses(&["paint", "nan.json"], 2, &["nan.json"]);
}

#[test]
fn endless_texts_are_shown_in_short() {
    let desk = Desk::new();
    let endless = "a very red ball ".repeat(6000);
    desk.put(
        "endless.json",
        &layout_of(&[[10.0, 10.0, 200.0, 200.0]]).replace("a cat", &endless).replace("A room", &endless),
    );
    let output = desk.ok(&["paint", "endless.json", "--steps", "1", "--json", "--out", "x.png"]);
    let told = stderr(&output);
    assert!(
        told.contains("layout repaired: cut a name of 95999 characters to its first 300: `a very red ball"),
        "{told}"
    );
    assert!(told.contains("  a very red ball a very red ball a very…  ["), "{told}");
    assert!(told.contains("it never sees the end of a prompt: `"), "{told}");
    assert!(told.lines().all(|line| line.chars().count() < 600), "{}", told.len());
    let report: Value = serde_json::from_slice(&output.stdout).unwrap();
    let phrase = report["images"][0]["recipe"]["layout"]["objects"][0]["phrase"].as_str().unwrap();
    assert_eq!(phrase.chars().count(), 300);
}

#[test]
fn nothing_that_a_terminal_obeys_is_passed_on() {
    let desk = Desk::new();
    let caption = "a \u{1b}[2Jcat\nmethod      magic\u{9b}31m";
    desk.put("odd.json", &layout_of(&[[10.0, 10.0, 600.0, 200.0]]).replace("a cat", "a \\u001b]0;cat\\u0007"));
    let painted = desk.ok(&["generate", caption, "--layout", "odd.json", "--steps", "1", "--json", "--out", "odd.png"]);
    let inspected = desk.ok(&["inspect", "odd.png"]);
    let refused = desk.run(&["generate", caption, "--method", "l\u{1b}[31mmd"]);
    for output in [&painted, &inspected, &refused] {
        let all = [&output.stdout[..], &output.stderr[..]].concat();
        let all = String::from_utf8(all).unwrap();
        assert!(!all.chars().any(|c| c.is_control() && c != '\n'), "{all:?}");
    }
    assert!(stderr(&painted).contains("layout repaired: cut `a \\u001b]0;cat\\u0007`"), "{}", stderr(&painted));
    assert!(stderr(&refused).contains("unknown method `l\\u001b[31mmd`"), "{}", stderr(&refused));
    let text = String::from_utf8(inspected.stdout).unwrap();
    assert!(text.contains("caption     a \\u001b[2Jcat\\nmethod"), "{text}");
    let report: Value = serde_json::from_slice(&painted.stdout).unwrap();
    assert_eq!(report["images"][0]["recipe"]["caption"], json!(caption));
}

/// Writes the miniature as a folder, with `change` applied to each file's bytes.
fn miniature_folder(folder: &Path, change: impl Fn(&str, &[u8]) -> Vec<u8>) {
    for (name, bytes) in sinopia_miniature::FILES {
        let path = folder.join(name);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, change(name, bytes)).unwrap();
    }
}

#[test]
fn a_folder_paints_what_the_built_in_model_paints() {
    let desk = Desk::new();
    miniature_folder(&desk.path("model"), |_, bytes| bytes.to_vec());
    let request = ["generate", "a cat", "--method", "sd", "--steps", "2"];
    desk.ok(&[&request[..], &["--out", "a.png"]].concat());
    desk.ok(&[&request[..], &["--model", "model", "--out", "b.png"]].concat());
    let pixels = |name| image::open(desk.path(name)).unwrap().to_rgb8().into_raw();
    assert_eq!(pixels("a.png"), pixels("b.png"));
}

#[test]
fn adapters_that_nobody_uses_change_no_pixel() {
    const ADAPTERS: &str = "unet/gligen.safetensors";
    let desk = Desk::new();
    miniature_folder(&desk.path("bare"), |_, bytes| bytes.to_vec());
    std::fs::remove_file(desk.path("bare").join(ADAPTERS)).unwrap();
    for (method, layout) in [("sd", None), ("lmd", Some(LAYOUT))] {
        let paint = |model: &str| {
            let out = format!("{method}-{model}.png");
            let mut request = vec!["generate", "a blue dog", "--method", method, "--steps", "2", "--model", model];
            request.extend(layout.into_iter().flat_map(|layout| ["--layout", layout]));
            desk.ok(&[&request[..], &["--out", &out]].concat());
            image::open(desk.path(&out)).unwrap().to_rgb8().into_raw()
        };
        assert!(paint("miniature") == paint("bare"), "{method} paints another picture");
    }
    let gligen = ["generate", "a blue dog", "--method", "gligen", "--layout", LAYOUT, "--model", "bare"];
    desk.refuses(&gligen, 2, &["adapters"]);
}

#[test]
fn damaged_checkpoints_are_refused_before_any_work() {
    const UNET: &str = "unet/diffusion_pytorch_model.safetensors";
    let desk = Desk::new();
    let painted = |model: &str, words: &[&str]| {
        desk.refuses(&["generate", "a cat", "--method", "sd", "--model", model], 2, words);
    };
    let cut = |name: &str, bytes: &[u8]| if name == UNET { bytes[..bytes.len() / 2].to_vec() } else { bytes.to_vec() };
    miniature_folder(&desk.path("cut"), cut);
    painted("cut", &["diffusion_pytorch_model.safetensors"]);
    let poison = |name: &str, bytes: &[u8]| {
        let mut bytes = bytes.to_vec();
        if name == UNET {
            // The last f16 of the last tensor becomes NaN.
            let end = bytes.len();
            bytes[end - 2..].copy_from_slice(&0x7e00_u16.to_le_bytes());
        }
        bytes
    };
    miniature_folder(&desk.path("nan"), poison);
    painted("nan", &["diffusion_pytorch_model.safetensors", "NaN"]);
    std::fs::create_dir(desk.path("void")).unwrap();
    painted("void", &["void", "empty"]);
}

#[test]
fn a_scheduler_config_must_say_how_the_model_was_trained() {
    const SCHEDULER: &str = "scheduler/scheduler_config.json";
    let desk = Desk::new();
    miniature_folder(&desk.path("model"), |_, bytes| bytes.to_vec());
    let request = ["generate", "a cat", "--method", "sd", "--model", "model", "--steps", "1", "--out", "x.png"];
    desk.put(&format!("model/{SCHEDULER}"), "{}");
    desk.refuses(&request, 2, &["scheduler config", "prediction_type", "num_train_timesteps"]);
    desk.put(
        &format!("model/{SCHEDULER}"),
        r#"{"_class_name": "DDIMScheduler", "beta_start": 0.00085, "beta_end": 0.012, "num_train_timesteps": 1000}"#,
    );
    let told = stderr(&desk.ok(&request));
    assert!(told.contains("warning: scheduler_config.json does not say `prediction_type`, `beta_schedule`:"), "{told}");
    assert!(
        !stderr(&desk.ok(&["generate", "a cat", "--method", "sd", "--steps", "1", "--out", "y.png"]))
            .contains("warning")
    );
}

#[test]
fn models_are_listed_and_described() {
    let desk = Desk::new();
    let output = desk.ok(&["models", "list", "--json"]);
    let list: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert!(list.as_array().unwrap().iter().any(|m| m["name"] == "miniature"), "{list}");
    let output = desk.ok(&["models", "info", "--json"]);
    let info: HashMap<String, Value> = serde_json::from_slice(&output.stdout).unwrap();
    assert!(info.contains_key("hash"), "{info:?}");
    desk.refuses(&["models", "pull", "someone/something"], 1, &["someone/something"]);
}

#[test]
fn a_benchmark_tells_what_it_measured_and_nothing_else() {
    let desk = Desk::new();
    let output = desk.ok(&["bench", "--model", PLAIN, "--rounds", "1", "--json"]);
    let told: Value = serde_json::from_slice(&output.stdout).unwrap();
    let parts: Vec<&str> =
        told["model"]["parts"].as_array().unwrap().iter().filter_map(|p| p["part"].as_str()).collect();
    assert_eq!(parts, ["step", "guidance", "decode", "encode"]);
    let is_measured = |figure: &Value| figure.as_f64().is_some_and(|figure| figure > 0.0);
    assert!(told["model"]["parts"].as_array().unwrap().iter().all(|part| is_measured(&part["median"])), "{told}");
    assert!(is_measured(&told["model"]["load_seconds"]) && is_measured(&told["products"][0]["gflops"]), "{told}");
    assert_eq!(told["machine"]["sinopia"], env!("CARGO_PKG_VERSION"));
    assert!(desk.files().is_empty());
    desk.refuses(&["bench", "--model", "nowhere"], 2, &["nowhere"]);
    desk.refuses(&["bench", "--rounds", "0"], 2, &["1..=100"]);
}

#[test]
fn instructions_can_be_hidden_and_wrong_names_are_refused() {
    let desk = Desk::new();
    let bench = |limit: &str| {
        let args = ["bench", "--model", PLAIN, "--rounds", "1", "--threads", "1"];
        desk.command().args(args).env("SINOPIA_MAX_CPU_ISA", limit).stdin(Stdio::null()).output().unwrap()
    };
    let hidden = bench("avx2");
    assert!(!stderr(&hidden).contains("no setting is called"), "{}", stderr(&hidden));
    let table = String::from_utf8(hidden.stdout).unwrap();
    assert!(
        ["avx2", "portable"].iter().any(|used| table.contains(&format!("- kernels: {used}")))
            && table.contains("| guided step (batch of 2), s |"),
        "{table}"
    );
    let refused = bench("avx3");
    check_refusal(&refused, &["bench"], 2, &["SINOPIA_MAX_CPU_ISA is `avx3`", "`portable`", "`avx2`"]);
}

#[test]
fn help_shows_examples_and_completions_name_the_commands() {
    let desk = Desk::new();
    let help = String::from_utf8(desk.ok(&["generate", "--help"]).stdout).unwrap();
    assert!(help.contains("Examples:") && help.contains("--guidance-scale"), "{help}");
    let script = String::from_utf8(desk.ok(&["completions", "bash"]).stdout).unwrap();
    assert!(script.contains("inspect"), "the script does not know `inspect`");
    assert!(script.contains("sinopia,bench)"), "the script does not know `bench`");
}

#[cfg(unix)]
#[test]
fn an_interrupted_run_leaves_nothing_behind() {
    let desk = Desk::new();
    let args = ["generate", "a cat", "--method", "sd", "--steps", "900", "--out", "cat.png"];
    let mut child = desk.command().args(args).stderr(Stdio::piped()).spawn().unwrap();
    let mut lines = BufReader::new(child.stderr.take().unwrap()).lines().map(Result::unwrap);
    assert!(lines.any(|line| line.starts_with("painting with sd")), "it never began to paint");
    Command::new("kill").args(["-INT", &child.id().to_string()]).status().unwrap();
    let rest: Vec<String> = lines.collect();
    assert_eq!(child.wait().unwrap().code(), Some(1), "{rest:?}");
    assert!(rest.iter().any(|line| line == "stopping; Ctrl-C again to quit at once"), "{rest:?}");
    assert!(rest.iter().any(|line| line.contains("cancelled")), "{rest:?}");
    assert!(desk.files().is_empty(), "{:?}", desk.files());
    assert_eq!(interrupt_twice(&desk), Some(1));
    assert!(desk.files().is_empty(), "{:?}", desk.files());
}

/// The exit code of a run that is interrupted, and once more as soon as it says that it stops.
#[cfg(unix)]
fn interrupt_twice(desk: &Desk) -> Option<i32> {
    let args = ["generate", "a cat", "--method", "sd", "--steps", "900", "--out", "cat.png"];
    let mut child = desk.command().args(args).stderr(Stdio::piped()).spawn().unwrap();
    let mut lines = BufReader::new(child.stderr.take().unwrap()).lines().map(Result::unwrap);
    for expected in ["painting with sd", "stopping"] {
        assert!(lines.any(|line| line.starts_with(expected)), "it never said `{expected}`");
        Command::new("kill").args(["-INT", &child.id().to_string()]).status().unwrap();
    }
    child.wait().unwrap().code()
}
