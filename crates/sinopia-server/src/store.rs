//! Jobs on disk: a row each in SQLite, the pictures in a folder beside it.
//!
//! A picture is written beside its place, flushed and renamed before its row says `done`, so a row that says `done` always has its picture, whenever the
//! process is killed. A row that says `running` when the folder is opened was being painted by a process that is gone: it is queued again.

use std::fs::{self, File};
use std::io::Write;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use rusqlite::{Connection, OptionalExtension, Row, TransactionBehavior, params};
use serde_json::Value;

use crate::error::{Error, Result};
use crate::wire::{JobError, JobRequest, JobSelection, JobState, Verdict};

/// The format of the record.
const FORMAT: i64 = 1;

/// How often a job may be begun. A job that takes the process down again and again (by the system's memory killer, say) is not begun once more.
pub const MAX_ATTEMPTS: u32 = 5;

/// How long a connection waits for another's write.
const BUSY: Duration = Duration::from_secs(10);

const SCHEMA: &str = "
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

const COLUMNS: &str =
    "seq, id, state, request, memory, created, started, finished, attempts, error, verdict, warnings, finishes";

/// A job as it is kept.
#[derive(Debug, Clone, PartialEq)]
pub struct Record {
    /// Its place among all jobs, counted up.
    pub seq: i64,
    /// Its name.
    pub id: String,
    /// Where it is in its life.
    pub state: JobState,
    /// What is wanted.
    pub request: JobRequest,
    /// Bytes that it is thought to take.
    pub memory_bytes: u64,
    /// When it was asked for, in milliseconds since 1970.
    pub created_ms: i64,
    /// When painting began, the last time.
    pub started_ms: Option<i64>,
    /// When it ended.
    pub finished_ms: Option<i64>,
    /// How often it was begun.
    pub attempts: u32,
    /// How often it came to an end: never more than once.
    pub finishes: u32,
    /// Why there is no picture.
    pub error: Option<JobError>,
    /// What a detector saw.
    pub verdict: Option<Verdict>,
    /// What the person who asked should know.
    pub warnings: Vec<String>,
}

/// How a job ended.
#[derive(Debug, Clone, PartialEq)]
pub enum Ending {
    /// With a picture.
    Done,
    /// Without one.
    Failed(JobError),
    /// Nobody wanted it any more.
    Cancelled,
}

impl Ending {
    /// The state it leads to.
    pub fn state(&self) -> JobState {
        match self {
            Self::Done => JobState::Done,
            Self::Failed(_) => JobState::Failed,
            Self::Cancelled => JobState::Cancelled,
        }
    }
}

/// The folder of jobs.
#[derive(Debug)]
pub struct Store {
    folder: PathBuf,
    writer: Mutex<Connection>,
    /// Connections that nobody reads with now. Readers wait neither for each other nor for a write's flush.
    readers: Mutex<Vec<Connection>>,
    /// Held as long as the process lives.
    _lock: File,
}

impl Store {
    /// Opens a folder, makes it if there is none, and queues again what was being painted when its last process ended.
    ///
    /// # Errors
    /// [`Error::Folder`], [`Error::FolderInUse`], [`Error::Record`], [`Error::RecordFormat`].
    pub fn open(folder: &Path) -> Result<Self> {
        let at = |path: &Path| {
            let path = path.to_owned();
            move |source| Error::Folder { path, source }
        };
        private_folder(folder).map_err(at(folder))?;
        let pictures = folder.join("pictures");
        private_folder(&pictures).map_err(at(&pictures))?;
        let lock_path = folder.join("lock");
        let lock = File::options().create(true).append(true).open(&lock_path).map_err(at(&lock_path))?;
        match lock.try_lock() {
            Ok(()) => {}
            Err(fs::TryLockError::WouldBlock) => return Err(Error::FolderInUse { path: folder.to_owned() }),
            Err(fs::TryLockError::Error(source)) => return Err(at(&lock_path)(source)),
        }
        let writer = connect(&record_path(folder))?;
        let store =
            Self { folder: folder.to_owned(), writer: Mutex::new(writer), readers: Mutex::default(), _lock: lock };
        store.begin()?;
        store.recover()?;
        Ok(store)
    }

