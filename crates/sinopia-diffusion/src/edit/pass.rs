//! The passes for patches that do not touch each other.

use candle_core::Tensor;
use sinopia_layout::GridMask;

use super::context::Context;
use super::patch::{Part, Patch};
use super::texts::Texts;
use crate::Result;
use crate::guidance::{GuidanceOptions, Guide, GuidedStep};
use crate::losses::{BoxLoss, BoxLossOptions, TokenSet, key_grids};
use crate::masked::{MaskedPass, Removal, View};
use crate::noise::NoiseSource;
use crate::observer::Stage;
use crate::pipeline::Sampler;
use crate::schedulers::PUBLISHED_STEPS;
use crate::trajectory::{CellSelect, Trajectory};
use crate::window::Window;

/// The picture's states with what the patches ask for. First what is moved or changed comes to its place, so that nothing sees it in the old one; then what is removed goes, all at
/// once; and what is new is painted where that was.
pub(super) fn run(patches: &[Patch], now: &Trajectory, context: &Context) -> Result<Trajectory> {
    let paints = |patch: &&Patch| patch.painted().next().is_some();
    let (new, old): (Vec<&Patch>, Vec<&Patch>) = patches.iter().filter(paints).partition(|patch| patch.is_new);
    let states = paint(&old, now.clone(), context)?;
    let removed = patches.iter().flat_map(|patch| &patch.parts).filter(|part| part.is_removed).collect();
    let states = Pass { parts: removed, patches: Vec::new() }.run(&states, context)?;
    paint(&new, states, context)
}

/// The states with what some patches paint: together where one window around them all is less than a window for each.
fn paint(patches: &[&Patch], states: Trajectory, context: &Context) -> Result<Trajectory> {
    apart(patches, context)?.into_iter().try_fold(states, |states, patches| {
        let painted = patches.iter().flat_map(|patch| patch.painted()).collect();
        Pass { parts: painted, patches }.run(&states, context)
    })
}

/// Patches in groups that are painted one after the other.
fn apart<'p>(patches: &[&'p Patch], context: &Context) -> Result<Vec<Vec<&'p Patch>>> {
    let seen = |patches: &[&Patch]| -> Result<usize> {
        let cells = union(patches.iter().flat_map(|patch| patch.painted()), context)?;
        Ok(Window::around(&cells, context.pipeline.denoiser()).grid().cells())
    };
    let mut groups: Vec<Vec<&Patch>> = Vec::new();
    for patch in patches.iter().copied() {
        let alone = seen(&[patch])?;
        let mut fits = None;
        for (index, group) in groups.iter().enumerate() {
            let together: Vec<&Patch> = group.iter().copied().chain([patch]).collect();
            if fits.is_none() && seen(&together)? < seen(group)? + alone {
                fits = Some(index);
            }
        }
        match fits {
            Some(index) => groups[index].push(patch),
            None => groups.push(vec![patch]),
        }
    }
    Ok(groups)
}

/// The cells of some parts.
fn union<'p>(mut parts: impl Iterator<Item = &'p Part>, context: &Context) -> Result<GridMask> {
    Ok(parts.try_fold(context.no_cells(), |all, part| all.union(&part.cells))?)
}

/// Parts that are denoised together.
struct Pass<'p> {
    /// All removed, or none.
    parts: Vec<&'p Part>,
    /// What is painted, and held.
    patches: Vec<&'p Patch>,
}

