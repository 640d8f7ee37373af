//! Noise as PyTorch's CPU generator makes it, so that a seed means the same picture here and there.
//!
//! The generator is the Mersenne Twister seeded with the low 32 bits of the seed. `torch.randn` uses it in two ways:
//!
//! - from 16 values on, it fills the tensor with uniforms and turns each block of 16 into normals (Box–Muller in `f32`, the first eight
//!   uniforms giving radii and the last eight angles); a tensor whose size is not a multiple of 16 has its *last 16* values drawn again;
//! - below 16 values, it draws one normal at a time in `f64` and keeps the second of each pair for the next draw, also across tensors.
//!
//! Source: pytorch/pytorch, `aten/src/ATen/native/cpu/DistributionTemplates.h` and `aten/src/ATen/core/DistributionsHelper.h`. The transform
//! is computed in `f64` and rounded once; vectorised PyTorch builds differ from it in the last bits of an `f32`.

use std::f64::consts::TAU;

use candle_core::{Device, Tensor};
use rand_mt::Mt;
use serde::{Deserialize, Serialize};
use sinopia_layout::Grid;

use crate::Result;

/// Where a picture's noise starts. Seeds that agree in their low 32 bits give the same noise, as in PyTorch.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Seed(pub u64);

/// PyTorch's CPU random generator.
#[derive(Clone)]
pub struct Generator {
    twister: Mt,
    /// The second normal of a scalar Box–Muller pair, waiting for the next scalar draw.
    cached_normal: Option<f64>,
}

/// Values that are transformed together, and the size from which they are.
const BLOCK: usize = 16;

impl Generator {
    /// A generator as `torch.Generator().manual_seed(seed)` makes it.
    pub fn new(seed: Seed) -> Self {
        Self { twister: Mt::new(seed.0 as u32), cached_normal: None }
    }

    /// The next `n` values of `torch.randn(n)`.
    pub fn normals(&mut self, n: usize) -> Vec<f32> {
        if n < BLOCK {
            return (0..n).map(|_| self.scalar_normal()).collect();
        }
        let mut values: Vec<f32> = (0..n).map(|_| self.uniform_f32()).collect();
        for block in values.chunks_exact_mut(BLOCK) {
            normals_from_uniforms(block);
        }
        if !n.is_multiple_of(BLOCK) {
            let last = &mut values[n - BLOCK..];
            last.fill_with(|| self.uniform_f32());
            normals_from_uniforms(last);
        }
        values
    }

    /// The next `n` values of `torch.rand(n)`: uniform in [0, 1).
    pub fn uniforms(&mut self, n: usize) -> Vec<f32> {
        (0..n).map(|_| self.uniform_f32()).collect()
    }

    /// The next `n` values of `torch.randint(end, (n,))`: whole numbers below `end`, which is at most 2²⁸. Zeros if `end` is 0.
    pub fn integers(&mut self, n: usize, end: usize) -> Vec<usize> {
        (0..n).map(|_| self.twister.next_u32() as usize % end.max(1)).collect()
    }

    /// A uniform value in [0, 1) with 24 random bits.
    fn uniform_f32(&mut self) -> f32 {
        let bits = (self.twister.next_u32() & ((1 << 24) - 1)) as f32;
        bits / (1u32 << 24) as f32
    }

    /// A uniform value in [0, 1) with 53 random bits; the first 32-bit word is the high one.
    fn uniform_f64(&mut self) -> f64 {
        let high = u64::from(self.twister.next_u32());
        let low = u64::from(self.twister.next_u32());
        let bits = ((high << 32 | low) & ((1 << 53) - 1)) as f64;
        bits / (1u64 << 53) as f64
    }

    fn scalar_normal(&mut self) -> f32 {
        let normal = self.cached_normal.take().unwrap_or_else(|| {
            let (angle, radius) = (TAU * self.uniform_f64(), self.uniform_f64());
            let radius = (-2.0 * (-radius).ln_1p()).sqrt();
            self.cached_normal = Some(radius * angle.sin());
            radius * angle.cos()
        });
        normal as f32
    }
}

impl std::fmt::Debug for Generator {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Generator").finish_non_exhaustive()
    }
}

/// Box–Muller over one block: uniform `j` gives the radius and uniform `j + 8` the angle of normals `j` and `j + 8`.
fn normals_from_uniforms(block: &mut [f32]) {
    for j in 0..BLOCK / 2 {
        let (radius, angle) = (1.0 - block[j], TAU * f64::from(block[j + BLOCK / 2]));
        let radius = (-2.0 * f64::from(radius).ln()).sqrt();
        block[j] = (radius * angle.cos()) as f32;
        block[j + BLOCK / 2] = (radius * angle.sin()) as f32;
    }
}

