//! What an operation makes of its cells.

use candle_core::Tensor;
use sinopia_layout::{BBox, GridMask};

use super::context::Context;
use crate::Result;
use crate::collage::Collage;
use crate::schedulers::NoiseLevel;
use crate::trajectory::CellSelect;

/// What one operation asks of a pass.
#[derive(Debug)]
pub(super) struct Patch {
    /// Where it changes something, part by part; none is empty of all cells.
    pub(super) parts: Vec<Part>,
    /// What it puts somewhere.
    pub(super) object: Option<HeldObject>,
    /// What is to be painted there.
    pub(super) wanted: Option<Wanted>,
    /// Whether that is painted from noise, and not from what is there.
    pub(super) is_new: bool,
}

/// Cells that start from the same, and change from the same call on.
#[derive(Debug)]
pub(super) struct Part {
    pub(super) cells: GridMask,
    /// The first call that changes them.
    pub(super) first: usize,
    /// The latents up to there.
    pub(super) lead: Lead,
    /// Whether what is there is to be forgotten.
    pub(super) is_removed: bool,
}

/// Latents on the way to the first call that changes them.
#[derive(Debug)]
pub(super) enum Lead {
    /// The picture's own.
    Stored,
    /// The first call's, (1, H, W, C).
    Start(Tensor),
    /// A picture z₀ and noise, both (1, H, W, C).
    Noised { z0: Tensor, noise: Tensor },
}

/// An object with the states that it comes with.
#[derive(Debug)]
pub(super) struct HeldObject {
    pub(super) collage: Collage,
    /// It is put back before this call and all earlier ones.
    pub(super) until: usize,
}

/// A phrase and its box.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Wanted {
    pub(super) phrase: String,
    pub(super) bbox: BBox,
}

impl Patch {
    /// All cells that may change.
    pub(super) fn cells(&self, context: &Context) -> Result<GridMask> {
        Ok(self.parts.iter().try_fold(context.no_cells(), |all, part| all.union(&part.cells))?)
    }

    /// The parts where something is put or painted.
    pub(super) fn painted(&self) -> impl Iterator<Item = &Part> {
        self.parts.iter().filter(|part| !part.is_removed)
    }
}

impl Part {
    /// The latents before call `index`, at its level, where they are still on the way; else none.
    pub(super) fn led(&self, index: usize, level: NoiseLevel, stored: &Tensor) -> Result<Option<Tensor>> {
        match &self.lead {
            _ if index > self.first => Ok(None),
            Lead::Stored => Ok(Some(stored.clone())),
            Lead::Start(start) => Ok(Some(start.clone())),
            Lead::Noised { z0, noise } => level.noised(z0, noise).map(Some),
        }
    }
}

impl HeldObject {
    /// The latents before call `index` with the object, while it is held.
    pub(super) fn held(&self, latents: Tensor, index: usize) -> Result<Tensor> {
        match index {
            _ if index > self.until => Ok(latents),
            0 => CellSelect::new(self.collage.mask(), latents.device())?.of(self.collage.start(), &latents),
            _ => self.collage.restore_foreground(latents, index - 1),
        }
    }
}

impl Wanted {
    pub(super) fn new(phrase: &str, bbox: &BBox) -> Self {
        Self { phrase: phrase.to_owned(), bbox: *bbox }
    }
}
