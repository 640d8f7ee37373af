//! What diffusers' pipelines change in a folder's configurations before they paint (0.42.1; docs/fidelity.md says more).
//!
//! Old files leave out keys, or hold values, that fit no latent diffusion model; the constructors of the pipelines put that right, with a warning that
//! nobody reads. So a picture is diffusers' picture only with [`RULES`]. They hold for every scheduler class, the checkpoint's own or another.

use serde_json::{Map, Value, json};

use super::select::SCHEDULER;

/// The pipelines whose constructors differ.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Constructor {
    /// `StableDiffusionPipeline`, and the community's LMD+ (`llm_grounded_diffusion`) and BoxDiff, which have copies of its lines.
    StableDiffusion,
    /// `StableDiffusionGLIGENPipeline`, which has none of them.
    Gligen,
}

/// One key that a constructor sets.
struct Rule {
    file: &'static str,
    key: &'static str,
    /// Whether it is set, by what the file says.
    applies: fn(&Map<String, Value>) -> bool,
    value: fn() -> Value,
    constructors: &'static [Constructor],
}

const UNET: &str = "unet/config.json";

/// All of them.
const RULES: [Rule; 3] = [
    // Absent (the classes' default is 0), 0, null or anything else.
    Rule {
        file: SCHEDULER,
        key: "steps_offset",
        applies: |_| true,
        value: || json!(1),
        constructors: &[Constructor::StableDiffusion],
    },
    // Absent (DDIM's default is true) or true. GLIGEN's pipeline leaves it, and paints noise: latents do not end at ±1. We do not follow it there.
    Rule {
        file: SCHEDULER,
        key: "clip_sample",
        applies: |_| true,
        value: || json!(false),
        constructors: &[Constructor::StableDiffusion, Constructor::Gligen],
    },
    // 32 was the class's default when Stable Diffusion's files were written without the key.
    Rule {
        file: UNET,
        key: "sample_size",
        applies: |unet| is_before_0_9(unet) && is_below_64(unet),
        value: || json!(64),
        constructors: &[Constructor::StableDiffusion],
    },
];

/// A `scheduler_config.json` as a constructor leaves it.
pub fn constructed_scheduler(config: &Value, constructor: Constructor) -> Value {
    match config {
        Value::Object(keys) => {
            let mut keys = keys.clone();
            construct(SCHEDULER, &mut keys, constructor);
            Value::Object(keys)
        }
        other => other.clone(),
    }
}

/// Applies the rules for a file of the folder.
pub(super) fn construct(file: &str, config: &mut Map<String, Value>, constructor: Constructor) {
    for rule in RULES.iter().filter(|rule| rule.file == file && rule.constructors.contains(&constructor)) {
        if (rule.applies)(config) {
            config.insert(rule.key.to_owned(), (rule.value)());
        }
    }
}

/// A list of two sides is left alone.
fn is_below_64(unet: &Map<String, Value>) -> bool {
    unet.get("sample_size").and_then(Value::as_u64).is_some_and(|size| size < 64)
}

/// Whether the file was written by diffusers before 0.9.0; a development version of 0.9 counts as 0.9.
fn is_before_0_9(config: &Map<String, Value>) -> bool {
    let Some(version) = config.get("_diffusers_version").and_then(Value::as_str) else { return false };
    let number = |part: &str| part.split(|c: char| !c.is_ascii_digit()).next().and_then(|digits| digits.parse().ok());
    let mut parts = version.trim().trim_start_matches('v').split('.').map(number);
    match (parts.next().flatten(), parts.next().unwrap_or(Some(0))) {
        (Some(major), Some(minor)) => (major, minor) < (0_u32, 9_u32),
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(constructor: Constructor, config: Value, key: &str, expected: Value) {
        assert_eq!(constructed_scheduler(&config, constructor)[key], expected, "{config} {constructor:?}");
    }

    #[test]
    fn the_offset_is_one_whatever_the_file_says() {
        for config in [json!({}), json!({"steps_offset": 0}), json!({"steps_offset": null}), json!({"steps_offset": 7})]
        {
            check(Constructor::StableDiffusion, config, "steps_offset", json!(1));
        }
        check(Constructor::Gligen, json!({}), "steps_offset", json!(null));
        check(Constructor::Gligen, json!({"steps_offset": 0}), "steps_offset", json!(0));
    }

    #[test]
    fn latents_are_never_clipped() {
        for constructor in [Constructor::StableDiffusion, Constructor::Gligen] {
            for config in [json!({}), json!({"clip_sample": true}), json!({"clip_sample": null})] {
                check(constructor, config, "clip_sample", json!(false));
            }
        }
    }

    #[test]
    fn small_sides_of_unets_from_before_0_9_become_64() {
        for (unet, expected) in [
            (json!({"sample_size": 32, "_diffusers_version": "0.6.0"}), json!(64)),
            (json!({"sample_size": 32, "_diffusers_version": "0.8.1"}), json!(64)),
            (json!({"sample_size": 63, "_diffusers_version": "0.0.4"}), json!(64)),
            (json!({"sample_size": 64, "_diffusers_version": "0.6.0"}), json!(64)),
            (json!({"sample_size": 96, "_diffusers_version": "0.6.0"}), json!(96)),
            (json!({"sample_size": 32, "_diffusers_version": "0.9.0.dev0"}), json!(32)),
            (json!({"sample_size": 32, "_diffusers_version": "0.10.0"}), json!(32)),
            (json!({"sample_size": 32, "_diffusers_version": "1.0"}), json!(32)),
            (json!({"sample_size": 32, "_diffusers_version": "new"}), json!(32)),
            (json!({"sample_size": 32}), json!(32)),
            (json!({"sample_size": [32, 48], "_diffusers_version": "0.6.0"}), json!([32, 48])),
            (json!({"_diffusers_version": "0.6.0"}), json!(null)),
        ] {
            let mut config = unet.as_object().cloned().unwrap();
            construct(UNET, &mut config, Constructor::StableDiffusion);
            assert_eq!(config.get("sample_size").cloned().unwrap_or_default(), expected, "{unet}");
        }
    }
}
