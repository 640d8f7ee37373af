//! 3×3 convolutions of stride 1 with 4/9 of the multiplications: Winograd's F(2×2, 3×3) on bf16 products.
//!
//! `Y = Aᵀ [Σ_c (G g Gᵀ) ⊙ (Bᵀ d B)] A` for every 2×2 results and the 4×4 pixels `d` under them (Lavin and Gray 2015, arXiv 1509.09308). Each of the
//! 16 places of a tile is a product of its own, of (tiles, C) with (C, N). Transforms are sums in f32; what is multiplied is rounded to bf16 once,
//! behind them.
//!
//! Weights stay packed as they are. Those of a panel are transformed where they are multiplied, which costs as much as the products of a dozen
//! tiles. The gradient is the same convolution with the transposed weights and the kernel turned around.

#![expect(unsafe_code, reason = "threads write the tiles of one result")]

use std::cell::RefCell;
use std::ops::Range;

use rayon::prelude::*;

use super::columns::halves_mut;
use super::convert::round_to_bf16;
use super::packed::{LANES, Line};
use super::product::Panels;
use super::tile::{ROWS, Tile, multiply_tile};
use crate::cpu::isa::{Isa, for_each_isa};
use crate::cpu::split::cut;
use crate::cpu::start::{Begin, Start};
use crate::cpu::winograd::{self, Lanes, Output, TAPS, Turn, WIDTH, prefetch_under, written};

/// Pixels of a side of a tile's results, and of its inputs.
const SIDE: usize = 2;
const INPUT_SIDE: usize = SIDE + 2;
/// Places of a tile.
const PLACES: usize = INPUT_SIDE * INPUT_SIDE;
const _: () = assert!(WIDTH == LANES, "a panel of columns is written at a time");

/// Most tiles whose sums of one panel are kept together: 16 × 56 × 32 of them, 112 KiB.
const MAX_TILES: usize = 4 * ROWS;
/// Elements of a group's transformed inputs that stay in the second-level cache: 576 KiB.
const GROUP_ELEMENTS: usize = 9 << 15;
/// Most elements of transformed inputs, or weights, that are kept together: 16 MiB, and 7.
const BLOCK_ELEMENTS: usize = 1 << 23;
const WEIGHT_ELEMENTS: usize = 7 << 19;
/// Groups of tiles that are enough for threads to share evenly.
const MIN_GROUPS: usize = 12;
/// Fewer channels on either side do not pay for the transforms.
const MIN_CHANNELS: usize = 32;
/// Tiles that could be multiplied while the weights are transformed.
const TILES_OF_WEIGHTS: usize = 12;

thread_local! {
    /// Transformed inputs of the block that this thread has others work on, kept from call to call.
    static INPUTS: RefCell<Vec<u32>> = const { RefCell::new(Vec::new()) };
    /// All transformed weights that this thread has others work with.
    static WEIGHTS: RefCell<Vec<Line>> = const { RefCell::new(Vec::new()) };
    /// What this thread works with, kept from piece to piece.
    static SCRATCH: RefCell<Scratch> = RefCell::default();
}

/// The images of one convolution.
pub(crate) type Images = winograd::Images<SIDE>;

impl Images {
    /// Is a convolution of `channels` channels to `columns` faster in tiles? On few pixels the weights' transform is not paid for.
    pub(crate) fn gain_by_tiles(&self, channels: usize, columns: usize) -> bool {
        let one = self.one();
        channels.min(columns) >= MIN_CHANNELS && TAPS * one.pixels() > PLACES * (one.tiles() + TILES_OF_WEIGHTS)
    }
}

/// `start` and the convolution of images (B, H, W, C) with a kernel packed as (9 · C, N), to (B, H, W, N).
///
/// An element's sum runs in the same order whatever the number of threads.
pub(crate) fn convolve(start: Start<'_>, x: &[f32], images: Images, matrix: &impl Panels, turn: Turn) -> Vec<f32> {
    let plan = Plan::new(images, x.len() / images.pixels().max(1), matrix);
    // SAFETY: every share of a block's groups of tiles meets every panel, once.
    unsafe { written(start, images, matrix.columns(), |out| plan.convolve(out, x, matrix, turn)) }
}

