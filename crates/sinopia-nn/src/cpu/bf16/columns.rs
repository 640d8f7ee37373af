//! Matrices of a moment as either side of a bf16 product: rows that are rounded, and panels of columns that are packed.

#![expect(unsafe_code, reason = "tiles of a result, and pairs seen as halves")]

use std::ops::Range;

use super::convert::{round_scaled_to_bf16, round_to_bf16};
use super::packed::Line;
use super::tile::{ROWS, ROWS_OF_48, Tile, multiply_tile};
use crate::cpu::isa::Isa;
use crate::cpu::start::Begin;

/// Rows of bf16, each filled up with a zero to an even length.
#[derive(Default)]
pub(crate) struct RowBits {
    bits: Vec<u32>,
    rows: usize,
    /// Pairs of a row in use, and from a row to the next.
    pairs: usize,
    stride: usize,
}

impl RowBits {
    /// Makes room for `rows` rows of `width` elements; what they hold is unspecified but for the zero at the end of odd ones.
    pub(crate) fn reset(&mut self, rows: usize, width: usize) {
        self.rows = rows;
        self.pairs = width.div_ceil(2);
        self.stride = self.pairs.next_multiple_of(16) + 16;
        if self.bits.len() < rows * self.stride {
            self.bits = vec![0; rows * self.stride];
        }
        if width % 2 == 1 {
            for row in 0..rows {
                self.bits[row * self.stride + self.pairs - 1] = 0;
            }
        }
    }

    /// Fills `rows` rows of `width` elements with `scale · source(row)`.
    pub(crate) fn fill_scaled<'a>(
        &mut self,
        rows: usize,
        width: usize,
        scale: f32,
        source: impl Fn(usize) -> &'a [f32],
    ) {
        self.reset(rows, width);
        for row in 0..rows {
            round_scaled_to_bf16(source(row), scale, &mut self.row_mut(row)[..width]);
        }
    }

    /// Fills with the transpose of `width` columns of `other`: (width, rows of `other`).
    pub(crate) fn fill_transposed(&mut self, other: &Self, width: usize) {
        self.reset(width, other.rows);
        for row in 0..other.rows {
            let source = other.row(row);
            for (column, &bits) in source[..width].iter().enumerate() {
                self.row_mut(column)[row] = bits;
            }
        }
    }

    /// Pairs of a row.
    pub(crate) fn row_pairs(&self) -> usize {
        self.pairs
    }

    /// The elements of a row, the zero at its end included.
    pub(crate) fn row_mut(&mut self, row: usize) -> &mut [u16] {
        halves_mut(&mut self.bits[row * self.stride..][..self.pairs])
    }

    fn row(&self, row: usize) -> &[u16] {
        let pairs = &self.bits[row * self.stride..][..self.pairs];
        // SAFETY: u16 has no invalid values and a smaller alignment, and two fit each u32.
        unsafe { std::slice::from_raw_parts(pairs.as_ptr().cast(), 2 * pairs.len()) }
    }
}

/// Pairs of bf16 bits as single ones, low half first.
pub(super) fn halves_mut(pairs: &mut [u32]) -> &mut [u16] {
    const { assert!(cfg!(target_endian = "little"), "the first element of a pair is the low half of its word") };
    // SAFETY: u16 has no invalid values and a smaller alignment, and two fit each u32.
    unsafe { std::slice::from_raw_parts_mut(pairs.as_mut_ptr().cast(), 2 * pairs.len()) }
}

/// What the columns of the right side are, of a matrix given by rows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Side {
    /// The matrix's rows: the product is with its transpose.
    Rows,
    /// The elements of its rows.
    Elements,
}

/// The right side of a product: panels of 32 columns, or of 48 where that wastes less.
#[derive(Default)]
pub(crate) struct Columns {
    lines: Vec<Line>,
    /// Pairs of rows in a panel.
    pairs: usize,
    /// Columns in use, and of a panel.
    columns: usize,
    width: usize,
}

/// Some columns, and some pairs of rows of each, of a [`Columns`].
#[derive(Clone, Copy)]
pub(crate) struct Part<'a> {
    columns: &'a Columns,
    /// Columns: the first, a multiple of the panels' width, and how many.
    first: usize,
    count: usize,
    first_pair: usize,
    pairs: usize,
}

/// Columns of a panel for so many columns.
fn panel_width(columns: usize) -> usize {
    if columns.next_multiple_of(48) < columns.next_multiple_of(32) { 48 } else { 32 }
}

