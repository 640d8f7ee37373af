//! SAM: segmentation masks of what a point or a box in an image means.
//!
//! Kirillov et al. 2023, arXiv 2304.02643. An image is encoded once, which is nearly all of the work; each prompt then takes a small decoder that paints
//! three masks, for a point may mean a wheel, a car or a row of cars, and says how good it thinks each of them is.
//!
//! ```no_run
//! use candle_core::Device;
//! use sinopia_models::Precision;
//! use sinopia_models::image::Pixels;
//! use sinopia_models::sam::{Prompt, Sam};
//!
//! # fn main() -> sinopia_models::Result<()> {
//! let sam = Sam::open("sam-vit-base".as_ref(), &Device::Cpu, Precision::F32)?;
//! let bytes = vec![0; 640 * 480 * 3];
//! let image = sam.encode(Pixels::new(640, 480, &bytes)?)?;
//! let masks = sam.segment(&image, &Prompt::bbox([100.0, 50.0, 300.0, 400.0]))?;
//! let best = masks.best();
//! assert_eq!(masks.cells(best).len(), 640 * 480);
//! # Ok(())
//! # }
//! ```

mod config;
mod image_encoder;
mod mask_decoder;
mod names;
mod preprocess;
mod prompt_encoder;

use std::ops::Range;
use std::path::Path;

use candle_core::{Device, Tensor};

pub use config::{SamConfig, SamDecoderConfig, SamPromptConfig, SamVisionConfig};

use crate::checkpoint::files::Files;
use crate::image::{Pixels, Size};
use crate::packs::hashes::remembered_sha256;
use crate::preprocessing::Preprocessing;
use crate::sha256::{hex, sha256_hex};
use crate::{CancellationToken, Error, Precision, Result, Weights};
use image_encoder::ImageEncoder;
use mask_decoder::MaskDecoder;
use preprocess::Frame;
use prompt_encoder::{PointKind, PromptEncoder};

/// The model with frozen weights.
#[derive(Debug)]
pub struct Sam {
    config: SamConfig,
    image_encoder: ImageEncoder,
    prompt_encoder: PromptEncoder,
    mask_decoder: MaskDecoder,
    /// (1, HW, P): where the cells of the grid are.
    grid_positions: Tensor,
    preprocessing: Preprocessing,
    device: Device,
}

/// An image as the encoder saw it, for any number of prompts.
#[derive(Debug, Clone)]
pub struct EncodedImage {
    /// (1, H, W, P)
    embedding: Tensor,
    frame: Frame,
}

/// What is meant, in pixels of the image: x to the right, y down.
#[derive(Debug, Clone, Default)]
pub struct Prompt {
    /// Places (x, y), and whether they belong to what is meant.
    pub points: Vec<((f64, f64), bool)>,
    /// What is meant fills this box: left, top, right and lower edge.
    pub bbox: Option<[f64; 4]>,
    /// Logits of an earlier answer, (S, S) as in [`Masks::low_res`].
    pub mask: Option<Tensor>,
}

/// Three answers to a prompt.
#[derive(Debug, Clone)]
pub struct Masks {
    /// (M, S, S)
    low_res: Tensor,
    iou_scores: Vec<f32>,
    frame: Frame,
    /// (H · W) of the image each.
    logits: Vec<Vec<f32>>,
}

impl Prompt {
    /// What fills a box: left, top, right and lower edge.
    pub fn bbox(bbox: [f64; 4]) -> Self {
        Self { bbox: Some(bbox), ..Self::default() }
    }

    /// What a place belongs to.
    pub fn point(x: f64, y: f64) -> Self {
        Self { points: vec![((x, y), true)], ..Self::default() }
    }
}

impl Sam {
    /// Opens a folder in transformers' layout, such as a download of `facebook/sam-vit-base` (images are prepared as its `preprocessor_config.json` says), or one file of weights in transformers' or Meta's names
    /// (`sam_vit_b_01ec64.pth`, `.safetensors`), whose configuration is read off its shapes.
    ///
    /// # Errors
    /// [`Error::NotFound`], [`Error::NotACheckpoint`] if a file is missing or this is no SAM, and what reading them finds wrong.
    pub fn open(path: &Path, device: &Device, precision: Precision) -> Result<Self> {
        if !path.is_dir() {
            let weights = names::in_transformers_names(&Weights::open(&[path.to_owned()], device, precision)?);
            return Self::load(&SamConfig::of_weights(&weights)?, &weights);
        }
        let files = Files::Folder(path.to_owned());
        let config = config_of(&files)?;
        let preprocessing = preprocessing_of(&files, &config)?;
        let weights = files.weights(&files.weight_files("", None)?, device, precision)?;
        Ok(Self { preprocessing, ..Self::load(&config, &names::in_transformers_names(&weights))? })
    }

