//! The link that a phrase belongs to: the one right before it; and whether it is negated.

use super::links::LinkKind;
use super::phrase::Determiner;
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
    // `above the door hangs a lantern`: the lantern hangs, nothing is done to it.
    let head = &reading.sentence.words[reading.entries[entry].phrase.head];
    let is_subject = head.label == "nsubj" && reading.links[link].words.contains(&head.head);
    let governs = !is_subject
        && !reading.links[link].to_pronoun
        && !matches!(reading.links[link].kind, LinkKind::Position(_) | LinkKind::Copula);
    governs.then_some(link)
}

/// `no dogs`, `but not a dog`, `without dogs`, `does not have dogs`, `not on dogs`.
fn is_negated(reading: &Reading, entry: usize, link: Option<usize>) -> bool {
    let phrase = &reading.entries[entry].phrase;
    // `not only a dog`, `a not so big dog`
    let is_weak = |i: usize| {
        matches!(reading.sentence.lower(i + 1), "only" | "just")
            || reading.sentence.lower(i) == "not" && reading.sentence.before(i).is_some_and(|before| before.tag == "DT")
    };
    let negates = |i: usize| Words::embedded().has("negation", reading.sentence.lower(i)) && !is_weak(i);
    let before = word_before(reading, phrase.words.start);
    let link_negated = link.is_some_and(|link| is_link_negated(reading, link));
    phrase.determiner == Determiner::No
        || before.is_some_and(negates)
        || link_negated
        || link.is_some_and(|link| reading.links[link].kind == LinkKind::Without)
}

/// `does not wear`, `not on`, `isn't sitting on`: by the word before it, or before the verb before it.
fn is_link_negated(reading: &Reading, link: usize) -> bool {
    let start = reading.links[link].words.start;
    let verb = start.checked_sub(1).filter(|before| {
        reading.link_of_word[*before].is_some_and(|before| reading.links[before].kind == LinkKind::Verb)
    });
    reading.sentence.is_denied(start) || verb.is_some_and(|verb| reading.sentence.is_denied(verb))
}

#[cfg(test)]
mod tests {
    use crate::testing::check;

    #[test]
    fn negations_exclude() {
        check("zero cats", &["no cat"]);
        check("not only a dog but also a cat", &["1 dog", "1 cat"]);
        check("a not so big dog", &["1 dog"]);
        assert!(crate::read("a not so big dog").things[0].adjectives.is_empty());
        check("a beach with no people", &["beach", "no person"]);
        check("a spoon, not a fork", &["1 spoon", "no fork"]);
        check("no one is in the room", &["in room", "no person"]);
        check("a dog that does not wear a collar", &["1 dog", "no collar"]);
        check("a dog that is not on the sofa", &["1 dog", "no sofa"]);
        check("a dog that isn't sitting on the sofa", &["1 dog", "no sofa"]);
        check("a dog, avoid text and watermarks", &["1 dog", "no text", "no watermark"]);
        check("a cat lacking a tail", &["1 cat", "no tail"]);
    }
}
