//! Files that are either old or complete, and errors that name them.

use std::fs::File;
use std::io::{Cursor, ErrorKind, Write};
use std::path::Path;

use image::{DynamicImage, ImageFormat, ImageReader};
use serde::de::DeserializeOwned;
use sinopia_layout::limits::{BENCHMARK_BYTES, PICTURE_BYTES, PICTURE_PIXELS, PICTURE_SIDE, read_up_to};

use crate::{Error, Result};

/// The bytes of a file: captions, or what was noted of a run.
pub(crate) fn read(path: &Path) -> Result<Vec<u8>> {
    read_some(path, BENCHMARK_BYTES)
}

/// The bytes of a picture's file.
pub(crate) fn read_picture(path: &Path) -> Result<Vec<u8>> {
    read_some(path, PICTURE_BYTES)
}

fn read_some(path: &Path, limit: u64) -> Result<Vec<u8>> {
    let read = File::open(path).and_then(|file| read_up_to(file, limit));
    read.map_err(|source| Error::Read { path: path.to_owned(), source })
}

/// The text of a file.
pub(crate) fn read_text(path: &Path) -> Result<String> {
    let text = String::from_utf8(read(path)?).map_err(|error| std::io::Error::new(ErrorKind::InvalidData, error));
    text.map_err(|source| Error::Read { path: path.to_owned(), source })
}

/// The picture in a PNG file's bytes, if it is not larger than any picture should be; `path` is for messages.
///
/// # Errors
/// [`Error::Image`].
pub fn picture(path: &Path, png: &[u8]) -> Result<DynamicImage> {
    let mut limits = image::Limits::default();
    limits.max_image_width = Some(PICTURE_SIDE);
    limits.max_image_height = Some(PICTURE_SIDE);
    // Four channels of a byte.
    limits.max_alloc = Some(4 * PICTURE_PIXELS);
    let mut reader = ImageReader::with_format(Cursor::new(png), ImageFormat::Png);
    reader.limits(limits);
    reader.decode().map_err(|error| Error::Image { path: path.to_owned(), problem: error.to_string() })
}

/// The value in a JSON file.
pub(crate) fn read_json<T: DeserializeOwned>(path: &Path) -> Result<T> {
    serde_json::from_slice(&read(path)?).map_err(|source| Error::Json { path: path.to_owned(), source })
}

/// Makes a folder and those above it.
pub(crate) fn create_folder(path: &Path) -> Result<()> {
    std::fs::create_dir_all(path).map_err(|source| Error::Write { path: path.to_owned(), source })
}

/// Writes a file beside its place and renames it: whenever the program ends, what stands there is old or complete.
pub(crate) fn write(path: &Path, bytes: &[u8]) -> Result<()> {
    write_unnamed(path, bytes).map_err(|source| Error::Write { path: path.to_owned(), source })
}

fn write_unnamed(path: &Path, bytes: &[u8]) -> std::io::Result<()> {
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let mut builder = tempfile::Builder::new();
    builder.prefix(".sinopia-").suffix(".part");
    #[cfg(unix)]
    builder.permissions(<std::fs::Permissions as std::os::unix::fs::PermissionsExt>::from_mode(0o666));
    let mut file = builder.tempfile_in(folder)?;
    file.write_all(bytes)?;
    // Without this a machine that loses power may keep the new name and lose the bytes.
    file.as_file().sync_data()?;
    file.persist(path).map_err(|error| error.error)?;
    Ok(())
}

/// Writes a value as JSON that people can read.
pub(crate) fn write_json(path: &Path, value: &impl serde::Serialize) -> Result<()> {
    let json = serde_json::to_vec_pretty(value).map_err(|source| Error::Json { path: path.to_owned(), source })?;
    write(path, &json)
}

/// Whether this is what a killed process leaves of a file it was writing.
pub(crate) fn is_part(path: &Path) -> bool {
    let name = path.file_name().map(|name| name.to_string_lossy()).unwrap_or_default();
    name.starts_with(".sinopia-") && name.ends_with(".part")
}

/// Removes such leftovers from a folder that is locked. One that cannot be removed does no harm.
pub(crate) fn remove_parts(folder: &Path) {
    let entries = std::fs::read_dir(folder).into_iter().flatten().flatten();
    for path in entries.map(|entry| entry.path()).filter(|path| is_part(path)) {
        let _ = std::fs::remove_file(path);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_end_at_their_limits() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("captions.txt");
        File::create(&path).unwrap().set_len(BENCHMARK_BYTES + 1).unwrap(); // sparse
        let error = read_text(&path).unwrap_err();
        let cause = std::error::Error::source(&error).unwrap().to_string();
        assert!(cause.contains("more than 67108864 bytes"), "{cause}");
    }

    /// The header alone makes a decoder set room aside.
    #[test]
    fn a_picture_that_claims_too_much_is_refused_before_it_is_decoded() {
        let picture = |width: u32, height: u32| {
            let mut png = Vec::new();
            let image = image::GrayImage::new(1, 1);
            image.write_to(&mut Cursor::new(&mut png), ImageFormat::Png).unwrap();
            png[16..20].copy_from_slice(&width.to_be_bytes());
            png[20..24].copy_from_slice(&height.to_be_bytes());
            let mut crc = crc(&png[12..29]).to_be_bytes().to_vec();
            png.splice(29..33, crc.drain(..));
            picture(Path::new("x.png"), &png)
        };
        assert!(picture(1, 1).is_ok());
        for (width, height) in [(PICTURE_SIDE + 1, 1), (1, PICTURE_SIDE + 1), (PICTURE_SIDE, PICTURE_SIDE + 1)] {
            let problem = picture(width, height).unwrap_err().to_string();
            assert!(problem.contains("x.png") && problem.to_lowercase().contains("limit"), "{problem}");
        }
    }

    /// PNG's checksum, bit by bit.
    fn crc(bytes: &[u8]) -> u32 {
        let shift = |rest: u32| if rest & 1 == 1 { 0xedb8_8320 ^ (rest >> 1) } else { rest >> 1 };
        !bytes.iter().fold(!0, |rest, byte| (0..8).fold(rest ^ u32::from(*byte), |rest, _| shift(rest)))
    }
}
