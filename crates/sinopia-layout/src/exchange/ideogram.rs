//! Ideogram-style JSON captions: a description, a background, and elements with `[y_min, x_min, y_max, x_max]` in 0..=1000.
//!
//! **The order is y before x**, and the numbers are thousandths of the picture's height and width, whatever its size in pixels.
//! Such a caption has no negative prompt.

use serde::Deserialize;
use serde_json::{Value, json};

use super::{Imported, check_objects, read_json, refused};
use crate::error::Result;
use crate::geometry::{BBox, Canvas, PixelBox};
use crate::layout::{Layout, LayoutObject};

const FORMAT: &str = "Ideogram caption";

/// Units of a side of the picture.
const UNITS: f64 = 1000.0;

/// Reads a caption as a layout on `canvas`. Elements without a box and styles are left out, and told.
///
/// # Errors
/// [`Error::Text`](crate::Error::Text) where it is no JSON of that form, [`Error::Exchange`](crate::Error::Exchange) for a box that
/// is none, [`Error::TooManyBoxes`](crate::Error::TooManyBoxes), [`Error::EmptyPhrase`](crate::Error::EmptyPhrase).
pub fn read(text: &str, canvas: Canvas) -> Result<Imported> {
    let caption: Caption = read_json(text, FORMAT)?;
    let mut left_out = Vec::new();
    if caption.style_description.is_some() {
        left_out.push("the style description".to_owned());
    }
    let mut objects = Vec::new();
    for element in caption.compositional_deconstruction.elements {
        let phrase = match (element.kind.as_str(), element.text) {
            ("text", Some(words)) => format!("the words \"{}\"", words.trim()),
            _ => element.desc.trim().trim_end_matches('.').to_owned(),
        };
        let Some(bbox) = element.bbox else {
            left_out.push(format!("`{phrase}`, which has no box"));
            continue;
        };
        objects.push(LayoutObject { bbox: to_pixels(bbox, &phrase, canvas)?, phrase });
    }
    check_objects(&objects)?;
    let background = caption.compositional_deconstruction.background.trim().to_owned();
    Ok(Imported { layout: Layout { canvas, objects, background, negative: String::new() }, left_out })
}

/// Writes a layout as a caption whose whole is described by `description`; the negative prompt is lost.
///
/// `y_min = round(1000 · y / H)` and so on, half to even. A box thinner than a unit gets one unit.
///
/// # Errors
/// [`Error::BBox`](crate::Error::BBox) if a box leaves the canvas or has no area; repair the layout first.
pub fn write(layout: &Layout, description: &str) -> Result<String> {
    let mut elements: Vec<Value> = Vec::new();
    for LayoutObject { phrase, bbox } in &layout.objects {
        let (x0, y0, x1, y1) = BBox::from_pixels(bbox, layout.canvas)?.corners();
        let ((x_min, x_max), (y_min, y_max)) = (to_units(x0, x1), to_units(y0, y1));
        elements.push(json!({"type": "obj", "bbox": [y_min, x_min, y_max, x_max], "desc": phrase}));
    }
    let caption = json!({
        "high_level_description": description,
        "compositional_deconstruction": {"background": layout.background, "elements": elements},
    });
    Ok(format!("{caption:#}\n"))
}

fn to_units(start: f64, end: f64) -> (u32, u32) {
    let units = |share: f64| (share * UNITS).round_ties_even() as u32; // 0..=1000
    let (start, end) = (units(start), units(end));
    if start < end { (start, end) } else { (start.min(999), start.min(999) + 1) }
}

fn to_pixels([y_min, x_min, y_max, x_max]: [f64; 4], phrase: &str, canvas: Canvas) -> Result<PixelBox> {
    BBox::new(x_min / UNITS, y_min / UNITS, x_max / UNITS, y_max / UNITS).map_err(|_| {
        let found = format!("[{y_min}, {x_min}, {y_max}, {x_max}]");
        let wanted = "[y_min, x_min, y_max, x_max] in 0 to 1000 with min < max";
        refused(FORMAT, format!("the box {found} of `{phrase}` is not {wanted}"))
    })?;
    let (width, height) = canvas.sides();
    let across = |units: f64| units * width / UNITS;
    let down = |units: f64| units * height / UNITS;
    let bbox = PixelBox::new(across(x_min), down(y_min), across(x_max - x_min), down(y_max - y_min))?;
    Ok(bbox.clipped_to(canvas)) // the sum of corner and side may have been rounded up
}

#[derive(Deserialize)]
struct Caption {
    style_description: Option<Value>,
    compositional_deconstruction: Composition,
}

