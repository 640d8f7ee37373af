//! Group normalisation of channels-last images.

use std::mem::MaybeUninit;

use candle_core::{Shape, Tensor};

use crate::activation::silu;
use crate::cpu::elements::{Elements, Kernel1, apply1, tensor, written};
use crate::cpu::isa::for_each_isa;
use crate::cpu::numeric::sigmoid;
use crate::cpu::split::{for_rows_mut, map, piece_rows};
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
        if num_groups == 0 || !channels.is_multiple_of(num_groups) {
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
        if x.device().is_cpu() {
            return Ok(apply1(Normalise { layer: self.clone(), silu: false }, x)?);
        }
        self.plain(x)
    }

    /// [`Self::forward`] followed by SiLU, in one pass over the image.
    ///
    /// # Errors
    /// As [`Self::forward`].
    pub fn forward_silu(&self, x: &Tensor) -> Result<Tensor> {
        self.check(x)?;
        if x.device().is_cpu() {
            return Ok(apply1(Normalise { layer: self.clone(), silu: true }, x)?);
        }
        silu(&self.plain(x)?)
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

/// The layer as a CPU operation, with or without SiLU behind it.
struct Normalise {
    layer: GroupNorm,
    silu: bool,
}

/// Per-channel numbers of one sample, such that `x̂ = (x − mean) · rstd`.
struct Statistics {
    mean: Vec<f32>,
    rstd: Vec<f32>,
}

/// What turns `x` and `∂y` of a channel into `x̂` and `∂x̂`.
#[derive(Clone, Copy)]
struct Channel {
    mean: f32,
    rstd: f32,
    weight: f32,
    bias: f32,
}

impl Channel {
    /// `x̂` and `∂x̂ = ∂z · weight`, where `∂z = ∂y · silu′(z)` if SiLU follows.
    #[inline(always)]
    fn normal_and_grad<const SILU: bool>(self, x: f32, grad: f32) -> (f32, f32) {
        let normal = (x - self.mean) * self.rstd;
        if !SILU {
            return (normal, grad * self.weight);
        }
        let z = normal * self.weight + self.bias;
        let s = sigmoid(z);
        (normal, grad * s * (1.0 + z * (1.0 - s)) * self.weight)
    }
}

/// What normal values are multiplied by and moved to, one of each a channel.
struct Affine<'a> {
    weight: &'a [f32],
    bias: &'a [f32],
}

impl Normalise {
    /// Two sums over the pixels of a sample (HW, C) for every channel, collected in f64 by `add(first, second, row)`, then
    /// added up over each group and handed back to its channels.
    fn group_sums(&self, rows: usize, add: impl Fn(&mut [f64], &mut [f64], usize) + Send + Sync) -> Vec<[f64; 2]> {
        let channels = self.layer.weight.elem_count();
        let piece = piece_rows(channels);
        let pieces = map(rows.div_ceil(piece), rows * channels, |index| {
            let (mut first, mut second) = (vec![0.0; channels], vec![0.0; channels]);
            for row in index * piece..rows.min((index + 1) * piece) {
                add(&mut first, &mut second, row);
            }
            (first, second)
        });
        let group = channels / self.layer.num_groups;
        let mut sums = vec![[0.0; 2]; self.layer.num_groups];
        for (first, second) in &pieces {
            let groups = first.chunks_exact(group).zip(second.chunks_exact(group));
            for (sum, (first, second)) in sums.iter_mut().zip(groups) {
                sum[0] += first.iter().sum::<f64>();
                sum[1] += second.iter().sum::<f64>();
            }
        }
        (0..channels).map(|channel| sums[channel / group]).collect()
    }

    /// Mean and inverse deviation of a sample (HW, C). Squares are summed in f64, where nothing is lost for any image.
    fn statistics(&self, sample: &[f32]) -> Statistics {
        let channels = self.layer.weight.elem_count();
        let count = (sample.len() / self.layer.num_groups) as f64;
        let sums = self.group_sums(sample.len() / channels, |sums, squares, row| {
            let x = &sample[row * channels..][..channels];
            for ((sum, square), &x) in sums.iter_mut().zip(squares).zip(x) {
                let x = f64::from(x);
                *sum += x;
                *square += x * x;
            }
        });
        let moments = sums.iter().map(|[sum, squares]| {
            let mean = sum / count;
            let variance = (squares / count - mean * mean).max(0.0);
            (mean as f32, (1.0 / (variance + self.layer.eps).sqrt()) as f32)
        });
        let (mean, rstd) = moments.unzip();
        Statistics { mean, rstd }
    }

