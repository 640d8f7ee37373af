//! Hashes of files that did not change since they were hashed.
//!
//! A file is taken for unchanged if it is the same one (device, inode) of the same size whose contents and status were changed at the same
//! nanoseconds as then. One that was changed within [`RACY`] of being looked at is not remembered: another change within what the file system's
//! clock can tell apart would look the same. The list is a convenience: if it is damaged, in nobody's way, or not there, files are hashed.

use std::path::Path;

use super::{HASHES, cache};
use crate::Result;
use crate::sha256::sha256_of;

/// The SHA-256 of a file on disk, remembered where this process [keeps](super::use_cache) anything.
pub(crate) fn remembered_sha256(path: &Path) -> Result<[u8; 32]> {
    match cache() {
        Some(options) => sha256_with(&options.folder.join(HASHES), path),
        None => sha256_of(path),
    }
}

#[cfg(not(unix))]
fn sha256_with(_list: &Path, path: &Path) -> Result<[u8; 32]> {
    sha256_of(path)
}

#[cfg(unix)]
use unix::sha256_with;

#[cfg(unix)]
mod unix {
    use std::io::Write;
    use std::os::unix::fs::MetadataExt;
    use std::path::Path;
    use std::sync::{Mutex, PoisonError};
    use std::time::{Duration, SystemTime};

    use sinopia_layout::limits::{HASHES_BYTES, REMEMBERED_HASHES, read_up_to};

    use crate::Result;
    use crate::sha256::{hex, sha256_of};

    /// How old a change has to be to be told from a later one: two seconds, the coarsest clock of the file systems in use.
    const RACY: Duration = Duration::from_secs(2);
    /// Smaller files are hashed sooner than looked up.
    const MIN_BYTES: u64 = 1 << 20;
    /// The list's first line.
    const TITLE: &str = "sinopia hashes 1";

    /// What a file is known by.
    #[derive(Debug, Clone, Copy, PartialEq, Eq)]
    struct Identity {
        device: u64,
        inode: u64,
        size: u64,
        /// Nanoseconds since 1970 of the last change of its contents, and of its status.
        modified: i128,
        changed: i128,
    }

    impl Identity {
        fn of(path: &Path) -> Option<Self> {
            let metadata = std::fs::metadata(path).ok().filter(std::fs::Metadata::is_file)?;
            let nanoseconds = |seconds: i64, rest: i64| i128::from(seconds) * 1_000_000_000 + i128::from(rest);
            Some(Self {
                device: metadata.dev(),
                inode: metadata.ino(),
                size: metadata.size(),
                modified: nanoseconds(metadata.mtime(), metadata.mtime_nsec()),
                changed: nanoseconds(metadata.ctime(), metadata.ctime_nsec()),
            })
        }

        /// Whether its last change lies so far back that another one would show.
        fn is_settled(&self, now: SystemTime) -> bool {
            let Ok(now) = now.duration_since(SystemTime::UNIX_EPOCH) else { return false };
            let last = self.modified.max(self.changed);
            u128::try_from(last).is_ok_and(|last| last + RACY.as_nanos() <= now.as_nanos())
        }

        fn line(&self, hash: &str) -> String {
            let Self { device, inode, size, modified, changed } = self;
            format!("{device} {inode} {size} {modified} {changed} {hash}\n")
        }

        /// Reads what [`line`](Self::line) wrote.
        fn parse(line: &str) -> Option<(Self, [u8; 32])> {
            let mut words = line.split(' ');
            let identity = Self {
                device: words.next()?.parse().ok()?,
                inode: words.next()?.parse().ok()?,
                size: words.next()?.parse().ok()?,
                modified: words.next()?.parse().ok()?,
                changed: words.next()?.parse().ok()?,
            };
            let hash = unhex(words.next()?)?;
            words.next().is_none().then_some((identity, hash))
        }
    }

