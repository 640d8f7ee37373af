//! Spatial transformers: pixels look at each other, then at the text.

use std::sync::atomic::{AtomicU64, Ordering};

use candle_core::Tensor;
use sinopia_nn::{GroupNorm, LayerNorm, Linear, activation, attention};

use super::AttnKey;
use super::request::{LayerId, Plan, TextConditioning};
use crate::layers::{group_norm, layer_norm, linear, linear_no_bias};
use crate::{Result, Weights};

/// Of the group norm in front of a transformer; the residual blocks' comes from the configuration.
const GROUP_NORM_EPS: f64 = 1e-6;
const LAYER_NORM_EPS: f64 = 1e-5;
/// Width of the feed-forward layers in multiples of the channels.
const FEED_FORWARD_FACTOR: usize = 4;

/// The sizes of a [`SpatialTransformer`].
#[derive(Debug, Clone, Copy)]
pub(super) struct TransformerOptions {
    pub(super) channels: usize,
    pub(super) heads: usize,
    pub(super) num_layers: usize,
    pub(super) num_groups: usize,
    pub(super) text_width: usize,
}

/// `x + proj_out(layers(proj_in(norm(x))))` over the pixels of an image, diffusers' `Transformer2DModel`.
///
/// The projections are linear layers here whatever the checkpoint calls them: over channels-last pixels a 1×1 convolution is one.
#[derive(Debug, Clone)]
pub(super) struct SpatialTransformer {
    /// The key of the first layer.
    key: AttnKey,
    norm: GroupNorm,
    proj_in: Linear,
    layers: Vec<TransformerLayer>,
    proj_out: Linear,
}

/// What a block leaves behind: its output unless the pass ended inside it, and the maps recorded on the way.
#[derive(Debug, Default)]
pub(super) struct Outcome {
    /// (B, H, W, C)
    pub(super) hidden: Option<Tensor>,
    /// (B', heads, HW, L') each, in the order of the pass.
    pub(super) maps: Vec<(AttnKey, Tensor)>,
}

impl SpatialTransformer {
    pub(super) fn load(weights: &Weights, key: AttnKey, options: TransformerOptions) -> Result<Self> {
        let channels = options.channels;
        let layers = (0..options.num_layers)
            .map(|layer| TransformerLayer::load(&weights.pp(format!("transformer_blocks.{layer}")), options))
            .collect::<Result<_>>()?;
        Ok(Self {
            key,
            norm: group_norm(&weights.pp("norm"), channels, options.num_groups, GROUP_NORM_EPS)?,
            proj_in: linear(&weights.pp("proj_in"), channels, channels)?,
            layers,
            proj_out: linear(&weights.pp("proj_out"), channels, channels)?,
        })
    }

    /// The keys of all layers.
    pub(super) fn keys(&self) -> impl Iterator<Item = AttnKey> {
        let first = self.key;
        (0..self.layers.len()).map(move |layer| first.with_layer(layer))
    }

    /// (B, H, W, C) to the same.
    pub(super) fn forward(&self, x: &Tensor, text: &TextConditioning, plan: &Plan) -> sinopia_nn::Result<Outcome> {
        let (b, h, w, c) = x.dims4()?;
        let pixels = self.norm.forward(x)?.reshape((b, h * w, c))?; // (B, HW, C)
        let mut hidden = self.proj_in.forward(&pixels)?;
        let mut maps = Vec::new();
        for (layer, key) in self.layers.iter().zip(self.keys()) {
            match layer.forward(&hidden, text, key, plan, &mut maps)? {
                Some(output) => hidden = output,
                None => return Ok(Outcome { hidden: None, maps }),
            }
        }
        let hidden = self.proj_out.forward(&hidden)?.reshape((b, h, w, c))?;
        Ok(Outcome { hidden: Some((hidden + x)?), maps })
    }
}

/// Self-attention, cross-attention and feed-forward, each after a layer norm and added to its input: `BasicTransformerBlock`.
#[derive(Debug, Clone)]
struct TransformerLayer {
    norm1: LayerNorm,
    attn1: Attention,
    norm2: LayerNorm,
    attn2: Attention,
    norm3: LayerNorm,
    feed_forward: FeedForward,
}

impl TransformerLayer {
    fn load(weights: &Weights, options: TransformerOptions) -> Result<Self> {
        let TransformerOptions { channels, heads, text_width, .. } = options;
        let norm = |name: &str| layer_norm(&weights.pp(name), channels, LAYER_NORM_EPS);
        Ok(Self {
            norm1: norm("norm1")?,
            attn1: Attention::load(&weights.pp("attn1"), channels, channels, heads)?,
            norm2: norm("norm2")?,
            attn2: Attention::load(&weights.pp("attn2"), channels, text_width, heads)?,
            norm3: norm("norm3")?,
            feed_forward: FeedForward::load(&weights.pp("ff"), channels)?,
        })
    }

