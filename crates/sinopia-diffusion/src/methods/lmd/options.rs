//! Every number and switch of LMD, as published or with our deviations.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::json;
use sinopia_layout::{BBox, GridRounding, Placement};

use crate::collage::Alignment;
use crate::guidance::{GuidanceOptions, published_max_iter};
use crate::losses::{BoxLossOptions, OverHeads};
use crate::masks::MaskPrompt;
use crate::methods::{MAX_ITERATIONS, MAX_STEP, rounding};
use crate::settings::Group;
use crate::{Error, Result};

/// Where an object stands when it is painted alone.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum VerticalPlacement {
    /// On a floor, `so_floor_padding` above the lower edge.
    FloorPadding,
    /// In the middle.
    Centered,
}

/// Options of [`Lmd`](super::Lmd). "so" means a single object's own picture, "overall" the whole one.
///
/// Step numbers (`max_iter`, `*_min_index_step`, `*_max_index_step`, `attention_aggregation_start`) are written for the published 50 steps and keep their place in runs
/// of other lengths; see [`GuidanceOptions`] and `stretch_schedule`. Doc comments, ranges, units and groups are what people are shown: see
/// [`settings`](crate::settings). The last group deviates from the published behaviour, each with its own switch; [`LmdOptions::reference`] has them all off.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct LmdOptions {
    /// Share of the steps in which the objects stay exactly as they were painted alone.
    #[schemars(range(min = 0, max = 1), extend("x-group" = Group::Composition, "x-unit" = "share of the steps"))]
    pub frozen_step_ratio: f64,
    /// Factor of the loss's gradient while an object is painted alone.
    #[schemars(range(min = 0), extend("x-group" = Group::Guidance))]
    pub loss_scale: f64,
    /// Guidance rests at or below this loss.
    #[schemars(range(min = 0), extend("x-group" = Group::Guidance))]
    pub loss_threshold: f64,
    /// Guidance updates at most at each step; the last value goes on.
    #[schemars(inner(range(max = MAX_ITERATIONS)), extend("x-group" = Group::Guidance, "x-unit" = "updates"))]
    pub max_iter: Vec<usize>,
    /// No guidance before this step.
    #[schemars(range(max = MAX_STEP), extend("x-group" = Group::Guidance, "x-unit" = "steps of 50"))]
    pub min_index_step: usize,
    /// No guidance from this step on.
    #[schemars(range(max = MAX_STEP), extend("x-group" = Group::Guidance, "x-unit" = "steps of 50"))]
    pub max_index_step: usize,
    /// Share of the cells inside the box that should attend to the object.
    #[schemars(range(max = 1), extend("exclusiveMinimum" = 0, "x-group" = Group::Guidance, "x-unit" = "share of the cells"))]
    pub fg_top_p: f64,
    /// Share of the cells outside the box that should not attend to it.
    #[schemars(range(max = 1), extend("exclusiveMinimum" = 0, "x-group" = Group::Guidance, "x-unit" = "share of the cells"))]
    pub bg_top_p: f64,
    /// Weight of the inside in the loss.
    #[schemars(range(min = 0), extend("x-group" = Group::Guidance))]
    pub fg_weight: f64,
    /// Weight of the outside in the loss.
    #[schemars(range(min = 0), extend("x-group" = Group::Guidance))]
    pub bg_weight: f64,
    /// As `loss_scale`, for the whole picture.
    #[schemars(range(min = 0), extend("x-group" = Group::Guidance))]
    pub overall_loss_scale: f64,
    /// As `loss_threshold`, for the whole picture.
    #[schemars(range(min = 0), extend("x-group" = Group::Guidance))]
    pub overall_loss_threshold: f64,
    /// As `max_iter`, for the whole picture.
    #[schemars(inner(range(max = MAX_ITERATIONS)), extend("x-group" = Group::Guidance, "x-unit" = "updates"))]
    pub overall_max_iter: Vec<usize>,
    /// As `min_index_step`, for the whole picture.
    #[schemars(range(max = MAX_STEP), extend("x-group" = Group::Guidance, "x-unit" = "steps of 50"))]
    pub overall_min_index_step: usize,
    /// As `max_index_step`, for the whole picture.
    #[schemars(range(max = MAX_STEP), extend("x-group" = Group::Guidance, "x-unit" = "steps of 50"))]
    pub overall_max_index_step: usize,
    /// As `fg_top_p`, for the whole picture.
    #[schemars(range(max = 1), extend("exclusiveMinimum" = 0, "x-group" = Group::Guidance, "x-unit" = "share of the cells"))]
    pub overall_fg_top_p: f64,
    /// As `bg_top_p`, for the whole picture.
    #[schemars(range(max = 1), extend("exclusiveMinimum" = 0, "x-group" = Group::Guidance, "x-unit" = "share of the cells"))]
    pub overall_bg_top_p: f64,
    /// As `fg_weight`, for the whole picture.
    #[schemars(range(min = 0), extend("x-group" = Group::Guidance))]
    pub overall_fg_weight: f64,
    /// As `bg_weight`, for the whole picture.
    #[schemars(range(min = 0), extend("x-group" = Group::Guidance))]
    pub overall_bg_weight: f64,
    /// Factors of single objects' terms in the whole picture's box loss, by phrase: `{"a small cat": 2}`; 1 for all others.
    #[schemars(extend("additionalProperties" = json!({"type": "number", "minimum": 0, "maximum": 100}), "x-group" = Group::Guidance))]
    pub object_weights: BTreeMap<String, f64>,
    /// Whether objects in the whole picture should attend as they did alone.
    #[schemars(extend("x-group" = Group::Guidance))]
    pub use_ref_ca: bool,
    /// Weight of the loss of `use_ref_ca`.
    #[schemars(range(min = 0), extend("x-group" = Group::Guidance))]
    pub ref_ca_loss_weight: f64,
    /// Whether an object is painted alone in the middle of the picture, where the model paints best.
    #[schemars(extend("x-group" = Group::Objects))]
    pub so_center_box: bool,
    /// Centre an object that is painted alone from left to right only.
    #[schemars(extend("x-group" = Group::Objects))]
    pub so_horizontal_center_only: bool,
    /// How high a centred object stands.
    #[schemars(extend("x-group" = Group::Objects))]
    pub so_vertical_placement: VerticalPlacement,
    /// Room below a centred object, with `so_vertical_placement` `floor_padding`.
    #[schemars(range(min = 0, max = 1), extend("x-group" = Group::Objects, "x-unit" = "share of the height"))]
    pub so_floor_padding: f64,
    /// Whether the painted object is moved so that its centre is its box's.
    #[schemars(extend("x-group" = Group::Composition))]
    pub align_with_overall_bboxes: bool,
    /// Move objects sideways only.
    #[schemars(extend("x-group" = Group::Composition))]
    pub horizontal_shift_only: bool,
    /// Share of an object's own noise in its box; the rest is the background's.
    #[schemars(range(min = 0, max = 1), extend("x-group" = Group::Composition))]
    pub fg_blending_ratio: f64,
    /// Smoothing of the attention that an object's mask is made from: its standard deviation.
    #[schemars(range(max = 100), extend("exclusiveMinimum" = 0, "x-group" = Group::Masks, "x-unit" = "cells"))]
    pub gaussian_sigma: f64,
    /// Share of the highest attention above which a cell belongs to the object's mask.
    #[schemars(range(min = 0, max = 1), extend("x-group" = Group::Masks))]
    pub mask_threshold: f64,
    /// The attention that an object's mask is made from is averaged from this step on.
    #[schemars(range(max = MAX_STEP), extend("x-group" = Group::Masks, "x-unit" = "steps of 50"))]
    pub attention_aggregation_start: usize,
    /// Whether an object's own picture takes only every `fast_rate`-th step once nothing but its mask is still wanted of it.
    ///
    /// With the scheduler `ddim` only.
    #[schemars(extend("x-group" = Group::Speed))]
    pub fast_schedule: bool,
    /// Of how many steps `fast_schedule` takes one.
    #[schemars(range(min = 1, max = 1000), extend("x-group" = Group::Speed, "x-unit" = "steps"))]
    pub fast_rate: usize,
    /// What SAM is asked with for an object's mask, if there is one.
    ///
    /// As published, `lmd` asks with a point and `lmd-plus` with a box.
    #[schemars(extend("x-group" = Group::Masks))]
    pub mask_prompt: MaskPrompt,
    /// SAM's masks of which it is less confident than this are taken only if all are such.
    #[schemars(range(min = 0, max = 1), extend("x-group" = Group::Masks))]
    pub mask_min_confidence: f64,
    /// SAM's masks whose IoU with the box (or, asked with a point, with the attention) is less than this are taken only if all are such.
    #[schemars(range(min = 0, max = 1), extend("x-group" = Group::Masks))]
    pub mask_min_coarse_iou: f64,
    /// Seed of the first object's noise; the next objects count up.
    ///
    /// Null is the picture's seed + 123456789.
    #[schemars(extend("x-group" = Group::Objects))]
    pub fg_seed_start: Option<u64>,
    /// Takes the place of the composed prompt of the whole picture.
    #[schemars(extend("x-group" = Group::Prompts))]
    pub overall_prompt: Option<String>,
    /// Whether the caption itself is the prompt of the whole picture, with `| phrase` for each phrase that does not occur in it.
    ///
    /// Otherwise the prompt is composed of background and phrases.
    #[schemars(extend("x-group" = Group::Prompts))]
    pub caption_as_prompt: bool,
    /// Whether each box is an object of its own, by its name, even if others have the same: the boxes of the others then count as outside.
    ///
    /// Otherwise `two cats` have two boxes.
    #[schemars(extend("x-group" = Group::Prompts))]
    pub boxes_as_objects: bool,
    /// Whether nothing but what the request says is kept out of the picture: no keywords, and not the layout's negative prompt.
    #[schemars(extend("x-group" = Group::Prompts))]
    pub bare_negative: bool,
    /// Whether the objects' own pictures are decoded, for contact sheets.
    #[schemars(extend("x-group" = Group::Objects))]
    pub object_images: bool,

    /// How the heads of a layer are weighed, so that the constants of the loss hold for every model.
    #[schemars(extend("x-group" = Group::Deviations))]
    pub over_heads: OverHeads,
    /// Whether the loss is evaluated afresh at each step.
    ///
    /// As published it is not: guidance ends for good once it was low.
    #[schemars(extend("x-group" = Group::Deviations))]
    pub refresh_loss: bool,
    /// Whether boxes too small for a grid get a cell.
    ///
    /// As published they vanish, and attention is pushed away from everywhere.
    #[schemars(extend("x-group" = Group::Deviations))]
    pub keep_small_boxes: bool,
    /// Whether step numbers, written for 50 steps, are stretched to the number of steps.
    #[schemars(extend("x-group" = Group::Deviations))]
    pub stretch_schedule: bool,
    /// Objects are moved by multiples of this many latent cells; 0 stands for an eighth of the latents' grid.
    #[schemars(extend("x-group" = Group::Deviations, "x-unit" = "cells"))]
    pub alignment_step_cells: usize,
    /// Whether an object is never moved beyond the canvas.
    #[schemars(extend("x-group" = Group::Deviations))]
    pub keep_on_canvas: bool,
    /// Whether SAM's point is the middle of the most attended cell.
    ///
    /// As published it is the cell's upper left corner.
    #[schemars(extend("x-group" = Group::Deviations))]
    pub mask_point_centered: bool,
    /// Whether a tiny mask by SAM, or one that is mostly outside the box, is refused for one by attention and box.
    #[schemars(extend("x-group" = Group::Deviations))]
    pub mask_refuse_doubtful: bool,
    /// Whether the fast schedule keeps the step after the last state that is used, which is then as noisy as the whole picture.
    ///
    /// As published it is a step cleaner.
    #[schemars(extend("x-group" = Group::Deviations))]
    pub fast_schedule_keeps_state: bool,
    /// Whether an object's own picture ends once nothing more of it is pasted or transferred, and `max_index_step` is over.
    ///
    /// Its mask is taken from what was seen so far, and its picture is the one predicted there. Not with `fast_schedule`. As published all steps are taken.
    #[schemars(extend("x-group" = Group::Deviations))]
    pub stop_objects_early: bool,
    /// Whether articles are removed from the front of counted names only.
    ///
    /// As published they are removed everywhere: `pandbears`.
    #[schemars(extend("x-group" = Group::Deviations, "x-aliases" = ["fix_plurals"]))]
    pub mend_plurals: bool,
}

