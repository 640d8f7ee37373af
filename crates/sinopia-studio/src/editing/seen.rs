//! Objects are where they were painted, and that is not always where the layout has them: what is changed is the object as it was seen.

use sinopia_diffusion::Operation;
use sinopia_layout::BBox;

use super::context::EditContext;
use super::find::objects_of;
use crate::Result;

/// The same operations on boxes that hold their objects whole: those of the layout's objects together with where they were seen, if somebody can look.
///
/// # Errors
/// Those of who looks.
pub(super) fn as_seen(operations: Vec<Operation>, context: EditContext) -> Result<Vec<Operation>> {
    let needs_eyes = |operation: &Operation| !matches!(operation, Operation::Add { .. });
    let Some(search) = context.search.filter(|_| operations.iter().any(needs_eyes)) else { return Ok(operations) };
    let seen = search.seen(context.layout)?;
    let objects = objects_of(context.layout);
    let whole = |bbox: &BBox| {
        let index = objects.iter().position(|object| object.bbox == *bbox)?;
        Some(bbox.union(seen.get(index)?.as_ref()?))
    };
    let widen = |operation: Operation| match operation {
        Operation::Remove { phrase, bbox } => Operation::Remove { phrase, bbox: whole(&bbox).unwrap_or(bbox) },
        Operation::Replace { phrase, bbox } => Operation::Replace { phrase, bbox: whole(&bbox).unwrap_or(bbox) },
        Operation::Recolour { phrase, bbox, strength } => {
            Operation::Recolour { phrase, bbox: whole(&bbox).unwrap_or(bbox), strength }
        }
        Operation::Move { phrase, from, to } => {
            // What sticks out of its box does so in the new place.
            let (from, to) =
                whole(&from).and_then(|all| Some((all, sticking_out(&to, &from, &all)?))).unwrap_or((from, to));
            Operation::Move { phrase, from, to }
        }
        added @ Operation::Add { .. } => added,
    };
    Ok(operations.into_iter().map(widen).collect())
}

/// `bbox` grown as `all` is beyond `part`, by shares of its sides; nothing if that leaves the picture.
fn sticking_out(bbox: &BBox, part: &BBox, all: &BBox) -> Option<BBox> {
    let (across, down) = (bbox.width() / part.width(), bbox.height() / part.height());
    BBox::new(
        bbox.x0() - across * (part.x0() - all.x0()),
        bbox.y0() - down * (part.y0() - all.y0()),
        bbox.x1() + across * (all.x1() - part.x1()),
        bbox.y1() + down * (all.y1() - part.y1()),
    )
    .ok()
}

#[cfg(test)]
mod tests {
    use sinopia_layout::{Canvas, Layout, LayoutObject, PixelBox};

    use super::*;
    use crate::editing::{Cell, Object, ObjectSearch};

    /// Sees the only object where it is told to.
    struct Sees(Option<BBox>);

    impl ObjectSearch for Sees {
        fn search(&self, _phrase: &str) -> Result<Vec<Object>> {
            Ok(Vec::new())
        }

        fn seen(&self, _layout: &Layout) -> Result<Vec<Option<BBox>>> {
            Ok(vec![self.0])
        }
    }

    fn bbox([x0, y0, x1, y1]: [f64; 4]) -> BBox {
        BBox::new(x0, y0, x1, y1).unwrap()
    }

    #[track_caller]
    fn check(operation: Operation, seen: Option<BBox>, expected: Operation) {
        let object =
            LayoutObject { phrase: "a dog".to_owned(), bbox: PixelBox::new(128.0, 128.0, 128.0, 128.0).unwrap() };
        let (background, negative) = (String::new(), String::new());
        let layout = Layout { canvas: Canvas::PUBLISHED, objects: vec![object], background, negative };
        let search = Sees(seen);
        let cell = Cell { across: 1.0 / 64.0, down: 1.0 / 64.0 };
        let context = EditContext { layout: &layout, cell, search: Some(&search) };
        assert_eq!(as_seen(vec![operation], context).unwrap(), [expected]);
    }

    #[test]
    fn what_sticks_out_of_its_box_is_changed_too() {
        let (there, seen) = (bbox([0.25, 0.25, 0.5, 0.5]), bbox([0.3, 0.125, 0.625, 0.5]));
        let remove = |bbox| Operation::Remove { phrase: "a dog".to_owned(), bbox };
        check(remove(there), Some(seen), remove(bbox([0.25, 0.125, 0.625, 0.5])));
        check(remove(there), None, remove(there));
        // Something that the layout does not name is where it was found.
        check(remove(bbox([0.7, 0.7, 0.9, 0.9])), Some(seen), remove(bbox([0.7, 0.7, 0.9, 0.9])));
    }

    #[test]
    fn it_sticks_out_in_the_new_place_as_well_unless_that_leaves_the_picture() {
        let (there, seen) = (bbox([0.25, 0.25, 0.5, 0.5]), bbox([0.25, 0.125, 0.5, 0.5]));
        let moved = |from, to| Operation::Move { phrase: "a dog".to_owned(), from, to };
        let all = bbox([0.25, 0.125, 0.5, 0.5]);
        check(moved(there, bbox([0.5, 0.5, 0.75, 0.75])), Some(seen), moved(all, bbox([0.5, 0.375, 0.75, 0.75])));
        let top = moved(there, bbox([0.5, 0.0, 0.75, 0.25]));
        check(top.clone(), Some(seen), top);
    }
}
