//! A layout's words, each text read once: what each box is named, what stands in the background and in the negative prompt.

use std::collections::{HashMap, HashSet};

use sinopia_english::{CaptionAnalysis, Certainty, Count, NounClass, kinds_of, read};
use sinopia_layout::{Layout, limits, nouns};

/// Most characters of a box's name that are read as English; of the rest only the words count. Names have some twenty.
const NAME_CHARS: usize = 100;

/// Most characters of all names that are read so: as many as of a caption. Two hundred usual names have them.
const ALL_NAMES_CHARS: usize = limits::CAPTION_CHARS;

/// A layout with its words.
pub(super) struct Named<'a> {
    pub(super) layout: &'a Layout,
    /// One a box, in the layout's order.
    pub(super) boxes: Vec<BoxName>,
    pub(super) background: Text,
    pub(super) negative: Text,
}

impl<'a> Named<'a> {
    pub(super) fn new(layout: &'a Layout) -> Self {
        let mut known: HashMap<&str, BoxName> = HashMap::new();
        let mut left = ALL_NAMES_CHARS;
        let name = |phrase: &'a str| {
            let new = || {
                let end = phrase.char_indices().nth(NAME_CHARS.min(left)).map_or(phrase.len(), |(end, _)| end);
                left -= phrase[..end].chars().count();
                BoxName::new(phrase, &phrase[..end])
            };
            known.entry(phrase).or_insert_with(new).clone()
        };
        let boxes = layout.objects.iter().map(|object| object.phrase.as_str()).map(name).collect();
        Self { layout, boxes, background: Text::new(&layout.background), negative: Text::new(&layout.negative) }
    }

    /// Whether any text but the negative prompt has the noun, by name or by kind.
    pub(super) fn mentions(&self, noun: &Noun) -> bool {
        self.background.mentions(noun) || self.boxes.iter().any(|name| name.mentions(noun))
    }
}

/// What a box is named.
#[derive(Debug, Clone, Default)]
pub(super) struct BoxName {
    /// What it is: with the nouns before it, and without.
    pub(super) noun: Noun,
    pub(super) colours: Vec<String>,
    /// All words, in small letters, as written and in the singular.
    pub(super) words: HashSet<String>,
    /// `two chairs`.
    pub(super) stands_for_several: bool,
    /// `chairs`, `a row of trees`.
    pub(super) is_plural: bool,
    /// How many it counts as, if not one: `a pair of shoes` is two, `a bunch of grapes` several.
    pub(super) counts_as: Option<Count>,
    /// What describes it beside its colours: `wooden`, `sleeping`, `red hat`.
    pub(super) details: Vec<String>,
}

impl BoxName {
    /// The name in `phrase`, of which `start` is read as English.
    fn new(phrase: &str, start: &str) -> Self {
        let words = words_of(phrase);
        let analysis = read(start);
        // `number 7 bus`, `a pair of shoes`: a number that counts stands first.
        let first = phrase.split_whitespace().next().unwrap_or_default().to_lowercase();
        let begins_with_article = ["a", "an", "the"].contains(&first.as_str());
        let main = analysis.things.first();
        // `ramen bowl`: where the reading is unsure, the last noun before a preposition is a name too.
        let last = nouns::head(phrase).to_lowercase();
        let last = nouns::singular(last.trim_matches(|c: char| !c.is_alphanumeric()));
        let Some(thing) = main else {
            let setting = analysis.places.iter().chain(&analysis.weather).chain(&analysis.times).next();
            let name = setting.map_or(last.clone(), |setting| setting.name.clone());
            let noun = Noun { also: vec![last], ..Noun::new(&name, &name, NounClass::Object) };
            return Self { noun, words, ..Self::default() };
        };
        let is_sure = thing.certainty == Certainty::Sure;
        let also = if is_sure { Vec::new() } else { vec![last] };
        let count = thing.count;
        let parts = thing.parts.iter().map(|part| &part.phrase);
        let details = thing.adjectives.iter().chain(parts).chain(&thing.doing).cloned().collect();
        let is_number = count.is_written && count.min > 1 && count.min == count.max && !begins_with_article;
        Self {
            noun: Noun { also, ..Noun::new(&thing.name, &thing.head, thing.class) },
            colours: thing.colours.clone(),
            details,
            words,
            stands_for_several: is_number && thing.span.start == start.len() - start.trim_start().len(),
            is_plural: count.max > 1,
            counts_as: Some(count).filter(|count| begins_with_article && count.is_written && count.max > 1),
        }
    }

