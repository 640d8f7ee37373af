//! Matrices in the order in which f32 products read them, in 32 or in 16 bits.

use std::ops::Range;

use rayon::prelude::*;

use super::product::Panels;
use super::tile::LANES;
use super::transpose::transpose;
use super::widen::{widen_bf16, widen_f16};
use crate::SharedBytes;
use crate::error::Result;
use crate::packed::{Order, PackedWeight, Sizes, Storable, Stored, unfit};

/// The elements of a packed matrix.
#[derive(Debug, Clone)]
enum Elements {
    F32(Stored<f32>),
    /// Bits.
    F16(Stored<u16>),
    /// Bits.
    Bf16(Stored<u16>),
}

impl Elements {
    /// A stretch, written as f32.
    fn widen(&self, part: Range<usize>, out: &mut [f32]) {
        match self {
            Self::F32(elements) => out.copy_from_slice(&elements[part]),
            Self::F16(bits) => widen_f16(&bits[part], out),
            Self::Bf16(bits) => widen_bf16(&bits[part], out),
        }
    }
}

/// A matrix (K, N) of frozen weights, K made of `taps` stretches of `channels` rows each (9 for a 3×3 kernel, 1 for a linear layer).
///
/// Panels of [`LANES`] columns follow each other, row after row within; the last panel is filled up with zeros.
#[derive(Debug, Clone)]
pub(crate) struct Packed {
    elements: Elements,
    taps: usize,
    channels: usize,
    columns: usize,
}

/// The sizes of a matrix that is not packed yet, and where the element of a column, tap and channel lies in a slice.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Strides {
    pub(crate) taps: usize,
    /// Rows of a tap.
    pub(crate) channels: usize,
    pub(crate) columns: usize,
    /// From a tap, and from a channel, to the next; columns lie one after the other.
    pub(crate) tap_stride: usize,
    pub(crate) channel_stride: usize,
}

/// Rows that are packed together, so that what they are read from and written to stays in the first-level cache.
const STRETCH: usize = 64;

impl Strides {
    /// The elements in the packed order.
    fn pack<T: bytemuck::Pod + Send + Sync>(&self, elements: &[T]) -> Vec<T> {
        let column_size = self.taps * self.channels;
        let panel_size = column_size * LANES;
        // Zeros from the system, so that threads touch each page for the first time side by side.
        let mut packed: Vec<T> = bytemuck::zeroed_vec(self.columns.div_ceil(LANES) * panel_size);
        if panel_size > 0 {
            packed.par_chunks_exact_mut(panel_size).enumerate().for_each(|(panel, packed)| {
                let first = panel * LANES;
                let columns = &elements[first * column_size..(first + LANES).min(self.columns) * column_size];
                self.pack_panel(columns, packed);
            });
        }
        packed
    }

    /// A panel from its columns.
    fn pack_panel<T: Copy>(&self, columns: &[T], packed: &mut [T]) {
        let column_size = self.taps * self.channels;
        for first in (0..self.channels).step_by(STRETCH) {
            let count = STRETCH.min(self.channels - first);
            for tap in 0..self.taps {
                let packed = &mut packed[(tap * self.channels + first) * LANES..][..count * LANES];
                for (lane, column) in columns.chunks_exact(column_size).enumerate() {
                    let column = &column[tap * self.tap_stride + first * self.channel_stride..];
                    for (packed, &element) in
                        packed.chunks_exact_mut(LANES).zip(column.iter().step_by(self.channel_stride))
                    {
                        packed[lane] = element;
                    }
                }
            }
        }
    }
}

impl Packed {
    /// Packs f32.
    pub(crate) fn from_f32(elements: &[f32], strides: Strides) -> Self {
        Self::new(Elements::F32(strides.pack(elements).into()), strides)
    }

    /// Packs the bits of f16, which stay 16 bits.
    pub(crate) fn from_f16(bits: &[u16], strides: Strides) -> Self {
        Self::new(Elements::F16(strides.pack(bits).into()), strides)
    }

