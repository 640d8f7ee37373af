//! 3×3 convolutions of stride 1 with 4/9 of the multiplications: Winograd's F(2×2, 3×3) on bf16 products.
//!
//! `Y = Aᵀ [Σ_c (G g G ᵀ) ⊙ (Bᵀ d B)] A` for every 2×2 outputs and the 4×4 inputs `d` under them (Lavin and Gray 2015, arXiv 1509.09308). Each of the 16
//! places of a tile is a product of its own, of (tiles, C) with (C, N). Transforms of inputs and results are sums in f32; their inputs are rounded to
//! bf16 once, behind the transform, as the weights are.
//!
//! The gradient is the same convolution with the kernel turned around. Turned around, `G g Gᵀ` has its first and last rows and columns
//! exchanged, so that the same weights serve.

#![expect(unsafe_code, reason = "threads write the tiles of one result")]

use std::ops::Range;

use half::bf16;
use rayon::prelude::*;

use super::columns::halves_mut;
use super::packed::{LANES, Line, Packed, Unpacked};
use super::product::Panels;
use super::tile::{ROWS, Tile, multiply_tile};
use crate::SharedBytes;
use crate::cpu::isa::Isa;
use crate::cpu::rows::{from_tile, to_tile};
use crate::cpu::start::{Begin, Start};
use crate::packed::{Order, PackedWeight, Storable, unfit};

/// Places of a tile.
const PLACES: usize = 16;
/// Tiles whose sums of one panel are kept together: 16 × 56 × 32 of them, 112 KiB.
const TILES: usize = 4 * ROWS;
/// Elements of transformed inputs that are kept together: 16 MiB.
const BLOCK_ELEMENTS: usize = 1 << 23;

/// A 3×3 kernel's weights, transformed: (16 · C, N).
#[derive(Debug, Clone)]
pub(crate) struct Winograd {
    weights: Packed,
}

/// The images of one application.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Images {
    pub(crate) b: usize,
    pub(crate) h: usize,
    pub(crate) w: usize,
}

impl Images {
    fn tiles_w(&self) -> usize {
        self.w.div_ceil(2)
    }

    fn tiles(&self) -> usize {
        self.b * self.h.div_ceil(2) * self.tiles_w()
    }

    /// Image, and first row and column of the results of a tile.
    fn place(&self, tile: usize) -> (usize, usize, usize) {
        let row = tile / self.tiles_w();
        let tiles_h = self.h.div_ceil(2);
        (row / tiles_h, row % tiles_h * 2, tile % self.tiles_w() * 2)
    }
}

impl Winograd {
    /// From bf16 bits in checkpoint order, (N, C, 3, 3).
    pub(crate) fn new(bits: &[u16], columns: usize, channels: usize) -> Self {
        let mut transformed = vec![0_u16; columns * channels * PLACES];
        transformed.par_chunks_mut(PLACES).with_min_len(256).zip(bits.par_chunks(9)).for_each(|(out, kernel)| {
            let g: [f32; 9] = std::array::from_fn(|i| bf16::from_bits(kernel[i]).to_f32());
            let rows: [[f32; 3]; 4] =
                std::array::from_fn(|i| std::array::from_fn(|j| of_three(i, g[j], g[3 + j], g[6 + j])));
            for (place, out) in out.iter_mut().enumerate() {
                let [a, b, c] = rows[place / 4];
                *out = bf16::from_f32(of_three(place % 4, a, b, c)).to_bits();
            }
        });
        let strides =
            Unpacked { bits: &transformed, taps: PLACES, channels, columns, tap_stride: 1, channel_stride: PLACES };
        Self { weights: Packed::new(strides) }
    }

    /// `start` and the convolution of images (B, H, W, C), a row of zeros around each, to (B, H, W, N).
    pub(crate) fn convolve(&self, start: Start<'_>, x: &[f32], images: Images) -> Vec<f32> {
        convolve(start, x, images, &self.weights, |place| place)
    }

    /// The gradient (B, H, W, C) of the images, given that of the result (B, H, W, N).
    pub(crate) fn gradient(&self, grad: &[f32], images: Images) -> Vec<f32> {
        let turned = |i: usize| [3, 1, 2, 0][i];
        convolve(Start::Zero, grad, images, &self.weights.transposed(), |place| {
            4 * turned(place / 4) + turned(place % 4)
        })
    }
}

