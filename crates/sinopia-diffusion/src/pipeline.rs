//! The frozen model as methods see it: prompts in, denoising steps, pictures out.

use std::collections::BTreeMap;
use std::sync::Arc;

use candle_core::{D, DType, Device, Tensor};
use sinopia_layout::excerpt;
use sinopia_models::checkpoint::{Constructor, constructed_scheduler};
use sinopia_models::clip::ClipTextModel;
use sinopia_models::ella::Ella;
use sinopia_models::sam::Sam;
use sinopia_models::unet::{
    AttnKey, BatchPart, CallShape, Grounding, Recording, TextConditioning, UNet2DConditionModel, UNetReply, UNetRequest,
};
use sinopia_models::vae::AutoencoderKl;
use sinopia_models::{Checkpoint, Interrupt, Tokenizer, Tokens};
use sinopia_nn::threads;

use crate::conditioning::{Conditioning, PromptText, TextEncoderKind, TextEncoding};
use crate::grounding::{GroundingOptions, ScheduledGrounding, Slot};
use crate::noise::NoiseSource;
use crate::observer::{Cancellation, Run, Stage, StepReport};
use crate::painting::{Image, Sampling, Shortcuts};
use crate::schedulers::{self, NoiseLevel, PredictionType, Scheduler, SchedulerConfig, SchedulerKind, SchedulerName};
use crate::work::{self, UNetWork};
use crate::{Error, Result};

/// The parts of a Stable Diffusion checkpoint, ready to run.
#[derive(Debug)]
pub struct PipelineParts {
    /// Text to ids.
    pub tokenizer: Tokenizer,
    /// Ids to text embeddings.
    pub text_encoder: ClipTextModel,
    /// Latents to noise.
    pub unet: UNet2DConditionModel,
    /// Latents to pixels.
    pub vae: AutoencoderKl,
    /// The content of `scheduler/scheduler_config.json`.
    pub scheduler_config: serde_json::Value,
    /// Where the weights are.
    pub device: Device,
}

/// A checkpoint that methods paint with.
#[derive(Debug)]
pub struct Pipeline {
    tokenizer: Tokenizer,
    text_encoder: ClipTextModel,
    unet: UNet2DConditionModel,
    vae: AutoencoderKl,
    scheduler_config: SchedulerConfig,
    /// The content of its file.
    scheduler_file: serde_json::Value,
    device: Device,
    sam: Option<Arc<Sam>>,
    ella: Option<Arc<Ella>>,
}

/// A prompt and what it is weighed against, ready for the UNet; for models with grounding adapters perhaps with boxes.
#[derive(Debug)]
pub struct GuidedText {
    /// What classifier-free guidance weighs against: (B, L, D); none without guidance.
    unconditional: Option<Arc<Conditioning>>,
    conditional: Arc<Conditioning>,
    /// [unconditional, conditional] as one batch, unless their numbers of tokens differ.
    both: Option<Arc<Conditioning>>,
    /// Whether these are several prompts, which one call of the UNet serves best.
    is_batch: bool,
    guidance_scale: f64,
    guidance_rescale: f64,
    grounding: Option<ScheduledGrounding>,
}

/// A scheduler's file as a constructor of diffusers leaves it.
fn constructed(file: &serde_json::Value, constructor: Constructor) -> Result<SchedulerConfig> {
    SchedulerConfig::from_json(&constructed_scheduler(file, constructor))
}

/// Most characters of a prompt that a warning repeats.
pub(crate) const SHOWN_CHARS: usize = 200;

impl GuidedText {
    /// The same prompt with boxes for the grounding adapters. Without a box their slots are all empty, which is not the same as no grounding.
    ///
    /// # Errors
    /// When the text encoder refuses.
    pub fn grounded(self, slots: &[Slot], options: GroundingOptions, pipeline: &Pipeline, run: &Run) -> Result<Self> {
        let grounding = ScheduledGrounding::new(slots, options, (pipeline, self.is_guided()), run)?;
        Ok(Self { grounding: Some(grounding), ..self })
    }

