//! Products of any size: blocks of rows quantised once, then panels of columns side by side on all threads.

#![expect(unsafe_code, reason = "threads write the parts of one result")]

use std::mem::MaybeUninit;
use std::ops::Range;

use rayon::prelude::*;

use super::packed::{LANES, Packed};
use super::quantize::Grid;
use super::tile::{Order, Tile, multiply_tile, tile_rows, widen, widen_lines};
use crate::cpu::bf16::Line;
use crate::cpu::isa::{ByteIsa, for_each_isa};
use crate::cpu::start::Start;

/// Is a 3×3 convolution faster in 8 bits than in f32 by Winograd's tiles, which multiply a quarter as often? Only where four products of bytes are
/// one instruction.
pub(crate) fn beats_tiles_of_f32() -> bool {
    matches!(ByteIsa::best(), ByteIsa::AvxVnni | ByteIsa::Avx512Vnni)
}

/// Rows of a product (M, K), quantised where they are wanted.
pub(crate) trait Rows: Sync {
    /// What the rows of a block share.
    type Band: Sync;

    /// M.
    fn len(&self) -> usize;

    /// The end of the block that begins with row `first`: about `most` rows, and at least one.
    fn block_end(&self, first: usize, most: usize) -> usize;

    /// Prepares a block; on all threads if `parallel`.
    fn band(&self, rows: Range<usize>, parallel: bool) -> Self::Band;

    /// Writes a row of a block, each tap filled up to a multiple of four bytes with anything, and says on which grid it is.
    fn write(&self, band: &Self::Band, row: usize, out: &mut [u8]) -> Grid;
}

/// Bytes of a block of rows.
const BLOCK_BYTES: usize = 1 << 20;
/// Rows of a block, at the most.
const BLOCK_ROWS: usize = 1024;
/// Fours of rows of a panel that are multiplied before the next ones: 64 KiB of weights.
const BLOCK_QUADS: usize = 512;
/// Multiplications below which other threads cost more than they save.
const MIN_PARALLEL: usize = 1 << 19;

/// `start + rows · weights`, (M, N).
///
/// Sums of integers are exact, so that results are the same bits on all processors and for any number of threads. Layers are so only if the
/// processor multiplies all of their kinds in 8 bits: see [`beats_tiles_of_f32`].
pub(crate) fn product(start: Start<'_>, rows: &impl Rows, weights: &Packed) -> Vec<f32> {
    product_with(ByteIsa::best(), start, rows, weights)
}

fn product_with(isa: ByteIsa, start: Start<'_>, rows: &impl Rows, weights: &Packed) -> Vec<f32> {
    let (m, k, n) = (rows.len(), weights.rows(), weights.columns());
    let mut result = Vec::with_capacity(m * n);
    if let Start::Bias(bias) | Start::Base(_, Some(bias)) = start {
        assert_eq!(bias.len(), n, "a bias for each column");
    }
    if let Start::Base(base, _) = start {
        assert_eq!(base.len(), m * n, "a base of the result's shape");
    }
    let out = Output { first: result.as_mut_ptr(), columns: n };
    let run = Run { isa, start, weights, out: &out, parallel: m * n * k >= MIN_PARALLEL };
    let most = (BLOCK_BYTES / k.max(1)).clamp(1, BLOCK_ROWS);
    let mut block = Block::default();
    let mut first = 0;
    while first < m && n > 0 {
        let end = rows.block_end(first, most);
        block.fill(&run, rows, first..end);
        block.multiply(&run);
        first = end;
    }
    // SAFETY: every block wrote its rows of all panels.
    unsafe { result.set_len(m * n) };
    result
}

/// Where a product (M, N) is written, row after row.
struct Output {
    first: *mut f32,
    columns: usize,
}

// SAFETY: threads share it only within `Block::multiply`, whose pieces do not overlap.
unsafe impl Sync for Output {}

/// What does not change during a product.
struct Run<'a> {
    isa: ByteIsa,
    start: Start<'a>,
    weights: &'a Packed,
    out: &'a Output,
    parallel: bool,
}

