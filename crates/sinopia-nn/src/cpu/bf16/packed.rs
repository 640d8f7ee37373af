//! Matrices of bf16 in the order in which products read them.

use std::sync::OnceLock;

use rayon::prelude::*;

use crate::SharedBytes;
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

/// Unpacked weights: where the element of a column, tap and channel lies in a slice.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Unpacked<'a> {
    /// bf16 bits.
    pub(crate) bits: &'a [u16],
    pub(crate) taps: usize,
    /// Rows of a tap.
    pub(crate) channels: usize,
    pub(crate) columns: usize,
    /// From a tap, and from a channel, to the next; columns lie one after the other.
    pub(crate) tap_stride: usize,
    pub(crate) channel_stride: usize,
}

impl Unpacked<'_> {
    /// The lines of a panel.
    fn pack_panel(&self, panel: usize, lines: &mut [Line]) {
        let column_size = self.taps * self.channels;
        for lane in 0..LANES.min(self.columns - panel * LANES) {
            let column = &self.bits[(panel * LANES + lane) * column_size..][..column_size];
            let (half, lane) = (lane / 16, lane % 16);
            let tap_pairs = self.channels.div_ceil(2);
            for tap in 0..self.taps {
                let bits = |channel: usize| u32::from(column[tap * self.tap_stride + channel * self.channel_stride]);
                let lines = &mut lines[2 * tap * tap_pairs..2 * (tap + 1) * tap_pairs];
                for (pair, lines) in lines.chunks_exact_mut(2).enumerate() {
                    let high = if 2 * pair + 1 < self.channels { bits(2 * pair + 1) } else { 0 };
                    lines[half].0[lane] = bits(2 * pair) | high << 16;
                }
            }
        }
    }
}

impl Packed {
    /// Packs weights.
    pub(crate) fn new(source: Unpacked<'_>) -> Self {
        let channels = source.channels.next_multiple_of(2);
        let panel_lines = source.taps * channels;
        // Zeros from the system, so that threads touch each page for the first time side by side.
        let mut lines: Vec<Line> = bytemuck::zeroed_vec(source.columns.div_ceil(LANES) * panel_lines);
        if panel_lines > 0 {
            let panels = lines.par_chunks_exact_mut(panel_lines).enumerate();
            panels.for_each(|(panel, lines)| source.pack_panel(panel, lines));
        }
        Self::of_lines(lines.into(), Sizes { taps: source.taps, channels: source.channels, columns: source.columns })
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
        out.clear();
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
        for (i, lines) in source.chunks_exact(2).enumerate() {
            for (pair, out) in out.chunks_exact_mut(2).enumerate() {
                let lane = lane + 2 * pair;
                let line = &lines[lane / 16].0;
                let (a, b) = (line[lane % 16], line[lane % 16 + 1]);
                // Rows 2i and 2i+1 of two columns become two columns of a pair of rows.
                let target = &mut out[i / 8].0;
                target[2 * i % 16] = a & 0xFFFF | b << 16;
                target[2 * i % 16 + 1] = a >> 16 | b & 0xFFFF_0000;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{LANES, Line, Packed, Transposed, Unpacked};

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
        let strides = Unpacked { bits: &elements, taps, channels, columns, tap_stride: 1, channel_stride: taps };
        Packed::new(strides)
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
