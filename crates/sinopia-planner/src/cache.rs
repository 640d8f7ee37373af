//! Good answers, remembered: a SQLite file that several processes may use at once.
//!
//! Every row is an answer that passed the checks, under everything that has an influence on it. The first writer of a row wins, so
//! that all processes that ask for the same thing go on with the same layout.

use std::collections::BTreeMap;
use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, SystemTime};

use rusqlite::{Connection, ErrorCode, OptionalExtension, Row, params};
use serde::Serialize;
use serde_json::Value;
use sinopia_english::READER_VERSION;
use sinopia_layout::{Canvas, parse_answer_on, write_answer};

use crate::error::{Error, Result};
use crate::provider::Usage;

/// Version of the tables, kept in the file's `user_version`.
const FORMAT: i64 = 1;

/// Where in a key's settings the version of the reader stands that judged the answer.
pub(crate) const READER: &str = "reader";

/// The name of the hash of the layout that was to be changed, in the settings of a key.
pub(crate) const EDITED: &str = "edited";

/// How long a process waits for another one's write.
const BUSY_TIMEOUT: Duration = Duration::from_secs(20);

/// How often switching to the write-ahead log is tried while others do the same.
const WAL_ATTEMPTS: u32 = 200;

const TABLES: &str = "
CREATE TABLE IF NOT EXISTS plan (
    provider TEXT NOT NULL,
    model TEXT NOT NULL,
    template TEXT NOT NULL,
    settings TEXT NOT NULL,
    caption TEXT NOT NULL,
    occurrence INTEGER NOT NULL,
    answer TEXT NOT NULL,
    width INTEGER NOT NULL,
    height INTEGER NOT NULL,
    requests INTEGER NOT NULL,
    prompt_tokens INTEGER NOT NULL,
    completion_tokens INTEGER NOT NULL,
    created INTEGER NOT NULL,
    PRIMARY KEY (provider, model, template, settings, caption, occurrence)
) WITHOUT ROWID;
PRAGMA user_version = 1;
";

/// Everything that decides what an answer is.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize)]
pub struct Key {
    /// Kind of provider and its address.
    pub provider: String,
    /// The model.
    pub model: String,
    /// Hash of the prompt template.
    pub template: String,
    /// Sampling, canvas, the version of the reader that answers were judged by and the like, as JSON.
    pub settings: String,
    /// The caption, or the instruction of an edit.
    pub caption: String,
    /// Which of several answers for the same caption, counted from 0.
    pub occurrence: usize,
}

/// A remembered answer.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Entry {
    /// The model's answer as it was.
    pub answer: String,
    /// The canvas it was asked for on.
    #[serde(skip)]
    pub canvas: Canvas,
    /// What it cost.
    pub usage: Usage,
}

/// A row of the cache.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Stored {
    /// What was asked.
    #[serde(flatten)]
    pub key: Key,
    /// What was answered.
    #[serde(flatten)]
    pub entry: Entry,
    /// When, in seconds since 1970.
    pub created: u64,
}

impl Stored {
    /// Whether it is a change of a layout, which means nothing without that layout.
    pub fn is_edit(&self) -> bool {
        let settings: Option<Value> = serde_json::from_str(&self.key.settings).ok();
        settings.is_some_and(|settings| settings.get(EDITED).is_some_and(|layout| !layout.is_null()))
    }

    /// Whether another version of the reader judged it. Such a row is never found again: its key is another.
    pub fn is_stale(&self) -> bool {
        let settings: Option<Value> = serde_json::from_str(&self.key.settings).ok();
        settings.and_then(|settings| settings.get(READER)?.as_u64()) != Some(READER_VERSION.into())
    }
}

/// Which rows are meant; an empty selection means all.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Selection {
    /// Only answers of this model.
    pub model: Option<String>,
    /// Only captions that contain this, whatever its case.
    pub caption: Option<String>,
    /// Only rows that are [stale](Stored::is_stale).
    pub is_stale: bool,
}

