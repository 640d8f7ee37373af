//! Weights as GGUF files have them: blocks of numbers with few bits and common scales, left where they lie.

use std::ops::Range;

use bytemuck::Zeroable;
use candle_core::{DType, Device, Tensor, WithDType};
use half::slice::HalfFloatSliceExt;
use half::{bf16, f16};
use rayon::prelude::*;

use crate::SharedBytes;
use crate::arithmetic::Arithmetic;
use crate::cpu::bf16::round_to_bf16;
use crate::cpu::blocks::{BlockKind, GROUP, dequantise_groups, dot, first_not_finite};
use crate::error::{Error, Result};

const OP: &str = "quantized";

/// A frozen weight (out, in) or (out, in, kernel, kernel) in blocks, which follow each other in the order of its axes whether or not rows end with
/// them. The bytes stay where they are; cloning is cheap.
///
/// [`Linear::from_quantized`](crate::Linear::from_quantized) and [`Conv2d::from_quantized`](crate::Conv2d::from_quantized) multiply with it.
#[derive(Debug, Clone)]
pub struct Quantized {
    kind: BlockKind,
    shape: Vec<usize>,
    /// Where the first number stands, counted from the first of `blocks`.
    first: usize,
    blocks: SharedBytes,
}

impl Quantized {
    /// A weight of this shape from its blocks.
    ///
    /// # Errors
    /// [`Error::Option`] if there are not as many bytes as the shape needs, or its last block would not be full.
    pub fn new(kind: BlockKind, shape: &[usize], blocks: SharedBytes) -> Result<Self> {
        let count = shape.iter().try_fold(1_usize, |count, &size| count.checked_mul(size));
        let bytes = count.filter(|count| count.is_multiple_of(kind.elements())).map(|count| count / kind.elements());
        let bytes = bytes.and_then(|blocks| blocks.checked_mul(kind.bytes()));
        if bytes != Some(blocks.len()) || shape.is_empty() {
            return Err(Error::Option {
                op: OP,
                what: "number of bytes",
                expected: format!(
                    "{} for every {} numbers of the shape {shape:?}, in whole blocks",
                    kind.bytes(),
                    kind.elements()
                ),
                found: blocks.len().to_string(),
            });
        }
        Ok(Self { kind, shape: shape.to_vec(), first: 0, blocks })
    }

    /// The type of its blocks.
    pub fn kind(&self) -> BlockKind {
        self.kind
    }

    /// The sizes of its axes.
    pub fn shape(&self) -> &[usize] {
        &self.shape
    }

    /// How many numbers it has.
    pub fn len(&self) -> usize {
        self.shape.iter().product()
    }

    /// Whether an axis is empty.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The same numbers under another shape of as many.
    ///
    /// # Errors
    /// [`Error::Shape`] if it has another number of them.
    pub fn reshape(&self, shape: &[usize]) -> Result<Self> {
        if shape.is_empty() || shape.iter().product::<usize>() != self.len() {
            let expected = format!("{} numbers as in {shape:?}", shape.iter().product::<usize>());
            return Err(Error::Shape { op: OP, what: "weight", expected, found: self.shape.clone() });
        }
        Ok(Self { shape: shape.to_vec(), ..self.clone() })
    }

    /// The rows `rows` along the first axis.
    ///
    /// # Panics
    /// If it has fewer.
    pub fn rows(&self, rows: Range<usize>) -> Self {
        assert!(rows.start <= rows.end && rows.end <= self.shape[0], "rows {rows:?} of {:?}", self.shape);
        let row = self.shape[1..].iter().product::<usize>();
        let mut shape = self.shape.clone();
        shape[0] = rows.len();
        Self { shape, first: self.first + rows.start * row, ..self.clone() }
    }

