//! Two-dimensional convolution over channels-last images with frozen weights.

use std::ops::Range;
use std::sync::Arc;

use candle_core::{DType, Shape, Tensor};

use crate::SharedBytes;
use crate::arithmetic::Arithmetic;
use crate::cpu::bf16::{self, Activations, round_to_bf16};
use crate::cpu::elements::{Argument, Elements, Kernel1, Kernel2, apply1, apply2, tensor};
use crate::cpu::f32::{self, Strided};
use crate::cpu::int8;
use crate::cpu::start::Start;
use crate::cpu::winograd::{Images, Turn};
use crate::error::{Error, Result, expect_f32};
use crate::frozen::{FrozenMatrix, frozen, frozen_vector, multiplies_bf16, with_input_gradient};
use crate::packed::{PackedWeight, Sizes};
use crate::quantized::Quantized;

const OP: &str = "conv2d";

/// Rows and columns of zeros around an image, side by side: the VAE encoder pads only right and bottom.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Padding {
    /// Rows above.
    pub top: usize,
    /// Columns to the left.
    pub left: usize,
    /// Rows below.
    pub bottom: usize,
    /// Columns to the right.
    pub right: usize,
}

impl Padding {
    /// The same number of zeros on every side.
    pub const fn same(size: usize) -> Self {
        Self { top: size, left: size, bottom: size, right: size }
    }
}

/// How a kernel moves over the image.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Conv2dOptions {
    /// Pixels between two outputs, at least 1.
    pub stride: usize,
    /// Zeros around the image.
    pub padding: Padding,
}

impl Default for Conv2dOptions {
    /// Stride 1, no padding: what a 1×1 convolution wants.
    fn default() -> Self {
        Self { stride: 1, padding: Padding::default() }
    }
}

impl Conv2dOptions {
    fn check(self) -> Result<()> {
        match self.stride {
            0 => {
                Err(Error::Option { op: OP, what: "stride", expected: "at least 1".to_owned(), found: "0".to_owned() })
            }
            _ => Ok(()),
        }
    }
}

/// `y[b, i, j, o] = bias[o] + Σ_{u,v,c} w[o, c, u, v] · x[b, i·stride + u − top, j·stride + v − left, c]`, zero outside the image.
///
/// The gradient goes to the input only: `∂x` is the scatter of `∂y · w` to the pixels that each window read.
#[derive(Debug, Clone)]
pub struct Conv2d {
    /// Packed as (kh·kw·in, out): a window of a channels-last image is a row of its product with this.
    weight: FrozenMatrix,
    /// (out) f32.
    bias: Option<Tensor>,
    options: Conv2dOptions,
    kernel: (usize, usize),
    in_channels: usize,
    out_channels: usize,
}

/// Packs a weight in checkpoint order (out, in, kh, kw).
fn packed_windows(weight: &Tensor) -> Result<FrozenMatrix> {
    let (columns, channels, kh, kw) = weight.dims4()?;
    let taps = kh * kw;
    let weight = frozen(OP, "weight", weight)?;
    FrozenMatrix::new(weight, Sizes { taps, channels, columns })
}

impl Conv2d {
    /// A layer from its weight in checkpoint order (out, in, kh, kw), f32, f16 or bf16, and an optional bias (out).
    ///
    /// # Errors
    /// [`Error::Shape`] if the weight has not four axes or the bias does not fit it, [`Error::Option`] for a stride of 0.
    pub fn new(weight: &Tensor, bias: Option<&Tensor>, options: Conv2dOptions) -> Result<Self> {
        Self::with_matrix(weight, bias, options, packed_windows)
    }

    /// A layer that multiplies in 8 bits ([`Arithmetic::Int8`](crate::Arithmetic::Int8)), from a weight as in [`Self::new`] on the CPU. Where four
    /// products of bytes are not one instruction, 3×3 kernels that move pixel by pixel are widened and multiplied in f32, which takes less time there.
    ///
    /// # Errors
    /// As [`Self::new`], and [`Error::Option`] for a weight on another device or windows of more than 65 536 elements.
    pub fn int8(weight: &Tensor, bias: Option<&Tensor>, options: Conv2dOptions) -> Result<Self> {
        Self::with_matrix(weight, bias, options, |weight| FrozenMatrix::int8(OP, weight))
    }

    fn with_matrix(
        weight: &Tensor,
        bias: Option<&Tensor>,
        options: Conv2dOptions,
        pack: impl FnOnce(&Tensor) -> Result<FrozenMatrix>,
    ) -> Result<Self> {
        let &[out_channels, in_channels, kh, kw] = weight.dims() else {
            return Err(Error::shape(OP, "weight", "[out, in, kh, kw]", weight));
        };
        options.check()?;
        Self::of_matrix(pack(weight)?, [out_channels, in_channels, kh, kw], bias, options)
    }

    /// The same layer from its weight as [`packed`](Self::packed) told it, (out, in, kh, kw), used where it lies.
    ///
    /// # Errors
    /// [`Error::Packed`] if the weight is not that of such a layer; as [`new`](Self::new) for bias and stride.
    pub fn from_packed(
        weight: PackedWeight<SharedBytes>,
        shape: [usize; 4],
        bias: Option<&Tensor>,
        options: Conv2dOptions,
    ) -> Result<Self> {
        options.check()?;
        let [columns, channels, kh, kw] = shape;
        let matrix = FrozenMatrix::from_packed(weight, Sizes { taps: kh * kw, channels, columns })?;
        Self::of_matrix(matrix, shape, bias, options)
    }

