//! What of a picture may change: latent cells for the denoiser, and around them the pixels into which new ones fade.

mod distance;
mod paste;

use std::f64::consts::PI;

use sinopia_layout::{BBox, Grid, GridMask, GridRounding};

pub use paste::{Pasted, paste};

use crate::image::ImageSize;
use crate::init::PixelMask;
use crate::{Error, Result};

/// Which latent cells may change, and how much of each pixel is taken from the new picture.
///
/// The region W that may change is where `alpha` is above 0. It holds all pixels of the cells, which are wholly new, and a margin in which old and new are mixed.
/// Outside W a [pasted](paste) picture has the old bytes: the autoencoder's decoder looks everywhere, so that one changed cell changes every pixel a
/// little, and keeping latents keeps no pixel.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ChangeMask {
    cells: GridMask,
    /// 0, the old byte, to 255, the new one: (H, W) in pixels.
    alpha: Vec<u8>,
    size: ImageSize,
}

/// The picture that a mask is of, and the margins around what is to change.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct MaskFrame {
    /// Of the latents.
    pub latent: Grid,
    /// Of the picture: a whole number of pixels to a cell.
    pub size: ImageSize,
    /// Cells by which what is to change is grown on every side, corners included.
    pub dilate_cells: usize,
    /// Pixels beyond those cells in which old and new are mixed. Usual: 8 to 16.
    pub feather_pixels: usize,
}

impl MaskFrame {
    /// Pixels to a cell, down and across.
    ///
    /// # Errors
    /// [`Error::Mismatch`] unless both are whole.
    fn cell_pixels(&self) -> Result<(usize, usize)> {
        let Self { latent, size, .. } = *self;
        let whole = |pixels: usize, cells: usize| pixels.checked_div(cells).filter(|side| side * cells == pixels);
        whole(size.height, latent.height).zip(whole(size.width, latent.width)).ok_or_else(|| Error::Mismatch {
            what: "the picture of a mask",
            found: size.to_string(),
            expected: format!("a whole number of pixels to each cell of {latent}"),
        })
    }
}

impl ChangeMask {
    /// What lies in any of the boxes: every cell that a box touches, at least one each.
    ///
    /// # Errors
    /// [`Error::Mismatch`] when the picture is no whole number of pixels to a cell.
    pub fn of_boxes(bboxes: &[BBox], frame: &MaskFrame) -> Result<Self> {
        // Each pixel's box first, so that a box that reaches a pixel into a cell has the cell, however grids round.
        let pixels = Grid::new(frame.size.height, frame.size.width);
        let mask = GridMask::from_bboxes(bboxes, pixels, GridRounding::AtLeastOneCell);
        Self::of_pixels(mask.cells(), frame)
    }

    /// The pixels set, (H, W) row by row: every cell with one of them. A line of one pixel is never lost, as it may be where a cell takes its nearest pixel.
    ///
    /// # Errors
    /// [`Error::Mismatch`] when there are not as many as the picture has, or when that is no whole number of pixels to a cell.
    pub fn of_pixels(pixels: &[bool], frame: &MaskFrame) -> Result<Self> {
        let (down, across) = frame.cell_pixels()?;
        let ImageSize { width, height } = frame.size;
        if pixels.len() != width * height {
            let found = format!("{} pixels", pixels.len());
            return Err(Error::Mismatch { what: "the mask", found, expected: frame.size.to_string() });
        }
        let mut cells = vec![false; frame.latent.cells()];
        for (pixel, _) in pixels.iter().enumerate().filter(|(_, inside)| **inside) {
            cells[pixel / width / down * frame.latent.width + pixel % width / across] = true;
        }
        Self::of_cells(&mask_of(frame.latent, cells), frame)
    }

