//! The innermost loop: a few rows times a panel of 32 columns, sums in i32.

#![expect(unsafe_code, reason = "vector instructions on strided rows")]

use super::packed::LANES;
use crate::cpu::bf16::Line;
use crate::cpu::isa::ByteIsa;

/// In what order the operands of a tile lie.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Order {
    /// Four bytes a word: rows of a panel in fours, as [`super::Packed`] has them.
    Fours,
    /// Two 16-bit numbers a word: of each four, first 0 and 2, then 1 and 3. What a pair of bytes can sum up to does not fit 16 bits.
    Pairs,
}

impl Order {
    pub(crate) fn of(isa: ByteIsa) -> Self {
        match isa {
            ByteIsa::Avx2 | ByteIsa::Avx512 => Self::Pairs,
            ByteIsa::Portable | ByteIsa::AvxVnni | ByteIsa::Avx512Vnni => Self::Fours,
        }
    }

    /// Words in the place of one of four bytes.
    pub(crate) fn words(self) -> usize {
        match self {
            Self::Fours => 1,
            Self::Pairs => 2,
        }
    }
}

/// Four unsigned bytes as pairs.
pub(crate) fn widen(four: u32) -> [u32; 2] {
    [four & 0x00FF_00FF, four >> 8 & 0x00FF_00FF]
}

/// Lines of signed fours as lines of pairs: for each of two lines of a four, two of pairs 0 and 2, and two of pairs 1 and 3.
pub(crate) fn widen_lines(fours: &[Line], pairs: &mut Vec<Line>) {
    pairs.clear();
    for both in fours.chunks_exact(2) {
        let even =
            |line: &Line| Line(line.0.map(|four| sign_extended(four << 8) | sign_extended(four << 8 >> 16) << 16));
        let odd = |line: &Line| Line(line.0.map(|four| sign_extended(four) | sign_extended(four >> 16) << 16));
        pairs.extend([even(&both[0]), even(&both[1]), odd(&both[0]), odd(&both[1])]);
    }
}

/// The second byte of a word as a signed number in the 16 lower bits.
#[inline(always)]
fn sign_extended(word: u32) -> u32 {
    u32::from(((word as u16).cast_signed() >> 8).cast_unsigned())
}

/// Most rows of a tile.
pub(crate) fn tile_rows(isa: ByteIsa) -> usize {
    match isa {
        ByteIsa::Portable => 4,
        ByteIsa::Avx2 | ByteIsa::AvxVnni => 6,
        ByteIsa::Avx512 | ByteIsa::Avx512Vnni => 14,
    }
}

/// Rows, columns and sums of a tile: `sums += rows · columns`.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Tile {
    /// Words of the first row, in the order that the instructions want.
    pub(crate) rows: *const u32,
    /// Words from a row to the next.
    pub(crate) row_stride: usize,
    /// Two lines for each word of a row, in the same order.
    pub(crate) lines: *const Line,
    pub(crate) words: usize,
    /// 32 sums for each row.
    pub(crate) sums: *mut [i32; LANES],
}

/// Adds the products of `rows` ≤ [`tile_rows`] rows.
///
/// # Safety
/// Every row has `words` readable words, there are 2 · `words` readable lines, and the sums of `rows` rows are writable and read by nobody else.
/// The processor has the instructions.
pub(crate) unsafe fn multiply_tile(isa: ByteIsa, rows: usize, tile: &Tile) {
    // SAFETY: passed on.
    unsafe {
        match isa {
            #[cfg(target_arch = "x86_64")]
            ByteIsa::Avx2 => x86::avx2(rows, tile),
            #[cfg(target_arch = "x86_64")]
            ByteIsa::AvxVnni => x86::avx_vnni(rows, tile),
            #[cfg(target_arch = "x86_64")]
            ByteIsa::Avx512 => x86::avx512(rows, tile),
            #[cfg(target_arch = "x86_64")]
            ByteIsa::Avx512Vnni => x86::avx512_vnni(rows, tile),
            _ => plain(rows, tile),
        }
    }
}

/// In fours, for any processor.
///
/// # Safety
/// As [`multiply_tile`].
unsafe fn plain(rows: usize, tile: &Tile) {
    for row in 0..rows {
        // SAFETY: within the sums, rows and lines that the caller vouches for.
        let sums = unsafe { &mut *tile.sums.add(row) };
        for word in 0..tile.words {
            // SAFETY: as above.
            let (four, lines) = unsafe {
                let four = *tile.rows.add(row * tile.row_stride + word);
                (four.to_le_bytes(), &*tile.lines.add(2 * word).cast::<[[i8; 4]; LANES]>())
            };
            for (sum, weights) in sums.iter_mut().zip(lines) {
                let products: [i32; 4] = std::array::from_fn(|i| i32::from(four[i]) * i32::from(weights[i]));
                *sum += products.iter().sum::<i32>();
            }
        }
    }
}

