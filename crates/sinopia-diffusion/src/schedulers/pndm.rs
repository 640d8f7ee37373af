//! PNDM (Liu et al. 2022, arXiv 2202.09778): a linear multistep method, started by Runge–Kutta steps or, for Stable Diffusion, without.

use candle_core::Tensor;
use sinopia_models::checkpoint::PredictionType;

use super::config::SchedulerConfig;
use super::ddim::{self, TrajectoryEnd};
use super::noise_level::{NoiseLevel, Prediction};
use super::noise_schedule::NoiseSchedule;
use super::{Scheduler, SchedulerKind, combine, spacing};
use crate::noise::NoiseSource;
use crate::{Error, Result};

/// Pseudo linear multistep (PLMS): the last four model outputs, combined as by Adams–Bashforth, drive a DDIM-like transfer.
///
/// With `skip_prk_steps`, as in Stable Diffusion 1's files, the first step is made twice (a predictor, then the mean of both ends): the second
/// timestep is visited twice and N steps are N + 1 model calls (one for N = 1). Without it, which is the class default and so holds for files
/// of other classes, the first three steps are pseudo Runge–Kutta steps of four calls each: N + 9 calls. Fewer than 4 steps leave no room for
/// those, and skip them.
#[derive(Debug, Clone)]
pub struct Pndm {
    timesteps: Vec<f64>,
    /// ᾱ before each call's transfer, and after it.
    transfers: Vec<(f64, f64)>,
    /// ᾱ of the latents that the model sees at each call.
    levels: Vec<f64>,
    /// Calls that belong to Runge–Kutta steps: 12 or 0.
    num_runge_kutta: usize,
    prediction_type: PredictionType,
    /// The latest model outputs, newest last, at most four.
    outputs: Vec<Tensor>,
    /// The latents that the current step started from.
    start: Option<Tensor>,
    /// The weighted sum of a Runge–Kutta step's outputs so far.
    sum: Option<Tensor>,
}

/// Steps that a Runge–Kutta start needs: three, and the one they lead to.
const PNDM_ORDER: usize = 4;

/// Weights of the four outputs of a Runge–Kutta step.
const RUNGE_KUTTA: [f64; 4] = [1.0 / 6.0, 1.0 / 3.0, 1.0 / 3.0, 1.0 / 6.0];

impl Pndm {
    /// diffusers' `PNDMScheduler`.
    ///
    /// # Errors
    /// When the config predicts the sample, or cannot be divided into `steps`.
    pub fn new(config: &SchedulerConfig, steps: usize) -> Result<Self> {
        let prediction_type = config.prediction_type.unwrap_or(PredictionType::Epsilon);
        if prediction_type == PredictionType::Sample {
            return Err(Error::UnsupportedScheduler {
                scheduler: SchedulerKind::Pndm.name(),
                key: "prediction_type",
                value: "sample".to_owned(),
                hint: "; it takes epsilon and v_prediction",
            });
        }
        let schedule = NoiseSchedule::new(config, false)?;
        let timesteps = spacing::whole_timesteps(SchedulerKind::Pndm, config, &schedule, steps)?;
        let end = TrajectoryEnd { steps, set_alpha_to_one: config.set_alpha_to_one.unwrap_or(false) };
        let skips_runge_kutta = config.skip_prk_steps.unwrap_or(false) || steps < PNDM_ORDER;
        let (timesteps, transfers) = match skips_runge_kutta {
            true => twice_at_the_second(timesteps, &schedule, end),
            false => runge_kutta_first(&timesteps, &schedule, end),
        };
        let levels = timesteps.iter().map(|t| level(&schedule, *t)).collect();
        Ok(Self {
            timesteps,
            transfers,
            levels,
            num_runge_kutta: if skips_runge_kutta { 0 } else { 4 * (PNDM_ORDER - 1) },
            prediction_type,
            outputs: Vec::new(),
            start: None,
            sum: None,
        })
    }

    /// The output that drives a Runge–Kutta call's transfer, and the latents it starts from.
    fn runge_kutta(&mut self, model_output: &Tensor, index: usize, latents: &Tensor) -> Result<(Tensor, Tensor)> {
        let stage = index % 4;
        if index == 0 {
            self.outputs.clear();
        }
        if stage == 0 {
            self.outputs.push(model_output.clone());
            self.start = Some(latents.clone());
            self.sum = None;
        }
        let share = combine(&[(RUNGE_KUTTA[stage], model_output)])?;
        let sum = match self.sum.take() {
            Some(sum) => (sum + share)?,
            None => share,
        };
        self.sum = Some(sum.clone());
        let output = if stage == 3 { sum } else { model_output.clone() };
        Ok((output, self.start.clone().unwrap_or_else(|| latents.clone())))
    }

