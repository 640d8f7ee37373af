//! `unet/config.json`: what a UNet is built from, in diffusers' words.

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use sinopia_layout::limits::PICTURE_SIDE;

use crate::{Error, Result, config};

/// Where the values come from, for messages.
const FILE: &str = "unet/config.json";

/// One value for all blocks, or a list with one for each.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(untagged)]
pub enum PerBlock<T> {
    /// The same everywhere.
    All(T),
    /// From the finest grid to the coarsest.
    Each(Vec<T>),
}

impl<T: Copy> PerBlock<T> {
    /// The value of block `index`; `None` if the list is too short.
    pub fn get(&self, index: usize) -> Option<T> {
        match self {
            Self::All(value) => Some(*value),
            Self::Each(values) => values.get(index).copied(),
        }
    }
}

/// The configuration of a [`UNet2DConditionModel`](super::UNet2DConditionModel); absent keys have diffusers' defaults.
///
/// Keys that change the architecture in ways we do not build are kept in `other`, and [`UNetConfig::validate`] refuses them unless
/// they have the one supported value.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct UNetConfig {
    /// The latents' side for which the model was trained, or height and width.
    pub sample_size: Option<PerBlock<usize>>,
    /// Channels of the latents.
    pub in_channels: usize,
    /// Channels of the predicted noise.
    pub out_channels: usize,
    /// Whether cosines stand before sines in the time embedding.
    #[serde(deserialize_with = "config::null_is_false")]
    pub flip_sin_to_cos: bool,
    /// Subtracted from the number of frequencies of the time embedding.
    pub freq_shift: f64,
    /// `DownBlock2D` or `CrossAttnDownBlock2D` for each level.
    pub down_block_types: Vec<String>,
    /// `UpBlock2D` or `CrossAttnUpBlock2D` for each level, coarsest first.
    pub up_block_types: Vec<String>,
    /// Channels at each level.
    pub block_out_channels: Vec<usize>,
    /// Residual blocks in a down block; up blocks have one more.
    pub layers_per_block: PerBlock<usize>,
    /// Groups of every group norm.
    pub norm_num_groups: Option<usize>,
    /// Added to the variance in the group norms of residual blocks.
    pub norm_eps: f64,
    /// Width of the text embeddings.
    pub cross_attention_dim: PerBlock<usize>,
    /// Layers of each spatial transformer.
    pub transformer_layers_per_block: PerBlock<usize>,
    /// The *number* of attention heads: the name is an old mistake that thousands of files repeat.
    pub attention_head_dim: PerBlock<usize>,
    /// Whether a transformer's projections are stored as linear layers; they compute the same as 1×1 convolutions.
    #[serde(deserialize_with = "config::null_is_false")]
    pub use_linear_projection: bool,
    /// Whether half-precision attention is computed in f32; ours always is.
    #[serde(deserialize_with = "config::null_is_false")]
    pub upcast_attention: bool,
    /// Width of the time embedding; 4 × the first level's channels if absent.
    pub time_embedding_dim: Option<usize>,
    /// All other keys of the file.
    #[serde(flatten)]
    pub other: Map<String, Value>,
}

impl Default for UNetConfig {
    fn default() -> Self {
        let names = |names: [&str; 4]| names.map(str::to_owned).to_vec();
        Self {
            sample_size: None,
            in_channels: 4,
            out_channels: 4,
            flip_sin_to_cos: true,
            freq_shift: 0.0,
            down_block_types: names([CROSS_ATTN_DOWN, CROSS_ATTN_DOWN, CROSS_ATTN_DOWN, DOWN]),
            up_block_types: names([UP, CROSS_ATTN_UP, CROSS_ATTN_UP, CROSS_ATTN_UP]),
            block_out_channels: vec![320, 640, 1280, 1280],
            layers_per_block: PerBlock::All(2),
            norm_num_groups: Some(32),
            norm_eps: 1e-5,
            cross_attention_dim: PerBlock::All(1280),
            transformer_layers_per_block: PerBlock::All(1),
            attention_head_dim: PerBlock::All(8),
            use_linear_projection: false,
            upcast_attention: false,
            time_embedding_dim: None,
            other: Map::new(),
        }
    }
}

