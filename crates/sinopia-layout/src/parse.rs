//! Reads the answer of an LLM that was asked for a layout.
//!
//! The answer asked for has three parts:
//!
//! ```text
//! [('a blue dog', [40, 210, 180, 200]), ('a white bowl', [300, 330, 120, 80])]
//! Background prompt: A realistic photo of a scene
//! Negative prompt:
//! ```
//!
//! What models add or change is tolerated where the meaning stays clear: chatter and code fences around the parts,
//! labels in another case or in bold, an `Objects:` label, apostrophes, trailing commas and comments, a missing
//! negative prompt, `None`, `No objects`, a further example after the answer, or the same content as layout JSON.
//! What is not clear is an error that shows the place; nothing is guessed and nothing is evaluated.

use crate::error::{Error, Result, TextFault};
use crate::geometry::{Canvas, PixelBox};
use crate::labels::{self, Label};
use crate::layout::{Layout, LayoutObject};
use crate::limits::ANSWER_BYTES;
use crate::literal::{Cursor, Fault, Spanned, Value, opens_string};

/// Most opening brackets tried before the text is taken to hold no list.
const MAX_CANDIDATES: usize = 64;

/// What a box looks like, for messages.
const PAIR: &str = "a pair ('name', [x, y, width, height])";

/// Reads an answer whose boxes are in pixels of the published 512×512 canvas.
///
/// Boxes are taken as they stand, even outside the canvas or without area (an empty coordinate list becomes a box
/// without area); see [`repair`](crate::repair::repair).
///
/// # Errors
/// [`Error::Text`] with line and column where the answer leaves the grammar, [`Error::TooManyBoxes`].
pub fn parse_answer(text: &str) -> Result<Layout> {
    parse_answer_on(text, Canvas::PUBLISHED)
}

/// Reads an answer whose boxes are in pixels of `canvas`. A JSON answer with a canvas of its own keeps that.
///
/// # Errors
/// As [`parse_answer`].
pub fn parse_answer_on(text: &str, canvas: Canvas) -> Result<Layout> {
    let layout = read(text, canvas).map_err(|fault| Error::Text(TextFault::at(text, fault.offset, fault.message)))?;
    if layout.objects.len() > Layout::MAX_BOXES {
        return Err(Error::TooManyBoxes { found: layout.objects.len(), max: Layout::MAX_BOXES });
    }
    Ok(layout)
}

fn read(text: &str, canvas: Canvas) -> std::result::Result<Layout, Fault> {
    if text.len() > ANSWER_BYTES {
        let message = format!("the answer has {} bytes; at most {ANSWER_BYTES} are read", text.len());
        return Err(Fault::new(0, message));
    }
    if text.trim().is_empty() {
        return Err(Fault::new(0, "the answer is empty"));
    }
    // A label behind the first list belongs to a further example of the model's own.
    let start =
        labels::objects(text).filter(|label| !holds_boxes(&text[..label.start])).map_or(0, |label| label.value_start);
    let found = find_boxes(text, start)?;
    if let Some(layout) = found.layout_of_its_own(canvas)? {
        return Ok(layout);
    }
    let captions = read_captions(text, &found)?;
    Ok(Layout { canvas, objects: found.objects()?, background: captions.background, negative: captions.negative })
}

/// The value that holds the boxes, and the bytes it takes.
struct Boxes {
    items: Vec<Spanned>,
    start: usize,
    end: usize,
}

/// Finds the list of boxes behind `start`: the first bracket that opens one, or words that say there are none.
fn find_boxes(text: &str, start: usize) -> std::result::Result<Boxes, Fault> {
    let end = labels::background(text, start).map_or(text.len(), |label| label.start);
    let mut first_fault = None;
    for (offset, _) in text[start..end].match_indices(['[', '(', '{']).take(MAX_CANDIDATES) {
        let offset = start + offset;
        let attempt = read_items(text, offset);
        if opens_boxes(&text[offset..]) && !attempt.as_ref().is_ok_and(Boxes::is_remark) {
            return attempt;
        }
        if let Err(fault) = attempt {
            first_fault.get_or_insert(fault);
        }
    }
    let before_label = text[start..end].trim().trim_matches(['`', '.']).trim().to_lowercase();
    let says_none = before_label.is_empty() || before_label == "none" || before_label.contains("no objects");
    if says_none && end < text.len() {
        return Ok(Boxes { items: Vec::new(), start, end });
    }
    let skipped = text[start..].len() - text[start..].trim_start().len();
    let message = format!("expected a list of boxes, each {PAIR}, and then `Background prompt:`");
    Err(first_fault.unwrap_or_else(|| Fault::new(start + skipped, message)))
}

