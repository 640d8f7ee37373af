//! 3×3 convolutions of stride 1 with a quarter of the multiplications: Winograd's F(4×4, 3×3).
//!
//! `Y = Aᵀ [Σ_c (G g Gᵀ) ⊙ (Bᵀ d B)] A` for every 4×4 results and the 6×6 pixels `d` under them (Lavin and Gray 2015, arXiv 1509.09308). Each of
//! the 36 places of a tile is a product of its own, of (tiles, C) with (C, N).
//!
//! The polynomials behind it are evaluated at 0, ±√½, ±√2 and ∞ instead of the paper's 0, ±1, ±2 and ∞: numbers stay nearer to each other, and
//! results to the plain ones, by 1.5e-6 of their length instead of 3.3e-6 (1280 channels; plain sums are themselves off by 3.5e-7).
//!
//! Weights stay packed as they are. Those of a panel are transformed where they are multiplied, which costs as much as the products of one or
//! two tiles. The gradient is the same convolution with the transposed weights and the kernel turned around.

#![expect(unsafe_code, reason = "threads write the tiles of one result")]

use std::cell::RefCell;
use std::ops::Range;

use rayon::prelude::*;

use super::product::Panels;
use super::tile::{LANES, Tile, multiply_tile};
use crate::cpu::isa::{Isa, for_each_isa};
use crate::cpu::split::cut;
use crate::cpu::start::{Begin, Start};
use crate::cpu::winograd::{self, Lanes, Output, TAPS, Turn, WIDTH, written};

/// Pixels of a side of a tile's results, and of its inputs.
const SIDE: usize = 4;
const INPUT_SIDE: usize = SIDE + 2;
/// Places of a tile.
const PLACES: usize = INPUT_SIDE * INPUT_SIDE;
const _: () = assert!(WIDTH == 2 * LANES, "two panels of columns are multiplied together");

/// Most tiles whose products are made together: a place's inputs stay in the second-level cache for two panels, and so do all their sums.
const MAX_TILES: usize = 72;
/// Elements of transformed inputs that are kept together: 8 MiB.
const BLOCK_ELEMENTS: usize = 1 << 21;
const MIN_BLOCK_TILES: usize = 24;
/// Channels whose transformed weights are kept together: 36 places of two panels of them stay in the second-level cache.
const MAX_DEPTH: usize = 128;
/// Fewer channels and tiles do not pay for the transforms.
const MIN_CHANNELS: usize = 32;
const MIN_IMAGE_TILES: usize = 4;

thread_local! {
    /// Transformed inputs of the block that this thread has others work on, kept from call to call.
    static INPUTS: RefCell<Vec<f32>> = const { RefCell::new(Vec::new()) };
    /// What this thread works with, kept from piece to piece.
    static SCRATCH: RefCell<Scratch> = RefCell::default();
}

/// The images of one convolution.
pub(crate) type Images = winograd::Images<SIDE>;

impl Images {
    /// Is a convolution of `channels` channels faster in tiles? At the far edges of images tiles are not full.
    pub(crate) fn gain_by_tiles(&self, channels: usize) -> bool {
        let one = self.one();
        let tiles = one.tiles();
        channels >= MIN_CHANNELS && tiles >= MIN_IMAGE_TILES && one.pixels() > 5 * tiles
    }
}

/// `start` and the convolution of images (B, H, W, C) with a kernel packed as (9 · C, N), to (B, H, W, N).
///
/// An element's sum runs in the same order whatever the number of threads.
pub(crate) fn convolve(start: Start<'_>, x: &[f32], images: Images, matrix: &impl Panels, turn: Turn) -> Vec<f32> {
    let (n, channels) = (matrix.columns(), matrix.rows() / TAPS);
    assert_eq!(x.len(), images.pixels() * channels, "images of {channels} channels");
    let plan = Plan::new(images, channels, n);
    // SAFETY: every group of tiles meets every pair of panels, once.
    unsafe { written(start, images, n, |out| plan.convolve(out, x, matrix, turn)) }
}

/// How a convolution is cut: into blocks of tiles, those into groups, all of them by pairs of panels and by stretches of channels.
struct Plan {
    images: Images,
    channels: usize,
    panels: usize,
    pairs: usize,
    block_tiles: usize,
    group_tiles: usize,
    depth: usize,
}