    fn of_matrix(
        weight: FrozenMatrix,
        [out_channels, in_channels, kh, kw]: [usize; 4],
        bias: Option<&Tensor>,
        options: Conv2dOptions,
    ) -> Result<Self> {
        Ok(Self {
            weight,
            bias: bias.map(|bias| frozen_vector(OP, "bias", bias, out_channels)).transpose()?,
            options,
            kernel: (kh, kw),
            in_channels,
            out_channels,
        })
    }

    /// A layer from its weight (out, in, kh, kw) in blocks, which stay where they are, and an optional bias (out). It runs on the CPU alone, and
    /// multiplies as [`Linear::from_quantized`](crate::Linear::from_quantized) does.
    ///
    /// # Errors
    /// As [`Conv2d::new`].
    pub fn from_quantized(weight: &Quantized, bias: Option<&Tensor>, options: Conv2dOptions) -> Result<Self> {
        let &[out_channels, in_channels, kh, kw] = weight.shape() else {
            let found = weight.shape().to_vec();
            return Err(Error::Shape { op: OP, what: "weight", expected: "[out, in, kh, kw]".to_owned(), found });
        };
        options.check()?;
        let blocks = FrozenMatrix::Quantized(Arc::new(weight.clone()));
        Self::of_matrix(blocks, [out_channels, in_channels, kh, kw], bias, options)
    }

    /// The layer with ordinary weights instead of its own, for one application.
    fn dequantised(&self, weight: &Quantized) -> candle_core::Result<Self> {
        let weight = packed_windows(&weight.for_products()?).map_err(candle_core::Error::wrap)?;
        Ok(Self { weight, ..self.clone() })
    }

    /// The weight as the kernel reads it; nothing if it is multiplied as it came.
    pub fn packed(&self) -> Option<PackedWeight<&[u8]>> {
        self.weight.packed()
    }

    /// The size of the input's last axis.
    pub fn in_channels(&self) -> usize {
        self.in_channels
    }

    /// The size of the output's last axis.
    pub fn out_channels(&self) -> usize {
        self.out_channels
    }

    /// How the layer multiplies.
    pub fn arithmetic(&self) -> Arithmetic {
        match &self.weight {
            FrozenMatrix::Tensor(_) | FrozenMatrix::Packed32(_) => Arithmetic::F32,
            FrozenMatrix::Packed16(_) => Arithmetic::Bf16,
            FrozenMatrix::Int8(_) => Arithmetic::Int8,
            FrozenMatrix::Quantized(weight) => weight.arithmetic(),
        }
    }

    /// Applies the layer: (B, H, W, in) f32 to (B, H', W', out), `H' = ⌊(H + top + bottom − kh) / stride⌋ + 1`.
    ///
    /// # Errors
    /// [`Error::Shape`] if `x` has not four axes, not `in` channels, or is smaller than the kernel.
    pub fn forward(&self, x: &Tensor) -> Result<Tensor> {
        self.check(x)?;
        if x.device().is_cpu() {
            return Ok(apply1(self.clone(), x)?);
        }
        self.forward_composed(x)
    }

    /// [`Self::forward`] with `shift` (out) added to the bias: how a residual block is told the noise level. `shift` gets no gradient.
    ///
    /// # Errors
    /// As [`Self::forward`], and [`Error::Shape`] if there is not one shift for each output channel.
    pub fn forward_shifted(&self, x: &Tensor, shift: &Tensor) -> Result<Tensor> {
        let shift = frozen_vector(OP, "shift", shift, self.out_channels)?;
        let bias = match &self.bias {
            Some(bias) => (bias + shift)?,
            None => shift,
        };
        Self { bias: Some(bias), ..self.clone() }.forward(x)
    }

    /// `base + layer(x)`: the end of a residual branch, `base` being (B, H', W', out) like the result.
    ///
    /// # Errors
    /// As [`Self::forward`], and [`Error::Shape`] if `base` does not have the result's shape.
    pub fn forward_onto(&self, x: &Tensor, base: &Tensor) -> Result<Tensor> {
        self.check(x)?;
        expect_f32(OP, "base", base)?;
        let (b, h, w, _) = x.dims4()?;
        let geometry = self.geometry(h, w);
        let dims = [b, geometry.out_h, geometry.out_w, self.out_channels];
        if base.dims() != dims {
            return Err(Error::shape(OP, "base", format!("{dims:?}"), base));
        }
        match x.device().is_cpu() {
            true => Ok(apply2(Onto(self.clone()), x, base)?),
            false => Ok((self.forward_composed(x)? + base)?),
        }
    }

    fn check(&self, x: &Tensor) -> Result<()> {
        expect_f32(OP, "input", x)?;
        let (kh, kw) = self.kernel;
        let Padding { top, left, bottom, right } = self.options.padding;
        match *x.dims() {
            [_, h, w, c] if c == self.in_channels && h + top + bottom >= kh && w + left + right >= kw => Ok(()),
            _ => {
                let expected = format!("[B, H, W, {}] of at least {kh}×{kw} pixels", self.in_channels);
                Err(Error::shape(OP, "input", expected, x))
            }
        }
    }

    /// The layer in the tensor library's own operations, for devices other than the CPU.
    fn forward_composed(&self, x: &Tensor) -> Result<Tensor> {
        self.composed(x, self.weight.tensor()?)
    }

