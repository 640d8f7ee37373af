//! Boxes in their three units: pixels at the edges, proportions in storage, grid cells in losses.
//!
//! Every conversion has one rounding rule, stated where it is defined. The y axis points down everywhere.

use std::fmt;

use crate::error::{Error, Result};

/// The size of a picture in pixels.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Canvas {
    width: u32,
    height: u32,
}

impl Canvas {
    /// Longest side allowed, in pixels.
    pub const MAX_SIDE: u32 = 16_384;

    /// The canvas that LLMs are asked to lay out: 512×512 pixels.
    pub const PUBLISHED: Canvas = Canvas { width: 512, height: 512 };

    /// A canvas of `width`×`height` pixels.
    ///
    /// # Errors
    /// [`Error::Canvas`] unless both sides are in 1..=[`Canvas::MAX_SIDE`].
    pub fn new(width: u32, height: u32) -> Result<Self> {
        let sides = 1..=Self::MAX_SIDE;
        if !sides.contains(&width) || !sides.contains(&height) {
            return Err(Error::Canvas { width: width.into(), height: height.into(), max: Self::MAX_SIDE });
        }
        Ok(Canvas { width, height })
    }

    /// A canvas in the shape of a picture of `width`×`height` pixels. Its shorter side is that of [`PUBLISHED`](Self::PUBLISHED), which language models know from their
    /// prompts; its longer one ends at [`MAX_SIDE`](Self::MAX_SIDE).
    pub fn shaped_like(width: u32, height: u32) -> Self {
        let shorter = f64::from(Self::PUBLISHED.width);
        let scale = shorter / f64::from(width.min(height).max(1));
        let side = |px: u32| (f64::from(px) * scale).round().clamp(1.0, f64::from(Self::MAX_SIDE)) as u32;
        Canvas { width: side(width), height: side(height) }
    }

    /// Width in pixels.
    pub fn width(&self) -> u32 {
        self.width
    }

    /// Height in pixels.
    pub fn height(&self) -> u32 {
        self.height
    }

    /// Width and height in pixels, as numbers to calculate with.
    pub(crate) fn sides(&self) -> (f64, f64) {
        (f64::from(self.width), f64::from(self.height))
    }
}

impl fmt::Display for Canvas {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}×{}", self.width, self.height)
    }
}

/// A box in canvas pixels: top-left corner, width and height. It may leave the canvas and may have no area,
/// because LLMs and people write such boxes; only its numbers are known to be finite.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct PixelBox {
    x: f64,
    y: f64,
    width: f64,
    height: f64,
}

impl PixelBox {
    /// Largest absolute value of a coordinate or side, in pixels.
    pub const MAX_COORDINATE: f64 = 1e6;

    /// A box with its top-left corner at (`x`, `y`), all in pixels.
    ///
    /// # Errors
    /// [`Error::PixelBox`] if a number is NaN, infinite or beyond ±[`PixelBox::MAX_COORDINATE`].
    pub fn new(x: f64, y: f64, width: f64, height: f64) -> Result<Self> {
        let sane = |value: f64| value.abs() <= Self::MAX_COORDINATE; // false for NaN
        if ![x, y, width, height].into_iter().all(sane) {
            return Err(Error::PixelBox { x, y, width, height, max: Self::MAX_COORDINATE });
        }
        Ok(PixelBox { x, y, width, height })
    }

    /// Left edge in pixels.
    pub fn x(&self) -> f64 {
        self.x
    }

    /// Top edge in pixels.
    pub fn y(&self) -> f64 {
        self.y
    }

    /// Width in pixels; may be zero or negative.
    pub fn width(&self) -> f64 {
        self.width
    }

    /// Height in pixels; may be zero or negative.
    pub fn height(&self) -> f64 {
        self.height
    }

    /// Right edge in pixels.
    pub fn right(&self) -> f64 {
        self.x + self.width
    }

    /// Bottom edge in pixels.
    pub fn bottom(&self) -> f64 {
        self.y + self.height
    }

    /// Whether both sides are longer than zero.
    pub fn has_area(&self) -> bool {
        self.width > 0.0 && self.height > 0.0
    }

