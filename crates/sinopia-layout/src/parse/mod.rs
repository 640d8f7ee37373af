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
//! What models add or change is tolerated where the meaning stays clear: thoughts and drafts before the answer (`speech.rs`), chatter and code fences
//! around the parts, labels in another case or in bold, an `Objects:` label, apostrophes, trailing commas and comments, Chinese punctuation, a missing
//! negative prompt, `None`, `No objects`, a further example after the answer, the same content as JSON with whatever keys (`boxes.rs`) or as
//! lines (`lines.rs`), boxes as corners, in thousandths or in shares of the picture (`scale.rs`). Of several answers the last complete one counts.
//! What was understood rather than said is told. What is not clear is an error that shows the place; nothing is evaluated.

mod boxes;
mod canvas;
mod keys;
mod labels;
mod lines;
mod measures;
mod scale;
mod side_by_side;
mod sides;
mod speech;
mod written;

use std::borrow::Cow;
use std::ops::Range;

use crate::error::{Error, Result, TextFault};
use crate::geometry::Canvas;
use crate::layout::{Layout, LayoutObject};
use crate::limits::ANSWER_BYTES;
use crate::literal::{Cursor, Fault, Spanned, Value, opens_string, plain};
use crate::wording::{counted, excerpt};

use boxes::PAIR;
use labels::{Label, Labels};
use scale::{Numbers, Reading};
use written::Written;

/// Most lists of boxes that are looked at in an answer.
const MAX_CANDIDATES: usize = 256;
/// Brackets that open no list of boxes and are read all the same, for the fault that they may show.
const MAX_REMARKS: usize = 8;
/// How often a text may be read over, in all, while its lists are looked for.
const MAX_PASSES: usize = 6;
/// Texts inside texts that are unwrapped.
const MAX_WRAPPINGS: usize = 4;
/// Most of a name that a note repeats.
const NAMED_CHARS: usize = 60;

/// What an answer says.
#[derive(Debug, Clone, PartialEq)]
pub struct Answer {
    /// The layout. Boxes may be outside the canvas or without area (an empty coordinate list becomes a box without area); see
    /// [`repair`](crate::repair::repair).
    pub layout: Layout,
    /// What was understood that the answer does not say in the form asked for, a sentence each.
    pub notes: Vec<String>,
    /// Keys that nothing was made of; the first of them, if there are many.
    pub unused: Vec<String>,
    /// Whether it says for which canvas its boxes are.
    pub names_canvas: bool,
    /// Whether its numbers are taken for thousandths because they are too large for the canvas. They may be pixels of a larger one.
    pub is_scale_guessed: bool,
    /// Whether the text is this answer in a form that was asked for and nothing else: no thoughts, no drafts.
    pub is_bare: bool,
    /// Whether another reading of it would fit as well, so that it should not be kept as if it were certain.
    pub is_doubtful: bool,
}

/// The layout of an answer whose boxes are meant for the published 512×512 canvas.
///
/// # Errors
/// As [`read_answer`].
pub fn parse_answer(text: &str) -> Result<Layout> {
    parse_answer_on(text, Canvas::PUBLISHED)
}

/// The layout of an answer whose boxes are meant for `canvas`. A JSON answer with a canvas of its own keeps that.
///
/// # Errors
/// As [`read_answer`].
pub fn parse_answer_on(text: &str, canvas: Canvas) -> Result<Layout> {
    read_answer(text, canvas).map(|answer| answer.layout)
}

/// Reads an answer whose boxes are meant for `canvas`, and tells what was understood rather than said.
///
/// # Errors
/// [`Error::Text`] with line and column where the answer leaves the grammar, [`Error::TooManyBoxes`].
pub fn read_answer(text: &str, canvas: Canvas) -> Result<Answer> {
    read_answer_with(text, canvas, BadBoxes::Refused)
}

