//! What may still be spent.

use std::time::Instant;

use super::{CheckOptions, Ended};

/// What something took.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub(super) struct Cost {
    /// Multiply-accumulates of the denoiser.
    pub(super) work: u64,
    pub(super) seconds: f64,
}

/// What was spent of what may be.
#[derive(Debug)]
pub(super) struct Budget {
    begun: Instant,
    max_seconds: Option<f64>,
    max_work: Option<f64>,
    /// Whether some of the work is kept for repairs.
    has_repairs: bool,
    spent: u64,
    /// Of the first attempt.
    painting: Option<Cost>,
    /// Of the last try, which the next is expected to take, too.
    last: Cost,
}

impl Budget {
    pub(super) fn new(options: &CheckOptions) -> Self {
        let CheckOptions { max_seconds, max_work, repair, .. } = *options;
        Self {
            begun: Instant::now(),
            max_seconds,
            max_work,
            has_repairs: repair,
            spent: 0,
            painting: None,
            last: Cost::default(),
        }
    }

    /// One try more.
    pub(super) fn spend(&mut self, cost: Cost) {
        self.spent += cost.work;
        self.painting.get_or_insert(cost);
        self.last = cost;
    }

    /// From now on all that is left is for repairs. Where nobody says how much, it is what repairs usually may take.
    pub(super) fn begin_repairs(&mut self) {
        self.has_repairs = false;
        if let (None, Some(painting)) = (self.max_work, self.painting.filter(|painting| painting.work > 0)) {
            self.max_work = Some(self.spent as f64 / painting.work as f64 + CheckOptions::REPAIR_WORK);
        }
    }

    /// Why another try is not begun, if it is not.
    pub(super) fn refusal(&self) -> Option<Ended> {
        let seconds = self.begun.elapsed().as_secs_f64() + self.last.seconds;
        if self.max_seconds.is_some_and(|max| seconds > max) {
            return Some(Ended::Seconds);
        }
        let painting = self.painting?.work as f64;
        let work = (self.spent + self.last.work) as f64;
        let share = if self.has_repairs { 0.5 } else { 1.0 };
        self.max_work.is_some_and(|max| work > share * max * painting).then_some(Ended::Work)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn after(options: &CheckOptions, work: &[u64]) -> Option<Ended> {
        let mut budget = Budget::new(options);
        work.iter().for_each(|work| budget.spend(Cost { work: *work, seconds: 1.0 }));
        budget.refusal()
    }

    #[test]
    fn what_would_go_beyond_the_budget_is_not_begun() {
        let work = |max| CheckOptions { max_work: Some(max), ..CheckOptions::default() };
        assert_eq!(after(&work(2.0), &[10]), None);
        assert_eq!(after(&work(2.0), &[10, 10]), Some(Ended::Work));
        assert_eq!(after(&work(1.9), &[10]), Some(Ended::Work));
        assert_eq!(after(&work(2.0), &[10, 4]), None, "a smaller try fits");
        let seconds = |max| CheckOptions { max_seconds: Some(max), ..CheckOptions::default() };
        assert_eq!(after(&seconds(0.9), &[1]), Some(Ended::Seconds));
        assert_eq!(after(&seconds(100.0), &[1, 1]), None);
        assert_eq!(after(&CheckOptions::default(), &[u64::MAX / 2, 7]), None);
    }

    #[test]
    fn half_of_the_work_is_kept_for_repairs_and_unsaid_they_may_take_six_paintings() {
        let mut budget = Budget::new(&CheckOptions { repair: true, max_work: Some(4.0), ..CheckOptions::default() });
        let painting = Cost { work: 10, seconds: 0.0 };
        budget.spend(painting);
        assert_eq!(budget.refusal(), None);
        budget.spend(painting);
        assert_eq!(budget.refusal(), Some(Ended::Work), "two of four are for attempts");
        budget.begin_repairs();
        assert_eq!(budget.refusal(), None);
        let mut unsaid = Budget::new(&CheckOptions { repair: true, ..CheckOptions::default() });
        (0..9).for_each(|_| unsaid.spend(painting));
        unsaid.begin_repairs();
        for _ in 0..6 {
            assert_eq!(unsaid.refusal(), None);
            unsaid.spend(painting);
        }
        assert_eq!(unsaid.refusal(), Some(Ended::Work));
    }
}
