//! The record's file: its formats, and what is done with one that is damaged.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use rusqlite::{Connection, ErrorCode, OpenFlags, TransactionBehavior};

use super::folder::free_name;
use crate::error::{Error, Result};

/// How long a connection waits for another's write.
const BUSY: Duration = Duration::from_secs(10);

/// Pages of the log of changes before they are moved into the record. The log is kept small, as it takes room on the disk beside what it describes.
const LOG_PAGES: u32 = 32;

/// `STEPS[n]` makes format `n + 1` of format `n`; 0 is an empty file.
const STEPS: [&str; 2] = [FORMAT_1, FORMAT_2];

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
/// [`Error::Record`], [`Error::RecordFormat`], [`Error::RecordDamaged`].
pub(super) fn open(path: &Path) -> Result<Opened> {
    let damaged = |what: String| Error::RecordDamaged { path: path.to_owned(), what };
    if is_empty(path) && !is_empty(&beside(path, "-wal")) {
        // SQLite would throw the changes away that the lost file should have got.
        return Err(damaged("it is missing or empty, but there are changes to it beside it".to_owned()));
    }
    let mut writer = open_file(path).map_err(|source| failed(path, source))?;
    check_format(&writer, path)?;
    // Whether it is whole: before anything in it is changed, so that a damaged one is set aside as it was found.
    let found = writer.query_row("PRAGMA quick_check(1)", [], |row| row.get::<_, String>(0));
    match found.map_err(|source| failed(path, source))?.as_str() {
        "ok" => {}
        wrong => return Err(damaged(wrong.to_owned())),
    }
    let is_new = migrate(&mut writer, path)?;
    // Whether it has the columns that it should.
    for sql in
        [format!("SELECT {}, caption FROM jobs LIMIT 1", super::COLUMNS), "SELECT id FROM deleted LIMIT 1".to_owned()]
    {
        writer.prepare(&sql).map_err(|source| failed(path, source))?;
    }
    Ok(Opened { writer, is_new })
}

/// A further connection to a record that is open.
///
/// # Errors
/// [`Error::Record`].
pub(super) fn connect(path: &Path) -> Result<Connection> {
    let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let connection = Connection::open_with_flags(path, flags).and_then(configured);
    connection.map_err(|source| Error::Record { path: path.to_owned(), source })
}

fn open_file(path: &Path) -> rusqlite::Result<Connection> {
    if !path.exists() {
        // SQLite makes files that everybody may read, and gives those beside them the same mode. If this fails, it says why itself.
        let _ = super::folder::write_new(path, b"");
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

/// Refuses the format of a newer build.
fn check_format(connection: &Connection, path: &Path) -> Result<()> {
    let known = STEPS.len() as i64;
    match connection.query_row("PRAGMA user_version", [], |row| row.get(0)).map_err(|source| failed(path, source))? {
        found if found > known => Err(Error::RecordFormat { path: path.to_owned(), found, known }),
        _ => Ok(()),
    }
}

/// Takes the steps to this build's format, all or none. Returns whether the file was empty.
fn migrate(writer: &mut Connection, path: &Path) -> Result<bool> {
    let sql = |source| failed(path, source);
    let known = STEPS.len() as i64;
    let transaction = writer.transaction_with_behavior(TransactionBehavior::Immediate).map_err(sql)?;
    let found: i64 = transaction.query_row("PRAGMA user_version", [], |row| row.get(0)).map_err(sql)?;
    let tables = "SELECT COUNT(*) FROM sqlite_master WHERE type = 'table'";
    let tables: i64 = transaction.query_row(tables, [], |row| row.get(0)).map_err(sql)?;
    let Some(steps) = usize::try_from(found).ok().and_then(|found| STEPS.get(found..)) else {
        return Err(Error::RecordDamaged { path: path.to_owned(), what: format!("its format is {found}") });
    };
    for step in steps {
        transaction.execute_batch(step).map_err(sql)?;
    }
    if !steps.is_empty() {
        transaction.pragma_update(None, "user_version", known).map_err(sql)?;
        if tables > 0 {
            tracing::info!(from = found, to = known, "the record of jobs is brought to a newer format");
        }
    }
    transaction.commit().map_err(sql)?;
    Ok(tables == 0)
}

/// What an error at the start means: a file that is damaged, or one that cannot be used for another reason.
fn failed(path: &Path, source: rusqlite::Error) -> Error {
    let path = path.to_owned();
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
    match is_damaged {
        true => Error::RecordDamaged { path, what: source.to_string() },
        false => Error::Record { path, source },
    }
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
