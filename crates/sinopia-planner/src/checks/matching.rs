//! Which boxes are which things of the caption.
//!
//! A box may be the thing by its name, by what it is a kind of (`a girl` for one of three people), by what it holds (`ramen` for a bowl of ramen), or be more general (`a dog` for a
//! puppy). The likeliest pairs are joined first, colours and adjectives telling `a red cube` from `a blue cube`, until a thing has the number that the caption says.

use std::collections::HashMap;

use sinopia_english::{CaptionAnalysis, NounClass, Thing};
use sinopia_layout::PixelBox;

use super::naming::{BoxName, Named, Noun, words_of};

/// How a box answers to a thing, from weak to strong.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Kinship {
    /// Both are people, or it is a member of a family, a team.
    Company,
    /// The thing is a kind of what the box is: a dog for a puppy.
    General,
    /// The box is a kind of the thing, or what it holds.
    Special,
    /// They are called the same.
    Same,
}

/// The things of a caption, each with what it is called.
pub(super) struct Wanted<'a> {
    pub(super) thing: &'a Thing,
    pub(super) noun: Noun,
    /// What it holds.
    contents: Option<Noun>,
    /// Words that tell it from others of its kind: adjectives, and what its parts are called.
    marks: Vec<String>,
}

impl<'a> Wanted<'a> {
    pub(super) fn new(thing: &'a Thing) -> Self {
        let mut noun = Noun::new(&thing.name, &thing.head, thing.class);
        if matches!(thing.head.as_str(), "thing" | "item") {
            noun.also.push("object".to_owned());
        }
        let contents = thing.contents.as_deref().map(|contents| {
            let head = sinopia_layout::nouns::singular(sinopia_layout::nouns::head(contents));
            Noun::new(&head, &head, NounClass::Food)
        });
        let parts = thing.parts.iter().flat_map(|part| words_of(&part.phrase));
        let marks = thing.adjectives.iter().map(|adjective| adjective.to_lowercase()).chain(parts).collect();
        Self { thing, noun, contents, marks }
    }

    /// All of a caption.
    pub(super) fn all(analysis: &'a CaptionAnalysis) -> Vec<Self> {
        analysis.things.iter().map(Self::new).collect()
    }

    /// How many boxes it takes; a plural without a number takes all.
    fn capacity(&self) -> usize {
        let count = self.thing.count;
        let is_open = self.is_group() || (count.max > 1 && !count.is_written);
        if is_open { usize::MAX } else { count.max as usize }
    }

    /// A family, a crowd: its members have boxes.
    pub(super) fn is_group(&self) -> bool {
        self.thing.class == NounClass::Group
    }

    /// How likely a box of that kinship is this thing. Colours weigh more than a closer name: a blue cube is no red one.
    fn likeness(&self, kinship: Kinship, name: &BoxName) -> i32 {
        let colour = match (&self.thing.colours, &name.colours) {
            (wanted, _) if wanted.is_empty() => 0,
            (wanted, _) if wanted.iter().any(|colour| name.words.contains(colour)) => 30,
            (_, other) if other.is_empty() => 0,
            _ => -60,
        };
        let marks = self.marks.iter().filter(|mark| name.words.contains(*mark)).count().min(4);
        let exact = i32::from(name.noun.name == self.noun.name);
        let contents = i32::from(self.contents.as_ref().is_some_and(|contents| contents.is_among(&name.words)));
        50 * kinship as i32 + colour + 5 * marks as i32 + 10 * (exact + contents)
    }
}

/// A thing's box.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Match {
    /// An index of the layout's objects.
    pub(super) object: usize,
    pub(super) kinship: Kinship,
}

/// For each thing its boxes.
pub(super) struct Matching {
    pub(super) of_thing: Vec<Vec<Match>>,
    /// For each box whether a thing has it.
    pub(super) is_taken: Vec<bool>,
}

