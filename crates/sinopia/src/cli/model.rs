//! Models by name: the built-in one, folders, files, the Hub.

use anyhow::Context;
use sinopia_diffusion::{ModelId, Pipeline};
use sinopia_models::checkpoint::{Checkpoint, ModelSource, OpenOptions};

use super::args::PrecisionArg;
use super::progress::Bars;

/// A model that is ready to paint.
pub(crate) struct Model {
    pub(crate) pipeline: Pipeline,
    pub(crate) id: ModelId,
    /// What `--guidance-scale` is when nobody says.
    pub(crate) guidance_scale: f64,
}

/// Opens and loads the model called `name`.
pub(crate) fn open(name: &str, precision: PrecisionArg, bars: &Bars) -> anyhow::Result<Model> {
    let checkpoint = checkpoint(name, precision, bars)?;
    let pipeline = Pipeline::load(&checkpoint).with_context(|| format!("cannot load the model `{name}`"))?;
    let id = ModelId { id: name.to_owned(), hash: checkpoint.content_hash()?.to_owned() };
    bars.finish();
    if let Some(warning) = untold_training(&pipeline) {
        bars.warn(&warning);
    }
    let is_small = checkpoint.unet.weights.num_parameters() < SMALL_MODEL;
    let guidance_scale = if is_small { SMALL_GUIDANCE_SCALE } else { PUBLISHED_GUIDANCE_SCALE };
    Ok(Model { pipeline, id, guidance_scale })
}

/// A warning if the scheduler config leaves out how the model was trained, so that another training's numbers are taken.
fn untold_training(pipeline: &Pipeline) -> Option<String> {
    let mut missing = pipeline.scheduler_config().missing_keys();
    // The first files of Stable Diffusion 1 do not know the key, and all of its models predict noise.
    if missing == ["prediction_type"] && pipeline.unet().text_width() == STABLE_DIFFUSION_1_TEXT_WIDTH {
        missing.clear();
    }
    let names = format!("`{}`", missing.join("`, `"));
    (!missing.is_empty()).then(|| {
        format!("scheduler_config.json does not say {names}: diffusers' defaults are taken, which few models are trained with")
    })
}

/// Of the text embeddings that its UNets read.
const STABLE_DIFFUSION_1_TEXT_WIDTH: usize = 768;

/// Parameters of the UNet below which a model is small; Stable Diffusion 1 has 860 million.
const SMALL_MODEL: u64 = 100_000_000;

/// Published for Stable Diffusion and all methods on it but MultiDiffusion.
const PUBLISHED_GUIDANCE_SCALE: f64 = 7.5;
/// Small networks burn colours to black at 7.5: with `lmd` on 30 attribution captions both things had their colours in 15 pictures at 3.5, in 7 at 5.
const SMALL_GUIDANCE_SCALE: f64 = 3.5;

/// Opens the model called `name` without loading its networks; a Hub id is fetched first.
pub(crate) fn checkpoint(name: &str, precision: PrecisionArg, bars: &Bars) -> anyhow::Result<Checkpoint> {
    let options = OpenOptions { precision: precision.resolved().into(), ..OpenOptions::default() };
    if name == sinopia_miniature::NAME {
        return Ok(sinopia::miniature(&options)?);
    }
    let open = || Checkpoint::open(&ModelSource::parse(name)?, &options, bars);
    open().with_context(|| format!("cannot open the model `{name}`"))
}
