//! Attention in f32: a block of queries meets the keys some hundred at a time, and nothing larger is ever kept.
//!
//! Forward: Dao et al. 2022, arXiv 2205.14135. As many queries as a panel has columns lie side by side, a line of their scores for each key, so
//! that maxima, sums and powers need no other order than the products': the scores of a panel are the right side of the product with the
//! values. Backward: the scores are computed again, here with keys side by side, and become probabilities by the forward pass' maxima and sums.

use std::ops::Range;
use std::sync::OnceLock;

use candle_core::{Result, Shape, Tensor};

use super::plain::OP;
use super::sizes::{Sizes, Vectors, stretches};
use crate::cpu::columns::{Columns, Line};
use crate::cpu::elements::{Argument, Elements, Kernel3, tensor};
use crate::cpu::f32::LANES;
use crate::cpu::matrix::{Block, Interleaved, Matrix, MatrixMut, Store, multiply_panel};
use crate::cpu::rows::{QueryRow, Running, differentiate_lines, exponentiate_lines, scale_lines};

/// Queries of a block, forward: six panels share the keys and values that were read.
const QUERIES: usize = 6 * LANES;
/// Keys of a block: a multiple of the rows of all tiles. A panel of scores takes 8 KiB.
const KEYS: usize = 126;

/// The operation of three arguments behind [`super::attention`].
pub(super) struct Flash {
    heads: usize,
    /// Whether query i sees keys 0..=i + N − M only.
    causal: bool,
    /// Of every head and query, found forward and used backward.
    statistics: OnceLock<Vec<Statistics>>,
}

/// What makes probabilities of a query's scores s: `p = 2^(s − max) · scale`.
#[derive(Debug, Clone, Copy)]
struct Statistics {
    max: f32,
    scale: f32,
}

impl Flash {
    pub(super) fn new(heads: usize, causal: bool) -> Self {
        Self { heads, causal, statistics: OnceLock::new() }
    }

    /// Keys that query `query` sees.
    fn visible(&self, sizes: &Sizes, query: usize) -> usize {
        if self.causal { (query + 1 + sizes.n - sizes.m).min(sizes.n) } else { sizes.n }
    }
}

impl Kernel3 for Flash {
    const NAME: &'static str = OP;

    fn forward(&self, [q, k, v]: [Argument; 3]) -> Result<(Vec<f32>, Shape)> {
        let sizes = Sizes::of(self.heads, [q.shape, k.shape, v.shape])?;
        let Sizes { b, heads, m, dv, .. } = sizes;
        let blocks: Vec<(usize, Range<usize>)> =
            (0..sizes.all_heads()).flat_map(|head| stretches(m, QUERIES).map(move |rows| (head, rows))).collect();
        let mut y = vec![0.0; b * m * heads * dv];
        let out = Interleaved::new(&mut y, heads * dv);
        let statistics = sizes.map_with_scratch(blocks.len(), |scratch: &mut Forward, block| {
            let (index, rows) = &blocks[block];
            let keys = sizes.head(k.elements, sizes.keys(), *index);
            let values = sizes.head(v.elements, sizes.values(), *index);
            let queries = sizes.head(q.elements, sizes.queries(), *index).narrow_rows(rows.clone());
            scratch.start(queries, sizes.score_scale(), dv);
            for range in stretches(self.visible(&sizes, rows.end - 1), KEYS) {
                for panel in 0..scratch.panels.len() {
                    scratch.score(panel, keys.narrow_rows(range.clone()));
                    if self.causal {
                        self.hide(&sizes, rows.start + panel * LANES, range.start, &mut scratch.scores);
                    }
                    scratch.add_values(panel, values.narrow_rows(range.clone()));
                }
            }
            scratch.finish(&out, sizes.block_of(sizes.outputs(), *index, rows.clone()))
        });
        // A graph may run an operation once only, so that nothing is there yet; if it were, it would be the same.
        let _ = self.statistics.set(statistics.into_iter().flatten().collect());
        Ok((y, (b, m, heads * dv).into()))
    }

