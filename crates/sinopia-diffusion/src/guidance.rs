//! The update loop that loss-guided methods share: before a denoising step, move the latents down a loss on attention maps.

use candle_core::{Device, Tensor};
use sinopia_layout::{Grid, GridMask};
use sinopia_models::denoiser::{AttnKey, AttnMaps, CallShape, Denoiser, DenoiserRequest, Recording};

use crate::attention_map::AttentionMap;
use crate::losses::{GroundedTokens, GuidanceLoss, TokenSet};
use crate::observer::{AttentionReport, Run};
use crate::painting::GuidanceReport;
use crate::pipeline::{GuidedText, Sampler};
use crate::schedulers::{NoiseLevel, PUBLISHED_STEPS};
use crate::work::{self, DenoiserWork};
use crate::{Error, Result};

/// How often and how far latents are moved.
///
/// `max_iter` and `max_index_step` are written for a run of 50 steps, as published. With another number of steps the schedule keeps its place in
/// the trajectory: step i of S has the updates of step ⌊50·i/S⌋, so a run of 25 steps makes about half as many updates in all, at the same noise
/// levels. `stretches_schedule` false counts in the run's own steps instead.
#[derive(Debug, Clone, PartialEq)]
pub struct GuidanceOptions {
    /// Factor of the loss's gradient. Published: 5.
    pub loss_scale: f64,
    /// Updates stop at or below this loss. Published: 5.
    pub loss_threshold: f64,
    /// Updates at most at each step; the last value goes on. Published: 4 (×5), 3 (×5), 2 (×10), 1 (×10).
    pub max_iter: Vec<usize>,
    /// No updates before this step. Published: 0.
    pub min_index_step: usize,
    /// No updates from this step on. Published: 30.
    pub max_index_step: usize,
    /// Whether the schedule is stretched to the number of steps.
    pub stretches_schedule: bool,
    /// Whether the loss is evaluated afresh at each step before deciding. The published code carries the last loss over to the next step, so
    /// that guidance ends for good once the loss has fallen below the threshold, even if it rises again afterwards.
    pub refreshes_loss: bool,
}

/// The published schedule: 65 updates in 30 steps.
pub fn published_max_iter() -> Vec<usize> {
    [[4; 5].as_slice(), &[3; 5], &[2; 10], &[1; 10]].concat()
}

impl Default for GuidanceOptions {
    fn default() -> Self {
        Self {
            loss_scale: 5.0,
            loss_threshold: 5.0,
            max_iter: published_max_iter(),
            min_index_step: 0,
            max_index_step: 30,
            stretches_schedule: true,
            refreshes_loss: true,
        }
    }
}

impl GuidanceOptions {
    /// Updates at most at step `index` of `count`.
    pub fn iterations(&self, index: usize, count: usize) -> usize {
        let place = if self.stretches_schedule { index.saturating_mul(PUBLISHED_STEPS) / count } else { index };
        if !(self.min_index_step..self.max_index_step).contains(&place) {
            return 0;
        }
        self.max_iter.get(place).or(self.max_iter.last()).copied().unwrap_or(0)
    }

    /// Steps from the first that may have updates.
    pub fn num_guided_steps(&self, count: usize) -> usize {
        (0..count).rev().find(|index| self.iterations(*index, count) > 0).map_or(0, |last| last + 1)
    }
}

/// A step number of the published 50 steps in a run of `count`.
pub(crate) fn stretched(step: usize, count: usize) -> usize {
    step.saturating_mul(count).div_ceil(PUBLISHED_STEPS)
}

/// How the length of an update follows the trajectory.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub enum StepSize {
    /// `√(1−ᾱ)`, the share of noise: LMD's and, in LMD's code, Backward Guidance's.
    #[default]
    NoiseLevel,
    /// `√(1 − (1−end)·i/(S−1))` at step i of S: BoxDiff's, with `end` 0.5.
    Declining {
        /// The square of the last step's length.
        end: f64,
    },
}

impl StepSize {
    /// The factor of `∂L/∂z` at step `index` of `count`, for latents in the scheduler's scale.
    pub fn factor(self, level: NoiseLevel, index: usize, count: usize) -> f64 {
        match self {
            Self::NoiseLevel => level.guidance_step(),
            Self::Declining { end } => {
                let way = if count > 1 { index as f64 / (count - 1) as f64 } else { 0.0 };
                (1.0 - (1.0 - end) * way).max(0.0).sqrt() * level.latent_scale
            }
        }
    }
}

