//! Objects are where they were painted, and that is not always where the layout has them: what is changed is the object as it was seen.

use sinopia_diffusion::Operation;
use sinopia_layout::{BBox, Canvas};

use super::EditError;
use super::context::{EditContext, Sighting};
use super::find::objects_of;
use super::place::shown;
use crate::Result;

/// What becomes of a move whose object is not seen where the layout has it. What is there instead must not be moved.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) enum IfAbsent<'a> {
    /// It is refused, but of the objects with these boxes, at which somebody pointed.
    Refuse(&'a [BBox]),
    /// It is told, and what is there is moved: who looks may be wrong, and a layout has more objects.
    Tell,
}

/// Operations for the picture as it is, and what of them is to be told.
#[derive(Debug, PartialEq)]
pub(super) struct AsSeen {
    pub(super) operations: Vec<Operation>,
    pub(super) notes: Vec<String>,
}

/// The same operations on boxes that hold their objects whole: those of the layout's objects together with where they were seen, if somebody can look.
///
/// # Errors
/// [`EditError::NotThere`]; those of who looks.
pub(super) fn as_seen(operations: Vec<Operation>, context: EditContext, absent: IfAbsent) -> Result<AsSeen> {
    let needs_eyes = |operation: &Operation| !matches!(operation, Operation::Add { .. });
    let mut notes = Vec::new();
    let Some(search) = context.search.filter(|_| operations.iter().any(needs_eyes)) else {
        return Ok(AsSeen { operations, notes });
    };
    let (seen, objects) = (search.seen(context.layout)?, objects_of(context.layout));
    let sighting = |bbox: &BBox| {
        let index = objects.iter().position(|object| object.bbox == *bbox);
        index.and_then(|index| seen.get(index)).copied().unwrap_or(Sighting::Unsure)
    };
    let whole = |bbox: BBox| match sighting(&bbox) {
        Sighting::Near(seen) => bbox.union(&seen),
        _ => bbox,
    };
    let mut painted = Vec::with_capacity(operations.len());
    for operation in operations {
        painted.push(match operation {
            Operation::Remove { phrase, bbox } => Operation::Remove { phrase, bbox: whole(bbox) },
            Operation::Replace { phrase, bbox } => Operation::Replace { phrase, bbox: whole(bbox) },
            Operation::Recolour { phrase, bbox, strength } => {
                Operation::Recolour { phrase, bbox: whole(bbox), strength }
            }
            Operation::Move { phrase, from, to } => {
                let planned = Move { phrase, from, to };
                planned.operation(sighting(&from), context.layout.canvas, absent, &mut notes)?
            }
            added @ Operation::Add { .. } => added,
        });
    }
    Ok(AsSeen { operations: painted, notes })
}

/// A move as it was planned by the layout.
struct Move {
    phrase: String,
    from: BBox,
    to: BBox,
}

impl Move {
    fn operation(
        self,
        sighting: Sighting,
        canvas: Canvas,
        absent: IfAbsent,
        notes: &mut Vec<String>,
    ) -> Result<Operation> {
        let Self { phrase, from, to } = self;
        match (sighting, absent) {
            (Sighting::Near(seen), _) => {
                // What sticks out of its box does so in the new place.
                let all = from.union(&seen);
                let (from, to) = sticking_out(&to, &from, &all).map_or((from, to), |to| (all, to));
                Ok(Operation::Move { phrase, from, to })
            }
            (Sighting::Elsewhere(_) | Sighting::Nowhere, IfAbsent::Refuse(pointed_at))
                if !pointed_at.contains(&from) =>
            {
                let seen_at = match sighting {
                    Sighting::Elsewhere(bbox) => Some(shown(&bbox, canvas)),
                    _ => None,
                };
                Err(EditError::NotThere { phrase, bbox: shown(&from, canvas), seen_at }.into())
            }
            (Sighting::Elsewhere(_) | Sighting::Nowhere, IfAbsent::Tell) => {
                let place = shown(&from, canvas);
                notes.push(format!(
                    "`{phrase}` is not seen at {place}, where the layout has it: what is there is moved"
                ));
                Ok(Operation::Move { phrase, from, to })
            }
            _ => Ok(Operation::Move { phrase, from, to }),
        }
    }
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

    /// Sees the only object as it is told to.
    struct Sees(Sighting);

    impl ObjectSearch for Sees {
        fn search(&self, _phrase: &str) -> Result<Vec<Object>> {
            Ok(Vec::new())
        }

