//! Nearest-neighbour enlargement of channels-last images.

use std::mem::MaybeUninit;

use candle_core::{Shape, Tensor};

use crate::cpu::elements::{Elements, Kernel1, apply1, tensor, written};
use crate::cpu::split::for_rows_mut;
use crate::error::{Error, Result, expect_f32};

const OP: &str = "upsample";

/// Doubles height and width: (B, H, W, C) to (B, 2H, 2W, C).
///
/// # Errors
/// [`Error::Shape`] if `x` has not four axes.
pub fn nearest_2x(x: &Tensor) -> Result<Tensor> {
    let (_, h, w, _) = image_dims(x)?;
    nearest_to(x, 2 * h, 2 * w)
}

/// Resizes to `h` × `w`: (B, H, W, C) to (B, h, w, C). The gradients of all copies of a pixel are added up.
///
/// # Errors
/// [`Error::Shape`] if `x` has not four axes, [`Error::Option`] if a size is 0.
pub fn nearest_to(x: &Tensor, h: usize, w: usize) -> Result<Tensor> {
    let (_, from_h, from_w, _) = image_dims(x)?;
    if h == 0 || w == 0 {
        return Err(Error::Option {
            op: OP,
            what: "size",
            expected: "at least 1×1".to_owned(),
            found: format!("{h}×{w}"),
        });
    }
    let sources = Nearest { rows: sources(from_h, h), columns: sources(from_w, w) };
    if x.device().is_cpu() {
        return Ok(apply1(sources, x)?);
    }
    plain(x, &sources)
}

fn image_dims(x: &Tensor) -> Result<(usize, usize, usize, usize)> {
    expect_f32(OP, "input", x)?;
    match *x.dims() {
        [b, h, w, c] if h > 0 && w > 0 => Ok((b, h, w, c)),
        _ => Err(Error::shape(OP, "input", "[B, H, W, C]", x)),
    }
}

/// For each of `to` pixels of a line the one of `from` that it copies.
///
/// PyTorch multiplies by the ratio in f32 and rounds down; so do we, or pixels would differ where the product is just
/// below a whole number.
fn sources(from: usize, to: usize) -> Vec<usize> {
    let ratio = from as f32 / to as f32;
    let source = |pixel: usize| match to {
        _ if to == from => pixel,
        _ if to == 2 * from => pixel / 2,
        _ => ((pixel as f32 * ratio) as usize).min(from - 1),
    };
    (0..to).map(source).collect()
}

/// Composed from the tensor library's operations; its own nearest upsampling loses gradients when the input is used twice.
fn plain(x: &Tensor, sources: &Nearest) -> Result<Tensor> {
    let index = |pixels: &[usize]| {
        let pixels: Vec<u32> = pixels.iter().map(|&pixel| pixel as u32).collect();
        Tensor::new(pixels, x.device())
    };
    let (rows, columns) = (index(&sources.rows)?, index(&sources.columns)?);
    Ok(x.contiguous()?.index_select(&rows, 1)?.index_select(&columns, 2)?)
}

/// For each row and column of the result the one of the image that it copies; both lists ascend.
struct Nearest {
    rows: Vec<usize>,
    columns: Vec<usize>,
}

impl Kernel1 for Nearest {
    const NAME: &'static str = OP;

    #[expect(unsafe_code, reason = "a result that is written once")]
    fn forward(&self, x: &[f32], shape: &Shape) -> candle_core::Result<(Vec<f32>, Shape)> {
        let (b, h, w, c) = shape.dims4()?;
        let (out_h, out_w) = (self.rows.len(), self.columns.len());
        let write = |y: &mut [MaybeUninit<f32>]| {
            for_rows_mut(y, out_w * c, |first, y| {
                for (row, y) in (first..).zip(y.chunks_exact_mut(out_w * c)) {
                    let image_row = row / out_h * h + self.rows[row % out_h];
                    let x = &x[image_row * w * c..][..w * c];
                    for (y, &column) in y.chunks_exact_mut(c).zip(&self.columns) {
                        y.write_copy_of_slice(&x[column * c..][..c]);
                    }
                }
            });
        };
        // SAFETY: as many rows as the enlarged images have, each of as many pixels as there are columns.
        let y = unsafe { written(b * out_h * out_w * c, write) };
        Ok((y, (b, out_h, out_w, c).into()))
    }

