//! The collage: objects cut out of their own pictures, latents and all, pasted over the background where the layout wants them.

use candle_core::{Device, Tensor};
use serde::{Deserialize, Serialize};
use sinopia_layout::{BBox, Grid, GridMask};

use crate::Result;

/// A move by whole latent cells.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Shift {
    /// Rows down; up if negative.
    pub down: i64,
    /// Columns to the right; to the left if negative.
    pub right: i64,
}

/// How a cut-out is moved to its box.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Alignment {
    /// Moves are multiples of this many latent cells (8 image pixels each). 1 puts objects where they belong; 0 stands for the published
    /// step, an eighth of the grid (8 cells, 64 pixels, at 512 pixels), so that a move is exact on every attention grid. Here attention maps are
    /// moved by fractions of their cells instead.
    pub step_cells: usize,
    /// Whether an object is moved less, if it would otherwise lose a part beyond the canvas. The published code lets it go.
    pub stays_on_canvas: bool,
    /// Whether objects are only moved sideways.
    pub horizontal_only: bool,
}

impl Default for Alignment {
    fn default() -> Self {
        Self { step_cells: 1, stays_on_canvas: true, horizontal_only: false }
    }
}

impl Alignment {
    /// The move that takes the mask's centre of mass to the box's centre; and whether the canvas stopped it short.
    pub fn shift(&self, mask: &GridMask, bbox: &BBox) -> (Shift, bool) {
        let (Some((row, column)), Some(rect)) = (mask.centroid(), mask.bounding_rect()) else {
            return (Shift::default(), false);
        };
        let Grid { height, width } = mask.grid();
        let (x, y) = bbox.center();
        let wanted = |centre: f64, index: f64, size: usize| {
            let cells = if self.step_cells == 0 { (size / 8).max(1) } else { self.step_cells };
            let step = cells as f64;
            ((centre * size as f64 - (index + 0.5)) / step).round_ties_even() as i64 * step as i64
        };
        let down = if self.horizontal_only { 0 } else { wanted(y, row, height) };
        let right = wanted(x, column, width);
        if !self.stays_on_canvas {
            return (Shift { down, right }, false);
        }
        let kept = Shift {
            down: down.clamp(-(rect.top as i64), (height - rect.bottom) as i64),
            right: right.clamp(-(rect.left as i64), (width - rect.right) as i64),
        };
        (kept, kept != Shift { down, right })
    }
}

/// An object cut out of its own picture, in place.
#[derive(Debug, Clone)]
pub struct Cutout {
    /// The object's latents before the first step and after each of the frozen ones, not moved: (1, H, W, C) each.
    pub states: Vec<Tensor>,
    /// The object's cells, moved.
    pub mask: GridMask,
    /// The move from its own picture.
    pub shift: Shift,
}

impl Cutout {
    /// Cuts an object out and moves it. Cells that leave the canvas are lost.
    pub fn new(states: Vec<Tensor>, mask: &GridMask, shift: Shift) -> Self {
        Self { states, mask: shifted_mask(mask, shift), shift }
    }
}

/// The mask moved.
pub fn shifted_mask(mask: &GridMask, shift: Shift) -> GridMask {
    let grid = mask.grid();
    let inside = |row: usize, column: usize| {
        source(row, column, shift, grid).is_some_and(|(row, column)| mask.contains(row, column))
    };
    let cells = (0..grid.height).flat_map(|row| (0..grid.width).map(move |column| (row, column)));
    let cells = cells.map(|(row, column)| inside(row, column)).collect();
    GridMask::from_cells(grid, cells).unwrap_or_else(|| GridMask::empty(grid))
}

/// The cell that a move brings to (row, column), if it is on the canvas.
fn source(row: usize, column: usize, shift: Shift, grid: Grid) -> Option<(usize, usize)> {
    let row = usize::try_from(row as i64 - shift.down).ok().filter(|row| *row < grid.height)?;
    let column = usize::try_from(column as i64 - shift.right).ok().filter(|column| *column < grid.width)?;
    Some((row, column))
}

