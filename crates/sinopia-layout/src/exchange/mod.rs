//! Layouts in the formats of other programs, read and written. What a format cannot say is told where it is lost.
//!
//! A file of others is read as far as it goes: an object that cannot be used is left out and told, the rest stays. [`read`] is the one way
//! in for a text of unknown format.

pub mod coco;
mod coco_names;
mod embedded;
pub mod flux3;
pub mod ideogram;
pub mod labelme;
pub mod moss;
mod notes;
pub mod omost;
mod reading;
mod units;
mod values;

pub use reading::{Hints, Imported};

use std::collections::HashMap;

use serde::de::IgnoredAny;

use crate::error::{Error, Result, TextFault};
use crate::layout::{Layout, LayoutObject};
use crate::names;
use crate::parse::{Answer, BadBoxes, read_answer_with, spoken};
use embedded::{embedded_json, has_key};

/// The formats that are read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Format {
    /// Layout JSON.
    Json,
    /// The answer of a language model: the text form of LLM-grounded Diffusion, or whatever else [`parse`](crate::parse) reads.
    Text,
    /// COCO object detection: an annotation file, or a list of results.
    Coco,
    /// Ideogram-style captions, whole or their list of elements.
    Ideogram,
    /// Omost canvases: Python, or the JSON of ComfyUI_omost.
    Omost,
    /// labelme annotations.
    Labelme,
    /// Layouts of MOSS-Image.
    Moss,
    /// Prompts of FLUX 3 Image.
    Flux3,
}

impl Format {
    /// What a text of this format is, in words.
    fn name(self) -> &'static str {
        match self {
            Format::Json => "layout JSON",
            Format::Text => "the answer of a language model",
            Format::Coco => "a COCO file",
            Format::Ideogram => "an Ideogram caption",
            Format::Omost => "an Omost canvas",
            Format::Labelme => "a labelme file",
            Format::Moss => "a MOSS-Image layout",
            Format::Flux3 => "a prompt of FLUX 3 Image",
        }
    }
}

/// What is said of an object without keys.
const NOTHING_IN_IT: &str =
    r#"expected `objects`, a list of boxes such as {"phrase": "name", "bbox": [x, y, width, height]}, found nothing"#;

/// Keys of layout JSON, and of its objects.
const OWN_KEYS: [&str; 6] = ["canvas", "objects", "background", "negative", "phrase", "bbox"];

/// Reads a layout in `format`, or in the one that the text looks like, which is told where it is another than layout JSON. Boxes are in thousandths of a
/// pixel and may leave the canvas: [`repair`](crate::repair::repair) changes that.
///
/// # Errors
/// Those of the format's own `read`.
pub fn read(text: &str, format: Option<Format>, hints: &Hints) -> Result<Imported> {
    let text = text.trim_start_matches('\u{feff}');
    // Omost's canvases and Ideogram's captions are written by language models, too, that may think aloud.
    let said = spoken(text);
    let canvas = hints.canvas_or_published();
    let found = format.unwrap_or_else(|| guess_said(&said));
    let mut imported = match found {
        Format::Json => read_own(text, hints)?,
        Format::Text => read_text(text, hints)?,
        Format::Coco => coco::read(&said, hints)?,
        Format::Ideogram => ideogram::read(&said, canvas)?,
        Format::Omost => omost::read(&said, canvas)?,
        Format::Labelme => labelme::read(&said, hints)?,
        Format::Moss => moss::read(&said, canvas)?,
        Format::Flux3 => flux3::read(&said, canvas)?,
    };
    if hints.canvas.is_none() {
        imported.notes.extend(shape_was_guessed(found, &imported.layout));
    }
    if format.is_none() && found != Format::Json {
        imported.notes.insert(0, format!("it is read as {}", found.name()));
    }
    imported.layout = imported.layout.rounded();
    Ok(imported)
}

