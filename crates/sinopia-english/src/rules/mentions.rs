//! A thing that is named again: `a cat … the cat is black`, `a golden retriever … the dog`, `a red car and a blue car … the red car`.

use super::phrase::Determiner;
use crate::nouns::{NounClass, Nouns};
use crate::reading::{Reading, Role};
use crate::words::Words;

/// Most phrases that a name looks back over.
const REACH: usize = 40;

/// What was named before and is meant again by a phrase with `the`, `this`, `his`.
pub(crate) fn named_before(reading: &Reading, entry: usize) -> Option<usize> {
    let phrase = &reading.entries[entry].phrase;
    let is_definite = matches!(
        reading.sentence.lower(phrase.words.start),
        "the" | "this" | "that" | "these" | "those" | "its" | "his" | "her" | "their" | "both"
    ) || is_each(reading, entry);
    if phrase.is_pronoun || phrase.lender.is_some() {
        return None;
    }
    if let Some(before) = apposition(reading, entry) {
        return Some(before);
    }
    if !is_definite {
        return None;
    }
    let said = adjectives(reading, entry);
    let candidates = (entry.saturating_sub(REACH)..entry).rev().filter(|before| has_name(reading, *before, entry));
    let mut fitting = candidates.filter_map(|before| Some((shared(reading, before, entry, &said)?, before)));
    // Of two cats the one that shares its adjectives; `max_by_key` would take the first of equals.
    let first = fitting.next()?;
    let best = fitting.fold(first, |best, found| if found.0 > best.0 { found } else { best });
    Some(best.1)
}

/// `the singer, a woman in a dress, …`, `a boy and a girl, her grandchildren, …`: right behind its comma, and of the same class.
fn apposition(reading: &Reading, entry: usize) -> Option<usize> {
    let phrase = &reading.entries[entry].phrase;
    let before = entry.checked_sub(1)?;
    let named = &reading.entries[before];
    let comma = reading.end_of(before);
    let is_behind = reading.sentence.lower(comma) == "," && phrase.words.start == comma + 1;
    let is_person = phrase.class == NounClass::Person && named.phrase.class == NounClass::Person;
    let is_somebodys = phrase.determiner == Determiner::Possessive && reading.sentence.lower(phrase.words.end) == ",";
    let head = &reading.sentence.words[phrase.head];
    let is_said = head.label == "appos"
        && reading.entry_of_word[head.head] == Some(before)
        && phrase.determiner == Determiner::Indefinite
        && matches!(reading.sentence.lower(named.phrase.words.start), "the" | "his" | "her")
        && (phrase.count.max > 1) == (named.phrase.count.max > 1);
    (is_behind && is_person && named.role == Role::Thing && (is_somebodys || is_said)).then_some(before)
}

/// Adjectives and colours of a phrase, in small letters.
fn adjectives(reading: &Reading, entry: usize) -> Vec<&str> {
    let phrase = &reading.entries[entry].phrase;
    let words = phrase.modifiers().map(|i| &reading.sentence.words[i]);
    words
        .filter(|word| word.is_adjective() || Words::embedded().has("colour", word.lower()))
        .map(|word| word.lower())
        .collect()
}

/// How many adjectives the two share; nothing where they cannot be the same.
fn shared(reading: &Reading, before: usize, entry: usize, said: &[&str]) -> Option<usize> {
    let known = adjectives(reading, before);
    let is_colour = |word: &&&str| Words::embedded().has("colour", word);
    let is_new_colour = said.iter().filter(is_colour).any(|colour| !known.contains(colour));
    let clashes = is_new_colour && known.iter().any(|word| is_colour(&word));
    let shared = said.iter().filter(|word| known.contains(*word)).count();
    // `the small dog and the big dog` are two, in one sentence.
    let is_apart = reading.sentence_of(before) != reading.sentence_of(entry);
    let may_describe = said.is_empty() || shared > 0 || is_apart;
    (!clashes && may_describe).then_some(shared)
}

/// `each plate` after `three plates`.
fn is_each(reading: &Reading, entry: usize) -> bool {
    matches!(reading.sentence.lower(reading.entries[entry].phrase.words.start), "each" | "every")
}

fn has_name(reading: &Reading, before: usize, entry: usize) -> bool {
    let (named, again) = (&reading.entries[before], &reading.entries[entry].phrase);
    let has_role = matches!(named.role, Role::Thing | Role::Place | Role::Worn | Role::Had);
    if !has_role || named.phrase.is_pronoun || named.is_negated {
        return false;
    }
    let phrase = &named.phrase;
    let is_wall = again.name == "wall"; // `the walls are red, a clock hangs on the wall`
    let number_fits = is_wall
        || is_each(reading, entry) && phrase.count.max > 1
        || if again.count.is_written && again.determiner == Determiner::Number {
            again.count == phrase.count
        } else {
            (again.count.max > 1) == (phrase.count.max > 1)
        };
    let first = &phrase.name;
    let is_end_of = |long: &str, short: &str| {
        long == short || long.strip_suffix(short).is_some_and(|start| start.ends_with([' ', '-']))
    };
    number_fits
        && (is_end_of(first, &again.name)
            || is_end_of(&again.name, first)
            || is_kind_of(phrase.class, first, &again.name))
}

/// `the dog` of a corgi, `the animal`, `the vehicle`.
pub(crate) fn is_kind_of(class: NounClass, noun: &str, general: &str) -> bool {
    let head = noun.rsplit(' ').next().unwrap_or(noun);
    let of_class = match class {
        NounClass::Person => matches!(general, "person" | "figure" | "individual" | "subject"),
        NounClass::Animal => matches!(general, "animal" | "creature" | "subject" | "figure"),
        NounClass::Vehicle => general == "vehicle",
        NounClass::Building => matches!(general, "building" | "structure"),
        NounClass::Food => matches!(general, "dish" | "meal"),
        _ => false,
    };
    let nouns = Nouns::embedded();
    let is_above =
        |noun: &str| nouns.contains(noun) && nouns.hypernyms(noun, class).take(6).any(|above| above == general);
    let can_be_above = matches!(
        class,
        NounClass::Animal
            | NounClass::Person
            | NounClass::Vehicle
            | NounClass::Food
            | NounClass::Plant
            | NounClass::Building
    );
    of_class || can_be_above && (is_above(noun) || is_above(head))
}

#[cfg(test)]
mod tests {
    use crate::testing::check;

    #[test]
    fn what_is_named_again_is_the_same() {
        check("A cat sits on a chair. The cat is black. The chair is wooden.", &["1 cat", "1 chair", "cat On chair"]);
        check("A golden retriever runs. The dog chases a ball.", &["1 retriever", "1 ball", "retriever Action ball"]);
        check(
            "A red car and a blue car. The blue car is in front of a house.",
            &["1 car", "1 car", "1 house", "car InFrontOf house"],
        );
        check("The walls are yellow. A clock hangs on the wall.", &["2-5 wall", "1 clock", "clock On wall"]);
        check("A young woman wears a dress. The dress is green.", &["1 woman", "woman wears green dress"]);
    }

    #[test]
    fn others_are_others() {
        check("the small dog and the big dog", &["1 dog", "1 dog"]);
        check("the red car and the blue car", &["1 car", "1 car"]);
    }
}
