//! The record of jobs in SQLite.

use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use rusqlite::{Connection, OptionalExtension, TransactionBehavior, params};

use super::disk::Disk;
use super::folder::Folder;
use super::format;
use super::rows::{self, COLUMNS, LAST, RawRow, Uploads};
use super::text::json;
use super::unwritten::{Change, End, Standing, Unwritten};
use crate::error::{Error, Result};
use crate::store::jobs::{Claim, JobStore, UploadRoom};
use crate::store::record::{Ending, MAX_ATTEMPTS, NewJob, Outcome, Record, now_ms};
use crate::wire::{Decision, JobError, JobRequest, JobSelection, JobState, Verdict};

/// Jobs in the file `jobs.sqlite` of a folder, a row each.
#[derive(Debug)]
pub struct SqliteJobs {
    path: PathBuf,
    /// It belongs to this process as long as there are jobs in it.
    folder: Arc<Folder>,
    writer: Mutex<Connection>,
    /// Connections that nobody reads with now. Readers wait neither for each other nor for a write's flush.
    readers: Mutex<Vec<Connection>>,
    unwritten: Unwritten,
}

impl SqliteJobs {
    /// Opens the record of a folder, makes it if there is none, and queues again what was being painted when its last process ended. Pictures may be kept
    /// elsewhere; those in the folder are left alone.
    ///
    /// # Errors
    /// [`Error::Folder`], [`Error::DiskFull`], [`Error::Store`], [`Error::RecordFormat`], [`Error::RecordDamaged`].
    pub fn open(folder: Arc<Folder>) -> Result<Self> {
        let format::Opened { writer, is_new: _ } = format::open_in(&folder, false)?;
        let jobs = Self::new(folder, writer);
        jobs.resume()?;
        let _ = jobs.disk().check(); // says itself if the disk is full
        Ok(jobs)
    }

    /// The record of a folder, which `writer` is open on.
    pub(super) fn new(folder: Arc<Folder>, writer: Connection) -> Self {
        let (writer, readers) = (Mutex::new(writer), Mutex::default());
        Self { path: folder.record(), folder, writer, readers, unwritten: Unwritten::default() }
    }

    fn disk(&self) -> &Disk {
        self.folder.disk()
    }

