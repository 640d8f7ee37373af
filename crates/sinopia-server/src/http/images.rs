//! OpenAI's protocol for pictures: `images/generations` and `models`.
//!
//! What it has no words for (a layout, a seed, a method) goes in fields of its own, which OpenAI's clients send as `extra_body`.

use axum::Json;
use axum::extract::State;
use axum::http::{HeaderMap, header};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use sinopia_layout::Layout;
use tokio::sync::broadcast::error::RecvError;
use utoipa::ToSchema;

use super::app::App;
use super::body::{Body, Name};
use super::jobs::{accept, image_path, look_up, picture};
use super::problem::{ErrorReply, Problem};
use crate::engine::Accepted;
use crate::store::{Record, now_ms};
use crate::wire::{CheckRequest, Job, JobRequest, JobState, LayoutDoc};

/// Pictures that are wanted.
#[derive(Debug, Clone, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct ImagesRequest {
    /// What the pictures show.
    prompt: String,
    /// A model that `/v1/models` lists.
    #[serde(default)]
    model: Option<String>,
    /// How many, with seeds counted up.
    #[schema(minimum = 1)]
    #[serde(default)]
    n: Option<u32>,
    /// `WIDTHxHEIGHT` in pixels, multiples of 8, or `auto` for the model's own.
    #[serde(default)]
    size: Option<String>,
    /// Whether to send pictures or where they are; both if it is left out.
    #[serde(default)]
    response_format: Option<ResponseFormat>,
    /// `png` is all there is.
    #[serde(default)]
    output_format: Option<OutputFormat>,
    /// What stands where; planned from the prompt if it is left out and the method paints layouts.
    #[schema(value_type = Option<LayoutDoc>)]
    #[serde(default)]
    layout: Option<Layout>,
    /// A method that `/api/options` lists.
    #[serde(default)]
    method: Option<String>,
    /// Where the noise of the first starts.
    #[serde(default)]
    seed: Option<u64>,
    /// Denoising steps.
    #[schema(minimum = 1)]
    #[serde(default)]
    steps: Option<u32>,
    /// How strictly the picture follows the prompt.
    #[serde(default)]
    guidance_scale: Option<f64>,
    /// A scheduler that `/api/options` lists.
    #[serde(default)]
    scheduler: Option<String>,
    /// Options of the method, by name.
    #[schema(value_type = Object)]
    #[serde(default)]
    options: Map<String, Value>,
    /// What must not be in the picture, in place of the default quality keywords.
    #[serde(default)]
    negative: Option<String>,
    /// Accepted and not looked at.
    #[serde(default)]
    #[schema(value_type = Option<String>)]
    #[expect(dead_code, reason = "OpenAI's clients may send it")]
    quality: Option<Value>,
    /// Accepted and not looked at.
    #[serde(default)]
    #[schema(value_type = Option<String>)]
    #[expect(dead_code, reason = "OpenAI's clients may send it")]
    style: Option<Value>,
    /// Accepted and not looked at.
    #[serde(default)]
    #[schema(value_type = Option<String>)]
    #[expect(dead_code, reason = "OpenAI's clients may send it")]
    user: Option<Value>,
}

/// How pictures come.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
enum ResponseFormat {
    /// In the answer, in base 64.
    B64Json,
    /// By their address on this server.
    Url,
}

/// Formats of pictures.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, ToSchema)]
#[serde(rename_all = "lowercase")]
enum OutputFormat {
    /// PNG, with the recipe in it.
    Png,
}

/// Pictures.
#[derive(Debug, Clone, Serialize, ToSchema)]
pub(super) struct ImagesReply {
    /// When, in seconds since 1970.
    created: i64,
    /// The pictures.
    data: Vec<ImageReply>,
}

