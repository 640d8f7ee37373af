//! Safetensors files of every kind that people have, and of kinds that nobody should have.
#![allow(clippy::unwrap_used, reason = "these are tests")]

use std::collections::HashMap;
use std::path::{Path, PathBuf};

use candle_core::{DType, Device, Tensor};
use half::{bf16, f16};
use safetensors::Dtype;
use safetensors::tensor::TensorView;
use sinopia_models::weights::Parameter;
use sinopia_models::{Error, Precision, Result, Weights};
use sinopia_nn::Arithmetic;

const VALUES: [f32; 6] = [0.0, 0.5, -1.0, 1.5, 2.0, 1e-3];

/// The values in a number format, as little-endian bytes.
fn stored(format: Dtype) -> Vec<u8> {
    match format {
        Dtype::F64 => VALUES.iter().flat_map(|value| f64::from(*value).to_le_bytes()).collect(),
        Dtype::F32 => VALUES.iter().flat_map(|value| value.to_le_bytes()).collect(),
        Dtype::F16 => VALUES.iter().flat_map(|value| f16::from_f32(*value).to_le_bytes()).collect(),
        Dtype::BF16 => VALUES.iter().flat_map(|value| bf16::from_f32(*value).to_le_bytes()).collect(),
        other => panic!("{other:?}"),
    }
}

struct Folder(tempfile::TempDir);

impl Folder {
    fn new() -> Self {
        Self(tempfile::tempdir().unwrap())
    }

    fn bytes(&self, name: &str, bytes: &[u8]) -> PathBuf {
        let path = self.0.path().join(name);
        std::fs::write(&path, bytes).unwrap();
        path
    }

    fn tensors(&self, name: &str, tensors: &[(&str, Dtype, &[usize], &[u8])]) -> PathBuf {
        let views = tensors
            .iter()
            .map(|(name, format, shape, bytes)| (*name, TensorView::new(*format, shape.to_vec(), bytes).unwrap()));
        self.bytes(name, &safetensors::serialize(views, None).unwrap())
    }

    /// A file from a header in JSON and so many zero bytes of data.
    fn header(&self, header: &str, data_len: usize) -> PathBuf {
        let mut bytes = (header.len() as u64).to_le_bytes().to_vec();
        bytes.extend_from_slice(header.as_bytes());
        bytes.resize(bytes.len() + data_len, 0);
        self.bytes("hostile.safetensors", &bytes)
    }
}

fn open(path: &Path) -> Result<Weights> {
    Weights::open(&[path.to_owned()], &Device::Cpu, Precision::Auto)
}

fn values(tensor: &Tensor) -> Vec<f32> {
    tensor.to_dtype(DType::F32).unwrap().flatten_all().unwrap().to_vec1().unwrap()
}

// ---- what people have ----

#[test]
fn every_storage_format_in_every_precision() {
    let folder = Folder::new();
    for format in [Dtype::F64, Dtype::F32, Dtype::F16, Dtype::BF16] {
        let path = folder.tensors(
            "x.safetensors",
            &[("a.weight", format, &[2, 3], &stored(format)), ("a.bias", format, &[6], &stored(format))],
        );
        for precision in [Precision::F32, Precision::Bf16, Precision::Auto] {
            let weights = Weights::open(std::slice::from_ref(&path), &Device::Cpu, precision).unwrap();
            let weight = weights.get("a.weight", &[2, 3]).unwrap();
            let expected = match (precision, format) {
                (Precision::Bf16, _) | (Precision::Auto, Dtype::BF16) => DType::BF16,
                (Precision::Auto, Dtype::F16) => DType::F16,
                _ => DType::F32,
            };
            assert_eq!(weight.dtype(), expected, "{format:?} {precision:?}");
            let step = if expected == DType::F32 && matches!(format, Dtype::F32 | Dtype::F64) { 0.0 } else { 4e-6 };
            for (found, expected) in values(&weight).into_iter().zip(VALUES) {
                assert!((found - expected).abs() <= step, "{format:?} {precision:?}: {found} {expected}");
            }
            assert_eq!(weights.get("a.bias", &[6]).unwrap().dtype(), DType::F32, "vectors stay exact");
        }
    }
}

