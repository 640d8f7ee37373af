//! Attention on the CPU that keeps a block of queries' scores at a time and computes them again for the gradient.

use candle_core::{Result, Shape, Tensor};
use rayon::prelude::*;

use super::plain::OP;
use crate::cpu::elements::{Argument, Elements, Kernel3, tensor};
use crate::cpu::matrix::{Block, Interleaved, Matrix, MatrixMut, Store, Threads, multiply};
use crate::cpu::numeric::{softmax, sum_of};

/// Elements of a block of scores: 1 MiB.
const BLOCK_SCORES: usize = 1 << 18;
/// Queries in a block: enough to pay for reading all keys, few enough to share the work.
const BLOCK_QUERIES: std::ops::RangeInclusive<usize> = 32..=128;
/// Multiplications below which other threads cost more than they save.
const MIN_PARALLEL: usize = 1 << 18;
/// From this many heads on, threads take whole heads in the backward pass; below, they share each product.
const MIN_HEADS_TO_SHARE_OUT: usize = 4;

/// The operation of three arguments behind [`super::attention`].
pub(super) struct Blocked {
    pub(super) heads: usize,
    pub(super) causal: bool,
}

/// The sizes of one application, and where a head's elements lie.
#[derive(Debug, Clone, Copy)]
pub(super) struct Sizes {
    pub(super) b: usize,
    pub(super) heads: usize,
    /// Queries.
    pub(super) m: usize,
    /// Keys.
    pub(super) n: usize,
    /// Width of a head of queries and keys.
    pub(super) d: usize,
    /// Width of a head of values.
    pub(super) dv: usize,
    pub(super) causal: bool,
}

/// One of the heads of one of the sequences.
#[derive(Clone, Copy)]
pub(super) struct Head {
    pub(super) sequence: usize,
    pub(super) head: usize,
}

/// How many vectors a head has of queries, keys or values, and how long they are.
#[derive(Clone, Copy)]
pub(super) struct HeadShape {
    length: usize,
    width: usize,
}

impl Sizes {
    /// `1 / √D`.
    pub(super) fn scale(&self) -> f32 {
        (1.0 / (self.d as f64).sqrt()) as f32
    }

    /// Queries in a block.
    pub(super) fn block(&self) -> usize {
        (BLOCK_SCORES / self.n).clamp(*BLOCK_QUERIES.start(), *BLOCK_QUERIES.end()).min(self.m.max(1))
    }

    /// Are there enough multiplications for several threads?
    pub(super) fn is_large(&self) -> bool {
        self.b * self.heads * self.m * self.n * (self.d + self.dv) >= MIN_PARALLEL
    }

    /// Keys that query `query` sees.
    fn visible(&self, query: usize) -> usize {
        if self.causal { query + 1 + self.n - self.m } else { self.n }
    }

    /// A head, counted through all sequences.
    pub(super) fn head(&self, index: usize) -> Head {
        Head { sequence: index / self.heads, head: index % self.heads }
    }

