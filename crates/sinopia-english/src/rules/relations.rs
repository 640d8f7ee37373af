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
            let kind = kind.map(|(kind, is_reversed)| match kind {
                RelationKind::In if is_in_hands => (RelationKind::Holding, true),
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

/// What a link says between two ends, and whether the right one is its subject.
fn relation(reading: &Reading, link: usize, left: usize) -> Option<(RelationKind, bool)> {
    match reading.links[link].kind {
        LinkKind::Relation(kind) => Some((kind, false)),
        LinkKind::Reversed(kind) => Some((kind, true)),
        LinkKind::Verb => Some((RelationKind::Action, false)),
        LinkKind::With | LinkKind::Has => Some(with(reading, left)),
        _ => None,
    }
}

/// `a bowl with eggs`: in it; `a table with candles`: on it; `a mug with a cat on it`: what its own link says, so nothing here; `a man with a dog`: with him.
fn with(reading: &Reading, left: usize) -> (RelationKind, bool) {
    let left_class = reading.entries[left].phrase.class;
    let noun = reading.sentence.words[reading.entries[left].phrase.head].singular.as_str();
    let is_flat = matches!(noun, "plate" | "tray" | "table" | "desk" | "counter" | "shelf" | "platter")
        || left_class == NounClass::Furniture;
    match left_class {
        _ if is_flat => (RelationKind::On, true),
        NounClass::Container | NounClass::Room | NounClass::Place => (RelationKind::In, true),
        _ if noun == "nest" || noun == "box" || noun == "basket" => (RelationKind::In, true),
        _ => (RelationKind::With, false),
    }
}

/// `a table set for dinner: candles and a vase`: what is listed lies on or in what stands before the colon.
fn after_colon(reading: &Reading, right: usize) -> Option<Found> {
    if reading.entries[right].role != Role::Thing {
        return None;
    }
    let first = reading.list_to(right)[0];
    let start = reading.entries[first].phrase.words.start;
    let colon =
        (start.saturating_sub(60)..start).rev().find(|i| matches!(reading.sentence.lower(*i), ":" | "." | ";"))?;
    let between = reading.sentence.words[colon..start].iter().any(|word| word.tag == "IN");
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
    if opens && let Some(entry) = (next..reading.entries.len().min(next + 2)).find(can_be) {
        return vec![entry];
    }
    let is_arranged = matches!(
        reading.links[link].kind,
        LinkKind::Position(
            PositionKind::Row | PositionKind::Circle | PositionKind::Stack | PositionKind::Group | PositionKind::Column
        )
    );
    if is_arranged {
        return subjects::of_link(reading, link).0;
    }
    (next.saturating_sub(3)..next).rev().find(can_be).into_iter().collect()
}

#[cfg(test)]
mod tests {
    use crate::testing::check;

    #[test]
    fn with_is_in_on_or_beside() {
        check("a bowl with two eggs", &["1 bowl", "2 egg", "egg In bowl"]);
        check("a desk: a lamp and a pen", &["1 desk", "1 lamp", "1 pen", "lamp On desk", "pen On desk"]);
    }

    #[test]
    fn positions_belong_to_their_things() {
        check("a cat on the left and a dog on the right", &["1 cat", "1 dog", "cat Left", "dog Right"]);
        check("in the background a castle", &["1 castle", "castle Background"]);
        check("six penguins in a row", &["6 penguin", "penguin Row"]);
    }
}
