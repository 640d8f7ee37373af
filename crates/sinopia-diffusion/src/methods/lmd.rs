//! LMD, training-free: paint every object alone, then the whole scene around the kept objects.
//!
//! Lian et al. 2023, arXiv 2305.13655. Start reading at [`Lmd::generate`].

use std::collections::BTreeMap;
use std::sync::Arc;

use candle_core::Tensor;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use sinopia_layout::nouns::CountNaming;
use sinopia_layout::scene::{OBJECT_NEGATIVE, OVERALL_NEGATIVE};
use sinopia_layout::{
    BBox, Grid, GridMask, GridRounding, GroundedPrompt, Placement, Scene, SceneObject, SceneOptions, locate_phrases,
};
use sinopia_models::unet::{AttnKey, BatchPart, Recording, TokenColumns};

use super::{Method, read_options, write_options};
use crate::collage::{Alignment, Collage, Cutout, shifted_attention};
use crate::guidance::{GuidanceOptions, Guide, PUBLISHED_STEPS, published_max_iter};
use crate::losses::{
    AttentionMaps, AttentionTransfer, BoxLoss, BoxLossOptions, GroundedTokens, KeyGrids, LossSum, OverHeads,
    ReferenceMaps, TokenSet,
};
use crate::masks::{AttentionBoxMask, AttentionMap, MaskRequest, MaskSource};
use crate::noise::{NoiseSource, SceneSeeds, Seed, blend_foreground};
use crate::observer::{Run, Stage};
use crate::painting::{GuidanceReport, PaintRequest, PaintedObject, Painting, Prompts, Sampling};
use crate::pipeline::{GuidedText, Pipeline, Sampler};
use crate::schedulers::SchedulerKind;
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

/// Options of [`Lmd`]. "so" means a single object's own picture, "overall" the whole one.
///
/// Step numbers (`max_iter`, `*_max_index_step`, `attention_aggregation_start`) are written for the published 50 steps and keep their place in runs
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
    /// Seed of the first object's noise; the next objects count up. Default: the picture's seed + 123456789.
    pub fg_seed_start: Option<u64>,
    /// Takes the place of the composed prompt of the whole picture.
    pub overall_prompt: Option<String>,
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
    /// Mend: objects are moved by multiples of this many latent cells. Published: an eighth of the latents, 8.
    pub alignment_step_cells: usize,
    /// Mend: an object is not moved beyond the canvas. Published: false.
    pub keep_on_canvas: bool,
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
            mend_plurals: true,
            ..Self::reference()
        }
    }
}

impl LmdOptions {
    /// The published behaviour with its oddities, as far as they are options. Not among them: outlines come from attention and box unless a
    /// segmentation model is plugged in; a mask's centre is that of its cells, half a cell further; vacated cells keep the background's
    /// noise instead of zeros; updates are scaled by √(1−ᾱ) for every scheduler. `alignment_step_cells` is that of 64 × 64 latents.
    pub fn reference() -> Self {
        Self {
            frozen_step_ratio: 0.5,
            loss_scale: 5.0,
            loss_threshold: 5.0,
            max_iter: published_max_iter(),
            max_index_step: 30,
            fg_top_p: 0.2,
            bg_top_p: 0.2,
            fg_weight: 1.0,
            bg_weight: 4.0,
            overall_loss_scale: 5.0,
            overall_loss_threshold: 5.0,
            overall_max_iter: published_max_iter(),
            overall_max_index_step: 30,
            overall_fg_top_p: 0.2,
            overall_bg_top_p: 0.2,
            overall_fg_weight: 1.0,
            overall_bg_weight: 4.0,
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
            fg_seed_start: None,
            overall_prompt: None,
            object_images: true,
            over_heads: OverHeads::Sum,
            refresh_loss: false,
            keep_small_boxes: false,
            stretch_schedule: false,
            alignment_step_cells: 8,
            keep_on_canvas: false,
            mend_plurals: false,
        }
    }

