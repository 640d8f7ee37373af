//! The transpose of packed 8-bit weights as the right side of a product in bf16: for the gradient of the rows.
//!
//! Its elements are in steps, whole numbers that bf16 has exactly; what a step of each column is worth the caller multiplies into the left side,
//! whose columns they are: `∂x = (∂y · scales) · Qᵀ`.

use std::ops::Range;

use super::packed::{LANES, Packed};
use super::wide::WideTransposed;
use crate::arithmetic::Arithmetic;
use crate::cpu::bf16::{self, Line};
use crate::cpu::f32 as single;
use crate::cpu::start::Start;

/// The matrix (taps · N, channels): each tap transposed, its N rows filled up to an even number. Panels are made when asked for.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Turned<'a>(pub(crate) &'a Packed);

/// The bf16 bits of every byte, as a signed number.
const BF16: [u16; 256] = {
    let mut bits = [0; 256];
    let mut byte = 0;
    while byte < 256 {
        bits[byte] = ((byte as u8).cast_signed() as f32).to_bits().wrapping_shr(16) as u16;
        byte += 1;
    }
    bits
};

impl Turned<'_> {
    /// The rows 2·`pair` and 2·`pair` + 1 of a tap and panel.
    fn write_pair(self, panel: usize, tap: usize, pair: usize, out: &mut [Line]) {
        let (_, channels) = self.0.taps_and_channels();
        let tap_quads = channels.div_ceil(4);
        let quads = panel * (LANES / 4)..((panel + 1) * (LANES / 4)).min(tap_quads);
        let (column, first) = (2 * pair, tap * tap_quads);
        let source = self.0.panel(column / LANES, first + quads.start..first + quads.end);
        let (half, lane) = (column % LANES / 16, column % 16);
        for (quad, lines) in source.chunks_exact(2).enumerate() {
            let line = &lines[half].0;
            let (a, b) = (line[lane].to_le_bytes(), line[lane + 1].to_le_bytes());
            let out = &mut out[quad / 4].0[4 * quad % 16..][..4];
            for ((out, a), b) in out.iter_mut().zip(a).zip(b) {
                *out = u32::from(BF16[usize::from(a)]) | u32::from(BF16[usize::from(b)]) << 16;
            }
        }
    }
}

impl bf16::Panels for Turned<'_> {
    fn rows(&self) -> usize {
        let (taps, _) = self.0.taps_and_channels();
        taps * self.0.columns().next_multiple_of(2)
    }

    fn columns(&self) -> usize {
        let (_, channels) = self.0.taps_and_channels();
        channels
    }

    fn lines<'a>(&'a self, panel: usize, pairs: Range<usize>, scratch: &'a mut Vec<Line>) -> &'a [Line] {
        scratch.clear();
        scratch.resize(2 * pairs.len(), Line([0; 16]));
        let tap_pairs = self.0.columns().div_ceil(2);
        for (pair, out) in pairs.zip(scratch.chunks_exact_mut(2)) {
            self.write_pair(panel, pair / tap_pairs, pair % tap_pairs, out);
        }
        scratch
    }
}

/// The gradient of rows (M, channels) that were multiplied with `weights`, given that of the product, (M, N): in bf16 where the processor multiplies
/// it, else in f32.
pub(crate) fn gradient_of_tokens(weights: &Packed, grad: &[f32]) -> Vec<f32> {
    let width = weights.columns();
    let rows = grad.len() / width.max(1);
    match Arithmetic::fastest() {
        Arithmetic::Bf16 => {
            let grad = bf16::Activations { elements: &weights.scaled(grad), width };
            bf16::product(Start::Zero, rows, &grad, &Turned(weights))
        }
        _ => single::product(Start::Zero, rows, &single::Strided::dense(grad, width), &WideTransposed(weights)),
    }
}

#[cfg(test)]
mod tests {
    use half::bf16;

    use super::Turned;
    use crate::check::noise;
    use crate::cpu::bf16::Panels;
    use crate::cpu::int8::Packed;

    #[test]
    fn every_element_is_where_it_should_be() {
        for shape in [&[1, 1][..], &[33, 7], &[5, 3, 3, 3], &[70, 40, 2, 2], &[32, 64, 3, 3]] {
            let packed = Packed::new(&noise(1, shape)).unwrap();
            let turned = Turned(&packed);
            let (columns, channels) = (shape[0], shape[1]);
            assert_eq!(turned.columns(), channels);
            let padded = columns.next_multiple_of(2);
            let mut scratch = Vec::new();
            for first in [0, turned.rows() / 4] {
                for panel in 0..channels.div_ceil(32) {
                    let lines = turned.lines(panel, first..turned.rows() / 2, &mut scratch);
                    for row in 2 * first..turned.rows() {
                        for lane in 0..32 {
                            let word = lines[2 * (row / 2 - first) + lane / 16].0[lane % 16];
                            let found = bf16::from_bits((word >> (16 * (row % 2))) as u16).to_f32();
                            let (tap, column, channel) = (row / padded, row % padded, 32 * panel + lane);
                            let inside = column < columns && channel < channels;
                            let expected = if inside { packed.element(tap, channel, column) } else { 0 };
                            assert_eq!(found, f32::from(expected));
                        }
                    }
                }
            }
        }
    }
}