/// Some rows of the left side.
#[derive(Default)]
struct Block {
    rows: Range<usize>,
    grids: Vec<Grid>,
    words: Vec<u32>,
    /// Words from a row to the next: not a multiple of 4 KiB, which would put all rows into the same lines of the cache.
    stride: usize,
}

impl Block {
    fn fill<R: Rows>(&mut self, run: &Run<'_>, source: &R, rows: Range<usize>) {
        let order = Order::of(run.isa);
        let quads = run.weights.rows() / 4;
        self.stride = (quads * order.words()).next_multiple_of(16) + 16;
        let size = self.stride * rows.len();
        if self.words.len() < size {
            self.words = vec![0; size];
        }
        self.grids.resize(rows.len(), Grid::default());
        let band = source.band(rows.clone(), run.parallel);
        let write = |(row, (words, grid)): (usize, (&mut [u32], &mut Grid))| {
            // Bytes that will be widened lie at the end, where they are read before the wide ones reach them.
            let words = &mut words[..quads * order.words()];
            let from = words.len() - quads;
            *grid = source.write(&band, rows.start + row, bytemuck::cast_slice_mut(&mut words[from..]));
            if order == Order::Pairs {
                for quad in 0..quads {
                    let pair = widen(words[from + quad]);
                    words[2 * quad..2 * quad + 2].copy_from_slice(&pair);
                }
            }
        };
        let words = &mut self.words[..size];
        if run.parallel {
            let rows = words.par_chunks_exact_mut(self.stride).zip(&mut self.grids);
            rows.with_min_len(16).enumerate().for_each(write);
        } else {
            words.chunks_exact_mut(self.stride).zip(&mut self.grids).enumerate().for_each(write);
        }
        self.rows = rows;
    }

    fn multiply(&self, run: &Run<'_>) {
        let panels = run.weights.columns().div_ceil(LANES);
        let tile_rows = tile_rows(run.isa);
        // Enough pieces for any number of threads to share evenly, each reading its panel once.
        let shares = if run.parallel { (32 / panels).clamp(1, self.rows.len().div_ceil(8 * tile_rows)) } else { 1 };
        let share = self.rows.len().div_ceil(shares).next_multiple_of(tile_rows);
        let piece = |scratch: &mut Scratch, piece: usize| {
            let (panel, index) = (piece / shares, piece % shares);
            let rows = (index * share).min(self.rows.len())..((index + 1) * share).min(self.rows.len());
            self.multiply_panel(run, panel, rows, scratch);
        };
        if run.parallel {
            (0..panels * shares).into_par_iter().with_max_len(1).for_each_init(Scratch::default, piece);
        } else {
            let mut scratch = Scratch::default();
            (0..panels * shares).for_each(|index| piece(&mut scratch, index));
        }
    }

    /// The results of one panel and the rows `rows` of the block.
    fn multiply_panel(&self, run: &Run<'_>, panel: usize, rows: Range<usize>, Scratch { sums, pairs }: &mut Scratch) {
        let order = Order::of(run.isa);
        let tile_rows = tile_rows(run.isa);
        let quads = run.weights.rows() / 4;
        let columns = Columns::of(run, panel);
        sums.clear();
        sums.resize(rows.len(), [0; LANES]);
        // An empty sum is a product, too.
        for first_quad in (0..quads.max(1)).step_by(BLOCK_QUADS) {
            let end = (first_quad + BLOCK_QUADS).min(quads);
            let mut lines = run.weights.panel(panel, first_quad..end);
            if order == Order::Pairs {
                widen_lines(lines, pairs);
                lines = pairs;
            }
            for first in rows.clone().step_by(tile_rows) {
                let part = first..(first + tile_rows).min(rows.end);
                let sums = &mut sums[first - rows.start..][..part.len()];
                let tile = Tile {
                    rows: self.words[first * self.stride + first_quad * order.words()..].as_ptr(),
                    row_stride: self.stride,
                    lines: lines.as_ptr(),
                    words: lines.len() / 2,
                    sums: sums.as_mut_ptr(),
                };
                // SAFETY: the block holds these rows with words for all fours, `lines` two for each word, and `sums` the sums of each row.
                unsafe { multiply_tile(run.isa, part.len(), &tile) };
                if end == quads {
                    self.write(run, &columns, part, sums);
                }
            }
        }
    }

