//! The baseline methods against plain PyTorch over the published formulas (`parity/make_baselines.py`): losses and their gradients with respect to the
//! latents, BoxDiff's smoothing, and whole short pictures in the published form.

use std::collections::BTreeMap;

use crate::fixture::{Fixture, assert_close, model_folder};
use candle_core::Device;
use serde_json::{Value, json};
use sinopia_diffusion::losses::{
    BoxDiffLoss, BoxDiffLossOptions, GroundedTokens, GuidanceLoss, KeyGrids, RatioLoss, TokenSet, WorstBox,
    boxdiff_smoothed,
};
use sinopia_diffusion::noise::Seed;
use sinopia_diffusion::{Image, PaintRequest, Pipeline, Run, Sampling, methods};
use sinopia_layout::{BBox, Grid, GridRounding, Layout};
use sinopia_models::checkpoint::{Checkpoint, ModelSource, OpenOptions};
use sinopia_models::hub::NoProgress;
use sinopia_models::unet::{AttnKey, DenoiserRequest, Recording, TextConditioning};

/// Values are sums of a few hundred probabilities in f32, and BoxDiff multiplies probabilities by 100 first.
const VALUE_TOLERANCE: f64 = 1e-4;
/// Gradients pass back through a whole UNet, whose every norm and softmax was summed in another order.
const GRADIENT_TOLERANCE: f64 = 1e-3;
/// A value that lies almost between two bytes may be rounded to either.
const CLOSE_BYTES: u8 = 1;
/// Values that may differ by more, since a random network is rougher than a trained one.
const FAR_SHARE: f64 = 0.001;

fn open(model: &str) -> Pipeline {
    let source = ModelSource::Folder(model_folder(model));
    Pipeline::load(&Checkpoint::open(&source, &OpenOptions::default(), &NoProgress).unwrap()).unwrap()
}

fn objects(header: &Value) -> Vec<GroundedTokens> {
    let object = |object: &Value| {
        let boxes: Vec<[f64; 4]> = serde_json::from_value(object["boxes"].clone()).unwrap();
        let positions: Vec<usize> = serde_json::from_value(object["tokens"].clone()).unwrap();
        let bboxes = boxes.into_iter().map(|[x0, y0, x1, y1]| BBox::new(x0, y0, x1, y1).unwrap());
        GroundedTokens { phrase: "it".to_owned(), word: positions[0], positions, bboxes: bboxes.collect() }
    };
    header.as_array().unwrap().iter().map(object).collect()
}

#[test]
fn smoothing_is_a_mirrored_convolution() {
    let fixture = Fixture::open("baselines/smoothing.safetensors");
    for size in fixture.names_after("image.") {
        let found = boxdiff_smoothed(&fixture.get(&format!("image.{size}"))).unwrap();
        assert_close(&size, &found, &fixture.get(&format!("smoothed.{size}")), 1e-6);
    }
}

#[track_caller]
fn check_losses(model: &str) {
    let fixture = Fixture::open(&format!("baselines/{model}.safetensors"));
    let pipeline = open(model);
    let denoiser = pipeline.denoiser();
    let latents = fixture.get_channels_last("latents");
    let (_, h, w, _) = latents.dims4().unwrap();
    let text = TextConditioning::new(&fixture.get("text")).unwrap();
    let timestep = fixture.header("timestep").as_f64().unwrap();
    let objects = objects(&fixture.header("objects"));
    let boxdiff_keys: Vec<AttnKey> = serde_json::from_value(fixture.header("keys")).unwrap();
    let grid = |key: &AttnKey| {
        let layers = denoiser.attention_layers(Grid::new(h, w));
        layers.iter().find(|layer| layer.key == *key).unwrap().grid
    };

    let guidance_keys = denoiser.guidance_keys();
    let grids: KeyGrids = guidance_keys.iter().map(|key| (*key, grid(key))).collect();
    let few = TokenSet::of(&objects);
    let ratio = RatioLoss::new(&objects, &few, &grids, GridRounding::Published, &Device::Cpu).unwrap();
    let all = TokenSet::first(text.num_tokens(), &objects);
    let options = BoxDiffLossOptions {
        rounding: GridRounding::Published,
        chooses_a_cell: false,
        ..BoxDiffLossOptions::new(text.num_tokens())
    };
    let boxdiff = BoxDiffLoss::new(&objects, &all, &boxdiff_keys, grid(&boxdiff_keys[0]), &options);
    let worst = WorstBox::new(boxdiff.clone(), vec![0.0]);

    let cases: [(&str, &dyn GuidanceLoss, &[AttnKey], &TokenSet); 3] = [
        ("ratio", &ratio, &guidance_keys, &few),
        ("boxdiff", &boxdiff, &boxdiff_keys, &all),
        ("worst", &worst, &boxdiff_keys, &all),
    ];
    for (name, loss, keys, tokens) in cases {
        let recording = Recording { tokens: tokens.columns(), ..Recording::new(keys) };
        let request = DenoiserRequest { record: Some(&recording), ..DenoiserRequest::new(&latents, timestep, &text) };
        let mut value = None;
        let gradient = denoiser.input_gradient(&request, &mut |maps| {
            let loss = loss.loss(0, maps).unwrap();
            value = Some(loss.flatten_all()?);
            Ok(Some(loss))
        });
        let (value, gradient) = (value.unwrap(), gradient.unwrap().unwrap());
        assert_close(&format!("{model} {name}"), &value, &fixture.get(name), VALUE_TOLERANCE);
        let expected = fixture.get_channels_last(&format!("{name}.gradient"));
        assert_close(&format!("{model} {name}.gradient"), &gradient, &expected, GRADIENT_TOLERANCE);
    }
}

