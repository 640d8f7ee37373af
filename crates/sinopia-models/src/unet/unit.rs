//! The smallest parts that a UNet is run, differentiated and counted in.

use candle_core::Tensor;
use sinopia_nn::{Conv2d, GroupNorm};

use super::request::{Plan, TextConditioning};
use super::transformer::{Outcome, SpatialTransformer};
use super::{AttnKey, Grounding};
use crate::resnet::{Downsample, ResnetBlock, Upsample};

/// One step of the walk through a UNet.
#[derive(Debug, Clone)]
pub(super) struct Unit {
    pub(super) kind: UnitKind,
    /// Whether its input is joined, along the channels, with the last image on the stack of skip connections.
    pub(super) takes_skip: bool,
    /// Whether its output is put on that stack.
    pub(super) keeps_skip: bool,
}

/// What a unit computes.
#[derive(Debug, Clone)]
pub(super) enum UnitKind {
    ConvIn(Conv2d),
    Resnet(Box<ResnetBlock>),
    Transformer(Box<SpatialTransformer>),
    Downsample(Downsample),
    Upsample(Upsample),
    Out { norm: GroupNorm, conv: Conv2d },
}

/// What all units of a pass share; constant under differentiation.
#[derive(Debug)]
pub(super) struct Conditions<'a> {
    /// (1, T), activated.
    pub(super) time: Tensor,
    pub(super) text: &'a TextConditioning,
    /// Grounding tokens (B, N, D) and what they were made of.
    pub(super) grounding: Option<(Tensor, &'a Grounding)>,
    pub(super) plan: &'a Plan<'a>,
    /// How self-attention on the latents' own grid merges what is looked at.
    pub(super) merging: Option<Windows>,
}

/// Square windows that divide a grid.
#[derive(Debug, Clone, Copy)]
pub(super) struct Windows {
    grid: (usize, usize),
    side: usize,
}

impl Windows {
    /// `None` if there is nothing to merge, or windows of this side do not divide the grid.
    pub(super) fn new(grid: (usize, usize), side: usize) -> Option<Self> {
        let divides = side > 1 && grid.0.is_multiple_of(side) && grid.1.is_multiple_of(side);
        divides.then_some(Self { grid, side })
    }

    /// The windows' means (B, HW / side², C) of pixels (B, HW, C) if they are on this grid, else the pixels.
    pub(super) fn merge(&self, pixels: &Tensor) -> sinopia_nn::Result<Tensor> {
        let (b, cells, c) = pixels.dims3()?;
        let ((h, w), side) = (self.grid, self.side);
        if cells != h * w {
            return Ok(pixels.clone());
        }
        let rows = pixels.reshape((b * h / side, side, w * c))?.mean(1)?; // (B · H / side, WC)
        let windows = rows.reshape((b * h / side * (w / side), side, c))?.mean(1)?;
        Ok(windows.reshape((b, cells / (side * side), c))?)
    }
}

impl Unit {
    /// The cross-attention layers in it.
    pub(super) fn keys(&self) -> Vec<AttnKey> {
        match &self.kind {
            UnitKind::Transformer(transformer) => transformer.keys().collect(),
            _ => Vec::new(),
        }
    }

    /// Roughly the numbers that lie between an input of `input` numbers and the output, and are needed for a gradient.
    pub(super) fn kept_between(&self, input: usize) -> usize {
        match &self.kind {
            // Norms, projections and their inputs (6), self-attention (5), cross-attention (4), feed-forward (4 × 3 + 3).
            UnitKind::Transformer(transformer) => (6 + 24 * transformer.keys().count()) * input,
            UnitKind::Resnet(_) => 5 * input,
            UnitKind::Upsample(_) => 8 * input,
            UnitKind::ConvIn(_) | UnitKind::Downsample(_) | UnitKind::Out { .. } => 2 * input,
        }
    }

    /// Applies the unit to its one or two inputs; `skip_grid` is the grid of the next skip connection, which upsampling aims at.
    pub(super) fn forward(
        &self,
        inputs: &[Tensor],
        skip_grid: Option<(usize, usize)>,
        conditions: &Conditions,
    ) -> sinopia_nn::Result<Outcome> {
        let joined;
        let x = match inputs {
            [x] => x,
            _ => {
                joined = Tensor::cat(inputs, 3)?; // (B, H, W, C + C')
                &joined
            }
        };
        let hidden = match &self.kind {
            UnitKind::ConvIn(conv) => conv.forward(x)?,
            UnitKind::Resnet(resnet) => resnet.forward(x, Some(&conditions.time))?,
            UnitKind::Transformer(transformer) => return transformer.forward(x, conditions),
            UnitKind::Downsample(downsample) => downsample.forward(x)?,
            UnitKind::Upsample(upsample) => match skip_grid {
                Some(grid) => upsample.forward_to(x, grid)?,
                None => upsample.forward(x)?,
            },
            UnitKind::Out { norm, conv } => conv.forward(&norm.forward_silu(x)?)?,
        };
        Ok(Outcome { hidden: Some(hidden), maps: Vec::new() })
    }
}
