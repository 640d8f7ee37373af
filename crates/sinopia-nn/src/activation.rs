//! Activation functions, element by element.

use std::f32::consts::{FRAC_1_SQRT_2, FRAC_2_SQRT_PI};
use std::mem::MaybeUninit;

use candle_core::{D, Shape, Tensor};

use crate::cpu::elements::{Elements, Kernel1, apply1, tensor, written};
use crate::cpu::isa::for_each_isa;
use crate::cpu::numeric::{erf, exp, sigmoid};
use crate::cpu::split::for_rows_mut;
use crate::error::{Error, Result, expect_f32};

/// The factor in [`quick_gelu`], fitted to GELU.
const QUICK_GELU_SLOPE: f32 = 1.702;

/// `silu(x) = x · σ(x)`, also called swish.
///
/// # Errors
/// [`Error::DType`] if `x` is not f32.
pub fn silu(x: &Tensor) -> Result<Tensor> {
    expect_f32("silu", "input", x)?;
    if x.device().is_cpu() {
        return Ok(apply1(Elementwise::Silu, x)?);
    }
    Ok(x.silu()?)
}

/// `gelu(x) = x · Φ(x)` with the exact normal distribution function, not its tanh approximation.
///
/// # Errors
/// [`Error::DType`] if `x` is not f32.
pub fn gelu(x: &Tensor) -> Result<Tensor> {
    expect_f32("gelu", "input", x)?;
    if x.device().is_cpu() {
        return Ok(apply1(Elementwise::Gelu, x)?);
    }
    Ok(x.gelu_erf()?)
}

/// `quick_gelu(x) = x · σ(1.702 x)`: what CLIP's first text encoder was trained with.
///
/// # Errors
/// [`Error::DType`] if `x` is not f32.
pub fn quick_gelu(x: &Tensor) -> Result<Tensor> {
    expect_f32("quick_gelu", "input", x)?;
    if x.device().is_cpu() {
        return Ok(apply1(Elementwise::QuickGelu, x)?);
    }
    plain_quick_gelu(x)
}

/// Composed from the tensor library's operations.
fn plain_quick_gelu(x: &Tensor) -> Result<Tensor> {
    let slope = f64::from(QUICK_GELU_SLOPE);
    Ok(((x * slope)?.silu()? / slope)?)
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
    if x.device().is_cpu() {
        return Ok(apply1(Geglu, x)?);
    }
    plain_geglu(x)
}

/// Composed from the tensor library's operations.
fn plain_geglu(x: &Tensor) -> Result<Tensor> {
    let halves = x.chunk(2, D::Minus1)?;
    Ok((&halves[0] * halves[1].gelu_erf()?)?)
}

/// The functions of one element as CPU operations.
#[derive(Debug, Clone, Copy)]
enum Elementwise {
    Silu,
    Gelu,
    QuickGelu,
}

impl Kernel1 for Elementwise {
    const NAME: &'static str = "activation";

    fn forward(&self, x: &[f32], shape: &Shape) -> candle_core::Result<(Vec<f32>, Shape)> {
        let y = match self {
            Self::Silu => apply(x, |x| x * sigmoid(x)),
            Self::Gelu => apply(x, |x| x * normal_cdf(x)),
            Self::QuickGelu => apply(x, |x| x * sigmoid(QUICK_GELU_SLOPE * x)),
        };
        Ok((y, shape.clone()))
    }

    fn backward(&self, x: &Tensor, _: &Tensor, grad: &Tensor) -> candle_core::Result<Tensor> {
        let (x_in, grad) = (Elements::of(x)?, Elements::of(grad)?);
        let (x_in, grad) = (x_in.f32()?, grad.f32()?);
        let grad_x = match self {
            Self::Silu => apply_gradient(x_in, grad, |x| silu_slope(x, 1.0)),
            Self::Gelu => apply_gradient(x_in, grad, gelu_slope),
            Self::QuickGelu => apply_gradient(x_in, grad, |x| silu_slope(x, QUICK_GELU_SLOPE)),
        };
        tensor(grad_x, x.shape())
    }
}

