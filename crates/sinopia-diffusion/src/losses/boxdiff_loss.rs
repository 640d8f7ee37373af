//! BoxDiff's losses: attention inside the box, none outside, and edges where the box has its own.

use std::ops::Range;

use candle_core::{Device, Tensor};
use sinopia_layout::{Grid, GridMask, GridRounding};
use sinopia_models::denoiser::{AttnKey, AttnMaps};
use sinopia_nn::softmax::softmax_last_dim;

use super::box_loss::largest;
use super::{GroundedTokens, GuidanceLoss, MapShape, TokenSet, map_of, no_loss};
use crate::Result;

/// Factor of the probabilities before they are compared with each other.
const SHARPNESS: f64 = 100.0;
/// Width of the smoothing, in cells; the kernel is `exp(−(d/2σ)²)`, a Gaussian of standard deviation √2·σ.
const SMOOTHING_SIGMA: f64 = 0.5;

/// Constants of the [`BoxDiffLoss`].
#[derive(Debug, Clone, PartialEq)]
pub struct BoxDiffLossOptions {
    /// Share of the cells inside that should light up, and of those outside that are held down, in (0, 1]. Published: 0.2.
    pub top_p: f64,
    /// Cells on either side of an edge in which the edge is looked for. Published: 1.
    pub corner_reach: usize,
    /// The token positions that compete for a cell: all but the first and the last as published.
    pub competitors: Range<usize>,
    /// What becomes of boxes smaller than a cell.
    pub rounding: GridRounding,
    /// Whether at least one cell is chosen. The published code takes the mean of ⌊p·n⌋ = 0 cells, which is not a number and ends as 0: boxes of
    /// fewer than five cells have no inner-box constraint.
    pub chooses_a_cell: bool,
}

impl BoxDiffLossOptions {
    /// The default constants, with the published faults fixed, for a text of `num_tokens` positions.
    pub fn new(num_tokens: usize) -> Self {
        Self {
            top_p: 0.2,
            corner_reach: 1,
            competitors: 1..num_tokens.saturating_sub(1),
            rounding: GridRounding::AtLeastOneCell,
            chooses_a_cell: true,
        }
    }
}

/// BoxDiff's loss over all tokens of all objects.
///
/// The maps of all keys, which share one grid, are averaged over layers and heads: A (HW, L). Tokens compete for each cell,
/// `I = smooth(softmax_j(100·A_j))` over the competing tokens j. For each token of an object with mask M (the union of its boxes):
///
/// - inner box `max(0, 1 − mean(top_k(I·M)))`, k = ⌊p·|M|⌋;
/// - outer box `max(0, mean(top_k(I·(1−M))))`, k = ⌊p·(HW − |M|)⌋;
/// - corners: `mean_x w_x·|max_y I − max_y M|` with w = 1 on columns near the left and right edge of a box, and the same for rows.
///
/// L is the **sum** over tokens, in 0..=4 each. Which cells are the largest, and on which side of a target a projection lies, is decided outside
/// the graph; given that the loss is linear in I, so that value and gradient are exact.
///
/// # Source
/// Xie et al. 2023, arXiv 2307.10816; showlab/BoxDiff@b0d5d3b; TonyLianLong/LLM-groundedDiffusion@cef2a90 (all tokens, unions of boxes).
#[derive(Debug, Clone)]
pub struct BoxDiffLoss {
    keys: Vec<AttnKey>,
    grid: Grid,
    num_columns: usize,
    competitors: Range<usize>,
    targets: Vec<TokenTarget>,
}

/// Where one token should be seen.
#[derive(Debug, Clone)]
struct TokenTarget {
    /// Its place among the competing tokens.
    column: usize,
    /// Inside the boxes, where the brightest cells should light up.
    inside: Side,
    /// Outside, where the brightest cells are held down.
    outside: Side,
    /// Rows in which an edge is looked for, and whether the boxes reach into them.
    rows: Vec<(usize, bool)>,
    /// Columns, likewise.
    columns: Vec<(usize, bool)>,
}