/// Guidance of one trajectory: the loss on attention maps, taken back to the latents.
#[derive(Debug)]
pub struct Guide<'a> {
    denoiser: &'a dyn Denoiser,
    options: GuidanceOptions,
    step_size: StepSize,
    /// Ones where latents may move, (1, H, W, 1); nowhere else is what the loss wants heard.
    within: Option<Tensor>,
    recording: Recording,
    /// What the recorded columns are, for those who want to see the maps.
    tokens: TokenSet,
    /// The last step whose maps were shown.
    shown: Option<usize>,
    /// Published behaviour: the loss before the latest update, whichever step that was in. At first larger than any threshold.
    last_loss: f64,
    report: GuidanceReport,
}

/// A step that is about to be guided.
#[derive(Clone, Copy)]
pub struct GuidedStep<'a> {
    /// Which step, from 0.
    pub index: usize,
    /// Its trajectory.
    pub sampler: &'a Sampler<'a>,
    /// Its prompt, whose conditional half guidance sees.
    pub text: &'a GuidedText,
    /// What its attention should be.
    pub loss: &'a dyn GuidanceLoss,
}

impl std::fmt::Debug for GuidedStep<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("GuidedStep").field("index", &self.index).finish_non_exhaustive()
    }
}

/// The loss at some latents, and its gradient unless it is small enough already.
struct Evaluation {
    loss: f32,
    gradient: Option<Tensor>,
}

impl<'a> Guide<'a> {
    /// Guidance by the attention of `tokens` at `keys`, in a stage of the given name.
    pub fn new(
        denoiser: &'a dyn Denoiser,
        keys: &[AttnKey],
        tokens: &TokenSet,
        options: GuidanceOptions,
        stage: String,
    ) -> Self {
        let recording = Recording { tokens: tokens.columns(), ..Recording::new(keys) };
        let report = GuidanceReport { stage, updates: 0, first_loss: None, last_loss: None };
        let (step_size, tokens) = (StepSize::default(), tokens.clone());
        Self { denoiser, options, step_size, within: None, recording, tokens, shown: None, last_loss: 1e4, report }
    }

    /// With another rule for the length of updates.
    #[must_use]
    pub fn with_step_size(self, step_size: StepSize) -> Self {
        Self { step_size, ..self }
    }

    /// Moving these cells alone: the gradient is 0 elsewhere, so that each update is of latents as they will be seen.
    ///
    /// # Errors
    /// When the device has no room.
    pub fn within(self, cells: &GridMask) -> Result<Self> {
        let Grid { height, width } = cells.grid();
        let ones = Tensor::from_vec(cells.to_f32(), (1, height, width, 1), &Device::Cpu)?;
        Ok(Self { within: Some(ones), ..self })
    }

    /// The latents after this step's updates: `z ← z − √(1−ᾱ)·∂(loss_scale·L)/∂z` (or as [`StepSize`] says), at most `max_iter[index]` times while L is above the threshold.
    ///
    /// z is variance preserving; latents of schedulers that scale them by 1/√ᾱ are moved by the same amount, scaled (see
    /// [`NoiseLevel::guidance_step`](crate::schedulers::NoiseLevel::guidance_step)). Before a step that uses deep features of an earlier one they stay: what the loss
    /// would move is not looked at there.
    ///
    /// # Errors
    /// [`Error::NotFinite`] if loss or gradient is not a number; [`Error::Cancelled`].
    pub fn update(&mut self, latents: Tensor, step: &GuidedStep, run: &Run) -> Result<Tensor> {
        let (mut latents, GuidedStep { index, sampler, .. }) = (latents, *step);
        if !sampler.runs_deep(index) {
            return Ok(latents);
        }
        let factor = self.step_size.factor(sampler.noise_level(index), index, sampler.num_calls());
        let length = factor * self.options.loss_scale;
        for _ in 0..self.options.iterations(index, sampler.num_scheduled()) {
            run.check()?;
            if !self.options.refreshes_loss && self.last_loss <= self.options.loss_threshold {
                break;
            }
            let Some(gradient) = self.gradient(&latents, step, run)? else { break };
            let gradient = match &self.within {
                Some(within) => gradient.broadcast_mul(&within.to_device(gradient.device())?)?,
                None => gradient,
            };
            latents = (latents - (gradient * length)?)?;
        }
        Ok(latents)
    }

