//! CLIP, UNet, VAE, OWL-ViT, SAM, tokenizers and checkpoint loading.

mod bands;
mod cancellation;
pub mod checkpoint;
pub mod clip;
pub mod clip_pair;
mod config;
pub mod denoiser;
mod device;
pub mod ella;
pub mod error;
pub mod hub;
mod identity;
pub mod image;
mod layers;
mod ldm;
pub mod owlvit;
pub mod packs;
mod preprocessing;
mod resnet;
pub mod sam;
mod sha256;
pub mod t5;
#[doc(hidden)]
pub mod testing;
pub mod tokenizer;
pub mod unet;
pub mod vae;
mod vision;
pub mod weights;

pub use cancellation::CancellationToken;
pub use checkpoint::{Checkpoint, ModelSource, OpenOptions};
pub use denoiser::Denoiser;
pub use device::DeviceKind;
pub use error::{Error, Result};
pub use tokenizer::{Tokenizer, Tokens};
pub use weights::{Precision, Weights};
