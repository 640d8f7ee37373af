//! The layers of `sinopia-nn`, filled from a checkpoint. Each asks for its tensors by the names and shapes that checkpoints have.

use sinopia_nn::{Conv2d, Conv2dOptions, GroupNorm, LayerNorm, Linear, Padding};

use crate::{Result, Weights};

/// `weight` (out, in) and `bias` (out).
pub(crate) fn linear(weights: &Weights, in_features: usize, out_features: usize) -> Result<Linear> {
    let bias = weights.get("bias", &[out_features])?;
    weights.linear("weight", [out_features, in_features], Some(&bias))
}

/// `weight` (out, in) alone.
pub(crate) fn linear_no_bias(weights: &Weights, in_features: usize, out_features: usize) -> Result<Linear> {
    weights.linear("weight", [out_features, in_features], None)
}

/// What the weight of a convolution is like.
#[derive(Debug, Clone, Copy)]
pub(crate) struct ConvSizes {
    pub(crate) in_channels: usize,
    pub(crate) out_channels: usize,
    /// The side of the square kernel.
    pub(crate) kernel: usize,
}

/// `weight` (out, in, kernel, kernel) and `bias` (out).
pub(crate) fn conv2d(weights: &Weights, sizes: ConvSizes, options: Conv2dOptions) -> Result<Conv2d> {
    let ConvSizes { in_channels, out_channels, kernel } = sizes;
    let bias = weights.get("bias", &[out_channels])?;
    weights.conv2d("weight", [out_channels, in_channels, kernel, kernel], Some(&bias), options)
}

/// A 3×3 convolution that keeps the grid.
pub(crate) fn conv3x3(weights: &Weights, in_channels: usize, out_channels: usize) -> Result<Conv2d> {
    conv2d(
        weights,
        ConvSizes { in_channels, out_channels, kernel: 3 },
        Conv2dOptions { stride: 1, padding: Padding::same(1) },
    )
}

/// A 1×1 convolution.
pub(crate) fn conv1x1(weights: &Weights, in_channels: usize, out_channels: usize) -> Result<Conv2d> {
    conv2d(weights, ConvSizes { in_channels, out_channels, kernel: 1 }, Conv2dOptions::default())
}

/// `weight` and `bias` (channels).
pub(crate) fn group_norm(weights: &Weights, channels: usize, num_groups: usize, eps: f64) -> Result<GroupNorm> {
    Ok(GroupNorm::new(&weights.get("weight", &[channels])?, &weights.get("bias", &[channels])?, num_groups, eps)?)
}

/// `weight` and `bias` (width).
pub(crate) fn layer_norm(weights: &Weights, width: usize, eps: f64) -> Result<LayerNorm> {
    Ok(LayerNorm::new(&weights.get("weight", &[width])?, &weights.get("bias", &[width])?, eps)?)
}
