//! The text `parameters`: that of AUTOMATIC1111's web UI and its descendants, or the JSON that Fooocus and SwarmUI write in its place.
//!
//! ```text
//! a red car, (green apple:1.2), in a field
//! Negative prompt: blurry
//! Steps: 20, Sampler: DPM++ 2M, Schedule type: Karras, CFG scale: 7, Seed: 4711, Size: 512x512, Model: v1-5, Version: v1.9.4
//! ```

use serde_json::Value;

use super::{Foreign, json};
use crate::pictures::Error;
use crate::pictures::chunks::PngTexts;

const NEGATIVE: &str = "Negative prompt:";
const SETTINGS: &str = "Steps: ";

/// Settings that say nothing about the picture, or the same as another.
const NO_MATTER: [&str; 8] =
    ["Model hash", "VAE hash", "Version", "App", "Backend", "Created Date", "Operations", "Pipeline"];

pub(super) fn read(png: &PngTexts<'_>) -> Result<Option<Foreign>, Error> {
    let Some(text) = png.text("parameters")? else { return Ok(None) };
    let made = match json::parse::<Value>(&text) {
        Ok(value) if value.is_object() => of_json(&value),
        _ => Some(of_text(&text)),
    };
    Ok(made)
}

/// The three parts: the prompt, the negative prompt, the settings.
fn of_text(text: &str) -> Foreign {
    let mut parts = [String::new(), String::new(), String::new()];
    let lines: Vec<&str> = text.lines().collect();
    let settings = lines.iter().rposition(|line| line.starts_with(SETTINGS));
    let negative = lines.iter().position(|line| line.starts_with(NEGATIVE));
    for (index, line) in lines.iter().enumerate() {
        let part = match (settings, negative) {
            (Some(settings), _) if index == settings => 2,
            // Extensions write their own lines behind the settings.
            (Some(settings), _) if index > settings => continue,
            (_, Some(negative)) if index >= negative => 1,
            _ => 0,
        };
        parts[part].push_str(line);
        parts[part].push('\n');
    }
    let [prompt, negative, settings] = parts;
    let said = |text: &str| Some(text.trim().to_owned()).filter(|text| !text.is_empty());
    let mut made = Foreign::new("Stable Diffusion web UI");
    made.is_weighted = true;
    made.prompt = said(&prompt);
    made.negative = said(negative.strip_prefix(NEGATIVE).unwrap_or(&negative));
    let settings = settings_of(settings.trim());
    let setting = |name: &str| settings.iter().find(|(known, _)| known == name).map(|(_, value)| value.as_str());
    made.version = setting("Version").map(str::to_owned);
    made.program = program(setting("App"), setting("Version")).to_owned();
    made.seed = setting("Seed").and_then(|seed| seed.parse().ok());
    made.steps = setting("Steps").and_then(|steps| steps.parse().ok());
    made.guidance_scale = setting("CFG scale").and_then(|scale| scale.parse().ok()).filter(|x: &f64| x.is_finite());
    if let Some((width, height)) = setting("Size").and_then(|size| size.split_once('x')) {
        (made.width, made.height) = (width.trim().parse().ok(), height.trim().parse().ok());
    }
    let schedule = setting("Schedule type").filter(|schedule| *schedule != "Automatic");
    made.sampler = setting("Sampler").map(|name| match schedule {
        Some(schedule) => format!("{name} {schedule}"),
        None => name.to_owned(),
    });
    made.model = setting("Model").map(str::to_owned);
    // What cannot be read is told with what is not looked at: the picture would be another.
    let is_read = |name: &str| match name {
        "Seed" => made.seed.is_some(),
        "Steps" => made.steps.is_some(),
        "CFG scale" => made.guidance_scale.is_some(),
        "Size" => made.width.is_some() && made.height.is_some(),
        "Sampler" | "Schedule type" | "Model" => true,
        other => NO_MATTER.contains(&other),
    };
    let others = settings.iter().filter(|(name, _)| !is_read(name));
    let others = others.map(|(name, value)| format!("{name}: {value}")).collect();
    Foreign { others, ..made }
}

