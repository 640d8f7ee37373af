//! What the UNet and the VAE are both made of: residual blocks and changes of resolution. All channels-last.

use candle_core::Tensor;
use sinopia_nn::{Conv2d, Conv2dOptions, GroupNorm, Linear, Padding, upsample};

use crate::bands::Bands;
use crate::layers::{ConvSizes, conv1x1, conv2d, conv3x3, group_norm, linear};
use crate::{Result, Weights};

/// `x + conv2(silu(norm2(conv1(silu(norm1(x))) + W · t)))`, diffusers' `ResnetBlock2D`.
///
/// `t` is the activated time embedding, which the VAE does not have. Where the number of channels changes, the first `x` goes
/// through a 1×1 convolution.
#[derive(Debug, Clone)]
pub(crate) struct ResnetBlock {
    norm1: GroupNorm,
    conv1: Conv2d,
    time_emb_proj: Option<Linear>,
    norm2: GroupNorm,
    conv2: Conv2d,
    conv_shortcut: Option<Conv2d>,
}

/// The sizes of a [`ResnetBlock`].
#[derive(Debug, Clone, Copy)]
pub(crate) struct ResnetOptions {
    pub(crate) in_channels: usize,
    pub(crate) out_channels: usize,
    pub(crate) num_groups: usize,
    pub(crate) eps: f64,
    /// The width of the time embedding, where there is one.
    pub(crate) time_width: Option<usize>,
}

impl ResnetBlock {
    pub(crate) fn load(weights: &Weights, options: ResnetOptions) -> Result<Self> {
        let ResnetOptions { in_channels, out_channels, num_groups, eps, time_width } = options;
        Ok(Self {
            norm1: group_norm(&weights.pp("norm1"), in_channels, num_groups, eps)?,
            conv1: conv3x3(&weights.pp("conv1"), in_channels, out_channels)?,
            time_emb_proj: time_width
                .map(|width| linear(&weights.pp("time_emb_proj").in_16_bits(), width, out_channels))
                .transpose()?,
            norm2: group_norm(&weights.pp("norm2"), out_channels, num_groups, eps)?,
            conv2: conv3x3(&weights.pp("conv2"), out_channels, out_channels)?,
            conv_shortcut: (in_channels != out_channels)
                .then(|| conv1x1(&weights.pp("conv_shortcut").in_16_bits(), in_channels, out_channels))
                .transpose()?,
        })
    }

    /// (B, H, W, C) to (B, H, W, C'); `time` is (1, T), or one row for each of the batch, already activated.
    pub(crate) fn forward(&self, x: &Tensor, time: Option<&Tensor>) -> sinopia_nn::Result<Tensor> {
        let hidden = self.norm1.forward_silu(x)?;
        let hidden = match (&self.time_emb_proj, time) {
            (Some(project), Some(time)) => {
                let shift = project.forward(time)?;
                match shift.dims2()? {
                    (1, _) => self.conv1.forward_shifted(&hidden, &shift.flatten_all()?)?,
                    (b, c) => self.conv1.forward(&hidden)?.broadcast_add(&shift.reshape((b, 1, 1, c))?)?,
                }
            }
            _ => self.conv1.forward(&hidden)?,
        };
        let hidden = self.norm2.forward_silu(&hidden)?;
        match &self.conv_shortcut {
            Some(shortcut) => self.conv2.forward_onto(&hidden, &shortcut.forward(x)?),
            None => self.conv2.forward_onto(&hidden, x),
        }
    }
}

impl ResnetBlock {
    /// The same of an image in bands, without a time embedding.
    pub(crate) fn forward_bands(&self, x: Bands) -> sinopia_nn::Result<Bands> {
        x.residual([&self.norm1, &self.norm2], [&self.conv1, &self.conv2], self.conv_shortcut.as_ref())
    }
}

/// Halves the grid by a 3×3 convolution of stride 2.
#[derive(Debug, Clone)]
pub(crate) struct Downsample {
    conv: Conv2d,
}

impl Downsample {
    /// With a row or column of zeros on every side, as the UNet does it: h to ⌈h/2⌉.
    pub(crate) fn load(weights: &Weights, channels: usize) -> Result<Self> {
        Self::with_padding(weights, channels, Padding::same(1))
    }

    /// With zeros on the right and below only, as the VAE's encoder does it: h to ⌊h/2⌋.
    pub(crate) fn load_asymmetric(weights: &Weights, channels: usize) -> Result<Self> {
        Self::with_padding(weights, channels, Padding { top: 0, left: 0, bottom: 1, right: 1 })
    }

    fn with_padding(weights: &Weights, channels: usize, padding: Padding) -> Result<Self> {
        let sizes = ConvSizes { in_channels: channels, out_channels: channels, kernel: 3 };
        Ok(Self { conv: conv2d(&weights.pp("conv"), sizes, Conv2dOptions { stride: 2, padding })? })
    }

    pub(crate) fn forward(&self, x: &Tensor) -> sinopia_nn::Result<Tensor> {
        self.conv.forward(x)
    }

    /// The same of an image in bands, by a layer that was loaded by [`load_asymmetric`](Self::load_asymmetric).
    pub(crate) fn forward_bands(&self, x: Bands) -> sinopia_nn::Result<Bands> {
        x.downsample(&self.conv)
    }
}

/// Enlarges the grid by repeating pixels, then smooths by a 3×3 convolution.
#[derive(Debug, Clone)]
pub(crate) struct Upsample {
    conv: Conv2d,
}

impl Upsample {
    pub(crate) fn load(weights: &Weights, channels: usize) -> Result<Self> {
        Ok(Self { conv: conv3x3(&weights.pp("conv"), channels, channels)? })
    }

    /// (B, H, W, C) to (B, 2H, 2W, C).
    pub(crate) fn forward(&self, x: &Tensor) -> sinopia_nn::Result<Tensor> {
        self.conv.forward(&upsample::nearest_2x(x)?)
    }

    /// The same of an image in bands.
    pub(crate) fn forward_bands(&self, x: Bands) -> sinopia_nn::Result<Bands> {
        x.upsample(&self.conv)
    }

    /// (B, H, W, C) to (B, h, w, C), where an odd grid was rounded up on its way down.
    pub(crate) fn forward_to(&self, x: &Tensor, h: usize, w: usize) -> sinopia_nn::Result<Tensor> {
        self.conv.forward(&upsample::nearest_to(x, h, w)?)
    }
}
