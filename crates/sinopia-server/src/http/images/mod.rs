//! OpenAI's protocol for pictures: `images/generations`, `images/edits` and `models`.
//!
//! What it has no words for (a layout, a seed, a method) goes in fields of its own, which OpenAI's clients send as `extra_body`. `request.rs` reads what is
//! asked for, `form.rs` the form of an edit with its pictures, `order.rs` makes jobs of it, `stream.rs` sends pictures as events.

mod form;
mod order;
mod request;
mod stream;

use axum::Json;
use axum::extract::{FromRequest, Request, State};
use axum::response::{IntoResponse, Response};
use serde::Serialize;
use serde_json::{Map, Value};
use utoipa::ToSchema;

use super::app::App;
use super::body::{Body, Name, Raw};
use super::problem::{ErrorReply, Problem};
use super::proxy::Called;
use crate::queue::Queued;
use crate::store::now_ms;
use form::{EditsDoc, Form};
use order::{Common, ImageReply, Order, Unfinished, is_done, next_event, order, reply};
use request::{ImagesDoc, Wanted};
use stream::Sending;

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
    answer(app.blocking(move |app| queue(app, wanted, called)).await?).await
}

/// Paint pictures that begin with one that is sent, and wait for them (OpenAI's protocol). Where the mask is transparent they are painted anew, and everything else
/// stays; without a mask all of it may change.
#[utoipa::path(post, path = "/v1/images/edits", tag = "OpenAI",
    request_body(content = EditsDoc, content_type = "multipart/form-data"), responses(
    (status = 200, description = "With `stream`, events of these types: `image_edit.partial_image`, `image_edit.completed`, `error`",
        content((ImagesReply = "application/json"), (String = "text/event-stream"))),
    (status = 429, description = "The queue is full; `Retry-After` says when to try again", body = ErrorReply),
    (status = "4XX", body = ErrorReply), (status = "5XX", body = ErrorReply)))]
pub(super) async fn change(State(app): State<App>, called: Called, form: Form) -> Result<Response, Problem> {
    let (wanted, kept) = app.decoding(1, move |app| form.read(app)).await?;
    let places = wanted.n as usize;
    let queued = app.decoding(places, move |app| queue(app, wanted, called)).await?;
    kept.are_used();
    answer(queued).await
}

/// What was queued for a request.
struct Answering {
    order: Order,
    jobs: Vec<Queued>,
    unfinished: Unfinished,
}

/// Queues what is wanted.
fn queue(app: &App, wanted: Wanted, called: Called) -> Result<Answering, Problem> {
    let (order, accepted) = order(app, wanted, called.base())?;
    let jobs = app.queue().submit(&accepted)?;
    // Whoever hangs up wants no picture, and may do so while this goes on: what is not finished then is cancelled.
    let unfinished = Unfinished::new(app, &jobs);
    Ok(Answering { order, jobs, unfinished })
}

/// Answers with the pictures, or with events as they come.
async fn answer(Answering { order, jobs, unfinished }: Answering) -> Result<Response, Problem> {
    match order.stream {
        Some(num_partial) => Ok(Sending { order, unfinished, num_partial }.respond(jobs)),
        None => all(&order, jobs, unfinished).await.map(|reply| Json(reply).into_response()),
    }
}

/// Waits for all pictures.
async fn all(order: &Order, jobs: Vec<Queued>, mut unfinished: Unfinished) -> Result<ImagesReply, Problem> {
    let app = unfinished.app.clone();
    let mut data = Vec::new();
    for Queued { id, mut events } in jobs {
        while !is_done(&app, &id).await? {
            next_event(events.recv().await)?;
        }
        data.push(reply(&app, order, &id).await?);
        unfinished.has_ended(&id);
    }
    Ok(ImagesReply { created: now_ms() / 1000, data, common: order.common.clone() })
}

/// There are no variations: without a prompt nothing says what to paint. Clients that offer them are told so. The body is read, so that they hear the answer.
pub(super) async fn no_variations(State(app): State<App>, request: Request) -> Problem {
    let _ = Raw::from_request(request, &app).await; // whatever it was
    Problem::not_implemented("this server makes no variations of pictures: it has to be told what they show")
        .hint("`/v1/images/edits` with a prompt and without a mask paints a picture like the one that is sent")
}

/// Whatever else has OpenAI's addresses.
pub(super) async fn no_such_route() -> Problem {
    Problem::not_found("this server has no such part of OpenAI's protocol")
        .hint("there are `/v1/images/generations`, `/v1/images/edits` and `/v1/models`; a client's base address ends with `/v1`, once")
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
