//! Relations between the phrases that became things and places, and positions in the picture.

use super::links::{LinkKind, arrangement_kind};
use super::{pronouns, subjects};
use crate::analysis::{Certainty, PositionKind, RelationKind};
use crate::nouns::NounClass;
use crate::reading::{Reading, Role};
use crate::words::Words;

/// A relation between phrases.
pub(crate) struct Found {
    pub(crate) left: usize,
    pub(crate) kind: RelationKind,
    pub(crate) right: usize,
    pub(crate) link: Option<usize>,
    pub(crate) certainty: Certainty,
}

/// All relations, in the order of their right ends.
pub(crate) fn find(reading: &Reading) -> Vec<Found> {
    let mut found = Vec::new();
    for right in 0..reading.entries.len() {
        if let Some(link) = reading.entries[right].governor {
            let ends = if reading.entries[right].phrase.is_pronoun {
                reading.entries[right].stands_for.clone()
            } else {
                vec![right_end(reading, right)]
            };
            found.extend(across(reading, link, &ends, right));
        } else {
            found.extend(after_colon(reading, right));
        }
    }
    for link in (0..reading.links.len()).filter(|link| reading.links[*link].to_pronoun) {
        let ends = pronouns::of_link(reading, link);
        found.extend(across(reading, link, &ends, usize::MAX));
    }
    found
}

/// Of clothes and parts, who has them: `on the pirate's shoulder`, `on the back of a cow`.
fn right_end(reading: &Reading, right: usize) -> usize {
    if reading.entries[right].role == Role::Had { reading.whole(right) } else { right }
}

fn across(reading: &Reading, link: usize, ends: &[usize], right: usize) -> Vec<Found> {
    let (lefts, certainty) = subjects::of_link(reading, link);
    // `a bench with a cat on it`: where the cat is, its own link says.
    let says_itself = right != usize::MAX && reading.links[link].kind == LinkKind::With && reading.refers_back(right);
    let mut found = Vec::new();
    for &left in &lefts {
        for &end in ends.iter().filter(|end| **end != left) {
            let is_part = right != usize::MAX && reading.entries[right].owner == Some(left);
            let kind = (!is_part && !says_itself).then(|| relation(reading, link, left)).flatten();
            let is_in_hands = right != usize::MAX && reading.entries[right].phrase.class == NounClass::Body;
            let is_on_front = right != usize::MAX && is_opening(reading, right);
            let kind = kind.map(|(kind, is_reversed)| match kind {
                // `a sign above the door of a shop` is on the shop.
                RelationKind::Above if is_on_front => (RelationKind::On, is_reversed),
                RelationKind::In if is_in_hands => (RelationKind::Holding, true),
                // `in the middle of the table`
                RelationKind::In
                    if right != usize::MAX && reading.links[link].words.len() > 1 && is_flat(reading, right) =>
                {
                    (RelationKind::On, is_reversed)
                }
                _ => (kind, is_reversed),
            });
            if let Some((kind, is_reversed)) = kind {
                let (left, right) = if is_reversed { (end, left) } else { (left, end) };
                found.push(Found { left, kind, right, link: Some(link), certainty });
            }
        }
    }
    found
}

/// A door or a window that is a part of something.
fn is_opening(reading: &Reading, entry: usize) -> bool {
    let part = &reading.entries[entry];
    part.role == Role::Had && matches!(part.phrase.name.as_str(), "door" | "window" | "entrance" | "doorway" | "gate")
}

/// What a link says between two ends, and whether the right one is its subject.
fn relation(reading: &Reading, link: usize, left: usize) -> Option<(RelationKind, bool)> {
    match reading.links[link].kind {
        LinkKind::Relation(RelationKind::From) if stays(reading, link) => Some((RelationKind::On, false)),
        LinkKind::Relation(kind) => Some((kind, false)),
        LinkKind::Reversed(kind) => Some((kind, true)),
        // `a desk covered with two butterflies`
        LinkKind::Description if reading.sentence.lower(reading.links[link].words.start) == "covered" => {
            Some((RelationKind::On, true))
        }
        LinkKind::Verb => Some((RelationKind::Action, false)),
        LinkKind::With | LinkKind::Has => Some(with(reading, left)),
        _ => None,
    }
}