const DOWN: &str = "DownBlock2D";
const UP: &str = "UpBlock2D";
const CROSS_ATTN_DOWN: &str = "CrossAttnDownBlock2D";
const CROSS_ATTN_UP: &str = "CrossAttnUpBlock2D";

/// Far above any real network; keeps sums and products of sizes from overflowing.
const MAX_CHANNELS: usize = 1 << 16;

/// The largest side of latents. Stable Diffusion's autoencoder makes eight pixels of one of theirs.
const MAX_SAMPLE_SIZE: usize = PICTURE_SIDE as usize / 8;

/// Keys with the values, as JSON, that describe what we build. Absent means the first.
const FIXED: &[(&str, &[&str])] = &[
    ("act_fn", &["\"silu\"", "\"swish\""]),
    ("addition_embed_type", &["null", "\"text_time\""]),
    ("attention_type", &["\"default\"", "\"gated\""]),
    ("center_input_sample", &["false"]),
    ("class_embed_type", &["null"]),
    ("class_embeddings_concat", &["false"]),
    ("conv_in_kernel", &["3"]),
    ("conv_out_kernel", &["3"]),
    ("cross_attention_norm", &["null"]),
    ("downsample_padding", &["1"]),
    ("dual_cross_attention", &["false"]),
    ("encoder_hid_dim", &["null"]),
    ("encoder_hid_dim_type", &["null"]),
    ("mid_block_only_cross_attention", &["null", "false"]),
    ("mid_block_scale_factor", &["1"]),
    ("mid_block_type", &["\"UNetMidBlock2DCrossAttn\""]),
    ("num_attention_heads", &["null"]),
    ("num_class_embeds", &["null"]),
    ("only_cross_attention", &["false"]),
    ("resnet_out_scale_factor", &["1"]),
    ("resnet_skip_time_act", &["false"]),
    ("resnet_time_scale_shift", &["\"default\""]),
    ("reverse_transformer_layers_per_block", &["null"]),
    ("time_cond_proj_dim", &["null"]),
    ("time_embedding_act_fn", &["null"]),
    ("time_embedding_type", &["\"positional\""]),
    ("timestep_post_act", &["null"]),
    ("use_gated_attention", &["false", "true"]),
];

/// Numbers that describe a picture to Stable Diffusion XL: original height and width, top and left of the crop, target height and width.
pub(crate) const NUM_TIME_IDS: usize = 6;

/// The sizes of what is added to the time embedding.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct AddedSizes {
    /// Width of each number's waves.
    pub(crate) wave_width: usize,
    /// Width of the pooled text states.
    pub(crate) text_width: usize,
}

impl AddedSizes {
    /// Width of all of it.
    pub(crate) fn width(self) -> usize {
        self.text_width + NUM_TIME_IDS * self.wave_width
    }
}

/// The sizes of one level of the U.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Level {
    pub(crate) channels: usize,
    pub(crate) heads: usize,
    pub(crate) num_resnets: usize,
    pub(crate) transformer_layers: usize,
    /// Whether the down block of this level has attention.
    pub(crate) down_attn: bool,
    /// Whether the up block of this level has attention.
    pub(crate) up_attn: bool,
}

impl UNetConfig {
    /// Reads the text of a `config.json`.
    ///
    /// # Errors
    /// If it is not JSON, or a value has the wrong kind, or [`UNetConfig::validate`] refuses it.
    pub fn from_json(text: &str) -> Result<Self> {
        let config: Self = config::read(text, FILE)?;
        config.validate()?;
        Ok(config)
    }

    /// Whether this is an architecture that we build.
    ///
    /// # Errors
    /// [`Error::Config`] with the first key that is out of range, does not fit the others or asks for something unsupported.
    pub fn validate(&self) -> Result<()> {
        self.check_fixed()?;
        self.check_sizes()?;
        for (index, level) in self.levels()?.iter().enumerate() {
            self.check_level(index, level)?;
        }
        self.added_sizes()?;
        self.text_width().map(|_| ())
    }

    /// The latents' height and width for which the model was trained, where the file says so.
    pub fn sample_hw(&self) -> Option<(usize, usize)> {
        let size = self.sample_size.as_ref()?;
        Some((size.get(0)?, size.get(1)?))
    }

    /// Whether the file announces grounding adapters: `attention_type` "gated", or `use_gated_attention` in the oldest conversions of GLIGEN.
    pub fn is_gated(&self) -> bool {
        let is = |key: &str, value: Value| self.other.get(key) == Some(&value);
        is("attention_type", "gated".into()) || is("use_gated_attention", true.into())
    }

