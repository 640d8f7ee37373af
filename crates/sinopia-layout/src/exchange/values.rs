//! JSON values as files of others have them: numbers written as text, ids of either kind, lists that are too short.

use serde_json::Value;

use crate::limits::ID_CHARS;
use crate::wording::excerpt;

/// Most of a value that a message repeats.
const SHOWN_CHARS: usize = 60;

/// A finite number, also one written as text.
pub(super) fn number(value: &Value) -> Option<f64> {
    let number = match value {
        Value::Number(number) => number.as_f64(),
        Value::String(text) => text.trim().parse().ok(),
        _ => None,
    };
    number.filter(|number: &f64| number.is_finite())
}

/// Exactly so many numbers, or what is there instead, in words.
pub(super) fn numbers<const N: usize>(value: Option<&Value>) -> Result<[f64; N], String> {
    let Some(value) = value else { return Err("is missing".to_owned()) };
    let found = value.as_array().and_then(|items| items.iter().map(number).collect::<Option<Vec<f64>>>());
    found.and_then(|numbers| numbers.try_into().ok()).ok_or_else(|| format!("{} is not {N} numbers", shown(value)))
}

/// An id as text: `7`, `"7"` and `7.0` are the same. A text that is too long is none: many things name one id, and each is compared with it.
pub(super) fn id(value: Option<&Value>) -> Option<String> {
    match value? {
        Value::String(text) => Some(text.trim()).filter(|id| id.len() <= ID_CHARS).map(str::to_owned),
        Value::Number(number) => match number.as_f64() {
            Some(float) if !number.is_u64() && !number.is_i64() && float.fract() == 0.0 => Some(format!("{float}")),
            _ => Some(number.to_string()),
        },
        _ => None,
    }
}

/// A text; empty for everything else.
pub(super) fn text(value: Option<&Value>) -> &str {
    value.and_then(Value::as_str).unwrap_or_default().trim()
}

/// Whether a value says something: not null, false, zero, an empty text, list or object.
pub(super) fn says_something(value: &Value) -> bool {
    match value {
        Value::Null => false,
        Value::Bool(is_true) => *is_true,
        Value::Number(number) => number.as_f64() != Some(0.0),
        Value::String(text) => !matches!(text.trim(), "" | "0" | "false"),
        Value::Array(items) => items.iter().any(says_something),
        Value::Object(entries) => entries.values().any(says_something),
    }
}

/// A value for a message.
pub(super) fn shown(value: &Value) -> String {
    excerpt(&value.to_string(), SHOWN_CHARS).into_owned()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn numbers_and_ids_are_read_as_people_write_them() {
        assert_eq!(numbers::<2>(Some(&json!([1, " 2.5"]))), Ok([1.0, 2.5]));
        assert_eq!(numbers::<2>(Some(&json!([]))), Err("[] is not 2 numbers".to_owned()));
        assert_eq!(numbers::<1>(Some(&json!(["inf"]))), Err("[\"inf\"] is not 1 numbers".to_owned()));
        assert_eq!(numbers::<1>(None), Err("is missing".to_owned()));
        for (value, expected) in
            [(json!(7), Some("7")), (json!("7 "), Some("7")), (json!(7.0), Some("7")), (json!(null), None)]
        {
            assert_eq!(id(Some(&value)).as_deref(), expected);
        }
        let nothings = [json!(null), json!(0), json!(""), json!([]), json!({"a": [0, ""]}), json!(false)];
        assert!(!nothings.iter().any(says_something));
        assert!([json!(1), json!("1"), json!(true), json!([[1]])].iter().all(says_something));
    }
}