#[cfg(target_arch = "x86_64")]
mod x86 {
    use std::arch::x86_64::*;

    use super::Tile;

    /// A tile of up to `$most` rows: `$step` adds the products of a row's word and a vector of `$lanes` columns to a vector of sums.
    macro_rules! tile {
        (
            $name:ident, $features:literal, $vector:ty, $lanes:literal lanes, $vectors:literal at once,
            $load:ident, $store:ident, $broadcast:ident, |$sum:ident, $word:ident, $columns:ident| $step:expr,
            rows $($rows:literal)*
        ) => {
            /// # Safety
            /// As [`super::multiply_tile`].
            #[target_feature(enable = $features)]
            pub(super) unsafe fn $name(rows: usize, tile: &Tile) {
                /// # Safety
                /// As [`super::multiply_tile`].
                #[inline]
                #[target_feature(enable = $features)]
                unsafe fn fixed<const R: usize>(tile: &Tile) {
                    const V: usize = $vectors;
                    for first in (0..super::LANES / $lanes).step_by(V) {
                        // SAFETY: vectors of one panel's columns; rows, lines and sums are the caller's.
                        unsafe {
                            let at = |row: usize, v: usize| tile.sums.add(row).cast::<$vector>().add(first + v);
                            let mut sums: [[$vector; V]; R] =
                                std::array::from_fn(|r| std::array::from_fn(|v| $load(at(r, v).cast())));
                            let mut line = tile.lines.cast::<$vector>().add(first);
                            for word in 0..tile.words {
                                let columns: [$vector; V] = std::array::from_fn(|v| $load(line.add(v).cast()));
                                line = line.add(super::LANES / $lanes);
                                for (r, sums) in sums.iter_mut().enumerate() {
                                    let $word = $broadcast((*tile.rows.add(r * tile.row_stride + word)).cast_signed());
                                    for v in 0..V {
                                        let ($sum, $columns) = (sums[v], columns[v]);
                                        sums[v] = $step;
                                    }
                                }
                            }
                            for (r, sums) in sums.iter().enumerate() {
                                for v in 0..V {
                                    $store(at(r, v).cast(), sums[v]);
                                }
                            }
                        }
                    }
                }
                // SAFETY: passed on.
                unsafe {
                    match rows {
                        $($rows => fixed::<$rows>(tile),)*
                        _ => unreachable!("a tile of {rows} rows"),
                    }
                }
            }
        };
    }

    tile!(
        avx512_vnni, "avx512f,avx512bw,avx512dq,avx512vl,avx512vnni", __m512i, 16 lanes, 2 at once,
        _mm512_loadu_si512, _mm512_storeu_si512, _mm512_set1_epi32,
        |sum, word, columns| _mm512_dpbusd_epi32(sum, word, columns),
        rows 1 2 3 4 5 6 7 8 9 10 11 12 13 14
    );
    tile!(
        avx512, "avx512f,avx512bw,avx512dq,avx512vl", __m512i, 16 lanes, 2 at once,
        _mm512_loadu_si512, _mm512_storeu_si512, _mm512_set1_epi32,
        |sum, word, columns| _mm512_add_epi32(sum, _mm512_madd_epi16(word, columns)),
        rows 1 2 3 4 5 6 7 8 9 10 11 12 13 14
    );
    tile!(
        avx_vnni, "avx2,fma,avxvnni", __m256i, 8 lanes, 2 at once,
        _mm256_loadu_si256, _mm256_storeu_si256, _mm256_set1_epi32,
        |sum, word, columns| _mm256_dpbusd_avx_epi32(sum, word, columns),
        rows 1 2 3 4 5 6
    );
    tile!(
        avx2, "avx2,fma", __m256i, 8 lanes, 2 at once,
        _mm256_loadu_si256, _mm256_storeu_si256, _mm256_set1_epi32,
        |sum, word, columns| _mm256_add_epi32(sum, _mm256_madd_epi16(word, columns)),
        rows 1 2 3 4 5 6
    );
}

#[cfg(test)]
mod tests {
    use super::{LANES, Order, Tile, multiply_tile, tile_rows, widen, widen_lines};
    use crate::cpu::bf16::Line;
    use crate::cpu::isa::ByteIsa;

