//! The left end of a link: what the parser says, where that can be, else the nearest phrase before it.

use super::links::LinkKind;
use crate::analysis::{Certainty, RelationKind};
use crate::reading::{Reading, Role};

/// Most arcs that are followed from a link to its subject.
const STEPS: usize = 6;
/// Most phrases of a list that a link is shared by.
const LIST: usize = 24;

/// The left ends of a link, and whether grammar says so.
pub(crate) fn of_link(reading: &Reading, link: usize) -> (Vec<usize>, Certainty) {
    if let Some(subjects) = each_or_both(reading, link) {
        return (subjects, Certainty::Unsure);
    }
    let found = by_tree(reading, link).map(|entry| (entry, Certainty::Sure));
    let Some((entry, certainty)) = found.or_else(|| nearest(reading, link).map(|entry| (entry, Certainty::Unsure)))
    else {
        return (behind(reading, link), Certainty::Unsure);
    };
    let whole = reading.whole(entry);
    let list = if whole == entry && reading.entries[entry].phrase.words.end <= reading.links[link].words.start {
        shared_list(reading, entry, link)
    } else {
        vec![whole]
    };
    (list, certainty)
}

/// The whole list, if the link stands behind its last phrase.
fn shared_list(reading: &Reading, entry: usize, link: usize) -> Vec<usize> {
    let start = reading.links[link].words.start;
    let mut last = entry;
    for after in entry + 1..reading.entries.len() {
        if reading.entries[after].phrase.words.start >= start {
            break;
        }
        last = if reading.entries[after].joined == Some(last) { after } else { last };
    }
    let list = reading.list_to(last);
    list[list.len().saturating_sub(LIST)..].to_vec()
}

/// `…, both above a crate`, `…, each holding a cone`: all phrases before the sign that stand on their own.
fn each_or_both(reading: &Reading, link: usize) -> Option<Vec<usize>> {
    let start = reading.links[link].words.start;
    let word = reading.sentence.before(start)?;
    if !matches!(word.lower(), "both" | "each" | "all") {
        return None;
    }
    let end = reading.entries.partition_point(|entry| entry.phrase.words.end < start);
    let taken = if word.lower() == "both" { 2 } else { LIST };
    let mut standing: Vec<usize> = (0..end).rev().filter(|entry| stands_alone(reading, *entry)).take(taken).collect();
    standing.reverse();
    (!standing.is_empty()).then_some(standing)
}

fn stands_alone(reading: &Reading, entry: usize) -> bool {
    !reading.entries[entry].phrase.is_pronoun && matches!(reading.entries[entry].role, Role::Thing)
}

fn by_tree(reading: &Reading, link: usize) -> Option<usize> {
    let words = &reading.links[link].words;
    let outside =
        words.clone().map(|i| (i, reading.sentence.words[i].head)).find(|(i, head)| !words.contains(head) || i == head);
    let (own, head) = outside?;
    let kind = reading.links[link].kind;
    let found = if reading.sentence.words[own].is_verb() {
        of_verb(reading, own)
    } else if let Some(entry) = reading.entry_of_word[head] {
        (head < words.start).then(|| from_object_to_subject(reading, entry, kind))
    } else if reading.sentence.words[head].is_verb() && head != own {
        of_verb(reading, head)
    } else {
        None
    };
    found.filter(|entry| reading.can_be_subject(*entry) && reading.entries[*entry].governor != Some(link))
}

/// `a girl holding a balloon next to a bicycle`: what lies beside the bicycle is the girl. The parser is in doubt there; who acts has the place.
fn from_object_to_subject(reading: &Reading, entry: usize, kind: LinkKind) -> usize {
    let locates = matches!(kind, LinkKind::Relation(kind) if !matches!(kind, RelationKind::Holding | RelationKind::From | RelationKind::BiggerThan | RelationKind::SmallerThan));
    let Some(governor) = reading.entries[entry].governor.filter(|_| locates) else { return entry };
    let acts = matches!(
        reading.links[governor].kind,
        LinkKind::Verb | LinkKind::Wears | LinkKind::Relation(RelationKind::Holding)
    );
    if !acts || reading.entries[entry].phrase.class.is_alive() {
        return entry;
    }
    let (subjects, _) = of_link(reading, governor);
    let contains = matches!(kind, LinkKind::Relation(RelationKind::In | RelationKind::On));
    let acts = |subject: &usize| !contains || reading.entries[*subject].phrase.class.is_alive();
    subjects.last().copied().filter(acts).unwrap_or(entry)
}

/// Its grammatical subject, the noun that it describes, or the subject of the verb above it.
pub(crate) fn of_verb(reading: &Reading, mut verb: usize) -> Option<usize> {
    for _ in 0..STEPS {
        let words = &reading.sentence.words;
        let nearby = verb.saturating_sub(30)..words.len().min(verb + 30);
        let is_subject = |i: &usize| words[*i].head == verb && matches!(words[*i].label, "nsubj" | "nsubjpass");
        if let Some(entry) = nearby.into_iter().find(is_subject).and_then(|i| reading.entry_of_word[i])
            && reading.can_be_subject(entry)
        {
            return Some(reading.whole(entry));
        }
        let head = words[verb].head;
        if head == verb {
            return None;
        }
        if let Some(entry) = reading.entry_of_word[head] {
            return reading.can_be_subject(entry).then(|| reading.whole(entry));
        }
        verb = head;
    }
    None
}

/// `on the table there are four oranges and a knife`: of a link that begins the caption, what stands behind its object.
fn behind(reading: &Reading, link: usize) -> Vec<usize> {
    let start = reading.links[link].words.end;
    let object = reading.entries.partition_point(|entry| entry.phrase.words.start < start);
    let can_be = |entry: &usize| reading.can_be_subject(*entry) && reading.entries[*entry].governor.is_none();
    let Some(first) = (object + 1..reading.entries.len().min(object + 4)).find(can_be) else { return Vec::new() };
    let mut list = vec![first];
    for after in first + 1..reading.entries.len().min(first + LIST) {
        if reading.entries[after].joined == list.last().copied() {
            list.push(after);
        }
    }
    list
}

/// The nearest phrase before a link that can be its subject; in a part of the caption without one, the one before.
fn nearest(reading: &Reading, link: usize) -> Option<usize> {
    let start = reading.links[link].words.start;
    let end = reading.entries.partition_point(|entry| entry.phrase.words.end <= start);
    let before = || (0..end).rev().take(LIST);
    let can_be = |entry: &usize| reading.can_be_subject(*entry) && reading.entries[*entry].governor != Some(link);
    before()
        .find(|entry| can_be(entry) && reading.entries[*entry].role == Role::Thing)
        .or_else(|| before().find(can_be))
}

#[cfg(test)]
mod tests {
    use crate::testing::check;

    #[test]
    fn a_place_can_come_first() {
        check(
            "on the table there are two pears and a knife",
            &["1 table", "2 pear", "1 knife", "pear On table", "knife On table"],
        );
    }

    #[test]
    fn who_acts_has_the_place() {
        check(
            "a girl holding a balloon next to a bicycle",
            &["1 girl", "1 balloon", "1 bicycle", "girl Holding balloon", "girl NextTo bicycle"],
        );
        check(
            "an apple and a pear, both above a crate",
            &["1 apple", "1 pear", "1 crate", "apple Above crate", "pear Above crate"],
        );
    }
}