/// A picture.
#[derive(Debug, Clone, Serialize, ToSchema)]
pub(super) struct ImageReply {
    /// The PNG in base 64.
    #[serde(skip_serializing_if = "Option::is_none")]
    b64_json: Option<String>,
    /// Where it is. It takes the token where one is configured.
    #[serde(skip_serializing_if = "Option::is_none")]
    url: Option<String>,
    /// What the model was told.
    revised_prompt: String,
    /// What was to stand where.
    #[schema(value_type = Option<LayoutDoc>)]
    layout: Option<Layout>,
    /// The job that it is kept as.
    job: String,
    /// Where its noise started.
    seed: u64,
}

/// The models.
#[derive(Debug, Clone, Serialize, ToSchema)]
pub(super) struct ModelsReply {
    /// Always `list`.
    object: &'static str,
    /// The models.
    data: Vec<ModelReply>,
}

/// A model.
#[derive(Debug, Clone, Serialize, ToSchema)]
pub(super) struct ModelReply {
    /// Its name.
    id: String,
    /// Always `model`.
    object: &'static str,
    /// Unknown, so 0.
    created: i64,
    /// Whoever runs the server.
    owned_by: &'static str,
}

/// Paint pictures and wait for them (OpenAI's protocol).
#[utoipa::path(post, path = "/v1/images/generations", tag = "OpenAI", request_body = ImagesRequest, responses(
    (status = 200, body = ImagesReply),
    (status = 429, description = "The queue is full; `Retry-After` says when to try again", body = ErrorReply),
    (status = "4XX", body = ErrorReply), (status = "5XX", body = ErrorReply)))]
pub(super) async fn generate(
    State(app): State<App>,
    headers: HeaderMap,
    Body(request): Body<ImagesRequest>,
) -> Result<Json<ImagesReply>, Problem> {
    let format = request.response_format;
    let ids = app.blocking(move |app| Ok(app.queue().submit(&jobs(app, request)?)?)).await?;
    // Whoever hangs up wants no picture: what is not finished then is cancelled.
    let mut unfinished = Unfinished { app: app.clone(), ids: ids.clone() };
    let base = base_url(&headers);
    let mut data = Vec::new();
    for id in ids {
        wait_for(&app, &id).await?;
        let image = app.blocking({
            let (id, base) = (id.clone(), base.clone());
            move |app| reply(app, picture(app, &id)?, format, &base)
        });
        data.push(image.await?);
        unfinished.ids.retain(|other| *other != id);
    }
    Ok(Json(ImagesReply { created: now_ms() / 1000, data }))
}

/// The models that can paint (OpenAI's protocol).
#[utoipa::path(get, path = "/v1/models", tag = "OpenAI", responses(
    (status = 200, body = ModelsReply),
    (status = "4XX", body = ErrorReply), (status = "5XX", body = ErrorReply)))]
pub(super) async fn models(State(app): State<App>) -> Json<ModelsReply> {
    Json(ModelsReply { object: "list", data: all_models(&app) })
}

/// A model (OpenAI's protocol).
#[utoipa::path(get, path = "/v1/models/{id}", tag = "OpenAI", params(("id" = String, Path)), responses(
    (status = 200, body = ModelReply),
    (status = "4XX", body = ErrorReply), (status = "5XX", body = ErrorReply)))]
pub(super) async fn model(State(app): State<App>, Name(id): Name) -> Result<Json<ModelReply>, Problem> {
    let found = all_models(&app).into_iter().find(|model| model.id == id);
    found.map(Json).ok_or_else(|| Problem::not_found("there is no such model; `/v1/models` lists them"))
}

fn all_models(app: &App) -> Vec<ModelReply> {
    let models = app.engine().options().models.into_iter();
    models.map(|model| ModelReply { id: model.id, object: "model", created: 0, owned_by: "sinopia" }).collect()
}

