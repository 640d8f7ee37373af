//! The files of the folder of jobs: which are ours, and what becomes of those that are not.
//!
//! Ours are pictures whose names we make, `<32 hexadecimal digits>.png`, and halves of them, `.part`. Whatever else lies in the folder of pictures is left alone.
//! A picture is deleted when its job is, and never by a start: one that no job names is set aside. Symbolic links are followed by nobody.

use std::fs::{self, File, OpenOptions};
use std::io::{self, ErrorKind, Write};
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use sinopia_layout::limits::{self, PICTURE_BYTES};

use crate::error::{Error, Result};

/// Names that one line of the log has room for.
const TOLD_NAMES: usize = 10;
/// Digits of a job's name.
const ID_DIGITS: usize = 32;

/// The folder of jobs.
#[derive(Debug)]
pub(super) struct Folder {
    root: PathBuf,
}

/// A picture that no job names.
pub(super) struct Found {
    /// The name of the job that it was made for.
    pub(super) id: String,
    /// When it was written.
    pub(super) modified: Duration,
    path: PathBuf,
}

impl Folder {
    /// Makes the folder if there is none.
    ///
    /// # Errors
    /// [`Error::Folder`], [`Error::Link`] for a link within it.
    pub(super) fn open(root: &Path) -> Result<Self> {
        warn_if_open(root);
        let folder = Self { root: root.to_owned() };
        for path in [root.to_owned(), folder.pictures(), folder.quarantine()] {
            if path != root {
                refuse_link(&path)?;
            }
            private_folder(&path).map_err(at(&path))?;
        }
        for name in ["lock", "jobs.sqlite", "jobs.sqlite-wal", "jobs.sqlite-shm"] {
            refuse_link(&root.join(name))?;
        }
        Ok(folder)
    }

    /// A lock that is held as long as the file is open.
    ///
    /// # Errors
    /// [`Error::Folder`], [`Error::FolderInUse`].
    pub(super) fn lock(&self) -> Result<File> {
        let path = self.root.join("lock");
        let lock = private_file().create(true).append(true).open(&path).map_err(at(&path))?;
        match lock.try_lock() {
            Ok(()) => Ok(lock),
            Err(fs::TryLockError::WouldBlock) => Err(Error::FolderInUse { path: self.root.clone() }),
            Err(fs::TryLockError::Error(source)) => Err(at(&path)(source)),
        }
    }

    pub(super) fn record(&self) -> PathBuf {
        self.root.join("jobs.sqlite")
    }

    pub(super) fn pictures(&self) -> PathBuf {
        self.root.join("pictures")
    }

    fn quarantine(&self) -> PathBuf {
        self.root.join("quarantine")
    }

    /// Ids come from the record or from [`new_id`](super::new_id), never from a request, so nothing in them leads elsewhere.
    fn picture(&self, id: &str) -> PathBuf {
        self.pictures().join(format!("{id}.png"))
    }

