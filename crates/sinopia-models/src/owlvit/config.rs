//! `config.json` of OWL-ViT and OWLv2, in transformers' words; absent keys have transformers' defaults.

use serde::{Deserialize, Serialize};

use crate::clip::ClipTextConfig;
use crate::{Error, Result, config};

/// Where the configuration comes from, for messages.
const FILE: &str = "config.json";

/// The two generations of the detector. They share towers and heads and prepare images differently.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum OwlKind {
    /// Images are resized to a square (bicubic), whatever their shape. `google/owlvit-base-patch32` judges the published LMD benchmark.
    #[serde(rename = "owlvit")]
    OwlVit,
    /// Images are padded to a square, then resized (bilinear).
    #[serde(rename = "owlv2")]
    Owlv2,
}

impl OwlKind {
    /// The first part of tensor names.
    pub(super) fn prefix(self) -> &'static str {
        match self {
            Self::OwlVit => "owlvit",
            Self::Owlv2 => "owlv2",
        }
    }
}

/// The detector's configuration.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct OwlVitConfig {
    /// `owlvit` or `owlv2`.
    pub model_type: OwlKind,
    /// The tower that reads queries.
    #[serde(default)]
    pub text_config: OwlTextConfig,
    /// The tower that looks at images.
    #[serde(default)]
    pub vision_config: OwlVisionConfig,
    /// Width of projected queries, which the class head compares with patches.
    #[serde(default = "default_projection_dim")]
    pub projection_dim: usize,
}

fn default_projection_dim() -> usize {
    512
}

/// The text tower.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct OwlTextConfig {
    /// Number of tokens the model knows.
    pub vocab_size: usize,
    /// Width of hidden states.
    pub hidden_size: usize,
    /// Width inside the feed-forward layers.
    pub intermediate_size: usize,
    /// Number of layers.
    pub num_hidden_layers: usize,
    /// Attention heads in each layer.
    pub num_attention_heads: usize,
    /// The longest query, in tokens with both marks.
    pub max_position_embeddings: usize,
    /// `quick_gelu` or `gelu`.
    pub hidden_act: String,
    /// Added to the variance in layer norms.
    pub layer_norm_eps: f64,
}

impl Default for OwlTextConfig {
    fn default() -> Self {
        Self {
            vocab_size: 49408,
            hidden_size: 512,
            intermediate_size: 2048,
            num_hidden_layers: 12,
            num_attention_heads: 8,
            max_position_embeddings: 16,
            hidden_act: "quick_gelu".to_owned(),
            layer_norm_eps: 1e-5,
        }
    }
}

/// The vision tower.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct OwlVisionConfig {
    /// Width of hidden states.
    pub hidden_size: usize,
    /// Width inside the feed-forward layers.
    pub intermediate_size: usize,
    /// Number of layers.
    pub num_hidden_layers: usize,
    /// Attention heads in each layer.
    pub num_attention_heads: usize,
    /// Side of the square images, in pixels.
    pub image_size: usize,
    /// Side of a patch, in pixels; each patch is a candidate box.
    pub patch_size: usize,
    /// `quick_gelu` or `gelu`.
    pub hidden_act: String,
    /// Added to the variance in layer norms.
    pub layer_norm_eps: f64,
}

impl Default for OwlVisionConfig {
    fn default() -> Self {
        Self {
            hidden_size: 768,
            intermediate_size: 3072,
            num_hidden_layers: 12,
            num_attention_heads: 12,
            image_size: 768,
            patch_size: 32,
            hidden_act: "quick_gelu".to_owned(),
            layer_norm_eps: 1e-5,
        }
    }
}

/// Stands for "the end is the largest id of the text", which is how the detector finds it.
const EOS_IS_LARGEST: u32 = 2;