    /// The place of a number that is close before the first NaN or infinity, if there is one: a block's scales make all its numbers so.
    pub fn first_not_finite(&self) -> Option<usize> {
        const BLOCKS: usize = 1 << 12;
        let find = |(part, blocks): (usize, &[u8])| {
            first_not_finite(self.kind, blocks).map(|block| (part * BLOCKS + block) * self.kind.elements())
        };
        let place = self.blocks.par_chunks(BLOCKS * self.kind.bytes()).enumerate().filter_map(find).min();
        place.map(|place| place.saturating_sub(self.first))
    }

    /// Writes the numbers from `first` on, in the order of the axes, until `out` is full.
    ///
    /// # Panics
    /// If it has fewer.
    pub fn dequantise(&self, first: usize, out: &mut [f32]) {
        assert!(first + out.len() <= self.len(), "{} numbers from {first} on of {:?}", out.len(), self.shape);
        let first = self.first + first;
        // Up to the next group, whole groups, the beginning of the last.
        let head = (first.next_multiple_of(GROUP) - first).min(out.len());
        let (head, out) = out.split_at_mut(head);
        if !head.is_empty() {
            let mut group = [0.0; GROUP];
            self.groups(first / GROUP, &mut group);
            head.copy_from_slice(&group[first % GROUP..][..head.len()]);
        }
        let next = (first + head.len()) / GROUP;
        let (whole, tail) = out.split_at_mut(out.len() / GROUP * GROUP);
        self.groups(next, whole);
        if !tail.is_empty() {
            let mut group = [0.0; GROUP];
            self.groups(next + whole.len() / GROUP, &mut group);
            tail.copy_from_slice(&group[..tail.len()]);
        }
    }

    /// The numbers as a tensor of f32, f16 or bf16 on the CPU.
    ///
    /// # Errors
    /// [`Error::DType`] for another type.
    pub fn to_tensor(&self, dtype: DType) -> Result<Tensor> {
        match dtype {
            DType::F32 => self.converted(|numbers, out: &mut [f32]| out.copy_from_slice(numbers)),
            DType::F16 => self.converted(|numbers, out: &mut [f16]| out.convert_from_f32_slice(numbers)),
            DType::BF16 => {
                self.converted(|numbers, out: &mut [bf16]| round_to_bf16(numbers, out.reinterpret_cast_mut()))
            }
            found => Err(Error::DType { op: OP, what: "tensor", expected: "f32, f16 or bf16", found }),
        }
    }

    /// A tensor of what `narrow` writes of stretches of the numbers.
    fn converted<T: WithDType + Zeroable>(&self, narrow: impl Fn(&[f32], &mut [T]) + Sync) -> Result<Tensor> {
        /// Numbers at a time: they stay in the second-level cache.
        const STRETCH: usize = 1 << 14;
        let mut converted: Vec<T> = bytemuck::zeroed_vec(self.len());
        let stretches = converted.par_chunks_mut(STRETCH).enumerate();
        stretches.for_each_init(Vec::new, |wide, (part, converted)| {
            wide.resize(converted.len(), 0.0);
            self.dequantise(part * STRETCH, wide);
            narrow(wide, converted);
        });
        Ok(Tensor::from_vec(converted, self.shape(), &Device::Cpu)?)
    }

    /// How a layer of this weight multiplies: in bf16 where the processor has the instructions.
    pub(crate) fn arithmetic(&self) -> Arithmetic {
        Arithmetic::fastest()
    }

    /// The numbers as layers take them that multiply so.
    pub(crate) fn for_products(&self) -> candle_core::Result<Tensor> {
        let dtype = if self.arithmetic() == Arithmetic::Bf16 { DType::BF16 } else { DType::F32 };
        self.to_tensor(dtype).map_err(candle_core::Error::wrap)
    }

    /// Whether each row of the last axis has blocks of its own.
    pub(crate) fn has_whole_rows(&self) -> bool {
        let width = self.shape.last().copied().unwrap_or(0);
        width > 0 && width.is_multiple_of(self.kind.elements()) && self.first.is_multiple_of(self.kind.elements())
    }

