//! Omost's words for places: nine locations, an offset and nine areas on a grid of 90×90 cells.
//!
//! Models write other words for the same places (*on the lower right*, *at the left side*, *a big tall area*), so a place is read word by
//! word: which side it names, across and down. Only where no word is known the most similar of Omost's own is taken, for misspellings.
//!
//! # Source
//! lllyasviel/Omost@3524828:lib_omost/canvas.py (the grid and the words).

use crate::error::Result;
use crate::geometry::{Canvas, PixelBox};

/// What the format is called in messages.
pub(super) const FORMAT: &str = "Omost canvas";

/// Cells of a side of the grid.
pub(super) const CELLS: i32 = 90;

pub(super) const LOCATIONS: [(&str, (i32, i32)); 9] = [
    ("in the center", (45, 45)),
    ("on the left", (15, 45)),
    ("on the right", (75, 45)),
    ("on the top", (45, 15)),
    ("on the bottom", (45, 75)),
    ("on the top-left", (15, 15)),
    ("on the top-right", (75, 15)),
    ("on the bottom-left", (15, 75)),
    ("on the bottom-right", (75, 75)),
];

pub(super) const OFFSETS: [(&str, (i32, i32)); 9] = [
    ("no offset", (0, 0)),
    ("slightly to the left", (-10, 0)),
    ("slightly to the right", (10, 0)),
    ("slightly to the upper", (0, -10)),
    ("slightly to the lower", (0, 10)),
    ("slightly to the upper-left", (-10, -10)),
    ("slightly to the upper-right", (10, -10)),
    ("slightly to the lower-left", (-10, 10)),
    ("slightly to the lower-right", (10, 10)),
];

/// Width and height in cells.
pub(super) const AREAS: [(&str, (i32, i32)); 9] = [
    ("a small square area", (50, 50)),
    ("a small vertical area", (40, 60)),
    ("a small horizontal area", (60, 40)),
    ("a medium-sized square area", (60, 60)),
    ("a medium-sized vertical area", (50, 80)),
    ("a medium-sized horizontal area", (80, 50)),
    ("a large square area", (70, 70)),
    ("a large vertical area", (60, 90)),
    ("a large horizontal area", (90, 60)),
];

/// Cells between the centres of the middle and of a side.
const STEP: i32 = 30;

/// Cells of an offset.
const SLIGHTLY: i32 = 10;

const CENTER: [&str; 9] = ["center", "centre", "central", "centered", "centred", "middle", "mid", "midst", "halfway"];
const LEFT: [&str; 4] = ["left", "leftmost", "lefthand", "leftward"];
const RIGHT: [&str; 4] = ["right", "rightmost", "righthand", "rightward"];
const TOP: [&str; 8] = ["top", "topmost", "upper", "uppermost", "up", "upward", "upwards", "above"];
const BOTTOM: [&str; 11] =
    ["bottom", "bottommost", "lower", "lowermost", "low", "down", "downward", "downwards", "below", "beneath", "under"];
const NOTHING: [&str; 5] = ["no", "none", "zero", "without", "null"];

const SMALL: [&str; 6] = ["small", "smaller", "little", "tiny", "narrow", "minor"];
const MEDIUM: [&str; 7] = ["medium", "mid", "middle", "moderate", "moderately", "normal", "average"];
const LARGE: [&str; 7] = ["large", "larger", "big", "huge", "full", "whole", "giant"];
const SQUARE: [&str; 4] = ["square", "squared", "round", "quadratic"];
const VERTICAL: [&str; 5] = ["vertical", "vertically", "tall", "upright", "portrait"];
const HORIZONTAL: [&str; 5] = ["horizontal", "horizontally", "wide", "landscape", "broad"];

/// The words of a place, in lower case; words written together, as *topleft*, are taken apart, and misspelled ones corrected.
fn words(text: &str) -> Vec<String> {
    let text = text.to_lowercase();
    let words = text.split(|c: char| !c.is_alphabetic()).filter(|word| !word.is_empty());
    let apart = |word: &str| {
        let starts = TOP.iter().chain(&BOTTOM).chain(&CENTER);
        let is_side = |end: &str| LEFT.contains(&end) || RIGHT.contains(&end) || CENTER.contains(&end);
        let mut split = starts.filter_map(|start| Some((*start, word.strip_prefix(start)?)));
        match split.find(|(_, end)| is_side(end)) {
            Some((start, end)) => vec![start.to_owned(), end.to_owned()],
            None => vec![spelled(word).to_owned()],
        }
    };
    words.flat_map(apart).collect()
}

