//! The network that predicts the noise: Stable Diffusion's `UNet2DConditionModel`, built from its `config.json`.
//!
//! A UNet is a list of units, each with one input from the unit before it and perhaps a second one from a stack of
//! skip connections; [`forward`](UNet2DConditionModel::forward) walks that list and
//! [`gradient`](UNet2DConditionModel::gradient) walks it forth and back. Start reading at [`UNetRequest`].
//!
//! Activations are (B, H, W, C) f32.

mod blocks;
mod config;
mod cost;
mod forward;
mod gradient;
mod key;
mod request;
#[cfg(test)]
mod tests;
mod time;
mod transformer;
mod unit;

pub use config::{PerBlock, UNetConfig};
pub use cost::{CallShape, UNetCost, UNetPart};
pub use key::AttnKey;
pub use request::{AttnMaps, BatchPart, Grounding, Recording, TextConditioning, TokenColumns, UNetReply, UNetRequest};

use crate::{Result, Weights};
use time::TimeEmbedding;
use unit::Unit;

/// A UNet with frozen weights.
#[derive(Debug, Clone)]
pub struct UNet2DConditionModel {
    config: UNetConfig,
    time_embedding: TimeEmbedding,
    units: Vec<Unit>,
    /// In the order of the pass.
    keys: Vec<AttnKey>,
    text_width: usize,
}

impl UNet2DConditionModel {
    /// Builds the network that `config` describes; every tensor's shape is checked on the way.
    ///
    /// # Errors
    /// [`Error::Config`](crate::Error::Config) if the architecture is not supported, and those of [`Weights::get`].
    pub fn load(config: &UNetConfig, weights: &Weights) -> Result<Self> {
        config.validate()?;
        let units = blocks::load(config, weights)?;
        Ok(Self {
            config: config.clone(),
            time_embedding: TimeEmbedding::load(config, &weights.pp("time_embedding"))?,
            keys: units.iter().flat_map(Unit::keys).collect(),
            units,
            text_width: config.text_width()?,
        })
    }

    /// What the network was built from.
    pub fn config(&self) -> &UNetConfig {
        &self.config
    }

    /// The width of the text embeddings it reads.
    pub fn text_width(&self) -> usize {
        self.text_width
    }

    /// All cross-attention layers, in the order of the pass.
    pub fn attention_keys(&self) -> Vec<AttnKey> {
        self.keys.clone()
    }

    /// The layers that guidance looks at: the middle block's and those of the first up block with attention.
    ///
    /// In Stable Diffusion 1 and 2 that is `mid.0`, `up.1.0`, `up.1.1`, `up.1.2`.
    ///
    /// # Source
    /// TonyLianLong/LLM-groundedDiffusion@cef2a90:utils/guidance.py.
    pub fn guidance_keys(&self) -> Vec<AttnKey> {
        let first_up = self.keys.iter().find_map(|key| up_block(*key));
        let guides =
            |key: &AttnKey| matches!(key, AttnKey::Mid { .. }) || up_block(*key).is_some_and(|b| Some(b) == first_up);
        self.keys.iter().copied().filter(guides).collect()
    }

    /// The layer whose map shows where an object is: the last one before the middle block, `down.2.1` in Stable Diffusion 1 and 2.
    ///
    /// A UNet without attention on its way down has the middle block's.
    pub fn object_mask_key(&self) -> AttnKey {
        let last_down = self.keys.iter().rev().find(|key| matches!(key, AttnKey::Down { .. }));
        last_down.copied().unwrap_or(AttnKey::mid(0))
    }

    /// The grid (H, W) of a layer's queries for latents of a size: what the HW axis of its maps unfolds to.
    pub fn attention_grid(&self, key: AttnKey, latents_hw: (usize, usize)) -> (usize, usize) {
        let coarsest = self.config.block_out_channels.len() - 1;
        let halvings = match key {
            AttnKey::Down { block, .. } => block.min(coarsest),
            AttnKey::Mid { .. } => coarsest,
            AttnKey::Up { block, .. } => coarsest.saturating_sub(block),
        };
        let (h, w) = latents_hw;
        (0..halvings).fold((h, w), |(h, w), _| (h.div_ceil(2), w.div_ceil(2)))
    }

    /// The number of attention heads of a layer: the second axis of its maps.
    pub fn num_heads(&self, key: AttnKey) -> Option<usize> {
        let coarsest = self.config.block_out_channels.len() - 1;
        let level = match key {
            AttnKey::Down { block, .. } => block,
            AttnKey::Mid { .. } => coarsest,
            AttnKey::Up { block, .. } => coarsest.checked_sub(block)?,
        };
        self.keys.contains(&key).then(|| self.config.attention_head_dim.get(level)).flatten()
    }
}

fn up_block(key: AttnKey) -> Option<usize> {
    match key {
        AttnKey::Up { block, .. } => Some(block),
        _ => None,
    }
}
