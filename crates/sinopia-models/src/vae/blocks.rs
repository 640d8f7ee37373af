//! The two halves of the autoencoder, as lists of layers under the checkpoint's names.

use candle_core::Tensor;
use sinopia_nn::{Conv2d, GroupNorm, Linear, attention};

use super::VaeConfig;
use crate::bands::Bands;
use crate::layers::{conv3x3, group_norm, linear};
use crate::resnet::{Downsample, ResnetBlock, ResnetOptions, Upsample};
use crate::{CancellationToken, Result, Weights, cancellation};

/// Of every group norm.
const EPS: f64 = 1e-6;

/// Image to latent statistics: residual blocks, a smaller grid, and so on; then the middle block.
#[derive(Debug, Clone)]
pub(super) struct Encoder {
    conv_in: Conv2d,
    blocks: Vec<Layer>,
    conv_norm_out: GroupNorm,
    conv_out: Conv2d,
}

/// Latents to image: the middle block; then residual blocks, a larger grid, and so on.
#[derive(Debug, Clone)]
pub(super) struct Decoder {
    conv_in: Conv2d,
    blocks: Vec<Layer>,
    conv_norm_out: GroupNorm,
    conv_out: Conv2d,
}

#[derive(Debug, Clone)]
enum Layer {
    Resnet(ResnetBlock),
    Attention(PixelAttention),
    Downsample(Downsample),
    Upsample(Upsample),
}

impl Encoder {
    /// The encoder's last convolution gives means and log variances, so twice the latent channels.
    pub(super) fn load(config: &VaeConfig, weights: &Weights) -> Result<Self> {
        let (first, last) = ends(config);
        let mut blocks = Vec::new();
        let mut channels = first;
        for (block, &out_channels) in config.block_out_channels.iter().enumerate() {
            let block_weights = weights.pp(format!("down_blocks.{block}"));
            for layer in 0..config.layers_per_block {
                blocks.push(resnet(config, &block_weights.pp(format!("resnets.{layer}")), channels, out_channels)?);
                channels = out_channels;
            }
            if block + 1 < config.block_out_channels.len() {
                let downsample = Downsample::load_asymmetric(&block_weights.pp("downsamplers.0"), channels)?;
                blocks.push(Layer::Downsample(downsample));
            }
        }
        blocks.extend(mid_block(config, &weights.pp("mid_block"), last)?);
        Ok(Self {
            conv_in: conv3x3(&weights.pp("conv_in"), config.in_channels, first)?,
            blocks,
            conv_norm_out: group_norm(&weights.pp("conv_norm_out"), last, config.norm_num_groups, EPS)?,
            conv_out: conv3x3(&weights.pp("conv_out"), last, 2 * config.latent_channels)?,
        })
    }

    /// (B, H, W, 3) to (B, h, w, 2C), given up between two layers if it is cancelled.
    pub(super) fn forward(&self, image: &Tensor, cancellation: Option<&CancellationToken>) -> Result<Tensor> {
        let Self { conv_in, blocks, conv_norm_out, conv_out } = self;
        Half { conv_in, blocks, conv_norm_out, conv_out }.forward(image, cancellation)
    }
}

impl Decoder {
    pub(super) fn load(config: &VaeConfig, weights: &Weights) -> Result<Self> {
        let (first, last) = ends(config);
        let mut blocks = mid_block(config, &weights.pp("mid_block"), last)?;
        let mut channels = last;
        for (block, &out_channels) in config.block_out_channels.iter().rev().enumerate() {
            let block_weights = weights.pp(format!("up_blocks.{block}"));
            for layer in 0..=config.layers_per_block {
                blocks.push(resnet(config, &block_weights.pp(format!("resnets.{layer}")), channels, out_channels)?);
                channels = out_channels;
            }
            if block + 1 < config.block_out_channels.len() {
                blocks.push(Layer::Upsample(Upsample::load(&block_weights.pp("upsamplers.0"), channels)?));
            }
        }
        Ok(Self {
            conv_in: conv3x3(&weights.pp("conv_in"), config.latent_channels, last)?,
            blocks,
            conv_norm_out: group_norm(&weights.pp("conv_norm_out"), first, config.norm_num_groups, EPS)?,
            conv_out: conv3x3(&weights.pp("conv_out"), first, config.out_channels)?,
        })
    }

    /// (B, h, w, C) to (B, H, W, 3), given up between two layers if it is cancelled.
    pub(super) fn forward(&self, latents: &Tensor, cancellation: Option<&CancellationToken>) -> Result<Tensor> {
        let Self { conv_in, blocks, conv_norm_out, conv_out } = self;
        Half { conv_in, blocks, conv_norm_out, conv_out }.forward(latents, cancellation)
    }
}

/// Channels of the finest and of the coarsest level.
fn ends(config: &VaeConfig) -> (usize, usize) {
    let channels = &config.block_out_channels;
    (channels[0], channels[channels.len() - 1])
}

