//! What the methods share that guide one picture of the whole scene, without painting objects alone.

use candle_core::Tensor;
use sinopia_layout::nouns::CountNaming;
use sinopia_layout::scene::OVERALL_NEGATIVE;
use sinopia_layout::{Scene, SceneOptions};
use sinopia_models::denoiser::AttnKey;

use crate::losses::{KeyGrids, key_grids};
use crate::noise::NoiseSource;
use crate::observer::{Run, Stage};
use crate::painting::{GuidanceReport, PaintRequest, Painting, Prompts};
use crate::pipeline::{FinishedStep, GuidedText, Pipeline, Sampler, SamplingPlan};
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
    plan: SamplingPlan,
    negative: String,
}

impl<'a> OnePass<'a> {
    /// Composes the scene and reads its prompt.
    pub(super) fn new(
        options: PromptOptions,
        request: &PaintRequest,
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
        Ok(Self { pipeline, run, prompt, plan, negative })
    }

    /// The query grids of attention keys.
    pub(super) fn grids(&self, keys: &[AttnKey]) -> KeyGrids {
        key_grids(self.pipeline.denoiser(), keys, self.plan.size.grid())
    }

    /// From noise to the picture's latents; `guide` moves the latents before each step and says its loss.
    pub(super) fn paint(
        &self,
        mut guide: impl FnMut(Tensor, usize, &Sampler) -> Result<(Tensor, Option<f32>)>,
    ) -> Result<Tensor> {
        from_noise(self.pipeline, &self.plan, &self.prompt.text, self.run, |latents, index, sampler| {
            match self.prompt.tokens.is_empty() {
                true => Ok((latents, None)),
                false => guide(latents, index, sampler),
            }
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
            image: self.pipeline.decode_one(latents, self.run)?,
            objects: Vec::new(),
            prompts: Prompts { overall: self.prompt.prompt, overall_negative: self.negative, ..Prompts::default() },
            sampling: self.plan.sampling,
            options,
            guidance,
            warnings: self.run.warnings(),
            timings: self.run.timings(),
        })
    }
}

/// From the seed's noise to the latents of one picture; `guide` moves the latents before each step and says its loss.
pub(super) fn from_noise(
    pipeline: &Pipeline,
    plan: &SamplingPlan,
    text: &GuidedText,
    run: &Run,
    guide: impl FnMut(Tensor, usize, &Sampler) -> Result<(Tensor, Option<f32>)>,
) -> Result<Tensor> {
    let mut noise = NoiseSource::new(plan.sampling.seed);
    let start = noise.draw(plan.size, pipeline.device())?; // (1, H, W, C)
    let sampler = pipeline.sampler(plan.scheduler, &plan.sampling, noise, run)?;
    through(sampler, &start, text, run, guide)
}

/// The same from noise (1, H, W, C) that was drawn, by a sampler of one's own.
pub(super) fn through(
    mut sampler: Sampler,
    start: &Tensor,
    text: &GuidedText,
    run: &Run,
    mut guide: impl FnMut(Tensor, usize, &Sampler) -> Result<(Tensor, Option<f32>)>,
) -> Result<Tensor> {
    let mut latents = sampler.scale_noise(start)?;
    run.stage(&Stage::Picture, || {
        for index in 0..sampler.num_calls() {
            run.check()?;
            let (guided, loss) = guide(latents.clone(), index, &sampler)?;
            latents = sampler.denoise(&guided, index, text, None)?.latents;
            sampler.report(&FinishedStep { stage: &Stage::Picture, index, loss, latents: &latents }, run)?;
        }
        Ok(latents)
    })
}

/// For [`from_noise`]: no guidance.
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
