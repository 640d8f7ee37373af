//! What the workers of a queue share.

use std::collections::HashMap;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use crate::cancellation::CancellationToken;
use crate::events::Event;
use crate::metrics::StateLabels;
use crate::services::Services;
use crate::store::Ending;
use crate::wire::{Attempt, Progress};

/// How much the queue takes on.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct QueueOptions {
    /// Jobs that may wait.
    pub max_queued: usize,
    /// Jobs painted at once.
    pub workers: usize,
    /// Bytes that jobs painted at once may take together; one alone may always begin.
    pub memory_budget: Option<u64>,
    /// The longest that a painting may take.
    pub job_timeout: Duration,
    /// Jobs that have ended and are kept; the oldest go with their pictures.
    pub keep: usize,
}

impl Default for QueueOptions {
    fn default() -> Self {
        Self { max_queued: 100, workers: 1, memory_budget: None, job_timeout: Duration::from_secs(3600), keep: 10_000 }
    }
}

pub(super) struct Shared {
    pub(super) services: Services,
    pub(super) options: QueueOptions,
    state: Mutex<State>,
    /// Something may have become possible: a job came, one ended, the server stops.
    pub(super) changed: Condvar,
}

#[derive(Default)]
pub(super) struct State {
    pub(super) running: HashMap<String, Arc<Running>>,
    pub(super) is_stopping: bool,
}

/// A job that is being painted.
#[derive(Debug, Default)]
pub(super) struct Running {
    pub(super) cancellation: CancellationToken,
    pub(super) memory_bytes: u64,
    pub(super) progress: Mutex<Option<Progress>>,
    /// What was tried so far.
    pub(super) tried: Mutex<Vec<Attempt>>,
}

impl Running {
    /// What was tried so far.
    pub(super) fn tried(&self) -> Vec<Attempt> {
        self.tried.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

impl Shared {
    pub(super) fn new(services: Services, options: QueueOptions) -> Self {
        Self { services, options, state: Mutex::default(), changed: Condvar::new() }
    }

    pub(super) fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Wakes the workers, to look for work again.
    pub(super) fn wake(&self) {
        // The lock keeps a worker from going to sleep between its look at the store and its wait.
        drop(self.state());
        self.changed.notify_all();
    }

    /// Tells those who listen to a job, those whose places may have changed, and the workers: what could not be written down is theirs to write.
    pub(super) fn announce(&self, id: &str) {
        self.services.hub.publish(id, Event::Changed);
        self.services.hub.publish_changed_to_all();
        self.wake();
    }

    /// Deletes the oldest of the jobs that have ended, if there are more than shall be kept.
    pub(super) fn prune(&self) {
        match self.services.store.prune(self.options.keep) {
            Ok(0) => {}
            Ok(deleted) => tracing::info!(deleted, "old jobs were deleted"),
            Err(error) => tracing::error!(error = error.with_causes(), "cannot delete old jobs"),
        }
    }

    pub(super) fn count_ending(&self, ending: &Ending) {
        let labels = StateLabels { state: ending.state().as_str() };
        self.services.metrics.finished.get_or_create(&labels).inc();
    }
}

impl State {
    /// Takes a painting off the list, unless the job is painted anew since.
    pub(super) fn forget(&mut self, id: &str, painting: &Arc<Running>) {
        if self.running.get(id).is_some_and(|running| Arc::ptr_eq(running, painting)) {
            self.running.remove(id);
        }
    }

    /// Whether a job of so many bytes may begin beside those that are painted now.
    pub(super) fn has_room(&self, bytes: u64, memory_budget: Option<u64>) -> bool {
        let taken: u64 = self.running.values().map(|running| running.memory_bytes).sum();
        let fits = |budget: u64| taken.saturating_add(bytes) <= budget;
        self.running.is_empty() || memory_budget.is_none_or(fits)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn jobs_begin_together_if_their_memory_fits_and_any_begins_alone() {
        let mut state = State::default();
        assert!(state.has_room(11, Some(10)), "one alone may always begin");
        let running = Arc::new(Running { memory_bytes: 6, ..Running::default() });
        state.running.insert("a".to_owned(), running);
        assert!(state.has_room(4, Some(10)) && !state.has_room(5, Some(10)) && !state.has_room(u64::MAX, Some(10)));
        assert!(state.has_room(u64::MAX, None));
    }

    #[test]
    fn whoever_lost_a_job_takes_no_other_painting_off_the_list() {
        let mut state = State::default();
        let [lost, now] = [0, 0].map(|_| Arc::new(Running::default()));
        state.running.insert("a".to_owned(), now.clone());
        state.forget("a", &lost);
        assert_eq!(state.running.len(), 1);
        state.forget("a", &now);
        assert!(state.running.is_empty());
    }
}
