//! *Resize*: an object becomes larger or smaller, and may be moved with that.
//!
//! As in FreeFine (2025, arXiv 2507.23300): the object is scaled as pixels, what it leaves is filled, and both are refined. Pixels that are scaled a lot look like it: then
//! the object is removed and painted anew.

use candle_core::Tensor;
use sinopia_layout::{BBox, Grid, GridMask};

use super::context::{Context, NoiseUse, without};
use super::patch::{Lead, Part, Patch, Wanted};
use super::{add, remove};
use crate::Result;
use crate::change::ChangeMask;
use crate::painting::{Image, ImageSize};
use crate::trajectory::Trajectory;

/// The object scaled from one box to the other; what it leaves goes.
pub(super) fn patch(
    phrase: &str,
    from: &BBox,
    to: &BBox,
    index: usize,
    now: &Trajectory,
    context: &Context,
) -> Result<Patch> {
    if !is_scaled(from, to, context) {
        return painted_anew(&Wanted::new(phrase, to), from, index, now, context);
    }
    let object = context.object_cells(phrase, from)?;
    let scaling = Scaling { from, to, object: &object };
    let target = scaling.cells(context)?;
    let left = without(&remove::cells(from, context)?.union(&context.grown(&object))?, &target);
    let left = remove::part(left, index, now, context)?;
    let z0 = scaling.latents(context)?;
    let noise = context.noise(index, NoiseUse::Around)?;
    let first = context.first_call(context.options.resize_strength)?;
    let arrived = Part {
        cells: without(&context.grown(&target), &left.cells),
        first,
        lead: Lead::Noised { z0, noise },
        is_removed: false,
    };
    Ok(Patch { parts: vec![left, arrived], object: None, wanted: None, is_new: false })
}

/// Whether both sides change by a factor that pixels stand.
fn is_scaled(from: &BBox, to: &BBox, context: &Context) -> bool {
    let (least, most) = context.options.scaled_by;
    [to.width() / from.width(), to.height() / from.height()].iter().all(|factor| (least..=most).contains(factor))
}

/// Removed where it was, and added where it is to be.
fn painted_anew(wanted: &Wanted, from: &BBox, index: usize, now: &Trajectory, context: &Context) -> Result<Patch> {
    let added = add::patch(wanted, index, now, context)?;
    let left = remove::part(remove::cells_of_object(&wanted.phrase, from, context)?, index, now, context)?;
    Ok(Patch { parts: added.parts.into_iter().chain([left]).collect(), ..added })
}

/// An object that is scaled from one box to another.
struct Scaling<'a> {
    from: &'a BBox,
    to: &'a BBox,
    /// Its cells in the first.
    object: &'a GridMask,
}

impl Scaling<'_> {
    /// Where a place of the target comes from, both as shares of the picture.
    fn origin(&self, x: f64, y: f64) -> (f64, f64) {
        let (from, to) = (self.from, self.to);
        let back = |at: f64, to0: f64, to_len: f64, from0: f64, from_len: f64| from0 + (at - to0) / to_len * from_len;
        (back(x, to.x0(), to.width(), from.x0(), from.width()), back(y, to.y0(), to.height(), from.y0(), from.height()))
    }

    /// Whether the object is at a place of the target.
    fn is_object(&self, x: f64, y: f64) -> bool {
        let (x, y) = self.origin(x, y);
        let Grid { height, width } = self.object.grid();
        (0.0..1.0).contains(&x)
            && (0.0..1.0).contains(&y)
            && self.object.contains((y * height as f64) as usize, (x * width as f64) as usize)
    }

    /// The cells that the scaled object is in.
    fn cells(&self, context: &Context) -> Result<GridMask> {
        let ImageSize { width, height } = context.source.image.size();
        let place = |index: usize, len: usize| (index as f64 + 0.5) / len as f64;
        let is_object = |pixel: usize| self.is_object(place(pixel % width, width), place(pixel / width, height));
        let pixels: Vec<bool> = (0..width * height).map(is_object).collect();
        Ok(ChangeMask::of_pixels(&pixels, &context.frame(0.0))?.cells().clone())
    }

    /// z₀ of the picture with the scaled object over it: (1, H, W, C).
    fn latents(&self, context: &Context) -> Result<Tensor> {
        let image = context.image.as_ref();
        let ImageSize { width, height } = image.size();
        let place = |index: usize, len: usize| (index as f64 + 0.5) / len as f64;
        let mut pixels = image.pixels().to_vec();
        for (pixel, rgb) in pixels.chunks_exact_mut(3).enumerate() {
            let (x, y) = (place(pixel % width, width), place(pixel / width, height));
            if self.is_object(x, y) {
                let (x, y) = self.origin(x, y);
                rgb.copy_from_slice(&sampled(image, x * width as f64 - 0.5, y * height as f64 - 0.5));
            }
        }
        context.pipeline.encode_picture(&Image::from_pixels(image.size(), pixels)?, context.run)
    }
}

/// The colour between pixels, bilinear; beyond the edge that of the edge.
fn sampled(image: &Image, x: f64, y: f64) -> [u8; 3] {
    let ImageSize { width, height } = image.size();
    let taps = |at: f64, len: usize| {
        let at = at.clamp(0.0, (len - 1) as f64);
        let low = at.floor();
        [(low as usize, 1.0 - (at - low)), ((low as usize + 1).min(len - 1), at - low)]
    };
    let (columns, rows) = (taps(x, width), taps(y, height));
    std::array::from_fn(|channel| {
        let pairs = rows.iter().flat_map(|row| columns.iter().map(move |column| (row, column)));
        let value = |((row, v), (column, u)): (&(usize, f64), &(usize, f64))| {
            v * u * f64::from(image.pixels()[3 * (row * width + column) + channel])
        };
        pairs.map(value).sum::<f64>().round() as u8
    })
}

#[cfg(test)]
mod tests {
    use sinopia_layout::GridRounding;

    use super::*;

    #[test]
    fn an_object_is_scaled_about_its_box() {
        let (from, to) = (BBox::new(0.25, 0.25, 0.5, 0.5).unwrap(), BBox::new(0.5, 0.0, 1.0, 0.5).unwrap());
        let object = GridMask::from_bbox(&from, Grid::new(8, 8), GridRounding::AtLeastOneCell);
        let scaling = Scaling { from: &from, to: &to, object: &object };
        for ((x, y), origin) in [((0.5, 0.0), (0.25, 0.25)), ((1.0, 0.5), (0.5, 0.5)), ((0.75, 0.25), (0.375, 0.375))] {
            assert_eq!(scaling.origin(x, y), origin);
        }
        let is_object = [(0.51, 0.01), (0.99, 0.49), (0.49, 0.25), (0.75, 0.51)].map(|(x, y)| scaling.is_object(x, y));
        assert_eq!(is_object, [true, true, false, false]);
    }

    #[test]
    fn colours_between_pixels_are_mixed_and_those_beyond_the_edge_are_its() -> Result<()> {
        let size = ImageSize { width: 2, height: 2 };
        let image = Image::from_pixels(size, vec![0, 0, 0, 100, 10, 0, 0, 20, 0, 100, 30, 200])?;
        assert_eq!(sampled(&image, 0.0, 0.0), [0, 0, 0]);
        assert_eq!(sampled(&image, 0.5, 0.0), [50, 5, 0]);
        assert_eq!(sampled(&image, 0.5, 0.5), [50, 15, 50]);
        assert_eq!(sampled(&image, 9.0, -3.0), [100, 10, 0]);
        Ok(())
    }
}
