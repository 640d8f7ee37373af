//! What the CPU kernels share: slices of tensors, work split over threads, matrix products and vectorisable functions.

pub(crate) mod bf16;
pub(crate) mod blocks;
pub(crate) mod columns;
pub(crate) mod elements;
pub(crate) mod f32;
pub(crate) mod int8;
pub(crate) mod isa;
pub(crate) mod matrix;
pub(crate) mod numeric;
pub(crate) mod rows;
pub(crate) mod split;
pub(crate) mod start;
pub(crate) mod winograd;
