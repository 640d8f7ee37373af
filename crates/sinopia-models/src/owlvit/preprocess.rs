//! From pixels to what the vision tower was trained on, to the last bit of the image libraries that did it then.

use candle_core::{Device, Tensor};

use super::config::OwlKind;
use crate::{Error, Result};

/// CLIP's mean colour, 0..=1.
const MEAN: [f32; 3] = [0.481_454_66, 0.457_827_5, 0.408_210_73];
/// CLIP's deviation from it.
const STD: [f32; 3] = [0.268_629_54, 0.261_302_6, 0.275_777_1];
/// What an OWLv2 image is padded with: middle grey, as it was trained.
const PADDING: f32 = 0.5;
/// Most pixels of an image looked at.
const MAX_PIXELS: usize = 1 << 28;

/// An RGB image: rows from the top, three bytes a pixel.
#[derive(Debug, Clone, Copy)]
pub struct Pixels<'a> {
    width: usize,
    height: usize,
    bytes: &'a [u8],
}

impl<'a> Pixels<'a> {
    /// An image of `width` × `height` pixels.
    ///
    /// # Errors
    /// [`Error::Input`] if there are no pixels, too many, or not three bytes for each.
    pub fn new(width: usize, height: usize, bytes: &'a [u8]) -> Result<Self> {
        let pixels = width.checked_mul(height).filter(|pixels| (1..=MAX_PIXELS).contains(pixels));
        match pixels {
            Some(pixels) if pixels * 3 == bytes.len() => Ok(Self { width, height, bytes }),
            _ => Err(Error::Input {
                what: "image",
                expected: format!("1 to {MAX_PIXELS} pixels of three bytes"),
                found: format!("{width}×{height} pixels in {} bytes", bytes.len()),
            }),
        }
    }

    /// (width, height) in pixels.
    pub fn size(&self) -> (usize, usize) {
        (self.width, self.height)
    }
}

