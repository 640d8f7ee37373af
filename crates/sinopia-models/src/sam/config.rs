//! `config.json` of a SAM in transformers' words, and the same read off the tensors of a file that comes without one.

use serde::{Deserialize, Serialize};

use crate::{Error, Result, Weights, config};

/// Where the configuration comes from, for messages.
const FILE: &str = "config.json";
/// Largest side of the square image, in pixels; published models have 1024.
const MAX_IMAGE_SIZE: usize = 4096;
/// Points are background, foreground, and the two corners of a box.
pub(super) const POINT_KINDS: usize = 4;
/// Pixels of a mask along a cell of the grid: two upsamplings by 2.
pub(super) const MASK_CELL: usize = 4;

/// `config.json`; absent keys are those of `facebook/sam-vit-base`.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct SamConfig {
    /// The image encoder.
    pub vision_config: SamVisionConfig,
    /// What reads points, boxes and masks.
    pub prompt_encoder_config: SamPromptConfig,
    /// What paints the masks.
    pub mask_decoder_config: SamDecoderConfig,
}

/// The image encoder: a vision transformer that looks through windows, in a few layers at everything.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct SamVisionConfig {
    /// Width of the hidden states.
    pub hidden_size: usize,
    /// Channels of the image's embedding.
    pub output_channels: usize,
    /// Number of layers.
    pub num_hidden_layers: usize,
    /// Attention heads in each layer.
    pub num_attention_heads: usize,
    /// Side of the square image, in pixels.
    pub image_size: usize,
    /// Side of a patch, in pixels.
    pub patch_size: usize,
    /// `gelu`.
    pub hidden_act: String,
    /// Added to the variance in layer norms.
    pub layer_norm_eps: f64,
    /// Whether queries, keys and values have a bias.
    pub qkv_bias: bool,
    /// Whether patches know where they are.
    pub use_abs_pos: bool,
    /// Whether patches know where others are, seen from them.
    pub use_rel_pos: bool,
    /// Side of a window, in patches; 0 lets all layers see everything.
    pub window_size: usize,
    /// Layers that see everything.
    pub global_attn_indexes: Vec<usize>,
    /// Fourier features of a coordinate: half the width of prompts.
    pub num_pos_feats: usize,
    /// Width inside the feed-forward layers, as a multiple of `hidden_size`.
    pub mlp_ratio: f64,
    /// The same as a number, if it is given.
    pub mlp_dim: Option<usize>,
}

/// What reads prompts.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct SamPromptConfig {
    /// Width of prompts.
    pub hidden_size: usize,
    /// Side of the square image, in pixels.
    pub image_size: usize,
    /// Side of a patch, in pixels.
    pub patch_size: usize,
    /// Channels of a mask given as a prompt, before they become `hidden_size`.
    pub mask_input_channels: usize,
    /// `gelu`.
    pub hidden_act: String,
    /// Added to the variance in layer norms.
    pub layer_norm_eps: f64,
}

/// What paints masks.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct SamDecoderConfig {
    /// Width of tokens.
    pub hidden_size: usize,
    /// `relu`.
    pub hidden_act: String,
    /// Width inside the feed-forward layers.
    pub mlp_dim: usize,
    /// Two-way layers.
    pub num_hidden_layers: usize,
    /// Attention heads in each.
    pub num_attention_heads: usize,
    /// How much narrower attention between tokens and image is than they are.
    pub attention_downsample_rate: usize,
    /// Masks for an ambiguous prompt; one more is for prompts that are not.
    pub num_multimask_outputs: usize,
    /// Linear layers of the head that predicts the masks' quality.
    pub iou_head_depth: usize,
    /// Their inner width.
    pub iou_head_hidden_dim: usize,
    /// Added to the variance in layer norms.
    pub layer_norm_eps: f64,
}

impl Default for SamVisionConfig {
    fn default() -> Self {
        Self {
            hidden_size: 768,
            output_channels: 256,
            num_hidden_layers: 12,
            num_attention_heads: 12,
            image_size: 1024,
            patch_size: 16,
            hidden_act: "gelu".to_owned(),
            layer_norm_eps: 1e-6,
            qkv_bias: true,
            use_abs_pos: true,
            use_rel_pos: true,
            window_size: 14,
            global_attn_indexes: vec![2, 5, 8, 11],
            num_pos_feats: 128,
            mlp_ratio: 4.0,
            mlp_dim: None,
        }
    }
}

impl Default for SamPromptConfig {
    fn default() -> Self {
        Self {
            hidden_size: 256,
            image_size: 1024,
            patch_size: 16,
            mask_input_channels: 16,
            hidden_act: "gelu".to_owned(),
            layer_norm_eps: 1e-6,
        }
    }
}

