//! Jobs on disk: a row each in SQLite, the pictures in a folder beside it.
//!
//! A picture is written beside its place, flushed and renamed before its row says `done`, so a row that says `done` always has its picture, whenever the
//! process is killed. A row that says `running` when the folder is opened was being painted by a process that is gone: it is queued again.
//!
//! What has to be written while the disk is full (that a job ended, was cancelled, was deleted) takes the room that is kept back for it; if even that is gone, it
//! is remembered, shown as if it were written, and written as soon as that is possible.

mod disk;
mod folder;
mod format;

use std::collections::HashMap;
use std::fs::File;
use std::io::ErrorKind;
use std::path::Path;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use rusqlite::{Connection, OptionalExtension, Row, TransactionBehavior, params};
use serde_json::Value;

use crate::error::{Error, Result};
use crate::wire::{JobError, JobRequest, JobSelection, JobState, Verdict};
use disk::Disk;
use folder::{Folder, Found};

/// How often a job may be begun. A job that takes the process down again and again (by the system's memory killer, say) is not begun once more.
pub const MAX_ATTEMPTS: u32 = 5;

const COLUMNS: &str =
    "seq, id, state, request, memory, created, started, finished, attempts, error, verdict, warnings, finishes";

/// The place behind all jobs that have ended.
const LAST: &str = "(SELECT COALESCE(MAX(ended), 0) + 1 FROM jobs WHERE finished IS NOT NULL)";

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

/// What there is to say of a job that ended, beside how.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Outcome {
    /// The request, with what became known while it was painted.
    pub request: Option<JobRequest>,
    /// What a detector saw.
    pub verdict: Option<Verdict>,
    /// What the person who asked should know.
    pub warnings: Vec<String>,
    /// How long it was painted.
    pub took: Option<Duration>,
}

/// Reads the request back from the bytes of a PNG, if it is one of ours.
pub type RequestOf<'a> = dyn Fn(&[u8]) -> Option<JobRequest> + 'a;

/// An end that is to be written down.
#[derive(Debug, Clone, PartialEq)]
struct End {
    /// The state that it ends.
    from: JobState,
    ending: Ending,
    outcome: Outcome,
    finished_ms: i64,
}

/// What is true of a job and could not be written down.
#[derive(Debug, Clone, PartialEq)]
enum Unwritten {
    Ended(Box<End>),
    Deleted,
}

/// The folder of jobs.
#[derive(Debug)]
pub struct Store {
    folder: Folder,
    disk: Disk,
    writer: Mutex<Connection>,
    /// Connections that nobody reads with now. Readers wait neither for each other nor for a write's flush.
    readers: Mutex<Vec<Connection>>,
    unwritten: Mutex<HashMap<String, Unwritten>>,
    /// Held as long as the process lives.
    _lock: File,
}

impl Store {
    /// Opens a folder, makes it if there is none, and queues again what was being painted when its last process ended.
    ///
    /// # Errors
    /// [`Error::Folder`], [`Error::Link`], [`Error::FolderInUse`], [`Error::DiskFull`], [`Error::Record`], [`Error::RecordFormat`],
    /// [`Error::RecordDamaged`].
    pub fn open(path: &Path) -> Result<Self> {
        Self::open_with(path, None)
    }

    /// The same for a folder whose record may be lost or damaged: a damaged one is set aside, and pictures that no job names become jobs. `request_of` reads the
    /// request back from a picture, if it is one of ours. `keep` is what [`prune`](Self::prune) will be told: no more pictures become jobs than it leaves alone.
    ///
    /// # Errors
    /// As [`open`](Self::open), but for [`Error::RecordDamaged`].
    pub fn recover(path: &Path, request_of: &RequestOf<'_>, keep: usize) -> Result<Self> {
        Self::open_with(path, Some((request_of, keep)))
    }

