//! LMD, training-free: paint every object alone, then the whole scene around the kept objects.
//!
//! Lian et al. 2023, arXiv 2305.13655. Start reading at [`Lmd::paint`]; each stage has a file of its own. [LMD+](super::lmd_plus) is the same with
//! grounding adapters.

mod options;
mod prompts;
mod scene_context;
mod segmentation;
mod solo;
mod whole;

use std::sync::Arc;

use serde_json::Value;

pub use options::{LmdOptions, VerticalPlacement};

use super::{Method, check_values, read_options, write_options};
use crate::Result;
use crate::beginning::refuse_init;
use crate::collage::Collage;
use crate::grounding::{GroundingOptions, SlotPhrase};
use crate::masks::MaskSource;
use crate::observer::Run;
use crate::painting::{PaintRequest, Painting};
use crate::pipeline::Pipeline;
use crate::settings::{Setting, described};
use scene_context::SceneContext;

/// How a model with grounding adapters is conditioned on the boxes.
#[derive(Debug, Clone)]
pub(super) struct Adapters {
    /// The method that has them.
    pub(super) method: &'static str,
    /// What the slots of the whole picture hold.
    pub(super) slot_phrase: SlotPhrase,
    /// For the whole picture.
    pub(super) overall: GroundingOptions,
    /// For objects painted alone.
    pub(super) of_objects: GroundingOptions,
}

/// LMD: without adapters, unless [LMD+](super::lmd_plus) has given it some.
#[derive(Debug, Clone)]
pub struct Lmd {
    options: LmdOptions,
    /// In place of what the options say.
    masks: Option<Arc<dyn MaskSource>>,
    adapters: Option<Adapters>,
}

impl Lmd {
    /// The name on the command line.
    pub const NAME: &'static str = "lmd";

    /// With options; masks come from the pipeline's SAM if it has one, else from attention and box.
    ///
    /// # Errors
    /// [`Error::MethodOption`](crate::Error::MethodOption) for a value outside its range; [`Error::Setting`](crate::Error::Setting) for values that do not go together.
    pub fn new(options: LmdOptions) -> Result<Self> {
        check_values(Self::NAME, &options)?;
        options.validate()?;
        Ok(Self { options, masks: None, adapters: None })
    }

    /// With another source of masks.
    #[must_use]
    pub fn with_masks(self, masks: Arc<dyn MaskSource>) -> Self {
        Self { masks: Some(masks), ..self }
    }

    /// The same for a model that is conditioned on the boxes.
    pub(super) fn with_adapters(self, adapters: Adapters) -> Self {
        Self { adapters: Some(adapters), ..self }
    }

    pub(super) fn build(options: Value) -> Result<Box<dyn Method>> {
        Ok(Box::new(Self::new(read_options(Self::NAME, options)?)?))
    }

    pub(super) fn reference() -> Value {
        write_options(&LmdOptions::reference())
    }

    pub(super) fn settings() -> Vec<Setting> {
        described::<LmdOptions>(Self::NAME, &Self::reference())
    }
}

impl Method for Lmd {
    fn name(&self) -> &'static str {
        self.adapters.as_ref().map_or(Self::NAME, |adapters| adapters.method)
    }

    fn options(&self) -> Value {
        write_options(&self.options)
    }

    fn paint(&self, request: &PaintRequest, pipeline: &Pipeline, run: &Run) -> Result<Painting> {
        refuse_init(request, self.name())?;
        let scene = self.compose_scene(request)?;
        let context = SceneContext::new(self, &scene, request, pipeline, run)?;
        let prompts = context.read_prompts(&scene, request)?;
        let background = context.background_noise()?; // (1, H, W, C)

        // Stages 1 and 2: each object alone, guided into a centred box; its mask, moved to where the layout wants it.
        let solos =
            if context.needs_solos() { context.paint_solos(&scene, &background, &prompts)? } else { Vec::new() };
        // Stage 3: the cut-outs over the background, smaller ones on top.
        let collage = Collage::compose(&background, &solos.iter().map(|solo| solo.cutout.clone()).collect::<Vec<_>>())?;

        // Stage 4: the whole scene, guided by attention, its foreground frozen at first.
        let (latents, report) = context.paint_scene(&prompts.overall, &collage, &solos)?;

        let image = pipeline.decode_one(&latents, run)?;
        let (objects, reports): (Vec<_>, Vec<_>) = solos.into_iter().map(|solo| (solo.painted, solo.report)).unzip();
        Ok(Painting {
            image,
            objects,
            prompts: prompts.texts,
            sampling: context.plan.sampling,
            options: self.options(),
            guidance: reports.into_iter().chain([report]).collect(),
            warnings: run.warnings(),
            timings: run.timings(),
            trajectory: run.take_trajectory()?,
        })
    }
}
