//! PyTorch's own files are read, and nothing in them is executed. `tests/data/make_pickles.py` wrote them.
#![allow(clippy::unwrap_used, reason = "these are tests")]

use std::path::{Path, PathBuf};

use candle_core::{DType, Device};
use sinopia_models::{Error, Precision, Result, Weights};

fn data(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data").join(name)
}

fn open(name: &str) -> Result<Weights> {
    Weights::open(&[data(name)], &Device::Cpu, Precision::Auto)
}

const EXPECTED: [[f32; 3]; 2] = [[0.0, 0.5, 1.0], [1.5, 2.0, 2.5]];

#[test]
fn tensors_of_a_component_and_of_a_training_state() {
    for file in ["tensors.bin", "state.ckpt"] {
        let weights = open(file).unwrap().pp("proj");
        assert_eq!(weights.get("weight", &[2, 3]).unwrap().to_vec2::<f32>().unwrap(), EXPECTED, "{file}");
        let bias = weights.get("bias", &[2]).unwrap();
        assert_eq!((bias.dtype(), bias.to_vec1::<f32>().unwrap()), (DType::F32, vec![1.0, -1.0]));
        let half = weights.get("half", &[2, 3]).unwrap();
        assert_eq!(half.dtype(), DType::F16);
        assert_eq!(weights.format("bias").as_deref(), Some("BF16"));
        assert_eq!(weights.names(), ["bias", "half", "transposed", "weight"]);
    }
}

#[test]
fn networks_in_dictionaries_of_their_own_are_where_single_files_have_them() {
    let weights = open("nested.bin").unwrap();
    let gate = "model.diffusion_model.middle_block.1.transformer_blocks.0.fuser.alpha_attn";
    let text = "cond_stage_model.transformer.text_model.final_layer_norm.bias";
    let names = [text, "first_stage_model.quant_conv.bias", gate, "model.diffusion_model.out.2.weight"];
    assert_eq!(weights.names(), names);
    let weight = weights.get("model.diffusion_model.out.2.weight", &[2, 3]).unwrap();
    assert_eq!(weight.to_vec2::<f32>().unwrap(), EXPECTED);
    assert_eq!(weights.get(gate, &[]).unwrap().to_scalar::<f32>().unwrap(), 0.25);
    assert_eq!(weights.get(text, &[1]).unwrap().to_vec1::<f32>().unwrap(), [0.5]);
}

#[test]
fn a_transposed_view_keeps_its_shape() {
    let transposed = open("tensors.bin").unwrap().get("proj.transposed", &[3, 2]).unwrap();
    assert_eq!(transposed.to_vec2::<f32>().unwrap(), [[0.0, 1.5], [0.5, 2.0], [1.0, 2.5]]);
}

#[test]
fn a_pickle_that_runs_a_program_runs_nothing() {
    let _ = open("hostile.bin");
    assert!(!Path::new("pickle-was-executed").exists());
    assert!(!data("pickle-was-executed").exists());
}

#[test]
fn nan_and_rubbish_are_refused() {
    let error = open("nan.bin").unwrap().get("bad.weight", &[2]).unwrap_err();
    assert!(matches!(&error, Error::NotFinite { tensor, position: 1, .. } if tensor == "bad.weight"), "{error}");

    let folder = tempfile::tempdir().unwrap();
    let rubbish = folder.path().join("rubbish.bin");
    std::fs::write(&rubbish, b"not a zip archive").unwrap();
    let error = Weights::open(&[rubbish], &Device::Cpu, Precision::Auto).unwrap_err();
    assert!(matches!(error, Error::Damaged { .. }), "{error}");

    let error = Weights::open(&[folder.path().join("none.bin")], &Device::Cpu, Precision::Auto).unwrap_err();
    assert!(matches!(error, Error::NotFound { .. }), "{error}");
}
