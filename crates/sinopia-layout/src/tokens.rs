//! Finds the token positions of phrases in a prompt, by token ids at token boundaries.
//!
//! The published code searches the text of the tokens for the text of the phrase, which can match half a token, gives
//! two phrases the same tokens, and goes on past the end of what the text encoder reads. Here each phrase has its own
//! tokens or the caller gets an error.

use std::ops::Range;

use crate::error::{Error, Result};
use crate::scene::{GroundedPhrase, GroundedPrompt};

/// A prompt ready for the text encoder, with the token positions of its phrases.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LocatedPrompt {
    /// The prompt to encode: the one given, and `| phrase` for each phrase that was missing in it.
    pub text: String,
    /// One entry a phrase, in the order of the prompt's phrases.
    pub phrases: Vec<PhraseTokens>,
    /// Indices of the phrases that were appended.
    pub appended: Vec<usize>,
}

/// The tokens of one phrase; positions count the start token as 0.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PhraseTokens {
    /// Positions of all tokens of the phrase.
    pub range: Range<usize>,
    /// Position of the last token of the phrase's noun.
    pub word: usize,
}

/// The first occurrence of `phrase_ids` in `prompt_ids` that starts at `from` or later; `None` for an empty phrase.
pub fn find_phrase(prompt_ids: &[u32], phrase_ids: &[u32], from: usize) -> Option<Range<usize>> {
    if phrase_ids.is_empty() {
        return None;
    }
    let windows = prompt_ids.get(from..)?.windows(phrase_ids.len());
    let start = from + windows.into_iter().position(|window| window == phrase_ids)?;
    Some(start..start + phrase_ids.len())
}

/// Finds the tokens of every phrase of a prompt.
///
/// `encode` gives the ids of a text without start and end token; `max_length` is the number of tokens that the text
/// encoder reads with both (77 for CLIP). Longer phrases choose first and no two phrases share a token, so `a cat` is
/// not found inside `a cat bowl`. An occurrence behind the background is preferred to one inside it. A phrase without
/// an occurrence of its own is appended as `| phrase`.
///
/// # Errors
/// [`Error::PhraseWithoutTokens`], [`Error::PhraseTruncated`] if a phrase reaches position `max_length − 1` or beyond
/// (the end token takes that position), [`Error::PhraseNotFound`] if a tokenizer splits a phrase differently in every
/// prompt that holds it.
pub fn locate_phrases(
    prompt: &GroundedPrompt,
    encode: impl Fn(&str) -> Vec<u32>,
    max_length: usize,
) -> Result<LocatedPrompt> {
    let phrase_ids = encode_phrases(&prompt.phrases, &encode)?;
    let background_tokens = match prompt.text.get(..prompt.phrases_start) {
        Some(background) if !background.is_empty() => encode(background).len(),
        _ => 0,
    };
    let mut text = prompt.text.clone();
    let mut found = assign(&encode(&text), &phrase_ids, background_tokens);
    let appended: Vec<usize> = (0..found.len()).filter(|&index| found[index].is_none()).collect();
    if !appended.is_empty() {
        for &index in &appended {
            text.push_str("| ");
            text.push_str(&prompt.phrases[index].text);
        }
        found = assign(&encode(&text), &phrase_ids, background_tokens);
    }
    let phrases = prompt.phrases.iter().zip(&phrase_ids).zip(found).map(|((phrase, ids), found)| {
        let found = found.ok_or_else(|| Error::PhraseNotFound { phrase: phrase.text.clone(), prompt: text.clone() })?;
        let range = found.start + 1..found.end + 1; // behind the start token
        if range.end > max_length.saturating_sub(1) {
            return Err(Error::PhraseTruncated { phrase: phrase.text.clone(), range, max_length });
        }
        let word = range.start + word_offset(ids, &encode(&phrase.word));
        Ok(PhraseTokens { range, word })
    });
    let phrases = phrases.collect::<Result<Vec<_>>>()?;
    Ok(LocatedPrompt { text, phrases, appended })
}

impl PhraseTokens {
    /// The positions as a list, for gathering attention columns.
    pub fn positions(&self) -> Vec<usize> {
        self.range.clone().collect()
    }
}

fn encode_phrases(phrases: &[GroundedPhrase], encode: &impl Fn(&str) -> Vec<u32>) -> Result<Vec<Vec<u32>>> {
    let ids = phrases.iter().map(|phrase| match encode(&phrase.text) {
        ids if ids.is_empty() => Err(Error::PhraseWithoutTokens { phrase: phrase.text.clone() }),
        ids => Ok(ids),
    });
    ids.collect()
}

/// Gives each phrase the first run of free tokens that equals its own, longest phrases first.
fn assign(prompt_ids: &[u32], phrases: &[Vec<u32>], background_tokens: usize) -> Vec<Option<Range<usize>>> {
    let mut order: Vec<usize> = (0..phrases.len()).collect();
    order.sort_by_key(|&index| std::cmp::Reverse(phrases[index].len())); // stable
    let mut is_taken = vec![false; prompt_ids.len()];
    let mut found = vec![None; phrases.len()];
    for index in order {
        let free = |from| first_free(prompt_ids, &phrases[index], from, &is_taken);
        let range = free(background_tokens).or_else(|| free(0));
        if let Some(range) = &range {
            is_taken[range.clone()].fill(true);
        }
        found[index] = range;
    }
    found
}

fn first_free(prompt_ids: &[u32], phrase_ids: &[u32], mut from: usize, is_taken: &[bool]) -> Option<Range<usize>> {
    loop {
        let range = find_phrase(prompt_ids, phrase_ids, from)?;
        if !is_taken[range.clone()].contains(&true) {
            return Some(range);
        }
        from = range.start + 1;
    }
}

