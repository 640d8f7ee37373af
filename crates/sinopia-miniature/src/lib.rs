//! The built-in checkpoint: a small, trained Stable Diffusion in the file layout of the large ones.
//!
//! It paints 128 × 128 pixels: sixteen kinds of things in eleven colours on simple backgrounds. GLIGEN's adapters, in a file of their own beside
//! the UNet, let it be told what stands where. `training/` in the repository made it, and `training/REPORT.md` says how well it does. This crate holds its bytes and nothing else; read them with any loader of diffusers folders:
//!
//! ```
//! let (path, bytes) = sinopia_miniature::FILES[0];
//! assert_eq!(path, "model_index.json");
//! assert!(bytes.starts_with(b"{"));
//! ```

/// The name that stands for this checkpoint where a model is asked for.
pub const NAME: &str = "miniature";

macro_rules! embedded {
    ($path:literal) => {
        ($path, include_bytes!(concat!("../assets/", $path)))
    };
}

/// Every file of the checkpoint: its path inside the folder, with `/`, and its content.
pub const FILES: &[(&str, &[u8])] = &[
    embedded!("model_index.json"),
    embedded!("scheduler/scheduler_config.json"),
    embedded!("text_encoder/config.json"),
    embedded!("text_encoder/model.safetensors"),
    embedded!("tokenizer/merges.txt"),
    embedded!("tokenizer/special_tokens_map.json"),
    embedded!("tokenizer/tokenizer_config.json"),
    embedded!("tokenizer/vocab.json"),
    embedded!("unet/config.json"),
    embedded!("unet/diffusion_pytorch_model.safetensors"),
    embedded!("unet/gligen.safetensors"),
    embedded!("vae/config.json"),
    embedded!("vae/diffusion_pytorch_model.safetensors"),
];
