//! CLIP as a pair of towers: how alike are an image and a text?
//!
//! Radford et al. 2021, arXiv 2103.00020. Both towers end in vectors of one width, whose cosine is the CLIP score. Reads folders in transformers' layout, such as
//! a download of `openai/clip-vit-base-patch32`.

use std::path::Path;

use candle_core::{D, Device, Tensor};
use serde::Deserialize;
use serde_json::{Map, Value};
use sinopia_nn::{LayerNorm, Linear};

use crate::checkpoint::files::Files;
use crate::clip::{ClipTextConfig, ClipTextModel};
use crate::layers::{layer_norm, linear_no_bias};
use crate::owlvit::{OwlVisionConfig, Pixels, prepared};
use crate::preprocessing::Preprocessing;
use crate::vision::VisionEncoder;
use crate::{CancellationToken, Error, Precision, Result, Tokenizer, Weights, config};

/// What the pair is built like.
const CONFIG: &str = "config.json";
/// Side of CLIP's images where its configuration does not say, in pixels.
const DEFAULT_IMAGE_SIZE: usize = 224;
/// Width of the common space where the configuration does not say.
const DEFAULT_PROJECTION_DIM: usize = 512;

/// `config.json` of a CLIP model; absent keys have transformers' defaults.
#[derive(Debug, Clone, PartialEq)]
pub struct ClipConfig {
    /// The tower that reads.
    pub text_config: ClipTextConfig,
    /// The tower that looks.
    pub vision_config: OwlVisionConfig,
    /// Width of the space where they meet.
    pub projection_dim: usize,
}

impl ClipConfig {
    /// Reads the text of a `config.json`.
    ///
    /// # Errors
    /// If it is not JSON of a CLIP model, or a value is out of range.
    pub fn from_json(text: &str) -> Result<Self> {
        #[derive(Deserialize)]
        struct Raw {
            #[serde(default)]
            model_type: String,
            #[serde(default)]
            text_config: ClipTextConfig,
            #[serde(default)]
            vision_config: Map<String, Value>,
            projection_dim: Option<usize>,
        }
        let json = |source| Error::Json { file: CONFIG.to_owned(), source };
        let mut raw: Raw = config::read(text, CONFIG)?;
        if raw.model_type != "clip" {
            return Err(Error::Config {
                file: CONFIG.to_owned(),
                key: "model_type".to_owned(),
                found: format!("\"{}\"", raw.model_type),
                expected: "\"clip\"".to_owned(),
            });
        }
        raw.vision_config.entry("image_size").or_insert(DEFAULT_IMAGE_SIZE.into());
        let vision_config = serde_json::from_value(Value::Object(raw.vision_config)).map_err(json)?;
        let projection_dim = raw.projection_dim.unwrap_or(DEFAULT_PROJECTION_DIM);
        let text_config = ClipTextConfig { projection_dim: Some(projection_dim), ..raw.text_config };
        let config = Self { text_config, vision_config, projection_dim };
        config.vision_config.validate(projection_dim)?;
        config.text_config.validate()?;
        Ok(config)
    }
}

/// Both towers with frozen weights.
#[derive(Debug)]
pub struct ClipPair {
    config: ClipConfig,
    tokenizer: Tokenizer,
    text: ClipTextModel,
    vision: VisionEncoder,
    post_layernorm: LayerNorm,
    visual_projection: Linear,
    preprocessing: Preprocessing,
    device: Device,
}

impl ClipPair {
    /// Opens a folder in transformers' layout: `config.json`, `model.safetensors` (or `pytorch_model.bin`, or shards), the tokenizer's
    /// files, and `preprocessor_config.json` if images are prepared otherwise than published.
    ///
    /// # Errors
    /// [`Error::NotFound`], [`Error::NotACheckpoint`] if a file is missing, and what reading them finds wrong.
    pub fn open(folder: &Path, device: &Device, precision: Precision) -> Result<Self> {
        if !folder.is_dir() {
            return Err(Error::NotFound { path: folder.to_owned() });
        }
        let files = Files::Folder(folder.to_owned());
        let config = config_of(&files)?;
        let preprocessing = preprocessing_of(&files, &config)?;
        let weights = files.weights(&files.weight_files("", None)?, device, precision)?;
        Ok(Self { preprocessing, ..Self::load(&config, &weights, Tokenizer::from_folder(folder)?)? })
    }

    fn load(config: &ClipConfig, weights: &Weights, tokenizer: Tokenizer) -> Result<Self> {
        if tokenizer.vocab_size() > config.text_config.vocab_size {
            let (found, expected) = (tokenizer.vocab_size(), config.text_config.vocab_size);
            let problem = format!("it has {found} tokens, the model knows {expected}");
            return Err(Error::Tokenizer { origin: weights.origin().to_owned(), problem });
        }
        // Not optional here: without it texts and images do not compare.
        weights.get("text_projection.weight", &[config.projection_dim, config.text_config.hidden_size])?;
        let (vision, tower) = (&config.vision_config, weights.pp("vision_model"));
        Ok(Self {
            text: ClipTextModel::load(&config.text_config, weights)?,
            vision: VisionEncoder::load(vision, &tower, "pre_layrnorm")?,
            post_layernorm: layer_norm(&tower.pp("post_layernorm"), vision.hidden_size, vision.layer_norm_eps)?,
            visual_projection: linear_no_bias(
                &weights.pp("visual_projection"),
                vision.hidden_size,
                config.projection_dim,
            )?,
            preprocessing: Preprocessing::clip(config.vision_config.image_size),
            device: weights.device().clone(),
            config: config.clone(),
            tokenizer,
        })
    }

