//! From a reading to a layout, step by step.

use std::fmt;

use sinopia_english::{CaptionAnalysis, NounClass, PositionKind, Thing};
use sinopia_layout::{Canvas, Layout, LayoutObject, PixelBox};

use crate::arrange::{Arranged, Frame, arrange};
use crate::carriers::carrier;
use crate::forest::plant;
use crate::group::{Arrangement, Group};
use crate::phrases;
use crate::rect::Rect;
use crate::scene::{Scene, scene_of};
use crate::sizes::{Size, Support, size_of};

/// Most boxes of a layout that is solved: what is smaller than these nobody can tell in a picture.
pub const MOST_BOXES: u32 = 36;

/// Remarks about one layout.
const MOST_REMARKS: usize = 6;

/// The largest thing of a picture is drawn at most so many times as long as the smallest one.
const LARGEST_RATIO: f64 = 3.2;

/// What is left of the differences of sizes where they would all fit: 1 draws them as they are.
const COMPRESSION: f64 = 0.6;

/// The flattest and the slenderest box.
const ASPECTS: (f64, f64) = (0.32, 3.2);

/// Below this, in metres, everything stands on a table.
const TABLE_SIZE: f64 = 0.7;

/// What comes in twos where no number is written.
const PAIRED: &[&str] = &[
    "chopstick",
    "boot",
    "shoe",
    "sneaker",
    "sandal",
    "slipper",
    "sock",
    "glove",
    "mitten",
    "earring",
    "ski",
    "crutch",
];

/// Which of the many good layouts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SolveOptions {
    /// The picture's size.
    pub canvas: Canvas,
    /// Other seeds vary sizes, sides and numbers that are not written; the same one gives the same layout.
    pub seed: u64,
}

impl Default for SolveOptions {
    fn default() -> Self {
        Self { canvas: Canvas::PUBLISHED, seed: 0 }
    }
}

/// A layout and what has to be said about it.
#[derive(Debug, Clone, PartialEq)]
pub struct Solution {
    /// Inside the canvas, every box with an area.
    pub layout: Layout,
    /// For each thing of the analysis, its boxes: indices of the layout's objects.
    pub boxes: Vec<Vec<usize>>,
    /// What the caption says and the layout has not.
    pub remarks: Vec<Remark>,
}

/// Something of the caption that is not in the layout.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Remark {
    /// Two relations that cannot both hold; the later one was left out.
    Contradiction {
        /// What holds.
        kept: String,
        /// What does not.
        dropped: String,
    },
    /// More of a thing than were drawn.
    Fewer {
        /// The thing as written.
        phrase: String,
        /// What the caption asks for.
        asked: u32,
        /// How many boxes it has.
        drawn: u32,
    },
    /// Not everything stands as the caption says: there was no room, or it cannot be.
    Crowded,
    /// More remarks than anybody reads.
    More {
        /// How many are not told.
        count: usize,
    },
}

impl fmt::Display for Remark {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Remark::Contradiction { kept, dropped } => write!(f, "`{dropped}` contradicts `{kept}` and was left out"),
            Remark::Fewer { phrase, asked, drawn } => {
                write!(f, "the caption asks for {asked} × `{phrase}`, and {drawn} have room in the picture")
            }
            Remark::More { count } => write!(f, "and {count} more of the kind"),
            Remark::Crowded => write!(f, "not everything found room where the caption puts it"),
        }
    }
}

/// Why there is no layout.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Unsolvable {
    /// Nothing that can be drawn, no place, nothing excluded.
    #[error("there is nothing in the caption that could be drawn")]
    Nothing,
}