    fn begin(&self) -> Result<()> {
        let writer = self.writer();
        let format: i64 = self.sql(writer.query_row("PRAGMA user_version", [], |row| row.get(0)))?;
        if format > FORMAT {
            return Err(Error::RecordFormat { path: record_path(&self.folder), found: format, known: FORMAT });
        }
        self.sql(writer.execute_batch(SCHEMA))?;
        self.sql(writer.pragma_update(None, "user_version", FORMAT))
    }

    /// Queues interrupted jobs again, gives those up that were begun too often, and sweeps out what no row speaks of.
    fn recover(&self) -> Result<()> {
        let error = JobError {
            message: format!(
                "the server ended {MAX_ATTEMPTS} times while it painted this, so it is not begun once more"
            ),
            hint: Some("the system may have run out of memory: ask for a smaller picture".to_owned()),
        };
        {
            let writer = self.writer();
            self.sql(writer.execute(
                "UPDATE jobs SET state = 'failed', finished = ?1, finishes = finishes + 1, error = ?2 WHERE state = 'running' AND attempts >= ?3",
                params![now_ms(), json(&error), MAX_ATTEMPTS],
            ))?;
            self.sql(writer.execute("UPDATE jobs SET state = 'queued', started = NULL WHERE state = 'running'", []))?;
        }
        let pictures = self.folder.join("pictures");
        let entries = fs::read_dir(&pictures).map_err(|source| Error::Folder { path: pictures.clone(), source })?;
        for entry in entries.flatten() {
            let name = entry.file_name();
            let id = name.to_str().and_then(|name| name.strip_suffix(".png"));
            let is_done = match id {
                Some(id) => self.get(id)?.is_some_and(|record| record.state == JobState::Done),
                None => false,
            };
            if !is_done && let Err(error) = fs::remove_file(entry.path()) {
                tracing::warn!(file = %entry.path().display(), %error, "cannot sweep out a file that no job speaks of");
            }
        }
        Ok(())
    }

    /// Adds jobs to the queue if they all fit under `max_queued`; nothing if they do not.
    ///
    /// # Errors
    /// [`Error::Record`].
    pub fn enqueue(&self, jobs: &[(String, JobRequest, u64)], max_queued: usize) -> Result<bool> {
        let mut writer = self.writer();
        let transaction = self.sql(writer.transaction_with_behavior(TransactionBehavior::Immediate))?;
        let queued = self.sql(count(&transaction, JobState::Queued))?;
        if queued + jobs.len() as u64 > max_queued as u64 {
            return Ok(false);
        }
        for (id, request, memory) in jobs {
            self.sql(transaction.execute(
                "INSERT INTO jobs (id, state, caption, request, memory, created) VALUES (?1, 'queued', ?2, ?3, ?4, ?5)",
                params![id, request.caption.as_deref().unwrap_or_default(), json(request), *memory as i64, now_ms()],
            ))?;
        }
        self.sql(transaction.commit())?;
        Ok(true)
    }

    /// The job whose turn it is.
    ///
    /// # Errors
    /// [`Error::Record`], [`Error::RecordRow`].
    pub fn next(&self) -> Result<Option<Record>> {
        self.read(|reader| {
            let sql = format!("SELECT {COLUMNS} FROM jobs WHERE state = 'queued' ORDER BY seq LIMIT 1");
            reader.query_row(&sql, [], raw).optional()
        })?
        .map(|raw| self.record(raw))
        .transpose()
    }

    /// Says that a queued job is being painted. False if it is not queued any more.
    ///
    /// # Errors
    /// [`Error::Record`].
    pub fn start(&self, id: &str) -> Result<bool> {
        let sql = "UPDATE jobs SET state = 'running', started = ?2, attempts = attempts + 1 WHERE id = ?1 AND state = 'queued'";
        Ok(self.sql(self.writer().execute(sql, params![id, now_ms()]))? == 1)
    }

