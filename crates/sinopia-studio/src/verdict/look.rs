//! Who looks at a picture.

use image::RgbImage;
use sinopia_eval::evaluators::{EachText, Evaluator};
use sinopia_eval::{Capability, ImageSize};
use sinopia_models::CancellationToken;

use super::queries::{Asked, queries};
use super::{Program, Thresholds, Verdict, answers, boxes, things, unknown};
use crate::{Error, Result};

/// Somebody who can tell whether a picture shows what it has to.
pub trait Look {
    /// What is seen in a picture of what `program` wants.
    ///
    /// # Errors
    /// Those of whoever looks; cancelled, one for which [`Error::is_cancelled`].
    fn look(&self, image: &RgbImage, program: &Program, cancellation: Option<&CancellationToken>) -> Result<Verdict>;
}

/// Every evaluator that sees boxes or answers questions can look, by the thresholds that are right for it. One that compares texts with pictures is refused: [`Error::CannotLook`].
impl<E: Evaluator + ?Sized> Look for E {
    fn look(&self, image: &RgbImage, program: &Program, cancellation: Option<&CancellationToken>) -> Result<Verdict> {
        let thresholds = self.thresholds();
        let verdict = match self.capability() {
            Capability::Boxes => look_for_boxes(self, thresholds, image, program, cancellation)?,
            Capability::Answers => ask(self, thresholds, image, program, cancellation)?,
            Capability::ClipScore => return Err(Error::CannotLook { evaluator: self.id().id.clone() }),
        };
        Ok(Verdict {
            evaluator: self.id().clone(),
            unknown: unknown::of(program, self.id(), self.capability()),
            ..verdict
        })
    }
}

fn look_for_boxes<E: Evaluator + ?Sized>(
    detector: &E,
    thresholds: Thresholds,
    image: &RgbImage,
    program: &Program,
    cancellation: Option<&CancellationToken>,
) -> Result<Verdict> {
    let knows = |kind: usize| unknown::is_known(detector.id(), &program.kinds()[kind].name);
    let asked: Vec<Asked> = queries(program).into_iter().filter(|asked| knows(asked.kind)).collect();
    let mut texts: Vec<String> = Vec::new();
    for asked in &asked {
        if !texts.contains(&asked.text) {
            texts.push(asked.text.clone());
        }
    }
    let predictions = if texts.is_empty() {
        Vec::new()
    } else {
        let each = EachText { min_score: thresholds.faintest(), max_iou: things::SAME_KIND_IOU };
        detector.prepare(&texts, cancellation)?.predict_each(image, &texts, each)?
    };
    let size = ImageSize::from(image.dimensions());
    Ok(boxes::verdict(program, thresholds, &asked, &predictions, size, knows))
}

fn ask<E: Evaluator + ?Sized>(
    model: &E,
    thresholds: Thresholds,
    image: &RgbImage,
    program: &Program,
    cancellation: Option<&CancellationToken>,
) -> Result<Verdict> {
    let questions = answers::questions(program);
    let predictions = if questions.is_empty() {
        Vec::new()
    } else {
        let each = EachText { min_score: thresholds.present, max_iou: 1.0 };
        model.prepare(&questions, cancellation)?.predict_each(image, &questions, each)?
    };
    let is_yes = |question: &str| predictions.iter().any(|prediction| prediction.label == question);
    Ok(answers::verdict(program, thresholds, is_yes))
}

#[cfg(test)]
mod tests {
    use sinopia_eval::evaluators::{EvaluatorId, Predictor, Question};
    use sinopia_eval::{Detector, Prediction};

    use super::super::ObjectState;
    use super::*;

