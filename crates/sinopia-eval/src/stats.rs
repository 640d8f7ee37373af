//! How sure a rate is, and whether two methods differ: Wilson's interval and McNemar's test.

/// The 97.5 % quantile of the normal distribution: two-sided 95 %.
const Z_95: f64 = 1.959_963_984_540_054;

/// Wilson's 95 % interval for a share of `passed` out of `total`, in 0..=1; (0, 1) if there is nothing.
///
/// `(p + z²/2n ± z √(p(1 − p)/n + z²/4n²)) / (1 + z²/n)` with `p = passed / n`. Unlike the normal approximation it stays inside
/// 0..=1 and has a width at 0 % and 100 %, where benchmarks of 100 images often are.
///
/// # Source
/// E. B. Wilson 1927, "Probable inference, the law of succession, and statistical inference".
pub fn wilson_interval(passed: usize, total: usize) -> (f64, f64) {
    if total == 0 {
        return (0.0, 1.0);
    }
    let (n, z2) = (total as f64, Z_95 * Z_95);
    let p = passed as f64 / n;
    let centre = p + z2 / (2.0 * n);
    let half = Z_95 * (p * (1.0 - p) / n + z2 / (4.0 * n * n)).sqrt();
    let scale = 1.0 + z2 / n;
    (((centre - half) / scale).max(0.0), ((centre + half) / scale).min(1.0))
}

/// McNemar's exact test for two methods judged on the same captions: the probability of a split of the differing
/// captions at least as uneven as `only_first` to `only_second` if both methods were equally good.
///
/// `min(1, 2 Σ_{k ≤ min(b, c)} C(b + c, k) / 2^(b + c))`; captions on which both pass or both fail say nothing and are not counted.
///
/// # Source
/// Q. McNemar 1947, "Note on the sampling error of the difference between correlated proportions"; the exact binomial form.
pub fn mcnemar_p(only_first: usize, only_second: usize) -> f64 {
    let n = only_first + only_second;
    let fewer = only_first.min(only_second);
    // Terms by recurrence in logarithms: 2^n leaves f64 at 1024 differing captions.
    let mut log_term = -(n as f64) * std::f64::consts::LN_2; // ln C(n, 0) / 2^n
    let mut sum = log_term.exp();
    for k in 0..fewer {
        log_term += ((n - k) as f64 / (k + 1) as f64).ln();
        sum += log_term.exp();
    }
    (2.0 * sum).min(1.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn close(found: f64, expected: f64) {
        assert!((found - expected).abs() < 5e-5, "{found} against {expected}");
    }

    /// Expected values worked out from the formula by hand at n = 10 and checked against published tables.
    #[test]
    fn wilson_is_as_tabulated_and_stays_inside() {
        let (low, high) = wilson_interval(5, 10);
        close(low, 0.2366);
        close(high, 0.7634);
        let (low, high) = wilson_interval(0, 10);
        close(low, 0.0);
        close(high, 0.2775);
        let (low, high) = wilson_interval(100, 100);
        close(low, 0.9630);
        close(high, 1.0);
        assert_eq!(wilson_interval(0, 0), (0.0, 1.0));
    }

    #[test]
    fn mcnemar_counts_only_the_captions_that_differ() {
        close(mcnemar_p(0, 0), 1.0);
        close(mcnemar_p(3, 3), 1.0);
        close(mcnemar_p(0, 5), 2.0 / 32.0);
        close(mcnemar_p(1, 9), 22.0 / 1024.0);
        close(mcnemar_p(9, 1), mcnemar_p(1, 9));
        assert!(mcnemar_p(700, 900) < 1e-5, "large counts do not overflow");
    }
}