    /// Packs the bits of bf16, which stay 16 bits.
    pub(crate) fn from_bf16(bits: &[u16], strides: Strides) -> Self {
        Self::new(Elements::Bf16(strides.pack(bits).into()), strides)
    }

    fn new(elements: Elements, Strides { taps, channels, columns, .. }: Strides) -> Self {
        Self { elements, taps, channels, columns }
    }

    /// The transpose, seen tap by tap: for the gradient of the rows.
    pub(crate) fn transposed(&self) -> Transposed<'_> {
        Transposed { packed: self }
    }

    /// Bytes of an element in memory.
    #[cfg(test)]
    pub(crate) fn element_size(&self) -> usize {
        match self.elements {
            Elements::F32(_) => 4,
            Elements::F16(_) | Elements::Bf16(_) => 2,
        }
    }

    /// Where the rows `rows` of a panel lie.
    fn part(&self, panel: usize, rows: Range<usize>) -> Range<usize> {
        let first = panel * self.taps * self.channels;
        (first + rows.start) * LANES..(first + rows.end) * LANES
    }
}

impl Storable for Packed {
    fn packed(&self) -> PackedWeight<&[u8]> {
        let (order, bytes) = match &self.elements {
            Elements::F32(elements) => (Order::F32Panels, elements.as_bytes()),
            Elements::F16(bits) => (Order::F32PanelsOfF16, bits.as_bytes()),
            Elements::Bf16(bits) => (Order::F32PanelsOfBf16, bits.as_bytes()),
        };
        let Self { taps, channels, columns, .. } = *self;
        PackedWeight { order, sizes: Sizes { taps, channels, columns }, parts: vec![bytes] }
    }

    fn from_packed(weight: PackedWeight<SharedBytes>) -> Result<Self> {
        let PackedWeight { order, sizes: Sizes { taps, channels, columns }, .. } = weight;
        let [bytes] = weight.into_parts()?;
        let len = columns.div_ceil(LANES).saturating_mul(LANES).saturating_mul(taps.saturating_mul(channels));
        let elements = match order {
            Order::F32Panels => Elements::F32(Stored::shared(order, bytes, len)?),
            Order::F32PanelsOfF16 => Elements::F16(Stored::shared(order, bytes, len)?),
            Order::F32PanelsOfBf16 => Elements::Bf16(Stored::shared(order, bytes, len)?),
            other => return Err(unfit(other, "no order of f32 products".to_owned())),
        };
        Ok(Self { elements, taps, channels, columns })
    }
}

impl Panels for Packed {
    fn rows(&self) -> usize {
        self.taps * self.channels
    }

    fn columns(&self) -> usize {
        self.columns
    }

    fn panel<'a>(&'a self, panel: usize, rows: Range<usize>, scratch: &'a mut Vec<f32>) -> &'a [f32] {
        let part = self.part(panel, rows);
        if let Elements::F32(elements) = &self.elements {
            return &elements[part];
        }
        scratch.resize(part.len(), 0.0);
        self.elements.widen(part, scratch);
        scratch
    }
}

/// The matrix (taps · N, channels) of a [`Packed`] one: each tap transposed. Panels are made when asked for.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Transposed<'a> {
    packed: &'a Packed,
}

impl Panels for Transposed<'_> {
    fn rows(&self) -> usize {
        self.packed.taps * self.packed.columns
    }

    fn columns(&self) -> usize {
        let &Packed { channels, .. } = self.packed;
        channels
    }

    fn panel<'a>(&'a self, panel: usize, rows: Range<usize>, scratch: &'a mut Vec<f32>) -> &'a [f32] {
        scratch.resize(rows.len() * LANES, 0.0);
        let columns = self.packed.columns;
        let mut next = rows.start;
        while next < rows.end {
            let (tap, column) = (next / columns, next % columns);
            // Up to the end of this panel of the original, of the tap, or of what was asked for.
            let stretch = (LANES - column % LANES).min(columns - column).min(rows.end - next);
            let start = (next - rows.start) * LANES;
            self.write_stretch(panel, tap, column, &mut scratch[start..start + stretch * LANES]);
            next += stretch;
        }
        scratch
    }
}