    /// Whether one of its words is the noun or one of its kinds is.
    pub(super) fn mentions(&self, noun: &Noun) -> bool {
        noun.is_among(&self.words) || noun.is_kind(&self.noun.kinds)
    }
}

/// A noun by its names and by what it is a kind of.
#[derive(Debug, Clone, Default)]
pub(super) struct Noun {
    /// With the nouns before it: `wine glass`.
    pub(super) name: String,
    /// The last word of the name.
    pub(super) head: String,
    /// What else it may be.
    pub(super) also: Vec<String>,
    /// What it is a kind of, from near to far.
    pub(super) kinds: Vec<&'static str>,
    pub(super) class: Option<NounClass>,
}

impl Noun {
    pub(super) fn new(name: &str, head: &str, class: NounClass) -> Self {
        let (name, head) = (name.to_lowercase(), head.to_lowercase());
        let mut kinds = kinds_of(&name, class);
        if kinds.is_empty() && name != head {
            kinds = kinds_of(&head, class);
        }
        Self { name, head, also: Vec::new(), kinds, class: Some(class) }
    }

    /// All names of it.
    pub(super) fn names(&self) -> impl Iterator<Item = &str> {
        let head = Some(self.head.as_str()).filter(|head| *head != self.name);
        std::iter::once(self.name.as_str()).chain(head).chain(self.also.iter().map(String::as_str))
    }

    /// Whether the other one has a name of it.
    pub(super) fn is_same(&self, other: &Noun) -> bool {
        self.names().any(|name| other.names().any(|of| of == name))
    }

    /// Whether it is the other one or a kind of it.
    pub(super) fn is_a(&self, other: &Noun) -> bool {
        self.is_same(other) || other.is_kind(&self.kinds)
    }

    /// Whether kinds have a name of it.
    pub(super) fn is_kind(&self, kinds: &[&str]) -> bool {
        self.names().any(|name| kinds.contains(&name))
    }

    pub(super) fn is_among(&self, words: &HashSet<String>) -> bool {
        words.contains(&self.head) || self.names().any(|name| words.contains(name))
    }
}

/// A prompt beside the boxes.
pub(super) struct Text {
    pub(super) analysis: CaptionAnalysis,
    /// What it names, things first.
    pub(super) nouns: Vec<Noun>,
    pub(super) words: HashSet<String>,
}

impl Text {
    fn new(text: &str) -> Self {
        let analysis = read(text);
        let things = analysis.things.iter().map(|thing| Noun::new(&thing.name, &thing.head, thing.class));
        let places = analysis.places.iter().map(|place| Noun::new(&place.name, &place.name, NounClass::Place));
        let nouns = things.chain(places).collect();
        Self { nouns, words: words_of(text), analysis }
    }

    /// Whether a word of it is the noun, or what it names is a kind of it.
    pub(super) fn mentions(&self, noun: &Noun) -> bool {
        noun.is_among(&self.words) || self.nouns.iter().any(|named| noun.is_kind(&named.kinds))
    }
}

/// The words of a text in small letters, as written and in the singular, and the parts of those with hyphens.
pub(super) fn words_of(text: &str) -> HashSet<String> {
    let text = text.to_lowercase().replace("grey", "gray").replace("golden", "gold");
    let split = |text: &str, keeps: &[char]| -> Vec<String> {
        let words = text.split(|c: char| !c.is_alphanumeric() && !keeps.contains(&c));
        words.filter(|word| !word.is_empty()).map(str::to_owned).collect()
    };
    let mut words: HashSet<String> = split(&text, &['-', '\'']).into_iter().chain(split(&text, &[])).collect();
    let singular: Vec<String> = words.iter().map(|word| nouns::singular(word)).collect();
    words.extend(singular);
    words
}
