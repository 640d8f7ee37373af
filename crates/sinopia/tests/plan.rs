//! Planning as a person meets it: the real binary, a scripted server on this machine, real files and caches.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "these are tests")]

#[path = "../../sinopia-planner/tests/scripted/mod.rs"]
mod scripted;

use std::path::PathBuf;
use std::process::{Command, Output, Stdio};

use scripted::{Server, chat, http, json_reply};
use serde_json::{Value, json};
use tempfile::TempDir;

const KEY: &str = "sk-do-not-show-me-0123456789";
const CAPTION: &str = "two cats in a room";
const TWO_CATS: &str =
    "[('a cat', [40, 200, 180, 200]), ('a cat', [290, 200, 180, 200])]\nBackground prompt: A room\nNegative prompt: ";
/// A llama of one layer.
const NOISE: &[u8] = include_bytes!("../../../fuzz/seeds/gguf/llama.gguf");
const ONE_CAT: &str = "[('a cat', [40, 200, 180, 200])]\nBackground prompt: A room\nNegative prompt: ";

/// A scratch folder with settings that lead to the server, and the program started inside it.
struct Desk {
    folder: TempDir,
    server: Server,
}

impl Desk {
    fn new(script: Vec<scripted::Reply>) -> Self {
        let desk = Self { folder: tempfile::tempdir().unwrap(), server: Server::start(script) };
        let settings = format!("llm-model = \"gpt-4\"\nllm-base-url = \"{}\"\n", desk.server.base_url());
        desk.put("sinopia.toml", &settings);
        desk
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn put(&self, name: &str, content: &str) {
        std::fs::write(self.path(name), content).unwrap();
    }

    fn read(&self, name: &str) -> String {
        std::fs::read_to_string(self.path(name)).unwrap()
    }

    fn json(&self, name: &str) -> Value {
        serde_json::from_str(&self.read(name)).unwrap()
    }

    fn command(&self, args: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_sinopia"));
        command.args(args).current_dir(self.folder.path()).stdin(Stdio::null());
        for (name, _) in std::env::vars().filter(|(name, _)| name.starts_with("SINOPIA_")) {
            command.env_remove(name);
        }
        command.env("XDG_CACHE_HOME", self.path("cache")).env("SINOPIA_LLM_API_KEY", KEY).env_remove("OPENAI_API_KEY");
        command
    }

    fn run(&self, args: &[&str]) -> Output {
        self.command(args).output().unwrap()
    }

    fn ok(&self, args: &[&str]) -> String {
        let output = self.run(args);
        assert!(output.status.success(), "{args:?}\n{}", stderr(&output));
        String::from_utf8(output.stdout).unwrap()
    }

    /// Runs what must fail with `code` and say every one of `words`, without the key.
    fn refuses(&self, args: &[&str], code: i32, words: &[&str]) -> String {
        let output = self.run(args);
        let message = stderr(&output);
        assert_eq!(output.status.code(), Some(code), "{args:?}\n{message}");
        for word in words {
            assert!(message.contains(word), "{args:?}: `{word}` is missing in\n{message}");
        }
        message
    }
}

fn stderr(output: &Output) -> String {
    let text = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(!text.contains(KEY) && !text.contains("panicked"), "{text}");
    text
}

#[test]
fn a_caption_becomes_a_layout_and_is_remembered() {
    let desk = Desk::new(vec![chat(ONE_CAT), chat(TWO_CATS)]);
    let printed = desk.ok(&["plan", CAPTION]);
    assert_eq!(serde_json::from_str::<Value>(&printed).unwrap()["objects"].as_array().unwrap().len(), 2);
    assert_eq!(desk.server.asked()[0].authorization.as_deref(), Some(format!("Bearer {KEY}").as_str()));
    let report: Value = serde_json::from_str(&desk.ok(&["plan", CAPTION, "--out", "cats.json", "--json"])).unwrap();
    assert_eq!((report["cached"].as_bool(), desk.server.asked().len()), (Some(true), 2));
    assert_eq!(desk.json("cats.json"), report["layout"]);
    desk.ok(&["plan", CAPTION, "--no-plan-cache"]);
    assert_eq!(desk.server.asked().len(), 3);
    let listed = desk.ok(&["cache", "list"]);
    assert!(listed.contains(CAPTION) && listed.contains("gpt-4") && listed.contains("1 layouts"), "{listed}");
    assert!(!desk.ok(&["cache", "list", "--json"]).contains(KEY));
}

#[test]
fn generate_asks_the_planner_only_where_there_is_no_layout() {
    let desk = Desk::new(vec![chat(TWO_CATS)]);
    let output = desk.run(&["generate", CAPTION, "--steps", "1", "--out", "cats.png"]);
    let shown = stderr(&output);
    assert!(
        output.status.success() && shown.contains("asking gpt-4 for a layout") && shown.contains("a cat"),
        "{shown}"
    );
    assert!(desk.path("cats.png").exists() && desk.path("cats.layout.svg").exists());
    desk.put("answers.json", &json!({CAPTION: [TWO_CATS]}).to_string());
    desk.ok(&["generate", CAPTION, "--replay", "answers.json", "--steps", "1", "--out", "replayed.png"]);
    desk.ok(&["generate", CAPTION, "--method", "sd", "--steps", "1", "--out", "plain.png"]);
    assert_eq!(desk.server.asked().len(), 1);
}

#[test]
fn the_canvas_has_the_shape_of_the_picture_unless_one_is_named() {
    for (flags, canvas) in [
        (&["--size", "96x64"][..], (768, 512)),
        (&["--size", "64x128"], (512, 1024)),
        (&[], (512, 512)),
        (&["--size", "96x64", "--canvas", "640x640"], (640, 640)),
    ] {
        let desk = Desk::new(vec![chat(TWO_CATS)]);
        let args = [&["generate", CAPTION, "--steps", "1", "--json", "--quiet", "--out", "cats.png"], flags].concat();
        let report: Value = serde_json::from_str(&desk.ok(&args)).unwrap();
        let (width, height) = canvas;
        assert_eq!(report["images"][0]["recipe"]["layout"]["canvas"], json!({"width": width, "height": height}));
        assert!(desk.server.said(0).contains(&width.to_string()), "{}", desk.server.said(0));
    }
}

#[test]
fn what_is_asked_again_and_again_is_told_once() {
    // A cat that is too small to paint is a remark: three layouts are asked for, none is perfect.
    let desk = Desk::new(vec![chat(&TWO_CATS.replace("[290, 200, 180, 200]", "[290, 200, 9, 9]"))]);
    let told = stderr(&desk.run(&["plan", CAPTION, "--candidates", "3", "--out", "cats.json"]));
    assert!(
        desk.server.asked().len() == 3 && told.contains("asking gpt-4 for up to 3 layouts to choose from"),
        "{told}"
    );
    assert_eq!(told.matches("asking").count(), 1, "{told}");
}

#[test]
fn looking_for_language_models_can_be_turned_off_in_every_way() {
    let desk = Desk::new(vec![chat(TWO_CATS)]);
    desk.ok(&["plan", CAPTION, "--llm-discovery", "never"]);
    let output = desk.command(&["plan", CAPTION]).env("SINOPIA_LLM_DISCOVERY", "off").output().unwrap();
    assert!(output.status.success(), "{}", stderr(&output));
    desk.put("sinopia.toml", "llm-discovery = \"sometimes\"\n");
    desk.refuses(&["plan", CAPTION], 2, &["sinopia.toml", "`auto`, `always` or `never`"]);
    // What is said of who plans ends the looking.
    desk.put("sinopia.toml", "llm-discovery = \"always\"\nplanner = \"built-in\"\n");
    assert!(!stderr(&desk.run(&["plan", CAPTION])).contains("runs on this machine"));
}

#[test]
fn no_server_is_asked_for_what_can_be_refused() {
    let desk = Desk::new(vec![chat(TWO_CATS)]);
    for (flags, word) in [
        (["--width", "500"], "multiples of 8"),
        (["--out", "cats.jpg"], "PNG"),
        (["--out", "no/cats.png"], "no folder"),
        (["--model", "sdxl"], "no model `sdxl`"),
        (["--sam", "nowhere"], "--sam nowhere"),
        (["--set", "colour=red"], "no option `colour`"),
        (["--scheduler", "heun"], "unknown scheduler"),
        (["--method", "lmdd"], "did you mean `lmd`?"),
    ] {
        let told = desk.refuses(&[&["generate", CAPTION], &flags[..]].concat(), 2, &[word]);
        assert!(!told.contains("asking"), "{told}");
    }
    assert!(desk.server.asked().is_empty());
}

#[test]
fn all_that_is_wrong_with_a_template_is_told_at_once() {
    let desk = Desk::new(vec![chat(TWO_CATS)]);
    desk.put("mine.jinja", "{% block prompt %}{{ captoin }} in the mood of {{ mood }}{% endblock %}");
    let told = desk.refuses(&["plan", CAPTION, "--template", "mine.jinja"], 2, &["`mine.jinja` cannot be used"]);
    for fault in
        ["no version", "no format", "`repair`", "`edit`", "did you mean `caption`?", "`mood` stands for nothing"]
    {
        assert!(told.contains(fault), "`{fault}` is missing in\n{told}");
    }
    assert!(desk.server.asked().is_empty());
}

#[test]
fn without_a_language_model_the_built_in_planner_plans() {
    let desk = Desk::new(vec![chat(TWO_CATS)]);
    desk.put("sinopia.toml", "");
    let caption = "three zorblats and a green flumox, no wuggles";
    let plan = |canvas: &str| -> Value {
        serde_json::from_str(&desk.ok(&["plan", caption, "--canvas", canvas, "--quiet"])).unwrap()
    };
    let layout = plan("512x512");
    assert_eq!(layout, plan("512x512"));
    assert_eq!(plan("768x512")["canvas"]["width"], 768);
    let objects = layout["objects"].as_array().unwrap();
    let mut names: Vec<&str> = objects.iter().map(|object| object["phrase"].as_str().unwrap()).collect();
    names.sort_unstable();
    assert_eq!(names, ["a green flumox", "a zorblat", "a zorblat", "a zorblat"]);
    assert_eq!(layout["negative"], "wuggles");
    for object in objects {
        let side = |index: usize| object["bbox"][index].as_f64().unwrap();
        assert!(side(0) >= 0.0 && side(1) >= 0.0 && side(0) + side(2) <= 512.0 && side(1) + side(3) <= 512.0);
    }
    desk.refuses(&["cache", "list"], 2, &["no cache of plans", "planning with a language model makes one"]);
    assert!(desk.server.asked().is_empty() && !desk.path("cache").exists());
}

/// Boxes that a caption asks for: how many, at least and at most, have this word in their name.
struct Asked {
    word: &'static str,
    boxes: std::ops::RangeInclusive<usize>,
}

fn asked(word: &'static str, boxes: std::ops::RangeInclusive<usize>) -> Asked {
    Asked { word, boxes }
}

#[test]
fn the_built_in_planner_loses_nothing_that_a_caption_names() {
    let desk = Desk::new(vec![]);
    desk.put("sinopia.toml", "");
    for (caption, named, negative) in [
        ("cat", vec![asked("cat", 1..=1)], ""),
        ("apples and oranges", vec![asked("apple", 2..=5), asked("orange", 2..=5)], ""),
        ("a photo of a bench", vec![asked("bench", 1..=1)], ""),
        (
            "There is a yellow umbrella that is open. In front of it lies a blue ball, and next to the ball one can see a small white cat.",
            vec![asked("blue ball", 1..=1), asked("small white cat", 1..=1), asked("yellow umbrella", 1..=1)],
            "",
        ),
        ("a dog in front of an orange ball", vec![asked("dog", 1..=1), asked("orange ball", 1..=1)], ""),
        (
            "a green car in front of three orange balls on a street, no people",
            vec![asked("green car", 1..=1), asked("orange ball", 3..=3)],
            "people",
        ),
        ("two dogs, one cat and three birds", vec![asked("dog", 2..=2), asked("cat", 1..=1), asked("bird", 3..=3)], ""),
        ("no windows and two chairs", vec![asked("chair", 2..=2)], "windows"),
        ("a park without people, cars or bicycles", vec![], "people, cars, bicycles"),
        ("zero cats", vec![], "cats"),
    ] {
        let layout: Value = serde_json::from_str(&desk.ok(&["plan", caption, "--quiet"])).unwrap();
        let names: Vec<&str> =
            layout["objects"].as_array().unwrap().iter().map(|object| object["phrase"].as_str().unwrap()).collect();
        let mut others = names.len();
        for Asked { word, boxes } in named {
            let count = names.iter().filter(|name| name.contains(word)).count();
            assert!(boxes.contains(&count), "{caption}: {word}: {names:?}");
            others -= count;
        }
        assert_eq!((others, layout["negative"].as_str().unwrap()), (0, negative), "{caption}: {names:?}");
    }
}

#[test]
fn the_built_in_planner_lays_out_the_benchmark() {
    const ANSWERS: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../sinopia-eval/tests/data/gpt-4.json");
    let answers: serde_json::Map<String, Value> =
        serde_json::from_str(&std::fs::read_to_string(ANSWERS).unwrap()).unwrap();
    let times = |answers: &Value| answers.as_array().unwrap().len();
    let all: Vec<&str> = answers.iter().flat_map(|(caption, found)| vec![caption.as_str(); times(found)]).collect();
    assert_eq!(all.len(), 400);
    let desk = Desk::new(vec![]);
    desk.put("sinopia.toml", "");
    desk.put("captions.txt", &all.join("\n"));
    desk.ok(&["plan", "--batch", "captions.txt", "--out", "answers.json", "--quiet"]);
    let report: Value =
        serde_json::from_str(&desk.ok(&["eval", "layout", "--layouts", "answers.json", "--json"])).unwrap();
    let rates = report["rates"].as_array().unwrap();
    let overall = rates.iter().find(|rate| rate["task"] == "overall").unwrap();
    assert!(overall["rate"].as_f64().unwrap() >= 0.98, "{overall}");
}

#[test]
fn what_the_built_in_planner_plans_is_painted_without_a_network() {
    let desk = Desk::new(vec![]);
    desk.put("sinopia.toml", "");
    let caption = "two red apples to the left of a sleeping cat, no dogs";
    let report: Value =
        serde_json::from_str(&desk.ok(&["generate", caption, "--steps", "1", "--json", "--quiet", "--out", "cat.png"]))
            .unwrap();
    let recipe = &report["images"][0]["recipe"];
    let objects = recipe["layout"]["objects"].as_array().unwrap();
    let mut names: Vec<&str> = objects.iter().map(|object| object["phrase"].as_str().unwrap()).collect();
    names.sort_unstable();
    assert_eq!(names, ["a red apple", "a red apple", "a sleeping cat"]);
    assert!(recipe["layout"]["negative"].as_str().unwrap().contains("dog") && desk.path("cat.png").exists());
}

#[test]
fn the_built_in_planner_says_what_it_cannot_do() {
    let desk = Desk::new(vec![chat(TWO_CATS)]);
    desk.put("sinopia.toml", "");
    desk.put("cats.txt", TWO_CATS);
    for (args, words) in [
        (vec!["plan", "zwei Katzen und ein Hund"], vec!["English", "--llm-model"]),
        (vec!["plan", "二只猫"], vec!["English"]),
        (vec!["plan", "--edit", "cats.txt", "add a hat"], vec!["cannot change a layout", "--llm-model"]),
        (vec!["plan", CAPTION, "--llm-format", "json"], vec!["takes no template", "--llm-model"]),
        (vec!["plan", CAPTION, "--planner", "openai"], vec!["--llm-model", "ollama"]),
        (vec!["plan", CAPTION, "--planner", "gguf"], vec!["FILE.gguf"]),
        (vec!["cache", "import", "cats.txt"], vec!["--llm-model"]),
    ] {
        desk.refuses(&args, 2, &words);
    }
    assert!(desk.server.asked().is_empty());
}

#[test]
fn model_files_are_read_in_process() {
    let desk = Desk::new(vec![chat(TWO_CATS)]);
    // Its weights are noise: it knows nothing, but what it writes is a layout.
    std::fs::write(desk.path("small.gguf"), NOISE).unwrap();
    std::fs::write(desk.path("cut.gguf"), &NOISE[..10_000]).unwrap();
    desk.put("none.gguf", "this is no model");
    for format in ["json", "two-step", "text"] {
        let output = desk.run(&["plan", CAPTION, "--llm-model", "small.gguf", "--llm-format", format, "--lenient"]);
        let message = stderr(&output);
        // The published prompts are longer than what this model reads.
        assert_eq!(output.status.code(), Some(2), "{message}");
        assert!(message.contains("the prompt has"), "{message}");
    }
    for (name, form) in [("json.jinja", "lmd-json"), ("text.jinja", "lmd-text"), ("two.jinja", "two-step")] {
        let short = format!(
            "{{% extends \"{form}\" %}}{{% block prompt %}}{{{{ caption }}}}{{% endblock %}}{{% block repair %}}again{{% endblock %}}"
        );
        desk.put(name, &short);
        let output = desk.run(&[
            "plan",
            CAPTION,
            "--llm-model",
            "small.gguf",
            "--template",
            name,
            "--lenient",
            "--llm-temperature",
            "0.7",
        ]);
        let message = stderr(&output);
        // What it writes may be endless, and then there is no room to ask again.
        let told = ["no usable layout", "the prompt has"].iter().any(|words| message.contains(words));
        assert!(output.status.success() || told, "{form}: {message}");
    }
    desk.refuses(&["plan", CAPTION, "--llm-model", "missing.gguf"], 2, &["missing.gguf"]);
    desk.refuses(&["plan", CAPTION, "--llm-model", "none.gguf"], 2, &["none.gguf", "GGUF"]);
    desk.refuses(&["plan", CAPTION, "--llm-model", "cut.gguf"], 2, &["cut.gguf"]);
    assert!(desk.server.asked().is_empty());
}

#[test]
fn the_responses_api_and_prices() {
    let reply = json!({
        "status": "completed",
        "output": [
            {"type": "reasoning", "content": []},
            {"type": "message", "role": "assistant", "content": [{"type": "output_text", "text": TWO_CATS}]},
        ],
        "usage": {"input_tokens": 2_000_000, "output_tokens": 1_000_000},
    });
    let desk = Desk::new(vec![json_reply("200 OK", "", &reply)]);
    let args = ["plan", CAPTION, "--llm-endpoint", "responses", "--llm-price", "0.5/2", "--json", "--out", "cats.json"];
    let report: Value = serde_json::from_str(&desk.ok(&args)).unwrap();
    assert_eq!((report["cost"].as_f64(), report["layout"]["objects"].as_array().unwrap().len()), (Some(3.0), 2));
    desk.refuses(&["plan", CAPTION, "--llm-price", "cheap"], 2, &["0.15/0.60"]);
}

#[test]
fn failures_end_with_the_last_answer_and_a_hint() {
    let desk = Desk::new(vec![chat(ONE_CAT)]);
    desk.refuses(
        &["plan", CAPTION, "--out", "cats.json"],
        1,
        &["2 × cat", "[('a cat', [40, 200, 180, 200])]", "hint: "],
    );
    assert!(!desk.path("cats.json").exists());
    let output = desk.run(&["plan", CAPTION, "--lenient", "--out", "cats.json"]);
    assert!(output.status.success() && stderr(&output).contains("warning: "), "{}", stderr(&output));
    let desk =
        Desk::new(vec![json_reply("401 Unauthorized", "", &json!({"error": {"message": format!("bad key {KEY}")}}))]);
    desk.refuses(&["plan", CAPTION], 1, &["401", "SINOPIA_LLM_API_KEY"]);
    let other = Server::start(vec![chat(TWO_CATS)]);
    let desk = Desk::new(vec![http("307 Temporary Redirect", &format!("Location: {}/x\r\n", other.address), b"")]);
    desk.refuses(&["plan", CAPTION], 1, &["redirects"]);
    assert!(other.asked().is_empty());
}

#[test]
fn a_wrong_request_is_answered_before_anything_is_sent() {
    let desk = Desk::new(vec![chat(TWO_CATS)]);
    desk.put(
        "broken.jinja",
        "{% set version = 1 %}{% set format = 'text' %}{% block prompt %}{{ captoin }}{% endblock %}",
    );
    desk.put("empty.txt", "\n\n");
    for (args, words) in [
        (vec!["plan", CAPTION, "--llm-base-url", "https://me:hunter2@host/v1"], ["SINOPIA_LLM_API_KEY", "…"]),
        (vec!["plan", CAPTION, "--llm-base-url", "gopher"], ["http://", "ollama"]),
        (vec!["plan", CAPTION, "--template", "broken.jinja"], ["broken.jinja", "did you mean `caption`?"]),
        (vec!["plan", "  "], ["caption", "empty"]),
        (vec!["plan"], ["CAPTION", "required"]),
        (vec!["plan", CAPTION, "--canvas", "wide"], ["768x512", "wide"]),
        (vec!["plan", CAPTION, "--canvas", "-5x5"], ["768x512", "-5x5"]),
        (vec!["plan", CAPTION, "--candidates", "0"], ["--candidates", "from 1 to 20"]),
        (vec!["plan", "--batch", "empty.txt"], ["empty.txt", "one a line"]),
        (vec!["plan", "--batch", "empty.txt", "--no-plan-cache"], ["--batch", "--no-plan-cache"]),
    ] {
        let message = desk.refuses(&args, 2, &words);
        assert!(!message.contains("hunter2"), "{message}");
    }
    assert!(desk.server.asked().is_empty());
}

#[test]
fn plain_http_to_another_machine_is_warned_of() {
    let desk = Desk::new(vec![]);
    // The name does not exist, so nothing is sent; the warning comes first.
    let args = [
        "plan",
        CAPTION,
        "--llm-base-url",
        "http://sinopia.invalid/v1",
        "--llm-timeout",
        "0.5",
        "--plan-timeout",
        "0.5",
    ];
    desk.refuses(&args, 1, &["warning: http://sinopia.invalid/v1 is plain http"]);
}

#[test]
fn openais_key_goes_to_openai_only() {
    let desk = Desk::new(vec![chat(TWO_CATS)]);
    let output =
        desk.command(&["plan", CAPTION]).env_remove("SINOPIA_LLM_API_KEY").env("OPENAI_API_KEY", KEY).output().unwrap();
    assert!(output.status.success(), "{}", stderr(&output));
    assert_eq!(desk.server.asked()[0].authorization, None);
}

#[test]
fn a_layout_is_changed_step_by_step() {
    let at = |x: u32| format!("[('a dog', [{x}, 200, 180, 200])]\nBackground prompt: A room\nNegative prompt: ");
    let desk = Desk::new(vec![chat(&at(150)), chat(&at(10))]);
    desk.put("dog.txt", &at(300));
    desk.ok(&["plan", "--edit", "dog.txt", "move the dog left", "--then", "further", "--out", "moved.json"]);
    assert_eq!(desk.json("moved.json")["objects"][0]["bbox"][0], 10);
    assert!(desk.server.said(0).contains("[300, 200, 180, 200]") && desk.server.said(0).contains("move the dog left"));
    assert!(desk.server.said(1).contains("[150, 200, 180, 200]") && desk.server.said(1).contains("further"));
}

#[test]
fn a_batch_can_be_taken_up_again_and_replayed() {
    let refused = json_reply("403 Forbidden", "", &json!({"error": {"message": "not today"}}));
    let desk = Desk::new(vec![chat(TWO_CATS), refused, chat(TWO_CATS)]);
    desk.put("captions.txt", "two cats in a room\n\nTwo cats\ntwo cats in a room.\n");
    let args = ["plan", "--batch", "captions.txt", "--jobs", "1", "--out", "answers.json"];
    desk.refuses(&args, 1, &["2 of 3 captions have no layout; start again to ask for those only", "not today"]);
    assert_eq!(desk.json("answers.json"), json!({CAPTION: [TWO_CATS]}));
    let report: Value = serde_json::from_str(&desk.ok(&[&args[..], &["--json"]].concat())).unwrap();
    assert_eq!((report["usage"]["requests"].as_u64(), report["usage"]["prompt_tokens"].as_u64()), (Some(2), Some(200)));
    assert_eq!(desk.json("answers.json"), json!({CAPTION: [TWO_CATS, TWO_CATS], "Two cats": [TWO_CATS]}));
    assert_eq!(desk.server.asked().len(), 4);
    desk.ok(&["generate", "Two cats", "--replay", "answers.json", "--steps", "1", "--out", "cats.png"]);
}

#[test]
fn a_batch_tells_each_caption_on_a_line() {
    let desk = Desk::new(vec![]);
    desk.put("sinopia.toml", "");
    desk.put("captions.txt", "# pets\na cat --ar 16:9\n\n#\ntwo dogs\n?!\n");
    let args = ["plan", "--batch", "captions.txt", "--jobs", "1", "--out", "answers.json"];
    let output = desk.run(&args);
    let told = stderr(&output);
    assert_eq!(output.status.code(), Some(2), "{told}");
    for line in [
        "[1/3] a cat --ar 16:9: 1 box; remark: `--ar 16:9` was left out: commands to a program, nothing to be seen\n",
        "[2/3] two dogs: 2 boxes\n",
        "1 of 3 captions have no layout; they are beyond this planner: say them in other words, or leave them out",
    ] {
        assert!(told.contains(line), "{told}without {line}");
    }
    assert!(!told.contains("start again"), "{told}");
    let rows: Value = serde_json::from_slice(&desk.run(&[&args[..], &["--json"]].concat()).stdout).unwrap();
    let remark = &rows["plans"][0]["findings"][0];
    assert_eq!((&remark["fault"], remark["text"].as_str().unwrap().contains("--ar")), (&json!(false), true), "{rows}");
}

#[test]
fn recorded_answers_are_imported_exported_and_forgotten() {
    let desk = Desk::new(vec![]);
    desk.put("answers.json", &json!({CAPTION: [TWO_CATS, ONE_CAT], "a dog": ["nonsense"]}).to_string());
    let printed = desk.ok(&["cache", "import", "answers.json"]);
    assert!(printed.contains("imported 1 answers; 0 were known, 2 left out"), "{printed}");
    desk.ok(&["plan", CAPTION, "--out", "cats.json"]);
    desk.ok(&["cache", "export", "out.json", "--model", "gpt-4"]);
    assert_eq!(desk.json("out.json"), json!({CAPTION: [TWO_CATS]}));
    assert!(desk.server.asked().is_empty());
    desk.refuses(&["cache", "clear"], 2, &["--all"]);
    assert!(desk.ok(&["cache", "clear", "--caption", "CATS"]).contains("forgot 1"));
    assert!(desk.ok(&["cache", "list"]).contains("0 layouts"));
}

#[test]
fn processes_share_one_cache() {
    let desk = Desk::new(vec![chat(TWO_CATS)]);
    let captions: String = (0..6).map(|number| format!("two cats in room number {number}\n")).collect();
    desk.put("captions.txt", &captions);
    let args =
        |out: &str| ["plan", "--batch", "captions.txt", "--jobs", "2", "--quiet", "--out", out].map(str::to_owned);
    let children: Vec<_> = (0..4)
        .map(|number| {
            let out = format!("answers-{number}.json");
            let args = args(&out);
            let args: Vec<&str> = args.iter().map(String::as_str).collect();
            desk.command(&args).stderr(Stdio::piped()).stdout(Stdio::null()).spawn().unwrap()
        })
        .collect();
    for child in children {
        let output = child.wait_with_output().unwrap();
        assert!(output.status.success(), "{}", stderr(&output));
    }
    assert!(desk.ok(&["cache", "list"]).contains("6 layouts"));
    for number in 1..4 {
        assert_eq!(desk.read(&format!("answers-{number}.json")), desk.read("answers-0.json"));
    }
}

#[test]
fn layouts_are_converted_there_and_back() {
    let desk = Desk::new(vec![]);
    desk.put("cats.txt", TWO_CATS);
    desk.ok(&["convert", "cats.txt", "--to", "json", "--out", "cats.json"]);
    for (format, file) in [
        ("coco", "cats.coco.json"),
        ("ideogram", "cats.ideogram.json"),
        ("omost", "cats.py"),
        ("labelme", "l.json"),
        ("text", "t.txt"),
    ] {
        desk.ok(&["convert", "cats.json", "--to", format, "--caption", CAPTION, "--out", file]);
        let back: Value = serde_json::from_str(&desk.ok(&["convert", file, "--to", "json"])).unwrap();
        let phrases: Vec<_> =
            back["objects"].as_array().unwrap().iter().map(|object| object["phrase"].clone()).collect();
        assert_eq!(
            (phrases, &back["background"]),
            (vec![json!("a cat"), json!("a cat")], &json!("A room")),
            "{format}"
        );
    }
    assert_eq!(desk.ok(&["convert", "cats.coco.json", "--to", "text"]).trim_end(), TWO_CATS.trim_end());
    desk.put("broken.py", "canvas.add_local_description(location=3)");
    desk.refuses(&["convert", "broken.py", "--to", "json"], 2, &["broken.py", "1:"]);
}

#[test]
fn another_canvas_is_asked_for_where_a_format_names_none() {
    let desk = Desk::new(vec![]);
    let wide = json!({"canvas": {"width": 768, "height": 512}, "background": "A street", "negative": "",
        "objects": [{"phrase": "a red car", "bbox": [600, 260, 150, 160]}]});
    desk.put("wide.json", &wide.to_string());
    for (format, file) in [("text", "t.txt"), ("moss", "m.json"), ("flux3", "f.txt")] {
        desk.ok(&["convert", "wide.json", "--to", format, "--out", file]);
        let read = ["convert", file, "--to", "json"];
        let told = stderr(&desk.run(&read)); // of the text form nothing is left: its box lies outside
        assert!(told.contains("`sinopia convert --canvas WIDTHxHEIGHT` takes another"), "{format}: {told}");
        let back: Value = serde_json::from_str(&desk.ok(&[&read[..], &["--canvas", "768x512"]].concat())).unwrap();
        assert_eq!((&back["background"], &back["canvas"]), (&wide["background"], &wide["canvas"]), "{format}");
        let x = back["objects"][0]["bbox"][0].as_f64().unwrap();
        assert!((x - 600.0).abs() < 1.0, "{format}: {back}");
    }
    let told = desk.refuses(&["convert", "wide.json", "--from", "svg", "--to", "json"], 2, &["[possible values: json"]);
    assert!(!told.contains("svg]"), "{told}");
    desk.put("far.txt", "[('a red car', [1600, 500, 950, 800])]\nBackground prompt: A street");
    let words = ["none of its boxes can be painted", "lies outside the canvas", "--canvas WIDTHxHEIGHT"];
    desk.refuses(&["convert", "far.txt", "--to", "json"], 2, &words);
}

#[test]
fn imports_keep_what_is_good_and_tell_the_rest() {
    let desk = Desk::new(vec![]);
    desk.put(
        "coco.json",
        r#"{"images": [{"id": "a7", "width": 640, "height": 480}, {"id": 9, "width": 64, "height": 48}],
        "categories": [{"id": 1, "name": "car"}], "annotations": [
            {"image_id": "a7", "category_id": 1, "bbox": [300.1, 200, 500, 150]}, {"image_id": "a7", "category_id": 1, "bbox": []},
            {"image_id": "a7", "category_id": 1, "bbox": [1, 2, 30, 40], "iscrowd": 1}, {"image_id": 9, "category_id": 1, "bbox": [1, 2, 3, 4]}]}"#,
    );
    desk.refuses(&["convert", "coco.json", "--to", "json"], 2, &["2 images", "a7, 9"]);
    let output = desk.run(&["convert", "coco.json", "--to", "json", "--image", "a7"]);
    let layout: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(layout["objects"], json!([{"phrase": "car", "bbox": [300.1, 200, 339.9, 150]}]));
    let told = stderr(&output);
    for note in [
        "note: `car` is left out: its box [] is not 4 numbers",
        "a crowd of `car`",
        "1 annotation of other images",
        "cut `car`",
    ] {
        assert!(told.contains(note), "{told} without {note}");
    }
    // Detections say no size; numbers are short, and a caption stands in its fence.
    desk.put("found.json", r#"[{"image_id": 42, "category_id": 18, "bbox": [25.6, 41.3, 300, 240], "score": 0.9}]"#);
    desk.refuses(&["convert", "found.json", "--to", "json"], 2, &["--canvas"]);
    assert!(
        desk.ok(&["convert", "found.json", "--to", "text", "--canvas", "640x480"])
            .contains("('dog', [25.6, 41.3, 300, 240])")
    );
    desk.put("caption.txt", "Here:\n```json\n{\"background\": \"A sea\", \"elements\": [{\"bbox\": [60, 80, 260, 920], \"desc\": \"a boat\"}]}\n```\n");
    assert!(desk.ok(&["convert", "caption.txt", "--to", "json"]).contains("[40.96, 30.72, 430.08, 102.4]"));
}
