//! Pictures of latents on their way, without the autoencoder: a linear map from a cell's latents to a pixel.
//!
//! The map is fitted once a model is loaded, to what the model's own autoencoder makes of random latents, by least squares. Cells are drawn in patches,
//! because the latents of pictures are smooth, and the autoencoder makes something else of noise.

use candle_core::{DType, Tensor};

use crate::Result;
use crate::noise::{Generator, Seed};
use crate::painting::Image;
use crate::pipeline::Pipeline;

/// Cells along a side of the random latents.
const SIDE: usize = 24;
/// Cells along a side of a patch of the same latents.
const PATCH: usize = 4;
/// Random latents.
const COUNT: usize = 2;
/// Their seed: previews of a model are the same every time.
const SEED: Seed = Seed(7878);
/// Added to the diagonal of the normal equations, so that they can always be solved.
const RIDGE: f64 = 1e-3;

/// `rgb = latent · W + b`, in −1..=1.
#[derive(Debug, Clone)]
pub struct LinearPreview {
    /// (C, 3).
    weights: Tensor,
    /// (3,).
    bias: Tensor,
}

impl LinearPreview {
    /// Fits the map to a model.
    ///
    /// # Errors
    /// When the autoencoder refuses.
    pub fn fit(pipeline: &Pipeline) -> Result<Self> {
        let channels = pipeline.vae().config().latent_channels;
        let cell = pipeline.vae().scale_factor();
        let values = patches(channels);
        let latents = Tensor::from_slice(&values, (COUNT, SIDE, SIDE, channels), pipeline.device())?; // (B, H, W, C)
        let pixels = pipeline.vae().decode(&latents)?.to_dtype(DType::F32)?; // (B, H · cell, W · cell, 3)
        let means = pixels
            .reshape((COUNT * SIDE, cell, SIDE * cell * 3))?
            .mean(1)?
            .reshape((COUNT * SIDE * SIDE, cell, 3))?
            .mean(1)?
            .to_vec2::<f32>()?; // (BHW, 3)
        let rows: Vec<Vec<f64>> = values.chunks_exact(channels).map(with_constant).collect();
        let map: Vec<f32> = least_squares(&rows, &means).concat().into_iter().map(|x| x as f32).collect(); // (C + 1, 3)
        let map = Tensor::from_vec(map, (channels + 1, 3), pipeline.device())?;
        Ok(Self { weights: map.narrow(0, 0, channels)?, bias: map.get(channels)? })
    }

    /// The picture of the first of some latents (B, H, W, C), as a [`StepReport`](crate::StepReport) has them: a pixel a cell.
    ///
    /// # Errors
    /// When the latents are not the model's.
    pub fn picture(&self, latents: &Tensor) -> Result<Image> {
        let (_, h, w, c) = latents.dims4()?;
        let cells = latents.narrow(0, 0, 1)?.to_dtype(DType::F32)?.reshape((h * w, c))?; // (HW, C)
        let colors = cells.matmul(&self.weights)?.broadcast_add(&self.bias)?.reshape((1, h, w, 3))?;
        Ok(Image::from_tensor(&colors)?.swap_remove(0)) // a batch of one
    }
}

/// Latents in patches: (B, H, W, C), flat.
fn patches(channels: usize) -> Vec<f32> {
    let side = SIDE / PATCH;
    let colors = Generator::new(SEED).normals(COUNT * side * side * channels);
    let mut values = Vec::with_capacity(COUNT * SIDE * SIDE * channels);
    for b in 0..COUNT {
        for y in 0..SIDE {
            for x in 0..SIDE {
                let patch = (b * side + y / PATCH) * side + x / PATCH;
                values.extend_from_slice(&colors[patch * channels..][..channels]);
            }
        }
    }
    values
}

fn with_constant(cell: &[f32]) -> Vec<f64> {
    cell.iter().map(|x| f64::from(*x)).chain([1.0]).collect()
}