    /// Puts a running job back where it was in the queue, as if it had not been begun.
    ///
    /// # Errors
    /// [`Error::Record`].
    pub fn put_back(&self, id: &str) -> Result<()> {
        let sql = "UPDATE jobs SET state = 'queued', started = NULL, attempts = attempts - 1 WHERE id = ?1 AND state = 'running'";
        self.sql(self.writer().execute(sql, [id])).map(drop)
    }

    /// Keeps what became known of a job while it is painted: its layout, its guidance.
    ///
    /// # Errors
    /// [`Error::Record`].
    pub fn update_request(&self, id: &str, request: &JobRequest) -> Result<()> {
        let sql = "UPDATE jobs SET request = ?2 WHERE id = ?1";
        self.sql(self.writer().execute(sql, params![id, json(request)])).map(drop)
    }

    /// Says how a running job ended. False if it was not running.
    ///
    /// # Errors
    /// [`Error::Record`].
    pub fn finish(&self, id: &str, ending: &Ending, verdict: Option<&Verdict>, warnings: &[String]) -> Result<bool> {
        let error = match ending {
            Ending::Failed(error) => Some(json(error)),
            _ => None,
        };
        let sql = "UPDATE jobs SET state = ?2, finished = ?3, finishes = finishes + 1, error = ?4, verdict = ?5, warnings = ?6
            WHERE id = ?1 AND state = 'running'";
        let values = params![id, ending.state().as_str(), now_ms(), error, verdict.map(json), json(&warnings)];
        Ok(self.sql(self.writer().execute(sql, values))? == 1)
    }

    /// Cancels a queued job. False if it is not queued any more.
    ///
    /// # Errors
    /// [`Error::Record`].
    pub fn cancel_queued(&self, id: &str) -> Result<bool> {
        let sql = "UPDATE jobs SET state = 'cancelled', finished = ?2, finishes = finishes + 1 WHERE id = ?1 AND state = 'queued'";
        Ok(self.sql(self.writer().execute(sql, params![id, now_ms()]))? == 1)
    }

    /// Keeps a verdict that was asked for later.
    ///
    /// # Errors
    /// [`Error::Record`].
    pub fn set_verdict(&self, id: &str, verdict: &Verdict) -> Result<()> {
        let sql = "UPDATE jobs SET verdict = ?2 WHERE id = ?1";
        self.sql(self.writer().execute(sql, params![id, json(verdict)])).map(drop)
    }

    /// Forgets a job that is not running, and its picture. False if there is none, or it is running.
    ///
    /// # Errors
    /// [`Error::Record`].
    pub fn delete(&self, id: &str) -> Result<bool> {
        let deleted = self.sql(self.writer().execute("DELETE FROM jobs WHERE id = ?1 AND state <> 'running'", [id]))?;
        if deleted == 1 {
            self.delete_picture(id);
        }
        Ok(deleted == 1)
    }

    /// Forgets all jobs that have ended but the `keep` that ended last, and their pictures. Returns how many.
    ///
    /// # Errors
    /// [`Error::Record`].
    pub fn prune(&self, keep: usize) -> Result<usize> {
        let sql = "DELETE FROM jobs WHERE seq IN
            (SELECT seq FROM jobs WHERE finished IS NOT NULL ORDER BY finished DESC, seq DESC LIMIT -1 OFFSET ?1)
            RETURNING id";
        let ids = {
            let writer = self.writer();
            let delete = || {
                let mut statement = writer.prepare_cached(sql)?;
                statement.query_map([keep as i64], |row| row.get(0))?.collect::<rusqlite::Result<Vec<String>>>()
            };
            self.sql(delete())?
        };
        ids.iter().for_each(|id| self.delete_picture(id));
        Ok(ids.len())
    }

    /// Deletes the picture of a job whose row is gone. What stays when the process ends in between is swept out at the next start.
    fn delete_picture(&self, id: &str) {
        if let Err(error) = fs::remove_file(self.picture_path(id))
            && error.kind() != std::io::ErrorKind::NotFound
        {
            tracing::warn!(job = id, %error, "cannot delete the picture; it goes at the next start");
        }
    }