/// How a convolution is cut: into groups of tiles by panels of columns.
struct Plan {
    images: Images,
    /// C, and filled up to an even number.
    channels: usize,
    padded: usize,
    panels: usize,
    group_tiles: usize,
}

impl Plan {
    fn new(images: Images, channels: usize, matrix: &impl Panels) -> Self {
        let padded = matrix.rows() / TAPS;
        assert_eq!(channels.next_multiple_of(2), padded, "channels of the images and of the kernel");
        let most_tiles = (GROUP_ELEMENTS / (PLACES * padded).max(1)).clamp(ROWS, MAX_TILES);
        let (_, group_tiles) = cut(images.tiles(), most_tiles, 1);
        Self { images, channels, padded, panels: matrix.columns().div_ceil(LANES), group_tiles }
    }

    /// Pairs of channels.
    fn pairs(&self) -> usize {
        self.padded / 2
    }

    /// Pairs from a place of a transformed tile to the next, and from a tile to the next: an odd number of lines of the cache, so that the rows of a
    /// product do not all want the same ones.
    fn input_strides(&self) -> [usize; 2] {
        let place = self.pairs().next_multiple_of(16);
        [place, PLACES * place + 16]
    }

    /// Lines from a place of the transformed weights to the next. One more than they have keeps the places from wanting the same lines of the cache.
    fn weight_stride(&self) -> usize {
        2 * self.pairs() + 1
    }

    /// Lines of a panel's transformed weights.
    fn panel_lines(&self) -> usize {
        PLACES * self.weight_stride()
    }

    fn groups(&self) -> usize {
        self.images.tiles().div_ceil(self.group_tiles)
    }

    /// The tiles of some groups.
    fn tiles(&self, groups: Range<usize>) -> Range<usize> {
        let end = self.images.tiles();
        (groups.start * self.group_tiles).min(end)..(groups.end * self.group_tiles).min(end)
    }

    /// Either order gives the same bits.
    fn convolve(&self, out: &Output<'_, SIDE>, x: &[f32], matrix: &impl Panels, turn: Turn) {
        let elements = self.panels * LANES * PLACES * self.padded;
        match elements <= WEIGHT_ELEMENTS && self.groups() >= MIN_GROUPS {
            true => self.by_groups(out, x, matrix, turn),
            false => self.by_panels(out, x, matrix, turn),
        }
    }

    /// Transforms all weights; then each group of tiles meets them, while its inputs and results are near.
    fn by_groups(&self, out: &Output<'_, SIDE>, x: &[f32], matrix: &impl Panels, turn: Turn) {
        // Taken out meanwhile: a thread that waits below may be given another convolution.
        let mut weights = WEIGHTS.take();
        reserve(&mut weights, self.panels * self.panel_lines());
        let panels = weights.par_chunks_exact_mut(self.panel_lines()).take(self.panels).enumerate();
        panels.for_each_init(Default::default, |packed, (panel, weights)| {
            self.transform_panel(matrix, panel, turn, packed, weights);
        });
        (0..self.groups()).into_par_iter().with_max_len(1).for_each(|group| {
            let tiles = self.tiles(group..group + 1);
            SCRATCH.with_borrow_mut(|Scratch { inputs, transformed, sums, .. }| {
                let stride = self.input_strides()[1];
                reserve(inputs, stride * tiles.len());
                for (tile, inputs) in tiles.clone().zip(inputs.chunks_exact_mut(stride)) {
                    self.transform_tile(x, tile, transformed, inputs);
                }
                let next = self.tiles(group + 1..group + 2);
                let share = next.len().div_ceil(self.panels);
                for (panel, weights) in weights.chunks_exact(self.panel_lines()).take(self.panels).enumerate() {
                    // The next group is most often this thread's, too.
                    for tile in next.clone().skip(panel * share).take(share) {
                        prefetch_under(self.images, tile, x, self.channels);
                    }
                    self.multiply(inputs, weights, tiles.len(), sums, |tile| {
                        out.prefetch(tiles.start + tile, panel * LANES)
                    });
                    write(out, sums, tiles.clone(), panel * LANES);
                }
            });
        });
        WEIGHTS.set(weights);
    }

