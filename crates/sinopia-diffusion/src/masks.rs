//! Segmentation masks of objects that were painted alone: where each is, to be cut out.

mod sam;

use std::fmt::Debug;

use sinopia_layout::{BBox, Grid, GridMask, GridRect, GridRounding};

pub use sam::{MaskPrompt, SamMask, SamOptions};

use crate::Result;
pub use crate::attention_map::AttentionMap;
use crate::observer::Run;
use crate::painting::Image;

/// What is known about an object painted alone.
#[derive(Debug)]
pub struct MaskRequest<'a> {
    /// The object in words.
    pub phrase: &'a str,
    /// The box it was painted into.
    pub bbox: &'a BBox,
    /// The cross-attention of its word, averaged over steps and heads, at the denoiser's
    /// [`object_mask_key`](sinopia_models::Denoiser::object_mask_key).
    pub attention: &'a AttentionMap,
    /// The finished picture, if the source [wants](MaskSource::wants_image) it.
    pub image: Option<&'a Image>,
    /// The grid of the mask.
    pub latent_grid: Grid,
    /// The run, for warnings of masks that are not what they should be.
    pub run: &'a Run<'a>,
}

impl MaskRequest<'_> {
    /// Every cell of the box.
    fn whole_box(&self) -> GridMask {
        GridMask::from_bbox(self.bbox, self.latent_grid, GridRounding::AtLeastOneCell)
    }
}

/// Something that makes segmentation masks: attention and box, or a segmentation model.
pub trait MaskSource: Send + Sync + Debug {
    /// Whether the object's picture has to be decoded for it.
    fn wants_image(&self) -> bool {
        false
    }

    /// The object's cells on the latent grid: at least one.
    ///
    /// # Errors
    /// When a model behind it fails. That the object is hard to see is no error: the box is the answer then.
    fn mask(&self, request: &MaskRequest) -> Result<GridMask>;
}

/// A mask from attention and box alone.
///
/// The attention of the object's word is smoothed, stretched to 0..=1, resampled to the latent grid and cut at a threshold; what lies outside the
/// box, grown by a margin, is dropped, and of the rest the largest connected part is kept. If that is too small to be the object, the box is
/// the mask.
#[derive(Debug, Clone, PartialEq)]
pub struct AttentionBoxMask {
    /// Standard deviation of the smoothing, in cells of the attention grid. Published (point input): 1.5.
    pub gaussian_sigma: f64,
    /// Share of the stretched attention above which a cell belongs to the object. Published (point input): 0.25.
    pub threshold: f64,
    /// How far the object may leave its box, as a share of the box's sides, on each side; at least one latent cell.
    pub box_margin: f64,
    /// Below this share of the box's cells the mask is not believed.
    pub min_box_share: f64,
}

impl Default for AttentionBoxMask {
    fn default() -> Self {
        Self { gaussian_sigma: 1.5, threshold: 0.25, box_margin: 0.1, min_box_share: 0.1 }
    }
}

impl MaskSource for AttentionBoxMask {
    fn mask(&self, request: &MaskRequest) -> Result<GridMask> {
        Ok(self.object_mask(request).unwrap_or_else(|| request.whole_box()))
    }
}

impl AttentionBoxMask {
    /// The mask, if it is large enough to be the object.
    fn object_mask(&self, request: &MaskRequest) -> Option<GridMask> {
        let grid = request.latent_grid;
        let attention = request.attention.smoothed(self.gaussian_sigma).normalised().resized(grid);
        let rect = request.bbox.grid_rect(grid, GridRounding::AtLeastOneCell);
        let near = self.grown(rect, grid);
        let is_object = |row: usize, column: usize| {
            near.0.contains(&row)
                && near.1.contains(&column)
                && f64::from(attention.values()[row * grid.width + column]) > self.threshold
        };
        let cells = (0..grid.height).flat_map(|row| (0..grid.width).map(move |column| (row, column)));
        let cells = largest_part(grid, &cells.map(|(row, column)| is_object(row, column)).collect::<Vec<_>>());
        let size = cells.iter().filter(|inside| **inside).count();
        if size == 0 || (size as f64) < self.min_box_share * rect.cells() as f64 {
            return None;
        }
        GridMask::from_cells(grid, cells)
    }

