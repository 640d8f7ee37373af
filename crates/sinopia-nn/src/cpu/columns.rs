//! Matrices of a moment as the right side of an f32 product: packed into panels just before it.

use std::ops::Range;

use super::f32::LANES;

/// A line of a panel: as many elements of one row as a panel has columns. One line of a cache, too: instructions that read half of two are
/// slow.
#[derive(Debug, Clone, Copy)]
#[repr(C, align(64))]
pub(crate) struct Line(pub(crate) [f32; LANES]);

impl Line {
    pub(crate) const ZERO: Self = Self([0.0; LANES]);
}

/// A matrix (K, N) in panels of [`LANES`] columns, each row after row. Columns behind the last are zero.
#[derive(Debug, Default)]
pub(crate) struct Columns {
    pub(super) lines: Vec<Line>,
    /// K
    pub(super) rows: usize,
    pub(super) panels: usize,
}

impl Columns {
    /// How many panels there are.
    pub(crate) fn panels(&self) -> usize {
        self.panels
    }

    /// The rows `rows` of a panel.
    pub(crate) fn panel(&self, panel: usize, rows: Range<usize>) -> &[Line] {
        &self.lines[panel * self.rows..][rows]
    }

    /// All rows of a panel.
    pub(crate) fn whole_panel(&self, panel: usize) -> &[Line] {
        self.panel(panel, 0..self.rows)
    }
}
