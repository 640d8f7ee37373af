//! A model whose files were looked at.

use std::path::Path;

use sinopia_diffusion::ImageSize;
use sinopia_models::Error as ModelError;
use sinopia_models::checkpoint::{Checkpoint, HubModel, ModelSource, OpenOptions};
use sinopia_models::hub::DownloadProgress;

use super::{built_in, names};
use crate::{Compute, Error, Result};

/// A model whose files were looked at, and whose networks are not in memory yet.
#[derive(Debug)]
pub struct OpenedModel {
    name: String,
    checkpoint: Checkpoint,
}

impl OpenedModel {
    /// Opens the model called `name`: the built-in one, a folder, a file, or a Hub id, which is fetched first.
    ///
    /// # Errors
    /// [`Error::NoModel`], [`Error::OneEdition`]; [`Error::Open`] for files that are damaged or do not belong together; [`Error::Model`] when the Hub cannot be reached.
    pub fn open(name: &str, compute: Compute, progress: &dyn DownloadProgress) -> Result<Self> {
        let (model, variant) = names::edition(name);
        let options = OpenOptions { variant: variant.map(str::to_owned), ..compute.open_options() };
        let one_edition = |variant: &str| Error::OneEdition { model: model.to_owned(), variant: variant.to_owned() };
        if model == sinopia_miniature::NAME {
            return match variant {
                Some(variant) => Err(one_edition(variant)),
                None => Ok(Self { name: name.to_owned(), checkpoint: built_in::miniature(&options)? }),
            };
        }
        let source = names::source(model)?;
        let is_file = matches!(&source, ModelSource::File(_) | ModelSource::Hub(HubModel { file: Some(_), .. }));
        if let Some(variant) = variant.filter(|_| is_file) {
            return Err(one_edition(variant));
        }
        let checkpoint = Checkpoint::open(&source, &options, progress).map_err(|error| match error {
            // That nobody answers is told in one sentence.
            ModelError::Unreachable { .. } | ModelError::Offline { .. } => Error::from(error),
            source => Error::Open { what: format!("the model `{name}`"), source: Box::new(source) },
        })?;
        Ok(Self { name: name.to_owned(), checkpoint })
    }

    /// The name that it was asked for by, with the edition of its weights.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Its files.
    pub fn checkpoint(&self) -> &Checkpoint {
        &self.checkpoint
    }

    /// What was not as expected about its files, in words.
    pub fn notes(&self) -> &[String] {
        self.checkpoint.notes()
    }

    /// Whether it has GLIGEN's grounding adapters.
    pub fn has_grounding_adapters(&self) -> bool {
        self.checkpoint.describe().has_grounding_adapters
    }

    /// The size that it was trained for.
    pub fn native_size(&self) -> ImageSize {
        let multiple = self.multiple();
        let (height, width) = self.checkpoint.unet.config.sample_hw().unwrap_or((64, 64));
        ImageSize { width: width * multiple, height: height * multiple }
    }

    /// Pixels to a latent cell: what sides are multiples of.
    pub fn multiple(&self) -> usize {
        self.checkpoint.vae.config.scale_factor()
    }
}

/// Refuses a file or folder that is not there; `setting` is what names it.
///
/// # Errors
/// [`Error::NoFile`].
pub fn check_file(setting: &'static str, name: &str) -> Result<()> {
    match Path::new(name).exists() {
        true => Ok(()),
        false => Err(Error::NoFile { setting, name: name.to_owned() }),
    }
}