impl Columns {
    /// Packs the matrix (rows, elements) whose rows `source` gives.
    pub(crate) fn new<'a>(side: Side, rows: usize, elements: usize, source: impl Fn(usize) -> &'a [f32]) -> Self {
        match side {
            Side::Rows => Self::of_rows(rows, elements, source),
            Side::Elements => Self::of_elements(rows, elements, source),
        }
    }

    fn of_rows<'a>(rows: usize, elements: usize, source: impl Fn(usize) -> &'a [f32]) -> Self {
        let mut columns = Self::default();
        columns.reset(elements.div_ceil(2), rows, 32);
        let mut bits = vec![0_u32; columns.pairs];
        for row in 0..rows {
            round_to_bf16(source(row), &mut halves_mut(&mut bits)[..elements]);
            let (panel, lane) = (row / 32, row % 32);
            let lines = &mut columns.lines[2 * panel * columns.pairs..2 * (panel + 1) * columns.pairs];
            for (lines, &word) in lines.chunks_exact_mut(2).zip(&bits) {
                lines[lane / 16].0[lane % 16] = word;
            }
        }
        columns
    }

    fn of_elements<'a>(rows: usize, elements: usize, source: impl Fn(usize) -> &'a [f32]) -> Self {
        let mut columns = Self::default();
        columns.reset(rows.div_ceil(2), elements, panel_width(elements));
        let (mut low, mut high) = (vec![0_u16; elements], vec![0_u16; elements]);
        for pair in 0..columns.pairs {
            round_to_bf16(source(2 * pair), &mut low);
            if 2 * pair + 1 < rows {
                round_to_bf16(source(2 * pair + 1), &mut high);
            } else {
                high.fill(0);
            }
            columns.write_pair(pair, &low, &high);
        }
        columns
    }

    /// Fills with rows of bits, `elements` of each: pairs of rows side by side.
    pub(crate) fn fill_from_rows(&mut self, rows: &RowBits, elements: usize) -> Part<'_> {
        self.reset(rows.rows.div_ceil(2), elements, 32);
        let zeros = vec![0_u16; elements];
        for pair in 0..self.pairs {
            let high = if 2 * pair + 1 < rows.rows { &rows.row(2 * pair + 1)[..elements] } else { &zeros };
            self.write_pair(pair, &rows.row(2 * pair)[..elements], high);
        }
        self.part(0..elements)
    }

    fn reset(&mut self, pairs: usize, columns: usize, width: usize) {
        (self.pairs, self.columns, self.width) = (pairs, columns, width);
        let lines = columns.div_ceil(width) * pairs * (width / 16);
        self.lines.clear();
        self.lines.resize(lines, Line([0; 16]));
    }

    /// Writes a pair of rows.
    fn write_pair(&mut self, pair: usize, low: &[u16], high: &[u16]) {
        let vectors = self.width / 16;
        for (vector, (low, high)) in low.chunks(16).zip(high.chunks(16)).enumerate() {
            let line = ((vector / vectors) * self.pairs + pair) * vectors + vector % vectors;
            for ((word, &low), &high) in self.lines[line].0.iter_mut().zip(low).zip(high) {
                *word = u32::from(low) | u32::from(high) << 16;
            }
        }
    }

    /// Some of the columns, from a multiple of 32 on.
    pub(crate) fn part(&self, columns: Range<usize>) -> Part<'_> {
        debug_assert!(columns.start.is_multiple_of(self.width) && columns.end <= self.columns);
        Part { columns: self, first: columns.start, count: columns.len(), first_pair: 0, pairs: self.pairs }
    }

    /// All columns, and of each the rows `rows`, which begin at an even number.
    pub(crate) fn stretch(&self, rows: Range<usize>) -> Part<'_> {
        debug_assert!(rows.start.is_multiple_of(2) && rows.end.div_ceil(2) <= self.pairs);
        let pairs = rows.len().div_ceil(2);
        Part { columns: self, first: 0, count: self.columns, first_pair: rows.start / 2, pairs }
    }
}

/// `out = left · right`, or `out += left · right`, rows of `out` being `stride` elements apart.
///
/// # Panics
/// If the shapes do not fit each other or the slice.
pub(crate) fn multiply_into(
    out: &mut [f32],
    stride: usize,
    adds: bool,
    left: &RowBits,
    pairs: Range<usize>,
    right: Part<'_>,
) {
    let Part { columns, first, count, first_pair, .. } = right;
    if left.rows == 0 || count == 0 {
        return;
    }
    assert!(pairs.len() == right.pairs && pairs.end <= left.pairs, "sums of {} and {} pairs", pairs.len(), right.pairs);
    assert!((left.rows - 1) * stride + count <= out.len() && count <= stride, "product outside its slice");
    let (width, vectors) = (columns.width, columns.width / 16);
    let tile_rows = if width == 48 { ROWS_OF_48 } else { ROWS };
    let isa = Isa::best();
    for column in (0..count).step_by(width) {
        let panel = (first + column) / width;
        let start = (panel * columns.pairs + first_pair) * vectors;
        let lines = &columns.lines[start..start + right.pairs * vectors];
        for row in (0..left.rows).step_by(tile_rows) {
            let rows = tile_rows.min(left.rows - row);
            let tile = Tile {
                rows: left.bits[row * left.stride + pairs.start..].as_ptr(),
                row_stride: left.stride,
                lines: lines.as_ptr(),
                pairs: right.pairs,
                result: out[row * stride + column..].as_mut_ptr(),
                result_stride: stride,
                begin: if adds { Begin::Result } else { Begin::Zero },
                columns: width.min(count - column),
            };
            // SAFETY: `left` holds `rows` more rows of at least `pairs.end` pairs, `lines` all pairs of the panel; the last element written
            // lies within `out`, as was checked, which is exclusive.
            unsafe { multiply_tile(isa, rows, width, &tile) };
        }
    }
}
