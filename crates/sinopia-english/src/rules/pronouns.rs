//! What `it`, `them`, `both`, `she` stand for.

use super::links::LinkKind;
use super::subjects;
use crate::analysis::RelationKind;
use crate::nouns::NounClass;
use crate::reading::{Reading, Role};
use crate::words::Words;

/// Most phrases that a pronoun looks back over.
const REACH: usize = 24;

/// Finds what a pronoun stands for, once the phrases before it have their roles.
pub(crate) fn resolve(reading: &mut Reading, entry: usize) {
    if reading.entries[entry].phrase.is_pronoun && reading.entries[entry].stands_for.is_empty() {
        reading.entries[entry].stands_for = antecedents(reading, entry);
    }
}

/// What the object of a link such as `to its left` stands for.
pub(crate) fn of_link(reading: &Reading, link: usize) -> Vec<usize> {
    let start = reading.links[link].words.start;
    let end = reading.entries.partition_point(|entry| entry.phrase.words.end <= start);
    let (lefts, _) = subjects::of_link(reading, link);
    let sentence = reading.sentence_of_word(start);
    Question { reading, end, sentence, lefts }.one(Some(reading.links[link].kind))
}

/// Whose a phrase with `its` is, other than who acts.
pub(crate) fn owner_but(reading: &Reading, entry: usize, actor: usize) -> Option<usize> {
    let question = Question { reading, end: entry, sentence: reading.sentence_of(entry), lefts: vec![actor] };
    question.before().find(|before| reading.entries[*before].phrase.class.is_alive())
}

/// Whose a phrase with `its`, `his`, `her` or `their` is.
pub(crate) fn owner(reading: &Reading, entry: usize) -> Option<usize> {
    let word = reading.sentence.lower(reading.entries[entry].phrase.words.start);
    let question = Question { reading, end: entry, sentence: reading.sentence_of(entry), lefts: Vec::new() };
    let meant = match word {
        "his" => question.somebody("m"),
        "her" => question.somebody("f"),
        "their" => question.several(),
        "its" => question.one(None),
        _ => return None,
    };
    meant.first().copied()
}

fn antecedents(reading: &Reading, entry: usize) -> Vec<usize> {
    let phrase = &reading.entries[entry].phrase;
    let lefts = reading.entries[entry].governor.map(|link| subjects::of_link(reading, link).0).unwrap_or_default();
    let question = Question { reading, end: entry, sentence: reading.sentence_of(entry), lefts };
    match phrase.name.as_str() {
        "them" | "they" | "both" | "all" | "each" => question.several(),
        "he" | "him" => question.somebody("m"),
        "she" | "her" => question.somebody("f"),
        _ => question.one(reading.governor_kind(entry)),
    }
}

/// What is asked about a pronoun.
struct Question<'a> {
    reading: &'a Reading,
    /// The phrases before this one can be meant.
    end: usize,
    /// The number of its sentence.
    sentence: usize,
    /// The left ends of its own link, which are never meant.
    lefts: Vec<usize>,
}

