//! Layouts of MOSS-Image: JSON with a caption, an item a box, and the format of the coordinates.
//!
//! A box is `[y_min, x_min, y_max, x_max]` in **pixels from the centre of the canvas**, x to the right and y down: what is above or left of the centre is
//! negative. The JSON does not say how large the canvas is, and on another one the boxes are elsewhere. It has no negative caption.
//!
//! # Source
//! docs.comfy.org/built-in-nodes/MOSSImageLayoutPrompt (order, origin, labels). That page shows no file; the names of the keys are those of its description
//! and were not compared with what the node writes, and neither was the sign of y.

use serde_json::{Value, json};

use super::notes::Notes;
use super::reading::{Imported, check_count, list, looked_at, phrase_of, quoted, read_json, take, wrong};
use super::values::{numbers, shown, text as text_of};
use crate::error::Result;
use crate::geometry::{Canvas, PixelBox};
use crate::layout::{Layout, LayoutObject};

const FORMAT: &str = "MOSS-Image layout";

/// The key that only this format has.
pub(super) const COORDINATES: &str = "coordinate_format";

/// Reads a layout that was made for `canvas`. Items that cannot be used are left out and told.
///
/// # Errors
/// [`Error::Text`](crate::Error::Text) where it is no JSON of that form, [`Error::TooManyBoxes`](crate::Error::TooManyBoxes).
pub fn read(text: &str, canvas: Canvas) -> Result<Imported> {
    let Value::Object(file) = read_json(text, FORMAT)? else { return Err(wrong(text, "items", "there")) };
    let mut notes = Notes::default();
    let mut objects = Vec::new();
    for item in looked_at(list(text, &file, "items")?, "item", &mut notes) {
        let words = text_of(item.get("text"));
        let phrase = match words {
            "" => phrase_of(text_of(item.get("caption"))),
            words => format!("the words \"{words}\""),
        };
        let bbox = item.get("bbox");
        match numbers::<4>(bbox) {
            Err(reason) => notes.add(format!("{} is left out: its box {reason}", quoted(&phrase))),
            Ok(corners) => {
                let written = bbox.map(shown).unwrap_or_default();
                take(&mut objects, &mut notes, &phrase, from_centre(corners, canvas), &written);
            }
        }
    }
    check_count(&objects)?;
    let background = text_of(file.get("caption")).to_owned();
    let layout = Layout { canvas, objects, background, negative: String::new() };
    Ok(Imported { layout, notes: notes.into_lines() })
}

/// Writes a layout for a picture of its canvas's size; `caption` says what the whole picture shows.
pub fn write(layout: &Layout, caption: &str) -> String {
    let item = |LayoutObject { phrase, bbox }: &LayoutObject| json!({"label": "object", "caption": phrase, "bbox": to_centre(bbox, layout.canvas)});
    let items: Vec<Value> = layout.objects.iter().map(item).collect();
    let file = json!({
        "caption": caption,
        "items": items,
        COORDINATES: "yxyx, pixels relative to the canvas center",
    });
    format!("{file:#}\n")
}

/// `[y − H/2, x − W/2, y + h − H/2, x + w − W/2]` in whole pixels, half to even; a box thinner than a pixel gets one.
fn to_centre(bbox: &PixelBox, canvas: Canvas) -> [i64; 4] {
    let (width, height) = canvas.sides();
    let edges = |start: f64, end: f64, side: f64| {
        let pixels = |edge: f64| (edge - side / 2.0).round_ties_even() as i64; // exact: at most a million
        let (start, end) = (pixels(start), pixels(end));
        (start, end.max(start + 1))
    };
    let (left, right) = edges(bbox.x(), bbox.right(), width);
    let (top, bottom) = edges(bbox.y(), bbox.bottom(), height);
    [top, left, bottom, right]
}

fn from_centre([top, left, bottom, right]: [f64; 4], canvas: Canvas) -> Result<PixelBox> {
    let (width, height) = canvas.sides();
    PixelBox::new(left + width / 2.0, top + height / 2.0, right - left, bottom - top)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn layout(bbox: [f64; 4]) -> Layout {
        let [x, y, width, height] = bbox;
        let bbox = PixelBox::new(x, y, width, height).unwrap();
        let objects = vec![LayoutObject { phrase: "a cat".to_owned(), bbox }];
        let canvas = Canvas::new(2000, 500).unwrap();
        Layout { canvas, objects, background: "A room".to_owned(), negative: String::new() }
    }

    /// A wide canvas and a box in its top right: swapped axes, another origin and another direction of y would show.
    #[test]
    fn y_comes_before_x_and_both_are_counted_from_the_centre() {
        let layout = layout([1600., 50., 200., 100.]);
        let written = write(&layout, "A cat in a room");
        let value: Value = serde_json::from_str(&written).unwrap();
        assert_eq!(value["items"][0], json!({"label": "object", "caption": "a cat", "bbox": [-200, 600, -100, 800]}));
        let keys: Vec<&String> = value.as_object().unwrap().keys().collect();
        assert_eq!(keys, ["caption", "items", "coordinate_format"]);
        let back = read(&written, layout.canvas).unwrap();
        assert_eq!((back.layout.objects, back.notes), (layout.objects, Vec::new()));
    }

    #[test]
    fn a_box_keeps_a_pixel() {
        let value: Value = serde_json::from_str(&write(&layout([1000., 250., 0.2, 0.2]), "")).unwrap();
        assert_eq!(value["items"][0]["bbox"], json!([0, 0, 1, 1]));
    }

    #[test]
    fn a_bad_item_is_left_out_and_told() {
        let text = r#"{"caption": "A shop", "coordinate_format": "yxyx", "items": [{"label": "text", "text": "OPEN", "bbox": [-250, -1000, -150, 0]},
            {"label": "object", "caption": "a cat", "bbox": [1, 2, 3]}, {"label": "object", "caption": "a dog", "bbox": [5, 5, 5, 9]}, 7]}"#;
        let Imported { layout, notes } = read(text, Canvas::new(2000, 500).unwrap()).unwrap();
        let objects: Vec<String> =
            layout.objects.iter().map(|object| format!("{} {}", object.phrase, object.bbox)).collect();
        assert_eq!(
            (objects, layout.background.as_str()),
            (vec!["the words \"OPEN\" [0, 0, 1000, 100]".to_owned()], "A shop")
        );
        assert_eq!(notes.len(), 3, "{notes:?}");
        assert!(read("[]", Canvas::PUBLISHED).is_err());
    }
}
