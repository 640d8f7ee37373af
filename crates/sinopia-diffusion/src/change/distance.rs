//! How far each pixel is from the nearest that is set.

use crate::image::ImageSize;

/// Squared distance in pixels to the nearest that is set, for each of (H, W), row by row; `None` where none is within `reach` pixels and one, on each axis.
///
/// Exact: first along each row, then of these the nearest along each column.
pub(super) fn to_nearest(set: &[bool], size: ImageSize, reach: usize) -> Vec<Option<usize>> {
    let ImageSize { width, height } = size;
    let across: Vec<Option<usize>> =
        set.chunks(width.max(1)).flat_map(|row| along_row(row, reach.saturating_add(1))).collect();
    let nearest = |pixel: usize| {
        let (row, column) = (pixel / width, pixel % width);
        let rows = row.saturating_sub(reach + 1)..row.saturating_add(reach + 2).min(height);
        rows.filter_map(|other| Some(across[other * width + column]?.pow(2) + row.abs_diff(other).pow(2))).min()
    };
    (0..width * height).map(nearest).collect()
}

/// The distance to the nearest that is set in the row, if it is at most `reach`.
fn along_row(row: &[bool], reach: usize) -> Vec<Option<usize>> {
    let mut nearest = vec![None; row.len()];
    let mut last = None;
    for (column, set) in row.iter().enumerate() {
        last = if *set { Some(column) } else { last };
        nearest[column] = last.map(|last| column - last);
    }
    let mut next = None;
    for (column, set) in row.iter().enumerate().rev() {
        next = if *set { Some(column) } else { next };
        let right = next.map(|next: usize| next - column);
        nearest[column] = nearest[column].into_iter().chain(right).min().filter(|distance| *distance <= reach);
    }
    nearest
}
