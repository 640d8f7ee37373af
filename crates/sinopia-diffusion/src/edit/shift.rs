//! *Move*: an object's states are put elsewhere, by whole cells, and where it was is painted over.
//!
//! A cut-out of the picture itself, as LMD's are of pictures of single objects (Lian et al. 2023, arXiv 2305.13655). Noisy states may be moved by whole cells only: half
//! a cell would take half of their noise away.

use sinopia_layout::{BBox, Grid};

use super::context::{Context, without};
use super::patch::{HeldObject, Lead, Part, Patch};
use super::remove;
use crate::Result;
use crate::collage::{Collage, Cutout, Shift};
use crate::trajectory::Trajectory;

/// The move by whole cells from one box to another of its size, within a cell; none if sizes differ.
pub(super) fn between(from: &BBox, to: &BBox, context: &Context) -> Option<Shift> {
    let Grid { height, width } = context.grid();
    let is_same = |one: f64, other: f64, cells: usize| (one - other).abs() * cells as f64 <= 1.0;
    if !is_same(from.width(), to.width(), width) || !is_same(from.height(), to.height(), height) {
        return None;
    }
    let ((x0, y0), (x1, y1)) = (from.center(), to.center());
    let cells = |way: f64, cells: usize| (way * cells as f64).round_ties_even() as i64;
    Some(Shift { down: cells(y1 - y0, height), right: cells(x1 - x0, width) })
}

/// The object's cells moved; what it leaves goes.
pub(super) fn patch(
    phrase: &str,
    from: &BBox,
    shift: Shift,
    index: usize,
    now: &Trajectory,
    context: &Context,
) -> Result<Patch> {
    let object = context.object_cells(phrase, from)?;
    let until = context.call_at(0, context.options.moved_share);
    let cutout = Cutout::new(now.states()[..=until].to_vec(), &object, shift);
    let left = without(&remove::cells(from, context)?.union(&context.grown(&object))?, &cutout.mask);
    let target = without(&context.grown(&cutout.mask), &left);
    let left = remove::part(left, index, now, context)?;
    // What is around it is the picture's own until it is let go, too.
    let arrived = Part { cells: target, first: until, lead: Lead::Stored, is_removed: false };
    let collage = Collage::compose(&now.states()[0], std::slice::from_ref(&cutout))?;
    let object = Some(HeldObject { collage, until });
    Ok(Patch { parts: vec![left, arrived], object, wanted: None, is_new: false })
}
