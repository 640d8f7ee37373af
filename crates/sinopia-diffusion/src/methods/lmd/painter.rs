//! What all stages of one picture share: model, sizes, seeds, noise.

use std::collections::BTreeMap;
use std::sync::Arc;

use candle_core::Tensor;
use sinopia_layout::{Grid, Scene, excerpt};
use sinopia_models::unet::AttnKey;

use super::{Lmd, LmdOptions, Method};
use crate::guidance::stretched;
use crate::losses::KeyGrids;
use crate::masks::MaskSource;
use crate::noise::{NoiseSource, SceneSeeds, Seed};
use crate::observer::Run;
use crate::painting::{PaintRequest, Sampling};
use crate::pipeline::{Pipeline, SHOWN_CHARS};
use crate::prompts::{warn_of_history, warn_of_stretching};
use crate::schedulers::SchedulerKind;
use crate::{Error, Result};

/// What all stages of one picture share.
#[derive(Clone)]
pub(super) struct Painter<'a> {
    pub(super) lmd: &'a Lmd,
    pub(super) pipeline: &'a Pipeline,
    pub(super) run: &'a Run<'a>,
    pub(super) sampling: Sampling,
    pub(super) scheduler: SchedulerKind,
    pub(super) seeds: SceneSeeds,
    /// Of the latents.
    pub(super) size: (usize, usize, usize),
    /// The guidance keys' grids.
    pub(super) grids: KeyGrids,
    /// Of each object of the scene in the whole picture's loss.
    pub(super) object_weights: Vec<f64>,
    pub(super) mask_key: AttnKey,
    /// What outlines objects.
    pub(super) masks: Arc<dyn MaskSource>,
}

impl<'a> Painter<'a> {
    pub(super) fn new(
        lmd: &'a Lmd,
        scene: &Scene,
        request: &PaintRequest,
        pipeline: &'a Pipeline,
        run: &'a Run,
    ) -> Result<Self> {
        // First order by default: histories of multistep schedulers would not see the guided and the pasted latents.
        let scheduler = request.sampling.scheduler.unwrap_or(SchedulerKind::Ddim);
        let sampling = Sampling { scheduler: Some(scheduler), ..request.sampling.clone() };
        let size = pipeline.latent_size(&sampling)?;
        let unet = pipeline.unet();
        let grid = |key: &AttnKey| {
            let (height, width) = unet.attention_grid(*key, (size.0, size.1));
            (*key, Grid::new(height, width))
        };
        warn_of_history(scheduler, (lmd.name(), "guidance and pasted objects"), run);
        warn_of_stretching(scene.canvas(), &sampling, run);
        let seeds = SceneSeeds::from_seed(sampling.seed);
        let seeds = SceneSeeds { fg_seed_start: lmd.options.fg_seed_start.map_or(seeds.fg_seed_start, Seed), ..seeds };
        let grids = unet.guidance_keys().iter().map(grid).collect();
        let object_weights = weights_of(scene, &lmd.options.object_weights)?;
        let mask_key = unet.object_mask_key();
        let masks = lmd.mask_source(pipeline);
        Ok(Self { lmd, pipeline, run, sampling, scheduler, seeds, size, grids, object_weights, mask_key, masks })
    }

    pub(super) fn options(&self) -> &'a LmdOptions {
        &self.lmd.options
    }

    pub(super) fn latent_grid(&self) -> Grid {
        Grid::new(self.size.0, self.size.1)
    }

    pub(super) fn keys(&self) -> Vec<AttnKey> {
        self.grids.keys().copied().collect()
    }

    /// Whether anything of the objects' own pictures is used.
    pub(super) fn needs_solos(&self) -> bool {
        let options = self.options();
        let count = self.sampling.num_inference_steps;
        let is_guided = options.overall_guidance().num_guided_steps(count) > 0;
        let transfers = options.use_ref_ca && options.ref_ca_loss_weight > 0.0 && is_guided;
        transfers || options.num_frozen_steps(count) > 0
    }

    /// A step number of the published 50 steps in a run of `num_calls`.
    pub(super) fn stretched(&self, step: usize, num_calls: usize) -> usize {
        if self.options().stretch_schedule { stretched(step, num_calls) } else { step }
    }

    /// The background's noise as latents to start with.
    pub(super) fn background_noise(&self) -> Result<Tensor> {
        let mut noise = NoiseSource::new(self.seeds.bg_seed);
        let start = noise.draw(self.size, self.pipeline.device())?;
        self.pipeline.sampler(self.scheduler, &self.sampling, noise, self.run)?.scale_noise(&start)
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
