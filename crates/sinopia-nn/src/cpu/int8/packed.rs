//! Matrices of 8-bit weights in the order in which products read them.

use candle_core::Tensor;
use rayon::prelude::*;

use super::quantize::flushed;
use crate::SharedBytes;
use crate::cpu::bf16::Line;
use crate::cpu::elements::Elements;
use crate::cpu::split::for_rows_mut;
use crate::error::Result;
use crate::packed::{Order, PackedWeight, Sizes, Storable, Stored, unfit};

/// Columns of a panel.
pub(crate) const LANES: usize = 32;

/// Most rows of a matrix: `2¹⁶ · 255 · 127` still fits an i32. The longest sum of Stable Diffusion has 9 · 2560 = 23 040.
pub(crate) const MAX_ROWS: usize = 1 << 16;

/// A matrix (K, N) of frozen weights, K made of `taps` stretches of `channels` rows each (9 for a 3×3 kernel, 1 for a linear layer).
///
/// Panels of 32 columns follow each other. In a panel, rows come in fours: two [`Line`]s hold rows 4i (lowest byte) to 4i + 3 of its columns.
/// Stretches are filled up with zeros to a multiple of four rows, and so is the last panel.
#[derive(Debug, Clone)]
pub(crate) struct Packed {
    lines: Stored<Line>,
    /// Of a column: what one step is worth, and the sum of its elements. (N)
    scales: Stored<f32>,
    sums: Stored<i32>,
    taps: usize,
    /// Rows of a tap in use, and filled up to a multiple of four.
    inner: usize,
    channels: usize,
}

impl Packed {
    /// Whether sums over a matrix of these sizes fit their 32 bits.
    pub(crate) fn fits(taps: usize, channels: usize) -> bool {
        taps * channels.next_multiple_of(4) <= MAX_ROWS
    }

    /// Quantises weights in checkpoint order, (N, channels) or (N, channels, kh, kw), contiguous, on the CPU: each output channel to the 255 steps
    /// between its largest magnitude and the negative of that.
    ///
    /// # Panics
    /// If the sizes do not [fit](Self::fits).
    pub(crate) fn new(weight: &Tensor) -> Result<Self> {
        let dims = weight.dims();
        let (columns, inner) = (dims[0], dims[1]);
        let taps: usize = dims[2..].iter().product();
        assert!(Self::fits(taps, inner), "sums over {taps} · {inner} elements");
        let channels = inner.next_multiple_of(4);
        let (column_size, panel_lines) = (taps * inner, taps * channels / 2);
        let panels = columns.div_ceil(LANES);
        let mut lines: Vec<Line> = bytemuck::zeroed_vec(panels * panel_lines);
        let (mut scales, mut sums) = (vec![0.0; columns], vec![0; columns]);
        if panel_lines > 0 {
            let source = Elements::of(weight)?;
            // Read locks and borrowed f32 are for one thread, so that each takes what it needs first.
            let wide = |panel: usize| {
                let part = panel * LANES * column_size..((panel + 1) * LANES).min(columns) * column_size;
                source.widened(part)
            };
            for first in (0..panels).step_by(PANELS_AT_ONCE) {
                let group = first..(first + PANELS_AT_ONCE).min(panels);
                let wide = group.clone().map(wide).collect::<candle_core::Result<Vec<_>>>()?;
                let lines = lines[group.start * panel_lines..group.end * panel_lines].par_chunks_exact_mut(panel_lines);
                let columns = group.start * LANES..(group.end * LANES).min(columns);
                let scales = scales[columns.clone()].par_chunks_mut(LANES);
                let sums = sums[columns].par_chunks_mut(LANES);
                wide.par_iter().zip(lines).zip(scales).zip(sums).for_each(|(((wide, lines), scales), sums)| {
                    for (lane, column) in wide.chunks_exact(column_size).enumerate() {
                        (scales[lane], sums[lane]) = pack_column(column, [taps, inner], lane, lines);
                    }
                });
            }
        }
        Ok(Self { lines: lines.into(), scales: scales.into(), sums: sums.into(), taps, inner, channels })
    }