/// The same, where it is said what becomes of objects that are no boxes beside others that are.
///
/// # Errors
/// As [`read_answer`].
pub(crate) fn read_answer_with(text: &str, canvas: Canvas, bad_boxes: BadBoxes) -> Result<Answer> {
    let answer = read(text, canvas, bad_boxes, 0)
        .map_err(|fault| Error::Text(TextFault::at(text, fault.offset, fault.message)))?;
    let found = answer.layout.objects.len();
    match found > Layout::MAX_BOXES {
        true => Err(Error::TooManyBoxes { found, max: Layout::MAX_BOXES }),
        false => Ok(answer),
    }
}

/// What becomes of objects that are no boxes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum BadBoxes {
    /// The answer is at fault: a model that is told so writes a better one.
    Refused,
    /// They are left out and told, if any box is left: a file stays what it is.
    LeftOut,
}

/// What a model says to whoever asked it: the text without its thoughts, which become blank. A text of nothing but thoughts stays as it is.
pub fn spoken(text: &str) -> Cow<'_, str> {
    speech::spoken(text).unwrap_or(Cow::Borrowed(text))
}

type Read<T> = std::result::Result<T, Fault>;

fn read(text: &str, canvas: Canvas, bad_boxes: BadBoxes, wrappings: usize) -> Read<Answer> {
    if text.len() > ANSWER_BYTES {
        let message = format!("the answer has {} bytes; at most {ANSWER_BYTES} are read", text.len());
        return Err(Fault::new(0, message));
    }
    let bom = '\u{feff}';
    if text.trim_matches(|c: char| c.is_whitespace() || c == bom).is_empty() {
        return Err(Fault::new(0, "the answer is empty"));
    }
    let said = speech::spoken(text)?;
    if let Some((offset, inner)) = as_text(&said).filter(|_| wrappings < MAX_WRAPPINGS) {
        return read(&inner, canvas, bad_boxes, wrappings + 1)
            .map_err(|fault| Fault::new(offset, format!("in the text inside the quotation marks: {}", fault.message)));
    }
    let labels = Labels::of(&said);
    let search = Search::of(&said, &labels, bad_boxes);
    let (found, captions) = match search.last_complete(&said, &labels)? {
        Some(complete) => complete,
        None => return Err(search.fault(&said)),
    };
    let mut notes = Vec::new();
    if search.found.len() > 1 {
        notes.push(format!("it holds {}; the last complete one counts", counted(search.found.len(), "layout")));
    }
    let is_followed_by_faults = search.broken_at.is_some_and(|broken| broken >= found.end);
    if is_followed_by_faults {
        notes.push("what may be another layout behind it cannot be read".to_owned());
    }
    notes.extend(not_read(&found.written, &said));
    let is_bare = matches!(said, Cow::Borrowed(_)) && search.found.len() == 1 && wrappings == 0;
    let mut answer = understood(found, captions, canvas, notes)?;
    answer.is_bare = is_bare && answer.notes.is_empty();
    answer.is_doubtful |= is_followed_by_faults || !found.written.unread.is_empty();
    Ok(answer)
}

/// What of an answer looks like a box and is none.
fn not_read(written: &Written, text: &str) -> Vec<String> {
    let line = |offset: usize| TextFault::at(text, offset, "").line();
    let faults = written.left_out.iter();
    let left_out = faults.map(|fault| format!("left out, in line {}: {}", line(fault.offset), fault.message));
    let unread = written.unread.iter();
    let unread = unread.map(|offset| format!("line {} holds what may be a box, and is not read as one", line(*offset)));
    left_out.chain(unread).collect()
}

/// The text inside, if the whole answer is one in quotation marks, as JSON in JSON is; and where it stands.
fn as_text(said: &str) -> Option<(usize, String)> {
    let fenced = said.trim();
    let start = said.len() - said.trim_start().len();
    let body = fenced.strip_prefix("```").map_or(fenced, |rest| rest.trim_end_matches('`'));
    let body = if body.len() == fenced.len() { body } else { body.trim_start_matches(|c: char| c.is_alphanumeric()) };
    let body = body.trim();
    if !body.starts_with('"') || !body[1..].trim_start().starts_with(['{', '[', '"', '\\']) {
        return None;
    }
    let mut cursor = Cursor::new(body, 0);
    let value = cursor.value().ok()?;
    cursor.skip_blanks();
    match value.value {
        Value::Text(inner) if cursor.peek().is_none() && inner.contains(['{', '[']) => Some((start, inner)),
        _ => None,
    }
}

