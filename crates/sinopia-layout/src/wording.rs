//! Words for messages: long texts in short, numbers of things, numbers with few digits.

use std::borrow::Cow;

/// `text` if it has at most `max_chars` characters, else its beginning and `…`, together that many.
///
/// Captions and phrases come from people and language models: a message that repeats one must not grow with it.
pub fn excerpt(text: &str, max_chars: usize) -> Cow<'_, str> {
    match text.char_indices().nth(max_chars) {
        None => Cow::Borrowed(text),
        Some(_) => {
            let kept: String = text.chars().take(max_chars.saturating_sub(1)).collect();
            Cow::Owned(format!("{}…", kept.trim_end()))
        }
    }
}

/// `1 step`, `2 steps`.
pub fn counted(count: usize, thing: &str) -> String {
    if count == 1 { format!("1 {thing}") } else { format!("{count} {thing}s") }
}

/// A number as short as it can be read back: `1e308` and not three hundred digits, `5` and not `5.0`.
pub fn brief(number: f64) -> String {
    let text = format!("{number:?}");
    text.strip_suffix(".0").map(str::to_owned).unwrap_or(text)
}

/// Whether there is more than white space and punctuation, so that something is named.
pub fn says_something(text: &str) -> bool {
    let says_nothing = |c: char| {
        c.is_whitespace()
            || c.is_control()
            || c.is_ascii_punctuation()
            || matches!(c, '¡' | '§' | '«' | '·' | '»' | '¿' | '\u{200b}'..='\u{206f}' | '\u{3001}'..='\u{3011}')
    };
    !text.chars().all(says_nothing)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn long_texts_are_cut_by_characters() {
        assert_eq!(excerpt("fünf!", 5), "fünf!");
        assert_eq!(excerpt("fünf Äpfel", 7), "fünf Ä…");
        assert_eq!(excerpt("fünf Äpfel", 6), "fünf…");
        assert_eq!(excerpt("ab", 0), "…");
        assert_eq!(excerpt("", 0), "");
    }

    #[test]
    fn things_are_counted_and_numbers_are_brief() {
        assert_eq!([counted(0, "step"), counted(1, "step"), counted(2, "step")], ["0 steps", "1 step", "2 steps"]);
        assert_eq!([5.0, -0.25, 1e308, 1e-300].map(brief), ["5", "-0.25", "1e308", "1e-300"]);
        assert_eq!(brief(f64::NAN), "NaN");
    }

    #[test]
    fn punctuation_says_nothing() {
        for nothing in ["", " \t", "...", "?!", "–—…", "。、", "\u{200b}"] {
            assert!(!says_something(nothing), "{nothing:?}");
        }
        for something in ["a", "犬", "7", "🐶", "C++", "é"] {
            assert!(says_something(something), "{something:?}");
        }
    }
}
