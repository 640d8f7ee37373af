//! What clients of OpenAI's protocol ask for.
//!
//! They send numbers as text, nulls and empty texts for what their users left open, and the words of other servers for the same things. What can be
//! meant in one way only is read so; what changes nothing is let pass; what cannot be done is told in [`Wanted::notes`] where the picture is still
//! the one that was asked for, and refused by its name where it is not.

use serde_json::{Map, Value};
use sinopia_layout::{Layout, limits};
use utoipa::ToSchema;

use super::super::body::{check_caption, check_chars};
use super::super::problem::Problem;
use crate::seed::{self, SeedDoc};
use crate::wire::{JobRequest, LayoutDoc, Limits, PictureFormat, Rendering, Size};

/// Pictures that are wanted. Numbers may be text; null and empty text are as if left out; other fields are refused.
#[derive(Debug, ToSchema)]
#[schema(as = ImagesRequest)]
#[expect(dead_code, reason = "describes what `Wanted::read` reads")]
pub(super) struct ImagesDoc {
    /// What the pictures show.
    prompt: String,
    /// A model that `/v1/models` lists. Where there is one only, it paints whatever the name is, and `notes` says so.
    model: Option<String>,
    /// How many, with seeds counted up.
    #[schema(minimum = 1, maximum = 10)]
    n: Option<u32>,
    /// `WIDTHxHEIGHT` in pixels, each 8 to 4096, or `auto` for the model's own. Sizes far from the model's own are painted near that and enlarged or
    /// reduced; `notes` says so. `width` and `height` stand for it too.
    #[schema(example = "512x512")]
    size: Option<String>,
    /// Whether to send pictures or where they are; both if it is left out (for models called `gpt-image…`, pictures).
    response_format: Option<ResponseFormat>,
    /// Format of the pictures.
    output_format: Option<PictureFormat>,
    /// How close a JPEG stays to the painting, 0 to 100. PNG and WebP lose nothing.
    #[schema(minimum = 0, maximum = 100)]
    output_compression: Option<u32>,
    /// Whether pictures are sent as events when they are done: `image_generation.partial_image`, `image_generation.completed`.
    stream: Option<bool>,
    /// How many unfinished pictures are sent before each, at most. With `stream`.
    #[schema(minimum = 0, maximum = 3)]
    partial_images: Option<u32>,
    /// `transparent`, `opaque` or `auto`: pictures are always opaque.
    background: Option<String>,
    /// What stands where; planned from the prompt if it is left out and the method paints layouts.
    #[schema(value_type = Option<LayoutDoc>)]
    layout: Option<Layout>,
    /// A method that `/api/options` lists.
    method: Option<String>,
    /// Where the noise of the first starts. Without it, or with -1, each call paints another picture.
    #[schema(value_type = Option<SeedDoc>)]
    seed: Option<u64>,
    /// Denoising steps. `step`, `sample_steps` and `num_inference_steps` stand for it too.
    #[schema(minimum = 1)]
    steps: Option<u32>,
    /// How strictly the picture follows the prompt, 1 to 100. `cfg_scale` stands for it too.
    #[schema(minimum = 1, maximum = 100)]
    guidance_scale: Option<f64>,
    /// A scheduler that `/api/options` lists.
    scheduler: Option<String>,
    /// Options of the method, by name.
    #[schema(value_type = Option<Object>)]
    options: Map<String, Value>,
    /// What must not be in the picture, in place of the default quality keywords. `negative` stands for it too.
    negative_prompt: Option<String>,
    /// Not looked at; `notes` says so.
    quality: Option<String>,
    /// Not looked at; `notes` says so.
    style: Option<String>,
    /// Not looked at.
    moderation: Option<String>,
    /// Not looked at.
    user: Option<String>,
}

/// How pictures come.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ToSchema)]
#[schema(rename_all = "snake_case")]
pub(super) enum ResponseFormat {
    /// In the answer, in base 64.
    B64Json,
    /// By their address on this server.
    Url,
}

