//! The nodes that are understood, and the names of the values that the editor keeps of each in order, without names.

/// Classes, and their widgets in order.
const NODES: &[(&str, &[&str])] = &[
    ("CheckpointLoaderSimple", &["ckpt_name"]),
    ("VAELoader", &["vae_name"]),
    ("CLIPTextEncode", &["text"]),
    ("ConditioningConcat", &[]),
    ("EmptyLatentImage", &["width", "height", "batch_size"]),
    ("KSampler", &["seed", "steps", "cfg", "sampler_name", "scheduler", "denoise"]),
    ("VAEDecode", &[]),
    ("SaveImage", &["filename_prefix"]),
    ("PreviewImage", &[]),
    ("GLIGENLoader", &["gligen_name"]),
    ("GLIGENTextBoxApply", &["text", "width", "height", "x", "y"]),
    ("BasicScheduler", &["scheduler", "steps", "denoise"]),
    ("PrimitiveInt", &["value"]),
    ("PrimitiveFloat", &["value"]),
    ("PrimitiveString", &["value"]),
    ("PrimitiveStringMultiline", &["value"]),
    ("PrimitiveBoolean", &["value"]),
    ("ELLALoader", &["name"]),
    ("T5TextEncoderLoader #ELLA", &["name", "max_length", "dtype"]),
    ("T5TextEncode #ELLA", &["text"]),
    ("SetEllaTimesteps", &["scheduler", "steps", "denoise"]),
    ("EllaEncode", &[]),
    ("EllaTextEncode", &["text", "text_clip"]),
    ("EllaApply", &[]),
    ("EllaCombineEmbeds", &[]),
    ("CombineClipEllaEmbeds", &[]),
    ("ConcatConditionEllaEmbeds", &[]),
    ("ConditionToEllaEmbeds", &[]),
];
/// Nodes that save or show an image: those that are saved first.
pub(super) const OUTPUTS: [&str; 2] = ["SaveImage", "PreviewImage"];
/// Nodes that hand their only input on.
pub(super) const REROUTES: [&str; 2] = ["Reroute", "Reroute (rgthree)"];
/// Nodes of the editor that compute nothing.
pub(super) const REMARKS: [&str; 2] = ["Note", "MarkdownNote"];
/// What the page does to a seed after each picture: a value that stands behind the seed, and that the API has not.
const CONTROL: [&str; 5] = ["fixed", "increment", "increment-wrap", "decrement", "randomize"];
/// Values that such a control stands behind.
const CONTROLLED: [&str; 2] = ["seed", "value"];

/// The names of a class's widgets; `None` if the class is not understood.
pub(super) fn widgets(class: &str) -> Option<&'static [&'static str]> {
    NODES.iter().find(|(known, _)| *known == class).map(|(_, names)| *names)
}

/// Whether a value is such a control.
pub(super) fn is_control(value: &serde_json::Value) -> bool {
    value.as_str().is_some_and(|word| CONTROL.contains(&word))
}

/// The name of each of a node's values, as they stand in order. A control bears the name of what it controls, and says so.
pub(super) fn named(class: &str, values: &[serde_json::Value]) -> Vec<(&'static str, bool)> {
    let mut names = Vec::new();
    for name in widgets(class).unwrap_or_default() {
        names.push((*name, false));
        if CONTROLLED.contains(name) && values.get(names.len()).is_some_and(is_control) {
            names.push((*name, true));
        }
    }
    names.truncate(values.len());
    names
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;
    use serde_json::json;

    use super::*;

    #[test]
    fn a_control_may_stand_behind_a_seed() {
        let names = |values: serde_json::Value| {
            let named = named("KSampler", values.as_array().unwrap());
            named.into_iter().filter(|(_, is_control)| !is_control).map(|(name, _)| name).collect::<Vec<_>>()
        };
        let all = ["seed", "steps", "cfg", "sampler_name", "scheduler", "denoise"];
        assert_eq!(names(json!([7, "randomize", 20, 8.0, "euler", "normal", 1.0])), all);
        assert_eq!(names(json!([7, 20, 8.0, "euler", "normal", 1.0])), all);
        assert_eq!(names(json!([7, "fixed"])), ["seed"]);
        // A text is never a control.
        assert_eq!(named("EllaTextEncode", &[json!("a car"), json!("fixed")]), [("text", false), ("text_clip", false)]);
    }

    #[test]
    fn the_help_names_every_node() {
        let mut command = crate::cli::args::Cli::command();
        let help = command.find_subcommand_mut("run").unwrap().render_help().to_string();
        let words: Vec<&str> = help.split([' ', ',', '.', '\n']).collect();
        for (class, _) in NODES {
            let name = class.trim_end_matches(" #ELLA");
            let is_deprecated = ["ConcatConditionEllaEmbeds", "ConditionToEllaEmbeds"].contains(&name);
            assert!(is_deprecated || words.contains(&name) || name.starts_with("Primitive"), "{name}");
        }
    }
}
