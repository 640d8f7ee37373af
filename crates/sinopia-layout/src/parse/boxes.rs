//! Values as boxes: a name and four numbers, under whatever keys models write them.

use super::keys::{find, is_one_of};
use super::measures::{measure_of, values};
use super::scale::{Form, Numbers, Scale};
use super::written::{Written, WrittenBox};
use super::{canvas, side_by_side, sides};
use crate::literal::{Cursor, Fault, Spanned, Value};
use crate::wording::excerpt;

/// What a box looks like, for messages.
pub(super) const PAIR: &str = "a pair ('name', [x, y, width, height])";
/// The same as JSON.
const OBJECT: &str = r#"a box such as {"phrase": "name", "bbox": [x, y, width, height]}"#;

/// Keys of an object's name, the more telling first.
const NAMES: [&str; 16] = [
    "phrase",
    "label",
    "name",
    "object",
    "class",
    "class_name",
    "category",
    "entity",
    "item",
    "title",
    "caption",
    "description",
    "desc",
    "text",
    "名称",
    "标签",
];
/// Keys of an object's box.
const BOXES: [&str; 13] = [
    "bbox",
    "box",
    "bounding box",
    "bounding_box",
    "boundingbox",
    "bbox_2d",
    "bbox2d",
    "box_2d",
    "box2d",
    "coordinates",
    "coords",
    "rect",
    "bbox_xyxy",
];
/// Keys of the list of objects.
const OBJECTS: [&str; 10] =
    ["objects", "boxes", "bboxes", "items", "elements", "detections", "instances", "对象", "物体", "annotations"];
const BACKGROUND: [&str; 8] = [
    "background",
    "background prompt",
    "background_prompt",
    "backgroundprompt",
    "bg_prompt",
    "背景",
    "背景提示",
    "背景提示词",
];
const NEGATIVE: [&str; 8] = [
    "negative",
    "negative prompt",
    "negative_prompt",
    "negativeprompt",
    "neg_prompt",
    "负面",
    "负面提示",
    "负面提示词",
];

/// Values inside each other that are searched for boxes: a tool call with its arguments as a text takes three.
const MAX_DEPTH: usize = 4;

/// Whether a value is a dict with a list of objects.
pub(super) fn is_layout(item: &Spanned) -> bool {
    matches!(&item.value, Value::Dict(entries) if find(entries, &OBJECTS).is_some())
}

/// The boxes in the values that stand side by side; `None` if they are something else than boxes.
pub(super) fn read(items: &[Spanned]) -> Result<Option<Written>, Fault> {
    read_at(items, 0)
}

fn read_at(items: &[Spanned], depth: usize) -> Result<Option<Written>, Fault> {
    match items {
        [Spanned { value: Value::Dict(entries), offset }] => {
            if let Some(written) = whole(entries, depth)? {
                return Ok(Some(written));
            }
            // Not an object either: the fault says what one looks like.
            list(items, *offset, depth).map(Some)
        }
        [Spanned { value: Value::List(inner), .. }] if is_remark(inner) => Ok(None),
        // A list around the list, once too often.
        [Spanned { value: Value::List(inner), offset }]
            if depth < MAX_DEPTH && inner.first().is_some_and(is_object) =>
        {
            list(inner, *offset, depth + 1).map(Some)
        }
        // Layouts one after the other: the last one counts.
        [first @ .., Spanned { value: Value::Dict(entries), .. }]
            if !first.is_empty() && first.iter().all(is_layout) && find(entries, &OBJECTS).is_some() =>
        {
            whole(entries, depth)
        }
        items => list(items, items.first().map_or(0, |item| item.offset), depth).map(Some),
    }
}

/// Whether this is a quotation in brackets, such as `("A dog")`, or a list of words.
fn is_remark(items: &[Spanned]) -> bool {
    !items.is_empty() && items.iter().all(|item| matches!(item.value, Value::Text(_)))
}

