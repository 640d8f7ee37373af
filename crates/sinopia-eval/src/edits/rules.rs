//! Which edits there are: from captions and layouts by rule.

use sinopia_layout::{Canvas, Layout, LayoutObject, PixelBox};

use super::{Change, EditTask};
use crate::benchmark::Sample;
use crate::benchmarks::lmd::{COLOURS, OBJECTS};
use crate::names::{with_article, words};

/// Places are tried in steps of a sixteenth of the canvas: whole latent cells, whatever the model.
const STEPS: u32 = 16;
/// Sides of an added object, in steps: the first that finds room.
const ADDED_SIDES: [u32; 3] = [5, 4, 3];
/// How an object is resized: the first that finds room and moves an edge by more than a step.
const FACTORS: [f64; 4] = [1.5, 1.3, 0.65, 2.0];
/// Shorter sides than so many steps are not made.
const SMALLEST: u32 = 2;

/// `count` edits of layouts, spread evenly over all whose objects the benchmark knows; fewer if there are fewer layouts. The changes take turns; where one finds no room, the
/// next one does.
pub fn tasks(layouts: &[(&Sample, Layout)], count: usize) -> Vec<EditTask> {
    let is_known = |layout: &Layout| {
        !layout.objects.is_empty() && layout.objects.iter().all(|object| Look::of(&object.phrase).is_some())
    };
    let known: Vec<&(&Sample, Layout)> = layouts.iter().filter(|(_, layout)| is_known(layout)).collect();
    let count = count.min(known.len());
    let task = |index: usize| {
        let (sample, before) = known[index * known.len() / count];
        let turns = Change::ALL.iter().cycle().skip(index).take(Change::ALL.len());
        turns.copied().find_map(|change| change_of(index, change, &sample.caption, before))
    };
    (0..count).filter_map(task).collect()
}

/// What a phrase of the benchmark says: `an orange cat`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Look {
    colour: Option<&'static str>,
    kind: &'static str,
}

impl Look {
    fn of(phrase: &str) -> Option<Self> {
        let words = words(phrase);
        let (kind, rest) = words.split_last()?;
        let kind = OBJECTS.into_iter().find(|known| known == kind)?;
        let colour_of = |word: &String| COLOURS.into_iter().find(|known| known == word);
        match rest {
            [article] if matches!(article.as_str(), "a" | "an") => Some(Self { colour: None, kind }),
            [article, colour] if matches!(article.as_str(), "a" | "an") => {
                Some(Self { colour: Some(colour_of(colour)?), kind })
            }
            _ => None,
        }
    }

    fn phrase(self) -> String {
        with_article(&self.colour.map_or(self.kind.to_owned(), |colour| format!("{colour} {}", self.kind)))
    }
}

/// The change of a layout with number `index`, if there is room for it.
fn change_of(index: usize, change: Change, caption: &str, before: &Layout) -> Option<EditTask> {
    let chosen = index % before.objects.len();
    let object = &before.objects[chosen];
    let look = Look::of(&object.phrase)?;
    let mut after = before.clone();
    let (gone, new) = match change {
        Change::Add => {
            let look = Look { colour: Some(unused_colour(before, index)?), kind: unused_kind(before, index)? };
            let (across, down) = step(before.canvas);
            let sides = ADDED_SIDES.map(|side| (across * f64::from(side), down * f64::from(side)));
            let bbox = sides.into_iter().find_map(|sides| free_place(before, sides))?;
            after.objects.push(LayoutObject { phrase: look.phrase(), bbox });
            (None, Some(after.objects.len() - 1))
        }
        Change::Remove => {
            after.objects.remove(chosen);
            (Some(chosen), None)
        }
        Change::Move => {
            after.objects[chosen].bbox = free_place(before, (object.bbox.width(), object.bbox.height()))?;
            (Some(chosen), Some(chosen))
        }
        Change::Resize => {
            after.objects[chosen].bbox = FACTORS.iter().find_map(|factor| resized(before, chosen, *factor))?;
            (None, Some(chosen))
        }
        Change::Recolour => {
            after.objects[chosen].phrase = Look { colour: Some(unused_colour(before, index)?), ..look }.phrase();
            (None, Some(chosen))
        }
        Change::Replace => {
            after.objects[chosen].phrase = Look { kind: unused_kind(before, index)?, ..look }.phrase();
            (Some(chosen), Some(chosen))
        }
    };
    Some(EditTask { index, caption: caption.to_owned(), change, before: before.clone(), after, gone, new })
}

fn unused_colour(layout: &Layout, index: usize) -> Option<&'static str> {
    unused(COLOURS, index, |colour| looks(layout).any(|look| look.colour == Some(colour)))
}

fn unused_kind(layout: &Layout, index: usize) -> Option<&'static str> {
    unused(OBJECTS, index, |kind| looks(layout).any(|look| look.kind == kind))
}

/// The first word from number `index` on, going round, that is not used.
fn unused<const N: usize>(
    words: [&'static str; N],
    index: usize,
    is_used: impl Fn(&'static str) -> bool,
) -> Option<&'static str> {
    (0..N).map(|turn| words[(index + turn) % N]).find(|word| !is_used(word))
}

fn looks(layout: &Layout) -> impl Iterator<Item = Look> + '_ {
    layout.objects.iter().filter_map(|object| Look::of(&object.phrase))
}

/// Sides of a step in pixels of the canvas.
fn step(canvas: Canvas) -> (f64, f64) {
    (f64::from(canvas.width()) / f64::from(STEPS), f64::from(canvas.height()) / f64::from(STEPS))
}

