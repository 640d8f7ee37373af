//! Whether things stand to each other and in the picture as the caption says, by [`sinopia_solver::geometry`].

use std::collections::{BTreeSet, HashMap, HashSet};

use sinopia_english::{
    CaptionAnalysis, Certainty, End, NounClass, Position, PositionKind, Relation, RelationKind, verb_stem,
};
use sinopia_layout::PixelBox;
use sinopia_solver::geometry::{Verdict, group_holds, holds, stands_at};

use super::finding::{Finding, Problem, RelationProblem};
use super::matching::{Kinship, Matching, Wanted};
use super::naming::{Named, Noun};
use super::things::is_sure;

/// Most pairs of boxes of which one is looked for that stands so.
const MOST_PAIRS: usize = 1000;

/// A caption's relations, and the boxes of their ends.
pub(super) struct Relations<'a> {
    analysis: &'a CaptionAnalysis,
    wanted: &'a [Wanted<'a>],
    matching: &'a Matching,
    layout: &'a Named<'a>,
    /// By a box's name the things that have such a box.
    things: HashMap<&'a str, Vec<usize>>,
}

impl<'a> Relations<'a> {
    pub(super) fn new(
        analysis: &'a CaptionAnalysis,
        wanted: &'a [Wanted<'a>],
        matching: &'a Matching,
        layout: &'a Named<'a>,
    ) -> Self {
        let mut things: HashMap<&str, Vec<usize>> = HashMap::new();
        for (thing, boxes) in matching.of_thing.iter().enumerate() {
            for found in boxes {
                let named = things.entry(&layout.layout.objects[found.object].phrase).or_default();
                if named.last() != Some(&thing) {
                    named.push(thing);
                }
            }
        }
        Self { analysis, wanted, matching, layout, things }
    }

    /// Boxes that may overlap, as the caption has one on, in, behind or at the other: pairs of indices of the layout's objects, the smaller first.
    pub(super) fn may_overlap(&self) -> HashSet<(usize, usize)> {
        use RelationKind::*;
        let overlaps = |relation: &&Relation| {
            matches!(
                relation.kind,
                On | In | Under | Behind | InFrontOf | Around | Against | Holding | Action | With | At | Through
            )
        };
        let mut pairs = HashSet::new();
        for relation in self.analysis.relations.iter().filter(overlaps) {
            let (End::Thing(a), End::Thing(b)) = (relation.subject, relation.object) else { continue };
            let (a, b) = (&self.matching.of_thing[a], &self.matching.of_thing[b]);
            if a.len() * b.len() <= MOST_PAIRS {
                let all = a.iter().flat_map(|a| b.iter().map(|b| (a.object.min(b.object), a.object.max(b.object))));
                pairs.extend(all);
            }
        }
        pairs
    }

    pub(super) fn find(&self) -> Vec<Finding> {
        let contradictions = contradictions(&self.analysis.relations);
        let impossible: HashSet<usize> = contradictions.iter().flat_map(|pair| [pair.0, pair.1]).collect();
        let mut findings: Vec<Finding> = contradictions.iter().map(|pair| self.contradiction(*pair)).collect();
        for (index, relation) in self.analysis.relations.iter().enumerate() {
            if !impossible.contains(&index) {
                findings.extend(self.relation(relation));
            }
        }
        findings.extend(self.analysis.positions.iter().filter_map(|position| self.position(position)));
        findings
    }

    fn contradiction(&self, (first, second): (usize, usize)) -> Finding {
        let said = |index: usize| {
            let relation = &self.analysis.relations[index];
            format!("{} {} {}", self.name(relation.subject), how(relation), self.name(relation.object))
        };
        let problem = RelationProblem::Contradiction { first: said(first), second: said(second) };
        Finding::remark(Problem::Relations(problem))
    }

    fn relation(&self, relation: &Relation) -> Option<Finding> {
        let (subjects, objects) = (self.boxes(relation.subject), self.objects(relation));
        let kind = self.judged_kind(relation);
        if subjects.is_empty() || objects.is_empty() || (kind == RelationKind::Between && objects.len() < 2) {
            return None;
        }
        let canvas = self.layout.layout.canvas;
        let verdict = if self.is_one_of_several(relation.subject) || self.is_one_of_several(relation.object) {
            self.any_of_several(kind, relation)?
        } else {
            group_holds(kind, &subjects, &objects, canvas)
        };
        let is_fault = verdict == Verdict::Broken && relation.certainty == Certainty::Sure;
        let is_fault = is_fault && [relation.subject, relation.object].iter().all(|end| self.is_sure(*end));
        let is_told = verdict == Verdict::Broken || (verdict == Verdict::Doubtful && is_place(kind));
        is_told.then(|| {
            let (subject, object) = (self.name(relation.subject), self.name(relation.object));
            let problem = RelationProblem::Relation { subject, how: how(relation), object };
            Finding::new(is_fault, Problem::Relations(problem))
        })
    }

    /// What is judged for it: who rides sits on it, who leans on something touches it, and who runs around a tree is near it; other deeds are not seen by boxes.
    pub(super) fn judged_kind(&self, relation: &Relation) -> RelationKind {
        let says = |verb: &str| relation.words.split_whitespace().any(|word| verb_stem(word) == verb_stem(verb));
        let is_one_alive = |end: End| match end {
            End::Thing(thing) => self.wanted[thing].thing.class.is_alive() && self.matching.of_thing[thing].len() == 1,
            End::Place(_) => false,
        };
        match relation.kind {
            RelationKind::Action if says("ride") => RelationKind::On,
            RelationKind::On if says("lean") => RelationKind::Against,
            RelationKind::Around if is_one_alive(relation.subject) => RelationKind::At,
            kind => kind,
        }
    }

    /// Of `between a tree and a house` both.
    fn objects(&self, relation: &Relation) -> Vec<PixelBox> {
        if relation.kind != RelationKind::Between {
            return self.boxes(relation.object);
        }
        let same = |other: &&Relation| {
            other.kind == relation.kind && other.subject == relation.subject && other.span == relation.span
        };
        self.analysis.relations.iter().filter(same).flat_map(|other| self.boxes(other.object)).collect()
    }

    /// The boxes of an end; of a place those that are named so and are no thing's.
    fn boxes(&self, end: End) -> Vec<PixelBox> {
        match end {
            End::Thing(thing) => self.matching.places(thing, self.layout),
            End::Place(place) => {
                let name = &self.analysis.places[place].name;
                let noun = Noun::new(name, name, NounClass::Place);
                let boxes = self.layout.boxes.iter().zip(&self.layout.layout.objects).zip(&self.matching.is_taken);
                let named = boxes.filter(|((name, _), is_taken)| !**is_taken && name.noun.is_same(&noun));
                named.map(|((_, object), _)| object.bbox).collect()
            }
        }
    }

    /// Which of several is meant nobody can say: it is enough that two stand so.
    fn any_of_several(&self, kind: RelationKind, relation: &Relation) -> Option<Verdict> {
        let (subjects, objects) = (self.boxes_of_its_name(relation.subject), self.boxes_of_its_name(relation.object));
        if subjects.len() * objects.len() > MOST_PAIRS {
            return None;
        }
        let canvas = self.layout.layout.canvas;
        let pairs = subjects.iter().flat_map(|subject| objects.iter().map(move |object| (subject, object)));
        pairs.map(|(subject, object)| holds(kind, subject, object, canvas)).max()
    }

    /// Whether another thing has a box of the same name: `a cat sleeps on the one in the middle`.
    pub(super) fn is_one_of_several(&self, end: End) -> bool {
        let End::Thing(thing) = end else { return false };
        self.phrases(thing).any(|phrase| self.things[phrase].len() > 1)
    }

    /// The boxes of an end and of all things that cannot be told from it.
    fn boxes_of_its_name(&self, end: End) -> Vec<PixelBox> {
        let End::Thing(thing) = end else { return self.boxes(end) };
        let twins: BTreeSet<usize> = self.phrases(thing).flat_map(|phrase| &self.things[phrase]).copied().collect();
        twins.into_iter().flat_map(|twin| self.matching.places(twin, self.layout)).collect()
    }

    /// The boxes of a thing, as indices of the layout's objects, in its order.
    pub(super) fn objects_of(&self, thing: usize) -> Vec<usize> {
        let mut objects: Vec<usize> = self.matching.of_thing[thing].iter().map(|found| found.object).collect();
        objects.sort_unstable();
        objects
    }

    fn phrases(&self, thing: usize) -> impl Iterator<Item = &str> {
        let boxes = self.matching.of_thing[thing].iter();
        boxes.map(|found| self.layout.layout.objects[found.object].phrase.as_str())
    }

    /// Whether the end is surely read, and surely that box.
    pub(super) fn is_sure(&self, end: End) -> bool {
        match end {
            End::Thing(thing) => {
                let boxes = &self.matching.of_thing[thing];
                is_sure(&self.wanted[thing]) && boxes.iter().all(|found| found.kinship > Kinship::Company)
            }
            End::Place(_) => true,
        }
    }

    fn name(&self, end: End) -> String {
        match end {
            End::Thing(thing) => self.wanted[thing].thing.phrase.clone(),
            End::Place(place) => self.analysis.places[place].phrase.clone(),
        }
    }

    fn position(&self, position: &Position) -> Option<Finding> {
        let boxes = self.matching.places(position.thing, self.layout);
        let canvas = self.layout.layout.canvas;
        let is_broken = !boxes.is_empty() && stands_at(position.at, &boxes, canvas) == Verdict::Broken;
        let end = End::Thing(position.thing);
        let stands = |bbox: &PixelBox| stands_at(position.at, std::slice::from_ref(bbox), canvas) != Verdict::Broken;
        let is_another = || self.is_one_of_several(end) && self.boxes_of_its_name(end).iter().any(stands);
        if !is_broken || is_another() || self.stands_opposite(position, &boxes) {
            return None;
        }
        let thing = self.name(end);
        let problem = RelationProblem::Position { thing, place: place_words(position.at) };
        Some(Finding::new(self.is_sure(end), Problem::Relations(problem)))
    }

    /// `a cat on the left and a dog on the right`: it is enough that they stand so to each other.
    fn stands_opposite(&self, position: &Position, boxes: &[PixelBox]) -> bool {
        let Some((opposite, kind)) = opposite(position.at) else { return false };
        self.analysis.positions.iter().filter(|other| other.at == opposite).any(|other| {
            let others = self.matching.places(other.thing, self.layout);
            group_holds(kind, boxes, &others, self.layout.layout.canvas) == Verdict::Holds
        })
    }
}

