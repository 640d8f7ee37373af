//! CLIP's vision encoder, which OWL-ViT has too: an image as a class token and one token a patch, all seeing each other.

use candle_core::{DType, Tensor};
use sinopia_nn::{LayerNorm, Linear};

use crate::clip::{EncoderLayer, EncoderLayerConfig};
use crate::layers::layer_norm;
use crate::owlvit::OwlVisionConfig;
use crate::{CancellationToken, Result, Weights, cancellation};

/// Colours of a pixel.
const RGB: usize = 3;

/// Embeddings and layers, without what towers put behind them.
#[derive(Debug, Clone)]
pub(crate) struct VisionEncoder {
    width: usize,
    patch: usize,
    grid_side: usize,
    /// (1, 1, C) f32
    class_embedding: Tensor,
    /// A patch's pixels, row by row, to C.
    patch_embedding: Linear,
    /// (1 + patches, C) f32
    position_embedding: Tensor,
    pre_layernorm: LayerNorm,
    layers: Vec<EncoderLayer>,
}

impl VisionEncoder {
    /// Reads `embeddings.*` and `encoder.*` of a `vision_model`; `pre_norm` is the name of its first norm, which CLIP spells `pre_layrnorm`.
    pub(crate) fn load(vision: &OwlVisionConfig, tower: &Weights, pre_norm: &str) -> Result<Self> {
        let (width, patch) = (vision.hidden_size, vision.patch_size);
        let grid_side = vision.image_size / patch;
        let embeddings = tower.pp("embeddings");
        let kernel = embeddings.get("patch_embedding.weight", &[width, RGB, patch, patch])?;
        let rows = kernel.permute((0, 2, 3, 1))?.contiguous()?.reshape((width, patch * patch * RGB))?;
        let positions = grid_side.pow(2) + 1;
        let layer = EncoderLayerConfig {
            hidden_size: width,
            intermediate_size: vision.intermediate_size,
            num_attention_heads: vision.num_attention_heads,
            hidden_act: &vision.hidden_act,
            layer_norm_eps: vision.layer_norm_eps,
            causal: false,
        };
        Ok(Self {
            width,
            patch,
            grid_side,
            class_embedding: embeddings.get("class_embedding", &[width])?.reshape((1, 1, width))?,
            patch_embedding: Linear::new(&rows, None)?,
            position_embedding: embeddings
                .get("position_embedding.weight", &[positions, width])?
                .to_dtype(DType::F32)?,
            pre_layernorm: layer_norm(&tower.pp(pre_norm), width, vision.layer_norm_eps)?,
            layers: (0..vision.num_hidden_layers)
                .map(|index| EncoderLayer::load(layer, &tower.pp(format!("encoder.layers.{index}"))))
                .collect::<Result<_>>()?,
        })
    }

    /// The last layer's output (B, 1 + patches, C), the class token first, then patches row by row, of normalised images (B, S, S, 3);
    /// given up between two layers if it is cancelled.
    pub(crate) fn forward(&self, images: &Tensor, cancellation: Option<&CancellationToken>) -> Result<Tensor> {
        let mut hidden = self.pre_layernorm.forward(&self.embed(images)?)?;
        for layer in &self.layers {
            cancellation::check(cancellation)?;
            hidden = layer.forward(&hidden)?;
        }
        Ok(hidden)
    }

    fn embed(&self, images: &Tensor) -> Result<Tensor> {
        let (b, side, patch) = (images.dim(0)?, self.grid_side, self.patch);
        let used = side * patch; // a stride-P convolution never sees what is left of a side
        let images = images.narrow(1, 0, used)?.narrow(2, 0, used)?;
        let patches = images.reshape(vec![b, side, patch, side, patch, RGB])?;
        let patches = patches.permute(vec![0, 1, 3, 2, 4, 5])?.contiguous()?; // (B, rows, columns, P, P, 3)
        let patches = patches.reshape((b, side * side, patch * patch * RGB))?;
        let class = self.class_embedding.broadcast_as((b, 1, self.width))?;
        let tokens = Tensor::cat(&[&class, &self.patch_embedding.forward(&patches)?], 1)?; // (B, 1 + N, C)
        Ok(tokens.broadcast_add(&self.position_embedding)?)
    }
}
