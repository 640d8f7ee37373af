//! Omost canvases: calls of `set_global_description` and `add_local_description` in Python, parsed and never executed.
//!
//! A place is words: one of nine locations, an offset, one of nine areas, on a grid of 90×90. Writing chooses the words whose box is
//! most like the layout's, so a box comes back moved and resized; a layout that was read from a canvas comes back as it was.
//!
//! # Source
//! lllyasviel/Omost@3524828:lib_omost/canvas.py (the grid, the words and the order of drawing).

use std::fmt::Write as _;

use super::{Imported, check_objects, check_size, refused};
use crate::error::{Error, Result, TextFault};
use crate::geometry::{Canvas, PixelBox};
use crate::layout::{Layout, LayoutObject};
use crate::literal::{Cursor, Fault, Spanned, Value};

const FORMAT: &str = "Omost canvas";

/// Cells of a side of the grid.
const CELLS: i32 = 90;

const LOCATIONS: [(&str, (i32, i32)); 9] = [
    ("in the center", (45, 45)),
    ("on the left", (15, 45)),
    ("on the right", (75, 45)),
    ("on the top", (45, 15)),
    ("on the bottom", (45, 75)),
    ("on the top-left", (15, 15)),
    ("on the top-right", (75, 15)),
    ("on the bottom-left", (15, 75)),
    ("on the bottom-right", (75, 75)),
];

const OFFSETS: [(&str, (i32, i32)); 9] = [
    ("no offset", (0, 0)),
    ("slightly to the left", (-10, 0)),
    ("slightly to the right", (10, 0)),
    ("slightly to the upper", (0, -10)),
    ("slightly to the lower", (0, 10)),
    ("slightly to the upper-left", (-10, -10)),
    ("slightly to the upper-right", (10, -10)),
    ("slightly to the lower-left", (-10, 10)),
    ("slightly to the lower-right", (10, 10)),
];

/// Width and height in cells.
const AREAS: [(&str, (i32, i32)); 9] = [
    ("a small square area", (50, 50)),
    ("a small vertical area", (40, 60)),
    ("a small horizontal area", (60, 40)),
    ("a medium-sized square area", (60, 60)),
    ("a medium-sized vertical area", (50, 80)),
    ("a medium-sized horizontal area", (80, 50)),
    ("a large square area", (70, 70)),
    ("a large vertical area", (60, 90)),
    ("a large horizontal area", (90, 60)),
];

/// Reads the calls of a canvas as a layout on `canvas`, things that are farther away first. The text around them may be anything.
///
/// # Errors
/// [`Error::Text`] with the place where a call cannot be read, [`Error::Exchange`] if there is no call at all, [`Error::TooManyBoxes`],
/// [`Error::EmptyPhrase`].
pub fn read(text: &str, canvas: Canvas) -> Result<Imported> {
    check_size(text, FORMAT)?;
    let calls = calls(text).map_err(|fault| Error::Text(TextFault::at(text, fault.offset, fault.message)))?;
    if calls.is_empty() {
        return Err(refused(FORMAT, "there is no `set_global_description(…)` and no `add_local_description(…)` in it"));
    }
    let mut background = String::new();
    let mut placed = Vec::new();
    let mut left_out = Vec::new();
    for call in &calls {
        let details = match read_call(call, canvas)
            .map_err(|fault| Error::Text(TextFault::at(text, fault.offset, fault.message)))?
        {
            Described::Whole { description, has_details } => {
                background = description;
                has_details.then(|| "the details of the whole picture".to_owned())
            }
            Described::Part { object, distance, has_details } => {
                let details = has_details.then(|| format!("the details of `{}`", object.phrase));
                placed.push((distance, object));
                details
            }
        };
        left_out.extend(details);
    }
    placed.sort_by(|(a, _), (b, _)| b.total_cmp(a)); // stable: of equally distant things the first is drawn first
    let objects: Vec<LayoutObject> = placed.into_iter().map(|(_, object)| object).collect();
    check_objects(&objects)?;
    Ok(Imported { layout: Layout { canvas, objects, background, negative: String::new() }, left_out })
}

