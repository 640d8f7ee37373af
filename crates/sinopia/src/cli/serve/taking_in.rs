//! Pictures from clients: their pixels, and nothing else of them.

use std::io::Cursor;

use image::codecs::png::{CompressionType, FilterType, PngEncoder};
use image::{DynamicImage, RgbaImage};
use sinopia_server::engine::TakenIn;
use sinopia_server::wire::Size;
use sinopia_server::{Answer, Fault, Refusal};
use sinopia_studio::InitPicture;
use sinopia_studio::pictures::{DecodeError, decode};

use super::refusal::refused;

/// A picture as it is kept: an opaque one without its alpha channel.
pub(super) fn take_in(bytes: &[u8], max_pixels: u64) -> Answer<TakenIn> {
    let picture = decode(bytes, max_pixels).map_err(|error| match error {
        DecodeError::TooLarge { .. } => Refusal::new(Fault::TooLarge, error.to_string()),
        error => refused(error.to_string()),
    })?;
    let pixels = picture.to_rgba8();
    let is_opaque = pixels.pixels().all(|pixel| pixel[3] == u8::MAX);
    let is_transparent = pixels.pixels().any(|pixel| pixel[3] < InitPicture::OPAQUE);
    let size = Size { width: pixels.width(), height: pixels.height() };
    Ok(TakenIn { png: encoded(pixels, is_opaque)?, size, is_transparent })
}

fn encoded(pixels: RgbaImage, is_opaque: bool) -> Answer<Vec<u8>> {
    let kept = match is_opaque {
        true => DynamicImage::from(DynamicImage::from(pixels).into_rgb8()),
        false => DynamicImage::from(pixels),
    };
    let mut bytes = Cursor::new(Vec::new());
    let encoder = PngEncoder::new_with_quality(&mut bytes, CompressionType::Fast, FilterType::Adaptive);
    let written = kept.write_with_encoder(encoder);
    written.map_err(|error| Refusal::new(Fault::Engine, error.to_string()))?;
    Ok(bytes.into_inner())
}

#[cfg(test)]
mod tests {
    use image::{ImageFormat, Rgb, RgbImage, Rgba};

    use super::*;

    fn png(picture: impl Into<DynamicImage>) -> Vec<u8> {
        let mut bytes = Cursor::new(Vec::new());
        picture.into().write_to(&mut bytes, ImageFormat::Png).unwrap();
        bytes.into_inner()
    }

    #[test]
    fn pixels_are_kept_and_transparency_is_told() {
        let opaque = RgbImage::from_pixel(4, 2, Rgb([9, 8, 7]));
        let taken = take_in(&png(opaque.clone()), 100).unwrap();
        assert_eq!((taken.size, taken.is_transparent), (Size { width: 4, height: 2 }, false));
        assert_eq!(decode(&taken.png, 100).unwrap(), DynamicImage::from(opaque));
        let mut holed = RgbaImage::from_pixel(4, 2, Rgba([9, 8, 7, 255]));
        holed.put_pixel(1, 1, Rgba([0, 0, 0, 0]));
        let taken = take_in(&png(holed.clone()), 100).unwrap();
        assert!(taken.is_transparent);
        assert_eq!(decode(&taken.png, 100).unwrap(), DynamicImage::from(holed));
    }

    #[test]
    fn what_else_a_file_holds_is_not_kept() {
        let with_recipe = sinopia_studio::encode_png(&RgbImage::new(4, 2), "a secret", "{}").unwrap();
        let taken = take_in(&with_recipe, 100).unwrap();
        assert!(!taken.png.windows(6).any(|bytes| bytes == b"secret"));
    }

    #[test]
    fn what_is_no_picture_and_what_is_too_large_is_told_apart() {
        assert_eq!(take_in(b"no picture", 100).unwrap_err().fault, Fault::Request);
        assert_eq!(take_in(&png(RgbImage::new(11, 10)), 100).unwrap_err().fault, Fault::TooLarge);
    }
}
