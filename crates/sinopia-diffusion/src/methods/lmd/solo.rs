//! Stages 1 and 2: each object in its own picture, cut out and moved to its box.

use std::collections::BTreeMap;

use candle_core::Tensor;
use sinopia_layout::{BBox, Grid, GridMask, Scene, SceneObject};
use sinopia_models::denoiser::{AttnKey, AttnMaps, BatchPart, Recording, TokenColumns};
use sinopia_nn::threads;

use super::prompts::ScenePrompts;
use super::scene_context::SceneContext;
use crate::attention_map::AttentionMap;
use crate::collage::{Cutout, Shift, shifted_attention};
use crate::guidance::{Guide, GuidedStep};
use crate::losses::{BoxLoss, GroundedTokens, ReferenceMaps, TokenSet, key_grids};
use crate::masks::MaskRequest;
use crate::noise::{NoiseSource, blend_foreground};
use crate::observer::Stage;
use crate::painting::{GuidanceReport, PaintedObject};
use crate::pipeline::{FinishedStep, Predicted, Sampler};
use crate::prompts::GroundedText;
use crate::{Error, Result};

/// An object that was painted alone.
pub(super) struct Solo {
    pub(super) cutout: Cutout,
    /// Its attention, moved like the cut-out.
    pub(super) reference: ReferenceMaps,
    pub(super) painted: PaintedObject,
    pub(super) report: GuidanceReport,
}

/// An object's own picture, about to be painted.
struct SoloPrompt<'s> {
    object: &'s SceneObject,
    text: &'s GroundedText,
    /// Which object, from 0, and out of how many.
    index: usize,
    count: usize,
}

impl<'a> SceneContext<'a> {
    /// Stages 1 and 2 for all objects, which do not depend on each other: one after the other, or side by side where calls of the denoiser are small.
    pub(super) fn paint_solos(&self, scene: &Scene, background: &Tensor, prompts: &ScenePrompts) -> Result<Vec<Solo>> {
        let (objects, count) = (scene.objects(), scene.objects().len());
        let prompt = |index: usize| SoloPrompt { object: &objects[index], text: &prompts.objects[index], index, count };
        // Who watches attention sees one object after the other.
        if self.run.wants_attention() || !self.pipeline.has_small_calls(&self.plan.sampling)? {
            return (0..count).map(|index| self.paint_alone(&prompt(index), background)).collect();
        }
        let solos = threads::taking_turns(count, |index, turn| {
            let run = self.run.beside();
            let context = SceneContext { run: &run, turn: Some(turn), ..self.clone() };
            let solo = context.paint_alone(&prompt(index), background)?;
            Ok::<_, Error>((solo, run))
        })
        .map_err(sinopia_models::Error::from)??;
        let join = |(solo, run)| {
            self.run.join(run);
            solo
        };
        Ok(solos.into_iter().map(join).collect())
    }

    /// Stages 1 and 2: one object in its own picture, cut out and moved to its box.
    fn paint_alone(&self, prompt: &SoloPrompt, background: &Tensor) -> Result<Solo> {
        let SoloPrompt { object, text, index, count } = *prompt;
        let stage = Stage::Object { index, count, name: object.name().to_owned() };
        let bbox = self.options().solo_box(object.bbox());
        self.run.stage(&stage, || {
            let start = self.solo_start(&bbox, background, index)?;
            let trajectory = self.paint_trajectory(start, text, &bbox, &stage)?;
            let image = match self.wants_object_images() {
                true => Some(self.pipeline.decode(&trajectory.last, self.run)?),
                false => None,
            };
            let mask = self.masks.mask(&MaskRequest {
                phrase: object.name(),
                bbox: &bbox,
                attention: &trajectory.attention,
                image: image.as_ref(),
                latent_grid: self.latent_grid(),
                run: self.run,
            })?;
            let shift = self.align(object, &mask);
            let reference = self.move_reference(trajectory.reference, shift)?;
            let cutout = Cutout::new(trajectory.states, &mask, shift);
            if cutout.mask.is_empty() {
                self.run.warn(format!("`{}` was moved off the canvas; it is left out of the collage", object.name()));
            }
            let image = image.filter(|_| self.shows_object_images());
            let painted = PaintedObject { name: object.name().to_owned(), bbox, image, mask, shift };
            Ok(Solo { cutout, reference, painted, report: trajectory.report })
        })
    }

    /// Whether the objects' own pictures are looked at, by a segmentation network or by whoever asked for them.
    fn wants_object_images(&self) -> bool {
        self.shows_object_images() || self.masks.wants_image()
    }

    fn shows_object_images(&self) -> bool {
        self.options().object_images && self.run.wants_object_images()
    }

