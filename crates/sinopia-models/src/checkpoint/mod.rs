//! A whole checkpoint: configurations, weights, tokenizer and scheduler, from wherever they are.
//!
//! Opening reads configurations and headers; weights are read when a network is built from them.

mod constructor;
mod contents;
mod describe;
mod family;
pub(crate) mod files;
mod folder;
pub(crate) mod kinds;
mod prediction;
pub(crate) mod select;
mod single_file;
pub(crate) mod source;

use crate::hub::{self, DownloadProgress};
use crate::{Error, Result};

pub use constructor::{Constructor, constructed_scheduler};
pub use contents::{Checkpoint, Component, OpenOptions};
pub use describe::{ComponentSummary, Description};
pub use family::Family;
pub use files::EmbeddedFiles;
use files::Files;
pub use prediction::PredictionType;
pub use source::{HubModel, ModelSource};

impl Checkpoint {
    /// Opens a checkpoint, downloading it first where necessary.
    ///
    /// # Errors
    /// If it cannot be found, is incomplete or damaged, or is of a kind that we do not run.
    pub fn open(source: &ModelSource, options: &OpenOptions, progress: &dyn DownloadProgress) -> Result<Self> {
        let name = source.to_string();
        let path = match source {
            ModelSource::Folder(path) | ModelSource::File(path) => path.clone(),
            ModelSource::Hub(model) => hub::fetch(model, options.variant.as_deref(), &options.hub, progress)?,
        };
        if !path.exists() {
            return Err(Error::NotFound { path });
        }
        if path.is_dir() {
            folder::open(name, Files::Folder(path), options)
        } else {
            single_file::open(name, &path, options)
        }
    }

    /// Opens a checkpoint in diffusers' layout that is part of the program.
    ///
    /// # Errors
    /// If files are missing or do not fit together.
    pub fn from_embedded(name: &str, files: EmbeddedFiles, options: &OpenOptions) -> Result<Self> {
        let files = Files::Embedded { name: name.to_owned(), files };
        let mut checkpoint = folder::open(name.to_owned(), files, options)?;
        checkpoint.family = Family::Embedded;
        Ok(checkpoint)
    }
}
