//! Where something new can stand: as large as the built-in planner would draw it beside what is there, where least is in its way.

use sinopia_english::read;
use sinopia_layout::{BBox, Layout};
use sinopia_solver::{Solution, SolveOptions, solve};

use super::context::Object;
use super::find::words;

/// Places tried along each axis.
const PLACES: usize = 33;
/// The smallest and the largest share of the canvas's side that a new object takes.
const SIDES: (f64, f64) = (0.1, 0.6);
/// Of a new object that much may be covered by others at most.
const MOST_COVERED: f64 = 0.35;
/// If it has no room at its size, it becomes smaller by this factor, as often as that is possible.
const SHRINK: f64 = 0.85;

/// A place for `phrase` among the objects of a layout; nothing if everything is full.
pub(super) fn free_place(phrase: &str, layout: &Layout, objects: &[Object]) -> Option<BBox> {
    let wanted = wished(phrase, layout, objects).or_else(middle)?;
    let (mut width, mut height) = (wanted.width(), wanted.height());
    loop {
        if let Some(bbox) = least_covered(width, height, &wanted, objects) {
            return Some(bbox);
        }
        (width, height) = (width * SHRINK, height * SHRINK);
        if width.max(height) < SIDES.0 {
            return None;
        }
    }
}

/// The place of this size that is covered least, and of those the one nearest to the wished one.
fn least_covered(width: f64, height: f64, wanted: &BBox, objects: &[Object]) -> Option<BBox> {
    let at = |index: usize, room: f64| room * index as f64 / (PLACES - 1) as f64;
    let places = (0..PLACES).flat_map(|row| (0..PLACES).map(move |column| (row, column)));
    let bboxes = places.filter_map(|(row, column)| {
        let (x, y) = (at(column, 1.0 - width), at(row, 1.0 - height));
        BBox::new(x, y, (x + width).min(1.0), (y + height).min(1.0)).ok()
    });
    let cost = |bbox: &BBox| {
        let covered = objects.iter().map(|object| bbox.intersection(&object.bbox)).sum::<f64>() / bbox.area();
        let ((x, _), (wanted_x, _)) = (bbox.center(), wanted.center());
        // What it stands on counts more than which side it is on: nothing is hung in the air for want of room.
        let away = 0.3 * (x - wanted_x).abs() + 1.5 * (bbox.y1() - wanted.y1()).abs();
        (covered, 4.0 * covered + away)
    };
    let best = bboxes.map(|bbox| (cost(&bbox), bbox)).min_by(|((_, a), _), ((_, b), _)| a.total_cmp(b));
    best.filter(|((covered, _), _)| *covered <= MOST_COVERED).map(|(_, bbox)| bbox)
}

/// The box that the built-in planner would give it: laid out together with what is there, then brought to the scale in which that is drawn here.
fn wished(phrase: &str, layout: &Layout, objects: &[Object]) -> Option<BBox> {
    let caption: Vec<&str> = objects.iter().map(|object| object.phrase.as_str()).chain([phrase]).collect();
    let caption = caption.join(", ");
    let solved = solve(&caption, &read(&caption), &SolveOptions { canvas: layout.canvas, seed: 0 });
    in_scale(&solved.ok()?, phrase, objects)
}

/// A fifth of the canvas, standing at its lower third: for what no rule knows.
fn middle() -> Option<BBox> {
    BBox::new(0.375, 0.5, 0.625, 0.75).ok()
}

fn in_scale(solution: &Solution, phrase: &str, objects: &[Object]) -> Option<BBox> {
    let solved = &solution.layout;
    let of = |index: usize| BBox::from_pixels(&solved.objects.get(index)?.bbox, solved.canvas).ok();
    let new = of(solved.objects.iter().rposition(|object| is_called(&object.phrase, phrase))?)?;
    let mut scales: Vec<f64> = Vec::new();
    let mut bottoms: Vec<f64> = Vec::new();
    for object in objects {
        let there = solved.objects.iter().position(|other| is_called(&other.phrase, &object.phrase)).and_then(of);
        if let Some(there) = there {
            scales.push((object.bbox.area() / there.area()).sqrt());
            bottoms.push(object.bbox.y1() - there.y1());
        }
    }
    let (scale, lower) = (median(scales).unwrap_or(1.0), median(bottoms).unwrap_or(0.0));
    let side = |length: f64| (length * scale).clamp(SIDES.0, SIDES.1);
    let (width, height) = (side(new.width()), side(new.height()));
    let x0 = (new.center().0 - width / 2.0).clamp(0.0, 1.0 - width);
    let y1 = (new.y1() + lower).clamp(height, 1.0);
    BBox::new(x0, y1 - height, (x0 + width).min(1.0), y1).ok()
}

fn is_called(found: &str, phrase: &str) -> bool {
    words(found) == words(phrase)
}

fn median(mut values: Vec<f64>) -> Option<f64> {
    values.sort_by(f64::total_cmp);
    values.get(values.len() / 2).copied()
}

#[cfg(test)]
mod tests {
    use sinopia_layout::Canvas;

    use super::*;

    fn layout() -> Layout {
        let (background, negative) = ("a table".to_owned(), String::new());
        Layout { canvas: Canvas::PUBLISHED, objects: Vec::new(), background, negative }
    }

    fn object(phrase: &str, [x0, y0, x1, y1]: [f64; 4]) -> Object {
        Object { phrase: phrase.to_owned(), bbox: BBox::new(x0, y0, x1, y1).unwrap() }
    }

    fn covered(bbox: &BBox, objects: &[Object]) -> f64 {
        objects.iter().map(|object| bbox.intersection(&object.bbox)).sum::<f64>() / bbox.area()
    }

    #[test]
    fn a_new_object_stands_beside_what_is_there() {
        let there = [object("a dog", [0.1, 0.4, 0.5, 0.9])];
        let place = free_place("a cat", &layout(), &there).unwrap();
        assert!(covered(&place, &there) < 0.05, "{place:?}");
        assert!((place.y1() - 0.9).abs() < 0.15, "it stands on the same ground: {place:?}");
        assert!(place.height() < 0.5 && place.height() > 0.15, "smaller than the dog: {place:?}");
    }

    #[test]
    fn sizes_go_by_what_is_there() {
        let near = free_place("an apple", &layout(), &[object("an apple", [0.1, 0.3, 0.5, 0.7])]).unwrap();
        let far = free_place("an apple", &layout(), &[object("an apple", [0.1, 0.3, 0.2, 0.4])]).unwrap();
        assert!(near.width() > 2.0 * far.width(), "{near:?} {far:?}");
    }

    #[test]
    fn an_empty_picture_has_room_for_anything() {
        for phrase in ["a house", "a red ball", "a zorblax", "!"] {
            let place = free_place(phrase, &layout(), &[]).unwrap();
            assert!(place.area() > 0.005, "{phrase}: {place:?}");
        }
    }

    #[test]
    fn a_full_picture_has_none() {
        let full: Vec<Object> = (0..2).map(|_| object("a wall", [0.0, 0.0, 1.0, 1.0])).collect();
        assert_eq!(free_place("a cat", &layout(), &full), None);
    }
}
