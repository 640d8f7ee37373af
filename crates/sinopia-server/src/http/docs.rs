//! The OpenAPI document, and a page that shows it without anything from elsewhere.

use axum::Router;
use axum::extract::State;
use axum::http::header::CONTENT_TYPE;
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use utoipa::OpenApi;
use utoipa::openapi::security::{Http, HttpAuthScheme, SecurityScheme};

use super::app::App;
use crate::wire::LayoutFormat;

/// What the document says before its routes.
#[derive(OpenApi)]
#[openapi(
    info(title = "Sinopia", description = "Layout-grounded image generation. Where the server has a token, everything under `/api`, `/v1` and `/metrics` needs `Authorization: Bearer TOKEN`."),
    tags(
        (name = "layouts", description = "Plan, change, check and convert layouts"),
        (name = "jobs", description = "Paintings on their way and made"),
        (name = "OpenAI", description = "The protocol of OpenAI's clients"),
        (name = "operation", description = "For those who run the server"),
    ),
    components(schemas(LayoutFormat)),
    security((), ("token" = []))
)]
struct Front;

pub(super) fn front() -> utoipa::openapi::OpenApi {
    let mut front = Front::openapi();
    let scheme = SecurityScheme::Http(Http::new(HttpAuthScheme::Bearer));
    front.components.get_or_insert_default().add_security_scheme("token", scheme);
    front
}

/// The document.
pub(super) async fn document(State(app): State<App>) -> Response {
    ([(CONTENT_TYPE, "application/json")], app.document()).into_response()
}

/// The page, its script and its style.
pub(super) fn routes() -> Router<App> {
    let file =
        |media_type: &'static str, text: &'static str| get(move || async move { ([(CONTENT_TYPE, media_type)], text) });
    Router::new()
        .route("/docs", file("text/html; charset=utf-8", include_str!("../../assets/docs.html")))
        .route("/docs/docs.js", file("text/javascript; charset=utf-8", include_str!("../../assets/docs.js")))
        .route("/docs/docs.css", file("text/css; charset=utf-8", include_str!("../../assets/docs.css")))
}
