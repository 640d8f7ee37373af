//! Changes of pictures in the words of the wire, and what the picture shows after them.

use std::path::Path;

use sinopia_diffusion::Operation;
use sinopia_layout::{BBox, Layout, LayoutObject, PixelBox};
use sinopia_server::engine::Sources;
use sinopia_server::wire::{self, PictureEdit};
use sinopia_studio::PaintSettings;
use sinopia_studio::editing::{EditJob, EditPlan, EditSpec, Source, Wanted};

use super::refusal::refused;

/// Overlap from which an operation means the object of a layout that is called the same.
const SAME_PLACE: f64 = 0.3;

/// A change of a picture that was looked through.
pub(super) struct Change {
    /// How the picture's states come to be known.
    pub(super) job: EditJob,
    /// What is done to it, and what it shows afterwards.
    pub(super) plan: EditPlan,
}

impl Change {
    /// A change of the picture that a job begins with.
    ///
    /// # Errors
    /// A refusal of a picture that was not painted here; those of [`EditJob::new`].
    pub(super) fn new(edit: &PictureEdit, seed: Option<u64>, sources: &Sources) -> anyhow::Result<Self> {
        let png = sources.image.as_deref().unwrap_or_default();
        let source = Source::read(png, Path::new(&edit.job))?;
        if source.recipe().is_none() {
            return Err(refused("`edit`: this picture does not say how it was made").into());
        }
        let before = source.layout(source.caption());
        let operations = operations(&edit.operations)?;
        check_each_once(&before, &operations)?;
        let layout = layout_after(&before, &operations);
        let settings = PaintSettings { seed, ..PaintSettings::default() };
        let spec = EditSpec { wanted: Wanted::Layout(layout.clone()), settings, ..EditSpec::new(source, []) };
        let job = EditJob::new(spec)?;
        let mut plan = EditPlan { operations, layout, notes: Vec::new() };
        plan.notes.extend(job.unknown_things(&plan));
        Ok(Self { job, plan })
    }
}

/// Refuses two operations on one object: only one of them could be seen.
fn check_each_once(before: &Layout, operations: &[Operation]) -> anyhow::Result<()> {
    let mut changed = Vec::new();
    for operation in operations {
        let Some(index) = object_of(before, operation) else { continue };
        if changed.contains(&index) {
            let phrase = &before.objects[index].phrase;
            return Err(refused(format!("`edit` has two operations on `{phrase}`: one at a time")).into());
        }
        changed.push(index);
    }
    Ok(())
}

/// The object that an operation changes, if it changes one that the layout has.
fn object_of(before: &Layout, operation: &Operation) -> Option<usize> {
    let (phrase, bbox) = match operation {
        Operation::Add { .. } => return None,
        Operation::Remove { phrase, bbox } => (Some(phrase), bbox),
        Operation::Move { phrase, from, .. } => (Some(phrase), from),
        Operation::Recolour { bbox, .. } | Operation::Replace { bbox, .. } => (None, bbox),
    };
    meant(before, phrase.map(String::as_str), &bbox.to_pixels(before.canvas))
}

/// The operations of a request.
///
/// # Errors
/// A refusal of what is no box.
fn operations(wanted: &[wire::Operation]) -> anyhow::Result<Vec<Operation>> {
    wanted.iter().map(operation).collect()
}

fn operation(wanted: &wire::Operation) -> anyhow::Result<Operation> {
    let read =
        |[x0, y0, x1, y1]: [f64; 4]| BBox::new(x0, y0, x1, y1).map_err(|error| refused(format!("`edit`: {error}")));
    Ok(match wanted.clone() {
        wire::Operation::Add { phrase, bbox } => Operation::Add { phrase, bbox: read(bbox)? },
        wire::Operation::Remove { phrase, bbox } => Operation::Remove { phrase, bbox: read(bbox)? },
        wire::Operation::Move { phrase, from, to } => Operation::Move { phrase, from: read(from)?, to: read(to)? },
        wire::Operation::Recolour { phrase, bbox, strength } => {
            let strength = strength.unwrap_or(Operation::RECOLOUR_STRENGTH);
            Operation::Recolour { phrase, bbox: read(bbox)?, strength }
        }
        wire::Operation::Replace { phrase, bbox } => Operation::Replace { phrase, bbox: read(bbox)? },
    })
}

