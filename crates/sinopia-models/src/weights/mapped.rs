//! A safetensors file in memory: its bytes and the header that says what they are.
//!
//! The layout is a little-endian u64 (the header's length), the header (JSON) and the data. Nothing in the header is believed before
//! it is checked against the size of the file.

use std::collections::BTreeMap;
use std::fmt;
use std::fs::File;
use std::ops::Range;
use std::path::Path;

use memmap2::Mmap;
use serde::de::{Error as _, IgnoredAny, MapAccess, SeqAccess, Visitor};
use serde::{Deserialize, Deserializer};
use sinopia_layout::limits::{SAFETENSORS_HEADER_BYTES, TENSOR_AXES, TENSORS};

use crate::identity::FileIdentity;
use crate::packs::hashes::remembered;
use crate::sha256::sha256_in_pieces;
use crate::{Error, Result};

/// The length of the length, in bytes.
const LENGTH_BYTES: usize = 8;

/// The bytes of a file: mapped, or part of the program.
pub(crate) enum Bytes {
    Mapped(MappedFile),
    Static(&'static [u8]),
}

impl fmt::Debug for Bytes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} bytes", self.as_slice().len())
    }
}

/// A mapped file, open as long as it is mapped: so it can be asked whether it is still what was mapped, whatever its path names now.
pub(crate) struct MappedFile {
    map: Mmap,
    file: File,
    /// What it was when it was mapped.
    identity: FileIdentity,
}

impl MappedFile {
    /// The SHA-256 of what is mapped, remembered where anything is kept.
    pub(crate) fn sha256(&self) -> [u8; 32] {
        remembered(
            &self.identity,
            || sha256_in_pieces(&self.map, |range| release(&self.map, range)),
            || !self.has_changed(),
        )
    }

    /// Whether the file was written to, or lost its name, since it was mapped. Then nobody knows which bytes were read before and which after.
    pub(crate) fn has_changed(&self) -> bool {
        self.file.metadata().map_or(true, |metadata| FileIdentity::of(&metadata) != self.identity)
    }
}

/// Gives pages of a map back to the system, which reads them again from the file when they are touched.
fn release(map: &Mmap, range: Range<usize>) {
    #[cfg(unix)]
    if !range.is_empty() {
        #[expect(unsafe_code, reason = "the only way to give mapped pages back while the map lives")]
        // SAFETY: the map is read-only and backed by the file, so a page that is dropped is read from the file again when touched;
        // no write can be lost. Failure is harmless: the pages stay until memory runs short.
        let _ = unsafe { map.unchecked_advise_range(memmap2::UncheckedAdvice::DontNeed, range.start, range.len()) };
    }
    #[cfg(not(unix))]
    let _ = (map, range);
}

impl Bytes {
    /// Maps a file for reading.
    pub(crate) fn map(path: &Path) -> Result<Self> {
        let read_error = |source| Error::Read { path: path.to_owned(), source };
        let file = match File::open(path) {
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
                return Err(Error::NotFound { path: path.to_owned() });
            }
            other => other.map_err(read_error)?,
        };
        let identity = FileIdentity::of(&file.metadata().map_err(read_error)?);
        if identity.size == 0 {
            return Ok(Self::Static(&[]));
        }
        #[expect(
            unsafe_code,
            reason = "mapping a file is unsafe in any interface, and reading gigabytes into memory first would double it"
        )]
        // SAFETY: the map is private to this value and only read. Another process that truncates the file while we read would end
        // ours with a bus error; like every program that maps checkpoints we rely on nobody doing that.
        let map = unsafe { Mmap::map(&file) }.map_err(read_error)?;
        Ok(Self::Mapped(MappedFile { map, file, identity }))
    }

    /// All of it.
    pub(crate) fn as_slice(&self) -> &[u8] {
        match self {
            Self::Mapped(MappedFile { map, .. }) => map,
            Self::Static(bytes) => bytes,
        }
    }

    /// A range that [`Header::parse`] has checked.
    pub(crate) fn range(&self, range: Range<usize>) -> &[u8] {
        &self.as_slice()[range]
    }

    /// Whether [`Self::read_at`] reads it.
    pub(crate) fn can_be_read_at(&self) -> bool {
        cfg!(unix) && matches!(self, Self::Mapped(_))
    }

    /// Reads bytes of the open file, not of the map.
    pub(crate) fn read_at(&self, start: usize, out: &mut [u8]) -> std::io::Result<()> {
        match self {
            #[cfg(unix)]
            Self::Mapped(MappedFile { file, .. }) => std::os::unix::fs::FileExt::read_exact_at(file, out, start as u64),
            _ => Err(std::io::ErrorKind::Unsupported.into()),
        }
    }

    /// Tells the system that these pages have served, so that the file does not stay in memory beside its copy.
    pub(crate) fn release(&self, range: Range<usize>) {
        if let Self::Mapped(MappedFile { map, .. }) = self {
            release(map, range);
        }
    }

    /// The file that is mapped; none of what is part of the program, or empty.
    pub(crate) fn mapped(&self) -> Option<&MappedFile> {
        match self {
            Self::Mapped(file) => Some(file),
            Self::Static(_) => None,
        }
    }
}

impl AsRef<[u8]> for Bytes {
    fn as_ref(&self) -> &[u8] {
        self.as_slice()
    }
}

/// Where a tensor lies in its file, and how it is stored.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Record {
    /// The number format as the file spells it, `F16`, or the type of its blocks, `Q4_K`.
    pub(crate) format: String,
    pub(crate) shape: Vec<usize>,
    /// Bytes counted from the start of the file, inside it.
    pub(crate) range: Range<usize>,
    /// How far apart neighbours along each axis lie, in numbers, where they do not lie as the shape says; PyTorch's files keep what was transposed or
    /// channels-last so.
    pub(crate) strides: Option<Vec<usize>>,
}

