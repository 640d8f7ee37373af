//! Writing a pack, part after part, to whatever takes bytes.

use std::collections::BTreeMap;
use std::io::{Error, ErrorKind, Result, Seek, SeekFrom, Write};

use sinopia_layout::limits::PACK_INDEX_BYTES;
use sinopia_nn::packed::ALIGNMENT;

use super::PackKey;
use super::format::{Entry, Form, HEAD_BYTES, Index, Part, head};

/// A pack that is being written.
pub(super) struct Writer<W> {
    out: W,
    position: u64,
    max_bytes: u64,
    entries: BTreeMap<String, Entry>,
}

/// Some bytes to be written, with their checksum.
pub(super) struct Checked<'a> {
    pub(super) bytes: &'a [u8],
    /// SHA-256 in hexadecimal.
    pub(super) sha256: String,
}

impl<W: Write + Seek> Writer<W> {
    /// Begins a pack that may have `max_bytes`. Its head stays empty until it is [finished](Self::finish), so that nothing unfinished is taken for a pack.
    pub(super) fn new(mut out: W, max_bytes: u64) -> Result<Self> {
        out.write_all(&[0; HEAD_BYTES])?;
        Ok(Self { out, position: HEAD_BYTES as u64, max_bytes, entries: BTreeMap::new() })
    }

    pub(super) fn has(&self, name: &str) -> bool {
        self.entries.contains_key(name)
    }

    /// Whether there is a packed weight among what was added.
    pub(super) fn has_packed(&self) -> bool {
        self.entries.values().any(|entry| matches!(entry.form, Form::Packed(_)))
    }

    /// Adds an entry.
    pub(super) fn add(&mut self, name: &str, form: Form, sizes: Vec<usize>, parts: &[Checked<'_>]) -> Result<()> {
        let parts = parts.iter().map(|part| self.write(part)).collect::<Result<_>>()?;
        self.entries.insert(name.to_owned(), Entry { form, sizes, parts });
        Ok(())
    }

    fn write(&mut self, Checked { bytes, sha256 }: &Checked<'_>) -> Result<Part> {
        let start = self.position.next_multiple_of(ALIGNMENT as u64);
        let length = bytes.len() as u64;
        if start + length > self.max_bytes {
            let message = format!("it would have more than {} bytes, which is all that packs may have", self.max_bytes);
            return Err(Error::new(ErrorKind::FileTooLarge, message));
        }
        self.out.write_all(&[0; ALIGNMENT][..(start - self.position) as usize])?;
        self.out.write_all(bytes)?;
        self.position = start + length;
        Ok(Part { start, length, sha256: sha256.clone() })
    }

    /// Writes index and head, and gives back what was written to.
    pub(super) fn finish(mut self, key: PackKey, model: String) -> Result<W> {
        let index = serde_json::to_vec(&Index { key, model, entries: self.entries })?;
        if index.len() as u64 > PACK_INDEX_BYTES {
            return Err(Error::new(ErrorKind::FileTooLarge, "it has too many weights for a pack"));
        }
        self.out.write_all(&index)?;
        self.out.seek(SeekFrom::Start(0))?;
        self.out.write_all(&head(&index, self.position))?;
        self.out.flush()?;
        Ok(self.out)
    }
}

#[cfg(test)]
mod tests {
    use std::io::Cursor;

    use super::super::format::parse;
    use super::*;
    use crate::Precision;
    use crate::sha256::sha256_hex;

    /// A disk with room for so many bytes.
    struct SmallDisk(Cursor<Vec<u8>>, usize);

    impl Write for SmallDisk {
        fn write(&mut self, bytes: &[u8]) -> Result<usize> {
            match self.0.position() as usize + bytes.len() > self.1 {
                true => Err(ErrorKind::StorageFull.into()),
                false => self.0.write(bytes),
            }
        }

        fn flush(&mut self) -> Result<()> {
            Ok(())
        }
    }

    impl Seek for SmallDisk {
        fn seek(&mut self, to: SeekFrom) -> Result<u64> {
            self.0.seek(to)
        }
    }

    fn write<W: Write + Seek>(out: W, max_bytes: u64) -> Result<W> {
        let mut writer = Writer::new(out, max_bytes)?;
        for (name, len) in [("a", 5_usize), ("b", 64), ("c", 0)] {
            let bytes = vec![len as u8; len];
            let parts = [Checked { bytes: &bytes, sha256: sha256_hex(&bytes) }];
            writer.add(name, Form::Packed("f32-panels".to_owned()), vec![1, 1, len], &parts)?;
        }
        writer.finish(PackKey::new("c", Precision::F32), "m".to_owned())
    }

    #[test]
    fn parts_begin_at_cache_lines() {
        let file = write(Cursor::new(Vec::new()), u64::MAX).unwrap().into_inner();
        let index = parse(&file).unwrap();
        let range = |name: &str| index.entries[name].parts[0].range();
        assert_eq!((range("a"), range("b"), range("c")), (64..69, 128..192, 192..192));
        assert_eq!((&file[range("a")], &file[range("b")]), (&[5; 5][..], &[64; 64][..]));
        assert_eq!(index.entries["b"].parts[0].sha256, sha256_hex([64; 64]));
    }

    #[test]
    fn a_full_disk_is_told_wherever_it_ends() {
        let whole = write(Cursor::new(Vec::new()), u64::MAX).unwrap().into_inner().len();
        for room in 0..whole {
            let error = write(SmallDisk(Cursor::default(), room), u64::MAX).err().unwrap();
            assert_eq!(error.kind(), ErrorKind::StorageFull, "{room} of {whole}");
        }
        assert!(write(SmallDisk(Cursor::default(), whole), u64::MAX).is_ok());
    }

    #[test]
    fn no_pack_is_larger_than_allowed() {
        let error = write(Cursor::new(Vec::new()), 191).err().unwrap();
        assert!(error.to_string().contains("more than 191 bytes"), "{error}");
        assert!(write(Cursor::new(Vec::new()), 192).is_ok());
    }
}
