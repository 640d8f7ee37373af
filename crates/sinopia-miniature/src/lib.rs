//! The embedded miniature checkpoints.
