//! Whether the boxes stand as a relation says, of the gold or of the reading, by the solver's own rule ([`sinopia_solver::geometry`]).

use sinopia_english::{CaptionAnalysis, End, PositionKind, RelationKind, Thing};
use sinopia_layout::{Layout, PixelBox};
use sinopia_solver::geometry::{Verdict, group_holds, stands_at};

use super::gold::Row;
use super::phrases::names;
use super::readings;

/// What geometry says of relations.
#[derive(Debug, Default)]
pub(crate) struct Relations {
    pub(crate) hold: usize,
    /// A person would look twice.
    pub(crate) doubtful: Vec<String>,
    pub(crate) broken: Vec<String>,
    /// One end is in the background, or the words say nothing of places.
    pub(crate) not_judged: usize,
}

impl Relations {
    fn add(&mut self, verdict: Option<Verdict>, words: String) {
        match verdict {
            Some(Verdict::Holds) => self.hold += 1,
            Some(Verdict::Doubtful) => self.doubtful.push(words),
            Some(Verdict::Broken) => self.broken.push(words),
            None => self.not_judged += 1,
        }
    }
}

/// The kinds that the words of the gold may mean, `a|b` either; none for verbs that say nothing of places.
pub(crate) fn kinds_of(words: &str) -> Vec<RelationKind> {
    let kinds = |words: &str| match words {
        "riding" => vec![RelationKind::On],
        _ => readings::kinds(words),
    };
    words.split('|').flat_map(kinds).collect()
}

/// Judges the gold's relations: subject, words, object. One whose thing has no box is broken.
pub(crate) fn of_gold(row: &Row, layout: &Layout) -> Relations {
    let mut judged = Relations::default();
    for relation in &row.relations {
        judged.add(gold_holds(relation, row, layout), relation.join(" "));
    }
    judged
}

fn gold_holds(relation: &[String; 3], row: &Row, layout: &Layout) -> Option<Verdict> {
    let [subject, words, object] = relation;
    let subjects = boxes_of_gold(layout, subject);
    let kinds = kinds_of(words);
    let objects = if kinds.contains(&RelationKind::Between) {
        // It needs both ends.
        let ends = row.relations.iter().filter(|other| other[0] == *subject && other[1] == *words);
        ends.flat_map(|other| boxes_of_gold(layout, &other[2])).collect()
    } else {
        boxes_of_gold(layout, object)
    };
    if !subjects.is_empty() && !objects.is_empty() {
        return kinds.into_iter().map(|kind| group_holds(kind, &subjects, &objects, layout.canvas)).max();
    }
    let is_lost =
        |end: &str, boxes: &[PixelBox]| boxes.is_empty() && row.things.iter().any(|thing| is_named(&thing.phrase, end));
    if is_lost(subject, &subjects) || is_lost(object, &objects) {
        return Some(Verdict::Broken);
    }
    let place = position(if object.is_empty() { words } else { object });
    place.filter(|_| !subjects.is_empty()).map(|place| stands_at(place, &subjects, layout.canvas))
}

fn position(words: &str) -> Option<PositionKind> {
    Some(match words {
        "left" => PositionKind::Left,
        "right" => PositionKind::Right,
        "top" => PositionKind::Top,
        "bottom" => PositionKind::Bottom,
        "middle" => PositionKind::Middle,
        "row" => PositionKind::Row,
        "circle" => PositionKind::Circle,
        _ => return None,
    })
}

fn boxes_of_gold(layout: &Layout, gold: &str) -> Vec<PixelBox> {
    layout.objects.iter().filter(|object| is_named(&object.phrase, gold)).map(|object| object.bbox).collect()
}

/// `a|b` is either.
fn is_named(phrase: &str, gold: &str) -> bool {
    gold.split('|').any(|gold| !gold.is_empty() && names(phrase, gold))
}

/// Judges the reading's relations and positions.
pub(crate) fn of_reading(analysis: &CaptionAnalysis, layout: &Layout) -> Relations {
    let mut judged = Relations::default();
    for relation in &analysis.relations {
        let objects = if relation.kind == RelationKind::Between {
            let ends = analysis
                .relations
                .iter()
                .filter(|other| other.kind == RelationKind::Between && other.subject == relation.subject);
            ends.flat_map(|other| boxes_of_end(analysis, layout, other.object)).collect()
        } else {
            boxes_of_end(analysis, layout, relation.object)
        };
        let subjects = boxes_of_end(analysis, layout, relation.subject);
        let is_lost = |end: End, boxes: &[PixelBox]| matches!(end, End::Thing(_)) && boxes.is_empty();
        let verdict = if is_lost(relation.subject, &subjects) || is_lost(relation.object, &objects) {
            Some(Verdict::Broken)
        } else {
            let has_boxes = !subjects.is_empty() && !objects.is_empty();
            has_boxes.then(|| group_holds(relation.kind, &subjects, &objects, layout.canvas))
        };
        let name = |end: End| end_name(analysis, end);
        judged.add(verdict, format!("{} {} {}", name(relation.subject), relation.words, name(relation.object)));
    }
    for position in &analysis.positions {
        let thing = &analysis.things[position.thing];
        let boxes = boxes_of_thing(layout, thing);
        let verdict = (!boxes.is_empty()).then(|| stands_at(position.at, &boxes, layout.canvas));
        judged.add(verdict, format!("{} at {:?}", thing.name, position.at));
    }
    judged
}

/// What the caption calls an end.
pub(crate) fn end_name(analysis: &CaptionAnalysis, end: End) -> &str {
    match end {
        End::Thing(thing) => &analysis.things[thing].name,
        End::Place(place) => &analysis.places[place].name,
    }
}

fn boxes_of_end(analysis: &CaptionAnalysis, layout: &Layout, end: End) -> Vec<PixelBox> {
    match end {
        End::Thing(thing) => boxes_of_thing(layout, &analysis.things[thing]),
        End::Place(place) => boxes_of_gold(layout, &analysis.places[place].name),
    }
}

/// By all its words, or by its noun if no box has them all.
pub(crate) fn boxes_of_thing(layout: &Layout, thing: &Thing) -> Vec<PixelBox> {
    let named = boxes_of_gold(layout, &thing.phrase);
    if named.is_empty() { boxes_of_gold(layout, &thing.name) } else { named }
}
