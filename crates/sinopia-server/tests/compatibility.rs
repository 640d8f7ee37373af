//! Folders of jobs as earlier versions wrote them, in `tests/compatibility/`: they are read, and go on.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "these are tests")]

use std::fs;
use std::path::{Path, PathBuf};

use sinopia_server::store::{Ending, Outcome, Store};
use sinopia_server::wire::{JobSelection, JobState};
use tempfile::TempDir;

const RED_CAR: &str = "1ba44d7f8e26ea780d9a987ef50b6927";
const BLUE_DOG: &str = "dbf69f02dc33f689c3b4f28b42aba133";
const NOBODY_WANTS: &str = "b1dca4030dc04d18ca4dfbdf62504ca1";
const WAS_PAINTED: &str = "bb2f2e6c04e5149c94cb2e55a7d803f2";
const WAITED: &str = "6f719796741fad9bbeea8106b45dd1b0";

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
    for format in [1, 2] {
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
