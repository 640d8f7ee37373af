//! OpenAI's protocol for pictures: `images/generations` and `models`.
//!
//! What it has no words for (a layout, a seed, a method) goes in fields of its own, which OpenAI's clients send as `extra_body`. `request.rs` reads what is
//! asked for, `stream.rs` sends pictures as events.

mod request;
mod stream;

use axum::Json;
use axum::extract::{FromRequest, Request, State};
use axum::response::{IntoResponse, Response};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde::Serialize;
use serde_json::{Map, Value};
use sinopia_layout::Layout;
use tokio::sync::broadcast::Receiver;
use tokio::sync::broadcast::error::RecvError;
use utoipa::ToSchema;

use super::app::App;
use super::body::{Body, Name, Raw};
use super::jobs::{accept, check_rendered, image_path, look_up, picture};
use super::problem::{ErrorReply, Problem};
use super::proxy::Called;
use crate::engine::Accepted;
use crate::events::Event;
use crate::queue::chain;
use crate::store::{Record, now_ms};
use crate::wire::{CheckRequest, Job, JobRequest, JobState, LayoutDoc, ModelDoc, PictureFormat, Rendering, Size};
use request::{ImagesDoc, ResponseFormat, Wanted};

/// Pictures.
#[derive(Debug, Clone, Serialize, ToSchema)]
pub(super) struct ImagesReply {
    /// When, in seconds since 1970.
    created: i64,
    /// The pictures.
    data: Vec<ImageReply>,
    #[serde(flatten)]
    common: Common,
}

/// What is the same for all pictures of a request.
#[derive(Debug, Clone, Serialize, ToSchema)]
#[schema(as = ImagesCommon)]
struct Common {
    /// The model that painted.
    model: String,
    /// `WIDTHxHEIGHT` of each picture.
    size: String,
    /// Format of each picture.
    output_format: PictureFormat,
    /// Always `opaque`.
    background: &'static str,
    /// What is not as it was asked for, a sentence each.
    notes: Vec<String>,
}

/// A picture.
#[derive(Debug, Clone, Serialize, ToSchema)]
pub(super) struct ImageReply {
    /// The picture in base 64.
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
    /// `seed` as text, for JavaScript, which rounds numbers above 2^53.
    seed_text: String,
    /// What whoever asked should know of it.
    warnings: Vec<String>,
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
#[utoipa::path(post, path = "/v1/images/generations", tag = "OpenAI", request_body = ImagesDoc, responses(
    (status = 200, description = "With `stream`, events of these types: `image_generation.partial_image`, `image_generation.completed`, `error`",
        content((ImagesReply = "application/json"), (String = "text/event-stream"))),
    (status = 429, description = "The queue is full; `Retry-After` says when to try again", body = ErrorReply),
    (status = "4XX", body = ErrorReply), (status = "5XX", body = ErrorReply)))]
pub(super) async fn generate(
    State(app): State<App>,
    called: Called,
    Body(request): Body<Map<String, Value>>,
) -> Result<Response, Problem> {
    let wanted = Wanted::read(request, &app.options().limits)?;
    let stream = wanted.stream;
    let (order, jobs, unfinished) = app
        .blocking(move |app| {
            let (order, accepted) = order(app, wanted, called.base())?;
            let jobs = app.queue().submit_and_listen(&accepted)?;
            // Whoever hangs up wants no picture, and may do so while this goes on: what is not finished then is cancelled.
            let unfinished = Unfinished { app: app.clone(), ids: jobs.iter().map(|(id, _)| id.clone()).collect() };
            Ok((order, jobs, unfinished))
        })
        .await?;
    match stream {
        Some(num_partial) => Ok(stream::respond(order, jobs, unfinished, num_partial)),
        None => all(&order, jobs, unfinished).await.map(|reply| Json(reply).into_response()),
    }
}

/// Waits for all pictures.
async fn all(
    order: &Order,
    jobs: Vec<(String, Receiver<Event>)>,
    mut unfinished: Unfinished,
) -> Result<ImagesReply, Problem> {
    let app = unfinished.app.clone();
    let mut data = Vec::new();
    for (id, mut ears) in jobs {
        while !is_done(&app, &id).await? {
            heard(ears.recv().await)?;
        }
        data.push(reply(&app, order, &id).await?);
        unfinished.has_ended(&id);
    }
    Ok(ImagesReply { created: now_ms() / 1000, data, common: order.common.clone() })
}

