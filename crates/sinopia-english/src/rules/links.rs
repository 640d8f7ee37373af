//! Words between phrases: prepositions of one or more words, verbs, and positions in the picture.

use std::ops::Range;

use super::counts;
use crate::analysis::{PositionKind, RelationKind};
use crate::sentence::{Sentence, Word};
use crate::words::Words;

/// What a link says of the phrases at its two sides.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum LinkKind {
    /// Left is so to right.
    Relation(RelationKind),
    /// Right is so to left.
    Reversed(RelationKind),
    /// Right is with left: a part, or in it, on it, beside it.
    With,
    /// Right is not to be seen.
    Without,
    /// Right is worn by left.
    Wears,
    /// Right describes left.
    Description,
    /// Right is neither drawn nor near.
    Aside,
    /// Left does something to right.
    Verb,
    /// Has, is: by itself no action.
    Has,
    /// Is, are: joins a thing with what is said of it.
    Copula,
    /// Left, or what follows, is there in the picture.
    Position(PositionKind),
}

/// A link and its words.
#[derive(Debug, Clone)]
pub(crate) struct Link {
    pub(crate) words: Range<usize>,
    pub(crate) kind: LinkKind,
    /// Whether its object is a pronoun inside of it: `to its left`.
    pub(crate) to_pronoun: bool,
}

/// All links of a sentence, in order and apart.
pub(crate) fn find(sentence: &Sentence) -> Vec<Link> {
    let mut links: Vec<Link> = Vec::new();
    let mut i = 0;
    while i < sentence.len() {
        match position(sentence, i)
            .or_else(|| arranged(sentence, i))
            .or_else(|| comparison(sentence, i))
            .or_else(|| preposition(sentence, i))
            .or_else(|| verb(sentence, i))
        {
            Some(link) => {
                i = link.words.end;
                links.push(link);
            }
            None => i += 1,
        }
    }
    links
}

fn preposition(sentence: &Sentence, i: usize) -> Option<Link> {
    let (len, value) = sentence.listed("link", i)?;
    // `at least five`, `up to ten`, `around twenty` are numbers.
    if sentence.lower(i) != "to" && counts::at(sentence, i).is_some() {
        return None;
    }
    // `four to six`
    if sentence.lower(i) == "to" && i > 0 && counts::at(sentence, i - 1).is_some_and(|(len, _)| len > 2) {
        return None;
    }
    let word = &sentence.words[i];
    // One word must be used so: `like` is a verb, `past` a noun, `outside` an adverb elsewhere; `down`, `up` go with verbs.
    let is_particle = word.tag == "RP"
        || matches!(word.tag, "RB" | "JJ" | "NN") && matches!(word.lower(), "down" | "up" | "off" | "past");
    let ends_phrase = sentence.get(i + 1).is_none_or(Word::is_break);
    if len == 1 && (is_particle || ends_phrase && !matches!(word.lower(), "nearby") || is_infinitive(sentence, i)) {
        return None;
    }
    if len == 1 && matches!(word.lower(), "holds" | "wear" | "contains") && !word.is_verb() {
        return None;
    }
    let kind = match value {
        "with" => LinkKind::With,
        "without" => LinkKind::Without,
        "wears" => LinkKind::Wears,
        "description" => LinkKind::Description,
        "aside" => LinkKind::Aside,
        _ => match value.strip_prefix('~') {
            Some(value) => LinkKind::Reversed(RelationKind::from_name(value)?),
            None => LinkKind::Relation(RelationKind::from_name(value)?),
        },
    };
    Some(Link { words: i..i + len, kind, to_pronoun: false })
}

/// `to drink`.
fn is_infinitive(sentence: &Sentence, i: usize) -> bool {
    sentence.lower(i) == "to" && sentence.get(i + 1).is_some_and(|next| next.tag == "VB")
}

fn verb(sentence: &Sentence, i: usize) -> Option<Link> {
    let word = &sentence.words[i];
    // A participle before its noun is an adjective: the rule of phrases takes it.
    if !word.is_verb() || sentence.is_adjectival(i) {
        return None;
    }
    let kind = match word.lower() {
        "is" | "are" | "was" | "were" | "be" | "been" | "being" | "'s" | "’s" | "'re" | "’re" | "'m" | "am" => {
            LinkKind::Copula
        }
        "has" | "have" | "having" | "had" => LinkKind::Has,
        _ => LinkKind::Verb,
    };
    Some(Link { words: i..i + 1, kind, to_pronoun: false })
}

