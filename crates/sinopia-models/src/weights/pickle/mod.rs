//! PyTorch's own files (`.bin`, `.ckpt`, `.pt`): raw numbers with a pickled table of contents.
//!
//! Unpickling in Python can run any code. The reader used here knows the instructions that build values, and builds them; what a pickle wants
//! called is written down and never called. [`zip`] finds the parts of a file since PyTorch 1.6, [`legacy`] those of a file from before.

mod legacy;
mod machine;
mod tensors;
mod zip;

use std::collections::BTreeMap;
use std::ops::Range;

use sinopia_layout::limits::PICKLE_BYTES;

use super::mapped::Record;
use crate::{Error, Result};

/// The tensors of a file since PyTorch 1.6, a ZIP archive; `file` is its name in messages.
pub(super) fn zipped(file: &str, bytes: &[u8]) -> Result<BTreeMap<String, Record>> {
    let damaged = |problem: String| Error::Damaged { file: file.to_owned(), problem };
    let members = zip::members(bytes).map_err(damaged)?;
    let table = members.keys().find(|name| *name == "data.pkl" || name.ends_with("/data.pkl"));
    let Some(table) = table else {
        return Err(Error::OtherFile {
            file: file.to_owned(),
            found: "a ZIP archive, and not one of PyTorch's".to_owned(),
            remedy: "unpack it, and name what was in it".to_owned(),
        });
    };
    let prefix = &table[..table.len() - "data.pkl".len()];
    if members.get(&format!("{prefix}byteorder")).is_some_and(|range| bytes[range.clone()].starts_with(b"big")) {
        return Err(damaged(
            "it was saved on a big-endian machine, whose numbers are written the other way round".to_owned(),
        ));
    }
    let (values, root) = unpickled(&bytes[members[table].clone()]).map_err(damaged)?;
    let storage = |key: &str| members.get(&format!("{prefix}data/{key}")).cloned();
    tensors::find(&values, root, &storage, bytes.len()).map_err(damaged)
}

/// The tensors of a file from before PyTorch 1.6: pickles one after the other, then the numbers.
pub(super) fn legacy(file: &str, bytes: &[u8]) -> Result<BTreeMap<String, Record>> {
    let damaged = |problem: String| Error::Damaged { file: file.to_owned(), problem };
    let parts = legacy::parts(bytes).map_err(damaged)?;
    let storage = |key: &str| -> Option<Range<usize>> { parts.storages.get(key).cloned() };
    tensors::find(&parts.values, parts.root, &storage, bytes.len()).map_err(damaged)
}

/// The values of a pickle that fills `bytes`, and which of them it is about.
fn unpickled(bytes: &[u8]) -> Result<(machine::Values, machine::Id), String> {
    if bytes.len() as u64 > PICKLE_BYTES {
        return Err(format!("its table of contents has {} bytes; at most {PICKLE_BYTES} are read", bytes.len()));
    }
    let mut values = machine::Values::default();
    let (root, _) = values.unpickle(bytes)?;
    Ok((values, root))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_table_of_contents_has_an_end() {
        let long = vec![b'N'; PICKLE_BYTES as usize + 1];
        assert!(unpickled(&long).unwrap_err().contains("16777217 bytes; at most 16777216"));
        assert!(unpickled(b"}.").is_ok());
    }
}
