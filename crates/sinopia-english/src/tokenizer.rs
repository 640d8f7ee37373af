//! Words, numbers and signs of a caption, each with its bytes: the cuts that the parser was trained on.
//!
//! A word is cut at white space, then signs are taken off its ends, then endings (`'s`, `n't`), then hyphens and slashes between letters, each a token of its own.

use std::ops::Range;

use crate::rules::foreign::{ascii_sign, is_invisible};

/// A word, a number or a sign.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Token {
    /// Its bytes in the caption.
    pub span: Range<usize>,
    /// As written, without letters that are not seen; a full-width sign is the usual one.
    pub text: String,
    /// In small letters.
    pub lower: String,
    /// What a cut-off ending stands for, where it is not the ending itself: `not` for `n't`.
    pub norm: Option<&'static str>,
    /// Whether white space follows, and another token.
    pub space_after: bool,
}

/// Signs that are taken off the start of a word.
const OPENING: &str = "\"'“”‘’«([{<*#~`-–—,.;:!?…|/\\&+=_，、。．！？：；";
/// Signs that are taken off its end.
const CLOSING: &str = "\"'“”‘’»)]}>*~`-–—,.;:!?…|/\\&+=_%，、。．！？：；";
/// Signs that part a word between two letters.
const INNER: &str = "-–—/,:;()[]{}<>|\"“”*=~+…&，、。．！？：；";

const ZERO_WIDTH_SPACE: char = '\u{200b}';

/// Endings that are tokens of their own, with what they stand for.
const ENDINGS: [(&str, Option<&str>); 12] = [
    ("'s", None),
    ("’s", Some("'s")),
    ("n't", Some("not")),
    ("n’t", Some("not")),
    ("'re", Some("are")),
    ("’re", Some("are")),
    ("'ll", Some("will")),
    ("’ll", Some("will")),
    ("'ve", Some("have")),
    ("’ve", Some("have")),
    ("'m", Some("am")),
    ("’m", Some("am")),
];

/// The tokens of `text`. Bytes in `skipped` (in order, apart) are read as white space.
pub fn tokenize(text: &str, skipped: &[Range<usize>]) -> Vec<Token> {
    let mut cutter = Cutter { text, tokens: Vec::new() };
    for word in words(text, skipped) {
        cutter.word(word);
    }
    let ends: Vec<usize> = cutter.tokens.iter().map(|token| token.span.start).skip(1).collect();
    for (token, next) in cutter.tokens.iter_mut().zip(ends) {
        token.space_after = next > token.span.end;
    }
    cutter.tokens
}

/// Runs of bytes without white space and without anything that is skipped.
fn words(text: &str, skipped: &[Range<usize>]) -> Vec<Range<usize>> {
    let mut words: Vec<Range<usize>> = Vec::new();
    let mut skips = skipped.iter().peekable();
    let mut open = false;
    for (at, letter) in text.char_indices() {
        while skips.next_if(|skip| skip.end <= at).is_some() {}
        let gap = letter.is_whitespace()
            || letter.is_control()
            || letter == ZERO_WIDTH_SPACE
            || skips.peek().is_some_and(|skip| skip.contains(&at));
        match words.last_mut() {
            Some(last) if open && !gap => last.end = at + letter.len_utf8(),
            _ if !gap => words.push(at..at + letter.len_utf8()),
            _ => {}
        }
        open = !gap;
    }
    words
}

struct Cutter<'a> {
    text: &'a str,
    tokens: Vec<Token>,
}

