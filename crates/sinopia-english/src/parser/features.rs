//! What the network is told of a token: ids of its norm, its ends and its shape, and whether a space follows.

use std::collections::HashMap;

use super::hash;
use crate::tokenizer::Token;

/// The six ids that the embedding tables are asked for.
pub(super) struct Features([u64; 6]);

impl Features {
    pub(super) fn of(token: &Token, names: &Vocabulary) -> Self {
        let letters: Vec<char> = token.text.chars().collect();
        let prefix: String = letters.iter().take(1).collect();
        let suffix: String = letters[letters.len().saturating_sub(3)..].iter().collect();
        let norm = names.norm(token);
        let ids = [norm, &prefix, &suffix, &shape(&letters)].map(|text| names.id(text));
        Self([ids[0], ids[1], ids[2], ids[3], u64::from(token.space_after), 0])
    }

    pub(super) fn ids(&self) -> [u64; 6] {
        self.0
    }
}

/// Letters as `X` or `x`, digits as `d`; of a run of one kind the first four are kept.
fn shape(letters: &[char]) -> String {
    let mut shape = String::new();
    let (mut last, mut run) = (None, 0);
    for &letter in letters {
        let kind = match letter {
            _ if letter.is_alphabetic() && letter.is_uppercase() => 'X',
            _ if letter.is_alphabetic() => 'x',
            _ if letter.is_ascii_digit() => 'd',
            other => other,
        };
        run = if last == Some(kind) { run + 1 } else { 0 };
        last = Some(kind);
        if run < 4 {
            shape.push(kind);
        }
    }
    shape
}

/// Strings with an id or a norm of their own.
pub(super) struct Vocabulary {
    symbols: HashMap<&'static str, u64>,
    /// By the word's id.
    norms: HashMap<u64, &'static str>,
}

impl Vocabulary {
    /// Rows of two columns: a string and its id, the id of a word and its norm.
    pub(super) fn read(symbols: &'static str, norms: &'static str) -> Self {
        let rows = |text: &'static str| text.lines().filter_map(|line| line.split_once('\t'));
        Self {
            symbols: rows(symbols).filter_map(|(name, id)| Some((name, id.parse().ok()?))).collect(),
            norms: rows(norms).filter_map(|(id, norm)| Some((id.parse().ok()?, norm))).collect(),
        }
    }

    fn id(&self, text: &str) -> u64 {
        if text.is_empty() {
            return 0;
        }
        self.symbols.get(text).copied().unwrap_or_else(|| hash::string_id(text))
    }

    fn norm<'a>(&'a self, token: &'a Token) -> &'a str {
        let own = token.norm.or_else(|| self.norms.get(&self.id(&token.text)).copied());
        own.unwrap_or(&token.lower)
    }
}
