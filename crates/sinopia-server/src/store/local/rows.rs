//! Rows of the record: what is in them, and how they are changed.

use rusqlite::{Connection, Row, TransactionBehavior, params};

use super::text::json;
use super::unwritten::End;
use crate::error::{Error, Result};
use crate::store::record::{Ending, Outcome, Record};
use crate::wire::JobState;

/// The columns of a [`RawRow`], in its order.
pub(super) const COLUMNS: &str = "seq, id, state, request, memory, created, started, finished, attempts, error, verdict, warnings, finishes, tried, decisions";

/// The place behind all jobs that have ended.
pub(super) const LAST: &str = "(SELECT COALESCE(MAX(ended), 0) + 1 FROM jobs WHERE finished IS NOT NULL)";

/// A row as it is stored.
pub(super) struct RawRow {
    pub(super) seq: i64,
    pub(super) id: String,
    state: String,
    request: String,
    memory: i64,
    created: i64,
    started: Option<i64>,
    finished: Option<i64>,
    attempts: u32,
    error: Option<String>,
    verdict: Option<String>,
    warnings: String,
    finishes: u32,
    tried: String,
    decisions: String,
}

impl RawRow {
    /// Reads [`COLUMNS`].
    pub(super) fn read(row: &Row<'_>) -> rusqlite::Result<Self> {
        Ok(Self {
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
            tried: row.get(13)?,
            decisions: row.get(14)?,
        })
    }

    /// What the row says.
    ///
    /// # Errors
    /// [`Error::RecordRow`] if it makes no sense.
    pub(super) fn parse(self) -> Result<Record> {
        let broken = |what: String| Error::RecordRow { id: self.id.clone(), what };
        Ok(Record {
            state: state(&self.state).ok_or_else(|| broken("no known state".to_owned()))?,
            request: serde_json::from_str(&self.request).map_err(|error| broken(format!("no request: {error}")))?,
            error: self.error.as_deref().and_then(|text| serde_json::from_str(text).ok()),
            verdict: self.verdict.as_deref().and_then(|text| serde_json::from_str(text).ok()),
            tried: serde_json::from_str(&self.tried).unwrap_or_default(),
            decisions: serde_json::from_str(&self.decisions).unwrap_or_default(),
            warnings: serde_json::from_str(&self.warnings).unwrap_or_default(),
            seq: self.seq,
            memory_bytes: self.memory as u64,
            created_ms: self.created,
            started_ms: self.started,
            finished_ms: self.finished,
            attempts: self.attempts,
            finishes: self.finishes,
            id: self.id,
        })
    }
}

/// The state of a name.
pub(super) fn state(name: &str) -> Option<JobState> {
    JobState::ALL.into_iter().find(|state| state.as_str() == name)
}

/// How many jobs before the place `before` are written to be in a state, but for those in `except`, a list of JSON.
pub(super) fn count(connection: &Connection, state: JobState, before: i64, except: &str) -> rusqlite::Result<u64> {
    let sql = "SELECT COUNT(*) FROM jobs WHERE state = ?1 AND seq < ?2 AND id NOT IN (SELECT value FROM json_each(?3))";
    let values = params![state.as_str(), before, except];
    connection.prepare_cached(sql)?.query_row(values, |row| row.get::<_, i64>(0)).map(|count| count as u64)
}

/// Writes how a job ended. False if it was not in the state that this ends.
pub(super) fn write_end(writer: &Connection, id: &str, end: &End) -> rusqlite::Result<bool> {
    let End { of, ending, outcome: Outcome { request, verdict, tried, warnings, took }, finished_ms } = end;
    let error = match ending {
        Ending::Failed(error) => Some(json(error)),
        Ending::Done | Ending::Cancelled => None,
    };
    let took = took.filter(|_| *ending == Ending::Done).map(|took| took.as_millis() as i64);
    let sql = format!(
        "UPDATE jobs SET state = ?3, finished = ?4, ended = {LAST}, took = ?5, finishes = finishes + 1, error = ?6, verdict = ?7, warnings = ?8,
             request = COALESCE(?9, request), tried = ?11
         WHERE id = ?1 AND state = ?2 AND (?10 IS NULL OR attempts = ?10)"
    );
    let (verdict, request) = (verdict.as_ref().map(json), request.as_ref().map(json));
    let (from, to, warnings) = (of.state().as_str(), ending.state().as_str(), json(warnings));
    let values =
        params![id, from, to, finished_ms, took, error, verdict, warnings, request, of.attempts(), json(tried)];
    Ok(writer.prepare_cached(&sql)?.execute(values)? == 1)
}

