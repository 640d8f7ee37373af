//! Packed 8-bit weights as the right side of products in f32, widened as the products ask for them: for gradients, and for convolutions that are
//! faster in f32.

use std::ops::Range;

use super::packed::{LANES, Packed};
use crate::cpu::bf16::Line;
use crate::cpu::f32::{self as single, Panels, transpose};
use crate::cpu::isa::for_each_isa;

/// Columns of a panel of f32.
const SINGLES: usize = single::LANES;

/// The matrix (taps · channels, N).
#[derive(Debug, Clone, Copy)]
pub(crate) struct Wide<'a>(pub(crate) &'a Packed);

/// The matrix (taps · N, channels): each tap transposed.
#[derive(Debug, Clone, Copy)]
pub(crate) struct WideTransposed<'a>(pub(crate) &'a Packed);

impl Wide<'_> {
    /// Writes the channels `channels` of a tap and panel.
    fn write(self, panel: usize, tap: usize, channels: Range<usize>, out: &mut [f32]) {
        let (_, inner) = self.0.taps_and_channels();
        let quads = inner.div_ceil(4);
        let lines = self
            .0
            .panel(panel * SINGLES / LANES, tap * quads + channels.start / 4..tap * quads + channels.end.div_ceil(4));
        let mut scales = [0.0; SINGLES];
        for (scale, known) in scales.iter_mut().zip(&self.0.scales()[panel * SINGLES..]) {
            *scale = *known;
        }
        widen(lines, panel % (LANES / SINGLES), channels.start % 4, &scales, out);
    }
}

for_each_isa! {
    /// Rows from the `first` of the first four on, times the scales of their columns.
    fn widen(lines: &[Line], half: usize, first: usize, scales: &[f32; SINGLES], out: &mut [f32]) {
        let (rows, _) = out.as_chunks_mut::<SINGLES>();
        for (row, out) in (first..).zip(rows) {
            let line = &lines[2 * (row / 4) + half].0;
            let shift = 24 - 8 * (row % 4) as u32;
            for ((out, word), scale) in out.iter_mut().zip(line).zip(scales) {
                *out = ((word << shift).cast_signed() >> 24) as f32 * scale;
            }
        }
    }
}

impl Panels for Wide<'_> {
    fn rows(&self) -> usize {
        let (taps, channels) = self.0.taps_and_channels();
        taps * channels
    }

    fn columns(&self) -> usize {
        self.0.columns()
    }

    fn panel<'a>(&'a self, panel: usize, rows: Range<usize>, scratch: &'a mut Vec<f32>) -> &'a [f32] {
        let (_, channels) = self.0.taps_and_channels();
        scratch.resize(rows.len() * SINGLES, 0.0);
        let mut next = rows.start;
        while next < rows.end {
            let (tap, channel) = (next / channels, next % channels);
            let count = (channels - channel).min(rows.end - next);
            let start = (next - rows.start) * SINGLES;
            self.write(panel, tap, channel..channel + count, &mut scratch[start..start + count * SINGLES]);
            next += count;
        }
        scratch
    }
}

impl WideTransposed<'_> {
    /// Some columns of one panel of the original, from `column` on, as rows.
    fn write(self, panel: usize, tap: usize, column: usize, out: &mut [f32]) {
        let (_, inner) = self.0.taps_and_channels();
        let channels = panel * SINGLES..((panel + 1) * SINGLES).min(inner);
        let (mut block, mut turned) = ([0.0; SINGLES * SINGLES], [0.0; SINGLES * SINGLES]);
        let used = channels.len() * SINGLES;
        Wide(self.0).write(column / SINGLES, tap, channels, &mut block[..used]);
        transpose(&block, &mut turned);
        let first = column % SINGLES * SINGLES;
        out.copy_from_slice(&turned[first..first + out.len()]);
    }
}

impl Panels for WideTransposed<'_> {
    fn rows(&self) -> usize {
        let (taps, _) = self.0.taps_and_channels();
        taps * self.0.columns()
    }

    fn columns(&self) -> usize {
        let (_, channels) = self.0.taps_and_channels();
        channels
    }

    fn panel<'a>(&'a self, panel: usize, rows: Range<usize>, scratch: &'a mut Vec<f32>) -> &'a [f32] {
        scratch.resize(rows.len() * SINGLES, 0.0);
        let columns = self.0.columns();
        let mut next = rows.start;
        while next < rows.end {
            let (tap, column) = (next / columns, next % columns);
            // Up to the end of this panel of the original, of the tap, or of what was asked for.
            let count = (SINGLES - column % SINGLES).min(columns - column).min(rows.end - next);
            let start = (next - rows.start) * SINGLES;
            self.write(panel, tap, column, &mut scratch[start..start + count * SINGLES]);
            next += count;
        }
        scratch
    }
}

#[cfg(test)]
mod tests {
    use super::{SINGLES, Wide, WideTransposed};
    use crate::check::noise;
    use crate::cpu::f32::Panels;
    use crate::cpu::int8::Packed;

    /// All rows of all panels, in two parts, against `element(row, column)`.
    fn check(panels: &impl Panels, element: impl Fn(usize, usize) -> f32) {
        let mut scratch = vec![7.0_f32; 3];
        for part in [0..panels.rows() / 3, panels.rows() / 3..panels.rows()] {
            for panel in 0..panels.columns().div_ceil(SINGLES) {
                let rows = panels.panel(panel, part.clone(), &mut scratch);
                assert_eq!(rows.len(), part.len() * SINGLES);
                for (row, elements) in part.clone().zip(rows.chunks_exact(SINGLES)) {
                    for (lane, &found) in elements.iter().enumerate().take(panels.columns() - panel * SINGLES) {
                        assert_eq!(found, element(row, panel * SINGLES + lane), "{row} {panel} {lane}");
                    }
                }
            }
        }
    }

    #[test]
    fn every_element_is_where_it_should_be() {
        for shape in [&[1, 1][..], &[33, 7], &[5, 3, 3, 3], &[70, 40, 2, 2], &[32, 64, 3, 3]] {
            let packed = Packed::new(&noise(1, shape)).unwrap();
            let (columns, channels) = (shape[0], shape[1]);
            let weight =
                |tap, channel, column| packed.scales()[column] * f32::from(packed.element(tap, channel, column));
            check(&Wide(&packed), |row, column| weight(row / channels, row % channels, column));
            check(&WideTransposed(&packed), |row, channel| weight(row / columns, channel, row % columns));
        }
    }
}
