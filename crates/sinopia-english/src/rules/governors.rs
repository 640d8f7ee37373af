//! The link that a phrase belongs to: the one right before it; and whether it is negated.

use super::links::LinkKind;
use super::phrases::Determiner;
use crate::reading::{Reading, Role};
use crate::words::Words;

/// Finds the link before each phrase, and negations.
pub(crate) fn find(reading: &mut Reading) {
    for entry in 0..reading.entries.len() {
        if reading.entries[entry].role == Role::None {
            continue;
        }
        let link = link_before(reading, entry);
        reading.entries[entry].governor = link;
        reading.entries[entry].is_negated = is_negated(reading, entry, link);
    }
}

/// The word before a phrase, adverbs left out.
fn word_before(reading: &Reading, start: usize) -> Option<usize> {
    let is_passed = |i: &usize| {
        let word = &reading.sentence.words[*i];
        word.tag.starts_with("RB")
            && reading.link_of_word[*i].is_none()
            && !Words::embedded().has("negation", word.lower())
            || matches!(word.lower(), "both" | "even")
    };
    (0..start).rev().take(4).find(|i| !is_passed(i))
}

fn link_before(reading: &Reading, entry: usize) -> Option<usize> {
    let before = word_before(reading, reading.entries[entry].phrase.words.start)?;
    let link = reading.link_of_word[before]?;
    let governs = !reading.links[link].to_pronoun
        && !matches!(reading.links[link].kind, LinkKind::Position(_) | LinkKind::Copula);
    governs.then_some(link)
}

/// `no dogs`, `but not a dog`, `without dogs`, `does not have dogs`.
fn is_negated(reading: &Reading, entry: usize, link: Option<usize>) -> bool {
    let phrase = &reading.entries[entry].phrase;
    let negates = |i: usize| Words::embedded().has("negation", reading.sentence.lower(i));
    let before = word_before(reading, phrase.words.start);
    let link_negated = link.is_some_and(|link| {
        let start = reading.links[link].words.start;
        reading.sentence.words[start].is_verb()
            && start > 0
            && matches!(reading.sentence.lower(start - 1), "not" | "n't" | "n’t" | "never")
    });
    phrase.determiner == Determiner::No
        || before.is_some_and(negates)
        || link_negated
        || link.is_some_and(|link| reading.links[link].kind == LinkKind::Without)
}

#[cfg(test)]
mod tests {
    use crate::testing::check;

    #[test]
    fn negations_exclude() {
        check("a beach with no people", &["beach", "no person"]);
        check("a spoon, not a fork", &["1 spoon", "no fork"]);
        check("a dog that does not wear a collar", &["1 dog", "no collar"]);
    }
}
