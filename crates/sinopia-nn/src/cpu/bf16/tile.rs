//! The innermost loop: a few rows times a panel of columns, all sums in registers.

#![expect(unsafe_code, reason = "vector instructions on strided rows")]

use super::packed::Line;
use crate::cpu::isa::Isa;
use crate::cpu::start::Begin;

/// Most rows of a tile of 32 columns: 28 registers of sums, two of columns, one of a row's pair.
pub(crate) const ROWS: usize = 14;
/// Most rows of a tile of 48 columns.
pub(crate) const ROWS_OF_48: usize = 8;

/// Rows, columns and result of a tile: `result = begin + rows · columns`.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Tile {
    /// Pairs of bf16 of the first row.
    pub(crate) rows: *const u32,
    /// Pairs from a row to the next.
    pub(crate) row_stride: usize,
    /// The first of `pairs` · (width / 16) lines.
    pub(crate) lines: *const Line,
    pub(crate) pairs: usize,
    pub(crate) result: *mut f32,
    /// Elements from a row of the result to the next.
    pub(crate) result_stride: usize,
    pub(crate) begin: Begin,
    /// Columns in use, from the first; the others are not written.
    pub(crate) columns: usize,
}

/// Computes a tile of `rows` ≤ [`ROWS`] rows and 32 columns, or of `rows` ≤ [`ROWS_OF_48`] and 48.
///
/// # Safety
/// Every row has `pairs` readable pairs, there are `pairs` · `width`/16 readable lines, and `columns` ≤ `width` elements of each row of the
/// result are writable and read by nobody else; a base has those elements, too, and a bias `columns`.
pub(crate) unsafe fn multiply_tile(isa: Isa, rows: usize, width: usize, tile: &Tile) {
    #[cfg(target_arch = "x86_64")]
    if isa == Isa::Avx512Bf16 {
        // SAFETY: the processor has the instructions; the caller vouches for the pointers.
        return unsafe { x86::multiply_tile(rows, width, tile) };
    }
    match isa {
        #[cfg(target_arch = "x86_64")]
        // SAFETY: as above.
        Isa::Avx512 => unsafe { x86::plain_avx512(rows, width, tile) },
        #[cfg(target_arch = "x86_64")]
        // SAFETY: as above.
        Isa::Avx2 => unsafe { x86::plain_avx2(rows, width, tile) },
        // SAFETY: the caller vouches for the pointers.
        _ => unsafe { plain(rows, width, tile) },
    }
}

/// The same in f32 arithmetic, for any processor: products of bf16 are exact, sums are rounded in another order.
///
/// # Safety
/// As [`multiply_tile`].
#[inline(always)]
unsafe fn plain(rows: usize, width: usize, tile: &Tile) {
    let vectors = width / 16;
    for vector in 0..vectors {
        let columns = tile.columns.saturating_sub(16 * vector).min(16);
        if columns == 0 {
            break;
        }
        let mut row = 0;
        while row < rows {
            // SAFETY: passed on.
            row += unsafe {
                if rows - row >= 4 {
                    plain_rows::<4>(row, vector, vectors, columns, tile)
                } else {
                    plain_rows::<1>(row, vector, vectors, columns, tile)
                }
            };
        }
    }
}

/// `N` rows of one vector of columns; returns N.
///
/// # Safety
/// As [`multiply_tile`].
#[inline(always)]
unsafe fn plain_rows<const N: usize>(row: usize, vector: usize, vectors: usize, columns: usize, tile: &Tile) -> usize {
    let mut sums = [[0.0_f32; 16]; N];
    for pair in 0..tile.pairs {
        // SAFETY: within the lines and rows that the caller vouches for.
        let line = unsafe { &(*tile.lines.add(pair * vectors + vector)).0 };
        for (i, sums) in sums.iter_mut().enumerate() {
            // SAFETY: as above.
            let both = unsafe { *tile.rows.add((row + i) * tile.row_stride + pair) };
            let (a, b) = (f32::from_bits(both << 16), f32::from_bits(both & 0xFFFF_0000));
            for (sum, &word) in sums.iter_mut().zip(line) {
                *sum += a * f32::from_bits(word << 16) + b * f32::from_bits(word & 0xFFFF_0000);
            }
        }
    }
    for (i, sums) in sums.iter().enumerate() {
        for (column, sum) in sums.iter().enumerate().take(columns) {
            let column = 16 * vector + column;
            // SAFETY: within the columns in use.
            unsafe {
                let result = tile.result.add((row + i) * tile.result_stride + column);
                let begin = match tile.begin {
                    Begin::Zero => 0.0,
                    Begin::Bias(bias) => *bias.add(column),
                    Begin::Base(base, bias) => {
                        let bias = if bias.is_null() { 0.0 } else { *bias.add(column) };
                        *base.add((row + i) * tile.result_stride + column) + bias
                    }
                    Begin::Result => *result,
                };
                *result = begin + sum;
            }
        }
    }
    N
}

