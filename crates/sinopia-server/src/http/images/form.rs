//! The form of an edit: pictures and what to make of them.

use axum::body::Bytes;
use axum::extract::{FromRequest, Request};
use axum::http::header::CONTENT_TYPE;
use serde_json::{Map, Value};
use sinopia_layout::limits;
use utoipa::ToSchema;

use super::super::app::App;
use super::super::body::{Raw, check_bytes, check_strength};
use super::super::multipart::{self, Part};
use super::super::problem::Problem;
use super::super::uploads::{keep, take_in};
use super::request::{ResponseFormat, Wanted, number, shown};
use crate::engine::TakenIn;
use crate::wire::{InitImage, JobRequest, PictureFormat, Rendering, Size};

/// A picture that is to be changed. Beside these fields all those of `/v1/images/generations` may be there, `layout` and `options` as JSON.
#[derive(Debug, ToSchema)]
#[schema(as = EditsRequest)]
#[expect(dead_code, reason = "describes what `Form::read` reads")]
pub(super) struct EditsDoc {
    /// The picture, a PNG, JPEG or WebP; `image[]` stands for it too.
    #[schema(value_type = String, format = Binary)]
    image: Vec<u8>,
    /// A picture that is transparent where the first is to be painted anew. Without it the transparent pixels of the first one are, and all of it if it has none.
    #[schema(value_type = Option<String>, format = Binary)]
    mask: Option<Vec<u8>>,
    /// What the picture shows when it is changed.
    prompt: String,
    /// How far what changes may go from what was there, 0 to 1.
    #[schema(minimum = 0, maximum = 1)]
    strength: Option<f64>,
    /// A model that `/v1/models` lists.
    model: Option<String>,
    /// How many, with seeds counted up.
    #[schema(minimum = 1, maximum = 10)]
    n: Option<u32>,
    /// `WIDTHxHEIGHT` in pixels; by default that of the picture.
    size: Option<String>,
    /// Whether to send pictures or where they are.
    response_format: Option<ResponseFormat>,
    /// Format of the pictures.
    output_format: Option<PictureFormat>,
    /// Whether pictures are sent as events when they are done.
    stream: Option<bool>,
}

/// The body of an edit.
pub(in crate::http) struct Form {
    media_type: String,
    body: Bytes,
}

impl FromRequest<App> for Form {
    type Rejection = Problem;

    async fn from_request(request: Request, app: &App) -> Result<Self, Problem> {
        let media_type = request.headers().get(CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or_default();
        let media_type = media_type.to_owned();
        let Raw(body) = Raw::from_request(request, app).await?;
        Ok(Self { media_type, body })
    }
}

impl Form {
    /// What is wanted. The pictures are kept as if they had been uploaded, until it is clear that no job will begin with them.
    pub(super) fn read(self, app: &App) -> Result<(Wanted, Kept), Problem> {
        let Fields { image, mask, strength, others } = Fields::new(multipart::parse(&self.media_type, &self.body)?)?;
        let mut wanted = Wanted::read(others, &app.options().limits)?;
        let image = take_in(app, &image)?;
        let mask = mask.map(|mask| read_mask(app, &mask)).transpose()?;
        wanted.size = wanted.size.or_else(|| Some(sendable(image.size, app.options().limits.rendered_pixels())));
        if wanted.job.layout.is_none() && wanted.job.method.is_none() {
            // The prompt says what the whole picture shows: nothing has to be laid out for that.
            let methods = app.engine().options().methods.into_iter();
            wanted.job.method = methods.filter(|method| !method.needs_layout).map(|method| method.name).next();
        }
        let mut kept = Kept { app: app.clone(), ids: Vec::new() };
        let image_id = kept.add(&image)?;
        let mask = match mask {
            Some(mask) => Some(kept.add(&mask)?),
            None => image.is_transparent.then(|| image_id.clone()),
        };
        // What is painted anew is to be all new, as OpenAI's is.
        let strength = strength.or(mask.is_some().then_some(1.0));
        let init = Some(InitImage { image: image_id, strength, mask });
        Ok((Wanted { job: JobRequest { init, ..wanted.job }, is_edit: true, ..wanted }, kept))
    }
}

/// Pictures of a form that are deleted when this is dropped, unless jobs begin with them.
pub(super) struct Kept {
    app: App,
    ids: Vec<String>,
}

impl Kept {
    fn add(&mut self, picture: &TakenIn) -> Result<String, Problem> {
        let id = keep(&self.app, picture)?.id;
        self.ids.push(id.clone());
        Ok(id)
    }

