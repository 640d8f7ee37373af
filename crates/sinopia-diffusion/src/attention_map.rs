//! Attention over the cells of a grid, and what is done with it as with a picture: smoothing, stretching, resampling.

use sinopia_layout::Grid;

use crate::{Error, Result};

/// A non-negative value for each cell of a grid.
#[derive(Debug, Clone, PartialEq)]
pub struct AttentionMap {
    grid: Grid,
    values: Vec<f32>, // (HW)
}

impl AttentionMap {
    /// From values row by row.
    ///
    /// # Errors
    /// When their number is not that of the grid's cells.
    pub fn new(grid: Grid, values: Vec<f32>) -> Result<Self> {
        if values.len() != grid.cells() {
            return Err(Error::AttentionMap {
                key: "object mask".to_owned(),
                found: vec![values.len()],
                expected: format!("{} values for a grid of {grid}", grid.cells()),
            });
        }
        Ok(Self { grid, values })
    }

    /// Rows and columns.
    pub fn grid(&self) -> Grid {
        self.grid
    }

    /// The values, row by row.
    pub fn values(&self) -> &[f32] {
        &self.values
    }

    /// Smoothed by a Gaussian of standard deviation `sigma` cells, cut at four of them, edges mirrored: `scipy.ndimage.gaussian_filter`.
    #[must_use]
    pub fn smoothed(&self, sigma: f64) -> Self {
        let radius = (4.0 * sigma + 0.5) as i64;
        let kernel: Vec<f64> = (-radius..=radius).map(|x| (-0.5 * (x as f64 / sigma).powi(2)).exp()).collect();
        let total: f64 = kernel.iter().sum();
        let Grid { height, width } = self.grid;
        let along = |values: &[f64], is_row: bool| {
            let value = |row: usize, column: usize| {
                let taps = kernel.iter().zip(-radius..=radius).map(|(weight, offset)| {
                    let (row, column) = match is_row {
                        true => (row, mirrored(column as i64 + offset, width)),
                        false => (mirrored(row as i64 + offset, height), column),
                    };
                    weight / total * values[row * width + column]
                });
                taps.sum::<f64>()
            };
            let cells = (0..height).flat_map(|row| (0..width).map(move |column| (row, column)));
            cells.map(|(row, column)| value(row, column)).collect::<Vec<f64>>()
        };
        let values: Vec<f64> = self.values.iter().map(|value| f64::from(*value)).collect();
        let values = along(&along(&values, false), true);
        Self { grid: self.grid, values: values.iter().map(|value| *value as f32).collect() }
    }

    /// Stretched to 0..=1; a constant map becomes zeros.
    #[must_use]
    pub fn normalised(&self) -> Self {
        let low = self.values.iter().copied().fold(f32::INFINITY, f32::min);
        let high = self.values.iter().copied().fold(f32::NEG_INFINITY, f32::max);
        let range = high - low;
        let stretch = |value: &f32| if range > 0.0 { (value - low) / range } else { 0.0 };
        Self { grid: self.grid, values: self.values.iter().map(stretch).collect() }
    }

    /// Resampled bilinearly, cell centres on cell centres, edges repeated.
    #[must_use]
    pub fn resized(&self, grid: Grid) -> Self {
        let rows = taps(self.grid.height, grid.height);
        let columns = taps(self.grid.width, grid.width);
        let at = |row: usize, column: usize| self.values[row * self.grid.width + column];
        let value = |(r0, r1, v): &(usize, usize, f32), (c0, c1, u): &(usize, usize, f32)| {
            let upper = at(*r0, *c0) * (1.0 - u) + at(*r0, *c1) * u;
            let lower = at(*r1, *c0) * (1.0 - u) + at(*r1, *c1) * u;
            upper * (1.0 - v) + lower * v
        };
        let values = rows.iter().flat_map(|row| columns.iter().map(move |column| (row, column)));
        Self { grid, values: values.map(|(row, column)| value(row, column)).collect() }
    }
}

/// The index of a cell beyond the edge: d c b a | a b c d | d c b a.
fn mirrored(index: i64, len: usize) -> usize {
    let period = 2 * len as i64;
    let index = index.rem_euclid(period);
    (if index < len as i64 { index } else { period - 1 - index }) as usize
}

/// For each of `to` cells the two of `from` it lies between, and the weight of the second.
pub(crate) fn taps(from: usize, to: usize) -> Vec<(usize, usize, f32)> {
    let tap = |i: usize| {
        let place = ((i as f64 + 0.5) * from as f64 / to as f64 - 0.5).clamp(0.0, (from - 1) as f64);
        let low = place.floor() as usize;
        (low, (low + 1).min(from - 1), (place - low as f64) as f32)
    };
    (0..to).map(tap).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn smoothing_is_scipys() {
        // scipy.ndimage.gaussian_filter of a 1 at (1, 0) in a 4 × 5 map, sigma 1.5
        let mut values = vec![0f32; 20];
        values[5] = 1.0;
        let smoothed = AttentionMap::new(Grid::new(4, 5), values).unwrap().smoothed(1.5);
        let expected = SCIPY;
        for (i, (found, expected)) in smoothed.values().iter().zip(expected).enumerate() {
            assert!((f64::from(*found) - expected).abs() < 1e-6, "value {i}: {found} against {expected}");
        }
    }

    const SCIPY: [f64; 20] = [
        0.15440661, 0.10391166, 0.04685587, 0.01408265, 0.00314113, 0.14511001, 0.09765528, 0.04403475, 0.01323476,
        0.00295201, 0.10927419, 0.07353871, 0.03316009, 0.00996635, 0.00222299, 0.07014097, 0.04720306, 0.02128481,
        0.00639721, 0.00142689,
    ];

    #[test]
    fn the_number_of_values_must_fit() {
        assert!(AttentionMap::new(Grid::new(2, 2), vec![0.0; 3]).is_err());
    }
}
