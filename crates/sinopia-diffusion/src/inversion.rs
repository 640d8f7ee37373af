//! A picture that was not painted here, followed back to noise: which states a scheduler would have taken to it.
//!
//! A step takes latents z at one level to `z' = keep·z + turn·d(z)` at the next, where d is a reading of the model's output. Run backwards z' is known
//! and z is not, on both sides of the equation. DDIM inversion (Song et al. 2020, arXiv 2010.02502; Dhariwal & Nichol 2021, arXiv 2105.05233) asks the model at the
//! timestep of z about z' instead, which is off by what the prediction changes in a step. Iterations then put each answer into the equation again (AIDI,
//! Pan et al. 2023, arXiv 2309.04907; ReNoise, Garibi et al. 2024, arXiv 2403.14602): they come nearer as long as `|turn/keep|` times the model's Lipschitz constant
//! is below 1, which shows in their changes becoming smaller.
//!
//! Pictures that were painted here are never inverted: their [`Trajectory`] is kept or painted again.

use candle_core::Tensor;
use sinopia_models::checkpoint::Constructor;

use crate::conditioning::PromptText;
use crate::noise::NoiseSource;
use crate::observer::{Run, Stage, StepReport};
use crate::painting::{Image, Sampling, Shortcuts};
use crate::pipeline::{GuidedText, Pipeline, Sampler};
use crate::schedulers::{NoiseLevel, Prediction, PredictionType, combine};
use crate::trajectory::Trajectory;
use crate::{Error, Result};

/// A picture to be inverted, and the run that is to have led to it.
#[derive(Debug, Clone)]
pub struct Inversion<'a> {
    /// The model.
    pub pipeline: &'a Pipeline,
    /// Size, steps and scheduler of the edit that comes after. Guidance and shortcuts do not count here: inverting is done at guidance 1, as stronger guidance makes
    /// the model's answers change faster than the iterations can follow.
    pub sampling: &'a Sampling,
    /// How the scheduler's config is read: [`Method::constructor`](crate::methods::Method::constructor) of the method that the edit goes by.
    pub constructor: Constructor,
    /// What the picture shows; may be empty.
    pub caption: &'a str,
    /// How precisely.
    pub options: InversionOptions,
}

/// How precisely a picture is inverted.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct InversionOptions {
    /// Most calls of the model that a step has after its first one; 0 is plain DDIM inversion. Default: 2, which 10 to 20 steps need (50 are near enough without).
    pub max_iterations: usize,
    /// A step is done when an iteration changes its latents by less than this share of their size (root mean square). Default: 0.001.
    pub tolerance: f64,
}

impl Default for InversionOptions {
    fn default() -> Self {
        Self { max_iterations: 2, tolerance: 1e-3 }
    }
}

/// An inverted picture.
#[derive(Debug, Clone)]
pub struct Inverted {
    /// From noise to the picture's latents.
    pub trajectory: Trajectory,
    /// How each step went, in the order of the scheduler's calls (the last was inverted first).
    pub steps: Vec<InvertedStep>,
}

/// How the inversion of one step went.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct InvertedStep {
    /// Calls of the model.
    pub calls: usize,
    /// By how much the last iteration still changed the latents, as a share of their size; `None` without iterations.
    pub residual: Option<f64>,
    /// Whether the iterations went apart, so that the best state before was kept.
    pub has_diverged: bool,
}

