//! Group normalisation of channels-last images.

use candle_core::Tensor;

use crate::activation::silu;
use crate::error::{Error, Result, expect_f32};
use crate::frozen::frozen_vector;

const OP: &str = "group_norm";

/// `y = (x − mean) / √(var + eps) · weight + bias`, with mean and biased variance over the pixels and channels of a group.
#[derive(Debug, Clone)]
pub struct GroupNorm {
    /// (C) f32.
    weight: Tensor,
    /// (C) f32.
    bias: Tensor,
    num_groups: usize,
    eps: f64,
}

impl GroupNorm {
    /// A layer from its scale and shift (C).
    ///
    /// # Errors
    /// [`Error::Shape`] if scale and shift are no vectors of one length, [`Error::Option`] if the groups do not divide it.
    pub fn new(weight: &Tensor, bias: &Tensor, num_groups: usize, eps: f64) -> Result<Self> {
        let channels = weight.elem_count();
        if num_groups == 0 || channels % num_groups != 0 {
            return Err(Error::Option {
                op: OP,
                what: "num_groups",
                expected: format!("a divisor of the {channels} channels"),
                found: num_groups.to_string(),
            });
        }
        Ok(Self {
            weight: frozen_vector(OP, "weight", weight, channels)?,
            bias: frozen_vector(OP, "bias", bias, channels)?,
            num_groups,
            eps,
        })
    }

    /// Normalises (B, H, W, C) or (B, HW, C).
    ///
    /// # Errors
    /// [`Error::Shape`] if `x` has no batch axis or not C channels.
    pub fn forward(&self, x: &Tensor) -> Result<Tensor> {
        self.check(x)?;
        self.plain(x)
    }

    /// [`Self::forward`] followed by SiLU, in one pass over the image.
    ///
    /// # Errors
    /// As [`Self::forward`].
    pub fn forward_silu(&self, x: &Tensor) -> Result<Tensor> {
        silu(&self.forward(x)?)
    }

    fn check(&self, x: &Tensor) -> Result<()> {
        expect_f32(OP, "input", x)?;
        let channels = self.weight.elem_count();
        if x.rank() < 2 || x.dims().last() != Some(&channels) {
            return Err(Error::shape(OP, "input", format!("[B, …, {channels}]"), x));
        }
        Ok(())
    }

    /// Composed from the tensor library's operations.
    fn plain(&self, x: &Tensor) -> Result<Tensor> {
        let channels = self.weight.elem_count();
        let group = channels / self.num_groups;
        let b = x.dim(0)?;
        let grouped = x.reshape((b, (), self.num_groups, group))?; // (B, HW, groups, C/groups)
        let mean = grouped.mean_keepdim(3)?.mean_keepdim(1)?;
        let centred = grouped.broadcast_sub(&mean)?;
        let variance = centred.sqr()?.mean_keepdim(3)?.mean_keepdim(1)?;
        let normal = centred.broadcast_div(&(variance + self.eps)?.sqrt()?)?;
        Ok(normal.reshape(x.shape())?.broadcast_mul(&self.weight)?.broadcast_add(&self.bias)?)
    }
}