impl Default for SamDecoderConfig {
    fn default() -> Self {
        Self {
            hidden_size: 256,
            hidden_act: "relu".to_owned(),
            mlp_dim: 2048,
            num_hidden_layers: 2,
            num_attention_heads: 8,
            attention_downsample_rate: 2,
            num_multimask_outputs: 3,
            iou_head_depth: 3,
            iou_head_hidden_dim: 256,
            layer_norm_eps: 1e-6,
        }
    }
}

impl SamVisionConfig {
    /// Width inside the feed-forward layers.
    pub fn mlp_dim(&self) -> usize {
        self.mlp_dim.unwrap_or((self.hidden_size as f64 * self.mlp_ratio) as usize)
    }

    /// Side of the window of a layer, in patches; 0 if it sees everything.
    pub(super) fn window_of(&self, layer: usize) -> usize {
        if self.global_attn_indexes.contains(&layer) { 0 } else { self.window_size }
    }
}

impl SamDecoderConfig {
    /// Masks in all: those for ambiguous prompts and the one for others.
    pub fn num_mask_tokens(&self) -> usize {
        self.num_multimask_outputs + 1
    }
}

impl SamConfig {
    /// Reads the text of a `config.json`.
    ///
    /// # Errors
    /// If it is not JSON, or a value has the wrong kind, or [`SamConfig::validate`] refuses it.
    pub fn from_json(text: &str) -> Result<Self> {
        #[derive(Deserialize)]
        struct Kind {
            model_type: Option<String>,
        }
        let kind: Kind = config::read(text, FILE)?;
        if kind.model_type.as_deref() != Some("sam") {
            let found = kind.model_type.map_or("absent".to_owned(), |kind| format!("\"{kind}\""));
            return Err(refused("model_type", found, "\"sam\""));
        }
        let config: Self = config::read(text, FILE)?;
        config.validate()?;
        Ok(config)
    }

    /// Patches along a side of the image.
    pub fn grid_side(&self) -> usize {
        self.vision_config.image_size / self.vision_config.patch_size
    }

    /// Pixels along a side of a mask as the decoder paints it.
    pub fn mask_side(&self) -> usize {
        MASK_CELL * self.grid_side()
    }

    /// Whether this is a SAM that we build.
    ///
    /// # Errors
    /// [`Error::Config`] with the first key that is out of range or not supported.
    pub fn validate(&self) -> Result<()> {
        self.require_sizes()?;
        self.require_equal_sizes()?;
        self.require_divisible_sizes()?;
        self.require_published_parts()
    }

    fn require_sizes(&self) -> Result<()> {
        let (vision, decoder) = (&self.vision_config, &self.mask_decoder_config);
        let sizes = [
            ("vision_config.hidden_size", vision.hidden_size),
            ("vision_config.num_hidden_layers", vision.num_hidden_layers),
            ("vision_config.num_attention_heads", vision.num_attention_heads),
            ("vision_config.patch_size", vision.patch_size),
            ("vision_config.mlp_dim", vision.mlp_dim()),
            ("mask_decoder_config.hidden_size", decoder.hidden_size),
            ("mask_decoder_config.mlp_dim", decoder.mlp_dim),
            ("mask_decoder_config.num_hidden_layers", decoder.num_hidden_layers),
            ("mask_decoder_config.num_attention_heads", decoder.num_attention_heads),
            ("mask_decoder_config.attention_downsample_rate", decoder.attention_downsample_rate),
            ("mask_decoder_config.num_multimask_outputs", decoder.num_multimask_outputs),
            ("mask_decoder_config.iou_head_hidden_dim", decoder.iou_head_hidden_dim),
        ];
        config::require_sizes(FILE, &sizes)?;
        let sides = vision.patch_size..=MAX_IMAGE_SIZE;
        if !sides.contains(&vision.image_size) || !vision.image_size.is_multiple_of(vision.patch_size) {
            let expected = format!("a multiple of patch_size, {}, up to {MAX_IMAGE_SIZE}", vision.patch_size);
            return Err(refused("vision_config.image_size", vision.image_size.to_string(), expected));
        }
        if decoder.iou_head_depth < 2 {
            return Err(refused("mask_decoder_config.iou_head_depth", decoder.iou_head_depth.to_string(), "2 or more"));
        }
        Ok(())
    }

