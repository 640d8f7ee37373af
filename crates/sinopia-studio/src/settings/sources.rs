//! Settings from a settings file and from environment variables.

use serde::Deserialize;
use serde_json::{Map, Value};
use sinopia_diffusion::settings::SettingError;
use sinopia_layout::names;
use toml::de::{DeTable, ValueDeserializer};

use super::{CheckSettings, Described, MachineSettings, PaintSettings, PlannerSettings, RunSetting};

/// Everything that a file or the environment says.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Settings {
    /// How to paint.
    pub paint: PaintSettings,
    /// Who plans.
    pub planner: PlannerSettings,
    /// What the machine gives.
    pub machine: MachineSettings,
    /// Who looks at pictures, and what is done about what is wrong.
    pub check: CheckSettings,
}

/// Why a settings file or the environment cannot be used.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum SourceError {
    /// The file is no TOML.
    #[error("{0}")]
    Toml(Box<toml::de::Error>),
    /// No setting is called so.
    #[error("line {line}: no setting is called `{key}`; {hint}")]
    Unknown {
        /// From 1.
        line: usize,
        /// The key.
        key: String,
        /// What was probably meant.
        hint: String,
    },
    /// A value that its setting does not take.
    #[error("line {line}: `{key}` is {}, expected {}", problem.found, problem.expected)]
    Value {
        /// From 1.
        line: usize,
        /// The key.
        key: String,
        /// What is wrong.
        problem: SettingError,
    },
    /// A variable's value that its setting does not take.
    #[error("`{variable}` is {}, expected {}", problem.found, problem.expected)]
    Variable {
        /// The variable.
        variable: String,
        /// What is wrong.
        problem: SettingError,
    },
    /// Values that are not of their settings' types.
    #[error("{0}")]
    Values(String),
}

impl Settings {
    /// These settings, and where they say nothing those of `base`.
    #[must_use]
    pub fn or(self, base: Self) -> Self {
        Self {
            paint: self.paint.or(base.paint),
            planner: self.planner.or(base.planner),
            machine: self.machine.or(base.machine),
            check: self.check.or(base.check),
        }
    }

    /// Every setting that may be kept, in the order in which they are shown.
    pub fn kept() -> impl Iterator<Item = &'static RunSetting> {
        let paint = PaintSettings::described().iter().chain(MachineSettings::described());
        let all = paint.chain(CheckSettings::described()).chain(PlannerSettings::described());
        all.filter(|setting| setting.is_kept)
    }

    /// Reads `sinopia.toml`. Keys are spelled as flags are.
    ///
    /// # Errors
    /// [`SourceError::Toml`], [`SourceError::Unknown`], [`SourceError::Value`].
    pub fn from_toml(text: &str) -> Result<Self, SourceError> {
        let table = DeTable::parse(text).map_err(|error| SourceError::Toml(Box::new(error)))?;
        let mut values = Map::new();
        for (key, value) in table.into_inner() {
            let line = 1 + text[..key.span().start].matches('\n').count();
            let key = key.into_inner();
            let setting = Self::kept().find(|setting| setting.flag() == *key);
            let setting =
                setting.ok_or_else(|| SourceError::Unknown { line, hint: hint(&key), key: key.to_string() })?;
            let value = Value::deserialize(ValueDeserializer::from(value));
            let value = value.map_err(|error| SourceError::Toml(Box::new(error)))?;
            let value =
                setting.check(&value).map_err(|problem| SourceError::Value { line, key: key.to_string(), problem })?;
            values.insert(setting.name.to_string(), value);
        }
        Self::of(&values)
    }

    /// Reads the variables that `lookup` finds.
    ///
    /// # Errors
    /// [`SourceError::Variable`].
    pub fn from_variables(lookup: impl Fn(&str) -> Option<String>) -> Result<Self, SourceError> {
        let mut values = Map::new();
        for setting in Self::kept() {
            let variable = setting.variable();
            if let Some(text) = lookup(&variable) {
                let value = setting.parse(&text).map_err(|problem| SourceError::Variable { variable, problem })?;
                values.insert(setting.name.to_string(), value);
            }
        }
        Self::of(&values)
    }

    /// The settings of checked values.
    fn of(values: &Map<String, Value>) -> Result<Self, SourceError> {
        Ok(Self { paint: part(values)?, planner: part(values)?, machine: part(values)?, check: part(values)? })
    }
}

