//! What all stages of one picture share: model, sizes, seeds, noise.

use std::collections::BTreeMap;
use std::sync::Arc;

use candle_core::Tensor;
use sinopia_layout::{Grid, Scene, excerpt};
use sinopia_models::denoiser::AttnKey;
use sinopia_nn::threads::Turn;

use super::{Lmd, LmdOptions, Method};
use crate::guidance::stretched;
use crate::losses::{KeyGrids, key_grids};
use crate::masks::MaskSource;
use crate::noise::{NoiseSource, SceneSeeds, Seed};
use crate::observer::{Run, SHOWN_CHARS};
use crate::painting::PaintRequest;
use crate::pipeline::{Pipeline, Sampler, SamplingPlan};
use crate::prompts::{warn_of_history, warn_of_stretching};
use crate::{Error, Result};

/// What all stages of one picture share.
#[derive(Clone)]
pub(super) struct SceneContext<'a> {
    pub(super) lmd: &'a Lmd,
    pub(super) pipeline: &'a Pipeline,
    pub(super) run: &'a Run<'a>,
    /// Of an object that is painted beside others.
    pub(super) turn: Option<&'a Turn<'a>>,
    pub(super) plan: SamplingPlan,
    pub(super) seeds: SceneSeeds,
    /// The guidance keys' grids.
    pub(super) grids: KeyGrids,
    /// Of each object of the scene in the whole picture's loss.
    pub(super) object_weights: Vec<f64>,
    pub(super) mask_key: AttnKey,
    /// What makes the objects' segmentation masks.
    pub(super) masks: Arc<dyn MaskSource>,
}

impl<'a> SceneContext<'a> {
    pub(super) fn new(
        lmd: &'a Lmd,
        scene: &Scene,
        request: &PaintRequest,
        pipeline: &'a Pipeline,
        run: &'a Run,
    ) -> Result<Self> {
        // First order by default: histories of multistep schedulers would not see the guided and the pasted latents.
        let scheduler = request.sampling.scheduler.unwrap_or(pipeline.first_order_scheduler());
        let plan = pipeline.plan(&request.sampling, scheduler)?;
        warn_of_history(scheduler, lmd.name(), "guidance and pasted objects", run);
        warn_of_stretching(scene.canvas(), &plan.sampling, run);
        let seeds = SceneSeeds::from_seed(plan.sampling.seed);
        let seeds = SceneSeeds { fg_seed_start: lmd.options.fg_seed_start.map_or(seeds.fg_seed_start, Seed), ..seeds };
        let denoiser = pipeline.denoiser();
        let grids = key_grids(denoiser, &denoiser.guidance_keys(), plan.size.grid());
        let object_weights = weights_of(scene, &lmd.options.object_weights)?;
        let mask_key = denoiser.object_mask_key();
        let masks = lmd.mask_source(pipeline);
        Ok(Self { lmd, pipeline, run, turn: None, plan, seeds, grids, object_weights, mask_key, masks })
    }

    pub(super) fn options(&self) -> &'a LmdOptions {
        &self.lmd.options
    }

    pub(super) fn latent_grid(&self) -> Grid {
        self.plan.size.grid()
    }

    pub(super) fn keys(&self) -> Vec<AttnKey> {
        self.grids.keys().copied().collect()
    }

    /// Whether anything of the objects' own pictures is used.
    pub(super) fn needs_solos(&self) -> bool {
        let (options, count) = (self.options(), self.plan.sampling.num_inference_steps);
        options.num_transferred_steps(count) > 0 || options.num_frozen_steps(count) > 0
    }

    /// A step number of the published 50 steps in a run of `num_calls`.
    pub(super) fn stretched(&self, step: usize, num_calls: usize) -> usize {
        if self.options().stretch_schedule { stretched(step, num_calls) } else { step }
    }

    /// The background's noise as latents to start with.
    pub(super) fn background_noise(&self) -> Result<Tensor> {
        let mut noise = NoiseSource::new(self.seeds.bg_seed);
        let start = noise.draw(self.plan.size, self.pipeline.device())?;
        self.sampler(noise)?.scale_noise(&start)
    }

    /// A trajectory from some noise on.
    pub(super) fn sampler(&self, noise: NoiseSource) -> Result<Sampler<'a>> {
        self.pipeline.sampler(self.plan.scheduler, &self.plan.sampling, noise, self.run)
    }
}

/// The weight of each object, by its phrase.
fn weights_of(scene: &Scene, weights: &BTreeMap<String, f64>) -> Result<Vec<f64>> {
    let names: Vec<&str> = scene.objects().iter().map(|object| object.name()).collect();
    if let Some(unknown) = weights.keys().find(|phrase| !names.contains(&phrase.as_str())) {
        let found = format!("`{}`", excerpt(unknown, SHOWN_CHARS));
        return Err(Error::Setting { name: "object_weights", found, expected: "phrases of the layout" });
    }
    Ok(names.iter().map(|name| weights.get(*name).copied().unwrap_or(1.0)).collect())
}
