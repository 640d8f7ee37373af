//! A frozen checkpoint as methods see it: prompts in, denoising steps ([`Sampler`]), pictures out.

mod classifier_free;
mod guided_text;
mod sampler;
mod text;

use std::sync::Arc;

use candle_core::{Device, Tensor};
use sinopia_layout::Grid;
use sinopia_models::checkpoint::{Constructor, constructed_scheduler};
use sinopia_models::clip::ClipTextModel;
use sinopia_models::denoiser::CallShape;
use sinopia_models::ella::Ella;
use sinopia_models::sam::Sam;
use sinopia_models::unet::UNet2DConditionModel;
use sinopia_models::vae::{AutoencoderKl, Posterior};
use sinopia_models::{CancellationToken, Checkpoint, Denoiser, Tokenizer};
use sinopia_nn::memory::give_back;

pub use guided_text::GuidedText;
pub use sampler::{Denoised, FinishedStep, Predicted, Sampler};

use crate::noise::{LatentSize, NoiseSource};
use crate::observer::{Run, Stage};
use crate::painting::{Image, ImageSize, Sampling};
use crate::schedulers::{Scheduler, SchedulerConfig, SchedulerKind, SchedulerName, first_call};
use crate::{Error, Result};

/// Elements of an autoencoder's finest activations from which on a picture takes so long that fresh pages do not count.
const LARGE_PICTURE: usize = 1 << 24;

/// The parts of a checkpoint, ready to run.
#[derive(Debug)]
pub struct PipelineParts {
    /// Text to ids.
    pub tokenizer: Tokenizer,
    /// Ids to text embeddings.
    pub text_encoder: ClipTextModel,
    /// Noisy latents and text embeddings to a prediction.
    pub denoiser: Arc<dyn Denoiser>,
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
    denoiser: Arc<dyn Denoiser>,
    vae: AutoencoderKl,
    scheduler_config: SchedulerConfig,
    /// The content of its file.
    scheduler_file: serde_json::Value,
    device: Device,
    sam: Option<Arc<Sam>>,
    ella: Option<Arc<Ella>>,
}

/// How one picture is sampled, with nothing left open.
#[derive(Debug, Clone)]
pub(crate) struct SamplingPlan {
    /// As asked for, the scheduler filled in.
    pub(crate) sampling: Sampling,
    pub(crate) scheduler: SchedulerKind,
    /// Of the latents.
    pub(crate) size: LatentSize,
}

/// A scheduler's file as a constructor of diffusers leaves it.
fn constructed(file: &serde_json::Value, constructor: Constructor) -> Result<SchedulerConfig> {
    SchedulerConfig::from_json(&constructed_scheduler(file, constructor))
}

impl Pipeline {
    /// Longest side of a picture, in pixels.
    pub const MAX_SIDE: usize = 4096;

    /// Puts a checkpoint together.
    ///
    /// # Errors
    /// When the parts do not fit each other: text width, latent channels, scheduler config; [`Error::SchedulerUnknown`].
    pub fn new(parts: PipelineParts) -> Result<Self> {
        let PipelineParts { tokenizer, text_encoder, denoiser, vae, scheduler_config, device } = parts;
        let fits = |name, found: usize, wanted: usize, expected| match found == wanted {
            true => Ok(()),
            false => Err(Error::Setting { name, found: format!("{found} against {wanted}"), expected }),
        };
        let (width, channels) = (text_encoder.config().hidden_size, vae.config().latent_channels);
        fits("width of text encoder and denoiser", width, denoiser.text_width(), "the same width in both")?;
        fits("latent channels of VAE and denoiser", channels, denoiser.latent_channels(), "the same number in both")?;
        if let Some(width) = denoiser.added_text_width() {
            return Err(Error::Setting {
                name: "pooled text states of the denoiser",
                found: format!("{width} wide"),
                expected: "none: Stable Diffusion XL is not supported yet",
            });
        }
        let scheduler_file = scheduler_config;
        let scheduler_config = constructed(&scheduler_file, Constructor::StableDiffusion)?.require_some()?;
        Ok(Self {
            tokenizer,
            text_encoder,
            denoiser,
            vae,
            scheduler_config,
            scheduler_file,
            device,
            sam: None,
            ella: None,
        })
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
        let pipeline = Self::new(PipelineParts {
            tokenizer: checkpoint.tokenizer.clone(),
            text_encoder: text_encoder_loaded?,
            denoiser: Arc::new(unet_loaded?),
            vae: vae_loaded?,
            scheduler_config: checkpoint.scheduler.clone(),
            device: unet.weights.device().clone(),
        })?;
        pipeline.make_room(pipeline.native_size()); // Weights on their way into tiles were as large as the tiles.
        Ok(pipeline)
    }

    /// With a segmentation model, which makes the masks of objects that were painted alone.
    #[must_use]
    pub fn with_sam(self, sam: Arc<Sam>) -> Self {
        Self { sam: Some(sam), ..self }
    }

