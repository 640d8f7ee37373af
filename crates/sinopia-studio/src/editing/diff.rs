//! Two layouts compared: what has to be done to a picture of the one to make it one of the other.
//!
//! SLD (arXiv 2311.16090) compares by name and box, one after the other, and so makes a move of every rounded box and a removal and an addition of every new colour. Here objects of one
//! name are given to each other so that they overlap most, all at once; less than a latent cell is no change; and what stands in the old place under a new name has been recoloured or
//! replaced.

use sinopia_diffusion::Operation;
use sinopia_layout::{Layout, nouns};

use super::context::{Cell, Object};
use super::find::{objects_of, words};
use crate::assignment::assign;

/// Something of another name in the place of something is that thing changed, where they overlap so much at least.
const SAME_PLACE: f64 = 0.5;
/// That a pair fits counts more than how well: as many as possible are joined.
const FITS: f64 = 2.0;

/// What makes a picture of `old` one of `new`. Boxes are compared as shares, so that canvases may differ; `strength` is that of recolouring.
///
/// What stays comes with `new`'s own boxes, to which less than a cell was added.
pub fn diff(old: &Layout, new: &Layout, cell: Cell, strength: f64) -> Vec<Operation> {
    let (old, new) = (objects_of(old), objects_of(new));
    let mut operations = Vec::new();
    let (mut is_gone, mut is_new) = (vec![true; old.len()], vec![true; new.len()]);

    let of_one_name = pairs(&old, &new, |old, new| words(&old.phrase) == words(&new.phrase));
    for (from, to) in of_one_name {
        (is_gone[from], is_new[to]) = (false, false);
        if !cell.holds(&old[from].bbox, &new[to].bbox) {
            let (phrase, from, to) = (new[to].phrase.clone(), old[from].bbox, new[to].bbox);
            operations.push(Operation::Move { phrase, from, to });
        }
    }
    let in_one_place =
        pairs(&old, &new, |old, new| words(&old.phrase) != words(&new.phrase) && old.bbox.iou(&new.bbox) >= SAME_PLACE);
    for (from, to) in in_one_place.into_iter().filter(|(from, to)| is_gone[*from] && is_new[*to]).collect::<Vec<_>>() {
        if cell.holds(&old[from].bbox, &new[to].bbox) {
            (is_gone[from], is_new[to]) = (false, false);
            operations.push(renamed(&old[from].phrase, new[to].clone(), strength));
        }
    }
    let gone = old.into_iter().zip(is_gone).filter_map(|(object, is_gone)| is_gone.then_some(object));
    operations.extend(gone.map(|Object { phrase, bbox }| Operation::Remove { phrase, bbox }));
    let added = new.into_iter().zip(is_new).filter_map(|(object, is_new)| is_new.then_some(object));
    operations.extend(added.map(|Object { phrase, bbox }| Operation::Add { phrase, bbox }));
    operations
}

/// An object under a new name: the same thing in another colour, or another thing.
fn renamed(old_phrase: &str, Object { phrase, bbox }: Object, strength: f64) -> Operation {
    let kind = |phrase: &str| nouns::singular(&nouns::head(phrase).to_lowercase());
    match kind(old_phrase) == kind(&phrase) {
        true => Operation::Recolour { phrase, bbox, strength },
        false => Operation::Replace { phrase, bbox },
    }
}

/// Objects of both layouts that fit, given to each other so that they overlap most, and where they do not are nearest: indices of the old and the new ones.
fn pairs(old: &[Object], new: &[Object], fits: impl Fn(&Object, &Object) -> bool) -> Vec<(usize, usize)> {
    let weight = |old: &Object, new: &Object| {
        let ((x, y), (to_x, to_y)) = (old.bbox.center(), new.bbox.center());
        let fit = FITS + old.bbox.iou(&new.bbox) - 0.1 * (x - to_x).hypot(y - to_y);
        if fits(old, new) { fit } else { 0.0 }
    };
    let weights: Vec<Vec<f64>> = old.iter().map(|old| new.iter().map(|new| weight(old, new)).collect()).collect();
    assign(&weights).into_iter().enumerate().filter_map(|(from, to)| Some((from, to?))).collect()
}

