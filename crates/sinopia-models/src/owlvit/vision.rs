//! The vision tower: an image as a class token and one token a patch, all seeing each other.

use candle_core::{DType, Tensor};
use sinopia_nn::{LayerNorm, Linear};

use super::config::{OwlVisionConfig, OwlVitConfig};
use crate::clip::{EncoderLayer, EncoderLayerConfig};
use crate::layers::layer_norm;
use crate::{Result, Weights};

/// Colours of a pixel.
const RGB: usize = 3;

/// The tower and the norms that make patch features of it.
#[derive(Debug, Clone)]
pub(super) struct VisionTower {
    config: OwlVisionConfig,
    grid_side: usize,
    /// (1, 1, C) f32
    class_embedding: Tensor,
    /// A patch's pixels, row by row, to C.
    patch_embedding: Linear,
    /// (1 + patches, C) f32
    position_embedding: Tensor,
    pre_layernorm: LayerNorm,
    layers: Vec<EncoderLayer>,
    post_layernorm: LayerNorm,
    merged_layer_norm: LayerNorm,
}

impl VisionTower {
    /// Reads `<prefix>.vision_model.*` and the detector's own `layer_norm`.
    pub(super) fn load(config: &OwlVitConfig, weights: &Weights) -> Result<Self> {
        let vision = &config.vision_config;
        let (width, patch) = (vision.hidden_size, vision.patch_size);
        let tower = weights.pp(config.model_type.prefix()).pp("vision_model");
        let embeddings = tower.pp("embeddings");
        let kernel = embeddings.get("patch_embedding.weight", &[width, RGB, patch, patch])?;
        let rows = kernel.permute((0, 2, 3, 1))?.contiguous()?.reshape((width, patch * patch * RGB))?;
        let positions = config.grid_side().pow(2) + 1;
        let layer = EncoderLayerConfig {
            hidden_size: width,
            intermediate_size: vision.intermediate_size,
            num_attention_heads: vision.num_attention_heads,
            hidden_act: &vision.hidden_act,
            layer_norm_eps: vision.layer_norm_eps,
            causal: false,
        };
        let norm = |weights: &Weights| layer_norm(weights, width, vision.layer_norm_eps);
        Ok(Self {
            config: vision.clone(),
            grid_side: config.grid_side(),
            class_embedding: embeddings.get("class_embedding", &[width])?.reshape((1, 1, width))?,
            patch_embedding: Linear::new(&rows, None)?,
            position_embedding: embeddings
                .get("position_embedding.weight", &[positions, width])?
                .to_dtype(DType::F32)?,
            pre_layernorm: norm(&tower.pp("pre_layernorm"))?,
            layers: (0..vision.num_hidden_layers)
                .map(|index| EncoderLayer::load(layer, &tower.pp(format!("encoder.layers.{index}"))))
                .collect::<Result<_>>()?,
            post_layernorm: norm(&tower.pp("post_layernorm"))?,
            merged_layer_norm: norm(&weights.pp("layer_norm"))?,
        })
    }

    /// Patch features (B, patches, C), row by row, of normalised images (B, S, S, 3).
    ///
    /// `LN(LN_post(patch) · LN_post(class))`: the class token tells every patch what the whole image is.
    pub(super) fn forward(&self, images: &Tensor) -> Result<Tensor> {
        let tokens = self.embed(images)?; // (B, 1 + N, C), so all the way
        let mut hidden = self.pre_layernorm.forward(&tokens)?;
        for layer in &self.layers {
            hidden = layer.forward(&hidden)?;
        }
        let hidden = self.post_layernorm.forward(&hidden)?;
        let patches = self.grid_side.pow(2);
        let (class, patches) = (hidden.narrow(1, 0, 1)?, hidden.narrow(1, 1, patches)?);
        Ok(self.merged_layer_norm.forward(&patches.broadcast_mul(&class)?)?) // (B, N, C)
    }

    fn embed(&self, images: &Tensor) -> Result<Tensor> {
        let (b, side, patch) = (images.dim(0)?, self.grid_side, self.config.patch_size);
        let used = side * patch; // a stride-P convolution never sees what is left of a side
        let images = images.narrow(1, 0, used)?.narrow(2, 0, used)?;
        let patches = images.reshape(vec![b, side, patch, side, patch, RGB])?;
        let patches = patches.permute(vec![0, 1, 3, 2, 4, 5])?.contiguous()?; // (B, rows, columns, P, P, 3)
        let patches = patches.reshape((b, side * side, patch * patch * RGB))?;
        let class = self.class_embedding.broadcast_as((b, 1, self.config.hidden_size))?;
        let tokens = Tensor::cat(&[&class, &self.patch_embedding.forward(&patches)?], 1)?; // (B, 1 + N, C)
        Ok(tokens.broadcast_add(&self.position_embedding)?)
    }
}
