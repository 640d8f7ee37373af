//! Differentiable tensor operations with frozen weights, channels-last.
//!
//! The layers that CLIP, the UNet and the VAE are built from, on top of candle. They differ from candle's own in three ways:
//!
//! * **Only inputs get gradients.** Weights are frozen, so no weight gradient is ever computed or stored, and no operation
//!   cuts the graph: whatever is built from them can be differentiated with respect to the latents. [`vjp`] does so for a
//!   part of a network at a time, so that the graph of the whole never has to exist.
//! * **Images are channels-last**, (B, H, W, C): a spatial transformer is a reshape away, a convolution is a matrix product.
//! * **Attention never holds its matrix of probabilities**, forward or backward, unless it is asked to record them.
//!
//! ```
//! use candle_core::{Device, Tensor};
//! use sinopia_nn::{Conv2d, Conv2dOptions, Padding, attention, vjp};
//!
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let weight = Tensor::randn(0f32, 0.1, (8, 4, 3, 3), &Device::Cpu)?; // as checkpoints have it
//! let conv = Conv2d::new(&weight, None, Conv2dOptions { stride: 1, padding: Padding::same(1) })?;
//! let text = Tensor::randn(0f32, 1., (1, 77, 8), &Device::Cpu)?; // (B, L, C)
//! let latents = Tensor::randn(0f32, 1., (1, 16, 16, 4), &Device::Cpu)?; // (B, H, W, C)
//!
//! // How does the attention to each token depend on the latents?
//! let maps = |inputs: &[Tensor]| {
//!     let hidden = conv.forward(&inputs[0])?.reshape((1, 256, 8))?; // (B, HW, C)
//!     Ok(vec![attention::attention_probs(&hidden, &text, 2)?]) // (B, heads, HW, L)
//! };
//! let towards = Tensor::randn(0f32, 1., (1, 2, 256, 77), &Device::Cpu)?;
//! let gradients = vjp(&[latents], maps, &[Some(towards)])?;
//! assert_eq!(gradients[0].dims(), [1, 16, 16, 4]);
//! # Ok(())
//! # }
//! ```
//!
//! # Shapes
//! B batch, H W grid, HW flattened grid, C channels, L text tokens, M queries, N keys, D width of a head, F width of a
//! feed-forward layer. Activations are f32; weights may be f32, f16 or bf16 and keep their size in memory. On a CPU with products of bf16 pairs
//! bf16 weights are multiplied in bf16 ([`Arithmetic`]): inputs are rounded on their way into a product, sums are f32. All others are
//! multiplied in f32, those of 16 bits widened on their way into a tile. Layers made by [`Linear::int8`] and [`Conv2d::int8`] keep a byte a
//! weight and multiply in 8 bits, with exact sums.
//!
//! # Devices
//! On the CPU every operation is a kernel of this crate: products of packed weights in f32 (`cpu::f32`: AVX2, AVX-512, NEON), in bf16
//! (`cpu::bf16`: AVX-512 BF16) and in 8 bits (`cpu::int8`), 3×3 convolutions by Winograd's transforms in the first two, loops that the compiler
//! vectorises, work split over `rayon`'s threads in pieces that do not depend on their number, so results are the same bits on one thread and on
//! many. Elsewhere operations are composed of candle's own; that composition is also what the kernels are tested against.
//!
//! # Features
//! `accelerate` and `mkl` are handed on to candle; both are off by default and need their vendors' libraries.
//!
//! # Reading order
//! [`Linear`] for the pattern that all operations follow (doc, composition, kernel, gradient, tests), then [`Conv2d`] and
//! [`attention`]; `cpu` holds what the kernels share, `check` what their tests share.

pub mod activation;
mod arithmetic;
pub mod attention;
#[cfg(test)]
mod check;
mod conv2d;
mod cpu;
pub mod decoder;
mod error;
mod frozen;
mod group_norm;
pub mod instructions;
mod layer_norm;
mod linear;
pub mod memory;
pub mod packed;
mod quantized;
mod shared_bytes;
pub mod softmax;
pub mod threads;
pub mod throughput;
pub mod upsample;
mod vjp;

pub use arithmetic::Arithmetic;
pub use conv2d::{Conv2d, Conv2dOptions, Padding};
pub use cpu::blocks::BlockKind;
pub use error::{Error, Result};
pub use group_norm::{GroupNorm, Moments};
pub use instructions::{Instructions, instructions};
pub use layer_norm::LayerNorm;
pub use linear::Linear;
pub use quantized::Quantized;
pub use shared_bytes::SharedBytes;
pub use vjp::{Traced, vjp};