/// Place in the phrase of the first token that equals the last token of the word; else of the phrase's last token.
fn word_offset(phrase_ids: &[u32], word_ids: &[u32]) -> usize {
    let last = word_ids.last();
    phrase_ids.iter().position(|id| Some(id) == last).unwrap_or(phrase_ids.len().saturating_sub(1))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A toy tokenizer: words and marks are tokens, in lower case; words of more than five letters are two tokens.
    fn encode(text: &str) -> Vec<u32> {
        let spaced: String = text
            .to_lowercase()
            .chars()
            .flat_map(|c| if c.is_alphanumeric() { vec![c] } else { vec![' ', c, ' '] })
            .collect();
        let tokens = spaced.split_whitespace().flat_map(|word| match word.char_indices().nth(5) {
            Some((middle, _)) => vec![&word[..middle], &word[middle..]],
            None => vec![word],
        });
        tokens.map(|token| token.bytes().fold(7, |hash, byte| hash * 31 % 65_521 + u32::from(byte))).collect()
    }

    fn prompt(text: &str, phrases_start: usize, phrases: &[&str]) -> GroundedPrompt {
        let phrases = phrases.iter().map(|&phrase| GroundedPhrase {
            text: phrase.to_owned(),
            name: phrase.to_owned(),
            word: phrase.rsplit(' ').next().unwrap().to_owned(),
            bboxes: Vec::new(),
            objects: 0..0,
        });
        GroundedPrompt { text: text.to_owned(), phrases: phrases.collect(), phrases_start }
    }

    fn check(text: &str, phrases: &[&str], expected: &[(Range<usize>, usize)]) -> LocatedPrompt {
        let located = locate_phrases(&prompt(text, 0, phrases), encode, 77).unwrap();
        let found: Vec<_> = located.phrases.iter().map(|tokens| (tokens.range.clone(), tokens.word)).collect();
        assert_eq!(found, expected, "{}", located.text);
        located
    }

    #[test]
    fn phrases_are_found_behind_the_start_token() {
        let located = check("A scene with a blue dog, a cat", &["a blue dog", "a cat"], &[(4..7, 6), (8..10, 9)]);
        assert_eq!((located.text.as_str(), located.appended.len()), ("A scene with a blue dog, a cat", 0));
        assert_eq!(located.phrases[0].positions(), [4, 5, 6]);
    }

    #[test]
    fn a_phrase_is_not_found_inside_a_longer_one() {
        check("a cat bowl beside a cat", &["a cat", "a cat bowl"], &[(6..8, 7), (1..4, 3)]);
        let located = check("a cat bowl", &["a cat", "a cat bowl"], &[(5..7, 6), (1..4, 3)]);
        assert_eq!((located.text.as_str(), located.appended), ("a cat bowl| a cat", vec![0]));
    }

    #[test]
    fn a_phrase_in_the_background_is_not_taken_for_the_object() {
        let text = "A photo of a cat with a cat";
        let located = locate_phrases(&prompt(text, text.len() - "a cat".len(), &["a cat"]), encode, 77).unwrap();
        assert_eq!(located.phrases[0].range, 7..9);
    }

    #[test]
    fn equal_phrases_get_an_occurrence_each() {
        let located = check("a cat", &["a cat", "a cat"], &[(1..3, 2), (4..6, 5)]);
        assert_eq!(located.text, "a cat| a cat");
    }

    #[test]
    fn case_does_not_matter_when_the_tokenizer_ignores_it() {
        assert!(check("A Cat sleeps", &["a cat"], &[(1..3, 2)]).appended.is_empty());
    }

    #[test]
    fn the_word_is_its_last_token() {
        check("a photo of two elephants", &["two elephants"], &[(4..7, 6)]);
        assert_eq!(word_offset(&[5, 6, 6, 8], &[9, 6]), 1);
        assert_eq!(word_offset(&[5, 6, 7], &[9]), 2);
        assert_eq!(word_offset(&[5, 6, 7], &[]), 2);
    }

    #[test]
    fn a_phrase_past_the_end_is_an_error() {
        let long = format!("{} a cat", "very ".repeat(74));
        insta::assert_snapshot!(locate_phrases(&prompt(&long, 0, &["a cat"]), encode, 77).unwrap_err(), @"the phrase `a cat` takes token positions 75–76 of the prompt, but the text encoder reads 77 tokens and its last is the end token; shorten the prompt or use fewer objects");
        let fits = format!("{} a cat", "very ".repeat(73));
        assert_eq!(locate_phrases(&prompt(&fits, 0, &["a cat"]), encode, 77).unwrap().phrases[0].range, 74..76);
    }

    #[test]
    fn a_phrase_without_tokens_is_an_error() {
        assert!(matches!(
            locate_phrases(&prompt("a cat", 0, &[" "]), encode, 77),
            Err(Error::PhraseWithoutTokens { .. })
        ));
    }

    #[test]
    fn a_phrase_that_is_split_differently_everywhere_is_an_error() {
        let contextual = |text: &str| if text.contains('|') || text.contains("of") { vec![1, 2] } else { vec![3] };
        let result = locate_phrases(&prompt("photo of cat", 0, &["cat"]), contextual, 77);
        assert!(matches!(result, Err(Error::PhraseNotFound { .. })));
    }

    #[test]
    fn searching_ids() {
        assert_eq!(find_phrase(&[1, 2, 1, 2], &[1, 2], 0), Some(0..2));
        assert_eq!(find_phrase(&[1, 2, 1, 2], &[1, 2], 1), Some(2..4));
        assert_eq!(find_phrase(&[1, 2], &[1, 2], 9), None);
        assert_eq!(find_phrase(&[1, 2], &[], 0), None);
        assert_eq!(find_phrase(&[1], &[1, 2], 0), None);
    }
}
