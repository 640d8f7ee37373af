//! The text encoder against transformers; fixtures by `parity/make_clip.py`.

use crate::fixture::{Fixture, assert_close, model_folder};
use candle_core::{DType, Device};
use sinopia_models::clip::{ClipTextConfig, ClipTextModel};
use sinopia_models::{Precision, Weights};

/// f32 sums in another order: the largest difference seen is far below this.
const TOLERANCE: f64 = 1e-4;

fn check(name: &str) {
    let folder = model_folder(name).join("text_encoder");
    let config = ClipTextConfig::from_json(&std::fs::read_to_string(folder.join("config.json")).unwrap()).unwrap();
    let weights = Weights::open(&[folder.join("model.safetensors")], &Device::Cpu, Precision::F32).unwrap();
    let model = ClipTextModel::load(&config, &weights).unwrap();
    let fixture = Fixture::open(&format!("clip/{name}.safetensors"));
    for case in fixture.names_after("ids.") {
        let ids: Vec<Vec<u32>> = fixture.get(&format!("ids.{case}")).to_dtype(DType::U32).unwrap().to_vec2().unwrap();
        let output = model.forward(&ids).unwrap();
        let penultimate = output.hidden_state(1).unwrap();
        for (what, found) in [
            ("last", &output.last_hidden_state),
            ("pooled", &output.pooled),
            ("penultimate", penultimate),
            ("penultimate_normed", &model.final_layer_norm(penultimate).unwrap()),
        ] {
            assert_close(&format!("{name} {what}.{case}"), found, &fixture.get(&format!("{what}.{case}")), TOLERANCE);
        }
    }
}

#[test]
fn quick_gelu_encoder_of_stable_diffusion_1() {
    check("sd1");
}

#[test]
fn gelu_encoder_of_stable_diffusion_2() {
    check("sd2");
}
