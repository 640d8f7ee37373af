//! Products of f32 activations, quantised to 8 bits on their way in, with packed 8-bit weights; sums in i32, so exact in any order.
//!
//! A weight is `scale · q` with q in −127..=127 and one scale for each column (output channel). An activation is `scale · (u − zero)` with u in
//! 0..=255 and one scale and zero point for each token, or for each [band](windows) of an image. Then
//! `Σ x·w = scale_x · scale_w · (Σ u·q − zero · Σ q)`, and `Σ q` is known beforehand.
//!
//! Zero points pay: what comes out of SiLU or GELU hardly goes below zero, and a symmetric grid would waste nearly half its steps on that.
//!
//! [`Packed`] is the layout, `tile` the innermost loop, [`product`] the blocking around it, [`windows`] how images get there.

mod packed;
mod product;
mod quantize;
mod tile;
mod tokens;
mod turned;
mod wide;
mod windows;

pub(crate) use packed::{MAX_ROWS, Packed};
pub(crate) use product::{beats_tiles_of_f32, product};
pub(crate) use tokens::Tokens;
pub(crate) use turned::{Turned, gradient_of_tokens};
pub(crate) use wide::{Wide, WideTransposed};
pub(crate) use windows::Windows;