    /// The boxes for a guidance pass at call `index` of `count`.
    pub(crate) fn guidance_grounding(&self, index: usize, count: usize) -> Option<&Grounding> {
        self.grounding.as_ref()?.of_guidance_at(index, count)
    }

    /// A prompt against a negative one, if there is guidance.
    fn pair(
        conditional: Arc<Conditioning>,
        unconditional: Option<Arc<Conditioning>>,
        sampling: &Sampling,
    ) -> Result<Self> {
        let both = match &unconditional {
            Some(unconditional) if unconditional.num_tokens() == conditional.num_tokens() => {
                Some(Arc::new(Conditioning::batch(vec![unconditional.clone(), conditional.clone()])?))
            }
            _ => None,
        };
        Ok(Self {
            unconditional,
            conditional,
            both,
            is_batch: false,
            guidance_scale: sampling.guidance_scale,
            guidance_rescale: sampling.guidance_rescale,
            grounding: None,
        })
    }

    /// The prompt alone, for guidance passes.
    pub fn conditional(&self) -> &Conditioning {
        &self.conditional
    }

    /// Several prompts as a batch: what they are weighed against first, then the prompts. Strength is the first one's; boxes are left out.
    ///
    /// # Errors
    /// When there is none, or the prompts' lengths differ, or those of what they are weighed against.
    pub fn batch(texts: &[&GuidedText]) -> Result<Self> {
        let conditional = || texts.iter().map(|text| text.conditional.clone());
        let unconditional = || texts.iter().filter_map(|text| text.unconditional.clone());
        let is_guided = unconditional().next().is_some();
        let first = texts.first();
        let lengths = |text: &&GuidedText| text.unconditional.as_ref().map(|text| text.num_tokens());
        let fit = first.is_some_and(|first| lengths(first) == Some(first.conditional.num_tokens()));
        let both = if fit { Some(Conditioning::batch(unconditional().chain(conditional()).collect())?) } else { None };
        let unconditional = is_guided.then(|| Conditioning::batch(unconditional().collect())).transpose()?;
        Ok(Self {
            unconditional: unconditional.map(Arc::new),
            conditional: Arc::new(Conditioning::batch(conditional().collect())?),
            both: both.map(Arc::new),
            is_batch: true,
            guidance_scale: first.map_or(1.0, |text| text.guidance_scale),
            guidance_rescale: first.map_or(0.0, |text| text.guidance_rescale),
            grounding: None,
        })
    }

    /// Whether classifier-free guidance is on.
    pub fn is_guided(&self) -> bool {
        self.unconditional.is_some()
    }
}

impl Pipeline {
    /// Longest side of a picture, in pixels.
    pub const MAX_SIDE: usize = 4096;

    /// Puts a checkpoint together.
    ///
    /// # Errors
    /// When the parts do not fit each other: text width, latent channels, scheduler config; [`Error::SchedulerUnknown`].
    pub fn new(parts: PipelineParts) -> Result<Self> {
        let PipelineParts { tokenizer, text_encoder, unet, vae, scheduler_config, device } = parts;
        let fits = |name, found: usize, wanted: usize, expected| match found == wanted {
            true => Ok(()),
            false => Err(Error::Setting { name, found: format!("{found} against {wanted}"), expected }),
        };
        let (width, channels) = (text_encoder.config().hidden_size, vae.config().latent_channels);
        fits("width of text encoder and UNet", width, unet.text_width(), "the same width in both")?;
        fits("latent channels of VAE and UNet", channels, unet.config().in_channels, "the same number in both")?;
        let scheduler_file = scheduler_config;
        let scheduler_config = constructed(&scheduler_file, Constructor::StableDiffusion)?.require_some()?;
        Ok(Self { tokenizer, text_encoder, unet, vae, scheduler_config, scheduler_file, device, sam: None, ella: None })
    }