/// The cells on one side of a box's edge.
#[derive(Debug, Clone)]
struct Side {
    cells: Vec<usize>,
    /// How many of them, the brightest, count.
    num_chosen: usize,
}

impl Side {
    /// The brightest cells; `None` if none is to be chosen.
    fn brightest(&self, value: impl Fn(usize) -> f32) -> Option<Vec<usize>> {
        (self.num_chosen > 0 && !self.cells.is_empty()).then(|| largest(&self.cells, self.num_chosen, value))
    }
}

/// The competing tokens' images at the controlled tokens: the values, and which objects' token they are for.
struct TokenImages {
    /// (H, W, T), tracked.
    images: Tensor,
    /// The same, out of the graph.
    values: Vec<f32>,
}

impl BoxDiffLoss {
    /// A loss on the maps of `keys`, all of the grid `grid`, recorded at `tokens` (a [`TokenSet::first`] of the whole text).
    pub fn new(
        objects: &[GroundedTokens],
        tokens: &TokenSet,
        keys: &[AttnKey],
        grid: Grid,
        options: &BoxDiffLossOptions,
    ) -> Self {
        let competitors = options.competitors.start..options.competitors.end.min(tokens.len());
        let targets = objects.iter().flat_map(|object| {
            let target = TokenTarget::new(object, grid, options);
            let columns = object.positions.iter().filter(|position| competitors.contains(position));
            columns
                .map(|position| position - competitors.start)
                .collect::<Vec<_>>()
                .into_iter()
                .map(move |column| TokenTarget { column, ..target.clone() })
        });
        Self { targets: targets.collect(), keys: keys.to_vec(), grid, num_columns: tokens.len(), competitors }
    }

    /// What the controlled tokens look like; `None` if there are none.
    fn images(&self, maps: &AttnMaps) -> Result<Option<TokenImages>> {
        if self.targets.is_empty() {
            return Ok(None);
        }
        let shape = MapShape { cells: self.grid.cells(), columns: self.num_columns };
        let maps = self.keys.iter().map(|key| map_of(maps, *key, shape)).collect::<Result<Vec<_>>>()?;
        let mean = Tensor::cat(&maps, 0)?.mean(0)?; // (heads of all layers, HW, L) to (HW, L)
        let competing = mean.narrow(1, self.competitors.start, self.competitors.len())?.contiguous()?;
        let shares = softmax_last_dim(&(competing * SHARPNESS)?).map_err(sinopia_models::Error::from)?; // (HW, competitors)
        let columns: Vec<u32> = self.targets.iter().map(|target| target.column as u32).collect();
        let columns = Tensor::new(columns, shares.device())?;
        let Grid { height, width } = self.grid;
        let images = shares.index_select(&columns, 1)?.reshape((height, width, self.targets.len()))?;
        let images = boxdiff_smoothed(&images)?;
        let values = images.detach().flatten_all()?.to_vec1::<f32>()?;
        Ok(Some(TokenImages { images, values }))
    }

    /// `constant + Σ weights·I`, which the loss is near I.
    fn linear(&self, images: &TokenImages, of_token: impl Fn(usize, &TokenTarget, &mut Linear)) -> Result<Tensor> {
        let mut linear = Linear { weights: vec![0f32; images.values.len()], constant: 0.0 };
        for (token, target) in self.targets.iter().enumerate() {
            of_token(token, target, &mut linear);
        }
        let weights = Tensor::from_vec(linear.weights, images.images.shape(), images.images.device())?;
        Ok(((&images.images * weights)?.sum_all()? + linear.constant)?)
    }

    /// The value of a token's image at a cell.
    fn at<'a>(&self, values: &'a [f32], token: usize) -> impl Fn(usize) -> f32 + 'a {
        let tokens = self.targets.len();
        move |cell| values[cell * tokens + token]
    }
}

/// A loss's linear part: what each value of the images weighs, and what is left.
struct Linear {
    weights: Vec<f32>, // (H, W, T)
    constant: f64,
}

