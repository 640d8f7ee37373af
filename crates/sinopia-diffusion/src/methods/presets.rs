//! Presets: named values of settings, written in `presets/*.json`, so that a preset means tomorrow what it means today.
//!
//! `settings` are those of a run, by name; `options` those of each method. What a preset does not name is left to the default.

use std::sync::LazyLock;

use serde::Deserialize;
use serde_json::{Map, Value};
use sinopia_layout::names;

use super::{LmdPlus, MethodInfo, find};
use crate::{Error, Result};

/// Settings as somebody chose them, under a name.
#[derive(Debug)]
pub struct Preset {
    /// The name on the command line.
    pub name: &'static str,
    /// One sentence of help.
    pub help: &'static str,
    /// The method that it sets; without one it goes with every method.
    pub method: Option<&'static str>,
    file: &'static str,
}

/// Every preset.
#[rustfmt::skip]
pub static PRESETS: &[Preset] = &[
    Preset { name: "fast", help: "20 steps in place of 50 and the shortcuts: a fifth to two fifths of the work, hardly worse", method: None, file: include_str!("presets/fast.json") },
    Preset { name: "balanced", help: "The defaults", method: None, file: include_str!("presets/balanced.json") },
    Preset { name: "faithful", help: "The method as published, known faults included: what `--reference` sets", method: None, file: include_str!("presets/faithful.json") },
    Preset { name: "diffusers-lmd-plus", help: "The one-pass LMD+ of diffusers' community pipeline", method: Some(LmdPlus::NAME), file: include_str!("presets/diffusers-lmd-plus.json") },
];

/// What a preset's file holds.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct Values {
    settings: Map<String, Value>,
    /// By method.
    options: Map<String, Value>,
}

/// The files of [`PRESETS`], read. They are part of the program, and a test reads them all.
static VALUES: LazyLock<Vec<Values>> =
    LazyLock::new(|| PRESETS.iter().map(|preset| serde_json::from_str(preset.file).unwrap_or_default()).collect());

impl Preset {
    /// The settings of a run that it sets, by name: `steps`, `guidance_interval`, `deep_every`, …
    pub fn settings(&self) -> &'static Map<String, Value> {
        &self.values().settings
    }

    /// All options of a method, as the preset sets them.
    pub fn options(&self, method: &MethodInfo) -> Map<String, Value> {
        let mut options = method.default_options();
        if let Some(Value::Object(own)) = self.values().options.get(method.name) {
            options.extend(own.clone());
        }
        options
    }

    /// The options of a method that it writes down itself, if it has any for it.
    pub fn own_options(&self, method: &str) -> Option<&'static Map<String, Value>> {
        self.values().options.get(method)?.as_object()
    }

    fn values(&self) -> &'static Values {
        static NOTHING: LazyLock<Values> = LazyLock::new(Values::default);
        let index = PRESETS.iter().position(|preset| preset.name == self.name);
        index.and_then(|index| VALUES.get(index)).unwrap_or(&NOTHING)
    }
}

/// The registered preset of a name, however it is written.
///
/// # Errors
/// [`Error::UnknownPreset`].
pub fn find_preset(name: &str) -> Result<&'static Preset> {
    let known = names::find(name, PRESETS.iter().map(|preset| preset.name));
    let preset = known.and_then(|known| PRESETS.iter().find(|preset| preset.name == known));
    preset.ok_or_else(|| Error::UnknownPreset { name: name.to_owned() })
}

/// What to say of a name that is no preset's.
pub(crate) fn choice_of_preset(name: &str) -> String {
    match find(name) {
        Ok(method) => format!("it is a method, `--method {}`", method.name),
        Err(_) => names::choice(name, &PRESETS.iter().map(|preset| preset.name).collect::<Vec<_>>()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::methods::lmd_plus::LmdPlusOptions;
    use crate::methods::options::write_options;
    use crate::methods::{METHODS, build, reference_options};

    fn values(name: &str) -> Values {
        serde_json::from_str(find_preset(name).unwrap().file).unwrap()
    }

    /// That every option of every method is written, with the value that `expected` says.
    #[track_caller]
    fn check_written(name: &str, expected: impl Fn(&MethodInfo) -> Value) {
        let written = values(name).options;
        for method in METHODS {
            assert_eq!(written[method.name], expected(method), "{name}: {}", method.name);
        }
        assert_eq!(written.len(), METHODS.len(), "{name}");
    }

    #[test]
    fn balanced_writes_the_defaults_down() {
        check_written("balanced", |method| build(method.name, Value::Null).unwrap().options());
    }

    #[test]
    fn faithful_writes_the_published_values_down() {
        check_written("faithful", |method| reference_options(method.name).unwrap());
        assert!(values("faithful").settings.is_empty(), "as `--reference`, it leaves steps and scheduler alone");
    }

    #[test]
    fn fast_and_balanced_set_the_same_settings_of_a_run_to_others() {
        let [fast, balanced] = ["fast", "balanced"].map(|name| values(name).settings);
        assert!(fast.keys().eq(balanced.keys()) && fast != balanced, "{fast:?} {balanced:?}");
    }

    #[test]
    fn what_a_preset_writes_is_taken_by_its_methods() {
        for preset in PRESETS {
            let written = values(preset.name).options;
            for (name, options) in &written {
                let method = find(name).unwrap();
                assert!(preset.method.is_none_or(|only| only == name));
                assert_eq!(Value::Object(method.check_options(options.as_object().unwrap()).unwrap()), *options);
                let all = Value::Object(preset.options(method));
                assert_eq!(build(name, all.clone()).unwrap().options(), all);
            }
        }
        let diffusers = &values("diffusers-lmd-plus").options[LmdPlus::NAME];
        assert_eq!(*diffusers, write_options(&LmdPlusOptions::diffusers()));
        let message = find_preset("magic").unwrap_err().to_string();
        assert_eq!(message, "unknown preset `magic`: choose one of fast, balanced, faithful, diffusers-lmd-plus");
    }
}
