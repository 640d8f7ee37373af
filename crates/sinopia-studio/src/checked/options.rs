//! How much is tried.

use crate::CheckSettings;

/// How much is tried until a picture is right.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct CheckOptions {
    /// Seeds to try, at least 1; the first picture that is right ends them.
    pub attempts: u32,
    /// Whether the best of them is repaired.
    pub repair: bool,
    /// With a repair and one attempt: further seeds to try before it, as long as two objects or more are not right and they are at least half: then little is left to keep.
    /// Where one of two is wrong a repair does better: of 13 such seeds on seven captions the miniature's `gligen` had one right, of the repairs of twelve pictures three.
    pub resamples: u32,
    /// How often all that is wrong is gone through.
    pub rounds: u32,
    /// How often the same thing is tried to be repaired.
    pub tries: u32,
    /// Most seconds, looking included. What would probably take longer than what is left is not begun.
    pub max_seconds: Option<f64>,
    /// Most work, in paintings: 1 is the work of the first attempt. What would probably take more than what is left is not begun. Where there is a repair, attempts may take
    /// half of it. If nothing is said attempts are bounded by their number, and repairs by [`REPAIR_WORK`](Self::REPAIR_WORK).
    pub max_work: Option<f64>,
}

impl Default for CheckOptions {
    fn default() -> Self {
        Self { attempts: 1, repair: false, resamples: 2, rounds: 3, tries: 2, max_seconds: None, max_work: None }
    }
}

impl CheckOptions {
    /// Most work of the repairs of one picture if nothing is said, in paintings.
    pub const REPAIR_WORK: f64 = 6.0;

    /// Most attempts at one picture.
    pub fn most_attempts(&self) -> u32 {
        match (self.attempts, self.repair) {
            (1, true) => 1 + self.resamples,
            (attempts, _) => attempts,
        }
    }

    /// The seeds that one picture takes: pictures of one job begin so many apart.
    pub fn seeds_a_picture(&self) -> u64 {
        self.most_attempts().into()
    }
}

impl From<&CheckSettings> for CheckOptions {
    /// A number of attempts that was said is the most that are made.
    fn from(settings: &CheckSettings) -> Self {
        let base = Self::default();
        Self {
            attempts: settings.attempts.unwrap_or(base.attempts).max(1),
            repair: settings.repair.unwrap_or(base.repair),
            resamples: if settings.attempts.is_some() { 0 } else { base.resamples },
            max_seconds: settings.max_seconds,
            max_work: settings.max_work,
            ..base
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_number_of_attempts_that_was_said_is_the_most() {
        let most = |attempts, repair| {
            CheckOptions::from(&CheckSettings { attempts, repair: Some(repair), ..CheckSettings::default() })
                .most_attempts()
        };
        assert_eq!([most(Some(4), true), most(Some(1), true), most(Some(4), false)], [4, 1, 4]);
        assert_eq!([most(None, true), most(None, false)], [3, 1]);
    }
}