    /// `y = x̂ · weight + bias`, then SiLU if asked.
    fn apply(&self, sample: &[f32], y: &mut [MaybeUninit<f32>], weight: &[f32], bias: &[f32]) {
        let channels = weight.len();
        let Statistics { mean, rstd } = self.statistics(sample);
        let scale: Vec<f32> = rstd.iter().zip(weight).map(|(rstd, weight)| rstd * weight).collect();
        for_rows_mut(y, channels, |first, y| {
            let x = &sample[first * channels..][..y.len()];
            for (x, y) in x.chunks_exact(channels).zip(y.chunks_exact_mut(channels)) {
                match self.silu {
                    true => normalise_row_silu(x, [&mean, &scale, bias], y),
                    false => normalise_row(x, [&mean, &scale, bias], y),
                }
            }
        });
    }

    /// `∂x = rstd · (∂x̂ − mean(∂x̂) − x̂ · mean(∂x̂ · x̂))`, means over the group.
    fn apply_gradient<const SILU: bool>(
        &self,
        sample: &[f32],
        grad: &[f32],
        grad_x: &mut [f32],
        Affine { weight, bias }: Affine<'_>,
    ) {
        let channels = weight.len();
        let count = (sample.len() / self.layer.num_groups) as f64;
        let Statistics { mean, rstd } = self.statistics(sample);
        let parameters: Vec<Channel> = (mean.iter().zip(&rstd).zip(weight.iter().zip(bias)))
            .map(|((&mean, &rstd), (&weight, &bias))| Channel { mean, rstd, weight, bias })
            .collect();
        let sums = self.group_sums(sample.len() / channels, |grads, products, row| {
            let row = row * channels..(row + 1) * channels;
            let elements = sample[row.clone()].iter().zip(&grad[row]).zip(&parameters);
            for ((sum, product), ((&x, &grad), channel)) in grads.iter_mut().zip(products).zip(elements) {
                let (normal, grad) = channel.normal_and_grad::<SILU>(x, grad);
                *sum += f64::from(grad);
                *product += f64::from(grad * normal);
            }
        });
        let means: Vec<[f32; 2]> = sums.iter().map(|sum| sum.map(|sum| (sum / count) as f32)).collect();
        for_rows_mut(grad_x, channels, |first, grad_x| {
            let from = first * channels;
            let (x, grad) = (&sample[from..][..grad_x.len()], &grad[from..][..grad_x.len()]);
            let rows = x.chunks_exact(channels).zip(grad.chunks_exact(channels));
            for ((x, grad), grad_x) in rows.zip(grad_x.chunks_exact_mut(channels)) {
                let elements = x.iter().zip(grad).zip(parameters.iter().zip(&means));
                for (grad_x, ((&x, &grad), (channel, [mean_grad, mean_product]))) in grad_x.iter_mut().zip(elements) {
                    let (normal, grad) = channel.normal_and_grad::<SILU>(x, grad);
                    *grad_x = channel.rstd * (grad - mean_grad - normal * mean_product);
                }
            }
        });
    }
}

for_each_isa! {
    /// `(x − mean) · scale + bias`, each with its own of every channel. All of `y` is written.
    fn normalise_row(x: &[f32], parameters: [&[f32]; 3], y: &mut [MaybeUninit<f32>]) {
        let [mean, scale, bias] = parameters;
        for ((y, &x), ((mean, scale), bias)) in y.iter_mut().zip(x).zip(mean.iter().zip(scale).zip(bias)) {
            y.write((x - mean) * scale + bias);
        }
    }
}

for_each_isa! {
    /// [`normalise_row`], then SiLU.
    fn normalise_row_silu(x: &[f32], parameters: [&[f32]; 3], y: &mut [MaybeUninit<f32>]) {
        let [mean, scale, bias] = parameters;
        for ((y, &x), ((mean, scale), bias)) in y.iter_mut().zip(x).zip(mean.iter().zip(scale).zip(bias)) {
            let z = (x - mean) * scale + bias;
            y.write(z * sigmoid(z));
        }
    }
}

impl Kernel1 for Normalise {
    const NAME: &'static str = OP;

    #[expect(unsafe_code, reason = "a result that is written once")]
    fn forward(&self, x: &[f32], shape: &Shape) -> candle_core::Result<(Vec<f32>, Shape)> {
        let (weight, bias) = (Elements::of(&self.layer.weight)?, Elements::of(&self.layer.bias)?);
        let (weight, bias) = (weight.f32()?, bias.f32()?);
        let sample = (x.len() / shape.dims()[0].max(1)).max(1);
        let write = |y: &mut [MaybeUninit<f32>]| {
            for (x, y) in x.chunks_exact(sample).zip(y.chunks_exact_mut(sample)) {
                self.apply(x, y, weight, bias);
            }
        };
        // SAFETY: samples are whole rows of C elements, and together they are all of `x`, as long as `y`.
        let y = unsafe { written(x.len(), write) };
        Ok((y, shape.clone()))
    }