/// The word that is meant if a letter is missing, too many, or two are exchanged. Another letter would make another word, *light* of *right*.
fn spelled(word: &str) -> &str {
    let vocabulary: [&[&'static str]; 11] =
        [&CENTER, &LEFT, &RIGHT, &TOP, &BOTTOM, &SMALL, &MEDIUM, &LARGE, &SQUARE, &VERTICAL, &HORIZONTAL];
    let letters = |word: &str| {
        let mut letters: Vec<char> = word.chars().collect();
        letters.sort_unstable();
        letters
    };
    let is_meant = |known: &&&'static str| {
        known.len() > 3
            && known.chars().next() == word.chars().next()
            && strsim::osa_distance(word, known) == 1
            && (known.chars().count() != word.chars().count() || letters(known) == letters(word))
    };
    let all = || vocabulary.iter().copied().flatten();
    if all().any(|known| *known == word) {
        return word;
    }
    all().find(is_meant).copied().unwrap_or(word)
}

/// Which of some kinds of words is there: `Ok(None)` for none of them, an error for two that exclude each other.
fn only<T: Copy + PartialEq>(words: &[String], kinds: &[(&[&str], T)]) -> std::result::Result<Option<T>, ()> {
    let mut found = None;
    for (_, value) in kinds.iter().filter(|(known, _)| words.iter().any(|word| known.contains(&word.as_str()))) {
        if found.is_some_and(|other| other != *value) {
            return Err(());
        }
        found = Some(*value);
    }
    Ok(found)
}

/// Steps across and down that a text names; `None` if it names no place, or two.
fn direction(words: &[String]) -> Option<(i32, i32)> {
    let across = only(words, &[(&LEFT, -1), (&RIGHT, 1)]).ok()?;
    let down = only(words, &[(&TOP, -1), (&BOTTOM, 1)]).ok()?;
    let is_center = words.iter().any(|word| CENTER.contains(&word.as_str()));
    match (across, down) {
        (None, None) if !is_center => None,
        (across, down) => Some((across.unwrap_or(0), down.unwrap_or(0))),
    }
}

/// The centre of a location, in cells.
pub(super) fn location(text: &str) -> Option<(i32, i32)> {
    let middle = CELLS / 2;
    let by_words = direction(&words(text)).map(|(across, down)| (middle + STEP * across, middle + STEP * down));
    exact(text, &LOCATIONS).or(by_words)
}

/// An offset, in cells.
pub(super) fn offset(text: &str) -> Option<(i32, i32)> {
    let words = words(text);
    let is_none = words.is_empty() || words.iter().any(|word| NOTHING.contains(&word.as_str()));
    let by_words = direction(&words).map(|(across, down)| (SLIGHTLY * across, SLIGHTLY * down));
    exact(text, &OFFSETS).or(by_words).or(is_none.then_some((0, 0)))
}

/// Width and height of an area, in cells. One of size and shape is enough: others are medium-sized and square.
pub(super) fn area(text: &str) -> Option<(i32, i32)> {
    let words = words(text);
    let size = only(&words, &[(&SMALL, 0), (&MEDIUM, 3), (&LARGE, 6)]);
    let shape = only(&words, &[(&SQUARE, 0), (&VERTICAL, 1), (&HORIZONTAL, 2)]);
    let by_words = match (size, shape) {
        (Ok(None), Ok(None)) | (Err(()), _) | (_, Err(())) => None,
        (Ok(size), Ok(shape)) => Some(AREAS[size.unwrap_or(3) + shape.unwrap_or(0)].1),
    };
    exact(text, &AREAS).or(by_words)
}

fn exact(text: &str, choices: &[(&str, (i32, i32))]) -> Option<(i32, i32)> {
    choices.iter().find(|(choice, _)| text.trim().eq_ignore_ascii_case(choice)).map(|(_, value)| *value)
}

/// Names of choices, for messages.
pub(super) fn known(choices: &[(&str, (i32, i32))]) -> String {
    choices.iter().map(|(choice, _)| *choice).collect::<Vec<_>>().join(", ")
}

/// A box in cells of the grid.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct CellBox {
    pub(super) x0: i32,
    pub(super) y0: i32,
    pub(super) x1: i32,
    pub(super) y1: i32,
}

