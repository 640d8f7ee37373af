//! A setting of a run, as the command line, settings files, the environment and the server's clients know it.

use std::borrow::Cow;
use std::ops::Deref;

use serde::de::DeserializeOwned;
use serde_json::{Map, Value};
use sinopia_diffusion::settings::{Group, Kind, Setting, SettingError};
use sinopia_layout::excerpt;

use crate::{Error, Result};

/// The description of a setting of a run. What [`Setting`] says holds everywhere; the rest is for those who type.
#[derive(Debug, Clone)]
pub struct RunSetting {
    setting: Setting,
    /// What stands for its value in help: `N`.
    pub value_name: &'static str,
    /// Whether the short help leaves it out.
    pub is_rare: bool,
    /// Whether it may stand in `sinopia.toml` and in the environment: what is of one picture alone may not.
    pub is_kept: bool,
    /// What more a text has to be, if not every text will do.
    rule: Option<Rule>,
    /// Settings that cannot be given beside it.
    pub excludes: &'static [&'static str],
    /// The default in words, where the model, the method or the machine decides.
    pub default_words: Option<&'static str>,
}

/// What a text has to be.
#[derive(Debug, Clone, Copy)]
struct Rule {
    expected: &'static str,
    reads: fn(&str) -> bool,
}

/// Most characters of a text that a message repeats.
const SHOWN_CHARS: usize = 60;

impl Deref for RunSetting {
    type Target = Setting;

    fn deref(&self) -> &Setting {
        &self.setting
    }
}

/// Settings of which every field is described.
pub trait Described: Default + DeserializeOwned {
    /// A description for every field, in the order in which they are shown.
    fn described() -> &'static [RunSetting];

    /// The settings of values that were checked by their descriptions.
    ///
    /// # Errors
    /// [`Error::Values`] for values that were not.
    fn from_values(values: Map<String, Value>) -> Result<Self> {
        serde_json::from_value(Value::Object(values)).map_err(|source| Error::Values { source })
    }

    /// The description of one field, by its own name.
    fn setting(name: &str) -> Option<&'static RunSetting> {
        Self::described().iter().find(|setting| setting.name == name)
    }
}

impl RunSetting {
    /// A setting that may be kept in files.
    pub(super) fn kept(name: &'static str, group: Group, kind: Kind, default: Value, help: &'static str) -> Self {
        let setting = Setting { nullable: false, ..Setting::new(name, group, kind, default, help) };
        Self {
            setting,
            value_name: "NAME",
            is_rare: false,
            is_kept: true,
            rule: None,
            excludes: &[],
            default_words: None,
        }
    }

    /// A setting of one picture.
    pub(super) fn of_picture(name: &'static str, group: Group, kind: Kind, default: Value, help: &'static str) -> Self {
        Self { is_kept: false, ..Self::kept(name, group, kind, default, help) }
    }

    pub(super) fn value(self, value_name: &'static str) -> Self {
        Self { value_name, ..self }
    }

    pub(super) fn rare(self) -> Self {
        Self { is_rare: true, ..self }
    }

    /// What decides if nobody says.
    pub(super) fn or_else(self, default_words: &'static str) -> Self {
        Self { default_words: Some(default_words), ..self }
    }

    /// A text that `reads` takes.
    pub(super) fn that_is(self, expected: &'static str, reads: fn(&str) -> bool) -> Self {
        Self { rule: Some(Rule { expected, reads }), ..self }
    }

    pub(super) fn excluding(self, excludes: &'static [&'static str]) -> Self {
        Self { excludes, ..self }
    }

    pub(super) fn also(mut self, aliases: &[&'static str]) -> Self {
        self.setting.aliases = aliases.iter().map(|alias| (*alias).into()).collect();
        self
    }

    /// With help that is made of something else.
    pub(super) fn helped(mut self, help: String) -> Self {
        self.setting.help = help.into();
        self
    }

    pub(super) fn in_units_of(mut self, unit: &'static str) -> Self {
        self.setting.unit = Some(unit.into());
        self
    }

    pub(super) fn explained(mut self, details: impl Into<Cow<'static, str>>) -> Self {
        self.setting.details = details.into();
        self
    }

    pub(super) fn for_methods(mut self, methods: &[&'static str]) -> Self {
        self.setting.methods = methods.iter().map(|method| (*method).into()).collect();
        self
    }

    /// The value that text stands for. Text stays as it was typed.
    ///
    /// # Errors
    /// [`SettingError`] for text that is no value of this setting.
    pub fn parse(&self, text: &str) -> Result<Value, SettingError> {
        match self.kind {
            Kind::Text => self.check(&Value::String(text.to_owned())),
            _ => self.setting.parse(text),
        }
    }

    /// The value as the setting holds it, if it is one of its values.
    ///
    /// # Errors
    /// [`SettingError`].
    pub fn check(&self, value: &Value) -> Result<Value, SettingError> {
        let value = self.setting.check(value)?;
        match (&self.rule, &value) {
            (Some(Rule { expected, reads }), Value::String(text)) if !reads(text) => Err(SettingError {
                name: self.name.to_string(),
                found: format!("`{}`", excerpt(text, SHOWN_CHARS)),
                expected: (*expected).to_owned(),
            }),
            _ => Ok(value),
        }
    }

    /// The name as a flag and in `sinopia.toml`.
    pub fn flag(&self) -> String {
        self.name.replace('_', "-")
    }

    /// The environment variable that holds it.
    pub fn variable(&self) -> String {
        format!("SINOPIA_{}", self.name.to_uppercase())
    }

    /// The default as it is shown, if there is one.
    pub fn shown_default(&self) -> Option<String> {
        match (self.default_words, &self.default) {
            (Some(words), _) => Some(words.to_owned()),
            (None, Value::Null) => None,
            (None, Value::String(word)) => Some(word.clone()),
            (None, value) => Some(value.to_string()),
        }
    }
}
