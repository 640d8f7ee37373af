//! The pixels of pictures that others made: PNG, JPEG or WebP, read as if somebody meant harm.
//!
//! Which format it is says its beginning, not its name. Sides and pixels are looked at before anything is decoded, and decoding has a limit of memory.

use std::io::Cursor;

use image::metadata::Orientation;
use image::{DynamicImage, ImageDecoder, ImageFormat, ImageReader, RgbImage, RgbaImage};
use image_webp::WebPDecoder;
use sinopia_layout::limits::{PICTURE_BYTES, PICTURE_PIXELS, PICTURE_SIDE};
use sinopia_layout::media::picture_kind;

/// Bytes that decoding may take for each pixel: four channels of 16 bits, and again what a decoder needs on its way.
const BYTES_PER_PIXEL: u64 = 16;

/// Why bytes are no picture that is worked with.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum DecodeError {
    /// Something else, or another format.
    #[error("{}", not_read(*kind))]
    Format {
        /// The kind of picture that it is, if it is one.
        kind: Option<&'static str>,
    },
    /// More than is read.
    #[error("the picture has {what}; at most {limit} are read: scale it down, or cut a part out of it")]
    TooLarge {
        /// What it has too much of, such as `4000 × 9000 pixels`.
        what: String,
        /// How many there may be.
        limit: u64,
    },
    /// It moves.
    #[error("this is an animated {kind} picture; one that stands still is expected")]
    Animated {
        /// Its kind.
        kind: &'static str,
    },
    /// It is not whole, or not what it says it is.
    #[error("the {kind} picture is damaged: {problem}")]
    Damaged {
        /// Its kind.
        kind: &'static str,
        /// What is wrong with it.
        problem: String,
    },
}

fn not_read(kind: Option<&str>) -> String {
    match kind {
        Some(kind) => format!("this is a {kind} picture; a PNG, JPEG or WebP is expected"),
        None => "this is no picture; a PNG, JPEG or WebP is expected".to_owned(),
    }
}

/// The picture in a file's bytes, of at most `max_pixels`, turned upright as the file says.
///
/// # Errors
/// [`DecodeError`].
pub fn decode(bytes: &[u8], max_pixels: u64) -> Result<DynamicImage, DecodeError> {
    if bytes.len() as u64 > PICTURE_BYTES {
        return Err(DecodeError::TooLarge { what: format!("{} bytes", bytes.len()), limit: PICTURE_BYTES });
    }
    let max_pixels = max_pixels.min(PICTURE_PIXELS);
    match picture_kind(bytes) {
        Some("PNG") => decode_as(ImageFormat::Png, "PNG", bytes, max_pixels),
        Some("JPEG") => decode_as(ImageFormat::Jpeg, "JPEG", bytes, max_pixels),
        Some("WebP") => decode_webp(bytes, max_pixels),
        kind => Err(DecodeError::Format { kind }),
    }
}

fn decode_as(
    format: ImageFormat,
    kind: &'static str,
    bytes: &[u8],
    max_pixels: u64,
) -> Result<DynamicImage, DecodeError> {
    let damaged = |error: image::ImageError| DecodeError::Damaged { kind, problem: error.to_string() };
    let mut limits = image::Limits::default();
    (limits.max_image_width, limits.max_image_height) = (Some(PICTURE_SIDE), Some(PICTURE_SIDE));
    limits.max_alloc = Some(max_pixels.saturating_mul(BYTES_PER_PIXEL));
    let mut reader = ImageReader::with_format(Cursor::new(bytes), format);
    reader.limits(limits);
    let mut decoder = reader.into_decoder().map_err(damaged)?;
    check_size(decoder.dimensions(), max_pixels)?;
    let orientation = decoder.orientation().unwrap_or(Orientation::NoTransforms);
    let mut picture = DynamicImage::from_decoder(decoder).map_err(damaged)?;
    picture.apply_orientation(orientation);
    Ok(picture)
}

