//! CLIP as an evaluator: how alike image and text are.

use std::collections::HashMap;
use std::path::Path;

use candle_core::Device;
use image::RgbImage;
use sinopia_models::CancellationToken;
use sinopia_models::clip_pair::{self, ClipPair};

use super::evaluator::{Evaluator, EvaluatorId, Predictor, QUERIES_AT_ONCE, Question, everywhere, name_of, pixels};
use crate::Result;
use crate::benchmark::{Capability, Prediction, Query};

/// A CLIP model as an evaluator: it predicts every text in every image, with their cosine as the score.
#[derive(Debug)]
pub struct ClipEvaluator {
    model: ClipPair,
    id: EvaluatorId,
}

impl ClipEvaluator {
    /// Opens a folder of CLIP weights.
    ///
    /// # Errors
    /// As [`ClipPair::open`].
    pub fn open(folder: &Path, precision: sinopia_models::Precision) -> Result<Self> {
        let model = ClipPair::open(folder, &Device::Cpu, precision)?;
        Ok(Self { model, id: EvaluatorId { id: name_of(folder), hash: clip_pair::content_hash(folder)? } })
    }
}

impl Evaluator for ClipEvaluator {
    fn id(&self) -> &EvaluatorId {
        &self.id
    }

    fn capability(&self) -> Capability {
        Capability::ClipScore
    }

    fn prepare<'a>(
        &'a self,
        texts: &[String],
        cancellation: Option<&'a CancellationToken>,
    ) -> Result<Box<dyn Predictor + 'a>> {
        let mut embeds = Vec::new();
        for texts in texts.chunks(QUERIES_AT_ONCE) {
            let read = self.model.encode_texts_cancellable(texts, cancellation)?;
            embeds.extend(read.to_vec2::<f32>().map_err(sinopia_models::Error::from)?);
        }
        let embeds = texts.iter().cloned().zip(embeds).collect();
        Ok(Box::new(ClipPredictor { model: &self.model, embeds, cancellation }))
    }
}

struct ClipPredictor<'a> {
    model: &'a ClipPair,
    embeds: HashMap<String, Vec<f32>>,
    cancellation: Option<&'a CancellationToken>,
}

impl Predictor for ClipPredictor<'_> {
    fn predict(&self, images: &[&RgbImage], questions: &[[Question; 2]]) -> Result<Vec<[Vec<Prediction>; 2]>> {
        let pixels = images.iter().map(|image| pixels(image)).collect::<Result<Vec<_>>>()?;
        let images_embeds = self.model.encode_images_cancellable(&pixels, self.cancellation)?;
        let images_embeds = images_embeds.to_vec2::<f32>().map_err(sinopia_models::Error::from)?;
        let of_image = |((image, embed), questions): ((&&RgbImage, &Vec<f32>), &[Question; 2])| {
            [0, 1].map(|i| {
                let clip_score = |query: &Query| {
                    let text = self.embeds.get(&query.text)?;
                    let cosine: f32 = text.iter().zip(embed).map(|(a, b)| a * b).sum();
                    everywhere(&query.text, cosine.into(), image.dimensions().into())
                };
                questions[i].queries.iter().filter_map(clip_score).collect()
            })
        };
        Ok(images.iter().zip(&images_embeds).zip(questions).map(of_image).collect())
    }
}