    /// Queues interrupted jobs again, and gives those up that were begun too often.
    pub(super) fn resume(&self) -> Result<()> {
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

    /// How many jobs have ended.
    pub(super) fn count_ended(&self) -> Result<usize> {
        let sql = "SELECT COUNT(*) FROM jobs WHERE finished IS NOT NULL";
        let count = self.read(|reader| reader.query_row(sql, [], |row| row.get::<_, i64>(0)))?;
        Ok(usize::try_from(count).unwrap_or_default())
    }

    /// Adds a job that is done, whose picture was found: before all jobs that are known.
    pub(super) fn adopt(&self, id: &str, request: &JobRequest, written_ms: i64) -> Result<()> {
        const ADOPT: &str =
            "INSERT INTO jobs (seq, id, state, caption, request, memory, created, finished, ended, finishes)
             VALUES ((SELECT COALESCE(MIN(seq), 1) - 1 FROM jobs), ?1, 'done', ?2, ?3, 0, ?4, ?4,
                     (SELECT COALESCE(MIN(ended), 1) - 1 FROM jobs WHERE finished IS NOT NULL), 1)";
        let caption = request.caption.as_deref().unwrap_or_default();
        self.write(|writer| writer.execute(ADOPT, params![id, caption, json(request), written_ms])).map(drop)
    }

    /// Whether there is a row of a job or an upload.
    pub(super) fn is_known(&self, id: &str) -> Result<bool> {
        Ok(self.written_state(id)?.is_some() || self.is_upload(id)?)
    }

    /// The state of a job as it is written, and how often it was begun.
    fn written_state(&self, id: &str) -> Result<Option<(JobState, u32)>> {
        let found = self.read(|reader| {
            let mut statement = reader.prepare_cached("SELECT state, attempts FROM jobs WHERE id = ?1")?;
            statement.query_row([id], |row| Ok((row.get::<_, String>(0)?, row.get(1)?))).optional()
        })?;
        // A row that makes no sense is a row all the same.
        Ok(found.map(|(name, attempts)| (rows::state(&name).unwrap_or(JobState::Failed), attempts)))
    }

    /// The job whose turn it is. One whose row makes no sense is given up.
    fn next(&self) -> Result<Option<Record>> {
        loop {
            let unwritten = self.unwritten.ids();
            let row = self.read(|reader| {
                let sql = format!(
                    "SELECT {COLUMNS} FROM jobs WHERE state = 'queued' AND id NOT IN (SELECT value FROM json_each(?1))
                     ORDER BY seq LIMIT 1"
                );
                reader.query_row(&sql, [unwritten], RawRow::read).optional()
            })?;
            let Some(row) = row else { return Ok(None) };
            let id = row.id.clone();
            match row.parse() {
                Ok(record) => return Ok(Some(record)),
                Err(error) => {
                    tracing::error!(job = id, error = error.with_causes(), "gave a job up");
                    self.give_up(&id)?;
                }
            }
        }
    }

    /// Fails a job whose row makes no sense.
    fn give_up(&self, id: &str) -> Result<()> {
        let error = JobError { message: "the record of this job is damaged".to_owned(), hint: None };
        let sql = format!(
            "UPDATE jobs SET state = 'failed', request = json_object('caption', caption), finished = ?2, ended = {LAST},
                 finishes = finishes + 1, error = ?3
             WHERE id = ?1"
        );
        self.write(|writer| writer.execute(&sql, params![id, now_ms(), json(&error)])).map(drop)
    }

    /// Says that a queued job is being painted; nothing if it is not queued any more.
    fn start(&self, record: Record) -> Result<Option<Claim>> {
        let sql = "UPDATE jobs SET state = 'running', started = ?2, attempts = attempts + 1 WHERE id = ?1 AND state = 'queued'";
        // Held, so that no end is remembered between the look and the change.
        let unwritten = self.unwritten.lock();
        if unwritten.contains_key(&record.id) {
            return Ok(None);
        }
        let started_ms = now_ms();
        let is_started = self.write(|writer| writer.execute(sql, params![record.id, started_ms]))? == 1;
        let (state, attempts) = (JobState::Running, record.attempts + 1);
        Ok(is_started.then(|| Claim::new(Record { state, started_ms: Some(started_ms), attempts, ..record })))
    }

    /// Writes down how a job ended, or remembers it. False if it was not in the state that this ends.
    fn end(&self, id: &str, end: End) -> Result<bool> {
        match self.write_surely(|writer| rows::write_end(writer, id, &end)) {
            Ok(is_written) => Ok(is_written),
            Err(error) => {
                let mut unwritten = self.unwritten.lock();
                let of_it = |(state, attempts)| {
                    state == end.of.state() && end.of.attempts().is_none_or(|expected| expected == attempts)
                };
                let is_due = !unwritten.contains_key(id) && self.written_state(id)?.is_some_and(of_it);
                if is_due {
                    tracing::error!(
                        job = id,
                        error = error.with_causes(),
                        "remembered how a job ended: it cannot be written down now"
                    );
                    unwritten.insert(id.to_owned(), Change::Ended(Box::new(end)));
                }
                Ok(is_due)
            }
        }
    }

    /// Writes down one change that was remembered.
    pub(super) fn settle_one(&self, id: &str, change: &Change) -> Result<()> {
        self.write(|writer| match change {
            Change::Ended(end) => rows::write_end(writer, id, end),
            Change::Deleted => rows::write_deletion(writer, id, true),
        })?;
        let mut unwritten = self.unwritten.lock();
        // It may have been deleted since: that is still to be written.
        if unwritten.get(id) == Some(change) {
            unwritten.remove(id);
        }
        Ok(())
    }

    /// A row, unless it makes no sense.
    fn readable(&self, row: RawRow) -> Option<Record> {
        let record = row.parse();
        record.inspect_err(|error| tracing::warn!(error = error.with_causes(), "left a job out")).ok()
    }

    /// Changes one row; false if there is none such.
    fn change(&self, sql: &str, values: impl rusqlite::Params) -> Result<bool> {
        Ok(self.write(|writer| writer.execute(sql, values))? == 1)
    }

    pub(super) fn read<T>(&self, read: impl FnOnce(&Connection) -> rusqlite::Result<T>) -> Result<T> {
        let idle = self.readers.lock().unwrap_or_else(PoisonError::into_inner).pop();
        let reader = match idle {
            Some(reader) => reader,
            None => format::connect(&self.path)?,
        };
        let result = read(&reader);
        self.readers.lock().unwrap_or_else(PoisonError::into_inner).push(reader);
        self.checked(result)
    }

    pub(super) fn write<T>(&self, write: impl FnOnce(&mut Connection) -> rusqlite::Result<T>) -> Result<T> {
        #[cfg(test)]
        if self.disk().pretends() {
            return self.checked(Err(full_disk()));
        }
        let written = write(&mut self.writer());
        match self.checked(written) {
            Err(error) if format::is_failed_write(&error) && self.disk().is_without_room() => {
                Err(Error::store_full(format::what(&self.path), "the disk is full"))
            }
            written => written,
        }
    }

    /// Writes what has to be written on a full disk too.
    fn write_surely<T>(&self, write: impl Fn(&mut Connection) -> rusqlite::Result<T>) -> Result<T> {
        match self.write(&write) {
            Err(error) if error.is_disk_full() => {
                self.disk().release();
                self.write(&write)
            }
            written => written,
        }
    }

    fn writer(&self) -> MutexGuard<'_, Connection> {
        self.writer.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn checked<T>(&self, result: rusqlite::Result<T>) -> Result<T> {
        result.map_err(|source| format::unusable(&self.path, source))
    }

    #[cfg(test)]
    pub(super) fn unwritten(&self) -> &Unwritten {
        &self.unwritten
    }
}

impl JobStore for SqliteJobs {
    fn enqueue(&self, jobs: &[NewJob], max_queued: usize) -> Result<bool> {
        // What could not be written yet waits no more, and takes nobody's place.
        let unwritten = self.unwritten.ids();
        self.write(|writer| {
            let transaction = writer.transaction_with_behavior(TransactionBehavior::Immediate)?;
            let mut added = 0;
            for NewJob { id, request, memory_bytes } in jobs {
                let caption = request.caption.as_deref().unwrap_or_default();
                added += transaction.execute(
                    "INSERT INTO jobs (id, state, caption, request, memory, created) VALUES (?1, 'queued', ?2, ?3, ?4, ?5)
                     ON CONFLICT (id) DO NOTHING",
                    params![id, caption, json(request), *memory_bytes as i64, now_ms()],
                )?;
            }
            if added > 0 && rows::count(&transaction, JobState::Queued, i64::MAX, &unwritten)? > max_queued as u64 {
                transaction.rollback()?;
                return Ok(false);
            }
            transaction.commit()?;
            Ok(true)
        })
    }