/// `f` of each element.
fn apply(x: &[f32], f: impl Fn(f32) -> f32 + Send + Sync) -> Vec<f32> {
    let mut y = vec![0.0; x.len()];
    for_rows_mut(&mut y, 1, |first, y| {
        for (y, &x) in y.iter_mut().zip(&x[first..]) {
            *y = f(x);
        }
    });
    y
}

/// `∂x = ∂y · slope(x)`.
fn apply_gradient(x: &[f32], grad: &[f32], slope: impl Fn(f32) -> f32 + Send + Sync) -> Vec<f32> {
    let mut grad_x = vec![0.0; x.len()];
    for_rows_mut(&mut grad_x, 1, |first, grad_x| {
        for ((grad_x, &x), grad) in grad_x.iter_mut().zip(&x[first..]).zip(&grad[first..]) {
            *grad_x = grad * slope(x);
        }
    });
    grad_x
}

/// The normal distribution function.
#[inline(always)]
fn normal_cdf(x: f32) -> f32 {
    0.5 * (1.0 + erf(x * FRAC_1_SQRT_2))
}

/// The derivative of `x · Φ(x)`: `Φ(x) + x · e^(−x²/2) / √2π`.
#[inline(always)]
fn gelu_slope(x: f32) -> f32 {
    const DENSITY_AT_0: f32 = 0.5 * FRAC_1_SQRT_2 * FRAC_2_SQRT_PI;
    normal_cdf(x) + x * exp(-0.5 * x * x) * DENSITY_AT_0
}

/// The derivative of `x · σ(ax)`: `σ(ax) · (1 + ax · (1 − σ(ax)))`.
#[inline(always)]
fn silu_slope(x: f32, a: f32) -> f32 {
    let s = sigmoid(a * x);
    s * (1.0 + a * x * (1.0 - s))
}

/// [`geglu`] as a CPU operation.
struct Geglu;

impl Kernel1 for Geglu {
    const NAME: &'static str = "geglu";

    #[expect(unsafe_code, reason = "a result that is written once")]
    fn forward(&self, x: &[f32], shape: &Shape) -> candle_core::Result<(Vec<f32>, Shape)> {
        let mut dims = shape.dims().to_vec();
        let width = dims.pop().unwrap_or(0) / 2;
        dims.push(width);
        let write = |y: &mut [MaybeUninit<f32>]| {
            for_rows_mut(y, width, |first, y| {
                for (row, y) in (first..).zip(y.chunks_exact_mut(width)) {
                    geglu_row(&x[2 * row * width..][..2 * width], y);
                }
            });
        };
        // SAFETY: rows of `width` are all of the result, and each is written whole.
        let y = unsafe { written(x.len() / 2, write) };
        Ok((y, dims.into()))
    }

    fn backward(&self, x: &Tensor, _: &Tensor, grad: &Tensor) -> candle_core::Result<Tensor> {
        let width = grad.dim(D::Minus1)?;
        let (x_in, grad) = (Elements::of(x)?, Elements::of(grad)?);
        let (x_in, grad) = (x_in.f32()?, grad.f32()?);
        let mut grad_x = vec![0.0; x_in.len()];
        for_rows_mut(&mut grad_x, 2 * width, |first, grad_x| {
            for (row, grad_x) in (first..).zip(grad_x.chunks_exact_mut(2 * width)) {
                geglu_row_gradient(&x_in[2 * row * width..][..2 * width], &grad[row * width..][..width], grad_x);
            }
        });
        tensor(grad_x, x.shape())
    }
}

for_each_isa! {
    /// One row of [`geglu`].
    fn geglu_row(x: &[f32], y: &mut [MaybeUninit<f32>]) {
        let (value, gate) = x.split_at(y.len());
        for ((y, value), &gate) in y.iter_mut().zip(value).zip(gate) {
            y.write(value * (gate * normal_cdf(gate)));
        }
    }
}

