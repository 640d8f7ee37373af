//! Where a checkpoint's files are: in a folder, or in the program.

use std::borrow::Cow;
use std::path::{Path, PathBuf};

use candle_core::Device;
use serde_json::{Map, Value};
use sha2::{Digest, Sha256};
use sinopia_layout::limits::{CONFIG_BYTES, TOKENIZER_BYTES, read_up_to};
use sinopia_layout::python_json;

use super::select::Repository;
use crate::packs::hashes::remembered_sha256;
use crate::sha256::{hex, sha256_hex};
use crate::weights::OtherKind;
use crate::{Error, Precision, Result, Weights};

/// The large files of tokenizers.
const TOKENIZER_FILES: [&str; 5] = ["vocab.json", "merges.txt", "tokenizer.json", "spiece.model", "added_tokens.json"];

/// Files that are part of the program: relative path with `/`, contents.
pub type EmbeddedFiles = &'static [(&'static str, &'static [u8])];

/// A set of files under relative names.
#[derive(Debug, Clone)]
pub(crate) enum Files {
    Folder(PathBuf),
    Embedded { name: String, files: EmbeddedFiles },
}

/// Those of a set of files that lie below a folder of it.
#[derive(Debug, Clone, Copy)]
pub(crate) struct FilesBelow<'a> {
    pub(crate) files: &'a Files,
    /// Its name, empty for the whole set.
    pub(crate) folder: &'a str,
}

impl Files {
    /// How a file is called in messages.
    pub(crate) fn display(&self, file: &str) -> String {
        match self {
            Self::Folder(folder) => folder.join(file).display().to_string(),
            Self::Embedded { name, .. } if file.is_empty() => name.clone(),
            Self::Embedded { name, .. } => format!("{name}:{file}"),
        }
    }

    /// A small file's bytes, or nothing if there is no such file.
    pub(crate) fn read(&self, file: &str) -> Result<Option<Cow<'static, [u8]>>> {
        match self {
            Self::Embedded { files, .. } => Ok(embedded(files, file).map(Cow::Borrowed)),
            Self::Folder(folder) => {
                let path = folder.join(file);
                match read_small(&path) {
                    Ok(bytes) => match OtherKind::of(&bytes).filter(OtherKind::is_stand_in) {
                        Some(kind) => Err(kind.refusal(&self.display(file))),
                        None => Ok(Some(Cow::Owned(bytes))),
                    },
                    Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(None),
                    Err(source) => Err(Error::Read { path, source }),
                }
            }
        }
    }

    /// A file that holds a JSON object, or nothing if there is no such file.
    pub(crate) fn read_object(&self, file: &str) -> Result<Option<Map<String, Value>>> {
        let Some(bytes) = self.read(file)? else {
            return Ok(None);
        };
        let json = serde_json::from_slice(&python_json::with_texts(&bytes))
            .map_err(|source| Error::Json { file: self.display(file), source })?;
        match json {
            Value::Object(object) => Ok(Some(object)),
            other => Err(Error::Config {
                file: self.display(file),
                key: "the whole file".into(),
                found: kind(&other).into(),
                expected: "a JSON object".into(),
            }),
        }
    }

    /// All files at the top and one level below, sorted.
    pub(crate) fn names(&self) -> Result<Vec<String>> {
        let mut names = match self {
            Self::Embedded { files, .. } => files.iter().map(|(name, _)| (*name).to_owned()).collect(),
            Self::Folder(folder) => {
                let mut names = Vec::new();
                for name in entries(folder)? {
                    let path = folder.join(&name);
                    if path.is_dir() {
                        names.extend(entries(&path)?.into_iter().map(|inner| format!("{name}/{inner}")));
                    } else {
                        names.push(name);
                    }
                }
                names
            }
        };
        names.sort();
        Ok(names)
    }

    /// What of them belongs to which network.
    pub(crate) fn weight_files(&self, network: &str, variant: Option<&str>) -> Result<Vec<String>> {
        self.with_repository(|repository| repository.weight_files(network, variant))
    }

    /// All of them that belong to a pipeline.
    pub(crate) fn pipeline_files(&self, variant: Option<&str>) -> Result<Vec<String>> {
        self.with_repository(|repository| repository.pipeline_files(variant))
    }

    /// Refuses files that are no pipeline's, saying what they are.
    pub(crate) fn require_index(&self) -> Result<()> {
        self.with_repository(|repository| repository.require_index())
    }

    fn with_repository<T>(&self, choose: impl FnOnce(Repository) -> Result<T>) -> Result<T> {
        let read = |file: &str| Ok(self.read(file)?.unwrap_or_default().into_owned());
        choose(Repository { origin: &self.display(""), names: &self.names()?, read: &read })
    }

    /// The tensors of some of the files together.
    pub(crate) fn weights(&self, names: &[String], device: &Device, precision: Precision) -> Result<Weights> {
        match self {
            Self::Folder(folder) => {
                let paths: Vec<PathBuf> = names.iter().map(|name| folder.join(name)).collect();
                Weights::open(&paths, device, precision)
            }
            Self::Embedded { files, .. } => {
                let found = |name: &String| {
                    let path = self.display(name);
                    let bytes = embedded(files, name).ok_or_else(|| Error::NotFound { path: path.clone().into() })?;
                    Ok((path, bytes))
                };
                let parts = names.iter().map(found).collect::<Result<Vec<_>>>()?;
                Weights::from_embedded(&parts, device, precision)
            }
        }
    }

    /// The SHA-256 of a file's contents. Read in pieces, so that gigabytes do not pass through memory at once.
    pub(crate) fn sha256(&self, file: &str) -> Result<[u8; 32]> {
        match self {
            Self::Embedded { files, .. } => Ok(Sha256::digest(embedded(files, file).unwrap_or_default()).into()),
            Self::Folder(folder) => remembered_sha256(&folder.join(file)),
        }
    }

    /// What identifies a folder's one model, in hexadecimal: the SHA-256 of its weights, several files as [`Checkpoint::content_hash`] lists them.
    ///
    /// [`Checkpoint::content_hash`]: super::Checkpoint::content_hash
    pub(crate) fn weights_hash(&self) -> Result<String> {
        let weights = self.weight_files("", None)?;
        match weights.as_slice() {
            [file] => Ok(hex(&self.sha256(file)?)),
            files => listing_hash(files, |file| self.sha256(file)),
        }
    }

    /// A file's size in bytes, 0 if there is no such file.
    pub(crate) fn size(&self, file: &str) -> u64 {
        match self {
            Self::Embedded { files, .. } => embedded(files, file).map_or(0, |bytes| bytes.len() as u64),
            Self::Folder(folder) => std::fs::metadata(folder.join(file)).map_or(0, |metadata| metadata.len()),
        }
    }
}

