//! A flag that ends a long calculation before its end.

use std::fmt::Debug;
use std::sync::atomic::{AtomicBool, Ordering};

use crate::{Error, Result};

/// Something that may ask a calculation to end; once asked, it stays so.
pub trait Switch: Debug + Sync {
    /// Whether it asks.
    fn is_thrown(&self) -> bool;
}

impl Switch for AtomicBool {
    fn is_thrown(&self) -> bool {
        self.load(Ordering::Relaxed)
    }
}

/// Somebody else's switch, looked at before each part of a calculation; `None` never interrupts.
pub type Interrupt<'a> = Option<&'a dyn Switch>;

/// # Errors
/// [`Error::Interrupted`] once the switch is thrown.
pub(crate) fn check(interrupt: Interrupt) -> Result<()> {
    if interrupt.is_some_and(Switch::is_thrown) { Err(Error::Interrupted) } else { Ok(()) }
}
