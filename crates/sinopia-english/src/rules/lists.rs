//! Coordination: `a laptop, a notebook and a pen`. The phrases of a list share the link before its first one and the link behind its last one.

use super::links::LinkKind;
use super::phrase::Determiner;
use crate::analysis::RelationKind;
use crate::nouns::NounClass;
use crate::reading::{Reading, Role};

/// What stands between two neighbouring phrases.
#[derive(Clone, Copy, PartialEq)]
enum Between {
    Comma,
    And,
    Other,
}

/// Joins the phrases of lists and hands on their links and negations.
pub(crate) fn join(reading: &mut Reading) {
    let order: Vec<usize> =
        (0..reading.entries.len()).filter(|entry| reading.entries[*entry].role != Role::None).collect();
    let between: Vec<Between> = order.windows(2).map(|pair| between(reading, pair[0], pair[1])).collect();
    // Commas make a list if it ends with an `and`; commas alone part the tags of a prompt.
    let mut ends_with_and = vec![false; between.len() + 1];
    for i in (0..between.len()).rev() {
        ends_with_and[i] = between[i] == Between::And || between[i] == Between::Comma && ends_with_and[i + 1];
    }
    for (i, pair) in order.windows(2).enumerate() {
        if is_placed_list(reading, pair[0], pair[1]) {
            reading.entries[pair[1]].governor = reading.entries[pair[0]].governor;
        } else if ends_with_and[i] {
            // `a lantern in one hand and a bear in the other`
            let held = i.checked_sub(1).map(|before| order[before]).filter(|_| is_hand(reading, pair[0]));
            join_pair(reading, held.unwrap_or(pair[0]), pair[1]);
        }
    }
}

/// `a counter with a toaster on the left, a kettle in the middle and a blender on the right`: all are on it, each in its place.
fn is_placed_list(reading: &Reading, left: usize, right: usize) -> bool {
    let end = reading.end_of(left);
    let Some(link) = reading.link_of_word.get(end).copied().flatten() else { return false };
    let after = reading.links[link].words.end..reading.entries[right].phrase.words.start;
    let is_position = |link: usize| matches!(reading.links[link].kind, LinkKind::Position(_));
    let is_next_placed = reading.link_after(right).is_some_and(is_position);
    let is_list = !after.is_empty()
        && after.len() <= 2
        && reading.sentence.words[after].iter().all(|word| matches!(word.lower(), "," | "and"));
    let (before, entry) = (&reading.entries[left], &reading.entries[right]);
    let is_with = reading.governor_kind(left) == Some(LinkKind::With);
    let is_other = family(before.phrase.class) == Family::Body || family(entry.phrase.class) == Family::Alive;
    is_position(link)
        && is_next_placed
        && is_list
        && is_with
        && entry.governor.is_none()
        && !entry.is_negated
        && !is_other
}

fn is_hand(reading: &Reading, entry: usize) -> bool {
    let is_in = reading.governor_kind(entry) == Some(LinkKind::Relation(RelationKind::In));
    is_in && reading.entries[entry].phrase.class == NounClass::Body
}

fn between(reading: &Reading, left: usize, right: usize) -> Between {
    let words = reading.end_of(left)..reading.entries[right].phrase.words.start;
    if words.is_empty() || words.len() > 3 {
        return Between::Other;
    }
    let mut kind = Between::Comma;
    for word in &reading.sentence.words[words] {
        match word.lower() {
            "," => {}
            "and" | "or" | "nor" | "&" | "plus" => kind = Between::And,
            "also" | "then" | "finally" => {}
            _ => return Between::Other,
        }
    }
    kind
}

fn join_pair(reading: &mut Reading, left: usize, right: usize) {
    let before = &reading.entries[left];
    let (governor, is_negated) = (before.governor, before.is_negated);
    let entry = &reading.entries[right];
    if before.phrase.is_pronoun
        || entry.governor.is_some()
        || entry.is_negated && entry.phrase.determiner != Determiner::No
    {
        return;
    }
    // `no cars and a bicycle` has a bicycle, `no cars or a bicycle` has none.
    let is_bare = matches!(entry.phrase.determiner, Determiner::Bare | Determiner::No);
    let stays_negated = is_negated && (is_bare || is_alternative(reading, left, right));
    if is_negated != stays_negated {
        return;
    }
    match governor {
        Some(_) if !is_negated && starts_anew(reading, left, right) => {}
        _ => {
            let entry = &mut reading.entries[right];
            entry.joined = Some(left);
            entry.governor = governor;
            entry.is_negated |= stays_negated;
        }
    }
}

