//! What a caption and a layout want to be seen, box by box: for those who look whether a painted picture shows it.

use std::collections::HashSet;

use sinopia_english::{CaptionAnalysis, Certainty, End, Exclusion, Relation, RelationKind, read};
use sinopia_layout::{Layout, PixelBox};
use sinopia_solver::geometry::{Verdict, holds};

use super::exclusions::Excluded;
use super::matching::{Kinship, Matching, Wanted};
use super::naming::{BoxName, Named, Noun, Text};
use super::relations::{Relations, contradictions};
use super::things::{is_drawn, is_sure};

/// Most pairs of boxes that one relation is asked of.
const MOST_PAIRS: usize = 64;

/// What is wanted of a picture, in terms of its layout's boxes.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Bindings {
    /// One a box, in the layout's order.
    pub boxes: Vec<BoxDescription>,
    /// What the caption or the negative prompt does not want to be seen, and no box is.
    pub excluded: Vec<ExcludedKind>,
    /// How boxes stand to each other by the caption, as far as boxes can show it and the layout does not have it otherwise.
    pub relations: Vec<BoxRelation>,
}

/// What a box shows.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct BoxDescription {
    /// Its noun in the singular, with the nouns before it: `wine glass`.
    pub name: String,
    /// What else it is, from near to far: a puppy is a dog and an animal.
    pub kinds: Vec<String>,
    /// Its colours; where its name has none those of the caption.
    pub colours: Vec<String>,
    /// What else describes it: `wooden`, `sleeping`, `red hat`.
    pub details: Vec<String>,
    /// Whether it stands for several things: `two chairs`, `a row of trees`.
    pub is_several: bool,
}

/// What is not to be seen.
#[derive(Debug, Clone, PartialEq)]
pub struct ExcludedKind {
    /// As written, without article: `red hats`.
    pub phrase: String,
    /// Its noun in the singular.
    pub name: String,
    /// Only things of these words: `red`. Empty for every thing of the kind.
    pub marks: Vec<String>,
}

/// How a box stands to another, both as indices of the layout's objects.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct BoxRelation {
    /// Who stands so.
    pub subject: usize,
    /// How.
    pub kind: RelationKind,
    /// To whom.
    pub object: usize,
}

/// What a caption, where there is one, and a layout want to be seen.
///
/// ```
/// use sinopia_layout::parse_answer;
/// use sinopia_planner::checks::bindings;
///
/// let layout = parse_answer("[('a red cat', [10, 10, 200, 200]), ('a dog', [300, 10, 200, 200])]\nBackground prompt: A room\nNegative prompt: ")?;
/// let wanted = bindings(Some("a cat to the left of a dog, without any birds"), &layout);
/// assert_eq!((wanted.boxes[0].name.as_str(), wanted.boxes[0].colours.as_slice()), ("cat", ["red".to_owned()].as_slice()));
/// assert_eq!(wanted.excluded[0].name, "bird");
/// assert_eq!((wanted.relations[0].subject, wanted.relations[0].object), (0, 1));
/// # Ok::<(), sinopia_layout::Error>(())
/// ```
pub fn bindings(caption: Option<&str>, layout: &Layout) -> Bindings {
    let analysis = caption.map(read).filter(CaptionAnalysis::is_english).unwrap_or_default();
    let named = &Named::new(layout);
    let wanted = &Wanted::all(&analysis)[..];
    let matching = &Matching::new(wanted, named);
    let mut boxes: Vec<BoxDescription> = named.boxes.iter().map(describe).collect();
    add_colours(&mut boxes, wanted, matching);
    let relations = Relations::new(&analysis, wanted, matching, named);
    Bindings { boxes, excluded: excluded(&analysis, wanted, named), relations: bound(&analysis, &relations, named) }
}

fn describe(name: &BoxName) -> BoxDescription {
    BoxDescription {
        name: name.noun.name.clone(),
        kinds: name.noun.kinds.iter().map(|kind| (*kind).to_owned()).collect(),
        colours: name.colours.clone(),
        details: name.details.clone(),
        is_several: name.stands_for_several || name.is_plural || name.counts_as.is_some(),
    }
}