impl Plan {
    fn new(images: Images, channels: usize, n: usize) -> Self {
        let panels = n.div_ceil(LANES);
        let most_tiles = (BLOCK_ELEMENTS / (PLACES * channels.max(1))).max(MIN_BLOCK_TILES);
        let (_, block_tiles) = cut(images.tiles(), most_tiles, 1);
        let (_, group_tiles) = cut(block_tiles, MAX_TILES, 1);
        let (_, depth) = cut(channels, MAX_DEPTH, LANES);
        Self { images, channels, panels, pairs: panels.div_ceil(2), block_tiles, group_tiles, depth }
    }

    fn convolve(&self, out: &Output<'_, SIDE>, x: &[f32], matrix: &impl Panels, turn: Turn) {
        // Taken out meanwhile: a thread that waits below may be given another convolution.
        let mut inputs = INPUTS.take();
        for first in (0..self.images.tiles()).step_by(self.block_tiles) {
            let tiles = first..(first + self.block_tiles).min(self.images.tiles());
            let groups = tiles.len().div_ceil(self.group_tiles);
            self.fill(x, &tiles, &mut inputs);
            (0..groups * self.pairs).into_par_iter().with_max_len(1).for_each(|piece| {
                let (group, pair) = (piece / self.pairs, piece % self.pairs);
                let inputs = &inputs[group * self.num_stretches() * self.region()..];
                SCRATCH.with_borrow_mut(|scratch| {
                    scratch.tiles = self.group(&tiles, group);
                    scratch.multiply(self, inputs, matrix, 2 * pair, turn);
                    scratch.write(out, 2 * pair * LANES);
                });
            });
        }
        INPUTS.set(inputs);
    }

    fn num_stretches(&self) -> usize {
        self.channels.div_ceil(self.depth)
    }

    /// A stretch of channels.
    fn stretch(&self, index: usize) -> Range<usize> {
        index * self.depth..((index + 1) * self.depth).min(self.channels)
    }

    /// A group of a block's tiles.
    fn group(&self, tiles: &Range<usize>, index: usize) -> Range<usize> {
        tiles.start + index * self.group_tiles..(tiles.start + (index + 1) * self.group_tiles).min(tiles.end)
    }

    /// Elements from a tile to the next within the inputs of a place: an odd number of lines of the cache.
    fn input_stride(&self) -> usize {
        self.depth.next_multiple_of(2 * LANES) + LANES
    }

    /// Elements from a place to the next in inputs, weights and sums. A line more than they have keeps the places of a tile from wanting the
    /// same lines of the cache.
    fn place_strides(&self) -> [usize; 3] {
        [self.group_tiles * self.input_stride() + LANES, self.depth * LANES + LANES, self.group_tiles * WIDTH + LANES]
    }

    /// Elements of the inputs of a group and a stretch, (36, tiles, depth).
    fn region(&self) -> usize {
        PLACES * self.place_strides()[0]
    }

    /// Transforms the inputs of a block's tiles: a region for each group and stretch.
    fn fill(&self, x: &[f32], tiles: &Range<usize>, inputs: &mut Vec<f32>) {
        let regions = tiles.len().div_ceil(self.group_tiles) * self.num_stretches();
        reserve(inputs, regions * self.region());
        inputs.par_chunks_exact_mut(self.region()).take(regions).enumerate().for_each(|(index, region)| {
            let (group, stretch) = (index / self.num_stretches(), self.stretch(index % self.num_stretches()));
            let zeros = vec![0.0; stretch.len()];
            for (offset, tile) in self.group(tiles, group).enumerate() {
                let under = self.images.under(tile, x, self.channels);
                let pixels = under.map(|pixel| pixel.map_or(&zeros[..], |pixel| &pixel[stretch.clone()]));
                transform_inputs(&pixels, &mut region[offset * self.input_stride()..], self.place_strides()[0]);
            }
        });
    }
}

/// See [`SCRATCH`].
#[derive(Default)]
struct Scratch {
    /// The tiles at work.
    tiles: Range<usize>,
    /// Panels as they are packed, one for each tap.
    packed: [Vec<f32>; TAPS],
    /// For each of two panels (36, depth, 16).
    weights: [Vec<f32>; 2],
    /// (36, tiles, 32)
    sums: Vec<f32>,
    /// How far it is from a place to the next there.
    sum_stride: usize,
}

