//! Coordination: `a laptop, a notebook and a pen`. The phrases of a list share the link before its first one and the link behind its last one.

use super::links::LinkKind;
use super::phrases::Determiner;
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
        if ends_with_and[i] {
            join_pair(reading, pair[0], pair[1]);
        }
    }
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
    let stays_negated =
        is_negated && (governor.is_some() || matches!(entry.phrase.determiner, Determiner::Bare | Determiner::No));
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

/// Whether the phrase after `and` stands beside the whole rather than beside the last object: it has a place of its own, refers back, or is alive as the subject is and the object is not.
fn starts_anew(reading: &Reading, left: usize, right: usize) -> bool {
    let family = |entry: usize| family(reading.entries[entry].phrase.class);
    let is_same = family(left) == family(right);
    let is_worn = matches!(reading.governor_kind(left), Some(LinkKind::Wears));
    let has_own_link = reading.link_after(right).is_some();
    let refers_back = reading.refers_back(right);
    refers_back
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
    }

    #[test]
    fn what_has_a_place_of_its_own_starts_anew() {
        check(
            "a plate with cherries and a knife to its left",
            &["1 plate", "2-5 cherry", "1 knife", "cherry On plate", "knife LeftOf plate"],
        );
    }
}