/// Attention (heads, HW) of a grid moved by a shift in latent cells, bilinearly where that is a fraction; what comes from beyond the edge is 0.
///
/// # Errors
/// When the map does not have the grid's cells.
pub fn shifted_attention(map: &Tensor, grid: Grid, shift: Shift, latent_grid: Grid) -> Result<Tensor> {
    if shift == Shift::default() {
        return Ok(map.clone());
    }
    let (heads, hw) = map.dims2()?;
    let down = shift.down as f64 * grid.height as f64 / latent_grid.height as f64;
    let right = shift.right as f64 * grid.width as f64 / latent_grid.width as f64;
    let values = map.to_vec2::<f32>()?;
    let (rows, columns) = (shift_taps(down, grid.height), shift_taps(right, grid.width));
    let mut moved = Vec::with_capacity(heads * hw);
    for head in &values {
        for row in &rows {
            for column in &columns {
                let pairs = row.iter().flat_map(|r| column.iter().map(move |c| (r, c)));
                let taps = pairs.filter_map(|((r, v), (c, u))| Some(v * u * head[(*r)? * grid.width + (*c)?]));
                moved.push(taps.sum::<f32>());
            }
        }
    }
    Ok(Tensor::from_vec(moved, (heads, hw), map.device())?)
}

/// For each cell the two that are moved onto it, with their weights.
fn shift_taps(shift: f64, len: usize) -> Vec<[(Option<usize>, f32); 2]> {
    let tap = |i: usize| {
        let place = i as f64 - shift;
        let (low, weight) = (place.floor(), (place - place.floor()) as f32);
        let cell = |place: f64| (place >= 0.0 && place < len as f64).then_some(place as usize);
        [(cell(low), 1.0 - weight), (cell(low + 1.0), weight)]
    };
    (0..len).map(tap).collect()
}

/// The latents of all objects in place, for the start and for each frozen step.
#[derive(Debug, Clone)]
pub struct Collage {
    /// (1, H, W, C) each: zero outside the objects, except the first, which is complete.
    states: Vec<Tensor>,
    /// Ones on the objects: (1, H, W, 1).
    foreground: Tensor,
    mask: GridMask,
}

impl Collage {
    /// Pastes the cut-outs over the background noise (1, H, W, C), the largest first, so that smaller objects are on top.
    ///
    /// Into the first state each object first brings the noise around it, from the mask's bounding rectangle grown by a cell, so that it starts
    /// from what it was painted from; then the masks are pasted. Where a moved picture has no cell to bring, the background stays (the
    /// published code pastes zeros there).
    ///
    /// # Errors
    /// When shapes disagree.
    pub fn compose(background: &Tensor, cutouts: &[Cutout]) -> Result<Self> {
        let (_, height, width, channels) = background.dims4()?;
        let (grid, device) = (Grid::new(height, width), background.device());
        let mut order: Vec<&Cutout> = cutouts.iter().collect();
        order.sort_by_key(|cutout| std::cmp::Reverse(cutout.mask.count())); // stable
        let num_states = cutouts.iter().map(|cutout| cutout.states.len()).min().unwrap_or(1);
        let mut states = Vec::with_capacity(num_states);
        for index in 0..num_states {
            let mut canvas = match index {
                0 => background.flatten_all()?.to_vec1::<f32>()?,
                _ => vec![0f32; grid.cells() * channels],
            };
            let objects =
                order.iter().map(|cutout| Ok((*cutout, cutout.states[index].flatten_all()?.to_vec1::<f32>()?)));
            let objects = objects.collect::<Result<Vec<_>>>()?;
            if index == 0 {
                objects.iter().for_each(|(cutout, latents)| {
                    paste(&mut canvas, latents, &grown_rect(&cutout.mask), cutout.shift);
                });
            }
            objects.iter().for_each(|(cutout, latents)| {
                paste(&mut canvas, latents, &cutout.mask, cutout.shift);
            });
            states.push(Tensor::from_vec(canvas, (1, height, width, channels), device)?);
        }
        let mask = order.iter().try_fold(GridMask::empty(grid), |all, cutout| all.union(&cutout.mask))?;
        let foreground = Tensor::from_vec(mask.to_f32(), (1, height, width, 1), &Device::Cpu)?.to_device(device)?;
        Ok(Self { states, foreground, mask })
    }

    /// The latents to start with.
    pub fn start(&self) -> &Tensor {
        &self.states[0]
    }

