//! *Add*: an object is painted where there was none.
//!
//! Its box is denoised from the first step on, from the picture's own noise and a little of its own, and told of nothing but the object. The rest of the picture, which is held to its
//! states, is what the object grows into: in place of a picture of its own, as LMD and SLD (Wu et al. 2023, arXiv 2311.16090, "Object addition") paint one first, at half of its
//! work.

use candle_core::Tensor;
use sinopia_layout::GridMask;

use super::context::{Context, NoiseUse};
use super::patch::{Lead, Part, Patch, Wanted};
use crate::Result;
use crate::noise::blend_foreground;
use crate::trajectory::Trajectory;

/// The strength boost of a second try.
const USUAL_BOOST: f64 = 0.1;

/// The object in its box.
pub(super) fn patch(wanted: &Wanted, index: usize, now: &Trajectory, context: &Context) -> Result<Patch> {
    let cells = context.grown(&context.touched(&wanted.bbox)?);
    let lead = Lead::Start(start(&cells, index, &now.states()[0], context)?);
    let part = Part { cells, first: 0, lead, is_removed: false };
    Ok(Patch { parts: vec![part], object: None, wanted: Some(wanted.clone()), is_new: true })
}

/// The picture's noise with some of the object's own in its cells.
fn start(cells: &GridMask, index: usize, stored: &Tensor, context: &Context) -> Result<Tensor> {
    let options = context.options;
    // The number of the attempt draws other noise; how much of it there is goes by how often this very thing was tried.
    let share = options.own_noise + options.own_noise_step * context.edit.strength_boost / USUAL_BOOST;
    let own = context.noise(index, NoiseUse::Object)?;
    let own = context.level(0).noised(&own.zeros_like()?, &own)?;
    let grid = cells.grid();
    let inside = Tensor::from_vec(cells.to_f32(), (grid.height, grid.width), stored.device())?;
    blend_foreground(stored, &own, &inside, share.min(1.0))
}
