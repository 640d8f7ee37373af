//! What all operations of an edit share: the picture, sizes, noise levels, seeds.

use std::borrow::Cow;
use std::sync::Arc;

use candle_core::Tensor;
use sinopia_layout::{BBox, Grid, GridMask};

use super::{Edit, EditOptions, EditSource};
use crate::attention_map::AttentionMap;
use crate::change::{ChangeMask, MaskFrame, dilated};
use crate::masks::{AttentionBoxMask, MaskRequest, MaskSource, SamMask, SamOptions};
use crate::noise::{NoiseSource, Seed};
use crate::observer::Run;
use crate::painting::Image;
use crate::pipeline::Pipeline;
use crate::schedulers::NoiseLevel;
use crate::{Error, Result};

/// What all operations of an edit share.
pub(super) struct Context<'a> {
    pub(super) source: EditSource<'a>,
    pub(super) edit: &'a Edit,
    pub(super) options: &'a EditOptions,
    pub(super) pipeline: &'a Pipeline,
    pub(super) run: &'a Run<'a>,
    /// The picture as the rounds so far have left it.
    pub(super) image: Cow<'a, Image>,
    /// How many rounds are done.
    rounds_done: usize,
    /// Before each call of the denoiser.
    levels: Vec<NoiseLevel>,
}

/// What noise is drawn for: each has its own.
#[derive(Debug, Clone, Copy)]
pub(super) enum NoiseUse {
    /// Where something is removed.
    Behind,
    /// An object that is painted alone.
    Object,
    /// Around an object, and in it where only its pixels are known.
    Around,
    /// What schedulers add on the way.
    Scheduler,
}

impl<'a> Context<'a> {
    /// Checks that picture, states and sampling belong together.
    pub(super) fn new(
        source: &EditSource<'a>,
        edit: &'a Edit,
        options: &'a EditOptions,
        pipeline: &'a Pipeline,
        run: &'a Run,
    ) -> Result<Self> {
        let (size, states) = (pipeline.latent_size(source.sampling)?, source.trajectory.size());
        if states != size {
            let found = format!("{states:?}");
            return Err(Error::Mismatch { what: "the states of the picture", found, expected: format!("{size:?}") });
        }
        if source.image.size() != source.sampling.size() {
            let (found, expected) = (source.image.size().to_string(), source.sampling.size().to_string());
            return Err(Error::Mismatch { what: "the picture to edit", found, expected });
        }
        let noise = NoiseSource::new(edit.seed);
        let sampler = pipeline.sampler_as(source.method.constructor(), source.sampling, noise, run)?;
        let levels = (0..sampler.num_calls()).map(|index| sampler.noise_level(index)).collect();
        let image = Cow::Borrowed(source.image);
        Ok(Self { source: *source, edit, options, pipeline, run, image, rounds_done: 0, levels })
    }

    /// For the next round, which sees what the last made of the picture.
    pub(super) fn after_round(self, image: Image) -> Self {
        Self { image: Cow::Owned(image), rounds_done: self.rounds_done + 1, ..self }
    }

    /// How often the denoiser is called for a whole picture.
    pub(super) fn num_calls(&self) -> usize {
        self.levels.len()
    }

    /// How noisy latents are before a call.
    pub(super) fn level(&self, index: usize) -> NoiseLevel {
        self.levels[index]
    }

    /// The first call of a change of a strength, with what the attempt adds to it; the last call at the latest, so that something changes.
    pub(super) fn first_call(&self, strength: f64) -> Result<usize> {
        let strength = (strength + self.edit.strength_boost).min(1.0);
        let constructor = self.source.method.constructor();
        let first = self.pipeline.first_call(constructor, self.source.sampling, strength)?;
        Ok(first.min(self.num_calls() - 1))
    }

    /// The call before which a share of those from `first` on is over.
    pub(super) fn call_at(&self, first: usize, share: f64) -> usize {
        first + ((self.num_calls() - first) as f64 * share).round() as usize
    }

    /// The latents' cells.
    pub(super) fn grid(&self) -> Grid {
        self.source.trajectory.size().grid()
    }

    pub(super) fn no_cells(&self) -> GridMask {
        GridMask::empty(self.grid())
    }

    /// How cells become a mask of the picture, with a margin of so many cells.
    pub(super) fn frame(&self, feather_cells: f64) -> MaskFrame {
        let (latent, size) = (self.grid(), self.source.image.size());
        let cell_pixels = size.height.max(size.width) as f64 / latent.height.max(latent.width) as f64;
        let feather_pixels = (feather_cells * cell_pixels).round() as usize;
        MaskFrame { latent, size, dilate_cells: 0, feather_pixels }
    }

    /// Every cell that a box touches.
    pub(super) fn touched(&self, bbox: &BBox) -> Result<GridMask> {
        Ok(ChangeMask::of_boxes(&[*bbox], &self.frame(0.0))?.cells().clone())
    }

    /// Grown by what the options and the attempt say.
    pub(super) fn grown(&self, cells: &GridMask) -> GridMask {
        dilated(cells, self.options.grow_cells + self.edit.grow_cells)
    }

    /// The cells of the object in a box, by the segmentation model if there is one; else every cell that the box touches.
    pub(super) fn object_cells(&self, phrase: &str, bbox: &BBox) -> Result<GridMask> {
        let sam = self.pipeline.sam().filter(|_| self.options.uses_segmentation);
        let Some(sam) = sam else { return self.touched(bbox) };
        let latent_grid = self.grid();
        let attention = AttentionMap::new(latent_grid, vec![0.0; latent_grid.cells()])?;
        let masks = SamMask::new(Arc::clone(sam), SamOptions::default(), AttentionBoxMask::default());
        let image = Some(self.image.as_ref());
        masks.mask(&MaskRequest { phrase, bbox, attention: &attention, image, latent_grid, run: self.run })
    }

    /// Noise of unit variance for an operation, (1, H, W, C): of each operation, use and attempt its own.
    pub(super) fn noise(&self, index: usize, noise_use: NoiseUse) -> Result<Tensor> {
        let mut source = NoiseSource::new(self.seed(index, noise_use));
        source.draw(self.source.trajectory.size(), self.pipeline.device())
    }

    /// Where that noise starts. Seeds count in their low 32 bits, into which all that they are made of is mixed.
    pub(super) fn seed(&self, index: usize, noise_use: NoiseUse) -> Seed {
        let parts = [self.edit.seed.0, index as u64, noise_use as u64, u64::from(self.edit.attempt)];
        Seed(parts.into_iter().fold(0, |mixed, part| splitmix64(mixed ^ part)) >> 32)
    }

    /// Where the scheduler's noise of this round starts.
    pub(super) fn scheduler_seed(&self) -> Seed {
        self.seed(self.rounds_done, NoiseUse::Scheduler)
    }
}

/// Steele et al. 2014, "Fast splittable pseudorandom number generators": the step and the mix.
fn splitmix64(value: u64) -> u64 {
    let value = value.wrapping_add(0x9e37_79b9_7f4a_7c15);
    let value = (value ^ (value >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let value = (value ^ (value >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    value ^ (value >> 31)
}

/// The cells of one mask that are not in the other, which is of the same grid.
pub(super) fn without(mask: &GridMask, other: &GridMask) -> GridMask {
    let cells = mask.cells().iter().zip(other.cells()).map(|(inside, out)| *inside && !*out);
    GridMask::from_cells(mask.grid(), cells.collect()).unwrap_or_else(|| mask.clone())
}