    /// Centre `(x, y)` in pixels.
    pub fn center(&self) -> (f64, f64) {
        (self.x + self.width / 2.0, self.y + self.height / 2.0)
    }

    /// Square pixels; 0 without area.
    pub fn area(&self) -> f64 {
        self.width.max(0.0) * self.height.max(0.0)
    }

    /// Square pixels that lie in both boxes.
    pub fn intersection(&self, other: &PixelBox) -> f64 {
        let width = (self.right().min(other.right()) - self.x.max(other.x)).max(0.0);
        let height = (self.bottom().min(other.bottom()) - self.y.max(other.y)).max(0.0);
        width * height
    }

    /// Intersection over union, 0..=1; 0 for boxes without area.
    pub fn iou(&self, other: &PixelBox) -> f64 {
        let intersection = self.intersection(other);
        let union = self.area() + other.area() - intersection;
        if union > 0.0 { intersection / union } else { 0.0 }
    }

    /// Whether no edge lies outside the canvas.
    pub fn is_inside(&self, canvas: Canvas) -> bool {
        let (width, height) = canvas.sides();
        self.x >= 0.0 && self.y >= 0.0 && self.right() <= width && self.bottom() <= height
    }

    /// The part of the box that lies on the canvas; without area if there is none.
    #[must_use]
    pub fn clipped_to(&self, canvas: Canvas) -> PixelBox {
        let (width, height) = canvas.sides();
        let (x, w) = clip_span(self.x, self.width, width);
        let (y, h) = clip_span(self.y, self.height, height);
        PixelBox { x, y, width: w, height: h }
    }

    /// The box in thousandths of a pixel, which are written in few digits: `40.96` and not `40.959999999999994`. A box that has area
    /// keeps it, and one inside the canvas stays inside.
    #[must_use]
    pub fn rounded(&self, canvas: Canvas) -> PixelBox {
        let (x, y) = (rounded(self.x), rounded(self.y));
        let limit = |end: f64, side: f64| if end <= side { side } else { f64::INFINITY };
        let (width, height) = canvas.sides();
        let rounded_box = PixelBox {
            x,
            y,
            width: length_between(x, rounded(self.right()), limit(self.right(), width)),
            height: length_between(y, rounded(self.bottom()), limit(self.bottom(), height)),
        };
        if rounded_box.has_area() == self.has_area() { rounded_box } else { *self }
    }
}

/// What boxes are rounded to, in parts of a pixel.
const PARTS_OF_A_PIXEL: f64 = 1000.0;

fn rounded(value: f64) -> f64 {
    (value * PARTS_OF_A_PIXEL).round() / PARTS_OF_A_PIXEL
}

/// `end − start` in thousandths, shorter by one where their sum would be rounded up beyond `limit`.
fn length_between(start: f64, end: f64, limit: f64) -> f64 {
    let length = rounded(end - start);
    if start + length <= limit { length } else { rounded(length - 1.0 / PARTS_OF_A_PIXEL) }
}

/// Clips start and length to `0..=limit`. The end, calculated as start + length, never exceeds the limit. What is cut off leaves a
/// length in thousandths of a pixel.
fn clip_span(start: f64, length: f64, limit: f64) -> (f64, f64) {
    if start >= 0.0 && start + length <= limit {
        return (start, length); // bit for bit: an inside box is left alone
    }
    let clipped_start = start.clamp(0.0, limit);
    let end = (start + length).clamp(0.0, limit);
    let short = length_between(clipped_start, end, limit);
    if short > 0.0 {
        return (clipped_start, short);
    }
    let mut clipped = (end - clipped_start).max(0.0);
    while clipped_start + clipped > limit {
        clipped = clipped.next_down(); // the sum was rounded up
    }
    (clipped_start, clipped)
}

impl fmt::Display for PixelBox {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "[{}, {}, {}, {}]", self.x, self.y, self.width, self.height)
    }
}

/// A box as corners in proportions of the canvas: 0..=1, y down, `x0 < x1`, `y0 < y1`.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct BBox {
    x0: f64,
    y0: f64,
    x1: f64,
    y1: f64,
}

