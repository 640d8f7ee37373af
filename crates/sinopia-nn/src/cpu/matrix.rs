//! Matrix products on strided views of slices.

#![expect(
    unsafe_code,
    reason = "tiles are multiplied through pointers, and heads interleaved in one buffer are written by several threads"
)]

use std::marker::PhantomData;
use std::ops::Range;

use super::columns::{Columns, Line};
use super::f32::{LANES, Tile, multiply_tile, transpose};
use super::isa::Isa;
use super::start::Begin;

/// A read-only matrix within a slice.
#[derive(Clone, Copy)]
pub(crate) struct Matrix<'a> {
    elements: &'a [f32],
    rows: usize,
    columns: usize,
    row_stride: usize,
    column_stride: usize,
}

impl<'a> Matrix<'a> {
    /// `rows` × `columns` elements that lie row after row without gaps.
    pub(crate) fn new(elements: &'a [f32], rows: usize, columns: usize) -> Self {
        Self::strided(elements, rows, columns, columns)
    }

    /// `rows` × `columns` elements whose rows start `row_stride` apart.
    ///
    /// # Panics
    /// If the slice ends before the matrix.
    pub(crate) fn strided(elements: &'a [f32], rows: usize, columns: usize, row_stride: usize) -> Self {
        assert!(extent(rows, columns, row_stride) <= elements.len(), "matrix outside its slice");
        Self { elements, rows, columns, row_stride, column_stride: 1 }
    }

    /// The number of rows.
    pub(crate) fn rows(&self) -> usize {
        self.rows
    }

    /// The number of columns.
    pub(crate) fn columns(&self) -> usize {
        self.columns
    }

    /// All elements from the first on.
    pub(super) fn elements(&self) -> &'a [f32] {
        self.elements
    }

    /// From a row to the next, if the elements of a row lie side by side.
    pub(super) fn stride_of_adjacent_columns(&self) -> Option<usize> {
        // A single row has no next.
        (self.column_stride == 1).then_some(self.row_stride.max(self.columns).max(1))
    }

    /// A row of a matrix whose rows' elements lie side by side.
    ///
    /// # Panics
    /// If there are fewer, or they do not.
    pub(crate) fn row(&self, row: usize) -> &'a [f32] {
        assert!(self.column_stride == 1 && row < self.rows, "row {row} of {}", self.rows);
        &self.elements[row * self.row_stride..][..self.columns]
    }

    /// The elements of a column.
    pub(super) fn column(&self, column: usize) -> impl Iterator<Item = &'a f32> {
        self.elements[column * self.column_stride..].iter().step_by(self.row_stride.max(1)).take(self.rows)
    }

    /// Some of the rows.
    ///
    /// # Panics
    /// If there are fewer.
    pub(crate) fn narrow_rows(self, rows: Range<usize>) -> Self {
        self.transposed().narrow(rows).transposed()
    }

    /// Some of the columns.
    ///
    /// # Panics
    /// If there are fewer.
    pub(crate) fn narrow(self, columns: Range<usize>) -> Self {
        assert!(columns.end <= self.columns, "columns {columns:?} of {}", self.columns);
        let elements = match self.rows {
            0 => self.elements,
            _ => &self.elements[(columns.start * self.column_stride).min(self.elements.len())..],
        };
        Self { elements, columns: columns.len(), ..self }
    }

    /// The same elements with rows and columns exchanged.
    pub(crate) fn transposed(self) -> Self {
        Self {
            elements: self.elements,
            rows: self.columns,
            columns: self.rows,
            row_stride: self.column_stride,
            column_stride: self.row_stride,
        }
    }
}

/// Lines of at most [`LANES`] columns whose elements lie side by side, turned in blocks.
fn fill_turned<'a>(columns: impl Iterator<Item = &'a [f32]> + Clone, scale: f32, lines: &mut [Line]) {
    let (mut block, mut turned) = ([0.0; LANES * LANES], [0.0; LANES * LANES]);
    for (part, lines) in lines.chunks_mut(LANES).enumerate() {
        for (column, row) in columns.clone().zip(block.chunks_exact_mut(LANES)) {
            row[..lines.len()].copy_from_slice(&column[part * LANES..][..lines.len()]);
        }
        transpose(&block, &mut turned);
        for (Line(line), row) in lines.iter_mut().zip(turned.chunks_exact(LANES)) {
            for (element, x) in line.iter_mut().zip(row) {
                *element = scale * x;
            }
        }
    }
}