    /// Refuses values outside their ranges.
    fn validate(&self) -> Result<()> {
        let is_share = |x: f64| (0.0..=1.0).contains(&x);
        let is_positive_share = |x: f64| x > 0.0 && x <= 1.0;
        let is_factor = |x: f64| x.is_finite() && x >= 0.0;
        let shares = [
            ("frozen_step_ratio", self.frozen_step_ratio),
            ("so_floor_padding", self.so_floor_padding),
            ("fg_blending_ratio", self.fg_blending_ratio),
            ("mask_threshold", self.mask_threshold),
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
        check(&shares, is_share, "a number from 0 to 1")?;
        check(&positive_shares, is_positive_share, "a number above 0, at most 1")?;
        check(&factors, is_factor, "a number from 0")?;
        check(&[("gaussian_sigma", self.gaussian_sigma)], |x| x > 0.0 && x <= 100.0, "a number above 0, at most 100")?;
        let step = self.alignment_step_cells as f64;
        check(&[("alignment_step_cells", step)], |x| x >= 1.0, "at least 1")
    }

    fn object_guidance(&self) -> GuidanceOptions {
        GuidanceOptions {
            loss_scale: self.loss_scale,
            loss_threshold: self.loss_threshold,
            max_iter: self.max_iter.clone(),
            max_index_step: self.max_index_step,
            stretches_schedule: self.stretch_schedule,
            refreshes_loss: self.refresh_loss,
        }
    }

    fn overall_guidance(&self) -> GuidanceOptions {
        GuidanceOptions {
            loss_scale: self.overall_loss_scale,
            loss_threshold: self.overall_loss_threshold,
            max_iter: self.overall_max_iter.clone(),
            max_index_step: self.overall_max_index_step,
            ..self.object_guidance()
        }
    }

    fn object_loss(&self) -> BoxLossOptions {
        BoxLossOptions {
            fg_top_p: self.fg_top_p,
            bg_top_p: self.bg_top_p,
            fg_weight: self.fg_weight,
            bg_weight: self.bg_weight,
            over_heads: self.over_heads,
            rounding: self.rounding(),
        }
    }

    fn overall_loss(&self) -> BoxLossOptions {
        BoxLossOptions {
            fg_top_p: self.overall_fg_top_p,
            bg_top_p: self.overall_bg_top_p,
            fg_weight: self.overall_fg_weight,
            bg_weight: self.overall_bg_weight,
            ..self.object_loss()
        }
    }

    fn rounding(&self) -> GridRounding {
        if self.keep_small_boxes { GridRounding::AtLeastOneCell } else { GridRounding::Published }
    }

    fn alignment(&self) -> Alignment {
        Alignment {
            step_cells: self.alignment_step_cells,
            stays_on_canvas: self.keep_on_canvas,
            horizontal_only: self.horizontal_shift_only,
        }
    }

    /// The box in which an object is painted alone.
    fn solo_box(&self, bbox: &BBox) -> BBox {
        match (self.so_center_box, self.so_horizontal_center_only, self.so_vertical_placement) {
            (false, ..) => *bbox,
            (true, true, _) => bbox.centered(Placement::HorizontalCenter),
            (true, false, VerticalPlacement::Centered) => bbox.centered(Placement::Center),
            (true, false, VerticalPlacement::FloorPadding) => {
                bbox.centered(Placement::FloorPadding(self.so_floor_padding))
            }
        }
    }

    /// Steps in which the foreground is frozen.
    fn num_frozen_steps(&self, num_calls: usize) -> usize {
        (num_calls as f64 * self.frozen_step_ratio) as usize
    }
}

fn check(values: &[(&'static str, f64)], is_good: impl Fn(f64) -> bool, expected: &'static str) -> Result<()> {
    match values.iter().find(|(_, value)| !is_good(*value)) {
        None => Ok(()),
        Some((name, value)) => Err(Error::Setting { name, found: value.to_string(), expected }),
    }
}

/// LMD without adapters.
#[derive(Debug, Clone)]
pub struct Lmd {
    options: LmdOptions,
    masks: Arc<dyn MaskSource>,
}

impl Lmd {
    /// The name on the command line.
    pub const NAME: &'static str = "lmd";

    /// With options; outlines come from attention and box.
    ///
    /// # Errors
    /// [`Error::Setting`] for a value outside its range.
    pub fn new(options: LmdOptions) -> Result<Self> {
        options.validate()?;
        let masks = AttentionBoxMask {
            gaussian_sigma: options.gaussian_sigma,
            threshold: options.mask_threshold,
            ..AttentionBoxMask::default()
        };
        Ok(Self { options, masks: Arc::new(masks) })
    }

    /// With another source of outlines.
    #[must_use]
    pub fn with_masks(self, masks: Arc<dyn MaskSource>) -> Self {
        Self { masks, ..self }
    }

    pub(super) fn build(options: Value) -> Result<Box<dyn Method>> {
        Ok(Box::new(Self::new(read_options(Self::NAME, options)?)?))
    }

    pub(super) fn reference() -> Value {
        write_options(&LmdOptions::reference())
    }

    fn compose_scene(&self, request: &PaintRequest) -> Result<Scene> {
        let layout = request.layout.as_ref().ok_or(Error::NoLayout { method: Self::NAME })?;
        let keywords = request.negative.as_deref().unwrap_or(OVERALL_NEGATIVE).trim();
        // What keeps an object alone in its picture stays when the other keywords are replaced.
        let solo = OBJECT_NEGATIVE.strip_prefix(OVERALL_NEGATIVE).unwrap_or_default().trim_start_matches(", ");
        let options = SceneOptions {
            overall_prompt: self.options.overall_prompt.clone(),
            naming: if self.options.mend_plurals { CountNaming::Mended } else { CountNaming::Published },
            overall_negative: keywords.to_owned(),
            object_negative: if keywords.is_empty() { solo.to_owned() } else { format!("{keywords}, {solo}") },
        };
        Ok(Scene::compose_with(layout, &options)?)
    }
}

impl Method for Lmd {
    fn name(&self) -> &'static str {
        Self::NAME
    }

    fn options(&self) -> Value {
        write_options(&self.options)
    }

    fn generate(&self, request: &PaintRequest, pipeline: &Pipeline, run: &Run) -> Result<Painting> {
        let scene = self.compose_scene(request)?;
        let painter = Painter::new(self, &scene, request, pipeline, run)?;
        let prompts = painter.read_prompts(&scene, request)?;
        let background = painter.background_noise()?; // (1, H, W, C)

        let mut solos = Vec::new();
        for (index, object) in scene.objects().iter().enumerate().filter(|_| painter.needs_solos()) {
            // Stage 1: the object alone, guided into a centred box; its latents and attention kept.
            // Stage 2: its outline, moved to where the layout wants it.
            solos.push(painter.paint_alone(
                object,
                &background,
                index,
                (&prompts.objects[index], scene.objects().len()),
            )?);
        }
        // Stage 3: the cut-outs over the background, smaller ones on top.
        let collage = Collage::compose(&background, &solos.iter().map(|solo| solo.cutout.clone()).collect::<Vec<_>>())?;

        // Stage 4: the whole scene, guided by attention, its foreground frozen at first.
        let (latents, report) = painter.paint_scene(&prompts.overall, &collage, &solos)?;

        let image = pipeline.decode_one(&latents, run)?;
        let (objects, reports): (Vec<_>, Vec<_>) = solos.into_iter().map(|solo| (solo.painted, solo.report)).unzip();
        Ok(Painting {
            image,
            objects,
            prompts: prompts.texts,
            sampling: painter.sampling,
            options: self.options(),
            guidance: reports.into_iter().chain([report]).collect(),
            warnings: run.warnings(),
            timings: run.timings(),
        })
    }
}

/// What all stages of one picture share.
struct Painter<'a> {
    lmd: &'a Lmd,
    pipeline: &'a Pipeline,
    run: &'a Run<'a>,
    sampling: Sampling,
    scheduler: SchedulerKind,
    seeds: SceneSeeds,
    /// Of the latents.
    size: (usize, usize, usize),
    /// The guidance keys' grids.
    grids: KeyGrids,
    mask_key: AttnKey,
}

/// A prompt ready to paint: its embeddings and where its phrases' tokens are.
struct GroundedText {
    text: GuidedText,
    tokens: Vec<GroundedTokens>,
    /// For each of `tokens`, its objects in the scene.
    objects: Vec<std::ops::Range<usize>>,
}

struct ScenePrompts {
    objects: Vec<GroundedText>,
    overall: GroundedText,
    texts: Prompts,
}

/// An object that was painted alone.
struct Solo {
    cutout: Cutout,
    /// Its attention, moved like the cut-out.
    reference: ReferenceMaps,
    painted: PaintedObject,
    report: GuidanceReport,
}

impl<'a> Painter<'a> {
    fn new(lmd: &'a Lmd, scene: &Scene, request: &PaintRequest, pipeline: &'a Pipeline, run: &'a Run) -> Result<Self> {
        // First order by default: histories of multistep schedulers would not see the guided and the pasted latents.
        let scheduler = request.sampling.scheduler.unwrap_or(SchedulerKind::Ddim);
        let sampling = Sampling { scheduler: Some(scheduler), ..request.sampling.clone() };
        let size = pipeline.latent_size(&sampling)?;
        let unet = pipeline.unet();
        let grid = |key: &AttnKey| {
            let (height, width) = unet.attention_grid(*key, (size.0, size.1));
            (*key, Grid::new(height, width))
        };
        if matches!(scheduler, SchedulerKind::Pndm | SchedulerKind::DpmSolverPlusPlus) {
            run.warn(format!(
                "{scheduler} steps from a history that guidance and pasted objects do not reach, which weakens both; ddim suits lmd"
            ));
        }
        let seeds = SceneSeeds::from_seed(sampling.seed);
        let seeds = SceneSeeds { fg_seed_start: lmd.options.fg_seed_start.map_or(seeds.fg_seed_start, Seed), ..seeds };
        let (found, canvas) = (sampling.width * scene.canvas().height() as usize, scene.canvas().width() as usize);
        if found != sampling.height * canvas {
            run.warn(format!(
                "the layout is {} × {} and the picture {} × {}: boxes are stretched with the canvas",
                scene.canvas().width(),
                scene.canvas().height(),
                sampling.width,
                sampling.height
            ));
        }
        let grids = unet.guidance_keys().iter().map(grid).collect();
        let mask_key = unet.object_mask_key();
        Ok(Self { lmd, pipeline, run, sampling, scheduler, seeds, size, grids, mask_key })
    }

