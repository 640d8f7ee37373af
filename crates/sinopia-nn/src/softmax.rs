//! Softmax over the last axis.

use candle_core::{D, Shape, Tensor};

use crate::cpu::elements::{Elements, Kernel1, apply1, tensor};
use crate::cpu::numeric::{softmax, sum_of};
use crate::cpu::split::for_rows_mut;
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
    if x.device().is_cpu() {
        return Ok(apply1(Softmax, x)?);
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

/// [`softmax_last_dim`] as a CPU operation.
struct Softmax;

impl Kernel1 for Softmax {
    const NAME: &'static str = "softmax";

    fn forward(&self, x: &[f32], shape: &Shape) -> candle_core::Result<(Vec<f32>, Shape)> {
        let width = shape.dims().last().copied().unwrap_or(1).max(1);
        let mut y = vec![0.0; x.len()];
        for_rows_mut(&mut y, width, |first, y| {
            y.copy_from_slice(&x[first * width..][..y.len()]);
            y.chunks_exact_mut(width).for_each(softmax);
        });
        Ok((y, shape.clone()))
    }

    fn backward(&self, _: &Tensor, y: &Tensor, grad: &Tensor) -> candle_core::Result<Tensor> {
        let (y_in, grad) = (Elements::of(y)?, Elements::of(grad)?);
        let (y_in, grad) = (y_in.f32()?, grad.f32()?);
        let width = y.dim(D::Minus1)?.max(1);
        let mut grad_x = vec![0.0; y_in.len()];
        for_rows_mut(&mut grad_x, width, |first, grad_x| {
            let from = first * width;
            let (y, grad) = (&y_in[from..][..grad_x.len()], &grad[from..][..grad_x.len()]);
            let rows = y.chunks_exact(width).zip(grad.chunks_exact(width));
            for ((y, grad), grad_x) in rows.zip(grad_x.chunks_exact_mut(width)) {
                let mean = sum_of(y, grad, |y, grad| y * grad) as f32;
                for ((grad_x, y), grad) in grad_x.iter_mut().zip(y).zip(grad) {
                    *grad_x = y * (grad - mean);
                }
            }
        });
        tensor(grad_x, y.shape())
    }
}

#[cfg(test)]
mod tests {
    use candle_core::{Device, Tensor};

    use super::{plain, softmax_last_dim};
    use crate::check::{assert_close, assert_gradient, noise};

    #[test]
    fn fast_equals_plain_and_so_does_the_gradient() {
        for shape in [&[1][..], &[3, 5], &[2, 3, 77], &[1, 2, 3, 64], &[41, 1001]] {
            let x = (noise(1, shape) * 4.0).unwrap();
            assert_close(&softmax_last_dim(&x).unwrap(), &plain(&x).unwrap(), 1e-6);
            assert_gradient(&[x], |x| softmax_last_dim(&x[0]), |x| plain(&x[0]), 1e-5);
        }
    }

    #[test]
    fn transposed_rows_are_taken_as_they_look() {
        let x = noise(1, &[5, 4]).t().unwrap();
        assert_close(&softmax_last_dim(&x).unwrap(), &plain(&x.contiguous().unwrap()).unwrap(), 1e-6);
    }

    #[test]
    fn masked_elements_get_nothing() {
        let x = Tensor::new(&[[1.0_f32, f32::NEG_INFINITY, 1.0]], &Device::Cpu).unwrap();
        let y = softmax_last_dim(&x).unwrap().to_vec2::<f32>().unwrap();
        assert_eq!((y[0][0], y[0][2]), (0.5, 0.5));
        assert!(y[0][1] < 1e-37);
    }
}
