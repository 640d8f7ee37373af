//! LMD's box loss: draws the attention of each phrase into its boxes and out of everywhere else.

use candle_core::Tensor;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use sinopia_layout::{GridMask, GridRounding};
use sinopia_models::denoiser::{AttnKey, AttnMaps};

use super::{GroundedTokens, GuidanceLoss, KeyGrids, MapShape, TokenSet, map_of, no_loss};
use crate::Result;

/// How the heads of a layer are weighed against each other.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum OverHeads {
    /// Eight times the mean. With the 8 heads of Stable Diffusion 1 this is the published sum, so its constants hold; with other numbers of
    /// heads, such as the 20 of Stable Diffusion 2, the same attention gives the same loss, and one threshold and one scale serve all models.
    #[default]
    #[serde(rename = "mean_of_8")]
    MeanOf8,
    /// The published sum: 20 heads give 2.5 times the loss of 8 for the same attention.
    Sum,
}

impl OverHeads {
    /// The weight of one head out of `heads`.
    fn weight(self, heads: usize) -> f64 {
        match self {
            Self::MeanOf8 => 8.0 / heads as f64,
            Self::Sum => 1.0,
        }
    }
}

/// Constants of the [`BoxLoss`].
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct BoxLossOptions {
    /// Share of the cells inside that should light up, in (0, 1]. Published: 0.2.
    pub fg_top_p: f64,
    /// Share of the cells outside that are held down, in (0, 1]. Published: 0.2.
    pub bg_top_p: f64,
    /// Weight of the inside. Published: 1.
    pub fg_weight: f64,
    /// Weight of the outside. Published: 4.
    pub bg_weight: f64,
    /// How heads are weighed.
    pub over_heads: OverHeads,
    /// What becomes of boxes smaller than a cell.
    pub rounding: GridRounding,
}

impl Default for BoxLossOptions {
    fn default() -> Self {
        Self {
            fg_top_p: 0.2,
            bg_top_p: 0.2,
            fg_weight: 1.0,
            bg_weight: 4.0,
            over_heads: OverHeads::default(),
            rounding: GridRounding::default(),
        }
    }
}

/// LMD's box loss.
///
/// `L = 1/(O·K) Σ_k Σ_o 1/|P_o| Σ_{j∈P_o} Σ_h [ w_fg·(1 − mean(top_f(a·M))) + w_bg·mean(top_b(a·(1−M))) ]` with `a = A^k_h[:, j]`; top_f and top_b
/// take the `max(1, ⌊p·cells⌋)` largest values inside and outside the mask M of object o (the union of its boxes on key k's grid). The sum over
/// heads is weighed by [`OverHeads`]. In 0..=8·(w_fg + w_bg).
///
/// Which cells are the largest is decided outside the graph, equal values by their index; given that choice the loss is linear in the maps, so
/// that it is one product with a constant weight a key: its value and its gradient both are exact.
///
/// # Source
/// arXiv 2305.13655; TonyLianLong/LLM-groundedDiffusion@cef2a90:utils/guidance.py.
#[derive(Debug, Clone)]
pub struct BoxLoss {
    keys: Vec<KeyTargets>,
    num_columns: usize,
    options: BoxLossOptions,
}

/// Where each object's attention should be on one key's grid.
#[derive(Debug, Clone)]
struct KeyTargets {
    key: AttnKey,
    num_cells: usize,
    objects: Vec<ObjectTarget>,
}

#[derive(Debug, Clone)]
struct ObjectTarget {
    /// Columns of the phrase's tokens.
    columns: Vec<usize>,
    /// Cells inside the boxes, and how many of them are wanted bright.
    inside: (Vec<usize>, usize),
    /// Cells outside, and how many of them are held down.
    outside: (Vec<usize>, usize),
    /// Factor of its terms.
    weight: f64,
}

