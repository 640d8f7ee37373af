//! Functions without branches or calls, so that loops over them become vector instructions.

use super::isa::for_each_isa;

/// `eˣ` to about two units in the last place; arguments are limited to −87.3..=88.3, where the result is normal. NaN stays NaN.
///
/// `x = n·ln 2 + r` with |r| ≤ ln 2 / 2, then a polynomial in r (degree 6, Cephes' single-precision coefficients) and
/// an exponent of n.
#[inline(always)]
pub(crate) fn exp(x: f32) -> f32 {
    const LOWEST: f32 = -87.3;
    const HIGHEST: f32 = 88.3;
    // ln 2 in two parts; n times the first is exact.
    const LN_2_HIGH: f32 = 0.693_359_4;
    const LN_2_LOW: f32 = -2.121_944_4e-4;
    // 1.5 · 2²³ rounds what is added to it to a whole number; 127 is the bias of the exponent.
    const ROUND: f32 = 12_582_912.0 + 127.0;

    // Not `clamp` and `max`, which lose a NaN or cost a branch.
    let x = if x < LOWEST { LOWEST } else { x };
    let x = if x > HIGHEST { HIGHEST } else { x };
    let rounded = x * std::f32::consts::LOG2_E + ROUND;
    let n = rounded - ROUND;
    let r = x - n * LN_2_HIGH - n * LN_2_LOW;
    let p = 1.987_569_1e-4;
    let p = p * r + 1.398_199_9e-3;
    let p = p * r + 8.333_452e-3;
    let p = p * r + 4.166_579_6e-2;
    let p = p * r + 1.666_666_5e-1;
    let p = p * r + 5.0e-1;
    let p = p * r * r + r + 1.0;
    p * f32::from_bits(rounded.to_bits() << 23)
}

/// `σ(x) = 1 / (1 + e⁻ˣ)`.
#[inline(always)]
pub(crate) fn sigmoid(x: f32) -> f32 {
    1.0 / (1.0 + exp(-x))
}

/// The error function to about 3e-7: a rational function of x in −4..=4, ±1 outside, where it is ±1 in f32.
///
/// The coefficients are those that Eigen and XLA use for f32.
#[inline(always)]
pub(crate) fn erf(x: f32) -> f32 {
    let s = x * x;
    let p = -2.726_142_3e-10;
    let p = p * s + 2.770_681_4e-8;
    let p = p * s - 2.101_024e-6;
    let p = p * s - 5.692_506_5e-5;
    let p = p * s - 7.349_906_3e-4;
    let p = p * s - 2.954_6e-3;
    let p = p * s - 1.609_603_3e-2;
    let q = -1.456_607_2e-5;
    let q = q * s - 2.133_740_6e-4;
    let q = q * s - 1.682_827e-3;
    let q = q * s - 7.373_329e-3;
    let q = q * s - 1.426_473_9e-2;
    let y = x * p / q;
    let y = if y < -1.0 || x <= -4.0 { -1.0 } else { y };
    if y > 1.0 || x >= 4.0 { 1.0 } else { y }
}

/// How many sums run side by side in a reduction.
const LANES: usize = 8;

/// `Σ f(aᵢ, bᵢ)` in f64, in an order fixed by the length.
#[inline(always)]
pub(crate) fn sum_of(a: &[f32], b: &[f32], f: impl Fn(f32, f32) -> f32) -> f64 {
    let mut sums = [0.0_f64; LANES];
    let (a_chunks, b_chunks) = (a.chunks_exact(LANES), b.chunks_exact(LANES));
    let rest = a_chunks.remainder().iter().zip(b_chunks.remainder());
    let rest: f64 = rest.map(|(&a, &b)| f64::from(f(a, b))).sum();
    for (a, b) in a_chunks.zip(b_chunks) {
        for lane in 0..LANES {
            sums[lane] += f64::from(f(a[lane], b[lane]));
        }
    }
    sums.iter().sum::<f64>() + rest
}

/// The largest element; −∞ for none. A NaN may or may not be seen.
#[inline(always)]
pub(crate) fn max(x: &[f32]) -> f32 {
    let mut largest = [f32::NEG_INFINITY; LANES];
    let chunks = x.chunks_exact(LANES);
    let rest = chunks.remainder();
    for chunk in chunks {
        for lane in 0..LANES {
            largest[lane] = if chunk[lane] > largest[lane] { chunk[lane] } else { largest[lane] };
        }
    }
    let larger = |a: f32, &b: &f32| if b > a { b } else { a };
    rest.iter().fold(largest.iter().fold(f32::NEG_INFINITY, larger), larger)
}