impl Columns {
    /// `scale · matrix`
    pub(crate) fn new(matrix: Matrix<'_>, scale: f32) -> Self {
        let mut columns = Self::default();
        columns.fill(matrix, scale);
        columns
    }

    /// Forgets what it held and takes `scale · matrix`.
    pub(crate) fn fill(&mut self, matrix: Matrix<'_>, scale: f32) {
        (self.rows, self.panels) = (matrix.rows(), matrix.columns().div_ceil(LANES));
        self.lines.clear();
        self.lines.resize(self.rows * self.panels, Line::ZERO);
        if self.lines.is_empty() {
            return;
        }
        for (panel, lines) in self.lines.chunks_exact_mut(self.rows).enumerate() {
            let first = panel * LANES;
            let columns = first..(first + LANES).min(matrix.columns());
            if let Some(stride) = matrix.stride_of_adjacent_columns() {
                for (line, row) in lines.iter_mut().zip(matrix.elements().chunks(stride)) {
                    for (element, x) in line.0.iter_mut().zip(&row[columns.clone()]) {
                        *element = scale * x;
                    }
                }
            } else if matrix.row_stride == 1 {
                let elements = columns.map(|column| &matrix.elements[column * matrix.column_stride..]);
                fill_turned(elements, scale, lines);
            } else {
                for (lane, column) in columns.enumerate() {
                    for (line, x) in lines.iter_mut().zip(matrix.column(column)) {
                        line.0[lane] = scale * x;
                    }
                }
            }
        }
    }
}

/// A matrix to be written, row after row; no other view of its elements exists while it lives.
pub(crate) struct MatrixMut<'a> {
    first: *mut f32,
    rows: usize,
    columns: usize,
    row_stride: usize,
    elements: PhantomData<&'a mut [f32]>,
}

impl<'a> MatrixMut<'a> {
    /// Lines below each other.
    pub(crate) fn of_lines(lines: &'a mut [Line]) -> Self {
        let first = lines.as_mut_ptr().cast();
        Self { first, rows: lines.len(), columns: LANES, row_stride: LANES, elements: PhantomData }
    }

    /// `rows` × `columns` elements whose rows start `row_stride` apart.
    ///
    /// # Panics
    /// If the slice ends before the matrix.
    pub(crate) fn strided(elements: &'a mut [f32], rows: usize, columns: usize, row_stride: usize) -> Self {
        assert!(extent(rows, columns, row_stride) <= elements.len(), "matrix outside its slice");
        Self { first: elements.as_mut_ptr(), rows, columns, row_stride, elements: PhantomData }
    }
}

impl MatrixMut<'_> {
    /// The same matrix for a shorter time.
    pub(crate) fn reborrow(&mut self) -> MatrixMut<'_> {
        self.narrow_mut(0..self.columns)
    }

    /// Some of the columns.
    fn narrow_mut(&mut self, columns: Range<usize>) -> MatrixMut<'_> {
        assert!(columns.end <= self.columns, "columns {columns:?} of {}", self.columns);
        // Without rows there is no such column either.
        MatrixMut { first: self.first.wrapping_add(columns.start), columns: columns.len(), ..*self }
    }

    /// A row to be written.
    ///
    /// # Panics
    /// If there are fewer rows.
    pub(crate) fn row_mut(&mut self, row: usize) -> &mut [f32] {
        assert!(row < self.rows, "row {row} of {}", self.rows);
        // SAFETY: the constructors checked that all rows lie within their slice, which nobody else sees.
        unsafe { std::slice::from_raw_parts_mut(self.first.add(row * self.row_stride), self.columns) }
    }
}

/// A buffer whose rows hold one block of columns for each head, to be written head by head from several threads.
pub(crate) struct Interleaved<'a> {
    first: *mut f32,
    len: usize,
    row_stride: usize,
    elements: PhantomData<&'a mut [f32]>,
}

// SAFETY: threads share it only to make views with `block`, whose callers promise that the views do not overlap.
unsafe impl Sync for Interleaved<'_> {}

/// A part of a matrix: where it begins, and how many rows and columns it has.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Block {
    pub(crate) row: usize,
    pub(crate) column: usize,
    pub(crate) rows: usize,
    pub(crate) columns: usize,
}

