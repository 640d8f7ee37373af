//! Whether the server lives, whether it can paint, and what it has counted.

use std::time::Duration;

use axum::Json;
use axum::extract::State;
use axum::http::header::CONTENT_TYPE;
use axum::response::{IntoResponse, Response};
use serde::Serialize;
use utoipa::ToSchema;

use super::app::App;
use super::problem::{ErrorReply, Problem};

/// Anybody may ask whether the server is ready, and as often as they like: the disk is tried no more often than this.
const ROOM_AGE: Duration = Duration::from_secs(1);

/// How the server is.
#[derive(Debug, Clone, Serialize, ToSchema)]
pub(super) struct Health {
    /// Always `ok`; else the answer is an error.
    status: &'static str,
}

/// Whether the server lives.
#[utoipa::path(get, path = "/healthz", tag = "operation", responses(
    (status = 200, body = Health), (status = "4XX", body = ErrorReply), (status = "5XX", body = ErrorReply)))]
pub(super) async fn alive() -> Json<Health> {
    Json(Health { status: "ok" })
}

/// Whether it can paint: its record can be read, there is room on its disk, its models are there.
#[utoipa::path(get, path = "/readyz", tag = "operation", responses(
    (status = 200, body = Health), (status = "4XX", body = ErrorReply), (status = "5XX", body = ErrorReply)))]
pub(super) async fn ready(State(app): State<App>) -> Result<Json<Health>, Problem> {
    app.blocking(|app| {
        app.store().jobs().is_alive()?;
        match app.store().artefacts().had_room(ROOM_AGE) {
            Err(error) if error.is_disk_full() => {
                return Err(Problem::unavailable("disk full: nothing is painted until there is room", None));
            }
            Err(error) => return Err(error.into()),
            Ok(()) => {}
        }
        app.engine().is_ready().map_err(|refusal| Problem::unavailable(refusal.message, None))?;
        Ok(Json(Health { status: "ok" }))
    })
    .await
}

/// What was counted, for Prometheus.
#[utoipa::path(get, path = "/metrics", tag = "operation", responses(
    (status = 200, body = String, content_type = "application/openmetrics-text"),
    (status = "4XX", body = ErrorReply), (status = "5XX", body = ErrorReply)))]
pub(super) async fn metrics(State(app): State<App>) -> Result<Response, Problem> {
    app.blocking(|app| {
        app.queue().measure()?;
        let media_type = "application/openmetrics-text; version=1.0.0; charset=utf-8";
        Ok(([(CONTENT_TYPE, media_type)], app.metrics().text()).into_response())
    })
    .await
}
