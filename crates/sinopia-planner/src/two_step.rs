//! The two-step form of an answer: boxes for the core of a picture, and words for the rest, which get their boxes here, by rules.
//!
//! A language model is good at saying that the bird is above the castle and less so at arithmetic; rules never put two things into one place.

use serde::Deserialize;
use sinopia_layout::{Canvas, Layout, LayoutObject, PixelBox, spoken};

/// Positions that are tried along each side of the canvas.
const STEPS: u32 = 32;

/// What overlap, a broken rule and distance weigh against each other: overlap as a share of the box, distance as a share of the canvas.
const OVERLAP_WEIGHT: f64 = 4.0;
const RULE_WEIGHT: f64 = 20.0;

/// The share of its holder's sides that something takes *in* it, at most.
const INSIDE_SHARE: f64 = 0.55;

#[derive(Deserialize)]
struct Answer {
    core: Vec<LayoutObject>,
    #[serde(default)]
    rest: Vec<Rest>,
    #[serde(default)]
    background: String,
    #[serde(default)]
    negative: String,
}

#[derive(Deserialize)]
struct Rest {
    phrase: String,
    size: Size,
    place: Place,
    #[serde(default)]
    of: String,
}

/// How large something is, as a share of the canvas's shorter side.
#[derive(Debug, Clone, Copy, Deserialize)]
#[serde(rename_all = "lowercase")]
enum Size {
    Tiny,
    Small,
    Medium,
    Large,
}

#[derive(Debug, Clone, Copy, PartialEq, Deserialize)]
enum Place {
    #[serde(rename = "left of")]
    LeftOf,
    #[serde(rename = "right of")]
    RightOf,
    #[serde(rename = "above")]
    Above,
    #[serde(rename = "below")]
    Below,
    #[serde(rename = "on")]
    On,
    #[serde(rename = "in")]
    In,
    #[serde(rename = "beside")]
    Beside,
    #[serde(rename = "anywhere")]
    Anywhere,
}

impl Size {
    fn share(self) -> f64 {
        match self {
            Size::Tiny => 0.12,
            Size::Small => 0.2,
            Size::Medium => 0.32,
            Size::Large => 0.45,
        }
    }
}

/// The layout of an answer in this form; `None` if it has another.
pub(crate) fn read(text: &str, canvas: Canvas) -> Option<Layout> {
    let text = spoken(text);
    let json = text.find('{').and_then(|start| text.rfind('}').and_then(|end| text.get(start..=end)));
    let answer: Answer = serde_json::from_str(json?).ok()?;
    let mut layout = Layout { canvas, objects: answer.core, background: answer.background, negative: answer.negative };
    for rest in answer.rest {
        let bbox = place(&rest, &layout);
        layout.objects.extend(bbox.map(|bbox| LayoutObject { phrase: rest.phrase, bbox }));
    }
    Some(layout)
}

/// The best box for something: the position that breaks the fewest rules, then overlaps least, then is nearest.
fn place(rest: &Rest, layout: &Layout) -> Option<PixelBox> {
    let (width, height) = (f64::from(layout.canvas.width()), f64::from(layout.canvas.height()));
    let mut side = rest.size.share() * width.min(height);
    // Of several things of that name the one with the fewest neighbours of the same kind would be as good; the first is predictable.
    let anchor = layout
        .objects
        .iter()
        .find(|object| object.phrase.eq_ignore_ascii_case(rest.of.trim()))
        .map(|object| object.bbox);
    if let (Some(anchor), Place::In) = (anchor, rest.place) {
        side = side.min(INSIDE_SHARE * anchor.width().min(anchor.height()));
    }
    let side = side.max(1.0).round();
    let at = |step: u32, length: f64| ((length - side) * f64::from(step) / f64::from(STEPS)).round();
    let spots = (0..=STEPS).flat_map(|row| (0..=STEPS).map(move |column| (row, column)));
    let boxes = spots.filter_map(|(row, column)| PixelBox::new(at(column, width), at(row, height), side, side).ok());
    let diagonal = width.hypot(height);
    let cost = |bbox: &PixelBox| {
        let ignored = anchor.filter(|_| rest.place == Place::In);
        let others = layout.objects.iter().map(|object| object.bbox).filter(|other| Some(*other) != ignored);
        let overlap: f64 = others.map(|other| bbox.intersection(&other)).sum::<f64>() / (side * side);
        let (rule, distance) = match anchor {
            Some(anchor) => (broken(rest.place, bbox, &anchor) / side, distance(rest.place, bbox, &anchor) / diagonal),
            // Where nothing is said, things stand in the lower middle.
            None => (
                0.0,
                ((bbox.y() + side - 0.85 * height).abs() + 0.3 * (bbox.x() + side / 2.0 - width / 2.0).abs())
                    / diagonal,
            ),
        };
        OVERLAP_WEIGHT * overlap + RULE_WEIGHT * rule + distance
    };
    boxes.min_by(|a, b| cost(a).total_cmp(&cost(b)))
}

