//! Matrix products on strided views of slices.

#![expect(
    unsafe_code,
    reason = "the matrix product library takes pointers, and heads interleaved in one buffer are written by several threads"
)]

use std::marker::PhantomData;

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

/// A matrix to be written, row after row; no other view of its elements exists while it lives.
pub(crate) struct MatrixMut<'a> {
    first: *mut f32,
    rows: usize,
    columns: usize,
    row_stride: usize,
    elements: PhantomData<&'a mut [f32]>,
}

impl<'a> MatrixMut<'a> {
    /// `rows` × `columns` elements that lie row after row without gaps.
    pub(crate) fn new(elements: &'a mut [f32], rows: usize, columns: usize) -> Self {
        Self::strided(elements, rows, columns, columns)
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

/// May a product use all threads, or is its caller one of many at work?
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Threads {
    /// This one only.
    One,
    /// The whole pool, if the product is large enough to gain.
    All,
}

/// What a product does to the matrix that it is written to.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Store {
    /// Forgets what was there.
    Replace,
    /// Adds to what was there.
    Add,
}

/// `out = scale · a · b`, or `out += scale · a · b`.
///
/// An element's sum runs in the same order whatever the number of threads.
///
/// # Panics
/// If the shapes do not fit.
pub(crate) fn multiply(out: MatrixMut<'_>, store: Store, scale: f32, a: Matrix<'_>, b: Matrix<'_>, threads: Threads) {
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
    let parallelism = match threads {
        Threads::One => gemm::Parallelism::None,
        Threads::All => gemm::Parallelism::Rayon(0),
    };
    // SAFETY: the constructors of the views checked that every element named by rows, columns and strides lies within
    // their slices (strides are non-negative and below isize::MAX because the slices exist); `out` is exclusive, so it
    // cannot overlap `a` and `b`.
    unsafe {
        gemm::gemm(
            out.rows,
            out.columns,
            a.columns,
            out.first,
            1,
            out.row_stride as isize,
            store == Store::Add,
            a.elements.as_ptr(),
            a.column_stride as isize,
            a.row_stride as isize,
            b.elements.as_ptr(),
            b.column_stride as isize,
            b.row_stride as isize,
            1.0,
            scale,
            false,
            false,
            false,
            parallelism,
        );
    }
}
