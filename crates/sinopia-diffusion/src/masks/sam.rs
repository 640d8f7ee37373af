//! A segmentation mask from SAM, asked with the object's box or with the place where its word's attention is highest.
//!
//! Lian et al. 2023, arXiv 2305.13655, refine their masks so. What SAM answers is checked against the box: a mask that is empty, tiny or elsewhere is not
//! believed, and attention and box, then the box alone, take its place.

use std::sync::Arc;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use sinopia_layout::{Grid, GridMask, GridRounding};
use sinopia_models::image::Pixels;
use sinopia_models::sam::{Prompt, Sam};

use super::{AttentionBoxMask, MaskRequest, MaskSource};
use crate::Result;
use crate::attention_map::taps;
use crate::painting::Image;

/// Added to the union of two masks before an intersection is divided by it.
const IOU_EPS: f64 = 1e-6;

/// What SAM is asked with.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum MaskPrompt {
    /// The box that the object was painted into.
    Box,
    /// The place where the cross-attention to the object's word is highest.
    Point,
}

/// How SAM is asked and when its answer is believed.
#[derive(Debug, Clone, PartialEq)]
pub struct SamOptions {
    /// What it is asked with.
    pub prompt: MaskPrompt,
    /// Whether the most attended place is the middle of its cell. Published: its upper left corner.
    pub is_point_centered: bool,
    /// A mask of which SAM is less confident than this is taken only if all are such. Published: 0.85.
    pub min_confidence: f64,
    /// The same for the IoU with the coarse mask: the box, or the cells that the word attended to. Published: 0.25.
    pub min_coarse_iou: f64,
    /// Whether a tiny mask or one elsewhere is refused. An empty one always is.
    pub refuses_doubtful: bool,
    /// A mask of fewer cells than this share of the box's is tiny.
    pub min_box_share: f64,
    /// A mask of which a smaller share than this lies in the box is elsewhere.
    pub min_inside_share: f64,
}

impl Default for SamOptions {
    fn default() -> Self {
        Self {
            prompt: MaskPrompt::Box,
            is_point_centered: true,
            min_confidence: 0.85,
            min_coarse_iou: 0.25,
            refuses_doubtful: true,
            min_box_share: 0.1,
            min_inside_share: 0.5,
        }
    }
}

/// Masks by SAM, and by attention and box where SAM's are doubtful.
#[derive(Debug, Clone)]
pub struct SamMask {
    sam: Arc<Sam>,
    options: SamOptions,
    attention: AttentionBoxMask,
}

/// Why a mask is not believed.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Doubt {
    Empty,
    /// Cells, as a share of the box's.
    Tiny(f64),
    /// Share of the cells that lie in the box.
    Elsewhere(f64),
}

impl SamMask {
    /// SAM's masks; `attention` says how attention is read for points, and makes the masks that SAM cannot.
    pub fn new(sam: Arc<Sam>, options: SamOptions, attention: AttentionBoxMask) -> Self {
        Self { sam, options, attention }
    }

    /// SAM's best mask on the latent grid.
    fn sam_mask(&self, image: &Image, request: &MaskRequest) -> Result<Vec<bool>> {
        let (width, height) = (image.width(), image.height());
        let cancellation = Some(request.run.cancellation());
        let encoded = self.sam.encode_cancellable(Pixels::new(width, height, image.pixels())?, cancellation)?;
        let prompt = self.prompt(width as f64, height as f64, request);
        let masks = self.sam.segment_cancellable(&encoded, &prompt, cancellation)?;
        let (pixels, coarse) = (Grid::new(height, width), self.coarse_mask(request));
        let candidates: Vec<(Vec<bool>, f64, f64)> = masks
            .iou_scores()
            .iter()
            .enumerate()
            .map(|(index, confidence)| {
                let cells = resized(&masks.cells(index), pixels, request.latent_grid);
                let iou = iou(&resized(&cells, request.latent_grid, coarse.grid()), coarse.cells());
                (cells, f64::from(*confidence), iou)
            })
            .collect();
        Ok(self.choose(candidates))
    }

