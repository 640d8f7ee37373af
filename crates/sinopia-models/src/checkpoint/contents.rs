//! What a checkpoint consists of, wherever it was read from.

use std::sync::{Arc, Mutex, OnceLock, PoisonError};

use candle_core::Device;
use serde_json::{Map, Value};

use super::family::Family;
use super::files::{Files, kind, listing_hash};
use super::prediction::PredictionType;
use crate::clip::ClipTextConfig;
use crate::hub::HubOptions;
use crate::sha256::hex;
use crate::unet::UNetConfig;
use crate::vae::VaeConfig;
use crate::weights::PackAccess;
use crate::{DeviceKind, Error, Precision, Result, Tokenizer, Weights};

/// How to open a checkpoint.
#[derive(Debug, Clone)]
pub struct OpenOptions {
    /// Where the networks will run; [`DeviceKind`] has it by name.
    pub device: Device,
    /// How weights are kept in memory.
    pub precision: Precision,
    /// The infix of weight files, `fp16`; networks that lack it are read without one. If it is not given, full precision is preferred, and `fp16` or
    /// `bf16` accepted.
    pub variant: Option<String>,
    /// Overrides what the scheduler's configuration says, or what is assumed of a single file, which does not say.
    pub prediction_type: Option<PredictionType>,
    /// How the Hub is reached.
    pub hub: HubOptions,
}

impl Default for OpenOptions {
    fn default() -> Self {
        Self {
            device: DeviceKind::default().device(),
            precision: Precision::Auto,
            variant: None,
            prediction_type: None,
            hub: HubOptions::from_env(),
        }
    }
}

/// One network: what it looks like and its tensors.
#[derive(Debug, Clone)]
pub struct Component<C> {
    /// The configuration, checked.
    pub config: C,
    /// The tensors, under the names that the network asks for.
    pub weights: Weights,
}

/// Everything that a Stable Diffusion pipeline is made of.
///
/// ```no_run
/// use sinopia_models::checkpoint::{Checkpoint, ModelSource, OpenOptions};
/// use sinopia_models::hub::NoProgress;
/// use sinopia_models::unet::UNet2DConditionModel;
///
/// let source = ModelSource::parse("stable-diffusion-v1-5/stable-diffusion-v1-5")?;
/// let checkpoint = Checkpoint::open(&source, &OpenOptions::default(), &NoProgress)?;
/// let unet = UNet2DConditionModel::load(&checkpoint.unet.config, &checkpoint.unet.weights)?;
/// # Ok::<(), sinopia_models::Error>(())
/// ```
#[derive(Debug, Clone)]
pub struct Checkpoint {
    /// What the user asked for, for messages and metadata.
    pub name: String,
    /// The text encoder.
    pub text_encoder: Component<ClipTextConfig>,
    /// The denoiser.
    pub unet: Component<UNetConfig>,
    /// The autoencoder.
    pub vae: Component<VaeConfig>,
    /// The tokenizer that belongs to the text encoder.
    pub tokenizer: Tokenizer,
    /// The scheduler's file, a JSON object with a `_class_name`; [`constructed_scheduler`](super::constructed_scheduler) is what diffusers paints with.
    pub scheduler: Value,
    pub(super) family: Family,
    pub(super) files: Files,
    /// The files that were used, by relative name.
    pub(super) used: Vec<String>,
    pub(super) notes: Vec<String>,
    pub(super) hash: Arc<ContentHash>,
}

/// A hash that is computed once, however many threads ask for it.
#[derive(Debug, Default)]
pub(super) struct ContentHash {
    known: OnceLock<String>,
    computing: Mutex<()>,
}

impl Checkpoint {
    /// The SHA-256 that identifies the checkpoint's contents, in hexadecimal. Computed when first asked for.
    ///
    /// Of a single file it is the file's own. Of a folder it is that of the lines `name`, two spaces, SHA-256 of each file
    /// that was used, sorted by name, as `sha256sum` would list them the other way round; other files do not matter.
    ///
    /// # Errors
    /// If a file can no longer be read.
    pub fn content_hash(&self) -> Result<&str> {
        let _computing = self.hash.computing.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(hash) = self.hash.known.get() {
            return Ok(hash);
        }
        let hash = match self.used.as_slice() {
            [file] => hex(&self.sha256(file)?),
            used => listing_hash(used, |file| self.sha256(file))?,
        };
        Ok(self.hash.known.get_or_init(|| hash))
    }

    /// The SHA-256 of one of its files. Of weights it is that of the bytes that are mapped, even if the file's name has gone to another since.
    fn sha256(&self, file: &str) -> Result<[u8; 32]> {
        let name = self.files.display(file);
        match self.networks().into_iter().find_map(|weights| weights.mapped_file(&name)) {
            Some(mapped) => Ok(mapped.sha256()),
            None => self.files.sha256(file),
        }
    }

    /// The first file of weights that is no longer what was opened, by its name in messages.
    pub(crate) fn changed_file(&self) -> Option<&str> {
        self.networks().into_iter().find_map(Weights::changed_file)
    }

