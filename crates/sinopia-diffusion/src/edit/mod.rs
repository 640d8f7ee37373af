//! Edits: operations on a finished picture that leave everything else of it as it is, to the byte.
//!
//! Start reading at [`edit`]. Each operation has a file of its own, which says what becomes of its cells: a patch. Patches are denoised in
//! [masked passes](crate::MaskedPass), everything else held to the states of the painting; what was painted anew is pasted into the old picture.
//!
//! Pictures of every method are edited alike: new things are conditioned on their boxes where the model has adapters, else their attention is guided.

mod add;
mod context;
mod fill;
mod operation;
mod options;
mod pass;
mod patch;
mod recolour;
mod remove;
mod replace;
mod resize;
mod rounds;
mod shift;
mod texts;

pub use operation::{Edit, Operation};
pub use options::EditOptions;

use sinopia_layout::GridMask;

use crate::Result;
use crate::change::{ChangeMask, Pasted, paste};
use crate::methods::Method;
use crate::observer::Run;
use crate::painting::{Image, PaintRequest, Sampling};
use crate::pipeline::Pipeline;
use crate::trajectory::Trajectory;
use context::Context;
use patch::{Patch, Wanted};

/// A finished picture and how it was painted.
#[derive(Debug, Clone, Copy)]
pub struct EditSource<'a> {
    /// The picture.
    pub image: &'a Image,
    /// Its states.
    pub trajectory: &'a Trajectory,
    /// As it was sampled, the scheduler filled in: [`Painting::sampling`](crate::Painting::sampling).
    pub sampling: &'a Sampling,
    /// What was asked for: caption and negative keywords are read.
    pub request: &'a PaintRequest,
    /// What painted it.
    pub method: &'a dyn Method,
}

/// A picture after an edit.
#[derive(Debug, Clone)]
pub struct Edited {
    /// The picture: outside the mask the bytes of before.
    pub image: Image,
    /// Its states: outside the mask's cells those of before, to the bit.
    pub trajectory: Trajectory,
    /// What could change.
    pub mask: ChangeMask,
    /// How far old and new are from each other where they meet, in levels of 255: above [`EditOptions::max_seam`] an edge is seen.
    pub seam: f64,
    /// What the person who asked should know.
    pub warnings: Vec<String>,
}

/// Does the operations of an edit.
///
/// Without operations the picture comes back as it was, and no network is called. The same source and edit give the same bytes, on any number of threads.
///
/// # Errors
/// [`Error::Mismatch`](crate::Error::Mismatch) when picture, states and sampling do not belong together; as painting; when the run is cancelled.
/// # Source
/// The frame is that of SLD (Wu et al. 2023, arXiv 2311.16090), with the states of the painting in place of an inversion, and the outside held to the end.
pub fn edit(source: &EditSource, edit: &Edit, pipeline: &Pipeline, run: &Run) -> Result<Edited> {
    edit_with(source, edit, &EditOptions::default(), pipeline, run)
}

/// The same with options of one's own.
///
/// # Errors
/// As [`edit`].
pub fn edit_with(
    source: &EditSource,
    edit: &Edit,
    options: &EditOptions,
    pipeline: &Pipeline,
    run: &Run,
) -> Result<Edited> {
    let own = run.beside(); // so that its warnings are its own, whatever the run has told before
    let edited = Context::new(source, edit, options, pipeline, &own).and_then(edited);
    run.join(own);
    edited
}

/// The operations round by round, each on the picture that the last left.
fn edited(mut context: Context) -> Result<Edited> {
    let mut trajectory = context.source.trajectory.clone();
    let mut changed = context.no_cells();
    for (round, operations) in rounds::of(&context.edit.operations, &context)?.into_iter().enumerate() {
        if round > 0 {
            let (_, Pasted { image, .. }) = pasted(&changed, &trajectory, &context)?;
            context = context.after_round(image);
        }
        let patches = operations.into_iter().map(|index| patch_of(index, &trajectory, &context));
        let patches = patches.collect::<Result<Vec<_>>>()?;
        trajectory = pass::run(&patches, &trajectory, &context)?;
        for patch in &patches {
            changed = changed.union(&patch.cells(&context)?)?;
        }
    }
    let (mask, Pasted { image, seam }) = pasted(&changed, &trajectory, &context)?;
    Ok(Edited { image, trajectory, mask, seam, warnings: context.run.warnings() })
}

/// The old picture with the changed cells of the new one; where an edge would be seen, with a wider margin, if that is better.
fn pasted(changed: &GridMask, trajectory: &Trajectory, context: &Context) -> Result<(ChangeMask, Pasted)> {
    let (old, options) = (context.source.image, context.options);
    let mask = ChangeMask::of_cells(changed, &context.frame(options.feather_cells))?;
    if mask.region_is_empty() {
        return Ok((mask, Pasted { image: old.clone(), seam: 0.0 }));
    }
    let new = context.pipeline.decode_one(trajectory.last(), context.run)?;
    let pasted = paste(old, &new, &mask)?;
    if pasted.seam <= options.max_seam {
        return Ok((mask, pasted));
    }
    let wider = ChangeMask::of_cells(changed, &context.frame(options.feather_cells + 1.0))?;
    let widely = paste(old, &new, &wider)?;
    Ok(if widely.seam < pasted.seam { (wider, widely) } else { (mask, pasted) })
}

/// The patch of an operation of the edit, for the picture as it is now.
fn patch_of(index: usize, now: &Trajectory, context: &Context) -> Result<Patch> {
    match &context.edit.operations[index] {
        Operation::Add { phrase, bbox } => add::patch(&Wanted::new(phrase, bbox), index, now, context),
        Operation::Remove { phrase, bbox } => remove::patch(phrase, bbox, index, now, context),
        Operation::Move { phrase, from, to } => match shift::between(from, to, context) {
            Some(shift) => shift::patch(phrase, from, shift, index, now, context),
            None => resize::patch(phrase, from, to, index, now, context),
        },
        Operation::Recolour { phrase, bbox, strength } => {
            recolour::patch(&Wanted::new(phrase, bbox), *strength, context)
        }
        Operation::Replace { phrase, bbox } => replace::patch(&Wanted::new(phrase, bbox), index, now, context),
    }
}
