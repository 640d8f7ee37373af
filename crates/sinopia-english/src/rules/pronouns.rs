//! What `it`, `them`, `both` stand for, and `the fence` after `a fence`.

use super::links::LinkKind;
use super::phrases::Determiner;
use super::subjects;
use crate::analysis::RelationKind;
use crate::reading::{Reading, Role};

/// Most phrases that a pronoun looks back over.
const REACH: usize = 24;

/// Finds what each pronoun stands for.
pub(crate) fn resolve(reading: &mut Reading) {
    for entry in 0..reading.entries.len() {
        if reading.entries[entry].phrase.is_pronoun && reading.entries[entry].stands_for.is_empty() {
            reading.entries[entry].stands_for = antecedents(reading, entry);
        }
    }
}

/// The thing that was named before with an article and is named again with `the`.
pub(crate) fn named_before(reading: &Reading, entry: usize) -> Option<usize> {
    let phrase = &reading.entries[entry].phrase;
    let is_same = |before: &usize| {
        reading.entries[*before].role == Role::Thing && reading.entries[*before].phrase.name == phrase.name
    };
    let is_again = phrase.determiner == Determiner::Definite
        && !phrase.is_pronoun
        && phrase.core.len() <= phrase.name.split(' ').count();
    (entry.saturating_sub(REACH)..entry).rev().find(is_same).filter(|_| is_again)
}

/// What the object of a link such as `to its left` stands for.
pub(crate) fn of_link(reading: &Reading, link: usize) -> Vec<usize> {
    let start = reading.links[link].words.start;
    let end = reading.entries.partition_point(|entry| entry.phrase.words.end <= start);
    let (lefts, _) = subjects::of_link(reading, link);
    find(reading, end, &lefts, Some(reading.links[link].kind), false)
}

fn antecedents(reading: &Reading, entry: usize) -> Vec<usize> {
    let phrase = &reading.entries[entry].phrase;
    let lefts = reading.entries[entry].governor.map(|link| subjects::of_link(reading, link).0).unwrap_or_default();
    let is_many = matches!(phrase.name.as_str(), "them" | "they" | "both" | "all" | "each");
    find(reading, entry, &lefts, reading.governor_kind(entry), is_many)
}

/// What lies on it or in it is on the last thing that can hold; beside it and behind it, beside the first thing of the caption. What is meant is never the left end itself.
fn find(reading: &Reading, end: usize, lefts: &[usize], kind: Option<LinkKind>, is_many: bool) -> Vec<usize> {
    let can_be = |entry: &usize| reading.entries[*entry].role == Role::Thing && !lefts.contains(entry);
    let mut before: Vec<usize> = (end.saturating_sub(REACH)..end).filter(can_be).collect();
    if is_many {
        return before.split_off(before.len().saturating_sub(2));
    }
    let holds = matches!(kind, Some(LinkKind::Relation(RelationKind::On | RelationKind::In | RelationKind::Under)));
    let nearest_holder = before.iter().rev().find(|entry| holds && !reading.entries[**entry].phrase.class.is_alive());
    nearest_holder.or(before.first()).copied().into_iter().collect()
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
    }
}
