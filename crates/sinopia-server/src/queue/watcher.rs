//! What a painting says on its way: to the record, and to those who listen.

use std::sync::{Mutex, PoisonError};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use sinopia_layout::Layout;

use super::shared::{Running, Shared};
use crate::cancellation::{CancelReason, CancellationToken};
use crate::engine::Watch;
use crate::events::Event;
use crate::metrics::AttemptLabels;
use crate::services::Services;
use crate::store::{Claim, Outcome};
use crate::wire::{Attempt, JobRequest, Progress, Verdict};

/// What is told when not all that was tried is kept.
const MORE_TRIES: &str = "more was tried than is kept: the last tries that did not help are left out";

/// Passes what a painting says on to the record and to those who listen.
pub(super) struct Watcher<'a> {
    shared: &'a Shared,
    pub(super) claim: &'a Claim,
    running: &'a Running,
    request: Mutex<JobRequest>,
    warnings: Mutex<Vec<String>>,
}

impl<'a> Watcher<'a> {
    pub(super) fn new(shared: &'a Shared, claim: &'a Claim, running: &'a Running) -> Self {
        let request = Mutex::new(claim.record().request.clone());
        Self { shared, claim, running, request, warnings: Mutex::default() }
    }

    /// Changes what is known of the request, and writes it down. If the job is another's by now, the painting is cancelled.
    pub(super) fn update(&self, change: impl FnOnce(&mut JobRequest)) -> JobRequest {
        let mut request = self.request.lock().unwrap_or_else(PoisonError::into_inner);
        change(&mut request);
        match self.shared.services.store.jobs().update_request(self.claim, &request) {
            Ok(true) => {}
            Ok(false) => self.running.cancellation.cancel(CancelReason::Lost),
            // The end of the job writes it once more.
            Err(error) => tracing::warn!(
                job = self.claim.id(),
                error = error.with_causes(),
                "cannot write down yet what became known of a job"
            ),
        }
        request.clone()
    }

    /// What became known of a job that has a picture.
    pub(super) fn into_outcome(self, verdict: Option<Verdict>) -> Outcome {
        let warnings = self.warnings.into_inner().unwrap_or_else(PoisonError::into_inner);
        let request = self.request.into_inner().unwrap_or_else(PoisonError::into_inner);
        Outcome { request: Some(request), verdict, tried: self.running.tried(), warnings, took: None }
    }
}

impl Watch for Watcher<'_> {
    fn planned(&self, layout: &Layout) {
        self.update(|request| request.layout = Some(layout.clone()));
        self.shared.services.hub.publish(self.claim.id(), Event::Changed);
    }

    fn progress(&self, progress: Progress) {
        *self.running.progress.lock().unwrap_or_else(PoisonError::into_inner) = Some(progress.clone());
        self.shared.services.hub.publish(self.claim.id(), Event::Progress(progress));
    }

    fn wants_preview(&self) -> bool {
        self.shared.services.hub.has_subscribers(self.claim.id())
    }

    fn preview(&self, png: &[u8]) {
        let address = format!("data:image/png;base64,{}", STANDARD.encode(png));
        self.shared.services.hub.publish(self.claim.id(), Event::Preview(address));
    }

    fn attempt(&self, attempt: Attempt, png: &[u8]) {
        let Services { store, hub, metrics, .. } = &self.shared.services;
        let number = self.running.tried.lock().unwrap_or_else(PoisonError::into_inner).len();
        // Those that led to the picture have places of their own.
        let places = if attempt.accepted { Attempt::MAX } else { Attempt::MAX - Attempt::FOR_ACCEPTED };
        if number >= places {
            let mut warnings = self.warnings.lock().unwrap_or_else(PoisonError::into_inner);
            if !warnings.iter().any(|warning| warning == MORE_TRIES) {
                warnings.push(MORE_TRIES.to_owned());
            }
            return;
        }
        // Its picture is there before anybody hears of it. Without it the painting goes on: the last picture is what counts.
        match store.put_attempt(self.claim, number, png) {
            Ok(true) => {}
            Ok(false) => self.running.cancellation.cancel(CancelReason::Lost),
            Err(error) => {
                tracing::warn!(
                    job = self.claim.id(),
                    error = error.with_causes(),
                    "cannot keep the picture of an attempt"
                );
            }
        }
        let kind = if attempt.operations.is_empty() { "painting" } else { "repair" };
        metrics.attempts.get_or_create(&AttemptLabels { kind, accepted: attempt.accepted.to_string() }).inc();
        self.running.tried.lock().unwrap_or_else(PoisonError::into_inner).push(attempt);
        hub.publish(self.claim.id(), Event::Changed);
    }

    fn warning(&self, warning: &str) {
        self.warnings.lock().unwrap_or_else(PoisonError::into_inner).push(warning.to_owned());
    }

    fn cancellation(&self) -> &CancellationToken {
        &self.running.cancellation
    }
}