    /// What is added to the time embedding: pooled text states and numbers, where `addition_embed_type` is `text_time` (Stable Diffusion XL).
    pub(crate) fn added_sizes(&self) -> Result<Option<AddedSizes>> {
        if self.other.get("addition_embed_type").is_none_or(Value::is_null) {
            return Ok(None);
        }
        let size = |key: &str| {
            let value = self.other.get(key).unwrap_or(&Value::Null);
            let size = value.as_u64().and_then(|size| usize::try_from(size).ok());
            let fits = size.filter(|size| (1..=MAX_CHANNELS).contains(size));
            fits.ok_or_else(|| refused(key, value.to_string(), format!("a number above 0, up to {MAX_CHANNELS}")))
        };
        let (wave_width, width) = (size("addition_time_embed_dim")?, size("projection_class_embeddings_input_dim")?);
        match width.checked_sub(NUM_TIME_IDS * wave_width).filter(|text_width| *text_width > 0) {
            Some(text_width) => Ok(Some(AddedSizes { wave_width, text_width })),
            None => {
                let expected = format!("more than {NUM_TIME_IDS} times addition_time_embed_dim, {wave_width}");
                Err(refused("projection_class_embeddings_input_dim", width.to_string(), expected))
            }
        }
    }

    /// The width of the time embedding.
    pub fn time_width(&self) -> usize {
        self.time_embedding_dim.unwrap_or(4 * self.block_out_channels[0])
    }

    /// The width of the text embeddings, which is the same for all blocks.
    pub(crate) fn text_width(&self) -> Result<usize> {
        match &self.cross_attention_dim {
            PerBlock::All(width) => Ok(*width),
            PerBlock::Each(widths) if widths.len() == self.num_levels() && widths.iter().all(|w| *w == widths[0]) => {
                Ok(widths[0])
            }
            PerBlock::Each(widths) => {
                Err(refused("cross_attention_dim", format!("{widths:?}"), "one width for all blocks"))
            }
        }
    }

    /// The sizes of each level, finest first.
    pub(crate) fn levels(&self) -> Result<Vec<Level>> {
        (0..self.num_levels()).map(|index| self.level(index)).collect()
    }

    pub(crate) fn num_groups(&self) -> Result<usize> {
        self.norm_num_groups.filter(|groups| *groups > 0).ok_or_else(|| {
            let found = self.norm_num_groups.map_or("null".to_owned(), |groups| groups.to_string());
            refused("norm_num_groups", found, "a number above 0")
        })
    }

    fn num_levels(&self) -> usize {
        self.block_out_channels.len()
    }

    fn level(&self, index: usize) -> Result<Level> {
        let mirrored = self.num_levels() - 1 - index;
        Ok(Level {
            channels: self.block_out_channels[index],
            heads: self.per_block("attention_head_dim", &self.attention_head_dim, index)?,
            num_resnets: self.per_block("layers_per_block", &self.layers_per_block, index)?,
            transformer_layers: self.per_block(
                "transformer_layers_per_block",
                &self.transformer_layers_per_block,
                index,
            )?,
            down_attn: has_attention("down_block_types", &self.down_block_types[index], [DOWN, CROSS_ATTN_DOWN])?,
            up_attn: has_attention("up_block_types", &self.up_block_types[mirrored], [UP, CROSS_ATTN_UP])?,
        })
    }

    /// Block `index`'s value of a key, at least 1.
    fn per_block(&self, key: &str, values: &PerBlock<usize>, index: usize) -> Result<usize> {
        let fits = match values {
            PerBlock::All(_) => true,
            PerBlock::Each(list) => list.len() == self.num_levels(),
        };
        match values.get(index) {
            Some(value) if fits && value > 0 => Ok(value),
            _ => {
                let expected = format!("a number above 0 or a list of {}, as block_out_channels", self.num_levels());
                Err(refused(key, serde_json::to_string(values).unwrap_or_default(), expected))
            }
        }
    }

    fn check_fixed(&self) -> Result<()> {
        for (key, supported) in FIXED {
            let Some(found) = self.other.get(*key) else { continue };
            if !supported.iter().any(|value| same_value(found, value)) {
                return Err(refused(key, found.to_string(), supported.join(" or ")));
            }
        }
        Ok(())
    }

