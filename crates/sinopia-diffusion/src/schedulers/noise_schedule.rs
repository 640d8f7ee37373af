//! The noise schedule a model was trained with: β, ᾱ, and the level of noise at a timestep.

use std::f64::consts::FRAC_PI_2;

use sinopia_layout::brief;

use super::config::{BetaSchedule, PredictionType, SchedulerConfig};
use crate::{Error, Result};

/// How much noise is in the latents at a step, and how the latents are scaled.
///
/// The network always sees *variance-preserving* latents `z = √ᾱ·x₀ + √(1−ᾱ)·ε`. Some schedulers (Euler) keep `x₀ + σ·ε = z/√ᾱ` instead, with
/// `σ = √((1−ᾱ)/ᾱ)`.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct NoiseLevel {
    /// ᾱ, the share of the picture in the variance: 0 is pure noise, 1 the picture.
    pub alphas_cumprod: f64,
    /// The scheduler's latents are this many times the variance-preserving ones: 1, or 1/√ᾱ.
    pub latent_scale: f64,
}

impl NoiseLevel {
    /// A level of a scheduler whose latents are variance preserving.
    pub fn variance_preserving(alphas_cumprod: f64) -> Self {
        Self { alphas_cumprod, latent_scale: 1.0 }
    }

    /// A level of a scheduler whose latents are `x₀ + σ·ε`.
    pub fn sigma_scaled(sigma: f64) -> Self {
        let variance = sigma * sigma + 1.0;
        Self { alphas_cumprod: 1.0 / variance, latent_scale: variance.sqrt() }
    }

    /// σ = √((1−ᾱ)/ᾱ).
    pub fn sigma(&self) -> f64 {
        ((1.0 - self.alphas_cumprod) / self.alphas_cumprod).sqrt()
    }

    /// The step of a guidance update: `latents ← latents − guidance_step · ∂L/∂z`, z being what the network saw.
    ///
    /// It is LMD's `√(1−ᾱ)` in the variance-preserving space, and `√(1−ᾱ)/√ᾱ = σ` where latents are scaled by 1/√ᾱ: the same change of the
    /// picture under every scheduler. It never depends on whether a scheduler happens to carry a table of sigmas: the reference code
    /// takes a step of σ² then, about 170 times too long at the first timestep for solvers whose latents are variance preserving.
    pub fn guidance_step(&self) -> f64 {
        (1.0 - self.alphas_cumprod).sqrt() * self.latent_scale
    }
}

/// ᾱ of every training timestep, in `f64`.
#[derive(Debug, Clone)]
pub struct NoiseSchedule {
    alphas_cumprod: Vec<f64>,
}

/// What diffusers sets the last ᾱ to under `rescale_betas_zero_snr` where σ must stay finite.
pub(super) const ALMOST_ZERO: f64 = 1.0 / (1u64 << 24) as f64;

/// `num_train_timesteps` of all of diffusers' classes.
const DEFAULT_TRAIN_TIMESTEPS: usize = 1000;
/// A hundred times what any model is trained with; tables of β are made of this many numbers.
const MAX_TRAIN_TIMESTEPS: usize = 100_000;

impl NoiseSchedule {
    /// The schedule of a config. `rescale_zero_snr` says whether the class reads `rescale_betas_zero_snr`.
    ///
    /// # Errors
    /// When β is outside (0, 1), there is no timestep, or `trained_betas` are of another number than the timesteps.
    pub fn new(config: &SchedulerConfig, rescale_zero_snr: bool) -> Result<Self> {
        let told = config.num_train_timesteps.unwrap_or(DEFAULT_TRAIN_TIMESTEPS);
        if told > MAX_TRAIN_TIMESTEPS {
            return Err(Error::Setting {
                name: "num_train_timesteps of the scheduler config",
                found: told.to_string(),
                expected: "at most 100000",
            });
        }
        let betas = betas(config);
        if betas.is_empty() || !betas.iter().all(|beta| (0.0..1.0).contains(beta)) {
            return Err(Error::Setting {
                name: "betas of the scheduler config",
                found: described(&betas),
                expected: "at least one value, all from 0 to 1",
            });
        }
        if betas.len() != told {
            return Err(Error::Setting {
                name: "trained_betas of the scheduler config",
                found: format!("{} for {told} timesteps", betas.len()),
                expected: "one for each of num_train_timesteps",
            });
        }
        let mut alphas_cumprod: Vec<f64> = betas
            .iter()
            .scan(1.0, |product, beta| {
                *product *= 1.0 - beta;
                Some(*product)
            })
            .collect();
        if rescale_zero_snr && config.rescale_betas_zero_snr.unwrap_or(false) {
            rescale_to_zero_snr(&mut alphas_cumprod);
        }
        Ok(Self { alphas_cumprod })
    }