    /// Jobs begin with them: they stay as long as uploads do.
    pub(super) fn are_used(mut self) {
        self.ids.clear();
    }
}

impl Drop for Kept {
    fn drop(&mut self) {
        let ids = std::mem::take(&mut self.ids);
        if ids.is_empty() {
            return;
        }
        let app = self.app.clone();
        // Dropping may happen on a thread that must not wait for a disk.
        tokio::task::spawn_blocking(move || {
            for id in ids {
                if let Err(error) = app.store().delete_upload(&id) {
                    tracing::warn!(
                        error = error.with_causes(),
                        "cannot delete the picture of a form; it goes in a day"
                    );
                }
            }
        });
    }
}

/// A mask, which has to say something.
fn read_mask(app: &App, bytes: &[u8]) -> Result<TakenIn, Problem> {
    let mask = take_in(app, bytes)?;
    match mask.is_transparent {
        true => Ok(mask),
        false => Err(Problem::bad_request("`mask` has no transparent pixels: nothing would be painted anew")
            .hint("make it transparent where the picture is to change; without a mask all of it may")),
    }
}

/// The size in which a picture is sent back that is changed: as it came, or where it is larger than what is sent, as large as may be in its shape.
fn sendable(size: Size, max_pixels: u64) -> Size {
    let (min, max) = (*Rendering::SIDES.start(), *Rendering::SIDES.end());
    let longest = f64::from(size.width.max(size.height));
    let scale = (f64::from(max) / longest).min((max_pixels as f64 / size.pixels() as f64).sqrt()).min(1.0);
    let side = |side: u32| ((f64::from(side) * scale) as u32).clamp(min, max);
    Size { width: side(size.width), height: side(size.height) }
}

/// What a form has.
struct Fields {
    image: Bytes,
    mask: Option<Bytes>,
    strength: Option<f64>,
    /// Those that `/v1/images/generations` has too.
    others: Map<String, Value>,
}

impl Fields {
    fn new(parts: Vec<Part>) -> Result<Self, Problem> {
        let (mut image, mut mask, mut strength, mut others) = (None, None, None, Map::new());
        for Part { name, is_file, bytes } in parts {
            match name.as_str() {
                "image" | "image[]" | "images[]" => {
                    if image.replace(bytes).is_some() {
                        let problem = Problem::bad_request("`image` is there more than once: one picture is changed");
                        return Err(problem.hint("several pictures are not made into one here"));
                    }
                }
                "mask" => mask = Some(bytes).filter(|bytes| !bytes.is_empty()),
                _ if is_file => {
                    return Err(Problem::bad_request(format!("`{name}` is a file, which is not looked at")));
                }
                "strength" => strength = Some(read_strength(&text(&name, &bytes)?)?),
                "layout" | "options" => {
                    check_bytes(&format!("`{name}`"), &bytes, limits::REQUEST_BYTES)?;
                    let read = serde_json::from_slice(&bytes);
                    let value = read.map_err(|error| Problem::bad_request(format!("`{name}` is no JSON: {error}")))?;
                    others.insert(name, value);
                }
                _ => {
                    let value = text(&name, &bytes)?;
                    others.insert(name, value);
                }
            }
        }
        let Some(image) = image else {
            let problem = Problem::bad_request("`image` is missing: send the picture that is to be changed");
            return Err(problem.code("missing_required_parameter"));
        };
        Ok(Self { image, mask, strength, others })
    }
}

fn text(name: &str, bytes: &[u8]) -> Result<Value, Problem> {
    let text = std::str::from_utf8(bytes);
    text.map(Value::from).map_err(|_| Problem::bad_request(format!("`{name}` is not text in UTF-8")))
}

fn read_strength(value: &Value) -> Result<f64, Problem> {
    let unreadable = || Problem::bad_request(format!("`strength` is {}; a number is expected", shown(value)));
    let strength = number(value).ok_or_else(unreadable)?;
    check_strength(strength)?;
    Ok(strength)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn part(name: &str, is_file: bool, text: &str) -> Part {
        Part { name: name.to_owned(), is_file, bytes: Bytes::copy_from_slice(text.as_bytes()) }
    }

    #[test]
    fn fields_are_told_from_pictures() {
        let parts = vec![
            part("image[]", true, "png"),
            part("mask", true, ""),
            part("prompt", false, "a hat"),
            part("n", false, "2"),
            part("strength", false, "0.5"),
            part("options", false, "{\"a\": 1}"),
        ];
        let Fields { image, mask, strength, others } = Fields::new(parts).unwrap_or_else(|_| panic!("it is a form"));
        assert_eq!((&image[..], mask, strength), (&b"png"[..], None, Some(0.5)));
        assert_eq!(Value::Object(others), serde_json::json!({"prompt": "a hat", "n": "2", "options": {"a": 1}}));
    }

    #[test]
    fn pictures_are_sent_back_in_their_shape() {
        let size = |width, height| Size { width, height };
        for (came, sent) in [
            (size(128, 96), size(128, 96)),
            (size(6000, 4000), size(2508, 1672)),
            (size(20_000, 1000), size(4096, 204)),
            (size(4, 4), size(8, 8)),
        ] {
            assert_eq!(sendable(came, 2048 * 2048), sent, "{came:?}");
        }
        assert!(sendable(size(6000, 4000), 1_000_000).pixels() <= 1_000_000);
    }

    #[test]
    fn what_is_wrong_with_a_form_is_named() {
        let image = || part("image", true, "png");
        for (parts, param) in [
            (vec![part("prompt", false, "a hat")], "image"),
            (vec![image(), image()], "image"),
            (vec![image(), part("strength", false, "2")], "strength"),
            (vec![image(), part("strength", false, "")], "strength"),
            (vec![image(), part("layout", false, "{")], "layout"),
            (vec![image(), part("prompt", true, "a hat")], "prompt"),
        ] {
            let Err(problem) = Fields::new(parts) else { panic!("{param}") };
            assert_eq!(problem.into_reply().error.param.as_deref(), Some(param));
        }
    }
}
