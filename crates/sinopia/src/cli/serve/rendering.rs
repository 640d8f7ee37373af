//! Pictures in other sizes and formats than they were painted in.

use std::io::Cursor;
use std::path::Path;

use anyhow::Context;
use image::codecs::jpeg::JpegEncoder;
use image::imageops::{FilterType, resize};
use image::{ImageFormat, RgbImage};
use image_webp::{ColorType, WebPEncoder};
use serde_json::Value;
use sinopia_server::wire::{PictureFormat, Rendering, Size};
use sinopia_studio::{encode_png, recipe_in};

/// A model knows pictures whose sides are between its own divided by this and its own times this: Stable Diffusion of 512 pixels paints 768 × 512 well,
/// and everything twice at 1024.
const KNOWN_RATIO: f64 = 1.5;
/// Sides of what is painted for elongated pictures are between the model's own divided by this and times this.
const MAX_STRETCH: f64 = 2.0;

/// The size to paint in what is to be sent in `size`, by a model of pictures of `native`. Sides are multiples of `multiple`.
pub(super) fn fitting_size(size: Size, native: Size, multiple: u32, max_pixels: u64) -> Size {
    let rounded = |side: f64| ((side / f64::from(multiple)).round() as u32).max(1) * multiple;
    let rounded = |width: f64, height: f64| Size { width: rounded(width), height: rounded(height) };
    let (width, height) = (f64::from(size.width), f64::from(size.height));
    let (native_width, native_height) = (f64::from(native.width), f64::from(native.height));
    let is_known = |side: f64, native: f64| side * KNOWN_RATIO >= native && side <= native * KNOWN_RATIO;
    let near = rounded(width, height);
    if is_known(width, native_width) && is_known(height, native_height) && near.pixels() <= max_pixels {
        return near;
    }
    // As many pixels as the model's own, or as are allowed, in the wanted proportions.
    let native_area = native_width * native_height;
    let area = native_area.min(max_pixels as f64);
    let (aspect, scale) = (width / height, (area / native_area).sqrt());
    let within = |side: f64, native: f64| side.clamp(scale * native / MAX_STRETCH, scale * native * MAX_STRETCH);
    let mut size = rounded(within((area * aspect).sqrt(), native_width), within((area / aspect).sqrt(), native_height));
    // Rounded up, it may be more than is allowed.
    while size.pixels() > max_pixels && size.width.max(size.height) > multiple {
        match size.width >= size.height {
            true => size.width -= multiple,
            false => size.height -= multiple,
        }
    }
    size
}

/// A PNG of ours, its recipe with it, in another size or format.
pub(super) fn render(png: &[u8], format: PictureFormat, rendering: &Rendering) -> anyhow::Result<Vec<u8>> {
    let painted = sinopia_eval::picture(Path::new("the picture"), png).context("the picture is damaged")?.into_rgb8();
    let image = match rendering.size() {
        Some(Size { width, height }) if (width, height) != painted.dimensions() => {
            resize(&painted, width, height, FilterType::Lanczos3)
        }
        _ => painted,
    };
    match format {
        PictureFormat::Png => with_recipe(&image, png),
        PictureFormat::Jpeg => {
            let mut bytes = Vec::new();
            let quality = rendering.quality.unwrap_or(Rendering::QUALITY);
            image.write_with_encoder(JpegEncoder::new_with_quality(&mut bytes, quality))?;
            Ok(bytes)
        }
        PictureFormat::Webp => {
            let mut bytes = Vec::new();
            WebPEncoder::new(&mut bytes).encode(image.as_raw(), image.width(), image.height(), ColorType::Rgb8)?;
            Ok(bytes)
        }
    }
}

/// A PNG that was made as `painted` was, if that says how.
fn with_recipe(image: &RgbImage, painted: &[u8]) -> anyhow::Result<Vec<u8>> {
    match recipe_in(painted) {
        Ok(recipe) => {
            let caption = serde_json::from_str::<Value>(&recipe).ok();
            let caption = caption.as_ref().and_then(|recipe| recipe["caption"].as_str()).unwrap_or_default();
            Ok(encode_png(image, caption, &recipe)?)
        }
        Err(_) => {
            let mut bytes = Cursor::new(Vec::new());
            image.write_to(&mut bytes, ImageFormat::Png)?;
            Ok(bytes.into_inner())
        }
    }
}

#[cfg(test)]
mod tests {
    use image::ImageReader;

    use super::*;

    const MANY: u64 = 1024 * 1024;

    fn size(width: u32, height: u32) -> Size {
        Size { width, height }
    }

