//! What a benchmark is: captions, what to look for in their images, and whether what was seen is right.

use std::fmt;

use serde::{Deserialize, Serialize};
use sinopia_layout::PixelBox;

use crate::published::Published;

/// How images are judged.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Protocol {
    /// As the benchmark's authors did, oddities included, so that figures can stand beside theirs.
    Published,
    /// Whole words, nothing extra, every repeat, missing images count as failures.
    Strict,
}

impl Protocol {
    /// Both, the published one first.
    pub const ALL: [Self; 2] = [Self::Published, Self::Strict];

    /// The word in files and tables.
    pub fn name(self) -> &'static str {
        match self {
            Self::Published => "published",
            Self::Strict => "strict",
        }
    }
}

impl fmt::Display for Protocol {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// One caption to paint. A caption that occurs n times is n samples.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Sample {
    /// Its number in the benchmark, from 0: the name of its folder and the start of its seeds.
    pub index: usize,
    /// The task it belongs to.
    pub task: String,
    /// The caption.
    pub caption: String,
    /// How many samples before it have the same caption.
    pub occurrence: usize,
}

impl Sample {
    /// Samples of (task, caption) pairs in order.
    pub(crate) fn number(captions: impl IntoIterator<Item = (String, String)>) -> Vec<Self> {
        let mut seen = std::collections::HashMap::new();
        let captions = captions.into_iter().enumerate();
        captions
            .map(|(index, (task, caption))| {
                let count = seen.entry(caption.clone()).or_insert(0);
                *count += 1;
                Self { index, task, caption, occurrence: *count - 1 }
            })
            .collect()
    }
}

/// What a benchmark needs to know of an image, and what an eye can tell.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Sight {
    /// Where things are: queries are names.
    Boxes,
    /// Whether something is so: queries are questions for yes or no.
    Answers,
    /// How alike image and text are: queries are texts.
    Likeness,
}

impl Sight {
    /// The words for what has this sight.
    pub fn name(self) -> &'static str {
        match self {
            Self::Boxes => "a detector",
            Self::Answers => "a vision model that answers questions",
            Self::Likeness => "a CLIP model",
        }
    }
}

/// Something to look for in an image.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Query {
    /// The words given to the eye; what is seen carries them as its name.
    pub text: String,
    /// Detections of one group that overlap are one thing seen twice: only the best stays.
    pub group: usize,
}

/// A box with a name, seen by a detector or written by a language model.
#[derive(Debug, Clone, PartialEq)]
pub struct Seen {
    /// What it is said to be.
    pub name: String,
    /// How sure the detector is, 0..=1; 1 for boxes of a layout.
    pub score: f64,
    /// Where, in pixels.
    pub bbox: PixelBox,
}

/// Whether an image is right, and in words why.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Verdict {
    /// 1 for right, 0 for wrong, between them where a benchmark gives parts of a point.
    pub score: f64,
    /// What was expected and seen.
    pub reason: String,
}

impl Verdict {
    /// Right or wrong.
    pub(crate) fn new(is_right: bool, reason: impl Into<String>) -> Self {
        Self { score: f64::from(u8::from(is_right)), reason: reason.into() }
    }

    /// Whether the whole point was given.
    pub fn passed(&self) -> bool {
        self.score >= 1.0
    }
}

/// A set of captions with a rule for each. A new benchmark is a file of [`crate::benchmarks`] and a line in its `open`.
pub trait Benchmark: fmt::Debug + Send + Sync {
    /// The name on the command line and in run folders.
    fn name(&self) -> &'static str;

    /// What a reader must know to compare its figures.
    fn note(&self) -> &'static str;

    /// What must look at its images.
    fn sight(&self) -> Sight {
        Sight::Boxes
    }

    /// Every caption, in order.
    fn samples(&self) -> &[Sample];

    /// What to look for in the sample's images.
    fn queries(&self, sample: &Sample, protocol: Protocol) -> Vec<Query>;

    /// Judges what was seen, the surest first, on a picture of (width, height) pixels.
    fn judge(&self, sample: &Sample, seen: &[Seen], size: (u32, u32), protocol: Protocol) -> Verdict;

    /// Figures of others under the published protocol.
    fn published(&self) -> &'static [Published] {
        &[]
    }
}

/// The benchmark's tasks in the order of their first captions.
pub fn tasks(benchmark: &dyn Benchmark) -> Vec<&str> {
    let mut tasks: Vec<&str> = Vec::new();
    for sample in benchmark.samples() {
        if !tasks.contains(&sample.task.as_str()) {
            tasks.push(&sample.task);
        }
    }
    tasks
}

/// Centre of a box in pixels.
pub(crate) fn centre(bbox: &PixelBox) -> (f64, f64) {
    (bbox.x() + bbox.width() / 2.0, bbox.y() + bbox.height() / 2.0)
}

/// Overlap of two boxes divided by their union, 0..=1.
pub(crate) fn iou(a: &PixelBox, b: &PixelBox) -> f64 {
    let shared = intersection(a, b);
    let union = area(a) + area(b) - shared;
    if union > 0.0 { shared / union } else { 0.0 }
}

/// Square pixels that two boxes share.
pub(crate) fn intersection(a: &PixelBox, b: &PixelBox) -> f64 {
    let width = (a.right().min(b.right()) - a.x().max(b.x())).max(0.0);
    let height = (a.bottom().min(b.bottom()) - a.y().max(b.y())).max(0.0);
    width * height
}

/// Square pixels of a box.
pub(crate) fn area(bbox: &PixelBox) -> f64 {
    bbox.width().max(0.0) * bbox.height().max(0.0)
}
