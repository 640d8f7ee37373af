//! From pixels to what the vision tower was trained on, to the last bit of the image libraries that did it then.

use candle_core::{Device, Tensor};
use sinopia_layout::limits::PICTURE_PIXELS;

use super::config::OwlKind;
use crate::image::{Axis, Pixels, Size, bilinear_axis, center_crop, resize};
use crate::preprocessing::{Preprocessing, Resize};
use crate::{Error, Result};

/// What an OWLv2 image is padded with: middle grey, as it was trained.
const PADDING: f32 = 0.5;

/// Images as one batch (B, S, S, 3), normalised by CLIP's mean and deviation.
///
/// # Errors
/// If the tensor library refuses.
pub fn preprocess(images: &[Pixels], kind: OwlKind, side: usize, device: &Device) -> Result<Tensor> {
    prepared(images, &published(kind, side), side, device)
}

/// What each kind was published with.
pub(crate) fn published(kind: OwlKind, side: usize) -> Preprocessing {
    match kind {
        OwlKind::OwlVit => Preprocessing::owlvit(side),
        OwlKind::Owlv2 => Preprocessing::owlv2(side),
    }
}

/// Images as one batch (B, S, S, 3), prepared as `how` says, which makes all of them S × S.
pub(crate) fn prepared(images: &[Pixels], how: &Preprocessing, side: usize, device: &Device) -> Result<Tensor> {
    let mut values = Vec::with_capacity(images.len() * side * side * 3);
    for image in images {
        if how.pad {
            let square = image.size().0.max(image.size().1);
            check_pixels(*image, Size::square(square))?;
            let padded = pad_and_resize(*image, side, how);
            values.extend(padded.iter().enumerate().map(|(i, value)| how.normalised_value(*value, i % 3)));
        } else {
            let square = resize_and_crop(*image, how)?;
            values.extend(square.iter().enumerate().map(|(i, byte)| how.normalised(*byte, i % 3)));
        }
    }
    Ok(Tensor::from_vec(values, (images.len(), side, side, 3), device)?)
}

/// Refuses an image that becomes too large on its way to the network's size.
fn check_pixels(image: Pixels, new: Size) -> Result<()> {
    if new.width as u64 * new.height as u64 <= PICTURE_PIXELS {
        return Ok(());
    }
    let (width, height) = image.size();
    Err(Error::Input {
        what: "an image to look at",
        expected: format!("at most {PICTURE_PIXELS} pixels when it is resized or padded"),
        found: format!("{width} × {height}, which becomes {} × {}", new.width, new.height),
    })
}

/// Resized, then the middle cut out. With the shorter side given the longer one is rounded down.
///
/// # Source
/// huggingface/transformers 5.23, `CLIPImageProcessor`.
fn resize_and_crop(image: Pixels, how: &Preprocessing) -> Result<Vec<u8>> {
    let (width, height) = image.size();
    let scaled = |edge: usize, side: usize| (side * width / edge, side * height / edge);
    let (new_width, new_height) = match how.resize {
        Resize::No => (width, height),
        Resize::To(width, height) => (width, height),
        Resize::ShortestEdge(side) => scaled(width.min(height), side),
        Resize::LongestEdge(side) => scaled(width.max(height), side),
    };
    let new = Size { width: new_width.max(1), height: new_height.max(1) };
    check_pixels(image, new)?;
    let resized = match new == (Size { width, height }) {
        true => image.bytes().to_vec(),
        false => resize(image, new, how.filter),
    };
    Ok(match how.center_crop {
        Some((width, height)) => center_crop(Pixels::new(new.width, new.height, &resized)?, Size { width, height }),
        None => resized,
    })
}