    fn check_sizes(&self) -> Result<()> {
        let levels = self.num_levels();
        if levels == 0 || self.block_out_channels.iter().any(|channels| !(1..=MAX_CHANNELS).contains(channels)) {
            let found = format!("{:?}", self.block_out_channels);
            return Err(refused(
                "block_out_channels",
                found,
                format!("a list of numbers above 0, up to {MAX_CHANNELS}"),
            ));
        }
        for (key, types) in [("down_block_types", &self.down_block_types), ("up_block_types", &self.up_block_types)] {
            if types.len() != levels {
                return Err(refused(key, format!("{types:?}"), format!("a list of {levels}, as block_out_channels")));
            }
        }
        let has_native_size = match &self.sample_size {
            None => true,
            Some(PerBlock::All(side)) => (1..=MAX_SAMPLE_SIZE).contains(side),
            Some(PerBlock::Each(sides)) => {
                sides.len() == 2 && sides.iter().all(|side| (1..=MAX_SAMPLE_SIZE).contains(side))
            }
        };
        if !has_native_size {
            let found = serde_json::to_string(&self.sample_size).unwrap_or_default();
            return Err(refused("sample_size", found, format!("1 to {MAX_SAMPLE_SIZE}, or height and width")));
        }
        config::require_sizes(FILE, &[("in_channels", self.in_channels), ("out_channels", self.out_channels)])?;
        let half = self.block_out_channels[0] as f64 / 2.0;
        if !self.freq_shift.is_finite() || self.freq_shift >= half {
            let expected = "below half of the first block_out_channels";
            return Err(refused("freq_shift", self.freq_shift.to_string(), expected));
        }
        Ok(())
    }

    fn check_level(&self, index: usize, level: &Level) -> Result<()> {
        let Level { channels, heads, .. } = *level;
        let num_groups = self.num_groups()?;
        if channels % num_groups != 0 {
            let expected = format!("a divisor of all block_out_channels, {:?}", self.block_out_channels);
            return Err(refused("norm_num_groups", num_groups.to_string(), expected));
        }
        let has_attn = level.down_attn || level.up_attn || index + 1 == self.num_levels();
        if has_attn && channels % heads != 0 {
            let expected = format!("(at block {index}) a divisor of its {channels} channels");
            return Err(refused("attention_head_dim", heads.to_string(), expected));
        }
        Ok(())
    }
}

fn has_attention(key: &str, found: &str, [plain, with_attn]: [&str; 2]) -> Result<bool> {
    match found {
        _ if found == plain => Ok(false),
        _ if found == with_attn => Ok(true),
        _ => Err(refused(key, format!("\"{found}\""), format!("{plain} or {with_attn}"))),
    }
}

/// Whether a JSON value is the one written; 1 and 1.0 are the same, and so are `false`, null and `[false, false]`.
fn same_value(found: &Value, wanted: &str) -> bool {
    match found {
        Value::Null if wanted == "false" => true,
        Value::Array(values) => !values.is_empty() && values.iter().all(|value| same_value(value, wanted)),
        Value::Number(number) => wanted.parse().ok() == number.as_f64(),
        other => serde_json::from_str::<Value>(wanted).is_ok_and(|wanted| *other == wanted),
    }
}

