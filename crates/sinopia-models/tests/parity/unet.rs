//! The UNet against diffusers: noise and the attention of every layer; fixtures by `parity/make_unet.py`.

use crate::fixture::{Fixture, assert_close, model_folder};
use candle_core::Device;
use sinopia_models::unet::{
    AddedConditioning, AttnKey, DenoiserRequest, Recording, TextConditioning, UNet2DConditionModel, UNetConfig,
};
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

/// A case's text, with what goes with it where the network wants that.
fn conditioning(fixture: &Fixture, case: &str, added_text_width: Option<usize>) -> TextConditioning {
    let text = TextConditioning::new(&fixture.get(&format!("text.{case}"))).unwrap();
    if added_text_width.is_none() {
        return text;
    }
    let added = |key: &str| fixture.get(&format!("{key}.{case}"));
    text.with_added(&AddedConditioning { text_embeds: added("text_embeds"), time_ids: added("time_ids") }).unwrap()
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
        let text = conditioning(&fixture, &case, unet.added_text_width());
        let latents = fixture.get_channels_last(&format!("latents.{case}"));
        let timestep = timesteps[&case].as_f64().unwrap();
        let request = DenoiserRequest { record: Some(&record), ..DenoiserRequest::new(&latents, timestep, &text) };
        let reply = unet.forward(&request).unwrap();
        let expected = fixture.get_channels_last(&format!("noise.{case}"));
        assert_close(&format!("{name} noise.{case}"), &reply.prediction.unwrap(), &expected, TOLERANCE);
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

#[test]
fn unet_of_stable_diffusion_xl() {
    check("xl");
}

/// One picture of a batch, alone, is what it is among others: pooled states and sizes are cut with their text.
#[test]
fn pooled_states_and_sizes_belong_to_their_picture() {
    let unet = load("xl");
    let fixture = Fixture::open("unet/xl.safetensors");
    let both = conditioning(&fixture, "wide", unet.added_text_width());
    let latents = fixture.get_channels_last("latents.wide");
    let alone = [0, 1].map(|index| {
        let text = both.narrow(index, 1).unwrap();
        let latents = latents.narrow(0, index, 1).unwrap();
        (text, unet.forward(&DenoiserRequest::new(&latents, 601.0, &both.narrow(index, 1).unwrap())).unwrap())
    });
    let expected = fixture.get_channels_last("noise.wide");
    for (index, (_, reply)) in alone.iter().enumerate() {
        let found = reply.prediction.as_ref().unwrap();
        assert_close(&format!("picture {index}"), found, &expected.narrow(0, index, 1).unwrap(), TOLERANCE);
    }
    let [(first, _), (second, _)] = alone;
    let together = TextConditioning::cat(&[&first, &second]).unwrap();
    let found = unet.forward(&DenoiserRequest::new(&latents, 601.0, &together)).unwrap().prediction.unwrap();
    assert_close("put together again", &found, &expected, TOLERANCE);

    let plain = TextConditioning::new(both.embeds()).unwrap();
    let refused = unet.forward(&DenoiserRequest::new(&latents, 601.0, &plain)).unwrap_err().to_string();
    assert!(refused.contains("pooled text embeddings") && refused.contains("width 10"), "{refused}");
    assert!(TextConditioning::cat(&[&first, &plain]).is_err(), "only some have pooled states");
}
