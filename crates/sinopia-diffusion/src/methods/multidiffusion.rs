//! MultiDiffusion with region control: every region of the picture is denoised with its own prompt, and the pieces are put together at each step.
//!
//! Bar-Tal et al. 2023, arXiv 2302.08113, in the form in which LMD compares itself with it. Start reading at [`MultiDiffusion::paint`].

use candle_core::{Device, Tensor};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use sinopia_layout::repair::{RepairMode, repair_with};
use sinopia_layout::scene::OVERALL_NEGATIVE;
use sinopia_layout::{BBox, Grid, GridMask, GridRounding, Layout};

use super::{MAX_STEP, Method, check_values, read_options, write_options};
use crate::beginning::{self, Beginning};
use crate::conditioning::PromptText;
use crate::guidance::stretched;
use crate::noise::Generator;
use crate::observer::{Run, Stage};
use crate::painting::{PaintRequest, Painting, Prompts, Sampling};
use crate::pipeline::{GuidedText, Pipeline, Sampler};
use crate::prompts::{joined, warn_of_stretching};
use crate::settings::{Group, Setting, described};
use crate::{Error, Result};

/// What the background should not be, behind the other keywords.
const BACKGROUND_NEGATIVE: &str = "headshot, close-up, partial, large, large, huge, gigantic";

/// What an object should not be, behind the background's keywords.
const OBJECT_NEGATIVE: &str = "cut-out, partial, occluded, weird";

/// Options of [`MultiDiffusion`]. The last group deviates from the published behaviour, each with its own switch;
/// [`MultiDiffusionOptions::reference`] has them all off.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct MultiDiffusionOptions {
    /// Steps at which an object sees a plain colour around its region instead of the rest of the picture, so that it comes to fill the region.
    #[schemars(range(max = MAX_STEP), extend("x-group" = Group::Composition, "x-unit" = "steps of 50"))]
    pub bootstrapping: usize,
    /// Takes the place of the picture's guidance scale.
    ///
    /// Null is the picture's own.
    #[schemars(range(min = 0, max = 100), extend("x-group" = Group::Sampling))]
    pub guidance_scale: Option<f64>,
    /// Pictures in one call of the UNet at most, both halves of classifier-free guidance counted.
    ///
    /// Memory grows with it; the picture does not depend on it but for rounding.
    #[schemars(range(min = 1), extend("x-group" = Group::Speed))]
    pub max_batch: usize,
    /// Whether of overlapping boxes the first is on top, not the last.
    #[schemars(extend("x-group" = Group::Composition))]
    pub first_on_top: bool,

    /// Whether boxes stay where the layout has them.
    ///
    /// As published they are filtered once more with scaling on, which moves every layout to the left edge and stretches it to the width of the canvas.
    #[schemars(extend("x-group" = Group::Deviations))]
    pub keep_boxes: bool,
    /// Whether a box covers the cells nearest to it, at least one.
    ///
    /// As published it covers the cells whose first pixel it covers, perhaps none.
    #[schemars(extend("x-group" = Group::Deviations))]
    pub keep_small_boxes: bool,
    /// Whether step numbers, written for 50 steps, are stretched to the number of steps.
    #[schemars(extend("x-group" = Group::Deviations))]
    pub stretch_schedule: bool,
}

impl Default for MultiDiffusionOptions {
    fn default() -> Self {
        Self {
            guidance_scale: None,
            keep_boxes: true,
            keep_small_boxes: true,
            stretch_schedule: true,
            ..Self::reference()
        }
    }
}

impl MultiDiffusionOptions {
    /// The behaviour of LMD's code, with noise and colours from the processor's generator.
    pub fn reference() -> Self {
        Self {
            bootstrapping: 20,
            guidance_scale: Some(10.0),
            max_batch: 8,
            first_on_top: false,
            keep_boxes: false,
            keep_small_boxes: false,
            stretch_schedule: false,
        }
    }

    /// Bootstrapped steps of a run of `count`.
    fn num_bootstrapped(&self, count: usize) -> usize {
        match self.stretch_schedule {
            true => stretched(self.bootstrapping, count).min(count),
            false => self.bootstrapping,
        }
    }
}