impl<'a> Interleaved<'a> {
    /// The buffer with rows of `row_stride` elements.
    pub(crate) fn new(elements: &'a mut [f32], row_stride: usize) -> Self {
        Self { first: elements.as_mut_ptr(), len: elements.len(), row_stride, elements: PhantomData }
    }

    /// A block of the elements.
    ///
    /// # Safety
    /// No two blocks in use at the same time may share an element.
    ///
    /// # Panics
    /// If the block does not lie within the buffer.
    pub(crate) unsafe fn block(&self, Block { row, column, rows, columns }: Block) -> MatrixMut<'_> {
        let start = row * self.row_stride + column;
        assert!(
            column + columns <= self.row_stride && start + extent(rows, columns, self.row_stride) <= self.len,
            "block outside its buffer"
        );
        MatrixMut {
            // SAFETY: the block was just found to lie within the buffer.
            first: unsafe { self.first.add(start) },
            rows,
            columns,
            row_stride: self.row_stride,
            elements: PhantomData,
        }
    }
}

/// Elements from the first to the one after the last of a matrix.
fn extent(rows: usize, columns: usize, row_stride: usize) -> usize {
    if rows == 0 || columns == 0 {
        return 0;
    }
    (rows - 1) * row_stride + columns
}

/// What a product does to the matrix that it is written to.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Store {
    /// Forgets what was there.
    Replace,
    /// Adds to what was there.
    Add,
}

/// `out = a · panel`, or `out += a · panel`, for as many columns of the panel as `out` has.
///
/// # Panics
/// If the shapes do not fit.
pub(crate) fn multiply_panel(out: &mut MatrixMut<'_>, store: Store, a: Matrix<'_>, panel: &[Line]) {
    assert!(
        out.rows == a.rows && a.columns == panel.len() && out.columns <= LANES,
        "product of {}×{} and {} lines into {}×{}",
        a.rows,
        a.columns,
        panel.len(),
        out.rows,
        out.columns
    );
    if out.columns == 0 {
        return;
    }
    let tile = Tile {
        rows: a.elements.as_ptr(),
        row_stride: a.row_stride,
        column_stride: a.column_stride,
        panels: [panel.as_ptr().cast(); 2],
        depth: panel.len(),
        result: out.first,
        result_stride: out.row_stride,
        begin: if store == Store::Add { Begin::Result } else { Begin::Zero },
        columns: out.columns,
    };
    // A panel alone has one product for each element that is broadcast, which wider instructions do no faster.
    let isa = Isa::best().min(Isa::Avx2);
    // SAFETY: the constructors of the views checked that every element named by rows, columns and strides lies within their slices; `out` is
    // exclusive, so it cannot overlap `a` and `panel`, whose lines are as many as `a` has columns.
    unsafe { multiply_tile(isa, out.rows, &tile) };
}

/// Rows of `b` that are packed at a time: two panels of them lie in the first-level cache.
const BLOCK_DEPTH: usize = 256;
/// Columns of `b` that are packed at a time.
const BLOCK_COLUMNS: usize = 64 * LANES;

/// `out = scale · a · b`
///
/// # Panics
/// If the shapes do not fit.
pub(crate) fn multiply(mut out: MatrixMut<'_>, scale: f32, a: Matrix<'_>, b: Matrix<'_>) {
    assert!(
        out.rows == a.rows && a.columns == b.rows && b.columns == out.columns,
        "product of {}×{} and {}×{} into {}×{}",
        a.rows,
        a.columns,
        b.rows,
        b.columns,
        out.rows,
        out.columns
    );
    let mut packed = Columns::default();
    for first_column in (0..b.columns).step_by(BLOCK_COLUMNS) {
        let columns = first_column..(first_column + BLOCK_COLUMNS).min(b.columns);
        // An empty sum is a product, too: its one block has no rows.
        for first in (0..b.rows.max(1)).step_by(BLOCK_DEPTH) {
            let depth = first..(first + BLOCK_DEPTH).min(b.rows);
            let store = if first == 0 { Store::Replace } else { Store::Add };
            packed.fill(b.narrow(columns.clone()).narrow_rows(depth.clone()), scale);
            for panel in 0..packed.panels() {
                let first = first_column + panel * LANES;
                let mut out = out.narrow_mut(first..(first + LANES).min(columns.end));
                multiply_panel(&mut out, store, a.narrow(depth.clone()), packed.whole_panel(panel));
            }
        }
    }
}