/// The other side, and how what is on this one stands to what is there.
fn opposite(at: PositionKind) -> Option<(PositionKind, RelationKind)> {
    use PositionKind::*;
    Some(match at {
        Left => (Right, RelationKind::LeftOf),
        Right => (Left, RelationKind::RightOf),
        Top => (Bottom, RelationKind::Above),
        Bottom => (Top, RelationKind::Below),
        _ => return None,
    })
}

/// Relations of which a doubt is told: it takes a small move to mend it.
fn is_place(kind: RelationKind) -> bool {
    use RelationKind::*;
    matches!(kind, LeftOf | RightOf | Above | Below | On | Under | In)
}

/// How the subject is to the object. The caption's own words may be said from the other end: `a vase containing tulips`.
fn how(relation: &Relation) -> String {
    use RelationKind::*;
    let words = match relation.kind {
        LeftOf => "to the left of",
        RightOf => "to the right of",
        Above => "above",
        Below => "below",
        On => "on",
        Under => "under",
        In => "in",
        InFrontOf => "in front of",
        Behind => "behind",
        Between => "between",
        Among => "among",
        NextTo => "next to",
        Around => "around",
        Against => "leaning against",
        At => "at",
        Along => "along",
        Across => "across",
        Through => "passing through",
        Past => "passing",
        Toward => "facing",
        From => "coming from",
        Outside => "outside",
        With => "with",
        Holding => "holding",
        FollowedBy => "followed by",
        BiggerThan => "bigger than",
        SmallerThan => "smaller than",
        Action => return relation.words.to_lowercase(),
    };
    words.to_owned()
}

