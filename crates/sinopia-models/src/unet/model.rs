//! The network as a whole: what it is built from, and what can be asked about it.

use candle_core::Tensor;
use sinopia_layout::Grid;

use super::blocks;
use super::grounding::{Grounding, PositionNet};
use super::time::TimeEmbedding;
use super::unit::Unit;
use super::{AttnKey, UNetConfig};
use crate::{Error, Result, Weights};

/// A UNet with frozen weights.
#[derive(Debug, Clone)]
pub struct UNet2DConditionModel {
    pub(super) config: UNetConfig,
    pub(super) time_embedding: TimeEmbedding,
    pub(super) units: Vec<Unit>,
    /// In the order of the pass.
    pub(super) keys: Vec<AttnKey>,
    pub(super) text_width: usize,
    /// In networks with grounding adapters, whose transformer layers then all have a fuser.
    pub(super) position_net: Option<PositionNet>,
}

impl UNet2DConditionModel {
    /// Builds the network that `config` describes; every tensor's shape is checked on the way.
    ///
    /// Grounding adapters are built if the configuration announces them or the tensors are there: published files do either.
    ///
    /// # Errors
    /// [`Error::Config`] if the architecture is not supported, and those of [`Weights::get`].
    pub fn load(config: &UNetConfig, weights: &Weights) -> Result<Self> {
        config.validate()?;
        let is_gated = config.is_gated() || holds_adapters(weights);
        let units = blocks::load(config, weights, is_gated)?;
        let position_net = || PositionNet::load(&weights.pp("position_net"), config.text_width()?);
        Ok(Self {
            config: config.clone(),
            time_embedding: TimeEmbedding::load(config, weights)?,
            keys: units.iter().flat_map(Unit::keys).collect(),
            units,
            text_width: config.text_width()?,
            position_net: is_gated.then(position_net).transpose()?,
        })
    }

    /// Whether the network can be conditioned on boxes: whether it has GLIGEN's adapters.
    pub fn has_grounding_adapters(&self) -> bool {
        self.position_net.is_some()
    }

    /// Whether an [`Eraser`](super::Eraser) has an effect: whether there is attention on the way up.
    pub fn can_erase(&self) -> bool {
        self.keys.iter().any(|key| up_block(*key).is_some())
    }

    /// The grounding tokens (B, N, D): what the adapters make of boxes and phrases. Computed once for a grounding.
    ///
    /// # Errors
    /// [`Error::Input`] if there are no adapters, or the phrases have another width.
    pub fn grounding_tokens(&self, grounding: &Grounding) -> Result<Tensor> {
        let refused = |expected: String, found: String| Error::Input { what: "grounding", expected, found };
        let Some(position_net) = &self.position_net else {
            let expected = "left out: this UNet has no grounding adapters (GLIGEN fusers)";
            return Err(refused(expected.into(), "boxes".into()));
        };
        if grounding.width() != self.text_width {
            let expected = format!("phrases of width {} for this UNet", self.text_width);
            return Err(refused(expected, format!("width {}", grounding.width())));
        }
        Ok(position_net.tokens(grounding)?)
    }

    /// What the network was built from.
    pub fn config(&self) -> &UNetConfig {
        &self.config
    }

    /// The width of the text embeddings it reads.
    pub fn text_width(&self) -> usize {
        self.text_width
    }

    /// The width of the pooled text states that it is conditioned on besides, together with sizes of the picture; `None` in Stable Diffusion 1 and 2.
    pub fn added_text_width(&self) -> Option<usize> {
        self.time_embedding.added_text_width()
    }

    /// All cross-attention layers, in the order of the pass.
    pub fn attention_keys(&self) -> Vec<AttnKey> {
        self.keys.clone()
    }

    /// The layers whose attention guidance moves: the middle block's and those of the first up block with attention.
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

    /// The grid of a layer's queries for latents of a grid: what the HW axis of its maps unfolds to.
    pub fn attention_grid(&self, key: AttnKey, latents: Grid) -> Grid {
        let coarsest = self.config.block_out_channels.len() - 1;
        let halvings = match key {
            AttnKey::Down { block, .. } => block.min(coarsest),
            AttnKey::Mid { .. } => coarsest,
            AttnKey::Up { block, .. } => coarsest.saturating_sub(block),
            AttnKey::Block { .. } => 0,
        };
        (0..halvings).fold(latents, |grid, _| Grid::new(grid.height.div_ceil(2), grid.width.div_ceil(2)))
    }

    /// The number of attention heads of a layer: the second axis of its maps.
    pub fn num_heads(&self, key: AttnKey) -> Option<usize> {
        let coarsest = self.config.block_out_channels.len() - 1;
        let level = match key {
            AttnKey::Down { block, .. } => block,
            AttnKey::Mid { .. } => coarsest,
            AttnKey::Up { block, .. } => coarsest.checked_sub(block)?,
            AttnKey::Block { .. } => return None,
        };
        self.keys.contains(&key).then(|| self.config.attention_head_dim.get(level)).flatten()
    }
}

/// Whether grounding adapters, or parts of them, are among the tensors.
pub(crate) fn holds_adapters(weights: &Weights) -> bool {
    weights.names().iter().any(|name| name.starts_with("position_net.") || name.ends_with(".fuser.alpha_attn"))
}

fn up_block(key: AttnKey) -> Option<usize> {
    match key {
        AttnKey::Up { block, .. } => Some(block),
        _ => None,
    }
}
