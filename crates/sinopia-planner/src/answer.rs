//! Answers of planners as text: what every reader of layouts knows.

use serde_json::json;
use sinopia_layout::{Canvas, Layout, parse_answer_on};

use crate::error::Result;
use crate::two_step;

/// A layout as JSON, without its canvas.
pub(crate) fn json(layout: &Layout) -> String {
    json!({"objects": layout.objects, "background": layout.background, "negative": layout.negative}).to_string()
}

/// The layout that an answer in any form describes, and the answer in a form that every reader of layouts knows.
///
/// # Errors
/// [`crate::Error::Layout`] if it is no layout.
pub(crate) fn read(text: &str, canvas: Canvas) -> Result<(Layout, String)> {
    match two_step::read(text, canvas) {
        Some(layout) => {
            let plain = json(&layout);
            Ok((layout, plain))
        }
        None => Ok((parse_answer_on(text, canvas)?, text.to_owned())),
    }
}