/// Writes a layout as a canvas, later objects nearer to the viewer; the negative prompt is lost, and boxes become the nearest ones
/// that Omost has words for.
pub fn write(layout: &Layout) -> String {
    let mut code = String::from("canvas = Canvas()\n");
    // Writing into a string cannot fail.
    let _ = write!(
        code,
        "canvas.set_global_description(\n    description={},\n    detailed_descriptions=[],\n    tags='',\n    HTML_web_color_name='gray',\n)\n",
        quoted(&layout.background)
    );
    for (index, LayoutObject { phrase, bbox }) in layout.objects.iter().enumerate() {
        let (location, offset, area) = nearest(bbox, layout.canvas);
        let distance = layout.objects.len() - index;
        let _ = write!(
            code,
            "canvas.add_local_description(\n    location='{location}',\n    offset='{offset}',\n    area='{area}',\n    distance_to_viewer={distance}.0,\n    description={},\n    detailed_descriptions=[],\n    tags='',\n    atmosphere='',\n    style='',\n    quality_meta='',\n    HTML_web_color_name='gray',\n)\n",
            quoted(phrase)
        );
    }
    code
}

/// A call and its named arguments.
struct Call {
    offset: usize,
    is_whole: bool,
    arguments: Vec<(String, Spanned)>,
}

enum Described {
    Whole { description: String, has_details: bool },
    Part { object: LayoutObject, distance: f64, has_details: bool },
}

/// Every call, each searched for behind the end of the one before, so that names inside strings are not taken for calls.
fn calls(text: &str) -> std::result::Result<Vec<Call>, Fault> {
    const NAMES: [(&str, bool); 2] = [("set_global_description", true), ("add_local_description", false)];
    let mut calls = Vec::new();
    let mut start = 0;
    loop {
        let found = NAMES
            .iter()
            .filter_map(|(name, is_whole)| Some((start + text[start..].find(name)?, name.len(), *is_whole)));
        let Some((offset, length, is_whole)) = found.min() else { return Ok(calls) };
        start = offset + length;
        let is_method = text[..offset].ends_with('.'); // not a definition or a remark
        let mut cursor = Cursor::new(text, start);
        cursor.skip_blanks();
        if !is_method || !cursor.eat('(') {
            continue;
        }
        let arguments = arguments(text, &mut cursor)?;
        start = cursor.offset();
        calls.push(Call { offset, is_whole, arguments });
    }
}

/// `name=value, …)`.
fn arguments<'a>(text: &'a str, cursor: &mut Cursor<'a>) -> std::result::Result<Vec<(String, Spanned)>, Fault> {
    let mut arguments = Vec::new();
    loop {
        cursor.skip_blanks();
        if cursor.eat(')') {
            return Ok(arguments);
        }
        let offset = cursor.offset();
        let length = text[offset..].find(|c: char| !c.is_alphanumeric() && c != '_').unwrap_or(text.len() - offset);
        let name = &text[offset..offset + length];
        *cursor = Cursor::new(text, offset + length);
        cursor.skip_blanks();
        if name.is_empty() || !cursor.eat('=') {
            return Err(Fault::new(offset, "expected an argument by name, such as `location='on the left'`, or `)`"));
        }
        arguments.push((name.to_owned(), cursor.value()?));
        cursor.skip_blanks();
        if !cursor.eat(',') && cursor.peek() != Some(')') {
            return Err(Fault::new(cursor.offset(), "expected `,` or `)` after the argument"));
        }
    }
}

fn read_call(call: &Call, canvas: Canvas) -> std::result::Result<Described, Fault> {
    let description = call.text("description")?.trim().trim_end_matches([',', '.', ' ']).to_owned();
    let is_empty = |value: &Value| match value {
        Value::Text(text) => text.trim().is_empty(),
        Value::List(items) => items.is_empty(),
        _ => true,
    };
    let details = ["detailed_descriptions", "tags", "atmosphere", "style", "quality_meta"];
    let has_details =
        call.arguments.iter().any(|(name, value)| details.contains(&name.as_str()) && !is_empty(&value.value));
    if call.is_whole {
        return Ok(Described::Whole { description, has_details });
    }
    let cells =
        cells(call.choice("location", &LOCATIONS)?, call.choice("offset", &OFFSETS)?, call.choice("area", &AREAS)?);
    let distance = match call.argument("distance_to_viewer") {
        Some(Spanned { value: Value::Number(distance), .. }) => *distance,
        Some(other) => {
            return Err(Fault::new(other.offset, format!("expected a number, found {}", other.value.describe())));
        }
        None => 1.0,
    };
    let bbox = to_pixels(cells, canvas).map_err(|error| Fault::new(call.offset, error.to_string()))?;
    Ok(Described::Part { object: LayoutObject { phrase: description, bbox }, distance, has_details })
}

