//! Packed weights as a person meets them: made, used, told of, removed; and pictures that do not depend on them.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "these are tests")]

use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

use serde_json::Value;
use tempfile::TempDir;

/// A tiny checkpoint.
const MODEL: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../../parity/fixtures/models/small");

/// A scratch folder with a cache of its own.
struct Desk(TempDir);

impl Desk {
    fn new() -> Self {
        Self(tempfile::tempdir().unwrap())
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    fn run(&self, args: &[&str], variables: &[(&str, &str)]) -> Output {
        let mut command = Command::new(env!("CARGO_BIN_EXE_sinopia"));
        command.current_dir(self.0.path()).env("XDG_CACHE_HOME", self.path("cache")).env("HF_HUB_OFFLINE", "1");
        command.env("HF_HOME", self.path("hub")).envs(variables.iter().copied());
        command.args(args).stdin(Stdio::null()).output().unwrap()
    }

    fn ok(&self, args: &[&str]) -> String {
        let output = self.run(args, &[]);
        assert!(output.status.success(), "{args:?}\n{}", stderr(&output));
        String::from_utf8(output.stdout).unwrap()
    }

    /// The bytes of a picture, and what was told.
    fn paint(&self, more: &[&str], variables: &[(&str, &str)]) -> (Vec<u8>, String) {
        let args = ["generate", "a red ball", "--method", "sd", "--model", MODEL, "--steps", "1", "--size", "16x16"];
        let output = self.run(&[&args, &["--precision", "bf16", "--out", "x.png"][..], more].concat(), variables);
        assert!(output.status.success(), "{}", stderr(&output));
        (std::fs::read(self.path("x.png")).unwrap(), stderr(&output))
    }

    fn packs(&self) -> Vec<PathBuf> {
        let entries = std::fs::read_dir(self.path("cache/sinopia/packed"));
        let is_lock = |path: &PathBuf| path.ends_with(".lock");
        entries.into_iter().flatten().map(|entry| entry.unwrap().path()).filter(|path| !is_lock(path)).collect()
    }
}

fn stderr(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

#[test]
fn a_prepared_model_paints_the_same_picture() {
    let desk = Desk::new();
    let (plain, _) = desk.paint(&[], &[]);
    assert!(desk.packs().is_empty());
    let told = desk.ok(&["models", "prepare", MODEL, "--precision", "bf16"]);
    assert!(told.contains("is packed for bf16"), "{told}");
    let [pack] = <[PathBuf; 1]>::try_from(desk.packs()).unwrap();
    let (packed, warnings) = desk.paint(&[], &[]);
    assert!(packed == plain && !warnings.contains("packed weights"), "{warnings}");
    let told = desk.ok(&["models", "prepare", MODEL, "--precision", "bf16"]);
    assert!(told.contains("already"), "{told}");
    let listed: Value = serde_json::from_str(&desk.ok(&["models", "list", "--json"])).unwrap();
    assert_eq!(listed[1]["name"], MODEL);
    assert_eq!(listed[1]["packed"]["bytes"], std::fs::metadata(&pack).unwrap().len());
    assert!(desk.ok(&["models", "list"]).contains("packed, bf16"));
    assert!(desk.ok(&["models", "prepare", MODEL, "--clear"]).contains("1 pack is removed"));
    assert!(desk.ok(&["models", "prepare", "--clear"]).contains("no pack is removed"));
    assert!(desk.packs().is_empty());
}

#[test]
fn packs_of_one_precision_are_removed_alone() {
    let desk = Desk::new();
    for precision in ["f32", "int8"] {
        let told = desk.run(&["models", "prepare", MODEL, "--precision", precision], &[]);
        assert!(stderr(&told).contains(&format!("packing {MODEL} for {precision}")), "{}", stderr(&told));
    }
    assert_eq!(desk.packs().len(), 2);
    std::fs::write(desk.path("cache/sinopia/packed/.1-0.part"), "").unwrap();
    let told = desk.ok(&["models", "prepare", MODEL, "--clear", "--precision", "bf16"]);
    assert!(told.contains("no pack is removed"), "{told}");
    let told = desk.ok(&["models", "prepare", "--clear", "--precision", "int8"]);
    assert!(told.contains("1 pack is removed"), "{told}");
    assert!(desk.ok(&["models", "list"]).contains("packed, f32"));
    assert_eq!(desk.packs().len(), 1);
}

#[test]
fn a_pack_is_left_where_a_flag_a_variable_or_a_file_allows_it() {
    let plain = Desk::new().paint(&[], &[]).0;
    let by_flag = Desk::new();
    assert_eq!(by_flag.paint(&["--pack-cache"], &[]).0, plain);
    let by_variable = Desk::new();
    assert_eq!(by_variable.paint(&[], &[("SINOPIA_PACK_CACHE", "true")]).0, plain);
    let by_file = Desk::new();
    std::fs::write(by_file.path("sinopia.toml"), "pack-cache = true\npack-cache-size = 3\n").unwrap();
    assert_eq!(by_file.paint(&[], &[]).0, plain);
    for desk in [&by_flag, &by_variable, &by_file] {
        assert_eq!(desk.packs().len(), 1);
        assert_eq!(desk.paint(&[], &[]).0, plain);
    }
    std::fs::remove_file(by_file.packs().first().unwrap()).unwrap();
    by_file.paint(&["--pack-cache=false"], &[]);
    assert!(by_file.packs().is_empty());
}

#[test]
fn a_damaged_pack_is_told_and_the_picture_is_painted_without_it() {
    let desk = Desk::new();
    let (plain, _) = desk.paint(&["--pack-cache"], &[]);
    let [pack] = <[PathBuf; 1]>::try_from(desk.packs()).unwrap();
    let good = std::fs::read(&pack).unwrap();
    std::fs::write(&pack, &good[..good.len() / 2]).unwrap();
    let (painted, told) = desk.paint(&[], &[]);
    assert!(painted == plain && told.contains("warning: the packed weights `"), "{told}");
    assert!(desk.ok(&["models", "list"]).contains("no pack: "));
    // Whoever may make one makes it anew.
    let (painted, told) = desk.paint(&["--pack-cache"], &[]);
    assert!(painted == plain && !told.contains("warning: packed weights"), "{told}");
    assert!(desk.ok(&["models", "list"]).contains("packed, bf16"));
}

#[test]
fn a_folder_that_cannot_be_written_to_is_told() {
    let desk = Desk::new();
    std::fs::create_dir_all(desk.path("cache/sinopia")).unwrap();
    std::fs::write(desk.path("cache/sinopia/packed"), "a file in the way").unwrap();
    let (_, told) = desk.paint(&["--pack-cache"], &[]);
    assert!(told.contains("warning: packed weights are not kept in `"), "{told}");
    let output = desk.run(&["models", "prepare", MODEL, "--precision", "bf16"], &[]);
    assert_eq!(output.status.code(), Some(1));
    assert!(stderr(&output).contains("cannot keep packed weights in `"), "{}", stderr(&output));
    assert!(Path::new(&desk.path("cache/sinopia/packed")).is_file());
}

#[test]
fn what_cannot_be_prepared_is_refused() {
    let desk = Desk::new();
    for (args, words) in [
        (&["models", "prepare", "miniature"][..], "built in"),
        (&["models", "prepare"], "MODEL"),
        (&["models", "prepare", "./no-such-model.safetensors"], "does not exist"),
        (&["models", "prepare", MODEL, "--precision", "f7"], "f7"),
    ] {
        let output = desk.run(args, &[]);
        assert_eq!(output.status.code(), Some(2), "{args:?}\n{}", stderr(&output));
        assert!(stderr(&output).contains(words), "{}", stderr(&output));
    }
    assert!(desk.packs().is_empty());
}
