//! The innermost loop: a few rows times a panel of columns, all sums in registers.
//!
//! | instructions | rows × columns of a tile | registers of sums |
//! |---|---|---|
//! | AVX-512 | 14 × 32, two panels | 28 of 32 |
//! | AVX2 and FMA | 6 × 16 | 12 of 16 |
//! | NEON | 6 × 16 | 24 of 32 |

#![expect(unsafe_code, reason = "vector instructions on strided rows")]

use crate::cpu::isa::Isa;
use crate::cpu::start::Begin;

/// Columns of a panel, whatever the instructions.
pub(crate) const LANES: usize = 16;

/// Rows, one or two panels and the result of a tile: `result = begin + rows · panels`.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Tile {
    /// The first of `depth` elements of the first row.
    pub(crate) rows: *const f32,
    /// Elements from a row to the next.
    pub(crate) row_stride: usize,
    /// Elements from one of a row to the next: 1, unless the rows are the columns of a matrix.
    pub(crate) column_stride: usize,
    /// `depth` rows of [`LANES`] elements each. The second is read only if there are more than [`LANES`] columns.
    pub(crate) panels: [*const f32; 2],
    pub(crate) depth: usize,
    pub(crate) result: *mut f32,
    /// Elements from a row of the result to the next.
    pub(crate) result_stride: usize,
    pub(crate) begin: Begin,
    /// Columns in use, from the first, at most two panels; the others are not written.
    pub(crate) columns: usize,
}

impl Tile {
    /// The tile `row` rows further down and `panel` panels (none or one) to the right.
    ///
    /// # Safety
    /// The tile has such a row and panel.
    #[inline(always)]
    unsafe fn part(&self, row: usize, panel: usize) -> Self {
        let column = panel * LANES;
        let place = row * self.result_stride + column;
        // SAFETY: the caller vouches that all of these lie within the tile.
        unsafe {
            let begin = match self.begin {
                Begin::Zero => Begin::Zero,
                Begin::Bias(bias) => Begin::Bias(bias.add(column)),
                Begin::Base(base, bias) => {
                    Begin::Base(base.add(place), if bias.is_null() { bias } else { bias.add(column) })
                }
                Begin::Result => Begin::Result,
            };
            Self {
                rows: self.rows.add(row * self.row_stride),
                panels: if panel == 0 { self.panels } else { [self.panels[1]; 2] },
                result: self.result.add(place),
                begin,
                columns: self.columns - column,
                ..*self
            }
        }
    }
}

/// Computes a tile of any number of rows, and of one or two panels.
///
/// # Safety
/// Every row has `depth` readable elements, each panel in use `depth` · [`LANES`], and `columns` elements of each row of the result are
/// writable and read by nobody else; a base has those elements, too, and a bias `columns`.
pub(crate) unsafe fn multiply_tile(isa: Isa, rows: usize, tile: &Tile) {
    debug_assert!((1..=2 * LANES).contains(&tile.columns), "{} columns", tile.columns);
    match isa {
        #[cfg(target_arch = "x86_64")]
        // SAFETY: the processor has the instructions; the caller vouches for the pointers.
        Isa::Avx512 | Isa::Avx512Bf16 => unsafe { avx512::multiply(rows, tile) },
        #[cfg(target_arch = "x86_64")]
        // SAFETY: as above.
        Isa::Avx2 => unsafe { avx2::multiply(rows, tile) },
        #[cfg(target_arch = "aarch64")]
        // SAFETY: as above; every processor of the target has NEON.
        _ => unsafe { neon::multiply(rows, tile) },
        #[cfg(not(target_arch = "aarch64"))]
        // SAFETY: the caller vouches for the pointers.
        _ => unsafe { portable::multiply(rows, tile) },
    }
}

/// Calls `f(first_row, rows)` for stretches of at most `most` rows that differ by at most one: so that the last is not a sliver, whose sums
/// would wait for each other.
#[inline(always)]
fn for_even_stretches(rows: usize, most: usize, mut f: impl FnMut(usize, usize)) {
    let stretches = rows.div_ceil(most);
    let mut first = 0;
    for left in (1..=stretches).rev() {
        let next = (rows - first).div_ceil(left);
        f(first, next);
        first += next;
    }
}

