//! ELLA as the text encoder of every method, on the built-in miniature; and ComfyUI's graphs, which know it too.

#![allow(clippy::unwrap_used, reason = "these are tests")]

use std::path::PathBuf;
use std::process::{Command, Output, Stdio};

use tempfile::TempDir;

/// More than CLIP reads: 65 words.
const CAPTION: &str = "The picture shows a calm room in the evening. In the top left corner there is a red car. A blue dog sits in the middle of \
    the picture, and to the right of it there is a green chair. In the bottom right corner we can see a yellow ball. Below the red car stands a purple \
    flower, and at the bottom, in the middle, there is a small white cup.";
const LAYOUT: &str = r#"{"canvas": {"width": 128, "height": 128}, "objects": [{"phrase": "a red car", "bbox": [8, 8, 40, 32]},
    {"phrase": "a blue dog", "bbox": [48, 48, 40, 40]}], "background": "A room scene", "negative": ""}"#;

struct Desk(TempDir);

impl Desk {
    fn new() -> Self {
        let desk = Self(tempfile::tempdir().unwrap());
        std::fs::write(desk.path("layout.json"), LAYOUT).unwrap();
        desk
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    fn run(&self, args: &[&str]) -> Output {
        let mut command = Command::new(env!("CARGO_BIN_EXE_sinopia"));
        command.current_dir(self.0.path()).env("HF_HUB_OFFLINE", "1").env("HF_HOME", self.path("hub"));
        for name in ["SINOPIA_MODEL", "SINOPIA_SAM", "SINOPIA_METHOD", "SINOPIA_STEPS", "SINOPIA_CONFIG"] {
            command.env_remove(name);
        }
        command.args(args).stdin(Stdio::null()).output().unwrap()
    }

    #[track_caller]
    fn ok(&self, args: &[&str]) {
        let output = self.run(args);
        assert!(output.status.success(), "{args:?}\n{}", String::from_utf8_lossy(&output.stderr));
    }

    /// Runs what must fail as a bad request, with a message that holds every one of `words`, and leaves no picture.
    #[track_caller]
    fn refuses(&self, args: &[&str], words: &[&str]) {
        let output = self.run(args);
        let message = String::from_utf8_lossy(&output.stderr).into_owned();
        assert_eq!(output.status.code(), Some(2), "{args:?}\n{message}");
        assert!(words.iter().all(|word| message.contains(word)), "{args:?}: {words:?} in\n{message}");
        assert!(!self.path("painting.png").exists());
    }

    /// The bytes of a picture's file, recipe and all.
    fn bytes(&self, name: &str) -> Vec<u8> {
        std::fs::read(self.path(name)).unwrap()
    }

    fn pixels(&self, name: &str) -> Vec<u8> {
        image::open(self.path(name)).unwrap().to_rgb8().into_raw()
    }
}

#[test]
fn a_long_caption_and_boxes_are_painted_together_and_again() {
    let desk = Desk::new();
    assert!(CAPTION.split_whitespace().count() >= 60);
    let how =
        ["--text-encoder", "ella+clip", "--method", "lmd-plus", "--layout", "layout.json", "--steps", "4", "--quiet"];
    desk.ok(&[&["generate", CAPTION, "--out", "first.png"], how.as_slice()].concat());
    desk.ok(&["generate", "--from", "first.png", "--out", "again.png", "--quiet"]);
    assert_eq!(desk.bytes("first.png"), desk.bytes("again.png"));
    let shown = desk.run(&["inspect", "first.png"]);
    let shown = String::from_utf8_lossy(&shown.stdout).into_owned();
    assert!(shown.contains("ella+clip: miniature and miniature in f16"), "{shown}");

    desk.ok(&["generate", "--from", "first.png", "--text-encoder", "clip", "--out", "clip.png", "--quiet"]);
    assert_ne!(desk.pixels("first.png"), desk.pixels("clip.png"));
}

#[test]
fn methods_that_guide_words_refuse_ella_alone() {
    let desk = Desk::new();
    for method in ["lmd", "lmd-plus", "boxdiff", "backward-guidance"] {
        let args = [
            "generate",
            CAPTION,
            "--layout",
            "layout.json",
            "--method",
            method,
            "--text-encoder",
            "ella",
            "--steps",
            "1",
        ];
        desk.refuses(&args, &["ELLA's tokens stand for no words", "ella+clip"]);
    }
}

#[test]
fn every_method_paints_with_ella_as_far_as_it_can() {
    let desk = Desk::new();
    let paint = |method: &str, encoder: &str| {
        let name = format!("{method}-{encoder}.png");
        let layout: &[&str] = if method == "sd" { &[] } else { &["--layout", "layout.json"] };
        let how = ["--method", method, "--text-encoder", encoder, "--steps", "2", "--quiet", "--out", &name];
        desk.ok(&[&["generate", CAPTION], layout, &how].concat());
        desk.pixels(&name)
    };
    for method in ["sd", "multidiffusion", "gligen"] {
        assert_ne!(paint(method, "ella"), paint(method, "ella+clip"), "{method}");
    }
    for method in ["lmd", "lmd-plus", "boxdiff", "backward-guidance"] {
        assert_ne!(paint(method, "ella+clip"), paint(method, "clip"), "{method}");
    }
}

#[test]
fn the_negative_prompt_may_be_read_by_another_encoder() {
    let desk = Desk::new();
    let paint = |name: &str, negative: &str, method: &[&str]| {
        let how = ["--text-encoder", "ella", "--negative-encoder", negative, "--steps", "2", "--quiet", "--out", name];
        desk.ok(&[&["generate", CAPTION], method, &how].concat());
        desk.pixels(name)
    };
    for method in [
        &["--method", "sd"][..],
        &["--method", "gligen", "--layout", "layout.json"],
        &["--method", "multidiffusion", "--layout", "layout.json"],
    ] {
        // 64 tokens against 77.
        assert_ne!(paint("a.png", "ella", method), paint("b.png", "clip", method), "{method:?}");
    }
}

#[test]
fn what_the_language_model_is_given_is_a_choice_that_shows() {
    let desk = Desk::new();
    let paint = |name: &str, flags: &[&str]| {
        let how = [
            "generate",
            "a red car",
            "--method",
            "sd",
            "--text-encoder",
            "ella",
            "--steps",
            "2",
            "--quiet",
            "--out",
            name,
        ];
        desk.ok(&[&how[..], flags].concat());
        desk.pixels(name)
    };
    let flexible = paint("flexible.png", &[]);
    assert_eq!(flexible, paint("same.png", &["--t5-length", "flexible", "--t5-range", "f16"]));
    assert_ne!(flexible, paint("fixed.png", &["--t5-length", "fixed"]), "paddings are seen by the connector");
}

#[test]
fn the_miniatures_ella_on_another_model_is_painted_again() {
    let desk = Desk::new();
    for (name, bytes) in sinopia_miniature::FILES {
        let path = desk.path("model").join(name);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, bytes).unwrap();
    }
    let how = ["generate", "a red car", "--method", "sd", "--steps", "1", "--quiet", "--text-encoder", "ella"];
    let named = ["--model", "model", "--t5", "miniature", "--ella", "Miniature", "--out", "a.png"];
    desk.ok(&[&how[..], &named].concat());
    desk.ok(&["generate", "--from", "a.png", "--quiet", "--out", "b.png"]);
    assert_eq!(desk.bytes("a.png"), desk.bytes("b.png"));
    // What the miniature brings by itself stays with it.
    desk.ok(&[&how[..], &["--out", "c.png"]].concat());
    let other = ["generate", "--from", "c.png", "--quiet", "--out", "d.png", "--model", "model"];
    desk.refuses(&other, &["the miniature alone brings an ELLA"]);
}

