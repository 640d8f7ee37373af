//! Single-file checkpoints, whose configurations are read off the tensors.

use std::path::Path;

use serde_json::{Map, Value};

use super::contents::{Checkpoint, Component, OpenOptions, complete_scheduler, in_file};
use super::family::Family;
use super::files::Files;
use super::prediction::PredictionType;
use crate::clip::ClipTextConfig;
use crate::ldm::{self, config};
use crate::unet::UNetConfig;
use crate::vae::VaeConfig;
use crate::{Error, Result, Tokenizer, Weights};

/// Opens the file at `path`, safetensors or a pickled `.ckpt`.
pub(super) fn open(name: String, path: &Path, options: &OpenOptions) -> Result<Checkpoint> {
    let file = Weights::open(&[path.to_owned()], &options.device, options.precision)?;
    let parts = ldm::split(&file)?;
    let origin = path.display().to_string();
    let file_name = path.file_name().and_then(|name| name.to_str()).unwrap_or_default().to_owned();
    let prediction_type = options.prediction_type.unwrap_or_else(|| assumed_prediction(&file_name, parts.is_open_clip));

    let mut unet_config = config::unet(&parts.unet)?;
    unet_config["sample_size"] = match prediction_type {
        PredictionType::VPrediction => 96.into(),
        _ => 64.into(),
    };
    let unet_config = in_file(&origin, UNetConfig::from_json(&unet_config.to_string()))?;
    let vae_config = in_file(&origin, VaeConfig::from_json(&config::vae(&parts.vae)?.to_string()))?;
    let clip_config = config::text_encoder(&parts.text_encoder, parts.is_open_clip)?;
    let clip_config = in_file(&origin, ClipTextConfig::from_json(&clip_config.to_string()))?;
    let scheduler = match config::scheduler(prediction_type.as_str()) {
        Value::Object(scheduler) => scheduler,
        _ => Map::new(),
    };
    let folder = path.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let checkpoint = Checkpoint {
        name,
        family: Family::of(unet_config.cross_attention_dim.get(0).unwrap_or_default()),
        text_encoder: Component { config: clip_config, weights: parts.text_encoder },
        unet: Component { config: unet_config, weights: parts.unet },
        vae: Component { config: vae_config, weights: parts.vae },
        tokenizer: if parts.is_open_clip { Tokenizer::open_clip()? } else { Tokenizer::clip()? },
        scheduler: complete_scheduler(&origin, scheduler, None, None)?,
        files: Files::Folder(folder.to_owned()),
        used: vec![file_name],
        notes: Vec::new(),
        hash: Default::default(),
    };
    checkpoint.check()?;
    require_whole_vocabulary(&checkpoint)?;
    Ok(checkpoint)
}

/// Nothing in a file says what its output means. Stable Diffusion 1 predicts the noise; 2 the velocity, except in the edition for
/// 512 pixels, which everybody publishes with `512` in the name (`v2-1_512-ema-pruned`, `512-base-ema`).
fn assumed_prediction(file_name: &str, is_open_clip: bool) -> PredictionType {
    if is_open_clip && !file_name.contains("512") { PredictionType::VPrediction } else { PredictionType::Epsilon }
}

/// A single file brings no tokenizer, so its text encoder must be one for CLIP's vocabulary.
fn require_whole_vocabulary(checkpoint: &Checkpoint) -> Result<()> {
    let (built_in, found) = (checkpoint.tokenizer.vocab_size(), checkpoint.text_encoder.config.vocab_size);
    if built_in == found {
        return Ok(());
    }
    Err(Error::Tokenizer {
        origin: checkpoint.name.clone(),
        problem: format!("a single file is read with CLIP's {built_in} tokens, its text encoder knows {found}"),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sd2_is_taken_for_a_v_model_unless_its_name_says_512() {
        assert_eq!(assumed_prediction("v2-1_768-ema-pruned.safetensors", true), PredictionType::VPrediction);
        assert_eq!(assumed_prediction("512-base-ema.safetensors", true), PredictionType::Epsilon);
        assert_eq!(assumed_prediction("v1-5-pruned-emaonly.safetensors", false), PredictionType::Epsilon);
    }
}