    /// The layer of another weight, in checkpoint order, with its gradient.
    fn composed(&self, x: &Tensor, weight: &Tensor) -> Result<Tensor> {
        let weight = weight.to_dtype(DType::F32)?;
        let y = self.plain(&x.detach(), &weight)?;
        let (layer, (_, h, w, _)) = (self.clone(), x.dims4()?);
        with_input_gradient(OP, x, y, move |grad| layer.plain_backward(grad, &weight, h, w))
    }

    /// Composed from the tensor library's operations, which want the channels before the rows.
    fn plain(&self, x: &Tensor, weight: &Tensor) -> Result<Tensor> {
        let Padding { top, left, bottom, right } = self.options.padding;
        let x_nchw =
            x.permute((0, 3, 1, 2))?.contiguous()?.pad_with_zeros(2, top, bottom)?.pad_with_zeros(3, left, right)?;
        let y_nchw = x_nchw.conv2d(weight, 0, self.options.stride, 1, 1)?;
        let y = y_nchw.permute((0, 2, 3, 1))?.contiguous()?;
        Ok(match &self.bias {
            Some(bias) => y.broadcast_add(bias)?,
            None => y,
        })
    }

    /// The gradient of an input of h × w pixels, composed from the tensor library's operations.
    fn plain_backward(&self, grad: &Tensor, weight: &Tensor, h: usize, w: usize) -> Result<Tensor> {
        let Padding { top, left, bottom, right } = self.options.padding;
        let (stride, (kh, kw)) = (self.options.stride, self.kernel);
        let (padded_h, padded_w) = (h + top + bottom, w + left + right);
        let (_, grad_h, grad_w, _) = grad.dims4()?;
        let grad_nchw = grad.permute((0, 3, 1, 2))?.contiguous()?;
        let padded = grad_nchw.conv_transpose2d(weight, 0, 0, stride, 1)?;
        // Pixels that no window reached, at the far edges, when the stride does not divide the size.
        let padded = padded.pad_with_zeros(2, 0, padded_h - ((grad_h - 1) * stride + kh))?.pad_with_zeros(
            3,
            0,
            padded_w - ((grad_w - 1) * stride + kw),
        )?;
        Ok(padded.narrow(2, top, h)?.narrow(3, left, w)?.permute((0, 2, 3, 1))?.contiguous()?)
    }
}

/// The sizes of one application of a layer.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Geometry {
    /// Input pixels, channels.
    pub(crate) h: usize,
    pub(crate) w: usize,
    pub(crate) c: usize,
    /// Output pixels.
    pub(crate) out_h: usize,
    pub(crate) out_w: usize,
    /// Kernel, stride and leading padding.
    pub(crate) kh: usize,
    pub(crate) kw: usize,
    pub(crate) stride: usize,
    pub(crate) top: usize,
    pub(crate) left: usize,
}

/// What a convolution is to its product.
#[derive(Debug, Clone, Copy)]
enum Form<const SIDE: usize> {
    /// The image as it lies.
    Rows,
    /// A row for each window.
    Windows,
    /// Tiles of 3×3 kernels, transformed.
    Tiles(Images<SIDE>),
}

impl Geometry {
    /// Elements of a window: kh·kw·C.
    fn window(&self) -> usize {
        self.kh * self.kw * self.c
    }

    /// Does the product read the image as it is?
    fn is_pointwise(&self) -> bool {
        self.window() == self.c && self.stride == 1 && (self.out_h, self.out_w) == (self.h, self.w)
    }

    /// How to multiply a batch in f32. It depends on sizes alone.
    fn f32_form(&self, b: usize) -> Form<4> {
        self.form(b, |images: &f32::Images| images.gain_by_tiles(self.c))
    }

    /// The same in bf16, to so many channels.
    fn bf16_form(&self, b: usize, out_channels: usize) -> Form<2> {
        self.form(b, |images: &bf16::Images| images.gain_by_tiles(self.c, out_channels))
    }

    fn form<const SIDE: usize>(&self, b: usize, gain_by_tiles: impl Fn(&Images<SIDE>) -> bool) -> Form<SIDE> {
        let Self { h, w, out_h, out_w, kh, kw, stride, top, left, .. } = *self;
        let images = Images { b, h, w };
        let fits = (kh, kw, stride, top, left) == (3, 3, 1, 1, 1) && (out_h, out_w) == (h, w);
        match self.is_pointwise() {
            true => Form::Rows,
            false if fits && gain_by_tiles(&images) => Form::Tiles(images),
            false => Form::Windows,
        }
    }

    /// The columns of the kernel that lie on the image at output column `x`, and the image's column under the first.
    pub(crate) fn columns_on_image(&self, x: usize) -> (Range<usize>, usize) {
        let first = self.left.saturating_sub(x * self.stride);
        let end = (self.w + self.left).saturating_sub(x * self.stride).min(self.kw);
        if first >= end {
            return (0..0, 0);
        }
        (first..end, x * self.stride + first - self.left)
    }

    /// The image's row under row `u` of the kernel at output row `y`, if it is on the image.
    pub(crate) fn row_on_image(&self, y: usize, u: usize) -> Option<usize> {
        (y * self.stride + u).checked_sub(self.top).filter(|&row| row < self.h)
    }

    /// Image, row and column of an output pixel counted over the batch.
    pub(crate) fn place(&self, pixel: usize) -> (usize, usize, usize) {
        let row = pixel / self.out_w;
        (row / self.out_h, row % self.out_h, pixel % self.out_w)
    }
}

