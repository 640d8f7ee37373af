//! Group normalisation of channels-last images.

use std::mem::MaybeUninit;
use std::ops::Range;

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

    /// Mean and deviation of every group of one image on the CPU, (1, H, W, C), whose rows are given in parts. They are the bits of the whole
    /// image, however it is cut.
    ///
    /// # Errors
    /// As [`Self::forward`] for each part; for a part of more than one image, and for one on another device.
    pub fn moments(&self, parts: &[&Tensor]) -> Result<Moments> {
        for part in parts {
            self.check(part)?;
            if part.dims()[0] != 1 {
                return Err(Error::shape(OP, "part", "[1, H, W, C]", part));
            }
        }
        let parts = parts.iter().map(|part| Ok(part.contiguous()?)).collect::<Result<Vec<_>>>()?;
        let parts = parts.iter().map(Elements::of).collect::<candle_core::Result<Vec<_>>>()?;
        let parts = parts.iter().map(Elements::f32).collect::<candle_core::Result<Vec<_>>>()?;
        Ok(Moments(Normalise { layer: self.clone(), silu: true }.statistics(&parts)))
    }

    /// [`Self::forward_silu`] of a part of the image that [`Self::moments`] has seen, without a gradient.
    ///
    /// # Errors
    /// As [`Self::forward`], and for a part on another device than the CPU.
    #[expect(unsafe_code, reason = "a result that is written once")]
    pub fn normalise_silu(&self, part: &Tensor, moments: &Moments) -> Result<Tensor> {
        self.check(part)?;
        let part = part.contiguous()?;
        let (x, bias) = (Elements::of(&part)?, Elements::of(&self.bias)?);
        let (x, bias) = (x.f32()?, bias.f32()?);
        let scale = moments.0.scale(Elements::of(&self.weight)?.f32()?);
        let write = |y: &mut [MaybeUninit<f32>]| Normalise::write(true, x, y, [&moments.0.mean, &scale, bias]);
        // SAFETY: a checked part is whole rows of C elements, and as long as `y`.
        let y = unsafe { written(x.len(), write) };
        Ok(tensor(y, part.shape())?)
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

/// What [`GroupNorm::moments`] found.
#[derive(Debug, Clone)]
pub struct Moments(Statistics);

/// Per-channel numbers of one sample, such that `x̂ = (x − mean) · rstd`.
#[derive(Debug, Clone)]
struct Statistics {
    mean: Vec<f32>,
    rstd: Vec<f32>,
}

impl Statistics {
    /// What `x − mean` is multiplied by.
    fn scale(&self, weight: &[f32]) -> Vec<f32> {
        self.rstd.iter().zip(weight).map(|(rstd, weight)| rstd * weight).collect()
    }
}

/// Per-channel numbers that turn `x` and `∂y` into `x̂` and `∂x̂`, (C) each.
#[derive(Clone, Copy)]
struct Channels<'a> {
    mean: &'a [f32],
    rstd: &'a [f32],
    weight: &'a [f32],
    bias: &'a [f32],
}

