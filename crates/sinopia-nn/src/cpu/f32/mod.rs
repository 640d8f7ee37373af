//! Products of f32 activations with packed matrices of f32, f16 or bf16; numbers of 16 bits are widened on their way into a tile.
//!
//! [`Packed`] is the layout, `tile` the innermost loop, [`product`] the blocking around it.

mod packed;
mod product;
mod tile;
mod transpose;
mod widen;
mod winograd;

pub(crate) use packed::Packed;
pub(crate) use product::{Panels, Rows, Strided, product};
pub(crate) use tile::{LANES, Tile, multiply_tile};
pub(crate) use transpose::{for_rows_of_columns, transpose};
pub(crate) use winograd::{Images, convolve};
