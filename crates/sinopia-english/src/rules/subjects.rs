//! The left end of a link: what the parser says, where that can be, else the nearest phrase before it.

use super::links::LinkKind;
use crate::analysis::{Certainty, RelationKind};
use crate::nouns::NounClass;
use crate::reading::{Reading, Role};
use crate::sentence::Word;

/// Most arcs that are followed from a link to its subject.
const STEPS: usize = 6;
/// Most words between a verb and its subject.
const NEARBY: usize = 30;
/// Most phrases of a list that a link is shared by.
const LIST: usize = 24;

/// The left ends of a link, and whether grammar says so.
pub(crate) fn of_link(reading: &Reading, link: usize) -> (Vec<usize>, Certainty) {
    through_objects(reading, link, STEPS)
}

/// At most `steps` objects are followed to who acts.
fn through_objects(reading: &Reading, link: usize, steps: usize) -> (Vec<usize>, Certainty) {
    if let Some(subjects) = each_or_both(reading, link) {
        return (subjects, Certainty::Unsure);
    }
    if is_of_nothing(reading, link) {
        return (Vec::new(), Certainty::Sure);
    }
    if is_inverted(reading, link) {
        return (behind(reading, link), Certainty::Unsure);
    }
    let found = by_tree(reading, link, steps).map(|entry| (entry, Certainty::Sure));
    if found.is_none() && (opens_sentence(reading, link) || opens_clause(reading, link)) {
        let behind = behind(reading, link);
        if !behind.is_empty() {
            return (behind, Certainty::Unsure);
        }
    }
    let Some((entry, certainty)) = found.or_else(|| nearest(reading, link).map(|entry| (entry, Certainty::Unsure)))
    else {
        return (Vec::new(), Certainty::Unsure);
    };
    let meant = meant_by(reading, entry);
    if meant != [entry] {
        return (meant, certainty);
    }
    let is_before = reading.entries[entry].phrase.words.end <= reading.links[link].words.start;
    let list = if is_before { shared_list(reading, entry, link) } else { list_from(reading, entry) };
    (list, certainty)
}

/// Itself, what a pronoun stands for, or the owner of a part.
pub(crate) fn meant_by(reading: &Reading, entry: usize) -> Vec<usize> {
    let stands_for = &reading.entries[entry].stands_for;
    if stands_for.len() > 1 { stands_for.clone() } else { vec![reading.whole(entry)] }
}

/// Whether its grammatical subject is a part of a thing.
pub(crate) fn is_of_part(reading: &Reading, link: usize) -> bool {
    let verb = reading.links[link].words.start;
    let entry = subject_word(reading, verb).and_then(|word| reading.entry_of_word[word]);
    let head = reading.sentence.words[verb].head;
    let entry = entry.or_else(|| reading.entry_of_word[head].filter(|_| head < verb));
    entry.is_some_and(|entry| matches!(reading.entries[entry].role, Role::Had | Role::Worn))
}

/// `sunlight streams through the window`: the subject is there, and no thing.
fn is_of_nothing(reading: &Reading, link: usize) -> bool {
    let start = reading.links[link].words.start;
    let word = &reading.sentence.words[start];
    let verb = if word.is_verb() { start } else { word.head };
    // `outside the window snow is falling`
    let aux = usize::from(matches!(reading.sentence.lower(verb.saturating_sub(1)), "is" | "was"));
    let right_before = verb.checked_sub(1 + aux).and_then(|at| reading.entry_of_word[at]);
    if reading.sentence.words[verb].is_verb()
        && right_before.is_some_and(|entry| reading.entries[entry].role == Role::Weather)
    {
        return true;
    }
    let subject =
        subject_word(reading, verb).filter(|subject| *subject < verb && reading.sentence.words[verb].is_verb());
    let Some(entry) = subject.and_then(|subject| reading.entry_of_word[subject]) else { return false };
    if is_picture_of(reading, entry) {
        return false;
    }
    let entry = &reading.entries[entry];
    let is_nothing = matches!(entry.role, Role::Weather | Role::Time | Role::Style | Role::Deed)
        || entry.role == Role::Unknown && !entry.phrase.class.is_visible();
    is_nothing && !entry.phrase.is_pronoun
}

pub(crate) fn opens_sentence(reading: &Reading, link: usize) -> bool {
    let start = reading.links[link].words.start;
    reading.sentence.before(start).is_none_or(|before| matches!(before.lower(), "." | ";" | "!" | "?"))
}

