//! T5's encoder and tokenizer against transformers; fixtures by `parity/make_t5.py`.

use crate::fixture::{Fixture, assert_close, json, model_folder};
use candle_core::{Device, Tensor};
use sinopia_models::Precision;
use sinopia_models::t5::{FIXED_LENGTH, StateRange, T5EncoderModel, T5Tokenizer, T5Tokens};

/// f32 sums in another order.
const TOLERANCE: f64 = 1e-4;
/// f16 keeps eleven bits; what is rounded the other way in one layer is seen by all that follow.
const HALF_TOLERANCE: f64 = 2e-2;

fn cases(fixture: &Fixture) -> Vec<(String, T5Tokens)> {
    let numbers = |name: String| fixture.get(&name).flatten_all().unwrap().to_vec1::<i64>().unwrap();
    let tokens = |case: &String| T5Tokens {
        ids: numbers(format!("ids.{case}")).into_iter().map(|id| id as u32).collect(),
        length: numbers(format!("length.{case}"))[0] as usize,
    };
    fixture.names_after("ids.").into_iter().map(|case| (case.clone(), tokens(&case))).collect()
}

fn check(precision: Precision, range: StateRange, expected: &str, tolerance: f64) {
    let model = T5EncoderModel::open(&model_folder("t5"), &Device::Cpu, precision, range).unwrap();
    let fixture = Fixture::open("t5/t5.safetensors");
    for (case, tokens) in cases(&fixture) {
        let found = model.forward(&tokens).unwrap();
        assert_close(&format!("{expected}.{case}"), &found, &fixture.get(&format!("{expected}.{case}")), tolerance);
    }
}

#[test]
fn states_in_f32_at_every_length() {
    check(Precision::F32, StateRange::F32, "last", TOLERANCE);
}

#[test]
fn states_in_f16_with_what_overflows() {
    check(Precision::F32, StateRange::F16, "half", HALF_TOLERANCE);
}

#[test]
fn weights_as_they_are_stored_give_the_same_states() {
    check(Precision::Auto, StateRange::F16, "half", HALF_TOLERANCE);
}

/// bf16 keeps eight bits: states stay near, and are not those of another text.
#[test]
fn weights_in_bf16_stay_near() {
    let model = T5EncoderModel::open(&model_folder("t5"), &Device::Cpu, Precision::Bf16, StateRange::F32).unwrap();
    let fixture = Fixture::open("t5/t5.safetensors");
    let cosine = |a: &Tensor, b: &Tensor| {
        let dot = |a: &Tensor, b: &Tensor| (a * b).unwrap().sum_all().unwrap().to_scalar::<f32>().unwrap();
        dot(a, b) / (dot(a, a) * dot(b, b)).sqrt()
    };
    for (case, tokens) in cases(&fixture) {
        let near = cosine(&model.forward(&tokens).unwrap(), &fixture.get(&format!("last.{case}")));
        assert!(near > 0.999, "{case}: {near}");
    }
}

fn check_ids(tokenizer: &T5Tokenizer, what: &str) {
    let document = json("t5/tokens.json");
    for (case, ids) in document["ids"].as_object().unwrap() {
        let expected: Vec<u32> = serde_json::from_value(ids.clone()).unwrap();
        let (text, is_fixed) = case.strip_suffix("_fixed").map_or((case.as_str(), false), |text| (text, true));
        let text = document["texts"][text].as_str().unwrap();
        let found = match is_fixed {
            true => tokenizer.encode_fixed(text, FIXED_LENGTH).unwrap(),
            false => tokenizer.encode(text).unwrap(),
        };
        assert_eq!(found.ids, expected, "{what}: {case}");
    }
}

#[test]
fn texts_are_cut_as_by_transformers() {
    check_ids(&T5Tokenizer::from_folder(&model_folder("t5")).unwrap(), "tokenizer.json");
}

#[test]
fn a_sentencepiece_file_cuts_alike() {
    let folder = tempfile::tempdir().unwrap();
    std::fs::copy(model_folder("t5").join("spiece.model"), folder.path().join("spiece.model")).unwrap();
    check_ids(&T5Tokenizer::from_folder(folder.path()).unwrap(), "spiece.model");
}
