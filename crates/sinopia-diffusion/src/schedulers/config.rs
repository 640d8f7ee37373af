//! `scheduler_config.json` as diffusers writes it.

use serde::{Deserialize, Serialize};

use super::SchedulerKind;
use crate::{Error, Result};

/// The keys of diffusers' `scheduler_config.json` that matter here, each absent or present.
///
/// An absent key means the default of the scheduler *class that is built*, which differs from class to class, and every class reads only
/// its own keys. So a scheduler of one class can be built from another's file, as diffusers' `from_config` does. Keys nobody here knows
/// (`_diffusers_version`, …) are ignored; known keys whose values are not supported are refused when a scheduler is built.
#[derive(Debug, Clone, Default, PartialEq, Deserialize)]
pub struct SchedulerConfig {
    /// The class that the checkpoint was published with, such as `PNDMScheduler`.
    #[serde(rename = "_class_name")]
    pub class_name: Option<String>,
    /// Timesteps of training, T.
    pub num_train_timesteps: Option<usize>,
    /// First β.
    pub beta_start: Option<f64>,
    /// Last β.
    pub beta_end: Option<f64>,
    /// How β grows between them.
    pub beta_schedule: Option<BetaSchedule>,
    /// All β, in place of the three above.
    pub trained_betas: Option<Vec<f64>>,
    /// What the UNet predicts.
    pub prediction_type: Option<PredictionType>,
    /// Which of the T timesteps are visited.
    pub timestep_spacing: Option<TimestepSpacing>,
    /// Added to the timesteps of `leading` spacing.
    pub steps_offset: Option<usize>,
    /// DDIM, PNDM: whether ᾱ before the first timestep is 1, or else ᾱ of timestep 0.
    pub set_alpha_to_one: Option<bool>,
    /// DDIM: whether the predicted picture is clipped.
    pub clip_sample: Option<bool>,
    /// DDIM: to what range, ±.
    pub clip_sample_range: Option<f64>,
    /// PNDM: whether to do without Runge–Kutta steps at the start.
    pub skip_prk_steps: Option<bool>,
    /// Whether β is rescaled so that the last timestep is pure noise.
    pub rescale_betas_zero_snr: Option<bool>,
    /// Euler, DPM-Solver++: the noise levels of Karras et al. 2022.
    pub use_karras_sigmas: Option<bool>,
    /// Exponential noise levels (not supported).
    pub use_exponential_sigmas: Option<bool>,
    /// Noise levels by the beta distribution (not supported).
    pub use_beta_sigmas: Option<bool>,
    /// DPM-Solver++: Lu's noise levels (not supported).
    pub use_lu_lambdas: Option<bool>,
    /// DPM-Solver++: flow matching (not supported).
    pub use_flow_sigmas: Option<bool>,
    /// Dynamic thresholding (not supported).
    pub thresholding: Option<bool>,
    /// Euler: `linear` or `log_linear` (the latter not supported).
    pub interpolation_type: Option<String>,
    /// Euler: `discrete` or `continuous` (the latter not supported).
    pub timestep_type: Option<String>,
    /// The noise level after the last step.
    pub final_sigmas_type: Option<FinalSigmas>,
    /// Smallest level of the Karras schedule, in place of the smallest trained.
    pub sigma_min: Option<f64>,
    /// Largest level of the Karras schedule, in place of the largest trained.
    pub sigma_max: Option<f64>,
    /// DPM-Solver++: 1 or 2.
    pub solver_order: Option<usize>,
    /// DPM-Solver++: `midpoint` (`heun` not supported).
    pub solver_type: Option<String>,
    /// DPM-Solver++: `dpmsolver++` (others not supported).
    pub algorithm_type: Option<String>,
    /// DPM-Solver++: a last step of first order when there are fewer than 15.
    pub lower_order_final: Option<bool>,
    /// DPM-Solver++: a last step of first order always.
    pub euler_at_final: Option<bool>,
}

/// How β grows from `beta_start` to `beta_end`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum BetaSchedule {
    /// β is linear.
    Linear,
    /// √β is linear: Stable Diffusion.
    ScaledLinear,
    /// ᾱ falls as a squared cosine, β at most 0.999.
    #[serde(rename = "squaredcos_cap_v2")]
    SquaredcosCapV2,
}

/// What the UNet predicts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum PredictionType {
    /// The noise ε.
    Epsilon,
    /// v = √ᾱ·ε − √(1−ᾱ)·x₀.
    VPrediction,
    /// The clean latents x₀.
    Sample,
}

