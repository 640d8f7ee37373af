//! Reading requests: bodies, parameters, names of jobs.

use axum::body::to_bytes;
use axum::extract::{FromRequest, FromRequestParts, Path, Query, Request};
use axum::http::header::CONTENT_TYPE;
use axum::http::request::Parts;
use serde::de::DeserializeOwned;
use tokio::time::timeout;

use super::app::App;
use super::problem::Problem;
use crate::wire::{JobRequest, Limits, Operation, PictureEdit};
use sinopia_layout::{BBox, Layout, limits};

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
        check_bytes("the request", &bytes, limits::REQUEST_BYTES)?;
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
            let causes = crate::error::with_causes(&error);
            match causes.contains("length limit") {
                true => Problem::too_large(format!("the body is too large: at most {limit} bytes are read")),
                false => Problem::too_slow("the body did not come, or not in time"),
            }
        })
    }
}

/// Refuses a body that is larger than what can be meant by it. It was read to its end, as a client that still sends would miss the answer.
pub(super) fn check_bytes(what: &str, bytes: &[u8], most: usize) -> Result<(), Problem> {
    match bytes.len() > most {
        true => Err(Problem::too_large(format!("{what} has {} bytes; at most {most} are read", bytes.len()))),
        false => Ok(()),
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

/// The picture of an attempt of a job, in a path. Whatever is no such name is no attempt.
pub(super) struct Attempted {
    pub(super) job: String,
    /// From 0.
    pub(super) number: usize,
}

impl FromRequestParts<App> for Attempted {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, app: &App) -> Result<Self, Problem> {
        let path = Path::<(String, String)>::from_request_parts(parts, app).await;
        let Path((id, file)) = path.map_err(|_| no_attempt())?;
        let JobId(job) = JobId::parse(&id)?;
        let number = file.strip_suffix(".png").and_then(|number| number.parse().ok()).ok_or_else(no_attempt)?;
        Ok(Self { job, number })
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

/// What is said of an attempt that is not there.
pub(super) fn no_attempt() -> Problem {
    Problem::not_found("there is no such attempt")
}

/// Refuses a caption that is empty or too long.
pub(super) fn check_caption(what: &str, caption: &str, limits: &Limits) -> Result<(), Problem> {
    if caption.trim().is_empty() {
        return Err(Problem::bad_request(format!("`{what}` is empty: say what the picture shows")));
    }
    check_chars(what, caption, limits.caption_chars)
}

/// Refuses a text of more than so many characters.
pub(super) fn check_chars(what: &str, text: &str, max: usize) -> Result<(), Problem> {
    limits::check_chars(text, max, || format!("`{what}`")).map_err(|error| Problem::bad_request(error.to_string()))
}

/// Refuses a layout with more boxes or longer texts than are read.
pub(super) fn check_layout(layout: &Layout) -> Result<(), Problem> {
    layout.check_size().map_err(|error| Problem::bad_request(error.to_string()))
}

/// Refuses a job beyond the limits, before the engine looks at it.
pub(super) fn check_job(request: &JobRequest, limits: &Limits) -> Result<(), Problem> {
    if let Some(edit) = &request.edit {
        return check_edit(request, edit);
    }
    if let Some(caption) = &request.caption {
        check_caption("caption", caption, limits)?;
    } else if request.layout.is_none() {
        return Err(Problem::bad_request("there is neither `caption` nor `layout`: say what to paint"));
    }
    check_chars("negative", request.negative.as_deref().unwrap_or_default(), limits.caption_chars)?;
    if let Some(layout) = &request.layout {
        check_layout(layout)?;
        if layout.objects.len() > limits.boxes {
            let (found, max) = (layout.objects.len(), limits.boxes);
            return Err(Problem::bad_request(format!("the layout has {found} boxes, at most {max} are painted")));
        }
    }
    for (what, name) in [
        ("method", &request.method),
        ("model", &request.model),
        ("scheduler", &request.scheduler),
        ("text_encoder", &request.text_encoder),
        ("negative_encoder", &request.negative_encoder),
    ] {
        check_chars(what, name.as_deref().unwrap_or_default(), limits::NAME_CHARS)?;
    }
    let bytes = serde_json::to_vec(&request.options).map_or(usize::MAX, |json| json.len());
    if bytes > limits::OPTIONS_BYTES {
        let message = format!("`options` has {bytes} bytes; at most {} are read", limits::OPTIONS_BYTES);
        return Err(Problem::bad_request(message));
    }
    if let Some(steps) = request.steps.filter(|steps| !(1..=limits.steps).contains(steps)) {
        return Err(Problem::bad_request(format!("`steps` is {steps}; 1 to {} are allowed", limits.steps)));
    }
    let strength = request.init.as_ref().and_then(|init| init.strength);
    if let Some(strength) = strength {
        check_strength(strength)?;
    }
    check_attempts(request)
}

fn check_attempts(request: &JobRequest) -> Result<(), Problem> {
    let max = JobRequest::MAX_ATTEMPTS;
    match request.attempts.filter(|attempts| !(1..=max).contains(attempts)) {
        Some(attempts) => Err(Problem::bad_request(format!("`attempts` is {attempts}; 1 to {max} are allowed"))),
        None => Ok(()),
    }
}

/// Refuses an edit that is none, and beside it what the picture itself decides.
fn check_edit(request: &JobRequest, edit: &PictureEdit) -> Result<(), Problem> {
    let JobRequest { seed, judge, .. } = *request;
    let alone = JobRequest { edit: Some(edit.clone()), seed, judge, ..JobRequest::default() };
    if *request != alone {
        let problem = Problem::bad_request("`edit` changes a picture that is there, whose recipe says all else");
        return Err(problem.hint("beside `edit` there may be `seed` and `judge`"));
    }
    let (found, max) = (edit.operations.len(), JobRequest::MAX_OPERATIONS);
    if !(1..=max).contains(&found) {
        return Err(Problem::bad_request(format!("`edit` has {found} operations; 1 to {max} are allowed")));
    }
    edit.operations.iter().try_for_each(check_operation)
}

fn check_operation(operation: &Operation) -> Result<(), Problem> {
    if operation.phrase().trim().is_empty() {
        return Err(Problem::bad_request("`phrase` of an operation is empty: say what it is about"));
    }
    check_chars("phrase", operation.phrase(), limits::PHRASE_CHARS)?;
    for [x0, y0, x1, y1] in operation.boxes() {
        if let Err(error) = BBox::new(x0, y0, x1, y1) {
            return Err(Problem::bad_request(format!("a box of `edit` cannot be used: {error}")));
        }
    }
    match operation {
        Operation::Recolour { strength: Some(strength), .. } => check_strength(*strength),
        _ => Ok(()),
    }
}

/// Refuses a strength that changes nothing, or more than there is.
pub(super) fn check_strength(strength: f64) -> Result<(), Problem> {
    match strength > 0.0 && strength <= 1.0 {
        true => Ok(()),
        false => Err(Problem::bad_request(format!("`strength` is {strength}; above 0, at most 1 is allowed"))),
    }
}
