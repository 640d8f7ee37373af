//! docs/options.md has every option of every method, with the value it has, the published one, and what the source says of it.
//!
//! `UPDATE_DOCS=1 cargo test -p sinopia --test options_page` writes the page anew.

#![allow(clippy::unwrap_used, reason = "these are tests")]

use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};

use serde_json::{Map, Value};
use sinopia::diffusion::methods;

/// Where each method's options are described: file, struct.
const SOURCES: [(&str, &[(&str, &str)]); 7] = [
    ("sd", &[("sd.rs", "SdOptions")]),
    ("multidiffusion", &[("multidiffusion.rs", "MultiDiffusionOptions")]),
    ("backward-guidance", &[("backward_guidance.rs", "BackwardGuidanceOptions")]),
    ("boxdiff", &[("boxdiff.rs", "BoxDiffOptions")]),
    ("gligen", &[("gligen.rs", "GligenOptions")]),
    ("lmd", &[("lmd/options.rs", "LmdOptions")]),
    ("lmd-plus", &[("lmd_plus.rs", "AdapterOptions")]),
];

const HEAD: &str = "\
# Every option of every method

`--set NAME=VALUE` sets one, `--set` may come often, and NAME may be written as you like (`--set Loss-Scale=30`). `sinopia inspect PICTURE` shows those that a picture was made with.
Numbers of steps are of 50 and are stretched to the steps of a run, unless `stretch_schedule` is off. *Published* is what `--reference` sets. What the mends are for and
what each changes is in [methods.md](methods.md) and [results.md](results.md).

This page is written from the source by `UPDATE_DOCS=1 cargo test -p sinopia --test options_page`.
";

#[test]
fn the_page_has_every_option() {
    let page = page();
    let path = root().join("docs/options.md");
    if std::env::var_os("UPDATE_DOCS").is_some() {
        fs::write(&path, &page).unwrap();
    }
    let written = fs::read_to_string(&path).unwrap_or_default();
    let stale = written.lines().zip(page.lines()).find(|(a, b)| a != b);
    assert!(written == page, "docs/options.md is stale: UPDATE_DOCS=1 writes it anew; first difference: {stale:?}");
}

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..")
}

fn page() -> String {
    let mut page = HEAD.to_owned();
    for info in methods::METHODS {
        assert!(SOURCES.iter().any(|(name, _)| *name == info.name), "`{}` has no section", info.name);
    }
    let of_lmd = options("lmd");
    for (name, sources) in SOURCES {
        let defaults = options(name);
        let Value::Object(published) = methods::reference_options(name).unwrap() else { unreachable!() };
        let described: Vec<(String, String)> = sources.iter().flat_map(|(file, of)| described(file, of)).collect();
        let inherited = |key: &str| name == "lmd-plus" && of_lmd.contains_key(key);
        let own: Vec<&String> = defaults.keys().filter(|key| !inherited(key)).collect();
        assert!(!own.is_empty(), "{name}");
        for key in &own {
            assert!(
                described.iter().any(|(option, _)| option == *key),
                "{name}: `{key}` is not described in {sources:?}"
            );
        }
        write!(page, "\n## `{name}`\n\n| option | default | published | |\n| --- | --- | --- | --- |\n").unwrap();
        for (option, text) in &described {
            let row = row(option, &defaults[option], &published[option], text);
            page.push_str(&row);
        }
        if name == "lmd-plus" {
            page.push_str("\nAnd all of `lmd`'s. These have other values here:\n\n| option | default | published |\n| --- | --- | --- |\n");
            let Value::Object(published_lmd) = methods::reference_options("lmd").unwrap() else { unreachable!() };
            for (option, value) in &of_lmd {
                let (mine, theirs) = (&defaults[option], &published[option]);
                if mine != value || *theirs != published_lmd[option] {
                    writeln!(page, "| `{option}` | {} | {} |", shown(mine), shown(theirs)).unwrap();
                }
            }
        }
    }
    page
}

fn row(option: &str, default: &Value, published: &Value, text: &str) -> String {
    let published = if published == default { "same".to_owned() } else { shown(published) };
    format!("| `{option}` | {} | {published} | {} |\n", shown(default), text.replace('|', "\\|"))
}

fn shown(value: &Value) -> String {
    match value {
        Value::Null => "–".to_owned(),
        Value::Object(map) if map.is_empty() => "–".to_owned(),
        Value::String(text) => format!("`{text}`"),
        Value::Array(list) => runs(list),
        other => format!("`{other}`"),
    }
}

/// `4 ×5, 3 ×5, 2 ×10`.
fn runs(list: &[Value]) -> String {
    let parts = list.chunk_by(|a, b| a == b).map(|run| match run.len() {
        1 => format!("{}", run[0]),
        count => format!("{} ×{count}", run[0]),
    });
    parts.collect::<Vec<_>>().join(", ")
}

fn options(method: &str) -> Map<String, Value> {
    let Value::Object(options) = methods::build(method, Value::Null).unwrap().options() else { unreachable!() };
    options
}

/// Fields of a struct and their doc comments, in order.
fn described(file: &str, of: &str) -> Vec<(String, String)> {
    let path = root().join("crates/sinopia-diffusion/src/methods").join(file);
    let source = fs::read_to_string(&path).unwrap();
    let body = source.split_once(&format!("pub struct {of} {{")).unwrap_or_else(|| panic!("{file} has no {of}")).1;
    let (mut fields, mut text) = (Vec::new(), Vec::new());
    for line in body.lines().map(str::trim).take_while(|line| *line != "}") {
        if let Some(comment) = line.strip_prefix("///") {
            text.push(comment.trim().to_owned());
        } else if let Some(field) = line.strip_prefix("pub ") {
            let name = field.split(':').next().unwrap_or_default().to_owned();
            fields.push((name, text.join(" ").replace("[`", "`").replace("`]", "`")));
            text.clear();
        }
    }
    fields
}
