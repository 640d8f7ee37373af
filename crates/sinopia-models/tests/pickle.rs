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
    assert!(matches!(error, Error::OtherFile { .. }), "{error}");

    let error = Weights::open(&[folder.path().join("none.bin")], &Device::Cpu, Precision::Auto).unwrap_err();
    assert!(matches!(error, Error::NotFound { .. }), "{error}");
}

fn values(weights: &Weights, name: &str) -> (Vec<usize>, Vec<f32>) {
    let shape = weights.shape(name).unwrap();
    let tensor = weights.get(name, &shape).unwrap().to_dtype(DType::F32).unwrap();
    (shape, tensor.flatten_all().unwrap().to_vec1().unwrap())
}

#[test]
fn channels_last_kernels_views_and_parameters_in_every_format() {
    for file in ["others.bin", "protocol4.bin", "legacy.bin", "legacy.ckpt"] {
        let weights = open(file).unwrap();
        let check = |name: &str, shape: &[usize], expected: &[f32]| {
            assert_eq!(values(&weights, name), (shape.to_vec(), expected.to_vec()), "{file} {name}");
        };
        let in_order: Vec<f32> = (0..24_u8).map(f32::from).collect();
        check("kernel", &[2, 3, 2, 2], &in_order);
        check("parameter", &[2, 3], EXPECTED.as_flattened());
        check("view", &[4], &[4.0, 5.0, 6.0, 7.0]);
        check("every_other", &[3], &[1.0, 4.0, 7.0]);
        check("expanded", &[2, 2], &[7.0; 4]);
        check("scalar", &[], &[0.5]);
        check("empty", &[0, 3], &[]);
        check("ids", &[1, 3], &[0.0, 1.0, 2.0]);
        check("half", &[3, 2], &[0.0, 1.5, 0.5, 2.0, 1.0, 2.5]);
        assert_eq!(weights.names().len(), 9, "{file}: {:?}", weights.names());
        assert_eq!(weights.format("ids").as_deref(), Some("I64"));
    }
}

#[test]
fn a_file_cut_short_anywhere_is_refused_or_whole() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("cut.bin");
    for file in ["others.bin", "legacy.bin", "protocol4.bin"] {
        let bytes = std::fs::read(data(file)).unwrap();
        for length in 0..bytes.len() {
            std::fs::write(&path, &bytes[..length]).unwrap();
            let opened = Weights::open(std::slice::from_ref(&path), &Device::Cpu, Precision::Auto);
            assert!(opened.is_err(), "{file} of {length} bytes");
        }
    }
}

#[test]
fn a_file_with_any_byte_changed_harms_nobody() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("changed.bin");
    for file in ["others.bin", "legacy.bin"] {
        let bytes = std::fs::read(data(file)).unwrap();
        for at in 0..bytes.len() {
            for change in [if at % 2 == 0 { 0x01 } else { 0xff }] {
                let mut changed = bytes.clone();
                changed[at] ^= change;
                std::fs::write(&path, &changed).unwrap();
                let Ok(weights) = Weights::open(std::slice::from_ref(&path), &Device::Cpu, Precision::Auto) else {
                    continue;
                };
                for name in weights.names() {
                    let _ = weights.get(&name, &weights.shape(&name).unwrap());
                }
            }
        }
    }
}

#[test]
fn sharded_pickles_are_one_and_mix_with_safetensors() {
    let paths = ["others.bin", "nested.bin", "legacy.ckpt"].map(data);
    let weights = Weights::open(&paths[..2], &Device::Cpu, Precision::Auto).unwrap();
    assert_eq!(weights.names().len(), 9 + 4);
    let error = Weights::open(&paths, &Device::Cpu, Precision::Auto).unwrap_err().to_string();
    assert!(error.contains("is also in"), "{error}");
}

#[test]
fn the_name_of_a_file_does_not_say_what_it_is() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("model.safetensors");
    std::fs::copy(data("tensors.bin"), &path).unwrap();
    let weights = Weights::open(&[path], &Device::Cpu, Precision::Auto).unwrap();
    assert_eq!(values(&weights, "proj.weight").1, EXPECTED.as_flattened());
}

#[test]
fn floats_of_8_bits_are_named() {
    let weights = open("float8.bin").unwrap();
    assert_eq!(values(&weights, "b").1, EXPECTED.as_flattened());
    let error = weights.get("a", &[2, 3]).unwrap_err();
    assert!(error.to_string().contains("stored as F8_E4M3"), "{error}");
    assert!(error.hint().unwrap().contains("float8_e4m3fn"), "{:?}", error.hint());
}
