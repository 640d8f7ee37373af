//! Checked pictures: look, repair what is wrong, keep what is right.
//!
//! [`check`] paints attempts from one seed after the other until an [`Eye`] sees what was wanted, keeps the best, and repairs on it what is surely wrong: each fault has its operations by
//! rule, and a repair stays only if the picture is better for it and nothing that was right is lost. Whoever paints is a [`Hand`]; the one that paints here is
//! [`LocalHand::check`]. Nobody is asked anything, so the same verdicts lead to the same picture.
//!
//! # Source
//! The loop of SLD (Wu et al. 2023, arXiv 2311.16090) without its language model: predicates are compiled once and edits follow from them by rule, as in EPIC (arXiv 2605.11722), edits that do not touch each
//! other are made to the same picture in one pass, as in Marmot (arXiv 2504.20054).

mod budget;
mod cycle;
mod faults;
mod local;

mod options;
mod report;
mod room;
#[cfg(test)]
mod tests;

use sinopia_diffusion::Edit;
use sinopia_diffusion::noise::Seed;

use crate::{Result, Verdict};

pub use cycle::check;
pub use local::LocalHand;
pub use options::CheckOptions;
pub use report::{AttemptReport, Checked, Ended, Rejected};
pub use room::with_room;

/// Whoever paints and edits. Pictures know nothing of verdicts here, so that tests can drive the loop without a model.
pub trait Hand {
    /// A finished picture, with what is needed to edit it.
    type Picture;

    /// The seed of an attempt, counted from 0.
    fn seed(&self, attempt: u32) -> Seed;

    /// Paints an attempt.
    ///
    /// # Errors
    /// When it cannot be painted, or is cancelled.
    fn paint(&self, attempt: u32) -> Result<Self::Picture>;

    /// Does an edit to a picture, which itself stays as it is.
    ///
    /// # Errors
    /// When it cannot be done, or is cancelled.
    fn edit(&self, picture: &Self::Picture, edit: &Edit) -> Result<Repainted<Self::Picture>>;

    /// How many edits its pictures have behind them: the noise of those is not drawn again.
    fn num_edits(&self) -> u32 {
        0
    }

    /// The work of everything so far, in multiply-accumulates of the denoiser.
    fn work(&self) -> u64;
}

/// A picture after an edit.
#[derive(Debug, Clone)]
pub struct Repainted<P> {
    /// The picture.
    pub picture: P,
    /// How far new and old pixels are apart where they meet, in levels of 255.
    pub seam: f64,
}

/// Whoever looks.
pub trait Eye<P> {
    /// What is seen in a picture of what was wanted.
    ///
    /// # Errors
    /// When it cannot be looked at, or looking is cancelled.
    fn look(&self, picture: &P) -> Result<Verdict>;
}
