//! What has to hold between things that are not fixed to each other.

/// What has to hold between two things of different trees.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) enum Rule {
    /// The first is left of the second.
    Before,
    /// The first is above the second.
    Above,
    /// Side by side with little between them.
    Beside,
    /// Side by side at some distance.
    Apart,
}

/// A rule and its two things.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) struct Constraint {
    pub(crate) rule: Rule,
    pub(crate) first: usize,
    pub(crate) second: usize,
}
