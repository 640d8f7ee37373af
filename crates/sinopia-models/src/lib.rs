//! CLIP, UNet, VAE, OWL-ViT, SAM, tokenizers and checkpoint loading.

pub mod checkpoint;
pub mod clip;
pub mod clip_pair;
mod config;
pub mod ella;
pub mod error;
pub mod hub;
pub mod image;
mod interrupt;
mod layers;
mod ldm;
pub mod owlvit;
mod preprocessing;
mod resnet;
pub mod sam;
pub mod t5;
#[doc(hidden)]
pub mod testing;
pub mod tokenizer;
pub mod unet;
pub mod vae;
mod vision;
pub mod weights;

pub use checkpoint::{Checkpoint, ModelSource, OpenOptions};
pub use error::{Error, Result};
pub use interrupt::{Interrupt, Switch};
pub use tokenizer::{Tokenizer, Tokens};
pub use weights::{Precision, Weights};