/// `fishing from a dock`, `watches from a tree`: who does so is there.
fn stays(reading: &Reading, link: usize) -> bool {
    let before = reading.sentence.before(reading.links[link].words.start);
    before.is_some_and(|before| Words::embedded().has("staying", before.lower()))
}

/// `a bowl with eggs`: in it; `a table with candles`: on it; `a mug with a cat on it`: what its own link says, so nothing here; `a man with a dog`: with him.
fn with(reading: &Reading, left: usize) -> (RelationKind, bool) {
    let left_class = reading.entries[left].phrase.class;
    let noun = reading.sentence.words[reading.entries[left].phrase.head].singular.as_str();
    match left_class {
        _ if is_flat(reading, left) || left_class == NounClass::Furniture => (RelationKind::On, true),
        NounClass::Container | NounClass::Room | NounClass::Place => (RelationKind::In, true),
        _ if noun == "nest" || noun == "box" || noun == "basket" => (RelationKind::In, true),
        _ => (RelationKind::With, false),
    }
}

fn is_flat(reading: &Reading, entry: usize) -> bool {
    matches!(
        reading.sentence.words[reading.entries[entry].phrase.head].singular.as_str(),
        "plate" | "tray" | "table" | "desk" | "counter" | "shelf" | "platter" | "board" | "tablecloth" | "napkin"
    )
}

/// `a table set for dinner: candles and a vase`: what is listed lies on or in what stands before the colon.
fn after_colon(reading: &Reading, right: usize) -> Option<Found> {
    if reading.entries[right].role != Role::Thing {
        return None;
    }
    let first = reading.list_to(right)[0];
    let start = reading.entries[first].phrase.words.start;
    let colon = (start.saturating_sub(60)..start).rev().find(|i| matches!(reading.sentence.lower(*i), ":" | "."))?;
    // `a desk: a cup with a straw; a pen`
    let item = (colon..start).rev().find(|i| reading.sentence.lower(*i) == ";").unwrap_or(colon);
    let between = reading.sentence.words[item..start].iter().any(|word| word.tag == "IN");
    if reading.sentence.lower(colon) != ":" || between {
        return None;
    }
    let end = reading.entries.partition_point(|entry| entry.phrase.words.end <= colon);
    let left = (end.saturating_sub(4)..end).find(|entry| reading.entries[*entry].role == Role::Thing)?;
    let (kind, is_reversed) = with(reading, left);
    is_reversed.then_some(Found { left: right, kind, right: left, link: None, certainty: Certainty::Unsure })
}

/// A phrase and where in the picture it is.
pub(crate) struct Placed {
    pub(crate) entry: usize,
    pub(crate) at: PositionKind,
    pub(crate) words: std::ops::Range<usize>,
}

/// Positions and arrangements: `on the left`, `in a row`, `a row of`.
pub(crate) fn positions(reading: &Reading) -> Vec<Placed> {
    let mut found = Vec::new();
    for (i, link) in reading.links.iter().enumerate() {
        let LinkKind::Position(at) = link.kind else { continue };
        if reading.sentence.is_denied(link.words.start) {
            continue; // `not in the middle`
        }
        for entry in placed_by(reading, i) {
            found.push(Placed { entry, at, words: link.words.clone() });
        }
    }
    for (entry, group) in reading.entries.iter().enumerate().filter_map(|(i, entry)| Some((i, entry.group?))) {
        let phrase = &reading.entries[group].phrase;
        let noun = &reading.sentence.words[phrase.head].singular;
        if let Some(at) = Words::embedded().get("arrangement", noun).and_then(arrangement_kind) {
            found.push(Placed { entry, at, words: phrase.words.clone() });
        }
    }
    found
}

