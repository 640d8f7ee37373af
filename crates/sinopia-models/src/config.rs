//! What the readers of configuration files share.

use serde::de::DeserializeOwned;
use serde::{Deserialize, Deserializer};
use sinopia_layout::python_json;

use crate::{Error, Result};

/// The configuration in a text; `file` is its name in messages.
pub(crate) fn read<T: DeserializeOwned>(text: &str, file: &str) -> Result<T> {
    serde_json::from_slice(&python_json::with_texts(text.as_bytes()))
        .map_err(|source| Error::Json { file: file.to_owned(), source })
}

/// A truth value, for which Python takes null as no.
pub(crate) fn null_is_false<'de, D: Deserializer<'de>>(deserializer: D) -> std::result::Result<bool, D::Error> {
    Ok(Option::<bool>::deserialize(deserializer)?.unwrap_or(false))
}

/// The refusal of a value.
pub(crate) fn refused(file: &str, key: &str, found: impl Into<String>, expected: impl Into<String>) -> Error {
    Error::Config { file: file.to_owned(), key: key.to_owned(), found: found.into(), expected: expected.into() }
}

/// Refuses the first of some named sizes that is 0.
pub(crate) fn require_sizes(file: &str, sizes: &[(&str, usize)]) -> Result<()> {
    match sizes.iter().find(|(_, size)| *size == 0) {
        Some((key, _)) => Err(refused(file, key, "0", "a number above 0")),
        None => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_no_json_either_way_is_still_refused() {
        for text in [r#"{"a": Inf}"#, r#"{"a": NaNs}"#, r#"{"a": "\"#, "-"] {
            assert!(read::<serde_json::Value>(text, "config.json").is_err(), "{text}");
        }
    }
}
