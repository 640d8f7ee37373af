//! The queue: jobs wait in the [`Store`](crate::store::Store), workers take them in order, one failing job takes nobody with it.
//!
//! Knows nothing of HTTP. Everything here blocks for a moment (a write to disk at most); painting happens on the workers' own threads.

mod shared;
mod watcher;
mod worker;

use std::sync::{Arc, Mutex, PoisonError};
use std::thread::{self, JoinHandle};

use tokio::sync::broadcast::Receiver;

use crate::cancellation::CancelReason;
use crate::engine::Accepted;
use crate::error::{Error, Result};
use crate::events::Event;
use crate::services::Services;
use crate::store::{Ending, NewJob, new_id};
use crate::wire::{Attempt, JobState, Progress};
pub use shared::QueueOptions;
use shared::Shared;

/// Jobs, those who paint them, and those who listen.
#[derive(Clone)]
pub struct Queue {
    shared: Arc<Shared>,
    workers: Arc<Mutex<Vec<JoinHandle<()>>>>,
}

/// A job that was queued.
#[derive(Debug)]
pub struct Queued {
    /// Its name.
    pub id: String,
    /// What happens to it, from the beginning.
    pub events: Receiver<Event>,
}

/// Why jobs were not queued.
#[derive(Debug)]
pub enum Refused {
    /// The queue is full; there may be room after so many seconds.
    Full {
        /// Seconds.
        retry_after_secs: u64,
    },
    /// The record cannot be written.
    Store(Error),
}

/// Longest wait that a client is told.
const MAX_RETRY_SECS: f64 = 600.0;

impl Queue {
    /// Starts the workers on what is in the store.
    ///
    /// # Errors
    /// [`Error::System`] if there are no threads.
    pub fn start(services: Services, options: QueueOptions) -> Result<Self> {
        let shared = Arc::new(Shared::new(services, options));
        shared.prune();
        let start = |index: usize| {
            let shared = shared.clone();
            let worker = thread::Builder::new().name(format!("painter-{index}"));
            worker.spawn(move || shared.work()).map_err(|source| Error::System { what: "a thread", source })
        };
        let workers = (0..options.workers.max(1)).map(start).collect::<Result<_>>()?;
        Ok(Self { shared, workers: Arc::new(Mutex::new(workers)) })
    }

    /// Whether there is a place for so many jobs now, for those whose acceptance costs something.
    ///
    /// # Errors
    /// [`Refused`].
    pub fn check_places(&self, jobs: usize) -> std::result::Result<(), Refused> {
        let Services { store, metrics, .. } = &self.shared.services;
        let queued = store.jobs().count(JobState::Queued).map_err(Refused::Store)?;
        if queued + jobs as u64 > self.shared.options.max_queued as u64 {
            metrics.refused.inc();
            return Err(Refused::Full { retry_after_secs: self.wait_secs() });
        }
        Ok(())
    }

    /// Queues jobs, all or none; none on a full disk.
    ///
    /// # Errors
    /// [`Refused`].
    pub fn submit(&self, jobs: &[Accepted]) -> std::result::Result<Vec<Queued>, Refused> {
        let Services { store, hub, metrics, .. } = &self.shared.services;
        let jobs = jobs.iter().map(named).collect::<Result<Vec<_>>>().map_err(Refused::Store)?;
        store.artefacts().check_room().map_err(Refused::Store)?;
        let queued = jobs.iter().map(|job| Queued { id: job.id.clone(), events: hub.subscribe(&job.id) }).collect();
        if !store.jobs().enqueue(&jobs, self.shared.options.max_queued).map_err(Refused::Store)? {
            metrics.refused.inc();
            return Err(Refused::Full { retry_after_secs: self.wait_secs() });
        }
        self.shared.wake();
        Ok(queued)
    }