#[test]
fn what_does_not_fit_is_refused_before_any_work() {
    let desk = Desk::new();
    desk.refuses(
        &["generate", "a car", "--method", "sd", "--text-encoder", "t5"],
        &["`clip`, `ella` or `ella+clip` is expected"],
    );
    desk.refuses(&["generate", "a car", "--method", "sd", "--t5", "folder"], &["`--t5` and `--ella` are for"]);
    desk.refuses(
        &["generate", "a car", "--method", "sd", "--text-encoder", "ella", "--t5", "folder"],
        &["`--t5` and `--ella` belong together"],
    );
    desk.refuses(
        &["generate", "a car", "--method", "sd", "--text-encoder", "ella", "--model", "owner/name"],
        &["`--text-encoder ella`: the miniature alone brings an ELLA"],
    );
}

/// The graph paints what the command line that it was exported from does.
#[test]
fn a_comfyui_graph_paints_the_same_picture() {
    let desk = Desk::new();
    let settings = ["--seed", "5", "--steps", "3", "--guidance-scale", "4", "--scheduler", "euler"];
    let check = |caption: &str, layout: &[&str], method: &[&str], encoder: &str| {
        let text = ["--text-encoder", encoder];
        desk.ok(&[&["export", caption, "--comfyui", "--out", "graph.json"], layout, &settings, &text].concat());
        desk.ok(&["run", "graph.json", "--quiet", "--out", "graph.png"]);
        let typed =
            [&["generate", caption, "--quiet", "--out", "typed.png"], layout, method, &settings, &text].concat();
        desk.ok(&typed);
        assert_eq!(desk.pixels("graph.png"), desk.pixels("typed.png"), "{caption} {layout:?} {encoder}");
    };
    let gligen = ["--method", "gligen", "--set", "gligen_scheduled_sampling_beta=1"];
    for encoder in ["clip", "ella", "ella+clip"] {
        check("a red car on a beach", &[], &["--method", "sd"], encoder);
        check(CAPTION, &["--layout", "layout.json"], &gligen, encoder);
    }
    // Levels of noise by name, of a sampler with a history; and the model's own of a scheduler that nobody named.
    let settings = ["--seed", "5", "--steps", "3", "--scheduler", "dpm-solver++-karras"];
    desk.ok(&[&["export", "a red car", "--comfyui", "--out", "karras.json"], &settings[..]].concat());
    desk.ok(&["run", "karras.json", "--quiet", "--out", "graph.png"]);
    desk.ok(&[&["generate", "a red car", "--method", "sd", "--quiet", "--out", "typed.png"], &settings[..]].concat());
    assert_eq!(desk.pixels("graph.png"), desk.pixels("typed.png"));
    let shown = desk.run(&["inspect", "graph.png"]);
    assert!(String::from_utf8_lossy(&shown.stdout).contains("3 with dpm-solver++-karras"));
    desk.ok(&["generate", "--from", "graph.png", "--quiet", "--out", "again.png"]);
    assert_eq!(desk.bytes("graph.png"), desk.bytes("again.png"));
    desk.ok(&["run", "karras.json", "--scheduler", "dpm-solver++", "--quiet", "--out", "own.png"]);
    assert_ne!(desk.pixels("graph.png"), desk.pixels("own.png"));
}