/// Layout JSON as it is described; what is only like it is read as an answer, if none of its keys is a slip.
fn read_own(text: &str, hints: &Hints) -> Result<Imported> {
    let fault = match Layout::from_json(text) {
        Ok(layout) => return Ok(Imported { layout, notes: Vec::new() }),
        Err(fault) => fault,
    };
    let is_pure = text.trim_start().starts_with('{');
    let is_json = || serde_json::from_str::<IgnoredAny>(text).is_ok();
    let answer = match read_answer_with(text, hints.canvas_or_published(), BadBoxes::LeftOut) {
        Ok(answer) => answer,
        // Of JSON that is none the place is told, of other JSON what a layout needs: it may look quite otherwise.
        Err(_) if is_pure && !is_json() => return Err(fault),
        Err(_) if is_empty(text) => return Err(Error::Text(TextFault::at(text, 0, NOTHING_IN_IT))),
        Err(error) => return Err(error),
    };
    let is_slip = |key: &String| names::nearest(key, OWN_KEYS).is_some();
    if is_pure && answer.unused.iter().any(is_slip) {
        return Err(fault);
    }
    let names_canvas = answer.names_canvas || hints.canvas.is_some();
    let mut imported = of_answer(answer);
    if !names_canvas {
        imported.notes.push(format!("it names no canvas: its boxes are taken on {}", taken_on(&imported.layout)));
    }
    Ok(imported)
}

/// Whether it is an object without keys.
fn is_empty(text: &str) -> bool {
    serde_json::from_str::<HashMap<String, IgnoredAny>>(text).is_ok_and(|keys| keys.is_empty())
}

/// The answer of a language model, or what is like one. Boxes that leave a canvas which nobody named may be for another.
fn read_text(text: &str, hints: &Hints) -> Result<Imported> {
    let answer = read_answer_with(text, hints.canvas_or_published(), BadBoxes::LeftOut)?;
    let (width, height) = answer.layout.canvas.sides();
    let leaves = |object: &LayoutObject| object.bbox.right() > width + 1.0 || object.bbox.bottom() > height + 1.0;
    let is_too_small = answer.is_scale_guessed || answer.layout.objects.iter().any(leaves);
    let is_guess = !answer.names_canvas && hints.canvas.is_none() && is_too_small;
    let mut imported = of_answer(answer);
    if is_guess {
        let note = format!("it names no canvas, and its numbers go beyond {}", taken_on(&imported.layout));
        imported.notes.push(note);
    }
    Ok(imported)
}

fn of_answer(Answer { layout, notes, .. }: Answer) -> Imported {
    Imported { layout, notes }
}

/// What is told of formats whose boxes are the same on every canvas, or are counted from its centre.
fn shape_was_guessed(format: Format, layout: &Layout) -> Option<String> {
    let is_silent = matches!(format, Format::Moss | Format::Flux3 | Format::Ideogram | Format::Omost);
    is_silent.then(|| format!("it does not say how large its picture is: it is taken for {}", taken_on(layout)))
}

/// A canvas that was taken, and how to take another.
fn taken_on(layout: &Layout) -> String {
    format!("{} (`sinopia convert --canvas WIDTHxHEIGHT` takes another)", layout.canvas)
}

/// The format that a text is in, by words that only that format has.
pub fn guess(text: &str) -> Format {
    let text = text.trim_start_matches('\u{feff}');
    guess_said(&spoken(text))
}

