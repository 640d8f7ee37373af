//! The level of noise at a step, and how a model output is read there.

use candle_core::Tensor;
use sinopia_models::checkpoint::PredictionType;

use crate::Result;

/// How much picture and how much noise is in the latents at a step, and how the latents are scaled.
///
/// The network always sees `z = signal·x₀ + noise·ε`; the field writes α_t and σ_t for the two. Diffusion preserves the variance, signal² + noise² = 1
/// with signal = √ᾱ; flow matching mixes, signal + noise = 1. Some schedulers (Euler) keep `x₀ + σ·ε = z/√ᾱ` instead of z, with `σ = noise/signal`.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct NoiseLevel {
    /// The picture's factor in what the network sees: 0 in pure noise, 1 in the picture.
    pub signal: f64,
    /// The noise's factor there: 1 in pure noise, 0 in the picture.
    pub noise: f64,
    /// The scheduler's latents are this many times what the network sees: 1, or 1/√ᾱ.
    pub latent_scale: f64,
}

impl NoiseLevel {
    /// A level of diffusion whose latents are variance preserving: ᾱ is the share of the picture in the variance.
    pub fn variance_preserving(alphas_cumprod: f64) -> Self {
        Self { signal: alphas_cumprod.sqrt(), noise: (1.0 - alphas_cumprod).sqrt(), latent_scale: 1.0 }
    }

    /// A level of diffusion whose latents are `x₀ + σ·ε`.
    pub fn sigma_scaled(sigma: f64) -> Self {
        let variance = sigma * sigma + 1.0;
        Self { latent_scale: variance.sqrt(), ..Self::variance_preserving(1.0 / variance) }
    }

    /// A level of flow matching, whose latents are `(1−σ)·x₀ + σ·ε`: σ from 1, pure noise, to 0.
    pub fn flow(sigma: f64) -> Self {
        Self { signal: 1.0 - sigma, noise: sigma, latent_scale: 1.0 }
    }

    /// A picture z₀ with unit-variance noise at this level, in the scheduler's scale: `latent_scale·(signal·z₀ + noise·n)`, both (B, H, W, C).
    ///
    /// # Errors
    /// When shapes disagree.
    pub fn noised(&self, z0: &Tensor, noise: &Tensor) -> Result<Tensor> {
        Ok((((z0 * self.signal)? + (noise * self.noise)?)? * self.latent_scale)?)
    }

    /// The step of a guidance update: `latents ← latents − guidance_step · ∂L/∂z`, z being what the network saw.
    ///
    /// It is LMD's `√(1−ᾱ)`, the factor of the noise, and `√(1−ᾱ)/√ᾱ = σ` where latents are scaled by 1/√ᾱ: the same change of the
    /// picture under every scheduler. It never depends on whether a scheduler happens to carry a table of sigmas: the reference code
    /// takes a step of σ² then, about 170 times too long at the first timestep for solvers whose latents are variance preserving.
    pub fn guidance_step(&self) -> f64 {
        self.noise * self.latent_scale
    }
}

/// The two sides of a model output: the clean latents x₀ and the noise ε, as factors of what the network saw and of its output.
///
/// `x0 = x0_latents·z + x0_output·output`, likewise ε.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Prediction {
    pub(crate) x0_latents: f64,
    pub(crate) x0_output: f64,
    pub(crate) eps_latents: f64,
    pub(crate) eps_output: f64,
}

impl Prediction {
    /// How to read a model output at a level.
    pub(crate) fn new(prediction_type: PredictionType, level: NoiseLevel) -> Self {
        let NoiseLevel { signal, noise, .. } = level;
        let (x0_latents, x0_output, eps_latents, eps_output) = match prediction_type {
            PredictionType::Epsilon => (1.0 / signal, -noise / signal, 0.0, 1.0),
            PredictionType::VPrediction => (signal, -noise, noise, signal),
            PredictionType::Sample => (0.0, 1.0, 1.0 / noise, -signal / noise),
            PredictionType::FlowPrediction => {
                let sum = signal + noise; // 1 along a flow
                (1.0 / sum, -noise / sum, 1.0 / sum, signal / sum)
            }
        };
        Self { x0_latents, x0_output, eps_latents, eps_output }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_guidance_step_changes_the_picture_alike_in_both_spaces() {
        let preserving = NoiseLevel::variance_preserving(0.2);
        let sigma = preserving.noise / preserving.signal;
        let scaled = NoiseLevel::sigma_scaled(sigma);
        assert!((scaled.signal - preserving.signal).abs() < 1e-12);
        assert!((scaled.guidance_step() - sigma).abs() < 1e-12);
        assert!((scaled.guidance_step() / scaled.latent_scale - preserving.guidance_step()).abs() < 1e-12);
    }

    #[test]
    fn every_prediction_type_names_the_same_picture_and_noise() {
        let (x0, eps) = (0.7f64, -1.2);
        let check = |kind: PredictionType, level: NoiseLevel, output: f64| {
            let z = level.signal * x0 + level.noise * eps;
            let p = Prediction::new(kind, level);
            assert!((p.x0_latents * z + p.x0_output * output - x0).abs() < 1e-12, "{kind:?} at {level:?}");
            assert!((p.eps_latents * z + p.eps_output * output - eps).abs() < 1e-12, "{kind:?} at {level:?}");
        };
        let diffusion = NoiseLevel::variance_preserving(0.3);
        for level in [diffusion, NoiseLevel::flow(0.4)] {
            check(PredictionType::Epsilon, level, eps);
            check(PredictionType::Sample, level, x0);
            check(PredictionType::FlowPrediction, level, eps - x0);
        }
        check(PredictionType::VPrediction, diffusion, diffusion.signal * eps - diffusion.noise * x0);
    }
}
