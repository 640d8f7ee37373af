//! Boxes without a list around them: a line for each, several on a line, two lines for one as in YAML, or the marks that Qwen-VL and InternVL write.
//!
//! ```text
//! - **a red car**: [40, 210, 200, 215]
//!
//! A red car is at [40, 210, 200, 215] on the left, and a cup at [320, 270, 180, 170].
//!
//! - phrase: a red car
//!   bbox: [40, 210, 200, 215]
//!
//! <ref>a red car</ref><box>(80,410),(460,830)</box>
//! ```

use super::boxes;
use super::measures::values;
use super::scale::{Form, Numbers, Scale};
use super::side_by_side;
use super::written::{Written, WrittenBox};
use crate::layout::Layout;
use crate::literal::{Cursor, Value};
use crate::wording::says_something;

/// Marks of a name and of its box, corners in thousandths of the picture.
const NAME: (&str, &str) = ("<ref>", "</ref>");
const BOX: (&str, &str) = ("<box>", "</box>");

/// Words between a thing and its box in a sentence.
const PLACE_WORDS: [&str; 10] =
    ["at", "is", "are", "located", "placed", "positioned", "stands", "sits", "occupies", "covers"];
/// Brackets of a line that are looked at.
const MAX_BRACKETS: usize = 64;
/// Lines that are told.
const MAX_UNREAD: usize = 20;

/// Boxes, and the bytes that they take.
pub(super) struct Block {
    pub(super) written: Written,
    pub(super) start: usize,
    pub(super) end: usize,
}

/// The boxes of a text that has no list of them, if it has any.
pub(super) fn read(text: &str) -> Option<Block> {
    let in_code = || side_by_side::assigned(text).map(|(written, start, end)| Block { written, start, end });
    marked(text).or_else(in_code).or_else(|| in_lines(text))
}

/// Boxes between marks.
fn marked(text: &str) -> Option<Block> {
    let mut boxes = Vec::new();
    let (mut start, mut end) = (None, 0);
    while let Some(name) = between(text, end, NAME).filter(|_| boxes.len() <= Layout::MAX_BOXES) {
        let place = between(text, name.1, BOX)?;
        let phrase = text[name.0..name.1].trim().to_owned();
        let numbers = Numbers {
            values: numbers_in(&text[place.0..place.1])?,
            form: Some(Form::Corners),
            scale: Some(Scale::Thousandths),
        };
        boxes.push(WrittenBox { phrase, numbers, offset: place.0 });
        start = start.or(Some(name.0 - NAME.0.len()));
        end = place.1 + BOX.1.len();
    }
    let start = start?;
    Some(Block { written: Written { boxes, is_record: true, ..Written::default() }, start, end })
}

/// What stands between two marks, the first of them behind `from`.
fn between(text: &str, from: usize, (open, close): (&str, &str)) -> Option<(usize, usize)> {
    let start = from + text[from..].find(open)? + open.len();
    Some((start, start + text[start..].find(close)?))
}

/// The four numbers of a text that has exactly four.
fn numbers_in(text: &str) -> Option<[f64; 4]> {
    let parts = text.split(|c: char| !c.is_ascii_digit() && c != '.').filter(|part| !part.is_empty());
    let numbers: Option<Vec<f64>> = parts.take(5).map(|part| part.parse().ok()).collect();
    numbers?.try_into().ok()
}

