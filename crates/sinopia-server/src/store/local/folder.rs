//! The files of the folder of jobs: which are ours, and what becomes of those that are not.
//!
//! Ours are pictures whose names we make, `<32 hexadecimal digits>.png`, those of attempts, `<32 hexadecimal digits>-<number>.png`, and halves of them, `.part`. Whatever else lies in the folder of pictures is left alone.
//! A picture is deleted when its job is, and never by a start: one that no job names is set aside. Symbolic links are followed by nobody.

use std::fs::{self, File};
use std::io::{self, ErrorKind};
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use super::disk::Disk;
use super::files::{
    at, entries, free_name, is_file, is_own_file, private_file, private_folder, read, refuse_link, warn_if_open,
    write_new,
};
use crate::error::{Error, Result};
use crate::wire::Attempt;

/// Names that one line of the log has room for.
const SHOWN_NAMES: usize = 10;
/// The folder of pictures.
const PICTURES: &str = "pictures";
/// The folder of pictures that no job names.
const QUARANTINE: &str = "quarantine";
/// Digits of a job's name.
const ID_DIGITS: usize = 32;

/// A folder on this machine for jobs, pictures or both. It belongs to this process as long as this or a store in it lives, and the room that is kept back for a
/// full disk belongs to the folder: whatever is kept in it shares that.
#[derive(Debug)]
pub struct Folder {
    root: PathBuf,
    disk: Disk,
    _lock: File,
}

/// Which picture: that of a job or an upload, or of one of a job's attempts. Ids come from the record or from [`new_id`](crate::store::new_id), never from a
/// request, so nothing in them leads elsewhere.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct PictureName<'a> {
    id: &'a str,
    attempt: Option<usize>,
}

impl<'a> PictureName<'a> {
    pub(super) fn of_job(id: &'a str) -> Self {
        Self { id, attempt: None }
    }

    pub(super) fn of_attempt(id: &'a str, number: usize) -> Self {
        Self { id, attempt: Some(number) }
    }

    fn stem(self) -> String {
        match self.attempt {
            None => self.id.to_owned(),
            Some(number) => format!("{}-{number}", self.id),
        }
    }

    fn file(self) -> String {
        format!("{}.png", self.stem())
    }
}

/// A picture that no job names.
pub(super) struct LostPicture {
    /// The name of the job that it was made for.
    pub(super) id: String,
    /// When it was written.
    pub(super) modified: Duration,
    path: PathBuf,
}

impl Folder {
    /// Makes the folder if there is none, and takes it.
    ///
    /// # Errors
    /// [`Error::Folder`], [`Error::Link`] for a link within it, [`Error::FolderInUse`].
    pub fn open(root: &Path) -> Result<Self> {
        warn_if_open(root);
        private_folder(root).map_err(at(root))?;
        for path in [PICTURES, QUARANTINE].map(|name| root.join(name)) {
            refuse_link(&path)?;
            private_folder(&path).map_err(at(&path))?;
        }
        for name in ["lock", "jobs.sqlite", "jobs.sqlite-wal", "jobs.sqlite-shm"] {
            refuse_link(&root.join(name))?;
        }
        Ok(Self { root: root.to_owned(), disk: Disk::new(root), _lock: lock(root)? })
    }

    /// The room on its disk.
    pub(super) fn disk(&self) -> &Disk {
        &self.disk
    }

    pub(super) fn record(&self) -> PathBuf {
        self.root.join("jobs.sqlite")
    }

    pub(super) fn pictures(&self) -> PathBuf {
        self.root.join(PICTURES)
    }

    fn quarantine(&self) -> PathBuf {
        self.root.join(QUARANTINE)
    }

    fn picture(&self, name: PictureName<'_>) -> PathBuf {
        self.pictures().join(name.file())
    }

    /// Keeps a picture: after this it is there whole, or not at all.
    ///
    /// # Errors
    /// [`Error::Folder`].
    pub(super) fn put_picture(&self, name: PictureName<'_>, png: &[u8]) -> Result<()> {
        let path = self.picture(name);
        let part = path.with_extension("part");
        write_new(&part, png).and_then(|()| fs::rename(&part, &path)).map_err(|source| {
            // Half a picture only takes room.
            let _ = fs::remove_file(&part);
            Error::Folder { path, source }
        })
    }

