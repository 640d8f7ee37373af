//! What became of edits: what they reached, what an evaluator sees, rates.

use serde::{Deserialize, Serialize};

use super::Change;
use crate::evaluators::EvaluatorId;
use crate::run::RunFolder;
use crate::stats::wilson_interval;
use crate::tally::Tally;
use crate::{Result, files};

const RECORD: &str = "edit.json";
const SCORES: &str = "edit-scores.json";

/// What an edit reached, whatever anybody sees in it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct EditRecord {
    /// Share of the pixels that were allowed to change, 0..=1.
    pub region: f64,
    /// Pixels that changed although they were not.
    pub changed_outside: usize,
    /// How far new and old pixels are apart where they meet, in levels of 255.
    pub seam: f64,
}

impl EditRecord {
    /// Writes it into the folder of its edit.
    ///
    /// # Errors
    /// [`Error::Write`](crate::Error::Write).
    pub fn write(&self, run: &RunFolder, index: usize) -> Result<()> {
        files::write_json(&run.root().join(index.to_string()).join(RECORD), self)
    }

    /// The record of an edit.
    ///
    /// # Errors
    /// [`Error::Read`](crate::Error::Read), [`Error::Json`](crate::Error::Json).
    pub fn load(run: &RunFolder, index: usize) -> Result<Self> {
        files::read_json(&run.root().join(index.to_string()).join(RECORD))
    }
}

/// What an evaluator says of the edits of a run folder, kept in it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct EditScores {
    /// The version of Sinopia that judged.
    pub sinopia: String,
    /// Who looked.
    pub evaluator: EvaluatorId,
    /// What was seen, by ascending number.
    pub scores: Vec<EditScore>,
}

impl EditScores {
    /// Those in a run folder by the same evaluator and version; none if there are none, or others. The pictures of an edit are the same whenever they are painted.
    ///
    /// # Errors
    /// [`Error::Read`](crate::Error::Read), [`Error::Json`](crate::Error::Json).
    pub fn load(run: &RunFolder, evaluator: &EvaluatorId) -> Result<Self> {
        let none =
            || Self { sinopia: env!("CARGO_PKG_VERSION").to_owned(), evaluator: evaluator.clone(), scores: Vec::new() };
        let path = run.root().join(SCORES);
        if !path.is_file() {
            return Ok(none());
        }
        let saved: Self = files::read_json(&path)?;
        let is_same = saved.evaluator.hash == evaluator.hash && saved.sinopia == env!("CARGO_PKG_VERSION");
        Ok(if is_same { saved } else { none() })
    }

    /// Keeps them.
    ///
    /// # Errors
    /// [`Error::Write`](crate::Error::Write).
    pub fn save(&self, run: &RunFolder) -> Result<()> {
        files::write_json(&run.root().join(SCORES), self)
    }
}

/// What an evaluator says of an edit.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct EditScore {
    /// The edit's number.
    pub index: usize,
    /// What was changed.
    pub change: Change,
    /// Whether the change is there: what is new is right, what is gone is gone.
    pub done: bool,
    /// Objects beside it that were right before.
    pub right_before: usize,
    /// Of these, right afterwards.
    pub still_right: usize,
    /// Whether all pixels outside of the region are the same.
    pub same_outside: bool,
}

impl EditScore {
    /// Whether everything beside the change is as it was: nothing that was right is lost, no pixel outside of the region differs.
    pub fn keeps_rest(&self) -> bool {
        self.still_right == self.right_before && self.same_outside
    }
}

/// How the edits of one kind, or all, went.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct EditTally {
    /// The change, or `overall`.
    pub change: String,
    /// Edits.
    pub total: usize,
    /// Those that are done.
    pub done: usize,
    /// 95 % interval of their share (Wilson's).
    pub done_interval: (f64, f64),
    /// Those that keep the rest.
    pub kept: usize,
    /// 95 % interval of their share.
    pub kept_interval: (f64, f64),
    /// Objects beside the change that were right before, in all edits.
    pub right_before: usize,
    /// Of these, right afterwards.
    pub still_right: usize,
}

/// A tally for each change that there is, then over all.
pub fn tally(scores: &[EditScore]) -> Vec<EditTally> {
    let of = |name: &str, scores: Vec<&EditScore>| {
        let count = |holds: &dyn Fn(&EditScore) -> bool| scores.iter().filter(|score| holds(score)).count();
        let (done, kept) = (count(&|score| score.done), count(&EditScore::keeps_rest));
        EditTally {
            change: name.to_owned(),
            total: scores.len(),
            done,
            done_interval: wilson_interval(done, scores.len()),
            kept,
            kept_interval: wilson_interval(kept, scores.len()),
            right_before: scores.iter().map(|score| score.right_before).sum(),
            still_right: scores.iter().map(|score| score.still_right).sum(),
        }
    };
    let of_change = |change: Change| of(change.name(), scores.iter().filter(|score| score.change == change).collect());
    let changes = Change::ALL.into_iter().map(of_change).filter(|tally| tally.total > 0);
    changes.chain([of(Tally::OVERALL, scores.iter().collect())]).collect()
}

/// The tallies as a table in Markdown.
pub fn markdown(tallies: &[EditTally]) -> String {
    let header = "| change | edits | done, % | rest kept, % | right objects still right |\n|---|---|---|---|---|\n";
    let percent = |count: usize, total: usize, (low, high): (f64, f64)| {
        format!("{:.1} ({:.0}–{:.0})", 100.0 * count as f64 / total.max(1) as f64, 100.0 * low, 100.0 * high)
    };
    let row = |tally: &EditTally| {
        let EditTally { change, total, done, kept, still_right, right_before, .. } = tally;
        let done = percent(*done, *total, tally.done_interval);
        let kept = percent(*kept, *total, tally.kept_interval);
        format!("| {change} | {total} | {done} | {kept} | {still_right} of {right_before} |\n")
    };
    header.to_owned() + &tallies.iter().map(row).collect::<String>()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tallies_count_what_is_done_and_what_is_kept() {
        let score = |change, done, still_right, same_outside| EditScore {
            index: 0,
            change,
            done,
            right_before: 2,
            still_right,
            same_outside,
        };
        let tallies = tally(&[
            score(Change::Add, true, 2, true),
            score(Change::Add, true, 1, true),
            score(Change::Move, false, 2, false),
        ]);
        let counts: Vec<_> =
            tallies.iter().map(|t| (t.change.as_str(), t.total, t.done, t.kept, t.still_right)).collect();
        assert_eq!(counts, [("add", 2, 2, 1, 3), ("move", 1, 0, 0, 2), ("overall", 3, 2, 1, 5)]);
        assert!(markdown(&tallies).contains("| add | 2 | 100.0 (34–100) | 50.0 (9–91) | 3 of 4 |"));
    }
}
