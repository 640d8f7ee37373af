//! Products of any size: blocks of rows rounded to bf16 once, then panels of columns side by side on all threads.

#![expect(unsafe_code, reason = "threads write the tiles of one result")]

use std::marker::PhantomData;
use std::ops::Range;

use rayon::prelude::*;

use super::columns::halves_mut;
use super::convert::round_to_bf16;
use super::packed::{LANES, Line, Packed, Transposed};
use super::tile::{ROWS, Tile, multiply_tile};
use crate::cpu::isa::Isa;
use crate::cpu::start::{Begin, Start};

/// Rows of a product (M, K), rounded to bf16 where they are wanted.
pub(crate) trait Rows: Sync {
    /// Writes the bf16 bits of columns `columns` of row `row`. The range starts and ends at even numbers.
    fn write(&self, row: usize, columns: Range<usize>, out: &mut [u16]);
}

/// The matrix (K, N) of a product, in panels.
pub(crate) trait Panels: Sync {
    /// K, even.
    fn rows(&self) -> usize;
    /// N.
    fn columns(&self) -> usize;
    /// The lines of the pairs `pairs` of panel `panel`, made in `scratch` if they do not exist.
    fn lines<'a>(&'a self, panel: usize, pairs: Range<usize>, scratch: &'a mut Vec<Line>) -> &'a [Line];
}

impl Panels for Packed {
    fn rows(&self) -> usize {
        Packed::rows(self)
    }

    fn columns(&self) -> usize {
        Packed::columns(self)
    }

    fn lines<'a>(&'a self, panel: usize, pairs: Range<usize>, _: &'a mut Vec<Line>) -> &'a [Line] {
        self.panel(panel, pairs)
    }
}

impl Panels for Transposed<'_> {
    fn rows(&self) -> usize {
        Transposed::rows(self)
    }

    fn columns(&self) -> usize {
        self.num_columns()
    }

    fn lines<'a>(&'a self, panel: usize, pairs: Range<usize>, scratch: &'a mut Vec<Line>) -> &'a [Line] {
        self.panel(panel, pairs, scratch)
    }
}

/// Where a product (M, N) is written, row after row.
struct Output<'a> {
    first: *mut f32,
    len: usize,
    row_stride: usize,
    elements: PhantomData<&'a mut [f32]>,
}

// SAFETY: threads share it only within `multiply`, whose tiles do not overlap.
unsafe impl Sync for Output<'_> {}

/// `start + rows · matrix` for `m` rows, (M, N).
///
/// An element's sum runs in the same order whatever the number of threads.
pub(crate) fn product(start: Start<'_>, m: usize, rows: &impl Rows, matrix: &impl Panels) -> Vec<f32> {
    let n = matrix.columns();
    let mut result = Vec::with_capacity(m * n);
    let out = Output { first: result.as_mut_ptr(), len: m * n, row_stride: n, elements: PhantomData };
    multiply(&out, start, m, rows, matrix);
    // SAFETY: `multiply` wrote all m × n elements.
    unsafe { result.set_len(m * n) };
    result
}

/// Elements of K in a block: two lines of a panel's pairs stay in the second-level cache.
const BLOCK_K: usize = 1024;
/// Elements of a block of rows: 2 MiB.
const BLOCK_ELEMENTS: usize = 1 << 20;
/// Rows of a block are a multiple of this.
const BLOCK_ROWS: usize = 8 * ROWS;
/// Multiplications below which other threads cost more than they save.
const MIN_PARALLEL: usize = 1 << 19;

/// `out = start + rows · matrix` for `m` rows; every element of the m × N result is written.
fn multiply(out: &Output<'_>, start: Start<'_>, m: usize, rows: &impl Rows, matrix: &impl Panels) {
    let (k, n) = (matrix.rows(), matrix.columns());
    if m == 0 || n == 0 {
        return;
    }
    assert!((m - 1) * out.row_stride + n <= out.len && n <= out.row_stride, "product outside its output");
    start.check(m * n, n);
    assert_eq!(out.row_stride, n, "a base and its result lie alike");
    let parallel = m * n * k >= MIN_PARALLEL;
    let block_k = k.min(BLOCK_K);
    let block_m = (BLOCK_ELEMENTS / block_k.max(1)).max(BLOCK_ROWS) / BLOCK_ROWS * BLOCK_ROWS;
    let mut block = Block::default();
    for first in (0..m).step_by(block_m) {
        let block_rows = first..(first + block_m).min(m);
        // An empty sum is a product, too: its one block has no columns.
        for k_first in (0..k.max(1)).step_by(block_k.max(1)) {
            let ks = k_first..(k_first + block_k).min(k);
            block.fill(rows, block_rows.clone(), ks.clone(), parallel);
            block.multiply(out, if k_first == 0 { Some(start) } else { None }, matrix, parallel);
        }
    }
}

