//! The autoencoder against diffusers; fixtures by `parity/make_vae.py`.

use crate::fixture::{Fixture, assert_close, model_folder};
use candle_core::Device;
use sinopia_models::vae::{AutoencoderKl, VaeConfig};
use sinopia_models::{Precision, Weights};

/// f32 sums in another order, through some thirty layers.
const TOLERANCE: f64 = 1e-4;

fn check(name: &str) {
    let folder = model_folder(name).join("vae");
    let config = VaeConfig::from_json(&std::fs::read_to_string(folder.join("config.json")).unwrap()).unwrap();
    let file = folder.join("diffusion_pytorch_model.safetensors");
    let weights = Weights::open(&[file], &Device::Cpu, Precision::F32).unwrap();
    let vae = AutoencoderKl::load(&config, &weights).unwrap();
    let fixture = Fixture::open(&format!("vae/{name}.safetensors"));
    for case in fixture.names_after("image.") {
        let posterior = vae.encode(&fixture.get_channels_last(&format!("image.{case}"))).unwrap();
        let decoded = vae.decode(&fixture.get_channels_last(&format!("latents.{case}"))).unwrap();
        for (what, found) in [("mean", posterior.mean), ("logvar", posterior.logvar), ("decoded", decoded)] {
            let expected = fixture.get_channels_last(&format!("{what}.{case}"));
            assert_close(&format!("{name} {what}.{case}"), &found, &expected, TOLERANCE);
        }
    }
}

#[test]
fn autoencoder_of_stable_diffusion_1() {
    check("sd1");
}

#[test]
fn autoencoder_of_the_two_level_model() {
    check("small");
}
