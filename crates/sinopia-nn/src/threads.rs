//! How many CPU threads the operations share.

use crate::error::{Error, Result};

/// Fixes the number of worker threads for the whole process; 0 means one for each core.
///
/// Results do not depend on it. Call it before the first computation: the pool is built once.
///
/// # Errors
/// [`Error::Threads`] if the pool is already there.
pub fn set_num_threads(threads: usize) -> Result<()> {
    rayon::ThreadPoolBuilder::new().num_threads(threads).build_global().map_err(Error::Threads)
}

/// The number of worker threads in use.
pub fn num_threads() -> usize {
    rayon::current_num_threads()
}
