//! Waits that come to an end even if there is a bug.

use std::io::{Write, stderr};
use std::panic::Location;
use std::process::exit;
use std::sync::mpsc::{RecvTimeoutError, Sender, channel};
use std::thread::{current, spawn};
use std::time::Duration;

/// What has not happened after this long never will, however slow the machine.
const LIMIT: Duration = Duration::from_secs(120);
/// What tests end with that panic: a panic beside the thread that waits would not be heard.
const FAILED: i32 = 101;

/// Somebody waits; dropped when that is over.
pub struct Patience {
    _over: Sender<()>,
}

/// Waiting for something begins here. If it is not over in time, all tests of the binary end, and say what was waited for.
#[track_caller]
pub fn until(what: &str) -> Patience {
    let (over, is_over) = channel::<()>();
    let who = current().name().unwrap_or("a test").to_owned();
    let said = format!("{who} still waits after {} seconds until {what}: {}", LIMIT.as_secs(), Location::caller());
    spawn(move || {
        if is_over.recv_timeout(LIMIT) == Err(RecvTimeoutError::Timeout) {
            let _ = writeln!(stderr(), "{said}"); // there is nobody else to tell
            exit(FAILED);
        }
    });
    Patience { _over: over }
}