/// `W` with the least `Σ |x W − y|²`, by the normal equations `(XᵀX + r·I) W = XᵀY`.
fn least_squares(rows: &[Vec<f64>], targets: &[Vec<f32>]) -> Vec<[f64; 3]> {
    let n = rows.first().map_or(0, Vec::len);
    // Each row of the system: n coefficients, then three right-hand sides.
    let mut system = vec![vec![0.0; n + 3]; n];
    for (x, y) in rows.iter().zip(targets) {
        for i in 0..n {
            (0..n).for_each(|j| system[i][j] += x[i] * x[j]);
            (0..3).for_each(|k| system[i][n + k] += x[i] * f64::from(y[k]));
        }
    }
    (0..n).for_each(|i| system[i][i] += RIDGE);
    // Gauss–Jordan: the matrix is symmetric and positive definite, so no pivot is zero.
    for i in 0..n {
        let pivot = system[i].clone();
        for (j, row) in system.iter_mut().enumerate() {
            let factor = row[i] / pivot[i];
            if j != i {
                row.iter_mut().zip(&pivot).for_each(|(a, b)| *a -= factor * b);
            }
        }
    }
    (0..n).map(|i| [0, 1, 2].map(|k| system[i][n + k] / system[i][i])).collect()
}

#[cfg(test)]
mod tests {
    use std::sync::Mutex;

    use sinopia_models::Checkpoint;
    use sinopia_models::checkpoint::OpenOptions;

    use super::*;
    use crate::{CancellationToken, ImageSize, Observer, PaintRequest, Run, Sampling, StepReport, methods};

    #[test]
    fn a_linear_map_is_found_again() {
        let rows: Vec<Vec<f64>> = (0..20).map(|i| vec![f64::from(i % 5), f64::from(i % 3), 1.0]).collect();
        let truth = |x: &[f64], k: f64| x[0] * k - x[1] * 2.0 + 0.5;
        let targets: Vec<Vec<f32>> =
            rows.iter().map(|x| [1.0, 2.0, 3.0].iter().map(|k| truth(x, *k) as f32).collect()).collect();
        let weights = least_squares(&rows, &targets);
        for (k, expected) in [1.0, 2.0, 3.0].iter().enumerate() {
            let found = [weights[0][k], weights[1][k], weights[2][k]];
            for (found, expected) in found.iter().zip([*expected, -2.0, 0.5]) {
                assert!((found - expected).abs() < 1e-2, "{weights:?}");
            }
        }
    }

    #[derive(Default)]
    struct Last(Mutex<Option<Tensor>>);

    impl Observer for Last {
        fn step(&self, step: &StepReport) {
            *self.0.lock().unwrap() = Some(step.latents.clone());
        }
    }

    fn mean(values: impl Iterator<Item = f64>, count: usize) -> f64 {
        values.sum::<f64>() / count as f64
    }

    /// The preview of finished latents is the picture, but small.
    #[test]
    fn a_preview_is_the_picture_made_small() {
        let (name, files) = (sinopia_miniature::NAME, sinopia_miniature::FILES);
        let checkpoint = Checkpoint::from_embedded(name, files, &OpenOptions::default()).unwrap();
        let pipeline = Pipeline::load(&checkpoint).unwrap();
        let ImageSize { width, height } = pipeline.native_size();
        let sampling =
            Sampling { num_inference_steps: 6, guidance_scale: 3.5, ..Sampling::new(Seed(3), width, height) };
        let caption = Some("a photo of a red car on a beach".to_owned());
        let request = PaintRequest { caption, layout: None, negative: None, init: None, sampling };
        let last = Last::default();
        let run = Run::new(&last, &CancellationToken::default());
        let painting =
            methods::build("sd", serde_json::Value::Null).unwrap().generate(&request, &pipeline, &run).unwrap();
        let latents = last.0.into_inner().unwrap().unwrap();
        let preview = LinearPreview::fit(&pipeline).unwrap().picture(&latents).unwrap();
        let (w, h) = (preview.width(), preview.height());
        assert_eq!((w, h), (16, 16));
        // The picture's means over 8 × 8 pixels.
        let pixels = painting.image.pixels();
        let small = |y: usize, x: usize, c: usize| {
            let of_cell = (0..64).map(|i| f64::from(pixels[((y * 8 + i / 8) * width + x * 8 + i % 8) * 3 + c]));
            mean(of_cell, 64)
        };
        let colors: Vec<f64> = (0..h * w * 3).map(|i| small(i / 3 / w, i / 3 % w, i % 3)).collect();
        let off = preview.pixels().iter().zip(&colors).map(|(a, b)| (f64::from(*a) - b).abs());
        let off = mean(off, colors.len());
        let middle = mean(colors.iter().copied(), colors.len());
        let spread = mean(colors.iter().map(|x| (x - middle).abs()), colors.len());
        assert!(off < spread / 2.0, "colours are off by {off:.1} of 255, and differ by {spread:.1} among each other");
    }
}
