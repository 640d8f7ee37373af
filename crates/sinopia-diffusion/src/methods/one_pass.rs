//! What the methods share that guide one picture of the whole scene, without painting objects alone.

use candle_core::Tensor;
use sinopia_layout::nouns::CountNaming;
use sinopia_layout::scene::OVERALL_NEGATIVE;
use sinopia_layout::{Grid, Scene, SceneOptions};
use sinopia_models::unet::AttnKey;

use crate::losses::KeyGrids;
use crate::noise::NoiseSource;
use crate::observer::{Run, Stage};
use crate::painting::{GuidanceReport, PaintRequest, Painting, Prompts, Sampling};
use crate::pipeline::{GuidedText, Pipeline, Sampler};
use crate::prompts::{GroundedText, warn_of_history, warn_of_stretching};
use crate::schedulers::SchedulerKind;
use crate::{Error, Result};

/// How the scene's prompt is made.
pub(super) struct PromptOptions {
    /// The method, for messages.
    pub(super) method: &'static str,
    /// Takes the place of the composed prompt.
    pub(super) overall_prompt: Option<String>,
    /// Whether articles are removed from the front of counted names only.
    pub(super) mend_plurals: bool,
}

/// One picture of a scene, ready to be painted.
pub(super) struct OnePass<'a> {
    pub(super) pipeline: &'a Pipeline,
    pub(super) run: &'a Run<'a>,
    pub(super) prompt: GroundedText,
    sampling: Sampling,
    scheduler: SchedulerKind,
    /// Of the latents.
    size: (usize, usize, usize),
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
        let scheduler = request.sampling.scheduler.unwrap_or(SchedulerKind::Ddim);
        let sampling = Sampling { scheduler: Some(scheduler), ..request.sampling.clone() };
        let size = pipeline.latent_size(&sampling)?;
        warn_of_history(scheduler, (method, "guidance"), run);
        warn_of_stretching(scene.canvas(), &sampling, run);
        let mut overall = scene.overall().clone();
        if overall.text.is_empty() {
            overall.text = request.caption.clone().unwrap_or_default();
        }
        let negative = scene.overall_negative().to_owned();
        let caption = request.caption.as_deref();
        let prompt = run
            .stage(&Stage::Encode, || GroundedText::read((&overall, caption), &negative, (pipeline, &sampling), run))?;
        Ok(Self { pipeline, run, prompt, sampling, scheduler, size, negative })
    }

    /// The query grids of attention keys.
    pub(super) fn grids(&self, keys: &[AttnKey]) -> KeyGrids {
        let grid = |key: &AttnKey| {
            let (height, width) = self.pipeline.unet().attention_grid(*key, (self.size.0, self.size.1));
            (*key, Grid::new(height, width))
        };
        keys.iter().map(grid).collect()
    }

    /// From noise to the picture's latents; `guide` moves the latents before each step and says its loss.
    pub(super) fn paint(
        &self,
        mut guide: impl FnMut(Tensor, usize, &Sampler) -> Result<(Tensor, Option<f32>)>,
    ) -> Result<Tensor> {
        let setting = (self.scheduler, &self.sampling, self.size);
        from_noise(self.pipeline, setting, &self.prompt.text, self.run, |latents, index, sampler| {
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
            sampling: self.sampling,
            options,
            guidance,
            warnings: self.run.warnings(),
            timings: self.run.timings(),
        })
    }
}

/// From the seed's noise to the latents of one picture of `size`; `guide` moves the latents before each step and says its loss.
pub(super) fn from_noise(
    pipeline: &Pipeline,
    (scheduler, sampling, size): (SchedulerKind, &Sampling, (usize, usize, usize)),
    text: &GuidedText,
    run: &Run,
    guide: impl FnMut(Tensor, usize, &Sampler) -> Result<(Tensor, Option<f32>)>,
) -> Result<Tensor> {
    let mut noise = NoiseSource::new(sampling.seed);
    let start = noise.draw(size, pipeline.device())?; // (1, H, W, C)
    let sampler = pipeline.sampler(scheduler, sampling, noise, run)?;
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
            sampler.report(&latents, index, (&Stage::Picture, loss), run)?;
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
        naming: if options.mend_plurals { CountNaming::Mended } else { CountNaming::Published },
        overall_negative: request.negative.as_deref().unwrap_or(OVERALL_NEGATIVE).trim().to_owned(),
        ..SceneOptions::default()
    };
    Ok(Scene::compose_with(layout, &options)?)
}