    /// K with stretches filled up to multiples of four.
    pub(crate) fn rows(&self) -> usize {
        self.taps * self.channels
    }

    /// N.
    pub(crate) fn columns(&self) -> usize {
        self.scales.len()
    }

    /// Of each column, what one step is worth.
    pub(crate) fn scales(&self) -> &[f32] {
        &self.scales
    }

    /// Rows of N elements, each multiplied with what a step of its column is worth: the left side of a product with the [transpose](super::Turned).
    pub(crate) fn scaled(&self, rows: &[f32]) -> Vec<f32> {
        let mut scaled = rows.to_vec();
        for_rows_mut(&mut scaled, self.columns(), |_, rows| {
            for row in rows.chunks_exact_mut(self.columns()) {
                row.iter_mut().zip(self.scales()).for_each(|(value, scale)| *value *= scale);
            }
        });
        scaled
    }

    /// Of each column, the sum of its elements.
    pub(crate) fn sums(&self) -> &[i32] {
        &self.sums
    }

    /// Stretches of rows, and rows of each in use.
    pub(crate) fn taps_and_channels(&self) -> (usize, usize) {
        (self.taps, self.inner)
    }

    /// The lines of the fours of rows `quads` in panel `panel`.
    pub(crate) fn panel(&self, panel: usize, quads: std::ops::Range<usize>) -> &[Line] {
        let first = panel * self.rows() / 4;
        &self.lines[2 * (first + quads.start)..2 * (first + quads.end)]
    }

    /// The element of a channel and tap of a column, in steps.
    #[cfg(test)]
    pub(crate) fn element(&self, tap: usize, channel: usize, column: usize) -> i8 {
        let row = tap * self.channels + channel;
        let lane = column % LANES;
        let lines = self.panel(column / LANES, row / 4..row / 4 + 1);
        lines[lane / 16].0[lane % 16].to_le_bytes()[row % 4].cast_signed()
    }
}

impl Storable for Packed {
    fn packed(&self) -> PackedWeight<&[u8]> {
        let sizes = Sizes { taps: self.taps, channels: self.inner, columns: self.columns() };
        let parts = vec![self.lines.as_bytes(), self.scales.as_bytes(), self.sums.as_bytes()];
        PackedWeight { order: Order::Int8Panels, sizes, parts }
    }

    fn from_packed(weight: PackedWeight<SharedBytes>) -> Result<Self> {
        let PackedWeight { order, sizes: Sizes { taps, channels: inner, columns }, .. } = weight;
        let [lines, scales, sums] = weight.into_parts()?;
        if taps.max(inner) > MAX_ROWS || !Self::fits(taps, inner) {
            return Err(unfit(order, format!("sums over {taps} · {inner} elements do not fit 32 bits")));
        }
        let channels = inner.next_multiple_of(4);
        let num_lines = columns.div_ceil(LANES).saturating_mul(taps.saturating_mul(channels / 2));
        let scales = Stored::<f32>::shared(order, scales, columns)?;
        let sums = Stored::<i32>::shared(order, sums, columns)?;
        // The elements themselves are any bytes: reading all of them is what a file is mapped to avoid.
        let most = i32::from(i8::MAX).unsigned_abs() as usize * taps * inner;
        if let Some(sum) = sums.iter().find(|sum| sum.unsigned_abs() as usize > most) {
            return Err(unfit(order, format!("a column of {taps} · {inner} elements whose sum is {sum}")));
        }
        if let Some(scale) = scales.iter().find(|scale| !(0.0..=f32::MAX).contains(*scale)) {
            return Err(unfit(order, format!("a step that is worth {scale}")));
        }
        Ok(Self { lines: Stored::shared(order, lines, num_lines)?, scales, sums, taps, inner, channels })
    }
}

/// Panels whose weights are widened together: enough for all threads, and at the most 23 040 · 32 · 16 elements.
const PANELS_AT_ONCE: usize = 16;

