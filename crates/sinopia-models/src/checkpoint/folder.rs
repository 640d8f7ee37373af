//! Checkpoints in diffusers' layout: a `model_index.json` and a folder for each part.

use serde_json::{Map, Value};

use super::describe::Family;
use super::files::{Files, kind};
use super::select::{self, INDEX, SCHEDULER};
use super::{Checkpoint, Component, OpenOptions, complete_scheduler, in_file};
use crate::clip::ClipTextConfig;
use crate::unet::UNetConfig;
use crate::vae::VaeConfig;
use crate::{Error, Result, Tokenizer, Weights, ldm};

/// Opens the pipeline in `files`.
pub(super) fn open(name: String, files: Files, options: &OpenOptions) -> Result<Checkpoint> {
    let names = files.names()?;
    select::require_index(&files.display(""), &names)?;
    let index = files.read_object(INDEX)?.unwrap_or_default();
    check_index(&files, &index)?;
    let reader = Reader { files: &files, names: &names, options };

    let (clip_config, clip_weights) = reader.network("text_encoder", ClipTextConfig::from_json)?;
    let (unet_config, unet_weights) = reader.network("unet", UNetConfig::from_json)?;
    let (vae_config, vae_weights) = reader.network("vae", VaeConfig::from_json)?;
    let family = Family::of(unet_config.cross_attention_dim.get(0).unwrap_or_default());
    let checkpoint = Checkpoint {
        name,
        text_encoder: Component { config: clip_config, weights: ldm::clip(&clip_weights) },
        unet: Component { config: unet_config, weights: unet_weights },
        vae: Component { config: vae_config, weights: ldm::modern_vae(&vae_weights) },
        tokenizer: Tokenizer::load(&files, "tokenizer")?,
        scheduler: reader.scheduler(&index)?,
        family,
        used: used_files(&files, &names, options)?,
        files,
        hash: Default::default(),
    };
    checkpoint.check()?;
    Ok(checkpoint)
}

/// The files that make the checkpoint what it is, sorted.
fn used_files(files: &Files, names: &[String], options: &OpenOptions) -> Result<Vec<String>> {
    let mut used = select::pipeline_files(&files.display(""), names, options.variant.as_deref())?;
    used.sort();
    Ok(used)
}

/// Refuses pipelines of other kinds before their parts are looked at.
fn check_index(files: &Files, index: &Map<String, Value>) -> Result<()> {
    let class = index.get("_class_name").and_then(Value::as_str).unwrap_or_default();
    let unsupported = |found: String| Error::UnsupportedModel {
        origin: files.display(""),
        found,
        supported: "Stable Diffusion 1.x and 2.x",
    };
    let is_present =
        |part: &str| index.get(part).and_then(Value::as_array).is_some_and(|entry| entry.iter().all(Value::is_string));
    if class.starts_with("StableDiffusionXL") || is_present("text_encoder_2") {
        return Err(unsupported("Stable Diffusion XL".into()));
    }
    let missing: Vec<&str> = ["text_encoder", "tokenizer", "unet", "vae", "scheduler"]
        .into_iter()
        .filter(|part| !is_present(part))
        .collect();
    if missing.is_empty() {
        return Ok(());
    }
    if !class.is_empty() && !class.starts_with("StableDiffusion") {
        return Err(unsupported(format!("a {class}")));
    }
    let problem = format!("{INDEX} names no {}", missing.join(", no "));
    Err(Error::NotACheckpoint { origin: files.display(""), problem })
}

struct Reader<'a> {
    files: &'a Files,
    names: &'a [String],
    options: &'a OpenOptions,
}

impl Reader<'_> {
    fn network<C>(&self, network: &str, parse: impl Fn(&str) -> Result<C>) -> Result<(C, Weights)> {
        let file = format!("{network}/config.json");
        let origin = self.files.display("");
        let missing = || Error::NotACheckpoint { origin: origin.clone(), problem: format!("{file} is missing") };
        // Reading it as an object first gives a better answer to files that hold something else.
        self.files.read_object(&file)?.ok_or_else(missing)?;
        let bytes = self.files.read(&file)?.unwrap_or_default();
        let config = in_file(&self.files.display(&file), parse(&String::from_utf8_lossy(&bytes)))?;
        let variant = self.options.variant.as_deref();
        let weights = select::weight_files(&origin, self.names, network, variant)?;
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
