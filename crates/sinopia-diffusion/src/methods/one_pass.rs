//! What the methods share that guide one picture of the whole scene, without painting objects alone.

use candle_core::Tensor;
use sinopia_layout::nouns::CountNaming;
use sinopia_layout::scene::OVERALL_NEGATIVE;
use sinopia_layout::{Scene, SceneOptions};
use sinopia_models::checkpoint::Constructor;
use sinopia_models::denoiser::AttnKey;

use crate::beginning::{self, Beginning};
use crate::losses::{KeyGrids, key_grids};
use crate::observer::{Run, Stage};
use crate::painting::{GuidanceReport, PaintRequest, Painting, Prompts};
use crate::pipeline::{GuidedText, Pipeline, Sampler, SamplingPlan};
use crate::prompts::{GroundedText, PromptToRead, warn_of_history, warn_of_stretching};
use crate::{Error, Result};

/// How the scene's prompt is made.
pub(super) struct PromptOptions {
    /// The method, for messages.
    pub(super) method: &'static str,
    /// Takes the place of the composed prompt.
    pub(super) overall_prompt: Option<String>,
    /// Whether articles are removed from the front of counted names only.
    pub(super) fixes_plurals: bool,
}

/// One picture of a scene, ready to be painted.
pub(super) struct OnePass<'a> {
    pub(super) pipeline: &'a Pipeline,
    pub(super) run: &'a Run<'a>,
    pub(super) prompt: GroundedText,
    request: &'a PaintRequest,
    plan: SamplingPlan,
    negative: String,
}

impl<'a> OnePass<'a> {
    /// Composes the scene and reads its prompt.
    pub(super) fn new(
        options: PromptOptions,
        request: &'a PaintRequest,
        pipeline: &'a Pipeline,
        run: &'a Run,
    ) -> Result<Self> {
        let method = options.method;
        let scene = compose(options, request)?;
        // First order by default: histories of multistep schedulers would not see the guided latents.
        let scheduler = request.sampling.scheduler.unwrap_or(pipeline.first_order_scheduler());
        let plan = pipeline.plan(&request.sampling, scheduler)?;
        warn_of_history(scheduler, method, "guidance", run);
        warn_of_stretching(scene.canvas(), &plan.sampling, run);
        let mut overall = scene.overall().clone();
        if overall.text.is_empty() {
            overall.text = request.caption.clone().unwrap_or_default();
        }
        let negative = scene.overall_negative().to_owned();
        let to_read = PromptToRead { prompt: &overall, caption: request.caption.as_deref(), negative: &negative };
        let prompt = run.stage(&Stage::Encode, || GroundedText::read(to_read, pipeline, &plan.sampling, run))?;
        Ok(Self { pipeline, run, prompt, request, plan, negative })
    }

    /// The query grids of attention keys.
    pub(super) fn grids(&self, keys: &[AttnKey]) -> KeyGrids {
        key_grids(self.pipeline.denoiser(), keys, self.plan.size.grid())
    }

    /// From its beginning to the picture's latents; `guide` moves the latents before each step and says its loss.
    pub(super) fn paint(
        &self,
        mut guide: impl FnMut(Tensor, usize, &Sampler) -> Result<(Tensor, Option<f32>)>,
    ) -> Result<Tensor> {
        let pass = Denoising {
            request: self.request,
            plan: &self.plan,
            constructor: Constructor::StableDiffusion,
            pipeline: self.pipeline,
            text: &self.prompt.text,
        };
        pass.latents(self.run, |latents, index, sampler| match self.prompt.tokens.is_empty() {
            true => Ok((latents, None)),
            false => guide(latents, index, sampler),
        })
    }

    /// The painting of final latents.
    pub(super) fn finish(
        self,
        latents: &Tensor,
        options: serde_json::Value,
        guidance: Vec<GuidanceReport>,
    ) -> Result<Painting> {
        Ok(Painting {
            image: beginning::decode(self.request, latents, self.pipeline, self.run)?,
            objects: Vec::new(),
            prompts: Prompts { overall: self.prompt.prompt, overall_negative: self.negative, ..Prompts::default() },
            sampling: self.plan.sampling,
            options,
            guidance,
            warnings: self.run.warnings(),
            timings: self.run.timings(),
            trajectory: self.run.take_trajectory()?,
        })
    }
}

/// One picture denoised by one text.
pub(super) struct Denoising<'a> {
    pub(super) request: &'a PaintRequest,
    pub(super) plan: &'a SamplingPlan,
    /// Whose reading of the scheduler's config it is.
    pub(super) constructor: Constructor,
    pub(super) pipeline: &'a Pipeline,
    pub(super) text: &'a GuidedText,
}

impl Denoising<'_> {
    /// From the seed's noise, or what the request begins with, to the picture's latents; `guide` moves the latents before each step and says its loss.
    pub(super) fn latents(
        &self,
        run: &Run,
        mut guide: impl FnMut(Tensor, usize, &Sampler) -> Result<(Tensor, Option<f32>)>,
    ) -> Result<Tensor> {
        run.stage(&Stage::Picture, || {
            let beginning = Beginning::new(self.request, self.plan, self.constructor, self.pipeline, run)?;
            beginning.walk(run, |latents, index, sampler| {
                let (guided, loss) = guide(latents, index, sampler)?;
                Ok((sampler.denoise(&guided, index, self.text, None)?.latents, loss))
            })
        })
    }
}

/// For [`Denoising`]: no guidance.
pub(super) fn unguided(latents: Tensor, _: usize, _: &Sampler) -> Result<(Tensor, Option<f32>)> {
    Ok((latents, None))
}

fn compose(options: PromptOptions, request: &PaintRequest) -> Result<Scene> {
    let layout = request.layout.as_ref().ok_or(Error::NoLayout { method: options.method })?;
    let options = SceneOptions {
        overall_prompt: options.overall_prompt,
        naming: if options.fixes_plurals { CountNaming::Fixed } else { CountNaming::Published },
        overall_negative: request.negative.as_deref().unwrap_or(OVERALL_NEGATIVE).trim().to_owned(),
        ..SceneOptions::default()
    };
    Ok(Scene::compose_with(layout, &options)?)
}
