//! f32 to 8 bits: the grid of a row of activations.

use crate::cpu::isa::for_each_isa;

/// The 256 numbers that a row of activations is rounded to: `scale · (u − zero)` for u in 0..=255. 0 is one of them.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub(crate) struct Grid {
    pub(crate) scale: f32,
    pub(crate) zero: u8,
}

/// The smallest and the largest of some numbers and 0.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Bounds {
    min: f32,
    max: f32,
    /// 0, or NaN if one of the numbers is not finite.
    defect: f32,
}

/// Numbers that are looked at side by side.
const LANES: usize = 32;

impl Bounds {
    pub(crate) const NONE: Self = Self { min: 0.0, max: 0.0, defect: 0.0 };

    pub(crate) fn of(values: &[f32]) -> Self {
        let mut found = [[0.0_f32; LANES]; 3];
        bounds(values, &mut found);
        let [min, max, defect] = found;
        Self {
            min: min.into_iter().fold(0.0, f32::min),
            max: max.into_iter().fold(0.0, f32::max),
            defect: defect.into_iter().sum(),
        }
    }

    /// The bounds of both.
    pub(crate) fn and(self, other: Self) -> Self {
        Self { min: self.min.min(other.min), max: self.max.max(other.max), defect: self.defect + other.defect }
    }

    /// The finest grid that reaches from the smallest to the largest. Numbers that are not finite make its scale NaN, so that they are seen behind
    /// the product as they would be without rounding.
    pub(crate) fn grid(self) -> Grid {
        let range = self.max - self.min;
        let scale = if range < f32::INFINITY { range / 255.0 } else { self.max / 255.0 - self.min / 255.0 };
        let scale = flushed(scale);
        let zero = if scale > 0.0 { (-self.min / scale).round_ties_even() as u8 } else { 0 };
        Grid { scale: scale + self.defect, zero }
    }
}

/// A scale whose inverse is finite, too: subnormal ones become 0, and so do all the numbers that they would be of.
pub(super) fn flushed(scale: f32) -> f32 {
    if scale < f32::MIN_POSITIVE { 0.0 } else { scale }
}

for_each_isa! {
    /// Smallest, largest and `0 · value` of every 32nd number.
    fn bounds(values: &[f32], found: &mut [[f32; LANES]; 3]) {
        let [min, max, defect] = found;
        let (chunks, rest) = values.as_chunks::<LANES>();
        for chunk in chunks {
            for lane in 0..LANES {
                let value = chunk[lane];
                min[lane] = if value < min[lane] { value } else { min[lane] };
                max[lane] = if value > max[lane] { value } else { max[lane] };
                defect[lane] += 0.0 * value;
            }
        }
        for &value in rest {
            min[0] = if value < min[0] { value } else { min[0] };
            max[0] = if value > max[0] { value } else { max[0] };
            defect[0] += 0.0 * value;
        }
    }
}

impl Grid {
    /// Writes the places of `values` on the grid, the nearest ones, ties to even.
    pub(crate) fn place(self, values: &[f32], out: &mut [u8]) {
        let inverse = if self.scale > 0.0 { 1.0 / self.scale } else { 0.0 };
        place(values, inverse, f32::from(self.zero), out);
    }
}

for_each_isa! {
    /// `round(inverse · value + zero)`, within 0..=255.
    fn place(values: &[f32], inverse: f32, zero: f32, out: &mut [u8]) {
        // Added to a number below 2²², this leaves the nearest whole one in the lowest bits.
        const ROUND: f32 = 12_582_912.0;
        for (out, &value) in out.iter_mut().zip(values) {
            let place = value * inverse + zero;
            let place = if place > 0.0 { place } else { 0.0 };
            let place = if place < 255.0 { place } else { 255.0 };
            *out = (place + ROUND).to_bits() as u8;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{Bounds, Grid};

    fn rounded(values: &[f32]) -> (Grid, Vec<f32>) {
        let grid = Bounds::of(values).grid();
        let mut places = vec![0; values.len()];
        grid.place(values, &mut places);
        (grid, places.iter().map(|&u| grid.scale * (f32::from(u) - f32::from(grid.zero))).collect())
    }

    #[test]
    fn no_number_is_further_off_than_half_a_step() {
        for len in [1, 5, 32, 33, 257] {
            for (low, high) in [(-1.0, 1.0), (-0.28, 7.0), (0.0, 3.0), (-5.0, 0.0), (2.0, 3.0), (-3e-20, 1e-20)] {
                let values: Vec<f32> =
                    (0..len).map(|i| low + (high - low) * ((i * 7919 % 1009) as f32 / 1008.0)).collect();
                let (grid, found) = rounded(&values);
                for (value, found) in values.iter().zip(found) {
                    // The zero point is rounded, too, so that the ends may lie a little outside.
                    assert!((value - found).abs() <= 1.001 * grid.scale, "{value} became {found}, {grid:?}");
                }
            }
        }
    }

    #[test]
    fn zero_stays_zero() {
        for values in [&[0.0; 3][..], &[0.0, 5.0, -1.0], &[-3.0, 0.0], &[]] {
            let (_, found) = rounded(values);
            for (value, found) in values.iter().zip(found) {
                assert!(*value != 0.0 || found == 0.0);
            }
        }
    }

    #[test]
    fn the_smallest_and_the_largest_numbers_have_a_grid() {
        let (grid, found) = rounded(&[-3e38, 0.0, 3e38]);
        assert!(grid.scale.is_finite());
        assert!(
            found.iter().zip([-3e38, 0.0, 3e38]).all(|(found, value)| (found - value).abs() <= grid.scale),
            "{found:?}"
        );
        let (_, found) = rounded(&[-1e-37, 0.0, 1e-40]);
        assert_eq!(found, [0.0; 3]);
    }

    #[test]
    fn numbers_that_are_not_finite_are_not_hidden() {
        for value in [f32::NAN, f32::INFINITY, f32::NEG_INFINITY] {
            for len in [1, 40] {
                let mut values = vec![1.0; len];
                values[len - 1] = value;
                assert!(Bounds::of(&values).grid().scale.is_nan());
                assert!(Bounds::of(&[2.0]).and(Bounds::of(&values)).grid().scale.is_nan());
            }
        }
    }

    #[test]
    fn bounds_of_parts_are_bounds_of_the_whole() {
        let values: Vec<f32> = (0..100).map(|i| ((i * 37 % 100) as f32) - 70.0).collect();
        let (a, b) = values.split_at(41);
        assert_eq!(Bounds::of(a).and(Bounds::of(b)), Bounds::of(&values));
        assert_eq!(Bounds::NONE.and(Bounds::of(&values)), Bounds::of(&values));
    }
}