impl Conv2d {
    /// The sizes for an image of `h` × `w` pixels that [`Self::forward`] has accepted.
    fn geometry(&self, h: usize, w: usize) -> Geometry {
        let (Conv2dOptions { stride, padding }, (kh, kw)) = (self.options, self.kernel);
        Geometry {
            h,
            w,
            c: self.in_channels,
            out_h: (h + padding.top + padding.bottom - kh) / stride + 1,
            out_w: (w + padding.left + padding.right - kw) / stride + 1,
            kh,
            kw,
            stride,
            top: padding.top,
            left: padding.left,
        }
    }

    /// The layer applied to images, and added to `base` if there is one.
    fn product(&self, x: &[f32], shape: &Shape, base: Option<&[f32]>) -> candle_core::Result<Vec<f32>> {
        let (b, h, w, c) = shape.dims4()?;
        let geometry = self.geometry(h, w);
        let bias = self.bias.as_ref().map(Elements::of).transpose()?;
        let start = Start::new(base, bias.as_ref().map(Elements::f32).transpose()?);
        let pixels = b * geometry.out_h * geometry.out_w;
        let windows = Windows { geometry, image: x };
        Ok(match &self.weight {
            FrozenMatrix::Quantized(weight) => self.dequantised(weight)?.product(x, shape, base)?,
            FrozenMatrix::Int8(weight) => match geometry.f32_form(b) {
                Form::Rows => int8::product(start, &int8::Tokens { elements: x, width: c }, weight),
                Form::Tiles(images) if !int8::beats_tiles_of_f32() => {
                    f32::convolve(start, x, images, &int8::Wide(weight), Turn::Forward)
                }
                Form::Tiles(_) | Form::Windows => {
                    int8::product(start, &int8::Windows { geometry, batch: b, image: x }, weight)
                }
            },
            FrozenMatrix::Packed16(weight) => match geometry.bf16_form(b, self.out_channels) {
                Form::Rows => bf16::product(start, pixels, &Activations { elements: x, width: c }, &**weight),
                Form::Windows => bf16::product(start, pixels, &windows, &**weight),
                Form::Tiles(images) => bf16::convolve(start, x, images, &**weight, Turn::Forward),
            },
            FrozenMatrix::Packed32(weight) => match geometry.f32_form(b) {
                Form::Rows => f32::product(start, pixels, &Strided::dense(x, c), &**weight),
                Form::Windows => f32::product(start, pixels, &windows, &**weight),
                Form::Tiles(images) => f32::convolve(start, x, images, &**weight, Turn::Forward),
            },
            FrozenMatrix::Tensor(_) => {
                candle_core::bail!("{OP}: weight and input are on different devices")
            }
        })
    }
}

impl Conv2d {
    /// The gradient of `x`.
    fn gradient(&self, x: &Tensor, grad_y: &Tensor) -> candle_core::Result<Tensor> {
        let (b, h, w, _) = x.dims4()?;
        let geometry = self.geometry(h, w);
        let grad = Elements::of(grad_y)?;
        let grad = grad.f32()?;
        let readers = Readers { geometry, grad, width: self.out_channels };
        let grad_x = match &self.weight {
            FrozenMatrix::Quantized(weight) => {
                return self.dequantised(weight)?.gradient(x, grad_y);
            }
            FrozenMatrix::Int8(weight) => match multiplies_bf16() {
                true => Readers { grad: &weight.scaled(grad), ..readers }.product_in_bf16(b, &int8::Turned(weight)),
                false => readers.product_in_f32(b, &int8::WideTransposed(weight)),
            },
            FrozenMatrix::Packed16(weight) => readers.product_in_bf16(b, &weight.transposed()),
            FrozenMatrix::Packed32(weight) => readers.product_in_f32(b, &weight.transposed()),
            FrozenMatrix::Tensor(_) => {
                candle_core::bail!("{OP}: weight and input are on different devices")
            }
        };
        tensor(grad_x, x.shape())
    }
}

impl Kernel1 for Conv2d {
    const NAME: &'static str = OP;

    fn forward(&self, x: &[f32], shape: &Shape) -> candle_core::Result<(Vec<f32>, Shape)> {
        let (b, h, w, _) = shape.dims4()?;
        let geometry = self.geometry(h, w);
        Ok((self.product(x, shape, None)?, (b, geometry.out_h, geometry.out_w, self.out_channels).into()))
    }

    fn backward(&self, x: &Tensor, _: &Tensor, grad: &Tensor) -> candle_core::Result<Tensor> {
        self.gradient(x, grad)
    }
}

/// [`Conv2d::forward_onto`].
struct Onto(Conv2d);

impl Kernel2 for Onto {
    const NAME: &'static str = OP;

    fn forward(&self, x: Argument, base: Argument) -> candle_core::Result<(Vec<f32>, Shape)> {
        Ok((self.0.product(x.elements, x.shape, Some(base.elements))?, base.shape.clone()))
    }

    fn backward(&self, [x, base]: [&Tensor; 2], y: &Tensor, grad: &Tensor) -> candle_core::Result<[Option<Tensor>; 2]> {
        let grad_x = x.track_op().then(|| self.0.backward(x, y, grad)).transpose()?;
        Ok([grad_x, base.track_op().then(|| grad.clone())])
    }
}

/// The windows of an image, one for each pixel of the result.
struct Windows<'a> {
    geometry: Geometry,
    image: &'a [f32],
}

