//! Softmax over the last axis.

use candle_core::{D, Tensor};

use crate::error::{Error, Result, expect_f32};

/// `y_i = exp(x_i − max x) / Σ_j exp(x_j − max x)` over the last axis; `∂x = y · (∂y − Σ ∂y·y)`.
///
/// # Errors
/// [`Error::Shape`] for a scalar.
pub fn softmax_last_dim(x: &Tensor) -> Result<Tensor> {
    expect_f32("softmax", "input", x)?;
    if x.rank() == 0 {
        return Err(Error::shape("softmax", "input", "[…, N]", x));
    }
    plain(x)
}

/// Composed from the tensor library's operations.
pub(crate) fn plain(x: &Tensor) -> Result<Tensor> {
    // The maximum cancels in the quotient, so it takes no part in the gradient.
    let max = x.detach().max_keepdim(D::Minus1)?;
    let exp = x.broadcast_sub(&max)?.exp()?;
    Ok(exp.broadcast_div(&exp.sum_keepdim(D::Minus1)?)?)
}
