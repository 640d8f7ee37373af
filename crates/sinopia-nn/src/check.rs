//! What the tests of all operations ask: is it close to its oracle, and is its gradient right wherever it stands in a graph?

use candle_core::{DType, Device, Tensor, Var};

use crate::error::Result;
use crate::vjp::vjp;

/// Normal-looking numbers, the same for the same seed: sums of uniform ones from a multiplicative generator.
pub(crate) fn noise(seed: u64, shape: &[usize]) -> Tensor {
    let mut state = seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1;
    let mut uniform = || {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (state >> 40) as f32 / (1_u32 << 24) as f32 - 0.5
    };
    let values: Vec<f32> = (0..shape.iter().product()).map(|_| uniform() + uniform() + uniform() + uniform()).collect();
    Tensor::from_vec(values, shape, &Device::Cpu).unwrap()
}

/// The nearest numbers that bf16 has: what is multiplied in bf16 is exact on these.
pub(crate) fn rounded(x: &Tensor) -> Tensor {
    x.to_dtype(DType::BF16).unwrap().to_dtype(DType::F32).unwrap()
}

/// Fails with the largest difference and its place if it exceeds `tolerance` times the largest expected magnitude (at least 1).
#[track_caller]
pub(crate) fn assert_close(found: &Tensor, expected: &Tensor, tolerance: f32) {
    assert_eq!(found.dims(), expected.dims());
    let list = |x: &Tensor| x.flatten_all().unwrap().to_vec1::<f32>().unwrap();
    let (found, expected) = (list(found), list(expected));
    let size = expected.iter().fold(1.0_f32, |size, x| size.max(x.abs()));
    for (place, (found, expected)) in found.iter().zip(&expected).enumerate() {
        let difference = (found - expected).abs();
        assert!(
            difference <= tolerance * size,
            "element {place}: found {found}, expected {expected}, largest magnitude {size}"
        );
    }
}

/// Fails if the distance from `expected` exceeds `tolerance` times its length.
#[track_caller]
pub(crate) fn assert_near(found: &Tensor, expected: &Tensor, tolerance: f32) {
    assert_eq!(found.dims(), expected.dims());
    let length = |x: &Tensor| x.sqr().unwrap().sum_all().unwrap().to_scalar::<f32>().unwrap().sqrt();
    let (error, length) = (length(&(found - expected).unwrap()), length(expected));
    assert!(error <= tolerance * length, "{:?}: off by {error} of {length}", found.dims());
}

/// Checks the gradient of `fast` in three ways: against the composed `oracle` with random cotangents, against central
/// differences of the oracle in f32, and within a graph that uses each input a second time.
#[track_caller]
pub(crate) fn assert_gradient(
    inputs: &[Tensor],
    fast: impl Fn(&[Tensor]) -> Result<Tensor>,
    oracle: impl Fn(&[Tensor]) -> Result<Tensor>,
    tolerance: f32,
) {
    let output = oracle(inputs).unwrap();
    assert_close(&fast(inputs).unwrap(), &output, tolerance);
    let cotangent = noise(77, output.dims());
    let pull =
        |f: &dyn Fn(&[Tensor]) -> Result<Tensor>| vjp(inputs, |x| Ok(vec![f(x)?]), &[Some(cotangent.clone())]).unwrap();
    let (found, expected) = (pull(&fast), pull(&oracle));
    for (found, expected) in found.iter().zip(&expected) {
        assert_close(found, expected, tolerance);
    }
    assert_directional_derivative(inputs, &fast, &cotangent, &found);
    assert_gradient_in_a_larger_graph(inputs, &fast, &cotangent, &found, tolerance);
}

/// `Σ ⟨gradient, direction⟩` against `(f(x + h·direction) − f(x − h·direction)) / 2h`, summed in f64.
#[track_caller]
fn assert_directional_derivative(
    inputs: &[Tensor],
    f: &dyn Fn(&[Tensor]) -> Result<Tensor>,
    cotangent: &Tensor,
    gradients: &[Tensor],
) {
    const STEP: f64 = 1e-2;
    let dot = |a: &Tensor, b: &Tensor| {
        let (a, b) = (a.to_dtype(DType::F64).unwrap(), b.to_dtype(DType::F64).unwrap());
        (a * b).unwrap().sum_all().unwrap().to_scalar::<f64>().unwrap()
    };
    let directions: Vec<Tensor> = (0..).zip(inputs).map(|(i, x)| noise(100 + i, x.dims())).collect();
    let moved = |step: f64| {
        let inputs: Vec<Tensor> =
            inputs.iter().zip(&directions).map(|(x, direction)| (x + (direction * step).unwrap()).unwrap()).collect();
        dot(&f(&inputs).unwrap(), cotangent)
    };
    let expected = (moved(STEP) - moved(-STEP)) / (2.0 * STEP);
    let terms = gradients.iter().zip(&directions).map(|(gradient, direction)| dot(gradient, direction));
    let found: f64 = terms.sum();
    let length: f64 = gradients.iter().map(|gradient| dot(gradient, gradient)).sum::<f64>().sqrt();
    assert!(
        (found - expected).abs() <= 2e-3 * (1.0 + length),
        "directional derivative: found {found}, expected {expected} (gradient's length {length})"
    );
}

/// In `L = ⟨cotangent, f(2·x)⟩ + Σ x²` each input is used twice, by `f` behind another operation, and none is a leaf.
#[track_caller]
fn assert_gradient_in_a_larger_graph(
    inputs: &[Tensor],
    f: &dyn Fn(&[Tensor]) -> Result<Tensor>,
    cotangent: &Tensor,
    gradients: &[Tensor],
    tolerance: f32,
) {
    let halves: Vec<Var> = inputs.iter().map(|x| Var::from_tensor(&(x * 0.5).unwrap()).unwrap()).collect();
    let doubled: Vec<Tensor> = halves.iter().map(|x| (x.as_tensor() * 2.0).unwrap()).collect();
    let mut loss = (f(&doubled).unwrap() * cotangent).unwrap().sum_all().unwrap();
    for x in &halves {
        loss = (loss + x.as_tensor().sqr().unwrap().sum_all().unwrap()).unwrap();
    }
    let found = loss.backward().unwrap();
    for ((half, x), gradient) in halves.iter().zip(inputs).zip(gradients) {
        // ∂L/∂x = 2 · ∂f + 2 · x/2
        let expected = ((gradient * 2.0).unwrap() + x).unwrap();
        assert_close(found.get(half).expect("a gradient was cut"), &expected, tolerance);
    }
}