#[cfg(any(not(target_arch = "aarch64"), test))]
mod portable {
    use super::{LANES, Tile, for_even_stretches};
    use crate::cpu::start::Begin;

    /// # Safety
    /// As [`super::multiply_tile`].
    pub(super) unsafe fn multiply(rows: usize, tile: &Tile) {
        for panel in 0..tile.columns.div_ceil(LANES) {
            // SAFETY: passed on.
            for_even_stretches(rows, 4, |first, rows| unsafe {
                let part = tile.part(first, panel);
                match rows {
                    4 => fixed::<4>(&part),
                    3 => fixed::<3>(&part),
                    2 => fixed::<2>(&part),
                    _ => fixed::<1>(&part),
                }
            });
        }
    }

    /// `R` rows of one panel.
    ///
    /// # Safety
    /// As [`super::multiply_tile`].
    #[inline(always)]
    unsafe fn fixed<const R: usize>(tile: &Tile) {
        let mut sums = [[0.0_f32; LANES]; R];
        for k in 0..tile.depth {
            // SAFETY: within the panel and rows that the caller vouches for.
            let panel = unsafe { &*tile.panels[0].add(k * LANES).cast::<[f32; LANES]>() };
            for (r, sums) in sums.iter_mut().enumerate() {
                // SAFETY: as above.
                let a = unsafe { *tile.rows.add(r * tile.row_stride + k * tile.column_stride) };
                for (sum, b) in sums.iter_mut().zip(panel) {
                    *sum += a * b;
                }
            }
        }
        for (r, sums) in sums.iter().enumerate() {
            for (column, sum) in sums.iter().enumerate().take(tile.columns) {
                let place = r * tile.result_stride + column;
                // SAFETY: within the columns in use.
                unsafe {
                    let begin = match tile.begin {
                        Begin::Zero => 0.0,
                        Begin::Bias(bias) => *bias.add(column),
                        Begin::Base(base, bias) if bias.is_null() => *base.add(place),
                        Begin::Base(base, bias) => *base.add(place) + *bias.add(column),
                        Begin::Result => *tile.result.add(place),
                    };
                    *tile.result.add(place) = begin + sum;
                }
            }
        }
    }
}

#[cfg(target_arch = "x86_64")]
mod avx2 {
    use std::arch::x86_64::*;

    use super::{LANES, Tile, for_even_stretches};
    use crate::cpu::start::Begin;

    /// # Safety
    /// As [`super::multiply_tile`], on a processor with AVX2 and FMA.
    #[target_feature(enable = "avx2,fma")]
    pub(super) unsafe fn multiply(rows: usize, tile: &Tile) {
        for panel in 0..tile.columns.div_ceil(LANES) {
            // SAFETY: passed on.
            for_even_stretches(rows, 6, |first, rows| unsafe {
                let part = tile.part(first, panel);
                match tile.column_stride {
                    1 => choose::<true>(rows, &part),
                    _ => choose::<false>(rows, &part),
                }
            });
        }
    }

    /// # Safety
    /// As [`super::multiply_tile`].
    #[inline]
    #[target_feature(enable = "avx2,fma")]
    unsafe fn choose<const DENSE: bool>(rows: usize, tile: &Tile) {
        // SAFETY: passed on.
        unsafe {
            match rows {
                6 => fixed::<6, DENSE>(tile),
                5 => fixed::<5, DENSE>(tile),
                4 => fixed::<4, DENSE>(tile),
                3 => fixed::<3, DENSE>(tile),
                2 => fixed::<2, DENSE>(tile),
                _ => fixed::<1, DENSE>(tile),
            }
        }
    }