/// Where [`BBox::centered`] puts a box that is painted alone.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Placement {
    /// Centred from left to right, standing on a floor: its lower edge at `1 − padding` (LMD uses a padding of 0.2).
    FloorPadding(f64),
    /// Centred in both directions.
    Center,
    /// Centred from left to right, height kept.
    HorizontalCenter,
}

impl BBox {
    /// A box from its corners in proportions.
    ///
    /// # Errors
    /// [`Error::BBox`] unless `0 ≤ x0 < x1 ≤ 1` and `0 ≤ y0 < y1 ≤ 1`.
    pub fn new(x0: f64, y0: f64, x1: f64, y1: f64) -> Result<Self> {
        let bbox = BBox { x0, y0, x1, y1 };
        let valid = 0.0 <= x0 && x0 < x1 && x1 <= 1.0 && 0.0 <= y0 && y0 < y1 && y1 <= 1.0;
        if valid { Ok(bbox) } else { Err(Error::BBox { x0, y0, x1, y1 }) }
    }

    /// The proportions of a pixel box: `(x/W, y/H, x/W + w/W, y/H + h/H)`, in this order of operations.
    ///
    /// # Errors
    /// [`Error::BBox`] if the box has no area or leaves the canvas.
    pub fn from_pixels(bbox: &PixelBox, canvas: Canvas) -> Result<Self> {
        let (width, height) = canvas.sides();
        let (x0, y0) = (bbox.x / width, bbox.y / height);
        let (x1, y1) = (x0 + bbox.width / width, y0 + bbox.height / height);
        if bbox.is_inside(canvas) {
            return Self::new(x0, y0, x1.min(1.0), y1.min(1.0)); // the sum may have been rounded up
        }
        Err(Error::BBox { x0, y0, x1, y1 })
    }

    /// The proportions of the part of a pixel box that lies on the canvas; nothing if that has no area.
    pub fn from_clipped(bbox: &PixelBox, canvas: Canvas) -> Option<Self> {
        Self::from_pixels(&bbox.clipped_to(canvas), canvas).ok()
    }

    /// The box in pixels of a canvas.
    pub fn to_pixels(&self, canvas: Canvas) -> PixelBox {
        let (width, height) = canvas.sides();
        PixelBox {
            x: self.x0 * width,
            y: self.y0 * height,
            width: (self.x1 - self.x0) * width,
            height: (self.y1 - self.y0) * height,
        }
    }

    /// `(x0, y0, x1, y1)` in proportions.
    pub fn corners(&self) -> (f64, f64, f64, f64) {
        (self.x0, self.y0, self.x1, self.y1)
    }

    /// Left edge, 0..1.
    pub fn x0(&self) -> f64 {
        self.x0
    }

    /// Top edge, 0..1.
    pub fn y0(&self) -> f64 {
        self.y0
    }

    /// Right edge, 0..=1.
    pub fn x1(&self) -> f64 {
        self.x1
    }

    /// Bottom edge, 0..=1.
    pub fn y1(&self) -> f64 {
        self.y1
    }

    /// Width as a proportion of the canvas width.
    pub fn width(&self) -> f64 {
        self.x1 - self.x0
    }

    /// Height as a proportion of the canvas height.
    pub fn height(&self) -> f64 {
        self.y1 - self.y0
    }

    /// Area as a proportion of the canvas.
    pub fn area(&self) -> f64 {
        self.width() * self.height()
    }

    /// Centre `(x, y)` in proportions.
    pub fn center(&self) -> (f64, f64) {
        ((self.x0 + self.x1) / 2.0, (self.y0 + self.y1) / 2.0)
    }

    /// The part of the canvas that lies in both boxes.
    pub fn intersection(&self, other: &BBox) -> f64 {
        let width = (self.x1.min(other.x1) - self.x0.max(other.x0)).max(0.0);
        let height = (self.y1.min(other.y1) - self.y0.max(other.y0)).max(0.0);
        width * height
    }

    /// Intersection over union, 0..=1.
    pub fn iou(&self, other: &BBox) -> f64 {
        let intersection = self.intersection(other);
        intersection / (self.area() + other.area() - intersection)
    }

    /// The smallest box around both.
    #[must_use]
    pub fn union(&self, other: &BBox) -> BBox {
        BBox {
            x0: self.x0.min(other.x0),
            y0: self.y0.min(other.y0),
            x1: self.x1.max(other.x1),
            y1: self.y1.max(other.y1),
        }
    }

