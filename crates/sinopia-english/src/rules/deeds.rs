//! What a thing does without another one: `a cat sleeping`, `a bird flies over a house`, `children playing football`. With another thing it is a relation.

use std::ops::Range;

use super::links::LinkKind;
use super::subjects;
use crate::analysis::{Certainty, RelationKind};
use crate::reading::{Reading, Role};
use crate::verbs::participle;
use crate::words::Words;

/// Most deeds that are told of one caption's phrases by one verb.
const LIST: usize = 24;

/// A phrase and what it does, as a participle.
pub(crate) struct Deed {
    pub(crate) entry: usize,
    pub(crate) words: String,
    /// The word that says so.
    pub(crate) verb: usize,
}

/// What is done, in the caption's order.
#[derive(Default)]
pub(crate) struct Deeds {
    pub(crate) told: Vec<Deed>,
    /// What is not done: `a cat that is not sleeping`.
    pub(crate) denied: Vec<Deed>,
    /// Verbs of a caption that names nobody who could do them: `running`.
    pub(crate) of_nobody: Vec<Range<usize>>,
}

/// All deeds without another thing.
pub(crate) fn find(reading: &Reading) -> Deeds {
    let verbs = (0..reading.links.len()).filter(|link| acts(reading, *link));
    let mut deeds = Deeds::default();
    for link in verbs {
        let Some(words) = words(reading, link) else { continue };
        if subjects::is_of_part(reading, link) || words == "missing" {
            continue; // `its oars resting inside`, `a slice missing`
        }
        let verb = reading.links[link].words.start;
        let before = reading.sentence.before(verb);
        let is_style = |word: &str| Words::embedded().has("style", word);
        if is_style(reading.sentence.lower(verb))
            && before
                .is_some_and(|before| before.is_break() || before.tag.starts_with("RB") || is_style(before.lower()))
        {
            continue; // `ultra detailed`, `trending on artstation`
        }
        let (subjects, certainty) = subjects::of_link(reading, link);
        if subjects.is_empty() && certainty == Certainty::Unsure {
            deeds.of_nobody.push(reading.links[link].words.clone());
        }
        let can_do = |entry: &usize| !is_said_by_letters(&words) || reading.entries[*entry].phrase.class.is_alive();
        let told =
            subjects.into_iter().take(LIST).filter(can_do).map(|entry| Deed { entry, words: words.clone(), verb });
        if !reading.sentence.is_denied(verb) {
            deeds.told.extend(told);
        } else if !leads_on(reading, link) {
            // Of `not sitting on a sofa` the sofa is excluded.
            deeds.denied.extend(told);
        }
    }
    deeds
}

/// A verb; of those that hold or wear something the ones that do something with it, as `holding hands`.
fn acts(reading: &Reading, link: usize) -> bool {
    let is_deed = |entry: usize| reading.entries[entry].role == Role::Deed;
    match reading.links[link].kind {
        LinkKind::Verb => true,
        LinkKind::Relation(RelationKind::Holding) => object(reading, link).is_some_and(is_deed),
        _ => false,
    }
}

/// Whether a preposition stands right behind a verb.
fn leads_on(reading: &Reading, link: usize) -> bool {
    reading.link_of_word.get(reading.links[link].words.end).copied().flatten().is_some()
}

/// `a sign reading "OPEN"`.
fn is_said_by_letters(words: &str) -> bool {
    matches!(words, "reading" | "saying" | "writing" | "spelling")
}

/// The verb as a participle, with what it does if that is no thing; nothing where another thing is done something to.
fn words(reading: &Reading, link: usize) -> Option<String> {
    let at = reading.links[link].words.start;
    let word = &reading.sentence.words[at];
    let listed = Words::embedded().get("doing", word.lower());
    let is_passive = word.tag == "VBN" && listed.is_none() && !is_active(reading, at);
    if is_passive || listed == Some("-") || Words::embedded().has("saying", word.lower()) {
        return None;
    }
    let verb = participle(word.lower(), word.tag);
    match object(reading, link) {
        None => Some(verb),
        Some(entry) if is_own(reading, link, entry) => {
            let object = reading.sentence.text(reading.entries[entry].phrase.words.clone());
            Some(format!("{verb} {object}"))
        }
        Some(_) => None,
    }
}

/// `playing football`, `waving his hand`; `touching its nose` is done to another one.
fn is_own(reading: &Reading, link: usize, object: usize) -> bool {
    match reading.entries[object].role {
        Role::Deed => true,
        Role::Had => {
            let owner = reading.entries[object].owner;
            owner.is_none_or(|owner| subjects::of_link(reading, link).0.contains(&owner))
        }
        _ => false,
    }
}

/// `has jumped` is a deed, `was built` is none.
fn is_active(reading: &Reading, verb: usize) -> bool {
    reading.sentence.before(verb).is_some_and(|before| matches!(before.lower(), "has" | "have" | "had"))
}

/// The phrase right behind the verb.
fn object(reading: &Reading, link: usize) -> Option<usize> {
    let after = reading.entries.partition_point(|entry| entry.phrase.words.end <= reading.links[link].words.start);
    (after..reading.entries.len().min(after + 2)).find(|entry| reading.entries[*entry].governor == Some(link))
}

#[cfg(test)]
mod tests {
    use crate::read;

    fn check(caption: &str, expected: &[Option<&str>]) {
        let things = read(caption).things;
        let found: Vec<Option<&str>> = things.iter().map(|thing| thing.doing.as_deref()).collect();
        assert_eq!(found, expected, "{caption}");
    }

    #[test]
    fn deeds_without_another_thing_are_told() {
        check("a cat sleeping", &[Some("sleeping")]);
        check("a man jumping", &[Some("jumping")]);
        check("a bird flying over a house", &[Some("flying"), None]);
        check("the cat sat on the rug", &[Some("sitting"), None]);
        check("a dog and a cat are sitting on a sofa", &[Some("sitting"), Some("sitting"), None]);
        check("an owl perched on a branch", &[Some("perched"), None]);
        check("two children playing football", &[Some("playing football")]);
        check("a cat taking a nap", &[Some("taking a nap")]);
        check("a robot and a girl holding hands", &[Some("holding hands"), Some("holding hands")]);
        check("two men shaking hands", &[Some("shaking hands")]);
        check("a man in a red dress dancing", &[Some("dancing")]);
        check("a girl in blue dancing", &[Some("dancing")]);
        check("the couple is kissing", &[Some("kissing")]);
        check("a cat, ultra detailed, trending on artstation", &[None]);
        check("a cat on a sofa while outside the window snow is falling", &[None, None, None]);
    }

    #[test]
    fn deeds_to_another_thing_are_relations() {
        check("a dog chases a cat", &[None, None]);
        check("a cup placed on a table", &[None, None]);
        check("the image shows a cat", &[None]);
    }
}
