//! Reading requests: bodies, parameters, names of jobs.

use axum::body::to_bytes;
use axum::extract::{FromRequest, FromRequestParts, Path, Query, Request};
use axum::http::header::CONTENT_TYPE;
use axum::http::request::Parts;
use serde::de::DeserializeOwned;
use tokio::time::timeout;

use super::app::App;
use super::problem::Problem;
use crate::wire::{JobRequest, Limits};
use sinopia_layout::Layout;

/// A JSON body.
pub(super) struct Body<T>(pub(super) T);

impl<T: DeserializeOwned> FromRequest<App> for Body<T> {
    type Rejection = Problem;

    async fn from_request(request: Request, app: &App) -> Result<Self, Problem> {
        let media_type = request.headers().get(CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or_default();
        // A page of another origin can send text without asking the browser's leave, but not JSON.
        if !media_type.split(';').next().unwrap_or_default().trim().eq_ignore_ascii_case("application/json") {
            return Err(Problem::unsupported("JSON is expected: send `Content-Type: application/json`"));
        }
        let Raw(bytes) = Raw::from_request(request, app).await?;
        let value = serde_json::from_slice(&bytes);
        value.map(Self).map_err(|error| Problem::bad_request(format!("the body cannot be read: {error}")))
    }
}

/// A body as it is.
pub(super) struct Raw(pub(super) axum::body::Bytes);

impl FromRequest<App> for Raw {
    type Rejection = Problem;

    async fn from_request(request: Request, app: &App) -> Result<Self, Problem> {
        let limit = app.options().limits.body_bytes;
        let body_timeout = app.options().body_timeout;
        let Ok(bytes) = timeout(body_timeout, to_bytes(request.into_body(), limit)).await else {
            return Err(Problem::too_slow(format!("the body took longer than {} seconds", body_timeout.as_secs_f64())));
        };
        bytes.map(Self).map_err(|error| {
            let causes = crate::queue::chain(&error);
            match causes.contains("length limit") {
                true => Problem::too_large(format!("the body is too large: at most {limit} bytes are read")),
                false => Problem::too_slow("the body did not come, or not in time"),
            }
        })
    }
}

/// Parameters behind the `?`.
pub(super) struct Params<T>(pub(super) T);

impl<T: DeserializeOwned> FromRequestParts<App> for Params<T> {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, app: &App) -> Result<Self, Problem> {
        let query = Query::<T>::from_request_parts(parts, app).await;
        query
            .map(|Query(params)| Self(params))
            .map_err(|error| Problem::bad_request(format!("the parameters cannot be read: {}", error.body_text())))
    }
}

/// The name of a job. Whatever is no such name is no job.
pub(super) struct JobId(pub(super) String);

/// Characters of a job's name.
const ID_CHARS: usize = 32;

impl JobId {
    pub(super) fn parse(text: &str) -> Result<Self, Problem> {
        let is_id = text.len() == ID_CHARS && text.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'));
        if is_id { Ok(Self(text.to_owned())) } else { Err(no_job()) }
    }
}

impl FromRequestParts<App> for JobId {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, app: &App) -> Result<Self, Problem> {
        let Path(id) = Path::<String>::from_request_parts(parts, app).await.map_err(|_| no_job())?;
        Self::parse(&id)
    }
}

/// A name in a path; what is none is empty.
pub(super) struct Name(pub(super) String);

impl FromRequestParts<App> for Name {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, app: &App) -> Result<Self, Problem> {
        let name = Path::<String>::from_request_parts(parts, app).await;
        Ok(Self(name.map(|Path(name)| name).unwrap_or_default()))
    }
}

/// What is said of a job that is not there.
pub(super) fn no_job() -> Problem {
    Problem::not_found("there is no such job")
}

/// Refuses a caption that is empty or too long.
pub(super) fn check_caption(what: &str, caption: &str, limits: &Limits) -> Result<(), Problem> {
    if caption.trim().is_empty() {
        return Err(Problem::bad_request(format!("`{what}` is empty: say what the picture shows")));
    }
    let found = caption.chars().count();
    match found > limits.caption_chars {
        true => Err(Problem::bad_request(format!(
            "`{what}` has {found} characters, at most {} are read",
            limits.caption_chars
        ))),
        false => Ok(()),
    }
}

/// Refuses a layout with more boxes than allowed.
pub(super) fn check_layout(layout: &Layout, limits: &Limits) -> Result<(), Problem> {
    match layout.objects.len() > limits.boxes {
        true => Err(Problem::bad_request(format!(
            "the layout has {} boxes, at most {} are painted",
            layout.objects.len(),
            limits.boxes
        ))),
        false => Ok(()),
    }
}

/// Refuses a job beyond the limits, before the engine looks at it.
pub(super) fn check_job(request: &JobRequest, limits: &Limits) -> Result<(), Problem> {
    if let Some(caption) = &request.caption {
        check_caption("caption", caption, limits)?;
    } else if request.layout.is_none() {
        return Err(Problem::bad_request("there is neither `caption` nor `layout`: say what to paint"));
    }
    if let Some(negative) = request.negative.as_deref().filter(|text| text.chars().count() > limits.caption_chars) {
        let found = negative.chars().count();
        return Err(Problem::bad_request(format!(
            "`negative` has {found} characters, at most {} are read",
            limits.caption_chars
        )));
    }
    if let Some(layout) = &request.layout {
        check_layout(layout, limits)?;
    }
    if let Some(steps) = request.steps.filter(|steps| !(1..=limits.steps).contains(steps)) {
        return Err(Problem::bad_request(format!("`steps` is {steps}; 1 to {} are allowed", limits.steps)));
    }
    Ok(())
}
