//! The server as clients meet it: one file a topic. A handler reads, calls, and maps the error.

mod app;
mod body;
mod docs;
mod guard;
mod health;
mod images;
mod jobs;
mod layouts;
mod multipart;
mod pages;
mod problem;
mod proxy;
mod record;
mod uploads;

pub(crate) use app::App;
pub(crate) use proxy::Peer;

use axum::Router;
use axum::middleware::{from_fn, from_fn_with_state};
use tower_http::catch_panic::CatchPanicLayer;
use tower_http::timeout::RequestBodyTimeoutLayer;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use problem::Problem;

/// Everything that can be asked, and the document that says so.
pub(crate) fn router(app: App) -> Router {
    let (router, document) = api().split_for_parts();
    let app = app.with_document(&document);
    let pause_timeout = app.options().pause_timeout;
    router
        .route("/openapi.json", axum::routing::get(docs::document))
        .route("/v1/images/variations", axum::routing::post(images::no_variations))
        .route("/v1/{*path}", axum::routing::any(images::no_such_route))
        .route("/images/generations", axum::routing::any(images::no_such_route))
        .merge(docs::routes())
        .merge(pages::routes())
        .fallback(pages::anything_else)
        .method_not_allowed_fallback(|| async { Problem::method_not_allowed() })
        .with_state(app.clone())
        .layer(RequestBodyTimeoutLayer::new(pause_timeout))
        .layer(CatchPanicLayer::custom(problem::of_panic))
        .layer(from_fn_with_state(app.clone(), guard::guard))
        .layer(from_fn(guard::headers))
        .layer(from_fn_with_state(app, record::record))
}

/// The routes that the OpenAPI document describes.
pub(crate) fn api() -> OpenApiRouter<App> {
    OpenApiRouter::with_openapi(docs::front())
        .routes(routes!(layouts::options))
        .routes(routes!(layouts::plan))
        .routes(routes!(layouts::edit))
        .routes(routes!(layouts::check))
        .routes(routes!(layouts::repair))
        .routes(routes!(layouts::compose))
        .routes(routes!(layouts::convert))
        .routes(routes!(layouts::recipe))
        .routes(routes!(jobs::create, jobs::list))
        .routes(routes!(jobs::get, jobs::delete))
        .routes(routes!(jobs::cancel))
        .routes(routes!(jobs::events))
        .routes(routes!(jobs::image))
        .routes(routes!(jobs::image_jpeg))
        .routes(routes!(jobs::image_webp))
        .routes(routes!(jobs::attempt))
        .routes(routes!(jobs::decide))
        .routes(routes!(jobs::evaluate))
        .routes(routes!(uploads::upload))
        .routes(routes!(uploads::forget_upload))
        .routes(routes!(images::generate))
        .routes(routes!(images::change))
        .routes(routes!(images::models))
        .routes(routes!(images::model))
        .routes(routes!(health::alive))
        .routes(routes!(health::ready))
        .routes(routes!(health::metrics))
}