    fn prompt(&self, width: f64, height: f64, request: &MaskRequest) -> Prompt {
        match self.options.prompt {
            MaskPrompt::Box => {
                let (x0, y0, x1, y1) = request.bbox.corners();
                Prompt::bbox([x0 * width, y0 * height, x1 * width, y1 * height])
            }
            MaskPrompt::Point => {
                let attention = request.attention.smoothed(self.attention.gaussian_sigma);
                let (grid, values) = (attention.grid(), attention.values());
                let higher = |best: usize, cell: usize| if values[cell] > values[best] { cell } else { best };
                let cell = (0..values.len()).fold(0, higher);
                let within = if self.options.is_point_centered { 0.5 } else { 0.0 };
                let place = |index: usize, cells: usize, side: f64| (index as f64 + within) * side / cells as f64;
                Prompt::point(
                    place(cell % grid.width, grid.width, width),
                    place(cell / grid.width, grid.height, height),
                )
            }
        }
    }

    /// Roughly where the object is: its box on the latent grid, or where its word looked on the attention's own.
    fn coarse_mask(&self, request: &MaskRequest) -> GridMask {
        if self.options.prompt == MaskPrompt::Box {
            return request.whole_box();
        }
        let attention = request.attention.smoothed(self.attention.gaussian_sigma).normalised();
        let looked = attention.values().iter().map(|value| f64::from(*value) > self.attention.threshold);
        GridMask::from_cells(attention.grid(), looked.collect())
            .unwrap_or_else(|| GridMask::from_bbox(request.bbox, attention.grid(), GridRounding::AtLeastOneCell))
    }

    /// The largest mask among those that SAM believes in and that are roughly where the object is.
    ///
    /// `score = area − A·[confidence < 0.85] − A·[coarse IoU < 0.25]`, A the largest area; of equal scores the first.
    fn choose(&self, candidates: Vec<(Vec<bool>, f64, f64)>) -> Vec<bool> {
        let area = |cells: &[bool]| cells.iter().filter(|inside| **inside).count() as f64;
        let largest = candidates.iter().map(|(cells, ..)| area(cells)).fold(0.0, f64::max);
        let score = |(cells, confidence, iou): &(Vec<bool>, f64, f64)| {
            let doubts = [*confidence < self.options.min_confidence, *iou < self.options.min_coarse_iou];
            area(cells) - largest * doubts.into_iter().filter(|doubt| *doubt).count() as f64
        };
        let mut chosen: Option<(f64, Vec<bool>)> = None;
        for candidate in candidates {
            let score = score(&candidate);
            if chosen.as_ref().is_none_or(|(best, _)| score > *best) {
                chosen = Some((score, candidate.0));
            }
        }
        chosen.map(|(_, cells)| cells).unwrap_or_default()
    }

    /// What speaks against a mask.
    fn doubt(&self, cells: &[bool], request: &MaskRequest) -> Option<Doubt> {
        let bbox = request.whole_box();
        let size = cells.iter().filter(|inside| **inside).count() as f64;
        if size == 0.0 {
            return Some(Doubt::Empty);
        }
        let inside = cells.iter().zip(bbox.cells()).filter(|(cell, inside)| **cell && **inside).count() as f64;
        let of_box = bbox.count() as f64;
        let (tiny, elsewhere) = (size / of_box, inside / size);
        if !self.options.refuses_doubtful {
            return None;
        }
        if tiny < self.options.min_box_share {
            return Some(Doubt::Tiny(tiny));
        }
        (elsewhere < self.options.min_inside_share).then_some(Doubt::Elsewhere(elsewhere))
    }

    /// Attention and box, or the box alone; says which, and why.
    fn fall_back(&self, doubt: Doubt, request: &MaskRequest) -> GridMask {
        let phrase = request.phrase;
        let doubt = match doubt {
            Doubt::Empty => format!("SAM sees nothing where `{phrase}` should be"),
            Doubt::Tiny(share) => format!("SAM's mask of `{phrase}` is tiny, {:.0} % of its box", 100.0 * share),
            Doubt::Elsewhere(share) => {
                format!("only {:.0} % of SAM's mask of `{phrase}` lie in its box", 100.0 * share)
            }
        };
        let mask = self.attention.object_mask(request);
        let instead = if mask.is_some() { "attention and box make its mask" } else { "its box is its mask" };
        request.run.warn(format!("{doubt}: {instead} instead"));
        mask.unwrap_or_else(|| request.whole_box())
    }
}

impl MaskSource for SamMask {
    fn wants_image(&self) -> bool {
        true
    }

    fn mask(&self, request: &MaskRequest) -> Result<GridMask> {
        let cells = match request.image {
            Some(image) => self.sam_mask(image, request)?,
            None => Vec::new(), // nothing to see
        };
        match self.doubt(&cells, request) {
            Some(doubt) => Ok(self.fall_back(doubt, request)),
            None => Ok(GridMask::from_cells(request.latent_grid, cells).unwrap_or_else(|| request.whole_box())),
        }
    }
}

