//! Files that are either old or complete: written beside their place, then renamed into it.

use std::fs::Permissions;
use std::io::{ErrorKind, Write};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError};

use anyhow::Context;

use super::failure::{Given, bad_request};
use super::terminal;

/// Writes `bytes` to `path`, or to stdout for `-`.
pub(crate) fn write(path: &Path, bytes: &[u8]) -> anyhow::Result<()> {
    if is_stdout(path) {
        return to_stdout(bytes);
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
    to_stdout(format!("{}\n", terminal::escaped(text)).as_bytes())
}

/// Bytes on stdout.
fn to_stdout(bytes: &[u8]) -> anyhow::Result<()> {
    let mut stdout = std::io::stdout().lock();
    match stdout.write_all(bytes).and_then(|()| stdout.flush()) {
        Err(error) if error.kind() == ErrorKind::BrokenPipe => Err(NobodyReads.into()),
        written => written.context("cannot write to stdout"),
    }
}

/// Who read stdout has seen enough, as `head` has: nothing has failed, and there is nothing more to say.
#[derive(Debug)]
pub(crate) struct NobodyReads;

impl std::fmt::Display for NobodyReads {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("nobody reads stdout any more")
    }
}

impl std::error::Error for NobodyReads {}

/// Fails now, before any work, if nothing can be written at `path` later.
pub(crate) fn check_writable(path: &Path) -> anyhow::Result<()> {
    if is_stdout(path) {
        return Ok(());
    }
    refuse_place(path)?;
    if !is_special(path) {
        check_folder(path)?;
        temporary(path).given(|| format!("cannot write `{}`", path.display()))?;
    }
    Ok(())
}

/// The same for several files of one folder.
pub(crate) fn check_all_writable(paths: &[PathBuf]) -> anyhow::Result<()> {
    paths.first().map_or(Ok(()), |first| check_writable(first))?;
    paths.iter().try_for_each(|path| refuse_place(path))
}

/// The same for a file of text that is made from `inputs`: it is none of them, and is not named as a picture.
pub(crate) fn check_text(path: &Path, inputs: &[&Path]) -> anyhow::Result<()> {
    check_writable(path)?;
    refuse_inputs(&[path.to_owned()], inputs)?;
    match ending(path) {
        Some(ending) if ending == "png" || OTHER_PICTURES.contains(&ending.as_str()) => Err(bad_request(format!(
            "cannot write `{}`: what is written here is text, not a picture; `sinopia generate` and `sinopia paint` write pictures",
            path.display()
        ))),
        _ => Ok(()),
    }
}

/// Refuses names that promise another kind of file than a PNG.
pub(crate) fn check_picture_name(path: &Path) -> anyhow::Result<()> {
    let is_other = |ending: String| OTHER_PICTURES.iter().chain(&TEXTS).any(|other| ending == *other);
    match ending(path).is_some_and(is_other) {
        true => Err(bad_request(format!(
            "`--out {}`: images are written as PNG; name it `{}`",
            path.display(),
            path.with_extension("png").display()
        ))),
        false => Ok(()),
    }
}

/// Refuses to write over what something is made from.
pub(crate) fn refuse_inputs(outputs: &[PathBuf], inputs: &[&Path]) -> anyhow::Result<()> {
    let is_input = |path: &&PathBuf| inputs.iter().any(|input| is_same_file(input, path));
    match outputs.iter().find(is_input) {
        Some(path) => Err(bad_request(format!(
            "this would write over `{}`, which it is made from: name another file with `--out`",
            path.display()
        ))),
        None => Ok(()),
    }
}

/// Endings of pictures that are not PNGs.
const OTHER_PICTURES: [&str; 10] = ["jpg", "jpeg", "webp", "gif", "bmp", "tif", "tiff", "avif", "heic", "jxl"];
/// Endings of files that are no pictures, or drawn ones.
const TEXTS: [&str; 10] = ["json", "txt", "svg", "html", "md", "pdf", "toml", "csv", "safetensors", "gguf"];

fn ending(path: &Path) -> Option<String> {
    path.extension().map(|ending| ending.to_string_lossy().to_lowercase())
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

/// Refuses folders, and files that their owner has protected: a rename would replace them all the same.
fn refuse_place(path: &Path) -> anyhow::Result<()> {
    let is_named_as_folder = path.to_string_lossy().ends_with(std::path::is_separator);
    let refused = |why: &str| Err(bad_request(format!("cannot write `{}`: {why}", path.display())));
    if path.is_dir() || is_named_as_folder {
        return refused("it is a folder; name a file in it");
    }
    match path.metadata().is_ok_and(|metadata| metadata.is_file() && metadata.permissions().readonly()) {
        true => refused("the file is write-protected; name another one"),
        false => Ok(()),
    }
}

/// Whether something that is not a file stands there, such as a pipe or a device: it is written to, not replaced.
fn is_special(path: &Path) -> bool {
    path.metadata().is_ok_and(|metadata| !metadata.is_file() && !metadata.is_dir())
}

/// Whether both names lead to the same existing file.
fn is_same_file(a: &Path, b: &Path) -> bool {
    matches!((a.canonicalize(), b.canonicalize()), (Ok(a), Ok(b)) if a == b)
}

/// `-` stands for stdout.
pub(crate) fn is_stdout(path: &Path) -> bool {
    path.as_os_str() == "-"
}

/// `dog.png` with index 3 becomes `dog-003.png`.
pub(crate) fn numbered(path: &Path, number: u32) -> PathBuf {
    let mut name = path.file_stem().unwrap_or_default().to_owned();
    name.push(format!("-{number:03}"));
    if let Some(ending) = path.extension() {
        name.push(".");
        name.push(ending);
    }
    path.with_file_name(name)
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
