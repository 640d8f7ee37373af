//! JSON as Python writes it: with the numbers `NaN`, `Infinity` and `-Infinity`, which JSON does not have and its readers refuse.

use std::borrow::Cow;

const NOT_IN_JSON: [&[u8]; 3] = [b"-Infinity", b"Infinity", b"NaN"];

/// The text with null in the place of such numbers: one of them makes one value bad, not the file.
pub fn with_null(text: &str) -> Cow<'_, str> {
    match replaced(text.as_bytes(), |_| b"null".to_vec()) {
        // ASCII was put in the place of ASCII.
        Cow::Owned(bytes) => Cow::Owned(String::from_utf8_lossy(&bytes).into_owned()),
        Cow::Borrowed(_) => Cow::Borrowed(text),
    }
}

/// The bytes with texts of the same letters in the place of such numbers, so that a key that may be infinite can be read, one that
/// nobody reads does no harm, and any other is refused with its value.
pub fn with_texts(json: &[u8]) -> Cow<'_, [u8]> {
    replaced(json, |number| [b"\"", number, b"\""].concat())
}

/// Puts something else in the place of the numbers that stand outside of texts.
fn replaced(json: &[u8], replacement: impl Fn(&[u8]) -> Vec<u8>) -> Cow<'_, [u8]> {
    let mut written = Vec::new();
    let (mut copied, mut at, mut is_text) = (0, 0, false);
    while at < json.len() {
        at += match json[at] {
            b'"' => {
                is_text = !is_text;
                1
            }
            b'\\' => 2, // an escaped character ends no text
            b'-' | b'I' | b'N' if !is_text => match NOT_IN_JSON.into_iter().find(|word| json[at..].starts_with(word)) {
                Some(number) => {
                    written.extend_from_slice(&json[copied..at]);
                    written.extend_from_slice(&replacement(number));
                    copied = at + number.len();
                    number.len()
                }
                None => 1,
            },
            _ => 1,
        };
    }
    if copied == 0 {
        return Cow::Borrowed(json);
    }
    written.extend_from_slice(&json[copied..]);
    Cow::Owned(written)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_that_only_python_writes_become_something_else() {
        for (python, texts, null) in [
            (
                r#"{"a": -Infinity, "b": [NaN,Infinity]}"#,
                r#"{"a": "-Infinity", "b": ["NaN","Infinity"]}"#,
                r#"{"a": null, "b": [null,null]}"#,
            ),
            ("NaN", r#""NaN""#, "null"),
            (
                r#"{"Infinity": "a \" NaN", "ä\\": -Infinity}"#,
                r#"{"Infinity": "a \" NaN", "ä\\": "-Infinity"}"#,
                r#"{"Infinity": "a \" NaN", "ä\\": null}"#,
            ),
        ] {
            assert_eq!(String::from_utf8_lossy(&with_texts(python.as_bytes())), texts);
            assert_eq!(with_null(python), null);
        }
    }

    #[test]
    fn json_stays_as_it_is() {
        for json in [r#"{"a": -1.5, "b": null}"#, r#"{"b": "NaN"}"#, r#"{"a": "\"#, "-", ""] {
            assert!(matches!(with_null(json), Cow::Borrowed(same) if same == json), "{json}");
            assert!(matches!(with_texts(json.as_bytes()), Cow::Borrowed(_)), "{json}");
        }
    }
}