    fn claim(&self, may_begin: &mut dyn FnMut(&Record) -> Result<bool>) -> Result<Option<Claim>> {
        while let Some(record) = self.next()? {
            if !may_begin(&record)? {
                return Ok(None);
            }
            if let Some(claim) = self.start(record)? {
                return Ok(Some(claim));
            }
            // It was cancelled or given out since the look: it is the turn of another.
        }
        Ok(None)
    }

    fn put_back(&self, claim: Claim) -> Result<bool> {
        let sql = "UPDATE jobs SET state = 'queued', started = NULL, attempts = attempts - 1
                   WHERE id = ?1 AND state = 'running' AND attempts = ?2";
        self.write_surely(|writer| Ok(writer.execute(sql, params![claim.id(), claim.record().attempts])? == 1))
    }

    fn holds(&self, claim: &Claim) -> Result<bool> {
        // What is remembered of a running job is that it ended, or was deleted after that.
        let is_remembered = self.unwritten.lock().contains_key(claim.id());
        let held = Some((JobState::Running, claim.record().attempts));
        Ok(!is_remembered && self.written_state(claim.id())? == held)
    }

    fn update_request(&self, claim: &Claim, request: &JobRequest) -> Result<bool> {
        let sql = "UPDATE jobs SET request = ?3 WHERE id = ?1 AND state = 'running' AND attempts = ?2";
        self.change(sql, params![claim.id(), claim.record().attempts, json(request)])
    }

