//! What can be set, described once: the command line, settings files, the server's options, the documents and the page's fields are made from these descriptions.
//!
//! A [`Setting`] knows its name, type, range, default and help. It [checks](Setting::check) a JSON value, and [reads](Setting::parse) the text of a `NAME=VALUE` into one,
//! each by its own type: nothing is guessed from how a value looks. Options of methods are described from their structs; settings of a run are
//! written down by whoever has them.

mod kind;
mod parse;
mod schema;

use std::borrow::Cow;

use serde_json::{Map, Value};
use sinopia_layout::names;

pub use kind::{Bounds, Choice, Kind};
pub(crate) use schema::described;

/// What a setting belongs to, in the order in which groups are shown.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Group {
    /// What paints: method, model, precision.
    Model,
    /// Seed, steps, scheduler, guidance scale, size.
    Sampling,
    /// Prompts and what reads them.
    Prompts,
    /// Where attention is drawn, by which loss.
    Guidance,
    /// Objects painted alone.
    Objects,
    /// Segmentation masks of objects painted alone.
    Masks,
    /// How objects, regions and background are put together.
    Composition,
    /// Grounding adapters.
    Adapters,
    /// What is faster and a little worse.
    Speed,
    /// Deviations from the reference: what the published code does otherwise.
    Deviations,
    /// Looking at finished pictures, and repairing them.
    Checking,
    /// Layouts from captions.
    Planning,
}

impl Group {
    /// All of them, in the order in which they are shown.
    pub const ALL: [Self; 12] = [
        Self::Model,
        Self::Sampling,
        Self::Prompts,
        Self::Guidance,
        Self::Objects,
        Self::Masks,
        Self::Composition,
        Self::Adapters,
        Self::Speed,
        Self::Deviations,
        Self::Checking,
        Self::Planning,
    ];

    /// The heading above its settings.
    pub fn title(self) -> &'static str {
        match self {
            Self::Model => "Model",
            Self::Sampling => "Sampling",
            Self::Prompts => "Prompts",
            Self::Guidance => "Guidance",
            Self::Objects => "Objects painted alone",
            Self::Masks => "Segmentation masks",
            Self::Composition => "Composition",
            Self::Adapters => "Grounding adapters",
            Self::Speed => "Speed",
            Self::Deviations => "Deviations from the reference",
            Self::Checking => "Checking",
            Self::Planning => "Planning",
        }
    }
}

/// The description of one setting.
#[derive(Debug, Clone, PartialEq)]
pub struct Setting {
    /// Its name in JSON and in `--set`, in snake case. People may write it otherwise, see [`find`].
    pub name: Cow<'static, str>,
    /// Other names that it is known by.
    pub aliases: Vec<Cow<'static, str>>,
    /// The values that it takes.
    pub kind: Kind,
    /// Whether it may be null: nobody says, something else decides.
    pub nullable: bool,
    /// Its value if nobody says.
    pub default: Value,
    /// The value that the method's publication has, if it is another than the default.
    pub published: Option<Value>,
    /// What its numbers count: `steps`, `cells`, `pixels`.
    pub unit: Option<Cow<'static, str>>,
    /// One sentence of help, Markdown, with its full stop.
    pub help: Cow<'static, str>,
    /// What else there is to say, in paragraphs; perhaps nothing.
    pub details: Cow<'static, str>,
    /// What it belongs to.
    pub group: Group,
    /// The methods that have it; empty is all.
    pub methods: Vec<Cow<'static, str>>,
}

impl Setting {
    /// A setting of every method. The rest of its fields is filled in by name: `Setting { unit: Some("steps".into()), ..Setting::new(…) }`.
    pub fn new(name: &'static str, group: Group, kind: Kind, default: Value, help: &'static str) -> Self {
        Self {
            name: name.into(),
            aliases: Vec::new(),
            nullable: default.is_null(),
            kind,
            default,
            published: None,
            unit: None,
            help: help.into(),
            details: "".into(),
            group,
            methods: Vec::new(),
        }
    }

    /// The value that text stands for, by the setting's type: `4×5, 3×5` for a list, `0.1..0.8` for an interval, `null` where that is a value. Words of a choice may be
    /// written in any spelling.
    ///
    /// # Errors
    /// [`SettingError`] for text that is no value of this setting.
    pub fn parse(&self, text: &str) -> Result<Value, SettingError> {
        match text.trim() {
            "null" if self.nullable => Ok(Value::Null),
            _ => match parse::value(&self.kind, text) {
                Some(value) => self.check(&value),
                None => Err(self.refused(quoted(text))),
            },
        }
    }

    /// The value as the setting holds it, if it is one of its values. Whole numbers above 2^53, which JavaScript rounds, may be text.
    ///
    /// # Errors
    /// [`SettingError`].
    pub fn check(&self, value: &Value) -> Result<Value, SettingError> {
        match value {
            Value::Null if self.nullable => Ok(Value::Null),
            _ => self.kind.check(value).map_err(|found| self.refused(found)),
        }
    }

    /// The values that it takes, in words: `a number from 0 to 1, or null`.
    pub fn expected(&self) -> String {
        format!("{}{}", self.kind.expected(), if self.nullable { ", or null" } else { "" })
    }

    fn refused(&self, found: String) -> SettingError {
        SettingError { name: self.name.to_string(), found, expected: self.expected() }
    }
}

/// A value that a setting does not take.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{name}` is {found}, expected {expected}")]
pub struct SettingError {
    /// The setting.
    pub name: String,
    /// What was given, shortened.
    pub found: String,
    /// The values that it takes, in words.
    pub expected: String,
}

/// The setting called `name`, however it is written: `Loss-Scale` is `loss_scale`.
pub fn find<'a>(settings: &'a [Setting], name: &str) -> Option<&'a Setting> {
    let known = || settings.iter().flat_map(|setting| names_of(setting).map(move |name| (name, setting)));
    let found = names::find(name, known().map(|(name, _)| name))?;
    known().find(|(name, _)| *name == found).map(|(_, setting)| setting)
}

/// What to say of a name that is none of `settings`: the nearest, or all that there are.
pub fn nearest(settings: &[Setting], name: &str) -> String {
    let known: Vec<&str> = settings.iter().map(|setting| &*setting.name).collect();
    match names::nearest(name, settings.iter().flat_map(names_of)) {
        Some(nearest) => format!("did you mean `{nearest}`?"),
        None if known.is_empty() => "it has none".to_owned(),
        None => format!("it has {}", known.join(", ")),
    }
}

/// The defaults of all settings, by name.
pub fn defaults(settings: &[Setting]) -> Map<String, Value> {
    settings.iter().map(|setting| (setting.name.to_string(), setting.default.clone())).collect()
}

fn names_of(setting: &Setting) -> impl Iterator<Item = &str> {
    std::iter::once(&*setting.name).chain(setting.aliases.iter().map(|alias| &**alias))
}

/// Text as it is shown in a message.
fn quoted(text: &str) -> String {
    const SHOWN: usize = 60;
    match text.char_indices().nth(SHOWN) {
        Some((end, _)) => format!("`{}…`", &text[..end]),
        None => format!("`{text}`"),
    }
}

#[cfg(test)]
mod tests;
