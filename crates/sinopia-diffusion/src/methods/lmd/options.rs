//! Every number and switch of LMD, as published or mended.

use std::collections::BTreeMap;

use serde::de::Error as _;
use serde::{Deserialize, Deserializer, Serialize};
use sinopia_layout::{BBox, GridRounding, Placement};

use crate::collage::Alignment;
use crate::guidance::{GuidanceOptions, published_max_iter};
use crate::losses::{BoxLossOptions, OverHeads};
use crate::masks::MaskPrompt;
use crate::methods::{check_iterations, check_settings, rounding};
use crate::{Error, Result};

/// Where an object stands when it is painted alone.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
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
/// of other lengths; see [`GuidanceOptions`] and `stretch_schedule`. The last group are the mends of the published behaviour, each with its
/// own switch; [`LmdOptions::reference`] has them all off.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct LmdOptions {
    /// Share of the steps, 0..=1, in which the objects stay exactly as they were painted alone. Published: 0.5.
    pub frozen_step_ratio: f64,
    /// Factor of the loss's gradient while an object is painted alone. Published: 5.
    pub loss_scale: f64,
    /// Guidance rests at or below this loss. Published: 5.
    pub loss_threshold: f64,
    /// Guidance updates at most at each step. Published: 4 (×5), 3 (×5), 2 (×10), 1 (×10).
    pub max_iter: Vec<usize>,
    /// No guidance before this step. Published: 0.
    pub min_index_step: usize,
    /// No guidance from this step on. Published: 30.
    pub max_index_step: usize,
    /// Share of the cells inside the box that should attend to the object, in (0, 1]. Published: 0.2.
    pub fg_top_p: f64,
    /// Share of the cells outside that should not, in (0, 1]. Published: 0.2.
    pub bg_top_p: f64,
    /// Weight of the inside. Published: 1.
    pub fg_weight: f64,
    /// Weight of the outside. Published: 4.
    pub bg_weight: f64,
    /// As `loss_scale`, for the whole picture. Published: 5.
    pub overall_loss_scale: f64,
    /// As `loss_threshold`, for the whole picture. Published: 5.
    pub overall_loss_threshold: f64,
    /// As `max_iter`, for the whole picture. Published: the same.
    pub overall_max_iter: Vec<usize>,
    /// As `min_index_step`, for the whole picture. Published: 0.
    pub overall_min_index_step: usize,
    /// As `max_index_step`, for the whole picture. Published: 30.
    pub overall_max_index_step: usize,
    /// As `fg_top_p`, for the whole picture. Published: 0.2.
    pub overall_fg_top_p: f64,
    /// As `bg_top_p`, for the whole picture. Published: 0.2.
    pub overall_bg_top_p: f64,
    /// As `fg_weight`, for the whole picture. Published: 1.
    pub overall_fg_weight: f64,
    /// As `bg_weight`, for the whole picture. Published: 4.
    pub overall_bg_weight: f64,
    /// Factors of single objects' terms in the whole picture's box loss, by phrase: `{"a small cat": 2}`; 1 for all others. Default: none.
    pub object_weights: BTreeMap<String, f64>,
    /// Whether objects in the whole picture should attend as they did alone. Published: true.
    pub use_ref_ca: bool,
    /// Weight of that loss. Published: 2.
    pub ref_ca_loss_weight: f64,
    /// Whether an object is painted alone in the middle of the picture, where the model paints best. Published: true.
    pub so_center_box: bool,
    /// Centre from left to right only. Published: false.
    pub so_horizontal_center_only: bool,
    /// How high a centred object stands. Published: `floor_padding`.
    pub so_vertical_placement: VerticalPlacement,
    /// Room below it, as a share of the height. Published: 0.2.
    pub so_floor_padding: f64,
    /// Whether the painted object is moved so that its centre is its box's. Published: true.
    pub align_with_overall_bboxes: bool,
    /// Only sideways. Published: false.
    pub horizontal_shift_only: bool,
    /// Share of an object's own noise in its box, 0..=1; the rest is the background's. Published: 0.01.
    pub fg_blending_ratio: f64,
    /// Object outlines: smoothing of the attention, in cells. Published: 1.5.
    pub gaussian_sigma: f64,
    /// Object outlines: share of the highest attention above which a cell belongs to the object. Published: 0.25.
    pub mask_threshold: f64,
    /// Object outlines: attention is averaged from this step on. Published: 10.
    pub attention_aggregation_start: usize,
    /// Whether an object's own picture takes only every `fast_rate`-th step once nothing but its outline is still wanted of it. Published: false. DDIM only.
    pub fast_schedule: bool,
    /// See `fast_schedule`. Published: 2.
    pub fast_rate: usize,
    /// Object outlines by SAM, if there is one: what it is asked with. Published: `point`, and `box` in LMD+. Default: `box`, the one painted into.
    pub mask_prompt: MaskPrompt,
    /// Object outlines by SAM: masks that it believes in less are taken only if all are such. Published: 0.85.
    pub mask_min_confidence: f64,
    /// Object outlines by SAM: the same for their IoU with the box or, asked with a point, the attention. Published: 0.25.
    pub mask_min_coarse_iou: f64,
    /// Seed of the first object's noise; the next objects count up. Default: the picture's seed + 123456789.
    #[serde(deserialize_with = "seed_or_text")]
    pub fg_seed_start: Option<u64>,
    /// Takes the place of the composed prompt of the whole picture.
    pub overall_prompt: Option<String>,
    /// Whether the caption itself is the prompt of the whole picture, with `| phrase` for each phrase that does not occur in it. Published:
    /// false, the prompt is composed of background and phrases.
    pub caption_as_prompt: bool,
    /// Whether each box is an object of its own, by its name, even if others have the same: the boxes of the others then count as outside.
    /// Published: false, `two cats` have two boxes.
    pub boxes_as_objects: bool,
    /// Whether nothing but what the request says is kept out of the picture: no keywords, and not the layout's negative prompt. Published: false.
    pub bare_negative: bool,
    /// Whether the objects' own pictures are decoded, for contact sheets. Default: true.
    pub object_images: bool,

    /// Mend: heads are averaged and weighed as if there were 8, so that the constants hold for every model. Published: `sum`.
    pub over_heads: OverHeads,
    /// Mend: the loss is looked at afresh at each step. Published: false, guidance ends for good once it was low.
    pub refresh_loss: bool,
    /// Mend: boxes too small for a grid get a cell. Published: false, they vanish and attention is pushed away from everywhere.
    pub keep_small_boxes: bool,
    /// Mend: step numbers are stretched to the number of steps. Published: false.
    pub stretch_schedule: bool,
    /// Mend: objects are moved by multiples of this many latent cells; 0 stands for an eighth of the latents' grid. Published: 0.
    pub alignment_step_cells: usize,
    /// Mend: an object is not moved beyond the canvas. Published: false.
    pub keep_on_canvas: bool,
    /// Mend: SAM's point is the middle of the most attended cell. Published: false, its upper left corner.
    pub mask_point_centered: bool,
    /// Mend: a tiny outline by SAM, or one that is mostly outside the box, is refused for one by attention and box. Published: false.
    pub mask_refuse_doubtful: bool,
    /// Mend: the fast schedule keeps the step after the last state that is used, which is then as noisy as the whole picture. Published: false, a step cleaner.
    pub fast_schedule_keeps_state: bool,
    /// Mend: an object's own picture ends once nothing more of it is pasted or transferred, and `max_index_step` is over: its outline is taken from what
    /// was seen so far, and its picture is the one predicted there. Not with `fast_schedule`. Published: false, all steps.
    pub stop_objects_early: bool,
    /// Mend: articles are removed from the front of counted names only. Published: false, `pandbears`.
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

