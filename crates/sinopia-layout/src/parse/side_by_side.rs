//! Names in one list and their boxes in another, as diffusers' GLIGEN and LMD+ pipelines take them and detectors answer.
//!
//! ```text
//! {"phrases": ["a red car", "a cup"], "boxes": [[0.08, 0.41, 0.46, 0.83], [0.6, 0.5, 0.9, 0.8]]}
//!
//! phrases = ["a red car", "a cup"]
//! boxes = [[0.08, 0.41, 0.46, 0.83], [0.6, 0.5, 0.9, 0.8]]
//! ```
//!
//! # Source
//! huggingface/diffusers: `gligen_phrases` and `gligen_boxes` of StableDiffusionGLIGENPipeline, `phrases` and `boxes` of the community pipeline
//! llm_grounded_diffusion: `[x_min, y_min, x_max, y_max]` in 0..=1.

use super::keys::{find, is_one_of};
use super::scale::Form;
use super::sides;
use super::written::{Written, WrittenBox};
use crate::literal::{Cursor, Fault, Spanned, Value};

/// Keys of names for pipelines, whose boxes are corners.
const PHRASES: [&str; 2] = ["phrases", "gligen_phrases"];
/// Keys of a list of names.
const NAMES: [&str; 4] = ["phrases", "gligen_phrases", "labels", "names"];
/// Keys of a list of boxes which are named elsewhere.
const BOXES: [&str; 4] = ["boxes", "gligen_boxes", "locations", "bboxes"];

/// The keys of both lists.
pub(super) const KEYS: [&[&str]; 2] = [&NAMES, &BOXES];

/// The boxes of a dict with both lists.
pub(super) fn read(entries: &[(String, Spanned)]) -> Result<Option<Written>, Fault> {
    match (find(entries, &NAMES), find(entries, &BOXES)) {
        (Some((key, names)), Some((_, boxes))) => named(key, names, boxes),
        _ => Ok(None),
    }
}

/// The boxes of code that gives both lists their names, and the bytes that they take.
pub(super) fn assigned(text: &str) -> Option<(Written, usize, usize)> {
    let (key, names, names_end) = assignment(text, &NAMES)?;
    let (_, boxes, boxes_end) = assignment(text, &BOXES)?;
    let written = Written { is_record: true, ..named(key, &names, &boxes).ok()?? };
    Some((written, names.offset.min(boxes.offset), names_end.max(boxes_end)))
}

/// The last list that is given such a name at the start of a line, and where it ends.
fn assignment<'a>(text: &'a str, wanted: &[&str]) -> Option<(&'a str, Spanned, usize)> {
    let mut found = None;
    let mut offset = 0;
    for line in text.split_inclusive('\n') {
        let name = line.trim_start();
        let value = name.trim_start_matches(|c: char| c.is_alphanumeric() || c == '_');
        let key = &name[..name.len() - value.len()];
        let start = offset + line.len() - value.len();
        offset += line.len();
        let value = value.trim_start().strip_prefix(['=', ':']).filter(|value| value.trim_start().starts_with('['));
        if value.is_some() && is_one_of(key, wanted) {
            let mut cursor = Cursor::new(text, start + text[start..].find('[')?);
            found = cursor.value().ok().map(|list| (key, list, cursor.offset())).or(found);
        }
    }
    found
}

/// The boxes of a list with the names of another, which stands under `key`; `None` if they are something else.
fn named(key: &str, names: &Spanned, boxes: &Spanned) -> Result<Option<Written>, Fault> {
    let (Value::List(names), Value::List(boxes)) = (&names.value, &boxes.value) else { return Ok(None) };
    let are_lists = boxes.iter().all(|item| matches!(item.value, Value::List(_)));
    let text = |name: &Spanned| match &name.value {
        Value::Text(text) => Some(text.clone()),
        _ => None,
    };
    let texts: Option<Vec<String>> = names.iter().map(text).collect();
    let Some(texts) = texts.filter(|_| are_lists) else { return Ok(None) };
    if texts.len() != boxes.len() {
        let message = format!("expected as many boxes as names, found {} and {} names", boxes.len(), texts.len());
        return Err(Fault::new(boxes.first().map_or(0, |item| item.offset), message));
    }
    let mut written = Written::default();
    for (phrase, item) in texts.into_iter().zip(boxes) {
        match sides::of(item, None, None) {
            Ok(mut numbers) => {
                // What is larger than a share was not made for a pipeline.
                let is_corners = is_one_of(key, &PHRASES) && numbers.values.iter().all(|value| *value <= 1.0);
                numbers.form = numbers.form.or(is_corners.then_some(Form::Corners));
                written.boxes.push(WrittenBox { phrase, numbers, offset: item.offset });
            }
            Err(fault) => written.leave_out(fault),
        }
    }
    match written.left_out.first().filter(|_| written.boxes.is_empty()) {
        Some(fault) => Err(fault.clone()),
        None => Ok(Some(written)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lists_of_code_belong_together() {
        let text = "phrases = [\"a cat\",\n 'a dog']\nboxes = [[0.1, 0.2, 0.3, 0.4], [0.5, 0.6, 0.7, 0.8]]\npipe(\n    phrases=phrases,\n)";
        let (written, start, end) = assigned(text).unwrap();
        let boxes = written.boxes.iter().map(|one| (one.phrase.as_str(), one.numbers.values, one.numbers.form));
        let form = Some(Form::Corners);
        let expected = [("a cat", [0.1, 0.2, 0.3, 0.4], form), ("a dog", [0.5, 0.6, 0.7, 0.8], form)];
        assert_eq!(boxes.collect::<Vec<_>>(), expected);
        assert_eq!((start, &text[end..]), (10, "\npipe(\n    phrases=phrases,\n)"));
        assert_eq!(assigned("phrases = ['a cat']\nboxes = []"), None);
        assert_eq!(assigned("phrases = ['a cat']"), None);
    }
}