/// An open cache of plans.
pub struct Cache {
    path: PathBuf,
    connection: Mutex<Connection>,
}

impl Cache {
    /// Opens the cache at `path`; the file and its folder are made if they are missing.
    ///
    /// # Errors
    /// [`Error::CacheFolder`], [`Error::NotACache`] if the file is something else, which is left as it is, [`Error::CacheFormat`] if a newer version wrote
    /// it, [`Error::Cache`] if the disk or the database fails.
    pub fn open(path: &Path) -> Result<Self> {
        if let Some(folder) = path.parent() {
            let failed = |source| Error::CacheFolder { path: path.to_owned(), source };
            std::fs::create_dir_all(folder).map_err(failed)?;
        }
        let other = |problem| Error::NotACache { path: path.to_owned(), problem };
        if path.is_dir() {
            return Err(other("it is a folder"));
        }
        let failed = |source: rusqlite::Error| match source.sqlite_error_code() {
            Some(ErrorCode::NotADatabase) => other("it is another kind of file"),
            _ => Error::Cache { path: path.to_owned(), source },
        };
        let connection = Connection::open(path).map_err(failed)?;
        connection.busy_timeout(BUSY_TIMEOUT).map_err(failed)?;
        if is_foreign(&connection).map_err(failed)? {
            return Err(other("it is another program's database"));
        }
        use_write_ahead_log(&connection).map_err(failed)?;
        let found: i64 = connection.query_row("PRAGMA user_version", [], |row| row.get(0)).map_err(failed)?;
        if found > FORMAT {
            return Err(Error::CacheFormat { path: path.to_owned(), found, known: FORMAT });
        }
        if found < FORMAT {
            let create = format!("BEGIN IMMEDIATE;{TABLES}COMMIT;");
            connection.execute_batch(&create).map_err(failed)?;
        }
        Ok(Self { path: path.to_owned(), connection: Mutex::new(connection) })
    }

    /// The file.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The answer under `key`.
    ///
    /// # Errors
    /// [`Error::Cache`] if the file cannot be read.
    pub fn get(&self, key: &Key) -> Result<Option<Entry>> {
        let query = "SELECT * FROM plan WHERE provider = ? AND model = ? AND template = ? AND settings = ? AND caption = ? AND occurrence = ?";
        let Key { provider, model, template, settings, caption, occurrence } = key;
        let values = params![provider, model, template, settings, caption, *occurrence as i64];
        let found = self.lock().query_row(query, values, stored).optional();
        found.map(|row| row.map(|row| row.entry)).map_err(|source| self.failed(source))
    }

    /// Stores `entry` unless something is stored under `key` already. Returns whether it was stored.
    ///
    /// # Errors
    /// [`Error::Cache`] if the file cannot be written.
    pub fn put(&self, key: &Key, entry: &Entry) -> Result<bool> {
        let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default().as_secs();
        let count = |number: u64| i64::try_from(number).unwrap_or(i64::MAX);
        let rows = self.lock().execute(
            "INSERT OR IGNORE INTO plan VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
            params![
                key.provider,
                key.model,
                key.template,
                key.settings,
                key.caption,
                key.occurrence as i64,
                entry.answer,
                entry.canvas.width(),
                entry.canvas.height(),
                count(entry.usage.requests),
                count(entry.usage.prompt_tokens),
                count(entry.usage.completion_tokens),
                count(now),
            ],
        );
        rows.map(|rows| rows > 0).map_err(|source| self.failed(source))
    }

    /// The selected rows by caption, then occurrence.
    ///
    /// # Errors
    /// [`Error::Cache`] if the file cannot be read.
    pub fn list(&self, selection: &Selection) -> Result<Vec<Stored>> {
        let connection = self.lock();
        let rows = || -> rusqlite::Result<Vec<Stored>> {
            let mut statement = connection
                .prepare("SELECT * FROM plan ORDER BY caption, occurrence, provider, model, template, settings")?;
            let rows = statement.query_map([], stored)?;
            rows.collect()
        };
        let mut rows = rows().map_err(|source| self.failed(source))?;
        rows.retain(|row| selection.includes(row));
        Ok(rows)
    }

