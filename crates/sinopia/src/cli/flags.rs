//! Flags made from the descriptions of settings: their names, other names, values, help and headings.

use std::ffi::OsStr;
use std::marker::PhantomData;

use clap::builder::{PossibleValue, TypedValueParser};
use clap::error::ErrorKind;
use clap::{Arg, ArgMatches, Args, Command, FromArgMatches};
use serde_json::Value;
use sinopia_diffusion::settings::Kind;
use sinopia_studio::{Described, RunSetting};

use super::args::drawn_seed;

/// The flags of all settings of `S`, each of which may be given once.
#[derive(Debug, Clone, Default)]
pub(crate) struct Flags<S>(pub(crate) S);

impl<S: Described> Args for Flags<S> {
    fn augment_args(command: Command) -> Command {
        S::described().iter().fold(command, |command, setting| command.arg(flag(setting)))
    }

    fn augment_args_for_update(command: Command) -> Command {
        Self::augment_args(command)
    }
}

impl<S: Described> FromArgMatches for Flags<S> {
    fn from_arg_matches(matches: &ArgMatches) -> Result<Self, clap::Error> {
        from_matches(matches, S::described().iter()).map(Self)
    }

    fn update_from_arg_matches(&mut self, matches: &ArgMatches) -> Result<(), clap::Error> {
        *self = Self::from_arg_matches(matches)?;
        Ok(())
    }
}

/// Some settings of `S` by name, for a command that has flags for those alone.
pub(crate) trait Selection {
    /// Whether a setting is one of them.
    fn selects(name: &str) -> bool;
}

/// The flags of a [`Selection`].
#[derive(Debug, Clone, Default)]
pub(crate) struct Selected<S, N> {
    settings: S,
    selection: PhantomData<N>,
}

impl<S: Described, N: Selection> Selected<S, N> {
    /// What was given.
    pub(crate) fn settings(&self) -> &S {
        &self.settings
    }

    fn described() -> impl Iterator<Item = &'static RunSetting> {
        S::described().iter().filter(|setting| N::selects(&setting.name))
    }
}

impl<S: Described, N: Selection> Args for Selected<S, N> {
    fn augment_args(command: Command) -> Command {
        Self::described().fold(command, |command, setting| command.arg(flag(setting)))
    }

    fn augment_args_for_update(command: Command) -> Command {
        Self::augment_args(command)
    }
}

impl<S: Described, N: Selection> FromArgMatches for Selected<S, N> {
    fn from_arg_matches(matches: &ArgMatches) -> Result<Self, clap::Error> {
        let settings = from_matches(matches, Self::described())?;
        Ok(Self { settings, selection: PhantomData })
    }

    fn update_from_arg_matches(&mut self, matches: &ArgMatches) -> Result<(), clap::Error> {
        *self = Self::from_arg_matches(matches)?;
        Ok(())
    }
}

/// What the flags that were given say.
fn from_matches<S: Described>(
    matches: &ArgMatches,
    settings: impl Iterator<Item = &'static RunSetting>,
) -> Result<S, clap::Error> {
    let value = |setting: &RunSetting| {
        let value = matches.try_get_one::<Value>(&setting.name).ok().flatten()?;
        Some((setting.name.to_string(), value.clone()))
    };
    let given = settings.filter_map(value).collect();
    S::from_values(given).map_err(|error| clap::Error::raw(ErrorKind::ValueValidation, format!("{error}\n")))
}

/// The flag of one setting.
pub(crate) fn flag(setting: &'static RunSetting) -> Arg {
    let aliases = setting.aliases.iter().map(|alias| alias.replace('_', "-"));
    let arg = match setting.kind {
        Kind::Boolean => switch(setting),
        _ => Arg::new(&*setting.name),
    };
    arg.long(setting.flag())
        .aliases(aliases)
        .value_name(setting.value_name)
        .help_heading(setting.group.title())
        .help(help(setting))
        .long_help(long_help(setting))
        .hide_short_help(setting.is_rare)
        .allow_hyphen_values(setting.value_name == "SIZE") // `-5x5` is a size that is wrong, not a flag
        .allow_negative_numbers(matches!(setting.kind, Kind::Integer { .. } | Kind::Number(_)))
        .conflicts_with_all(setting.excludes.iter().copied())
        .hide_possible_values(true) // they stand in the help
        .value_parser(SettingParser(setting))
}

