//! Checkpoints from the Hugging Face Hub, into the cache that Python's libraries share.
//!
//! `hf-hub` knows the protocol and the layout of the cache. Around it this module pins all files to one commit, takes up a download
//! where it was cut, compares what arrived with the size and the SHA-256 that the server announced, and works without a network
//! once everything is there.

use std::cell::Cell;
use std::path::{Path, PathBuf};
use std::time::Duration;

use hf_hub::api::sync::{Api, ApiBuilder, ApiError, ApiRepo};
use hf_hub::{Cache, Repo, RepoType};

use crate::checkpoint::files::{Files, read_small, small_limit};
use crate::checkpoint::select::{self, Repository};
use crate::checkpoint::source::HubModel;
use crate::sha256::{hex, sha256_of};
use crate::{Error, Result};

/// The Hub's public address.
const DEFAULT_ENDPOINT: &str = "https://huggingface.co";

/// How the Hub is reached.
#[derive(Clone)]
pub struct HubOptions {
    /// The server, without a slash at the end.
    pub endpoint: String,
    /// The folder of `models--owner--name` folders.
    pub cache: PathBuf,
    /// For repositories that are not public.
    pub token: Option<String>,
    /// Never touch the network.
    pub offline: bool,
    /// How often a download that broke off is taken up again.
    pub retries: usize,
    /// The pause before the first new attempt; it doubles with each.
    pub retry_pause: Duration,
}

impl HubOptions {
    /// The settings of the environment, as Python's `huggingface_hub` reads them: `HF_ENDPOINT`, `HF_HUB_CACHE` or `HF_HOME`,
    /// `HF_TOKEN` (or the file `token` in `HF_HOME`), `HF_HUB_OFFLINE`.
    pub fn from_env() -> Self {
        Self::from_variables(|name| std::env::var(name).ok().filter(|value| !value.is_empty()))
    }

    fn from_variables(variable: impl Fn(&str) -> Option<String>) -> Self {
        let home = variable("HF_HOME").map(PathBuf::from).unwrap_or_else(|| {
            let user = std::env::home_dir().unwrap_or_else(|| PathBuf::from("."));
            user.join(".cache").join("huggingface")
        });
        let token_file = || std::fs::read_to_string(home.join("token")).ok().map(|token| token.trim().to_owned());
        Self {
            endpoint: variable("HF_ENDPOINT")
                .unwrap_or_else(|| DEFAULT_ENDPOINT.into())
                .trim_end_matches('/')
                .to_owned(),
            cache: variable("HF_HUB_CACHE").map_or_else(|| home.join("hub"), PathBuf::from),
            token: variable("HF_TOKEN").or_else(token_file).filter(|token| !token.is_empty()),
            offline: variable("HF_HUB_OFFLINE").is_some_and(|value| is_true(&value)),
            retries: 5,
            retry_pause: Duration::from_millis(500),
        }
    }
}

impl Default for HubOptions {
    fn default() -> Self {
        Self::from_env()
    }
}

impl std::fmt::Debug for HubOptions {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("HubOptions")
            .field("endpoint", &self.endpoint)
            .field("cache", &self.cache)
            .field("token", &self.token.as_ref().map(|_| "…"))
            .field("offline", &self.offline)
            .finish_non_exhaustive()
    }
}

fn is_true(value: &str) -> bool {
    matches!(value.to_ascii_uppercase().as_str(), "1" | "ON" | "YES" | "TRUE")
}

/// Told how downloads get on; a program draws its bar from it.
pub trait DownloadProgress {
    /// `done` of `total` bytes of `file` are on disk.
    fn update(&self, file: &str, done: u64, total: u64);
}

/// For callers who do not watch.
#[derive(Debug, Clone, Copy, Default)]
pub struct NoProgress;

impl DownloadProgress for NoProgress {
    fn update(&self, _file: &str, _done: u64, _total: u64) {}
}