        fn seen(&self, _layout: &Layout) -> Result<Vec<Sighting>> {
            Ok(vec![self.0])
        }
    }

    fn bbox([x0, y0, x1, y1]: [f64; 4]) -> BBox {
        BBox::new(x0, y0, x1, y1).unwrap()
    }

    fn planned(operation: Operation, seen: Sighting, absent: IfAbsent) -> Result<AsSeen> {
        let object =
            LayoutObject { phrase: "a dog".to_owned(), bbox: PixelBox::new(128.0, 128.0, 128.0, 128.0).unwrap() };
        let (background, negative) = (String::new(), String::new());
        let layout = Layout { canvas: Canvas::PUBLISHED, objects: vec![object], background, negative };
        let search = Sees(seen);
        let cell = Cell { across: 1.0 / 64.0, down: 1.0 / 64.0 };
        let context = EditContext { layout: &layout, cell, search: Some(&search) };
        as_seen(vec![operation], context, absent)
    }

    #[track_caller]
    fn check(operation: Operation, seen: Sighting, expected: Operation) {
        let AsSeen { operations, notes } = planned(operation, seen, IfAbsent::Refuse(&[])).unwrap();
        assert_eq!((operations, notes.len()), (vec![expected], 0));
    }

    fn moved(from: BBox, to: BBox) -> Operation {
        Operation::Move { phrase: "a dog".to_owned(), from, to }
    }

    #[test]
    fn what_sticks_out_of_its_box_is_changed_too() {
        let (there, seen) = (bbox([0.25, 0.25, 0.5, 0.5]), bbox([0.3, 0.125, 0.625, 0.5]));
        let remove = |bbox| Operation::Remove { phrase: "a dog".to_owned(), bbox };
        check(remove(there), Sighting::Near(seen), remove(bbox([0.25, 0.125, 0.625, 0.5])));
        check(remove(there), Sighting::Unsure, remove(there));
        check(remove(there), Sighting::Nowhere, remove(there));
        // Something that the layout does not name is where it was found.
        check(remove(bbox([0.7, 0.7, 0.9, 0.9])), Sighting::Near(seen), remove(bbox([0.7, 0.7, 0.9, 0.9])));
    }

    #[test]
    fn it_sticks_out_in_the_new_place_as_well_unless_that_leaves_the_picture() {
        let (there, seen) = (bbox([0.25, 0.25, 0.5, 0.5]), Sighting::Near(bbox([0.25, 0.125, 0.5, 0.5])));
        let all = bbox([0.25, 0.125, 0.5, 0.5]);
        check(moved(there, bbox([0.5, 0.5, 0.75, 0.75])), seen, moved(all, bbox([0.5, 0.375, 0.75, 0.75])));
        let top = moved(there, bbox([0.5, 0.0, 0.75, 0.25]));
        check(top.clone(), seen, top);
    }

    #[test]
    fn what_is_not_where_the_layout_has_it_is_not_moved() {
        let (there, to, seen) =
            (bbox([0.25, 0.25, 0.5, 0.5]), bbox([0.5, 0.5, 0.75, 0.75]), bbox([0.625, 0.0, 0.875, 0.25]));
        let refused = |sighting| match planned(moved(there, to), sighting, IfAbsent::Refuse(&[])) {
            Err(error @ crate::Error::Editing(_)) => error.to_string(),
            other => panic!("{other:?}"),
        };
        let message = refused(Sighting::Nowhere);
        assert!(message.contains("`a dog` is not seen at 128,128,128,128") && message.contains("--add"), "{message}");
        let message = refused(Sighting::Elsewhere(seen));
        assert!(message.contains("`a dog@320,0,128,128`"), "{message}");
        // Who points at it means what is there.
        for sighting in [Sighting::Nowhere, Sighting::Elsewhere(seen)] {
            let pointed = planned(moved(there, to), sighting, IfAbsent::Refuse(&[there])).unwrap();
            assert_eq!(pointed.operations, [moved(there, to)]);
        }
        // A layout is not refused for one of its objects.
        for sighting in [Sighting::Nowhere, Sighting::Elsewhere(seen)] {
            let told = planned(moved(there, to), sighting, IfAbsent::Tell).unwrap();
            assert_eq!(told.operations, [moved(there, to)]);
            assert!(told.notes[0].contains("is not seen at 128,128,128,128"), "{:?}", told.notes);
        }
    }
}