/// A list of objects. An object that has captions and no box gives the captions. What is no box is left out, if something is one.
fn list(items: &[Spanned], offset: usize, depth: usize) -> Result<Written, Fault> {
    let mut written = Written::default();
    for item in items.iter().filter(|item| item.value != Value::Nothing) {
        let taken = match &item.value {
            Value::Dict(entries) if find(entries, &BOXES).is_none() && caption_of(entries)? != (None, None) => {
                let (background, negative) = caption_of(entries)?;
                written.background = background.or(written.background);
                written.negative = negative.or(written.negative);
                continue;
            }
            Value::Dict(entries) => {
                written.is_record = true;
                unknown_keys(entries).for_each(|key| written.leave_unused(key));
                record(entries, item)
            }
            _ => pair(item, depth),
        };
        match taken {
            Ok(object) => written.boxes.push(object),
            Err(fault) => written.leave_out(fault),
        }
    }
    if written.boxes.is_empty() {
        if let Some(fault) = written.left_out.first() {
            return Err(fault.clone());
        }
        if !items.is_empty() && items.iter().all(|item| item.value != Value::Nothing) {
            let is_dict = matches!(items, [Spanned { value: Value::Dict(_), .. }]);
            let expected = if is_dict { OBJECT } else { PAIR };
            return Err(Fault::new(offset, format!("expected {expected}, found nothing like it")));
        }
    }
    Ok(written)
}

/// A dict that is a whole layout: objects under a key of their own, names as keys of boxes, or any of that inside another value.
fn whole(entries: &[(String, Spanned)], depth: usize) -> Result<Option<Written>, Fault> {
    if find(entries, &BOXES).is_some() && name_of(entries)?.is_some() || sides::under_keys(entries)?.is_some() {
        return Ok(None); // one object
    }
    let lists = side_by_side::read(entries)?;
    let keys = match (&lists, find(entries, &OBJECTS)) {
        (Some(_), _) => Some(side_by_side::KEYS),
        (None, Some(_)) => Some([&OBJECTS[..], &[]]),
        (None, None) => None,
    };
    let mut written = if let Some(lists) = lists {
        lists
    } else if let Some((_, objects)) = find(entries, &OBJECTS) {
        objects_under(objects, depth)?
    } else if let Some(boxes) = named_boxes(entries)? {
        Written { boxes, ..Written::default() }
    } else if let Some(inner) = inside(entries, depth)? {
        inner
    } else {
        return Ok(None);
    };
    written.is_record = true;
    let (background, negative) = caption_of(entries)?;
    written.background = background.or(written.background);
    written.negative = negative.or(written.negative);
    written.canvas = canvas::of(entries)?.or(written.canvas);
    if let Some(keys) = keys {
        let known = |key: &str| keys.iter().any(|names| is_one_of(key, names)) || is_of_the_whole(key);
        entries.iter().filter(|(key, _)| !known(key)).for_each(|(key, _)| written.leave_unused(key));
    }
    Ok(Some(written))
}

/// Whether a key says something of the whole picture.
fn is_of_the_whole(key: &str) -> bool {
    is_one_of(key, &BACKGROUND) || is_one_of(key, &NEGATIVE) || canvas::is_key(key)
}

fn objects_under(objects: &Spanned, depth: usize) -> Result<Written, Fault> {
    match &objects.value {
        Value::List(items) => list(items, objects.offset, depth)
            .or_else(|fault| if items.is_empty() { Ok(Written::default()) } else { Err(fault) }),
        Value::Nothing => Ok(Written::default()),
        Value::Dict(entries) => match named_boxes(entries)? {
            Some(boxes) => Ok(Written { boxes, ..Written::default() }),
            None => Err(not_a_list(objects)),
        },
        Value::Text(text) => quoted(text, objects.offset, depth)?.ok_or_else(|| not_a_list(objects)),
        Value::Number(_) => Err(not_a_list(objects)),
    }
}

