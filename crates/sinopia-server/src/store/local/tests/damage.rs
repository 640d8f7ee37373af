//! Records that are damaged, lost or of another format.

use std::fs::{self, File};
use std::time::{Duration, UNIX_EPOCH};

use rusqlite::Connection;

use super::*;
use crate::store::local::{self, format};

fn recover(path: &Path, request_of: &RequestOf<'_>, keep: usize) -> Local {
    local::open(path, Some(Recovery { request_of, keep })).unwrap()
}

/// A folder with a finished job, closed, and what was made of its record by `damage`.
fn damaged(damage: impl FnOnce(&Path)) -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    done(&open(folder.path()), &id('a'));
    damage(&folder.path().join("jobs.sqlite"));
    folder
}

fn garbage(record: &Path) {
    fs::write(record, b"this is no database, whatever it is called, and never was one").unwrap();
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
fn a_newer_record_and_a_damaged_one_are_told_apart() {
    let newer = damaged(|record| {
        Connection::open(record).unwrap().pragma_update(None, "user_version", 9).unwrap();
    });
    assert!(matches!(try_open(newer.path()), Err(Error::RecordFormat { found: 9, .. })));
    // A newer record is not damaged: it is not set aside either.
    let recovery = Recovery { request_of: &|_| None, keep: 10 };
    assert!(matches!(local::open(newer.path(), Some(recovery)), Err(Error::RecordFormat { .. })));
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
        let error = try_open(folder.path()).err().unwrap();
        assert!(matches!(&error, Error::RecordDamaged { .. }), "{error:?}");
        assert!(error.to_string().contains("`sinopia serve --recover`"), "{error}");
        assert!(folder.path().join(format!("pictures/{}.png", id('a'))).exists(), "a picture is gone");
    }
}

#[test]
fn recovering_sets_a_damaged_record_aside_and_makes_jobs_of_pictures() {
    let folder = damaged(garbage);
    let request_of = |png: &[u8]| (png == id('a').as_bytes() || png == b"b").then(|| request("read from the picture"));
    let pictures = folder.path().join("pictures");
    fs::write(pictures.join("holiday.png"), id('a')).unwrap();
    fs::write(pictures.join(format!("{}.png", id('c'))), b"of somebody else").unwrap();
    let local = recover(folder.path(), &request_of, 10);
    assert_eq!(ids(&local), [id('a')]);
    let record = local.jobs.get(&id('a')).unwrap().unwrap();
    assert_eq!((record.state, record.finishes), (JobState::Done, 1));
    assert_eq!(record.request.caption.as_deref(), Some("read from the picture"));
    assert_eq!(picture(&local, &record.id).unwrap(), id('a').as_bytes());
    assert_eq!(files(&pictures).len(), 3, "whatever became no job stays");
    drop(local);
    // A second damage writes over nothing.
    garbage(&folder.path().join("jobs.sqlite"));
    fs::write(folder.path().join(format!("quarantine/{}.png", id('b'))), b"b").unwrap();
    drop(recover(folder.path(), &request_of, 10));
    let aside: Vec<_> = files(folder.path()).into_iter().filter(|name| name.contains("damaged")).collect();
    assert_eq!(aside, ["jobs.sqlite.damaged", "jobs.sqlite.damaged-2"]);
    // A record that is whole stays where it is, and pictures that were set aside come back.
    let local = recover(folder.path(), &request_of, 10);
    assert_eq!(ids(&local).len(), 2);
    assert!(pictures.join(format!("{}.png", id('b'))).exists());
    assert_eq!(files(folder.path()).into_iter().filter(|name| name.contains("damaged")).count(), 2);
}