/// OWLv2: padded to a square at the right and bottom, blurred if it will shrink, then resized between pixel centres. Values 0..=1.
///
/// The blur has deviation `(factor − 1)/2` and reaches `⌈3σ⌉` pixels; edges are mirrored.
///
/// # Source
/// huggingface/transformers 5.23, `Owlv2ImageProcessor`, with the grey padding of the original (google-research/scenic).
fn pad_and_resize(image: Pixels, side: usize, how: &Preprocessing) -> Vec<f32> {
    let square = image.size().0.max(image.size().1);
    let mut values = vec![PADDING; square * square * 3];
    for (row, source) in values.chunks_exact_mut(square * 3).zip(image.bytes().chunks_exact(image.size().0 * 3)) {
        for (value, byte) in row.iter_mut().zip(source) {
            *value = how.rescaled(*byte);
        }
    }
    let sigma = (square as f64 / side as f64 - 1.0) / 2.0;
    if sigma > 0.0 {
        let kernel = gaussian(sigma);
        values = blur_axis(&values, Axis { outer: square, length: square, inner: 1 }, &kernel);
        values = blur_axis(&values, Axis { outer: 1, length: square, inner: square }, &kernel);
    }
    let values = bilinear_axis(&values, Axis { outer: square, length: square, inner: 3 }, side);
    bilinear_axis(&values, Axis { outer: 1, length: square, inner: side * 3 }, side)
}

/// A normal distribution sampled at whole pixels up to three deviations, summing to 1.
fn gaussian(sigma: f64) -> Vec<f32> {
    let reach = (3.0 * sigma).ceil();
    let taps: Vec<f64> =
        (0..=2 * reach as usize).map(|i| (-0.5 * ((i as f64 - reach) / sigma).powi(2)).exp()).collect();
    let total: f64 = taps.iter().sum();
    taps.into_iter().map(|tap| (tap / total) as f32).collect()
}

/// Blurs the middle axis of (outer, length, inner, 3), mirrored at its ends without repeating the last pixel.
fn blur_axis(values: &[f32], Axis { outer, length, inner }: Axis, kernel: &[f32]) -> Vec<f32> {
    let (row, reach) = (inner * 3, kernel.len() / 2);
    let period = 2 * (length.max(2) - 1);
    let mirrored = |at: usize, tap: usize| {
        let at = (at + tap + period * (reach / period + 1) - reach) % period;
        at.min(period - at).min(length - 1)
    };
    let mut blurred = vec![0.0; outer * length * row];
    for (out, source) in blurred.chunks_exact_mut(length * row).zip(values.chunks_exact(length * row)) {
        for (at, out) in out.chunks_exact_mut(row).enumerate() {
            for (tap, weight) in kernel.iter().enumerate() {
                let source = &source[mirrored(at, tap) * row..][..row];
                out.iter_mut().zip(source).for_each(|(out, value)| *out += weight * value);
            }
        }
    }
    blurred
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_strip_that_would_become_a_wall_is_refused() {
        let bytes = vec![0; 16_384 * 3];
        let resized = Preprocessing { resize: Resize::ShortestEdge(4096), ..Preprocessing::clip(4) };
        for (width, height) in [(16_384, 1), (1, 16_384)] {
            let strip = Pixels::new(width, height, &bytes).unwrap();
            for how in [&resized, &Preprocessing::owlv2(4)] {
                let refused = prepared(&[strip], how, 4, &Device::Cpu).unwrap_err().to_string();
                assert!(refused.contains("at most 67108864 pixels"), "{refused}");
                assert!(refused.contains(&format!("{width} × {height}, which becomes")), "{refused}");
            }
            assert_eq!(prepared(&[strip], &Preprocessing::clip(4), 4, &Device::Cpu).unwrap().dims(), [1, 4, 4, 3]);
        }
    }

    #[test]
    fn padding_is_grey_and_below() {
        let bytes = [255; 3 * 4 * 2];
        let values = pad_and_resize(Pixels::new(4, 2, &bytes).unwrap(), 4, &Preprocessing::owlv2(4));
        assert!(values[..4 * 2 * 3].iter().all(|value| *value == 1.0));
        assert!(values[4 * 2 * 3..].iter().all(|value| *value == PADDING));
    }

    #[test]
    fn a_blur_longer_than_the_image_is_mirrored_again_and_again() {
        let kernel = gaussian(4.0);
        let blurred = blur_axis(&[0.25; 3 * 2], Axis { outer: 1, length: 2, inner: 1 }, &kernel);
        assert!(blurred.iter().all(|value| (value - 0.25).abs() < 1e-6), "{blurred:?}");
        let one = blur_axis(&[0.25; 3], Axis { outer: 1, length: 1, inner: 1 }, &kernel);
        assert!((one[0] - 0.25).abs() < 1e-6);
    }
}