    /// The product of a row, which has blocks of its own, with `x`.
    pub(crate) fn dot(&self, row: usize, x: &[f32]) -> f32 {
        let block = self.kind.elements();
        let first = (self.first + row * x.len()) / block * self.kind.bytes();
        dot(self.kind, &self.blocks[first..][..x.len() / block * self.kind.bytes()], x)
    }

    /// Writes whole groups, counted from the first block.
    fn groups(&self, first: usize, out: &mut [f32]) {
        if out.is_empty() {
            return;
        }
        let groups = self.kind.elements() / GROUP;
        let (block, group) = (first / groups, first % groups);
        dequantise_groups(self.kind, &self.blocks[block * self.kind.bytes()..], group, out);
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use candle_core::quantized::{GgmlDType, QTensor};
    use candle_core::{DType, Tensor};

    use super::Quantized;
    use crate::check::{assert_close, noise};
    use crate::cpu::blocks::BlockKind;
    use crate::{Conv2d, Conv2dOptions, Linear, Padding, SharedBytes, vjp};

    fn candles(kind: BlockKind) -> GgmlDType {
        match kind {
            BlockKind::Q4_0 => GgmlDType::Q4_0,
            BlockKind::Q4_1 => GgmlDType::Q4_1,
            BlockKind::Q5_0 => GgmlDType::Q5_0,
            BlockKind::Q5_1 => GgmlDType::Q5_1,
            BlockKind::Q8_0 => GgmlDType::Q8_0,
            BlockKind::Q2K => GgmlDType::Q2K,
            BlockKind::Q3K => GgmlDType::Q3K,
            BlockKind::Q4K => GgmlDType::Q4K,
            BlockKind::Q5K => GgmlDType::Q5K,
            BlockKind::Q6K => GgmlDType::Q6K,
        }
    }

    /// A weight of noise in blocks, and the numbers that it stands for by the tensor library's reading.
    fn quantised(kind: BlockKind, shape: &[usize]) -> (Quantized, Tensor) {
        let flat = noise(9, &[shape.iter().product()]);
        let blocks = QTensor::quantize(&flat, candles(kind)).unwrap();
        let bytes = blocks.data().unwrap().to_vec();
        let end = bytes.len();
        let bytes = SharedBytes::new(Arc::new(bytes), 0..end).unwrap();
        let expected = blocks.dequantize(flat.device()).unwrap().reshape(shape).unwrap();
        (Quantized::new(kind, shape, bytes).unwrap(), expected)
    }

    /// The type of the ordinary weights of a layer whose own are in blocks.
    fn multiplied_in() -> DType {
        quantised(BlockKind::Q8_0, &[32]).0.for_products().unwrap().dtype()
    }

    fn list(tensor: &Tensor) -> Vec<f32> {
        tensor.flatten_all().unwrap().to_vec1().unwrap()
    }

    #[test]
    fn numbers_are_the_tensor_librarys_from_any_place_on() {
        for kind in BlockKind::ALL {
            let (weight, expected) = quantised(kind, &[6, 128]);
            let expected = list(&expected);
            for (first, len) in [(0, 768), (0, 0), (5, 3), (16, 16), (31, 200), (250, 500), (767, 1)] {
                let mut found = vec![0.0; len];
                weight.dequantise(first, &mut found);
                assert_eq!(found, expected[first..first + len], "{kind:?}, {len} from {first} on");
            }
            let part = weight.rows(2..5);
            let mut found = vec![0.0; 130];
            part.dequantise(10, &mut found);
            assert_eq!((part.shape(), &found[..]), (&[3, 128][..], &expected[266..396]), "{kind:?}");
        }
    }

    #[test]
    fn linear_layers_multiply_as_with_the_numbers() {
        // Rows that end with blocks, that end within them, odd ones, and more than one panel and stretch.
        for (kind, out, inputs) in
            [(BlockKind::Q8_0, 37, 96), (BlockKind::Q4K, 64, 20), (BlockKind::Q5_0, 32, 33), (BlockKind::Q6K, 256, 301)]
        {
            let (weight, numbers) = quantised(kind, &[out, inputs]);
            let bias = noise(2, &[out]);
            let found = Linear::from_quantized(&weight, Some(&bias)).unwrap();
            let expected = Linear::new(&numbers.to_dtype(multiplied_in()).unwrap(), Some(&bias)).unwrap();
            let (x, cotangent) = (noise(3, &[5, inputs]), [Some(noise(4, &[5, out]))]);
            assert_close(&found.forward(&x).unwrap(), &expected.forward(&x).unwrap(), 0.0);
            let gradient = |layer: &Linear| {
                vjp(std::slice::from_ref(&x), |x| Ok(vec![layer.forward(&x[0])?]), &cotangent).unwrap().remove(0)
            };
            assert_close(&gradient(&found), &gradient(&expected), 0.0);
        }
    }

    #[test]
    fn convolutions_do_so_too() {
        for (kind, out, channels, kernel, stride) in [
            (BlockKind::Q4_0, 32, 5, 3, 1),
            (BlockKind::Q4K, 64, 36, 3, 2),
            (BlockKind::Q8_0, 40, 64, 1, 1),
            (BlockKind::Q3K, 128, 70, 2, 1),
        ] {
            let (weight, numbers) = quantised(kind, &[out, channels, kernel, kernel]);
            let options = Conv2dOptions { stride, padding: Padding::same(kernel / 2) };
            let found = Conv2d::from_quantized(&weight, None, options).unwrap();
            let expected = Conv2d::new(&numbers.to_dtype(multiplied_in()).unwrap(), None, options).unwrap();
            let x = noise(3, &[2, 7, 6, channels]);
            let y = expected.forward(&x).unwrap();
            assert_close(&found.forward(&x).unwrap(), &y, 0.0);
            let cotangent = [Some(noise(4, y.dims()))];
            let gradient = |layer: &Conv2d| {
                vjp(std::slice::from_ref(&x), |x| Ok(vec![layer.forward(&x[0])?]), &cotangent).unwrap().remove(0)
            };
            assert_close(&gradient(&found), &gradient(&expected), 0.0);
        }
    }

    #[test]
    fn scales_that_are_no_numbers_are_found() {
        let mut bytes = vec![0_u8; 3 * BlockKind::Q4K.bytes()];
        let weight = |bytes: &[u8]| {
            let shared = SharedBytes::new(Arc::new(bytes.to_vec()), 0..bytes.len()).unwrap();
            Quantized::new(BlockKind::Q4K, &[768], shared).unwrap()
        };
        assert_eq!(weight(&bytes).first_not_finite(), None);
        bytes[2 * BlockKind::Q4K.bytes() + 3] = 0x7C; // an infinite offset
        assert_eq!(weight(&bytes).first_not_finite(), Some(512));
    }

    #[test]
    fn bytes_and_shapes_have_to_fit() {
        let bytes = SharedBytes::new(Arc::new(vec![0_u8; 68]), 0..68).unwrap();
        assert!(Quantized::new(BlockKind::Q8_0, &[2, 32], bytes.clone()).is_ok());
        for shape in [&[2, 33][..], &[3, 32], &[], &[usize::MAX, 2]] {
            let error = Quantized::new(BlockKind::Q8_0, shape, bytes.clone()).unwrap_err().to_string();
            assert!(error.contains("number of bytes is 68, expected 34 for every 32 numbers"), "{error}");
        }
        let weight = Quantized::new(BlockKind::Q8_0, &[2, 32], bytes).unwrap();
        assert!(weight.reshape(&[65]).is_err());
        assert!(Linear::from_quantized(&weight.reshape(&[64]).unwrap(), None).is_err());
        assert!(Conv2d::from_quantized(&weight, None, Conv2dOptions::default()).is_err());
    }
}
