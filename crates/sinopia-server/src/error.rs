//! What can go wrong with the server itself.

use std::net::SocketAddr;
use std::path::PathBuf;

/// A result of this crate.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// Why the server does not start, or cannot keep its jobs.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The folder of jobs, or a file in it.
    #[error("cannot use `{path}`")]
    Folder {
        /// Which.
        path: PathBuf,
        /// Why.
        #[source]
        source: std::io::Error,
    },
    /// A symbolic link where the server would write.
    #[error(
        "`{path}` is a symbolic link, which is not followed: put the folder or file itself there, or name another folder with `--data`"
    )]
    Link {
        /// Which.
        path: PathBuf,
    },
    /// There is no room on the disk to begin with.
    #[error("the disk that holds `{path}` is full: make room on it")]
    DiskFull {
        /// The record of jobs.
        path: PathBuf,
    },
    /// Another server has the folder.
    #[error("the folder `{path}` is in use by another server: stop it, or name another with `--data`")]
    FolderInUse {
        /// Which.
        path: PathBuf,
    },
    /// The record of jobs.
    #[error("the record of jobs `{path}` cannot be used")]
    Record {
        /// Which file.
        path: PathBuf,
        /// Why.
        #[source]
        source: rusqlite::Error,
    },
    /// The record is no record any more.
    #[error(
        "the record of jobs `{path}` is damaged ({what}): `sinopia serve --recover` sets it aside and makes a new one from the pictures"
    )]
    RecordDamaged {
        /// Which file.
        path: PathBuf,
        /// What is wrong with it.
        what: String,
    },
    /// The record was written by a newer version.
    #[error(
        "the record of jobs `{path}` has format {found}, this build reads up to {known}: use the newer sinopia that wrote it"
    )]
    RecordFormat {
        /// Which file.
        path: PathBuf,
        /// What it says.
        found: i64,
        /// What this build knows.
        known: i64,
    },
    /// A row of the record makes no sense.
    #[error("the record of jobs `{path}` is damaged: job `{id}` has {what}")]
    RecordRow {
        /// Which file.
        path: PathBuf,
        /// Which job.
        id: String,
        /// What is wrong with it.
        what: String,
    },
    /// The address is taken, or not this machine's.
    #[error("cannot listen on {address}")]
    Listen {
        /// Which.
        address: SocketAddr,
        /// Why.
        #[source]
        source: std::io::Error,
    },
    /// An address that others reach, and no token.
    #[error(
        "{address} can be reached by others, so a token is needed: put one into a file for `--token-file`, or into SINOPIA_TOKEN"
    )]
    NoToken {
        /// Which.
        address: SocketAddr,
    },
    /// A token that can be guessed.
    #[error(
        "the token has {found} characters; at least {min} are needed, visible ASCII only, such as `openssl rand -hex 16` prints"
    )]
    WeakToken {
        /// Characters.
        found: usize,
        /// Least.
        min: usize,
    },
    /// The system gives no random numbers, threads or signals.
    #[error("the system does not give {what}")]
    System {
        /// What was asked for.
        what: &'static str,
        /// Why.
        #[source]
        source: std::io::Error,
    },
}

impl Error {
    /// Whether there is no room on the disk.
    pub fn is_disk_full(&self) -> bool {
        use std::io::ErrorKind;
        match self {
            Self::Folder { source, .. } => matches!(source.kind(), ErrorKind::StorageFull | ErrorKind::QuotaExceeded),
            Self::Record { source, .. } => source.sqlite_error().is_some_and(|error| {
                error.code == rusqlite::ErrorCode::DiskFull
                    || error.extended_code == rusqlite::ffi::SQLITE_IOERR_SHMSIZE
            }),
            Self::DiskFull { .. } => true,
            _ => false,
        }
    }
}