/// What was asked for.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Wanted {
    /// The first picture but for its size, seed and model.
    pub(super) job: JobRequest,
    /// The model as it was named.
    pub(super) model: Option<String>,
    /// Where the noise of the first starts; nothing is anywhere.
    pub(super) seed: Option<u64>,
    /// How many pictures.
    pub(super) n: u32,
    /// Their size; nothing is the model's own.
    pub(super) size: Option<Size>,
    pub(super) format: PictureFormat,
    /// Of a JPEG.
    pub(super) quality: Option<u8>,
    /// Nothing is both.
    pub(super) response: Option<ResponseFormat>,
    /// Whether pictures are sent as events, with at most so many unfinished ones before each.
    pub(super) stream: Option<u32>,
    /// What is not as it was asked for.
    pub(super) notes: Vec<String>,
    /// Whether it changes a picture that was sent, for the names of events.
    pub(super) is_edit: bool,
}

/// Most unfinished pictures.
const MAX_PARTIAL: u32 = 3;
/// Of OpenAI and of other servers, and without any meaning for the picture.
const NOT_LOOKED_AT: [&str; 8] = [
    "user",
    "moderation",
    "metadata",
    "safety_identifier",
    "prompt_cache_key",
    "input_fidelity",
    "prompt_enhancement",
    "mode",
];

impl Wanted {
    /// Reads a request.
    pub(super) fn read(request: Map<String, Value>, limits: &Limits) -> Result<Self, Problem> {
        let mut fields = Fields(request);
        let mut notes = Vec::new();
        let prompt = fields.prompt()?;
        check_caption("prompt", &prompt, limits)?;
        let format = fields.format()?;
        let quality = fields.compression(format, &mut notes)?;
        let is_streamed = fields.boolean("stream")?.unwrap_or(false);
        let partial = fields.whole(&["partial_images"], 0, MAX_PARTIAL)?.unwrap_or(0);
        fields.background(&mut notes)?;
        fields.look_away(&mut notes);
        let wanted = Self {
            model: fields.name("model")?,
            seed: fields.seed()?,
            n: fields.whole(&["n", "batch_size"], 1, limits.images)?.unwrap_or(1),
            size: fields.size()?,
            response: fields.response_format()?,
            stream: is_streamed.then_some(partial),
            job: JobRequest {
                caption: Some(prompt),
                layout: fields.layout()?,
                method: fields.name("method")?,
                steps: fields.whole(&["steps", "step", "sample_steps", "num_inference_steps"], 1, limits.steps)?,
                guidance_scale: fields.guidance_scale()?,
                scheduler: fields.name("scheduler")?,
                options: fields.options()?,
                negative: fields.negative()?,
                ..JobRequest::default()
            },
            format,
            quality,
            notes,
            is_edit: false,
        };
        fields.refuse_others()?;
        Ok(wanted)
    }
}

/// The fields of a request that were not read yet.
struct Fields(Map<String, Value>);

impl Fields {
    /// A field that is not left open.
    fn take(&mut self, name: &str) -> Option<Value> {
        let value = self.0.shift_remove(name)?;
        let is_open = value.is_null() || value.as_str().is_some_and(|text| text.trim().is_empty());
        (!is_open).then_some(value)
    }

