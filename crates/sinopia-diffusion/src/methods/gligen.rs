//! GLIGEN: one pass over a model that was trained to be told of boxes, for its first steps.
//!
//! Li et al. 2023, arXiv 2301.07093. The baseline of [LMD+](super::lmd_plus): no objects painted alone, no guidance.

use serde::{Deserialize, Serialize};
use serde_json::Value;
use sinopia_layout::scene::OVERALL_NEGATIVE;
use sinopia_layout::{Scene, SceneOptions};

use super::one_pass::{through, unguided};
use super::{Method, read_options, write_options};
use crate::conditioning::PromptText;
use crate::grounding::{GroundingOptions, GuidanceGrounding, SlotPhrase, check_beta, slots, wiring};
use crate::noise::NoiseSource;
use crate::observer::{Run, Stage};
use crate::painting::{PaintRequest, Painting, Prompts, Sampling};
use crate::pipeline::Pipeline;
use crate::prompts::warn_of_stretching;
use crate::schedulers::SchedulerKind;
use crate::{Error, Result};

/// Options of [`Gligen`].
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct GligenOptions {
    /// Share of the steps, 0..=1, from the first on, at which the adapters are on. Published with LMD: 0.4; diffusers: 0.3.
    pub gligen_scheduled_sampling_beta: f64,
    /// Takes the place of the prompt composed of background and phrases.
    pub overall_prompt: Option<String>,
    /// Mend: a slot holds the name of its object, as the adapters were trained. Published with LMD: `object_prompt`.
    pub slot_phrase: SlotPhrase,
    /// Whether text and boxes are looked at side by side, which keeps unboxed parts of the prompt from being lost (ReGround, arXiv 2403.13589).
    /// Published: false.
    pub reground: bool,
}

impl Default for GligenOptions {
    fn default() -> Self {
        Self {
            gligen_scheduled_sampling_beta: 0.4,
            overall_prompt: None,
            slot_phrase: SlotPhrase::Name,
            reground: false,
        }
    }
}

/// GLIGEN with text boxes.
#[derive(Debug, Clone)]
pub struct Gligen {
    options: GligenOptions,
}

impl Gligen {
    /// The name on the command line.
    pub const NAME: &'static str = "gligen";

    /// With options.
    ///
    /// # Errors
    /// [`Error::Setting`] for a value outside its range.
    pub fn new(options: GligenOptions) -> Result<Self> {
        check_beta("gligen_scheduled_sampling_beta", options.gligen_scheduled_sampling_beta)?;
        Ok(Self { options })
    }

    pub(super) fn build(options: Value) -> Result<Box<dyn Method>> {
        Ok(Box::new(Self::new(read_options(Self::NAME, options)?)?))
    }

    pub(super) fn reference() -> Value {
        write_options(&GligenOptions { slot_phrase: SlotPhrase::ObjectPrompt, ..GligenOptions::default() })
    }

    fn compose_scene(&self, request: &PaintRequest) -> Result<Scene> {
        let layout = request.layout.as_ref().ok_or(Error::NoLayout { method: Self::NAME })?;
        let options = SceneOptions {
            overall_prompt: self.options.overall_prompt.clone(),
            overall_negative: request.negative.as_deref().unwrap_or(OVERALL_NEGATIVE).trim().to_owned(),
            ..SceneOptions::default()
        };
        Ok(Scene::compose_with(layout, &options)?)
    }
}

impl Method for Gligen {
    fn name(&self) -> &'static str {
        Self::NAME
    }

    fn options(&self) -> Value {
        write_options(&self.options)
    }

    fn paint(&self, request: &PaintRequest, pipeline: &Pipeline, run: &Run) -> Result<Painting> {
        pipeline.require_adapters(Self::NAME)?;
        let scene = self.compose_scene(request)?;
        let scheduler = request.sampling.scheduler.unwrap_or(SchedulerKind::Ddim);
        let sampling = Sampling { scheduler: Some(scheduler), ..request.sampling.clone() };
        let size = pipeline.latent_size(&sampling)?;
        warn_of_stretching(scene.canvas(), &sampling, run);
        let prompt = match scene.overall().text.as_str() {
            "" => request.caption.clone().unwrap_or_default(),
            text => text.to_owned(),
        };
        let negative = scene.overall_negative();

        let text = run.stage(&Stage::Encode, || {
            let words = PromptText { words: &prompt, caption: request.caption.as_deref() };
            let mut text = pipeline.encode_pairs(&[words], negative, &sampling, run)?;
            let grounding = GroundingOptions {
                beta: self.options.gligen_scheduled_sampling_beta,
                guidance: GuidanceGrounding::None, // there is no guidance
                wiring: wiring(self.options.reground),
            };
            text.swap_remove(0).grounded(&slots(&scene, self.options.slot_phrase), grounding, pipeline, run)
        })?;
        let mut noise = NoiseSource::new(sampling.seed);
        let start = noise.draw(size, pipeline.device())?; // (1, H, W, C)
        let sampler = pipeline.gligen_sampler(scheduler, &sampling, noise, run)?;
        let latents = through(sampler, &start, &text, run, unguided)?;
        let image = pipeline.decode_one(&latents, run)?;
        Ok(Painting {
            image,
            objects: Vec::new(),
            prompts: Prompts { overall: prompt, overall_negative: negative.to_owned(), ..Prompts::default() },
            sampling,
            options: self.options(),
            guidance: Vec::new(),
            warnings: run.warnings(),
            timings: run.timings(),
        })
    }
}