fn decode_webp(bytes: &[u8], max_pixels: u64) -> Result<DynamicImage, DecodeError> {
    let kind = "WebP";
    let damaged = |error: image_webp::DecodingError| DecodeError::Damaged { kind, problem: error.to_string() };
    let mut decoder = WebPDecoder::new(Cursor::new(bytes)).map_err(damaged)?;
    let memory = max_pixels.saturating_mul(BYTES_PER_PIXEL);
    decoder.set_memory_limit(usize::try_from(memory).unwrap_or(usize::MAX));
    let (width, height) = decoder.dimensions();
    check_size((width, height), max_pixels)?;
    if decoder.is_animated() {
        return Err(DecodeError::Animated { kind });
    }
    let exif = decoder.exif_metadata().ok().flatten();
    let orientation = exif.and_then(|exif| Orientation::from_exif_chunk(&exif)).unwrap_or(Orientation::NoTransforms);
    let size = decoder.output_buffer_size();
    let mut pixels = vec![0; size.ok_or_else(|| DecodeError::Damaged { kind, problem: "it has no size".to_owned() })?];
    decoder.read_image(&mut pixels).map_err(damaged)?;
    let picture = match decoder.has_alpha() {
        true => RgbaImage::from_raw(width, height, pixels).map(DynamicImage::from),
        false => RgbImage::from_raw(width, height, pixels).map(DynamicImage::from),
    };
    let mut picture =
        picture.ok_or_else(|| DecodeError::Damaged { kind, problem: "its pixels are not its size".to_owned() })?;
    picture.apply_orientation(orientation);
    Ok(picture)
}

fn check_size((width, height): (u32, u32), max_pixels: u64) -> Result<(), DecodeError> {
    let pixels = format!("{width} × {height} pixels");
    match u64::from(width) * u64::from(height) > max_pixels {
        true => Err(DecodeError::TooLarge { what: pixels, limit: max_pixels }),
        false if width > PICTURE_SIDE || height > PICTURE_SIDE => {
            Err(DecodeError::TooLarge { what: format!("{pixels}: a side that long"), limit: u64::from(PICTURE_SIDE) })
        }
        false => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use image::{Rgb, Rgba};
    use image_webp::{ColorType, WebPEncoder};

    use super::*;

    fn encoded(picture: &DynamicImage, format: ImageFormat) -> Vec<u8> {
        let mut bytes = Cursor::new(Vec::new());
        picture.write_to(&mut bytes, format).unwrap();
        bytes.into_inner()
    }

    fn stripes() -> RgbImage {
        RgbImage::from_fn(16, 8, |x, _| if x < 8 { Rgb([200, 0, 0]) } else { Rgb([0, 0, 200]) })
    }

    #[test]
    fn formats_are_told_by_their_beginning_and_keep_their_pixels() {
        let picture = DynamicImage::from(stripes());
        assert_eq!(decode(&encoded(&picture, ImageFormat::Png), 128).unwrap().to_rgb8(), stripes());
        let jpeg = decode(&encoded(&picture, ImageFormat::Jpeg), 128).unwrap().to_rgb8();
        assert!(jpeg.get_pixel(2, 4)[0] > 180 && jpeg.get_pixel(13, 4)[2] > 180);
        let faint = RgbaImage::from_pixel(16, 8, Rgba([1, 2, 3, 0]));
        for (pixels, color) in [(stripes().into_raw(), ColorType::Rgb8), (faint.clone().into_raw(), ColorType::Rgba8)] {
            let mut webp = Vec::new();
            WebPEncoder::new(&mut webp).encode(&pixels, 16, 8, color).unwrap();
            assert_eq!(decode(&webp, 128).unwrap().into_bytes(), pixels);
        }
        let png = encoded(&faint.into(), ImageFormat::Png);
        assert!(decode(&png, 128).unwrap().to_rgba8().pixels().all(|pixel| pixel[3] == 0));
    }

    #[test]
    fn what_is_too_large_is_refused_before_it_is_decoded() {
        let png = encoded(&stripes().into(), ImageFormat::Png);
        let error = decode(&png, 127).unwrap_err();
        assert_eq!(error, DecodeError::TooLarge { what: "16 × 8 pixels".to_owned(), limit: 127 });
        // A head that announces a billion pixels, and nothing behind it.
        let mut bomb = png.clone();
        bomb[16..24].copy_from_slice(&[0, 0, 0x40, 0, 0, 0, 0x40, 0]);
        assert!(matches!(decode(&bomb, u64::MAX), Err(DecodeError::TooLarge { .. } | DecodeError::Damaged { .. })));
    }

    #[test]
    fn what_is_no_such_picture_is_told_by_what_it_is() {
        assert_eq!(decode(b"GIF89a...", 100), Err(DecodeError::Format { kind: Some("GIF") }));
        assert_eq!(decode(b"{}", 100), Err(DecodeError::Format { kind: None }));
        let png = encoded(&stripes().into(), ImageFormat::Png);
        let jpeg = encoded(&stripes().into(), ImageFormat::Jpeg);
        let mut webp = Vec::new();
        WebPEncoder::new(&mut webp).encode(&stripes(), 16, 8, ColorType::Rgb8).unwrap();
        for whole in [png, jpeg, webp] {
            for length in (12..whole.len()).step_by(7) {
                // A JPEG that breaks off may still show its upper part; nothing panics.
                let _ = decode(&whole[..length], 1000).map_err(|error| error.to_string());
            }
        }
    }
}