/// Which of the family writes such a version.
fn program(app: Option<&str>, version: Option<&str>) -> &'static str {
    match (app, version) {
        (Some("SD.Next"), _) => "SD.Next",
        (_, Some(version)) if version.starts_with("ComfyUI") => "ComfyUI",
        (_, Some(version)) if version.starts_with("Fooocus") => "Fooocus",
        // Forge's versions begin with an `f`, or say `neo`.
        (_, Some(version)) if version.starts_with("f") || version.starts_with("neo") => "Stable Diffusion WebUI Forge",
        _ => "Stable Diffusion web UI",
    }
}

/// `Name: value, Name: "a value, quoted", …`
fn settings_of(text: &str) -> Vec<(String, String)> {
    let mut settings = Vec::new();
    let mut rest = text;
    while let Some((name, after)) = rest.split_once(": ") {
        let (value, after) = match quoted(after) {
            Some(quoted) => quoted,
            None => {
                let (value, after) = after.split_once(',').unwrap_or((after, ""));
                (value.trim().to_owned(), after)
            }
        };
        settings.push((name.trim_matches([',', ' ']).to_owned(), value));
        rest = after;
    }
    settings
}

/// The JSON text that `text` begins with, and what follows it.
fn quoted(text: &str) -> Option<(String, &str)> {
    if !text.starts_with('"') {
        return None;
    }
    let mut values = serde_json::Deserializer::from_str(text).into_iter::<String>();
    let value = values.next()?.ok()?;
    Some((value, text.get(values.byte_offset()..)?))
}

fn of_json(value: &Value) -> Option<Foreign> {
    match value.get("sui_image_params") {
        Some(params) => Some(of_swarm(params)),
        None => of_fooocus(value),
    }
}

fn of_swarm(params: &Value) -> Foreign {
    let mut made = common(params, "SwarmUI");
    made.is_weighted = true;
    made.version = json::text(params, &["swarm_version"]);
    made.sampler = json::text(params, &["sampler", "comfyuisampler", "autowebuisampler"]);
    made
}

/// Fooocus and RuinedFooocus; nothing if no prompt is in it.
fn of_fooocus(value: &Value) -> Option<Foreign> {
    let mut made = common(value, "Fooocus");
    made.prompt.as_ref()?;
    let software = json::text(value, &["software", "Software"]);
    let version = json::text(value, &["version", "Version"]);
    made.program = match (&software, &version) {
        (Some(software), _) => software.clone(),
        (None, Some(version)) if !version.starts_with("Fooocus") => "an unnamed program".to_owned(),
        _ => "Fooocus".to_owned(),
    };
    made.version = version;
    made.is_weighted = true;
    // `(1152, 896)`
    if let Some(size) = json::text(value, &["resolution", "Resolution"]) {
        let sides: Vec<u32> = size.split(|c: char| !c.is_ascii_digit()).filter_map(|side| side.parse().ok()).collect();
        if let [width, height] = sides[..] {
            (made.width, made.height) = (Some(width), Some(height));
        }
    }
    Some(made)
}

