//! The folder in which packs are: who comes, who goes.

use std::fs::{File, TryLockError};
use std::io::{self, Error, ErrorKind, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::SystemTime;

use super::PackKey;
use super::file::read_index;

/// How packs end.
pub(super) const EXTENSION: &str = "pack";
/// How what is not finished ends.
const UNFINISHED: &str = "part";

/// A folder of packs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PackFolder {
    path: PathBuf,
}

/// A file in the folder.
#[derive(Debug, Clone)]
pub struct PackInfo {
    /// Where it is.
    pub path: PathBuf,
    /// Its size.
    pub bytes: u64,
    /// When it was used last.
    pub used: SystemTime,
    /// Of which model it is, by the name that it was made under, and for what; in words, why it is no pack.
    pub made_of: Result<(String, PackKey), String>,
}

impl PackInfo {
    /// Whether no model will use it on this machine with this program: of another edition, or damaged.
    pub fn is_stale(&self) -> bool {
        !matches!(&self.made_of, Ok((_, key)) if key.is_current())
    }
}

/// What was removed.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Removed {
    /// Packs that are gone.
    pub packs: usize,
    /// Their bytes.
    pub bytes: u64,
    /// Packs that stayed because a process uses them.
    pub in_use: usize,
}

impl PackFolder {
    /// The folder at a path, which need not exist.
    pub fn new(path: PathBuf) -> Self {
        Self { path }
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// What is in it, used longest ago first.
    pub fn list(&self) -> Vec<PackInfo> {
        let info = |(path, bytes, used): (PathBuf, u64, SystemTime)| {
            let made_of = read_index(&path).map(|index| (index.model, index.key));
            PackInfo { path, bytes, used, made_of }
        };
        self.packs().into_iter().map(info).collect()
    }

    /// Whether there is no pack in it.
    pub(super) fn is_empty(&self) -> bool {
        self.packs().is_empty()
    }

    /// Removes the packs that `which` names, and what is left of processes that ended while they wrote. Packs in use stay.
    ///
    /// # Errors
    /// When the system refuses.
    pub fn clear(&self, which: impl Fn(&PackInfo) -> bool) -> io::Result<Removed> {
        self.remove_leftovers();
        let mut removed = Removed::default();
        for info in self.list().into_iter().filter(which) {
            match remove_unused(&info.path)? {
                true => (removed.packs, removed.bytes) = (removed.packs + 1, removed.bytes + info.bytes),
                false => removed.in_use += 1,
            }
        }
        Ok(removed)
    }

    /// Where the pack of a key belongs.
    pub(super) fn place(&self, key: &PackKey) -> PathBuf {
        self.path.join(key.file_name())
    }

    /// A new file to write a pack to.
    pub(super) fn begin(&self) -> io::Result<PartFile> {
        create_private(&self.path)?;
        self.remove_leftovers();
        static COUNT: AtomicU64 = AtomicU64::new(0);
        let number = COUNT.fetch_add(1, Ordering::Relaxed);
        let path = self.path.join(format!(".{}-{number}.{UNFINISHED}", std::process::id()));
        let file = File::options().write(true).create_new(true).open(&path)?;
        let part = PartFile { path, file, is_kept: false };
        // What nobody holds is taken for left behind.
        match part.file.try_lock() {
            Ok(()) | Err(TryLockError::Error(_)) => Ok(part),
            Err(TryLockError::WouldBlock) => Err(ErrorKind::ResourceBusy.into()),
        }
    }

    /// Brings a finished file to its place. Others go until all have at most `max_bytes`, those used longest ago first.
    pub(super) fn keep(&self, mut part: PartFile, key: &PackKey, max_bytes: u64) -> io::Result<PathBuf> {
        let place = self.place(key);
        part.file.sync_all()?;
        self.make_room(part.file.metadata()?.len(), max_bytes, &place)?;
        std::fs::rename(&part.path, &place)?;
        part.is_kept = true;
        sync_folder(&self.path);
        Ok(place)
    }

    /// Removes packs until `bytes` more are within `max_bytes`; the one at `place` will be replaced and does not count.
    fn make_room(&self, bytes: u64, max_bytes: u64, place: &Path) -> io::Result<()> {
        let others: Vec<_> = self.packs().into_iter().filter(|(path, ..)| path != place).collect();
        let mut total = bytes + others.iter().map(|(_, bytes, _)| bytes).sum::<u64>();
        for (path, bytes, _) in others {
            if total > max_bytes && remove_unused(&path)? {
                total -= bytes;
            }
        }
        if total <= max_bytes {
            return Ok(());
        }
        let message = format!("packs in use and this one have {total} bytes, {max_bytes} are allowed");
        Err(Error::new(ErrorKind::QuotaExceeded, message))
    }

    /// Path, size and last use of each pack, used longest ago first.
    fn packs(&self) -> Vec<(PathBuf, u64, SystemTime)> {
        let mut packs: Vec<_> = self.files(EXTENSION).collect();
        packs.sort_by(|(a, _, used_a), (b, _, used_b)| used_a.cmp(used_b).then_with(|| a.cmp(b)));
        packs
    }

    /// The files that end so.
    fn files(&self, extension: &'static str) -> impl Iterator<Item = (PathBuf, u64, SystemTime)> {
        let entries = std::fs::read_dir(&self.path).into_iter().flatten().filter_map(Result::ok);
        let paths =
            entries.map(|entry| entry.path()).filter(move |path| path.extension().is_some_and(|e| e == extension));
        paths.filter_map(|path| {
            let metadata = std::fs::symlink_metadata(&path).ok().filter(std::fs::Metadata::is_file)?;
            Some((path, metadata.len(), metadata.modified().unwrap_or(SystemTime::UNIX_EPOCH)))
        })
    }

    /// Removes what processes left that ended while they wrote.
    fn remove_leftovers(&self) {
        for (path, ..) in self.files(UNFINISHED) {
            // It is in nobody's way; the next who comes tries again.
            let _ = remove_unused(&path);
        }
    }
}

/// Removes a file unless a process holds its lock; whether it is gone.
fn remove_unused(path: &Path) -> io::Result<bool> {
    let file = match File::open(path) {
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(true),
        other => other?,
    };
    match file.try_lock() {
        // Where a lock cannot be had, as on some network file systems, nobody knows who uses the file.
        Err(TryLockError::WouldBlock | TryLockError::Error(_)) => Ok(false),
        Ok(()) => {
            std::fs::remove_file(path)?;
            Ok(true)
        }
    }
}

/// Makes a folder, and those above it, for its owner alone.
fn create_private(path: &Path) -> io::Result<()> {
    let mut builder = std::fs::DirBuilder::new();
    builder.recursive(true);
    #[cfg(unix)]
    std::os::unix::fs::DirBuilderExt::mode(&mut builder, 0o700);
    builder.create(path)
}

/// Brings a renaming to the disk. Without it an earlier state comes back after a crash, and that is a sound one.
fn sync_folder(path: &Path) {
    let _ = File::open(path).and_then(|folder| folder.sync_all());
}

/// A file that is being written beside its place, and gone if it is not kept.
#[derive(Debug)]
pub(super) struct PartFile {
    path: PathBuf,
    file: File,
    is_kept: bool,
}

impl Write for PartFile {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.file.write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.file.flush()
    }
}

