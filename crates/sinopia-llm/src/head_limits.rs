//! A walk over a GGUF file's head before anything of it is kept: what it announces is in the file, and within the limits.
//!
//! The reader that follows believes announced lengths up to the size of the file, and a list of a billion small numbers takes twenty times its
//! size in memory.

use std::io::{Error, Read, Result, Seek, SeekFrom};

use sinopia_layout::limits::{
    GGUF_DEPTH, GGUF_ENTRIES, GGUF_HEAD_BYTES, GGUF_LIST_ELEMENTS, GGUF_LIST_LENGTH, GGUF_TEXT_BYTES, TENSOR_AXES,
    TENSORS,
};

/// Where a file keeps the distance between its tensors. 0 would be divided by.
const ALIGNMENT: &[u8] = b"general.alignment";
/// Numbers of the kinds of values, as the format has them.
const BOOL: u32 = 7;
const TEXT: u32 = 8;
const LIST: u32 = 9;

/// Refuses a head that is beyond a limit; the reader is then at its beginning again. A file of another kind is left to the reader that follows.
pub(crate) fn check(reader: &mut (impl Read + Seek)) -> Result<()> {
    let start = reader.stream_position()?;
    let end = reader.seek(SeekFrom::End(0))?;
    reader.seek(SeekFrom::Start(start))?;
    let checked = Walk {
        reader,
        at: 0,
        room: (end - start).min(GGUF_HEAD_BYTES),
        file: end - start,
        listed: 0,
        has_short_lengths: false,
    }
    .head();
    reader.seek(SeekFrom::Start(start))?;
    checked
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
    /// Whether lengths have four bytes, as in the first version.
    has_short_lengths: bool,
}

impl<R: Read + Seek> Walk<'_, R> {
    fn head(&mut self) -> Result<()> {
        let magic = self.u32()?;
        if !matches!(magic.to_le_bytes(), [b'G', b'G', b'U', b'F'] | [b'F', b'U', b'G', b'G']) {
            return Ok(());
        }
        self.has_short_lengths = self.u32()? == 1;
        let tensors = self.length()?;
        let entries = self.length()?;
        at_most("tensors", tensors, TENSORS as u64)?;
        at_most("entries of metadata", entries, GGUF_ENTRIES)?;
        for _ in 0..entries {
            let key = self.text()?;
            let kind = self.u32()?;
            self.value(kind, 0, key == ALIGNMENT)?;
        }
        for _ in 0..tensors {
            self.text()?;
            self.tensor()?;
        }
        Ok(())
    }

    fn value(&mut self, kind: u32, depth: u32, is_alignment: bool) -> Result<()> {
        match kind {
            TEXT => self.text().map(drop),
            LIST => {
                at_most("lists inside each other", u64::from(depth), u64::from(GGUF_DEPTH))?;
                let kind = self.u32()?;
                let length = self.length()?;
                at_most("elements in a list", length, GGUF_LIST_LENGTH)?;
                self.listed += length;
                at_most("elements in all its lists", self.listed, GGUF_LIST_ELEMENTS)?;
                match width(kind) {
                    Some(width) => self.skip(length * width),
                    None => (0..length).try_for_each(|_| self.value(kind, depth + 1, false)),
                }
            }
            _ => {
                let width = width(kind).ok_or_else(|| refused(format!("a value of the unknown kind {kind}")))?;
                let mut bytes = [0; 8];
                self.bytes(&mut bytes[..width as usize])?;
                let is_bad = is_alignment && !u64::from_le_bytes(bytes).is_power_of_two();
                if is_bad { Err(refused("an alignment that is no power of two")) } else { Ok(()) }
            }
        }
    }

    /// Axes, their sizes, the format and the place.
    fn tensor(&mut self) -> Result<()> {
        let axes = self.u32()?;
        at_most("axes of a tensor", u64::from(axes), TENSOR_AXES as u64)?;
        let mut count = 1_u64;
        for _ in 0..axes {
            count = count.saturating_mul(self.length()?);
        }
        // The smallest format has two bits for a number.
        at_most("numbers in a tensor", count / 4, self.file)?;
        self.skip(4 + 8)
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
        let error = check(&mut reader).unwrap_err().to_string();
        assert_eq!(reader.position(), 0);
        error
    }

    #[test]
    fn what_is_announced_has_its_limits() {
        let key = text("a");
        assert!(check(&mut Cursor::new(head(0, 1, &[&key, &list(0, 3), &[1, 2, 3]]))).is_ok());
        assert!(check(&mut Cursor::new(b"JSON and no model".to_vec())).is_ok());
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
        assert!(check(&mut Cursor::new(head(1, 0, &[&tensor([3, 4])]))).is_ok());
        assert!(refusal(head(1, 0, &[&tensor([1 << 32, 1 << 32])])).contains("numbers in a tensor"));
        assert!(refusal(head(1, 0, &[&key, &9_u32.to_le_bytes()])).contains("axes of a tensor; at most 8"));
    }

    /// An element takes 32 bytes in memory, however small it is in the file.
    #[test]
    fn lists_are_counted_together() {
        let entry = [&text("a")[..], &list(0, GGUF_LIST_LENGTH), &vec![0; GGUF_LIST_LENGTH as usize]].concat();
        let count = GGUF_LIST_ELEMENTS / GGUF_LIST_LENGTH;
        let heads = |count: u64| head(0, count, &[&entry.repeat(count as usize)]);
        assert!(check(&mut Cursor::new(heads(count))).is_ok());
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