    /// A picture, if it is there.
    ///
    /// # Errors
    /// [`Error::Folder`] if it cannot be read.
    pub(super) fn read_picture(&self, name: PictureName<'_>) -> Result<Option<Vec<u8>>> {
        let path = self.picture(name);
        match is_file(&path) {
            Ok(true) => read(&path).map(Some).map_err(at(&path)),
            Ok(false) => Ok(None),
            Err(source) => Err(Error::Folder { path, source }),
        }
    }

    /// Deletes the pictures of a job that is deleted, or of an upload.
    ///
    /// # Errors
    /// [`Error::Folder`].
    pub(super) fn delete_pictures(&self, id: &str) -> Result<()> {
        let attempts = (0..Attempt::MAX).map(|number| PictureName::of_attempt(id, number));
        for name in attempts.chain([PictureName::of_job(id)]) {
            let path = self.picture(name);
            let delete = || if is_file(&path)? { fs::remove_file(&path) } else { Ok(()) };
            delete().map_err(at(&path))?;
        }
        Ok(())
    }

    /// Looks through the folder of pictures at a start. `is_known` says whether the record knows a job; if `nothing_moves`, as with a new record, which knows
    /// none, what no job names stays where it is.
    ///
    /// # Errors
    /// [`Error::Folder`], and whatever `is_known` returns.
    pub(super) fn sweep(&self, nothing_moves: bool, is_known: impl Fn(&str) -> Result<bool>) -> Result<()> {
        let (mut foreign, mut unknown) = (Vec::new(), Vec::new());
        for (name, path) in entries(&self.pictures())? {
            let Some((own, is_whole)) = own_name(&name).filter(|_| is_own_file(&path)) else {
                foreign.push(name);
                continue;
            };
            match is_known(own.id)? {
                // Half a picture, left by a process that ended in the middle.
                true if !is_whole => {
                    if let Err(error) = fs::remove_file(&path) {
                        tracing::warn!(file = ?path, %error, "cannot delete half a picture");
                    }
                }
                // A job that has yet to be painted writes over it; one that failed takes it along when it is deleted.
                true => {}
                false if nothing_moves => unknown.push(name),
                false => self.set_aside(&name, &path, is_whole),
            }
        }
        if !foreign.is_empty() {
            let count = foreign.len();
            tracing::warn!(folder = ?self.pictures(), count, files = few(foreign), "left alone what this server did not write");
        }
        if !unknown.is_empty() {
            let count = unknown.len();
            tracing::warn!(
                folder = ?self.pictures(), count, files = few(unknown),
                "left alone pictures that no job names: `sinopia serve --recover` makes jobs of those that say how they were made, as far as `--keep` leaves room"
            );
        }
        Ok(())
    }

    fn set_aside(&self, name: &str, path: &Path, is_whole: bool) {
        match free_name(&self.quarantine().join(name)).and_then(|to| fs::rename(path, &to).map(|()| to)) {
            Ok(to) if !is_whole => tracing::warn!(file = ?path, ?to, "set aside half a picture that no job names"),
            Ok(to) => tracing::warn!(
                file = ?path, ?to,
                "set aside a picture that no job names: `sinopia serve --recover` makes a job of it"
            ),
            Err(error) => tracing::warn!(file = ?path, %error, "left alone a picture that no job names"),
        }
    }

    /// Whole pictures, those set aside included, that no job names: newest first.
    ///
    /// # Errors
    /// [`Error::Folder`], and whatever `is_known` returns.
    pub(super) fn lost_pictures(&self, is_known: impl Fn(&str) -> Result<bool>) -> Result<Vec<LostPicture>> {
        let mut found: Vec<LostPicture> = Vec::new();
        for folder in [self.pictures(), self.quarantine()] {
            for (name, path) in entries(&folder)? {
                let Some((PictureName { id, attempt: None }, true)) = own_name(&name) else { continue };
                if !is_own_file(&path) || is_known(id)? || found.iter().any(|other| other.id == id) {
                    continue;
                }
                let modified = fs::symlink_metadata(&path).and_then(|metadata| metadata.modified());
                let modified = modified.ok().and_then(|time| time.duration_since(SystemTime::UNIX_EPOCH).ok());
                found.push(LostPicture { id: id.to_owned(), modified: modified.unwrap_or_default(), path });
            }
        }
        found.sort_by(|a, b| (b.modified, &b.id).cmp(&(a.modified, &a.id)));
        Ok(found)
    }