    /// Transforms the inputs of many groups; then they meet each panel, while its weights are near.
    fn by_panels(&self, out: &Output<'_, SIDE>, x: &[f32], matrix: &impl Panels, turn: Turn) {
        let mut inputs = INPUTS.take();
        let stride = self.input_strides()[1];
        let most = BLOCK_ELEMENTS / (PLACES * self.padded * self.group_tiles).max(1);
        let (_, block_groups) = cut(self.groups(), most.clamp(1, 64), 1);
        for first in (0..self.groups()).step_by(block_groups) {
            let groups = first..(first + block_groups).min(self.groups());
            self.fill(x, self.tiles(groups.clone()), &mut inputs);
            // Enough pieces for any number of threads to share evenly.
            let most = groups.len().div_ceil((32 / self.panels).max(1));
            let (shares, share) = cut(groups.len(), most, 1);
            (0..self.panels * shares).into_par_iter().with_max_len(1).for_each(|piece| {
                let (panel, own) = (piece / shares, groups.start + piece % shares * share);
                SCRATCH.with_borrow_mut(|Scratch { packed, weights, sums, .. }| {
                    reserve(weights, self.panel_lines());
                    self.transform_panel(matrix, panel, turn, packed, weights);
                    for group in own..(own + share).min(groups.end) {
                        let tiles = self.tiles(group..group + 1);
                        let inputs = &inputs[(group - groups.start) * self.group_tiles * stride..];
                        self.multiply(inputs, weights, tiles.len(), sums, |tile| {
                            out.prefetch(tiles.start + tile, panel * LANES)
                        });
                        write(out, sums, tiles, panel * LANES);
                    }
                });
            });
        }
        INPUTS.set(inputs);
    }

    /// Transforms and rounds the inputs of some tiles.
    fn fill(&self, x: &[f32], tiles: Range<usize>, inputs: &mut Vec<u32>) {
        let stride = self.input_strides()[1];
        reserve(inputs, stride * tiles.len());
        let tiles = inputs.par_chunks_exact_mut(stride).zip(tiles).with_min_len(8);
        tiles.for_each_init(Vec::new, |transformed, (inputs, tile)| self.transform_tile(x, tile, transformed, inputs));
    }

    /// Transforms and rounds the inputs of a tile.
    fn transform_tile(&self, x: &[f32], tile: usize, transformed: &mut Vec<f32>, inputs: &mut [u32]) {
        let ([place_stride, _], stride) = (self.input_strides(), self.padded.next_multiple_of(16) + 16);
        reserve(transformed, PLACES * stride);
        transform_inputs(&self.images.under(tile, x, self.channels), self.channels, transformed, stride);
        for (transformed, inputs) in transformed.chunks_exact(stride).zip(inputs.chunks_exact_mut(place_stride)) {
            round_to_bf16(&transformed[..self.padded], halves_mut(&mut inputs[..self.pairs()]));
        }
    }

    /// Transforms the weights of a panel.
    fn transform_panel(
        &self,
        matrix: &impl Panels,
        panel: usize,
        turn: Turn,
        packed: &mut [Vec<Line>; TAPS],
        weights: &mut [Line],
    ) {
        let mut tap = 0;
        let taps = packed.each_mut().map(|scratch| {
            let first = self.pairs() * turn.tap(tap);
            tap += 1;
            matrix.lines(panel, first..first + self.pairs(), scratch)
        });
        transform_weights(&taps, weights, self.weight_stride());
    }