/// Makes sure that a model is in the cache, and says where: a folder in diffusers' layout, or a single file.
///
/// Without a network the copy that was fetched last is used, provided that it is complete.
///
/// # Errors
/// If the repository or a file of it does not exist, may not be read, or does not arrive whole.
pub fn fetch(
    model: &HubModel,
    variant: Option<&str>,
    options: &HubOptions,
    progress: &dyn DownloadProgress,
) -> Result<PathBuf> {
    let hub = Hub::new(model, options)?;
    if options.offline {
        return hub.cached(variant);
    }
    let listing = match hub.listing() {
        Err(ApiError::RequestError(error)) if is_transport(&error) => {
            let unreachable = hub.download_error("the list of files", &ApiError::RequestError(error));
            return hub.cached(variant).map_err(|_| unreachable);
        }
        other => other.map_err(|error| hub.download_error("the list of files", &error))?,
    };
    let files = match &model.file {
        Some(file) if listing.names.contains(file) => vec![file.clone()],
        Some(file) => {
            let problem = format!("the repository has no file `{file}`");
            return Err(Error::NotACheckpoint { origin: model.to_string(), problem });
        }
        None => {
            // Lists of shards are needed to choose, so they come first, and stay.
            let read = |file: &str| hub.read(&listing.commit, file, progress);
            let repository = Repository { origin: &model.to_string(), names: &listing.names, read: &read };
            repository.pipeline_files(variant)?
        }
    };
    for file in &files {
        hub.ensure(&listing.commit, file, progress)?;
    }
    let snapshot = hub.snapshot(&listing.commit);
    hub.remember(&listing.commit)?;
    Ok(model.file.as_ref().map_or_else(|| snapshot.clone(), |file| snapshot.join(file)))
}

/// The models in the cache, `owner/name` each, sorted.
pub fn cached_models(options: &HubOptions) -> Vec<String> {
    let Ok(entries) = std::fs::read_dir(&options.cache) else {
        return Vec::new();
    };
    let name = |entry: std::fs::DirEntry| {
        let folder = entry.file_name().into_string().ok()?;
        let (owner, name) = folder.strip_prefix("models--")?.split_once("--")?;
        Some(format!("{owner}/{name}"))
    };
    let mut models: Vec<String> = entries.filter_map(|entry| name(entry.ok()?)).collect();
    models.sort();
    models
}

/// One repository.
struct Hub<'a> {
    model: &'a HubModel,
    options: &'a HubOptions,
    cache: Cache,
    api: Api,
}

struct Listing {
    commit: String,
    names: Vec<String>,
}

impl<'a> Hub<'a> {
    fn new(model: &'a HubModel, options: &'a HubOptions) -> Result<Self> {
        let cache = Cache::new(options.cache.clone());
        let api = ApiBuilder::from_cache(cache.clone())
            .with_endpoint(options.endpoint.clone())
            .with_token(options.token.clone())
            .with_user_agent("sinopia", env!("CARGO_PKG_VERSION"))
            .build()
            .map_err(|error| download_error(model, options, "anything", &error))?;
        Ok(Self { model, options, cache, api })
    }

    fn repo(&self, revision: &str) -> Repo {
        Repo::with_revision(self.model.repo.clone(), RepoType::Model, revision.to_owned())
    }

    fn snapshot(&self, commit: &str) -> PathBuf {
        self.cache.repo(self.repo(commit)).pointer_path(commit)
    }

    fn listing(&self) -> Result<Listing, ApiError> {
        let info = self.api.repo(self.repo(&self.model.revision)).info()?;
        // The commit becomes a folder's name, so it may be nothing but a name.
        if info.sha.is_empty() || !info.sha.chars().all(|c| c.is_ascii_alphanumeric()) {
            return Err(ApiError::InvalidHeader("sha"));
        }
        Ok(Listing { commit: info.sha, names: info.siblings.into_iter().map(|sibling| sibling.rfilename).collect() })
    }

    /// The copy that was fetched last, if nothing is missing from it.
    fn cached(&self, variant: Option<&str>) -> Result<PathBuf> {
        let offline = |file: &str| Error::Offline {
            repo: self.model.repo.clone(),
            file: file.to_owned(),
            cache: self.options.cache.clone(),
        };
        let wanted = self.model.file.as_deref().unwrap_or(select::INDEX);
        // A revision that is a commit needs no reference.
        let path = self.cache.repo(self.repo(&self.model.revision)).get(wanted);
        let path = path.or_else(|| Some(self.snapshot(&self.model.revision).join(wanted)).filter(|path| path.exists()));
        let path = path.ok_or_else(|| offline(wanted))?;
        if self.model.file.is_some() {
            return Ok(path);
        }
        let folder = path.parent().unwrap_or(&path).to_owned();
        let files = Files::Folder(folder.clone());
        for network in select::NETWORKS {
            files.weight_files(network, variant).map_err(|_| offline(&format!("{network}/*.safetensors")))?;
        }
        Ok(folder)
    }