    /// Builds all networks of a checkpoint.
    ///
    /// # Errors
    /// When a tensor is missing, has another shape or is not finite; as [`new`](Self::new).
    pub fn load(checkpoint: &Checkpoint) -> Result<Self> {
        let Checkpoint { text_encoder, unet, vae, .. } = checkpoint;
        // Most of the time goes into touching memory for the first time, which threads do side by side.
        let (unet_loaded, (vae_loaded, text_encoder_loaded)) = rayon::join(
            || UNet2DConditionModel::load(&unet.config, &unet.weights),
            || {
                let vae = AutoencoderKl::load(&vae.config, &vae.weights);
                (vae, ClipTextModel::load(&text_encoder.config, &text_encoder.weights))
            },
        );
        Self::new(PipelineParts {
            tokenizer: checkpoint.tokenizer.clone(),
            text_encoder: text_encoder_loaded?,
            unet: unet_loaded?,
            vae: vae_loaded?,
            scheduler_config: checkpoint.scheduler.clone(),
            device: unet.weights.device().clone(),
        })
    }

    /// With a segmentation model, which outlines objects that were painted alone.
    #[must_use]
    pub fn with_sam(self, sam: Arc<Sam>) -> Self {
        Self { sam: Some(sam), ..self }
    }

    /// The segmentation model, if there is one.
    pub fn sam(&self) -> Option<&Arc<Sam>> {
        self.sam.as_ref()
    }

    /// With ELLA, which reads what [`TextEncoding`] gives it to read.
    ///
    /// # Errors
    /// [`Error::Setting`] if its tokens have another width than the UNet's.
    pub fn with_ella(self, ella: Arc<Ella>) -> Result<Self> {
        if ella.width() != self.unet.text_width() {
            return Err(Error::Setting {
                name: "width of the ELLA connector and the UNet",
                found: format!("{} against {}", ella.width(), self.unet.text_width()),
                expected: "the same width in both",
            });
        }
        Ok(Self { ella: Some(ella), ..self })
    }

    /// ELLA, if it is there.
    pub fn ella(&self) -> Option<&Arc<Ella>> {
        self.ella.as_ref()
    }

    /// The tokenizer.
    pub fn tokenizer(&self) -> &Tokenizer {
        &self.tokenizer
    }

    /// The UNet.
    pub fn unet(&self) -> &UNet2DConditionModel {
        &self.unet
    }

    /// The autoencoder.
    pub fn vae(&self) -> &AutoencoderKl {
        &self.vae
    }

    /// The text encoder.
    pub fn text_encoder(&self) -> &ClipTextModel {
        &self.text_encoder
    }

    /// The checkpoint's scheduler config, as `StableDiffusionPipeline` leaves it.
    pub fn scheduler_config(&self) -> &SchedulerConfig {
        &self.scheduler_config
    }

    /// Where the weights are.
    pub fn device(&self) -> &Device {
        &self.device
    }

    /// The size that the checkpoint was trained for, (width, height) in pixels.
    pub fn native_size(&self) -> (usize, usize) {
        let (height, width) = self.unet.config().sample_hw().unwrap_or((64, 64));
        (width * self.vae.scale_factor(), height * self.vae.scale_factor())
    }

    /// The latents' (H, W, C) for sampling settings, which are checked.
    ///
    /// # Errors
    /// [`Error::PictureSize`] unless both sides are multiples of the autoencoder's factor; [`Error::Setting`].
    pub fn latent_size(&self, sampling: &Sampling) -> Result<(usize, usize, usize)> {
        sampling.validate()?;
        let (width, height, multiple) = (sampling.width, sampling.height, self.vae.scale_factor());
        Self::check_size((width, height), multiple)?;
        Ok((height / multiple, width / multiple, self.vae.config().latent_channels))
    }

