//! The update loop that loss-guided methods share: before a denoising step, move the latents down a loss on attention maps.

use candle_core::Tensor;
use sinopia_layout::Grid;
use sinopia_models::unet::{AttnKey, CallShape, Recording, UNet2DConditionModel, UNetRequest};

use crate::losses::{AttentionMaps, GroundedTokens, GuidanceLoss, TokenSet};
use crate::masks::AttentionMap;
use crate::observer::{AttentionReport, Run};
use crate::painting::GuidanceReport;
use crate::pipeline::{GuidedText, Sampler};
use crate::schedulers::NoiseLevel;
use crate::work::{self, UNetWork};
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

/// The number of steps that the published schedules are written for.
pub const PUBLISHED_STEPS: usize = 50;

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
        let place = if self.stretches_schedule { index * PUBLISHED_STEPS / count } else { index };
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
    (step * count).div_ceil(PUBLISHED_STEPS)
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

/// Guidance of one trajectory.
#[derive(Debug)]
pub struct Guide<'a> {
    unet: &'a UNet2DConditionModel,
    options: GuidanceOptions,
    step_size: StepSize,
    recording: Recording,
    /// What the recorded columns are, for those who want to see the maps.
    tokens: TokenSet,
    /// The last step whose maps were shown.
    shown: Option<usize>,
    /// Published behaviour: the loss before the latest update, whichever step that was in. At first larger than any threshold.
    last_loss: f64,
    report: GuidanceReport,
}

/// Why a gradient pass ended before its way back.
enum Ended {
    /// The loss is at or below the threshold.
    Satisfied(f32),
    Failed(Error),
}

impl From<sinopia_models::Error> for Ended {
    fn from(error: sinopia_models::Error) -> Self {
        Self::Failed(error.into())
    }
}

impl<'a> Guide<'a> {
    /// Guidance by the attention of `tokens` at `keys`, in a stage of the given name.
    pub fn new(
        unet: &'a UNet2DConditionModel,
        keys: &[AttnKey],
        tokens: &TokenSet,
        options: GuidanceOptions,
        stage: String,
    ) -> Self {
        let recording = Recording { tokens: tokens.columns(), ..Recording::new(keys) };
        let report = GuidanceReport { stage, updates: 0, first_loss: None, last_loss: None };
        let (step_size, tokens) = (StepSize::default(), tokens.clone());
        Self { unet, options, step_size, recording, tokens, shown: None, last_loss: 1e4, report }
    }

    /// With another rule for the length of updates.
    #[must_use]
    pub fn with_step_size(self, step_size: StepSize) -> Self {
        Self { step_size, ..self }
    }

