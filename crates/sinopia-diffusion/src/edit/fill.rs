//! A hole filled from its edge.

use candle_core::{Device, Tensor};
use sinopia_layout::GridMask;

use crate::Result;
use crate::noise::LatentSize;

/// Sweeps at most: enough for a hole of 64 cells a side.
const MAX_SWEEPS: usize = 1000;

/// A sweep that changes no number by more ends the filling.
const TOLERANCE: f64 = 1e-4;

/// Latents (1, H, W, C) whose hole is filled smoothly from the cells around it: every cell in it is the mean of its neighbours on the picture (Laplace's equation).
/// A hole that has no edge is filled with zeros.
///
/// What stands in the hole has no influence: so a removed object leaves nothing behind, not even its colour.
pub(super) fn filled(latents: &Tensor, hole: &GridMask) -> Result<Tensor> {
    let LatentSize { height, width, channels } = LatentSize::of(latents)?;
    let mut values = latents.flatten_all()?.to_vec1::<f32>()?; // (HWC)
    let cells: Vec<usize> = (0..height * width).filter(|cell| hole.cells()[*cell]).collect();
    for channel in 0..channels {
        let mut field: Vec<f64> =
            values.iter().skip(channel).step_by(channels).map(|value| f64::from(*value)).collect();
        fill_channel(&mut field, &cells, hole, width);
        cells.iter().for_each(|cell| values[cell * channels + channel] = field[*cell] as f32);
    }
    Ok(Tensor::from_vec(values, latents.shape().clone(), &Device::Cpu)?.to_device(latents.device())?)
}

/// By Gauss and Seidel's sweeps, from the mean of the cells outside.
fn fill_channel(field: &mut [f64], cells: &[usize], hole: &GridMask, width: usize) {
    let num_outside = field.len() - cells.len();
    let outside: f64 = field.iter().zip(hole.cells()).filter(|(_, inside)| !**inside).map(|(value, _)| value).sum();
    let mean = if num_outside > 0 { outside / num_outside as f64 } else { 0.0 };
    cells.iter().for_each(|cell| field[*cell] = mean);
    if num_outside == 0 {
        return;
    }
    for _ in 0..MAX_SWEEPS {
        let mut largest = 0.0_f64;
        for cell in cells {
            let value = mean_of_neighbours(field, *cell, width);
            largest = largest.max((value - field[*cell]).abs());
            field[*cell] = value;
        }
        if largest < TOLERANCE {
            return;
        }
    }
}

fn mean_of_neighbours(field: &[f64], cell: usize, width: usize) -> f64 {
    let (column, len) = (cell % width, field.len());
    let neighbours = [
        (cell >= width).then(|| cell - width),
        (cell + width < len).then_some(cell + width),
        (column > 0).then(|| cell - 1),
        (column + 1 < width).then_some(cell + 1),
    ];
    let (sum, count) = neighbours.into_iter().flatten().fold((0.0, 0.0), |(sum, n), cell| (sum + field[cell], n + 1.0));
    if count > 0.0 { sum / count } else { field[cell] }
}

#[cfg(test)]
mod tests {
    use sinopia_layout::Grid;

    use super::*;

    fn hole(grid: Grid, is_hole: impl Fn(usize, usize) -> bool) -> GridMask {
        let cells = (0..grid.cells()).map(|cell| is_hole(cell / grid.width, cell % grid.width));
        GridMask::from_cells(grid, cells.collect()).unwrap()
    }

    #[test]
    fn a_slope_goes_on_through_the_hole_whatever_stood_there() -> Result<()> {
        let grid = Grid::new(6, 9);
        let hole = hole(grid, |row, column| (1..5).contains(&row) && (2..7).contains(&column));
        // Two channels: one rises to the right, the other falls downwards.
        let at = |cell: usize| [(cell % 9) as f32, -((cell / 9) as f32)];
        let slope: Vec<f32> = (0..54).flat_map(at).collect();
        let broken: Vec<f32> =
            (0..54).flat_map(|cell| if hole.cells()[cell] { [99.0, f32::NAN] } else { at(cell) }).collect();
        let found = filled(&Tensor::from_vec(broken, (1, 6, 9, 2), &Device::Cpu)?, &hole)?;
        for (found, expected) in found.flatten_all()?.to_vec1::<f32>()?.iter().zip(slope) {
            assert!((found - expected).abs() < 0.01, "{found} instead of {expected}");
        }
        Ok(())
    }

    #[test]
    fn a_hole_without_an_edge_is_zero_and_none_changes_nothing() -> Result<()> {
        let grid = Grid::new(2, 3);
        let latents = Tensor::arange(0f32, 6.0, &Device::Cpu)?.reshape((1, 2, 3, 1))?;
        let all = filled(&latents, &hole(grid, |_, _| true))?;
        assert_eq!(all.flatten_all()?.to_vec1::<f32>()?, [0.0; 6]);
        let none = filled(&latents, &hole(grid, |_, _| false))?;
        assert_eq!(none.flatten_all()?.to_vec1::<f32>()?, latents.flatten_all()?.to_vec1::<f32>()?);
        Ok(())
    }
}