    /// The object's noise: the background's, and a little of its own in its box.
    fn solo_start(&self, bbox: &BBox, background: &Tensor, index: usize) -> Result<SoloStart<'a>> {
        let mut noise = NoiseSource::new(self.seeds.object(index));
        let own = noise.draw(self.plan.size, self.pipeline.device())?;
        let sampler = self.sampler(noise)?;
        let grid = self.latent_grid();
        let inside = GridMask::from_bbox(bbox, grid, self.options().rounding()).to_f32();
        let inside = Tensor::from_vec(inside, (grid.height, grid.width), self.pipeline.device())?;
        let own = sampler.scale_noise(&own)?;
        let latents = blend_foreground(background, &own, &inside, self.options().fg_blending_ratio)?;
        Ok(SoloStart { sampler, latents })
    }

    /// Denoises one object's picture and keeps what later stages need of it.
    fn paint_trajectory(
        &self,
        start: SoloStart,
        prompt: &GroundedText,
        bbox: &BBox,
        stage: &Stage,
    ) -> Result<Trajectory> {
        let SoloStart { mut sampler, latents: start } = start;
        // The one phrase, its attention guided into the box it is painted in.
        let tokens: Vec<GroundedTokens> =
            prompt.tokens.iter().map(|tokens| GroundedTokens { bboxes: vec![*bbox], ..tokens.clone() }).collect();
        let token_set = TokenSet::of(&tokens);
        let options = self.options();
        let loss = BoxLoss::new(&tokens, &token_set, &self.grids, options.object_loss());
        let denoiser = self.pipeline.denoiser();
        let mut guide = Guide::new(denoiser, &self.keys(), &token_set, options.object_guidance(), stage.to_string());
        let calls = self.solo_calls(&mut sampler)?;

        let mut attention = AttentionSum::default();
        let mut reference = ReferenceMaps::default();
        let mut states = vec![start.clone()];
        let mut latents = start; // (1, H, W, C)
        let mut last = latents.clone();
        for index in 0..calls.count {
            self.run.check()?;
            if !tokens.is_empty() {
                let step = GuidedStep { index, sampler: &sampler, text: &prompt.text, loss: &loss };
                latents = guide.update(latents, &step, self.run)?;
            }
            // What a call without deep layers would record is asked for by no guidance; of a mask's attention one map is enough.
            let is_last = index + 1 == calls.count;
            let is_wanted = sampler.runs_deep(index) || (is_last && attention.is_empty());
            let record = if is_wanted { self.solo_recording(&tokens, &calls, index) } else { None };
            let maps = if calls.ends_with_maps && is_last {
                record
                    .map(|record| sampler.record(&latents, index, &prompt.text, &record))
                    .transpose()?
                    .unwrap_or_default()
            } else {
                let Predicted { prediction, maps } = sampler.predict(&latents, index, &prompt.text, record.as_ref())?;
                if calls.is_left_early && is_last {
                    last = sampler.predicted_original(&prediction, index, &latents)?;
                }
                latents = sampler.advance(&prediction, index, &latents)?;
                maps
            };
            if index < calls.num_frozen {
                states.push(latents.clone());
            }
            if index < calls.num_references {
                reference.steps.push(self.reference_of(&maps)?);
            }
            if index >= calls.aggregation_start {
                attention.add(maps.get(&self.mask_key))?;
            }
            sampler.report(&FinishedStep { stage, index, loss: guide.last_loss(), latents: &latents }, self.run)?;
            if let Some(turn) = self.turn {
                turn.pass();
            }
        }
        let attention = self.mean_attention(attention)?;
        if !calls.is_left_early {
            last = latents;
        }
        Ok(Trajectory { states, last, reference, attention, report: guide.report() })
    }

    /// Which calls of an object's own picture are made, and what is kept of them; those that nobody needs are left out of the sampler.
    fn solo_calls(&self, sampler: &mut Sampler) -> Result<SoloCalls> {
        let options = self.options();
        let count = sampler.num_calls();
        let num_references = options.num_transferred_steps(count);
        let num_frozen = options.num_frozen_steps(count);
        let aggregation_start = self.stretched(options.attention_aggregation_start, count);
        // Late enough for a mask, too.
        let masked = self.stretched(options.max_index_step, count).max(aggregation_start.saturating_add(count / 5));
        let wanted = num_frozen.max(num_references);
        let used = if options.leaves_objects_early() { wanted.max(masked) } else { wanted };
        let calls = options.solo_calls(used, count);
        let is_left_early = options.leaves_objects_early() && calls.len() < count;
        if is_left_early {
            sampler.leave_after(calls.len());
        } else if calls.len() < count {
            sampler.keep_calls(&calls, !options.fast_schedule_keeps_state)?;
        }
        let count = calls.len();
        Ok(SoloCalls {
            ends_with_maps: is_left_early && !self.wants_object_images() && num_frozen < count,
            count,
            num_references,
            num_frozen,
            aggregation_start: aggregation_start.min(count - 1),
            is_left_early,
        })
    }

    /// The word's attention: at the guidance keys while references are kept, at the mask key while it is averaged.
    fn solo_recording(&self, tokens: &[GroundedTokens], calls: &SoloCalls, index: usize) -> Option<Recording> {
        let mut keys = if index < calls.num_references { self.keys() } else { Vec::new() };
        if index >= calls.aggregation_start && !keys.contains(&self.mask_key) {
            keys.push(self.mask_key);
        }
        let word = tokens.first().map(|tokens| tokens.word)?;
        let tokens = TokenColumns::Some(vec![word]);
        (!keys.is_empty()).then_some(Recording { tokens, batch: BatchPart::Conditional, ..Recording::new(keys) })
    }

    /// The guidance keys' maps of one word: (heads, HW) each.
    fn reference_of(&self, maps: &AttnMaps) -> Result<BTreeMap<AttnKey, Tensor>> {
        let of_keys = maps.iter().filter(|(key, _)| self.grids.contains_key(key));
        of_keys.map(|(key, map)| Ok((*key, map.squeeze(0)?.squeeze(2)?))).collect()
    }

    fn mean_attention(&self, attention: AttentionSum) -> Result<AttentionMap> {
        let grids = key_grids(self.pipeline.denoiser(), &[self.mask_key], self.latent_grid());
        let grid = grids.get(&self.mask_key).copied().unwrap_or(Grid::new(1, 1));
        // A prompt so long that the object's word is cut off has no map: nothing stands out then.
        AttentionMap::new(grid, attention.mean().unwrap_or_else(|| vec![0.0; grid.cells()]))
    }

    /// The move that puts the object into its box.
    fn align(&self, object: &SceneObject, mask: &GridMask) -> Shift {
        if !self.options().align_with_overall_bboxes {
            return Shift::default();
        }
        let (shift, was_stopped) = self.options().alignment().shift(mask, object.bbox());
        if was_stopped {
            let name = object.name();
            self.run
                .warn(format!("`{name}` came out larger than its box: it is not centred in it, to stay on the canvas"));
        }
        shift
    }

    fn move_reference(&self, mut reference: ReferenceMaps, shift: Shift) -> Result<ReferenceMaps> {
        for (key, map) in reference.steps.iter_mut().flatten() {
            *map = shifted_attention(map, self.grids[key], shift, self.latent_grid())?;
        }
        Ok(reference)
    }
}

