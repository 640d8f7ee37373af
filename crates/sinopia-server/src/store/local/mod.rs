//! Jobs on this machine: a row each in SQLite, the pictures in a folder beside it.
//!
//! A picture is written beside its place, flushed and renamed. What has to be written while the disk is full takes the room that is kept back for it
//! (`disk.rs`); if even that is gone, it is remembered (`unwritten.rs`). A row that says `running` when the folder is opened was being painted by a process that
//! is gone, as a folder belongs to one process at a time: it is queued again.

mod disk;
mod files;
mod folder;
mod format;
mod pictures;
mod recovery;
mod rows;
mod sqlite;
#[cfg(test)]
mod tests;
mod text;
mod unwritten;

use std::path::Path;
use std::sync::Arc;

use super::ordered::Store;
use crate::error::Result;
pub use folder::Folder;
pub use pictures::PictureFolder;
use recovery::Recovery;
pub use recovery::RequestOf;
pub use sqlite::SqliteJobs;

/// Stores on this machine.
impl Store {
    /// Opens a folder, makes it if there is none, and queues again what was being painted when its last process ended.
    ///
    /// # Errors
    /// Those of [`Folder::open`] and [`SqliteJobs::open`].
    pub fn open(path: &Path) -> Result<Self> {
        Ok(open(path, None)?.store)
    }

    /// The same for a folder whose record may be lost or damaged: a damaged one is set aside, and pictures that no job names become jobs. `request_of` reads the
    /// request back from a picture, if it is one of ours. `keep` is what [`prune`](Self::prune) will be called with: no more pictures become jobs than it leaves
    /// alone.
    ///
    /// # Errors
    /// As [`open`](Self::open), but for [`Error::RecordDamaged`](crate::Error::RecordDamaged).
    pub fn recover(path: &Path, request_of: &RequestOf<'_>, keep: usize) -> Result<Self> {
        Ok(open(path, Some(Recovery { request_of, keep }))?.store)
    }
}

/// A folder that is open.
struct Local {
    /// The folder as the rest of the program sees it.
    store: Store,
    #[cfg(test)]
    jobs: Arc<SqliteJobs>,
    #[cfg(test)]
    folder: Arc<Folder>,
}

#[cfg(test)]
impl Local {
    fn disk(&self) -> &disk::Disk {
        self.folder.disk()
    }
}

/// Opens a folder, makes it if there is none, and tidies up what its last process left; with `recovery` also where its record is lost or damaged.
fn open(path: &Path, recovery: Option<Recovery<'_>>) -> Result<Local> {
    let folder = Arc::new(Folder::open(path)?);
    let format::Opened { writer, is_new } = format::open_in(&folder, recovery.is_some())?;
    let jobs = Arc::new(SqliteJobs::new(folder.clone(), writer));
    let store = Store::new(jobs.clone(), Arc::new(PictureFolder::new(folder.clone())));
    jobs.resume()?;
    store.finish_deleting()?;
    let nothing_moves = is_new || recovery.is_some();
    if let Some(recovery) = recovery {
        recovery::adopt_lost_pictures(&jobs, &folder, &recovery)?;
    }
    // What could not be made a job of just now stays where it is.
    folder.sweep(nothing_moves, |id| jobs.is_known(id))?;
    let _ = folder.disk().check(); // says itself if the disk is full
    Ok(Local {
        store,
        #[cfg(test)]
        jobs,
        #[cfg(test)]
        folder,
    })
}
