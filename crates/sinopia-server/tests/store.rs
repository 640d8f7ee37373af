//! Every store keeps the contract.

#![expect(clippy::unwrap_used, clippy::expect_used, reason = "these are tests")]

mod contract;

use std::sync::Arc;

use sinopia_server::store::{Folder, PictureFolder, SqliteJobs, Store};

#[test]
fn sqlite_and_a_folder() {
    contract::keeps(|promise| {
        let folder = tempfile::tempdir().unwrap();
        promise(&Store::open(folder.path()).unwrap());
    });
    let folder = tempfile::tempdir().unwrap();
    contract::keeps_over_a_restart(|| Store::open(folder.path()).unwrap());
}

#[test]
fn halves_from_different_places() {
    contract::keeps(|promise| {
        let places = [tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap()];
        let [jobs, pictures] = places.each_ref().map(|place| Arc::new(Folder::open(place.path()).unwrap()));
        let jobs = SqliteJobs::open(jobs).unwrap();
        promise(&Store::new(Arc::new(jobs), Arc::new(PictureFolder::new(pictures))));
    });
}

#[test]
fn halves_in_one_folder() {
    contract::keeps(|promise| {
        let place = tempfile::tempdir().unwrap();
        let folder = Arc::new(Folder::open(place.path()).unwrap());
        let jobs = SqliteJobs::open(folder.clone()).unwrap();
        assert!(place.path().join(".sinopia-reserve").exists(), "nothing is kept back for a full disk");
        assert!(Folder::open(place.path()).is_err(), "it belongs to those who have it");
        promise(&Store::new(Arc::new(jobs), Arc::new(PictureFolder::new(folder))));
    });
}
