//! *Remove*: an object is taken out, and what is behind it painted.
//!
//! AttentiveEraser (Sun et al. 2024, arXiv 2412.12974): nothing attends to the object any more while its cells are denoised again from fresh noise; its own noise is
//! what it grew from. Under the noise lies what surrounds it, in place of the object. Shadows are outside the object: the mask reaches down a little.

use sinopia_layout::{BBox, GridMask};

use super::context::{Context, NoiseUse};
use super::fill::filled;
use super::patch::{Lead, Part, Patch};
use crate::Result;
use crate::trajectory::Trajectory;

/// Everything in the box goes, all of the object and its shadow.
pub(super) fn patch(phrase: &str, bbox: &BBox, index: usize, now: &Trajectory, context: &Context) -> Result<Patch> {
    let cells = cells_of_object(phrase, bbox, context)?;
    Ok(Patch { parts: vec![part(cells, index, now, context)?], object: None, wanted: None, is_new: false })
}

/// The cells of a box, its shadow and a margin.
pub(super) fn cells(bbox: &BBox, context: &Context) -> Result<GridMask> {
    let (x0, y0, x1, y1) = bbox.corners();
    let reaching_down = BBox::new(x0, y0, x1, (y1 + context.options.shadow_share * bbox.height()).min(1.0))?;
    Ok(context.grown(&context.touched(&reaching_down)?))
}

/// The same with what the object has beyond its box, as far as the segmentation model sees it.
pub(super) fn cells_of_object(phrase: &str, bbox: &BBox, context: &Context) -> Result<GridMask> {
    let beyond = context.grown(&context.object_cells(phrase, bbox)?);
    Ok(cells(bbox, context)?.union(&beyond)?)
}

/// What is in these cells goes.
pub(super) fn part(cells: GridMask, index: usize, now: &Trajectory, context: &Context) -> Result<Part> {
    let first = context.first_call(context.options.remove_strength)?;
    let (z0, noise) = (filled(now.last(), &cells)?, context.noise(index, NoiseUse::Behind)?);
    Ok(Part { cells, first, lead: Lead::Noised { z0, noise }, is_removed: true })
}
