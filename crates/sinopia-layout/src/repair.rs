//! Repairs what LLMs and people get wrong about boxes, and says what it changed.
//!
//! After a repair every box has area and lies inside the canvas, in both modes.

use std::fmt;

use crate::error::Error;
use crate::geometry::{Canvas, PixelBox};
use crate::layout::{Layout, LayoutObject};
use crate::wording::{excerpt, says_something};

/// How boxes that leave the canvas are brought back.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum RepairMode {
    /// Each box is cut at the edge of the canvas; the others stay as they are.
    #[default]
    Clip,
    /// The published rule: if any box leaves the canvas, *all* boxes are moved to the left edge and scaled together
    /// (by at most 3) to span the canvas, then rounded to whole pixels.
    Published {
        /// Scale also when every box is inside. The published commands do not.
        scale: bool,
    },
}

/// Largest factor by which the published rule enlarges boxes.
const MAX_SCALE: f64 = 3.0;

/// Shortest side of a box worth painting, in pixels.
const MIN_SIDE: f64 = 1.0;

/// Everything that a repair changed, in the order in which it did.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct RepairReport {
    /// The changes.
    pub changes: Vec<Change>,
}

/// One change to a layout.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub enum Change {
    /// Blanks or trailing full stops were removed from a name.
    Renamed {
        /// The name as it was.
        from: String,
        /// The name now.
        to: String,
    },
    /// A name was cut to [`Layout::MAX_PHRASE_CHARS`].
    Shortened {
        /// How many characters it had.
        length: usize,
        /// The name now.
        to: String,
    },
    /// The background or the negative caption was cut to [`Layout::MAX_CAPTION_CHARS`].
    CaptionShortened {
        /// Which of them.
        which: &'static str,
        /// How many characters it had.
        length: usize,
    },
    /// An object was left out.
    Dropped {
        /// Its name.
        phrase: String,
        /// Its box in pixels as it was.
        bbox: PixelBox,
        /// Why.
        reason: DropReason,
    },
    /// A box was cut at the edge of the canvas.
    Clipped {
        /// The object's name.
        phrase: String,
        /// The box in pixels as it was.
        from: PixelBox,
        /// The box in pixels now.
        to: PixelBox,
    },
    /// All boxes were moved and scaled together.
    Rescaled {
        /// The factor, the same for both axes.
        factor: f64,
        /// Whether a box outside the canvas forced this, rather than the options asking for it.
        forced: bool,
    },
    /// A box was moved, scaled or rounded by the published rule.
    Moved {
        /// The object's name.
        phrase: String,
        /// The box in pixels as it was.
        from: PixelBox,
        /// The box in pixels now.
        to: PixelBox,
    },
}

/// Why an object was left out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum DropReason {
    /// Its name is empty, or nothing but punctuation.
    EmptyPhrase,
    /// Its width or height is zero or less.
    NoArea,
    /// It is as wide and as high as the canvas, so it is a background, not an object.
    CoversCanvas,
    /// Nothing of it lies on the canvas.
    OutsideCanvas,
    /// What lies on the canvas is less than a pixel wide or high.
    TooSmall,
}

/// Repairs a layout in the default mode, [`RepairMode::Clip`].
pub fn repair(layout: Layout) -> (Layout, RepairReport) {
    repair_with(layout, RepairMode::default())
}

/// Repairs a layout: names are trimmed, boxes without name or area and boxes that are backgrounds are dropped, and the
/// rest is brought inside the canvas as `mode` says.
///
/// # Source
/// TonyLianLong/LLM-groundedDiffusion@cef2a90:utils/parse.py for [`RepairMode::Published`] and the background rule.
pub fn repair_with(layout: Layout, mode: RepairMode) -> (Layout, RepairReport) {
    let mut report = RepairReport::default();
    let canvas = layout.canvas;
    let named = layout.objects.into_iter().map(|object| trim_name(object, &mut report)).collect();
    let mut objects = keep(named, &mut report, |object| early_reason(object, canvas, mode));
    if let RepairMode::Published { scale } = mode {
        rescale(&mut objects, canvas, scale, &mut report);
    }
    for object in &mut objects {
        clip(object, canvas, &mut report);
    }
    let objects = keep(objects, &mut report, late_reason);
    let background = short_caption("background", layout.background, &mut report);
    let negative = short_caption("negative caption", layout.negative, &mut report);
    (Layout { canvas, objects, background, negative }, report)
}