/// At the start of a part of the caption, what comes next; elsewhere what stands before: the last phrase for a side of the picture, who acts for an arrangement.
fn placed_by(reading: &Reading, link: usize) -> Vec<usize> {
    let words = &reading.links[link].words;
    let opens = reading.sentence.before(words.start).is_none_or(|word| word.is_break() || word.tag == "CC");
    let next = reading.entries.partition_point(|entry| entry.phrase.words.end <= words.start);
    let can_be = |entry: &usize| matches!(reading.entries[*entry].role, Role::Thing);
    let is_arranged = matches!(
        reading.links[link].kind,
        LinkKind::Position(
            PositionKind::Row | PositionKind::Circle | PositionKind::Stack | PositionKind::Group | PositionKind::Column
        )
    );
    // `two cups, each with a heart, side by side on a tray`
    let is_several = |entry: &usize| {
        can_be(entry)
            && reading.entries[*entry].phrase.count.max > 1
            && reading.sentence_of(*entry) == reading.sentence_of_word(words.start)
    };
    if is_arranged && let Some(entry) = (next.saturating_sub(3)..next).rev().find(is_several) {
        return vec![entry];
    }
    if opens && let Some(entry) = (next..reading.entries.len().min(next + 2)).find(can_be) {
        return vec![entry];
    }
    if is_arranged {
        return subjects::of_link(reading, link).0;
    }
    // `the dog is in the middle`, after the dog was named
    let verb = words.start.checked_sub(1).filter(|verb| reading.sentence.words[*verb].is_verb());
    let named = verb.and_then(|verb| reading.entry_of_word[verb.checked_sub(1)?]);
    if let Some(again) = named.map(|named| &reading.entries[named]).filter(|again| again.phrase.is_pronoun) {
        let meant: Vec<usize> = again.stands_for.iter().copied().filter(|entry| can_be(entry)).collect();
        if !meant.is_empty() {
            return meant;
        }
    }
    let last = (next.saturating_sub(3)..next).rev().find(can_be);
    last.map(|last| who_lies_there(reading, last)).into_iter().collect()
}

/// `a cat sits on a chair on the left`: the cat is.
fn who_lies_there(reading: &Reading, mut entry: usize) -> usize {
    for _ in 0..3 {
        let kind = reading.governor_kind(entry);
        let leads_on = matches!(kind, Some(LinkKind::Relation(_) | LinkKind::Verb | LinkKind::Wears));
        let Some(governor) = reading.entries[entry].governor.filter(|_| leads_on) else { break };
        match subjects::of_link(reading, governor).0[..] {
            [subject] if reading.entries[subject].role == Role::Thing && subject < entry => entry = subject,
            _ => break,
        }
    }
    entry
}

#[cfg(test)]
mod tests {
    use crate::testing::check;

    #[test]
    fn with_is_in_on_or_beside() {
        check("a vase in the middle of a table", &["1 vase", "1 table", "vase On table"]);
        check("a desk covered with two butterflies", &["1 desk", "2 butterfly", "butterfly On desk"]);
        check("a bowl with two eggs", &["1 bowl", "2 egg", "egg In bowl"]);
        check("a desk: a lamp and a pen", &["1 desk", "1 lamp", "1 pen", "lamp On desk", "pen On desk"]);
    }

    #[test]
    fn positions_belong_to_their_things() {
        check("a cat on the left and a dog on the right", &["1 cat", "1 dog", "cat Left", "dog Right"]);
        check("in the background a castle", &["1 castle", "castle Background"]);
        check(
            "A dog and a cat sit on a sofa. The cat is on the left.",
            &["1 dog", "1 cat", "1 sofa", "dog On sofa", "cat On sofa", "cat Left"],
        );
        check("six penguins in a row", &["6 penguin", "penguin Row"]);
    }
}
