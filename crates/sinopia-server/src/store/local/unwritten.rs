//! What is true of jobs and could not be written down, for want of room on the disk.

use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

use super::text::json;
use crate::store::record::{Ending, Outcome, Record};
use crate::wire::JobState;

/// An end that is to be written down.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct End {
    /// What it ends.
    pub(super) of: Standing,
    pub(super) ending: Ending,
    pub(super) outcome: Outcome,
    pub(super) finished_ms: i64,
}

/// What a job has to be for an end to be its end: a job ends once, and not by a claim that was lost.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) enum Standing {
    /// It waits.
    Queued,
    /// It was begun so many times, and the last time goes on.
    Running { attempts: u32 },
}

impl Standing {
    pub(super) fn state(self) -> JobState {
        match self {
            Self::Queued => JobState::Queued,
            Self::Running { .. } => JobState::Running,
        }
    }

    /// How often it was begun, if that matters.
    pub(super) fn attempts(self) -> Option<u32> {
        match self {
            Self::Queued => None,
            Self::Running { attempts } => Some(attempts),
        }
    }
}

/// What is true of a job and could not be written down.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Change {
    Ended(Box<End>),
    Deleted,
}

/// Changes that are still to be written, by job.
#[derive(Debug, Default)]
pub(super) struct Unwritten(Mutex<HashMap<String, Change>>);

impl Unwritten {
    pub(super) fn lock(&self) -> MutexGuard<'_, HashMap<String, Change>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The jobs, as a list in JSON: what is written of them is not what is so.
    pub(super) fn ids(&self) -> String {
        json(&self.lock().keys().collect::<Vec<_>>())
    }

    /// The jobs as [`ids`](Self::ids) lists them, and how many of them have ended in a state.
    pub(super) fn ids_and_count(&self, state: JobState) -> (String, u64) {
        let changes = self.lock();
        let is_in_state = |change: &&Change| matches!(change, Change::Ended(end) if end.ending.state() == state);
        (json(&changes.keys().collect::<Vec<_>>()), changes.values().filter(is_in_state).count() as u64)
    }

    /// A record with what could not be written of it; nothing if it is deleted.
    pub(super) fn applied_to(&self, record: Record) -> Option<Record> {
        match self.lock().get(&record.id) {
            None => Some(record),
            Some(Change::Deleted) => None,
            Some(Change::Ended(end)) => Some(ended(record, (**end).clone())),
        }
    }
}

fn ended(record: Record, end: End) -> Record {
    let End { ending, outcome: Outcome { request, verdict, tried, warnings, took: _ }, finished_ms, of: _ } = end;
    Record {
        state: ending.state(),
        request: request.unwrap_or(record.request),
        error: match ending {
            Ending::Failed(error) => Some(error),
            Ending::Done | Ending::Cancelled => None,
        },
        verdict,
        tried,
        warnings,
        finishes: record.finishes + 1,
        finished_ms: Some(finished_ms),
        ..record
    }
}