    /// Keeps a picture: after this it is there whole, or not at all.
    ///
    /// # Errors
    /// [`Error::Folder`].
    pub(super) fn put_picture(&self, id: &str, png: &[u8]) -> Result<()> {
        let path = self.picture(id);
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
    pub(super) fn read_picture(&self, id: &str) -> Result<Option<Vec<u8>>> {
        let path = self.picture(id);
        match is_file(&path) {
            Ok(true) => read(&path).map(Some).map_err(at(&path)),
            Ok(false) => Ok(None),
            Err(source) => Err(Error::Folder { path, source }),
        }
    }

    /// Deletes the picture of a job that is deleted.
    ///
    /// # Errors
    /// [`Error::Folder`].
    pub(super) fn delete_picture(&self, id: &str) -> Result<()> {
        let path = self.picture(id);
        let delete = || if is_file(&path)? { fs::remove_file(&path) } else { Ok(()) };
        delete().map_err(at(&path))
    }

    /// Looks through the folder of pictures at a start. `is_known` says whether the record knows a job; if `nothing_moves`, as with a new record, which knows
    /// none, what no job names stays where it is.
    ///
    /// # Errors
    /// [`Error::Folder`], and whatever `is_known` returns.
    pub(super) fn sweep(&self, nothing_moves: bool, is_known: impl Fn(&str) -> Result<bool>) -> Result<()> {
        let (mut foreign, mut unknown) = (Vec::new(), Vec::new());
        for (name, path) in entries(&self.pictures())? {
            let Some((id, is_whole)) = own_name(&name).filter(|_| is_own_file(&path)) else {
                foreign.push(name);
                continue;
            };
            match is_known(id)? {
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
    pub(super) fn lost_pictures(&self, is_known: impl Fn(&str) -> Result<bool>) -> Result<Vec<Found>> {
        let mut found: Vec<Found> = Vec::new();
        for folder in [self.pictures(), self.quarantine()] {
            for (name, path) in entries(&folder)? {
                let Some((id, true)) = own_name(&name) else { continue };
                if !is_own_file(&path) || is_known(id)? || found.iter().any(|other| other.id == id) {
                    continue;
                }
                let modified = fs::symlink_metadata(&path).and_then(|metadata| metadata.modified());
                let modified = modified.ok().and_then(|time| time.duration_since(SystemTime::UNIX_EPOCH).ok());
                found.push(Found { id: id.to_owned(), modified: modified.unwrap_or_default(), path });
            }
        }
        found.sort_by(|a, b| (b.modified, &b.id).cmp(&(a.modified, &a.id)));
        Ok(found)
    }

    /// The bytes of a picture, unless it is too large to be one.
    pub(super) fn read_lost(&self, found: &Found) -> io::Result<Vec<u8>> {
        read(&found.path)
    }

    /// Brings a picture back that was set aside. False, and a line in the log, if something else stands in its place.
    ///
    /// # Errors
    /// [`Error::Folder`].
    pub(super) fn take_back(&self, found: &Found) -> Result<bool> {
        let path = self.picture(&found.id);
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

/// The id in a name that we gave, and whether it is a whole picture's.
fn own_name(name: &str) -> Option<(&str, bool)> {
    let (id, ending) = name.split_once('.')?;
    let is_id = id.len() == ID_DIGITS && id.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'));
    match ending {
        "png" if is_id => Some((id, true)),
        "part" if is_id => Some((id, false)),
        _ => None,
    }
}

/// Names and paths in a folder, by name. What no text can name is shown as far as it can.
fn entries(folder: &Path) -> Result<Vec<(String, PathBuf)>> {
    let entries = fs::read_dir(folder).map_err(at(folder))?.flatten();
    let mut all: Vec<_> =
        entries.map(|entry| (entry.file_name().to_string_lossy().into_owned(), entry.path())).collect();
    all.sort();
    Ok(all)
}

/// The first names, quoted, so that nothing in them moves a terminal's cursor.
fn few(names: Vec<String>) -> String {
    let more = names.len().saturating_sub(TOLD_NAMES);
    let told: Vec<String> = names.into_iter().take(TOLD_NAMES).map(|name| format!("{name:?}")).collect();
    match more {
        0 => told.join(", "),
        _ => format!("{} and {more} more", told.join(", ")),
    }
}

/// Whether there is a file of that name that is neither a link nor a folder.
fn is_file(path: &Path) -> io::Result<bool> {
    match fs::symlink_metadata(path) {
        Ok(metadata) => Ok(metadata.is_file()),
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(false),
        Err(error) => Err(error),
    }
}

/// The same; where nobody may look, it says so and takes it for none.
fn is_own_file(path: &Path) -> bool {
    is_file(path).unwrap_or_else(|error| {
        tracing::warn!(file = ?path, %error, "cannot look at a file");
        false
    })
}

/// What a file holds that is no larger than a picture may be.
fn read(path: &Path) -> io::Result<Vec<u8>> {
    limits::read_up_to(File::open(path)?, PICTURE_BYTES)
}

/// Refuses a link where the server writes: it would write somewhere else.
fn refuse_link(path: &Path) -> Result<()> {
    match fs::symlink_metadata(path) {
        Ok(metadata) if metadata.is_symlink() => Err(Error::Link { path: path.to_owned() }),
        _ => Ok(()),
    }
}

/// Makes a file of ours. One that an earlier process left is replaced; a link of that name is never written through.
pub(super) fn create_new(path: &Path) -> io::Result<File> {
    let create = || private_file().write(true).create_new(true).open(path);
    match create() {
        Err(error) if error.kind() == ErrorKind::AlreadyExists => {
            fs::remove_file(path)?;
            create()
        }
        file => file,
    }
}

/// Writes a file of ours, to the disk itself.
pub(super) fn write_new(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let mut file = create_new(path)?;
    file.write_all(bytes)?;
    file.sync_all()
}

/// `path`, or the same with a number behind it, whichever is no file yet.
pub(super) fn free_name(path: &Path) -> io::Result<PathBuf> {
    let numbered = |number: u32| {
        let mut name = path.as_os_str().to_owned();
        name.push(format!("-{number}"));
        PathBuf::from(name)
    };
    let is_free = |path: &PathBuf| fs::symlink_metadata(path).is_err_and(|error| error.kind() == ErrorKind::NotFound);
    let names = std::iter::once(path.to_owned()).chain((2..10_000).map(numbered));
    names.into_iter().find(is_free).ok_or_else(|| ErrorKind::AlreadyExists.into())
}

/// A file that only its owner can read.
fn private_file() -> OpenOptions {
    #[allow(unused_mut, reason = "unused where files have no modes")]
    let mut options = OpenOptions::new();
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    options
}

/// A folder that only its owner can look into: captions and pictures are nobody else's business.
fn private_folder(path: &Path) -> io::Result<()> {
    let mut builder = fs::DirBuilder::new();
    builder.recursive(true);
    #[cfg(unix)]
    std::os::unix::fs::DirBuilderExt::mode(&mut builder, 0o700);
    builder.create(path)
}

/// Says so if a folder that was there before can be looked into by others.
fn warn_if_open(path: &Path) {
    #[cfg(unix)]
    if let Ok(metadata) = fs::metadata(path) {
        let mode = std::os::unix::fs::PermissionsExt::mode(&metadata.permissions()) & 0o777;
        if metadata.is_dir() && mode & 0o077 != 0 {
            tracing::warn!(folder = ?path, mode = format!("{mode:o}"), "others on this machine can look into the folder of jobs: `chmod 700` closes it");
        }
    }
    #[cfg(not(unix))]
    let _ = path;
}

fn at(path: &Path) -> impl FnOnce(io::Error) -> Error {
    let path = path.to_owned();
    move |source| Error::Folder { path, source }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_names_that_we_make_are_ours() {
        let id = "0123456789abcdef0123456789abcdef";
        assert_eq!(own_name(&format!("{id}.png")), Some((id, true)));
        assert_eq!(own_name(&format!("{id}.part")), Some((id, false)));
        for other in ["wedding.jpg", "holiday.png", "a.part", ".png", "", "png"] {
            assert_eq!(own_name(other), None, "{other}");
        }
        for other in [format!("{id}.PNG"), format!("{id}0.png"), format!("{id}.png.part"), id.to_uppercase() + ".png"] {
            assert_eq!(own_name(&other), None, "{other}");
        }
    }

    #[test]
    fn names_are_told_up_to_a_few() {
        let names = |count: usize| (0..count).map(|i| format!("{i}\n")).collect::<Vec<_>>();
        assert_eq!(few(names(2)), r#""0\n", "1\n""#);
        assert!(few(names(12)).ends_with(r#""9\n" and 2 more"#));
    }

    #[test]
    fn what_is_set_aside_never_writes_over_anything() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("x");
        for expected in ["x", "x-2", "x-3"] {
            let free = free_name(&path).unwrap();
            assert_eq!(free, folder.path().join(expected));
            fs::write(free, b"").unwrap();
        }
    }

    #[cfg(unix)]
    #[test]
    fn links_are_not_written_through() {
        let folder = tempfile::tempdir().unwrap();
        let (link, target) = (folder.path().join("link"), folder.path().join("target"));
        fs::write(&target, b"precious").unwrap();
        std::os::unix::fs::symlink(&target, &link).unwrap();
        write_new(&link, b"ours").unwrap();
        assert_eq!((fs::read(&target).unwrap(), fs::read(&link).unwrap()), (b"precious".to_vec(), b"ours".to_vec()));
        assert!(is_file(&link).unwrap());
    }
}
