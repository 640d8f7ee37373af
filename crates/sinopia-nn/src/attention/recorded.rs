//! Attention on the CPU in two operations, with the probabilities between them as a tensor of their own.

use std::ops::Range;

use candle_core::{Result, Shape, Tensor};

use super::sizes::{Sizes, Vectors, stretches};
use crate::cpu::elements::{Argument, Elements, Kernel2, tensor};
use crate::cpu::matrix::{Block, Interleaved, Matrix, MatrixMut, multiply};
use crate::cpu::numeric::{softmax, sum_of};

/// Queries in a piece of work.
const QUERIES: usize = 252;

/// The queries of every head, in pieces: (head, queries).
fn pieces(sizes: &Sizes) -> Vec<(usize, Range<usize>)> {
    let m = sizes.m;
    (0..sizes.all_heads()).flat_map(|head| stretches(m, QUERIES).map(move |rows| (head, rows))).collect()
}

/// The elements of (B, heads, M, N) that belong to some queries of a head.
fn cells(sizes: &Sizes, index: usize, rows: &Range<usize>) -> Range<usize> {
    let first = index * sizes.m;
    (first + rows.start) * sizes.n..(first + rows.end) * sizes.n
}

/// Where they lie in a matrix of N columns.
fn cell_block(sizes: &Sizes, index: usize, rows: &Range<usize>) -> Block {
    Block { row: index * sizes.m + rows.start, column: 0, rows: rows.len(), columns: sizes.n }
}

/// `scale · a · b` for each piece, written to the rows of a new (B, M, heads · width), where `a(head, rows)` are some rows of a left side.
#[expect(unsafe_code, reason = "threads write the blocks of one buffer")]
fn product_by_rows<'a>(
    sizes: &Sizes,
    vectors: Vectors,
    scale: f32,
    a: impl Fn(usize, Range<usize>) -> Matrix<'a> + Send + Sync,
    b: impl Fn(usize) -> Matrix<'a> + Send + Sync,
) -> Vec<f32> {
    let row_stride = sizes.heads * vectors.width;
    let mut y = vec![0.0; sizes.b * vectors.length * row_stride];
    let out = Interleaved::new(&mut y, row_stride);
    let pieces = pieces(sizes);
    sizes.map_with_scratch(pieces.len(), |(): &mut (), piece| {
        let (index, rows) = pieces[piece].clone();
        // SAFETY: pieces differ in head or rows, and so do not overlap.
        let out = unsafe { out.block(sizes.block_of(vectors, index, rows.clone())) };
        multiply(out, scale, a(index, rows), b(index));
    });
    y
}

/// `scale · aᵀ · b` for each head, a new (B, N, heads · width), where `a(head)` is (M, N) and `b(head)` is (M, width).
#[expect(unsafe_code, reason = "threads write the heads of one buffer")]
fn product_by_heads<'a>(
    sizes: &Sizes,
    vectors: Vectors,
    scale: f32,
    a: impl Fn(usize) -> Matrix<'a> + Send + Sync,
    b: impl Fn(usize) -> Matrix<'a> + Send + Sync,
) -> Vec<f32> {
    let row_stride = sizes.heads * vectors.width;
    let mut y = vec![0.0; sizes.b * vectors.length * row_stride];
    let out = Interleaved::new(&mut y, row_stride);
    sizes.map_with_scratch(sizes.all_heads(), |(): &mut (), index| {
        // SAFETY: heads do not overlap.
        let out = unsafe { out.block(sizes.block_of(vectors, index, 0..vectors.length)) };
        multiply(out, scale, a(index).transposed(), b(index));
    });
    y
}

/// `softmax(q · kᵀ / √D)`: q (B, M, C), k (B, N, C) to (B, heads, M, N).
pub(super) struct Probabilities {
    pub(super) heads: usize,
}

impl Kernel2 for Probabilities {
    const NAME: &'static str = "attention_probs";

    #[expect(unsafe_code, reason = "threads write the blocks of one buffer")]
    fn forward(&self, q: Argument, k: Argument) -> Result<(Vec<f32>, Shape)> {
        let sizes = Sizes::of(self.heads, [q.shape, k.shape, k.shape])?;
        let Sizes { b, heads, m, n, .. } = sizes;
        let mut probs = vec![0.0; b * heads * m * n];
        let out = Interleaved::new(&mut probs, n);
        let pieces = pieces(&sizes);
        sizes.map_with_scratch(pieces.len(), |(): &mut (), piece| {
            let (index, rows) = pieces[piece].clone();
            let queries = sizes.head(q.elements, sizes.queries(), index).narrow_rows(rows.clone());
            let keys = sizes.head(k.elements, sizes.keys(), index).transposed();
            // SAFETY: pieces differ in head or rows, and so do not overlap.
            let mut out = unsafe { out.block(cell_block(&sizes, index, &rows)) };
            multiply(out.reborrow(), sizes.scale(), queries, keys);
            (0..rows.len()).for_each(|row| softmax(out.row_mut(row)));
        });
        Ok((probs, (b, heads, m, n).into()))
    }