/// Why a layout with boxes has none that can be painted, if that is so. A box over the whole canvas does not count: that is a background, and models
/// draw it where the caption asks for nothing.
pub fn lost_all(layout: &Layout) -> Option<Error> {
    let (repaired, report) = repair(layout.clone());
    let mut dropped = report.changes.iter().filter_map(|change| match change {
        Change::Dropped { phrase, reason, .. } if *reason != DropReason::CoversCanvas => {
            Some((phrase, reason.to_string()))
        }
        _ => None,
    });
    let (phrase, reason) = dropped.next().filter(|_| repaired.objects.is_empty())?;
    let phrase = name(phrase).into_owned();
    Some(Error::AllBoxesLost { found: layout.objects.len(), phrase, reason })
}

impl RepairReport {
    /// Whether the layout needed no repair.
    pub fn is_empty(&self) -> bool {
        self.changes.is_empty()
    }
}

/// Removes white space around and trailing full stops behind a name; white space inside becomes single spaces, and what is too long is cut.
fn trim_name(object: LayoutObject, report: &mut RepairReport) -> LayoutObject {
    let words: Vec<&str> = object.phrase.split_whitespace().collect();
    let mut phrase = words.join(" ").trim_end_matches(['.', ' ']).to_owned();
    let length = phrase.chars().count();
    if length > Layout::MAX_PHRASE_CHARS {
        phrase =
            phrase.chars().take(Layout::MAX_PHRASE_CHARS).collect::<String>().trim_end_matches(['.', ' ']).to_owned();
        report.changes.push(Change::Shortened { length, to: phrase.clone() });
    } else if phrase != object.phrase && !phrase.is_empty() {
        report.changes.push(Change::Renamed { from: object.phrase, to: phrase.clone() });
    }
    LayoutObject { phrase, bbox: object.bbox }
}

/// A caption that is cut if it is too long.
fn short_caption(which: &'static str, text: String, report: &mut RepairReport) -> String {
    match text.char_indices().nth(Layout::MAX_CAPTION_CHARS) {
        Some((end, _)) => {
            report.changes.push(Change::CaptionShortened { which, length: text.chars().count() });
            text[..end].trim_end().to_owned()
        }
        None => text,
    }
}

/// Keeps the objects without a reason to drop them and reports the others.
fn keep(
    objects: Vec<LayoutObject>,
    report: &mut RepairReport,
    reason: impl Fn(&LayoutObject) -> Option<DropReason>,
) -> Vec<LayoutObject> {
    let mut kept = Vec::with_capacity(objects.len());
    for object in objects {
        match reason(&object) {
            None => kept.push(object),
            Some(reason) => report.changes.push(Change::Dropped { phrase: object.phrase, bbox: object.bbox, reason }),
        }
    }
    kept
}

/// Reasons that hold before boxes are moved.
fn early_reason(object: &LayoutObject, canvas: Canvas, mode: RepairMode) -> Option<DropReason> {
    let bbox = &object.bbox;
    let (width, height) = canvas.sides();
    let starts_outside = bbox.x() > width || bbox.y() > height;
    // The published rule knows no other way of lying outside: it moves such boxes in.
    let lies_outside = starts_outside || (mode == RepairMode::Clip && !bbox.clipped_to(canvas).has_area());
    if !says_something(&object.phrase) {
        Some(DropReason::EmptyPhrase)
    } else if !bbox.has_area() {
        Some(DropReason::NoArea)
    } else if lies_outside {
        Some(DropReason::OutsideCanvas) // also if it is as large as the canvas
    } else {
        (bbox.width() >= width && bbox.height() >= height).then_some(DropReason::CoversCanvas)
    }
}

/// Reasons that hold once boxes are inside.
fn late_reason(object: &LayoutObject) -> Option<DropReason> {
    let too_small = object.bbox.width() < MIN_SIDE || object.bbox.height() < MIN_SIDE;
    too_small.then_some(DropReason::TooSmall)
}

fn clip(object: &mut LayoutObject, canvas: Canvas, report: &mut RepairReport) {
    let from = object.bbox;
    let to = from.clipped_to(canvas);
    if to != from {
        object.bbox = to;
        report.changes.push(Change::Clipped { phrase: object.phrase.clone(), from, to });
    }
}

