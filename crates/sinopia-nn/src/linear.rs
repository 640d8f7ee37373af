//! Fully connected layers with frozen weights.

use std::sync::Arc;

use candle_core::{DType, Shape, Tensor};

use crate::SharedBytes;
use crate::arithmetic::Arithmetic;
use crate::cpu::bf16::{self, Activations};
use crate::cpu::elements::{Argument, Elements, Kernel1, Kernel2, apply1, apply2, tensor};
use crate::cpu::f32::{self, Strided};
use crate::cpu::int8;
use crate::cpu::start::Start;
use crate::error::{Error, Result, expect_f32};
use crate::frozen::{FrozenMatrix, frozen, frozen_vector, with_input_gradient};
use crate::packed::{PackedWeight, Sizes};
use crate::quantized::Quantized;

const OP: &str = "linear";

/// The sizes (out, in) of a weight. Without inputs, rows of the input could not be counted.
fn sizes(shape: &[usize]) -> Result<[usize; 2]> {
    match *shape {
        [out_features, in_features] if in_features > 0 => Ok([out_features, in_features]),
        _ => {
            let (expected, found) = ("[out, in], in at least 1".to_owned(), shape.to_vec());
            Err(Error::Shape { op: OP, what: "weight", expected, found })
        }
    }
}

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
    /// f32 and f16 weights are multiplied in f32, and keep their size in memory. With bf16 weights on a CPU that multiplies bf16 inputs, too,
    /// are rounded to bf16, and so are gradients on their way back; sums are f32. That is about twice as fast. Elsewhere they are multiplied as
    /// f16 ones.
    ///
    /// # Errors
    /// [`Error::Shape`] if the weight is no matrix, has no inputs, or the bias does not fit it.
    pub fn new(weight: &Tensor, bias: Option<&Tensor>) -> Result<Self> {
        let [out_features, in_features] = sizes(weight.dims())?;
        Ok(Self {
            weight: FrozenMatrix::new(
                frozen(OP, "weight", weight)?,
                Sizes { taps: 1, channels: in_features, columns: out_features },
            )?,
            bias: bias.map(|bias| frozen_vector(OP, "bias", bias, out_features)).transpose()?,
            in_features,
            out_features,
        })
    }

    /// The same layer from its weight as [`packed`](Self::packed) told it, (out, in), used where it lies.
    ///
    /// # Errors
    /// [`Error::Packed`] if the weight is not that of such a layer, [`Error::Shape`] if the bias does not fit it.
    pub fn from_packed(weight: PackedWeight<SharedBytes>, shape: [usize; 2], bias: Option<&Tensor>) -> Result<Self> {
        let [out_features, in_features] = sizes(&shape)?;
        let sizes = Sizes { taps: 1, channels: in_features, columns: out_features };
        Ok(Self {
            weight: FrozenMatrix::from_packed(weight, sizes)?,
            bias: bias.map(|bias| frozen_vector(OP, "bias", bias, out_features)).transpose()?,
            in_features,
            out_features,
        })
    }

    /// A layer that multiplies in 8 bits ([`Arithmetic::Int8`]), from a weight as in [`Self::new`] on the CPU. Its own rounding is by far the
    /// largest of a network's, so that layers at a network's ends are better left to [`Self::new`].
    ///
    /// # Errors
    /// As [`Self::new`], and [`Error::Option`] for a weight on another device or of more than 65 536 input features.
    pub fn int8(weight: &Tensor, bias: Option<&Tensor>) -> Result<Self> {
        let [out_features, in_features] = sizes(weight.dims())?;
        Ok(Self {
            weight: FrozenMatrix::int8(OP, weight)?,
            bias: bias.map(|bias| frozen_vector(OP, "bias", bias, out_features)).transpose()?,
            in_features,
            out_features,
        })
    }

    /// A layer from its weight (out, in) in blocks, which stay where they are, and an optional bias (out). It runs on the CPU alone, and multiplies
    /// in bf16 where the processor has the instructions, in f32 elsewhere.
    ///
    /// # Errors
    /// As [`Linear::new`].
    pub fn from_quantized(weight: &Quantized, bias: Option<&Tensor>) -> Result<Self> {
        let [out_features, in_features] = sizes(weight.shape())?;
        Ok(Self {
            weight: FrozenMatrix::Quantized(Arc::new(weight.clone())),
            bias: bias.map(|bias| frozen_vector(OP, "bias", bias, out_features)).transpose()?,
            in_features,
            out_features,
        })
    }

    /// The layer with ordinary weights instead of its own, for one application.
    fn dequantised(&self, weight: &Quantized) -> candle_core::Result<Self> {
        let weight = Self::new(&weight.for_products()?, None).map_err(candle_core::Error::wrap)?.weight;
        Ok(Self { weight, ..self.clone() })
    }

    /// The weight as the kernel reads it; nothing if it is multiplied as it came.
    pub fn packed(&self) -> Option<PackedWeight<&[u8]>> {
        self.weight.packed()
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
        match &self.weight {
            FrozenMatrix::Quantized(weight) => weight.arithmetic(),
            FrozenMatrix::Tensor(_) | FrozenMatrix::Packed32(_) => Arithmetic::F32,
            FrozenMatrix::Packed16(_) => Arithmetic::Bf16,
            FrozenMatrix::Int8(_) => Arithmetic::Int8,
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
        composed(x, self.weight.tensor()?, self.bias.as_ref())
    }
}