/// The same as clients read it.
pub(super) fn operation_doc(operation: &Operation) -> wire::Operation {
    let sides = |bbox: &BBox| {
        let (x0, y0, x1, y1) = bbox.corners();
        [x0, y0, x1, y1]
    };
    match operation {
        Operation::Add { phrase, bbox } => wire::Operation::Add { phrase: phrase.clone(), bbox: sides(bbox) },
        Operation::Remove { phrase, bbox } => wire::Operation::Remove { phrase: phrase.clone(), bbox: sides(bbox) },
        Operation::Move { phrase, from, to } => {
            wire::Operation::Move { phrase: phrase.clone(), from: sides(from), to: sides(to) }
        }
        Operation::Recolour { phrase, bbox, strength } => {
            wire::Operation::Recolour { phrase: phrase.clone(), bbox: sides(bbox), strength: Some(*strength) }
        }
        Operation::Replace { phrase, bbox } => wire::Operation::Replace { phrase: phrase.clone(), bbox: sides(bbox) },
    }
}

/// What a picture shows once operations are done. Things that the layout does not have, as they were not wanted, are taken out without leaving a trace in it.
fn layout_after(before: &Layout, operations: &[Operation]) -> Layout {
    operations.iter().fold(before.clone(), done)
}

fn done(mut layout: Layout, operation: &Operation) -> Layout {
    let pixels = |bbox: &BBox| bbox.to_pixels(layout.canvas);
    match operation {
        Operation::Add { phrase, bbox } => {
            let bbox = pixels(bbox);
            // What was wanted and missing is in the layout already.
            if meant(&layout, Some(phrase), &bbox).is_none() {
                layout.objects.push(LayoutObject { phrase: phrase.clone(), bbox });
            }
        }
        Operation::Remove { phrase, bbox } => {
            if let Some(index) = meant(&layout, Some(phrase), &pixels(bbox)) {
                layout.objects.remove(index);
            }
        }
        Operation::Move { phrase, from, to } => {
            let (from, to) = (pixels(from), pixels(to));
            // Where it was to stand, or where it was wanted before.
            let found = meant(&layout, Some(phrase), &to).or_else(|| meant(&layout, Some(phrase), &from));
            if let Some(index) = found {
                layout.objects[index].bbox = to;
            }
        }
        Operation::Recolour { phrase, bbox, .. } | Operation::Replace { phrase, bbox } => {
            let bbox = pixels(bbox);
            let found = meant(&layout, Some(phrase), &bbox).or_else(|| meant(&layout, None, &bbox));
            match found {
                Some(index) => layout.objects[index].phrase.clone_from(phrase),
                None => layout.objects.push(LayoutObject { phrase: phrase.clone(), bbox }),
            }
        }
    }
    layout
}

/// The object of a layout that stands nearest to a box, by their overlap; of those that are called so, if it is said.
fn meant(layout: &Layout, phrase: Option<&str>, bbox: &PixelBox) -> Option<usize> {
    let overlaps = layout.objects.iter().map(|object| match phrase {
        Some(phrase) if object.phrase != phrase => 0.0,
        _ => object.bbox.iou(bbox),
    });
    let best = overlaps.enumerate().max_by(|(_, a), (_, b)| a.total_cmp(b))?;
    (best.1 >= SAME_PLACE).then_some(best.0)
}

#[cfg(test)]
mod tests {
    use sinopia_layout::Canvas;

    use super::*;