/// Makes room for `len` elements, whatever they hold.
fn reserve(elements: &mut Vec<f32>, len: usize) {
    if elements.len() < len {
        *elements = vec![0.0; len];
    }
}

impl Scratch {
    /// The sums of all places for two neighbouring panels, or one if it is the last.
    fn multiply(&mut self, plan: &Plan, inputs: &[f32], matrix: &impl Panels, panel: usize, turn: Turn) {
        let [input_stride, weight_stride, sum_stride] = plan.place_strides();
        let count = 2.min(plan.panels - panel);
        reserve(&mut self.sums, PLACES * sum_stride);
        self.sum_stride = sum_stride;
        for index in 0..plan.num_stretches() {
            let stretch = plan.stretch(index);
            for offset in 0..count {
                reserve(&mut self.weights[offset], PLACES * weight_stride);
                let taps = packed_taps(plan, matrix, panel + offset, &stretch, turn, &mut self.packed);
                transform_weights(&taps, &mut self.weights[offset], weight_stride);
            }
            let inputs = &inputs[index * plan.region()..][..plan.region()];
            for place in 0..PLACES {
                let weights = |offset: usize| self.weights[offset.min(count - 1)][place * weight_stride..].as_ptr();
                let tile = Tile {
                    rows: inputs[place * input_stride..].as_ptr(),
                    row_stride: plan.input_stride(),
                    column_stride: 1,
                    panels: [weights(0), weights(1)],
                    depth: stretch.len(),
                    result: self.sums[place * sum_stride..].as_mut_ptr(),
                    result_stride: WIDTH,
                    begin: if index == 0 { Begin::Zero } else { Begin::Result },
                    columns: count * LANES,
                };
                // SAFETY: the region holds the inputs of these tiles, scratch memory the weights of these panels and room for the sums of both.
                unsafe { multiply_tile(Isa::best(), self.tiles.len(), &tile) };
            }
        }
    }

    /// Transforms the sums and writes them, from `column` of the result on.
    fn write(&self, out: &Output<'_, SIDE>, column: usize) {
        let mut results = [[0.0; WIDTH]; SIDE * SIDE];
        for (offset, tile) in self.tiles.clone().enumerate() {
            transform_sums(&self.sums[offset * WIDTH..], self.sum_stride, &mut results);
            // SAFETY: each piece of work has tiles or columns of its own.
            unsafe { out.write(tile, column, &results) };
        }
    }
}

/// A stretch of channels of a panel, tap by tap.
fn packed_taps<'a>(
    plan: &Plan,
    matrix: &'a impl Panels,
    panel: usize,
    stretch: &Range<usize>,
    turn: Turn,
    scratch: &'a mut [Vec<f32>; TAPS],
) -> [&'a [f32]; TAPS] {
    let mut tap = 0;
    scratch.each_mut().map(|scratch| {
        let from = plan.channels * turn.tap(tap);
        tap += 1;
        matrix.panel(panel, from + stretch.start..from + stretch.end, scratch)
    })
}

const ROOT_HALF: f32 = std::f32::consts::FRAC_1_SQRT_2;
const ROOT_2: f32 = std::f32::consts::SQRT_2;

/// Bᵀ times six vectors.
#[inline(always)]
fn of_six(d: [Lanes; 6]) -> [Lanes; 6] {
    let (even_half, odd_half) = (d[4] - d[2] * 2.0, (d[3] - d[1] * 2.0) * ROOT_HALF);
    let (even_two, odd_two) = (d[4] - d[2] * 0.5, (d[3] - d[1] * 0.5) * ROOT_2);
    [
        d[0] - d[2] * 2.5 + d[4],
        even_half + odd_half,
        even_half - odd_half,
        even_two + odd_two,
        even_two - odd_two,
        d[1] - d[3] * 2.5 + d[5],
    ]
}

