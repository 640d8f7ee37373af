//! Reproducible random tensors and checkpoints, for tests of this crate and of those above it.

use std::collections::{BTreeMap, HashMap};
use std::sync::{Mutex, PoisonError};

use candle_core::{Device, Shape, Tensor};

use crate::Result;

/// Independent standard normals, f32; the same for the same seed everywhere.
///
/// # Errors
/// If the tensor library refuses the shape.
pub fn normal(seed: u64, shape: impl Into<Shape>) -> Result<Tensor> {
    let shape = shape.into();
    let mut random = SplitMix64(seed);
    let values: Vec<f32> = (0..shape.elem_count()).map(|_| random.normal()).collect();
    Ok(Tensor::from_vec(values, shape, &Device::Cpu)?)
}

/// Makes up every tensor that a network asks for, and remembers it: loading a network of any configuration from it yields a
/// checkpoint of that configuration. See [`Weights::random`](crate::Weights::random).
///
/// Matrices and kernels keep the variance of their input, norms and biases are not trivial, so that a forgotten one shows.
#[derive(Debug)]
pub(crate) struct MadeUp {
    seed: u64,
    tensors: Mutex<BTreeMap<String, Tensor>>,
}

impl MadeUp {
    pub(crate) fn new(seed: u64) -> Self {
        Self { seed, tensors: Mutex::default() }
    }

    /// The tensor of this full name.
    pub(crate) fn get(&self, name: &str, shape: &[usize]) -> Result<Tensor> {
        let mut tensors = self.tensors.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(tensor) = tensors.get(name).filter(|tensor| tensor.dims() == shape) {
            return Ok(tensor.clone());
        }
        let noise = normal(self.seed ^ hash(name), shape)?;
        let fan_in: usize = shape.iter().skip(1).product();
        let tensor = match shape.len() {
            1 if name.ends_with("weight") => ((noise * 0.2)? + 1.0)?,
            1 => (noise * 0.1)?,
            _ => (noise / (fan_in.max(1) as f64).sqrt())?,
        };
        tensors.insert(name.to_owned(), tensor.clone());
        Ok(tensor)
    }

    /// All tensors so far.
    pub(crate) fn made(&self) -> HashMap<String, Tensor> {
        let tensors = self.tensors.lock().unwrap_or_else(PoisonError::into_inner);
        tensors.iter().map(|(name, tensor)| (name.clone(), tensor.clone())).collect()
    }
}

/// FNV-1a, so that a tensor's values depend on its name and not on the order of loading.
fn hash(name: &str) -> u64 {
    name.bytes().fold(0xcbf2_9ce4_8422_2325, |hash, byte| (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3))
}

/// Vigna's generator: small, and good enough for test data.
struct SplitMix64(u64);

impl SplitMix64 {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let z = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// In 0..1, never 0.
    fn uniform(&mut self) -> f64 {
        ((self.next() >> 11) as f64 + 0.5) / (1_u64 << 53) as f64
    }

    fn normal(&mut self) -> f32 {
        let (u, v) = (self.uniform(), self.uniform());
        ((-2.0 * u.ln()).sqrt() * (std::f64::consts::TAU * v).cos()) as f32
    }
}