    /// Writes what the sums of some rows of a panel stand for, while they are near.
    fn write(&self, run: &Run<'_>, columns: &Columns, rows: Range<usize>, sums: &[[i32; LANES]]) {
        let place = (self.rows.start + rows.start) * run.out.columns + columns.first;
        let base = match run.start {
            Start::Base(base, _) => Some(&base[place..]),
            Start::Zero | Start::Bias(_) => None,
        };
        let target = Target { first: run.out.first.wrapping_add(place), stride: run.out.columns };
        finish(columns, &Sums { grids: &self.grids[rows], sums, base }, &target);
    }
}

/// What a thread keeps from piece to piece.
#[derive(Default)]
struct Scratch {
    sums: Vec<[i32; LANES]>,
    pairs: Vec<Line>,
}

/// What the sums of a panel's columns are made numbers with.
struct Columns {
    first: usize,
    count: usize,
    scales: [f32; LANES],
    weight_sums: [i32; LANES],
    bias: Option<[f32; LANES]>,
}

impl Columns {
    fn of(run: &Run<'_>, panel: usize) -> Self {
        let first = panel * LANES;
        let count = LANES.min(run.out.columns - first);
        let bias = match run.start {
            Start::Bias(bias) | Start::Base(_, Some(bias)) => Some(filled(&bias[first..][..count])),
            Start::Zero | Start::Base(_, None) => None,
        };
        let (scales, weight_sums) = (run.weights.scales(), run.weights.sums());
        Self {
            first,
            count,
            scales: filled(&scales[first..][..count]),
            weight_sums: filled(&weight_sums[first..][..count]),
            bias,
        }
    }
}

/// At most [`LANES`] numbers, and zeros.
fn filled<T: Copy + Default>(numbers: &[T]) -> [T; LANES] {
    let mut filled = [T::default(); LANES];
    filled[..numbers.len()].copy_from_slice(numbers);
    filled
}

/// Some rows of a panel: their grids, sums, and what is added, from the first of their elements on.
struct Sums<'a> {
    grids: &'a [Grid],
    sums: &'a [[i32; LANES]],
    base: Option<&'a [f32]>,
}

/// Where they go: rows of a result, of which nobody else touches these columns.
struct Target {
    first: *mut f32,
    stride: usize,
}