impl Seek for PartFile {
    fn seek(&mut self, to: SeekFrom) -> io::Result<u64> {
        self.file.seek(to)
    }
}

impl Drop for PartFile {
    fn drop(&mut self) {
        if !self.is_kept {
            let _ = std::fs::remove_file(&self.path);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::super::writer::Writer;
    use super::*;
    use crate::Precision;

    fn key(content: &str) -> PackKey {
        PackKey::new(content, Precision::F32)
    }

    /// A pack with nothing in it.
    fn pack(folder: &PackFolder, content: &str) -> PathBuf {
        let writer = Writer::new(folder.begin().unwrap(), u64::MAX).unwrap();
        let part = writer.finish(key(content), content.to_owned()).unwrap();
        folder.keep(part, &key(content), u64::MAX).unwrap()
    }

    fn names(folder: &PackFolder) -> Vec<String> {
        folder.list().into_iter().map(|info| info.made_of.map_or_else(|problem| problem, |(name, _)| name)).collect()
    }

    fn used(path: &Path, seconds_ago: u64) {
        let file = File::options().write(true).open(path).unwrap();
        file.set_modified(SystemTime::now() - Duration::from_secs(seconds_ago)).unwrap();
    }

    #[test]
    fn the_pack_used_longest_ago_goes_and_none_that_is_in_use() {
        let home = tempfile::tempdir().unwrap();
        let folder = PackFolder::new(home.path().join("packed"));
        for (content, seconds) in [("a", 30), ("b", 20), ("c", 10)] {
            used(&pack(&folder, content), seconds);
        }
        assert_eq!(names(&folder), ["a", "b", "c"]);
        let one = folder.list()[0].bytes;
        let held = File::open(folder.place(&key("a"))).unwrap();
        held.lock_shared().unwrap();
        let part = Writer::new(folder.begin().unwrap(), u64::MAX).unwrap();
        let part = part.finish(key("d"), "d".to_owned()).unwrap();
        folder.keep(part, &key("d"), 3 * one).unwrap();
        assert_eq!(names(&folder), ["a", "c", "d"]);
        // Only that in use is left, and there is no room beside it.
        let part = Writer::new(folder.begin().unwrap(), u64::MAX).unwrap();
        let part = part.finish(key("e"), "e".to_owned()).unwrap();
        let error = folder.keep(part, &key("e"), one).unwrap_err();
        assert_eq!((error.kind(), names(&folder)), (ErrorKind::QuotaExceeded, vec!["a".to_owned()]));
        let removed = folder.clear(|_| true).unwrap();
        assert_eq!((removed.packs, removed.in_use), (0, 1));
        drop(held);
        assert_eq!(folder.clear(|_| true).unwrap(), Removed { packs: 1, bytes: one, in_use: 0 });
        assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 0);
    }

    #[test]
    fn what_nobody_writes_any_more_is_removed() {
        let home = tempfile::tempdir().unwrap();
        let folder = PackFolder::new(home.path().to_owned());
        let writing = folder.begin().unwrap();
        let left = home.path().join(".1-0.part");
        std::fs::write(&left, "half").unwrap();
        drop(folder.begin().unwrap());
        assert!(!left.exists() && writing.path.exists());
        drop(writing);
        assert_eq!(std::fs::read_dir(home.path()).unwrap().count(), 0);
    }

    #[test]
    fn files_that_are_no_packs_are_told_and_can_be_cleared() {
        let home = tempfile::tempdir().unwrap();
        let folder = PackFolder::new(home.path().to_owned());
        let good = pack(&folder, "good");
        std::fs::write(home.path().join("x.pack"), "x").unwrap();
        std::fs::write(home.path().join("cut.pack"), &std::fs::read(&good).unwrap()[..200]).unwrap();
        std::fs::write(home.path().join("letter.txt"), "of somebody").unwrap();
        let stale: Vec<bool> = folder.list().iter().map(PackInfo::is_stale).collect();
        assert_eq!(stale.iter().filter(|is_stale| **is_stale).count(), 2);
        assert_eq!(folder.clear(PackInfo::is_stale).unwrap().packs, 2);
        assert!(good.exists() && home.path().join("letter.txt").exists());
    }
}