impl<'a> Windows<'a> {
    /// The channels under a tap of the kernel, if it lies on the image.
    fn under(&self, pixel: usize) -> impl Fn(usize) -> Option<&'a [f32]> {
        let Geometry { h, w, c, kw, stride, left, .. } = self.geometry;
        let (b, y, x) = self.geometry.place(pixel);
        move |tap| {
            let row = self.geometry.row_on_image(y, tap / kw)?;
            let column = (x * stride + tap % kw).checked_sub(left).filter(|&column| column < w)?;
            Some(&self.image[((b * h + row) * w + column) * c..][..c])
        }
    }
}

impl bf16::Rows for Windows<'_> {
    fn write(&self, row: usize, columns: Range<usize>, out: &mut [u16]) {
        write_rounded_taps(self.geometry.c, columns, out, self.under(row));
    }
}

impl f32::Rows for Windows<'_> {
    fn write(&self, row: usize, columns: Range<usize>, out: &mut [f32]) {
        write_taps(self.geometry.c, columns, out, self.under(row), copy_part);
    }
}

/// For each pixel of the image the gradients of the results that read it, by the tap they read it with.
#[derive(Clone, Copy)]
struct Readers<'a> {
    geometry: Geometry,
    grad: &'a [f32],
    /// Channels of a result.
    width: usize,
}

impl<'a> Readers<'a> {
    /// The gradient of the result that reads a pixel with a tap, if there is one.
    fn of(&self, pixel: usize) -> impl Fn(usize) -> Option<&'a [f32]> {
        let Geometry { h, w, out_h, out_w, kw, stride, top, left, .. } = self.geometry;
        let (b, y, x) = (pixel / w / h, pixel / w % h, pixel % w);
        let reader = move |pixel: usize, before: usize, tap: usize, count: usize| {
            let offset = (pixel + before).checked_sub(tap)?;
            Some(offset / stride).filter(|&reader| offset % stride == 0 && reader < count)
        };
        move |tap| {
            let (y, x) = (reader(y, top, tap / kw, out_h)?, reader(x, left, tap % kw, out_w)?);
            Some(&self.grad[((b * out_h + y) * out_w + x) * self.width..][..self.width])
        }
    }
}

impl Readers<'_> {
    /// The gradient of `b` images, by transposed weights that are multiplied in bf16.
    fn product_in_bf16(&self, b: usize, weight: &impl bf16::Panels) -> Vec<f32> {
        let Self { geometry, grad, width } = *self;
        let pixels = b * geometry.h * geometry.w;
        match geometry.bf16_form(b, width) {
            Form::Rows => bf16::product(Start::Zero, pixels, &Activations { elements: grad, width }, weight),
            Form::Windows => bf16::product(Start::Zero, pixels, self, weight),
            Form::Tiles(images) => bf16::convolve(Start::Zero, grad, images, weight, Turn::Around),
        }
    }

    /// The same in f32.
    fn product_in_f32(&self, b: usize, weight: &impl f32::Panels) -> Vec<f32> {
        let Self { geometry, grad, width } = *self;
        let pixels = b * geometry.h * geometry.w;
        match geometry.f32_form(b) {
            Form::Rows => f32::product(Start::Zero, pixels, &Strided::dense(grad, width), weight),
            Form::Windows => f32::product(Start::Zero, pixels, self, weight),
            Form::Tiles(images) => f32::convolve(Start::Zero, grad, images, weight, Turn::Around),
        }
    }
}

impl bf16::Rows for Readers<'_> {
    fn write(&self, row: usize, columns: Range<usize>, out: &mut [u16]) {
        write_rounded_taps(self.width, columns, out, self.of(row));
    }
}

impl f32::Rows for Readers<'_> {
    fn write(&self, row: usize, columns: Range<usize>, out: &mut [f32]) {
        write_taps(self.width, columns, out, self.of(row), copy_part);
    }
}

/// The part `columns` of the channels of all taps, rounded to bf16; a tap's `width` channels are filled up to an even number.
fn write_rounded_taps<'a>(
    width: usize,
    columns: Range<usize>,
    out: &mut [u16],
    channels: impl Fn(usize) -> Option<&'a [f32]>,
) {
    write_taps(width.next_multiple_of(2), columns, out, channels, |channels, from, part: &mut [u16]| {
        let (rounded, padding) = part.split_at_mut(part.len().min(width - from));
        round_to_bf16(&channels[from..from + rounded.len()], rounded);
        padding.fill(0);
    });
}

/// Copies the channels of a tap from `from` on.
fn copy_part(channels: &[f32], from: usize, part: &mut [f32]) {
    part.copy_from_slice(&channels[from..from + part.len()]);
}

/// Writes the part `columns` of the `width` channels of all taps by `write(channels, from, part)`; a tap outside has zeros.
fn write_taps<'a, T: Default + Clone>(
    width: usize,
    columns: Range<usize>,
    mut out: &mut [T],
    channels: impl Fn(usize) -> Option<&'a [f32]>,
    write: impl Fn(&[f32], usize, &mut [T]),
) {
    let mut column = columns.start;
    while column < columns.end {
        let (tap, from) = (column / width, column % width);
        let len = (width - from).min(columns.end - column);
        let (part, rest) = std::mem::take(&mut out).split_at_mut(len);
        match channels(tap) {
            Some(channels) => write(channels, from, part),
            None => part.fill(T::default()),
        }
        (out, column) = (rest, column + len);
    }
}

#[cfg(test)]
mod tests {
    use candle_core::{DType, Tensor};