    /// `R` rows of one panel; `DENSE` ones have a column stride of 1, which leaves a register to the compiler.
    ///
    /// # Safety
    /// As [`super::multiply_tile`].
    #[inline]
    #[target_feature(enable = "avx2,fma")]
    unsafe fn fixed<const R: usize, const DENSE: bool>(tile: &Tile) {
        const STEPS: usize = 4;
        let stride = if DENSE { 1 } else { tile.column_stride };
        let mut sums = [[_mm256_setzero_ps(); 2]; R];
        // SAFETY: rows and panel are the caller's; what is fetched ahead need not even exist.
        unsafe {
            for r in 0..R {
                let result = tile.result.wrapping_add(r * tile.result_stride);
                _mm_prefetch::<_MM_HINT_T0>(result.cast());
                _mm_prefetch::<_MM_HINT_T0>(result.wrapping_add(LANES - 1).cast());
            }
            let mut row = tile.rows;
            let mut panel = tile.panels[0];
            for _ in 0..tile.depth / STEPS {
                for step in 0..STEPS {
                    add_products(&mut sums, row.add(step * stride), tile.row_stride, panel.add(step * LANES));
                }
                // Behind the last step a wide stride leads out of the matrix.
                (row, panel) = (row.wrapping_add(STEPS * stride), panel.add(STEPS * LANES));
            }
            for step in 0..tile.depth % STEPS {
                add_products(&mut sums, row.add(step * stride), tile.row_stride, panel.add(step * LANES));
            }
            store(&sums, tile);
        }
    }

    /// One element of each row times one row of the panel.
    ///
    /// # Safety
    /// The elements and the row of the panel are readable.
    #[inline]
    #[target_feature(enable = "avx2,fma")]
    unsafe fn add_products<const R: usize>(
        sums: &mut [[__m256; 2]; R],
        row: *const f32,
        row_stride: usize,
        panel: *const f32,
    ) {
        // SAFETY: the caller vouches for the pointers.
        unsafe {
            let columns = [_mm256_loadu_ps(panel), _mm256_loadu_ps(panel.add(8))];
            for (r, sums) in sums.iter_mut().enumerate() {
                let a = _mm256_broadcast_ss(&*row.add(r * row_stride));
                sums[0] = _mm256_fmadd_ps(a, columns[0], sums[0]);
                sums[1] = _mm256_fmadd_ps(a, columns[1], sums[1]);
            }
        }
    }

    /// # Safety
    /// As [`super::multiply_tile`].
    #[inline]
    #[target_feature(enable = "avx2,fma")]
    unsafe fn store<const R: usize>(sums: &[[__m256; 2]; R], tile: &Tile) {
        let lanes = _mm256_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7);
        for half in 0..2 {
            let columns = tile.columns.saturating_sub(8 * half).min(8);
            if columns == 0 {
                return;
            }
            let mask = _mm256_cmpgt_epi32(_mm256_set1_epi32(columns as i32), lanes);
            // Stores with a mask are slow on some processors, and seldom needed.
            let full = columns == 8;
            // SAFETY: masks end with the columns in use.
            unsafe {
                let load = |from: *const f32| {
                    let from = from.add(8 * half);
                    if full { _mm256_loadu_ps(from) } else { _mm256_maskload_ps(from, mask) }
                };
                let bias = match tile.begin {
                    Begin::Bias(bias) => load(bias),
                    Begin::Base(_, bias) if !bias.is_null() => load(bias),
                    _ => _mm256_setzero_ps(),
                };
                for (r, sums) in sums.iter().enumerate() {
                    let place = r * tile.result_stride;
                    let begin = match tile.begin {
                        Begin::Zero | Begin::Bias(_) => bias,
                        Begin::Base(base, _) => _mm256_add_ps(load(base.add(place)), bias),
                        Begin::Result => load(tile.result.add(place)),
                    };
                    let result = tile.result.add(place + 8 * half);
                    let sum = _mm256_add_ps(begin, sums[half]);
                    if full { _mm256_storeu_ps(result, sum) } else { _mm256_maskstore_ps(result, mask, sum) }
                }
            }
        }
    }
}

#[cfg(target_arch = "x86_64")]
mod avx512 {
    use std::arch::x86_64::*;

    use super::{LANES, Tile, for_even_stretches};
    use crate::cpu::start::Begin;

