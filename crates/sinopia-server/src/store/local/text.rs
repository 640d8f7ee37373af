//! Values as text in columns of the record.

/// A value as JSON. The types of the wire are plain, so nothing can fail.
pub(super) fn json(value: &impl serde::Serialize) -> String {
    serde_json::to_string(value).unwrap_or_default()
}