    /// What the pair was built from.
    pub fn config(&self) -> &ClipConfig {
        &self.config
    }

    /// Token ids of a text: beginning, text, end, padding. A longer text is cut before its end mark.
    ///
    /// # Errors
    /// As [`Tokenizer::encode_unpadded`].
    pub fn tokenize(&self, text: &str) -> Result<Vec<u32>> {
        self.tokenizer.encode_padded(text, self.config.text_config.max_position_embeddings, self.tokenizer.pad())
    }

    /// Texts as vectors of length 1, (Q, P).
    ///
    /// # Errors
    /// [`Error::Input`] if there is none.
    pub fn encode_texts<S: AsRef<str>>(&self, texts: &[S]) -> Result<Tensor> {
        self.encode_texts_cancellable(texts, None)
    }

    /// The same, given up between two layers if it is cancelled.
    ///
    /// # Errors
    /// As [`encode_texts`](Self::encode_texts); [`Error::Cancelled`].
    pub fn encode_texts_cancellable<S: AsRef<str>>(
        &self,
        texts: &[S],
        cancellation: Option<&CancellationToken>,
    ) -> Result<Tensor> {
        let ids = texts.iter().map(|text| self.tokenize(text.as_ref())).collect::<Result<Vec<_>>>()?;
        let embeds = self.text.forward_cancellable(&ids, cancellation)?.text_embeds.ok_or_else(|| Error::Input {
            what: "the text tower",
            expected: "a projection".to_owned(),
            found: "none".to_owned(),
        })?;
        of_length_one(&embeds)
    }

    /// Images as vectors of length 1, (B, P): their middle square, seen by the class token.
    ///
    /// # Errors
    /// If the tensor library refuses.
    pub fn encode_images(&self, images: &[Pixels]) -> Result<Tensor> {
        self.encode_images_cancellable(images, None)
    }

    /// The same, given up between two layers if it is cancelled.
    ///
    /// # Errors
    /// As [`encode_images`](Self::encode_images); [`Error::Cancelled`].
    pub fn encode_images_cancellable(
        &self,
        images: &[Pixels],
        cancellation: Option<&CancellationToken>,
    ) -> Result<Tensor> {
        let side = self.config.vision_config.image_size;
        let pixels = prepared(images, &self.preprocessing, side, &self.device)?; // (B, S, S, 3)
        let tokens = self.vision.forward(&pixels, cancellation)?; // (B, 1 + N, C)
        let class = self.post_layernorm.forward(&tokens.narrow(1, 0, 1)?.squeeze(1)?.contiguous()?)?;
        of_length_one(&self.visual_projection.forward(&class)?)
    }
}

fn of_length_one(x: &Tensor) -> Result<Tensor> {
    Ok(x.broadcast_div(&x.sqr()?.sum_keepdim(D::Minus1)?.sqrt()?)?)
}

/// The SHA-256 of a folder's weights, in hexadecimal.
///
/// # Errors
/// [`Error::NotACheckpoint`] if the folder has no weights, [`Error::Read`].
pub fn content_hash(folder: &Path) -> Result<String> {
    let files = Files::Folder(folder.to_owned());
    let config = config_of(&files)?;
    let published = Preprocessing::clip(config.vision_config.image_size);
    preprocessing_of(&files, &config)?.model_hash(&files, &published)
}

fn config_of(files: &Files) -> Result<ClipConfig> {
    let text = files.read(CONFIG)?.ok_or_else(|| incomplete(files, "it has no config.json"))?;
    ClipConfig::from_json(&String::from_utf8_lossy(&text))
}

/// What is done to images, as the folder says.
fn preprocessing_of(files: &Files, config: &ClipConfig) -> Result<Preprocessing> {
    let published = Preprocessing::clip(config.vision_config.image_size);
    let found = Preprocessing::of_folder(files, published.clone())?;
    found.require_geometry(&published, &files.display(""))?;
    Ok(found)
}

fn incomplete(files: &Files, problem: &str) -> Error {
    Error::NotACheckpoint { origin: files.display(""), problem: problem.to_owned() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn absent_keys_are_those_of_the_published_base_model() {
        let config = ClipConfig::from_json(r#"{"model_type": "clip", "text_config": {"eos_token_id": 2}}"#).unwrap();
        assert_eq!((config.vision_config.image_size, config.vision_config.patch_size), (224, 32));
        assert_eq!((config.projection_dim, config.text_config.max_position_embeddings), (512, 77));
    }

    #[test]
    fn bad_configurations_are_named() {
        for (json, part) in [
            (r#"{"model_type": "owlvit"}"#, "`model_type`"),
            (r#"{"model_type": "clip", "vision_config": {"patch_size": 0}}"#, "`vision_config.patch_size`"),
            (r#"{"model_type": "clip", "vision_config": {"image_size": 8}}"#, "from patch_size, 32"),
            (r#"{"model_type": "clip", "vision_config": {"num_attention_heads": 7}}"#, "a divisor of hidden_size"),
        ] {
            let message = ClipConfig::from_json(json).unwrap_err().to_string();
            assert!(message.contains(part), "{message}");
        }
    }
}