impl GuidanceLoss for BoxDiffLoss {
    fn loss(&self, _index: usize, maps: &AttnMaps) -> Result<Tensor> {
        let Some(images) = self.images(maps)? else { return no_loss(maps) };
        let tokens = self.targets.len();
        self.linear(&images, |token, target, linear| {
            let value = self.at(&images.values, token);
            let mut weigh = |cells: &[usize], weight: f64| {
                cells.iter().for_each(|cell| linear.weights[cell * tokens + token] += weight as f32);
            };
            if let Some(cells) = target.inside.brightest(&value) {
                linear.constant += 1.0;
                weigh(&cells, -1.0 / cells.len() as f64);
            }
            if let Some(cells) = target.outside.brightest(&value) {
                weigh(&cells, 1.0 / cells.len() as f64);
            }
            let Grid { height, width } = self.grid;
            let rows = target.rows.iter().map(|(row, reached)| (row * width..(row + 1) * width, 1, reached, height));
            let columns =
                target.columns.iter().map(|(column, reached)| (*column..height * width, width, reached, width));
            for (line, stride, reached, count) in rows.chain(columns) {
                let cells: Vec<usize> = line.step_by(stride).collect();
                let wanted = if *reached { 1.0 } else { 0.0 };
                let Some(peak) = largest(&cells, 1, &value).first().copied() else { continue };
                let side =
                    (f64::from(value(peak)) - wanted).partial_cmp(&0.0).map_or(1.0, |side| f64::from(side as i8));
                weigh(&[peak], side / count as f64);
                linear.constant -= side * wanted / count as f64;
            }
        })
    }
}

/// Excess of the worst inner-box term, `max_tokens(1 − mean(top_k(I·M))) − allowed(step)`: what BoxDiff's optional refinement lowers to 0.
#[derive(Debug, Clone)]
pub struct WorstBox {
    loss: BoxDiffLoss,
    /// For each step the inner-box term that is good enough.
    allowed: Vec<f64>,
}

impl WorstBox {
    /// Over the tokens of `loss`, with what is good enough at each step; steps past the last are always good.
    pub fn new(loss: BoxDiffLoss, allowed: Vec<f64>) -> Self {
        Self { loss, allowed }
    }
}

impl GuidanceLoss for WorstBox {
    fn loss(&self, index: usize, maps: &AttnMaps) -> Result<Tensor> {
        let Some(images) = self.loss.images(maps)? else { return no_loss(maps) };
        let tokens = self.loss.targets.len();
        let inner = |(token, target): (usize, &TokenTarget)| {
            let value = self.loss.at(&images.values, token);
            let cells = target.inside.brightest(&value)?;
            let mean = cells.iter().map(|cell| f64::from(value(*cell))).sum::<f64>() / cells.len() as f64;
            Some((token, 1.0 - mean))
        };
        let terms = self.loss.targets.iter().enumerate().filter_map(inner);
        let worst = terms.max_by(|(_, a), (_, b)| a.total_cmp(b)).map(|(token, _)| token);
        let allowed = self.allowed.get(index).copied().unwrap_or(1.0);
        self.loss.linear(&images, |token, target, linear| {
            if Some(token) != worst {
                return;
            }
            let cells = target.inside.brightest(self.loss.at(&images.values, token)).unwrap_or_default();
            for cell in &cells {
                linear.weights[cell * tokens + token] -= 1.0 / cells.len() as f32;
            }
            linear.constant += 1.0 - allowed;
        })
    }
}