    fn finish(&self, claim: Claim, ending: &Ending, outcome: Outcome) -> Result<bool> {
        let of = Standing::Running { attempts: claim.record().attempts };
        self.end(claim.id(), End { of, ending: ending.clone(), outcome, finished_ms: now_ms() })
    }

    fn cancel_queued(&self, id: &str) -> Result<bool> {
        let (of, ending, outcome) = (Standing::Queued, Ending::Cancelled, Outcome::default());
        self.end(id, End { of, ending, outcome, finished_ms: now_ms() })
    }

    fn set_verdict(&self, id: &str, verdict: &Verdict) -> Result<()> {
        // What was said of the findings of another verdict is not said of these.
        self.change("UPDATE jobs SET verdict = ?2, decisions = '[]' WHERE id = ?1", params![id, json(verdict)])
            .map(drop)
    }

    fn decide(&self, id: &str, decision: Decision) -> Result<bool> {
        self.write(|writer| {
            let transaction = writer.transaction_with_behavior(TransactionBehavior::Immediate)?;
            let kept = transaction.query_row("SELECT decisions FROM jobs WHERE id = ?1", [id], |row| row.get(0));
            let Some(kept) = kept.optional()?.map(|text: String| text) else { return Ok(false) };
            let mut decisions: Vec<Decision> = serde_json::from_str(&kept).unwrap_or_default();
            decision.add_to(&mut decisions);
            decisions.truncate(Decision::MAX);
            transaction.execute("UPDATE jobs SET decisions = ?2 WHERE id = ?1", params![id, json(&decisions)])?;
            transaction.commit()?;
            Ok(true)
        })
    }

    fn add_upload(&self, id: &str, bytes: u64, room: UploadRoom) -> Result<bool> {
        let sql = "INSERT INTO uploads (id, created, bytes) SELECT ?1, ?2, ?3
             WHERE (SELECT COUNT(*) < ?4 AND COALESCE(SUM(bytes), 0) + ?3 <= ?5 FROM uploads)";
        let [bytes, max_bytes] = [bytes, room.bytes].map(|bytes| i64::try_from(bytes).unwrap_or(i64::MAX));
        self.change(sql, params![id, now_ms(), bytes, room.count as i64, max_bytes])
    }

    fn is_upload(&self, id: &str) -> Result<bool> {
        self.read(|reader| reader.prepare_cached("SELECT 1 FROM uploads WHERE id = ?1")?.exists([id]))
    }

    fn delete_upload(&self, id: &str) -> Result<bool> {
        Ok(self.write_surely(|writer| rows::write_upload_deletion(writer, Uploads::Named(id)))? == 1)
    }

    fn sweep_uploads(&self, age: Duration) -> Result<usize> {
        let until_ms = now_ms().saturating_sub(i64::try_from(age.as_millis()).unwrap_or(i64::MAX));
        self.write_surely(|writer| rows::write_upload_deletion(writer, Uploads::Until(until_ms)))
    }

    fn delete(&self, id: &str) -> Result<bool> {
        let has_ended = match self.unwritten.lock().get(id) {
            Some(Change::Deleted) => return Ok(false),
            Some(Change::Ended(_)) => true,
            None => false,
        };
        match self.write_surely(|writer| rows::write_deletion(writer, id, has_ended)) {
            Ok(is_deleted) => {
                if is_deleted {
                    self.unwritten.lock().remove(id);
                }
                Ok(is_deleted)
            }
            Err(error) if error.is_disk_full() => {
                let written = self.written_state(id)?;
                let is_free = written.is_some_and(|(state, _)| state != JobState::Running || has_ended);
                let is_there = is_free && !self.read(|reader| rows::is_begun_with(reader, id))?;
                if is_there {
                    self.unwritten.lock().insert(id.to_owned(), Change::Deleted);
                }
                Ok(is_there)
            }
            Err(error) => Err(error),
        }
    }