    /// The sums of all places for some tiles' inputs and a panel's weights; `prefetch` asks for the results of a tile meanwhile.
    fn multiply(&self, inputs: &[u32], weights: &[Line], tiles: usize, sums: &mut Vec<f32>, prefetch: impl Fn(usize)) {
        let ([place_stride, tile_stride], isa) = (self.input_strides(), Isa::best());
        reserve(sums, PLACES * SUM_STRIDE);
        let (_, rows) = cut(tiles, ROWS, 1);
        assert!(tiles <= MAX_TILES && (tiles - 1) * tile_stride + PLACES * place_stride <= inputs.len());
        for place in 0..PLACES {
            (place..tiles).step_by(PLACES).for_each(&prefetch);
            let weights = &weights[place * self.weight_stride()..][..2 * self.pairs()];
            for first in (0..tiles).step_by(rows) {
                let tile = Tile {
                    rows: inputs[first * tile_stride + place * place_stride..].as_ptr(),
                    row_stride: tile_stride,
                    lines: weights.as_ptr(),
                    pairs: self.pairs(),
                    result: sums[place * SUM_STRIDE + first * LANES..].as_mut_ptr(),
                    result_stride: LANES,
                    begin: Begin::Zero,
                    columns: LANES,
                };
                // SAFETY: the inputs hold these tiles with `pairs` pairs at each place, `weights` two lines for each pair, and `sums` 32 sums for
                // each of the 16 × MAX_TILES places of tiles.
                unsafe { multiply_tile(isa, rows.min(tiles - first), LANES, &tile) };
            }
        }
    }
}

/// Transforms the sums of some tiles and writes them, from `column` of the result on.
fn write(out: &Output<'_, SIDE>, sums: &[f32], tiles: Range<usize>, column: usize) {
    let mut results = [[0.0; WIDTH]; SIDE * SIDE];
    for (offset, tile) in tiles.enumerate() {
        transform_sums(&sums[offset * LANES..], SUM_STRIDE, &mut results);
        // SAFETY: each piece of work has tiles or columns of its own.
        unsafe { out.write(tile, column, &results) };
    }
}

/// See [`SCRATCH`].
#[derive(Default)]
struct Scratch {
    /// A panel of each tap, where it has to be made.
    packed: [Vec<Line>; TAPS],
    /// A panel of each place: (16, pairs, 2).
    weights: Vec<Line>,
    /// A tile's inputs before they are rounded, (16, C).
    transformed: Vec<f32>,
    /// (tiles, 16, pairs)
    inputs: Vec<u32>,
    /// (16, tiles, 32)
    sums: Vec<f32>,
}

/// Makes room for `len` elements, whatever they hold.
fn reserve<T: Clone + bytemuck::Zeroable>(elements: &mut Vec<T>, len: usize) {
    if elements.len() < len {
        *elements = vec![T::zeroed(); len];
    }
}

/// Elements from a place of the sums to the next: a line of the cache more than there are.
const SUM_STRIDE: usize = MAX_TILES * LANES + 16;

/// Bᵀ times four vectors.
#[inline(always)]
fn of_four(d: [Lanes; 4]) -> [Lanes; 4] {
    [d[0] - d[2], d[1] + d[2], d[2] - d[1], d[1] - d[3]]
}

/// G times three vectors.
#[inline(always)]
fn of_three(g: [Lanes; 3]) -> [Lanes; 4] {
    let even = g[0] + g[2];
    [g[0], (even + g[1]) * 0.5, (even - g[1]) * 0.5, g[2]]
}

/// Aᵀ times four vectors.
#[inline(always)]
fn to_two(m: [Lanes; 4]) -> [Lanes; 2] {
    [m[0] + m[1] + m[2], m[1] - m[2] - m[3]]
}