/// What the boxes and captions of an answer make.
fn understood(found: &Found, captions: Captions, canvas: Canvas, mut notes: Vec<String>) -> Read<Answer> {
    let Written { boxes, canvas: own, unused, .. } = &found.written;
    let canvas = own.unwrap_or(canvas);
    let numbers: Vec<Numbers> = boxes.iter().map(|written| written.numbers).collect();
    let reading = Reading::of(&numbers, canvas);
    let objects = boxes.iter().map(|written| {
        let bbox = reading.bbox(&written.numbers, canvas);
        let bbox = bbox.map_err(|error| Fault::new(written.offset, error.to_string()))?;
        Ok(LayoutObject { phrase: written.phrase.clone(), bbox })
    });
    let mut objects: Vec<LayoutObject> = objects.collect::<Read<_>>()?;
    if let Some(note) = reading.note(&numbers, canvas) {
        notes.push(note);
        objects.iter_mut().for_each(|object| object.bbox = object.bbox.rounded(canvas)); // the product of a share has many digits
    }
    if !unused.is_empty() {
        let keys: Vec<String> = unused.iter().map(|key| format!("`{}`", excerpt(key, NAMED_CHARS))).collect();
        notes.push(format!("nothing is made of {}", keys.join(", ")));
    }
    if captions.is_missing {
        notes.push("it names no background".to_owned());
    }
    let Captions { background, negative, .. } = captions;
    let layout = Layout { canvas, objects, background, negative };
    Ok(Answer {
        layout,
        notes,
        unused: unused.clone(),
        names_canvas: own.is_some(),
        is_scale_guessed: reading.is_scale_guessed(&numbers),
        is_bare: false,
        is_doubtful: reading.is_doubtful,
    })
}

impl BadBoxes {
    /// A list of boxes, or the first fault in it if it may have none.
    fn in_list(self, written: Option<Written>) -> Read<Option<Written>> {
        let fault = written.as_ref().and_then(|written| written.left_out.first());
        match fault.filter(|_| self == Self::Refused) {
            Some(fault) => Err(fault.clone()),
            None => Ok(written),
        }
    }
}

/// A list of boxes, and the bytes that it takes.
struct Found {
    written: Written,
    start: usize,
    end: usize,
}

/// All lists of boxes of an answer.
#[derive(Default)]
struct Search {
    found: Vec<Found>,
    /// The first fault in what opens a list of boxes.
    fault: Option<Fault>,
    /// Where the last list or dict begins that cannot be read.
    broken_at: Option<usize>,
    /// The first fault in another bracket.
    remark_fault: Option<Fault>,
}

impl Search {
    /// Looks for brackets that open lists of boxes, each behind the one before. What is read in vain is read a few times in all.
    fn of(text: &str, labels: &Labels, bad_boxes: BadBoxes) -> Self {
        let mut search = Self::default();
        let (mut offset, mut cost, mut candidates, mut remarks) = (0, 0, 0, 0);
        while let Some(opening) = Opening::behind(text, offset) {
            offset = opening.end;
            if search.is_further_example(text, labels, opening.start) {
                break;
            }
            if let Some(end) = labels.end_of_caption(text, opening.start) {
                offset = end;
                continue;
            }
            if cost > MAX_PASSES * text.len() || candidates == MAX_CANDIDATES {
                break; // no answer at all
            }
            let mut cursor = Cursor::new(text, opening.start);
            if !opening.opens_boxes {
                if remarks < MAX_REMARKS {
                    remarks += 1;
                    let fault = cursor.value().err();
                    search.remark_fault = search.remark_fault.or(fault);
                }
                cost += cursor.offset() - opening.start;
                continue;
            }
            candidates += 1;
            let items = read_items(&mut cursor);
            cost += cursor.offset() - opening.start;
            offset = match items {
                Ok(_) => cursor.offset(),
                Err(_) => end_of_broken(text, opening.start, cursor.offset(), &mut cost),
            };
            match items.and_then(|items| boxes::read(&items)).and_then(|written| bad_boxes.in_list(written)) {
                Ok(written) => {
                    let end = cursor.offset();
                    search.found.extend(written.map(|written| Found { written, start: opening.start, end }));
                }
                Err(fault) => {
                    // What is in parentheses may be a remark.
                    let is_list = !text[opening.start..].starts_with(['(', '（']);
                    search.broken_at = if is_list { Some(opening.start) } else { search.broken_at };
                    search.fault.get_or_insert(fault);
                }
            }
        }
        if search.found.is_empty() {
            search.found.extend(search.without_list(text, labels));
        }
        search
    }

