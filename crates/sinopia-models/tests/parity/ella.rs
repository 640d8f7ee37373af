//! ELLA's connector, alone and behind T5, against a second version of it; fixtures by `parity/make_ella.py`.

use crate::fixture::{Fixture, assert_close, model_folder};
use candle_core::Device;
use sinopia_models::ella::{Ella, EllaConfig, EllaConnector, EllaOptions, TextLength};
use sinopia_models::t5::StateRange;
use sinopia_models::{Precision, Weights};

/// f32 sums in another order.
const TOLERANCE: f64 = 1e-4;

#[test]
fn tokens_at_every_timestep() {
    let folder = model_folder("ella");
    let config = std::fs::read_to_string(folder.join("config.json")).unwrap();
    let config = EllaConfig::from_json(&config, "config.json").unwrap();
    let weights = Weights::open(&[folder.join("ella.safetensors")], &Device::Cpu, Precision::F32).unwrap();
    let connector = EllaConnector::load(&config, &weights).unwrap();
    let fixture = Fixture::open("ella/ella.safetensors");
    for name in fixture.names_after("tokens.") {
        let (case, timestep) = name.split_once('.').unwrap();
        let text = connector.project(&fixture.get(&format!("states.{case}"))).unwrap();
        let found = connector.tokens(&text, timestep.parse().unwrap()).unwrap();
        assert_close(&format!("tokens.{name}"), &found, &fixture.get(&format!("tokens.{name}")), TOLERANCE);
    }
}

#[test]
fn a_text_through_both_at_both_lengths() {
    let options = EllaOptions { precision: Precision::F32, range: StateRange::F32, ..EllaOptions::default() };
    let ella = Ella::open(&model_folder("t5"), &model_folder("ella"), &options).unwrap();
    let fixture = Fixture::open("ella/ella.safetensors");
    let texts = fixture.header("texts");
    for (case, text) in texts.as_object().unwrap() {
        for (length, name) in [(TextLength::Flexible, "flexible"), (TextLength::Fixed, "fixed")] {
            let read = ella.read(text.as_str().unwrap(), length).unwrap();
            // A fraction of a timestep is the timestep.
            let found = ella.tokens(&read, 500.7).unwrap();
            assert_close(&format!("{case} {name}"), &found, &fixture.get(&format!("t5.{case}.{name}")), TOLERANCE);
        }
    }
    assert_eq!((ella.num_tokens(), ella.width(), ella.content_hash().len()), (6, 24, 64));
}

#[test]
fn parts_that_do_not_fit_are_refused() {
    let options = EllaOptions { precision: Precision::F32, ..EllaOptions::default() };
    let refusal =
        |connector: &std::path::Path| Ella::open(&model_folder("t5"), connector, &options).unwrap_err().to_string();
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name);
    std::fs::copy(model_folder("ella").join("ella.safetensors"), path("ella.safetensors")).unwrap();
    // Without a configuration it is taken for the released file.
    assert!(refusal(&path("ella.safetensors")).contains("has shape"), "{}", refusal(&path("ella.safetensors")));
    std::fs::write(path("ella.json"), r#"{"heads": 5, "width": 24}"#).unwrap();
    assert!(refusal(&path("ella.safetensors")).contains("a divisor of width, 24"));
    std::fs::copy(path("ella.safetensors"), path("second.safetensors")).unwrap();
    assert!(refusal(folder.path()).contains("one .safetensors file, this has 2"));
    assert!(refusal(&path("nowhere")).contains("does not exist"));
}