fn place_words(at: PositionKind) -> &'static str {
    use PositionKind::*;
    match at {
        Left => "on the left",
        Right => "on the right",
        Top => "at the top",
        Bottom => "at the bottom",
        Middle => "in the middle",
        TopLeft => "in the top left corner",
        TopRight => "in the top right corner",
        BottomLeft => "in the bottom left corner",
        BottomRight => "in the bottom right corner",
        Foreground => "in the foreground",
        Background => "in the background",
        Row => "in a row",
        Column => "in a column",
        Circle => "in a circle",
        Stack => "in a stack",
        Group => "in a group",
    }
}

/// Directions in which one end comes before the other.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
enum Order {
    LeftToRight,
    TopToBottom,
    BackToFront,
    SmallToLarge,
}

/// What a relation says of an order, the end that comes first first.
fn ordered(relation: &Relation) -> Option<(Order, End, End)> {
    use RelationKind::*;
    let (subject, object) = (relation.subject, relation.object);
    Some(match relation.kind {
        LeftOf => (Order::LeftToRight, subject, object),
        RightOf => (Order::LeftToRight, object, subject),
        Above => (Order::TopToBottom, subject, object),
        Below | Under => (Order::TopToBottom, object, subject),
        Behind => (Order::BackToFront, subject, object),
        InFrontOf => (Order::BackToFront, object, subject),
        SmallerThan => (Order::SmallToLarge, subject, object),
        BiggerThan => (Order::SmallToLarge, object, subject),
        _ => return None,
    })
}

