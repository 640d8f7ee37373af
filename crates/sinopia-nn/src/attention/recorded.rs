//! Attention on the CPU in two operations, with the probabilities between them as a tensor of their own.

use candle_core::{Result, Shape, Tensor};
use rayon::prelude::*;

use super::blocked::{Sizes, for_heads, scores_gradient};
use crate::cpu::elements::{Argument, Elements, Kernel2, tensor};
use crate::cpu::matrix::{Block, Interleaved, Matrix, Store, Threads, multiply};

/// `softmax(q · kᵀ / √D)`: q (B, M, C), k (B, N, C) to (B, heads, M, N).
pub(super) struct Probabilities {
    pub(super) heads: usize,
}

impl Probabilities {
    fn sizes(&self, q: &Shape, k: &Shape) -> Result<Sizes> {
        let ((b, m, c), (_, n, _)) = (q.dims3()?, k.dims3()?);
        let heads = self.heads;
        Ok(Sizes { b, heads, m, n, d: c / heads, dv: 0, causal: false })
    }
}

impl Kernel2 for Probabilities {
    const NAME: &'static str = "attention_probs";

    fn forward(&self, q: Argument, k: Argument) -> Result<(Vec<f32>, Shape)> {
        let sizes = self.sizes(q.shape, k.shape)?;
        let Sizes { b, heads, m, n, .. } = sizes;
        let mut probs = vec![0.0; b * heads * m * n];
        if !probs.is_empty() {
            let block = sizes.block();
            let run = |(index, probs): (usize, &mut [f32])| {
                for (rows, probs) in sizes.blocks().zip(probs.chunks_mut(block * n)) {
                    sizes.probabilities(q.elements, k.elements, sizes.head(index), rows, probs, Threads::One);
                }
            };
            if sizes.is_large() {
                probs.par_chunks_mut(m * n).enumerate().for_each(run);
            } else {
                probs.chunks_mut(m * n).enumerate().for_each(run);
            }
        }
        Ok((probs, (b, heads, m, n).into()))
    }

    #[expect(unsafe_code, reason = "threads write the heads of two buffers")]
    fn backward(&self, [q, k]: [&Tensor; 2], probs: &Tensor, grad: &Tensor) -> Result<[Option<Tensor>; 2]> {
        let sizes = self.sizes(q.shape(), k.shape())?;
        let Sizes { m, n, d, heads, .. } = sizes;
        let (q_guard, k_guard, probs_guard, grad_guard) =
            (Elements::of(q)?, Elements::of(k)?, Elements::of(probs)?, Elements::of(grad)?);
        let (q_in, k_in, probs, grad) = (q_guard.f32()?, k_guard.f32()?, probs_guard.f32()?, grad_guard.f32()?);
        let buffer = |x: &Tensor| x.track_op().then(|| vec![0.0; x.elem_count()]);
        let (mut grad_q, mut grad_k) = (buffer(q), buffer(k));
        {
            let out_q = grad_q.as_mut().map(|x| Interleaved::new(x, heads * d));
            let out_k = grad_k.as_mut().map(|x| Interleaved::new(x, heads * d));
            for_heads(&sizes, |index, threads| {
                let head = sizes.head(index);
                for rows in sizes.blocks() {
                    let len = rows.len();
                    let cells = (index * m + rows.start) * n..(index * m + rows.end) * n;
                    let mut grad_scores = grad[cells.clone()].to_vec();
                    scores_gradient(&probs[cells], &mut grad_scores, n);
                    let grad_scores = Matrix::new(&grad_scores, len, n);
                    if let Some(out) = &out_q {
                        // SAFETY: heads do not overlap, and one head's blocks come one after the other.
                        let out = unsafe { out.block(sizes.rows_of(head, m, rows.clone(), d)) };
                        multiply(out, Store::Replace, sizes.scale(), grad_scores, sizes.keys(k_in, head), threads);
                    }
                    if let Some(out) = &out_k {
                        // SAFETY: heads do not overlap, and one head's blocks come one after the other.
                        let out = unsafe { out.block(sizes.rows_of(head, n, 0..n, d)) };
                        let queries = sizes.queries(q_in, head, rows);
                        multiply(out, Store::Add, sizes.scale(), grad_scores.transposed(), queries, threads);
                    }
                }
            });
        }
        let finish = |buffer: Option<Vec<f32>>, x: &Tensor| buffer.map(|buffer| tensor(buffer, x.shape())).transpose();
        Ok([finish(grad_q, q)?, finish(grad_k, k)?])
    }
}

