//! The built-in checkpoint through all three networks: what it was trained for must come out, roughly.

#![allow(clippy::unwrap_used, reason = "these are tests")]

use std::path::{Path, PathBuf};

use candle_core::{Device, Tensor};
use sinopia_models::checkpoint::{Checkpoint, ModelSource, OpenOptions};
use sinopia_models::clip::{ClipTextConfig, ClipTextModel};
use sinopia_models::hub::NoProgress;
use sinopia_models::testing::normal;
use sinopia_models::unet::{
    AttnKey, AttnMaps, DenoiserRequest, Recording, TextConditioning, UNet2DConditionModel, UNetConfig,
};
use sinopia_models::vae::{AutoencoderKl, VaeConfig};
use sinopia_models::{Precision, Result, Weights};

fn folder(component: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../sinopia-miniature/assets").join(component)
}

fn config(component: &str) -> String {
    std::fs::read_to_string(folder(component).join("config.json")).unwrap()
}

fn weights(component: &str, file: &str) -> Weights {
    weights_in(Precision::F32, component, file)
}

fn weights_in(precision: Precision, component: &str, file: &str) -> Weights {
    Weights::open(&[folder(component).join(file)], &Device::Cpu, precision).unwrap()
}

fn text_encoder() -> ClipTextModel {
    let config = ClipTextConfig::from_json(&config("text_encoder")).unwrap();
    ClipTextModel::load(&config, &weights("text_encoder", "model.safetensors")).unwrap()
}

fn unet() -> UNet2DConditionModel {
    unet_in(Precision::F32)
}

fn unet_in(precision: Precision) -> UNet2DConditionModel {
    let config = UNetConfig::from_json(&config("unet")).unwrap();
    let weights = weights_in(precision, "unet", "diffusion_pytorch_model.safetensors");
    UNet2DConditionModel::load(&config, &weights).unwrap()
}

fn vae() -> AutoencoderKl {
    let config = VaeConfig::from_json(&config("vae")).unwrap();
    AutoencoderKl::load(&config, &weights("vae", "diffusion_pytorch_model.safetensors")).unwrap()
}

fn values(x: &Tensor) -> Vec<f32> {
    x.flatten_all().unwrap().to_vec1().unwrap()
}

fn mean_square(x: &Tensor) -> f32 {
    x.sqr().unwrap().mean_all().unwrap().to_scalar().unwrap()
}

/// A sky over a meadow with a red disc, (1, 128, 128, 3).
fn picture() -> Tensor {
    let colour = |row: usize, column: usize| {
        let distance = (row as f32 - 70.0).hypot(column as f32 - 50.0);
        if distance < 24.0 {
            [0.8, -0.6, -0.6]
        } else if row < 64 {
            [-0.2, 0.3, 0.8]
        } else {
            [-0.4, 0.4, -0.5]
        }
    };
    let pixels: Vec<f32> = (0..128 * 128).flat_map(|pixel| colour(pixel / 128, pixel % 128)).collect();
    Tensor::from_vec(pixels, (1, 128, 128, 3), &Device::Cpu).unwrap()
}

#[test]
fn the_autoencoder_gives_pictures_back() {
    let vae = vae();
    let latents = vae.scale(&vae.encode(&picture()).unwrap().mean).unwrap();
    let side = 128 / vae.scale_factor();
    assert_eq!(latents.dims(), [1, side, side, vae.config().latent_channels]);
    let error = mean_square(&(vae.decode(&latents).unwrap() - picture()).unwrap());
    // 22 dB on values of range 2; its training scenes come back better.
    assert!(error < 0.025, "mean squared error {error}");
}

#[test]
fn the_unet_finds_the_noise_in_a_picture() {
    let (vae, unet, text_encoder) = (vae(), unet(), text_encoder());
    let clean = vae.scale(&vae.encode(&picture()).unwrap().mean).unwrap();
    let noise = normal(1, clean.dims()).unwrap();
    // At this level of the schedule half of the variance is noise; velocity is √ᾱ·ε − √(1−ᾱ)·x.
    let (timestep, half) = (330.0, 0.5_f64.sqrt());
    let latents = ((&clean * half).unwrap() + (&noise * half).unwrap()).unwrap();
    let velocity = ((&noise * half).unwrap() - (&clean * half).unwrap()).unwrap();
    let end = text_encoder.config().eos_token_id;
    let ids: Vec<u32> = std::iter::once(end - 1).chain(std::iter::repeat_n(end, 76)).collect();
    let text = TextConditioning::new(&text_encoder.forward(&[ids]).unwrap().last_hidden_state).unwrap();
    let predicted = unet.forward(&DenoiserRequest::new(&latents, timestep, &text)).unwrap().prediction.unwrap();
    let (left, all) = (mean_square(&(predicted - &velocity).unwrap()), mean_square(&velocity));
    assert!(left < 0.5 * all, "{left} of {all} is not explained");
}