/// The size of one picture's latents.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LatentSize {
    /// Rows of cells, H.
    pub height: usize,
    /// Columns of cells, W.
    pub width: usize,
    /// Numbers in a cell, C.
    pub channels: usize,
}

impl LatentSize {
    /// That of latents (B, H, W, C).
    ///
    /// # Errors
    /// When they have another number of axes.
    pub fn of(latents: &Tensor) -> Result<Self> {
        let (_, height, width, channels) = latents.dims4()?;
        Ok(Self { height, width, channels })
    }

    /// Its cells.
    pub fn grid(self) -> Grid {
        Grid::new(self.height, self.width)
    }
}

/// Standard normal noise for a batch of pictures, one generator a picture.
///
/// Drawn in PyTorch's order (B, C, H, W) and returned as (B, H, W, C).
#[derive(Debug, Clone)]
pub struct NoiseSource {
    generators: Vec<Generator>,
}

impl NoiseSource {
    /// One picture.
    pub fn new(seed: Seed) -> Self {
        Self { generators: vec![Generator::new(seed)] }
    }

    /// A batch of pictures, each with its own seed.
    pub fn batch(seeds: &[Seed]) -> Self {
        Self { generators: seeds.iter().map(|seed| Generator::new(*seed)).collect() }
    }

    /// The next noise of each picture: (B, H, W, C).
    ///
    /// # Errors
    /// When the device has no room.
    pub fn draw(&mut self, size: LatentSize, device: &Device) -> Result<Tensor> {
        let LatentSize { height: h, width: w, channels: c } = size;
        let pictures = self.generators.iter_mut().map(|generator| {
            let image_nchw = Tensor::from_vec(generator.normals(c * h * w), (1, c, h, w), &Device::Cpu)?;
            image_nchw.permute((0, 2, 3, 1))?.contiguous() // (1, H, W, C)
        });
        let pictures = pictures.collect::<candle_core::Result<Vec<_>>>()?;
        Ok(Tensor::cat(&pictures, 0)?.to_device(device)?)
    }
}

/// The seeds of a layout-grounded picture: one for the background, one for each object.
///
/// Objects count up from `fg_seed_start`; a seed equal to the background's gets 12345 more, so that no object repeats the background.
/// Source: TonyLianLong/LLM-groundedDiffusion@cef2a90.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SceneSeeds {
    /// Seed of the background.
    pub bg_seed: Seed,
    /// Seed of the first object, in the scene's (sorted) order.
    pub fg_seed_start: Seed,
}

impl SceneSeeds {
    /// The published offset between the seed of the picture and that of its first object.
    pub const FG_OFFSET: u64 = 123_456_789;

    /// The published rule for one number: background `seed`, objects from `seed + 123456789`.
    pub fn from_seed(seed: Seed) -> Self {
        Self { bg_seed: seed, fg_seed_start: Seed(seed.0.wrapping_add(Self::FG_OFFSET)) }
    }

    /// The seed of object `index`, from 0.
    pub fn object(&self, index: usize) -> Seed {
        let seed = self.fg_seed_start.0.wrapping_add(index as u64);
        Seed(if seed == self.bg_seed.0 { seed.wrapping_add(12_345) } else { seed })
    }
}