    /// The latents after this step's updates: `z ← z − √(1−ᾱ)·∂(loss_scale·L)/∂z` (or as [`StepSize`] says), at most `max_iter[index]` times while L is above the threshold.
    ///
    /// z is variance preserving; latents of schedulers that scale them by 1/√ᾱ are moved by the same amount, scaled (see
    /// [`NoiseLevel::guidance_step`](crate::schedulers::NoiseLevel::guidance_step)).
    ///
    /// # Errors
    /// [`Error::NotFinite`] if loss or gradient is not a number; [`Error::Cancelled`].
    pub fn update(
        &mut self,
        latents: Tensor,
        index: usize,
        (sampler, text, loss): (&Sampler, &GuidedText, &dyn GuidanceLoss),
        run: &Run,
    ) -> Result<Tensor> {
        let mut latents = latents;
        let factor = self.step_size.factor(sampler.noise_level(index), index, sampler.num_calls());
        let step = factor * self.options.loss_scale;
        for _ in 0..self.options.iterations(index, sampler.num_scheduled()) {
            run.check()?;
            if !self.options.refreshes_loss && self.last_loss <= self.options.loss_threshold {
                break;
            }
            let Some(gradient) = self.gradient(&latents, index, (sampler, text, loss), run)? else { break };
            latents = (latents - (gradient * step)?)?;
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
    fn gradient(
        &mut self,
        latents: &Tensor,
        index: usize,
        (sampler, text, loss): (&Sampler, &GuidedText, &dyn GuidanceLoss),
        run: &Run,
    ) -> Result<Option<Tensor>> {
        let timestep = sampler.timestep(index);
        let input = sampler.model_input(latents, index)?;
        let states = text.conditional().at(timestep)?;
        let recording = Recording { words_from: text.conditional().first_word_column(), ..self.recording.clone() };
        let request = UNetRequest {
            record: Some(&recording),
            grounding: text.guidance_grounding(index, sampler.num_scheduled()),
            interrupt: run.cancellation().interrupt(),
            ..UNetRequest::new(&input, timestep, &states)
        };
        let (refreshes, threshold) = (self.options.refreshes_loss, self.options.loss_threshold);
        let (_, h, w, _) = latents.dims4()?;
        let shape = work::call_shape((1, (h, w)), &states, request.grounding);
        let shows = run.wants_attention() && self.shown.replace(index) != Some(index);
        let this = &*self;
        let outcome = this.unet.gradient(&request, &mut |maps| {
            if shows {
                this.show(maps, (index, sampler.num_calls()), (h, w), run).map_err(Ended::Failed)?;
            }
            let loss = loss.loss(index, maps).map_err(Ended::Failed)?;
            let value = loss.to_scalar::<f32>().map_err(|error| Ended::Failed(error.into()))?;
            if !value.is_finite() {
                return Err(Ended::Failed(Error::NotFinite { what: "guidance loss", step: index, timestep }));
            }
            if refreshes && f64::from(value) <= threshold { Err(Ended::Satisfied(value)) } else { Ok(loss) }
        });
        let (value, gradient) = match outcome {
            Ok((value, gradient)) => (value, Some(gradient)),
            Err(Ended::Satisfied(value)) => (value, None),
            Err(Ended::Failed(error)) => return Err(error),
        };
        run.count(&self.work(shape, gradient.is_some())?);
        self.report.first_loss.get_or_insert(value);
        self.report.last_loss = Some(value);
        self.last_loss = f64::from(value);
        if let Some(gradient) = &gradient {
            self.report.updates += 1;
            if !gradient.sqr()?.sum_all()?.to_scalar::<f32>()?.is_finite() {
                return Err(Error::NotFinite { what: "gradient of the guidance loss", step: index, timestep });
            }
        }
        Ok(gradient)
    }

    /// The work of one evaluation.
    fn work(&self, shape: CallShape, goes_back: bool) -> Result<UNetWork> {
        let shape = CallShape { last_key: self.recording.keys.iter().max().copied(), ..shape };
        let mut work = UNetWork::default();
        work.guidance_forward.add(&self.unet.config().forward_cost(&shape)?);
        if goes_back {
            work.guidance_backward.add(&self.unet.config().backward_cost(&shape)?);
        }
        Ok(work)
    }

    /// Shows where each phrase looks, layer by layer.
    fn show(
        &self,
        maps: &AttentionMaps,
        (index, count): (usize, usize),
        latents_hw: (usize, usize),
        run: &Run,
    ) -> Result<()> {
        for (key, map) in maps {
            let (height, width) = self.unet.attention_grid(*key, latents_hw);
            let cells = map.squeeze(0)?.mean(0)?.to_vec2::<f32>()?; // (heads, HW, L') to (HW, L')
            for object in self.tokens.objects() {
                let values = cells.iter().map(|columns| self.mean_over_tokens(columns, object)).collect();
                run.attention(&AttentionReport {
                    stage: &self.report.stage,
                    index,
                    count,
                    key: *key,
                    phrase: &object.phrase,
                    bboxes: &object.bboxes,
                    map: AttentionMap::new(Grid::new(height, width), values)?,
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
    fn step_sizes_follow_their_formulas() {
        let level = NoiseLevel::variance_preserving(0.36);
        assert!((StepSize::NoiseLevel.factor(level, 3, 50) - 0.8).abs() < 1e-12);
        let boxdiff = StepSize::Declining { end: 0.5 };
        assert_eq!([boxdiff.factor(level, 0, 50), boxdiff.factor(level, 0, 1)], [1.0, 1.0]);
        assert!((boxdiff.factor(level, 49, 50) - 0.5f64.sqrt()).abs() < 1e-12);
        assert!((boxdiff.factor(level, 7, 50) - (1.0 - 0.5 * 7.0 / 49.0f64).sqrt()).abs() < 1e-12);
        let scaled = NoiseLevel::sigma_scaled(level.sigma());
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
