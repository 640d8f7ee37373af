//! Whether the caption's things have their boxes: none missing, as many as it says, with their colours and what they wear.

use std::collections::HashSet;

use sinopia_english::{CaptionAnalysis, Certainty, Count, End, NounClass, Nouns, Part, PartKind, RelationKind};

use super::finding::{Finding, Problem, Range, ThingProblem};
use super::matching::{Kinship, Matching, Wanted};
use super::naming::{Named, Noun, words_of};

/// A caption of more things tells details, which a layout may leave to the names of its boxes: that one has no box is remarked, and no fault.
const FEW_THINGS: usize = 6;

/// Beyond this nobody counts: `a hundred lanterns`.
const COUNTED: u32 = 20;

/// Boxes that are enough for a number that nobody counts.
const MANY: usize = 10;

/// Most things that are named where there is no box at all.
const NAMED_THINGS: usize = 3;

/// A caption, its things and what became of them.
pub(super) struct Things<'a> {
    pub(super) caption: &'a str,
    pub(super) analysis: &'a CaptionAnalysis,
    pub(super) wanted: &'a [Wanted<'a>],
    pub(super) matching: &'a Matching,
    pub(super) layout: &'a Named<'a>,
}

impl Things<'_> {
    pub(super) fn find(&self) -> Vec<Finding> {
        let mut findings = Vec::new();
        let missing: Vec<&Wanted<'_>> = self.wanted.iter().filter(|wanted| must_be_drawn(wanted)).collect();
        let has_objects = !self.layout.boxes.is_empty();
        if !has_objects && !missing.is_empty() {
            let things = missing.iter().take(NAMED_THINGS).map(|wanted| wanted.thing.phrase.clone()).collect();
            findings.push(fault(ThingProblem::NoObject { things }));
        }
        for index in 0..self.wanted.len() {
            if has_objects || !must_be_drawn(&self.wanted[index]) {
                findings.extend(self.number(index));
            }
            findings.extend(self.colour(index));
            for part in &self.wanted[index].thing.parts {
                findings.extend(self.part(index, part));
            }
            findings.extend(self.negative(index));
        }
        findings.extend(self.texts());
        findings.extend(self.unknown_words());
        findings
    }

    /// Whether there are as many boxes as the caption says, and any at all.
    fn number(&self, index: usize) -> Option<Finding> {
        let wanted = &self.wanted[index];
        let count = wanted.thing.count;
        let found = self.matching.of_thing[index].len();
        if found == 0 {
            return self.missing(index);
        }
        let (fewest, most) = self.counted(index);
        let with_special = most + self.boxes_of_special_things(index);
        let fits = with_special >= count.min as usize && fewest <= count.max as usize;
        // `birds` are one box, if they are a flock.
        let is_one_plural =
            count.min < count.max && self.boxes(index).any(|object| self.layout.boxes[object].is_plural);
        let is_open = !count.is_written && count.max > 1 && found > 1;
        if fits || wanted.is_group() || is_one_plural || is_open {
            return None;
        }
        let is_sure = is_sure(wanted) && count.is_written && is_wrong(count, found);
        let expected = Range { min: count.min, max: count.max };
        let thing = if count.max == 1 { wanted.noun.name.clone() } else { self.counted_name(index) };
        Some(Finding::new(is_sure, Problem::Things(ThingProblem::Count { thing, expected, found })))
    }

    /// How many its boxes stand for, at least and at most.
    fn counted(&self, index: usize) -> (usize, usize) {
        let boxes = self.matching.of_thing[index].iter().map(|found| self.layout.boxes[found.object].counts_as);
        boxes.fold((0, 0), |(fewest, most), count| match count {
            Some(count) => (fewest + count.min as usize, most + count.max as usize),
            None => (fewest + 1, most + 1),
        })
    }

    /// With its adjectives, where the caption has another thing of that name.
    fn counted_name(&self, index: usize) -> String {
        let wanted = &self.wanted[index];
        let is_alone = self.wanted.iter().filter(|other| other.noun.head == wanted.noun.head).count() == 1;
        if is_alone {
            return wanted.noun.name.clone();
        }
        let colours = wanted.thing.colours.iter().chain(&wanted.thing.adjectives);
        colours.map(String::as_str).chain([wanted.noun.name.as_str()]).collect::<Vec<_>>().join(" ")
    }

    /// `three animals: a cat, a dog and a bird`: boxes of things that are a kind of this one.
    fn boxes_of_special_things(&self, index: usize) -> usize {
        let noun = &self.wanted[index].noun;
        let others = self.wanted.iter().zip(&self.matching.of_thing).enumerate();
        let special = others
            .filter(|(other, (wanted, _))| *other != index && !wanted.noun.is_same(noun) && wanted.noun.is_a(noun));
        special.map(|(_, (_, boxes))| boxes.len()).sum()
    }

    /// What has no box: whether another box or the background has it, or nothing at all.
    fn missing(&self, index: usize) -> Option<Finding> {
        let wanted = &self.wanted[index];
        let (noun, thing) = (&wanted.noun, wanted.thing.phrase.clone());
        let count = wanted.thing.count;
        if self.is_told_by_another_box(wanted) || self.boxes_of_special_things(index) >= count.min as usize {
            return None;
        }
        let is_fault = must_be_drawn(wanted) && self.wanted.len() <= FEW_THINGS && !self.is_handled(index);
        if self.layout.background.mentions(noun) {
            let is_counted = count.is_written && count.min > 1;
            let is_alive = wanted.thing.class.is_alive();
            let is_exact = count.min == count.max;
            return (is_counted || is_alive).then(|| {
                let problem = Problem::Things(ThingProblem::OnlyInBackground { thing });
                Finding::new(is_fault && is_counted && is_alive && is_exact, problem)
            });
        }
        Some(Finding::new(is_fault, Problem::Things(ThingProblem::Missing { thing })))
    }

    /// `a girl reading a book` has the book in her box. A second cube is not told by the box of the first.
    fn is_told_by_another_box(&self, wanted: &Wanted<'_>) -> bool {
        let is_new = wanted.thing.count.is_written;
        self.layout.boxes.iter().any(|name| {
            let is_its_own = name.noun.is_same(&wanted.noun);
            (!is_its_own || !is_new) && name.mentions(&wanted.noun)
        })
    }

    /// What somebody holds, plays, wears or has with him may be drawn with him; so may small things that somebody alive is on or in: a leash, a hat.
    fn is_handled(&self, index: usize) -> bool {
        use RelationKind::*;
        let is_small = !self.wanted[index].thing.class.is_alive() && !is_large(self.wanted[index].thing.class);
        let is_alive = |end: End| matches!(end, End::Thing(thing) if self.wanted[thing].thing.class.is_alive());
        self.analysis.relations.iter().filter(|relation| relation.object == End::Thing(index)).any(|relation| {
            let is_kept = matches!(relation.kind, Holding | Action | With);
            is_kept || (is_small && is_alive(relation.subject) && matches!(relation.kind, On | In | From | Around | At))
        })
    }

    fn boxes(&self, index: usize) -> impl Iterator<Item = usize> {
        self.matching.of_thing[index].iter().filter(|found| found.kinship > Kinship::Company).map(|found| found.object)
    }

    /// Whether its boxes are named with its colour; of several colours one is enough.
    fn colour(&self, index: usize) -> Option<Finding> {
        let wanted = &self.wanted[index];
        let colours = &wanted.thing.colours;
        let first = colours.first().filter(|colour| *colour != "many")?;
        let has = |object: &usize| {
            let name = &self.layout.boxes[*object];
            colours.iter().any(|colour| name.words.contains(colour) || name.colours.contains(colour))
        };
        let (with, without): (Vec<usize>, Vec<usize>) = self.boxes(index).partition(has);
        // One of another colour is another thing: of two red cubes none is blue.
        let other = without.iter().find(|object| !self.layout.boxes[**object].colours.is_empty());
        let object = other.or(without.first())?;
        let phrase = self.layout.layout.objects[*object].phrase.clone();
        let is_fault = is_sure(wanted) && (with.is_empty() || other.is_some());
        let problem = ThingProblem::Colour { thing: wanted.noun.name.clone(), colour: first.clone(), phrase };
        Some(Finding::new(is_fault, Problem::Things(problem)))
    }

    /// Whether a part is named in its thing's box, and has none of its own.
    fn part(&self, index: usize, part: &Part) -> Option<Finding> {
        let thing = self.wanted[index].noun.name.clone();
        let class = Nouns::embedded().class(&part.name).unwrap_or(NounClass::Object);
        let head = part.name.rsplit(' ').next().unwrap_or(&part.name);
        let noun = Noun::new(&part.name, head, class);
        let mut boxes = self.boxes(index).peekable();
        boxes.peek()?;
        let apart = (0..self.layout.boxes.len())
            .find(|object| !self.matching.is_taken[*object] && self.layout.boxes[*object].noun.is_a(&noun));
        let part_phrase = part.phrase.clone();
        if let Some(object) = apart {
            let is_own = part.kind == PartKind::Wears || matches!(class, NounClass::Body | NounClass::Clothing);
            let phrase = self.layout.layout.objects[object].phrase.clone();
            return Some(Finding::new(
                is_own && is_sure(&self.wanted[index]),
                Problem::Things(ThingProblem::PartApart { thing, part: part_phrase, phrase }),
            ));
        }
        // `on a pirate's shoulder`: everybody has one.
        let is_plain_body = class == NounClass::Body && !part.phrase.contains(' ');
        let is_told = is_plain_body || boxes.any(|object| noun.is_among(&self.layout.boxes[object].words));
        let is_lost = !is_told && !self.layout.mentions(&noun);
        is_lost.then(|| Finding::remark(Problem::Things(ThingProblem::PartLost { thing, part: part_phrase })))
    }

    /// Whether the negative prompt has a thing that the caption wants. What is described there (`blurry cat`) is not the thing.
    fn negative(&self, index: usize) -> Option<Finding> {
        let wanted = &self.wanted[index];
        let excluded = |name: &str| self.analysis.exclusions.iter().any(|exclusion| exclusion.name == name);
        let is_in = self.layout.negative.analysis.things.iter().any(|thing| {
            let is_bare = thing.adjectives.is_empty() && thing.colours.is_empty() && thing.parts.is_empty();
            let name = thing.name.to_lowercase();
            let is_kind = wanted.thing.class.is_alive() && wanted.noun.kinds.contains(&name.as_str());
            is_bare && thing.contents.is_none() && (name == wanted.noun.name || is_kind) && !excluded(&name)
        });
        let thing = wanted.thing.phrase.clone();
        is_in.then(|| Finding::new(is_sure(wanted), Problem::Things(ThingProblem::InNegative { thing })))
    }

    /// Quoted text that no box and no background has.
    fn texts(&self) -> impl Iterator<Item = Finding> {
        let has = |text: &str| {
            let words = words_of(text);
            let is_in = |known: &HashSet<String>| words.is_subset(known);
            self.layout.boxes.iter().any(|name| is_in(&name.words)) || is_in(&self.layout.background.words)
        };
        let lost = self.analysis.quotes.iter().filter(move |quote| !has(&quote.text));
        lost.map(|quote| Finding::remark(Problem::Things(ThingProblem::TextLost { text: quote.text.clone() })))
    }

    /// Words that the reading could not place, and that the layout has nowhere.
    fn unknown_words(&self) -> impl Iterator<Item = Finding> {
        let told = |words: &str| {
            let words = words_of(words);
            let texts = [&self.layout.background.words, &self.layout.negative.words];
            let mut texts = texts.into_iter().chain(self.layout.boxes.iter().map(|name| &name.words));
            texts.any(|text| !words.is_disjoint(text))
        };
        let words = self.analysis.not_understood.iter().filter_map(|span| self.caption.get(span.clone()));
        words
            .filter(move |words| !told(words))
            .map(|words| Finding::remark(Problem::Things(ThingProblem::Unmentioned { words: words.to_owned() })))
    }
}

