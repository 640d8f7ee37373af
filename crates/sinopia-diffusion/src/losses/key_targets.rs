//! Columns of recorded attention with a mask and a share of the loss each, on one layer's grid.

use candle_core::{Device, Tensor};
use sinopia_layout::{Grid, GridMask};
use sinopia_models::unet::AttnKey;

use super::{AttentionMaps, map_of};
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

impl KeyTargets {
    /// One mask on `grid` for each column and share.
    pub(super) fn new(
        (key, grid): (AttnKey, Grid),
        columns: &[u32],
        masks: impl Iterator<Item = GridMask>,
        shares: &[f32],
        device: &Device,
    ) -> Result<Self> {
        let masks: Vec<f32> = masks.flat_map(|mask| mask.to_f32()).collect();
        let masks = Tensor::from_vec(masks, (columns.len(), grid.cells()), device)?; // (N, HW)
        Ok(Self {
            key,
            num_cells: grid.cells(),
            columns: Tensor::from_slice(columns, columns.len(), device)?,
            masks: masks.t()?.contiguous()?.unsqueeze(0)?,
            shares: Tensor::from_slice(shares, shares.len(), device)?,
        })
    }

    /// The columns of this key's map, of which `num_columns` were recorded: (heads, HW, N).
    pub(super) fn attention(&self, maps: &AttentionMaps, num_columns: usize) -> Result<Tensor> {
        let map = map_of(maps, self.key, (self.num_cells, num_columns))?; // (heads, HW, L')
        Ok(map.contiguous()?.index_select(&self.columns, 2)?)
    }
}

/// A loss of 0 on the device of some targets, to add to.
pub(super) fn no_loss(keys: &[KeyTargets]) -> Result<Tensor> {
    Ok(Tensor::new(0f32, keys.first().map_or(&Device::Cpu, |key| key.masks.device()))?)
}