    /// `rows · lines` in the order that the instructions want, on top of `start`.
    fn multiplied(isa: ByteIsa, rows: &[Vec<u32>], lines: &[Line], start: i32) -> Vec<[i32; LANES]> {
        let (mut pairs, mut sums) = (Vec::new(), vec![[start; LANES]; rows.len()]);
        let (rows, lines): (Vec<Vec<u32>>, &[Line]) = match Order::of(isa) {
            Order::Fours => (rows.to_vec(), lines),
            Order::Pairs => {
                widen_lines(lines, &mut pairs);
                (rows.iter().map(|row| row.iter().flat_map(|&four| widen(four)).collect()).collect(), &pairs)
            }
        };
        let stride = rows[0].len();
        let words: Vec<u32> = rows.concat();
        for first in (0..rows.len()).step_by(tile_rows(isa)) {
            let tile = Tile {
                rows: words[first * stride..].as_ptr(),
                row_stride: stride,
                lines: lines.as_ptr(),
                words: stride,
                sums: sums[first..].as_mut_ptr(),
            };
            // SAFETY: all vectors have the sizes that the tile names, and the instructions are available.
            unsafe { multiply_tile(isa, tile_rows(isa).min(rows.len() - first), &tile) };
        }
        sums
    }

    fn line(byte: impl Fn(usize, usize) -> i8) -> Line {
        Line(std::array::from_fn(|lane| u32::from_le_bytes(std::array::from_fn(|i| byte(lane, i).cast_unsigned()))))
    }

    #[test]
    fn all_pairs_of_bytes_are_multiplied_exactly_at_every_place() {
        for isa in ByteIsa::available() {
            for place in 0..4 {
                // One row for each unsigned byte, and 8 panels with all signed bytes, −128 included.
                let rows: Vec<Vec<u32>> = (0..256).map(|u: u32| vec![u << (8 * place)]).collect();
                for panel in 0..8 {
                    let weight = |column: usize| (32 * panel + column) as u8 as i8;
                    let lines = [line(|lane, _| weight(lane)), line(|lane, _| weight(16 + lane))];
                    for (u, sums) in multiplied(isa, &rows, &lines, 7).iter().enumerate() {
                        for (column, &sum) in sums.iter().enumerate() {
                            assert_eq!(sum, 7 + u as i32 * i32::from(weight(column)), "{isa:?} {place} {u}");
                        }
                    }
                }
            }
        }
    }

    #[test]
    fn extremes_do_not_saturate() {
        for isa in ByteIsa::available() {
            for (u, q) in [(255_u8, -128_i8), (255, 127), (255, -127), (1, -128), (128, 127)] {
                // The longest sum that a packed matrix may have.
                let quads = super::super::packed::MAX_ROWS / 4;
                let rows = vec![vec![u32::from_le_bytes([u; 4]); quads]; 3];
                let lines = vec![line(|_, _| q); 2 * quads];
                let expected = (4 * quads as i64 * i64::from(u) * i64::from(q)) as i32;
                for sums in multiplied(isa, &rows, &lines, 0) {
                    assert_eq!(sums, [expected; LANES], "{isa:?} {u} {q}");
                }
            }
        }
    }

    #[test]
    fn all_instructions_and_numbers_of_rows_give_the_same() {
        let byte = |i: usize| (i.wrapping_mul(2_654_435_761) >> 13) as u8;
        for words in [0, 1, 5, 37] {
            let lines: Vec<Line> =
                (0..2 * words).map(|l| line(|lane, i| byte(64 * l + 4 * lane + i).cast_signed())).collect();
            for count in 1..=15 {
                let four = |i: usize| u32::from_le_bytes(std::array::from_fn(|j| byte(9000 + 4 * i + j)));
                let rows: Vec<Vec<u32>> =
                    (0..count).map(|row| (0..words).map(|word| four(100 * row + word)).collect()).collect();
                let expected = multiplied(ByteIsa::Portable, &rows, &lines, -3);
                for isa in ByteIsa::available() {
                    assert_eq!(multiplied(isa, &rows, &lines, -3), expected, "{isa:?} {count} {words}");
                }
            }
        }
    }

    #[test]
    fn widened_bytes_keep_their_numbers() {
        for byte in 0..=255_u8 {
            let words = widen(u32::from_le_bytes([byte, 1, !byte, 2]));
            assert_eq!(words, [u32::from(byte) | u32::from(!byte) << 16, 1 | 2 << 16]);
            let (q, mut pairs) = (byte.cast_signed(), Vec::new());
            widen_lines(&[line(|_, i| [q, -1, !q, -128][i]), line(|_, i| [0, q, 1, !q][i])], &mut pairs);
            let both =
                |a: i8, b: i8| u32::from(i16::from(a).cast_unsigned()) | u32::from(i16::from(b).cast_unsigned()) << 16;
            let expected = [both(q, !q), both(0, 1), both(-1, -128), both(q, !q)];
            assert_eq!(pairs, expected.map(|word| Line([word; 16])));
        }
    }
}
