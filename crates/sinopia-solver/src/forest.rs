//! Which things are fixed to each other, and what has to hold between those that are not.

use std::collections::HashMap;

use sinopia_english::{CaptionAnalysis, End, NounClass, PositionKind, Relation, RelationKind};

use crate::Remark;
use crate::carriers::{Deed, deed};
use crate::group::{Arrangement, Group, Hold};
use crate::order::{Ranks, order};
use crate::rule::{Constraint, Rule};
use crate::sizes::Support;

/// How much larger the larger one of two compared things is, in area.
const LARGER: f64 = 2.0;

/// How far what stands on an animal reaches below its back: it has no legs to put around it.
const ON_A_BACK: f64 = 0.18;

/// What carries a load on it, having no hands.
const CARRYING: &[NounClass] = &[NounClass::Vehicle, NounClass::Container, NounClass::Furniture, NounClass::Building];

/// Trees of groups and the constraints between them.
#[derive(Debug, Clone, Default)]
pub(crate) struct Forest {
    pub(crate) roots: Vec<Group>,
    pub(crate) constraints: Vec<Constraint>,
    pub(crate) positions: Vec<(usize, PositionKind)>,
    pub(crate) remarks: Vec<Remark>,
    /// Words of the relations behind constraints, to name contradictions.
    words: HashMap<(Rule, usize, usize), String>,
}

/// Builds the forest of `groups`, one for each thing that gets boxes.
pub(crate) fn plant(analysis: &CaptionAnalysis, groups: Vec<Group>) -> Forest {
    let mut forest = Forest { roots: groups, ..Forest::default() };
    for position in &analysis.positions {
        forest.position(position.thing, position.at);
    }
    let mut relations: Vec<(usize, usize, &Relation)> = analysis.relations.iter().filter_map(between_things).collect();
    // Directions first, so that a contradiction is told by the words of the later one; then what is fixed, from the closest bond.
    relations.sort_by_key(|(.., relation)| closeness(relation));
    for (subject, object, relation) in relations {
        if subject != object && forest.has(subject) && forest.has(object) {
            let name = |thing: usize| analysis.things[thing].name.as_str();
            let told = format!("{} {} {}", name(subject), relation.words, name(object));
            forest.relate(subject, object, relation, &told);
        }
    }
    forest.order_children();
    forest
}

fn between_things(relation: &Relation) -> Option<(usize, usize, &Relation)> {
    match (relation.subject, relation.object) {
        (End::Thing(subject), End::Thing(object)) => Some((subject, object, relation)),
        _ => None,
    }
}

fn closeness(relation: &Relation) -> u8 {
    use RelationKind::*;
    match relation.kind {
        LeftOf | RightOf | Above | Below | BiggerThan | SmallerThan => 0,
        Holding | Action => 1,
        On | In => 2,
        Under | Against => 3,
        Behind | InFrontOf => 5,
        Between | Among | Around => 6,
        _ => 7,
    }
}

impl Forest {
    /// Whether something of a tree has such a position.
    pub(crate) fn stands(&self, root: &Group, is_at: impl Fn(PositionKind) -> bool) -> bool {
        self.positions.iter().any(|(thing, at)| is_at(*at) && root.contains(*thing))
    }

    /// How many single things have that position.
    pub(crate) fn positions_of_single(&self, at: PositionKind) -> usize {
        let is_single = |thing: usize| self.roots.iter().any(|root| root.thing == thing && root.count == 1);
        self.positions.iter().filter(|(thing, position)| *position == at && is_single(*thing)).count()
    }

    fn has(&self, thing: usize) -> bool {
        self.roots.iter().any(|root| root.contains(thing))
    }

    fn root_of(&self, thing: usize) -> Option<usize> {
        self.roots.iter().position(|root| root.contains(thing))
    }

    fn find(&mut self, thing: usize) -> Option<&mut Group> {
        self.roots.iter_mut().find_map(|root| root.find_mut(thing))
    }

    fn position(&mut self, thing: usize, at: PositionKind) {
        let Some(group) = self.find(thing) else { return };
        let scale = match at {
            PositionKind::Row => {
                group.arrangement = Arrangement::Row;
                1.0
            }
            PositionKind::Column => return group.arrangement = Arrangement::Column,
            PositionKind::Circle => return group.arrangement = Arrangement::Circle,
            PositionKind::Stack => return group.arrangement = Arrangement::Stack,
            PositionKind::Group => return group.arrangement = Arrangement::Pile,
            PositionKind::Background => 0.65,
            PositionKind::Foreground => 1.25,
            _ => 1.0,
        };
        group.unit = (group.unit.0 * scale, group.unit.1 * scale);
        self.positions.push((thing, at));
    }