    /// What one network hands to another has to fit.
    fn require_equal_sizes(&self) -> Result<()> {
        let (vision, prompt, decoder) = (&self.vision_config, &self.prompt_encoder_config, &self.mask_decoder_config);
        let equal = [
            (
                "vision_config.output_channels",
                vision.output_channels,
                "mask_decoder_config.hidden_size",
                decoder.hidden_size,
            ),
            (
                "prompt_encoder_config.hidden_size",
                prompt.hidden_size,
                "mask_decoder_config.hidden_size",
                decoder.hidden_size,
            ),
            (
                "vision_config.num_pos_feats",
                vision.num_pos_feats,
                "half of prompt_encoder_config.hidden_size",
                prompt.hidden_size / 2,
            ),
            ("prompt_encoder_config.image_size", prompt.image_size, "vision_config.image_size", vision.image_size),
            ("prompt_encoder_config.patch_size", prompt.patch_size, "vision_config.patch_size", vision.patch_size),
        ];
        if let Some((key, found, other, expected)) = equal.iter().find(|(_, found, _, expected)| found != expected) {
            return Err(refused(key, found.to_string(), format!("{other}, {expected}")));
        }
        Ok(())
    }

    fn require_divisible_sizes(&self) -> Result<()> {
        let (vision, prompt, decoder) = (&self.vision_config, &self.prompt_encoder_config, &self.mask_decoder_config);
        let divided = [
            (
                "vision_config.hidden_size",
                vision.hidden_size,
                "vision_config.num_attention_heads",
                vision.num_attention_heads,
            ),
            ("mask_decoder_config.hidden_size", decoder.hidden_size, "8", 8),
            ("mask_decoder_config.hidden_size", decoder.hidden_size, "its heads", decoder.num_attention_heads),
            (
                "mask_decoder_config.hidden_size",
                decoder.hidden_size,
                "its heads times attention_downsample_rate",
                decoder.num_attention_heads * decoder.attention_downsample_rate,
            ),
            ("prompt_encoder_config.mask_input_channels", prompt.mask_input_channels, "4", 4),
        ];
        if let Some((key, found, what, divisor)) = divided.iter().find(|(_, x, _, d)| *x == 0 || !x.is_multiple_of(*d))
        {
            return Err(refused(key, found.to_string(), format!("a multiple of {what} ({divisor})")));
        }
        Ok(())
    }

    /// Activations and parts that no published model is without.
    fn require_published_parts(&self) -> Result<()> {
        let (vision, prompt, decoder) = (&self.vision_config, &self.prompt_encoder_config, &self.mask_decoder_config);
        let words = [
            ("vision_config.hidden_act", &vision.hidden_act, "gelu"),
            ("prompt_encoder_config.hidden_act", &prompt.hidden_act, "gelu"),
            ("mask_decoder_config.hidden_act", &decoder.hidden_act, "relu"),
        ];
        if let Some((key, found, expected)) = words.iter().find(|(_, found, expected)| found != expected) {
            return Err(refused(key, format!("\"{found}\""), format!("\"{expected}\"")));
        }
        let switches = [
            ("vision_config.qkv_bias", vision.qkv_bias),
            ("vision_config.use_abs_pos", vision.use_abs_pos),
            ("vision_config.use_rel_pos", vision.use_rel_pos),
        ];
        match switches.iter().find(|(_, on)| !on) {
            Some((key, _)) => Err(refused(key, "false", "true, as in every published model")),
            None => Ok(()),
        }
    }