impl Default for LmdOptions {
    fn default() -> Self {
        Self {
            over_heads: OverHeads::MeanOf8,
            refresh_loss: true,
            keep_small_boxes: true,
            stretch_schedule: true,
            alignment_step_cells: 1,
            keep_on_canvas: true,
            mask_prompt: MaskPrompt::Box,
            mask_point_centered: true,
            mask_refuse_doubtful: true,
            fast_schedule_keeps_state: true,
            stop_objects_early: true,
            mend_plurals: true,
            ..Self::reference()
        }
    }
}

impl LmdOptions {
    /// The published behaviour with its oddities, as far as they are options. Not among them: segmentation masks come from attention and box unless
    /// the pipeline has a SAM, and its box prompt is the box painted into; a mask's centre is that of its cells, half a cell further; vacated cells keep the background's
    /// noise instead of zeros; updates are scaled by √(1−ᾱ) for every scheduler.
    pub fn reference() -> Self {
        Self {
            frozen_step_ratio: 0.5,
            loss_scale: 5.0,
            loss_threshold: 5.0,
            max_iter: published_max_iter(),
            min_index_step: 0,
            max_index_step: 30,
            fg_top_p: 0.2,
            bg_top_p: 0.2,
            fg_weight: 1.0,
            bg_weight: 4.0,
            overall_loss_scale: 5.0,
            overall_loss_threshold: 5.0,
            overall_max_iter: published_max_iter(),
            overall_min_index_step: 0,
            overall_max_index_step: 30,
            overall_fg_top_p: 0.2,
            overall_bg_top_p: 0.2,
            overall_fg_weight: 1.0,
            overall_bg_weight: 4.0,
            object_weights: BTreeMap::new(),
            use_ref_ca: true,
            ref_ca_loss_weight: 2.0,
            so_center_box: true,
            so_horizontal_center_only: false,
            so_vertical_placement: VerticalPlacement::FloorPadding,
            so_floor_padding: 0.2,
            align_with_overall_bboxes: true,
            horizontal_shift_only: false,
            fg_blending_ratio: 0.01,
            gaussian_sigma: 1.5,
            mask_threshold: 0.25,
            attention_aggregation_start: 10,
            fast_schedule: false,
            fast_rate: 2,
            mask_prompt: MaskPrompt::Point,
            mask_min_confidence: 0.85,
            mask_min_coarse_iou: 0.25,
            fg_seed_start: None,
            overall_prompt: None,
            caption_as_prompt: false,
            boxes_as_objects: false,
            bare_negative: false,
            object_images: true,
            over_heads: OverHeads::Sum,
            refresh_loss: false,
            keep_small_boxes: false,
            stretch_schedule: false,
            alignment_step_cells: 0,
            keep_on_canvas: false,
            mask_point_centered: false,
            mask_refuse_doubtful: false,
            fast_schedule_keeps_state: false,
            stop_objects_early: false,
            mend_plurals: false,
        }
    }

