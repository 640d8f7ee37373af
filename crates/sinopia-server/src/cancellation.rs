//! How work under way is ended.

use std::fmt;
use std::sync::{Mutex, PoisonError};

/// What to do on cancellation.
type Action = Box<dyn FnOnce() + Send>;

/// Ends a painting or a planning, and does what has to happen then. Whoever works looks at it between steps.
#[derive(Default)]
pub struct CancellationToken(Mutex<State>);

#[derive(Default)]
struct State {
    reason: Option<CancelReason>,
    actions: Vec<Action>,
}

/// Why work is ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CancelReason {
    /// Somebody wants it no more.
    Unwanted,
    /// It takes longer than a job may.
    OutOfTime,
    /// The right to do it was lost: another has the job, or it has ended.
    Lost,
    /// The server stops; the job starts over when it is back.
    Stopping,
}

impl CancellationToken {
    /// Ends the work. The first reason stays.
    pub fn cancel(&self, reason: CancelReason) {
        let actions = {
            let mut state = self.0.lock().unwrap_or_else(PoisonError::into_inner);
            state.reason.get_or_insert(reason);
            std::mem::take(&mut state.actions)
        };
        actions.into_iter().for_each(|act| act());
    }

    /// Does `act` on cancellation, at once if that has been.
    pub fn on_cancel(&self, act: impl FnOnce() + Send + 'static) {
        let mut state = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if state.reason.is_none() {
            state.actions.push(Box::new(act));
            return;
        }
        drop(state);
        act();
    }

    /// Whether the work is to end.
    pub fn is_cancelled(&self) -> bool {
        self.reason().is_some()
    }

    /// Why the work is to end, if it is.
    pub fn reason(&self) -> Option<CancelReason> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).reason
    }
}

impl fmt::Debug for CancellationToken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("CancellationToken").field(&self.reason()).finish()
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::sync::atomic::{AtomicUsize, Ordering};

    use super::*;

    #[test]
    fn actions_happen_once_and_late_ones_at_once() {
        let (token, count) = (CancellationToken::default(), Arc::new(AtomicUsize::new(0)));
        let counting = || {
            let count = count.clone();
            move || {
                count.fetch_add(1, Ordering::Relaxed);
            }
        };
        token.on_cancel(counting());
        assert!(!token.is_cancelled() && count.load(Ordering::Relaxed) == 0);
        token.cancel(CancelReason::OutOfTime);
        token.cancel(CancelReason::Unwanted);
        token.on_cancel(counting());
        assert_eq!((token.reason(), count.load(Ordering::Relaxed)), (Some(CancelReason::OutOfTime), 2));
    }

    #[test]
    fn an_action_may_look_at_what_it_acts_on() {
        let token = Arc::new(CancellationToken::default());
        let (seen, looked_at) = (Arc::new(Mutex::new(None)), token.clone());
        let kept = seen.clone();
        token.on_cancel(move || *kept.lock().unwrap() = looked_at.reason());
        token.cancel(CancelReason::Stopping);
        assert_eq!(*seen.lock().unwrap(), Some(CancelReason::Stopping));
    }
}
