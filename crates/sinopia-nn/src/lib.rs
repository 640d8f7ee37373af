//! Differentiable tensor operations with frozen weights, channels-last.

pub mod activation;
pub mod attention;
#[cfg(test)]
mod check;
mod conv2d;
mod cpu;
mod error;
mod frozen;
mod group_norm;
mod layer_norm;
mod linear;
pub mod softmax;
pub mod threads;
pub mod upsample;
mod vjp;

pub use conv2d::{Conv2d, Conv2dOptions, Padding};
pub use error::{Error, Result};
pub use group_norm::GroupNorm;
pub use layer_norm::LayerNorm;
pub use linear::Linear;
pub use vjp::vjp;