/// Those of the values that belong to `T`.
fn part<T: Described>(values: &Map<String, Value>) -> Result<T, SourceError> {
    let own = values.iter().filter(|(name, _)| T::setting(name).is_some());
    let own = own.map(|(name, value)| (name.clone(), value.clone())).collect();
    T::from_values(own).map_err(|error| SourceError::Values(error.to_string()))
}

/// What was probably meant by a key.
fn hint(key: &str) -> String {
    let flags: Vec<String> = Settings::kept().map(RunSetting::flag).collect();
    match names::nearest(key, flags.iter().map(String::as_str)) {
        Some(near) => format!("did you mean `{near}`?"),
        None => format!("there are {}", flags.join(", ")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::PrecisionChoice;

    #[test]
    fn a_file_says_what_flags_say() {
        let text =
            "steps = 30\nguidance-scale = 5\nprecision = \"bf16\"\nthreads = 3\nllm-timeout = 2.5\ncandidates = 3\n";
        let settings = Settings::from_toml(&format!("{text}attempts = 4\nrepair = true\n")).unwrap();
        assert_eq!((settings.check.attempts, settings.check.repair), (Some(4), Some(true)));
        assert_eq!((settings.paint.steps, settings.paint.guidance_scale), (Some(30), Some(5.0)));
        assert_eq!((settings.paint.precision, settings.machine.threads), (Some(PrecisionChoice::Bf16), Some(3)));
        assert_eq!((settings.planner.llm_timeout, settings.planner.candidates), (Some(2.5), Some(3)));
    }

    #[test]
    fn a_fault_in_a_file_is_told_by_its_line() {
        let fault = |text: &str| Settings::from_toml(text).unwrap_err().to_string();
        assert_eq!(fault("steps = 3\nstepz = 30\n"), "line 2: no setting is called `stepz`; did you mean `steps`?");
        assert_eq!(fault("attempts = 0"), "line 1: `attempts` is 0, expected a whole number from 1 to 16");
        assert_eq!(fault("# mine\n\nsteps = 0"), "line 3: `steps` is 0, expected a whole number from 1 to 1000");
        assert!(fault("precision = \"f8\"").contains("expected `auto`, `stored`, `f32`, `bf16` or `int8`"));
        assert!(fault("seed = 3").contains("no setting is called `seed`"), "a seed is of one picture");
        assert!(fault("steps = ").contains("TOML parse error at line 1"), "{}", fault("steps = "));
    }

    #[test]
    fn variables_say_the_same() {
        let variables = |name: &str| match name {
            "SINOPIA_STEPS" => Some("20".to_owned()),
            "SINOPIA_PRECISION" => Some("BF16".to_owned()),
            "SINOPIA_LLM_MODEL" => Some("7".to_owned()),
            "SINOPIA_REPAIR" => Some("on".to_owned()),
            _ => None,
        };
        let settings = Settings::from_variables(variables).unwrap();
        assert_eq!((settings.paint.steps, settings.paint.precision), (Some(20), Some(PrecisionChoice::Bf16)));
        assert_eq!(settings.planner.llm_model.as_deref(), Some("7"), "text stays text");
        assert_eq!(settings.check.repair, Some(true));
        let fault = Settings::from_variables(|name| (name == "SINOPIA_STEPS").then(|| "ten".to_owned())).unwrap_err();
        assert_eq!(fault.to_string(), "`SINOPIA_STEPS` is `ten`, expected a whole number from 1 to 1000");
    }
}
