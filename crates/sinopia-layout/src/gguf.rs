//! The head of a GGUF file: what it says of its tensors, read so that what it announces is in the file and within the limits.
//!
//! Announced lengths are not believed beyond the size of the file, and a list of a billion small numbers would take twenty times its size in memory.
//! Of the metadata only what says how tensors are to be read is kept. Version 2 and 3 of the format, and the first (lengths of four bytes):
//! <https://github.com/ggml-org/ggml/blob/master/docs/gguf.md>.

use std::collections::BTreeMap;
use std::io::{Error, Read, Result, Seek, SeekFrom};

use crate::limits::{
    GGUF_DEPTH, GGUF_ENTRIES, GGUF_HEAD_BYTES, GGUF_LIST_ELEMENTS, GGUF_LIST_LENGTH, GGUF_TEXT_BYTES, TENSOR_AXES,
    TENSORS,
};

/// Where a file keeps the distance between its tensors. 0 would be divided by.
const ALIGNMENT: &[u8] = b"general.alignment";
/// The distance where none is given.
const DEFAULT_ALIGNMENT: u64 = 32;
/// Where a file says what kind of model it holds.
const ARCHITECTURE: &[u8] = b"general.architecture";
/// Numbers of the kinds of values, as the format has them.
const BOOL: u32 = 7;
const TEXT: u32 = 8;
const LIST: u32 = 9;

/// What the head of a GGUF file says.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct GgufHead {
    /// Of the format.
    pub version: u32,
    /// `general.architecture`: `llama`, `sd1`; files of stable-diffusion.cpp have none.
    pub architecture: Option<String>,
    /// The lists of few whole numbers in the metadata, by key: sizes of axes.
    pub lists: BTreeMap<String, Vec<i64>>,
    /// The tensors in the order of the file.
    pub tensors: Vec<GgufTensor>,
    /// Where the first byte of the tensors lies, from the start of the file.
    pub data_start: u64,
}

/// A tensor as the head of a GGUF file has it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct GgufTensor {
    /// Its name.
    pub name: String,
    /// Sizes of its axes, neighbours in memory first: the other way round than anywhere else.
    pub sizes: Vec<u64>,
    /// The number of its type, `ggml_type`.
    pub kind: u32,
    /// Where it begins, counted from [`GgufHead::data_start`].
    pub place: u64,
}

/// Reads the head of a GGUF file, nothing if the file is of another kind; the reader is then where it was.
///
/// # Errors
/// If the head is cut short, or beyond a limit.
pub fn read_head(reader: &mut (impl Read + Seek)) -> Result<Option<GgufHead>> {
    let start = reader.stream_position()?;
    let end = reader.seek(SeekFrom::End(0))?;
    reader.seek(SeekFrom::Start(start))?;
    let walk = Walk {
        reader,
        at: 0,
        room: (end - start).min(GGUF_HEAD_BYTES),
        file: end - start,
        listed: 0,
        alignment: DEFAULT_ALIGNMENT,
        has_short_lengths: false,
        head: GgufHead::default(),
    };
    let head = walk.head();
    reader.seek(SeekFrom::Start(start))?;
    head
}

struct Walk<'a, R> {
    reader: &'a mut R,
    /// Bytes passed.
    at: u64,
    /// Bytes that a head may have.
    room: u64,
    /// Bytes of the file.
    file: u64,
    /// Elements of all lists so far.
    listed: u64,
    /// Bytes whose multiples the tensors begin at.
    alignment: u64,
    /// Whether lengths have four bytes, as in the first version.
    has_short_lengths: bool,
    head: GgufHead,
}