impl OwlVisionConfig {
    /// Whether this is a vision tower that we build, with a projection to `projection_dim`.
    ///
    /// # Errors
    /// [`Error::Config`] with the first key that is out of range.
    pub(crate) fn validate(&self, projection_dim: usize) -> Result<()> {
        let sizes = [
            ("projection_dim", projection_dim),
            ("vision_config.hidden_size", self.hidden_size),
            ("vision_config.intermediate_size", self.intermediate_size),
            ("vision_config.num_hidden_layers", self.num_hidden_layers),
            ("vision_config.num_attention_heads", self.num_attention_heads),
            ("vision_config.patch_size", self.patch_size),
        ];
        config::require_sizes(FILE, &sizes)?;
        if self.image_size < self.patch_size || self.image_size > MAX_IMAGE_SIZE {
            let expected = format!("from patch_size, {}, to {MAX_IMAGE_SIZE}", self.patch_size);
            return Err(refused("vision_config.image_size", self.image_size, expected));
        }
        if !self.hidden_size.is_multiple_of(self.num_attention_heads) {
            let expected = format!("a divisor of hidden_size, {}", self.hidden_size);
            return Err(refused("vision_config.num_attention_heads", self.num_attention_heads, expected));
        }
        Ok(())
    }
}

impl OwlVitConfig {
    /// Reads the text of a `config.json`.
    ///
    /// # Errors
    /// If it is not JSON, a value has the wrong kind, or [`OwlVitConfig::validate`] refuses it.
    pub fn from_json(text: &str) -> Result<Self> {
        let config: Self = config::read(text, FILE)?;
        config.validate()?;
        Ok(config)
    }

    /// Whether this is a detector that we build.
    ///
    /// # Errors
    /// [`Error::Config`] with the first key that is out of range or not supported.
    pub fn validate(&self) -> Result<()> {
        self.vision_config.validate(self.projection_dim)?;
        // The class head compares patches of the text's width with projected queries.
        if self.projection_dim != self.text_config.hidden_size {
            let expected = format!("text_config.hidden_size, {}", self.text_config.hidden_size);
            return Err(refused("projection_dim", self.projection_dim, expected));
        }
        self.text_encoder().validate()
    }

    /// The text tower as a CLIP text encoder, which it is: causal, pooled at the end mark, projected.
    ///
    /// Padding behind the end is never seen from there, so the pad mask of the original changes nothing.
    pub(super) fn text_encoder(&self) -> ClipTextConfig {
        let text = &self.text_config;
        ClipTextConfig {
            vocab_size: text.vocab_size,
            hidden_size: text.hidden_size,
            intermediate_size: text.intermediate_size,
            projection_dim: Some(self.projection_dim),
            num_hidden_layers: text.num_hidden_layers,
            num_attention_heads: text.num_attention_heads,
            max_position_embeddings: text.max_position_embeddings,
            hidden_act: text.hidden_act.clone(),
            layer_norm_eps: text.layer_norm_eps,
            eos_token_id: EOS_IS_LARGEST,
            use_attention_mask: None,
        }
    }

    /// Patches along a side of the image.
    pub fn grid_side(&self) -> usize {
        self.vision_config.image_size / self.vision_config.patch_size
    }
}

/// Largest side of the square image, in pixels; published detectors have 768 to 1008.
const MAX_IMAGE_SIZE: usize = 4096;

fn refused(key: &str, found: usize, expected: String) -> Error {
    config::refused(FILE, key, found.to_string(), expected)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn absent_keys_are_those_of_the_published_base_model() {
        let config = OwlVitConfig::from_json(r#"{"model_type": "owlvit"}"#).unwrap();
        assert_eq!((config.grid_side(), config.text_config.max_position_embeddings), (24, 16));
        let json = r#"{"model_type": "owlv2", "vision_config": {"image_size": 960, "patch_size": 16}}"#;
        assert_eq!(OwlVitConfig::from_json(json).unwrap().grid_side(), 60);
    }

    #[test]
    fn bad_configurations_are_named() {
        for (json, part) in [
            (r#"{"model_type": "owlvit", "projection_dim": 256}"#, "`projection_dim`"),
            (r#"{"model_type": "owlvit", "vision_config": {"patch_size": 0}}"#, "`vision_config.patch_size`"),
            (r#"{"model_type": "owlvit", "vision_config": {"image_size": 16}}"#, "from patch_size, 32"),
            (r#"{"model_type": "owlvit", "text_config": {"hidden_act": "relu"}}"#, "`hidden_act`"),
        ] {
            let message = OwlVitConfig::from_json(json).unwrap_err().to_string();
            assert!(message.contains(part), "{message}");
        }
        assert!(OwlVitConfig::from_json(r#"{"model_type": "clip"}"#).is_err());
    }
}
