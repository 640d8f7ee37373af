//! Omost canvases: calls of `set_global_description` and `add_local_description` in Python, parsed and never executed; and the JSON that
//! ComfyUI_omost makes of them.
//!
//! A place is words: one of nine locations, an offset, one of nine areas, on a grid of 90×90. Writing chooses the words whose box is
//! most like the layout's, so a box comes back moved and resized; a layout that was read from a canvas comes back as it was.
//!
//! # Source
//! lllyasviel/Omost@3524828:lib_omost/canvas.py (the calls and the order of drawing).

mod conditioning;
mod places;

use std::fmt::Write as _;

use super::embedded::embedded_json;
use super::notes::Notes;
use super::reading::{Imported, check_count, check_size, quoted, refused, take};
use crate::error::{Error, Result, TextFault};
use crate::geometry::Canvas;
use crate::layout::{Layout, LayoutObject};
use crate::limits::EXCHANGE_ITEMS;
use crate::literal::{Cursor, Fault, Spanned, Value};
use places::{AREAS, CellBox, FORMAT, LOCATIONS, nearest};

/// The two calls and the order of their arguments.
const CALLS: [(&str, bool, &[&str]); 2] = [
    ("set_global_description", true, &["description", "detailed_descriptions", "tags", "HTML_web_color_name"]),
    (
        "add_local_description",
        false,
        &[
            "location",
            "offset",
            "area",
            "distance_to_viewer",
            "description",
            "detailed_descriptions",
            "tags",
            "atmosphere",
            "style",
            "quality_meta",
            "HTML_web_color_name",
        ],
    ),
];

/// The colour that [`write`] gives to everything.
const NO_COLOUR: [&str; 3] = ["", "gray", "grey"];

/// Whether a text has a call of a canvas in it.
pub(super) fn is_code(text: &str) -> bool {
    CALLS.iter().any(|(name, ..)| text.contains(&format!(".{name}")))
}

/// Reads the calls of a canvas as a layout on `canvas`, things that are farther away first, or the JSON of ComfyUI_omost. The text around
/// them may be anything. Calls that cannot be read are left out and told, and so is what a layout has no place for.
///
/// # Errors
/// [`Error::Text`] with the place if no call at all can be read, [`Error::Exchange`] if there is none, [`Error::TooManyBoxes`].
pub fn read(text: &str, canvas: Canvas) -> Result<Imported> {
    check_size(text, FORMAT)?;
    if !is_code(text) && embedded_json(text).trim_start().starts_with('[') {
        return conditioning::read(text, canvas);
    }
    let mut calls = calls(text);
    if calls.is_empty() {
        return Err(refused(FORMAT, "there is no `set_global_description(…)` and no `add_local_description(…)` in it"));
    }
    let mut notes = Notes::default();
    let mut background = String::new();
    let mut placed = Vec::new();
    let mut has_colours = false;
    let mut first_fault = None;
    let mut is_read = false;
    if calls.len() > EXCHANGE_ITEMS {
        notes.add(format!("only the first {EXCHANGE_ITEMS} calls are read"));
        calls.truncate(EXCHANGE_ITEMS);
    }
    for call in calls {
        let name = call.as_ref().ok().and_then(|call| call.text("description").ok()).map(quoted);
        let described = call.and_then(|call| {
            has_colours |= call.has_colour();
            described(&call, canvas)
        });
        match described {
            Ok(Described::Whole { description, has_details }) => {
                if has_details {
                    notes.add("the details of the whole picture are lost");
                }
                background = description;
                is_read = true;
            }
            Ok(Described::Part { object, distance, told }) => {
                told.into_iter().for_each(|note| notes.add(note));
                placed.push((distance, object));
                is_read = true;
            }
            Err(fault) => {
                // The place is counted from the start of the text, which takes too long for what nobody is told.
                notes.add_with(|| {
                    let fault = TextFault::at(text, fault.offset, fault.message);
                    let line = format!("{} is left out: {fault}", name.as_deref().unwrap_or("a call"));
                    first_fault.get_or_insert(fault);
                    line
                });
            }
        }
    }
    if let (Some(fault), false) = (first_fault, is_read) {
        return Err(Error::Text(fault));
    }
    if has_colours {
        notes.add("the colours are lost");
    }
    let objects = farthest_first(placed, &mut notes)?;
    Ok(Imported { layout: Layout { canvas, objects, background, negative: String::new() }, notes: notes.into_lines() })
}

