//! How many calls a change of a picture takes.

/// The first call of the denoiser that an edit of a strength makes, out of `num_calls`: `N − ⌊N·strength⌋`, so that 1 makes all and 0 none.
///
/// diffusers computes N·strength in binary, where 100 · 0.29 is 28.999…, one call less than was asked for; here a strength is what it is when written with
/// six decimals. Strengths outside 0..=1 are taken to its ends.
///
/// Source: huggingface/diffusers `StableDiffusionImg2ImgPipeline.get_timesteps`.
pub fn first_call(strength: f64, num_calls: usize) -> usize {
    const PARTS: usize = 1_000_000;
    let parts = (strength.clamp(0.0, 1.0) * PARTS as f64).round() as usize;
    num_calls - num_calls * parts / PARTS
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_strength_is_a_share_of_the_calls_rounded_down() {
        let calls = |strength, count| count - first_call(strength, count);
        for (strength, count, expected) in [
            // In binary these products are a last bit too small.
            (0.29, 100, 29),
            (0.58, 50, 29),
            (0.7, 10, 7),
            (0.8, 50, 40),
            (1.0, 50, 50),
            (0.999, 50, 49),
            (0.01, 50, 0),
            (0.0, 50, 0),
            (7.0, 50, 50),
            (-1.0, 50, 0),
            (0.5, 0, 0),
        ] {
            assert_eq!(calls(strength, count), expected, "{strength} of {count}");
        }
        // Few steps have few strengths.
        let quarters = (1..=4).map(|count| [0.25, 0.5, 0.75, 1.0].map(|strength| calls(strength, count)));
        assert_eq!(quarters.collect::<Vec<_>>(), [[0, 0, 0, 1], [0, 1, 1, 2], [0, 1, 2, 3], [1, 2, 3, 4]]);
        for count in 1..=100 {
            for hundredth in 0..=100 {
                assert_eq!(calls(hundredth as f64 / 100.0, count), count * hundredth / 100);
            }
        }
    }
}
