//! What the four numbers of an answer's boxes mean.
//!
//! Models are asked for `[x, y, width, height]` in pixels. Many that see pictures were trained to write corners, in thousandths of the picture or in
//! shares of it, and do so whatever they are asked for. Which it is, is one question for the whole answer: what was asked for holds
//! unless the boxes leave the canvas by more than models usually err and another reading puts them all inside.

use crate::error::Result;
use crate::geometry::{Canvas, PixelBox};

/// The unit of a box's numbers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Scale {
    /// Pixels of the canvas.
    Pixels,
    /// Thousandths of the canvas's width and height, 0..=1000.
    Thousandths,
    /// Shares of the canvas's width and height, 0..=1.
    Shares,
}

/// Which sides the numbers are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Form {
    /// `[x, y, width, height]`
    Sides,
    /// `[x1, y1, x2, y2]`
    Corners,
    /// `[y1, x1, y2, x2]`
    CornersYx,
    /// `[cx, cy, width, height]`
    Centre,
}

/// The numbers of one box as they were written, and what their names say of them.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Numbers {
    /// As they stand.
    pub(super) values: [f64; 4],
    /// Which sides they are, where the keys say so.
    pub(super) form: Option<Form>,
    /// Their unit, where the key says so.
    pub(super) scale: Option<Scale>,
}

/// One way to read all boxes of an answer.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Reading {
    scale: Scale,
    /// For boxes whose keys do not say it.
    form: Form,
    /// Whether another reading would do nearly as well.
    pub(super) is_doubtful: bool,
}

/// What models are asked for.
const ASKED_FOR: (Scale, Form) = (Scale::Pixels, Form::Sides);

/// Other readings, the likelier first: whoever writes thousandths was trained on corners, whoever writes shares was told of sides.
const OTHERS: [(Scale, Form); 5] = [
    (Scale::Pixels, Form::Corners),
    (Scale::Thousandths, Form::Corners),
    (Scale::Thousandths, Form::Sides),
    (Scale::Shares, Form::Sides),
    (Scale::Shares, Form::Corners),
];

/// What lies outside in an answer of pixels that errs: of the 800 published answers to LMD's benchmark, the worst (four bowls in a row) has 22 %.
const USUAL_MISFIT: f64 = 0.25;
/// What lies outside in an answer that surely means no pixels.
const SURE_MISFIT: f64 = 0.6;
/// What lies outside in a reading that explains an answer.
const GOOD_MISFIT: f64 = 0.03;
/// A second reading that fits as well as this makes the first one a guess.
const RIVAL_MISFIT: f64 = 0.06;
/// On a canvas of fewer pixels a share may be a pixel; nobody asks for one.
const SMALLEST_CANVAS: f64 = 64.0;
/// What a coordinate in pixels may be beyond the edge, as a share of the side.
const EDGE_TOLERANCE: f64 = 0.02;
/// Numbers of shares go to 1, and a rounding error beyond.
const LARGEST_SHARE: f64 = 1.02;
/// Numbers of thousandths go to 1000, and a rounding error beyond.
const LARGEST_THOUSANDTH: f64 = 1001.0;

impl Reading {
    /// The reading of an answer's boxes on `canvas`.
    pub(super) fn of(boxes: &[Numbers], canvas: Canvas) -> Self {
        let asked_for = Self { scale: ASKED_FOR.0, form: ASKED_FOR.1, is_doubtful: false };
        // An empty list of numbers says nothing.
        let boxes: Vec<Numbers> = boxes.iter().copied().filter(|numbers| numbers.values != [0.0; 4]).collect();
        let boxes = boxes.as_slice();
        let largest = boxes.iter().flat_map(|numbers| numbers.values).fold(0.0, f64::max);
        let (width, height) = canvas.sides();
        if largest <= 0.0 || width.min(height) < SMALLEST_CANVAS {
            return asked_for;
        }
        let fits = |(scale, form): (Scale, Form)| {
            let reading = Self { scale, form, is_doubtful: false };
            reading.is_possible(boxes, largest, canvas).then(|| (reading, reading.misfit(boxes, canvas)))
        };
        let first = fits(ASKED_FOR);
        if first.is_some_and(|(_, misfit)| misfit <= USUAL_MISFIT) {
            return asked_for;
        }
        let mut others: Vec<(Self, f64)> = OTHERS.into_iter().filter_map(fits).collect();
        others.sort_by(|(_, a), (_, b)| a.total_cmp(b)); // stable: of readings that fit as well the likelier stays first
        let Some(&(best, misfit)) = others.first() else { return asked_for };
        // Where pixels are not possible something else has to be right.
        if first.is_some() && misfit > GOOD_MISFIT {
            return asked_for;
        }
        let is_rival = |(rival, misfit): &(Self, f64)| {
            *misfit <= RIVAL_MISFIT && boxes.iter().any(|numbers| best.differs(rival, numbers))
        };
        let may_be_pixels = first.is_some_and(|(asked_for, misfit)| {
            misfit < SURE_MISFIT && boxes.iter().any(|numbers| best.differs(&asked_for, numbers))
        });
        let is_doubtful = others[1..].iter().any(is_rival) || may_be_pixels || misfit > SURE_MISFIT;
        Self { is_doubtful, ..best }
    }