#[test]
fn guidance_reaches_the_latents() {
    let unet = unet();
    let latents = normal(1, (1, 16, 16, 4)).unwrap();
    let text = TextConditioning::new(&normal(2, (1, 77, unet.text_width())).unwrap()).unwrap();
    let record = Recording::new(unet.guidance_keys());
    assert_eq!(record.keys[0], AttnKey::mid(0));
    assert!(record.keys.len() > 1 && unet.attention_keys().contains(&unet.object_mask_key()));
    let request = DenoiserRequest { record: Some(&record), ..DenoiserRequest::new(&latents, 500.0, &text) };
    let (_, gradient) = unet
        .gradient(&request, &mut |maps| -> Result<Tensor> {
            let columns = maps.values().map(|map| map.narrow(3, 3, 1)?.sqr()?.sum_all());
            Ok(Tensor::stack(&columns.collect::<Result<Vec<_>, _>>()?, 0)?.sum_all()?)
        })
        .unwrap();
    assert_eq!(gradient.dims(), latents.dims());
    assert!(values(&gradient).iter().all(|x| x.is_finite()) && values(&gradient).iter().any(|x| *x != 0.0));
}

#[test]
fn bf16_is_within_one_percent_of_f32() {
    check_precision(Precision::Bf16, Bounds { prediction: 1e-2, gradient: 3e-2 });
}

#[test]
fn int8_is_within_four_percent_of_f32() {
    // 1.2 to 2.6 % on noise for texts; 2.1 % at Stable Diffusion 1.5's size.
    check_precision(Precision::Int8, Bounds { prediction: 4e-2, gradient: 2e-1 });
}

/// Most relative errors.
struct Bounds {
    prediction: f32,
    gradient: f32,
}

/// Predictions and gradients of guidance in a precision, against those in f32.
fn check_precision(precision: Precision, bounds: Bounds) {
    let (exact, fast, text_encoder) = (unet(), unet_in(precision), text_encoder());
    let tokenizer =
        Checkpoint::open(&ModelSource::Folder(folder("")), &OpenOptions::default(), &NoProgress).unwrap().tokenizer;
    let ids = ["", "a red car and a blue dog on a beach"].map(|text| tokenizer.encode(text).unwrap().ids);
    let embeds = text_encoder.forward(&ids).unwrap().last_hidden_state;
    let (both, conditional) =
        (TextConditioning::new(&embeds).unwrap(), TextConditioning::new(&embeds.narrow(0, 1, 1).unwrap()).unwrap());
    let norm = |x: &Tensor| mean_square(x).sqrt();
    for (seed, timestep) in [(1, 981.0), (2, 601.0), (3, 261.0), (4, 21.0)] {
        let latents = normal(seed, &[2, 16, 16, 4]).unwrap();
        let predict = |unet: &UNet2DConditionModel| {
            unet.forward(&DenoiserRequest::new(&latents, timestep, &both)).unwrap().prediction.unwrap()
        };
        let (found, expected) = (predict(&fast), predict(&exact));
        let error = norm(&(found - &expected).unwrap()) / norm(&expected);
        assert!(error <= bounds.prediction, "relative error {error} of the prediction at {timestep}");

        let latents = latents.narrow(0, 0, 1).unwrap();
        let recording = Recording::new(exact.guidance_keys());
        let gradient = |unet: &UNet2DConditionModel| {
            let request =
                DenoiserRequest { record: Some(&recording), ..DenoiserRequest::new(&latents, timestep, &conditional) };
            let mut loss = |maps: &AttnMaps| -> Result<Tensor> {
                let sums =
                    maps.values().map(|map| map.narrow(3, 2, 3)?.sqr()?.sum_all()).collect::<Result<Vec<_>, _>>()?;
                Ok(Tensor::stack(&sums, 0)?.sum_all()?)
            };
            unet.gradient(&request, &mut loss).unwrap().1
        };
        let (found, expected) = (gradient(&fast), gradient(&exact));
        let error = norm(&(found - &expected).unwrap()) / norm(&expected);
        assert!(error <= bounds.gradient, "relative error {error} of the gradient at {timestep}");
    }
}
