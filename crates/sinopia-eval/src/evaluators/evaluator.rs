//! What an evaluator is, and what those here share.

use std::fmt::Debug;
use std::path::Path;

use image::RgbImage;
use serde::{Deserialize, Serialize};
use sinopia_layout::PixelBox;
use sinopia_models::CancellationToken;
use sinopia_models::owlvit::Pixels;

use super::Thresholds;
use crate::Result;
use crate::benchmark::{Capability, ImageSize, Prediction, Protocol, Query};

/// Images judged together.
pub(super) const IMAGES_AT_ONCE: usize = 8;
/// Queries encoded together.
pub(super) const QUERIES_AT_ONCE: usize = 64;

/// A model that judges images.
pub trait Evaluator: Debug {
    /// What tells its scores from another's.
    fn id(&self) -> &EvaluatorId;

    /// What it can tell.
    fn capability(&self) -> Capability;

    /// From which scores on it sees something.
    fn thresholds(&self) -> Thresholds {
        match self.capability() {
            Capability::Answers => Thresholds::ANSWERS,
            Capability::Boxes | Capability::ClipScore => Thresholds::OWL_VIT,
        }
    }

    /// Images it judges together; scores are saved between.
    fn images_at_once(&self) -> usize {
        IMAGES_AT_ONCE
    }

    /// Encodes every query that will be asked. This and the predictions are given up between two layers of a network if they are cancelled.
    ///
    /// # Errors
    /// If a query cannot be encoded; [`sinopia_models::Error::Cancelled`].
    fn prepare<'a>(
        &'a self,
        texts: &[String],
        cancellation: Option<&'a CancellationToken>,
    ) -> Result<Box<dyn Predictor + 'a>>;
}

/// An evaluator that has encoded its queries.
pub trait Predictor {
    /// What is predicted of each image for both protocols, by descending score. Every query is one of those that were encoded.
    ///
    /// # Errors
    /// If a model refuses, or does not answer.
    fn predict(&self, images: &[&RgbImage], questions: &[[Question; 2]]) -> Result<Vec<[Vec<Prediction>; 2]>>;

    /// What is predicted of one image for each text by itself: one text's prediction takes no other's place, so that the same thing is found as a cat and as a dog, by both scores. In the order of the texts, each by descending score; every text is one of those that were encoded.
    ///
    /// # Errors
    /// As [`predict`](Self::predict).
    fn predict_each(&self, image: &RgbImage, texts: &[String], _: EachText) -> Result<Vec<Prediction>> {
        let queries = texts.iter().cloned().enumerate().map(|(group, text)| Query { text, group }).collect();
        let question = Question { protocol: Protocol::Published, queries };
        let nothing = Question { protocol: Protocol::Strict, queries: Vec::new() };
        let predicted = self.predict(&[image], &[[question, nothing]])?.pop();
        Ok(predicted.map_or_else(Vec::new, |[predicted, _]| predicted))
    }
}

/// What counts as a prediction where each text is looked for by itself; those that see no places do not ask.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct EachText {
    /// The least score, 0..=1.
    pub min_score: f64,
    /// Predictions of one text that overlap by this much, intersection over union, are one.
    pub max_iou: f64,
}

/// What a protocol asks of an image.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Question {
    /// Who asks.
    pub protocol: Protocol,
    /// What for.
    pub queries: Vec<Query>,
}

/// An evaluator, by name and content; nobody, by default.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct EvaluatorId {
    /// The folder's or model's name.
    pub id: String,
    /// SHA-256 of its weights, or of what else decides its answers.
    pub hash: String,
}

pub(super) fn name_of(folder: &Path) -> String {
    folder.file_name().map_or_else(|| folder.display().to_string(), |name| name.to_string_lossy().into_owned())
}

/// The whole of a picture, where something is predicted that has no place.
pub(super) fn everywhere(label: &str, score: f64, ImageSize { width, height }: ImageSize) -> Option<Prediction> {
    let bbox = PixelBox::new(0.0, 0.0, width.into(), height.into()).ok()?;
    Some(Prediction { label: label.to_owned(), score, bbox })
}

pub(super) fn pixels(image: &RgbImage) -> Result<Pixels<'_>> {
    Ok(Pixels::new(image.width() as usize, image.height() as usize, image.as_raw())?)
}
