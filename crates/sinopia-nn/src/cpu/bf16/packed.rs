//! Matrices of bf16 in the order in which products read them.

#![cfg_attr(target_arch = "x86_64", expect(unsafe_code, reason = "vector instructions"))]

use std::sync::OnceLock;

use rayon::prelude::*;

use crate::SharedBytes;
use crate::cpu::f32::for_rows_of_columns;
#[cfg(target_arch = "x86_64")]
use crate::cpu::isa::Isa;
use crate::error::Result;
use crate::packed::{Order, PackedWeight, Sizes, Storable, Stored};

/// Columns of a panel.
pub(crate) const LANES: usize = 32;

/// Sixteen pairs of bf16, one for each of sixteen columns: a cache line.
#[derive(Debug, Clone, Copy, PartialEq, Eq, bytemuck::Zeroable, bytemuck::Pod)]
#[repr(C, align(64))]
pub(crate) struct Line(pub(crate) [u32; 16]);

/// A matrix (K, N) of frozen bf16 weights, K made of `taps` stretches of `channels` rows each (9 for a 3×3 kernel, 1 for a linear layer).
///
/// Panels of 32 columns follow each other. In a panel, rows come in pairs: two [`Line`]s hold row 2i (low half) and 2i+1 (high half) of its
/// columns. Stretches of odd length and the last panel are filled up with zeros.
#[derive(Debug, Clone)]
pub(crate) struct Packed {
    lines: Stored<Line>,
    taps: usize,
    /// Rows of a tap in use, and filled up to an even number.
    inner: usize,
    channels: usize,
    /// Columns in use.
    columns: usize,
    /// Panels of the transpose, where it is small.
    turned: OnceLock<Vec<Line>>,
}

/// Lines of weights up to which the transpose is kept once it has been used: a megabyte. Products with larger ones have so many rows that
/// making its panels again costs nothing, and would need the memory twice.
const MAX_TURNED: usize = 1 << 14;

/// Writes a panel of weights in checkpoint order, (columns, channels, taps), over zeros.
fn pack_panel(bits: &[u16], Sizes { taps, channels, columns }: Sizes, panel: usize, lines: &mut [Line]) {
    let (size, tap_pairs) = (taps * channels, channels.div_ceil(2));
    for half in 0..2 {
        let first = (panel * LANES + 16 * half).min(columns);
        let columns = &bits[first * size..(first + 16).min(columns) * size];
        if columns.is_empty() {
            return;
        }
        for_rows_of_columns(columns, size, u32::from, |element, row| {
            let (tap, channel) = (element % taps, element / taps);
            let line = &mut lines[2 * (tap * tap_pairs + channel / 2) + half];
            for (word, value) in line.0.iter_mut().zip(row) {
                *word |= value.to_bits() << (16 * (channel % 2));
            }
        });
    }
}

impl Packed {
    /// Packs the bits of weights in checkpoint order, (columns, channels, taps).
    pub(crate) fn new(bits: &[u16], sizes: Sizes) -> Self {
        let panel_lines = sizes.taps * sizes.channels.next_multiple_of(2);
        // Zeros from the system, so that threads touch each page for the first time side by side.
        let mut lines: Vec<Line> = bytemuck::zeroed_vec(sizes.columns.div_ceil(LANES) * panel_lines);
        if panel_lines > 0 {
            let panels = lines.par_chunks_exact_mut(panel_lines).enumerate();
            panels.for_each(|(panel, lines)| pack_panel(bits, sizes, panel, lines));
        }
        Self::of_lines(lines.into(), sizes)
    }

    fn of_lines(lines: Stored<Line>, Sizes { taps, channels, columns }: Sizes) -> Self {
        let (inner, channels) = (channels, channels.next_multiple_of(2));
        Self { lines, taps, inner, channels, columns, turned: OnceLock::new() }
    }

    /// K with stretches filled up to even lengths.
    pub(crate) fn rows(&self) -> usize {
        self.taps * self.channels
    }

    /// N.
    pub(crate) fn columns(&self) -> usize {
        self.columns
    }

    /// The lines of the pairs `pairs` in panel `panel`.
    pub(crate) fn panel(&self, panel: usize, pairs: std::ops::Range<usize>) -> &[Line] {
        let first = panel * self.rows() / 2;
        &self.lines[2 * (first + pairs.start)..2 * (first + pairs.end)]
    }

    /// The transpose, seen tap by tap: for the gradient of the rows.
    pub(crate) fn transposed(&self) -> Transposed<'_> {
        let transposed = Transposed { packed: self, columns: self.columns.next_multiple_of(2), kept: None };
        if self.lines.len() > MAX_TURNED {
            return transposed;
        }
        let kept = self.turned.get_or_init(|| {
            let mut scratch = Vec::new();
            let panels = 0..transposed.num_columns().div_ceil(LANES);
            let panel = |panel| {
                transposed.write_panel(panel, 0..transposed.rows() / 2, &mut scratch);
                scratch.clone()
            };
            panels.flat_map(panel).collect()
        });
        Transposed { kept: Some(kept), ..transposed }
    }
}

