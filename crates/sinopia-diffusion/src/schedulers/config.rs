//! `scheduler_config.json` as diffusers writes it.

use std::collections::HashSet;

use serde::{Deserialize, Deserializer, Serialize};
use serde_json::{Map, Value};
use sinopia_models::checkpoint::PredictionType;

use super::SchedulerKind;
use crate::{Error, Result};

/// The keys of diffusers' `scheduler_config.json` that matter here, each absent or present.
///
/// An absent key means the default of the scheduler *class that is built*, which differs from class to class, and every class reads only
/// its own keys. So a scheduler of one class can be built from another's file, as diffusers' `from_config` does. Known keys whose values are not
/// supported are refused when a scheduler is built that reads them.
///
/// Keys that are not here change nothing: diffusers reads `dynamic_thresholding_ratio` and `sample_max_value` with `thresholding` only, `flow_shift`
/// with `use_flow_sigmas`, `time_shift_type` with `use_dynamic_shifting`.
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
    /// What the model predicts.
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
    /// Euler: noise levels that are even in log σ.
    pub use_exponential_sigmas: Option<bool>,
    /// Noise levels by the beta distribution (not supported).
    pub use_beta_sigmas: Option<bool>,
    /// DPM-Solver++: noise levels that are even in λ, which is −log σ.
    pub use_lu_lambdas: Option<bool>,
    /// DPM-Solver++: flow matching (not supported).
    pub use_flow_sigmas: Option<bool>,
    /// Dynamic thresholding (not supported).
    pub thresholding: Option<bool>,
    /// Euler: how levels between the trained ones are found, `linear` or `log_linear`.
    pub interpolation_type: Option<String>,
    /// Euler: `discrete`, or `continuous`, which means something (and is not supported) for v-prediction only.
    pub timestep_type: Option<String>,
    /// The noise level after the last step.
    pub final_sigmas_type: Option<FinalSigmas>,
    /// Smallest level of Karras and exponential schedules, in place of the smallest trained.
    pub sigma_min: Option<f64>,
    /// Largest level of Karras and exponential schedules, in place of the largest trained.
    pub sigma_max: Option<f64>,
    /// DPM-Solver++: 1 or 2.
    pub solver_order: Option<usize>,
    /// DPM-Solver++: `midpoint` or `heun`; UniPC's `bh1` and `bh2` and DEIS's `logrho` are taken for `midpoint`.
    pub solver_type: Option<String>,
    /// DPM-Solver++: `dpmsolver++`, for which DEIS's `deis` is taken too (others not supported).
    pub algorithm_type: Option<String>,
    /// DPM-Solver++: timesteps with a lower λ are left out; −∞ leaves out none.
    #[serde(default, deserialize_with = "number_or_infinity")]
    pub lambda_min_clipped: Option<f64>,
    /// DPM-Solver++: `learned` or `learned_range` if the model predicts a variance too (not supported).
    pub variance_type: Option<String>,
    /// DPM-Solver++: a last step of first order when there are fewer than 15.
    pub lower_order_final: Option<bool>,
    /// DPM-Solver++: a last step of first order always.
    pub euler_at_final: Option<bool>,
    /// Flow matching: how far noise levels are shifted towards noise; 1 shifts none.
    pub shift: Option<f64>,
    /// Flow matching: the shift follows the picture's size (not supported).
    pub use_dynamic_shifting: Option<bool>,
    /// Flow matching: the level that the last step starts from (not supported).
    pub shift_terminal: Option<f64>,
    /// Flow matching: levels from the picture to noise (not supported).
    pub invert_sigmas: Option<bool>,
    /// Flow matching: noise added at each step (not supported).
    pub stochastic_sampling: Option<bool>,
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
    pub fn from_json(value: &Value) -> Result<Self> {
        let value = match value {
            Value::Object(keys) => Value::Object(as_python_reads(keys)?),
            other => other.clone(),
        };
        Self::deserialize(&value).map_err(|source| unreadable(&value, source))
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

/// Keys that say yes or no, for which Python takes null as no.
const SWITCHES: [&str; 15] = [
    "set_alpha_to_one",
    "clip_sample",
    "skip_prk_steps",
    "rescale_betas_zero_snr",
    "use_karras_sigmas",
    "use_exponential_sigmas",
    "use_beta_sigmas",
    "use_lu_lambdas",
    "use_flow_sigmas",
    "thresholding",
    "lower_order_final",
    "euler_at_final",
    "use_dynamic_shifting",
    "invert_sigmas",
    "stochastic_sampling",
];

/// Keys that diffusers' classes cannot take null for. For the rest null is the same as absent.
const NEVER_NULL: [&str; 13] = [
    "num_train_timesteps",
    "beta_start",
    "beta_end",
    "beta_schedule",
    "prediction_type",
    "timestep_spacing",
    "steps_offset",
    "interpolation_type",
    "final_sigmas_type",
    "solver_order",
    "solver_type",
    "algorithm_type",
    "lambda_min_clipped",
];

/// The keys as diffusers' classes see them: without those of which a file says that they were never set, and nulls as what they mean.
fn as_python_reads(keys: &Map<String, Value>) -> Result<Map<String, Value>> {
    let unset = keys.get("_use_default_values").and_then(Value::as_array);
    let unset: HashSet<&str> = unset.into_iter().flatten().filter_map(Value::as_str).collect();
    let mut read = keys.clone();
    read.retain(|key, _| !unset.contains(key.as_str()));
    for (key, value) in read.iter_mut().filter(|(_, value)| value.is_null()) {
        if SWITCHES.contains(&key.as_str()) {
            *value = Value::Bool(false);
        } else if NEVER_NULL.contains(&key.as_str()) {
            return Err(Error::SchedulerKey { key: key.clone(), problem: "it is null".to_owned() });
        }
    }
    Ok(read)
}

/// The error of a config, with the key that it is about.
fn unreadable(config: &Value, source: serde_json::Error) -> Error {
    let alone = |(key, value): (&String, &Value)| Value::Object(Map::from_iter([(key.clone(), value.clone())]));
    let culprit = config.as_object().and_then(|keys| {
        keys.iter().find_map(|entry| {
            let problem = SchedulerConfig::deserialize(&alone(entry)).err()?.to_string();
            Some(Error::SchedulerKey { key: entry.0.clone(), problem })
        })
    });
    culprit.unwrap_or(Error::SchedulerConfig { source })
}

/// A number, or the text that stands for one that JSON does not have.
fn number_or_infinity<'de, D: Deserializer<'de>>(deserializer: D) -> std::result::Result<Option<f64>, D::Error> {
    let value = Value::deserialize(deserializer)?;
    match (value.as_f64(), value.as_str()) {
        (Some(number), _) => Ok(Some(number)),
        (_, Some("Infinity")) => Ok(Some(f64::INFINITY)),
        (_, Some("-Infinity")) => Ok(Some(f64::NEG_INFINITY)),
        _ if value.is_null() => Ok(None),
        _ => Err(serde::de::Error::custom(format!("{value} is no number"))),
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

    fn read(config: serde_json::Value) -> SchedulerConfig {
        SchedulerConfig::from_json(&config).unwrap()
    }

    #[test]
    fn null_is_no_for_switches_and_absent_for_what_may_be_absent() {
        let config = read(
            json!({"set_alpha_to_one": null, "lower_order_final": null, "sigma_max": null, "trained_betas": null}),
        );
        assert_eq!(
            config,
            SchedulerConfig {
                set_alpha_to_one: Some(false),
                lower_order_final: Some(false),
                ..SchedulerConfig::default()
            }
        );
    }

    #[test]
    fn defaults_that_diffusers_noted_are_not_read() {
        let config = json!({"_use_default_values": ["timestep_spacing", "beta_end"], "timestep_spacing": "trailing", "beta_end": 0.5, "beta_start": 0.1});
        assert_eq!(read(config), SchedulerConfig { beta_start: Some(0.1), ..SchedulerConfig::default() });
    }

    #[test]
    fn a_long_note_of_defaults_takes_no_longer_than_it_is() {
        let names: Vec<String> = (0..200_000).map(|number| format!("key{number}")).collect();
        let mut config: Map<String, Value> = names.iter().map(|name| (name.clone(), json!(1))).collect();
        config.insert("beta_start".to_owned(), json!(0.1));
        config.insert("_use_default_values".to_owned(), json!(names));
        assert_eq!(
            read(Value::Object(config)),
            SchedulerConfig { beta_start: Some(0.1), ..SchedulerConfig::default() }
        );
    }

    #[test]
    fn infinities_are_read_where_they_mean_something() {
        let lambda = |value: serde_json::Value| read(json!({"lambda_min_clipped": value})).lambda_min_clipped;
        assert_eq!(lambda(json!("-Infinity")), Some(f64::NEG_INFINITY));
        assert_eq!(lambda(json!("Infinity")), Some(f64::INFINITY));
        assert_eq!(lambda(json!(-5)), Some(-5.0));
        assert_eq!(read(json!({"flow_shift": "NaN"})), SchedulerConfig::default());
    }

    #[test]
    fn what_cannot_be_read_is_named() {
        for (config, key, part) in [
            (json!({"beta_start": 0.1, "prediction_type": "x_prediction"}), "prediction_type", "x_prediction"),
            (json!({"beta_schedule": null}), "beta_schedule", "null"),
            (json!({"beta_schedule": "sigmoid"}), "beta_schedule", "sigmoid"),
            (json!({"sigma_max": "NaN"}), "sigma_max", "NaN"),
            (json!({"lambda_min_clipped": "NaN"}), "lambda_min_clipped", "number"),
            (json!({"use_karras_sigmas": "yes"}), "use_karras_sigmas", "yes"),
        ] {
            let message = SchedulerConfig::from_json(&config).unwrap_err().to_string();
            assert!(message.contains(&format!("`{key}`")) && message.contains(part), "{message}");
        }
        assert!(matches!(SchedulerConfig::from_json(&json!(3)), Err(Error::SchedulerConfig { .. })));
    }

    #[test]
    fn a_config_that_says_nothing_is_refused() {
        let message = SchedulerConfig::default().require_some().unwrap_err().to_string();
        assert!(message.contains("prediction_type, beta_schedule, beta_start"), "{message}");
        let config = SchedulerConfig { beta_end: Some(0.012), ..SchedulerConfig::default() };
        assert!(config.require_some().is_ok());
    }
}
