//! What is wrong with boxes whatever the caption says: where they lie, and that each is one thing with a name.

use std::collections::HashSet;

use sinopia_layout::{Canvas, LayoutObject, PixelBox};

use super::finding::{BackgroundProblem, BoxProblem, Finding, Problem};
use super::naming::Named;

/// How far a box may leave the canvas and simply be cut, as a share of the canvas side.
const CUT_SHARE: f64 = 0.02;

/// Overlap (intersection over union) from which two boxes are the same place.
const SAME_PLACE_IOU: f64 = 0.9;

/// Overlap (intersection over union) from which two boxes get in each other's way.
const OVERLAP_IOU: f64 = 0.3;

/// The shortest side of a box that can be painted well, as a share of the canvas side: half a cell of the attention grid.
const TINY_SHARE: f64 = 1.0 / 32.0;

/// Boxes one by one.
pub(super) fn find(layout: &Named<'_>) -> Vec<Finding> {
    let mut findings = Vec::new();
    for (object, name) in layout.layout.objects.iter().zip(&layout.boxes) {
        if object.phrase.trim().is_empty() {
            findings.push(Finding::fault(Problem::Boxes(BoxProblem::Unnamed(object.bbox))));
        }
        if name.stands_for_several {
            findings.push(Finding::fault(Problem::Boxes(BoxProblem::SeveralInOne(object.phrase.clone()))));
        }
        findings.extend(place(object, layout.layout.canvas));
    }
    if layout.layout.background.trim().is_empty() {
        findings.push(Finding::remark(Problem::Background(BackgroundProblem::Empty)));
    }
    findings
}

/// Boxes in pairs. Those that `may_overlap` may lie upon each other, unless they are the same.
pub(super) fn find_overlaps(layout: &Named<'_>, may_overlap: &HashSet<(usize, usize)>) -> Vec<Finding> {
    let objects = &layout.layout.objects;
    let mut findings = Vec::new();
    for (a, object) in objects.iter().enumerate() {
        for (b, other) in objects.iter().enumerate().skip(a + 1) {
            let share = object.bbox.iou(&other.bbox);
            let both = || (object.clone(), other.clone());
            if share > SAME_PLACE_IOU {
                let (a, b) = both();
                findings.push(Finding::fault(Problem::Boxes(BoxProblem::SamePlace(a, b))));
            } else if share > OVERLAP_IOU && !may_overlap.contains(&(a, b)) {
                let (a, b) = both();
                findings.push(Finding::remark(Problem::Boxes(BoxProblem::Overlap(a, b))));
            }
        }
    }
    findings
}

/// Where one box lies on the canvas.
fn place(object: &LayoutObject, canvas: Canvas) -> Vec<Finding> {
    let (width, height) = (f64::from(canvas.width()), f64::from(canvas.height()));
    let bbox = &object.bbox;
    let fault = |problem| vec![Finding::fault(Problem::Boxes(problem))];
    if !bbox.has_area() {
        return fault(BoxProblem::NoArea(object.clone()));
    }
    if bbox.width() >= width && bbox.height() >= height {
        return fault(BoxProblem::CoversCanvas(object.clone()));
    }
    let mut findings = match beyond(bbox, width, height) {
        beyond if beyond > CUT_SHARE => fault(BoxProblem::Outside(object.clone(), canvas)),
        beyond if beyond > 0.0 => vec![Finding::remark(Problem::Boxes(BoxProblem::Cut(object.clone(), canvas)))],
        _ => Vec::new(),
    };
    if bbox.width() < width * TINY_SHARE || bbox.height() < height * TINY_SHARE {
        findings.push(Finding::remark(Problem::Boxes(BoxProblem::Tiny(object.clone()))));
    }
    findings
}

/// How far a box leaves the canvas, as a share of the side; negative inside.
fn beyond(bbox: &PixelBox, width: f64, height: f64) -> f64 {
    let across = (-bbox.x()).max(bbox.right() - width) / width;
    let down = (-bbox.y()).max(bbox.bottom() - height) / height;
    across.max(down)
}