impl Storable for Packed {
    fn packed(&self) -> PackedWeight<&[u8]> {
        let sizes = Sizes { taps: self.taps, channels: self.inner, columns: self.columns };
        PackedWeight { order: Order::Bf16Panels, sizes, parts: vec![self.lines.as_bytes()] }
    }

    fn from_packed(weight: PackedWeight<SharedBytes>) -> Result<Self> {
        let PackedWeight { order, sizes, .. } = weight;
        let [lines] = weight.into_parts()?;
        Ok(Self::of_lines(Stored::shared(order, lines, num_lines(sizes))?, sizes))
    }
}

/// Lines of a matrix of these sizes; so many that no memory holds them if the sizes are absurd.
fn num_lines(Sizes { taps, channels, columns }: Sizes) -> usize {
    let pairs = taps.saturating_mul(channels.div_ceil(2));
    columns.div_ceil(LANES).saturating_mul(pairs).saturating_mul(2)
}

/// The matrix (taps · N, channels) of a [`Packed`] one: each tap transposed. Panels are made when asked for.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Transposed<'a> {
    packed: &'a Packed,
    /// Rows of a tap, even.
    columns: usize,
    kept: Option<&'a [Line]>,
}

impl Transposed<'_> {
    /// The lines of the pairs `pairs` in panel `panel`, made in `scratch` if they are not kept.
    pub(crate) fn panel<'b>(
        &'b self,
        panel: usize,
        pairs: std::ops::Range<usize>,
        scratch: &'b mut Vec<Line>,
    ) -> &'b [Line] {
        if let Some(kept) = self.kept {
            let first = panel * self.rows() / 2;
            return &kept[2 * (first + pairs.start)..2 * (first + pairs.end)];
        }
        self.write_panel(panel, pairs, scratch);
        scratch
    }

    /// The number of rows.
    pub(crate) fn rows(&self) -> usize {
        self.packed.taps * self.columns
    }

    /// The number of columns: rows of a tap of the original.
    pub(crate) fn num_columns(&self) -> usize {
        let Packed { inner, .. } = self.packed;
        *inner
    }

    /// Writes the lines of the pairs `pairs` in panel `panel`.
    fn write_panel(&self, panel: usize, pairs: std::ops::Range<usize>, out: &mut Vec<Line>) {
        // A panel that is not full has zeros behind the last channel.
        if (panel + 1) * LANES > self.packed.channels {
            out.clear();
        }
        out.resize(2 * pairs.len(), Line([0; 16]));
        let tap_pairs = self.columns / 2;
        let mut next = pairs.start;
        while next < pairs.end {
            let (tap, pair) = (next / tap_pairs, next % tap_pairs);
            // Up to the end of this tap, of this panel of the original, or of what was asked for.
            let stretch = (tap_pairs - pair).min(LANES / 2 - pair % (LANES / 2)).min(pairs.end - next);
            let start = 2 * (next - pairs.start);
            self.write_stretch(panel, tap, pair..pair + stretch, &mut out[start..start + 2 * stretch]);
            next += stretch;
        }
    }

    /// Pairs of one tap that lie in one panel of the original.
    fn write_stretch(&self, panel: usize, tap: usize, pairs: std::ops::Range<usize>, out: &mut [Line]) {
        let tap_pairs = self.packed.channels / 2;
        let channel_pairs = panel * (LANES / 2)..((panel + 1) * (LANES / 2)).min(tap_pairs);
        let first = tap * tap_pairs;
        let source = self.packed.panel(2 * pairs.start / LANES, first + channel_pairs.start..first + channel_pairs.end);
        let lane = 2 * pairs.start % LANES;
        if let (Ok(source), Ok(out)) = (source.try_into(), (&mut *out).try_into()) {
            return exchange(source, out);
        }
        for (i, lines) in source.chunks_exact(2).enumerate() {
            for (pair, out) in out.chunks_exact_mut(2).enumerate() {
                let lane = lane + 2 * pair;
                let line = &lines[lane / 16].0;
                let target = &mut out[i / 8].0;
                (target[2 * i % 16], target[2 * i % 16 + 1]) = exchange_words(line[lane % 16], line[lane % 16 + 1]);
            }
        }
    }
}

/// The lines of 16 pairs of rows and 32 columns.
type Block = [Line; LANES];

/// Writes a block with rows and columns exchanged.
fn exchange(block: &Block, out: &mut Block) {
    #[cfg(target_arch = "x86_64")]
    if Isa::best() >= Isa::Avx512 {
        // SAFETY: the processor has the instructions.
        return unsafe { exchange_avx512(block, out) };
    }
    for pair in 0..LANES / 2 {
        for (i, lines) in block.chunks_exact(2).enumerate() {
            let line = &lines[pair / 8].0;
            (out[2 * pair + i / 8].0[2 * i % 16], out[2 * pair + i / 8].0[2 * i % 16 + 1]) =
                exchange_words(line[2 * pair % 16], line[2 * pair % 16 + 1]);
        }
    }
}

/// Two columns of a pair of rows become two columns of a pair of rows.
fn exchange_words(a: u32, b: u32) -> (u32, u32) {
    (a & 0xFFFF | b << 16, a >> 16 | b & 0xFFFF_0000)
}