    fn backward(&self, x: &Tensor, _: &Tensor, grad: &Tensor) -> candle_core::Result<Tensor> {
        let (weight, bias) = (Elements::of(&self.layer.weight)?, Elements::of(&self.layer.bias)?);
        let (x_in, grad) = (Elements::of(x)?, Elements::of(grad)?);
        let (x_in, grad) = (x_in.f32()?, grad.f32()?);
        let mut grad_x = vec![0.0; x_in.len()];
        let sample = (x_in.len() / x.dim(0)?.max(1)).max(1);
        let samples = x_in.chunks_exact(sample).zip(grad.chunks_exact(sample));
        for ((x, grad), grad_x) in samples.zip(grad_x.chunks_exact_mut(sample)) {
            let parameters = Affine { weight: weight.f32()?, bias: bias.f32()? };
            match self.silu {
                true => self.apply_gradient::<true>(x, grad, grad_x, parameters),
                false => self.apply_gradient::<false>(x, grad, grad_x, parameters),
            }
        }
        tensor(grad_x, x.shape())
    }
}

#[cfg(test)]
mod tests {
    use candle_core::DType;

    use super::GroupNorm;
    use crate::activation::silu;
    use crate::check::{assert_close, assert_gradient, noise};
    use crate::error::Error;

    fn layer(channels: usize, num_groups: usize) -> GroupNorm {
        let weight = (noise(1, &[channels]) + 1.0).unwrap();
        GroupNorm::new(&weight, &noise(2, &[channels]), num_groups, 1e-5).unwrap()
    }

    const SHAPES: [(&[usize], usize); 6] = [
        (&[1, 1, 1, 2], 1),
        (&[2, 3, 5, 12], 4),
        (&[2, 15, 12], 12),
        (&[1, 6, 6, 6], 3),
        (&[3, 7, 9, 21], 7),
        // Several pieces of work for each sample.
        (&[2, 50, 41, 24], 8),
    ];

    #[test]
    fn fast_equals_plain() {
        for (shape, num_groups) in SHAPES {
            let layer = layer(shape[shape.len() - 1], num_groups);
            let x = noise(3, shape);
            let plain = layer.plain(&x).unwrap();
            assert_close(&layer.forward(&x).unwrap(), &plain, 5e-6);
            assert_close(&layer.forward_silu(&x).unwrap(), &silu(&plain).unwrap(), 5e-6);
        }
    }

    #[test]
    fn gradient_matches_plain_and_finite_differences() {
        for (shape, num_groups) in &SHAPES[1..] {
            let layer = layer(shape[shape.len() - 1], *num_groups);
            let x = [noise(3, shape)];
            assert_gradient(&x, |x| layer.forward(&x[0]), |x| layer.plain(&x[0]), 2e-5);
            let plain = |x: &[_]| Ok(layer.plain(&x[0])?.silu()?);
            assert_gradient(&x, |x| layer.forward_silu(&x[0]), plain, 2e-5);
        }
    }

    #[test]
    fn a_large_mean_costs_no_accuracy() {
        // Integers and a power of two: exact in f32 whatever is added.
        let x = (noise(3, &[1, 64, 64, 8]) * 16.0).unwrap().round().unwrap();
        let moved = (&x + 4096.0).unwrap();
        let layer = layer(8, 2);
        assert_close(&layer.forward(&moved).unwrap(), &layer.forward(&x).unwrap(), 1e-5);
    }

    #[test]
    fn samples_do_not_mix() {
        let layer = layer(6, 3);
        let x = noise(3, &[2, 5, 6]);
        let second = x.narrow(0, 1, 1).unwrap();
        let found = layer.forward(&x).unwrap().narrow(0, 1, 1).unwrap().contiguous().unwrap();
        assert_close(&found, &layer.forward(&second).unwrap(), 0.0);
    }

    #[test]
    fn wrong_shapes_are_named() {
        let error = layer(6, 3).forward(&noise(1, &[2, 5, 4])).unwrap_err();
        assert_eq!(error.to_string(), "group_norm: input has shape [2, 5, 4], expected [B, …, 6]");
        let error = GroupNorm::new(&noise(1, &[6]), &noise(1, &[6]), 4, 1e-5).unwrap_err();
        assert_eq!(error.to_string(), "group_norm: num_groups is 4, expected a divisor of the 6 channels");
        let half = noise(1, &[6]).to_dtype(DType::BF16).unwrap();
        assert!(GroupNorm::new(&half, &half, 3, 1e-5).is_ok());
        assert!(matches!(GroupNorm::new(&half, &noise(1, &[5]), 3, 1e-5), Err(Error::Shape { .. })));
    }
}
