//! LMD's attention transfer: an object in the whole picture should attend as it did when it was painted alone.

use std::collections::BTreeMap;

use candle_core::{Device, Tensor};
use sinopia_layout::{Grid, GridMask, GridRounding};
use sinopia_models::denoiser::{AttnKey, AttnMaps};

use super::key_targets::{ColumnTargets, KeyTargets};
use super::{GuidanceLoss, KeyGrids, TokenSet, no_loss};
use crate::Result;

/// The word's attention in one box's own run, step by step: `steps[i][key]` is (heads, HW), moved to where the box is.
#[derive(Debug, Clone, Default)]
pub struct ReferenceMaps {
    /// One entry a step.
    pub steps: Vec<BTreeMap<AttnKey, Tensor>>,
}

/// Keeps `a/Σa` within each box close to that of the box's own run at the same step.
///
/// `L = w/(O·K) Σ_o 1/B_o Σ_b Σ_k mean_h Σ_cells |â − r̂|`, with `â = a·M/(Σ a·M + 1e-5)`, a the attention of the object's word, M the mask of box b
/// on key k's grid, and r̂ likewise of the reference. In 0..=2·w. At steps past the references the loss is 0.
///
/// # Source
/// arXiv 2305.13655; TonyLianLong/LLM-groundedDiffusion@cef2a90:utils/guidance.py.
#[derive(Debug)]
pub struct AttentionTransfer {
    /// The word's column for each box, its mask the box's.
    keys: Vec<KeyTargets>,
    references: Vec<ReferenceMaps>,
    num_columns: usize,
}

/// How attention is transferred.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct TransferOptions {
    /// How boxes become cells.
    pub rounding: GridRounding,
    /// Factor of the loss. Published: 2.
    pub weight: f64,
}

impl AttentionTransfer {
    /// A loss on the maps of `grids`' keys, recorded at the columns of `tokens`, with one reference for each box of each of its objects, in order.
    ///
    /// # Errors
    /// When the device has no room.
    pub fn new(
        references: Vec<ReferenceMaps>,
        tokens: &TokenSet,
        grids: &KeyGrids,
        options: TransferOptions,
        device: &Device,
    ) -> Result<Self> {
        let (objects, TransferOptions { rounding, weight }) = (tokens.objects(), options);
        debug_assert_eq!(references.len(), objects.iter().map(|object| object.bboxes.len()).sum::<usize>());
        let boxes: Vec<_> =
            objects.iter().flat_map(|object| object.bboxes.iter().map(move |bbox| (object, bbox))).collect();
        let columns: Vec<u32> =
            boxes.iter().map(|(object, _)| tokens.column(object.word).unwrap_or_default() as u32).collect();
        let share = weight / (objects.len().max(1) * grids.len().max(1)) as f64;
        let shares: Vec<f32> = boxes.iter().map(|(object, _)| (share / object.bboxes.len() as f64) as f32).collect();
        let targets = ColumnTargets { columns, shares };
        let of_key = |(key, grid): (&AttnKey, &Grid)| {
            let masks = boxes.iter().map(|(_, bbox)| GridMask::from_bbox(bbox, *grid, rounding));
            KeyTargets::new(*key, *grid, &targets, masks, device)
        };
        let keys = grids.iter().map(of_key).collect::<Result<Vec<_>>>()?;
        Ok(Self { keys, references, num_columns: tokens.len() })
    }

    /// The references of a key at a step: (heads, HW, N); `None` past the last recorded step.
    fn references(&self, key: AttnKey, index: usize) -> Result<Option<Tensor>> {
        let maps = self.references.iter().map(|reference| reference.steps.get(index).and_then(|maps| maps.get(&key)));
        match maps.collect::<Option<Vec<_>>>() {
            Some(maps) if !maps.is_empty() => Ok(Some(Tensor::stack(&maps, 2)?)),
            _ => Ok(None),
        }
    }
}

impl GuidanceLoss for AttentionTransfer {
    fn loss(&self, index: usize, maps: &AttnMaps) -> Result<Tensor> {
        let mut sum = no_loss(maps)?;
        for targets in &self.keys {
            let Some(reference) = self.references(targets.key, index)? else { continue };
            let words = targets.attention(maps, self.num_columns)?; // (heads, HW, N)
            let found = normalised(&words, &targets.masks)?;
            let wanted = normalised(&reference, &targets.masks)?.detach();
            let distance = (found - wanted)?.abs()?.sum(1)?.mean(0)?; // (N)
            sum = (sum + (distance * &targets.shares)?.sum_all()?)?;
        }
        Ok(sum)
    }
}

/// Attention (heads, HW, N) within each box as a share of all attention there.
fn normalised(attention: &Tensor, masks: &Tensor) -> Result<Tensor> {
    let inside = attention.broadcast_mul(masks)?;
    let total = (inside.sum_keepdim(1)? + 1e-5)?; // (heads, 1, N)
    Ok(inside.broadcast_div(&total)?)
}

