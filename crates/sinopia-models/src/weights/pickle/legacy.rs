//! Files from before PyTorch 1.6: five pickles one after the other (a magic number, the version, the machine, the object and the keys of its
//! storages), then each storage as its length and its numbers.

use std::collections::HashMap;
use std::ops::Range;

use super::machine::{Id, Value, Values};
use super::tensors::storage_width;

/// What the files begin with, 0x1950a86a20f9469cfc6c: longer than an i64, so told by its pickle.
const MAGIC: &[u8] = b"\x8a\x0a\x6c\xfc\x9c\x46\xf9\x20\x6a\xa8\x50\x19.";

/// A file taken apart.
pub(super) struct Parts {
    pub(super) values: Values,
    /// The object that was saved.
    pub(super) root: Id,
    /// Where each storage's numbers lie, by key.
    pub(super) storages: HashMap<String, Range<usize>>,
}

/// Takes a file apart.
pub(super) fn parts(bytes: &[u8]) -> Result<Parts, String> {
    let mut values = Values::default();
    let mut at = 0;
    let mut next = |values: &mut Values| -> Result<(Id, Range<usize>), String> {
        let start = at;
        let (root, length) = values.unpickle(&bytes[start..])?;
        at += length;
        Ok((root, start..at))
    };
    let (_, magic) = next(&mut values)?;
    if !bytes[magic].ends_with(MAGIC) {
        return Err("it is a pickle, and not one that PyTorch wrote".to_owned());
    }
    next(&mut values)?; // the format's version, 1001 in all of them
    let (machine, _) = next(&mut values)?;
    let is_little = values.item(machine, "little_endian").is_none_or(|value| values.get(value) != &Value::Bool(false));
    if !is_little {
        return Err("it was saved on a big-endian machine, whose numbers are written the other way round".to_owned());
    }
    let (root, _) = next(&mut values)?;
    let (keys, _) = next(&mut values)?;
    let storages = storages(&values, keys, bytes, at)?;
    Ok(Parts { values, root, storages })
}

/// Where the storages lie; the first one's length stands at `at`.
fn storages(values: &Values, keys: Id, bytes: &[u8], mut at: usize) -> Result<HashMap<String, Range<usize>>, String> {
    let widths = storage_widths(values);
    let Value::List(keys) = values.get(keys) else {
        return Err("the list of its storages is missing".to_owned());
    };
    let mut storages = HashMap::new();
    for key in keys {
        let key = values.key(*key).ok_or("a storage has no name")?;
        let width = *widths.get(&key).ok_or_else(|| format!("its storage `{key}` belongs to no tensor"))?;
        let cut = || format!("it is cut short: its storage `{key}` ends behind byte {}, the file's last", bytes.len());
        let (length, _) = bytes.get(at..).and_then(|rest| rest.split_first_chunk::<8>()).ok_or_else(cut)?;
        let length = usize::try_from(u64::from_le_bytes(*length)).ok().and_then(|count| count.checked_mul(width));
        let start = at + 8;
        let end = length.and_then(|length| start.checked_add(length)).filter(|end| *end <= bytes.len());
        at = end.ok_or_else(cut)?;
        storages.insert(key, start..at);
    }
    Ok(storages)
}

/// Bytes a number of every storage that the object speaks of.
fn storage_widths(values: &Values) -> HashMap<String, usize> {
    values.persistent().filter_map(|storage| storage_width(values, storage)).collect()
}
