//! What the readers of other programs' formats share: what they return, how they refuse, and how an object is taken or left out.

use serde_json::{Map, Value};

use super::embedded::embedded_json;
use super::notes::Notes;
use crate::error::{Error, Result, TextFault};
use crate::geometry::{Canvas, PixelBox};
use crate::json;
use crate::layout::{Layout, LayoutObject};
use crate::limits::{EXCHANGE_BYTES, EXCHANGE_ITEMS};
use crate::python_json::with_null;
use crate::wording::{counted, excerpt, says_something};

/// Most of a name that a note repeats.
const NAMED_CHARS: usize = 60;

/// A layout from another format.
#[derive(Debug, Clone, PartialEq)]
pub struct Imported {
    /// The layout.
    pub layout: Layout,
    /// What the other format said and the layout does not, and what was changed, a sentence each.
    pub notes: Vec<String>,
}

/// What a reader may need that the text does not say.
#[derive(Debug, Clone, Default)]
pub struct Hints {
    /// The canvas of formats that name none.
    pub canvas: Option<Canvas>,
    /// The image of a COCO file with several, by its id.
    pub image: Option<String>,
}

impl Hints {
    pub(super) fn canvas_or_published(&self) -> Canvas {
        self.canvas.unwrap_or(Canvas::PUBLISHED)
    }
}

pub(super) fn refused(format: &'static str, problem: impl Into<String>) -> Error {
    Error::Exchange { format, problem: problem.into() }
}

/// The JSON of a text, with or without prose around it.
pub(super) fn read_json(text: &str, format: &'static str) -> Result<Value> {
    check_size(text, format)?;
    let json = embedded_json(text);
    // The fault is that of the text as it was written, where its place is right.
    serde_json::from_str(&json)
        .or_else(|error| serde_json::from_str(&with_null(&json)).map_err(|_| Error::Text(json::fault(&json, &error))))
}

/// A key's value is not what it should be.
pub(super) fn wrong(text: &str, key: &str, wanted: &str) -> Error {
    let offset = text.find(&format!("\"{key}\"")).unwrap_or(0);
    Error::Text(TextFault::at(text, offset, format!("`{key}` is not {wanted}")))
}

/// The list of a key; empty if there is none.
pub(super) fn list<'a>(text: &str, map: &'a Map<String, Value>, key: &str) -> Result<&'a [Value]> {
    match map.get(key) {
        None | Some(Value::Null) => Ok(&[]),
        Some(Value::Array(items)) => Ok(items),
        Some(_) => Err(wrong(text, key, "a list")),
    }
}

pub(super) fn check_size(text: &str, format: &'static str) -> Result<()> {
    if text.len() > EXCHANGE_BYTES {
        return Err(refused(format, format!("it has {} bytes; at most {EXCHANGE_BYTES} are read", text.len())));
    }
    Ok(())
}

pub(super) fn check_count(objects: &[LayoutObject]) -> Result<()> {
    if objects.len() > Layout::MAX_BOXES {
        return Err(Error::TooManyBoxes { found: objects.len(), max: Layout::MAX_BOXES });
    }
    Ok(())
}

/// The size of an image as a file has it, in pixels.
pub(super) fn canvas_of(width: f64, height: f64) -> Result<Canvas> {
    let side = |side: f64| side.round() as u32; // saturates: what is below zero is 0, and both are refused
    Canvas::new(side(width), side(height))
}

pub(super) fn unknown_size(format: &'static str) -> Error {
    refused(format, "it does not say how large its image is; the canvas has to be given (`--canvas WIDTHxHEIGHT`)")
}

/// An object's name as a phrase: trimmed, without full stops at its end.
pub(super) fn phrase_of(text: &str) -> String {
    text.trim().trim_end_matches(['.', ' ']).to_owned()
}

/// A name in a note.
pub(super) fn quoted(name: &str) -> String {
    format!("`{}`", excerpt(name, NAMED_CHARS))
}

/// Takes an object if it has a name and its box an area, and tells why it is left out otherwise. `written` is the box as its file has it.
pub(super) fn take(
    objects: &mut Vec<LayoutObject>,
    notes: &mut Notes,
    phrase: &str,
    bbox: Result<PixelBox>,
    written: &str,
) {
    match bbox {
        _ if !says_something(phrase) => {
            notes.add(format!("an object without a name is left out; its box is {written}"))
        }
        Err(error) => notes.add(format!("{} is left out: {error}", quoted(phrase))),
        Ok(bbox) if !bbox.has_area() => {
            notes.add(format!("{} is left out: its box {written} has no area", quoted(phrase)));
        }
        // More than a layout has are refused in the end and only counted: a name that thousands share is not copied for each.
        Ok(bbox) if objects.len() > Layout::MAX_BOXES => objects.push(LayoutObject { phrase: String::new(), bbox }),
        Ok(bbox) => objects.push(LayoutObject { phrase: phrase.to_owned(), bbox }),
    }
}

/// The items of a list that are looked at; that there are more is told.
pub(super) fn looked_at<'a, T>(items: &'a [T], what: &str, notes: &mut Notes) -> &'a [T] {
    if items.len() > EXCHANGE_ITEMS {
        notes.add(format!("only the first {EXCHANGE_ITEMS} of {} are read", counted(items.len(), what)));
    }
    &items[..items.len().min(EXCHANGE_ITEMS)]
}
