//! Whether the things of a layout are where it wants them, as a detector sees it.

use image::RgbImage;
use sinopia_eval::evaluators::{Evaluator, Question};
use sinopia_eval::{Prediction, Protocol, Query};
use sinopia_layout::{Canvas, Layout, PixelBox};
use sinopia_models::CancellationToken;

/// Whether the objects of a layout are where it wants them.
#[derive(Debug, Clone, PartialEq)]
pub struct Verdict {
    /// Each object of the layout, in its order.
    pub objects: Vec<ObjectVerdict>,
}

/// Whether one object is where the layout wants it.
#[derive(Debug, Clone, PartialEq)]
pub struct ObjectVerdict {
    /// The object in words.
    pub phrase: String,
    /// Where the layout wants it, in pixels of its canvas.
    pub bbox: PixelBox,
    /// Whether it is there.
    pub is_found: bool,
    /// The detector's score of what was given to it, 0 if there is nothing of the kind.
    pub score: f64,
    /// Where that is, in pixels of the canvas.
    pub detected: Option<PixelBox>,
}

impl Verdict {
    /// Whether every object was found.
    pub fn is_right(&self) -> bool {
        self.objects.iter().all(|object| object.is_found)
    }
}

/// A thing that is surely there has at least this score by the miniature's detector, which is calibrated: faint doubles of drawn scenes have 0.15 to 0.5, real things 0.9.
const SURE_BY_MINIATURE: f64 = 0.5;
/// The same by other OWL-ViT weights, whose scores are lower.
const SURE: f64 = 0.25;
/// The intersection over union that a thing has at least with its box to be found in it.
const MIN_IOU: f64 = 0.3;

/// Looks for every object of a layout. One is found if what was seen is sure, has its centre in the object's box and overlaps it well.
///
/// # Errors
/// Those of the detector; cancelled, [`sinopia_models::Error::Cancelled`].
pub fn look(
    evaluator: &dyn Evaluator,
    image: &RgbImage,
    layout: &Layout,
    cancellation: Option<&CancellationToken>,
) -> sinopia_eval::Result<Verdict> {
    let mut phrases: Vec<&str> = Vec::new();
    for object in &layout.objects {
        if !phrases.contains(&object.phrase.as_str()) {
            phrases.push(&object.phrase);
        }
    }
    if phrases.is_empty() {
        return Ok(Verdict { objects: Vec::new() });
    }
    let texts: Vec<String> = phrases.iter().map(|phrase| query(phrase)).collect();
    let queries = || texts.iter().cloned().enumerate().map(|(group, text)| Query { text, group }).collect();
    let question = |protocol| Question { protocol, queries: queries() };
    let questions = [question(Protocol::Published), question(Protocol::Strict)];
    let mut seen = evaluator.prepare(&texts, cancellation)?.predict(&[image], &[questions])?;
    let seen = seen.pop().map_or_else(Vec::new, |[_, strict]| strict);
    let sure = if evaluator.id().id == sinopia_miniature::NAME { SURE_BY_MINIATURE } else { SURE };
    Ok(assign(layout, &seen, image.dimensions(), sure))
}

/// What the detector is asked for a phrase, in the words of its training.
fn query(phrase: &str) -> String {
    let phrase = phrase.trim();
    let first = phrase.split_whitespace().next().unwrap_or_default().to_lowercase();
    match first.as_str() {
        "a" | "an" | "the" | "one" | "two" | "three" | "four" | "some" => format!("a photo of {phrase}"),
        word if word.starts_with(['a', 'e', 'i', 'o', 'u']) => format!("a photo of an {phrase}"),
        _ => format!("a photo of a {phrase}"),
    }
}

/// Gives each object one of the things seen, those that overlap most first. Nothing is given twice.
fn assign(layout: &Layout, seen: &[Prediction], (width, height): (u32, u32), sure: f64) -> Verdict {
    let canvas = layout.canvas;
    let seen: Vec<(&Prediction, PixelBox)> =
        seen.iter().filter_map(|seen| Some((seen, on_canvas(&seen.bbox, (width, height), canvas)?))).collect();
    let mut pairs: Vec<(f64, usize, usize)> = Vec::new();
    for (index, object) in layout.objects.iter().enumerate() {
        let name = query(&object.phrase);
        let named = seen.iter().enumerate().filter(|(_, (seen, _))| seen.label == name);
        pairs.extend(named.map(|(other, (_, bbox))| (object.bbox.iou(bbox), index, other)));
    }
    // Equal overlaps (none, mostly) go in the layout's order, by descending score.
    pairs.sort_by(|a, b| b.0.total_cmp(&a.0).then((a.1, a.2).cmp(&(b.1, b.2))));
    let mut of_object: Vec<Option<usize>> = vec![None; layout.objects.len()];
    let mut taken = vec![false; seen.len()];
    for (_, object, other) in pairs {
        if of_object[object].is_none() && !taken[other] {
            of_object[object] = Some(other);
            taken[other] = true;
        }
    }
    let objects = layout.objects.iter().zip(of_object).map(|(object, other)| {
        let thing = other.map(|other| &seen[other]);
        ObjectVerdict {
            phrase: object.phrase.clone(),
            bbox: object.bbox,
            is_found: thing.is_some_and(|(seen, bbox)| {
                seen.score >= sure && holds_centre(&object.bbox, bbox) && object.bbox.iou(bbox) >= MIN_IOU
            }),
            score: thing.map_or(0.0, |(seen, _)| seen.score),
            detected: thing.map(|(_, bbox)| *bbox),
        }
    });
    Verdict { objects: objects.collect() }
}

