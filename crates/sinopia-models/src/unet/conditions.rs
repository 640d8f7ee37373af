//! What all units of a pass share.

use candle_core::Tensor;
use sinopia_layout::Grid;

use super::request::{Plan, TextConditioning};
use super::{Eraser, Grounding};

/// What is the same for all units of a pass; constant under differentiation.
#[derive(Debug)]
pub(super) struct Conditions<'a> {
    /// (1, T), or (B, T) where it differs from picture to picture; activated.
    pub(super) time: Tensor,
    pub(super) text: &'a TextConditioning,
    /// Grounding tokens (B, N, D) and what they were made of.
    pub(super) grounding: Option<(Tensor, &'a Grounding)>,
    pub(super) plan: &'a Plan<'a>,
    /// How self-attention on the latents' own grid merges keys and values.
    pub(super) merging: Option<Windows>,
    /// What the decoder's self-attention does not see.
    pub(super) eraser: Option<&'a Eraser>,
}

/// Square windows that divide a grid.
#[derive(Debug, Clone, Copy)]
pub(super) struct Windows {
    grid: Grid,
    side: usize,
}

impl Windows {
    /// `None` if there is nothing to merge, or windows of this side do not divide the grid.
    pub(super) fn new(grid: Grid, side: usize) -> Option<Self> {
        let divides = side > 1 && grid.height.is_multiple_of(side) && grid.width.is_multiple_of(side);
        divides.then_some(Self { grid, side })
    }

    /// The windows' means (B, HW / side², C) of pixels (B, HW, C) if they are on this grid, else the pixels.
    pub(super) fn merge(&self, pixels: &Tensor) -> sinopia_nn::Result<Tensor> {
        let (b, cells, c) = pixels.dims3()?;
        let (Grid { height: h, width: w }, side) = (self.grid, self.side);
        if cells != h * w {
            return Ok(pixels.clone());
        }
        let rows = pixels.reshape((b * h / side, side, w * c))?.mean(1)?; // (B · H / side, WC)
        let windows = rows.reshape((b * h / side * (w / side), side, c))?.mean(1)?;
        Ok(windows.reshape((b, cells / (side * side), c))?)
    }
}
