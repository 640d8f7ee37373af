//! Activation functions, element by element.

use candle_core::{D, Tensor};

use crate::error::{Error, Result, expect_f32};

/// `silu(x) = x · σ(x)`, also called swish.
///
/// # Errors
/// [`Error::DType`] if `x` is not f32.
pub fn silu(x: &Tensor) -> Result<Tensor> {
    expect_f32("silu", "input", x)?;
    Ok(x.silu()?)
}

/// `gelu(x) = x · Φ(x)` with the exact normal distribution function, not its tanh approximation.
///
/// # Errors
/// [`Error::DType`] if `x` is not f32.
pub fn gelu(x: &Tensor) -> Result<Tensor> {
    expect_f32("gelu", "input", x)?;
    Ok(x.gelu_erf()?)
}

/// `quick_gelu(x) = x · σ(1.702 x)`: what CLIP's first text encoder was trained with.
///
/// # Errors
/// [`Error::DType`] if `x` is not f32.
pub fn quick_gelu(x: &Tensor) -> Result<Tensor> {
    const SLOPE: f64 = 1.702;
    expect_f32("quick_gelu", "input", x)?;
    Ok(((x * SLOPE)?.silu()? / SLOPE)?)
}

/// `geglu([a, g]) = a · gelu(g)`: the last axis is cut in half, (…, 2F) to (…, F), value first and gate second, as in diffusers.
///
/// # Errors
/// [`Error::Shape`] if the last axis is odd.
pub fn geglu(x: &Tensor) -> Result<Tensor> {
    expect_f32("geglu", "input", x)?;
    match x.dims().last() {
        Some(width) if width % 2 == 0 => {}
        _ => return Err(Error::shape("geglu", "input", "[…, 2F]", x)),
    }
    let halves = x.chunk(2, D::Minus1)?;
    Ok((&halves[0] * halves[1].gelu_erf()?)?)
}
