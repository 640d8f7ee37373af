//! OWL-ViT and OWLv2: finds in an image what a few words describe.
//!
//! Minderer et al. 2022, arXiv 2205.06230, and 2023, arXiv 2306.09683. A text tower turns each query into a vector, a vision tower each patch of the image into
//! a candidate with a vector and a box; a candidate is what the query fits best. Queries are encoded once and images in batches.

mod config;
mod heads;
mod postprocess;
mod preprocess;
mod vision;

use std::path::Path;

use candle_core::{Device, Tensor};

pub use crate::image::Pixels;
pub use config::{OwlKind, OwlTextConfig, OwlVisionConfig, OwlVitConfig};
pub use postprocess::{Detection, detections, suppress};
pub use preprocess::preprocess;
pub(crate) use preprocess::{prepared, published};

use crate::checkpoint::EmbeddedFiles;
use crate::checkpoint::files::Files;
use crate::clip::ClipTextModel;
use crate::preprocessing::Preprocessing;
use crate::{CancellationToken, Error, Precision, Result, Tokenizer, Weights};
use heads::{BoxHead, ClassHead, PatchClasses};
use vision::VisionTower;

/// What the detector is built like.
const CONFIG: &str = "config.json";
/// The id that fills a query behind its end.
const PAD_ID: u32 = 0;

/// The detector with frozen weights.
#[derive(Debug)]
pub struct OwlVit {
    config: OwlVitConfig,
    tokenizer: Tokenizer,
    text: ClipTextModel,
    vision: VisionTower,
    class_head: ClassHead,
    box_head: BoxHead,
    preprocessing: Preprocessing,
    device: Device,
}

/// Queries as vectors, (Q, D).
#[derive(Debug, Clone)]
pub struct QueryEmbeds(Tensor);

/// Images as candidates.
#[derive(Debug, Clone)]
pub struct Candidates {
    classes: PatchClasses,
    /// (B, N, 4): centre and size in proportions of the square.
    boxes: Tensor,
    /// (width, height) of each image, in pixels.
    sizes: Vec<(usize, usize)>,
}

impl OwlVit {
    /// Opens a folder in transformers' layout, such as a download of `google/owlvit-base-patch32`: `config.json`, `model.safetensors` (or
    /// `pytorch_model.bin`, or shards), the tokenizer's files, and `preprocessor_config.json` if images are prepared otherwise than published.
    ///
    /// # Errors
    /// [`Error::NotFound`], [`Error::NotACheckpoint`] if a file is missing, and what reading them finds wrong.
    pub fn open(folder: &Path, device: &Device, precision: Precision) -> Result<Self> {
        if !folder.is_dir() {
            return Err(Error::NotFound { path: folder.to_owned() });
        }
        Self::read(&Files::Folder(folder.to_owned()), device, precision)
    }

    /// Opens files that are part of the program, in the same layout; `name` stands for them in messages.
    ///
    /// # Errors
    /// As [`OwlVit::open`].
    pub fn from_embedded(name: &str, files: EmbeddedFiles, device: &Device, precision: Precision) -> Result<Self> {
        Self::read(&Files::Embedded { name: name.to_owned(), files }, device, precision)
    }

    fn read(files: &Files, device: &Device, precision: Precision) -> Result<Self> {
        let config = files.read(CONFIG)?.ok_or_else(|| not_a_detector(files, "it has no config.json"))?;
        let config = OwlVitConfig::from_json(&String::from_utf8_lossy(&config))?;
        let preprocessing = preprocessing_of(files, &config)?;
        let weights = files.weights(&files.weight_files("", None)?, device, precision)?;
        Ok(Self { preprocessing, ..Self::load(&config, &weights, Tokenizer::load(files, "")?)? })
    }

    /// Builds the detector that `config` describes.
    ///
    /// # Errors
    /// [`Error::Config`], [`Error::Tokenizer`] if its vocabulary is larger than the model's, and those of [`Weights::get`].
    pub fn load(config: &OwlVitConfig, weights: &Weights, tokenizer: Tokenizer) -> Result<Self> {
        config.validate()?;
        if tokenizer.vocab_size() > config.text_config.vocab_size {
            let (found, expected) = (tokenizer.vocab_size(), config.text_config.vocab_size);
            let problem = format!("it has {found} tokens, the detector knows {expected}");
            return Err(Error::Tokenizer { origin: weights.origin().to_owned(), problem });
        }
        let text = weights.pp(config.model_type.prefix());
        // The projection is not optional here: without it queries and patches do not compare.
        text.get("text_projection.weight", &[config.projection_dim, config.text_config.hidden_size])?;
        Ok(Self {
            text: ClipTextModel::load(&config.text_encoder(), &text)?,
            vision: VisionTower::load(config, weights)?,
            class_head: ClassHead::load(config, weights)?,
            box_head: BoxHead::load(config, weights)?,
            device: weights.device().clone(),
            preprocessing: published(config.model_type, config.vision_config.image_size),
            config: config.clone(),
            tokenizer,
        })
    }

    /// What the detector was built from.
    pub fn config(&self) -> &OwlVitConfig {
        &self.config
    }

    /// Token ids of a query: beginning, text, end, padding. A longer text is cut before its end mark.
    ///
    /// # Errors
    /// As [`Tokenizer::encode_unpadded`].
    pub fn tokenize(&self, query: &str) -> Result<Vec<u32>> {
        self.tokenizer.encode_padded(query, self.config.text_config.max_position_embeddings, PAD_ID)
    }

