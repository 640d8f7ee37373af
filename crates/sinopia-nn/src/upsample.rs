//! Nearest-neighbour enlargement of channels-last images.

use candle_core::Tensor;

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
    plain(x, &sources(from_h, h), &sources(from_w, w))
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
fn plain(x: &Tensor, rows: &[usize], columns: &[usize]) -> Result<Tensor> {
    let rows: Vec<u32> = rows.iter().map(|&row| row as u32).collect();
    let columns: Vec<u32> = columns.iter().map(|&column| column as u32).collect();
    let rows = Tensor::new(rows, x.device())?;
    let columns = Tensor::new(columns, x.device())?;
    Ok(x.contiguous()?.index_select(&rows, 1)?.index_select(&columns, 2)?)
}