/// The bytes of a file that is no weights: a configuration, or one of a tokenizer's files, which may be larger.
pub(crate) fn read_small(path: &Path) -> std::io::Result<Vec<u8>> {
    let name = path.file_name().and_then(|name| name.to_str()).unwrap_or_default();
    read_up_to(std::fs::File::open(path)?, small_limit(name))
}

/// How many bytes such a file may have, by its name without folders.
pub(crate) fn small_limit(name: &str) -> u64 {
    if TOKENIZER_FILES.contains(&name) { TOKENIZER_BYTES } else { CONFIG_BYTES }
}

/// The SHA-256 of the list that `sha256sum` would make of these files, in hexadecimal, with the names in front.
pub(super) fn listing_hash(files: &[String], sha256: impl Fn(&str) -> Result<[u8; 32]>) -> Result<String> {
    let line = |file: &String| Ok(format!("{file}  {}\n", hex(&sha256(file)?)));
    Ok(sha256_hex(files.iter().map(line).collect::<Result<String>>()?))
}

/// What kind of JSON value this is, in words.
pub(crate) fn kind(value: &Value) -> &'static str {
    match value {
        Value::Null => "null",
        Value::Bool(_) => "a truth value",
        Value::Number(_) => "a number",
        Value::String(_) => "a string",
        Value::Array(_) => "a list",
        Value::Object(_) => "an object",
    }
}

fn embedded(files: EmbeddedFiles, file: &str) -> Option<&'static [u8]> {
    files.iter().find(|(name, _)| *name == file).map(|(_, bytes)| *bytes)
}

fn entries(folder: &Path) -> Result<Vec<String>> {
    let read_error = |source| Error::Read { path: folder.to_owned(), source };
    let mut names = Vec::new();
    for entry in std::fs::read_dir(folder).map_err(read_error)? {
        // Names that are not Unicode cannot be any of ours.
        names.extend(entry.map_err(read_error)?.file_name().into_string());
    }
    Ok(names)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn small_files_end_at_their_limits() {
        let folder = tempfile::tempdir().unwrap();
        let files = Files::Folder(folder.path().to_owned());
        for (name, limit) in [("config.json", CONFIG_BYTES), ("vocab.json", TOKENIZER_BYTES)] {
            let file = std::fs::File::create(folder.path().join(name)).unwrap();
            file.set_len(limit + 1).unwrap(); // sparse
            let error = files.read(name).unwrap_err();
            let cause = std::error::Error::source(&error).unwrap().to_string();
            assert!(cause.contains(&format!("more than {limit} bytes")) && error.to_string().contains(name), "{cause}");
        }
    }
}
