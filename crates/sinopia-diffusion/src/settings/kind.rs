//! Types of settings: what each takes, and what it says of what it does not take.

use std::borrow::Cow;

use serde_json::{Number, Value};
use sinopia_layout::{brief, names};

use super::quoted;

/// The type of a setting.
#[derive(Debug, Clone, PartialEq)]
pub enum Kind {
    /// On or off.
    Boolean,
    /// A whole number in a range, ends included.
    Integer {
        /// The smallest.
        min: u64,
        /// The largest.
        max: u64,
    },
    /// A finite number.
    Number(Bounds),
    /// One of some words.
    Choice(Vec<Choice>),
    /// Any text.
    Text,
    /// Values of one type, as many as one likes.
    List(Box<Kind>),
    /// Values of one type by names of another: a JSON object.
    Table {
        /// What the names are.
        keys: Box<Kind>,
        /// What they stand for.
        values: Box<Kind>,
    },
    /// Two rising numbers, `[0.1, 0.8]`.
    Interval(Bounds),
}

/// A word that a setting may be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Choice {
    /// The word.
    pub value: Cow<'static, str>,
    /// What it means, in a sentence or two.
    pub help: Cow<'static, str>,
    /// Other words for the same.
    pub aliases: &'static [&'static str],
}

impl Choice {
    /// A word and what it means.
    pub const fn new(value: &'static str, help: &'static str) -> Self {
        Self { value: Cow::Borrowed(value), help: Cow::Borrowed(help), aliases: &[] }
    }

    /// The same, known by other words too.
    #[must_use]
    pub fn also(self, aliases: &'static [&'static str]) -> Self {
        Self { aliases, ..self }
    }

    /// Whether a word stands for it, in any spelling.
    fn is_called(&self, word: &str) -> bool {
        names::find(word, std::iter::once(&*self.value).chain(self.aliases.iter().copied())).is_some()
    }
}

/// Where numbers may be. Without an end they go on; they are finite in any case.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct Bounds {
    /// The smallest.
    pub min: Option<f64>,
    /// Whether they have to be above `min`.
    pub above_min: bool,
    /// The largest.
    pub max: Option<f64>,
    /// Whether they have to be below `max`.
    pub below_max: bool,
}

impl Bounds {
    /// From `min` to `max`, both included.
    pub const fn closed(min: f64, max: f64) -> Self {
        Self { min: Some(min), above_min: false, max: Some(max), below_max: false }
    }

    /// From `min` on.
    pub const fn from(min: f64) -> Self {
        Self { min: Some(min), above_min: false, max: None, below_max: false }
    }

    /// Whether a number lies in them.
    pub fn contain(&self, x: f64) -> bool {
        let is_above = self.min.is_none_or(|min| if self.above_min { x > min } else { x >= min });
        let is_below = self.max.is_none_or(|max| if self.below_max { x < max } else { x <= max });
        x.is_finite() && is_above && is_below
    }

    /// ` from 0 to 1`, ` above 0, at most 1`; nothing without ends.
    fn words(&self) -> String {
        let Self { min, above_min, max, below_max } = *self;
        match (min.map(brief), max.map(brief)) {
            (None, None) => String::new(),
            (Some(min), None) => format!(" {} {min}", if above_min { "above" } else { "from" }),
            (None, Some(max)) => format!(" {} {max}", if below_max { "below" } else { "of at most" }),
            (Some(min), Some(max)) => match (above_min, below_max) {
                (false, false) => format!(" from {min} to {max}"),
                (true, false) => format!(" above {min}, at most {max}"),
                (false, true) => format!(" from {min}, below {max}"),
                (true, true) => format!(" above {min}, below {max}"),
            },
        }
    }
}

/// JavaScript's numbers are exact up to here.
const EXACT_IN_JAVASCRIPT: u64 = 1 << 53;

impl Kind {
    /// Whole numbers from `min` to `max`.
    pub const fn integer(min: u64, max: u64) -> Self {
        Self::Integer { min, max }
    }

    /// Numbers from `min` to `max`.
    pub const fn number(min: f64, max: f64) -> Self {
        Self::Number(Bounds::closed(min, max))
    }

    /// Words, each with what it means.
    pub fn choice(words: &[(&'static str, &'static str)]) -> Self {
        Self::Choice(words.iter().map(|(value, help)| Choice::new(value, help)).collect())
    }