    /// A job.
    ///
    /// # Errors
    /// [`Error::Record`], [`Error::RecordRow`].
    pub fn get(&self, id: &str) -> Result<Option<Record>> {
        self.read(|reader| {
            reader.query_row(&format!("SELECT {COLUMNS} FROM jobs WHERE id = ?1"), [id], raw).optional()
        })?
        .map(|raw| self.record(raw))
        .transpose()
    }

    /// Jobs, newest first, before the place `before`.
    ///
    /// # Errors
    /// [`Error::Record`], [`Error::RecordRow`].
    pub fn list(&self, selection: &JobSelection, before: Option<i64>, limit: u32) -> Result<Vec<Record>> {
        let words = selection.q.as_deref().map(|q| format!("%{}%", escaped(q)));
        let sql = format!(
            "SELECT {COLUMNS} FROM jobs
             WHERE (?1 IS NULL OR state = ?1) AND (?2 IS NULL OR caption LIKE ?2 ESCAPE '\\') AND seq < ?3
             ORDER BY seq DESC LIMIT ?4"
        );
        let rows = self.read(|reader| {
            let mut statement = reader.prepare_cached(&sql)?;
            let values = params![selection.state.map(JobState::as_str), words, before.unwrap_or(i64::MAX), limit];
            statement.query_map(values, raw)?.collect::<rusqlite::Result<Vec<_>>>()
        })?;
        rows.into_iter().map(|raw| self.record(raw)).collect()
    }

    /// How many queued jobs come before a place in the queue.
    ///
    /// # Errors
    /// [`Error::Record`].
    pub fn queued_before(&self, seq: i64) -> Result<u64> {
        self.read(|reader| {
            let sql = "SELECT COUNT(*) FROM jobs WHERE state = 'queued' AND seq < ?1";
            reader.prepare_cached(sql)?.query_row([seq], |row| row.get::<_, i64>(0))
        })
        .map(|count| count as u64)
    }

    /// How many jobs are in a state.
    ///
    /// # Errors
    /// [`Error::Record`].
    pub fn count(&self, state: JobState) -> Result<u64> {
        self.read(|reader| count(reader, state))
    }

    /// Mean time of the last jobs that were done, in seconds, if there were any.
    ///
    /// # Errors
    /// [`Error::Record`].
    pub fn mean_seconds(&self) -> Result<Option<f64>> {
        let sql = "SELECT AVG(finished - started) / 1000.0 FROM
            (SELECT finished, started FROM jobs WHERE state = 'done' ORDER BY seq DESC LIMIT 20)";
        self.read(|reader| reader.query_row(sql, [], |row| row.get(0)))
    }

    /// Whether the record answers.
    ///
    /// # Errors
    /// [`Error::Record`].
    pub fn is_alive(&self) -> Result<()> {
        self.read(|reader| reader.query_row("SELECT 1", [], |row| row.get::<_, i64>(0))).map(drop)
    }

    /// Keeps a picture: after this it is there whole, or not at all.
    ///
    /// # Errors
    /// [`Error::Folder`].
    pub fn put_picture(&self, id: &str, png: &[u8]) -> Result<()> {
        let path = self.picture_path(id);
        let part = path.with_extension("part");
        let write = || {
            let mut file = File::create(&part)?;
            file.write_all(png)?;
            file.sync_all()?;
            fs::rename(&part, &path)
        };
        write().map_err(|source| Error::Folder { path: path.clone(), source })
    }

    /// The picture of a job that is done.
    ///
    /// # Errors
    /// [`Error::Folder`].
    pub fn picture(&self, record: &Record) -> Result<Vec<u8>> {
        let path = self.picture_path(&record.id);
        fs::read(&path).map_err(|source| Error::Folder { path, source })
    }

    /// Ids come from the record or from [`new_id`], never from a request, so nothing in them leads elsewhere.
    fn picture_path(&self, id: &str) -> PathBuf {
        self.folder.join("pictures").join(format!("{id}.png"))
    }