    fn backward(&self, [q, k]: [&Tensor; 2], probs: &Tensor, grad: &Tensor) -> Result<[Option<Tensor>; 2]> {
        let sizes = Sizes::of(self.heads, [q.shape(), k.shape(), k.shape()])?;
        let Sizes { m, n, .. } = sizes;
        let guards = [Elements::of(q)?, Elements::of(k)?, Elements::of(probs)?, Elements::of(grad)?];
        let (q_in, k_in) = (guards[0].f32()?, guards[1].f32()?);
        let grad_scores = scores_gradient(&sizes, guards[2].f32()?, guards[3].f32()?);
        let rows_of =
            |index: usize, rows: Range<usize>| Matrix::new(&grad_scores[cells(&sizes, index, &rows)], rows.len(), n);
        let queries = |index: usize| sizes.head(q_in, sizes.queries(), index);
        let keys = |index: usize| sizes.head(k_in, sizes.keys(), index);
        let grad_q = || product_by_rows(&sizes, sizes.queries(), sizes.scale(), rows_of, keys);
        let grad_k = || product_by_heads(&sizes, sizes.keys(), sizes.scale(), |index| rows_of(index, 0..m), queries);
        Ok([wanted(q, grad_q)?, wanted(k, grad_k)?])
    }
}

/// The gradient of scores from that of probabilities: `∂s = p · (∂p − Σ p·∂p)`, row by row.
#[expect(unsafe_code, reason = "threads write the rows of one buffer")]
fn scores_gradient(sizes: &Sizes, probs: &[f32], grad: &[f32]) -> Vec<f32> {
    let mut grad_scores = vec![0.0; probs.len()];
    let out = Interleaved::new(&mut grad_scores, sizes.n);
    let pieces = pieces(sizes);
    sizes.map_with_scratch(pieces.len(), |(): &mut (), piece| {
        let (index, rows) = &pieces[piece];
        let cells = cells(sizes, *index, rows);
        // SAFETY: pieces differ in head or rows, and so do not overlap.
        let mut out: MatrixMut<'_> = unsafe { out.block(cell_block(sizes, *index, rows)) };
        let lines = probs[cells.clone()].chunks_exact(sizes.n).zip(grad[cells].chunks_exact(sizes.n));
        for (row, (probs, grad)) in lines.enumerate() {
            let mean = sum_of(probs, grad, |p, g| p * g) as f32;
            for (out, (p, grad)) in out.row_mut(row).iter_mut().zip(probs.iter().zip(grad)) {
                *out = p * (grad - mean);
            }
        }
    });
    grad_scores
}

/// The gradient of `x`, if anybody asks.
fn wanted(x: &Tensor, gradient: impl FnOnce() -> Vec<f32>) -> Result<Option<Tensor>> {
    x.track_op().then(|| tensor(gradient(), x.shape())).transpose()
}

/// `probs · v`: (B, heads, M, N), (B, N, heads·Dv) to (B, M, heads·Dv).
pub(super) struct Values;

impl Values {
    fn sizes(probs: &Shape, v: &Shape) -> Result<Sizes> {
        let ((b, heads, m, n), (_, _, cv)) = (probs.dims4()?, v.dims3()?);
        Ok(Sizes { b, heads, m, n, d: 0, dv: cv / heads })
    }
}

impl Kernel2 for Values {
    const NAME: &'static str = "attention_values";

    fn forward(&self, probs: Argument, v: Argument) -> Result<(Vec<f32>, Shape)> {
        let sizes = Self::sizes(probs.shape, v.shape)?;
        let Sizes { b, heads, m, n, dv, .. } = sizes;
        let rows_of =
            |index: usize, rows: Range<usize>| Matrix::new(&probs.elements[cells(&sizes, index, &rows)], rows.len(), n);
        let values = |index: usize| sizes.head(v.elements, sizes.values(), index);
        Ok((product_by_rows(&sizes, sizes.outputs(), 1.0, rows_of, values), (b, m, heads * dv).into()))
    }

    #[expect(unsafe_code, reason = "threads write the blocks of one buffer")]
    fn backward(&self, [probs, v]: [&Tensor; 2], _: &Tensor, grad: &Tensor) -> Result<[Option<Tensor>; 2]> {
        let sizes = Self::sizes(probs.shape(), v.shape())?;
        let guards = [Elements::of(probs)?, Elements::of(v)?, Elements::of(grad)?];
        let (probs_in, v_in, grad) = (guards[0].f32()?, guards[1].f32()?, guards[2].f32()?);
        let outputs = |index: usize| sizes.head(grad, sizes.outputs(), index);
        let grad_probs = || {
            let mut grad_probs = vec![0.0; probs_in.len()];
            let out = Interleaved::new(&mut grad_probs, sizes.n);
            let pieces = pieces(&sizes);
            sizes.map_with_scratch(pieces.len(), |(): &mut (), piece| {
                let (index, rows) = pieces[piece].clone();
                // SAFETY: pieces differ in head or rows, and so do not overlap.
                let out = unsafe { out.block(cell_block(&sizes, index, &rows)) };
                let values = sizes.head(v_in, sizes.values(), index).transposed();
                multiply(out, 1.0, outputs(index).narrow_rows(rows), values);
            });
            grad_probs
        };
        let all_rows = |index: usize| Matrix::new(&probs_in[cells(&sizes, index, &(0..sizes.m))], sizes.m, sizes.n);
        let grad_v = || product_by_heads(&sizes, sizes.values(), 1.0, all_rows, outputs);
        Ok([wanted(probs, grad_probs)?, wanted(v, grad_v)?])
    }
}
