//! What Winograd's transforms of 3×3 convolutions share, whatever the side of a tile and the numbers that are multiplied: which pixels lie under a
//! tile, and how its results are written.

#![expect(unsafe_code, reason = "threads write the tiles of one result")]

use std::mem::MaybeUninit;
use std::ops::{Add, Mul, Sub};

use super::isa::for_each_isa;
use super::start::Start;

/// Places of a 3×3 kernel.
pub(crate) const TAPS: usize = 9;
/// Columns of results that are written together.
pub(crate) const WIDTH: usize = 32;
/// Numbers of a vector.
const LANES: usize = 16;

/// The images of one convolution, which has a row of zeros around each; its results come in tiles of `SIDE` × `SIDE` pixels.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Images<const SIDE: usize> {
    pub(crate) b: usize,
    pub(crate) h: usize,
    pub(crate) w: usize,
}

/// Which way a kernel lies on the image.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Turn {
    /// As it is packed.
    Forward,
    /// Turned around, for gradients.
    Around,
}

impl Turn {
    /// The packed tap that is used as tap `tap`.
    pub(crate) fn tap(self, tap: usize) -> usize {
        match self {
            Self::Forward => tap,
            Self::Around => TAPS - 1 - tap,
        }
    }
}

impl<const SIDE: usize> Images<SIDE> {
    /// One of them: what decides how they are computed, so that no result depends on what else is in its batch.
    pub(crate) fn one(&self) -> Self {
        Self { b: 1, ..*self }
    }

    pub(crate) fn pixels(&self) -> usize {
        self.b * self.h * self.w
    }

    pub(crate) fn tiles(&self) -> usize {
        self.b * self.h.div_ceil(SIDE) * self.w.div_ceil(SIDE)
    }

    /// Image, and first row and column of the results of a tile.
    fn place(&self, tile: usize) -> (usize, usize, usize) {
        let (tiles_h, tiles_w) = (self.h.div_ceil(SIDE), self.w.div_ceil(SIDE));
        let row = tile / tiles_w;
        (row / tiles_h, row % tiles_h * SIDE, tile % tiles_w * SIDE)
    }

    /// The (SIDE + 2)² = `PLACES` pixels of `x` (B, H, W, `channels`) under a tile, nothing where there is no image.
    pub(crate) fn under<'a, const PLACES: usize>(
        &self,
        tile: usize,
        x: &'a [f32],
        channels: usize,
    ) -> [Option<&'a [f32]>; PLACES] {
        const { assert!(PLACES == (SIDE + 2) * (SIDE + 2), "a row of pixels around each tile") };
        let &Self { h, w, .. } = self;
        let (b, first_row, first_column) = self.place(tile);
        std::array::from_fn(|i| {
            let row = (first_row + i / (SIDE + 2)).checked_sub(1).filter(|&row| row < h)?;
            let column = (first_column + i % (SIDE + 2)).checked_sub(1).filter(|&column| column < w)?;
            Some(&x[((b * h + row) * w + column) * channels..][..channels])
        })
    }
}

/// Asks for the pixels under a tile that were not under those above it and to its left.
pub(crate) fn prefetch_under<const SIDE: usize>(images: Images<SIDE>, tile: usize, x: &[f32], channels: usize) {
    let (b, first_row, first_column) = images.place(tile);
    for row in first_row..(first_row + SIDE + 1).min(images.h) {
        let columns = first_column..(first_column + SIDE).min(images.w);
        let first = ((b * images.h + row) * images.w + columns.start) * channels;
        prefetch(x[first..].as_ptr(), columns.len() * channels);
    }
}

/// Where results go: (B, H, W, N), perhaps not written yet.
pub(crate) struct Output<'a, const SIDE: usize> {
    first: *mut f32,
    n: usize,
    images: Images<SIDE>,
    start: Start<'a>,
}

// SAFETY: `write` asks that no two threads write the same tile and columns.
unsafe impl<const SIDE: usize> Sync for Output<'_, SIDE> {}

