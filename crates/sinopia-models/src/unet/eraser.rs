//! Taking an object out of what the decoder's pixels look at, so that its surroundings grow over it.

use candle_core::{Device, Tensor};
use sinopia_layout::{Grid, GridMask};

use crate::{Error, Result};

/// AttentiveEraser's masked self-attention: in the decoder, no pixel attends to an erased one.
///
/// `softmax(s_i · q_i · kᵀ / √D)` over the keys outside the mask, where `s_i` is [`query_scale`](Self::query_scale) for a query inside it and 1 for
/// the others: what is erased looks at its surroundings, evenly if the scale is small. Each decoder grid's mask is the latents', max-pooled: a cell is
/// erased if any latent cell under it is. Where that would leave a coarse grid without a key, the cells with the fewest erased latent cells stay keys,
/// so that no softmax is ever empty.
///
/// An empty mask changes nothing, to the bit. Cross-attention, grounding and the encoder see everything.
///
/// # Source
/// Sun et al. 2024, arXiv 2412.12974; Anonym0u3/AttentiveEraser@0b7881d:AAS.py (decoder layers, −∞ for masked keys, 0.3 for masked queries).
#[derive(Debug, Clone, PartialEq)]
pub struct Eraser {
    mask: GridMask,
    query_scale: f64,
}

/// An eraser on one grid of the decoder.
#[derive(Debug)]
pub(super) struct ErasedGrid {
    /// The cells that are attended to, (K).
    keys: Tensor,
    /// A factor for each query, (1, HW, 1); `None` if all are 1.
    query_scales: Option<Tensor>,
}

impl Eraser {
    /// Erases the cells of `mask`, which is on the latents' grid; `query_scale`, 0..=1, multiplies the scores of erased queries (similarity
    /// suppression; 1 is none).
    ///
    /// # Errors
    /// [`Error::NothingLeft`] for a mask of the whole grid; [`Error::Input`] for a scale outside its range.
    pub fn new(mask: GridMask, query_scale: f64) -> Result<Self> {
        if mask.count() == mask.grid().cells() {
            return Err(Error::NothingLeft { cells: mask.count() });
        }
        if !(0.0..=1.0).contains(&query_scale) {
            let (what, expected) = ("the scale of erased queries", "a number from 0 to 1".to_owned());
            return Err(Error::Input { what, expected, found: query_scale.to_string() });
        }
        Ok(Self { mask, query_scale })
    }

    /// What is erased, on the latents' grid.
    pub fn mask(&self) -> &GridMask {
        &self.mask
    }

    /// What the scores of erased queries are multiplied with.
    pub fn query_scale(&self) -> f64 {
        self.query_scale
    }

    /// The same on a decoder grid; `None` if nothing is erased.
    pub(super) fn on(&self, grid: Grid, device: &Device) -> sinopia_nn::Result<Option<ErasedGrid>> {
        if self.mask.is_empty() {
            return Ok(None);
        }
        let erased = self.erased_counts(grid);
        let least = erased.iter().copied().min().unwrap_or(0);
        // Above 0 only where every cell has something erased under it.
        let keys: Vec<u32> = (0..).zip(&erased).filter(|(_, count)| **count == least).map(|(cell, _)| cell).collect();
        let scale = |count: &usize| if *count > 0 { self.query_scale as f32 } else { 1.0 };
        let scales = || Tensor::from_vec(erased.iter().map(scale).collect(), (1, erased.len(), 1), device);
        Ok(Some(ErasedGrid {
            keys: Tensor::new(keys, device)?,
            query_scales: (self.query_scale != 1.0).then(scales).transpose()?,
        }))
    }