    /// The same box moved to where LMD paints an object alone.
    ///
    /// The size is kept. A box too tall to stand on the floor is moved down until its top edge is at 0; the published
    /// code lets the top edge become negative and so cuts the object.
    #[must_use]
    pub fn centered(&self, placement: Placement) -> BBox {
        let (x0, x1) = span_around(0.5, self.width());
        let (y0, y1) = match placement {
            Placement::HorizontalCenter => (self.y0, self.y1),
            Placement::Center => span_around(0.5, self.height()),
            Placement::FloorPadding(padding) => span_around(1.0 - padding - self.height() / 2.0, self.height()),
        };
        BBox { x0, y0, x1, y1 }
    }

    /// The cells that the box covers on a grid: the published `scale_proportion`.
    ///
    /// `left = round(x0·W)`, `columns = round((x1 − x0)·W)`, clamped to the grid, likewise for rows; round is
    /// half-to-even on double-precision products. Width and height are rounded on their own so that a box keeps its
    /// size in cells when it is moved. See [`GridRounding`] for boxes that vanish.
    ///
    /// # Source
    /// TonyLianLong/LLM-groundedDiffusion@cef2a90:utils/utils.py
    pub fn grid_rect(&self, grid: Grid, rounding: GridRounding) -> GridRect {
        let (left, right) = grid_span(self.x0, self.x1, grid.width, rounding);
        let (top, bottom) = grid_span(self.y0, self.y1, grid.height, rounding);
        GridRect { left, top, right, bottom }
    }
}

/// `length` around `center`, moved to stay within 0..=1 without changing its length.
fn span_around(center: f64, length: f64) -> (f64, f64) {
    let start = (center - length / 2.0).max(0.0).min(1.0 - length); // a padding that is not a number gives 0
    (start, (start + length).min(1.0))
}

/// First and one-past-last cell of a span in proportions, on an axis of `cells` cells.
fn grid_span(start: f64, end: f64, cells: usize, rounding: GridRounding) -> (usize, usize) {
    let scale = cells as f64;
    let first = (start * scale).round_ties_even() as usize;
    let length = ((end - start) * scale).round_ties_even() as usize;
    let (first, last) = (first.min(cells), (first + length).min(cells));
    if first < last || rounding == GridRounding::Published || cells == 0 {
        return (first, last);
    }
    let center = ((start + end) / 2.0 * scale).floor() as usize;
    let cell = center.min(cells - 1);
    (cell, cell + 1)
}

/// The number of rows and columns of a grid.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Grid {
    /// Rows.
    pub height: usize,
    /// Columns.
    pub width: usize,
}

impl Grid {
    /// A grid of `height` rows and `width` columns.
    pub fn new(height: usize, width: usize) -> Self {
        Grid { height, width }
    }

    /// Number of cells.
    pub fn cells(&self) -> usize {
        self.height * self.width
    }
}

impl Grid {
    /// Height and width in cells.
    fn sides(self) -> [usize; 2] {
        [self.height, self.width]
    }
}

impl fmt::Display for Grid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}×{}", self.height, self.width)
    }
}

/// What becomes of a box that rounds to no cell at all.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum GridRounding {
    /// It gets the cell under its centre, on each axis where it would vanish.
    #[default]
    AtLeastOneCell,
    /// It stays empty, as in the published code: on an 8×8 grid any side of at most 1/16 of the canvas
    /// (32 of 512 pixels) is gone, and the box loss then pushes attention away everywhere.
    Published,
}

/// A rectangle of cells: columns `left..right` and rows `top..bottom`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct GridRect {
    /// First column.
    pub left: usize,
    /// First row.
    pub top: usize,
    /// One past the last column.
    pub right: usize,
    /// One past the last row.
    pub bottom: usize,
}

impl GridRect {
    /// Whether the rectangle has no cell.
    pub fn is_empty(&self) -> bool {
        self.left >= self.right || self.top >= self.bottom
    }

    /// Number of cells.
    pub fn cells(&self) -> usize {
        if self.is_empty() { 0 } else { (self.right - self.left) * (self.bottom - self.top) }
    }
}

