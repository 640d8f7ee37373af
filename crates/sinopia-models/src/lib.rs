//! CLIP text encoder, UNet, VAE, tokenizers and checkpoint loading.

pub mod error;
pub mod weights;

pub use error::{Error, Result};
pub use weights::{Precision, Weights};
