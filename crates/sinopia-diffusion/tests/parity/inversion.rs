//! Inversion against diffusers' `DDIMInverseScheduler` (`parity/make_inversion.py`): same folder, picture and caption.

use crate::fixture::{Fixture, assert_close};
use crate::pipelines::open;
use candle_core::Tensor;
use sinopia_diffusion::inversion::{Inversion, InversionOptions};
use sinopia_diffusion::noise::Seed;
use sinopia_diffusion::observer::Run;
use sinopia_diffusion::schedulers::SchedulerKind;
use sinopia_diffusion::{Image, ImageSize, Sampling};
use sinopia_models::checkpoint::Constructor;

/// Of the largest value, after two steps: what differs are the last bits of f32.
const TOLERANCE: f64 = 1e-4;

/// Of the largest value, after twenty steps: the way back to noise enlarges them by half at each, in a random network that predicts noise.
const TOLERANCE_OF_ALL: f64 = 1e-2;

#[track_caller]
fn check(model: &str) {
    let fixture = Fixture::open(&format!("inversion/{model}.safetensors"));
    let pipeline = open(model);
    let image = fixture.get("image"); // (H, W, 3)
    let (height, width, _) = image.dims3().unwrap();
    let image =
        Image::from_pixels(ImageSize { width, height }, image.flatten_all().unwrap().to_vec1::<u8>().unwrap()).unwrap();
    let cases = fixture.header("cases");
    assert_eq!(cases.as_object().unwrap().len(), 2);
    for (name, case) in cases.as_object().unwrap() {
        let sampling = Sampling {
            num_inference_steps: case["steps"].as_u64().unwrap() as usize,
            scheduler: Some(SchedulerKind::Ddim),
            ..Sampling::new(Seed(0), width, height)
        };
        let plain = InversionOptions { max_iterations: 0, ..InversionOptions::default() };
        let constructor = Constructor::StableDiffusion;
        let inversion = Inversion {
            pipeline: &pipeline,
            sampling: &sampling,
            constructor,
            caption: case["caption"].as_str().unwrap(),
            options: plain,
        };
        let inverted = inversion.run(&image, &Run::silent()).unwrap();
        let mut states = inverted.trajectory.states().to_vec();
        states.reverse(); // from the picture to noise
        assert_close(&format!("{model} {name} latents"), &states[0], &fixture.get_channels_last("latents"), TOLERANCE);
        let expected = fixture.get(&format!("states.{name}")); // (S, 1, C, H, W)
        assert_eq!(expected.dim(0).unwrap() + 1, states.len());
        let found = Tensor::cat(&states[1..], 0).unwrap();
        let expected = expected.squeeze(1).unwrap().permute((0, 2, 3, 1)).unwrap().contiguous().unwrap();
        let first = |states: &Tensor| states.narrow(0, 0, 2).unwrap();
        assert_close(&format!("{model} {name} first states"), &first(&found), &first(&expected), TOLERANCE);
        assert_close(&format!("{model} {name} states"), &found, &expected, TOLERANCE_OF_ALL);
    }
}

#[test]
fn pictures_are_inverted_as_diffusers_does_where_the_model_predicts_noise() {
    check("sd1");
}

#[test]
fn pictures_are_inverted_as_diffusers_does_where_the_model_predicts_v() {
    check("sd2");
}
