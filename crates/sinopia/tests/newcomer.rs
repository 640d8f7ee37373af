//! What a newcomer types: near misses, other programs' words, files in each other's places, pipes that are closed. Every answer is one that helps.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "these are tests")]

use std::net::TcpListener;
use std::path::PathBuf;
use std::process::{Command, Output, Stdio};

use serde_json::{Value, json};
use tempfile::TempDir;

const LAYOUT: &str = include_str!("../../../examples/blue-dog-white-bowl.json");
/// A tiny checkpoint with random weights, without grounding adapters.
const PLAIN: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../../parity/fixtures/models/small");
const PLANS: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../../tests/compatibility/plans.sqlite");
const ANSWER: &str = "[('a cat', [50, 200, 200, 300])]\nBackground prompt: A room\nNegative prompt: ";
/// Plain Stable Diffusion in one step: the shortest painting there is.
const QUICK: [&str; 6] = ["generate", "a cat", "--method", "sd", "--steps", "1"];

/// A scratch folder with one file of each kind, and the program started inside it.
struct Desk(TempDir);

impl Desk {
    fn new() -> Self {
        let desk = Self(tempfile::tempdir().unwrap());
        desk.put("layout.json", LAYOUT);
        desk.put("answers.json", &json!({ "a cat": [ANSWER] }).to_string());
        desk.put("graph.json", r#"{"3": {"class_type": "KSampler", "inputs": {}}}"#);
        desk.put("coco.json", r#"{"images": [], "annotations": [], "categories": []}"#);
        desk.put("captions.txt", "a cat\na dog\n");
        desk.put("empty", "");
        std::fs::write(desk.path("photo.jpg"), b"\xff\xd8\xff\xe0").unwrap();
        std::fs::create_dir(desk.path("folder")).unwrap();
        desk
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    fn put(&self, name: &str, content: &str) {
        std::fs::write(self.path(name), content).unwrap();
    }

    fn files(&self) -> Vec<std::ffi::OsString> {
        let mut names: Vec<_> =
            std::fs::read_dir(self.0.path()).unwrap().map(|entry| entry.unwrap().file_name()).collect();
        names.sort();
        names
    }

    fn command(&self, args: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_sinopia"));
        command.args(args).current_dir(self.0.path()).stdin(Stdio::null());
        for (name, _) in std::env::vars().filter(|(name, _)| name.starts_with("SINOPIA_")) {
            command.env_remove(name);
        }
        for (name, folder) in [("XDG_CACHE_HOME", "cache"), ("XDG_DATA_HOME", "data"), ("HF_HOME", "hub")] {
            command.env(name, self.path(folder));
        }
        command.env("HF_HUB_OFFLINE", "1");
        command
    }

    fn ok(&self, args: &[&str]) -> Output {
        let output = self.command(args).output().unwrap();
        assert_eq!(output.status.code(), Some(0), "{args:?}\n{}", stderr(&output));
        output
    }

    fn recipe(&self, image: &str) -> Value {
        serde_json::from_slice(&self.ok(&["inspect", image, "--json"]).stdout).unwrap()
    }

    /// Runs what cannot be used: exit code 2, every one of `words` said, nothing on stdout, no file made.
    fn refuses(&self, args: &[&str], words: &[&str]) {
        let before = self.files();
        let output = self.command(args).output().unwrap();
        let message = stderr(&output);
        assert_eq!(output.status.code(), Some(2), "{args:?}\n{message}");
        for word in words {
            assert!(message.contains(word), "{args:?}: `{word}` is missing in\n{message}");
        }
        assert!(output.stdout.is_empty() && self.files() == before, "{args:?} did something");
    }
}

fn stderr(output: &Output) -> String {
    let text = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(!text.contains("panicked"), "{text}");
    text
}

#[test]
fn a_command_without_what_it_is_about_asks_for_it() {
    let desk = Desk::new();
    let output = desk.command(&["generate"]).output().unwrap();
    assert_eq!(output.status.code(), Some(2));
    insta::assert_snapshot!(stderr(&output), @r#"
    error: there is nothing to paint yet: say what
    hint: a caption in quotes is laid out and painted: `sinopia generate "two red apples to the left of a sleeping cat"`,
          `--layout FILE` paints a layout of your own, `--from IMAGE` an image that was made before
    "#);
    desk.refuses(&["generate", "--method", "sd"], &["say what"]);
    desk.refuses(&["generate", "--replay", "answers.json"], &["`--replay` looks up a caption"]);
}

#[test]
fn names_are_known_however_they_are_written() {
    let desk = Desk::new();
    for (method, name) in [("LMD+", "lmd-plus"), ("Box Diff", "boxdiff")] {
        desk.ok(&["paint", "layout.json", "--method", method, "--steps", "1", "-o", "x.png"]);
        assert_eq!(desk.recipe("x.png")["method"], name, "{method}");
    }
    for (scheduler, name) in [("DPM++ 2M", "dpm-solver++"), ("euler_a", "euler-ancestral")] {
        desk.ok(&[&QUICK[..], &["--scheduler", scheduler, "-o", "x.png"]].concat());
        assert_eq!(desk.recipe("x.png")["sampling"]["scheduler"], name, "{scheduler}");
    }
    desk.ok(&["paint", "layout.json", "--set", "Frozen-Step-Ratio=0.25", "--steps", "1", "-o", "x.png"]);
    assert_eq!(desk.recipe("x.png")["options"]["frozen_step_ratio"], 0.25);
    desk.ok(&["generate", "--from", "x.png", "--method", "Lmd", "--model", "MINIATURE", "-o", "y.png"]);
    assert_eq!(std::fs::read(desk.path("x.png")).unwrap(), std::fs::read(desk.path("y.png")).unwrap());
}

#[test]
fn a_slip_is_answered_with_what_was_meant() {
    let desk = Desk::new();
    let cases: &[(&[&str], &str)] = &[
        (&["generate", "a cat", "--method", "lmdd"], "did you mean `lmd`? There are sd, "),
        (&["generate", "a cat", "--method", "magic"], "choose one of sd, "),
        (&["generate", "a cat", "--method", "diffusers-lmd-plus"], "it is a preset, `--preset diffusers-lmd-plus`"),
        (&["generate", "a cat", "--preset", "lmd"], "it is a method, `--method lmd`"),
        (&["generate", "a cat", "--preset", "diffuser-lmd-plus"], "did you mean `diffusers-lmd-plus`?"),
        (&["generate", "a cat", "--scheduler", "eular"], "did you mean `euler`?"),
        (&["generate", "a cat", "--scheduler", "k_dpmpp_2n"], "did you mean `dpm-solver++`?"),
        (&["generate", "a cat", "--set", "frozen_step=0.5"], "did you mean `frozen_step_ratio`?"),
        (&["generate", "a cat", "--model", "minature"], "did you mean `miniature`?"),
        (&["generate", "a cat", "--model", "sdxl"], "other families are not"),
        (&["generate", "a cat", "--model", "SD-1.5"], "`stable-diffusion-v1-5/stable-diffusion-v1-5`"),
        (&["models", "pull", "flux"], "other families are not"),
        (&["generat", "a cat"], "'generate'"),
        (&["generate", "a cat", "--sedd", "4"], "'--seed'"),
        (&["generate", "a cat", "--seed", "-1"], "or `random`"),
        (&["eval", "layout", "--layouts", "answers.json", "--benchmark", "lmdd"], "did you mean `lmd`?"),
        (&["eval", "layout", "--layouts", "answers.json", "--task", "spatail"], "did you mean `spatial`?"),
        (&["plan", "a cat", "--llm-model", "x", "--llm-base-url", "olama"], "did you mean `ollama`?"),
        (&["generate", "a cat", "-n", "4"], "`--count N`"),
        (&["generate", "--prompt", "a cat"], "without a flag"),
        (&["serve", "--port", "8080"], "`--listen HOST:PORT`"),
        (&["two", "red", "apples"], "`sinopia generate \"two red apples\"`"),
        (&["generate", "two", "red", "apples"], "`sinopia generate \"two red apples\"`"),
    ];
    for (args, words) in cases {
        desk.refuses(args, &[words]);
    }
}

#[test]
fn a_file_in_the_wrong_place_is_told_where_it_belongs() {
    let desk = Desk::new();
    desk.ok(&[&QUICK[..], &["-o", "dog.png"]].concat());
    let (image, layout) = ("`sinopia generate --from dog.png` makes it again", "`sinopia paint layout.json` paints it");
    let (graph, answers) = ("`sinopia run graph.json` paints it", "--replay answers.json` takes");
    let cases: &[(&[&str], &str)] = &[
        (&["dog.png"], image),
        (&["generate", "dog.png"], image),
        (&["paint", "dog.png"], image),
        (&["convert", "dog.png", "--to", "json"], image),
        (&["generate", "a cat", "--layout", "dog.png"], image),
        (&["layout.json"], layout),
        (&["generate", "layout.json"], layout),
        (&["plan", "layout.json"], layout),
        (&["generate", "--from", "layout.json"], layout),
        (&["inspect", "layout.json"], layout),
        (&["check", "layout.json"], layout),
        (&["generate", "a cat", "--replay", "layout.json"], layout),
        (&["eval", "layout", "--layouts", "layout.json"], layout),
        (&["graph.json"], graph),
        (&["paint", "graph.json"], graph),
        (&["answers.json"], answers),
        (&["generate", "a cat", "--layout", "answers.json"], answers),
        (&["coco.json"], "`sinopia convert coco.json --to json"),
        (&["paint", "coco.json"], "`sinopia convert coco.json --to json"),
        (&["inspect", "photo.jpg"], "`photo.jpg` is a JPEG picture"),
        (&["inspect", "empty"], "`empty` is empty"),
        (&["paint", "empty"], "`empty` is empty"),
        (&["inspect", "folder"], "is a folder"),
        (&["paint", "folder"], "is a folder"),
        (&["plan", "--batch", "folder"], "is a folder"),
        (&["plan", "--batch", "empty"], "has no caption"),
        (&["generate", "a cat", "--config", "folder"], "is a folder"),
        (&["nowhere.png"], "there is no file `nowhere.png`"),
        (&["paint", "a cat"], "`sinopia generate \"a cat\"`"),
    ];
    for (args, words) in cases {
        desk.refuses(args, &[words]);
    }
}

#[test]
fn a_picture_can_be_sized_and_seeded_at_once() {
    let desk = Desk::new();
    let told = stderr(&desk.ok(&[&QUICK[..], &["--size", "64x32", "--seed", "random", "-o", "x.png"]].concat()));
    let sampling = desk.recipe("x.png")["sampling"].clone();
    assert_eq!((&sampling["width"], &sampling["height"]), (&json!(64), &json!(32)));
    let seed = sampling["seed"].to_string().trim_matches('"').to_owned();
    assert!(told.contains(&format!("1 step, seed {seed}\n")), "{told}");
    desk.ok(&[&QUICK[..], &["--size", "64x32", "--seed", &seed, "-o", "y.png"]].concat());
    assert_eq!(std::fs::read(desk.path("x.png")).unwrap(), std::fs::read(desk.path("y.png")).unwrap());
    let told =
        stderr(&desk.ok(&[&QUICK[..], &["--size", "32", "--seed", "7", "--count", "2", "-o", "z.png"]].concat()));
    assert!(told.contains("1 step, seeds 7 to 8\n"), "{told}");
    desk.ok(&["generate", "--from", "x.png", "--size", "32x32", "-o", "small.png"]);
    assert_eq!(desk.recipe("small.png")["sampling"]["width"], 32);
}

/// What is refused before a caption is laid out leaves no trace of planning.
#[test]
fn what_can_be_refused_is_refused_before_planning() {
    let desk = Desk::new();
    let cases: &[(&[&str], &[&str])] = &[
        (&["--width", "500"], &["500 × 128 pixels", "multiples of 8"]),
        (&["--size", "128x100"], &["128 × 100 pixels", "multiples of 8"]),
        (&["--out", "x.jpg"], &["written as PNG", "name it `x.png`"]),
        (&["--out", "x.json"], &["written as PNG"]),
        (&["--out", "no/x.png"], &["there is no folder `no`"]),
        (&["--out", "folder"], &["it is a folder"]),
        (&["--model", "sdxl"], &["no model `sdxl`"]),
        (&["--model", "./nowhere"], &["`./nowhere` does not exist"]),
        (&["--model", "folder"], &["the folder is empty"]),
        (&["--method", "gligen", "--model", PLAIN], &["adapters"]),
        (&["--sam", "nowhere.safetensors"], &["--sam nowhere.safetensors"]),
        (&["--set", "colour=red"], &["no option `colour`"]),
        (&["--set", "frozen_step_ratio=much"], &["much"]),
        (&["--set", "frozen_step_ratio"], &["name=value"]),
        (&["--scheduler", "heun"], &["unknown scheduler `heun`"]),
        (&["--text-encoder", "ella", "--t5", "nowhere", "--ella", "nowhere"], &["--t5 nowhere"]),
        (&["--debug-maps", "layout.json"], &["that is a file"]),
    ];
    for (flags, words) in cases {
        let args = [&["generate", "a cat"], *flags].concat();
        desk.refuses(&args, words);
        let told = stderr(&desk.command(&args).output().unwrap());
        assert!(!told.contains("planned") && !told.contains("asking"), "{args:?}\n{told}");
    }
}

#[test]
fn nothing_is_written_over_what_it_is_made_from() {
    let desk = Desk::new();
    desk.ok(&[&QUICK[..], &["-o", "dog.png"]].concat());
    let sources = ["dog.png", "layout.json", "answers.json", "captions.txt", "graph.json"];
    let before = sources.map(|name| std::fs::read(desk.path(name)).unwrap());
    let cases: &[&[&str]] = &[
        &["generate", "--from", "dog.png", "--seed", "2", "-o", "dog.png"],
        &["generate", "--from", "dog.png", "-o", "./folder/../dog.png"],
        &["convert", "layout.json", "--to", "coco", "-o", "layout.json"],
        &["plan", "--batch", "captions.txt", "-o", "captions.txt"],
        &["plan", "--edit", "layout.json", "add a hat", "--llm-model", "x", "-o", "layout.json"],
        &["export", "a cat", "--layout", "layout.json", "--comfyui", "-o", "layout.json"],
    ];
    for args in cases {
        desk.refuses(args, &["would write over"]);
    }
    desk.put("painting.layout.svg", ANSWER);
    desk.refuses(&["paint", "painting.layout.svg", "--steps", "1"], &["would write over"]);
    assert_eq!(sources.map(|name| std::fs::read(desk.path(name)).unwrap()), before);
    for args in [&["plan", "a cat", "-o", "cat.png"][..], &["convert", "layout.json", "--to", "svg", "-o", "x.jpg"]] {
        desk.refuses(args, &["text, not a picture"]);
    }
}

#[test]
fn a_protected_file_stays_as_it_is() {
    let desk = Desk::new();
    desk.put("mine.png", "mine");
    let path = desk.path("mine.png");
    let mut permissions = path.metadata().unwrap().permissions();
    permissions.set_readonly(true);
    std::fs::set_permissions(&path, permissions).unwrap();
    desk.refuses(&[&QUICK[..], &["-o", "mine.png"]].concat(), &["mine.png", "write-protected"]);
    assert_eq!(std::fs::read_to_string(path).unwrap(), "mine");
}

#[cfg(target_os = "linux")]
#[test]
fn names_of_files_need_not_be_utf_8() {
    use std::ffi::OsStr;
    use std::os::unix::ffi::OsStrExt;
    let desk = Desk::new();
    let odd = |name: &'static [u8]| OsStr::from_bytes(name);
    let paint = |flags: &[&str]| {
        let mut command = desk.command(&[&QUICK[..], flags, &["-o"]].concat());
        command.arg(odd(b"caf\xe9.png")).output().unwrap()
    };
    let output = paint(&["--json"]);
    assert!(output.status.success(), "{}", stderr(&output));
    let report: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(report["images"][0]["file"], "caf\u{fffd}.png");
    assert!(desk.path("").join(odd(b"caf\xe9.png")).is_file());
    assert!(paint(&["--count", "2"]).status.success());
    assert!(desk.path("").join(odd(b"caf\xe9-002.png")).is_file());
    let output = desk.command(&["generate"]).arg(odd(b"caf\xe9")).output().unwrap();
    assert_eq!(output.status.code(), Some(2));
    assert!(stderr(&output).contains("is not UTF-8"), "{}", stderr(&output));
}

/// The end of a pipe that nobody reads any more.
fn closed_pipe() -> std::io::PipeWriter {
    let (reader, writer) = std::io::pipe().unwrap();
    drop(reader);
    writer
}

#[test]
fn closed_pipes_are_left_in_silence() {
    let desk = Desk::new();
    desk.ok(&[&QUICK[..], &["-o", "cat.png"]].concat());
    std::fs::copy(PLANS, desk.path("plans.sqlite")).unwrap();
    let printing: &[&[&str]] = &[
        &["inspect", "cat.png"],
        &["inspect", "cat.png", "--json"],
        &["models", "list"],
        &["models", "info"],
        &["bench", "--rounds", "1", "--quiet"],
        &["cache", "list", "--file", "plans.sqlite"],
        &["completions", "bash"],
        &["completions", "fish"],
        &["convert", "layout.json", "--to", "text"],
        &["export", "a cat", "--comfyui"],
        &["--help"],
        &["--version"],
        &["help", "generate"],
    ];
    for args in printing {
        let output = desk.command(args).stdout(closed_pipe()).output().unwrap();
        assert_eq!((output.status.code(), stderr(&output).as_str()), (Some(0), ""), "{args:?}");
    }
    // Pictures are made all the same, whoever stops listening.
    let to_stdout =
        desk.command(&[&QUICK[..], &["--quiet", "-o", "-"]].concat()).stdout(closed_pipe()).output().unwrap();
    assert_eq!((to_stdout.status.code(), stderr(&to_stdout).as_str()), (Some(0), ""));
    let status = desk.command(&[&QUICK[..], &["-o", "told.png"]].concat()).stderr(closed_pipe()).status().unwrap();
    assert!(status.success() && desk.path("told.png").is_file(), "{status}");
    let status = desk.command(&["paint", "nowhere.json"]).stderr(closed_pipe()).status().unwrap();
    assert_eq!(status.code(), Some(2));
}

#[test]
fn a_server_says_where_else_it_could_listen() {
    let desk = Desk::new();
    let other = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = other.local_addr().unwrap().port();
    for place in [format!("127.0.0.1:{port}"), format!("localhost:{port}"), format!("{port}")] {
        let output = desk.command(&["serve", "--data", "jobs", "--listen", &place]).output().unwrap();
        let told = stderr(&output);
        assert_eq!(output.status.code(), Some(2), "{told}");
        assert!(
            told.contains(&format!("cannot listen on 127.0.0.1:{port}"))
                && told.contains("`--listen 127.0.0.1:0` any free one"),
            "{told}"
        );
    }
    desk.refuses(&["serve", "--listen", "localhost:http"], &["`http` is no port"]);
}

#[test]
fn nobody_there_is_one_sentence() {
    let desk = Desk::new();
    // Nobody listens on a port that was just given back.
    let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let address = format!("http://127.0.0.1:{port}");
    let run = |args: &[&str]| {
        let mut command = desk.command(args);
        let output = command.env("HF_HUB_OFFLINE", "0").env("HF_ENDPOINT", &address).output().unwrap();
        assert_eq!(output.status.code(), Some(1), "{args:?}");
        stderr(&output).replace(&address, "ADDRESS")
    };
    let hub = run(&["models", "pull", "someone/something"]);
    insta::assert_snapshot!(hub, @"
    error: no network: ADDRESS cannot be reached (nothing listens there), so `someone/something` cannot be fetched
    hint: a folder, a file and `miniature` need no network; HF_ENDPOINT names another server, HTTPS_PROXY a proxy
    ");
    assert_eq!(run(&["generate", "a cat", "--model", "someone/something"]), hub);
    insta::assert_snapshot!(run(&["generate", "a cat", "--server", &address]), @"
    error: no server answers at ADDRESS: nothing listens there
    hint: `sinopia serve` starts one and says its address
    ");
}