    fn relate(&mut self, subject: usize, object: usize, relation: &Relation, told: &str) {
        use RelationKind::*;
        let words = relation.words.as_str();
        match relation.kind {
            LeftOf => self.constrain(Rule::Before, subject, object, told),
            RightOf => self.constrain(Rule::Before, object, subject, told),
            // They fight over a bone, and not above it.
            Above if deed(words) == Some(Deed::Face) => self.constrain(Rule::Beside, subject, object, words),
            Above => self.constrain(Rule::Above, subject, object, told),
            Below => self.constrain(Rule::Above, object, subject, told),
            On if words.starts_with("lean") && !self.is_backdrop(object) => self.attach(subject, object, Hold::Against),
            On if words.starts_with("lean") => self.attach(subject, object, Hold::Front),
            On => self.attach(subject, object, Hold::On),
            // Who pours into a cup is not in it.
            In if self.has_hands_full(subject) && words.ends_with("into") => {
                self.constrain(Rule::Beside, subject, object, words)
            }
            In => self.attach(subject, object, Hold::In),
            Under if self.is_roof(object) => self.attach(subject, object, Hold::Under),
            Under => self.constrain(Rule::Above, object, subject, told),
            Behind => self.attach(subject, object, Hold::Behind),
            InFrontOf => self.attach(subject, object, Hold::Front),
            Against if self.is_backdrop(object) => self.attach(subject, object, Hold::Front),
            Against => self.attach(subject, object, Hold::Against),
            At if self.is_table(object) => self.attach(subject, object, Hold::At),
            Holding => self.hold(object, subject),
            Action => self.act(subject, object, words),
            Between | Among => self.surround(subject, object),
            Around => self.surround(object, subject),
            FollowedBy => {
                self.constrain(Rule::Before, object, subject, told);
                self.constrain(Rule::Beside, object, subject, words);
            }
            BiggerThan => self.compare(subject, object),
            SmallerThan => self.compare(object, subject),
            From if words.starts_with("hang") => self.attach(subject, object, Hold::Hanging),
            From if self.is_open(object) => self.attach(subject, object, Hold::In),
            Through | From => self.attach(subject, object, Hold::Front),
            // A girl with a sword has it in her hand.
            With if self.could_carry(subject, object) => self.attach(object, subject, Hold::On),
            With if self.could_hold(subject, object) => self.hold(object, subject),
            NextTo | At | With | Along | Across | Past | Toward | Outside => {
                self.constrain(Rule::Beside, subject, object, words);
            }
        }
    }

    fn is_roof(&mut self, thing: usize) -> bool {
        self.find(thing).is_some_and(|group| group.carrier.is_roof)
    }

    fn could_hold(&mut self, holder: usize, held: usize) -> bool {
        let is_person = self.find(holder).is_some_and(|group| group.class == NounClass::Person);
        is_person && self.find(held).is_some_and(|group| !group.class.is_alive() && group.support == Support::Surface)
    }

    /// A cake with candles has them on it.
    fn could_carry(&mut self, carrier: usize, load: usize) -> bool {
        let is_food = self.find(load).is_some_and(|group| matches!(group.class, NounClass::Food | NounClass::Plant));
        let carries = |class| class == NounClass::Food || is_food && CARRYING.contains(&class);
        self.find(carrier).is_some_and(|group| carries(group.class))
            && self.find(load).is_some_and(|group| !group.class.is_alive() && group.support == Support::Surface)
    }

    fn has_hands_full(&mut self, thing: usize) -> bool {
        let holds = |group: &mut Group| group.each.iter().chain(&group.whole).any(|(hold, _)| *hold == Hold::Held);
        self.find(thing).is_some_and(holds)
    }

    fn is_backdrop(&mut self, thing: usize) -> bool {
        self.find(thing).is_some_and(|group| group.carrier.is_backdrop)
    }

    /// Something with a top to sit at.
    fn is_table(&mut self, thing: usize) -> bool {
        self.find(thing).is_some_and(|group| {
            group.carrier.is_roof && group.carrier.is_stretchable && group.class == NounClass::Furniture
        })
    }

    fn is_open(&mut self, thing: usize) -> bool {
        self.find(thing).is_some_and(|group| group.carrier.is_open)
    }