impl Channels<'_> {
    /// `x̂` and `∂x̂ = ∂z · weight` of each element of a row, where `∂z = ∂y · silu′(z)` if SiLU follows.
    #[inline(always)]
    fn normals_and_grads<const SILU: bool>(self, x: &[f32], grad: &[f32], mut f: impl FnMut(usize, f32, f32)) {
        let len = self.mean.len();
        let (rstd, weight, bias) = (&self.rstd[..len], &self.weight[..len], &self.bias[..len]);
        let (x, grad) = (&x[..len], &grad[..len]);
        for channel in 0..len {
            let normal = (x[channel] - self.mean[channel]) * rstd[channel];
            let grad = match SILU {
                false => grad[channel] * weight[channel],
                true => {
                    let z = normal * weight[channel] + bias[channel];
                    let s = sigmoid(z);
                    grad[channel] * s * (1.0 + z * (1.0 - s)) * weight[channel]
                }
            };
            f(channel, normal, grad);
        }
    }

    /// `∂x̂` and `∂x̂ · x̂` of rows, added up for every channel.
    #[inline(always)]
    fn add_sums<const SILU: bool>(self, x: &[f32], grad: &[f32], [grads, products]: [&mut [f64]; 2]) {
        let channels = self.mean.len();
        let (grads, products) = (&mut grads[..channels], &mut products[..channels]);
        for (x, grad) in x.chunks_exact(channels).zip(grad.chunks_exact(channels)) {
            self.normals_and_grads::<SILU>(x, grad, |channel, normal, grad| {
                grads[channel] += f64::from(grad);
                products[channel] += f64::from(grad * normal);
            });
        }
    }

    /// `∂x` of rows from the means over their groups.
    #[inline(always)]
    fn write_gradient<const SILU: bool>(self, x: &[f32], grad: &[f32], means: Means<'_>, grad_x: &mut [f32]) {
        let channels = self.mean.len();
        let (of_grads, of_products) = (&means.of_grads[..channels], &means.of_products[..channels]);
        let rstd = &self.rstd[..channels];
        let rows = x.chunks_exact(channels).zip(grad.chunks_exact(channels));
        for ((x, grad), grad_x) in rows.zip(grad_x.chunks_exact_mut(channels)) {
            self.normals_and_grads::<SILU>(x, grad, |channel, normal, grad| {
                grad_x[channel] = rstd[channel] * (grad - of_grads[channel] - normal * of_products[channel]);
            });
        }
    }
}

/// `mean(∂x̂)` and `mean(∂x̂ · x̂)` over the group of each channel, (C) each.
#[derive(Clone, Copy)]
struct Means<'a> {
    of_grads: &'a [f32],
    of_products: &'a [f32],
}

for_each_isa! {
    /// Rows of C elements and their squares, added up for every channel.
    fn add_moments(x: &[f32], sums: &mut [f64], squares: &mut [f64]) {
        let channels = sums.len();
        let squares = &mut squares[..channels];
        for x in x.chunks_exact(channels) {
            for channel in 0..channels {
                let x = f64::from(x[channel]);
                sums[channel] += x;
                squares[channel] += x * x;
            }
        }
    }
}

for_each_isa! {
    /// [`Channels::add_sums`], without SiLU.
    fn add_sums(channels: Channels<'_>, x: &[f32], grad: &[f32], sums: [&mut [f64]; 2]) {
        channels.add_sums::<false>(x, grad, sums);
    }
}

for_each_isa! {
    /// [`Channels::add_sums`], with SiLU.
    fn add_sums_silu(channels: Channels<'_>, x: &[f32], grad: &[f32], sums: [&mut [f64]; 2]) {
        channels.add_sums::<true>(x, grad, sums);
    }
}

for_each_isa! {
    /// [`Channels::write_gradient`], without SiLU.
    fn write_gradient(channels: Channels<'_>, x: &[f32], grad: &[f32], means: Means<'_>, grad_x: &mut [f32]) {
        channels.write_gradient::<false>(x, grad, means, grad_x);
    }
}

for_each_isa! {
    /// [`Channels::write_gradient`], with SiLU.
    fn write_gradient_silu(channels: Channels<'_>, x: &[f32], grad: &[f32], means: Means<'_>, grad_x: &mut [f32]) {
        channels.write_gradient::<true>(x, grad, means, grad_x);
    }
}

/// What normal values are multiplied by and moved to, one of each a channel.
struct Affine<'a> {
    weight: &'a [f32],
    bias: &'a [f32],
}