impl Storable for Winograd {
    fn packed(&self) -> PackedWeight<&[u8]> {
        PackedWeight { order: Order::Bf16Winograd, ..self.weights.packed() }
    }

    fn from_packed(weight: PackedWeight<SharedBytes>) -> crate::error::Result<Self> {
        match weight.sizes.taps {
            PLACES => Ok(Self { weights: Packed::from_packed(weight)? }),
            places => Err(unfit(weight.order, format!("{places} places of a tile"))),
        }
    }
}

/// Row `i` of G times (a, b, c).
fn of_three(i: usize, a: f32, b: f32, c: f32) -> f32 {
    match i {
        0 => a,
        1 => 0.5 * (a + b + c),
        2 => 0.5 * (a - b + c),
        _ => c,
    }
}

/// The convolution with weights whose place p is `tap_of(p)` of the matrix.
fn convolve(
    start: Start<'_>,
    x: &[f32],
    images: Images,
    matrix: &impl Panels,
    tap_of: impl Fn(usize) -> usize + Sync,
) -> Vec<f32> {
    let (n, padded) = (matrix.columns(), matrix.rows() / PLACES);
    let pixels = images.b * images.h * images.w;
    let mut result = Vec::with_capacity(pixels * n);
    let out = Result { first: result.as_mut_ptr(), n, images, start };
    if pixels > 0 && n > 0 {
        let mut block = Block::new(padded);
        let step = (BLOCK_ELEMENTS / (PLACES * padded).max(1)).clamp(TILES, 64 * TILES) / TILES * TILES;
        for first in (0..images.tiles()).step_by(step) {
            block.fill(x, images, first..(first + step).min(images.tiles()));
            block.multiply(&out, matrix, &tap_of);
        }
    }
    // SAFETY: every pixel belongs to one tile, and every tile of every panel was written.
    unsafe { result.set_len(pixels * n) };
    result
}

/// Where results go: (B, H, W, N), perhaps not written yet.
struct Result<'a> {
    first: *mut f32,
    n: usize,
    images: Images,
    start: Start<'a>,
}

// SAFETY: threads share it only within `Block::multiply`, which gives each tile of each panel to one of them.
unsafe impl Sync for Result<'_> {}

impl Result<'_> {
    /// Writes the 2×2 results of a tile, `columns` columns from `column` on.
    fn write(&self, tile: usize, column: usize, columns: usize, four: &[[f32; LANES]; 4]) {
        let (b, y, x) = self.images.place(tile);
        for (i, values) in four.iter().enumerate() {
            let (y, x) = (y + i / 2, x + i % 2);
            if y >= self.images.h || x >= self.images.w {
                continue;
            }
            let place = ((b * self.images.h + y) * self.images.w + x) * self.n + column;
            // SAFETY: pixel and columns lie within the result, and no other thread writes them.
            let out = unsafe {
                std::slice::from_raw_parts_mut(self.first.add(place).cast::<std::mem::MaybeUninit<f32>>(), columns)
            };
            let (base, bias) = match self.start {
                Start::Zero => (None, None),
                Start::Bias(bias) => (None, Some(bias)),
                Start::Base(base, bias) => (Some(base), bias),
            };
            let mut values = *values;
            if let Some(bias) = bias {
                for (value, bias) in values.iter_mut().zip(&bias[column..column + columns]) {
                    *value += bias;
                }
            }
            if let Some(base) = base {
                for (value, base) in values.iter_mut().zip(&base[place..place + columns]) {
                    *value += base;
                }
            }
            for (out, value) in out.iter_mut().zip(values) {
                out.write(value);
            }
        }
    }
}

/// The transformed inputs of some tiles, rounded.
struct Block {
    tiles: Range<usize>,
    /// Channels, even.
    padded: usize,
    /// Pairs from a place of a tile to the next, and from a tile to the next.
    stride: usize,
    tile_stride: usize,
    bits: Vec<u32>,
}

impl Block {
    fn new(padded: usize) -> Self {
        let stride = (padded / 2).next_multiple_of(16);
        // An odd number of cache lines from tile to tile, so that the rows of a product do not all want the same ones.
        Self { tiles: 0..0, padded, stride, tile_stride: PLACES * stride + 16, bits: Vec::new() }
    }