    /// Refuses values that do not go together.
    pub(in crate::methods) fn validate(&self) -> Result<()> {
        for (name, min, max) in [
            ("min_index_step", self.min_index_step, self.max_index_step),
            ("overall_min_index_step", self.overall_min_index_step, self.overall_max_index_step),
        ] {
            if min > 0 && min >= max {
                let found = min.to_string();
                return Err(Error::Setting { name, found, expected: "a step before the last that is guided" });
            }
        }
        Ok(())
    }

    pub(super) fn object_guidance(&self) -> GuidanceOptions {
        GuidanceOptions {
            loss_scale: self.loss_scale,
            loss_threshold: self.loss_threshold,
            max_iter: self.max_iter.clone(),
            min_index_step: self.min_index_step,
            max_index_step: self.max_index_step,
            stretches_schedule: self.stretch_schedule,
            refreshes_loss: self.refresh_loss,
        }
    }

    pub(super) fn overall_guidance(&self) -> GuidanceOptions {
        GuidanceOptions {
            loss_scale: self.overall_loss_scale,
            loss_threshold: self.overall_loss_threshold,
            max_iter: self.overall_max_iter.clone(),
            min_index_step: self.overall_min_index_step,
            max_index_step: self.overall_max_index_step,
            ..self.object_guidance()
        }
    }