    /// Rows of a head of `x`, (B, length, heads·width).
    pub(super) fn rows<'a>(
        &self,
        x: &'a [f32],
        head: Head,
        HeadShape { length, width }: HeadShape,
        rows: std::ops::Range<usize>,
    ) -> Matrix<'a> {
        let stride = self.heads * width;
        let start = (head.sequence * length + rows.start) * stride + head.head * width;
        Matrix::strided(&x[start.min(x.len())..], rows.len(), width, stride)
    }

    /// Where rows of a head lie in (B · length, heads · width).
    pub(super) fn rows_of(&self, head: Head, length: usize, rows: std::ops::Range<usize>, width: usize) -> Block {
        let row = head.sequence * length + rows.start;
        Block { row, column: head.head * width, rows: rows.len(), columns: width }
    }

    /// The queries `rows` of a head.
    pub(super) fn queries<'a>(&self, q: &'a [f32], head: Head, rows: std::ops::Range<usize>) -> Matrix<'a> {
        self.rows(q, head, HeadShape { length: self.m, width: self.d }, rows)
    }

    /// The keys of a head.
    pub(super) fn keys<'a>(&self, k: &'a [f32], head: Head) -> Matrix<'a> {
        self.rows(k, head, HeadShape { length: self.n, width: self.d }, 0..self.n)
    }

    /// The values of a head.
    pub(super) fn values<'a>(&self, v: &'a [f32], head: Head) -> Matrix<'a> {
        self.rows(v, head, HeadShape { length: self.n, width: self.dv }, 0..self.n)
    }

    /// The rows `rows` of a head of the result, or of its gradient.
    pub(super) fn outputs<'a>(&self, y: &'a [f32], head: Head, rows: std::ops::Range<usize>) -> Matrix<'a> {
        self.rows(y, head, HeadShape { length: self.m, width: self.dv }, rows)
    }

    /// Writes the probabilities of the queries `rows` of a head: (rows, N).
    pub(super) fn probabilities(
        &self,
        q: &[f32],
        k: &[f32],
        head: Head,
        rows: std::ops::Range<usize>,
        probs: &mut [f32],
        threads: Threads,
    ) {
        let queries = self.queries(q, head, rows.clone());
        let scores = MatrixMut::new(probs, rows.len(), self.n);
        multiply(scores, Store::Replace, self.scale(), queries, self.keys(k, head).transposed(), threads);
        for (query, row) in rows.zip(probs.chunks_exact_mut(self.n)) {
            let (seen, hidden) = row.split_at_mut(self.visible(query));
            softmax(seen);
            hidden.fill(0.0);
        }
    }

    /// The blocks of queries of one head.
    pub(super) fn blocks(&self) -> impl Iterator<Item = std::ops::Range<usize>> {
        let (m, block) = (self.m, self.block());
        (0..m).step_by(block).map(move |first| first..(first + block).min(m))
    }
}

/// Turns the gradient of probabilities into that of scores in place: `∂s = p · (∂p − Σ p·∂p)`, row by row.
pub(super) fn scores_gradient(probs: &[f32], grad: &mut [f32], n: usize) {
    for (probs, grad) in probs.chunks_exact(n).zip(grad.chunks_exact_mut(n)) {
        let mean = sum_of(probs, grad, |p, g| p * g) as f32;
        for (grad, p) in grad.iter_mut().zip(probs) {
            *grad = p * (*grad - mean);
        }
    }
}

/// Runs `f(index, threads)` for each head of each sequence: heads side by side if there are enough of them, otherwise one
/// after the other with all threads for each.
pub(super) fn for_heads(sizes: &Sizes, f: impl Fn(usize, Threads) + Send + Sync) {
    let heads = sizes.b * sizes.heads;
    if !sizes.is_large() {
        (0..heads).for_each(|head| f(head, Threads::One));
    } else if heads >= MIN_HEADS_TO_SHARE_OUT {
        (0..heads).into_par_iter().for_each(|head| f(head, Threads::One));
    } else {
        (0..heads).for_each(|head| f(head, Threads::All));
    }
}

impl Blocked {
    fn sizes(&self, q: &Shape, k: &Shape, v: &Shape) -> Result<Sizes> {
        let ((b, m, c), (_, n, _), (_, _, cv)) = (q.dims3()?, k.dims3()?, v.dims3()?);
        let heads = self.heads;
        Ok(Sizes { b, heads, m, n, d: c / heads, dv: cv / heads, causal: self.causal })
    }
}

impl Kernel3 for Blocked {
    const NAME: &'static str = OP;

