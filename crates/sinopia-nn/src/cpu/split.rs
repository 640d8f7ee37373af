//! Splitting work over threads in pieces whose size does not depend on the number of threads, so that neither do results.

use rayon::prelude::*;

/// Below this many elements handing work to other threads costs more than it saves.
const MIN_PARALLEL: usize = 1 << 15;
/// Elements of a piece of work: tens of microseconds.
const PIECE: usize = 1 << 14;

/// Calls `f(first_row, rows)` for pieces of `out`, which consists of rows of `width` elements.
pub(crate) fn for_rows_mut<T: Send>(out: &mut [T], width: usize, f: impl Fn(usize, &mut [T]) + Send + Sync) {
    if out.is_empty() {
        return;
    }
    if out.len() < MIN_PARALLEL {
        return f(0, out);
    }
    let rows = (PIECE / width).max(1);
    out.par_chunks_mut(rows * width).enumerate().for_each(|(piece, out)| f(piece * rows, out));
}

/// `f(0)..f(count)` in order, on all threads if `elements` of work are worth it.
pub(crate) fn map<T: Send>(count: usize, elements: usize, f: impl Fn(usize) -> T + Send + Sync) -> Vec<T> {
    if elements < MIN_PARALLEL {
        return (0..count).map(f).collect();
    }
    (0..count).into_par_iter().map(f).collect()
}

/// Rows in a piece of work on rows of `width` elements.
pub(crate) fn piece_rows(width: usize) -> usize {
    (PIECE / width.max(1)).max(1)
}

/// `size` cut into the fewest parts of at most `most`, as even as multiples of `step` can be: how many, and how large.
pub(crate) fn cut(size: usize, most: usize, step: usize) -> (usize, usize) {
    let part = size.div_ceil(size.div_ceil(most).max(1)).next_multiple_of(step).max(1);
    (size.div_ceil(part), part)
}

#[cfg(test)]
mod tests {
    use super::cut;

    #[test]
    fn cuts_are_even() {
        assert_eq!(cut(2880, 384, 1), (8, 360));
        assert_eq!(cut(256, 168, 6), (2, 132));
        assert_eq!(cut(5, 2, 2), (3, 2));
        assert_eq!(cut(0, 384, 1), (0, 1));
    }
}
