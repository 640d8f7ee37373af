//! SHA-256 of files and bytes.

use std::fs::File;
use std::io::Read;
use std::ops::Range;
use std::path::Path;

use sha2::{Digest, Sha256};
pub(crate) use sinopia_layout::hex::encode as hex;

use crate::{Error, Result};

/// Bytes that are read at once.
const PIECE: usize = 1 << 20;

/// The SHA-256 of a file on disk.
pub(crate) fn sha256_of(path: &Path) -> Result<[u8; 32]> {
    let file = File::open(path).map_err(|source| Error::Read { path: path.to_owned(), source })?;
    sha256_of_open(path, &file)
}

/// The SHA-256 of a file that is open and was not read from yet; `path` is its name in messages.
pub(crate) fn sha256_of_open(path: &Path, mut file: &File) -> Result<[u8; 32]> {
    let read_error = |source| Error::Read { path: path.to_owned(), source };
    let mut hasher = Sha256::new();
    let mut piece = vec![0; PIECE];
    loop {
        match file.read(&mut piece).map_err(read_error)? {
            0 => return Ok(hasher.finalize().into()),
            length => hasher.update(&piece[..length]),
        }
    }
}

/// The SHA-256 of bytes; which of them have been read is told as it goes.
pub(crate) fn sha256_in_pieces(bytes: &[u8], have_served: impl Fn(Range<usize>)) -> [u8; 32] {
    let mut hasher = Sha256::new();
    for start in (0..bytes.len()).step_by(PIECE) {
        let range = start..(start + PIECE).min(bytes.len());
        hasher.update(&bytes[range.clone()]);
        have_served(range);
    }
    hasher.finalize().into()
}

/// The SHA-256 of bytes, in hexadecimal.
pub(crate) fn sha256_hex(bytes: impl AsRef<[u8]>) -> String {
    hex(&Sha256::digest(bytes))
}