    /// The segmentation model, if there is one.
    pub fn sam(&self) -> Option<&Arc<Sam>> {
        self.sam.as_ref()
    }

    /// With ELLA, which reads what [`TextEncoding`](crate::TextEncoding) gives it to read.
    ///
    /// # Errors
    /// [`Error::Setting`] if its tokens have another width than the denoiser's.
    pub fn with_ella(self, ella: Arc<Ella>) -> Result<Self> {
        if ella.width() != self.denoiser.text_width() {
            return Err(Error::Setting {
                name: "width of the ELLA connector and the denoiser",
                found: format!("{} against {}", ella.width(), self.denoiser.text_width()),
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

    /// The network that predicts.
    pub fn denoiser(&self) -> &dyn Denoiser {
        &*self.denoiser
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

    /// The size that the checkpoint was trained for.
    pub fn native_size(&self) -> ImageSize {
        let (height, width) = self.denoiser.native_hw().unwrap_or((64, 64));
        let factor = self.vae.scale_factor();
        ImageSize { width: width * factor, height: height * factor }
    }

    /// The latents' size for sampling settings, which are checked.
    ///
    /// # Errors
    /// [`Error::PictureSize`] unless both sides are multiples of the autoencoder's factor; [`Error::Setting`].
    pub fn latent_size(&self, sampling: &Sampling) -> Result<LatentSize> {
        sampling.validate()?;
        let ImageSize { width, height } = sampling.size();
        let multiple = self.vae.scale_factor();
        Self::check_size(sampling.size(), multiple)?;
        let channels = self.vae.config().latent_channels;
        Ok(LatentSize { height: height / multiple, width: width / multiple, channels })
    }

    /// Refuses a size that an autoencoder cannot paint which takes `multiple` pixels to a cell.
    ///
    /// # Errors
    /// [`Error::PictureSize`].
    pub fn check_size(size: ImageSize, multiple: usize) -> Result<()> {
        let fits = |side: usize| side > 0 && side <= Self::MAX_SIDE && side.is_multiple_of(multiple);
        let ImageSize { width, height } = size;
        match fits(width) && fits(height) {
            true => Ok(()),
            false => Err(Error::PictureSize { width, height, multiple, max: Self::MAX_SIDE }),
        }
    }

    /// Refuses models that cannot be conditioned on boxes.
    ///
    /// # Errors
    /// [`Error::NoAdapters`].
    pub fn require_adapters(&self, method: &'static str) -> Result<()> {
        if self.denoiser.has_grounding_adapters() { Ok(()) } else { Err(Error::NoAdapters { method }) }
    }

    /// Whether one thread a picture (or a half of guidance) gets more done than all threads on one: operations are too short to be worth sharing.
    /// Up to 10¹⁰ multiply-accumulates a step; Stable Diffusion at 512 px has 8 · 10¹¹, and would need memory for every picture at once.
    ///
    /// # Errors
    /// As [`latent_size`](Self::latent_size).
    pub(crate) fn has_small_calls(&self, sampling: &Sampling) -> Result<bool> {
        let LatentSize { height, width, .. } = self.latent_size(sampling)?;
        let step = CallShape { batch: 2, ..CallShape::new(Grid::new(height, width), self.tokenizer.max_length()) };
        Ok(self.denoiser.forward_cost(&step)?.total() <= 10_000_000_000)
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

    /// How one picture is sampled by a scheduler: its size is checked.
    ///
    /// # Errors
    /// As [`latent_size`](Self::latent_size).
    pub(crate) fn plan(&self, sampling: &Sampling, scheduler: SchedulerKind) -> Result<SamplingPlan> {
        let sampling = Sampling { scheduler: Some(scheduler), ..sampling.clone() };
        Ok(SamplingPlan { size: self.latent_size(&sampling)?, sampling, scheduler })
    }

    /// The scheduler of methods that change latents between steps, which the history of a multistep scheduler would not see.
    pub fn first_order_scheduler(&self) -> SchedulerKind {
        match self.scheduler_config.kind() {
            Ok(SchedulerKind::FlowMatchEuler) => SchedulerKind::FlowMatchEuler,
            _ => SchedulerKind::Ddim,
        }
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
        self.sampler_of(build(kind, sampling, &self.scheduler_config)?, sampling, noise, run)
    }

    /// The same by the scheduler of `sampling`, from the config as a pipeline of diffusers reads its file: that of
    /// [`Method::constructor`](crate::methods::Method::constructor).
    ///
    /// # Errors
    /// As [`sampler`](Self::sampler); [`Error::Setting`] when `sampling` leaves the scheduler open.
    pub fn sampler_as(
        &self,
        constructor: Constructor,
        sampling: &Sampling,
        noise: NoiseSource,
        run: &Run,
    ) -> Result<Sampler<'_>> {
        self.sampler_of(self.scheduler_as(constructor, sampling)?, sampling, noise, run)
    }

    /// The first call of the denoiser, of those that `sampling` makes, when a picture is changed as strongly as `strength` says:
    /// [`Sampler::first_call`].
    ///
    /// # Errors
    /// As [`sampler_as`](Self::sampler_as).
    pub fn first_call(&self, constructor: Constructor, sampling: &Sampling, strength: f64) -> Result<usize> {
        let scheduler = self.scheduler_as(constructor, sampling)?;
        Ok(scheduler.entry(first_call(strength, scheduler.timesteps().len())))
    }

    fn scheduler_as(&self, constructor: Constructor, sampling: &Sampling) -> Result<Box<dyn Scheduler>> {
        let Some(kind) = sampling.scheduler else {
            return Err(Error::Setting { name: "scheduler", found: "none".to_owned(), expected: "a scheduler's name" });
        };
        match constructor {
            Constructor::StableDiffusion => build(kind, sampling, &self.scheduler_config),
            Constructor::Gligen => build(kind, sampling, &constructed(&self.scheduler_file, constructor)?),
        }
    }

    fn sampler_of(
        &self,
        scheduler: Box<dyn Scheduler>,
        sampling: &Sampling,
        noise: NoiseSource,
        run: &Run,
    ) -> Result<Sampler<'_>> {
        self.warn_of_merging(sampling, run)?;
        let has_small_calls = self.has_small_calls(sampling)?;
        Ok(Sampler::new(self.denoiser(), scheduler, noise, run).with_shortcuts(sampling.shortcuts, has_small_calls))
    }

    /// Warns if windows of the side asked for do not divide the latents' grid, so that nothing is merged.
    fn warn_of_merging(&self, sampling: &Sampling, run: &Run) -> Result<()> {
        let LatentSize { height, width, .. } = self.latent_size(sampling)?;
        let side = sampling.shortcuts.merge_tokens.max(1);
        if height % side != 0 || width % side != 0 {
            run.warn(format!(
                "windows of {side} × {side} do not divide the latents' {width} × {height}: no tokens are merged"
            ));
        }
        Ok(())
    }

    /// The latents of a picture, the mode of what the encoder knows of them, scaled as the denoiser wants them: (1, H, W, C).
    ///
    /// # Errors
    /// [`Error::PictureSize`] unless both sides are multiples of the autoencoder's factor; when the run is cancelled.
    pub fn encode_picture(&self, image: &Image, run: &Run) -> Result<Tensor> {
        Ok(self.vae.scale(&self.posterior(image, run)?.mean)?)
    }

    /// What the encoder knows of a picture's latents.
    pub(crate) fn posterior(&self, image: &Image, run: &Run) -> Result<Posterior> {
        Self::check_size(image.size(), self.vae.scale_factor())?;
        Ok(self.vae.encode_cancellable(&image.to_tensor(&self.device)?, Some(run.cancellation()))?)
    }

    /// The picture of one latent, as a stage of a run.
    pub(crate) fn decode_one(&self, latents: &Tensor, run: &Run) -> Result<Image> {
        run.stage(&Stage::Decode, || self.decode(latents, run))
    }

    /// The picture of one latent, inside another stage.
    pub(crate) fn decode(&self, latents: &Tensor, run: &Run) -> Result<Image> {
        let (_, h, w, _) = latents.dims4()?;
        let factor = self.vae.scale_factor();
        self.make_room(ImageSize { width: w * factor, height: h * factor });
        self.decode_cancellable(latents, Some(run.cancellation()))
    }

    fn decode_cancellable(&self, latents: &Tensor, cancellation: Option<&CancellationToken>) -> Result<Image> {
        Ok(Image::from_tensor(&self.vae.decode_cancellable(&latents.narrow(0, 0, 1)?, cancellation)?)?.swap_remove(0))
    }

    /// Gives back what was freed before work that asks for memory in other sizes, unless pictures of this size take but moments.
    pub(crate) fn make_room(&self, ImageSize { width, height }: ImageSize) {
        let channels = self.vae.config().block_out_channels.first().copied().unwrap_or(1);
        if width.saturating_mul(height).saturating_mul(channels) >= LARGE_PICTURE {
            give_back();
        }
    }

    /// A rough picture of latents on their way, as a [`StepReport`](crate::StepReport) has them: decoded as they are, noise and all.
    ///
    /// # Errors
    /// When the autoencoder refuses; [`Error::Cancelled`] once the token is cancelled.
    pub fn preview(&self, latents: &Tensor, cancellation: &CancellationToken) -> Result<Image> {
        self.decode_cancellable(latents, Some(cancellation))
    }
}

/// The scheduler of a kind along the noise levels asked for.
fn build(kind: SchedulerKind, sampling: &Sampling, config: &SchedulerConfig) -> Result<Box<dyn Scheduler>> {
    SchedulerName { kind, sigmas: sampling.sigmas }.build(config, sampling.num_inference_steps)
}