/// Words of the picture itself after `of the`.
const PICTURE: [&str; 8] = ["picture", "image", "photo", "frame", "canvas", "screen", "scene", "composition"];

/// `twice as large as`, `three times the size of`, `much taller than`.
fn comparison(sentence: &Sentence, i: usize) -> Option<Link> {
    let (times, factor) = match (sentence.lower(i), sentence.lower(i + 1)) {
        ("twice", _) => (1, 2),
        ("half", _) => (1, 0),
        (_, "times") => (2, counts::at(sentence, i)?.1.min),
        _ => (0, 1),
    };
    let start = i + times;
    if times > 0 && sentence.lower(start) == "the" && matches!(sentence.lower(start + 1), "size" | "height") {
        let kind = if factor == 0 { RelationKind::SmallerThan } else { RelationKind::BiggerThan };
        let of = sentence.lower(start + 2) == "of";
        return of.then(|| Link { words: i..start + 3, kind: LinkKind::Relation(kind), to_pronoun: false });
    }
    let size = Words::embedded().get("size", sentence.lower(start + 1));
    let (is_as, is_than) =
        (sentence.lower(start) == "as" && sentence.lower(start + 2) == "as", sentence.lower(start + 1) == "than");
    if is_as && times > 0 {
        // `half as big` is smaller, `twice as small` too.
        let is_bigger = (factor > 1) == (size? == "big");
        let kind = if is_bigger { RelationKind::BiggerThan } else { RelationKind::SmallerThan };
        return Some(Link { words: i..start + 3, kind: LinkKind::Relation(kind), to_pronoun: false });
    }
    let size = Words::embedded()
        .get("size", sentence.lower(start))
        .filter(|_| is_than && sentence.words[start].tag == "JJR")?;
    let kind = if size == "big" { RelationKind::BiggerThan } else { RelationKind::SmallerThan };
    Some(Link { words: i..start + 2, kind: LinkKind::Relation(kind), to_pronoun: false })
}

/// `side by side`.
fn arranged(sentence: &Sentence, i: usize) -> Option<Link> {
    let (len, value) = sentence.listed("arranged", i)?;
    Some(Link { words: i..i + len, kind: LinkKind::Position(arrangement_kind(value)?), to_pronoun: false })
}

/// `on the left`, `in the top left corner of the picture`, `in the background`, `to its right`, `in a row`.
fn position(sentence: &Sentence, i: usize) -> Option<Link> {
    if !matches!(sentence.lower(i), "in" | "on" | "at" | "to") {
        return None;
    }
    let determiner = sentence.lower(i + 1);
    let is_pronoun = matches!(determiner, "its" | "his" | "her" | "their");
    if !is_pronoun && !matches!(determiner, "the" | "a") {
        return bare_position(sentence, i);
    }
    if determiner == "a" {
        return arrangement(sentence, i);
    }
    let mut end = i + 2;
    end += usize::from(matches!(sentence.lower(end), "far" | "very" | "lower" | "upper" | "immediate"));
    let vertical = match sentence.lower(end - 1) {
        "lower" => Some("bottom"),
        "upper" => Some("top"),
        _ => None,
    };
    let mut named: Vec<&str> = vertical.into_iter().collect();
    while let Some(value) = Words::embedded().get("position", sentence.lower(end)) {
        named.push(value);
        end += 1;
        end += usize::from(sentence.lower(end) == "-" && Words::embedded().has("position", sentence.lower(end + 1)));
    }
    let at = position_kind(&named)?;
    end += usize::from(sentence.lower(end) == "hand");
    end += usize::from(matches!(sentence.lower(end), "side" | "corner" | "half" | "part" | "third" | "edge"));
    if sentence.lower(end) == "of" {
        let picture = end + 1 + usize::from(sentence.lower(end + 1) == "the");
        if !PICTURE.contains(&sentence.lower(picture)) {
            return None;
        }
        end = picture + 1;
    } else if sentence.get(end).is_some_and(|next| next.is_noun())
        && !matches!(at, PositionKind::Background | PositionKind::Foreground)
    {
        return None; // `on the left bank`
    }
    let (kind, to_pronoun) = match (is_pronoun, at) {
        (true, PositionKind::Left) => (LinkKind::Relation(RelationKind::LeftOf), true),
        (true, PositionKind::Right) => (LinkKind::Relation(RelationKind::RightOf), true),
        (true, PositionKind::Background) => (LinkKind::Relation(RelationKind::Behind), true),
        (true, PositionKind::Middle) => (LinkKind::Relation(RelationKind::In), true),
        (true, PositionKind::Top) => (LinkKind::Relation(RelationKind::On), true),
        (true, _) => return None,
        (false, at) => (LinkKind::Position(at), false),
    };
    Some(Link { words: i..end, kind, to_pronoun })
}

