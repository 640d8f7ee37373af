//! Which kind of file some bytes are, told by how they begin, for messages about files that were mistaken for others.

/// The kind of picture that `bytes` are, if they are one: `PNG`, `JPEG`, ….
pub fn picture_kind(bytes: &[u8]) -> Option<&'static str> {
    let starts: [(&[u8], &'static str); 9] = [
        (b"\x89PNG\r\n\x1a\n", "PNG"),
        (b"\xff\xd8\xff", "JPEG"),
        (b"GIF87a", "GIF"),
        (b"GIF89a", "GIF"),
        (b"II*\0", "TIFF"),
        (b"MM\0*", "TIFF"),
        (b"8BPS", "Photoshop"),
        (b"\xff\x0a", "JPEG XL"),
        (b"\0\0\0\x0cJXL \r\n\x87\n", "JPEG XL"),
    ];
    if let Some((_, kind)) = starts.iter().find(|(start, _)| bytes.starts_with(start)) {
        return Some(kind);
    }
    match (bytes.get(..4), bytes.get(4..8), bytes.get(8..12)) {
        (Some(b"RIFF"), _, Some(b"WEBP")) => Some("WebP"),
        (_, Some(b"ftyp"), Some(b"avif" | b"avis")) => Some("AVIF"),
        (_, Some(b"ftyp"), Some(b"heic" | b"heix" | b"hevc" | b"mif1" | b"msf1")) => Some("HEIC"),
        // A bitmap says its own length in bytes 2 to 6, which a text that begins with `BM` does not.
        (Some([b'B', b'M', ..]), _, _) if announced_length(bytes) == Some(bytes.len()) => Some("BMP"),
        _ => None,
    }
}

fn announced_length(bytes: &[u8]) -> Option<usize> {
    let length = bytes.get(2..6)?.try_into().ok()?;
    usize::try_from(u32::from_le_bytes(length)).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pictures_are_told_from_texts() {
        for (bytes, kind) in [
            (&b"\x89PNG\r\n\x1a\n\0\0"[..], Some("PNG")),
            (b"\xff\xd8\xff\xe0\0\x10JFIF", Some("JPEG")),
            (b"GIF89a..", Some("GIF")),
            (b"RIFF\x10\0\0\0WEBPVP8 ", Some("WebP")),
            (b"\0\0\0\x1cftypavif\0\0", Some("AVIF")),
            (b"\0\0\0\x18ftypheic\0\0", Some("HEIC")),
            (b"II*\0\x08\0\0\0", Some("TIFF")),
            (b"BM\x0a\0\0\0\0\0\0\0", Some("BMP")),
            (b"BMW cars [('a car', [1, 2, 3, 4])]", None),
            (b"{\"canvas\": {}}", None),
            (b"RIFF\x10\0\0\0WAVE", None),
            (b"", None),
        ] {
            assert_eq!(picture_kind(bytes), kind, "{bytes:?}");
        }
    }
}