    /// How it went.
    pub fn report(self) -> GuidanceReport {
        self.report
    }

    /// Loss of the latest evaluation.
    pub fn last_loss(&self) -> Option<f32> {
        self.report.last_loss
    }

    /// ∂L/∂z at these latents, or nothing if L is small enough already.
    fn gradient(&mut self, latents: &Tensor, step: &GuidedStep, run: &Run) -> Result<Option<Tensor>> {
        let shows = run.wants_attention() && self.shown.replace(step.index) != Some(step.index);
        let Evaluation { loss, gradient } = self.evaluate(latents, step, shows, run)?;
        self.report.first_loss.get_or_insert(loss);
        self.report.last_loss = Some(loss);
        self.last_loss = f64::from(loss);
        if let Some(gradient) = &gradient {
            self.report.updates += 1;
            if !gradient.sqr()?.sum_all()?.to_scalar::<f32>()?.is_finite() {
                let (index, timestep) = (step.index, step.sampler.timestep(step.index));
                return Err(Error::NotFinite { what: "gradient of the guidance loss", step: index, timestep });
            }
        }
        Ok(gradient)
    }

    /// One pass to the recorded maps, and back unless the loss is small enough.
    fn evaluate(&self, latents: &Tensor, step: &GuidedStep, shows: bool, run: &Run) -> Result<Evaluation> {
        let GuidedStep { index, sampler, text, .. } = *step;
        let input = sampler.model_input(latents, index)?;
        let states = text.conditional().at(sampler.timestep(index))?;
        let recording = Recording { words_from: text.conditional().first_word_column(), ..self.recording.clone() };
        let request = DenoiserRequest {
            record: Some(&recording),
            grounding: text.guidance_grounding(index, sampler.num_scheduled()),
            merge_tokens: sampler.merge_tokens(),
            cancellation: Some(run.cancellation()),
            ..DenoiserRequest::new(&input, sampler.timestep(index), &states)
        };
        let (_, h, w, _) = latents.dims4()?;
        let grid = Grid::new(h, w);
        let shape = work::call_shape(grid, &states, request.grounding);
        let shape = CallShape { merge_tokens: request.merge_tokens, ..shape };

        // The denoiser knows nothing of our errors: what the loss found is kept here.
        let mut found = Ok(f32::NAN);
        let gradient = self.denoiser.input_gradient(&request, &mut |maps| {
            if shows && let Err(error) = self.show(maps, step, grid, run) {
                found = Err(error);
                return Ok(None);
            }
            match self.judge(maps, step) {
                Ok((value, loss)) => {
                    found = Ok(value);
                    Ok(loss)
                }
                Err(error) => {
                    found = Err(error);
                    Ok(None)
                }
            }
        })?;
        let loss = found?;
        run.count(&self.work(shape, gradient.is_some())?);
        Ok(Evaluation { loss, gradient })
    }

    /// The loss of some maps, and once more for its gradient unless it is small enough.
    fn judge(&self, maps: &AttnMaps, step: &GuidedStep) -> Result<(f32, Option<Tensor>)> {
        let loss = step.loss.loss(step.index, maps)?;
        let value = loss.to_scalar::<f32>()?;
        if !value.is_finite() {
            let timestep = step.sampler.timestep(step.index);
            return Err(Error::NotFinite { what: "guidance loss", step: step.index, timestep });
        }
        let is_satisfied = self.options.refreshes_loss && f64::from(value) <= self.options.loss_threshold;
        Ok((value, (!is_satisfied).then_some(loss)))
    }

    /// The work of one evaluation.
    fn work(&self, shape: CallShape, goes_back: bool) -> Result<DenoiserWork> {
        let shape = CallShape { last_key: self.recording.keys.iter().max().copied(), ..shape };
        let mut work = DenoiserWork::default();
        work.guidance_forward.add(&self.denoiser.forward_cost(&shape)?);
        if goes_back {
            work.guidance_backward.add(&self.denoiser.backward_cost(&shape)?);
        }
        Ok(work)
    }