/// `cat on left, dog on right`: without an article, with nothing behind it.
fn bare_position(sentence: &Sentence, i: usize) -> Option<Link> {
    let value = Words::embedded().get("position", sentence.lower(i + 1))?;
    let end = i + 2 + usize::from(sentence.lower(i + 2) == "side");
    let ends = sentence.get(end).is_none_or(|word| word.is_break() || word.tag == "CC");
    let kind = LinkKind::Position(position_kind(&[value])?);
    ends.then_some(Link { words: i..end, kind, to_pronoun: false })
}

fn position_kind(named: &[&str]) -> Option<PositionKind> {
    use PositionKind::*;
    Some(match named {
        ["left"] => Left,
        ["right"] => Right,
        ["middle"] | ["middle", "middle"] => Middle,
        ["top"] | ["top", "middle"] => Top,
        ["bottom"] | ["bottom", "middle"] => Bottom,
        ["top", "left"] => TopLeft,
        ["top", "right"] => TopRight,
        ["bottom", "left"] => BottomLeft,
        ["bottom", "right"] => BottomRight,
        ["foreground"] => Foreground,
        ["background"] => Background,
        _ => return None,
    })
}

/// `in a row`, `in a straight line`.
fn arrangement(sentence: &Sentence, i: usize) -> Option<Link> {
    let noun = i + 2 + usize::from(sentence.get(i + 2).is_some_and(Word::is_adjective));
    let value = Words::embedded().get("arrangement", sentence.lower(noun))?;
    if sentence.lower(i) != "in" || sentence.lower(noun + 1) == "of" {
        return None;
    }
    Some(Link { words: i..noun + 1, kind: LinkKind::Position(arrangement_kind(value)?), to_pronoun: false })
}

/// By its name in the list.
pub(crate) fn arrangement_kind(value: &str) -> Option<PositionKind> {
    Some(match value {
        "row" => PositionKind::Row,
        "column" => PositionKind::Column,
        "circle" => PositionKind::Circle,
        "stack" => PositionKind::Stack,
        "group" => PositionKind::Group,
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(text: &str, expected: &[(&str, LinkKind)]) {
        let sentence = Sentence::parse(text, &[]);
        let found: Vec<(String, LinkKind)> =
            find(&sentence).into_iter().map(|link| (sentence.joined(link.words), link.kind)).collect();
        let expected: Vec<(String, LinkKind)> =
            expected.iter().map(|(words, kind)| ((*words).to_owned(), *kind)).collect();
        assert_eq!(found, expected, "{text}");
    }

    #[test]
    fn the_longest_words_win() {
        check("a cat in front of a dog", &[("in front of", LinkKind::Relation(RelationKind::InFrontOf))]);
        check("a cat to the left of a dog", &[("to the left of", LinkKind::Relation(RelationKind::LeftOf))]);
        check(
            "a cat on the left side of the picture",
            &[("on the left side of the picture", LinkKind::Position(PositionKind::Left))],
        );
        check("a cat in the top left corner", &[("in the top left corner", LinkKind::Position(PositionKind::TopLeft))]);
        check("four to six ducks", &[]);
        check("six cats in a row", &[("in a row", LinkKind::Position(PositionKind::Row))]);
        check("a fork to its right", &[("to its right", LinkKind::Relation(RelationKind::RightOf))]);
        check(
            "a dog twice as large as a horse",
            &[("twice as large as", LinkKind::Relation(RelationKind::BiggerThan))],
        );
        check("a dog half the size of a horse", &[("half the size of", LinkKind::Relation(RelationKind::SmallerThan))]);
        check("a dog wider than a horse", &[("wider than", LinkKind::Relation(RelationKind::BiggerThan))]);
    }
}
