//! The matrices of a language model.

use std::ops::Range;
use std::sync::Arc;

use candle_core::{DType, Tensor};
use rayon::prelude::*;

use crate::cpu::elements::Elements;
use crate::cpu::f32::{LANES, Packed, Panels, Strided, product, transpose};
use crate::cpu::start::Start;
use crate::error::{Error, Result};
use crate::frozen::{frozen, frozen_vector};
use crate::packed::Sizes;
use crate::quantized::Quantized;

const OP: &str = "projection";

/// Outputs that a thread computes at a time of a single token.
const OUTPUTS: usize = 64;

/// What tokens are read for. Both are sums of f32 products, in another order.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Phase {
    /// Tokens of a prompt, many together: by products of matrices. What is computed of a token does not depend on the others.
    Prefill,
    /// Tokens of an answer, one after another: a row of the weights at a time, straight from its blocks.
    Decode,
}

/// `y = x · Wᵀ + b` for the tokens of a text, in f32 whatever the weights are.
#[derive(Debug, Clone)]
pub struct Projection {
    weight: Weight,
    /// (out) f32.
    bias: Option<Tensor>,
}

#[derive(Debug, Clone)]
enum Weight {
    /// Plain numbers of 32 or 16 bits.
    Packed(Arc<Packed>),
    /// Blocks (out, in), which are dequantised on their way into a product, a panel at a time: nothing else of them lies in memory.
    Blocks(Quantized),
}

impl Projection {
    /// A matrix of plain numbers, (out, in) in f32, f16 or bf16 on the CPU, with an optional bias (out).
    ///
    /// # Errors
    /// [`Error::Shape`] if the weight is no matrix or the bias does not fit it.
    pub fn new(weight: &Tensor, bias: Option<&Tensor>) -> Result<Self> {
        let &[columns, channels] = weight.dims() else {
            return Err(Error::shape(OP, "weight", "[out, in]", weight));
        };
        let weight = frozen(OP, "weight", weight)?;
        let elements = Elements::of(&weight)?;
        let sizes = Sizes { taps: 1, channels, columns };
        let packed = match weight.dtype() {
            DType::F16 => Packed::from_f16(elements.f16_bits()?, sizes),
            DType::BF16 => Packed::from_bf16(elements.bf16_bits()?, sizes),
            _ => Packed::from_f32(elements.f32()?, sizes),
        };
        Self::with_bias(Weight::Packed(Arc::new(packed)), columns, bias)
    }

    /// A matrix in blocks, which stay where they are.
    ///
    /// # Errors
    /// As [`new`](Self::new).
    pub fn from_quantized(weight: &Quantized, bias: Option<&Tensor>) -> Result<Self> {
        let &[columns, _] = weight.shape() else {
            let found = weight.shape().to_vec();
            return Err(Error::Shape { op: OP, what: "weight", expected: "[out, in]".to_owned(), found });
        };
        Self::with_bias(Weight::Blocks(weight.clone()), columns, bias)
    }

    fn with_bias(weight: Weight, columns: usize, bias: Option<&Tensor>) -> Result<Self> {
        let bias = bias.map(|bias| frozen_vector(OP, "bias", bias, columns)).transpose()?;
        Ok(Self { weight, bias })
    }

    /// The width of the rows it takes.
    pub fn in_features(&self) -> usize {
        match &self.weight {
            Weight::Packed(packed) => packed.rows(),
            Weight::Blocks(blocks) => BlockColumns(blocks).rows(),
        }
    }

    /// The width of the rows it gives.
    pub fn out_features(&self) -> usize {
        match &self.weight {
            Weight::Packed(packed) => packed.columns(),
            Weight::Blocks(blocks) => BlockColumns(blocks).columns(),
        }
    }

    /// (L, in) to (L, out). A token's result is the same bits whatever L is.
    ///
    /// # Errors
    /// What the tensor library says of the bias.
    ///
    /// # Panics
    /// If `x` has no rows of `in` elements.
    pub fn forward(&self, x: &[f32], phase: Phase) -> Result<Vec<f32>> {
        let width = self.in_features();
        assert!(x.len().is_multiple_of(width), "{} elements are no rows of {width}", x.len());
        let bias = self.bias.as_ref().map(Elements::of).transpose()?;
        let start = Start::new(None, bias.as_ref().map(Elements::f32).transpose()?);
        let (rows, x) = (x.len() / width.max(1), Strided::dense(x, width));
        Ok(match &self.weight {
            Weight::Packed(packed) => product(start, rows, &x, &**packed),
            Weight::Blocks(blocks) if phase == Phase::Decode && blocks.has_whole_rows() => {
                dots(start, x.elements, blocks)
            }
            Weight::Blocks(blocks) => product(start, rows, &x, &BlockColumns(blocks)),
        })
    }
}