fn not_a_list(found: &Spanned) -> Fault {
    Fault::new(found.offset, format!("expected a list of boxes, found {}", found.value.describe()))
}

/// Boxes whose names are the keys: `{"a cat": [1, 2, 3, 4]}`.
fn named_boxes(entries: &[(String, Spanned)]) -> Result<Option<Vec<WrittenBox>>, Fault> {
    let named = entries.iter().filter(|(key, _)| !is_of_the_whole(key));
    let named: Vec<&(String, Spanned)> = named.collect();
    let is_box = |value: &Value| match value {
        Value::List(numbers) => numbers.len() == 4 && numbers.iter().all(|number| measure_of(number).is_some()),
        _ => false,
    };
    if named.is_empty() || !named.iter().all(|(_, value)| is_box(&value.value)) {
        return Ok(None);
    }
    let boxes = named.into_iter().map(|(name, value)| {
        Ok(WrittenBox { phrase: name.clone(), numbers: sides::in_list(value, None, None)?, offset: value.offset })
    });
    boxes.collect::<Result<_, Fault>>().map(Some)
}

/// The last value of a dict that holds boxes, however deep.
fn inside(entries: &[(String, Spanned)], depth: usize) -> Result<Option<Written>, Fault> {
    if depth >= MAX_DEPTH {
        return Ok(None);
    }
    for (_, value) in entries.iter().rev() {
        let found = match &value.value {
            Value::Dict(inner) => whole(inner, depth + 1)?,
            Value::List(items) if items.iter().any(is_object) => Some(list(items, value.offset, depth + 1)?),
            Value::Text(text) => quoted(text, value.offset, depth + 1)?,
            _ => None,
        };
        if found.is_some() {
            return Ok(found);
        }
    }
    Ok(None)
}

/// Whether a value looks like an object rather than like something else that a list may hold.
fn is_object(item: &Spanned) -> bool {
    match &item.value {
        Value::Dict(entries) => {
            find(entries, &BOXES).is_some() || sides::under_keys(entries).is_ok_and(|box_| box_.is_some())
        }
        Value::List(parts) => matches!(parts.first(), Some(Spanned { value: Value::Text(_), .. })) && parts.len() > 1,
        _ => false,
    }
}

/// Boxes in a text that is JSON itself. Places in it are told as where it stands.
fn quoted(text: &str, offset: usize, depth: usize) -> Result<Option<Written>, Fault> {
    if depth >= MAX_DEPTH || !text.trim_start().starts_with(['{', '[']) {
        return Ok(None);
    }
    let Ok(value) = Cursor::new(text, 0).value() else { return Ok(None) };
    let items = match value.value {
        Value::List(items) => items,
        _ => vec![value],
    };
    let here = |fault: Fault| Fault::new(offset, format!("in the text that stands here: {}", fault.message));
    let mut written = read_at(&items, depth + 1).map_err(here)?;
    if let Some(written) = &mut written {
        written.left_out = std::mem::take(&mut written.left_out).into_iter().map(here).collect();
    }
    Ok(written)
}

/// A pair of name and numbers, or a flat list of both.
fn pair(item: &Spanned, depth: usize) -> Result<WrittenBox, Fault> {
    let fault = || Fault::new(item.offset, format!("expected {PAIR}, found {}", item.value.describe()));
    let Value::List(parts) = &item.value else { return Err(fault()) };
    match parts.as_slice() {
        // A list around a pair, once too often.
        [inner @ Spanned { value: Value::List(_), .. }] if depth < MAX_DEPTH => pair(inner, depth + 1),
        [Spanned { value: Value::Text(phrase), .. }, numbers]
            if matches!(numbers.value, Value::List(_) | Value::Dict(_)) =>
        {
            Ok(WrittenBox { phrase: phrase.clone(), numbers: sides::of(numbers, None, None)?, offset: numbers.offset })
        }
        [Spanned { value: Value::Text(phrase), .. }, numbers @ ..] if numbers.len() == 4 => {
            let (values, scale) = values(numbers.iter(), item.offset)?;
            let numbers = Numbers { values, form: None, scale };
            Ok(WrittenBox { phrase: phrase.clone(), numbers, offset: item.offset })
        }
        _ => Err(fault()),
    }
}

