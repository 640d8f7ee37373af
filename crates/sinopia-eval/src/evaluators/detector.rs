//! OWL-ViT or OWLv2 as an evaluator: where things are.

use std::collections::HashMap;
use std::path::Path;
use std::sync::{Mutex, PoisonError};

use candle_core::Device;
use image::RgbImage;
use sinopia_layout::PixelBox;
use sinopia_models::CancellationToken;
use sinopia_models::checkpoint::EmbeddedFiles;
use sinopia_models::owlvit::{self, Candidates, Detection, OwlKind, OwlVit, QueryEmbeds};

use super::Thresholds;
use super::evaluator::{EachText, Evaluator, EvaluatorId, Predictor, QUERIES_AT_ONCE, Question, name_of, pixels};
use crate::Result;
use crate::benchmark::{Capability, ImageSize, Prediction, Protocol, Query};

/// Candidates below this are no predictions.
pub const SCORE_THRESHOLD: f32 = 0.15;
/// Detections of one group that overlap by this much are one thing.
pub const MAX_IOU: f32 = 0.15;
/// Strictly, detections of different groups that overlap by this much are one thing too.
pub const MAX_IOU_ACROSS: f32 = 0.5;

/// A detector that is ready to predict.
#[derive(Debug)]
pub struct Detector {
    model: OwlVit,
    id: EvaluatorId,
    thresholds: Thresholds,
    /// The texts that were encoded last: who looks at one picture after the other mostly asks the same.
    last: Mutex<Option<Encoded>>,
}

/// Texts and what they are to the detector, always encoded together: each list has one result, to the bit.
#[derive(Debug, Clone)]
struct Encoded {
    texts: Vec<String>,
    embeds: QueryEmbeds,
}

impl Detector {
    /// Opens a folder of OWL-ViT or OWLv2 weights.
    ///
    /// # Errors
    /// As [`OwlVit::open`].
    pub fn open(folder: &Path, precision: sinopia_models::Precision) -> Result<Self> {
        let model = OwlVit::open(folder, &Device::Cpu, precision)?;
        let thresholds = match model.config().model_type {
            OwlKind::OwlVit => Thresholds::OWL_VIT,
            OwlKind::Owlv2 => Thresholds::OWLV2,
        };
        let id = EvaluatorId { id: name_of(folder), hash: owlvit::content_hash(folder)? };
        Ok(Self { model, id, thresholds, last: Mutex::new(None) })
    }

    /// Opens a detector that is part of the program. It is small: f32, so that verdicts are the same on every processor.
    ///
    /// # Errors
    /// As [`OwlVit::from_embedded`].
    pub fn from_embedded(name: &str, files: EmbeddedFiles) -> Result<Self> {
        let model = OwlVit::from_embedded(name, files, &Device::Cpu, sinopia_models::Precision::F32)?;
        let hash = owlvit::embedded_content_hash(name, files)?;
        let id = EvaluatorId { id: name.to_owned(), hash };
        Ok(Self { model, id, thresholds: Thresholds::BUILT_IN, last: Mutex::new(None) })
    }

    /// The texts, encoded; nothing of no texts.
    fn encoded(&self, texts: &[String], cancellation: Option<&CancellationToken>) -> Result<Option<QueryEmbeds>> {
        let last = || self.last.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(known) = last().as_ref().filter(|known| known.texts == texts) {
            return Ok(Some(known.embeds.clone()));
        }
        let read = |texts| self.model.encode_queries_cancellable(texts, cancellation);
        let parts = texts.chunks(QUERIES_AT_ONCE).map(read).collect::<Result<Vec<_>, _>>()?;
        if parts.is_empty() {
            return Ok(None);
        }
        let embeds = QueryEmbeds::concat(&parts)?;
        *last() = Some(Encoded { texts: texts.to_vec(), embeds: embeds.clone() });
        Ok(Some(embeds))
    }
}

impl Evaluator for Detector {
    fn id(&self) -> &EvaluatorId {
        &self.id
    }

    fn capability(&self) -> Capability {
        Capability::Boxes
    }

    fn thresholds(&self) -> Thresholds {
        self.thresholds
    }

