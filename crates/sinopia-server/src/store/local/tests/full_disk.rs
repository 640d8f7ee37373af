//! A disk that is full, in pretence.

use super::*;
use crate::wire::JobError;

#[test]
fn what_ends_while_nothing_can_be_written_is_remembered_and_written_later() {
    let folder = tempfile::tempdir().unwrap();
    let local = open(folder.path());
    for id in ["old", "failing", "waiting"] {
        put(&local, id, id);
    }
    let [old, failing] = [begin(&local), begin(&local)];
    local.store.artefacts().put("old", b"png").unwrap();
    assert!(finish(&local, old, &Ending::Done));
    local.disk().pretend(true);
    assert!(local.store.artefacts().check_room().unwrap_err().is_disk_full() && local.store.settle().is_err());
    let refused = NewJob { id: "no".to_owned(), request: request("no"), memory_bytes: 0 };
    let refused = local.jobs.enqueue(&[refused], 100).unwrap_err();
    assert!(refused.is_disk_full(), "{refused:?}");
    let error = JobError { message: "disk full".to_owned(), hint: None };
    let again = Claim::new(failing.record().clone());
    assert!(finish(&local, failing, &Ending::Failed(error.clone())));
    assert!(!finish(&local, again, &Ending::Done), "it ended once");
    assert!(local.jobs.cancel_queued("waiting").unwrap() && !local.jobs.cancel_queued("waiting").unwrap());
    assert!(local.store.delete("old").unwrap() && !local.store.delete("old").unwrap());
    assert!(!folder.path().join("pictures/old.png").exists(), "deleting it makes room");
    let check = |local: &Local| {
        let failed = local.jobs.get("failing").unwrap().unwrap();
        assert_eq!((failed.state, failed.error, failed.finishes), (JobState::Failed, Some(error.clone()), 1));
        assert_eq!(local.jobs.get("waiting").unwrap().unwrap().state, JobState::Cancelled);
        assert_eq!(
            (local.jobs.get("old").unwrap(), ids(local)),
            (None, vec!["waiting".to_owned(), "failing".to_owned()])
        );
    };
    check(&local);
    assert!(local.jobs.is_behind());
    local.disk().pretend(false);
    local.store.settle().unwrap();
    assert!(!local.jobs.is_behind());
    check(&local);
    drop(local);
    let local = open(folder.path());
    check(&local);
    assert!(next(&local).is_none());
    // What ended in memory only can be deleted too.
    put(&local, "last", "last");
    let last = begin(&local);
    local.disk().pretend(true);
    assert!(finish(&local, last, &Ending::Cancelled) && local.store.delete("last").unwrap());
    local.disk().pretend(false);
    local.store.settle().unwrap();
    assert_eq!(local.jobs.get("last").unwrap(), None);
}

#[test]
fn a_picture_goes_before_its_deletion_can_be_written_as_it_makes_the_room() {
    let folder = tempfile::tempdir().unwrap();
    let local = open(folder.path());
    let (a, b) = (id('a'), id('b'));
    done(&local, &a);
    done(&local, &b);
    local.disk().pretend(true);
    assert!(local.store.delete(&a).unwrap());
    assert_eq!((local.jobs.get(&a).unwrap(), picture(&local, &a), local.jobs.is_behind()), (None, None, true));
    // The process ends before there is room: the job is there without its picture, and is deleted again.
    drop(local);
    let local = open(folder.path());
    assert_eq!((local.jobs.get(&a).unwrap().unwrap().state, picture(&local, &a)), (JobState::Done, None));
    assert!(local.store.delete(&a).unwrap());
    assert_eq!(ids(&local), [b.as_str()]);
    // The next deletion that finds room writes what is remembered.
    local.disk().pretend(true);
    assert!(local.jobs.delete(&b).unwrap() && local.jobs.is_behind());
    local.disk().pretend(false);
    done(&local, &a);
    assert!(local.store.delete(&a).unwrap());
    assert!(!local.jobs.is_behind() && picture(&local, &b).is_none());
}

#[test]
fn a_picture_that_does_not_fit_keeps_the_next_job_waiting() {
    let folder = tempfile::tempdir().unwrap();
    let local = open(folder.path());
    let png = vec![7; 500_000];
    local.disk().pretend_room(Some(200_000));
    local.store.artefacts().check_room().unwrap();
    assert!(local.store.artefacts().put("a", &png).unwrap_err().is_disk_full());
    assert!(local.store.artefacts().check_room().unwrap_err().is_disk_full());
    local.disk().pretend_room(None);
    local.store.artefacts().check_room().unwrap();
    local.store.artefacts().put("a", &png).unwrap();
}

