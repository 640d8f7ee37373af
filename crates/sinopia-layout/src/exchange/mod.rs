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
mod reading;
mod values;

pub use reading::{Hints, Imported};

use crate::error::Result;
use crate::layout::Layout;
use crate::parse::parse_answer_on;
use embedded::{embedded_json, has_key};

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

/// Reads a layout in `format`, or in the one that the text looks like. Boxes are in thousandths of a pixel and may leave the canvas:
/// [`repair`](crate::repair::repair) changes that.
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::geometry::Canvas;
    use crate::limits::EXCHANGE_BYTES;

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