/// MultiDiffusion.
#[derive(Debug, Clone)]
pub struct MultiDiffusion {
    options: MultiDiffusionOptions,
}

impl MultiDiffusion {
    /// The name on the command line.
    pub const NAME: &'static str = "multidiffusion";

    /// With options.
    ///
    /// # Errors
    /// [`Error::MethodOption`] for a value outside its range.
    pub fn new(options: MultiDiffusionOptions) -> Result<Self> {
        check_values(Self::NAME, &options)?;
        Ok(Self { options })
    }

    pub(super) fn build(options: Value) -> Result<Box<dyn Method>> {
        Ok(Box::new(Self::new(read_options(Self::NAME, options)?)?))
    }

    pub(super) fn reference() -> Value {
        write_options(&MultiDiffusionOptions::reference())
    }

    pub(super) fn settings() -> Vec<Setting> {
        described::<MultiDiffusionOptions>(Self::NAME, &Self::reference())
    }

    /// The layout whose boxes are painted.
    fn layout(&self, request: &PaintRequest, run: &Run) -> Result<Layout> {
        let layout = request.layout.clone().ok_or(Error::NoLayout { method: Self::NAME })?;
        if self.options.keep_boxes {
            return Ok(layout);
        }
        let (scaled, report) = repair_with(layout, RepairMode::Published { scale: true });
        if !report.is_empty() {
            run.warn("as published, the boxes are moved to the left edge and stretched to the width of the canvas");
        }
        Ok(scaled)
    }

    /// Each region's cells: the background's, then each object's; disjoint, and together everything.
    fn regions(&self, layout: &Layout, grid: Grid, cell_pixels: usize) -> Result<Vec<GridMask>> {
        let mut owners = vec![0usize; grid.cells()];
        let mut order: Vec<usize> = (0..layout.objects.len()).collect();
        if self.options.first_on_top {
            order.reverse();
        }
        for index in order {
            let bbox = BBox::from_pixels(&layout.objects[index].bbox, layout.canvas)?;
            let mask = match self.options.keep_small_boxes {
                true => GridMask::from_bbox(&bbox, grid, GridRounding::AtLeastOneCell),
                false => first_pixel_mask(&bbox, grid, cell_pixels),
            };
            let inside = owners.iter_mut().zip(mask.cells()).filter(|(_, inside)| **inside);
            inside.for_each(|(owner, _)| *owner = index + 1);
        }
        let region = |index: usize| {
            GridMask::from_cells(grid, owners.iter().map(|owner| *owner == index).collect())
                .unwrap_or_else(|| GridMask::empty(grid))
        };
        Ok((0..=layout.objects.len()).map(region).collect())
    }
}

/// The cells whose first pixel lies in the box: a mask in pixels, reduced by taking the nearest one.
fn first_pixel_mask(bbox: &BBox, grid: Grid, cell_pixels: usize) -> GridMask {
    let pixels = Grid::new(grid.height * cell_pixels, grid.width * cell_pixels);
    let rect = bbox.grid_rect(pixels, GridRounding::Published);
    let covers = |from: usize, to: usize, cell: usize| (from..to).contains(&(cell * cell_pixels));
    let cells = (0..grid.cells()).map(|cell| {
        covers(rect.top, rect.bottom, cell / grid.width) && covers(rect.left, rect.right, cell % grid.width)
    });
    GridMask::from_cells(grid, cells.collect()).unwrap_or_else(|| GridMask::empty(grid))
}