fn fault(problem: ThingProblem) -> Finding {
    Finding::fault(Problem::Things(problem))
}

/// Whether the reading of it may be held against a layout.
pub(super) fn is_sure(wanted: &Wanted<'_>) -> bool {
    wanted.thing.certainty == Certainty::Sure
}

/// Whether a number is so far off that nobody would let it pass: any other than an exact one, half or twice a vague one.
fn is_wrong(count: Count, found: usize) -> bool {
    let (min, max) = (count.min as usize, count.max as usize);
    match () {
        () if count.min > COUNTED => found < MANY,
        () if min == max => true,
        () => 2 * found < min || found > 2 * max,
    }
}

/// Of what somebody alive is on or in.
fn is_large(class: NounClass) -> bool {
    matches!(class, NounClass::Vehicle | NounClass::Furniture | NounClass::Building | NounClass::Plant)
}

/// Whether a person would miss it: something with an article or a number, of a class that is drawn by itself.
fn must_be_drawn(wanted: &Wanted<'_>) -> bool {
    is_drawn(wanted.thing.class) && wanted.thing.count.is_written && is_sure(wanted)
}

/// Whether things of the class are drawn by themselves.
pub(super) fn is_drawn(class: NounClass) -> bool {
    use NounClass::*;
    matches!(
        class,
        Person
            | Animal
            | Plant
            | Food
            | Clothing
            | Vehicle
            | Furniture
            | Building
            | Container
            | Picture
            | Device
            | Artifact
            | Shape
    )
}
