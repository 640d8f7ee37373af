//! The noise generator against PyTorch's (`parity/make_noise.py`).

use crate::fixture::{Fixture, assert_close};
use candle_core::{Device, Tensor};
use sinopia_diffusion::noise::{Generator, Seed};

/// PyTorch's vectorised logarithm, sine and cosine are right to a few units in the last place of values up to about 4.
const TOLERANCE: f64 = 1e-6;

#[test]
fn normals_are_pytorchs_in_every_size_and_succession() {
    let fixture = Fixture::open("noise/noise.safetensors");
    let cases = fixture.header("cases");
    for (case, arguments) in cases.as_object().unwrap() {
        let mut generator = Generator::new(Seed(arguments[0].as_u64().unwrap()));
        let sizes = arguments[1].as_array().unwrap();
        let drawn: Vec<f32> =
            sizes.iter().flat_map(|size| generator.normals(size.as_u64().unwrap() as usize)).collect();
        let drawn = Tensor::new(drawn, &Device::Cpu).unwrap();
        assert_close(case, &drawn, &fixture.get(&format!("draws.{case}")), TOLERANCE);
    }
}

#[test]
fn latents_of_a_whole_picture_are_pytorchs() {
    let fixture = Fixture::open("noise/noise.safetensors");
    for seed in [0, 1, 42, 123_456_789] {
        let values = Generator::new(Seed(seed)).normals(4 * 64 * 64);
        let ends = Tensor::new([&values[..64], &values[values.len() - 64..]].concat(), &Device::Cpu).unwrap();
        assert_close(&format!("seed {seed}"), &ends, &fixture.get(&format!("latents.{seed}")), TOLERANCE);

        let sum: f64 = values.iter().map(|value| f64::from(*value)).sum();
        let squares: f64 = values.iter().map(|value| f64::from(*value) * f64::from(*value)).sum();
        let sums = Tensor::new(&[sum, squares], &Device::Cpu).unwrap();
        assert_close(&format!("sums of seed {seed}"), &sums, &fixture.get(&format!("latents_sums.{seed}")), TOLERANCE);
    }
}
