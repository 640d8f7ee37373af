//! Stages 1 and 2: each object in its own picture, cut out and moved to its box.

use std::collections::BTreeMap;

use candle_core::Tensor;
use sinopia_layout::{BBox, Grid, GridMask, Scene, SceneObject};
use sinopia_models::unet::{AttnKey, BatchPart, Recording, TokenColumns};
use sinopia_nn::threads;

use super::painter::Painter;
use super::prompts::ScenePrompts;
use crate::collage::{Cutout, shifted_attention};
use crate::guidance::Guide;
use crate::losses::{AttentionMaps, BoxLoss, GroundedTokens, ReferenceMaps, TokenSet};
use crate::masks::{AttentionMap, MaskRequest};
use crate::noise::{NoiseSource, blend_foreground};
use crate::observer::Stage;
use crate::painting::{GuidanceReport, PaintedObject};
use crate::pipeline::Sampler;
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

impl<'a> Painter<'a> {
    /// Stages 1 and 2 for all objects, which do not depend on each other: one after the other, or side by side where calls of the UNet are small.
    pub(super) fn paint_solos(&self, scene: &Scene, background: &Tensor, prompts: &ScenePrompts) -> Result<Vec<Solo>> {
        let (objects, count) = (scene.objects(), scene.objects().len());
        // Who watches attention sees one object after the other.
        if self.run.wants_attention() || !self.pipeline.has_small_calls(&self.sampling)? {
            let paint = |index| self.paint_alone(&objects[index], background, index, (&prompts.objects[index], count));
            return (0..count).map(paint).collect();
        }
        let solos = threads::side_by_side(count, |index| {
            let run = self.run.beside();
            let painter = Painter { run: &run, ..self.clone() };
            let solo = painter.paint_alone(&objects[index], background, index, (&prompts.objects[index], count))?;
            Ok::<_, Error>((solo, run))
        })?;
        let join = |(solo, run)| {
            self.run.join(run);
            solo
        };
        Ok(solos.into_iter().map(join).collect())
    }

    /// Stages 1 and 2: one object in its own picture, cut out and moved to its box.
    fn paint_alone(
        &self,
        object: &SceneObject,
        background: &Tensor,
        index: usize,
        (prompt, count): (&GroundedText, usize),
    ) -> Result<Solo> {
        let stage = Stage::Object { index, count, name: object.name().to_owned() };
        let bbox = self.options().solo_box(object.bbox());
        self.run.stage(&stage, || {
            let (mut sampler, start) = self.solo_start(&bbox, background, index)?;
            let film = self.film_alone((&mut sampler, start), prompt, &bbox, &stage)?;
            let image = match self.options().object_images || self.masks.wants_image() {
                true => Some(self.pipeline.decode(&film.last, self.run)?),
                false => None,
            };
            let mask = self.masks.mask(&MaskRequest {
                phrase: object.name(),
                bbox: &bbox,
                attention: &film.attention,
                image: image.as_ref(),
                latent_grid: self.latent_grid(),
                run: self.run,
            })?;
            let shift = self.align(object, &mask);
            let reference = self.move_reference(film.reference, shift)?;
            let cutout = Cutout::new(film.states, &mask, shift);
            if cutout.mask.is_empty() {
                self.run.warn(format!("`{}` was moved off the canvas; it is left out of the collage", object.name()));
            }
            let image = image.filter(|_| self.options().object_images);
            let painted = PaintedObject { name: object.name().to_owned(), bbox, image, mask, shift };
            Ok(Solo { cutout, reference, painted, report: film.report })
        })
    }

    /// The object's noise: the background's, and a little of its own in its box.
    fn solo_start(&self, bbox: &BBox, background: &Tensor, index: usize) -> Result<(Sampler<'a>, Tensor)> {
        let mut noise = NoiseSource::new(self.seeds.object(index));
        let own = noise.draw(self.size, self.pipeline.device())?;
        let sampler = self.pipeline.sampler(self.scheduler, &self.sampling, noise, self.run)?;
        let grid = self.latent_grid();
        let inside = GridMask::from_bbox(bbox, grid, self.options().rounding()).to_f32();
        let inside = Tensor::from_vec(inside, (grid.height, grid.width), self.pipeline.device())?;
        let own = sampler.scale_noise(&own)?;
        let start = blend_foreground(background, &own, &inside, self.options().fg_blending_ratio)?;
        Ok((sampler, start))
    }

