//! Two-dimensional convolution over channels-last images with frozen weights.

use std::cell::RefCell;
use std::ops::Range;
use std::sync::Arc;

use candle_core::{DType, Shape, Tensor};
use rayon::prelude::*;

use crate::cpu::bf16::{Activations, Images, Rows, Start, Unpacked, Winograd, product, round_to_bf16};
use crate::cpu::elements::{Argument, Elements, Kernel1, Kernel2, apply1, apply2, tensor};
use crate::cpu::matrix::{Matrix, MatrixMut, Store, Threads, multiply};
use crate::cpu::split::for_rows_mut;
use crate::error::{Error, Result, expect_f32};
use crate::frozen::{FrozenMatrix, frozen, frozen_vector, with_input_gradient};
use crate::linear::started;

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
    weight: Kernel,
    /// (out) f32.
    bias: Option<Tensor>,
    options: Conv2dOptions,
    kernel: (usize, usize),
    in_channels: usize,
    out_channels: usize,
}

/// The frozen weights of a layer.
#[derive(Debug, Clone)]
enum Kernel {
    /// (kh·kw·in, out): a window of a channels-last image is a row of its product with this.
    Windows(FrozenMatrix),
    /// bf16 weights of a 3×3 kernel that moves pixel by pixel, transformed.
    Winograd(Arc<Winograd>),
}

/// Largest in · out of a kernel that is transformed. Larger ones stand on coarse grids, where less is won, and would cost the most memory:
/// transformed weights take 16/9 of the room.
const MAX_TRANSFORMED: usize = 1_300_000;
/// Fewer channels on either side do not pay for the transforms.
const MIN_TRANSFORMED_CHANNELS: usize = 32;

impl Kernel {
    /// From weights in checkpoint order (out, in, kh, kw).
    fn new(weight: &Tensor, options: Conv2dOptions) -> Result<Self> {
        let (out_channels, in_channels, kh, kw) = weight.dims4()?;
        let taps = kh * kw;
        if weight.dtype() != DType::BF16 || !weight.device().is_cpu() {
            let matrix = weight.permute((2, 3, 1, 0))?.reshape((taps * in_channels, out_channels))?;
            return Ok(Self::Windows(FrozenMatrix::Tensor(frozen(OP, "weight", &matrix)?)));
        }
        let weight = frozen(OP, "weight", weight)?;
        let is_plain = (kh, kw, options.stride) == (3, 3, 1) && options.padding == Padding::same(1);
        let has_channels = in_channels.min(out_channels) >= MIN_TRANSFORMED_CHANNELS;
        if is_plain && has_channels && in_channels * out_channels <= MAX_TRANSFORMED {
            let elements = Elements::of(&weight)?;
            let winograd = Winograd::new(elements.bf16_bits()?, out_channels, in_channels);
            return Ok(Self::Winograd(Arc::new(winograd)));
        }
        Ok(Self::Windows(FrozenMatrix::new(weight, |bits| Unpacked {
            bits,
            taps,
            channels: in_channels,
            columns: out_channels,
            tap_stride: 1,
            channel_stride: taps,
        })?))
    }