    fn fill(&mut self, x: &[f32], images: Images, tiles: Range<usize>) {
        let size = self.tile_stride * tiles.len();
        if self.bits.len() < size {
            self.bits = vec![0; size];
        }
        let channels = x.len() / (images.b * images.h * images.w);
        let (first, stride) = (tiles.start, self.stride);
        let zeros = vec![0.0; channels];
        self.bits[..size].par_chunks_mut(self.tile_stride).with_min_len(8).enumerate().for_each(|(tile, bits)| {
            let (b, y, column) = images.place(first + tile);
            let inputs: [&[f32]; PLACES] = std::array::from_fn(|i| {
                let place = (y + i / 4).checked_sub(1).filter(|&y| y < images.h);
                match (place, (column + i % 4).checked_sub(1).filter(|&x| x < images.w)) {
                    (Some(y), Some(column)) => &x[((b * images.h + y) * images.w + column) * channels..][..channels],
                    _ => &zeros[..],
                }
            });
            to_tile(&inputs, halves_mut(&mut bits[..PLACES * stride]), 2 * stride);
        });
        self.tiles = tiles;
    }

    fn multiply(&self, out: &Result<'_>, matrix: &impl Panels, tap_of: &(impl Fn(usize) -> usize + Sync)) {
        let panels = out.n.div_ceil(LANES);
        let groups = self.tiles.len().div_ceil(TILES);
        let shares = (32 / panels).clamp(1, groups);
        let groups_a_share = groups.div_ceil(shares);
        let pairs = self.padded / 2;
        let run = |scratch: &mut Scratch, piece: usize| {
            let (panel, share) = (piece / shares, piece % shares);
            let Scratch { lines, sums } = scratch;
            let lines: Vec<&[Line]> = lines
                .iter_mut()
                .enumerate()
                .map(|(place, lines)| {
                    let tap = tap_of(place);
                    matrix.lines(panel, tap * pairs..(tap + 1) * pairs, lines)
                })
                .collect();
            for group in share * groups_a_share..((share + 1) * groups_a_share).min(groups) {
                let tiles = group * TILES..((group + 1) * TILES).min(self.tiles.len());
                self.multiply_group(out, panel, &lines, tiles, sums);
            }
        };
        (0..panels * shares).into_par_iter().with_max_len(1).for_each_init(Scratch::new, run);
    }

    /// The results of some tiles in one panel of columns.
    fn multiply_group(&self, out: &Result<'_>, panel: usize, lines: &[&[Line]], tiles: Range<usize>, sums: &mut [f32]) {
        let isa = Isa::best();
        for (place, lines) in lines.iter().enumerate() {
            for first in tiles.clone().step_by(ROWS) {
                let tile = Tile {
                    rows: self.bits[first * self.tile_stride + place * self.stride..].as_ptr(),
                    row_stride: self.tile_stride,
                    lines: lines.as_ptr(),
                    pairs: lines.len() / 2,
                    result: sums[(place * TILES + first - tiles.start) * LANES..].as_mut_ptr(),
                    result_stride: LANES,
                    begin: Begin::Zero,
                    columns: LANES,
                };
                // SAFETY: the block holds these tiles with `pairs` pairs at each place, `lines` two lines for each pair, and `sums` 32 sums for
                // each of the 16 × TILES places of tiles; a group has at most TILES tiles.
                unsafe { multiply_tile(isa, ROWS.min(tiles.end - first), LANES, &tile) };
            }
        }
        let column = panel * LANES;
        for (i, tile) in tiles.enumerate() {
            let four = from_tile(&sums[i * LANES..], TILES * LANES);
            out.write(self.tiles.start + tile, column, LANES.min(out.n - column), &four);
        }
    }
}

/// What a thread keeps from piece to piece.
struct Scratch {
    /// Panels that were made, one for each place.
    lines: [Vec<Line>; PLACES],
    /// (16, TILES, 32)
    sums: Vec<f32>,
}

impl Scratch {
    fn new() -> Self {
        Self { lines: std::array::from_fn(|_| Vec::new()), sums: vec![0.0; PLACES * TILES * LANES] }
    }
}