    /// # Safety
    /// As [`super::multiply_tile`], on a processor with AVX-512.
    #[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl")]
    pub(super) unsafe fn multiply(rows: usize, tile: &Tile) {
        // SAFETY: passed on.
        for_even_stretches(rows, 14, |first, rows| unsafe {
            let part = tile.part(first, 0);
            match (tile.columns > LANES, tile.column_stride) {
                (true, 1) => choose::<2, true>(rows, &part),
                (false, 1) => choose::<1, true>(rows, &part),
                (true, _) => choose::<2, false>(rows, &part),
                (false, _) => choose::<1, false>(rows, &part),
            }
        });
    }

    /// # Safety
    /// As [`super::multiply_tile`].
    #[inline]
    #[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl")]
    unsafe fn choose<const V: usize, const DENSE: bool>(rows: usize, tile: &Tile) {
        // SAFETY: passed on.
        unsafe {
            match rows {
                14 => fixed::<14, V, DENSE>(tile),
                13 => fixed::<13, V, DENSE>(tile),
                12 => fixed::<12, V, DENSE>(tile),
                11 => fixed::<11, V, DENSE>(tile),
                10 => fixed::<10, V, DENSE>(tile),
                9 => fixed::<9, V, DENSE>(tile),
                8 => fixed::<8, V, DENSE>(tile),
                7 => fixed::<7, V, DENSE>(tile),
                6 => fixed::<6, V, DENSE>(tile),
                5 => fixed::<5, V, DENSE>(tile),
                4 => fixed::<4, V, DENSE>(tile),
                3 => fixed::<3, V, DENSE>(tile),
                2 => fixed::<2, V, DENSE>(tile),
                _ => fixed::<1, V, DENSE>(tile),
            }
        }
    }

    /// `R` rows of `V` panels; `DENSE` ones have a column stride of 1, which leaves a register to the compiler.
    ///
    /// # Safety
    /// As [`super::multiply_tile`].
    #[inline]
    #[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl")]
    unsafe fn fixed<const R: usize, const V: usize, const DENSE: bool>(tile: &Tile) {
        let stride = if DENSE { 1 } else { tile.column_stride };
        let mut sums = [[_mm512_setzero_ps(); V]; R];
        // SAFETY: rows and panels are the caller's; what is fetched ahead need not even exist.
        unsafe {
            for r in 0..R {
                let result = tile.result.wrapping_add(r * tile.result_stride);
                for v in 0..V {
                    _mm_prefetch::<_MM_HINT_T0>(result.wrapping_add(v * LANES).cast());
                }
                _mm_prefetch::<_MM_HINT_T0>(result.wrapping_add(V * LANES - 1).cast());
            }
            for k in 0..tile.depth {
                let columns: [__m512; V] = std::array::from_fn(|v| _mm512_loadu_ps(tile.panels[v].add(k * LANES)));
                for (r, sums) in sums.iter_mut().enumerate() {
                    let a = _mm512_set1_ps(*tile.rows.add(r * tile.row_stride + k * stride));
                    for v in 0..V {
                        sums[v] = _mm512_fmadd_ps(a, columns[v], sums[v]);
                    }
                }
            }
            store(&sums, tile);
        }
    }

    /// # Safety
    /// As [`super::multiply_tile`].
    #[inline]
    #[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl")]
    unsafe fn store<const R: usize, const V: usize>(sums: &[[__m512; V]; R], tile: &Tile) {
        for v in 0..V {
            let first = v * LANES;
            let columns = tile.columns.saturating_sub(first).min(LANES);
            let mask = ((1_u32 << columns) - 1) as __mmask16;
            // SAFETY: masks end with the columns in use.
            unsafe {
                let load = |from: *const f32| _mm512_maskz_loadu_ps(mask, from.add(first));
                let bias = match tile.begin {
                    Begin::Bias(bias) => load(bias),
                    Begin::Base(_, bias) if !bias.is_null() => load(bias),
                    _ => _mm512_setzero_ps(),
                };
                for (r, sums) in sums.iter().enumerate() {
                    let place = r * tile.result_stride;
                    let begin = match tile.begin {
                        Begin::Zero | Begin::Bias(_) => bias,
                        Begin::Base(base, _) => _mm512_add_ps(load(base.add(place)), bias),
                        Begin::Result => load(tile.result.add(place)),
                    };
                    let result = tile.result.add(place + first);
                    _mm512_mask_storeu_ps(result, mask, _mm512_add_ps(begin, sums[v]));
                }
            }
        }
    }
}