/// The published rule for boxes outside the canvas, its oddities included.
fn rescale(objects: &mut [LayoutObject], canvas: Canvas, scale: bool, report: &mut RepairReport) {
    let forced = objects.iter().any(|object| !object.bbox.is_inside(canvas));
    let factor = (forced || scale).then(|| Rescaling::of(objects, canvas)).flatten();
    if let Some(rescaling) = &factor {
        report.changes.push(Change::Rescaled { factor: rescaling.factor, forced });
    }
    for object in objects {
        let from = object.bbox;
        let scaled = factor.as_ref().map_or(from, |rescaling| rescaling.apply(&from));
        let to = rounded(&scaled);
        if to != from {
            object.bbox = to;
            report.changes.push(Change::Moved { phrase: object.phrase.clone(), from, to });
        }
    }
}

/// `x' = (x − left)·factor`, `y' = y·factor + offset`, sides times factor.
struct Rescaling {
    factor: f64,
    left: f64,
    offset: f64,
}

impl Rescaling {
    /// Fits the union of the boxes to the canvas; `None` if there is no union to fit.
    fn of(objects: &[LayoutObject], canvas: Canvas) -> Option<Self> {
        let (width, height) = canvas.sides();
        let edge = |edge: fn(&PixelBox) -> f64| objects.iter().map(move |object| edge(&object.bbox));
        let left = edge(PixelBox::x).reduce(f64::min)?;
        let top = edge(PixelBox::y).reduce(f64::min)?;
        let right = edge(PixelBox::right).reduce(f64::max)?;
        let bottom = edge(PixelBox::bottom).reduce(f64::max)?;
        let factor = (width / (right - left)).min(height / (bottom - top)).min(MAX_SCALE);
        let mut offset = 0.0;
        if top * factor < 0.0 {
            offset -= top * factor;
        }
        // Oddity kept: the first offset counts in the test and again in the sum.
        if bottom * factor + offset >= height {
            offset -= bottom * factor - height;
        }
        Some(Rescaling { factor, left, offset })
    }

    fn apply(&self, bbox: &PixelBox) -> PixelBox {
        let x = (bbox.x() - self.left) * self.factor;
        let y = bbox.y() * self.factor + self.offset;
        let (width, height) = (bbox.width() * self.factor, bbox.height() * self.factor);
        // Oddity kept: a box cut at the top edge grows by what was cut instead of shrinking.
        let (y, height) = if y < 0.0 { (0.0, height - y) } else { (y, height) };
        PixelBox::new(x, y, width, height).unwrap_or(*bbox)
    }
}

/// Whole pixels, half to even.
fn rounded(bbox: &PixelBox) -> PixelBox {
    let [x, y, width, height] = [bbox.x(), bbox.y(), bbox.width(), bbox.height()].map(f64::round_ties_even);
    PixelBox::new(x, y, width, height).unwrap_or(*bbox)
}

impl fmt::Display for DropReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            DropReason::EmptyPhrase => "it has no name",
            DropReason::NoArea => "it has no area",
            DropReason::CoversCanvas => "it is as large as the canvas, which makes it a background",
            DropReason::OutsideCanvas => "it lies outside the canvas",
            DropReason::TooSmall => "less than a pixel of it is left",
        })
    }
}

impl fmt::Display for Change {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Change::Renamed { from, to } => write!(f, "renamed `{}` to `{}`", name(from), name(to)),
            Change::Shortened { length, to } => {
                let max = Layout::MAX_PHRASE_CHARS;
                write!(f, "cut a name of {length} characters to its first {max}: `{}`", name(to))
            }
            Change::CaptionShortened { which, length } => {
                write!(f, "cut the {which} of {length} characters to its first {}", Layout::MAX_CAPTION_CHARS)
            }
            Change::Dropped { phrase, bbox, reason } if phrase.is_empty() => {
                write!(f, "dropped the box {}: {reason}", short(bbox))
            }
            Change::Dropped { phrase, bbox, reason } => {
                write!(f, "dropped `{}` {}: {reason}", name(phrase), short(bbox))
            }
            Change::Clipped { phrase, from, to } => {
                write!(f, "cut `{}` at the edge of the canvas: {} to {}", name(phrase), short(from), short(to))
            }
            Change::Rescaled { factor, forced } => {
                let why = if *forced { "a box left the canvas" } else { "asked for" };
                write!(f, "moved all boxes to the left edge and scaled them by {factor:.3} ({why})")
            }
            Change::Moved { phrase, from, to } => {
                write!(f, "moved `{}` from {} to {}", name(phrase), short(from), short(to))
            }
        }
    }
}