    fn options(&self) -> &'a LmdOptions {
        &self.lmd.options
    }

    fn latent_grid(&self) -> Grid {
        Grid::new(self.size.0, self.size.1)
    }

    fn keys(&self) -> Vec<AttnKey> {
        self.grids.keys().copied().collect()
    }

    /// Whether anything of the objects' own pictures is used.
    fn needs_solos(&self) -> bool {
        let options = self.options();
        let transfers = options.use_ref_ca && options.ref_ca_loss_weight > 0.0;
        transfers || options.num_frozen_steps(self.sampling.num_inference_steps) > 0
    }

    /// A step number of the published 50 steps in a run of `num_calls`.
    fn stretched(&self, step: usize, num_calls: usize) -> usize {
        if self.options().stretch_schedule { (step * num_calls).div_ceil(PUBLISHED_STEPS) } else { step }
    }

    fn read_prompts(&self, scene: &Scene, request: &PaintRequest) -> Result<ScenePrompts> {
        self.run.stage(&Stage::Encode, || {
            let mut overall = scene.overall().clone();
            if overall.text.is_empty() {
                overall.text = request.caption.clone().unwrap_or_default();
            }
            let overall = self.read_prompt(&overall, scene.overall_negative())?;
            let objects = scene.objects().iter().filter(|_| self.needs_solos());
            let objects = objects.map(|object| self.read_prompt(object.prompt(), scene.object_negative()));
            let objects = objects.collect::<Result<Vec<_>>>()?;
            let texts = Prompts {
                overall: overall.1,
                overall_negative: scene.overall_negative().to_owned(),
                objects: objects.iter().map(|(_, text)| text.clone()).collect(),
                object_negative: scene.object_negative().to_owned(),
            };
            let objects = objects.into_iter().map(|(text, _)| text).collect();
            Ok(ScenePrompts { objects, overall: overall.0, texts })
        })
    }

