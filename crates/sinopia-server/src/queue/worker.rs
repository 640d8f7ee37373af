//! A worker's life: take the next job that fits, paint it, write down how it ended.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::mpsc::{RecvTimeoutError, channel};
use std::sync::{Arc, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use super::shared::{Running, Shared, State};
use super::watcher::Watcher;
use crate::cancellation::CancelReason;
use crate::engine::{Answer, Fault, Painted, Refusal, Sources, Watch};
use crate::error::{Error, Result};
use crate::metrics::MethodLabels;
use crate::store::{Claim, Ending, Outcome, Record};
use crate::wire::{JobError, JobRequest, Verdict};

/// Time between tries when the record cannot be read, or the disk is full.
const RECORD_PAUSE: Duration = Duration::from_secs(1);

impl Shared {
    /// Paints job after job until the server stops.
    pub(super) fn work(&self) {
        let (hub, metrics) = (&self.services.hub, &self.services.metrics);
        while let Some((claim, running)) = self.wait_for_job() {
            let id = claim.id().to_owned();
            hub.publish_changed_to_all();
            metrics.running.inc();
            tracing::info!(job = id, attempt = claim.record().attempts, "painting");
            let start = Instant::now();
            let painted = self.paint(&claim, &running);
            self.end(claim, painted, &running, start.elapsed());
            self.prune();
            metrics.running.dec();
            self.state().forget(&id, &running);
            self.changed.notify_all();
            hub.publish_changed_to_all();
        }
    }

    /// The next job for which there is memory, marked as running; nothing when the server stops.
    fn wait_for_job(&self) -> Option<(Claim, Arc<Running>)> {
        let mut state = self.state();
        loop {
            if state.is_stopping {
                return None;
            }
            match self.claim(&state) {
                Ok(Some(claim)) => {
                    let memory_bytes = claim.record().memory_bytes;
                    let running = Arc::new(Running { memory_bytes, ..Running::default() });
                    state.running.insert(claim.id().to_owned(), running.clone());
                    return Some((claim, running));
                }
                Ok(None) => state = self.changed.wait(state).unwrap_or_else(PoisonError::into_inner),
                Err(error) => {
                    // Of a full disk the log has a line when it becomes full, and one when there is room again.
                    if !error.is_disk_full() {
                        tracing::error!(error = error.with_causes(), "cannot take up the next job");
                    }
                    let waited = self.changed.wait_timeout(state, RECORD_PAUSE);
                    state = waited.unwrap_or_else(PoisonError::into_inner).0;
                }
            }
        }
    }

    /// The next job, if it can begin now. What could not be written on a full disk comes first, and on a full disk nothing begins.
    fn claim(&self, state: &State) -> Result<Option<Claim>> {
        let store = &self.services.store;
        if store.jobs().is_behind() {
            store.settle()?;
        }
        store.jobs().claim(&mut |record: &Record| {
            if !state.has_room(record.memory_bytes, self.options.memory_budget) {
                return Ok(false);
            }
            store.artefacts().check_room().map(|()| true)
        })
    }

    /// Paints, with an eye on the clock; a panic is a failure like others.
    fn paint(&self, claim: &Claim, running: &Running) -> Answer<Outcome> {
        let watcher = Watcher::new(self, claim, running);
        let verdict = thread::scope(|scope| {
            let (finished, clock) = channel::<()>();
            scope.spawn(move || {
                if clock.recv_timeout(self.options.job_timeout) == Err(RecvTimeoutError::Timeout) {
                    running.cancellation.cancel(CancelReason::OutOfTime);
                }
            });
            let painted = catch_unwind(AssertUnwindSafe(|| self.paint_and_judge(&watcher)));
            drop(finished);
            painted.unwrap_or_else(|panic| Err(Refusal::new(Fault::Engine, panic_message(panic.as_ref()))))
        });
        verdict.map(|verdict| watcher.into_outcome(verdict))
    }

    fn paint_and_judge(&self, watcher: &Watcher<'_>) -> Answer<Option<Verdict>> {
        let (engine, id) = (&self.services.engine, watcher.claim.id());
        let wanted = &watcher.claim.record().request;
        let sources = self.sources(wanted).map_err(|error| not_read(id, &error))??;
        let Painted { png, guidance_scale, seed, verdict } = engine.paint(wanted, &sources, watcher)?;
        let request = watcher.update(|request| {
            request.guidance_scale.get_or_insert(guidance_scale);
            request.seed = seed.or(request.seed);
        });
        // Before the end of the job is written down: a job that is done has its picture.
        if !self.services.store.put_picture(watcher.claim, &png).map_err(|error| not_kept(id, &error))? {
            watcher.cancellation().cancel(CancelReason::Lost);
            return Err(Refusal::new(Fault::Cancelled, "the job is another's"));
        }
        if verdict.is_some() {
            return Ok(verdict);
        }
        let Some(layout) = request.layout.as_ref().filter(|_| request.judge) else { return Ok(None) };
        match engine.judge(&png, layout, watcher.cancellation()) {
            Ok(verdict) => Ok(Some(verdict)),
            Err(refusal) => {
                watcher.warning(&format!("nobody looked at the picture: {refusal}"));
                Ok(None)
            }
        }
    }

    /// The pictures that a job begins with. They were there when it was queued.
    fn sources(&self, request: &JobRequest) -> Result<Answer<Sources>> {
        let read = |id: Option<&str>| -> Result<Answer<Option<Vec<u8>>>> {
            let Some(id) = id else { return Ok(Ok(None)) };
            let gone = || Refusal {
                hint: Some("choose another one and paint again".to_owned()),
                ..Refusal::new(Fault::Request, "the picture that this begins with is not there any more")
            };
            Ok(self.services.store.source(id)?.map(Some).ok_or_else(gone))
        };
        let (image, mask) = (read(request.source())?, read(request.mask())?);
        Ok(image.and_then(|image| Ok(Sources { image, mask: mask? })))
    }

    /// Writes down how a job ended, or puts it back into the queue.
    fn end(&self, claim: Claim, painted: Answer<Outcome>, running: &Running, took: Duration) {
        let reason = running.cancellation.reason();
        // What was tried until then is there to be looked at.
        let unfinished = || Outcome { tried: running.tried(), ..Outcome::default() };
        let reason_if = |refusal: &Refusal| reason.filter(|_| refusal.fault == Fault::Cancelled);
        let (ending, outcome) = match painted {
            Ok(outcome) => (Ending::Done, Outcome { took: Some(took), ..outcome }),
            Err(refusal) => match reason_if(&refusal) {
                Some(CancelReason::Stopping) => return self.put_back(claim),
                Some(CancelReason::Lost) => return say_lost(claim.id()),
                Some(CancelReason::Unwanted) => (Ending::Cancelled, unfinished()),
                Some(CancelReason::OutOfTime) => (Ending::Failed(self.out_of_time()), unfinished()),
                None => {
                    let error = JobError { message: refusal.message, hint: refusal.hint };
                    (Ending::Failed(error), unfinished())
                }
            },
        };
        self.finish(claim, &ending, outcome, took);
    }

    fn put_back(&self, claim: Claim) {
        let id = claim.id().to_owned();
        match self.services.store.jobs().put_back(claim) {
            Ok(true) => tracing::info!(job = id, "put back into the queue"),
            Ok(false) => say_lost(&id),
            Err(error) => tracing::error!(
                job = id,
                error = error.with_causes(),
                "cannot write that a job waits again; it starts over with the server"
            ),
        }
    }

    fn finish(&self, claim: Claim, ending: &Ending, outcome: Outcome, took: Duration) {
        let id = claim.id().to_owned();
        let labels = MethodLabels { method: claim.record().request.method.clone().unwrap_or_default() };
        match self.services.store.jobs().finish(claim, ending, outcome) {
            Ok(true) => {}
            Ok(false) => return say_lost(&id),
            Err(error) => {
                tracing::error!(
                    job = id,
                    error = error.with_causes(),
                    "cannot write down how the job ended; it starts over with the server"
                );
                return;
            }
        }
        tracing::info!(job = id, state = ending.state().as_str(), seconds = took.as_secs_f64(), "ended");
        if *ending == Ending::Done {
            self.services.metrics.paint_seconds.get_or_create(&labels).observe(took.as_secs_f64());
        }
        self.count_ending(ending);
    }

    fn out_of_time(&self) -> JobError {
        JobError {
            message: format!("the painting took longer than {} seconds", self.options.job_timeout.as_secs()),
            hint: Some("ask for fewer steps, fewer boxes or a smaller picture".to_owned()),
        }
    }
}

/// What was painted of a job counts for nothing.
fn say_lost(id: &str) {
    tracing::warn!(
        job = id,
        "the job ended or was given to another while it was painted: nothing of this painting is kept"
    );
}

/// Why a picture cannot be begun with. Paths and causes go to the log.
fn not_read(id: &str, error: &Error) -> Refusal {
    tracing::error!(job = id, error = error.with_causes(), "cannot read what a job begins with");
    Refusal::new(Fault::Engine, "the server cannot read its folder of pictures; its log says why")
}

/// Why a picture that was painted is not there. Paths and causes go to the log.
fn not_kept(id: &str, error: &Error) -> Refusal {
    tracing::error!(job = id, error = error.with_causes(), "cannot keep a picture");
    match error.is_disk_full() {
        true => Refusal {
            hint: Some("make room on the server's disk, by deleting jobs for example, and paint it again".to_owned()),
            ..Refusal::new(Fault::Engine, "disk full: the picture could not be kept")
        },
        false => Refusal::new(Fault::Engine, "the server cannot write into its folder of pictures; its log says why"),
    }
}

/// What a panic says.
fn panic_message(panic: &(dyn std::any::Any + Send)) -> String {
    let said = panic.downcast_ref::<&str>().map(|text| (*text).to_owned());
    let said = said.or_else(|| panic.downcast_ref::<String>().cloned());
    format!("a fault of the program: {}", said.unwrap_or_else(|| "it gave no reason".to_owned()))
}