    /// Whether the numbers can have this unit, by their keys and their size.
    fn is_possible(self, boxes: &[Numbers], largest: f64, canvas: Canvas) -> bool {
        let (width, height) = canvas.sides();
        let is_tiny = largest <= LARGEST_SHARE;
        let by_size = match self.scale {
            Scale::Shares => is_tiny,
            Scale::Pixels => !is_tiny,
            Scale::Thousandths => {
                // A row of boxes that runs over the edge has no such number, and on a canvas of about a thousand pixels there is little difference.
                let is_beyond = |numbers: &Numbers| {
                    let sides = [width, height, width, height];
                    numbers.values.iter().zip(sides).any(|(value, side)| *value > side * (1.0 + EDGE_TOLERANCE))
                };
                !is_tiny && largest <= LARGEST_THOUSANDTH && width.min(height) < 900.0 && boxes.iter().any(is_beyond)
            }
        };
        let declared = boxes.iter().find_map(|numbers| numbers.scale);
        let by_name = declared.is_none_or(|scale| scale == self.scale);
        // A name tells more than a size, but for shares under the name of thousandths.
        if declared.is_some() && !is_tiny { by_name } else { by_size }
    }

    /// The part of the boxes that lies outside the canvas, 0..=1 a box on average; 1 for one without area.
    fn misfit(self, boxes: &[Numbers], canvas: Canvas) -> f64 {
        let outside = boxes.iter().map(|numbers| {
            let Ok(bbox) = self.unordered(numbers, canvas) else { return 1.0 };
            if !bbox.has_area() {
                return 1.0;
            }
            1.0 - bbox.clipped_to(canvas).area() / bbox.area()
        });
        outside.sum::<f64>() / boxes.len().max(1) as f64
    }

    /// Whether two readings make different boxes of the same numbers.
    fn differs(self, other: &Self, numbers: &Numbers) -> bool {
        self.scale != other.scale || numbers.form.unwrap_or(self.form) != numbers.form.unwrap_or(other.form)
    }

    /// The box of four numbers in pixels, corners in either order.
    ///
    /// # Errors
    /// As [`PixelBox::new`].
    pub(super) fn bbox(self, numbers: &Numbers, canvas: Canvas) -> Result<PixelBox> {
        let bbox = self.unordered(numbers, canvas)?;
        if matches!(numbers.form.unwrap_or(self.form), Form::Sides | Form::Centre) {
            return Ok(bbox);
        }
        let (x, y) = (bbox.x().min(bbox.right()), bbox.y().min(bbox.bottom()));
        PixelBox::new(x, y, bbox.width().abs(), bbox.height().abs())
    }

    fn unordered(self, numbers: &Numbers, canvas: Canvas) -> Result<PixelBox> {
        let (width, height) = canvas.sides();
        let (across, down) = match self.scale {
            Scale::Pixels => (1.0, 1.0),
            Scale::Thousandths => (width / 1000.0, height / 1000.0),
            Scale::Shares => (width, height),
        };
        let [a, b, c, d] = numbers.values;
        let (x, y, w, h) = match numbers.form.unwrap_or(self.form) {
            Form::Sides => (a, b, c, d),
            Form::Corners => (a, b, c - a, d - b),
            Form::CornersYx => (b, a, d - b, c - a),
            Form::Centre => (a - c / 2.0, b - d / 2.0, c, d),
        };
        PixelBox::new(x * across, y * down, w * across, h * down)
    }

    /// Whether nothing but their size says that the numbers are thousandths.
    pub(super) fn is_scale_guessed(self, boxes: &[Numbers]) -> bool {
        self.scale == Scale::Thousandths && boxes.iter().all(|numbers| numbers.scale.is_none())
    }

