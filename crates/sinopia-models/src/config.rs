//! What the readers of configuration files share.

use serde::de::DeserializeOwned;

use crate::{Error, Result};

/// The configuration in a text; `file` is its name in messages.
pub(crate) fn read<T: DeserializeOwned>(text: &str, file: &str) -> Result<T> {
    serde_json::from_str(text).map_err(|source| Error::Json { file: file.to_owned(), source })
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
