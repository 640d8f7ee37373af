//! Euler's method along a flow (Lipman et al. 2022, arXiv 2210.02747; Esser et al. 2024, arXiv 2403.03206): straight ways from noise to pictures.

use candle_core::Tensor;
use sinopia_models::checkpoint::PredictionType;

use super::config::SchedulerConfig;
use super::noise_level::NoiseLevel;
use super::noise_schedule::{linspace, num_train_timesteps};
use super::{Scheduler, SchedulerKind, combine, spacing};
use crate::noise::NoiseSource;
use crate::{Error, Result};

/// `x' = x + v·(σ' − σ)` with the model's velocity `v = ε − x₀`. Latents are (1−σ)·x₀ + σ·ε.
#[derive(Debug, Clone)]
pub struct FlowMatchEuler {
    timesteps: Vec<f64>,
    /// σ before each step, and 0 after the last.
    sigmas: Vec<f64>,
}

impl FlowMatchEuler {
    /// diffusers' `FlowMatchEulerDiscreteScheduler` along the levels that its pipelines give it: N from 1 to 1/N, each shifted by
    /// `σ ← s·σ/(1 + (s−1)·σ)`.
    ///
    /// # Errors
    /// When the config is a diffusion model's, asks for other levels or for a shift by the picture's size, or cannot be divided into `steps`.
    pub fn new(config: &SchedulerConfig, steps: usize) -> Result<Self> {
        refuse_unsupported(config)?;
        let num_train_timesteps = num_train_timesteps(config)?;
        spacing::check_steps(steps, num_train_timesteps)?;
        let shift = config.shift.unwrap_or(1.0);
        let shifted = |sigma: f64| shift * sigma / (1.0 + (shift - 1.0) * sigma);
        let mut sigmas: Vec<f64> = linspace(1.0, 1.0 / steps as f64, steps).into_iter().map(shifted).collect();
        let timesteps = sigmas.iter().map(|sigma| sigma * num_train_timesteps as f64).collect();
        sigmas.push(0.0);
        Ok(Self { timesteps, sigmas })
    }
}

fn refuse_unsupported(config: &SchedulerConfig) -> Result<()> {
    let kind = SchedulerKind::FlowMatchEuler;
    SchedulerConfig::refuse(
        kind,
        &[
            ("use_dynamic_shifting", config.use_dynamic_shifting),
            ("use_karras_sigmas", config.use_karras_sigmas),
            ("use_exponential_sigmas", config.use_exponential_sigmas),
            ("use_beta_sigmas", config.use_beta_sigmas),
            ("invert_sigmas", config.invert_sigmas),
            ("stochastic_sampling", config.stochastic_sampling),
        ],
    )?;
    let refused =
        |key, value: String, hint| Err(Error::UnsupportedScheduler { scheduler: kind.name(), key, value, hint });
    if let Some(terminal) = config.shift_terminal {
        return refused("shift_terminal", terminal.to_string(), "");
    }
    if let Some(shift) = config.shift.filter(|shift| !(shift.is_finite() && *shift > 0.0)) {
        return refused("shift", shift.to_string(), "; it takes numbers above 0");
    }
    // A file of its own class says nothing of the prediction; one of a diffusion model does, or has another class.
    match config.prediction_type {
        Some(PredictionType::FlowPrediction) => Ok(()),
        None if config.class_name.as_deref() == Some(kind.class_name()) => Ok(()),
        other => {
            let value = other.unwrap_or(PredictionType::Epsilon).as_str().to_owned();
            refused("prediction_type", value, "; it takes models that were trained by flow matching")
        }
    }
}

impl Scheduler for FlowMatchEuler {
    fn kind(&self) -> SchedulerKind {
        SchedulerKind::FlowMatchEuler
    }

    fn prediction_type(&self) -> PredictionType {
        PredictionType::FlowPrediction
    }

    fn timesteps(&self) -> &[f64] {
        &self.timesteps
    }

    fn noise_level(&self, index: usize) -> NoiseLevel {
        NoiseLevel::flow(self.sigmas[index])
    }

    fn noise_level_after(&self, index: usize) -> Option<NoiseLevel> {
        Some(NoiseLevel::flow(self.sigmas[index + 1]))
    }

    fn step(
        &mut self,
        model_output: &Tensor,
        index: usize,
        latents: &Tensor,
        _noise: &mut NoiseSource,
    ) -> Result<Tensor> {
        let dt = self.sigmas[index + 1] - self.sigmas[index];
        combine(&[(1.0, latents), (dt, model_output)])
    }
}

#[cfg(test)]
mod tests {
    use candle_core::Device;

    use super::*;
    use crate::noise::Seed;

    fn config() -> SchedulerConfig {
        let class_name = Some(SchedulerKind::FlowMatchEuler.class_name().to_owned());
        SchedulerConfig { class_name, shift: Some(3.0), ..SchedulerConfig::default() }
    }

    #[test]
    fn z_images_levels_are_its_own() -> Result<()> {
        // Tongyi-MAI/Z-Image-Turbo: eight steps, shift 3.
        let expected = [1.0, 0.95454545, 0.9, 0.83333333, 0.75, 0.64285714, 0.5, 0.3];
        let scheduler = FlowMatchEuler::new(&config(), 8)?;
        for (index, sigma) in expected.into_iter().enumerate() {
            assert!((scheduler.noise_level(index).noise - sigma).abs() < 1e-8, "{index}");
            assert!((scheduler.timesteps()[index] - 1000.0 * sigma).abs() < 1e-5, "{index}");
        }
        Ok(())
    }

    #[test]
    fn the_velocity_of_one_picture_leads_straight_to_it() -> Result<()> {
        let scalar = |value: f32| Tensor::full(value, (1, 1, 1, 1), &Device::Cpu);
        let (picture, noise) = (scalar(0.4)?, scalar(-1.3)?);
        let mut scheduler = FlowMatchEuler::new(&config(), 5)?;
        let mut latents = noise.clone();
        for index in 0..5 {
            let velocity = (&noise - &picture)?;
            let read = super::super::predicted_original(&scheduler, &velocity, index, &latents)?;
            assert!((read.sum_all()?.to_scalar::<f32>()? - 0.4).abs() < 1e-6);
            latents = scheduler.step(&velocity, index, &latents, &mut NoiseSource::new(Seed(0)))?;
        }
        assert!((latents.sum_all()?.to_scalar::<f32>()? - 0.4).abs() < 1e-6);
        Ok(())
    }

    #[test]
    fn models_trained_otherwise_are_refused() {
        let message = |config| FlowMatchEuler::new(&config, 5).unwrap_err().to_string();
        let diffusion = SchedulerConfig { prediction_type: Some(PredictionType::Epsilon), ..config() };
        assert!(message(diffusion).contains("`prediction_type` = epsilon"));
        assert!(message(SchedulerConfig::default()).contains("flow matching"));
        let dynamic = SchedulerConfig { use_dynamic_shifting: Some(true), ..config() };
        assert!(message(dynamic).contains("`use_dynamic_shifting` = true"));
        assert!(message(SchedulerConfig { shift: Some(0.0), ..config() }).contains("`shift` = 0"));
    }
}
