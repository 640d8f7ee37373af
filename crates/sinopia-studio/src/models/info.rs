//! What is known of a model before it is loaded.

use sinopia_diffusion::ImageSize;

use super::{OpenedModel, memory};
use crate::Compute;

/// What is known of a model before it is loaded.
#[derive(Debug, Clone, PartialEq)]
pub struct ModelInfo {
    /// Its name, with the edition of its weights.
    pub name: String,
    /// The size that it was trained for, (width, height) in pixels.
    pub native_size: (u32, u32),
    /// Pixels to a latent cell: what sides are multiples of.
    pub multiple: u32,
    /// Bytes of its weights in memory.
    pub weight_bytes: u64,
    /// Whether it has GLIGEN's grounding adapters.
    pub has_grounding_adapters: bool,
    /// Channels of its autoencoder's finest layer.
    finest_channels: usize,
}

impl ModelInfo {
    /// What the files of a model say of it.
    pub fn new(opened: &OpenedModel, compute: Compute) -> Self {
        let ImageSize { width, height } = opened.native_size();
        Self {
            name: opened.name().to_owned(),
            native_size: (width as u32, height as u32),
            multiple: opened.multiple() as u32,
            weight_bytes: memory::weight_bytes(opened, compute),
            has_grounding_adapters: opened.has_grounding_adapters(),
            finest_channels: opened.checkpoint().vae.config.block_out_channels.first().copied().unwrap_or(1),
        }
    }

    /// Bytes that a picture takes at its peak, beside the weights.
    pub fn picture_bytes(&self, width: u32, height: u32) -> u64 {
        let picture = memory::PictureMemory {
            width: width as usize,
            height: height as usize,
            finest_channels: self.finest_channels,
            is_guided: true,
        };
        picture.bytes() as u64
    }
}