    /// Forgets the selected rows. Returns how many they were.
    ///
    /// # Errors
    /// [`Error::Cache`] if the file cannot be written.
    pub fn clear(&self, selection: &Selection) -> Result<usize> {
        let rows = self.list(selection)?;
        let mut connection = self.lock();
        let mut delete = || -> rusqlite::Result<usize> {
            let transaction = connection.transaction()?;
            let query = "DELETE FROM plan WHERE provider = ? AND model = ? AND template = ? AND settings = ? AND caption = ? AND occurrence = ?";
            let mut deleted = 0;
            for Stored { key: Key { provider, model, template, settings, caption, occurrence }, .. } in &rows {
                let values = params![provider, model, template, settings, caption, *occurrence as i64];
                deleted += transaction.execute(query, values)?;
            }
            transaction.commit()?;
            Ok(deleted)
        };
        delete().map_err(|source| self.failed(source))
    }

    fn lock(&self) -> MutexGuard<'_, Connection> {
        self.connection.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn failed(&self, source: rusqlite::Error) -> Error {
        Error::Cache { path: self.path.clone(), source }
    }
}

impl fmt::Debug for Cache {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Cache").field("path", &self.path).finish_non_exhaustive()
    }
}

impl Selection {
    fn includes(&self, row: &Stored) -> bool {
        let model = self.model.as_ref().is_none_or(|model| *model == row.key.model);
        let part = self.caption.as_ref().map(|part| part.to_lowercase());
        let caption = part.is_none_or(|part| row.key.caption.to_lowercase().contains(&part));
        model && caption && (!self.is_stale || row.is_stale())
    }
}

/// Answers in the form of the published caches: caption to answers, in order of occurrence.
///
/// Changes of layouts are left out: they mean nothing without the layout. Answers for the published canvas are written in the text form, others as layout JSON, which names its canvas.
pub fn export(rows: &[Stored]) -> BTreeMap<String, Vec<String>> {
    let mut answers: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for Stored { key, entry, .. } in rows.iter().filter(|row| !row.is_edit()) {
        let written = match parse_answer_on(&entry.answer, entry.canvas) {
            Ok(layout) if layout.canvas == Canvas::PUBLISHED => write_answer(&layout),
            Ok(layout) => layout.to_json(),
            Err(_) => entry.answer.clone(),
        };
        answers.entry(key.caption.clone()).or_default().push(written);
    }
    answers
}

/// Whether a database has tables, and none of ours.
fn is_foreign(connection: &Connection) -> rusqlite::Result<bool> {
    let query = "SELECT count(*), coalesce(sum(name = 'plan'), 0) FROM sqlite_master WHERE type = 'table'";
    let (tables, ours): (i64, i64) = connection.query_row(query, [], |row| Ok((row.get(0)?, row.get(1)?)))?;
    Ok(tables > 0 && ours == 0)
}

/// While another process switches, the database answers that it is locked without waiting.
fn use_write_ahead_log(connection: &Connection) -> rusqlite::Result<()> {
    let switch = || connection.query_row("PRAGMA journal_mode = WAL", [], |row| row.get::<_, String>(0));
    for _ in 0..WAL_ATTEMPTS {
        match switch() {
            Err(rusqlite::Error::SqliteFailure(error, _))
                if matches!(error.code, ErrorCode::DatabaseBusy | ErrorCode::DatabaseLocked) =>
            {
                std::thread::sleep(Duration::from_millis(20 + fastrand::u64(..30)));
            }
            other => return other.map(|_| ()),
        }
    }
    switch().map(|_| ())
}