    /// The weights as a tensor, which those on other devices than the CPU always are.
    fn tensor(&self) -> Result<&Tensor> {
        match self {
            Self::Windows(matrix) => matrix.tensor(),
            Self::Winograd(_) => {
                Err(candle_core::Error::Msg("weights transformed for the CPU on another device".into()).into())
            }
        }
    }
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
        Ok(Self {
            weight: Kernel::new(weight, options)?,
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
        let y = self.plain(&x.detach())?;
        let (layer, (_, h, w, _)) = (self.clone(), x.dims4()?);
        with_input_gradient(OP, x, y, move |grad| layer.plain_backward(grad, h, w))
    }

    /// The weight in the order of the tensor library: (out, in, kh, kw) f32.
    fn weight_oihw(&self) -> Result<Tensor> {
        let (kh, kw) = self.kernel;
        Ok(self
            .weight
            .tensor()?
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

    /// The gradient of an input of h × w pixels, composed from the tensor library's operations.
    fn plain_backward(&self, grad: &Tensor, h: usize, w: usize) -> Result<Tensor> {
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

/// Elements of a block of windows: 4 MiB of scratch a thread.
const BLOCK_ELEMENTS: usize = 1 << 20;
/// Windows in a block: enough for the weight to be read seldom, few enough to share the work.
const BLOCK_WINDOWS: std::ops::RangeInclusive<usize> = 64..=256;
/// From this many blocks on, threads take whole blocks; below, they share the product of each block.
const MIN_BLOCKS_TO_SHARE_OUT: usize = 8;

thread_local! {
    /// Windows of the block that this thread works on, kept from call to call.
    static WINDOWS: RefCell<Vec<f32>> = const { RefCell::new(Vec::new()) };
}

/// The sizes of one application of a layer.
#[derive(Debug, Clone, Copy)]
struct Geometry {
    /// Input pixels, channels.
    h: usize,
    w: usize,
    c: usize,
    /// Output pixels.
    out_h: usize,
    out_w: usize,
    /// Kernel, stride and leading padding.
    kh: usize,
    kw: usize,
    stride: usize,
    top: usize,
    left: usize,
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

    /// The columns of the kernel that lie on the image at output column `x`, and the image's column under the first.
    fn columns_on_image(&self, x: usize) -> (Range<usize>, usize) {
        let first = self.left.saturating_sub(x * self.stride);
        let end = (self.w + self.left).saturating_sub(x * self.stride).min(self.kw);
        if first >= end {
            return (0..0, 0);
        }
        (first..end, x * self.stride + first - self.left)
    }

    /// The image's row under row `u` of the kernel at output row `y`, if it is on the image.
    fn row_on_image(&self, y: usize, u: usize) -> Option<usize> {
        (y * self.stride + u).checked_sub(self.top).filter(|&row| row < self.h)
    }

    /// Copies the windows of the output pixels from `first` on, counted over the batch, into the rows of `windows`.
    fn gather(&self, image: &[f32], first: usize, windows: &mut [f32]) {
        let span = self.kw * self.c; // a row of a window
        for (pixel, window) in (first..).zip(windows.chunks_exact_mut(self.window())) {
            let (b, y, x) = self.place(pixel);
            let (columns, image_column) = self.columns_on_image(x);
            for (u, span) in window.chunks_exact_mut(span).enumerate() {
                let Some(image_row) = self.row_on_image(y, u) else {
                    span.fill(0.0);
                    continue;
                };
                let from = ((b * self.h + image_row) * self.w + image_column) * self.c;
                let inside = columns.start * self.c..columns.end * self.c;
                span[..inside.start].fill(0.0);
                span[inside.end..].fill(0.0);
                let len = inside.len();
                span[inside].copy_from_slice(&image[from..from + len]);
            }
        }
    }

    /// Adds to one row of the image, `row` counted over the batch, what the windows of the output rows `out_rows`
    /// (counted over the batch, too) have for it.
    fn scatter_row(&self, windows: &[f32], out_rows: &Range<usize>, row: usize, image_row: &mut [f32]) {
        let (b, y_image) = (row / self.h, row % self.h);
        let span = self.kw * self.c;
        for u in 0..self.kh {
            let Some(offset) = (y_image + self.top).checked_sub(u) else { break };
            let (y, out_row) = (offset / self.stride, b * self.out_h + offset / self.stride);
            if offset % self.stride != 0 || y >= self.out_h || !out_rows.contains(&out_row) {
                continue;
            }
            let first = (out_row - out_rows.start) * self.out_w;
            for x in 0..self.out_w {
                let (columns, image_column) = self.columns_on_image(x);
                let window = &windows[(first + x) * self.window() + u * span..][..span];
                let values = &window[columns.start * self.c..columns.end * self.c];
                let sums = &mut image_row[image_column * self.c..][..values.len()];
                for (sum, value) in sums.iter_mut().zip(values) {
                    *sum += value;
                }
            }
        }
    }

    /// Image, row and column of an output pixel counted over the batch.
    fn place(&self, pixel: usize) -> (usize, usize, usize) {
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
        let bias = bias.as_ref().map(Elements::f32).transpose()?;
        let start = match (base, bias) {
            (Some(base), bias) => Start::Base(base, bias),
            (None, Some(bias)) => Start::Bias(bias),
            (None, None) => Start::Zero,
        };
        let pixels = b * geometry.out_h * geometry.out_w;
        match &self.weight {
            Kernel::Winograd(weight) => Ok(weight.convolve(start, x, Images { b, h, w })),
            Kernel::Windows(FrozenMatrix::Packed(weight)) => Ok(match geometry.is_pointwise() {
                true => product(start, pixels, &Activations { elements: x, width: c }, &**weight),
                false => product(start, pixels, &Windows { geometry, image: x }, &**weight),
            }),
            Kernel::Windows(FrozenMatrix::Tensor(weight)) => {
                let (mut y, store) = started(pixels, self.out_channels, base, bias);
                let count = weight.elem_count();
                let weight = Elements::of(weight)?;
                let weight = weight.widened(0..count)?;
                let weight = Matrix::new(&weight, geometry.window(), self.out_channels);
                if geometry.is_pointwise() {
                    let (x, y) = (Matrix::new(x, pixels, c), MatrixMut::new(&mut y, pixels, self.out_channels));
                    multiply(y, store, 1.0, x, weight, Threads::All);
                } else if !y.is_empty() {
                    self.add_products(geometry, x, weight, &mut y);
                }
                Ok(y)
            }
        }
    }

    /// Adds `windows · weight` to `y` block by block, each block's windows gathered in scratch memory.
    fn add_products(&self, geometry: Geometry, x: &[f32], weight: Matrix<'_>, y: &mut [f32]) {
        let (window, out) = (geometry.window(), self.out_channels);
        let block = (BLOCK_ELEMENTS / window).clamp(*BLOCK_WINDOWS.start(), *BLOCK_WINDOWS.end());
        let share_out = y.len() >= MIN_BLOCKS_TO_SHARE_OUT * block * out;
        let run = |index: usize, y: &mut [f32], threads: Threads| {
            with_scratch(y.len() / out * window, |windows| {
                let first = index * block;
                match threads {
                    Threads::One => geometry.gather(x, first, windows),
                    Threads::All => for_rows_mut(windows, window, |row, windows| {
                        geometry.gather(x, first + row, windows);
                    }),
                }
                let rows = y.len() / out;
                let windows = Matrix::new(windows, rows, window);
                let y = MatrixMut::new(y, rows, out);
                multiply(y, Store::Add, 1.0, windows, weight, threads);
            });
        };
        if share_out {
            let blocks = y.par_chunks_mut(block * out).enumerate();
            blocks.for_each(|(index, y)| run(index, y, Threads::One));
        } else {
            let blocks = y.chunks_mut(block * out).enumerate();
            blocks.for_each(|(index, y)| run(index, y, Threads::All));
        }
    }

    /// Adds the gradient of the windows, `∂y · weightᵀ`, to the pixels that they were gathered from.
    fn add_gradients(&self, geometry: Geometry, grad: &[f32], weight: Matrix<'_>, grad_x: &mut [f32]) {
        let (window, out) = (geometry.window(), self.out_channels);
        let image_row = geometry.w * geometry.c;
        let grad_row = geometry.out_w * out;
        let windows_max = (BLOCK_ELEMENTS / window).clamp(*BLOCK_WINDOWS.start(), *BLOCK_WINDOWS.end());
        let block = (windows_max / geometry.out_w).max(1); // output rows
        for (index, grad) in grad.chunks(block * grad_row).enumerate() {
            let rows = grad.len() / grad_row;
            let out_rows = index * block..index * block + rows;
            with_scratch(rows * geometry.out_w * window, |windows| {
                let product = MatrixMut::new(windows, rows * geometry.out_w, window);
                let grad = Matrix::new(grad, rows * geometry.out_w, out);
                multiply(product, Store::Replace, 1.0, grad, weight.transposed(), Threads::All);
                // Only images that these output rows belong to change.
                let images = out_rows.start / geometry.out_h..(out_rows.end - 1) / geometry.out_h + 1;
                let first_row = images.start * geometry.h;
                let changed = first_row * image_row..images.end * geometry.h * image_row;
                for_rows_mut(&mut grad_x[changed], image_row, |row, pixels| {
                    for (row, pixels) in (first_row + row..).zip(pixels.chunks_exact_mut(image_row)) {
                        geometry.scatter_row(windows, &out_rows, row, pixels);
                    }
                });
            });
        }
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
        let (b, h, w, _) = x.dims4()?;
        let geometry = self.geometry(h, w);
        let grad = Elements::of(grad)?;
        let grad = grad.f32()?;
        let (pixels, width) = (b * h * w, self.out_channels);
        let weight = match &self.weight {
            Kernel::Windows(FrozenMatrix::Tensor(weight)) => weight,
            Kernel::Winograd(weight) => return tensor(weight.gradient(grad, Images { b, h, w }), x.shape()),
            Kernel::Windows(FrozenMatrix::Packed(weight)) => {
                let grad_x = match geometry.is_pointwise() {
                    true => product(Start::Zero, pixels, &Activations { elements: grad, width }, &weight.transposed()),
                    false => product(Start::Zero, pixels, &Readers { geometry, grad, width }, &weight.transposed()),
                };
                return tensor(grad_x, x.shape());
            }
        };
        let mut grad_x = vec![0.0; x.elem_count()];
        let weight_count = weight.elem_count();
        let weight = Elements::of(weight)?;
        let weight = weight.widened(0..weight_count)?;
        let weight = Matrix::new(&weight, geometry.window(), self.out_channels);
        if geometry.is_pointwise() {
            let rows = grad.len() / self.out_channels.max(1);
            let grad = Matrix::new(grad, rows, self.out_channels);
            let grad_x = MatrixMut::new(&mut grad_x, rows, self.in_channels);
            multiply(grad_x, Store::Replace, 1.0, grad, weight.transposed(), Threads::All);
        } else if !grad.is_empty() && !grad_x.is_empty() {
            self.add_gradients(geometry, grad, weight, &mut grad_x);
        }
        tensor(grad_x, x.shape())
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

impl Rows for Windows<'_> {
    fn write(&self, row: usize, columns: Range<usize>, out: &mut [u16]) {
        let Geometry { h, w, c, kw, stride, top, left, .. } = self.geometry;
        let (b, y, x) = self.geometry.place(row);
        write_taps(c, columns, out, |tap| {
            let image_row = (y * stride + tap / kw).checked_sub(top).filter(|&row| row < h)?;
            let column = (x * stride + tap % kw).checked_sub(left).filter(|&column| column < w)?;
            Some(&self.image[((b * h + image_row) * w + column) * c..][..c])
        });
    }
}

/// For each pixel of the image the gradients of the results that read it, by the tap they read it with.
struct Readers<'a> {
    geometry: Geometry,
    grad: &'a [f32],
    /// Channels of a result.
    width: usize,
}

impl Rows for Readers<'_> {
    fn write(&self, row: usize, columns: Range<usize>, out: &mut [u16]) {
        let Geometry { h, w, out_h, out_w, kw, stride, top, left, .. } = self.geometry;
        let (b, y, x) = (row / w / h, row / w % h, row % w);
        let reader = |pixel: usize, before: usize, tap: usize, count: usize| {
            let offset = (pixel + before).checked_sub(tap)?;
            Some(offset / stride).filter(|&reader| offset % stride == 0 && reader < count)
        };
        write_taps(self.width, columns, out, |tap| {
            let (y, x) = (reader(y, top, tap / kw, out_h)?, reader(x, left, tap % kw, out_w)?);
            Some(&self.grad[((b * out_h + y) * out_w + x) * self.width..][..self.width])
        });
    }
}

/// Writes the part `columns` of the `width` channels (filled up to an even number) of all taps; a tap outside has zeros.
fn write_taps<'a>(
    width: usize,
    columns: Range<usize>,
    mut out: &mut [u16],
    channels: impl Fn(usize) -> Option<&'a [f32]>,
) {
    let padded = width.next_multiple_of(2);
    let mut column = columns.start;
    while column < columns.end {
        let (tap, from) = (column / padded, column % padded);
        let len = (padded - from).min(columns.end - column);
        let (part, rest) = std::mem::take(&mut out).split_at_mut(len);
        match channels(tap) {
            Some(channels) => {
                let (rounded, padding) = part.split_at_mut(len.min(width - from));
                round_to_bf16(&channels[from..from + rounded.len()], rounded);
                padding.fill(0);
            }
            None => part.fill(0),
        }
        (out, column) = (rest, column + len);
    }
}

/// Lends this thread's scratch memory, `len` elements with whatever was left in them.
fn with_scratch<R>(len: usize, f: impl FnOnce(&mut [f32]) -> R) -> R {
    // Taken out meanwhile: a thread that waits in `f` may be given another block.
    let mut scratch = WINDOWS.take();
    if scratch.len() < len {
        scratch = vec![0.0; len];
    }
    let result = f(&mut scratch[..len]);
    WINDOWS.set(scratch);
    result
}

#[cfg(test)]
mod tests {
    use candle_core::{DType, Tensor};

    use super::{Conv2d, Conv2dOptions, Kernel, Padding};
    use crate::check::{assert_close, assert_gradient, noise, rounded};
    use crate::error::Error;
    use crate::vjp;

    /// A layer of the given channels (in, out), kernel and options.
    fn layer(channels: [usize; 2], kernel: usize, stride: usize, padding: Padding) -> Conv2d {
        let weight = noise(1, &[channels[1], channels[0], kernel, kernel]);
        let bias = noise(2, &[channels[1]]);
        Conv2d::new(&weight, Some(&bias), Conv2dOptions { stride, padding }).unwrap()
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
            assert_close(&layer.forward(&x).unwrap(), &layer.plain(&x).unwrap(), 2e-6);
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
            let composed = |x: &[Tensor]| layer.forward_composed(&x[0]);
            assert_gradient(std::slice::from_ref(&x), |x| layer.forward(&x[0]), composed, 1e-5);
            // The tensor library's own gradient does not know strides that leave a different rest in rows and columns.
            if layer.options.stride == 1 {
                assert_gradient(&[x], composed, |x| layer.plain(&x[0]), 1e-5);
            }
        }
    }

    #[test]
    fn half_weights_stay_half_and_give_what_their_widened_copies_give() {
        let half = noise(1, &[5, 6, 3, 3]).to_dtype(DType::F16).unwrap();
        let options = Conv2dOptions { stride: 1, padding: Padding::same(1) };
        let wide = Conv2d::new(&half.to_dtype(DType::F32).unwrap(), None, options).unwrap();
        let half = Conv2d::new(&half, None, options).unwrap();
        assert_eq!(half.weight.tensor().unwrap().dtype(), DType::F16);
        let x = noise(2, &[1, 7, 8, 6]);
        assert_close(&half.forward(&x).unwrap(), &wide.forward(&x).unwrap(), 0.0);
        assert_gradient(&[x], |x| half.forward(&x[0]), |x| wide.plain(&x[0]), 1e-5);
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
            let cotangent = Some(rounded(&noise(4, y.dims())));
            let pull = |layer: &Conv2d| {
                let run = |x: &[Tensor]| Ok(vec![layer.forward(&x[0])?]);
                vjp(std::slice::from_ref(&x), run, std::slice::from_ref(&cotangent)).unwrap()
            };
            assert_close(&pull(&half)[0], &pull(&wide)[0], 3e-6);
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
            assert!(matches!(half.weight, Kernel::Winograd(_)));
            let wide = Conv2d::new(&weight.to_dtype(DType::F32).unwrap(), Some(&bias), options).unwrap();
            let x = noise(3, &shape);
            let near = |found: &Tensor, expected: &Tensor| {
                let norm = |x: &Tensor| x.sqr().unwrap().sum_all().unwrap().to_scalar::<f32>().unwrap().sqrt();
                let error = norm(&(found - expected).unwrap());
                assert!(error <= 0.006 * norm(expected), "{shape:?}: {error} of {}", norm(expected));
            };
            let y = half.forward(&x).unwrap();
            near(&y, &wide.forward(&x).unwrap());
            let cotangent = Some(noise(4, y.dims()));
            let pull = |layer: &Conv2d| {
                let run = |x: &[Tensor]| Ok(vec![layer.forward(&x[0])?]);
                vjp(std::slice::from_ref(&x), run, std::slice::from_ref(&cotangent)).unwrap()
            };
            near(&pull(&half)[0], &pull(&wide)[0]);
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
        assert_close(&layer.forward(&x).unwrap(), &layer.plain(&x).unwrap(), 2e-6);
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