    use super::{Conv2d, Conv2dOptions, Form, Padding};
    use crate::arithmetic::Arithmetic;
    use crate::check::{assert_close, assert_gradient, assert_near, noise, rounded};
    use crate::error::{Error, Result};
    use crate::frozen::{FrozenMatrix, multiplies_bf16};
    use crate::vjp;

    /// A layer of the given channels (in, out), kernel and options.
    fn layer([inputs, outputs]: [usize; 2], kernel: usize, stride: usize, padding: Padding) -> Conv2d {
        let (weight, bias) = (noise(1, &[outputs, inputs, kernel, kernel]), noise(2, &[outputs]));
        Conv2d::new(&weight, Some(&bias), Conv2dOptions { stride, padding }).unwrap()
    }

    /// The weight that [`layer`] gave a layer.
    fn weight_of(layer: &Conv2d) -> Tensor {
        noise(1, &[layer.out_channels, layer.in_channels, layer.kernel.0, layer.kernel.1])
    }

    /// The gradient of `x`, given that of what `f` makes of it.
    fn pulled(x: &Tensor, cotangent: &Tensor, f: impl Fn(&Tensor) -> Result<Tensor>) -> Tensor {
        let cotangents = [Some(cotangent.clone())];
        vjp(std::slice::from_ref(x), |x| Ok(vec![f(&x[0])?]), &cotangents).unwrap().remove(0)
    }

    const VAE_DOWN: Padding = Padding { top: 0, left: 0, bottom: 1, right: 1 };

    #[test]
    fn fast_equals_plain() {
        for (layer, shape) in [
            (layer([5, 7], 3, 1, Padding::same(1)), [2, 9, 11, 5]),
            (layer([4, 64], 3, 1, Padding::same(1)), [1, 16, 16, 4]),
            (layer([33, 3], 3, 1, Padding::same(1)), [1, 5, 1, 33]),
            (layer([6, 8], 3, 2, Padding::same(1)), [2, 9, 8, 6]),
            (layer([6, 8], 3, 2, VAE_DOWN), [2, 8, 7, 6]),
            (layer([6, 8], 1, 1, Padding::same(0)), [2, 8, 7, 6]),
            (layer([6, 8], 1, 2, Padding::same(0)), [2, 8, 7, 6]),
            (layer([2, 3], 3, 1, Padding::same(0)), [1, 3, 3, 2]),
            (layer([2, 3], 2, 3, Padding { top: 3, left: 2, bottom: 4, right: 3 }), [2, 5, 6, 2]),
            // Channels, rows and columns alike: a layout cannot be told from strides.
            (layer([9, 9], 3, 1, Padding::same(1)), [1, 9, 9, 9]),
            (layer([16, 16], 3, 2, Padding::same(1)), [3, 16, 16, 16]),
            // More than eight blocks, the last one short.
            (layer([3, 5], 3, 1, Padding::same(1)), [2, 37, 31, 3]),
        ] {
            let x = noise(3, &shape);
            let expected = layer.plain(&x, &weight_of(&layer)).unwrap();
            assert_close(&layer.forward(&x).unwrap(), &expected, 2e-6);
        }
    }

    #[test]
    fn gradient_matches_plain_and_finite_differences() {
        for (layer, shape) in [
            (layer([5, 7], 3, 1, Padding::same(1)), [2, 4, 5, 5]),
            (layer([5, 5], 3, 1, Padding::same(1)), [1, 5, 5, 5]),
            (layer([3, 4], 3, 2, Padding::same(1)), [2, 7, 6, 3]),
            (layer([3, 4], 3, 2, VAE_DOWN), [2, 6, 7, 3]),
            (layer([3, 4], 1, 1, Padding::same(0)), [2, 6, 7, 3]),
            (layer([3, 4], 1, 2, Padding::same(0)), [2, 6, 7, 3]),
            (layer([2, 3], 2, 3, Padding { top: 3, left: 2, bottom: 4, right: 3 }), [2, 5, 6, 2]),
            // Several blocks an image, and an image that ends within a block.
            (layer([2, 3], 3, 1, Padding::same(1)), [3, 37, 11, 2]),
        ] {
            let x = noise(3, &shape);
            let weight = weight_of(&layer);
            let composed = |x: &[Tensor]| layer.composed(&x[0], &weight);
            assert_gradient(std::slice::from_ref(&x), |x| layer.forward(&x[0]), composed, 1e-5);
            // The tensor library's own gradient does not know strides that leave a different rest in rows and columns.
            if layer.options.stride == 1 {
                assert_gradient(&[x], composed, |x| layer.plain(&x[0], &weight), 1e-5);
            }
        }
    }

    #[test]
    fn half_weights_stay_half_and_give_what_their_widened_copies_give() {
        for dtype in [DType::F16, DType::BF16] {
            let half = noise(1, &[5, 6, 3, 3]).to_dtype(dtype).unwrap();
            let options = Conv2dOptions { stride: 1, padding: Padding::same(1) };
            let wide = Conv2d::new(&half.to_dtype(DType::F32).unwrap(), None, options).unwrap();
            let half = Conv2d::new(&half, None, options).unwrap();
            let FrozenMatrix::Packed32(packed) = &half.weight else {
                assert!(dtype == DType::BF16 && multiplies_bf16());
                continue;
            };
            assert_eq!(packed.element_size(), 2);
            let x = noise(2, &[1, 7, 8, 6]);
            assert_close(&half.forward(&x).unwrap(), &wide.forward(&x).unwrap(), 0.0);
            assert_gradient(&[x], |x| half.forward(&x[0]), |x| wide.forward(&x[0]), 0.0);
        }
    }

