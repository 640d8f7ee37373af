//! Fully connected layers with frozen weights.

use candle_core::{DType, Shape, Tensor};

use crate::cpu::elements::{Elements, Kernel1, apply1, tensor};
use crate::cpu::matrix::{Matrix, MatrixMut, Store, Threads, multiply};
use crate::cpu::split::for_rows_mut;
use crate::error::{Error, Result, expect_f32};
use crate::frozen::{frozen, frozen_vector, with_input_gradient};

const OP: &str = "linear";

/// `y = x · Wᵀ + b` over the last axis; the weight is kept as checkpoints have it, (out, in).
///
/// The gradient of the input is `∂x = ∂y · W`; weight and bias never get one.
#[derive(Debug, Clone)]
pub struct Linear {
    /// (out, in), in the precision it came in.
    weight: Tensor,
    /// (out) f32.
    bias: Option<Tensor>,
    in_features: usize,
    out_features: usize,
}

impl Linear {
    /// A layer from its weight (out, in) in f32, f16 or bf16 and an optional bias (out).
    ///
    /// Half-precision weights stay at half the size in memory and are widened when used.
    ///
    /// # Errors
    /// [`Error::Shape`] if the weight is no matrix or the bias does not fit it.
    pub fn new(weight: &Tensor, bias: Option<&Tensor>) -> Result<Self> {
        let &[out_features, in_features] = weight.dims() else {
            return Err(Error::shape(OP, "weight", "[out, in]", weight));
        };
        Ok(Self {
            weight: frozen(OP, "weight", weight)?,
            bias: bias.map(|bias| frozen_vector(OP, "bias", bias, out_features)).transpose()?,
            in_features,
            out_features,
        })
    }

    /// The size of the input's last axis.
    pub fn in_features(&self) -> usize {
        self.in_features
    }

    /// The size of the output's last axis.
    pub fn out_features(&self) -> usize {
        self.out_features
    }

    /// Applies the layer: (…, in) f32 to (…, out).
    ///
    /// # Errors
    /// [`Error::Shape`] if the last axis of `x` is not `in`.
    pub fn forward(&self, x: &Tensor) -> Result<Tensor> {
        expect_f32(OP, "input", x)?;
        if x.dims().last() != Some(&self.in_features) {
            let expected = format!("[…, {}]", self.in_features);
            return Err(Error::shape(OP, "input", expected, x));
        }
        if x.device().is_cpu() {
            return Ok(apply1(self.clone(), x)?);
        }
        self.forward_composed(x)
    }

    /// The layer in the tensor library's own operations, for devices other than the CPU.
    fn forward_composed(&self, x: &Tensor) -> Result<Tensor> {
        let y = plain(&x.detach(), &self.weight, self.bias.as_ref())?;
        let weight = self.weight.clone();
        with_input_gradient(OP, x, y, move |grad| plain(grad, &weight.t()?, None))
    }
}

/// `x · Wᵀ + b` composed from the tensor library's operations.
fn plain(x: &Tensor, weight: &Tensor, bias: Option<&Tensor>) -> Result<Tensor> {
    let (out_features, in_features) = weight.dims2()?;
    let mut shape = x.dims().to_vec();
    shape.pop();
    shape.push(out_features);
    let rows = x.reshape(((), in_features))?;
    let y = rows.matmul(&weight.to_dtype(DType::F32)?.t()?)?;
    let y = match bias {
        Some(bias) => y.broadcast_add(bias)?,
        None => y,
    };
    Ok(y.reshape(shape)?)
}

/// Half-precision weights are widened this many elements at a time.
const WIDENED_ELEMENTS: usize = 1 << 21;

impl Linear {
    /// Calls `f(first_output, weight)` for blocks of rows of the weight, as f32.
    fn for_weight_blocks(&self, mut f: impl FnMut(usize, Matrix<'_>)) -> candle_core::Result<()> {
        let weight = Elements::of(&self.weight)?;
        let block = match weight.is_half()? {
            true => (WIDENED_ELEMENTS / self.in_features.max(1)).max(1),
            false => self.out_features.max(1),
        };
        for first in (0..self.out_features).step_by(block) {
            let rows = block.min(self.out_features - first);
            let part = first * self.in_features..(first + rows) * self.in_features;
            f(first, Matrix::new(&weight.widened(part)?, rows, self.in_features));
        }
        Ok(())
    }
}

impl Kernel1 for Linear {
    const NAME: &'static str = OP;

    fn forward(&self, x: &[f32], shape: &Shape) -> candle_core::Result<(Vec<f32>, Shape)> {
        let rows = shape.elem_count() / self.in_features.max(1);
        let mut y = vec![0.0; rows * self.out_features];
        let store = match &self.bias {
            Some(bias) => {
                let bias = Elements::of(bias)?;
                fill_rows(&mut y, bias.f32()?);
                Store::Add
            }
            None => Store::Replace,
        };
        let x = Matrix::new(x, rows, self.in_features);
        self.for_weight_blocks(|first, weight| {
            let columns = &mut y[first.min(rows * first)..];
            let y = MatrixMut::strided(columns, rows, weight.rows(), self.out_features);
            multiply(y, store, 1.0, x, weight.transposed(), Threads::All);
        })?;
        let mut dims = shape.dims().to_vec();
        dims.pop();
        dims.push(self.out_features);
        Ok((y, dims.into()))
    }