    /// Timesteps of training, T.
    pub fn num_train_timesteps(&self) -> usize {
        self.alphas_cumprod.len()
    }

    /// ᾱ at timestep `t`.
    pub fn alphas_cumprod(&self, t: usize) -> f64 {
        self.alphas_cumprod[t]
    }

    /// σ of every timestep, rising; an ᾱ of zero, which `rescale_betas_zero_snr` ends with, counts as 2⁻²⁴, as in diffusers.
    pub fn sigmas(&self) -> Vec<f64> {
        let sigma = |a: &f64| ((1.0 - a) / if *a == 0.0 { ALMOST_ZERO } else { *a }).sqrt();
        self.alphas_cumprod.iter().map(sigma).collect()
    }
}

/// The values in short, by the first that is impossible.
fn described(betas: &[f64]) -> String {
    match betas.iter().position(|beta| !(0.0..1.0).contains(beta)) {
        Some(place) => format!("{} at timestep {place} of {}", brief(betas[place]), betas.len()),
        None => "empty".to_owned(),
    }
}

/// β of every timestep.
fn betas(config: &SchedulerConfig) -> Vec<f64> {
    if let Some(betas) = &config.trained_betas {
        return betas.clone();
    }
    let n = config.num_train_timesteps.unwrap_or(DEFAULT_TRAIN_TIMESTEPS);
    let (start, end) = (config.beta_start.unwrap_or(0.0001), config.beta_end.unwrap_or(0.02));
    match config.beta_schedule.unwrap_or(BetaSchedule::Linear) {
        BetaSchedule::Linear => linspace(start, end, n),
        BetaSchedule::ScaledLinear => {
            linspace(start.sqrt(), end.sqrt(), n).into_iter().map(|root| root * root).collect()
        }
        BetaSchedule::SquaredcosCapV2 => {
            let alpha_bar = |t: f64| ((t + 0.008) / 1.008 * FRAC_PI_2).cos().powi(2);
            let beta = |i: usize| 1.0 - alpha_bar((i + 1) as f64 / n as f64) / alpha_bar(i as f64 / n as f64);
            (0..n).map(|i| beta(i).min(0.999)).collect()
        }
    }
}

/// `n` equally spaced values from `start` to `end`, both included: the last is `end` itself, as in NumPy, not what rounding makes of it.
pub(super) fn linspace(start: f64, end: f64, n: usize) -> Vec<f64> {
    let step = if n > 1 { (end - start) / (n - 1) as f64 } else { 0.0 };
    (0..n).map(|i| if i > 0 && i + 1 == n { end } else { start + step * i as f64 }).collect()
}

/// Shifts and scales √ᾱ so that its first value stays and its last becomes zero: the last timestep is pure noise.
///
/// Source: Lin et al. 2023, arXiv 2305.08891, algorithm 1.
fn rescale_to_zero_snr(alphas_cumprod: &mut [f64]) {
    let (first, last) = (alphas_cumprod[0].sqrt(), alphas_cumprod[alphas_cumprod.len() - 1].sqrt());
    for a in alphas_cumprod {
        let root = (a.sqrt() - last) * first / (first - last);
        *a = root * root;
    }
}

/// The two sides of a model output in the variance-preserving space: the clean latents x₀ and the noise ε, as factors of latents and output.
///
/// `x0 = x0_latents·z + x0_output·output`, likewise ε.
#[derive(Debug, Clone, Copy)]
pub(super) struct Prediction {
    pub(super) x0_latents: f64,
    pub(super) x0_output: f64,
    pub(super) eps_latents: f64,
    pub(super) eps_output: f64,
}