    /// Whether the model goes on with another example of its own, once it has answered.
    fn is_further_example(&self, text: &str, labels: &Labels, start: usize) -> bool {
        self.found.last().is_some_and(|found| {
            let caption = labels.next_caption(text, found.end).filter(|caption| *caption < start);
            let is_answered =
                |caption| found.written.background.is_some() || labels.background(text, found.end, caption).is_some();
            caption.is_some_and(is_answered)
        })
    }

    /// Boxes that stand in no list, or words that say there are none.
    fn without_list(&self, text: &str, labels: &Labels) -> Option<Found> {
        let label = labels.background(text, 0, text.len());
        if self.fault.as_ref().is_some_and(|fault| label.is_none_or(|label| fault.offset < label.start)) {
            return None;
        }
        if let Some(lines::Block { written, start, end }) = lines::read(text) {
            return Some(Found { written, start, end });
        }
        let label = label?;
        let start = labels.objects(label.start).map_or(0, |objects| objects.value_start);
        let before_label = text[start..label.start].trim().trim_matches(['`', '.']).trim().to_lowercase();
        let says_none = before_label.is_empty() || before_label == "none" || before_label.contains("no objects");
        says_none.then(|| Found { written: Written::default(), start, end: label.start })
    }

    /// The last list of boxes that has captions, or needs none.
    fn last_complete(&self, text: &str, labels: &Labels) -> Read<Option<(&Found, Captions)>> {
        for (index, found) in self.found.iter().enumerate().rev() {
            let from = index.checked_sub(1).map_or(0, |before| self.found[before].end);
            let end = self.found.get(index + 1).map_or(text.len(), |next| next.start);
            if let Some(captions) = Captions::of(found, text, labels, from..end)? {
                return Ok(Some((found, captions)));
            }
        }
        match self.found.last() {
            Some(found) if found.written.is_record => {
                let negative = found.written.negative.as_deref().map(without_none).unwrap_or_default();
                Ok(Some((found, Captions { background: String::new(), negative, is_missing: true })))
            }
            Some(found) => Err(Fault::new(found.end, "expected a line `Background prompt: …` after the boxes")),
            None => Ok(None),
        }
    }

    /// What is wrong with an answer without boxes.
    fn fault(self, text: &str) -> Fault {
        let skipped = text.len() - text.trim_start().len();
        let message = format!("expected a list of boxes, each {PAIR}, and then `Background prompt:`");
        self.fault.or(self.remark_fault).unwrap_or_else(|| Fault::new(skipped, message))
    }
}

/// Brackets one after the other, and whether they open a list of boxes rather than a remark.
struct Opening {
    /// The first of them; the last if it is an empty list.
    start: usize,
    /// What is behind the last.
    end: usize,
    opens_boxes: bool,
}

impl Opening {
    /// The first opening at `from` or behind it.
    fn behind(text: &str, from: usize) -> Option<Self> {
        let is_bracket = |c: char| matches!(plain(c), '[' | '(' | '{');
        let start = from + text[from..].find(is_bracket)?;
        let inner = text[start..].trim_start_matches(|c: char| c.is_whitespace() || is_bracket(c));
        let end = text.len() - inner.len();
        let (last, bracket) = text[start..end].char_indices().rfind(|(_, c)| is_bracket(*c))?;
        let is_list = plain(bracket) == '[';
        let is_dict = plain(bracket) == '{';
        let next = inner.chars().next().map(plain);
        let is_empty =
            is_list && (matches!(next, Some(']' | '#')) || inner.starts_with("None") || inner.starts_with("//"));
        let is_named = next.is_some_and(|c| opens_string(c) || is_dict && c.is_alphabetic());
        let start = if is_empty { start + last } else { start };
        Some(Self { start, end, opens_boxes: is_empty || is_named })
    }
}