    /// Refuses a (width, height) in pixels that an autoencoder cannot paint which takes `multiple` pixels to a cell.
    ///
    /// # Errors
    /// [`Error::PictureSize`].
    pub fn check_size((width, height): (usize, usize), multiple: usize) -> Result<()> {
        let fits = |side: usize| side > 0 && side <= Self::MAX_SIDE && side.is_multiple_of(multiple);
        match fits(width) && fits(height) {
            true => Ok(()),
            false => Err(Error::PictureSize { width, height, multiple, max: Self::MAX_SIDE }),
        }
    }

    /// Text embeddings (B, L, D) of prompts; what does not fit the text encoder's window is warned about.
    ///
    /// # Errors
    /// When the text encoder refuses.
    pub fn encode(&self, prompts: &[&str], run: &Run) -> Result<Tensor> {
        let tokens = self.tokens(prompts, run)?;
        Ok(self.text_encoder.encode(&tokens, run.cancellation().interrupt())?.last_hidden_state)
    }

    /// The pooled states (B, D) of phrases read on their own, not projected: what grounding slots hold.
    ///
    /// # Errors
    /// When the text encoder refuses.
    pub fn encode_phrases(&self, phrases: &[&str], run: &Run) -> Result<Tensor> {
        if phrases.is_empty() {
            return Ok(Tensor::zeros((0, self.text_encoder.config().hidden_size), DType::F32, &self.device)?);
        }
        let mut distinct = phrases.to_vec();
        distinct.sort_unstable();
        distinct.dedup();
        let tokens = self.tokens(&distinct, run)?;
        let pooled = self.text_encoder.encode(&tokens, run.cancellation().interrupt())?.pooled; // (distinct, D)
        let rows: Vec<u32> =
            phrases.iter().map(|phrase| distinct.binary_search(phrase).unwrap_or_default() as u32).collect();
        Ok(pooled.index_select(&Tensor::new(rows, &self.device)?, 0)?)
    }

    fn tokens(&self, prompts: &[&str], run: &Run) -> Result<Vec<Tokens>> {
        let mut texts = Vec::with_capacity(prompts.len());
        for prompt in prompts {
            let tokens = self.tokenizer.encode(prompt)?;
            if let Some(rest) = &tokens.truncated {
                let max_length = self.tokenizer.max_length();
                let rest = excerpt(rest, SHOWN_CHARS);
                run.warn(format!(
                    "the text encoder reads {max_length} tokens; it never sees the end of a prompt: `{rest}`"
                ));
            }
            texts.push(tokens);
        }
        Ok(texts)
    }

    /// Refuses models that cannot be told of boxes.
    ///
    /// # Errors
    /// [`Error::NoAdapters`].
    pub fn require_adapters(&self, method: &'static str) -> Result<()> {
        if self.unet.has_grounding_adapters() { Ok(()) } else { Err(Error::NoAdapters { method }) }
    }

    /// Each prompt together with one negative prompt, read by what `sampling` says.
    ///
    /// # Errors
    /// [`Error::NoElla`]; when a text encoder refuses.
    pub fn encode_pairs(
        &self,
        prompts: &[PromptText],
        negative: &str,
        sampling: &Sampling,
        run: &Run,
    ) -> Result<Vec<GuidedText>> {
        let encoding = &sampling.text_encoding;
        let conditional = self.read(prompts, (encoding.encoder, encoding), run)?;
        let negative = [PromptText::new(negative)];
        let unconditional = match sampling.guidance_scale > 1.0 {
            true => self.read(&negative, (encoding.of_negative(), encoding), run)?.pop().map(Arc::new),
            false => None,
        };
        let pair = |conditional| GuidedText::pair(Arc::new(conditional), unconditional.clone(), sampling);
        conditional.into_iter().map(pair).collect()
    }

