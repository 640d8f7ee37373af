//! A model that answers questions (VQA) as an evaluator.

use std::collections::HashMap;
use std::fmt::Debug;

use image::RgbImage;
use sinopia_models::CancellationToken;

use super::evaluator::{Evaluator, EvaluatorId, Predictor, Question, everywhere};
use crate::benchmark::{Capability, Prediction};
use crate::{Error, Result};

/// A model that answers questions about pictures with yes or no. The caller brings it; asking may take long and may fail.
pub trait VqaModel: Debug {
    /// What tells its answers from another's.
    fn id(&self) -> &EvaluatorId;

    /// Whether the answer to `question` about a picture, the bytes of a PNG, is yes.
    ///
    /// # Errors
    /// Whatever kept it from answering.
    fn says_yes(&self, png: &[u8], question: &str) -> Result<bool, AnswerError>;
}

/// Why there is no answer.
pub type AnswerError = Box<dyn std::error::Error + Send + Sync>;

/// A [`VqaModel`] as an evaluator: it predicts what it answers with yes.
#[derive(Debug)]
pub struct VqaEvaluator<A>(pub A);

impl<A: VqaModel> Evaluator for VqaEvaluator<A> {
    fn id(&self) -> &EvaluatorId {
        self.0.id()
    }

    fn capability(&self) -> Capability {
        Capability::Answers
    }

    /// Answers cost time and money: each picture's are kept as soon as they are complete.
    fn images_at_once(&self) -> usize {
        1
    }

    fn prepare<'a>(
        &'a self,
        _texts: &[String],
        cancellation: Option<&'a CancellationToken>,
    ) -> Result<Box<dyn Predictor + 'a>> {
        Ok(Box::new(VqaPredictor { model: &self.0, cancellation }))
    }
}

struct VqaPredictor<'a> {
    model: &'a dyn VqaModel,
    cancellation: Option<&'a CancellationToken>,
}

impl Predictor for VqaPredictor<'_> {
    /// Each question is asked once, whoever wants to know.
    fn predict(&self, images: &[&RgbImage], questions: &[[Question; 2]]) -> Result<Vec<[Vec<Prediction>; 2]>> {
        let of_image = |(image, questions): (&&RgbImage, &[Question; 2])| {
            let mut png = std::io::Cursor::new(Vec::new());
            let encoded = image.write_to(&mut png, image::ImageFormat::Png);
            encoded.map_err(|error| Error::Answer { question: "the picture".to_owned(), source: error.into() })?;
            let mut known: HashMap<&str, bool> = HashMap::new();
            for query in questions.iter().flat_map(|question| &question.queries) {
                if !known.contains_key(query.text.as_str()) {
                    if self.cancellation.is_some_and(CancellationToken::is_cancelled) {
                        return Err(sinopia_models::Error::Cancelled.into());
                    }
                    let answer = self.model.says_yes(png.get_ref(), &query.text);
                    let answer = answer.map_err(|source| Error::Answer { question: query.text.clone(), source })?;
                    known.insert(&query.text, answer);
                }
            }
            Ok([0, 1].map(|i| {
                let queries = questions[i].queries.iter().filter(|query| known.get(query.text.as_str()) == Some(&true));
                queries.filter_map(|query| everywhere(&query.text, 1.0, image.dimensions().into())).collect()
            }))
        };
        images.iter().zip(questions).map(of_image).collect()
    }
}
