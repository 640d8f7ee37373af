//! A flag that ends a long calculation before its end.

use std::sync::atomic::{AtomicBool, Ordering};

use crate::{Error, Result};

/// Somebody else's switch, looked at between two parts of a calculation; `None` never interrupts.
pub type Interrupt<'a> = Option<&'a AtomicBool>;

/// # Errors
/// [`Error::Interrupted`] once the switch is thrown.
pub(crate) fn check(interrupt: Interrupt) -> Result<()> {
    if interrupt.is_some_and(|flag| flag.load(Ordering::Relaxed)) { Err(Error::Interrupted) } else { Ok(()) }
}
