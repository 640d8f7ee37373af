//! NovelAI, Draw Things and Easy Diffusion.

use serde_json::{Map, Value};

use super::{Foreign, a1111, json};
use crate::pictures::Error;
use crate::pictures::chunks::PngTexts;

/// NovelAI: `Software` says so, `Comment` is JSON.
pub(super) fn novelai(png: &PngTexts<'_>) -> Result<Option<Foreign>, Error> {
    if png.text("Software")?.as_deref() != Some("NovelAI") {
        return Ok(None);
    }
    let comment = png.text("Comment")?.unwrap_or_default();
    let value: Value = json::parse(&comment).unwrap_or_default();
    let mut made = a1111::common(&value, "NovelAI");
    made.prompt = made.prompt.or(png.text("Description")?);
    made.negative = json::text(&value, &["uc"]);
    made.guidance_scale = json::number(&value, &["scale"]);
    made.model = png.text("Source")?;
    (made.width, made.height) = (made.width.or(Some(png.size.0)), made.height.or(Some(png.size.1)));
    Ok(Some(made))
}

/// Draw Things: JSON inside of XMP, `c` the prompt and `uc` the negative one.
pub(super) fn draw_things(png: &PngTexts<'_>) -> Result<Option<Foreign>, Error> {
    let Some(xmp) = png.text("XML:com.adobe.xmp")? else { return Ok(None) };
    let Some((_, comment)) = xmp.split_once("exif:UserComment") else { return Ok(None) };
    let comment = comment.split_once("exif:UserComment").map_or(comment, |(comment, _)| comment);
    let (Some(start), Some(end)) = (comment.find('{'), comment.rfind('}')) else { return Ok(None) };
    let text = without_entities(comment.get(start..=end).unwrap_or_default());
    let Ok(value) = json::parse::<Value>(&text) else { return Ok(None) };
    let Some(prompt) = json::text(&value, &["c"]) else { return Ok(None) };
    let mut made = a1111::common(&value, "Draw Things");
    made.prompt = Some(prompt);
    made.negative = json::text(&value, &["uc"]);
    made.guidance_scale = json::number(&value, &["scale"]);
    if let Some((width, height)) = json::text(&value, &["size"]).as_deref().and_then(|size| size.split_once('x')) {
        (made.width, made.height) = (width.parse().ok(), height.parse().ok());
    }
    Ok(Some(made))
}

fn without_entities(xml: &str) -> String {
    let entities = [("&quot;", "\""), ("&apos;", "'"), ("&#39;", "'"), ("&lt;", "<"), ("&gt;", ">"), ("&amp;", "&")];
    entities.iter().fold(xml.to_owned(), |text, (entity, character)| text.replace(entity, character))
}

/// Easy Diffusion: a text chunk a setting, in one of two spellings.
pub(super) fn easy_diffusion(png: &PngTexts<'_>) -> Result<Option<Foreign>, Error> {
    const MARKS: [&str; 4] =
        ["use_stable_diffusion_model", "Stable Diffusion model", "num_inference_steps", "negative_prompt"];
    const KEYS: [&str; 18] = [
        "prompt",
        "Prompt",
        "negative_prompt",
        "Negative Prompt",
        "seed",
        "Seed",
        "width",
        "Width",
        "height",
        "Height",
        "num_inference_steps",
        "Steps",
        "guidance_scale",
        "Guidance Scale",
        "sampler_name",
        "Sampler",
        "use_stable_diffusion_model",
        "Stable Diffusion model",
    ];
    if !MARKS.iter().any(|mark| png.has(mark)) {
        return Ok(None);
    }
    let mut settings = Map::new();
    for key in KEYS {
        if let Some(text) = png.text(key)? {
            settings.insert(key.to_owned(), text.into());
        }
    }
    let settings = Value::Object(settings);
    let mut made = a1111::common(&settings, "Easy Diffusion");
    made.is_weighted = true;
    made.model = json::text(&settings, &["use_stable_diffusion_model", "Stable Diffusion model"])
        .map(|path| json::file_stem(&path));
    Ok(Some(made))
}

#[cfg(test)]
mod tests {
    use super::super::read;
    use super::*;
    use crate::pictures::chunks::tests::{png, text};

    fn made(chunks: &[(&str, &str)]) -> Foreign {
        let chunks: Vec<Vec<u8>> = chunks.iter().map(|(keyword, content)| text(keyword, content)).collect();
        read(&PngTexts::read(&png(&chunks)).unwrap()).unwrap().unwrap()
    }

    #[test]
    fn three_more_programs_are_read() {
        let novel = made(&[
            ("Title", "NovelAI generated image"),
            ("Description", "a {{cat}}"),
            ("Software", "NovelAI"),
            ("Source", "NovelAI Diffusion V4 37442FCA"),
            (
                "Comment",
                r#"{"prompt": "a {{cat}}", "steps": 28, "height": 1216, "width": 832, "scale": 5.0, "seed": 99, "sampler": "k_euler", "uc": "dogs"}"#,
            ),
        ]);
        assert_eq!((novel.program.as_str(), novel.seed, novel.width), ("NovelAI", Some(99), Some(832)));
        assert_eq!((novel.negative.as_deref(), novel.guidance_scale), (Some("dogs"), Some(5.0)));
        assert_eq!(made(&[("Software", "NovelAI"), ("Description", "a cat")]).width, Some(1));

        let xmp = "<x:xmpmeta><rdf:RDF><exif:UserComment><rdf:Alt><rdf:li xml:lang=\"x-default\">{&quot;c&quot;:&quot;a cat &amp; a dog&quot;,\
                   &quot;uc&quot;:&quot;rain&quot;,&quot;seed&quot;:5,&quot;size&quot;:&quot;512x640&quot;,&quot;steps&quot;:20,&quot;scale&quot;:7.5,\
                   &quot;sampler&quot;:&quot;Euler A&quot;,&quot;model&quot;:&quot;sd_v1.5.ckpt&quot;}</rdf:li></rdf:Alt></exif:UserComment></rdf:RDF></x:xmpmeta>";
        let draw = made(&[("XML:com.adobe.xmp", xmp)]);
        assert_eq!((draw.program.as_str(), draw.prompt.as_deref()), ("Draw Things", Some("a cat & a dog")));
        assert_eq!(
            (draw.seed, draw.width, draw.height, draw.guidance_scale),
            (Some(5), Some(512), Some(640), Some(7.5))
        );

        let easy = made(&[
            ("prompt", "a cat"),
            ("negative_prompt", "dogs"),
            ("seed", "7"),
            ("width", "512"),
            ("height", "512"),
            ("num_inference_steps", "25"),
            ("guidance_scale", "7.5"),
            ("sampler_name", "euler_a"),
            ("use_stable_diffusion_model", r"C:\models\sd-v1-5.ckpt"),
        ]);
        assert_eq!((easy.program.as_str(), easy.seed, easy.steps), ("Easy Diffusion", Some(7), Some(25)));
        assert_eq!((easy.model.as_deref(), easy.prompt.as_deref()), (Some("sd-v1-5"), Some("a cat")));
    }

    #[test]
    fn other_texts_say_nothing() {
        let chunks = [
            ("Software", "GIMP"),
            ("Comment", "{}"),
            ("prompt", "hello"),
            ("XML:com.adobe.xmp", "<x/>"),
            ("Title", "t"),
        ];
        let chunks: Vec<Vec<u8>> = chunks.iter().map(|(keyword, content)| text(keyword, content)).collect();
        assert_eq!(read(&PngTexts::read(&png(&chunks)).unwrap()).unwrap(), None);
    }
}