/// Changing pictures is for later; clients that offer it are told so. The body is read, so that they hear the answer.
pub(super) async fn not_yet(State(app): State<App>, request: Request) -> Problem {
    let _ = Raw::from_request(request, &app).await; // whatever it was
    Problem::not_implemented("this server paints pictures; it does not change them or make variations of them yet")
        .hint("`/v1/images/generations` paints; with `layout` things stand where they are wanted")
}

/// Whatever else has OpenAI's addresses.
pub(super) async fn no_such_route() -> Problem {
    Problem::not_found("this server has no such part of OpenAI's protocol")
        .hint("there are `/v1/images/generations` and `/v1/models`; a client's base address ends with `/v1`, once")
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
    found
        .map(Json)
        .ok_or_else(|| Problem::not_found("there is no such model; `/v1/models` lists them").code("model_not_found"))
}

fn all_models(app: &App) -> Vec<ModelReply> {
    let models = app.engine().options().models.into_iter();
    models.map(|model| ModelReply { id: model.id, object: "model", created: 0, owned_by: "sinopia" }).collect()
}

/// How the pictures of a request are sent.
#[derive(Debug, Clone)]
struct Order {
    format: PictureFormat,
    /// Says a size only where it is not the painted one.
    rendering: Rendering,
    response: Option<ResponseFormat>,
    /// This server's address, as the client calls it.
    base: String,
    /// Of each picture as it is sent.
    size: Size,
    common: Common,
}

/// A job for each picture, and how they are sent.
fn order(app: &App, wanted: Wanted, base: String) -> Result<(Order, Vec<Accepted>), Problem> {
    let Wanted { job, model: named, seed, n, size, format, quality, response, stream, mut notes } = wanted;
    let model = served_model(app, named.as_deref(), &mut notes)?;
    let limits = &app.options().limits;
    let painted = app.engine().fitting_size(Some(&model.id), size.unwrap_or(model.image_size), limits.pixels)?;
    let is_rendered = size.is_some_and(|size| size != painted);
    let size = size.unwrap_or(painted);
    check_rendered(size, limits)?;
    let is_held = stream.is_none() && response != Some(ResponseFormat::Url);
    if is_held && size.pixels().saturating_mul(u64::from(n)) > limits.answered_pixels() {
        let max = limits.answered_pixels();
        let message = format!("`n` is {n}: an answer holds {max} pixels at most");
        return Err(
            Problem::too_large(message).hint("ask for fewer or smaller pictures, with `stream`, or for addresses")
        );
    }
    if is_rendered {
        let verb = if size.pixels() >= painted.pixels() { "enlarged" } else { "reduced" };
        notes.push(format!(
            "painted at {} × {} pixels, near what the model knows, and {verb} to {} × {}",
            painted.width, painted.height, size.width, size.height
        ));
    }
    let first = match seed {
        Some(seed) => seed,
        None => any_seed()?,
    };
    if first.checked_add(u64::from(n - 1)).is_none() {
        return Err(Problem::bad_request("`seed` plus `n` goes beyond the largest seed"));
    }
    let (width, height) = (Some(painted.width), Some(painted.height));
    let job = JobRequest { model: Some(model.id.clone()), width, height, ..job };
    let of_index = |index: u32| accept(app, JobRequest { seed: Some(first + u64::from(index)), ..job.clone() });
    let accepted = (0..n).map(of_index).collect::<Result<_, _>>()?;
    let is_openai =
        named.as_deref().is_some_and(|name| name.starts_with("gpt-image") || name.starts_with("chatgpt-image"));
    let order = Order {
        format,
        rendering: Rendering {
            width: is_rendered.then_some(size.width),
            height: is_rendered.then_some(size.height),
            quality,
        },
        // OpenAI's models of that name send pictures only, and clients that ask for them look no further than an address if there is one.
        response: response.or(is_openai.then_some(ResponseFormat::B64Json)),
        base,
        size,
        common: Common {
            model: model.id,
            size: format!("{}x{}", size.width, size.height),
            output_format: format,
            background: "opaque",
            notes,
        },
    };
    Ok((order, accepted))
}

