//! The allocator for programs that run networks.
//!
//! A pass allocates and frees the same few hundred megabytes again and again. The system's allocator gives large blocks back at once and gets
//! fresh pages, zeroed, for the next: a tenth of the time of a pass. [`Allocator`] with [`keep_freed`] hands the same pages out again. The
//! price is that a process shrinks only where it says so: [`give_back`] stands between parts of the work that need memory of other shapes.

#![expect(unsafe_code, reason = "options and figures of a C library")]

/// mimalloc. Make it the `#[global_allocator]` of a program.
pub use mimalloc::MiMalloc as Allocator;

/// `mi_option_purge_delay` of mimalloc 2 and 3.
const PURGE_DELAY: libmimalloc_sys::mi_option_t = 15;

/// How long freed memory is kept: a day. Never (−1) would also be for [`give_back`].
const KEPT_MILLISECONDS: std::ffi::c_long = 24 * 60 * 60 * 1000;

/// Freed memory stays with the process instead of going back to the system after ten milliseconds. Call it first in `main`; it has no
/// effect where [`Allocator`] is not the program's.
pub fn keep_freed() {
    // SAFETY: sets a number that the library reads.
    unsafe { libmimalloc_sys::mi_option_set(PURGE_DELAY, KEPT_MILLISECONDS) }
}

/// Freed memory goes back to the system now. What is allocated next is fresh pages, zeroed, so this is for seams between long parts of the
/// work alone; it has no effect where [`Allocator`] is not the program's.
pub fn give_back() {
    // SAFETY: the library may be asked for this at any time, from any thread.
    unsafe { libmimalloc_sys::mi_collect(true) }
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

    /// Of the mapping that an address lies in.
    #[cfg(target_os = "linux")]
    fn resident_kilobytes(address: usize) -> Result<usize, Box<dyn std::error::Error>> {
        let smaps = std::fs::read_to_string("/proc/self/smaps")?;
        let mut is_inside = false;
        for line in smaps.lines() {
            let mut words = line.split_whitespace();
            let first = words.next().unwrap_or_default();
            let ends = first
                .split_once('-')
                .map(|(from, to)| (usize::from_str_radix(from, 16), usize::from_str_radix(to, 16)));
            match ends {
                Some((Ok(from), Ok(to))) => is_inside = (from..to).contains(&address),
                _ if is_inside && first == "Rss:" => return Ok(words.next().ok_or("no number")?.parse()?),
                _ => {}
            }
        }
        Err("no mapping there".into())
    }

    #[cfg(target_os = "linux")]
    #[test]
    fn freed_memory_stays_until_it_is_given_back() -> Result<(), Box<dyn std::error::Error>> {
        use std::alloc::{GlobalAlloc, Layout};

        use super::{Allocator, give_back, keep_freed};

        // The tests' own allocator is the system's: no other test allocates here.
        keep_freed();
        let layout = Layout::from_size_align(20 << 20, 64)?;
        // SAFETY: the block is not empty, is written within its size, and freed once by its layout.
        let address = unsafe {
            let block = Allocator.alloc(layout);
            assert!(!block.is_null());
            block.write_bytes(1, layout.size());
            Allocator.dealloc(block, layout);
            block.addr()
        };
        let kept = resident_kilobytes(address)?;
        assert!(kept >= 20 << 10, "{kept}");
        give_back();
        let left = resident_kilobytes(address)?;
        assert!(left + (19 << 10) <= kept, "{left} of {kept}");
        Ok(())
    }
}