/// A yes or no for each cell of a grid, row by row.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct GridMask {
    grid: Grid,
    cells: Vec<bool>, // (HW)
}

impl GridMask {
    /// A mask without any cell.
    pub fn empty(grid: Grid) -> Self {
        GridMask { grid, cells: vec![false; grid.cells()] }
    }

    /// The cells of one box.
    pub fn from_bbox(bbox: &BBox, grid: Grid, rounding: GridRounding) -> Self {
        Self::from_bboxes([bbox], grid, rounding)
    }

    /// The union of the cells of several boxes, each rounded on its own.
    pub fn from_bboxes<'a>(bboxes: impl IntoIterator<Item = &'a BBox>, grid: Grid, rounding: GridRounding) -> Self {
        let mut mask = Self::empty(grid);
        for bbox in bboxes {
            mask.fill(bbox.grid_rect(grid, rounding));
        }
        mask
    }

    /// A mask from its cells, row by row; `None` if their number is not `grid.cells()`.
    pub fn from_cells(grid: Grid, cells: Vec<bool>) -> Option<Self> {
        (cells.len() == grid.cells()).then_some(GridMask { grid, cells })
    }

    /// Rows and columns.
    pub fn grid(&self) -> Grid {
        self.grid
    }

    /// The cells, row by row, `grid().cells()` of them.
    pub fn cells(&self) -> &[bool] {
        &self.cells
    }

    /// The cells as 1.0 and 0.0, row by row.
    pub fn to_f32(&self) -> Vec<f32> {
        self.cells.iter().map(|&inside| f32::from(u8::from(inside))).collect()
    }

    /// Whether the cell is inside; cells outside the grid are not.
    pub fn contains(&self, row: usize, column: usize) -> bool {
        row < self.grid.height && column < self.grid.width && self.cells[row * self.grid.width + column]
    }

    /// Number of cells inside.
    pub fn count(&self) -> usize {
        self.cells.iter().filter(|&&inside| inside).count()
    }

    /// Whether no cell is inside.
    pub fn is_empty(&self) -> bool {
        self.count() == 0
    }

    /// The cells inside this mask, the other, or both.
    ///
    /// # Errors
    /// [`Error::GridMismatch`] if the grids differ.
    pub fn union(&self, other: &GridMask) -> Result<GridMask> {
        if self.grid != other.grid {
            return Err(Error::GridMismatch { expected: self.grid.sides(), found: other.grid.sides() });
        }
        let cells = self.cells.iter().zip(&other.cells).map(|(&a, &b)| a || b).collect();
        Ok(GridMask { grid: self.grid, cells })
    }

    /// The smallest rectangle around all cells inside, if there are any.
    pub fn bounding_rect(&self) -> Option<GridRect> {
        let inside = || self.indices();
        Some(GridRect {
            left: inside().map(|(_, column)| column).min()?,
            top: inside().map(|(row, _)| row).min()?,
            right: inside().map(|(_, column)| column).max()? + 1,
            bottom: inside().map(|(row, _)| row).max()? + 1,
        })
    }

    /// Mean `(row, column)` of the cells inside, as cell indices (no half added), if there are any.
    pub fn centroid(&self) -> Option<(f64, f64)> {
        let count = self.count() as f64;
        let (rows, columns) = self.indices().fold((0, 0), |(rows, columns), (r, c)| (rows + r, columns + c));
        (count > 0.0).then(|| (rows as f64 / count, columns as f64 / count))
    }

    /// `(row, column)` of every cell inside, row by row.
    fn indices(&self) -> impl Iterator<Item = (usize, usize)> + '_ {
        let width = self.grid.width;
        self.cells.iter().enumerate().filter(|&(_, &inside)| inside).map(move |(i, _)| (i / width, i % width))
    }

    fn fill(&mut self, rect: GridRect) {
        for row in rect.top..rect.bottom {
            let start = row * self.grid.width;
            self.cells[start + rect.left..start + rect.right.max(rect.left)].fill(true);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn pixels(x: f64, y: f64, width: f64, height: f64) -> BBox {
        BBox::from_pixels(&PixelBox::new(x, y, width, height).unwrap(), Canvas::PUBLISHED).unwrap()
    }

    fn corners_on(bbox: &BBox, side: usize, rounding: GridRounding) -> [usize; 4] {
        let rect = bbox.grid_rect(Grid::new(side, side), rounding);
        [rect.left, rect.top, rect.right, rect.bottom]
    }

    #[test]
    fn canvases_have_the_shape_of_pictures() {
        for (picture, canvas) in [
            ((512, 512), (512, 512)),
            ((128, 128), (512, 512)),
            ((1216, 832), (748, 512)),
            ((96, 128), (512, 683)),
            ((8, 4096), (512, Canvas::MAX_SIDE)),
            ((0, 64), (1, Canvas::MAX_SIDE)),
        ] {
            let shaped = Canvas::shaped_like(picture.0, picture.1);
            assert_eq!((shaped.width(), shaped.height()), canvas, "{picture:?}");
        }
    }

    /// Expected corners come from an independent computation of the published rule.
    #[test]
    fn published_rounding_on_four_grids() {
        let vectors = [
            ([202., 120., 110., 110.], [[3, 2, 5, 4], [6, 4, 9, 7], [13, 8, 20, 15], [25, 15, 39, 29]]),
            ([62., 190., 80., 150.], [[1, 3, 2, 5], [2, 6, 4, 11], [4, 12, 9, 21], [8, 24, 18, 43]]),
            ([65., 243., 344., 206.], [[1, 4, 6, 7], [2, 8, 13, 14], [4, 15, 26, 28], [8, 30, 51, 56]]),
            ([314., 193., 189., 216.], [[5, 3, 8, 6], [10, 6, 16, 13], [20, 12, 32, 26], [39, 24, 63, 51]]),
            ([400., 300., 112., 212.], [[6, 5, 8, 8], [12, 9, 16, 16], [25, 19, 32, 32], [50, 38, 64, 64]]),
            ([96., 32., 32., 32.], [[2, 0, 2, 0], [3, 1, 4, 2], [6, 2, 8, 4], [12, 4, 16, 8]]),
            ([10., 10., 20., 20.], [[0, 0, 0, 0], [0, 0, 1, 1], [1, 1, 2, 2], [1, 1, 3, 3]]),
        ];
        for ([x, y, width, height], expected) in vectors {
            let bbox = pixels(x, y, width, height);
            for (side, corners) in [8, 16, 32, 64].into_iter().zip(expected) {
                assert_eq!(corners_on(&bbox, side, GridRounding::Published), corners, "{bbox:?} on {side}");
                if corners[0] < corners[2] && corners[1] < corners[3] {
                    assert_eq!(corners_on(&bbox, side, GridRounding::AtLeastOneCell), corners);
                }
            }
        }
    }

    #[test]
    fn a_vanishing_box_gets_the_cell_under_its_centre() {
        assert_eq!(corners_on(&pixels(96., 32., 32., 32.), 8, GridRounding::AtLeastOneCell), [1, 0, 2, 1]);
        assert_eq!(corners_on(&pixels(10., 10., 20., 20.), 8, GridRounding::AtLeastOneCell), [0, 0, 1, 1]);
        assert_eq!(corners_on(&pixels(510., 510., 2., 2.), 8, GridRounding::AtLeastOneCell), [7, 7, 8, 8]);
    }

    #[test]
    fn a_moved_box_keeps_its_size_in_cells() {
        let wide = pixels(3., 0., 100., 512.).grid_rect(Grid::new(8, 8), GridRounding::Published);
        let moved = pixels(90., 0., 100., 512.).grid_rect(Grid::new(8, 8), GridRounding::Published);
        assert_eq!(wide.right - wide.left, moved.right - moved.left);
    }

    #[test]
    fn grids_need_not_be_square() {
        let rect = pixels(0., 256., 256., 256.).grid_rect(Grid::new(4, 8), GridRounding::default());
        assert_eq!(rect, GridRect { left: 0, top: 2, right: 4, bottom: 4 });
        assert_eq!(rect.cells(), 8);
    }

    #[test]
    fn centred_boxes() {
        let bbox = BBox::new(0.0, 0.0, 0.2, 0.5).unwrap();
        let close = |found: BBox, expected: [f64; 4]| {
            let (x0, y0, x1, y1) = found.corners();
            for (a, b) in [x0, y0, x1, y1].into_iter().zip(expected) {
                assert!((a - b).abs() < 1e-12, "{found:?} is not {expected:?}");
            }
        };
        close(bbox.centered(Placement::Center), [0.4, 0.25, 0.6, 0.75]);
        close(bbox.centered(Placement::FloorPadding(0.2)), [0.4, 0.3, 0.6, 0.8]);
        close(bbox.centered(Placement::HorizontalCenter), [0.4, 0.0, 0.6, 0.5]);
        let tall = BBox::new(0.0, 0.1, 0.2, 1.0).unwrap();
        close(tall.centered(Placement::FloorPadding(0.2)), [0.4, 0.0, 0.6, 0.9]);
    }

    #[test]
    fn corners_that_make_no_box_are_refused() {
        for (x0, y0, x1, y1) in [
            (0.5, 0.0, 0.5, 1.0),
            (0.6, 0.0, 0.5, 1.0),
            (-0.1, 0.0, 0.5, 1.0),
            (0.0, 0.0, 1.1, 1.0),
            (f64::NAN, 0.0, 1.0, 1.0),
        ] {
            assert!(BBox::new(x0, y0, x1, y1).is_err());
        }
        insta::assert_snapshot!(
            BBox::new(0.5, 0.0, 0.25, 1.0).unwrap_err(),
            @"corners (0.5, 0) and (0.25, 1) do not make a box: proportions must lie in 0..=1 with x0 < x1 and y0 < y1"
        );
        assert!(PixelBox::new(f64::INFINITY, 0., 1., 1.).is_err());
        assert!(PixelBox::new(0., f64::NAN, 1., 1.).is_err());
        insta::assert_snapshot!(
            Canvas::new(0, 512).unwrap_err(),
            @"a canvas of 0×512 pixels is not possible: each side must be 1 to 16384 pixels"
        );
    }

    #[test]
    fn boxes_are_written_in_few_digits() {
        let canvas = Canvas::new(512, 640).unwrap();
        let rounded =
            |[x, y, width, height]: [f64; 4]| PixelBox::new(x, y, width, height).unwrap().rounded(canvas).to_string();
        assert_eq!(rounded([0.1 + 0.2, 5.0 / 90.0 * 512.0, 40.959999999999994, 60.0]), "[0.3, 28.444, 40.96, 60]");
        assert_eq!(
            rounded([300.1, 639.9996, 211.89999999999998, 0.0004]),
            "[300.1, 639.9996, 211.89999999999998, 0.0004]"
        );
        assert_eq!(rounded([-3.00001, 600.3, 700.0, 100.0]), "[-3, 600.3, 700, 100]");
        let cut = PixelBox::new(300.1, 10.7, 500.0, 20.0).unwrap().clipped_to(canvas);
        assert_eq!(cut.to_string(), "[300.1, 10.7, 211.9, 20]");
    }

    #[test]
    fn masks_unite_and_measure() {
        let grid = Grid::new(4, 4);
        let left = GridMask::from_bbox(&BBox::new(0., 0., 0.25, 0.5).unwrap(), grid, GridRounding::default());
        let right = GridMask::from_bbox(&BBox::new(0.75, 0., 1., 0.5).unwrap(), grid, GridRounding::default());
        let both = left.union(&right).unwrap();
        assert_eq!(both.count(), 4);
        assert!(both.contains(1, 3) && !both.contains(2, 3) && !both.contains(9, 9));
        assert_eq!(both.bounding_rect(), Some(GridRect { left: 0, top: 0, right: 4, bottom: 2 }));
        assert_eq!(both.centroid(), Some((0.5, 1.5)));
        assert_eq!(both.to_f32().iter().sum::<f32>(), 4.0);
        assert_eq!(GridMask::empty(grid).bounding_rect(), None);
        assert_eq!(GridMask::empty(grid).centroid(), None);
        assert!(left.union(&GridMask::empty(Grid::new(4, 5))).is_err());
        assert!(GridMask::from_cells(grid, vec![true; 15]).is_none());
    }

    #[test]
    fn boxes_in_proportions_are_compared_as_those_in_pixels_are() {
        let (one, other) = (BBox::new(0.0, 0.0, 0.5, 0.5).unwrap(), BBox::new(0.25, 0.25, 0.75, 0.5).unwrap());
        let far = BBox::new(0.75, 0.75, 1.0, 1.0).unwrap();
        assert_eq!((one.intersection(&other), one.intersection(&far)), (0.0625, 0.0));
        assert_eq!(one.iou(&other), one.to_pixels(Canvas::PUBLISHED).iou(&other.to_pixels(Canvas::PUBLISHED)));
        assert_eq!((one.iou(&one), one.iou(&far)), (1.0, 0.0));
        assert_eq!(one.union(&other), BBox::new(0.0, 0.0, 0.75, 0.5).unwrap());
        let cut = PixelBox::new(-100.0, 384.0, 356.0, 400.0).unwrap();
        assert_eq!(BBox::from_clipped(&cut, Canvas::PUBLISHED), BBox::new(0.0, 0.75, 0.5, 1.0).ok());
        assert_eq!(BBox::from_clipped(&PixelBox::new(600.0, 0.0, 9.0, 9.0).unwrap(), Canvas::PUBLISHED), None);
    }

    prop_compose! {
        fn any_bbox()(x in 0.0..0.999, y in 0.0..0.999, w in 1e-9..1.0, h in 1e-9..1.0) -> BBox {
            BBox::new(x, y, f64::min(x + w, 1.0), f64::min(y + h, 1.0)).unwrap()
        }
    }

    proptest! {
        #[test]
        fn a_mask_is_never_empty_by_default(bbox in any_bbox(), height in 1usize..70, width in 1usize..70) {
            let mask = GridMask::from_bbox(&bbox, Grid::new(height, width), GridRounding::AtLeastOneCell);
            prop_assert!(!mask.is_empty());
        }

        #[test]
        fn centring_keeps_the_size(bbox in any_bbox(), padding in 0.0..1.0) {
            for placement in [Placement::Center, Placement::HorizontalCenter, Placement::FloorPadding(padding)] {
                let (x0, y0, x1, y1) = bbox.centered(placement).corners();
                let centered = BBox::new(x0, y0, x1, y1).unwrap();
                prop_assert!((centered.width() - bbox.width()).abs() < 1e-12);
                prop_assert!((centered.height() - bbox.height()).abs() < 1e-12);
            }
        }

        #[test]
        fn clipped_boxes_are_inside(x in -2e3..2e3, y in -2e3..2e3, w in -10.0..3e3, h in -10.0..3e3) {
            let clipped = PixelBox::new(x, y, w, h).unwrap().clipped_to(Canvas::PUBLISHED);
            prop_assert!(clipped.is_inside(Canvas::PUBLISHED));
            if clipped.width() >= 1e-6 && clipped.height() >= 1e-6 {
                prop_assert!(BBox::from_pixels(&clipped, Canvas::PUBLISHED).is_ok());
            }
        }

        #[test]
        fn rounded_boxes_are_near_and_as_much_inside(x in -9.0..600.0, y in -9.0..600.0, w in 0.0..600.0, h in 0.0..600.0) {
            let canvas = Canvas::new(640, 384).unwrap();
            for bbox in [PixelBox::new(x, y, w, h).unwrap(), PixelBox::new(x, y, w, h).unwrap().clipped_to(canvas)] {
                let rounded = bbox.rounded(canvas);
                prop_assert!(!bbox.is_inside(canvas) || rounded.is_inside(canvas), "{bbox} to {rounded}");
                prop_assert_eq!(bbox.has_area(), rounded.has_area());
                prop_assert!((bbox.x() - rounded.x()).abs() <= 1e-3 && (bbox.bottom() - rounded.bottom()).abs() <= 2e-3);
            }
        }

        #[test]
        fn pixels_come_back(bbox in any_bbox()) {
            let canvas = Canvas::new(640, 384).unwrap();
            let back = bbox.to_pixels(canvas);
            prop_assert!((back.x() / 640.0 - bbox.x0()).abs() < 1e-12);
            prop_assert!((back.bottom() / 384.0 - bbox.y1()).abs() < 1e-12);
        }
    }
}