/// The layout of a caption that was read: `analysis` is that of `caption`.
///
/// # Errors
/// [`Unsolvable::Nothing`].
pub fn solve(caption: &str, analysis: &CaptionAnalysis, options: &SolveOptions) -> Result<Solution, Unsolvable> {
    let CaptionAnalysis { things, places, weather, times, styles, exclusions, .. } = analysis;
    if things.is_empty()
        && exclusions.is_empty()
        && [places, weather, times, styles].iter().all(|found| found.is_empty())
    {
        return Err(Unsolvable::Nothing);
    }
    let mut random = fastrand::Rng::with_seed(options.seed);
    // The first layout is the plainest one; others vary.
    let variation = if options.seed == 0 { 0.0 } else { 0.12 };
    let is_mirrored = options.seed != 0 && random.bool();
    let mut remarks = Vec::new();
    let counts = counts(things, options.seed, &mut random, &mut remarks);
    let sizes: Vec<Size> = things.iter().map(placed_size).collect();
    let largest = sizes.iter().map(|size| size.height.max(size.width)).fold(0.0, f64::max);
    let scene = scene_of(analysis, largest < TABLE_SIZE);
    let sizes = if scene.is_close {
        sizes.into_iter().zip(things).map(|(size, thing)| head_and_shoulders(size, thing)).collect()
    } else {
        sizes
    };
    let groups = groups(things, &sizes, &counts, variation, &mut random);
    let forest = plant(analysis, groups);
    remarks.extend(forest.remarks.iter().cloned());
    let canvas = options.canvas;
    let side = f64::from(canvas.width().min(canvas.height()));
    let frame = Frame { w: f64::from(canvas.width()) / side, h: f64::from(canvas.height()) / side };
    let arranged = best_arrangement(&forest, scene, frame, is_mirrored);
    if arranged.violation > 0.05 {
        remarks.push(Remark::Crowded);
    }
    let (objects, boxes) = objects(analysis, &counts, arranged, canvas, side);
    let layout = Layout {
        canvas,
        objects,
        background: phrases::background(caption, analysis),
        negative: phrases::negative(analysis),
    };
    Ok(Solution { layout: layout.rounded(), boxes, remarks: few(remarks) })
}

fn few(mut remarks: Vec<Remark>) -> Vec<Remark> {
    if remarks.len() > MOST_REMARKS {
        let count = remarks.split_off(MOST_REMARKS - 1).len();
        remarks.push(Remark::More { count });
    }
    remarks
}

/// How many boxes each thing gets.
fn counts(things: &[Thing], seed: u64, random: &mut fastrand::Rng, remarks: &mut Vec<Remark>) -> Vec<u32> {
    let wanted = things.iter().map(|thing| {
        let count = thing.count;
        match (count.min, count.max) {
            (min, max) if min == max => min,
            // A plural without a number: three, unless something says otherwise.
            (min, max) if PAIRED.contains(&thing.head.as_str()) => 2.clamp(min, max),
            (min, max) if seed == 0 => 3.clamp(min, max),
            (min, max) => random.u32(min..=max.min(min + 3)),
        }
    });
    let wanted: Vec<u32> = wanted.map(|count| count.max(1)).collect();
    let total: u32 = wanted.iter().sum();
    if total <= MOST_BOXES {
        return wanted;
    }
    // The largest groups give way until all fit; more things than boxes are cut at the end.
    let fits = |most: u32| wanted.iter().map(|count| (*count).min(most)).sum::<u32>() <= MOST_BOXES;
    let most = (1..=MOST_BOXES).rev().find(|most| fits(*most)).unwrap_or(0);
    let mut left = MOST_BOXES;
    let mut counts = Vec::with_capacity(wanted.len());
    for (thing, asked) in things.iter().zip(wanted) {
        let drawn = asked.min(most.max(1)).min(left);
        left -= drawn;
        if drawn < asked {
            remarks.push(Remark::Fewer { phrase: thing.phrase.clone(), asked, drawn });
        }
        counts.push(drawn);
    }
    counts
}

/// The size of a thing, and where it is if it does something that says so.
fn placed_size(thing: &Thing) -> Size {
    let mut size = size_of(thing);
    let doing = thing.doing.as_deref().unwrap_or_default();
    if ["flying", "floating", "soaring", "hovering", "gliding", "drifting", "falling"]
        .iter()
        .any(|word| doing.starts_with(word))
    {
        size.support = Support::Air;
    }
    if doing.starts_with("hanging") && size.support != Support::Air {
        size.support = Support::Wall;
    }
    size
}

/// Who is portrayed is seen from the chest upwards.
fn head_and_shoulders(size: Size, thing: &Thing) -> Size {
    if thing.class == NounClass::Person { Size { width: 0.75 * size.height, ..size } } else { size }
}

