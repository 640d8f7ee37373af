//! A model in memory.

use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::time::{Duration, Instant};

use sinopia_diffusion::{EllaId, LinearPreview, ModelId, Pipeline};
use sinopia_models::packs::{self, Built, PackUse};

use super::{EllaSource, NO_SAM, OpenedModel, sam};
use crate::{Compute, Error, PrecisionChoice, Result};

/// Published for Stable Diffusion and all methods on it but MultiDiffusion.
pub const PUBLISHED_GUIDANCE_SCALE: f64 = 7.5;
/// Small networks burn colours to black at 7.5: with `lmd` on 30 attribution captions both things had their colours in 15 pictures at 3.5, in 7 at 5.
pub const SMALL_GUIDANCE_SCALE: f64 = 3.5;

/// Parameters of the UNet below which a model is small; Stable Diffusion 1 has 860 million.
const SMALL_MODEL: u64 = 100_000_000;

/// Width of the text embeddings that the UNets of Stable Diffusion 1 read.
const STABLE_DIFFUSION_1_TEXT_WIDTH: usize = 768;

/// A model that is ready to paint.
#[derive(Debug)]
pub struct LoadedModel {
    /// Its networks.
    pub pipeline: Pipeline,
    /// Its name and content.
    pub id: ModelId,
    /// The SAM that segments objects, if there is one.
    pub sam: Option<ModelId>,
    /// What reads prompts besides the model's own text encoder.
    pub ella: Option<EllaId>,
    /// What it computes in, never [`PrecisionChoice::Auto`].
    pub precision: PrecisionChoice,
    /// The strength of classifier-free guidance when nobody says.
    pub guidance_scale: f64,
    /// Whether a picture is too small a work for several threads to share well.
    pub is_small: bool,
    /// What whoever paints with it should know, in words.
    pub notes: Vec<String>,
    /// How long its weights took to be packed, where a pack would have saved that.
    pub packing_time: Option<Duration>,
    preview: OnceLock<LinearPreview>,
    /// Held while the preview is fitted, so that it is fitted once.
    fitting: Mutex<()>,
}

impl LoadedModel {
    /// Loads the networks of an opened model, and the SAM and the ELLA beside it, if they are named.
    ///
    /// # Errors
    /// [`Error::Load`] when networks do not fit each other or a tensor is missing; [`Error::Open`] for SAM and ELLA.
    pub fn load(opened: &OpenedModel, sam: Option<&str>, ella: Option<&EllaSource>, compute: Compute) -> Result<Self> {
        let (name, checkpoint) = (opened.name(), opened.checkpoint());
        let segmenter = sam.filter(|sam| *sam != NO_SAM).map(|sam| sam::open(sam, compute)).transpose()?;
        let begun = Instant::now();
        let (built, hash) = std::thread::scope(|scope| {
            let hash = scope.spawn(|| checkpoint.content_hash());
            (packs::build(checkpoint, Pipeline::load), hash.join())
        });
        let built = built.map_err(|source| Error::Load { model: name.to_owned(), source: Box::new(source) })?;
        let Built { networks: pipeline, pack, problem } = built;
        let hash = hash.map_err(|_| Error::Hashing { model: name.to_owned() })??;
        let is_small = checkpoint.unet.weights.num_parameters() < SMALL_MODEL;
        let mut model = Self {
            notes: unsaid_training(&pipeline).into_iter().chain(problem).collect(),
            packing_time: (pack == PackUse::Missing && !packs::cache().is_some_and(|cache| cache.makes_packs))
                .then(|| begun.elapsed()),
            pipeline,
            id: ModelId { id: name.to_owned(), hash: hash.to_owned() },
            sam: None,
            ella: None,
            precision: compute.precision.resolved(),
            guidance_scale: if is_small { SMALL_GUIDANCE_SCALE } else { PUBLISHED_GUIDANCE_SCALE },
            is_small,
            preview: OnceLock::new(),
            fitting: Mutex::default(),
        };
        if let Some((sam, id)) = segmenter {
            model.pipeline = model.pipeline.with_sam(Arc::new(sam));
            model.sam = Some(id);
        }
        if let Some(source) = ella {
            let (ella, id) = source.open(compute)?;
            model.pipeline = model.pipeline.with_ella(Arc::new(ella))?;
            model.ella = Some(id);
        }
        Ok(model)
    }

    /// The map from its latents to rough pictures, fitted when it is first asked for.
    ///
    /// # Errors
    /// When the autoencoder refuses.
    pub fn preview(&self) -> Result<&LinearPreview> {
        let _fitting = self.fitting.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(preview) = self.preview.get() {
            return Ok(preview);
        }
        let fitted = LinearPreview::fit(&self.pipeline)?;
        Ok(self.preview.get_or_init(|| fitted))
    }

    /// Channels of the autoencoder's finest layer, which the memory of a picture goes by.
    pub fn finest_channels(&self) -> usize {
        self.pipeline.vae().config().block_out_channels.first().copied().unwrap_or(1)
    }
}

/// A warning if the scheduler config leaves out how the model was trained, so that another training's numbers are taken.
fn unsaid_training(pipeline: &Pipeline) -> Option<String> {
    let mut missing = pipeline.scheduler_config().missing_keys();
    // The first files of Stable Diffusion 1 do not know the key, and all of its models predict noise.
    if missing == ["prediction_type"] && pipeline.denoiser().text_width() == STABLE_DIFFUSION_1_TEXT_WIDTH {
        missing.clear();
    }
    let names = format!("`{}`", missing.join("`, `"));
    (!missing.is_empty()).then(|| {
        format!("scheduler_config.json does not say {names}: diffusers' defaults are taken, which few models are trained with")
    })
}