for_each_isa! {
    /// `base + bias + scale_x · scale_w · (Σ u·q − zero · Σ q)`
    fn finish(columns: &Columns, rows: &Sums<'_>, target: &Target) {
        for (row, (grid, sums)) in rows.grids.iter().zip(rows.sums).enumerate() {
            let zero = i32::from(grid.zero);
            let mut values = [0.0; LANES];
            for lane in 0..LANES {
                let sum = sums[lane].wrapping_sub(zero.wrapping_mul(columns.weight_sums[lane]));
                values[lane] = sum as f32 * grid.scale * columns.scales[lane];
            }
            if let Some(bias) = &columns.bias {
                for lane in 0..LANES {
                    values[lane] += bias[lane];
                }
            }
            let place = row * target.stride;
            // SAFETY: [`Block::write`] gave the rows of this panel to this call alone.
            let out = unsafe {
                std::slice::from_raw_parts_mut(target.first.add(place).cast::<MaybeUninit<f32>>(), columns.count)
            };
            if let Some(base) = rows.base {
                let base = &base[place..][..columns.count];
                match base.first_chunk::<LANES>() {
                    Some(base) => (0..LANES).for_each(|lane| values[lane] += base[lane]),
                    None => values.iter_mut().zip(base).for_each(|(value, base)| *value += base),
                }
            }
            match out.first_chunk_mut::<LANES>() {
                Some(out) => *out = values.map(MaybeUninit::new),
                None => out.iter_mut().zip(values).for_each(|(out, value)| _ = out.write(value)),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use candle_core::Tensor;

    use super::{Rows, product, product_with};
    use crate::check::noise;
    use crate::cpu::int8::{Packed, Tokens};
    use crate::cpu::isa::ByteIsa;
    use crate::cpu::start::Start;

    fn list(x: &Tensor) -> Vec<f32> {
        x.flatten_all().unwrap().to_vec1().unwrap()
    }

    /// The product by its formula, in whole numbers.
    fn plain(start: Start<'_>, rows: &Tokens<'_>, weights: &Packed) -> Vec<f32> {
        let (k, n) = (rows.width, weights.columns());
        let mut result = Vec::new();
        for row in 0..rows.len() {
            let mut bytes = vec![0; k.next_multiple_of(4)];
            let grid = rows.write(&(), row, &mut bytes);
            for column in 0..n {
                let products = (0..k)
                    .map(|i| (i64::from(bytes[i]) - i64::from(grid.zero)) * i64::from(weights.element(0, i, column)));
                let sum: i64 = products.sum();
                let value = sum as f32 * grid.scale * weights.scales()[column];
                result.push(match start {
                    Start::Zero => value,
                    Start::Bias(bias) => value + bias[column],
                    Start::Base(base, None) => value + base[row * n + column],
                    Start::Base(base, Some(bias)) => value + bias[column] + base[row * n + column],
                });
            }
        }
        result
    }

    #[test]
    fn all_instructions_give_the_bits_of_the_formula() {
        for (m, k, n) in [(1, 1, 1), (5, 3, 33), (29, 70, 40), (77, 129, 64), (200, 2500, 31), (0, 4, 4)] {
            let weights = Packed::new(&noise(1, &[n, k])).unwrap();
            let (x, bias, base) = (list(&noise(2, &[m, k])), list(&noise(3, &[n])), list(&noise(4, &[m, n])));
            let rows = Tokens { elements: &x, width: k };
            for start in [Start::Zero, Start::Bias(&bias), Start::Base(&base, None), Start::Base(&base, Some(&bias))] {
                let expected = plain(start, &rows, &weights);
                for isa in ByteIsa::available() {
                    let found = product_with(isa, start, &rows, &weights);
                    assert!(
                        found.iter().map(|x| x.to_bits()).eq(expected.iter().map(|x| x.to_bits())),
                        "{isa:?} {m} {k} {n}"
                    );
                }
            }
        }
    }

    #[test]
    fn products_are_near_those_of_f32() {
        let (m, k, n) = (64, 640, 96);
        let (x, weight) = (noise(2, &[m, k]), noise(1, &[n, k]));
        let exact = list(&x.matmul(&weight.t().unwrap()).unwrap());
        let x = list(&x);
        let found = product(Start::Zero, &Tokens { elements: &x, width: k }, &Packed::new(&weight).unwrap());
        let norm = |x: &mut dyn Iterator<Item = f32>| x.map(|x| x * x).sum::<f32>().sqrt();
        let error = norm(&mut found.iter().zip(&exact).map(|(a, b)| a - b)) / norm(&mut exact.iter().copied());
        assert!(error < 0.012, "{error}");
    }

    #[test]
    fn what_is_not_finite_stays_so() {
        let weights = Packed::new(&noise(1, &[40, 8])).unwrap();
        let mut x = list(&noise(2, &[3, 8]));
        x[11] = f32::NAN;
        let found = product(Start::Zero, &Tokens { elements: &x, width: 8 }, &weights);
        assert!(found[..40].iter().all(|x| x.is_finite()) && found[40..80].iter().all(|x| x.is_nan()));
        assert!(found[80..].iter().all(|x| x.is_finite()));
    }
}
