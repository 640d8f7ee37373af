//! InvokeAI's three formats: `invokeai_metadata` (since 3.0), `sd-metadata` (2.x), and the command line of the first versions, `Dream`.

use serde_json::Value;

use super::{Foreign, a1111, json};
use crate::pictures::Error;
use crate::pictures::chunks::PngTexts;

const PROGRAM: &str = "InvokeAI";

/// What a picture depends on, too, if it is there and not empty.
const OTHERS: [&str; 9] = [
    "loras",
    "controlnets",
    "ipAdapters",
    "t2iAdapters",
    "vae",
    "regions",
    "strength",
    "refiner_model",
    "canvas_v2_metadata",
];

pub(super) fn metadata(png: &PngTexts<'_>) -> Result<Option<Foreign>, Error> {
    Ok(json_in(png, "invokeai_metadata")?.map(|value| of_metadata(&value)))
}

pub(super) fn sd_metadata(png: &PngTexts<'_>) -> Result<Option<Foreign>, Error> {
    Ok(json_in(png, "sd-metadata")?.map(|value| of_sd_metadata(&value)))
}

pub(super) fn dream(png: &PngTexts<'_>) -> Result<Option<Foreign>, Error> {
    Ok(png.text("Dream")?.or(png.text("dream")?).map(|line| of_dream(&line)))
}

fn json_in(png: &PngTexts<'_>, keyword: &str) -> Result<Option<Value>, Error> {
    let value = png.text(keyword)?.map(|text| json::parse(&text)).transpose();
    value.map_err(|error| Error::Damaged { problem: format!("its text chunk `{keyword}` is no JSON ({error})") })
}

fn of_metadata(value: &Value) -> Foreign {
    let mut made = a1111::common(value, PROGRAM);
    made.version = json::text(value, &["app_version"]);
    made.prompt = json::text(value, &["positive_prompt"]);
    made.sampler = json::text(value, &["scheduler"]);
    made.model = value.get("model").and_then(|model| json::text(model, &["name", "model_name"]));
    let mode = json::text(value, &["generation_mode"]).filter(|mode| !mode.ends_with("txt2img"));
    let is_empty = |value: &Value| match value {
        Value::Null => true,
        Value::Array(items) => items.is_empty(),
        Value::Object(entries) => entries.is_empty(),
        _ => false,
    };
    let others = OTHERS.iter().filter(|key| value.get(**key).is_some_and(|found| !is_empty(found)));
    made.others = mode.into_iter().chain(others.map(|key| (*key).to_owned())).collect();
    made
}

fn of_sd_metadata(value: &Value) -> Foreign {
    let image = value.get("image").unwrap_or(&Value::Null);
    let mut made = a1111::common(image, PROGRAM);
    made.version = json::text(value, &["app_version"]);
    made.model = json::text(value, &["model_weights", "model"]);
    let listed = image.get("prompt").and_then(|prompts| json::text(prompts.get(0)?, &["prompt"]));
    (made.prompt, made.negative) = prompts(&made.prompt.or(listed).unwrap_or_default());
    made
}

/// `"a cat [a dog]" -s 50 -S 42 -W 512 -H 512 -C 7.5 -A k_lms`
fn of_dream(text: &str) -> Foreign {
    let text = text.trim();
    let (prompt, flags) = match text.strip_prefix('"').and_then(|text| text.rsplit_once('"')) {
        Some(quoted) => quoted,
        None => text.split_once(" -").map_or((text, ""), |(prompt, _)| text.split_at(prompt.len())),
    };
    let mut made = Foreign::new(PROGRAM);
    (made.prompt, made.negative) = prompts(prompt);
    let mut words = flags.split_whitespace();
    while let Some(word) = words.next() {
        let Some((flag, value)) = word.strip_prefix('-').and_then(|flag| flag.split_at_checked(1)) else { continue };
        // `-s50` and `-s 50` are the same.
        let value = if value.is_empty() { words.next().unwrap_or_default() } else { value };
        match flag {
            "s" => made.steps = value.parse().ok(),
            "S" => made.seed = value.parse().ok(),
            "W" => made.width = value.parse().ok(),
            "H" => made.height = value.parse().ok(),
            "C" => made.guidance_scale = value.parse().ok().filter(|x: &f64| x.is_finite()),
            "A" => made.sampler = Some(value.to_owned()),
            _ => {}
        }
    }
    made
}

