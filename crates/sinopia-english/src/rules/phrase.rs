//! What a noun phrase is, and what class of thing its noun names.

use std::ops::Range;

use crate::analysis::Count;
use crate::nouns::{NounClass, Nouns};
use crate::words::Words;

/// What a phrase begins with.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Determiner {
    /// Nothing, or an adjective.
    Bare,
    /// a, an, one of …
    Indefinite,
    /// the, this …
    Definite,
    /// its, her …
    Possessive,
    /// A number.
    Number,
    /// no, neither.
    No,
}

/// A noun with what belongs to it.
#[derive(Debug, Clone)]
pub(crate) struct Phrase {
    /// All of it.
    pub(crate) words: Range<usize>,
    /// Without article and number.
    pub(crate) core: Range<usize>,
    /// The noun.
    pub(crate) head: usize,
    pub(crate) determiner: Determiner,
    pub(crate) count: Count,
    /// Its noun in the singular with the nouns before it.
    pub(crate) name: String,
    pub(crate) class: NounClass,
    /// Whether WordNet has the noun.
    pub(crate) is_known: bool,
    /// it, them, both: what it stands for is found later.
    pub(crate) is_pronoun: bool,
    /// The phrase whose noun is meant, where it has none of its own: `one black` after `two dogs`. The head then lies outside.
    pub(crate) lender: Option<usize>,
}

impl Phrase {
    /// The words before its noun.
    pub(crate) fn modifiers(&self) -> Range<usize> {
        if self.lender.is_some() { self.core.clone() } else { self.core.start..self.head }
    }
}

/// The class of the first meaning; of something counted, of the first meaning that can be seen.
pub(crate) fn class_of(noun: &str, is_counted: bool) -> Option<NounClass> {
    let words = Words::embedded();
    if let Some(class) =
        words.get("class", noun).filter(|_| words.get("place", noun).is_none_or(|place| place == "surface"))
    {
        return class.parse().ok();
    }
    if words.has("place", noun) && words.get("place", noun) != Some("celestial") {
        return Some(NounClass::Place);
    }
    let senses = Nouns::embedded().senses(noun);
    let first = senses.first()?.class;
    // `a chihuahua` is no state of Mexico.
    if is_counted && first == NounClass::Place && senses.iter().any(|sense| sense.class == NounClass::Animal) {
        return Some(NounClass::Animal);
    }
    let countable = |class: NounClass| class.is_visible() && class != NounClass::Substance;
    if is_counted && !countable(first) {
        let seen = senses.iter().map(|sense| sense.class).find(|class| countable(*class));
        return seen.or(Some(first));
    }
    Some(first)
}
