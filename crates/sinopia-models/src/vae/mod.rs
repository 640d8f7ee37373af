//! The autoencoder between images and latents: Stable Diffusion's `AutoencoderKL`, built from its `config.json`.
//!
//! Images are (B, H, W, 3) f32 in −1..=1, latents (B, h, w, C) f32, both channels-last.

mod blocks;
mod config;
#[cfg(test)]
mod tests;
mod tiling;

pub use config::VaeConfig;
pub use tiling::Tiling;

use candle_core::{DType, Tensor};
use sinopia_nn::Conv2d;

use crate::layers::conv1x1;
use crate::{CancellationToken, Error, Result, Weights};
use blocks::{Decoder, Encoder};
use tiling::TileBlend;

/// Log variances outside this range are clamped, as in training.
const LOGVAR_RANGE: (f64, f64) = (-30.0, 20.0);

/// What the encoder knows about an image's latents: a normal distribution for each cell. Not scaled.
#[derive(Debug, Clone)]
pub struct Posterior {
    /// (B, h, w, C)
    pub mean: Tensor,
    /// (B, h, w, C), in −30..=20.
    pub logvar: Tensor,
}

impl Posterior {
    /// `mean + exp(logvar / 2) · noise`, with standard normal `noise` (B, h, w, C).
    ///
    /// # Errors
    /// If the noise has another shape.
    pub fn sample(&self, noise: &Tensor) -> Result<Tensor> {
        let deviation = (&self.logvar * 0.5)?.exp()?;
        Ok((&self.mean + (deviation * noise)?)?)
    }
}

/// The autoencoder with frozen weights.
#[derive(Debug, Clone)]
pub struct AutoencoderKl {
    config: VaeConfig,
    encoder: Encoder,
    decoder: Decoder,
    quant_conv: Option<Conv2d>,
    post_quant_conv: Option<Conv2d>,
    tiling: Tiling,
}

impl AutoencoderKl {
    /// Builds the autoencoder that `config` describes, with the default [`Tiling`].
    ///
    /// # Errors
    /// [`Error::Config`] if the architecture is not supported, and those of [`Weights::get`].
    pub fn load(config: &VaeConfig, weights: &Weights) -> Result<Self> {
        config.validate()?;
        let conv = |wanted: bool, name: &str, channels: usize| {
            wanted.then(|| conv1x1(&weights.pp(name), channels, channels)).transpose()
        };
        let channels = config.latent_channels;
        Ok(Self {
            encoder: Encoder::load(config, &weights.pp("encoder"))?,
            decoder: Decoder::load(config, &weights.pp("decoder"))?,
            quant_conv: conv(config.use_quant_conv, "quant_conv", 2 * channels)?,
            post_quant_conv: conv(config.use_post_quant_conv, "post_quant_conv", channels)?,
            tiling: Tiling::default(),
            config: config.clone(),
        })
    }

    /// The same autoencoder with other rules for large images.
    ///
    /// # Errors
    /// [`Error::Input`] if tiles would overlap by half or more.
    pub fn with_tiling(self, tiling: Tiling) -> Result<Self> {
        tiling.validate()?;
        Ok(Self { tiling, ..self })
    }

    /// What the autoencoder was built from.
    pub fn config(&self) -> &VaeConfig {
        &self.config
    }

    /// Pixels to a latent cell, along each axis.
    pub fn scale_factor(&self) -> usize {
        self.config.scale_factor()
    }

    /// The distribution of an image's latents; [`scale`](Self::scale) what is drawn from it before giving it to a UNet.
    ///
    /// # Errors
    /// [`Error::Input`] if the image is not (B, H, W, 3) with sides that [`scale_factor`](Self::scale_factor) divides.
    pub fn encode(&self, image: &Tensor) -> Result<Posterior> {
        self.encode_cancellable(image, None)
    }