impl TokenTarget {
    /// The target of an object's tokens; the column is each token's own.
    fn new(object: &GroundedTokens, grid: Grid, options: &BoxDiffLossOptions) -> Self {
        let mask = GridMask::from_bboxes(&object.bboxes, grid, options.rounding);
        let side = |wanted: bool| {
            let of_side = mask.cells().iter().enumerate().filter(|(_, inside)| **inside == wanted);
            let cells: Vec<usize> = of_side.map(|(cell, _)| cell).collect();
            // The product in f32 as in the published code.
            let count = (options.top_p as f32 * cells.len() as f32) as usize;
            let num_chosen = if options.chooses_a_cell { count.max(1) } else { count };
            Side { cells, num_chosen }
        };
        let rects = || object.bboxes.iter().map(|bbox| bbox.grid_rect(grid, options.rounding));
        let near = |edge: usize, line: usize| edge.abs_diff(line) <= options.corner_reach;
        let row = |row: usize| {
            let is_watched = rects().any(|rect| near(rect.top, row) || near(rect.bottom, row));
            is_watched.then(|| (row, (0..grid.width).any(|column| mask.contains(row, column))))
        };
        let column = |column: usize| {
            let is_watched = rects().any(|rect| near(rect.left, column) || near(rect.right, column));
            is_watched.then(|| (column, (0..grid.height).any(|row| mask.contains(row, column))))
        };
        Self {
            column: 0,
            inside: side(true),
            outside: side(false),
            rows: (0..grid.height).filter_map(row).collect(),
            columns: (0..grid.width).filter_map(column).collect(),
        }
    }
}

/// Images (H, W, T), smoothed by BoxDiff's 3×3 kernel with mirrored edges (the edge itself not repeated).
///
/// The kernel is the product of two of one axis, so it is two products with small matrices.
///
/// # Errors
/// When the images do not have three axes.
pub fn boxdiff_smoothed(images: &Tensor) -> Result<Tensor> {
    let (height, width, tokens) = images.dims3()?;
    let device = images.device();
    let along_rows = smoothing(height, device)?.matmul(&images.reshape((height, width * tokens))?)?;
    let turned = along_rows.reshape((height, width, tokens))?.transpose(0, 1)?.contiguous()?; // (W, H, T)
    let along_both = smoothing(width, device)?.matmul(&turned.reshape((width, height * tokens))?)?;
    Ok(along_both.reshape((width, height, tokens))?.transpose(0, 1)?.contiguous()?)
}

