//! Two-dimensional convolution over channels-last images with frozen weights.

use candle_core::{DType, Tensor};

use crate::error::{Error, Result, expect_f32};
use crate::frozen::{frozen, frozen_vector, with_input_gradient};

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

/// `y[b, i, j, o] = bias[o] + Σ_{u,v,c} w[o, c, u, v] · x[b, i·stride + u − top, j·stride + v − left, c]`, zero outside the image.
///
/// The gradient goes to the input only: `∂x` is the scatter of `∂y · w` to the pixels that each window read.
#[derive(Debug, Clone)]
pub struct Conv2d {
    /// (kh·kw·in, out): a window of a channels-last image is a row of its product with this.
    weight: Tensor,
    /// (out) f32.
    bias: Option<Tensor>,
    options: Conv2dOptions,
    kernel: (usize, usize),
    in_channels: usize,
    out_channels: usize,
}

impl Conv2d {
    /// A layer from its weight in checkpoint order (out, in, kh, kw), f32, f16 or bf16, and an optional bias (out).
    ///
    /// # Errors
    /// [`Error::Shape`] if the weight has not four axes or the bias does not fit it, [`Error::Option`] for a stride of 0.
    pub fn new(weight: &Tensor, bias: Option<&Tensor>, options: Conv2dOptions) -> Result<Self> {
        let &[out_channels, in_channels, kh, kw] = weight.dims() else {
            return Err(Error::shape(OP, "weight", "[out, in, kh, kw]", weight));
        };
        if options.stride == 0 {
            return Err(Error::Option {
                op: OP,
                what: "stride",
                expected: "at least 1".to_owned(),
                found: "0".to_owned(),
            });
        }
        let packed = weight
            .permute((2, 3, 1, 0))? // (kh, kw, in, out)
            .reshape((kh * kw * in_channels, out_channels))?;
        Ok(Self {
            weight: frozen(OP, "weight", &packed)?,
            bias: bias.map(|bias| frozen_vector(OP, "bias", bias, out_channels)).transpose()?,
            options,
            kernel: (kh, kw),
            in_channels,
            out_channels,
        })
    }

    /// The size of the input's last axis.
    pub fn in_channels(&self) -> usize {
        self.in_channels
    }

    /// The size of the output's last axis.
    pub fn out_channels(&self) -> usize {
        self.out_channels
    }

    /// Applies the layer: (B, H, W, in) f32 to (B, H', W', out), `H' = ⌊(H + top + bottom − kh) / stride⌋ + 1`.
    ///
    /// # Errors
    /// [`Error::Shape`] if `x` has not four axes, not `in` channels, or is smaller than the kernel.
    pub fn forward(&self, x: &Tensor) -> Result<Tensor> {
        expect_f32(OP, "input", x)?;
        let (kh, kw) = self.kernel;
        let Padding { top, left, bottom, right } = self.options.padding;
        match *x.dims() {
            [_, h, w, c] if c == self.in_channels && h + top + bottom >= kh && w + left + right >= kw => {}
            _ => {
                let expected = format!("[B, H, W, {}] of at least {kh}×{kw} pixels", self.in_channels);
                return Err(Error::shape(OP, "input", expected, x));
            }
        }
        self.forward_composed(x)
    }

    /// The layer in the tensor library's own operations, for devices other than the CPU.
    fn forward_composed(&self, x: &Tensor) -> Result<Tensor> {
        let y = self.plain(&x.detach())?;
        let (layer, input_dims) = (self.clone(), x.dims4()?);
        with_input_gradient(OP, x, y, move |grad| layer.plain_backward(grad, input_dims))
    }

    /// The weight in the order of the tensor library: (out, in, kh, kw) f32.
    fn weight_oihw(&self) -> Result<Tensor> {
        let (kh, kw) = self.kernel;
        Ok(self
            .weight
            .to_dtype(DType::F32)?
            .reshape((kh, kw, self.in_channels, self.out_channels))?
            .permute((3, 2, 0, 1))?
            .contiguous()?)
    }

    /// Composed from the tensor library's operations, which want the channels before the rows.
    fn plain(&self, x: &Tensor) -> Result<Tensor> {
        let Padding { top, left, bottom, right } = self.options.padding;
        let x_nchw =
            x.permute((0, 3, 1, 2))?.contiguous()?.pad_with_zeros(2, top, bottom)?.pad_with_zeros(3, left, right)?;
        let y_nchw = x_nchw.conv2d(&self.weight_oihw()?, 0, self.options.stride, 1, 1)?;
        let y = y_nchw.permute((0, 2, 3, 1))?.contiguous()?;
        Ok(match &self.bias {
            Some(bias) => y.broadcast_add(bias)?,
            None => y,
        })
    }

    /// The input's gradient composed from the tensor library's operations.
    fn plain_backward(&self, grad: &Tensor, (_, h, w, _): (usize, usize, usize, usize)) -> Result<Tensor> {
        let Padding { top, left, bottom, right } = self.options.padding;
        let (stride, (kh, kw)) = (self.options.stride, self.kernel);
        let (padded_h, padded_w) = (h + top + bottom, w + left + right);
        let (_, grad_h, grad_w, _) = grad.dims4()?;
        let grad_nchw = grad.permute((0, 3, 1, 2))?.contiguous()?;
        let padded = grad_nchw.conv_transpose2d(&self.weight_oihw()?, 0, 0, stride, 1)?;
        // Pixels that no window reached, at the far edges, when the stride does not divide the size.
        let padded = padded.pad_with_zeros(2, 0, padded_h - ((grad_h - 1) * stride + kh))?.pad_with_zeros(
            3,
            0,
            padded_w - ((grad_w - 1) * stride + kw),
        )?;
        Ok(padded.narrow(2, top, h)?.narrow(3, left, w)?.permute((0, 2, 3, 1))?.contiguous()?)
    }
}
