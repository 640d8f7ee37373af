//! Attention whose products are of bf16 pairs: a block of queries meets the keys a few hundred at a time, and nothing larger is ever kept.
//!
//! Forward: Dao et al. 2022, arXiv 2205.14135 (running maximum and sum). Backward: the probabilities of a block are computed again from the
//! logarithms of its rows' sums, which the forward pass leaves behind, and the gradients of keys and values are added up over the blocks of queries.

use std::ops::Range;
use std::sync::OnceLock;

use candle_core::{Result, Shape, Tensor};
use rayon::prelude::*;

use super::plain::OP;
use super::sizes::{Sizes, stretches};
use crate::cpu::bf16::{Columns, RowBits, Side, multiply_into, round_to_bf16};
use crate::cpu::elements::{Argument, Elements, Kernel3, tensor};
use crate::cpu::matrix::{Block, Interleaved};
use crate::cpu::rows::{exp2_minus, max_of, probabilities_and_gradients, scale_row};

/// Queries of a block.
const QUERIES: usize = 112;
/// Keys of a block: scores of both blocks take 231 KiB.
const KEYS: usize = 512;
/// Scores from a query to the next: a line of the cache more than there are, so that they do not all want the same ones.
const SCORE_STRIDE: usize = KEYS + 16;

/// The operation of three arguments behind [`super::attention_with`] in bf16.
pub(super) struct Bf16 {
    heads: usize,
    /// `log₂ Σ 2^score` of each query of each head, (heads of all sequences, M), once the forward pass has run.
    totals: OnceLock<Vec<f32>>,
}

impl Bf16 {
    pub(super) fn new(heads: usize) -> Self {
        Self { heads, totals: OnceLock::new() }
    }
}

/// What is kept of a thread's work from block to block.
#[derive(Default)]
struct Scratch {
    queries: RowBits,
    /// (queries, SCORE_STRIDE)
    scores: Vec<f32>,
    probs: RowBits,
    /// (queries, Dv)
    out: Vec<f32>,
    max: Vec<f32>,
    sum: Vec<f32>,
}

impl Scratch {
    /// The scores of the block's queries for some keys, (queries, SCORE_STRIDE), as exponents of 2.
    fn score(&mut self, keys: &Columns, range: &Range<usize>) {
        self.scores.resize(QUERIES * SCORE_STRIDE, 0.0);
        multiply_into(
            &mut self.scores,
            SCORE_STRIDE,
            false,
            &self.queries,
            0..self.queries.row_pairs(),
            keys.part(range.clone()),
        );
    }

    /// Takes the next keys into the running maximum and sum; `self.probs` then holds `2^(score − max)`.
    fn exponentiate(&mut self, rows: usize, keys: usize) {
        self.probs.reset(rows, keys);
        for row in 0..rows {
            let scores = &mut self.scores[row * SCORE_STRIDE..][..keys];
            let max = max_of(scores);
            if max > self.max[row] {
                let shrink = (self.max[row] - max).exp2();
                self.sum[row] *= shrink;
                self.max[row] = max;
                let width = self.out.len() / rows;
                scale_row(&mut self.out[row * width..][..width], shrink);
            }
            self.sum[row] += exp2_minus(scores, self.max[row]);
            round_to_bf16(scores, &mut self.probs.row_mut(row)[..keys]);
        }
    }
}

impl Kernel3 for Bf16 {
    const NAME: &'static str = OP;

    fn forward(&self, [q, k, v]: [Argument; 3]) -> Result<(Vec<f32>, Shape)> {
        let sizes = Sizes::of(self.heads, [q.shape, k.shape, v.shape])?;
        let Sizes { b, heads, m, n, d, dv } = sizes;
        let shape = (b, m, heads * dv).into();
        // Keys side by side for the scores, values side by side for the result.
        let packed: Vec<(Columns, Columns)> = (0..sizes.all_heads())
            .into_par_iter()
            .map(|index| {
                let keys = sizes.head(k.elements, sizes.keys(), index);
                let values = sizes.head(v.elements, sizes.values(), index);
                let rows = |row: usize| values.row(row);
                (Columns::new(Side::Rows, n, d, |row| keys.row(row)), Columns::new(Side::Elements, n, dv, rows))
            })
            .collect();
        let mut y = vec![0.0; b * m * heads * dv];
        let blocks: Vec<(usize, Range<usize>)> =
            (0..sizes.all_heads()).flat_map(|head| stretches(m, QUERIES).map(move |rows| (head, rows))).collect();
        let out = Interleaved::new(&mut y, heads * dv);
        let block = |scratch: &mut Scratch, (index, rows): (usize, Range<usize>)| {
            let queries = sizes.head(q.elements, sizes.queries(), index);
            scratch.queries.fill_scaled(rows.len(), d, sizes.score_scale(), |row| queries.row(rows.start + row));
            let (keys, values) = &packed[index];
            scratch.start(rows.len(), dv);
            for range in stretches(sizes.n, KEYS) {
                scratch.score(keys, &range);
                scratch.exponentiate(rows.len(), range.len());
                let pairs = 0..scratch.probs.row_pairs();
                multiply_into(&mut scratch.out, dv, true, &scratch.probs, pairs, values.stretch(range));
            }
            scratch.write_result(&out, sizes.block_of(sizes.outputs(), index, rows));
            scratch.totals()
        };
        let totals: Vec<Vec<f32>> = blocks.into_par_iter().with_max_len(1).map_init(Scratch::default, block).collect();
        // An operation is applied once.
        let _ = self.totals.set(totals.concat());
        Ok((y, shape))
    }