    /// The output that drives a multistep call's transfer, and the latents it starts from.
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

/// Timesteps, and ᾱ before and after each call's transfer.
type Calls = (Vec<f64>, Vec<(f64, f64)>);

/// ᾱ at a timestep; past the schedule's ends, of the first or last.
fn level(schedule: &NoiseSchedule, timestep: f64) -> f64 {
    schedule.alphas_cumprod((timestep.max(0.0) as usize).min(schedule.num_train_timesteps() - 1))
}

/// t₀, t₁, t₁, t₂, …: the second call makes the first step again, now from both its ends.
fn twice_at_the_second(mut timesteps: Vec<f64>, schedule: &NoiseSchedule, end: TrajectoryEnd) -> Calls {
    if timesteps.len() == 1 {
        let transfers = ddim::levels(schedule, &timesteps, end);
        return (timesteps, transfers);
    }
    timesteps.insert(1, timesteps[1]);
    let mut transfers = ddim::levels(schedule, &timesteps, end);
    let stride = (schedule.num_train_timesteps() / end.steps) as f64;
    transfers[1] = (level(schedule, timesteps[1] + stride), level(schedule, timesteps[1]));
    (timesteps, transfers)
}

/// Three steps of four calls (at the start, twice half-way, at the end), then one call a step.
fn runge_kutta_first(timesteps: &[f64], schedule: &NoiseSchedule, end: TrajectoryEnd) -> Calls {
    let half = (schedule.num_train_timesteps() / end.steps / 2) as f64;
    let (mut calls, mut transfers) = (Vec::new(), Vec::new());
    for step in timesteps[..PNDM_ORDER].windows(2) {
        let (from, to) = (step[0], step[1]);
        calls.extend([from, to + half, to + half, to]);
        let targets = [from - half, to + half, to, to];
        transfers.extend(targets.map(|target| (level(schedule, from), level(schedule, target))));
    }
    let rest = &timesteps[PNDM_ORDER - 1..];
    transfers.extend(ddim::levels(schedule, rest, end));
    calls.extend(rest);
    (calls, transfers)
}

impl Scheduler for Pndm {
    fn kind(&self) -> SchedulerKind {
        SchedulerKind::Pndm
    }

    fn prediction_type(&self) -> PredictionType {
        self.prediction_type
    }

    fn timesteps(&self) -> &[f64] {
        &self.timesteps
    }

    fn noise_level(&self, index: usize) -> NoiseLevel {
        NoiseLevel::variance_preserving(self.levels[index])
    }

    /// Not the later calls of a Runge–Kutta step, nor the second of the two that make the first step without them: these go on from where their step began.
    fn entry(&self, index: usize) -> usize {
        match index {
            1 if self.num_runge_kutta == 0 && self.timesteps.len() > 1 => 0,
            _ if index < self.num_runge_kutta => index - index % 4,
            _ => index,
        }
    }

    fn step(
        &mut self,
        model_output: &Tensor,
        index: usize,
        latents: &Tensor,
        _noise: &mut NoiseSource,
    ) -> Result<Tensor> {
        let (output, latents) = match index < self.num_runge_kutta {
            true => self.runge_kutta(model_output, index, latents)?,
            false => self.multistep(model_output, index, latents)?,
        };
        let (level, next) = self.transfers[index];
        let p = Prediction::new(self.prediction_type, NoiseLevel::variance_preserving(level));
        let eps = combine(&[(p.eps_latents, &latents), (p.eps_output, &output)])?;
        // Formula 9 of the paper.
        let denominator = level * (1.0 - next).sqrt() + (level * (1.0 - level) * next).sqrt();
        combine(&[((next / level).sqrt(), &latents), (-(next - level) / denominator, &eps)])
    }
}

#[cfg(test)]
mod tests {
    use candle_core::Device;

    use super::*;
    use crate::noise::Seed;
    use crate::schedulers::BetaSchedule;

    /// diffusers 0.42.1: PNDMScheduler(beta_start=.00085, beta_end=.012, beta_schedule="scaled_linear", prediction_type="v_prediction",
    /// steps_offset=1), five steps, model output `0.3·x + 0.1·(i mod 3 − 1)`, x = 0.7 at first.
    #[test]
    fn runge_kutta_steps_come_first_unless_skipped() -> Result<()> {
        let config = SchedulerConfig {
            beta_start: Some(0.00085),
            beta_end: Some(0.012),
            beta_schedule: Some(BetaSchedule::ScaledLinear),
            prediction_type: Some(PredictionType::VPrediction),
            steps_offset: Some(1),
            ..SchedulerConfig::default()
        };
        let expected = [
            (801.0, 0.685893815),
            (701.0, 0.676531700),
            (701.0, 0.617501571),
            (601.0, 0.639401062),
            (601.0, 0.606168999),
            (501.0, 0.593539205),
            (501.0, 0.588639648),
            (401.0, 0.558434589),
            (401.0, 0.506295206),
            (301.0, 0.542080708),
            (301.0, 0.471653988),
            (201.0, 0.473759115),
            (201.0, 0.561823480),
            (1.0, 0.554221825),
        ];
        let mut scheduler = Pndm::new(&config, 5)?;
        let mut noise = NoiseSource::new(Seed(0));
        let mut x = Tensor::full(0.7f32, (1, 1, 1, 1), &Device::Cpu)?;
        assert_eq!(scheduler.timesteps(), expected.map(|(timestep, _)| timestep));
        for (index, (_, expected)) in expected.into_iter().enumerate() {
            let output = ((&x * 0.3)? + 0.1 * (index as f64 % 3.0 - 1.0))?;
            x = scheduler.step(&output, index, &x, &mut noise)?;
            let found = f64::from(x.flatten_all()?.to_vec1::<f32>()?[0]);
            assert!((found - expected).abs() < 2e-5, "call {index}: {found} against {expected}");
        }
        Ok(())
    }

    #[test]
    fn few_steps_leave_no_room_for_runge_kutta() -> Result<()> {
        for (steps, calls) in [(1, 1), (2, 3), (3, 4), (4, 13), (50, 59)] {
            assert_eq!(Pndm::new(&SchedulerConfig::default(), steps)?.timesteps().len(), calls, "{steps} steps");
        }
        Ok(())
    }
}
