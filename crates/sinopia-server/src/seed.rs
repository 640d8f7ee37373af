//! Seeds on the wire. JavaScript rounds whole numbers above 2^53, and another seed is another picture: so seeds are read as numbers or as text, and
//! replies have them as both.

use serde::{Deserialize, Deserializer, de};
use serde_json::{Map, Value};
use utoipa::ToSchema;

/// The largest whole number up to which JavaScript tells all of them apart.
const MAX_EXACT: u64 = (1 << 53) - 1;

/// A seed: a number from 0 to 18446744073709551615, or the same as text.
#[derive(Debug, Deserialize, ToSchema)]
#[schema(as = Seed)]
#[serde(untagged)]
#[expect(dead_code, reason = "describes what `read` reads")]
pub(crate) enum SeedDoc {
    /// Exact up to 2^53 in JavaScript, beyond it in other languages.
    Number(u64),
    /// Exact everywhere.
    Text(String),
}

/// The seed that a JSON value is, if it is one.
pub(crate) fn read(value: &Value) -> Option<u64> {
    match value {
        Value::String(text) => text.trim().parse().ok(),
        // Some languages write whole numbers as 3.0.
        Value::Number(number) => number.as_u64().or_else(|| {
            number.as_f64().filter(|x| x.fract() == 0.0 && (0.0..=MAX_EXACT as f64).contains(x)).map(|x| x as u64)
        }),
        _ => None,
    }
}

/// What a field that holds a seed may hold.
pub(crate) const EXPECTED: &str = "a whole number from 0 to 18446744073709551615, as a number or as text";

/// For fields of requests.
pub(crate) fn read_optional<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<u64>, D::Error> {
    match Value::deserialize(deserializer)? {
        Value::Null => Ok(None),
        value => read(&value)
            .map(Some)
            .ok_or_else(|| de::Error::custom(format!("`seed` is {value}; {EXPECTED} is expected"))),
    }
}

/// Options of a method as replies have them: seeds that JavaScript would round become text. Other options are read as numbers only.
pub fn exact_options(mut options: Map<String, Value>) -> Map<String, Value> {
    for (name, value) in &mut options {
        let is_seed = name.split('_').any(|word| word == "seed");
        if let Some(number) = value.as_u64().filter(|number| is_seed && *number > MAX_EXACT) {
            *value = Value::String(number.to_string());
        }
    }
    options
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn seeds_are_numbers_or_text() {
        for (value, seed) in [
            (json!(0), 0),
            (json!(3.0), 3),
            (json!(u64::MAX), u64::MAX),
            (json!("18446744073709551615"), u64::MAX),
            (json!(" 7 "), 7),
        ] {
            assert_eq!(read(&value), Some(seed), "{value}");
        }
        for value in
            [json!(-1), json!(0.5), json!(1e19), json!("18446744073709551616"), json!("1e3"), json!(""), json!([1])]
        {
            assert_eq!(read(&value), None, "{value}");
        }
    }

    #[test]
    fn seeds_among_options_that_javascript_would_round_are_text() {
        let options = json!({"fg_seed_start": u64::MAX, "max_index_step": u64::MAX, "x": 0.5, "seed": 7});
        let expected =
            json!({"fg_seed_start": "18446744073709551615", "max_index_step": u64::MAX, "x": 0.5, "seed": 7});
        assert_eq!(Value::Object(exact_options(options.as_object().unwrap().clone())), expected);
    }
}
