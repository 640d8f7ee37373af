//! PNDM (Liu et al. 2022, arXiv 2202.09778) in the PLMS form that Stable Diffusion uses.

use candle_core::Tensor;

use super::config::{PredictionType, SchedulerConfig, TimestepSpacing};
use super::noise_schedule::{NoiseLevel, NoiseSchedule, Prediction};
use super::{Scheduler, SchedulerKind, combine, ddim, spacing};
use crate::noise::NoiseSource;
use crate::{Error, Result};

/// Pseudo linear multistep: the last four model outputs, combined as by Adams–Bashforth, drive a DDIM-like transfer.
///
/// The first step is made twice (a predictor, then the mean of both ends), so the second timestep is visited twice and N steps are N + 1 model
/// calls (one call for N = 1). Runge–Kutta warm-up steps (`skip_prk_steps` false) are not built: no Stable Diffusion checkpoint wants them, and
/// configs of other classes, which lack the key, mean PLMS here.
#[derive(Debug, Clone)]
pub struct Pndm {
    timesteps: Vec<f64>,
    /// ᾱ before each call's transfer, and after it.
    transfers: Vec<(f64, f64)>,
    /// ᾱ of the latents that the model sees at each call.
    levels: Vec<f64>,
    prediction_type: PredictionType,
    /// The latest model outputs, newest last, at most four.
    outputs: Vec<Tensor>,
    /// The latents the first step started from.
    start: Option<Tensor>,
}

impl Pndm {
    /// diffusers' `PNDMScheduler` with `skip_prk_steps`.
    ///
    /// # Errors
    /// When the config asks for Runge–Kutta steps or predicts the sample.
    pub fn new(config: &SchedulerConfig, steps: usize) -> Result<Self> {
        let refuse = |key, value: &str, hint| {
            Err(Error::UnsupportedScheduler {
                scheduler: SchedulerKind::Pndm.name(),
                key,
                value: value.to_owned(),
                hint,
            })
        };
        if config.skip_prk_steps == Some(false) {
            return refuse("skip_prk_steps", "false", "; only PLMS steps are built");
        }
        let prediction_type = config.prediction_type.unwrap_or(PredictionType::Epsilon);
        if prediction_type == PredictionType::Sample {
            return refuse("prediction_type", "sample", "; it takes epsilon and v_prediction");
        }
        let schedule = NoiseSchedule::new(config, false)?;
        let timesteps = spacing::timesteps(config, TimestepSpacing::Leading, &schedule, steps)?;
        let mut timesteps: Vec<f64> = timesteps.into_iter().map(f64::round_ties_even).collect();
        let set_alpha_to_one = config.set_alpha_to_one.unwrap_or(false);
        if steps > 1 {
            timesteps.insert(1, timesteps[1]);
        }
        let mut transfers = ddim::levels(&schedule, &timesteps, (steps, set_alpha_to_one));
        let levels = transfers.iter().map(|(level, _)| *level).collect();
        if steps > 1 {
            // The second call makes the first step again, now from both its ends.
            let stride = schedule.num_train_timesteps() / steps;
            let second = timesteps[1] as usize;
            let from = (second + stride).min(schedule.num_train_timesteps() - 1);
            transfers[1] = (schedule.alphas_cumprod(from), schedule.alphas_cumprod(second));
        }
        Ok(Self { timesteps, transfers, levels, prediction_type, outputs: Vec::new(), start: None })
    }

    /// The model output that drives this call's transfer, and the latents it starts from.
    fn multistep(&mut self, model_output: &Tensor, index: usize, latents: &Tensor) -> Result<(Tensor, Tensor)> {
        if index == 0 {
            self.outputs = vec![model_output.clone()];
            self.start = Some(latents.clone());
            return Ok((model_output.clone(), latents.clone()));
        }
        if let (1, Some(start)) = (index, self.start.take()) {
            let mean = combine(&[(0.5, model_output), (0.5, &self.outputs[0])])?;
            return Ok((mean, start));
        }
        if self.outputs.len() == 4 {
            self.outputs.remove(0);
        }
        self.outputs.push(model_output.clone());
        let combined = match self.outputs.as_slice() {
            [.., e4, e3, e2, e1] => {
                combine(&[(55.0 / 24.0, e1), (-59.0 / 24.0, e2), (37.0 / 24.0, e3), (-9.0 / 24.0, e4)])
            }
            [e3, e2, e1] => combine(&[(23.0 / 12.0, e1), (-16.0 / 12.0, e2), (5.0 / 12.0, e3)]),
            [e2, e1] => combine(&[(1.5, e1), (-0.5, e2)]),
            _ => Ok(model_output.clone()),
        }?;
        Ok((combined, latents.clone()))
    }
}

impl Scheduler for Pndm {
    fn kind(&self) -> SchedulerKind {
        SchedulerKind::Pndm
    }

    fn timesteps(&self) -> &[f64] {
        &self.timesteps
    }

    fn noise_level(&self, index: usize) -> NoiseLevel {
        NoiseLevel::variance_preserving(self.levels[index])
    }

    fn step(
        &mut self,
        model_output: &Tensor,
        index: usize,
        latents: &Tensor,
        _noise: &mut NoiseSource,
    ) -> Result<Tensor> {
        let (output, latents) = self.multistep(model_output, index, latents)?;
        let (level, next) = self.transfers[index];
        let p = Prediction::new(self.prediction_type, level);
        let eps = combine(&[(p.eps_latents, &latents), (p.eps_output, &output)])?;
        // Formula 9 of the paper.
        let denominator = level * (1.0 - next).sqrt() + (level * (1.0 - level) * next).sqrt();
        combine(&[((next / level).sqrt(), &latents), (-(next - level) / denominator, &eps)])
    }
}