fn refused(key: &str, found: impl Into<String>, expected: impl Into<String>) -> Error {
    config::refused(FILE, key, found, expected)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn message(json: &str) -> String {
        UNetConfig::from_json(json).unwrap_err().to_string()
    }

    #[test]
    fn an_empty_file_has_the_defaults() {
        let config = UNetConfig::from_json("{}").unwrap();
        assert_eq!(config, UNetConfig::default());
        assert_eq!(config.time_width(), 1280);
        let levels = config.levels().unwrap();
        assert_eq!(levels.iter().map(|l| l.down_attn).collect::<Vec<_>>(), [true, true, true, false]);
        assert_eq!(levels.iter().map(|l| l.up_attn).collect::<Vec<_>>(), [true, true, true, false]);
    }

    #[test]
    fn stable_diffusion_2_has_heads_by_level() {
        let json = r#"{"attention_head_dim": [5, 10, 20, 20], "use_linear_projection": true, "cross_attention_dim": 1024,
            "sample_size": 96, "mid_block_scale_factor": 1, "freq_shift": 0, "only_cross_attention": [false, false, false, false],
            "upcast_attention": true, "_class_name": "UNet2DConditionModel", "dropout": 0.0}"#;
        let config = UNetConfig::from_json(json).unwrap();
        let heads: Vec<usize> = config.levels().unwrap().iter().map(|level| level.heads).collect();
        assert_eq!(heads, [5, 10, 20, 20]);
        assert_eq!(config.text_width().unwrap(), 1024);
        assert_eq!(config.sample_hw(), Some((96, 96)));
    }

    #[test]
    fn null_is_no_as_converters_write_it() {
        let json = r#"{"upcast_attention": null, "dual_cross_attention": null, "use_linear_projection": null, "class_embeddings_concat": null}"#;
        let config = UNetConfig::from_json(json).unwrap();
        assert_eq!(UNetConfig { other: Map::new(), ..config }, UNetConfig::default());
    }

    #[test]
    fn adapters_are_announced_in_either_of_two_words() {
        for (json, expected) in [
            (r#"{"attention_type": "gated"}"#, true),
            (r#"{"use_gated_attention": true}"#, true),
            (r#"{"attention_type": "default", "use_gated_attention": false}"#, false),
            ("{}", false),
        ] {
            assert_eq!(UNetConfig::from_json(json).unwrap().is_gated(), expected, "{json}");
        }
    }

    #[test]
    fn unsupported_values_are_named_with_their_key() {
        for (json, key, part) in [
            (r#"{"addition_embed_type": "image"}"#, "addition_embed_type", "text_time"),
            (r#"{"addition_embed_type": "text_time"}"#, "addition_time_embed_dim", "null"),
            (
                r#"{"addition_embed_type": "text_time", "addition_time_embed_dim": 8, "projection_class_embeddings_input_dim": 48}"#,
                "projection_class_embeddings_input_dim",
                "more than 6 times",
            ),
            (r#"{"attention_type": "gated-text-image"}"#, "attention_type", "\"gated\""),
            (r#"{"act_fn": "gelu"}"#, "act_fn", "silu"),
            (r#"{"mid_block_type": null}"#, "mid_block_type", "UNetMidBlock2DCrossAttn"),
            (r#"{"resnet_time_scale_shift": "scale_shift"}"#, "resnet_time_scale_shift", "default"),
            (r#"{"only_cross_attention": [true, false]}"#, "only_cross_attention", "false"),
            (r#"{"mid_block_scale_factor": 1.5}"#, "mid_block_scale_factor", "1.5"),
            (r#"{"norm_num_groups": null}"#, "norm_num_groups", "above 0"),
            (r#"{"norm_num_groups": 7}"#, "norm_num_groups", "divisor"),
            (r#"{"attention_head_dim": [8, 8]}"#, "attention_head_dim", "list of 4"),
            (r#"{"attention_head_dim": 7}"#, "attention_head_dim", "divisor of its 320"),
            (r#"{"transformer_layers_per_block": 0}"#, "transformer_layers_per_block", "above 0"),
            (r#"{"block_out_channels": []}"#, "block_out_channels", "above 0"),
            (r#"{"block_out_channels": [64, 64]}"#, "down_block_types", "list of 2"),
            (r#"{"cross_attention_dim": [768, 768, 768, 1024]}"#, "cross_attention_dim", "one width"),
            (r#"{"in_channels": 0}"#, "in_channels", "above 0"),
            (r#"{"sample_size": 0}"#, "sample_size", "1 to 2048"),
            (r#"{"sample_size": 9223372036854775807}"#, "sample_size", "1 to 2048"),
            (r#"{"sample_size": [64, 4096]}"#, "sample_size", "1 to 2048"),
            (r#"{"sample_size": [64]}"#, "sample_size", "height and width"),
        ] {
            let message = message(json);
            assert!(message.contains(&format!("`{key}`")) && message.contains(part), "{json}: {message}");
        }
        let unknown =
            r#"{"block_out_channels": [32], "down_block_types": ["AttnDownBlock2D"], "up_block_types": ["UpBlock2D"]}"#;
        assert!(message(unknown).contains("\"AttnDownBlock2D\", expected DownBlock2D or CrossAttnDownBlock2D"));
    }
}