/// Images as one batch (B, S, S, 3), normalised by CLIP's mean and deviation.
///
/// # Errors
/// If the tensor library refuses.
pub fn preprocess(images: &[Pixels], kind: OwlKind, side: usize, device: &Device) -> Result<Tensor> {
    let mut values = Vec::with_capacity(images.len() * side * side * 3);
    for image in images {
        let resized = match kind {
            OwlKind::OwlVit => resize_bicubic(*image, side).iter().map(|byte| f32::from(*byte) / 255.0).collect(),
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
    let Pixels { width, height, bytes } = image;
    let shorter = width.min(height);
    let (new_width, new_height) = (side * width / shorter, side * height / shorter);
    let rows = resize_axis(bytes, (height, width, 1), new_width); // (H, new width, 3)
    let resized = resize_axis(&rows, (1, height, new_width), new_height);
    let (left, top) = ((new_width - side) / 2, (new_height - side) / 2);
    let lines = resized.chunks_exact(new_width * 3).skip(top).take(side);
    lines.flat_map(|line| line[left * 3..(left + side) * 3].iter().copied()).collect()
}

/// Bits of a fixed-point weight: 32 less 8 for a colour and 2 for sums beyond it.
const WEIGHT_BITS: u32 = 22;
/// Reach of the bicubic kernel, in source pixels (destination pixels when shrinking).
const BICUBIC_REACH: f64 = 2.0;

/// Pillow's `Image.resize((side, side), BICUBIC)`: rows, then columns, each rounded to bytes.
///
/// That order is the one of all versions before 13; since then columns come first where the height shrinks much more than the width, which
/// rounds otherwise. Square images, as benchmarks have them, are the same in all.
///
/// # Source
/// python-pillow/Pillow, `src/libImaging/Resample.c`; weights are fixed-point there, which decides the last bit.
fn resize_bicubic(image: Pixels, side: usize) -> Vec<u8> {
    let Pixels { width, height, bytes } = image;
    let rows = resize_axis(bytes, (height, width, 1), side); // (H, S, 3)
    resize_axis(&rows, (1, height, side), side) // (S, S, 3)
}

/// Resizes the middle axis of (outer, length, inner, 3).
fn resize_axis(bytes: &[u8], (outer, length, inner): (usize, usize, usize), side: usize) -> Vec<u8> {
    if length == side {
        return bytes.to_vec();
    }
    let weights: Vec<Window> = (0..side).map(|at| Window::bicubic(at, length, side)).collect();
    let row = inner * 3;
    let mut resized = vec![0; outer * side * row];
    for (out, source) in resized.chunks_exact_mut(side * row).zip(bytes.chunks_exact(length * row)) {
        for (out, window) in out.chunks_exact_mut(row).zip(&weights) {
            for (channel, out) in out.iter_mut().enumerate() {
                let pixels = source[window.first * row + channel..].iter().step_by(row);
                let sum: i64 = pixels.zip(&window.weights).map(|(pixel, weight)| i64::from(*pixel) * weight).sum();
                *out = ((sum + (1 << (WEIGHT_BITS - 1))) >> WEIGHT_BITS).clamp(0, 255) as u8;
            }
        }
    }
    resized
}

/// The source pixels that make one destination pixel, and their weights.
struct Window {
    first: usize,
    weights: Vec<i64>,
}

impl Window {
    fn bicubic(at: usize, length: usize, side: usize) -> Self {
        let scale = length as f64 / side as f64;
        let stretch = scale.max(1.0); // when shrinking the kernel widens, against aliasing
        let (centre, reach) = ((at as f64 + 0.5) * scale, BICUBIC_REACH * stretch);
        let first = (centre - reach + 0.5).max(0.0) as usize;
        let end = ((centre + reach + 0.5) as usize).min(length);
        let weight = |pixel: usize| bicubic((pixel as f64 - centre + 0.5) / stretch);
        let weights: Vec<f64> = (first..end).map(weight).collect();
        let total: f64 = weights.iter().sum();
        let fixed = |weight: f64| (weight / total * f64::from(1 << WEIGHT_BITS)).round() as i64;
        Self { first, weights: weights.into_iter().map(fixed).collect() }
    }
}

/// Keys' cubic kernel with a = −1/2.
fn bicubic(x: f64) -> f64 {
    const A: f64 = -0.5;
    match x.abs() {
        x if x < 1.0 => ((A + 2.0) * x - (A + 3.0)) * x * x + 1.0,
        x if x < 2.0 => (((x - 5.0) * x + 8.0) * x - 4.0) * A,
        _ => 0.0,
    }
}

/// OWLv2: padded to a square at the right and bottom, blurred if it will shrink, then resized between pixel centres. Values 0..=1.
///
/// The blur has deviation `(factor − 1)/2` and reaches `⌈3σ⌉` pixels; edges are mirrored.
///
/// # Source
/// huggingface/transformers 5.23, `Owlv2ImageProcessor`, with the grey padding of the original (google-research/scenic).
fn pad_and_resize(image: Pixels, side: usize) -> Vec<f32> {
    let square = image.width.max(image.height);
    let mut values = vec![PADDING; square * square * 3];
    for (row, source) in values.chunks_exact_mut(square * 3).zip(image.bytes.chunks_exact(image.width * 3)) {
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
    let values = bilinear_axis(&values, (square, 1), square, side);
    bilinear_axis(&values, (1, side), square, side)
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

/// Resizes the middle axis of (outer, length, inner, 3) linearly between pixel centres.
fn bilinear_axis(values: &[f32], (outer, inner): (usize, usize), length: usize, side: usize) -> Vec<f32> {
    if length == side {
        return values.to_vec();
    }
    let row = inner * 3;
    let scale = length as f32 / side as f32;
    let mut resized = vec![0.0; outer * side * row];
    for (out, source) in resized.chunks_exact_mut(side * row).zip(values.chunks_exact(length * row)) {
        for (at, out) in out.chunks_exact_mut(row).enumerate() {
            let position = ((at as f32 + 0.5) * scale - 0.5).max(0.0);
            let near = (position as usize).min(length - 1);
            let (far, share) = ((near + 1).min(length - 1), position - near as f32);
            let (near, far) = (&source[near * row..][..row], &source[far * row..][..row]);
            for ((out, near), far) in out.iter_mut().zip(near).zip(far) {
                *out = near * (1.0 - share) + far * share;
            }
        }
    }
    resized
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_plain_colour_stays_plain_in_any_size() {
        let bytes = [10, 200, 30].repeat(5 * 7);
        let image = Pixels::new(5, 7, &bytes).unwrap();
        for side in [1, 3, 7, 16] {
            assert!(resize_bicubic(image, side).chunks_exact(3).all(|pixel| pixel == [10, 200, 30]));
        }
    }

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

    #[test]
    fn images_without_pixels_are_refused() {
        assert!(Pixels::new(0, 5, &[]).is_err());
        let message = Pixels::new(2, 2, &[0; 11]).unwrap_err().to_string();
        assert!(message.contains("2×2 pixels in 11 bytes"), "{message}");
    }
}
