//! The UNet against diffusers: noise and the attention of every layer; fixtures by `parity/make_unet.py`.

use crate::fixture::{Fixture, assert_close, model_folder};
use candle_core::Device;
use sinopia_models::unet::{AttnKey, Recording, TextConditioning, UNet2DConditionModel, UNetConfig, UNetRequest};
use sinopia_models::{Precision, Weights};

/// f32 sums in another order, through some forty layers.
const TOLERANCE: f64 = 1e-4;

fn load(name: &str) -> UNet2DConditionModel {
    let folder = model_folder(name).join("unet");
    let config = UNetConfig::from_json(&std::fs::read_to_string(folder.join("config.json")).unwrap()).unwrap();
    let file = folder.join("diffusion_pytorch_model.safetensors");
    let weights = Weights::open(&[file], &Device::Cpu, Precision::F32).unwrap();
    UNet2DConditionModel::load(&config, &weights).unwrap()
}

fn check(name: &str) {
    let unet = load(name);
    let fixture = Fixture::open(&format!("unet/{name}.safetensors"));
    let timesteps = fixture.header("timesteps");
    for case in fixture.names_after("latents.") {
        let keys: Vec<AttnKey> =
            fixture.names_after(&format!("map.{case}.")).iter().map(|key| key.parse().unwrap()).collect();
        assert!(keys.is_empty() || keys.len() == unet.attention_keys().len(), "maps of all layers, or of none");
        let record = Recording::new(keys);
        let text = TextConditioning::new(&fixture.get(&format!("text.{case}"))).unwrap();
        let latents = fixture.get_channels_last(&format!("latents.{case}"));
        let timestep = timesteps[&case].as_f64().unwrap();
        let request = UNetRequest { record: Some(&record), ..UNetRequest::new(&latents, timestep, &text) };
        let reply = unet.forward(&request).unwrap();
        let expected = fixture.get_channels_last(&format!("noise.{case}"));
        assert_close(&format!("{name} noise.{case}"), &reply.noise.unwrap(), &expected, TOLERANCE);
        for (key, map) in &reply.maps {
            assert_close(&format!("{name} {case} {key}"), map, &fixture.get(&format!("map.{case}.{key}")), TOLERANCE);
        }
    }
}

#[test]
fn unet_of_stable_diffusion_1() {
    check("sd1");
}

#[test]
fn unet_of_stable_diffusion_2() {
    check("sd2");
}

#[test]
fn unet_of_two_levels() {
    check("small");
}