/// A prompt that ends with its negative in brackets.
fn prompts(text: &str) -> (Option<String>, Option<String>) {
    let said = |text: &str| Some(text.trim().to_owned()).filter(|text| !text.is_empty());
    match text.trim_end().strip_suffix(']').and_then(|text| text.rsplit_once('[')) {
        Some((prompt, negative)) => (said(prompt), said(negative)),
        None => (said(text), None),
    }
}

#[cfg(test)]
mod tests {
    use super::super::read;
    use super::*;
    use crate::pictures::chunks::tests::{png, text};

    fn made(keyword: &str, content: &str) -> Foreign {
        read(&PngTexts::read(&png(&[text(keyword, content)])).unwrap()).unwrap().unwrap()
    }

    #[test]
    fn the_metadata_of_today_is_read() {
        let found = made(
            "invokeai_metadata",
            r#"{"generation_mode": "sdxl_img2img", "positive_prompt": "a red car", "negative_prompt": "blurry", "width": 512, "height": 640, "seed": 4711,
            "cfg_scale": 7.5, "steps": 30, "scheduler": "euler", "model": {"name": "stable-diffusion-v1-5", "base": "sd-1"}, "regions": [],
            "loras": [{"weight": 0.7}], "vae": null, "app_version": "5.4.3"}"#,
        );
        assert_eq!((found.program.as_str(), found.version.as_deref()), ("InvokeAI", Some("5.4.3")));
        assert_eq!((found.prompt.as_deref(), found.negative.as_deref()), (Some("a red car"), Some("blurry")));
        assert_eq!((found.seed, found.width, found.height, found.steps), (Some(4711), Some(512), Some(640), Some(30)));
        assert_eq!((found.guidance_scale, found.sampler.as_deref()), (Some(7.5), Some("euler")));
        assert_eq!(found.model.as_deref(), Some("stable-diffusion-v1-5"));
        assert_eq!(found.others, ["sdxl_img2img", "loras"]);
    }

    #[test]
    fn the_older_formats_are_read() {
        let json = r#"{"model": "stable diffusion", "model_weights": "sd-1.5", "app_version": "2.3.5", "image": {"prompt": [{"prompt": "a cat [a dog]",
            "weight": 1}], "steps": 50, "cfg_scale": 7.5, "width": 512, "height": 448, "seed": 42, "sampler": "k_lms"}}"#;
        let found = made("sd-metadata", json);
        assert_eq!((found.prompt.as_deref(), found.negative.as_deref()), (Some("a cat"), Some("a dog")));
        assert_eq!((found.seed, found.width, found.height), (Some(42), Some(512), Some(448)));
        assert_eq!((found.model.as_deref(), found.sampler.as_deref()), (Some("sd-1.5"), Some("k_lms")));
        for line in [
            r#""a cat [a dog]" -s 50 -S 42 -W 512 -H 448 -C 7.5 -A k_lms"#,
            "a cat [a dog] -s50 -S42 -W512 -H448 -C7.5 -Ak_lms",
        ] {
            let found = made("Dream", line);
            assert_eq!((found.prompt.as_deref(), found.negative.as_deref()), (Some("a cat"), Some("a dog")), "{line}");
            assert_eq!(
                (found.seed, found.width, found.height, found.steps),
                (Some(42), Some(512), Some(448), Some(50))
            );
            assert_eq!((found.guidance_scale, found.sampler.as_deref()), (Some(7.5), Some("k_lms")));
        }
    }

    #[test]
    fn what_is_no_json_is_told() {
        let bytes = png(&[text("invokeai_metadata", "{")]);
        assert!(read(&PngTexts::read(&bytes).unwrap()).unwrap_err().to_string().contains("invokeai_metadata"));
    }
}
