//! What can go wrong with the server itself.

use std::io::ErrorKind;
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
    /// Jobs or pictures cannot be read or written, whatever they are kept in.
    #[error("{what} cannot be used")]
    Store {
        /// Which part of the store: "the record of jobs `jobs.sqlite`", say.
        what: String,
        /// Why.
        #[source]
        source: Box<dyn std::error::Error + Send + Sync>,
        /// Whether it is for want of room.
        is_full: bool,
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
    /// What the record says of a job makes no sense.
    #[error("the record of jobs is damaged: job `{id}` has {what}")]
    RecordRow {
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
    /// A store that cannot be used now: `what` of it, and why.
    pub fn store(what: impl Into<String>, source: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> Self {
        Self::Store { what: what.into(), source: source.into(), is_full: false }
    }

    /// A store that has no room for what was to be written.
    pub fn store_full(what: impl Into<String>, source: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> Self {
        Self::Store { what: what.into(), source: source.into(), is_full: true }
    }

    /// Whether there is no room on the disk.
    pub fn is_disk_full(&self) -> bool {
        match self {
            Self::Folder { source, .. } => is_full(source.kind()),
            Self::Store { is_full, .. } => *is_full,
            Self::DiskFull { .. } => true,
            Self::Link { .. }
            | Self::FolderInUse { .. }
            | Self::RecordDamaged { .. }
            | Self::RecordFormat { .. }
            | Self::RecordRow { .. }
            | Self::Listen { .. }
            | Self::NoToken { .. }
            | Self::WeakToken { .. }
            | Self::System { .. } => false,
        }
    }

    /// Whether the fault is with what was given: where to listen, with which token, on which folder. Else something failed while working.
    pub fn is_bad_input(&self) -> bool {
        match self {
            Self::Folder { source, .. } => !is_full(source.kind()),
            Self::Link { .. }
            | Self::FolderInUse { .. }
            | Self::RecordDamaged { .. }
            | Self::RecordFormat { .. }
            | Self::Listen { .. }
            | Self::NoToken { .. }
            | Self::WeakToken { .. } => true,
            Self::Store { .. } | Self::RecordRow { .. } | Self::DiskFull { .. } | Self::System { .. } => false,
        }
    }

    /// What to do about it, where something is known to help and the message does not say it.
    pub fn hint(&self) -> Option<String> {
        match self {
            Self::Listen { address, source } => listen_hint(*address, source.kind()),
            _ => None,
        }
    }

    /// The error with its causes, in one line.
    pub(crate) fn with_causes(&self) -> String {
        with_causes(self)
    }
}

/// Whether the system says that there is no room.
pub(crate) fn is_full(kind: ErrorKind) -> bool {
    matches!(kind, ErrorKind::StorageFull | ErrorKind::QuotaExceeded)
}

/// What to do about an address that cannot be listened on.
fn listen_hint(address: SocketAddr, problem: ErrorKind) -> Option<String> {
    let another = |port: u16| SocketAddr::new(address.ip(), port);
    match problem {
        ErrorKind::AddrInUse => {
            let next = another(address.port().checked_add(1).unwrap_or(7878));
            Some(format!(
                "another program listens there, perhaps another `sinopia serve`: `--listen {next}` takes another port, `--listen {}` any free one",
                another(0)
            ))
        }
        ErrorKind::PermissionDenied => {
            Some(format!("ports below 1024 are for the administrator: `--listen {}` takes another", another(7878)))
        }
        ErrorKind::AddrNotAvailable => Some(
            "this machine has no such address: `127.0.0.1` is itself, `0.0.0.0` every address that it has".to_owned(),
        ),
        _ => None,
    }
}

/// An error with its causes, in one line.
pub(crate) fn with_causes(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        text = format!("{text}: {error}");
        cause = error.source();
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_given_is_told_from_what_failed() {
        let io = || std::io::Error::from(ErrorKind::AddrInUse);
        let listen = Error::Listen { address: SocketAddr::from(([127, 0, 0, 1], 7878)), source: io() };
        assert!(listen.is_bad_input());
        assert!(listen.hint().is_some_and(|hint| hint.contains("127.0.0.1:7879")), "{:?}", listen.hint());
        let full = Error::DiskFull { path: "jobs.sqlite".into() };
        assert!(!full.is_bad_input() && full.is_disk_full() && full.hint().is_none());
        let store = Error::store("the table of jobs", "the database server does not answer");
        assert!(!store.is_bad_input() && !store.is_disk_full());
        assert_eq!(store.with_causes(), "the table of jobs cannot be used: the database server does not answer");
        let full = Error::store_full("the bucket", "over its quota");
        assert!(!full.is_bad_input() && full.is_disk_full());
        let folder = |kind: ErrorKind| Error::Folder { path: "jobs".into(), source: kind.into() };
        assert!(folder(ErrorKind::PermissionDenied).is_bad_input());
        assert!(!folder(ErrorKind::StorageFull).is_bad_input() && folder(ErrorKind::QuotaExceeded).is_disk_full());
        let system = Error::System { what: "threads", source: io() };
        assert!(!system.is_bad_input());
        assert_eq!(system.with_causes(), format!("the system does not give threads: {}", io()));
    }
}