/// Lines that name things, each with four numbers in brackets behind it; or that name a box, behind one with its name.
fn in_lines(text: &str) -> Option<Block> {
    let (mut boxes, mut unread) = (Vec::new(), Vec::new());
    let (mut start, mut end, mut offset) = (None, 0, 0);
    let mut named = None;
    for line in text.split_inclusive('\n') {
        let places = places_in(line);
        match boxes_of_line(line, &places).filter(|_| boxes.len() <= Layout::MAX_BOXES) {
            Some(of_line) => {
                for (phrase, Place { values, scale, from, .. }) in of_line {
                    let meaning = boxes::meaning_of_box(&phrase);
                    let phrase = if meaning.is_some() { named.take() } else { Some(phrase) };
                    let (form, known_scale) = meaning.unwrap_or_default();
                    let numbers = Numbers { values: *values, form, scale: known_scale.or(*scale) };
                    match phrase {
                        Some(phrase) => boxes.push(WrittenBox { phrase, numbers, offset: offset + from }),
                        None => unread.push(offset), // the box of nothing
                    }
                }
                start = start.or(Some(offset)).filter(|_| !boxes.is_empty());
                end = offset + line.len();
            }
            None if !places.is_empty() => unread.push(offset),
            None => named = name_in(line).or(named),
        }
        offset += line.len();
    }
    let start = start?;
    unread.truncate(MAX_UNREAD);
    Some(Block { written: Written { boxes, unread, ..Written::default() }, start, end })
}

/// Four numbers in brackets within a line.
#[derive(Debug, Clone, Copy)]
struct Place {
    values: [f64; 4],
    scale: Option<Scale>,
    from: usize,
    to: usize,
}

/// All of them, in order.
fn places_in(line: &str) -> Vec<Place> {
    let mut places: Vec<Place> = Vec::new();
    for (from, _) in line.match_indices(['[', '(']).take(MAX_BRACKETS) {
        let mut cursor = Cursor::new(line, from);
        let is_inside = places.last().is_some_and(|before| from < before.to);
        let Some(Value::List(items)) = cursor.value().ok().map(|found| found.value).filter(|_| !is_inside) else {
            continue;
        };
        if let (4, Ok((values, scale))) = (items.len(), values(items.iter(), from)) {
            places.push(Place { values, scale, from, to: cursor.offset() });
        }
    }
    places
}

/// The boxes of a line with their names, if all of it is names and boxes.
fn boxes_of_line<'a>(line: &str, places: &'a [Place]) -> Option<Vec<(String, &'a Place)>> {
    let last = places.last()?;
    let has_end = line[last.to..].trim_matches(is_mark).trim_matches(',').is_empty();
    let mut from = 0;
    let named = places.iter().enumerate().map(|(index, place)| {
        let before = &line[from..place.from];
        from = place.to;
        let name = if index == 0 { first_name(before) } else { next_name(before)? };
        // A sentence that ends in numbers is no name.
        let is_name =
            says_something(name) && name.chars().count() <= Layout::MAX_PHRASE_CHARS && !name.contains([':', '[', ']']);
        is_name.then(|| (name.to_owned(), place))
    });
    named.collect::<Option<_>>().filter(|_| has_end)
}

fn is_mark(c: char) -> bool {
    c.is_whitespace() || "*_`#>-–—:：=|.)\"'“”".contains(c)
}

/// The name that a line begins with, behind list marks and a number.
fn first_name(before: &str) -> &str {
    without_place_words(before.trim_start_matches(|c: char| is_mark(c) || c.is_ascii_digit() || c == '•'))
}

/// The name behind another box of the same line: what follows the comma, the semicolon or the `and` that ends what is said of the box before.
fn next_name(before: &str) -> Option<&str> {
    let separators = [", and ", "; and ", ", ", "; ", " and "];
    let behind = |separator: &&str| before.find(separator).map(|at| (at, at + separator.len()));
    let (_, start) = separators.iter().filter_map(behind).min_by_key(|(at, end)| (*at, usize::MAX - end))?;
    Some(without_place_words(before[start..].trim_start_matches(is_mark)))
}

/// A name without the words that lead from it to its box: `A red car is at`.
fn without_place_words(name: &str) -> &str {
    let bare = name.trim_end_matches(is_mark);
    let is_sentence = !name.trim_end().ends_with([':', '：', '=', '-', '–', '—', '*', '`', '"', '|']);
    let mut words = bare;
    while let Some((rest, word)) = words.rsplit_once(' ').filter(|_| is_sentence) {
        if !PLACE_WORDS.contains(&word) {
            break;
        }
        words = rest.trim_end_matches(is_mark);
    }
    words
}

