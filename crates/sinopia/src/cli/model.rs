//! Models by name: the built-in one, folders, files, the Hub.

use std::path::Path;
use std::sync::Arc;

use anyhow::Context;
use sinopia_diffusion::{EllaId, ModelId, Pipeline, TextEncoding};
use sinopia_layout::names;
use sinopia_models::checkpoint::{Checkpoint, HubModel, ModelSource, OpenOptions};
use sinopia_models::ella::Ella;
use sinopia_models::sam::{self, Sam};
use sinopia_models::t5::StateRange;
use sinopia_models::{Error, Precision};

use super::args::{PrecisionArg, TextArgs};
use super::failure::{bad_request, with_hint};
use super::kinds::Kind;
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
    let checkpoint = checkpoint(name, precision, bars)?;
    load((name, &checkpoint), sam, precision, bars)
}

/// Loads a model that is open already.
pub(crate) fn load(
    (name, checkpoint): (&str, &Checkpoint),
    sam: Option<&str>,
    precision: PrecisionArg,
    bars: &Bars,
) -> anyhow::Result<Model> {
    let segmenter = sam.filter(|sam| *sam != NO_SAM).map(|sam| open_sam(sam, precision)).transpose()?;
    let (pipeline, hash) = std::thread::scope(|scope| {
        let hash = scope.spawn(|| checkpoint.content_hash());
        let pipeline = Pipeline::load(checkpoint).with_context(|| format!("cannot load the model `{name}`"));
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
    /// The files that were named (or those of a recipe, given with its model), if an encoding needs any.
    pub(crate) fn new(
        (args, recorded): (&TextArgs, Option<(&EllaId, &ModelId)>),
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
        // The miniature brings its own without being asked; with any other model it was named.
        let is_own =
            |(ella, of): &(&EllaId, &ModelId)| [&ella.t5, &of.id].iter().all(|name| *name == sinopia_miniature::NAME);
        let recorded_files = recorded.filter(|recorded| !is_own(recorded)).map(|(ella, _)| ella);
        let t5 = named(&args.t5, recorded_files.map(|ella| &ella.t5));
        let connector = named(&args.ella, recorded_files.map(|ella| &ella.connector));
        let range = args.range().or(recorded.map(|(ella, _)| ella.range)).unwrap_or_default();
        let is_miniature = |name: &Option<String>| name.as_deref() == Some(sinopia_miniature::NAME);
        match (t5, connector) {
            (t5, connector) if is_miniature(&t5) && is_miniature(&connector) => Ok(Some(Self { files: None, range })),
            (t5, connector) if is_miniature(&t5) || is_miniature(&connector) => Err(bad_request(
                "the miniature's T5 and connector go with each other alone: `--t5 miniature --ella miniature`",
            )),
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

impl EllaSource {
    /// Refuses files that are not there.
    pub(crate) fn check(&self) -> anyhow::Result<()> {
        let Some((t5, connector)) = &self.files else { return Ok(()) };
        let named = [("--t5", t5), ("--ella", connector)];
        match named.iter().find(|(_, name)| !Path::new(name).exists()) {
            Some((flag, name)) => Err(bad_request(format!("`{flag} {name}`: there is no such folder or file"))),
            None => Ok(()),
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
    check_sam(name)?;
    let path = Path::new(name);
    let open = || Sam::open(path, &options.device, options.precision);
    let sam = open().with_context(|| format!("cannot open the SAM `{name}`"))?;
    Ok((sam, ModelId { id: name.to_owned(), hash: sam::content_hash(path)? }))
}

/// Refuses the name of a SAM that is not there.
pub(crate) fn check_sam(name: &str) -> anyhow::Result<()> {
    match name == sinopia_miniature::NAME || name == NO_SAM || Path::new(name).exists() {
        true => Ok(()),
        false => Err(bad_request(format!(
            "`--sam {name}`: there is no such folder or file, and it is neither `miniature` nor `none`"
        ))),
    }
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
pub(crate) const PUBLISHED_GUIDANCE_SCALE: f64 = 7.5;
/// Small networks burn colours to black at 7.5: with `lmd` on 30 attribution captions both things had their colours in 15 pictures at 3.5, in 7 at 5.
pub(crate) const SMALL_GUIDANCE_SCALE: f64 = 3.5;

/// Opens the model called `name` without loading its networks; a Hub id is fetched first.
pub(crate) fn checkpoint(name: &str, precision: PrecisionArg, bars: &Bars) -> anyhow::Result<Checkpoint> {
    let (model, variant) = edition(name);
    let precision = precision.resolved().into();
    let options = OpenOptions { precision, variant: variant.map(str::to_owned), ..OpenOptions::default() };
    let is_one_file = || {
        Err(bad_request(format!(
            "`{model}` has one edition of its weights, no variant `{}`",
            variant.unwrap_or_default()
        )))
    };
    if model == sinopia_miniature::NAME {
        return if variant.is_some() { is_one_file() } else { Ok(sinopia::miniature(&options)?) };
    }
    let source = source(model)?;
    refuse_other_kinds(Path::new(model))?;
    let is_file = matches!(&source, ModelSource::File(_) | ModelSource::Hub(HubModel { file: Some(_), .. }));
    if variant.is_some() && is_file {
        return is_one_file();
    }
    let checkpoint = match Checkpoint::open(&source, &options, bars) {
        // That nobody answers is told in one sentence.
        Err(error @ (Error::Unreachable { .. } | Error::Offline { .. })) => return Err(error.into()),
        opened => opened.with_context(|| format!("cannot open the model `{name}`"))?,
    };
    checkpoint.notes().iter().for_each(|note| bars.warn(note));
    Ok(checkpoint)
}

/// What stands between a model's name and the edition of its weights.
const EDITION: char = '#';

/// A model's name with the edition of its weights, which recipes then have too.
pub(crate) fn with_variant(model: &str, variant: &str) -> anyhow::Result<String> {
    let is_word = |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | '-');
    if variant.is_empty() || !variant.chars().all(is_word) {
        return Err(bad_request(format!("`--variant {variant}`: a word is expected, such as `fp16`")));
    }
    match edition(model) {
        (_, None) => Ok(format!("{model}{EDITION}{variant}")),
        (_, Some(_)) => Err(bad_request(format!("`--variant {variant}`: `{model}` names an edition already"))),
    }
}

/// A model's name without the edition of its weights.
pub(crate) fn without_variant(name: &str) -> &str {
    edition(name).0
}

/// A model's name without the edition of its weights, and the edition. What exists under the whole name is the model.
fn edition(name: &str) -> (&str, Option<&str>) {
    match name.rsplit_once(EDITION) {
        Some((model, variant)) if !variant.is_empty() && !Path::new(name).exists() => (model, Some(variant)),
        _ => (name, None),
    }
}

/// Where a model is that is not built in.
pub(crate) fn source(name: &str) -> anyhow::Result<ModelSource> {
    ModelSource::parse(name).map_err(|error| match error {
        Error::HubName { id } => {
            let message =
                format!("there is no model `{id}`: it is no folder or file here, and no Hub name, `owner/name`");
            with_hint(bad_request(message), Some(model_hint(&id)))
        }
        error => anyhow::Error::new(error).context(format!("cannot open the model `{name}`")),
    })
}

/// Refuses a file that is no model at all, and says what it is.
fn refuse_other_kinds(path: &Path) -> anyhow::Result<()> {
    match Kind::of(path) {
        None | Some(Kind::Model | Kind::LanguageModel | Kind::Captions | Kind::Empty) => Ok(()),
        Some(kind) => Err(with_hint(bad_request(format!("`{}` is no model", path.display())), Some(kind.use_of(path)))),
    }
}

/// Short names that people have for models, and where those are on the Hub.
const SHORT_NAMES: [(&[&str], &str); 6] = [
    (
        &["sd", "sd1", "sd15", "stablediffusion", "stablediffusion15", "stablediffusionv15", "v15"],
        "stable-diffusion-v1-5/stable-diffusion-v1-5",
    ),
    (&["sd14", "stablediffusion14", "stablediffusionv14"], "CompVis/stable-diffusion-v1-4"),
    (&["sd2", "sd20", "stablediffusion2", "stablediffusion20"], "stabilityai/stable-diffusion-2-base"),
    (&["sd21", "stablediffusion21"], "stabilityai/stable-diffusion-2-1-base"),
    (&["gligen"], "masterful/gligen-1-4-generation-text-box"),
    (&["lmdplus", "lmd"], "longlian/lmd_plus"),
];
/// How the names of other families begin.
const OTHER_FAMILIES: [&str; 12] = [
    "sdxl",
    "stablediffusionxl",
    "sd3",
    "stablediffusion3",
    "flux",
    "pixart",
    "kandinsky",
    "dalle",
    "midjourney",
    "qwen",
    "ssd1b",
    "wan",
];

/// What to do about a name that is no model's.
fn model_hint(name: &str) -> String {
    let folded = names::folded(name);
    if OTHER_FAMILIES.iter().any(|family| folded.starts_with(family)) {
        return "Stable Diffusion 1 and 2 and models trained from them are supported, other families are not: `--model stable-diffusion-v1-5/stable-diffusion-v1-5`".to_owned();
    }
    if let Some((_, repo)) = SHORT_NAMES.iter().find(|(names, _)| names.contains(&folded.as_str())) {
        return format!("on the Hub that is `{repo}`; it is fetched once, a few gigabytes");
    }
    match names::nearest(name, [sinopia_miniature::NAME]) {
        Some(near) => format!("did you mean `{near}`?"),
        None => "name `miniature` (built in), a folder, a `.safetensors` file or a Hub id such as `stable-diffusion-v1-5/stable-diffusion-v1-5`".to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_edition_is_part_of_a_models_name() {
        assert_eq!(with_variant("owner/name@main", "bf16").unwrap(), "owner/name@main#bf16");
        assert_eq!(edition("owner/name@main#bf16"), ("owner/name@main", Some("bf16")));
        assert_eq!(edition("owner/name"), ("owner/name", None));
        assert!(with_variant("a#fp16", "bf16").is_err() && with_variant("a", "../x").is_err());
        let folder = tempfile::tempdir().unwrap();
        let odd = folder.path().join("a#b");
        std::fs::create_dir(&odd).unwrap();
        assert_eq!(edition(odd.to_str().unwrap()), (odd.to_str().unwrap(), None));
    }
}
