//! Backward Guidance: Stable Diffusion whose latents are moved until each phrase's cross-attention lies in its boxes.
//!
//! Chen et al. 2023, arXiv 2304.03373, in the form in which LMD compares itself with it. Start reading at [`BackwardGuidance::paint`].

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::one_pass::{OnePass, PromptOptions};
use super::{MAX_ITERATIONS, MAX_STEP, Method, check_values, read_options, rounding, write_options};
use crate::Result;
use crate::guidance::{GuidanceOptions, Guide, GuidedStep};
use crate::losses::{RatioLoss, TokenSet};
use crate::observer::{Run, Stage};
use crate::painting::{PaintRequest, Painting};
use crate::pipeline::Pipeline;
use crate::settings::{Group, Setting, described};

/// Options of [`BackwardGuidance`]. The last group deviates from the published behaviour, each with its own switch;
/// [`BackwardGuidanceOptions::reference`] has them all off.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct BackwardGuidanceOptions {
    /// Factor of the loss's gradient.
    #[schemars(range(min = 0), extend("x-group" = Group::Guidance))]
    pub loss_scale: f64,
    /// Guidance rests at or below this loss, which is in 0..=1.
    #[schemars(range(min = 0), extend("x-group" = Group::Guidance))]
    pub loss_threshold: f64,
    /// Updates at most at each step; the last value goes on.
    #[schemars(inner(range(max = MAX_ITERATIONS)), extend("x-group" = Group::Guidance, "x-unit" = "updates"))]
    pub max_iter: Vec<usize>,
    /// No guidance from this step on.
    #[schemars(range(max = MAX_STEP), extend("x-group" = Group::Guidance, "x-unit" = "steps of 50"))]
    pub max_index_step: usize,
    /// Takes the place of the composed prompt.
    #[schemars(extend("x-group" = Group::Prompts))]
    pub overall_prompt: Option<String>,

    /// Whether the loss is evaluated afresh at each step.
    ///
    /// As published it is not: guidance ends for good once it was low.
    #[schemars(extend("x-group" = Group::Deviations))]
    pub refresh_loss: bool,
    /// Whether boxes too small for a grid get a cell.
    ///
    /// As published they vanish there and are not guided.
    #[schemars(extend("x-group" = Group::Deviations))]
    pub keep_small_boxes: bool,
    /// Whether step numbers, written for 50 steps, are stretched to the number of steps.
    #[schemars(extend("x-group" = Group::Deviations))]
    pub stretch_schedule: bool,
    /// Whether articles are removed from the front of counted names only.
    ///
    /// As published they are removed everywhere: `pandbears`.
    #[schemars(extend("x-group" = Group::Deviations, "x-aliases" = ["fix_plurals"]))]
    pub mend_plurals: bool,
}

impl Default for BackwardGuidanceOptions {
    fn default() -> Self {
        Self {
            refresh_loss: true,
            keep_small_boxes: true,
            stretch_schedule: true,
            mend_plurals: true,
            ..Self::reference()
        }
    }
}

impl BackwardGuidanceOptions {
    /// The behaviour of LMD's code. The method's own code differs from it in its scheduler (LMS, 51 steps, updates of σ²), in cutting the corners of
    /// boxes down to whole cells, and in having no negative prompt; these are not options here.
    pub fn reference() -> Self {
        Self {
            loss_scale: 30.0,
            loss_threshold: 0.2,
            max_iter: vec![5],
            max_index_step: 10,
            overall_prompt: None,
            refresh_loss: false,
            keep_small_boxes: false,
            stretch_schedule: false,
            mend_plurals: false,
        }
    }

    fn guidance(&self) -> GuidanceOptions {
        GuidanceOptions {
            loss_scale: self.loss_scale,
            loss_threshold: self.loss_threshold,
            max_iter: self.max_iter.clone(),
            min_index_step: 0,
            max_index_step: self.max_index_step,
            stretches_schedule: self.stretch_schedule,
            refreshes_loss: self.refresh_loss,
        }
    }
}

/// Backward Guidance.
#[derive(Debug, Clone)]
pub struct BackwardGuidance {
    options: BackwardGuidanceOptions,
}

impl BackwardGuidance {
    /// The name on the command line.
    pub const NAME: &'static str = "backward-guidance";

    /// With options.
    ///
    /// # Errors
    /// [`Error::MethodOption`](crate::Error::MethodOption) for a value outside its range.
    pub fn new(options: BackwardGuidanceOptions) -> Result<Self> {
        check_values(Self::NAME, &options)?;
        Ok(Self { options })
    }

    pub(super) fn build(options: Value) -> Result<Box<dyn Method>> {
        Ok(Box::new(Self::new(read_options(Self::NAME, options)?)?))
    }

    pub(super) fn reference() -> Value {
        write_options(&BackwardGuidanceOptions::reference())
    }

    pub(super) fn settings() -> Vec<Setting> {
        described::<BackwardGuidanceOptions>(Self::NAME, &Self::reference())
    }
}

impl Method for BackwardGuidance {
    fn name(&self) -> &'static str {
        Self::NAME
    }

    fn options(&self) -> Value {
        write_options(&self.options)
    }

    fn paint(&self, request: &PaintRequest, pipeline: &Pipeline, run: &Run) -> Result<Painting> {
        let options = &self.options;
        let prompt = PromptOptions {
            method: Self::NAME,
            overall_prompt: options.overall_prompt.clone(),
            fixes_plurals: options.mend_plurals,
        };
        let pass = OnePass::new(prompt, request, pipeline, run)?;

        let denoiser = pipeline.denoiser();
        let (keys, objects) = (denoiser.guidance_keys(), &pass.prompt.tokens);
        let tokens = TokenSet::of(objects);
        let loss = RatioLoss::new(
            objects,
            &tokens,
            &pass.grids(&keys),
            rounding(options.keep_small_boxes),
            pipeline.device(),
        )?;
        let mut guide = Guide::new(denoiser, &keys, &tokens, options.guidance(), Stage::Picture.to_string());
        let latents = pass.paint(|latents, index, sampler| {
            let step = GuidedStep { index, sampler, text: &pass.prompt.text, loss: &loss };
            let latents = guide.update(latents, &step, run)?;
            Ok((latents, guide.last_loss()))
        })?;
        pass.finish(&latents, self.options(), vec![guide.report()])
    }
}
