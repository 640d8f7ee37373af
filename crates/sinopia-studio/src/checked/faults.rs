//! From what is wrong to what is done about it, by rule.
//!
//! # Source
//! Models find faults and fail to phrase the fix (R3-Bench, arXiv 2605.19639), so each state of a verdict has its operation.

use sinopia_diffusion::Operation;
use sinopia_layout::{BBox, Canvas, PixelBox};

use crate::verdict::{ObjectState, ObjectVerdict, RelationState, RelationVerdict, SAME_THING_IOU, SeenThing, Verdict};

/// Of a missing object's box, the share that another thing covers if that thing stands in its place.
const OCCUPIED_SHARE: f64 = 0.5;
/// A thing that covers more of the picture than this has no place of its own: whoever saw it sees no boxes, or it is the scene.
const EVERYWHERE: f64 = 0.8;
/// How far apart boxes are, as a share of the picture, that are repaired in one pass. Their masks are larger than they are.
const APART: f64 = 0.05;

/// Something that is surely wrong.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Fault {
    pub(super) key: FaultKey,
    /// What may mend it, all of it in one pass.
    pub(super) operations: Vec<Operation>,
}

/// What is wrong, known again in the verdict of another picture.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum FaultKey {
    /// An object of the layout.
    Object(usize),
    /// A thing that should not be there.
    Thing { phrase: String, bbox: BBox },
}

impl FaultKey {
    fn is_same(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Object(one), Self::Object(other)) => one == other,
            (Self::Thing { phrase, bbox }, Self::Thing { phrase: other, bbox: elsewhere }) => {
                phrase == other && bbox.iou(elsewhere) >= SAME_THING_IOU
            }
            _ => false,
        }
    }
}

/// How often each fault was tried to be repaired.
#[derive(Debug, Default)]
pub(super) struct Tries(Vec<(FaultKey, u32)>);

impl Tries {
    pub(super) fn of(&self, key: &FaultKey) -> u32 {
        self.0.iter().filter(|(tried, _)| tried.is_same(key)).map(|(_, count)| *count).max().unwrap_or(0)
    }

    pub(super) fn count(&mut self, key: &FaultKey) {
        let count = self.of(key) + 1;
        self.0.push((key.clone(), count));
    }
}

/// All that is surely wrong, with what is done about it at this try: too much is removed, what is elsewhere moved, what looks otherwise repainted, what is missing added, in this order.
/// What an evaluator is unsure of is left alone.
pub(super) fn faults(verdict: &Verdict, canvas: Canvas, tries: &Tries) -> Vec<Fault> {
    let mut faults: Vec<Fault> = Vec::new();
    let surplus = verdict
        .extra
        .iter()
        .filter(|thing| !is_of_right(thing, verdict) && !is_in_place_of_missing(thing, verdict, tries));
    let surplus = verdict.excluded.iter().chain(surplus);
    faults.extend(surplus.filter_map(|thing| removal(thing, canvas)));
    let mut of_objects: Vec<Fault> = Vec::new();
    for (index, object) in verdict.objects.iter().enumerate() {
        let key = FaultKey::Object(index);
        let is_first = tries.of(&key) == 0;
        let operations = object_repair(index, verdict, canvas, is_first);
        let operations = operations.filter(|_| object.state.is_wrong());
        of_objects.extend(operations.map(|operations| Fault { key, operations }));
    }
    of_objects.extend(verdict.relations.iter().filter_map(|relation| relation_repair(relation, verdict, canvas)));
    of_objects.sort_by_key(|fault| fault.operations.first().map(rank)); // stable: objects keep their order
    faults.extend(of_objects);
    faults
}

/// The faults that are repaired in the next pass: of those with the fewest tries all that lie apart; of those that failed before, one alone.
pub(super) fn batch(open: Vec<Fault>, tries: &Tries) -> Vec<Fault> {
    let fewest = open.iter().map(|fault| tries.of(&fault.key)).min().unwrap_or(0);
    let mut chosen: Vec<Fault> = Vec::new();
    for fault in open.into_iter().filter(|fault| tries.of(&fault.key) == fewest) {
        let is_apart = chosen.iter().all(|other| are_apart(other, &fault));
        if chosen.is_empty() || (fewest == 0 && is_apart) {
            chosen.push(fault);
        }
    }
    chosen
}

fn rank(operation: &Operation) -> u8 {
    match operation {
        Operation::Remove { .. } => 0,
        Operation::Move { .. } => 1,
        Operation::Recolour { .. } | Operation::Replace { .. } => 2,
        Operation::Add { .. } => 3,
    }
}

fn removal(thing: &SeenThing, canvas: Canvas) -> Option<Fault> {
    let bbox = BBox::from_clipped(&thing.bbox, canvas).filter(|bbox| bbox.area() < EVERYWHERE)?;
    let phrase = thing.phrase.clone();
    let key = FaultKey::Thing { phrase: phrase.clone(), bbox };
    Some(Fault { key, operations: vec![Operation::Remove { phrase, bbox }] })
}

/// Whether a thing that is too much is what a right object was seen as, too: removing one would remove the other.
fn is_of_right(thing: &SeenThing, verdict: &Verdict) -> bool {
    let mut right = verdict.objects.iter().filter(|object| object.is_right()).filter_map(|object| object.detected);
    right.any(|bbox| bbox.iou(&thing.bbox) >= SAME_THING_IOU)
}

