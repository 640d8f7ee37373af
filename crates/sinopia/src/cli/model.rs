//! Models by name: the built-in one, folders, files, the Hub.

use std::path::Path;
use std::sync::Arc;

use anyhow::Context;
use sinopia_diffusion::{EllaId, ModelId, Pipeline, TextEncoding};
use sinopia_models::Precision;
use sinopia_models::checkpoint::{Checkpoint, ModelSource, OpenOptions};
use sinopia_models::ella::Ella;
use sinopia_models::sam::{self, Sam};
use sinopia_models::t5::StateRange;

use super::args::{PrecisionArg, TextArgs};
use super::failure::bad_request;
use super::progress::Bars;

/// A model that is ready to paint.
pub(crate) struct Model {
    pub(crate) pipeline: Pipeline,
    pub(crate) id: ModelId,
    /// What outlines objects, if it is a SAM.
    pub(crate) sam: Option<ModelId>,
    /// What reads prompts besides the model's own text encoder.
    pub(crate) ella: Option<EllaId>,
    /// What `--guidance-scale` is when nobody says.
    pub(crate) guidance_scale: f64,
    /// Whether a picture is too small a work for several threads to share well.
    pub(crate) is_small: bool,
}

/// Opens and loads the model called `name` and, if one is named, the SAM that outlines objects.
pub(crate) fn open(name: &str, sam: Option<&str>, precision: PrecisionArg, bars: &Bars) -> anyhow::Result<Model> {
    let segmenter = sam.filter(|sam| *sam != NO_SAM).map(|sam| open_sam(sam, precision)).transpose()?;
    let checkpoint = checkpoint(name, precision, bars)?;
    let (pipeline, hash) = std::thread::scope(|scope| {
        let hash = scope.spawn(|| checkpoint.content_hash());
        let pipeline = Pipeline::load(&checkpoint).with_context(|| format!("cannot load the model `{name}`"));
        (pipeline, hash.join())
    });
    let hash = hash.map_err(|_| anyhow::anyhow!("hashing the model `{name}` was broken off"))?;
    let (pipeline, id) = (pipeline?, ModelId { id: name.to_owned(), hash: hash?.to_owned() });
    bars.finish();
    if let Some(warning) = untold_training(&pipeline) {
        bars.warn(&warning);
    }
    let is_small = checkpoint.unet.weights.num_parameters() < SMALL_MODEL;
    let guidance_scale = if is_small { SMALL_GUIDANCE_SCALE } else { PUBLISHED_GUIDANCE_SCALE };
    let (pipeline, sam) = match segmenter {
        Some((sam, id)) => (pipeline.with_sam(Arc::new(sam)), Some(id)),
        None => (pipeline, None),
    };
    Ok(Model { pipeline, id, sam, ella: None, guidance_scale, is_small })
}

/// Where an ELLA is.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct EllaSource {
    /// A T5 folder and a connector; the miniature's otherwise.
    files: Option<(String, String)>,
    range: StateRange,
}

impl EllaSource {
    /// The files that were named (or those of a recipe), if an encoding needs any.
    pub(crate) fn new(
        (args, recorded): (&TextArgs, Option<&EllaId>),
        encoding: &TextEncoding,
        model: &str,
    ) -> anyhow::Result<Option<Self>> {
        if !encoding.needs_ella() {
            return match args.t5.is_some() || args.ella.is_some() {
                true => Err(bad_request("`--t5` and `--ella` are for `--text-encoder ella` or `ella+clip`")),
                false => Ok(None),
            };
        }
        let named = |given: &Option<String>, recorded: Option<&String>| given.clone().or_else(|| recorded.cloned());
        let recorded_files = recorded.filter(|ella| ella.t5 != sinopia_miniature::NAME);
        let t5 = named(&args.t5, recorded_files.map(|ella| &ella.t5));
        let connector = named(&args.ella, recorded_files.map(|ella| &ella.connector));
        let range = args.range().or(recorded.map(|ella| ella.range)).unwrap_or_default();
        match (t5, connector) {
            (Some(t5), Some(connector)) => Ok(Some(Self { files: Some((t5, connector)), range })),
            (None, None) if model == sinopia_miniature::NAME => Ok(Some(Self { files: None, range })),
            (None, None) => Err(bad_request(format!(
                "`--text-encoder {}`: the miniature alone brings an ELLA; name a FLAN-T5 folder with `--t5` and a connector with `--ella`",
                encoding.encoder.as_str()
            ))),
            _ => Err(bad_request("`--t5` and `--ella` belong together: name both")),
        }
    }
}

/// The model with an ELLA, if one is wanted.
pub(crate) fn with_ella(model: Model, source: Option<&EllaSource>, precision: PrecisionArg) -> anyhow::Result<Model> {
    let Some(source) = source else { return Ok(model) };
    let options = OpenOptions { precision: precision.resolved().into(), ..OpenOptions::default() };
    let (ella, t5, connector) = match &source.files {
        Some((t5, connector)) => {
            let device = (&options.device, options.precision);
            let open = || Ella::open(Path::new(t5), Path::new(connector), device, source.range);
            (open().with_context(|| format!("cannot open the ELLA `{connector}`"))?, t5.as_str(), connector.as_str())
        }
        None => {
            let name = sinopia_miniature::NAME;
            (sinopia::miniature_ella(&options, source.range)?, name, name)
        }
    };
    let (hash, range) = (ella.content_hash().to_owned(), ella.range());
    let id = EllaId { t5: t5.to_owned(), connector: connector.to_owned(), hash, range };
    Ok(Model { pipeline: model.pipeline.with_ella(Arc::new(ella))?, ella: Some(id), ..model })
}

/// What `--sam` is called when there shall be none.
pub(crate) const NO_SAM: &str = "none";

/// The SAM called `name`: the built-in one, a folder or a file.
fn open_sam(name: &str, precision: PrecisionArg) -> anyhow::Result<(Sam, ModelId)> {
    let options = OpenOptions { precision: precision.resolved().into(), ..OpenOptions::default() };
    if name == sinopia_miniature::NAME {
        // Small enough for f32, and then its outlines are the same on every processor.
        let (sam, hash) = sinopia::miniature_sam(&OpenOptions { precision: Precision::F32, ..options })?;
        return Ok((sam, ModelId { id: name.to_owned(), hash }));
    }
    let path = Path::new(name);
    if !path.exists() {
        return Err(bad_request(format!(
            "`--sam {name}`: there is no such folder or file, and it is neither `miniature` nor `none`"
        )));
    }
    let open = || Sam::open(path, &options.device, options.precision);
    let sam = open().with_context(|| format!("cannot open the SAM `{name}`"))?;
    Ok((sam, ModelId { id: name.to_owned(), hash: sam::content_hash(path)? }))
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