/// A name that may be long, for people.
fn name(phrase: &str) -> std::borrow::Cow<'_, str> {
    excerpt(phrase, 80)
}

/// A box with at most two decimals, for people.
fn short(bbox: &PixelBox) -> String {
    let decimals = |value: f64| (value * 100.0).round() / 100.0 + 0.0; // no `-0`
    let [x, y, width, height] = [bbox.x(), bbox.y(), bbox.width(), bbox.height()].map(decimals);
    format!("[{x}, {y}, {width}, {height}]")
}

/// One change a line; nothing if there was none.
impl fmt::Display for RepairReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let lines: Vec<String> = self.changes.iter().map(Change::to_string).collect();
        f.write_str(&lines.join("\n"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::parse::parse_answer;

    fn layout(boxes: &[(&str, [f64; 4])]) -> Layout {
        let objects = boxes.iter().map(|&(phrase, [x, y, width, height])| LayoutObject {
            phrase: phrase.to_owned(),
            bbox: PixelBox::new(x, y, width, height).unwrap(),
        });
        Layout {
            canvas: Canvas::PUBLISHED,
            objects: objects.collect(),
            background: String::new(),
            negative: String::new(),
        }
    }

    fn boxes(layout: &Layout) -> Vec<[f64; 4]> {
        layout.objects.iter().map(|o| [o.bbox.x(), o.bbox.y(), o.bbox.width(), o.bbox.height()]).collect()
    }

    fn published(boxes_before: &[[f64; 4]], scale: bool) -> Vec<[f64; 4]> {
        let named: Vec<_> = boxes_before.iter().map(|&bbox| ("a", bbox)).collect();
        boxes(&repair_with(layout(&named), RepairMode::Published { scale }).0)
    }

    /// Expected boxes come from an independent computation of the published rule.
    #[test]
    fn published_scaling_is_forced_by_a_box_outside() {
        assert_eq!(
            published(&[[51., 67., 271., 324.], [302., 119., 211., 228.]], false),
            [[0., 74., 300., 359.], [278., 132., 234., 253.]]
        );
        assert_eq!(
            published(&[[70., 200., 150., 200.], [220., 200., 150., 200.], [370., 200., 150., 200.]], false),
            [[0., 228., 171., 228.], [171., 228., 171., 228.], [341., 228., 171., 228.]]
        );
    }

    #[test]
    fn published_scaling_is_optional_for_boxes_inside() {
        let inside = [[100., 100., 100., 100.]];
        assert_eq!(published(&inside, false), inside);
        assert_eq!(published(&inside, true), [[0., 212., 300., 300.]]); // three times as large, flushed left, floor at 512
        assert_eq!(published(&[[0.5, 1.5, 2.5, 3.5]], false), [[0., 2., 2., 4.]]);
        assert_eq!(published(&[], true), [[0.; 4]; 0]);
    }

    #[test]
    fn published_scaling_of_boxes_above_the_canvas_moves_them_down() {
        assert_eq!(published(&[[0., -100., 200., 300.]], false), [[0., 171., 341., 341.]]);
    }

    #[test]
    fn endless_names_are_cut_and_told_in_short() {
        let endless = "a very red ball ".repeat(5000);
        let (repaired, report) = repair(layout(&[(&endless, [0., 0., 50., 50.]), ("a dog", [0., 0., 50., 50.])]));
        assert_eq!(repaired.objects[0].phrase.chars().count(), Layout::MAX_PHRASE_CHARS);
        assert_eq!(repaired.objects[1].phrase, "a dog");
        let message = report.to_string();
        assert!(
            message.starts_with("cut a name of 79999 characters to its first 300: `a very red ball a"),
            "{message}"
        );
        assert!(message.chars().count() < 200, "{message}");
        assert!(repair(repaired).1.is_empty(), "a repaired layout needs no repair");
    }

    #[test]
    fn endless_captions_are_cut_and_told() {
        let mut endless = layout(&[("a dog", [0., 0., 50., 50.])]);
        (endless.background, endless.negative) = ("é".repeat(5000), "x".repeat(4000));
        let (repaired, report) = repair(endless);
        assert_eq!((repaired.background.chars().count(), repaired.negative.len()), (4000, 4000));
        assert_eq!(report.to_string(), "cut the background of 5000 characters to its first 4000");
    }

    #[test]
    fn boxes_are_cut_one_by_one() {
        let (repaired, report) = repair(layout(&[
            ("a dog", [51., 67., 271., 324.]),
            ("a cat. ", [302., 119., 211., 228.]),
            (" a  red   ball", [-10., -20., 50., 60.]),
            ("a forest", [0., 0., 512., 512.]),
            ("a bird", [600., 20., 40., 40.]),
            ("a cup", [600., 500., 950., 800.]),
            ("a fish", [-90., 20., 40., 40.]),
            ("a line", [10., 10., 0., 100.]),
            ("a dot", [511.5, 10., 20., 20.]),
            ("...", [1., 1., 20., 20.]),
            ("?!", [1., 1., 20., 20.]),
        ]));
        assert_eq!(boxes(&repaired), [[51., 67., 271., 324.], [302., 119., 210., 228.], [0., 0., 40., 40.]]);
        insta::assert_snapshot!(report, @r"
        renamed `a cat. ` to `a cat`
        renamed ` a  red   ball` to `a red ball`
        dropped `a forest` [0, 0, 512, 512]: it is as large as the canvas, which makes it a background
        dropped `a bird` [600, 20, 40, 40]: it lies outside the canvas
        dropped `a cup` [600, 500, 950, 800]: it lies outside the canvas
        dropped `a fish` [-90, 20, 40, 40]: it lies outside the canvas
        dropped `a line` [10, 10, 0, 100]: it has no area
        dropped the box [1, 1, 20, 20]: it has no name
        dropped `?!` [1, 1, 20, 20]: it has no name
        cut `a cat` at the edge of the canvas: [302, 119, 211, 228] to [302, 119, 210, 228]
        cut `a red ball` at the edge of the canvas: [-10, -20, 50, 60] to [0, 0, 40, 40]
        cut `a dot` at the edge of the canvas: [511.5, 10, 20, 20] to [511.5, 10, 0.5, 20]
        dropped `a dot` [511.5, 10, 0.5, 20]: less than a pixel of it is left
        ");
    }

    #[test]
    fn a_good_layout_is_left_alone() {
        let good = layout(&[("a dog", [0.1, 0.2, 511.9, 511.8]), ("a cat", [0., 511., 512., 1.])]);
        let (repaired, report) = repair(good.clone());
        assert_eq!(repaired, good);
        assert!(report.is_empty());
    }

    #[test]
    fn the_published_report_names_every_move() {
        let (_, report) = repair_with(
            layout(&[("a dog", [51., 67., 271., 324.]), ("a cat", [302., 119., 211., 228.])]),
            RepairMode::Published { scale: false },
        );
        insta::assert_snapshot!(report, @r"
        moved all boxes to the left edge and scaled them by 1.108 (a box left the canvas)
        moved `a dog` from [51, 67, 271, 324] to [0, 74, 300, 359]
        moved `a cat` from [302, 119, 211, 228] to [278, 132, 234, 253]
        ");
    }

    #[test]
    fn a_layout_that_lost_its_boxes_says_so() {
        let lost = |text: &str| lost_all(&parse_answer(text).unwrap()).map(|error| error.to_string());
        let outside = lost("[('a dog', [2000, 10, 20, 20]), ('', [1, 1, 9, 9])]\nBackground: A").unwrap();
        assert_eq!(
            outside,
            "none of its boxes can be painted: `a dog` is left out, as it lies outside the canvas, and so are 1 more"
        );
        assert!(lost("[('a dog', [])]\nBackground: A").is_some());
        for kept in ["[]", "[('a dog', [1, 2, 30, 40]), ('a cat', [])]", "[('a room', [0, 0, 512, 512])]"] {
            assert_eq!(lost(&format!("{kept}\nBackground: A")), None);
        }
    }
}
