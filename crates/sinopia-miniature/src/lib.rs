//! The built-in checkpoints: a small, trained Stable Diffusion and a small OWL-ViT that judges it, in the file layouts of the large ones.
//!
//! The first paints 128 × 128 pixels: sixteen kinds of things in eleven colours on simple backgrounds. GLIGEN's adapters, in a file of their own
//! beside the UNet, let it be told what stands where. `training/` in the repository made it, and `training/REPORT.md` says how well both do. This
//! crate holds its bytes and nothing else; read them with any loader of diffusers folders:
//!
//! ```
//! let (path, bytes) = sinopia_miniature::FILES[0];
//! assert_eq!(path, "model_index.json");
//! assert!(bytes.starts_with(b"{"));
//! ```

/// The name that stands for this checkpoint where a model is asked for.
pub const NAME: &str = "miniature";

/// The things that it can paint, in the singular.
pub const KINDS: [&str; 16] = [
    "apple", "backpack", "ball", "bird", "book", "bottle", "bowl", "car", "cat", "chair", "cup", "dog", "fish",
    "flower", "laptop", "umbrella",
];

/// The colours that it knows by name.
pub const COLORS: [&str; 11] =
    ["red", "orange", "yellow", "green", "blue", "purple", "pink", "brown", "black", "white", "gray"];

/// The backdrops that it knows, in words that a background caption may hold.
pub const BACKDROPS: [&str; 8] = ["field", "beach", "snow", "room", "street", "night", "ocean", "wall"];

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

/// The built-in SAM's `config.json`, as transformers has it.
pub const SAM_CONFIG: &str = include_str!("../assets/sam/config.json");

/// The built-in SAM's `model.safetensors`: it segments things in pictures of 128 × 128 pixels.
pub const SAM_WEIGHTS: &[u8] = include_bytes!("../assets/sam/model.safetensors");

/// Every file of the detector of this world, [`FILES`]' sixteen kinds and eleven colours: its path, as in a folder of `google/owlvit-base-patch32`, and
/// its content. The vocabulary is the checkpoint's.
pub const DETECTOR_FILES: &[(&str, &[u8])] = &[
    ("config.json", include_bytes!("../assets/detector/config.json")),
    ("merges.txt", include_bytes!("../assets/tokenizer/merges.txt")),
    ("model.safetensors", include_bytes!("../assets/detector/model.safetensors")),
    ("special_tokens_map.json", include_bytes!("../assets/tokenizer/special_tokens_map.json")),
    ("tokenizer_config.json", include_bytes!("../assets/tokenizer/tokenizer_config.json")),
    ("vocab.json", include_bytes!("../assets/tokenizer/vocab.json")),
];

/// Every file of the built-in ELLA, which reads long captions in the place of the checkpoint's text encoder or beside it: a T5 as transformers has it, and a
/// connector in the names of the released one.
pub const ELLA_FILES: &[(&str, &[u8])] = &[
    ("config.json", include_bytes!("../assets/ella/config.json")),
    ("ella.safetensors", include_bytes!("../assets/ella/ella.safetensors")),
    ("t5/config.json", include_bytes!("../assets/ella/t5/config.json")),
    ("t5/model.safetensors", include_bytes!("../assets/ella/t5/model.safetensors")),
    ("t5/tokenizer.json", include_bytes!("../assets/ella/t5/tokenizer.json")),
];
