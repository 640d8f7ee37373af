//! Whole pictures against diffusers' StableDiffusionPipeline (`parity/make_pipelines.py`): same folder, seed and settings.

#![allow(clippy::unwrap_used, clippy::print_stdout, reason = "these are tests")]

#[path = "../../../parity/fixture.rs"]
mod fixture;

use fixture::{Fixture, model_folder};
use serde_json::Value;
use sinopia_diffusion::noise::Seed;
use sinopia_diffusion::observer::Run;
use sinopia_diffusion::schedulers::SchedulerKind;
use sinopia_diffusion::{Image, PaintRequest, Pipeline, PipelineParts, Sampling, methods};
use sinopia_models::checkpoint::{Checkpoint, ModelSource, OpenOptions};
use sinopia_models::clip::ClipTextModel;
use sinopia_models::hub::NoProgress;
use sinopia_models::unet::UNet2DConditionModel;
use sinopia_models::vae::AutoencoderKl;

/// A value that lies almost between two bytes may be rounded to either.
const CLOSE_BYTES: u8 = 1;
/// Values that may differ by more, since a random network is rougher than a trained one.
const FAR_SHARE: f64 = 0.001;

fn open(model: &str) -> Pipeline {
    let options = OpenOptions::default();
    let checkpoint = Checkpoint::open(&ModelSource::Folder(model_folder(model)), &options, &NoProgress).unwrap();
    let Checkpoint { text_encoder, unet, vae, tokenizer, scheduler, .. } = checkpoint;
    Pipeline::new(PipelineParts {
        tokenizer,
        text_encoder: ClipTextModel::load(&text_encoder.config, &text_encoder.weights).unwrap(),
        unet: UNet2DConditionModel::load(&unet.config, &unet.weights).unwrap(),
        vae: AutoencoderKl::load(&vae.config, &vae.weights).unwrap(),
        scheduler_config: scheduler,
        device: options.device,
    })
    .unwrap()
}

fn request(case: &Value) -> PaintRequest {
    let number = |key: &str| case[key].as_u64().unwrap() as usize;
    let text = |key: &str| case[key].as_str().unwrap().to_owned();
    let mut sampling = Sampling::new(Seed(case["seed"].as_u64().unwrap()), number("width"), number("height"));
    sampling.num_inference_steps = number("steps");
    sampling.guidance_scale = case["guidance_scale"].as_f64().unwrap();
    sampling.scheduler = SchedulerKind::from_class_name(case["scheduler"].as_str().unwrap());
    assert!(sampling.scheduler.is_some());
    PaintRequest { caption: Some(text("prompt")), layout: None, negative: Some(text("negative")), sampling }
}

/// Fails, with the largest difference and where it is, if too many bytes are further apart than rounding explains.
#[track_caller]
fn assert_same_picture(what: &str, found: &Image, expected: &[u8]) {
    assert_eq!(found.pixels().len(), expected.len(), "{what}: size");
    let differences: Vec<u8> = found.pixels().iter().zip(expected).map(|(a, b)| a.abs_diff(*b)).collect();
    let far = differences.iter().filter(|difference| **difference > CLOSE_BYTES).count();
    let unequal = differences.iter().filter(|difference| **difference > 0).count();
    let (worst, largest) = differences.iter().enumerate().max_by_key(|(_, difference)| **difference).unwrap();
    let (row, column, channel) = (worst / 3 / found.width(), worst / 3 % found.width(), worst % 3);
    let figures = format!(
        "{what}: {unequal} of {} bytes differ, {far} by more than {CLOSE_BYTES}; by {largest} at row {row}, column {column}, channel {channel}",
        expected.len()
    );
    println!("{figures}");
    assert!(far as f64 <= FAR_SHARE * expected.len() as f64, "{figures}");
}

#[track_caller]
fn check(model: &str) {
    let fixture = Fixture::open(&format!("pipelines/{model}.safetensors"));
    let pipeline = open(model);
    let sd = methods::build("sd", Value::Null).unwrap();
    let cases = fixture.header("cases");
    assert_eq!(cases.as_object().unwrap().len(), 7);
    for (name, case) in cases.as_object().unwrap() {
        let painting = sd.generate(&request(case), &pipeline, &Run::silent()).unwrap();
        let expected = fixture.get(&format!("image.{name}"));
        assert_eq!(expected.dims(), [painting.image.height(), painting.image.width(), 3], "{model} {name}");
        let expected = expected.flatten_all().unwrap().to_vec1::<u8>().unwrap();
        assert_same_picture(&format!("{model} {name}"), &painting.image, &expected);
    }
}

#[test]
fn stable_diffusion_1_folder_paints_as_diffusers_does() {
    check("sd1");
}

#[test]
fn stable_diffusion_2_folder_paints_as_diffusers_does() {
    check("sd2");
}
