//! `sinopia eval` as a person meets it: layouts judged, captions painted, killed, resumed, shared, scored and reported.
//!
//! The real binary paints on the real miniature with few steps; the detector is the tiny random one of `parity/`, which sees nonsense, reproducibly.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "these are tests")]

#[path = "../../sinopia-planner/tests/scripted/mod.rs"]
mod scripted;

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::time::Duration;

use scripted::{Server, chat, http};
use serde_json::Value;
use tempfile::TempDir;

const GPT_3_5: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../sinopia-eval/tests/data/gpt-3.5.json");
const GPT_4: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../sinopia-eval/tests/data/gpt-4.json");
const CLIP: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../../parity/fixtures/models/clip");
const DETECTOR: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../../parity/fixtures/models/owlvit");

/// A scratch folder and the program, started inside it.
struct Desk(TempDir);

impl Desk {
    fn new() -> Self {
        Self(tempfile::tempdir().unwrap())
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    fn command(&self, args: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_sinopia"));
        command.args(args).current_dir(self.0.path()).env("HF_HUB_OFFLINE", "1").stdin(Stdio::null());
        for name in ["SINOPIA_MODEL", "SINOPIA_METHOD", "SINOPIA_STEPS", "SINOPIA_CONFIG"] {
            command.env_remove(name);
        }
        command
    }

    fn run(&self, args: &[&str]) -> Output {
        self.command(args).output().unwrap()
    }

    fn ok(&self, args: &[&str]) -> Output {
        let output = self.run(args);
        assert!(output.status.success(), "{args:?}\n{}", stderr(&output));
        output
    }

    fn refuses(&self, args: &[&str], code: i32, words: &[&str]) {
        let output = self.run(args);
        let message = stderr(&output);
        assert_eq!(output.status.code(), Some(code), "{args:?}\n{message}");
        for word in words {
            assert!(message.contains(word), "{args:?}: `{word}` is missing in\n{message}");
        }
        assert!(!message.contains("panicked"), "{message}");
    }

    /// Every file below a folder of the desk, by relative name.
    fn files(&self, folder: &str) -> BTreeSet<String> {
        let mut names = BTreeSet::new();
        let mut folders = vec![self.path(folder)];
        while let Some(inner) = folders.pop() {
            for entry in std::fs::read_dir(&inner).unwrap() {
                let path = entry.unwrap().path();
                match path.is_dir() {
                    true => folders.push(path),
                    false => {
                        names.insert(path.strip_prefix(self.path(folder)).unwrap().to_str().unwrap().to_owned());
                    }
                }
            }
        }
        names
    }

    fn images(&self, run: &str) -> BTreeSet<String> {
        self.files(run).into_iter().filter(|name| name.ends_with(".png")).collect()
    }
}

fn stderr(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

/// The arguments of a small run: plain Stable Diffusion, two steps, so many captions of each task.
fn small_run<'a>(out: &'a str, limit: &'a str) -> Vec<&'a str> {
    [
        "eval",
        "image",
        "--method",
        "sd",
        "--ignore-negative-prompt",
        "--layouts",
        GPT_4,
        "--steps",
        "2",
        "--threads",
        "1",
        "--detector",
        "none",
    ]
    .into_iter()
    .chain(["--out", out, "--limit", limit])
    .collect()
}

#[test]
fn layouts_are_judged_beside_the_published_figures() {
    let desk = Desk::new();
    let output = desk.ok(&["eval", "layout", "--layouts", GPT_3_5]);
    let text = String::from_utf8(output.stdout).unwrap();
    for part in [
        "| **gpt-3.5.json** | 100.0",
        "layouts by GPT-3.5 (published) | 100 | 97 | 100 | 99 | 99.0",
        "one cat",
        "| 400 |",
    ] {
        assert!(text.contains(part), "`{part}` is missing in\n{text}");
    }
    let output = desk.ok(&["eval", "layout", "--layouts", GPT_4, "--strict", "--json"]);
    let report: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(report["protocol"], "strict");
    assert_eq!(report["rates"][4]["passed"], 400);
    assert_eq!(report["failures"].as_array().unwrap().len(), 0);
}

#[test]
fn a_run_is_painted_once_scored_and_reported() {
    let desk = Desk::new();
    let args = small_run("runs/sd", "1");
    let shown = stderr(&desk.ok(&args));
    assert!(shown.contains("4/4") && shown.contains("not scored"), "{shown}");
    assert_eq!(
        desk.images("runs/sd"),
        ["0/img_0.png", "100/img_0.png", "200/img_0.png", "300/img_0.png"].map(str::to_owned).into()
    );
    let recipe: Value =
        serde_json::from_slice(&desk.ok(&["inspect", "runs/sd/200/img_0.png", "--json"]).stdout).unwrap();
    assert_eq!(
        (recipe["sampling"]["seed"].as_u64(), recipe["options"]["ignore_negative_prompt"].as_bool()),
        (Some(200), Some(true))
    );

    let record: Value = serde_json::from_slice(&std::fs::read(desk.path("runs/sd/200/img_0.json")).unwrap()).unwrap();
    assert_eq!((record["attempts"].as_u64(), &record["work"]), (Some(1), &record["first_painting"]));
    assert!(record["work"].as_u64() > Some(1_000_000) && record["seconds"].as_f64() > Some(0.0), "{record}");

    let when = |name: &str| std::fs::metadata(desk.path(name)).unwrap().modified().unwrap();
    let before = when("runs/sd/200/img_0.png");
    desk.ok(&args);
    assert_eq!(when("runs/sd/200/img_0.png"), before, "it was painted again");

    let output = desk.ok(&["eval", "score", "runs/sd", "--detector", DETECTOR]);
    let table = String::from_utf8(output.stdout).unwrap();
    assert!(
        table.contains("| **sd** |") && table.contains("Stable Diffusion 1.5 (published) | 28 | 39 | 52 | 28"),
        "{table}"
    );
    let scores = std::fs::read(desk.path("runs/sd/scores.json")).unwrap();
    let second = [&small_run("runs/two", "1")[..], &["--seed-offset", "5"]].concat();
    let second: Vec<&str> = second.iter().map(|arg| if *arg == "none" { DETECTOR } else { *arg }).collect();
    desk.ok(&second);
    desk.ok(&["eval", "report", "runs/sd", "runs/two", "--out", "page"]);
    let report: Value = serde_json::from_slice(&std::fs::read(desk.path("page.json")).unwrap()).unwrap();
    assert_eq!(report["runs"][1]["label"], "two");
    assert_eq!(report["runs"][0]["rates"]["strict"][4]["total"], 4);
    assert_eq!(report["comparisons"]["published"][0]["captions"], 4);
    let page = std::fs::read_to_string(desk.path("page.html")).unwrap();
    assert_eq!(page.matches("data:image/jpeg;base64,").count(), 8);
    for outside in ["http://", "https://"] {
        let found = page.matches(outside).count()
            - page.matches("http://www.w3.org/2000/svg").count() * usize::from(outside == "http://");
        assert_eq!(found, 0, "the page reaches out to {outside}");
    }
    let markdown = std::fs::read_to_string(desk.path("page.md")).unwrap();
    assert!(markdown.contains("McNemar") && markdown.contains("seen by `owlvit`"), "{markdown}");
    assert!(markdown.contains("## What a picture costs") && markdown.contains("| 1.00 |"), "{markdown}");

    // What is scored is not looked at again; what changed is.
    std::fs::copy(desk.path("runs/two/0/img_0.png"), desk.path("runs/sd/0/img_0.png")).unwrap();
    desk.ok(&["eval", "score", "runs/sd", "--detector", DETECTOR, "--json"]);
    let again: Value = serde_json::from_slice(&std::fs::read(desk.path("runs/sd/scores.json")).unwrap()).unwrap();
    let scores: Value = serde_json::from_slice(&scores).unwrap();
    assert_ne!(again["images"][0]["sha256"], scores["images"][0]["sha256"]);
    assert_eq!(again["images"][1], scores["images"][1]);
}

#[test]
fn the_best_of_several_attempts_is_kept_with_what_it_cost() {
    let desk = Desk::new();
    let args = [
        "eval",
        "image",
        "--method",
        "gligen",
        "--layouts",
        GPT_4,
        "--steps",
        "2",
        "--task",
        "attribution",
        "--limit",
        "2",
        "--out",
        "run",
    ];
    let checked = [&args[..], &["--attempts", "2", "--repair"]].concat();
    desk.ok(&checked);
    let json = |name: &str| -> Value { serde_json::from_slice(&std::fs::read(desk.path(name)).unwrap()).unwrap() };
    let check = &json("run/run.json")["settings"]["check"];
    assert_eq!(
        (check["attempts"].as_u64(), check["repair"].as_bool(), check["evaluator"]["id"].as_str()),
        (Some(2), Some(true), Some("miniature"))
    );
    for index in [200, 201] {
        let record = json(&format!("run/{index}/img_0.json"));
        let (work, first) = (record["work"].as_u64().unwrap(), record["first_painting"].as_u64().unwrap());
        let (attempts, right) = (record["attempts"].as_u64().unwrap(), record["chosen_as_right"].as_bool().unwrap());
        assert!(work >= first && first > 0 && (right || attempts >= 2), "{record}");
        let recipe = desk.ok(&["inspect", &format!("run/{index}/img_0.png"), "--json"]).stdout;
        let recipe: Value = serde_json::from_slice(&recipe).unwrap();
        let tries = recipe["checked"]["tries"].as_array().unwrap().len() as u64;
        assert_eq!(tries, attempts + record["edits_tried"].as_u64().unwrap());
    }
    desk.ok(&["eval", "report", "run", "--out", "page"]);
    let markdown = std::fs::read_to_string(desk.path("page.md")).unwrap();
    assert!(markdown.contains("best of 2 attempts, repaired by `miniature`"), "{markdown}");
    desk.refuses(&[&args[..], &["--attempts", "3"]].concat(), 2, &["check.attempts was 2, now 3"]);
    desk.refuses(&args, 2, &["check was"]);
    desk.refuses(&[&args[..], &["--attempts", "0"]].concat(), 2, &["--attempts"]);
    desk.refuses(&[&checked[..], &["--detector", "none"]].concat(), 2, &["`--detector none` is nobody"]);
    desk.refuses(&["eval", "image", "--method", "sd", "--attempts", "2", "--out", "x"], 2, &["--layouts"]);
    desk.refuses(&[&checked[..], &["--detector", "nowhere"]].concat(), 2, &["nowhere"]);
}

#[test]
fn edits_change_one_thing_of_each_picture_and_are_scored() {
    let desk = Desk::new();
    let args = [
        "eval",
        "edit",
        "--method",
        "gligen",
        "--layouts",
        GPT_4,
        "--steps",
        "2",
        "--count",
        "6",
        "--out",
        "edits",
        "--detector",
        DETECTOR,
        "--json",
    ];
    let output = desk.ok(&args);
    let report: Value = serde_json::from_slice(&output.stdout).unwrap();
    let overall = report["rates"].as_array().unwrap().last().unwrap();
    assert_eq!((overall["change"].as_str(), overall["total"].as_u64()), (Some("overall"), Some(6)));
    assert!(report["scores"].as_array().unwrap().iter().all(|score| score["same_outside"] == true), "{report}");
    let list: Value = serde_json::from_slice(&std::fs::read(desk.path("edits/edits.json")).unwrap()).unwrap();
    let changes: Vec<&str> = list.as_array().unwrap().iter().map(|edit| edit["change"].as_str().unwrap()).collect();
    assert_eq!((changes.len(), &changes[..2]), (6, &["add", "remove"][..])); // where one finds no room, the next one does
    assert_eq!(desk.images("edits").len(), 12);
    let recipe: Value = serde_json::from_slice(&desk.ok(&["inspect", "edits/1/img_1.png", "--json"]).stdout).unwrap();
    assert_eq!(recipe["edits"][0]["operations"][0]["op"], "remove");

    // Stopped between a picture and its edit, it paints the picture again and makes the same edit of it.
    let edited = std::fs::read(desk.path("edits/2/img_1.png")).unwrap();
    std::fs::remove_file(desk.path("edits/2/img_1.png")).unwrap();
    desk.ok(&args);
    assert!(std::fs::read(desk.path("edits/2/img_1.png")).unwrap() == edited, "the edit came out otherwise");
    desk.refuses(&["eval", "report", "edits"], 2, &["no benchmark of captions", "sinopia eval edit"]);
    desk.refuses(&["eval", "score", "edits"], 2, &["sinopia eval edit"]);
    desk.refuses(&[&args[..], &["--seed", "3"]].concat(), 2, &["--seed-offset"]);
    desk.refuses(&["eval", "edit", "--layouts", "no.json", "--out", "x"], 2, &["cannot read `no.json`"]);
}

/// Waits for something that a process does, however long it takes.
fn wait_for(what: &str, child: &mut Child, mut has_happened: impl FnMut() -> bool) {
    loop {
        let has_ended = child.try_wait().unwrap().is_some();
        if has_happened() {
            return;
        }
        assert!(!has_ended, "the process ended, and {what} did not happen");
        std::thread::sleep(Duration::from_millis(20));
    }
}

#[test]
fn a_killed_run_goes_on_and_gives_the_same_images() {
    let desk = Desk::new();
    let (killed, whole) = (small_run("killed", "2"), small_run("whole", "2"));
    let mut child: Child = desk.command(&killed).stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
    wait_for("the first image", &mut child, || desk.path("killed").is_dir() && !desk.images("killed").is_empty());
    child.kill().unwrap();
    child.wait().unwrap();
    let left = desk.images("killed");
    // What a process leaves behind that is killed while it writes.
    std::fs::write(desk.path("killed/0/.sinopia-half.part"), "half a picture").unwrap();
    std::fs::remove_file(desk.path("killed/0/img_0.png")).unwrap();
    desk.ok(&killed);
    desk.ok(&whole);
    let all = desk.images("whole");
    assert!(all.len() == 8 && left.is_subset(&all));
    let without_manifest =
        |run: &str| desk.files(run).into_iter().filter(|name| name != "run.json").collect::<Vec<_>>();
    assert_eq!(without_manifest("killed"), without_manifest("whole"));
    for name in all {
        let bytes = |run: &str| std::fs::read(desk.path(run).join(&name)).unwrap();
        assert!(bytes("killed") == bytes("whole"), "{name} differs");
    }
}

#[test]
fn two_processes_share_a_folder_and_shards_share_captions() {
    let desk = Desk::new();
    let args = small_run("run", "2");
    let start = || desk.command(&args).stdout(Stdio::null()).stderr(Stdio::piped()).spawn().unwrap();
    let children = [start(), start()];
    let mut painted = 0;
    for child in children {
        let output = child.wait_with_output().unwrap();
        assert!(output.status.success(), "{}", stderr(&output));
        painted += stderr(&output).lines().filter(|line| line.contains(" left: ")).count();
    }
    assert_eq!((painted, desk.images("run").len()), (8, 8), "each caption once");

    let mut shard = small_run("shards", "1");
    shard.extend(["--shard", "2/4"]);
    desk.ok(&shard);
    assert_eq!(desk.images("shards"), BTreeSet::from(["100/img_0.png".to_owned()]));
}

#[test]
fn images_painted_at_once_are_the_same_and_no_more_than_memory_holds() {
    let desk = Desk::new();
    desk.ok(&small_run("alone", "2"));
    let at_once: Vec<_> =
        small_run("three", "2").into_iter().chain(["--jobs", "3", "--memory-budget", "1000"]).collect();
    let output = desk.ok(&at_once);
    assert!(stderr(&output).contains("8 captions into three, 3 at once"), "{}", stderr(&output));
    let all = desk.images("alone");
    assert_eq!((all.len(), &all), (8, &desk.images("three")));
    for name in all {
        let bytes = |run: &str| std::fs::read(desk.path(run).join(&name)).unwrap();
        assert!(bytes("alone") == bytes("three"), "{name} differs");
    }
    let tight: Vec<_> = small_run("tight", "1").into_iter().chain(["--jobs", "3", "--memory-budget", "0.01"]).collect();
    let output = desk.ok(&tight);
    assert!(stderr(&output).contains("warning: 1 at once instead of 3"), "{}", stderr(&output));
    let nothing: Vec<_> = small_run("nothing", "1").into_iter().chain(["--memory-budget=-2"]).collect();
    desk.refuses(&nothing, 2, &["--memory-budget", "above 0"]);
}

#[cfg(unix)]
#[test]
fn the_first_of_several_failures_stops_the_run_and_is_told() {
    let desk = Desk::new();
    let script = format!("trap '' XFSZ; ulimit -f 8; exec {} \"$@\"", env!("CARGO_BIN_EXE_sinopia"));
    let mut limited = Command::new("sh");
    limited.args(["-c", &script, "sh"]).args(small_run("run", "25")).args(["--jobs", "2"]);
    let output = limited.current_dir(desk.0.path()).stdin(Stdio::null()).output().unwrap();
    let message = stderr(&output);
    assert_eq!(output.status.code(), Some(1), "{message}");
    assert!(message.contains("cannot write `run/") && !message.contains("interrupted"), "{message}");
    assert_eq!(desk.images("run").len(), 0);
}

#[cfg(unix)]
#[test]
fn a_full_disk_keeps_what_is_finished() {
    let desk = Desk::new();
    let args = small_run("run", "1");
    desk.ok(&small_run("run", "1").into_iter().chain(["--task", "negation"]).collect::<Vec<_>>());
    // A limit on file sizes makes writes fail as a full disk does; the signal that comes with it is ignored.
    let script = format!("trap '' XFSZ; ulimit -f 8; exec {} \"$@\"", env!("CARGO_BIN_EXE_sinopia"));
    let mut limited = Command::new("sh");
    limited.args(["-c", &script, "sh"]).args(&args).current_dir(desk.0.path()).env("HF_HUB_OFFLINE", "1");
    let output = limited.stdin(Stdio::null()).output().unwrap();
    let message = stderr(&output);
    assert_eq!(output.status.code(), Some(1), "{message}");
    for part in ["cannot write `run/100/img_0.png`", "goes on from there", "caused by"] {
        assert!(message.contains(part), "{message}");
    }
    assert_eq!(desk.images("run").len(), 1);
    assert!(desk.files("run").iter().all(|name| !name.ends_with(".part")));
    desk.ok(&args);
    assert_eq!(desk.images("run").len(), 4);
}

#[test]
fn bad_input_is_answered_before_any_painting() {
    let desk = Desk::new();
    std::fs::write(
        desk.path("few.json"),
        r#"{"A realistic photo of a scene without books": ["[]\nBackground prompt: x"]}"#,
    )
    .unwrap();
    std::fs::write(desk.path("broken.json"), "{\n  \"a\": 1}").unwrap();
    let image = |more: &[&'static str]| {
        let mut args = vec!["eval", "image", "--out", "run"];
        args.extend(more);
        args
    };
    desk.refuses(&image(&["--layouts", "few.json"]), 2, &["lacks layouts for 399 of 400", "without backpacks"]);
    desk.refuses(&image(&["--layouts", "broken.json"]), 2, &["broken.json:2:8", "not a cache"]);
    desk.refuses(&image(&["--layouts", "no.json"]), 2, &["cannot read `no.json`"]);
    desk.refuses(&image(&[]), 2, &["`lmd` paints layouts", "--layouts"]);
    desk.refuses(&image(&["--method", "sd", "--seed", "3"]), 2, &["--seed-offset"]);
    desk.refuses(&image(&["--method", "sd", "--count", "3"]), 2, &["--repeats"]);
    desk.refuses(&image(&["--method", "sd", "--shard", "9/8"]), 2, &["2/8"]);
    desk.refuses(&image(&["--method", "sd", "--task", "taste"]), 2, &["no task `taste`", "spatial"]);
    desk.refuses(&image(&["--method", "sd", "--benchmark", "geneval"]), 2, &["unknown benchmark", "geneval:FILE"]);
    desk.refuses(
        &image(&["--method", "sd", "--detector", "nowhere"]),
        2,
        &["cannot open the detector `nowhere`", "does not exist"],
    );
    desk.refuses(&["eval", "score", "run", "--detector", DETECTOR], 2, &["not a run folder"]);
    assert!(!desk.path("run").exists(), "nothing was begun");
}

#[test]
fn weights_of_an_object_that_some_layout_lacks_are_refused_before_anything_is_painted() {
    let desk = Desk::new();
    let weights = "object_weights={\"a dog\": 2}";
    let args = ["eval", "image", "--method", "lmd", "--layouts", GPT_4, "--out", "run", "--set", weights];
    desk.refuses(&args, 2, &["object_weights", "`a dog`", "caption 0"]);
    assert!(!desk.path("run").exists());
}

#[test]
fn runs_of_other_options_and_foreign_images_are_refused() {
    let desk = Desk::new();
    let args: Vec<&str> = small_run("run", "1").into_iter().chain(["--task", "negation"]).collect();
    desk.ok(&args);
    let other: Vec<&str> = args.iter().map(|arg| if *arg == "2" { "3" } else { *arg }).collect();
    desk.refuses(&other, 2, &["sampling.num_inference_steps was 2, now 3", "begin a new folder"]);
    let manifest = std::fs::read_to_string(desk.path("run/run.json")).unwrap();
    let older = manifest.replace(concat!('"', env!("CARGO_PKG_VERSION"), '"'), "\"0.0.9\"");
    std::fs::write(desk.path("run/run.json"), older).unwrap();
    desk.refuses(&args, 2, &["made by Sinopia 0.0.9", "begin a new folder"]);
    std::fs::write(desk.path("run/run.json"), manifest).unwrap();

    let score = ["eval", "score", "run", "--detector", DETECTOR];
    let picture = desk.path("run/0/img_0.png");
    let whole = std::fs::read(&picture).unwrap();
    std::fs::write(&picture, &whole[..whole.len() / 2]).unwrap();
    desk.refuses(&score, 2, &["run/0/img_0.png", "cannot be read", "paint it anew"]);
    image::RgbImage::new(96, 128).save(&picture).unwrap();
    desk.refuses(&score, 2, &["96×128", "128×128"]);
    std::fs::write(&picture, whole).unwrap();
    desk.ok(&score);
    std::fs::remove_file(Path::new(&picture)).unwrap();
    let report: Value = serde_json::from_slice(&desk.ok(&[&score[..], &["--json"]].concat()).stdout).unwrap();
    let rates = &report["runs"][0]["rates"];
    assert_eq!(
        (rates["published"][0]["total"].as_u64(), rates["strict"][0]["total"].as_u64()),
        (Some(0), Some(1)),
        "{rates}"
    );
}

#[test]
fn the_miniature_is_judged_by_the_built_in_detector_unless_another_is_named() {
    let desk = Desk::new();
    let args: Vec<&str> =
        small_run("run", "1").into_iter().filter(|arg| !["--detector", "none"].contains(arg)).collect();
    let output = desk.ok(&args);
    let table = String::from_utf8(output.stdout).unwrap();
    assert!(table.contains("seen by `miniature`"), "{table}");
    let scores = || serde_json::from_slice::<Value>(&std::fs::read(desk.path("run/scores.json")).unwrap()).unwrap();
    let by_default = scores();
    assert_eq!(by_default["images"].as_array().unwrap().len(), 4);
    desk.ok(&["eval", "score", "run", "--detector", DETECTOR]);
    assert_ne!(scores()["detector"], by_default["detector"]);
    desk.ok(&["eval", "score", "run"]);
    assert_eq!(scores(), by_default);

    let manifest = std::fs::read_to_string(desk.path("run/run.json")).unwrap();
    std::fs::write(desk.path("run/run.json"), manifest.replace("\"id\": \"miniature\"", "\"id\": \"sd15\"")).unwrap();
    desk.refuses(&["eval", "score", "run"], 2, &["name a detector", "`sd15`", "owlvit-base-patch32"]);
    desk.ok(&["eval", "score", "run", "--detector", "miniature"]);
}

const QUESTIONS: &str =
    "item_id,text,keywords,proposition_id,dependency,category_broad,category_detailed,tuple,question_natural_language
7,a red car,,1,0,entity,whole,t,Is there a fence?
8,a blue dog,,1,0,entity,whole,t,Is there a dog?
8,a blue dog,,2,1,attribute,color,t,Is the dog blue?
";

#[test]
fn a_vision_model_answers_the_questions_of_dpg_bench() {
    let desk = Desk::new();
    std::fs::write(desk.path("dpg.csv"), QUESTIONS).unwrap();
    desk.ok(&["eval", "image", "--method", "sd", "--benchmark", "dpg:dpg.csv", "--steps", "1", "--out", "run"]);
    desk.refuses(&["eval", "score", "run"], 2, &["no vision model is named", "--llm-model"]);
    desk.refuses(&["eval", "score", "run", "--detector", DETECTOR], 2, &["asks questions", "--llm-model"]);

    // A busy server, then answers; the last question gets none that is one.
    let busy = http("503 Service Unavailable", "", b"later");
    let server = Server::start(vec![busy, chat("Yes."), chat("yes"), chat("hm"), chat("hard to say")]);
    let url = server.base_url();
    let score = ["eval", "score", "run", "--llm-model", "seer", "--llm-base-url", &url];
    let output = desk.command(&score).env("SINOPIA_LLM_API_KEY", "sk-hidden").output().unwrap();
    let message = stderr(&output);
    assert_eq!(output.status.code(), Some(1), "{message}");
    for part in
        ["no answer to `Is the dog blue?`", "neither yes nor no: `hard to say`", "what was scored before is kept"]
    {
        assert!(message.contains(part), "{message}");
    }
    let asked = &server.asked()[1];
    assert_eq!(
        (asked.path.as_str(), asked.authorization.as_deref()),
        ("/v1/chat/completions", Some("Bearer sk-hidden"))
    );
    let parts = &asked.body["messages"][0]["content"];
    assert!(parts[0]["text"].as_str().unwrap().starts_with("Is there a fence?"), "{parts}");
    assert!(parts[1]["image_url"]["url"].as_str().unwrap().starts_with("data:image/png;base64,iVBOR"), "{parts}");
    assert_eq!(asked.body["temperature"], 0.0);

    // The address is part of what tells answers apart, so this is another judge: everything is asked anew.
    let server = Server::start(vec![chat("yes"), chat("No, it is red")]);
    let url = server.base_url();
    let output = desk.ok(&["eval", "score", "run", "--llm-model", "seer", "--llm-base-url", &url, "--json"]);
    let report: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(server.asked().len(), 3);
    assert_eq!(report["runs"][0]["rates"]["strict"][0]["points"], 1.0, "a fence, no dog, and so none that is blue");
    desk.ok(&["eval", "score", "run", "--llm-model", "seer", "--llm-base-url", &url]);
    assert_eq!(server.asked().len(), 3, "nothing is asked twice");

    for (reply, part) in [
        (http("401 Unauthorized", "", b"{\"error\": {\"message\": \"who are you\"}}"), "who are you"),
        (http("200 OK", "Content-Type: text/html\r\n", b"<html>"), "instead of JSON"),
    ] {
        let server = Server::start(vec![reply]);
        desk.refuses(
            &["eval", "score", "run", "--llm-model", "seer", "--llm-base-url", &server.base_url()],
            1,
            &[part],
        );
    }
}

#[test]
fn clip_tells_how_alike_image_and_caption_are() {
    let desk = Desk::new();
    std::fs::write(desk.path("captions.txt"), "a red car\na blue dog\n").unwrap();
    desk.ok(&[
        "eval",
        "image",
        "--method",
        "sd",
        "--benchmark",
        "clipscore:captions.txt",
        "--steps",
        "1",
        "--out",
        "run",
    ]);
    desk.refuses(&["eval", "score", "run"], 2, &["--detector", "clip-vit-base-patch32"]);
    desk.refuses(&["eval", "score", "run", "--detector", DETECTOR], 2, &["cannot open the detector", "`model_type`"]);
    let output = desk.ok(&["eval", "score", "run", "--detector", CLIP, "--json"]);
    let report: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(report["runs"][0]["rates"]["published"][0]["total"], 2);
    let scores: Value = serde_json::from_slice(&std::fs::read(desk.path("run/scores.json")).unwrap()).unwrap();
    let image = &scores["images"][1]["strict"];
    let cosine = image["seen"][0]["score"].as_f64().unwrap();
    assert_eq!(image["seen"][0]["name"], "A photo depicts a blue dog");
    assert!((image["verdict"]["score"].as_f64().unwrap() - (2.5 * cosine).clamp(0.0, 1.0)).abs() < 1e-9);
}

#[test]
fn captions_of_other_benchmarks_come_from_files() {
    let desk = Desk::new();
    std::fs::write(desk.path("numeracy.txt"), "three dogs and two cats\n").unwrap();
    let args = [
        "eval",
        "image",
        "--method",
        "sd",
        "--benchmark",
        "t2i-numeracy:numeracy.txt",
        "--steps",
        "1",
        "--out",
        "run",
        "--detector",
        DETECTOR,
    ];
    let output = desk.ok(&args);
    let table = String::from_utf8(output.stdout).unwrap();
    assert!(table.contains("| **run** |") && table.contains("not comparable"), "{table}");
    std::fs::write(desk.path("numeracy.txt"), "four dogs\n").unwrap();
    desk.refuses(&args, 2, &["captions_sha256 was"]);
    desk.refuses(&["eval", "score", "run", "--detector", DETECTOR], 2, &["not those that `run` was painted from"]);
}
