//! Edits to measure editing by: layouts of the LMD benchmark with one change each, and what became of the pictures.
//!
//! Everything follows from the captions and their layouts by rule, so the same layouts give the same edits. A run folder of edits has two images an edit: the first
//! of the layout as it was, the second of the same picture after the change.
//!
//! ```text
//! runs/edits/edits.json         what is changed: the edits, for whoever judges the pictures
//! runs/edits/17/img_0.png       before
//! runs/edits/17/img_1.png       after
//! runs/edits/17/edit.json       what the edit reached, and that it reached nothing else
//! runs/edits/edit-scores.json   what an evaluator says of them
//! ```

mod rules;
mod scores;

use serde::{Deserialize, Serialize};
use sinopia_layout::Layout;

use crate::benchmark::Sample;
use crate::run::{RunFolder, sha256};
use crate::{Error, Result, files};

pub use rules::tasks;
pub use scores::{EditRecord, EditScore, EditScores, EditTally, markdown, tally};

/// The name of a run of edits where a benchmark's name stands.
pub const NAME: &str = "edits";
/// Edits, if nobody says how many.
pub const COUNT: usize = 200;
/// Image of an edit before it, as a repeat of its run folder.
pub const BEFORE: usize = 0;
/// The image after it.
pub const AFTER: usize = 1;

const LIST: &str = "edits.json";

/// A kind of change.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Change {
    /// An object more.
    Add,
    /// An object less.
    Remove,
    /// An object elsewhere.
    Move,
    /// An object larger or smaller where it is.
    Resize,
    /// An object in another colour.
    Recolour,
    /// Another object in its place.
    Replace,
}

impl Change {
    /// All, in the order in which they take turns.
    pub const ALL: [Self; 6] = [Self::Add, Self::Remove, Self::Move, Self::Resize, Self::Recolour, Self::Replace];

    /// The word in files and tables.
    pub fn name(self) -> &'static str {
        match self {
            Self::Add => "add",
            Self::Remove => "remove",
            Self::Move => "move",
            Self::Resize => "resize",
            Self::Recolour => "recolour",
            Self::Replace => "replace",
        }
    }
}

/// A layout and one change of it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct EditTask {
    /// Its number, from 0: the name of its folder and the start of its seed.
    pub index: usize,
    /// The caption of the layout as it was.
    pub caption: String,
    /// What is changed.
    pub change: Change,
    /// The layout as it was.
    pub before: Layout,
    /// The layout as it is to be. What is left of the objects stands in the same order, an added one last.
    pub after: Layout,
    /// Which object of `before` goes from where it was: removed, moved or replaced.
    pub gone: Option<usize>,
    /// Which object of `after` is new there: added, moved, resized, recoloured or the other one.
    pub new: Option<usize>,
}

impl EditTask {
    /// The objects that stay as they are, by their numbers before and after.
    pub fn kept(&self) -> Vec<(usize, usize)> {
        match self.change {
            Change::Add => (0..self.before.objects.len()).map(|index| (index, index)).collect(),
            Change::Remove => {
                let gone = self.gone.unwrap_or(usize::MAX);
                let others = (0..self.before.objects.len()).filter(|index| *index != gone);
                others.map(|index| (index, index - usize::from(index > gone))).collect()
            }
            _ => (0..self.before.objects.len())
                .filter(|index| Some(*index) != self.new)
                .map(|index| (index, index))
                .collect(),
        }
    }

    /// As a sample of a run, whose task is the change.
    pub fn sample(&self) -> Sample {
        Sample { index: self.index, task: self.change.name().to_owned(), caption: self.caption.clone(), occurrence: 0 }
    }
}

/// SHA-256 of edits, as a run folder remembers what it paints.
///
/// # Errors
/// [`Error::Json`], which does not happen.
pub fn tasks_sha256(tasks: &[EditTask]) -> Result<String> {
    let json = serde_json::to_vec(tasks).map_err(|source| Error::Json { path: LIST.into(), source })?;
    Ok(sha256(&json))
}

/// Writes the edits into their run folder, for whoever judges its pictures.
///
/// # Errors
/// [`Error::Write`].
pub fn write_tasks(run: &RunFolder, tasks: &[EditTask]) -> Result<()> {
    files::write_json(&run.root().join(LIST), &tasks)
}
