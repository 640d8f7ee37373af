//! Layout-grounded image generation: a facade over the workspace's crates, for programs that paint.
//!
//! ```no_run
//! use sinopia::diffusion::noise::Seed;
//! use sinopia::diffusion::{PaintRequest, Pipeline, Run, Sampling, methods};
//! use sinopia::layout::parse_answer;
//!
//! let checkpoint = sinopia::miniature(&Default::default())?;
//! let pipeline = Pipeline::load(&checkpoint)?;
//! let layout = parse_answer("[('a blue dog', [50, 200, 200, 300])]\nBackground prompt: A beach\nNegative prompt: ")?;
//! let (width, height) = pipeline.native_size();
//! let request =
//!     PaintRequest { caption: None, layout: Some(layout), negative: None, sampling: Sampling::new(Seed(1), width, height) };
//! let painting = methods::build("lmd", serde_json::Value::Null)?.generate(&request, &pipeline, &Run::silent())?;
//! assert_eq!(painting.image.width(), 128);
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

pub mod pictures;

use sinopia_models::Weights;
use sinopia_models::checkpoint::{Checkpoint, OpenOptions};
use sinopia_models::ella::Ella;
use sinopia_models::sam::{Sam, SamConfig, hash_of};
use sinopia_models::t5::StateRange;

pub use sinopia_diffusion as diffusion;
pub use sinopia_eval as eval;
pub use sinopia_layout as layout;
pub use sinopia_models as models;
pub use sinopia_planner as planner;

/// Opens the built-in miniature.
///
/// # Errors
/// Never on a sound build; the type is that of every checkpoint.
pub fn miniature(options: &OpenOptions) -> sinopia_models::Result<Checkpoint> {
    Checkpoint::from_embedded(sinopia_miniature::NAME, sinopia_miniature::FILES, options)
}

/// Opens the built-in SAM, which outlines things in the miniature's pictures; with it the SHA-256 of its weights.
///
/// # Errors
/// Never on a sound build; the type is that of every model.
pub fn miniature_sam(options: &OpenOptions) -> sinopia_models::Result<(Sam, String)> {
    let bytes = sinopia_miniature::SAM_WEIGHTS;
    let weights = Weights::from_bytes("the built-in SAM", bytes, &options.device, options.precision)?;
    Ok((Sam::load(&SamConfig::from_json(sinopia_miniature::SAM_CONFIG)?, &weights)?, hash_of(bytes)))
}

/// Opens the built-in ELLA, which reads long captions for the miniature.
///
/// # Errors
/// Never on a sound build; the type is that of every model.
pub fn miniature_ella(options: &OpenOptions, range: StateRange) -> sinopia_models::Result<Ella> {
    let device = (&options.device, options.precision);
    Ella::from_embedded("the built-in ELLA", sinopia_miniature::ELLA_FILES, device, range)
}
