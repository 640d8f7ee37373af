//! Pictures that begin with a picture against diffusers' `StableDiffusionImg2ImgPipeline` and `StableDiffusionInpaintPipeline` (`parity/make_init.py`).

use std::sync::Arc;

use serde_json::Value;
use sinopia_diffusion::observer::Run;
use sinopia_diffusion::{Image, ImageSize, Init, PaintRequest, PixelMask, methods};

use crate::fixture::Fixture;
use crate::pipelines::{assert_same_picture, open, request};

fn bytes(fixture: &Fixture, name: &str) -> Vec<u8> {
    fixture.get(name).flatten_all().unwrap().to_vec1().unwrap()
}

#[track_caller]
fn check(model: &str) {
    let fixture = Fixture::open(&format!("init/{model}.safetensors"));
    let pipeline = open(model);
    let sd = methods::build("sd", Value::Null).unwrap();
    let size = ImageSize { width: 128, height: 64 };
    let image = Arc::new(Image::from_pixels(size, bytes(&fixture, "init")).unwrap());
    let mask = Arc::new(PixelMask::new(size, bytes(&fixture, "mask")).unwrap());
    let cases = fixture.header("cases");
    assert_eq!(cases.as_object().unwrap().len(), 11);
    for (name, case) in cases.as_object().unwrap() {
        let is_masked = case["masked"].as_bool().unwrap();
        let init = Init {
            image: image.clone(),
            strength: case["strength"].as_f64().unwrap(),
            mask: is_masked.then(|| mask.clone()),
        };
        let request = PaintRequest { init: Some(init), ..request(case) };
        let painting = sd.generate(&request, &pipeline, &Run::silent().keeping_trajectory()).unwrap();
        // diffusers decodes all of it, and pastes nothing back.
        let decoded = pipeline.vae().decode(painting.trajectory.unwrap().last()).unwrap();
        let decoded = Image::from_tensor(&decoded).unwrap().swap_remove(0);
        assert_same_picture(&format!("{model} {name}"), &decoded, &bytes(&fixture, &format!("image.{name}")));
        for ((found, old), level) in
            painting.image.pixels().chunks(3).zip(image.pixels().chunks(3)).zip(mask.levels()).filter(|_| is_masked)
        {
            assert!(*level > 0 || found == old, "{model} {name}: a pixel outside the mask was changed");
        }
    }
}

#[test]
fn a_stable_diffusion_1_folder_goes_on_from_pictures_as_diffusers_does() {
    check("sd1");
}

#[test]
fn a_stable_diffusion_2_folder_goes_on_from_pictures_as_diffusers_does() {
    check("sd2");
}
