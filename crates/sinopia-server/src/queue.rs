//! The queue: jobs wait in the [`Store`], workers take them in order, one failing job takes nobody with it.
//!
//! Knows nothing of HTTP. Everything here blocks for a moment (a write to disk at most); painting happens on the workers' own threads.

use std::collections::HashMap;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::mpsc::{RecvTimeoutError, channel};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use sinopia_layout::Layout;
use tokio::sync::broadcast::Receiver;

use crate::engine::{Accepted, Engine, Fault, Interrupt, Painted, Reason, Refusal, Watch};
use crate::error::{Error, Result};
use crate::events::{Event, Hub};
use crate::metrics::{MethodLabels, Metrics, StateLabels};
use crate::store::{Ending, Outcome, Record, Store, new_id};
use crate::wire::{JobError, JobRequest, JobState, Progress, Verdict};

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

/// Jobs, those who paint them, and those who listen.
#[derive(Clone)]
pub struct Queue {
    shared: Arc<Shared>,
    workers: Arc<Mutex<Vec<JoinHandle<()>>>>,
}

struct Shared {
    engine: Arc<dyn Engine>,
    store: Arc<Store>,
    hub: Arc<Hub>,
    metrics: Arc<Metrics>,
    options: QueueOptions,
    state: Mutex<State>,
    /// Something may have become possible: a job came, one ended, the server stops.
    changed: Condvar,
}

#[derive(Default)]
struct State {
    running: HashMap<String, Arc<Running>>,
    is_stopping: bool,
}

/// A job that is being painted.
#[derive(Debug, Default)]
struct Running {
    interrupt: Interrupt,
    memory_bytes: u64,
    progress: Mutex<Option<Progress>>,
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

/// Time between tries when the record cannot be read, or the disk is full.
const RECORD_PAUSE: Duration = Duration::from_secs(1);
/// Longest wait that a client is told.
const MAX_RETRY_SECS: f64 = 600.0;

impl Queue {
    /// Starts the workers on what is in the store.
    ///
    /// # Errors
    /// [`Error::System`] if there are no threads.
    pub fn start(
        engine: Arc<dyn Engine>,
        store: Arc<Store>,
        (hub, metrics): (Arc<Hub>, Arc<Metrics>),
        options: QueueOptions,
    ) -> Result<Self> {
        let shared =
            Arc::new(Shared { engine, store, hub, metrics, options, state: Mutex::default(), changed: Condvar::new() });
        shared.prune();
        let start = |index: usize| {
            let shared = shared.clone();
            let worker = thread::Builder::new().name(format!("painter-{index}"));
            worker.spawn(move || shared.work()).map_err(|source| Error::System { what: "a thread", source })
        };
        let workers = (0..options.workers.max(1)).map(start).collect::<Result<_>>()?;
        Ok(Self { shared, workers: Arc::new(Mutex::new(workers)) })
    }

    /// Queues jobs, all or none, and returns their names; none on a full disk.
    ///
    /// # Errors
    /// [`Refused`].
    pub fn submit(&self, jobs: &[Accepted]) -> std::result::Result<Vec<String>, Refused> {
        Ok(self.submit_and_listen(jobs)?.into_iter().map(|(id, _)| id).collect())
    }

    /// The same, with what happens to each job from the beginning.
    ///
    /// # Errors
    /// [`Refused`].
    pub fn submit_and_listen(&self, jobs: &[Accepted]) -> std::result::Result<Vec<(String, Receiver<Event>)>, Refused> {
        let Shared { store, options, metrics, changed, hub, .. } = &*self.shared;
        let named: Result<Vec<_>> =
            jobs.iter().map(|job| Ok((new_id()?, job.request.clone(), job.memory_bytes))).collect();
        let named = named.map_err(Refused::Store)?;
        store.check_room().map_err(Refused::Store)?;
        let heard = named.iter().map(|(id, ..)| (id.clone(), hub.listen(id))).collect();
        if !store.enqueue(&named, options.max_queued).map_err(Refused::Store)? {
            metrics.refused.inc();
            return Err(Refused::Full { retry_after_secs: self.wait_secs() });
        }
        // The lock keeps a worker from going to sleep between its look at the store and its wait.
        drop(self.shared.state());
        changed.notify_all();
        Ok(heard)
    }

