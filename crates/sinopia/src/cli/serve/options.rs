//! What clients can ask for, found out from the methods themselves.

use serde_json::{Map, Value, json};
use sinopia_diffusion::methods::{self, Lmd, LmdPlus, MethodInfo};
use sinopia_server::wire::{MethodDoc, OptionDoc};

/// Every method with its options.
pub(super) fn methods() -> Vec<MethodDoc> {
    methods::METHODS.iter().filter_map(describe).collect()
}

/// Every option in words; a test holds this page to the source.
const PAGE: &str = include_str!("../../../../../docs/options.md");

fn describe(info: &MethodInfo) -> Option<MethodDoc> {
    let defaults = methods::build(info.name, Value::Null).ok()?.options();
    let options =
        defaults.as_object().map(|options| options.iter().map(|(name, value)| option(info.name, name, value)));
    Some(MethodDoc {
        name: info.name.to_owned(),
        summary: info.help.to_owned(),
        needs_layout: info.needs_layout,
        options: options.map(Iterator::collect).unwrap_or_default(),
    })
}

fn option(method: &str, name: &str, default: &Value) -> OptionDoc {
    let choices = default.as_str().and_then(|_| choices(method, name));
    let kind = match default {
        Value::Bool(_) => "boolean",
        Value::Number(_) if takes(method, name, &json!(0.5)) => "number",
        Value::Number(_) => "integer",
        Value::String(_) if choices.is_some() => "choice",
        Value::String(_) => "text",
        Value::Array(_) => "list",
        Value::Object(_) => "table",
        Value::Null => "any",
    };
    let summary = summary(method, name).unwrap_or_default();
    OptionDoc { name: name.to_owned(), kind: kind.to_owned(), summary, default: default.clone(), choices }
}

/// What the page says of an option. LMD+ has those of LMD too.
fn summary(method: &str, option: &str) -> Option<String> {
    let (_, rest) = PAGE.split_once(&format!("\n## `{method}`\n"))?;
    let section = rest.split("\n## ").next()?;
    // | `option` | default | published | words |
    let row =
        section.lines().find(|line| line.starts_with(&format!("| `{option}` |")) && line.matches(" | ").count() >= 3);
    match row {
        Some(row) => Some(row.splitn(4, " | ").nth(3)?.trim_end_matches(" |").replace("\\|", "|").replace('`', "")),
        None if method == LmdPlus::NAME => summary(Lmd::NAME, option),
        None => None,
    }
}

fn takes(method: &str, name: &str, value: &Value) -> bool {
    methods::build(method, with(name, value)).is_ok()
}

fn with(name: &str, value: &Value) -> Value {
    Value::Object(Map::from_iter([(name.to_owned(), value.clone())]))
}

/// A word that is no choice anywhere.
const NO_CHOICE: &str = "\u{0}";

/// The words that an option may be. Who reads it names them all when it is given another.
fn choices(method: &str, name: &str) -> Option<Vec<String>> {
    let error = methods::build(method, with(name, &json!(NO_CHOICE))).err()?;
    let message = std::error::Error::source(&error)?.to_string();
    let (_, listed) = message.split_once("expected ")?;
    let words: Vec<String> = listed.split('`').skip(1).step_by(2).map(str::to_owned).collect();
    (!words.is_empty()).then_some(words)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_default_is_of_its_kind_and_among_its_choices() {
        let methods = methods();
        assert_eq!(methods.len(), methods::METHODS.len());
        for method in &methods {
            for option in &method.options {
                assert!(takes(&method.name, &option.name, &option.default), "{} {}", method.name, option.name);
                assert!(option.summary.len() > 20, "{} {}: {}", method.name, option.name, option.summary);
                assert!(!["\\|", "`"].iter().any(|mark| option.summary.contains(mark)), "{}", option.summary);
                if let Some(choices) = &option.choices {
                    assert!(choices.len() > 1 && choices.iter().any(|choice| *choice == option.default), "{option:?}");
                    assert!(
                        choices.iter().all(|choice| takes(&method.name, &option.name, &json!(choice))),
                        "{option:?}"
                    );
                }
            }
        }
        let lmd = methods.iter().find(|method| method.name == "lmd").unwrap();
        let kind = |name: &str| lmd.options.iter().find(|option| option.name == name).unwrap().kind.clone();
        assert_eq!(kind("frozen_step_ratio"), "number");
        assert_eq!(kind("max_index_step"), "integer");
        assert_eq!(kind("use_ref_ca"), "boolean");
        assert_eq!(kind("so_vertical_placement"), "choice");
        assert_eq!(kind("max_iter"), "list");
    }
}
