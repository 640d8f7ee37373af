//! The mask decoder: tokens and image attend to each other, then each mask token paints its mask.

use candle_core::{DType, Tensor};
use sinopia_nn::{LayerNorm, Linear, activation, attention};

use super::config::{SamConfig, SamDecoderConfig};
use crate::layers::{layer_norm, linear};
use crate::{CancellationToken, Result, Weights, cancellation};

/// Added to the variance in the transformer's last norm and the upscaling's, whatever the configuration says of the others.
const FINAL_EPS: f64 = 1e-5;
const UPSCALE_EPS: f64 = 1e-6;

/// The mask decoder with frozen weights.
#[derive(Debug, Clone)]
pub(super) struct MaskDecoder {
    /// (1, 1 + masks, P) f32: the token of quality, then one a mask.
    output_tokens: Tensor,
    layers: Vec<TwoWayLayer>,
    final_attn_token_to_image: Attention,
    layer_norm_final_attn: LayerNorm,
    upscaling: Upscaling,
    /// One a mask: from its token to the weights of the upscaled channels.
    hypernetworks: Vec<Mlp>,
    iou_prediction_head: Mlp,
}

/// Masks of one prompt.
pub(super) struct Painted {
    /// (masks, 4H, 4W)
    pub(super) logits: Tensor,
    /// (masks)
    pub(super) iou_scores: Vec<f32>,
}

impl MaskDecoder {
    /// Reads `mask_decoder.*`.
    pub(super) fn load(config: &SamConfig, weights: &Weights) -> Result<Self> {
        let decoder = &config.mask_decoder_config;
        let (width, masks) = (decoder.hidden_size, decoder.num_mask_tokens());
        let transformer = weights.pp("transformer");
        let iou_token = weights.get("iou_token.weight", &[1, width])?.to_dtype(DType::F32)?;
        let mask_tokens = weights.get("mask_tokens.weight", &[masks, width])?.to_dtype(DType::F32)?;
        let layer = |index: usize| TwoWayLayer::load(decoder, index == 0, &transformer.pp(format!("layers.{index}")));
        let hypernetwork = |index: usize| {
            let weights = weights.pp(format!("output_hypernetworks_mlps.{index}"));
            Mlp::load([width, width, width / 8], 3, &weights)
        };
        Ok(Self {
            output_tokens: Tensor::cat(&[iou_token, mask_tokens], 0)?.unsqueeze(0)?,
            layers: (0..decoder.num_hidden_layers).map(layer).collect::<Result<_>>()?,
            final_attn_token_to_image: Attention::narrow(decoder, &transformer.pp("final_attn_token_to_image"))?,
            layer_norm_final_attn: layer_norm(&transformer.pp("layer_norm_final_attn"), width, FINAL_EPS)?,
            upscaling: Upscaling::load(width, weights)?,
            hypernetworks: (0..masks).map(hypernetwork).collect::<Result<_>>()?,
            iou_prediction_head: Mlp::load(
                [width, decoder.iou_head_hidden_dim, masks],
                decoder.iou_head_depth,
                &weights.pp("iou_prediction_head"),
            )?,
        })
    }

    /// All masks of one prompt: the one for unambiguous prompts first.
    ///
    /// `image` (1, H, W, P) with what the prompt adds to it, `positions` (1, HW, P) of its cells, `prompt` (1, T, P).
    pub(super) fn forward(
        &self,
        image: &Tensor,
        positions: &Tensor,
        prompt: &Tensor,
        cancellation: Option<&CancellationToken>,
    ) -> Result<Painted> {
        let (_, h, w, c) = image.dims4()?;
        let start = Tensor::cat(&[&self.output_tokens, prompt], 1)?; // (1, 1 + masks + T, P); it is also where tokens are
        let mut sides = Sides { tokens: start.clone(), image: image.reshape((1, h * w, c))? };
        let places = Sides { tokens: start, image: positions.clone() };
        for layer in &self.layers {
            cancellation::check(cancellation)?;
            sides = layer.forward(sides, &places)?;
        }
        cancellation::check(cancellation)?;
        let seen = self.final_attn_token_to_image.forward(
            &(&sides.tokens + &places.tokens)?,
            &(&sides.image + &places.image)?,
            &sides.image,
        )?;
        let tokens = self.layer_norm_final_attn.forward(&(sides.tokens + seen)?)?;

        let pixels = self.upscaling.forward(&sides.image.reshape((1, h, w, c))?)?; // (1, 4H, 4W, P/8)
        let (_, height, width, channels) = pixels.dims4()?;
        let pixels = pixels.reshape((height * width, channels))?;
        let of_mask = |(index, network): (usize, &Mlp)| network.forward(&tokens.narrow(1, 1 + index, 1)?.squeeze(1)?);
        let channels = self.hypernetworks.iter().enumerate().map(of_mask).collect::<Result<Vec<_>>>()?; // (1, P/8) each
        let logits = Tensor::cat(&channels, 0)?.matmul(&pixels.t()?)?;
        let iou_scores = self.iou_prediction_head.forward(&tokens.narrow(1, 0, 1)?.squeeze(1)?)?; // (1, masks)
        Ok(Painted {
            logits: logits.reshape((self.hypernetworks.len(), height, width))?,
            iou_scores: iou_scores.flatten_all()?.to_vec1()?,
        })
    }
}

