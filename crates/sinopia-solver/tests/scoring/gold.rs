//! Rows of a gold file: what a careful person sees in a caption.
//!
//! A row has its caption, or the place where the caption is published (`source`, `line`, the first twelve digits of its SHA-256), which is then looked up in a folder of those files.

use std::error::Error;
use std::fs;
use std::path::Path;

use serde::Deserialize;
use serde_json::Value;
use sha2::{Digest, Sha256};
use sinopia_layout::hex;

/// Hexadecimal digits of a caption's SHA-256 that a row has.
const DIGITS: usize = 12;

/// What is to be seen in a caption.
#[derive(Debug, Default, Deserialize)]
pub(crate) struct Row {
    pub(crate) caption: String,
    pub(crate) things: Vec<Thing>,
    pub(crate) background: Vec<String>,
    pub(crate) excluded: Vec<String>,
    pub(crate) relations: Vec<[String; 3]>,
    #[serde(default)]
    optional: Vec<String>,
    #[serde(default)]
    thing_or_background: Vec<String>,
    /// Things or settings: named in either way, but named.
    #[serde(default)]
    pub(crate) somewhere: Vec<String>,
}

impl Row {
    /// What may have a box and needs none.
    pub(crate) fn either(&self) -> impl Iterator<Item = &str> {
        self.optional.iter().chain(&self.thing_or_background).chain(&self.somewhere).map(String::as_str)
    }
}

/// A thing with its number.
#[derive(Debug, Deserialize)]
pub(crate) struct Thing {
    pub(crate) phrase: String,
    #[serde(default = "one")]
    count: usize,
    count_max: Option<usize>,
    /// Each of them is the colour of one of the things at least.
    #[serde(default)]
    pub(crate) colours: Vec<String>,
    #[serde(default)]
    or: Others,
}

fn one() -> usize {
    1
}

/// Other readings of the same words.
#[derive(Debug, Default, Deserialize)]
#[serde(untagged)]
enum Others {
    #[default]
    None,
    One(Box<Thing>),
    Many(Vec<Thing>),
}

impl Thing {
    /// Fewest boxes.
    pub(crate) fn least(&self) -> usize {
        self.count
    }

    /// Most boxes.
    pub(crate) fn most(&self) -> usize {
        self.count_max.unwrap_or(self.count)
    }

    /// This reading, then the others.
    pub(crate) fn readings(&self) -> impl Iterator<Item = &Thing> {
        let others: &[Thing] = match &self.or {
            Others::None => &[],
            Others::One(other) => std::slice::from_ref(other),
            Others::Many(others) => others,
        };
        std::iter::once(self).chain(others)
    }
}

/// A gold file with its captions.
pub(crate) struct Gold {
    /// As JSON, captions included.
    pub(crate) values: Vec<Value>,
    pub(crate) rows: Vec<Row>,
    /// Rows whose caption was not found, or is another one.
    pub(crate) lost: Vec<String>,
}

/// Reads a gold file. `captions` is the folder in which the files that rows name as their source lie.
pub(crate) fn open(file: &Path, captions: Option<&Path>) -> Result<Gold, Box<dyn Error>> {
    let text = fs::read_to_string(file)?;
    let is_json = file.extension().is_some_and(|extension| extension == "json");
    let mut gold = Gold { values: Vec::new(), rows: Vec::new(), lost: Vec::new() };
    if !is_json {
        let captions = text.lines().map(str::trim).filter(|line| !line.is_empty() && !line.starts_with('#'));
        gold.rows = captions.map(|caption| Row { caption: caption.to_owned(), ..Row::default() }).collect();
        return Ok(gold);
    }
    for mut value in serde_json::from_str::<Vec<Value>>(&text)? {
        if value["caption"].is_null() {
            match published(&value, captions) {
                Ok(caption) => value["caption"] = caption.into(),
                Err(lost) => {
                    gold.lost.push(format!("{} line {}: {lost}", value["source"], value["line"]));
                    continue;
                }
            }
        }
        gold.rows.push(Row::deserialize(&value)?);
        gold.values.push(value);
    }
    Ok(gold)
}

/// The caption that a row means. A file with one caption, however many lines it has, is DPG-Bench's.
fn published(row: &Value, captions: Option<&Path>) -> Result<String, String> {
    let folder = captions.ok_or("say with --captions where the published files lie")?;
    let source = row["source"].as_str().ok_or("no source")?;
    let text = fs::read_to_string(folder.join(source)).map_err(|error| format!("{source}: {error}"))?;
    let caption = if source.starts_with("dpg-bench/") {
        text.split_whitespace().collect::<Vec<_>>().join(" ")
    } else {
        let line = row["line"].as_u64().ok_or("no line")? as usize;
        text.lines().nth(line.saturating_sub(1)).unwrap_or_default().trim().to_owned()
    };
    let digits = &hex::encode(&Sha256::digest(&caption))[..DIGITS];
    if row["sha256"] == digits { Ok(caption) } else { Err(format!("another caption, with SHA-256 {digits}…")) }
}
