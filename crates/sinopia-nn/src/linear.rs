//! Fully connected layers with frozen weights.

use candle_core::{DType, Tensor};

use crate::error::{Error, Result, expect_f32};
use crate::frozen::{frozen, frozen_vector, with_input_gradient};

const OP: &str = "linear";

/// `y = x · Wᵀ + b` over the last axis; the weight is kept as checkpoints have it, (out, in).
///
/// The gradient of the input is `∂x = ∂y · W`; weight and bias never get one.
#[derive(Debug, Clone)]
pub struct Linear {
    /// (out, in), in the precision it came in.
    weight: Tensor,
    /// (out) f32.
    bias: Option<Tensor>,
    in_features: usize,
    out_features: usize,
}

impl Linear {
    /// A layer from its weight (out, in) in f32, f16 or bf16 and an optional bias (out).
    ///
    /// Half-precision weights stay at half the size in memory and are widened when used.
    ///
    /// # Errors
    /// [`Error::Shape`] if the weight is no matrix or the bias does not fit it.
    pub fn new(weight: &Tensor, bias: Option<&Tensor>) -> Result<Self> {
        let &[out_features, in_features] = weight.dims() else {
            return Err(Error::shape(OP, "weight", "[out, in]", weight));
        };
        Ok(Self {
            weight: frozen(OP, "weight", weight)?,
            bias: bias.map(|bias| frozen_vector(OP, "bias", bias, out_features)).transpose()?,
            in_features,
            out_features,
        })
    }

    /// The size of the input's last axis.
    pub fn in_features(&self) -> usize {
        self.in_features
    }

    /// The size of the output's last axis.
    pub fn out_features(&self) -> usize {
        self.out_features
    }

    /// Applies the layer: (…, in) f32 to (…, out).
    ///
    /// # Errors
    /// [`Error::Shape`] if the last axis of `x` is not `in`.
    pub fn forward(&self, x: &Tensor) -> Result<Tensor> {
        expect_f32(OP, "input", x)?;
        if x.dims().last() != Some(&self.in_features) {
            let expected = format!("[…, {}]", self.in_features);
            return Err(Error::shape(OP, "input", expected, x));
        }
        self.forward_composed(x)
    }

    /// The layer in the tensor library's own operations, for devices other than the CPU.
    fn forward_composed(&self, x: &Tensor) -> Result<Tensor> {
        let y = plain(&x.detach(), &self.weight, self.bias.as_ref())?;
        let weight = self.weight.clone();
        with_input_gradient(OP, x, y, move |grad| plain(grad, &weight.t()?, None))
    }
}

/// `x · Wᵀ + b` composed from the tensor library's operations.
fn plain(x: &Tensor, weight: &Tensor, bias: Option<&Tensor>) -> Result<Tensor> {
    let (out_features, in_features) = weight.dims2()?;
    let mut shape = x.dims().to_vec();
    shape.pop();
    shape.push(out_features);
    let rows = x.reshape(((), in_features))?;
    let y = rows.matmul(&weight.to_dtype(DType::F32)?.t()?)?;
    let y = match bias {
        Some(bias) => y.broadcast_add(bias)?,
        None => y,
    };
    Ok(y.reshape(shape)?)
}
