//! What was tried and what came of it.

use std::collections::BTreeMap;

use serde::Serialize;
use sinopia_diffusion::noise::Seed;
use sinopia_diffusion::{CheckedRecord, Edit, ModelId, Operation, TryRecord};
use sinopia_layout::{BBox, excerpt};

use crate::Verdict;

/// Most characters of what was seen that a recipe writes down of each try.
const SUMMARY_CHARS: usize = 300;

/// The best picture, what was seen of it, and how it came about.
#[derive(Debug, Clone)]
pub struct Checked<P> {
    /// The best picture.
    pub picture: P,
    /// What was seen of it.
    pub verdict: Verdict,
    /// The attempt that it is, or is a repair of, from 0.
    pub attempt: u32,
    /// What was done to that attempt, in order.
    pub edits: Vec<Edit>,
    /// Every try, in the order in which they were made.
    pub tries: Vec<AttemptReport>,
    /// Why nothing more was tried.
    pub ended: Ended,
    /// What went wrong, if that [ended](Ended::Failed) it.
    pub problem: Option<String>,
}

/// Why nothing more was tried.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Ended {
    /// Nothing is wrong, as far as the evaluator can tell.
    Right,
    /// All attempts were made, and nothing was to be repaired.
    Attempts,
    /// What could be tried about what is wrong was tried.
    Repairs,
    /// The next try would have taken more seconds than were left.
    Seconds,
    /// The next try would have taken more work than was left.
    Work,
    /// Somebody asked for the end.
    Cancelled,
    /// Something went wrong after a picture was there.
    Failed,
}

/// One try: an attempt from a seed of its own or, with operations, a repair of the best picture so far.
#[derive(Debug, Clone, Serialize)]
pub struct AttemptReport {
    /// The attempt that was painted or repaired, from 0.
    pub attempt: u32,
    /// Its seed.
    pub seed: Seed,
    /// What was done to it; nothing for a picture that was painted anew.
    pub operations: Vec<Operation>,
    /// What was seen; where the repair itself failed, what was seen before.
    pub verdict: Verdict,
    /// Whether it is the best so far.
    pub accepted: bool,
    /// Why it is not kept although something was done.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub rejected: Option<Rejected>,
    /// How far new and old pixels are apart where they meet, in levels of 255.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub seam: Option<f64>,
    /// Multiply-accumulates of the denoiser.
    pub work: u64,
    /// Painting and looking.
    pub seconds: f64,
}

/// Why a repair is not kept.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Rejected {
    /// No less is wrong.
    NotBetter,
    /// Something that was right is not any more.
    Lost,
    /// Its edge is seen.
    Seam,
    /// It could not be done.
    Failed(String),
}

impl<P> Checked<P> {
    /// What recipes write down of it.
    pub fn record(&self) -> CheckedRecord {
        let evaluator = &self.verdict.evaluator;
        CheckedRecord {
            evaluator: ModelId { id: evaluator.id.clone(), hash: evaluator.hash.clone() },
            thresholds: named(&self.verdict),
            tries: self.tries.iter().map(AttemptReport::record).collect(),
        }
    }

    /// The best picture as something else.
    ///
    /// # Errors
    /// Those of `into`.
    pub fn try_map<Q, E>(self, into: impl FnOnce(P) -> Result<Q, E>) -> Result<Checked<Q>, E> {
        let Self { picture, verdict, attempt, edits, tries, ended, problem } = self;
        Ok(Checked { picture: into(picture)?, verdict, attempt, edits, tries, ended, problem })
    }

    /// One line for whoever waits, of a picture that is not right: why it is the best that there is.
    pub fn shortfall(&self) -> Option<String> {
        let why = match self.ended {
            Ended::Right => return None,
            Ended::Attempts => "another attempt may do better, `--repair` may mend it",
            Ended::Repairs if self.tries.iter().any(AttemptReport::is_repair) => "what could be repaired was tried",
            Ended::Repairs => "nothing in it is surely wrong in a way that could be repaired",
            Ended::Seconds => "there was no time for more",
            Ended::Work => "more work than that was not to be spent",
            Ended::Cancelled => "stopped before more was tried",
            Ended::Failed => self.problem.as_deref().unwrap_or("the next try failed"),
        };
        Some(format!("the best picture is kept, and it is not right: {}; {why}", self.verdict.summary()))
    }
}

