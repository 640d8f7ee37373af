//! A layout against a row of the gold: boxes by name and number, the background, the negative caption, geometry.

use sinopia_english::{CaptionAnalysis, RelationKind};
use sinopia_layout::{Layout, LayoutObject};

use super::geometry::{self, Relations};
use super::gold::{Row, Thing};
use super::phrases::{names, says};
use super::readings;

/// Two boxes with a greater intersection over union are one in the other's place.
const UNWANTED_IOU: f64 = 0.3;

/// What a layout comes to.
#[derive(Debug, Default)]
pub(crate) struct Verdict {
    /// What keeps it from being whole: things, background, exclusions.
    pub(crate) faults: Vec<String>,
    /// Things of the gold that have their boxes.
    pub(crate) found: usize,
    /// Things that have boxes, of the gold or not.
    pub(crate) drawn: usize,
    /// The gold's relations in geometry.
    pub(crate) gold: Relations,
    /// The reading's relations and positions in geometry.
    pub(crate) reading: Relations,
    pub(crate) outside: Vec<String>,
    pub(crate) overlaps: Vec<String>,
    /// Things of the reading that have no box.
    pub(crate) lost: Vec<String>,
    /// Things that the background caption names a second time.
    pub(crate) repeated: Vec<String>,
}

/// Judges a layout. `analysis` is the reading of the row's caption.
pub(crate) fn judge(row: &Row, analysis: &CaptionAnalysis, layout: &Layout) -> Verdict {
    let mut verdict = Verdict::default();
    judge_things(&mut verdict, row, layout);
    judge_settings(&mut verdict, row, analysis, layout);
    verdict.gold = geometry::of_gold(row, layout);
    check_boxes(&mut verdict, row, analysis, layout);
    verdict
}

/// Judges a layout of a caption without gold: only what the reading and the boxes say.
pub(crate) fn check(row: &Row, analysis: &CaptionAnalysis, layout: &Layout) -> Verdict {
    let mut verdict = Verdict::default();
    check_boxes(&mut verdict, row, analysis, layout);
    verdict
}

fn judge_things(verdict: &mut Verdict, row: &Row, layout: &Layout) {
    let mut free: Vec<&LayoutObject> = layout.objects.iter().collect();
    let mut things: Vec<&Thing> = row.things.iter().collect();
    things.sort_by_key(|thing| std::cmp::Reverse(thing.phrase.split(' ').count()));
    for thing in things {
        let taken = thing.readings().find_map(|reading| take(&mut free, reading));
        match taken {
            Some(taken) => {
                match thing.colours.iter().find(|colour| !taken.iter().any(|box_| says(&box_.phrase, colour))) {
                    Some(colour) => verdict.faults.push(format!("no {} is {colour}", thing.phrase)),
                    None => verdict.found += 1,
                }
            }
            None => {
                let before = free.len();
                free.retain(|object| !names(&object.phrase, &thing.phrase));
                let drawn = before - free.len();
                verdict.drawn += usize::from(drawn > 0);
                verdict.faults.push(format!("{drawn} × {} instead of {}", thing.phrase, thing.least()));
                continue;
            }
        }
        verdict.drawn += 1;
    }
    free.retain(|object| !row.either().any(|either| names(&object.phrase, either)));
    verdict.drawn += free.len();
    verdict.faults.extend(free.iter().map(|object| format!("too much: {}", object.phrase)));
}

/// Takes the boxes of a thing out of the free ones, if there are enough.
fn take<'a>(free: &mut Vec<&'a LayoutObject>, thing: &Thing) -> Option<Vec<&'a LayoutObject>> {
    let named: Vec<&LayoutObject> =
        free.iter().filter(|object| names(&object.phrase, &thing.phrase)).copied().collect();
    if named.len() < thing.least() {
        return None;
    }
    let taken: Vec<&LayoutObject> = named.into_iter().take(thing.most()).collect();
    free.retain(|object| !taken.iter().any(|taken| std::ptr::eq(*taken, *object)));
    Some(taken)
}