    /// The word for it on the wire.
    pub fn as_str(&self) -> &'static str {
        match self {
            Self::Boolean => "boolean",
            Self::Integer { .. } => "integer",
            Self::Number(_) => "number",
            Self::Choice(_) => "choice",
            Self::Text => "text",
            Self::List(_) | Self::Interval(_) => "list",
            Self::Table { .. } => "table",
        }
    }

    /// The values that it takes, in words: `a number from 0 to 1`.
    pub fn expected(&self) -> String {
        match self {
            Self::Boolean => "true or false".to_owned(),
            Self::Integer { .. } => format!("a whole number{}", self.range_words()),
            Self::Number(_) => format!("a number{}", self.range_words()),
            Self::Choice(choices) => any_of(choices),
            Self::Text => "text".to_owned(),
            Self::List(values) => format!("a list of {}", values.expected_many()),
            Self::Table { keys, values } => {
                format!("a JSON object of {} by {}", values.expected_many(), keys.expected_many())
            }
            Self::Interval(bounds) => format!("two rising numbers{}, as `0.1..0.8`", bounds.words()),
        }
    }

    fn expected_many(&self) -> String {
        match self {
            Self::Integer { .. } => format!("whole numbers{}", self.range_words()),
            Self::Number(_) => format!("numbers{}", self.range_words()),
            Self::Text => "texts".to_owned(),
            other => format!("values ({})", other.expected()),
        }
    }

    /// The range of its numbers in words, with a space before; nothing for what has none.
    pub fn range_words(&self) -> String {
        match self {
            Self::Integer { min, max: u64::MAX } => format!(" from {min}"),
            Self::Integer { min, max } => format!(" from {min} to {max}"),
            Self::Number(bounds) | Self::Interval(bounds) => bounds.words(),
            Self::List(values) | Self::Table { values, .. } => values.range_words(),
            Self::Boolean | Self::Choice(_) | Self::Text => String::new(),
        }
    }

    /// The value as it is held, or what is wrong with it, shown.
    pub(super) fn check(&self, value: &Value) -> Result<Value, String> {
        match (self, value) {
            (Self::Boolean, Value::Bool(_)) | (Self::Text, Value::String(_)) => Ok(value.clone()),
            (Self::Integer { min, max }, _) => match whole(value, *max) {
                Some(number) if (*min..=*max).contains(&number) => Ok(number.into()),
                _ => Err(shown(value)),
            },
            (Self::Number(bounds), Value::Number(number)) if is_within(number, bounds) => Ok(value.clone()),
            (Self::Choice(choices), Value::String(word)) => {
                let known = choices.iter().find(|choice| choice.is_called(word));
                known.map(|choice| Value::String(choice.value.to_string())).ok_or_else(|| shown(value))
            }
            (Self::List(values), Value::Array(list)) => {
                list.iter().map(|entry| values.check(entry)).collect::<Result<_, _>>().map(Value::Array)
            }
            (Self::Table { keys, values }, Value::Object(entries)) => {
                let entry = |(key, value): (&String, &Value)| {
                    let is_key = super::parse::value(keys, key).is_some_and(|key| keys.check(&key).is_ok());
                    if !is_key {
                        return Err(format!("named {}", quoted(key)));
                    }
                    Ok((key.clone(), values.check(value)?))
                };
                entries.iter().map(entry).collect::<Result<_, _>>().map(Value::Object)
            }
            (Self::Interval(bounds), Value::Array(ends)) => match ends.as_slice() {
                [Value::Number(first), Value::Number(end)]
                    if is_within(first, bounds) && is_within(end, bounds) && first.as_f64() <= end.as_f64() =>
                {
                    Ok(value.clone())
                }
                _ => Err(shown(value)),
            },
            _ => Err(shown(value)),
        }
    }
}

fn is_within(number: &Number, bounds: &Bounds) -> bool {
    number.as_f64().is_some_and(|x| bounds.contain(x))
}

/// A whole number; where there may be larger ones than JavaScript can hold, also as text.
fn whole(value: &Value, max: u64) -> Option<u64> {
    match value {
        Value::Number(number) => number.as_u64(),
        Value::String(text) if max > EXACT_IN_JAVASCRIPT => text.trim().parse().ok(),
        _ => None,
    }
}

/// `` `point`, `box` or `mask` ``.
fn any_of(choices: &[Choice]) -> String {
    let words: Vec<String> = choices.iter().map(|choice| format!("`{}`", choice.value)).collect();
    match words.as_slice() {
        [] => "nothing".to_owned(),
        [only] => only.clone(),
        [first @ .., last] => format!("{} or {last}", first.join(", ")),
    }
}

/// A value in a message.
fn shown(value: &Value) -> String {
    match value {
        Value::Number(number) => match (number.as_u64(), number.as_f64()) {
            (None, Some(x)) => brief(x),
            _ => number.to_string(),
        },
        Value::String(text) => quoted(text),
        other => quoted(&other.to_string()),
    }
}
