//! Rotary position embeddings: pairs of a head's elements, turned by angles that grow with the position.

use std::ops::Range;

/// Which elements of a head make a pair.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RotaryPairs {
    /// Neighbours: 0 with 1, 2 with 3 (llama's files are written for it).
    Neighbours,
    /// The first of either half: 0 with D/2, 1 with D/2 + 1.
    Halves,
}

/// How fast the pairs turn.
///
/// # Source
/// Su et al. 2021, arXiv 2104.09864.
#[derive(Debug, Clone)]
pub struct Rotary {
    /// Radians a position, one for each pair.
    frequencies: Vec<f32>,
    /// Positions are divided by it: 1 unless a model was stretched to longer texts.
    scaling: f32,
    /// What turned pairs are multiplied by: 1 unless a model was stretched so.
    gain: f32,
    pairs: RotaryPairs,
}

impl Rotary {
    /// Pair i of the first `width` elements (even) of each head turns by `base^(−2i/width)` a position.
    pub fn new(width: usize, base: f32, scaling: f32, pairs: RotaryPairs) -> Self {
        let frequency = |i: usize| base.powf(-(i as f32) / width as f32);
        Self { frequencies: (0..width).step_by(2).map(frequency).collect(), scaling, gain: 1.0, pairs }
    }

    /// The same for a model that was stretched to longer texts by a factor for each pair: it turns that many times slower, and what is turned is
    /// `gain` times as long.
    ///
    /// # Source
    /// Ding et al. 2024, arXiv 2402.13753; Llama 3.1's files have factors of the same meaning.
    ///
    /// # Panics
    /// If there is not one factor for each pair.
    #[must_use]
    pub fn stretched(mut self, factors: &[f32], gain: f32) -> Self {
        assert_eq!(factors.len(), self.frequencies.len(), "a factor for each pair");
        for (frequency, factor) in self.frequencies.iter_mut().zip(factors) {
            *frequency /= factor;
        }
        Self { gain, ..self }
    }

    /// How many pairs of a head turn.
    pub fn pairs(&self) -> usize {
        self.frequencies.len()
    }

    /// What the heads of the tokens at `positions` are turned by.
    pub fn angles(&self, positions: Range<usize>) -> Angles {
        let turn = |position: usize| {
            self.frequencies.iter().map(move |f| {
                let (sin, cos) = (position as f32 * f / self.scaling).sin_cos();
                (self.gain * sin, self.gain * cos)
            })
        };
        Angles { turns: positions.flat_map(turn).collect(), half: self.frequencies.len(), pairs: self.pairs }
    }
}

/// Sines and cosines for some tokens, times the gain.
#[derive(Debug, Clone)]
pub struct Angles {
    /// (L, width/2).
    turns: Vec<(f32, f32)>,
    half: usize,
    pairs: RotaryPairs,
}

impl Angles {
    /// Turns `x`, (L, heads, D), where it lies.
    pub fn apply(&self, x: &mut [f32], heads: usize) {
        let tokens = self.turns.len() / self.half.max(1);
        let width = x.len() / (tokens * heads).max(1);
        for (head, row) in x.chunks_exact_mut(width.max(1)).enumerate() {
            let token = head / heads;
            let turns = &self.turns[token * self.half..][..self.half];
            match self.pairs {
                RotaryPairs::Neighbours => {
                    for (pair, (sin, cos)) in row.chunks_exact_mut(2).zip(turns) {
                        (pair[0], pair[1]) = (pair[0] * cos - pair[1] * sin, pair[0] * sin + pair[1] * cos);
                    }
                }
                RotaryPairs::Halves => {
                    let (first, rest) = row.split_at_mut(self.half);
                    for ((a, b), (sin, cos)) in first.iter_mut().zip(rest).zip(turns) {
                        (*a, *b) = (*a * cos - *b * sin, *a * sin + *b * cos);
                    }
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Two heads of width 4, of which all turns, at positions 3 and 4.
    fn turned(pairs: RotaryPairs) -> Vec<f32> {
        let mut x: Vec<f32> = (0..16).map(|i| i as f32).collect();
        Rotary::new(4, 100.0, 1.0, pairs).angles(3..5).apply(&mut x, 2);
        x
    }

    #[test]
    fn pairs_turn_by_their_angles() {
        let pair = |a: f32, b: f32, angle: f32| [a * angle.cos() - b * angle.sin(), a * angle.sin() + b * angle.cos()];
        let close = |x: &[f32], y: [f32; 2]| (x[0] - y[0]).abs() < 1e-5 && (x[1] - y[1]).abs() < 1e-5;
        let x = turned(RotaryPairs::Neighbours);
        assert!(close(&x[0..2], pair(0.0, 1.0, 3.0)) && close(&x[6..8], pair(6.0, 7.0, 0.3)), "{x:?}");
        assert!(close(&x[12..14], pair(12.0, 13.0, 4.0)), "{x:?}");
        let x = turned(RotaryPairs::Halves);
        assert!(close(&[x[0], x[2]], pair(0.0, 2.0, 3.0)) && close(&[x[13], x[15]], pair(13.0, 15.0, 0.4)), "{x:?}");
    }

    #[test]
    fn stretched_pairs_turn_slower_and_grow() {
        let slow = Rotary::new(4, 100.0, 1.0, RotaryPairs::Halves).stretched(&[2.0, 5.0], 3.0);
        let mut x = [1.0, 1.0, 0.0, 0.0];
        slow.angles(8..9).apply(&mut x, 1);
        let expected = [4.0_f32, 0.16].map(|angle| (3.0 * angle.cos(), 3.0 * angle.sin()));
        for (pair, (cos, sin)) in expected.into_iter().enumerate() {
            assert!((x[pair] - cos).abs() < 1e-5 && (x[pair + 2] - sin).abs() < 1e-5, "{x:?}");
        }
    }

    #[test]
    fn elements_behind_the_width_stay() {
        let mut x = vec![1.0; 6];
        Rotary::new(4, 100.0, 1.0, RotaryPairs::Halves).angles(7..8).apply(&mut x, 1);
        assert_eq!(x[4..], [1.0, 1.0]);
        assert_ne!(x[0], 1.0);
    }
}