    #[test]
    fn bf16_layers_equal_f32_layers_on_rounded_numbers() {
        let options = |stride, padding| Conv2dOptions { stride, padding };
        for ([inputs, outputs], kernel, options, shape) in [
            ([5, 7], 3, options(1, Padding::same(1)), [2, 9, 11, 5]),
            ([4, 64], 3, options(1, Padding::same(1)), [1, 16, 16, 4]),
            ([64, 4], 3, options(1, Padding::same(1)), [1, 16, 16, 64]),
            ([33, 3], 3, options(1, Padding::same(1)), [1, 5, 1, 33]),
            ([6, 40], 3, options(2, Padding::same(1)), [2, 9, 8, 6]),
            ([6, 8], 3, options(2, VAE_DOWN), [2, 8, 7, 6]),
            ([70, 34], 1, options(1, Padding::same(0)), [2, 8, 7, 70]),
            ([6, 8], 1, options(2, Padding::same(0)), [2, 8, 7, 6]),
            ([2, 3], 2, options(3, Padding { top: 3, left: 2, bottom: 4, right: 3 }), [2, 5, 6, 2]),
            // Several blocks of K.
            ([130, 31], 3, options(1, Padding::same(1)), [2, 12, 13, 130]),
        ] {
            let weight = noise(1, &[outputs, inputs, kernel, kernel]).to_dtype(DType::BF16).unwrap();
            let bias = noise(2, &[outputs]);
            let half = Conv2d::new(&weight, Some(&bias), options).unwrap();
            let wide = Conv2d::new(&weight.to_dtype(DType::F32).unwrap(), Some(&bias), options).unwrap();
            let x = rounded(&noise(3, &shape));
            let y = half.forward(&x).unwrap();
            assert_close(&y, &wide.forward(&x).unwrap(), 3e-6);
            let cotangent = rounded(&noise(4, y.dims()));
            let pull = |layer: &Conv2d| pulled(&x, &cotangent, |x| layer.forward(x));
            assert_close(&pull(&half), &pull(&wide), 3e-6);
        }
    }

    #[test]
    fn transformed_kernels_are_near_f32_forward_and_backward() {
        let options = Conv2dOptions { stride: 1, padding: Padding::same(1) };
        for ([inputs, outputs], shape) in [
            ([32, 32], [1, 1, 1, 32]),
            ([33, 45], [2, 5, 7, 33]),
            ([64, 40], [1, 16, 18, 64]),
            ([40, 96], [3, 33, 31, 40]),
        ] {
            let weight = noise(1, &[outputs, inputs, 3, 3]).to_dtype(DType::BF16).unwrap();
            let bias = noise(2, &[outputs]);
            let half = Conv2d::new(&weight, Some(&bias), options).unwrap();
            assert_eq!(half.arithmetic() == Arithmetic::Bf16, multiplies_bf16());
            let wide = Conv2d::new(&weight.to_dtype(DType::F32).unwrap(), Some(&bias), options).unwrap();
            let x = noise(3, &shape);
            let near = |found: &Tensor, expected: &Tensor| assert_near(found, expected, 0.006);
            let y = half.forward(&x).unwrap();
            near(&y, &wide.forward(&x).unwrap());
            let cotangent = noise(4, y.dims());
            let pull = |layer: &Conv2d| pulled(&x, &cotangent, |x| layer.forward(x));
            near(&pull(&half), &pull(&wide));
        }
    }

    #[test]
    fn layers_of_8_bits_are_near_f32_forward_and_backward() {
        let options = |stride, padding| Conv2dOptions { stride, padding };
        for ([inputs, outputs], kernel, options, shape) in [
            ([5, 7], 3, options(1, Padding::same(1)), [2, 9, 11, 5]),
            ([64, 4], 3, options(1, Padding::same(1)), [1, 16, 16, 64]),
            ([33, 3], 3, options(1, Padding::same(1)), [1, 5, 1, 33]),
            ([6, 40], 3, options(2, Padding::same(1)), [2, 9, 8, 6]),
            ([6, 8], 3, options(2, VAE_DOWN), [2, 8, 7, 6]),
            ([70, 34], 1, options(1, Padding::same(0)), [2, 8, 7, 70]),
            ([6, 8], 1, options(2, Padding::same(0)), [2, 8, 7, 6]),
            ([2, 3], 2, options(3, Padding { top: 3, left: 2, bottom: 4, right: 3 }), [2, 5, 6, 2]),
            // Several bands, and several blocks of K.
            ([40, 36], 3, options(1, Padding::same(1)), [2, 70, 61, 40]),
            ([300, 31], 3, options(1, Padding::same(1)), [1, 12, 13, 300]),
        ] {
            let weight = noise(1, &[outputs, inputs, kernel, kernel]);
            let bias = noise(2, &[outputs]);
            let layer = Conv2d::int8(&weight, Some(&bias), options).unwrap();
            let wide = Conv2d::new(&weight, Some(&bias), options).unwrap();
            assert_eq!((layer.arithmetic(), wide.arithmetic()), (Arithmetic::Int8, Arithmetic::F32));
            let x = noise(3, &shape);
            let y = layer.forward(&x).unwrap();
            assert_near(&y, &wide.forward(&x).unwrap(), 0.015);
            let cotangent = noise(4, y.dims());
            let pull = |layer: &Conv2d| pulled(&x, &cotangent, |x| layer.forward(x));
            assert_near(&pull(&layer), &pull(&wide), 0.015);
        }
    }