/// The objects in the order of drawing; `placed` has the distance of each to the viewer.
fn farthest_first(mut placed: Vec<(f64, LayoutObject)>, notes: &mut Notes) -> Result<Vec<LayoutObject>> {
    placed.sort_by(|(a, _), (b, _)| b.total_cmp(a)); // stable: of equally distant things the first is drawn first
    let mut objects = Vec::new();
    for (_, LayoutObject { phrase, bbox }) in placed {
        take(&mut objects, notes, &phrase, Ok(bbox), &bbox.to_string());
    }
    check_count(&objects)?;
    Ok(objects)
}

/// Writes a layout as a canvas, later objects nearer to the viewer; the negative prompt is lost, and boxes become the nearest ones
/// that Omost has words for.
pub fn write(layout: &Layout) -> String {
    let mut code = String::from("canvas = Canvas()\n");
    // Writing into a string cannot fail.
    let _ = write!(
        code,
        "canvas.set_global_description(\n    description={},\n    detailed_descriptions=[],\n    tags='',\n    HTML_web_color_name='gray',\n)\n",
        python_string(&layout.background)
    );
    for (index, LayoutObject { phrase, bbox }) in layout.objects.iter().enumerate() {
        let (location, offset, area) = nearest(bbox, layout.canvas);
        let distance = layout.objects.len() - index;
        let _ = write!(
            code,
            "canvas.add_local_description(\n    location='{location}',\n    offset='{offset}',\n    area='{area}',\n    distance_to_viewer={distance}.0,\n    description={},\n    detailed_descriptions=[],\n    tags='',\n    atmosphere='',\n    style='',\n    quality_meta='',\n    HTML_web_color_name='gray',\n)\n",
            python_string(phrase)
        );
    }
    code
}

/// A call and its arguments by name.
struct Call {
    offset: usize,
    is_whole: bool,
    arguments: Vec<(String, Spanned)>,
}

enum Described {
    Whole { description: String, has_details: bool },
    Part { object: LayoutObject, distance: f64, told: Vec<String> },
}

/// The calls, or what is wrong with them, each searched for behind what was read of the one before, so that names inside strings are not
/// taken for calls and no part of the text is read for many of them. Nothing is read behind one more than [`EXCHANGE_ITEMS`] of them.
fn calls(text: &str) -> Vec<std::result::Result<Call, Fault>> {
    let mut calls = Vec::new();
    let mut start = 0;
    let mut line = Line::default();
    // Where each name stands next; what is not passed yet is not searched for again.
    let mut next: Vec<Option<usize>> = CALLS.iter().map(|call| text.find(call.0)).collect();
    loop {
        for (place, call) in next.iter_mut().zip(&CALLS) {
            if place.is_some_and(|place| place < start) {
                *place = text[start..].find(call.0).map(|offset| start + offset);
            }
        }
        let found = next.iter().zip(&CALLS).filter_map(|(place, call)| Some(((*place)?, call)));
        let Some((offset, (name, is_whole, order))) = found.min_by_key(|(offset, _)| *offset) else { return calls };
        start = offset + name.len();
        line.move_to(text, offset);
        if line.is_remark || !text[..offset].ends_with('.') {
            continue; // a definition or a remark
        }
        let mut cursor = Cursor::new(text, start);
        cursor.skip_blanks();
        if cursor.eat('(') {
            let arguments = arguments(text, &mut cursor, order);
            calls.push(arguments.map(|arguments| Call { offset, is_whole: *is_whole, arguments }));
        }
        start = cursor.offset();
        if calls.len() > EXCHANGE_ITEMS {
            return calls;
        }
    }
}

