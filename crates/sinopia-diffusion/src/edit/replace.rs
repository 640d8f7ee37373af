//! *Replace*: another object in an object's place.
//!
//! As something is added, but nothing of the noise is left from which the old object grew, and at first what surrounds it lies under the new noise.

use super::context::{Context, NoiseUse};
use super::fill::filled;
use super::patch::{Lead, Part, Patch, Wanted};
use super::remove;
use crate::Result;
use crate::trajectory::Trajectory;

/// The new object in the old one's box.
pub(super) fn patch(wanted: &Wanted, index: usize, now: &Trajectory, context: &Context) -> Result<Patch> {
    let cells = remove::cells(&wanted.bbox, context)?;
    let lead = Lead::Noised { z0: filled(now.last(), &cells)?, noise: context.noise(index, NoiseUse::Around)? };
    let part = Part { cells, first: 0, lead, is_removed: false };
    Ok(Patch { parts: vec![part], object: None, wanted: Some(wanted.clone()), is_new: true })
}