impl CellBox {
    /// Around the centre that location and offset make, cut at the edges.
    pub(super) fn new(location: (i32, i32), offset: (i32, i32), area: (i32, i32)) -> Self {
        let (x, y) = (location.0 + offset.0, location.1 + offset.1);
        let cut = |cell: i32| cell.clamp(0, CELLS);
        let (width, height) = area;
        Self { x0: cut(x - width / 2), y0: cut(y - height / 2), x1: cut(x + width / 2), y1: cut(y + height / 2) }
    }

    /// The box in pixels of a canvas.
    pub(super) fn to_pixels(self, canvas: Canvas) -> Result<PixelBox> {
        let (width, height) = canvas.sides();
        let across = |cell: i32| f64::from(cell) / f64::from(CELLS) * width;
        let down = |cell: i32| f64::from(cell) / f64::from(CELLS) * height;
        let (x, y) = (across(self.x0), down(self.y0));
        Ok(PixelBox::new(x, y, across(self.x1) - x, down(self.y1) - y)?.clipped_to(canvas))
    }
}

/// The words whose box has the greatest intersection over union with `bbox`, the simplest of equals.
pub(super) fn nearest(bbox: &PixelBox, canvas: Canvas) -> (&'static str, &'static str, &'static str) {
    let mut best = (LOCATIONS[0].0, OFFSETS[0].0, AREAS[0].0);
    let mut best_overlap = -1.0;
    for (location, center) in LOCATIONS {
        for (offset, shift) in OFFSETS {
            for (area, size) in AREAS {
                let overlap = CellBox::new(center, shift, size).to_pixels(canvas).map_or(0.0, |cells| bbox.iou(&cells));
                if overlap > best_overlap + 1e-9 {
                    best_overlap = overlap;
                    best = (location, offset, area);
                }
            }
        }
    }
    best
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn omosts_own_words_are_read_exactly() {
        assert!(
            LOCATIONS
                .iter()
                .all(|(words, value)| location(words) == Some(*value) && direction(&super::words(words)).is_some())
        );
        assert!(OFFSETS.iter().all(|(words, value)| offset(words) == Some(*value)));
        assert!(AREAS.iter().all(|(words, value)| area(words) == Some(*value)));
        // Word by word they say the same.
        let reworded = |text: &str| format!("somewhere {text} please");
        assert!(LOCATIONS.iter().all(|(words, value)| location(&reworded(words)) == Some(*value)));
        assert!(OFFSETS.iter().all(|(words, value)| offset(&reworded(words)) == Some(*value)));
        assert!(AREAS.iter().all(|(words, value)| area(&reworded(words)) == Some(*value)));
    }

    #[test]
    fn places_are_read_by_their_words() {
        for (text, expected) in [
            ("on the lower right", (75, 75)),
            ("on the lower-right", (75, 75)),
            ("on the upper right", (75, 15)),
            ("in the upper left corner", (15, 15)),
            ("at the bottom left", (15, 75)),
            ("topright", (75, 15)),
            ("bottom center", (45, 75)),
            ("at the left side", (15, 45)),
            ("on the left-hand side", (15, 45)),
            ("in the middle of the right side", (75, 45)),
            ("In The Centre", (45, 45)),
            ("at the bottom", (45, 75)),
            ("above the middle", (45, 15)),
            ("on the botom", (45, 75)),
            ("on the top-lef", (15, 15)),
            ("on the rigth", (75, 45)),
        ] {
            assert_eq!(location(text), Some(expected), "{text}");
        }
        for text in ["", "nowhere at all", "on the left and right", "from top to bottom", "in the light", "7"] {
            assert_eq!(location(text), None, "{text}");
        }
    }

    #[test]
    fn offsets_and_areas_are_read_by_their_words() {
        for (text, expected) in [
            ("slightly to the lower right", (10, 10)),
            ("a bit up", (0, -10)),
            ("slightly left", (-10, 0)),
            ("slightly downwards", (0, 10)),
            ("none", (0, 0)),
            ("", (0, 0)),
            ("0", (0, 0)),
            ("centered", (0, 0)),
        ] {
            assert_eq!(offset(text), Some(expected), "{text}");
        }
        assert_eq!(offset("left or right"), None);
        for (text, expected) in [
            ("a big tall area", (60, 90)),
            ("medium square", (60, 60)),
            ("a small area", (50, 50)),
            ("a horizontal area", (80, 50)),
            ("a tiny wide area", (60, 40)),
            ("a smal squar area", (50, 50)),
        ] {
            assert_eq!(area(text), Some(expected), "{text}");
        }
        for text in ["", "an area", "a small large area", "a tall horizontal area"] {
            assert_eq!(area(text), None, "{text}");
        }
    }
}