#[test]
fn what_changes_while_it_is_written_down_is_not_forgotten() {
    let folder = tempfile::tempdir().unwrap();
    let local = open(folder.path());
    put(&local, "a", "one");
    put(&local, "b", "two");
    put(&local, "c", "three");
    let claim = begin(&local);
    local.disk().pretend(true);
    assert!(finish(&local, claim, &Ending::Cancelled));
    let ended = local.jobs.unwritten().lock().get("a").cloned().unwrap();
    assert!(local.store.delete("a").unwrap());
    // A cancel that is only remembered holds too.
    assert!(local.jobs.cancel_queued("b").unwrap());
    local.disk().pretend(false);
    assert_eq!(begin(&local).id(), "c", "those behind it do not wait for what is cancelled");
    local.jobs.settle_one("a", &ended).unwrap();
    assert!(local.jobs.is_behind() && local.jobs.get("a").unwrap().is_none());
    local.store.settle().unwrap();
    drop(local);
    let local = open(folder.path());
    assert_eq!(local.jobs.get("a").unwrap(), None);
    assert_eq!(local.jobs.get("b").unwrap().unwrap().state, JobState::Cancelled);
}

#[test]
fn lists_are_of_what_is_so_and_not_of_what_is_written() {
    let folder = tempfile::tempdir().unwrap();
    let local = open(folder.path());
    for id in ["a", "b", "c", "d"] {
        put(&local, id, id);
    }
    local.disk().pretend(true);
    for id in ["b", "d"] {
        assert!(local.jobs.cancel_queued(id).unwrap());
    }
    let listed = |state, limit| -> Vec<String> {
        let selection = JobSelection { state: Some(state), ..JobSelection::default() };
        local.jobs.list(&selection, None, limit).unwrap().into_iter().map(|record| record.id).collect()
    };
    assert_eq!(listed(JobState::Cancelled, 10), ["d", "b"]);
    assert_eq!(listed(JobState::Queued, 10), ["c", "a"]);
    assert_eq!(listed(JobState::Queued, 1), ["c"], "a page is full if there are enough");
}

#[test]
fn counts_are_of_what_is_so_and_not_of_what_is_written() {
    let folder = tempfile::tempdir().unwrap();
    let local = open(folder.path());
    for id in ["running", "a", "b", "c"] {
        put(&local, id, id);
    }
    let claim = begin(&local);
    local.disk().pretend(true);
    let error = JobError { message: "disk full".to_owned(), hint: None };
    assert!(finish(&local, claim, &Ending::Failed(error)));
    assert!(local.jobs.cancel_queued("a").unwrap() && local.jobs.delete("b").unwrap());
    let counts = || JobState::ALL.map(|state| (state.as_str(), local.jobs.count(state).unwrap()));
    let before = || local.jobs.queued_before(local.jobs.get("c").unwrap().unwrap().seq).unwrap();
    let (counted, place) = (counts(), before());
    for (state, count) in [("queued", 1), ("running", 0), ("failed", 1), ("cancelled", 1), ("done", 0)] {
        assert!(counted.contains(&(state, count)), "{state}: {counted:?}");
    }
    assert_eq!(place, 0);
    local.disk().pretend(false);
    let job = NewJob { id: "d".to_owned(), request: request("d"), memory_bytes: 0 };
    assert!(local.jobs.enqueue(&[job], 2).unwrap(), "two of three wait no more");
    assert!(local.jobs.delete("d").unwrap());
    local.store.settle().unwrap();
    assert_eq!((counts(), before()), (counted, place), "writing it down changes nothing");
}

#[test]
fn only_a_write_that_failed_may_mean_a_quota() {
    let failed = |code| rusqlite::Error::SqliteFailure(rusqlite::ffi::Error::new(code), None);
    let folder = tempfile::tempdir().unwrap();
    let local = open(folder.path());
    let is_full = |code| local.jobs.write(|_| Err::<(), _>(failed(code))).unwrap_err().is_disk_full();
    assert!(!is_full(rusqlite::ffi::SQLITE_IOERR_WRITE), "there is room: it is something else");
    local.disk().pretend_room(Some(1));
    assert!(is_full(rusqlite::ffi::SQLITE_IOERR_WRITE) && !is_full(rusqlite::ffi::SQLITE_IOERR_READ));
}

#[test]
fn an_upload_that_does_not_fit_leaves_nothing_and_the_next_one_is_kept() {
    let folder = tempfile::tempdir().unwrap();
    let local = open(folder.path());
    let one = UploadRoom { count: 1, ..ROOM };
    local.disk().pretend_room(Some(200_000));
    let upload = local.store.put_upload(&vec![7; 500_000], one);
    assert!(upload.unwrap_err().is_disk_full());
    assert!(files(&folder.path().join("pictures")).is_empty());
    local.disk().pretend(true);
    assert!(local.store.put_upload(b"small", one).unwrap_err().is_disk_full());
    local.disk().pretend(false);
    let kept = local.store.put_upload(b"small", one).unwrap().expect("what did not fit is not counted");
    assert_eq!(picture(&local, &kept).as_deref(), Some(b"small".as_slice()));
}
