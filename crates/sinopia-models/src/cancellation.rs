//! Ending a long calculation before its end.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use crate::{Error, Result};

/// Asks a calculation to end; once asked, it stays so. Clones share the request.
///
/// Networks look at it before each of their layers and then end with [`Error::Cancelled`]. Where a token is optional, `None` never cancels.
#[derive(Debug, Clone, Default)]
pub struct CancellationToken(Arc<State>);

#[derive(Debug, Default)]
struct State {
    is_cancelled: AtomicBool,
    /// In tests without a clock.
    countdown: Option<Countdown>,
}

#[derive(Debug)]
struct Countdown {
    checks: AtomicUsize,
    /// The check, counted from 1, that finds the token cancelled.
    cancelled_at: usize,
}

impl CancellationToken {
    /// A token that nobody has cancelled.
    pub fn new() -> Self {
        Self::default()
    }

    /// Asks for the end.
    pub fn cancel(&self) {
        self.0.is_cancelled.store(true, Ordering::Relaxed);
    }

    /// Whether someone asked.
    pub fn is_cancelled(&self) -> bool {
        let is_over =
            |countdown: &Countdown| countdown.checks.fetch_add(1, Ordering::Relaxed) + 1 >= countdown.cancelled_at;
        self.0.countdown.as_ref().is_some_and(is_over) || self.0.is_cancelled.load(Ordering::Relaxed)
    }

    /// A token for tests that is cancelled when it is looked at for the n-th time, counted from 1.
    #[doc(hidden)]
    pub fn cancelled_at_check(n: usize) -> Self {
        let countdown = Some(Countdown { checks: AtomicUsize::new(0), cancelled_at: n });
        Self(Arc::new(State { countdown, ..State::default() }))
    }

    /// A token for tests that only counts how often it is looked at.
    #[doc(hidden)]
    pub fn counting() -> Self {
        Self::cancelled_at_check(usize::MAX)
    }

    /// How often a token for tests was looked at.
    #[doc(hidden)]
    pub fn num_checks(&self) -> usize {
        self.0.countdown.as_ref().map_or(0, |countdown| countdown.checks.load(Ordering::Relaxed))
    }
}

/// # Errors
/// [`Error::Cancelled`] once the token is cancelled.
pub(crate) fn check(cancellation: Option<&CancellationToken>) -> Result<()> {
    if cancellation.is_some_and(CancellationToken::is_cancelled) { Err(Error::Cancelled) } else { Ok(()) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn clones_are_cancelled_together_and_for_good() {
        let token = CancellationToken::new();
        let clone = token.clone();
        assert!(check(Some(&token)).is_ok() && check(None).is_ok());
        clone.cancel();
        assert!(token.is_cancelled() && token.is_cancelled());
        assert!(matches!(check(Some(&token)), Err(Error::Cancelled)));
    }

    #[test]
    fn a_countdown_ends_at_its_check() {
        let token = CancellationToken::cancelled_at_check(3);
        let found: Vec<bool> = (0..4).map(|_| token.is_cancelled()).collect();
        assert_eq!((found, token.num_checks()), (vec![false, false, true, true], 4));
    }
}
