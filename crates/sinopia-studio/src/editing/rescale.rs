//! A change that was made to a picture scaled, brought into the picture at its own size.

use image::imageops::{self, FilterType};
use image::{GrayImage, Luma, Rgb, RgbImage};

/// `full` with what differs between `before` and `after`, which are it scaled and the same changed: scaled back, and faded out over about a pixel of theirs. Where nothing
/// near differs, every pixel keeps its bytes.
pub(super) fn scaled_into(full: &RgbImage, before: &RgbImage, after: &RgbImage) -> RgbImage {
    let (width, height) = full.dimensions();
    let changed = around_changes(before, after);
    let new = imageops::resize(after, width, height, FilterType::CatmullRom);
    RgbImage::from_fn(width, height, |x, y| {
        let old = *full.get_pixel(x, y);
        let share = |place: u32, side: u32| (place as f32 + 0.5) / side as f32;
        let alpha = imageops::sample_bilinear(&changed, share(x, width), share(y, height)).map_or(0, |Luma([a])| a);
        if alpha == 0 { old } else { mixed(old, *new.get_pixel(x, y), alpha) }
    })
}

/// 255 where a pixel or one beside it differs, 0 elsewhere: single pixels that a change left as they were make no holes.
fn around_changes(before: &RgbImage, after: &RgbImage) -> GrayImage {
    let (width, height) = before.dimensions();
    let mut mask = GrayImage::new(width, height);
    for (x, y, pixel) in before.enumerate_pixels() {
        if pixel == after.get_pixel(x, y) {
            continue;
        }
        for y in y.saturating_sub(1)..=(y + 1).min(height - 1) {
            for x in x.saturating_sub(1)..=(x + 1).min(width - 1) {
                mask.put_pixel(x, y, Luma([255]));
            }
        }
    }
    mask
}

fn mixed(old: Rgb<u8>, new: Rgb<u8>, alpha: u8) -> Rgb<u8> {
    let alpha = u32::from(alpha);
    let mix = |old: u8, new: u8| ((u32::from(new) * alpha + u32::from(old) * (255 - alpha) + 127) / 255) as u8;
    Rgb([0, 1, 2].map(|channel| mix(old.0[channel], new.0[channel])))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_new_is_enlarged_and_all_else_keeps_its_bytes() {
        // Finer than a pixel of the small picture: scaling it down and up again would lose it.
        let full = RgbImage::from_fn(200, 120, |x, y| Rgb([(x * 7 % 256) as u8, (y * 5 % 256) as u8, (x ^ y) as u8]));
        let before = imageops::resize(&full, 50, 40, FilterType::Lanczos3);
        let mut after = before.clone();
        for y in 10..20 {
            for x in 15..30 {
                after.put_pixel(x, y, Rgb([250, 10, 20]));
            }
        }
        let image = scaled_into(&full, &before, &after);
        assert_eq!(image.dimensions(), (200, 120));
        for (x, y, pixel) in image.enumerate_pixels() {
            let (small_x, small_y) = (x as f32 / 4.0, y as f32 / 3.0);
            let is_far = !(13.0..=32.0).contains(&small_x) || !(8.0..=22.0).contains(&small_y);
            assert!(!is_far || pixel == full.get_pixel(x, y), "{x}, {y}");
            let is_inside = (18.0..27.0).contains(&small_x) && (13.0..17.0).contains(&small_y);
            assert!(!is_inside || *pixel == Rgb([250, 10, 20]), "{x}, {y}: {pixel:?}");
        }
        assert_eq!(scaled_into(&full, &before, &before), full);
    }
}