    /// (B, HW, C) to the same; `None` if the pass ends at `key`.
    fn forward(
        &self,
        x: &Tensor,
        text: &TextConditioning,
        key: AttnKey,
        plan: &Plan,
        maps: &mut Vec<(AttnKey, Tensor)>,
    ) -> sinopia_nn::Result<Option<Tensor>> {
        let x = (self.attn1.look_around(&self.norm1.forward(x)?)? + x)?;
        let query = self.norm2.forward(&x)?;
        if plan.stops_at(key) {
            if plan.records(key) {
                maps.push((key, plan.select(&self.attn2.probs(&query, text)?)?));
            }
            return Ok(None);
        }
        let seen = if plan.records(key) {
            let (seen, probs) = self.attn2.look_at_recorded(&query, text)?;
            maps.push((key, plan.select(&probs)?));
            seen
        } else {
            self.attn2.look_at(&query, text)?
        };
        let x = (seen + x)?;
        Ok(Some((self.feed_forward.forward(&self.norm3.forward(&x)?)? + x)?))
    }
}

/// Multi-head attention with projections; queries from the pixels, keys and values from pixels or text.
#[derive(Debug, Clone)]
struct Attention {
    id: LayerId,
    to_q: Linear,
    to_k: Linear,
    to_v: Linear,
    to_out: Linear,
    heads: usize,
}

impl Attention {
    fn load(weights: &Weights, channels: usize, source_width: usize, heads: usize) -> Result<Self> {
        static NEXT_ID: AtomicU64 = AtomicU64::new(0);
        Ok(Self {
            id: NEXT_ID.fetch_add(1, Ordering::Relaxed),
            to_q: linear_no_bias(&weights.pp("to_q"), channels, channels)?,
            to_k: linear_no_bias(&weights.pp("to_k"), source_width, channels)?,
            to_v: linear_no_bias(&weights.pp("to_v"), source_width, channels)?,
            to_out: linear(&weights.pp("to_out.0"), channels, channels)?,
            heads,
        })
    }

    /// Self-attention, (B, HW, C) to the same.
    fn look_around(&self, x: &Tensor) -> sinopia_nn::Result<Tensor> {
        let (query, key, value) = (self.to_q.forward(x)?, self.to_k.forward(x)?, self.to_v.forward(x)?);
        self.to_out.forward(&attention::attention(&query, &key, &value, self.heads, false)?)
    }

    /// Cross-attention, (B, HW, C) to the same.
    fn look_at(&self, x: &Tensor, text: &TextConditioning) -> sinopia_nn::Result<Tensor> {
        let text = text.project(self.id, &self.to_k, &self.to_v)?;
        let seen = attention::attention(&self.to_q.forward(x)?, &text.key, &text.value, self.heads, false)?;
        self.to_out.forward(&seen)
    }

    /// Cross-attention with its probabilities (B, heads, HW, L).
    fn look_at_recorded(&self, x: &Tensor, text: &TextConditioning) -> sinopia_nn::Result<(Tensor, Tensor)> {
        let text = text.project(self.id, &self.to_k, &self.to_v)?;
        let query = self.to_q.forward(x)?;
        let (seen, probs) = attention::attention_recorded(&query, &text.key, &text.value, self.heads)?;
        Ok((self.to_out.forward(&seen)?, probs))
    }

    /// The probabilities alone.
    fn probs(&self, x: &Tensor, text: &TextConditioning) -> sinopia_nn::Result<Tensor> {
        let key = text.project_key(self.id, &self.to_k)?;
        attention::attention_probs(&self.to_q.forward(x)?, &key, self.heads)
    }
}

/// `W₂ · geglu(W₁ · x)`.
#[derive(Debug, Clone)]
struct FeedForward {
    proj: Linear,
    out: Linear,
}

impl FeedForward {
    fn load(weights: &Weights, channels: usize) -> Result<Self> {
        let width = FEED_FORWARD_FACTOR * channels;
        Ok(Self {
            // Values and gates side by side.
            proj: linear(&weights.pp("net.0.proj"), channels, 2 * width)?,
            out: linear(&weights.pp("net.2"), width, channels)?,
        })
    }

    fn forward(&self, x: &Tensor) -> sinopia_nn::Result<Tensor> {
        self.out.forward(&activation::geglu(&self.proj.forward(x)?)?)
    }
}
