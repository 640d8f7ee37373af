//! Values from text, each by the type that is wanted.

use serde_json::Value;

use super::Kind;

/// What the text stands for if it is to be of this type; ranges are not looked at.
pub(super) fn value(kind: &Kind, text: &str) -> Option<Value> {
    let trimmed = text.trim();
    match kind {
        Kind::Boolean => boolean(trimmed).map(Value::Bool),
        Kind::Integer { .. } => trimmed.parse::<u64>().ok().map(Value::from),
        Kind::Number(_) => number(trimmed),
        Kind::Choice(_) => Some(Value::String(unquoted(trimmed))),
        Kind::Text => Some(Value::String(unquoted(text))),
        Kind::List(values) => list(values, trimmed),
        Kind::Table { .. } => serde_json::from_str(trimmed).ok().filter(Value::is_object),
        Kind::Interval(_) => interval(trimmed),
    }
}

fn boolean(text: &str) -> Option<bool> {
    let is = |words: [&str; 3]| words.iter().any(|word| text.eq_ignore_ascii_case(word));
    match (is(["true", "yes", "on"]), is(["false", "no", "off"])) {
        (true, _) => Some(true),
        (_, true) => Some(false),
        _ => None,
    }
}

/// A number that JSON can hold. Whole ones stay whole, as they do in JSON.
fn number(text: &str) -> Option<Value> {
    let number = serde_json::from_str(text).ok().filter(Value::is_number);
    number.or_else(|| text.parse::<f64>().ok().filter(|x| x.is_finite()).map(Value::from))
}

/// Text, or a JSON string with its quotes: shells and files leave them on or take them off.
fn unquoted(text: &str) -> String {
    match text.trim() {
        quoted if quoted.starts_with('"') => serde_json::from_str(quoted).unwrap_or_else(|_| text.to_owned()),
        _ => text.to_owned(),
    }
}

/// Most entries of a list that is written as `4×5`: those that there may be steps.
const LONGEST_RUN: usize = 1000;

/// `[4, 4, 3]`, `4, 4, 3` or `4×2, 3`.
fn list(values: &Kind, text: &str) -> Option<Value> {
    if text.starts_with('[') {
        return serde_json::from_str(text).ok();
    }
    let mut list = Vec::new();
    for entry in text.split(',').map(str::trim).filter(|_| !text.is_empty()) {
        let (entry, times) = match entry.split_once(['×', 'x', '*']) {
            Some((entry, times)) => (entry, times.trim().parse().ok().filter(|times| *times <= LONGEST_RUN)?),
            None => (entry, 1),
        };
        list.extend(std::iter::repeat_n(value(values, entry)?, times));
    }
    Some(Value::Array(list))
}

/// `0.1..0.8` or `[0.1, 0.8]`.
fn interval(text: &str) -> Option<Value> {
    if text.starts_with('[') {
        return serde_json::from_str(text).ok();
    }
    let (first, end) = text.split_once("..")?;
    Some(Value::Array(vec![number(first.trim())?, number(end.trim())?]))
}