#[test]
fn losses_through_the_stable_diffusion_1_shape_are_autograds() {
    check_losses("sd1");
}

#[test]
fn losses_through_the_stable_diffusion_2_shape_are_autograds() {
    check_losses("sd2");
}

#[test]
fn losses_through_the_two_level_shape_are_autograds() {
    check_losses("small");
}

/// The share of bytes that are further apart than rounding explains.
fn far_share(found: &Image, expected: &[u8]) -> f64 {
    assert_eq!(found.pixels().len(), expected.len());
    let differences = || found.pixels().iter().zip(expected).map(|(a, b)| a.abs_diff(*b));
    let far = differences().filter(|difference| *difference > CLOSE_BYTES).count();
    println!(
        "{far} of {} bytes differ by more than {CLOSE_BYTES}, at most by {:?}",
        expected.len(),
        differences().max()
    );
    far as f64 / expected.len() as f64
}

#[track_caller]
fn check_picture(method: &str) {
    let fixture = Fixture::open("baselines/pictures.safetensors");
    let case = &fixture.header("cases")[method];
    let number = |key: &str| case[key].as_u64().unwrap() as usize;
    let mut sampling = Sampling::new(Seed(number("seed") as u64), number("width"), number("height"));
    sampling.num_inference_steps = number("steps");
    sampling.guidance_scale = case["guidance_scale"].as_f64().unwrap();
    let request = PaintRequest {
        caption: None,
        layout: Some(Layout::from_json(&fixture.header("layout").to_string()).unwrap()),
        negative: Some(case["negative"].as_str().unwrap().to_owned()),
        init: None,
        sampling,
    };
    // As published, but for what the case says.
    let mut options = methods::reference_options(method).unwrap();
    for (name, value) in options.as_object_mut().unwrap() {
        if let Some(given) = case.get(name) {
            *value = given.clone();
        }
    }
    let pipeline = open(case["model"].as_str().unwrap());
    let paint = |options: Value| methods::build(method, options).unwrap().generate(&request, &pipeline, &Run::silent());
    let painting = paint(options.clone()).unwrap();
    let expected = fixture.get(&format!("image.{method}")).flatten_all().unwrap().to_vec1::<u8>().unwrap();
    let share = far_share(&painting.image, &expected);
    assert!(share <= FAR_SHARE, "{method}: {share} of the bytes differ by more than {CLOSE_BYTES}");

    // The comparison is worth something: without what the method does the picture is another.
    let without = match method {
        "backward-guidance" => json!({"max_iter": [0]}),
        "boxdiff" => json!({"scale_factor": 0.0}),
        _ => json!({"bootstrapping": 0}),
    };
    let without: BTreeMap<String, Value> = serde_json::from_value(without).unwrap();
    without.into_iter().for_each(|(name, value)| options[name] = value);
    assert!(far_share(&paint(options).unwrap().image, &expected) > 0.1, "{method} does nothing here");
}

#[test]
fn backward_guidance_paints_the_published_picture() {
    check_picture("backward-guidance");
}

#[test]
fn boxdiff_paints_the_published_picture() {
    check_picture("boxdiff");
}

#[test]
fn multidiffusion_paints_the_published_picture() {
    check_picture("multidiffusion");
}