/// An object with its name and its box under keys.
fn record(entries: &[(String, Spanned)], item: &Spanned) -> Result<WrittenBox, Fault> {
    let fault = |message: String| Fault::new(item.offset, message);
    let (numbers, offset) = match (find(entries, &BOXES), sides::under_keys(entries)?) {
        (Some((key, value)), _) => {
            let (form, scale) = meaning(key);
            (sides::of(value, form, scale)?, value.offset)
        }
        (None, Some(numbers)) => (numbers, item.offset),
        (None, None) => {
            let name = name_of(entries)?.filter(|name| !name.is_empty());
            return Err(fault(match name {
                Some(name) => format!("`{}` has no box: expected `bbox`, [x, y, width, height]", excerpt(&name, 60)),
                None => format!("expected {OBJECT}, found {}", item.value.describe()),
            }));
        }
    };
    let phrase = name_of(entries)?.ok_or_else(|| fault("this box has no name: expected `phrase`".to_owned()))?;
    Ok(WrittenBox { phrase, numbers, offset })
}

/// Keys of an object that say something else than its name and its box.
fn unknown_keys(entries: &[(String, Spanned)]) -> impl Iterator<Item = &str> {
    let known = |key: &str| is_one_of(key, &NAMES) || is_one_of(key, &BOXES) || sides::is_key(key);
    entries.iter().filter(move |(key, _)| !known(key)).map(|(key, _)| key.as_str())
}

/// What the key of a box says of its numbers: Qwen's `bbox_2d` are corners, Gemini's `box_2d` are corners in thousandths, y first.
fn meaning(key: &str) -> (Option<Form>, Option<Scale>) {
    match key.to_ascii_lowercase().as_str() {
        "bbox_2d" | "bbox2d" | "bbox_xyxy" => (Some(Form::Corners), None),
        "box_2d" | "box2d" => (Some(Form::CornersYx), Some(Scale::Thousandths)),
        _ => (None, None),
    }
}

/// What a key says of four numbers, if it is that of a box.
pub(super) fn meaning_of_box(key: &str) -> Option<(Option<Form>, Option<Scale>)> {
    is_one_of(key, &BOXES).then(|| meaning(key))
}

/// Whether a key is that of an object's name.
pub(super) fn is_name(key: &str) -> bool {
    is_one_of(key, &NAMES)
}

fn name_of(entries: &[(String, Spanned)]) -> Result<Option<String>, Fault> {
    text_of(entries, &NAMES)
}

fn caption_of(entries: &[(String, Spanned)]) -> Result<(Option<String>, Option<String>), Fault> {
    Ok((text_of(entries, &BACKGROUND)?, text_of(entries, &NEGATIVE)?))
}

/// The text under the first of some names. What there is nothing to avoid of may be an empty list.
fn text_of(entries: &[(String, Spanned)], names: &[&str]) -> Result<Option<String>, Fault> {
    match find(entries, names).map(|(_, value)| value) {
        None => Ok(None),
        Some(Spanned { value: Value::Text(text), .. }) => Ok(Some(text.clone())),
        Some(Spanned { value: Value::Nothing, .. }) => Ok(Some(String::new())),
        Some(Spanned { value: Value::List(parts), .. })
            if parts.iter().all(|part| matches!(part.value, Value::Text(_))) =>
        {
            let parts = parts.iter().filter_map(|part| match &part.value {
                Value::Text(text) => Some(text.as_str()),
                _ => None,
            });
            Ok(Some(parts.collect::<Vec<_>>().join(", ")))
        }
        Some(other) => Err(Fault::new(other.offset, format!("expected a text, found {}", other.value.describe()))),
    }
}