    /// Ends a job: at once if it waits, within one part of a network if it is painted. A job that has ended stays as it is.
    ///
    /// # Errors
    /// [`Error::Record`].
    pub fn cancel(&self, id: &str) -> Result<()> {
        if self.shared.store.cancel_queued(id)? {
            self.shared.count_ending(&Ending::Cancelled);
            self.shared.prune();
            self.tell_changed(id);
            return Ok(());
        }
        if let Some(running) = self.shared.state().running.get(id) {
            running.interrupt.throw(Reason::Cancelled);
        }
        Ok(())
    }

    /// Forgets a job that is not being painted, and its picture. False if there is none, or it is being painted.
    ///
    /// # Errors
    /// [`Error::Record`].
    pub fn delete(&self, id: &str) -> Result<bool> {
        let is_deleted = self.shared.store.delete(id)?;
        if is_deleted {
            self.tell_changed(id);
        }
        Ok(is_deleted)
    }

    /// Tells those who listen, and the workers: what could not be written down is theirs to write.
    fn tell_changed(&self, id: &str) {
        self.shared.hub.tell(id, Event::Changed);
        self.shared.hub.tell_all_changed();
        drop(self.shared.state());
        self.shared.changed.notify_all();
    }

    /// How far a job is that is being painted.
    pub fn progress(&self, id: &str) -> Option<Progress> {
        let running = self.shared.state().running.get(id).cloned()?;
        let progress = running.progress.lock().unwrap_or_else(PoisonError::into_inner);
        progress.clone()
    }

    /// Jobs that are being painted.
    pub fn num_running(&self) -> usize {
        self.shared.state().running.len()
    }

    /// Takes no job up any more, puts those that are being painted back into the queue, and waits for the workers.
    pub fn stop(&self) {
        {
            let mut state = self.shared.state();
            state.is_stopping = true;
            state.running.values().for_each(|running| running.interrupt.throw(Reason::Stopping));
        }
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
        let mean = self.shared.store.mean_seconds().ok().flatten().unwrap_or(5.0);
        (mean / self.shared.options.workers.max(1) as f64).clamp(1.0, MAX_RETRY_SECS).ceil() as u64
    }
}

impl Shared {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A worker's life.
    fn work(&self) {
        while let Some((record, running)) = self.wait_for_job() {
            self.hub.tell_all_changed();
            self.metrics.running.inc();
            tracing::info!(job = record.id, attempt = record.attempts + 1, "painting");
            let start = Instant::now();
            let ending = self.paint(&record, &running);
            self.end(&record, ending, start.elapsed());
            self.prune();
            self.metrics.running.dec();
            self.state().running.remove(&record.id);
            self.changed.notify_all();
            self.hub.tell_all_changed();
        }
    }

    /// The next job for which there is memory, marked as running; nothing when the server stops.
    fn wait_for_job(&self) -> Option<(Record, Arc<Running>)> {
        let mut state = self.state();
        loop {
            if state.is_stopping {
                return None;
            }
            match self.claim(&state) {
                Ok(Some(record)) => {
                    let running = Arc::new(Running { memory_bytes: record.memory_bytes, ..Running::default() });
                    state.running.insert(record.id.clone(), running.clone());
                    return Some((record, running));
                }
                Ok(None) => state = self.changed.wait(state).unwrap_or_else(PoisonError::into_inner),
                Err(error) => {
                    // Of a full disk the log has a line when it becomes full, and one when there is room again.
                    if !error.is_disk_full() {
                        tracing::error!(error = chain(&error), "cannot take up the next job");
                    }
                    let waited = self.changed.wait_timeout(state, RECORD_PAUSE);
                    state = waited.unwrap_or_else(PoisonError::into_inner).0;
                }
            }
        }
    }

    /// The next job, if it can begin now. What could not be written on a full disk comes first, and on a full disk nothing begins.
    fn claim(&self, state: &State) -> Result<Option<Record>> {
        if self.store.is_behind() {
            self.store.settle()?;
        }
        let next = self.store.next()?.filter(|record| self.has_room(state, record.memory_bytes));
        let Some(record) = next else { return Ok(None) };
        self.store.check_room()?;
        Ok(self.store.start(&record.id)?.then_some(record))
    }

    fn has_room(&self, state: &State, bytes: u64) -> bool {
        let taken: u64 = state.running.values().map(|running| running.memory_bytes).sum();
        let fits = |budget: u64| taken.saturating_add(bytes) <= budget;
        state.running.is_empty() || self.options.memory_budget.is_none_or(fits)
    }

