//! The sizes of an attention, and where the vectors of its heads lie.

use std::ops::Range;

use candle_core::{Result, Shape};
use rayon::prelude::*;

use crate::cpu::matrix::{Block, Matrix};

/// Multiplications below which other threads cost more than they save.
const MIN_PARALLEL: usize = 1 << 18;

/// The sizes of one application. Its heads are counted through all sequences.
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
}

/// What a head has of vectors within (B, length, heads · width): queries, keys, values, results.
#[derive(Debug, Clone, Copy)]
pub(super) struct Vectors {
    pub(super) length: usize,
    pub(super) width: usize,
}

impl Sizes {
    /// Of queries (B, M, heads·D), keys (B, N, heads·D) and values (B, N, heads·Dv).
    pub(super) fn of(heads: usize, [q, k, v]: [&Shape; 3]) -> Result<Self> {
        let ((b, m, c), (_, n, _), (_, _, cv)) = (q.dims3()?, k.dims3()?, v.dims3()?);
        Ok(Self { b, heads, m, n, d: c / heads, dv: cv / heads })
    }

    /// Heads of all sequences.
    pub(super) fn all_heads(&self) -> usize {
        self.b * self.heads
    }

    /// `1 / √D`.
    pub(super) fn scale(&self) -> f32 {
        (1.0 / (self.d as f64).sqrt()) as f32
    }

    /// `log₂ e / √D`, for scores that are exponents of 2.
    pub(super) fn score_scale(&self) -> f32 {
        (std::f64::consts::LOG2_E / (self.d as f64).sqrt()) as f32
    }

    /// Are there enough multiplications for several threads?
    pub(super) fn is_large(&self) -> bool {
        self.all_heads() * self.m * self.n * (self.d + self.dv) >= MIN_PARALLEL
    }

    pub(super) fn queries(&self) -> Vectors {
        Vectors { length: self.m, width: self.d }
    }

    pub(super) fn keys(&self) -> Vectors {
        Vectors { length: self.n, width: self.d }
    }

    pub(super) fn values(&self) -> Vectors {
        Vectors { length: self.n, width: self.dv }
    }

    /// Vectors of the result.
    pub(super) fn outputs(&self) -> Vectors {
        Vectors { length: self.m, width: self.dv }
    }

    /// A head's vectors, (length, width), of `elements` (B, length, heads · width).
    pub(super) fn head<'a>(&self, elements: &'a [f32], vectors: Vectors, index: usize) -> Matrix<'a> {
        let block = self.block_of(vectors, index, 0..vectors.length);
        let stride = self.heads * vectors.width;
        let start = (block.row * stride + block.column).min(elements.len());
        Matrix::strided(&elements[start..], block.rows, block.columns, stride)
    }

    /// Where some of a head's vectors lie in (B · length, heads · width).
    pub(super) fn block_of(&self, Vectors { length, width }: Vectors, index: usize, rows: Range<usize>) -> Block {
        let row = index / self.heads * length + rows.start;
        Block { row, column: index % self.heads * width, rows: rows.len(), columns: width }
    }

    /// `f(0)..f(count)` in order, side by side if there is enough to do; each thread has its own scratch.
    pub(super) fn map_with_scratch<S: Default, T: Send>(
        &self,
        count: usize,
        f: impl Fn(&mut S, usize) -> T + Send + Sync,
    ) -> Vec<T> {
        if self.is_large() {
            return (0..count).into_par_iter().with_max_len(1).map_init(S::default, f).collect();
        }
        let mut scratch = S::default();
        (0..count).map(|index| f(&mut scratch, index)).collect()
    }
}

/// `0..length` in stretches of `step`.
pub(super) fn stretches(length: usize, step: usize) -> impl Iterator<Item = Range<usize>> + Clone {
    (0..length).step_by(step).map(move |first| first..(first + step).min(length))
}