    /// Ends a job: at once if it waits, within one part of a network if a worker of this queue paints it. A job that has ended stays as it is.
    ///
    /// # Errors
    /// [`Error::Store`].
    pub fn cancel(&self, id: &str) -> Result<()> {
        if self.shared.services.store.jobs().cancel_queued(id)? {
            self.shared.count_ending(&Ending::Cancelled);
            self.shared.prune();
            self.shared.announce(id);
            return Ok(());
        }
        let running = self.shared.state().running.get(id).cloned();
        if let Some(running) = running {
            running.cancellation.cancel(CancelReason::Unwanted);
        }
        Ok(())
    }

    /// Forgets a job that is not being painted, and its picture. False if there is none, or it is being painted.
    ///
    /// # Errors
    /// [`Error::Store`].
    pub fn delete(&self, id: &str) -> Result<bool> {
        let is_deleted = self.shared.services.store.delete(id)?;
        if is_deleted {
            self.shared.announce(id);
        }
        Ok(is_deleted)
    }

    /// Has the workers look for work again: for changes of the store that were made past this queue.
    pub fn wake(&self) {
        self.shared.wake();
    }

    /// How far a job is that is being painted.
    pub fn progress(&self, id: &str) -> Option<Progress> {
        let running = self.shared.state().running.get(id).cloned()?;
        let progress = running.progress.lock().unwrap_or_else(PoisonError::into_inner);
        progress.clone()
    }

    /// What was tried so far for a job that is being painted.
    pub fn tried(&self, id: &str) -> Vec<Attempt> {
        let running = self.shared.state().running.get(id).cloned();
        running.map(|running| running.tried()).unwrap_or_default()
    }

    /// Tells those who listen to a job that its record is another.
    pub fn announce(&self, id: &str) {
        self.shared.announce(id);
    }

    /// Jobs that are being painted.
    pub fn num_running(&self) -> usize {
        self.shared.state().running.len()
    }

    /// Sets the gauges to what they are now: what is asked for rather than counted.
    ///
    /// # Errors
    /// [`Error::Store`].
    pub fn measure(&self) -> Result<()> {
        let Services { engine, store, metrics, .. } = &self.shared.services;
        metrics.queued.set(store.jobs().count(JobState::Queued)? as i64);
        let kept = engine.kept();
        metrics.models.set(kept.models as i64);
        metrics.model_bytes.set(kept.bytes as i64);
        metrics.resident_bytes.set(resident_bytes().unwrap_or(0) as i64);
        Ok(())
    }

    /// Takes no job up any more, puts those that are being painted back into the queue, and waits for the workers.
    pub fn stop(&self) {
        let running: Vec<_> = {
            let mut state = self.shared.state();
            state.is_stopping = true;
            state.running.values().cloned().collect()
        };
        running.iter().for_each(|running| running.cancellation.cancel(CancelReason::Stopping));
        self.shared.changed.notify_all();
        let workers = std::mem::take(&mut *self.workers.lock().unwrap_or_else(PoisonError::into_inner));
        for worker in workers {
            if worker.join().is_err() {
                tracing::error!("a worker ended badly");
            }
        }
    }

    /// A guess at when a place in the queue is free, from how long the last jobs took.
    fn wait_secs(&self) -> u64 {
        let mean = self.shared.services.store.jobs().mean_seconds().ok().flatten().unwrap_or(5.0);
        (mean / self.shared.options.workers.max(1) as f64).clamp(1.0, MAX_RETRY_SECS).ceil() as u64
    }
}

/// A job with a name of its own.
fn named(job: &Accepted) -> Result<NewJob> {
    Ok(NewJob { id: new_id()?, request: job.request.clone(), memory_bytes: job.memory_bytes })
}

/// Bytes that this process holds, where the system says it.
fn resident_bytes() -> Option<u64> {
    let text = std::fs::read_to_string("/proc/self/status").ok()?;
    let line = text.lines().find(|line| line.starts_with("VmRSS:"))?;
    line.split_whitespace().nth(1)?.parse::<u64>().ok()?.checked_mul(1024)
}
