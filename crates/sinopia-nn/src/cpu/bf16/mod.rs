//! Products of f32 activations, rounded to bf16, with packed bf16 matrices; sums in f32.
//!
//! [`Packed`] is the layout, `tile` the innermost loop, [`product`] the blocking around it.

mod columns;
mod convert;
mod packed;
mod product;
mod tile;
mod winograd;

pub(crate) use columns::{Columns, RowBits, Side, multiply_into};
pub(crate) use convert::round_to_bf16;
pub(crate) use packed::{Line, Packed};
pub(crate) use product::{Activations, Panels, Rows, product};
pub(crate) use winograd::{Images, convolve};
