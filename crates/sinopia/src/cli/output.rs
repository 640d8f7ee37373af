//! Files that are either old or complete: written beside their place, then renamed into it.

use std::fs::Permissions;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError};

use anyhow::Context;

use super::failure::{Given, bad_request};
use super::terminal;

/// Writes `bytes` to `path`, or to stdout for `-`.
pub(crate) fn write(path: &Path, bytes: &[u8]) -> anyhow::Result<()> {
    if is_stdout(path) {
        let mut stdout = std::io::stdout().lock();
        return stdout.write_all(bytes).and_then(|()| stdout.flush()).context("cannot write to stdout");
    }
    if is_special(path) {
        return std::fs::write(path, bytes).with_context(|| format!("cannot write `{}`", path.display()));
    }
    // A link stays a link: what it points to is replaced.
    let path = &path.canonicalize().unwrap_or_else(|_| path.to_owned());
    let _turn = hold_writes();
    let mut file = temporary(path).with_context(|| format!("cannot write `{}`", path.display()))?;
    file.write_all(bytes).with_context(|| format!("cannot write `{}`", path.display()))?;
    file.persist(path).map_err(|e| e.error).with_context(|| format!("cannot write `{}`", path.display()))?;
    Ok(())
}

/// As long as this is held, no file is begun, and none is half-written.
pub(crate) fn hold_writes() -> MutexGuard<'static, ()> {
    static WRITING: Mutex<()> = Mutex::new(());
    WRITING.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Prints lines, or JSON, on stdout: nothing in them is obeyed by a terminal.
pub(crate) fn print(text: &str) -> anyhow::Result<()> {
    let mut stdout = std::io::stdout().lock();
    writeln!(stdout, "{}", terminal::escaped(text)).context("cannot write to stdout")
}

/// Fails now, before any work, if nothing can be written at `path` later.
pub(crate) fn check_writable(path: &Path) -> anyhow::Result<()> {
    if is_stdout(path) {
        return Ok(());
    }
    refuse_folder(path)?;
    if !is_special(path) {
        check_folder(path)?;
        temporary(path).given(|| format!("cannot write `{}`", path.display()))?;
    }
    Ok(())
}

/// The same for several files of one folder.
pub(crate) fn check_all_writable(paths: &[PathBuf]) -> anyhow::Result<()> {
    paths.first().map_or(Ok(()), |first| check_writable(first))?;
    paths.iter().try_for_each(|path| refuse_folder(path))
}

/// Refuses a file in a folder that does not exist.
fn check_folder(path: &Path) -> anyhow::Result<()> {
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty());
    match folder.filter(|folder| !folder.exists()) {
        Some(missing) => Err(bad_request(format!(
            "cannot write `{}`: there is no folder `{}`; make it first",
            path.display(),
            missing.display()
        ))),
        None => Ok(()),
    }
}

fn refuse_folder(path: &Path) -> anyhow::Result<()> {
    let is_named_as_folder = path.to_string_lossy().ends_with(std::path::is_separator);
    match path.is_dir() || is_named_as_folder {
        true => Err(bad_request(format!("cannot write `{}`: it is a folder; name a file in it", path.display()))),
        false => Ok(()),
    }
}

/// Whether something that is not a file stands there, such as a pipe or a device: it is written to, not replaced.
fn is_special(path: &Path) -> bool {
    path.metadata().is_ok_and(|metadata| !metadata.is_file() && !metadata.is_dir())
}

/// Whether both names lead to the same existing file.
pub(crate) fn is_same_file(a: &Path, b: &Path) -> bool {
    matches!((a.canonicalize(), b.canonicalize()), (Ok(a), Ok(b)) if a == b)
}

/// `-` stands for stdout.
pub(crate) fn is_stdout(path: &Path) -> bool {
    path.as_os_str() == "-"
}

/// `dog.png` with index 3 becomes `dog-003.png`.
pub(crate) fn numbered(path: &Path, number: u32) -> PathBuf {
    let stem = path.file_stem().unwrap_or_default().to_string_lossy();
    let ending = path.extension().map(|e| format!(".{}", e.to_string_lossy())).unwrap_or_default();
    path.with_file_name(format!("{stem}-{number:03}{ending}"))
}

fn temporary(path: &Path) -> std::io::Result<tempfile::NamedTempFile> {
    let folder = path.parent().filter(|p| !p.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let mut builder = tempfile::Builder::new();
    builder.prefix(".sinopia-").suffix(".part");
    #[cfg(unix)]
    builder.permissions(<Permissions as std::os::unix::fs::PermissionsExt>::from_mode(0o666));
    builder.tempfile_in(folder)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_number_goes_before_the_ending() {
        assert_eq!(numbered(Path::new("a/dog.png"), 3), Path::new("a/dog-003.png"));
        assert_eq!(numbered(Path::new("dog"), 12), Path::new("dog-012"));
    }

    #[test]
    fn a_file_appears_whole_and_nothing_else_stays() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("x.png");
        write(&path, b"one").unwrap();
        write(&path, b"two").unwrap();
        assert_eq!(std::fs::read(&path).unwrap(), b"two");
        assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 1);
    }

    #[test]
    fn a_missing_folder_is_found_out_before_the_work() {
        let folder = tempfile::tempdir().unwrap();
        let error = check_writable(&folder.path().join("no/such/x.png")).unwrap_err();
        assert!(format!("{error:#}").contains("x.png"), "{error:#}");
        assert!(check_writable(folder.path()).is_err());
        assert!(check_writable(&folder.path().join("new/")).unwrap_err().to_string().contains("folder"));
        let paths = ["a.png", "b.png"].map(|name| folder.path().join(name));
        check_all_writable(&paths).unwrap();
        std::fs::create_dir(&paths[1]).unwrap();
        assert!(check_all_writable(&paths).unwrap_err().to_string().contains("b.png"));
        assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 1);
    }
}
