//! The format of a pack: a head of fixed size, the parts, and an index in JSON behind them.
//!
//! | bytes | what |
//! |-------|------|
//! | 0..8 | `SINOPACK` |
//! | 8..12 | version of the format, 1 |
//! | 12..16 | zero |
//! | 16..24 | where the index begins |
//! | 24..32 | bytes of the index, which ends the file |
//! | 32..64 | SHA-256 of the index |
//!
//! Numbers are little-endian. Parts begin at multiples of 64 bytes. Nothing is believed before it was compared with the size of the file.

use std::collections::BTreeMap;
use std::ops::Range;

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use sinopia_layout::limits::{PACK_INDEX_BYTES, PACK_PARTS, TENSOR_AXES, TENSORS};
use sinopia_nn::packed::{ALIGNMENT, Order};

use super::PackKey;
use super::no_pack::NoPack;

pub(super) const MAGIC: &[u8; 8] = b"SINOPACK";
const VERSION: u32 = 1;
/// Bytes before the first part.
pub(super) const HEAD_BYTES: usize = 64;

/// What is in a pack, and what it was made from.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Index {
    pub(super) key: PackKey,
    /// The model's name when it was made, for people.
    pub(super) model: String,
    pub(super) entries: BTreeMap<String, Entry>,
}

/// One weight, or one small tensor.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Entry {
    pub(super) form: Form,
    /// Of a weight taps, channels and columns, of a tensor its shape.
    pub(super) sizes: Vec<usize>,
    pub(super) parts: Vec<Part>,
}

/// How the bytes of an entry are to be read.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(super) enum Form {
    /// A packed weight, by the name of its order.
    Packed(String),
    /// A tensor, by its number format as safetensors spells it.
    Tensor(String),
}

/// Some bytes of the file.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Part {
    pub(super) start: u64,
    pub(super) length: u64,
    /// In hexadecimal.
    pub(super) sha256: String,
}

impl Part {
    /// Where it lies, once [`parse`] has looked at it.
    pub(super) fn range(&self) -> Range<usize> {
        self.start as usize..(self.start + self.length) as usize
    }
}

/// The head of a file whose index is `index`, from byte `start` on.
pub(super) fn head(index: &[u8], start: u64) -> [u8; HEAD_BYTES] {
    let mut head = [0; HEAD_BYTES];
    head[..8].copy_from_slice(MAGIC);
    head[8..12].copy_from_slice(&VERSION.to_le_bytes());
    head[16..24].copy_from_slice(&start.to_le_bytes());
    head[24..32].copy_from_slice(&(index.len() as u64).to_le_bytes());
    head[32..].copy_from_slice(&Sha256::digest(index));
    head
}

/// Reads any bytes as a pack. For the fuzzer: what comes of them matters to nobody, that it ends does.
#[doc(hidden)]
pub fn check(bytes: &[u8]) -> Result<(), NoPack> {
    parse(bytes).map(drop)
}

/// Any bytes, as if they were an index behind a sound head. For the fuzzer, which guesses no checksum.
#[doc(hidden)]
pub fn sealed(index: &[u8]) -> Vec<u8> {
    [&head(index, HEAD_BYTES as u64)[..], index].concat()
}

/// The index of a file, all of whose entries lie inside of it.
pub(super) fn parse(bytes: &[u8]) -> Result<Index, NoPack> {
    if !bytes.starts_with(MAGIC) {
        return Err(NoPack::Foreign);
    }
    match bytes.get(8..12) {
        Some(&[a, b, c, d]) if u32::from_le_bytes([a, b, c, d]) > VERSION => Err(NoPack::Newer),
        _ => parse_own(bytes).map_err(NoPack::Damaged),
    }
}

/// The index of a file in this version of the format; in words, what is wrong if that is not so.
fn parse_own(bytes: &[u8]) -> Result<Index, String> {
    let Some((head, _)) = bytes.split_first_chunk::<HEAD_BYTES>() else {
        return Err(format!("it has {} bytes, too few for a pack", bytes.len()));
    };
    let number = |at: usize| u64::from_le_bytes(std::array::from_fn(|i| head[at + i]));
    if number(8) != u64::from(VERSION) {
        return Err("its head has no version of the format".to_owned());
    }
    let index = index_range(number(16), number(24), bytes.len())?;
    let text = &bytes[index.clone()];
    if Sha256::digest(text)[..] != head[32..] {
        return Err("its index does not have the checksum that its head says".to_owned());
    }
    let parsed: Index = serde_json::from_slice(text).map_err(|error| format!("its index is malformed: {error}"))?;
    if parsed.entries.len() > TENSORS {
        return Err(format!("it names more than {TENSORS} weights"));
    }
    for (name, entry) in &parsed.entries {
        check_entry(entry, index.start).map_err(|problem| format!("`{name}` {problem}"))?;
    }
    Ok(parsed)
}