#[cfg(test)]
mod tests {
    use sinopia_layout::{BBox, Canvas, LayoutObject, PixelBox};

    use super::*;

    const CELL: Cell = Cell { across: 1.0 / 64.0, down: 1.0 / 64.0 };

    fn layout(side: u32, objects: &[(&str, [f64; 4])]) -> Layout {
        let object = |(phrase, [x, y, w, h]): &(&str, [f64; 4])| LayoutObject {
            phrase: (*phrase).to_owned(),
            bbox: PixelBox::new(*x, *y, *w, *h).unwrap(),
        };
        let canvas = Canvas::new(side, side).unwrap();
        let (background, negative) = ("a table".to_owned(), String::new());
        Layout { canvas, objects: objects.iter().map(object).collect(), background, negative }
    }

    #[track_caller]
    fn check(old: &[(&str, [f64; 4])], new: &[(&str, [f64; 4])], expected: &[&str]) {
        let told = |operation: &Operation| match operation {
            Operation::Move { phrase, from, to } => {
                let at = |bbox: &BBox| (bbox.x0() * 512.0).round();
                format!("move {phrase} {} {}", at(from), at(to))
            }
            other => format!("{} {}", other.name(), other.phrase()),
        };
        let found: Vec<String> = diff(&layout(512, old), &layout(512, new), CELL, 0.6).iter().map(told).collect();
        assert_eq!(found, expected);
    }

    const DOG: (&str, [f64; 4]) = ("a dog", [10.0, 10.0, 100.0, 100.0]);

    #[test]
    fn layouts_that_are_alike_need_nothing() {
        check(&[DOG], &[DOG], &[]);
        check(&[DOG], &[("The dogs", [12.0, 6.0, 103.0, 97.0])], &[]);
        check(&[DOG], &[("A dog", [10.5, 9.5, 100.0, 100.0])], &[]);
        check(&[], &[], &[]);
    }

    #[test]
    fn each_change_is_the_operation_that_makes_it() {
        check(&[DOG], &[], &["remove a dog"]);
        check(&[], &[DOG], &["add a dog"]);
        check(&[DOG], &[("a dog", [200.0, 10.0, 100.0, 100.0])], &["move a dog 10 200"]);
        check(&[DOG], &[("a dog", [10.0, 10.0, 150.0, 150.0])], &["move a dog 10 10"]);
        check(&[DOG], &[("a red dog", DOG.1)], &["recolour a red dog"]);
        check(&[DOG], &[("a fox", DOG.1)], &["replace a fox"]);
        check(&[DOG], &[("a fox", [300.0, 300.0, 90.0, 90.0])], &["remove a dog", "add a fox"]);
        check(&[DOG], &[("a fox", [40.0, 10.0, 100.0, 100.0])], &["remove a dog", "add a fox"]);
    }

    #[test]
    fn of_two_alike_the_one_that_moved_is_moved() {
        let left = ("an apple", [0.0, 0.0, 100.0, 100.0]);
        let right = ("an apple", [300.0, 0.0, 100.0, 100.0]);
        let far = ("an apple", [400.0, 400.0, 100.0, 100.0]);
        check(&[left, right], &[far, left], &["move an apple 300 400"]);
        check(&[left, right], &[right], &["remove an apple"]);
        check(&[left], &[right, left], &["add an apple"]);
        // Both shift by their width to the right: nobody jumps over the other.
        let (one, two) = (("an apple", [100.0, 0.0, 100.0, 100.0]), ("an apple", [400.0, 0.0, 100.0, 100.0]));
        check(&[left, right], &[two, one], &["move an apple 0 100", "move an apple 300 400"]);
    }

    #[test]
    fn canvases_may_differ() {
        let old = layout(512, &[DOG]);
        let new = layout(1024, &[("a dog", [20.0, 20.0, 200.0, 200.0])]);
        assert_eq!(diff(&old, &new, CELL, 0.6), []);
    }
}