/// How far a box is from where it has to be, in pixels; 0 if it is there.
fn broken(place: Place, bbox: &PixelBox, anchor: &PixelBox) -> f64 {
    let beyond = |value: f64| value.max(0.0);
    match place {
        Place::LeftOf => beyond(bbox.right() - anchor.x()),
        Place::RightOf => beyond(anchor.right() - bbox.x()),
        Place::Above => beyond(bbox.bottom() - anchor.y()),
        Place::Below => beyond(anchor.bottom() - bbox.y()),
        Place::On => {
            (bbox.bottom() - anchor.y()).abs() + beyond(anchor.x() - bbox.x()) + beyond(bbox.right() - anchor.right())
        }
        Place::In => {
            beyond(anchor.x() - bbox.x())
                + beyond(bbox.right() - anchor.right())
                + beyond(anchor.y() - bbox.y())
                + beyond(bbox.bottom() - anchor.bottom())
        }
        Place::Beside => beyond(bbox.right() - anchor.x()).min(beyond(anchor.right() - bbox.x())),
        Place::Anywhere => 0.0,
    }
}

/// Distance of the centres; of things beside each other, that of their lower edges counts for the height.
fn distance(place: Place, bbox: &PixelBox, anchor: &PixelBox) -> f64 {
    let ((x, y), (anchor_x, anchor_y)) = (bbox.center(), anchor.center());
    let across = x - anchor_x;
    let down = match place {
        Place::LeftOf | Place::RightOf | Place::Beside => bbox.bottom() - anchor.bottom(),
        _ => y - anchor_y,
    };
    across.hypot(down)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::checks::check;

    const CORE: &str =
        r#""core":[{"phrase":"a castle","bbox":[150,100,200,200]},{"phrase":"a hill","bbox":[100,300,310,200]}]"#;

    fn laid_out(rest: &str) -> Layout {
        let answer = format!(
            "<think>{{}}</think>Here: {{{CORE},\"rest\":[{rest}],\"background\":\"A land\",\"negative\":\"\"}}"
        );
        read(&answer, Canvas::PUBLISHED).unwrap()
    }

    #[test]
    fn rules_hold_and_nothing_overlaps() {
        for (place, caption) in [
            ("left of", "a bird to the left of a castle"),
            ("right of", "a bird to the right of a castle"),
            ("above", "a bird above a castle"),
            ("below", "a bird below a castle"),
            ("on", "a bird above a castle"),
            ("beside", ""),
            ("anywhere", ""),
        ] {
            let layout = laid_out(&format!(
                r#"{{"phrase":"a bird","size":"tiny","place":"{place}","of":"A castle"}}, {{"phrase":"a tree","size":"small","place":"beside","of":"a hill"}}"#
            ));
            assert_eq!(layout.objects.len(), 4);
            assert!(layout.is_inside_canvas(), "{layout:?}");
            let told: Vec<String> = check(caption, &layout).iter().map(ToString::to_string).collect();
            assert!(told.is_empty(), "{place}: {told:?}");
            for (i, a) in layout.objects.iter().enumerate() {
                for b in &layout.objects[i + 1..] {
                    let shared = a.bbox.intersection(&b.bbox) / a.bbox.area();
                    // Only *on* may miss its support by the half step of the positions that are tried.
                    assert!(shared < 0.15, "{place}: {} and {}: {shared}", a.phrase, b.phrase);
                }
            }
        }
    }

    #[test]
    fn what_is_in_something_is_smaller_than_it() {
        let layout = laid_out(r#"{"phrase":"a lamp","size":"large","place":"in","of":"a castle"}"#);
        let (castle, lamp) = (layout.objects[0].bbox, layout.objects[2].bbox);
        assert!(castle.intersection(&lamp) > 0.99 * lamp.area() && lamp.width() < 120.0, "{lamp}");
    }

    #[test]
    fn other_forms_are_left_to_others() {
        let plain = r#"{"objects":[{"phrase":"a cat","bbox":[1,2,30,40]}],"background":"A room","negative":""}"#;
        assert_eq!(read(plain, Canvas::PUBLISHED), None);
        assert_eq!(read("no layout at all {", Canvas::PUBLISHED), None);
        let unknown = laid_out(r#"{"phrase":"a moon","size":"tiny","place":"above","of":"a dragon"}"#);
        assert_eq!(unknown.objects[2].phrase, "a moon");
    }
}
