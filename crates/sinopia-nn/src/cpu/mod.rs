//! What the CPU kernels share: slices of tensors, work split over threads, matrix products and vectorisable functions.

pub(crate) mod bf16;
pub(crate) mod elements;
pub(crate) mod isa;
pub(crate) mod matrix;
pub(crate) mod numeric;
pub(crate) mod rows;
pub(crate) mod split;
