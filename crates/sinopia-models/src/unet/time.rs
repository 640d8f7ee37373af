//! How a UNet is conditioned on the noise level, and on what is added to it: pooled text states and sizes of the picture.

use candle_core::{Device, Tensor};
use sinopia_nn::{Linear, activation};

use super::config::{AddedSizes, NUM_TIME_IDS};
use super::{AddedConditioning, UNetConfig};
use crate::layers::linear;
use crate::{Result, Weights};

/// The slowest wave of the embedding has this period over 2π.
const MAX_PERIOD: f64 = 10_000.0;

/// `linear_2(silu(linear_1(waves(t))))`: diffusers' `Timesteps` and `TimestepEmbedding`; to which a second such embedding of pooled text states and
/// numbers is added in Stable Diffusion XL, diffusers' `add_embedding`.
#[derive(Debug, Clone)]
pub(super) struct TimeEmbedding {
    of_timestep: Embedding,
    added: Option<Added>,
    width: usize,
    flip_sin_to_cos: bool,
    freq_shift: f64,
}

/// Two layers.
#[derive(Debug, Clone)]
struct Embedding {
    linear_1: Linear,
    linear_2: Linear,
}

/// What is added, and its sizes.
#[derive(Debug, Clone)]
struct Added {
    embedding: Embedding,
    sizes: AddedSizes,
}

impl Embedding {
    fn load(weights: &Weights, width: usize, time_width: usize) -> Result<Self> {
        Ok(Self {
            linear_1: linear(&weights.pp("linear_1"), width, time_width)?,
            linear_2: linear(&weights.pp("linear_2"), time_width, time_width)?,
        })
    }

    fn forward(&self, x: &Tensor) -> sinopia_nn::Result<Tensor> {
        self.linear_2.forward(&activation::silu(&self.linear_1.forward(x)?)?)
    }
}

impl TimeEmbedding {
    /// From the tensors `time_embedding` and, where the network has it, `add_embedding`.
    pub(super) fn load(config: &UNetConfig, weights: &Weights) -> Result<Self> {
        let (width, time_width) = (config.block_out_channels[0], config.time_width());
        let added = |sizes: AddedSizes| {
            let embedding = Embedding::load(&weights.pp("add_embedding"), sizes.width(), time_width)?;
            Ok::<_, crate::Error>(Added { embedding, sizes })
        };
        Ok(Self {
            of_timestep: Embedding::load(&weights.pp("time_embedding"), width, time_width)?,
            added: config.added_sizes()?.map(added).transpose()?,
            width,
            flip_sin_to_cos: config.flip_sin_to_cos,
            freq_shift: config.freq_shift,
        })
    }

    /// Width of the pooled text states that are added, if any are.
    pub(super) fn added_text_width(&self) -> Option<usize> {
        self.added.as_ref().map(|added| added.sizes.text_width)
    }

    /// The embedding of a timestep with the activation that every residual block would apply to it first: (1, T), or (B, T) with what is added to it
    /// for each picture. `added` is there if the network has such an embedding.
    pub(super) fn activated(
        &self,
        timestep: f64,
        added: Option<&AddedConditioning>,
        device: &Device,
    ) -> sinopia_nn::Result<Tensor> {
        let waves = Tensor::from_vec(self.waves(timestep, self.width), (1, self.width), device)?;
        let of_timestep = self.of_timestep.forward(&waves)?; // (1, T)
        match (&self.added, added) {
            (Some(network), Some(added)) => {
                let of_picture = network.embedding.forward(&self.inputs(network.sizes, added)?)?; // (B, T)
                activation::silu(&of_picture.broadcast_add(&of_timestep)?)
            }
            _ => activation::silu(&of_timestep),
        }
    }

    /// The pooled text states, then the waves of each number: (B, D).
    fn inputs(&self, sizes: AddedSizes, added: &AddedConditioning) -> sinopia_nn::Result<Tensor> {
        let (b, device) = (added.text_embeds.dim(0)?, added.text_embeds.device());
        let ids = added.time_ids.flatten_all()?.to_vec1::<f32>()?;
        let waves: Vec<f32> = ids.iter().flat_map(|id| self.waves(f64::from(*id), sizes.wave_width)).collect();
        let waves = Tensor::from_vec(waves, (b, NUM_TIME_IDS * sizes.wave_width), device)?;
        Ok(Tensor::cat(&[&added.text_embeds, &waves], 1)?)
    }

    fn waves(&self, value: f64, width: usize) -> Vec<f32> {
        waves(value, width, self.flip_sin_to_cos, self.freq_shift)
    }
}

/// `sin(t·f_k), cos(t·f_k)` with `f_k = 10000^(−k / (half − shift))`, sines first unless flipped, and a zero if `width` is odd.
///
/// The phase is rounded to f32 as in the reference, never lower: in half precision t·f would lose its meaning.
fn waves(timestep: f64, width: usize, flip_sin_to_cos: bool, freq_shift: f64) -> Vec<f32> {
    let half = width / 2;
    let phases: Vec<f32> = (0..half)
        .map(|k| {
            let exponent = -(MAX_PERIOD.ln() as f32) * k as f32 / (half as f64 - freq_shift) as f32;
            timestep as f32 * exponent.exp()
        })
        .collect();
    let sines = phases.iter().map(|phase| phase.sin());
    let cosines = phases.iter().map(|phase| phase.cos());
    let mut waves: Vec<f32> =
        if flip_sin_to_cos { cosines.chain(sines).collect() } else { sines.chain(cosines).collect() };
    waves.resize(width, 0.0);
    waves
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(found: &[f32], expected: &[f64]) {
        assert_eq!(found.len(), expected.len());
        for (found, expected) in found.iter().zip(expected) {
            assert!((f64::from(*found) - expected).abs() < 1e-6, "{found} instead of {expected}");
        }
    }

    #[test]
    fn waves_follow_the_formula() {
        let (t, slow) = (7.5_f64, 0.01_f64);
        check(&waves(t, 4, false, 0.0), &[t.sin(), (t * slow).sin(), t.cos(), (t * slow).cos()]);
        check(&waves(t, 4, true, 0.0), &[t.cos(), (t * slow).cos(), t.sin(), (t * slow).sin()]);
    }

    #[test]
    fn a_shift_stretches_the_frequencies_and_odd_widths_end_in_zero() {
        let (t, slow) = (3.0_f64, 0.0001_f64);
        check(&waves(t, 5, false, 1.0), &[t.sin(), (t * slow).sin(), t.cos(), (t * slow).cos(), 0.0]);
    }
}
