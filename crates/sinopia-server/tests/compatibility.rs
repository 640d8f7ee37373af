//! Folders of jobs as earlier versions wrote them, in `tests/compatibility/`: they are read, and go on.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "these are tests")]

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use sinopia_server::store::{Ending, Outcome, Store};
use sinopia_server::wire::{Decision, JobSelection, JobState, ObjectState, Subject};
use tempfile::TempDir;

const RED_CAR: &str = "1ba44d7f8e26ea780d9a987ef50b6927";
const BLUE_DOG: &str = "dbf69f02dc33f689c3b4f28b42aba133";
const NOBODY_WANTS: &str = "b1dca4030dc04d18ca4dfbdf62504ca1";
const WAS_PAINTED: &str = "bb2f2e6c04e5149c94cb2e55a7d803f2";
const WAITED: &str = "6f719796741fad9bbeea8106b45dd1b0";
const UPLOAD: &str = "5d9f3c1a7be04c2f8a6e0b14d2c37f90";

fn kept(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/compatibility").join(name)
}

/// A folder with a record of a format, and its pictures.
fn folder(format: u32) -> TempDir {
    let folder = tempfile::tempdir().unwrap();
    fs::copy(kept(&format!("jobs-{format}.sqlite")), folder.path().join("jobs.sqlite")).unwrap();
    fs::create_dir(folder.path().join("pictures")).unwrap();
    for picture in fs::read_dir(kept(&format!("jobs-{format}-pictures"))).unwrap() {
        let picture = picture.unwrap();
        fs::copy(picture.path(), folder.path().join("pictures").join(picture.file_name())).unwrap();
    }
    folder
}

fn ids(store: &Store, state: JobState) -> Vec<String> {
    let selection = JobSelection { state: Some(state), ..JobSelection::default() };
    store.jobs().list(&selection, None, 100).unwrap().into_iter().map(|record| record.id).collect()
}

#[test]
fn records_of_every_format_are_read_and_go_on() {
    for format in [1, 2, 3] {
        let folder = folder(format);
        let store = Store::open(folder.path()).unwrap();
        assert_eq!(ids(&store, JobState::Done), [BLUE_DOG, RED_CAR], "format {format}");
        assert_eq!(ids(&store, JobState::Cancelled), [NOBODY_WANTS]);
        assert_eq!(ids(&store, JobState::Queued), [WAITED, WAS_PAINTED]);
        let dog = store.jobs().get(BLUE_DOG).unwrap().unwrap();
        assert!(store.artefacts().get(BLUE_DOG).unwrap().unwrap().starts_with(b"\x89PNG"));
        assert_eq!((dog.request.seed, dog.request.steps), (Some(9_007_199_254_740_993), Some(2)));
        assert_eq!(dog.request.layout.unwrap().objects[0].phrase, "a blue dog");
        assert_eq!(dog.finished_ms.unwrap() - dog.started_ms.unwrap(), 988);
        assert_eq!(store.jobs().mean_seconds().unwrap(), Some((0.988 + 2.350) / 2.0));
        let waited = store.jobs().get(WAITED).unwrap().unwrap().request;
        assert_eq!(
            (waited.guidance_scale, waited.height, waited.negative.as_deref()),
            (Some(5.5), Some(64), Some("blurry"))
        );

        // What was interrupted comes first, and what ends now ends last.
        let claim = store.jobs().claim(&mut |_| Ok(true)).unwrap().unwrap();
        assert_eq!((claim.id(), claim.record().attempts), (WAS_PAINTED, 1));
        store.artefacts().put(WAS_PAINTED, b"png").unwrap();
        assert!(store.jobs().finish(claim, &Ending::Done, Outcome::default()).unwrap());
        assert_eq!(store.prune(2).unwrap(), 2);
        assert_eq!(ids(&store, JobState::Done), [WAS_PAINTED]);
        assert_eq!(ids(&store, JobState::Cancelled), [NOBODY_WANTS]);
        drop(store);
        assert_eq!(ids(&Store::open(folder.path()).unwrap(), JobState::Done), [WAS_PAINTED]);
    }
}

/// What a detector had seen, before verdicts said more than found or not.
const VERDICT: &str = r#"{"objects": [
    {"phrase": "a blue dog", "box": [40.0, 210.0, 180.0, 200.0], "found": true, "score": 0.9, "detected_box": [44.0, 208.0, 180.0, 204.0]},
    {"phrase": "a white bowl", "box": [300.0, 330.0, 200.0, 80.0], "found": false, "score": 0.0, "detected_box": null}]}"#;

#[test]
fn verdicts_that_say_found_alone_are_read() {
    for format in [1, 2, 3] {
        let folder = folder(format);
        let record = rusqlite::Connection::open(folder.path().join("jobs.sqlite")).unwrap();
        assert_eq!(record.execute("UPDATE jobs SET verdict = ?1 WHERE id = ?2", [VERDICT, BLUE_DOG]).unwrap(), 1);
        drop(record);
        let store = Store::open(folder.path()).unwrap();
        let verdict = store.jobs().get(BLUE_DOG).unwrap().unwrap().verdict.unwrap();
        let states: Vec<ObjectState> = verdict.objects.iter().map(|object| object.state).collect();
        assert_eq!(states, [ObjectState::Right, ObjectState::Missing], "format {format}");
        assert!(verdict.evaluator.is_none() && verdict.extra.is_empty() && !verdict.right);
    }
}

#[test]
fn attempts_decisions_and_uploads_of_format_3_are_read() {
    let folder = folder(3);
    let store = Store::open(folder.path()).unwrap();
    let dog = store.jobs().get(BLUE_DOG).unwrap().unwrap();
    let seeds: Vec<_> = dog.tried.iter().map(|attempt| (attempt.seed, attempt.accepted)).collect();
    assert_eq!(seeds, [(9_007_199_254_740_993, true), (9_007_199_254_740_994, false)]);
    assert_eq!(dog.tried[1].operations[0].phrase(), "a blue dog");
    assert_eq!(dog.decisions, [Decision { about: Subject::Object, index: 0, fine: true }]);
    assert!(store.artefacts().get_attempt(BLUE_DOG, 1).unwrap().unwrap().starts_with(b"\x89PNG"));
    let waited = store.jobs().get(WAITED).unwrap().unwrap().request;
    assert_eq!((waited.source(), waited.mask(), waited.attempts), (Some(UPLOAD), None, Some(4)));
    assert!(store.source(UPLOAD).unwrap().unwrap().starts_with(b"\x89PNG"));
    assert_eq!(store.sweep_uploads(Duration::ZERO).unwrap(), 0, "a job begins with it");
}