    /// Builds the model that `config` describes from tensors in transformers' names.
    ///
    /// # Errors
    /// [`Error::Config`], and those of [`Weights::get`].
    pub fn load(config: &SamConfig, weights: &Weights) -> Result<Self> {
        config.validate()?;
        let prompt_encoder = PromptEncoder::load(config, weights)?;
        Ok(Self {
            image_encoder: ImageEncoder::load(config, &weights.pp("vision_encoder"))?,
            mask_decoder: MaskDecoder::load(config, &weights.pp("mask_decoder"))?,
            grid_positions: prompt_encoder.grid_positions()?,
            prompt_encoder,
            preprocessing: Preprocessing::sam(config.vision_config.image_size),
            device: weights.device().clone(),
            config: config.clone(),
        })
    }

    /// What the model was built from.
    pub fn config(&self) -> &SamConfig {
        &self.config
    }

    /// Encodes an image.
    ///
    /// # Errors
    /// If the tensor library refuses.
    pub fn encode(&self, image: Pixels) -> Result<EncodedImage> {
        self.encode_cancellable(image, None)
    }

    /// The same, given up between two layers if it is cancelled.
    ///
    /// # Errors
    /// As [`encode`](Self::encode); [`Error::Cancelled`].
    pub fn encode_cancellable(&self, image: Pixels, cancellation: Option<&CancellationToken>) -> Result<EncodedImage> {
        let (width, height) = image.size();
        let frame = Frame::new(Size { width, height }, self.config.vision_config.image_size);
        let embedding =
            self.image_encoder.forward(&frame.pixels(image, &self.preprocessing, &self.device)?, cancellation)?;
        Ok(EncodedImage { embedding, frame })
    }

    /// Segments what a prompt means, in three ways: the masks for ambiguous prompts.
    ///
    /// # Errors
    /// [`Error::Input`] if the prompt says nothing, a coordinate is no number, or a mask has another shape than the model's.
    pub fn segment(&self, image: &EncodedImage, prompt: &Prompt) -> Result<Masks> {
        self.segment_cancellable(image, prompt, None)
    }

    /// The same, given up between two layers if it is cancelled.
    ///
    /// # Errors
    /// As [`segment`](Self::segment); [`Error::Cancelled`].
    pub fn segment_cancellable(
        &self,
        image: &EncodedImage,
        prompt: &Prompt,
        cancellation: Option<&CancellationToken>,
    ) -> Result<Masks> {
        let multimask = self.config.mask_decoder_config.num_multimask_outputs;
        self.decode(image, prompt, 1..1 + multimask, cancellation)
    }

    /// Segments what a prompt means in one way: the mask for prompts of several points, which leave no doubt.
    ///
    /// # Errors
    /// As [`Sam::segment`].
    pub fn segment_one(&self, image: &EncodedImage, prompt: &Prompt) -> Result<Masks> {
        self.decode(image, prompt, 0..1, None)
    }

    /// The masks of these numbers.
    fn decode(
        &self,
        image: &EncodedImage,
        prompt: &Prompt,
        numbers: Range<usize>,
        cancellation: Option<&CancellationToken>,
    ) -> Result<Masks> {
        let points = self.points_of(prompt, image.frame)?;
        let tokens = self.prompt_encoder.tokens(&points, prompt.bbox.is_some())?;
        let dense = self.prompt_encoder.dense(prompt.mask.as_ref())?;
        let seen = image.embedding.broadcast_add(&dense)?; // (1, H, W, P)
        let painted = self.mask_decoder.forward(&seen, &self.grid_positions, &tokens, cancellation)?;
        let low_res = painted.logits.narrow(0, numbers.start, numbers.len())?.contiguous()?;
        let planes = low_res.flatten_from(1)?.to_vec2::<f32>()?;
        let low = self.config.mask_side();
        Ok(Masks {
            logits: planes.iter().map(|plane| image.frame.unframe(plane, low)).collect(),
            iou_scores: painted.iou_scores[numbers].to_vec(),
            frame: image.frame,
            low_res,
        })
    }