/// Whether some bracket of the text opens a list of boxes.
fn holds_boxes(text: &str) -> bool {
    let mut brackets = text.match_indices(['[', '(', '{']).take(MAX_CANDIDATES);
    brackets.any(|(offset, _)| opens_boxes(&text[offset..]))
}

/// Whether this bracket opens a list of boxes rather than a remark: a quotation mark follows, or the list is empty.
fn opens_boxes(text: &str) -> bool {
    let inner = text.trim_start_matches(|c: char| c.is_whitespace() || matches!(c, '[' | '(' | '{'));
    let inside = text[1..].trim_start();
    let empty_list = text.starts_with('[') && (inside.starts_with([']', '#']) || inside.starts_with("None"));
    empty_list || inner.starts_with(opens_string)
}

/// Reads the bracket at `offset`, and the pairs that follow if it is a pair without a list around it.
fn read_items(text: &str, offset: usize) -> std::result::Result<Boxes, Fault> {
    let mut cursor = Cursor::new(text, offset);
    let first = cursor.value()?;
    let mut end = cursor.offset();
    let items = match first.value {
        Value::List(items) if !is_pair(&items) => items,
        _ => {
            let mut items = vec![first];
            cursor.skip_blanks();
            while cursor.eat(',') {
                cursor.skip_blanks();
                if !matches!(cursor.peek(), Some('(' | '[' | '{')) {
                    break;
                }
                items.push(cursor.value()?);
                end = cursor.offset();
                cursor.skip_blanks();
            }
            items
        }
    };
    Ok(Boxes { items, start: offset, end })
}

/// Whether a list is one box (it starts with its name) rather than a list of boxes.
fn is_pair(items: &[Spanned]) -> bool {
    matches!(items.first(), Some(Spanned { value: Value::Text(_), .. }))
}

impl Boxes {
    /// Whether this is a quotation in brackets, such as `("A dog")`.
    fn is_remark(&self) -> bool {
        let is_text = |item: &Spanned| matches!(item.value, Value::Text(_));
        match self.items.as_slice() {
            [Spanned { value: Value::List(items), .. }] => !items.is_empty() && items.iter().all(is_text),
            _ => false,
        }
    }

    fn objects(&self) -> std::result::Result<Vec<LayoutObject>, Fault> {
        let boxes = self.items.iter().filter(|item| item.value != Value::Nothing);
        boxes.map(read_object).collect()
    }

    /// The layout, if the answer is layout JSON.
    fn layout_of_its_own(&self, canvas: Canvas) -> std::result::Result<Option<Layout>, Fault> {
        let [Spanned { offset, value: Value::Dict(entries) }] = self.items.as_slice() else { return Ok(None) };
        let Some(objects) = entry(entries, &["objects"]) else { return Ok(None) };
        let items = match &objects.value {
            Value::List(items) => items.clone(),
            Value::Nothing => Vec::new(),
            other => {
                return Err(Fault::new(
                    objects.offset,
                    format!("expected a list of boxes, found {}", other.describe()),
                ));
            }
        };
        let background = text_entry(entries, &["background", "background prompt", "background_prompt"])?
            .ok_or_else(|| Fault::new(*offset, "expected an entry \"background\" in this object"))?;
        let negative = text_entry(entries, &["negative", "negative prompt", "negative_prompt"])?.unwrap_or_default();
        let canvas = match entry(entries, &["canvas"]) {
            Some(found) => read_canvas(found)?,
            None => canvas,
        };
        let objects = Boxes { items, start: self.start, end: self.end }.objects()?;
        Ok(Some(Layout {
            canvas,
            objects,
            background: background.trim().to_owned(),
            negative: without_none(&negative),
        }))
    }
}