    /// Records the commit as what the revision means, for the time without a network.
    fn remember(&self, commit: &str) -> Result<()> {
        self.cache
            .repo(self.repo(&self.model.revision))
            .create_ref(commit)
            .map_err(|source| Error::Read { path: self.options.cache.clone(), source })
    }

    /// Fetches a file unless it is there; where it is.
    fn ensure(&self, commit: &str, file: &str, progress: &dyn DownloadProgress) -> Result<PathBuf> {
        let path = self.snapshot(commit).join(file);
        if !path.exists() {
            self.download(commit, file, progress)?;
        }
        Ok(path)
    }

    /// The contents of a small file, fetched first.
    fn read(&self, commit: &str, file: &str, progress: &dyn DownloadProgress) -> Result<Vec<u8>> {
        let path = self.ensure(commit, file, progress)?;
        read_small(&path).map_err(|source| Error::Read { path, source })
    }

    /// Fetches one file, going on where an earlier attempt ended.
    fn download(&self, commit: &str, file: &str, progress: &dyn DownloadProgress) -> Result<()> {
        let repo = self.api.repo(self.repo(commit));
        let mut pause = self.options.retry_pause;
        let mut attempt = 0;
        loop {
            match self.attempt(&repo, file, progress) {
                Ok(()) => return Ok(()),
                Err(Failure::Final(error)) => return Err(error),
                Err(Failure::Passing(error)) if attempt >= self.options.retries => return Err(error),
                Err(Failure::Passing(_)) => {}
            }
            std::thread::sleep(pause);
            pause *= 2;
            attempt += 1;
        }
    }

    fn attempt(&self, repo: &ApiRepo, file: &str, progress: &dyn DownloadProgress) -> Result<(), Failure> {
        let fail = |error: ApiError| {
            let passing = is_passing(&error);
            let error = self.download_error(file, &error);
            if passing { Failure::Passing(error) } else { Failure::Final(error) }
        };
        let metadata = self.api.metadata(&repo.url(file)).map_err(&fail)?;
        let limit = is_small(file).then(|| small_limit(file.rsplit('/').next().unwrap_or(file)));
        if let Some(limit) = limit.filter(|limit| metadata.size() as u64 > *limit) {
            let problem = format!("{} bytes are announced; at most {limit} are read of such a file", metadata.size());
            return Err(Failure::Final(self.error(file, problem)));
        }
        let blob = self.cache.repo(self.repo(metadata.commit_hash())).blob_path(metadata.etag());
        make_resumable(&blob.with_extension("part"), metadata.size() as u64);

        let received = Cell::new((0, metadata.size() as u64));
        let watcher = Watcher { file, progress, received: &received };
        repo.download_with_progress(file, watcher).map_err(&fail)?;
        verify(&blob, metadata.size() as u64, metadata.etag()).map_err(|problem| {
            // A damaged file must not be taken for a good one, nor be continued.
            let _ = std::fs::remove_file(&blob);
            let _ = std::fs::remove_file(self.snapshot(metadata.commit_hash()).join(file));
            Failure::Passing(self.error(file, problem))
        })
    }

    fn error(&self, file: &str, problem: String) -> Error {
        Error::Download {
            repo: self.model.repo.clone(),
            file: file.to_owned(),
            endpoint: self.options.endpoint.clone(),
            problem,
        }
    }

    fn download_error(&self, file: &str, error: &ApiError) -> Error {
        download_error(self.model, self.options, file, error)
    }
}

enum Failure {
    /// Worth another attempt.
    Passing(Error),
    Final(Error),
}

/// Whether a file is read whole, and is no network's weights.
fn is_small(file: &str) -> bool {
    [".json", ".txt", ".model"].iter().any(|ending| file.ends_with(ending))
}

/// `hf-hub` continues a part file by asking for the bytes after it. A part with nothing missing would be asked for an empty range
/// and refused, so it gives its last byte back; one that is too long cannot be of this file and goes.
fn make_resumable(part: &Path, size: u64) {
    let Ok(metadata) = std::fs::metadata(part) else {
        return;
    };
    if metadata.len() > size {
        let _ = std::fs::remove_file(part);
    } else if metadata.len() == size && size > 0 {
        let shorten = |file: std::fs::File| file.set_len(size - 1);
        let _ = std::fs::OpenOptions::new().write(true).open(part).and_then(shorten);
    }
}