#[cfg(test)]
mod tests {
    use candle_core::Var;
    use sinopia_layout::{BBox, Grid};

    use super::super::GroundedTokens;
    use super::*;

    const KEY: AttnKey = AttnKey::up(1, 0);

    fn objects() -> Vec<GroundedTokens> {
        let bbox = |x0, y0, x1, y1| BBox::new(x0, y0, x1, y1).unwrap();
        vec![
            GroundedTokens {
                phrase: "it".to_owned(),
                positions: vec![2, 3],
                word: 3,
                bboxes: vec![bbox(0.0, 0.0, 0.5, 1.0)],
            },
            GroundedTokens {
                phrase: "them".to_owned(),
                positions: vec![5],
                word: 5,
                bboxes: vec![bbox(0.5, 0.0, 1.0, 0.5), bbox(0.5, 0.5, 1.0, 1.0)],
            },
        ]
    }

    /// Different positive numbers.
    fn numbers(n: usize, seed: usize) -> Vec<f32> {
        (0..n).map(|i| ((i * 37 + seed * 11) % 101) as f32 / 101.0 + 0.01).collect()
    }

    fn transfer(references: Vec<ReferenceMaps>) -> AttentionTransfer {
        let grids = BTreeMap::from([(KEY, Grid::new(4, 4))]);
        let tokens = TokenSet::of(&objects());
        let options = TransferOptions { rounding: GridRounding::default(), weight: 2.0 };
        AttentionTransfer::new(references, &tokens, &grids, options, &Device::Cpu).unwrap()
    }

    fn reference(seed: usize) -> ReferenceMaps {
        let map = Tensor::from_vec(numbers(32, seed), (2, 16), &Device::Cpu).unwrap();
        ReferenceMaps { steps: vec![BTreeMap::from([(KEY, map)])] }
    }

    #[test]
    fn the_same_attention_costs_nothing() -> Result<()> {
        let map = Tensor::from_vec(numbers(2 * 16 * 3, 5), (1, 2, 16, 3), &Device::Cpu)?;
        let column = |c: usize| {
            let map = map.squeeze(0).unwrap().narrow(2, c, 1).unwrap().squeeze(2).unwrap();
            ReferenceMaps { steps: vec![BTreeMap::from([(KEY, map)])] }
        };
        let loss = transfer(vec![column(1), column(2), column(2)]);
        assert!(loss.loss(0, &BTreeMap::from([(KEY, map.clone())]))?.to_scalar::<f32>()? < 1e-6);
        assert_eq!(loss.loss(1, &BTreeMap::from([(KEY, map)]))?.to_scalar::<f32>()?, 0.0);
        Ok(())
    }

    #[test]
    fn disjoint_attention_costs_twice_the_weight() -> Result<()> {
        // Everything in the first cell of each box, references in the last.
        let mut found = vec![0f32; 16 * 3];
        let mut wanted = [vec![0f32; 16], vec![0f32; 16], vec![0f32; 16]];
        for (reference, (first, last, column)) in wanted.iter_mut().zip([(0, 13, 1), (2, 7, 2), (10, 15, 2)]) {
            found[first * 3 + column] = 1e3;
            reference[last] = 1e3;
        }
        let references = wanted.map(|map| ReferenceMaps {
            steps: vec![BTreeMap::from([(KEY, Tensor::from_vec(map, (1, 16), &Device::Cpu).unwrap())])],
        });
        let map = Tensor::from_vec(found, (1, 1, 16, 3), &Device::Cpu)?;
        let loss = transfer(references.to_vec()).loss(0, &BTreeMap::from([(KEY, map)]))?.to_scalar::<f32>()?;
        assert!((loss - 4.0).abs() < 1e-5, "{loss}");
        Ok(())
    }

    #[test]
    fn the_gradient_is_that_of_finite_differences() -> Result<()> {
        let loss = transfer(vec![reference(1), reference(2), reference(3)]);
        let values = numbers(2 * 16 * 3, 9);
        let value = |values: Vec<f32>| {
            let map = Tensor::from_vec(values, (1, 2, 16, 3), &Device::Cpu).unwrap();
            loss.loss(0, &BTreeMap::from([(KEY, map)])).unwrap().to_scalar::<f32>().unwrap()
        };
        let map = Var::from_vec(values.clone(), (1, 2, 16, 3), &Device::Cpu)?;
        let tracked = loss.loss(0, &BTreeMap::from([(KEY, map.as_tensor().clone())]))?;
        let gradient = tracked.backward()?.get(&map).unwrap().flatten_all()?.to_vec1::<f32>()?;
        let step = 1e-3;
        for i in (0..values.len()).step_by(5) {
            let at = |delta: f32| {
                let mut values = values.clone();
                values[i] += delta;
                value(values)
            };
            let numeric = (at(step) - at(-step)) / (2.0 * step);
            assert!((numeric - gradient[i]).abs() < 2e-2, "value {i}: {} against {numeric}", gradient[i]);
        }
        Ok(())
    }
}