/// The place for a box of so many pixels on the canvas that lies on no object's box and furthest from all; the first of equals from the top left.
fn free_place(layout: &Layout, (width, height): (f64, f64)) -> Option<PixelBox> {
    let (across, down) = step(layout.canvas);
    let corners = (0..STEPS).flat_map(|row| (0..STEPS).map(move |column| (f64::from(column), f64::from(row))));
    let places = corners.filter_map(|(column, row)| PixelBox::new(column * across, row * down, width, height).ok());
    let free = places.filter(|place| {
        place.is_inside(layout.canvas) && layout.objects.iter().all(|object| object.bbox.intersection(place) == 0.0)
    });
    let room = |place: &PixelBox| {
        let distances = layout.objects.iter().map(|object| distance(object.bbox.center(), place.center()));
        distances.fold(f64::INFINITY, f64::min)
    };
    free.fold(None, |best: Option<PixelBox>, place| match best {
        Some(best) if room(&place) <= room(&best) => Some(best),
        _ => Some(place),
    })
}

fn distance(a: (f64, f64), b: (f64, f64)) -> f64 {
    (a.0 - b.0).hypot(a.1 - b.1)
}

/// An object's box scaled around the middle of its lower edge, if that is a change on the latents' grid, stays on the canvas, is not too small and touches no other box.
fn resized(layout: &Layout, chosen: usize, factor: f64) -> Option<PixelBox> {
    let bbox = &layout.objects[chosen].bbox;
    let (width, height) = ((bbox.width() * factor).round(), (bbox.height() * factor).round());
    let (across, down) = step(layout.canvas);
    if width < across * f64::from(SMALLEST) || height < down * f64::from(SMALLEST) {
        return None;
    }
    if (width - bbox.width()).abs() / 2.0 <= across && (height - bbox.height()).abs() <= down {
        return None;
    }
    let x = (bbox.center().0 - width / 2.0).round();
    let to = PixelBox::new(x, bbox.bottom() - height, width, height).ok()?;
    let mut others = layout.objects.iter().enumerate().filter(|(index, _)| *index != chosen);
    let is_free = others.all(|(_, other)| other.bbox.intersection(&to) <= other.bbox.intersection(bbox));
    (to.is_inside(layout.canvas) && is_free).then_some(to)
}

#[cfg(test)]
mod tests {
    use sinopia_layout::{LayoutCache, repair};

    use super::super::{COUNT, tasks_sha256};
    use super::*;
    use crate::benchmarks::Lmd;
    use crate::{Benchmark, layouts};

    fn of_gpt_4(count: usize) -> Vec<EditTask> {
        let benchmark = Lmd::new();
        let cache = LayoutCache::from_json(include_str!("../../tests/data/gpt-4.json")).unwrap();
        let samples: Vec<&Sample> = benchmark.samples().iter().collect();
        let found = layouts::find_all(&cache, &samples).unwrap();
        let repaired: Vec<(&Sample, Layout)> =
            found.into_iter().map(|(sample, layout)| (sample, repair(layout).0)).collect();
        tasks(&repaired, count)
    }

    #[test]
    fn two_hundred_layouts_change_in_one_thing_each_and_the_same_every_time() {
        let tasks = of_gpt_4(COUNT);
        assert_eq!(tasks.len(), COUNT);
        assert_eq!(tasks_sha256(&tasks).unwrap(), tasks_sha256(&of_gpt_4(COUNT)).unwrap());
        for change in Change::ALL {
            let number = tasks.iter().filter(|task| task.change == change).count();
            assert!((20..=60).contains(&number), "{number} × {}", change.name());
        }
        for task in &tasks {
            assert!(task.after.is_inside_canvas(), "{task:?}");
            for (before, after) in task.kept() {
                assert_eq!(task.before.objects[before], task.after.objects[after], "{task:?}");
            }
            let others = task.kept().len();
            let added = usize::from(task.new.is_some());
            assert_eq!(task.after.objects.len(), others + added, "{task:?}");
            if let Some(new) = task.new {
                let is_known = |object: &LayoutObject| task.before.objects.contains(object);
                assert!(!is_known(&task.after.objects[new]), "nothing changes: {task:?}");
            }
        }
    }

    #[test]
    fn what_is_moved_or_added_finds_free_room() {
        for task in of_gpt_4(COUNT).iter().filter(|task| matches!(task.change, Change::Add | Change::Move)) {
            let new = &task.after.objects[task.new.unwrap()];
            assert!(task.before.objects.iter().all(|object| object.bbox.intersection(&new.bbox) == 0.0), "{task:?}");
        }
    }

    #[test]
    fn what_is_resized_is_so_by_more_than_a_latent_cell() {
        for task in of_gpt_4(COUNT).iter().filter(|task| task.change == Change::Resize) {
            let new = task.new.unwrap();
            let (from, to) = (task.before.objects[new].bbox, task.after.objects[new].bbox);
            let (across, down) = step(task.before.canvas);
            assert!((from.x() - to.x()).abs() > across - 1.0 || (from.y() - to.y()).abs() > down, "{task:?}");
        }
    }

    #[test]
    fn lists_are_read_again_as_they_were_written() {
        let tasks = of_gpt_4(12);
        let json = serde_json::to_string(&tasks).unwrap();
        assert_eq!(serde_json::from_str::<Vec<EditTask>>(&json).unwrap(), tasks);
    }

    #[test]
    fn phrases_beyond_the_benchmark_are_not_edited() {
        for (phrase, known) in
            [("an orange cat", true), ("a dog", true), ("two cats", false), ("a striped cat", false), ("cat", false)]
        {
            assert_eq!(Look::of(phrase).map(Look::phrase), known.then(|| phrase.to_owned()));
        }
    }
}
