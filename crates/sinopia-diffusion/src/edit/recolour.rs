//! *Recolour*: an object gets another colour or material; its shape stays.
//!
//! SDEdit (Meng et al. 2021, arXiv 2108.01073) inside the object's cells, from the painting's own states: the noise that it grew from keeps its shape, the steps that are
//! taken again give it what the new phrase says.

use super::context::Context;
use super::patch::{Lead, Part, Patch, Wanted};
use crate::Result;

/// The box's cells, and what the object has beyond them, from a share of the steps on.
pub(super) fn patch(wanted: &Wanted, strength: f64, context: &Context) -> Result<Patch> {
    let object = context.object_cells(&wanted.phrase, &wanted.bbox)?;
    let cells = context.grown(&context.touched(&wanted.bbox)?.union(&object)?);
    let part = Part { cells, first: context.first_call(strength)?, lead: Lead::Stored, is_removed: false };
    Ok(Patch { parts: vec![part], object: None, wanted: Some(wanted.clone()), is_new: false })
}