/// What is done about one object. What failed once is tried in another way.
fn object_repair(index: usize, verdict: &Verdict, canvas: Canvas, is_first: bool) -> Option<Vec<Operation>> {
    let object = &verdict.objects[index];
    let phrase = object.phrase.clone();
    let wanted = BBox::from_clipped(&object.bbox, canvas)?;
    let seen = object.detected.and_then(|bbox| BBox::from_clipped(&bbox, canvas));
    Some(match (object.state, seen) {
        (ObjectState::Right | ObjectState::Unsure, _) => return None,
        (ObjectState::Missing, _) if let Some(bbox) = taken(index, verdict, canvas) => {
            vec![Operation::Replace { phrase, bbox: wanted.union(&bbox) }]
        }
        // What the one does not bring the other may.
        (ObjectState::Missing, _) if is_occupied(index, verdict) == is_first => {
            vec![Operation::Replace { phrase, bbox: wanted }]
        }
        (ObjectState::Missing, _) | (ObjectState::Misplaced, None) => vec![Operation::Add { phrase, bbox: wanted }],
        (ObjectState::WrongAttribute, seen) => {
            // Its mask has to hold all of it: where it was seen, and where it should be.
            let bbox = seen.map_or(wanted, |seen| seen.union(&wanted));
            vec![match is_first {
                true => Operation::Recolour { phrase, bbox, strength: Operation::RECOLOUR_STRENGTH },
                false => Operation::Replace { phrase, bbox },
            }]
        }
        (ObjectState::Misplaced, Some(from)) if is_first => vec![Operation::Move { phrase, from, to: wanted }],
        (ObjectState::Misplaced, Some(bbox)) => {
            vec![Operation::Remove { phrase: phrase.clone(), bbox }, Operation::Add { phrase, bbox: wanted }]
        }
    })
}

/// Where a thing too many is that stands in the place of a missing object: it became that in its stead.
fn taken(index: usize, verdict: &Verdict, canvas: Canvas) -> Option<BBox> {
    let wanted = &verdict.objects[index].bbox;
    let thing = verdict.extra.iter().find(|thing| lies_in(&thing.bbox, wanted) && !is_of_right(thing, verdict))?;
    BBox::from_clipped(&thing.bbox, canvas)
}

/// Whether a thing too many will be replaced by a missing object, so that it need not be removed. Where that failed once, it is.
fn is_in_place_of_missing(thing: &SeenThing, verdict: &Verdict, tries: &Tries) -> bool {
    let mut missing = verdict.objects.iter().enumerate().filter(|(_, object)| object.state == ObjectState::Missing);
    missing.any(|(index, object)| tries.of(&FaultKey::Object(index)) == 0 && lies_in(&thing.bbox, &object.bbox))
}

/// Whether most of a box lies in another.
fn lies_in(thing: &PixelBox, bbox: &PixelBox) -> bool {
    thing.area() > 0.0 && thing.intersection(bbox) >= OCCUPIED_SHARE * thing.area()
}

/// Whether another thing stands where a missing object should and was not to: it may have become a part of that one.
fn is_occupied(index: usize, verdict: &Verdict) -> bool {
    let bbox = &verdict.objects[index].bbox;
    let others = verdict.objects.iter().enumerate().filter(|(other, _)| *other != index);
    // An apple on a plate stands in front of it.
    let others = others.filter(|(_, object)| object.bbox.intersection(bbox) < OCCUPIED_SHARE * bbox.area());
    let seen = others.filter_map(|(_, object)| object.detected);
    let mut things = seen.chain(verdict.extra.iter().chain(&verdict.excluded).map(|thing| thing.bbox));
    things.any(|thing| bbox.area() > 0.0 && thing.intersection(bbox) >= OCCUPIED_SHARE * bbox.area())
}

/// A relation between two objects that are where they should be, each by itself: the one that lies worse in its box is moved into it.
fn relation_repair(relation: &RelationVerdict, verdict: &Verdict, canvas: Canvas) -> Option<Fault> {
    let indices = [relation.subject, relation.object];
    let [subject, object] = indices.map(|index| verdict.objects.get(index));
    let (subject, object) = (subject?, object?);
    if relation.state != RelationState::Fail || [subject, object].iter().any(|object| object.state.is_wrong()) {
        return None;
    }
    let (index, moved): (usize, &ObjectVerdict) =
        if subject.iou <= object.iou { (indices[0], subject) } else { (indices[1], object) };
    let (from, to) = (BBox::from_clipped(&moved.detected?, canvas)?, BBox::from_clipped(&moved.bbox, canvas)?);
    let operations = vec![Operation::Move { phrase: moved.phrase.clone(), from, to }];
    Some(Fault { key: FaultKey::Object(index), operations })
}

fn boxes(operation: &Operation) -> Vec<BBox> {
    match operation {
        Operation::Move { from, to, .. } => vec![*from, *to],
        Operation::Add { bbox, .. }
        | Operation::Remove { bbox, .. }
        | Operation::Recolour { bbox, .. }
        | Operation::Replace { bbox, .. } => vec![*bbox],
    }
}

fn are_apart(one: &Fault, other: &Fault) -> bool {
    let all = |fault: &Fault| fault.operations.iter().flat_map(boxes).collect::<Vec<_>>();
    let others = all(other);
    all(one).iter().all(|bbox| others.iter().all(|other| gap(bbox, other) >= APART))
}

/// The distance of two boxes along the axis on which they are further apart; negative if they overlap.
fn gap(one: &BBox, other: &BBox) -> f64 {
    let across = (one.x0() - other.x1()).max(other.x0() - one.x1());
    let down = (one.y0() - other.y1()).max(other.y0() - one.y1());
    across.max(down)
}