/// `start` and what `write` adds to it, (B, H, W, N).
///
/// # Safety
/// `write` writes every tile and column.
///
/// # Panics
/// If `start` does not fit the result.
pub(crate) unsafe fn written<const SIDE: usize>(
    start: Start<'_>,
    images: Images<SIDE>,
    n: usize,
    write: impl FnOnce(&Output<'_, SIDE>),
) -> Vec<f32> {
    let len = images.pixels() * n;
    start.check(len, n);
    let mut result = Vec::with_capacity(len);
    if len > 0 {
        write(&Output { first: result.as_mut_ptr(), n, images, start });
    }
    // SAFETY: every pixel belongs to one tile, and the caller vouches that all were written.
    unsafe { result.set_len(len) };
    result
}

/// Asks for elements that will be read or written soon, so that they come while others are multiplied.
#[inline(always)]
fn prefetch(elements: *const f32, len: usize) {
    #[cfg(target_arch = "x86_64")]
    for line in (0..len).step_by(LANES) {
        use std::arch::x86_64::{_MM_HINT_T0, _mm_prefetch};
        // SAFETY: nothing is read, whatever the address.
        unsafe { _mm_prefetch::<_MM_HINT_T0>(elements.wrapping_add(line).cast()) }
    }
    #[cfg(not(target_arch = "x86_64"))]
    let _ = (elements, len);
}

impl<const SIDE: usize> Output<'_, SIDE> {
    /// Asks for the elements that [`write`](Self::write) will write.
    pub(crate) fn prefetch(&self, tile: usize, column: usize) {
        let (columns, (b, first_y, first_x)) = (WIDTH.min(self.n - column), self.images.place(tile));
        for y in first_y..(first_y + SIDE).min(self.images.h) {
            for x in first_x..(first_x + SIDE).min(self.images.w) {
                let place = ((b * self.images.h + y) * self.images.w + x) * self.n + column;
                prefetch(self.first.wrapping_add(place), columns);
                if let Start::Base(base, _) = self.start {
                    prefetch(base[place..].as_ptr(), columns);
                }
            }
        }
    }

    /// Writes what there is of [`WIDTH`] columns from `column` on of the SIDE² pixels of a tile.
    ///
    /// # Safety
    /// No other thread writes or reads the tile's columns.
    pub(crate) unsafe fn write(&self, tile: usize, column: usize, values: &[[f32; WIDTH]]) {
        let columns = WIDTH.min(self.n - column);
        let (b, first_y, first_x) = self.images.place(tile);
        for (i, values) in values.iter().enumerate() {
            let (y, x) = (first_y + i / SIDE, first_x + i % SIDE);
            if y >= self.images.h || x >= self.images.w {
                continue;
            }
            let place = ((b * self.images.h + y) * self.images.w + x) * self.n + column;
            // SAFETY: pixel and columns lie within the result, and no other thread has them.
            let out =
                unsafe { std::slice::from_raw_parts_mut(self.first.add(place).cast::<MaybeUninit<f32>>(), columns) };
            let (base, bias) = match self.start {
                Start::Zero => (None, None),
                Start::Bias(bias) => (None, Some(bias)),
                Start::Base(base, bias) => (Some(&base[place..place + columns]), bias),
            };
            write_sums(out, values, bias.map(|bias| &bias[column..column + columns]), base);
        }
    }
}

for_each_isa! {
    /// Writes sums, a bias and a base added to them.
    fn write_sums(out: &mut [MaybeUninit<f32>], sums: &[f32; WIDTH], bias: Option<&[f32]>, base: Option<&[f32]>) {
        let mut sums = *sums;
        if let Some(bias) = bias {
            for (sum, bias) in sums.iter_mut().zip(bias) {
                *sum += bias;
            }
        }
        if let Some(base) = base {
            for (sum, base) in sums.iter_mut().zip(base) {
                *sum += base;
            }
        }
        for (out, sum) in out.iter_mut().zip(sums) {
            out.write(sum);
        }
    }
}

/// A vector of numbers, one for each channel or column.
#[derive(Clone, Copy)]
#[repr(align(64))]
pub(crate) struct Lanes(pub(crate) [f32; LANES]);

impl Lanes {
    /// Those that there are, and zeros.
    #[inline(always)]
    pub(crate) fn of(elements: &[f32]) -> Self {
        match elements.first_chunk() {
            Some(all) => Self(*all),
            None => {
                let mut lanes = [0.0; LANES];
                lanes[..elements.len()].copy_from_slice(elements);
                Self(lanes)
            }
        }
    }

    #[inline(always)]
    fn zip(self, other: Self, f: impl Fn(f32, f32) -> f32) -> Self {
        let mut lanes = self.0;
        for (a, b) in lanes.iter_mut().zip(other.0) {
            *a = f(*a, b);
        }
        Self(lanes)
    }
}

impl Add for Lanes {
    type Output = Self;

    #[inline(always)]
    fn add(self, other: Self) -> Self {
        self.zip(other, |a, b| a + b)
    }
}

impl Sub for Lanes {
    type Output = Self;

    #[inline(always)]
    fn sub(self, other: Self) -> Self {
        self.zip(other, |a, b| a - b)
    }
}

impl Mul<f32> for Lanes {
    type Output = Self;

    #[inline(always)]
    fn mul(self, factor: f32) -> Self {
        self.zip(self, |a, _| a * factor)
    }
}
