//! Rows of activations on their way into a product.

use std::ops::Range;

use super::product::Rows;
use super::quantize::{Bounds, Grid};

/// Rows that lie in memory, `width` elements each, every one on a grid of its own.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Tokens<'a> {
    pub(crate) elements: &'a [f32],
    pub(crate) width: usize,
}

impl Rows for Tokens<'_> {
    type Band = ();

    fn len(&self) -> usize {
        self.elements.len() / self.width.max(1)
    }

    fn block_end(&self, first: usize, most: usize) -> usize {
        (first + most).min(self.len())
    }

    fn band(&self, _: Range<usize>, _: bool) {}

    fn write(&self, (): &(), row: usize, out: &mut [u8]) -> Grid {
        let row = &self.elements[row * self.width..][..self.width];
        let grid = Bounds::of(row).grid();
        grid.place(row, &mut out[..self.width]);
        grid
    }
}