impl Method for MultiDiffusion {
    fn name(&self) -> &'static str {
        Self::NAME
    }

    fn options(&self) -> Value {
        write_options(&self.options)
    }

    fn paint(&self, request: &PaintRequest, pipeline: &Pipeline, run: &Run) -> Result<Painting> {
        let layout = self.layout(request, run)?;
        let mut sampling = request.sampling.clone();
        sampling.guidance_scale = self.options.guidance_scale.unwrap_or(sampling.guidance_scale);
        let plan = pipeline.plan(&sampling, sampling.scheduler.unwrap_or(pipeline.first_order_scheduler()))?;
        warn_of_stretching(layout.canvas, &plan.sampling, run);
        let prompts = prompts(&layout, request);
        let texts = run.stage(&Stage::Encode, || read(&prompts, pipeline, &plan.sampling, run))?;
        let masks = self.regions(&layout, plan.size.grid(), pipeline.vae().scale_factor())?;
        warn_of_hidden(&masks, &prompts, run);

        let latents = run.stage(&Stage::Picture, || {
            let beginning = Beginning::new(request, &plan, self.constructor(), pipeline, run)?;
            let num_calls = beginning.sampler.num_calls();
            let num_bootstrapped = if layout.objects.is_empty() { 0 } else { self.options.num_bootstrapped(num_calls) };
            let noise = beginning.noise.clone();
            let mut colours = Colours::paint(num_bootstrapped, &plan.sampling, noise, pipeline, run)?;
            let regions = Regions::new(masks, &texts, self.options.max_batch, pipeline.device())?;
            beginning.walk(run, |latents, index, sampler| {
                // What each region sees: the picture, or at first itself on a plain colour.
                let behind = match index < num_bootstrapped {
                    true => Some(colours.choose(layout.objects.len(), index, sampler)?),
                    false => None,
                };
                // What each region's prompt makes of it, of which its own cells are kept.
                let prediction = regions.predict(&latents, behind.as_deref(), index, sampler)?;
                Ok((sampler.advance(&prediction, index, &latents)?, None))
            })
        })?;
        let image = beginning::decode(request, &latents, pipeline, run)?;
        Ok(Painting {
            image,
            objects: Vec::new(),
            prompts,
            sampling: plan.sampling,
            options: self.options(),
            guidance: Vec::new(),
            warnings: run.warnings(),
            timings: run.timings(),
            trajectory: run.take_trajectory()?,
        })
    }
}

/// The background's prompt for the background, each object's bare name for its region.
fn prompts(layout: &Layout, request: &PaintRequest) -> Prompts {
    let keywords = request.negative.as_deref().unwrap_or(OVERALL_NEGATIVE).trim();
    let own = layout.negative.trim();
    let background = match layout.background.trim() {
        "" if layout.objects.is_empty() => request.caption.as_deref().unwrap_or_default().trim(),
        background => background,
    };
    Prompts {
        overall: background.to_owned(),
        overall_negative: joined(&[own, keywords, BACKGROUND_NEGATIVE]),
        objects: layout.objects.iter().map(|object| object.phrase.trim().to_owned()).collect(),
        object_negative: joined(&[own, keywords, BACKGROUND_NEGATIVE, OBJECT_NEGATIVE]),
    }
}

/// Each region's prompt with what it is weighed against, the background's first.
fn read(prompts: &Prompts, pipeline: &Pipeline, sampling: &Sampling, run: &Run) -> Result<Vec<GuidedText>> {
    let mut texts =
        pipeline.encode_pairs(&[PromptText::new(&prompts.overall)], &prompts.overall_negative, sampling, run)?;
    let names: Vec<PromptText> = prompts.objects.iter().map(|name| PromptText::new(name)).collect();
    if !names.is_empty() {
        texts.extend(pipeline.encode_pairs(&names, &prompts.object_negative, sampling, run)?);
    }
    Ok(texts)
}

fn warn_of_hidden(masks: &[GridMask], prompts: &Prompts, run: &Run) {
    for (name, _) in prompts.objects.iter().zip(&masks[1..]).filter(|(_, mask)| mask.is_empty()) {
        run.warn(format!("`{name}` has no cell of the picture to itself: later boxes cover it, or it is too small"));
    }
}

/// Plain colours, as latents, to stand behind objects.
struct Colours {
    generator: Generator,
    /// Latents of pictures of one colour, variance preserving: (1, H, W, C) each.
    latents: Vec<Tensor>,
    /// The picture's own initial noise of unit variance, which they are noised with.
    noise: Tensor,
}

