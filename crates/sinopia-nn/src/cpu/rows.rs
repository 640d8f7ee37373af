//! Loops over rows of f32, compiled for each set of instructions and chosen when called.

use super::columns::Line;
use super::isa::for_each_isa;

/// How many sums run side by side in a reduction.
const LANES: usize = 32;
/// Columns of a panel of f32.
const PANEL: usize = super::f32::LANES;

/// `a · b + c`, rounded once where that is one instruction.
#[inline(always)]
fn multiply_add<const FUSED: bool>(a: f32, b: f32, c: f32) -> f32 {
    if FUSED { a.mul_add(b, c) } else { a * b + c }
}

/// `2ˣ` for x ≤ 0, to about 2e-7 relative; 0 below −125, so that what is masked weighs nothing.
#[inline(always)]
fn power_of_2<const FUSED: bool>(x: f32) -> f32 {
    // Adding this rounds to a whole number, whose lowest bits are then its own.
    const ROUND: f32 = 12_582_912.0;
    let is_nothing = x < -125.0;
    let x = if is_nothing { -125.0 } else { x };
    let rounded = x + ROUND;
    let f = x - (rounded - ROUND);
    // 1 + a polynomial with the least relative error for |f| ≤ ½, 1.1e-7.
    let p = 1.330_060_8e-3;
    let p = multiply_add::<FUSED>(p, f, 9.669_692e-3);
    let p = multiply_add::<FUSED>(p, f, 5.550_558_5e-2);
    let p = multiply_add::<FUSED>(p, f, 2.402_228_3e-1);
    let p = multiply_add::<FUSED>(p, f, std::f32::consts::LN_2);
    let p = multiply_add::<FUSED>(p, f, 1.0);
    // The whole number is added to the exponent.
    let power = f32::from_bits(p.to_bits().wrapping_add(rounded.to_bits() << 23));
    if is_nothing { 0.0 } else { power }
}

for_each_isa! {
    /// The largest element; −∞ for none. A NaN may or may not be seen.
    pub(crate) fn max_of(x: &[f32]) -> f32 {
        let mut largest = [f32::NEG_INFINITY; LANES];
        let (chunks, rest) = x.as_chunks::<LANES>();
        for chunk in chunks {
            for (largest, &x) in largest.iter_mut().zip(chunk) {
                *largest = if x > *largest { x } else { *largest };
            }
        }
        for width in [16, 8, 4, 2, 1] {
            for lane in 0..width {
                let other = largest[width + lane];
                largest[lane] = if other > largest[lane] { other } else { largest[lane] };
            }
        }
        rest.iter().fold(largest[0], |a, &b| if b > a { b } else { a })
    }
}

for_each_isa! {
    /// Makes each element `2^(x − max)`, and returns their sum.
    pub(crate) fn exp2_minus(x: &mut [f32], max: f32) -> f32 {
        let mut sums = [0.0_f32; LANES];
        let (chunks, rest) = x.as_chunks_mut::<LANES>();
        for x in chunks {
            for lane in 0..LANES {
                x[lane] = power_of_2::<FUSED>(x[lane] - max);
                sums[lane] += x[lane];
            }
        }
        for width in [16, 8, 4, 2, 1] {
            for lane in 0..width {
                sums[lane] += sums[width + lane];
            }
        }
        let mut sum = sums[0];
        for x in rest {
            *x = power_of_2::<FUSED>(*x - max);
            sum += *x;
        }
        sum
    }
}

for_each_isa! {
    /// Scores become probabilities `p = 2^(score − total)`, `total` being the logarithm of the sum of all powers; their gradients `p · (∂p − mean)`.
    pub(crate) fn probabilities_and_gradients(scores: &mut [f32], grads: &mut [f32], total: f32, mean: f32) {
        for (score, grad) in scores.iter_mut().zip(grads) {
            let p = power_of_2::<FUSED>(*score - total);
            *score = p;
            *grad = p * (*grad - mean);
        }
    }
}

/// What was seen so far of the scores of as many queries as a panel has columns.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Running {
    /// The largest score.
    pub(crate) max: [f32; PANEL],
    /// `Σ 2^(score − max)`
    pub(crate) sum: [f32; PANEL],
}

impl Running {
    /// Nothing yet.
    pub(crate) const NOTHING: Self = Self { max: [f32::NEG_INFINITY; PANEL], sum: [0.0; PANEL] };
}

for_each_isa! {
    /// Takes the scores of more keys, a line each, into `running`; they become `2^(score − max)`. Returns what everything summed before has
    /// to be multiplied with, unless that is 1 for all queries.
    pub(crate) fn exponentiate_lines(lines: &mut [Line], running: &mut Running) -> Option<[f32; PANEL]> {
        let mut max = running.max;
        for Line(line) in &*lines {
            for lane in 0..PANEL {
                max[lane] = if line[lane] > max[lane] { line[lane] } else { max[lane] };
            }
        }
        let mut shrink = [0.0; PANEL];
        for lane in 0..PANEL {
            shrink[lane] = power_of_2::<FUSED>(running.max[lane] - max[lane]);
        }
        let mut sum = [0.0_f32; PANEL];
        for Line(line) in lines {
            for lane in 0..PANEL {
                line[lane] = power_of_2::<FUSED>(line[lane] - max[lane]);
                sum[lane] += line[lane];
            }
        }
        let moved = running.max != max;
        for lane in 0..PANEL {
            running.sum[lane] = running.sum[lane] * shrink[lane] + sum[lane];
        }
        running.max = max;
        moved.then_some(shrink)
    }
}