    pub(super) fn object_loss(&self) -> BoxLossOptions {
        BoxLossOptions {
            fg_top_p: self.fg_top_p,
            bg_top_p: self.bg_top_p,
            fg_weight: self.fg_weight,
            bg_weight: self.bg_weight,
            over_heads: self.over_heads,
            rounding: self.rounding(),
        }
    }

    pub(super) fn overall_loss(&self) -> BoxLossOptions {
        BoxLossOptions {
            fg_top_p: self.overall_fg_top_p,
            bg_top_p: self.overall_bg_top_p,
            fg_weight: self.overall_fg_weight,
            bg_weight: self.overall_bg_weight,
            ..self.object_loss()
        }
    }

    pub(super) fn rounding(&self) -> GridRounding {
        rounding(self.keep_small_boxes)
    }

    pub(super) fn alignment(&self) -> Alignment {
        Alignment {
            step_cells: self.alignment_step_cells,
            stays_on_canvas: self.keep_on_canvas,
            horizontal_only: self.horizontal_shift_only,
        }
    }

    /// The box in which an object is painted alone.
    pub(super) fn solo_box(&self, bbox: &BBox) -> BBox {
        match (self.so_center_box, self.so_horizontal_center_only, self.so_vertical_placement) {
            (false, ..) => *bbox,
            (true, true, _) => bbox.centered(Placement::HorizontalCenter),
            (true, false, VerticalPlacement::Centered) => bbox.centered(Placement::Center),
            (true, false, VerticalPlacement::FloorPadding) => {
                bbox.centered(Placement::FloorPadding(self.so_floor_padding))
            }
        }
    }

