//! NumPy's legacy permutations, which decide what the published captions ask for.

use rand_mt::Mt;

/// `numpy.random.RandomState(seed)`, as far as permutations need it.
#[derive(Debug)]
pub(crate) struct LegacyRandom(Mt);

impl LegacyRandom {
    /// A generator seeded with one number.
    pub(crate) fn new(seed: u32) -> Self {
        Self(Mt::new(seed))
    }

    /// `choice(n, k, replace=False)`: the first `k` of a permutation of 0..n.
    ///
    /// The identity is shuffled from its end: for i = n−1 down to 1, i changes places with a uniform j in 0..=i.
    pub(crate) fn choose(&mut self, n: usize, k: usize) -> Vec<usize> {
        let mut order: Vec<usize> = (0..n).collect();
        for i in (1..n).rev() {
            order.swap(i, self.at_most(i));
        }
        order.truncate(k);
        order
    }

    /// A uniform value in 0..=max by masked rejection: words are cut to the bits that `max` needs until one fits.
    fn at_most(&mut self, max: usize) -> usize {
        let mask = u32::MAX >> (max as u32).leading_zeros();
        loop {
            let value = (self.0.next_u32() & mask) as usize;
            if value <= max {
                return value;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Expected values by NumPy 2.4.6: `random.seed(seed)`, `choice(11, 2, replace=False)`, then `choice(10, 2, replace=False)`.
    #[test]
    fn draws_are_numpys() {
        for (seed, colours, objects) in
            [(0, [4, 9], [8, 3]), (1, [2, 3], [1, 7]), (5, [5, 8], [2, 5]), (7, [8, 5], [1, 3])]
        {
            let mut random = LegacyRandom::new(seed);
            assert_eq!(random.choose(11, 2), colours, "seed {seed}");
            assert_eq!(random.choose(10, 2), objects, "seed {seed}");
        }
    }

    #[test]
    fn one_stream_goes_on() {
        let mut random = LegacyRandom::new(2);
        let pairs: Vec<_> = (0..4).map(|_| random.choose(10, 2)).collect();
        assert_eq!(pairs, [[4, 1], [1, 6], [4, 9], [5, 9]]);
    }
}
