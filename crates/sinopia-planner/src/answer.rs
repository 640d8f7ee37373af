//! Answers of planners as text: what every reader of layouts knows.

use serde_json::json;
use sinopia_layout::{Canvas, Layout, lost_all, read_answer};

use crate::error::Result;
use crate::two_step;

/// An answer that is a layout.
#[derive(Debug)]
pub(crate) struct PlainAnswer {
    pub(crate) layout: Layout,
    /// The answer in a form that every reader of layouts knows, without thoughts and drafts.
    pub(crate) text: String,
    /// What was understood that it does not say in the form asked for.
    pub(crate) notes: Vec<String>,
    /// Whether the layout rests on a guess.
    pub(crate) is_doubtful: bool,
}

/// A layout as JSON, without its canvas.
pub(crate) fn json(layout: &Layout) -> String {
    json!({"objects": layout.objects, "background": layout.background, "negative": layout.negative}).to_string()
}

/// The layout that an answer in any form describes.
///
/// # Errors
/// [`crate::Error::Layout`] if it is no layout, or one whose boxes are all lost.
pub(crate) fn read(text: &str, canvas: Canvas) -> Result<PlainAnswer> {
    let answer = match two_step::read(text, canvas) {
        Some(layout) => PlainAnswer { text: json(&layout), layout, notes: Vec::new(), is_doubtful: false },
        None => {
            let answer = read_answer(text, canvas)?;
            let text = if answer.is_bare { text.to_owned() } else { json(&answer.layout) };
            PlainAnswer { layout: answer.layout, text, notes: answer.notes, is_doubtful: answer.is_doubtful }
        }
    };
    match lost_all(&answer.layout) {
        Some(error) => Err(error.into()),
        None => Ok(answer),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_kept_is_the_answer_alone_in_pixels() {
        let bare = "[('a cat', [10, 20, 200, 300])]\nBackground prompt: A room\nNegative prompt: ";
        let plain = |text: &str| read(text, Canvas::PUBLISHED).unwrap();
        assert_eq!(plain(bare).text, bare);
        let thought = plain(&format!("<think>\n[]\nBackground: no\n</think>{bare}"));
        let shares = plain("[('a cat', [0.25, 0.5, 0.25, 0.25])]\nBackground prompt: A room");
        for (answer, bbox) in [(thought, "[10,20,200,300]"), (shares, "[128,256,128,128]")] {
            let json =
                format!(r#"{{"background":"A room","negative":"","objects":[{{"bbox":{bbox},"phrase":"a cat"}}]}}"#);
            let value: serde_json::Value = serde_json::from_str(&answer.text).unwrap();
            assert_eq!(value, serde_json::from_str::<serde_json::Value>(&json).unwrap());
            let again = plain(&answer.text);
            assert_eq!((again.layout, again.notes.len()), (answer.layout, 0));
        }
        let lost = read("[('a cat', [9000, 20, 200, 300])]\nBackground prompt: A room", Canvas::PUBLISHED).unwrap_err();
        assert!(lost.to_string().contains("none of its boxes can be painted"), "{lost}");
    }
}