for_each_isa! {
    /// The gradient of one row of [`geglu`].
    fn geglu_row_gradient(x: &[f32], grad: &[f32], grad_x: &mut [f32]) {
        let (value, gate) = x.split_at(grad.len());
        let (grad_value, grad_gate) = grad_x.split_at_mut(grad.len());
        for ((grad_value, grad), &gate) in grad_value.iter_mut().zip(grad).zip(gate) {
            *grad_value = grad * (gate * normal_cdf(gate));
        }
        for (((grad_gate, grad), value), &gate) in grad_gate.iter_mut().zip(grad).zip(value).zip(gate) {
            *grad_gate = grad * value * gelu_slope(gate);
        }
    }
}

#[cfg(test)]
mod tests {
    use candle_core::{Device, Tensor};

    use super::{geglu, gelu, plain_geglu, plain_quick_gelu, quick_gelu, silu};
    use crate::check::{assert_close, assert_gradient, noise};
    use crate::error::Result;

    type Function = fn(&Tensor) -> Result<Tensor>;

    /// Each function with its composition.
    const FUNCTIONS: [(Function, Function); 3] =
        [(silu, |x| Ok(x.silu()?)), (gelu, |x| Ok(x.gelu_erf()?)), (quick_gelu, plain_quick_gelu)];

    #[test]
    fn fast_equals_plain_and_so_do_gradients() {
        for (fast, plain) in FUNCTIONS {
            for shape in [&[1][..], &[3, 5], &[2, 3, 7, 11], &[41, 1001]] {
                let x = (noise(1, shape) * 3.0).unwrap();
                assert_gradient(&[x], |x| fast(&x[0]), |x| plain(&x[0]), 1e-5);
            }
        }
    }

    #[test]
    fn far_from_zero_they_are_zero_or_the_identity() {
        let x = Tensor::new(&[-1e4_f32, -100.0, -20.0, 20.0, 100.0, 1e4], &Device::Cpu).unwrap();
        let expected = Tensor::new(&[0.0_f32, 0.0, 0.0, 20.0, 100.0, 1e4], &Device::Cpu).unwrap();
        let slopes = Tensor::new(&[0.0_f32, 0.0, 0.0, 1.0, 1.0, 1.0], &Device::Cpu).unwrap();
        for (fast, _) in FUNCTIONS {
            let difference = (fast(&x).unwrap() - &expected).unwrap().abs().unwrap();
            let worst = difference.max(0).unwrap().to_scalar::<f32>().unwrap();
            assert!(worst < 1e-5, "{worst}");
            let ones = Some(x.ones_like().unwrap());
            let found = crate::vjp(std::slice::from_ref(&x), |x| Ok(vec![fast(&x[0])?]), &[ones]).unwrap();
            assert_close(&found[0], &slopes, 1e-5);
        }
    }

    #[test]
    fn geglu_gates_the_first_half_by_the_second() {
        let x = Tensor::new(&[[2.0_f32, 3.0, 100.0, -100.0]], &Device::Cpu).unwrap();
        assert_eq!(geglu(&x).unwrap().to_vec2::<f32>().unwrap()[0][0], 200.0);
        assert_eq!(geglu(&x).unwrap().to_vec2::<f32>().unwrap()[0][1].abs(), 0.0);
        for shape in [&[2][..], &[3, 10], &[2, 5, 14], &[2, 3, 4, 6], &[77, 1002]] {
            let x = (noise(1, shape) * 2.0).unwrap();
            assert_close(&geglu(&x).unwrap(), &plain_geglu(&x).unwrap(), 2e-6);
            assert_gradient(&[x], |x| geglu(&x[0]), |x| plain_geglu(&x[0]), 1e-5);
        }
        let error = geglu(&noise(1, &[2, 3])).unwrap_err();
        assert_eq!(error.to_string(), "geglu: input has shape [2, 3], expected […, 2F]");
    }
}