    #[test]
    fn sizes_that_a_model_knows_are_painted_and_others_near_its_own() {
        for (wanted, native, painted) in [
            (size(512, 512), 512, size(512, 512)),
            (size(768, 512), 512, size(768, 512)),
            (size(500, 400), 512, size(504, 400)),
            (size(1024, 1024), 512, size(512, 512)),
            (size(256, 256), 512, size(512, 512)),
            (size(1024, 768), 512, size(592, 440)),
            (size(1792, 1024), 128, size(168, 96)),
            (size(1024, 1536), 128, size(104, 160)),
            (size(4096, 8), 128, size(256, 64)),
            (size(8, 4096), 128, size(64, 256)),
            (size(192, 128), 128, size(192, 128)),
            (size(200, 128), 128, size(160, 104)),
        ] {
            assert_eq!(fitting_size(wanted, size(native, native), 8, MANY), painted, "{wanted:?} of {native}");
        }
        assert_eq!(fitting_size(size(768, 768), size(512, 512), 8, 512 * 512), size(512, 512), "more than is allowed");
    }

    #[test]
    fn what_is_painted_is_never_more_than_is_allowed() {
        for (native, multiple) in [(128, 8), (512, 8), (512, 64), (1024, 16)] {
            for max_pixels in [64 * 64, 100_000, 512 * 512, MANY] {
                for width in (8..=4096).step_by(56) {
                    for height in (8..=4096).step_by(88) {
                        let Size { width: w, height: h } =
                            fitting_size(size(width, height), size(native, native), multiple, max_pixels);
                        assert!(u64::from(w) * u64::from(h) <= max_pixels, "{width}x{height} of {native}: {w}x{h}");
                        assert!(w > 0 && h > 0 && w % multiple == 0 && h % multiple == 0, "{w}x{h}");
                    }
                }
            }
        }
        let allowed = fitting_size(size(64, 192), size(512, 512), 8, 512 * 512);
        assert_eq!(allowed, size(296, 880));
    }

    fn stripes() -> RgbImage {
        RgbImage::from_fn(16, 8, |x, _| if x < 8 { image::Rgb([200, 0, 0]) } else { image::Rgb([0, 0, 200]) })
    }

    #[test]
    fn renderings_show_the_same_picture() {
        let png = encode_png(&stripes(), "a flag", r#"{"caption":"a flag"}"#).unwrap();
        let large = Rendering { width: Some(64), height: Some(32), quality: None };
        let decoded = |format, rendering: &Rendering, as_format| {
            let bytes = render(&png, format, rendering).unwrap();
            let image = ImageReader::with_format(Cursor::new(bytes), as_format).decode().unwrap().into_rgb8();
            assert_eq!(image.dimensions(), rendering.size().map_or((16, 8), |size| (size.width, size.height)));
            image
        };
        for (format, as_format) in [(PictureFormat::Png, ImageFormat::Png), (PictureFormat::Jpeg, ImageFormat::Jpeg)] {
            let image = decoded(format, &large, as_format);
            let (left, right) = (image.get_pixel(8, 16), image.get_pixel(56, 16));
            assert!(left[0] > 180 && left[2] < 20 && right[0] < 20 && right[2] > 180, "{format:?}: {left:?} {right:?}");
        }
        assert_eq!(decoded(PictureFormat::Png, &Rendering::default(), ImageFormat::Png), stripes());
        let recipe = recipe_in(&render(&png, PictureFormat::Png, &large).unwrap()).unwrap();
        assert_eq!(recipe, r#"{"caption":"a flag"}"#);
        let coarse = Rendering { quality: Some(1), ..large };
        let sizes = [&large, &coarse].map(|rendering| render(&png, PictureFormat::Jpeg, rendering).unwrap().len());
        assert!(sizes[1] < sizes[0], "{sizes:?}");
    }

    #[test]
    fn webp_loses_nothing() {
        let png = encode_png(&stripes(), "", "{}").unwrap();
        let webp = render(&png, PictureFormat::Webp, &Rendering::default()).unwrap();
        let mut decoder = image_webp::WebPDecoder::new(Cursor::new(webp)).unwrap();
        let mut pixels = vec![0; decoder.output_buffer_size().unwrap()];
        decoder.read_image(&mut pixels).unwrap();
        assert_eq!((decoder.dimensions(), pixels), ((16, 8), stripes().into_raw()));
    }

    #[test]
    fn what_is_no_picture_is_refused() {
        assert!(render(b"no picture", PictureFormat::Jpeg, &Rendering::default()).is_err());
    }
}
