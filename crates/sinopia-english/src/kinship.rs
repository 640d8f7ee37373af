//! What names the same thing: a puppy is a dog, a couch a sofa, three people may be a man, a woman and a girl.

use crate::nouns::{NounClass, Nouns};
use crate::words::Words;

/// What a noun is a kind of, from near to far, in its first sense of that class, or in its commonest if it has none; a synonym that WordNet prefers comes first. Nothing for an unknown
/// noun.
///
/// ```
/// use sinopia_english::{NounClass, kinds_of};
///
/// assert!(kinds_of("puppy", NounClass::Animal).contains(&"dog"));
/// assert!(kinds_of("couch", NounClass::Furniture).contains(&"sofa"));
/// assert!(kinds_of("guitarist", NounClass::Person).contains(&"person"));
/// ```
pub fn kinds_of(noun: &str, class: NounClass) -> Vec<&'static str> {
    let nouns = Nouns::embedded();
    let listed = Words::embedded().get("kin", noun);
    let known = listed.unwrap_or(noun);
    let class = if nouns.can_be(known, class) { Some(class) } else { nouns.class(known) };
    let up = class.into_iter().flat_map(|class| nouns.hypernyms(known, class));
    listed.into_iter().chain(up).filter(|kind| *kind != noun).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn young_ones_synonyms_and_trades_have_their_kinds() {
        for (noun, class, kind) in [
            ("kitten", NounClass::Animal, "cat"),
            ("kitten", NounClass::Animal, "animal"),
            ("girl", NounClass::Person, "woman"),
            ("sheriff", NounClass::Person, "person"),
            ("oak tree", NounClass::Plant, "tree"),
            ("sedan", NounClass::Vehicle, "car"),
            ("smartphone", NounClass::Object, "telephone"),
            ("mug", NounClass::Container, "cup"),
        ] {
            assert!(kinds_of(noun, class).contains(&kind), "{noun}: {:?}", kinds_of(noun, class));
        }
        assert!(kinds_of("xyzzyq", NounClass::Object).is_empty());
        assert!(!kinds_of("doll", NounClass::Artifact).contains(&"person"));
        assert!(!kinds_of("dog", NounClass::Animal).contains(&"dog"));
    }
}