impl Prediction {
    /// How to read a model output at noise level ᾱ.
    pub(super) fn new(prediction_type: PredictionType, alphas_cumprod: f64) -> Self {
        let (signal, noise) = (alphas_cumprod.sqrt(), (1.0 - alphas_cumprod).sqrt());
        let (x0_latents, x0_output, eps_latents, eps_output) = match prediction_type {
            PredictionType::Epsilon => (1.0 / signal, -noise / signal, 0.0, 1.0),
            PredictionType::VPrediction => (signal, -noise, noise, signal),
            PredictionType::Sample => (0.0, 1.0, 1.0 / noise, -signal / noise),
        };
        Self { x0_latents, x0_output, eps_latents, eps_output }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    pub(crate) fn stable_diffusion() -> SchedulerConfig {
        SchedulerConfig {
            beta_start: Some(0.00085),
            beta_end: Some(0.012),
            beta_schedule: Some(BetaSchedule::ScaledLinear),
            ..SchedulerConfig::default()
        }
    }

    #[test]
    fn stable_diffusions_noise_levels_are_the_published_ones() -> Result<()> {
        let schedule = NoiseSchedule::new(&stable_diffusion(), true)?;
        let table = [
            (981, 0.005775, 0.997108, 13.1204),
            (881, 0.017185, 0.991370, 7.5624),
            (781, 0.043456, 0.978031, 4.6917),
            (581, 0.179863, 0.905614, 2.1354),
            (501, 0.274999, 0.851470, 1.6237),
            (401, 0.422881, 0.759683, 1.1682),
            (181, 0.782654, 0.466204, 0.5270),
            (1, 0.998296, 0.041279, 0.0413),
        ];
        for (t, alphas_cumprod, coefficient, sigma) in table {
            let level = NoiseLevel::variance_preserving(schedule.alphas_cumprod(t));
            assert!((level.alphas_cumprod - alphas_cumprod).abs() < 1e-6, "ᾱ at {t}: {}", level.alphas_cumprod);
            assert!((level.guidance_step() - coefficient).abs() < 1e-6, "√(1−ᾱ) at {t}: {}", level.guidance_step());
            assert!((level.sigma() - sigma).abs() < 1e-4, "σ at {t}: {}", level.sigma());
        }
        assert!((schedule.alphas_cumprod(0) - 0.999150).abs() < 1e-6);
        Ok(())
    }

    #[test]
    fn a_guidance_step_changes_the_picture_alike_in_both_spaces() {
        let a = 0.2;
        let preserving = NoiseLevel::variance_preserving(a);
        let scaled = NoiseLevel::sigma_scaled(preserving.sigma());
        assert!((scaled.alphas_cumprod - a).abs() < 1e-12);
        assert!((scaled.guidance_step() - preserving.sigma()).abs() < 1e-12);
        assert!((scaled.guidance_step() / scaled.latent_scale - preserving.guidance_step()).abs() < 1e-12);
    }

    #[test]
    fn rescaling_ends_in_pure_noise_and_keeps_the_start() -> Result<()> {
        let config = SchedulerConfig { rescale_betas_zero_snr: Some(true), ..stable_diffusion() };
        let schedule = NoiseSchedule::new(&config, true)?;
        assert_eq!(schedule.alphas_cumprod(999), 0.0);
        assert!((schedule.alphas_cumprod(0) - 0.999150).abs() < 1e-6);
        assert!((schedule.sigmas()[999] - 4096.0).abs() < 1e-6);
        let ignored = NoiseSchedule::new(&config, false)?;
        assert!(ignored.alphas_cumprod(999) > 0.004);
        Ok(())
    }

    #[test]
    fn every_prediction_type_names_the_same_picture_and_noise() {
        let (a, x0, eps) = (0.3f64, 0.7, -1.2);
        let z = a.sqrt() * x0 + (1.0 - a).sqrt() * eps;
        let v = a.sqrt() * eps - (1.0 - a).sqrt() * x0;
        for (kind, output) in
            [(PredictionType::Epsilon, eps), (PredictionType::VPrediction, v), (PredictionType::Sample, x0)]
        {
            let p = Prediction::new(kind, a);
            assert!((p.x0_latents * z + p.x0_output * output - x0).abs() < 1e-12, "{kind:?}");
            assert!((p.eps_latents * z + p.eps_output * output - eps).abs() < 1e-12, "{kind:?}");
        }
    }

    #[test]
    fn impossible_betas_are_refused() {
        for betas in [vec![], vec![0.1, 1.5], vec![f64::NAN]] {
            let config = SchedulerConfig { trained_betas: Some(betas), ..SchedulerConfig::default() };
            assert!(NoiseSchedule::new(&config, true).is_err());
        }
        let message = |config| NoiseSchedule::new(&config, true).unwrap_err().to_string();
        let config = SchedulerConfig { num_train_timesteps: Some(0), ..stable_diffusion() };
        assert!(message(config).contains("`betas of the scheduler config` is empty, expected"));
        let config = SchedulerConfig { trained_betas: Some(vec![0.1, 1e300]), ..stable_diffusion() };
        assert!(message(config).contains("is 1e300 at timestep 1 of 2, expected"));
        let config = SchedulerConfig { trained_betas: Some(vec![0.1, 0.2]), ..stable_diffusion() };
        assert!(message(config).contains("is 2 for 1000 timesteps, expected one for each"));
        let config = SchedulerConfig { num_train_timesteps: Some(usize::MAX), ..stable_diffusion() };
        assert!(message(config).contains("expected at most 100000"));
    }

    #[test]
    fn a_cosine_ends_far_beyond_zero_snr() -> Result<()> {
        let config =
            SchedulerConfig { beta_schedule: Some(BetaSchedule::SquaredcosCapV2), ..SchedulerConfig::default() };
        // diffusers 0.42.1: EulerDiscreteScheduler(beta_schedule="squaredcos_cap_v2").sigmas[0]
        let sigma = NoiseSchedule::new(&config, true)?.sigmas()[999];
        assert!((sigma / 20291.303 - 1.0).abs() < 1e-4, "{sigma}");
        Ok(())
    }
}