    fn unhex(text: &str) -> Option<[u8; 32]> {
        let (pairs, rest) = text.as_bytes().as_chunks::<2>();
        let mut bytes = [0; 32];
        if pairs.len() != bytes.len() || !rest.is_empty() {
            return None;
        }
        for (byte, pair) in bytes.iter_mut().zip(pairs) {
            let digit = |digit: u8| char::from(digit).to_digit(16);
            *byte = (16 * digit(pair[0])? + digit(pair[1])?) as u8;
        }
        Some(bytes)
    }

    /// Held by whoever reads the list to write it; other processes may at worst forget what this one remembered.
    static WRITING: Mutex<()> = Mutex::new(());

    /// The SHA-256 of a file, remembered in a list.
    pub(super) fn sha256_with(list: &Path, path: &Path) -> Result<[u8; 32]> {
        let Some(before) = Identity::of(path).filter(|identity| identity.size >= MIN_BYTES) else {
            return sha256_of(path);
        };
        if let Some((_, hash)) = read(list).iter().rev().find(|(identity, _)| *identity == before) {
            return Ok(*hash);
        }
        let looked = SystemTime::now();
        let hash = sha256_of(path)?;
        // Nor is a file remembered that was written to while it was read.
        if Identity::of(path) == Some(before) && before.is_settled(looked) {
            let _writing = WRITING.lock().unwrap_or_else(PoisonError::into_inner);
            // Whoever cannot remember hashes again.
            let _ = write(list, read(list), (before, hash));
        }
        Ok(hash)
    }

    /// What a list holds; nothing of one that is damaged.
    fn read(list: &Path) -> Vec<(Identity, [u8; 32])> {
        let bytes = std::fs::metadata(list).ok().filter(std::fs::Metadata::is_file).and_then(|_| {
            let file = std::fs::File::open(list).ok()?;
            read_up_to(file, HASHES_BYTES).ok()
        });
        let text = bytes.and_then(|bytes| String::from_utf8(bytes).ok()).unwrap_or_default();
        let mut lines = text.lines();
        if lines.next() != Some(TITLE) {
            return Vec::new();
        }
        lines.map(Identity::parse).collect::<Option<_>>().unwrap_or_default()
    }

    /// Adds an entry, in place of the oldest if there are many.
    fn write(list: &Path, known: Vec<(Identity, [u8; 32])>, new: (Identity, [u8; 32])) -> std::io::Result<()> {
        // What was known of the same file before is of no use any more.
        let is_other = |(identity, _): &(Identity, _)| (identity.device, identity.inode) != (new.0.device, new.0.inode);
        let mut entries: Vec<_> = known.into_iter().filter(is_other).collect();
        let surplus = (entries.len() + 1).saturating_sub(REMEMBERED_HASHES);
        entries.drain(..surplus);
        entries.push(new);
        let lines = entries.iter().map(|(identity, hash)| identity.line(&hex(hash)));
        let text = [format!("{TITLE}\n")].into_iter().chain(lines).collect::<String>();
        let folder = list.parent().unwrap_or(Path::new("."));
        std::fs::create_dir_all(folder)?;
        let beside = folder.join(format!(".hashes-{}", std::process::id()));
        let mut file = std::fs::File::create(&beside)?;
        let written = file.write_all(text.as_bytes()).and_then(|()| std::fs::rename(&beside, list));
        if written.is_err() {
            let _ = std::fs::remove_file(&beside);
        }
        written
    }

    #[cfg(test)]
    mod tests {
        use std::fs::{File, write as write_file};

        use super::*;

        const SIZE: usize = MIN_BYTES as usize;

        /// A file whose contents were changed long ago; its status, which nobody can set, just now.
        fn file(folder: &Path, name: &str, byte: u8) -> std::path::PathBuf {
            let path = folder.join(name);
            write_file(&path, vec![byte; SIZE]).unwrap();
            path
        }

        /// An entry as if the file had been hashed, to something else, a while ago.
        fn remember(list: &Path, path: &Path) -> [u8; 32] {
            let identity = Identity::of(path).unwrap();
            write(list, read(list), (identity, [9; 32])).unwrap();
            [9; 32]
        }