/// Relations that cannot hold together: the later one closes a circle, and the earlier one is where that begins. Indices of relations.
pub(super) fn contradictions(relations: &[Relation]) -> Vec<(usize, usize)> {
    let mut after: HashMap<(Order, End), Vec<(End, usize)>> = HashMap::new();
    let mut found = Vec::new();
    for (index, relation) in relations.iter().enumerate() {
        let Some((order, first, second)) = ordered(relation) else { continue };
        match path(&after, order, second, first) {
            Some(earlier) => found.push((earlier, index)),
            None => after.entry((order, first)).or_default().push((second, index)),
        }
    }
    found
}

/// The first relation on the way from one end to another, if there is one.
fn path(after: &HashMap<(Order, End), Vec<(End, usize)>>, order: Order, from: End, to: End) -> Option<usize> {
    let mut seen = HashSet::from([from]);
    let mut open: Vec<(End, Option<usize>)> = vec![(from, None)];
    while let Some((end, begun)) = open.pop() {
        for (next, relation) in after.get(&(order, end)).into_iter().flatten() {
            let begun = begun.or(Some(*relation));
            if *next == to {
                return begun;
            }
            if seen.insert(*next) {
                open.push((*next, begun));
            }
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;
    use RelationKind::*;

    fn relation(subject: usize, kind: RelationKind, object: usize) -> Relation {
        let (subject, object) = (End::Thing(subject), End::Thing(object));
        Relation { subject, kind, object, words: String::new(), span: 0..0, certainty: Certainty::Sure }
    }

    #[test]
    fn relations_that_close_a_circle_cannot_hold() {
        let check = |relations: &[(usize, RelationKind, usize)], expected: &[(usize, usize)]| {
            let relations: Vec<Relation> = relations.iter().map(|&(a, kind, b)| relation(a, kind, b)).collect();
            assert_eq!(contradictions(&relations), expected, "{relations:?}");
        };
        check(&[(0, LeftOf, 1), (1, LeftOf, 0)], &[(0, 1)]);
        check(&[(0, LeftOf, 1), (0, RightOf, 1)], &[(0, 1)]);
        check(&[(0, LeftOf, 1), (1, LeftOf, 2), (2, LeftOf, 0)], &[(0, 2)]);
        check(&[(0, Above, 1), (1, Below, 0), (1, LeftOf, 0), (0, NextTo, 1), (1, NextTo, 0)], &[]);
    }
}
