//! Products of any size: blocks of rows that stay in the second-level cache while panels of columns pass by, pieces side by side on all threads.

#![expect(unsafe_code, reason = "threads write the tiles of one result")]

use std::cell::RefCell;
use std::ops::Range;

use rayon::prelude::*;

use super::tile::{LANES, Tile, multiply_tile};
use crate::cpu::isa::Isa;
use crate::cpu::split::cut;
use crate::cpu::start::{Begin, Start};

/// The matrix (K, N) of a product, in panels of [`LANES`] columns.
pub(crate) trait Panels: Sync {
    /// K.
    fn rows(&self) -> usize;
    /// N.
    fn columns(&self) -> usize;
    /// The rows `rows` of panel `panel`: [`LANES`] elements each, written to `scratch` unless they lie there as f32. Columns behind the last
    /// are zero. What `scratch` holds before is unspecified.
    fn panel<'a>(&'a self, panel: usize, rows: Range<usize>, scratch: &'a mut Vec<f32>) -> &'a [f32];
}

/// The rows (M, K) of a product: in memory, or gathered where they are wanted.
pub(crate) trait Rows: Sync {
    /// Writes the columns `columns` of row `row`.
    fn write(&self, row: usize, columns: Range<usize>, out: &mut [f32]);

    /// All rows as they lie in memory, and the elements from one to the next, if they do.
    fn direct(&self) -> Option<(&[f32], usize)> {
        None
    }
}

/// Rows that lie in memory, `width` elements each.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Strided<'a> {
    pub(crate) elements: &'a [f32],
    pub(crate) width: usize,
    /// Elements from a row to the next.
    pub(crate) stride: usize,
}

impl<'a> Strided<'a> {
    /// Rows without gaps.
    pub(crate) fn dense(elements: &'a [f32], width: usize) -> Self {
        Self { elements, width, stride: width }
    }
}

impl Rows for Strided<'_> {
    fn write(&self, row: usize, columns: Range<usize>, out: &mut [f32]) {
        out.copy_from_slice(&self.elements[row * self.stride..][..self.width][columns]);
    }

    fn direct(&self) -> Option<(&[f32], usize)> {
        Some((self.elements, self.stride))
    }
}

/// Most rows of K that are summed before a result is stored: with the rows of a tile, a panel of them stays in the first-level cache.
const MAX_DEPTH: usize = 384;
/// Most rows of a block: 252 KiB with [`MAX_DEPTH`]. A multiple of the rows of every tile.
const MAX_BLOCK_ROWS: usize = 168;
/// Pieces of work that a product is split into, so that any number of threads can share it evenly.
const PIECES: usize = 48;
/// Fewest panels in a piece whose rows are gathered, for that is done again for each piece.
const MIN_GATHERED_PANELS: usize = 16;
/// Multiplications below which other threads cost more than they save.
const MIN_PARALLEL: usize = 1 << 19;

/// `start + rows · matrix` for `m` rows, (M, N).
///
/// An element's sum runs in the same order whatever the number of threads.
pub(crate) fn product(start: Start<'_>, m: usize, rows: &impl Rows, matrix: &impl Panels) -> Vec<f32> {
    let n = matrix.columns();
    start.check(m * n, n);
    let mut result = Vec::with_capacity(m * n);
    if m > 0 && n > 0 {
        let plan = Plan::new(m, matrix, rows.direct());
        let out = Output { first: result.as_mut_ptr(), n, start };
        let run = |piece: usize| SCRATCH.with_borrow_mut(|scratch| plan.run(piece, &out, rows, matrix, scratch));
        if m * n * matrix.rows() >= MIN_PARALLEL {
            (0..plan.pieces()).into_par_iter().with_max_len(1).for_each(run);
        } else {
            (0..plan.pieces()).for_each(run);
        }
    }
    // SAFETY: the pieces wrote all m × n elements.
    unsafe { result.set_len(m * n) };
    result
}

/// Where a product (M, N) is written, and what it starts from.
struct Output<'a> {
    first: *mut f32,
    n: usize,
    start: Start<'a>,
}

// SAFETY: threads share it only within `product`, whose pieces do not overlap.
unsafe impl Sync for Output<'_> {}

thread_local! {
    /// What this thread works with, kept from piece to piece.
    static SCRATCH: RefCell<Scratch> = RefCell::default();
}