impl Call {
    fn argument(&self, name: &str) -> Option<&Spanned> {
        self.arguments.iter().find(|(known, _)| known == name).map(|(_, value)| value)
    }

    fn text(&self, name: &str) -> std::result::Result<&str, Fault> {
        match self.argument(name) {
            Some(Spanned { value: Value::Text(text), .. }) => Ok(text),
            Some(other) => Err(Fault::new(other.offset, format!("expected a text, found {}", other.value.describe()))),
            None => Err(Fault::new(self.offset, format!("this call has no `{name}`"))),
        }
    }

    /// The choice named by an argument, or the one most like it: models write *at the left* for *on the left*.
    fn choice(&self, name: &str, choices: &[(&str, (i32, i32))]) -> std::result::Result<(i32, i32), Fault> {
        const LIKE_ENOUGH: f64 = 0.6;
        const COMPARED_CHARS: usize = 60; // twice the longest choice
        let text: String = self.text(name)?.trim().to_lowercase().chars().take(COMPARED_CHARS).collect();
        let rated = choices.iter().map(|(choice, value)| (strsim::normalized_levenshtein(&text, choice), value));
        match rated.max_by(|(a, _), (b, _)| a.total_cmp(b)) {
            Some((likeness, value)) if likeness >= LIKE_ENOUGH => Ok(*value),
            _ => {
                let known: Vec<&str> = choices.iter().map(|(choice, _)| *choice).collect();
                let offset = self.argument(name).map_or(self.offset, |value| value.offset);
                Err(Fault::new(offset, format!("`{text}` is no {name}; known are: {}", known.join(", "))))
            }
        }
    }
}

/// `(x0, y0, x1, y1)` in cells: around the centre, cut at the edges.
fn cells(location: (i32, i32), offset: (i32, i32), area: (i32, i32)) -> (i32, i32, i32, i32) {
    let (x, y) = (location.0 + offset.0, location.1 + offset.1);
    let cut = |cell: i32| cell.clamp(0, CELLS);
    (cut(x - area.0 / 2), cut(y - area.1 / 2), cut(x + area.0 / 2), cut(y + area.1 / 2))
}

fn to_pixels((x0, y0, x1, y1): (i32, i32, i32, i32), canvas: Canvas) -> Result<PixelBox> {
    let (width, height) = canvas.sides();
    let across = |cell: i32| f64::from(cell) / f64::from(CELLS) * width;
    let down = |cell: i32| f64::from(cell) / f64::from(CELLS) * height;
    Ok(PixelBox::new(across(x0), down(y0), across(x1) - across(x0), down(y1) - down(y0))?.clipped_to(canvas))
}

/// The words whose box has the greatest intersection over union with `bbox`, the simplest of equals.
fn nearest(bbox: &PixelBox, canvas: Canvas) -> (&'static str, &'static str, &'static str) {
    let (width, height) = canvas.sides();
    let scale = f64::from(CELLS);
    let wanted = (
        bbox.x() / width * scale,
        bbox.y() / height * scale,
        bbox.right() / width * scale,
        bbox.bottom() / height * scale,
    );
    let mut best = (LOCATIONS[0].0, OFFSETS[0].0, AREAS[0].0);
    let mut best_overlap = -1.0;
    for (location, center) in LOCATIONS {
        for (offset, shift) in OFFSETS {
            for (area, size) in AREAS {
                let overlap = intersection_over_union(wanted, cells(center, shift, size));
                if overlap > best_overlap + 1e-9 {
                    best_overlap = overlap;
                    best = (location, offset, area);
                }
            }
        }
    }
    best
}

fn intersection_over_union(a: (f64, f64, f64, f64), b: (i32, i32, i32, i32)) -> f64 {
    let b = (f64::from(b.0), f64::from(b.1), f64::from(b.2), f64::from(b.3));
    let width = (a.2.min(b.2) - a.0.max(b.0)).max(0.0);
    let height = (a.3.min(b.3) - a.1.max(b.1)).max(0.0);
    let intersection = width * height;
    let union = (a.2 - a.0) * (a.3 - a.1) + (b.2 - b.0) * (b.3 - b.1) - intersection;
    if union > 0.0 { intersection / union } else { 0.0 }
}

