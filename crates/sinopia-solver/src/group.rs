//! Things as groups of alike units, and what is fixed to what: a tree, from a table down to the cup on it and the flowers in the cup.

use sinopia_english::NounClass;

use crate::sizes::Support;

/// How a group belongs to the one that carries it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Hold {
    /// Stands or lies on it.
    On,
    /// In a container, a vehicle, a house.
    In,
    /// Below something with room under it: a table, a tree.
    Under,
    /// Partly hidden by it.
    Behind,
    /// Hides a part of it.
    Front,
    /// Sits at it, half hidden: at a table.
    At,
    /// Hangs down from its upper part: from a tree.
    Hanging,
    /// In its hands, or at them.
    Held,
    /// At its side, touching.
    Against,
    /// In the middle of its units, which stand around it.
    Center,
    /// In the middle of it: its units stand left and right.
    Between,
}

/// How the units of a group stand.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Arrangement {
    /// Up to four side by side, more in several rows.
    Free,
    Row,
    Column,
    /// A row whose units reach over each other: flowers in a vase.
    Fan,
    /// On an ellipse.
    Circle,
    /// On top of each other.
    Stack,
    /// Rows that get shorter upwards.
    Pile,
}

/// Where a carrier takes what stands on it, and what it takes in.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Carrier {
    /// How far below its top things on it reach, as a share of its height.
    pub(crate) seat: f64,
    /// Whether its width can follow what it carries: a shelf, not a horse.
    pub(crate) is_stretchable: bool,
    /// Whether there is room below it.
    pub(crate) is_roof: bool,
    /// Whether it lies, seen at an angle, when something is on it: a plate, a surfboard.
    pub(crate) is_flat: bool,
    /// Whether it fills what is behind things: a wall.
    pub(crate) is_backdrop: bool,
    /// Whether it is open at the top: what is in it looks out.
    pub(crate) is_open: bool,
}

/// Units of one thing of the caption.
#[derive(Debug, Clone)]
pub(crate) struct Group {
    /// An index of the analysis.
    pub(crate) thing: usize,
    pub(crate) class: NounClass,
    pub(crate) count: usize,
    /// Whether the caption has a number, or the count may follow what it is paired with.
    pub(crate) is_count_written: bool,
    pub(crate) arrangement: Arrangement,
    /// Width and height of a unit, in shares of the canvas's shorter side at scale 1.
    pub(crate) unit: (f64, f64),
    pub(crate) support: Support,
    pub(crate) carrier: Carrier,
    /// Fixed to each unit: a rider to each horse.
    pub(crate) each: Vec<(Hold, Group)>,
    /// Fixed to the group as a whole.
    pub(crate) whole: Vec<(Hold, Group)>,
}

impl Group {
    /// The group of a thing, wherever in the tree it is.
    pub(crate) fn find_mut(&mut self, thing: usize) -> Option<&mut Group> {
        if self.thing == thing {
            return Some(self);
        }
        self.each.iter_mut().chain(&mut self.whole).find_map(|(_, group)| group.find_mut(thing))
    }

    /// Whether a thing is in the hands of another one of this tree.
    pub(crate) fn has_in_hands(&self, thing: usize) -> bool {
        let children = self.each.iter().chain(&self.whole);
        let is_held = |(hold, group): &(Hold, Group)| {
            matches!(hold, Hold::Held | Hold::Against) && group.contains(thing) || group.has_in_hands(thing)
        };
        children.into_iter().any(is_held)
    }

    /// How many copies of a thing's group there are: as many as units of all that it is fixed to each of. 0 if it is not in this tree.
    pub(crate) fn copies_of(&self, thing: usize) -> usize {
        if self.thing == thing {
            return 1;
        }
        let of = |children: &[(Hold, Group)]| children.iter().map(|(_, group)| group.copies_of(thing)).sum::<usize>();
        self.count * of(&self.each) + of(&self.whole)
    }

    pub(crate) fn contains(&self, thing: usize) -> bool {
        self.thing == thing || self.each.iter().chain(&self.whole).any(|(_, group)| group.contains(thing))
    }
}
