//! The tensors of a GGUF file, as the network multiplies with them.

use std::error::Error as Cause;
use std::io::{Read, Seek};
use std::sync::Arc;

use candle_core::quantized::{GgmlDType, QTensor};
use candle_core::{DType, Device, Tensor};
use sinopia_nn::decoder::{Projection, RmsNorm};
use sinopia_nn::{BlockKind, Quantized, SharedBytes};

use crate::error::{Error, Result};
use crate::file::Head;

/// Reads tensors by name. Each is refused if it has not the shape that is asked for.
pub(crate) struct Weights<'a, R> {
    head: &'a Head,
    reader: &'a mut R,
}

/// A matrix (out, in), in blocks as the file has them or as plain numbers.
pub(crate) enum Matrix {
    Blocks(Quantized),
    Plain(Tensor),
}

impl<'a, R: Read + Seek> Weights<'a, R> {
    pub(crate) fn new(head: &'a Head, reader: &'a mut R) -> Self {
        Self { head, reader }
    }

    pub(crate) fn has(&self, name: &str) -> bool {
        self.head.content.tensor_infos.contains_key(name)
    }

    /// The sizes of a tensor's axes.
    pub(crate) fn shape(&self, name: &str) -> Result<&[usize]> {
        let info = self.head.content.tensor_infos.get(name);
        info.map(|info| info.shape.dims()).ok_or_else(|| self.problem(format!("there is no tensor `{name}`")))
    }

    pub(crate) fn matrix(&mut self, name: &str, shape: [usize; 2]) -> Result<Matrix> {
        let tensor = self.tensor(name, &shape)?;
        let matrix = self.stored(tensor, &shape).map_err(|cause| self.unfit(cause))?;
        // Plain numbers that are not finite are seen in every answer; scales of blocks become large finite ones.
        if let Matrix::Blocks(blocks) = &matrix
            && let Some(place) = blocks.first_not_finite()
        {
            return Err(self.problem(format!("tensor `{name}` is damaged: a scale at element {place} is not finite")));
        }
        Ok(matrix)
    }

    /// A matrix with the bias beside it, if the file has one.
    pub(crate) fn projection(&mut self, name: &str, [out, width]: [usize; 2]) -> Result<Projection> {
        let matrix = self.matrix(&format!("{name}.weight"), [out, width])?;
        let bias = format!("{name}.bias");
        let bias = if self.has(&bias) { Some(self.plain(&bias, &[out])?) } else { None };
        matrix.projection(bias.as_ref()).map_err(|cause| self.unfit(cause))
    }

    pub(crate) fn vector(&mut self, name: &str, length: usize) -> Result<Vec<f32>> {
        let plain = self.plain(name, &[length])?;
        plain.to_vec1().map_err(|cause| self.unfit(cause))
    }

    /// A vector of finite numbers above 0.
    pub(crate) fn positive(&mut self, name: &str, length: usize) -> Result<Vec<f32>> {
        let vector = self.vector(name, length)?;
        match vector.iter().find(|number| !(**number > 0.0 && number.is_finite())) {
            Some(number) => Err(self.problem(format!("tensor `{name}` has {number}, expected numbers above 0"))),
            None => Ok(vector),
        }
    }

    pub(crate) fn norm(&mut self, name: &str, width: usize, eps: f32) -> Result<RmsNorm> {
        Ok(RmsNorm::new(self.vector(name, width)?, eps))
    }

    fn plain(&mut self, name: &str, shape: &[usize]) -> Result<Tensor> {
        let tensor = self.tensor(name, shape)?;
        tensor.dequantize(&Device::Cpu).map_err(|cause| self.unfit(cause))
    }

    fn tensor(&mut self, name: &str, shape: &[usize]) -> Result<QTensor> {
        let found = self.shape(name)?;
        if found != shape {
            return Err(self.problem(format!("tensor `{name}` has shape {found:?}, expected {shape:?}")));
        }
        let tensor = self.head.content.tensor(self.reader, name, &Device::Cpu);
        tensor.map_err(|cause| self.problem(format!("tensor `{name}`: {cause}")))
    }

    fn stored(&self, tensor: QTensor, shape: &[usize]) -> sinopia_nn::Result<Matrix> {
        let plain = |dtype| Tensor::from_raw_buffer(&tensor.data()?, dtype, shape, &Device::Cpu);
        Ok(match (block_kind(tensor.dtype()), tensor.dtype()) {
            (Some(kind), _) => {
                let bytes = tensor.data()?.into_owned();
                let length = bytes.len();
                match SharedBytes::new(Arc::new(bytes), 0..length) {
                    Some(blocks) => Matrix::Blocks(Quantized::new(kind, shape, blocks)?),
                    None => Matrix::Plain(tensor.dequantize(&Device::Cpu)?),
                }
            }
            (None, GgmlDType::F16) => Matrix::Plain(plain(DType::F16)?),
            (None, GgmlDType::BF16) => Matrix::Plain(plain(DType::BF16)?),
            (None, _) => Matrix::Plain(tensor.dequantize(&Device::Cpu)?),
        })
    }

    fn problem(&self, problem: String) -> Error {
        self.unfit(problem)
    }

    fn unfit(&self, source: impl Into<Box<dyn Cause + Send + Sync>>) -> Error {
        Error::Weights { origin: self.head.origin.clone(), source: source.into() }
    }
}

impl Matrix {
    pub(crate) fn projection(&self, bias: Option<&Tensor>) -> sinopia_nn::Result<Projection> {
        match self {
            Matrix::Blocks(blocks) => Projection::from_quantized(blocks, bias),
            Matrix::Plain(weight) => Projection::new(weight, bias),
        }
    }

    /// One row as plain numbers.
    pub(crate) fn row(&self, row: usize) -> sinopia_nn::Result<Vec<f32>> {
        match self {
            Matrix::Blocks(blocks) => {
                let width = blocks.shape().last().copied().unwrap_or(0);
                let mut numbers = vec![0.0; width];
                blocks.dequantise(row * width, &mut numbers);
                Ok(numbers)
            }
            Matrix::Plain(tensor) => Ok(tensor.get(row)?.to_dtype(DType::F32)?.to_vec1()?),
        }
    }
}

/// The kinds of blocks that matrices have in files.
fn block_kind(kind: GgmlDType) -> Option<BlockKind> {
    Some(match kind {
        GgmlDType::Q4_0 => BlockKind::Q4_0,
        GgmlDType::Q4_1 => BlockKind::Q4_1,
        GgmlDType::Q5_0 => BlockKind::Q5_0,
        GgmlDType::Q5_1 => BlockKind::Q5_1,
        GgmlDType::Q8_0 => BlockKind::Q8_0,
        GgmlDType::Q2K => BlockKind::Q2K,
        GgmlDType::Q3K => BlockKind::Q3K,
        GgmlDType::Q4K => BlockKind::Q4K,
        GgmlDType::Q5K => BlockKind::Q5K,
        GgmlDType::Q6K => BlockKind::Q6K,
        // The first three are plain numbers, the others are made while a model runs.
        GgmlDType::F32 | GgmlDType::F16 | GgmlDType::BF16 | GgmlDType::Q8_1 | GgmlDType::Q8K => return None,
    })
}