    /// Shows each phrase's cross-attention, layer by layer.
    fn show(&self, maps: &AttnMaps, step: &GuidedStep, latents: Grid, run: &Run) -> Result<()> {
        for layer in self.denoiser.attention_layers(latents) {
            let Some(map) = maps.get(&layer.key) else { continue };
            let cells = map.squeeze(0)?.mean(0)?.to_vec2::<f32>()?; // (heads, HW, L') to (HW, L')
            for object in self.tokens.objects() {
                let values = cells.iter().map(|columns| self.mean_over_tokens(columns, object)).collect();
                run.attention(&AttentionReport {
                    stage: &self.report.stage,
                    index: step.index,
                    count: step.sampler.num_calls(),
                    key: layer.key,
                    phrase: &object.phrase,
                    bboxes: &object.bboxes,
                    map: AttentionMap::new(layer.grid, values)?,
                });
            }
        }
        Ok(())
    }

    /// One cell's probability of a phrase, from that of all recorded tokens.
    fn mean_over_tokens(&self, columns: &[f32], object: &GroundedTokens) -> f32 {
        let of_phrase = object.positions.iter().filter_map(|position| columns.get(self.tokens.column(*position)?));
        of_phrase.sum::<f32>() / object.positions.len().max(1) as f32
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_published_schedule_has_65_updates_in_30_steps() {
        let options = GuidanceOptions::default();
        let updates: Vec<usize> = (0..50).map(|index| options.iterations(index, 50)).collect();
        assert_eq!(updates.iter().sum::<usize>(), 65);
        assert_eq!(options.num_guided_steps(50), 30);
        assert_eq!([updates[4], updates[5], updates[10], updates[29], updates[30]], [4, 3, 2, 1, 0]);
    }

    #[test]
    fn the_schedule_keeps_its_place_in_shorter_and_longer_runs() {
        let options = GuidanceOptions::default();
        assert_eq!((0..25).map(|index| options.iterations(index, 25)).sum::<usize>(), 33);
        assert_eq!(options.num_guided_steps(25), 15);
        assert_eq!(options.num_guided_steps(1), 1);
        assert_eq!(options.iterations(0, 1), 4);
        assert_eq!(options.num_guided_steps(200), 120);
        let own = GuidanceOptions { stretches_schedule: false, ..options };
        assert_eq!(own.num_guided_steps(25), 25);
    }

    #[test]
    fn numbers_of_steps_that_no_run_has_are_past_its_end() {
        assert_eq!([stretched(0, 20), stretched(30, 20), stretched(31, 20)], [0, 12, 13]);
        assert!(stretched(usize::MAX, 20) > 1000);
    }

    #[test]
    fn step_sizes_follow_their_formulas() {
        let level = NoiseLevel::variance_preserving(0.36);
        assert!((StepSize::NoiseLevel.factor(level, 3, 50) - 0.8).abs() < 1e-12);
        let boxdiff = StepSize::Declining { end: 0.5 };
        assert_eq!([boxdiff.factor(level, 0, 50), boxdiff.factor(level, 0, 1)], [1.0, 1.0]);
        assert!((boxdiff.factor(level, 49, 50) - 0.5f64.sqrt()).abs() < 1e-12);
        assert!((boxdiff.factor(level, 7, 50) - (1.0 - 0.5 * 7.0 / 49.0f64).sqrt()).abs() < 1e-12);
        let scaled = NoiseLevel::sigma_scaled(level.noise / level.signal);
        assert!((boxdiff.factor(scaled, 0, 50) * 0.6 - 1.0).abs() < 1e-12, "1/√ᾱ times as far where latents are");
    }

    #[test]
    fn no_schedule_means_no_updates() {
        let options = GuidanceOptions { max_iter: Vec::new(), ..GuidanceOptions::default() };
        assert_eq!(options.num_guided_steps(50), 0);
        let options = GuidanceOptions { max_index_step: 0, ..GuidanceOptions::default() };
        assert_eq!(options.num_guided_steps(50), 0);
        let options = GuidanceOptions { max_iter: vec![5], max_index_step: 10, ..GuidanceOptions::default() };
        assert_eq!((0..50).map(|index| options.iterations(index, 50)).sum::<usize>(), 50);
    }
}
