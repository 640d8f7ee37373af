//! A caption while it is read: its words, links and phrases, and what the rules have found out of them so far.

use crate::analysis::Language;
use crate::rules::links::{Link, LinkKind};
use crate::rules::phrase::Phrase;
use crate::sentence::{Sentence, Word};

/// Most phrases of a list that share their links. Every pair of two such lists is a relation.
const LONGEST_LIST: usize = 24;

/// What a phrase is in the picture.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Role {
    Thing,
    Place,
    Weather,
    Time,
    Style,
    Excluded,
    /// Belongs to another phrase; see [`Entry::owner`].
    Worn,
    Had,
    Description,
    /// What somebody does rather than what is seen: `football`, `a nap`.
    Deed,
    /// Said by another phrase, or nothing to be drawn.
    None,
    /// Nothing to be drawn as far as the rules know.
    Unknown,
}

/// A phrase and what is known of it.
#[derive(Debug, Clone)]
pub(crate) struct Entry {
    pub(crate) phrase: Phrase,
    pub(crate) role: Role,
    /// The link before it.
    pub(crate) governor: Option<usize>,
    /// The phrase before it in a list that it goes on: `and`, a comma.
    pub(crate) joined: Option<usize>,
    /// The thing that a part belongs to.
    pub(crate) owner: Option<usize>,
    /// What a pronoun stands for.
    pub(crate) stands_for: Vec<usize>,
    /// The phrase behind its `of`, which is no phrase of its own.
    pub(crate) contents: Option<usize>,
    /// What holds it, where this phrase took the place of `a row of`.
    pub(crate) group: Option<usize>,
    /// The phrases that tell its members apart, and itself if some are left: `two dogs, one black and one white`.
    pub(crate) members: Vec<usize>,
    /// The plural that it is of.
    pub(crate) member_of: Option<usize>,
    /// Whether its members take its place altogether.
    pub(crate) is_replaced: bool,
    /// Whether it was negated from afar: `but not a dog`.
    pub(crate) is_negated: bool,
}

/// All of it.
pub(crate) struct Reading {
    pub(crate) sentence: Sentence,
    pub(crate) links: Vec<Link>,
    pub(crate) entries: Vec<Entry>,
    /// For each word its phrase.
    pub(crate) entry_of_word: Vec<Option<usize>>,
    /// For each word its link.
    pub(crate) link_of_word: Vec<Option<usize>>,
    /// For each word the number of its sentence.
    sentence_of_word: Vec<usize>,
    pub(crate) language: Language,
}

impl Reading {
    pub(crate) fn new(sentence: Sentence, links: Vec<Link>, phrases: Vec<Phrase>, language: Language) -> Self {
        let mut entry_of_word = vec![None; sentence.len()];
        for (i, phrase) in phrases.iter().enumerate() {
            entry_of_word[phrase.words.clone()].fill(Some(i));
        }
        let mut link_of_word = vec![None; sentence.len()];
        for (i, link) in links.iter().enumerate() {
            link_of_word[link.words.clone()].fill(Some(i));
        }
        let entry = |phrase| Entry {
            phrase,
            role: Role::Unknown,
            governor: None,
            joined: None,
            owner: None,
            stands_for: Vec::new(),
            contents: None,
            group: None,
            members: Vec::new(),
            member_of: None,
            is_replaced: false,
            is_negated: false,
        };
        let entries = phrases.into_iter().map(entry).collect();
        let mut ended = 0;
        let number = |word: &Word| {
            let number = ended;
            ended += usize::from(matches!(word.lower(), "." | "!" | "?"));
            number
        };
        let sentence_of_word = sentence.words.iter().map(number).collect();
        Self { sentence, links, entries, entry_of_word, link_of_word, sentence_of_word, language }
    }

    /// The number of the sentence that a phrase stands in.
    pub(crate) fn sentence_of(&self, entry: usize) -> usize {
        self.sentence_of_word(self.entries[entry].phrase.words.start)
    }

    /// The number of the sentence that a word stands in.
    pub(crate) fn sentence_of_word(&self, word: usize) -> usize {
        self.sentence_of_word.get(word).copied().unwrap_or_default()
    }

    /// The kind of the link before a phrase.
    pub(crate) fn governor_kind(&self, entry: usize) -> Option<LinkKind> {
        self.entries[entry].governor.map(|link| self.links[link].kind)
    }

    /// The link that begins right after a phrase and what its `of` holds.
    pub(crate) fn link_after(&self, entry: usize) -> Option<usize> {
        let end = self.end_of(entry);
        let adverb =
            self.sentence.get(end).is_some_and(|word| word.tag.starts_with("RB") || matches!(word.tag, "WDT" | "WP"));
        self.link_of_word.get(end + usize::from(adverb)).copied().flatten()
    }

    /// Whether the links right behind a phrase lead to a pronoun: `a book with a pen lying on it`, `a fork to its left`. Such a phrase has a place of its own.
    pub(crate) fn refers_back(&self, entry: usize) -> bool {
        let Some(mut link) = self.link_after(entry) else { return false };
        // a verb, then a preposition
        if let Some(next) = self.link_of_word.get(self.links[link].words.end).copied().flatten() {
            link = next;
        }
        let end = self.links[link].words.end;
        let pronoun =
            |entry: usize| self.entries[entry].phrase.is_pronoun && self.entries[entry].phrase.words.start == end;
        self.links[link].to_pronoun || self.entry_of_word.get(end).copied().flatten().is_some_and(pronoun)
    }

    /// The word after a phrase and what its `of` holds.
    pub(crate) fn end_of(&self, entry: usize) -> usize {
        let last = self.entries[entry].contents.unwrap_or(entry);
        self.entries[last].phrase.words.end
    }

    /// Itself, the thing that it is a part of, or what it stands for.
    pub(crate) fn whole(&self, mut entry: usize) -> usize {
        for _ in 0..4 {
            let of = &self.entries[entry];
            match of.owner.or_else(|| of.stands_for.first().copied()) {
                Some(owner) if owner != entry => entry = owner,
                _ => break,
            }
        }
        entry
    }

    /// The phrase and those before it in its list.
    pub(crate) fn list_to(&self, entry: usize) -> Vec<usize> {
        let mut list = vec![entry];
        let mut at = entry;
        while let Some(before) = self.entries[at].joined.filter(|_| list.len() < LONGEST_LIST) {
            list.push(before);
            at = before;
        }
        list.reverse();
        list
    }

    /// Whether a phrase can be the left end of a link.
    pub(crate) fn can_be_subject(&self, entry: usize) -> bool {
        let entry = &self.entries[entry];
        let has_role = matches!(entry.role, Role::Thing | Role::Place | Role::Unknown | Role::Worn | Role::Had);
        !entry.stands_for.is_empty() || !entry.phrase.is_pronoun && has_role
    }
}