    fn backward(&self, x: &Tensor, _: &Tensor, grad: &Tensor) -> candle_core::Result<Tensor> {
        let (_, h, w, c) = x.dims4()?;
        let (out_h, out_w) = (self.rows.len(), self.columns.len());
        let grad = Elements::of(grad)?;
        let grad = grad.f32()?;
        let mut grad_x = vec![0.0; x.elem_count()];
        for_rows_mut(&mut grad_x, w * c, |first, grad_x| {
            for (row, grad_x) in (first..).zip(grad_x.chunks_exact_mut(w * c)) {
                let (b, image_row) = (row / h, row % h);
                let copies = self.rows.partition_point(|&row| row < image_row)
                    ..self.rows.partition_point(|&row| row <= image_row);
                for copy in copies {
                    let grad = &grad[(b * out_h + copy) * out_w * c..][..out_w * c];
                    for (grad, &column) in grad.chunks_exact(c).zip(&self.columns) {
                        let sums = &mut grad_x[column * c..][..c];
                        for (sum, grad) in sums.iter_mut().zip(grad) {
                            *sum += grad;
                        }
                    }
                }
            }
        });
        tensor(grad_x, x.shape())
    }
}

#[cfg(test)]
mod tests {
    use candle_core::{Device, Tensor};

    use super::{Nearest, nearest_2x, nearest_to, plain, sources};
    use crate::check::{assert_close, assert_gradient, noise};

    #[test]
    fn doubling_repeats_every_pixel() {
        let x = Tensor::new(&[[[[1.0_f32], [2.0]]]], &Device::Cpu).unwrap(); // (1, 1, 2, 1)
        let y = nearest_2x(&x).unwrap();
        assert_eq!(y.dims(), [1, 2, 4, 1]);
        assert_eq!(y.flatten_all().unwrap().to_vec1::<f32>().unwrap(), [1., 1., 2., 2., 1., 1., 2., 2.]);
    }

    #[test]
    fn sources_follow_the_ratio_rounded_down() {
        assert_eq!(sources(3, 6), [0, 0, 1, 1, 2, 2]);
        assert_eq!(sources(3, 7), [0, 0, 0, 1, 1, 2, 2]);
        assert_eq!(sources(5, 3), [0, 1, 3]);
        assert_eq!(sources(4, 4), [0, 1, 2, 3]);
    }

    #[test]
    fn fast_equals_plain_and_so_does_the_gradient() {
        for (shape, h, w) in
            [([2, 3, 5, 7], 6, 10), ([1, 4, 4, 4], 7, 9), ([2, 5, 3, 2], 3, 3), ([1, 20, 21, 30], 40, 42)]
        {
            let oracle =
                |x: &[Tensor]| plain(&x[0], &Nearest { rows: sources(shape[1], h), columns: sources(shape[2], w) });
            let x = noise(1, &shape);
            assert_close(&nearest_to(&x, h, w).unwrap(), &oracle(std::slice::from_ref(&x)).unwrap(), 0.0);
            assert_gradient(&[x], |x| nearest_to(&x[0], h, w), oracle, 1e-5);
        }
    }

    #[test]
    fn wrong_sizes_are_named() {
        let error = nearest_to(&noise(1, &[1, 2, 2, 1]), 0, 4).unwrap_err();
        assert_eq!(error.to_string(), "upsample: size is 0×4, expected at least 1×1");
        let error = nearest_2x(&noise(1, &[2, 2, 1])).unwrap_err();
        assert_eq!(error.to_string(), "upsample: input has shape [2, 2, 1], expected [B, H, W, C]");
    }
}