    /// The calls of an object's own picture that are made, of `count`, when nothing but its mask is wanted from call `used` on.
    pub(super) fn solo_calls(&self, used: usize, count: usize) -> Vec<usize> {
        if self.leaves_objects_early() {
            return (0..used.min(count)).collect();
        }
        if !self.fast_schedule || used + 1 >= count {
            return (0..count).collect();
        }
        let rest = if self.fast_schedule_keeps_state { used } else { used + 1 };
        (0..used).chain((rest..count).step_by(self.fast_rate)).collect()
    }

    /// Whether objects' own pictures end where nothing more of them is used: the fast schedule is the other way to spare the rest.
    pub(super) fn leaves_objects_early(&self) -> bool {
        self.stop_objects_early && !self.fast_schedule
    }

    /// Steps of `count` whose attention is transferred from the objects' own pictures to the whole one.
    pub(super) fn num_transferred_steps(&self, count: usize) -> usize {
        let transfers = self.use_ref_ca && self.ref_ca_loss_weight > 0.0;
        if transfers { self.overall_guidance().num_guided_steps(count) } else { 0 }
    }

    /// Steps in which the foreground is frozen.
    pub(super) fn num_frozen_steps(&self, num_calls: usize) -> usize {
        (num_calls as f64 * self.frozen_step_ratio) as usize
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::schedulers::{Ddim, Scheduler, SchedulerConfig};

    #[test]
    fn the_fast_schedule_visits_the_published_timesteps_and_mended_keeps_the_last_state() {
        let config = SchedulerConfig { steps_offset: Some(1), ..SchedulerConfig::default() };
        let published = LmdOptions { fast_schedule: true, ..LmdOptions::reference() };
        let fixed = LmdOptions { fast_schedule_keeps_state: true, ..published.clone() };
        let visited = |options: &LmdOptions, used: usize| {
            let mut scheduler = Ddim::new(&config, 50).unwrap();
            scheduler.keep_calls(&options.solo_calls(used, 50)).unwrap();
            scheduler.timesteps().to_vec()
        };
        let late = visited(&published, 30);
        assert_eq!((late.len(), &late[28..33]), (40, &[421.0, 401.0, 361.0, 321.0, 281.0][..]));
        assert_eq!(late[39], 1.0);
        let early = visited(&published, 25);
        assert_eq!((early.len(), &early[34..]), (37, &[101.0, 61.0, 21.0][..]));
        let kept = visited(&fixed, 30);
        assert_eq!((kept.len(), &kept[28..33]), (40, &[421.0, 401.0, 381.0, 341.0, 301.0][..]));
        for used in [49, 50] {
            assert_eq!(visited(&published, used).len(), 50, "nothing to leave out after {used}");
        }
        assert_eq!(LmdOptions::default().solo_calls(30, 50), (0..30).collect::<Vec<_>>());
    }
}