    fn backward(&self, [q, k, v]: [&Tensor; 3], y: &Tensor, grad: &Tensor) -> Result<[Option<Tensor>; 3]> {
        let sizes = Sizes::of(self.heads, [q.shape(), k.shape(), v.shape()])?;
        let guards = [Elements::of(q)?, Elements::of(k)?, Elements::of(v)?, Elements::of(y)?, Elements::of(grad)?];
        let inputs = Inputs {
            q: guards[0].f32()?,
            k: guards[1].f32()?,
            v: guards[2].f32()?,
            y: guards[3].f32()?,
            grad: guards[4].f32()?,
            totals: self
                .totals
                .get()
                .ok_or_else(|| candle_core::Error::Msg(format!("{OP}: backward before forward")))?,
        };
        let wants_source = k.track_op() || v.track_op();
        let heads: Vec<HeadGradients> = (0..sizes.all_heads())
            .into_par_iter()
            .with_max_len(1)
            .map(|index| HeadGradients::new(&sizes, &inputs, index, wants_source))
            .collect();
        let join = |x: &Tensor, length: usize, width: usize, part: &dyn Fn(&HeadGradients) -> &Transposable| {
            if !x.track_op() {
                return Ok(None);
            }
            let mut joined = vec![0.0; x.elem_count()];
            for (index, head) in heads.iter().enumerate() {
                let start = index / sizes.heads * length * sizes.heads * width + index % sizes.heads * width;
                part(head).copy_to(&mut joined[start..], sizes.heads * width, length, width);
            }
            tensor(joined, x.shape()).map(Some)
        };
        Ok([
            join(q, sizes.m, sizes.d, &|head| &head.q)?,
            join(k, sizes.n, sizes.d, &|head| &head.k)?,
            join(v, sizes.n, sizes.dv, &|head| &head.v)?,
        ])
    }
}

impl Scratch {
    /// Nothing seen yet.
    fn start(&mut self, rows: usize, width: usize) {
        self.max.clear();
        self.max.resize(rows, f32::NEG_INFINITY);
        self.sum.clear();
        self.sum.resize(rows, 0.0);
        self.out.clear();
        self.out.resize(rows * width, 0.0);
    }

    /// `log₂ Σ 2^score` of each query.
    fn totals(&self) -> Vec<f32> {
        self.max.iter().zip(&self.sum).map(|(max, sum)| max + sum.log2()).collect()
    }

    /// `out / sum`, to a block of a head's columns of the result.
    #[expect(unsafe_code, reason = "threads write the blocks of one buffer")]
    fn write_result(&self, out: &Interleaved<'_>, block: Block) {
        // SAFETY: blocks differ in sequence, head or rows, and so do not overlap.
        let mut target = unsafe { out.block(block) };
        for (row, sum) in self.sum.iter().enumerate() {
            let scale = 1.0 / sum;
            for (target, x) in target.row_mut(row).iter_mut().zip(&self.out[row * block.columns..][..block.columns]) {
                *target = x * scale;
            }
        }
    }
}

/// Everything that gradients are computed from.
struct Inputs<'a> {
    q: &'a [f32],
    k: &'a [f32],
    v: &'a [f32],
    y: &'a [f32],
    grad: &'a [f32],
    /// See [`Bf16`].
    totals: &'a [f32],
}

/// A matrix of f32 that lies either row after row or column after column.
#[derive(Default)]
struct Transposable {
    elements: Vec<f32>,
    /// Elements from a column to the next, if the matrix lies column after column.
    column_stride: Option<usize>,
}

impl Transposable {
    fn copy_to(&self, target: &mut [f32], stride: usize, rows: usize, columns: usize) {
        for row in 0..rows {
            let target = &mut target[row * stride..][..columns];
            match self.column_stride {
                None => target.copy_from_slice(&self.elements[row * columns..][..columns]),
                Some(column_stride) => {
                    for (column, target) in target.iter_mut().enumerate() {
                        *target = self.elements[column * column_stride + row];
                    }
                }
            }
        }
    }
}

/// The gradients of one head: queries (M, D); keys and values transposed, (D, N) and (Dv, N), or empty if they are not wanted.
#[derive(Default)]
struct HeadGradients {
    q: Transposable,
    k: Transposable,
    v: Transposable,
}

/// What a head's blocks of queries have in common.
struct Source {
    /// Keys side by side, for scores.
    keys: Columns,
    /// Values side by side, for the gradient of probabilities.
    values: Columns,
    /// Elements of the keys side by side, for the gradient of queries.
    key_elements: Columns,
}

