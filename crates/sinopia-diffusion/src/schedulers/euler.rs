//! Euler's method on the probability-flow equation (Karras et al. 2022, arXiv 2206.00364, algorithm 2 without churn).

use candle_core::Tensor;
use sinopia_models::checkpoint::PredictionType;

use super::config::{SchedulerConfig, TimestepSpacing};
use super::noise_level::{NoiseLevel, Prediction};
use super::noise_schedule::NoiseSchedule;
use super::spacing::{Levels, SigmaRange};
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
    pub(super) prediction_type: PredictionType,
}

impl Euler {
    /// diffusers' `EulerDiscreteScheduler`.
    ///
    /// # Errors
    /// When the config asks for beta sigmas, another interpolation, or continuous timesteps of a v-prediction.
    pub fn new(config: &SchedulerConfig, steps: usize) -> Result<Self> {
        let kind = SchedulerKind::Euler;
        let levels = Levels::of(kind, config)?;
        if config.prediction_type == Some(PredictionType::VPrediction) {
            SchedulerConfig::require(kind, "timestep_type", config.timestep_type.as_deref(), "discrete")?;
        }
        let schedule = NoiseSchedule::new(config, true)?;
        let trained = schedule.sigmas();
        let whole = SigmaRange { first: trained[trained.len() - 1], last: trained[0] };
        let mut timesteps = spacing::timesteps(config, TimestepSpacing::Linspace, &schedule, steps)?;
        let mut sigmas = match config.interpolation_type.as_deref() {
            // One more than steps: the last step ends in the smallest, whatever `final_sigmas_type` says.
            Some("log_linear") => spacing::even_in_log(whole, steps + 1),
            interpolation => {
                SchedulerConfig::require(kind, "interpolation_type", interpolation, "linear")?;
                spacing::interpolate(&trained, &timesteps)
            }
        };
        if let Some(levels) = levels {
            let range = SigmaRange { first: sigmas[0], last: sigmas[sigmas.len() - 1] };
            sigmas = levels.spread(config, range, steps);
            timesteps = sigmas.iter().map(|sigma| spacing::timestep_from_sigma(&trained, *sigma)).collect();
        }
        sigmas.push(spacing::final_sigma(config, &trained));
        Ok(Self { sigmas: SigmaTable::new(config, timesteps, sigmas) })
    }
}

impl SigmaTable {
    /// σ at each timestep, and after the last; timesteps are f32, which the model sees.
    pub(super) fn new(config: &SchedulerConfig, timesteps: Vec<f64>, sigmas: Vec<f64>) -> Self {
        let largest = sigmas.iter().copied().fold(0.0, f64::max);
        let init_noise_sigma = match config.timestep_spacing.unwrap_or(TimestepSpacing::Linspace) {
            TimestepSpacing::Linspace | TimestepSpacing::Trailing => largest,
            TimestepSpacing::Leading => largest.hypot(1.0),
        };
        let timesteps = timesteps.into_iter().map(|timestep| f64::from(timestep as f32)).collect();
        let prediction_type = config.prediction_type.unwrap_or(PredictionType::Epsilon);
        Self { timesteps, sigmas, init_noise_sigma, prediction_type }
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
        let p = Prediction::new(self.prediction_type, level);
        combine(&[(p.eps_latents / level.latent_scale, latents), (p.eps_output, model_output)])
    }
}

impl Scheduler for Euler {
    fn kind(&self) -> SchedulerKind {
        SchedulerKind::Euler
    }

    fn prediction_type(&self) -> PredictionType {
        self.sigmas.prediction_type
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

    fn noise_level_after(&self, index: usize) -> Option<NoiseLevel> {
        Some(self.sigmas.noise_level(index + 1))
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
