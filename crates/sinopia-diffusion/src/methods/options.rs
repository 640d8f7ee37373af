//! Options of methods: read from JSON or text by their descriptions, and written.

use std::collections::BTreeMap;

use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::{Map, Value};

use super::{MethodInfo, find};
use crate::settings::{self, Setting};
use crate::{Error, Result};

impl MethodInfo {
    /// The option called `name`, however it is written.
    ///
    /// # Errors
    /// [`Error::UnknownOption`].
    pub fn setting(&self, name: &str) -> Result<&'static Setting> {
        settings::find(self.settings(), name).ok_or_else(|| Error::UnknownOption {
            method: self.name,
            option: name.to_owned(),
            hint: settings::nearest(self.settings(), name),
        })
    }

    /// An option and its value as somebody typed them, `NAME=VALUE`: the option's own name, and the value by its type.
    ///
    /// # Errors
    /// [`Error::UnknownOption`]; [`Error::MethodOption`] for text that is no value of the option.
    pub fn parse_option(&self, name: &str, value: &str) -> Result<(String, Value)> {
        let setting = self.setting(name.trim())?;
        let value = setting.parse(value).map_err(|problem| Error::MethodOption { method: self.name, problem })?;
        Ok((setting.name.to_string(), value))
    }

    /// Options as they are held: by their own names, each value of its type and in its range.
    ///
    /// # Errors
    /// [`Error::UnknownOption`]; [`Error::MethodOption`]; [`Error::OptionTwice`] for two spellings of one.
    pub fn check_options(&self, options: &Map<String, Value>) -> Result<Map<String, Value>> {
        let (mut checked, mut spellings) = (Map::new(), BTreeMap::new());
        for (spelling, value) in options {
            let setting = self.setting(spelling)?;
            if let Some(other) = spellings.insert(&*setting.name, spelling) {
                let [first, second] = [other, spelling].map(String::clone);
                return Err(Error::OptionTwice { method: self.name, first, second });
            }
            let value = setting.check(value).map_err(|problem| Error::MethodOption { method: self.name, problem })?;
            checked.insert(setting.name.to_string(), value);
        }
        Ok(checked)
    }

    /// All options with their defaults.
    pub fn default_options(&self) -> Map<String, Value> {
        settings::defaults(self.settings())
    }

    /// All options, with the defaults for those that are left out; `null` leaves out all.
    pub(super) fn complete(&self, options: Value) -> Result<Map<String, Value>> {
        let given: Option<Map<String, Value>> =
            serde_json::from_value(options).map_err(|source| Error::MethodOptions { method: self.name, source })?;
        let mut all = self.default_options();
        all.extend(self.check_options(&given.unwrap_or_default())?);
        Ok(all)
    }
}

/// The option struct of a method, from options that [`complete`](MethodInfo::complete) has made whole.
pub(super) fn read_options<T: DeserializeOwned>(method: &'static str, options: Value) -> Result<T> {
    serde_json::from_value(options).map_err(|source| Error::MethodOptions { method, source })
}

/// Refuses an option struct with a value outside its range.
pub(super) fn check_values(method: &'static str, options: &impl Serialize) -> Result<()> {
    match write_options(options) {
        Value::Object(options) => find(method)?.check_options(&options).map(drop),
        _ => Ok(()),
    }
}