for_each_isa! {
    /// Multiplies lines by one line of factors.
    pub(crate) fn scale_lines(lines: &mut [Line], factors: &[f32; PANEL]) {
        for Line(line) in lines {
            for lane in 0..PANEL {
                line[lane] *= factors[lane];
            }
        }
    }
}

/// What probabilities of a query are computed from again: `2^(score − max) · scale`; and `Σ p · ∂p`.
#[derive(Debug, Clone, Copy)]
pub(crate) struct QueryRow {
    pub(crate) max: f32,
    pub(crate) scale: f32,
    pub(crate) mean: f32,
}

for_each_isa! {
    /// For each query a line of as many keys: scores become probabilities `p`, and their gradients `p · (∂p − mean)`, which are also written
    /// to rows that lie `stride` apart.
    pub(crate) fn differentiate_lines(
        scores: &mut [Line],
        grads: &mut [Line],
        queries: &[QueryRow],
        grad_rows: &mut [f32],
        stride: usize,
    ) {
        let rows = scores.iter_mut().zip(grads).zip(queries).zip(grad_rows.chunks_mut(stride));
        for (((Line(scores), Line(grads)), query), grad_row) in rows {
            let Some(grad_row) = grad_row.first_chunk_mut::<PANEL>() else { return };
            for lane in 0..PANEL {
                let p = power_of_2::<FUSED>(scores[lane] - query.max) * query.scale;
                scores[lane] = p;
                grads[lane] = p * (grads[lane] - query.mean);
            }
            *grad_row = *grads;
        }
    }
}

for_each_isa! {
    /// Multiplies each element by `factor`.
    pub(crate) fn scale_row(row: &mut [f32], factor: f32) {
        for x in row {
            *x *= factor;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{Line, Running, exp2_minus, exponentiate_lines, max_of, power_of_2};

    #[test]
    fn powers_of_two_are_within_a_few_units() {
        for tenth in 0..=1250 {
            for part in 0..13 {
                let x = -(f64::from(tenth) + f64::from(part) / 13.0) / 10.0;
                let exact = f64::from(x as f32).exp2();
                for found in [power_of_2::<false>(x as f32), power_of_2::<true>(x as f32)] {
                    let found = f64::from(found);
                    assert!((found - exact).abs() <= 3e-7 * exact + 3e-38, "2^{x} = {exact}, found {found}");
                }
            }
        }
        assert_eq!(power_of_2::<true>(0.0), 1.0);
        assert!(power_of_2::<true>(f32::NEG_INFINITY) < 3e-38);
    }

    #[test]
    fn lines_run_through_in_stretches() {
        let score = |key: usize, lane: usize| ((key * 37 + lane * 11) % 41) as f32 / 4.0 - 7.0;
        for lengths in [&[1][..], &[3, 4], &[5, 1, 9], &[126, 2]] {
            let (mut running, mut total, mut first) = (Running::NOTHING, Line::ZERO, 0);
            for &length in lengths {
                let line = |key| Line(std::array::from_fn(|lane| score(key, lane)));
                let mut lines: Vec<Line> = (first..first + length).map(line).collect();
                first += length;
                if let Some(shrink) = exponentiate_lines(&mut lines, &mut running) {
                    super::scale_lines(std::slice::from_mut(&mut total), &shrink);
                }
                for (lane, total) in total.0.iter_mut().enumerate() {
                    *total += lines.iter().map(|line| line.0[lane]).sum::<f32>();
                }
            }
            for (lane, total) in total.0.into_iter().enumerate() {
                let max = (0..first).map(|key| score(key, lane)).fold(f32::NEG_INFINITY, f32::max);
                let exact: f32 = (0..first).map(|key| (score(key, lane) - max).exp2()).sum();
                assert_eq!(running.max[lane], max);
                assert!((running.sum[lane] - exact).abs() < 1e-5 * exact);
                assert!((total - exact).abs() < 1e-5 * exact);
            }
        }
    }

    #[test]
    fn rows_of_odd_lengths() {
        for len in [1, 5, 32, 33, 100] {
            let row: Vec<f32> = (0..len).map(|i| ((i * 37) % 41) as f32 / 4.0 - 7.0).collect();
            let max = row.iter().copied().fold(f32::NEG_INFINITY, f32::max);
            assert_eq!(max_of(&row), max);
            let mut powers = row.clone();
            let sum = exp2_minus(&mut powers, max);
            let exact: f64 = row.iter().map(|x| f64::from(x - max).exp2()).sum();
            assert!((f64::from(sum) - exact).abs() < 1e-5 * exact);
            for (x, power) in row.iter().zip(powers) {
                assert!((power - (x - max).exp2()).abs() <= 1e-6 * power);
            }
        }
    }
}
