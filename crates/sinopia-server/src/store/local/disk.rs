//! Room on the disk. Some of it is kept back, so that on a full disk jobs can still end, be cancelled and be deleted.

use std::fs;
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use super::files::{create_new, write_new};
use crate::error::is_full;

/// Bytes kept back: a few changes to the record take a few pages of 4 KiB each.
const RESERVE_BYTES: usize = 64 * 1024;
/// Bytes that have to be free beside them before a painting begins: a small picture and the changes that lead to it.
const PROBE_BYTES: usize = 64 * 1024;

/// What is kept back.
#[derive(Debug)]
pub(super) struct Disk {
    reserve: PathBuf,
    probe: PathBuf,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    /// Whether the reserve is there.
    is_kept: bool,
    is_full: bool,
    /// Bytes that the next picture is thought to need, as the last one did not fit.
    needed: usize,
    /// When it was tried last, and what was wrong then.
    last: Option<(Instant, Option<io::ErrorKind>)>,
    /// Bytes that fit, in the place of a disk.
    #[cfg(test)]
    room: Option<usize>,
}

impl Disk {
    /// Nothing is kept back yet, unless an earlier process did.
    pub(super) fn new(folder: &Path) -> Self {
        Self { reserve: folder.join(".sinopia-reserve"), probe: folder.join(".sinopia-probe"), state: Mutex::default() }
    }

    /// Keeps the reserve back if it is not, and tries whether there is room beside it.
    pub(super) fn check(&self) -> io::Result<()> {
        let mut state = self.state();
        let checked = self.keep(&mut state).and_then(|()| {
            let bytes = PROBE_BYTES.max(state.needed);
            #[cfg(test)]
            if state.room.is_some_and(|room| room < bytes) {
                return Err(io::ErrorKind::StorageFull.into());
            }
            // Not flushed: a file system says at the write what it has no room for, and this is asked often.
            let probed = create_new(&self.probe)?.write_all(&incompressible(bytes)?);
            let _ = fs::remove_file(&self.probe);
            probed
        });
        match (&checked, state.is_full) {
            (Err(error), false) => tracing::error!(%error, "the disk is full: nothing is painted until there is room"),
            (Ok(()), true) => tracing::info!("there is room on the disk again"),
            _ => {}
        }
        state.is_full = checked.is_err();
        state.last = Some((Instant::now(), checked.as_ref().err().map(io::Error::kind)));
        checked
    }

    /// What [`check`](Self::check) found at most `max_age` ago, or finds now.
    pub(super) fn checked(&self, max_age: Duration) -> io::Result<()> {
        let last = self.state().last.filter(|(at, _)| at.elapsed() < max_age);
        match last {
            Some((_, None)) => Ok(()),
            Some((_, Some(kind))) => Err(kind.into()),
            None => self.check(),
        }
    }

    /// Whether the disk, asked now, has no room.
    pub(super) fn is_without_room(&self) -> bool {
        self.check().is_err_and(|error| is_full(error.kind()))
    }

    /// A picture of so many bytes did not fit: until one is kept, that much has to be free before a painting begins.
    pub(super) fn lacked(&self, bytes: usize) {
        let mut state = self.state();
        state.needed = state.needed.max(bytes.saturating_add(RESERVE_BYTES));
        state.last = Some((Instant::now(), Some(io::ErrorKind::StorageFull)));
    }

    /// A picture was kept.
    pub(super) fn sufficed(&self) {
        self.state().needed = 0;
    }

    /// Gives the reserve to those who write next.
    pub(super) fn release(&self) {
        let mut state = self.state();
        if let Err(error) = fs::remove_file(&self.reserve)
            && error.kind() != io::ErrorKind::NotFound
        {
            tracing::warn!(file = ?self.reserve, %error, "cannot give back what was kept for a full disk");
        }
        state.is_kept = false;
    }

    fn keep(&self, state: &mut State) -> io::Result<()> {
        #[cfg(test)]
        if state.room == Some(0) {
            return Err(io::ErrorKind::StorageFull.into());
        }
        if state.is_kept {
            return Ok(());
        }
        let is_whole = |path: &Path| {
            fs::symlink_metadata(path).is_ok_and(|found| found.is_file() && found.len() == RESERVE_BYTES as u64)
        };
        if !is_whole(&self.reserve) {
            write_new(&self.reserve, &incompressible(RESERVE_BYTES)?).inspect_err(|_| {
                // A part of it is worth more to those who write.
                let _ = fs::remove_file(&self.reserve);
            })?;
        }
        state.is_kept = true;
        Ok(())
    }

    /// From now on, or no more, the disk is full, whatever it is in truth.
    #[cfg(test)]
    pub(super) fn pretend(&self, is_full: bool) {
        self.pretend_room(is_full.then_some(0));
    }

    /// From now on so many bytes fit, whatever there is in truth.
    #[cfg(test)]
    pub(super) fn pretend_room(&self, room: Option<usize>) {
        self.state().room = room;
    }

    #[cfg(test)]
    pub(super) fn pretends(&self) -> bool {
        self.state().room == Some(0)
    }

    #[cfg(test)]
    pub(super) fn pretends_room_for(&self, bytes: usize) -> bool {
        self.state().room.is_none_or(|room| bytes <= room)
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Bytes that a file system that compresses what it writes cannot make smaller.
fn incompressible(count: usize) -> io::Result<Vec<u8>> {
    let mut bytes = vec![0; count];
    getrandom::fill(&mut bytes).map_err(io::Error::other)?;
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_reserve_is_kept_given_and_kept_again() {
        let folder = tempfile::tempdir().unwrap();
        let reserve = folder.path().join(".sinopia-reserve");
        let size = || fs::metadata(&reserve).map(|found| found.len()).ok();
        let disk = Disk::new(folder.path());
        disk.check().unwrap();
        assert_eq!(size(), Some(RESERVE_BYTES as u64));
        disk.release();
        assert_eq!(size(), None);
        disk.release();
        fs::write(&reserve, b"half of one").unwrap();
        disk.check().unwrap();
        assert_eq!(size(), Some(RESERVE_BYTES as u64));
        assert!(!folder.path().join(".sinopia-probe").exists());
    }

    #[test]
    fn a_picture_that_did_not_fit_says_how_much_room_the_next_one_needs() {
        let folder = tempfile::tempdir().unwrap();
        let disk = Disk::new(folder.path());
        disk.pretend_room(Some(100_000));
        disk.check().unwrap();
        disk.lacked(500_000);
        disk.lacked(7);
        assert!(disk.check().is_err(), "a small probe fits, a picture does not");
        disk.pretend_room(Some(500_000 + RESERVE_BYTES));
        disk.check().unwrap();
        disk.sufficed();
        disk.pretend_room(Some(100_000));
        disk.check().unwrap();
    }

    #[test]
    fn what_was_found_a_moment_ago_is_not_tried_again() {
        let folder = tempfile::tempdir().unwrap();
        let disk = Disk::new(folder.path());
        let long = Duration::MAX;
        disk.checked(long).unwrap();
        disk.pretend(true);
        disk.checked(long).unwrap();
        assert!(disk.checked(Duration::ZERO).is_err());
        disk.pretend(false);
        assert_eq!(disk.checked(long).unwrap_err().kind(), io::ErrorKind::StorageFull);
        disk.checked(Duration::ZERO).unwrap();
    }
}