impl Transposed<'_> {
    /// Some columns of one panel of the original, from `column` on, as rows.
    fn write_stretch(&self, panel: usize, tap: usize, column: usize, out: &mut [f32]) {
        let &Packed { channels, .. } = self.packed;
        let first = tap * channels + panel * LANES;
        let count = LANES.min(channels - panel * LANES);
        let part = self.packed.part(column / LANES, first..first + count);
        let mut block = [0.0; LANES * LANES];
        self.packed.elements.widen(part, &mut block[..count * LANES]);
        if let Ok(out) = <&mut [f32; LANES * LANES]>::try_from(&mut *out) {
            return transpose(&block, out);
        }
        for (i, row) in out.chunks_exact_mut(LANES).enumerate() {
            for (channel, element) in row.iter_mut().enumerate() {
                *element = block[channel * LANES + column % LANES + i];
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use half::{bf16, f16};

    use super::{LANES, Packed, Panels, Strides};

    fn number(column: usize, tap: usize, channel: usize) -> f32 {
        ((column * 331 + tap * 97 + channel * 7) % 251) as f32 - 125.0
    }

    /// Weights in the order (columns, channels, taps), as a convolution has them, in all three precisions.
    fn packed(taps: usize, channels: usize, columns: usize) -> [Packed; 3] {
        let mut elements = Vec::new();
        for column in 0..columns {
            for channel in 0..channels {
                elements.extend((0..taps).map(|tap| number(column, tap, channel)));
            }
        }
        let strides = Strides { taps, channels, columns, tap_stride: 1, channel_stride: taps };
        let f16: Vec<u16> = elements.iter().map(|&x| f16::from_f32(x).to_bits()).collect();
        let bf16: Vec<u16> = elements.iter().map(|&x| bf16::from_f32(x).to_bits()).collect();
        [Packed::from_f32(&elements, strides), Packed::from_f16(&f16, strides), Packed::from_bf16(&bf16, strides)]
    }

    const SIZES: [(usize, usize, usize); 7] =
        [(1, 1, 1), (1, 7, 33), (9, 3, 5), (4, 40, 70), (9, 64, 32), (1, 16, 16), (9, 19, 48)];

    #[test]
    fn every_element_is_where_it_should_be_and_the_rest_is_zero() {
        for (taps, channels, columns) in SIZES {
            for packed in packed(taps, channels, columns) {
                for column in 0..columns.next_multiple_of(LANES) {
                    let mut scratch = vec![7.0; 3];
                    let panel = packed.panel(column / LANES, 0..packed.rows(), &mut scratch);
                    for row in 0..taps * channels {
                        let (tap, channel) = (row / channels, row % channels);
                        let expected = if column < columns { number(column, tap, channel) } else { 0.0 };
                        assert_eq!(panel[row * LANES + column % LANES], expected);
                    }
                }
            }
        }
    }

    #[test]
    fn parts_of_transposes_are_transposes_of_parts() {
        for (taps, channels, columns) in SIZES {
            for packed in packed(taps, channels, columns) {
                let transposed = packed.transposed();
                let all = transposed.rows();
                assert_eq!((all, transposed.columns()), (taps * columns, channels));
                let mut scratch = vec![7.0; 3];
                for rows in [0..all, all / 2..all, all / 3..all / 2, 1.min(all - 1)..all] {
                    for channel in 0..channels.next_multiple_of(LANES) {
                        let panel = transposed.panel(channel / LANES, rows.clone(), &mut scratch);
                        assert_eq!(panel.len(), rows.len() * LANES);
                        for row in rows.clone() {
                            let (tap, column) = (row / columns, row % columns);
                            let expected = if channel < channels { number(column, tap, channel) } else { 0.0 };
                            assert_eq!(panel[(row - rows.start) * LANES + channel % LANES], expected);
                        }
                    }
                }
            }
        }
    }
}