#[cfg(target_arch = "aarch64")]
mod neon {
    use std::arch::aarch64::*;

    use super::{LANES, Tile, for_even_stretches};
    use crate::cpu::start::Begin;

    /// # Safety
    /// As [`super::multiply_tile`].
    #[target_feature(enable = "neon")]
    pub(super) unsafe fn multiply(rows: usize, tile: &Tile) {
        for panel in 0..tile.columns.div_ceil(LANES) {
            // SAFETY: passed on.
            for_even_stretches(rows, 6, |first, rows| unsafe {
                let part = tile.part(first, panel);
                match rows {
                    6 => fixed::<6>(&part),
                    5 => fixed::<5>(&part),
                    4 => fixed::<4>(&part),
                    3 => fixed::<3>(&part),
                    2 => fixed::<2>(&part),
                    _ => fixed::<1>(&part),
                }
            });
        }
    }

    /// `R` rows of one panel.
    ///
    /// # Safety
    /// As [`super::multiply_tile`].
    #[inline]
    #[target_feature(enable = "neon")]
    unsafe fn fixed<const R: usize>(tile: &Tile) {
        let mut sums = [[vdupq_n_f32(0.0); 4]; R];
        for k in 0..tile.depth {
            // SAFETY: rows and panel are the caller's.
            unsafe {
                let columns: [float32x4_t; 4] =
                    std::array::from_fn(|v| vld1q_f32(tile.panels[0].add(k * LANES + 4 * v)));
                for (r, sums) in sums.iter_mut().enumerate() {
                    let a = vld1q_dup_f32(tile.rows.add(r * tile.row_stride + k * tile.column_stride));
                    for v in 0..4 {
                        sums[v] = vfmaq_f32(sums[v], a, columns[v]);
                    }
                }
            }
        }
        // SAFETY: only the columns in use are read and written.
        unsafe {
            for (r, sums) in sums.iter().enumerate() {
                store(r, sums, tile);
            }
        }
    }

