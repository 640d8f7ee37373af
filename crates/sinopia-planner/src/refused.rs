//! Parameters that a server refuses: which one it means, and what it is asked with instead.
//!
//! Servers that speak OpenAI's protocol speak different parts of it. What one of them has refused is left out for as long as the program runs.

use std::sync::atomic::{AtomicU8, Ordering};

use serde_json::Value;

/// A parameter that is left out, or goes by its other name.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Dropped {
    /// The limit on tokens goes by its other name.
    LimitName,
    /// There is no limit on tokens.
    Limit,
    /// The server's own temperature.
    Temperature,
    /// Nothing ends the answer but the model.
    Stop,
    /// `store`, of the `responses` endpoint.
    Store,
}

impl Dropped {
    const ALL: [Self; 5] = [Self::LimitName, Self::Limit, Self::Temperature, Self::Stop, Self::Store];

    fn bit(self) -> u8 {
        1 << self as u8
    }
}

/// The names of the limit on tokens: the first one of the `chat` endpoint, the newer one, and that of `responses`.
pub(crate) const LIMITS: [&str; 3] = ["max_tokens", "max_completion_tokens", "max_output_tokens"];

/// What a server has refused so far.
#[derive(Debug, Default)]
pub(crate) struct Refused(AtomicU8);

impl Refused {
    pub(crate) fn has(&self, dropped: Dropped) -> bool {
        self.0.load(Ordering::Relaxed) & dropped.bit() != 0
    }

    /// Learns from a refusal of a request; `None` if it is about no parameter that can be left out. Returns what is told of it.
    ///
    /// `param` is what the server names, if it does; else the message is searched for the names of what was sent.
    pub(crate) fn learn(&self, body: &Value, param: Option<&str>, message: &str) -> Option<String> {
        let is_sent = |name: &str| body.get(name).is_some();
        let named = match param {
            Some(param) => parameter(param),
            None => NAMES.iter().copied().find(|name| is_sent(name) && says(message, name)),
        };
        let name = named.filter(|name| is_sent(name))?;
        let dropped = match name {
            "temperature" => Dropped::Temperature,
            "stop" => Dropped::Stop,
            "store" => Dropped::Store,
            limit if LIMITS[..2].contains(&limit) && !self.has(Dropped::LimitName) => Dropped::LimitName,
            _ => Dropped::Limit,
        };
        // Another request may have learnt the same meanwhile; what was sent before is not refused twice.
        self.0.fetch_or(dropped.bit(), Ordering::Relaxed);
        Some(match dropped {
            Dropped::LimitName => format!("the server refuses `{name}`; the limit goes by its other name"),
            _ => format!("the server refuses `{name}`; it is left out"),
        })
    }

    /// How many requests can be refused before there is nothing left to learn.
    pub(crate) const MOST: usize = Dropped::ALL.len();
}

/// What can be left out.
const NAMES: [&str; 6] = [LIMITS[1], LIMITS[2], LIMITS[0], "temperature", "stop", "store"];

/// The parameter that a server names: `max_tokens`, `body.max_tokens`.
fn parameter(param: &str) -> Option<&'static str> {
    let last = param.rsplit(['.', '/']).next().unwrap_or(param);
    NAMES.iter().copied().find(|name| *name == last)
}

/// Whether a message names a parameter as a word of its own. Of two names in it the first is meant: the second is what to use instead.
fn says(message: &str, name: &str) -> bool {
    let Some(place) = word(message, name) else { return false };
    NAMES.iter().filter(|other| **other != name).filter_map(|other| word(message, other)).all(|other| place < other)
}

fn word(message: &str, name: &str) -> Option<usize> {
    let is_part = |c: char| c.is_alphanumeric() || c == '_';
    message.match_indices(name).map(|(place, _)| place).find(|place| {
        let (before, after) = (&message[..*place], &message[place + name.len()..]);
        !before.ends_with(is_part) && !after.starts_with(is_part)
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn check(body: Value, param: Option<&str>, message: &str, expected: Option<Dropped>) {
        let refused = Refused::default();
        assert_eq!(refused.learn(&body, param, message).is_some(), expected.is_some(), "{message}");
        for dropped in Dropped::ALL {
            assert_eq!(refused.has(dropped), Some(dropped) == expected, "{message}: {dropped:?}");
        }
    }

    #[test]
    fn the_parameter_that_is_meant_is_left_out() {
        let body = || json!({"max_tokens": 900, "temperature": 0.25, "stop": "x", "messages": []});
        let instead = "Unsupported parameter: 'max_tokens' is not supported with this model. Use 'max_completion_tokens' instead.";
        check(body(), Some("max_tokens"), instead, Some(Dropped::LimitName));
        check(body(), None, instead, Some(Dropped::LimitName));
        check(body(), None, "unknown field `stop`", Some(Dropped::Stop));
        check(body(), Some("body.temperature"), "Only the default (1) value is supported.", Some(Dropped::Temperature));
        check(json!({"max_output_tokens": 1}), None, "max_output_tokens: no", Some(Dropped::Limit));
        for (param, message) in [
            (None, "the model does not exist"),
            (Some("model"), "temperature"),
            (Some("seed"), "no"),
            (None, "stopped"),
        ] {
            check(body(), param, message, None);
        }
    }

    #[test]
    fn a_limit_that_has_no_name_is_left_out() {
        let refused = Refused::default();
        assert!(refused.learn(&json!({"max_tokens": 1}), Some("max_tokens"), "").is_some());
        assert!(refused.learn(&json!({"max_completion_tokens": 1}), Some("max_completion_tokens"), "").is_some());
        assert!(refused.has(Dropped::Limit));
        assert_eq!(refused.learn(&json!({}), Some("max_tokens"), ""), None);
    }
}
