//! Matrices in the order in which f32 products read them, in 32 or in 16 bits.

use std::ops::Range;
use std::sync::OnceLock;

use rayon::prelude::*;

use super::product::Panels;
use super::tile::LANES;
use super::transpose::{for_rows_of_columns, transpose};
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
    /// The same as f32, once it was asked for: of small matrices alone.
    wide: OnceLock<Vec<f32>>,
    taps: usize,
    channels: usize,
    columns: usize,
}

/// Most elements of a 16-bit matrix that is kept widened, too. Small networks see few rows a call, so that widening each time would take as long as a tenth of the
/// products; and large networks have few matrices of this size: of Stable Diffusion 1.5's they take 20 MB.
const MAX_WIDENED: usize = 3 << 16;

/// The elements of weights in checkpoint order, (columns, channels, taps), in the packed order. `bits` and `of_bits` lead from an element to its bits and back.
fn pack<T: bytemuck::Pod + Send + Sync>(
    elements: &[T],
    Sizes { taps, channels, columns }: Sizes,
    bits: impl Fn(T) -> u32 + Copy + Send + Sync,
    of_bits: impl Fn(u32) -> T + Copy + Send + Sync,
) -> Vec<T> {
    let column_size = taps * channels;
    let panel_size = column_size * LANES;
    // Zeros from the system, so that threads touch each page for the first time side by side.
    let mut packed: Vec<T> = bytemuck::zeroed_vec(columns.div_ceil(LANES) * panel_size);
    if panel_size > 0 {
        packed.par_chunks_exact_mut(panel_size).enumerate().for_each(|(panel, packed)| {
            let first = panel * LANES;
            let columns = &elements[first * column_size..(first + LANES).min(columns) * column_size];
            for_rows_of_columns(columns, column_size, bits, |element, row| {
                let place = element % taps * channels + element / taps;
                for (out, value) in packed[place * LANES..][..LANES].iter_mut().zip(row) {
                    *out = of_bits(value.to_bits());
                }
            });
        });
    }
    packed
}

impl Packed {
    /// Packs f32 in checkpoint order, (columns, channels, taps).
    pub(crate) fn from_f32(elements: &[f32], sizes: Sizes) -> Self {
        Self::new(Elements::F32(pack(elements, sizes, f32::to_bits, f32::from_bits).into()), sizes)
    }

    /// Packs the bits of f16, which stay 16 bits.
    pub(crate) fn from_f16(bits: &[u16], sizes: Sizes) -> Self {
        Self::new(Elements::F16(pack(bits, sizes, u32::from, |bits| bits as u16).into()), sizes)
    }

    /// Packs the bits of bf16, which stay 16 bits.
    pub(crate) fn from_bf16(bits: &[u16], sizes: Sizes) -> Self {
        Self::new(Elements::Bf16(pack(bits, sizes, u32::from, |bits| bits as u16).into()), sizes)
    }

    fn new(elements: Elements, Sizes { taps, channels, columns }: Sizes) -> Self {
        Self { elements, wide: OnceLock::new(), taps, channels, columns }
    }

    /// All elements as f32 if they lie there as such.
    fn as_f32(&self) -> Option<&[f32]> {
        let len = match &self.elements {
            Elements::F32(elements) => return Some(elements),
            Elements::F16(bits) | Elements::Bf16(bits) => bits.len(),
        };
        let widened = || {
            let mut wide = vec![0.0; len];
            self.elements.widen(0..len, &mut wide);
            wide
        };
        (len <= MAX_WIDENED).then(|| &self.wide.get_or_init(widened)[..])
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
        Ok(Self { elements, wide: OnceLock::new(), taps, channels, columns })
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
        if let Some(elements) = self.as_f32() {
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
        let mut widened;
        let block = match self.packed.as_f32() {
            Some(elements) => &elements[part],
            None => {
                widened = [0.0; LANES * LANES];
                self.packed.elements.widen(part, &mut widened[..count * LANES]);
                &widened[..count * LANES]
            }
        };
        if let (Ok(block), Ok(out)) = (block.try_into(), <&mut [f32; LANES * LANES]>::try_from(&mut *out)) {
            return transpose(block, out);
        }
        for (i, row) in out.chunks_exact_mut(LANES).enumerate() {
            for (channel, element) in row.iter_mut().enumerate() {
                // Behind the last channel there is nothing.
                *element = block.get(channel * LANES + column % LANES + i).copied().unwrap_or_default();
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use half::{bf16, f16};

    use super::{LANES, Packed, Panels, Sizes};

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
        let sizes = Sizes { taps, channels, columns };
        let f16: Vec<u16> = elements.iter().map(|&x| f16::from_f32(x).to_bits()).collect();
        let bf16: Vec<u16> = elements.iter().map(|&x| bf16::from_f32(x).to_bits()).collect();
        [Packed::from_f32(&elements, sizes), Packed::from_f16(&f16, sizes), Packed::from_bf16(&bf16, sizes)]
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