    /// Paints, with an eye on the clock; a panic is a failure like others.
    fn paint(&self, record: &Record, running: &Running) -> std::result::Result<Outcome, Refusal> {
        let watcher = Watcher {
            shared: self,
            record,
            running,
            request: Mutex::new(record.request.clone()),
            warnings: Mutex::default(),
        };
        let result = thread::scope(|scope| {
            let (finished, clock) = channel::<()>();
            scope.spawn(move || {
                if clock.recv_timeout(self.options.job_timeout) == Err(RecvTimeoutError::Timeout) {
                    running.interrupt.throw(Reason::OutOfTime);
                }
            });
            let painted = catch_unwind(AssertUnwindSafe(|| self.paint_and_judge(&watcher)));
            drop(finished);
            painted.unwrap_or_else(|panic| Err(Refusal::new(Fault::Engine, panicked(panic.as_ref()))))
        });
        let warnings = watcher.warnings.into_inner().unwrap_or_else(PoisonError::into_inner);
        let request = watcher.request.into_inner().unwrap_or_else(PoisonError::into_inner);
        result.map(|verdict| Outcome { request: Some(request), verdict, warnings, took: None })
    }

    fn paint_and_judge(&self, watcher: &Watcher<'_>) -> std::result::Result<Option<Verdict>, Refusal> {
        let Painted { png, guidance_scale } = self.engine.paint(&watcher.record.request, watcher)?;
        let request = watcher.update(|request| {
            request.guidance_scale.get_or_insert(guidance_scale);
        });
        self.store.put_picture(&watcher.record.id, &png).map_err(|error| unkept(&watcher.record.id, &error))?;
        let Some(layout) = request.layout.as_ref().filter(|_| request.judge) else { return Ok(None) };
        match self.engine.judge(&png, layout, watcher.interrupt()) {
            Ok(verdict) => Ok(Some(verdict)),
            Err(refusal) => {
                watcher.warning(&format!("nobody looked at the picture: {refusal}"));
                Ok(None)
            }
        }
    }

    /// Writes down how a job ended.
    fn end(&self, record: &Record, result: std::result::Result<Outcome, Refusal>, took: Duration) {
        let reason = self.state().running.get(&record.id).and_then(|running| running.interrupt.reason());
        let (ending, outcome) = match (result, reason) {
            (Ok(outcome), _) => (Ending::Done, Outcome { took: Some(took), ..outcome }),
            (Err(refusal), Some(Reason::Stopping)) if refusal.fault == Fault::Interrupted => {
                tracing::info!(job = record.id, "put back into the queue");
                if let Err(error) = self.store.put_back(&record.id) {
                    tracing::error!(
                        job = record.id,
                        error = chain(&error),
                        "cannot write that a job waits again; it starts over with the server"
                    );
                }
                return;
            }
            (Err(refusal), Some(Reason::Cancelled)) if refusal.fault == Fault::Interrupted => {
                (Ending::Cancelled, Outcome::default())
            }
            (Err(refusal), reason) => (Ending::Failed(self.told(refusal, reason)), Outcome::default()),
        };
        tracing::info!(job = record.id, state = ending.state().as_str(), seconds = took.as_secs_f64(), "ended");
        if ending == Ending::Done {
            let method = record.request.method.clone().unwrap_or_default();
            self.metrics.paint_seconds.get_or_create(&MethodLabels { method }).observe(took.as_secs_f64());
        }
        self.count_ending(&ending);
        if let Err(error) = self.store.finish(&record.id, &ending, outcome) {
            tracing::error!(
                job = record.id,
                error = chain(&error),
                "cannot write down how the job ended; it starts over with the server"
            );
        }
    }

    fn told(&self, refusal: Refusal, reason: Option<Reason>) -> JobError {
        match (refusal.fault, reason) {
            (Fault::Interrupted, Some(Reason::OutOfTime)) => JobError {
                message: format!("the painting took longer than {} seconds", self.options.job_timeout.as_secs()),
                hint: Some("ask for fewer steps, fewer boxes or a smaller picture".to_owned()),
            },
            _ => JobError { message: refusal.message, hint: refusal.hint },
        }
    }