/// Deletes the row of a job that is not running, or `has_ended` although its row does not say so, and notes that its picture has to follow. False if there is none,
/// or another that has not ended begins with its picture.
pub(super) fn write_deletion(writer: &mut Connection, id: &str, has_ended: bool) -> rusqlite::Result<bool> {
    let transaction = writer.transaction_with_behavior(TransactionBehavior::Immediate)?;
    let sql = format!("DELETE FROM jobs WHERE id = ?1 AND (state <> 'running' OR ?2) AND id NOT IN ({BEGUN_WITH})");
    let is_deleted = transaction.execute(&sql, params![id, has_ended])? == 1;
    if is_deleted {
        transaction.execute("INSERT OR IGNORE INTO deleted (id) VALUES (?1)", [id])?;
    }
    transaction.commit()?;
    Ok(is_deleted)
}

/// The names of pictures that jobs begin with which have not ended: `init`, its mask, `edit`. A row that makes no sense begins with none.
const BEGUN_WITH: &str = "
    SELECT named.value FROM jobs AS waiting, json_each(json_array(
        json_extract(waiting.request, '$.init.image'), json_extract(waiting.request, '$.init.mask'),
        json_extract(waiting.request, '$.edit.job'))) AS named
    WHERE waiting.state IN ('queued', 'running') AND json_valid(waiting.request) AND named.value IS NOT NULL";

/// Whether a job that has not ended begins with a picture.
pub(super) fn is_begun_with(reader: &Connection, id: &str) -> rusqlite::Result<bool> {
    reader.query_row(&format!("SELECT ?1 IN ({BEGUN_WITH})"), [id], |row| row.get(0))
}

/// Deletes the rows of uploads that no job begins with which has not ended: the one of that name, or those that were sent up to a time. Returns how many.
pub(super) fn write_upload_deletion(writer: &mut Connection, which: Uploads<'_>) -> rusqlite::Result<usize> {
    let (id, until_ms) = match which {
        Uploads::Named(id) => (Some(id), None),
        Uploads::Until(ms) => (None, Some(ms)),
    };
    let transaction = writer.transaction_with_behavior(TransactionBehavior::Immediate)?;
    let which = format!("(id = ?1 OR created <= ?2) AND id NOT IN ({BEGUN_WITH})");
    let noted = format!("INSERT OR IGNORE INTO deleted (id) SELECT id FROM uploads WHERE {which}");
    transaction.execute(&noted, params![id, until_ms])?;
    let count = transaction.execute(&format!("DELETE FROM uploads WHERE {which}"), params![id, until_ms])?;
    transaction.commit()?;
    Ok(count)
}

/// Which uploads.
#[derive(Debug, Clone, Copy)]
pub(super) enum Uploads<'a> {
    Named(&'a str),
    /// Those that were sent up to a time, in milliseconds since 1970.
    Until(i64),
}

/// Deletes the rows of all jobs that have ended but the `keep` that ended last and those that others begin with, and notes that their pictures have to follow. Returns how many.
pub(super) fn write_pruning(writer: &mut Connection, keep: usize) -> rusqlite::Result<usize> {
    const OLD: &str = "SELECT id FROM jobs WHERE finished IS NOT NULL ORDER BY ended DESC, seq DESC LIMIT -1 OFFSET ?1";
    let unused = format!("SELECT id FROM ({OLD}) WHERE id NOT IN ({BEGUN_WITH})");
    let transaction = writer.transaction_with_behavior(TransactionBehavior::Immediate)?;
    let ids = {
        let mut statement = transaction.prepare_cached(&unused)?;
        statement.query_map([keep as i64], |row| row.get(0))?.collect::<rusqlite::Result<Vec<String>>>()?
    };
    for id in &ids {
        transaction.execute("INSERT OR IGNORE INTO deleted (id) VALUES (?1)", [id])?;
        transaction.execute("DELETE FROM jobs WHERE id = ?1", [id])?;
    }
    transaction.commit()?;
    Ok(ids.len())
}
