//! What judges images: a detector that finds boxes, a model that answers questions, one that compares image and text.
//!
//! All of them answer with [`Prediction`](crate::Prediction)s, so that one rule judges them: a question that is answered with yes is predicted everywhere, and so is a text that
//! an image was compared with, their cosine as the score.

mod clip;
mod detector;
mod evaluator;
mod thresholds;
mod vqa;

pub use clip::ClipEvaluator;
pub use detector::{Detector, MAX_IOU, MAX_IOU_ACROSS, SCORE_THRESHOLD};
pub use evaluator::{EachText, Evaluator, EvaluatorId, Predictor, Question};
pub use thresholds::Thresholds;
pub use vqa::{AnswerError, VqaEvaluator, VqaModel};