#[cfg(target_arch = "x86_64")]
mod x86 {
    use std::arch::x86_64::*;

    use super::{Tile, plain};
    use crate::cpu::start::Begin;

    /// # Safety
    /// As [`super::multiply_tile`], on a processor with AVX-512.
    #[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl")]
    pub(super) unsafe fn plain_avx512(rows: usize, width: usize, tile: &Tile) {
        // SAFETY: passed on.
        unsafe { plain(rows, width, tile) }
    }

    /// # Safety
    /// As [`super::multiply_tile`], on a processor with AVX2 and FMA.
    #[target_feature(enable = "avx2,fma")]
    pub(super) unsafe fn plain_avx2(rows: usize, width: usize, tile: &Tile) {
        // SAFETY: passed on.
        unsafe { plain(rows, width, tile) }
    }

    /// # Safety
    /// As [`super::multiply_tile`], on a processor with AVX-512 F, BW, DQ, VL and BF16.
    #[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx512bf16")]
    pub(super) unsafe fn multiply_tile(rows: usize, width: usize, tile: &Tile) {
        // SAFETY: passed on.
        unsafe {
            match (width, rows) {
                (32, 14) => fixed::<14, 2>(tile),
                (32, 13) => fixed::<13, 2>(tile),
                (32, 12) => fixed::<12, 2>(tile),
                (32, 11) => fixed::<11, 2>(tile),
                (32, 10) => fixed::<10, 2>(tile),
                (32, 9) => fixed::<9, 2>(tile),
                (32, 8) => fixed::<8, 2>(tile),
                (32, 7) => fixed::<7, 2>(tile),
                (32, 6) => fixed::<6, 2>(tile),
                (32, 5) => fixed::<5, 2>(tile),
                (32, 4) => fixed::<4, 2>(tile),
                (32, 3) => fixed::<3, 2>(tile),
                (32, 2) => fixed::<2, 2>(tile),
                (32, 1) => fixed::<1, 2>(tile),
                (48, 8) => fixed::<8, 3>(tile),
                (48, 7) => fixed::<7, 3>(tile),
                (48, 6) => fixed::<6, 3>(tile),
                (48, 5) => fixed::<5, 3>(tile),
                (48, 4) => fixed::<4, 3>(tile),
                (48, 3) => fixed::<3, 3>(tile),
                (48, 2) => fixed::<2, 3>(tile),
                (48, 1) => fixed::<1, 3>(tile),
                _ => plain(rows, width, tile),
            }
        }
    }