#[test]
fn recovering_never_causes_a_picture_to_be_deleted() {
    let request_of = |_: &[u8]| Some(request("found"));
    let all = ["a", "b", "c", "d", "e"].map(|letter| format!("{}.png", letter.repeat(32)));
    // Two jobs are known, three pictures are lost, and three jobs are kept.
    let folder = tempfile::tempdir().unwrap();
    let local = open(folder.path());
    done(&local, &id('a'));
    done(&local, &id('b'));
    drop(local);
    write_pictures(folder.path(), "cde");
    let local = recover(folder.path(), &request_of, 3);
    assert_eq!(local.store.prune(3).unwrap(), 0);
    assert_eq!(ids(&local), [id('b'), id('a'), id('e')], "the newest of the lost, behind those that are known");
    assert_eq!(files(&folder.path().join("pictures")), all, "the others stay where they are");
    done(&local, &id('f'));
    assert_eq!(local.store.prune(3).unwrap(), 1);
    assert_eq!(ids(&local), [id('f'), id('b'), id('a')], "what was found goes before what was known");
    // The record is lost, and there are more pictures than jobs are kept.
    let folder = tempfile::tempdir().unwrap();
    drop(open(folder.path()));
    garbage(&folder.path().join("jobs.sqlite"));
    for ending in ["-wal", "-shm"] {
        let _ = fs::remove_file(folder.path().join(format!("jobs.sqlite{ending}")));
    }
    write_pictures(folder.path(), "abcde");
    let local = recover(folder.path(), &request_of, 2);
    assert_eq!(local.store.prune(2).unwrap(), 0);
    assert_eq!(ids(&local), [id('e'), id('d')]);
    assert_eq!(files(&folder.path().join("pictures")), all);
    drop(local);
    // With more room the others come too, still in their order.
    let local = recover(folder.path(), &request_of, 9);
    assert_eq!(
        (local.store.prune(9).unwrap(), ids(&local)),
        (0, ["e", "d", "c", "b", "a"].map(|c| c.repeat(32)).to_vec())
    );
    put(&local, "next", "next");
    assert_eq!(ids(&local)[0], "next");
}

#[cfg(unix)]
#[test]
fn what_was_set_aside_takes_the_place_of_nothing() {
    let folder = tempfile::tempdir().unwrap();
    drop(open(folder.path()));
    let name = format!("{}.png", id('a'));
    let (aside, place) = (folder.path().join("quarantine").join(&name), folder.path().join("pictures").join(&name));
    fs::write(&aside, b"lost").unwrap();
    std::os::unix::fs::symlink("elsewhere", &place).unwrap();
    let local = recover(folder.path(), &|_| Some(request("found")), 10);
    assert!(fs::symlink_metadata(&place).unwrap().is_symlink() && aside.exists() && ids(&local).is_empty());
}

#[test]
fn a_damaged_record_of_an_older_format_is_left_as_it_was_found() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("jobs.sqlite");
    let old = Connection::open(&path).unwrap();
    old.execute_batch(format::FORMAT_1).unwrap();
    let insert = "INSERT INTO jobs (id, state, caption, request, memory, created) VALUES ('a', 'done', '', '{}', 0, 0)";
    old.execute(insert, []).unwrap();
    old.pragma_update(None, "user_version", 1).unwrap();
    let sql = "SELECT rootpage FROM sqlite_master WHERE name = 'jobs_by_state'";
    let page: usize = old.query_row(sql, [], |row| row.get(0)).unwrap();
    drop(old);
    let mut bytes = fs::read(&path).unwrap();
    bytes[(page - 1) * 4096..page * 4096].fill(0xa5);
    fs::write(&path, bytes).unwrap();
    assert!(matches!(try_open(folder.path()), Err(Error::RecordDamaged { .. })));
    let found = Connection::open(&path).unwrap();
    let version: i64 = found.query_row("PRAGMA user_version", [], |row| row.get(0)).unwrap();
    assert_eq!(version, 1);
}

#[test]
fn a_format_that_none_is_means_damage() {
    let folder = damaged(|record| {
        Connection::open(record).unwrap().pragma_update(None, "user_version", -1).unwrap();
    });
    assert!(matches!(try_open(folder.path()), Err(Error::RecordDamaged { .. })));
}
