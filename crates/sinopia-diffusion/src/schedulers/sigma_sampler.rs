//! Euler, Euler-ancestral, DDIM and DPM-Solver++ 2M along noise levels that are given: each is a rule from one σ to the next.

use candle_core::Tensor;
use sinopia_models::checkpoint::PredictionType;

use super::config::SchedulerConfig;
use super::noise_level::{NoiseLevel, Prediction};
use super::noise_schedule::NoiseSchedule;
use super::sigma_schedule::nearest_timestep;
use super::{Scheduler, SchedulerKind, SigmaSchedule, combine, spacing};
use crate::noise::{LatentSize, NoiseSource};
use crate::{Error, Result};

/// A scheduler on the levels of a [`SigmaSchedule`]. Latents are x₀ + σ·ε, and D is the picture that the model predicts at σ.
///
/// With σ' the next level: Euler, which DDIM is in this scale, `x' = D + (x − D)·σ'/σ`; ancestral `x' = D + (x − D)·σ_down/σ + σ_up·noise`, with
/// σ'² = σ_down² + σ_up²; DPM-Solver++ 2M as Euler with `D + (D − D_previous)/(2r)` for D, r = ln(σ_previous/σ)/ln(σ/σ'). So k-diffusion has them.
#[derive(Debug, Clone)]
pub struct SigmaSampler {
    kind: SchedulerKind,
    timesteps: Vec<f64>,
    /// σ before each step, and 0 after the last.
    sigmas: Vec<f64>,
    init_noise_sigma: f64,
    prediction_type: PredictionType,
    /// D of the step before.
    previous: Option<Tensor>,
}

impl SigmaSampler {
    /// `kind` along `schedule`. Of the config, what says how the model was trained counts, not its spacing.
    ///
    /// # Errors
    /// For PNDM, and for numbers of steps that the schedule does not have.
    pub fn new(kind: SchedulerKind, schedule: SigmaSchedule, config: &SchedulerConfig, steps: usize) -> Result<Self> {
        if kind == SchedulerKind::Pndm {
            let expected = "ddim, euler, euler-ancestral or dpm-solver++ before the name of noise levels";
            return Err(Error::Setting { name: "scheduler", found: format!("{kind}-{schedule}"), expected });
        }
        let trained = NoiseSchedule::new(config, true)?.sigmas();
        let sigmas = schedule.sigmas(&trained, steps)?;
        let timesteps = sigmas[..sigmas.len() - 1].iter().map(|sigma| nearest_timestep(&trained, *sigma) as f64);
        let is_from_noise_alone = sigmas[0] >= trained[trained.len() - 1] * (1.0 - 1e-5);
        Ok(Self {
            kind,
            timesteps: timesteps.collect(),
            // The network has learned that the last level still shows √ᾱ of a picture, here a grey one.
            init_noise_sigma: if is_from_noise_alone { sigmas[0].hypot(1.0) } else { sigmas[0] },
            sigmas,
            prediction_type: config.prediction_type.unwrap_or(PredictionType::Epsilon),
            previous: None,
        })
    }

    /// `D + (x − D)·ratio`.
    fn toward(denoised: &[(f64, &Tensor)], latents: &Tensor, ratio: f64) -> Vec<(f64, Tensor)> {
        let rest = denoised.iter().map(|(share, tensor)| ((1.0 - ratio) * share, (*tensor).clone()));
        std::iter::once((ratio, latents.clone())).chain(rest).collect()
    }
}

impl Scheduler for SigmaSampler {
    fn kind(&self) -> SchedulerKind {
        self.kind
    }

    fn prediction_type(&self) -> PredictionType {
        self.prediction_type
    }

    fn timesteps(&self) -> &[f64] {
        &self.timesteps
    }

    fn init_noise_sigma(&self) -> f64 {
        self.init_noise_sigma
    }

    fn noise_level(&self, index: usize) -> NoiseLevel {
        NoiseLevel::sigma_scaled(self.sigmas[index])
    }

    fn noise_level_after(&self, index: usize) -> Option<NoiseLevel> {
        let adds_noise = self.kind == SchedulerKind::EulerAncestral;
        (!adds_noise).then(|| NoiseLevel::sigma_scaled(self.sigmas[index + 1]))
    }

    fn keep_calls(&mut self, kept: &[usize]) -> Result<()> {
        if self.kind != SchedulerKind::Ddim {
            let found = self.kind.to_string();
            return Err(Error::Setting { name: "fast_schedule", found, expected: "the scheduler ddim" });
        }
        spacing::check_kept(kept, self.timesteps.len())?;
        self.sigmas = kept.iter().map(|index| self.sigmas[*index]).chain([0.0]).collect();
        self.timesteps = kept.iter().map(|index| self.timesteps[*index]).collect();
        Ok(())
    }

    fn step(
        &mut self,
        model_output: &Tensor,
        index: usize,
        latents: &Tensor,
        noise: &mut NoiseSource,
    ) -> Result<Tensor> {
        let level = self.noise_level(index);
        let p = Prediction::new(self.prediction_type, level);
        let denoised = combine(&[(p.x0_latents / level.latent_scale, latents), (p.x0_output, model_output)])?;
        let (now, next) = (self.sigmas[index], self.sigmas[index + 1]);
        let previous = self.previous.replace(denoised.clone()).filter(|_| index > 0);

        let terms = match (self.kind, previous) {
            (SchedulerKind::EulerAncestral, _) => {
                let (down, up) = spacing::ancestral_step(now, next);
                let mut terms = Self::toward(&[(1.0, &denoised)], latents, down / now);
                terms.push((up, noise.draw(LatentSize::of(latents)?, latents.device())?));
                terms
            }
            // The last step lands on D itself: no history there.
            (SchedulerKind::DpmSolverPlusPlus, Some(previous)) if next > 0.0 => {
                let r = (self.sigmas[index - 1] / now).ln() / (now / next).ln();
                let slope = 0.5 / r;
                Self::toward(&[(1.0 + slope, &denoised), (-slope, &previous)], latents, next / now)
            }
            _ => Self::toward(&[(1.0, &denoised)], latents, next / now),
        };
        combine(&terms.iter().map(|(factor, tensor)| (*factor, tensor)).collect::<Vec<_>>())
    }
}