    fn writer(&self) -> MutexGuard<'_, Connection> {
        self.writer.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn read<T>(&self, read: impl FnOnce(&Connection) -> rusqlite::Result<T>) -> Result<T> {
        let idle = self.readers.lock().unwrap_or_else(PoisonError::into_inner).pop();
        let reader = match idle {
            Some(reader) => reader,
            None => connect(&record_path(&self.folder))?,
        };
        let result = read(&reader);
        self.readers.lock().unwrap_or_else(PoisonError::into_inner).push(reader);
        self.sql(result)
    }

    fn sql<T>(&self, result: rusqlite::Result<T>) -> Result<T> {
        result.map_err(|source| Error::Record { path: record_path(&self.folder), source })
    }

    fn record(&self, raw: Raw) -> Result<Record> {
        let broken = |what: &str| Error::RecordRow {
            path: record_path(&self.folder),
            id: raw.id.clone(),
            what: what.to_owned(),
        };
        let parse = |text: &str| serde_json::from_str::<Value>(text).unwrap_or_default();
        Ok(Record {
            state: JobState::ALL
                .into_iter()
                .find(|state| state.as_str() == raw.state)
                .ok_or_else(|| broken("no known state"))?,
            request: serde_json::from_str(&raw.request).map_err(|error| broken(&format!("no request: {error}")))?,
            error: raw.error.as_deref().and_then(|text| serde_json::from_value(parse(text)).ok()),
            verdict: raw.verdict.as_deref().and_then(|text| serde_json::from_value(parse(text)).ok()),
            warnings: serde_json::from_str(&raw.warnings).unwrap_or_default(),
            seq: raw.seq,
            memory_bytes: raw.memory as u64,
            created_ms: raw.created,
            started_ms: raw.started,
            finished_ms: raw.finished,
            attempts: raw.attempts,
            finishes: raw.finishes,
            id: raw.id,
        })
    }
}

/// A row as it is stored.
struct Raw {
    seq: i64,
    id: String,
    state: String,
    request: String,
    memory: i64,
    created: i64,
    started: Option<i64>,
    finished: Option<i64>,
    attempts: u32,
    finishes: u32,
    error: Option<String>,
    verdict: Option<String>,
    warnings: String,
}

/// The columns of [`COLUMNS`].
fn raw(row: &Row<'_>) -> rusqlite::Result<Raw> {
    Ok(Raw {
        seq: row.get(0)?,
        id: row.get(1)?,
        state: row.get(2)?,
        request: row.get(3)?,
        memory: row.get(4)?,
        created: row.get(5)?,
        started: row.get(6)?,
        finished: row.get(7)?,
        attempts: row.get(8)?,
        error: row.get(9)?,
        verdict: row.get(10)?,
        warnings: row.get(11)?,
        finishes: row.get(12)?,
    })
}

fn count(connection: &Connection, state: JobState) -> rusqlite::Result<u64> {
    let sql = "SELECT COUNT(*) FROM jobs WHERE state = ?1";
    connection.prepare_cached(sql)?.query_row([state.as_str()], |row| row.get::<_, i64>(0)).map(|count| count as u64)
}

fn record_path(folder: &Path) -> PathBuf {
    folder.join("jobs.sqlite")
}

fn connect(path: &Path) -> Result<Connection> {
    let open = || {
        let connection = Connection::open(path)?;
        connection.busy_timeout(BUSY)?;
        // Killing the process loses nothing; losing power may lose the last changes, never the order.
        connection.pragma_update(None, "journal_mode", "WAL")?;
        connection.pragma_update(None, "synchronous", "NORMAL")?;
        Ok(connection)
    };
    open().map_err(|source| Error::Record { path: path.to_owned(), source })
}

/// A folder that only its owner can look into: captions and pictures are nobody else's business.
fn private_folder(path: &Path) -> std::io::Result<()> {
    let mut builder = fs::DirBuilder::new();
    builder.recursive(true);
    #[cfg(unix)]
    std::os::unix::fs::DirBuilderExt::mode(&mut builder, 0o700);
    builder.create(path)
}

/// Plain data: nothing in it can fail to be written.
fn json(value: &impl serde::Serialize) -> String {
    serde_json::to_string(value).unwrap_or_default()
}

/// Text in which nothing stands for anything else to `LIKE`.
fn escaped(text: &str) -> String {
    text.replace('\\', "\\\\").replace('%', "\\%").replace('_', "\\_")
}