        #[test]
        fn what_is_remembered_is_not_read_again_until_it_changes() {
            let home = tempfile::tempdir().unwrap();
            let list = home.path().join("cache").join("hashes");
            let path = file(home.path(), "a", 1);
            let remembered = remember(&list, &path);
            assert_eq!(sha256_with(&list, &path).unwrap(), remembered);
            // The same contents in another file, and other contents in the same file, are hashed.
            let other = file(home.path(), "b", 1);
            assert_eq!(sha256_with(&list, &other).unwrap(), sha256_of(&other).unwrap());
            write_file(&path, vec![2; SIZE]).unwrap();
            assert_eq!(sha256_with(&list, &path).unwrap(), sha256_of(&path).unwrap());
        }

        #[test]
        fn a_change_is_noticed_though_size_and_time_are_the_same() {
            let home = tempfile::tempdir().unwrap();
            let list = home.path().join("hashes");
            let path = file(home.path(), "a", 1);
            let before = std::fs::metadata(&path).unwrap().modified().unwrap();
            remember(&list, &path);
            std::thread::sleep(Duration::from_millis(20));
            write_file(&path, vec![2; SIZE]).unwrap();
            File::options().write(true).open(&path).unwrap().set_modified(before).unwrap();
            assert_eq!(sha256_with(&list, &path).unwrap(), sha256_of(&path).unwrap());
        }

        #[test]
        fn what_was_changed_just_now_is_not_remembered() {
            let home = tempfile::tempdir().unwrap();
            let list = home.path().join("hashes");
            let path = file(home.path(), "a", 1);
            sha256_with(&list, &path).unwrap();
            assert!(read(&list).is_empty());
            let identity = Identity::of(&path).unwrap();
            let now = SystemTime::now();
            assert!(!identity.is_settled(now) && identity.is_settled(now + RACY));
            // A clock that goes wrong is no reason to trust a file.
            assert!(!identity.is_settled(now - Duration::from_secs(3600)));
        }

        #[test]
        fn a_list_that_is_damaged_is_no_list() {
            let home = tempfile::tempdir().unwrap();
            let (list, path) = (home.path().join("hashes"), file(home.path(), "a", 1));
            remember(&list, &path);
            let good = std::fs::read(&list).unwrap();
            let damaged = [
                b"".to_vec(),
                good[..good.len() - 10].to_vec(),
                [b"x", &good[..]].concat(),
                [&good[..], b"1 2 3\n"].concat(),
                vec![0xff; 100],
                [&good[..], &vec![b' '; HASHES_BYTES as usize]].concat(),
            ];
            for bytes in damaged {
                write_file(&list, bytes).unwrap();
                assert_eq!(sha256_with(&list, &path).unwrap(), sha256_of(&path).unwrap());
            }
        }

        #[test]
        fn the_list_ends_where_it_should() {
            let home = tempfile::tempdir().unwrap();
            let (list, path) = (home.path().join("hashes"), file(home.path(), "a", 1));
            let identity = Identity::of(&path).unwrap();
            let many =
                (0..2 * REMEMBERED_HASHES as u64).map(|inode| (Identity { inode, ..identity }, [0; 32])).collect();
            write(&list, many, (identity, [1; 32])).unwrap();
            let known = read(&list);
            assert_eq!((known.len(), known.last()), (REMEMBERED_HASHES, Some(&(identity, [1; 32]))));
            let longest =
                Identity { device: u64::MAX, inode: u64::MAX, size: u64::MAX, modified: i128::MIN, changed: i128::MIN };
            let bytes = TITLE.len() + 1 + REMEMBERED_HASHES * longest.line(&hex(&[0; 32])).len();
            assert!(bytes as u64 <= HASHES_BYTES);
        }

        #[test]
        fn a_folder_that_cannot_be_written_to_is_done_without() {
            let home = tempfile::tempdir().unwrap();
            let path = file(home.path(), "a", 1);
            let list = path.join("hashes"); // a folder that is a file
            assert_eq!(sha256_with(&list, &path).unwrap(), sha256_of(&path).unwrap());
        }
    }
}
