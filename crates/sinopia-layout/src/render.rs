//! Writes a layout as the answer that an LLM should have given.

use std::fmt::Write as _;

use crate::layout::Layout;

/// The answer that [`parse_answer_on`](crate::parse::parse_answer_on) reads back as the same layout on the same canvas.
///
/// This is the form of the published caches: one line for the boxes, one for the background, one for the negative
/// prompt. Line breaks and other control characters in the two captions become spaces, since captions are lines.
pub fn write_answer(layout: &Layout) -> String {
    let mut answer = String::from("[");
    for (index, object) in layout.objects.iter().enumerate() {
        let separator = if index == 0 { "" } else { ", " };
        // Writing into a string cannot fail; numbers print with as many digits as they need.
        let _ = write!(answer, "{separator}({}, {})", quoted(&object.phrase), object.bbox);
    }
    let _ = write!(
        answer,
        "]\nBackground prompt: {}\nNegative prompt: {}",
        one_line(&layout.background),
        one_line(&layout.negative)
    );
    answer
}

/// A Python string literal: single quotes unless the text has an apostrophe and no double quote.
fn quoted(text: &str) -> String {
    let quote = if text.contains('\'') && !text.contains('"') { '"' } else { '\'' };
    let mut literal = String::from(quote);
    for c in text.chars() {
        match c {
            '\\' => literal.push_str("\\\\"),
            '\n' => literal.push_str("\\n"),
            '\t' => literal.push_str("\\t"),
            '\r' => literal.push_str("\\r"),
            c if c == quote => literal.extend(['\\', c]),
            c if c.is_control() => {
                let _ = write!(literal, "\\x{:02x}", u32::from(c));
            }
            c => literal.push(c),
        }
    }
    literal.push(quote);
    literal
}

fn one_line(caption: &str) -> String {
    let spaced: String = caption.chars().map(|c| if c.is_control() { ' ' } else { c }).collect();
    spaced.trim().to_owned()
}