/// The name in a line such as `- phrase: a red car`.
fn name_in(line: &str) -> Option<String> {
    let (key, value) = line.trim_start_matches(|c: char| c.is_whitespace() || c == '-').split_once(':')?;
    let value = value.trim().trim_matches(['"', '\'']);
    let is_name = boxes::is_name(key) && says_something(value) && value.chars().count() <= Layout::MAX_PHRASE_CHARS;
    is_name.then(|| value.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(text: &str, expected: &[(&str, [f64; 4])]) {
        let block = read(text);
        let boxes = block.map(|block| block.written.boxes).unwrap_or_default();
        let found: Vec<(&str, [f64; 4])> = boxes.iter().map(|one| (one.phrase.as_str(), one.numbers.values)).collect();
        assert_eq!(found, expected, "{text}");
    }

    #[test]
    fn a_line_is_a_box() {
        let cat = ("a cat", [1.0, 2.0, 3.0, 4.0]);
        for line in [
            "a cat: [1, 2, 3, 4]",
            "a cat is located at [1, 2, 3, 4].",
            "- **a cat**: (1, 2, 3, 4)",
            "1. \"a cat\" - [1, 2, 3, 4],",
            "* `a cat` = [1, 2, 3, 4]\n\ntext",
        ] {
            check(line, &[cat]);
        }
        check("The cat: it is at [1, 2, 3, 4]\n[1, 2, 3, 4]\na cat [1, 2, 3]\na cat: [1, 2, 3, 4] and more", &[]);
    }

    #[test]
    fn a_line_may_hold_several_boxes() {
        let both = [("A red car", [1.0, 2.0, 3.0, 4.0]), ("a blue cup", [5.0, 6.0, 7.0, 8.0])];
        for line in [
            "A red car at [1, 2, 3, 4] on the left, and a blue cup at [5, 6, 7, 8].",
            "A red car is at [1, 2, 3, 4] and a blue cup is at [5, 6, 7, 8]",
            "- A red car: [1, 2, 3, 4], a blue cup: (5, 6, 7, 8);",
            "A red car [1, 2, 3, 4]; **a blue cup** [5, 6, 7, 8]",
        ] {
            check(line.trim_end_matches(';'), &both);
        }
        check("A red car at [1, 2, 3] and a blue cup at [5, 6, 7, 8].", &[]);
    }

    #[test]
    fn what_is_not_read_is_told() {
        let text = "a cat: [1, 2, 3, 4]\nThe dog [5, 6, 7, 8] sits\nbbox: [5, 6, 7, 8]\na list [1, 2]";
        assert_eq!(read(text).unwrap().written.unread, [20, 46]);
    }

    #[test]
    fn a_box_may_stand_below_its_name() {
        let text = "objects:\n  - phrase: \"a cat\"\n    bbox: [1, 2, 3, 4]\n  - label: a dog\n    size: big\n    box: [5, 6, 7, 8]\nbackground: a room";
        check(text, &[("a cat", [1.0, 2.0, 3.0, 4.0]), ("a dog", [5.0, 6.0, 7.0, 8.0])]);
        check("bbox: [1, 2, 3, 4]", &[]);
        let form = read("- label: a cat\n  box_2d: [1, 2, 3, 4]").unwrap().written.boxes[0].numbers.form;
        assert_eq!(form, Some(Form::CornersYx));
    }

    #[test]
    fn marks_stand_around_names_and_boxes() {
        let text = "A <ref>a cat</ref><box>(1,2),(3,4)</box> and <ref> a dog </ref><box>[[5, 6, 7.5, 8]]</box>.";
        check(text, &[("a cat", [1.0, 2.0, 3.0, 4.0]), ("a dog", [5.0, 6.0, 7.5, 8.0])]);
        check("<ref>a cat</ref><box>(1,2),(3)</box>", &[]);
    }
}
