//! Normalisation by the root of the mean square.

use crate::cpu::isa::for_each_isa;
use crate::cpu::numeric::sum_of;

/// `y = x / √(mean(x²) + ε) · w` over rows as wide as the weight.
///
/// # Source
/// Zhang and Sennrich 2019, arXiv 1910.07467.
#[derive(Debug, Clone)]
pub struct RmsNorm {
    weight: Vec<f32>,
    eps: f32,
}

impl RmsNorm {
    /// A norm from its weight (C), C > 0.
    pub fn new(weight: Vec<f32>, eps: f32) -> Self {
        Self { weight, eps }
    }

    /// The width of the rows.
    pub fn width(&self) -> usize {
        self.weight.len()
    }

    /// Normalises each row of `x`, (…, C), where it lies.
    pub fn apply(&self, x: &mut [f32]) {
        for row in x.chunks_exact_mut(self.weight.len().max(1)) {
            normalise(row, &self.weight, self.eps);
        }
    }

    /// The same into a new place.
    pub fn forward(&self, x: &[f32]) -> Vec<f32> {
        let mut y = x.to_vec();
        self.apply(&mut y);
        y
    }
}

for_each_isa! {
    fn normalise(row: &mut [f32], weight: &[f32], eps: f32) {
        let squares = sum_of(row, row, |a, b| a * b);
        let scale = 1.0 / ((squares / row.len() as f64) as f32 + eps).sqrt();
        for (x, weight) in row.iter_mut().zip(weight) {
            *x = *x * scale * weight;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_have_the_weight_for_their_root_mean_square() {
        let norm = RmsNorm::new(vec![2.0, 2.0, 2.0, 1.0, 1.0], 0.0);
        let y = norm.forward(&[1.0, -1.0, 1.0, -1.0, 1.0, 3.0, 0.0, 0.0, 0.0, 4.0]);
        let root = 5.0_f32.sqrt();
        let expected = [2.0, -2.0, 2.0, -1.0, 1.0, 6.0 / root, 0.0, 0.0, 0.0, 4.0 / root];
        assert!(y.iter().zip(&expected).all(|(y, e)| (y - e).abs() < 1e-6), "{y:?}");
    }
}
