//! Which reader it is.

/// Counts the readers whose readings differ: raised by whoever changes what captions are read as, rules, lists, weights or nouns. What was judged by another
/// reader's reading is judged anew. `tests/version.rs` notices a change without it.
pub const READER_VERSION: u32 = 1;