impl Cutter<'_> {
    fn word(&mut self, mut word: Range<usize>) {
        while let Some(sign) = self.text[word.clone()].chars().next().filter(|&sign| OPENING.contains(sign)) {
            // A sign before a digit belongs to the number (`.5`), an apostrophe before letters may be an ending (`'s`).
            if is_ending(&self.text[word.clone()]) || word.len() == sign.len_utf8() {
                break;
            }
            self.push(word.start..word.start + sign.len_utf8(), None);
            word.start += sign.len_utf8();
        }
        let mut closing = Vec::new();
        while let Some(sign) = self.text[word.clone()].chars().next_back().filter(|&sign| CLOSING.contains(sign)) {
            if word.len() == sign.len_utf8() || self.is_short_form(&word) {
                break;
            }
            closing.push(word.end - sign.len_utf8()..word.end);
            word.end -= sign.len_utf8();
        }
        self.endings(word);
        for sign in closing.into_iter().rev() {
            self.push(sign, None);
        }
    }

    /// `a.m.`, `e.g.`, `mr.`: the full stop belongs to it.
    fn is_short_form(&self, word: &Range<usize>) -> bool {
        let lower = self.text[word.clone()].to_lowercase();
        let pairs =
            lower.as_bytes().chunks(2).all(|pair| pair.len() == 2 && pair[0].is_ascii_alphabetic() && pair[1] == b'.');
        pairs && lower.len() >= 4 || matches!(lower.as_str(), "mr." | "mrs." | "ms." | "dr." | "st." | "vs.")
    }

    fn endings(&mut self, word: Range<usize>) {
        let lower = self.text[word.clone()].to_lowercase();
        if lower == "cannot" {
            self.push(word.start..word.start + 3, None);
            self.push(word.start + 3..word.end, None);
            return;
        }
        let found = ENDINGS.iter().find(|(ending, _)| lower.ends_with(ending));
        match found {
            Some((ending, norm))
                if word.len() > ending.len() && self.text.is_char_boundary(word.end - ending.len()) =>
            {
                let cut = word.end - ending.len();
                self.inner(word.start..cut);
                self.push(cut..word.end, *norm);
            }
            _ => self.inner(word),
        }
    }

    /// Parts at signs between letters. `t-shirt` and `1,000` stay whole: the one is one word to a reader, the other a number.
    fn inner(&mut self, word: Range<usize>) {
        let text = &self.text[word.clone()];
        let mut start = word.start;
        let mut letters = text.char_indices().peekable();
        let mut before: Option<char> = None;
        while let Some((at, letter)) = letters.next() {
            let after = letters.peek().map(|(_, letter)| *letter);
            let at = word.start + at;
            if parts(before, letter, after) && !is_whole(text) {
                self.push(start..at, None);
                self.push(at..at + letter.len_utf8(), None);
                start = at + letter.len_utf8();
            }
            before = Some(letter);
        }
        self.push(start..word.end, None);
    }

    fn push(&mut self, span: Range<usize>, norm: Option<&'static str>) {
        if span.is_empty() {
            return;
        }
        let mut text = self.text[span.clone()].to_owned();
        if !text.is_ascii() {
            text = visible(&text);
        }
        if text.is_empty() {
            return;
        }
        let lower = text.to_lowercase();
        self.tokens.push(Token { span, text, lower, norm, space_after: false });
    }
}

fn visible(text: &str) -> String {
    let mut letters = text.chars();
    if let (Some(sign), None) = (letters.next().and_then(ascii_sign), letters.next()) {
        return sign.to_owned();
    }
    text.chars().filter(|letter| !is_invisible(*letter)).collect()
}

fn is_ending(word: &str) -> bool {
    let lower = word.to_lowercase();
    ENDINGS.iter().any(|(ending, _)| *ending == lower)
}

/// Whether `sign` parts the word between its two neighbours.
fn parts(before: Option<char>, sign: char, after: Option<char>) -> bool {
    let (Some(before), Some(after)) = (before, after) else { return false };
    match sign {
        ',' | ':' | '/' if before.is_ascii_digit() && after.is_ascii_digit() => false,
        '-' | '–' | '—' => before.is_alphanumeric() && after.is_alphanumeric(),
        _ => INNER.contains(sign),
    }
}

/// Words with a hyphen that the parser knows whole.
fn is_whole(word: &str) -> bool {
    matches!(word.to_lowercase().as_str(), "t-shirt" | "t-shirts" | "x-ray" | "e-mail" | "o'clock")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(text: &str, expected: &str) {
        let tokens = tokenize(text, &[]);
        let found: Vec<&str> = tokens.iter().map(|token| &text[token.span.clone()]).collect();
        assert_eq!(found.join(" "), expected);
        assert!(tokens.iter().all(|token| token.text == text[token.span.clone()]));
    }

    #[test]
    fn signs_are_tokens() {
        check("a cat, a dog.", "a cat , a dog .");
        check("sign (\"OPEN\")", "sign ( \" OPEN \" )");
        check("a red,blue flag", "a red , blue flag");
    }

    #[test]
    fn what_is_not_seen_is_not_read() {
        let texts = |text: &str| tokenize(text, &[]).into_iter().map(|token| token.text).collect::<Vec<_>>();
        assert_eq!(texts("a d\u{200d}og，a\u{200b}cat\u{feff} \u{200d}"), ["a", "dog", ",", "a", "cat"]);
    }

    #[test]
    fn endings_are_tokens() {
        check("the bird's nest isn't big", "the bird 's nest is n't big");
        check("the boys' ball", "the boys ' ball");
        check("it’s", "it ’s");
        check("cannot", "can not");
    }

    #[test]
    fn hyphens_part_words_but_not_numbers() {
        check("snow-capped t-shirt", "snow - capped t-shirt");
        check("1,000 16:9 3.5", "1,000 16:9 3.5");
        check("-", "-");
        check("--", "- -");
    }

    #[test]
    fn spaces_are_told_and_skipped_bytes_are_spaces() {
        let tokens = tokenize("a  b<x>c", std::slice::from_ref(&(4..7)));
        let found: Vec<(&str, bool)> = tokens.iter().map(|token| (token.text.as_str(), token.space_after)).collect();
        assert_eq!(found, [("a", true), ("b", true), ("c", false)]);
    }
}
