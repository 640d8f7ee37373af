//! SHA-256 of files and bytes.

use std::io::Read;
use std::path::Path;

use sha2::{Digest, Sha256};
pub(crate) use sinopia_layout::hex::encode as hex;

use crate::{Error, Result};

/// The SHA-256 of a file on disk.
pub(crate) fn sha256_of(path: &Path) -> Result<[u8; 32]> {
    let read_error = |source| Error::Read { path: path.to_owned(), source };
    let mut file = std::fs::File::open(path).map_err(read_error)?;
    let mut hasher = Sha256::new();
    let mut piece = vec![0; 1 << 20];
    loop {
        match file.read(&mut piece).map_err(read_error)? {
            0 => return Ok(hasher.finalize().into()),
            length => hasher.update(&piece[..length]),
        }
    }
}

/// The SHA-256 of bytes, in hexadecimal.
pub(crate) fn sha256_hex(bytes: impl AsRef<[u8]>) -> String {
    hex(&Sha256::digest(bytes))
}