impl Colours {
    /// Random pictures of one colour, encoded; as many as there are steps for them.
    ///
    /// All random numbers, those of [`choose`](Self::choose) included, come from one generator with the picture's seed, apart from the one of
    /// the initial noise: the colours first, then the encoder's noise, then the choices.
    fn paint(count: usize, sampling: &Sampling, noise: Tensor, pipeline: &Pipeline, run: &Run) -> Result<Self> {
        let mut generator = Generator::new(sampling.seed);
        let colours = generator.uniforms(3 * count);
        let (_, h, w, c) = noise.dims4()?;
        let encode = |colour: &[f32]| {
            let pixel: Vec<f32> = colour.iter().map(|x| 2.0 * x - 1.0).collect();
            let image = Tensor::from_vec(pixel, (1, 1, 1, 3), pipeline.device())?;
            let image = image.broadcast_as((1, sampling.height, sampling.width, 3))?.contiguous()?;
            let own = Tensor::from_vec(generator.normals(c * h * w), (1, c, h, w), &Device::Cpu)?;
            let own = own.permute((0, 2, 3, 1))?.contiguous()?.to_device(pipeline.device())?; // (1, H, W, C)
            let posterior = pipeline.vae().encode_cancellable(&image, Some(run.cancellation()))?;
            Ok(pipeline.vae().scale(&posterior.sample(&own)?)?)
        };
        let latents = colours.chunks_exact(3).map(encode).collect::<Result<Vec<_>>>()?;
        Ok(Self { generator, latents, noise })
    }

    /// A random colour behind each object, as noisy as the picture is before a step and in the scheduler's scale.
    fn choose(&mut self, num_objects: usize, index: usize, sampler: &Sampler) -> Result<Vec<Tensor>> {
        let level = sampler.noise_level(index);
        let choices = self.generator.integers(num_objects, self.latents.len());
        let noised = choices.into_iter().map(|choice| {
            let picture = (&self.latents[choice] * level.signal)?;
            let noise = (&self.noise * level.noise)?;
            Ok(((picture + noise)? * level.latent_scale)?)
        });
        noised.collect()
    }
}

/// The regions that have cells, in batches.
struct Regions {
    batches: Vec<Batch>,
}

/// Regions that go through the UNet together.
struct Batch {
    text: GuidedText,
    /// For each region, its object (none is the background) and ones on its cells: (1, H, W, 1).
    regions: Vec<(Option<usize>, Tensor)>,
}

impl Regions {
    fn new(masks: Vec<GridMask>, texts: &[GuidedText], max_batch: usize, device: &Device) -> Result<Self> {
        let seen: Vec<(usize, GridMask)> = masks.into_iter().enumerate().filter(|(_, mask)| !mask.is_empty()).collect();
        let halves = if texts.iter().any(GuidedText::is_guided) { 2 } else { 1 };
        let batch = |regions: &[(usize, GridMask)]| {
            let text = GuidedText::batch(&regions.iter().map(|(index, _)| &texts[*index]).collect::<Vec<_>>())?;
            let region = |(index, mask): &(usize, GridMask)| {
                let grid = mask.grid();
                let cells = Tensor::from_vec(mask.to_f32(), (1, grid.height, grid.width, 1), device)?;
                Ok((index.checked_sub(1), cells))
            };
            Ok(Batch { text, regions: regions.iter().map(region).collect::<Result<_>>()? })
        };
        let batches = seen.chunks((max_batch / halves).max(1)).map(batch).collect::<Result<_>>()?;
        Ok(Self { batches })
    }

    /// The prediction (1, H, W, C) that is each region's own on its cells.
    ///
    /// The published code takes a scheduler's step with each region's prediction and keeps the region's cells of the results. A step is made of sums
    /// and products cell by cell, and within its cells every region sees the picture itself, so one step with the predictions put together
    /// is the same, and right for schedulers with a history.
    fn predict(
        &self,
        latents: &Tensor,
        behind: Option<&[Tensor]>,
        index: usize,
        sampler: &mut Sampler,
    ) -> Result<Tensor> {
        let mut whole = latents.zeros_like()?;
        for Batch { text, regions } in &self.batches {
            let input = |(object, cells): &(Option<usize>, Tensor), behind: &[Tensor]| match object {
                Some(object) => {
                    let around = behind[*object].broadcast_mul(&cells.affine(-1.0, 1.0)?)?;
                    Ok((latents.broadcast_mul(cells)? + around)?)
                }
                None => Ok(latents.clone()),
            };
            let inputs = match behind {
                Some(behind) => {
                    let inputs = regions.iter().map(|region| input(region, behind));
                    Tensor::cat(&inputs.collect::<Result<Vec<_>>>()?, 0)? // (R, H, W, C)
                }
                None => latents.clone(), // one for all
            };
            let predictions = sampler.predict(&inputs, index, text, None)?.prediction;
            for (place, (_, cells)) in regions.iter().enumerate() {
                whole = (whole + predictions.narrow(0, place, 1)?.broadcast_mul(cells)?)?;
            }
        }
        Ok(whole)
    }
}

