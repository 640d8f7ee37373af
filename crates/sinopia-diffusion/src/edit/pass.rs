//! One pass for the patches that do not touch each other.

use candle_core::Tensor;
use sinopia_layout::GridMask;

use super::context::Context;
use super::patch::{Patch, Wanted};
use super::texts::Texts;
use crate::Result;
use crate::guidance::{GuidanceOptions, Guide, GuidedStep};
use crate::losses::{BoxLoss, BoxLossOptions, TokenSet, key_grids};
use crate::masked::{MaskedPass, Removal};
use crate::noise::NoiseSource;
use crate::observer::Stage;
use crate::trajectory::{CellSelect, Trajectory};
use crate::window::Window;

/// The picture's states with what the patches ask for.
pub(super) fn run(patches: &[Patch], now: &Trajectory, context: &Context) -> Result<Trajectory> {
    let Some(first) = patches.iter().filter_map(Patch::first).min() else { return Ok(now.clone()) };
    let (cells, removed) = (union(patches, false, context)?, union(patches, true, context)?);
    let (options, denoiser) = (context.options, context.pipeline.denoiser());
    // What is to grow over a hole, or beside other things, has to see all of them.
    let keeps_shapes = removed.is_empty() && patches.iter().all(|patch| patch.object.is_none());
    let window = if keeps_shapes { Window::around(&cells, denoiser) } else { Window::whole(context.grid()) };
    let wanted: Vec<&Wanted> = patches.iter().filter_map(|patch| patch.wanted.as_ref()).collect();
    let texts = Texts::read(first, &wanted, window, context)?;
    let removal = Removal {
        cells: &removed,
        text: &texts.behind,
        scale: options.erase_scale_in(context.num_calls() - first),
        suppression: options.suppression,
        suppressed_calls: context.call_at(first, options.suppressed_share) - first,
    };
    let stage = Stage::Edit;
    let pass = MaskedPass {
        pipeline: context.pipeline,
        sampling: context.source.sampling,
        constructor: context.source.method.constructor(),
        text: &texts.whole,
        source: now,
        cells: &cells,
        window,
        first,
        inside: led(patches, now, now.states()[first].clone(), first, context)?,
        noise: NoiseSource::new(context.scheduler_seed()),
        frozen: None,
        removal: Some(removal),
        stage: stage.clone(),
    };

    let grids = key_grids(denoiser, &denoiser.guidance_keys(), window.grid());
    let token_set = TokenSet::of(&texts.tokens);
    let loss = BoxLoss::new(&texts.tokens, &token_set, &grids, BoxLossOptions::default());
    let keys: Vec<_> = grids.keys().copied().collect();
    let mut guide = Guide::new(denoiser, &keys, &token_set, GuidanceOptions::default(), stage.to_string())
        .within(&window.mask(&cells))?;
    pass.run_guided(context.run, |latents, index, sampler| {
        let latents = led(patches, now, latents, index, context)?;
        if texts.tokens.is_empty() {
            return Ok((latents, None));
        }
        let step = GuidedStep { index, sampler, text: &texts.whole, loss: &loss };
        let guided = guide.update(window.of(&latents)?, &step, context.run)?;
        Ok((window.put(&guided, &latents)?, guide.last_loss()))
    })
}

/// The cells of all parts, or of those that are removed.
fn union(patches: &[Patch], only_removed: bool, context: &Context) -> Result<GridMask> {
    let mut parts = patches.iter().flat_map(|patch| &patch.parts).filter(|part| part.is_removed || !only_removed);
    Ok(parts.try_fold(context.no_cells(), |all, part| all.union(&part.cells))?)
}

/// The latents before a call with what is still on the way to its first, and with objects that are held.
fn led(patches: &[Patch], now: &Trajectory, latents: Tensor, index: usize, context: &Context) -> Result<Tensor> {
    let mut latents = latents;
    for patch in patches {
        for part in &patch.parts {
            if let Some(led) = part.led(index, context.level(index), &now.states()[index])? {
                latents = CellSelect::new(&part.cells, latents.device())?.of(&led, &latents)?;
            }
        }
        if let Some(object) = &patch.object {
            latents = object.held(latents, index)?;
        }
    }
    Ok(latents)
}
