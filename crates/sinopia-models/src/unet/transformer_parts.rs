//! What a transformer's layers and their grounding adapters have in common.

use candle_core::Tensor;
use sinopia_nn::{Linear, activation};

use crate::layers::linear;
use crate::{Result, Weights};

pub(super) const LAYER_NORM_EPS: f64 = 1e-5;
/// Width of the feed-forward layers in multiples of the channels.
const FEED_FORWARD_FACTOR: usize = 4;

/// The sizes of a [`SpatialTransformer`](super::transformer::SpatialTransformer).
#[derive(Debug, Clone, Copy)]
pub(super) struct TransformerOptions {
    pub(super) channels: usize,
    pub(super) heads: usize,
    pub(super) num_layers: usize,
    pub(super) num_groups: usize,
    pub(super) text_width: usize,
    /// Whether every layer has a grounding adapter.
    pub(super) is_gated: bool,
}

/// `W₂ · geglu(W₁ · x)`.
#[derive(Debug, Clone)]
pub(super) struct FeedForward {
    proj: Linear,
    out: Linear,
}

impl FeedForward {
    pub(super) fn load(weights: &Weights, channels: usize) -> Result<Self> {
        let width = FEED_FORWARD_FACTOR * channels;
        Ok(Self {
            // Values and gates side by side.
            proj: linear(&weights.pp("net.0.proj"), channels, 2 * width)?,
            out: linear(&weights.pp("net.2"), width, channels)?,
        })
    }

    pub(super) fn forward(&self, x: &Tensor) -> sinopia_nn::Result<Tensor> {
        self.out.forward(&activation::geglu(&self.proj.forward(x)?)?)
    }

    /// `base` and the layers' result.
    pub(super) fn forward_onto(&self, x: &Tensor, base: &Tensor) -> sinopia_nn::Result<Tensor> {
        self.out.forward_onto(&activation::geglu(&self.proj.forward(x)?)?, base)
    }
}