    /// Whether adapters change any of its weights.
    pub(crate) fn is_patched(&self) -> bool {
        self.networks().into_iter().any(Weights::is_patched)
    }

    fn networks(&self) -> [&Weights; 3] {
        [&self.text_encoder.weights, &self.unet.weights, &self.vae.weights]
    }

    /// The same with a pack for the weights of its networks.
    pub(crate) fn with_pack(&self, access: &PackAccess) -> Self {
        let mut packed = self.clone();
        let networks = [
            (&mut packed.text_encoder.weights, "text_encoder"),
            (&mut packed.unet.weights, "unet"),
            (&mut packed.vae.weights, "vae"),
        ];
        for (weights, network) in networks {
            *weights = weights.with_pack(access.clone(), network);
        }
        packed
    }

    /// Whether its weights can be packed into a file: they come from files, and the processor multiplies them.
    pub(crate) fn can_be_packed(&self) -> bool {
        matches!(self.files, Files::Folder(_)) && self.unet.weights.device().is_cpu()
    }

    /// What somebody who asked for it should know.
    pub fn notes(&self) -> &[String] {
        &self.notes
    }

    /// Refuses networks that are sound each by itself and do not fit together, and weights in formats that are not read.
    pub(super) fn check(&self) -> Result<()> {
        for weights in self.networks() {
            weights.require_readable()?;
        }
        let (unet, vae, text) = (&self.unet.config, &self.vae.config, &self.text_encoder.config);
        if unet.in_channels != vae.latent_channels {
            let inpainting = if unet.in_channels == 9 { ", that is for inpainting" } else { "" };
            return Err(Error::UnsupportedModel {
                remedy: None,
                origin: self.name.clone(),
                found: format!(
                    "a UNet with {} input channels for latents of {}{inpainting}",
                    unet.in_channels, vae.latent_channels
                ),
                supported: "UNets that read the latents and nothing else",
            });
        }
        // Words that were added without a vector are refused when they are written.
        let vocab_size = self.tokenizer.vocab_size();
        if vocab_size > text.vocab_size {
            return Err(Error::Tokenizer {
                origin: self.name.clone(),
                problem: format!("it has {vocab_size} tokens, the text encoder knows {}", text.vocab_size),
            });
        }
        Ok(())
    }
}

/// The scheduler's configuration with its class and, if asked for, another prediction type.
///
/// The class is the one that `model_index.json` names: diffusers builds that one from the file, whichever class wrote the file.
pub(super) fn complete_scheduler(
    file: &str,
    mut config: Map<String, Value>,
    class: Option<&str>,
    prediction_type: Option<PredictionType>,
) -> Result<Value> {
    if let Some(prediction_type) = prediction_type {
        config.insert("prediction_type".into(), prediction_type.as_str().into());
    }
    match (config.get("_class_name"), class) {
        (None | Some(Value::String(_)), Some(class)) => {
            config.insert("_class_name".into(), class.into());
        }
        (Some(Value::String(_)), None) => {}
        (found, _) => {
            return Err(Error::Config {
                file: file.to_owned(),
                key: "_class_name".into(),
                found: found.map_or("missing", kind).into(),
                expected: "the name of a scheduler".into(),
            });
        }
    }
    Ok(Value::Object(config))
}

/// Gives an error about a configuration the name of the file it was read from.
pub(super) fn in_file<T>(file: &str, result: Result<T>) -> Result<T> {
    let file = file.to_owned();
    result.map_err(|error| match error {
        Error::Json { source, .. } => Error::Json { file, source },
        Error::Config { key, found, expected, .. } => Error::Config { file, key, found, expected },
        other => other,
    })
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn object(value: Value) -> Map<String, Value> {
        value.as_object().cloned().unwrap()
    }

    #[test]
    fn the_class_is_the_one_that_the_index_names() {
        let scheduler =
            complete_scheduler("s", object(json!({"beta_end": 0.012})), Some("DDIMScheduler"), None).unwrap();
        assert_eq!(scheduler, json!({"beta_end": 0.012, "_class_name": "DDIMScheduler"}));
        let own = json!({"_class_name": "PNDMScheduler"});
        assert_eq!(complete_scheduler("s", object(own.clone()), None, None).unwrap(), own);
        let built = complete_scheduler("s", object(own), Some("DDIMScheduler"), None).unwrap();
        assert_eq!(built, json!({"_class_name": "DDIMScheduler"}));
        assert!(complete_scheduler("s", object(json!({"_class_name": 3})), None, None).is_err());
    }

    #[test]
    fn the_prediction_type_can_be_overridden() {
        let config = object(json!({"_class_name": "DDIMScheduler", "prediction_type": "epsilon"}));
        let scheduler = complete_scheduler("s", config, None, Some(PredictionType::VPrediction)).unwrap();
        assert_eq!(scheduler["prediction_type"], "v_prediction");
    }
}