/// See [`SCRATCH`].
#[derive(Default)]
struct Scratch {
    rows: Vec<f32>,
    panels: [Vec<f32>; 2],
}

/// How a product is cut: into blocks of rows by groups of panels, and each of those into stretches of K.
struct Plan<'a> {
    m: usize,
    k: usize,
    panels: usize,
    block_rows: usize,
    blocks: usize,
    /// An even number, so that panels go by two.
    group_panels: usize,
    groups: usize,
    depth: usize,
    /// Rows that tiles read where they lie.
    direct: Option<(&'a [f32], usize)>,
}

impl<'a> Plan<'a> {
    fn new(m: usize, matrix: &impl Panels, direct: Option<(&'a [f32], usize)>) -> Self {
        let (k, panels) = (matrix.rows(), matrix.columns().div_ceil(LANES));
        let direct = direct.filter(|(_, stride)| lies_well(*stride));
        let (blocks, block_rows) = cut(m, MAX_BLOCK_ROWS, 6);
        let most_groups = match direct {
            Some(_) => panels.div_ceil(2),
            None => (panels / MIN_GATHERED_PANELS).max(1),
        };
        let groups = PIECES.div_ceil(blocks).min(most_groups);
        let (groups, group_panels) = cut(panels, panels.div_ceil(groups), 2);
        let (_, depth) = cut(k, MAX_DEPTH, 1);
        Self { m, k, panels, block_rows, blocks, group_panels, groups, depth, direct }
    }

    fn pieces(&self) -> usize {
        self.blocks * self.groups
    }

    /// One block of rows by one group of panels.
    fn run(&self, piece: usize, out: &Output<'_>, rows: &impl Rows, matrix: &impl Panels, scratch: &mut Scratch) {
        let (block, group) = (piece / self.groups, piece % self.groups);
        let block = block * self.block_rows..((block + 1) * self.block_rows).min(self.m);
        let panels = group * self.group_panels..((group + 1) * self.group_panels).min(self.panels);
        // An empty sum is a product, too: its one stretch has no rows.
        for k in (0..self.k.max(1)).step_by(self.depth) {
            let stretch = k..(k + self.depth).min(self.k);
            let left = match self.direct {
                Some((elements, stride)) => Left { elements: &elements[block.start * stride + k..], stride },
                None => gather(rows, block.clone(), stretch.clone(), &mut scratch.rows),
            };
            for panel in panels.clone().step_by(2) {
                let [first, second] = &mut scratch.panels;
                let first = matrix.panel(panel, stretch.clone(), first);
                let second = match panel + 1 < self.panels {
                    true => matrix.panel(panel + 1, stretch.clone(), second),
                    false => first,
                };
                multiply_panels(out, block.clone(), panel, &left, [first, second], k == 0);
            }
        }
    }
}

/// Do rows that start so many elements apart lie in different lines of the first-level cache? Rows a multiple of 2 KiB apart would all want
/// the same few.
fn lies_well(stride: usize) -> bool {
    !stride.is_multiple_of(512)
}

/// The left side of some tiles.
struct Left<'a> {
    elements: &'a [f32],
    stride: usize,
}

/// Writes the columns `columns` of the rows `rows` to scratch memory.
fn gather<'a>(source: &impl Rows, rows: Range<usize>, columns: Range<usize>, scratch: &'a mut Vec<f32>) -> Left<'a> {
    let width = columns.len();
    // An odd number of cache lines from row to row.
    let stride = width.next_multiple_of(32) + 16;
    if scratch.len() < stride * rows.len() {
        *scratch = vec![0.0; stride * rows.len()];
    }
    for (row, out) in rows.zip(scratch.chunks_exact_mut(stride)) {
        source.write(row, columns.clone(), &mut out[..width]);
    }
    Left { elements: scratch, stride }
}

