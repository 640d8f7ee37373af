//! `vae/config.json`: what an autoencoder is built from, in diffusers' words.

use serde::{Deserialize, Serialize};

use crate::{Error, Result, config};

/// Where the values come from, for messages.
const FILE: &str = "vae/config.json";
const DOWN: &str = "DownEncoderBlock2D";
const UP: &str = "UpDecoderBlock2D";
/// Far above any real network; keeps products of sizes from overflowing.
const MAX_CHANNELS: usize = 1 << 16;
/// As is 2²⁰ pixels for a latent cell.
const MAX_LEVELS: usize = 20;

/// The configuration of an [`AutoencoderKl`](super::AutoencoderKl); absent keys have diffusers' defaults.
///
/// `shift_factor`, `latents_mean` and `latents_std` are not read: the pipelines of Stable Diffusion 1 and 2 scale by `scaling_factor` alone, whatever
/// an autoencoder's file says of the others, which are for the models that it was made for.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct VaeConfig {
    /// Channels of the image.
    pub in_channels: usize,
    /// Channels of the decoded image.
    pub out_channels: usize,
    /// `DownEncoderBlock2D` for each level.
    pub down_block_types: Vec<String>,
    /// `UpDecoderBlock2D` for each level.
    pub up_block_types: Vec<String>,
    /// Channels at each level; every level but the last halves the grid.
    pub block_out_channels: Vec<usize>,
    /// Residual blocks in a block of the encoder; the decoder's have one more.
    pub layers_per_block: usize,
    /// `silu`.
    pub act_fn: String,
    /// Channels of the latents.
    pub latent_channels: usize,
    /// Groups of every group norm.
    pub norm_num_groups: usize,
    /// What brings the latents to unit variance for the UNet.
    pub scaling_factor: f64,
    /// Whether a 1×1 convolution follows the encoder.
    #[serde(deserialize_with = "config::null_is_false")]
    pub use_quant_conv: bool,
    /// Whether a 1×1 convolution stands before the decoder.
    #[serde(deserialize_with = "config::null_is_false")]
    pub use_post_quant_conv: bool,
    /// Whether the middle blocks have attention.
    #[serde(deserialize_with = "config::null_is_false")]
    pub mid_block_add_attention: bool,
}

impl Default for VaeConfig {
    fn default() -> Self {
        Self {
            in_channels: 3,
            out_channels: 3,
            down_block_types: vec![DOWN.to_owned()],
            up_block_types: vec![UP.to_owned()],
            block_out_channels: vec![64],
            layers_per_block: 1,
            act_fn: "silu".to_owned(),
            latent_channels: 4,
            norm_num_groups: 32,
            scaling_factor: 0.18215,
            use_quant_conv: true,
            use_post_quant_conv: true,
            mid_block_add_attention: true,
        }
    }
}

impl VaeConfig {
    /// Reads the text of a `config.json`.
    ///
    /// # Errors
    /// If it is not JSON, or a value has the wrong kind, or [`VaeConfig::validate`] refuses it.
    pub fn from_json(text: &str) -> Result<Self> {
        let config: Self = config::read(text, FILE)?;
        config.validate()?;
        Ok(config)
    }

    /// Pixels to a latent cell, along each axis.
    pub fn scale_factor(&self) -> usize {
        1 << (self.block_out_channels.len() - 1)
    }

    /// Whether this is an autoencoder that we build.
    ///
    /// # Errors
    /// [`Error::Config`] with the first key that is out of range, does not fit the others or asks for something unsupported.
    pub fn validate(&self) -> Result<()> {
        self.check_blocks()?;
        if !matches!(self.act_fn.as_str(), "silu" | "swish") {
            return Err(refused("act_fn", format!("\"{}\"", self.act_fn), "\"silu\""));
        }
        for (key, value) in [("in_channels", self.in_channels), ("out_channels", self.out_channels)] {
            if value != 3 {
                return Err(refused(key, value.to_string(), "3, for RGB"));
            }
        }
        if !(1..=MAX_CHANNELS).contains(&self.latent_channels) {
            return Err(refused("latent_channels", self.latent_channels.to_string(), "a number above 0"));
        }
        if !self.scaling_factor.is_finite() || self.scaling_factor == 0.0 {
            return Err(refused("scaling_factor", self.scaling_factor.to_string(), "a number other than 0"));
        }
        Ok(())
    }

    fn check_blocks(&self) -> Result<()> {
        let channels = &self.block_out_channels;
        let levels = channels.len();
        if !(1..=MAX_LEVELS).contains(&levels) || channels.iter().any(|channels| !(1..=MAX_CHANNELS).contains(channels))
        {
            let expected = format!("1 to {MAX_LEVELS} numbers of 1 to {MAX_CHANNELS}");
            return Err(refused("block_out_channels", format!("{channels:?}"), expected));
        }
        for (key, types, supported) in
            [("down_block_types", &self.down_block_types, DOWN), ("up_block_types", &self.up_block_types, UP)]
        {
            if types.len() != levels || types.iter().any(|name| name != supported) {
                return Err(refused(key, format!("{types:?}"), format!("{levels} times {supported}")));
            }
        }
        if self.layers_per_block == 0 {
            return Err(refused("layers_per_block", "0", "a number above 0"));
        }
        let groups = self.norm_num_groups;
        if groups == 0 || channels.iter().any(|channels| channels % groups != 0) {
            let expected = format!("a divisor of all block_out_channels, {channels:?}");
            return Err(refused("norm_num_groups", groups.to_string(), expected));
        }
        Ok(())
    }
}

fn refused(key: &str, found: impl Into<String>, expected: impl Into<String>) -> Error {
    config::refused(FILE, key, found, expected)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_empty_file_has_the_defaults() {
        assert_eq!(VaeConfig::from_json("{}").unwrap(), VaeConfig::default());
    }

    #[test]
    fn statistics_that_stable_diffusion_does_not_apply_are_not_read() {
        let json = r#"{"shift_factor": 0.5, "latents_mean": [1.0, 2.0], "latents_std": NaN, "force_upcast": true, "sample_size": 256}"#;
        assert_eq!(VaeConfig::from_json(json).unwrap(), VaeConfig::default());
    }

    #[test]
    fn unsupported_values_are_named_with_their_key() {
        for (json, key, part) in [
            (r#"{"act_fn": "relu"}"#, "act_fn", "silu"),
            (r#"{"block_out_channels": []}"#, "block_out_channels", "1 to 20"),
            (r#"{"block_out_channels": [64, 64]}"#, "down_block_types", "2 times DownEncoderBlock2D"),
            (r#"{"up_block_types": ["AttnUpDecoderBlock2D"]}"#, "up_block_types", "UpDecoderBlock2D"),
            (r#"{"norm_num_groups": 48}"#, "norm_num_groups", "divisor"),
            (r#"{"scaling_factor": 0.0}"#, "scaling_factor", "other than 0"),
            (r#"{"in_channels": 1}"#, "in_channels", "RGB"),
        ] {
            let message = VaeConfig::from_json(json).unwrap_err().to_string();
            assert!(message.contains(&format!("`{key}`")) && message.contains(part), "{json}: {message}");
        }
    }
}