impl Pass<'_> {
    fn run(&self, now: &Trajectory, context: &Context) -> Result<Trajectory> {
        let Some(first) = self.parts.iter().map(|part| part.first).min() else { return Ok(now.clone()) };
        let cells = union(self.parts.iter().copied(), context)?;
        let scenes = self.scenes(first, &cells, context)?;
        let pass = MaskedPass {
            pipeline: context.pipeline,
            sampling: context.source.sampling,
            constructor: context.source.method.constructor(),
            views: scenes.iter().map(SeenScene::view).collect(),
            source: now,
            cells: &cells,
            first,
            inside: self.led(now, now.states()[first].clone(), first, context)?,
            noise: NoiseSource::new(context.scheduler_seed()),
            frozen: None,
            removal: self.is_removal().then(|| removal(first, context)),
            stage: Stage::Edit,
        };
        let mut guides = scenes.iter().map(|scene| scene.guide(&cells, context)).collect::<Result<Vec<_>>>()?;
        pass.run_guided(context.run, |latents, index, sampler| {
            let latents = self.led(now, latents, index, context)?;
            let seen = scenes.iter().zip(&mut guides).rev().find(|(scene, _)| scene.from <= index);
            match seen {
                Some((scene, guide)) => scene.guided(latents, guide, index, sampler, context),
                None => Ok((latents, None)),
            }
        })
    }

    fn is_removal(&self) -> bool {
        self.parts.iter().any(|part| part.is_removed)
    }

    /// What the network sees: all of the picture while it settles what comes where, then what surrounds the cells. A hole is filled in sight of all of it: of holes that are
    /// filled in a window traces stay (on the miniature, after 0.8 of the steps still in 1 of 24 pictures).
    fn scenes(&self, first: usize, cells: &GridMask, context: &Context) -> Result<Vec<SeenScene>> {
        let (whole, window) = (Window::whole(context.grid()), Window::around(cells, context.pipeline.denoiser()));
        // What begins later has its place already.
        let has_place = first > 0 || !context.pipeline.denoiser().has_grounding_adapters();
        let closer_from = if has_place { first } else { context.call_at(0, context.options.painted_view_share) };
        let views = match window.is_whole() || closer_from == first {
            _ if self.is_removal() => vec![(first, whole)],
            true => vec![(first, window)],
            false => vec![(first, whole), (closer_from, window)],
        };
        let texts = |window| match self.is_removal() {
            true => Texts::behind(context),
            false => Texts::read(first, &self.patches, window, context),
        };
        views.into_iter().map(|(from, window)| Ok(SeenScene { from, window, texts: texts(window)? })).collect()
    }

    /// The latents before a call with what is still on the way to its first, and with objects that are held.
    fn led(&self, now: &Trajectory, latents: Tensor, index: usize, context: &Context) -> Result<Tensor> {
        let mut latents = latents;
        for part in &self.parts {
            if let Some(led) = part.led(index, context.level(index), &now.states()[index])? {
                latents = CellSelect::new(&part.cells, latents.device())?.of(&led, &latents)?;
            }
        }
        for object in self.patches.iter().filter_map(|patch| patch.object.as_ref()) {
            latents = object.held(latents, index)?;
        }
        Ok(latents)
    }
}

/// How strongly what is removed is, in a pass that begins at call `first`.
fn removal(first: usize, context: &Context) -> Removal {
    let options = context.options;
    Removal {
        scale: options.erase_scale_in(context.num_calls() - first),
        suppression: options.suppression,
        suppressed_calls: context.call_at(first, options.suppressed_share) - first,
    }
}

fn guidance(context: &Context) -> GuidanceOptions {
    let options = context.options;
    GuidanceOptions {
        max_iter: vec![options.guidance_updates],
        max_index_step: (options.guided_share * PUBLISHED_STEPS as f64).round() as usize,
        ..GuidanceOptions::default()
    }
}

/// A part of the picture and its texts, from a call on.
struct SeenScene {
    from: usize,
    window: Window,
    texts: Texts,
}

impl SeenScene {
    fn view(&self) -> View<'_> {
        View { from: self.from, window: self.window, text: &self.texts.prompt }
    }

    /// Guidance of what is painted in the cells.
    fn guide<'c>(&self, cells: &GridMask, context: &'c Context) -> Result<SceneGuide<'c>> {
        let denoiser = context.pipeline.denoiser();
        let grids = key_grids(denoiser, &denoiser.guidance_keys(), self.window.grid());
        let token_set = TokenSet::of(&self.texts.tokens);
        let loss = BoxLoss::new(&self.texts.tokens, &token_set, &grids, BoxLossOptions::default());
        let keys: Vec<_> = grids.keys().copied().collect();
        let guide = Guide::new(denoiser, &keys, &token_set, guidance(context), Stage::Edit.to_string())
            .within(&self.window.mask(cells))?;
        Ok(SceneGuide { guide, loss })
    }

    /// The latents before a call, moved to where what is painted is seen in its box; and the loss.
    fn guided(
        &self,
        latents: Tensor,
        guide: &mut SceneGuide,
        index: usize,
        sampler: &Sampler,
        context: &Context,
    ) -> Result<(Tensor, Option<f32>)> {
        if self.texts.tokens.is_empty() {
            return Ok((latents, None));
        }
        let SceneGuide { guide, loss } = guide;
        let step = GuidedStep { index, sampler, text: &self.texts.prompt, loss };
        let guided = guide.update(self.window.of(&latents)?, &step, context.run)?;
        Ok((self.window.put(&guided, &latents)?, guide.last_loss()))
    }
}

/// Guidance and its loss.
struct SceneGuide<'c> {
    guide: Guide<'c>,
    loss: BoxLoss,
}
