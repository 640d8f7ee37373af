//! The models that are part of the program.

use sinopia_eval::Detector;
use sinopia_models::Weights;
use sinopia_models::checkpoint::{Checkpoint, OpenOptions};
use sinopia_models::ella::{Ella, EllaOptions};
use sinopia_models::sam::{Sam, SamConfig, hash_of};
use sinopia_models::t5::StateRange;

/// Opens the miniature.
///
/// # Errors
/// Never on a sound build; the type is that of every checkpoint.
pub fn miniature(options: &OpenOptions) -> sinopia_models::Result<Checkpoint> {
    Checkpoint::from_embedded(sinopia_miniature::NAME, sinopia_miniature::FILES, options)
}

/// Opens the SAM that segments things in the miniature's pictures; with it the SHA-256 of its weights.
///
/// # Errors
/// Never on a sound build; the type is that of every model.
pub fn miniature_sam(options: &OpenOptions) -> sinopia_models::Result<(Sam, String)> {
    let bytes = sinopia_miniature::SAM_WEIGHTS;
    let weights = Weights::from_bytes("the built-in SAM", bytes, &options.device, options.precision)?;
    Ok((Sam::load(&SamConfig::from_json(sinopia_miniature::SAM_CONFIG)?, &weights)?, hash_of(bytes)))
}

/// Opens the ELLA that reads long captions for the miniature.
///
/// # Errors
/// Never on a sound build; the type is that of every model.
pub fn miniature_ella(options: &OpenOptions, range: StateRange) -> sinopia_models::Result<Ella> {
    let options = EllaOptions { device: options.device.clone(), precision: options.precision, range };
    Ella::from_embedded("the built-in ELLA", sinopia_miniature::ELLA_FILES, &options)
}

/// Opens the detector that knows the things in the miniature's pictures.
///
/// # Errors
/// Never on a sound build; the type is that of every model.
pub fn miniature_detector() -> sinopia_eval::Result<Detector> {
    Detector::from_embedded(sinopia_miniature::NAME, sinopia_miniature::DETECTOR_FILES)
}
