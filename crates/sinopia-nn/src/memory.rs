//! The allocator for programs that run networks.
//!
//! A pass allocates and frees the same few hundred megabytes again and again. The system's allocator gives large blocks back at once and gets
//! fresh pages, zeroed, for the next: a tenth of the time of a pass. [`Allocator`] with [`keep_freed`] hands the same pages out again. The
//! price is that a process never shrinks.

#![expect(unsafe_code, reason = "options and figures of a C library")]

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

/// The most memory that this process held at once, in bytes, as the system counts it; `None` where it does not tell.
pub fn peak_bytes() -> Option<usize> {
    let (mut elapsed, mut user, mut system, mut resident) = (0, 0, 0, 0);
    let (mut peak, mut committed, mut peak_committed, mut faults) = (0, 0, 0, 0);
    // SAFETY: writes a number to each of the eight places, which live until it returns.
    unsafe {
        libmimalloc_sys::mi_process_info(
            &raw mut elapsed,
            &raw mut user,
            &raw mut system,
            &raw mut resident,
            &raw mut peak,
            &raw mut committed,
            &raw mut peak_committed,
            &raw mut faults,
        );
    }
    (peak > 0).then_some(peak)
}

#[cfg(test)]
mod tests {
    #[test]
    fn a_process_has_held_what_it_holds() {
        let held = vec![1_u8; 64 << 20];
        assert!(super::peak_bytes().is_none_or(|peak| peak >= held.len()));
    }
}
