//! What a file is, by its first bytes. Names lie: of ten files that cannot be read as weights most were never weights.

use sinopia_layout::media::picture_kind;

use crate::Error;

/// How many bytes tell one kind from another.
const START_BYTES: usize = 4096;
/// Where the `{` of a safetensors file's header stands: its length comes first.
const HEADER_AT: usize = 8;
/// Where the mark of a tar archive stands.
const TAR_MARK_AT: usize = 257;

/// Kinds of files.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum FileKind {
    /// Also what is too short to tell: the reader says what is wrong with it.
    Safetensors,
    /// Among them PyTorch's files since 1.6.
    Zip,
    /// Among them PyTorch's files from before.
    Pickle,
    Gguf,
    Other(OtherKind),
    Unknown,
}

/// What is no file of weights, and what to do about it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct OtherKind {
    found: String,
    remedy: &'static str,
}

const LFS_POINTER: &str = "a Git LFS pointer, which only says where the file itself lies";
const WEB_PAGE: &str = "a web page";
const FETCH_AGAIN: &str = "download the file itself; a link to a page, or a login that is missing, gives this instead";

impl FileKind {
    /// The kind of the file that begins with `bytes`.
    pub(super) fn of(bytes: &[u8]) -> Self {
        if let Some(kind) = OtherKind::of(bytes) {
            return Self::Other(kind);
        }
        match bytes {
            _ if is_safetensors(bytes) => Self::Safetensors,
            [b'P', b'K', 3, 4, ..] => Self::Zip,
            [0x80, 1..=5, ..] => Self::Pickle,
            [b'G', b'G', b'U', b'F', ..] => Self::Gguf,
            // Where a safetensors file has the length of its header there is something else.
            [a, b, c, d, e, f, g, h, _, ..]
                if u64::from_le_bytes([*a, *b, *c, *d, *e, *f, *g, *h]) > bytes.len() as u64 =>
            {
                Self::Unknown
            }
            _ => Self::Safetensors,
        }
    }
}

impl OtherKind {
    /// What the file that begins with `bytes` is, if it is known and no file of weights.
    pub(crate) fn of(bytes: &[u8]) -> Option<Self> {
        let start = &bytes[..bytes.len().min(START_BYTES)];
        if is_safetensors(start) {
            return None;
        }
        let kind = |found: &str, remedy| Some(Self { found: found.to_owned(), remedy });
        let text = start.trim_ascii_start();
        let text = text.strip_prefix(b"\xef\xbb\xbf").unwrap_or(text);
        let begins = |word: &str| text.len() >= word.len() && text[..word.len()].eq_ignore_ascii_case(word.as_bytes());
        match start {
            [] => kind("empty", "the download was cut off before it began: fetch the file again"),
            _ if start.starts_with(b"version https://git-lfs") => {
                kind(LFS_POINTER, "run `git lfs pull` in the repository, or download the file itself")
            }
            _ if ["<!doctype", "<html", "<head", "<?xml", "<error"].iter().any(|tag| begins(tag)) => {
                kind(WEB_PAGE, FETCH_AGAIN)
            }
            [b'g' | b'l' | b't', b'g' | b'j' | b'm', ..]
                if [b"lmgg", b"tjgg", b"fmgg"].iter().any(|mark| start.starts_with(*mark)) =>
            {
                kind("a GGML file", "GGUF came after it: take the model in GGUF or safetensors")
            }
            [0x1f, 0x8b, ..] => kind("a gzip archive", "unpack it, and name what was in it"),
            [b'7', b'z', 0xbc, 0xaf, ..] => kind("a 7z archive", "unpack it, and name what was in it"),
            [b'R', b'a', b'r', b'!', ..] => kind("a RAR archive", "unpack it, and name what was in it"),
            _ if start.get(TAR_MARK_AT..).is_some_and(|rest| rest.starts_with(b"ustar")) => {
                kind("a tar archive", "unpack it; files of PyTorch before 0.1.10 have to be saved anew")
            }
            _ if picture_kind(start).is_some() => {
                kind("a picture", "name the weights; pictures on model pages are previews")
            }
            [0x89, b'H', b'D', b'F', ..] => kind(
                "an HDF5 file, TensorFlow's or Keras's weights",
                "take the model in safetensors or PyTorch's format",
            ),
            _ if text.first().is_some_and(|byte| matches!(byte, b'{' | b'[')) => {
                kind("a JSON text", "name the weights; a server that refuses a download may answer with such a text")
            }
            _ => None,
        }
    }

    /// The refusal of a file of this kind.
    pub(crate) fn refusal(self, file: &str) -> Error {
        Error::OtherFile { file: file.to_owned(), found: self.found, remedy: self.remedy.to_owned() }
    }

    /// Whether it stands in the place of a file that did not come, whatever that was to hold.
    pub(crate) fn is_stand_in(&self) -> bool {
        self.found == LFS_POINTER || self.found == WEB_PAGE
    }
}

/// Whether a header begins behind its length, which has less than 2⁵⁶ bytes.
fn is_safetensors(bytes: &[u8]) -> bool {
    bytes.get(HEADER_AT) == Some(&b'{') && bytes.get(HEADER_AT - 1) == Some(&0)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(bytes: &[u8], found: &str) {
        let kind = OtherKind::of(bytes).unwrap_or_else(|| panic!("{found}"));
        assert_eq!(kind.found, found);
    }

    #[test]
    fn files_are_told_by_their_first_bytes() {
        check(b"", "empty");
        check(
            b"version https://git-lfs.github.com/spec/v1\noid sha256:ab\nsize 12\n",
            "a Git LFS pointer, which only says where the file itself lies",
        );
        check(b"\n<!DOCTYPE html><html>", "a web page");
        check(b"\xef\xbb\xbf<HTML lang=en>", "a web page");
        check(b"<?xml version='1.0'?><Error><Code>AccessDenied</Code></Error>", "a web page");
        check(b"{\"error\": \"Repository not found\"}", "a JSON text");
        check(b"\x89PNG\r\n\x1a\n", "a picture");
        check(b"RIFF\x10\0\0\0WEBPVP8 ", "a picture");
        assert_eq!(OtherKind::of(b"RIFF\x10\0\0\0WAVEfmt "), None);
        check(b"\x1f\x8b\x08", "a gzip archive");
        assert_eq!(OtherKind::of(b"abc"), None);
    }

    #[test]
    fn a_safetensors_header_is_one_whatever_its_length_looks_like() {
        // Lengths whose bytes are those of other marks.
        for length in [0x3c_u64, 0x7b, 0x0480, 0x0403_4b50] {
            let bytes = [&length.to_le_bytes()[..], b"{}"].concat();
            let kind = FileKind::of(&bytes);
            assert_eq!(kind, FileKind::Safetensors, "{length:#x}");
        }
    }
}
