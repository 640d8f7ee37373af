//! The folder on this machine: what a process leaves behind that ends in the middle, and what others put into it.

mod damage;
mod full_disk;

use std::fs;

use super::*;
use crate::error::Error;
use crate::store::{Claim, Ending, JobStore, MAX_ATTEMPTS, NewJob, Outcome, Record, UploadRoom};
use crate::wire::{JobRequest, JobSelection, JobState};

const ROOM: UploadRoom = UploadRoom { count: 10, bytes: 1_000_000 };

fn open(path: &Path) -> Local {
    try_open(path).unwrap()
}

fn try_open(path: &Path) -> Result<Local> {
    super::open(path, None)
}

fn request(caption: &str) -> JobRequest {
    JobRequest { caption: Some(caption.to_owned()), ..JobRequest::default() }
}

fn put(local: &Local, id: &str, caption: &str) {
    let job = NewJob { id: id.to_owned(), request: request(caption), memory_bytes: 7 };
    assert!(local.jobs.enqueue(&[job], 100).unwrap());
}

/// The job whose turn it is, left where it is.
fn next(local: &Local) -> Option<Record> {
    let mut seen = None;
    let claim = local.jobs.claim(&mut |record| {
        seen = Some(record.clone());
        Ok(false)
    });
    assert!(claim.unwrap().is_none());
    seen
}

/// Begins the job whose turn it is.
fn begin(local: &Local) -> Claim {
    local.jobs.claim(&mut |_| Ok(true)).unwrap().expect("a job waits")
}

fn finish(local: &Local, claim: Claim, ending: &Ending) -> bool {
    local.jobs.finish(claim, ending, Outcome::default()).unwrap()
}

/// A name as jobs have it.
fn id(letter: char) -> String {
    letter.to_string().repeat(32)
}

/// A job that is done, where no other waits.
fn done(local: &Local, id: &str) {
    put(local, id, id);
    let claim = begin(local);
    assert_eq!(claim.id(), id);
    local.store.artefacts().put(id, id.as_bytes()).unwrap();
    assert!(finish(local, claim, &Ending::Done));
}

fn picture(local: &Local, id: &str) -> Option<Vec<u8>> {
    local.store.artefacts().get(id).unwrap()
}

fn ids(local: &Local) -> Vec<String> {
    let all = local.jobs.list(&JobSelection::default(), None, 10).unwrap();
    all.into_iter().map(|record| record.id).collect()
}

fn files(folder: &Path) -> Vec<String> {
    let mut names: Vec<_> =
        fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
    names.sort();
    names
}

#[test]
fn what_was_running_is_queued_again_in_its_old_place() {
    let folder = tempfile::tempdir().unwrap();
    let local = open(folder.path());
    let (a, b) = (id('a'), id('b'));
    put(&local, &a, "one");
    put(&local, &b, "two");
    let lost = begin(&local);
    local.store.artefacts().put(&a, b"a kill came before its end was written").unwrap();
    let pictures = folder.path().join("pictures");
    fs::write(pictures.join(format!("{b}.part")), b"half").unwrap();
    drop(local);
    let local = open(folder.path());
    let next = next(&local).unwrap();
    assert_eq!((next.id.as_str(), next.attempts, next.started_ms), (a.as_str(), 1, None));
    assert_eq!(files(&pictures), [format!("{a}.png")], "painting it again writes over it");
    let claim = begin(&local);
    local.store.artefacts().put(&a, b"png").unwrap();
    assert!(!finish(&local, lost, &Ending::Cancelled), "whoever painted it before has lost it");
    assert!(finish(&local, claim, &Ending::Done));
    assert_eq!(local.jobs.get(&a).unwrap().unwrap().finishes, 1);
    assert_eq!(picture(&local, &a).unwrap(), b"png");
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
    let local = open(folder.path());
    assert_eq!(files(&pictures), [&unknown, &half, "holiday.png", "notes.part", "wedding.jpg"].map(String::from));
    done(&local, &id('a'));
    drop(local);
    // Later, what no job names is set aside and not deleted.
    drop(open(folder.path()));
    assert_eq!(files(&pictures), [&ours, "holiday.png", "notes.part", "wedding.jpg"].map(String::from));
    assert_eq!(files(&folder.path().join("quarantine")), [unknown, half]);
}