    /// The same, given up between two layers if it is cancelled.
    ///
    /// # Errors
    /// As [`encode`](Self::encode); [`Error::Cancelled`].
    pub fn encode_cancellable(&self, image: &Tensor, cancellation: Option<&CancellationToken>) -> Result<Posterior> {
        let factor = self.scale_factor();
        let fits = matches!(*image.dims(), [b, h, w, c]
            if b > 0 && h > 0 && w > 0 && h % factor == 0 && w % factor == 0 && c == self.config.in_channels);
        if !fits || image.dtype() != DType::F32 {
            return Err(Error::Input {
                what: "the image to encode",
                expected: format!(
                    "(batch, height, width, {}) F32, sides divisible by {factor}",
                    self.config.in_channels
                ),
                found: format!("{:?} {:?}", image.dims(), image.dtype()),
            });
        }
        let moments = self.encoder.forward(image, cancellation)?; // (B, h, w, 2C)
        let moments = match &self.quant_conv {
            Some(conv) => conv.forward(&moments)?,
            None => moments,
        };
        let channels = self.config.latent_channels;
        let (low, high) = LOGVAR_RANGE;
        Ok(Posterior {
            mean: moments.narrow(3, 0, channels)?.contiguous()?,
            logvar: moments.narrow(3, channels, channels)?.contiguous()?.clamp(low, high)?,
        })
    }

    /// The image (B, H, W, 3) of scaled latents (B, h, w, C); close to −1..=1 but not clamped.
    ///
    /// Latents larger than [`Tiling::above`] are decoded in tiles.
    ///
    /// # Errors
    /// [`Error::Input`] if the latents have the wrong shape.
    pub fn decode(&self, latents: &Tensor) -> Result<Tensor> {
        self.decode_cancellable(latents, None)
    }

    /// The same, given up between two layers (of a tile, where there are tiles) if it is cancelled.
    ///
    /// # Errors
    /// As [`decode`](Self::decode); [`Error::Cancelled`].
    pub fn decode_cancellable(&self, latents: &Tensor, cancellation: Option<&CancellationToken>) -> Result<Tensor> {
        let channels = self.config.latent_channels;
        let (h, w) = match *latents.dims() {
            [b, h, w, c] if b > 0 && h > 0 && w > 0 && c == channels && latents.dtype() == DType::F32 => (h, w),
            _ => {
                return Err(Error::Input {
                    what: "the latents to decode",
                    expected: format!("(batch, height, width, {channels}) F32"),
                    found: format!("{:?} {:?}", latents.dims(), latents.dtype()),
                });
            }
        };
        let latents = self.unscale(latents)?;
        if self.tiling.applies(h, w) {
            self.decode_tiles(&latents, cancellation)
        } else {
            self.decode_whole(&latents, cancellation)
        }
    }

    /// To the UNet's units: `z · scaling_factor`.
    ///
    /// # Errors
    /// When the device has no room.
    pub fn scale(&self, latents: &Tensor) -> Result<Tensor> {
        Ok(latents.broadcast_mul(&self.scaling_factor(latents)?)?)
    }

    /// Back from the UNet's units.
    ///
    /// # Errors
    /// As [`scale`](Self::scale).
    pub fn unscale(&self, latents: &Tensor) -> Result<Tensor> {
        Ok(latents.broadcast_div(&self.scaling_factor(latents)?)?)
    }

    /// As a tensor: division by a number would be a multiplication by its inverse, which rounds otherwise.
    fn scaling_factor(&self, latents: &Tensor) -> Result<Tensor> {
        Ok(Tensor::new(self.config.scaling_factor as f32, latents.device())?)
    }

    /// (B, h, w, C), not scaled, to (B, H, W, 3).
    fn decode_whole(&self, latents: &Tensor, cancellation: Option<&CancellationToken>) -> Result<Tensor> {
        match &self.post_quant_conv {
            Some(conv) => self.decoder.forward(&conv.forward(latents)?, cancellation),
            None => self.decoder.forward(latents, cancellation),
        }
    }

    fn decode_tiles(&self, latents: &Tensor, cancellation: Option<&CancellationToken>) -> Result<Tensor> {
        let (_, h, w, _) = latents.dims4()?;
        let (rows, columns) = (self.tiling.spans(h), self.tiling.spans(w));
        let mut blend = TileBlend::new(rows.clone(), columns.clone(), self.scale_factor());
        for (row, row_span) in rows.iter().enumerate() {
            let strip = latents.narrow(1, row_span.start, row_span.len)?;
            for (column, column_span) in columns.iter().enumerate() {
                let tile = strip.narrow(2, column_span.start, column_span.len)?.contiguous()?;
                blend.add(row, column, &self.decode_whole(&tile, cancellation)?)?;
            }
        }
        // A grid has at least one tile.
        blend.finish().map_or_else(|| self.decode_whole(latents, cancellation), Ok)
    }
}
