//! CLIP text encoder, UNet, VAE, tokenizers and checkpoint loading.
