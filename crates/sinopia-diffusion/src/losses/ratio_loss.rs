//! The loss of Backward Guidance: the share of a token's attention that lies inside its boxes should be all of it.

use candle_core::{Device, Tensor};
use sinopia_layout::{Grid, GridMask, GridRounding};
use sinopia_models::denoiser::{AttnKey, AttnMaps};

use super::key_targets::{ColumnTargets, KeyTargets};
use super::{GroundedTokens, GuidanceLoss, KeyGrids, TokenSet, no_loss};
use crate::Result;

/// Far below any sum of probabilities over a map, so it changes none; a token that no cell attends to has no share rather than 0/0.
const TINY: f64 = 1e-20;

/// The ratio loss.
///
/// `L = 1/(O·K) Σ_k Σ_o 1/|P_o| Σ_{j∈P_o} mean_h (1 − Σ(a·M)/Σa)²` with `a = A^k_h[:, j]`, sums over cells and M the union of object o's boxes on
/// key k's grid. In 0..=1. Heads are averaged, so constants hold for any number of them. An object without cells (small boxes under
/// [`GridRounding::Published`]) adds a constant and no gradient.
///
/// # Source
/// Chen et al. 2023, arXiv 2304.03373; silent-chen/layout-guidance@50fcf75; TonyLianLong/LLM-groundedDiffusion@cef2a90:utils/guidance.py.
#[derive(Debug)]
pub struct RatioLoss {
    /// A column for each token of each object, its mask the object's.
    keys: Vec<KeyTargets>,
    num_columns: usize,
}

impl RatioLoss {
    /// A loss on the maps of `grids`' keys, recorded at the columns of `tokens`.
    ///
    /// # Errors
    /// When the device has no room.
    pub fn new(
        objects: &[GroundedTokens],
        tokens: &TokenSet,
        grids: &KeyGrids,
        rounding: GridRounding,
        device: &Device,
    ) -> Result<Self> {
        let of_tokens = || objects.iter().flat_map(|object| object.positions.iter().map(move |j| (object, *j)));
        let columns: Vec<u32> = of_tokens().filter_map(|(_, j)| tokens.column(j)).map(|column| column as u32).collect();
        let share = 1.0 / (objects.len().max(1) * grids.len().max(1)) as f64;
        let shares: Vec<f32> = of_tokens().map(|(object, _)| (share / object.positions.len() as f64) as f32).collect();
        let targets = ColumnTargets { columns, shares };
        let of_key = |(key, grid): (&AttnKey, &Grid)| {
            let masks = of_tokens().map(|(object, _)| GridMask::from_bboxes(&object.bboxes, *grid, rounding));
            KeyTargets::new(*key, *grid, &targets, masks, device)
        };
        let keys = match targets.shares.is_empty() {
            true => Vec::new(),
            false => grids.iter().map(of_key).collect::<Result<Vec<_>>>()?,
        };
        Ok(Self { keys, num_columns: tokens.len() })
    }
}