fn guess_said(text: &str) -> Format {
    if omost::is_code(text) {
        return Format::Omost;
    }
    let json = embedded_json(text);
    let json = json.trim_start();
    let has = |key: &str| has_key(json, key);
    let is_list = json.starts_with('[');
    if !is_list && has(moss::COORDINATES) {
        Format::Moss
    } else if has("compositional_deconstruction") || has("high_level_description") {
        Format::Ideogram
    } else if !is_list && has("shapes") && ["points", "imagePath", "imageData", "imageHeight"].into_iter().any(has) {
        Format::Labelme
    } else if is_list && has("rect") && (has("prefixes") || has("suffixes")) {
        Format::Omost
    } else if is_list && has("bbox") && has("desc") && flux3::cites_ids(text) {
        Format::Flux3
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

    fn told(text: &str) -> (Vec<String>, Vec<String>) {
        let Imported { layout, notes } =
            read(text, None, &Hints::default()).unwrap_or_else(|error| panic!("{text}\n{error}"));
        (layout.objects.iter().map(|object| format!("{} {}", object.phrase, object.bbox)).collect(), notes)
    }

    #[test]
    fn what_a_text_is_is_told() {
        for (text, format) in [
            ("[('a cat', [1, 2, 30, 40])]\nBackground prompt: A room", "the answer of a language model"),
            (
                r#"<think>{"images": 1}</think>[{"label": "a cat", "bbox_2d": [1, 2, 31, 42]}]"#,
                "the answer of a language model",
            ),
            (r#"Here: [{"bbox": [4, 2, 82, 61], "desc": "a cat"}]"#, "an Ideogram caption"),
            (
                r#"{"images": [{"id": 1, "width": 512, "height": 512}], "annotations": [], "categories": []}"#,
                "a COCO file",
            ),
            (r#"{"shapes": [], "imagePath": "", "imageWidth": 512, "imageHeight": 512}"#, "a labelme file"),
            ("<think>x</think>canvas.set_global_description(description='A room')", "an Omost canvas"),
            (r#"{"caption": "A room", "items": [], "coordinate_format": "yxyx"}"#, "a MOSS-Image layout"),
        ] {
            assert_eq!(
                told(text).1.first().map(String::as_str),
                Some(format!("it is read as {format}").as_str()),
                "{text}"
            );
        }
    }

    #[test]
    fn what_is_like_layout_json_is_read_and_told() {
        let own = |rest: &str| {
            format!(
                r#"{{"canvas": {{"width": 512, "height": 512}}, "objects": [{{"phrase": "a cat", "bbox": [1, 2, 30, 40]{rest}"#
            )
        };
        let cat = vec!["a cat [1, 2, 30, 40]".to_owned()];
        assert_eq!(told(&own(r#"}], "background": "A room"}"#)), (cat.clone(), Vec::new()));
        assert_eq!(told(&own(r#", "score": 1}]}"#)).1, ["nothing is made of `score`", "it names no background"]);
        assert_eq!(told(&format!("{}{}", '\u{feff}', own(r#"}], "background": ""}"#))), (cat.clone(), Vec::new()));
        assert_eq!(
            told(&format!("Sure:\n```json\n{}\n```", own("},], // one\n\"background\": \"A room\"}"))),
            (cat.clone(), Vec::new())
        );
        let bare = told(r#"{"objects": [{"name": "a cat", "bbox": [1, 2, 30, 40]}], "background": "A room"}"#);
        let note = "it names no canvas: its boxes are taken on 512×512 (`sinopia convert --canvas WIDTHxHEIGHT` takes another)";
        assert_eq!(bare, (cat, vec![note.to_owned()]));
        for slip in [
            r#"}], "backgrund": "A room"}"#,
            r#", "phrases": "x"}]}"#,
            r#"}, {"phrase": "a dog", "bbx": [1, 2, 3, 4]}]}"#,
        ] {
            let error = read(&own(slip), None, &Hints::default()).unwrap_err();
            assert!(error.to_string().contains("unknown field"), "{error}");
        }
    }

    #[test]
    fn one_bad_box_does_not_cost_the_others() {
        let file = |objects: &str| {
            format!(r#"{{"canvas": {{"width": 512, "height": 512}}, "background": "A room", "objects": [{objects}]}}"#)
        };
        let cat = r#"{"phrase": "a cat", "bbox": [1, 2, 30, 40]}"#;
        for (bad, note) in [
            (
                r#"{"phrase": "a dog"}"#,
                "left out, in line 1: `a dog` has no box: expected `bbox`, [x, y, width, height]",
            ),
            (r#"{"bbox": [1, 2, 3, 4]}"#, "left out, in line 1: this box has no name: expected `phrase`"),
            (
                r#"{"phrase": "a dog", "bbox": [1, 2, 3]}"#,
                "left out, in line 1: expected four numbers [x, y, width, height], found 3",
            ),
            (
                r#"{"phrase": "a dog", "bbox": ["10%", 2, 3, 4]}"#,
                "left out, in line 1: expected four percentages or four numbers of pixels, found both",
            ),
            ("7", "left out, in line 1: expected a pair ('name', [x, y, width, height]), found the number 7"),
        ] {
            let (objects, notes) = told(&file(&format!("{cat}, {bad}")));
            assert_eq!((objects, notes), (vec!["a cat [1, 2, 30, 40]".to_owned()], vec![note.to_owned()]));
            let error = read(&file(bad), None, &Hints::default()).unwrap_err().to_string();
            assert!(note.ends_with(error.split_once(": ").unwrap().1), "{error}");
        }
        // Names and sides are repaired, which tells what it drops.
        let empty =
            format!(r#"{cat}, {{"phrase": " ", "bbox": [1, 2, 3, 4]}}, {{"phrase": "a dog", "bbox": [1, 2, 0, 4]}}"#);
        assert_eq!(told(&file(&empty)).0.len(), 3);
        assert_eq!(told("[('a cat', [1, 2, 30, 40]), ('a dog', [1, 2])]\nBackground: A room").0.len(), 1);
    }

    #[test]
    fn other_ways_to_write_boxes_and_canvases() {
        let car = vec!["a car [20, 260, 220, 160]".to_owned()];
        for object in [
            r#"{"phrase": "a car", "cx": 130, "cy": 340, "w": 220, "h": 160}"#,
            r#"{"phrase": "a car", "bbox": {"x_center": 130, "y_center": 340, "width": 220, "height": 160}}"#,
            r#"{"phrase": "a car", "bbox": ["2.6041667%", "50.78125%", "28.6458333%", "31.25%"]}"#,
            r#"{"phrase": "a car", "bbox": [2.6041667%, 50.78125%, 28.6458333%, 31.25%]}"#,
        ] {
            for canvas in [
                r#""canvas": {"width": 768, "height": 512}"#,
                r#""canvas": {"w": 768, "h": 512}"#,
                r#""canvas": "768x512""#,
                r#""canvas": "768 × 512""#,
                r#""canvas": [768, 512]"#,
                r#""width": 768, "height": 512"#,
                r#""image_width": 768, "image_height": "512px""#,
            ] {
                let text = format!(r#"{{{canvas}, "objects": [{object}], "background": "A street"}}"#);
                let Imported { layout, notes } = read(&text, None, &Hints::default()).unwrap();
                let found: Vec<String> =
                    layout.objects.iter().map(|one| format!("{} {}", one.phrase, one.bbox)).collect();
                assert_eq!((found, layout.canvas), (car.clone(), Canvas::new(768, 512).unwrap()), "{text}");
                assert!(notes.iter().all(|note| note.starts_with("its boxes are read as")), "{notes:?}");
            }
        }
    }

    #[test]
    fn names_and_boxes_may_stand_side_by_side() {
        let both = ["a car [51.2, 256, 153.6, 128]", "a cup [307.2, 256, 153.6, 128]"].map(str::to_owned);
        for (names, boxes) in [("phrases", "boxes"), ("gligen_phrases", "gligen_boxes"), ("phrases", "locations")] {
            let text = format!(
                r#"{{"prompt": "a street", "{names}": ["a car", "a cup"], "{boxes}": [[0.1, 0.5, 0.4, 0.75], [0.6, 0.5, 0.9, 0.75]]}}"#
            );
            let (objects, notes) = told(&text);
            assert_eq!(objects, both, "{text}");
            let reading = "its boxes are read as corners [x1, y1, x2, y2] in shares of the picture, 0 to 1, on a canvas of 512×512";
            assert_eq!(notes[..2], [reading, "nothing is made of `prompt`"]);
        }
        let pixels = r#"{"bboxes": [[20, 260, 220, 160]], "labels": ["a car"], "bg_prompt": "A street"}"#;
        assert_eq!(told(pixels).0, ["a car [20, 260, 220, 160]"]);
        let error = read(r#"{"phrases": ["a", "b"], "boxes": [[0, 0, 1, 1]]}"#, None, &Hints::default()).unwrap_err();
        assert!(error.to_string().ends_with("expected as many boxes as names, found 1 and 2 names"), "{error}");
    }

    #[test]
    fn what_is_no_layout_is_told_what_one_is() {
        let told = |text: &str| read(text, None, &Hints::default()).unwrap_err().to_string();
        assert_eq!(told("{}"), format!("line 1, column 1: {NOTHING_IN_IT}"));
        let expected =
            r#"expected a box such as {"phrase": "name", "bbox": [x, y, width, height]}, found an object of 1 key"#;
        assert_eq!(told(r#"{"things": 7}"#), format!("line 1, column 1: {expected}"));
        let others = r#"{"regions": [{"prompt": "a car", "width": 4}], "background": "A street"}"#;
        assert!(told(others).ends_with(r#""bbox": [x, y, width, height]}, found nothing like it"#), "{}", told(others));
        assert!(
            told(r#"{"canvas": "big", "objects": []}"#)
                .ends_with(r#"expected {"width": …, "height": …} in whole pixels, found the text `big`"#)
        );
        assert!(told(r#"{"canvas": {"width": 512"#).contains("EOF"));
    }

    #[test]
    fn what_names_no_canvas_says_so() {
        let note = |text: &str, canvas: Option<Canvas>| {
            let read = read(text, None, &Hints { canvas, image: None }).unwrap();
            read.notes.into_iter().find(|note| note.contains("--canvas"))
        };
        let moss = r#"{"caption": "A room", "items": [], "coordinate_format": "yxyx"}"#;
        let wide = "[('a cat', [520, 10, 200, 200])]\nBackground: A room";
        for (text, told) in [
            (moss, "it does not say how large its picture is: it is taken for 512×512"),
            (
                r#"[{"bbox": [4, 2, 82, 61], "desc": "a cat"}]"#,
                "it does not say how large its picture is: it is taken for 512×512",
            ),
            (wide, "it names no canvas, and its numbers go beyond 512×512"),
        ] {
            let told = format!("{told} (`sinopia convert --canvas WIDTHxHEIGHT` takes another)");
            assert_eq!(note(text, None), Some(told));
            assert_eq!(note(text, Canvas::new(768, 512).ok()), None);
        }
        assert_eq!(note("[('a cat', [20, 10, 200, 200])]\nBackground: A room", None), None);
        assert_eq!(note("[('a cat', [-20, 10, 200, 200])]\nBackground: A room", None), None);
    }

    #[test]
    fn prose_with_boxes_is_read_or_refused() {
        let prose = "A red car at [20, 260, 220, 160] on the left, and a blue cup at [320, 270, 180, 170].\nBackground: a street";
        assert_eq!(told(prose).0, ["A red car [20, 260, 220, 160]", "a blue cup [320, 270, 180, 170]"]);
        let half = "A red car: [20, 260, 220, 160]\nThe cup stands at [320, 270, 180, 170], on the right.\nBackground: a street";
        let (objects, notes) = told(half);
        assert_eq!(objects, ["A red car [20, 260, 220, 160]"]);
        assert!(notes.contains(&"line 2 holds what may be a box, and is not read as one".to_owned()), "{notes:?}");
    }

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
