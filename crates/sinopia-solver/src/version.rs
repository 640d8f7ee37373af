//! Which solver it is.

/// Counts the solvers whose layouts differ: raised by whoever changes where things come to stand. `tests/version.rs` notices a change without it.
pub const SOLVER_VERSION: u32 = 1;
