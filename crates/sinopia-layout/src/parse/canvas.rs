//! The canvas that an answer or a file names, however it does.

use super::keys::{find, is_one_of};
use super::measures::measure_of;
use crate::geometry::Canvas;
use crate::literal::{Fault, Spanned, Value};

/// Keys of the canvas; its sides may also stand beside the objects.
const CANVAS: [&str; 3] = ["canvas", "canvas_size", "image_size"];
const WIDTH: [&str; 2] = ["width", "image_width"];
const HEIGHT: [&str; 2] = ["height", "image_height"];

/// Whether a key says something of the canvas.
pub(super) fn is_key(key: &str) -> bool {
    [&CANVAS[..], &WIDTH, &HEIGHT].iter().any(|names| is_one_of(key, names))
}

/// The canvas that a layout names: under a key of its own, or its sides beside the objects.
pub(super) fn of(entries: &[(String, Spanned)]) -> Result<Option<Canvas>, Fault> {
    if let Some((_, canvas)) = find(entries, &CANVAS) {
        return read_canvas(canvas).map(Some);
    }
    let side = |names: &[&str]| find(entries, names).and_then(|(_, value)| Some((whole_side(value)?, value.offset)));
    let (Some((width, offset)), Some((height, _))) = (side(&WIDTH), side(&HEIGHT)) else {
        return Ok(None);
    };
    canvas_at(width, height, offset).map(Some)
}

/// `{"width": 768, "height": 512}`, `[768, 512]` or `"768x512"`.
fn read_canvas(found: &Spanned) -> Result<Canvas, Fault> {
    let sides = match &found.value {
        Value::Dict(entries) => {
            let side = |names: &[&str]| find(entries, names).and_then(|(_, value)| whole_side(value));
            side(&["width", "w"]).zip(side(&["height", "h"]))
        }
        Value::List(sides) => match sides.as_slice() {
            [width, height] => whole_side(width).zip(whole_side(height)),
            _ => None,
        },
        Value::Text(text) => {
            let sides = text.split_once(['x', 'X', '×', '*']);
            sides.and_then(|(width, height)| Some((width.trim().parse().ok()?, height.trim().parse().ok()?)))
        }
        Value::Number(_) | Value::Nothing => None,
    };
    let (width, height) = sides.ok_or_else(|| {
        let expected = r#"expected {"width": …, "height": …} in whole pixels"#;
        Fault::new(found.offset, format!("{expected}, found {}", found.value.describe()))
    })?;
    canvas_at(width, height, found.offset)
}

fn canvas_at(width: u32, height: u32, offset: usize) -> Result<Canvas, Fault> {
    Canvas::new(width, height).map_err(|error| Fault::new(offset, error.to_string()))
}

/// A side of a canvas.
fn whole_side(found: &Spanned) -> Option<u32> {
    let side = measure_of(found).filter(|side| !side.is_percentage)?.value;
    (side.fract() == 0.0 && (0.0..=1e9).contains(&side)).then_some(side as u32)
}