    /// The bytes of a picture, unless it is too large to be one.
    pub(super) fn read_lost(&self, found: &LostPicture) -> io::Result<Vec<u8>> {
        read(&found.path)
    }

    /// Brings a picture back that was set aside. False, and a line in the log, if something else stands in its place.
    ///
    /// # Errors
    /// [`Error::Folder`].
    pub(super) fn take_back(&self, found: &LostPicture) -> Result<bool> {
        let path = self.picture(PictureName::of_job(&found.id));
        if found.path == path {
            return Ok(true);
        }
        match fs::symlink_metadata(&path) {
            Err(error) if error.kind() == ErrorKind::NotFound => {}
            _ => {
                tracing::warn!(picture = ?found.path, ?path, "left alone a picture that was set aside: something else stands in its place");
                return Ok(false);
            }
        }
        fs::rename(&found.path, &path).map(|()| true).map_err(at(&path))
    }
}

/// A lock that is held as long as the file is open.
fn lock(root: &Path) -> Result<File> {
    let path = root.join("lock");
    let lock = private_file().create(true).append(true).open(&path).map_err(at(&path))?;
    match lock.try_lock() {
        Ok(()) => Ok(lock),
        Err(fs::TryLockError::WouldBlock) => Err(Error::FolderInUse { path: root.to_owned() }),
        Err(fs::TryLockError::Error(source)) => Err(at(&path)(source)),
    }
}

/// Whose a file in the folder of pictures is, if we gave it its name, and whether it is a whole picture.
fn own_name(name: &str) -> Option<(PictureName<'_>, bool)> {
    let (stem, ending) = name.split_once('.')?;
    let is_whole = match ending {
        "png" => true,
        "part" => false,
        _ => return None,
    };
    let (id, attempt) = match stem.split_once('-') {
        None => (stem, None),
        Some((id, number)) => (id, Some(number.parse().ok().filter(|number: &usize| *number < Attempt::MAX)?)),
    };
    let is_id = id.len() == ID_DIGITS && id.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'));
    let own = PictureName { id, attempt };
    // A number with a sign or zeros before it is not as we write it.
    (is_id && own.stem() == stem).then_some((own, is_whole))
}

/// The first names, quoted, so that nothing in them moves a terminal's cursor.
fn few(names: Vec<String>) -> String {
    let more = names.len().saturating_sub(SHOWN_NAMES);
    let shown: Vec<String> = names.into_iter().take(SHOWN_NAMES).map(|name| format!("{name:?}")).collect();
    match more {
        0 => shown.join(", "),
        _ => format!("{} and {more} more", shown.join(", ")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_names_that_we_make_are_ours() {
        let id = "0123456789abcdef0123456789abcdef";
        assert_eq!(own_name(&format!("{id}.png")), Some((PictureName::of_job(id), true)));
        assert_eq!(own_name(&format!("{id}.part")), Some((PictureName::of_job(id), false)));
        assert_eq!(own_name(&format!("{id}-0.png")), Some((PictureName::of_attempt(id, 0), true)));
        assert_eq!(own_name(&format!("{id}-63.part")), Some((PictureName::of_attempt(id, 63), false)));
        for other in ["wedding.jpg", "holiday.png", "a.part", ".png", "", "png"] {
            assert_eq!(own_name(other), None, "{other}");
        }
        for number in ["64", "00", "-1", "+1", "", "1-1", "x", " 1"] {
            assert_eq!(own_name(&format!("{id}-{number}.png")), None, "{number}");
        }
        for other in [format!("{id}.PNG"), format!("{id}0.png"), format!("{id}.png.part"), id.to_uppercase() + ".png"] {
            assert_eq!(own_name(&other), None, "{other}");
        }
    }

    #[test]
    fn names_are_shown_up_to_a_few() {
        let names = |count: usize| (0..count).map(|i| format!("{i}\n")).collect::<Vec<_>>();
        assert_eq!(few(names(2)), r#""0\n", "1\n""#);
        assert!(few(names(12)).ends_with(r#""9\n" and 2 more"#));
    }
}
