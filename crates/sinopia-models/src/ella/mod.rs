//! ELLA: a language model's encoder and a connector that take CLIP's place (Hu et al. 2024, arXiv 2403.05135), for long captions.
//!
//! A caption is read once; at each timestep the connector makes other tokens of it, always as many, which no longer stand for single words.
//!
//! ```no_run
//! use sinopia_models::Precision;
//! use sinopia_models::ella::{Ella, EllaOptions, TextLength};
//! use sinopia_models::t5::StateRange;
//!
//! # fn main() -> sinopia_models::Result<()> {
//! let (t5, connector) = ("flan-t5-xl".as_ref(), "ella-sd1.5-tsc-t5xl.safetensors".as_ref());
//! let options = EllaOptions { precision: Precision::Bf16, range: StateRange::F16, ..EllaOptions::default() };
//! let ella = Ella::open(t5, connector, &options)?;
//! let text = ella.read("Three red apples lie on a wooden table …", TextLength::Flexible)?;
//! assert_eq!(ella.tokens(&text, 981.0)?.dims(), [1, 64, 768]);
//! # Ok(())
//! # }
//! ```

mod connector;

use std::path::{Path, PathBuf};

use candle_core::{Device, Tensor};
use serde::{Deserialize, Serialize};

pub use connector::{EllaConfig, EllaConnector, ProjectedText};

use crate::checkpoint::EmbeddedFiles;
use crate::checkpoint::files::{Files, FilesBelow};
use crate::sha256::sha256_hex;
use crate::t5::{FIXED_LENGTH, StateRange, T5EncoderModel, T5Tokenizer};
use crate::{CancellationToken, DeviceKind, Error, Precision, Result};

/// How many tokens of a text the encoder is given.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum TextLength {
    /// As many as it has: recommended by ELLA's authors, above all for short texts.
    #[default]
    Flexible,
    /// 128, cut or padded, as ELLA was trained. The connector sees the paddings.
    Fixed,
}

/// How both networks are kept and run.
#[derive(Debug, Clone)]
pub struct EllaOptions {
    /// Where they run.
    pub device: Device,
    /// How their weights are kept in memory.
    pub precision: Precision,
    /// In which range the text encoder's states are.
    pub range: StateRange,
}

impl Default for EllaOptions {
    fn default() -> Self {
        Self { device: DeviceKind::default().device(), precision: Precision::Auto, range: StateRange::default() }
    }
}

/// Text encoder and connector together.
#[derive(Debug)]
pub struct Ella {
    tokenizer: T5Tokenizer,
    text_encoder: T5EncoderModel,
    connector: EllaConnector,
    hash: String,
}

/// A text as ELLA read it, for any number of timesteps.
#[derive(Debug, Clone)]
pub struct EllaText(ProjectedText);

impl Ella {
    /// Opens a T5 folder in transformers' layout and a connector: a file of weights (with the released one's shape, unless a JSON file of the same
    /// name stands beside it) or a folder with `config.json` and one `.safetensors` file.
    ///
    /// # Errors
    /// What reading either finds wrong; [`Error::Config`] if they do not fit together.
    pub fn open(t5: &Path, connector: &Path, options: &EllaOptions) -> Result<Self> {
        let (config, weights) = find_connector(connector)?;
        let folder = weights.parent().unwrap_or(Path::new("")).to_owned();
        let name = |path: &Path| path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        let connector = ConnectorFiles {
            files: &Files::Folder(folder),
            config: config.as_deref().map(name),
            weights: name(&weights),
        };
        Self::from_parts(FilesBelow { files: &Files::Folder(t5.to_owned()), folder: "" }, connector, options)
    }

    /// Opens files that are part of the program: `t5/…`, `config.json` and `ella.safetensors`; `name` stands for them in messages.
    ///
    /// # Errors
    /// As [`open`](Self::open).
    pub fn from_embedded(name: &str, files: EmbeddedFiles, options: &EllaOptions) -> Result<Self> {
        let files = Files::Embedded { name: name.to_owned(), files };
        let connector = ConnectorFiles {
            files: &files,
            config: Some("config.json".to_owned()),
            weights: "ella.safetensors".to_owned(),
        };
        Self::from_parts(FilesBelow { files: &files, folder: "t5" }, connector, options)
    }

    fn from_parts(t5: FilesBelow, connector: ConnectorFiles, options: &EllaOptions) -> Result<Self> {
        let EllaOptions { device, precision, range } = options;
        let tokenizer = T5Tokenizer::load(t5.files, t5.folder)?;
        let text_encoder = T5EncoderModel::from_files(t5, device, *precision, *range)?;
        let config = match &connector.config {
            None => EllaConfig::default(),
            Some(name) => {
                let file = connector.files.display(name);
                let text = connector.files.read(name)?.ok_or_else(|| Error::NotFound { path: PathBuf::from(&file) })?;
                EllaConfig::from_json(&String::from_utf8_lossy(&text), &file)?
            }
        };
        let tensors = connector.files.weights(std::slice::from_ref(&connector.weights), device, *precision)?;
        let hash = sha256_hex([t5_hashes(t5)?, connector.files.sha256(&connector.weights)?.to_vec()].concat());
        Self::new(tokenizer, text_encoder, EllaConnector::load(&config, &tensors)?, hash)
    }

