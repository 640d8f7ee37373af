//! The vision tower: an image as one feature a patch.

use candle_core::Tensor;
use sinopia_nn::LayerNorm;

use super::config::OwlVitConfig;
use crate::layers::layer_norm;
use crate::vision::VisionEncoder;
use crate::{CancellationToken, Result, Weights};

/// The encoder and the norms that make patch features of its tokens.
#[derive(Debug, Clone)]
pub(super) struct VisionTower {
    encoder: VisionEncoder,
    patches: usize,
    post_layernorm: LayerNorm,
    merged_layer_norm: LayerNorm,
}

impl VisionTower {
    /// Reads `<prefix>.vision_model.*` and the detector's own `layer_norm`.
    pub(super) fn load(config: &OwlVitConfig, weights: &Weights) -> Result<Self> {
        let vision = &config.vision_config;
        let tower = weights.pp(config.model_type.prefix()).pp("vision_model");
        let norm = |weights: &Weights| layer_norm(weights, vision.hidden_size, vision.layer_norm_eps);
        Ok(Self {
            encoder: VisionEncoder::load(vision, &tower, "pre_layernorm")?,
            patches: config.grid_side().pow(2),
            post_layernorm: norm(&tower.pp("post_layernorm"))?,
            merged_layer_norm: norm(&weights.pp("layer_norm"))?,
        })
    }

    /// Patch features (B, patches, C), row by row, of normalised images (B, S, S, 3).
    ///
    /// `LN(LN_post(patch) · LN_post(class))`: the class token tells every patch what the whole image is.
    pub(super) fn forward(&self, images: &Tensor, cancellation: Option<&CancellationToken>) -> Result<Tensor> {
        let hidden = self.post_layernorm.forward(&self.encoder.forward(images, cancellation)?)?;
        let (class, patches) = (hidden.narrow(1, 0, 1)?, hidden.narrow(1, 1, self.patches)?);
        Ok(self.merged_layer_norm.forward(&patches.broadcast_mul(&class)?)?) // (B, N, C)
    }
}