    /// For each cell of a grid, how many latent cells under it are erased. The network halves grids and rounds up.
    fn erased_counts(&self, grid: Grid) -> Vec<usize> {
        let latents = self.mask.grid();
        let halves = |side: usize| Grid::new(latents.height.div_ceil(side), latents.width.div_ceil(side));
        let sides = std::iter::successors(Some(1), |side| Some(side * 2));
        let side = sides.take(usize::BITS as usize - 1).find(|side| halves(*side) == grid).unwrap_or(1);
        let mut counts = vec![0; grid.cells()];
        for (cell, _) in self.mask.cells().iter().enumerate().filter(|(_, erased)| **erased) {
            let (row, column) = (cell / latents.width / side, cell % latents.width / side);
            counts[row * grid.width + column] += 1;
        }
        counts
    }
}

impl ErasedGrid {
    /// Of keys or values (B, HW, C) those that are attended to, (B, K, C).
    pub(super) fn seen(&self, pixels: &Tensor) -> sinopia_nn::Result<Tensor> {
        Ok(pixels.contiguous()?.index_select(&self.keys, 1)?)
    }

    /// Queries (B, HW, C) with their factors.
    pub(super) fn scaled(&self, queries: Tensor) -> sinopia_nn::Result<Tensor> {
        match &self.query_scales {
            Some(scales) => Ok(queries.broadcast_mul(scales)?),
            None => Ok(queries),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn mask(grid: Grid, erased: &[(usize, usize)]) -> GridMask {
        let cells = (0..grid.cells()).map(|cell| erased.contains(&(cell / grid.width, cell % grid.width)));
        GridMask::from_cells(grid, cells.collect()).unwrap()
    }

    fn keys(eraser: &Eraser, grid: Grid) -> Vec<u32> {
        eraser.on(grid, &Device::Cpu).unwrap().unwrap().keys.to_vec1().unwrap()
    }

    #[test]
    fn a_coarse_cell_is_erased_if_any_cell_under_it_is() {
        let eraser = Eraser::new(mask(Grid::new(5, 4), &[(1, 1), (4, 3)]), 0.3).unwrap();
        assert_eq!(keys(&eraser, Grid::new(5, 4)).len(), 18);
        assert_eq!(keys(&eraser, Grid::new(3, 2)), [1, 2, 3, 4]);
        let scales = eraser.on(Grid::new(3, 2), &Device::Cpu).unwrap().unwrap().query_scales.unwrap();
        assert_eq!(scales.flatten_all().unwrap().to_vec1::<f32>().unwrap(), [0.3, 1.0, 1.0, 1.0, 1.0, 0.3]);
    }

    #[test]
    fn a_coarse_grid_keeps_the_keys_with_least_erased() {
        let all_but_one: Vec<_> = (0..16).map(|cell| (cell / 4, cell % 4)).filter(|cell| *cell != (3, 3)).collect();
        let eraser = Eraser::new(mask(Grid::new(4, 4), &all_but_one), 1.0).unwrap();
        assert_eq!(keys(&eraser, Grid::new(2, 2)), [3]);
        assert_eq!(keys(&eraser, Grid::new(1, 1)), [0]);
        assert!(eraser.on(Grid::new(2, 2), &Device::Cpu).unwrap().unwrap().query_scales.is_none());
    }

    #[test]
    fn whole_masks_and_scales_out_of_range_are_refused() {
        let whole: Vec<_> = (0..6).map(|cell| (cell / 3, cell % 3)).collect();
        let refused = Eraser::new(mask(Grid::new(2, 3), &whole), 0.3).unwrap_err();
        assert!(matches!(refused, Error::NothingLeft { cells: 6 }) && refused.is_bad_input());
        for scale in [-0.1, 1.5, f64::NAN] {
            let refused = Eraser::new(GridMask::empty(Grid::new(2, 3)), scale).unwrap_err().to_string();
            assert!(refused.contains("from 0 to 1"), "{refused}");
        }
        let nothing = Eraser::new(GridMask::empty(Grid::new(2, 3)), 0.3).unwrap();
        assert!(nothing.on(Grid::new(1, 2), &Device::Cpu).unwrap().is_none());
    }
}
