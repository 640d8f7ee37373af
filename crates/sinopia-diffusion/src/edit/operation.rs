//! What an edit is told to do, as recipes and the wire write it down.

use serde::{Deserialize, Deserializer, Serialize, Serializer};
use sinopia_layout::{BBox, Layout, limits};

use crate::noise::Seed;

/// One change of a finished picture. Boxes are shares 0..=1 of the picture, written `[x0, y0, x1, y1]`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "op", rename_all = "kebab-case", deny_unknown_fields)]
pub enum Operation {
    /// Paints an object where there was none.
    Add {
        /// The object in words: `a red apple`.
        #[serde(deserialize_with = "phrase")]
        phrase: String,
        /// Where it is to stand.
        #[serde(with = "corners")]
        bbox: BBox,
    },
    /// Takes an object out; what was behind it is painted.
    Remove {
        /// What it is called.
        #[serde(deserialize_with = "phrase")]
        phrase: String,
        /// Where it was seen.
        #[serde(with = "corners")]
        bbox: BBox,
    },
    /// Puts an object elsewhere. A box of the same size, within a latent cell, moves it; another size scales it.
    Move {
        /// What it is called.
        #[serde(deserialize_with = "phrase")]
        phrase: String,
        /// Where it was seen.
        #[serde(with = "corners")]
        from: BBox,
        /// Where it is to stand.
        #[serde(with = "corners")]
        to: BBox,
    },
    /// Gives an object another colour or material; its shape stays.
    Recolour {
        /// The object as it is to be: `a green apple`.
        #[serde(deserialize_with = "phrase")]
        phrase: String,
        /// Where it stands.
        #[serde(with = "corners")]
        bbox: BBox,
        /// Share of the steps that are taken again, above 0, at most 1; usual is [`RECOLOUR_STRENGTH`](Self::RECOLOUR_STRENGTH).
        #[serde(deserialize_with = "strength")]
        strength: f64,
    },
    /// Puts another object in an object's place; the shape is free.
    Replace {
        /// The new object in words.
        #[serde(deserialize_with = "phrase")]
        phrase: String,
        /// Where the old one stands and the new one is to.
        #[serde(with = "corners")]
        bbox: BBox,
    },
}

impl Operation {
    /// The strength with which a colour is changed and a shape kept. On the miniature at 20 steps 0.6 and 0.7 leave the old colour more often, and at 0.9 shapes
    /// begin to change; the practice of image-to-image painting is 0.6 to 0.8.
    pub const RECOLOUR_STRENGTH: f64 = 0.8;

    /// What it is called on the command line and in JSON.
    pub fn name(&self) -> &'static str {
        match self {
            Self::Add { .. } => "add",
            Self::Remove { .. } => "remove",
            Self::Move { .. } => "move",
            Self::Recolour { .. } => "recolour",
            Self::Replace { .. } => "replace",
        }
    }

    /// The object in words.
    pub fn phrase(&self) -> &str {
        match self {
            Self::Add { phrase, .. }
            | Self::Remove { phrase, .. }
            | Self::Move { phrase, .. }
            | Self::Recolour { phrase, .. }
            | Self::Replace { phrase, .. } => phrase,
        }
    }
}

/// Operations that are done together, and all that their result depends on besides the picture they are done to.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Edit {
    /// What to do. None leaves the picture as it is.
    #[serde(deserialize_with = "operations")]
    pub operations: Vec<Operation>,
    /// What the picture shows afterwards: prompts are composed from it.
    pub layout: Layout,
    /// Where the noise starts that the edit draws: of each operation and attempt its own.
    pub seed: Seed,
    /// Which attempt at this edit, from 0: another number is other noise.
    #[serde(default)]
    pub attempt: u32,
    /// Added to the strength of what is repainted from its own noise, 0..=1.
    #[serde(default, deserialize_with = "share")]
    pub strength_boost: f64,
    /// Latent cells by which masks grow beyond what an operation grows them by.
    #[serde(default, deserialize_with = "grow_cells")]
    pub grow_cells: usize,
}

impl Edit {
    /// Most operations that are done together.
    pub const MAX_OPERATIONS: usize = limits::BOXES;

    /// Most cells by which masks may grow.
    pub const MAX_GROW_CELLS: usize = 64;

    /// A first attempt at some operations.
    pub fn new(operations: Vec<Operation>, layout: Layout, seed: Seed) -> Self {
        Self { operations, layout, seed, attempt: 0, strength_boost: 0.0, grow_cells: 0 }
    }
}

/// Boxes as their corners.
mod corners {
    use super::{BBox, Deserialize, Deserializer, Serialize, Serializer};