for_each_isa! {
    /// `Bᵀ d B` for every channel of 4×4 pixels, some of them beside the image: place p of the tile from `p · stride` on, whole vectors of channels.
    fn transform_inputs(pixels: &[Option<&[f32]>; PLACES], channels: usize, out: &mut [f32], stride: usize) {
        for first in (0..channels).step_by(16) {
            let at = |place: usize| pixels[place].map_or(Lanes([0.0; 16]), |pixel| Lanes::of(&pixel[first..]));
            let a = of_four([at(0), at(4), at(8), at(12)]);
            let b = of_four([at(1), at(5), at(9), at(13)]);
            let c = of_four([at(2), at(6), at(10), at(14)]);
            let d = of_four([at(3), at(7), at(11), at(15)]);
            for i in 0..INPUT_SIDE {
                for (j, place) in of_four([a[i], b[i], c[i], d[i]]).iter().enumerate() {
                    out[(INPUT_SIDE * i + j) * stride + first..][..16].copy_from_slice(&place.0);
                }
            }
        }
    }
}

/// Two vectors of numbers as pairs of bf16, rounded to the nearest, ties to even.
#[inline(always)]
fn round_pairs(low: &Lanes, high: &Lanes, out: &mut Line) {
    for ((out, low), high) in out.0.iter_mut().zip(low.0).zip(high.0) {
        let (low, high) = (low.to_bits(), high.to_bits());
        let low = low.wrapping_add(0x7FFF + (low >> 16 & 1));
        let high = high.wrapping_add(0x7FFF + (high >> 16 & 1));
        *out = low >> 16 | high & 0xFFFF_0000;
    }
}

/// The first, and the second, numbers of pairs.
#[inline(always)]
fn halves(line: &Line) -> [Lanes; 2] {
    let [mut low, mut high] = [Lanes([0.0; 16]); 2];
    for ((low, high), word) in low.0.iter_mut().zip(&mut high.0).zip(line.0) {
        (*low, *high) = (f32::from_bits(word << 16), f32::from_bits(word & 0xFFFF_0000));
    }
    [low, high]
}

for_each_isa! {
    /// `G g Gᵀ` for every line of a panel of 3×3 kernels: place p from `p · stride` on.
    fn transform_weights(taps: &[&[Line]; TAPS], out: &mut [Line], stride: usize) {
        for line in 0..taps[0].len() {
            // G times each column of the kernel, of the first numbers of pairs and of the second.
            let mut low = [[Lanes([0.0; 16]); INPUT_SIDE]; 3];
            let mut high = low;
            for column in 0..3 {
                let [a, b] = halves(&taps[column][line]);
                let [c, d] = halves(&taps[3 + column][line]);
                let [e, f] = halves(&taps[6 + column][line]);
                (low[column], high[column]) = (of_three([a, c, e]), of_three([b, d, f]));
            }
            for i in 0..INPUT_SIDE {
                let low = of_three([low[0][i], low[1][i], low[2][i]]);
                let high = of_three([high[0][i], high[1][i], high[2][i]]);
                for j in 0..INPUT_SIDE {
                    round_pairs(&low[j], &high[j], &mut out[(INPUT_SIDE * i + j) * stride + line]);
                }
            }
        }
    }
}

for_each_isa! {
    /// `Aᵀ m A` for 32 columns: place p of the tile from `p · stride` on.
    fn transform_sums(sums: &[f32], stride: usize, results: &mut [[f32; WIDTH]; SIDE * SIDE]) {
        for first in [0, 16] {
            let mut columns = [[Lanes([0.0; 16]); SIDE]; INPUT_SIDE];
            for (column, two) in columns.iter_mut().enumerate() {
                let place = |row: usize| Lanes::of(&sums[(INPUT_SIDE * row + column) * stride + first..]);
                *two = to_two([place(0), place(1), place(2), place(3)]);
            }
            let [a, b, c, d] = columns;
            for i in 0..SIDE {
                for (j, result) in to_two([a[i], b[i], c[i], d[i]]).iter().enumerate() {
                    results[SIDE * i + j][first..][..16].copy_from_slice(&result.0);
                }
            }
        }
    }
}