impl GuidanceLoss for RatioLoss {
    fn loss(&self, _index: usize, maps: &AttnMaps) -> Result<Tensor> {
        let mut sum = no_loss(maps)?;
        for targets in &self.keys {
            let attention = targets.attention(maps, self.num_columns)?; // (heads, HW, T)
            let inside = attention.broadcast_mul(&targets.masks)?.sum(1)?; // (heads, T)
            let outside_share = (inside / (attention.sum(1)? + TINY)?)?.affine(-1.0, 1.0)?;
            let of_tokens = outside_share.sqr()?.mean(0)?; // (T)
            sum = (sum + (of_tokens * &targets.shares)?.sum_all()?)?;
        }
        Ok(sum)
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use candle_core::Var;
    use sinopia_layout::BBox;

    use super::*;

    const KEY: AttnKey = AttnKey::mid(0);

    fn object(bbox: (f64, f64, f64, f64), positions: &[usize]) -> GroundedTokens {
        let bboxes = vec![BBox::new(bbox.0, bbox.1, bbox.2, bbox.3).unwrap()];
        let word = positions[positions.len() - 1];
        GroundedTokens { phrase: "it".to_owned(), positions: positions.to_vec(), word, bboxes }
    }

    fn loss_of(objects: &[GroundedTokens], grid: Grid, rounding: GridRounding) -> RatioLoss {
        let grids = BTreeMap::from([(KEY, grid)]);
        RatioLoss::new(objects, &TokenSet::of(objects), &grids, rounding, &Device::Cpu).unwrap()
    }

    /// The loss of a map (1, heads, HW, L') from its values.
    fn value(loss: &RatioLoss, values: &[f32], heads: usize, columns: usize) -> f32 {
        let map = Tensor::from_slice(values, (1, heads, values.len() / heads / columns, columns), &Device::Cpu);
        loss.loss(0, &BTreeMap::from([(KEY, map.unwrap())])).unwrap().to_scalar::<f32>().unwrap()
    }

    #[test]
    fn it_is_the_squared_share_of_attention_outside() {
        let loss = loss_of(&[object((0.0, 0.0, 0.5, 1.0), &[4])], Grid::new(2, 2), GridRounding::default());
        assert!((value(&loss, &[0.25; 4], 1, 1) - 0.25).abs() < 1e-6);
        assert!(value(&loss, &[0.3, 0.0, 0.1, 0.0], 1, 1).abs() < 1e-6);
        assert!((value(&loss, &[0.0, 0.3, 0.0, 0.1], 1, 1) - 1.0).abs() < 1e-6);
        // Heads are averaged: shares 0 and 1.
        assert!((value(&loss, &[0.0, 0.3, 0.0, 0.1, 0.2, 0.0, 0.2, 0.0], 2, 1) - 0.5).abs() < 1e-6);
    }

    #[test]
    fn tokens_count_within_their_object_and_objects_alike() {
        let objects = [object((0.0, 0.0, 0.5, 1.0), &[1, 2, 3]), object((0.0, 0.0, 1.0, 1.0), &[5])];
        let loss = loss_of(&objects, Grid::new(1, 2), GridRounding::default());
        // Cells × columns: the first object's tokens have half their attention outside, the second's box is everything.
        assert!((value(&loss, &[0.5; 8], 1, 4) - 0.25 / 2.0).abs() < 1e-6);
    }

    #[test]
    fn a_box_that_vanishes_has_a_cell_unless_as_published() {
        let objects = [object((0.3, 0.3, 0.31, 0.31), &[1])];
        let mut cells = [0.0; 16];
        cells[5] = 1.0;
        assert!(value(&loss_of(&objects, Grid::new(4, 4), GridRounding::default()), &cells, 1, 1).abs() < 1e-6);
        let published = loss_of(&objects, Grid::new(4, 4), GridRounding::Published);
        assert!((value(&published, &cells, 1, 1) - 1.0).abs() < 1e-6);
    }

    #[test]
    fn no_attention_at_all_is_no_fault() {
        let loss = loss_of(&[object((0.0, 0.0, 0.5, 1.0), &[4])], Grid::new(2, 2), GridRounding::default());
        assert_eq!(value(&loss, &[0.0; 4], 1, 1), 1.0);
        assert_eq!(value(&loss_of(&[], Grid::new(2, 2), GridRounding::default()), &[0.0; 4], 1, 1), 0.0);
    }

    #[test]
    fn the_gradient_is_that_of_finite_differences() -> Result<()> {
        let objects = [object((0.1, 0.2, 0.6, 0.7), &[2, 3]), object((0.5, 0.5, 1.0, 1.0), &[5])];
        let loss = loss_of(&objects, Grid::new(5, 6), GridRounding::default());
        let values: Vec<f32> = (0..2 * 30 * 3).map(|i| ((i * 77) % 180 + 20) as f32 / 180.0).collect();
        let map = Var::from_vec(values.clone(), (1, 2, 30, 3), &Device::Cpu)?;
        let tracked = loss.loss(0, &BTreeMap::from([(KEY, map.as_tensor().clone())]))?;
        let gradient = tracked.backward()?.get(&map).unwrap().flatten_all()?.to_vec1::<f32>()?;
        let largest = gradient.iter().fold(0f32, |largest, x| largest.max(x.abs()));
        let step = 1e-2;
        for i in (0..values.len()).step_by(7) {
            let at = |delta: f32| {
                let mut values = values.clone();
                values[i] += delta;
                value(&loss, &values, 2, 3)
            };
            let numeric = (at(step) - at(-step)) / (2.0 * step);
            assert!((numeric - gradient[i]).abs() < 0.02 * largest, "value {i}: {} against {numeric}", gradient[i]);
        }
        Ok(())
    }
}