for_each_isa! {
    /// Replaces a row by its softmax. Elements of −∞ become 0 unless all are.
    pub(crate) fn softmax(row: &mut [f32]) {
        let max = max(row);
        let sum = exp_and_sum(row, max);
        let scale = (1.0 / sum) as f32;
        for x in row {
            *x *= scale;
        }
    }
}

/// Replaces each element by `e^(x − max)` and adds them up. Differences below −87.3 count as e^−87.3, which is 0 next to
/// the maximum's 1.
#[inline(always)]
fn exp_and_sum(row: &mut [f32], max: f32) -> f64 {
    let mut sums = [0.0_f32; LANES];
    let mut total = 0.0_f64;
    // f32 sums for short stretches, f64 across them.
    for stretch in row.chunks_mut(64 * LANES) {
        let mut chunks = stretch.chunks_exact_mut(LANES);
        for chunk in &mut chunks {
            for lane in 0..LANES {
                chunk[lane] = exp(chunk[lane] - max);
                sums[lane] += chunk[lane];
            }
        }
        for x in chunks.into_remainder() {
            *x = exp(*x - max);
            total += f64::from(*x);
        }
        total += sums.iter().map(|&sum| f64::from(sum)).sum::<f64>();
        sums = [0.0; LANES];
    }
    total
}

#[cfg(test)]
mod tests {
    use candle_core::{Device, Tensor};

    use super::{erf, exp, max, sigmoid, softmax, sum_of};

    #[test]
    fn exp_is_within_three_units_in_the_last_place() {
        let worst = (-870..=880)
            .flat_map(|tenth| (0..37).map(move |part| (tenth as f32 + part as f32 / 37.0) / 10.0))
            .filter(|x| (-87.2..88.2).contains(x))
            .map(|x| {
                let exact = f64::from(x).exp();
                (f64::from(exp(x)) - exact).abs() / (exact * f64::from(f32::EPSILON))
            })
            .fold(0.0, f64::max);
        assert!(worst < 3.0, "{worst} units");
    }

    #[test]
    fn exp_at_the_ends_and_for_nan() {
        assert_eq!(exp(0.0), 1.0);
        assert!(exp(f32::NEG_INFINITY) < 2e-38 && exp(-1e9) > 0.0);
        assert!(exp(f32::INFINITY) > 1e38);
        assert!(exp(f32::NAN).is_nan());
        assert_eq!(sigmoid(-200.0) + sigmoid(200.0), 1.0);
    }

    #[test]
    fn erf_matches_double_precision() {
        let xs: Vec<f64> = (-600..=600).map(|x| f64::from(x) / 100.0).collect();
        let exact = Tensor::new(xs.clone(), &Device::Cpu).unwrap().erf().unwrap();
        for (x, exact) in xs.iter().zip(exact.to_vec1::<f64>().unwrap()) {
            let found = f64::from(erf(*x as f32));
            assert!((found - exact).abs() < 3e-7, "erf({x}) = {exact}, found {found}");
        }
        assert!(erf(f32::NAN).is_nan());
    }

    #[test]
    fn reductions_of_odd_lengths() {
        for len in [0, 1, 7, 8, 9, 100] {
            let x: Vec<f32> = (0..len).map(|i| ((i * 7) % 11) as f32 - 5.5).collect();
            assert_eq!(sum_of(&x, &x, |a, _| a), x.iter().map(|&x| f64::from(x)).sum::<f64>());
            assert_eq!(max(&x), x.iter().copied().fold(f32::NEG_INFINITY, f32::max));
        }
    }

    #[test]
    fn softmax_of_a_long_row_sums_to_one() {
        let mut row: Vec<f32> = (0..5003).map(|i| ((i * 37) % 101) as f32 / 10.0 + 1000.0).collect();
        row[17] = f32::NEG_INFINITY;
        softmax(&mut row);
        let sum: f64 = row.iter().map(|&p| f64::from(p)).sum();
        assert!((sum - 1.0).abs() < 1e-6, "{sum}");
        assert!(row[17] < 1e-37);
    }
}