    /// Reads queries.
    ///
    /// # Errors
    /// [`Error::Input`] if there is none.
    pub fn encode_queries<S: AsRef<str>>(&self, queries: &[S]) -> Result<QueryEmbeds> {
        self.encode_queries_cancellable(queries, None)
    }

    /// The same, given up between two layers if it is cancelled.
    ///
    /// # Errors
    /// As [`encode_queries`](Self::encode_queries); [`Error::Cancelled`].
    pub fn encode_queries_cancellable<S: AsRef<str>>(
        &self,
        queries: &[S],
        cancellation: Option<&CancellationToken>,
    ) -> Result<QueryEmbeds> {
        let ids = queries.iter().map(|query| self.tokenize(query.as_ref())).collect::<Result<Vec<_>>>()?;
        let embeds = self.text.forward_cancellable(&ids, cancellation)?.text_embeds;
        let embeds = embeds.ok_or_else(|| Error::Input {
            what: "the text tower",
            expected: "a projection".to_owned(),
            found: "none".to_owned(),
        })?;
        let length = embeds.sqr()?.sum_keepdim(1)?.sqrt()?;
        Ok(QueryEmbeds(embeds.broadcast_div(&length)?))
    }

    /// Looks at images, all at once.
    ///
    /// # Errors
    /// If the tensor library refuses.
    pub fn encode_images(&self, images: &[Pixels]) -> Result<Candidates> {
        self.encode_images_cancellable(images, None)
    }

    /// The same, given up between two layers if it is cancelled.
    ///
    /// # Errors
    /// As [`encode_images`](Self::encode_images); [`Error::Cancelled`].
    pub fn encode_images_cancellable(
        &self,
        images: &[Pixels],
        cancellation: Option<&CancellationToken>,
    ) -> Result<Candidates> {
        let side = self.config.vision_config.image_size;
        let pixels = prepared(images, &self.preprocessing, side, &self.device)?; // (B, S, S, 3)
        let features = self.vision.forward(&pixels, cancellation)?; // (B, N, C)
        Ok(Candidates {
            classes: self.class_head.read(&features)?,
            boxes: self.box_head.forward(&features)?,
            sizes: images.iter().map(Pixels::size).collect(),
        })
    }

    /// What of `queries` is in each image, with scores of at least `threshold`; see [`suppress`] for what is seen twice.
    ///
    /// # Errors
    /// If the tensor library refuses.
    pub fn detect(&self, images: &Candidates, queries: &QueryEmbeds, threshold: f32) -> Result<Vec<Vec<Detection>>> {
        detections(&images.logits(queries)?, &images.boxes, &images.sizes, self.config.model_type, threshold)
    }
}

impl QueryEmbeds {
    /// (Q, D).
    pub fn embeds(&self) -> &Tensor {
        &self.0
    }

    /// Queries of several readings as one.
    ///
    /// # Errors
    /// If there is none, or they are of different detectors.
    pub fn concat(parts: &[Self]) -> Result<Self> {
        let parts: Vec<&Tensor> = parts.iter().map(|part| &part.0).collect();
        Ok(Self(Tensor::cat(&parts, 0)?))
    }

    /// Some of the queries, by their numbers.
    ///
    /// # Errors
    /// If a number is too large.
    pub fn select(&self, indices: &[u32]) -> Result<Self> {
        Ok(Self(self.0.index_select(&Tensor::new(indices, self.0.device())?, 0)?))
    }
}

impl Candidates {
    /// (B, N, Q).
    ///
    /// # Errors
    /// If the queries are of another detector.
    pub fn logits(&self, queries: &QueryEmbeds) -> Result<Tensor> {
        self.classes.logits(&queries.0)
    }

    /// (B, N, 4): centre and size in proportions of the square.
    pub fn boxes(&self) -> &Tensor {
        &self.boxes
    }

    /// The candidates of one image.
    ///
    /// # Errors
    /// If there are not so many.
    pub fn image(&self, index: usize) -> Result<Self> {
        Ok(Self {
            classes: self.classes.image(index)?,
            boxes: self.boxes.narrow(0, index, 1)?,
            sizes: self.sizes.iter().skip(index).take(1).copied().collect(),
        })
    }
}

/// The SHA-256 of a detector's weights, in hexadecimal: what tells its scores from another's.
///
/// # Errors
/// [`Error::NotACheckpoint`] if the folder has no weights, [`Error::Read`].
pub fn content_hash(folder: &Path) -> Result<String> {
    hash_of(&Files::Folder(folder.to_owned()))
}

/// The same of files that are part of the program.
///
/// # Errors
/// [`Error::NotACheckpoint`] if there are no weights among them.
pub fn embedded_content_hash(name: &str, files: EmbeddedFiles) -> Result<String> {
    hash_of(&Files::Embedded { name: name.to_owned(), files })
}

fn hash_of(files: &Files) -> Result<String> {
    let config = files.read(CONFIG)?.ok_or_else(|| not_a_detector(files, "it has no config.json"))?;
    let config = OwlVitConfig::from_json(&String::from_utf8_lossy(&config))?;
    let (kind, side) = (config.model_type, config.vision_config.image_size);
    preprocessing_of(files, &config)?.model_hash(files, &published(kind, side))
}

/// What is done to images, as the folder says.
fn preprocessing_of(files: &Files, config: &OwlVitConfig) -> Result<Preprocessing> {
    let published = published(config.model_type, config.vision_config.image_size);
    let found = Preprocessing::of_folder(files, published.clone())?;
    found.require_geometry(&published, &files.display(""))?;
    Ok(found)
}

fn not_a_detector(files: &Files, problem: &str) -> Error {
    Error::NotACheckpoint { origin: files.display(""), problem: problem.to_owned() }
}
