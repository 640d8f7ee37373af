//! The record of jobs, as a trait.

use std::time::Duration;

use super::record::{Ending, NewJob, Outcome, Record};
use crate::error::Result;
use crate::wire::{Decision, JobRequest, JobSelection, JobState, Verdict};

/// A record of jobs, which one process uses at a time, from as many threads as it likes.
///
/// Methods may block for as long as a write takes. What is true of every implementation, beside the [order of writing](super):
///
/// - **Writing a job into the queue can be repeated.** A job whose name is known is not queued again. The [queue](crate::queue) gives a new name to whatever is
///   submitted, so a client that repeats its request gets a second job.
/// - **First in, first out.** Jobs are claimed in the order of [`Record::seq`], and one that was put back or whose process ended has its old place.
/// - **A claim is exclusive.** Between [`claim`](Self::claim) and [`finish`](Self::finish) or [`put_back`](Self::put_back) nobody else is given the job. A
///   claim is not renewed and does not run out: it is lost when the process that holds it ends, and when the record is opened next, the job is queued again. What
///   is still tried with a claim that was lost changes nothing.
/// - **What takes the process down is given up.** A job is begun [`MAX_ATTEMPTS`](super::MAX_ATTEMPTS) times and then failed.
/// - **Reads show what is true**, not what could be written so far; counts and places in the queue do too.
///
/// A store publishes no changes: the [queue](crate::queue) publishes each change that goes through it to the [hub](crate::events::Hub). Whoever changes the store
/// past the queue publishes that there, and wakes the workers by [`Queue::wake`](crate::queue::Queue::wake).
///
/// # Errors
/// Every method that returns a result: [`Error::Store`](crate::Error::Store) if the record cannot be used, for want of room if
/// [`is_disk_full`](crate::Error::is_disk_full) says so; [`Error::RecordRow`](crate::Error::RecordRow) for a job of which the record says what makes no sense.
pub trait JobStore: Send + Sync {
    /// Adds jobs to the queue if they all fit under `max_queued`; none if they do not. Jobs whose names are known stay as they are and need no room.
    fn enqueue(&self, jobs: &[NewJob], max_queued: usize) -> Result<bool>;

    /// Marks the job whose turn it is as running and gives it out; nothing if none waits, or `may_begin` says no to it, which leaves it where it is. If the job is
    /// cancelled or given to another meanwhile, `may_begin` is asked about the next. A job whose record makes no sense is failed, so that it does not stand in the
    /// way of those behind it.
    ///
    /// An error of `may_begin` is returned, and nothing is changed.
    fn claim(&self, may_begin: &mut dyn FnMut(&Record) -> Result<bool>) -> Result<Option<Claim>>;

    /// Puts a job back where it was in the queue, as if it had not been begun: the next claim counts the same attempt. False if the claim was lost.
    fn put_back(&self, claim: Claim) -> Result<bool>;

    /// Whether a claim still holds: its job is running, and was not given to another since.
    fn holds(&self, claim: &Claim) -> Result<bool>;

    /// Keeps what became known of a job while it is painted: its layout, its guidance. False if the claim was lost.
    fn update_request(&self, claim: &Claim, request: &JobRequest) -> Result<bool>;

    /// Says how a job ended; if with a picture, that is there already. False if the claim was lost. What cannot be written now is written later.
    fn finish(&self, claim: Claim, ending: &Ending, outcome: Outcome) -> Result<bool>;

    /// Cancels a queued job. False if it is not queued any more. What cannot be written now is written later.
    fn cancel_queued(&self, id: &str) -> Result<bool>;

    /// Keeps a verdict that was asked for later, in the place of another and of what was said of that.
    fn set_verdict(&self, id: &str, verdict: &Verdict) -> Result<()>;

    /// Keeps what somebody who looked at the picture says of its verdict, beside what was said of other findings. False if there is no such job.
    fn decide(&self, id: &str, decision: Decision) -> Result<bool>;

    /// Notes a picture of so many bytes that was sent, before it is kept, if there is room for it. False if there is none.
    fn add_upload(&self, id: &str, bytes: u64, room: UploadRoom) -> Result<bool>;

    /// Whether a picture that was sent is kept under that name.
    fn is_upload(&self, id: &str) -> Result<bool>;

    /// Forgets a picture that was sent, and notes that it has to follow. False if there is none, or a job that has not ended begins with it. On a full disk it is
    /// an error.
    fn delete_upload(&self, id: &str) -> Result<bool>;

    /// Forgets all pictures that were sent at least `age` ago, by the clock, and that no job begins with which has not ended, and notes that they have to follow.
    /// Returns how many.
    fn sweep_uploads(&self, age: Duration) -> Result<usize>;

    /// Forgets a job that is not running, and notes that its picture has to follow. False if there is none, it is running, or another that has not ended begins with
    /// its picture. On a full disk it is written later.
    fn delete(&self, id: &str) -> Result<bool>;

    /// Forgets all jobs that have ended but the `keep` that ended last, whatever the clock said then, and those that others begin with, and notes that their pictures have to follow. Returns how
    /// many.
    fn prune(&self, keep: usize) -> Result<usize>;

    /// Jobs that were forgotten and whose pictures have to follow.
    fn deleted(&self) -> Result<Vec<String>>;

    /// Takes it down that the pictures of forgotten jobs are gone.
    fn forget_deleted(&self, ids: &[String]) -> Result<()>;

    /// A job.
    fn get(&self, id: &str) -> Result<Option<Record>>;

    /// Jobs, newest first, before the place `before`. Those whose record makes no sense are left out.
    fn list(&self, selection: &JobSelection, before: Option<i64>, limit: u32) -> Result<Vec<Record>>;

    /// How many queued jobs come before a place in the queue.
    fn queued_before(&self, seq: i64) -> Result<u64>;

    /// How many jobs are in a state.
    fn count(&self, state: JobState) -> Result<u64>;

    /// Mean time of the last jobs that were done, in seconds, if there were any.
    fn mean_seconds(&self) -> Result<Option<f64>>;

    /// Whether the record answers.
    fn is_alive(&self) -> Result<()>;

    /// Whether something is true that could not be written down yet.
    fn is_behind(&self) -> bool;

    /// Writes down what could not be written before.
    fn settle(&self) -> Result<()>;
}

/// How much room there is for pictures that were sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct UploadRoom {
    /// How many of them.
    pub count: usize,
    /// Bytes of all together.
    pub bytes: u64,
}

/// The right to paint a job and to say how it ended. It ends with [`JobStore::finish`] or [`JobStore::put_back`].
#[derive(Debug)]
pub struct Claim {
    record: Record,
}

impl Claim {
    /// A claim on a job that was just marked as running. [`Record::attempts`] counts this attempt: it tells this claim from earlier ones that were lost.
    pub fn new(record: Record) -> Self {
        Self { record }
    }

    /// The job, as it was when it was claimed.
    pub fn record(&self) -> &Record {
        &self.record
    }

    /// The job's name.
    pub fn id(&self) -> &str {
        &self.record.id
    }
}
