//! Grounding adapters against diffusers: the position net, the gated UNet in both wirings; fixtures by `parity/make_gligen.py`.

use crate::fixture::{Fixture, assert_close, model_folder};
use candle_core::Device;
use sinopia_models::unet::{
    DenoiserRequest, Grounding, GroundingWiring, Recording, TextConditioning, UNet2DConditionModel, UNetConfig,
};
use sinopia_models::{Precision, Weights};

/// f32 sums in another order, through some forty layers.
const TOLERANCE: f64 = 1e-4;

fn load() -> UNet2DConditionModel {
    let folder = model_folder("gligen").join("unet");
    let config = UNetConfig::from_json(&std::fs::read_to_string(folder.join("config.json")).unwrap()).unwrap();
    let file = folder.join("diffusion_pytorch_model.safetensors");
    let weights = Weights::open(&[file], &Device::Cpu, Precision::F32).unwrap();
    UNet2DConditionModel::load(&config, &weights).unwrap()
}

fn grounding(fixture: &Fixture) -> Grounding {
    Grounding::new(&fixture.get("boxes"), &fixture.get("phrases"), &fixture.get("mask")).unwrap()
}

#[test]
fn grounding_tokens_of_boxes_and_phrases() {
    let fixture = Fixture::open("gligen/unet.safetensors");
    let tokens = load().grounding_tokens(&grounding(&fixture)).unwrap();
    assert_close("grounding tokens", &tokens, &fixture.get("tokens"), TOLERANCE);
}

#[test]
fn the_gated_unet_in_both_wirings_and_without_boxes() {
    let fixture = Fixture::open("gligen/unet.safetensors");
    let unet = load();
    let (latents, text) = (fixture.get_channels_last("latents"), fixture.get("text"));
    let text = TextConditioning::new(&text).unwrap();
    let timestep = fixture.header("timestep").as_f64().unwrap();
    let reground = grounding(&fixture).wired(GroundingWiring::Parallel);
    for (wiring, grounding) in [("off", None), ("gated", Some(grounding(&fixture))), ("reground", Some(reground))] {
        let keys: Vec<_> =
            fixture.names_after(&format!("map.{wiring}.")).iter().map(|key| key.parse().unwrap()).collect();
        assert_eq!(keys.len(), 2);
        let record = Recording::new(keys);
        let request = DenoiserRequest {
            grounding: grounding.as_ref(),
            record: Some(&record),
            ..DenoiserRequest::new(&latents, timestep, &text)
        };
        let reply = unet.forward(&request).unwrap();
        let expected = fixture.get_channels_last(&format!("noise.{wiring}"));
        assert_close(&format!("noise {wiring}"), &reply.prediction.unwrap(), &expected, TOLERANCE);
        for (key, map) in &reply.maps {
            assert_close(&format!("{wiring} {key}"), map, &fixture.get(&format!("map.{wiring}.{key}")), TOLERANCE);
        }
    }
}
