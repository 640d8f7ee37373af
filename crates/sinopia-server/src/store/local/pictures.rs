//! Pictures in a folder.

use std::io;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use super::folder::{Folder, PictureName};
use crate::error::{Error, Result, is_full};
use crate::store::artefacts::ArtefactStore;

/// The pictures of a folder, a file each.
#[derive(Debug)]
pub struct PictureFolder {
    folder: Arc<Folder>,
}

impl PictureFolder {
    /// The pictures of a folder that is open, wherever their jobs are kept.
    pub fn new(folder: Arc<Folder>) -> Self {
        Self { folder }
    }

    fn put_as(&self, name: PictureName<'_>, png: &[u8]) -> Result<()> {
        let disk = self.folder.disk();
        #[cfg(test)]
        if !disk.pretends_room_for(png.len()) {
            disk.lacked(png.len());
            return Err(self.without_room(io::ErrorKind::StorageFull.into()));
        }
        let put = self.folder.put_picture(name, png).map_err(as_store);
        match &put {
            Ok(()) => disk.sufficed(),
            // The next of its kind is not painted before there is room for it.
            Err(error) if error.is_disk_full() => disk.lacked(png.len()),
            Err(_) => {}
        }
        put
    }

    fn without_room(&self, source: io::Error) -> Error {
        let is_full = is_full(source.kind());
        Error::Store { what: what(&self.folder.pictures()), source: source.into(), is_full }
    }
}

/// What the folder fails with, as every store says it.
fn as_store(error: Error) -> Error {
    match error {
        Error::Folder { path, source } => {
            let is_full = is_full(source.kind());
            Error::Store { what: what(&path), source: source.into(), is_full }
        }
        other => other,
    }
}

/// A picture or their folder, as errors name it.
fn what(path: &Path) -> String {
    format!("`{}`", path.display())
}

impl ArtefactStore for PictureFolder {
    fn put(&self, id: &str, png: &[u8]) -> Result<()> {
        self.put_as(PictureName::of_job(id), png)
    }

    fn get(&self, id: &str) -> Result<Option<Vec<u8>>> {
        self.folder.read_picture(PictureName::of_job(id)).map_err(as_store)
    }

    fn put_attempt(&self, id: &str, number: usize, png: &[u8]) -> Result<()> {
        self.put_as(PictureName::of_attempt(id, number), png)
    }

    fn get_attempt(&self, id: &str, number: usize) -> Result<Option<Vec<u8>>> {
        self.folder.read_picture(PictureName::of_attempt(id, number)).map_err(as_store)
    }

    fn delete(&self, id: &str) -> Result<()> {
        self.folder.delete_pictures(id).map_err(as_store)
    }

    fn check_room(&self) -> Result<()> {
        self.folder.disk().check().map_err(|source| self.without_room(source))
    }

    fn had_room(&self, max_age: Duration) -> Result<()> {
        self.folder.disk().checked(max_age).map_err(|source| self.without_room(source))
    }
}