    /// Deletes the oldest of the jobs that have ended, if there are more than shall be kept.
    fn prune(&self) {
        match self.store.prune(self.options.keep) {
            Ok(0) => {}
            Ok(deleted) => tracing::info!(deleted, "old jobs were deleted"),
            Err(error) => tracing::error!(error = chain(&error), "cannot delete old jobs"),
        }
    }

    fn count_ending(&self, ending: &Ending) {
        self.metrics.finished.get_or_create(&StateLabels { state: ending.state().as_str() }).inc();
    }
}

/// Why a picture that was painted is not there. Paths and causes go to the log.
fn unkept(id: &str, error: &Error) -> Refusal {
    tracing::error!(job = id, error = chain(error), "cannot keep a picture");
    match error.is_disk_full() {
        true => Refusal {
            hint: Some("make room on the server's disk, by deleting jobs for example, and paint it again".to_owned()),
            ..Refusal::new(Fault::Engine, "disk full: the picture could not be kept")
        },
        false => Refusal::new(Fault::Engine, "the server cannot write into its folder of pictures; its log says why"),
    }
}

/// Passes what a painting tells on to the record and to those who listen.
struct Watcher<'a> {
    shared: &'a Shared,
    record: &'a Record,
    running: &'a Running,
    request: Mutex<JobRequest>,
    warnings: Mutex<Vec<String>>,
}

impl Watcher<'_> {
    /// Changes what is known of the request, and writes it down.
    fn update(&self, change: impl FnOnce(&mut JobRequest)) -> JobRequest {
        let mut request = self.request.lock().unwrap_or_else(PoisonError::into_inner);
        change(&mut request);
        // The end of the job writes it once more.
        if let Err(error) = self.shared.store.update_request(&self.record.id, &request) {
            tracing::warn!(
                job = self.record.id,
                error = chain(&error),
                "cannot write down yet what became known of a job"
            );
        }
        request.clone()
    }
}

impl Watch for Watcher<'_> {
    fn planned(&self, layout: &Layout) {
        self.update(|request| request.layout = Some(layout.clone()));
        self.shared.hub.tell(&self.record.id, Event::Changed);
    }

    fn progress(&self, progress: Progress) {
        *self.running.progress.lock().unwrap_or_else(PoisonError::into_inner) = Some(progress.clone());
        self.shared.hub.tell(&self.record.id, Event::Progress(progress));
    }

    fn wants_preview(&self) -> bool {
        self.shared.hub.is_heard(&self.record.id)
    }

    fn preview(&self, png: &[u8]) {
        let address = format!("data:image/png;base64,{}", STANDARD.encode(png));
        self.shared.hub.tell(&self.record.id, Event::Preview(address));
    }

    fn warning(&self, warning: &str) {
        self.warnings.lock().unwrap_or_else(PoisonError::into_inner).push(warning.to_owned());
    }

    fn interrupt(&self) -> &Interrupt {
        &self.running.interrupt
    }
}

/// What a panic says.
fn panicked(panic: &(dyn std::any::Any + Send)) -> String {
    let said = panic.downcast_ref::<&str>().map(|text| (*text).to_owned());
    let said = said.or_else(|| panic.downcast_ref::<String>().cloned());
    format!("a fault of the program: {}", said.unwrap_or_else(|| "it gave no reason".to_owned()))
}

/// An error with its causes.
pub(crate) fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        text = format!("{text}: {error}");
        cause = error.source();
    }
    text
}

/// Numbers of the queue that are asked for rather than counted.
impl Queue {
    /// Sets the gauges to what they are now.
    ///
    /// # Errors
    /// [`Error::Record`].
    pub fn measure(&self) -> Result<()> {
        let Shared { metrics, store, engine, .. } = &*self.shared;
        metrics.queued.set(store.count(JobState::Queued)? as i64);
        let kept = engine.kept();
        metrics.models.set(kept.models as i64);
        metrics.model_bytes.set(kept.bytes as i64);
        metrics.resident_bytes.set(resident_bytes().unwrap_or(0) as i64);
        Ok(())
    }
}

/// Bytes that this process holds, where the system tells.
fn resident_bytes() -> Option<u64> {
    let text = std::fs::read_to_string("/proc/self/status").ok()?;
    let line = text.lines().find(|line| line.starts_with("VmRSS:"))?;
    line.split_whitespace().nth(1)?.parse::<u64>().ok()?.checked_mul(1024)
}
