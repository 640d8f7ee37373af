//! Where the members of a ZIP archive lie. PyTorch stores them as they are, so that they need not be unpacked.

use std::collections::BTreeMap;
use std::ops::Range;

use sinopia_layout::limits::ARCHIVE_MEMBERS;

/// Signatures of the archive's records.
const MEMBER: &[u8] = b"PK\x03\x04";
const ENTRY: &[u8] = b"PK\x01\x02";
const END: &[u8] = b"PK\x05\x06";
const END_64: &[u8] = b"PK\x06\x06";
const END_64_LOCATOR: &[u8] = b"PK\x06\x07";

/// Bytes of the records without names, comments and extra fields.
const MEMBER_BYTES: usize = 30;
const ENTRY_BYTES: usize = 46;
const END_BYTES: usize = 22;
const END_64_LOCATOR_BYTES: usize = 20;
/// The longest comment behind the last record.
const MAX_COMMENT_BYTES: usize = u16::MAX as usize;

/// What stands for a number that did not fit into 32 bits: it is in the extra field.
const IN_EXTRA_FIELD: u64 = u32::MAX as u64;
/// The extra field with numbers of 64 bits.
const ZIP64: u64 = 1;
/// "As it is", the only way of packing that PyTorch uses.
const STORED: u64 = 0;

/// The contents of each member, by name. A member's range lies inside `bytes`.
pub(super) fn members(bytes: &[u8]) -> Result<BTreeMap<String, Range<usize>>, String> {
    let (count, mut at) =
        directory(bytes).ok_or("it is cut short: the archive's directory, which lies at its end, is missing")?;
    if count > ARCHIVE_MEMBERS as u64 {
        return Err(format!("its directory announces {count} members; at most {ARCHIVE_MEMBERS} are read"));
    }
    let mut members = BTreeMap::new();
    for _ in 0..count {
        let (entry, next) = Entry::read(bytes, at).ok_or("its directory is damaged")?;
        at = next;
        if entry.method != STORED {
            return Err(format!(
                "its member `{}` is compressed, which PyTorch does not do: unpack and save it anew",
                entry.name
            ));
        }
        let range =
            entry.contents(bytes).ok_or_else(|| format!("its member `{}` does not lie inside it", entry.name))?;
        members.insert(entry.name, range);
    }
    Ok(members)
}

/// How many entries the directory has, and where it begins.
fn directory(bytes: &[u8]) -> Option<(u64, usize)> {
    let last = bytes.len().checked_sub(END_BYTES)?;
    let first = last.saturating_sub(MAX_COMMENT_BYTES);
    let end = (first..=last).rev().find(|at| bytes[*at..].starts_with(END))?;
    let locator = end.checked_sub(END_64_LOCATOR_BYTES).filter(|at| bytes[*at..].starts_with(END_64_LOCATOR));
    match locator {
        Some(locator) => {
            let end = usize::try_from(number(bytes, locator + 8, 8)?).ok()?;
            bytes.get(end..)?.starts_with(END_64).then_some(())?;
            Some((number(bytes, end + 32, 8)?, usize::try_from(number(bytes, end + 48, 8)?).ok()?))
        }
        None => Some((number(bytes, end + 10, 2)?, usize::try_from(number(bytes, end + 16, 4)?).ok()?)),
    }
}

/// A line of the directory.
struct Entry {
    name: String,
    method: u64,
    size: u64,
    /// Where the member's own record begins.
    offset: u64,
}

impl Entry {
    /// The entry at `at`, and where the next one begins.
    fn read(bytes: &[u8], at: usize) -> Option<(Self, usize)> {
        bytes.get(at..)?.starts_with(ENTRY).then_some(())?;
        let field = |offset: usize, width: usize| number(bytes, at + offset, width);
        let length = |offset: usize| Some(field(offset, 2)? as usize);
        let (name, extra, comment) = (length(28)?, length(30)?, length(32)?);
        let name_at = at + ENTRY_BYTES;
        let extra_at = name_at + name;
        let (mut packed, mut size, mut offset) = (field(20, 4)?, field(24, 4)?, field(42, 4)?);
        let extra_bytes = bytes.get(extra_at..extra_at + extra)?;
        // In this order, and only those that did not fit.
        let mut wide = wide_numbers(extra_bytes).into_iter();
        for number in [&mut size, &mut packed, &mut offset] {
            if *number == IN_EXTRA_FIELD {
                *number = wide.next()?;
            }
        }
        let name = String::from_utf8_lossy(bytes.get(name_at..extra_at)?).into_owned();
        Some((Self { name, method: field(10, 2)?, size, offset }, extra_at + extra + comment))
    }

    /// Where the member's contents lie: behind its own record, whose name and extra field have their own lengths.
    fn contents(&self, bytes: &[u8]) -> Option<Range<usize>> {
        let at = usize::try_from(self.offset).ok()?;
        bytes.get(at..)?.starts_with(MEMBER).then_some(())?;
        let (name, extra) = (number(bytes, at + 26, 2)?, number(bytes, at + 28, 2)?);
        let start = at.checked_add(MEMBER_BYTES)?.checked_add((name + extra) as usize)?;
        let end = start.checked_add(usize::try_from(self.size).ok()?)?;
        (end <= bytes.len()).then_some(start..end)
    }
}

/// The numbers of 64 bits in an extra field.
fn wide_numbers(mut extra: &[u8]) -> Vec<u64> {
    while let (Some(id), Some(length)) = (number(extra, 0, 2), number(extra, 2, 2)) {
        let Some(body) = extra.get(4..4 + length as usize) else { break };
        if id == ZIP64 {
            return body.chunks_exact(8).filter_map(|eight| number(eight, 0, 8)).collect();
        }
        extra = &extra[4 + length as usize..];
    }
    Vec::new()
}

/// A little-endian number of `width` bytes.
fn number(bytes: &[u8], at: usize, width: usize) -> Option<u64> {
    let part = bytes.get(at..at.checked_add(width)?)?;
    Some(part.iter().rev().fold(0, |number, byte| number << 8 | u64::from(*byte)))
}
