//! RGB images on their way to a network: pixels, and resizes as the image libraries of the trainings do them.

use crate::{Error, Result};

/// Most pixels of an image looked at.
const MAX_PIXELS: usize = 1 << 28;

/// How large an image is, in pixels.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Size {
    pub(crate) width: usize,
    pub(crate) height: usize,
}

impl Size {
    pub(crate) fn square(side: usize) -> Self {
        Self { width: side, height: side }
    }
}

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

    /// RGB bytes, (H, W, 3).
    pub(crate) fn bytes(&self) -> &'a [u8] {
        self.bytes
    }
}

/// Bits of a fixed-point weight: 32 less 8 for a colour and 2 for sums beyond it.
const WEIGHT_BITS: u32 = 22;

/// What weighs the pixels around a place.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Filter {
    /// The pixel at the place, no other.
    Nearest,
    /// Lanczos' windowed sine with three lobes.
    Lanczos,
    /// Falls to zero in a straight line.
    Bilinear,
    /// Keys' cubic kernel with a = −1/2.
    Bicubic,
    /// All the same.
    Box,
    /// A sine windowed by Hamming's cosine.
    Hamming,
}

impl Filter {
    /// The filter with this number in Pillow, as configurations spell it.
    pub(crate) fn of_pillow(number: f64) -> Option<Self> {
        const NUMBERED: [Filter; 6] =
            [Filter::Nearest, Filter::Lanczos, Filter::Bilinear, Filter::Bicubic, Filter::Box, Filter::Hamming];
        NUMBERED.iter().zip(0..).find(|(_, own)| f64::from(*own) == number).map(|(filter, _)| *filter)
    }

    /// How far it reaches, in source pixels (destination pixels when shrinking).
    fn reach(self) -> f64 {
        match self {
            Self::Nearest | Self::Box => 0.5,
            Self::Bilinear | Self::Hamming => 1.0,
            Self::Bicubic => 2.0,
            Self::Lanczos => 3.0,
        }
    }

    fn weight(self, x: f64) -> f64 {
        match self {
            Self::Bilinear => (1.0 - x.abs()).max(0.0),
            Self::Bicubic => bicubic(x),
            Self::Nearest | Self::Box => {
                if x > -0.5 && x <= 0.5 {
                    1.0
                } else {
                    0.0
                }
            }
            Self::Hamming if x.abs() < 1.0 => sinc(x) * (0.54 + 0.46 * (std::f64::consts::PI * x).cos()),
            Self::Lanczos if (-3.0..3.0).contains(&x) => sinc(x) * sinc(x / 3.0),
            Self::Hamming | Self::Lanczos => 0.0,
        }
    }
}

/// Pillow's `Image.resize((width, height), filter)`: rows, then columns, each rounded to bytes.
///
/// That order is the one of all versions before 13; since then columns come first where the height shrinks much more than the width, which
/// rounds otherwise. Square images, as benchmarks have them, are the same in all.
///
/// # Source
/// python-pillow/Pillow, `src/libImaging/Resample.c`; weights are fixed-point there, which decides the last bit.
pub(crate) fn resize(image: Pixels, to: Size, filter: Filter) -> Vec<u8> {
    let Pixels { width, height, bytes } = image;
    if filter == Filter::Nearest {
        return nearest(image, to);
    }
    let rows = resize_axis(bytes, Axis { outer: height, length: width, inner: 1 }, to.width, filter); // (H, W', 3)
    resize_axis(&rows, Axis { outer: 1, length: height, inner: to.width }, to.height, filter) // (H', W', 3)
}

/// The pixel at the centre of each new one.
fn nearest(image: Pixels, to: Size) -> Vec<u8> {
    let place = |at: usize, length: usize, side: usize| ((at as f64 + 0.5) * (length as f64 / side as f64)) as usize;
    let mut resized = Vec::with_capacity(to.width * to.height * 3);
    for y in 0..to.height {
        let row = place(y, image.height, to.height).min(image.height - 1) * image.width;
        for x in 0..to.width {
            let pixel = row + place(x, image.width, to.width).min(image.width - 1);
            resized.extend_from_slice(&image.bytes[pixel * 3..][..3]);
        }
    }
    resized
}

