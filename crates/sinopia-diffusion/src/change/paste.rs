//! Old pixels back in their place.

use super::ChangeMask;
use crate::image::{Image, ImageSize};
use crate::{Error, Result};

/// A picture with its old pixels pasted back.
#[derive(Debug, Clone)]
pub struct Pasted {
    /// The picture: where the mask's alpha is 0, the old bytes.
    pub image: Image,
    /// How far old and new were from each other where they meet, in levels of 255: the mean over the ring in which less than a tenth of the new picture is left. 0 without a ring.
    pub seam: f64,
}

/// A tenth of the new picture.
const RING_ALPHA: u8 = 25;

/// The new picture in the mask, the old one outside: `old` by copying where alpha is 0, else `(alpha·new + (255 − alpha)·old) / 255`, rounded.
///
/// # Errors
/// [`Error::Mismatch`] when one of the pictures has another size than the mask.
pub fn paste(original: &Image, painted: &Image, mask: &ChangeMask) -> Result<Pasted> {
    for (what, image) in [("the original picture", original), ("the painted picture", painted)] {
        if image.size() != mask.size() {
            let (found, expected) = (image.size().to_string(), format!("the mask's {}", mask.size()));
            return Err(Error::Mismatch { what, found, expected });
        }
    }
    let mut pixels = original.pixels().to_vec();
    let new = painted.pixels().chunks_exact(3);
    for ((old, new), alpha) in pixels.chunks_exact_mut(3).zip(new).zip(mask.alpha()) {
        old.iter_mut().zip(new).for_each(|(old, new)| *old = mixed(*old, *new, *alpha));
    }
    let seam = seam(original, painted, &ring(mask));
    Ok(Pasted { image: Image::from_pixels(mask.size(), pixels)?, seam })
}

fn mixed(old: u8, new: u8, alpha: u8) -> u8 {
    let (old, new, alpha) = (u32::from(old), u32::from(new), u32::from(alpha));
    ((alpha * new + (255 - alpha) * old + 127) / 255) as u8
}

/// The outermost pixels of the region; without a margin those that touch it from outside.
fn ring(mask: &ChangeMask) -> Vec<usize> {
    let faint = mask.alpha().iter().enumerate().filter(|(_, alpha)| (1..=RING_ALPHA).contains(*alpha));
    let faint: Vec<usize> = faint.map(|(pixel, _)| pixel).collect();
    if !faint.is_empty() {
        return faint;
    }
    let ImageSize { width, height } = mask.size();
    let is_new = |row: usize, column: usize| mask.alpha()[row * width + column] > 0;
    let touches = |pixel: &usize| {
        let (row, column) = (pixel / width, pixel % width);
        let rows = row.saturating_sub(1)..(row + 2).min(height);
        rows.flat_map(|row| (column.saturating_sub(1)..(column + 2).min(width)).map(move |column| (row, column)))
            .any(|(row, column)| is_new(row, column))
    };
    (0..width * height).filter(|pixel| mask.alpha()[*pixel] == 0).filter(touches).collect()
}

/// Mean difference of the channels of these pixels.
fn seam(original: &Image, painted: &Image, ring: &[usize]) -> f64 {
    let difference = |pixel: &usize| -> u64 {
        let channels = 3 * pixel..3 * pixel + 3;
        channels.map(|channel| u64::from(original.pixels()[channel].abs_diff(painted.pixels()[channel]))).sum()
    };
    let sum: u64 = ring.iter().map(difference).sum();
    if ring.is_empty() { 0.0 } else { sum as f64 / (3 * ring.len()) as f64 }
}