impl Question<'_> {
    /// Things before it, the last first.
    fn before(&self) -> impl Iterator<Item = usize> {
        let can_be = |entry: &usize| self.reading.entries[*entry].role == Role::Thing && !self.lefts.contains(entry);
        (self.end.saturating_sub(REACH)..self.end).rev().filter(can_be)
    }

    /// What lies on it or in it is on the last thing that can hold. Else it is what the sentence before speaks of, or the first thing of the caption.
    fn one(&self, kind: Option<LinkKind>) -> Vec<usize> {
        use RelationKind::{In, On, Under};
        let holds = matches!(kind, Some(LinkKind::Relation(On | In | Under)));
        let can_hold = |entry: &usize| !self.reading.entries[*entry].phrase.class.is_alive();
        let nearest_holder =
            self.before().find(|entry| holds && can_hold(entry)).map(|entry| self.beside(entry, can_hold));
        let topic = || self.topic_of_sentence_before();
        nearest_holder.or_else(topic).or_else(|| self.first_free()).into_iter().collect()
    }

    /// `a table in front of a sofa`: spoken of is the table. What is beside nothing is itself.
    fn beside(&self, entry: usize, can_be: impl Fn(&usize) -> bool) -> usize {
        use RelationKind::{Behind, InFrontOf, LeftOf, NextTo, RightOf};
        let is_beside = matches!(
            self.reading.governor_kind(entry),
            Some(LinkKind::Relation(Behind | InFrontOf | LeftOf | NextTo | RightOf))
        );
        let link = self.reading.entries[entry].governor.filter(|_| is_beside);
        let lefts = link.map(|link| subjects::of_link(self.reading, link).0).unwrap_or_default();
        match lefts[..] {
            [left] if can_be(&left) && !self.lefts.contains(&left) && left < self.end => left,
            _ => entry,
        }
    }

    /// The first thing that no preposition leads to, else the first of all.
    fn first_free(&self) -> Option<usize> {
        let is_free = |entry: &usize| self.reading.entries[*entry].governor.is_none();
        self.before().filter(is_free).last().or_else(|| self.before().last())
    }

    /// The first phrase of the nearest sentence before that names or means a thing.
    fn topic_of_sentence_before(&self) -> Option<usize> {
        let first_of = |found: Option<usize>, entry: usize| match found {
            Some(last) if self.reading.sentence_of(last) > self.reading.sentence_of(entry) => Some(last),
            _ => Some(entry),
        };
        let means_thing = |entry: &usize| {
            let found = &self.reading.entries[*entry];
            found.role == Role::Thing || found.stands_for.len() == 1
        };
        let earlier = (self.end.saturating_sub(REACH)..self.end)
            .rev()
            .filter(|entry| self.reading.sentence_of(*entry) < self.sentence)
            .filter(means_thing);
        let topic = earlier.fold(None, first_of)?;
        let whole = self.reading.whole(topic);
        (!self.lefts.contains(&whole)).then_some(whole)
    }

    /// The last plural or list; else the last two things.
    fn several(&self) -> Vec<usize> {
        for entry in self.before() {
            let found = &self.reading.entries[entry];
            if found.phrase.count.max > 1 {
                return vec![entry];
            }
            if found.joined.is_some() {
                let list = self.reading.list_to(entry);
                return list.into_iter().filter(|entry| self.reading.entries[*entry].role == Role::Thing).collect();
            }
        }
        let mut last: Vec<usize> = self.before().take(2).collect();
        last.reverse();
        last
    }

    /// The last person of that gender, else one of unknown gender, an animal, anything.
    fn somebody(&self, gender: &str) -> Vec<usize> {
        let gender_of = |entry: usize| {
            let head = self.reading.entries[entry].phrase.head;
            Words::embedded().get("gender", &self.reading.sentence.words[head].singular)
        };
        let is_alive = |entry: &usize| self.reading.entries[*entry].phrase.class.is_alive();
        let fits = self.before().find(|entry| is_alive(entry) && gender_of(*entry) == Some(gender));
        let could = || self.before().find(|entry| is_alive(entry) && gender_of(*entry).is_none());
        let is_person = |entry: &usize| self.reading.entries[*entry].phrase.class == NounClass::Person;
        let person = || self.before().find(|entry| is_person(entry) && gender_of(*entry).is_none());
        fits.or_else(person).or_else(could).or_else(|| self.before().last()).into_iter().collect()
    }
}

#[cfg(test)]
mod tests {
    use crate::testing::check;

    #[test]
    fn pronouns_stand_for_things() {
        check(
            "an owl on a branch, a moon behind it",
            &["1 owl", "1 branch", "1 moon", "owl On branch", "moon Behind owl"],
        );
        check(
            "a cat under a table and a vase on top of it",
            &["1 cat", "1 table", "1 vase", "cat Under table", "vase On table"],
        );
        check(
            "A man and a girl sit on a sofa. She holds a doll. Behind them, there is a lamp.",
            &[
                "1 man",
                "1 girl",
                "1 sofa",
                "1 doll",
                "1 lamp",
                "man On sofa",
                "girl On sofa",
                "girl Holding doll",
                "lamp Behind man",
                "lamp Behind girl",
            ],
        );
        check(
            "A robot stands next to a tree. It carries a box.",
            &["1 robot", "1 tree", "1 box", "robot NextTo tree", "robot Holding box"],
        );
    }
}