    pub(super) fn serialize<S: Serializer>(bbox: &BBox, serializer: S) -> Result<S::Ok, S::Error> {
        let (x0, y0, x1, y1) = bbox.corners();
        [x0, y0, x1, y1].serialize(serializer)
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<BBox, D::Error> {
        let [x0, y0, x1, y1] = <[f64; 4]>::deserialize(deserializer)?;
        BBox::new(x0, y0, x1, y1).map_err(serde::de::Error::custom)
    }
}

fn phrase<'de, D: Deserializer<'de>>(deserializer: D) -> Result<String, D::Error> {
    let phrase = String::deserialize(deserializer)?;
    if phrase.trim().is_empty() {
        return Err(serde::de::Error::custom("the phrase of an operation is empty"));
    }
    let checked = limits::check_chars(&phrase, limits::PHRASE_CHARS, || "the phrase of an operation".to_owned());
    checked.map(|()| phrase).map_err(serde::de::Error::custom)
}

fn strength<'de, D: Deserializer<'de>>(deserializer: D) -> Result<f64, D::Error> {
    let strength = f64::deserialize(deserializer)?;
    let fits = 0.0 < strength && strength <= 1.0;
    let refused =
        || serde::de::Error::custom(format!("`strength` is {strength}, expected a number above 0, at most 1"));
    if fits { Ok(strength) } else { Err(refused()) }
}

fn share<'de, D: Deserializer<'de>>(deserializer: D) -> Result<f64, D::Error> {
    let share = f64::deserialize(deserializer)?;
    let refused = || serde::de::Error::custom(format!("`strength_boost` is {share}, expected a number from 0 to 1"));
    if (0.0..=1.0).contains(&share) { Ok(share) } else { Err(refused()) }
}

fn grow_cells<'de, D: Deserializer<'de>>(deserializer: D) -> Result<usize, D::Error> {
    let (cells, max) = (usize::deserialize(deserializer)?, Edit::MAX_GROW_CELLS);
    let refused =
        || serde::de::Error::custom(format!("`grow_cells` is {cells}, expected a whole number from 0 to {max}"));
    if cells <= max { Ok(cells) } else { Err(refused()) }
}

fn operations<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<Operation>, D::Error> {
    let operations = Vec::<Operation>::deserialize(deserializer)?;
    let (found, max) = (operations.len(), Edit::MAX_OPERATIONS);
    let refused =
        || serde::de::Error::custom(format!("the edit has {found} operations; at most {max} are done together"));
    if found <= max { Ok(operations) } else { Err(refused()) }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn edit() -> Value {
        let layout = json!({
            "canvas": {"width": 512, "height": 512},
            "objects": [{"phrase": "a red apple", "bbox": [51.2, 102.4, 128, 128]}],
            "background": "a table", "negative": "",
        });
        json!({
            "operations": [
                {"op": "add", "phrase": "a red apple", "bbox": [0.1, 0.2, 0.35, 0.45]},
                {"op": "remove", "phrase": "a bowl", "bbox": [0.5, 0.5, 1.0, 1.0]},
                {"op": "move", "phrase": "a cat", "from": [0.0, 0.0, 0.25, 0.25], "to": [0.5, 0.0, 0.75, 0.25]},
                {"op": "recolour", "phrase": "a green pear", "bbox": [0.1, 0.6, 0.3, 0.9], "strength": 0.7},
                {"op": "replace", "phrase": "a fox", "bbox": [0.7, 0.1, 0.9, 0.4]},
            ],
            "layout": layout, "seed": 7, "attempt": 2, "strength_boost": 0.1, "grow_cells": 1,
        })
    }

    #[test]
    fn an_edit_survives_writing_bit_for_bit() {
        let read: Edit = serde_json::from_value(edit()).unwrap();
        let written = serde_json::to_string(&read).unwrap();
        assert_eq!(serde_json::from_str::<Edit>(&written).unwrap(), read);
        assert_eq!(serde_json::from_str::<Value>(&written).unwrap()["operations"], edit()["operations"]);
        let names: Vec<&str> = read.operations.iter().map(Operation::name).collect();
        assert_eq!(names, ["add", "remove", "move", "recolour", "replace"]);
    }

    #[test]
    fn what_is_left_out_is_a_first_attempt() {
        let mut short = edit();
        for key in ["attempt", "strength_boost", "grow_cells"] {
            short.as_object_mut().unwrap().remove(key);
        }
        let read: Edit = serde_json::from_value(short).unwrap();
        assert_eq!(read, Edit::new(read.operations.clone(), read.layout.clone(), Seed(7)));
    }

    #[test]
    fn operations_that_cannot_be_done_are_refused_by_what_is_wrong() {
        for (operation, part) in [
            (json!({"op": "add", "phrase": "a cat", "bbox": [0.5, 0.0, 0.4, 1.0]}), "0.5"),
            (json!({"op": "add", "phrase": "a cat", "bbox": [0.0, 0.0, 1.5, 1.0]}), "1.5"),
            (json!({"op": "add", "phrase": "a cat", "bbox": [0.0, 0.0, 1.0]}), "4"),
            (json!({"op": "add", "phrase": " ", "bbox": [0.0, 0.0, 1.0, 1.0]}), "empty"),
            (json!({"op": "add", "phrase": "x".repeat(301), "bbox": [0.0, 0.0, 1.0, 1.0]}), "301 characters"),
            (json!({"op": "remove", "phrase": "a cat", "box": [0.0, 0.0, 1.0, 1.0]}), "box"),
            (json!({"op": "paint", "phrase": "a cat"}), "paint"),
            (json!({"op": "recolour", "phrase": "a cat", "bbox": [0.0, 0.0, 1.0, 1.0], "strength": 0.0}), "strength"),
        ] {
            let message = serde_json::from_value::<Operation>(operation.clone()).unwrap_err().to_string();
            assert!(message.contains(part), "{operation}: {message}");
        }
    }

    #[test]
    fn edits_out_of_range_are_refused_by_name() {
        for (key, value) in [("strength_boost", json!(1.5)), ("grow_cells", json!(65)), ("seeds", json!(1))] {
            let mut wrong = edit();
            wrong[key] = value;
            let message = serde_json::from_value::<Edit>(wrong).unwrap_err().to_string();
            assert!(message.contains(key), "{message}");
        }
        let mut many = edit();
        many["operations"] = Value::Array(vec![edit()["operations"][0].clone(); 201]);
        assert!(serde_json::from_value::<Edit>(many).unwrap_err().to_string().contains("201 operations"));
    }
}
