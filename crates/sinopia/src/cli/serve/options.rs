//! What clients can ask for, from the descriptions that the methods have of themselves.

use sinopia_diffusion::methods::{METHODS, MethodInfo};
use sinopia_diffusion::settings::{Bounds, Choice, Kind, Setting};
use sinopia_server::wire::{MethodDoc, OptionDoc, RangeDoc};
use sinopia_studio::{Described, PaintSettings};

/// Every method with its options.
pub(super) fn methods() -> Vec<MethodDoc> {
    METHODS.iter().map(method).collect()
}

/// Settings that the server's start decides, or its client has no say in.
pub(crate) const NOT_REQUESTED: [&str; 9] =
    ["preset", "sam", "t5", "ella", "t5_length", "t5_range", "precision", "device", "guidance_rescale"];

/// Every setting that a request may have.
pub(super) fn settings() -> Vec<OptionDoc> {
    let requested = PaintSettings::described().iter().filter(|setting| !NOT_REQUESTED.contains(&&*setting.name));
    requested.map(|setting| option(setting)).collect()
}

fn method(info: &MethodInfo) -> MethodDoc {
    MethodDoc {
        name: info.name.to_owned(),
        summary: info.help.to_owned(),
        needs_layout: info.needs_layout,
        options: info.settings().iter().map(option).collect(),
    }
}

fn option(setting: &Setting) -> OptionDoc {
    let choices = match &setting.kind {
        Kind::Choice(choices) => Some(choices),
        _ => None,
    };
    let texts = |text: fn(&Choice) -> &str| choices.map(|all| all.iter().map(|choice| plain(text(choice))).collect());
    OptionDoc {
        name: setting.name.to_string(),
        kind: setting.kind.as_str().to_owned(),
        summary: plain(&setting.help),
        default: setting.default.clone(),
        choices: texts(|choice| &choice.value),
        choices_help: texts(|choice| &choice.help),
        details: plain(&setting.details),
        group: setting.group.title().to_owned(),
        unit: setting.unit.as_ref().map(ToString::to_string),
        range: range(&setting.kind),
        nullable: setting.nullable,
        published: setting.published.clone(),
    }
}

/// Where its numbers may be; of a list or a table those of its entries.
fn range(kind: &Kind) -> Option<RangeDoc> {
    match kind {
        Kind::Integer { min, max } => Some(RangeDoc {
            minimum: Some(*min as f64),
            maximum: (*max < u64::MAX).then_some(*max as f64),
            above_minimum: false,
            below_maximum: false,
        }),
        Kind::Number(Bounds { min, above_min, max, below_max })
        | Kind::Interval(Bounds { min, above_min, max, below_max }) => {
            Some(RangeDoc { minimum: *min, maximum: *max, above_minimum: *above_min, below_maximum: *below_max })
        }
        Kind::List(values) | Kind::Table { values, .. } => range(values),
        Kind::Boolean | Kind::Choice(_) | Kind::Text => None,
    }
}

/// Help as plain text: pages show it as it is.
fn plain(markdown: &str) -> String {
    markdown.replace('`', "")
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn an_option_is_told_with_all_that_is_known_of_it() {
        let methods = methods();
        assert_eq!(methods.len(), METHODS.len());
        let lmd = methods.iter().find(|method| method.name == "lmd").unwrap();
        let option = |name: &str| lmd.options.iter().find(|option| option.name == name).unwrap();
        for (name, kind) in [
            ("frozen_step_ratio", "number"),
            ("max_index_step", "integer"),
            ("use_ref_ca", "boolean"),
            ("so_vertical_placement", "choice"),
            ("max_iter", "list"),
            ("object_weights", "table"),
            ("overall_prompt", "text"),
        ] {
            assert_eq!(option(name).kind, kind, "{name}");
        }
        let share = option("fg_top_p").range.unwrap();
        assert_eq!((share.minimum, share.above_minimum, share.maximum), (Some(0.0), true, Some(1.0)));
        let entries = option("max_iter").range.unwrap();
        assert_eq!((entries.minimum, entries.maximum), (Some(0.0), Some(1000.0)));
        let prompt = option("mask_prompt");
        assert_eq!((&prompt.default, prompt.published.as_ref()), (&json!("box"), Some(&json!("point"))));
        assert_eq!(prompt.choices_help.as_ref().unwrap().len(), prompt.choices.as_ref().unwrap().len());
        assert!(option("fg_seed_start").nullable && !option("max_iter").nullable);
        assert_eq!(option("max_index_step").unit.as_deref(), Some("steps of 50"));
        assert_eq!(option("max_index_step").group, "Guidance");
    }
}
