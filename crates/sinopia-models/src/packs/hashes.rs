//! Hashes of files that did not change since they were hashed.
//!
//! A file is taken for unchanged if it is the same one (device, inode) of the same size whose contents and status were changed at the same
//! nanoseconds as then. One that was changed within [`RACY`] of being looked at is not remembered: another change within what the file system's
//! clock can tell apart would look the same. The list is a convenience: if it is damaged, in nobody's way, or not there, files are hashed.

use std::fs::File;
use std::path::Path;

use super::{HASHES, cache};
use crate::identity::FileIdentity;
use crate::sha256::sha256_of_open;
use crate::{Error, Result};

/// The SHA-256 of a file on disk, remembered where this process [keeps](super::use_cache) anything.
pub(crate) fn remembered_sha256(path: &Path) -> Result<[u8; 32]> {
    sha256_with(cache().map(|options| options.folder.join(HASHES)).as_deref(), path)
}

/// The hash of a file that is open, remembered where this process keeps anything. `hash` reads it, and `is_unchanged` says afterwards whether it is still
/// what `identity` says.
pub(crate) fn remembered(
    identity: &FileIdentity,
    hash: impl FnOnce() -> [u8; 32],
    is_unchanged: impl FnOnce() -> bool,
) -> [u8; 32] {
    let list = cache().map(|options| options.folder.join(HASHES));
    let hash = || Ok::<_, std::convert::Infallible>(hash());
    match look_up(list.as_deref(), identity, hash, is_unchanged) {
        Ok(hash) => hash,
    }
}

fn sha256_with(list: Option<&Path>, path: &Path) -> Result<[u8; 32]> {
    let read_error = |source| Error::Read { path: path.to_owned(), source };
    let file = File::open(path).map_err(read_error)?;
    let identity = || file.metadata().map(|metadata| FileIdentity::of(&metadata));
    let before = identity().map_err(read_error)?;
    look_up(list, &before, || sha256_of_open(path, &file), || identity().is_ok_and(|after| after == before))
}

#[cfg(not(unix))]
fn look_up<E>(
    _list: Option<&Path>,
    _identity: &FileIdentity,
    hash: impl FnOnce() -> Result<[u8; 32], E>,
    _is_unchanged: impl FnOnce() -> bool,
) -> Result<[u8; 32], E> {
    hash()
}

#[cfg(unix)]
use unix::look_up;

#[cfg(unix)]
mod unix {
    use std::io::Write;
    use std::path::Path;
    use std::sync::{Mutex, PoisonError};
    use std::time::{Duration, SystemTime};

    use sinopia_layout::limits::{HASHES_BYTES, REMEMBERED_HASHES, read_up_to};

    use crate::identity::FileIdentity;
    use crate::packs::folder::create_private;
    use crate::sha256::hex;

    /// How old a change has to be to be told from a later one: two seconds, the coarsest clock of the file systems in use.
    const RACY: Duration = Duration::from_secs(2);
    /// Smaller files are hashed sooner than looked up.
    const MIN_BYTES: u64 = 1 << 20;
    /// The list's first line.
    const TITLE: &str = "sinopia hashes 1";

    impl FileIdentity {
        /// Whether its last change lies so far back that another one would show.
        fn is_settled(&self, now: SystemTime) -> bool {
            let Ok(now) = now.duration_since(SystemTime::UNIX_EPOCH) else { return false };
            let last = self.modified.max(self.changed);
            u128::try_from(last).is_ok_and(|last| last + RACY.as_nanos() <= now.as_nanos())
        }

        /// As a line of the list.
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

    /// A file's hash from a list, or as it is computed and then put there.
    pub(super) fn look_up<E>(
        list: Option<&Path>,
        identity: &FileIdentity,
        hash: impl FnOnce() -> Result<[u8; 32], E>,
        is_unchanged: impl FnOnce() -> bool,
    ) -> Result<[u8; 32], E> {
        let Some(list) = list.filter(|_| identity.size >= MIN_BYTES) else { return hash() };
        if let Some((_, hash)) = read(list).iter().rev().find(|(known, _)| known == identity) {
            return Ok(*hash);
        }
        let looked = SystemTime::now();
        let hash = hash()?;
        // Nor is a file remembered that was written to while it was read.
        if identity.is_settled(looked) && is_unchanged() {
            let _writing = WRITING.lock().unwrap_or_else(PoisonError::into_inner);
            // Whoever cannot remember hashes again.
            let _ = write(list, read(list), (*identity, hash));
        }
        Ok(hash)
    }

