//! How much memory weights and pictures take, and how much there is.

use sinopia_models::unet::TRACE_BYTES;

use super::OpenedModel;
use crate::{Compute, PrecisionChoice};

/// Numbers that a picture under way holds at its peak, for each of its pixels and channels of the autoencoder's finest layer. Measured with Stable
/// Diffusion 1.5's networks at 512 × 512 pixels: a second picture takes 1.35 GB (10) when it is decoded. A method that
/// guides keeps traces besides, up to [`TRACE_BYTES`].
const NUMBERS_PER_PIXEL_AND_CHANNEL: usize = 14;

/// What the memory of a picture goes by.
#[derive(Debug, Clone, Copy)]
pub struct PictureMemory {
    /// Pixels.
    pub width: usize,
    /// Pixels.
    pub height: usize,
    /// Channels of the autoencoder's finest layer.
    pub finest_channels: usize,
    /// Whether the method guides by gradients, which keeps traces.
    pub is_guided: bool,
}

impl PictureMemory {
    /// Bytes that the picture holds at its peak, beside the weights.
    pub fn bytes(&self) -> usize {
        let numbers = self.width * self.height * self.finest_channels * NUMBERS_PER_PIXEL_AND_CHANNEL;
        let forward = numbers * size_of::<f32>();
        forward + if self.is_guided { TRACE_BYTES.min(forward) } else { 0 }
    }
}

/// Bytes that the weights of a model take in memory.
pub fn weight_bytes(opened: &OpenedModel, compute: Compute) -> u64 {
    let checkpoint = opened.checkpoint();
    let weights = [&checkpoint.text_encoder.weights, &checkpoint.unet.weights, &checkpoint.vae.weights];
    let numbers: u64 = weights.iter().map(|weights| weights.num_parameters()).sum();
    numbers * if compute.precision.resolved() == PrecisionChoice::Bf16 { 2 } else { 4 }
}

/// Bytes that the system could give to programs now, where it tells.
pub fn available_bytes() -> Option<usize> {
    kilobytes("/proc/meminfo", "MemAvailable:")
}

/// Bytes that this process holds, 0 where nobody tells.
pub fn resident_bytes() -> usize {
    kilobytes("/proc/self/status", "VmRSS:").unwrap_or(0)
}

fn kilobytes(file: &str, label: &str) -> Option<usize> {
    let text = std::fs::read_to_string(file).ok()?;
    let line = text.lines().find(|line| line.starts_with(label))?;
    line.split_whitespace().nth(1)?.parse::<usize>().ok()?.checked_mul(1024)
}