    /// All places of a prompt, in pixels of the square: its points, then its box's corners.
    fn points_of(&self, prompt: &Prompt, frame: Frame) -> Result<Vec<((f64, f64), PointKind)>> {
        let kind = |is_inside: bool| if is_inside { PointKind::Foreground } else { PointKind::Background };
        let mut points: Vec<_> = prompt.points.iter().map(|(place, is_inside)| (*place, kind(*is_inside))).collect();
        if let Some([x0, y0, x1, y1]) = prompt.bbox {
            points.extend([((x0, y0), PointKind::TopLeft), ((x1, y1), PointKind::BottomRight)]);
        }
        let refused = |expected: &str, found: String| {
            Err(Error::Input { what: "a segmentation prompt", expected: expected.to_owned(), found })
        };
        if points.is_empty() && prompt.mask.is_none() {
            return refused("a point, a box or a mask", "none of them".to_owned());
        }
        if let Some(((x, y), _)) = points.iter().find(|((x, y), _)| !x.is_finite() || !y.is_finite()) {
            return refused("at places that are numbers", format!("({x}, {y})"));
        }
        Ok(points.into_iter().map(|(place, kind)| (frame.place(place.0, place.1), kind)).collect())
    }
}

impl EncodedImage {
    /// (1, H, W, P)
    pub fn embedding(&self) -> &Tensor {
        &self.embedding
    }
}

impl Masks {
    /// Predicted IoU of each mask with what was meant; of trained models about 0..=1.
    pub fn iou_scores(&self) -> &[f32] {
        &self.iou_scores
    }

    /// (width, height) of the image, in pixels.
    pub fn size(&self) -> (usize, usize) {
        let Size { width, height } = self.frame.original;
        (width, height)
    }

    /// The decoder's logits (M, S, S), before they are brought to the image's pixels.
    pub fn low_res(&self) -> &Tensor {
        &self.low_res
    }

    /// A mask's logits on the image's pixels, row by row: above 0 inside.
    ///
    /// # Panics
    /// If there are not so many masks.
    pub fn logits(&self, index: usize) -> &[f32] {
        &self.logits[index]
    }

    /// A mask on the image's pixels, row by row.
    ///
    /// # Panics
    /// If there are not so many masks.
    pub fn cells(&self, index: usize) -> Vec<bool> {
        self.logits[index].iter().map(|logit| *logit > 0.0).collect()
    }

    /// The mask that the model thinks best; of equal ones the first.
    pub fn best(&self) -> usize {
        let best =
            |best: usize, index: usize| if self.iou_scores[index] > self.iou_scores[best] { index } else { best };
        (0..self.iou_scores.len()).fold(0, best)
    }
}

/// The SHA-256 of a model's weights, in hexadecimal: what tells its masks from another's.
///
/// # Errors
/// [`Error::NotFound`], [`Error::NotACheckpoint`] if a folder has no weights, [`Error::Read`].
pub fn content_hash(path: &Path) -> Result<String> {
    if !path.is_dir() {
        return Ok(hex(&remembered_sha256(path)?));
    }
    let files = Files::Folder(path.to_owned());
    let config = config_of(&files)?;
    let published = Preprocessing::sam(config.vision_config.image_size);
    preprocessing_of(&files, &config)?.model_hash(&files, &published)
}

/// The same for weights that are part of the program.
pub fn hash_of(bytes: &[u8]) -> String {
    sha256_hex(bytes)
}

fn config_of(files: &Files) -> Result<SamConfig> {
    let text = files.read("config.json")?.ok_or_else(|| not_a_sam(files, "it has no config.json"))?;
    SamConfig::from_json(&String::from_utf8_lossy(&text))
}

/// What is done to images, as the folder says.
fn preprocessing_of(files: &Files, config: &SamConfig) -> Result<Preprocessing> {
    let published = Preprocessing::sam(config.vision_config.image_size);
    let found = Preprocessing::of_folder(files, published.clone())?;
    found.require_geometry(&published, &files.display(""))?;
    Ok(found)
}

fn not_a_sam(files: &Files, problem: &str) -> Error {
    Error::NotACheckpoint { origin: files.display(""), problem: problem.to_owned() }
}