    fn backward(&self, x: &Tensor, _: &Tensor, grad: &Tensor) -> candle_core::Result<Tensor> {
        let grad = Elements::of(grad)?;
        let grad = grad.f32()?;
        let rows = grad.len() / self.out_features.max(1);
        let mut grad_x = vec![0.0; rows * self.in_features];
        self.for_weight_blocks(|first, weight| {
            let columns = &grad[first.min(rows * first)..];
            let grad = Matrix::strided(columns, rows, weight.rows(), self.out_features);
            let grad_x = MatrixMut::new(&mut grad_x, rows, self.in_features);
            multiply(grad_x, Store::Add, 1.0, grad, weight, Threads::All);
        })?;
        tensor(grad_x, x.shape())
    }
}

/// Copies `row` into every row of `out`.
pub(crate) fn fill_rows(out: &mut [f32], row: &[f32]) {
    for_rows_mut(out, row.len(), |_, rows| {
        for out in rows.chunks_exact_mut(row.len()) {
            out.copy_from_slice(row);
        }
    });
}

#[cfg(test)]
mod tests {
    use candle_core::{DType, Device, Tensor};

    use super::{Linear, plain};
    use crate::check::{assert_close, assert_gradient, noise};
    use crate::error::Error;

    fn layer(out: usize, inputs: usize, dtype: DType, bias: bool) -> Linear {
        let weight = noise(1, &[out, inputs]).to_dtype(dtype).unwrap();
        let bias = bias.then(|| noise(2, &[out]));
        Linear::new(&weight, bias.as_ref()).unwrap()
    }

    #[test]
    fn fast_equals_plain_on_odd_sizes() {
        for (rows, inputs, out) in [(1, 1, 1), (1, 7, 5), (2, 320, 64), (5, 3, 130), (77, 67, 33), (513, 96, 129)] {
            for (dtype, bias) in [(DType::F32, true), (DType::F32, false), (DType::BF16, true), (DType::F16, false)] {
                let layer = layer(out, inputs, dtype, bias);
                let x = noise(3, &[rows, inputs]);
                let expected = plain(&x, &layer.weight, layer.bias.as_ref()).unwrap();
                assert_close(&layer.forward(&x).unwrap(), &expected, 2e-6);
            }
        }
    }

    #[test]
    fn half_weights_are_widened_in_blocks_without_a_difference() {
        // 2 100 × 1 003 elements are more than one block.
        let half = noise(1, &[2100, 1003]).to_dtype(DType::BF16).unwrap();
        let wide = half.to_dtype(DType::F32).unwrap();
        let (half, wide) = (Linear::new(&half, None).unwrap(), Linear::new(&wide, None).unwrap());
        assert_eq!(half.weight.dtype(), DType::BF16);
        let x = noise(2, &[3, 1003]);
        assert_close(&half.forward(&x).unwrap(), &wide.forward(&x).unwrap(), 1e-6);
        assert_gradient(&[x], |x| half.forward(&x[0]), |x| wide.forward_composed(&x[0]), 1e-5);
    }

    #[test]
    fn gradient_matches_plain_and_finite_differences() {
        for dtype in [DType::F32, DType::BF16] {
            let layer = layer(5, 7, dtype, true);
            let x = noise(3, &[2, 3, 7]);
            let oracle = |x: &[Tensor]| plain(&x[0], &layer.weight, layer.bias.as_ref());
            assert_gradient(std::slice::from_ref(&x), |x| layer.forward(&x[0]), oracle, 1e-5);
            assert_gradient(&[x], |x| layer.forward_composed(&x[0]), oracle, 1e-5);
        }
    }

    #[test]
    fn transposed_inputs_are_taken_as_they_look() {
        let layer = layer(4, 6, DType::F32, true);
        let x = noise(3, &[2, 6, 5]).transpose(1, 2).unwrap();
        let expected = layer.forward(&x.contiguous().unwrap()).unwrap();
        assert_close(&layer.forward(&x).unwrap(), &expected, 0.0);
        assert_gradient(&[x], |x| layer.forward(&x[0]), |x| layer.forward_composed(&x[0]), 1e-5);
    }

    #[test]
    fn no_rows_are_no_problem() {
        let layer = layer(4, 6, DType::BF16, true);
        let x = Tensor::zeros((0, 6), DType::F32, &Device::Cpu).unwrap();
        assert_eq!(layer.forward(&x).unwrap().dims(), [0, 4]);
    }

    #[test]
    fn wrong_shapes_are_named() {
        let layer = layer(4, 6, DType::F32, true);
        let error = layer.forward(&noise(1, &[2, 5])).unwrap_err();
        assert_eq!(error.to_string(), "linear: input has shape [2, 5], expected […, 6]");
        assert!(matches!(Linear::new(&noise(1, &[3]), None), Err(Error::Shape { .. })));
        let bias = noise(1, &[3]);
        let error = Linear::new(&noise(1, &[4, 6]), Some(&bias)).unwrap_err();
        assert_eq!(error.to_string(), "linear: bias has shape [3], expected [4]");
        let doubles = noise(1, &[2, 6]).to_dtype(DType::F64).unwrap();
        assert!(matches!(layer.forward(&doubles), Err(Error::DType { .. })));
    }
}
