//! RGB pictures.

use std::fmt;

use candle_core::{DType, Device, Tensor};

use crate::{Error, Result};

/// The sides of a picture, in pixels.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ImageSize {
    /// From left to right.
    pub width: usize,
    /// From top to bottom.
    pub height: usize,
}

impl fmt::Display for ImageSize {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} × {} pixels", self.width, self.height)
    }
}

/// An RGB picture, rows from the top.
#[derive(Clone, PartialEq, Eq)]
pub struct Image {
    width: usize,
    height: usize,
    pixels: Vec<u8>,
}

impl fmt::Debug for Image {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Image({} × {})", self.width, self.height)
    }
}

impl Image {
    /// The pictures of a batch (B, H, W, 3) in −1..=1: `round(255 · clamp(x/2 + 1/2, 0, 1))`, half to even.
    ///
    /// # Errors
    /// When the shape is another.
    pub fn from_tensor(images: &Tensor) -> Result<Vec<Self>> {
        let (b, height, width, _) = images.dims4()?;
        let values = images.to_dtype(DType::F32)?.flatten_all()?.to_vec1::<f32>()?;
        let pixel = |x: &f32| ((x / 2.0 + 0.5).clamp(0.0, 1.0) * 255.0).round_ties_even() as u8;
        let size = values.len() / b.max(1);
        let images = values.chunks_exact(size.max(1)).map(|image| Self {
            width,
            height,
            pixels: image.iter().map(pixel).collect(),
        });
        Ok(images.collect())
    }

    /// The picture as autoencoders see it: (1, H, W, 3) f32, `2·(x/255) − 1`. [`from_tensor`](Self::from_tensor) gives the same bytes back.
    ///
    /// # Errors
    /// When the device has no room.
    pub fn to_tensor(&self, device: &Device) -> Result<Tensor> {
        let values: Vec<f32> = self.pixels.iter().map(|byte| 2.0 * (f32::from(*byte) / 255.0) - 1.0).collect();
        Ok(Tensor::from_vec(values, (1, self.height, self.width, 3), &Device::Cpu)?.to_device(device)?)
    }

    /// From RGB bytes, (H, W, 3), rows from the top.
    ///
    /// # Errors
    /// [`Error::Mismatch`] when they are not three for each pixel.
    pub fn from_pixels(size: ImageSize, pixels: Vec<u8>) -> Result<Self> {
        let ImageSize { width, height } = size;
        if pixels.len() == 3 * width * height {
            return Ok(Self { width, height, pixels });
        }
        let (found, expected) = (format!("{} bytes", pixels.len()), format!("{} for {size}", 3 * width * height));
        Err(Error::Mismatch { what: "the pixels of a picture", found, expected })
    }

    /// Its sides.
    pub fn size(&self) -> ImageSize {
        ImageSize { width: self.width, height: self.height }
    }

    /// Width in pixels.
    pub fn width(&self) -> usize {
        self.width
    }

    /// Height in pixels.
    pub fn height(&self) -> usize {
        self.height
    }

    /// RGB bytes, (H, W, 3).
    pub fn pixels(&self) -> &[u8] {
        &self.pixels
    }

    /// RGB bytes, (H, W, 3).
    pub fn into_pixels(self) -> Vec<u8> {
        self.pixels
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pixels_are_clamped_and_rounded_half_to_even() -> Result<()> {
        let values = [-1.5f32, -1.0, 0.0, 1.0, 9.0, 1.0 / 255.0];
        let images = Image::from_tensor(&Tensor::from_slice(&values, (1, 1, 2, 3), &Device::Cpu)?)?;
        assert_eq!(images.len(), 1);
        assert_eq!((images[0].width(), images[0].height()), (2, 1));
        assert_eq!(images[0].pixels(), [0, 0, 128, 255, 255, 128]);
        Ok(())
    }

    #[test]
    fn bytes_survive_as_numbers_and_their_count_is_checked() -> Result<()> {
        let size = ImageSize { width: 16, height: 16 };
        let image = Image::from_pixels(size, (0..=255).cycle().take(3 * 256).collect())?;
        assert_eq!(Image::from_tensor(&image.to_tensor(&Device::Cpu)?)?, [image]);
        let message = Image::from_pixels(size, vec![0; 5]).unwrap_err().to_string();
        assert!(message.contains("5 bytes") && message.contains("768 for 16 × 16 pixels"), "{message}");
        Ok(())
    }
}