impl BoxLoss {
    /// A loss on the maps of `grids`' keys, recorded at the columns of `tokens`.
    pub fn new(objects: &[GroundedTokens], tokens: &TokenSet, grids: &KeyGrids, options: BoxLossOptions) -> Self {
        let target = |object: &GroundedTokens, grid| {
            let mask = GridMask::from_bboxes(&object.bboxes, grid, options.rounding);
            let cells = |wanted: bool, top_p: f64| {
                let of_side = mask.cells().iter().enumerate().filter(|(_, inside)| **inside == wanted);
                let cells: Vec<usize> = of_side.map(|(cell, _)| cell).collect();
                let count = top_count(top_p, cells.len());
                (cells, count)
            };
            ObjectTarget {
                columns: object.positions.iter().filter_map(|position| tokens.column(*position)).collect(),
                inside: cells(true, options.fg_top_p),
                outside: cells(false, options.bg_top_p),
                weight: 1.0,
            }
        };
        let targets = |(key, grid): (&AttnKey, &_)| KeyTargets {
            key: *key,
            num_cells: sinopia_layout::Grid::cells(grid),
            objects: objects.iter().map(|object| target(object, *grid)).collect(),
        };
        Self { keys: grids.iter().map(targets).collect(), num_columns: tokens.len(), options }
    }

    /// With a factor for each object's terms, in their order; 1 for those without.
    #[must_use]
    pub fn with_weights(mut self, weights: &[f64]) -> Self {
        for targets in &mut self.keys {
            targets.objects.iter_mut().zip(weights).for_each(|(object, weight)| object.weight = *weight);
        }
        self
    }

    /// The weight of every probability of a key's map (heads, HW, L'), and the loss's constant part.
    fn weights(&self, targets: &KeyTargets, probs: &[f32], heads: usize) -> (Vec<f32>, f64) {
        let (hw, columns) = (targets.num_cells, self.num_columns);
        let share = self.options.over_heads.weight(heads) / (targets.objects.len() * self.keys.len()) as f64;
        let mut weights = vec![0f32; probs.len()];
        let mut constant = 0.0;
        for object in &targets.objects {
            let share = share * object.weight / object.columns.len() as f64;
            for (head, column) in (0..heads).flat_map(|head| object.columns.iter().map(move |column| (head, *column))) {
                let at = |cell: usize| (head * hw + cell) * columns + column;
                constant += share * self.options.fg_weight;
                let sides = [(&object.inside, -self.options.fg_weight), (&object.outside, self.options.bg_weight)];
                for ((cells, count), weight) in sides {
                    let weight = (share * weight / *count as f64) as f32;
                    for cell in largest(cells, *count, |cell| probs[at(cell)]) {
                        weights[at(cell)] += weight;
                    }
                }
            }
        }
        (weights, constant)
    }
}

impl GuidanceLoss for BoxLoss {
    fn loss(&self, _index: usize, maps: &AttnMaps) -> Result<Tensor> {
        let mut constant = 0.0;
        let mut sum: Option<Tensor> = None;
        for targets in self.keys.iter().filter(|targets| !targets.objects.is_empty()) {
            let map = map_of(maps, targets.key, MapShape { cells: targets.num_cells, columns: self.num_columns })?; // (heads, HW, L')
            let heads = map.dim(0)?;
            let probs = map.detach().flatten_all()?.to_vec1::<f32>()?;
            let (weights, key_constant) = self.weights(targets, &probs, heads);
            let weights = Tensor::from_vec(weights, map.shape(), map.device())?;
            let term = (map * weights)?.sum_all()?;
            constant += key_constant;
            sum = Some(match sum {
                None => term,
                Some(sum) => (sum + term)?,
            });
        }
        match sum {
            Some(sum) => Ok((sum + constant)?),
            None => no_loss(maps),
        }
    }
}

/// `max(1, ⌊p·n⌋)`, the product in `f32` as in the published code: 0.2 · 15 is 3 there.
fn top_count(p: f64, n: usize) -> usize {
    ((p as f32 * n as f32) as usize).max(1)
}