impl Matching {
    pub(super) fn new(wanted: &[Wanted<'_>], layout: &Named<'_>) -> Self {
        let mut pairs = Pairs::new(layout).find(wanted, layout);
        pairs.sort_by_key(|pair| (-pair.likeness, pair.thing, pair.object));
        let mut matching = Self { of_thing: vec![Vec::new(); wanted.len()], is_taken: vec![false; layout.boxes.len()] };
        matching.join(&pairs, |pair, found| found.len() < wanted[pair.thing].capacity());
        // What is left is too many of something: of the very name, or one more of several people.
        matching.join(&pairs, |pair, _| {
            let is_several = wanted[pair.thing].thing.count.min > 1;
            pair.kinship == Kinship::Same || (pair.kinship == Kinship::Special && is_several)
        });
        matching
    }

    fn join(&mut self, pairs: &[Pair], takes: impl Fn(&Pair, &[Match]) -> bool) {
        for pair in pairs {
            if !self.is_taken[pair.object] && takes(pair, &self.of_thing[pair.thing]) {
                self.is_taken[pair.object] = true;
                self.of_thing[pair.thing].push(Match { object: pair.object, kinship: pair.kinship });
            }
        }
    }

    /// Where the boxes of a thing lie.
    pub(super) fn places(&self, thing: usize, layout: &Named<'_>) -> Vec<PixelBox> {
        self.of_thing[thing].iter().map(|found| layout.layout.objects[found.object].bbox).collect()
    }
}

/// A thing and a box that it may be.
struct Pair {
    thing: usize,
    object: usize,
    kinship: Kinship,
    likeness: i32,
}

/// Boxes by their names and kinds, so that things need not be held against each.
struct Pairs<'a> {
    by_name: HashMap<&'a str, Vec<usize>>,
    by_kind: HashMap<&'a str, Vec<usize>>,
    people: Vec<usize>,
    animals: Vec<usize>,
}

impl<'a> Pairs<'a> {
    fn new(layout: &'a Named<'_>) -> Self {
        let mut pairs =
            Self { by_name: HashMap::new(), by_kind: HashMap::new(), people: Vec::new(), animals: Vec::new() };
        for (object, name) in layout.boxes.iter().enumerate() {
            for word in name.noun.names() {
                pairs.by_name.entry(word).or_default().push(object);
            }
            for kind in &name.noun.kinds {
                pairs.by_kind.entry(kind).or_default().push(object);
            }
            match name.noun.class {
                Some(NounClass::Person) => pairs.people.push(object),
                Some(NounClass::Animal) => pairs.animals.push(object),
                _ => {}
            }
        }
        pairs
    }

    fn find(&self, wanted: &[Wanted<'_>], layout: &Named<'_>) -> Vec<Pair> {
        let mut found = Vec::new();
        for (thing, wanted) in wanted.iter().enumerate() {
            for (object, kinship) in self.kin(wanted, layout) {
                let likeness = wanted.likeness(kinship, &layout.boxes[object]);
                found.push(Pair { thing, object, kinship, likeness });
            }
        }
        found
    }

    /// The boxes that may be a thing, each by its closest kinship.
    fn kin(&self, wanted: &Wanted<'_>, layout: &Named<'_>) -> HashMap<usize, Kinship> {
        let mut kin: HashMap<usize, Kinship> = HashMap::new();
        let mut add = |objects: &[usize], kinship: Kinship| {
            for object in objects {
                let known = kin.entry(*object).or_insert(kinship);
                *known = kinship.max(*known);
            }
        };
        for name in wanted.noun.names() {
            add(of(&self.by_name, name), Kinship::Same);
            add(of(&self.by_kind, name), Kinship::Special);
        }
        for name in wanted.contents.iter().flat_map(Noun::names) {
            add(of(&self.by_name, name), Kinship::Special);
        }
        for kind in &wanted.noun.kinds {
            add(of(&self.by_name, kind), Kinship::General);
        }
        if wanted.is_group() {
            add(&self.people, Kinship::Company);
            add(&self.animals, Kinship::Company);
        } else if wanted.thing.class == NounClass::Person {
            let may_be = |object: &&usize| !are_opposite(&wanted.noun, &layout.boxes[**object].noun);
            add(&self.people.iter().filter(may_be).copied().collect::<Vec<_>>(), Kinship::Company);
        }
        kin
    }
}

fn of<'m>(objects: &'m HashMap<&str, Vec<usize>>, name: &str) -> &'m [usize] {
    objects.get(name).map_or(&[], Vec::as_slice)
}

/// A man is no woman; a musician may be either.
fn are_opposite(a: &Noun, b: &Noun) -> bool {
    let is = |noun: &Noun, sex: &str| noun.name == sex || noun.kinds.contains(&sex);
    let (male, female) = ("male", "female");
    (is(a, male) && is(b, female)) || (is(a, female) && is(b, male))
}
