//! The SAM that segments objects, by name.

use std::path::Path;

use sinopia_diffusion::ModelId;
use sinopia_models::Precision;
use sinopia_models::checkpoint::OpenOptions;
use sinopia_models::sam::{self, Sam};

use super::built_in;
use crate::{Compute, Error, Result};

/// What a SAM is called when there shall be none.
pub const NO_SAM: &str = "none";

/// The SAM called `name`: the built-in one, a folder or a file.
pub(super) fn open(name: &str, compute: Compute) -> Result<(Sam, ModelId)> {
    let options = compute.open_options();
    if name == sinopia_miniature::NAME {
        // Small enough for f32, and then its masks are the same on every processor.
        let (sam, hash) = built_in::miniature_sam(&OpenOptions { precision: Precision::F32, ..options })?;
        return Ok((sam, ModelId { id: name.to_owned(), hash }));
    }
    check_sam(name)?;
    let path = Path::new(name);
    let sam = Sam::open(path, &options.device, options.precision);
    let sam = sam.map_err(|source| Error::Open { what: format!("the SAM `{name}`"), source: Box::new(source) })?;
    Ok((sam, ModelId { id: name.to_owned(), hash: sam::content_hash(path)? }))
}

/// Refuses the name of a SAM that is not there.
///
/// # Errors
/// [`Error::NoSam`].
pub fn check_sam(name: &str) -> Result<()> {
    match name == sinopia_miniature::NAME || name == NO_SAM || Path::new(name).exists() {
        true => Ok(()),
        false => Err(Error::NoSam { name: name.to_owned() }),
    }
}