    /// What the UNet is told of each prompt.
    fn read(
        &self,
        prompts: &[PromptText],
        (encoder, encoding): (TextEncoderKind, &TextEncoding),
        run: &Run,
    ) -> Result<Vec<Conditioning>> {
        let words: Vec<&str> = prompts.iter().map(|prompt| prompt.words).collect();
        let of_clip = if encoder.has_words() { Some(self.encode(&words, run)?) } else { None }; // (B, L, D)
        let clip = |index| of_clip.as_ref().map(|states| states.narrow(0, index, 1)).transpose();
        let read = |(index, prompt): (usize, &PromptText)| match (encoder.needs_ella(), clip(index)?) {
            (false, Some(states)) => Conditioning::fixed(&states),
            (_, states) => {
                let ella = self.ella.as_ref().ok_or(Error::NoElla)?;
                let interrupt = run.cancellation().interrupt();
                let text = ella.read_unless(prompt.at_length(), encoding.length, interrupt)?;
                Ok(Conditioning::ella(ella.clone(), text, states))
            }
        };
        prompts.iter().enumerate().map(read).collect()
    }

    /// Whether one thread a picture (or a half of guidance) gets more done than all threads on one: operations are too short to be worth sharing.
    /// Up to 10¹⁰ multiply-accumulates a step; Stable Diffusion at 512 px has 8 · 10¹¹, and would need memory for every picture at once.
    ///
    /// # Errors
    /// As [`latent_size`](Self::latent_size).
    pub(crate) fn has_small_calls(&self, sampling: &Sampling) -> Result<bool> {
        let (h, w, _) = self.latent_size(sampling)?;
        let step = CallShape { batch: 2, ..CallShape::new((h, w), self.tokenizer.max_length()) };
        Ok(self.unet.config().forward_cost(&step)?.total() <= 10_000_000_000)
    }

    /// Refuses a scheduler that cannot take `steps` steps with a checkpoint's config, given as its file has it. `None` is the config's own scheduler.
    ///
    /// # Errors
    /// As [`SchedulerName::build`], and when the config does not say what is needed.
    pub fn check_scheduler(config: &serde_json::Value, scheduler: Option<SchedulerName>, steps: usize) -> Result<()> {
        let config = constructed(config, Constructor::StableDiffusion)?.require_some()?;
        let scheduler = match scheduler {
            Some(scheduler) => scheduler,
            None => SchedulerName { kind: config.kind()?, sigmas: None },
        };
        scheduler.build(&config, steps).map(drop)
    }

    /// A trajectory from noise to a picture, which ends early with its run.
    ///
    /// # Errors
    /// When the scheduler cannot be built from the checkpoint's config.
    pub fn sampler(
        &self,
        kind: SchedulerKind,
        sampling: &Sampling,
        noise: NoiseSource,
        run: &Run,
    ) -> Result<Sampler<'_>> {
        self.sampler_of((kind, &self.scheduler_config), sampling, noise, run)
    }

    /// The same from the config that GLIGEN's pipeline paints with, which has its file's `steps_offset`.
    ///
    /// # Errors
    /// As [`sampler`](Self::sampler).
    pub(crate) fn gligen_sampler(
        &self,
        kind: SchedulerKind,
        sampling: &Sampling,
        noise: NoiseSource,
        run: &Run,
    ) -> Result<Sampler<'_>> {
        let config = constructed(&self.scheduler_file, Constructor::Gligen)?;
        self.sampler_of((kind, &config), sampling, noise, run)
    }

    fn sampler_of(
        &self,
        (kind, config): (SchedulerKind, &SchedulerConfig),
        sampling: &Sampling,
        noise: NoiseSource,
        run: &Run,
    ) -> Result<Sampler<'_>> {
        let steps = sampling.num_inference_steps;
        let scheduler = SchedulerName { kind, sigmas: sampling.sigmas }.build(config, steps)?;
        self.warn_of_merging(sampling, run)?;
        Ok(Sampler {
            num_scheduled: scheduler.timesteps().len(),
            num_wanted: scheduler.timesteps().len(),
            unet: &self.unet,
            scheduler,
            prediction_type: self.scheduler_config.prediction_type.unwrap_or(PredictionType::Epsilon),
            noise,
            has_small_calls: self.has_small_calls(sampling)?,
            shortcuts: sampling.shortcuts,
            deep: Vec::new(),
            cancellation: run.cancellation().clone(),
            work: UNetWork::default(),
        })
    }

    /// Warns if windows of the side asked for do not divide the latents' grid, so that nothing is merged.
    fn warn_of_merging(&self, sampling: &Sampling, run: &Run) -> Result<()> {
        let (h, w, _) = self.latent_size(sampling)?;
        let side = sampling.shortcuts.merge_tokens.max(1);
        if h % side != 0 || w % side != 0 {
            run.warn(format!("windows of {side} × {side} do not divide the latents' {w} × {h}: no tokens are merged"));
        }
        Ok(())
    }

    /// The picture of one latent, as a stage of a run.
    pub(crate) fn decode_one(&self, latents: &Tensor, run: &Run) -> Result<Image> {
        run.stage(&Stage::Decode, || self.decode(latents, run))
    }

    /// The picture of one latent, inside another stage.
    pub(crate) fn decode(&self, latents: &Tensor, run: &Run) -> Result<Image> {
        self.decode_unless(latents, run.cancellation().interrupt())
    }

    fn decode_unless(&self, latents: &Tensor, interrupt: Interrupt) -> Result<Image> {
        Ok(Image::from_tensor(&self.vae.decode_unless(&latents.narrow(0, 0, 1)?, interrupt)?)?.swap_remove(0))
    }

    /// A rough picture of latents on their way, as a [`StepReport`] has them: decoded as they are, noise and all.
    ///
    /// # Errors
    /// When the autoencoder refuses; [`Error::Cancelled`] after the switch was thrown.
    pub fn preview(&self, latents: &Tensor, cancellation: &Cancellation) -> Result<Image> {
        self.decode_unless(latents, cancellation.interrupt())
    }
}

