//! The ELLA that reads prompts, by the names of its two parts.

use std::path::Path;

use sinopia_diffusion::{EllaId, TextEncoding};
use sinopia_models::checkpoint::OpenOptions;
use sinopia_models::ella::{Ella, EllaOptions};
use sinopia_models::t5::StateRange;

use super::built_in;
use super::opened::check_file;
use crate::{Compute, Error, PaintSettings, Result};

/// Where an ELLA is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EllaSource {
    /// A T5 folder and a connector; the miniature's otherwise.
    files: Option<EllaFiles>,
    range: StateRange,
}

#[derive(Debug, Clone, PartialEq, Eq)]
struct EllaFiles {
    t5: String,
    connector: String,
}

impl EllaSource {
    /// The files that were named, if an encoding needs any.
    ///
    /// # Errors
    /// [`Error::EllaUnused`], [`Error::EllaApart`], [`Error::EllaHalf`], [`Error::EllaMissing`].
    pub(crate) fn resolve(settings: &PaintSettings, encoding: &TextEncoding, model: &str) -> Result<Option<Self>> {
        if !encoding.needs_ella() {
            return match settings.t5.is_some() || settings.ella.is_some() {
                true => Err(Error::EllaUnused),
                false => Ok(None),
            };
        }
        let range = settings.t5_range.unwrap_or_default();
        let is_miniature = |name: &Option<String>| name.as_deref() == Some(sinopia_miniature::NAME);
        match (settings.t5.clone(), settings.ella.clone()) {
            (t5, connector) if is_miniature(&t5) && is_miniature(&connector) => Ok(Some(Self { files: None, range })),
            (t5, connector) if is_miniature(&t5) || is_miniature(&connector) => Err(Error::EllaApart),
            (Some(t5), Some(connector)) => Ok(Some(Self { files: Some(EllaFiles { t5, connector }), range })),
            (None, None) if model == sinopia_miniature::NAME => Ok(Some(Self { files: None, range })),
            (None, None) => Err(Error::EllaMissing { encoder: encoding.encoder.as_str() }),
            _ => Err(Error::EllaHalf),
        }
    }

    /// Refuses files that are not there.
    ///
    /// # Errors
    /// [`Error::NoFile`].
    pub fn check(&self) -> Result<()> {
        let Some(EllaFiles { t5, connector }) = &self.files else { return Ok(()) };
        check_file("t5", t5)?;
        check_file("ella", connector)
    }

    /// Opens both parts; with them how a recipe names them.
    pub(super) fn open(&self, compute: Compute) -> Result<(Ella, EllaId)> {
        let options = compute.open_options();
        let (ella, t5, connector) = match &self.files {
            Some(EllaFiles { t5, connector }) => {
                let OpenOptions { device, precision, .. } = options;
                let options = EllaOptions { device, precision, range: self.range };
                let ella = Ella::open(Path::new(t5), Path::new(connector), &options);
                let failed = |source| Error::Open { what: format!("the ELLA `{connector}`"), source: Box::new(source) };
                (ella.map_err(failed)?, t5.as_str(), connector.as_str())
            }
            None => {
                let name = sinopia_miniature::NAME;
                (built_in::miniature_ella(&options, self.range)?, name, name)
            }
        };
        let (hash, range) = (ella.content_hash().to_owned(), ella.range());
        let id = EllaId { t5: t5.to_owned(), connector: connector.to_owned(), hash, range };
        Ok((ella, id))
    }
}