    /// These cells.
    ///
    /// # Errors
    /// [`Error::Mismatch`] when the mask's grid is not the latents', or the picture is no whole number of pixels to a cell.
    pub fn of_cells(cells: &GridMask, frame: &MaskFrame) -> Result<Self> {
        let (down, across) = frame.cell_pixels()?;
        if cells.grid() != frame.latent {
            let (found, expected) = (cells.grid().to_string(), frame.latent.to_string());
            return Err(Error::Mismatch { what: "the mask's cells", found, expected });
        }
        let cells = dilated(cells, frame.dilate_cells);
        let ImageSize { width, height } = frame.size;
        let inside: Vec<bool> =
            (0..width * height).map(|pixel| cells.contains(pixel / width / down, pixel % width / across)).collect();
        let alpha = feathered(&inside, frame.size, frame.feather_pixels);
        Ok(Self { cells, alpha, size: frame.size })
    }

    /// A picture's mask as its owner drew it, mixed by its levels without another margin: every cell of the latents with a pixel that is not black.
    ///
    /// # Errors
    /// [`Error::Mismatch`] when the mask is no whole number of pixels to a cell.
    pub fn of_levels(mask: &PixelMask, latent: Grid) -> Result<Self> {
        let frame = MaskFrame { latent, size: mask.size(), dilate_cells: 0, feather_pixels: 0 };
        let pixels: Vec<bool> = mask.levels().iter().map(|level| *level > 0).collect();
        Ok(Self { alpha: mask.levels().to_vec(), ..Self::of_pixels(&pixels, &frame)? })
    }

    /// What may change in either.
    ///
    /// # Errors
    /// [`Error::Mismatch`] when they are of pictures of different sizes.
    pub fn union(&self, other: &Self) -> Result<Self> {
        if self.size != other.size {
            let (found, expected) = (other.size.to_string(), self.size.to_string());
            return Err(Error::Mismatch { what: "the other mask", found, expected });
        }
        let alpha = self.alpha.iter().zip(&other.alpha).map(|(one, other)| *one.max(other)).collect();
        Ok(Self { cells: self.cells.union(&other.cells)?, alpha, size: self.size })
    }

    /// The latent cells that may change.
    pub fn cells(&self) -> &GridMask {
        &self.cells
    }

    /// The share of the new picture in each pixel, of 255: (H, W), row by row.
    pub fn alpha(&self) -> &[u8] {
        &self.alpha
    }

    /// The picture's sides.
    pub fn size(&self) -> ImageSize {
        self.size
    }

    /// Whether nothing may change.
    pub fn region_is_empty(&self) -> bool {
        self.alpha.iter().all(|alpha| *alpha == 0)
    }
}

fn mask_of(grid: Grid, cells: Vec<bool>) -> GridMask {
    GridMask::from_cells(grid, cells).unwrap_or_else(|| GridMask::empty(grid))
}

/// The mask grown by so many cells on every side, corners included.
pub fn dilated(mask: &GridMask, by: usize) -> GridMask {
    let grid = mask.grid();
    if by == 0 {
        return mask.clone();
    }
    let window = |at: usize, len: usize| at.saturating_sub(by)..at.saturating_add(by).saturating_add(1).min(len);
    let along_rows: Vec<bool> = (0..grid.cells())
        .map(|cell| window(cell % grid.width, grid.width).any(|column| mask.contains(cell / grid.width, column)))
        .collect();
    let cells = (0..grid.cells())
        .map(|cell| window(cell / grid.width, grid.height).any(|row| along_rows[row * grid.width + cell % grid.width]));
    mask_of(grid, cells.collect())
}

/// 255 inside, and outside falling as half a cosine to 0 at `feather + 1` pixels from the nearest pixel inside.
fn feathered(inside: &[bool], size: ImageSize, feather: usize) -> Vec<u8> {
    let reach = feather as f64 + 1.0;
    let share = |distance: f64| if distance < reach { 0.5 + 0.5 * (PI * distance / reach).cos() } else { 0.0 };
    let distances = distance::to_nearest(inside, size, feather);
    let alpha = |squared: Option<usize>| match squared {
        None => 0,
        Some(0) => 255,
        // Never 0 within the margin, so that the region does not hang on how the last step rounds.
        Some(squared) if (squared as f64).sqrt() < reach => {
            (255.0 * share((squared as f64).sqrt())).round().clamp(1.0, 254.0) as u8
        }
        Some(_) => 0,
    };
    distances.into_iter().map(alpha).collect()
}

#[cfg(test)]
mod tests;
