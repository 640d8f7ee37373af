//! Models by name: the built-in one, folders, files, the Hub.

use anyhow::Context;
use sinopia_diffusion::{ModelId, Pipeline};
use sinopia_models::Precision;
use sinopia_models::checkpoint::{Checkpoint, ModelSource, OpenOptions};
use sinopia_nn::Arithmetic;

use super::args::PrecisionArg;
use super::progress::Bars;

/// A model that is ready to paint.
pub(crate) struct Model {
    pub(crate) pipeline: Pipeline,
    pub(crate) id: ModelId,
}

/// Opens and loads the model called `name`.
pub(crate) fn open(name: &str, precision: PrecisionArg, bars: &Bars) -> anyhow::Result<Model> {
    let checkpoint = checkpoint(name, precision, bars)?;
    let pipeline = Pipeline::load(&checkpoint).with_context(|| format!("cannot load the model `{name}`"))?;
    let id = ModelId { id: name.to_owned(), hash: checkpoint.content_hash()?.to_owned() };
    bars.finish();
    Ok(Model { pipeline, id })
}

/// Opens the model called `name` without loading its networks; a Hub id is fetched first.
pub(crate) fn checkpoint(name: &str, precision: PrecisionArg, bars: &Bars) -> anyhow::Result<Checkpoint> {
    let is_miniature = name == sinopia_miniature::NAME;
    let precision = match precision {
        // Small enough for f32 everywhere, so that its pictures are the same on every processor.
        PrecisionArg::Auto if is_miniature => Precision::F32,
        PrecisionArg::Auto if Arithmetic::fastest() == Arithmetic::Bf16 => Precision::Bf16,
        other => other.into(),
    };
    let options = OpenOptions { precision, ..OpenOptions::default() };
    if is_miniature {
        return Ok(sinopia::miniature(&options)?);
    }
    let open = || Checkpoint::open(&ModelSource::parse(name)?, &options, bars);
    open().with_context(|| format!("cannot open the model `{name}`"))
}
