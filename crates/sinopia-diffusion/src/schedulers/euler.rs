//! Euler's method on the probability-flow equation (Karras et al. 2022, arXiv 2206.00364, algorithm 2 without churn).

use candle_core::Tensor;

use super::config::{PredictionType, SchedulerConfig, TimestepSpacing};
use super::noise_schedule::{NoiseLevel, NoiseSchedule, Prediction};
use super::{Scheduler, SchedulerKind, combine, spacing};
use crate::Result;
use crate::noise::NoiseSource;

/// `x' = x + d·(σ' − σ)` with `d = (x − x₀)/σ`. Latents are x₀ + σ·ε.
#[derive(Debug, Clone)]
pub struct Euler {
    pub(super) sigmas: SigmaTable,
}

/// What Euler and Euler-ancestral share: σ at each step, and how to read x₀ off the model output.
#[derive(Debug, Clone)]
pub(super) struct SigmaTable {
    pub(super) timesteps: Vec<f64>,
    /// σ before each step, and the last after it.
    pub(super) sigmas: Vec<f64>,
    init_noise_sigma: f64,
    prediction_type: PredictionType,
}

impl Euler {
    /// diffusers' `EulerDiscreteScheduler`.
    ///
    /// # Errors
    /// When the config asks for exponential or beta sigmas, log-linear interpolation or continuous timesteps.
    pub fn new(config: &SchedulerConfig, steps: usize) -> Result<Self> {
        let kind = SchedulerKind::Euler;
        let unsupported =
            [("use_exponential_sigmas", config.use_exponential_sigmas), ("use_beta_sigmas", config.use_beta_sigmas)];
        SchedulerConfig::refuse(kind, &unsupported)?;
        SchedulerConfig::require(kind, "interpolation_type", config.interpolation_type.as_deref(), "linear")?;
        SchedulerConfig::require(kind, "timestep_type", config.timestep_type.as_deref(), "discrete")?;
        let schedule = NoiseSchedule::new(config, true)?;
        let trained = schedule.sigmas();
        let last = spacing::final_sigma(config, &trained);
        let mut table = SigmaTable::new(config, &schedule, (steps, last))?;
        if config.use_karras_sigmas.unwrap_or(false) {
            let range = (table.sigmas[0], table.sigmas[steps - 1]);
            table.sigmas = spacing::karras(config, range, steps);
            table.timesteps = table.sigmas.iter().map(|sigma| spacing::timestep_from_sigma(&trained, *sigma)).collect();
            table.sigmas.push(last);
        }
        Ok(Self { sigmas: table })
    }
}

impl SigmaTable {
    /// σ interpolated at the config's timesteps, then `last`.
    pub(super) fn new(config: &SchedulerConfig, schedule: &NoiseSchedule, (steps, last): (usize, f64)) -> Result<Self> {
        let timesteps = spacing::timesteps(config, TimestepSpacing::Linspace, schedule, steps)?;
        let mut sigmas = spacing::interpolate(&schedule.sigmas(), &timesteps);
        sigmas.push(last);
        let init_noise_sigma = match config.timestep_spacing.unwrap_or(TimestepSpacing::Linspace) {
            TimestepSpacing::Linspace | TimestepSpacing::Trailing => sigmas[0],
            TimestepSpacing::Leading => sigmas[0].hypot(1.0),
        };
        let prediction_type = config.prediction_type.unwrap_or(PredictionType::Epsilon);
        Ok(Self { timesteps, sigmas, init_noise_sigma, prediction_type })
    }

    pub(super) fn init_noise_sigma(&self) -> f64 {
        self.init_noise_sigma
    }

    pub(super) fn noise_level(&self, index: usize) -> NoiseLevel {
        NoiseLevel::sigma_scaled(self.sigmas[index])
    }

    /// The direction from the picture to the latents, `d = (x − x₀)/σ`: the noise ε.
    pub(super) fn derivative(&self, model_output: &Tensor, index: usize, latents: &Tensor) -> Result<Tensor> {
        let level = self.noise_level(index);
        let p = Prediction::new(self.prediction_type, level.alphas_cumprod);
        combine(&[(p.eps_latents / level.latent_scale, latents), (p.eps_output, model_output)])
    }
}

impl Scheduler for Euler {
    fn kind(&self) -> SchedulerKind {
        SchedulerKind::Euler
    }

    fn timesteps(&self) -> &[f64] {
        &self.sigmas.timesteps
    }

    fn init_noise_sigma(&self) -> f64 {
        self.sigmas.init_noise_sigma()
    }

    fn noise_level(&self, index: usize) -> NoiseLevel {
        self.sigmas.noise_level(index)
    }

    fn step(
        &mut self,
        model_output: &Tensor,
        index: usize,
        latents: &Tensor,
        _noise: &mut NoiseSource,
    ) -> Result<Tensor> {
        let d = self.sigmas.derivative(model_output, index, latents)?;
        let dt = self.sigmas.sigmas[index + 1] - self.sigmas.sigmas[index];
        combine(&[(1.0, latents), (dt, &d)])
    }
}
