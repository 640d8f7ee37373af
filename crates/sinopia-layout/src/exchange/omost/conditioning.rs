//! The JSON that ComfyUI_omost's nodes pass on, show and load: a list of regions, the first of which is the whole picture.
//!
//! A region is `rect` (top, bottom, left and right in cells of a grid of 90×90), `prefixes` (the description of the whole, then its own),
//! `suffixes` (details) and `color`.
//!
//! # Source
//! huchenlei/ComfyUI_omost@9f719d8:lib_omost/canvas.py

use serde_json::{Map, Value};

use super::super::notes::Notes;
use super::super::reading::{Imported, check_count, looked_at, quoted, read_json, take, wrong};
use super::super::values::{numbers, says_something, shown};
use super::places::{CELLS, FORMAT};
use crate::error::Result;
use crate::geometry::{Canvas, PixelBox};
use crate::layout::Layout;
use crate::wording::counted;

/// Reads the regions, which are in the order of drawing.
pub(super) fn read(text: &str, canvas: Canvas) -> Result<Imported> {
    let Value::Array(regions) = read_json(text, FORMAT)? else { return Err(wrong(text, "rect", "there")) };
    let mut notes = Notes::default();
    let mut background = String::new();
    let mut objects = Vec::new();
    let (mut details, mut has_colours) = (0, false);
    for (index, region) in looked_at(&regions, "region", &mut notes).iter().enumerate() {
        let Some(region) = region.as_object() else {
            notes.add(format!("{} is left out: it is no region", shown(region)));
            continue;
        };
        let prefixes = prefixes(region);
        let is_whole = index == 0 && prefixes.len() <= 1 && numbers(region.get("rect")) == Ok(WHOLE);
        details += usize::from(region.get("suffixes").is_some_and(says_something));
        has_colours |= region.get("color").is_some_and(says_something);
        let phrase = match prefixes.as_slice() {
            [of_the_whole, .., own] => {
                if background.is_empty() {
                    background.clone_from(of_the_whole);
                }
                own.clone()
            }
            [only] => only.clone(),
            [] => String::new(),
        };
        if is_whole {
            background = phrase;
            continue;
        }
        let rect = region.get("rect");
        let sides = match numbers::<4>(rect) {
            Ok(sides) => sides,
            Err(reason) => {
                notes.add(format!("{} is left out: its rect {reason}", quoted(&phrase)));
                continue;
            }
        };
        let written = rect.map(shown).unwrap_or_default();
        if is_cut(sides) {
            notes.add(format!("the rect {written} of {} is cut at 0 and {CELLS}", quoted(&phrase)));
        }
        take(&mut objects, &mut notes, &phrase, on_canvas(sides, canvas), &written);
    }
    if details > 0 {
        notes.add(format!("the details of {} are lost", counted(details, "region")));
    }
    if has_colours {
        notes.add("the colours are lost");
    }
    check_count(&objects)?;
    Ok(Imported { layout: Layout { canvas, objects, background, negative: String::new() }, notes: notes.into_lines() })
}

/// Whether a rect (top, bottom, left, right in cells) leaves the grid and has a part on it.
fn is_cut(sides: [f64; 4]) -> bool {
    let inside = within_grid(sides);
    let has_area = |[top, bottom, left, right]: [f64; 4]| top < bottom && left < right;
    has_area(sides) && has_area(inside) && inside != sides
}

/// A rect in pixels of a canvas, cut at the grid's edges.
fn on_canvas(sides: [f64; 4], canvas: Canvas) -> Result<PixelBox> {
    let [top, bottom, left, right] = sides;
    let has_area = top < bottom && left < right;
    let [top, bottom, left, right] = within_grid(sides);
    let (width, height) = canvas.sides();
    let (across, down) = (width / f64::from(CELLS), height / f64::from(CELLS));
    let bbox = PixelBox::new(left * across, top * down, (right - left) * across, (bottom - top) * down)?;
    Ok(if has_area { bbox.clipped_to(canvas) } else { bbox })
}

fn within_grid(sides: [f64; 4]) -> [f64; 4] {
    sides.map(|cell| cell.clamp(0.0, f64::from(CELLS)))
}

/// The rect of the whole picture.
const WHOLE: [f64; 4] = [0.0, CELLS as f64, 0.0, CELLS as f64];

/// The descriptions that a region begins with, those that say something.
fn prefixes(region: &Map<String, Value>) -> Vec<String> {
    let texts = region.get("prefixes").and_then(Value::as_array).into_iter().flatten().filter_map(Value::as_str);
    texts.map(|text| text.trim().trim_end_matches([',', '.', ' ']).to_owned()).filter(|text| !text.is_empty()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn told(text: &str) -> (Vec<String>, String, Vec<String>) {
        let Imported { layout, notes } = super::super::read(text, Canvas::new(900, 1800).unwrap()).unwrap();
        let objects = layout.objects.iter().map(|object| format!("{} {}", object.phrase, object.bbox));
        (objects.collect(), layout.background, notes)
    }

    const WHOLE_PICTURE: &str =
        r#"{"rect": [0, 90, 0, 90], "prefixes": ["A girl on a chair."], "suffixes": [], "color": [0, 0, 0]}"#;

    #[test]
    fn regions_are_top_bottom_left_right() {
        let window = r#"{"rect": [5, 45, 0, 55], "prefixes": ["A girl on a chair.", "Window."], "suffixes": ["It is open."], "color": [1, 2, 3]}"#;
        let (objects, background, notes) = told(&format!("[{WHOLE_PICTURE}, {window}]"));
        assert_eq!((objects, background.as_str()), (vec!["Window [0, 100, 550, 800]".to_owned()], "A girl on a chair"));
        assert_eq!(notes, ["the details of 1 region are lost", "the colours are lost"]);
        // The first region may be missing.
        let (objects, background, _) = told(&format!("Here:\n```json\n[{window}]\n```"));
        assert_eq!((objects.len(), background.as_str()), (1, "A girl on a chair"));
    }

    #[test]
    fn a_bad_region_is_left_out_and_told() {
        for (rect, prefixes, reason) in [
            ("[5, 5, 0, 55]", r#"["w", "Door."]"#, "`Door` is left out: its box [5,5,0,55] has no area"),
            ("[]", r#"["w", "Door."]"#, "`Door` is left out: its rect [] is not 4 numbers"),
            ("[95, 99, 0, 55]", r#"["w", "Door."]"#, "its box [95,99,0,55] has no area"),
            ("[5, 45, 0, 55]", "[]", "an object without a name is left out"),
        ] {
            let bad = format!(r#"{{"rect": {rect}, "prefixes": {prefixes}, "suffixes": []}}"#);
            let (objects, _, notes) =
                told(&format!(r#"[{WHOLE_PICTURE}, {bad}, {{"rect": [0, 9, 0, 120], "prefixes": ["w", "Lamp"]}}]"#));
            assert_eq!(objects, ["Lamp [0, 0, 900, 180]"]);
            assert!(notes[0].contains(reason), "{notes:?} without {reason}");
            assert_eq!(notes[1..], ["the rect [0,9,0,120] of `Lamp` is cut at 0 and 90"]);
        }
    }
}