    /// The rows and columns of the box and its margin.
    fn grown(&self, rect: GridRect, grid: Grid) -> (std::ops::Range<usize>, std::ops::Range<usize>) {
        let margin = |side: usize| ((side as f64 * self.box_margin).round() as usize).max(1);
        let (rows, columns) = (margin(rect.bottom - rect.top), margin(rect.right - rect.left));
        let grow = |low: usize, high: usize, by: usize, end: usize| low.saturating_sub(by)..(high + by).min(end);
        (grow(rect.top, rect.bottom, rows, grid.height), grow(rect.left, rect.right, columns, grid.width))
    }
}

/// The largest set of cells that touch along their sides; of equal ones the first.
fn largest_part(grid: Grid, cells: &[bool]) -> Vec<bool> {
    let mut seen = vec![false; cells.len()];
    let mut largest: Vec<usize> = Vec::new();
    for start in 0..cells.len() {
        if !cells[start] || seen[start] {
            continue;
        }
        let mut part = vec![start];
        seen[start] = true;
        let mut next = 0;
        while let Some(cell) = part.get(next).copied() {
            next += 1;
            for neighbour in neighbours(grid, cell) {
                if cells[neighbour] && !seen[neighbour] {
                    seen[neighbour] = true;
                    part.push(neighbour);
                }
            }
        }
        if part.len() > largest.len() {
            largest = part;
        }
    }
    let mut kept = vec![false; cells.len()];
    largest.into_iter().for_each(|cell| kept[cell] = true);
    kept
}

fn neighbours(grid: Grid, cell: usize) -> impl Iterator<Item = usize> {
    let (row, column) = (cell / grid.width, cell % grid.width);
    let up = (row > 0).then(|| cell - grid.width);
    let down = (row + 1 < grid.height).then_some(cell + grid.width);
    let left = (column > 0).then(|| cell - 1);
    let right = (column + 1 < grid.width).then_some(cell + 1);
    [up, down, left, right].into_iter().flatten()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn map(rows: &[&str]) -> AttentionMap {
        let values = rows.iter().flat_map(|row| row.chars().map(|c| c.to_digit(10).unwrap() as f32)).collect();
        AttentionMap::new(Grid::new(rows.len(), rows[0].len()), values).unwrap()
    }

    #[track_caller]
    fn check(attention: &AttentionMap, bbox: (f64, f64, f64, f64), source: &AttentionBoxMask, expected: &[&str]) {
        let bbox = BBox::new(bbox.0, bbox.1, bbox.2, bbox.3).unwrap();
        let grid = Grid::new(expected.len(), expected[0].len());
        let run = Run::silent();
        let request = MaskRequest { phrase: "it", bbox: &bbox, attention, image: None, latent_grid: grid, run: &run };
        let mask = source.mask(&request).unwrap();
        let rows = mask.cells().chunks(grid.width);
        let rows: Vec<String> =
            rows.map(|row| row.iter().map(|inside| if *inside { '#' } else { '.' }).collect()).collect();
        assert_eq!(rows, expected);
    }

    fn sharp() -> AttentionBoxMask {
        AttentionBoxMask { gaussian_sigma: 0.1, ..AttentionBoxMask::default() }
    }

    #[test]
    fn the_mask_is_the_bright_part_near_the_box() {
        let attention = map(&["9000", "0990", "0900", "0009"]);
        check(&attention, (0.25, 0.25, 0.75, 0.75), &sharp(), &["....", ".##.", ".#..", "...."]);
    }

    #[test]
    fn attention_away_from_the_box_is_not_the_object() {
        let attention = map(&["990000", "990000", "000000", "000000", "000088", "000088"]);
        check(
            &attention,
            (0.6, 0.6, 1.0, 1.0),
            &sharp(),
            &["......", "......", "......", "......", "....##", "....##"],
        );
    }

    #[test]
    fn without_attention_the_box_is_the_mask() {
        let expected = ["....", ".##.", ".##.", "...."];
        check(&map(&["0000", "0000", "0000", "0000"]), (0.25, 0.25, 0.75, 0.75), &sharp(), &expected);
        check(&map(&["5555", "5555", "5555", "5555"]), (0.25, 0.25, 0.75, 0.75), &sharp(), &expected);
    }

    #[test]
    fn a_coarser_map_is_spread_over_the_latent_grid() {
        let source = AttentionBoxMask { threshold: 0.5, ..sharp() };
        check(&map(&["90", "00"]), (0.0, 0.0, 0.5, 0.5), &source, &["##..", "##..", "....", "...."]);
    }
}