#[test]
fn eight_bits_are_for_layers_that_bear_them_and_read_from_what_is_stored() {
    let folder = Folder::new();
    let bytes = |count: usize| stored(Dtype::F16).into_iter().cycle().take(2 * count).collect::<Vec<_>>();
    let path = folder.tensors(
        "x.safetensors",
        &[("wide", Dtype::F16, &[16, 48], &bytes(768)), ("narrow", Dtype::F16, &[4, 48], &bytes(192))],
    );
    let weights = Weights::open(&[path], &Device::Cpu, Precision::Int8).unwrap();
    let at_the_ends = if Arithmetic::fastest() == Arithmetic::Bf16 { DType::BF16 } else { DType::F16 };
    let between = weights.in_8_bits();
    for (weights, name, shape, expected) in [
        (&weights, "wide", [16, 48], (false, at_the_ends)),
        (&between, "wide", [16, 48], (true, DType::F16)),
        (&between, "narrow", [4, 48], (false, at_the_ends)),
        (&between.in_16_bits(), "wide", [16, 48], (false, at_the_ends)),
    ] {
        let (is_int8, weight) = match weights.parameter(name, &shape).unwrap() {
            Parameter::Int8(weight) => (true, weight),
            Parameter::Tensor(weight) => (false, weight),
            other => panic!("{other:?}"),
        };
        assert_eq!((is_int8, weight.dtype()), expected, "{name}");
    }
    let layer = between.parameter("wide", &[16, 48]).unwrap().linear(None).unwrap();
    assert_eq!(layer.arithmetic(), Arithmetic::Int8);
}

#[test]
fn prefixes_names_and_optional_tensors() {
    let folder = Folder::new();
    let bytes = stored(Dtype::F32);
    let path = folder.tensors(
        "x.safetensors",
        &[("down.0.weight", Dtype::F32, &[6], &bytes), ("down.01.bias", Dtype::F32, &[2, 3], &bytes)],
    );
    let weights = open(&path).unwrap();
    let down = weights.pp("down").pp("0");
    assert_eq!(down.names(), ["weight"]);
    assert_eq!(weights.names(), ["down.0.weight", "down.01.bias"]);
    assert!(down.contains("weight") && !down.contains("bias"));
    assert!(down.get_opt("bias", &[6]).unwrap().is_none());
    assert!(down.get_opt("weight", &[5]).is_err(), "of the wrong shape is not absent");
    assert_eq!(weights.shape("down.01.bias"), Some(vec![2, 3]));
    assert_eq!(weights.num_parameters(), 12);
}

#[test]
fn shards_are_one() {
    let folder = Folder::new();
    let bytes = stored(Dtype::F32);
    let first = folder.tensors("a-00001-of-00002.safetensors", &[("a", Dtype::F32, &[6], &bytes)]);
    let second = folder.tensors("a-00002-of-00002.safetensors", &[("b", Dtype::F32, &[6], &bytes)]);
    let weights = Weights::open(&[first.clone(), second], &Device::Cpu, Precision::Auto).unwrap();
    assert_eq!(weights.names(), ["a", "b"]);
    assert_eq!(values(&weights.get("b", &[6]).unwrap()), VALUES);
    let error = Weights::open(&[first.clone(), first], &Device::Cpu, Precision::Auto).unwrap_err();
    assert!(error.to_string().contains("tensor `a` is also in"), "{error}");
}

#[test]
fn a_1x1_convolution_and_a_linear_layer_are_the_same() {
    let folder = Folder::new();
    let bytes = stored(Dtype::F32);
    let path = folder.tensors(
        "x.safetensors",
        &[("conv", Dtype::F32, &[2, 3, 1, 1], &bytes), ("linear", Dtype::F32, &[2, 3], &bytes)],
    );
    let weights = open(&path).unwrap();
    assert_eq!(weights.get("conv", &[2, 3]).unwrap().dims(), [2, 3]);
    assert_eq!(weights.get("linear", &[2, 3, 1, 1]).unwrap().dims(), [2, 3, 1, 1]);
    assert!(weights.get("linear", &[3, 2]).is_err());
    assert!(weights.get("linear", &[6]).is_err());
}