    /// Puts the parts together.
    ///
    /// # Errors
    /// [`Error::Config`] if they do not fit: the vocabulary into the embedding, the states into the connector.
    pub fn new(
        tokenizer: T5Tokenizer,
        text_encoder: T5EncoderModel,
        connector: EllaConnector,
        hash: String,
    ) -> Result<Self> {
        let t5 = text_encoder.config();
        let fits = |key: &str, found: usize, is_good: bool, expected: String| match is_good {
            true => Ok(()),
            false => Err(Error::Config {
                file: "the T5's config.json".to_owned(),
                key: key.to_owned(),
                found: found.to_string(),
                expected,
            }),
        };
        let (rows, ids) = (t5.vocab_size, tokenizer.vocab_size());
        fits("vocab_size", rows, rows >= ids, format!("at least the tokenizer's {ids}"))?;
        let width = connector.config().input_dim;
        fits("d_model", t5.d_model, t5.d_model == width, format!("{width}, which the ELLA connector reads"))?;
        Ok(Self { tokenizer, text_encoder, connector, hash })
    }

    /// Reads a text.
    ///
    /// # Errors
    /// When the tokenizer or the encoder refuses.
    pub fn read(&self, text: &str, length: TextLength) -> Result<EllaText> {
        self.read_cancellable(text, length, None)
    }

    /// The same, given up between two layers if it is cancelled.
    ///
    /// # Errors
    /// As [`read`](Self::read); [`Error::Cancelled`].
    pub fn read_cancellable(
        &self,
        text: &str,
        length: TextLength,
        cancellation: Option<&CancellationToken>,
    ) -> Result<EllaText> {
        let tokens = match length {
            TextLength::Flexible => self.tokenizer.encode(text)?,
            TextLength::Fixed => self.tokenizer.encode_fixed(text, FIXED_LENGTH)?,
        };
        Ok(EllaText(self.connector.project(&self.text_encoder.forward_cancellable(&tokens, cancellation)?)?))
    }

    /// The tokens (1, N, D) for a timestep. Fractions are cut off: the connector knows the whole numbers 0 to 999.
    ///
    /// # Errors
    /// When the device has no room.
    pub fn tokens(&self, text: &EllaText, timestep: f64) -> Result<Tensor> {
        self.connector.tokens(&text.0, timestep.trunc())
    }

    /// N: how many tokens it makes of any text.
    pub fn num_tokens(&self) -> usize {
        self.connector.config().num_latents
    }

    /// D: their width.
    pub fn width(&self) -> usize {
        self.connector.config().width
    }

    /// In which range the encoder's states are.
    pub fn range(&self) -> StateRange {
        self.text_encoder.range()
    }

    /// The tokenizer.
    pub fn tokenizer(&self) -> &T5Tokenizer {
        &self.tokenizer
    }

    /// SHA-256 of all files that it was made of.
    pub fn content_hash(&self) -> &str {
        &self.hash
    }
}

/// The files of a connector.
struct ConnectorFiles<'a> {
    files: &'a Files,
    config: Option<String>,
    weights: String,
}

/// The digests of what a T5 is made of, those that are there.
fn t5_hashes(t5: FilesBelow) -> Result<Vec<u8>> {
    let weights = t5.files.weight_files(t5.folder, None)?;
    let mut hashes = Vec::new();
    for name in t5.files.names()? {
        let own = match t5.folder {
            "" => Some(name.as_str()),
            folder => name.strip_prefix(folder).and_then(|rest| rest.strip_prefix('/')),
        };
        let is_part = own.is_some_and(|own| {
            // Weights in two formats count twice, though one is read: so hashes of old recipes stay what they are.
            matches!(own, "config.json" | "tokenizer.json" | "spiece.model" | "pytorch_model.bin")
                || own.starts_with("model") && own.ends_with(".safetensors")
                || weights.contains(&name)
        });
        if is_part {
            hashes.extend(t5.files.sha256(&name)?);
        }
    }
    Ok(hashes)
}

/// The configuration, if there is one, and the weights.
fn find_connector(path: &Path) -> Result<(Option<PathBuf>, PathBuf)> {
    if path.is_file() {
        let beside = path.with_extension("json");
        return Ok((beside.is_file().then_some(beside), path.to_owned()));
    }
    if !path.is_dir() {
        return Err(Error::NotFound { path: path.to_owned() });
    }
    let read_error = |source| Error::Read { path: path.to_owned(), source };
    let mut weights = Vec::new();
    for entry in std::fs::read_dir(path).map_err(read_error)? {
        let file = entry.map_err(read_error)?.path();
        if file.extension().is_some_and(|extension| extension == "safetensors") {
            weights.push(file);
        }
    }
    let config = path.join("config.json");
    match weights.as_slice() {
        [file] => Ok((config.is_file().then_some(config), file.clone())),
        found => Err(Error::NotACheckpoint {
            origin: path.display().to_string(),
            problem: format!("an ELLA folder has one .safetensors file, this has {}", found.len()),
        }),
    }
}