    /// What a list holds; nothing of one that is damaged.
    fn read(list: &Path) -> Vec<(FileIdentity, [u8; 32])> {
        let bytes = std::fs::metadata(list).ok().filter(std::fs::Metadata::is_file).and_then(|_| {
            let file = std::fs::File::open(list).ok()?;
            read_up_to(file, HASHES_BYTES).ok()
        });
        let text = bytes.and_then(|bytes| String::from_utf8(bytes).ok()).unwrap_or_default();
        let mut lines = text.lines();
        if lines.next() != Some(TITLE) {
            return Vec::new();
        }
        lines.map(FileIdentity::parse).collect::<Option<_>>().unwrap_or_default()
    }

    /// Adds an entry, in place of the oldest if there are many.
    fn write(list: &Path, known: Vec<(FileIdentity, [u8; 32])>, new: (FileIdentity, [u8; 32])) -> std::io::Result<()> {
        // What was known of the same file before is of no use any more.
        let is_other =
            |(identity, _): &(FileIdentity, _)| (identity.device, identity.inode) != (new.0.device, new.0.inode);
        let mut entries: Vec<_> = known.into_iter().filter(is_other).collect();
        let surplus = (entries.len() + 1).saturating_sub(REMEMBERED_HASHES);
        entries.drain(..surplus);
        entries.push(new);
        let lines = entries.iter().map(|(identity, hash)| identity.line(&hex(hash)));
        let text = [format!("{TITLE}\n")].into_iter().chain(lines).collect::<String>();
        let folder = list.parent().unwrap_or(Path::new("."));
        create_private(folder)?;
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

        use super::super::sha256_with;
        use super::*;
        use crate::sha256::sha256_of;

        const SIZE: usize = MIN_BYTES as usize;

        fn identity(path: &Path) -> FileIdentity {
            FileIdentity::of(&std::fs::metadata(path).unwrap())
        }

        fn hashed(path: &Path) -> [u8; 32] {
            sha256_of(path).unwrap()
        }

        /// A file whose contents were changed long ago; its status, which nobody can set, just now.
        fn file(folder: &Path, name: &str, byte: u8) -> std::path::PathBuf {
            let path = folder.join(name);
            write_file(&path, vec![byte; SIZE]).unwrap();
            path
        }

        /// An entry as if the file had been hashed, to something else, a while ago.
        fn remember(list: &Path, path: &Path) -> [u8; 32] {
            let identity = identity(path);
            write(list, read(list), (identity, [9; 32])).unwrap();
            [9; 32]
        }

        #[test]
        fn what_is_remembered_is_not_read_again_until_it_changes() {
            let home = tempfile::tempdir().unwrap();
            let list = home.path().join("cache").join("hashes");
            let path = file(home.path(), "a", 1);
            let remembered = remember(&list, &path);
            assert_eq!(sha256_with(Some(&list), &path).unwrap(), remembered);
            // The same contents in another file, and other contents in the same file, are hashed.
            let other = file(home.path(), "b", 1);
            assert_eq!(sha256_with(Some(&list), &other).unwrap(), hashed(&other));
            write_file(&path, vec![2; SIZE]).unwrap();
            assert_eq!(sha256_with(Some(&list), &path).unwrap(), hashed(&path));
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
            assert_eq!(sha256_with(Some(&list), &path).unwrap(), hashed(&path));
        }

        #[test]
        fn what_was_changed_just_now_is_not_remembered() {
            let home = tempfile::tempdir().unwrap();
            let list = home.path().join("hashes");
            let path = file(home.path(), "a", 1);
            sha256_with(Some(&list), &path).unwrap();
            assert!(read(&list).is_empty());
            let identity = identity(&path);
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
                assert_eq!(sha256_with(Some(&list), &path).unwrap(), hashed(&path));
            }
        }

        #[test]
        fn the_list_ends_where_it_should() {
            let home = tempfile::tempdir().unwrap();
            let (list, path) = (home.path().join("hashes"), file(home.path(), "a", 1));
            let identity = identity(&path);
            let many =
                (0..2 * REMEMBERED_HASHES as u64).map(|inode| (FileIdentity { inode, ..identity }, [0; 32])).collect();
            write(&list, many, (identity, [1; 32])).unwrap();
            let known = read(&list);
            assert_eq!((known.len(), known.last()), (REMEMBERED_HASHES, Some(&(identity, [1; 32]))));
            let longest = FileIdentity {
                device: u64::MAX,
                inode: u64::MAX,
                size: u64::MAX,
                modified: i128::MIN,
                changed: i128::MIN,
            };
            let bytes = TITLE.len() + 1 + REMEMBERED_HASHES * longest.line(&hex(&[0; 32])).len();
            assert!(bytes as u64 <= HASHES_BYTES);
        }

        #[test]
        fn a_folder_that_cannot_be_written_to_is_done_without() {
            let home = tempfile::tempdir().unwrap();
            let path = file(home.path(), "a", 1);
            let list = path.join("hashes"); // a folder that is a file
            assert_eq!(sha256_with(Some(&list), &path).unwrap(), hashed(&path));
        }
    }
}
