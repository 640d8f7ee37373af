//! A detector as somebody who looks for what is meant.

use image::RgbImage;
use sinopia_layout::{BBox, Canvas, Layout, LayoutObject, PixelBox};

use super::find::words;
use super::{Object, ObjectSearch, Sighting};
use crate::Result;
use crate::verdict::{ObjectState, ObjectVerdict, Program, Verdict};

/// What was seen overlaps its box so much at least, or it is something else.
const NEAR: f64 = 0.2;

/// Somebody who looks, and the picture.
pub struct DetectorSearch<'a> {
    /// [`Look::look`](crate::verdict::Look::look) of who looks, who may be opened only then.
    pub look: &'a dyn Fn(&RgbImage, &Program) -> Result<Verdict>,
    /// The picture.
    pub image: &'a RgbImage,
}

impl ObjectSearch for DetectorSearch<'_> {
    /// As in a verdict on a picture that is to show one such thing: where it is, and where there are more.
    fn search(&self, phrase: &str) -> Result<Vec<Object>> {
        let (width, height) = self.image.dimensions();
        let (Ok(canvas), Ok(bbox)) = (Canvas::new(width, height), PixelBox::new(0.0, 0.0, width.into(), height.into()))
        else {
            return Ok(Vec::new());
        };
        let wanted = LayoutObject { phrase: phrase.to_owned(), bbox };
        let layout = Layout { canvas, objects: vec![wanted], background: String::new(), negative: String::new() };
        let program = Program::compile(&layout, None).without_places();
        let verdict = (self.look)(self.image, &program)?;
        let is_there = |state| matches!(state, ObjectState::Right | ObjectState::Misplaced);
        let first = verdict.objects.iter().filter(|object| is_there(object.state)).filter_map(|object| object.detected);
        // Further things of the kind are told whatever their colour.
        let is_coloured = program.objects().iter().any(|object| !object.colours.is_empty());
        let further = verdict.extra.iter().filter(|seen| !is_coloured || words(&seen.phrase) == words(phrase));
        let boxes = first.chain(further.map(|seen| seen.bbox));
        let object = |bbox: PixelBox| {
            let bbox = BBox::from_clipped(&bbox, canvas)?;
            Some(Object { phrase: phrase.to_owned(), bbox })
        };
        Ok(boxes.filter_map(object).collect())
    }

    fn seen(&self, layout: &Layout) -> Result<Vec<Sighting>> {
        let verdict = (self.look)(self.image, &Program::compile(layout, None))?;
        Ok(verdict.objects.iter().map(|object| sighting(object, layout.canvas)).collect())
    }
}

fn sighting(object: &ObjectVerdict, canvas: Canvas) -> Sighting {
    let detected = object.detected.and_then(|bbox| BBox::from_clipped(&bbox, canvas));
    match (object.state, detected) {
        (_, Some(bbox)) if object.iou >= NEAR => Sighting::Near(bbox),
        (ObjectState::Misplaced, Some(bbox)) => Sighting::Elsewhere(bbox),
        (ObjectState::Missing, _) => Sighting::Nowhere,
        _ => Sighting::Unsure,
    }
}
