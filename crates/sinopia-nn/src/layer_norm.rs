//! Layer normalisation over the last axis.

use candle_core::{D, Tensor};

use crate::error::{Error, Result, expect_f32};
use crate::frozen::frozen_vector;

const OP: &str = "layer_norm";

/// `y = (x − mean) / √(var + eps) · weight + bias`, with mean and biased variance over the last axis.
#[derive(Debug, Clone)]
pub struct LayerNorm {
    /// (C) f32.
    weight: Tensor,
    /// (C) f32.
    bias: Tensor,
    eps: f64,
}

impl LayerNorm {
    /// A layer from its scale and shift (C).
    ///
    /// # Errors
    /// [`Error::Shape`] if scale and shift are no vectors of one length.
    pub fn new(weight: &Tensor, bias: &Tensor, eps: f64) -> Result<Self> {
        let channels = weight.elem_count();
        Ok(Self {
            weight: frozen_vector(OP, "weight", weight, channels)?,
            bias: frozen_vector(OP, "bias", bias, channels)?,
            eps,
        })
    }

    /// Normalises (…, C).
    ///
    /// # Errors
    /// [`Error::Shape`] if the last axis of `x` is not C.
    pub fn forward(&self, x: &Tensor) -> Result<Tensor> {
        expect_f32(OP, "input", x)?;
        let channels = self.weight.elem_count();
        if x.dims().last() != Some(&channels) {
            return Err(Error::shape(OP, "input", format!("[…, {channels}]"), x));
        }
        self.plain(x)
    }

    /// Composed from the tensor library's operations.
    fn plain(&self, x: &Tensor) -> Result<Tensor> {
        let centred = x.broadcast_sub(&x.mean_keepdim(D::Minus1)?)?;
        let variance = centred.sqr()?.mean_keepdim(D::Minus1)?;
        Ok(centred
            .broadcast_div(&(variance + self.eps)?.sqrt()?)?
            .broadcast_mul(&self.weight)?
            .broadcast_add(&self.bias)?)
    }
}