/// Reads the list that begins here, or the pairs or dicts that follow each other without a list around them.
fn read_items(cursor: &mut Cursor<'_>) -> Read<Vec<Spanned>> {
    let first = cursor.value()?;
    let is_dict = matches!(first.value, Value::Dict(_));
    let is_layout = is_dict && boxes::is_layout(&first);
    let mut items = match first.value {
        Value::List(items) if !is_pair(&items) => return Ok(items),
        _ => vec![first],
    };
    loop {
        let end = cursor.clone();
        cursor.skip_blanks();
        let has_comma = cursor.eat(',');
        cursor.skip_blanks();
        // Dicts may stand on lines of their own.
        let goes_on = match cursor.peek().map(plain) {
            Some('{') => has_comma || is_dict,
            Some('(' | '[') => has_comma,
            _ => false,
        };
        let next = goes_on.then(|| cursor.value());
        match next {
            Some(Ok(item)) => items.push(item),
            Some(Err(fault)) if !is_layout => return Err(fault),
            // Another draft of which only the beginning is there, or none.
            Some(Err(_)) | None => {
                *cursor = end;
                return Ok(items);
            }
        }
    }
}

/// Whether a list is one box (it starts with its name) rather than a list of boxes.
fn is_pair(items: &[Spanned]) -> bool {
    matches!(items.first(), Some(Spanned { value: Value::Text(_), .. }))
}

/// Where to go on behind a list that cannot be read up to `reach`: where its brackets are closed, else at the next blank line.
fn end_of_broken(text: &str, start: usize, reach: usize, cost: &mut usize) -> usize {
    let mut depth = 0_i32;
    for (offset, c) in text[start..].char_indices() {
        depth += match plain(c) {
            '[' | '(' | '{' => 1,
            ']' | ')' | '}' => -1,
            _ => 0,
        };
        if depth == 0 {
            *cost += offset;
            return start + offset + c.len_utf8();
        }
    }
    *cost += text.len() - start;
    text[reach..].find("\n\n").map_or(text.len(), |blank| reach + blank)
}

/// The two captions below the boxes.
struct Captions {
    background: String,
    negative: String,
    /// Whether nothing is said of the background.
    is_missing: bool,
}

impl Captions {
    /// The captions of a list of boxes: those in it, those after it, or those before it if the model turned the order around. `part` is what stands
    /// between the lists before and behind it.
    fn of(found: &Found, text: &str, labels: &Labels, part: Range<usize>) -> Read<Option<Self>> {
        if let Some(background) = &found.written.background {
            let negative = found.written.negative.as_deref().map(without_none).unwrap_or_default();
            return Ok(Some(Self { background: background.trim().to_owned(), negative, is_missing: false }));
        }
        let (label, end) = match labels.background(text, found.end, part.end) {
            Some(label) => {
                (label, labels.next_example(text, label.value_start).map_or(part.end, |next| next.min(part.end)))
            }
            None => match labels.background(text, part.start, found.start) {
                // What stands behind another list is that one's.
                Some(label)
                    if part.start == 0
                        || labels.objects(found.start).is_some_and(|objects| objects.start > label.start) =>
                {
                    (label, labels::before_objects(&text[..found.start]))
                }
                _ => return Ok(None),
            },
        };
        if let Some(second) = labels.background_line(text, label.value_start, end) {
            return Err(Fault::new(second.start, "a second `Background prompt:`; expected one"));
        }
        let Some(negative) = labels.negative(text, label.value_start, end) else {
            let background = first_line(&text[label.value_start..end]);
            return Ok(Some(Self {
                background: unquoted(text, label, background),
                negative: String::new(),
                is_missing: false,
            }));
        };
        if let Some(second) = labels.negative_line(text, negative.value_start, end) {
            return Err(Fault::new(second.start, "a second `Negative prompt:`; expected one"));
        }
        let background = paragraph(&text[label.value_start..negative.start]);
        // What follows on later lines is chatter.
        let value = text[negative.value_start..end].lines().next().unwrap_or_default();
        let value = unquoted(text, negative, value.trim().to_owned());
        Ok(Some(Self {
            background: unquoted(text, label, background),
            negative: without_none(&value),
            is_missing: false,
        }))
    }
}