/// Rounds a column, channels outside and taps inside, into its lane. Returns its scale and the sum of its elements.
fn pack_column(column: &[f32], [taps, channels]: [usize; 2], lane: usize, lines: &mut [Line]) -> (f32, i32) {
    let largest = column.iter().fold(0.0_f32, |largest, x| largest.max(x.abs()));
    let scale = flushed(largest / 127.0);
    let inverse = if scale > 0.0 { 1.0 / scale } else { 0.0 };
    let (half, lane) = (lane / 16, lane % 16);
    let quads = channels.div_ceil(4);
    let mut sum = 0;
    for tap in 0..taps {
        for quad in 0..quads {
            let place = |i: usize| {
                let channel = 4 * quad + i;
                if channel < channels { rounded(column[channel * taps + tap] * inverse) } else { 0 }
            };
            let four: [i8; 4] = std::array::from_fn(place);
            sum += four.iter().map(|&q| i32::from(q)).sum::<i32>();
            lines[2 * (tap * quads + quad) + half].0[lane] = u32::from_le_bytes(four.map(i8::cast_unsigned));
        }
    }
    (scale, sum)
}

/// The whole number nearest to one within ±128, ties to even: added to such a number, 1.5 · 2²³ leaves it in the lowest bits. The library's own
/// rounding is a call for processors without SSE 4.1.
fn rounded(value: f32) -> i8 {
    (value + 12_582_912.0).to_bits() as i8
}

#[cfg(test)]
mod tests {
    use candle_core::DType;

    use super::{Packed, rounded};
    use crate::check::noise;

    #[test]
    fn rounding_is_the_librarys() {
        for i in -1016..=1016 {
            let value = i as f32 / 8.0;
            assert_eq!(rounded(value), value.round_ties_even() as i8, "{value}");
        }
    }

    #[test]
    fn columns_of_the_smallest_numbers_are_zero() {
        let packed = Packed::new(&noise(1, &[3, 8]).affine(1e-38, 0.0).unwrap()).unwrap();
        assert_eq!((packed.scales(), packed.sums()), (&[0.0; 3][..], &[0; 3][..]));
    }

    #[test]
    fn every_weight_is_within_half_a_step_of_its_channel() {
        for shape in [&[1, 1][..], &[33, 7], &[5, 3, 3, 3], &[70, 40, 2, 2], &[600, 8]] {
            for dtype in [DType::F32, DType::F16, DType::BF16] {
                let weight = noise(1, shape).to_dtype(dtype).unwrap();
                let packed = Packed::new(&weight).unwrap();
                let taps: usize = shape[2..].iter().product();
                assert_eq!((packed.columns(), packed.taps_and_channels()), (shape[0], (taps, shape[1])));
                let values = weight.to_dtype(DType::F32).unwrap().flatten_all().unwrap().to_vec1::<f32>().unwrap();
                for (column, values) in values.chunks(shape[1] * taps).enumerate() {
                    let scale = packed.scales()[column];
                    let (mut sum, mut most) = (0, 0);
                    for (i, value) in values.iter().enumerate() {
                        let q = i32::from(packed.element(i % taps, i / taps, column));
                        assert!((value - scale * q as f32).abs() <= 0.5001 * scale);
                        (sum, most) = (sum + q, most.max(q.abs()));
                    }
                    assert_eq!((packed.sums()[column], most), (sum, 127));
                }
            }
        }
    }

    #[test]
    fn channels_of_zeros_stay_zero() {
        let weight = noise(1, &[3, 5]).zeros_like().unwrap();
        let packed = Packed::new(&weight).unwrap();
        assert_eq!((packed.scales(), packed.sums()), (&[0.0; 3][..], &[0; 3][..]));
    }

    #[test]
    fn the_longest_sum_fits() {
        assert!(Packed::fits(9, 2560) && Packed::fits(1, 1 << 16) && !Packed::fits(1, (1 << 16) + 1));
        let most = i64::from(u8::MAX) * i64::from(i8::MAX) * super::MAX_ROWS as i64;
        assert!(most <= i64::from(i32::MAX));
    }
}