/// A flag that stands alone to turn something on; `--repair=off` overrides what a file says.
fn switch(setting: &'static RunSetting) -> Arg {
    Arg::new(&*setting.name).num_args(0..=1).require_equals(true).default_missing_value("true")
}

/// Reads the text behind a flag, and tells shells which words it may be.
#[derive(Debug, Clone, Copy)]
struct SettingParser(&'static RunSetting);

impl TypedValueParser for SettingParser {
    type Value = Value;

    fn parse_ref(&self, command: &Command, arg: Option<&Arg>, text: &OsStr) -> Result<Value, clap::Error> {
        let refuse = |kind, message: String| {
            let flag = arg.map(ToString::to_string).unwrap_or_default();
            let text = text.to_string_lossy();
            clap::Error::raw(kind, format!("invalid value '{text}' for '{flag}': {message}\n")).with_cmd(command)
        };
        let valid = text.to_str().ok_or_else(|| refuse(ErrorKind::InvalidUtf8, "it is not UTF-8".to_owned()))?;
        parse(self.0, valid).map_err(|message| refuse(ErrorKind::ValueValidation, message))
    }

    fn possible_values(&self) -> Option<Box<dyn Iterator<Item = PossibleValue> + '_>> {
        match &self.0.kind {
            Kind::Choice(choices) => {
                Some(Box::new(choices.iter().map(|choice| PossibleValue::new(choice.value.to_string()))))
            }
            _ => None,
        }
    }
}

/// What the text behind a flag stands for. Seeds may be drawn.
fn parse(setting: &RunSetting, text: &str) -> Result<Value, String> {
    let is_seed = setting.name == "seed";
    if is_seed && text.eq_ignore_ascii_case("random") {
        return Ok(drawn_seed().into());
    }
    setting.parse(text).map_err(|error| match is_seed {
        true => format!("a whole number from 0 to {}, or `random`, is expected", u64::MAX),
        false => format!("{} is expected", error.expected),
    })
}

/// One line or two: what it is, what it takes, what it is if nobody says.
fn help(setting: &RunSetting) -> String {
    let mut help = setting.help.trim_end_matches('.').to_owned();
    match &setting.kind {
        Kind::Choice(choices) => {
            let words: Vec<&str> = choices.iter().map(|choice| &*choice.value).collect();
            help.push_str(&format!(": {}", words.join(", ")));
        }
        Kind::Integer { .. } | Kind::Number(_) if setting.name == "seed" => {
            help.push_str(" (a number, or `random`: one is drawn and told)");
        }
        Kind::Integer { .. } | Kind::Number(_) => {
            let range = setting.kind.range_words();
            let range = range.trim_start_matches(" from ").trim_start();
            let unit = setting.unit.as_deref().filter(|unit| !setting.help.to_lowercase().contains(unit));
            help.push_str(&format!(" ({range}{})", unit.map(|unit| format!(" {unit}")).unwrap_or_default()));
        }
        _ => {}
    }
    if let Some(default) = setting.shown_default() {
        help.push_str(&format!(" [default: {default}]"));
    }
    help
}

/// The same, and what else there is to say.
fn long_help(setting: &RunSetting) -> String {
    let mut help = help(setting);
    if !setting.details.is_empty() {
        help.push_str(&format!("\n\n{}", setting.details));
    }
    if let Kind::Choice(choices) = &setting.kind {
        help.push('\n');
        for choice in choices {
            help.push_str(&format!("\n- {}: {}", choice.value, choice.help));
        }
    }
    help
}
