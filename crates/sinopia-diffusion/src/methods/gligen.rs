//! GLIGEN: one pass of a model that was trained with grounding adapters, conditioned on boxes for its first steps.
//!
//! Li et al. 2023, arXiv 2301.07093. The baseline of [LMD+](super::lmd_plus): no objects painted alone, no guidance.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use sinopia_layout::scene::OVERALL_NEGATIVE;
use sinopia_layout::{Scene, SceneOptions};
use sinopia_models::checkpoint::Constructor;

use super::one_pass::{Denoising, unguided};
use super::{Method, check_values, read_options, write_options};
use crate::beginning;
use crate::conditioning::PromptText;
use crate::grounding::{GroundingOptions, GuidanceGrounding, SlotPhrase, slots, wiring};
use crate::observer::{Run, Stage};
use crate::painting::{PaintRequest, Painting, Prompts};
use crate::pipeline::Pipeline;
use crate::prompts::warn_of_stretching;
use crate::schedulers::SchedulerKind;
use crate::settings::{Group, Setting, described};
use crate::{Error, Result};

/// Options of [`Gligen`].
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct GligenOptions {
    /// Share of the steps, from the first on, at which the adapters are on.
    ///
    /// LMD's code has 0.4, diffusers 0.3.
    #[schemars(range(min = 0, max = 1), extend("x-group" = Group::Adapters, "x-unit" = "share of the steps"))]
    pub gligen_scheduled_sampling_beta: f64,
    /// Takes the place of the prompt composed of background and phrases.
    #[schemars(extend("x-group" = Group::Prompts))]
    pub overall_prompt: Option<String>,
    /// What a slot of the adapters holds; they were trained with names.
    #[schemars(extend("x-group" = Group::Deviations))]
    pub slot_phrase: SlotPhrase,
    /// Whether attention to the boxes runs in parallel with cross-attention to the text, not before it, which keeps unboxed parts of the prompt from being lost.
    ///
    /// ReGround, arXiv 2403.13589.
    #[schemars(extend("x-group" = Group::Adapters))]
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
    /// [`Error::MethodOption`] for a value outside its range.
    pub fn new(options: GligenOptions) -> Result<Self> {
        check_values(Self::NAME, &options)?;
        Ok(Self { options })
    }

    pub(super) fn build(options: Value) -> Result<Box<dyn Method>> {
        Ok(Box::new(Self::new(read_options(Self::NAME, options)?)?))
    }

    pub(super) fn reference() -> Value {
        write_options(&GligenOptions { slot_phrase: SlotPhrase::ObjectPrompt, ..GligenOptions::default() })
    }

    pub(super) fn settings() -> Vec<Setting> {
        described::<GligenOptions>(Self::NAME, &Self::reference())
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

    fn constructor(&self) -> Constructor {
        Constructor::Gligen
    }

    fn paint(&self, request: &PaintRequest, pipeline: &Pipeline, run: &Run) -> Result<Painting> {
        pipeline.require_adapters(Self::NAME)?;
        let scene = self.compose_scene(request)?;
        let plan = pipeline.plan(&request.sampling, request.sampling.scheduler.unwrap_or(SchedulerKind::Ddim))?;
        warn_of_stretching(scene.canvas(), &plan.sampling, run);
        let prompt = match scene.overall().text.as_str() {
            "" => request.caption.clone().unwrap_or_default(),
            text => text.to_owned(),
        };
        let negative = scene.overall_negative();

        let text = run.stage(&Stage::Encode, || {
            let words = PromptText { words: &prompt, caption: request.caption.as_deref() };
            let mut text = pipeline.encode_pairs(&[words], negative, &plan.sampling, run)?;
            let grounding = GroundingOptions {
                beta: self.options.gligen_scheduled_sampling_beta,
                guidance: GuidanceGrounding::None, // there is no guidance
                wiring: wiring(self.options.reground),
            };
            text.swap_remove(0).grounded(&slots(&scene, self.options.slot_phrase), grounding, pipeline, run)
        })?;
        let pass = Denoising { request, plan: &plan, constructor: self.constructor(), pipeline, text: &text };
        let latents = pass.latents(run, unguided)?;
        let image = beginning::decode(request, &latents, pipeline, run)?;
        Ok(Painting {
            image,
            objects: Vec::new(),
            prompts: Prompts { overall: prompt, overall_negative: negative.to_owned(), ..Prompts::default() },
            sampling: plan.sampling,
            options: self.options(),
            guidance: Vec::new(),
            warnings: run.warnings(),
            timings: run.timings(),
            trajectory: run.take_trajectory()?,
        })
    }
}
