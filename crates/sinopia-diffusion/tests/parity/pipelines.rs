//! Whole pictures against diffusers: StableDiffusionPipeline (`parity/make_pipelines.py`), StableDiffusionGLIGENPipeline (`parity/make_gligen.py`), and
//! the preset of its community LMD+ (`parity/make_lmd_plus.py`): same folder, seed and settings.

use std::sync::Arc;

use crate::fixture::{Fixture, model_folder};
use serde_json::{Value, json};
use sinopia_diffusion::noise::Seed;
use sinopia_diffusion::observer::Run;
use sinopia_diffusion::schedulers::SchedulerKind;
use sinopia_diffusion::{Image, PaintRequest, Painting, Pipeline, PipelineParts, Sampling, methods};
use sinopia_layout::{Canvas, Layout, LayoutObject, PixelBox};
use sinopia_models::checkpoint::{Checkpoint, ModelSource, OpenOptions};
use sinopia_models::clip::ClipTextModel;
use sinopia_models::hub::NoProgress;
use sinopia_models::unet::UNet2DConditionModel;
use sinopia_models::vae::AutoencoderKl;

/// A value that lies almost between two bytes may be rounded to either.
const CLOSE_BYTES: u8 = 1;
/// Values that may differ by more, since a random network is rougher than a trained one.
const FAR_SHARE: f64 = 0.001;

pub(crate) fn open(model: &str) -> Pipeline {
    let options = OpenOptions::default();
    let checkpoint = Checkpoint::open(&ModelSource::Folder(model_folder(model)), &options, &NoProgress).unwrap();
    let Checkpoint { text_encoder, unet, vae, tokenizer, mut scheduler, .. } = checkpoint;
    if model == "gligen" {
        scheduler["skip_prk_steps"] = true.into(); // as the fixture's PNDM case; DDIM does not look at it
    }
    Pipeline::new(PipelineParts {
        tokenizer,
        text_encoder: ClipTextModel::load(&text_encoder.config, &text_encoder.weights).unwrap(),
        denoiser: Arc::new(UNet2DConditionModel::load(&unet.config, &unet.weights).unwrap()),
        vae: AutoencoderKl::load(&vae.config, &vae.weights).unwrap(),
        scheduler_config: scheduler,
        device: options.device,
    })
    .unwrap()
}

pub(crate) fn request(case: &Value) -> PaintRequest {
    let number = |key: &str| case[key].as_u64().unwrap() as usize;
    let text = |key: &str| case[key].as_str().unwrap().to_owned();
    let mut sampling = Sampling::new(Seed(case["seed"].as_u64().unwrap()), number("width"), number("height"));
    sampling.num_inference_steps = number("steps");
    sampling.guidance_scale = case["guidance_scale"].as_f64().unwrap();
    sampling.scheduler = SchedulerKind::from_class_name(case["scheduler"].as_str().unwrap());
    assert!(sampling.scheduler.is_some());
    PaintRequest { caption: Some(text("prompt")), layout: None, negative: Some(text("negative")), init: None, sampling }
}

/// Fails, with the largest difference and where it is, if too many bytes are further apart than rounding explains.
#[track_caller]
pub(crate) fn assert_same_picture(what: &str, found: &Image, expected: &[u8]) {
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

/// The request of a case with `phrases` and `boxes` in proportions.
fn boxed_request(case: &Value) -> PaintRequest {
    let phrases: Vec<String> = serde_json::from_value(case["phrases"].clone()).unwrap();
    let boxes: Vec<[f64; 4]> = serde_json::from_value(case["boxes"].clone()).unwrap();
    assert_eq!(phrases.len(), boxes.len());
    let object = |(phrase, corners): (String, [f64; 4])| {
        let [x0, y0, x1, y1] = corners.map(|corner| corner * 512.0);
        LayoutObject { phrase, bbox: PixelBox::new(x0, y0, x1 - x0, y1 - y0).unwrap() }
    };
    let objects = phrases.into_iter().zip(boxes).map(object).collect();
    let layout =
        Layout { canvas: Canvas::PUBLISHED, objects, background: "never read".into(), negative: String::new() };
    let mut case = case.clone();
    case["scheduler"] = case.get("scheduler").cloned().unwrap_or_else(|| "DDIMScheduler".into());
    PaintRequest { layout: Some(layout), ..request(&case) }
}

/// Paints every case of a fixture over the folder with adapters.
#[track_caller]
fn check_boxed(file: &str, num_cases: usize, paint: impl Fn(&Value, &PaintRequest, &Pipeline) -> Painting) {
    let fixture = Fixture::open(&format!("gligen/{file}.safetensors"));
    let pipeline = open("gligen");
    let cases = fixture.header("cases");
    assert_eq!(cases.as_object().unwrap().len(), num_cases);
    for (name, case) in cases.as_object().unwrap() {
        let painting = paint(case, &boxed_request(case), &pipeline);
        let expected = fixture.get(&format!("image.{name}"));
        assert_eq!(expected.dims(), [painting.image.height(), painting.image.width(), 3], "{file} {name}");
        let expected = expected.flatten_all().unwrap().to_vec1::<u8>().unwrap();
        assert_same_picture(&format!("{file} {name}"), &painting.image, &expected);
    }
}

#[test]
fn gligen_paints_as_diffusers_does() {
    check_boxed("pipeline", 6, |case, request, pipeline| {
        let options = json!({"overall_prompt": case["prompt"], "gligen_scheduled_sampling_beta": case["beta"]});
        methods::build("gligen", options).unwrap().generate(request, pipeline, &Run::silent()).unwrap()
    });
}

#[test]
fn the_preset_diffusers_lmd_plus_paints_as_the_community_pipeline_does() {
    check_boxed("lmd_plus", 4, |case, request, pipeline| {
        let mut options =
            methods::find_preset("diffusers-lmd-plus").unwrap().options(methods::find("lmd-plus").unwrap());
        options["overall_loss_threshold"] = case["threshold"].clone();
        options["overall_gligen_scheduled_sampling_beta"] = case["beta"].clone();
        let method = methods::build("lmd-plus", options.into()).unwrap();
        let painting = method.generate(request, pipeline, &Run::silent()).unwrap();
        assert_eq!(painting.prompts.overall, case["prompt_read"].as_str().unwrap());
        assert_eq!(painting.prompts.overall_negative, case["negative"].as_str().unwrap());
        assert!(painting.objects.is_empty());
        let [report] = painting.guidance.as_slice() else { panic!("{:?}", painting.guidance) };
        assert_eq!(report.updates as u64, case["updates"].as_u64().unwrap());
        painting
    });
}
