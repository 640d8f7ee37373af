//! What a denoiser's output means.

use serde::{Deserialize, Serialize};

/// What a denoiser predicts; the key `prediction_type` of a scheduler's configuration.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum PredictionType {
    /// The noise ε, as in Stable Diffusion 1 and the 512-pixel edition of 2.
    Epsilon,
    /// The velocity v = √ᾱ·ε − √(1−ᾱ)·x₀, as in the 768-pixel edition of Stable Diffusion 2.
    VPrediction,
    /// The clean latents x₀.
    Sample,
    /// The velocity ε − x₀ of flow matching, whose latents are (1−σ)·x₀ + σ·ε.
    FlowPrediction,
}

impl PredictionType {
    /// The word in a scheduler's configuration.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Epsilon => "epsilon",
            Self::VPrediction => "v_prediction",
            Self::Sample => "sample",
            Self::FlowPrediction => "flow_prediction",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_are_those_of_the_configuration() {
        use PredictionType::{Epsilon, FlowPrediction, Sample, VPrediction};
        for prediction_type in [Epsilon, VPrediction, Sample, FlowPrediction] {
            let word = serde_json::to_value(prediction_type).unwrap();
            assert_eq!(word, prediction_type.as_str());
            assert_eq!(serde_json::from_value::<PredictionType>(word).unwrap(), prediction_type);
        }
    }
}