/// The value of the first key that is one of `names`, in any case.
fn entry<'a>(entries: &'a [(String, Spanned)], names: &[&str]) -> Option<&'a Spanned> {
    let wanted = |key: &str| names.iter().any(|name| key.eq_ignore_ascii_case(name));
    entries.iter().find(|(key, _)| wanted(key)).map(|(_, value)| value)
}

fn text_entry(entries: &[(String, Spanned)], names: &[&str]) -> std::result::Result<Option<String>, Fault> {
    match entry(entries, names) {
        None => Ok(None),
        Some(Spanned { value: Value::Text(text), .. }) => Ok(Some(text.clone())),
        Some(Spanned { value: Value::Nothing, .. }) => Ok(Some(String::new())),
        Some(other) => Err(Fault::new(other.offset, format!("expected a text, found {}", other.value.describe()))),
    }
}

fn read_canvas(found: &Spanned) -> std::result::Result<Canvas, Fault> {
    let fault = |message: String| Fault::new(found.offset, message);
    let expected = "expected {\"width\": …, \"height\": …} in whole pixels";
    let Value::Dict(entries) = &found.value else {
        return Err(fault(format!("{expected}, found {}", found.value.describe())));
    };
    let side = |name| match entry(entries, &[name]) {
        Some(Spanned { value: Value::Number(side), .. }) if side.fract() == 0.0 && (0.0..=1e9).contains(side) => {
            Some(*side as u32)
        }
        _ => None,
    };
    let (Some(width), Some(height)) = (side("width"), side("height")) else { return Err(fault(expected.to_owned())) };
    Canvas::new(width, height).map_err(|error| fault(error.to_string()))
}

/// A box as a pair, as a flat list of name and four numbers, or as an object with a phrase and a bbox.
fn read_object(item: &Spanned) -> std::result::Result<LayoutObject, Fault> {
    let fault = || Fault::new(item.offset, format!("expected {PAIR}, found {}", item.value.describe()));
    match &item.value {
        Value::List(parts) => match parts.as_slice() {
            [Spanned { value: Value::Text(phrase), .. }, numbers] if matches!(numbers.value, Value::List(_)) => {
                Ok(LayoutObject { phrase: phrase.clone(), bbox: read_bbox(numbers)? })
            }
            [Spanned { value: Value::Text(phrase), .. }, numbers @ ..] if numbers.len() == 4 => {
                Ok(LayoutObject { phrase: phrase.clone(), bbox: read_numbers(numbers, item.offset)? })
            }
            _ => Err(fault()),
        },
        Value::Dict(entries) => {
            let phrase = text_entry(entries, &["phrase", "name", "object", "label"])?.ok_or_else(fault)?;
            let bbox = entry(entries, &["bbox", "box", "bounding box", "bounding_box"]).ok_or_else(fault)?;
            Ok(LayoutObject { phrase, bbox: read_bbox(bbox)? })
        }
        _ => Err(fault()),
    }
}

fn read_bbox(found: &Spanned) -> std::result::Result<PixelBox, Fault> {
    match &found.value {
        Value::List(numbers) => read_numbers(numbers, found.offset),
        other => Err(Fault::new(found.offset, format!("expected [x, y, width, height], found {}", other.describe()))),
    }
}

/// Four numbers make a box; none at all make a box without area, which repair drops.
fn read_numbers(items: &[Spanned], offset: usize) -> std::result::Result<PixelBox, Fault> {
    let numbers = items.iter().map(|item| match item.value {
        Value::Number(number) => Ok(number),
        ref other => Err(Fault::new(item.offset, format!("expected a number of pixels, found {}", other.describe()))),
    });
    let numbers: Vec<f64> = numbers.collect::<std::result::Result<_, _>>()?;
    let (x, y, width, height) = match numbers[..] {
        [x, y, width, height] => (x, y, width, height),
        [] => (0.0, 0.0, 0.0, 0.0),
        _ => {
            return Err(Fault::new(
                offset,
                format!("expected four numbers [x, y, width, height], found {}", numbers.len()),
            ));
        }
    };
    PixelBox::new(x, y, width, height).map_err(|error| Fault::new(offset, error.to_string()))
}

/// The two captions below the boxes.
struct Captions {
    background: String,
    negative: String,
}

