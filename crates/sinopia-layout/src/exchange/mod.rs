//! Layouts in the formats of other programs, read and written. What a format cannot say is told where it is lost.
//!
//! A file of others is read as far as it goes: an object that cannot be used is left out and told, the rest stays. [`read`] is the one way
//! in for a text of unknown format.

pub mod coco;
mod coco_names;
mod embedded;
pub mod ideogram;
pub mod labelme;
mod notes;
pub mod omost;
mod values;

use serde_json::{Map, Value};

use crate::error::{Error, Result, TextFault};
use crate::geometry::{Canvas, PixelBox};
use crate::json;
use crate::layout::{Layout, LayoutObject};
use crate::limits::{EXCHANGE_BYTES, EXCHANGE_ITEMS};
use crate::parse::parse_answer_on;
use crate::python_json::with_null;
use crate::wording::{counted, excerpt, says_something};
use embedded::{embedded_json, has_key};
use notes::Notes;

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

/// The formats that are read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Format {
    /// Layout JSON.
    Json,
    /// The text form of LLM-grounded Diffusion, as language models answer.
    Text,
    /// COCO object detection: an annotation file, or a list of results.
    Coco,
    /// Ideogram-style captions, whole or their list of elements.
    Ideogram,
    /// Omost canvases: Python, or the JSON of ComfyUI_omost.
    Omost,
    /// labelme annotations.
    Labelme,
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
    fn canvas_or_published(&self) -> Canvas {
        self.canvas.unwrap_or(Canvas::PUBLISHED)
    }
}

/// Reads a layout in `format`, or in the one that the text looks like. Boxes are in thousandths of a pixel and may leave the canvas:
/// [`repair`](crate::repair::repair) mends that.
///
/// # Errors
/// Those of the format's own `read`.
pub fn read(text: &str, format: Option<Format>, hints: &Hints) -> Result<Imported> {
    let text = text.trim_start_matches('\u{feff}');
    let whole = |layout: Layout| Imported { layout, notes: Vec::new() };
    let mut imported = match format.unwrap_or_else(|| guess(text)) {
        Format::Json => whole(Layout::from_json(text)?),
        Format::Text => whole(parse_answer_on(text, hints.canvas_or_published())?),
        Format::Coco => coco::read(text, hints)?,
        Format::Ideogram => ideogram::read(text, hints.canvas_or_published())?,
        Format::Omost => omost::read(text, hints.canvas_or_published())?,
        Format::Labelme => labelme::read(text, hints)?,
    };
    imported.layout = imported.layout.rounded();
    Ok(imported)
}

/// The format that a text is in, by words that only that format has.
pub fn guess(text: &str) -> Format {
    if omost::is_code(text) {
        return Format::Omost;
    }
    let json = embedded_json(text);
    let json = json.trim_start();
    let has = |key: &str| has_key(json, key);
    let is_list = json.starts_with('[');
    if has("compositional_deconstruction") || has("high_level_description") {
        Format::Ideogram
    } else if !is_list && has("shapes") && ["points", "imagePath", "imageData", "imageHeight"].into_iter().any(has) {
        Format::Labelme
    } else if is_list && has("rect") && (has("prefixes") || has("suffixes")) {
        Format::Omost
    } else if is_list && has("bbox") && has("desc") || !is_list && has("elements") && has("desc") {
        Format::Ideogram
    } else if !is_list && has("canvas") && has("objects") {
        Format::Json
    } else if is_list && (has("image_id") || has("category_id")) || !is_list && (has("images") || has("annotations")) {
        Format::Coco
    } else if text.trim_start().starts_with('{') {
        Format::Json
    } else {
        Format::Text
    }
}

fn refused(format: &'static str, problem: impl Into<String>) -> Error {
    Error::Exchange { format, problem: problem.into() }
}

/// The JSON of a text, with or without prose around it.
fn read_json(text: &str, format: &'static str) -> Result<Value> {
    check_size(text, format)?;
    let json = embedded_json(text);
    // The fault is that of the text as it was written, where its place is right.
    serde_json::from_str(&json)
        .or_else(|error| serde_json::from_str(&with_null(&json)).map_err(|_| Error::Text(json::fault(&json, &error))))
}

/// A key's value is not what it should be.
fn wrong(text: &str, key: &str, wanted: &str) -> Error {
    let offset = text.find(&format!("\"{key}\"")).unwrap_or(0);
    Error::Text(TextFault::at(text, offset, format!("`{key}` is not {wanted}")))
}

/// The list of a key; empty if there is none.
fn list<'a>(text: &str, map: &'a Map<String, Value>, key: &str) -> Result<&'a [Value]> {
    match map.get(key) {
        None | Some(Value::Null) => Ok(&[]),
        Some(Value::Array(items)) => Ok(items),
        Some(_) => Err(wrong(text, key, "a list")),
    }
}

fn check_size(text: &str, format: &'static str) -> Result<()> {
    if text.len() > EXCHANGE_BYTES {
        return Err(refused(format, format!("it has {} bytes; at most {EXCHANGE_BYTES} are read", text.len())));
    }
    Ok(())
}

fn check_count(objects: &[LayoutObject]) -> Result<()> {
    if objects.len() > Layout::MAX_BOXES {
        return Err(Error::TooManyBoxes { found: objects.len(), max: Layout::MAX_BOXES });
    }
    Ok(())
}

/// The size of an image as a file has it, in pixels.
fn canvas_of(width: f64, height: f64) -> Result<Canvas> {
    let side = |side: f64| side.round() as u32; // saturates: what is below zero is 0, and both are refused
    Canvas::new(side(width), side(height))
}

fn unknown_size(format: &'static str) -> Error {
    refused(format, "it does not say how large its image is; the canvas has to be given (`--canvas WIDTHxHEIGHT`)")
}

/// An object's name as a phrase: trimmed, without full stops at its end.
fn phrase_of(text: &str) -> String {
    text.trim().trim_end_matches(['.', ' ']).to_owned()
}

/// A name in a note.
fn quoted(name: &str) -> String {
    format!("`{}`", excerpt(name, NAMED_CHARS))
}

/// Takes an object if it has a name and its box an area, and tells why it is left out otherwise. `written` is the box as its file has it.
fn take(objects: &mut Vec<LayoutObject>, notes: &mut Notes, phrase: &str, bbox: Result<PixelBox>, written: &str) {
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
fn looked_at<'a, T>(items: &'a [T], what: &str, notes: &mut Notes) -> &'a [T] {
    if items.len() > EXCHANGE_ITEMS {
        notes.add(format!("only the first {EXCHANGE_ITEMS} of {} are read", counted(items.len(), what)));
    }
    &items[..items.len().min(EXCHANGE_ITEMS)]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_beyond_the_limit_are_refused() {
        let long = " ".repeat(EXCHANGE_BYTES + 1);
        let problems = [
            coco::read(&long, &Hints::default()).unwrap_err(),
            ideogram::read(&long, Canvas::PUBLISHED).unwrap_err(),
            omost::read(&long, Canvas::PUBLISHED).unwrap_err(),
        ];
        for problem in problems.map(|problem| problem.to_string()) {
            assert!(problem.contains("it has 16777217 bytes; at most 16777216 are read"), "{problem}");
        }
    }
}
