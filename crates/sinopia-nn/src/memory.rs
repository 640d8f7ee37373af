//! The allocator for programs that run networks.
//!
//! A pass allocates and frees the same few hundred megabytes again and again. The system's allocator gives large blocks back at once and gets
//! fresh pages, zeroed, for the next: a tenth of the time of a pass. [`Allocator`] with [`keep_freed`] hands the same pages out again. The
//! price is that a process never shrinks.

#![expect(unsafe_code, reason = "an option of a C library")]

/// mimalloc. Make it the `#[global_allocator]` of a program.
pub use mimalloc::MiMalloc as Allocator;

/// `mi_option_purge_delay` of mimalloc 2 and 3.
const PURGE_DELAY: libmimalloc_sys::mi_option_t = 15;

/// Freed memory stays with the process instead of going back to the system after ten milliseconds. Call it first in `main`; it has no
/// effect where [`Allocator`] is not the program's.
pub fn keep_freed() {
    // SAFETY: sets a number that the library reads.
    unsafe { libmimalloc_sys::mi_option_set(PURGE_DELAY, -1) }
}