/// Reads both captions after the boxes, or before them if the model turned the order around.
fn read_captions(text: &str, boxes: &Boxes) -> std::result::Result<Captions, Fault> {
    let (label, end) = match labels::background(text, boxes.end) {
        Some(label) => (label, labels::next_example(text, label.value_start).unwrap_or(text.len())),
        None => match labels::background(&text[..boxes.start], 0) {
            Some(label) => (label, boxes.start),
            None => return Err(Fault::new(boxes.end, "expected a line `Background prompt: …` after the boxes")),
        },
    };
    let answer = &text[..end];
    if let Some(second) = labels::background_line(answer, label.value_start) {
        return Err(Fault::new(second.start, "a second `Background prompt:`; expected one"));
    }
    let Some(negative) = labels::negative(answer, label.value_start) else {
        return Ok(Captions { background: first_line(&answer[label.value_start..]), negative: String::new() });
    };
    if let Some(second) = labels::negative_line(answer, negative.value_start) {
        return Err(Fault::new(second.start, "a second `Negative prompt:`; expected one"));
    }
    Ok(Captions {
        background: paragraph(&answer[label.value_start..negative.start]),
        negative: negative_value(answer, &negative),
    })
}

/// The rest of the label's line: what follows on later lines is chatter.
fn negative_value(answer: &str, label: &Label) -> String {
    without_none(answer[label.value_start..].lines().next().unwrap_or_default())
}

/// `None` means that there is nothing to avoid.
fn without_none(negative: &str) -> String {
    let negative = negative.trim();
    let is_none = negative.trim_end_matches('.').eq_ignore_ascii_case("none");
    if is_none { String::new() } else { negative.to_owned() }
}

/// The first line with text.
fn first_line(text: &str) -> String {
    text.lines().map(str::trim).find(|line| !line.is_empty()).unwrap_or_default().to_owned()
}