/// G times three vectors.
#[inline(always)]
fn of_three(g: [Lanes; 3]) -> [Lanes; 6] {
    let (even_half, odd_half) = ((g[0] + g[2] * 0.5) * (-2.0 / 3.0), g[1] * (-2.0 / 3.0 * ROOT_HALF));
    let (even_two, odd_two) = ((g[0] + g[2] * 2.0) * (1.0 / 6.0), g[1] * (1.0 / 6.0 * ROOT_2));
    [g[0], even_half + odd_half, even_half - odd_half, even_two + odd_two, even_two - odd_two, g[2]]
}

/// Aᵀ times six vectors.
#[inline(always)]
fn to_four(m: [Lanes; 6]) -> [Lanes; 4] {
    let (half_sum, half_difference) = (m[1] + m[2], (m[1] - m[2]) * ROOT_HALF);
    let (two_sum, two_difference) = (m[3] + m[4], (m[3] - m[4]) * ROOT_2);
    [
        m[0] + half_sum + two_sum,
        half_difference + two_difference,
        half_sum * 0.5 + two_sum * 2.0,
        half_difference * 0.5 + two_difference * 2.0 + m[5],
    ]
}

/// Transforms each column of the 36 places of a tile. A macro, because closures would be compiled for any processor.
macro_rules! columns {
    ($transform:ident, $place:ident => $elements:expr) => {
        [
            columns!($transform, 0, $place => $elements),
            columns!($transform, 1, $place => $elements),
            columns!($transform, 2, $place => $elements),
            columns!($transform, 3, $place => $elements),
            columns!($transform, 4, $place => $elements),
            columns!($transform, 5, $place => $elements),
        ]
    };
    ($transform:ident, $column:literal, $place:ident => $elements:expr) => {
        $transform([
            columns!($column, $place => $elements),
            columns!(6 + $column, $place => $elements),
            columns!(12 + $column, $place => $elements),
            columns!(18 + $column, $place => $elements),
            columns!(24 + $column, $place => $elements),
            columns!(30 + $column, $place => $elements),
        ])
    };
    ($index:expr, $place:ident => $elements:expr) => {{
        let $place = $index;
        Lanes::of($elements)
    }};
}

for_each_isa! {
    /// `Bᵀ d B` for every channel of 6×6 pixels: place p of the tile from `p · stride` on, whole vectors of channels.
    fn transform_inputs(pixels: &[&[f32]; PLACES], out: &mut [f32], stride: usize) {
        for first in (0..pixels[0].len()).step_by(LANES) {
            let [a, b, c, d, e, f] = columns!(of_six, place => &pixels[place][first..]);
            for i in 0..INPUT_SIDE {
                for (j, place) in of_six([a[i], b[i], c[i], d[i], e[i], f[i]]).iter().enumerate() {
                    out[(i * INPUT_SIDE + j) * stride + first..][..LANES].copy_from_slice(&place.0);
                }
            }
        }
    }
}

for_each_isa! {
    /// `G g Gᵀ` for every channel and column of a panel of 3×3 kernels: place p from `p · stride` on.
    fn transform_weights(taps: &[&[f32]; TAPS], out: &mut [f32], stride: usize) {
        for first in (0..taps[0].len()).step_by(LANES) {
            let tap = |tap: usize| Lanes::of(&taps[tap][first..]);
            let a = of_three([tap(0), tap(3), tap(6)]);
            let b = of_three([tap(1), tap(4), tap(7)]);
            let c = of_three([tap(2), tap(5), tap(8)]);
            for i in 0..INPUT_SIDE {
                for (j, place) in of_three([a[i], b[i], c[i]]).iter().enumerate() {
                    out[(i * INPUT_SIDE + j) * stride + first..][..LANES].copy_from_slice(&place.0);
                }
            }
        }
    }
}

for_each_isa! {
    /// `Aᵀ m A` for 32 columns: place p of the tile from `p · stride` on.
    fn transform_sums(sums: &[f32], stride: usize, results: &mut [[f32; WIDTH]; SIDE * SIDE]) {
        for first in [0, LANES] {
            let [a, b, c, d, e, f] = columns!(to_four, place => &sums[place * stride + first..]);
            for i in 0..SIDE {
                for (j, result) in to_four([a[i], b[i], c[i], d[i], e[i], f[i]]).iter().enumerate() {
                    results[i * SIDE + j][first..][..LANES].copy_from_slice(&result.0);
                }
            }
        }
    }
}
