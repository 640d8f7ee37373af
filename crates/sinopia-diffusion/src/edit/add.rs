//! *Add*: an object is painted where there was none.
//!
//! SLD (Wu et al. 2023, arXiv 2311.16090, "Object addition"): the object is painted alone first, as LMD does, from the picture's own noise and a little of its own.
//! Its cells keep those states for the first half of the steps, then the whole picture's prompt goes on.

use super::context::{Context, NoiseUse};
use super::patch::{HeldObject, Lead, Part, Patch, Wanted};
use crate::Result;
use crate::collage::{Collage, Cutout};
use crate::methods::lmd::LoneObject;
use crate::painting::Sampling;
use crate::trajectory::Trajectory;

/// The strength boost of a second try.
const USUAL_BOOST: f64 = 0.1;

/// The object in its box.
pub(super) fn patch(wanted: &Wanted, index: usize, now: &Trajectory, context: &Context) -> Result<Patch> {
    let cutout = cutout(wanted, index, now, context)?;
    let cells = context.grown(&context.touched(&wanted.bbox)?.union(&cutout.mask)?);
    let part = Part { cells, first: 0, lead: Lead::Stored, is_removed: false };
    Ok(Patch { parts: vec![part], object: Some(held(&cutout, now, context)?), wanted: Some(wanted.clone()) })
}

/// The object painted alone on the picture's noise.
pub(super) fn cutout(wanted: &Wanted, index: usize, now: &Trajectory, context: &Context) -> Result<Cutout> {
    let (source, options) = (&context.source, context.options);
    // The number of the attempt draws other noise; how much of it there is goes by how often this very thing was tried.
    let own_noise = options.own_noise + options.own_noise_step * context.edit.strength_boost / USUAL_BOOST;
    let object = LoneObject {
        phrase: &wanted.phrase,
        bbox: &wanted.bbox,
        layout: &context.edit.layout,
        negative: source.request.negative.as_deref(),
        sampling: &Sampling { seed: context.seed(index, NoiseUse::Object), ..source.sampling.clone() },
        noise: &now.states()[0],
        own_noise: own_noise.min(1.0),
    };
    object.paint(context.pipeline, context.run)
}

/// An object that keeps its states for a share of all calls.
pub(super) fn held(cutout: &Cutout, now: &Trajectory, context: &Context) -> Result<HeldObject> {
    let collage = Collage::compose(&now.states()[0], std::slice::from_ref(cutout))?;
    Ok(HeldObject { collage, until: held_until(context) })
}

/// The last call before which objects are put back.
pub(super) fn held_until(context: &Context) -> usize {
    context.call_at(0, context.options.frozen_share)
}
