//! The folder in which packs are: who comes, who goes.

use std::cmp::Ordering;
use std::fs::{File, TryLockError};
use std::io::{self, Error, ErrorKind, Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use super::PackKey;
use super::file::read_index;
use super::format::{HEAD_BYTES, MAGIC};
use super::no_pack::NoPack;
use crate::identity::FileIdentity;

/// How packs end.
pub(super) const EXTENSION: &str = "pack";
/// Hexadecimal digits of their names.
pub(super) const NAME_DIGITS: usize = 32;
/// How what is not finished ends.
const UNFINISHED: &str = "part";
/// Held by whoever brings a file into the folder, or removes one.
const LOCK: &str = ".lock";

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
    /// Of which model it is, by the name that it was made under, and for what; or why it is no pack.
    pub made_of: Result<(String, PackKey), NoPack>,
}

impl PackInfo {
    /// Whether this version of the program, and every later one, has no use for it: it is an earlier version's, or damaged. Packs of models that are gone and for
    /// other processors are not told apart from those in use.
    pub fn is_stale(&self) -> bool {
        match &self.made_of {
            Ok((_, key)) => key.age() == Ordering::Less,
            Err(problem) => matches!(problem, NoPack::Damaged(_)),
        }
    }

    /// Whether a later version of the program made it.
    pub fn is_newer(&self) -> bool {
        match &self.made_of {
            Ok((_, key)) => key.age() == Ordering::Greater,
            Err(problem) => *problem == NoPack::Newer,
        }
    }