/// A box of a picture in pixels of a canvas.
fn on_canvas(bbox: &PixelBox, (width, height): (u32, u32), canvas: Canvas) -> Option<PixelBox> {
    let (x, y) = (f64::from(canvas.width()) / f64::from(width), f64::from(canvas.height()) / f64::from(height));
    PixelBox::new(bbox.x() * x, bbox.y() * y, bbox.width() * x, bbox.height() * y).ok()
}

fn holds_centre(bbox: &PixelBox, of: &PixelBox) -> bool {
    let (x, y) = of.center();
    (bbox.x()..=bbox.right()).contains(&x) && (bbox.y()..=bbox.bottom()).contains(&y)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn layout(objects: &[(&str, [f64; 4])]) -> Layout {
        let boxes: Vec<String> = objects.iter().map(|(phrase, bbox)| format!("('{phrase}', {bbox:?})")).collect();
        sinopia_layout::parse_answer(&format!("[{}]\nBackground prompt: A beach", boxes.join(", "))).unwrap()
    }

    fn seen(phrase: &str, score: f64, [x, y, w, h]: [f64; 4]) -> Prediction {
        Prediction { label: query(phrase), score, bbox: PixelBox::new(x, y, w, h).unwrap() }
    }

    #[test]
    fn two_alike_get_the_one_each_that_is_nearest() {
        let layout = layout(&[("a red car", [0.0, 0.0, 200.0, 200.0]), ("a red car", [300.0, 0.0, 200.0, 200.0])]);
        let both =
            [seen("a red car", 0.9, [300.0, 10.0, 180.0, 180.0]), seen("a red car", 0.5, [0.0, 10.0, 180.0, 180.0])];
        let verdict = assign(&layout, &both, (512, 512), 0.5);
        let scores: Vec<(bool, f64)> = verdict.objects.iter().map(|object| (object.is_found, object.score)).collect();
        assert_eq!(scores, [(true, 0.5), (true, 0.9)]);
        let one = assign(&layout, &both[..1], (512, 512), 0.5);
        assert!(!one.objects[0].is_found && one.objects[0].detected.is_none() && one.objects[1].is_found);
    }

    #[test]
    fn a_thing_elsewhere_is_seen_and_not_found() {
        let layout = layout(&[("a cat", [0.0, 0.0, 100.0, 100.0])]);
        let verdict = assign(&layout, &[seen("a cat", 0.7, [100.0, 100.0, 20.0, 20.0])], (128, 128), 0.5);
        let object = &verdict.objects[0];
        let elsewhere = PixelBox::new(400.0, 400.0, 80.0, 80.0).ok();
        assert_eq!((object.is_found, object.detected), (false, elsewhere));
    }

    #[test]
    fn a_faint_thing_or_a_sliver_in_the_box_is_not_found() {
        let layout = layout(&[("a cat", [0.0, 0.0, 200.0, 200.0])]);
        let found = |score, bbox| assign(&layout, &[seen("a cat", score, bbox)], (512, 512), 0.5).objects[0].is_found;
        assert!(found(0.9, [20.0, 20.0, 170.0, 170.0]));
        assert!(!found(0.16, [20.0, 20.0, 170.0, 170.0]), "faint");
        assert!(!found(0.9, [90.0, 90.0, 30.0, 30.0]), "a sliver of its box");
        assert!(!found(0.9, [0.0, 0.0, 390.0, 390.0]), "far larger than its box");
    }

    #[test]
    fn phrases_are_asked_for_with_an_article() {
        assert_eq!(query("red apple"), "a photo of a red apple");
        assert_eq!(query("orange ball"), "a photo of an orange ball");
        assert_eq!(query(" the dog"), "a photo of the dog");
    }
}