/// Thresholds by name.
fn named(verdict: &Verdict) -> BTreeMap<String, f64> {
    let value = serde_json::to_value(verdict.thresholds);
    value.and_then(serde_json::from_value).unwrap_or_default()
}

impl AttemptReport {
    /// Whether it repaired a picture, and did not paint one anew.
    pub fn is_repair(&self) -> bool {
        !self.operations.is_empty()
    }

    /// One line for people: `attempt 2, seed 1: 4 of 5 right: no blue bowl`, `repair: added a blue bowl at the right: 5 of 5 right`.
    pub fn line(&self) -> String {
        let seen = self.verdict.summary();
        if !self.is_repair() {
            return format!("attempt {}, seed {}: {seen}", self.attempt + 1, self.seed.0);
        }
        match &self.rejected {
            None => format!("repair: {}: {seen}", listed(&self.operations, done)),
            Some(why) => format!("repair: tried to {}; undone, {}", listed(&self.operations, to_do), why.words(&seen)),
        }
    }

    fn record(&self) -> TryRecord {
        TryRecord {
            seed: self.seed,
            operations: self.operations.clone(),
            accepted: self.accepted,
            summary: excerpt(&self.verdict.summary(), SUMMARY_CHARS).into_owned(),
        }
    }
}

impl Rejected {
    fn words(&self, seen: &str) -> String {
        match self {
            Self::NotBetter => format!("it did not help ({seen})"),
            Self::Lost => format!("something that was right was lost ({seen})"),
            Self::Seam => "its edge was to be seen".to_owned(),
            Self::Failed(problem) => format!("it could not be done: {problem}"),
        }
    }
}

fn listed(operations: &[Operation], words: fn(&Operation) -> String) -> String {
    operations.iter().map(words).collect::<Vec<_>>().join(", ")
}

/// What was done: `added a blue bowl at the right`.
fn done(operation: &Operation) -> String {
    in_words(operation, ["added", "removed", "moved", "recoloured", "replaced"])
}

/// What was tried: `add a blue bowl at the right`.
fn to_do(operation: &Operation) -> String {
    in_words(operation, ["add", "remove", "move", "recolour", "replace"])
}

fn in_words(operation: &Operation, [add, remove, moved, recolour, replace]: [&str; 5]) -> String {
    match operation {
        Operation::Add { phrase, bbox } => format!("{add} {phrase} {}", place(bbox)),
        Operation::Remove { phrase, bbox } => format!("{remove} {phrase} {}", place(bbox)),
        Operation::Move { phrase, from, to } if place(from) == place(to) => format!("{moved} {phrase} into its box"),
        Operation::Move { phrase, to, .. } => format!("{moved} {phrase} {}", place(to).replacen("at", "to", 1)),
        Operation::Recolour { phrase, bbox, .. } => format!("{recolour} what is {} to be {phrase}", place(bbox)),
        Operation::Replace { phrase, bbox } => format!("{replace} what is {} by {phrase}", place(bbox)),
    }
}

/// Where a box is, by its centre: `at the top left`, `at the right`, `in the middle`.
fn place(bbox: &BBox) -> String {
    let (x, y) = bbox.center();
    let side = |at: f64, [first, last]: [&'static str; 2]| match at {
        at if at < 0.4 => Some(first),
        at if at > 0.6 => Some(last),
        _ => None,
    };
    let words = [side(y, ["top", "bottom"]), side(x, ["left", "right"])];
    match words.iter().copied().flatten().collect::<Vec<_>>() {
        words if words.is_empty() => "in the middle".to_owned(),
        words => format!("at the {}", words.join(" ")),
    }
}