/// Tokens (1, T, P) and image (1, HW, P).
struct Sides {
    tokens: Tensor,
    image: Tensor,
}

/// Tokens attend to each other and to the image, then the image to the tokens; norms come after each sum.
#[derive(Debug, Clone)]
struct TwoWayLayer {
    /// In the first layer tokens are nothing but their places yet: those are not added again, and what is seen replaces them.
    is_first: bool,
    self_attn: Attention,
    cross_attn_token_to_image: Attention,
    cross_attn_image_to_token: Attention,
    lin1: Linear,
    lin2: Linear,
    layer_norms: [LayerNorm; 4],
}

impl TwoWayLayer {
    fn load(config: &SamDecoderConfig, is_first: bool, weights: &Weights) -> Result<Self> {
        let width = config.hidden_size;
        let norm = |name: &str| layer_norm(&weights.pp(name), width, config.layer_norm_eps);
        Ok(Self {
            is_first,
            self_attn: Attention::load(width, width, config.num_attention_heads, &weights.pp("self_attn"))?,
            cross_attn_token_to_image: Attention::narrow(config, &weights.pp("cross_attn_token_to_image"))?,
            cross_attn_image_to_token: Attention::narrow(config, &weights.pp("cross_attn_image_to_token"))?,
            lin1: linear(&weights.pp("mlp.lin1"), width, config.mlp_dim)?,
            lin2: linear(&weights.pp("mlp.lin2"), config.mlp_dim, width)?,
            layer_norms: [norm("layer_norm1")?, norm("layer_norm2")?, norm("layer_norm3")?, norm("layer_norm4")?],
        })
    }

    fn forward(&self, Sides { tokens, image }: Sides, places: &Sides) -> Result<Sides> {
        let [norm1, norm2, norm3, norm4] = &self.layer_norms;
        let tokens = if self.is_first {
            self.self_attn.forward(&tokens, &tokens, &tokens)?
        } else {
            let placed = (&tokens + &places.tokens)?;
            (&tokens + self.self_attn.forward(&placed, &placed, &tokens)?)?
        };
        let tokens = norm1.forward(&tokens)?;

        let placed_image = (&image + &places.image)?;
        let placed = (&tokens + &places.tokens)?;
        let tokens = (tokens + self.cross_attn_token_to_image.forward(&placed, &placed_image, &image)?)?;
        let tokens = norm2.forward(&tokens)?;

        let inner = self.lin1.forward(&tokens)?.relu()?;
        let tokens = norm3.forward(&self.lin2.forward_onto(&inner, &tokens)?)?;

        let placed = (&tokens + &places.tokens)?;
        let image = (image + self.cross_attn_image_to_token.forward(&placed_image, &placed, &tokens)?)?;
        Ok(Sides { tokens, image: norm4.forward(&image)? })
    }
}

/// Attention whose queries, keys and values may be narrower than what comes in and goes out.
#[derive(Debug, Clone)]
struct Attention {
    q_proj: Linear,
    k_proj: Linear,
    v_proj: Linear,
    out_proj: Linear,
    heads: usize,
}

impl Attention {
    fn load(width: usize, inner: usize, heads: usize, weights: &Weights) -> Result<Self> {
        Ok(Self {
            q_proj: linear(&weights.pp("q_proj"), width, inner)?,
            k_proj: linear(&weights.pp("k_proj"), width, inner)?,
            v_proj: linear(&weights.pp("v_proj"), width, inner)?,
            out_proj: linear(&weights.pp("out_proj"), inner, width)?,
            heads,
        })
    }

    /// Between tokens and image.
    fn narrow(config: &SamDecoderConfig, weights: &Weights) -> Result<Self> {
        let width = config.hidden_size;
        Self::load(width, width / config.attention_downsample_rate, config.num_attention_heads, weights)
    }

    fn forward(&self, query: &Tensor, key: &Tensor, value: &Tensor) -> Result<Tensor> {
        let (query, key, value) = (self.q_proj.forward(query)?, self.k_proj.forward(key)?, self.v_proj.forward(value)?);
        Ok(self.out_proj.forward(&attention::attention(&query, &key, &value, self.heads, false)?)?)
    }
}