fn judge_settings(verdict: &mut Verdict, row: &Row, analysis: &CaptionAnalysis, layout: &Layout) {
    let settings = || analysis.places.iter().chain(&analysis.weather).chain(&analysis.times);
    let is_said = |gold: &str| {
        // The caption's own word counts for the one that the gold has for it: `golden hour` for `sunset`.
        let other = settings().find(|setting| readings::names_match(gold, &setting.phrase, &setting.name));
        says(&layout.background, gold) || other.is_some_and(|other| says(&layout.background, &other.phrase))
    };
    for gold in row.background.iter().filter(|gold| !is_said(gold)) {
        verdict.faults.push(format!("no background {gold}"));
    }
    for gold in &row.somewhere {
        if !is_said(gold) && !layout.objects.iter().any(|object| says(&object.phrase, gold)) {
            verdict.faults.push(format!("{gold} nowhere"));
        }
    }
    for gold in &row.excluded {
        if !layout.negative.split(',').any(|part| says(part, gold)) {
            verdict.faults.push(format!("{gold} not excluded"));
        }
        if layout.objects.iter().any(|object| names(&object.phrase, gold)) {
            verdict.faults.push(format!("{gold} excluded and drawn"));
        }
    }
    if row.excluded.is_empty() && !layout.negative.trim().is_empty() {
        verdict.faults.push(format!("excluded without reason: {}", layout.negative));
    }
    let repeated = row.things.iter().filter(|thing| says(&layout.background, &thing.phrase));
    verdict.repeated.extend(repeated.map(|thing| format!("{} in the background too", thing.phrase)));
}

fn check_boxes(verdict: &mut Verdict, row: &Row, analysis: &CaptionAnalysis, layout: &Layout) {
    verdict.reading = geometry::of_reading(analysis, layout);
    let lost = analysis.things.iter().filter(|thing| geometry::boxes_of_thing(layout, thing).is_empty());
    verdict.lost.extend(lost.map(|thing| format!("{} was read and has no box", thing.phrase)));
    for object in &layout.objects {
        if !object.bbox.has_area() || !object.bbox.is_inside(layout.canvas) {
            verdict.outside.push(format!("{} {} outside", object.phrase, object.bbox));
        }
    }
    for (index, one) in layout.objects.iter().enumerate() {
        for other in &layout.objects[index + 1..] {
            let iou = one.bbox.iou(&other.bbox);
            if iou > UNWANTED_IOU && !may_overlap(row, analysis, &one.phrase, &other.phrase) {
                verdict.overlaps.push(format!("{} over {} ({iou:.2})", one.phrase, other.phrase));
            }
        }
    }
}

/// Whether a relation of the gold or of the reading asks for one in the other, on it, behind it.
fn may_overlap(row: &Row, analysis: &CaptionAnalysis, one: &str, other: &str) -> bool {
    let between = |first: &str, second: &str| {
        names(one, first) && names(other, second) || names(one, second) && names(other, first)
    };
    let gold = row.relations.iter().any(|[subject, words, object]| {
        asks_for_overlap(&geometry::kinds_of(words))
            && subject.split('|').any(|subject| object.split('|').any(|object| between(subject, object)))
    });
    let name = |end| geometry::end_name(analysis, end);
    gold || analysis
        .relations
        .iter()
        .any(|relation| asks_for_overlap(&[relation.kind]) && between(name(relation.subject), name(relation.object)))
}

/// No kind is a verb: `wears`, `embraces`.
fn asks_for_overlap(kinds: &[RelationKind]) -> bool {
    use RelationKind::*;
    let apart =
        [LeftOf, RightOf, Above, Below, NextTo, Between, FollowedBy, BiggerThan, SmallerThan, From, Outside, Past];
    !kinds.iter().any(|kind| apart.contains(kind))
}
