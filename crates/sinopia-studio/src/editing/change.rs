//! What somebody wants changed, in their own words.

use std::fmt;

/// One change of a picture. Objects are named as [`plan`](super::plan) finds them: by their words, or the end of them.
#[derive(Debug, Clone, PartialEq)]
pub enum Change {
    /// Puts an object elsewhere.
    Move {
        /// Which.
        object: String,
        /// `left`, `right`, `up`, `down`, or a box.
        to: String,
    },
    /// Takes an object out.
    Remove {
        /// Which.
        object: String,
    },
    /// Makes an object larger or smaller.
    Resize {
        /// Which.
        object: String,
        /// `larger`, `smaller`, or a box.
        to: String,
    },
    /// Gives an object another colour or material.
    Recolour {
        /// Which.
        object: String,
        /// What it becomes: `a green apple`.
        phrase: String,
    },
    /// Puts something else in an object's place.
    Replace {
        /// Which.
        object: String,
        /// What comes there.
        phrase: String,
    },
    /// Paints something new.
    Add {
        /// What.
        phrase: String,
        /// Its box; a free place is found if nobody says.
        place: Option<String>,
    },
}

impl Change {
    /// The flag that asks for it, without its dashes.
    pub fn flag(&self) -> &'static str {
        match self {
            Self::Move { .. } => "move",
            Self::Remove { .. } => "remove",
            Self::Resize { .. } => "resize",
            Self::Recolour { .. } => "recolour",
            Self::Replace { .. } => "replace",
            Self::Add { .. } => "add",
        }
    }

    /// What is done to its object, in a sentence.
    pub(super) fn participle(&self) -> &'static str {
        match self {
            Self::Move { .. } => "moved",
            Self::Remove { .. } => "removed",
            Self::Resize { .. } => "resized",
            Self::Recolour { .. } => "recoloured",
            Self::Replace { .. } => "replaced",
            Self::Add { .. } => "added",
        }
    }

    /// Every phrase in it.
    pub(super) fn phrases(&self) -> Vec<&str> {
        match self {
            Self::Move { object, .. } | Self::Remove { object } | Self::Resize { object, .. } => vec![object],
            Self::Recolour { object, phrase } | Self::Replace { object, phrase } => vec![object, phrase],
            Self::Add { phrase, .. } => vec![phrase],
        }
    }

    /// The object that must be there already.
    pub(super) fn object(&self) -> Option<&str> {
        match self {
            Self::Add { .. } => None,
            Self::Move { object, .. }
            | Self::Remove { object }
            | Self::Resize { object, .. }
            | Self::Recolour { object, .. }
            | Self::Replace { object, .. } => Some(object),
        }
    }
}

/// Where something goes without a box.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Direction {
    Left,
    Right,
    Up,
    Down,
}

impl Direction {
    /// A word that people use for it.
    pub(super) fn parse(word: &str) -> Option<Self> {
        Some(match word.trim().to_lowercase().as_str() {
            "left" | "to the left" | "leftwards" | "west" => Self::Left,
            "right" | "to the right" | "rightwards" | "east" => Self::Right,
            "up" | "upwards" | "higher" | "north" => Self::Up,
            "down" | "downwards" | "lower" | "south" => Self::Down,
            _ => return None,
        })
    }

    /// The edge that lies there.
    pub(super) fn edge(self) -> &'static str {
        match self {
            Self::Left => "left edge",
            Self::Right => "right edge",
            Self::Up => "top",
            Self::Down => "bottom",
        }
    }
}

impl fmt::Display for Change {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Move { object, to } => write!(f, "move `{object}` {to}"),
            Self::Remove { object } => write!(f, "remove `{object}`"),
            Self::Resize { object, to } => write!(f, "make `{object}` {to}"),
            Self::Recolour { object, phrase } => write!(f, "recolour `{object}` to `{phrase}`"),
            Self::Replace { object, phrase } => write!(f, "replace `{object}` by `{phrase}`"),
            Self::Add { phrase, .. } => write!(f, "add `{phrase}`"),
        }
    }
}