impl Inversion<'_> {
    /// The trajectory that leads to `image`, whose size is the sampling's.
    ///
    /// # Errors
    /// [`Error::NotInvertible`] for schedulers that cannot be run backwards; [`Error::PictureSize`]; [`Error::Cancelled`] and those of the networks.
    pub fn run(&self, image: &Image, run: &Run) -> Result<Inverted> {
        let latents = self.pipeline.encode_picture(image, run)?; // (1, H, W, C)
        self.of_latents(&latents, run)
    }

    /// The trajectory that leads to latents (1, H, W, C) in the denoiser's units.
    ///
    /// # Errors
    /// As [`run`](Self::run).
    pub fn of_latents(&self, latents: &Tensor, run: &Run) -> Result<Inverted> {
        // Guidance 1 and no shortcuts: features of another call are not those of this one, going backwards.
        let kind = self.sampling.scheduler.unwrap_or(self.pipeline.first_order_scheduler());
        let sampling = Sampling {
            scheduler: Some(kind),
            guidance_scale: 1.0,
            shortcuts: Shortcuts::default(),
            ..self.sampling.clone()
        };
        let prompt = PromptText { words: self.caption, caption: Some(self.caption) };
        let mut texts = run.stage(&Stage::Encode, || self.pipeline.encode_pairs(&[prompt], "", &sampling, run))?;
        let text = texts.swap_remove(0);
        let noise = NoiseSource::new(sampling.seed); // of which no step that can be run backwards draws
        let sampler = self.pipeline.sampler_as(self.constructor, &sampling, noise, run)?;
        let transfers = Transfer::of_all(&sampler, kind.name())?;
        run.stage(&Stage::Invert, || {
            Backwards { sampler, text: &text, options: self.options }.go(latents, &transfers, run)
        })
    }
}

/// One step of a scheduler, as a map of what the network sees: `z' = keep·z + turn·d`, `d = of_latents·z + of_output·output`.
///
/// d is the noise ε, or the velocity where the model predicts one. With ε, `keep = s'/s` and `turn = n' − n·s'/s` for the factors s of the picture and n of the noise before
/// the step, s' and n' after it (in u = z/s that is `u' = u + (σ' − σ)·ε`). With a velocity nothing is divided by s, so that a level of pure noise is one like others.
#[derive(Debug, Clone, Copy)]
struct Transfer {
    keep: f64,
    turn: f64,
    of_latents: f64,
    of_output: f64,
    before: NoiseLevel,
    after: NoiseLevel,
    prediction_type: PredictionType,
}

/// Below this, latents after a step say nothing of those before it.
const SMALLEST_KEEP: f64 = 1e-3;

impl Transfer {
    /// Those of all calls.
    fn of_all(sampler: &Sampler, scheduler: &'static str) -> Result<Vec<Self>> {
        let refused = |why| Error::NotInvertible { scheduler, why };
        let of_call = |index: usize| {
            let after = sampler.noise_level_after(index).ok_or_else(|| refused(HAS_MEMORY))?;
            let transfer = Self::new(sampler.prediction_type(), sampler.noise_level(index), after);
            if transfer.keep.abs() >= SMALLEST_KEEP && transfer.keep.is_finite() && transfer.turn.is_finite() {
                Ok(transfer)
            } else {
                Err(refused(PURE_NOISE))
            }
        };
        (0..sampler.num_calls()).map(of_call).collect()
    }

    fn new(prediction_type: PredictionType, before: NoiseLevel, after: NoiseLevel) -> Self {
        let (s, n, s_after, n_after) = (before.signal, before.noise, after.signal, after.noise);
        let (keep, turn, of_latents, of_output) = match prediction_type {
            PredictionType::VPrediction => (s * s_after + n * n_after, s * n_after - n * s_after, 0.0, 1.0),
            PredictionType::FlowPrediction => {
                let sum = s + n; // 1 along a flow
                ((s_after + n_after) / sum, (s * n_after - n * s_after) / sum, 0.0, 1.0)
            }
            PredictionType::Epsilon | PredictionType::Sample => {
                let p = Prediction::new(prediction_type, before);
                (s_after / s, n_after - n * s_after / s, p.eps_latents, p.eps_output)
            }
        };
        Self { keep, turn, of_latents, of_output, before, after, prediction_type }
    }

    /// What DDIM inversion starts from: picture and noise that the model's output on the latents z' after the step tells of at their level, mixed as before the step.
    ///
    /// Without noise left z' is the picture itself, and a predicted picture says nothing of ε there: it is then read as if z' had the noise of the level before.
    fn first_guess(&self, output: &Tensor, after: &Tensor) -> Result<Tensor> {
        let NoiseLevel { signal: s, noise: n, .. } = self.before;
        let at_after = Prediction::new(self.prediction_type, self.after);
        let is_clean = self.after.noise == 0.0;
        let x0 = if is_clean { (1.0 / self.after.signal, 0.0) } else { (at_after.x0_latents, at_after.x0_output) };
        let eps = match self.prediction_type {
            PredictionType::Sample if is_clean => Prediction::new(self.prediction_type, self.before),
            _ => at_after,
        };
        combine(&[(s * x0.0 + n * eps.eps_latents, after), (s * x0.1 + n * eps.eps_output, output)])
    }

