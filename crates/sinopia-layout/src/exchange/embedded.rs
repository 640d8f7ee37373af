//! The JSON inside a text: as it is, within a Markdown fence, or with a sentence before and after it.

use std::borrow::Cow;

/// The part of a text that is JSON, what stands before it blank, so that lines and columns stay. Of several fenced blocks the last counts,
/// for drafts come first.
pub(super) fn embedded_json(text: &str) -> Cow<'_, str> {
    let text = text.trim_start_matches('\u{feff}');
    let end = text.rfind(['}', ']']).map(|end| end + 1);
    if opens_json(text) {
        return Cow::Borrowed(&text[..end.unwrap_or(text.len())]);
    }
    let range = fenced_json(text).or_else(|| Some((text.find(['{', '['])?, end?)));
    match range {
        Some((start, end)) if start < end => {
            Cow::Owned(format!("{}{}", blank(&text[..start]), text[start..end].trim_end()))
        }
        _ => Cow::Borrowed(text),
    }
}

fn opens_json(text: &str) -> bool {
    text.trim_start().starts_with(['{', '['])
}

/// The bytes of the last fenced block that begins as JSON.
fn fenced_json(text: &str) -> Option<(usize, usize)> {
    const FENCE: &str = "```";
    let mut fences = text.match_indices(FENCE).map(|(offset, _)| offset);
    let mut last = None;
    let mut start = 0; // a line break; many fences may stand before the same one
    while let Some(open) = fences.next() {
        let named = open + FENCE.len();
        if start < named {
            start = named + text[named..].find('\n')?; // behind the language's name
        }
        let end = fences.next().unwrap_or(text.len());
        if start < end && opens_json(&text[start..end]) {
            last = Some((start, end));
        }
    }
    last
}

fn blank(text: &str) -> String {
    text.chars().map(|c| if c == '\n' { c } else { ' ' }).collect()
}

/// Whether a text has `"key":` somewhere.
pub(super) fn has_key(text: &str, key: &str) -> bool {
    let quoted = format!("\"{key}\"");
    text.match_indices(&quoted).any(|(offset, _)| {
        let is_escaped = text[..offset].ends_with('\\');
        !is_escaped && text[offset + quoted.len()..].trim_start().starts_with(':')
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn json_is_found_where_it_stands() {
        for (text, expected) in [
            ("[1]", "[1]"),
            (" {\"a\": 1}\n\nShall I go on?", " {\"a\": 1}"),
            ("{\"a\"", "{\"a\""),
            ("Here:\n```json\n{\"a\": 1}\n```\nDone.", "     \n       \n{\"a\": 1}"),
            ("```\n[1]\n```\nBetter:\n```\n[2]\n```", "   \n   \n   \n       \n   \n[2]"),
            ("```json\n{\"a\"", "       \n{\"a\""),
            ("This is it: {\"a\": [1]}. Good?", "            {\"a\": [1]}"),
            ("nothing }{", "nothing }{"),
            ("nothing", "nothing"),
            ("\u{feff}{}", "{}"),
        ] {
            assert_eq!(embedded_json(text), expected, "{text}");
        }
    }

    #[test]
    fn keys_are_no_texts() {
        assert!(has_key("{\"images\" : []}", "images"));
        assert!(!has_key("{\"phrase\": \"images\"}", "images"));
        assert!(!has_key(r#"{"phrase": "the words \"images\": new"}"#, "images"));
    }

    /// Searched for from every pair, the line break at the end would be found after minutes.
    #[test]
    fn fences_on_one_line_are_read_once() {
        let text = "```".repeat(1_000_000) + "\n";
        assert_eq!(embedded_json(&text), text);
    }
}