/// From the grid to four times as many rows and columns with an eighth of the channels.
#[derive(Debug, Clone)]
struct Upscaling {
    conv1: Doubling,
    layer_norm: LayerNorm,
    conv2: Doubling,
}

impl Upscaling {
    fn load(width: usize, weights: &Weights) -> Result<Self> {
        Ok(Self {
            conv1: Doubling::load(width, width / 4, &weights.pp("upscale_conv1"))?,
            layer_norm: layer_norm(&weights.pp("upscale_layer_norm"), width / 4, UPSCALE_EPS)?,
            conv2: Doubling::load(width / 4, width / 8, &weights.pp("upscale_conv2"))?,
        })
    }

    fn forward(&self, image: &Tensor) -> Result<Tensor> {
        let x = activation::gelu(&self.layer_norm.forward(&self.conv1.forward(image)?)?)?;
        Ok(activation::gelu(&self.conv2.forward(&x)?)?)
    }
}

/// A transposed convolution with kernel and stride 2: each pixel becomes four, each by weights of its own; windows do not overlap.
#[derive(Debug, Clone)]
struct Doubling {
    /// In channels to (row, column, out channels) of the four.
    linear: Linear,
    out_channels: usize,
}

impl Doubling {
    /// `weight` (in, out, 2, 2) and `bias` (out).
    fn load(in_channels: usize, out_channels: usize, weights: &Weights) -> Result<Self> {
        let weight = weights.get("weight", &[in_channels, out_channels, 2, 2])?;
        let weight = weight.permute((2, 3, 1, 0))?.contiguous()?.reshape((4 * out_channels, in_channels))?;
        let bias = weights.get("bias", &[out_channels])?.repeat(4)?;
        Ok(Self { linear: Linear::new(&weight, Some(&bias))?, out_channels })
    }

    /// (B, H, W, in) to (B, 2H, 2W, out).
    fn forward(&self, x: &Tensor) -> Result<Tensor> {
        let (b, h, w, _) = x.dims4()?;
        let four = self.linear.forward(x)?.reshape(vec![b, h, w, 2, 2, self.out_channels])?;
        let rows = four.permute(vec![0, 1, 3, 2, 4, 5])?.contiguous()?; // (B, H, 2, W, 2, out)
        Ok(rows.reshape((b, 2 * h, 2 * w, self.out_channels))?)
    }
}

/// Linear layers with ReLU between them.
#[derive(Debug, Clone)]
struct Mlp {
    layers: Vec<Linear>,
}

impl Mlp {
    fn load([input, inner, output]: [usize; 3], depth: usize, weights: &Weights) -> Result<Self> {
        let mut layers = vec![linear(&weights.pp("proj_in"), input, inner)?];
        for index in 0..depth - 2 {
            layers.push(linear(&weights.pp(format!("layers.{index}")), inner, inner)?);
        }
        layers.push(linear(&weights.pp("proj_out"), inner, output)?);
        Ok(Self { layers })
    }

    fn forward(&self, x: &Tensor) -> Result<Tensor> {
        let mut x = x.clone();
        for (index, layer) in self.layers.iter().enumerate() {
            x = layer.forward(&if index > 0 { x.relu()? } else { x })?;
        }
        Ok(x)
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;

    use candle_core::Device;

    use super::*;

    #[test]
    fn a_doubling_is_a_transposed_convolution() -> Result<()> {
        let weight = Tensor::arange(0f32, 24.0, &Device::Cpu)?.reshape((3, 2, 2, 2))?;
        let bias = Tensor::new(&[0.5f32, -1.0], &Device::Cpu)?;
        let tensors = HashMap::from([("weight".to_owned(), weight.clone()), ("bias".to_owned(), bias.clone())]);
        let doubling = Doubling::load(3, 2, &Weights::from_tensors("test", tensors))?;
        let x = Tensor::arange(0f32, 18.0, &Device::Cpu)?.reshape((1, 2, 3, 3))?;
        let expected = x.permute((0, 3, 1, 2))?.contiguous()?.conv_transpose2d(&weight, 0, 0, 2, 1)?;
        let expected = expected.broadcast_add(&bias.reshape((1, 2, 1, 1))?)?.permute((0, 2, 3, 1))?;
        let found = doubling.forward(&x)?;
        assert_eq!(found.dims(), [1, 4, 6, 2]);
        assert_eq!(found.flatten_all()?.to_vec1::<f32>()?, expected.flatten_all()?.to_vec1::<f32>()?);
        Ok(())
    }
}
