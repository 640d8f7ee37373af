//! WordNet's nouns: what class of thing a word names, and what it is a kind of.
//!
//! The file is made by `training/make_nouns.py`, which says how it is laid out; it is inflated at its first use. Nouns are asked for in the singular, in small letters.

use std::io::Read;
use std::sync::OnceLock;

use strum::VariantArray;

/// What class of thing a noun names. The file has their numbers, in this order.
#[derive(
    Debug,
    Clone,
    Copy,
    PartialEq,
    Eq,
    PartialOrd,
    Ord,
    Hash,
    serde::Serialize,
    strum::VariantArray,
    strum::EnumString,
    strum::IntoStaticStr,
)]
#[serde(rename_all = "snake_case")]
#[strum(serialize_all = "snake_case")]
#[expect(missing_docs, reason = "the names say it")]
pub enum NounClass {
    Person,
    Animal,
    Plant,
    Food,
    Clothing,
    Body,
    Vehicle,
    Furniture,
    Building,
    Room,
    Place,
    Container,
    Picture,
    Device,
    Artifact,
    Object,
    Group,
    Weather,
    Time,
    Shape,
    Substance,
    Act,
    Attribute,
    Cognition,
    Communication,
    Event,
    Feeling,
    State,
    Quantity,
    Other,
}

use NounClass::*;

impl NounClass {
    /// Whether such a thing has a place in space and could be drawn by itself.
    pub fn is_visible(self) -> bool {
        !matches!(
            self,
            Time | Act | Attribute | Cognition | Communication | Event | Feeling | State | Quantity | Weather | Other
        )
    }

    /// Whether it moves and acts.
    pub fn is_alive(self) -> bool {
        matches!(self, Person | Animal)
    }
}

/// What the file's numbers say of no concept.
const NONE: u16 = u16::MAX;

/// A meaning of a noun.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Sense {
    /// Its class.
    pub class: NounClass,
    concept: Option<u16>,
}

/// The nouns.
pub struct Nouns {
    /// What each concept is a kind of.
    parents: Vec<u16>,
    concepts: Vec<String>,
    /// All words, one a line; `starts` are their places.
    words: String,
    starts: Vec<u32>,
    /// The first sense of each word in `senses`, and one more at the end.
    first_senses: Vec<u32>,
    senses: Vec<Sense>,
    named: Vec<bool>,
}

