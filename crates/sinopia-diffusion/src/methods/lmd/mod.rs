//! LMD, training-free: paint every object alone, then the whole scene around the kept objects.
//!
//! Lian et al. 2023, arXiv 2305.13655. Start reading at [`Lmd::paint`]; each stage has a file of its own. [LMD+](super::lmd_plus) is the same with
//! grounding adapters.

mod options;
mod outlines;
mod painter;
mod prompts;
mod solo;
mod whole;

use std::sync::Arc;

use serde_json::Value;

pub use options::{LmdOptions, VerticalPlacement};

use super::lmd_plus::{AdapterOptions, LmdPlus};
use super::{Method, read_options, write_options};
use crate::Result;
use crate::collage::Collage;
use crate::masks::MaskSource;
use crate::observer::Run;
use crate::painting::{PaintRequest, Painting};
use crate::pipeline::Pipeline;
use painter::Painter;

/// LMD: without adapters, unless [`LmdPlus`] has given it some.
#[derive(Debug, Clone)]
pub struct Lmd {
    options: LmdOptions,
    /// In place of what the options say.
    masks: Option<Arc<dyn MaskSource>>,
    adapters: Option<AdapterOptions>,
}

impl Lmd {
    /// The name on the command line.
    pub const NAME: &'static str = "lmd";

    /// With options; outlines come from the pipeline's SAM if it has one, else from attention and box.
    ///
    /// # Errors
    /// [`Error::Setting`](crate::Error::Setting) for a value outside its range.
    pub fn new(options: LmdOptions) -> Result<Self> {
        options.validate()?;
        Ok(Self { options, masks: None, adapters: None })
    }

    /// With another source of outlines.
    #[must_use]
    pub fn with_masks(self, masks: Arc<dyn MaskSource>) -> Self {
        Self { masks: Some(masks), ..self }
    }

    /// The same for a model that is told of the boxes.
    pub(super) fn with_adapters(self, adapters: AdapterOptions) -> Self {
        Self { adapters: Some(adapters), ..self }
    }

    pub(super) fn build(options: Value) -> Result<Box<dyn Method>> {
        Ok(Box::new(Self::new(read_options(Self::NAME, options)?)?))
    }

    pub(super) fn reference() -> Value {
        write_options(&LmdOptions::reference())
    }
}

impl Method for Lmd {
    fn name(&self) -> &'static str {
        if self.adapters.is_some() { LmdPlus::NAME } else { Self::NAME }
    }

    fn options(&self) -> Value {
        write_options(&self.options)
    }

    fn paint(&self, request: &PaintRequest, pipeline: &Pipeline, run: &Run) -> Result<Painting> {
        let scene = self.compose_scene(request)?;
        let painter = Painter::new(self, &scene, request, pipeline, run)?;
        let prompts = painter.read_prompts(&scene, request)?;
        let background = painter.background_noise()?; // (1, H, W, C)

        // Stages 1 and 2: each object alone, guided into a centred box; its outline, moved to where the layout wants it.
        let solos =
            if painter.needs_solos() { painter.paint_solos(&scene, &background, &prompts)? } else { Vec::new() };
        // Stage 3: the cut-outs over the background, smaller ones on top.
        let collage = Collage::compose(&background, &solos.iter().map(|solo| solo.cutout.clone()).collect::<Vec<_>>())?;

        // Stage 4: the whole scene, guided by attention, its foreground frozen at first.
        let (latents, report) = painter.paint_scene(&prompts.overall, &collage, &solos)?;

        let image = pipeline.decode_one(&latents, run)?;
        let (objects, reports): (Vec<_>, Vec<_>) = solos.into_iter().map(|solo| (solo.painted, solo.report)).unzip();
        Ok(Painting {
            image,
            objects,
            prompts: prompts.texts,
            sampling: painter.sampling,
            options: self.options(),
            guidance: reports.into_iter().chain([report]).collect(),
            warnings: run.warnings(),
            timings: run.timings(),
        })
    }
}
