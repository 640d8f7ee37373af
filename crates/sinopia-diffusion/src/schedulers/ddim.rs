//! DDIM (Song et al. 2020, arXiv 2010.02502), deterministic: η = 0.

use candle_core::Tensor;
use sinopia_models::checkpoint::PredictionType;

use super::config::SchedulerConfig;
use super::noise_level::{NoiseLevel, Prediction};
use super::noise_schedule::NoiseSchedule;
use super::{Scheduler, SchedulerKind, combine, spacing};
use crate::noise::NoiseSource;
use crate::{Error, Result};

/// DDIM without added noise: `x' = √ᾱ'·x₀ + √(1−ᾱ')·ε`, x₀ and ε read off the model output.
#[derive(Debug, Clone)]
pub struct Ddim {
    timesteps: Vec<f64>,
    /// ᾱ before each step, and after it.
    levels: Vec<(f64, f64)>,
    prediction_type: PredictionType,
    clip_sample_range: Option<f64>,
}

impl Ddim {
    /// diffusers' `DDIMScheduler`. Its defaults are not Stable Diffusion's: linear β to 0.02, clipped sample, ᾱ = 1 at the end.
    ///
    /// # Errors
    /// When the config asks for dynamic thresholding, or for ε from pure noise (`rescale_betas_zero_snr` without v-prediction).
    pub fn new(config: &SchedulerConfig, steps: usize) -> Result<Self> {
        SchedulerConfig::refuse(SchedulerKind::Ddim, &[("thresholding", config.thresholding)])?;
        let schedule = NoiseSchedule::new(config, true)?;
        let timesteps = spacing::whole_timesteps(SchedulerKind::Ddim, config, &schedule, steps)?;
        let end = TrajectoryEnd { steps, set_alpha_to_one: config.set_alpha_to_one.unwrap_or(true) };
        let levels = levels(&schedule, &timesteps, end);
        let prediction_type = config.prediction_type.unwrap_or(PredictionType::Epsilon);
        if prediction_type == PredictionType::Epsilon && levels.iter().any(|(level, _)| *level == 0.0) {
            return Err(Error::UnsupportedScheduler {
                scheduler: SchedulerKind::Ddim.name(),
                key: "rescale_betas_zero_snr",
                value: "true".to_owned(),
                hint: "; pure noise tells nothing of the picture, so it needs `prediction_type` v_prediction",
            });
        }
        let clip_sample_range = config.clip_sample.unwrap_or(true).then(|| config.clip_sample_range.unwrap_or(1.0));
        Ok(Self { timesteps, levels, prediction_type, clip_sample_range })
    }
}

/// How a trajectory of whole timesteps comes to its end.
#[derive(Debug, Clone, Copy)]
pub(super) struct TrajectoryEnd {
    /// N.
    pub(super) steps: usize,
    /// Whether ᾱ before the first timestep is 1.
    pub(super) set_alpha_to_one: bool,
}

/// ᾱ at each timestep and ⌊T/N⌋ before it; past the start of the schedule it is 1, or ᾱ of timestep 0.
pub(super) fn levels(schedule: &NoiseSchedule, timesteps: &[f64], end: TrajectoryEnd) -> Vec<(f64, f64)> {
    let stride = schedule.num_train_timesteps() / end.steps;
    let last = if end.set_alpha_to_one { 1.0 } else { schedule.alphas_cumprod(0) };
    let level = |t: &f64| {
        let t = *t as usize;
        (schedule.alphas_cumprod(t), t.checked_sub(stride).map_or(last, |previous| schedule.alphas_cumprod(previous)))
    };
    timesteps.iter().map(level).collect()
}

impl Scheduler for Ddim {
    fn kind(&self) -> SchedulerKind {
        SchedulerKind::Ddim
    }

    fn prediction_type(&self) -> PredictionType {
        self.prediction_type
    }

    fn timesteps(&self) -> &[f64] {
        &self.timesteps
    }

    fn noise_level(&self, index: usize) -> NoiseLevel {
        NoiseLevel::variance_preserving(self.levels[index].0)
    }

    fn noise_level_after(&self, index: usize) -> Option<NoiseLevel> {
        Some(NoiseLevel::variance_preserving(self.levels[index].1))
    }

    fn keep_calls(&mut self, kept: &[usize]) -> Result<()> {
        spacing::check_kept(kept, self.levels.len())?;
        let end = self.levels.last().map_or(1.0, |(_, after)| *after);
        let after = kept.iter().skip(1).map(|next| self.levels[*next].0).chain([end]);
        self.levels = kept.iter().zip(after).map(|(index, after)| (self.levels[*index].0, after)).collect();
        self.timesteps = kept.iter().map(|index| self.timesteps[*index]).collect();
        Ok(())
    }

    fn step(
        &mut self,
        model_output: &Tensor,
        index: usize,
        latents: &Tensor,
        _noise: &mut NoiseSource,
    ) -> Result<Tensor> {
        let (level, next) = self.levels[index];
        let p = Prediction::new(self.prediction_type, NoiseLevel::variance_preserving(level));
        let mut x0 = combine(&[(p.x0_latents, latents), (p.x0_output, model_output)])?;
        if let Some(range) = self.clip_sample_range {
            x0 = x0.clamp(-range, range)?;
        }
        let eps = combine(&[(p.eps_latents, latents), (p.eps_output, model_output)])?;
        combine(&[(next.sqrt(), &x0), ((1.0 - next).sqrt(), &eps)])
    }
}