    #[expect(unsafe_code, reason = "threads write the blocks of one buffer")]
    fn forward(&self, [q, k, v]: [Argument; 3]) -> Result<(Vec<f32>, Shape)> {
        let sizes = self.sizes(q.shape, k.shape, v.shape)?;
        let Sizes { b, heads, m, n, dv, .. } = sizes;
        let mut y = vec![0.0; b * m * heads * dv];
        let out = Interleaved::new(&mut y, heads * dv);
        let run = |scratch: &mut Vec<f32>, index: usize, rows: std::ops::Range<usize>| {
            let head = sizes.head(index);
            scratch.resize(sizes.block() * n, 0.0);
            let probs = &mut scratch[..rows.len() * n];
            sizes.probabilities(q.elements, k.elements, head, rows.clone(), probs, Threads::One);
            // SAFETY: blocks differ in sequence, head or rows, and so do not overlap.
            let out = unsafe { out.block(sizes.rows_of(head, m, rows.clone(), dv)) };
            let probs = Matrix::new(probs, rows.len(), n);
            multiply(out, Store::Replace, 1.0, probs, sizes.values(v.elements, head), Threads::One);
        };
        let blocks = (0..b * heads).flat_map(|head| sizes.blocks().map(move |rows| (head, rows)));
        if sizes.is_large() {
            let blocks: Vec<_> = blocks.collect();
            blocks.into_par_iter().for_each_init(Vec::new, |scratch, (index, rows)| run(scratch, index, rows));
        } else {
            let mut scratch = Vec::new();
            blocks.for_each(|(index, rows)| run(&mut scratch, index, rows));
        }
        Ok((y, (b, m, heads * dv).into()))
    }

    #[expect(unsafe_code, reason = "threads write the heads of three buffers")]
    fn backward(&self, [q, k, v]: [&Tensor; 3], _: &Tensor, grad: &Tensor) -> Result<[Option<Tensor>; 3]> {
        let sizes = self.sizes(q.shape(), k.shape(), v.shape())?;
        let Sizes { m, n, d, dv, heads, .. } = sizes;
        let (q_guard, k_guard, v_guard, grad_guard) =
            (Elements::of(q)?, Elements::of(k)?, Elements::of(v)?, Elements::of(grad)?);
        let (q_in, k_in, v_in, grad) = (q_guard.f32()?, k_guard.f32()?, v_guard.f32()?, grad_guard.f32()?);
        let buffer = |x: &Tensor| x.track_op().then(|| vec![0.0; x.elem_count()]);
        let (mut grad_q, mut grad_k, mut grad_v) = (buffer(q), buffer(k), buffer(v));
        {
            let out_q = grad_q.as_mut().map(|x| Interleaved::new(x, heads * d));
            let out_k = grad_k.as_mut().map(|x| Interleaved::new(x, heads * d));
            let out_v = grad_v.as_mut().map(|x| Interleaved::new(x, heads * dv));
            for_heads(&sizes, |index, threads| {
                let head = sizes.head(index);
                let mut probs = vec![0.0; sizes.block() * n];
                let mut grad_probs = vec![0.0; sizes.block() * n];
                for rows in sizes.blocks() {
                    let len = rows.len();
                    let (probs, grad_probs) = (&mut probs[..len * n], &mut grad_probs[..len * n]);
                    sizes.probabilities(q_in, k_in, head, rows.clone(), probs, threads);
                    let grad = sizes.outputs(grad, head, rows.clone());
                    if let Some(out) = &out_v {
                        // SAFETY: heads do not overlap, and one head's blocks come one after the other.
                        let out = unsafe { out.block(sizes.rows_of(head, n, 0..n, dv)) };
                        multiply(out, Store::Add, 1.0, Matrix::new(probs, len, n).transposed(), grad, threads);
                    }
                    if out_q.is_none() && out_k.is_none() {
                        continue;
                    }
                    let values = sizes.values(v_in, head).transposed();
                    multiply(MatrixMut::new(grad_probs, len, n), Store::Replace, 1.0, grad, values, threads);
                    scores_gradient(probs, grad_probs, n);
                    let grad_scores = Matrix::new(grad_probs, len, n);
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
        Ok([finish(grad_q, q)?, finish(grad_k, k)?, finish(grad_v, v)?])
    }
}
