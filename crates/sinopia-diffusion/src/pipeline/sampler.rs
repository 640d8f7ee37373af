//! One trajectory from noise to a picture: a scheduler, its noise, and the denoiser that drives it.

use std::sync::Arc;

use candle_core::Tensor;
use sinopia_layout::Grid;
use sinopia_models::CancellationToken;
use sinopia_models::denoiser::{
    AttnMaps, BatchPart, CallPart, CallShape, Denoiser, DenoiserReply, DenoiserRequest, Eraser, NetworkCost, Parting,
    Recording, SharedStart, TextConditioning,
};
use sinopia_models::unet::Grounding;
use sinopia_nn::threads;

use super::GuidedText;
use super::classifier_free::classifier_free_guidance;
use crate::noise::NoiseSource;
use crate::observer::{Run, Stage, StepReport};
use crate::painting::Shortcuts;
use crate::schedulers::{self, NoiseLevel, PredictionType, Scheduler};
use crate::work::{self, DenoiserWork};
use crate::{Error, Result};

/// A trajectory: a scheduler, its noise, and the denoiser that drives it.
pub struct Sampler<'a> {
    denoiser: &'a dyn Denoiser,
    scheduler: Box<dyn Scheduler>,
    /// Calls before any were left out.
    num_scheduled: usize,
    /// Calls that will be made.
    num_wanted: usize,
    /// The first call that is made.
    first: usize,
    noise: NoiseSource,
    has_small_calls: bool,
    shortcuts: Shortcuts,
    /// Deep features of the last call, if they are used again: of one batch, or of the two halves of guidance.
    deep: Vec<Tensor>,
    cancellation: CancellationToken,
    /// Not counted by the run yet.
    work: DenoiserWork,
}

impl std::fmt::Debug for Sampler<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Sampler").field("scheduler", &self.scheduler.kind()).finish_non_exhaustive()
    }
}

/// What a call of the model leaves.
#[derive(Debug)]
pub struct Predicted {
    /// The guided prediction, (B, H, W, C).
    pub prediction: Tensor,
    /// The attention maps asked for, of the conditional half: (B, heads, HW, L').
    pub maps: AttnMaps,
}

/// What a denoising step leaves.
#[derive(Debug)]
pub struct Denoised {
    /// The latents after the step, in the scheduler's scale, (1, H, W, C).
    pub latents: Tensor,
    /// The attention maps asked for, of the conditional half: (1, heads, HW, L').
    pub maps: AttnMaps,
}

/// A step that has just ended.
#[derive(Debug, Clone, Copy)]
pub struct FinishedStep<'a> {
    /// The stage it belongs to.
    pub stage: &'a Stage,
    /// Which step, from 0.
    pub index: usize,
    /// Loss of the last guidance update, if there was one.
    pub loss: Option<f32>,
    /// The latents after it, in the scheduler's scale, (1, H, W, C).
    pub latents: &'a Tensor,
}

/// What one call of the model sees besides text and boxes.
struct ModelInput<'e> {
    index: usize,
    timestep: f64,
    /// (B, H, W, C): one for each prompt, or one for all.
    latents: Tensor,
    /// Whether both halves of classifier-free guidance are wanted.
    is_guided: bool,
    /// What to record of the conditional half.
    record: Option<Recording>,
    /// What self-attention does not see.
    eraser: Option<&'e Eraser>,
    /// What another call has in common with this one, which is then counted with it.
    start: Option<&'e SharedStart>,
    /// Whether deep features of the last call may serve, and this one's the next.
    shares_deep: bool,
}

impl ModelInput<'_> {
    /// How many of the texts go with each of the latents.
    fn texts_a_picture(&self, texts: &TextConditioning) -> usize {
        texts.batch_size() / self.latents.dims()[0].max(1)
    }

    /// Latents for each of the texts: all pictures for one text, or half, after all pictures for another.
    fn latents_of(&self, texts: &TextConditioning) -> Result<Tensor> {
        match self.texts_a_picture(texts) {
            0 | 1 => Ok(self.latents.clone()),
            copies => Ok(Tensor::cat(&vec![&self.latents; copies], 0)?),
        }
    }
}