/// Of a graph that names files which are not here, with what is built in in their place.
#[test]
fn the_miniatures_ella_stands_in_for_a_graphs() {
    let desk = Desk::new();
    let how =
        ["--text-encoder", "ella", "--steps", "2", "--scheduler", "euler", "--guidance-scale", "2", "--seed", "1"];
    desk.ok(&[&["export", "a red car", "--comfyui", "--out", "graph.json"], &how[..]].concat());
    let graph = std::fs::read_to_string(desk.path("graph.json")).unwrap();
    let named =
        graph.replace("\"miniature\"", "\"flan-t5-xl\"").replace("miniature.safetensors", "there/is/none.safetensors");
    std::fs::write(desk.path("named.json"), named).unwrap();
    let model = ["--model", "miniature"];
    desk.refuses(&[&["run", "named.json", "--t5", "miniature"], &model[..]].concat(), &["go with each other alone"]);
    let ella = ["--ella", "miniature", "--t5", "miniature"];
    desk.ok(&[&["run", "named.json", "--quiet", "--out", "stand-in.png"], &model[..], &ella].concat());
    desk.ok(&["run", "graph.json", "--quiet", "--out", "own.png"]);
    assert_eq!(desk.pixels("stand-in.png"), desk.pixels("own.png"));
    desk.ok(&[&["generate", "a red car", "--method", "sd", "--quiet", "--out", "typed.png"], &how[..], &ella].concat());
    assert_eq!(desk.pixels("typed.png"), desk.pixels("own.png"));
}

/// Warnings are told though progress is not, and a flag stands in for what could not be used.
#[test]
fn boxes_that_a_graph_loses_are_told() {
    let desk = Desk::new();
    let settings = ["--steps", "1", "--seed", "1"];
    desk.ok(&[&["export", "--layout", "layout.json", "--comfyui", "--out", "graph.json"], &settings[..]].concat());
    let graph = std::fs::read_to_string(desk.path("graph.json")).unwrap();
    let spoiled = graph
        .replace("\"text\": \"a blue dog\",\n      \"width\": 40", "\"text\": \"a blue dog\",\n      \"width\": -40");
    assert_ne!(spoiled, graph);
    let spoiled = spoiled.replace("\"sampler_name\": \"ddim\"", "\"sampler_name\": \"uni_pc\"");
    std::fs::write(desk.path("spoiled.json"), spoiled).unwrap();
    desk.refuses(&["run", "spoiled.json"], &["`sampler_name` of node", "is `uni_pc`; there is euler"]);
    let output = desk.run(&["run", "spoiled.json", "--scheduler", "ddim", "--quiet", "--out", "one.png"]);
    let told = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(output.status.success() && told.contains("dropped `a blue dog`") && told.contains("no area"), "{told}");
    let shown = desk.run(&["inspect", "one.png"]);
    let shown = String::from_utf8_lossy(&shown.stdout).into_owned();
    let objects: Vec<&str> = shown.lines().filter(|line| line.starts_with("object ")).collect();
    assert!(objects.len() == 1 && objects[0].contains("a red car"), "{shown}");
}

#[test]
fn graphs_that_are_not_understood_are_refused_by_name() {
    let desk = Desk::new();
    let graph = r#"{"1": {"class_type": "LoraLoader", "inputs": {}}, "2": {"class_type": "SaveImage", "inputs": {}}}"#;
    std::fs::write(desk.path("lora.json"), graph).unwrap();
    desk.refuses(&["run", "lora.json"], &["a node is not understood: LoraLoader (node `1`)", "`images` of node `2`"]);
    std::fs::write(desk.path("none.json"), "{}").unwrap();
    desk.refuses(&["run", "none.json"], &["`none.json` is no ComfyUI graph: it has no nodes"]);
    desk.refuses(&["run", "nowhere.json"], &["nowhere.json"]);
    desk.refuses(&["run", "lora.json", "--method", "lmd"], &["leave `--method`"]);
    desk.refuses(&["export", "--comfyui"], &["nothing to export"]);
}
