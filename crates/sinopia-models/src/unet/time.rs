//! How a UNet is told the noise level.

use candle_core::{Device, Tensor};
use sinopia_nn::{Linear, activation};

use super::UNetConfig;
use crate::layers::linear;
use crate::{Result, Weights};

/// The slowest wave of the embedding has this period over 2π.
const MAX_PERIOD: f64 = 10_000.0;

/// `linear_2(silu(linear_1(waves(t))))`: diffusers' `Timesteps` and `TimestepEmbedding`.
#[derive(Debug, Clone)]
pub(super) struct TimeEmbedding {
    linear_1: Linear,
    linear_2: Linear,
    width: usize,
    flip_sin_to_cos: bool,
    freq_shift: f64,
}

impl TimeEmbedding {
    pub(super) fn load(config: &UNetConfig, weights: &Weights) -> Result<Self> {
        let (width, time_width) = (config.block_out_channels[0], config.time_width());
        Ok(Self {
            linear_1: linear(&weights.pp("linear_1"), width, time_width)?,
            linear_2: linear(&weights.pp("linear_2"), time_width, time_width)?,
            width,
            flip_sin_to_cos: config.flip_sin_to_cos,
            freq_shift: config.freq_shift,
        })
    }

    /// The embedding (1, T) of a timestep with the activation that every residual block would apply to it first.
    pub(super) fn activated(&self, timestep: f64, device: &Device) -> sinopia_nn::Result<Tensor> {
        let waves = waves(timestep, self.width, self.flip_sin_to_cos, self.freq_shift);
        let waves = Tensor::from_vec(waves, (1, self.width), device)?;
        let hidden = activation::silu(&self.linear_1.forward(&waves)?)?;
        activation::silu(&self.linear_2.forward(&hidden)?)
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