/// The products of each row of `x` with each row of the blocks.
fn dots(start: Start<'_>, x: &[f32], blocks: &Quantized) -> Vec<f32> {
    let columns = BlockColumns(blocks);
    let (width, outputs) = (columns.rows(), columns.columns());
    let mut y = vec![0.0; x.len() / width * outputs];
    for (x, y) in x.chunks_exact(width).zip(y.chunks_exact_mut(outputs)) {
        y.par_chunks_mut(OUTPUTS).enumerate().for_each(|(part, y)| {
            for (index, y) in y.iter_mut().enumerate() {
                let output = part * OUTPUTS + index;
                let bias = if let Start::Bias(bias) = start { bias[output] } else { 0.0 };
                *y = bias + blocks.dot(output, x);
            }
        });
    }
    y
}

/// The rows of a matrix in blocks as the columns of a product.
struct BlockColumns<'a>(&'a Quantized);

impl Panels for BlockColumns<'_> {
    fn rows(&self) -> usize {
        self.0.shape().last().copied().unwrap_or(0)
    }

    fn columns(&self) -> usize {
        self.0.shape().first().copied().unwrap_or(0)
    }

    fn panel<'a>(&'a self, panel: usize, rows: Range<usize>, scratch: &'a mut Vec<f32>) -> &'a [f32] {
        let (width, length) = (self.rows(), rows.len());
        let size = length * LANES;
        // The numbers as they stand in the file, one column after the other, behind the panel that is made of them.
        if scratch.len() < 2 * size {
            scratch.resize(2 * size, 0.0);
        }
        let (lines, columns) = scratch[..2 * size].split_at_mut(size);
        let used = LANES.min(self.columns() - panel * LANES);
        for (column, numbers) in columns.chunks_exact_mut(length.max(1)).take(used).enumerate() {
            self.0.dequantise((panel * LANES + column) * width + rows.start, numbers);
        }
        columns[used * length..].fill(0.0);
        interleave(columns, lines);
        lines
    }
}

/// Writes the elements of sixteen columns, one column after the other, row by row.
fn interleave(columns: &[f32], lines: &mut [f32]) {
    let length = columns.len() / LANES;
    let mut block = [0.0; LANES * LANES];
    let (blocks, rest) = lines.as_chunks_mut::<{ LANES * LANES }>();
    for (index, lines) in blocks.iter_mut().enumerate() {
        for (column, part) in block.chunks_exact_mut(LANES).enumerate() {
            part.copy_from_slice(&columns[column * length + index * LANES..][..LANES]);
        }
        transpose(&block, lines);
    }
    let first = blocks.len() * LANES;
    for (row, line) in rest.chunks_exact_mut(LANES).enumerate() {
        line.iter_mut().enumerate().for_each(|(column, element)| *element = columns[column * length + first + row]);
    }
}

#[cfg(test)]
mod tests {
    use candle_core::Device;

    use super::*;
    use crate::check::noise;
    use crate::{BlockKind, SharedBytes};

    /// A matrix (40, 96) in blocks of 8 bits.
    fn blocks() -> Quantized {
        let kind = BlockKind::Q8_0;
        let scale = half::f16::from_f32(0.01).to_le_bytes();
        let block = |index: usize| {
            let numbers = (0..32).map(move |i| ((index * 37 + i * i * 11) % 251) as u8);
            scale.into_iter().chain(numbers)
        };
        let bytes: Vec<u8> = (0..40 * 96 / kind.elements()).flat_map(block).collect();
        let length = bytes.len();
        Quantized::new(kind, &[40, 96], SharedBytes::new(std::sync::Arc::new(bytes), 0..length).unwrap()).unwrap()
    }

    #[test]
    fn blocks_multiply_as_the_numbers_they_stand_for() {
        let weight = blocks();
        let mut numbers = vec![0.0; weight.len()];
        weight.dequantise(0, &mut numbers);
        let bias = noise(4, &[40]);
        let x: Vec<f32> = noise(5, &[9, 96]).flatten_all().unwrap().to_vec1().unwrap();
        let plain = Tensor::from_vec(numbers.clone(), (40, 96), &Device::Cpu).unwrap();
        let bias_elements: Vec<f32> = bias.to_vec1().unwrap();
        for projection in
            [Projection::from_quantized(&weight, Some(&bias)).unwrap(), Projection::new(&plain, Some(&bias)).unwrap()]
        {
            assert_eq!((projection.in_features(), projection.out_features()), (96, 40));
            for phase in [Phase::Prefill, Phase::Decode] {
                let y = projection.forward(&x, phase).unwrap();
                for (row, y) in y.chunks_exact(40).enumerate() {
                    for (column, y) in y.iter().enumerate() {
                        let pairs = x[row * 96..][..96].iter().zip(&numbers[column * 96..][..96]);
                        let sum: f64 = pairs.map(|(a, b)| f64::from(*a) * f64::from(*b)).sum();
                        let expected = sum + f64::from(bias_elements[column]);
                        assert!((f64::from(*y) - expected).abs() < 1e-4, "{row}, {column}: {y}, expected {expected}");
                    }
                }
                // Alone, a token is what it is among others.
                assert_eq!(projection.forward(&x[96..192], phase).unwrap(), y[40..80]);
            }
        }
    }
}