    fn backward(&self, [q, k, v]: [&Tensor; 3], y: &Tensor, grad: &Tensor) -> Result<[Option<Tensor>; 3]> {
        let sizes = Sizes::of(self.heads, [q.shape(), k.shape(), v.shape()])?;
        let Some(statistics) = self.statistics.get() else {
            candle_core::bail!("{OP}: a gradient was asked for before the result");
        };
        let guards = [Elements::of(q)?, Elements::of(k)?, Elements::of(v)?, Elements::of(y)?, Elements::of(grad)?];
        let backward = Backward {
            flash: self,
            sizes,
            q: guards[0].f32()?,
            k: guards[1].f32()?,
            v: guards[2].f32()?,
            y: guards[3].f32()?,
            grad: guards[4].f32()?,
            statistics,
            wants_queries: q.track_op(),
            wants_source: k.track_op() || v.track_op(),
        };
        let parts = backward.parts();
        let join = |x: &Tensor, join: &dyn Fn(&[Part]) -> Vec<f32>| {
            if x.track_op() { tensor(join(&parts), x.shape()).map(Some) } else { Ok(None) }
        };
        // Queries came scaled for exponents of 2; the scores' own scale is 1/√D.
        let key_scale = std::f32::consts::LN_2;
        Ok([
            join(q, &|parts| backward.join_queries(parts))?,
            join(k, &|parts| backward.join_source(parts, sizes.keys(), key_scale, |part| &part.k))?,
            join(v, &|parts| backward.join_source(parts, sizes.values(), 1.0, |part| &part.v))?,
        ])
    }
}

impl Flash {
    /// Scores of keys that come after their query get no weight: lines of keys from `first_key` on, of queries from `first_query` on.
    fn hide(&self, sizes: &Sizes, first_query: usize, first_key: usize, lines: &mut [Line]) {
        for (key, line) in (first_key..).zip(lines) {
            for (query, score) in (first_query..).zip(&mut line.0) {
                if key >= self.visible(sizes, query) {
                    *score = f32::NEG_INFINITY;
                }
            }
        }
    }
}

/// What is kept of a thread's work from block to block of the forward pass.
#[derive(Default)]
struct Forward {
    /// (D, queries)
    queries: Columns,
    panels: Vec<Running>,
    /// Scores of a panel, then powers: (keys), a line each.
    scores: Vec<Line>,
    /// The sums of values so far, (Dv, queries) in panels.
    out: Vec<Line>,
    /// Width of the values, Dv.
    width: usize,
}

impl Forward {
    /// Takes queries; no key was seen yet.
    fn start(&mut self, queries: Matrix<'_>, scale: f32, width: usize) {
        self.queries.fill(queries.transposed(), scale);
        let panels = self.queries.panels();
        self.width = width;
        self.panels.clear();
        self.panels.resize(panels, Running::NOTHING);
        self.out.clear();
        self.out.resize(panels * width, Line::ZERO);
    }

    /// The scores of a panel of queries for some keys.
    fn score(&mut self, panel: usize, keys: Matrix<'_>) {
        self.scores.resize(keys.rows(), Line::ZERO);
        let mut scores = MatrixMut::of_lines(&mut self.scores);
        multiply_panel(&mut scores, Store::Replace, keys, self.queries.whole_panel(panel));
    }

    /// Adds the keys' values by the weight of their scores.
    fn add_values(&mut self, panel: usize, values: Matrix<'_>) {
        let out = &mut self.out[panel * self.width..][..self.width];
        if let Some(shrink) = exponentiate_lines(&mut self.scores, &mut self.panels[panel]) {
            scale_lines(out, &shrink);
        }
        let mut out = MatrixMut::of_lines(out);
        multiply_panel(&mut out, Store::Add, values.transposed(), &self.scores);
    }