    /// An evaluator that predicts every text that holds a word, everywhere.
    #[derive(Debug)]
    struct Sees(EvaluatorId, Capability, &'static str);

    impl Sees {
        fn new(id: &str, capability: Capability, word: &'static str) -> Self {
            Self(EvaluatorId { id: id.to_owned(), hash: String::new() }, capability, word)
        }
    }

    impl Evaluator for Sees {
        fn id(&self) -> &EvaluatorId {
            &self.0
        }

        fn capability(&self) -> Capability {
            self.1
        }

        fn prepare<'a>(
            &'a self,
            _: &[String],
            _: Option<&'a CancellationToken>,
        ) -> sinopia_eval::Result<Box<dyn Predictor + 'a>> {
            Ok(Box::new(SeesPredictor(self.2)))
        }
    }

    struct SeesPredictor(&'static str);

    impl Predictor for SeesPredictor {
        fn predict(
            &self,
            images: &[&RgbImage],
            questions: &[[Question; 2]],
        ) -> sinopia_eval::Result<Vec<[Vec<Prediction>; 2]>> {
            let seen = |question: &Question| -> Vec<Prediction> {
                let texts = question.queries.iter().map(|query| &query.text).filter(|text| text.contains(self.0));
                let bbox = sinopia_layout::PixelBox::new(0.0, 0.0, 64.0, 64.0).unwrap();
                texts.map(|text| Prediction { label: text.clone(), score: 0.9, bbox }).collect()
            };
            Ok(images.iter().zip(questions).map(|(_, [a, b])| [seen(a), seen(b)]).collect())
        }
    }

    fn program(boxes: &str, caption: &str) -> Program {
        let answer = format!("[{boxes}]\nBackground prompt: A table\nNegative prompt: ");
        Program::compile(&sinopia_layout::parse_answer(&answer).unwrap(), Some(caption))
    }

    const BOXES: &str = "('a sleeping cat', [0, 0, 250, 250]), ('an elephant', [300, 0, 200, 200])";

    fn states(verdict: &Verdict) -> Vec<ObjectState> {
        verdict.objects.iter().map(|object| object.state).collect()
    }

    #[test]
    fn the_built_in_detector_says_for_what_it_has_no_word() {
        let sees = Sees::new(sinopia_miniature::NAME, Capability::Boxes, "cat");
        let verdict = sees.look(&RgbImage::new(128, 128), &program(BOXES, "no unicorns"), None).unwrap();
        assert_eq!(states(&verdict), [ObjectState::Right, ObjectState::Unsure]);
        assert_eq!(verdict.unknown[0], "an elephant");
        assert!(verdict.unknown.contains(&"sleeping, of a sleeping cat".to_owned()), "{:?}", verdict.unknown);
    }

    #[test]
    fn another_detector_is_asked_for_anything() {
        let sees = Sees::new("owlvit", Capability::Boxes, "cat");
        let verdict = sees.look(&RgbImage::new(128, 128), &program(BOXES, ""), None).unwrap();
        assert_eq!(states(&verdict), [ObjectState::Right, ObjectState::Missing]);
        assert_eq!((verdict.evaluator.id.as_str(), verdict.thresholds), ("owlvit", Thresholds::OWL_VIT));
    }

    #[test]
    fn a_model_that_answers_has_no_boxes_and_says_so() {
        let sees = Sees::new("vision", Capability::Answers, "sleeping cat");
        let verdict = sees.look(&RgbImage::new(128, 128), &program(BOXES, ""), None).unwrap();
        assert_eq!(states(&verdict), [ObjectState::Right, ObjectState::Missing]);
        assert_eq!(verdict.unknown, ["where things are"]);
        assert!(verdict.objects.iter().all(|object| object.detected.is_none()));
    }

    #[test]
    fn what_compares_texts_with_pictures_is_refused() {
        let sees = Sees::new("clip", Capability::ClipScore, "cat");
        let error = sees.look(&RgbImage::new(128, 128), &program(BOXES, ""), None).unwrap_err();
        assert!(error.is_bad_input() && error.to_string().contains("`clip`"), "{error}");
    }

    fn detector() -> Detector {
        crate::open_detector(sinopia_miniature::NAME).unwrap()
    }

    #[test]
    fn pictures_without_pixels_are_refused_and_tiny_ones_looked_at() {
        let (detector, program) = (detector(), program("('a red cat', [0, 0, 250, 250])", ""));
        assert!(detector.look(&RgbImage::new(0, 0), &program, None).is_err());
        assert!(detector.look(&RgbImage::new(0, 9), &program, None).is_err());
        assert_eq!(detector.thresholds(), Thresholds::BUILT_IN);
        let tiny = detector.look(&RgbImage::new(1, 1), &program, None).unwrap();
        assert!(!tiny.is_right());
    }

    #[test]
    fn nothing_wanted_is_nothing_asked() {
        let verdict = detector().look(&RgbImage::new(0, 0), &program("", ""), None).unwrap();
        assert!(verdict.is_right() && verdict.unknown.is_empty());
    }

    #[test]
    fn one_detector_says_the_same_whatever_it_was_asked_before() {
        let picture = RgbImage::from_fn(128, 128, |x, y| image::Rgb([x as u8, y as u8, 90]));
        let programs = [program("('a red cat', [0, 0, 250, 250])", "no dogs"), program(BOXES, "")];
        let alone = |program: &Program| detector().look(&picture, program, None).unwrap();
        let detector = detector();
        for program in [&programs[0], &programs[1], &programs[1], &programs[0]] {
            assert_eq!(detector.look(&picture, program, None).unwrap(), alone(program));
        }
    }

    #[test]
    fn a_look_that_is_cancelled_ends() {
        let token = CancellationToken::default();
        token.cancel();
        let error = detector().look(&RgbImage::new(128, 128), &program(BOXES, ""), Some(&token)).unwrap_err();
        assert!(error.is_cancelled(), "{error}");
    }
}