/// The line that a place is on, kept while the place moves forward: many names may stand on one line.
#[derive(Default)]
struct Line {
    /// Up to where line breaks were searched for.
    seen: usize,
    is_known: bool,
    is_remark: bool,
}

impl Line {
    fn move_to(&mut self, text: &str, offset: usize) {
        let newline = text[self.seen..offset].rfind('\n').map(|at| self.seen + at + 1);
        self.seen = offset;
        if newline.is_some() || !self.is_known {
            self.is_known = true;
            self.is_remark = text[newline.unwrap_or(0)..offset].trim_start().starts_with('#');
        }
    }
}

/// `name=value, …)`; the first ones may stand without their names, in `order`.
fn arguments<'a>(
    text: &'a str,
    cursor: &mut Cursor<'a>,
    order: &[&str],
) -> std::result::Result<Vec<(String, Spanned)>, Fault> {
    let mut arguments: Vec<(String, Spanned)> = Vec::new();
    loop {
        cursor.skip_blanks();
        if cursor.eat(')') {
            return Ok(arguments);
        }
        let offset = cursor.offset();
        let length = text[offset..].find(|c: char| !c.is_alphanumeric() && c != '_').unwrap_or(text.len() - offset);
        let behind = text[offset + length..].trim_start();
        let name = if length > 0 && behind.starts_with('=') {
            *cursor = Cursor::new(text, text.len() - behind.len() + 1);
            text[offset..offset + length].to_owned()
        } else {
            let wanted = "expected an argument by name, such as `location='on the left'`, or `)`";
            (*order.get(arguments.len()).ok_or_else(|| Fault::new(offset, wanted))?).to_owned()
        };
        arguments.push((name, cursor.value()?));
        cursor.skip_blanks();
        if !cursor.eat(',') && cursor.peek() != Some(')') {
            return Err(Fault::new(cursor.offset(), "expected `,` or `)` after the argument"));
        }
    }
}

fn described(call: &Call, canvas: Canvas) -> std::result::Result<Described, Fault> {
    let description = call.text("description")?.trim().trim_end_matches([',', '.', ' ']).to_owned();
    let details = ["detailed_descriptions", "tags", "atmosphere", "style", "quality_meta"];
    let has_details = details.iter().any(|name| call.argument(name).is_some_and(|value| says_something(&value.value)));
    if call.is_whole {
        return Ok(Described::Whole { description, has_details });
    }
    let name = quoted(&description);
    let mut told = Vec::new();
    let written = call.text("location")?;
    let location = places::location(written).ok_or_else(|| {
        call.fault("location", format!("{} is no location; known are: {}", quoted(written), places::known(&LOCATIONS)))
    })?;
    let mut or_else = |argument: &str, read: fn(&str) -> Option<(i32, i32)>, other: (&str, (i32, i32))| {
        let written = call.argument(argument).map(|value| shown(&value.value)).unwrap_or_default();
        read(&written).unwrap_or_else(|| {
            let found = if written.is_empty() { "nothing".into() } else { quoted(&written) };
            told.push(format!("{found} is no {argument}: {name} has {}", other.0));
            other.1
        })
    };
    let offset = or_else("offset", places::offset, places::OFFSETS[0]);
    let area = or_else("area", places::area, AREAS[3]);
    let distance = match call.argument("distance_to_viewer").map(|value| shown(&value.value)) {
        None => 1.0,
        Some(written) => {
            written.trim().parse().ok().filter(|distance: &f64| distance.is_finite()).unwrap_or_else(|| {
                told.push(format!(
                    "{} is no distance to the viewer: {name} is taken to be as near as 1",
                    quoted(&written)
                ));
                1.0
            })
        }
    };
    if has_details {
        told.push(format!("the details of {name} are lost"));
    }
    let bbox = CellBox::new(location, offset, area)
        .to_pixels(canvas)
        .map_err(|error| Fault::new(call.offset, error.to_string()))?;
    Ok(Described::Part { object: LayoutObject { phrase: description, bbox }, distance, told })
}