    /// Encodes a prompt and finds its phrases. A phrase past the end of the text encoder's window cannot be guided, and is warned about.
    fn read_prompt(&self, prompt: &GroundedPrompt, negative: &str) -> Result<(GroundedText, String)> {
        let tokenizer = self.pipeline.tokenizer();
        // A text that cannot be tokenized has no tokens, which is refused with the phrase's name.
        let encode = |text: &str| tokenizer.encode_unpadded(text).unwrap_or_default();
        let located = locate_phrases(prompt, encode, usize::MAX)?;
        let window = tokenizer.max_length();
        let (mut tokens, mut objects) = (Vec::new(), Vec::new());
        for (phrase, found) in prompt.phrases.iter().zip(&located.phrases) {
            if found.range.end >= window {
                self.run.warn(format!(
                    "`{}` lies beyond the {window} tokens that the text encoder reads: its place is not guided in `{}`",
                    phrase.text, located.text
                ));
                continue;
            }
            tokens.push(GroundedTokens {
                phrase: phrase.text.clone(),
                positions: found.positions(),
                word: found.word,
                bboxes: phrase.bboxes.clone(),
            });
            objects.push(phrase.objects.clone());
        }
        let mut text = self.pipeline.encode_pairs(&[&located.text], negative, &self.sampling, self.run)?;
        Ok((GroundedText { text: text.swap_remove(0), tokens, objects }, located.text))
    }