#[test]
fn files_that_are_part_of_the_program() {
    let bytes = stored(Dtype::F16);
    let file = safetensors::serialize([("a", TensorView::new(Dtype::F16, vec![6], &bytes).unwrap())], None).unwrap();
    let weights = Weights::from_bytes("inside", Vec::leak(file), &Device::Cpu, Precision::F32).unwrap();
    assert_eq!(weights.get("a", &[6]).unwrap().dims(), [6]);
    assert!(weights.get("b", &[6]).unwrap_err().to_string().starts_with("`inside` has no tensor `b`"));
}

#[test]
fn the_files_own_metadata_is_not_a_tensor() {
    let folder = Folder::new();
    let path = folder
        .header(r#"{"__metadata__": {"format": "pt"}, "a": {"dtype": "F32", "shape": [], "data_offsets": [0, 4]}}"#, 4);
    let weights = open(&path).unwrap();
    assert_eq!(weights.names(), ["a"]);
    assert_eq!(weights.get("a", &[]).unwrap().to_scalar::<f32>().unwrap(), 0.0);
}

// ---- what nobody should have ----

#[test]
fn a_wrong_shape_names_file_tensor_and_both_shapes() {
    let folder = Folder::new();
    let path = folder.tensors("unet.safetensors", &[("conv_in.weight", Dtype::F32, &[2, 9, 1, 1], &[0; 72])]);
    let error = open(&path).unwrap().pp("conv_in").get("weight", &[2, 4, 1, 1]).unwrap_err();
    let expected =
        format!("tensor `conv_in.weight` in `{}` has shape [2, 9, 1, 1], expected [2, 4, 1, 1]", path.display());
    assert_eq!(error.to_string(), expected);
    assert!(error.hint().unwrap().contains("inpainting"));
}

#[test]
fn a_missing_tensor_suggests_the_nearest() {
    let folder = Folder::new();
    let path =
        folder.tensors("x.safetensors", &[("mid_block.resnets.0.conv1.weight", Dtype::F32, &[6], &stored(Dtype::F32))]);
    let error = open(&path).unwrap().pp("mid_block.resnet.0").get("conv1.weight", &[6]).unwrap_err().to_string();
    assert!(error.contains("has no tensor `mid_block.resnet.0.conv1.weight`"), "{error}");
    assert!(error.ends_with("the nearest name in it is `mid_block.resnets.0.conv1.weight`"), "{error}");
}

#[test]
fn nan_and_infinity_are_refused_by_name_and_place() {
    let folder = Folder::new();
    for (bad, format) in
        [(f32::NAN, Dtype::F32), (f32::NEG_INFINITY, Dtype::F32), (f32::NAN, Dtype::F16), (f32::INFINITY, Dtype::BF16)]
    {
        let mut bytes = stored(format);
        let width = bytes.len() / VALUES.len();
        let bad_bytes = match format {
            Dtype::F32 => bad.to_le_bytes().to_vec(),
            Dtype::F16 => f16::from_f32(bad).to_le_bytes().to_vec(),
            _ => bf16::from_f32(bad).to_le_bytes().to_vec(),
        };
        bytes[4 * width..5 * width].copy_from_slice(&bad_bytes);
        let path = folder.tensors("x.safetensors", &[("a.weight", format, &[2, 3], &bytes)]);
        let error = open(&path).unwrap().get("a.weight", &[2, 3]).unwrap_err();
        assert!(
            matches!(&error, Error::NotFinite { tensor, position: 4, value, .. } if tensor == "a.weight" && !value.is_finite()),
            "{error}"
        );
    }
    let tensor = Tensor::new(&[1.0_f32, f32::NAN], &Device::Cpu).unwrap();
    let weights = Weights::from_tensors("memory", HashMap::from([("a".to_owned(), tensor)]));
    assert!(matches!(weights.get("a", &[2]), Err(Error::NotFinite { position: 1, .. })));
}

#[test]
fn numbers_of_other_kinds_are_refused_when_asked_for() {
    let folder = Folder::new();
    let path = folder.tensors("x.safetensors", &[("a", Dtype::F8_E4M3, &[4], &[0; 4])]);
    let error = open(&path).unwrap().get("a", &[4]).unwrap_err();
    assert!(matches!(&error, Error::TensorFormat { found, .. } if found == "F8_E4M3"), "{error}");
}

fn damage(path: &Path) -> String {
    match open(path) {
        Err(Error::Damaged { problem, .. }) => problem,
        other => panic!("{other:?}"),
    }
}

#[test]
fn every_way_of_being_cut_short() {
    let folder = Folder::new();
    let whole =
        std::fs::read(folder.tensors("x.safetensors", &[("a", Dtype::F32, &[2, 3], &stored(Dtype::F32))])).unwrap();
    assert!(matches!(open(&folder.bytes("0", &[])), Err(Error::OtherFile { found, .. }) if found == "empty"));
    assert_eq!(damage(&folder.bytes("0", &[9])), "it has 1 bytes, too few for a safetensors file");
    for length in 1..whole.len() {
        damage(&folder.bytes("cut", &whole[..length]));
    }
    let problem = damage(&folder.bytes("cut", &whole[..whole.len() - 1]));
    assert!(problem.starts_with("it is cut short: tensor `a` ends at byte"), "{problem}");
}

#[test]
fn headers_that_lie() {
    let folder = Folder::new();
    let check = |header: &str, data_len: usize, expected: &str| {
        let problem = damage(&folder.header(header, data_len));
        assert!(problem.contains(expected), "{header}: {problem}");
    };
    check("[]", 0, "not a JSON object");
    check("{", 0, "not a JSON object");
    check(r#"{"a": 3}"#, 0, "entry for tensor `a` is malformed");
    check(r#"{"a": {"dtype": "F32", "shape": [-1], "data_offsets": [0, 4]}}"#, 4, "entry for tensor `a` is malformed");
    check(r#"{"a": {"dtype": "F32", "shape": [2], "data_offsets": [0, 4]}}"#, 4, "(F32, shape [2]) has 4 bytes");
    check(r#"{"a": {"dtype": "F32", "shape": [1], "data_offsets": [4, 0]}}"#, 4, "which is no range");
    check(
        r#"{"a": {"dtype": "F32", "shape": [1], "data_offsets": [18446744073709551612, 18446744073709551615]}}"#,
        4,
        "which is no range",
    );
    check(
        r#"{"a": {"dtype": "F32", "shape": [4294967296, 4294967296, 4], "data_offsets": [0, 0]}}"#,
        0,
        "impossible shape",
    );
    check(r#"{"a": {"dtype": "F32", "shape": [1], "data_offsets": [1000000, 1000004]}}"#, 4, "cut short");
    let overlap = r#"{"a": {"dtype": "F32", "shape": [1], "data_offsets": [0, 4]}, "b": {"dtype": "F32", "shape": [1], "data_offsets": [0, 4]}}"#;
    check(overlap, 4, "overlap");
}

#[test]
fn a_header_longer_than_any_file_is_not_believed() {
    let folder = Folder::new();
    let problem = damage(&folder.bytes("x", &u64::MAX.to_le_bytes()));
    assert!(problem.contains("this is not a safetensors file"), "{problem}");
    let mut short = 1000_u64.to_le_bytes().to_vec();
    short.extend_from_slice(b"{}");
    let problem = damage(&folder.bytes("x", &short));
    assert!(problem.contains("ends inside its header, after 10 of 1008 bytes"), "{problem}");
}

#[test]
fn a_header_has_so_many_tensors_of_so_many_axes() {
    let folder = Folder::new();
    let axes = r#"{"a": {"dtype": "F32", "shape": [1, 1, 1, 1, 1, 1, 1, 1, 1], "data_offsets": [0, 4]}}"#;
    let problem = damage(&folder.header(axes, 4));
    assert!(problem.contains("`a`") && problem.contains("more than 8 axes"), "{problem}");
    let entry = |number: usize| format!(r#""{number}": {{"dtype": "F32", "shape": [0], "data_offsets": [0, 0]}}"#);
    let entries = |count: usize| format!("{{{}}}", (0..count).map(entry).collect::<Vec<_>>().join(","));
    assert!(open(&folder.header(&entries(1 << 18), 0)).is_ok());
    let problem = damage(&folder.header(&entries((1 << 18) + 1), 0));
    assert!(problem.contains("more than 262144 tensors"), "{problem}");
}

#[test]
fn files_that_are_not_there_or_not_files() {
    let folder = Folder::new();
    assert!(matches!(open(&folder.0.path().join("none.safetensors")), Err(Error::NotFound { .. })));
    assert!(matches!(open(folder.0.path()), Err(Error::Read { .. } | Error::Damaged { .. })));
}