    /// A field that several names stand for. Clients that fill in more than one have to mean the same.
    fn take_any<T: PartialEq>(
        &mut self,
        names: &[&'static str],
        read: impl Fn(&str, &Value) -> Result<T, Problem>,
    ) -> Result<Option<T>, Problem> {
        let mut found: Option<(&str, T)> = None;
        for &name in names {
            let Some(value) = self.take(name) else { continue };
            let value = read(name, &value)?;
            match &found {
                Some((first, other)) if *other != value => {
                    return Err(Problem::bad_request(format!(
                        "`{name}` says another thing than `{first}`: send one of them"
                    )));
                }
                Some(_) => {}
                None => found = Some((name, value)),
            }
        }
        Ok(found.map(|(_, value)| value))
    }

    fn text(&mut self, name: &'static str) -> Result<Option<String>, Problem> {
        self.take(name).map(|value| text(name, &value)).transpose()
    }

    /// A text that names something, and is no longer than such a name.
    fn name(&mut self, name: &'static str) -> Result<Option<String>, Problem> {
        let text = self.text(name)?;
        check_chars(name, text.as_deref().unwrap_or_default(), limits::NAME_CHARS)?;
        Ok(text)
    }

    fn whole(&mut self, names: &[&'static str], min: u32, max: u32) -> Result<Option<u32>, Problem> {
        self.take_any(names, |name, value| {
            let number = whole(value).filter(|number| (min..=max).contains(number));
            number.ok_or_else(|| {
                Problem::bad_request(format!("`{name}` is {}; {min} to {max} are allowed", shown(value)))
            })
        })
    }

    fn boolean(&mut self, name: &'static str) -> Result<Option<bool>, Problem> {
        let read = |value: Value| match &value {
            Value::Bool(is) => Ok(*is),
            Value::String(text) if text.trim().eq_ignore_ascii_case("true") => Ok(true),
            Value::String(text) if text.trim().eq_ignore_ascii_case("false") => Ok(false),
            _ => Err(unexpected(name, &value, "true or false")),
        };
        self.take(name).map(read).transpose()
    }

    /// An empty prompt is a fault, not one that was left out.
    fn prompt(&mut self) -> Result<String, Problem> {
        match self.0.shift_remove("prompt") {
            None | Some(Value::Null) => {
                let problem = Problem::bad_request("`prompt` is missing: say what the picture shows");
                Err(problem.code("missing_required_parameter"))
            }
            Some(value) => text("prompt", &value),
        }
    }

    /// -1 is any, as for most programs that paint.
    fn seed(&mut self) -> Result<Option<u64>, Problem> {
        let Some(value) = self.take("seed") else { return Ok(None) };
        let is_any = value.as_f64() == Some(-1.0) || value.as_str().is_some_and(|text| text.trim() == "-1");
        if is_any {
            return Ok(None);
        }
        seed::read(&value)
            .map(Some)
            .ok_or_else(|| unexpected("seed", &value, &format!("{}, or -1 for any,", seed::EXPECTED)))
    }

    fn size(&mut self) -> Result<Option<Size>, Problem> {
        let as_text = self.take_any(&["size", "image_size"], |name, value| {
            let text = text(name, value)?;
            match text.trim().eq_ignore_ascii_case("auto") {
                true => Ok(None),
                false => parse_size(name, &text).map(Some),
            }
        })?;
        let (min, max) = (*Rendering::SIDES.start(), *Rendering::SIDES.end());
        let sides = (self.whole(&["width"], min, max)?, self.whole(&["height"], min, max)?);
        let as_numbers = match sides {
            (Some(width), Some(height)) => Some(Size { width, height }),
            (None, None) => None,
            (Some(_), None) => return Err(Problem::bad_request("`height` is missing: `width` alone is no size")),
            (None, Some(_)) => return Err(Problem::bad_request("`width` is missing: `height` alone is no size")),
        };
        match (as_text.flatten(), as_numbers) {
            (Some(size), Some(other)) if size != other => {
                Err(Problem::bad_request("`size` says another thing than `width` and `height`: send one of them"))
            }
            (size, other) => Ok(size.or(other)),
        }
    }

    fn format(&mut self) -> Result<PictureFormat, Problem> {
        let Some(value) = self.take("output_format") else { return Ok(PictureFormat::default()) };
        match text("output_format", &value)?.trim().to_ascii_lowercase().as_str() {
            "png" => Ok(PictureFormat::Png),
            "jpeg" | "jpg" => Ok(PictureFormat::Jpeg),
            "webp" => Ok(PictureFormat::Webp),
            _ => Err(unexpected("output_format", &value, "`png`, `jpeg` or `webp`")),
        }
    }

    /// The quality of a JPEG.
    fn compression(&mut self, format: PictureFormat, notes: &mut Vec<String>) -> Result<Option<u8>, Problem> {
        let Some(compression) = self.whole(&["output_compression"], 0, 100)? else { return Ok(None) };
        if format == PictureFormat::Jpeg {
            return Ok(Some(compression.max(1) as u8));
        }
        notes.push(format!("`output_compression` is for jpeg: {} loses nothing here", format.as_str()));
        Ok(None)
    }

    fn response_format(&mut self) -> Result<Option<ResponseFormat>, Problem> {
        let Some(value) = self.take("response_format") else { return Ok(None) };
        match text("response_format", &value)?.trim() {
            "b64_json" => Ok(Some(ResponseFormat::B64Json)),
            "url" => Ok(Some(ResponseFormat::Url)),
            _ => Err(unexpected("response_format", &value, "`b64_json` or `url`")),
        }
    }

    fn background(&mut self, notes: &mut Vec<String>) -> Result<(), Problem> {
        let Some(value) = self.take("background") else { return Ok(()) };
        match text("background", &value)?.trim() {
            "auto" | "opaque" => {}
            "transparent" => notes.push("`background` is opaque: pictures are painted to their edges".to_owned()),
            _ => return Err(unexpected("background", &value, "`transparent`, `opaque` or `auto`")),
        }
        Ok(())
    }

    /// What is let pass, with a word on what somebody may have set to see a difference.
    fn look_away(&mut self, notes: &mut Vec<String>) {
        NOT_LOOKED_AT.iter().for_each(|name| drop(self.take(name)));
        let is_usual =
            |value: &Value| value.as_str().is_some_and(|text| ["auto", "standard", "medium"].contains(&text));
        if self.take("quality").is_some_and(|value| !is_usual(&value)) {
            notes.push("`quality` is not looked at: `steps` decides".to_owned());
        }
        if self.take("style").is_some() {
            notes.push("`style` is not looked at: say it in the prompt".to_owned());
        }
    }

    fn layout(&mut self) -> Result<Option<Layout>, Problem> {
        let layout = self.take("layout").map(serde_json::from_value).transpose();
        layout.map_err(|error| Problem::bad_request(format!("`layout` cannot be read: {error}")))
    }

    fn guidance_scale(&mut self) -> Result<Option<f64>, Problem> {
        self.take_any(&["guidance_scale", "cfg_scale"], |name, value| {
            let number = number(value).filter(|number| (1.0..=100.0).contains(number));
            number.ok_or_else(|| Problem::bad_request(format!("`{name}` is {}; 1 to 100 are allowed", shown(value))))
        })
    }

    fn options(&mut self) -> Result<Map<String, Value>, Problem> {
        match self.take("options") {
            None => Ok(Map::new()),
            Some(Value::Object(options)) => Ok(options),
            Some(value) => Err(unexpected("options", &value, "an object, options of the method by name,")),
        }
    }

    /// Empty text in `negative` is meant: no quality keywords. In `negative_prompt` it is what clients send if their users say nothing.
    fn negative(&mut self) -> Result<Option<String>, Problem> {
        let is_none_at_all = self.0.get("negative").is_some_and(|value| value.as_str() == Some(""));
        let negative = self.take_any(&["negative", "negative_prompt"], text)?;
        Ok(negative.or_else(|| is_none_at_all.then(String::new)))
    }

    fn refuse_others(self) -> Result<(), Problem> {
        match self.0.into_iter().find(|(_, value)| !value.is_null()) {
            None => Ok(()),
            Some((name, _)) => {
                let message = format!("{} is no field of this request", cut(&name));
                let hint = "`/docs` lists those that are; what a method can be told goes into `options`";
                Err(Problem::bad_request(message).code("unknown_parameter").hint(hint))
            }
        }
    }
}

fn text(name: &str, value: &Value) -> Result<String, Problem> {
    value.as_str().map(str::to_owned).ok_or_else(|| unexpected(name, value, "text"))
}

pub(super) fn number(value: &Value) -> Option<f64> {
    let number = value.as_f64().or_else(|| value.as_str()?.trim().parse().ok());
    number.filter(|number| number.is_finite())
}

fn whole(value: &Value) -> Option<u32> {
    number(value)
        .filter(|number| number.fract() == 0.0 && (0.0..=f64::from(u32::MAX)).contains(number))
        .map(|number| number as u32)
}

/// `512x768`, also with the other signs that people put there.
fn parse_size(name: &str, size: &str) -> Result<Size, Problem> {
    let sides = size.trim().split_once(['x', 'X', '*', '×']);
    let sides = sides.and_then(|(width, height)| Some((width.trim().parse().ok()?, height.trim().parse().ok()?)));
    let Some((width, height)) = sides else {
        let message =
            format!("`{name}` is {}; WIDTHxHEIGHT in pixels, such as `512x512`, or `auto` is expected", cut(size));
        return Err(Problem::bad_request(message));
    };
    match Rendering::SIDES.contains(&width) && Rendering::SIDES.contains(&height) {
        true => Ok(Size { width, height }),
        false => {
            let (min, max) = (Rendering::SIDES.start(), Rendering::SIDES.end());
            Err(Problem::bad_request(format!(
                "`{name}` is {width}x{height}, out of range: {min} to {max} pixels a side"
            )))
        }
    }
}

fn unexpected(name: &str, value: &Value, expected: &str) -> Problem {
    Problem::bad_request(format!("`{name}` is {}; {expected} is expected", shown(value)))
}

/// Longest value that is repeated in a message.
const SHOWN_CHARS: usize = 60;

/// A value as messages show it.
pub(super) fn shown(value: &Value) -> String {
    match value {
        Value::String(text) => cut(text),
        Value::Array(_) => "a list".to_owned(),
        Value::Object(_) => "an object".to_owned(),
        value => value.to_string(),
    }
}

fn cut(text: &str) -> String {
    match text.chars().count() > SHOWN_CHARS {
        true => format!("`{}…`", text.chars().take(SHOWN_CHARS).collect::<String>()),
        false => format!("`{text}`"),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn read(mut fields: Value) -> Result<Wanted, Problem> {
        fields["prompt"] = json!("a red car");
        let Value::Object(fields) = fields else { unreachable!() };
        Wanted::read(fields, &Limits::default())
    }

    fn size(width: u32, height: u32) -> Option<Size> {
        Some(Size { width, height })
    }

    #[test]
    fn what_is_left_open_is_open() {
        let open = read(json!({})).unwrap();
        let nulls = json!({"size": null, "n": null, "response_format": null, "quality": null, "style": null, "user": null,
            "model": null, "seed": null, "background": null, "output_format": null, "stream": null, "layout": null, "x": null});
        let empty = json!({"size": "", "model": "", "quality": " ", "negative_prompt": "", "seed": "", "n": ""});
        let auto = json!({"size": "auto", "quality": "auto", "background": "auto", "moderation": "low", "seed": -1, "stream": false});
        for fields in [nulls, empty, auto] {
            assert_eq!(read(fields.clone()).unwrap(), open, "{fields}");
        }
        assert_eq!((open.n, open.size, open.seed, open.stream, open.format), (1, None, None, None, PictureFormat::Png));
        assert_eq!(open.job, JobRequest { caption: Some("a red car".to_owned()), ..JobRequest::default() });
    }

    #[test]
    fn numbers_may_be_text_and_other_servers_words_are_known() {
        let ours =
            read(json!({"n": 2, "size": "640x512", "steps": 4, "guidance_scale": 7.5, "negative": "blur", "seed": 7}));
        for fields in [
            json!({"n": "2", "size": "640X512", "steps": "4", "guidance_scale": "7.5", "negative": "blur", "seed": "7"}),
            json!({"n": 2.0, "size": "640*512", "step": 4, "cfg_scale": 7.5, "negative_prompt": "blur", "seed": 7.0}),
            json!({"batch_size": 2, "image_size": "640×512", "num_inference_steps": 4, "cfg_scale": 7.5,
                "negative_prompt": "blur", "seed": 7}),
            json!({"n": 2, "width": 640, "height": "512", "sample_steps": 4, "steps": 4, "cfg_scale": 7.5,
                "negative_prompt": "blur", "seed": 7}),
        ] {
            assert_eq!(read(fields.clone()), ours, "{fields}");
        }
        assert_eq!(ours.unwrap().size, size(640, 512));
        assert_eq!(read(json!({"seed": "18446744073709551615"})).unwrap().seed, Some(u64::MAX));
        assert_eq!(read(json!({"negative": ""})).unwrap().job.negative.as_deref(), Some(""));
    }

    #[test]
    fn what_is_not_as_asked_is_told() {
        let notes = |fields: Value| read(fields).unwrap().notes.join("; ");
        assert!(notes(json!({"output_format": "webp", "output_compression": 80})).contains("for jpeg"));
        assert!(notes(json!({"background": "transparent"})).contains("opaque"));
        assert!(
            notes(json!({"quality": "hd"})).contains("quality") && notes(json!({"style": "vivid"})).contains("style")
        );
        assert_eq!(notes(json!({"quality": "standard", "user": "me"})), "");
        let jpeg = read(json!({"output_format": "jpeg", "output_compression": 0})).unwrap();
        assert_eq!((jpeg.quality, jpeg.notes.len()), (Some(1), 0));
        assert_eq!(read(json!({"stream": true, "partial_images": 3})).unwrap().stream, Some(3));
        assert_eq!(read(json!({"stream": "true"})).unwrap().stream, Some(0));
    }

    #[test]
    fn what_is_wrong_is_named() {
        for (fields, name) in [
            (json!({"n": 0}), "n"),
            (json!({"n": 11}), "n"),
            (json!({"n": "two"}), "n"),
            (json!({"n": 1.5}), "n"),
            (json!({"size": "huge"}), "size"),
            (json!({"size": "7x7"}), "size"),
            (json!({"size": "5000x512"}), "size"),
            (json!({"size": "512"}), "size"),
            (json!({"size": 512}), "size"),
            (json!({"width": 512}), "height"),
            (json!({"size": "512x512", "width": 256, "height": 256}), "size"),
            (json!({"steps": 4, "step": 5}), "step"),
            (json!({"steps": 1000}), "steps"),
            (json!({"cfg_scale": 0.5}), "cfg_scale"),
            (json!({"seed": -2}), "seed"),
            (json!({"seed": "x"}), "seed"),
            (json!({"output_format": "gif"}), "output_format"),
            (json!({"output_format": "jpeg", "output_compression": 101}), "output_compression"),
            (json!({"response_format": "base64"}), "response_format"),
            (json!({"background": "green"}), "background"),
            (json!({"stream": "perhaps"}), "stream"),
            (json!({"partial_images": 4, "stream": true}), "partial_images"),
            (json!({"layout": {"canvas": 1}}), "layout"),
            (json!({"options": "fast"}), "options"),
            (json!({"image": "https://example.com/x.png"}), "image"),
            (json!({"setps": 4}), "setps"),
        ] {
            let error =
                read(fields.clone()).map(|wanted| panic!("{fields}: {wanted:?}")).unwrap_err().into_reply().error;
            assert_eq!(
                (error.param.as_deref(), error.r#type.as_str()),
                (Some(name), "invalid_request_error"),
                "{fields}"
            );
            assert!(error.message.starts_with(&format!("`{name}`")), "{}", error.message);
        }
        let missing = Wanted::read(Map::new(), &Limits::default()).unwrap_err().into_reply().error;
        assert_eq!((missing.param.as_deref(), missing.code.as_str()), (Some("prompt"), "missing_required_parameter"));
    }
}