impl<R: Read + Seek> Walk<'_, R> {
    fn head(mut self) -> Result<Option<GgufHead>> {
        let magic = self.u32()?;
        if !matches!(magic.to_le_bytes(), [b'G', b'G', b'U', b'F'] | [b'F', b'U', b'G', b'G']) {
            return Ok(None);
        }
        self.head.version = self.u32()?;
        self.has_short_lengths = self.head.version == 1;
        let tensors = self.length()?;
        let entries = self.length()?;
        at_most("tensors", tensors, TENSORS as u64)?;
        at_most("entries of metadata", entries, GGUF_ENTRIES)?;
        for _ in 0..entries {
            let key = self.text()?;
            let kind = self.u32()?;
            self.value(kind, 0, &key)?;
        }
        for _ in 0..tensors {
            let name = self.text()?;
            let tensor = self.tensor(&name)?;
            self.head.tensors.push(tensor);
        }
        self.head.data_start = self.at.next_multiple_of(self.alignment);
        Ok(Some(self.head))
    }

    fn value(&mut self, kind: u32, depth: u32, key: &[u8]) -> Result<()> {
        match kind {
            TEXT => {
                let text = self.text()?;
                if key == ARCHITECTURE && depth == 0 {
                    self.head.architecture = Some(String::from_utf8_lossy(&text).into_owned());
                }
                Ok(())
            }
            LIST => self.list(depth, key),
            _ => {
                let number = self.number(kind)?;
                if key != ALIGNMENT || depth > 0 {
                    return Ok(());
                }
                self.alignment = number as u64;
                let is_good = self.alignment.is_power_of_two();
                if is_good { Ok(()) } else { Err(refused("an alignment that is no power of two")) }
            }
        }
    }

    fn list(&mut self, depth: u32, key: &[u8]) -> Result<()> {
        at_most("lists inside each other", u64::from(depth), u64::from(GGUF_DEPTH))?;
        let kind = self.u32()?;
        let length = self.length()?;
        at_most("elements in a list", length, GGUF_LIST_LENGTH)?;
        self.listed += length;
        at_most("elements in all its lists", self.listed, GGUF_LIST_ELEMENTS)?;
        let is_kept = depth == 0 && length <= TENSOR_AXES as u64 && matches!(kind, 4 | 5 | 10 | 11);
        match width(kind) {
            Some(_) if is_kept => {
                let numbers = (0..length).map(|_| self.number(kind)).collect::<Result<_>>()?;
                self.head.lists.insert(String::from_utf8_lossy(key).into_owned(), numbers);
                Ok(())
            }
            Some(width) => self.skip(length * width),
            None => (0..length).try_for_each(|_| self.value(kind, depth + 1, key)),
        }
    }

    /// The bits of a value of one width, those of whole numbers with their sign.
    fn number(&mut self, kind: u32) -> Result<i64> {
        const I32: u32 = 5;
        let width = width(kind).ok_or_else(|| refused(format!("a value of the unknown kind {kind}")))?;
        let mut bytes = [0; 8];
        self.bytes(&mut bytes[..width as usize])?;
        let bits = i64::from_le_bytes(bytes);
        Ok(if kind == I32 { i64::from(bits as i32) } else { bits })
    }

    /// Axes, their sizes, the format and the place.
    fn tensor(&mut self, name: &[u8]) -> Result<GgufTensor> {
        let axes = self.u32()?;
        at_most("axes of a tensor", u64::from(axes), TENSOR_AXES as u64)?;
        let sizes = (0..axes).map(|_| self.length()).collect::<Result<Vec<u64>>>()?;
        let count = sizes.iter().fold(1_u64, |count, &size| count.saturating_mul(size));
        // The smallest format has less than two bits for a number.
        if count / 8 > self.file {
            return Err(refused(format!("{count} numbers in a tensor where {} bytes are the whole file", self.file)));
        }
        let kind = self.u32()?;
        let mut place = [0; 8];
        self.bytes(&mut place)?;
        let name = String::from_utf8_lossy(name).into_owned();
        Ok(GgufTensor { name, sizes, kind, place: u64::from_le_bytes(place) })
    }

    fn text(&mut self) -> Result<Vec<u8>> {
        let length = self.length()?;
        at_most("bytes in a text", length, GGUF_TEXT_BYTES)?;
        self.check_room(length)?;
        let mut text = vec![0; length as usize];
        self.bytes(&mut text)?;
        Ok(text)
    }

    fn length(&mut self) -> Result<u64> {
        if self.has_short_lengths {
            return self.u32().map(u64::from);
        }
        let mut bytes = [0; 8];
        self.bytes(&mut bytes)?;
        Ok(u64::from_le_bytes(bytes))
    }

    fn u32(&mut self) -> Result<u32> {
        let mut bytes = [0; 4];
        self.bytes(&mut bytes)?;
        Ok(u32::from_le_bytes(bytes))
    }

    fn bytes(&mut self, bytes: &mut [u8]) -> Result<()> {
        self.check_room(bytes.len() as u64)?;
        self.at += bytes.len() as u64;
        self.reader.read_exact(bytes)
    }

    fn skip(&mut self, count: u64) -> Result<()> {
        self.check_room(count)?;
        self.at += count;
        self.reader.seek_relative(count as i64) // within the file
    }

    fn check_room(&self, count: u64) -> Result<()> {
        match count > self.room - self.at {
            true if self.room < self.file => Err(refused(format!("a head of more than {GGUF_HEAD_BYTES} bytes"))),
            true => Err(refused(format!("{count} bytes where {} are left: it is cut short", self.room - self.at))),
            false => Ok(()),
        }
    }
}

/// Bytes of the kinds of values that have one width.
fn width(kind: u32) -> Option<u64> {
    match kind {
        0 | 1 | BOOL => Some(1),
        2 | 3 => Some(2),
        4..=6 => Some(4),
        10..=12 => Some(8),
        _ => None,
    }
}

fn at_most(what: &str, found: u64, limit: u64) -> Result<()> {
    if found > limit { Err(refused(format!("{found} {what}; at most {limit} are read"))) } else { Ok(()) }
}

