//! Values out of other programs' JSON, whatever way they spell them.

use serde::de::DeserializeOwned;
use serde_json::Value;
use sinopia_layout::python_json::with_null;

/// The value in a text that a program in Python may have written.
pub(super) fn parse<T: DeserializeOwned>(text: &str) -> serde_json::Result<T> {
    serde_json::from_str(&with_null(text))
}

/// The text under the first of `keys` that has one.
pub(super) fn text(value: &Value, keys: &[&str]) -> Option<String> {
    let texts = keys.iter().filter_map(|key| value.get(key)?.as_str());
    texts.map(str::to_owned).find(|text| !text.trim().is_empty())
}

/// The whole number under the first of `keys` that has one, also where it is written as a text.
pub(super) fn whole(value: &Value, keys: &[&str]) -> Option<u64> {
    keys.iter().find_map(|key| whole_of(value.get(key)?))
}

fn whole_of(value: &Value) -> Option<u64> {
    match value {
        // A whole number with a decimal point: f64 holds those below 2⁵³ exactly.
        Value::Number(number) => number
            .as_u64()
            .or_else(|| number.as_f64().filter(|x| x.fract() == 0.0 && (0.0..9e15).contains(x)).map(|x| x as u64)),
        Value::String(text) => text.trim().parse().ok(),
        _ => None,
    }
}

/// The same, if it fits 32 bits.
pub(super) fn small(value: &Value, keys: &[&str]) -> Option<u32> {
    whole(value, keys)?.try_into().ok()
}

/// The number under the first of `keys` that has one, also where it is written as a text.
pub(super) fn number(value: &Value, keys: &[&str]) -> Option<f64> {
    let number = |value: &Value| value.as_f64().or_else(|| value.as_str()?.trim().parse().ok());
    keys.iter().filter_map(|key| number(value.get(key)?)).find(|x| x.is_finite())
}

/// The file's name without its folders and its ending: `sd/v1-5.safetensors` is `v1-5`.
pub(super) fn file_stem(path: &str) -> String {
    let name = path.rsplit(['/', '\\']).next().unwrap_or(path);
    let ending = [".safetensors", ".ckpt", ".gguf", ".pt"].iter().find_map(|ending| name.strip_suffix(ending));
    ending.unwrap_or(name).to_owned()
}