    /// What is told of the reading, if it is another than what was asked for.
    pub(super) fn note(self, boxes: &[Numbers], canvas: Canvas) -> Option<String> {
        let form = boxes.first().and_then(|numbers| numbers.form).unwrap_or(self.form);
        if (self.scale, form) == ASKED_FOR || boxes.iter().all(|numbers| numbers.values == [0.0; 4]) {
            return None;
        }
        let form = match form {
            Form::Sides => "[x, y, width, height]",
            Form::Corners => "corners [x1, y1, x2, y2]",
            Form::CornersYx => "corners [y1, x1, y2, x2]",
            Form::Centre => "centres and sides [cx, cy, width, height]",
        };
        let scale = match self.scale {
            Scale::Pixels => "pixels",
            Scale::Thousandths => "thousandths of the picture, 0 to 1000",
            Scale::Shares => "shares of the picture, 0 to 1",
        };
        let doubt = if self.is_doubtful { "; this is a guess, another reading fits as well" } else { "" };
        Some(format!("its boxes are read as {form} in {scale}, on a canvas of {canvas}{doubt}"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(boxes: &[[f64; 4]], canvas: Canvas, expected: (Scale, Form), is_doubtful: bool) {
        let numbers: Vec<Numbers> =
            boxes.iter().map(|values| Numbers { values: *values, form: None, scale: None }).collect();
        let reading = Reading::of(&numbers, canvas);
        assert_eq!(
            (reading.scale, reading.form, reading.is_doubtful),
            (expected.0, expected.1, is_doubtful),
            "{boxes:?}"
        );
    }

    #[test]
    fn what_was_asked_for_holds_unless_it_cannot_be() {
        let canvas = Canvas::PUBLISHED;
        for boxes in [
            &[[40., 210., 200., 215.], [290., 256., 170., 164.]][..],
            &[[1., -2., 3.5, 4.]],
            &[[300., 330., 230., 80.]],
            &[[500., 1., 90., 9.]],
            &[[10., 10., 510., 510.]],
            &[[50., 200., 100., 100.], [200., 200., 100., 100.], [350., 200., 100., 100.], [500., 200., 100., 100.]],
            &[[0., 0., 0., 0.]],
            &[[0., 0., 2., 2.]],
            &[[0., 0., 1e5, 1e5]],
            &[],
        ] {
            check(boxes, canvas, ASKED_FOR, false);
        }
        check(&[[900., 900., 100., 100.]], Canvas::new(1024, 1024).unwrap(), ASKED_FOR, false);
    }

    #[test]
    fn the_whole_answer_is_the_evidence() {
        let canvas = Canvas::PUBLISHED;
        let thousandths = |form| (Scale::Thousandths, form);
        check(&[[40., 210., 240., 425.], [290., 256., 460., 420.]], canvas, (Scale::Pixels, Form::Corners), true);
        check(&[[40., 210., 240., 425.]], canvas, (Scale::Pixels, Form::Corners), true);
        check(&[[80., 410., 460., 830.], [560., 500., 900., 820.]], canvas, thousandths(Form::Corners), false);
        check(&[[80., 410., 380., 420.], [560., 500., 340., 320.]], canvas, thousandths(Form::Sides), false);
        check(&[[0.08, 0.41, 0.38, 0.42], [0.56, 0.5, 0.34, 0.32]], canvas, (Scale::Shares, Form::Sides), false);
        check(&[[0.08, 0.41, 0.46, 0.83], [0.56, 0.5, 0.9, 0.82]], canvas, (Scale::Shares, Form::Corners), false);
        check(&[[0.1, 0.2, 0.5, 0.6]], canvas, (Scale::Shares, Form::Sides), true);
    }

    #[test]
    fn names_decide_where_they_say_something() {
        let canvas = Canvas::new(1000, 500).unwrap();
        let numbers = |values, form, scale| Numbers { values, form: Some(form), scale };
        let gemini = [numbers([100., 200., 300., 400.], Form::CornersYx, Some(Scale::Thousandths))];
        let reading = Reading::of(&gemini, canvas);
        assert_eq!(reading.bbox(&gemini[0], canvas).unwrap(), PixelBox::new(200., 50., 200., 100.).unwrap());
        assert!(!reading.is_doubtful);
        assert_eq!(
            reading.note(&gemini, canvas).unwrap(),
            "its boxes are read as corners [y1, x1, y2, x2] in thousandths of the picture, 0 to 1000, on a canvas of 1000×500"
        );
        let turned = [numbers([300., 200., 100., 50.], Form::Corners, None)];
        let bbox = Reading::of(&turned, canvas).bbox(&turned[0], canvas).unwrap();
        assert_eq!(bbox, PixelBox::new(100., 50., 200., 150.).unwrap());
    }
}