/// Which of the T timesteps are visited.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum TimestepSpacing {
    /// Multiples of ⌊T/N⌋ from 0, plus the offset.
    Leading,
    /// Equal steps down from T − 1.
    Trailing,
    /// Equal steps from T − 1 to 0, both included.
    Linspace,
}

/// The noise level after the last step.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum FinalSigmas {
    /// No noise.
    Zero,
    /// The smallest trained level.
    SigmaMin,
}

impl SchedulerConfig {
    /// Reads the content of a `scheduler_config.json`.
    ///
    /// # Errors
    /// When a known key has a value of the wrong type.
    pub fn from_json(value: &serde_json::Value) -> Result<Self> {
        Self::deserialize(value).map_err(|source| Error::SchedulerConfig { source })
    }

    /// The keys that say how the model was trained and are absent. The defaults that diffusers takes in their place fit hardly any model.
    pub fn missing_keys(&self) -> Vec<&'static str> {
        let is_cosine = self.beta_schedule == Some(BetaSchedule::SquaredcosCapV2);
        let has_betas = self.trained_betas.is_some();
        let keys = [
            ("prediction_type", self.prediction_type.is_some()),
            ("beta_schedule", has_betas || self.beta_schedule.is_some()),
            ("beta_start", has_betas || is_cosine || self.beta_start.is_some()),
            ("beta_end", has_betas || is_cosine || self.beta_end.is_some()),
            ("num_train_timesteps", has_betas || self.num_train_timesteps.is_some()),
        ];
        keys.into_iter().filter(|(_, is_known)| !is_known).map(|(key, _)| key).collect()
    }

    /// Refuses a config that says nothing of how the model was trained.
    pub(crate) fn require_some(self) -> Result<Self> {
        let missing = self.missing_keys();
        if missing.len() == 5 { Err(Error::SchedulerUnknown { missing: missing.join(", ") }) } else { Ok(self) }
    }

    /// The scheduler that the checkpoint was published with.
    ///
    /// # Errors
    /// When its class is none of ours (or absent): name one explicitly then.
    pub fn kind(&self) -> Result<SchedulerKind> {
        let class = self.class_name.as_deref().unwrap_or("(no _class_name)");
        SchedulerKind::from_class_name(class).ok_or_else(|| Error::UnknownScheduler { name: class.to_owned() })
    }

    /// Refuses what no scheduler here can do, among the keys that class reads.
    pub(super) fn refuse(scheduler: SchedulerKind, keys: &[(&'static str, Option<bool>)]) -> Result<()> {
        match keys.iter().find(|(_, value)| *value == Some(true)) {
            None => Ok(()),
            Some((key, _)) => {
                Err(Error::UnsupportedScheduler { scheduler: scheduler.name(), key, value: "true".into(), hint: "" })
            }
        }
    }

    /// Refuses a value of `key` other than `supported`.
    pub(super) fn require(
        scheduler: SchedulerKind,
        key: &'static str,
        value: Option<&str>,
        supported: &str,
    ) -> Result<()> {
        match value {
            Some(value) if value != supported => {
                Err(Error::UnsupportedScheduler { scheduler: scheduler.name(), key, value: value.to_owned(), hint: "" })
            }
            _ => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn missing(config: serde_json::Value) -> Vec<&'static str> {
        SchedulerConfig::from_json(&config).unwrap().missing_keys()
    }

    #[test]
    fn keys_that_say_how_a_model_was_trained_are_missed() {
        let all = ["prediction_type", "beta_schedule", "beta_start", "beta_end", "num_train_timesteps"];
        assert_eq!(missing(json!({"_class_name": "DDIMScheduler", "steps_offset": 1})), all);
        let early = json!({"beta_start": 0.00085, "beta_end": 0.012, "beta_schedule": "scaled_linear", "num_train_timesteps": 1000});
        assert_eq!(missing(early), ["prediction_type"]);
        assert_eq!(missing(json!({"trained_betas": [0.1, 0.2], "prediction_type": "epsilon"})), [""; 0]);
        let cosine = json!({"beta_schedule": "squaredcos_cap_v2", "prediction_type": "sample"});
        assert_eq!(missing(cosine), ["num_train_timesteps"]);
    }

    #[test]
    fn a_config_that_says_nothing_is_refused() {
        let message = SchedulerConfig::default().require_some().unwrap_err().to_string();
        assert!(message.contains("prediction_type, beta_schedule, beta_start"), "{message}");
        let config = SchedulerConfig { beta_end: Some(0.012), ..SchedulerConfig::default() };
        assert!(config.require_some().is_ok());
    }
}
