//! A line in the log and a count for each answer.

use std::time::Instant;

use axum::extract::{MatchedPath, Request, State};
use axum::middleware::Next;
use axum::response::Response;

use super::app::App;
use crate::metrics::{RequestLabels, RouteLabels};

/// Routes only: addresses hold names of jobs, and what is behind the `?` holds captions.
pub(super) async fn record(State(app): State<App>, request: Request, next: Next) -> Response {
    let start = Instant::now();
    let method = request.method().as_str();
    let is_known = ["GET", "HEAD", "POST", "PUT", "DELETE", "OPTIONS", "PATCH"].contains(&method);
    let method = if is_known { method.to_owned() } else { "other".to_owned() };
    let route = request.extensions().get::<MatchedPath>().map_or("other", MatchedPath::as_str).to_owned();
    let response = next.run(request).await;
    let (status, seconds) = (response.status().as_u16(), start.elapsed().as_secs_f64());
    tracing::debug!(method, route, status, seconds, "answered");
    let metrics = app.metrics();
    metrics.request_seconds.get_or_create(&RouteLabels { route: route.clone() }).observe(seconds);
    metrics.requests.get_or_create(&RequestLabels { method, route, status }).inc();
    response
}