/// The model of that name, or the default. Many clients know OpenAI's names only: where one model is served, it is meant.
fn served_model(app: &App, named: Option<&str>, notes: &mut Vec<String>) -> Result<ModelDoc, Problem> {
    let mut models = app.engine().options().models;
    let index = match named {
        None => Some(0),
        Some(name) => models.iter().position(|model| model.id == name),
    };
    if let Some(index) = index.filter(|index| *index < models.len()) {
        return Ok(models.swap_remove(index));
    }
    let named = named.unwrap_or_default();
    match models.as_slice() {
        [only] => {
            notes.push(format!("there is no model `{named}` here: `{}` painted", only.id));
            Ok(only.clone())
        }
        _ => {
            let known: Vec<_> = models.iter().map(|model| model.id.as_str()).collect();
            let problem = Problem::bad_request(format!("`model`: there is no model `{named}` here"));
            Err(problem.code("model_not_found").hint(format!("there is {}", known.join(", "))))
        }
    }
}

/// Another seed for each call; short enough for every program that shows it.
fn any_seed() -> Result<u64, Problem> {
    let mut bytes = [0; 4];
    getrandom::fill(&mut bytes).map_err(|_| Problem::internal("the system does not give random numbers"))?;
    Ok(u64::from(u32::from_le_bytes(bytes)))
}

/// What was heard, if the server goes on.
fn heard(event: Result<Event, RecvError>) -> Result<Event, Problem> {
    match event {
        Ok(event) => Ok(event),
        Err(RecvError::Lagged(_)) => Ok(Event::Changed),
        Err(RecvError::Closed) => Err(Problem::unavailable("the server stops; the job goes on when it is back", None)),
    }
}

/// Whether a job is done, or why it never will be.
async fn is_done(app: &App, id: &str) -> Result<bool, Problem> {
    let wanted = id.to_owned();
    let job = app.blocking(move |app| look_up(app, &wanted)).await?;
    match job.state {
        JobState::Done => Ok(true),
        JobState::Failed => Err(failed(job)),
        JobState::Cancelled => Err(Problem::conflict("the job was cancelled")),
        JobState::Queued | JobState::Running => Ok(false),
    }
}

/// The problem of a job that failed.
fn failed(job: Job) -> Problem {
    let Some(error) = job.error else { return Problem::internal("the painting failed") };
    let problem = Problem::internal(error.message);
    match error.hint {
        Some(hint) => problem.hint(hint),
        None => problem,
    }
}

/// A picture that is done, as it was ordered.
async fn reply(app: &App, order: &Order, id: &str) -> Result<ImageReply, Problem> {
    let (order, id) = (order.clone(), id.to_owned());
    app.rendering(move |app| {
        let (record, png) = picture(app, &id)?;
        let Record { id, request, warnings, .. } = record;
        let (layout, caption) = (request.layout, request.caption.unwrap_or_default());
        let revised_prompt = match &layout {
            Some(layout) => {
                app.engine().compose(&CheckRequest { caption: None, layout: layout.clone() })?.overall_prompt
            }
            None => caption,
        };
        let seed = request.seed.unwrap_or_default();
        let sends_picture = order.response != Some(ResponseFormat::Url);
        Ok(ImageReply {
            b64_json: if sends_picture { Some(order.encoded(app, &png)?) } else { None },
            url: (order.response != Some(ResponseFormat::B64Json)).then(|| order.address(&id)),
            revised_prompt,
            layout,
            job: id,
            seed,
            seed_text: seed.to_string(),
            warnings,
        })
    })
    .await
}

impl Order {
    /// A picture in base 64.
    fn encoded(&self, app: &App, png: &[u8]) -> Result<String, Problem> {
        match self.is_as_painted() {
            true => Ok(STANDARD.encode(png)),
            false => Ok(STANDARD.encode(app.engine().render(png, self.format, &self.rendering)?)),
        }
    }

    /// Where a picture is.
    fn address(&self, id: &str) -> String {
        let Rendering { width, height, quality } = self.rendering;
        let numbers = [("width", width), ("height", height), ("quality", quality.map(u32::from))];
        let query: Vec<_> = numbers.iter().filter_map(|(name, n)| n.map(|n| format!("{name}={n}"))).collect();
        let path = image_path(id, self.format);
        match query.is_empty() {
            true => format!("{}{path}", self.base),
            false => format!("{}{path}?{}", self.base, query.join("&")),
        }
    }

    fn is_as_painted(&self) -> bool {
        self.format == PictureFormat::Png && self.rendering.size().is_none()
    }
}

/// Jobs that nobody needs once this is dropped.
struct Unfinished {
    app: App,
    ids: Vec<String>,
}

impl Unfinished {
    fn has_ended(&mut self, id: &str) {
        self.ids.retain(|other| other != id);
    }
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
                    tracing::error!(job = id, error = chain(&error), "cannot cancel");
                }
            }
        });
    }
}
