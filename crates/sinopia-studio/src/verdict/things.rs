//! From what a detector says of each text to things, each seen once.

use sinopia_eval::{ImageSize, Prediction};
use sinopia_layout::{Canvas, PixelBox};

use super::queries::Asked;
use super::{Program, Thresholds};

/// Boxes of one kind that overlap by this much (intersection over union) are one thing.
pub(super) const SAME_KIND_IOU: f64 = 0.3;
/// Boxes of one kind of which so much of the smaller lies in the other are one thing: T2I-CompBench's rule for doubles.
const SAME_KIND_SHARE: f64 = 0.9;
/// Boxes of different kinds that overlap by this much are one thing, which is what it is by the higher score.
const SAME_THING_IOU: f64 = 0.5;

/// A thing in the picture.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Thing {
    /// What it may be, by descending score.
    pub(super) kinds: Vec<KindSeen>,
}

/// A thing seen as a kind.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct KindSeen {
    /// An index of [`Program::kinds`].
    pub(super) kind: usize,
    /// The highest score of it, in any colour.
    pub(super) score: f64,
    /// Where, in pixels of the canvas.
    pub(super) bbox: PixelBox,
    /// The highest score in each colour that it was seen in, the highest first.
    pub(super) colours: Vec<(String, f64)>,
}

impl Thing {
    /// What it most likely is.
    pub(super) fn top(&self) -> &KindSeen {
        &self.kinds[0]
    }

    /// It, as a kind.
    pub(super) fn as_kind(&self, kind: usize) -> Option<&KindSeen> {
        self.kinds.iter().find(|seen| seen.kind == kind)
    }
}

impl KindSeen {
    /// The score of the likeliest of some colours.
    pub(super) fn best_of(&self, accepts: impl Fn(&str) -> bool) -> Option<(&str, f64)> {
        self.colours.iter().find(|(colour, _)| accepts(colour)).map(|(colour, score)| (colour.as_str(), *score))
    }

    /// Whether two boxes of one kind are of one thing.
    pub(super) fn is_double_of(&self, other: &PixelBox) -> bool {
        let smaller = self.bbox.area().min(other.area());
        let share = self.bbox.intersection(other) / smaller;
        self.bbox.iou(other) >= SAME_KIND_IOU || share >= SAME_KIND_SHARE
    }
}

/// Things of all predictions of at least [`Thresholds::present`], by descending score; fainter ones only tell of the colours of such things. Predictions that are no boxes on the canvas, or whose score is no number, are none.
pub(super) fn things(
    program: &Program,
    asked: &[Asked],
    predictions: &[Prediction],
    size: ImageSize,
    thresholds: Thresholds,
) -> Vec<Thing> {
    let mut seen = of_each_kind(program, asked, predictions, size, thresholds);
    seen.sort_by(|a, b| b.score.total_cmp(&a.score)); // stable: equals in the order of kinds
    let mut things: Vec<Thing> = Vec::new();
    for seen in seen {
        let is_it = |thing: &&mut Thing| {
            thing.as_kind(seen.kind).is_none() && thing.top().bbox.iou(&seen.bbox) >= SAME_THING_IOU
        };
        match things.iter_mut().find(is_it) {
            Some(thing) => thing.kinds.push(seen),
            None => things.push(Thing { kinds: vec![seen] }),
        }
    }
    things
}

/// The things of each kind, seen in whatever colour.
fn of_each_kind(
    program: &Program,
    asked: &[Asked],
    predictions: &[Prediction],
    size: ImageSize,
    thresholds: Thresholds,
) -> Vec<KindSeen> {
    let mut all = Vec::new();
    for kind in 0..program.kinds().len() {
        let of_kind = |label: &str| asked.iter().find(|asked| asked.kind == kind && asked.text == label);
        let boxes = predictions.iter().filter(|prediction| prediction.score >= thresholds.faintest()).filter_map(
            |prediction| {
                Some((
                    of_kind(&prediction.label)?,
                    prediction.score.min(1.0),
                    on_canvas(&prediction.bbox, size, program.canvas())?,
                ))
            },
        );
        let mut boxes: Vec<(&Asked, f64, PixelBox)> = boxes.collect();
        boxes.sort_by(|a, b| b.1.total_cmp(&a.1));
        let mut seen: Vec<KindSeen> = Vec::new();
        for (asked, score, bbox) in boxes {
            match seen.iter_mut().find(|seen| seen.is_double_of(&bbox)) {
                Some(seen) => seen.add_colour(asked, score),
                None if score >= thresholds.present => {
                    let mut new = KindSeen { kind, score, bbox, colours: Vec::new() };
                    new.add_colour(asked, score);
                    seen.push(new);
                }
                None => {}
            }
        }
        all.extend(seen);
    }
    all
}

impl KindSeen {
    /// Scores come in descending order: the first of a colour is its highest.
    fn add_colour(&mut self, asked: &Asked, score: f64) {
        if let Some(colour) = &asked.colour
            && !self.colours.iter().any(|(known, _)| known == colour)
        {
            self.colours.push((colour.clone(), score));
        }
    }
}

/// A box of a picture in pixels of a canvas, cut at its edges; nothing, if nothing is left.
fn on_canvas(bbox: &PixelBox, ImageSize { width, height }: ImageSize, canvas: Canvas) -> Option<PixelBox> {
    let (x, y) = (f64::from(canvas.width()) / f64::from(width), f64::from(canvas.height()) / f64::from(height));
    let scaled = PixelBox::new(bbox.x() * x, bbox.y() * y, bbox.width() * x, bbox.height() * y).ok()?;
    Some(scaled.clipped_to(canvas)).filter(PixelBox::has_area)
}