#[cfg(test)]
mod tests {
    use sinopia_layout::parse_answer;

    use super::*;

    fn layout() -> Layout {
        parse_answer("[('a cat', [0, 0, 256, 512]), ('a dog', [128, 256, 256, 256])]\nBackground prompt: A room")
            .unwrap()
    }

    fn owners(options: MultiDiffusionOptions, layout: &Layout, grid: Grid) -> String {
        let regions = MultiDiffusion { options }.regions(layout, grid, 8).unwrap();
        let owner = |cell: usize| {
            let of_cell: Vec<usize> = (0..regions.len()).filter(|region| regions[*region].cells()[cell]).collect();
            assert_eq!(of_cell.len(), 1, "cell {cell} belongs to one region");
            char::from(b'0' + of_cell[0] as u8)
        };
        (0..grid.cells()).map(owner).collect()
    }

    #[test]
    fn regions_are_disjoint_and_the_last_box_is_on_top() {
        let grid = Grid::new(2, 4);
        assert_eq!(owners(MultiDiffusionOptions::default(), &layout(), grid), "11001220");
        let first = MultiDiffusionOptions { first_on_top: true, ..MultiDiffusionOptions::default() };
        assert_eq!(owners(first, &layout(), grid), "11001120");
    }

    #[test]
    fn a_tiny_box_has_a_cell_unless_as_published() {
        let tiny = parse_answer("[('a fly', [100, 100, 9, 9])]\nBackground prompt: A room").unwrap();
        let grid = Grid::new(4, 4);
        assert_eq!(owners(MultiDiffusionOptions::default(), &tiny, grid), "1000000000000000");
        let published = MultiDiffusionOptions { keep_small_boxes: false, ..MultiDiffusionOptions::default() };
        assert_eq!(owners(published.clone(), &tiny, grid), "0".repeat(16));
        // 128 of 512 pixels is the first pixel of cell 1 of 4.
        let whole = parse_answer("[('a fly', [127, 127, 2, 2])]\nBackground prompt: A room").unwrap();
        assert_eq!(owners(published, &whole, Grid::new(64, 64)).matches('1').count(), 1);
    }

    #[test]
    fn as_published_boxes_are_stretched() {
        let request = PaintRequest {
            caption: None,
            layout: Some(parse_answer("[('a cat', [200, 100, 100, 100])]\nBackground prompt: A room").unwrap()),
            negative: None,
            init: None,
            sampling: Sampling::new(crate::noise::Seed(1), 64, 64),
        };
        let run = Run::silent();
        let kept = MultiDiffusion { options: MultiDiffusionOptions::default() }.layout(&request, &run).unwrap();
        assert_eq!(Some(kept), request.layout);
        assert!(run.warnings().is_empty());
        let moved = MultiDiffusion { options: MultiDiffusionOptions::reference() }.layout(&request, &run).unwrap();
        let bbox = moved.objects[0].bbox;
        assert_eq!((bbox.x(), bbox.width(), bbox.height()), (0.0, 300.0, 300.0));
        assert!(run.warnings()[0].contains("left edge"));
    }

    #[test]
    fn bootstrapping_keeps_its_place_in_runs_of_any_length() {
        let options = MultiDiffusionOptions::default();
        assert_eq!([1, 5, 25, 50, 100].map(|count| options.num_bootstrapped(count)), [1, 2, 10, 20, 40]);
        assert_eq!(MultiDiffusionOptions::reference().num_bootstrapped(5), 20);
        let none = MultiDiffusionOptions { bootstrapping: 0, ..options };
        assert_eq!(none.num_bootstrapped(50), 0);
    }
}