    /// Writes the weighted means to a block of a head's columns of the result, and returns the queries' statistics.
    #[expect(unsafe_code, reason = "threads write the blocks of one buffer")]
    fn finish(&mut self, out: &Interleaved<'_>, block: Block) -> Vec<Statistics> {
        // SAFETY: blocks differ in sequence, head or rows, and so do not overlap.
        let mut target = unsafe { out.block(block) };
        let mut statistics = Vec::with_capacity(block.rows);
        for (panel, running) in self.panels.iter().enumerate() {
            let out = &mut self.out[panel * self.width..][..self.width];
            let scale = running.sum.map(|sum| 1.0 / sum);
            scale_lines(out, &scale);
            let lanes = running.max.iter().zip(&scale).take(block.rows - panel * LANES);
            for (lane, (&max, &scale)) in lanes.enumerate() {
                let row = target.row_mut(panel * LANES + lane);
                for (target, line) in row.iter_mut().zip(&*out) {
                    *target = line.0[lane];
                }
                statistics.push(Statistics { max, scale });
            }
        }
        statistics
    }
}

/// Queries of a block, backward: a multiple of the rows of all tiles. Two panels of scores take 10 KiB.
const BACKWARD_QUERIES: usize = 84;
/// Keys whose gradients of scores are kept at a time for the gradient of the queries.
const BACKWARD_KEYS: usize = 8 * LANES;
/// From one query's gradients of scores to the next's: not a power of two, which would use a part of the cache only.
const GRADIENT_STRIDE: usize = BACKWARD_KEYS + LANES;
/// Keys of a piece of work: a head has a second one only if it is long, because each has its own sum of the gradient of all queries.
const STRETCH: usize = 8 * BACKWARD_KEYS;

/// Everything that gradients are computed from.
struct Backward<'a> {
    flash: &'a Flash,
    sizes: Sizes,
    q: &'a [f32],
    k: &'a [f32],
    v: &'a [f32],
    y: &'a [f32],
    grad: &'a [f32],
    statistics: &'a [Statistics],
    wants_queries: bool,
    wants_source: bool,
}

/// What a stretch of a head's keys adds to gradients; empty where it is not wanted.
struct Part {
    /// (M, D), to be added up over the stretches, before the scores' scale.
    q: Vec<f32>,
    /// (D, keys) in panels.
    k: Vec<Line>,
    /// (Dv, keys) in panels.
    v: Vec<Line>,
}

/// A stretch of a head's keys and values.
struct Source {
    range: Range<usize>,
    /// (D, keys), for scores.
    keys: Columns,
    /// (Dv, keys), for the gradient of probabilities.
    values: Columns,
    /// (keys, D), for the gradient of queries.
    key_elements: Columns,
}

/// What is kept of a thread's work from block to block of the backward pass.
#[derive(Default)]
struct BackwardScratch {
    /// (queries, D), scaled.
    queries: Vec<f32>,
    rows: Vec<QueryRow>,
    /// (queries), a line of keys each: scores, then probabilities.
    scores: Vec<Line>,
    /// Gradients of probabilities, then of scores.
    grads: Vec<Line>,
    /// Gradients of scores again, query by query: (queries, GRADIENT_STRIDE)
    grad_rows: Vec<f32>,
}

/// A block of one head's queries.
struct QueryBlock<'a> {
    rows: Range<usize>,
    /// (queries, D), scaled.
    queries: Matrix<'a>,
    /// (queries, Dv), of the result.
    grad: Matrix<'a>,
    statistics: &'a [QueryRow],
}