/// The tiles of a block of rows and two neighbouring panels, or the last one twice.
fn multiply_panels(
    out: &Output<'_>,
    rows: Range<usize>,
    panel: usize,
    left: &Left<'_>,
    panels: [&[f32]; 2],
    is_first: bool,
) {
    let column = panel * LANES;
    let place = rows.start * out.n + column;
    let depth = panels[0].len() / LANES;
    assert!(panels[1].len() == panels[0].len(), "panels of one height");
    assert!((rows.len() - 1) * left.stride + depth <= left.elements.len(), "rows outside their slice");
    // SAFETY: rows and panels were just checked; the result has M · N elements, of which each piece of work writes its own.
    unsafe {
        let tile = Tile {
            rows: left.elements.as_ptr(),
            row_stride: left.stride,
            column_stride: 1,
            panels: panels.map(<[f32]>::as_ptr),
            depth,
            result: out.first.add(place),
            result_stride: out.n,
            begin: if is_first { out.start.at(place, column) } else { Begin::Result },
            columns: (2 * LANES).min(out.n - column),
        };
        multiply_tile(Isa::best(), rows.len(), &tile);
    }
}

#[cfg(test)]
mod tests {
    use std::ops::Range;

    use super::{LANES, Panels, Rows, Strided, product};
    use crate::cpu::start::Start;

    /// A small whole number, so that sums are exact in any order.
    fn number(i: usize) -> f32 {
        (i * 7 % 13) as f32 - 6.0
    }

    /// (k, n), element `number(31 · row + column)`.
    struct Numbers(usize, usize);

    impl Panels for Numbers {
        fn rows(&self) -> usize {
            self.0
        }

        fn columns(&self) -> usize {
            self.1
        }

        fn panel<'a>(&'a self, panel: usize, rows: Range<usize>, scratch: &'a mut Vec<f32>) -> &'a [f32] {
            scratch.clear();
            for row in rows {
                let column = |lane| panel * LANES + lane;
                scratch.extend(
                    (0..LANES).map(
                        |lane| {
                            if column(lane) < self.1 { number(31 * row + column(lane)) } else { f32::NAN }
                        },
                    ),
                );
            }
            scratch
        }
    }

    /// Rows that only exist when they are asked for.
    struct Gathered<'a>(Strided<'a>);

    impl Rows for Gathered<'_> {
        fn write(&self, row: usize, columns: Range<usize>, out: &mut [f32]) {
            self.0.write(row, columns, out);
        }
    }

    #[test]
    fn products_of_odd_sizes_equal_plain_sums_and_nothing_leaks_from_behind_the_last_column() {
        let sizes: [(usize, usize, usize); 8] =
            [(1, 1, 1), (1, 0, 5), (3, 5, 70), (7, 33, 16), (14, 9, 32), (170, 20, 49), (400, 513, 3), (77, 800, 290)];
        for (m, k, n) in sizes {
            // Rows that lie well and rows that do not.
            for stride in [k + 3, (k + 1).next_multiple_of(512)] {
                let elements: Vec<f32> = (0..m * stride).map(number).collect();
                let left = Strided { elements: &elements, width: k, stride };
                let base: Vec<f32> = (0..m * n).map(number).collect();
                let bias: Vec<f32> = (0..n).map(|i| 100.0 + i as f32).collect();
                let sum = |row: usize, column: usize| {
                    (0..k).map(|i| elements[row * stride + i] * number(31 * i + column)).sum::<f32>()
                };
                let sums: Vec<f32> = (0..m * n).map(|i| sum(i / n, i % n)).collect();
                let with = |begin: &dyn Fn(usize) -> f32| -> Vec<f32> {
                    sums.iter().enumerate().map(|(i, sum)| begin(i) + sum).collect()
                };
                assert_eq!(product(Start::Zero, m, &left, &Numbers(k, n)), sums);
                assert_eq!(product(Start::Zero, m, &Gathered(left), &Numbers(k, n)), sums);
                let found = product(Start::Bias(&bias), m, &left, &Numbers(k, n));
                assert_eq!(found, with(&|i| bias[i % n]));
                let found = product(Start::Base(&base, Some(&bias)), m, &left, &Numbers(k, n));
                assert_eq!(found, with(&|i| base[i] + bias[i % n]));
                let found = product(Start::Base(&base, None), m, &left, &Numbers(k, n));
                assert_eq!(found, with(&|i| base[i]));
            }
        }
    }

    #[test]
    fn no_rows_and_no_columns_are_no_problem() {
        assert!(product(Start::Zero, 0, &Strided::dense(&[], 5), &Numbers(5, 7)).is_empty());
        assert!(product(Start::Zero, 2, &Strided::dense(&[1.0; 10], 5), &Numbers(5, 0)).is_empty());
    }
}