    /// Whether it is this program's to remove: not somebody else's, and known for what it is.
    fn is_ours(&self) -> bool {
        !matches!(self.made_of, Err(NoPack::Foreign | NoPack::Unreadable(_)))
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
    /// Bytes of what processes left that ended while they wrote.
    pub leftovers: u64,
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
            let made_of = made_of.map_err(|problem| match problem {
                NoPack::Foreign if is_named_by_us(&path) => NoPack::Damaged("it does not begin as a pack".to_owned()),
                problem => problem,
            });
            PackInfo { path, bytes, used, made_of }
        };
        self.packs().into_iter().map(info).collect()
    }

    /// Whether there is no pack in it.
    pub(super) fn is_empty(&self) -> bool {
        self.packs().is_empty()
    }

    /// Refuses a folder that others may write to: what lies in it is used as it lies.
    pub(super) fn require_private(&self) -> io::Result<()> {
        #[cfg(unix)]
        {
            use std::os::unix::fs::PermissionsExt;
            let mode = match std::fs::metadata(&self.path) {
                Err(error) if error.kind() == ErrorKind::NotFound => return Ok(()),
                metadata => metadata?.permissions().mode(),
            };
            if mode & 0o022 != 0 {
                let remedy = format!("others may write to it; `chmod go-w '{}'` ends that", self.path.display());
                return Err(Error::new(ErrorKind::PermissionDenied, remedy));
            }
        }
        Ok(())
    }

    /// Removes the packs that `which` names, and what is left of processes that ended while they wrote. Packs in use stay, and so does what is not ours.
    ///
    /// # Errors
    /// When the system refuses.
    pub fn clear(&self, which: impl Fn(&PackInfo) -> bool) -> io::Result<Removed> {
        let mut removed = Removed::default();
        if !self.path.is_dir() {
            return Ok(removed);
        }
        let _lock = FolderLock::hold(&self.path);
        removed.leftovers = self.remove_leftovers();
        for info in self.list().into_iter().filter(|info| info.is_ours() && which(info)) {
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
        self.require_private()?;
        // What nobody holds is taken for left behind: nobody may look before it is held.
        let _lock = FolderLock::hold(&self.path);
        self.remove_leftovers();
        let (path, file) = self.new_part()?;
        let part = PartFile { path, file, is_kept: false };
        match part.file.try_lock() {
            Ok(()) | Err(TryLockError::Error(_)) => Ok(part),
            Err(TryLockError::WouldBlock) => Err(ErrorKind::ResourceBusy.into()),
        }
    }

    /// A file under the first name that is free. Processes in containers that share the folder may have the same number.
    fn new_part(&self) -> io::Result<(PathBuf, File)> {
        let mut number = 0_u64;
        loop {
            let path = self.path.join(format!(".{}-{number}.{UNFINISHED}", std::process::id()));
            match File::options().read(true).write(true).create_new(true).open(&path) {
                Err(error) if error.kind() == ErrorKind::AlreadyExists => number += 1,
                file => return Ok((path, file?)),
            }
        }
    }

    /// Brings a finished file to its place. Others go until all have at most `max_bytes`, those used longest ago first.
    pub(super) fn keep(&self, mut part: PartFile, key: &PackKey, max_bytes: u64) -> io::Result<PathBuf> {
        let place = self.place(key);
        part.file.sync_all()?;
        let _lock = FolderLock::hold(&self.path);
        self.make_room(part.file.metadata()?.len(), max_bytes, &place)?;
        std::fs::rename(&part.path, &place)?;
        part.is_kept = true;
        // Not only by closing it: a process that is being started beside this one has the file open, too, until it runs its own program.
        let _ = part.file.unlock();
        sync_folder(&self.path);
        Ok(place)
    }

    /// Removes packs until `bytes` more are within `max_bytes`; the one at `place` will be replaced and does not count.
    fn make_room(&self, bytes: u64, max_bytes: u64, place: &Path) -> io::Result<()> {
        let is_other_pack = |path: &Path| path != place && (is_named_by_us(path) || begins_as_pack(path));
        let others: Vec<_> = self.packs().into_iter().filter(|(path, ..)| is_other_pack(path)).collect();
        let mut total = bytes + others.iter().map(|(_, bytes, _)| bytes).sum::<u64>();
        for (path, bytes, _) in others {
            // What the system does not let go counts like what is in use.
            if total > max_bytes && remove_unused(&path).unwrap_or(false) {
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

    /// Removes what processes left that ended while they wrote: how many bytes.
    fn remove_leftovers(&self) -> u64 {
        let leftovers = self.files(UNFINISHED).filter(|(path, ..)| is_leftover(path));
        // What does not go is in nobody's way; the next who comes tries again.
        leftovers.filter(|(path, ..)| remove_unused(path).unwrap_or(false)).map(|(_, bytes, _)| bytes).sum()
    }
}

/// The folder, held against others who bring files or remove them. Where there are no locks, it is done without: then nothing is removed either.
struct FolderLock {
    _file: Option<File>,
}

impl FolderLock {
    /// Waits for it.
    fn hold(folder: &Path) -> Self {
        let file = File::options().read(true).write(true).create(true).truncate(false).open(folder.join(LOCK));
        Self { _file: file.ok().filter(|file| file.lock().is_ok()) }
    }
}

/// Whether a file has a name that packs have: so many hexadecimal digits.
fn is_named_by_us(path: &Path) -> bool {
    let stem = path.file_stem().and_then(|stem| stem.to_str()).unwrap_or_default();
    stem.len() == NAME_DIGITS && stem.bytes().all(|digit| matches!(digit, b'0'..=b'9' | b'a'..=b'f'))
}

/// The first bytes of a file, as many as a pack's head has if it has them.
fn head(path: &Path) -> io::Result<Vec<u8>> {
    let mut head = Vec::new();
    File::open(path)?.take(HEAD_BYTES as u64).read_to_end(&mut head)?;
    Ok(head)
}

fn begins_as_pack(path: &Path) -> bool {
    head(path).is_ok_and(|head| head.starts_with(MAGIC))
}

/// Whether a file is what a process of ours was writing: `.PROCESS-NUMBER.part`, whose head is empty until it is finished.
fn is_leftover(path: &Path) -> bool {
    let is_number = |text: &str| !text.is_empty() && text.bytes().all(|digit| digit.is_ascii_digit());
    let stem = path.file_stem().and_then(|stem| stem.to_str()).and_then(|stem| stem.strip_prefix('.'));
    let is_our_name = stem.and_then(|stem| stem.split_once('-')).is_some_and(|(a, b)| is_number(a) && is_number(b));
    is_our_name && head(path).is_ok_and(|head| head.starts_with(MAGIC) || head.iter().all(|&byte| byte == 0))
}

/// Removes a file unless a process holds its lock; whether it is gone. Whoever calls holds the folder.
fn remove_unused(path: &Path) -> io::Result<bool> {
    // Network file systems lock for one alone only what is open for writing.
    match File::options().read(true).write(true).open(path) {
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(true),
        file => remove_opened(&file?, path),
    }
}

/// Removes what was opened, if its name is still its own.
fn remove_opened(file: &File, path: &Path) -> io::Result<bool> {
    match file.try_lock() {
        // Where a lock cannot be had, as on some network file systems, nobody knows who uses the file.
        Err(TryLockError::WouldBlock | TryLockError::Error(_)) => Ok(false),
        Ok(()) if !is_at(file, path) => Ok(false),
        Ok(()) => {
            std::fs::remove_file(path)?;
            Ok(true)
        }
    }
}

/// Whether an open file is the one at a path.
fn is_at(file: &File, path: &Path) -> bool {
    let identity = |metadata: io::Result<std::fs::Metadata>| metadata.map(|metadata| FileIdentity::of(&metadata));
    match (identity(file.metadata()), identity(std::fs::symlink_metadata(path))) {
        (Ok(opened), Ok(named)) => opened.is_same_file(&named),
        _ => false,
    }
}

/// Makes a folder, and those above it, for its owner alone.
pub(super) fn create_private(path: &Path) -> io::Result<()> {
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
        if !self.is_kept && is_at(&self.file, &self.path) {
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
        folder.list().into_iter().map(|info| info.made_of.unwrap().0).collect()
    }

    /// All that is in a folder but its lock.
    fn files(folder: &Path) -> Vec<String> {
        let name = |entry: io::Result<std::fs::DirEntry>| entry.unwrap().file_name().into_string().unwrap();
        let mut names: Vec<_> = std::fs::read_dir(folder).unwrap().map(name).filter(|name| name != LOCK).collect();
        names.sort();
        names
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
        assert_eq!(folder.clear(|_| true).unwrap(), Removed { packs: 1, bytes: one, ..Removed::default() });
        assert!(files(folder.path()).is_empty());
    }

    #[test]
    fn what_nobody_writes_any_more_is_removed() {
        let home = private_folder();
        let folder = PackFolder::new(home.path().to_owned());
        let writing = folder.begin().unwrap();
        let left = [(".1-0.part", &[0; 200][..]), (".1-1.part", b""), (".2-0.part", b"SINOPACK, finished")];
        // Of others: by its name, or by what is in it.
        let foreign =
            [("1-0.part", &[0; 200][..]), (".a-0.part", &[0; 200]), (".1-.part", b""), (".3-0.part", b"half a film")];
        for (name, bytes) in left.iter().chain(&foreign) {
            std::fs::write(home.path().join(name), bytes).unwrap();
        }
        drop(folder.begin().unwrap());
        assert!(left.iter().all(|(name, _)| !home.path().join(name).exists()) && writing.path.exists());
        folder.clear(|_| true).unwrap();
        drop(writing);
        assert_eq!(files(home.path()), [".1-.part", ".3-0.part", ".a-0.part", "1-0.part"]);
    }

    #[test]
    fn names_of_unfinished_files_are_free() {
        let home = private_folder();
        let folder = PackFolder::new(home.path().to_owned());
        // Another container's process with the same number.
        let taken = home.path().join(format!(".{}-0.part", std::process::id()));
        std::fs::write(&taken, "of another container").unwrap();
        pack(&folder, "a");
        assert_eq!(
            (names(&folder), std::fs::read(&taken).unwrap()),
            (vec!["a".to_owned()], b"of another container".to_vec())
        );
    }

    /// A folder for its owner alone, as ours is.
    fn private_folder() -> tempfile::TempDir {
        tempfile::tempdir().unwrap()
    }

    #[test]
    fn what_is_not_ours_stays_and_what_is_damaged_can_be_cleared() {
        let home = private_folder();
        let folder = PackFolder::new(home.path().to_owned());
        let good = pack(&folder, "good");
        let bytes = std::fs::read(&good).unwrap();
        let newer = [&bytes[..8], &[2], &bytes[9..]].concat();
        let damaged = format!("{}.pack", "0a".repeat(16));
        let files = [
            ("x.pack", &b"x"[..]),
            ("cut.pack", &bytes[..200]),
            ("newer.pack", &newer),
            (&damaged, b""),
            ("a.txt", b"of somebody"),
        ];
        for (name, bytes) in files {
            std::fs::write(home.path().join(name), bytes).unwrap();
        }
        let path = |name: &str| home.path().join(name);
        let found = |name: &str| folder.list().into_iter().find(|info| info.path == path(name)).unwrap();
        assert_eq!(found("x.pack").made_of, Err(NoPack::Foreign));
        assert!(matches!(found("cut.pack").made_of, Err(NoPack::Damaged(_))) && found("newer.pack").is_newer());
        assert_eq!(folder.clear(PackInfo::is_stale).unwrap().packs, 2);
        assert!(!path("cut.pack").exists() && !path(&damaged).exists());
        assert!(good.exists() && path("newer.pack").exists());
        // Nor does somebody else's file make room, or count.
        let part = Writer::new(folder.begin().unwrap(), u64::MAX).unwrap();
        let part = part.finish(key("next"), "next".to_owned()).unwrap();
        folder.keep(part, &key("next"), bytes.len() as u64).unwrap();
        assert_eq!(folder.clear(|_| true).unwrap().packs, 1);
        assert_eq!(self::files(home.path()), ["a.txt", "x.pack"]);
    }

    #[cfg(unix)]
    #[test]
    fn what_cannot_be_read_now_is_not_damaged() {
        let home = private_folder();
        let folder = PackFolder::new(home.path().to_owned());
        pack(&folder, "a");
        // A name under which nothing can be mapped, for whoever tries: also for one who may read everything.
        let odd = home.path().join(format!("{}.pack", "1b".repeat(16)));
        std::fs::create_dir(&odd).unwrap();
        assert!(matches!(read_index(&odd), Err(NoPack::Unreadable(_))));
        let info =
            PackInfo { path: odd, bytes: 1, used: SystemTime::now(), made_of: Err(NoPack::Unreadable(String::new())) };
        assert!(!info.is_stale() && !info.is_ours() && !info.is_newer());
    }

    #[cfg(unix)]
    #[test]
    fn a_file_that_took_the_name_meanwhile_stays() {
        let home = private_folder();
        let folder = PackFolder::new(home.path().to_owned());
        let path = pack(&folder, "a");
        let old = File::options().read(true).write(true).open(&path).unwrap();
        assert_eq!(pack(&folder, "a"), path);
        assert!(!remove_opened(&old, &path).unwrap() && path.exists());
        drop(old);
        assert!(remove_unused(&path).unwrap() && !path.exists());
    }

    #[test]
    fn whoever_holds_the_folder_is_waited_for() {
        let home = private_folder();
        let folder = PackFolder::new(home.path().to_owned());
        let part = Writer::new(folder.begin().unwrap(), u64::MAX).unwrap().finish(key("a"), "a".to_owned()).unwrap();
        let held = FolderLock::hold(home.path());
        std::thread::scope(|scope| {
            let keeping = scope.spawn(|| folder.keep(part, &key("a"), u64::MAX));
            std::thread::sleep(Duration::from_millis(100));
            assert!(folder.is_empty());
            drop(held);
            assert!(keeping.join().unwrap().is_ok());
        });
        assert_eq!(names(&folder), ["a"]);
    }

    #[cfg(unix)]
    #[test]
    fn a_folder_that_others_may_write_to_is_refused() {
        use std::os::unix::fs::PermissionsExt;
        let home = tempfile::tempdir().unwrap();
        let folder = PackFolder::new(home.path().join("packed"));
        pack(&folder, "a");
        let mode = |mode: u32| std::fs::set_permissions(folder.path(), std::fs::Permissions::from_mode(mode)).unwrap();
        for open in [0o777, 0o720, 0o702] {
            mode(open);
            for error in [folder.require_private().unwrap_err(), folder.begin().unwrap_err()] {
                assert!(error.to_string().contains("chmod go-w"), "{error}");
            }
        }
        mode(0o755);
        assert!(folder.require_private().is_ok() && folder.begin().is_ok());
    }

    /// What a process of its own does in the folder that it is told, when this test is all that it runs.
    const TOLD_FOLDER: &str = "SINOPIA_TEST_PACK_FOLDER";

    /// Runs the test `name` of this file again, in a process that does its work in `folder`.
    fn process(name: &str, folder: &Path) -> std::process::Command {
        let mut command = std::process::Command::new(std::env::current_exe().unwrap());
        command.args(["--exact", &format!("packs::folder::tests::{name}")]).env(TOLD_FOLDER, folder);
        command.stdout(std::process::Stdio::null()).stderr(std::process::Stdio::null());
        command
    }

    #[test]
    fn processes_that_keep_packs_at_once_stay_within_the_room() {
        let one = {
            let home = tempfile::tempdir().unwrap();
            let folder = PackFolder::new(home.path().to_owned());
            std::fs::metadata(pack(&folder, "0-0")).unwrap().len()
        };
        if let Some(told) = std::env::var_os(TOLD_FOLDER) {
            let folder = PackFolder::new(told.into());
            for round in 0..20 {
                let content = format!("{}-{round}", std::process::id() % 10);
                let part = Writer::new(folder.begin().unwrap(), u64::MAX).unwrap();
                let part = part.finish(key(&content), content.clone()).unwrap();
                folder.keep(part, &key(&content), 3 * one).unwrap();
            }
            return;
        }
        let home = tempfile::tempdir().unwrap();
        let folder = PackFolder::new(home.path().join("packed"));
        let name = "processes_that_keep_packs_at_once_stay_within_the_room";
        let mut processes: Vec<_> = (0..4).map(|_| process(name, folder.path()).spawn().unwrap()).collect();
        assert!(processes.iter_mut().all(|process| process.wait().unwrap().success()));
        assert!((1..=3).contains(&folder.list().len()), "{:?}", files(folder.path()));
        assert!(files(folder.path()).iter().all(|name| name.ends_with(".pack")));
    }
}
