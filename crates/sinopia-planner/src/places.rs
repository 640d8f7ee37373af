//! Boxes moved to where the caption says that things stand.
//!
//! A small model places many things well and one of them on the wrong side. Few moves repair that: two boxes change places, or one changes sides. Of those that touch a
//! thing that stands wrong, the one that leaves the layout with the least wrong is made, until nothing is gained.

use sinopia_layout::{Canvas, Layout, PixelBox};

use crate::checks::{self, Finding, Reading, Said};

/// More moves than this repair no layout.
const MOST_MOVES: usize = 6;

/// Things whose moves are tried at once; of more than that, none alone makes a difference.
const MOST_MISPLACED: usize = 4;

/// `layout` with the fewest things in wrong places that a few moves can reach.
pub(crate) fn put_in_place(caption: &str, layout: Layout) -> Layout {
    let mut best = layout;
    let said = Said::of(caption);
    let mut findings = said.check(&best);
    for _ in 0..MOST_MOVES {
        let misplaced = misplaced(&findings, &best);
        let tried = misplaced.iter().flat_map(|&index| moves(&best, index)).map(|layout| {
            let findings = said.check(&layout);
            (checks::penalty(&findings), layout, findings)
        });
        match tried.min_by(|a, b| a.0.total_cmp(&b.0)) {
            Some((penalty, layout, found)) if penalty < checks::penalty(&findings) => {
                (best, findings) = (layout, found)
            }
            _ => break,
        }
    }
    best
}

/// The objects that findings about places speak of.
fn misplaced(findings: &[Finding], layout: &Layout) -> Vec<usize> {
    let nouns = findings.iter().flat_map(|finding| match finding {
        Finding::Relation { subject, object, .. } => vec![subject, object],
        Finding::Place { subject, .. } => vec![subject],
        _ => Vec::new(),
    });
    let reading = Reading::of(layout);
    let boxes: Vec<_> = nouns.flat_map(|noun| reading.boxes_of(noun)).collect();
    let is_named = |&index: &usize| boxes.iter().any(|found| std::ptr::eq(*found, &layout.objects[index]));
    (0..layout.objects.len()).filter(is_named).take(MOST_MISPLACED).collect()
}

/// The layouts in which one object has another's place, or stands on the other side.
fn moves(layout: &Layout, index: usize) -> Vec<Layout> {
    let (width, height) = (f64::from(layout.canvas.width()), f64::from(layout.canvas.height()));
    let (x, y) = layout.objects[index].bbox.center();
    let with = |placed: &[(usize, (f64, f64))]| {
        let mut layout = layout.clone();
        for &(object, center) in placed {
            layout.objects[object].bbox = moved_to(center, &layout.objects[object].bbox, layout.canvas)?;
        }
        Some(layout)
    };
    let mirrored = [(width - x, y), (x, height - y), (width - x, height - y)].map(|center| with(&[(index, center)]));
    let others = (0..layout.objects.len()).filter(|&other| other != index);
    let swapped = others.map(|other| with(&[(index, layout.objects[other].bbox.center()), (other, (x, y))]));
    mirrored.into_iter().chain(swapped).flatten().collect()
}

/// A box with another centre, moved inside where it would leave the canvas.
fn moved_to(center: (f64, f64), bbox: &PixelBox, canvas: Canvas) -> Option<PixelBox> {
    let (x, y) = center;
    let start =
        |center: f64, length: f64, side: u32| (center - length / 2.0).clamp(0.0, (f64::from(side) - length).max(0.0));
    let left = start(x, bbox.width(), canvas.width()).round();
    let top = start(y, bbox.height(), canvas.height()).round();
    PixelBox::new(left, top, bbox.width(), bbox.height()).ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use sinopia_layout::parse_answer;

    fn faults(caption: &str, layout: &Layout) -> Vec<String> {
        checks::check(caption, layout).iter().filter(|finding| finding.is_fault()).map(ToString::to_string).collect()
    }

    #[test]
    fn things_on_the_wrong_side_change_places() {
        for (caption, answer) in [
            ("a cat to the left of a dog", "[('a cat', [300, 100, 80, 80]), ('a dog', [40, 100, 120, 120])]"),
            (
                "a cat on the left and a dog on the right",
                "[('a cat', [300, 100, 80, 80]), ('a dog', [40, 100, 120, 120])]",
            ),
            ("a cat on the bottom", "[('a cat', [300, 10, 80, 80])]"),
            (
                "A red ball. To the left of the ball stands a green chair, and to the right of the ball there are two brown bottles. A purple book lies below the ball.",
                "[('a red ball', [16, 288, 144, 128]), ('a green chair', [180, 276, 168, 152]), ('a brown bottle', [224, 76, 112, 112]), ('a brown bottle', [368, 176, 112, 112]), ('a purple book', [200, 44, 112, 96])]",
            ),
        ] {
            let layout =
                parse_answer(&format!("{answer}\nBackground prompt: A realistic scene\nNegative prompt: ")).unwrap();
            assert_ne!(faults(caption, &layout), [""; 0], "{caption}");
            let repaired = put_in_place(caption, layout.clone());
            assert_eq!(faults(caption, &repaired), [""; 0], "{caption}: {repaired:?}");
            assert!(repaired.is_inside_canvas());
            let sizes = |layout: &Layout| -> Vec<_> {
                layout.objects.iter().map(|o| (o.phrase.clone(), o.bbox.width(), o.bbox.height())).collect()
            };
            assert_eq!(sizes(&repaired), sizes(&layout));
        }
    }

    #[test]
    fn a_layout_that_is_right_stays() {
        let answer = "[('a cat', [30, 100, 80, 80]), ('a dog', [240, 100, 120, 120])]\nBackground prompt: A park\nNegative prompt: ";
        let layout = parse_answer(answer).unwrap();
        assert_eq!(put_in_place("a cat to the left of a dog in a park", layout.clone()), layout);
    }
}
