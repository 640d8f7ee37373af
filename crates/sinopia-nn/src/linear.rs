//! Fully connected layers with frozen weights.

use candle_core::{DType, Shape, Tensor};

use crate::arithmetic::Arithmetic;
use crate::cpu::bf16::{Activations, Start, Unpacked, product};
use crate::cpu::elements::{Argument, Elements, Kernel1, Kernel2, apply1, apply2, tensor};
use crate::cpu::matrix::{Matrix, MatrixMut, Store, Threads, multiply};
use crate::cpu::split::for_rows_mut;
use crate::error::{Error, Result, expect_f32};
use crate::frozen::{FrozenMatrix, frozen, frozen_vector, with_input_gradient};

const OP: &str = "linear";

/// `y = x · Wᵀ + b` over the last axis; the weight is kept as checkpoints have it, (out, in).
///
/// The gradient of the input is `∂x = ∂y · W`; weight and bias never get one.
#[derive(Debug, Clone)]
pub struct Linear {
    weight: FrozenMatrix,
    /// (out) f32.
    bias: Option<Tensor>,
    in_features: usize,
    out_features: usize,
}

impl Linear {
    /// A layer from its weight (out, in) in f32, f16 or bf16 and an optional bias (out).
    ///
    /// f32 and f16 weights are multiplied in f32, f16 at half the size in memory. With bf16 weights on the CPU inputs, too, are rounded to
    /// bf16, and so are gradients on their way back; sums are f32. That is about twice as fast where the processor has the instructions.
    ///
    /// # Errors
    /// [`Error::Shape`] if the weight is no matrix or the bias does not fit it.
    pub fn new(weight: &Tensor, bias: Option<&Tensor>) -> Result<Self> {
        let &[out_features, in_features] = weight.dims() else {
            return Err(Error::shape(OP, "weight", "[out, in]", weight));
        };
        Ok(Self {
            weight: FrozenMatrix::new(frozen(OP, "weight", weight)?, |bits| Unpacked {
                bits,
                taps: 1,
                channels: in_features,
                columns: out_features,
                tap_stride: 0,
                channel_stride: 1,
            })?,
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

    /// How the layer multiplies.
    pub fn arithmetic(&self) -> Arithmetic {
        match self.weight {
            FrozenMatrix::Tensor(_) => Arithmetic::F32,
            FrozenMatrix::Packed(_) => Arithmetic::Bf16,
        }
    }

    /// Applies the layer: (…, in) f32 to (…, out).
    ///
    /// # Errors
    /// [`Error::Shape`] if the last axis of `x` is not `in`.
    pub fn forward(&self, x: &Tensor) -> Result<Tensor> {
        self.check(x)?;
        if x.device().is_cpu() {
            return Ok(apply1(self.clone(), x)?);
        }
        self.forward_composed(x)
    }

    /// `base + layer(x)`: the end of a residual branch, `base` being (…, out) like the result.
    ///
    /// # Errors
    /// As [`Self::forward`], and [`Error::Shape`] if `base` does not have the result's shape.
    pub fn forward_onto(&self, x: &Tensor, base: &Tensor) -> Result<Tensor> {
        expect_f32(OP, "base", base)?;
        let mut dims = x.dims().to_vec();
        if let Some(last) = dims.last_mut() {
            *last = self.out_features;
        }
        if base.dims() != dims {
            return Err(Error::shape(OP, "base", format!("{dims:?}"), base));
        }
        self.check(x)?;
        match x.device().is_cpu() {
            true => Ok(apply2(Onto(self.clone()), x, base)?),
            false => Ok((self.forward_composed(x)? + base)?),
        }
    }

    fn check(&self, x: &Tensor) -> Result<()> {
        expect_f32(OP, "input", x)?;
        if x.dims().last() != Some(&self.in_features) {
            return Err(Error::shape(OP, "input", format!("[…, {}]", self.in_features), x));
        }
        Ok(())
    }

    /// The layer in the tensor library's own operations, for devices other than the CPU.
    fn forward_composed(&self, x: &Tensor) -> Result<Tensor> {
        let weight = self.weight.tensor()?.clone();
        let y = plain(&x.detach(), &weight, self.bias.as_ref())?;
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
    fn for_weight_blocks(&self, weight: &Tensor, mut f: impl FnMut(usize, Matrix<'_>)) -> candle_core::Result<()> {
        let weight = Elements::of(weight)?;
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

impl Linear {
    /// The layer's result for rows of `in` elements, added to `base` if there is one.
    fn product(&self, x: &[f32], base: Option<&[f32]>) -> candle_core::Result<Vec<f32>> {
        let rows = x.len() / self.in_features.max(1);
        let bias = self.bias.as_ref().map(Elements::of).transpose()?;
        let bias = bias.as_ref().map(Elements::f32).transpose()?;
        let weight = match &self.weight {
            FrozenMatrix::Tensor(weight) => weight,
            FrozenMatrix::Packed(weight) => {
                let start = match (base, bias) {
                    (Some(base), bias) => Start::Base(base, bias),
                    (None, Some(bias)) => Start::Bias(bias),
                    (None, None) => Start::Zero,
                };
                return Ok(product(start, rows, &Activations { elements: x, width: self.in_features }, &**weight));
            }
        };
        let (mut y, store) = started(rows, self.out_features, base, bias);
        let x = Matrix::new(x, rows, self.in_features);
        self.for_weight_blocks(weight, |first, weight| {
            let columns = &mut y[first.min(rows * first)..];
            let y = MatrixMut::strided(columns, rows, weight.rows(), self.out_features);
            multiply(y, store, 1.0, x, weight.transposed(), Threads::All);
        })?;
        Ok(y)
    }
}

/// What a product (rows, width) is added to: a base, a bias in every row, both or neither.
pub(crate) fn started(rows: usize, width: usize, base: Option<&[f32]>, bias: Option<&[f32]>) -> (Vec<f32>, Store) {
    match (base, bias) {
        (None, None) => (vec![0.0; rows * width], Store::Replace),
        (None, Some(bias)) => {
            let mut y = vec![0.0; rows * width];
            fill_rows(&mut y, bias);
            (y, Store::Add)
        }
        (Some(base), bias) => {
            let mut y = base.to_vec();
            if let Some(bias) = bias {
                add_rows(&mut y, bias);
            }
            (y, Store::Add)
        }
    }
}

impl Kernel1 for Linear {
    const NAME: &'static str = OP;

    fn forward(&self, x: &[f32], shape: &Shape) -> candle_core::Result<(Vec<f32>, Shape)> {
        let mut dims = shape.dims().to_vec();
        dims.pop();
        dims.push(self.out_features);
        Ok((self.product(x, None)?, dims.into()))
    }

    fn backward(&self, x: &Tensor, _: &Tensor, grad: &Tensor) -> candle_core::Result<Tensor> {
        let grad = Elements::of(grad)?;
        let grad = grad.f32()?;
        let rows = grad.len() / self.out_features.max(1);
        let weight = match &self.weight {
            FrozenMatrix::Tensor(weight) => weight,
            FrozenMatrix::Packed(weight) => {
                let grad = Activations { elements: grad, width: self.out_features };
                return tensor(product(Start::Zero, rows, &grad, &weight.transposed()), x.shape());
            }
        };
        let mut grad_x = vec![0.0; rows * self.in_features];
        self.for_weight_blocks(weight, |first, weight| {
            let columns = &grad[first.min(rows * first)..];
            let grad = Matrix::strided(columns, rows, weight.rows(), self.out_features);
            let grad_x = MatrixMut::new(&mut grad_x, rows, self.in_features);
            multiply(grad_x, Store::Add, 1.0, grad, weight, Threads::All);
        })?;
        tensor(grad_x, x.shape())
    }
}

/// [`Linear::forward_onto`].
struct Onto(Linear);

impl Kernel2 for Onto {
    const NAME: &'static str = OP;

    fn forward(&self, x: Argument, base: Argument) -> candle_core::Result<(Vec<f32>, Shape)> {
        Ok((self.0.product(x.elements, Some(base.elements))?, base.shape.clone()))
    }

    fn backward(&self, [x, base]: [&Tensor; 2], y: &Tensor, grad: &Tensor) -> candle_core::Result<[Option<Tensor>; 2]> {
        let grad_x = x.track_op().then(|| self.0.backward(x, y, grad)).transpose()?;
        Ok([grad_x, base.track_op().then(|| grad.clone())])
    }
}

/// Copies `row` into every row of `out`.
fn fill_rows(out: &mut [f32], row: &[f32]) {
    for_rows_mut(out, row.len(), |_, rows| {
        for out in rows.chunks_exact_mut(row.len()) {
            out.copy_from_slice(row);
        }
    });
}

/// Adds `row` to every row of `out`.
fn add_rows(out: &mut [f32], row: &[f32]) {
    for_rows_mut(out, row.len(), |_, rows| {
        for out in rows.chunks_exact_mut(row.len()) {
            for (out, x) in out.iter_mut().zip(row) {
                *out += x;
            }
        }
    });
}

#[cfg(test)]
mod tests {
    use candle_core::{DType, Device, Tensor};

    use super::{Linear, plain};
    use crate::check::{assert_close, assert_gradient, noise, rounded};
    use crate::error::Error;
    use crate::vjp;

    fn weights(out: usize, inputs: usize, dtype: DType, bias: bool) -> (Tensor, Option<Tensor>) {
        (noise(1, &[out, inputs]).to_dtype(dtype).unwrap(), bias.then(|| noise(2, &[out])))
    }

    fn layer(out: usize, inputs: usize, dtype: DType, bias: bool) -> Linear {
        let (weight, bias) = weights(out, inputs, dtype, bias);
        Linear::new(&weight, bias.as_ref()).unwrap()
    }

    #[test]
    fn fast_equals_plain_on_odd_sizes() {
        let sizes = [(1, 1, 1), (1, 7, 5), (2, 320, 64), (5, 3, 130), (77, 67, 33), (513, 96, 129), (1900, 1203, 40)];
        for (rows, inputs, out) in sizes {
            for (dtype, bias) in [(DType::F32, true), (DType::F32, false), (DType::BF16, true), (DType::F16, false)] {
                let (weight, bias) = weights(out, inputs, dtype, bias);
                let layer = Linear::new(&weight, bias.as_ref()).unwrap();
                let x = rounded(&noise(3, &[rows, inputs]));
                let expected = plain(&x, &weight, bias.as_ref()).unwrap();
                assert_close(&layer.forward(&x).unwrap(), &expected, 3e-6);
            }
        }
    }

    #[test]
    fn half_weights_are_widened_in_blocks_without_a_difference() {
        // 2 100 × 1 003 elements are more than one block.
        let half = noise(1, &[2100, 1003]).to_dtype(DType::F16).unwrap();
        let wide = half.to_dtype(DType::F32).unwrap();
        let (half, wide) = (Linear::new(&half, None).unwrap(), Linear::new(&wide, None).unwrap());
        assert_eq!(half.weight.tensor().unwrap().dtype(), DType::F16);
        let x = noise(2, &[3, 1003]);
        assert_close(&half.forward(&x).unwrap(), &wide.forward(&x).unwrap(), 1e-6);
        assert_gradient(&[x], |x| half.forward(&x[0]), |x| wide.forward_composed(&x[0]), 1e-5);
    }

    #[test]
    fn gradient_matches_plain_and_finite_differences() {
        for dtype in [DType::F32, DType::F16] {
            let (weight, bias) = weights(5, 7, dtype, true);
            let layer = Linear::new(&weight, bias.as_ref()).unwrap();
            let x = noise(3, &[2, 3, 7]);
            let oracle = |x: &[Tensor]| plain(&x[0], &weight, bias.as_ref());
            assert_gradient(std::slice::from_ref(&x), |x| layer.forward(&x[0]), oracle, 1e-5);
            assert_gradient(&[x], |x| layer.forward_composed(&x[0]), oracle, 1e-5);
        }
    }

    #[test]
    fn gradients_of_bf16_layers_are_those_of_f32_for_rounded_cotangents() {
        for (rows, inputs, out) in [(1, 1, 1), (6, 7, 5), (300, 130, 67), (40, 33, 1100)] {
            let (weight, _) = weights(out, inputs, DType::BF16, false);
            let layer = Linear::new(&weight, None).unwrap();
            let (x, cotangent) = (noise(3, &[rows, inputs]), rounded(&noise(4, &[rows, out])));
            let found = vjp(&[x], |x| Ok(vec![layer.forward(&x[0])?]), &[Some(cotangent.clone())]).unwrap();
            let expected = cotangent.matmul(&weight.to_dtype(DType::F32).unwrap()).unwrap();
            assert_close(&found[0], &expected, 3e-6);
        }
    }

    #[test]
    fn onto_adds_its_base_and_hands_it_its_gradient() {
        for dtype in [DType::F32, DType::BF16] {
            for bias in [true, false] {
                let layer = layer(35, 70, dtype, bias);
                let (x, base) = (noise(3, &[2, 9, 70]), noise(4, &[2, 9, 35]));
                let composed = |x: &[Tensor]| Ok(vec![(layer.forward(&x[0])? + &x[1])?]);
                let onto = |x: &[Tensor]| Ok(vec![layer.forward_onto(&x[0], &x[1])?]);
                let inputs = [x, base];
                assert_close(&onto(&inputs).unwrap()[0], &composed(&inputs).unwrap()[0], 1e-6);
                let cotangent = [Some(noise(5, &[2, 9, 35]))];
                let (found, expected) = (vjp(&inputs, onto, &cotangent), vjp(&inputs, composed, &cotangent));
                for (found, expected) in found.unwrap().iter().zip(&expected.unwrap()) {
                    assert_close(found, expected, 1e-6);
                }
            }
        }
        let error = layer(3, 4, DType::BF16, true).forward_onto(&noise(1, &[2, 4]), &noise(1, &[2, 4])).unwrap_err();
        assert_eq!(error.to_string(), "linear: base has shape [2, 4], expected [2, 3]");
    }

    #[test]
    fn inputs_of_bf16_layers_are_rounded() {
        let layer = layer(40, 70, DType::BF16, true);
        let x = noise(3, &[9, 70]);
        assert_close(&layer.forward(&x).unwrap(), &layer.forward(&rounded(&x)).unwrap(), 0.0);
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