    /// Denoises one object's picture and keeps what later stages need of it.
    fn film_alone(
        &self,
        (sampler, start): (&mut Sampler, Tensor),
        prompt: &GroundedText,
        bbox: &BBox,
        stage: &Stage,
    ) -> Result<Film> {
        let options = self.options();
        // The one phrase, looking at the box it is painted in.
        let tokens: Vec<GroundedTokens> =
            prompt.tokens.iter().map(|tokens| GroundedTokens { bboxes: vec![*bbox], ..tokens.clone() }).collect();
        let token_set = TokenSet::of(&tokens);
        let loss = BoxLoss::new(&tokens, &token_set, &self.grids, options.object_loss());
        let mut guide =
            Guide::new(self.pipeline.unet(), &self.keys(), &token_set, options.object_guidance(), stage.to_string());
        let count = sampler.num_calls();
        let num_references = options.num_transferred_steps(count);
        let num_frozen = options.num_frozen_steps(count);
        let aggregation_start = self.stretched(options.attention_aggregation_start, count);
        // Late enough for an outline, too.
        let outlined = self.stretched(options.max_index_step, count).max(aggregation_start + count / 5);
        let wanted = num_frozen.max(num_references);
        let used = if options.leaves_objects_early() { wanted.max(outlined) } else { wanted };
        let calls = options.solo_calls(used, count);
        let is_left_early = options.leaves_objects_early() && calls.len() < count;
        if is_left_early {
            sampler.leave_after(calls.len());
        } else if calls.len() < count {
            sampler.keep_calls(&calls, !options.fast_schedule_keeps_state)?;
        }
        let count = calls.len();
        let aggregation_start = aggregation_start.min(count - 1);

        let mut attention = AttentionSum::default();
        let mut reference = ReferenceMaps::default();
        let mut states = vec![start.clone()];
        let mut latents = start; // (1, H, W, C)
        let mut last = latents.clone();
        for index in 0..count {
            self.run.check()?;
            if !tokens.is_empty() {
                latents = guide.update(latents, index, (sampler, &prompt.text, &loss), self.run)?;
            }
            let record = self.solo_recording(&tokens, index < num_references, index >= aggregation_start);
            let (prediction, maps) = sampler.predict(&latents, index, &prompt.text, record.as_ref())?;
            if is_left_early && index + 1 == count {
                last = sampler.predicted_original(&prediction, index, &latents)?;
            }
            latents = sampler.advance(&prediction, index, &latents)?;
            if index < num_frozen {
                states.push(latents.clone());
            }
            if index < num_references {
                reference.steps.push(self.reference_of(&maps)?);
            }
            if index >= aggregation_start {
                attention.add(maps.get(&self.mask_key))?;
            }
            sampler.report(&latents, index, (stage, guide.last_loss()), self.run)?;
        }
        let attention = self.mean_attention(attention)?;
        if !is_left_early {
            last = latents;
        }
        Ok(Film { states, last, reference, attention, report: guide.report() })
    }

    /// The word's attention: at the guidance keys while references are kept, at the mask key while it is averaged.
    fn solo_recording(&self, tokens: &[GroundedTokens], references: bool, mask: bool) -> Option<Recording> {
        let mut keys = if references { self.keys() } else { Vec::new() };
        if mask && !keys.contains(&self.mask_key) {
            keys.push(self.mask_key);
        }
        let word = tokens.first().map(|tokens| tokens.word)?;
        let tokens = TokenColumns::Some(vec![word]);
        (!keys.is_empty()).then_some(Recording { tokens, batch: BatchPart::Conditional, ..Recording::new(keys) })
    }

    /// The guidance keys' maps of one word: (heads, HW) each.
    fn reference_of(&self, maps: &AttentionMaps) -> Result<BTreeMap<AttnKey, Tensor>> {
        let of_keys = maps.iter().filter(|(key, _)| self.grids.contains_key(key));
        of_keys.map(|(key, map)| Ok((*key, map.squeeze(0)?.squeeze(2)?))).collect()
    }

    fn mean_attention(&self, attention: AttentionSum) -> Result<AttentionMap> {
        let (height, width) = self.pipeline.unet().attention_grid(self.mask_key, (self.size.0, self.size.1));
        let grid = Grid::new(height, width);
        // A prompt so long that the object's word is cut off has no map: nothing stands out then.
        AttentionMap::new(grid, attention.mean().unwrap_or_else(|| vec![0.0; grid.cells()]))
    }

    /// The move that puts the object into its box.
    fn align(&self, object: &SceneObject, mask: &GridMask) -> (i64, i64) {
        if !self.options().align_with_overall_bboxes {
            return (0, 0);
        }
        let (shift, was_stopped) = self.options().alignment().shift(mask, object.bbox());
        if was_stopped {
            let name = object.name();
            self.run
                .warn(format!("`{name}` came out larger than its box: it is not centred in it, to stay on the canvas"));
        }
        shift
    }

    fn move_reference(&self, mut reference: ReferenceMaps, shift: (i64, i64)) -> Result<ReferenceMaps> {
        for (key, map) in reference.steps.iter_mut().flatten() {
            *map = shifted_attention(map, self.grids[key], shift, self.latent_grid())?;
        }
        Ok(reference)
    }
}

/// What is kept of an object's own picture.
struct Film {
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

    fn mean(self) -> Option<Vec<f32>> {
        let steps = self.num_steps as f32;
        (self.num_steps > 0).then(|| self.values.iter().map(|sum| sum / steps).collect())
    }
}