    /// The background's noise as latents to start with.
    fn background_noise(&self) -> Result<Tensor> {
        let mut noise = NoiseSource::new(self.seeds.bg_seed);
        let start = noise.draw(self.size, self.pipeline.device())?;
        self.pipeline.sampler(self.scheduler, &self.sampling, noise)?.scale_noise(&start)
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
            let image = match self.options().object_images || self.lmd.masks.wants_image() {
                true => self.pipeline.decode(&film.last)?.pop(),
                false => None,
            };
            let mask = self.lmd.masks.mask(&MaskRequest {
                phrase: object.name(),
                bbox: &bbox,
                attention: &film.attention,
                image: image.as_ref(),
                latent_grid: self.latent_grid(),
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
        let sampler = self.pipeline.sampler(self.scheduler, &self.sampling, noise)?;
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
        let num_references = match options.use_ref_ca {
            true => options.overall_guidance().num_guided_steps(count),
            false => 0,
        };
        let num_frozen = options.num_frozen_steps(count);
        let aggregation_start = self.stretched(options.attention_aggregation_start, count).min(count - 1);

        let mut attention = AttentionSum::default();
        let mut reference = ReferenceMaps::default();
        let mut states = vec![start.clone()];
        let mut latents = start; // (1, H, W, C)
        for index in 0..count {
            self.run.check()?;
            if !tokens.is_empty() {
                latents = guide.update(latents, index, (sampler, &prompt.text, &loss), self.run)?;
            }
            let record = self.solo_recording(&tokens, index < num_references, index >= aggregation_start);
            let denoised = sampler.denoise(&latents, index, &prompt.text, record.as_ref())?;
            latents = denoised.latents;
            if index < num_frozen {
                states.push(latents.clone());
            }
            if index < num_references {
                reference.steps.push(self.reference_of(&denoised.maps)?);
            }
            if index >= aggregation_start {
                attention.add(denoised.maps.get(&self.mask_key))?;
            }
            sampler.report(&latents, index, (stage, guide.last_loss()), self.run)?;
        }
        let attention = self.mean_attention(attention)?;
        Ok(Film { states, last: latents, reference, attention, report: guide.report() })
    }

    /// The word's attention: at the guidance keys while references are kept, at the mask key while it is averaged.
    fn solo_recording(&self, tokens: &[GroundedTokens], references: bool, mask: bool) -> Option<Recording> {
        let mut keys = if references { self.keys() } else { Vec::new() };
        if mask && !keys.contains(&self.mask_key) {
            keys.push(self.mask_key);
        }
        let word = tokens.first().map(|tokens| tokens.word)?;
        let tokens = TokenColumns::Some(vec![word]);
        (!keys.is_empty()).then_some(Recording { keys, tokens, batch: BatchPart::Conditional })
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

    /// Stage 4: the whole picture.
    fn paint_scene(
        &self,
        prompt: &GroundedText,
        collage: &Collage,
        solos: &[Solo],
    ) -> Result<(Tensor, GuidanceReport)> {
        let options = self.options();
        let token_set = TokenSet::of(&prompt.tokens);
        let loss = self.scene_loss(prompt, &token_set, solos)?;
        let stage = Stage::Picture;
        let mut guide =
            Guide::new(self.pipeline.unet(), &self.keys(), &token_set, options.overall_guidance(), stage.to_string());
        let mut noise = NoiseSource::new(self.seeds.bg_seed);
        noise.draw(self.size, self.pipeline.device())?; // the start was drawn before; what follows goes on from there
        let mut sampler = self.pipeline.sampler(self.scheduler, &self.sampling, noise)?;
        let num_frozen = options.num_frozen_steps(sampler.num_calls());

        let mut latents = collage.start().clone(); // (1, H, W, C)
        self.run.stage(&stage, || {
            for index in 0..sampler.num_calls() {
                self.run.check()?;
                let mut now = latents.clone();
                if !prompt.tokens.is_empty() {
                    now = guide.update(now, index, (&sampler, &prompt.text, &loss), self.run)?;
                }
                now = sampler.denoise(&now, index, &prompt.text, None)?.latents;
                if index < num_frozen {
                    now = collage.restore_foreground(now, index)?;
                }
                latents = now;
                sampler.report(&latents, index, (&stage, guide.last_loss()), self.run)?;
            }
            Ok(())
        })?;
        Ok((latents, guide.report()))
    }

    /// The box loss, and the attention transfer if it is wanted.
    fn scene_loss(&self, prompt: &GroundedText, tokens: &TokenSet, solos: &[Solo]) -> Result<LossSum<'static>> {
        let options = self.options();
        let loss = LossSum::default().plus(BoxLoss::new(&prompt.tokens, tokens, &self.grids, options.overall_loss()));
        if !options.use_ref_ca || options.ref_ca_loss_weight == 0.0 || solos.is_empty() {
            return Ok(loss);
        }
        let of_objects = prompt.objects.iter().flat_map(|objects| solos[objects.clone()].iter());
        let references = of_objects.map(|solo| solo.reference.clone()).collect();
        let setting = (&self.grids, options.rounding(), options.ref_ca_loss_weight);
        let transfer = AttentionTransfer::new(&prompt.tokens, references, tokens, setting, self.pipeline.device())?;
        Ok(loss.plus(transfer))
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
