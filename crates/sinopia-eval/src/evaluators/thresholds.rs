//! From which score on something is seen, and surely seen.

use serde::{Deserialize, Serialize};

/// What makes a state of scores and overlaps. Between [`present`](Self::present) and [`sure`](Self::sure) an evaluator is unsure, and so it is of a place between
/// [`elsewhere_iou`](Self::elsewhere_iou) and [`min_iou`](Self::min_iou).
///
/// Counting wants a much higher threshold than presence: GenEval counts from 0.9 and sees from 0.3.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Thresholds {
    /// τ_lo, 0..=1: below this score a thing is not there.
    pub present: f64,
    /// τ_hi, 0..=1: from this score on it surely is, and is counted.
    pub sure: f64,
    /// The intersection over union that a thing has at least with its box to be in its place.
    pub min_iou: f64,
    /// Below this intersection over union it is elsewhere.
    pub elsewhere_iou: f64,
    /// By how much its own colour's score leads every other colour's.
    pub margin: f64,
}

impl Thresholds {
    /// Of the built-in detector, measured on 213 pictures that the miniature painted: `docs/verdicts.md`.
    pub const BUILT_IN: Self = Self { present: 0.15, sure: 0.4, min_iou: 0.3, elsewhere_iou: 0.2, margin: 0.1 };

    /// Of OWL-ViT: it is seen from where LMD's benchmark counts (TonyLianLong/LLM-groundedDiffusion, OWL-ViT p32: 0.15). Its scores of what is there are low; that a thing is sure from 0.25 on is
    /// our choice, not measured.
    pub const OWL_VIT: Self = Self { present: 0.15, sure: 0.25, min_iou: 0.3, elsewhere_iou: 0.2, margin: 0.05 };

    /// Of OWLv2, by SLD (tsunghan-wu/SLD@8b730ef): nouns from 0.2, phrases with attributes in its benchmark from 0.45.
    pub const OWLV2: Self = Self { present: 0.2, sure: 0.45, min_iou: 0.3, elsewhere_iou: 0.2, margin: 0.05 };

    /// Of a model that answers with yes or no, without boxes.
    pub const ANSWERS: Self = Self { present: 0.5, sure: 0.5, min_iou: 0.0, elsewhere_iou: 0.0, margin: 0.0 };

    /// Below this score nothing matters: it cannot contest the lead of a colour that is there.
    pub fn faintest(&self) -> f64 {
        (self.present - self.margin).max(0.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_rival_that_is_fainter_than_the_faintest_loses_to_whatever_is_there() {
        let all = [Thresholds::BUILT_IN, Thresholds::OWL_VIT, Thresholds::OWLV2, Thresholds::ANSWERS];
        assert!(all.iter().all(|t| t.faintest() >= 0.0 && t.present - t.faintest() >= t.margin - 1e-9));
        assert_eq!(Thresholds { margin: 0.9, ..Thresholds::OWL_VIT }.faintest(), 0.0);
    }
}