/// A trajectory: a scheduler, its noise, and the UNet that drives it.
pub struct Sampler<'a> {
    unet: &'a UNet2DConditionModel,
    scheduler: Box<dyn Scheduler>,
    /// Calls before any were left out.
    num_scheduled: usize,
    /// Calls that will be made.
    num_wanted: usize,
    prediction_type: PredictionType,
    noise: NoiseSource,
    has_small_calls: bool,
    shortcuts: Shortcuts,
    /// Deep features of the last call, if they are used again: of one batch, or of the two halves of guidance.
    deep: Vec<Tensor>,
    cancellation: Cancellation,
    /// Not told to the run yet.
    work: UNetWork,
}

impl std::fmt::Debug for Sampler<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Sampler").field("scheduler", &self.scheduler.kind()).finish_non_exhaustive()
    }
}

/// What a denoising step leaves.
#[derive(Debug)]
pub struct Denoised {
    /// The latents after the step, in the scheduler's scale, (1, H, W, C).
    pub latents: Tensor,
    /// The attention maps asked for, of the conditional half: (1, heads, HW, L').
    pub maps: BTreeMap<AttnKey, Tensor>,
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
        schedulers::predicted_original(self.prediction_type, prediction, self.noise_level(index), latents)
    }

    /// The timestep of a call.
    pub fn timestep(&self, index: usize) -> f64 {
        self.scheduler.timesteps()[index]
    }

    /// How noisy the latents are before a call.
    pub fn noise_level(&self, index: usize) -> NoiseLevel {
        self.scheduler.noise_level(index)
    }

    /// The latents as the UNet wants to see them at a call.
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
    /// When the UNet refuses, or its prediction is not finite.
    pub fn denoise(
        &mut self,
        latents: &Tensor,
        index: usize,
        text: &GuidedText,
        record: Option<&Recording>,
    ) -> Result<Denoised> {
        let (prediction, maps) = self.predict(latents, index, text, record)?;
        Ok(Denoised { latents: self.advance(&prediction, index, latents)?, maps })
    }

    /// The model's guided prediction for a batch of latents in the scheduler's scale, (B, H, W, C), one prompt each; and the maps asked for, of
    /// the conditional half.
    ///
    /// # Errors
    /// When the UNet refuses.
    pub fn predict(
        &mut self,
        latents: &Tensor,
        index: usize,
        text: &GuidedText,
        record: Option<&Recording>,
    ) -> Result<(Tensor, BTreeMap<AttnKey, Tensor>)> {
        let timestep = self.timestep(index);
        let input = self.model_input(latents, index)?;
        let (_, h, w, _) = input.dims4()?;
        let is_guided = text.is_guided() && self.shortcuts.guides(index, self.num_calls());
        let scheduled = self.num_scheduled();
        let words_from = text.conditional.first_word_column();
        let record = record.map(|record| Recording { words_from, ..record.clone() });
        let record = record.as_ref();
        let grounding = text.grounding.as_ref().and_then(|grounding| grounding.at(index, scheduled, is_guided));
        let sides = match (&text.unconditional, &text.both) {
            (Some(unconditional), None) if is_guided => Some(unconditional),
            (Some(unconditional), _)
                if is_guided && !text.is_batch && text.grounding.is_none() && self.has_small_calls =>
            {
                Some(unconditional)
            }
            _ => None,
        };
        let halves = match sides {
            Some(unconditional) => Some([unconditional.at(timestep)?, text.conditional.at(timestep)?]),
            None => None,
        };
        let conditioning = match (&halves, &text.both) {
            (Some([unconditional, _]), _) => unconditional.clone(),
            (None, Some(both)) if is_guided => both.at(timestep)?,
            _ => text.conditional.at(timestep)?,
        };
        let batch_size = conditioning.batch_size() * if halves.is_some() { 2 } else { 1 };
        let deep = self.deep_features(index, (record.is_some(), halves.is_some(), batch_size));
        // The conditional half's keys and values also serve guidance, so it is the unconditional one that tells whether they are still to be made.
        let shape = work::call_shape((batch_size, (h, w)), &conditioning, grounding);
        let merge_tokens = self.shortcuts.merge_tokens;
        let shape = CallShape { is_shallow: !deep.is_empty(), merge_tokens, ..shape };
        self.work.sampling.add(&self.unet.config().forward_cost(&shape)?);
        let reply = match halves {
            Some(halves) => {
                let grounding = text.grounding.as_ref().and_then(|grounding| grounding.halves_at(index, scheduled));
                self.forward_halves((&input, timestep), &halves, (grounding, &deep), record)?
            }
            None => {
                self.forward_batch((&input, timestep, is_guided), &conditioning, (grounding, deep.first()), record)?
            }
        };
        let prediction = reply.noise.ok_or(Error::NotFinite { what: "prediction", step: index, timestep })?;
        let prediction = if is_guided { classifier_free_guidance(&prediction, text)? } else { prediction };
        Ok((prediction, reply.maps))
    }

    /// The deep features to use at a call, if it need not be whole.
    fn deep_features(&self, index: usize, (records, has_halves, batch): (bool, bool, usize)) -> Vec<Tensor> {
        let kept = self.deep.iter().map(|deep| deep.dims()[0]).sum::<usize>();
        let fits = kept == batch && self.deep.len() == if has_halves { 2 } else { 1 };
        let is_shallow = fits && !records && !self.shortcuts.runs_deep(index);
        if is_shallow { self.deep.clone() } else { Vec::new() }
    }

    /// Both halves of guidance as a batch, or the conditional one alone.
    fn forward_batch(
        &mut self,
        (input, timestep, is_guided): (&Tensor, f64, bool),
        text: &TextConditioning,
        (grounding, deep): (Option<&Grounding>, Option<&Tensor>),
        record: Option<&Recording>,
    ) -> Result<UNetReply> {
        let (input, batch) = match is_guided {
            true => (Tensor::cat(&[input, input], 0)?, BatchPart::Conditional), // (2B, H, W, C)
            false => (input.clone(), BatchPart::All),
        };
        let record = record.map(|record| Recording { batch, ..record.clone() });
        let mut reply = self.unet.forward(&UNetRequest {
            record: record.as_ref(),
            grounding,
            deep,
            merge_tokens: self.shortcuts.merge_tokens,
            interrupt: self.cancellation.interrupt(),
            ..UNetRequest::new(&input, timestep, text)
        })?;
        self.keep_deep(reply.deep.take());
        Ok(reply)
    }

    /// Remembers deep features, unless every call is whole.
    fn keep_deep(&mut self, deep: impl IntoIterator<Item = Tensor>) {
        if self.shortcuts.deep_every > 1 {
            self.deep = deep.into_iter().collect();
        }
    }

    /// The halves of guidance side by side, unconditional first.
    fn forward_halves(
        &mut self,
        (input, timestep): (&Tensor, f64),
        texts: &[Arc<TextConditioning>; 2],
        (grounding, deep): (Option<[&Grounding; 2]>, &[Tensor]),
        record: Option<&Recording>,
    ) -> Result<UNetReply> {
        let record = record.map(|record| Recording { batch: BatchPart::All, ..record.clone() });
        let (unet, cancellation, merge_tokens) = (self.unet, &self.cancellation, self.shortcuts.merge_tokens);
        let mut halves = threads::side_by_side(2, |half| {
            let record = if half == 1 { record.as_ref() } else { None };
            unet.forward(&UNetRequest {
                record,
                grounding: grounding.map(|halves| halves[half]),
                deep: deep.get(half),
                merge_tokens,
                interrupt: cancellation.interrupt(),
                ..UNetRequest::new(input, timestep, &texts[half])
            })
        })?;
        self.keep_deep(halves.iter_mut().filter_map(|reply| reply.deep.take()));
        let maps = halves.iter_mut().flat_map(|reply| std::mem::take(&mut reply.maps)).collect();
        let noise: Vec<_> = halves.into_iter().filter_map(|reply| reply.noise).collect();
        let noise = if noise.len() == 2 { Some(Tensor::cat(&noise, 0)?) } else { None };
        Ok(UNetReply { noise, maps, deep: None })
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

    /// Tells the run that a step has ended, and what work it was.
    pub(crate) fn report(
        &mut self,
        latents: &Tensor,
        index: usize,
        (stage, loss): (&Stage, Option<f32>),
        run: &Run,
    ) -> Result<()> {
        run.count(&std::mem::take(&mut self.work));
        let count = self.num_wanted;
        // The level after the step is that before the next one; at the end both scales agree.
        let latents =
            if index + 1 < self.num_calls() { self.model_input(latents, index + 1)? } else { latents.clone() };
        run.step(&StepReport { stage, index, count, timestep: self.timestep(index), loss, latents: &latents });
        Ok(())
    }
}