impl Backward<'_> {
    fn stretches_of_a_head(&self) -> usize {
        self.sizes.n.div_ceil(STRETCH)
    }

    /// Of every stretch of every head, one head after the other.
    fn parts(&self) -> Vec<Part> {
        let count = self.stretches_of_a_head();
        self.sizes.map_with_scratch(self.sizes.all_heads() * count, |scratch, piece| {
            let first = piece % count * STRETCH;
            self.part(piece / count, first..(first + STRETCH).min(self.sizes.n), scratch)
        })
    }

    /// What the keys `range` of a head add.
    fn part(&self, index: usize, range: Range<usize>, scratch: &mut BackwardScratch) -> Part {
        let Sizes { m, d, dv, .. } = self.sizes;
        let keys = self.sizes.head(self.k, self.sizes.keys(), index).narrow_rows(range.clone());
        let values = self.sizes.head(self.v, self.sizes.values(), index).narrow_rows(range.clone());
        let source = Source {
            keys: Columns::new(keys.transposed(), 1.0),
            values: Columns::new(values.transposed(), 1.0),
            key_elements: if self.wants_queries { Columns::new(keys, 1.0) } else { Columns::default() },
            range,
        };
        let lines = |width: usize| vec![Line::ZERO; if self.wants_source { source.keys.panels() * width } else { 0 }];
        let mut part = Part { q: vec![0.0; if self.wants_queries { m * d } else { 0 }], k: lines(d), v: lines(dv) };
        for rows in stretches(m, BACKWARD_QUERIES) {
            self.add_block(index, rows, &source, scratch, &mut part);
        }
        part
    }

    fn add_block(
        &self,
        index: usize,
        rows: Range<usize>,
        source: &Source,
        scratch: &mut BackwardScratch,
        part: &mut Part,
    ) {
        let d = self.sizes.d;
        let BackwardScratch { queries, rows: statistics, scores, grads, grad_rows } = scratch;
        let grad = self.sizes.head(self.grad, self.sizes.outputs(), index).narrow_rows(rows.clone());
        self.scaled_queries(index, &rows, queries);
        self.query_rows(index, &rows, grad, statistics);
        scores.resize(rows.len(), Line::ZERO);
        grads.resize(rows.len(), Line::ZERO);
        grad_rows.resize(BACKWARD_QUERIES * GRADIENT_STRIDE, 0.0);
        let queries = Matrix::new(queries, rows.len(), d);
        let block = QueryBlock { rows: rows.clone(), queries, grad, statistics };
        let seen = self.flash.visible(&self.sizes, rows.end - 1).clamp(source.range.start, source.range.end);
        for keys in stretches(seen - source.range.start, BACKWARD_KEYS) {
            for (place, first) in keys.clone().step_by(LANES).enumerate() {
                self.differentiate(&block, source, first, [scores, grads], &mut grad_rows[place * LANES..]);
                if self.wants_source {
                    let panel = first / LANES;
                    add_product(&mut part.v, panel, block.grad.transposed(), scores);
                    add_product(&mut part.k, panel, block.queries.transposed(), grads);
                }
            }
            if self.wants_queries {
                let grad_scores = Matrix::strided(grad_rows, rows.len(), keys.len(), GRADIENT_STRIDE);
                for panel in 0..source.key_elements.panels() {
                    let first = panel * LANES;
                    let width = LANES.min(d - first);
                    let mut out = MatrixMut::strided(&mut part.q[rows.start * d + first..], rows.len(), width, d);
                    let elements = source.key_elements.panel(panel, keys.clone());
                    multiply_panel(&mut out, Store::Add, grad_scores, elements);
                }
            }
        }
    }

    /// Probabilities of a block of queries for the keys of the panel that begins with the stretch's key `first`, and the gradients of scores.
    fn differentiate(
        &self,
        block: &QueryBlock<'_>,
        source: &Source,
        first: usize,
        [scores, grads]: [&mut Vec<Line>; 2],
        grad_rows: &mut [f32],
    ) {
        let panel = first / LANES;
        let mut target = MatrixMut::of_lines(scores);
        multiply_panel(&mut target, Store::Replace, block.queries, source.keys.whole_panel(panel));
        if self.flash.causal {
            for (query, line) in block.rows.clone().zip(scores.iter_mut()) {
                let seen = self.flash.visible(&self.sizes, query).saturating_sub(source.range.start + first);
                line.0[seen.min(LANES)..].fill(f32::NEG_INFINITY);
            }
        }
        let mut target = MatrixMut::of_lines(grads);
        multiply_panel(&mut target, Store::Replace, block.grad, source.values.whole_panel(panel));
        differentiate_lines(scores, grads, block.statistics, grad_rows, GRADIENT_STRIDE);
    }

    /// The queries `rows` of a head, such that scores are exponents of 2.
    fn scaled_queries(&self, index: usize, rows: &Range<usize>, scaled: &mut Vec<f32>) {
        let scale = self.sizes.score_scale();
        let queries = self.sizes.head(self.q, self.sizes.queries(), index);
        scaled.clear();
        for row in rows.clone() {
            scaled.extend(queries.row(row).iter().map(|x| scale * x));
        }
    }

    /// Of the queries `rows` of a head; `Σ p · ∂p` is `y · ∂y`.
    fn query_rows(&self, index: usize, rows: &Range<usize>, grad: Matrix<'_>, found: &mut Vec<QueryRow>) {
        let y = self.sizes.head(self.y, self.sizes.outputs(), index);
        let statistics = &self.statistics[index * self.sizes.m..][rows.clone()];
        found.clear();
        found.extend(statistics.iter().zip(rows.clone()).zip(0..).map(|((statistics, row), place)| {
            let mean = y.row(row).iter().zip(grad.row(place)).map(|(y, grad)| y * grad).sum();
            QueryRow { max: statistics.max, scale: statistics.scale, mean }
        }));
    }

    /// The gradient of the queries, (B, M, heads·D).
    fn join_queries(&self, parts: &[Part]) -> Vec<f32> {
        let Sizes { m, d, .. } = self.sizes;
        let scale = self.sizes.scale();
        let parts: Vec<&[Part]> = parts.chunks(self.stretches_of_a_head()).collect();
        self.join(self.sizes.queries(), m, |index, _, row, target| {
            target.fill(0.0);
            for part in parts[index] {
                for (sum, x) in target.iter_mut().zip(&part.q[row * d..][..d]) {
                    *sum += scale * x;
                }
            }
        })
    }

    /// The gradient of keys or values, (B, N, heads · width), from its panels.
    fn join_source(
        &self,
        parts: &[Part],
        vectors: Vectors,
        scale: f32,
        panels: impl Fn(&Part) -> &[Line] + Sync,
    ) -> Vec<f32> {
        let count = self.stretches_of_a_head();
        self.join(vectors, STRETCH, |index, piece, row, target| {
            let lines = &panels(&parts[index * count + piece])[row / LANES * vectors.width..];
            for (target, line) in target.iter_mut().zip(lines) {
                *target = scale * line.0[row % LANES];
            }
        })
    }

    /// (B, length, heads · width) of `write(head, piece, row of the piece, vector)`, in pieces of `step` vectors of a head.
    #[expect(unsafe_code, reason = "threads write the heads of one buffer")]
    fn join(
        &self,
        vectors: Vectors,
        step: usize,
        write: impl Fn(usize, usize, usize, &mut [f32]) + Send + Sync,
    ) -> Vec<f32> {
        let row_stride = self.sizes.heads * vectors.width;
        let mut joined = vec![0.0; self.sizes.b * vectors.length * row_stride];
        let out = Interleaved::new(&mut joined, row_stride);
        let pieces = vectors.length.div_ceil(step);
        self.sizes.map_with_scratch(self.sizes.all_heads() * pieces, |(): &mut (), piece| {
            let (index, piece) = (piece / pieces, piece % pieces);
            let rows = piece * step..((piece + 1) * step).min(vectors.length);
            // SAFETY: pieces differ in head or rows, and so do not overlap.
            let mut block = unsafe { out.block(self.sizes.block_of(vectors, index, rows.clone())) };
            for row in 0..rows.len() {
                write(index, piece, row, block.row_mut(row));
            }
        });
        joined
    }
}

/// Adds `a · right` to a panel of `lines`, of which each has as many as `a` has rows.
fn add_product(lines: &mut [Line], panel: usize, a: Matrix<'_>, right: &[Line]) {
    let lines = &mut lines[panel * a.rows()..][..a.rows()];
    let mut out = MatrixMut::of_lines(lines);
    multiply_panel(&mut out, Store::Add, a, right);
}