/// The table of contents of a safetensors file.
#[derive(Debug)]
pub(crate) struct Header {
    pub(crate) records: BTreeMap<String, Record>,
}

#[derive(Deserialize)]
struct RawRecord {
    dtype: String,
    shape: Shape,
    data_offsets: (usize, usize),
}

/// Sizes of at most [`TENSOR_AXES`] axes.
struct Shape(Vec<usize>);

impl<'de> Deserialize<'de> for Shape {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> std::result::Result<Self, D::Error> {
        struct Sizes;
        impl<'de> Visitor<'de> for Sizes {
            type Value = Shape;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a list of sizes")
            }

            fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> std::result::Result<Shape, A::Error> {
                let mut sizes = Vec::new();
                while let Some(size) = list.next_element()? {
                    sizes.push(size);
                    if sizes.len() > TENSOR_AXES {
                        return Err(A::Error::custom(format!("a tensor has more than {TENSOR_AXES} axes")));
                    }
                }
                Ok(Shape(sizes))
            }
        }
        deserializer.deserialize_seq(Sizes)
    }
}

/// The entries of a header by name, at most [`TENSORS`] of them; what is said about the file as a whole is passed over.
struct Entries(BTreeMap<String, RawRecord>);

impl<'de> Deserialize<'de> for Entries {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> std::result::Result<Self, D::Error> {
        struct Tensors;
        impl<'de> Visitor<'de> for Tensors {
            type Value = Entries;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object of tensors by name")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> std::result::Result<Entries, A::Error> {
                let mut entries = BTreeMap::new();
                while let Some(name) = map.next_key::<String>()? {
                    if name == "__metadata__" {
                        map.next_value::<IgnoredAny>()?;
                        continue;
                    }
                    let entry = map.next_value().map_err(|error| {
                        A::Error::custom(format!("the entry for tensor `{name}` is malformed: {error}"))
                    })?;
                    entries.insert(name, entry);
                    if entries.len() > TENSORS {
                        return Err(A::Error::custom(format!("it names more than {TENSORS} tensors")));
                    }
                }
                Ok(Entries(entries))
            }
        }
        deserializer.deserialize_map(Tensors)
    }
}

impl Header {
    /// Reads and checks the header of `bytes`, a whole file; `file` is its name in messages.
    pub(crate) fn parse(file: &str, bytes: &[u8]) -> Result<Self> {
        let damaged = |problem: String| Error::Damaged { file: file.to_owned(), problem };
        let (header, data_start) = split_header(bytes).map_err(damaged)?;
        let Entries(entries) = serde_json::from_slice(header)
            .map_err(|error| damaged(format!("its header is not a JSON object of tensors ({error})")))?;
        let mut records = BTreeMap::new();
        let mut total = 0_usize;
        for (name, raw) in entries {
            let record = check(&name, raw, data_start, bytes.len()).map_err(damaged)?;
            total = total.saturating_add(record.range.len());
            records.insert(name, record);
        }
        let data_len = bytes.len() - data_start;
        if total > data_len {
            return Err(damaged(format!("its tensors overlap: {total} bytes of them in {data_len} bytes of data")));
        }
        Ok(Self { records })
    }
}

fn split_header(bytes: &[u8]) -> Result<(&[u8], usize), String> {
    let Some((length, rest)) = bytes.split_first_chunk::<LENGTH_BYTES>() else {
        return Err(format!("it has {} bytes, too few for a safetensors file", bytes.len()));
    };
    let length = u64::from_le_bytes(*length);
    if length > SAFETENSORS_HEADER_BYTES {
        return Err(format!("its first bytes announce a header of {length} bytes; this is not a safetensors file"));
    }
    // At most SAFETENSORS_HEADER_BYTES, which any usize holds.
    let length = length as usize;
    match rest.get(..length) {
        Some(header) => Ok((header, LENGTH_BYTES + length)),
        None => Err(format!("it ends inside its header, after {} of {} bytes", bytes.len(), LENGTH_BYTES + length)),
    }
}

fn check(name: &str, raw: RawRecord, data_start: usize, file_len: usize) -> Result<Record, String> {
    let (start, end) = raw.data_offsets;
    let shape = raw.shape.0;
    let count = shape
        .iter()
        .try_fold(1_usize, |product, size| product.checked_mul(*size))
        .ok_or_else(|| format!("tensor `{name}` has the impossible shape {shape:?}"))?;
    let in_file = |offset: usize| data_start.checked_add(offset);
    let (Some(first), Some(last), true) = (in_file(start), in_file(end), start <= end) else {
        return Err(format!("tensor `{name}` lies at bytes {start} to {end}, which is no range"));
    };
    if last > file_len {
        return Err(format!("it is cut short: tensor `{name}` ends at byte {last}, the file at {file_len}"));
    }
    if let Some(width) = width(&raw.dtype)
        && Some(end - start) != count.checked_mul(width)
    {
        return Err(format!("tensor `{name}` ({}, shape {shape:?}) has {} bytes", raw.dtype, end - start));
    }
    Ok(Record { format: raw.dtype, shape, range: first..last, strides: None })
}

/// Bytes a value, for the formats that hold whole bytes.
pub(crate) fn width(format: &str) -> Option<usize> {
    match format {
        "C128" => Some(16),
        "F64" | "I64" | "U64" | "C64" => Some(8),
        "F32" | "I32" | "U32" => Some(4),
        "F16" | "BF16" | "I16" | "U16" => Some(2),
        "U8" | "I8" | "BOOL" => Some(1),
        float8 if float8.starts_with("F8_") => Some(1),
        _ => None,
    }
}