/// Where an object's own picture starts.
struct SoloStart<'a> {
    sampler: Sampler<'a>,
    /// (1, H, W, C).
    latents: Tensor,
}

/// The calls of an object's own picture, and what is kept of them.
struct SoloCalls {
    /// How many are made.
    count: usize,
    /// How many of the first keep the attention that is transferred.
    num_references: usize,
    /// How many of the first keep the latents that are pasted.
    num_frozen: usize,
    /// The first whose attention counts for the mask.
    aggregation_start: usize,
    /// Whether the trajectory ends before its picture, which is then the one predicted there.
    is_left_early: bool,
    /// Whether of the last call nothing but its attention is wanted, neither a state nor a picture.
    ends_with_maps: bool,
}

/// What is kept of the trajectory of an object's own picture.
struct Trajectory {
    /// Before the first step and after each frozen one: (1, H, W, C).
    states: Vec<Tensor>,
    last: Tensor,
    /// Not moved yet.
    reference: ReferenceMaps,
    attention: AttentionMap,
    report: GuidanceReport,
}

/// The running sum of a word's attention over steps, averaged over heads.
#[derive(Default)]
struct AttentionSum {
    values: Vec<f32>, // (HW)
    num_steps: usize,
}

impl AttentionSum {
    /// Adds a map (1, heads, HW, 1).
    fn add(&mut self, map: Option<&Tensor>) -> Result<()> {
        let Some(map) = map else { return Ok(()) };
        let values = map.squeeze(3)?.squeeze(0)?.mean(0)?.to_vec1::<f32>()?;
        self.values.resize(values.len(), 0.0);
        self.values.iter_mut().zip(values).for_each(|(sum, value)| *sum += value);
        self.num_steps += 1;
        Ok(())
    }

    fn is_empty(&self) -> bool {
        self.num_steps == 0
    }

    fn mean(self) -> Option<Vec<f32>> {
        let steps = self.num_steps as f32;
        (!self.is_empty()).then(|| self.values.iter().map(|sum| sum / steps).collect())
    }
}