    fn boxed(x: f64, y: f64) -> BBox {
        BBox::new(x, y, x + 0.25, y + 0.25).unwrap()
    }

    fn layout(objects: &[(&str, BBox)]) -> Layout {
        let canvas = Canvas::new(400, 400).unwrap();
        let objects = objects
            .iter()
            .map(|(phrase, bbox)| LayoutObject { phrase: (*phrase).to_owned(), bbox: bbox.to_pixels(canvas) });
        Layout { canvas, objects: objects.collect(), background: "a table".to_owned(), negative: String::new() }
    }

    fn check(operation: Operation, expected: &[(&str, BBox)]) {
        let before = layout(&[("a cat", boxed(0.0, 0.0)), ("a cat", boxed(0.5, 0.0)), ("a bowl", boxed(0.0, 0.5))]);
        assert_eq!(layout_after(&before, &[operation]), layout(expected));
    }

    #[test]
    fn a_layout_follows_what_is_done_to_its_picture() {
        let (first, second, bowl) =
            (("a cat", boxed(0.0, 0.0)), ("a cat", boxed(0.5, 0.0)), ("a bowl", boxed(0.0, 0.5)));
        let (phrase, elsewhere) = ("a cat".to_owned(), boxed(0.5, 0.5));
        check(Operation::Remove { phrase: phrase.clone(), bbox: boxed(0.45, 0.05) }, &[first, bowl]);
        check(Operation::Remove { phrase: phrase.clone(), bbox: elsewhere }, &[first, second, bowl]);
        check(Operation::Add { phrase: phrase.clone(), bbox: boxed(0.5, 0.0) }, &[first, second, bowl]);
        check(Operation::Add { phrase: phrase.clone(), bbox: elsewhere }, &[first, second, bowl, ("a cat", elsewhere)]);
        check(Operation::Move { phrase, from: boxed(0.5, 0.0), to: elsewhere }, &[first, ("a cat", elsewhere), bowl]);
        let other = "a blue bowl".to_owned();
        check(
            Operation::Replace { phrase: other.clone(), bbox: boxed(0.0, 0.5) },
            &[first, second, ("a blue bowl", boxed(0.0, 0.5))],
        );
        let recolour = Operation::Recolour { phrase: other, bbox: elsewhere, strength: 0.6 };
        check(recolour, &[first, second, bowl, ("a blue bowl", elsewhere)]);
    }

    #[test]
    fn an_object_is_changed_in_one_way() {
        let before = layout(&[("a cat", boxed(0.0, 0.0)), ("a bowl", boxed(0.0, 0.5))]);
        let remove = |bbox| Operation::Remove { phrase: "a cat".to_owned(), bbox };
        let replace = |bbox| Operation::Replace { phrase: "a dog".to_owned(), bbox };
        let (cat, bowl) = (boxed(0.0, 0.0), boxed(0.0, 0.5));
        check_each_once(&before, &[remove(cat), replace(bowl)]).unwrap();
        let error = check_each_once(&before, &[remove(cat), replace(cat)]).unwrap_err().to_string();
        assert!(error.contains("two operations on `a cat`"), "{error}");
    }

    #[test]
    fn operations_go_over_the_wire_and_back() {
        let strength = 0.5;
        let all = [
            Operation::Add { phrase: "a cat".to_owned(), bbox: boxed(0.0, 0.5) },
            Operation::Remove { phrase: "a cat".to_owned(), bbox: boxed(0.0, 0.5) },
            Operation::Move { phrase: "a cat".to_owned(), from: boxed(0.0, 0.5), to: boxed(0.5, 0.5) },
            Operation::Recolour { phrase: "a cat".to_owned(), bbox: boxed(0.0, 0.5), strength },
            Operation::Replace { phrase: "a cat".to_owned(), bbox: boxed(0.0, 0.5) },
        ];
        let sent: Vec<_> = all.iter().map(operation_doc).collect();
        assert_eq!(operations(&sent).unwrap(), all);
    }
}
