//! Models by name and content, as recipes name them.

use serde::{Deserialize, Serialize};

/// A checkpoint, by name and content.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ModelId {
    /// The name, path or Hub id it was asked for by.
    pub id: String,
    /// SHA-256 of its content.
    pub hash: String,
}
