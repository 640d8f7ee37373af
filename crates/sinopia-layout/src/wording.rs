//! The beginning of a text that is too long to show.

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
}
