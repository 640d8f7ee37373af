//! A picture to begin with in the place of noise, and what of it changes.

use std::sync::Arc;

use sinopia_layout::brief;

use crate::image::{Image, ImageSize};
use crate::{Error, Result};

/// The picture that a run begins with in the place of noise alone.
#[derive(Debug, Clone, PartialEq)]
pub struct Init {
    /// The picture, as large as the one that is painted.
    pub image: Arc<Image>,
    /// How much it changes: the share of the denoiser's calls that are made, above 0, at most 1.
    pub strength: f64,
    /// What of it changes; all of it without one.
    pub mask: Option<Arc<PixelMask>>,
}

/// What of a picture changes: a level for each pixel, from 0, where it keeps its bytes, to 255, where it is all new.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PixelMask {
    size: ImageSize,
    /// (H, W), row by row.
    levels: Vec<u8>,
}

impl PixelMask {
    /// From its levels, (H, W) row by row.
    ///
    /// # Errors
    /// [`Error::Mismatch`] when there is not one for each pixel; [`Error::Setting`] when nothing is to change.
    pub fn new(size: ImageSize, levels: Vec<u8>) -> Result<Self> {
        if levels.len() != size.width * size.height {
            let (found, expected) = (format!("{} pixels", levels.len()), size.to_string());
            return Err(Error::Mismatch { what: "the mask", found, expected });
        }
        if levels.iter().all(|level| *level == 0) {
            let expected = "white where the picture is to change, black where it stays";
            return Err(Error::Setting { name: "mask", found: "black everywhere".to_owned(), expected });
        }
        Ok(Self { size, levels })
    }

    /// Its sides.
    pub fn size(&self) -> ImageSize {
        self.size
    }

    /// (H, W), row by row.
    pub fn levels(&self) -> &[u8] {
        &self.levels
    }
}

impl Init {
    /// Refuses what does not fit a picture of this size.
    ///
    /// # Errors
    /// [`Error::Setting`], [`Error::Mismatch`].
    pub fn check(&self, size: ImageSize) -> Result<()> {
        if !(self.strength > 0.0 && self.strength <= 1.0) {
            let expected = "a number above 0, at most 1";
            return Err(Error::Setting { name: "strength", found: brief(self.strength), expected });
        }
        let mask = self.mask.as_ref().map(|mask| ("the mask", mask.size()));
        let parts = [("the picture to begin with", self.image.size())].into_iter().chain(mask);
        match parts.into_iter().find(|(_, found)| *found != size) {
            None => Ok(()),
            Some((what, found)) => Err(Error::Mismatch { what, found: found.to_string(), expected: size.to_string() }),
        }
    }
}
