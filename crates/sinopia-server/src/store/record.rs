//! A job as it is kept.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use sinopia_layout::hex;

use crate::error::{Error, Result};
use crate::wire::{Attempt, Decision, JobError, JobRequest, JobState, Verdict};

/// How often a job may be begun. A job that takes the process down again and again (by the system's memory killer, say) is not begun once more.
pub const MAX_ATTEMPTS: u32 = 5;

/// A job that is to be queued.
#[derive(Debug, Clone, PartialEq)]
pub struct NewJob {
    /// Its name, see [`new_id`].
    pub id: String,
    /// What is wanted.
    pub request: JobRequest,
    /// Bytes that it is thought to take.
    pub memory_bytes: u64,
}

/// A job as it is kept.
#[derive(Debug, Clone, PartialEq)]
pub struct Record {
    /// Its place among all jobs, counted up.
    pub seq: i64,
    /// Its name.
    pub id: String,
    /// Where it is in its life.
    pub state: JobState,
    /// What is wanted.
    pub request: JobRequest,
    /// Bytes that it is thought to take.
    pub memory_bytes: u64,
    /// When it was asked for, in milliseconds since 1970.
    pub created_ms: i64,
    /// When painting began, the last time.
    pub started_ms: Option<i64>,
    /// When it ended.
    pub finished_ms: Option<i64>,
    /// How often it was begun.
    pub attempts: u32,
    /// How often it came to an end: never more than once.
    pub finishes: u32,
    /// Why there is no picture.
    pub error: Option<JobError>,
    /// What a detector saw.
    pub verdict: Option<Verdict>,
    /// What was tried on the way to a checked picture.
    pub tried: Vec<Attempt>,
    /// What somebody who looked at the picture says of the verdict.
    pub decisions: Vec<Decision>,
    /// What the person who asked should know.
    pub warnings: Vec<String>,
}

/// How a job ended.
#[derive(Debug, Clone, PartialEq)]
pub enum Ending {
    /// With a picture.
    Done,
    /// Without one.
    Failed(JobError),
    /// Nobody wanted it any more.
    Cancelled,
}

impl Ending {
    /// The state it leads to.
    pub fn state(&self) -> JobState {
        match self {
            Self::Done => JobState::Done,
            Self::Failed(_) => JobState::Failed,
            Self::Cancelled => JobState::Cancelled,
        }
    }
}

/// What there is to say of a job that ended, beside how.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Outcome {
    /// The request, with what became known while it was painted.
    pub request: Option<JobRequest>,
    /// What a detector saw.
    pub verdict: Option<Verdict>,
    /// What was tried on the way to a checked picture.
    pub tried: Vec<Attempt>,
    /// What the person who asked should know.
    pub warnings: Vec<String>,
    /// How long it was painted.
    pub took: Option<Duration>,
}

/// Milliseconds since 1970.
pub fn now_ms() -> i64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_millis() as i64)
}

/// A name that nobody guesses: 128 random bits, 32 hexadecimal digits.
///
/// # Errors
/// [`Error::System`].
pub fn new_id() -> Result<String> {
    let mut bytes = [0; 16];
    getrandom::fill(&mut bytes)
        .map_err(|error| Error::System { what: "random numbers", source: std::io::Error::other(error) })?;
    Ok(hex::encode(&bytes))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_are_long_and_differ() {
        let (a, b) = (new_id().unwrap(), new_id().unwrap());
        assert!(a != b && a.len() == 32 && a.bytes().all(|byte| byte.is_ascii_hexdigit()));
    }
}