/// What most programs spell in one of a few ways.
pub(super) fn common(value: &Value, program: &str) -> Foreign {
    Foreign {
        prompt: json::text(value, &["prompt", "Prompt"]),
        negative: json::text(value, &["negative_prompt", "negativeprompt", "Negative", "Negative Prompt"]),
        seed: json::whole(value, &["seed", "Seed"]),
        width: json::small(value, &["width", "Width"]),
        height: json::small(value, &["height", "Height"]),
        steps: json::small(value, &["steps", "Steps", "num_inference_steps"]),
        guidance_scale: json::number(
            value,
            &["guidance_scale", "Guidance Scale", "cfgscale", "cfg_scale", "cfg", "CFG"],
        ),
        sampler: json::text(value, &["sampler", "sampler_name", "Sampler"]),
        model: json::text(value, &["base_model", "model", "Base Model", "base_model_name"])
            .map(|path| json::file_stem(&path)),
        ..Foreign::new(program)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::pictures::chunks::tests::{png, text};

    fn made(parameters: &str) -> Foreign {
        read(&PngTexts::read(&png(&[text("parameters", parameters)])).unwrap()).unwrap().unwrap()
    }

    #[test]
    fn the_web_uis_text_is_read() {
        let made = made(
            "a red car, (green apple:1.2),\nin a field <lora:fluffy:0.5>\nNegative prompt: blurry,\n[bad]\nSteps: 20, Sampler: DPM++ 2M, \
             Schedule type: Karras, CFG scale: 7, Seed: 4711, Size: 512x768, Model hash: 6ce0161689, Model: v1-5, Clip skip: 2, \
             TI hashes: \"a: 12, b: 34\", Version: v1.9.4\nTemplate: a {red|blue} car",
        );
        assert_eq!(made.program, "Stable Diffusion web UI");
        assert_eq!(made.version.as_deref(), Some("v1.9.4"));
        assert_eq!(made.prompt.as_deref(), Some("a red car, (green apple:1.2),\nin a field <lora:fluffy:0.5>"));
        assert_eq!(made.caption().as_deref(), Some("a red car, green apple, in a field"));
        assert_eq!(made.plain_negative().as_deref(), Some("blurry, bad"));
        assert_eq!((made.seed, made.width, made.height, made.steps), (Some(4711), Some(512), Some(768), Some(20)));
        assert_eq!((made.guidance_scale, made.sampler.as_deref()), (Some(7.0), Some("DPM++ 2M Karras")));
        let notes = made.notes().join("\n");
        for part in
            ["weights", "<lora:fluffy:0.5>", "DPM++ 2M Karras", "v1-5", "Clip skip: 2", "TI hashes: a: 12, b: 34"]
        {
            assert!(notes.contains(part), "{part} is missing in {notes}");
        }
        assert!(!notes.contains("6ce0161689") && !notes.contains("Template"), "{notes}");
    }

    #[test]
    fn parts_may_be_missing() {
        let alone = made("a red car");
        assert_eq!((alone.prompt.as_deref(), alone.negative, alone.seed), (Some("a red car"), None, None));
        assert_eq!((made("").prompt, made("\nSteps: 20, Seed: -1").seed), (None, None));
        let without = made("a\nSteps: 9, Seed: 1");
        assert_eq!((without.prompt.as_deref(), without.steps, without.negative), (Some("a"), Some(9), None));
        let only = made("Negative prompt: b\nSteps: 9");
        assert_eq!((only.prompt, only.negative.as_deref()), (None, Some("b")));
        assert_eq!(made("x\nSteps: 1, Version: f2.0.1v1.10.1").program, "Stable Diffusion WebUI Forge");
        assert_eq!(made("x\nSteps: 1, Seed: 1, App: SD.Next, Version: 1f2e").program, "SD.Next");
        // A quote that never ends is a value like any other.
        assert_eq!(made("x\nSteps: 1, Lora hashes: \"a, Seed: 5").seed, Some(5));
    }

    #[test]
    fn the_json_of_others_is_read() {
        let swarm = made(
            r#"{"sui_image_params": {"prompt": "a cat", "negativeprompt": "dogs", "model": "base/sd_xl.safetensors", "seed": 77, "steps": 20,
            "cfgscale": 6.5, "width": 1024, "height": 768, "sampler": "euler", "swarm_version": "0.9.3"}, "sui_extra_data": {}}"#,
        );
        assert_eq!((swarm.program.as_str(), swarm.version.as_deref()), ("SwarmUI", Some("0.9.3")));
        assert_eq!((swarm.prompt.as_deref(), swarm.negative.as_deref()), (Some("a cat"), Some("dogs")));
        assert_eq!((swarm.seed, swarm.width, swarm.height, swarm.steps), (Some(77), Some(1024), Some(768), Some(20)));
        assert_eq!((swarm.guidance_scale, swarm.model.as_deref()), (Some(6.5), Some("sd_xl")));
        let fooocus = made(
            r#"{"prompt": "a cat", "negative_prompt": "", "seed": "5094586373103200137", "resolution": "(1152, 896)", "steps": 30,
            "guidance_scale": 4.0, "sampler": "dpmpp_2m_sde_gpu", "base_model": "juggernaut", "version": "Fooocus v2.5.5"}"#,
        );
        assert_eq!((fooocus.program.as_str(), fooocus.seed), ("Fooocus", Some(5_094_586_373_103_200_137)));
        assert_eq!((fooocus.width, fooocus.height, fooocus.negative), (Some(1152), Some(896), None));
        let other = text("parameters", r#"{"hue": 3}"#);
        assert_eq!(read(&PngTexts::read(&png(&[other])).unwrap()).unwrap(), None);
    }
}
