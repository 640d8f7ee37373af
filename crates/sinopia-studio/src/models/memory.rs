//! How much memory weights and pictures take, and how much there is.

use sinopia_models::Weights;
use sinopia_models::unet::TRACE_BYTES;
use sinopia_models::weights::InBlocks;

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
    let (unet, others) = match compute.precision.resolved() {
        PrecisionChoice::Bf16 => (Each::Bytes(2), Each::Bytes(2)),
        PrecisionChoice::Int8 => (Each::Bytes(1), Each::Stored),
        PrecisionChoice::F32 => (Each::Bytes(4), Each::Bytes(4)),
        PrecisionChoice::Auto | PrecisionChoice::Stored => (Each::Stored, Each::Stored),
    };
    let around_the_unet = [&checkpoint.text_encoder.weights, &checkpoint.vae.weights];
    let around_the_unet: u64 = around_the_unet.iter().map(|weights| network_bytes(weights, others)).sum();
    network_bytes(&checkpoint.unet.weights, unet) + around_the_unet
}

/// How wide a number is in memory.
#[derive(Debug, Clone, Copy)]
enum Each {
    /// So many bytes.
    Bytes(u64),
    /// As in its file: 2 bytes, or 4.
    Stored,
}

/// Bytes of a network's weights, those in blocks as they are.
fn network_bytes(weights: &Weights, each: Each) -> u64 {
    let blocks = if weights.keeps_blocks() { weights.in_blocks() } else { InBlocks::default() };
    let others = weights.num_parameters() - blocks.parameters;
    match each {
        Each::Bytes(each) => others * each + blocks.bytes,
        Each::Stored => others * 4 - 2 * numbers_of_16_bits(weights) + blocks.bytes,
    }
}

/// How many numbers of a network's file are f16 or bf16.
fn numbers_of_16_bits(weights: &Weights) -> u64 {
    let is_short = |name: &&String| matches!(weights.format(name).as_deref(), Some("F16" | "BF16"));
    let numbers = |name: &String| weights.shape(name).map(|shape| shape.iter().product::<usize>() as u64);
    weights.names().iter().filter(is_short).filter_map(numbers).sum()
}

/// Bytes that the system could give to programs now, where it tells.
pub fn available_bytes() -> Option<usize> {
    kilobytes("/proc/meminfo", "MemAvailable:")
}

/// Bytes that this process holds, 0 where nobody tells.
pub fn resident_bytes() -> usize {
    kilobytes("/proc/self/status", "VmRSS:").unwrap_or(0)
}

/// The most bytes that this process held at once, where the system tells.
pub fn peak_bytes() -> Option<usize> {
    // What other systems tell counts, on Linux, the program too that started this one.
    kilobytes("/proc/self/status", "VmHWM:").or_else(sinopia_nn::memory::peak_bytes)
}

/// Bytes of this machine, where it tells.
pub fn total_bytes() -> Option<usize> {
    kilobytes("/proc/meminfo", "MemTotal:")
}

fn kilobytes(file: &str, label: &str) -> Option<usize> {
    let text = std::fs::read_to_string(file).ok()?;
    let line = text.lines().find(|line| line.starts_with(label))?;
    line.split_whitespace().nth(1)?.parse::<usize>().ok()?.checked_mul(1024)
}