/// `…, and on it are two mugs`: a preposition with its pronoun opens the clause, its verb follows, and then who is there.
fn is_inverted(reading: &Reading, link: usize) -> bool {
    let words = &reading.links[link].words;
    let opens = reading.sentence.before(words.start).is_none_or(|before| before.is_break() || before.tag == "CC");
    let to_pronoun = reading.links[link].to_pronoun;
    let is_pronoun = to_pronoun
        || reading
            .entry_of_word
            .get(words.end)
            .copied()
            .flatten()
            .is_some_and(|entry| reading.entries[entry].phrase.is_pronoun);
    let verb = reading.sentence.get(words.end + usize::from(!to_pronoun)).is_some_and(Word::is_verb);
    let is_place = matches!(reading.links[link].kind, LinkKind::Relation(_));
    opens && is_pronoun && verb && is_place && !behind(reading, link).is_empty()
}

/// `, and to its right a napkin`.
fn opens_clause(reading: &Reading, link: usize) -> bool {
    let start = reading.links[link].words.start;
    let opens = |before: &Word| before.lower() == "," || before.tag == "CC";
    let next = reading.entry_of_word.get(reading.links[link].words.end).copied().flatten();
    reading.links[link].to_pronoun && next.is_some() && reading.sentence.before(start).is_some_and(opens)
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
    // `cookies, each with sprinkles`: the plural or the list right before
    if let Some(last) = (0..end).rev().take(2).find(|entry| stands_alone(reading, *entry)) {
        let list = reading.list_to(last);
        if list.len() > 1 || word.lower() != "both" && reading.entries[last].phrase.count.max > 1 {
            return Some(list);
        }
    }
    let taken = if word.lower() == "both" { 2 } else { LIST };
    let mut standing: Vec<usize> = (0..end).rev().filter(|entry| stands_alone(reading, *entry)).take(taken).collect();
    standing.reverse();
    (!standing.is_empty()).then_some(standing)
}

fn stands_alone(reading: &Reading, entry: usize) -> bool {
    !reading.entries[entry].phrase.is_pronoun && matches!(reading.entries[entry].role, Role::Thing)
}

fn by_tree(reading: &Reading, link: usize, steps: usize) -> Option<usize> {
    let words = &reading.links[link].words;
    let outside =
        words.clone().map(|i| (i, reading.sentence.words[i].head)).find(|(i, head)| !words.contains(head) || i == head);
    let (own, head) = outside?;
    let kind = reading.links[link].kind;
    let found = if reading.sentence.words[own].is_verb() {
        who_acts(reading, own, steps)
    } else if let Some(entry) = reading.entry_of_word[head] {
        (head < words.start).then(|| from_object_to_subject(reading, entry, kind, steps))
    } else if head != own && is_said_of_subject(reading, head) {
        of_verb(reading, reading.sentence.words[head].head)
    } else if reading.sentence.words[head].is_verb() && head != own {
        who_acts(reading, head, steps)
    } else {
        None
    };
    found.filter(|entry| reading.can_be_subject(*entry) && reading.entries[*entry].governor != Some(link))
}

/// The subject of a verb; where it only describes a noun, who acts if that noun is an object.
fn who_acts(reading: &Reading, verb: usize, steps: usize) -> Option<usize> {
    let described = || {
        let entry = of_verb(reading, verb)?;
        let is_before = reading.entries[entry].phrase.words.end <= verb;
        Some(if is_before { from_object_to_subject(reading, entry, LinkKind::Verb, steps) } else { entry })
    };
    own_subject(reading, verb).or_else(described)
}

/// `the dog is brown with a white tail`: brown is said of the dog.
fn is_said_of_subject(reading: &Reading, word: usize) -> bool {
    let word = &reading.sentence.words[word];
    word.label == "acomp" && reading.sentence.words[word.head].is_verb()
}

