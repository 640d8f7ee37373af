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

/// What a benchmark needs to know of an image, and what an evaluator can tell of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Capability {
    /// Where things are: queries are names.
    Boxes,
    /// Whether something is so: queries are questions for yes or no.
    Answers,
    /// How alike image and text are: queries are texts.
    ClipScore,
}

impl Capability {
    /// The words for what has it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Boxes => "a detector",
            Self::Answers => "a vision model that answers questions",
            Self::ClipScore => "a CLIP model",
        }
    }
}

/// Something to look for in an image.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Query {
    /// The words given to the evaluator; a prediction carries them as its label.
    pub text: String,
    /// Detections of one group that overlap are one thing seen twice: only the best stays.
    pub group: usize,
}

/// The size of an image in pixels. In files it is a list, width first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(from = "(u32, u32)", into = "(u32, u32)")]
pub struct ImageSize {
    /// Width in pixels.
    pub width: u32,
    /// Height in pixels.
    pub height: u32,
}

impl From<(u32, u32)> for ImageSize {
    fn from((width, height): (u32, u32)) -> Self {
        Self { width, height }
    }
}

impl From<ImageSize> for (u32, u32) {
    fn from(size: ImageSize) -> Self {
        (size.width, size.height)
    }
}

impl fmt::Display for ImageSize {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}×{}", self.width, self.height)
    }
}

/// A labelled box, predicted by an evaluator or written by a language model.
#[derive(Debug, Clone, PartialEq)]
pub struct Prediction {
    /// What it is said to be.
    pub label: String,
    /// How sure the evaluator is, 0..=1; 1 for boxes of a layout.
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
    fn capability(&self) -> Capability {
        Capability::Boxes
    }

    /// Every caption, in order.
    fn samples(&self) -> &[Sample];

    /// What to look for in the sample's images.
    fn queries(&self, sample: &Sample, protocol: Protocol) -> Vec<Query>;

    /// Judges what was predicted, by descending score, of a picture of that size.
    fn judge(&self, sample: &Sample, seen: &[Prediction], size: ImageSize, protocol: Protocol) -> Verdict;

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