/// Where the index lies: up to the end of the file.
fn index_range(start: u64, length: u64, file: usize) -> Result<Range<usize>, String> {
    if length > PACK_INDEX_BYTES {
        return Err(format!("it announces an index of {length} bytes"));
    }
    let end = start.checked_add(length);
    if start < HEAD_BYTES as u64 || end != Some(file as u64) {
        let expected = end.map_or_else(|| "more than any file".to_owned(), |end| end.to_string());
        return Err(format!("it has {file} bytes, by its head there should be {expected}"));
    }
    // Both are at most the size of the file.
    Ok(start as usize..file)
}

/// Whether an entry can be what it says, before byte `end` of the file.
fn check_entry(entry: &Entry, end: usize) -> Result<(), String> {
    let known = match &entry.form {
        Form::Packed(order) => Order::named(order).is_some() && entry.sizes.len() == 3,
        Form::Tensor(format) => width(format).is_some() && entry.sizes.len() <= TENSOR_AXES && entry.parts.len() == 1,
    };
    if !known || entry.parts.len() > PACK_PARTS {
        return Err("is of no form that is known".to_owned());
    }
    for Part { start, length, .. } in &entry.parts {
        let is_inside = start.checked_add(*length).is_some_and(|last| last <= end as u64);
        if !is_inside || *start < HEAD_BYTES as u64 || start % ALIGNMENT as u64 != 0 {
            return Err(format!("lies at byte {start} for {length}, where no part can be"));
        }
    }
    match &entry.form {
        Form::Tensor(format) => check_tensor(entry, format),
        Form::Packed(_) => Ok(()),
    }
}

/// Whether a tensor has the bytes of its shape.
fn check_tensor(entry: &Entry, format: &str) -> Result<(), String> {
    let count = entry.sizes.iter().try_fold(1_usize, |product, size| product.checked_mul(*size));
    let bytes = count.zip(width(format)).and_then(|(count, width)| count.checked_mul(width));
    match entry.parts.first().map(|part| part.length) == bytes.map(|bytes| bytes as u64) && bytes.is_some() {
        true => Ok(()),
        false => Err(format!("has not the bytes of a tensor {:?} of {format}", entry.sizes)),
    }
}

/// Bytes of a number in the formats that tensors are kept in.
pub(super) fn width(format: &str) -> Option<usize> {
    match format {
        "F32" => Some(4),
        "F16" | "BF16" => Some(2),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Precision;

    fn index(entries: &[(&str, Entry)]) -> Index {
        let entries = entries.iter().map(|(name, entry)| ((*name).to_owned(), entry.clone())).collect();
        Index { key: PackKey::new("c", Precision::F32), model: "m".to_owned(), entries }
    }

    fn entry(form: Form, sizes: &[usize], start: u64, length: u64) -> Entry {
        Entry { form, sizes: sizes.to_vec(), parts: vec![Part { start, length, sha256: String::new() }] }
    }

    /// A file with 256 bytes of parts.
    fn file(index: &Index) -> Vec<u8> {
        let text = serde_json::to_vec(index).unwrap();
        let start = HEAD_BYTES + 256;
        [&head(&text, start as u64)[..], &[7; 256], &text].concat()
    }

    fn tensor(format: &str) -> Form {
        Form::Tensor(format.to_owned())
    }

    #[test]
    fn what_was_written_is_read() {
        let whole = index(&[
            ("a", entry(tensor("F32"), &[2, 8], 64, 64)),
            ("b", entry(Form::Packed("bf16-panels".to_owned()), &[1, 2, 32], 128, 128)),
        ]);
        assert_eq!(parse(&file(&whole)).unwrap(), whole);
    }

    #[test]
    fn entries_that_cannot_be_are_refused() {
        let bad = [
            entry(tensor("F32"), &[2, 8], 64, 60),
            entry(tensor("F32"), &[usize::MAX, 8], 64, 64),
            entry(tensor("F8"), &[64], 64, 64),
            entry(tensor("F32"), &[16], 0, 64),
            entry(tensor("F32"), &[16], 65, 64),
            entry(tensor("F32"), &[16], 320, 64),
            entry(tensor("F32"), &[16], u64::MAX - 63, 64),
            entry(tensor("F32"), &[1; 9], 64, 4),
            entry(Form::Packed("spirals".to_owned()), &[1, 2, 32], 64, 64),
            entry(Form::Packed("bf16-panels".to_owned()), &[1, 2], 64, 64),
        ];
        for entry in bad {
            assert!(parse(&file(&index(&[("a", entry.clone())]))).is_err(), "{entry:?}");
        }
    }

    #[test]
    fn a_byte_of_head_or_index_that_changed_is_noticed() {
        let good = file(&index(&[("a", entry(tensor("F32"), &[16], 64, 64))]));
        assert!(parse(&good).is_ok());
        let parts = HEAD_BYTES..HEAD_BYTES + 256;
        for at in (0..good.len()).filter(|at| !parts.contains(at)) {
            let mut changed = good.clone();
            changed[at] ^= 0x10;
            assert!(parse(&changed).is_err(), "byte {at}");
        }
        for end in 0..good.len() {
            assert!(parse(&good[..end]).is_err(), "{end} bytes");
        }
        assert!(parse(&[&good[..], b"x"].concat()).is_err());
    }
}