    fn prune(&self, keep: usize) -> Result<usize> {
        self.write_surely(|writer| rows::write_pruning(writer, keep))
    }

    fn deleted(&self) -> Result<Vec<String>> {
        self.read(|reader| {
            let mut statement = reader.prepare_cached("SELECT id FROM deleted")?;
            statement.query_map([], |row| row.get(0))?.collect()
        })
    }

    fn forget_deleted(&self, ids: &[String]) -> Result<()> {
        self.write(|writer| {
            let transaction = writer.transaction_with_behavior(TransactionBehavior::Immediate)?;
            for id in ids {
                transaction.execute("DELETE FROM deleted WHERE id = ?1", [id])?;
            }
            transaction.commit()
        })
    }

    fn get(&self, id: &str) -> Result<Option<Record>> {
        let row = self.read(|reader| {
            let sql = format!("SELECT {COLUMNS} FROM jobs WHERE id = ?1");
            reader.query_row(&sql, [id], RawRow::read).optional()
        })?;
        let record = row.map(|row| row.parse()).transpose()?;
        Ok(record.and_then(|record| self.unwritten.applied_to(record)))
    }

    fn list(&self, selection: &JobSelection, before: Option<i64>, limit: u32) -> Result<Vec<Record>> {
        let words = selection.q.as_deref().map(|q| format!("%{}%", escaped(q)));
        let state = selection.state;
        // What could not be written of a job counts too, so that its written state does not decide.
        let unwritten = self.unwritten.ids();
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
                statement.query_map(values, RawRow::read)?.collect::<rusqlite::Result<Vec<_>>>()
            })?;
            let last = rows.last().map(|row| row.seq).filter(|_| rows.len() == limit as usize);
            let shown = rows.into_iter().filter_map(|row| self.unwritten.applied_to(self.readable(row)?));
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

    fn queued_before(&self, seq: i64) -> Result<u64> {
        let unwritten = self.unwritten.ids();
        self.read(|reader| rows::count(reader, JobState::Queued, seq, &unwritten))
    }

    fn count(&self, state: JobState) -> Result<u64> {
        let (unwritten, remembered) = self.unwritten.ids_and_count(state);
        let written = self.read(|reader| rows::count(reader, state, i64::MAX, &unwritten))?;
        Ok(written + remembered)
    }

    fn mean_seconds(&self) -> Result<Option<f64>> {
        let sql =
            "SELECT AVG(took) / 1000.0 FROM (SELECT took FROM jobs WHERE took IS NOT NULL ORDER BY seq DESC LIMIT 20)";
        self.read(|reader| reader.query_row(sql, [], |row| row.get(0)))
    }

    fn is_alive(&self) -> Result<()> {
        self.read(|reader| reader.query_row("SELECT 1", [], |row| row.get::<_, i64>(0))).map(drop)
    }

    fn is_behind(&self) -> bool {
        !self.unwritten.lock().is_empty()
    }

    fn settle(&self) -> Result<()> {
        let waiting: Vec<_> = self.unwritten.lock().iter().map(|(id, what)| (id.clone(), what.clone())).collect();
        waiting.iter().try_for_each(|(id, change)| self.settle_one(id, change))
    }
}

/// What SQLite says of a full disk.
#[cfg(test)]
fn full_disk() -> rusqlite::Error {
    rusqlite::Error::SqliteFailure(rusqlite::ffi::Error::new(rusqlite::ffi::SQLITE_FULL), None)
}

/// Text in which nothing stands for anything else to `LIKE`.
fn escaped(text: &str) -> String {
    text.replace('\\', "\\\\").replace('%', "\\%").replace('_', "\\_")
}