impl Normalise {
    /// Two sums over the pixels of a sample (HW, C) for every channel, collected in f64 by `add(first, second, elements)` for pieces of whole
    /// pixels, then added up over each group and handed back to its channels.
    fn group_sums(
        &self,
        rows: usize,
        add: impl Fn(&mut [f64], &mut [f64], Range<usize>) + Send + Sync,
    ) -> Vec<[f64; 2]> {
        let channels = self.layer.weight.elem_count();
        let piece = piece_rows(channels);
        let pieces = map(rows.div_ceil(piece), rows * channels, |index| {
            let (mut first, mut second) = (vec![0.0; channels], vec![0.0; channels]);
            add(&mut first, &mut second, index * piece * channels..rows.min((index + 1) * piece) * channels);
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

    /// Mean and inverse deviation of a sample (HW, C) in parts, one after the other. Squares are summed in f64, where nothing is lost for any image.
    fn statistics(&self, parts: &[&[f32]]) -> Statistics {
        let channels = self.layer.weight.elem_count();
        let len: usize = parts.iter().map(|part| part.len()).sum();
        let count = (len / self.layer.num_groups) as f64;
        let sums = self.group_sums(len / channels, |sums, squares, wanted| {
            let mut start = 0;
            for part in parts {
                let end = start + part.len();
                let (from, to) = (wanted.start.max(start), wanted.end.min(end));
                if from < to {
                    add_moments(&part[from - start..to - start], sums, squares);
                }
                start = end;
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
        let statistics = self.statistics(&[sample]);
        Self::write(self.silu, sample, y, [&statistics.mean, &statistics.scale(weight), bias]);
    }

    /// `(x − mean) · scale + bias`, then SiLU if asked, of rows (HW, C): all of `y` is written.
    fn write(silu: bool, x: &[f32], y: &mut [MaybeUninit<f32>], parameters: [&[f32]; 3]) {
        let channels = parameters[0].len();
        for_rows_mut(y, channels, |first, y| {
            let x = &x[first * channels..][..y.len()];
            for (x, y) in x.chunks_exact(channels).zip(y.chunks_exact_mut(channels)) {
                match silu {
                    true => normalise_row_silu(x, parameters, y),
                    false => normalise_row(x, parameters, y),
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
        let Statistics { mean, rstd } = self.statistics(&[sample]);
        let parameters = Channels { mean: &mean, rstd: &rstd, weight, bias };
        let sums = self.group_sums(sample.len() / channels, |grads, products, part| {
            let (x, grad) = (&sample[part.clone()], &grad[part]);
            match SILU {
                true => add_sums_silu(parameters, x, grad, [grads, products]),
                false => add_sums(parameters, x, grad, [grads, products]),
            }
        });
        let (of_grads, of_products): (Vec<f32>, Vec<f32>) =
            sums.iter().map(|[grads, products]| ((grads / count) as f32, (products / count) as f32)).unzip();
        let means = Means { of_grads: &of_grads, of_products: &of_products };
        for_rows_mut(grad_x, channels, |first, grad_x| {
            let part = first * channels..first * channels + grad_x.len();
            let (x, grad) = (&sample[part.clone()], &grad[part]);
            match SILU {
                true => write_gradient_silu(parameters, x, grad, means, grad_x),
                false => write_gradient(parameters, x, grad, means, grad_x),
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
    use candle_core::{DType, Tensor};

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
    fn parts_of_an_image_are_normalised_as_the_whole() {
        let layer = layer(24, 8);
        let x = noise(3, &[1, 50, 41, 24]);
        let whole = layer.forward_silu(&x).unwrap();
        for cuts in [&[0, 50][..], &[0, 1, 17, 50], &[0, 16, 32, 48, 50]] {
            let parts: Vec<_> = cuts.windows(2).map(|cut| x.narrow(1, cut[0], cut[1] - cut[0]).unwrap()).collect();
            let moments = layer.moments(&parts.iter().collect::<Vec<_>>()).unwrap();
            let found: Vec<_> = parts.iter().map(|part| layer.normalise_silu(part, &moments).unwrap()).collect();
            assert_close(&Tensor::cat(&found, 1).unwrap(), &whole, 0.0);
        }
        let error = layer.moments(&[&noise(1, &[2, 5, 24])]).unwrap_err();
        assert_eq!(error.to_string(), "group_norm: part has shape [2, 5, 24], expected [1, H, W, C]");
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
