//! Files and folders of ours: only their owner can read them, links are not followed, nothing is written over.

use std::fs::{self, File, OpenOptions};
use std::io::{self, ErrorKind, Write};
use std::path::{Path, PathBuf};

use sinopia_layout::limits::{self, PICTURE_BYTES};

use crate::error::{Error, Result};

/// Names and paths in a folder, by name. What no text can name is shown as far as it can.
pub(super) fn entries(folder: &Path) -> Result<Vec<(String, PathBuf)>> {
    let entries = fs::read_dir(folder).map_err(at(folder))?.flatten();
    let mut all: Vec<_> =
        entries.map(|entry| (entry.file_name().to_string_lossy().into_owned(), entry.path())).collect();
    all.sort();
    Ok(all)
}

/// Whether there is a file of that name that is neither a link nor a folder.
pub(super) fn is_file(path: &Path) -> io::Result<bool> {
    match fs::symlink_metadata(path) {
        Ok(metadata) => Ok(metadata.is_file()),
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(false),
        Err(error) => Err(error),
    }
}

/// The same; where nobody may look, it says so and takes it for none.
pub(super) fn is_own_file(path: &Path) -> bool {
    is_file(path).unwrap_or_else(|error| {
        tracing::warn!(file = ?path, %error, "cannot look at a file");
        false
    })
}

/// What a file holds that is no larger than a picture may be.
pub(super) fn read(path: &Path) -> io::Result<Vec<u8>> {
    limits::read_up_to(File::open(path)?, PICTURE_BYTES)
}

/// Refuses a link where the server writes: it would write somewhere else.
pub(super) fn refuse_link(path: &Path) -> Result<()> {
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
pub(super) fn private_file() -> OpenOptions {
    let options = OpenOptions::new();
    #[cfg(unix)]
    let options = {
        let mut options = options;
        std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
        options
    };
    options
}

/// A folder that only its owner can look into: captions and pictures are nobody else's business.
pub(super) fn private_folder(path: &Path) -> io::Result<()> {
    let mut builder = fs::DirBuilder::new();
    builder.recursive(true);
    #[cfg(unix)]
    std::os::unix::fs::DirBuilderExt::mode(&mut builder, 0o700);
    builder.create(path)
}

/// Says so if a folder that was there before can be looked into by others.
pub(super) fn warn_if_open(path: &Path) {
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

pub(super) fn at(path: &Path) -> impl FnOnce(io::Error) -> Error {
    let path = path.to_owned();
    move |source| Error::Folder { path, source }
}

#[cfg(test)]
mod tests {
    use super::*;

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