    #[test]
    fn a_picture_of_8_bits_does_not_depend_on_its_batch() {
        let options = Conv2dOptions { stride: 1, padding: Padding::same(1) };
        let layer = Conv2d::int8(&noise(1, &[36, 40, 3, 3]), None, options).unwrap();
        let x = noise(3, &[3, 70, 61, 40]);
        let together = layer.forward(&(&x * 2.0).unwrap()).unwrap();
        for b in 0..3 {
            let alone = layer.forward(&(x.narrow(0, b, 1).unwrap() * 2.0).unwrap()).unwrap();
            assert_close(&alone, &together.narrow(0, b, 1).unwrap(), 0.0);
        }
    }

    #[test]
    fn tiles_are_as_good_as_windows_forward_and_backward() {
        // Lengths of the errors, as parts of the whole: against sums in f64 that of plain f32 sums is a third of it.
        const TOLERANCE: f32 = 2e-6;
        for ([inputs, outputs], shape) in [
            ([32, 16], [1, 8, 8, 32]),
            ([33, 45], [2, 9, 11, 33]),
            ([150, 40], [1, 16, 18, 150]),
            ([40, 96], [3, 33, 31, 40]),
            ([35, 33], [5, 7, 8, 35]),
            ([300, 270], [1, 12, 13, 300]),
        ] {
            let layer = layer([inputs, outputs], 3, 1, Padding::same(1));
            assert!(matches!(layer.geometry(shape[1], shape[2]).f32_form(shape[0]), Form::Tiles(_)));
            let (x, weight) = (noise(3, &shape), weight_of(&layer));
            let expected = layer.plain(&x, &weight).unwrap();
            assert_near(&layer.forward(&x).unwrap(), &expected, TOLERANCE);
            let base = noise(5, expected.dims());
            let onto = layer.forward_onto(&x, &base).unwrap();
            assert_near(&onto, &(expected + base).unwrap(), TOLERANCE);
            let cotangent = noise(4, onto.dims());
            let found = pulled(&x, &cotangent, |x| layer.forward(x));
            assert_near(&found, &pulled(&x, &cotangent, |x| layer.composed(x, &weight)), TOLERANCE);
        }
    }

    #[test]
    fn shifts_and_bases_are_added_and_bases_get_their_gradient() {
        for (dtype, channels) in [(DType::F32, 6), (DType::BF16, 6), (DType::BF16, 34)] {
            let weight = noise(1, &[40, channels, 3, 3]).to_dtype(dtype).unwrap();
            let options = Conv2dOptions { stride: 1, padding: Padding::same(1) };
            let layer = Conv2d::new(&weight, Some(&noise(2, &[40])), options).unwrap();
            let (shift, inputs) = (noise(5, &[40]), [noise(3, &[2, 5, 7, channels]), noise(4, &[2, 5, 7, 40])]);
            let shifted = layer.forward_shifted(&inputs[0], &shift).unwrap();
            let expected = layer.forward(&inputs[0]).unwrap().broadcast_add(&shift).unwrap();
            assert_close(&shifted, &expected, 1e-6);
            let composed = |x: &[Tensor]| Ok(vec![(layer.forward(&x[0])? + &x[1])?]);
            let onto = |x: &[Tensor]| Ok(vec![layer.forward_onto(&x[0], &x[1])?]);
            assert_close(&onto(&inputs).unwrap()[0], &composed(&inputs).unwrap()[0], 1e-6);
            let cotangent = [Some(noise(6, &[2, 5, 7, 40]))];
            let (found, expected) = (vjp(&inputs, onto, &cotangent), vjp(&inputs, composed, &cotangent));
            for (found, expected) in found.unwrap().iter().zip(&expected.unwrap()) {
                assert_close(found, expected, 1e-6);
            }
            let error = layer.forward_onto(&inputs[0], &inputs[0]).unwrap_err();
            assert_eq!(
                error.to_string(),
                format!("conv2d: base has shape [2, 5, 7, {channels}], expected [2, 5, 7, 40]")
            );
        }
    }

    #[test]
    fn channels_first_views_are_taken_as_they_look() {
        let layer = layer([4, 6], 3, 1, Padding::same(1));
        let x = noise(3, &[2, 4, 5, 7]).permute((0, 2, 3, 1)).unwrap();
        let expected = layer.plain(&x, &weight_of(&layer)).unwrap();
        assert_close(&layer.forward(&x).unwrap(), &expected, 2e-6);
    }

    #[test]
    fn wrong_shapes_are_named() {
        let layer = layer([4, 6], 3, 1, Padding::same(0));
        let error = layer.forward(&noise(1, &[1, 2, 8, 4])).unwrap_err();
        let expected = "conv2d: input has shape [1, 2, 8, 4], expected [B, H, W, 4] of at least 3×3 pixels";
        assert_eq!(error.to_string(), expected);
        let weight = Tensor::zeros((2, 2), DType::F32, &candle_core::Device::Cpu).unwrap();
        let error = Conv2d::new(&weight, None, Conv2dOptions::default());
        assert!(matches!(error, Err(Error::Shape { .. })));
        let options = Conv2dOptions { stride: 0, padding: Padding::same(0) };
        let error = Conv2d::new(&noise(1, &[1, 1, 1, 1]), None, options);
        assert!(matches!(error, Err(Error::Option { .. })));
    }
}
