//! Columns of recorded attention with a mask and a share of the loss each, on one layer's grid.

use candle_core::{Device, Tensor};
use sinopia_layout::{Grid, GridMask};
use sinopia_models::denoiser::{AttnKey, AttnMaps};

use super::{MapShape, map_of};
use crate::Result;

/// N columns of one key's map, and what is wanted of them.
#[derive(Debug)]
pub(super) struct KeyTargets {
    pub(super) key: AttnKey,
    num_cells: usize,
    /// (N)
    columns: Tensor,
    /// (1, HW, N)
    pub(super) masks: Tensor,
    /// (N)
    pub(super) shares: Tensor,
}

/// Columns of a map, the same for all keys, and their shares of the loss.
#[derive(Debug)]
pub(super) struct ColumnTargets {
    pub(super) columns: Vec<u32>,
    pub(super) shares: Vec<f32>,
}

impl KeyTargets {
    /// One mask on the grid of `key` for each column.
    pub(super) fn new(
        key: AttnKey,
        grid: Grid,
        targets: &ColumnTargets,
        masks: impl Iterator<Item = GridMask>,
        device: &Device,
    ) -> Result<Self> {
        let ColumnTargets { columns, shares } = targets;
        let masks: Vec<f32> = masks.flat_map(|mask| mask.to_f32()).collect();
        let masks = Tensor::from_vec(masks, (columns.len(), grid.cells()), device)?; // (N, HW)
        Ok(Self {
            key,
            num_cells: grid.cells(),
            columns: Tensor::from_slice(columns.as_slice(), columns.len(), device)?,
            masks: masks.t()?.contiguous()?.unsqueeze(0)?,
            shares: Tensor::from_slice(shares.as_slice(), shares.len(), device)?,
        })
    }

    /// The columns of this key's map, of which `num_columns` were recorded: (heads, HW, N).
    pub(super) fn attention(&self, maps: &AttnMaps, num_columns: usize) -> Result<Tensor> {
        let map = map_of(maps, self.key, MapShape { cells: self.num_cells, columns: num_columns })?; // (heads, HW, L')
        Ok(map.contiguous()?.index_select(&self.columns, 2)?)
    }
}