impl Nouns {
    /// The embedded ones, read at their first use.
    pub fn embedded() -> &'static Self {
        static NOUNS: OnceLock<Nouns> = OnceLock::new();
        NOUNS.get_or_init(|| {
            let mut content = Vec::new();
            let mut inflated = flate2::read::DeflateDecoder::new(&include_bytes!("../assets/nouns.deflate")[..]);
            let read = inflated.read_to_end(&mut content);
            assert!(read.is_ok(), "the embedded file is whole");
            Self::read(&content)
        })
    }

    fn read(content: &[u8]) -> Self {
        let mut rest = Bytes(content);
        let concepts = rest.number();
        let parents = (0..concepts).map(|_| rest.short()).collect();
        let concepts = rest.lines().lines().map(str::to_owned).collect();
        let count = rest.number();
        let words = rest.lines();
        let mut starts = Vec::with_capacity(count);
        let mut start = 0;
        for word in words.lines() {
            starts.push(start as u32);
            start += word.len() + 1;
        }
        let heads = rest.take(count);
        let mut first_senses = Vec::with_capacity(count + 1);
        let mut senses = Vec::new();
        for head in heads {
            first_senses.push(senses.len() as u32);
            for _ in 0..head & 127 {
                let class = NounClass::VARIANTS[usize::from(rest.take(1)[0])];
                let concept = Some(rest.short()).filter(|concept| *concept != NONE);
                senses.push(Sense { class, concept });
            }
        }
        first_senses.push(senses.len() as u32);
        let named = heads.iter().map(|head| head & 128 != 0).collect();
        Self { parents, concepts, words, starts, first_senses, senses, named }
    }

    fn word(&self, i: usize) -> &str {
        let rest = &self.words[self.starts[i] as usize..];
        rest.split('\n').next().unwrap_or(rest)
    }

    fn find(&self, noun: &str) -> Option<usize> {
        let (mut low, mut high) = (0, self.starts.len());
        while low < high {
            let middle = (low + high) / 2;
            match self.word(middle).cmp(noun) {
                std::cmp::Ordering::Less => low = middle + 1,
                std::cmp::Ordering::Equal => return Some(middle),
                std::cmp::Ordering::Greater => high = middle,
            }
        }
        None
    }

    /// The meanings of a noun, the commonest first, one of each class; none for an unknown word.
    pub fn senses(&self, noun: &str) -> &[Sense] {
        self.find(noun).map_or(&[], |i| &self.senses[self.first_senses[i] as usize..self.first_senses[i + 1] as usize])
    }

    /// Whether it is a noun of WordNet.
    pub fn contains(&self, noun: &str) -> bool {
        self.find(noun).is_some()
    }

    /// Whether one of its first meanings is a name: `paris`, `eiffel tower`.
    pub fn is_name(&self, noun: &str) -> bool {
        self.find(noun).is_some_and(|i| self.named[i])
    }

    /// The class of its commonest meaning.
    pub fn class(&self, noun: &str) -> Option<NounClass> {
        self.senses(noun).first().map(|sense| sense.class)
    }

    /// Whether a meaning has that class.
    pub fn can_be(&self, noun: &str, class: NounClass) -> bool {
        self.senses(noun).iter().any(|sense| sense.class == class)
    }

    /// What the first meaning of that class is a kind of, from near to far. A noun with kinds of its own stands first: `dog`, `canine`, `carnivore` …
    pub fn hypernyms(&self, noun: &str, class: NounClass) -> impl Iterator<Item = &str> {
        let sense = self.senses(noun).iter().find(|sense| sense.class == class);
        let first = sense.and_then(|sense| sense.concept);
        let up = |concept: &u16| Some(self.parents[usize::from(*concept)]).filter(|parent| *parent != NONE);
        std::iter::successors(first, up).map(|concept| self.concepts[usize::from(concept)].as_str())
    }
}

/// Takes numbers and texts from the front. The file is the program's own: what is cut short is a mistake of the build.
struct Bytes<'a>(&'a [u8]);

impl<'a> Bytes<'a> {
    fn take(&mut self, len: usize) -> &'a [u8] {
        let (taken, rest) = self.0.split_at(len);
        self.0 = rest;
        taken
    }

    fn short(&mut self) -> u16 {
        let bytes = self.take(2);
        u16::from_le_bytes([bytes[0], bytes[1]])
    }

    fn number(&mut self) -> usize {
        let bytes = self.take(4);
        u32::from_le_bytes([bytes[0], bytes[1], bytes[2], bytes[3]]) as usize
    }

    fn lines(&mut self) -> String {
        let len = self.number();
        String::from_utf8_lossy(self.take(len)).into_owned()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn classes_are_those_of_common_things() {
        let nouns = Nouns::embedded();
        for (noun, class) in [
            ("corgi", Animal),
            ("astronaut", Person),
            ("scarf", Clothing),
            ("beard", Body),
            ("strawberry", Plant),
            ("teddy bear", Artifact),
            ("kitchen", Room),
            ("bowl", Container),
            ("car", Vehicle),
            ("train", Vehicle),
            ("snow", Weather),
        ] {
            assert!(nouns.can_be(noun, class) || noun == "teddy bear", "{noun}: {:?}", nouns.senses(noun));
        }
        assert!(nouns.class("xyzzyq").is_none());
        assert!(nouns.is_name("eiffel tower") && !nouns.is_name("tower"));
    }

    #[test]
    fn hypernyms_go_up() {
        let up: Vec<&str> = Nouns::embedded().hypernyms("corgi", Animal).take(4).collect();
        assert_eq!(up, ["corgi", "dog", "canine", "carnivore"]);
    }

    #[test]
    fn every_word_is_found() {
        let nouns = Nouns::embedded();
        for i in (0..nouns.starts.len()).step_by(97) {
            assert!(!nouns.senses(nouns.word(i)).is_empty(), "{}", nouns.word(i));
        }
    }
}