fn refused(what: impl std::fmt::Display) -> Error {
    Error::new(std::io::ErrorKind::InvalidData, format!("the file announces {what}"))
}

#[cfg(test)]
mod tests {
    use std::io::Cursor;

    use super::*;

    /// A head of version 3 with these counts, and what follows.
    fn head(tensors: u64, entries: u64, rest: &[&[u8]]) -> Vec<u8> {
        [b"GGUF", &3_u32.to_le_bytes()[..], &tensors.to_le_bytes(), &entries.to_le_bytes(), &rest.concat()].concat()
    }

    fn text(content: &str) -> Vec<u8> {
        [&(content.len() as u64).to_le_bytes(), content.as_bytes()].concat()
    }

    fn list(kind: u32, length: u64) -> Vec<u8> {
        [&LIST.to_le_bytes()[..], &kind.to_le_bytes(), &length.to_le_bytes()].concat()
    }

    fn refusal(bytes: Vec<u8>) -> String {
        let mut reader = Cursor::new(bytes);
        let error = read_head(&mut reader).unwrap_err().to_string();
        assert_eq!(reader.position(), 0);
        error
    }

    #[test]
    fn what_is_announced_has_its_limits() {
        let key = text("a");
        assert!(read_head(&mut Cursor::new(head(0, 1, &[&key, &list(0, 3), &[1, 2, 3]]))).is_ok());
        assert!(read_head(&mut Cursor::new(b"JSON and no model".to_vec())).is_ok());
        assert!(refusal(head(u64::MAX, 0, &[])).contains("tensors; at most"));
        assert!(refusal(head(0, GGUF_ENTRIES + 1, &[])).contains("entries of metadata; at most 4096"));
        assert!(refusal(head(0, 1, &[&(GGUF_TEXT_BYTES + 1).to_le_bytes()])).contains("bytes in a text; at most"));
        assert!(refusal(head(0, 1, &[&key, &list(0, GGUF_LIST_LENGTH + 1)])).contains("elements in a list; at most"));
        assert!(refusal(head(0, 1, &[&key, &list(12, GGUF_LIST_LENGTH)])).contains("cut short"));
        let nested = list(LIST, 1)[4..].repeat(GGUF_DEPTH as usize + 2);
        assert!(refusal(head(0, 1, &[&key, &LIST.to_le_bytes(), &nested])).contains("lists inside each other"));
        assert!(refusal(head(0, 1, &[&key, &99_u32.to_le_bytes()])).contains("unknown kind 99"));
        let alignment = text("general.alignment");
        assert!(refusal(head(0, 1, &[&alignment, &4_u32.to_le_bytes(), &[0; 4]])).contains("no power of two"));
        let tensor = |sizes: [u64; 2]| {
            [&key[..], &2_u32.to_le_bytes(), &sizes[0].to_le_bytes(), &sizes[1].to_le_bytes(), &[0; 12]].concat()
        };
        assert!(read_head(&mut Cursor::new(head(1, 0, &[&tensor([3, 4])]))).is_ok());
        assert!(refusal(head(1, 0, &[&tensor([1 << 32, 1 << 32])])).contains("numbers in a tensor"));
        assert!(refusal(head(1, 0, &[&key, &9_u32.to_le_bytes()])).contains("axes of a tensor; at most 8"));
    }

    /// An element takes 32 bytes in memory, however small it is in the file.
    #[test]
    fn lists_are_counted_together() {
        let entry = [&text("a")[..], &list(0, GGUF_LIST_LENGTH), &vec![0; GGUF_LIST_LENGTH as usize]].concat();
        let count = GGUF_LIST_ELEMENTS / GGUF_LIST_LENGTH;
        let heads = |count: u64| head(0, count, &[&entry.repeat(count as usize)]);
        assert!(read_head(&mut Cursor::new(heads(count))).is_ok());
        assert!(refusal(heads(count + 1)).contains("elements in all its lists; at most"));
        // Lists inside a list count with it.
        let inner = [&list(0, 1)[4..], &[0]].concat();
        let nested = [&text("a")[..], &list(LIST, GGUF_LIST_LENGTH), &inner.repeat(GGUF_LIST_LENGTH as usize)].concat();
        assert!(refusal(head(0, 2, &[&nested, &text("b"), &list(0, 1)])).contains("elements in all its lists"));
    }

    #[test]
    fn a_head_ends_somewhere() {
        let chunk = vec![b' '; GGUF_TEXT_BYTES as usize];
        let chunk = text(std::str::from_utf8(&chunk).unwrap());
        let entry = [&text("a")[..], &TEXT.to_le_bytes(), &chunk].concat();
        let count = GGUF_HEAD_BYTES / GGUF_TEXT_BYTES + 1;
        assert!(refusal(head(0, count, &[&entry.repeat(count as usize)])).contains("a head of more than"));
    }
}
