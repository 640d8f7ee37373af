//! What a user means by a model: a folder, a file, or a name on the Hub.

use std::path::{Path, PathBuf};

use crate::{Error, Result};

/// Where a checkpoint comes from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ModelSource {
    /// A folder in diffusers' layout.
    Folder(PathBuf),
    /// A single file with everything in it, in LDM's names.
    File(PathBuf),
    /// A repository on the Hugging Face Hub.
    Hub(HubModel),
}

/// A repository on the Hub, at a revision, or one file of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HubModel {
    /// `owner/name`.
    pub repo: String,
    /// A branch, tag or commit.
    pub revision: String,
    /// A single-file checkpoint in the repository; `None` for its diffusers folders.
    pub file: Option<String>,
}

impl ModelSource {
    /// Reads what a user typed: an existing folder or file, or `owner/name[/file.safetensors][@revision]`.
    ///
    /// # Errors
    /// If there is no such path and the text cannot be a Hub name.
    pub fn parse(text: &str) -> Result<Self> {
        let path = Path::new(text);
        if path.is_dir() {
            return Ok(Self::Folder(path.to_owned()));
        }
        if path.exists() {
            return Ok(Self::File(path.to_owned()));
        }
        let looks_like_path =
            path.is_absolute() || text.starts_with(['.', '~']) || text.ends_with('/') || text.contains('\\');
        let (name, revision) = text.split_once('@').unwrap_or((text, "main"));
        let parts: Vec<&str> = name.split('/').collect();
        let names_ok = parts.iter().all(|part| is_hub_name(part)) && is_hub_revision(revision);
        match parts.as_slice() {
            _ if looks_like_path => Err(Error::NotFound { path: path.to_owned() }),
            [_, file] if is_weight_file(file) => Err(Error::NotFound { path: path.to_owned() }),
            [owner, name] if names_ok => Ok(Self::hub(owner, name, revision, None)),
            [owner, name, .., file] if names_ok && is_weight_file(file) => {
                Ok(Self::hub(owner, name, revision, Some(parts[2..].join("/"))))
            }
            [file] if is_weight_file(file) => Err(Error::NotFound { path: path.to_owned() }),
            _ => Err(Error::HubName { id: text.to_owned() }),
        }
    }

    fn hub(owner: &str, name: &str, revision: &str, file: Option<String>) -> Self {
        Self::Hub(HubModel { repo: format!("{owner}/{name}"), revision: revision.to_owned(), file })
    }
}

impl std::fmt::Display for ModelSource {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Folder(path) | Self::File(path) => write!(f, "{}", path.display()),
            Self::Hub(model) => write!(f, "{model}"),
        }
    }
}

impl std::fmt::Display for HubModel {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}", self.repo)?;
        if let Some(file) = &self.file {
            write!(f, "/{file}")?;
        }
        if self.revision != "main" {
            write!(f, "@{}", self.revision)?;
        }
        Ok(())
    }
}

/// The Hub's own rule: letters, digits, `-`, `_` and `.`, and nothing that climbs out of a folder.
fn is_hub_name(part: &str) -> bool {
    let allowed = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.');
    !part.is_empty()
        && part.len() <= 96
        && part.chars().all(allowed)
        && !part.contains("..")
        && !part.starts_with(['.', '-'])
}

fn is_hub_revision(revision: &str) -> bool {
    revision.split('/').all(is_hub_name)
}

fn is_weight_file(name: &str) -> bool {
    [".safetensors", ".ckpt", ".bin", ".gguf"].iter().any(|extension| name.ends_with(extension))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check_hub(text: &str, repo: &str, revision: &str, file: Option<&str>) {
        let expected = HubModel { repo: repo.into(), revision: revision.into(), file: file.map(str::to_owned) };
        let source = ModelSource::parse(text).unwrap();
        assert_eq!(source, ModelSource::Hub(expected));
        assert_eq!(source.to_string(), text);
    }

    #[test]
    fn hub_names_with_file_and_revision() {
        check_hub("runwayml/stable-diffusion-v1-5", "runwayml/stable-diffusion-v1-5", "main", None);
        check_hub("a/b@refs/pr/1", "a/b", "refs/pr/1", None);
        check_hub("a/b/x/y.safetensors@v1.0", "a/b", "v1.0", Some("x/y.safetensors"));
        check_hub("gligen/boxes/model.bin", "gligen/boxes", "main", Some("model.bin"));
    }

    #[test]
    fn existing_paths_come_before_hub_names() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("x.safetensors");
        std::fs::write(&file, "").unwrap();
        assert_eq!(
            ModelSource::parse(folder.path().to_str().unwrap()).unwrap(),
            ModelSource::Folder(folder.path().into())
        );
        assert_eq!(ModelSource::parse(file.to_str().unwrap()).unwrap(), ModelSource::File(file));
    }

    #[test]
    fn paths_that_are_not_there_are_reported_as_such() {
        for text in ["./sd15", "/no/such/folder", "sd15/", "model.safetensors", "models/sd15.safetensors", "~/sd15"] {
            assert!(matches!(ModelSource::parse(text), Err(Error::NotFound { .. })), "{text}");
        }
    }

    #[test]
    fn what_can_be_neither_is_refused() {
        for text in ["", "sd15", "a/b/c", "a/../b", "a b/c", "a/b@../x", "https://example.org/x"] {
            assert!(matches!(ModelSource::parse(text), Err(Error::HubName { .. })), "{text}");
        }
    }
}