/// `probs · v`: (B, heads, M, N), (B, N, heads·Dv) to (B, M, heads·Dv).
pub(super) struct Values;

impl Values {
    fn sizes(&self, probs: &Shape, v: &Shape) -> Result<Sizes> {
        let ((b, heads, m, n), (_, _, cv)) = (probs.dims4()?, v.dims3()?);
        Ok(Sizes { b, heads, m, n, d: 0, dv: cv / heads, causal: false })
    }
}

impl Kernel2 for Values {
    const NAME: &'static str = "attention_values";

    #[expect(unsafe_code, reason = "threads write the heads of one buffer")]
    fn forward(&self, probs: Argument, v: Argument) -> Result<(Vec<f32>, Shape)> {
        let sizes = self.sizes(probs.shape, v.shape)?;
        let Sizes { b, heads, m, n, dv, .. } = sizes;
        let mut y = vec![0.0; b * m * heads * dv];
        let out = Interleaved::new(&mut y, heads * dv);
        for_heads(&sizes, |index, threads| {
            let head = sizes.head(index);
            // SAFETY: heads do not overlap.
            let out = unsafe { out.block(sizes.rows_of(head, m, 0..m, dv)) };
            let probs = Matrix::new(&probs.elements[index * m * n..][..m * n], m, n);
            multiply(out, Store::Replace, 1.0, probs, sizes.values(v.elements, head), threads);
        });
        Ok((y, (b, m, heads * dv).into()))
    }

    #[expect(unsafe_code, reason = "threads write the heads of two buffers")]
    fn backward(&self, [probs, v]: [&Tensor; 2], _: &Tensor, grad: &Tensor) -> Result<[Option<Tensor>; 2]> {
        let sizes = self.sizes(probs.shape(), v.shape())?;
        let Sizes { b, heads, m, n, dv, .. } = sizes;
        let (probs_guard, v_guard, grad_guard) = (Elements::of(probs)?, Elements::of(v)?, Elements::of(grad)?);
        let (probs_in, v_in, grad) = (probs_guard.f32()?, v_guard.f32()?, grad_guard.f32()?);
        let buffer = |x: &Tensor| x.track_op().then(|| vec![0.0; x.elem_count()]);
        let (mut grad_probs, mut grad_v) = (buffer(probs), buffer(v));
        {
            let out_probs = grad_probs.as_mut().map(|x| Interleaved::new(x, n));
            let out_v = grad_v.as_mut().map(|x| Interleaved::new(x, heads * dv));
            for_heads(&sizes, |index, threads| {
                let head = sizes.head(index);
                let grad = sizes.outputs(grad, head, 0..m);
                if let Some(out) = &out_probs {
                    // SAFETY: each head has rows of its own.
                    let out = unsafe { out.block(Block { row: index * m, column: 0, rows: m, columns: n }) };
                    multiply(out, Store::Replace, 1.0, grad, sizes.values(v_in, head).transposed(), threads);
                }
                if let Some(out) = &out_v {
                    // SAFETY: heads do not overlap.
                    let out = unsafe { out.block(sizes.rows_of(head, n, 0..n, dv)) };
                    let probs = Matrix::new(&probs_in[index * m * n..][..m * n], m, n);
                    multiply(out, Store::Replace, 1.0, probs.transposed(), grad, threads);
                }
            });
        }
        debug_assert_eq!(probs.dims(), [b, heads, m, n]);
        let finish = |buffer: Option<Vec<f32>>, x: &Tensor| buffer.map(|buffer| tensor(buffer, x.shape())).transpose();
        Ok([finish(grad_probs, probs)?, finish(grad_v, v)?])
    }
}