/// A mask on another grid: resampled bilinearly, a cell is inside if anything of it is. For grids a power of two coarser each cell looks at the four
/// in its middle.
///
/// # Source
/// TonyLianLong/LLM-groundedDiffusion@cef2a90:models/sam.py
fn resized(cells: &[bool], from: Grid, to: Grid) -> Vec<bool> {
    if from == to || cells.is_empty() {
        return cells.to_vec();
    }
    let (rows, columns) = (taps(from.height, to.height), taps(from.width, to.width));
    let both = |(low, high, share): (usize, usize, f32)| [(low, 1.0 - share), (high, share)];
    let is_inside = |row: &(usize, usize, f32), column: &(usize, usize, f32)| {
        both(*row).into_iter().filter(|(_, weight)| *weight > 0.0).any(|(row, _)| {
            let of_row = both(*column).into_iter().filter(|(_, weight)| *weight > 0.0);
            of_row.into_iter().any(|(column, _)| cells[row * from.width + column])
        })
    };
    rows.iter().flat_map(|row| columns.iter().map(move |column| is_inside(row, column))).collect()
}

/// Intersection over union.
fn iou(a: &[bool], b: &[bool]) -> f64 {
    let count = |holds: fn(bool, bool) -> bool| a.iter().zip(b).filter(|(a, b)| holds(**a, **b)).count() as f64;
    count(|a, b| a && b) / (count(|a, b| a || b) + IOU_EPS)
}

#[cfg(test)]
mod tests {
    use candle_core::{Device, Tensor};
    use sinopia_layout::BBox;
    use sinopia_models::Weights;
    use sinopia_models::sam::SamConfig;

    use super::*;
    use crate::masks::AttentionMap;
    use crate::observer::Run;

    fn cells(rows: &[&str]) -> Vec<bool> {
        rows.iter().flat_map(|row| row.chars().map(|c| c == '#')).collect()
    }

    /// A SAM of random weights, and how it is asked.
    fn source(options: SamOptions) -> SamMask {
        let config: SamConfig = serde_json::from_value(serde_json::json!({
            "vision_config": {"hidden_size": 8, "num_hidden_layers": 1, "num_attention_heads": 1, "image_size": 32, "patch_size": 8, "output_channels": 8,
                              "window_size": 0, "num_pos_feats": 4},
            "prompt_encoder_config": {"hidden_size": 8, "image_size": 32, "patch_size": 8, "mask_input_channels": 4},
            "mask_decoder_config": {"hidden_size": 8, "mlp_dim": 8, "num_attention_heads": 1, "iou_head_hidden_dim": 8},
        }))
        .unwrap();
        let sam = Sam::load(&config, &Weights::random(1)).unwrap();
        SamMask::new(Arc::new(sam), options, AttentionBoxMask { gaussian_sigma: 0.1, ..AttentionBoxMask::default() })
    }

    fn attention(values: [f32; 16]) -> AttentionMap {
        AttentionMap::new(Grid::new(4, 4), values.to_vec()).unwrap()
    }