/// A Python string: quotes and backslashes are escaped, line breaks become blanks.
fn quoted(text: &str) -> String {
    let line: String = text.chars().map(|c| if c.is_control() { ' ' } else { c }).collect();
    format!("'{}'", line.trim().replace('\\', "\\\\").replace('\'', "\\'"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::parse::parse_answer;

    const CANVAS: &str = r#"Here is the canvas:
```python
# Initialize the canvas
canvas = Canvas()

# Set a global description for the canvas
canvas.set_global_description(
    description='A cat on a sofa.',
    detailed_descriptions=['It is warm.', "The cat's fur is grey."],
    tags='cat, sofa',
    HTML_web_color_name='darkgray',
)
canvas.add_local_description(
    location='on the left', offset='slightly to the lower', area='a small vertical area', distance_to_viewer=2.5,
    description='A "grey" cat', detailed_descriptions=[], tags='', atmosphere='', style='', quality_meta='', HTML_web_color_name='gray')
canvas.add_local_description(
    location='in the centre', offset='no offset', area='a large horizontal area', distance_to_viewer=10.0,
    description='a sofa; canvas.add_local_description(', detailed_descriptions=['red'], HTML_web_color_name='red',)
```"#;

    #[test]
    fn calls_are_read_and_the_distant_things_come_first() {
        let Imported { layout, left_out } = read(CANVAS, Canvas::new(900, 900).unwrap()).unwrap();
        let told: Vec<String> =
            layout.objects.iter().map(|object| format!("{} {}", object.phrase, object.bbox)).collect();
        assert_eq!(
            told,
            ["a sofa; canvas.add_local_description( [0, 150, 900, 600]", "A \"grey\" cat [0, 250, 350, 600]"]
        );
        assert_eq!(layout.background, "A cat on a sofa");
        assert_eq!(
            left_out,
            ["the details of the whole picture", "the details of `a sofa; canvas.add_local_description(`"]
        );
    }

    #[test]
    fn what_omost_has_words_for_comes_back_as_it_was() {
        for canvas in [Canvas::PUBLISHED, Canvas::new(1024, 640).unwrap()] {
            let first = read(CANVAS, canvas).unwrap().layout;
            let again = read(&write(&first), canvas).unwrap();
            assert_eq!(again.layout, first);
            assert!(again.left_out.is_empty());
        }
        // Every box that there are words for.
        for (_, center) in LOCATIONS {
            for (_, shift) in OFFSETS {
                for (_, size) in AREAS {
                    let bbox = to_pixels(cells(center, shift, size), Canvas::PUBLISHED).unwrap();
                    let object = LayoutObject { phrase: "a cat's toy".to_owned(), bbox };
                    let layout = Layout {
                        canvas: Canvas::PUBLISHED,
                        objects: vec![object],
                        background: "x".to_owned(),
                        negative: String::new(),
                    };
                    assert_eq!(read(&write(&layout), Canvas::PUBLISHED).unwrap().layout, layout);
                }
            }
        }
    }

    #[test]
    fn other_boxes_become_the_nearest_and_the_order_stays() {
        let answer = "[('a dog', [10, 10, 200, 200]), ('a cat', [300, 300, 200, 200])]\nBackground prompt: A room\nNegative prompt: birds";
        let layout = parse_answer(answer).unwrap();
        let back = read(&write(&layout), Canvas::PUBLISHED).unwrap().layout;
        assert_eq!(back.objects.iter().map(|object| object.phrase.as_str()).collect::<Vec<_>>(), ["a dog", "a cat"]);
        assert!(back.objects[0].bbox.right() < 300.0 && back.objects[1].bbox.x() > 200.0);
    }

    #[test]
    fn faults_name_their_place() {
        let message = |text: &str| {
            let error = read(text, Canvas::PUBLISHED).unwrap_err();
            error.fault().map_or_else(|| error.to_string(), |fault| fault.to_string())
        };
        assert!(message("print('hello')").contains("add_local_description"));
        let fault = message("canvas.add_local_description(\n location=__import__('os'))");
        assert!(fault.starts_with("line 2"), "{fault}");
        let fault = message(
            "c.add_local_description(location='nowhere at all', offset='no offset', area='a small square area', description='x')",
        );
        assert!(fault.contains("on the top-left"), "{fault}");
        assert!(message("c.add_local_description(location='on the left')").contains("no `description`"));
        assert!(message("c.add_local_description('on the left')").contains("by name"));
        assert!(message("c.set_global_description(description='x'").contains("expected"));
    }
}