fn says_something(value: &Value) -> bool {
    match value {
        Value::Text(text) => !text.trim().is_empty(),
        Value::List(items) => items.iter().any(|item| says_something(&item.value)),
        Value::Nothing => false,
        Value::Number(_) | Value::Dict(_) => true,
    }
}

/// A text as it is, anything else in words.
fn shown(value: &Value) -> String {
    match value {
        Value::Text(text) => text.clone(),
        Value::Number(number) => number.to_string(),
        Value::Nothing => String::new(),
        other => other.describe(),
    }
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

    /// A fault at an argument.
    fn fault(&self, name: &str, message: String) -> Fault {
        Fault::new(self.argument(name).map_or(self.offset, |value| value.offset), message)
    }

    fn has_colour(&self) -> bool {
        let colour = self.argument("HTML_web_color_name").map(|value| shown(&value.value)).unwrap_or_default();
        !NO_COLOUR.contains(&colour.trim())
    }
}

/// A Python string: quotes and backslashes are escaped, line breaks become blanks.
fn python_string(text: &str) -> String {
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

    /// Each is searched for once: going over the whole text again for every name that is no call would take minutes.
    #[test]
    fn names_that_are_no_calls_are_passed_over() {
        let remarks = "add_local_description ".repeat(100_000);
        assert!(read(&remarks, Canvas::PUBLISHED).is_err());
        let call = "canvas.set_global_description(description='a beach')";
        assert_eq!(read(&format!("{remarks}\n{call}"), Canvas::PUBLISHED).unwrap().layout.background, "a beach");
    }

    /// Of each of these the whole line, or all of the text before it, would be read for every name: that takes hours.
    #[test]
    fn many_bad_calls_on_one_line_are_read_once() {
        for (bad, calls) in [
            ("add_local_description ", 0),
            ("c.add_local_description ", 0),
            ("c.add_local_description #", 0),
            ("c.add_local_description(x", 10_000),
            ("c.add_local_description(x #", 10_000),
            ("c.add_local_description(x=1,", 10_000),
            ("c.add_local_description('", 1),
            ("c.add_local_description(#", 1),
        ] {
            let line = bad.repeat(500_000);
            for text in [line.clone(), format!("{}{line}", " ".repeat(1 << 20))] {
                assert_eq!(super::calls(&text).len().min(EXCHANGE_ITEMS), calls, "{bad}");
                let Err(Error::Text(fault)) = read(&text, Canvas::PUBLISHED) else {
                    assert_eq!(calls, 0, "{bad}");
                    continue;
                };
                assert_eq!(fault.line(), 1);
            }
        }
        let good = local("location='on the left', offset='no offset', area='a small square area', description='a cat'");
        let (objects, notes) = told(&format!("{good}{}", "c.add_local_description(x".repeat(500_000)));
        assert_eq!(objects.len(), 1);
        assert_eq!(notes[0], "only the first 10000 calls are read");
        assert_eq!(notes.last().unwrap(), "and 9960 more of this kind");
    }

    #[test]
    fn calls_are_read_and_the_distant_things_come_first() {
        let Imported { layout, notes } = read(CANVAS, Canvas::new(900, 900).unwrap()).unwrap();
        let told: Vec<String> =
            layout.objects.iter().map(|object| format!("{} {}", object.phrase, object.bbox)).collect();
        assert_eq!(
            told,
            ["a sofa; canvas.add_local_description( [0, 150, 900, 600]", "A \"grey\" cat [0, 250, 350, 600]"]
        );
        assert_eq!(layout.background, "A cat on a sofa");
        assert_eq!(
            notes,
            [
                "the details of the whole picture are lost",
                "the details of `a sofa; canvas.add_local_description(` are lost",
                "the colours are lost",
            ]
        );
    }

    #[test]
    fn what_omost_has_words_for_comes_back_as_it_was() {
        for canvas in [Canvas::PUBLISHED, Canvas::new(1024, 640).unwrap()] {
            let first = read(CANVAS, canvas).unwrap().layout;
            let again = read(&write(&first), canvas).unwrap();
            assert_eq!(again.layout, first);
            assert!(again.notes.is_empty());
        }
        // Every box that there are words for.
        for (_, center) in LOCATIONS {
            for (_, shift) in places::OFFSETS {
                for (_, size) in AREAS {
                    let bbox = CellBox::new(center, shift, size).to_pixels(Canvas::PUBLISHED).unwrap();
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
        assert!(message("c.add_local_description(3)").contains("no `description`"));
        let too_many = format!("c.set_global_description({})", "'x', ".repeat(5));
        assert!(message(&too_many).contains("by name"));
        assert!(message("c.set_global_description(description='x'").contains("expected"));
    }
    /// What `read` finds in local calls: objects and notes.
    fn told(calls: &str) -> (Vec<String>, Vec<String>) {
        let Imported { layout, notes } = read(calls, Canvas::new(900, 900).unwrap()).unwrap();
        (layout.objects.iter().map(|object| format!("{} {}", object.phrase, object.bbox)).collect(), notes)
    }

    fn local(arguments: &str) -> String {
        format!("canvas.add_local_description({arguments})\n")
    }

    #[test]
    fn a_bad_call_is_left_out_and_told() {
        let good = local(
            "location='on the lower right', offset='no offset', area='a small square area', description='an apple'",
        );
        let apple = ["an apple [500, 500, 400, 400]"];
        for (bad, reason) in [
            (
                "location='in heaven', offset='no offset', area='a small square area', description='a cat'",
                "`a cat` is left out: line 1, column 39: `in heaven` is no location",
            ),
            ("location=3, description='a cat'", "line 1, column 39: expected a text, found the number 3"),
            ("location='on the left', offset='no offset', area='a large square area'", "no `description`"),
            ("location='on the left', description='a cat', area=f'a large {x} area'", "a call is left out: line 1"),
            (
                "location='on the left', offset='no offset', area='a large square area', description='.'",
                "an object without a name",
            ),
        ] {
            let (objects, notes) = told(&format!("{}{good}", local(bad)));
            assert_eq!(objects, apple, "{bad}");
            assert!(matches!(&notes[..], [note] if note.contains(reason)), "{notes:?} without {reason}");
        }
        // An answer that ends within a call.
        let (objects, notes) = told(&format!("{good}canvas.add_local_description(location='on the l"));
        assert_eq!((objects.as_slice(), notes.len()), (apple.map(str::to_owned).as_slice(), 1));
        let (objects, notes) = told(&format!("# {}{good}", local("location='on the left'")));
        assert_eq!((objects.as_slice(), notes.len()), (apple.map(str::to_owned).as_slice(), 0));
    }

    #[test]
    fn what_is_not_clear_is_told() {
        let (objects, notes) = told(&local(
            "location='in the center', offset='left or right', area='an area', distance_to_viewer='close', description='a cat'",
        ));
        assert_eq!(objects, ["a cat [150, 150, 600, 600]"]);
        assert_eq!(
            notes,
            [
                "`left or right` is no offset: `a cat` has no offset",
                "`an area` is no area: `a cat` has a medium-sized square area",
                "`close` is no distance to the viewer: `a cat` is taken to be as near as 1",
            ]
        );
    }

    #[test]
    fn arguments_may_stand_without_their_names() {
        let calls = [
            local("'on the left', 'no offset', 'a small square area', '2', 'a cat', [], '', '', '', '', 'gray'"),
            local("'on the right', 'no offset', 'a small square area', 5, description='a dog'"),
        ];
        let (objects, notes) = told(&calls.concat());
        assert_eq!(objects, ["a dog [500, 200, 400, 500]", "a cat [0, 200, 400, 500]"]);
        assert!(notes.is_empty(), "{notes:?}");
    }
}
