//! The record's file: its formats, and what is done with one that is damaged.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use rusqlite::{Connection, ErrorCode, OpenFlags};
use rusqlite_migration::{M, Migrations, SchemaVersion};

use super::files::{free_name, write_new};
use super::folder::Folder;
use super::rows::COLUMNS;
use crate::error::{Error, Result};

/// How long a connection waits for another's write.
const BUSY: Duration = Duration::from_secs(10);

/// Pages of the log of changes before they are moved into the record. The log is kept small, as it takes room on the disk beside what it describes.
const LOG_PAGES: u32 = 32;

/// What makes format n of format n − 1; 0 is an empty file. SQLite's `user_version` says which one a file has.
const STEPS: &[M<'static>] = &[M::up(FORMAT_1), M::up(FORMAT_2), M::up(FORMAT_3)];
const FORMATS: Migrations<'static> = Migrations::from_slice(STEPS);

pub(super) const FORMAT_1: &str = "
    CREATE TABLE IF NOT EXISTS jobs (
        seq INTEGER PRIMARY KEY AUTOINCREMENT,
        id TEXT NOT NULL UNIQUE,
        state TEXT NOT NULL,
        caption TEXT NOT NULL,
        request TEXT NOT NULL,
        memory INTEGER NOT NULL,
        created INTEGER NOT NULL,
        started INTEGER,
        finished INTEGER,
        attempts INTEGER NOT NULL DEFAULT 0,
        finishes INTEGER NOT NULL DEFAULT 0,
        error TEXT,
        verdict TEXT,
        warnings TEXT NOT NULL DEFAULT '[]'
    ) STRICT;
    CREATE INDEX IF NOT EXISTS jobs_by_state ON jobs (state, seq);
    CREATE INDEX IF NOT EXISTS jobs_by_end ON jobs (finished, seq) WHERE finished IS NOT NULL;
";

/// Which job ended before which is counted, as clocks are set back; so is how long a painting took. Old jobs are taken as their clock had them. What is deleted
/// is noted until its picture is gone.
const FORMAT_2: &str = "
    ALTER TABLE jobs ADD COLUMN ended INTEGER;
    ALTER TABLE jobs ADD COLUMN took INTEGER;
    UPDATE jobs SET ended = place, took = CASE WHEN state = 'done' AND finished >= started THEN finished - started END
    FROM (SELECT seq AS ended_seq, ROW_NUMBER() OVER (ORDER BY finished, seq) AS place FROM jobs WHERE finished IS NOT NULL)
    WHERE seq = ended_seq;
    DROP INDEX jobs_by_end;
    CREATE INDEX jobs_by_end ON jobs (ended, seq) WHERE finished IS NOT NULL;
    CREATE TABLE deleted (id TEXT PRIMARY KEY) STRICT;
";

/// What was tried on the way to checked pictures, what people say of verdicts, and pictures that were sent.
const FORMAT_3: &str = "
    ALTER TABLE jobs ADD COLUMN tried TEXT NOT NULL DEFAULT '[]';
    ALTER TABLE jobs ADD COLUMN decisions TEXT NOT NULL DEFAULT '[]';
    CREATE TABLE uploads (id TEXT PRIMARY KEY, created INTEGER NOT NULL, bytes INTEGER NOT NULL) STRICT;
";

/// A record that can be read and written.
#[derive(Debug)]
pub(super) struct Opened {
    pub(super) writer: Connection,
    /// Whether there was none before.
    pub(super) is_new: bool,
}

/// Opens the record, makes it if there is none, and brings an older format to this build's.
///
/// # Errors
/// [`Error::Folder`], [`Error::Store`], [`Error::RecordFormat`], [`Error::RecordDamaged`].
pub(super) fn open(path: &Path) -> Result<Opened> {
    let damaged = |what: String| Error::RecordDamaged { path: path.to_owned(), what };
    if is_empty(path) && !is_empty(&beside(path, "-wal")) {
        // SQLite would throw the changes away that the lost file should have got.
        return Err(damaged("it is missing or empty, but there are changes to it beside it".to_owned()));
    }
    let mut writer = open_file(path).map_err(|source| failed(path, source))?;
    let format = found_format(&writer, path)?;
    // Whether it is whole: before anything in it is changed, so that a damaged one is set aside as it was found.
    let found = writer.query_row("PRAGMA quick_check(1)", [], |row| row.get::<_, String>(0));
    match found.map_err(|source| failed(path, source))?.as_str() {
        "ok" => {}
        wrong => return Err(damaged(wrong.to_owned())),
    }
    let tables = "SELECT COUNT(*) FROM sqlite_master WHERE type = 'table'";
    let tables = writer.query_row(tables, [], |row| row.get::<_, i64>(0)).map_err(|source| failed(path, source))?;
    migrate(&mut writer, path, format)?;
    // Whether it has the columns that it should.
    for sql in [
        format!("SELECT {COLUMNS}, caption FROM jobs LIMIT 1"),
        "SELECT id FROM deleted LIMIT 1".to_owned(),
        "SELECT id, created, bytes FROM uploads LIMIT 1".to_owned(),
    ] {
        writer.prepare(&sql).map_err(|source| failed(path, source))?;
    }
    Ok(Opened { writer, is_new: tables == 0 })
}

/// Opens the record, into the room that is kept back if it must be. A damaged one is set aside first if `sets_aside`.
///
/// # Errors
/// As [`open`], and [`Error::DiskFull`].
pub(super) fn open_in(folder: &Folder, sets_aside: bool) -> Result<Opened> {
    let (path, disk) = (folder.record(), folder.disk());
    let mut opened = open(&path);
    let is_full = |error: &Error| error.is_disk_full() || (is_failed_write(error) && disk.is_without_room());
    if opened.as_ref().is_err_and(is_full) {
        disk.release();
        opened = open(&path);
    }
    if let (Err(Error::RecordDamaged { what, .. }), true) = (&opened, sets_aside) {
        let to = set_aside(&path)?;
        tracing::warn!(?to, what, "set the damaged record of jobs aside; what waited in it is not painted");
        opened = open(&path);
    }
    opened.map_err(|error| match is_full(&error) {
        true => Error::DiskFull { path },
        false => error,
    })
}

/// A further connection to a record that is open.
///
/// # Errors
/// [`Error::Store`].
pub(super) fn connect(path: &Path) -> Result<Connection> {
    let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let connection = Connection::open_with_flags(path, flags).and_then(configured);
    connection.map_err(|source| unusable(path, source))
}

fn open_file(path: &Path) -> rusqlite::Result<Connection> {
    if !path.exists() {
        // SQLite makes files that everybody may read, and gives those beside them the same mode. If this fails, it says why itself.
        let _ = write_new(path, b"");
    }
    configured(Connection::open(path)?)
}

fn configured(connection: Connection) -> rusqlite::Result<Connection> {
    connection.busy_timeout(BUSY)?;
    // Killing the process loses nothing; losing power may lose the last changes, never the order.
    connection.pragma_update(None, "journal_mode", "WAL")?;
    connection.pragma_update(None, "synchronous", "NORMAL")?;
    connection.pragma_update(None, "wal_autocheckpoint", LOG_PAGES)?;
    Ok(connection)
}

/// The format of a record.
///
/// # Errors
/// [`Error::RecordFormat`] for that of a newer build.
fn found_format(connection: &Connection, path: &Path) -> Result<usize> {
    match FORMATS.current_version(connection).map_err(|error| not_migrated(path, error))? {
        SchemaVersion::NoneSet => Ok(0),
        SchemaVersion::Inside(found) => Ok(found.get()),
        SchemaVersion::Outside(found) => {
            Err(Error::RecordFormat { path: path.to_owned(), found: found.get() as i64, known: STEPS.len() as i64 })
        }
    }
}

/// Takes the steps from a format to this build's, all or none.
fn migrate(writer: &mut Connection, path: &Path, found: usize) -> Result<()> {
    FORMATS.to_latest(writer).map_err(|error| not_migrated(path, error))?;
    if (1..STEPS.len()).contains(&found) {
        tracing::info!(from = found, to = STEPS.len(), "the record of jobs is brought to a newer format");
    }
    Ok(())
}

fn not_migrated(path: &Path, error: rusqlite_migration::Error) -> Error {
    match error {
        rusqlite_migration::Error::RusqliteError { err, .. } => failed(path, err),
        other => Error::RecordDamaged { path: path.to_owned(), what: other.to_string() },
    }
}

/// What an error at the start means: a file that is damaged, or one that cannot be used for another reason.
fn failed(path: &Path, source: rusqlite::Error) -> Error {
    let is_damaged = match &source {
        // No such table, no such column.
        rusqlite::Error::SqlInputError { .. } => true,
        _ => matches!(
            source.sqlite_error_code(),
            Some(
                ErrorCode::NotADatabase
                    | ErrorCode::DatabaseCorrupt
                    | ErrorCode::Unknown
                    | ErrorCode::ConstraintViolation
            )
        ),
    };
    let is_forbidden = matches!(
        source.sqlite_error_code(),
        Some(
            ErrorCode::CannotOpen
                | ErrorCode::ReadOnly
                | ErrorCode::PermissionDenied
                | ErrorCode::AuthorizationForStatementDenied
        )
    );
    match source {
        source if is_damaged => Error::RecordDamaged { path: path.to_owned(), what: source.to_string() },
        // What was given is at fault: the folder.
        source if is_forbidden => Error::Folder { path: path.to_owned(), source: io::Error::other(source) },
        source => unusable(path, source),
    }
}

/// What SQLite says of a record while it is used.
pub(super) fn unusable(path: &Path, source: rusqlite::Error) -> Error {
    let is_full = source.sqlite_error().is_some_and(|error| {
        error.code == ErrorCode::DiskFull || error.extended_code == rusqlite::ffi::SQLITE_IOERR_SHMSIZE
    });
    Error::Store { what: what(path), source: source.into(), is_full }
}

/// The record, as errors name it.
pub(super) fn what(path: &Path) -> String {
    format!("the record of jobs `{}`", path.display())
}

/// Whether SQLite could not write and does not say why: of a quota that is used up, it knows no more than that.
pub(super) fn is_failed_write(error: &Error) -> bool {
    let Error::Store { source, .. } = error else { return false };
    let said = source.downcast_ref::<rusqlite::Error>().and_then(rusqlite::Error::sqlite_error);
    said.is_some_and(|error| error.extended_code == rusqlite::ffi::SQLITE_IOERR_WRITE)
}

/// Moves a damaged record away, with what lies beside it, and writes over nothing. Returns where it is now.
///
/// # Errors
/// [`Error::Folder`].
pub(super) fn set_aside(path: &Path) -> Result<PathBuf> {
    const BESIDE: [&str; 3] = ["", "-wal", "-shm"];
    let move_away = || -> io::Result<PathBuf> {
        let to = free_name(&beside(path, ".damaged"))?;
        for ending in BESIDE {
            match fs::rename(beside(path, ending), free_name(&beside(&to, ending))?) {
                Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
                _ => {}
            }
        }
        Ok(to)
    };
    move_away().map_err(|source| Error::Folder { path: path.to_owned(), source })
}

fn beside(path: &Path, ending: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(ending);
    PathBuf::from(name)
}

/// Whether there is nothing in a file, or no file.
fn is_empty(path: &Path) -> bool {
    fs::metadata(path).map_or(true, |found| found.len() == 0)
}