    /// One row of a tile.
    ///
    /// # Safety
    /// As [`super::multiply_tile`].
    #[inline]
    #[target_feature(enable = "neon")]
    unsafe fn store(row: usize, sums: &[float32x4_t; 4], tile: &Tile) {
        let place = row * tile.result_stride;
        // SAFETY: the columns in use are readable and writable.
        unsafe {
            let result = tile.result.add(place);
            let mut values = [0.0_f32; LANES];
            let load = |from: *const f32| {
                let mut values = [0.0_f32; LANES];
                std::ptr::copy_nonoverlapping(from, values.as_mut_ptr(), tile.columns.min(LANES));
                values
            };
            let begin = match tile.begin {
                Begin::Zero => [0.0; LANES],
                Begin::Bias(bias) => load(bias),
                Begin::Base(base, bias) if bias.is_null() => load(base.add(place)),
                Begin::Base(base, bias) => {
                    let (base, bias) = (load(base.add(place)), load(bias));
                    std::array::from_fn(|i| base[i] + bias[i])
                }
                Begin::Result => load(result),
            };
            for (v, &sum) in sums.iter().enumerate() {
                let begin = vld1q_f32(begin.as_ptr().add(4 * v));
                vst1q_f32(values.as_mut_ptr().add(4 * v), vaddq_f32(begin, sum));
            }
            std::ptr::copy_nonoverlapping(values.as_ptr(), result, tile.columns.min(LANES));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{LANES, Tile, for_even_stretches, multiply_tile, portable};
    use crate::cpu::isa::Isa;
    use crate::cpu::start::Begin;

    const DEPTH: usize = 11;

    /// A small whole number, so that products and sums are exact in any order.
    fn number(i: usize) -> f32 {
        (i * 7 % 13) as f32 - 6.0
    }

    /// The result of a tile, between rows and columns of −1 that nobody may touch; `None` stands for the plain loop.
    fn result(isa: Option<Isa>, rows: usize, columns: usize, begin: usize, turned: bool) -> Vec<f32> {
        let result_stride = 2 * LANES + 5;
        let (row_stride, column_stride) = if turned { (1, rows + 3) } else { (DEPTH + 3, 1) };
        let left: Vec<f32> = (0..(rows + 3) * (DEPTH + 3)).map(number).collect();
        let panels: [Vec<f32>; 2] = std::array::from_fn(|p| (0..DEPTH * LANES).map(|i| number(3 * i + p)).collect());
        let base: Vec<f32> = (0..rows * result_stride).map(|i| i as f32).collect();
        let bias: Vec<f32> = (0..columns).map(|i| 1000.0 + i as f32).collect();
        let mut result = vec![-1.0; (rows + 1) * result_stride];
        let begin = match begin {
            0 => Begin::Zero,
            1 => Begin::Bias(bias.as_ptr()),
            2 => Begin::Base(base.as_ptr(), bias.as_ptr()),
            3 => Begin::Base(base.as_ptr(), std::ptr::null()),
            _ => Begin::Result,
        };
        let tile = Tile {
            rows: left.as_ptr(),
            row_stride,
            column_stride,
            panels: [panels[0].as_ptr(), panels[1].as_ptr()],
            depth: DEPTH,
            result: result.as_mut_ptr(),
            result_stride,
            begin,
            columns,
        };
        // SAFETY: all vectors have the sizes that the tile names.
        unsafe {
            match isa {
                Some(isa) => multiply_tile(isa, rows, &tile),
                None => portable::multiply(rows, &tile),
            }
        }
        result
    }

    #[test]
    fn all_instructions_give_the_same_and_leave_the_rest_alone() {
        let sets = [Isa::Portable, Isa::Avx2, Isa::Avx512, Isa::Avx512Bf16];
        for rows in (1..=15).chain([29]) {
            for columns in [1, 4, 8, 11, 16, 17, 30, 32] {
                for (begin, turned) in (0..5).zip([false, true, false, false, true]) {
                    let expected = result(None, rows, columns, begin, turned);
                    for isa in sets.into_iter().filter(|isa| *isa <= Isa::best()) {
                        let found = result(Some(isa), rows, columns, begin, turned);
                        assert_eq!(found, expected, "{isa:?} {rows} {columns}");
                    }
                }
            }
        }
    }

    /// Nothing lies behind what a tile names: for tools that watch pointers.
    #[test]
    fn tiles_may_end_where_their_memory_does() {
        let sets = [Isa::Portable, Isa::Avx2, Isa::Avx512, Isa::Avx512Bf16];
        for isa in sets.into_iter().filter(|isa| *isa <= Isa::best()) {
            for (depth, column_stride) in [(8, 1), (8, 5), (3, 7)] {
                let left = vec![2.0; (depth - 1) * column_stride + 1];
                let (panel, bias) = (vec![3.0; depth * LANES], vec![0.5; 3]);
                let (base, mut result) = (vec![0.25; 3], vec![0.0; 3]);
                let tile = Tile {
                    rows: left.as_ptr(),
                    row_stride: 1,
                    column_stride,
                    panels: [panel.as_ptr(); 2],
                    depth,
                    result: result.as_mut_ptr(),
                    result_stride: 3,
                    begin: Begin::Base(base.as_ptr(), bias.as_ptr()),
                    columns: 3,
                };
                // SAFETY: one row of three columns, as the vectors have them.
                unsafe { multiply_tile(isa, 1, &tile) };
                assert_eq!(result, [6.0 * depth as f32 + 0.75; 3], "{isa:?}");
            }
        }
    }

    #[test]
    fn stretches_are_even_and_complete() {
        for rows in 0..100 {
            let mut next = 0;
            for_even_stretches(rows, 6, |first, count| {
                assert!(first == next && (1..=6).contains(&count) && (rows < 6 || count > 2));
                next += count;
            });
            assert_eq!(next, rows);
        }
    }
}