fn is_alternative(reading: &Reading, left: usize, right: usize) -> bool {
    let between = reading.end_of(left)..reading.entries[right].phrase.words.start;
    let words = reading.sentence.words.get(between).unwrap_or_default();
    words.iter().any(|word| matches!(word.lower(), "or" | "nor"))
}

/// Whether the phrase after `and` stands beside the whole rather than beside the last object: it has a place of its own, refers back, or is alive as the subject is and the object is not.
fn starts_anew(reading: &Reading, left: usize, right: usize) -> bool {
    let family = |entry: usize| family(reading.entries[entry].phrase.class);
    let is_same = family(left) == family(right);
    let is_worn = matches!(reading.governor_kind(left), Some(LinkKind::Wears));
    let has_own_link = reading.link_after(right).is_some();
    let refers_back = reading.refers_back(right);
    // `full of books and a lamp`
    let (inside, other) = (&reading.entries[left].phrase, &reading.entries[right].phrase);
    let is_outside = reading.governor_kind(left) == Some(LinkKind::Reversed(RelationKind::In))
        && inside.determiner == Determiner::Bare
        && other.determiner == Determiner::Indefinite;
    // `plants hanging from the ceiling, and a menu on the wall`: behind a comma, and no list of three.
    let is_placed = matches!(reading.governor_kind(left), Some(LinkKind::Relation(_)));
    let comma = reading.end_of(left);
    let is_apart = is_placed
        && has_own_link
        && reading.entries[left].joined.is_none()
        && reading.sentence.lower(comma) == ","
        && other.words.start > comma + 1;
    refers_back
        || is_outside
        || is_apart
        || has_own_link && !is_same
        || !is_worn && family(right) == Family::Alive && family(left) != Family::Alive
}

#[derive(PartialEq)]
enum Family {
    Alive,
    Body,
    Food,
    Place,
    Other,
}

fn family(class: NounClass) -> Family {
    match class {
        NounClass::Person | NounClass::Animal => Family::Alive,
        NounClass::Body | NounClass::Clothing => Family::Body,
        NounClass::Food | NounClass::Plant => Family::Food,
        NounClass::Place | NounClass::Room | NounClass::Building => Family::Place,
        _ => Family::Other,
    }
}

#[cfg(test)]
mod tests {
    use crate::testing::check;

    #[test]
    fn lists_share_their_links() {
        check("a cup and a spoon on a table", &["1 cup", "1 spoon", "1 table", "cup On table", "spoon On table"]);
        check("a man without hat, scarf or gloves", &["1 man", "no hat", "no scarf", "no glove"]);
        check("a room without a table or a chair", &["room", "no table", "no chair"]);
        check("a street with no cars and a bicycle", &["1 bicycle", "street", "no car"]);
        check("a plate without food and a cup of tea", &["1 plate", "1 cup of tea", "no food"]);
    }

    #[test]
    fn what_has_a_place_of_its_own_starts_anew() {
        check(
            "a plate with cherries and a knife to its left",
            &["1 plate", "2-5 cherry", "1 knife", "cherry On plate", "knife LeftOf plate"],
        );
        check(
            "a bookshelf full of books and a lamp beside an armchair",
            &["1 bookshelf", "2-5 book", "1 lamp", "1 armchair", "book In bookshelf", "lamp NextTo armchair"],
        );
        check(
            "plants hanging from the ceiling, and a menu on the wall",
            &["2-5 plant", "1 ceiling", "1 menu", "1 wall", "plant From ceiling", "menu On wall"],
        );
    }

    #[test]
    fn what_is_listed_with_its_place_shares_its_link() {
        check(
            "a counter with a toaster on the left, a kettle in the middle and a blender on the right",
            &[
                "1 counter",
                "1 toaster",
                "1 kettle",
                "1 blender",
                "toaster On counter",
                "kettle On counter",
                "blender On counter",
                "toaster Left",
                "kettle Middle",
                "blender Right",
            ],
        );
    }
}