    fn prepare<'a>(
        &'a self,
        texts: &[String],
        cancellation: Option<&'a CancellationToken>,
    ) -> Result<Box<dyn Predictor + 'a>> {
        let embeds = self.encoded(texts, cancellation)?;
        Ok(Box::new(DetectorPredictor { model: &self.model, positions: positions(texts), embeds, cancellation }))
    }
}

/// Places of texts in a list.
fn positions(texts: &[String]) -> HashMap<String, u32> {
    texts.iter().cloned().zip(0..).collect()
}

struct DetectorPredictor<'a> {
    model: &'a OwlVit,
    positions: HashMap<String, u32>,
    embeds: Option<QueryEmbeds>,
    cancellation: Option<&'a CancellationToken>,
}

impl Predictor for DetectorPredictor<'_> {
    fn predict(&self, images: &[&RgbImage], questions: &[[Question; 2]]) -> Result<Vec<[Vec<Prediction>; 2]>> {
        let pixels = images.iter().map(|image| pixels(image)).collect::<Result<Vec<_>>>()?;
        let candidates = self.model.encode_images_cancellable(&pixels, self.cancellation)?;
        let of_image = |(position, [published, strict]): (usize, &[Question; 2])| {
            let (candidates, size) = (candidates.image(position)?, ImageSize::from(images[position].dimensions()));
            Ok([self.find(&candidates, published, size)?, self.find(&candidates, strict, size)?])
        };
        questions.iter().enumerate().map(of_image).collect()
    }

    fn predict_each(&self, image: &RgbImage, texts: &[String], each: EachText) -> Result<Vec<Prediction>> {
        let candidates = self.model.encode_images_cancellable(&[pixels(image)?], self.cancellation)?;
        let size = ImageSize::from(image.dimensions());
        let mut predicted = Vec::new();
        for text in texts {
            let query = [Query { text: text.clone(), group: 0 }];
            let found = self.model.detect(&candidates, &self.select(&query)?, each.min_score as f32)?.pop();
            let found = owlvit::suppress(found.unwrap_or_default(), |_| 0, each.max_iou as f32);
            predicted.extend(found.iter().filter_map(|detection| prediction(detection, &query, size)));
        }
        Ok(predicted)
    }
}

impl DetectorPredictor<'_> {
    fn find(&self, candidates: &Candidates, question: &Question, size: ImageSize) -> Result<Vec<Prediction>> {
        let queries = &question.queries;
        let found = self.model.detect(candidates, &self.select(queries)?, SCORE_THRESHOLD)?.pop().unwrap_or_default();
        let mut found = owlvit::suppress(found, |label| queries[label].group, MAX_IOU);
        if question.protocol == Protocol::Strict {
            found = owlvit::suppress(found, |_| 0, MAX_IOU_ACROSS);
        }
        Ok(found.iter().filter_map(|detection| prediction(detection, queries, size)).collect())
    }

    fn select(&self, queries: &[Query]) -> Result<QueryEmbeds> {
        let positions: Vec<u32> = queries.iter().filter_map(|query| self.positions.get(&query.text).copied()).collect();
        let embeds = self.embeds.as_ref().ok_or_else(no_queries)?;
        Ok(embeds.select(&positions)?)
    }
}

fn no_queries() -> sinopia_models::Error {
    sinopia_models::Error::Input { what: "queries", expected: "at least one".to_owned(), found: "none".to_owned() }
}

/// A detection as a named box, cut at the picture's edges; nothing if it lies outside.
fn prediction(detection: &Detection, queries: &[Query], ImageSize { width, height }: ImageSize) -> Option<Prediction> {
    let [x0, y0, x1, y1] = detection.corners.map(f64::from);
    let (x0, x1) = (x0.clamp(0.0, width.into()), x1.clamp(0.0, width.into()));
    let (y0, y1) = (y0.clamp(0.0, height.into()), y1.clamp(0.0, height.into()));
    let bbox = PixelBox::new(x0, y0, x1 - x0, y1 - y0).ok().filter(PixelBox::has_area)?;
    Some(Prediction { label: queries[detection.label].text.clone(), score: detection.score.into(), bbox })
}