#[cfg(test)]
mod tests {
    use candle_core::Device;

    use super::super::config::{BetaSchedule, TimestepSpacing};
    use super::*;
    use crate::noise::Seed;

    fn config() -> SchedulerConfig {
        SchedulerConfig {
            beta_start: Some(0.00085),
            beta_end: Some(0.012),
            beta_schedule: Some(BetaSchedule::ScaledLinear),
            prediction_type: Some(PredictionType::Epsilon),
            ..SchedulerConfig::default()
        }
    }

    /// Latents after each call, of a model that sees three tenths of its input.
    fn run(mut scheduler: Box<dyn Scheduler>) -> Vec<f64> {
        let mut noise = NoiseSource::new(Seed(3));
        let mut latents = Tensor::new(&[[[[1.0f32]]]], &Device::Cpu).unwrap();
        latents = (latents * scheduler.init_noise_sigma()).unwrap();
        let mut seen = Vec::new();
        for index in 0..scheduler.timesteps().len() {
            let input = scheduler.scale_model_input(&latents, index).unwrap();
            latents = scheduler.step(&(input * 0.3).unwrap(), index, &latents, &mut noise).unwrap();
            seen.push(f64::from(latents.flatten_all().unwrap().to_vec1::<f32>().unwrap()[0]));
        }
        seen
    }

    fn along(kind: SchedulerKind, schedule: SigmaSchedule, config: &SchedulerConfig) -> Vec<f64> {
        run(Box::new(SigmaSampler::new(kind, schedule, config, 6).unwrap()))
    }

    #[track_caller]
    fn assert_near(found: &[f64], expected: &[f64], tolerance: f64) {
        assert_eq!(found.len(), expected.len());
        for (found, expected) in found.iter().zip(expected) {
            assert!((found - expected).abs() <= tolerance * expected.abs().max(1.0), "{found} for {expected}");
        }
    }

    /// k-diffusion's `sample_euler` and `sample_dpmpp_2m` of the same toy, computed in NumPy.
    #[test]
    fn steps_are_k_diffusions() {
        use SchedulerKind::*;
        use SigmaSchedule::*;
        assert_near(&along(Euler, Karras, &config()), EULER_KARRAS, 1e-5);
        assert_near(&along(Ddim, Karras, &config()), EULER_KARRAS, 1e-5);
        assert_near(&along(DpmSolverPlusPlus, Karras, &config()), DPMPP_2M_KARRAS, 1e-5);
        assert_near(&along(Euler, DdimUniform, &config()), EULER_DDIM_UNIFORM, 1e-5);
    }

    const EULER_KARRAS: &[f64] = &[12.08907, 9.82377, 7.968697, 6.941212, 6.652583, 6.594396];
    const DPMPP_2M_KARRAS: &[f64] = &[12.08907, 9.189006, 6.714087, 5.346853, 4.870927, 4.828323];
    const EULER_DDIM_UNIFORM: &[f64] = &[11.88505, 10.09987, 8.8243, 7.874982, 7.118723, 6.25086, 6.173451];

    #[test]
    fn diffusers_schedulers_agree_where_their_spacing_does() {
        let linspace = SchedulerConfig { timestep_spacing: Some(TimestepSpacing::Linspace), ..config() };
        let diffusers = run(SchedulerKind::Euler.build(&linspace, 6).unwrap());
        // ComfyUI's noise is larger by √(1 + σ²)/σ and its levels between timesteps are geometric means: a fraction of a percent.
        assert_near(&along(SchedulerKind::Euler, SigmaSchedule::Normal, &linspace), &diffusers, 5e-3);
    }

    #[test]
    fn ancestral_steps_add_noise_and_pndm_has_no_levels_of_others() {
        let (plain, noisy) = (
            along(SchedulerKind::Euler, SigmaSchedule::Normal, &config()),
            along(SchedulerKind::EulerAncestral, SigmaSchedule::Normal, &config()),
        );
        assert_ne!(plain, noisy);
        let refused = SigmaSampler::new(SchedulerKind::Pndm, SigmaSchedule::Karras, &config(), 6).unwrap_err();
        assert!(refused.to_string().contains("pndm-karras"), "{refused}");
    }

    #[test]
    fn calls_can_be_left_out_of_ddim() {
        let mut sampler = SigmaSampler::new(SchedulerKind::Ddim, SigmaSchedule::Normal, &config(), 6).unwrap();
        sampler.keep_calls(&[0, 2, 5]).unwrap();
        assert_eq!(sampler.timesteps(), [999.0, 599.0, 0.0]);
        assert_eq!(run(Box::new(sampler.clone())).len(), 3);
        assert!(sampler.keep_calls(&[9]).is_err());
        let mut euler = SigmaSampler::new(SchedulerKind::Euler, SigmaSchedule::Normal, &config(), 6).unwrap();
        assert!(euler.keep_calls(&[0]).is_err());
    }
}
