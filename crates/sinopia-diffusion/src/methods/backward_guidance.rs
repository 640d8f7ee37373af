//! Backward Guidance: Stable Diffusion whose latents are moved until each phrase looks into its boxes.
//!
//! Chen et al. 2023, arXiv 2304.03373, in the form in which LMD compares itself with it. Start reading at [`BackwardGuidance::paint`].

use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::one_pass::{OnePass, PromptOptions};
use super::{Method, check_iterations, check_settings, read_options, rounding, write_options};
use crate::Result;
use crate::guidance::{GuidanceOptions, Guide};
use crate::losses::{RatioLoss, TokenSet};
use crate::observer::{Run, Stage};
use crate::painting::{PaintRequest, Painting};
use crate::pipeline::Pipeline;

/// Options of [`BackwardGuidance`]. The last group are mends of the published behaviour, each with its own switch;
/// [`BackwardGuidanceOptions::reference`] has them all off.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct BackwardGuidanceOptions {
    /// Factor of the loss's gradient. Published: 30.
    pub loss_scale: f64,
    /// Guidance rests at or below this loss, which is in 0..=1. Published: 0.2.
    pub loss_threshold: f64,
    /// Updates at most at each step; the last value goes on. Published: 5.
    pub max_iter: Vec<usize>,
    /// No guidance from this step on. Published: 10, of 50.
    pub max_index_step: usize,
    /// Takes the place of the composed prompt.
    pub overall_prompt: Option<String>,

    /// Mend: the loss is looked at afresh at each step. Published: false, guidance ends for good once it was low.
    pub refresh_loss: bool,
    /// Mend: boxes too small for a grid get a cell. Published: false, they vanish there and are not guided.
    pub keep_small_boxes: bool,
    /// Mend: step numbers are stretched to the number of steps. Published: false.
    pub stretch_schedule: bool,
    /// Mend: articles are removed from the front of counted names only. Published: false, `pandbears`.
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

    fn validate(&self) -> Result<()> {
        let factors = [("loss_scale", self.loss_scale), ("loss_threshold", self.loss_threshold)];
        check_settings(&factors, |x| x.is_finite() && x >= 0.0, "a number from 0")?;
        check_iterations(&[("max_iter", &self.max_iter)])
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
    /// [`Error::Setting`](crate::Error::Setting) for a value outside its range.
    pub fn new(options: BackwardGuidanceOptions) -> Result<Self> {
        options.validate()?;
        Ok(Self { options })
    }

    pub(super) fn build(options: Value) -> Result<Box<dyn Method>> {
        Ok(Box::new(Self::new(read_options(Self::NAME, options)?)?))
    }

    pub(super) fn reference() -> Value {
        write_options(&BackwardGuidanceOptions::reference())
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
            mend_plurals: options.mend_plurals,
        };
        let pass = OnePass::new(prompt, request, pipeline, run)?;

        let unet = pipeline.unet();
        let (keys, objects) = (unet.guidance_keys(), &pass.prompt.tokens);
        let tokens = TokenSet::of(objects);
        let loss = RatioLoss::new(
            objects,
            &tokens,
            &pass.grids(&keys),
            rounding(options.keep_small_boxes),
            pipeline.device(),
        )?;
        let mut guide = Guide::new(unet, &keys, &tokens, options.guidance(), Stage::Picture.to_string());
        let latents = pass.paint(|latents, index, sampler| {
            let latents = guide.update(latents, index, (sampler, &pass.prompt.text, &loss), run)?;
            Ok((latents, guide.last_loss()))
        })?;
        pass.finish(&latents, self.options(), vec![guide.report()])
    }
}