#[test]
fn a_picture_that_was_to_be_deleted_goes_at_the_next_start() {
    let folder = tempfile::tempdir().unwrap();
    let local = open(folder.path());
    let (a, b) = (id('a'), id('b'));
    done(&local, &a);
    done(&local, &b);
    // A process that ended between a row and its picture.
    assert!(local.jobs.delete(&a).unwrap());
    assert!(folder.path().join(format!("pictures/{a}.png")).exists());
    drop(local);
    let local = open(folder.path());
    assert_eq!(files(&folder.path().join("pictures")), [format!("{b}.png")]);
    assert!(files(&folder.path().join("quarantine")).is_empty());
    assert!(local.jobs.deleted().unwrap().is_empty());
    assert!(local.store.delete(&b).unwrap() && !local.store.delete(&b).unwrap());
    assert!(files(&folder.path().join("pictures")).is_empty());
}

#[cfg(unix)]
#[test]
fn links_are_not_followed() {
    use std::os::unix::fs::symlink;
    let (folder, outside) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let target = outside.path().join("target.png");
    fs::write(&target, b"precious").unwrap();
    let local = open(folder.path());
    let (a, b) = (id('a'), id('b'));
    done(&local, &a);
    let pictures = folder.path().join("pictures");
    fs::remove_file(pictures.join(format!("{a}.png"))).unwrap();
    for name in [format!("{a}.png"), format!("{b}.png"), format!("{b}.part")] {
        symlink(&target, pictures.join(name)).unwrap();
    }
    assert_eq!(picture(&local, &a), None);
    assert!(local.store.delete(&a).unwrap());
    drop(local);
    let local = open(folder.path());
    assert_eq!(files(&pictures).len(), 3, "links are left alone");
    // A picture takes the place of a link, and not of what it leads to.
    done(&local, &b);
    assert_eq!(picture(&local, &b).unwrap(), b.as_bytes());
    assert_eq!(fs::read(&target).unwrap(), b"precious");
    drop(local);
    // Nor are the folders themselves.
    fs::rename(&pictures, outside.path().join("pictures")).unwrap();
    symlink(outside.path().join("pictures"), &pictures).unwrap();
    assert!(matches!(try_open(folder.path()), Err(Error::Link { path }) if path == pictures));
}

#[test]
fn a_picture_that_somebody_took_away_is_missing_and_no_error() {
    let folder = tempfile::tempdir().unwrap();
    let local = open(folder.path());
    done(&local, "a");
    fs::remove_file(folder.path().join("pictures/a.png")).unwrap();
    assert_eq!(picture(&local, "a"), None);
    assert!(local.store.delete("a").unwrap());
}

#[test]
fn a_job_that_takes_the_process_down_is_given_up() {
    let folder = tempfile::tempdir().unwrap();
    put(&open(folder.path()), "a", "one");
    for _ in 0..MAX_ATTEMPTS {
        assert_eq!(begin(&open(folder.path())).id(), "a");
    }
    let record = open(folder.path()).jobs.get("a").unwrap().unwrap();
    assert_eq!((record.state, record.finishes), (JobState::Failed, 1));
    assert!(record.error.unwrap().message.contains("5 times"));
}

#[test]
fn what_ended_last_is_kept_whatever_the_clock_says() {
    let folder = tempfile::tempdir().unwrap();
    let local = open(folder.path());
    for id in ["a", "b"] {
        done(&local, id);
    }
    // The clock is set back by ten days: what ended before ended in the future.
    local.jobs.write(|writer| writer.execute("UPDATE jobs SET finished = finished + 864000000", [])).unwrap();
    done(&local, "new");
    assert_eq!(local.store.prune(2).unwrap(), 1);
    assert_eq!(ids(&local), ["new", "b"]);
    // And of what ended in the same millisecond.
    local.jobs.write(|writer| writer.execute("UPDATE jobs SET finished = 7", [])).unwrap();
    done(&local, "newest");
    assert_eq!(local.store.prune(1).unwrap(), 2);
    assert_eq!(ids(&local), ["newest"]);
}

#[test]
fn jobs_that_were_pruned_are_pruned_even_if_their_pictures_stay_for_now() {
    let folder = tempfile::tempdir().unwrap();
    let local = open(folder.path());
    done(&local, "a");
    let broken = "DROP TABLE deleted; CREATE TABLE deleted (id PRIMARY KEY); INSERT INTO deleted VALUES (x'ff')";
    local.jobs.write(|writer| writer.execute_batch(broken)).unwrap();
    assert!(local.jobs.deleted().is_err());
    assert_eq!(local.store.prune(0).unwrap(), 1);
    assert!(ids(&local).is_empty());
}