    fn request<'a>(bbox: &'a BBox, attention: &'a AttentionMap, run: &'a Run) -> MaskRequest<'a> {
        MaskRequest { phrase: "a dog", bbox, attention, image: None, latent_grid: Grid::new(4, 4), run }
    }

    /// One bright column.
    const COLUMN: [f32; 16] = [0., 9., 0., 0., 0., 9., 0., 0., 0., 9., 0., 0., 0., 9., 0., 0.];

    #[test]
    fn the_largest_believable_mask_is_chosen() {
        let source = source(SamOptions::default());
        let small = || cells(&["#...", "...."]);
        let large = || cells(&["###.", "...."]);
        let chosen = |candidates: Vec<(Vec<bool>, f64, f64)>| source.choose(candidates);
        assert_eq!(chosen(vec![(small(), 0.9, 0.5), (large(), 0.9, 0.5)]), large());
        assert_eq!(chosen(vec![(small(), 0.9, 0.5), (large(), 0.8, 0.5)]), small(), "SAM doubts the large one");
        assert_eq!(chosen(vec![(small(), 0.9, 0.5), (large(), 0.9, 0.2)]), small(), "the large one is elsewhere");
        assert_eq!(chosen(vec![(small(), 0.5, 0.2), (large(), 0.5, 0.5)]), large(), "all are doubtful");
        assert_eq!(chosen(vec![(small(), 0.9, 0.5), (small(), 0.99, 0.9)]), small());
    }

    #[test]
    fn a_coarser_cell_is_inside_if_any_of_its_middle_four_is() {
        let (fine, coarse) = (Grid::new(4, 8), Grid::new(1, 2));
        let outer = cells(&["########", "#..##..#", "#..##..#", "########"]);
        assert_eq!(resized(&outer, fine, coarse), [false, false]);
        assert_eq!(resized(&cells(&["........", ".#......", "........", "........"]), fine, coarse), [true, false]);
        assert_eq!(resized(&outer, fine, fine), outer);
    }

    #[test]
    fn boxes_and_points_are_in_pixels() {
        let (bbox, run) = (BBox::new(0.25, 0.5, 0.75, 1.0).unwrap(), Run::silent());
        let attention = attention(std::array::from_fn(|cell| if cell == 9 { 1.0 } else { 0.0 }));
        let request = request(&bbox, &attention, &run);
        let prompt = |options| source(options).prompt(64.0, 32.0, &request);
        assert_eq!(prompt(SamOptions::default()).bbox, Some([16.0, 16.0, 48.0, 32.0]));
        let point = SamOptions { prompt: MaskPrompt::Point, ..SamOptions::default() };
        assert_eq!(prompt(point.clone()).points, [((24.0, 20.0), true)]);
        assert_eq!(prompt(SamOptions { is_point_centered: false, ..point }).points, [((16.0, 16.0), true)]);
    }

    #[test]
    fn doubtful_masks_are_named() {
        let (bbox, run, attention) = (BBox::new(0.0, 0.0, 1.0, 0.75).unwrap(), Run::silent(), attention(COLUMN));
        let request = request(&bbox, &attention, &run);
        let source = source(SamOptions::default());
        let doubt = |rows: &[&str]| source.doubt(&cells(rows), &request);
        assert_eq!(doubt(&["....", "....", "....", "...."]), Some(Doubt::Empty));
        assert_eq!(doubt(&["#...", "....", "....", "...."]), Some(Doubt::Tiny(1.0 / 12.0)));
        assert_eq!(doubt(&["....", "....", ".#..", ".##."]), Some(Doubt::Elsewhere(1.0 / 3.0)));
        assert_eq!(doubt(&["....", ".##.", ".##.", ".##."]), None);
        let published = SamOptions { refuses_doubtful: false, ..SamOptions::default() };
        let published = SamMask { options: published, ..source.clone() };
        assert_eq!(published.doubt(&cells(&["#...", "....", "....", "...."]), &request), None);
        assert_eq!(published.doubt(&[], &request), Some(Doubt::Empty));
    }

    #[test]
    fn attention_then_the_box_take_the_place_of_what_sam_cannot_see() {
        let (bbox, run) = (BBox::new(0.25, 0.0, 0.75, 1.0).unwrap(), Run::silent());
        let source = source(SamOptions::default());
        let seen = attention(COLUMN);
        let mask = source.mask(&request(&bbox, &seen, &run)).unwrap();
        assert_eq!(mask.cells(), cells(&[".#..", ".#..", ".#..", ".#.."]));
        let blind = attention([0.0; 16]);
        let mask = source.mask(&request(&bbox, &blind, &run)).unwrap();
        assert_eq!(mask.cells(), cells(&[".##.", ".##.", ".##.", ".##."]));
        assert_eq!(
            run.warnings(),
            [
                "SAM sees nothing where `a dog` should be: attention and box make its mask instead",
                "SAM sees nothing where `a dog` should be: its box is its mask instead",
            ]
        );
    }

    #[test]
    fn a_picture_gets_a_mask_of_the_latent_grid_whatever_sam_thinks() {
        let (bbox, run, attention) = (BBox::new(0.25, 0.0, 0.75, 1.0).unwrap(), Run::silent(), attention(COLUMN));
        let pixels = Tensor::zeros((1, 24, 40, 3), candle_core::DType::F32, &Device::Cpu).unwrap();
        let image = Image::from_tensor(&pixels).unwrap().remove(0);
        for prompt in [MaskPrompt::Box, MaskPrompt::Point] {
            let source = source(SamOptions { prompt, ..SamOptions::default() });
            let request = MaskRequest { image: Some(&image), ..request(&bbox, &attention, &run) };
            let mask = source.mask(&request).unwrap();
            assert_eq!(mask.grid(), Grid::new(4, 4));
            assert!(!mask.is_empty());
        }
    }
}
