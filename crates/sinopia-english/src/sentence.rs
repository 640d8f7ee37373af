//! The words of a caption with what the parser says of them, and small questions to them that all rules share.

use std::ops::Range;

use crate::nouns::Nouns;
use crate::parser::Parser;
use crate::tokenizer::{Token, tokenize};
use crate::words::{LONGEST, Words};

/// A token with its place in the tree.
#[derive(Debug)]
pub(crate) struct Word {
    pub(crate) token: Token,
    pub(crate) tag: &'static str,
    pub(crate) head: usize,
    pub(crate) label: &'static str,
    /// In small letters, a noun in the singular.
    pub(crate) singular: String,
    /// Whether a command stands before it: a bracket, a weight.
    pub(crate) after_gap: bool,
}

impl Word {
    pub(crate) fn lower(&self) -> &str {
        &self.token.lower
    }

    pub(crate) fn is_noun(&self) -> bool {
        self.tag.starts_with("NN")
    }

    pub(crate) fn is_plural(&self) -> bool {
        matches!(self.tag, "NNS" | "NNPS")
    }

    pub(crate) fn is_verb(&self) -> bool {
        self.tag.starts_with("VB")
    }

    pub(crate) fn is_adjective(&self) -> bool {
        self.tag.starts_with("JJ") || self.tag == "AFX"
    }

    /// `,` `;` `.` `:` and other signs between phrases, but no hyphen.
    pub(crate) fn is_break(&self) -> bool {
        matches!(self.tag, "," | "." | ":" | "NFP" | "-LRB-" | "-RRB-") && self.lower() != "-"
            || matches!(self.lower(), "," | ";" | "." | ":" | "|" | "!" | "?" | "—" | "–")
    }
}

/// The words of a caption.
pub(crate) struct Sentence {
    pub(crate) words: Vec<Word>,
}

impl Sentence {
    /// Cuts and parses `text` without the bytes of `skipped`.
    pub(crate) fn parse(text: &str, skipped: &[Range<usize>]) -> Self {
        let tokens = tokenize(text, skipped);
        let parsed = Parser::embedded().parse(&tokens);
        let words = tokens.into_iter().zip(parsed).map(|(token, parsed)| {
            let singular = token.lower.clone();
            Word { token, tag: parsed.tag, head: parsed.head, label: parsed.label, singular, after_gap: false }
        });
        let mut words: Vec<Word> = words.collect();
        for skip in skipped {
            let after = words.partition_point(|word| word.token.span.start < skip.end);
            if let Some(word) = words.get_mut(after) {
                word.after_gap = true;
            }
        }
        Self { words }
    }

    pub(crate) fn len(&self) -> usize {
        self.words.len()
    }

    pub(crate) fn get(&self, i: usize) -> Option<&Word> {
        self.words.get(i)
    }

    /// In small letters; empty beyond the end.
    pub(crate) fn lower(&self, i: usize) -> &str {
        self.get(i).map_or("", Word::lower)
    }

    pub(crate) fn before(&self, i: usize) -> Option<&Word> {
        i.checked_sub(1).and_then(|i| self.get(i))
    }

    /// The longest entry of the list under `kind` that begins at word `i`: how many words, and its value.
    pub(crate) fn listed(&self, kind: &'static str, i: usize) -> Option<(usize, &'static str)> {
        let longest = LONGEST.min(self.len() - i.min(self.len()));
        (1..=longest).rev().find_map(|len| Some((len, Words::embedded().get(kind, &self.joined(i..i + len))?)))
    }

    /// Whether a participle describes the noun behind it: `hiking boots`, `a burning castle`. Behind a noun it does so only where WordNet knows it (`ice skating rink`); else it is what
    /// that noun does (`a chef cooking pasta`), whatever the parser thinks.
    pub(crate) fn is_adjectival(&self, i: usize) -> bool {
        let word = &self.words[i];
        let nouns = Nouns::embedded();
        let is_known = |before: &Word| {
            let after = self.get(i + 1).map_or("", |next| next.singular.as_str());
            nouns.contains(&format!("{} {}", before.lower(), word.lower()))
                || nouns.contains(&format!("{} {after}", word.lower()))
        };
        let follows_noun = self.before(i).filter(|before| before.is_noun());
        // `a pair of reading glasses`
        if word.tag == "VBG"
            && self.before(i).is_some_and(|before| matches!(before.tag, "DT" | "CD" | "IN" | "PRP$" | "JJ"))
        {
            let after = self.get(i + 1).filter(|next| next.is_noun());
            let compound = |noun: &str| nouns.contains(&format!("{} {noun}", word.lower()));
            if after.is_some_and(|after| compound(&after.singular) || compound(after.lower())) {
                return true;
            }
        }
        if self.describes_what_follows(i) {
            return true;
        }
        matches!(word.tag, "VBN" | "VBG")
            && matches!(word.label, "amod" | "compound" | "nmod")
            && word.head > i
            && follows_noun.is_none_or(is_known)
    }

