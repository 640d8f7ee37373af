//! Verdicts of few words for tests.

use sinopia_layout::PixelBox;

use super::{ObjectState, ObjectVerdict, SeenThing, Thresholds, Verdict};

pub(super) fn bbox([x, y, width, height]: [f64; 4]) -> PixelBox {
    PixelBox::new(x, y, width, height).unwrap()
}

/// An object in a state, with a score that fits it.
pub(super) fn object(phrase: &str, state: ObjectState) -> ObjectVerdict {
    let is_seen = state != ObjectState::Missing;
    ObjectVerdict {
        phrase: phrase.to_owned(),
        bbox: bbox([0.0, 0.0, 100.0, 100.0]),
        state,
        score: if is_seen { 0.9 } else { 0.0 },
        detected: is_seen.then(|| bbox([0.0, 0.0, 100.0, 100.0])),
        iou: f64::from(u8::from(is_seen)),
        seen_as: None,
    }
}

pub(super) fn seen(phrase: &str) -> SeenThing {
    SeenThing { phrase: phrase.to_owned(), bbox: bbox([200.0, 200.0, 100.0, 100.0]), score: 0.8 }
}

pub(super) fn verdict(objects: Vec<ObjectVerdict>) -> Verdict {
    Verdict { objects, ..Verdict::of_nothing(Thresholds::BUILT_IN) }
}