#[derive(Deserialize)]
struct Composition {
    #[serde(default)]
    background: String,
    #[serde(default)]
    elements: Vec<Element>,
}

#[derive(Deserialize)]
struct Element {
    #[serde(rename = "type", default)]
    kind: String,
    bbox: Option<[f64; 4]>,
    text: Option<String>,
    #[serde(default)]
    desc: String,
}

#[cfg(test)]
mod tests {
    use super::*;

    fn layout(canvas: Canvas, bbox: [f64; 4]) -> Layout {
        let [x, y, width, height] = bbox;
        let object = LayoutObject { phrase: "a cat".to_owned(), bbox: PixelBox::new(x, y, width, height).unwrap() };
        Layout { canvas, objects: vec![object], background: "A room".to_owned(), negative: String::new() }
    }

    /// A wide canvas and a box far from its diagonal: swapped axes would show.
    #[test]
    fn y_comes_before_x() {
        let canvas = Canvas::new(2000, 500).unwrap();
        let written = write(&layout(canvas, [1600., 50., 200., 100.]), "A cat in a room").unwrap();
        let value: Value = serde_json::from_str(&written).unwrap();
        assert_eq!(value["compositional_deconstruction"]["elements"][0]["bbox"], json!([100, 800, 300, 900]));
        let keys: Vec<&String> = value.as_object().unwrap().keys().collect();
        assert_eq!(keys, ["high_level_description", "compositional_deconstruction"]);
        let read_back = read(&written, canvas).unwrap();
        assert_eq!(read_back.layout, layout(canvas, [1600., 50., 200., 100.]));
        assert!(read_back.left_out.is_empty());
    }

    #[test]
    fn boxes_come_back_within_half_a_unit() {
        for canvas in [Canvas::PUBLISHED, Canvas::new(1024, 768).unwrap(), Canvas::new(8, 16384).unwrap()] {
            let (width, height) = (f64::from(canvas.width()), f64::from(canvas.height()));
            for (x, y, w, h) in
                [(0., 0., 1., 1.), (0.1, 0.2, 0.333, 0.777), (0.5, 0.25, 0.00001, 0.75), (0.9999, 0., 0.0001, 0.4)]
            {
                let before = layout(canvas, [x * width, y * height, w * width, h * height]);
                let after = read(&write(&before, "").unwrap(), canvas).unwrap().layout;
                let (a, b) = (&before.objects[0].bbox, &after.objects[0].bbox);
                let unit = 1.0 / UNITS;
                assert!(
                    (a.x() - b.x()).abs() <= unit * width && (a.right() - b.right()).abs() <= unit * width,
                    "{a} {b}"
                );
                assert!(
                    (a.y() - b.y()).abs() <= 0.5001 * unit * height
                        && (a.bottom() - b.bottom()).abs() <= 0.5001 * unit * height,
                    "{a} {b}"
                );
                assert!(b.has_area() && after.is_inside_canvas());
            }
        }
    }

    #[test]
    fn what_a_layout_cannot_say_is_told() {
        let text = r##"{"high_level_description": "A shop.", "style_description": {"lighting": "dim", "medium": "oil", "art_style": "naive"},
            "compositional_deconstruction": {"background": "A street.", "elements": [
                {"type": "text", "bbox": [0, 250, 100, 750], "text": "OPEN", "desc": "a sign", "color_palette": ["#FF0000"]},
                {"type": "obj", "desc": "fog."}]}}"##;
        let imported = read(text, Canvas::PUBLISHED).unwrap();
        assert_eq!(imported.layout.objects[0].phrase, "the words \"OPEN\"");
        assert_eq!(imported.layout.objects[0].bbox, PixelBox::new(128., 0., 256., 51.2).unwrap());
        assert_eq!(imported.left_out, ["the style description", "`fog`, which has no box"]);
    }

    #[test]
    fn boxes_that_are_none_are_refused() {
        for bbox in ["[500, 0, 100, 100]", "[0, 0, 1001, 5]", "[-1, 0, 5, 5]", "[0, 0, 0, 5]"] {
            let text = format!(
                r#"{{"compositional_deconstruction": {{"background": "", "elements": [{{"type": "obj", "bbox": {bbox}, "desc": "a cat"}}]}}}}"#
            );
            let message = read(&text, Canvas::PUBLISHED).unwrap_err().to_string();
            assert!(message.contains("a cat") && message.contains("y_min"), "{message}");
        }
        assert!(read("{}", Canvas::PUBLISHED).unwrap_err().fault().is_some());
        assert!(write(&layout(Canvas::PUBLISHED, [500., 0., 100., 100.]), "").is_err());
    }
}
