//! 16×16 blocks with rows and columns exchanged.

#![cfg_attr(target_arch = "x86_64", expect(unsafe_code, reason = "vector instructions"))]

use super::tile::LANES;
#[cfg(target_arch = "x86_64")]
use crate::cpu::isa::Isa;

/// Elements of a block.
const BLOCK: usize = LANES * LANES;

/// Writes the transpose of a block.
pub(crate) fn transpose(block: &[f32; BLOCK], out: &mut [f32; BLOCK]) {
    #[cfg(target_arch = "x86_64")]
    if Isa::best() >= Isa::Avx2 {
        // SAFETY: the processor has the instructions.
        return unsafe { avx2(block, out) };
    }
    plain(block, out);
}

fn plain(block: &[f32; BLOCK], out: &mut [f32; BLOCK]) {
    for (row, out) in out.chunks_exact_mut(LANES).enumerate() {
        for (column, out) in out.iter_mut().enumerate() {
            *out = block[column * LANES + row];
        }
    }
}

/// In four quarters of 8×8.
///
/// # Safety
/// The processor needs AVX2.
#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx2")]
unsafe fn avx2(block: &[f32; BLOCK], out: &mut [f32; BLOCK]) {
    use std::arch::x86_64::*;
    for quarter in 0..4 {
        let (row, column) = (quarter / 2 * 8, quarter % 2 * 8);
        // SAFETY: eight rows of eight elements each lie within a quarter.
        let r: [__m256; 8] =
            std::array::from_fn(|i| unsafe { _mm256_loadu_ps(block.as_ptr().add((row + i) * LANES + column)) });
        // Pairs of rows, then fours of them, then halves of registers.
        let pairs: [__m256; 8] = std::array::from_fn(|i| {
            let (a, b) = (r[i / 2 * 2], r[i / 2 * 2 + 1]);
            if i % 2 == 0 { _mm256_unpacklo_ps(a, b) } else { _mm256_unpackhi_ps(a, b) }
        });
        let fours: [__m256; 8] = std::array::from_fn(|i| {
            let (a, b) = (pairs[i / 4 * 4 + i % 4 / 2], pairs[i / 4 * 4 + i % 4 / 2 + 2]);
            if i % 2 == 0 { _mm256_shuffle_ps::<0x44>(a, b) } else { _mm256_shuffle_ps::<0xEE>(a, b) }
        });
        for i in 0..8 {
            let (a, b) = (fours[i % 4], fours[4 + i % 4]);
            let line = if i < 4 { _mm256_permute2f128_ps::<0x20>(a, b) } else { _mm256_permute2f128_ps::<0x31>(a, b) };
            // SAFETY: as above, with rows and columns exchanged.
            unsafe { _mm256_storeu_ps(out.as_mut_ptr().add((column + i) * LANES + row), line) }
        }
    }
}

/// Calls `write(element, row)` with the elements of that number of up to [`LANES`] columns, side by side as `bits` says; lanes behind the last column are 0. A
/// column has `size` elements, one after the other. Numbers are moved and nothing else, so that any bits may be in them.
pub(crate) fn for_rows_of_columns<T: Copy>(
    columns: &[T],
    size: usize,
    bits: impl Fn(T) -> u32,
    mut write: impl FnMut(usize, &[f32]),
) {
    let (mut block, mut turned) = ([0.0; BLOCK], [0.0; BLOCK]);
    for first in (0..size).step_by(LANES) {
        let count = LANES.min(size - first);
        for (column, row) in columns.chunks_exact(size).zip(block.chunks_exact_mut(LANES)) {
            for (place, &element) in row.iter_mut().zip(&column[first..first + count]) {
                *place = f32::from_bits(bits(element));
            }
        }
        transpose(&block, &mut turned);
        for (element, row) in (first..first + count).zip(turned.chunks_exact(LANES)) {
            write(element, row);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{BLOCK, LANES, for_rows_of_columns, plain, transpose};

    #[test]
    fn columns_come_row_by_row() {
        for (columns, size) in [(1, 1), (16, 33), (5, 16), (7, 40)] {
            let elements: Vec<u16> = (0..columns * size).map(|i| (i * 7919) as u16).collect();
            let mut next = 0;
            for_rows_of_columns(&elements, size, u32::from, |element, row| {
                assert_eq!((element, row.len()), (next, LANES));
                let expected =
                    |lane: usize| if lane < columns { u32::from(elements[lane * size + element]) } else { 0 };
                assert!(row.iter().enumerate().all(|(lane, found)| found.to_bits() == expected(lane)), "{element}");
                next += 1;
            });
            assert_eq!(next, size);
        }
    }

    #[test]
    fn rows_become_columns() {
        let block: [f32; BLOCK] = std::array::from_fn(|i| i as f32);
        let (mut fast, mut slow) = ([0.0; BLOCK], [0.0; BLOCK]);
        transpose(&block, &mut fast);
        plain(&block, &mut slow);
        assert_eq!(fast, slow);
        assert_eq!(fast[3 * LANES + 5], block[5 * LANES + 3]);
    }
}
