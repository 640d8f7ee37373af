//! From pixels to what the image encoder was trained on, and from its masks back to pixels.

use candle_core::{Device, Tensor};

use crate::Result;
use crate::image::{Axis, Pixels, Size, bilinear_axis, resize};
use crate::preprocessing::Preprocessing;

/// How an image lies in the square that the encoder sees: its longest side fills it, zeros are right or below.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Frame {
    /// Of the image.
    pub(super) original: Size,
    /// Within the square.
    pub(super) resized: Size,
    /// Of the square.
    pub(super) side: usize,
}

impl Frame {
    /// An image of `original` pixels in a square; new sides are `⌊old · side / longest + 1/2⌋`.
    pub(super) fn new(original: Size, side: usize) -> Self {
        let scale = side as f64 / original.width.max(original.height) as f64;
        let new = |old: usize| ((old as f64 * scale + 0.5) as usize).clamp(1, side);
        let resized = Size { width: new(original.width), height: new(original.height) };
        Self { original, resized, side }
    }

    /// A place in the image, in the square.
    pub(super) fn place(&self, x: f64, y: f64) -> (f64, f64) {
        let scale = |new: usize, old: usize| new as f64 / old as f64;
        (x * scale(self.resized.width, self.original.width), y * scale(self.resized.height, self.original.height))
    }

    /// The image as the encoder takes it, (1, S, S, 3): resized as Pillow does, normalised, then filled up with zeros.
    pub(super) fn pixels(&self, image: Pixels, how: &Preprocessing, device: &Device) -> Result<Tensor> {
        let bytes = resize(image, self.resized, how.filter);
        // Of bytes, whose range the published numbers are for.
        let of_bytes = |values: [f64; 3]| values.map(|value| (value / how.rescale_factor) as f32);
        let (mean, deviation) = (of_bytes(how.image_mean), of_bytes(how.image_std));
        let mut values = vec![0f32; self.side * self.side * 3];
        for (row, source) in values.chunks_exact_mut(self.side * 3).zip(bytes.chunks_exact(self.resized.width * 3)) {
            for (i, (value, byte)) in row.iter_mut().zip(source).enumerate() {
                *value = (f32::from(*byte) - mean[i % 3]) / deviation[i % 3];
            }
        }
        Ok(Tensor::from_vec(values, (1, self.side, self.side, 3), device)?)
    }

    /// A mask's logits (low, low) on the image's own pixels, row by row: up to the square, its filling cut off, then to the image's size.
    pub(super) fn unframe(&self, logits: &[f32], low: usize) -> Vec<f32> {
        let Size { width, height } = self.resized;
        let square = bilinear(logits, Size::square(low), Size::square(self.side));
        let cut: Vec<f32> =
            square.chunks_exact(self.side).take(height).flat_map(|row| &row[..width]).copied().collect();
        bilinear(&cut, self.resized, self.original)
    }
}

/// Resizes (H, W), linearly between pixel centres.
fn bilinear(values: &[f32], from: Size, to: Size) -> Vec<f32> {
    let rows = bilinear_axis(values, Axis { outer: from.height, length: from.width, inner: 1 }, to.width); // (H, W')
    bilinear_axis(&rows, Axis { outer: 1, length: from.height, inner: to.width }, to.height) // (H', W')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_longest_side_fills_the_square() {
        let sizes = [([100, 50], [128, 64]), ([50, 100], [64, 128]), ([128, 128], [128, 128]), ([999, 1], [128, 1])];
        for (original, resized) in sizes {
            let [original, resized] = [original, resized].map(|[width, height]| Size { width, height });
            assert_eq!(Frame::new(original, 128).resized, resized);
        }
        let frame = Frame::new(Size { width: 256, height: 64 }, 128);
        assert_eq!(frame.place(256.0, 64.0), (128.0, 32.0));
    }

    #[test]
    fn what_is_beside_the_image_is_black_after_normalising() -> Result<()> {
        let (frame, bytes) = (Frame::new(Size { width: 4, height: 2 }, 4), [255; 3 * 4 * 2]);
        let pixels = frame.pixels(Pixels::new(4, 2, &bytes)?, &Preprocessing::sam(4), &Device::Cpu)?;
        let values = pixels.flatten_all()?.to_vec1::<f32>()?;
        assert!(values[..4 * 2 * 3].iter().all(|value| *value > 2.0));
        assert!(values[4 * 2 * 3..].iter().all(|value| *value == 0.0));
        Ok(())
    }

    #[test]
    fn a_mask_comes_back_to_the_images_pixels() {
        // The left half of a square's mask, on an image twice as high as wide: the square's left half is the image.
        let logits: Vec<f32> = (0..16).map(|i| if i % 4 < 1 { 1.0 } else { -1.0 }).collect();
        let values = Frame::new(Size { width: 8, height: 16 }, 16).unframe(&logits, 4);
        assert_eq!(values.len(), 8 * 16);
        assert!(values.chunks_exact(8).all(|row| row[0] > 0.0 && row[3] > 0.0 && row[4] < 0.0 && row[7] < 0.0));
    }
}
