//! From pixels to what the vision tower was trained on, to the last bit of the image libraries that did it then.

use candle_core::{Device, Tensor};

use super::config::OwlKind;
use crate::Result;
use crate::image::{Filter, Pixels, bilinear_axis, resize};

/// CLIP's mean colour, 0..=1.
const MEAN: [f32; 3] = [0.481_454_66, 0.457_827_5, 0.408_210_73];
/// CLIP's deviation from it.
const STD: [f32; 3] = [0.268_629_54, 0.261_302_6, 0.275_777_1];
/// What an OWLv2 image is padded with: middle grey, as it was trained.
const PADDING: f32 = 0.5;

/// Images as one batch (B, S, S, 3), normalised by CLIP's mean and deviation.
///
/// # Errors
/// If the tensor library refuses.
pub fn preprocess(images: &[Pixels], kind: OwlKind, side: usize, device: &Device) -> Result<Tensor> {
    let mut values = Vec::with_capacity(images.len() * side * side * 3);
    for image in images {
        let resized = match kind {
            OwlKind::OwlVit => {
                resize(*image, (side, side), Filter::Bicubic).iter().map(|byte| f32::from(*byte) / 255.0).collect()
            }
            OwlKind::Owlv2 => pad_and_resize(*image, side),
        };
        values.extend(resized.iter().enumerate().map(|(i, value)| (value - MEAN[i % 3]) / STD[i % 3]));
    }
    Ok(Tensor::from_vec(values, (images.len(), side, side, 3), device)?)
}

/// Images as CLIP sees them, (B, S, S, 3): the shorter side resized to S (bicubic), the middle square, normalised.
///
/// # Source
/// huggingface/transformers 5.23, `CLIPImageProcessor`: the longer side is rounded down, and so is where the square begins.
pub(crate) fn crop_and_normalise(images: &[Pixels], side: usize, device: &Device) -> Result<Tensor> {
    let mut values = Vec::with_capacity(images.len() * side * side * 3);
    for image in images {
        let square = middle_square(*image, side);
        values.extend(square.iter().enumerate().map(|(i, byte)| (f32::from(*byte) / 255.0 - MEAN[i % 3]) / STD[i % 3]));
    }
    Ok(Tensor::from_vec(values, (images.len(), side, side, 3), device)?)
}

fn middle_square(image: Pixels, side: usize) -> Vec<u8> {
    let (width, height) = image.size();
    let shorter = width.min(height);
    let (new_width, new_height) = (side * width / shorter, side * height / shorter);
    let resized = resize(image, (new_width, new_height), Filter::Bicubic);
    let (left, top) = ((new_width - side) / 2, (new_height - side) / 2);
    let lines = resized.chunks_exact(new_width * 3).skip(top).take(side);
    lines.flat_map(|line| line[left * 3..(left + side) * 3].iter().copied()).collect()
}

/// OWLv2: padded to a square at the right and bottom, blurred if it will shrink, then resized between pixel centres. Values 0..=1.
///
/// The blur has deviation `(factor − 1)/2` and reaches `⌈3σ⌉` pixels; edges are mirrored.
///
/// # Source
/// huggingface/transformers 5.23, `Owlv2ImageProcessor`, with the grey padding of the original (google-research/scenic).
fn pad_and_resize(image: Pixels, side: usize) -> Vec<f32> {
    let square = image.size().0.max(image.size().1);
    let mut values = vec![PADDING; square * square * 3];
    for (row, source) in values.chunks_exact_mut(square * 3).zip(image.bytes().chunks_exact(image.size().0 * 3)) {
        for (value, byte) in row.iter_mut().zip(source) {
            *value = f32::from(*byte) / 255.0;
        }
    }
    let sigma = (square as f64 / side as f64 - 1.0) / 2.0;
    if sigma > 0.0 {
        let kernel = gaussian(sigma);
        values = blur_axis(&values, (square, 1), square, &kernel);
        values = blur_axis(&values, (1, square), square, &kernel);
    }
    let values = bilinear_axis(&values, (square, square, 3), side);
    bilinear_axis(&values, (1, square, side * 3), side)
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
fn blur_axis(values: &[f32], (outer, inner): (usize, usize), length: usize, kernel: &[f32]) -> Vec<f32> {
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
    fn padding_is_grey_and_below() {
        let bytes = [255; 3 * 4 * 2];
        let values = pad_and_resize(Pixels::new(4, 2, &bytes).unwrap(), 4);
        assert!(values[..4 * 2 * 3].iter().all(|value| *value == 1.0));
        assert!(values[4 * 2 * 3..].iter().all(|value| *value == PADDING));
    }

    #[test]
    fn a_blur_longer_than_the_image_is_mirrored_again_and_again() {
        let kernel = gaussian(4.0);
        let blurred = blur_axis(&[0.25; 3 * 2], (1, 1), 2, &kernel);
        assert!(blurred.iter().all(|value| (value - 0.25).abs() < 1e-6), "{blurred:?}");
        let one = blur_axis(&[0.25; 3], (1, 1), 1, &kernel);
        assert!((one[0] - 0.25).abs() < 1e-6);
    }
}
