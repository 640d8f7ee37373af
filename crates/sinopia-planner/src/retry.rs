//! When a failed call is made again, and when it is not.

use std::time::Duration;

use crate::error::Error;
use crate::provider::{CallError, Completion, CompletionRequest, Message, Provider};

/// How failed calls are repeated: exponential back-off with jitter, and the server's own wish where it has one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RetryPolicy {
    /// New attempts after the first failure of a call.
    pub max_retries: u32,
    /// The longest pause before the first new attempt; it doubles with each.
    pub first_pause: Duration,
    /// The longest pause of all.
    pub longest_pause: Duration,
    /// The longest `Retry-After` that is waited for; a server that wants more is not asked again.
    pub longest_retry_after: Duration,
}

impl Default for RetryPolicy {
    fn default() -> Self {
        Self {
            max_retries: 4,
            first_pause: Duration::from_secs(1),
            longest_pause: Duration::from_secs(30),
            longest_retry_after: Duration::from_secs(120),
        }
    }
}

impl RetryPolicy {
    /// The pause after failure number `failures` (counted from 1), or `None` to give up.
    ///
    /// `random` is in 0..1. Half of the pause is fixed and half is random, so that clients that failed together do not come
    /// back together: `p · (1 + random) / 2`, `p = min(first · 2^(failures − 1), longest)`. A `Retry-After` is a lower bound.
    pub fn pause(&self, error: &CallError, failures: u32, random: f64) -> Option<Duration> {
        if !error.is_transient() || failures > self.max_retries.min(error.most_retries()) {
            return None;
        }
        let doubled = 2_u32.saturating_pow(failures.saturating_sub(1));
        let longest = self.first_pause.saturating_mul(doubled).min(self.longest_pause);
        let pause = longest.mul_f64((1.0 + random.clamp(0.0, 1.0)) / 2.0);
        match error.retry_after() {
            Some(wanted) if wanted > self.longest_retry_after => None,
            Some(wanted) => Some(pause.max(wanted)),
            None => Some(pause),
        }
    }
}

impl RetryPolicy {
    /// The model's answer, asked again with pauses where that may help; `timeout` is for each call.
    ///
    /// # Errors
    /// [`Error::Call`] with the last failure.
    pub fn complete(
        &self,
        provider: &dyn Provider,
        conversation: &[Message],
        timeout: Duration,
    ) -> Result<Completion, Error> {
        let mut failures = 0;
        loop {
            let request =
                CompletionRequest { conversation, draw: 0, timeout, is_cancelled: &|| false, on_prompt: &|_| () };
            let error = match provider.complete(&request) {
                Ok(completion) => return Ok(completion),
                Err(error) => error,
            };
            failures += 1;
            match self.pause(&error, failures, fastrand::f64()) {
                Some(pause) => std::thread::sleep(pause),
                None => {
                    let server = provider.identity().to_string();
                    return Err(Error::Call { server, calls: failures as usize, source: error });
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn status(status: u16, retry_after: Option<u64>) -> CallError {
        let retry_after = retry_after.map(Duration::from_secs);
        CallError::Status { status, message: String::new(), retry_after, is_quota: false }
    }

    #[test]
    fn pauses_double_up_to_a_limit() {
        let policy = RetryPolicy { max_retries: 9, ..RetryPolicy::default() };
        let pauses: Vec<u128> =
            (1..=7).map(|failures| policy.pause(&status(500, None), failures, 1.0).unwrap().as_millis()).collect();
        assert_eq!(pauses, [1000, 2000, 4000, 8000, 16000, 30000, 30000]);
        assert_eq!(policy.pause(&status(500, None), 1, 0.0), Some(Duration::from_millis(500)));
    }

    #[test]
    fn the_servers_wish_is_a_lower_bound() {
        let policy = RetryPolicy::default();
        assert_eq!(policy.pause(&status(429, Some(20)), 1, 1.0), Some(Duration::from_secs(20)));
        assert_eq!(policy.pause(&status(429, Some(0)), 2, 1.0), Some(Duration::from_secs(2)));
        assert_eq!(policy.pause(&status(429, Some(3600)), 1, 1.0), None);
    }

    #[test]
    fn what_cannot_get_better_is_not_repeated() {
        let policy = RetryPolicy::default();
        assert_eq!(policy.pause(&status(500, None), 5, 1.0), None);
        for permanent in [status(400, None), status(401, None), status(404, None), CallError::TooLarge { limit: 1 }] {
            assert_eq!(policy.pause(&permanent, 1, 1.0), None, "{permanent}");
        }
        let empty = |has_reasoning| CallError::Empty { reason: "stop".to_owned(), has_reasoning };
        assert!(policy.pause(&empty(false), 1, 1.0).is_some());
        assert_eq!((policy.pause(&empty(false), 2, 1.0), policy.pause(&empty(true), 1, 1.0)), (None, None));
        let quota = CallError::Status { status: 429, message: String::new(), retry_after: None, is_quota: true };
        assert_eq!(policy.pause(&quota, 1, 1.0), None);
    }
}