/// An object's initial noise: the background's outside the box, and inside it a blend that keeps unit variance.
///
/// `z = z_bg` outside, `√(1−r)·z_bg + √r·z_fg` inside, r = `fg_blending_ratio`. `background` and `foreground` are (1, H, W, C), `mask` (H, W)
/// of zeros and ones.
///
/// # Errors
/// When the shapes disagree.
pub fn blend_foreground(
    background: &Tensor,
    foreground: &Tensor,
    mask: &Tensor,
    fg_blending_ratio: f64,
) -> Result<Tensor> {
    let mask = mask.unsqueeze(0)?.unsqueeze(3)?; // (1, H, W, 1)
    let inside = ((background * (1.0 - fg_blending_ratio).sqrt())? + (foreground * fg_blending_ratio.sqrt())?)?;
    let outside = background.broadcast_mul(&mask.affine(-1.0, 1.0)?)?;
    Ok((inside.broadcast_mul(&mask)? + outside)?)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn size(height: usize, width: usize) -> LatentSize {
        LatentSize { height, width, channels: 4 }
    }

    #[track_caller]
    fn check(seed: u64, n: usize, expected: &[f64]) {
        let values = Generator::new(Seed(seed)).normals(n);
        assert_eq!(values.len(), n);
        for (i, (value, expected)) in values.iter().zip(expected).enumerate() {
            assert!((f64::from(*value) - expected).abs() < 5e-5, "value {i}: {value}, expected {expected}");
        }
    }

    #[test]
    fn normals_are_pytorchs() {
        let seed_0 = [
            -1.1258, -1.1524, -0.2506, -0.4339, 0.8487, 0.6920, -0.3160, -2.1152, 0.3223, -1.2633, 0.3500, 0.3081,
            0.1198, 1.2377, 1.1168, -0.2473,
        ];
        check(0, 16, &seed_0);
        check(0, 4 * 64 * 64, &seed_0);
        check(1, 64, &[-1.5256, -0.7502, -0.6540, -1.6095, -0.1002, -0.6092, -0.9798, -1.6091]);
        check(123_456_789, 64, &[0.2643, -0.4149, -0.6075, 0.7319, -0.1569, -0.8602, -0.8462, -0.3094]);
    }

    #[test]
    fn sizes_that_are_no_multiple_of_16_draw_their_last_16_again() {
        // torch.randn(21, generator=torch.Generator().manual_seed(3))
        let expected = [
            -0.0766443, 0.3598815, -0.7820168, 0.0715277, 0.6648394, 0.5221870, -0.1668092, 0.0530334, 0.4046071,
            0.6112996, 0.7603904, -0.0336433, -0.3448453, 0.4591804, 2.4363971, -0.1468082, 0.4851140, 0.2052344,
            0.3384282, 1.3527540, 0.3736354,
        ];
        check(3, 21, &expected);
    }

    #[test]
    fn small_tensors_take_the_scalar_path_and_keep_the_second_of_a_pair() {
        // g = torch.Generator().manual_seed(7), then torch.randn of 5, 4, 16 (three shown) and 1 values.
        let mut generator = Generator::new(Seed(7));
        let mut values = generator.normals(5);
        values.extend(generator.normals(4));
        values.extend(&generator.normals(16)[..3]);
        values.extend(generator.normals(1));
        let expected = [
            -0.1467951_f64,
            0.7861413,
            0.9468216,
            -1.114344,
            1.6907902,
            -0.8948279,
            -0.3556250,
            1.2323858,
            0.1381727,
            0.1984451,
            0.7820727,
            1.0391077,
            -1.6821985,
        ];
        for (i, (value, expected)) in values.iter().zip(expected).enumerate() {
            assert!((f64::from(*value) - expected).abs() < 1e-6, "value {i}: {value}, expected {expected}");
        }
    }

    #[test]
    fn seeds_count_in_their_low_32_bits() {
        assert_eq!(Generator::new(Seed((1 << 40) + 5)).normals(16), Generator::new(Seed(5)).normals(16));
    }

    #[test]
    fn noise_is_drawn_channels_first_and_returned_channels_last() -> Result<()> {
        let noise = NoiseSource::new(Seed(0)).draw(size(2, 3), &Device::Cpu)?;
        assert_eq!(noise.dims(), [1, 2, 3, 4]);
        let nchw = Generator::new(Seed(0)).normals(24);
        let values = noise.squeeze(0)?.to_vec3::<f32>()?;
        assert_eq!(values[1][2][3], nchw[3 * 6 + 3 + 2]);
        Ok(())
    }

    #[test]
    fn a_batch_repeats_its_pictures() -> Result<()> {
        let batch = NoiseSource::batch(&[Seed(4), Seed(9)]).draw(size(4, 4), &Device::Cpu)?;
        let alone = NoiseSource::new(Seed(9)).draw(size(4, 4), &Device::Cpu)?;
        assert_eq!(batch.narrow(0, 1, 1)?.flatten_all()?.to_vec1::<f32>()?, alone.flatten_all()?.to_vec1::<f32>()?);
        Ok(())
    }

    #[test]
    fn an_object_never_repeats_the_backgrounds_seed() {
        let seeds = SceneSeeds { bg_seed: Seed(21), fg_seed_start: Seed(20) };
        assert_eq!([seeds.object(0), seeds.object(1), seeds.object(2)], [Seed(20), Seed(21 + 12_345), Seed(22)]);
        assert_eq!(SceneSeeds::from_seed(Seed(3)).object(2), Seed(123_456_794));
    }

    #[test]
    fn blending_keeps_unit_variance_inside_and_the_background_outside() -> Result<()> {
        let background = NoiseSource::new(Seed(0)).draw(size(32, 32), &Device::Cpu)?;
        let foreground = NoiseSource::new(Seed(1)).draw(size(32, 32), &Device::Cpu)?;
        let mask = Tensor::zeros((32, 32), candle_core::DType::F32, &Device::Cpu)?;
        let none = blend_foreground(&background, &foreground, &mask, 0.1)?;
        assert_eq!(none.flatten_all()?.to_vec1::<f32>()?, background.flatten_all()?.to_vec1::<f32>()?);
        let all = blend_foreground(&background, &foreground, &mask.ones_like()?, 0.1)?;
        let variance = all.sqr()?.mean_all()?.to_scalar::<f32>()?;
        assert!((variance - 1.0).abs() < 0.06, "variance {variance}");
        Ok(())
    }
}