    fn act(&mut self, subject: usize, object: usize, words: &str) {
        match deed(words) {
            Some(Deed::Ride) => self.attach(subject, object, Hold::On),
            Some(Deed::Enter) => self.attach(subject, object, Hold::In),
            Some(Deed::Hold) => self.hold(object, subject),
            Some(Deed::Fly) => {
                if let Some(group) = self.find(object) {
                    group.support = Support::Air;
                }
                self.attach(object, subject, Hold::Held);
            }
            Some(Deed::Touch) => self.attach(object, subject, Hold::Against),
            Some(Deed::Chase) => {
                self.constrain(Rule::Before, subject, object, words);
                self.constrain(Rule::Apart, subject, object, words);
            }
            Some(Deed::Face) => self.constrain(Rule::Apart, subject, object, words),
            None => self.constrain(Rule::Beside, subject, object, words),
        }
    }

    /// Puts something into hands, or beside who would hold it if it is too large.
    fn hold(&mut self, held: usize, holder: usize) {
        let area = |group: &mut Group| group.unit.0 * group.unit.1;
        let areas = (self.find(held).map(area), self.find(holder).map(area));
        let is_handy = matches!(areas, (Some(held), Some(holder)) if held <= 1.1 * holder);
        let is_load = self.find(holder).is_some_and(|group| CARRYING.contains(&group.class));
        let hold = match () {
            () if is_load => Hold::On,
            () if is_handy => Hold::Held,
            () => Hold::Against,
        };
        self.attach(held, holder, hold);
    }

    /// Makes the first at least so much larger that it is seen.
    fn compare(&mut self, larger: usize, smaller: usize) {
        let Some((w, h)) = self.find(smaller).map(|group| group.unit) else { return };
        if let Some(group) = self.find(larger) {
            let grow = (LARGER * w * h / (group.unit.0 * group.unit.1)).sqrt().max(1.0);
            // Half of it by making the other one smaller, or one of them fills the picture.
            group.unit = (group.unit.0 * grow.sqrt(), group.unit.1 * grow.sqrt());
            if let Some(other) = self.find(smaller) {
                other.unit = (w / grow.sqrt(), h / grow.sqrt());
            }
        }
    }

    fn constrain(&mut self, rule: Rule, first: usize, second: usize, words: &str) {
        let constraint = Constraint { rule, first, second };
        if self.constraints.contains(&constraint) {
            return;
        }
        if matches!(rule, Rule::Before | Rule::Above) {
            if let Some(kept) = self.path(rule, second, first) {
                self.remarks.push(Remark::Contradiction { kept, dropped: words.to_owned() });
                return;
            }
            self.words.insert((rule, first, second), words.to_owned());
        }
        self.constraints.push(constraint);
    }

    /// The words of the last rule on a way from one thing to another: a rule back would close a circle.
    fn path(&self, rule: Rule, from: usize, to: usize) -> Option<String> {
        let mut reached = vec![(from, None)];
        let mut i = 0;
        while let Some((at, _)) = reached.get(i).cloned() {
            for next in self.constraints.iter().filter(|next| next.rule == rule && next.first == at) {
                if reached.iter().all(|(seen, _)| *seen != next.second) {
                    reached.push((next.second, self.words.get(&(rule, at, next.second)).cloned()));
                }
            }
            i += 1;
        }
        reached.into_iter().skip(1).find(|(thing, _)| *thing == to).map(|(_, words)| words.unwrap_or_default())
    }