/// The `count` cells of largest value (all of them, if they are fewer); of equal values the first. NaN counts as largest, so that it is seen.
pub(super) fn largest(cells: &[usize], count: usize, value: impl Fn(usize) -> f32) -> Vec<usize> {
    let mut order = cells.to_vec();
    if count < order.len() {
        order.select_nth_unstable_by(count, |a, b| value(*b).abs().total_cmp(&value(*a).abs()).then(a.cmp(b)));
        order.truncate(count);
    }
    order
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use candle_core::{Device, Var};
    use sinopia_layout::{BBox, Grid};

    use super::*;

    const KEY: AttnKey = AttnKey::mid(0);

    fn object(bbox: (f64, f64, f64, f64), positions: &[usize]) -> GroundedTokens {
        let bbox = BBox::new(bbox.0, bbox.1, bbox.2, bbox.3).unwrap();
        GroundedTokens {
            phrase: "it".to_owned(),
            positions: positions.to_vec(),
            word: positions[positions.len() - 1],
            bboxes: vec![bbox],
        }
    }

    fn loss_of(objects: &[GroundedTokens], options: BoxLossOptions, grid: Grid) -> BoxLoss {
        BoxLoss::new(objects, &TokenSet::of(objects), &BTreeMap::from([(KEY, grid)]), options)
    }

    fn value(loss: &BoxLoss, map: &Tensor) -> f32 {
        let loss = loss.loss(0, &BTreeMap::from([(KEY, map.clone())])).unwrap();
        loss.to_scalar::<f32>().unwrap()
    }

    /// (1, heads, HW, L'), the same `cells` for every head and column.
    fn map(heads: usize, cells: &[f32], columns: usize) -> Tensor {
        let values: Vec<f32> =
            (0..heads).flat_map(|_| cells.iter().flat_map(|x| std::iter::repeat_n(*x, columns))).collect();
        Tensor::from_vec(values, (1, heads, cells.len(), columns), &Device::Cpu).unwrap()
    }

    #[test]
    fn counts_are_truncated_products_and_at_least_one() {
        let table = [
            (4, 1),
            (5, 1),
            (9, 1),
            (10, 2),
            (14, 2),
            (15, 3),
            (24, 4),
            (25, 5),
            (35, 7),
            (60, 12),
            (64, 12),
            (255, 51),
            (256, 51),
            (0, 1),
        ];
        for (n, expected) in table {
            assert_eq!(top_count(0.2, n), expected, "0.2 · {n}");
        }
    }

    #[test]
    fn uniform_attention_has_a_closed_form() {
        // 16 cells of 1/16: inside 1 − 1/16, outside 4/16, times 8 whatever the number of heads.
        let loss = loss_of(&[object((0.0, 0.0, 0.5, 0.5), &[3, 4])], BoxLossOptions::default(), Grid::new(4, 4));
        for heads in [1, 8, 20] {
            let found = value(&loss, &map(heads, &[1.0 / 16.0; 16], 2));
            assert!((found - 8.0 * (15.0 / 16.0 + 0.25)).abs() < 1e-5, "{heads} heads: {found}");
        }
        let options = BoxLossOptions { over_heads: OverHeads::Sum, ..BoxLossOptions::default() };
        let sum = loss_of(&[object((0.0, 0.0, 0.5, 0.5), &[3, 4])], options, Grid::new(4, 4));
        assert!((value(&sum, &map(20, &[1.0 / 16.0; 16], 2)) - 20.0 * (15.0 / 16.0 + 0.25)).abs() < 1e-4);
    }

    #[test]
    fn a_weight_is_a_factor_of_the_objects_terms() {
        let objects = [object((0.0, 0.0, 0.5, 0.5), &[1]), object((0.5, 0.5, 1.0, 1.0), &[2])];
        let of = |objects: &[GroundedTokens]| loss_of(objects, BoxLossOptions::default(), Grid::new(4, 4));
        // Column 0 in place, column 1 nowhere: the first object costs less than the second.
        let cells: Vec<f32> = (0..16).flat_map(|cell| if cell < 2 { [0.5, 0.0] } else { [0.0, 0.05] }).collect();
        let map = Tensor::from_vec(cells, (1, 1, 16, 2), &Device::Cpu).unwrap();
        let weighed = |weights: &[f64]| value(&of(&objects).with_weights(weights), &map);
        let (first, second) = (weighed(&[1.0, 0.0]), weighed(&[0.0, 1.0]));
        assert!(first > 0.0 && second > first, "{first} {second}");
        assert!((weighed(&[3.0, 0.5]) - (3.0 * first + 0.5 * second)).abs() < 1e-5);
        assert!((weighed(&[]) - (first + second)).abs() < 1e-6);
    }

    #[test]
    fn attention_where_it_should_be_costs_nothing_and_elsewhere_everything() {
        let loss = loss_of(&[object((0.0, 0.0, 0.5, 0.5), &[1])], BoxLossOptions::default(), Grid::new(2, 2));
        assert!(value(&loss, &map(8, &[1.0, 0.0, 0.0, 0.0], 1)).abs() < 1e-6);
        assert!((value(&loss, &map(8, &[0.0, 0.0, 0.0, 1.0], 1)) - 40.0).abs() < 1e-5);
    }

    #[test]
    fn a_full_mask_has_no_outside_and_a_tiny_one_still_a_cell() {
        let whole = loss_of(&[object((0.0, 0.0, 1.0, 1.0), &[1])], BoxLossOptions::default(), Grid::new(2, 2));
        assert!((value(&whole, &map(8, &[0.25; 4], 1)) - 8.0 * 0.75).abs() < 1e-5);
        let tiny = loss_of(&[object((0.3, 0.3, 0.31, 0.31), &[1])], BoxLossOptions::default(), Grid::new(4, 4));
        let mut cells = [0.0; 16];
        cells[5] = 1.0;
        assert!(value(&tiny, &map(8, &cells, 1)).abs() < 1e-6);
    }

    #[test]
    fn the_gradient_is_that_of_finite_differences() -> Result<()> {
        let objects = [object((0.1, 0.2, 0.6, 0.7), &[2, 3]), object((0.5, 0.5, 1.0, 1.0), &[5])];
        let grid = Grid::new(5, 6);
        let loss = loss_of(&objects, BoxLossOptions::default(), grid);
        // All values differ by more than the step, so that no choice changes.
        let values: Vec<f32> = (0..2 * 30 * 3).map(|i| ((i * 77) % 180) as f32 / 180.0).collect();
        let map = Var::from_vec(values.clone(), (1, 2, 30, 3), &Device::Cpu)?;
        let tracked = loss.loss(0, &BTreeMap::from([(KEY, map.as_tensor().clone())]))?;
        let gradient = tracked.backward()?.get(&map).unwrap().flatten_all()?.to_vec1::<f32>()?;
        let step = 1e-3;
        for i in (0..values.len()).step_by(7) {
            let at = |delta: f32| {
                let mut values = values.clone();
                values[i] += delta;
                value(&loss, &Tensor::from_vec(values, (1, 2, 30, 3), &Device::Cpu).unwrap())
            };
            let numeric = (at(step) - at(-step)) / (2.0 * step);
            assert!((numeric - gradient[i]).abs() < 2e-3, "value {i}: {} against {numeric}", gradient[i]);
        }
        Ok(())
    }

    #[test]
    fn a_map_of_another_shape_is_named() {
        let loss = loss_of(&[object((0.0, 0.0, 0.5, 0.5), &[1])], BoxLossOptions::default(), Grid::new(2, 2));
        let wrong = Tensor::zeros((1, 8, 9, 1), candle_core::DType::F32, &Device::Cpu).unwrap();
        let message = loss.loss(0, &BTreeMap::from([(KEY, wrong)])).unwrap_err().to_string();
        assert!(message.contains("mid.0") && message.contains("9"), "{message}");
        assert!(loss.loss(0, &BTreeMap::new()).is_err());
    }
}
