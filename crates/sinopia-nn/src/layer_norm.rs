//! Layer normalisation over the last axis.

use candle_core::{D, Shape, Tensor};

use crate::cpu::elements::{Elements, Kernel1, apply1, tensor};
use crate::cpu::numeric::sum_of;
use crate::cpu::split::for_rows_mut;
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
        if x.device().is_cpu() {
            return Ok(apply1(self.clone(), x)?);
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

impl LayerNorm {
    /// Mean and inverse deviation of a row, both passes summed in f64.
    fn moments(&self, row: &[f32]) -> (f32, f32) {
        let count = row.len() as f64;
        let mean = (sum_of(row, row, |x, _| x) / count) as f32;
        let variance = sum_of(row, row, |x, _| (x - mean) * (x - mean)) / count;
        (mean, (1.0 / (variance + self.eps).sqrt()) as f32)
    }
}

impl Kernel1 for LayerNorm {
    const NAME: &'static str = OP;

    fn forward(&self, x: &[f32], shape: &Shape) -> candle_core::Result<(Vec<f32>, Shape)> {
        let (weight, bias) = (Elements::of(&self.weight)?, Elements::of(&self.bias)?);
        let (weight, bias) = (weight.f32()?, bias.f32()?);
        let channels = weight.len();
        let mut y = vec![0.0; x.len()];
        for_rows_mut(&mut y, channels, |first, y| {
            let x = &x[first * channels..][..y.len()];
            for (x, y) in x.chunks_exact(channels).zip(y.chunks_exact_mut(channels)) {
                let (mean, rstd) = self.moments(x);
                for ((y, x), (weight, bias)) in y.iter_mut().zip(x).zip(weight.iter().zip(bias)) {
                    *y = (x - mean) * rstd * weight + bias;
                }
            }
        });
        Ok((y, shape.clone()))
    }

    /// `∂x = rstd · (∂x̂ − mean(∂x̂) − x̂ · mean(∂x̂ · x̂))` with `∂x̂ = ∂y · weight`.
    fn backward(&self, x: &Tensor, _: &Tensor, grad: &Tensor) -> candle_core::Result<Tensor> {
        let (weight, x_in, grad) = (Elements::of(&self.weight)?, Elements::of(x)?, Elements::of(grad)?);
        let (weight, x_in, grad) = (weight.f32()?, x_in.f32()?, grad.f32()?);
        let channels = weight.len();
        let mut grad_x = vec![0.0; x_in.len()];
        for_rows_mut(&mut grad_x, channels, |first, grad_x| {
            let from = first * channels;
            let (x, grad) = (&x_in[from..][..grad_x.len()], &grad[from..][..grad_x.len()]);
            let rows = x.chunks_exact(channels).zip(grad.chunks_exact(channels));
            for ((x, grad), grad_x) in rows.zip(grad_x.chunks_exact_mut(channels)) {
                let (mean, rstd) = self.moments(x);
                for ((grad_x, grad), weight) in grad_x.iter_mut().zip(grad).zip(weight) {
                    *grad_x = grad * weight; // ∂x̂
                }
                let count = channels as f64;
                let mean_grad = (sum_of(grad_x, grad_x, |grad, _| grad) / count) as f32;
                let mean_product = (sum_of(grad_x, x, |grad, x| grad * ((x - mean) * rstd)) / count) as f32;
                for (grad_x, x) in grad_x.iter_mut().zip(x) {
                    *grad_x = rstd * (*grad_x - mean_grad - (x - mean) * rstd * mean_product);
                }
            }
        });
        tensor(grad_x, x.shape())
    }
}

#[cfg(test)]
mod tests {
    use super::LayerNorm;
    use crate::check::{assert_close, assert_gradient, noise};

    fn layer(channels: usize) -> LayerNorm {
        let weight = (noise(1, &[channels]) + 1.0).unwrap();
        LayerNorm::new(&weight, &noise(2, &[channels]), 1e-5).unwrap()
    }

    #[test]
    fn fast_equals_plain() {
        for shape in [&[1][..], &[3, 2], &[2, 7, 13], &[2, 3, 5, 64], &[111, 1003]] {
            let layer = layer(shape[shape.len() - 1]);
            let x = noise(3, shape);
            assert_close(&layer.forward(&x).unwrap(), &layer.plain(&x).unwrap(), 5e-6);
        }
    }

    #[test]
    fn gradient_matches_plain_and_finite_differences() {
        for shape in [&[3, 5][..], &[2, 7, 13], &[2, 3, 5, 64], &[111, 1003]] {
            let layer = layer(shape[shape.len() - 1]);
            assert_gradient(&[noise(3, shape)], |x| layer.forward(&x[0]), |x| layer.plain(&x[0]), 2e-5);
        }
    }

    #[test]
    fn a_large_mean_costs_no_accuracy() {
        let x = (noise(3, &[5, 640]) * 16.0).unwrap().round().unwrap();
        let moved = (&x + 4096.0).unwrap();
        let layer = layer(640);
        assert_close(&layer.forward(&moved).unwrap(), &layer.forward(&x).unwrap(), 1e-4);
    }

    #[test]
    fn wrong_shapes_are_named() {
        let error = layer(6).forward(&noise(1, &[2, 5])).unwrap_err();
        assert_eq!(error.to_string(), "layer_norm: input has shape [2, 5], expected […, 6]");
    }
}
