//! Ancestral sampling with Euler's method: steps further down than needed, then adds fresh noise.

use candle_core::Tensor;
use sinopia_models::checkpoint::PredictionType;

use super::config::{SchedulerConfig, TimestepSpacing};
use super::euler::SigmaTable;
use super::noise_level::NoiseLevel;
use super::noise_schedule::NoiseSchedule;
use super::{Scheduler, SchedulerKind, combine, spacing};
use crate::Result;
use crate::noise::{LatentSize, NoiseSource};

/// `x' = x + d·(σ_down − σ) + σ_up·noise`, with σ'² = σ_down² + σ_up². Latents are x₀ + σ·ε.
#[derive(Debug, Clone)]
pub struct EulerAncestral {
    sigmas: SigmaTable,
}

impl EulerAncestral {
    /// diffusers' `EulerAncestralDiscreteScheduler`.
    ///
    /// # Errors
    /// When the config cannot be divided into `steps`.
    pub fn new(config: &SchedulerConfig, steps: usize) -> Result<Self> {
        let schedule = NoiseSchedule::new(config, true)?;
        let timesteps = spacing::timesteps(config, TimestepSpacing::Linspace, &schedule, steps)?;
        let mut sigmas = spacing::interpolate(&schedule.sigmas(), &timesteps);
        sigmas.push(0.0);
        Ok(Self { sigmas: SigmaTable::new(config, timesteps, sigmas) })
    }
}

impl Scheduler for EulerAncestral {
    fn kind(&self) -> SchedulerKind {
        SchedulerKind::EulerAncestral
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

    fn step(
        &mut self,
        model_output: &Tensor,
        index: usize,
        latents: &Tensor,
        noise: &mut NoiseSource,
    ) -> Result<Tensor> {
        let d = self.sigmas.derivative(model_output, index, latents)?;
        let (down, up) = spacing::ancestral_step(self.sigmas.sigmas[index], self.sigmas.sigmas[index + 1]);
        // Drawn at the last step too, where it counts for nothing: the generator moves on as diffusers' does.
        let noise = noise.draw(LatentSize::of(latents)?, latents.device())?;
        combine(&[(1.0, latents), (down - self.sigmas.sigmas[index], &d), (up, &noise)])
    }
}
