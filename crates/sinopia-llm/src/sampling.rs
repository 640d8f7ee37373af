//! Which token comes next.

/// How tokens are drawn.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct TokenSampling {
    /// Randomness: logits are divided by it; 0 takes the likeliest token always. The published value for layouts is 0.25.
    pub temperature: f32,
    /// Only the likeliest tokens that together have this probability are drawn from, 0..=1.
    pub top_p: f32,
    /// The same seed draws the same tokens.
    pub seed: u64,
}

impl Default for TokenSampling {
    fn default() -> Self {
        Self { temperature: 0.25, top_p: 1.0, seed: 0 }
    }
}

/// Draws tokens; a sequence of numbers of its own, so that answers are the same everywhere.
pub(crate) struct Sampler {
    options: TokenSampling,
    state: u64,
}

impl Sampler {
    pub(crate) fn new(options: TokenSampling) -> Self {
        Self { options, state: options.seed }
    }

    /// A token of those with a finite logit; the first of equal ones. `None` if there is none.
    pub(crate) fn draw(&mut self, logits: &[f32]) -> Option<u32> {
        let best = likeliest(logits)?;
        if self.options.temperature <= 0.0 {
            return u32::try_from(best).ok();
        }
        let mut weights: Vec<(usize, f64)> = logits
            .iter()
            .enumerate()
            .filter(|(_, logit)| logit.is_finite())
            .map(|(id, logit)| (id, f64::from((logit - logits[best]) / self.options.temperature).exp()))
            .collect();
        weights.sort_by(|a, b| b.1.total_cmp(&a.1).then(a.0.cmp(&b.0)));
        let total: f64 = weights.iter().map(|(_, weight)| weight).sum();
        let kept = f64::from(self.options.top_p).clamp(0.0, 1.0) * total;
        let mut sum = 0.0;
        let count = weights.iter().take_while(|(_, weight)| {
            let before = sum;
            sum += weight;
            before < kept
        });
        let count = count.count().max(1);
        let mass: f64 = weights[..count].iter().map(|(_, weight)| weight).sum();
        let mut at = self.uniform() * mass;
        for (id, weight) in &weights[..count] {
            at -= weight;
            if at <= 0.0 {
                return u32::try_from(*id).ok();
            }
        }
        u32::try_from(weights[count - 1].0).ok()
    }

    /// A number in 0..1.
    ///
    /// # Source
    /// SplitMix64, Steele, Lea and Flood 2014.
    fn uniform(&mut self) -> f64 {
        self.state = self.state.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut z = self.state;
        z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        z ^= z >> 31;
        (z >> 11) as f64 / (1u64 << 53) as f64
    }
}

fn likeliest(logits: &[f32]) -> Option<usize> {
    let mut best: Option<usize> = None;
    for (id, logit) in logits.iter().enumerate().filter(|(_, logit)| logit.is_finite()) {
        if best.is_none_or(|best| *logit > logits[best]) {
            best = Some(id);
        }
    }
    best
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_temperature_takes_the_likeliest_that_is_allowed() {
        let mut sampler = Sampler::new(TokenSampling { temperature: 0.0, ..TokenSampling::default() });
        assert_eq!(sampler.draw(&[0.5, f32::NEG_INFINITY, 2.0, 2.0]), Some(2));
        assert_eq!(sampler.draw(&[f32::NEG_INFINITY, f32::NAN]), None);
    }

    #[test]
    fn draws_follow_probabilities_and_seeds() {
        let logits = [1.0f32.ln(), 3.0f32.ln(), f32::NEG_INFINITY];
        let count = |seed, top_p| {
            let mut sampler = Sampler::new(TokenSampling { temperature: 1.0, top_p, seed });
            (0..4000).filter(|_| sampler.draw(&logits) == Some(1)).count()
        };
        assert!((2900..3100).contains(&count(1, 1.0)), "{}", count(1, 1.0));
        assert_eq!(count(1, 1.0), count(1, 1.0));
        assert_ne!(count(1, 1.0), count(2, 1.0));
        assert_eq!(count(1, 0.5), 4000);
    }
}
