//! The texts in a PNG file, found without decoding the picture and inflated no further than their limit.

use std::io::Read;

use sinopia_layout::limits::{PNG_CHUNKS, TEXT_CHUNK_BYTES};
use sinopia_layout::media::picture_kind;

use super::Error;

const SIGNATURE: &[u8] = b"\x89PNG\r\n\x1a\n";
/// Bytes of a keyword, as the format has it.
const KEYWORD_BYTES: usize = 79;

/// The text chunks of a PNG, each still as it is in the file.
#[derive(Debug)]
pub struct PngTexts<'a> {
    /// Width and height in pixels, as the header says.
    pub size: (u32, u32),
    chunks: Vec<Chunk<'a>>,
}

#[derive(Debug)]
struct Chunk<'a> {
    keyword: String,
    content: Content<'a>,
    /// Whether its checksum is right.
    is_whole: bool,
}

#[derive(Debug)]
enum Content<'a> {
    Plain(&'a [u8]),
    Deflated(&'a [u8]),
}

impl<'a> PngTexts<'a> {
    /// Finds the text chunks of a PNG file, in front of the picture's data and behind it.
    ///
    /// # Errors
    /// [`Error::NotPng`], or [`Error::Damaged`] if it does not end as a PNG does.
    pub fn read(bytes: &'a [u8]) -> Result<Self, Error> {
        let Some(mut rest) = bytes.strip_prefix(SIGNATURE) else {
            return Err(Error::NotPng { kind: picture_kind(bytes) });
        };
        let mut found = Self { size: (0, 0), chunks: Vec::new() };
        for number in 0..PNG_CHUNKS {
            let (kind, data, checksum, after) = next_chunk(rest).ok_or_else(cut)?;
            match (number, kind) {
                (0, b"IHDR") => found.size = size(data).ok_or_else(cut)?,
                (0, _) => return Err(damaged("it does not begin with a header")),
                (_, b"IEND") => return Ok(found),
                _ => {}
            }
            if let Some((keyword, content)) = content(kind, data) {
                let mut crc = flate2::Crc::new();
                crc.update(kind);
                crc.update(data);
                found.chunks.push(Chunk { keyword, content, is_whole: crc.sum() == checksum });
            }
            rest = after;
        }
        Err(damaged(format!("it has more than {PNG_CHUNKS} chunks")))
    }

    /// The text under `keyword`, the first if there are several.
    ///
    /// # Errors
    /// [`Error::TooLong`], or [`Error::Damaged`] if it cannot be inflated or its checksum is wrong.
    pub fn text(&self, keyword: &str) -> Result<Option<String>, Error> {
        let Some(chunk) = self.chunks.iter().find(|chunk| chunk.keyword == keyword) else { return Ok(None) };
        let too_long = || Error::TooLong { keyword: keyword.to_owned() };
        if !chunk.is_whole {
            return Err(damaged(format!("the checksum of its text chunk `{keyword}` is wrong")));
        }
        match chunk.content {
            Content::Plain(bytes) if bytes.len() > TEXT_CHUNK_BYTES => Err(too_long()),
            Content::Plain(bytes) => Ok(Some(decoded(bytes))),
            Content::Deflated(bytes) => {
                let mut inflated = Vec::new();
                let limit = TEXT_CHUNK_BYTES as u64 + 1;
                let read = flate2::read::ZlibDecoder::new(bytes).take(limit).read_to_end(&mut inflated);
                if inflated.len() > TEXT_CHUNK_BYTES {
                    return Err(too_long());
                }
                read.map_err(|_| damaged(format!("its text chunk `{keyword}` cannot be inflated")))?;
                Ok(Some(decoded(&inflated)))
            }
        }
    }

    /// Whether there is a text under `keyword`.
    pub fn has(&self, keyword: &str) -> bool {
        self.chunks.iter().any(|chunk| chunk.keyword == keyword)
    }
}

/// Kind, data and checksum of a chunk, and what follows it.
type Raw<'a> = (&'a [u8; 4], &'a [u8], u32, &'a [u8]);

/// The chunk that `bytes` begin with.
fn next_chunk(bytes: &[u8]) -> Option<Raw<'_>> {
    let (length, rest) = bytes.split_first_chunk::<4>()?;
    let (kind, rest) = rest.split_first_chunk::<4>()?;
    let (data, rest) = rest.split_at_checked(usize::try_from(u32::from_be_bytes(*length)).ok()?)?;
    let (checksum, rest) = rest.split_first_chunk::<4>()?;
    Some((kind, data, u32::from_be_bytes(*checksum), rest))
}

fn size(header: &[u8]) -> Option<(u32, u32)> {
    let (width, rest) = header.split_first_chunk::<4>()?;
    let (height, _) = rest.split_first_chunk::<4>()?;
    Some((u32::from_be_bytes(*width), u32::from_be_bytes(*height)))
}

/// Keyword and content of a text chunk; nothing for other chunks and for those that are not as they should be.
fn content<'a>(kind: &[u8; 4], data: &'a [u8]) -> Option<(String, Content<'a>)> {
    if !matches!(kind, b"tEXt" | b"zTXt" | b"iTXt") {
        return None;
    }
    let (keyword, rest) = split_at_zero(data)?;
    let keyword = (keyword.len() <= KEYWORD_BYTES).then(|| latin1(keyword))?;
    let content = match kind {
        b"tEXt" => Content::Plain(rest),
        // The method of compression, 0 for deflate.
        b"zTXt" => Content::Deflated(rest.strip_prefix(&[0])?),
        _ => {
            // Whether it is compressed, the method, a language, the keyword in that language.
            let ([is_deflated, _], rest) = rest.split_first_chunk::<2>()?;
            let (_, rest) = split_at_zero(rest)?;
            let (_, text) = split_at_zero(rest)?;
            if *is_deflated == 0 { Content::Plain(text) } else { Content::Deflated(text) }
        }
    };
    Some((keyword, content))
}