/// The texts of a call.
enum CallText {
    /// Both halves of guidance as one batch, or the conditional one alone.
    Batch(Arc<TextConditioning>),
    /// The halves for calls of their own, unconditional first.
    Halves([Arc<TextConditioning>; 2]),
}

impl<'a> Sampler<'a> {
    /// A trajectory without shortcuts, which ends early with its run.
    pub fn new(denoiser: &'a dyn Denoiser, scheduler: Box<dyn Scheduler>, noise: NoiseSource, run: &Run) -> Self {
        Self {
            denoiser,
            num_scheduled: scheduler.timesteps().len(),
            num_wanted: scheduler.timesteps().len(),
            first: 0,
            scheduler,
            noise,
            has_small_calls: false,
            shortcuts: Shortcuts::default(),
            deep: Vec::new(),
            cancellation: run.cancellation().clone(),
            work: DenoiserWork::default(),
        }
    }

    /// With shortcuts; small calls have the halves of guidance side by side.
    pub(super) fn with_shortcuts(self, shortcuts: Shortcuts, has_small_calls: bool) -> Self {
        Self { shortcuts, has_small_calls, ..self }
    }
}

impl Sampler<'_> {
    /// How often the model is called.
    pub fn num_calls(&self) -> usize {
        self.scheduler.timesteps().len()
    }

    /// Leaves calls out, all but those with the indices `kept`. Shares of the calls, such as those with grounding adapters, stay shares of all, unless
    /// they are to be `counted_anew`, as the published fast schedule does.
    ///
    /// # Errors
    /// As [`Scheduler::keep_calls`].
    pub fn keep_calls(&mut self, kept: &[usize], counted_anew: bool) -> Result<()> {
        self.num_wanted = kept.len();
        if counted_anew {
            self.num_scheduled = kept.len();
        }
        self.scheduler.keep_calls(kept)
    }

    /// The first call of a run that changes a picture as strongly as `strength` says, 0..=1: [`num_calls`](Self::num_calls) if none is made.
    pub fn first_call(&self, strength: f64) -> usize {
        self.scheduler.entry(schedulers::first_call(strength, self.num_calls()))
    }

    /// Begins with call `first`, from latents that are as noisy as they are before it. The calls told to those who wait are those from there on.
    ///
    /// # Errors
    /// [`Error::Mismatch`] when the scheduler cannot begin there.
    pub fn begin_at(&mut self, first: usize) -> Result<()> {
        if first > self.num_calls() || self.scheduler.entry(first) != first {
            let (found, expected) =
                (first.to_string(), format!("one that {} begins a step with", self.scheduler.kind()));
            return Err(Error::Mismatch { what: "the first call of the denoiser", found, expected });
        }
        (self.first, self.num_wanted) = (first, self.num_calls() - first);
        Ok(())
    }

    /// Tells those who wait that the trajectory is left after so many calls.
    pub fn leave_after(&mut self, calls: usize) {
        self.num_wanted = calls;
    }

    /// How often the model would be called if no calls were left out: what step numbers of a schedule refer to.
    pub fn num_scheduled(&self) -> usize {
        self.num_scheduled
    }

    /// The picture's latents that a prediction at a call stands for.
    ///
    /// # Errors
    /// When shapes disagree.
    pub fn predicted_original(&self, prediction: &Tensor, index: usize, latents: &Tensor) -> Result<Tensor> {
        schedulers::predicted_original(&*self.scheduler, prediction, index, latents)
    }

    /// Whether [`predict_erasing`](Self::predict_erasing) can.
    pub fn can_erase(&self) -> bool {
        self.denoiser.can_erase()
    }

    /// Side of the windows that self-attention on the latents' grid merges keys and values of.
    pub(crate) fn merge_tokens(&self) -> usize {
        self.shortcuts.merge_tokens
    }

    /// Whether a call runs the deep layers, whose attention is guided and recorded.
    pub(crate) fn runs_deep(&self, index: usize) -> bool {
        self.shortcuts.runs_deep(index)
    }

    /// The timestep of a call.
    pub fn timestep(&self, index: usize) -> f64 {
        self.scheduler.timesteps()[index]
    }

    /// How noisy the latents are before a call.
    pub fn noise_level(&self, index: usize) -> NoiseLevel {
        self.scheduler.noise_level(index)
    }

    /// How noisy the latents are after a call, as [`Scheduler::noise_level_after`] has it.
    pub fn noise_level_after(&self, index: usize) -> Option<NoiseLevel> {
        self.scheduler.noise_level_after(index)
    }

    /// What the model's outputs are.
    pub fn prediction_type(&self) -> PredictionType {
        self.scheduler.prediction_type()
    }

    /// The latents as the denoiser wants to see them at a call.
    ///
    /// # Errors
    /// When the device has no room.
    pub fn model_input(&self, latents: &Tensor, index: usize) -> Result<Tensor> {
        self.scheduler.scale_model_input(latents, index)
    }

    /// Unit-variance noise as the latents to start with.
    ///
    /// # Errors
    /// When the device has no room.
    pub fn scale_noise(&self, noise: &Tensor) -> Result<Tensor> {
        Ok((noise * self.scheduler.init_noise_sigma())?)
    }

    /// One step of classifier-free guidance: `ε = ε_u + g·(ε_c − ε_u)`, then the scheduler's.
    ///
    /// # Errors
    /// When the denoiser refuses, or its prediction is not finite.
    pub fn denoise(
        &mut self,
        latents: &Tensor,
        index: usize,
        text: &GuidedText,
        record: Option<&Recording>,
    ) -> Result<Denoised> {
        let Predicted { prediction, maps } = self.predict(latents, index, text, record)?;
        Ok(Denoised { latents: self.advance(&prediction, index, latents)?, maps })
    }

    /// The model's guided prediction for a batch of latents in the scheduler's scale, (B, H, W, C), one prompt each, or for one picture's by several prompts;
    /// and the maps asked for, of the conditional half.
    ///
    /// # Errors
    /// When the denoiser refuses.
    pub fn predict(
        &mut self,
        latents: &Tensor,
        index: usize,
        text: &GuidedText,
        record: Option<&Recording>,
    ) -> Result<Predicted> {
        let words_from = text.conditional.first_word_column();
        let record = record.map(|record| Recording { words_from, ..record.clone() });
        let input = ModelInput { record, ..self.input(latents, index, text)? };
        self.predict_input(&input, text)
    }

    /// The attention maps alone, as [`predict`](Self::predict) has them for one picture: the conditional half, as far as its last map.
    ///
    /// # Errors
    /// When the denoiser refuses.
    pub(crate) fn record(
        &mut self,
        latents: &Tensor,
        index: usize,
        text: &GuidedText,
        record: &Recording,
    ) -> Result<AttnMaps> {
        let input = self.input(latents, index, text)?;
        let states = text.conditional.at(input.timestep)?;
        let grounding = text.grounding.as_ref().and_then(|boxes| boxes.at(index, self.num_scheduled, false));
        let last_key = record.keys.iter().max().copied();
        let shape = CallShape { last_key, ..self.shape(&input, &states, grounding)? };
        self.count_parts(shape, [CallPart::Whole])?;
        let words_from = text.conditional.first_word_column();
        let record = Recording { batch: BatchPart::All, words_from, ..record.clone() };
        let request = DenoiserRequest { record: Some(&record), last_key, grounding, ..self.request(&input, &states) };
        Ok(self.denoiser.forward(&request)?.maps)
    }

    /// A prediction for the same latents beside the trajectory's own, of another prompt: (B, H, W, C).
    ///
    /// # Errors
    /// As [`predict`](Self::predict).
    pub fn predict_beside(&mut self, latents: &Tensor, index: usize, text: &GuidedText) -> Result<Tensor> {
        let input = ModelInput { shares_deep: false, ..self.input(latents, index, text)? };
        Ok(self.predict_input(&input, text)?.prediction)
    }

    /// The same with everything to be seen, and with cells that self-attention does not see; up to there both are one call.
    ///
    /// # Errors
    /// As [`predict`](Self::predict), and when the denoiser cannot erase.
    pub fn predict_erasing(
        &mut self,
        latents: &Tensor,
        index: usize,
        text: &GuidedText,
        eraser: &Eraser,
    ) -> Result<[Tensor; 2]> {
        let plain = ModelInput { shares_deep: false, ..self.input(latents, index, text)? };
        let start = if plain.is_guided { None } else { self.start_before_erasing(&plain, text)? };
        let plain = ModelInput { start: start.as_ref(), ..plain };
        let seen = self.predict_input(&plain, text)?.prediction;
        let erased = self.predict_input(&ModelInput { eraser: Some(eraser), ..plain }, text)?.prediction;
        Ok([seen, erased])
    }

    /// What calls with and without an eraser have in common, counted with what comes after it in both.
    fn start_before_erasing(&mut self, input: &ModelInput, text: &GuidedText) -> Result<Option<SharedStart>> {
        let states = text.conditional.at(input.timestep)?;
        let grounding = self.grounding(input, text);
        let shape = self.shape(input, &states, grounding)?;
        let request = DenoiserRequest { grounding, ..self.request(input, &states) };
        let start = self.denoiser.shared_start(&request, Parting::Eraser)?;
        if start.is_some() {
            self.count_parts(shape, [CallPart::Start(Parting::Eraser), CallPart::After(Parting::Eraser)])?;
            let again = CallShape { projects_text: false, ..shape };
            self.count_parts(again, [CallPart::After(Parting::Eraser)])?;
        }
        Ok(start)
    }

    /// A plain call for a prompt.
    fn input<'e>(&self, latents: &Tensor, index: usize, text: &GuidedText) -> Result<ModelInput<'e>> {
        Ok(ModelInput {
            index,
            timestep: self.timestep(index),
            latents: self.model_input(latents, index)?,
            is_guided: text.is_guided() && self.shortcuts.guides(index, self.num_calls()),
            record: None,
            eraser: None,
            start: None,
            shares_deep: true,
        })
    }

    fn predict_input(&mut self, input: &ModelInput, text: &GuidedText) -> Result<Predicted> {
        let reply = match self.call_text(input, text)? {
            CallText::Batch(states) => self.forward_batch(input, &states, text)?,
            CallText::Halves(states) => self.forward_halves(input, &states, text)?,
        };
        let (step, timestep) = (input.index, input.timestep);
        let prediction = reply.prediction.ok_or(Error::NotFinite { what: "prediction", step, timestep })?;
        let prediction = if input.is_guided { classifier_free_guidance(&prediction, text)? } else { prediction };
        Ok(Predicted { prediction, maps: reply.maps })
    }

    /// Halves of guidance go side by side if their lengths differ, or if each alone is small and nothing else fills the batch.
    fn call_text(&self, input: &ModelInput, text: &GuidedText) -> Result<CallText> {
        let conditional = || text.conditional.at(input.timestep);
        let is_small = !text.is_batch && text.grounding.is_none() && self.has_small_calls;
        match (&text.unconditional, &text.both) {
            (Some(unconditional), both) if input.is_guided && (both.is_none() || is_small) => {
                Ok(CallText::Halves([unconditional.at(input.timestep)?, conditional()?]))
            }
            (_, Some(both)) if input.is_guided => Ok(CallText::Batch(both.at(input.timestep)?)),
            _ => Ok(CallText::Batch(conditional()?)),
        }
    }

    /// Both halves of guidance as a batch, or the conditional one alone.
    fn forward_batch(
        &mut self,
        input: &ModelInput,
        states: &TextConditioning,
        text: &GuidedText,
    ) -> Result<DenoiserReply> {
        let grounding = self.grounding(input, text);
        let deep = self.reusable_features(input, &[states])?;
        let copies = input.texts_a_picture(states);
        let start = if copies > 1 && deep.is_empty() { self.start_of_texts(input, states)? } else { None };
        if input.start.is_none() {
            let shape = CallShape { is_shallow: !deep.is_empty(), ..self.shape(input, states, grounding)? };
            self.count_call(shape, start.as_ref().map(|_| copies))?;
        }
        let latents = if start.is_some() { input.latents.clone() } else { input.latents_of(states)? };
        let batch = if input.is_guided { BatchPart::Conditional } else { BatchPart::All };
        let record = input.record.clone().map(|record| Recording { batch, ..record });
        let mut reply = self.denoiser.forward(&DenoiserRequest {
            latents: &latents,
            record: record.as_ref(),
            grounding,
            deep: deep.first(),
            start: start.as_ref().or(input.start),
            ..self.request(input, states)
        })?;
        self.keep_deep(input, reply.deep.take());
        Ok(reply)
    }

    /// The halves of guidance side by side, unconditional first.
    fn forward_halves(
        &mut self,
        input: &ModelInput,
        states: &[Arc<TextConditioning>; 2],
        text: &GuidedText,
    ) -> Result<DenoiserReply> {
        let deep = self.reusable_features(input, &[&states[0], &states[1]])?;
        let start = if deep.is_empty() { self.start_of_texts(input, &states[0])? } else { None };
        // The conditional half's keys and values also serve guidance, so it is the unconditional one that tells whether they are still to be made.
        let shape = self.shape(input, &states[0], self.grounding(input, text))?;
        let shape = CallShape { batch: 2 * shape.batch, is_shallow: !deep.is_empty(), ..shape };
        self.count_call(shape, start.as_ref().map(|_| 2 * input.texts_a_picture(&states[0])))?;
        let latents = if start.is_some() { input.latents.clone() } else { input.latents_of(&states[0])? };
        let halves = text.grounding.as_ref().and_then(|boxes| boxes.halves_at(input.index, self.num_scheduled));
        let record = input.record.clone().map(|record| Recording { batch: BatchPart::All, ..record });
        let (denoiser, requests) = (self.denoiser, [self.request(input, &states[0]), self.request(input, &states[1])]);
        let mut replies = threads::side_by_side(2, |half| {
            denoiser.forward(&DenoiserRequest {
                latents: &latents,
                record: if half == 1 { record.as_ref() } else { None },
                grounding: halves.map(|halves| halves[half]),
                deep: deep.get(half),
                start: start.as_ref(),
                ..requests[half]
            })
        })?;
        self.keep_deep(input, replies.iter_mut().filter_map(|reply| reply.deep.take()));
        let maps = replies.iter_mut().flat_map(|reply| std::mem::take(&mut reply.maps)).collect();
        let predictions: Vec<_> = replies.into_iter().filter_map(|reply| reply.prediction).collect();
        let prediction = if predictions.len() == 2 { Some(Tensor::cat(&predictions, 0)?) } else { None };
        Ok(DenoiserReply { prediction, maps, deep: None })
    }

    /// The boxes of both halves as a batch, or of the conditional one alone.
    fn grounding<'t>(&self, input: &ModelInput, text: &'t GuidedText) -> Option<&'t Grounding> {
        text.grounding.as_ref()?.at(input.index, self.num_scheduled, input.is_guided)
    }

    /// The deep features of the last call for each part of this one, if it need not be whole: where guidance has just ended, those of its conditional half.
    fn reusable_features(&self, input: &ModelInput, parts: &[&TextConditioning]) -> Result<Vec<Tensor>> {
        if !input.shares_deep || input.record.is_some() || self.runs_deep(input.index) {
            return Ok(Vec::new());
        }
        let sizes = |deep: &[Tensor]| deep.iter().map(|part| part.dims()[0]).collect::<Vec<_>>();
        let wanted: Vec<usize> = parts.iter().map(|part| part.batch_size()).collect();
        match self.deep.as_slice() {
            deep if sizes(deep) == wanted => Ok(deep.to_vec()),
            _ if input.is_guided => Ok(Vec::new()),
            [_, conditional] if [conditional.dims()[0]] == *wanted => Ok(vec![conditional.clone()]),
            [both] if [both.dims()[0] / 2] == *wanted => Ok(vec![both.narrow(0, wanted[0], wanted[0])?.contiguous()?]),
            _ => Ok(Vec::new()),
        }
    }

    /// Remembers deep features, unless every call is whole.
    fn keep_deep(&mut self, input: &ModelInput, deep: impl IntoIterator<Item = Tensor>) {
        if input.shares_deep && self.shortcuts.deep_every > 1 {
            self.deep = deep.into_iter().collect();
        }
    }

    /// A call for texts, with what is the same for all calls of a step.
    fn request<'r>(&'r self, input: &'r ModelInput, states: &'r TextConditioning) -> DenoiserRequest<'r> {
        DenoiserRequest {
            merge_tokens: self.shortcuts.merge_tokens,
            eraser: input.eraser,
            cancellation: Some(&self.cancellation),
            ..DenoiserRequest::new(&input.latents, input.timestep, states)
        }
    }

    /// What calls with these latents have in common, whatever the text.
    fn start_of_texts(&self, input: &ModelInput, states: &TextConditioning) -> Result<Option<SharedStart>> {
        Ok(self.denoiser.shared_start(&self.request(input, states), Parting::Text)?)
    }

    /// The shape of a call before it is made: afterwards text and boxes are projected.
    fn shape(&self, input: &ModelInput, states: &TextConditioning, grounding: Option<&Grounding>) -> Result<CallShape> {
        let (_, h, w, _) = input.latents.dims4()?;
        Ok(CallShape {
            batch: states.batch_size(),
            // Where something is erased nothing is merged.
            merge_tokens: if input.eraser.is_none() { self.shortcuts.merge_tokens } else { 1 },
            ..work::call_shape(Grid::new(h, w), states, grounding)
        })
    }

    /// Counts a call, whose start is perhaps `shared_by` so many texts of each picture.
    fn count_call(&mut self, shape: CallShape, shared_by: Option<usize>) -> Result<()> {
        let Some(copies) = shared_by else { return self.count_parts(shape, [CallPart::Whole]) };
        let start = CallShape { batch: shape.batch / copies, part: CallPart::Start(Parting::Text), ..shape };
        let mut cost = self.denoiser.forward_cost(&start)?;
        cost += &self.denoiser.forward_cost(&CallShape { part: CallPart::After(Parting::Text), ..shape })?;
        self.work.sampling.add(&cost);
        Ok(())
    }

    /// Counts parts of a pass as one call.
    fn count_parts<const N: usize>(&mut self, shape: CallShape, parts: [CallPart; N]) -> Result<()> {
        let mut cost = NetworkCost::default();
        for part in parts {
            cost += &self.denoiser.forward_cost(&CallShape { part, ..shape })?;
        }
        self.work.sampling.add(&cost);
        Ok(())
    }

    /// The scheduler's step, from a prediction for these latents.
    ///
    /// # Errors
    /// [`Error::NotFinite`] if the prediction is not.
    pub fn advance(&mut self, prediction: &Tensor, index: usize, latents: &Tensor) -> Result<Tensor> {
        let latents = self.scheduler.step(prediction, index, latents, &mut self.noise)?;
        if !latents.sum_all()?.to_scalar::<f32>()?.is_finite() {
            return Err(Error::NotFinite { what: "prediction", step: index, timestep: self.timestep(index) });
        }
        Ok(latents)
    }

    /// Tells the run what work there was since the last time.
    pub(crate) fn count_work(&mut self, run: &Run) {
        run.count(&std::mem::take(&mut self.work));
    }

    /// Tells the run that a step has ended, and what work it was.
    pub(crate) fn report(&mut self, step: &FinishedStep, run: &Run) -> Result<()> {
        self.count_work(run);
        let FinishedStep { stage, index, loss, latents } = *step;
        let count = self.num_wanted;
        // The level after the step is that before the next one; at the end both scales agree.
        let latents =
            if index + 1 < self.num_calls() { self.model_input(latents, index + 1)? } else { latents.clone() };
        let (index, timestep) = (index - self.first, self.timestep(index));
        run.step(&StepReport { stage, index, count, timestep, loss, latents: &latents });
        Ok(())
    }
}
