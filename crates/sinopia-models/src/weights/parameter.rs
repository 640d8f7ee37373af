//! A weight on its way into a layer.

use candle_core::Tensor;
use sinopia_nn::{Conv2d, Conv2dOptions, Linear, Quantized};

use crate::Result;

/// A matrix or kernel as a file has it: numbers, or blocks of quantised ones that stay in the file.
#[derive(Debug, Clone)]
pub enum Parameter {
    /// Numbers in memory.
    Tensor(Tensor),
    /// Numbers in memory that a layer quantises to 8 bits.
    Int8(Tensor),
    /// Blocks where they lie.
    Quantized(Quantized),
}

impl Parameter {
    /// A fully connected layer of this weight, (out, in), and perhaps a bias.
    ///
    /// # Errors
    /// If they do not fit each other.
    pub fn linear(&self, bias: Option<&Tensor>) -> Result<Linear> {
        Ok(match self {
            Self::Tensor(weight) => Linear::new(weight, bias)?,
            Self::Int8(weight) => Linear::int8(weight, bias)?,
            Self::Quantized(weight) => Linear::from_quantized(weight, bias)?,
        })
    }

    /// A convolution with this kernel, (out, in, kernel, kernel), and perhaps a bias.
    ///
    /// # Errors
    /// As [`Parameter::linear`].
    pub fn conv2d(&self, bias: Option<&Tensor>, options: Conv2dOptions) -> Result<Conv2d> {
        Ok(match self {
            Self::Tensor(weight) => Conv2d::new(weight, bias, options)?,
            Self::Int8(weight) => Conv2d::int8(weight, bias, options)?,
            Self::Quantized(weight) => Conv2d::from_quantized(weight, bias, options)?,
        })
    }
}