/// Compares a file with what the server said of it. Large files have their SHA-256 as etag.
fn verify(blob: &Path, size: u64, etag: &str) -> Result<(), String> {
    let found = std::fs::metadata(blob).map_err(|error| error.to_string())?.len();
    if found != size {
        return Err(format!("{found} bytes arrived, {size} were announced"));
    }
    let is_sha256 = etag.len() == 64 && etag.chars().all(|c| c.is_ascii_hexdigit());
    if is_sha256 {
        let found = hex(&sha256_of(blob).map_err(|error| error.to_string())?);
        if !found.eq_ignore_ascii_case(etag) {
            return Err(format!("what arrived has the SHA-256 {found}, announced was {etag}"));
        }
    }
    Ok(())
}

/// Passes `hf-hub`'s steps on as sums.
struct Watcher<'a> {
    file: &'a str,
    progress: &'a dyn DownloadProgress,
    received: &'a Cell<(u64, u64)>,
}

impl hf_hub::api::Progress for Watcher<'_> {
    fn init(&mut self, size: usize, _filename: &str) {
        self.received.set((0, size as u64));
    }

    fn update(&mut self, size: usize) {
        let (done, total) = self.received.get();
        let done = done + size as u64;
        self.received.set((done, total));
        self.progress.update(self.file, done, total);
    }

    fn finish(&mut self) {}
}

fn download_error(model: &HubModel, options: &HubOptions, file: &str, error: &ApiError) -> Error {
    let (repo, endpoint) = (model.repo.clone(), options.endpoint.clone());
    let problem = match error {
        ApiError::RequestError(error) if is_transport(error) => {
            return Error::Unreachable { repo, endpoint, problem: error.to_string() };
        }
        ApiError::RequestError(error) => match **error {
            ureq::Error::StatusCode(401 | 403) => {
                "there is no such repository, or it needs leave: accept the model's licence on its page and set HF_TOKEN".into()
            }
            ureq::Error::StatusCode(404) => "there is no such repository, revision or file".into(),
            ref other => other.to_string(),
        },
        ApiError::LockAcquisition(path) => {
            format!("another program is downloading it ({} is locked)", path.display())
        }
        other => other.to_string(),
    };
    Error::Download { repo, file: file.to_owned(), endpoint, problem }
}

/// Whether the server was not reached at all.
fn is_transport(error: &ureq::Error) -> bool {
    matches!(
        error,
        ureq::Error::Io(_)
            | ureq::Error::HostNotFound
            | ureq::Error::ConnectionFailed
            | ureq::Error::Timeout(_)
            | ureq::Error::ConnectProxyFailed(_)
    )
}

/// Whether the same request may succeed a moment later.
fn is_passing(error: &ApiError) -> bool {
    match error {
        ApiError::IoError(_) | ApiError::InvalidResume => true,
        ApiError::RequestError(error) => match **error {
            ureq::Error::StatusCode(status) => status >= 500 || status == 429 || status == 416,
            ref other => is_transport(other),
        },
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn from(variables: &[(&str, &str)]) -> HubOptions {
        HubOptions::from_variables(|name| {
            variables.iter().find(|(key, _)| *key == name).map(|(_, value)| (*value).to_owned())
        })
    }

    #[test]
    fn the_environment_means_what_it_means_in_python() {
        let options = from(&[("HF_HOME", "/models"), ("HF_ENDPOINT", "http://mirror:8080/"), ("HF_HUB_OFFLINE", "1")]);
        assert_eq!(options.cache, Path::new("/models/hub"));
        assert_eq!(options.endpoint, "http://mirror:8080");
        assert!(options.offline);
        assert_eq!(options.token, None);

        let options =
            from(&[("HF_HOME", "/models"), ("HF_HUB_CACHE", "/cache"), ("HF_TOKEN", "hf_x"), ("HF_HUB_OFFLINE", "0")]);
        assert_eq!(options.cache, Path::new("/cache"));
        assert_eq!(options.token.as_deref(), Some("hf_x"));
        assert!(!options.offline);
        assert_eq!(options.endpoint, DEFAULT_ENDPOINT);
    }

    #[test]
    fn tokens_are_not_shown() {
        let options = from(&[("HF_HOME", "/models"), ("HF_TOKEN", "hf_secret")]);
        assert!(!format!("{options:?}").contains("secret"));
    }

    #[test]
    fn the_token_file_is_read_from_the_hubs_home() {
        let home = tempfile::tempdir().unwrap();
        std::fs::write(home.path().join("token"), "hf_file\n").unwrap();
        let options = from(&[("HF_HOME", home.path().to_str().unwrap())]);
        assert_eq!(options.token.as_deref(), Some("hf_file"));
    }
}