    /// The cells that belong to some object.
    pub fn mask(&self) -> &GridMask {
        &self.mask
    }

    /// The latents with their foreground as it was after `step + 1` steps of the objects' own runs.
    ///
    /// # Errors
    /// When shapes disagree.
    pub fn restore_foreground(&self, latents: Tensor, step: usize) -> Result<Tensor> {
        match self.states.get(step + 1) {
            Some(state) if !self.mask.is_empty() => {
                let background = latents.broadcast_mul(&self.foreground.affine(-1.0, 1.0)?)?;
                Ok((background + state.broadcast_mul(&self.foreground)?)?)
            }
            _ => Ok(latents),
        }
    }
}

/// Copies an object's latents into the canvas, cell by cell where `mask` is and the moved picture has a cell.
fn paste(canvas: &mut [f32], latents: &[f32], mask: &GridMask, shift: Shift) {
    let grid = mask.grid();
    let channels = latents.len() / grid.cells();
    for (cell, _) in mask.cells().iter().enumerate().filter(|(_, inside)| **inside) {
        if let Some((row, column)) = source(cell / grid.width, cell % grid.width, shift, grid) {
            let from = (row * grid.width + column) * channels;
            canvas[cell * channels..(cell + 1) * channels].copy_from_slice(&latents[from..from + channels]);
        }
    }
}

/// The mask's bounding rectangle, grown by one cell.
fn grown_rect(mask: &GridMask) -> GridMask {
    let grid = mask.grid();
    let Some(rect) = mask.bounding_rect() else { return GridMask::empty(grid) };
    let rows = rect.top.saturating_sub(1)..(rect.bottom + 1).min(grid.height);
    let columns = rect.left.saturating_sub(1)..(rect.right + 1).min(grid.width);
    let cells =
        (0..grid.cells()).map(|cell| rows.contains(&(cell / grid.width)) && columns.contains(&(cell % grid.width)));
    GridMask::from_cells(grid, cells.collect()).unwrap_or_else(|| GridMask::empty(grid))
}

#[cfg(test)]
mod tests {
    use super::*;

    const GRID: Grid = Grid { height: 4, width: 4 };

    fn mask(rows: [&str; 4]) -> GridMask {
        GridMask::from_cells(GRID, rows.iter().flat_map(|row| row.chars().map(|c| c == '#')).collect()).unwrap()
    }

    /// One channel, every cell `value`.
    fn latents(value: f32) -> Tensor {
        Tensor::full(value, (1, 4, 4, 1), &Device::Cpu).unwrap()
    }

    #[track_caller]
    fn check(latents: &Tensor, expected: [&str; 4]) {
        let values = latents.flatten_all().unwrap().to_vec1::<f32>().unwrap();
        let rows: Vec<String> = values
            .chunks(4)
            .map(|row| row.iter().map(|v| char::from_digit(*v as u32, 10).unwrap()).collect())
            .collect();
        assert_eq!(rows, expected);
    }

    #[test]
    fn smaller_objects_are_pasted_on_top() -> Result<()> {
        let small =
            Cutout::new(vec![latents(2.0); 2], &mask(["....", ".#..", "....", "...."]), Shift { down: 0, right: 0 });
        let large =
            Cutout::new(vec![latents(3.0); 2], &mask(["##..", "##..", "....", "...."]), Shift { down: 0, right: 0 });
        let collage = Collage::compose(&latents(1.0), &[small, large])?;
        check(collage.start(), ["3321", "3221", "2221", "1111"]);
        check(&collage.states[1], ["3300", "3200", "0000", "0000"]);
        check(&collage.restore_foreground(latents(7.0), 0)?, ["3377", "3277", "7777", "7777"]);
        check(&collage.restore_foreground(latents(7.0), 1)?, ["7777", "7777", "7777", "7777"]);
        assert_eq!(collage.mask().count(), 4);
        Ok(())
    }