/// A red apple of the caption is red in the layout's `an apple` too.
fn add_colours(boxes: &mut [BoxDescription], wanted: &[Wanted<'_>], matching: &Matching) {
    for (wanted, found) in wanted.iter().zip(&matching.of_thing) {
        let colours = &wanted.thing.colours;
        let is_told = is_sure(wanted) && !colours.iter().any(|colour| colour == "many");
        for found in found.iter().filter(|found| is_told && found.kinship > Kinship::Company) {
            let description = &mut boxes[found.object];
            if description.colours.is_empty() {
                description.colours.clone_from(colours);
            }
        }
    }
}

/// What the caption denies and the negative prompt names, once each; nothing that a box is.
fn excluded(analysis: &CaptionAnalysis, wanted: &[Wanted<'_>], layout: &Named<'_>) -> Vec<ExcludedKind> {
    let negated = negated(&layout.negative);
    let mut excluded: Vec<ExcludedKind> = Vec::new();
    for exclusion in analysis.exclusions.iter().chain(&negated) {
        let Excluded { noun, marks, is_sure, .. } = Excluded::new(exclusion, wanted);
        // Within its phrase a book is a thing, and red a colour: by themselves both are nouns of other classes.
        let phrase = read(&exclusion.phrase);
        let thing = phrase.things.first();
        let classes = noun.class.into_iter().chain(thing.map(|thing| thing.class));
        let colours = thing.map_or(&[][..], |thing| &thing.colours);
        let marks: Vec<String> =
            colours.iter().chain(marks.iter().filter(|mark| !colours.contains(mark))).cloned().collect();
        let is_boxed = layout.boxes.iter().any(|name| shows(name, &noun, &marks));
        let is_known = excluded.iter().any(|known| (&known.name, &known.marks) == (&noun.name, &marks));
        if is_sure && classes.into_iter().any(is_drawn) && !is_boxed && !is_known {
            excluded.push(ExcludedKind { phrase: exclusion.phrase.clone(), name: noun.name, marks });
        }
    }
    excluded
}

/// Words of negative prompts that are of pictures rather than of things in them, and read as things.
const OF_PICTURES: [&str; 5] = ["border", "collage", "duplicate", "frame", "proportion"];

/// Things of a negative prompt, as if a caption had denied them. `bad quality` is none.
fn negated(negative: &Text) -> Vec<Exclusion> {
    let things = negative.analysis.things.iter();
    let drawn = things.filter(|thing| is_drawn(thing.class) && thing.certainty == Certainty::Sure);
    drawn
        .filter(|thing| !OF_PICTURES.contains(&thing.head.as_str()))
        .map(|thing| Exclusion { span: thing.span.clone(), phrase: thing.phrase.clone(), name: thing.name.clone() })
        .collect()
}

fn shows(name: &BoxName, noun: &Noun, marks: &[String]) -> bool {
    name.noun.is_a(noun) && marks.iter().all(|mark| name.words.contains(mark))
}

/// The caption's relations of boxes.
fn bound(analysis: &CaptionAnalysis, relations: &Relations<'_>, layout: &Named<'_>) -> Vec<BoxRelation> {
    let impossible: HashSet<usize> =
        contradictions(&analysis.relations).into_iter().flat_map(|(a, b)| [a, b]).collect();
    let mut bound: Vec<BoxRelation> = Vec::new();
    for (index, relation) in analysis.relations.iter().enumerate() {
        let kind = relations.judged_kind(relation);
        if impossible.contains(&index) || !can_be_seen(kind) || relation.certainty != Certainty::Sure {
            continue;
        }
        let (subjects, objects) = ends(relation, relations);
        for pair in pairs(kind, &subjects, &objects, layout) {
            if !bound.contains(&pair) {
                bound.push(pair);
            }
        }
    }
    bound
}

/// The boxes of both ends; none where it is unsure which they are.
fn ends(relation: &Relation, relations: &Relations<'_>) -> (Vec<usize>, Vec<usize>) {
    let of = |end: End| match end {
        End::Thing(thing) if relations.is_sure(end) && !relations.is_one_of_several(end) => relations.objects_of(thing),
        _ => Vec::new(),
    };
    (of(relation.subject), of(relation.object))
}

/// Directions and sizes hold of every pair; of what touches, each subject has the object to which it stands so best in the layout. A pair that the layout has otherwise is none.
fn pairs(kind: RelationKind, subjects: &[usize], objects: &[usize], layout: &Named<'_>) -> Vec<BoxRelation> {
    if subjects.len() * objects.len() > MOST_PAIRS {
        return Vec::new();
    }
    let stands = |subject: usize, object: usize| {
        let bbox = |index: usize| -> &PixelBox { &layout.layout.objects[index].bbox };
        holds(kind, bbox(subject), bbox(object), layout.layout.canvas)
    };
    let may = |subject: usize, object: usize| subject != object && stands(subject, object) != Verdict::Broken;
    let of_subject = |subject: usize| -> Vec<usize> {
        let may = objects.iter().copied().filter(|object| may(subject, *object));
        if is_of_every_pair(kind) {
            return may.collect();
        }
        // The first of the best.
        may.rev().max_by_key(|object| stands(subject, *object)).into_iter().collect()
    };
    let pair =
        |subject: usize| of_subject(subject).into_iter().map(move |object| BoxRelation { subject, kind, object });
    subjects.iter().flat_map(|subject| pair(*subject)).collect()
}

fn is_of_every_pair(kind: RelationKind) -> bool {
    use RelationKind::*;
    matches!(kind, LeftOf | RightOf | Above | Below | BiggerThan | SmallerThan)
}

/// Whether boxes in a picture show it. Depth they do not show.
fn can_be_seen(kind: RelationKind) -> bool {
    use RelationKind::*;
    matches!(kind, LeftOf | RightOf | Above | Below | BiggerThan | SmallerThan | On | Under | In | NextTo)
}
