//! Who paints and looks on this machine.

use std::cell::{Cell, RefCell};

use image::RgbImage;
use sinopia_diffusion::noise::Seed;
use sinopia_diffusion::{CancellationToken, CheckedRecord, DenoiserWork, Edit, Observer, Run};
use sinopia_layout::Layout;

use super::{AttemptReport, CheckOptions, Checked, Eye, Hand, Repainted, check};
use crate::models::LoadedModel;
use crate::verdict::{Look, Program};
use crate::{Error, Picture, ResolvedSpec, Result, Verdict, rgb};

/// A model in memory that paints the attempts at a picture and repairs them.
pub struct LocalHand<'a> {
    resolved: &'a ResolvedSpec,
    model: &'a LoadedModel,
    observer: &'a dyn Observer,
    cancellation: &'a CancellationToken,
    /// Whether pictures are painted so that they can be edited.
    is_repairing: Cell<bool>,
    work: RefCell<DenoiserWork>,
}

impl std::fmt::Debug for LocalHand<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("LocalHand").field("resolved", &self.resolved).finish_non_exhaustive()
    }
}

impl<'a> LocalHand<'a> {
    /// Attempts at one picture, the first from its own seed, each further one from the next.
    pub fn new(
        resolved: &'a ResolvedSpec,
        model: &'a LoadedModel,
        observer: &'a dyn Observer,
        cancellation: &'a CancellationToken,
    ) -> Self {
        Self { resolved, model, observer, cancellation, is_repairing: Cell::default(), work: RefCell::default() }
    }

    /// Paints, looks and repairs; `wanted` is what the picture has to show, which for a method without boxes is not what it is painted from. The recipe of the best picture
    /// tells all of it.
    ///
    /// # Errors
    /// As [`check`]; [`Error::RepairedInit`].
    pub fn check(
        &self,
        look: &dyn Look,
        wanted: &Layout,
        options: &CheckOptions,
        tell: &dyn Fn(&AttemptReport, &Picture),
    ) -> Result<Checked<Picture>> {
        if options.repair && self.resolved.has_init() {
            return Err(Error::RepairedInit);
        }
        self.is_repairing.set(options.repair);
        let checked = check(self, &self.eye(look, wanted)?, wanted, options, tell)?;
        let record = checked.record();
        checked.try_map(|picture| picture.checked_as(Some(record)))
    }

    /// Looks at a finished picture that has its trajectory, and repairs what is not as `wanted` has it.
    ///
    /// # Errors
    /// As [`check`].
    pub fn repair(
        &self,
        picture: &Picture,
        look: &dyn Look,
        wanted: &Layout,
        tell: &dyn Fn(&AttemptReport, &Picture),
    ) -> Result<Checked<Picture>> {
        let options = CheckOptions { repair: true, resamples: 0, ..CheckOptions::default() };
        let checked = check(&Finished { hand: self, picture }, &self.eye(look, wanted)?, wanted, &options, tell)?;
        let mut record = checked.record();
        if let Some(earlier) = &picture.recipe.checked {
            record.tries.splice(0..0, earlier.tries.iter().cloned());
            record.tries.truncate(CheckedRecord::MAX_TRIES);
        }
        checked.try_map(|picture| picture.checked_as(Some(record)))
    }

    fn eye<'b>(&'b self, look: &'b dyn Look, wanted: &Layout) -> Result<LocalEye<'b>> {
        let program = Program::for_method(wanted, self.resolved.caption(), self.resolved.method().name())?;
        Ok(LocalEye { look, program, cancellation: self.cancellation })
    }

    /// The denoiser's work so far.
    pub fn denoiser_work(&self) -> DenoiserWork {
        self.work.borrow().clone()
    }

    fn run(&self) -> Run<'a> {
        Run::new(self.observer, self.cancellation)
    }

    fn counted<T>(&self, run: &Run, result: Result<T>) -> Result<T> {
        self.work.borrow_mut().join(&run.work());
        result
    }
}

impl Hand for LocalHand<'_> {
    type Picture = Picture;

    fn seed(&self, attempt: u32) -> Seed {
        Seed(self.resolved.seed().0.wrapping_add(attempt.into()))
    }

    fn paint(&self, attempt: u32) -> Result<Picture> {
        let run = match self.is_repairing.get() {
            true => self.run().keeping_trajectory(),
            false => self.run(),
        };
        self.counted(&run, self.resolved.paint_seed(self.seed(attempt), self.model, &run))
    }

    fn edit(&self, picture: &Picture, edit: &Edit) -> Result<Repainted<Picture>> {
        let run = self.run();
        self.counted(&run, self.resolved.edited(picture, edit, self.model, &run))
    }

    fn work(&self) -> u64 {
        self.work.borrow().total()
    }
}

/// The same hand on a picture that is there already.
struct Finished<'a> {
    hand: &'a LocalHand<'a>,
    picture: &'a Picture,
}

impl Hand for Finished<'_> {
    type Picture = Picture;

    fn seed(&self, _: u32) -> Seed {
        self.picture.recipe.sampling.seed
    }

    fn paint(&self, _: u32) -> Result<Picture> {
        Ok(self.picture.clone())
    }

    fn edit(&self, picture: &Picture, edit: &Edit) -> Result<Repainted<Picture>> {
        self.hand.edit(picture, edit)
    }

    fn num_edits(&self) -> u32 {
        u32::try_from(self.picture.recipe.edits.len()).unwrap_or(u32::MAX)
    }

    fn work(&self) -> u64 {
        self.hand.work()
    }
}

/// Somebody who looks at pictures with one program.
struct LocalEye<'a> {
    look: &'a dyn Look,
    program: Program,
    cancellation: &'a CancellationToken,
}

impl Eye<Picture> for LocalEye<'_> {
    fn look(&self, picture: &Picture) -> Result<Verdict> {
        let image: RgbImage = rgb(&picture.painting.image)?;
        self.look.look(&image, &self.program, Some(self.cancellation))
    }
}