/// The lines of a wrapped caption as one, without code fences.
fn paragraph(text: &str) -> String {
    let lines = text.lines().map(str::trim).filter(|line| !line.is_empty() && !line.starts_with("```"));
    lines.collect::<Vec<_>>().join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;

    const DOG: &str = "[('a dog', [1, 2, 3, 4])]";

    fn names_and_captions(text: &str) -> (Vec<String>, String, String) {
        let layout = parse_answer(text).unwrap_or_else(|error| panic!("{text}\n{error}"));
        (layout.objects.into_iter().map(|object| object.phrase).collect(), layout.background, layout.negative)
    }

    fn check(text: &str, names: &[&str], background: &str, negative: &str) {
        let (found_names, found_background, found_negative) = names_and_captions(text);
        assert_eq!(found_names, names, "{text}");
        assert_eq!((found_background.as_str(), found_negative.as_str()), (background, negative), "{text}");
    }

    fn fault(text: &str) -> String {
        match parse_answer(text) {
            Ok(layout) => panic!("{text}\nis {layout:?}"),
            Err(error) => error.fault().map(|fault| fault.snippet("answer")).unwrap_or_else(|| error.to_string()),
        }
    }

    #[test]
    fn the_answer_asked_for() {
        let layout =
            parse_answer("[('a dog', [1, -2, 3.5, 4])]\nBackground prompt: A beach\nNegative prompt: cats").unwrap();
        assert_eq!(layout.objects[0].bbox, PixelBox::new(1.0, -2.0, 3.5, 4.0).unwrap());
        assert_eq!(layout.canvas, Canvas::PUBLISHED);
        assert_eq!((layout.background.as_str(), layout.negative.as_str()), ("A beach", "cats"));
    }

    #[test]
    fn lists_in_many_forms() {
        let after = "\nBackground prompt: A beach";
        for list in [
            DOG,
            "[(\"a dog\", [1, 2, 3, 4])]",
            "[['a dog', (1, 2, 3, 4)]]",
            "(('a dog', [1, 2, 3, 4]),)",
            "('a dog', [1, 2, 3, 4])",
            "('a dog', [1, 2, 3, 4]),",
            "[('a dog', 1, 2, 3, 4)]",
            "[\n  ('a dog', [1, 2, 3, 4]),  # the dog\n]",
            "[('a ' 'dog', [1, 2, 3, 4],),]",
            "[{'name': 'a dog', 'box': [1, 2, 3, 4]}]",
            "{\"phrase\": \"a dog\", \"bbox\": [1, 2, 3, 4]}",
            "   [('a dog', [1, 2, 3, 4])]",
            "objects = [('a dog', [1, 2, 3, 4])]",
            "Objects: [('a dog', [1, 2, 3, 4])]",
            "**objects:**\n[('a dog', [1, 2, 3, 4])]",
            "```python\n[('a dog', [1, 2, 3, 4])]\n```",
            "Here is (as asked) the layout [see below] for (\"a dog\"):\n\n[('a dog', [1, 2, 3, 4])]\n\nI hope it helps.",
        ] {
            check(&format!("{list}{after}"), &["a dog"], "A beach", "");
        }
        check(&format!("('a dog', [1, 2, 3, 4]), ('a cat', [1, 2, 3, 4]){after}"), &["a dog", "a cat"], "A beach", "");
        check(&format!("[('a child's toy', [1, 2, 3, 4])]{after}"), &["a child's toy"], "A beach", "");
    }

    #[test]
    fn no_objects_in_many_forms() {
        for list in [
            "[]",
            "[ ]",
            "[None]",
            "None",
            "none.",
            "No objects",
            "There are no objects (none at all).",
            "",
            "Objects: ",
            "```\n[]\n```",
        ] {
            check(&format!("{list}\nBackground prompt: A beach\nNegative prompt: dogs"), &[], "A beach", "dogs");
        }
        let layout = parse_answer("[('a dog', [])]\nBackground prompt: A beach").unwrap();
        assert!(!layout.objects[0].bbox.has_area());
    }

    #[test]
    fn captions_in_many_forms() {
        let answer = |rest: &str| format!("{DOG}{rest}");
        let check =
            |rest: &str, background: &str, negative: &str| check(&answer(rest), &["a dog"], background, negative);
        check("\nBackground prompt: A beach\nNegative prompt: ", "A beach", "");
        check("\nBackground prompt: A beach\nNegative prompt: None", "A beach", "");
        check("\nBackground prompt: A beach\nNegative prompt: none.", "A beach", "");
        check("\nbackground PROMPT:A beach\n\nnegative prompt :cats", "A beach", "cats");
        check("\n**Background prompt:** A beach\n**Negative prompt:** cats", "A beach", "cats");
        check("\nBackground: A beach\nNegative: cats", "A beach", "cats");
        check(" Background prompt: A beach. Negative prompt: cats", "A beach.", "cats");
        check("\nBackground prompt: A wide\n  beach\nNegative prompt: cats", "A wide beach", "cats");
        check("\r\nBackground prompt: A beach\r\nNegative prompt: cats\r\n", "A beach", "cats");
        check("\nBackground prompt: A beach\nNegative prompt: cats\n\nTell me if you need more.", "A beach", "cats");
        check("\nBackground prompt: A beach\n\nTell me if you need more.", "A beach", "");
        check("\n```\nBackground prompt: A beach\nNegative prompt: cats\n```", "A beach", "cats");
        check("\nBackground prompt: \nNegative prompt: cats", "", "cats");
        check(
            "\nBackground prompt: A beach\nNegative prompt:\n\nCaption: another\nObjects: []\nBackground prompt: A field",
            "A beach",
            "",
        );
        super::tests::check(
            &format!("Background prompt: A beach\nNegative prompt: cats\nObjects: {DOG}"),
            &["a dog"],
            "A beach",
            "cats",
        );
    }

    #[test]
    fn layout_json_is_an_answer_too() {
        let json = r#"Sure: ```json
            {"canvas": {"width": 640, "height": 480}, "objects": [{"phrase": "a dog", "bbox": [1, 2, 3, 4]}],
             "background": "A beach", "negative": null}
            ```"#;
        check(json, &["a dog"], "A beach", "");
        assert_eq!(parse_answer(json).unwrap().canvas, Canvas::new(640, 480).unwrap());
        check(
            "{'objects': [('a dog', [1, 2, 3, 4])], 'Background prompt': 'A beach', 'negative': 'cats',}",
            &["a dog"],
            "A beach",
            "cats",
        );
    }

    #[test]
    fn a_fault_shows_its_place() {
        insta::assert_snapshot!(fault("[('a dog', [1, 2, 3]), ('a cat', [1, 2, 3, 4])]\nBackground prompt: A beach"), @r"
         --> answer:1:12
          |
        1 | [('a dog', [1, 2, 3]), ('a cat', [1, 2, 3, 4])]
          |            ^ expected four numbers [x, y, width, height], found 3
        ");
        insta::assert_snapshot!(fault("[('a dog', [1, 2, 3, 4]),\n ('a cat', [1, 2, x, 4])]\nBackground prompt: A beach"), @r"
         --> answer:2:19
          |
        2 |  ('a cat', [1, 2, x, 4])]
          |                   ^ expected a quoted name, a number or a list, found `x,`
        ");
        insta::assert_snapshot!(fault("[('a dog', [10*2, 2, 3, 4])]\nBackground prompt: A beach"), @r"
         --> answer:1:15
          |
        1 | [('a dog', [10*2, 2, 3, 4])]
          |               ^ expected `,` or `]`, found `*2,`
        ");
        insta::assert_snapshot!(fault("[(dog, [1, 2, 3, 4])]\nBackground prompt: A beach"), @r"
         --> answer:1:3
          |
        1 | [(dog, [1, 2, 3, 4])]
          |   ^ expected a quoted name, a number or a list, found `dog,`
        ");
        insta::assert_snapshot!(fault("[('a dog', [1, 2, 3, 4])"), @r"
         --> answer:1:25
          |
        1 | [('a dog', [1, 2, 3, 4])
          |                         ^ expected `,` or `]`, found the end of the answer
        ");
        insta::assert_snapshot!(fault("[('a dog, [1, 2, 3, 4])]\nBackground prompt: A beach"), @r"
         --> answer:1:3
          |
        1 | [('a dog, [1, 2, 3, 4])]
          |   ^ the text that starts here is not closed by ' on its line
        ");
        insta::assert_snapshot!(fault("[('a dog', [1, 2, 3, 4])]\nA beach"), @r"
         --> answer:1:26
          |
        1 | [('a dog', [1, 2, 3, 4])]
          |                          ^ expected a line `Background prompt: …` after the boxes
        ");
        insta::assert_snapshot!(fault("I cannot help with that."), @r"
         --> answer:1:1
          |
        1 | I cannot help with that.
          | ^ expected a list of boxes, each a pair ('name', [x, y, width, height]), and then `Background prompt:`
        ");
        insta::assert_snapshot!(fault("['a dog', 'a cat']\nBackground prompt: A beach"), @r"
         --> answer:1:1
          |
        1 | ['a dog', 'a cat']
          | ^ expected a list of boxes, each a pair ('name', [x, y, width, height]), and then `Background prompt:`
        ");
    }

    #[test]
    fn repeated_labels_are_not_guessed() {
        insta::assert_snapshot!(fault("[]\nBackground prompt: A\nBackground prompt: B"), @r"
         --> answer:3:1
          |
        3 | Background prompt: B
          | ^ a second `Background prompt:`; expected one
        ");
        insta::assert_snapshot!(fault("[]\nBackground prompt: A\nNegative prompt: b\nNegative prompt: c"), @r"
         --> answer:4:1
          |
        4 | Negative prompt: c
          | ^ a second `Negative prompt:`; expected one
        ");
    }

    #[test]
    fn limits() {
        assert!(fault("").contains("the answer is empty"));
        assert!(fault(" \n ").contains("the answer is empty"));
        assert!(fault(&"x".repeat(ANSWER_BYTES + 1)).contains("at most 262144 are read"));
        let many = |count| format!("[{}]\nBackground prompt: A", "('a dog', [1, 2, 3, 4]),".repeat(count));
        assert_eq!(parse_answer(&many(200)).unwrap().objects.len(), 200);
        assert_eq!(parse_answer(&many(201)), Err(Error::TooManyBoxes { found: 201, max: 200 }));
        assert!(
            fault("[('a dog', [1e7, 2, 3, 4])]\nBackground prompt: A")
                .contains("not a finite number of at most 1000000 pixels")
        );
        assert!(fault("{'canvas': {'width': 0, 'height': 1}, 'objects': [], 'background': ''}").contains("0×1"));
    }
}
