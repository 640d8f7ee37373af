//! Reads the golden fixtures of `parity/` and compares with them; shared by the tests through `#[path]`.
#![allow(dead_code, unreachable_pub, reason = "each test file uses its own part")]
#![allow(clippy::unwrap_used, clippy::print_stdout, reason = "these are tests, and their figures are worth seeing")]

use std::collections::HashMap;
use std::path::{Path, PathBuf};

use candle_core::{DType, Device, Tensor};
use serde_json::Value;

/// `parity/fixtures/<relative>`.
pub fn fixture_path(relative: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../parity/fixtures").join(relative)
}

/// The folder of a tiny checkpoint: `sd1`, `sd2` or `small`.
pub fn model_folder(name: &str) -> PathBuf {
    fixture_path("models").join(name)
}

/// A `.json` fixture.
pub fn json(relative: &str) -> Value {
    let path = fixture_path(relative);
    let text = std::fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    serde_json::from_str(&text).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

/// The tensors of one `.safetensors` fixture and its header.
pub struct Fixture {
    path: PathBuf,
    tensors: HashMap<String, Tensor>,
    metadata: Value,
}

impl Fixture {
    /// Opens `parity/fixtures/<relative>`.
    pub fn open(relative: &str) -> Self {
        let path = fixture_path(relative);
        let bytes = std::fs::read(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
        let tensors = candle_core::safetensors::load_buffer(&bytes, &Device::Cpu).unwrap();
        // Eight bytes of length, then JSON: https://github.com/huggingface/safetensors#format
        let header_len = u64::from_le_bytes(bytes[..8].try_into().unwrap()) as usize;
        let mut header: Value = serde_json::from_slice(&bytes[8..8 + header_len]).unwrap();
        Self { path, tensors, metadata: header["__metadata__"].take() }
    }

    /// A tensor as it is in the file.
    pub fn get(&self, name: &str) -> Tensor {
        let found = self.tensors.get(name);
        found.unwrap_or_else(|| panic!("{} has no tensor `{name}`", self.path.display())).clone()
    }

    /// A tensor (B, C, H, W) of the file as (B, H, W, C).
    pub fn get_channels_last(&self, name: &str) -> Tensor {
        self.get(name).permute((0, 2, 3, 1)).unwrap().contiguous().unwrap()
    }

    /// A scalar of the file.
    pub fn scalar(&self, name: &str) -> f32 {
        self.get(name).flatten_all().unwrap().to_vec1::<f32>().unwrap()[0]
    }

    /// A value of the header that holds JSON.
    pub fn header(&self, key: &str) -> Value {
        let text = self.metadata[key].as_str();
        let text = text.unwrap_or_else(|| panic!("{} has no header `{key}`", self.path.display()));
        serde_json::from_str(text).unwrap()
    }

    /// The names that start with `prefix`, without it, sorted.
    pub fn names_after(&self, prefix: &str) -> Vec<String> {
        let mut names: Vec<String> =
            self.tensors.keys().filter_map(|name| name.strip_prefix(prefix)).map(str::to_owned).collect();
        names.sort();
        names
    }
}

/// The largest difference between two tensors, relative to the largest expected value, and where it is.
#[derive(Debug)]
pub struct Difference {
    pub relative: f64,
    pub absolute: f64,
    pub at: Vec<usize>,
    pub found: f64,
    pub expected: f64,
}

/// Compares two tensors of the same shape.
pub fn largest_difference(what: &str, found: &Tensor, expected: &Tensor) -> Difference {
    assert_eq!(found.dims(), expected.dims(), "{what}: shapes differ");
    let values = |x: &Tensor| x.to_dtype(DType::F64).unwrap().flatten_all().unwrap().to_vec1::<f64>().unwrap();
    let (found_values, expected_values) = (values(found), values(expected));
    let scale = expected_values.iter().fold(f64::MIN_POSITIVE, |largest, x| largest.max(x.abs()));
    let mut worst = 0;
    let distance = |i: usize| {
        let d = (found_values[i] - expected_values[i]).abs();
        if d.is_nan() { f64::INFINITY } else { d }
    };
    for i in 0..found_values.len() {
        if distance(i) > distance(worst) {
            worst = i;
        }
    }
    let mut at = Vec::new();
    let mut rest = worst;
    for &size in found.dims().iter().rev() {
        at.insert(0, rest % size);
        rest /= size;
    }
    Difference {
        relative: distance(worst) / scale,
        absolute: distance(worst),
        at,
        found: found_values[worst],
        expected: expected_values[worst],
    }
}

/// Fails, with the largest difference and where it is, if it is above `tolerance` times the largest expected value.
pub fn assert_close(what: &str, found: &Tensor, expected: &Tensor, tolerance: f64) {
    let difference = largest_difference(what, found, expected);
    println!("{what}: largest difference {:.2e} of the largest value", difference.relative);
    assert!(
        difference.relative <= tolerance,
        "{what} differs by more than {tolerance:e} of its largest value: {difference:?}"
    );
}