fn mid_block(config: &VaeConfig, weights: &Weights, channels: usize) -> Result<Vec<Layer>> {
    let mut layers = vec![resnet(config, &weights.pp("resnets.0"), channels, channels)?];
    if config.mid_block_add_attention {
        let attention = PixelAttention::load(&weights.pp("attentions.0"), channels, config.norm_num_groups)?;
        layers.push(Layer::Attention(attention));
    }
    layers.push(resnet(config, &weights.pp("resnets.1"), channels, channels)?);
    Ok(layers)
}

fn resnet(config: &VaeConfig, weights: &Weights, in_channels: usize, out_channels: usize) -> Result<Layer> {
    let num_groups = config.norm_num_groups;
    let options = ResnetOptions { in_channels, out_channels, num_groups, eps: EPS, time_width: None };
    Ok(Layer::Resnet(ResnetBlock::load(weights, options)?))
}

/// What both halves are: a convolution, layers, a norm and a convolution.
struct Half<'a> {
    conv_in: &'a Conv2d,
    blocks: &'a [Layer],
    conv_norm_out: &'a GroupNorm,
    conv_out: &'a Conv2d,
}

impl Half<'_> {
    /// (B, H, W, C) to (B, H', W', C'), given up between two layers if it is cancelled.
    fn forward(&self, x: &Tensor, cancellation: Option<&CancellationToken>) -> Result<Tensor> {
        if !x.device().is_cpu() || x.track_op() {
            return self.forward_whole(x, cancellation);
        }
        // Image by image, and those in bands: the finest grids are hundreds of megabytes each.
        let images = (0..x.dim(0)?).map(|image| self.forward_in_bands(&x.narrow(0, image, 1)?, cancellation));
        let mut images = images.collect::<Result<Vec<_>>>()?;
        match images.len() {
            1 => Ok(images.swap_remove(0)),
            _ => Ok(Tensor::cat(&images, 0)?),
        }
    }

    fn forward_in_bands(&self, image: &Tensor, cancellation: Option<&CancellationToken>) -> Result<Tensor> {
        let mut hidden = Bands::whole(image.clone())?.convolve(self.conv_in)?;
        for layer in self.blocks {
            cancellation::check(cancellation)?;
            hidden = layer.forward_bands(hidden)?;
        }
        cancellation::check(cancellation)?; // the last convolution works on the finest grid
        Ok(hidden.normalise_and_convolve(self.conv_norm_out, self.conv_out)?.into_whole()?)
    }

    fn forward_whole(&self, x: &Tensor, cancellation: Option<&CancellationToken>) -> Result<Tensor> {
        let mut hidden = self.conv_in.forward(x)?;
        for layer in self.blocks {
            cancellation::check(cancellation)?;
            hidden = layer.forward(&hidden)?;
        }
        cancellation::check(cancellation)?;
        Ok(self.conv_out.forward(&self.conv_norm_out.forward_silu(&hidden)?)?)
    }
}

impl Layer {
    fn forward(&self, x: &Tensor) -> sinopia_nn::Result<Tensor> {
        match self {
            Self::Resnet(resnet) => resnet.forward(x, None),
            Self::Attention(attention) => attention.forward(x),
            Self::Downsample(downsample) => downsample.forward(x),
            Self::Upsample(upsample) => upsample.forward(x),
        }
    }

    fn forward_bands(&self, x: Bands) -> sinopia_nn::Result<Bands> {
        match self {
            Self::Resnet(resnet) => resnet.forward_bands(x),
            // It sees all pixels at once, on the coarsest grid.
            Self::Attention(attention) => Bands::whole(attention.forward(&x.into_whole()?)?),
            Self::Downsample(downsample) => downsample.forward_bands(x),
            Self::Upsample(upsample) => upsample.forward_bands(x),
        }
    }
}

/// One head of self-attention over the pixels of an image, added to it.
#[derive(Debug, Clone)]
struct PixelAttention {
    group_norm: GroupNorm,
    to_q: Linear,
    to_k: Linear,
    to_v: Linear,
    to_out: Linear,
}

impl PixelAttention {
    /// Files from before diffusers 0.18 have other names for the projections.
    fn load(weights: &Weights, channels: usize, num_groups: usize) -> Result<Self> {
        let is_old = weights.contains("query.weight");
        let projection = |new: &str, old: &str| linear(&weights.pp(if is_old { old } else { new }), channels, channels);
        Ok(Self {
            group_norm: group_norm(&weights.pp("group_norm"), channels, num_groups, EPS)?,
            to_q: projection("to_q", "query")?,
            to_k: projection("to_k", "key")?,
            to_v: projection("to_v", "value")?,
            to_out: projection("to_out.0", "proj_attn")?,
        })
    }

    fn forward(&self, x: &Tensor) -> sinopia_nn::Result<Tensor> {
        let (b, h, w, c) = x.dims4()?;
        let pixels = self.group_norm.forward(x)?.reshape((b, h * w, c))?; // (B, HW, C)
        let (query, key, value) =
            (self.to_q.forward(&pixels)?, self.to_k.forward(&pixels)?, self.to_v.forward(&pixels)?);
        let seen = attention::attention_with(&query, &key, &value, 1, self.to_q.arithmetic())?;
        self.to_out.forward_onto(&seen.reshape((b, h, w, c))?, x)
    }
}