fn stored(row: &Row<'_>) -> rusqlite::Result<Stored> {
    let number = |name: &str| row.get::<_, i64>(name).map(|number| u64::try_from(number).unwrap_or(0));
    let side = |name: &str| row.get::<_, u32>(name);
    let canvas = Canvas::new(side("width")?, side("height")?).unwrap_or(Canvas::PUBLISHED);
    Ok(Stored {
        key: Key {
            provider: row.get("provider")?,
            model: row.get("model")?,
            template: row.get("template")?,
            settings: row.get("settings")?,
            caption: row.get("caption")?,
            occurrence: usize::try_from(number("occurrence")?).unwrap_or(0),
        },
        entry: Entry {
            answer: row.get("answer")?,
            canvas,
            usage: Usage {
                requests: number("requests")?,
                prompt_tokens: number("prompt_tokens")?,
                completion_tokens: number("completion_tokens")?,
            },
        },
        created: number("created")?,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(caption: &str, occurrence: usize) -> Key {
        Key {
            provider: "openai http://localhost/v1".to_owned(),
            model: "m".to_owned(),
            template: "t".to_owned(),
            settings: "{}".to_owned(),
            caption: caption.to_owned(),
            occurrence,
        }
    }

    fn entry(answer: &str) -> Entry {
        let usage = Usage { requests: 1, prompt_tokens: 2, completion_tokens: 3 };
        Entry { answer: answer.to_owned(), canvas: Canvas::PUBLISHED, usage }
    }

    const EMPTY: &str = "[]\nBackground prompt: A beach\nNegative prompt: ";

    #[test]
    fn what_is_no_cache_is_refused_and_left_as_it_is() {
        let folder = tempfile::tempdir().unwrap();
        let path = |name: &str| folder.path().join(name);
        std::fs::create_dir(path("folder")).unwrap();
        std::fs::write(path("notes.txt"), "these are my notes, which nobody else may touch").unwrap();
        let foreign = Connection::open(path("foreign.sqlite")).unwrap();
        foreign.execute_batch("CREATE TABLE job (id TEXT); PRAGMA user_version = 1;").unwrap();
        drop(foreign);
        for name in ["notes.txt", "foreign.sqlite"] {
            let before = std::fs::read(path(name)).unwrap();
            let error = Cache::open(&path(name)).unwrap_err();
            assert!(matches!(&error, Error::NotACache { .. }), "{name}: {error}");
            assert!(!error.hint().unwrap().contains("deleted"), "{name}");
            assert_eq!(std::fs::read(path(name)).unwrap(), before, "{name}");
        }
        assert!(matches!(Cache::open(&path("folder")), Err(Error::NotACache { problem: "it is a folder", .. })));
    }

    #[test]
    fn the_first_answer_stays_and_every_part_of_the_key_counts() {
        let folder = tempfile::tempdir().unwrap();
        let cache = Cache::open(&folder.path().join("new/plans.sqlite")).unwrap();
        let first = key("a cat", 0);
        assert_eq!(cache.get(&first).unwrap(), None);
        assert!(cache.put(&first, &entry("one")).unwrap());
        assert!(!cache.put(&first, &entry("two")).unwrap());
        assert_eq!(cache.get(&first).unwrap(), Some(entry("one")));
        let others = [
            Key { provider: "x".to_owned(), ..first.clone() },
            Key { model: "x".to_owned(), ..first.clone() },
            Key { template: "x".to_owned(), ..first.clone() },
            Key { settings: "x".to_owned(), ..first.clone() },
            Key { caption: "x".to_owned(), ..first.clone() },
            Key { occurrence: 1, ..first.clone() },
        ];
        for other in others {
            assert_eq!(cache.get(&other).unwrap(), None, "{other:?}");
        }
        drop(cache);
        let again = Cache::open(&folder.path().join("new/plans.sqlite")).unwrap();
        assert_eq!(again.get(&first).unwrap(), Some(entry("one")));
    }

    #[test]
    fn rows_are_listed_exported_and_cleared_by_selection() {
        let folder = tempfile::tempdir().unwrap();
        let cache = Cache::open(&folder.path().join("plans.sqlite")).unwrap();
        for (caption, occurrence) in [("a dog", 0), ("A cat", 1), ("A cat", 0)] {
            cache.put(&key(caption, occurrence), &entry(EMPTY)).unwrap();
        }
        let wide = Entry { canvas: Canvas::new(768, 512).unwrap(), ..entry(EMPTY) };
        cache.put(&Key { model: "other".to_owned(), ..key("a bird", 0) }, &wide).unwrap();
        let cats = Selection { caption: Some("CAT".to_owned()), ..Selection::default() };
        assert_eq!(cache.list(&cats).unwrap().len(), 2);
        let exported = export(&cache.list(&Selection::default()).unwrap());
        assert_eq!(exported["A cat"], [EMPTY, EMPTY]);
        assert!(exported["a bird"][0].contains("\"width\": 768"));
        let of_m = Selection { model: Some("m".to_owned()), ..Selection::default() };
        assert_eq!(cache.clear(&of_m).unwrap(), 3);
        assert_eq!(cache.list(&Selection::default()).unwrap().len(), 1);
    }

    /// What they change is nowhere in the file.
    #[test]
    fn changes_of_layouts_are_not_exported() {
        let folder = tempfile::tempdir().unwrap();
        let cache = Cache::open(&folder.path().join("plans.sqlite")).unwrap();
        for (caption, edited) in [("a cat", "null"), ("move the cat left", "\"0123\"")] {
            let settings = format!("{{\"{EDITED}\": {edited}}}");
            cache.put(&Key { settings, ..key(caption, 0) }, &entry(EMPTY)).unwrap();
        }
        let exported = export(&cache.list(&Selection::default()).unwrap());
        assert_eq!(exported.keys().collect::<Vec<_>>(), ["a cat"]);
    }

    #[test]
    fn rows_of_another_reader_are_stale() {
        let folder = tempfile::tempdir().unwrap();
        let cache = Cache::open(&folder.path().join("plans.sqlite")).unwrap();
        let judged_by = |version: u32| format!("{{\"{READER}\": {version}}}");
        for (caption, settings) in
            [("new", judged_by(READER_VERSION)), ("old", judged_by(READER_VERSION + 1)), ("older", "{}".to_owned())]
        {
            cache.put(&Key { settings, ..key(caption, 0) }, &entry(EMPTY)).unwrap();
        }
        let stale = Selection { is_stale: true, ..Selection::default() };
        let captions: Vec<String> = cache.list(&stale).unwrap().into_iter().map(|row| row.key.caption).collect();
        assert_eq!(captions, ["old", "older"]);
        assert_eq!(cache.clear(&stale).unwrap(), 2);
        assert_eq!(cache.list(&Selection::default()).unwrap().len(), 1);
    }

    #[test]
    fn threads_that_open_and_write_at_once_all_succeed() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("plans.sqlite");
        std::thread::scope(|scope| {
            for writer in 0..8 {
                let path = &path;
                scope.spawn(move || {
                    let cache = Cache::open(path).unwrap();
                    for number in 0..25 {
                        cache.put(&key(&format!("caption {number}"), 0), &entry(&format!("{EMPTY}{writer}"))).unwrap();
                        assert!(cache.get(&key(&format!("caption {number}"), 0)).unwrap().is_some());
                    }
                });
            }
        });
        assert_eq!(Cache::open(&path).unwrap().list(&Selection::default()).unwrap().len(), 25);
    }

    #[test]
    fn other_files_are_refused() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("plans.sqlite");
        std::fs::write(&path, "this is a text, and a long one, so that it cannot be an empty database").unwrap();
        let error = Cache::open(&path).unwrap_err();
        assert!(error.to_string().contains("plans.sqlite") && error.hint().is_some(), "{error}");
        assert!(std::fs::read_to_string(&path).unwrap().starts_with("this is"));
        let newer = folder.path().join("newer.sqlite");
        Connection::open(&newer).unwrap().execute_batch("PRAGMA user_version = 9;").unwrap();
        let error = Cache::open(&newer).unwrap_err().to_string();
        assert!(error.contains("format 9"), "{error}");
    }
}