/// The smoothing of one axis of `len` cells as a matrix (len, len).
fn smoothing(len: usize, device: &Device) -> Result<Tensor> {
    let beside = (-(0.5 / SMOOTHING_SIGMA).powi(2)).exp();
    let total = 1.0 + 2.0 * beside;
    let mut matrix = vec![0f32; len * len];
    for cell in 0..len {
        matrix[cell * len + cell] += (1.0 / total) as f32;
        let before = cell.checked_sub(1).unwrap_or(1);
        let after = if cell + 1 < len { cell + 1 } else { cell.saturating_sub(1) };
        for neighbour in [before, after] {
            // An axis of one cell has no neighbours to mirror.
            matrix[cell * len + neighbour.min(len - 1)] += (beside / total) as f32;
        }
    }
    Ok(Tensor::from_vec(matrix, (len, len), device)?)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use candle_core::Var;
    use sinopia_layout::BBox;

    use super::*;
    use crate::noise::{Generator, Seed};

    const KEY: AttnKey = AttnKey::up(1, 0);
    const TOKENS: usize = 6;

    fn object(bbox: (f64, f64, f64, f64), positions: &[usize]) -> GroundedTokens {
        let bboxes = vec![BBox::new(bbox.0, bbox.1, bbox.2, bbox.3).unwrap()];
        let word = positions[positions.len() - 1];
        GroundedTokens { phrase: "it".to_owned(), positions: positions.to_vec(), word, bboxes }
    }

    fn loss_of(objects: &[GroundedTokens], grid: Grid, options: &BoxDiffLossOptions) -> BoxDiffLoss {
        BoxDiffLoss::new(objects, &TokenSet::first(TOKENS, objects), &[KEY], grid, options)
    }

    /// (1, heads, HW, L): attention of token 2 in the `bright` cells, of token 1 elsewhere.
    fn map(heads: usize, grid: Grid, bright: impl Fn(usize, usize) -> bool) -> Tensor {
        let cell = |cell: usize| {
            let token = if bright(cell / grid.width, cell % grid.width) { 2 } else { 1 };
            (0..TOKENS).map(move |position| if position == token { 1.0 } else { 0.0 })
        };
        let values: Vec<f32> = (0..heads).flat_map(|_| (0..grid.cells()).flat_map(cell)).collect();
        Tensor::from_vec(values, (1, heads, grid.cells(), TOKENS), &Device::Cpu).unwrap()
    }

    fn value(loss: &dyn GuidanceLoss, map: Tensor) -> f32 {
        loss.loss(0, &BTreeMap::from([(KEY, map)])).unwrap().to_scalar::<f32>().unwrap()
    }

    #[test]
    fn the_kernel_is_the_published_one() -> Result<()> {
        let mut values = vec![0f32; 25];
        values[12] = 1.0;
        let image =
            boxdiff_smoothed(&Tensor::from_vec(values, (5, 5, 1), &Device::Cpu)?)?.squeeze(2)?.to_vec2::<f32>()?;
        for (found, expected) in
            [(image[2][2], 0.33191), (image[1][2], 0.12210), (image[3][3], 0.04492), (image[0][2], 0.0)]
        {
            assert!((found - expected).abs() < 1e-5, "{found} instead of {expected}");
        }
        Ok(())
    }

    #[test]
    fn edges_are_mirrored_and_a_constant_stays() -> Result<()> {
        let ramp = Tensor::new(&[[[0f32], [1.0], [4.0]]], &Device::Cpu)?; // (1, 3, 1)
        let found = boxdiff_smoothed(&ramp)?.flatten_all()?.to_vec1::<f32>()?;
        let beside = 0.21194;
        let expected = [2.0 * beside, 0.57612 + 4.0 * beside, 4.0 * 0.57612 + 2.0 * beside];
        for (found, expected) in found.iter().zip(expected) {
            assert!((found - expected).abs() < 1e-4, "{found} instead of {expected}");
        }
        let constant =
            boxdiff_smoothed(&Tensor::full(0.7f32, (4, 5, 2), &Device::Cpu)?)?.flatten_all()?.to_vec1::<f32>()?;
        assert!(constant.iter().all(|x| (x - 0.7).abs() < 1e-6));
        Ok(())
    }

    #[test]
    fn a_token_in_its_box_costs_little_and_elsewhere_much() {
        let grid = Grid::new(8, 8);
        let loss = loss_of(&[object((0.0, 0.0, 0.5, 1.0), &[2])], grid, &BoxDiffLossOptions::new(TOKENS));
        let there = value(&loss, map(2, grid, |_, column| column < 4));
        let elsewhere = value(&loss, map(2, grid, |_, column| column >= 4));
        // All that is left is the blur of the edge: 0.21 outside at the top of column 4, and the corners beside it.
        assert!(there < 0.4 && elsewhere > 2.0, "{there} and {elsewhere}");
    }

    #[test]
    fn every_token_counts() {
        let grid = Grid::new(8, 8);
        let dark = map(1, grid, |_, _| false);
        let one = value(
            &loss_of(&[object((0.0, 0.0, 0.5, 1.0), &[2])], grid, &BoxDiffLossOptions::new(TOKENS)),
            dark.clone(),
        );
        let two =
            value(&loss_of(&[object((0.0, 0.0, 0.5, 1.0), &[2, 3])], grid, &BoxDiffLossOptions::new(TOKENS)), dark);
        assert!((two - 2.0 * one).abs() < 1e-5, "{one} and {two}");
    }

    #[test]
    fn few_cells_have_no_inner_box_as_published() {
        let grid = Grid::new(8, 8);
        let objects = [object((0.25, 0.25, 0.5, 0.5), &[2])]; // four cells
        let fixed = BoxDiffLossOptions::new(TOKENS);
        let published = BoxDiffLossOptions { chooses_a_cell: false, ..fixed.clone() };
        let dark = map(1, grid, |_, _| false);
        let (fixed, published) =
            (value(&loss_of(&objects, grid, &fixed), dark.clone()), value(&loss_of(&objects, grid, &published), dark));
        assert!((fixed - published - 1.0).abs() < 1e-5, "{fixed} and {published}");
    }

    #[test]
    fn boxes_of_the_whole_canvas_and_of_no_cell_have_a_loss() {
        let grid = Grid::new(4, 4);
        for (bbox, rounding) in [
            ((0.0, 0.0, 1.0, 1.0), GridRounding::AtLeastOneCell),
            ((0.3, 0.3, 0.31, 0.31), GridRounding::AtLeastOneCell),
            ((0.3, 0.3, 0.31, 0.31), GridRounding::Published),
        ] {
            for chooses_a_cell in [true, false] {
                let options = BoxDiffLossOptions { rounding, chooses_a_cell, ..BoxDiffLossOptions::new(TOKENS) };
                let loss = value(&loss_of(&[object(bbox, &[2])], grid, &options), map(1, grid, |row, _| row < 2));
                assert!((0.0..=4.0).contains(&loss), "{bbox:?} {rounding:?}: {loss}");
            }
        }
        assert_eq!(value(&loss_of(&[], grid, &BoxDiffLossOptions::new(TOKENS)), map(1, grid, |_, _| true)), 0.0);
    }

    #[test]
    fn the_worst_box_is_the_largest_inner_term_beyond_what_is_allowed() {
        let grid = Grid::new(8, 8);
        let objects = [object((0.0, 0.0, 0.5, 1.0), &[2]), object((0.5, 0.0, 1.0, 1.0), &[3])];
        let loss = loss_of(&objects, grid, &BoxDiffLossOptions::new(TOKENS));
        // Token 2 is in its box, token 3 nowhere: its inner-box term is 1.
        let worst = value(&WorstBox::new(loss, vec![0.95]), map(1, grid, |_, column| column < 4));
        assert!((worst - 0.05).abs() < 1e-4, "{worst}");
    }

    #[test]
    fn the_gradient_is_that_of_finite_differences() -> Result<()> {
        let objects = [object((0.1, 0.2, 0.6, 0.7), &[2, 3]), object((0.5, 0.5, 1.0, 1.0), &[4])];
        let grid = Grid::new(5, 6);
        let loss = loss_of(&objects, grid, &BoxDiffLossOptions::new(TOKENS));
        let worst = WorstBox::new(loss.clone(), vec![0.5]);
        // As small as 77 probabilities are, so that the sharpened softmax is not all or nothing.
        let uniforms = Generator::new(Seed(4)).uniforms(2 * 30 * TOKENS);
        let values: Vec<f32> = uniforms.into_iter().map(|x| x * 0.02).collect();
        for loss in [&loss as &dyn GuidanceLoss, &worst] {
            let map = Var::from_vec(values.clone(), (1, 2, 30, TOKENS), &Device::Cpu)?;
            let tracked = loss.loss(0, &BTreeMap::from([(KEY, map.as_tensor().clone())]))?;
            let gradient = tracked.backward()?.get(&map).unwrap().flatten_all()?.to_vec1::<f32>()?;
            let largest = gradient.iter().fold(0f32, |largest, x| largest.max(x.abs()));
            assert!(largest > 0.1);
            let (step, tolerance) = (1e-4, 0.02 * largest);
            let here = value(loss, map.as_tensor().clone());
            let (mut num_checked, mut num_kinks) = (0, 0);
            for i in (0..values.len()).step_by(5) {
                let at = |delta: f32| {
                    let mut values = values.clone();
                    values[i] += delta;
                    value(loss, Tensor::from_vec(values, (1, 2, 30, TOKENS), &Device::Cpu).unwrap())
                };
                let (after, before) = ((at(step) - here) / step, (here - at(-step)) / step);
                // Where another cell becomes the largest within the step there is no derivative to compare with.
                if (after - before).abs() > 2.0 * tolerance {
                    num_kinks += 1;
                    continue;
                }
                num_checked += 1;
                let numeric = (after + before) / 2.0;
                assert!((numeric - gradient[i]).abs() < tolerance, "value {i}: {} against {numeric}", gradient[i]);
            }
            assert!(num_kinks * 10 <= num_checked, "{num_kinks} kinks, {num_checked} values compared");
        }
        Ok(())
    }
}
