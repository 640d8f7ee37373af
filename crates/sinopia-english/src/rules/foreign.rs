//! What is no English text: runs of other scripts, and pictures such as 🐱. The parser does not see them.

use std::ops::Range;

/// A run of letters or signs that are not read.
pub(crate) struct Run {
    pub(crate) span: Range<usize>,
    /// Whether it has letters: words of another script rather than a picture.
    pub(crate) is_word: bool,
}

/// The runs of a text, in order and apart.
pub(crate) fn find(text: &str) -> Vec<Run> {
    let mut runs: Vec<Run> = Vec::new();
    let mut is_open = false;
    for (at, letter) in text.char_indices() {
        let is_foreign = is_foreign(letter) || is_open && is_invisible(letter);
        let end = at + letter.len_utf8();
        match runs.last_mut() {
            Some(run) if is_foreign && is_open => run.span.end = end,
            _ if is_foreign => runs.push(Run { span: at..end, is_word: false }),
            _ => {}
        }
        if let Some(run) = runs.last_mut().filter(|_| is_foreign) {
            run.is_word |= letter.is_alphabetic();
        }
        is_open = is_foreign;
    }
    runs
}

fn is_foreign(letter: char) -> bool {
    let is_sign = is_invisible(letter)
        || letter.is_whitespace()
        || matches!(letter, '\u{2010}'..='\u{206f}' | '\u{20a0}'..='\u{20bf}');
    let is_read = letter < '\u{250}' || is_latin(letter) || is_sign || ascii_sign(letter).is_some();
    !is_read
}

/// Latin letters with their accents, up to the extensions of Vietnamese.
pub(crate) fn is_latin(letter: char) -> bool {
    letter.is_ascii() || matches!(letter, '\u{aa}'..='\u{24f}' | '\u{1e00}'..='\u{1eff}' | 'ﬀ'..='ﬆ' | 'Ａ'..='ｚ')
}

/// Letters that are not seen: joiners, marks of direction, soft hyphens, variation selectors.
pub(crate) fn is_invisible(letter: char) -> bool {
    matches!(letter, '\u{ad}' | '\u{200c}'..='\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2060}'..='\u{206f}' | '\u{fe00}'..='\u{fe0f}' | '\u{feff}')
}

/// The sign that a full-width one is written for.
pub(crate) fn ascii_sign(letter: char) -> Option<&'static str> {
    Some(match letter {
        '，' | '、' => ",",
        '。' | '．' | '！' | '？' => ".",
        '：' => ":",
        '；' => ";",
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    #[test]
    fn runs_are_found() {
        let runs = |text: &'static str| {
            super::find(text).into_iter().map(|run| (&text[run.span], run.is_word)).collect::<Vec<_>>()
        };
        assert_eq!(runs("猫 cat と sofa"), [("猫", true), ("と", true)]);
        assert_eq!(runs("a 🛋️ and 👩‍👧"), [("🛋️", false), ("👩‍👧", false)]);
        assert!(runs("a café – “ok” € d\u{200d}og, x，y").is_empty());
    }
}