/// The layer with its gradient, composed from the tensor library's operations.
fn composed(x: &Tensor, weight: &Tensor, bias: Option<&Tensor>) -> Result<Tensor> {
    let y = plain(&x.detach(), weight, bias)?;
    let turned = weight.t()?;
    with_input_gradient(OP, x, y, move |grad| plain(grad, &turned, None))
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

impl Linear {
    /// The layer's result for rows of `in` elements, added to `base` if there is one.
    fn product(&self, x: &[f32], base: Option<&[f32]>) -> candle_core::Result<Vec<f32>> {
        let width = self.in_features;
        let rows = x.len() / width;
        let bias = self.bias.as_ref().map(Elements::of).transpose()?;
        let start = Start::new(base, bias.as_ref().map(Elements::f32).transpose()?);
        Ok(match &self.weight {
            FrozenMatrix::Tensor(_) => candle_core::bail!("{OP}: weight and input are on different devices"),
            FrozenMatrix::Packed16(weight) => {
                bf16::product(start, rows, &Activations { elements: x, width }, &**weight)
            }
            FrozenMatrix::Packed32(weight) => f32::product(start, rows, &Strided::dense(x, width), &**weight),
            FrozenMatrix::Quantized(weight) => self.dequantised(weight)?.product(x, base)?,
            FrozenMatrix::Int8(weight) => int8::product(start, &int8::Tokens { elements: x, width }, weight),
        })
    }
}

impl Linear {
    /// The gradient of `x`.
    fn gradient(&self, x: &Tensor, grad_y: &Tensor) -> candle_core::Result<Tensor> {
        let grad = Elements::of(grad_y)?;
        let (grad, width) = (grad.f32()?, self.out_features);
        let rows = x.elem_count() / self.in_features;
        let grad_x = match &self.weight {
            FrozenMatrix::Tensor(_) => candle_core::bail!("{OP}: weight and input are on different devices"),
            FrozenMatrix::Quantized(weight) => return self.dequantised(weight)?.gradient(x, grad_y),
            FrozenMatrix::Packed16(weight) => {
                bf16::product(Start::Zero, rows, &Activations { elements: grad, width }, &weight.transposed())
            }
            FrozenMatrix::Packed32(weight) => {
                f32::product(Start::Zero, rows, &Strided::dense(grad, width), &weight.transposed())
            }
            FrozenMatrix::Int8(weight) => int8::gradient_of_tokens(weight, grad),
        };
        tensor(grad_x, x.shape())
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
        self.gradient(x, grad)
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

#[cfg(test)]
mod tests {
    use candle_core::{DType, Device, Tensor};

    use super::{Linear, composed, plain};
    use crate::arithmetic::Arithmetic;
    use crate::check::{assert_close, assert_gradient, assert_near, noise, rounded};
    use crate::error::Error;
    use crate::frozen::{FrozenMatrix, multiplies_bf16};
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
    fn half_weights_stay_half_and_give_what_their_widened_copies_give() {
        for dtype in [DType::F16, DType::BF16] {
            let half = noise(1, &[210, 1003]).to_dtype(dtype).unwrap();
            let wide = half.to_dtype(DType::F32).unwrap();
            let (half, wide) = (Linear::new(&half, None).unwrap(), Linear::new(&wide, None).unwrap());
            let FrozenMatrix::Packed32(packed) = &half.weight else {
                assert!(dtype == DType::BF16 && multiplies_bf16());
                continue;
            };
            assert_eq!(packed.element_size(), 2);
            let x = noise(2, &[3, 1003]);
            assert_close(&half.forward(&x).unwrap(), &wide.forward(&x).unwrap(), 0.0);
            assert_gradient(&[x], |x| half.forward(&x[0]), |x| wide.forward(&x[0]), 0.0);
        }
    }

    #[test]
    fn gradient_matches_plain_and_finite_differences() {
        for dtype in [DType::F32, DType::F16] {
            let (weight, bias) = weights(5, 7, dtype, true);
            let layer = Linear::new(&weight, bias.as_ref()).unwrap();
            let x = noise(3, &[2, 3, 7]);
            let oracle = |x: &[Tensor]| plain(&x[0], &weight, bias.as_ref());
            assert_gradient(std::slice::from_ref(&x), |x| layer.forward(&x[0]), oracle, 1e-5);
            assert_gradient(&[x], |x| composed(&x[0], &weight, bias.as_ref()), oracle, 1e-5);
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
        for dtype in [Some(DType::F32), Some(DType::BF16), None] {
            for bias in [true, false] {
                let layer = match dtype {
                    Some(dtype) => layer(35, 70, dtype, bias),
                    None => {
                        let (weight, bias) = weights(35, 70, DType::F32, bias);
                        Linear::int8(&weight, bias.as_ref()).unwrap()
                    }
                };
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
    fn inputs_of_bf16_layers_are_rounded_where_bf16_is_multiplied() {
        let layer = layer(40, 70, DType::BF16, true);
        let x = noise(3, &[9, 70]);
        let (y, of_rounded) = (layer.forward(&x).unwrap(), layer.forward(&rounded(&x)).unwrap());
        let difference = (y - of_rounded).unwrap().abs().unwrap().max_all().unwrap().to_scalar::<f32>().unwrap();
        assert_eq!(difference == 0.0, multiplies_bf16());
    }

    #[test]
    fn layers_of_8_bits_are_near_f32_forward_and_backward() {
        for (rows, inputs, out) in [(1, 320, 64), (77, 67, 33), (513, 96, 129), (40, 1203, 40)] {
            let (weight, bias) = weights(out, inputs, DType::F16, true);
            let (layer, wide) = (
                Linear::int8(&weight, bias.as_ref()).unwrap(),
                Linear::new(&weight.to_dtype(DType::F32).unwrap(), bias.as_ref()).unwrap(),
            );
            assert_eq!((layer.arithmetic(), wide.arithmetic()), (Arithmetic::Int8, Arithmetic::F32));
            let x = noise(3, &[rows, inputs]);
            assert_near(&layer.forward(&x).unwrap(), &wide.forward(&x).unwrap(), 0.012);
            let cotangent = Some(noise(4, &[rows, out]));
            let pull = |layer: &Linear| {
                let run = |x: &[Tensor]| Ok(vec![layer.forward(&x[0])?]);
                vjp(std::slice::from_ref(&x), run, std::slice::from_ref(&cotangent)).unwrap()
            };
            assert_near(&pull(&layer)[0], &pull(&wide)[0], 0.012);
        }
    }

    #[test]
    fn weights_that_8_bits_cannot_sum_are_refused() {
        let error = Linear::int8(&noise(1, &[1, 65_537]), None).unwrap_err();
        assert_eq!(error.to_string(), "linear: length of an 8-bit sum is 65537, expected at most 65536");
        assert!(matches!(Linear::int8(&noise(1, &[3]), None), Err(Error::Shape { .. })));
    }

    #[test]
    fn weights_without_inputs_are_refused() {
        for layer in [Linear::new, Linear::int8] {
            let error = layer(&Tensor::zeros((3, 0), DType::F32, &Device::Cpu).unwrap(), None).unwrap_err();
            assert_eq!(error.to_string(), "linear: weight has shape [3, 0], expected [out, in], in at least 1");
        }
    }

    #[test]
    fn transposed_inputs_are_taken_as_they_look() {
        let layer = layer(4, 6, DType::F32, true);
        let x = noise(3, &[2, 6, 5]).transpose(1, 2).unwrap();
        let expected = layer.forward(&x.contiguous().unwrap()).unwrap();
        assert_close(&layer.forward(&x).unwrap(), &expected, 0.0);
        let (weight, bias) = weights(4, 6, DType::F32, true);
        assert_gradient(&[x], |x| layer.forward(&x[0]), |x| composed(&x[0], &weight, bias.as_ref()), 1e-5);
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