fn split_at_zero(bytes: &[u8]) -> Option<(&[u8], &[u8])> {
    let end = bytes.iter().position(|byte| *byte == 0)?;
    Some((&bytes[..end], &bytes[end + 1..]))
}

/// The format wants Latin-1 in `tEXt` and `zTXt`; many programs write UTF-8 all the same, which Latin-1 is hardly ever by accident.
fn decoded(bytes: &[u8]) -> String {
    std::str::from_utf8(bytes).map_or_else(|_| latin1(bytes), str::to_owned)
}

fn latin1(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| char::from(*byte)).collect()
}

fn damaged(problem: impl Into<String>) -> Error {
    Error::Damaged { problem: problem.into() }
}

fn cut() -> Error {
    damaged("it is cut short")
}

#[cfg(test)]
pub(super) mod tests {
    use std::io::Write;

    use flate2::Compression;
    use flate2::write::ZlibEncoder;

    use super::*;

    pub(in crate::pictures) fn chunk(kind: &[u8; 4], data: &[u8]) -> Vec<u8> {
        let mut crc = flate2::Crc::new();
        crc.update(kind);
        crc.update(data);
        let length = u32::try_from(data.len()).unwrap();
        [&length.to_be_bytes(), &kind[..], data, &crc.sum().to_be_bytes()].concat()
    }

    /// A PNG of one pixel with some chunks before its data.
    pub(in crate::pictures) fn png(chunks: &[Vec<u8>]) -> Vec<u8> {
        let header = chunk(b"IHDR", &[0, 0, 0, 1, 0, 0, 0, 1, 8, 0, 0, 0, 0]);
        let data = chunk(b"IDAT", &deflated(&[0, 0]));
        [SIGNATURE.to_vec(), header, chunks.concat(), data, chunk(b"IEND", &[])].concat()
    }

    pub(in crate::pictures) fn text(keyword: &str, text: &str) -> Vec<u8> {
        chunk(b"iTXt", &[keyword.as_bytes(), &[0, 0, 0, 0, 0], text.as_bytes()].concat())
    }

    fn deflated(bytes: &[u8]) -> Vec<u8> {
        let mut encoder = ZlibEncoder::new(Vec::new(), Compression::best());
        encoder.write_all(bytes).unwrap();
        encoder.finish().unwrap()
    }

    fn zeros(length: usize) -> Vec<u8> {
        deflated(&vec![b' '; length])
    }

    #[test]
    fn all_three_kinds_of_text_are_read_wherever_they_stand() {
        let z = chunk(b"zTXt", &[b"b\0\0", &deflated(b"caf\xe9")[..]].concat());
        let i = chunk(b"iTXt", &[b"c\0\x01\0de\0\0", &deflated("犬".as_bytes())[..]].concat());
        let mut bytes = png(&[chunk(b"tEXt", b"a\0one"), z, i, chunk(b"tEXt", b"a\0another")]);
        let end = bytes.split_off(bytes.len() - 12);
        bytes.extend([chunk(b"tEXt", "d\0größe".as_bytes()), end].concat());
        let found = PngTexts::read(&bytes).unwrap();
        assert_eq!(found.size, (1, 1));
        for (keyword, text) in [("a", "one"), ("b", "café"), ("c", "犬"), ("d", "größe")] {
            assert_eq!(found.text(keyword).unwrap().as_deref(), Some(text));
        }
        assert_eq!((found.text("e").unwrap(), found.has("d")), (None, true));
    }

    #[test]
    fn a_text_is_inflated_to_its_limit_and_no_further() {
        for (kind, head) in [(b"zTXt", &b"a\0\0"[..]), (b"iTXt", b"a\0\x01\0\0\0")] {
            let of = |length: usize| png(&[chunk(kind, &[head, &zeros(length)].concat())]);
            let whole = of(TEXT_CHUNK_BYTES);
            assert_eq!(PngTexts::read(&whole).unwrap().text("a").unwrap().unwrap().len(), TEXT_CHUNK_BYTES);
            let bomb = of(64 * TEXT_CHUNK_BYTES);
            assert!(bomb.len() < TEXT_CHUNK_BYTES / 4);
            let error = PngTexts::read(&bomb).unwrap().text("a").unwrap_err();
            assert_eq!(error, Error::TooLong { keyword: "a".to_owned() });
        }
        let plain = png(&[text("a", &" ".repeat(TEXT_CHUNK_BYTES + 1))]);
        assert!(matches!(PngTexts::read(&plain).unwrap().text("a"), Err(Error::TooLong { .. })));
    }

    #[test]
    fn what_is_damaged_is_told() {
        let whole = png(&[text("a", "one")]);
        for length in 0..whole.len() {
            assert!(PngTexts::read(&whole[..length]).is_err(), "{length}");
        }
        let mut changed = whole.clone();
        let at = changed.windows(3).position(|bytes| bytes == b"one").unwrap();
        changed[at] = b'O';
        let error = PngTexts::read(&changed).unwrap().text("a").unwrap_err();
        assert!(error.to_string().contains("checksum of its text chunk `a`"), "{error}");
        let broken = png(&[chunk(b"zTXt", b"a\0\0not deflated")]);
        let error = PngTexts::read(&broken).unwrap().text("a").unwrap_err();
        assert!(error.to_string().contains("cannot be inflated"), "{error}");
        let many = png(&vec![chunk(b"IDAT", &[]); PNG_CHUNKS]);
        assert!(PngTexts::read(&many).unwrap_err().to_string().contains("more than"));
    }
}