    #[test]
    fn objects_are_moved_with_their_latents() -> Result<()> {
        let picture = Tensor::arange(0f32, 16.0, &Device::Cpu)?.reshape((1, 4, 4, 1))?;
        let own = mask(["....", ".#..", "....", "...."]);
        let cutout = Cutout::new(vec![latents(0.0), picture], &own, Shift { down: 1, right: 2 });
        assert_eq!(cutout.mask, mask(["....", "....", "...#", "...."]));
        let collage = Collage::compose(&latents(1.0), &[cutout])?;
        check(&collage.states[1], ["0000", "0000", "0005", "0000"]);
        Ok(())
    }

    #[test]
    fn no_zeros_are_pasted_from_beyond_the_canvas() -> Result<()> {
        let cutout =
            Cutout::new(vec![latents(2.0)], &mask(["#...", "....", "....", "...."]), Shift { down: 2, right: 2 });
        let collage = Collage::compose(&latents(1.0), &[cutout])?;
        // The grown rectangle reaches row 1 and column 1, which nothing was moved onto.
        check(collage.start(), ["1111", "1111", "1122", "1122"]);
        Ok(())
    }

    #[test]
    fn without_objects_the_background_is_all() -> Result<()> {
        let collage = Collage::compose(&latents(1.0), &[])?;
        check(collage.start(), ["1111"; 4]);
        check(&collage.restore_foreground(latents(7.0), 0)?, ["7777"; 4]);
        Ok(())
    }

    #[test]
    fn the_centre_of_the_mask_moves_to_the_centre_of_the_box() {
        let own = mask(["....", ".##.", ".##.", "...."]);
        let bbox = BBox::new(0.5, 0.5, 1.0, 1.0).unwrap();
        assert_eq!(Alignment::default().shift(&own, &bbox), (Shift { down: 1, right: 1 }, false));
        let sideways = Alignment { horizontal_only: true, ..Alignment::default() };
        assert_eq!(sideways.shift(&own, &bbox), (Shift { down: 0, right: 1 }, false));
        let coarse = Alignment { step_cells: 4, ..Alignment::default() };
        assert_eq!(coarse.shift(&own, &bbox), (Shift { down: 0, right: 0 }, false));
        // The published step follows the grid: 2 cells of 16, 4 of 32.
        let published = Alignment { step_cells: 0, ..Alignment::default() };
        for (size, step) in [(16, 2), (32, 4), (64, 8), (4, 1)] {
            let cell = GridMask::from_bbox(
                &BBox::new(0.0, 0.0, 1.0 / size as f64, 1.0 / size as f64).unwrap(),
                Grid::new(size, size),
                sinopia_layout::GridRounding::AtLeastOneCell,
            );
            let (Shift { down, right }, _) = published.shift(&cell, &BBox::new(0.4, 0.6, 0.5, 0.7).unwrap());
            let eighths = |share: f64| ((share * size as f64 - 0.5) / step as f64).round_ties_even() as i64 * step;
            assert_eq!((down, right), (eighths(0.65), eighths(0.45)), "{size}");
        }
    }

    #[test]
    fn no_object_leaves_the_canvas_unless_asked_to() {
        let own = mask(["....", "###.", "###.", "###."]);
        let bbox = BBox::new(0.75, 0.0, 1.0, 0.25).unwrap();
        assert_eq!(Alignment::default().shift(&own, &bbox), (Shift { down: -1, right: 1 }, true));
        let published = Alignment { stays_on_canvas: false, ..Alignment::default() };
        assert_eq!(published.shift(&own, &bbox), (Shift { down: -2, right: 2 }, false));
    }

    #[test]
    fn attention_is_moved_by_whole_and_by_half_cells() -> Result<()> {
        let map = Tensor::new(&[[1f32, 2.0, 3.0, 4.0]], &Device::Cpu)?; // a 2 × 2 grid
        let moved = |down, right| {
            let moved = shifted_attention(&map, Grid::new(2, 2), Shift { down, right }, GRID).unwrap();
            moved.to_vec2::<f32>().unwrap()
        };
        assert_eq!(moved(0, 2), [[0.0, 1.0, 0.0, 3.0]]);
        assert_eq!(moved(-2, 0), [[3.0, 4.0, 0.0, 0.0]]);
        assert_eq!(moved(0, 1), [[0.5, 1.5, 1.5, 3.5]]);
        assert_eq!(moved(0, 0), [[1.0, 2.0, 3.0, 4.0]]);
        Ok(())
    }
}