    /// z of the equation, its own guess put into d: `(z' − turn·d(z)) / keep`.
    fn again(&self, output: &Tensor, guess: &Tensor, after: &Tensor) -> Result<Tensor> {
        let turn = self.turn / self.keep;
        combine(&[(1.0 / self.keep, after), (-turn * self.of_latents, guess), (-turn * self.of_output, output)])
    }
}

const HAS_MEMORY: &str = "its steps add noise or lean on more than the step before; take ddim, euler or dpm-solver++";
const PURE_NOISE: &str = "its first step starts from pure noise, of which the picture after it says nothing; take more steps, or another scheduler";

/// A run from a picture to its noise.
struct Backwards<'a> {
    sampler: Sampler<'a>,
    text: &'a GuidedText,
    options: InversionOptions,
}

impl Backwards<'_> {
    /// Every step, from the last to the first.
    fn go(mut self, latents: &Tensor, transfers: &[Transfer], run: &Run) -> Result<Inverted> {
        let count = transfers.len();
        let mut states = vec![latents.clone()];
        let mut steps = Vec::with_capacity(count);
        let scale = transfers.last().map_or(1.0, |last| last.after.latent_scale);
        let mut z = (latents / scale)?;
        for (done, transfer) in transfers.iter().rev().enumerate() {
            run.check()?;
            let index = count - 1 - done;
            let step;
            (z, step) = self.step(&z, index, transfer, run)?;
            self.sampler.count_work(run);
            run.step(&StepReport {
                stage: &Stage::Invert,
                index: done,
                count,
                timestep: self.sampler.timestep(index),
                loss: None,
                latents: &z,
            });
            states.push((&z * transfer.before.latent_scale)?);
            steps.push(step);
        }
        states.reverse();
        steps.reverse();
        Ok(Inverted { trajectory: Trajectory::new(states)?, steps })
    }

    /// The latents before step `index` from those after it, both as the network sees them.
    fn step(&mut self, after: &Tensor, index: usize, transfer: &Transfer, run: &Run) -> Result<(Tensor, InvertedStep)> {
        let output = self.output(after, index, transfer)?;
        let mut guess = transfer.first_guess(&output, after)?;
        let mut step = InvertedStep { calls: 1, ..InvertedStep::default() };
        let mut best = guess.clone();
        for _ in 0..self.options.max_iterations {
            run.check()?;
            let output = self.output(&guess, index, transfer)?;
            step.calls += 1;
            let next = transfer.again(&output, &guess, after)?;
            let change = root_mean_square(&(&next - &guess)?)? / root_mean_square(&next)?.max(f64::MIN_POSITIVE);
            if !change.is_finite() || step.residual.is_some_and(|residual| change > residual) {
                step.has_diverged = true;
                guess = best;
                break;
            }
            (best, guess, step.residual) = (guess, next, Some(change));
            if change < self.options.tolerance {
                break;
            }
        }
        match root_mean_square(&guess)?.is_finite() {
            true => Ok((guess, step)),
            false => Err(Error::NotFinite { what: "prediction", step: index, timestep: self.sampler.timestep(index) }),
        }
    }

    /// The model's output on latents as it sees them, at the timestep of a call.
    fn output(&mut self, z: &Tensor, index: usize, transfer: &Transfer) -> Result<Tensor> {
        let latents = (z * transfer.before.latent_scale)?;
        Ok(self.sampler.predict(&latents, index, self.text, None)?.prediction)
    }
}

fn root_mean_square(x: &Tensor) -> Result<f64> {
    Ok(f64::from(x.sqr()?.mean_all()?.to_scalar::<f32>()?).sqrt())
}

#[cfg(test)]
mod tests {
    use candle_core::Device;

    use super::*;