impl HeadGradients {
    fn new(sizes: &Sizes, inputs: &Inputs<'_>, index: usize, wants_source: bool) -> Self {
        let &Sizes { m, n, d, dv, .. } = sizes;
        let keys = sizes.head(inputs.k, sizes.keys(), index);
        let values = sizes.head(inputs.v, sizes.values(), index);
        let source = Source {
            keys: Columns::new(Side::Rows, n, d, |row| keys.row(row)),
            values: Columns::new(Side::Rows, n, dv, |row| values.row(row)),
            key_elements: Columns::new(Side::Elements, n, d, |row| keys.row(row)),
        };
        let mut gradients = Self::default();
        gradients.q.elements = vec![0.0; m * d];
        if wants_source {
            gradients.k = Transposable { elements: vec![0.0; d * n], column_stride: Some(n) };
            gradients.v = Transposable { elements: vec![0.0; dv * n], column_stride: Some(n) };
        }
        let mut scratch = BackwardScratch::default();
        for rows in stretches(m, QUERIES) {
            gradients.add_block(sizes, inputs, index, rows, &source, &mut scratch);
        }
        for x in &mut gradients.q.elements {
            *x *= 1.0 / (d as f32).sqrt();
        }
        // Queries came scaled for exponents of 2; the scores' own scale is 1/√D.
        for x in &mut gradients.k.elements {
            *x *= std::f32::consts::LN_2;
        }
        gradients
    }

    fn add_block(
        &mut self,
        sizes: &Sizes,
        inputs: &Inputs<'_>,
        index: usize,
        rows: Range<usize>,
        source: &Source,
        scratch: &mut BackwardScratch,
    ) {
        let &Sizes { n, d, dv, .. } = sizes;
        let count = rows.len();
        let queries = sizes.head(inputs.q, sizes.queries(), index);
        let grad = sizes.head(inputs.grad, sizes.outputs(), index);
        let y = sizes.head(inputs.y, sizes.outputs(), index);
        let BackwardScratch { forward, grad_bits, query_columns, grad_columns, grad_probs, .. } = scratch;
        forward.queries.fill_scaled(count, d, sizes.score_scale(), |row| queries.row(rows.start + row));
        grad_bits.fill_scaled(count, dv, 1.0, |row| grad.row(rows.start + row));
        let wants_source = !self.v.elements.is_empty();
        if wants_source {
            query_columns.fill_transposed(&forward.queries, d);
            grad_columns.fill_transposed(grad_bits, dv);
        }
        // `Σ p · ∂p` is `y · ∂y`.
        let means: Vec<f32> =
            rows.clone().map(|row| y.row(row).iter().zip(grad.row(row)).map(|(y, g)| y * g).sum()).collect();
        let totals = &inputs.totals[index * sizes.m..][rows.clone()];
        grad_probs.resize(QUERIES * SCORE_STRIDE, 0.0);
        for range in stretches(sizes.n, KEYS) {
            forward.score(&source.keys, &range);
            let pairs = 0..grad_bits.row_pairs();
            multiply_into(grad_probs, SCORE_STRIDE, false, grad_bits, pairs, source.values.part(range.clone()));
            scratch.probs.reset(count, range.len());
            scratch.grad_scores.reset(count, range.len());
            for row in 0..count {
                let scores = &mut forward.scores[row * SCORE_STRIDE..][..range.len()];
                let grads = &mut grad_probs[row * SCORE_STRIDE..][..range.len()];
                probabilities_and_gradients(scores, grads, totals[row], means[row]);
                round_to_bf16(scores, &mut scratch.probs.row_mut(row)[..range.len()]);
                round_to_bf16(grads, &mut scratch.grad_scores.row_mut(row)[..range.len()]);
            }
            let block_q = &mut self.q.elements[rows.start * d..rows.end * d];
            let pairs = 0..scratch.grad_scores.row_pairs();
            multiply_into(block_q, d, true, &scratch.grad_scores, pairs, source.key_elements.stretch(range.clone()));
            if wants_source {
                let probs = scratch.columns.fill_from_rows(&scratch.probs, range.len());
                let pairs = 0..grad_columns.row_pairs();
                multiply_into(&mut self.v.elements[range.start..], n, true, grad_columns, pairs.clone(), probs);
                let grad_scores = scratch.columns.fill_from_rows(&scratch.grad_scores, range.len());
                multiply_into(&mut self.k.elements[range.start..], n, true, query_columns, pairs, grad_scores);
            }
        }
    }
}

/// What is kept from block to block of the backward pass.
#[derive(Default)]
struct BackwardScratch {
    forward: Scratch,
    grad_bits: RowBits,
    /// (D, queries) and (Dv, queries).
    query_columns: RowBits,
    grad_columns: RowBits,
    /// (queries, SCORE_STRIDE)
    grad_probs: Vec<f32>,
    probs: RowBits,
    grad_scores: RowBits,
    columns: Columns,
}