    /// Fixes the tree of `child` to `parent`; if both are in one tree already, it stays as it is.
    fn attach(&mut self, child: usize, parent: usize, hold: Hold) {
        let (Some(from), Some(to)) = (self.root_of(child), self.root_of(parent)) else { return };
        if from == to {
            return;
        }
        let is_taken = matches!(hold, Hold::Held | Hold::Against) || self.roots[from].has_in_hands(child);
        if self.roots[from].thing != child && is_taken {
            // Somebody has it already: they share it, and nobody is put into the cup that he pours coffee into.
            return self.constrain(Rule::Beside, child, parent, "");
        }
        let copies = self.roots[to].copies_of(parent);
        let mut tree = self.roots.remove(from);
        // Of three cats on three horses each has one of three birds; what cannot be shared out is put on all of them.
        let is_shared = copies > 1 && tree.count.is_multiple_of(copies);
        let parent = if copies > 1 && !is_shared { self.roots[to - usize::from(from < to)].thing } else { parent };
        if is_shared {
            tree.count /= copies;
        }
        let is_own = tree.thing == child;
        let Some(carrier) = self.find(parent) else { return };
        if is_own && matches!(hold, Hold::On | Hold::In) {
            fit(&mut tree, carrier, hold);
        }
        if hold == Hold::On && carrier.class == NounClass::Animal && tree.class != NounClass::Person {
            carrier.carrier.seat = ON_A_BACK;
        }
        if hold == Hold::In
            && carrier.carrier.is_open
            && tree.unit.1 > 1.3 * tree.unit.0
            && (2..=7).contains(&tree.count)
        {
            tree.arrangement = Arrangement::Fan;
        }
        // Whole trees move behind or before others; what is put on or in something is what was named.
        let pairs = is_own && pairs_up(&tree, carrier, hold);
        if pairs {
            let count = tree.count.min(carrier.count).max(2);
            let count = if tree.count == carrier.count { tree.count } else { count };
            tree.count = 1;
            carrier.count = count;
            carrier.each.push((hold, tree));
        } else {
            carrier.whole.push((hold, tree));
        }
    }

    /// Makes the units of `around` stand around or left and right of `middle`, in the place that `middle` had.
    fn surround(&mut self, middle: usize, around: usize) {
        let (Some(from), Some(_)) = (self.root_of(around), self.root_of(middle)) else { return };
        let count = self.find(around).map_or(1, |group| group.count);
        if self.root_of(middle) == Some(from) {
            return;
        }
        if count == 1 {
            // A fence around a house, or one of the two things that something is between.
            return self.between_two(middle, around);
        }
        let is_ring = count >= 4;
        if self.roots[from].thing != around {
            // It is fixed to something itself: the middle joins it there.
            let position = self.root_of(middle).unwrap_or(from);
            let tree = self.roots.remove(position);
            if let Some(group) = self.find(around) {
                group.whole.push((if is_ring { Hold::Center } else { Hold::Between }, tree));
                group.arrangement = if is_ring { Arrangement::Circle } else { Arrangement::Row };
            }
            return;
        }
        let mut ring = self.roots.remove(from);
        ring.arrangement = if is_ring { Arrangement::Circle } else { Arrangement::Row };
        if let Some(group) = self.find(middle) {
            std::mem::swap(group, &mut ring);
            // `ring` is the middle now, `group` what stands around it.
            group.whole.push((if is_ring { Hold::Center } else { Hold::Between }, ring));
        }
    }

    fn between_two(&mut self, middle: usize, other: usize) {
        let earlier =
            self.constraints.iter().find(|c| c.rule == Rule::Beside && c.first == middle && c.second != other);
        let rules = match earlier.map(|c| c.second) {
            Some(first) => vec![(Rule::Before, first, middle), (Rule::Before, middle, other)],
            None => Vec::new(),
        };
        for (rule, first, second) in rules {
            self.constrain(rule, first, second, "between");
        }
        self.constrain(Rule::Beside, middle, other, "between");
    }

    /// Brings what is fixed to the same carrier into the order that directions and positions ask for.
    fn order_children(&mut self) {
        let rank = Ranks::new(&self.constraints, &self.positions);
        for root in &mut self.roots {
            order(root, &rank);
        }
    }
}

/// Makes what lies on or in something no larger than that; who sits on a ball may be larger.
fn fit(child: &mut Group, carrier: &Group, hold: Hold) {
    let most = if child.class.is_alive() && hold == Hold::On { 2.0 } else { 0.9 };
    let shrink =
        (most * carrier.unit.0 / child.unit.0).min(1.3 * most * carrier.unit.1.max(carrier.unit.0) / child.unit.1);
    if shrink < 1.0 {
        let shrink = shrink.max(0.4);
        child.unit = (child.unit.0 * shrink, child.unit.1 * shrink);
    }
}

/// Whether each unit of the carrier gets a unit of the child: riders and horses, cats on chairs.
fn pairs_up(child: &Group, carrier: &Group, hold: Hold) -> bool {
    let is_close = matches!(hold, Hold::On | Hold::In | Hold::Held | Hold::Against);
    let one_seat =
        matches!(carrier.class, NounClass::Animal | NounClass::Person | NounClass::Vehicle | NounClass::Furniture)
            || hold != Hold::On;
    let counts_agree = child.count == carrier.count || !child.is_count_written || !carrier.is_count_written;
    is_close && child.count > 1 && carrier.count > 1 && counts_agree && one_seat
}