/// A group for each thing that gets boxes, in sizes between which a picture can choose.
fn groups(things: &[Thing], sizes: &[Size], counts: &[u32], variation: f64, random: &mut fastrand::Rng) -> Vec<Group> {
    let length = |size: &Size| (size.height * size.width).sqrt();
    let drawn = || sizes.iter().zip(counts).filter(|(_, count)| **count > 0).map(|(size, _)| length(size));
    let (smallest, largest) = (drawn().fold(f64::INFINITY, f64::min), drawn().fold(0.0, f64::max));
    let spread = (largest / smallest).max(1.0 + 1e-9);
    let exponent = COMPRESSION.min(LARGEST_RATIO.ln() / spread.ln());
    let group = |(i, thing): (usize, &Thing)| {
        let size = sizes[i];
        let aspect = (size.width / size.height).clamp(ASPECTS.0, ASPECTS.1);
        let vary = 1.0 + variation * (2.0 * random.f64() - 1.0);
        // Machines differ in the last digits of a power.
        let length = ((length(&size) / largest).powf(exponent) * vary * 1e6).round() / 1e6;
        Group {
            thing: i,
            class: thing.class,
            count: counts[i] as usize,
            is_count_written: thing.count.is_written && thing.count.min == thing.count.max,
            arrangement: Arrangement::Free,
            unit: (length * aspect.sqrt(), length / aspect.sqrt()),
            support: size.support,
            carrier: carrier(&thing.name, thing.class),
            each: Vec::new(),
            whole: Vec::new(),
        }
    };
    things.iter().enumerate().map(group).filter(|group| group.count > 0).collect()
}

/// The arrangement with the largest things among those that hold; if none holds, the one that is least wrong.
fn best_arrangement(forest: &crate::forest::Forest, scene: Scene, frame: Frame, is_mirrored: bool) -> Arranged {
    // Several rows have to be worth it: one is quieter.
    let score = |(rows, tried): &(usize, Arranged)| tried.score() * (1.0 - 0.25 * (*rows as f64 - 1.0));
    // Several things of which each stands in the row are the row.
    let is_row = forest.positions_of_single(PositionKind::Row) > 1;
    // A single tree is in one row, however many there could be.
    let most = if is_row || forest.roots.len() <= 1 { 1 } else { 3 };
    let tried = (1..=most).map(|rows| (rows, arrange(forest, scene, frame, rows, is_mirrored)));
    let best = tried.reduce(|best, next| if score(&next) > score(&best) { next } else { best });
    best.map_or_else(Arranged::default, |(_, arranged)| arranged)
}

/// Boxes in pixels, in the order of the things, from left to right; and which belong to which thing.
fn objects(
    analysis: &CaptionAnalysis,
    counts: &[u32],
    arranged: Arranged,
    canvas: Canvas,
    side: f64,
) -> (Vec<LayoutObject>, Vec<Vec<usize>>) {
    let mut units = arranged.units;
    units.sort_by(|(a, one), (b, other)| a.cmp(b).then(one.x.total_cmp(&other.x)));
    let mut boxes = vec![Vec::new(); analysis.things.len()];
    let mut objects = Vec::with_capacity(units.len());
    for (thing, rect) in units {
        // Nothing is drawn more often than it was counted.
        if boxes[thing].len() >= counts[thing] as usize {
            continue;
        }
        let Some(bbox) = to_pixels(rect, canvas, side) else { continue };
        boxes[thing].push(objects.len());
        objects.push(LayoutObject { phrase: phrases::phrase(analysis, thing), bbox });
    }
    (objects, boxes)
}

/// Whole pixels inside the canvas.
fn to_pixels(rect: Rect, canvas: Canvas, side: f64) -> Option<PixelBox> {
    let edge = |at: f64, most: u32| (at * side).round().clamp(0.0, f64::from(most));
    let (left, right) = (edge(rect.x, canvas.width()), edge(rect.right(), canvas.width()));
    let (top, bottom) = (edge(rect.y, canvas.height()), edge(rect.bottom(), canvas.height()));
    PixelBox::new(left, top, (right - left).max(1.0), (bottom - top).max(1.0)).ok().map(|bbox| bbox.clipped_to(canvas))
}
