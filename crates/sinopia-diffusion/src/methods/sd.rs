//! Plain Stable Diffusion: the caption (or, without one, the layout in words), painted without regard to the boxes. The baseline of every other method.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use sinopia_layout::Scene;
use sinopia_layout::scene::OVERALL_NEGATIVE;

use super::one_pass::{Denoising, unguided};
use super::{Method, read_options, write_options};
use crate::beginning;
use crate::conditioning::PromptText;
use crate::observer::{Run, Stage};
use crate::painting::{PaintRequest, Painting, Prompts};
use crate::pipeline::Pipeline;
use crate::prompts::joined;
use crate::settings::{Group, Setting, described};
use crate::{Error, Result};

/// Options of [`Sd`].
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct SdOptions {
    /// Leave the layout's negative prompt out.
    ///
    /// What the language model found excluded in the caption does not help then, as in plain Stable Diffusion. The default keywords stay.
    #[schemars(extend("x-group" = Group::Prompts))]
    pub ignore_negative_prompt: bool,
    /// What CLIP reads where ELLA reads the caption too: keywords, for example.
    ///
    /// Null is the caption.
    #[schemars(extend("x-group" = Group::Prompts))]
    pub words: Option<String>,
}

/// Plain Stable Diffusion.
#[derive(Debug, Clone, Default)]
pub struct Sd {
    options: SdOptions,
}

impl Sd {
    /// The name on the command line.
    pub const NAME: &'static str = "sd";

    /// With options.
    pub fn new(options: SdOptions) -> Self {
        Self { options }
    }

    pub(super) fn build(options: Value) -> Result<Box<dyn Method>> {
        Ok(Box::new(Self::new(read_options(Self::NAME, options)?)))
    }

    pub(super) fn reference() -> Value {
        write_options(&SdOptions::default())
    }

    pub(super) fn settings() -> Vec<Setting> {
        described::<SdOptions>(Self::NAME, &Self::reference())
    }

    /// The layout's negative prompt and the default keywords.
    fn negative(&self, request: &PaintRequest) -> String {
        let own = match &request.layout {
            Some(layout) if !self.options.ignore_negative_prompt => layout.negative.trim(),
            _ => "",
        };
        let keywords = request.negative.as_deref().unwrap_or(OVERALL_NEGATIVE).trim();
        joined(&[own, keywords])
    }
}

/// What to paint: the caption or, without one, the layout in words.
fn caption(request: &PaintRequest) -> Result<String> {
    match (&request.caption, &request.layout) {
        (Some(caption), _) => Ok(caption.clone()),
        (None, Some(layout)) => Ok(Scene::compose(layout)?.overall().text.clone()),
        (None, None) => Err(Error::NoCaption { method: Sd::NAME }),
    }
}

impl Method for Sd {
    fn name(&self) -> &'static str {
        Self::NAME
    }

    fn options(&self) -> Value {
        write_options(&self.options)
    }

    fn paint(&self, request: &PaintRequest, pipeline: &Pipeline, run: &Run) -> Result<Painting> {
        let caption = caption(request)?;
        let negative = self.negative(request);
        let scheduler = match request.sampling.scheduler {
            Some(kind) => kind,
            None => pipeline.scheduler_config().kind()?,
        };
        let plan = pipeline.plan(&request.sampling, scheduler)?;

        let words = self.options.words.as_deref().unwrap_or(&caption);
        let prompt = PromptText { words, caption: Some(&caption) };
        let text = run.stage(&Stage::Encode, || pipeline.encode_pairs(&[prompt], &negative, &plan.sampling, run))?;
        let pass = Denoising { request, plan: &plan, constructor: self.constructor(), pipeline, text: &text[0] };
        let latents = pass.latents(run, unguided)?;
        let image = beginning::decode(request, &latents, pipeline, run)?;
        Ok(Painting {
            image,
            objects: Vec::new(),
            prompts: Prompts { overall: caption, overall_negative: negative, ..Prompts::default() },
            sampling: plan.sampling,
            options: self.options(),
            guidance: Vec::new(),
            warnings: run.warnings(),
            timings: run.timings(),
            trajectory: run.take_trajectory()?,
        })
    }
}

#[cfg(test)]
mod tests {
    use sinopia_layout::Layout;

    use super::*;
    use crate::noise::Seed;
    use crate::painting::Sampling;

    #[track_caller]
    fn check(options: SdOptions, negative: Option<&str>, expected: &str) {
        let layout = Layout::from_json(
            r#"{"canvas": {"width": 8, "height": 8}, "objects": [], "background": "a beach", "negative": " dogs "}"#,
        );
        let request = PaintRequest {
            caption: Some("a beach without dogs".to_owned()),
            layout: Some(layout.unwrap()),
            negative: negative.map(str::to_owned),
            init: None,
            sampling: Sampling::new(Seed(1), 64, 64),
        };
        assert_eq!(Sd::new(options).negative(&request), expected);
    }

    #[test]
    fn the_layouts_negative_comes_before_the_keywords() {
        check(SdOptions::default(), None, &format!("dogs, {OVERALL_NEGATIVE}"));
        check(SdOptions::default(), Some("rain"), "dogs, rain");
        check(SdOptions::default(), Some(""), "dogs");
    }

    #[test]
    fn the_layouts_negative_can_be_left_out() {
        let options = SdOptions { ignore_negative_prompt: true, ..SdOptions::default() };
        check(options.clone(), None, OVERALL_NEGATIVE);
        check(options, Some(" "), "");
    }
}
