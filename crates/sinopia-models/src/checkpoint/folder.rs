//! Checkpoints in diffusers' layout: a `model_index.json` and a folder for each part.

use serde_json::{Map, Value};

use super::constructor::{Constructor, construct};
use super::contents::{Checkpoint, Component, OpenOptions, complete_scheduler, in_file};
use super::family::Family;
use super::files::{Files, kind};
use super::kinds::OtherModel;
use super::select::{INDEX, NETWORKS, Repository, SCHEDULER};
use crate::clip::ClipTextConfig;
use crate::unet::UNetConfig;
use crate::vae::VaeConfig;
use crate::{Error, Result, Tokenizer, Weights, ldm};

/// Opens the pipeline in `files`.
pub(super) fn open(name: String, files: Files, options: &OpenOptions) -> Result<Checkpoint> {
    files.require_index()?;
    let index = files.read_object(INDEX)?.unwrap_or_default();
    check_index(&files, &index)?;
    let mut used = files.pipeline_files(options.variant.as_deref())?;
    used.sort();
    let notes = mixture(&used, options.variant.as_deref());
    let reader = Reader { files: &files, options };

    // Sorting out its merges takes longer than all headers.
    let (tokenizer, networks) = rayon::join(
        || Tokenizer::load(&files, "tokenizer"),
        || {
            let text_encoder = reader.network("text_encoder", ClipTextConfig::from_json)?;
            let unet = reader.network("unet", UNetConfig::from_json)?;
            Ok::<_, Error>((text_encoder, unet, reader.network("vae", VaeConfig::from_json)?))
        },
    );
    let ((clip_config, clip_weights), (unet_config, unet_weights), (vae_config, vae_weights)) = networks?;
    let num_tokens = clip_config.vocab_size;
    let family = Family::of(unet_config.cross_attention_dim.get(0).unwrap_or_default());
    let checkpoint = Checkpoint {
        name,
        text_encoder: Component { config: clip_config, weights: ldm::clip(&clip_weights) },
        unet: Component { config: unet_config, weights: ldm::modern_unet(&unet_weights) },
        vae: Component { config: vae_config, weights: ldm::modern_vae(&vae_weights) },
        tokenizer: tokenizer?.for_rows(num_tokens),
        scheduler: reader.scheduler(&index)?,
        family,
        used,
        notes,
        files,
        hash: Default::default(),
    };
    checkpoint.check()?;
    Ok(checkpoint)
}

/// What is told of weights that are not of the variant asked for.
fn mixture(used: &[String], variant: Option<&str>) -> Vec<String> {
    let Some(variant) = variant else { return Vec::new() };
    let is_other = |network: &&str| {
        !used.iter().any(|file| file.starts_with(&format!("{network}/")) && Repository::is_of_variant(file, variant))
    };
    let others: Vec<&str> = NETWORKS.into_iter().filter(is_other).collect();
    let told = || {
        format!(
            "there are no weights of variant `{variant}` in {}: those without a variant are taken",
            others.join(" and ")
        )
    };
    if others.is_empty() { Vec::new() } else { vec![told()] }
}

/// Refuses pipelines of other kinds before their parts are looked at.
fn check_index(files: &Files, index: &Map<String, Value>) -> Result<()> {
    let class = index.get("_class_name").and_then(Value::as_str).unwrap_or_default();
    let unsupported = |found: String| OtherModel { found, remedy: None }.refusal(&files.display(""));
    let is_present =
        |part: &str| index.get(part).and_then(Value::as_array).is_some_and(|entry| entry.iter().all(Value::is_string));
    if let Some(kind) = OtherModel::of_pipeline(class) {
        return Err(kind.refusal(&files.display("")));
    }
    if is_present("text_encoder_2") {
        return Err(unsupported("Stable Diffusion XL".into()));
    }
    let missing: Vec<&str> = ["text_encoder", "tokenizer", "unet", "vae", "scheduler"]
        .into_iter()
        .filter(|part| !is_present(part))
        .collect();
    if missing.is_empty() {
        return check_classes(index).map_err(unsupported);
    }
    if !class.is_empty() && !class.starts_with("StableDiffusion") {
        return Err(unsupported(format!("a {class}")));
    }
    let problem = format!("{INDEX} names no {}", missing.join(", no "));
    Err(Error::NotACheckpoint { origin: files.display(""), problem })
}

/// What the parts must be: another class computes something else of the same files.
const CLASSES: [(&str, &str); 3] =
    [("text_encoder", "CLIPTextModel"), ("unet", "UNet2DConditionModel"), ("vae", "AutoencoderKL")];

/// The first part of another class than ours, in words.
fn check_classes(index: &Map<String, Value>) -> std::result::Result<(), String> {
    let class = |part: &str| index.get(part).and_then(|entry| entry.get(1)).and_then(Value::as_str);
    let other = CLASSES.iter().find_map(|(part, ours)| match class(part) {
        Some(class) if class != *ours => Some(format!("a {part} of the class {class} (ours is {ours})")),
        _ => None,
    });
    other.map_or(Ok(()), Err)
}

struct Reader<'a> {
    files: &'a Files,
    options: &'a OpenOptions,
}

impl Reader<'_> {
    fn network<C>(&self, network: &str, parse: impl Fn(&str) -> Result<C>) -> Result<(C, Weights)> {
        let file = format!("{network}/config.json");
        let origin = self.files.display("");
        let missing = || Error::NotACheckpoint { origin: origin.clone(), problem: format!("{file} is missing") };
        let mut config = self.files.read_object(&file)?.ok_or_else(missing)?;
        construct(&file, &mut config, Constructor::StableDiffusion);
        let config = in_file(&self.files.display(&file), parse(&Value::Object(config).to_string()))?;
        let variant = self.options.variant.as_deref();
        let weights = self.files.weight_files(network, variant)?;
        Ok((config, self.files.weights(&weights, &self.options.device, self.options.precision)?))
    }

    fn scheduler(&self, index: &Map<String, Value>) -> Result<Value> {
        let file = self.files.display(SCHEDULER);
        let Some(config) = self.files.read_object(SCHEDULER)? else {
            let problem = format!("{SCHEDULER} is missing");
            return Err(Error::NotACheckpoint { origin: self.files.display(""), problem });
        };
        let class = index.get("scheduler").and_then(|entry| entry.get(1)).and_then(Value::as_str);
        if let Some(steps) = config.get("num_train_timesteps")
            && !steps.is_u64()
        {
            return Err(Error::Config {
                file,
                key: "num_train_timesteps".into(),
                found: kind(steps).into(),
                expected: "a whole number".into(),
            });
        }
        complete_scheduler(&file, config, class, self.options.prediction_type)
    }
}