#[test]
fn a_folder_belongs_to_one_server() {
    let folder = tempfile::tempdir().unwrap();
    let _store = open(folder.path());
    assert!(matches!(try_open(folder.path()), Err(Error::FolderInUse { .. })));
}

#[test]
fn a_job_that_is_cancelled_while_it_is_looked_at_makes_way_for_the_next() {
    let folder = tempfile::tempdir().unwrap();
    let local = open(folder.path());
    for id in ["a", "b"] {
        put(&local, id, id);
    }
    let claim = local.jobs.claim(&mut |record| match record.id.as_str() {
        "a" => local.jobs.cancel_queued("a"),
        _ => Ok(true),
    });
    assert_eq!(claim.unwrap().unwrap().id(), "b");
}

#[test]
fn a_row_that_makes_no_sense_stops_nobody() {
    let folder = tempfile::tempdir().unwrap();
    let local = open(folder.path());
    for id in ["a", "b"] {
        put(&local, id, id);
    }
    local.jobs.write(|writer| writer.execute("UPDATE jobs SET request = 'no json' WHERE id = 'a'", [])).unwrap();
    assert_eq!(ids(&local), ["b"]);
    assert_eq!(next(&local).unwrap().id, "b");
    let given_up = local.jobs.get("a").unwrap().unwrap();
    assert_eq!((given_up.state, given_up.request), (JobState::Failed, request("a")));
    assert!(local.store.delete("a").unwrap());
}

#[test]
fn the_picture_of_a_job_that_failed_stays_and_goes_with_it() {
    let folder = tempfile::tempdir().unwrap();
    let local = open(folder.path());
    let a = id('a');
    put(&local, &a, "one");
    let claim = begin(&local);
    local.store.artefacts().put(&a, b"png").unwrap();
    assert!(finish(&local, claim, &Ending::Cancelled));
    drop(local);
    let local = open(folder.path());
    let pictures = folder.path().join("pictures");
    assert_eq!(files(&pictures), [format!("{a}.png")]);
    assert!(local.store.delete(&a).unwrap() && files(&pictures).is_empty());
}

#[test]
fn attempts_and_uploads_are_known_at_a_start_and_what_is_not_is_set_aside() {
    let folder = tempfile::tempdir().unwrap();
    let local = open(folder.path());
    let a = id('a');
    put(&local, &a, "one");
    let claim = begin(&local);
    assert!(local.store.put_attempt(&claim, 0, b"png").unwrap());
    assert!(finish(&local, claim, &Ending::Done));
    let upload = local.store.put_upload(b"png", ROOM).unwrap().unwrap();
    // Of a process that ended between the note of an upload and its picture, and within an attempt.
    let noted = id('c');
    assert!(local.jobs.add_upload(&noted, 3, ROOM).unwrap());
    let pictures = folder.path().join("pictures");
    for half in [format!("{noted}.part"), format!("{a}-1.part"), format!("{upload}.part")] {
        fs::write(pictures.join(half), b"half").unwrap();
    }
    let strangers = [format!("{}-0.png", id('d')), format!("{a}-64.png")];
    strangers.iter().for_each(|name| fs::write(pictures.join(name), b"precious").unwrap());
    drop(local);
    let local = open(folder.path());
    let mut expected = vec![format!("{a}-0.png"), format!("{a}-64.png"), format!("{upload}.png")];
    expected.sort();
    assert_eq!(files(&pictures), expected);
    assert_eq!(files(&folder.path().join("quarantine")), [format!("{}-0.png", id('d'))]);
    assert_eq!((local.store.source(&noted).unwrap(), local.store.delete_upload(&noted).unwrap()), (None, true));
    // A process that ended between the row of an upload and its picture.
    assert!(local.jobs.delete_upload(&upload).unwrap());
    drop(local);
    let local = open(folder.path());
    assert_eq!(files(&pictures), [format!("{a}-0.png"), format!("{a}-64.png")]);
    assert!(local.store.delete(&a).unwrap());
    assert_eq!(files(&pictures), [format!("{a}-64.png")], "that name is not ours");
}

#[test]
fn a_job_whose_row_makes_no_sense_keeps_no_upload() {
    let folder = tempfile::tempdir().unwrap();
    let local = open(folder.path());
    put(&local, "a", "one");
    let upload = local.store.put_upload(b"png", ROOM).unwrap().unwrap();
    local.jobs.write(|writer| writer.execute("UPDATE jobs SET request = 'no json'", [])).unwrap();
    assert!(local.store.delete_upload(&upload).unwrap());
}