    /// Whatever of picture and noise a step is made of, its own transfer takes it on, and back.
    #[test]
    fn a_transfer_is_the_schedulers_step_for_every_prediction() {
        let (x0, eps) = (0.7f64, -1.2);
        let diffusion = NoiseLevel::variance_preserving;
        for (kind, before, after) in [
            (PredictionType::Epsilon, diffusion(0.3), diffusion(0.5)),
            (PredictionType::Sample, diffusion(0.3), diffusion(1.0)),
            (PredictionType::VPrediction, diffusion(0.3), diffusion(1.0)),
            (PredictionType::VPrediction, diffusion(0.0), diffusion(0.2)),
            (PredictionType::FlowPrediction, NoiseLevel::flow(1.0), NoiseLevel::flow(0.8)),
            (PredictionType::FlowPrediction, NoiseLevel::flow(0.3), NoiseLevel::flow(0.0)),
            (PredictionType::Epsilon, NoiseLevel::sigma_scaled(3.0), NoiseLevel::sigma_scaled(0.0)),
        ] {
            let of = |level: NoiseLevel| level.signal * x0 + level.noise * eps;
            let output = match kind {
                PredictionType::Epsilon => eps,
                PredictionType::Sample => x0,
                PredictionType::VPrediction => before.signal * eps - before.noise * x0,
                PredictionType::FlowPrediction => eps - x0,
            };
            let t = Transfer::new(kind, before, after);
            let direction = t.of_latents * of(before) + t.of_output * output;
            let found = t.keep * of(before) + t.turn * direction;
            assert!((found - of(after)).abs() < 1e-12, "{kind:?} {before:?}: {found} for {}", of(after));
        }
    }

    /// Where the model answers the same on both sides of a step, plain DDIM inversion is exact; also where the step leaves no noise.
    #[test]
    fn the_first_guess_is_the_state_before_where_the_prediction_stays() {
        let (x0, eps) = (0.7f64, -1.2);
        let tensor = |value: f64| Tensor::new(&[value as f32], &Device::Cpu).unwrap();
        let diffusion = NoiseLevel::variance_preserving;
        for (kind, before, after) in [
            (PredictionType::Epsilon, diffusion(0.3), diffusion(0.5)),
            (PredictionType::Epsilon, diffusion(0.9), diffusion(1.0)),
            (PredictionType::Epsilon, NoiseLevel::sigma_scaled(0.3), NoiseLevel::sigma_scaled(0.0)),
            (PredictionType::Sample, diffusion(0.3), diffusion(0.5)),
            (PredictionType::VPrediction, diffusion(0.9), diffusion(1.0)),
            (PredictionType::FlowPrediction, NoiseLevel::flow(0.3), NoiseLevel::flow(0.0)),
        ] {
            let of = |level: NoiseLevel| level.signal * x0 + level.noise * eps;
            let output = match kind {
                PredictionType::Epsilon => eps,
                PredictionType::Sample => x0,
                PredictionType::VPrediction => after.signal * eps - after.noise * x0,
                PredictionType::FlowPrediction => eps - x0,
            };
            let guess = Transfer::new(kind, before, after).first_guess(&tensor(output), &tensor(of(after))).unwrap();
            let found = f64::from(guess.to_vec1::<f32>().unwrap()[0]);
            assert!((found - of(before)).abs() < 1e-5, "{kind:?} {before:?}: {found} for {}", of(before));
        }
        // Of a predicted picture only, which says nothing of noise where none is left, the guess leans on what the model takes for noise.
        let step = Transfer::new(PredictionType::Sample, diffusion(0.5), diffusion(1.0));
        let guess = step.first_guess(&tensor(0.4), &tensor(0.7)).unwrap().to_vec1::<f32>().unwrap()[0];
        let s = 0.5f64.sqrt();
        assert!((f64::from(guess) - (s * 0.7 + (0.7 - s * 0.4))).abs() < 1e-6, "{guess}");
    }

    #[test]
    fn pure_noise_ends_the_way_back_only_where_it_is_divided_by() {
        let keep =
            |kind| Transfer::new(kind, NoiseLevel::variance_preserving(0.0), NoiseLevel::variance_preserving(0.1)).keep;
        assert!(!keep(PredictionType::Sample).is_finite() && !keep(PredictionType::Epsilon).is_finite());
        assert!((keep(PredictionType::VPrediction) - 0.9f64.sqrt()).abs() < 1e-12);
    }
}