/// `a girl holding a balloon next to a bicycle`: what lies beside the bicycle is the girl. The parser is in doubt there; who acts has the place.
fn from_object_to_subject(reading: &Reading, entry: usize, kind: LinkKind, steps: usize) -> usize {
    let may_act = matches!(reading.entries[entry].phrase.class, NounClass::Vehicle | NounClass::Device);
    let is_with = reading.governor_kind(entry) == Some(LinkKind::With);
    let does = kind == LinkKind::Verb && (!may_act || is_with);
    let locates = does
        || matches!(kind, LinkKind::Relation(kind) if !matches!(kind, RelationKind::Holding | RelationKind::From | RelationKind::BiggerThan | RelationKind::SmallerThan));
    let Some(governor) = reading.entries[entry].governor.filter(|_| locates) else { return entry };
    let acts = does
        || matches!(
            reading.links[governor].kind,
            LinkKind::Verb | LinkKind::Wears | LinkKind::Relation(RelationKind::Holding)
        );
    if steps == 0 || !acts || reading.entries[entry].phrase.class.is_alive() {
        return entry;
    }
    let (subjects, _) = through_objects(reading, governor, steps - 1);
    let contains = does || matches!(kind, LinkKind::Relation(RelationKind::In | RelationKind::On));
    let acts = |subject: &usize| !contains || reading.entries[*subject].phrase.class.is_alive();
    subjects.last().copied().filter(acts).unwrap_or(entry)
}

/// Its grammatical subject, the noun that it describes, or the subject of the verb above it.
pub(crate) fn of_verb(reading: &Reading, mut verb: usize) -> Option<usize> {
    for _ in 0..STEPS {
        if let Some(entry) = own_subject(reading, verb) {
            return Some(entry);
        }
        let head = reading.sentence.words[verb].head;
        if head == verb {
            return None;
        }
        if let Some(entry) = reading.entry_of_word[head] {
            return reading.can_be_subject(entry).then_some(entry);
        }
        verb = head;
    }
    None
}

fn own_subject(reading: &Reading, verb: usize) -> Option<usize> {
    let entry = reading.entry_of_word[subject_word(reading, verb)?]?;
    let shown = if is_picture_of(reading, entry) { entry + 1 } else { entry };
    Some(shown).filter(|entry| *entry < reading.entries.len() && reading.can_be_subject(*entry))
}

/// `a photo of a fox curled up`: the fox is.
fn is_picture_of(reading: &Reading, entry: usize) -> bool {
    let picture = &reading.entries[entry];
    picture.role == Role::Style && reading.sentence.lower(picture.phrase.words.end) == "of"
}

/// The nearest word before or behind the verb that is its subject; of `there are` what is there.
fn subject_word(reading: &Reading, verb: usize) -> Option<usize> {
    let words = &reading.sentence.words;
    let is_subject = |i: &usize| words[*i].head == verb && matches!(words[*i].label, "nsubj" | "nsubjpass");
    let is_there = |i: &usize| words[*i].head == verb && words[*i].label == "attr";
    let before = (verb.saturating_sub(NEARBY)..verb).rev();
    let after = verb..words.len().min(verb + NEARBY);
    let says_there = before.clone().any(|i| words[i].head == verb && words[i].label == "expl");
    let found = before.clone().find(is_subject).or_else(|| after.clone().find(is_subject));
    found.or_else(|| after.clone().find(|i| says_there && is_there(i)))
}

/// `on the table there are four oranges and a knife`: of a link that begins the caption, what stands behind its object.
fn behind(reading: &Reading, link: usize) -> Vec<usize> {
    let start = reading.links[link].words.end;
    let object = reading.entries.partition_point(|entry| entry.phrase.words.start < start);
    let can_be = |entry: &usize| reading.can_be_subject(*entry) && reading.entries[*entry].governor.is_none();
    // `to its left is a spoon`: its object is within it.
    let object = if reading.links[link].to_pronoun { object } else { object + 1 };
    let Some(first) = (object..reading.entries.len().min(object + 3)).find(can_be) else { return Vec::new() };
    list_from(reading, first)
}

/// A phrase and what is joined to it behind.
fn list_from(reading: &Reading, first: usize) -> Vec<usize> {
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
            "A bowl on a desk. To its left is a spoon, and to its right a folded napkin.",
            &["1 bowl", "1 desk", "1 spoon", "1 napkin", "bowl On desk", "spoon LeftOf bowl", "napkin RightOf bowl"],
        );
        check(
            "A candle on a desk. To its left is a book, and to its right is a pen.",
            &["1 candle", "1 desk", "1 book", "1 pen", "candle On desk", "book LeftOf candle", "pen RightOf candle"],
        );
        check(
            "A coffee table is in front of the sofa, and on it are two mugs.",
            &["1 coffee table", "1 sofa", "2 mug", "coffee table InFrontOf sofa", "mug On coffee table"],
        );
        check(
            "an apple and a pear, both above a crate",
            &["1 apple", "1 pear", "1 crate", "apple Above crate", "pear Above crate"],
        );
    }
}