/// Some rows and columns of the left side, rounded.
#[derive(Default)]
struct Block {
    rows: Range<usize>,
    columns: Range<usize>,
    /// Elements from a row to the next, even: not a multiple of 2 KiB, which would put all rows into the same lines of the cache.
    stride: usize,
    bits: Vec<u32>,
}

impl Block {
    fn fill(&mut self, source: &impl Rows, rows: Range<usize>, columns: Range<usize>, parallel: bool) {
        let pairs = columns.len() / 2;
        let stride = pairs.next_multiple_of(16) + 16;
        if self.bits.len() < stride * rows.len() {
            self.bits = vec![0; stride * rows.len()];
        }
        let bits = &mut self.bits[..stride * rows.len()];
        let first = rows.start;
        let write = |(row, bits): (usize, &mut [u32])| {
            source.write(first + row, columns.clone(), halves_mut(&mut bits[..pairs]));
        };
        if parallel {
            bits.par_chunks_exact_mut(stride).with_min_len(16).enumerate().for_each(write);
        } else {
            bits.chunks_exact_mut(stride).enumerate().for_each(write);
        }
        (self.rows, self.columns, self.stride) = (rows, columns, stride);
    }

    fn multiply(&self, out: &Output<'_>, start: Option<Start<'_>>, matrix: &impl Panels, parallel: bool) {
        let panels = matrix.columns().div_ceil(LANES);
        // Enough pieces for any number of threads to share evenly, each reading its panel once.
        let shares = if parallel { (32 / panels).clamp(1, self.rows.len().div_ceil(BLOCK_ROWS)) } else { 1 };
        let share = self.rows.len().div_ceil(shares).next_multiple_of(ROWS);
        let run = |scratch: &mut Vec<Line>, piece: usize| {
            let (panel, share_index) = (piece / shares, piece % shares);
            let rows = (share_index * share).min(self.rows.len())..((share_index + 1) * share).min(self.rows.len());
            let lines = matrix.lines(panel, self.columns.start / 2..self.columns.end / 2, scratch);
            self.multiply_panel(out, start, Panel { index: panel, columns: matrix.columns(), lines }, rows);
        };
        if parallel {
            (0..panels * shares).into_par_iter().with_max_len(1).for_each_init(Vec::new, run);
        } else {
            let mut scratch = Vec::new();
            (0..panels * shares).for_each(|piece| run(&mut scratch, piece));
        }
    }

    /// The tiles of one panel and the rows `rows` of the block.
    fn multiply_panel(
        &self,
        out: &Output<'_>,
        start: Option<Start<'_>>,
        Panel { index, columns, lines }: Panel<'_>,
        rows: Range<usize>,
    ) {
        let column = index * LANES;
        let begin_at = |place: usize| start.map_or(Begin::Result, |start| start.at(place, column));
        let isa = Isa::best();
        for first in rows.clone().step_by(ROWS) {
            let tile_rows = ROWS.min(rows.end - first);
            // SAFETY: the block holds these rows with `columns` elements each, `lines` two lines for each pair; `multiply` checked that the
            // result lies within the output, whose tiles belong to one piece of work each.
            unsafe {
                let place = (self.rows.start + first) * out.row_stride + column;
                let tile = Tile {
                    rows: self.bits[first * self.stride..].as_ptr(),
                    row_stride: self.stride,
                    lines: lines.as_ptr(),
                    pairs: lines.len() / 2,
                    result: out.first.add(place),
                    result_stride: out.row_stride,
                    begin: begin_at(place),
                    columns: LANES.min(columns - column),
                };
                multiply_tile(isa, tile_rows, LANES, &tile);
            }
        }
    }
}

/// A panel of the weights: [`LANES`] of the N = `columns`.
struct Panel<'a> {
    index: usize,
    columns: usize,
    /// Two for each pair of rows.
    lines: &'a [Line],
}

/// Rows that lie in memory as f32, `width` elements each; a last element that makes K even is zero.
pub(crate) struct Activations<'a> {
    pub(crate) elements: &'a [f32],
    pub(crate) width: usize,
}

impl Rows for Activations<'_> {
    fn write(&self, row: usize, columns: Range<usize>, out: &mut [u16]) {
        let row = &self.elements[row * self.width..][..self.width];
        let source = &row[columns.start..columns.end.min(self.width)];
        let (rounded, rest) = out.split_at_mut(source.len());
        round_to_bf16(source, rounded);
        rest.fill(0);
    }
}