    /// `with glowing blue eyes`, `a sleeping grey cat`: a participle behind `with` or an article and before adjectives with a noun.
    fn describes_what_follows(&self, i: usize) -> bool {
        let opens =
            self.before(i).is_some_and(|before| before.lower() == "with" || matches!(before.tag, "DT" | "PRP$"));
        let noun = self.words[i + 1..].iter().find(|word| !word.is_adjective());
        self.words[i].tag == "VBG" && opens && noun.is_some_and(Word::is_noun)
    }

    /// Whether `not` or `never` stands before a word, over adverbs: `is not very red`; `not only` denies nothing.
    pub(crate) fn is_denied(&self, i: usize) -> bool {
        let is_not = |word: &Word| matches!(word.lower(), "not" | "n't" | "n’t" | "never" | "neither" | "nor");
        let passed = |at: &usize| self.words[*at].tag.starts_with("RB") && !is_not(&self.words[*at]);
        let before = (0..i).rev().take(3).find(|at| !passed(at));
        before.is_some_and(|at| is_not(&self.words[at]) && !matches!(self.lower(at + 1), "only" | "just" | "far"))
    }

    /// In small letters with single spaces.
    pub(crate) fn joined(&self, words: Range<usize>) -> String {
        let words: Vec<&str> = self.words[words].iter().map(Word::lower).collect();
        words.join(" ")
    }

    /// As written, but without the commands among the words.
    pub(crate) fn text(&self, words: Range<usize>) -> String {
        let mut text = String::new();
        for word in &self.words[words] {
            text.push_str(&word.token.text);
            text.push_str(if word.token.space_after { " " } else { "" });
        }
        text.trim_end().to_owned()
    }

    /// Bytes from the first to the last of some words.
    pub(crate) fn span(&self, words: &Range<usize>) -> Range<usize> {
        match (self.get(words.start), words.end.checked_sub(1).and_then(|last| self.get(last))) {
            (Some(first), Some(last)) if words.start < words.end => first.token.span.start..last.token.span.end,
            _ => 0..0,
        }
    }
}

/// The singular of a plural noun: an irregular one of the list, else the first regular form that WordNet has, else what the commonest rule gives.
pub(crate) fn singular(plural: &str) -> String {
    if let Some(irregular) = Words::embedded().get("plural", plural) {
        return irregular.to_owned();
    }
    let nouns = Nouns::embedded();
    let stem = |ending: &str, with: &str| plural.strip_suffix(ending).map(|stem| format!("{stem}{with}"));
    // `cookies`, `pies` before `berries`
    let of_ie = stem("s", "").filter(|form| form.ends_with("ie") && nouns.contains(form));
    if let Some(of_ie) = of_ie {
        return of_ie;
    }
    let forms =
        [stem("ies", "y"), stem("ves", "f"), stem("ves", "fe"), stem("men", "man"), stem("s", ""), stem("es", "")];
    let known = forms.iter().flatten().find(|form| form.len() > 1 && nouns.contains(form));
    match known {
        Some(known) => known.clone(),
        None if plural.ends_with("ss") => plural.to_owned(),
        None => {
            let regular = stem("ies", "y").or_else(|| stem("s", "")).filter(|form| !form.is_empty());
            regular.unwrap_or_else(|| plural.to_owned())
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn plurals_have_singulars() {
        for (plural, one) in [
            ("cherries", "cherry"),
            ("cookies", "cookie"),
            ("boxes", "box"),
            ("wolves", "wolf"),
            ("firemen", "fireman"),
            ("people", "person"),
            ("glasses", "glass"),
            ("buses", "bus"),
            ("xyzzies", "xyzzy"),
            ("s", "s"),
        ] {
            assert_eq!(singular(plural), one);
        }
    }
}
