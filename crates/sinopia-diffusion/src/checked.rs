//! What a check of a picture saw and did, as its recipe writes it down.

use std::collections::BTreeMap;

use serde::{Deserialize, Deserializer, Serialize};
use sinopia_layout::limits;

use crate::edit::Operation;
use crate::model_id::ModelId;
use crate::noise::Seed;

/// How a picture was checked: who looked, by which thresholds, and every try. It decides nothing when the picture is painted again: the kept seed and the accepted edits
/// stand in the recipe itself.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct CheckedRecord {
    /// The evaluator, by name and content.
    pub evaluator: ModelId,
    /// Its thresholds by name.
    #[serde(deserialize_with = "thresholds")]
    pub thresholds: BTreeMap<String, f64>,
    /// Every try, in the order in which they were made.
    #[serde(deserialize_with = "tries")]
    pub tries: Vec<TryRecord>,
}

/// One picture that was looked at: an attempt from a seed of its own or, with operations, a repair of the best picture so far.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TryRecord {
    /// The seed of the picture that was painted or repaired.
    pub seed: Seed,
    /// What was done to it; nothing for a picture that was painted anew.
    #[serde(default, skip_serializing_if = "Vec::is_empty", deserialize_with = "operations")]
    pub operations: Vec<Operation>,
    /// Whether it was the best so far, and what followed began from it.
    pub accepted: bool,
    /// What was seen, in a line.
    #[serde(deserialize_with = "summary")]
    pub summary: String,
}

impl CheckedRecord {
    /// Most tries of one picture. The loop's own bounds are far below: 64 attempts, and 2 tries for each of the objects.
    pub const MAX_TRIES: usize = 1000;

    /// Most thresholds of an evaluator.
    pub const MAX_THRESHOLDS: usize = 64;
}

fn at_most<E: serde::de::Error>(what: &str, found: usize, max: usize) -> Result<(), E> {
    if found <= max { Ok(()) } else { Err(E::custom(format!("there are {found} {what}, at most {max} are read"))) }
}

fn thresholds<'de, D: Deserializer<'de>>(deserializer: D) -> Result<BTreeMap<String, f64>, D::Error> {
    let thresholds = BTreeMap::<String, f64>::deserialize(deserializer)?;
    at_most("thresholds", thresholds.len(), CheckedRecord::MAX_THRESHOLDS).map(|()| thresholds)
}

fn tries<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<TryRecord>, D::Error> {
    let tries = Vec::<TryRecord>::deserialize(deserializer)?;
    at_most("tries", tries.len(), CheckedRecord::MAX_TRIES).map(|()| tries)
}

fn operations<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<Operation>, D::Error> {
    let operations = Vec::<Operation>::deserialize(deserializer)?;
    at_most("operations of one try", operations.len(), limits::BOXES).map(|()| operations)
}

fn summary<'de, D: Deserializer<'de>>(deserializer: D) -> Result<String, D::Error> {
    let summary = String::deserialize(deserializer)?;
    let checked = limits::check_chars(&summary, limits::CAPTION_CHARS, || "the summary of a try".to_owned());
    checked.map(|()| summary).map_err(serde::de::Error::custom)
}