/// A caption without the quotation marks that it has in code, `background = 'a beach'`.
fn unquoted(text: &str, label: Label, value: String) -> String {
    let is_code = text[label.start..label.value_start].trim_end().ends_with('=');
    let inner = ['\'', '"'].iter().find_map(|mark| value.strip_prefix(*mark)?.strip_suffix(*mark));
    match inner.filter(|_| is_code) {
        Some(inner) => inner.to_owned(),
        None => value,
    }
}

/// `None` means that there is nothing to avoid.
fn without_none(negative: &str) -> String {
    let negative = negative.trim();
    let word = negative.trim_end_matches(['.', '。']);
    let is_none = word.eq_ignore_ascii_case("none") || matches!(word, "无" | "\"\"" | "''");
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
    use crate::geometry::PixelBox;

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

    const BIKE: &str = "a blue bike [64, 128, 192, 256]";
    const LAMP: &str = "a lamp [320, 32, 128, 384]";

    fn told(text: &str) -> (Vec<String>, String, Answer) {
        let answer = read_answer(text, Canvas::PUBLISHED).unwrap_or_else(|error| panic!("{text}\n{error}"));
        let objects = &answer.layout.objects;
        let objects = objects.iter().map(|object| format!("{} {}", object.phrase, object.bbox)).collect();
        (objects, answer.layout.background.clone(), answer)
    }

    /// Both things and the background, with nothing to tell.
    fn check_street(text: &str) {
        let (objects, background, answer) = told(text);
        assert_eq!((objects, background.as_str()), (vec![BIKE.to_owned(), LAMP.to_owned()], "A street"), "{text}");
        assert!(answer.notes.is_empty() && !answer.is_doubtful, "{:?}", answer.notes);
    }

    #[test]
    fn records_under_whatever_keys() {
        for text in [
            r#"{"objects": [{"phrase": "a blue bike", "bbox": [64, 128, 192, 256]}, {"phrase": "a lamp", "bbox": [320, 32, 128, 384]}], "background": "A street"}"#,
            r#"{"items": [{"label": "a blue bike", "box": ["64", "128px", 192, 256]}, {"class": "a lamp", "rect": [320, 32, 128, 384]}], "background_prompt": "A street"}"#,
            r#"{"layout": {"boxes": [{"name": "a blue bike", "x": 64, "y": 128, "width": 192, "height": 256}, {"object": "a lamp", "left": 320, "top": 32, "w": 128, "h": 384}], "background": "A street"}}"#,
            r#"{"result": {"things": [{"caption": "a blue bike", "bbox": {"x": 64, "y": 128, "w": 192, "h": 256}}, {"text": "a lamp", "bbox": [320, 32, 128, 384]}], "background": "A street"}}"#,
            r#"{"a blue bike": [64, 128, 192, 256], "a lamp": [320, 32, 128, 384], "background": "A street", "negative": ["people", "cars"]}"#,
            r#"{"objects": {"a blue bike": [64, 128, 192, 256], "a lamp": [320, 32, 128, 384]}, "background": "A street"}"#,
            r#"[{"phrase": "a blue bike", "bbox": [64, 128, 192, 256]}, {"phrase": "a lamp", "bbox": [320, 32, 128, 384]}, {"background": "A street"}]"#,
            r#"{phrase: 'a blue bike', bbox: [64, 128, 192, 256]} // left
{phrase: 'a lamp', bbox: [320, 32, 128, 384]}
Background: A street"#,
            r#"[[{"phrase": "a blue bike", "bbox": [64, 128, 192, 256]}, {"phrase": "a lamp", "bbox": [[320, 32, 128, 384]]}]]
Background: A street"#,
            r#"{"tool": "draw", "arguments": "{\"objects\": [{\"phrase\": \"a blue bike\", \"bbox\": [64, 128, 192, 256]}, {\"phrase\": \"a lamp\", \"bbox\": [320, 32, 128, 384]}], \"background\": \"A street\"}"}"#,
            r#"{"objects": "[{\"phrase\": \"a blue bike\", \"bbox\": [64, 128, 192, 256]}, {\"phrase\": \"a lamp\", \"bbox\": [320, 32, 128, 384]}]", "background": "A street"}"#,
        ] {
            check_street(text);
        }
    }

    #[test]
    fn the_last_complete_answer_counts() {
        let list = "[('a blue bike', [64, 128, 192, 256]), ('a lamp', [320, 32, 128, 384])]";
        let answer = format!("{list}\nBackground prompt: A street\nNegative prompt: ");
        for text in [
            answer.clone(),
            format!("<think>[('a bike', [1, 1, 9, 9])]\nBackground prompt: no</think>{answer}"),
            format!("[('a bike', [1, 1, 9, 9])]\nBackground prompt: no\n</think>\n\n{answer}"),
            format!("<|channel|>analysis<|message|>[]\nBackground: no<|end|><|channel|>final<|message|>{answer}"),
            format!("{answer}<|im_end|>\n<|im_start|>user\n[]\nBackground prompt: no"),
            format!("{answer}\n\nCaption: a cat\nObjects: [('a cat', [1, 2, 3, 4])]\nBackground prompt: no"),
            format!("{answer}\n\nThe lamp (\"a lamp\") stands right of [\"a blue bike\", \"a wall\"]."),
            format!("{answer}\n\nI put ('a lamp', [320, 32, 128, 384]) there.").replace("I put (", "I put it ["),
        ] {
            let (objects, background, _) = told(&text);
            assert_eq!((objects, background.as_str()), (vec![BIKE.to_owned(), LAMP.to_owned()], "A street"), "{text}");
        }
        let (objects, _, revised) = told(&format!("[('a bike', [1, 1, 9, 9])]\nBackground: no\n\nWait:\n{answer}"));
        assert_eq!(
            (objects.len(), revised.notes),
            (2, vec!["it holds 2 layouts; the last complete one counts".to_owned()])
        );
        let (_, _, remarked) = told(&format!("{answer}\n\nIt is (\"a lamp\" on the right)."));
        assert!(!remarked.is_doubtful && remarked.notes.is_empty(), "{:?}", remarked.notes);
        let (objects, _, cut) = told(&format!("{answer}\n\nOr:\n[('a blue bike', [64, 12"));
        assert!(objects.len() == 2 && cut.is_doubtful, "{:?}", cut.notes);
        assert!(fault("<think>[('a bike', [1, 1, 9, 9])]\nBackground prompt: no").contains("thoughts"));
        assert!(fault(&format!("{list}\nBackground: A\nBackground: B")).contains("a second"));
        // A broken list is not read in pieces.
        assert!(fault("[('a dog', [1, 2, 3]), ('a cat', [1, 2, 3, 4])]\nBackground: A").contains("four numbers"));
    }

    #[test]
    fn answers_in_chinese_punctuation_in_code_and_in_lines() {
        for text in [
            "［（“a blue bike”，［64，128，192，256］）、（‘a lamp’，［320，32，128，384］）］\nBackground prompt：A street\nNegative prompt：无",
            "对象：[(“a blue bike”，[64，128，192，256])，(”a lamp”，[320，32，128，384])]\n背景提示：A street\n负面提示：",
            "\u{feff}objects = [('a blue bike', [64, 128, 192, 256]), ('a lamp', [320, 32, 128, 384])]\nbackground_prompt = \"A street\"\nnegative_prompt = ''",
            "Here:\n1. **a blue bike**: [64, 128, 192, 256]\n2. **a lamp**: [320, 32, 128, 384]\n\nBackground: A street",
            "Background prompt: A street\nObjects:\n- a blue bike: (64, 128, 192, 256)\n- a lamp: (320, 32, 128, 384)",
            "\"[('a blue bike', [64, 128, 192, 256]), ('a lamp', [320, 32, 128, 384])]\\nBackground prompt: A street\"",
            "```json\n\"{\\\"objects\\\": [[\\\"a blue bike\\\", [64, 128, 192, 256]], [\\\"a lamp\\\", [320, 32, 128, 384]]], \\\"background\\\": \\\"A street\\\"}\"\n```",
        ] {
            check_street(text);
        }
        check(
            "[]\nBackground prompt: a sign (\"[x]\") and [] \nNegative prompt: []",
            &[],
            "a sign (\"[x]\") and []",
            "[]",
        );
    }

    #[test]
    fn a_list_may_stand_on_the_line_of_a_label() {
        let list = "[('a blue bike', [64, 128, 192, 256]), ('a lamp', [320, 32, 128, 384])]";
        check_street(&format!("The Background prompt: comes last. {list}\nBackground prompt: A street"));
        check_street(&format!("Background prompt: A street Objects: {list}"));
    }

    #[test]
    fn other_scales_and_corners_are_told() {
        let record = |key: &str, bike: &str, lamp: &str| {
            format!(
                r#"{{"objects": [{{"label": "a blue bike", "{key}": [{bike}]}}, {{"label": "a lamp", "{key}": [{lamp}]}}], "background": "A street"}}"#
            )
        };
        for (text, note) in [
            (record("bbox_2d", "64, 128, 256, 384", "320, 32, 448, 416"), "corners [x1, y1, x2, y2] in pixels"),
            (
                record("bbox_2d", "125, 250, 500, 750", "625, 62.5, 875, 812.5"),
                "corners [x1, y1, x2, y2] in thousandths",
            ),
            (
                record("box_2d", "250, 125, 750, 500", "62.5, 625, 812.5, 875"),
                "corners [y1, x1, y2, x2] in thousandths",
            ),
            (record("bbox", "125, 250, 500, 750", "625, 62.5, 875, 812.5"), "corners [x1, y1, x2, y2] in thousandths"),
            (record("bbox", "125, 250, 375, 500", "625, 62.5, 250, 750"), "[x, y, width, height] in thousandths"),
            (record("bbox", "0.125, 0.25, 0.375, 0.5", "0.625, 0.0625, 0.25, 0.75"), "[x, y, width, height] in shares"),
            (
                record("box", "0.125, 0.25, 0.5, 0.75", "0.625, 0.0625, 0.875, 0.8125"),
                "corners [x1, y1, x2, y2] in shares",
            ),
        ] {
            let (objects, _, answer) = told(&text);
            assert_eq!(objects, [BIKE, LAMP], "{text}");
            assert!(
                !answer.is_doubtful && answer.notes.len() == 1 && answer.notes[0].contains(note),
                "{:?}",
                answer.notes
            );
        }
        let (objects, _, answer) =
            told(r#"[{"label": "a dog", "x1": 10, "y1": 20, "x2": 40, "y2": 60, "score": 0.9}]"#);
        assert_eq!(objects, ["a dog [10, 20, 30, 40]"]);
        let notes = [
            "its boxes are read as corners [x1, y1, x2, y2] in pixels, on a canvas of 512×512",
            "nothing is made of `score`",
            "it names no background",
        ];
        assert_eq!(answer.notes, notes);
    }

    /// No part of an answer is read for every other part of it.
    #[test]
    fn a_long_text_of_one_piece_takes_little_time() {
        for piece in [
            "[",
            "{\"",
            "[\"",
            "{'a':",
            "{\"a\":{\"b\":[",
            "Background prompt: ",
            "<think>",
            "\"{",
            "[] ",
            "{\"objects\":[",
            "' ",
            "（“",
            "[]\nBackground prompt: a\n",
            "{\"phrase\":\"a\",\"bbox\":[1,2,3,4]}\n",
        ] {
            let text = piece.repeat(ANSWER_BYTES / piece.len());
            let start = std::time::Instant::now();
            let _ = read_answer(&text, Canvas::PUBLISHED);
            // Under a tenth of a second each; the machine may be busy.
            assert!(start.elapsed().as_secs() < 5, "{piece} takes {:?}", start.elapsed());
        }
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