/// A seed as a number or as text: JavaScript rounds numbers above 2^53.
fn seed_or_text<'de, D: Deserializer<'de>>(deserializer: D) -> std::result::Result<Option<u64>, D::Error> {
    #[derive(Deserialize)]
    #[serde(untagged, expecting = "a seed is a whole number from 0 to 18446744073709551615, as a number or as text")]
    enum Seed {
        Number(u64),
        Text(String),
    }
    match Option::<Seed>::deserialize(deserializer)? {
        None => Ok(None),
        Some(Seed::Number(seed)) => Ok(Some(seed)),
        Some(Seed::Text(text)) => {
            text.trim().parse().map(Some).map_err(|_| D::Error::custom(format!("`{text}` is no seed")))
        }
    }
}

impl LmdOptions {
    /// The published behaviour with its oddities, as far as they are options. Not among them: outlines come from attention and box unless
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

    /// Refuses values outside their ranges.
    pub(in crate::methods) fn validate(&self) -> Result<()> {
        let is_share = |x: f64| (0.0..=1.0).contains(&x);
        let is_positive_share = |x: f64| x > 0.0 && x <= 1.0;
        let is_factor = |x: f64| x.is_finite() && x >= 0.0;
        let shares = [
            ("frozen_step_ratio", self.frozen_step_ratio),
            ("so_floor_padding", self.so_floor_padding),
            ("fg_blending_ratio", self.fg_blending_ratio),
            ("mask_threshold", self.mask_threshold),
            ("mask_min_confidence", self.mask_min_confidence),
            ("mask_min_coarse_iou", self.mask_min_coarse_iou),
        ];
        let positive_shares = [
            ("fg_top_p", self.fg_top_p),
            ("bg_top_p", self.bg_top_p),
            ("overall_fg_top_p", self.overall_fg_top_p),
            ("overall_bg_top_p", self.overall_bg_top_p),
        ];
        let factors = [
            ("loss_scale", self.loss_scale),
            ("loss_threshold", self.loss_threshold),
            ("fg_weight", self.fg_weight),
            ("bg_weight", self.bg_weight),
            ("overall_loss_scale", self.overall_loss_scale),
            ("overall_loss_threshold", self.overall_loss_threshold),
            ("overall_fg_weight", self.overall_fg_weight),
            ("overall_bg_weight", self.overall_bg_weight),
            ("ref_ca_loss_weight", self.ref_ca_loss_weight),
        ];
        check_settings(&shares, is_share, "a number from 0 to 1")?;
        check_settings(&positive_shares, is_positive_share, "a number above 0, at most 1")?;
        check_settings(&factors, is_factor, "a number from 0")?;
        check_settings(
            &[("gaussian_sigma", self.gaussian_sigma)],
            |x| x > 0.0 && x <= 100.0,
            "a number above 0, at most 100",
        )?;
        check_settings(
            &[("fast_rate", self.fast_rate as f64)],
            |x| (1.0..=1000.0).contains(&x),
            "a whole number from 1 to 1000",
        )?;
        for (name, min, max) in [
            ("min_index_step", self.min_index_step, self.max_index_step),
            ("overall_min_index_step", self.overall_min_index_step, self.overall_max_index_step),
        ] {
            if min > 0 && min >= max {
                let found = min.to_string();
                return Err(Error::Setting { name, found, expected: "a step before the last that is guided" });
            }
        }
        let weights: Vec<_> = self.object_weights.values().map(|weight| ("object_weights", *weight)).collect();
        check_settings(&weights, |x| (0.0..=100.0).contains(&x), "numbers from 0 to 100")?;
        check_iterations(&[("max_iter", &self.max_iter), ("overall_max_iter", &self.overall_max_iter)])
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

    /// The calls of an object's own picture that are made, of `count`, when nothing but its outline is wanted from call `used` on.
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
    fn the_first_seed_may_be_text() {
        let read = |value| serde_json::from_value::<LmdOptions>(serde_json::json!({ "fg_seed_start": value }));
        for (value, seed) in
            [(serde_json::json!("18446744073709551615"), Some(u64::MAX)), (7.into(), Some(7)), (().into(), None)]
        {
            assert_eq!(read(value).unwrap().fg_seed_start, seed);
        }
        assert!(read("18446744073709551616".into()).is_err() && read((-1).into()).is_err());
    }

    #[test]
    fn the_fast_schedule_visits_the_published_timesteps_and_mended_keeps_the_last_state() {
        let config = SchedulerConfig { steps_offset: Some(1), ..SchedulerConfig::default() };
        let published = LmdOptions { fast_schedule: true, ..LmdOptions::reference() };
        let mended = LmdOptions { fast_schedule_keeps_state: true, ..published.clone() };
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
        let kept = visited(&mended, 30);
        assert_eq!((kept.len(), &kept[28..33]), (40, &[421.0, 401.0, 381.0, 341.0, 301.0][..]));
        for used in [49, 50] {
            assert_eq!(visited(&published, used).len(), 50, "nothing to leave out after {used}");
        }
        assert_eq!(LmdOptions::default().solo_calls(30, 50), (0..30).collect::<Vec<_>>());
    }
}