/// In four quarters of eight by eight double words, which are two rows and two columns each.
///
/// # Safety
/// The processor needs AVX-512 F and BW.
#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx512f,avx512bw")]
unsafe fn exchange_avx512(block: &Block, out: &mut Block) {
    use std::arch::x86_64::*;
    let swap = _mm512_broadcast_i32x4(_mm_setr_epi8(0, 1, 4, 5, 2, 3, 6, 7, 8, 9, 12, 13, 10, 11, 14, 15));
    for quarter in 0..4 {
        let (row, column) = (quarter / 2, quarter % 2);
        let r: [__m512i; 8] = std::array::from_fn(|i| {
            // SAFETY: a line is as large as a register, and aligned.
            let line = unsafe { _mm512_load_si512((&raw const block[2 * (8 * row + i) + column]).cast()) };
            _mm512_shuffle_epi8(line, swap)
        });
        for odd in 0..2 {
            // Pairs of rows of the even, or the odd, columns; then fours and eights of them.
            let pairs: [__m512i; 4] = std::array::from_fn(|i| match odd {
                0 => _mm512_unpacklo_epi64(r[2 * i], r[2 * i + 1]),
                _ => _mm512_unpackhi_epi64(r[2 * i], r[2 * i + 1]),
            });
            let [a, b, c, d] = pairs;
            let first = [_mm512_shuffle_i64x2::<0x44>(a, b), _mm512_shuffle_i64x2::<0x44>(c, d)];
            let last = [_mm512_shuffle_i64x2::<0xEE>(a, b), _mm512_shuffle_i64x2::<0xEE>(c, d)];
            let columns = [
                _mm512_shuffle_i64x2::<0x88>(first[0], first[1]),
                _mm512_shuffle_i64x2::<0xDD>(first[0], first[1]),
                _mm512_shuffle_i64x2::<0x88>(last[0], last[1]),
                _mm512_shuffle_i64x2::<0xDD>(last[0], last[1]),
            ];
            for (i, line) in columns.into_iter().enumerate() {
                // SAFETY: as above.
                unsafe { _mm512_store_si512((&raw mut out[2 * (8 * column + 2 * i + odd) + row]).cast(), line) }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{LANES, Line, Packed, Sizes, Transposed};

    fn bits(column: usize, tap: usize, channel: usize) -> u16 {
        (column * 331 + tap * 97 + channel * 7 + 1) as u16
    }

    /// Weights in the order (columns, channels, taps), as a convolution has them.
    fn packed(taps: usize, channels: usize, columns: usize) -> Packed {
        let mut elements = Vec::new();
        for column in 0..columns {
            for channel in 0..channels {
                elements.extend((0..taps).map(|tap| bits(column, tap, channel)));
            }
        }
        Packed::new(&elements, Sizes { taps, channels, columns })
    }

    fn element(lines: &[Line], row: usize, lane: usize) -> u16 {
        let word = lines[2 * (row / 2) + lane / 16].0[lane % 16];
        (word >> (16 * (row % 2))) as u16
    }

    #[test]
    fn every_element_is_where_it_should_be() {
        for (taps, channels, columns) in [(1, 1, 1), (1, 7, 33), (9, 3, 5), (4, 40, 70), (9, 64, 32)] {
            let packed = packed(taps, channels, columns);
            for column in 0..columns.next_multiple_of(LANES) {
                let panel = packed.panel(column / LANES, 0..packed.rows() / 2);
                for row in 0..packed.rows() {
                    let (tap, channel) = (row / packed.channels, row % packed.channels);
                    let inside = column < columns && channel < channels;
                    let expected = if inside { bits(column, tap, channel) } else { 0 };
                    assert_eq!(element(panel, row, column % LANES), expected);
                }
            }
        }
    }

    #[test]
    fn the_transpose_has_every_element_too() {
        for (taps, channels, columns) in [(1, 1, 1), (1, 7, 33), (9, 3, 5), (4, 40, 70), (9, 64, 32)] {
            let packed = packed(taps, channels, columns);
            let kept = packed.transposed();
            let transposed = Transposed { kept: None, ..kept };
            let padded = columns.next_multiple_of(2);
            let (mut scratch, mut unused) = (Vec::new(), Vec::new());
            for first in [0, transposed.rows() / 4] {
                for panel in 0..channels.div_ceil(LANES) {
                    let pairs = first..transposed.rows() / 2;
                    let lines = transposed.panel(panel, pairs.clone(), &mut scratch);
                    assert!(kept.kept.is_some() && kept.panel(panel, pairs, &mut unused) == lines);
                    for row in 2 * first..transposed.rows() {
                        for lane in 0..LANES {
                            let (tap, column, channel) = (row / padded, row % padded, panel * LANES + lane);
                            let inside = column < columns && channel < channels;
                            let expected = if inside { bits(column, tap, channel) } else { 0 };
                            assert_eq!(element(lines, row - 2 * first, lane), expected, "{taps} {channels} {columns}");
                        }
                    }
                }
            }
        }
    }
}