/// Options as JSON. They are plain structs, so nothing can fail.
pub(super) fn write_options(options: &impl Serialize) -> Value {
    serde_json::to_value(options).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::methods::{LmdOptions, LmdPlus, build};

    #[track_caller]
    fn refuses(method: &str, options: Value, message: &str) {
        assert_eq!(build(method, options).unwrap_err().to_string(), message);
    }

    #[test]
    fn what_is_wrong_is_said_by_option_value_and_what_is_expected() {
        let share = "expected a number from 0 to 1";
        refuses(
            "lmd",
            json!({"frozen_step_ratio": "much"}),
            &format!("option `frozen_step_ratio` of method `lmd` is `much`, {share}"),
        );
        refuses(
            "lmd-plus",
            json!({"frozen_step_ratio": 2}),
            &format!("option `frozen_step_ratio` of method `lmd-plus` is 2, {share}"),
        );
        refuses(
            "lmd",
            json!({"frozen_steps_ratio": 1}),
            "method `lmd` has no option `frozen_steps_ratio`: did you mean `frozen_step_ratio`?",
        );
        refuses(
            "sd",
            json!({"whatever": 1}),
            "method `sd` has no option `whatever`: it has ignore_negative_prompt, words",
        );
        refuses(
            "lmd",
            json!({"mask_prompt": "circle"}),
            "option `mask_prompt` of method `lmd` is `circle`, expected `box` or `point`",
        );
        refuses(
            "lmd",
            json!({"min_index_step": 30}),
            "`min_index_step` is 30, expected a step before the last that is guided",
        );
        let message = build("lmd", json!([1])).unwrap_err().to_string();
        assert!(message.starts_with("the options of method `lmd` are not understood: "), "{message}");
    }

    #[test]
    fn one_option_in_two_spellings_is_refused_by_both() {
        refuses(
            "lmd",
            json!({"Loss-Scale": 3, "loss_scale": 4}),
            "method `lmd` is given one option twice, as `Loss-Scale` and as `loss_scale`: leave one out",
        );
        assert!(build("lmd", json!({"fix_plurals": true, "mend_plurals": false})).is_err());
    }

    #[test]
    fn another_name_is_read_and_the_first_is_written() {
        for method in ["backward-guidance", "boxdiff", "lmd", "lmd-plus"] {
            for name in ["mend_plurals", "fix_plurals", "Fix-Plurals"] {
                let options = build(method, json!({ name: false })).unwrap().options();
                assert_eq!((options.get("mend_plurals"), options.get("fix_plurals")), (Some(&json!(false)), None));
                let typed = find(method).unwrap().parse_option(name, "off").unwrap();
                assert_eq!(typed, ("mend_plurals".to_owned(), json!(false)));
            }
        }
    }

    #[test]
    fn numbers_of_steps_that_no_run_has_are_refused_by_name() {
        for (method, option) in [
            ("multidiffusion", "bootstrapping"),
            ("backward-guidance", "max_index_step"),
            ("boxdiff", "max_index_step"),
            ("lmd", "min_index_step"),
            ("lmd", "max_index_step"),
            ("lmd", "overall_min_index_step"),
            ("lmd-plus", "overall_max_index_step"),
            ("lmd-plus", "attention_aggregation_start"),
        ] {
            let message = build(method, json!({ option: u64::MAX })).unwrap_err().to_string();
            let expected = "is 18446744073709551615, expected a whole number from 0 to 1000";
            assert_eq!(message, format!("option `{option}` of method `{method}` {expected}"));
        }
        let message = build("boxdiff", json!({"refinement_thresholds": {"18446744073709551615": 0.5}})).unwrap_err();
        assert!(
            message.to_string().contains("`refinement_thresholds` of method `boxdiff` is named `1844"),
            "{message}"
        );
        assert!(build("multidiffusion", json!({"guidance_scale": 101})).is_err());
        assert!(build("multidiffusion", json!({"guidance_scale": 100})).is_ok());
    }

    #[test]
    fn options_are_typed_as_their_fields_are() {
        let lmd = find("lmd").unwrap();
        let typed = |name: &str, value: &str| lmd.parse_option(name, value).unwrap();
        assert_eq!(typed(" Frozen-Step-Ratio ", "0.4"), ("frozen_step_ratio".to_owned(), json!(0.4)));
        assert_eq!(typed("overall_prompt", "5"), ("overall_prompt".to_owned(), json!("5")));
        assert_eq!(typed("max_iter", "4x2, 1"), ("max_iter".to_owned(), json!([4, 4, 1])));
        assert!(lmd.parse_option("colour", "red").unwrap_err().to_string().contains("no option `colour`"));
    }

    #[test]
    fn seeds_may_be_text_and_names_in_any_spelling() {
        let built = |value: Value| build("lmd", json!({ "FG-seed-start": value })).unwrap().options();
        for (value, seed) in
            [(json!("18446744073709551615"), json!(u64::MAX)), (json!(7), json!(7)), (json!(null), json!(null))]
        {
            assert_eq!(built(value)["fg_seed_start"], seed);
        }
        assert!(build("lmd", json!({"fg_seed_start": "18446744073709551616"})).is_err());
    }

    #[test]
    fn structs_with_values_outside_their_range_are_refused() {
        for options in [
            LmdOptions { loss_scale: f64::NAN, ..LmdOptions::default() },
            LmdOptions { fast_rate: 0, ..LmdOptions::default() },
        ] {
            assert!(matches!(crate::methods::Lmd::new(options), Err(Error::MethodOption { .. })));
        }
    }

    #[test]
    fn lmd_plus_keeps_its_own_defaults_for_what_is_left_out() {
        let options = build(LmdPlus::NAME, json!({"reground": true, "loss_scale": 7})).unwrap().options();
        assert_eq!(
            (&options["reground"], &options["loss_scale"], &options["max_index_step"]),
            (&json!(true), &json!(7.0), &json!(0))
        );
    }
}