/// The middle of an image; what reaches beyond it is black.
///
/// # Source
/// huggingface/transformers 5.23, `TorchvisionBackend.center_crop`: filled up first, by the smaller half at the left and the top, then cut.
pub(crate) fn center_crop(image: Pixels, to: Size) -> Vec<u8> {
    let Pixels { width, height, bytes } = image;
    // Of the image in the result, or of the result in the image.
    let offsets = |length: usize, side: usize| match side > length {
        true => ((side - length) / 2, 0),
        false => (0, (length - side) / 2),
    };
    let ((left, skipped_left), (top, skipped_top)) = (offsets(width, to.width), offsets(height, to.height));
    let (shown_width, shown_height) = (width.min(to.width), height.min(to.height));
    let mut cropped = vec![0; to.width * to.height * 3];
    for line in 0..shown_height {
        let from = ((skipped_top + line) * width + skipped_left) * 3;
        let at = ((top + line) * to.width + left) * 3;
        cropped[at..at + shown_width * 3].copy_from_slice(&bytes[from..from + shown_width * 3]);
    }
    cropped
}

/// An axis among those of an image, which lie outside and inside of it.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Axis {
    pub(crate) outer: usize,
    pub(crate) length: usize,
    pub(crate) inner: usize,
}

/// Resizes the middle axis of (outer, length, inner, 3).
fn resize_axis(bytes: &[u8], Axis { outer, length, inner }: Axis, side: usize, filter: Filter) -> Vec<u8> {
    if length == side {
        return bytes.to_vec();
    }
    let weights: Vec<Window> = (0..side).map(|at| Window::new(at, length, side, filter)).collect();
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
    fn new(at: usize, length: usize, side: usize, filter: Filter) -> Self {
        let scale = length as f64 / side as f64;
        let stretch = scale.max(1.0); // when shrinking the kernel widens, against aliasing
        let (centre, reach) = ((at as f64 + 0.5) * scale, filter.reach() * stretch);
        let first = (centre - reach + 0.5).max(0.0) as usize;
        let end = ((centre + reach + 0.5) as usize).min(length);
        let weight = |pixel: usize| filter.weight((pixel as f64 - centre + 0.5) / stretch);
        let weights: Vec<f64> = (first..end).map(weight).collect();
        let total: f64 = weights.iter().sum();
        let fixed = |weight: f64| (weight / total * f64::from(1 << WEIGHT_BITS)).round() as i64;
        Self { first, weights: weights.into_iter().map(fixed).collect() }
    }
}

/// `sin(πx) / πx`.
fn sinc(x: f64) -> f64 {
    let x = std::f64::consts::PI * x;
    if x == 0.0 { 1.0 } else { x.sin() / x }
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

/// Resizes the middle axis of (outer, length, inner) linearly between pixel centres, edges repeated.
pub(crate) fn bilinear_axis(values: &[f32], Axis { outer, length, inner }: Axis, side: usize) -> Vec<f32> {
    if length == side {
        return values.to_vec();
    }
    let scale = length as f32 / side as f32;
    let mut resized = vec![0.0; outer * side * inner];
    for (out, source) in resized.chunks_exact_mut(side * inner).zip(values.chunks_exact(length * inner)) {
        for (at, out) in out.chunks_exact_mut(inner).enumerate() {
            let position = ((at as f32 + 0.5) * scale - 0.5).max(0.0);
            let near = (position as usize).min(length - 1);
            let (far, share) = ((near + 1).min(length - 1), position - near as f32);
            let (near, far) = (&source[near * inner..][..inner], &source[far * inner..][..inner]);
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
        for filter in (0..6).filter_map(|number| Filter::of_pillow(number.into())) {
            for side in [1, 3, 7, 16] {
                let resized = resize(image, Size { width: side, height: side + 2 }, filter);
                assert_eq!(resized.len(), side * (side + 2) * 3);
                assert!(resized.chunks_exact(3).all(|pixel| pixel == [10, 200, 30]));
            }
        }
    }

    #[test]
    fn images_without_pixels_are_refused() {
        assert!(Pixels::new(0, 5, &[]).is_err());
        let message = Pixels::new(2, 2, &[0; 11]).unwrap_err().to_string();
        assert!(message.contains("2×2 pixels in 11 bytes"), "{message}");
    }
}
