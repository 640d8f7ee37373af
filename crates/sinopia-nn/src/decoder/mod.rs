//! The layers of a language model that reads a text from left to right: over plain rows of f32, on the CPU, without gradients.
//!
//! The numbers of a prompt's token do not depend on how many tokens are read with it: a prompt in one piece, in several, or token by token gives the same
//! bits, on any number of threads. So what was read once can be kept and continued, and nobody can tell.

mod activation;
mod kv_cache;
mod projection;
mod rms_norm;
mod rotary;

pub use activation::GatedActivation;
pub use kv_cache::{Attending, KvCache};
pub use projection::{Phase, Projection};
pub use rms_norm::RmsNorm;
pub use rotary::{Angles, Rotary, RotaryPairs};