/// Milliseconds since 1970.
pub fn now_ms() -> i64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_millis() as i64)
}

/// A name that nobody guesses: 128 random bits.
///
/// # Errors
/// [`Error::System`].
pub fn new_id() -> Result<String> {
    let mut bytes = [0; 16];
    getrandom::fill(&mut bytes)
        .map_err(|error| Error::System { what: "random numbers", source: std::io::Error::other(error) })?;
    Ok(bytes.iter().map(|byte| format!("{byte:02x}")).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn request(caption: &str) -> JobRequest {
        JobRequest { caption: Some(caption.to_owned()), ..JobRequest::default() }
    }

    fn put(store: &Store, id: &str, caption: &str) {
        assert!(store.enqueue(&[(id.to_owned(), request(caption), 7)], 100).unwrap());
    }

    #[test]
    fn jobs_come_in_the_order_they_were_asked_for_and_end_once() {
        let folder = tempfile::tempdir().unwrap();
        let store = Store::open(folder.path()).unwrap();
        put(&store, "a", "one");
        put(&store, "b", "two");
        assert_eq!(store.next().unwrap().unwrap().id, "a");
        assert!(store.start("a").unwrap() && !store.start("a").unwrap());
        assert_eq!(store.queued_before(store.next().unwrap().unwrap().seq).unwrap(), 0);
        store.put_picture("a", b"png").unwrap();
        assert!(store.finish("a", &Ending::Done, None, &["w".to_owned()]).unwrap());
        assert!(!store.finish("a", &Ending::Cancelled, None, &[]).unwrap());
        let record = store.get("a").unwrap().unwrap();
        assert_eq!((record.state, record.finishes, record.memory_bytes), (JobState::Done, 1, 7));
        assert_eq!(record.warnings, ["w"]);
        assert_eq!(store.picture(&record).unwrap(), b"png");
        assert!(store.cancel_queued("b").unwrap() && !store.start("b").unwrap());
    }

    #[test]
    fn what_was_running_is_queued_again_in_its_old_place() {
        let folder = tempfile::tempdir().unwrap();
        let store = Store::open(folder.path()).unwrap();
        put(&store, "a", "one");
        put(&store, "b", "two");
        store.start("a").unwrap();
        store.put_picture("a", b"orphan").unwrap();
        std::fs::write(folder.path().join("pictures/b.part"), b"half").unwrap();
        drop(store);
        let store = Store::open(folder.path()).unwrap();
        let next = store.next().unwrap().unwrap();
        assert_eq!((next.id.as_str(), next.attempts, next.started_ms), ("a", 1, None));
        assert_eq!(std::fs::read_dir(folder.path().join("pictures")).unwrap().count(), 0);
    }

    #[test]
    fn a_job_that_takes_the_process_down_is_given_up() {
        let folder = tempfile::tempdir().unwrap();
        put(&Store::open(folder.path()).unwrap(), "a", "one");
        for _ in 0..MAX_ATTEMPTS {
            assert!(Store::open(folder.path()).unwrap().start("a").unwrap());
        }
        let record = Store::open(folder.path()).unwrap().get("a").unwrap().unwrap();
        assert_eq!((record.state, record.finishes), (JobState::Failed, 1));
        assert!(record.error.unwrap().message.contains("5 times"));
    }

    #[test]
    fn a_job_that_is_put_back_was_not_begun() {
        let folder = tempfile::tempdir().unwrap();
        let store = Store::open(folder.path()).unwrap();
        put(&store, "a", "one");
        store.start("a").unwrap();
        store.put_back("a").unwrap();
        let record = store.next().unwrap().unwrap();
        assert_eq!((record.attempts, record.started_ms), (0, None));
    }

    #[test]
    fn the_jobs_that_ended_last_are_kept_and_what_has_not_ended_too() {
        let folder = tempfile::tempdir().unwrap();
        let store = Store::open(folder.path()).unwrap();
        for id in ["waited-long", "a", "b", "c", "running", "queued"] {
            put(&store, id, "one");
        }
        for id in ["a", "b", "c", "waited-long"] {
            assert!(store.start(id).unwrap());
            store.put_picture(id, b"png").unwrap();
            assert!(store.finish(id, &Ending::Done, None, &[]).unwrap());
            std::thread::sleep(Duration::from_millis(2)); // ends are told apart by milliseconds
        }
        store.start("running").unwrap();
        assert_eq!(store.prune(4).unwrap(), 0);
        assert_eq!(store.prune(2).unwrap(), 2);
        let left = |store: &Store| -> Vec<String> {
            let all = store.list(&JobSelection::default(), None, 10).unwrap();
            all.into_iter().map(|record| record.id).collect()
        };
        assert_eq!(left(&store), ["queued", "running", "c", "waited-long"]);
        let pictures = folder.path().join("pictures");
        assert!(!pictures.join("a.png").exists() && !pictures.join("b.png").exists());
        assert!(pictures.join("c.png").exists() && pictures.join("waited-long.png").exists());
        // A process that ended between a row and its picture: the next one sweeps the picture out.
        std::fs::write(pictures.join("b.png"), b"png").unwrap();
        drop(store);
        let store = Store::open(folder.path()).unwrap();
        assert!(!pictures.join("b.png").exists() && pictures.join("c.png").exists());
        assert_eq!(store.prune(0).unwrap(), 2);
        assert_eq!(left(&store), ["queued", "running"]);
    }

    #[test]
    fn the_queue_is_bounded_and_takes_all_or_nothing() {
        let folder = tempfile::tempdir().unwrap();
        let store = Store::open(folder.path()).unwrap();
        let three = ["a", "b", "c"].map(|id| (id.to_owned(), request("x"), 0));
        assert!(!store.enqueue(&three, 2).unwrap());
        assert_eq!(store.count(JobState::Queued).unwrap(), 0);
        assert!(store.enqueue(&three, 3).unwrap());
    }

    #[test]
    fn captions_are_searched_as_they_are_written() {
        let folder = tempfile::tempdir().unwrap();
        let store = Store::open(folder.path()).unwrap();
        for (id, caption) in [("a", "100% wool"), ("b", "100 dogs"), ("c", "a_b\\c"), ("d", "axb")] {
            put(&store, id, caption);
        }
        let found = |q: &str| -> Vec<String> {
            let selection = JobSelection { q: Some(q.to_owned()), ..JobSelection::default() };
            store.list(&selection, None, 10).unwrap().into_iter().map(|record| record.id).collect()
        };
        assert_eq!(found("100%"), ["a"]);
        assert_eq!(found("a_b"), ["c"]);
        assert_eq!(found("\\"), ["c"]);
        assert_eq!(found(""), ["d", "c", "b", "a"]);
        let older = store.list(&JobSelection::default(), Some(3), 1).unwrap();
        assert_eq!(older[0].id, "b");
    }

    #[test]
    fn a_folder_belongs_to_one_server() {
        let folder = tempfile::tempdir().unwrap();
        let _store = Store::open(folder.path()).unwrap();
        assert!(matches!(Store::open(folder.path()), Err(Error::FolderInUse { .. })));
    }

    #[test]
    fn a_newer_record_and_a_damaged_one_are_told_apart() {
        let folder = tempfile::tempdir().unwrap();
        drop(Store::open(folder.path()).unwrap());
        let path = record_path(folder.path());
        Connection::open(&path).unwrap().pragma_update(None, "user_version", 9).unwrap();
        assert!(matches!(Store::open(folder.path()), Err(Error::RecordFormat { found: 9, .. })));
        for name in ["jobs.sqlite-wal", "jobs.sqlite-shm"] {
            let _ = std::fs::remove_file(folder.path().join(name));
        }
        std::fs::write(&path, b"this is no database, whatever it is called, and never was one").unwrap();
        assert!(matches!(Store::open(folder.path()), Err(Error::Record { .. })));
    }

    #[test]
    fn ids_are_long_and_differ() {
        let (a, b) = (new_id().unwrap(), new_id().unwrap());
        assert!(a != b && a.len() == 32 && a.bytes().all(|byte| byte.is_ascii_hexdigit()));
    }
}