    fn open_with(path: &Path, recovery: Option<(&RequestOf<'_>, usize)>) -> Result<Self> {
        let folder = Folder::open(path)?;
        let lock = folder.lock()?;
        let disk = Disk::new(path);
        let mut opened = format::open(&folder.record());
        let is_full = |error: &Error| error.is_disk_full() || (is_failed_write(error) && is_without_room(&disk));
        if opened.as_ref().is_err_and(is_full) {
            disk.release();
            opened = format::open(&folder.record());
        }
        if let (Err(Error::RecordDamaged { what, .. }), Some(_)) = (&opened, recovery) {
            let to = format::set_aside(&folder.record())?;
            tracing::warn!(?to, what, "set the damaged record of jobs aside; what waited in it is not painted");
            opened = format::open(&folder.record());
        }
        let format::Opened { writer, is_new } = opened.map_err(|error| match is_full(&error) {
            true => Error::DiskFull { path: folder.record() },
            false => error,
        })?;
        let store = Self {
            folder,
            disk,
            writer: Mutex::new(writer),
            readers: Mutex::default(),
            unwritten: Mutex::default(),
            _lock: lock,
        };
        store.resume()?;
        store.finish_deleting()?;
        if let Some((request_of, keep)) = recovery {
            store.adopt_lost_pictures(request_of, keep)?;
        }
        // What could not be made a job of just now stays where it is.
        store.folder.sweep(is_new || recovery.is_some(), |id| Ok(store.state(id)?.is_some()))?;
        let _ = store.disk.check(); // says itself if the disk is full
        Ok(store)
    }

    /// Queues interrupted jobs again, and gives those up that were begun too often.
    fn resume(&self) -> Result<()> {
        let error = JobError {
            message: format!(
                "the server ended {MAX_ATTEMPTS} times while it painted this, so it is not begun once more"
            ),
            hint: Some("the system may have run out of memory: ask for a smaller picture".to_owned()),
        };
        self.write_surely(|writer| {
            let give_up = format!(
                "UPDATE jobs SET state = 'failed', finished = ?1, ended = {LAST}, finishes = finishes + 1, error = ?2
                 WHERE state = 'running' AND attempts >= ?3"
            );
            writer.execute(&give_up, params![now_ms(), json(&error), MAX_ATTEMPTS])?;
            writer.execute("UPDATE jobs SET state = 'queued', started = NULL WHERE state = 'running'", [])
        })
        .map(drop)
    }

    /// Deletes the pictures of jobs whose process ended between a row and its picture.
    fn finish_deleting(&self) -> Result<()> {
        let ids = self.read(|reader| {
            let mut statement = reader.prepare("SELECT id FROM deleted")?;
            statement.query_map([], |row| row.get(0))?.collect::<rusqlite::Result<Vec<String>>>()
        })?;
        self.delete_pictures(&ids);
        Ok(())
    }

    /// Makes jobs of pictures that no job names: the newest, and no more than `keep` leaves alone. They come before all jobs that are known, in the order in which
    /// they were written, so that no picture is deleted because another was found.
    fn adopt_lost_pictures(&self, request_of: &RequestOf<'_>, keep: usize) -> Result<()> {
        const ADOPT: &str =
            "INSERT INTO jobs (seq, id, state, caption, request, memory, created, finished, ended, finishes)
             VALUES ((SELECT COALESCE(MIN(seq), 1) - 1 FROM jobs), ?1, 'done', ?2, ?3, 0, ?4, ?4,
                     (SELECT COALESCE(MIN(ended), 1) - 1 FROM jobs WHERE finished IS NOT NULL), 1)";
        let ended = self.read(|reader| {
            let sql = "SELECT COUNT(*) FROM jobs WHERE finished IS NOT NULL";
            reader.query_row(sql, [], |row| row.get::<_, i64>(0))
        })?;
        let room = keep.saturating_sub(usize::try_from(ended).unwrap_or_default());
        let (mut adopted, mut left) = (0, 0);
        for found in self.folder.lost_pictures(|id| Ok(self.state(id)?.is_some()))? {
            if adopted == room {
                left += 1;
                continue;
            }
            let Some(request) = self.request_in(&found, request_of) else { continue };
            if !self.folder.take_back(&found)? {
                continue;
            }
            let written_ms = i64::try_from(found.modified.as_millis()).unwrap_or(i64::MAX);
            let caption = request.caption.as_deref().unwrap_or_default();
            self.write(|writer| writer.execute(ADOPT, params![found.id, caption, json(&request), written_ms]))?;
            adopted += 1;
        }
        tracing::info!(pictures = adopted, "jobs were made of the pictures that no job named");
        if left > 0 {
            tracing::warn!(
                pictures = left,
                keep,
                "left pictures that no job names where they are: there would be more jobs than `--keep` allows, and the oldest would be deleted"
            );
        }
        Ok(())
    }

    /// How a picture that no job names was made, if it says so.
    fn request_in(&self, found: &Found, request_of: &RequestOf<'_>) -> Option<JobRequest> {
        let request = match self.folder.read_lost(found) {
            Ok(png) => request_of(&png),
            Err(error) => {
                tracing::warn!(picture = found.id, %error, "left alone a picture that cannot be read");
                return None;
            }
        };
        if request.is_none() {
            tracing::warn!(picture = found.id, "left alone a picture that does not say how it was made");
        }
        request
    }

    /// Adds jobs to the queue if they all fit under `max_queued`; nothing if they do not.
    ///
    /// # Errors
    /// [`Error::Record`].
    pub fn enqueue(&self, jobs: &[(String, JobRequest, u64)], max_queued: usize) -> Result<bool> {
        self.write(|writer| {
            let transaction = writer.transaction_with_behavior(TransactionBehavior::Immediate)?;
            let queued = count(&transaction, JobState::Queued)?;
            if queued + jobs.len() as u64 > max_queued as u64 {
                return Ok(false);
            }
            for (id, request, memory) in jobs {
                transaction.execute(
                    "INSERT INTO jobs (id, state, caption, request, memory, created) VALUES (?1, 'queued', ?2, ?3, ?4, ?5)",
                    params![id, request.caption.as_deref().unwrap_or_default(), json(request), *memory as i64, now_ms()],
                )?;
            }
            transaction.commit()?;
            Ok(true)
        })
    }

    /// The job whose turn it is. One whose row makes no sense is given up, so that it does not stand in the way of those behind it.
    ///
    /// # Errors
    /// [`Error::Record`].
    pub fn next(&self) -> Result<Option<Record>> {
        loop {
            let raw = self.read(|reader| {
                let sql = format!("SELECT {COLUMNS} FROM jobs WHERE state = 'queued' ORDER BY seq LIMIT 1");
                reader.query_row(&sql, [], raw).optional()
            })?;
            let Some(raw) = raw else { return Ok(None) };
            let id = raw.id.clone();
            match self.record(raw) {
                Ok(record) => return Ok(Some(record)),
                Err(error) => {
                    tracing::error!(job = id, error = crate::queue::chain(&error), "gave a job up");
                    let what = JobError { message: "the record of this job is damaged".to_owned(), hint: None };
                    self.write(|writer| {
                        let sql = format!(
                            "UPDATE jobs SET state = 'failed', request = json_object('caption', caption), finished = ?2, ended = {LAST}, finishes = finishes + 1, error = ?3 WHERE id = ?1"
                        );
                        writer.execute(&sql, params![id, now_ms(), json(&what)])
                    })?;
                }
            }
        }
    }

    /// Says that a queued job is being painted. False if it is not queued any more.
    ///
    /// # Errors
    /// [`Error::Record`].
    pub fn start(&self, id: &str) -> Result<bool> {
        let sql = "UPDATE jobs SET state = 'running', started = ?2, attempts = attempts + 1 WHERE id = ?1 AND state = 'queued'";
        // Held, so that no end is remembered between the look and the change.
        let unwritten = self.unwritten();
        if unwritten.contains_key(id) {
            return Ok(false);
        }
        Ok(self.write(|writer| writer.execute(sql, params![id, now_ms()]))? == 1)
    }

    /// Puts a running job back where it was in the queue, as if it had not been begun.
    ///
    /// # Errors
    /// [`Error::Record`].
    pub fn put_back(&self, id: &str) -> Result<()> {
        let sql = "UPDATE jobs SET state = 'queued', started = NULL, attempts = attempts - 1 WHERE id = ?1 AND state = 'running'";
        self.write_surely(|writer| writer.execute(sql, [id])).map(drop)
    }

    /// Keeps what became known of a job while it is painted: its layout, its guidance.
    ///
    /// # Errors
    /// [`Error::Record`].
    pub fn update_request(&self, id: &str, request: &JobRequest) -> Result<()> {
        let sql = "UPDATE jobs SET request = ?2 WHERE id = ?1";
        self.write(|writer| writer.execute(sql, params![id, json(request)])).map(drop)
    }

    /// Says how a running job ended. False if it was not running.
    ///
    /// # Errors
    /// [`Error::Record`] if the record cannot even be read; what cannot be written now is written later.
    pub fn finish(&self, id: &str, ending: &Ending, outcome: Outcome) -> Result<bool> {
        self.end(id, End { from: JobState::Running, ending: ending.clone(), outcome, finished_ms: now_ms() })
    }

    /// Cancels a queued job. False if it is not queued any more.
    ///
    /// # Errors
    /// As [`finish`](Self::finish).
    pub fn cancel_queued(&self, id: &str) -> Result<bool> {
        let (ending, outcome) = (Ending::Cancelled, Outcome::default());
        self.end(id, End { from: JobState::Queued, ending, outcome, finished_ms: now_ms() })
    }

    fn end(&self, id: &str, end: End) -> Result<bool> {
        match self.write_surely(|writer| write_end(writer, id, &end)) {
            Ok(is_written) => Ok(is_written),
            Err(error) => {
                let mut unwritten = self.unwritten();
                let is_due = !unwritten.contains_key(id) && self.state(id)? == Some(end.from);
                if is_due {
                    tracing::error!(
                        job = id,
                        error = crate::queue::chain(&error),
                        "remembered how a job ended: it cannot be written down now"
                    );
                    unwritten.insert(id.to_owned(), Unwritten::Ended(Box::new(end)));
                }
                Ok(is_due)
            }
        }
    }

    /// Keeps a verdict that was asked for later.
    ///
    /// # Errors
    /// [`Error::Record`].
    pub fn set_verdict(&self, id: &str, verdict: &Verdict) -> Result<()> {
        let sql = "UPDATE jobs SET verdict = ?2 WHERE id = ?1";
        self.write(|writer| writer.execute(sql, params![id, json(verdict)])).map(drop)
    }

    /// Forgets a job that is not running, and its picture. False if there is none, or it is running.
    ///
    /// # Errors
    /// [`Error::Record`].
    pub fn delete(&self, id: &str) -> Result<bool> {
        let has_ended = match self.unwritten().get(id) {
            Some(Unwritten::Deleted) => return Ok(false),
            Some(Unwritten::Ended(_)) => true,
            None => false,
        };
        let is_deleted = match self.write_surely(|writer| write_deletion(writer, id, has_ended)) {
            Ok(is_deleted) => is_deleted,
            Err(error) if error.is_disk_full() => {
                let is_there = self.state(id)?.is_some_and(|state| state != JobState::Running || has_ended);
                if is_there {
                    // Its picture makes room.
                    self.unwritten().insert(id.to_owned(), Unwritten::Deleted);
                    self.delete_picture(id);
                }
                return Ok(is_there);
            }
            Err(error) => return Err(error),
        };
        if is_deleted {
            self.unwritten().remove(id);
            self.delete_pictures(&[id.to_owned()]);
        }
        Ok(is_deleted)
    }

    /// Forgets all jobs that have ended but the `keep` that ended last, and their pictures. Returns how many.
    ///
    /// # Errors
    /// [`Error::Record`].
    pub fn prune(&self, keep: usize) -> Result<usize> {
        const OLD: &str =
            "SELECT id FROM jobs WHERE finished IS NOT NULL ORDER BY ended DESC, seq DESC LIMIT -1 OFFSET ?1";
        let ids = self.write_surely(|writer| {
            let transaction = writer.transaction_with_behavior(TransactionBehavior::Immediate)?;
            let ids = {
                let mut statement = transaction.prepare_cached(OLD)?;
                statement.query_map([keep as i64], |row| row.get(0))?.collect::<rusqlite::Result<Vec<String>>>()?
            };
            for id in &ids {
                transaction.execute("INSERT OR IGNORE INTO deleted (id) VALUES (?1)", [id])?;
                transaction.execute("DELETE FROM jobs WHERE id = ?1", [id])?;
            }
            transaction.commit()?;
            Ok(ids)
        })?;
        self.delete_pictures(&ids);
        Ok(ids.len())
    }

    /// Deletes the pictures of jobs whose rows are gone, and then the note that they are to be deleted. What is left when the process ends in between goes at the
    /// next start.
    fn delete_pictures(&self, ids: &[String]) {
        let gone: Vec<&String> = ids.iter().filter(|id| self.delete_picture(id)).collect();
        if gone.is_empty() {
            return;
        }
        let forgotten = self.write(|writer| {
            let transaction = writer.transaction_with_behavior(TransactionBehavior::Immediate)?;
            for id in &gone {
                transaction.execute("DELETE FROM deleted WHERE id = ?1", [id])?;
            }
            transaction.commit()
        });
        if let Err(error) = forgotten {
            tracing::debug!(error = crate::queue::chain(&error), "the note of what was deleted goes at the next start");
        }
    }

    fn delete_picture(&self, id: &str) -> bool {
        let deleted = self.folder.delete_picture(id);
        if let Err(error) = &deleted {
            tracing::warn!(
                job = id,
                error = crate::queue::chain(error),
                "cannot delete the picture; it goes at the next start"
            );
        }
        deleted.is_ok()
    }

    /// Writes down what could not be written before, and tries whether there is room for more.
    ///
    /// # Errors
    /// Why nothing should be begun.
    pub fn settle(&self) -> Result<()> {
        let waiting: Vec<(String, Unwritten)> =
            self.unwritten().iter().map(|(id, what)| (id.clone(), what.clone())).collect();
        for (id, what) in waiting {
            self.settle_one(&id, &what)?;
        }
        self.check_room()
    }

    fn settle_one(&self, id: &str, what: &Unwritten) -> Result<()> {
        match what {
            Unwritten::Ended(end) => drop(self.write(|writer| write_end(writer, id, end))?),
            Unwritten::Deleted => {
                self.write(|writer| write_deletion(writer, id, true))?;
                self.delete_pictures(&[id.to_owned()]);
            }
        }
        let mut unwritten = self.unwritten();
        // It may have been deleted since: that is still to be written.
        if unwritten.get(id) == Some(what) {
            unwritten.remove(id);
        }
        Ok(())
    }

    /// Whether there is room on the disk for a painting.
    ///
    /// # Errors
    /// [`Error::Folder`] if there is none.
    pub fn check_room(&self) -> Result<()> {
        self.disk.check().map_err(|source| Error::Folder { path: self.folder.pictures(), source })
    }

    /// The same as it was found at most `max_age` ago: asking again and again costs the disk nothing.
    ///
    /// # Errors
    /// As [`check_room`](Self::check_room).
    pub fn had_room(&self, max_age: Duration) -> Result<()> {
        self.disk.checked(max_age).map_err(|source| Error::Folder { path: self.folder.pictures(), source })
    }

    /// Whether something could not be written down yet.
    pub fn is_behind(&self) -> bool {
        !self.unwritten().is_empty()
    }

    /// A job.
    ///
    /// # Errors
    /// [`Error::Record`], [`Error::RecordRow`].
    pub fn get(&self, id: &str) -> Result<Option<Record>> {
        let raw = self.read(|reader| {
            reader.query_row(&format!("SELECT {COLUMNS} FROM jobs WHERE id = ?1"), [id], raw).optional()
        })?;
        Ok(raw.map(|raw| self.record(raw)).transpose()?.and_then(|record| self.as_it_is(record)))
    }

    /// The state of a job as it is written.
    fn state(&self, id: &str) -> Result<Option<JobState>> {
        let text = self.read(|reader| {
            let mut statement = reader.prepare_cached("SELECT state FROM jobs WHERE id = ?1")?;
            statement.query_row([id], |row| row.get::<_, String>(0)).optional()
        })?;
        // A row that makes no sense is a row all the same.
        Ok(text.map(|text| JobState::ALL.into_iter().find(|state| state.as_str() == text).unwrap_or(JobState::Failed)))
    }

    /// A record with what could not be written of it; nothing if it is deleted.
    fn as_it_is(&self, record: Record) -> Option<Record> {
        match self.unwritten().get(&record.id) {
            None => Some(record),
            Some(Unwritten::Deleted) => None,
            Some(Unwritten::Ended(end)) => {
                let End { ending, outcome, finished_ms, .. } = (**end).clone();
                let (state, request) = (ending.state(), outcome.request.unwrap_or(record.request));
                let error = match ending {
                    Ending::Failed(error) => Some(error),
                    Ending::Done | Ending::Cancelled => None,
                };
                let (verdict, warnings, finishes) = (outcome.verdict, outcome.warnings, record.finishes + 1);
                let finished_ms = Some(finished_ms);
                Some(Record { state, request, error, verdict, warnings, finishes, finished_ms, ..record })
            }
        }
    }

    /// Jobs, newest first, before the place `before`.
    ///
    /// # Errors
    /// [`Error::Record`], [`Error::RecordRow`].
    pub fn list(&self, selection: &JobSelection, before: Option<i64>, limit: u32) -> Result<Vec<Record>> {
        let words = selection.q.as_deref().map(|q| format!("%{}%", escaped(q)));
        let state = selection.state;
        // What could not be written of a job counts too, so that its written state does not decide.
        let unwritten = json(&self.unwritten().keys().collect::<Vec<_>>());
        let sql = format!(
            "SELECT {COLUMNS} FROM jobs
             WHERE (?1 IS NULL OR state = ?1 OR id IN (SELECT value FROM json_each(?5)))
                 AND (?2 IS NULL OR caption LIKE ?2 ESCAPE '\\') AND seq < ?3
             ORDER BY seq DESC LIMIT ?4"
        );
        let mut records = Vec::new();
        let mut before = before.unwrap_or(i64::MAX);
        loop {
            let rows = self.read(|reader| {
                let mut statement = reader.prepare_cached(&sql)?;
                let values = params![state.map(JobState::as_str), words, before, limit, unwritten];
                statement.query_map(values, raw)?.collect::<rusqlite::Result<Vec<_>>>()
            })?;
            let last = rows.last().map(|row| row.seq).filter(|_| rows.len() == limit as usize);
            let shown =
                rows.into_iter().filter_map(|raw| self.readable(raw)).filter_map(|record| self.as_it_is(record));
            records.extend(shown.filter(|record| state.is_none_or(|state| record.state == state)));
            // Some of them may not be shown, and others stand behind them.
            match last.filter(|_| records.len() < limit as usize) {
                Some(seq) => before = seq,
                None => break,
            }
        }
        records.truncate(limit as usize);
        Ok(records)
    }

    /// A row, unless it makes no sense.
    fn readable(&self, raw: Raw) -> Option<Record> {
        let record = self.record(raw);
        record.inspect_err(|error| tracing::warn!(error = crate::queue::chain(error), "left a job out")).ok()
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
        let sql =
            "SELECT AVG(took) / 1000.0 FROM (SELECT took FROM jobs WHERE took IS NOT NULL ORDER BY seq DESC LIMIT 20)";
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
        #[cfg(test)]
        if !self.disk.pretends_room_for(png.len()) {
            self.disk.lacked(png.len());
            return Err(Error::Folder { path: self.folder.pictures(), source: std::io::ErrorKind::StorageFull.into() });
        }
        let put = self.folder.put_picture(id, png);
        match &put {
            Ok(()) => self.disk.sufficed(),
            // The next of its kind is not painted before there is room for it.
            Err(error) if error.is_disk_full() => self.disk.lacked(png.len()),
            Err(_) => {}
        }
        put
    }

    /// The picture of a job that is done, unless somebody took it away.
    ///
    /// # Errors
    /// [`Error::Folder`] if it is there and cannot be read.
    pub fn picture(&self, record: &Record) -> Result<Option<Vec<u8>>> {
        self.folder.read_picture(&record.id)
    }

    fn writer(&self) -> MutexGuard<'_, Connection> {
        self.writer.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn read<T>(&self, read: impl FnOnce(&Connection) -> rusqlite::Result<T>) -> Result<T> {
        let idle = self.readers.lock().unwrap_or_else(PoisonError::into_inner).pop();
        let reader = match idle {
            Some(reader) => reader,
            None => format::connect(&self.folder.record())?,
        };
        let result = read(&reader);
        self.readers.lock().unwrap_or_else(PoisonError::into_inner).push(reader);
        self.sql(result)
    }

    fn write<T>(&self, write: impl FnOnce(&mut Connection) -> rusqlite::Result<T>) -> Result<T> {
        #[cfg(test)]
        if self.disk.pretends() {
            return self.sql(Err(tests::disk_full()));
        }
        let written = write(&mut self.writer());
        match self.sql(written) {
            Err(error) if is_failed_write(&error) && is_without_room(&self.disk) => {
                Err(Error::DiskFull { path: self.folder.record() })
            }
            written => written,
        }
    }

    /// Writes what has to be written on a full disk too.
    fn write_surely<T>(&self, write: impl Fn(&mut Connection) -> rusqlite::Result<T>) -> Result<T> {
        match self.write(&write) {
            Err(error) if error.is_disk_full() => {
                self.disk.release();
                self.write(&write)
            }
            written => written,
        }
    }

    fn unwritten(&self) -> MutexGuard<'_, HashMap<String, Unwritten>> {
        self.unwritten.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn sql<T>(&self, result: rusqlite::Result<T>) -> Result<T> {
        result.map_err(|source| Error::Record { path: self.folder.record(), source })
    }

    fn record(&self, raw: Raw) -> Result<Record> {
        let broken =
            |what: &str| Error::RecordRow { path: self.folder.record(), id: raw.id.clone(), what: what.to_owned() };
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

/// Writes how a job ended. False if it ended before.
fn write_end(writer: &Connection, id: &str, end: &End) -> rusqlite::Result<bool> {
    let End { from, ending, outcome: Outcome { request, verdict, warnings, took }, finished_ms } = end;
    let error = match ending {
        Ending::Failed(error) => Some(json(error)),
        Ending::Done | Ending::Cancelled => None,
    };
    let took = took.filter(|_| *ending == Ending::Done).map(|took| took.as_millis() as i64);
    let sql = format!(
        "UPDATE jobs SET state = ?3, finished = ?4, ended = {LAST}, took = ?5, finishes = finishes + 1, error = ?6, verdict = ?7, warnings = ?8,
             request = COALESCE(?9, request)
         WHERE id = ?1 AND state = ?2"
    );
    let (verdict, request) = (verdict.as_ref().map(json), request.as_ref().map(json));
    let values =
        params![id, from.as_str(), ending.state().as_str(), finished_ms, took, error, verdict, json(warnings), request];
    Ok(writer.prepare_cached(&sql)?.execute(values)? == 1)
}

/// Deletes the row of a job that is not running, or `has_ended` although its row does not say so, and notes that its picture has to follow. False if there is none.
fn write_deletion(writer: &mut Connection, id: &str, has_ended: bool) -> rusqlite::Result<bool> {
    let transaction = writer.transaction_with_behavior(TransactionBehavior::Immediate)?;
    let sql = "DELETE FROM jobs WHERE id = ?1 AND (state <> 'running' OR ?2)";
    let is_deleted = transaction.execute(sql, params![id, has_ended])? == 1;
    if is_deleted {
        transaction.execute("INSERT OR IGNORE INTO deleted (id) VALUES (?1)", [id])?;
    }
    transaction.commit()?;
    Ok(is_deleted)
}

/// Whether SQLite could not write and does not say why: of a quota that is used up, it knows no more than that.
fn is_failed_write(error: &Error) -> bool {
    let Error::Record { source, .. } = error else { return false };
    source.sqlite_error().is_some_and(|error| error.extended_code == rusqlite::ffi::SQLITE_IOERR_WRITE)
}

/// Whether the disk, asked now, has no room.
fn is_without_room(disk: &Disk) -> bool {
    disk.check().is_err_and(|error| matches!(error.kind(), ErrorKind::StorageFull | ErrorKind::QuotaExceeded))
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
    use std::fs;

    use super::*;

    /// What SQLite says of a full disk.
    pub(super) fn disk_full() -> rusqlite::Error {
        rusqlite::Error::SqliteFailure(rusqlite::ffi::Error::new(rusqlite::ffi::SQLITE_FULL), None)
    }

    fn request(caption: &str) -> JobRequest {
        JobRequest { caption: Some(caption.to_owned()), ..JobRequest::default() }
    }

    fn put(store: &Store, id: &str, caption: &str) {
        assert!(store.enqueue(&[(id.to_owned(), request(caption), 7)], 100).unwrap());
    }

    fn finish(store: &Store, id: &str, ending: &Ending) -> bool {
        store.finish(id, ending, Outcome::default()).unwrap()
    }

    /// A name as jobs have it.
    fn id(letter: char) -> String {
        letter.to_string().repeat(32)
    }

    fn done(store: &Store, id: &str) {
        put(store, id, id);
        assert!(store.start(id).unwrap());
        store.put_picture(id, id.as_bytes()).unwrap();
        assert!(finish(store, id, &Ending::Done));
    }

    fn ids(store: &Store) -> Vec<String> {
        let all = store.list(&JobSelection::default(), None, 10).unwrap();
        all.into_iter().map(|record| record.id).collect()
    }

    fn files(folder: &Path) -> Vec<String> {
        let mut names: Vec<_> =
            fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
        names.sort();
        names
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
        let outcome = Outcome {
            request: Some(request("one and more")),
            warnings: vec!["w".to_owned()],
            took: Some(Duration::from_secs(3)),
            ..Outcome::default()
        };
        assert!(store.finish("a", &Ending::Done, outcome).unwrap());
        assert!(!finish(&store, "a", &Ending::Cancelled));
        let record = store.get("a").unwrap().unwrap();
        assert_eq!((record.state, record.finishes, record.memory_bytes), (JobState::Done, 1, 7));
        assert_eq!((record.warnings, record.request.caption.as_deref()), (vec!["w".to_owned()], Some("one and more")));
        let record = store.get("a").unwrap().unwrap();
        assert_eq!(store.picture(&record).unwrap().unwrap(), b"png");
        assert_eq!(store.mean_seconds().unwrap(), Some(3.0), "by a clock that nobody sets");
        assert!(store.cancel_queued("b").unwrap() && !store.start("b").unwrap());
    }

    #[test]
    fn what_was_running_is_queued_again_in_its_old_place() {
        let folder = tempfile::tempdir().unwrap();
        let store = Store::open(folder.path()).unwrap();
        let (a, b) = (id('a'), id('b'));
        put(&store, &a, "one");
        put(&store, &b, "two");
        store.start(&a).unwrap();
        store.put_picture(&a, b"a kill came before its end was written").unwrap();
        let pictures = folder.path().join("pictures");
        fs::write(pictures.join(format!("{b}.part")), b"half").unwrap();
        drop(store);
        let store = Store::open(folder.path()).unwrap();
        let next = store.next().unwrap().unwrap();
        assert_eq!((next.id.as_str(), next.attempts, next.started_ms), (a.as_str(), 1, None));
        assert_eq!(files(&pictures), [format!("{a}.png")], "painting it again writes over it");
        store.start(&a).unwrap();
        store.put_picture(&a, b"png").unwrap();
        assert!(finish(&store, &a, &Ending::Done));
        assert_eq!(store.picture(&store.get(&a).unwrap().unwrap()).unwrap().unwrap(), b"png");
    }

    #[test]
    fn a_start_deletes_nothing_that_others_wrote() {
        let folder = tempfile::tempdir().unwrap();
        let pictures = folder.path().join("pictures");
        fs::create_dir(&pictures).unwrap();
        let (ours, unknown) = (format!("{}.png", id('a')), format!("{}.png", id('b')));
        let half = format!("{}.part", id('c'));
        for name in ["wedding.jpg", "holiday.png", "notes.part", &unknown, &half] {
            fs::write(pictures.join(name), b"precious").unwrap();
        }
        // With a new record nothing is known of any job, so nothing is moved.
        let store = Store::open(folder.path()).unwrap();
        assert_eq!(files(&pictures), [&unknown, &half, "holiday.png", "notes.part", "wedding.jpg"].map(String::from));
        done(&store, &id('a'));
        drop(store);
        // Later, what no job names is set aside and not deleted.
        drop(Store::open(folder.path()).unwrap());
        assert_eq!(files(&pictures), [&ours, "holiday.png", "notes.part", "wedding.jpg"].map(String::from));
        assert_eq!(files(&folder.path().join("quarantine")), [unknown, half]);
    }

    #[test]
    fn a_picture_that_was_to_be_deleted_goes_at_the_next_start() {
        let folder = tempfile::tempdir().unwrap();
        let store = Store::open(folder.path()).unwrap();
        let (a, b) = (id('a'), id('b'));
        done(&store, &a);
        done(&store, &b);
        // A process that ended between a row and its picture.
        assert!(store.write(|writer| write_deletion(writer, &a, false)).unwrap());
        assert!(folder.path().join(format!("pictures/{a}.png")).exists());
        drop(store);
        let store = Store::open(folder.path()).unwrap();
        assert_eq!(files(&folder.path().join("pictures")), [format!("{b}.png")]);
        assert!(files(&folder.path().join("quarantine")).is_empty());
        let noted =
            store.read(|reader| reader.query_row("SELECT COUNT(*) FROM deleted", [], |row| row.get::<_, i64>(0)));
        assert_eq!(noted.unwrap(), 0);
        assert!(store.delete(&b).unwrap() && !store.delete(&b).unwrap());
        assert!(files(&folder.path().join("pictures")).is_empty());
    }

    #[cfg(unix)]
    #[test]
    fn links_are_not_followed() {
        use std::os::unix::fs::symlink;
        let (folder, outside) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        let target = outside.path().join("target.png");
        fs::write(&target, b"precious").unwrap();
        let store = Store::open(folder.path()).unwrap();
        let (a, b) = (id('a'), id('b'));
        done(&store, &a);
        let pictures = folder.path().join("pictures");
        fs::remove_file(pictures.join(format!("{a}.png"))).unwrap();
        for name in [format!("{a}.png"), format!("{b}.png"), format!("{b}.part")] {
            symlink(&target, pictures.join(name)).unwrap();
        }
        assert_eq!(store.picture(&store.get(&a).unwrap().unwrap()).unwrap(), None);
        assert!(store.delete(&a).unwrap());
        drop(store);
        let store = Store::open(folder.path()).unwrap();
        assert_eq!(files(&pictures).len(), 3, "links are left alone");
        // A picture takes the place of a link, and not of what it leads to.
        done(&store, &b);
        assert_eq!(store.picture(&store.get(&b).unwrap().unwrap()).unwrap().unwrap(), b.as_bytes());
        assert_eq!(fs::read(&target).unwrap(), b"precious");
        drop(store);
        // Nor are the folders themselves.
        fs::rename(&pictures, outside.path().join("pictures")).unwrap();
        symlink(outside.path().join("pictures"), &pictures).unwrap();
        assert!(matches!(Store::open(folder.path()), Err(Error::Link { path }) if path == pictures));
    }

    #[test]
    fn a_picture_that_somebody_took_away_is_missing_and_no_error() {
        let folder = tempfile::tempdir().unwrap();
        let store = Store::open(folder.path()).unwrap();
        done(&store, "a");
        fs::remove_file(folder.path().join("pictures/a.png")).unwrap();
        assert_eq!(store.picture(&store.get("a").unwrap().unwrap()).unwrap(), None);
        assert!(store.delete("a").unwrap());
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
            assert!(finish(&store, id, &Ending::Done));
        }
        store.start("running").unwrap();
        assert_eq!(store.prune(4).unwrap(), 0);
        assert_eq!(store.prune(2).unwrap(), 2);
        assert_eq!(ids(&store), ["queued", "running", "c", "waited-long"]);
        let pictures = folder.path().join("pictures");
        assert_eq!(files(&pictures), ["c.png", "waited-long.png"]);
        assert_eq!(store.prune(0).unwrap(), 2);
        assert_eq!(ids(&store), ["queued", "running"]);
    }

    #[test]
    fn what_ended_last_is_kept_whatever_the_clock_says() {
        let folder = tempfile::tempdir().unwrap();
        let store = Store::open(folder.path()).unwrap();
        for id in ["a", "b"] {
            done(&store, id);
        }
        // The clock is set back by ten days: what ended before ended in the future.
        store.write(|writer| writer.execute("UPDATE jobs SET finished = finished + 864000000", [])).unwrap();
        done(&store, "new");
        assert_eq!(store.prune(2).unwrap(), 1);
        assert_eq!(ids(&store), ["new", "b"]);
        // And of what ended in the same millisecond.
        store.write(|writer| writer.execute("UPDATE jobs SET finished = 7", [])).unwrap();
        done(&store, "newest");
        assert_eq!(store.prune(1).unwrap(), 2);
        assert_eq!(ids(&store), ["newest"]);
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

    /// A store with a finished job, closed, and what was made of it by `damage`.
    fn damaged(damage: impl FnOnce(&Path)) -> tempfile::TempDir {
        let folder = tempfile::tempdir().unwrap();
        done(&Store::open(folder.path()).unwrap(), &id('a'));
        damage(&folder.path().join("jobs.sqlite"));
        folder
    }

    fn garbage(record: &Path) {
        fs::write(record, b"this is no database, whatever it is called, and never was one").unwrap();
    }

    #[test]
    fn a_newer_record_and_a_damaged_one_are_told_apart() {
        let newer = damaged(|record| {
            Connection::open(record).unwrap().pragma_update(None, "user_version", 9).unwrap();
        });
        assert!(matches!(Store::open(newer.path()), Err(Error::RecordFormat { found: 9, .. })));
        // A newer record is not damaged: it is not set aside either.
        assert!(matches!(Store::recover(newer.path(), &|_| None, 10), Err(Error::RecordFormat { .. })));
        let middle = |record: &Path| {
            let mut bytes = fs::read(record).unwrap();
            bytes[4096..].fill(0xa5);
            fs::write(record, bytes).unwrap();
        };
        let table = |record: &Path| {
            Connection::open(record).unwrap().execute("DROP TABLE jobs", []).unwrap();
        };
        let column = |record: &Path| {
            Connection::open(record).unwrap().execute("ALTER TABLE jobs DROP COLUMN warnings", []).unwrap();
        };
        let lost = |record: &Path| {
            fs::remove_file(record).unwrap();
            fs::write(record.with_extension("sqlite-wal"), b"changes to what is lost").unwrap();
        };
        for damage in [garbage, middle, table, column, lost] {
            let folder = damaged(damage);
            let error = Store::open(folder.path()).unwrap_err();
            assert!(matches!(&error, Error::RecordDamaged { .. }), "{error:?}");
            assert!(error.to_string().contains("`sinopia serve --recover`"), "{error}");
            assert!(folder.path().join(format!("pictures/{}.png", id('a'))).exists(), "a picture is gone");
        }
    }

    #[test]
    fn recovering_sets_a_damaged_record_aside_and_makes_jobs_of_pictures() {
        let folder = damaged(garbage);
        let request_of =
            |png: &[u8]| (png == id('a').as_bytes() || png == b"b").then(|| request("read from the picture"));
        let pictures = folder.path().join("pictures");
        fs::write(pictures.join("holiday.png"), id('a')).unwrap();
        fs::write(pictures.join(format!("{}.png", id('c'))), b"of somebody else").unwrap();
        let store = Store::recover(folder.path(), &request_of, 10).unwrap();
        assert_eq!(ids(&store), [id('a')]);
        let record = store.get(&id('a')).unwrap().unwrap();
        assert_eq!((record.state, record.finishes), (JobState::Done, 1));
        assert_eq!(record.request.caption.as_deref(), Some("read from the picture"));
        assert_eq!(store.picture(&record).unwrap().unwrap(), id('a').as_bytes());
        assert_eq!(files(&pictures).len(), 3, "whatever became no job stays");
        drop(store);
        // A second damage writes over nothing.
        garbage(&folder.path().join("jobs.sqlite"));
        fs::write(folder.path().join(format!("quarantine/{}.png", id('b'))), b"b").unwrap();
        drop(Store::recover(folder.path(), &request_of, 10).unwrap());
        let aside: Vec<_> = files(folder.path()).into_iter().filter(|name| name.contains("damaged")).collect();
        assert_eq!(aside, ["jobs.sqlite.damaged", "jobs.sqlite.damaged-2"]);
        // A record that is whole stays where it is, and pictures that were set aside come back.
        let store = Store::recover(folder.path(), &request_of, 10).unwrap();
        assert_eq!(ids(&store).len(), 2);
        assert!(pictures.join(format!("{}.png", id('b'))).exists());
        assert_eq!(files(folder.path()).into_iter().filter(|name| name.contains("damaged")).count(), 2);
    }

    #[test]
    fn a_row_that_makes_no_sense_stops_nobody() {
        let folder = tempfile::tempdir().unwrap();
        let store = Store::open(folder.path()).unwrap();
        for id in ["a", "b"] {
            put(&store, id, id);
        }
        store.write(|writer| writer.execute("UPDATE jobs SET request = 'no json' WHERE id = 'a'", [])).unwrap();
        assert_eq!(ids(&store), ["b"]);
        assert_eq!(store.next().unwrap().unwrap().id, "b");
        let given_up = store.get("a").unwrap().unwrap();
        assert_eq!((given_up.state, given_up.request), (JobState::Failed, request("a")));
        assert!(store.delete("a").unwrap());
    }

    #[test]
    fn what_ends_while_nothing_can_be_written_is_remembered_and_written_later() {
        let folder = tempfile::tempdir().unwrap();
        let store = Store::open(folder.path()).unwrap();
        for id in ["old", "failing", "waiting"] {
            put(&store, id, id);
        }
        for id in ["old", "failing"] {
            store.start(id).unwrap();
        }
        store.put_picture("old", b"png").unwrap();
        assert!(finish(&store, "old", &Ending::Done));
        store.disk.pretend(true);
        assert!(store.check_room().unwrap_err().is_disk_full() && store.settle().is_err());
        let refused = store.enqueue(&[("no".to_owned(), request("no"), 0)], 100).unwrap_err();
        assert!(refused.is_disk_full(), "{refused:?}");
        let error = JobError { message: "disk full".to_owned(), hint: None };
        assert!(finish(&store, "failing", &Ending::Failed(error.clone())));
        assert!(!finish(&store, "failing", &Ending::Done), "it ended once");
        assert!(store.cancel_queued("waiting").unwrap() && !store.cancel_queued("waiting").unwrap());
        assert!(store.delete("old").unwrap() && !store.delete("old").unwrap());
        assert!(!folder.path().join("pictures/old.png").exists(), "deleting it makes room");
        let check = |store: &Store| {
            let failed = store.get("failing").unwrap().unwrap();
            assert_eq!((failed.state, failed.error, failed.finishes), (JobState::Failed, Some(error.clone()), 1));
            assert_eq!(store.get("waiting").unwrap().unwrap().state, JobState::Cancelled);
            assert_eq!(
                (store.get("old").unwrap(), ids(store)),
                (None, vec!["waiting".to_owned(), "failing".to_owned()])
            );
        };
        check(&store);
        assert!(store.is_behind());
        store.disk.pretend(false);
        store.settle().unwrap();
        assert!(!store.is_behind());
        check(&store);
        drop(store);
        let store = Store::open(folder.path()).unwrap();
        check(&store);
        assert!(store.next().unwrap().is_none());
        // What ended in memory only can be deleted too.
        put(&store, "last", "last");
        store.start("last").unwrap();
        store.disk.pretend(true);
        assert!(finish(&store, "last", &Ending::Cancelled) && store.delete("last").unwrap());
        store.disk.pretend(false);
        store.settle().unwrap();
        assert_eq!(store.get("last").unwrap(), None);
    }

    #[test]
    fn ids_are_long_and_differ() {
        let (a, b) = (new_id().unwrap(), new_id().unwrap());
        assert!(a != b && a.len() == 32 && a.bytes().all(|byte| byte.is_ascii_hexdigit()));
    }

    /// Pictures in a folder, named after the letters and written in their order.
    fn write_pictures(folder: &Path, letters: &str) {
        for (age, letter) in letters.chars().enumerate() {
            let path = folder.join(format!("pictures/{}.png", id(letter)));
            fs::write(&path, b"lost").unwrap();
            let modified = UNIX_EPOCH + Duration::from_secs(1_000_000 + age as u64);
            File::options().write(true).open(path).unwrap().set_modified(modified).unwrap();
        }
    }

    #[test]
    fn recovering_never_causes_a_picture_to_be_deleted() {
        let request_of = |_: &[u8]| Some(request("found"));
        let all = ["a", "b", "c", "d", "e"].map(|letter| format!("{}.png", letter.repeat(32)));
        // Two jobs are known, three pictures are lost, and three jobs are kept.
        let folder = tempfile::tempdir().unwrap();
        let store = Store::open(folder.path()).unwrap();
        done(&store, &id('a'));
        done(&store, &id('b'));
        drop(store);
        write_pictures(folder.path(), "cde");
        let store = Store::recover(folder.path(), &request_of, 3).unwrap();
        assert_eq!(store.prune(3).unwrap(), 0);
        assert_eq!(ids(&store), [id('b'), id('a'), id('e')], "the newest of the lost, behind those that are known");
        assert_eq!(files(&folder.path().join("pictures")), all, "the others stay where they are");
        done(&store, &id('f'));
        assert_eq!(store.prune(3).unwrap(), 1);
        assert_eq!(ids(&store), [id('f'), id('b'), id('a')], "what was found goes before what was known");
        // The record is lost, and there are more pictures than jobs are kept.
        let folder = tempfile::tempdir().unwrap();
        drop(Store::open(folder.path()).unwrap());
        garbage(&folder.path().join("jobs.sqlite"));
        for ending in ["-wal", "-shm"] {
            let _ = fs::remove_file(folder.path().join(format!("jobs.sqlite{ending}")));
        }
        write_pictures(folder.path(), "abcde");
        let store = Store::recover(folder.path(), &request_of, 2).unwrap();
        assert_eq!(store.prune(2).unwrap(), 0);
        assert_eq!(ids(&store), [id('e'), id('d')]);
        assert_eq!(files(&folder.path().join("pictures")), all);
        drop(store);
        // With more room the others come too, still in their order.
        let store = Store::recover(folder.path(), &request_of, 9).unwrap();
        assert_eq!(
            (store.prune(9).unwrap(), ids(&store)),
            (0, ["e", "d", "c", "b", "a"].map(|c| c.repeat(32)).to_vec())
        );
        put(&store, "next", "next");
        assert_eq!(ids(&store)[0], "next");
    }

    #[cfg(unix)]
    #[test]
    fn what_was_set_aside_takes_the_place_of_nothing() {
        let folder = tempfile::tempdir().unwrap();
        drop(Store::open(folder.path()).unwrap());
        let name = format!("{}.png", id('a'));
        let (aside, place) = (folder.path().join("quarantine").join(&name), folder.path().join("pictures").join(&name));
        fs::write(&aside, b"lost").unwrap();
        std::os::unix::fs::symlink("elsewhere", &place).unwrap();
        let store = Store::recover(folder.path(), &|_| Some(request("found")), 10).unwrap();
        assert!(fs::symlink_metadata(&place).unwrap().is_symlink() && aside.exists() && ids(&store).is_empty());
    }

    #[test]
    fn the_picture_of_a_job_that_failed_stays_and_goes_with_it() {
        let folder = tempfile::tempdir().unwrap();
        let store = Store::open(folder.path()).unwrap();
        let a = id('a');
        put(&store, &a, "one");
        store.start(&a).unwrap();
        store.put_picture(&a, b"png").unwrap();
        assert!(finish(&store, &a, &Ending::Cancelled));
        drop(store);
        let store = Store::open(folder.path()).unwrap();
        let pictures = folder.path().join("pictures");
        assert_eq!(files(&pictures), [format!("{a}.png")]);
        assert!(store.delete(&a).unwrap() && files(&pictures).is_empty());
    }

    #[test]
    fn a_picture_that_does_not_fit_keeps_the_next_job_waiting() {
        let folder = tempfile::tempdir().unwrap();
        let store = Store::open(folder.path()).unwrap();
        let png = vec![7; 500_000];
        store.disk.pretend_room(Some(200_000));
        store.check_room().unwrap();
        assert!(store.put_picture("a", &png).unwrap_err().is_disk_full());
        assert!(store.check_room().unwrap_err().is_disk_full());
        store.disk.pretend_room(None);
        store.check_room().unwrap();
        store.put_picture("a", &png).unwrap();
    }

    #[test]
    fn what_changes_while_it_is_written_down_is_not_forgotten() {
        let folder = tempfile::tempdir().unwrap();
        let store = Store::open(folder.path()).unwrap();
        put(&store, "a", "one");
        put(&store, "b", "two");
        store.start("a").unwrap();
        store.disk.pretend(true);
        assert!(finish(&store, "a", &Ending::Cancelled));
        let ended = store.unwritten().get("a").cloned().unwrap();
        assert!(store.delete("a").unwrap());
        // A cancel that is only remembered holds too.
        assert!(store.cancel_queued("b").unwrap());
        store.disk.pretend(false);
        assert!(!store.start("b").unwrap());
        store.settle_one("a", &ended).unwrap();
        assert!(store.is_behind() && store.get("a").unwrap().is_none());
        store.settle().unwrap();
        assert_eq!(store.state("a").unwrap(), None);
        assert_eq!(store.state("b").unwrap(), Some(JobState::Cancelled));
    }

    #[test]
    fn lists_are_of_what_is_so_and_not_of_what_is_written() {
        let folder = tempfile::tempdir().unwrap();
        let store = Store::open(folder.path()).unwrap();
        for id in ["a", "b", "c", "d"] {
            put(&store, id, id);
        }
        store.disk.pretend(true);
        for id in ["b", "d"] {
            assert!(store.cancel_queued(id).unwrap());
        }
        let listed = |state, limit| -> Vec<String> {
            let selection = JobSelection { state: Some(state), ..JobSelection::default() };
            store.list(&selection, None, limit).unwrap().into_iter().map(|record| record.id).collect()
        };
        assert_eq!(listed(JobState::Cancelled, 10), ["d", "b"]);
        assert_eq!(listed(JobState::Queued, 10), ["c", "a"]);
        assert_eq!(listed(JobState::Queued, 1), ["c"], "a page is full if there are enough");
    }

    #[test]
    fn only_a_write_that_failed_may_mean_a_quota() {
        let failed = |code| rusqlite::Error::SqliteFailure(rusqlite::ffi::Error::new(code), None);
        let folder = tempfile::tempdir().unwrap();
        let store = Store::open(folder.path()).unwrap();
        let is_full = |code| store.write(|_| Err::<(), _>(failed(code))).unwrap_err().is_disk_full();
        assert!(!is_full(rusqlite::ffi::SQLITE_IOERR_WRITE), "there is room: it is something else");
        store.disk.pretend_room(Some(1));
        assert!(is_full(rusqlite::ffi::SQLITE_IOERR_WRITE) && !is_full(rusqlite::ffi::SQLITE_IOERR_READ));
    }

    #[test]
    fn a_damaged_record_of_an_older_format_is_left_as_it_was_found() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("jobs.sqlite");
        let old = Connection::open(&path).unwrap();
        old.execute_batch(format::FORMAT_1).unwrap();
        let insert =
            "INSERT INTO jobs (id, state, caption, request, memory, created) VALUES ('a', 'done', '', '{}', 0, 0)";
        old.execute(insert, []).unwrap();
        old.pragma_update(None, "user_version", 1).unwrap();
        let sql = "SELECT rootpage FROM sqlite_master WHERE name = 'jobs_by_state'";
        let page: usize = old.query_row(sql, [], |row| row.get(0)).unwrap();
        drop(old);
        let mut bytes = fs::read(&path).unwrap();
        bytes[(page - 1) * 4096..page * 4096].fill(0xa5);
        fs::write(&path, bytes).unwrap();
        assert!(matches!(Store::open(folder.path()), Err(Error::RecordDamaged { .. })));
        let found = Connection::open(&path).unwrap();
        let version: i64 = found.query_row("PRAGMA user_version", [], |row| row.get(0)).unwrap();
        assert_eq!(version, 1);
    }
}