    /// `R` rows of `16 · V` columns.
    ///
    /// # Safety
    /// As [`super::multiply_tile`].
    #[inline]
    #[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx512bf16")]
    unsafe fn fixed<const R: usize, const V: usize>(tile: &Tile) {
        let masks: [__mmask16; V] = std::array::from_fn(|v| {
            let columns = tile.columns.saturating_sub(16 * v).min(16);
            ((1_u32 << columns) - 1) as __mmask16
        });
        let mut sums = [[_mm512_setzero_ps(); V]; R];
        // SAFETY: masks end with the columns in use; rows and lines are the caller's.
        unsafe {
            match tile.begin {
                Begin::Zero => {}
                Begin::Bias(bias) => {
                    for v in 0..V {
                        let bias = _mm512_maskz_loadu_ps(masks[v], bias.add(16 * v));
                        for row in &mut sums {
                            row[v] = bias;
                        }
                    }
                }
                Begin::Base(base, bias) => {
                    for v in 0..V {
                        let bias = match bias.is_null() {
                            true => _mm512_setzero_ps(),
                            false => _mm512_maskz_loadu_ps(masks[v], bias.add(16 * v)),
                        };
                        for (r, row) in sums.iter_mut().enumerate() {
                            let base = base.add(r * tile.result_stride + 16 * v);
                            row[v] = _mm512_add_ps(_mm512_maskz_loadu_ps(masks[v], base), bias);
                        }
                    }
                }
                Begin::Result => {
                    for (r, row) in sums.iter_mut().enumerate() {
                        for v in 0..V {
                            let result = tile.result.add(r * tile.result_stride + 16 * v);
                            row[v] = _mm512_maskz_loadu_ps(masks[v], result);
                        }
                    }
                }
            }
            let mut line = tile.lines.cast::<__m512i>();
            for pair in 0..tile.pairs {
                let columns: [__m512bh; V] =
                    std::array::from_fn(|v| std::mem::transmute(_mm512_load_si512(line.add(v))));
                line = line.add(V);
                for (r, row) in sums.iter_mut().enumerate() {
                    let pair = _mm512_set1_epi32((*tile.rows.add(r * tile.row_stride + pair)).cast_signed());
                    for v in 0..V {
                        row[v] = _mm512_dpbf16_ps(row[v], std::mem::transmute::<__m512i, __m512bh>(pair), columns[v]);
                    }
                }
            }
            for (r, row) in sums.iter().enumerate() {
                for v in 0..V {
                    let result = tile.result.add(r * tile.result_stride + 16 * v);
                    _mm512_mask_storeu_ps(result, masks[v], row[v]);
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{ROWS, ROWS_OF_48, Tile, multiply_tile};
    use crate::cpu::bf16::packed::Line;
    use crate::cpu::isa::Isa;
    use crate::cpu::start::Begin;

    /// A pair of small whole numbers as bf16, whose products and sums are exact in any order.
    fn pair(i: usize) -> u32 {
        let bits = |i: usize| half::bf16::from_f32((i * 7 % 13) as f32 - 6.0).to_bits();
        u32::from(bits(i)) | u32::from(bits(i + 5)) << 16
    }

    fn result(isa: Isa, rows: usize, width: usize, columns: usize, begin: usize) -> Vec<f32> {
        const PAIRS: usize = 9;
        let left: Vec<u32> = (0..rows * PAIRS).map(pair).collect();
        let lines: Vec<Line> =
            (0..PAIRS * width / 16).map(|line| Line(std::array::from_fn(|lane| pair(31 * line + lane)))).collect();
        let base: Vec<f32> = (0..rows * width).map(|i| i as f32).collect();
        let bias: Vec<f32> = (0..width).map(|i| 1000.0 + i as f32).collect();
        let mut result = vec![-1.0; rows * width];
        let begin = match begin {
            0 => Begin::Zero,
            1 => Begin::Bias(bias.as_ptr()),
            2 => Begin::Base(base.as_ptr(), bias.as_ptr()),
            3 => Begin::Base(base.as_ptr(), std::ptr::null()),
            _ => Begin::Result,
        };
        let tile = Tile {
            rows: left.as_ptr(),
            row_stride: PAIRS,
            lines: lines.as_ptr(),
            pairs: PAIRS,
            result: result.as_mut_ptr(),
            result_stride: width,
            begin,
            columns,
        };
        // SAFETY: all vectors have the sizes that the tile names.
        unsafe { multiply_tile(isa, rows, width, &tile) };
        result
    }

    #[test]
    fn all_instructions_give_the_same() {
        let best = Isa::best();
        for (width, most) in [(32, ROWS), (48, ROWS_OF_48)] {
            for rows in 1..=most {
                for columns in [1, 16, 17, width] {
                    for begin in 0..5 {
                        let expected = result(Isa::Portable, rows, width, columns, begin);
                        for isa in [Isa::Avx2, Isa::Avx512, Isa::Avx512Bf16].into_iter().filter(|isa| *isa <= best) {
                            assert_eq!(
                                result(isa, rows, width, columns, begin),
                                expected,
                                "{isa:?} {rows} {width} {columns}"
                            );
                        }
                    }
                }
            }
        }
    }
}