/// `ε_u + g·(ε_c − ε_u)` of a batch [unconditional, conditional], the contrast of each picture brought back towards ε_c's by the share
/// `guidance_rescale`.
fn classifier_free_guidance(prediction: &Tensor, text: &GuidedText) -> Result<Tensor> {
    let half = prediction.dim(0)? / 2;
    let unconditional = prediction.narrow(0, 0, half)?;
    let conditional = prediction.narrow(0, half, half)?;
    let guided = (&unconditional + ((&conditional - &unconditional)? * text.guidance_scale)?)?; // (B, H, W, C)
    if text.guidance_rescale == 0.0 {
        return Ok(guided);
    }
    let rescaled = (0..half).map(|picture| {
        let guided = guided.narrow(0, picture, 1)?;
        let contrast = (deviation(&conditional.narrow(0, picture, 1)?)? / deviation(&guided)?)?.to_scalar::<f32>()?;
        let factor = text.guidance_rescale * f64::from(contrast) + 1.0 - text.guidance_rescale;
        Ok((guided * factor)?)
    });
    Ok(Tensor::cat(&rescaled.collect::<Result<Vec<_>>>()?, 0)?)
}

/// Standard deviation over all values of one picture.
fn deviation(x: &Tensor) -> Result<Tensor> {
    Ok(x.flatten_all()?.var(D::Minus1)?.sqrt()?)
}
