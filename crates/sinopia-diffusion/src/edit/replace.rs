//! *Replace*: another object in an object's place.
//!
//! Removing and adding in one pass. The new object is painted alone and put where the old one was, and around it nothing of the old noise is left, from which the
//! old one grew.

use super::context::{Context, NoiseUse};
use super::patch::{Lead, Part, Patch, Wanted};
use super::{add, remove};
use crate::Result;
use crate::trajectory::Trajectory;

/// The new object in the old one's box.
pub(super) fn patch(wanted: &Wanted, index: usize, now: &Trajectory, context: &Context) -> Result<Patch> {
    let noise = context.noise(index, NoiseUse::Around)?;
    let fresh = Trajectory::new(vec![context.level(0).noised(&noise.zeros_like()?, &noise)?])?;
    let cutout = add::cutout(wanted, index, &fresh, context)?;
    let cells = remove::cells(&wanted.bbox, context)?.union(&context.grown(&cutout.mask))?;
    let lead = Lead::Noised { z0: super::fill::filled(now.last(), &cells)?, noise };
    let part = Part { cells, first: 0, lead, is_removed: false };
    Ok(Patch { parts: vec![part], object: Some(add::held(&cutout, &fresh, context)?), wanted: Some(wanted.clone()) })
}