    /// The configuration of tensors in transformers' names: sizes are read off shapes, heads off the width of relative positions, and which layers
    /// see everything off their length. The decoder's heads do not show; every published model has 8.
    ///
    /// # Errors
    /// [`Error::NotACheckpoint`] if this is no SAM, and as [`SamConfig::validate`].
    pub(super) fn of_weights(weights: &Weights) -> Result<Self> {
        let shape = |name: &str| -> Result<Vec<usize>> {
            let problem = || format!("it has no tensor `{name}`, as every SAM does (in transformers' or Meta's names)");
            let found = weights.shape(name).filter(|shape| shape.len() >= 2);
            found.ok_or_else(|| Error::NotACheckpoint { origin: weights.origin().to_owned(), problem: problem() })
        };
        let encoder = "vision_encoder";
        let patch = shape(&format!("{encoder}.patch_embed.projection.weight"))?; // (C, 3, P, P)
        let grid = shape(&format!("{encoder}.pos_embed"))?[1];
        let (hidden_size, patch_size) = (patch[0], patch[patch.len() - 1]);
        let rel_pos = |layer: usize| weights.shape(&format!("{encoder}.layers.{layer}.attn.rel_pos_h"));
        let rel_pos: Vec<Vec<usize>> = (0..).map_while(rel_pos).filter(|shape| shape.len() == 2).collect();
        let windows: Vec<usize> = rel_pos.iter().map(|shape| shape[0].div_ceil(2)).collect();
        let width = rel_pos.first().map_or(1, |shape| shape[1]).max(1);
        let decoder = "mask_decoder";
        let image_size = grid * patch_size;
        let mlp = shape(&format!("{encoder}.layers.0.mlp.lin1.weight"))?[0];
        let output_channels = shape(&format!("{encoder}.neck.conv1.weight"))?[0];
        let layer = format!("{decoder}.transformer.layers");
        let narrow = shape(&format!("{layer}.0.cross_attn_token_to_image.q_proj.weight"))?;
        let iou_head = format!("{decoder}.iou_prediction_head");
        let config = Self {
            vision_config: SamVisionConfig {
                hidden_size,
                output_channels,
                num_hidden_layers: rel_pos.len(),
                num_attention_heads: hidden_size / width,
                image_size,
                patch_size,
                window_size: windows.iter().copied().find(|window| *window != grid).unwrap_or(0),
                global_attn_indexes: (0..windows.len()).filter(|layer| windows[*layer] == grid).collect(),
                num_pos_feats: shape("shared_image_embedding.positional_embedding")?[1],
                mlp_dim: Some(mlp),
                ..SamVisionConfig::default()
            },
            prompt_encoder_config: SamPromptConfig {
                hidden_size: shape("prompt_encoder.no_mask_embed.weight")?[1],
                image_size,
                patch_size,
                mask_input_channels: shape("prompt_encoder.mask_embed.conv2.weight")?[0],
                ..SamPromptConfig::default()
            },
            mask_decoder_config: SamDecoderConfig {
                hidden_size: narrow[1],
                mlp_dim: shape(&format!("{layer}.0.mlp.lin1.weight"))?[0],
                num_hidden_layers: (0..).take_while(|i| weights.contains_prefix(&format!("{layer}.{i}"))).count(),
                attention_downsample_rate: narrow[1] / narrow[0].max(1),
                num_multimask_outputs: shape(&format!("{decoder}.mask_tokens.weight"))?[0].saturating_sub(1),
                iou_head_depth: 2
                    + (0..).take_while(|i| weights.contains_prefix(&format!("{iou_head}.layers.{i}"))).count(),
                iou_head_hidden_dim: shape(&format!("{iou_head}.proj_in.weight"))?[0],
                ..SamDecoderConfig::default()
            },
        };
        config.validate()?;
        Ok(config)
    }
}

fn refused(key: &str, found: impl Into<String>, expected: impl Into<String>) -> Error {
    config::refused(FILE, key, found, expected)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn absent_keys_are_those_of_the_published_base_model() {
        let config = SamConfig::from_json(r#"{"model_type": "sam"}"#).unwrap();
        assert_eq!((config.grid_side(), config.mask_side(), config.vision_config.mlp_dim()), (64, 256, 3072));
        let windows: Vec<usize> = (0..4).map(|layer| config.vision_config.window_of(layer)).collect();
        assert_eq!(windows, [14, 14, 0, 14]);
        let huge = r#"{"model_type": "sam", "vision_config": {"hidden_size": 1280, "num_attention_heads": 16, "mlp_dim": null}}"#;
        assert_eq!(SamConfig::from_json(huge).unwrap().vision_config.mlp_dim(), 5120);
    }

    #[test]
    fn bad_configurations_are_named() {
        for (json, part) in [
            (r#"{"model_type": "owlvit"}"#, "`model_type` in `config.json` is \"owlvit\""),
            (r#"{}"#, "`model_type` in `config.json` is absent"),
            (r#"{"model_type": "sam", "vision_config": {"patch_size": 0}}"#, "`vision_config.patch_size`"),
            (r#"{"model_type": "sam", "vision_config": {"image_size": 1000}}"#, "a multiple of patch_size, 16"),
            (r#"{"model_type": "sam", "vision_config": {"num_attention_heads": 7}}"#, "a multiple of"),
            (r#"{"model_type": "sam", "vision_config": {"use_rel_pos": false}}"#, "`vision_config.use_rel_pos`"),
            (r#"{"model_type": "sam", "vision_config": {"output_channels": 128}}"#, "`vision_config.output_channels`"),
            (
                r#"{"model_type": "sam", "mask_decoder_config": {"iou_head_depth": 1}}"#,
                "`mask_decoder_config.iou_head_depth`",
            ),
            (
                r#"{"model_type": "sam", "prompt_encoder_config": {"hidden_act": "relu"}}"#,
                "`prompt_encoder_config.hidden_act`",
            ),
        ] {
            let message = SamConfig::from_json(json).unwrap_err().to_string();
            assert!(message.contains(part), "{message}");
        }
    }
}