/// A job for each picture.
fn jobs(app: &App, request: ImagesRequest) -> Result<Vec<Accepted>, Problem> {
    let limits = &app.options().limits;
    let n = request.n.unwrap_or(1);
    if !(1..=limits.images).contains(&n) {
        return Err(Problem::bad_request(format!("`n` is {n}; 1 to {} are allowed", limits.images)));
    }
    let _only_png: Option<OutputFormat> = request.output_format;
    let size = match request.size.as_deref() {
        None | Some("auto") => None,
        Some(size) => Some(parse_size(size)?),
    };
    let job = JobRequest {
        caption: Some(request.prompt),
        layout: request.layout,
        method: request.method,
        model: request.model,
        steps: request.steps,
        guidance_scale: request.guidance_scale,
        scheduler: request.scheduler,
        options: request.options,
        negative: request.negative,
        width: size.map(|(width, _)| width),
        height: size.map(|(_, height)| height),
        ..JobRequest::default()
    };
    let first = request.seed.unwrap_or(0);
    if first.checked_add(u64::from(n - 1)).is_none() {
        return Err(Problem::bad_request("`seed` plus `n` goes beyond the largest seed"));
    }
    (0..n).map(|index| accept(app, JobRequest { seed: Some(first + u64::from(index)), ..job.clone() })).collect()
}

fn parse_size(size: &str) -> Result<(u32, u32), Problem> {
    let sides = size.split_once('x').and_then(|(width, height)| Some((width.parse().ok()?, height.parse().ok()?)));
    sides.ok_or_else(|| Problem::bad_request("`size` is WIDTHxHEIGHT in pixels, such as `512x512`, or `auto`"))
}

/// Waits until a job is done.
async fn wait_for(app: &App, id: &str) -> Result<(), Problem> {
    let mut ears = app.hub().listen(id);
    loop {
        let wanted = id.to_owned();
        let job = app.blocking(move |app| look_up(app, &wanted)).await?;
        match job.state {
            JobState::Done => return Ok(()),
            JobState::Failed => return Err(failed(job)),
            JobState::Cancelled => return Err(Problem::conflict("the job was cancelled")),
            JobState::Queued | JobState::Running => {}
        }
        if let Err(RecvError::Closed) = ears.recv().await {
            return Err(Problem::unavailable("the server stops; the job goes on when it is back", None));
        }
    }
}

fn failed(job: Job) -> Problem {
    let Some(error) = job.error else { return Problem::internal("the painting failed") };
    let problem = Problem::internal(error.message);
    match error.hint {
        Some(hint) => problem.hint(hint),
        None => problem,
    }
}

fn reply(
    app: &App,
    (record, png): (Record, Vec<u8>),
    format: Option<ResponseFormat>,
    base: &str,
) -> Result<ImageReply, Problem> {
    let (layout, caption) = (record.request.layout, record.request.caption.unwrap_or_default());
    let revised_prompt = match &layout {
        Some(layout) => app.engine().compose(&CheckRequest { caption: None, layout: layout.clone() })?.overall_prompt,
        None => caption,
    };
    Ok(ImageReply {
        b64_json: (format != Some(ResponseFormat::Url)).then(|| STANDARD.encode(&png)),
        url: (format != Some(ResponseFormat::B64Json)).then(|| format!("{base}{}", image_path(&record.id))),
        revised_prompt,
        layout,
        job: record.id,
        seed: record.request.seed.unwrap_or_default(),
    })
}

/// This server as the client calls it.
fn base_url(headers: &HeaderMap) -> String {
    let header = |name| headers.get(name).and_then(|value| value.to_str().ok());
    let host = header(header::HOST).unwrap_or("localhost");
    format!("http://{host}")
}

/// Jobs that nobody needs once this is dropped.
struct Unfinished {
    app: App,
    ids: Vec<String>,
}

impl Drop for Unfinished {
    fn drop(&mut self) {
        let ids = std::mem::take(&mut self.ids);
        if ids.is_empty() {
            return;
        }
        let queue = self.app.queue().clone();
        // Dropping may happen on a thread that must not wait for a disk.
        tokio::task::spawn_blocking(move || {
            for id in ids {
                if let Err(error) = queue.cancel(&id) {
                    tracing::error!(job = id, error = crate::queue::chain(&error), "cannot cancel");
                }
            }
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_are_two_numbers() {
        assert_eq!(parse_size("512x768"), Ok((512, 768)));
        for size in ["512", "x", "512×512", "-1x8", "1024x1024x1024"] {
            assert!(parse_size(size).is_err(), "{size}");
        }
    }
}
