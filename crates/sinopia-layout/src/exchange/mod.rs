//! Layouts in the formats of other programs, read and written. What a format cannot say is told where it is lost.

pub mod coco;
pub mod ideogram;
pub mod omost;

use crate::error::{Error, Result};
use crate::json;
use crate::layout::{Layout, LayoutObject};
use crate::wording::says_something;

/// Longest text of another format that is read, in bytes.
pub const MAX_EXCHANGE_BYTES: usize = 16 * 1024 * 1024;

/// A layout from another format.
#[derive(Debug, Clone, PartialEq)]
pub struct Imported {
    /// The layout.
    pub layout: Layout,
    /// What the other format said and a layout cannot, a sentence each.
    pub left_out: Vec<String>,
}

fn refused(format: &'static str, problem: impl Into<String>) -> Error {
    Error::Exchange { format, problem: problem.into() }
}

fn read_json<T: serde::de::DeserializeOwned>(text: &str, format: &'static str) -> Result<T> {
    check_size(text, format)?;
    serde_json::from_str(text).map_err(|error| Error::Text(json::fault(text, &error)))
}

fn check_size(text: &str, format: &'static str) -> Result<()> {
    if text.len() > MAX_EXCHANGE_BYTES {
        return Err(refused(format, format!("it has {} bytes; at most {MAX_EXCHANGE_BYTES} are read", text.len())));
    }
    Ok(())
}

fn check_objects(objects: &[LayoutObject]) -> Result<()> {
    if objects.len() > Layout::MAX_BOXES {
        return Err(Error::TooManyBoxes { found: objects.len(), max: Layout::MAX_BOXES });
    }
    match objects.iter().position(|object| !says_something(&object.phrase)) {
        Some(index) => Err(Error::EmptyPhrase { number: index + 1 }),
        None => Ok(()),
    }
}
