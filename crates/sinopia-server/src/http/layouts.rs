//! Layouts: plan, change, check, repair, compose, convert, and read back from pictures.

use axum::Json;
use axum::extract::State;
use axum::http::header::CONTENT_TYPE;
use axum::response::{IntoResponse, Response};
use sinopia_layout::limits;
use sinopia_layout::media::picture_kind;

use super::app::App;
use super::body::{Body, Params, Raw, check_bytes, check_caption, check_layout};
use super::problem::{ErrorReply, Problem};
use crate::wire::{
    CheckRequest, Composed, ConvertParams, Converted, EditRequest, Findings, LayoutReply, Limits, Options, PlanReply,
    PlanRequest, RecipeAnswer, Repaired,
};

/// Most layouts to choose from.
const MAX_CANDIDATES: u32 = 8;

/// What can be asked for: methods, models, schedulers, limits.
#[utoipa::path(get, path = "/api/options", tag = "layouts", responses(
    (status = 200, body = Options),
    (status = "4XX", body = ErrorReply), (status = "5XX", body = ErrorReply)))]
pub(super) async fn options(State(app): State<App>) -> Json<Options> {
    Json(Options { limits: app.options().limits, ..app.engine().options() })
}

/// Lay out a caption.
#[utoipa::path(post, path = "/api/plan", tag = "layouts", request_body = PlanRequest, responses(
    (status = 200, body = PlanReply),
    (status = "4XX", body = ErrorReply), (status = "5XX", body = ErrorReply)))]
pub(super) async fn plan(State(app): State<App>, Body(request): Body<PlanRequest>) -> Result<Json<PlanReply>, Problem> {
    check_caption("caption", &request.caption, &app.options().limits)?;
    if let Some(candidates) = request.candidates.filter(|candidates| !(1..=MAX_CANDIDATES).contains(candidates)) {
        let message = format!("`candidates` is {candidates}; 1 to {MAX_CANDIDATES} are allowed");
        return Err(Problem::bad_request(message));
    }
    app.computing(move |app, cancellation| Ok(Json(app.engine().plan(&request, cancellation)?))).await
}

/// Change a layout as an instruction says.
#[utoipa::path(post, path = "/api/plan/edit", tag = "layouts", request_body = EditRequest, responses(
    (status = 200, body = PlanReply),
    (status = "4XX", body = ErrorReply), (status = "5XX", body = ErrorReply)))]
pub(super) async fn edit(State(app): State<App>, Body(request): Body<EditRequest>) -> Result<Json<PlanReply>, Problem> {
    let limits = &app.options().limits;
    check_caption("instruction", &request.instruction, limits)?;
    check_optional(request.caption.as_deref(), limits)?;
    check_layout(&request.layout)?;
    app.computing(move |app, cancellation| Ok(Json(app.engine().edit(&request, cancellation)?))).await
}

/// Say what is wrong with a layout.
#[utoipa::path(post, path = "/api/check", tag = "layouts", request_body = CheckRequest, responses(
    (status = 200, body = Findings),
    (status = "4XX", body = ErrorReply), (status = "5XX", body = ErrorReply)))]
pub(super) async fn check(
    State(app): State<App>,
    Body(request): Body<CheckRequest>,
) -> Result<Json<Findings>, Problem> {
    check_both(&request, &app.options().limits)?;
    app.computing(move |app, _| Ok(Json(app.engine().check(&request)?))).await
}

/// Repair a layout by the rules that need no model.
#[utoipa::path(post, path = "/api/repair", tag = "layouts", request_body = CheckRequest, responses(
    (status = 200, body = Repaired),
    (status = "4XX", body = ErrorReply), (status = "5XX", body = ErrorReply)))]
pub(super) async fn repair(
    State(app): State<App>,
    Body(request): Body<CheckRequest>,
) -> Result<Json<Repaired>, Problem> {
    check_both(&request, &app.options().limits)?;
    app.computing(move |app, _| Ok(Json(app.engine().repair(&request)?))).await
}

/// The prompts that methods make of a layout.
#[utoipa::path(post, path = "/api/compose", tag = "layouts", request_body = CheckRequest, responses(
    (status = 200, body = Composed),
    (status = "4XX", body = ErrorReply), (status = "5XX", body = ErrorReply)))]
pub(super) async fn compose(
    State(app): State<App>,
    Body(request): Body<CheckRequest>,
) -> Result<Json<Composed>, Problem> {
    check_both(&request, &app.options().limits)?;
    app.computing(move |app, _| Ok(Json(app.engine().compose(&request)?))).await
}

/// Read a layout of any format (found out from the text) and write another.
#[utoipa::path(post, path = "/api/layouts/convert", tag = "layouts", params(ConvertParams),
    request_body(content = String, content_type = "text/plain"), responses(
    (status = 200, description = "`{\"layout\": …}` for `to=sinopia`, the other format's text else", content(
        (LayoutReply = "application/json"), (String = "text/plain"), (String = "image/svg+xml"))),
    (status = "4XX", body = ErrorReply), (status = "5XX", body = ErrorReply)))]
pub(super) async fn convert(
    State(app): State<App>,
    Params(params): Params<ConvertParams>,
    Raw(bytes): Raw,
) -> Result<Response, Problem> {
    check_bytes("the layout", &bytes, limits::CONVERTED_BYTES)?;
    let converted = app.computing(move |app, _| {
        let text = std::str::from_utf8(&bytes).map_err(|_| Problem::bad_request(no_text(&bytes)))?;
        Ok(app.engine().convert(text, params.to)?)
    });
    Ok(match converted.await? {
        Converted::Layout(reply) => Json(reply).into_response(),
        Converted::Text { text, media_type } => ([(CONTENT_TYPE, media_type)], text).into_response(),
    })
}

/// How a picture was made, here or by another program.
#[utoipa::path(post, path = "/api/recipe", tag = "layouts",
    request_body(content = Vec<u8>, content_type = "application/octet-stream"), responses(
    (status = 200, body = RecipeAnswer),
    (status = "4XX", body = ErrorReply), (status = "5XX", body = ErrorReply)))]
pub(super) async fn recipe(State(app): State<App>, Raw(png): Raw) -> Result<Json<RecipeAnswer>, Problem> {
    app.computing(move |app, _| Ok(Json(app.engine().recipe(&png)?))).await
}

/// Why bytes that are no text are no layout.
fn no_text(bytes: &[u8]) -> String {
    match picture_kind(bytes) {
        Some(kind) => format!("this is a {kind} picture, not a layout; `/api/recipe` reads how a PNG was made"),
        None => "the layout is not text in UTF-8".to_owned(),
    }
}

fn check_both(request: &CheckRequest, limits: &Limits) -> Result<(), Problem> {
    check_optional(request.caption.as_deref(), limits)?;
    check_layout(&request.layout)
}

fn check_optional(caption: Option<&str>, limits: &Limits) -> Result<(), Problem> {
    caption.map_or(Ok(()), |caption| check_caption("caption", caption, limits))
}
