//! Jobs: create, list, look at, cancel, delete, listen, fetch the picture.

use std::convert::Infallible;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use axum::Json;
use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::response::sse::{self, KeepAlive, Sse};
use axum::response::{IntoResponse, Response};
use futures_core::Stream;
use serde_json::json;
use sinopia_layout::limits;
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;
use tokio::sync::broadcast::error::RecvError;
use tokio::sync::mpsc;

use super::app::App;
use super::body::{Attempted, Body, JobId, Params, check_job, no_attempt, no_job};
use super::problem::{ErrorReply, Problem};
use crate::engine::{Accepted, Sources};
use crate::events::Event;
use crate::seed::exact_options;
use crate::store::Record;
use crate::wire::{
    Attempt, Decision, EvaluateRequest, Job, JobList, JobRequest, JobSelection, JobState, Limits, PictureFormat,
    Rendering, Size, Verdict,
};

/// Jobs of a list if nobody says how many.
const LIST: u32 = 50;
/// At most.
const MAX_LIST: u32 = 200;
/// Events that are on their way to a client.
pub(super) const EVENTS: usize = 16;
/// Silence after which a sign of life is sent.
pub(super) const KEEP_ALIVE: Duration = Duration::from_secs(15);

/// How long the browser of its owner may keep what stays as it is.
const KEPT: &str = "private, max-age=31536000, immutable";

/// Queue a painting.
#[utoipa::path(post, path = "/api/jobs", tag = "jobs", request_body = JobRequest, responses(
    (status = 202, body = Job),
    (status = 429, description = "The queue is full; `Retry-After` says when to try again", body = ErrorReply),
    (status = "4XX", body = ErrorReply), (status = "5XX", body = ErrorReply)))]
pub(super) async fn create(State(app): State<App>, Body(request): Body<JobRequest>) -> Result<Response, Problem> {
    let begins_with_picture = request.source().is_some();
    let create = move |app: &App| {
        let accepted = accept(app, request)?;
        let queued = app.queue().submit(&[accepted])?;
        queued.first().map_or_else(|| Err(no_job()), |queued| look_up(app, &queued.id))
    };
    let job = match begins_with_picture {
        true => app.decoding(1, create).await?,
        false => app.blocking(create).await?,
    };
    Ok((StatusCode::ACCEPTED, Json(job)).into_response())
}

/// Checks a job against the limits and has the engine fill it in.
pub(super) fn accept(app: &App, request: JobRequest) -> Result<Accepted, Problem> {
    let limits = &app.options().limits;
    check_job(&request, limits)?;
    let sources = sources(app, &request)?;
    let accepted = app.engine().accept(request, &sources)?;
    let (width, height) = (accepted.request.width.unwrap_or(0), accepted.request.height.unwrap_or(0));
    if u64::from(width) * u64::from(height) > limits.pixels {
        let message = format!("{width} × {height} pixels are asked for, at most {} are allowed", limits.pixels);
        return Err(Problem::too_large(message));
    }
    Ok(accepted)
}

/// The pictures that a job begins with.
fn sources(app: &App, request: &JobRequest) -> Result<Sources, Problem> {
    let field = if request.edit.is_some() { "edit" } else { "init" };
    let read = |id: &str| {
        let found = match JobId::parse(id) {
            Ok(JobId(id)) => app.store().source(&id)?,
            Err(_) => None,
        };
        found.ok_or_else(|| {
            Problem::bad_request(format!("`{field}` names a picture that is not there"))
                .hint("it is the `id` of a job that is done, or of what was sent to `/api/uploads`")
        })
    };
    Ok(Sources { image: request.source().map(read).transpose()?, mask: request.mask().map(read).transpose()? })
}

/// Jobs, newest first, without what was tried for them.
#[utoipa::path(get, path = "/api/jobs", tag = "jobs", params(JobSelection), responses(
    (status = 200, body = JobList),
    (status = "4XX", body = ErrorReply), (status = "5XX", body = ErrorReply)))]
pub(super) async fn list(
    State(app): State<App>,
    Params(selection): Params<JobSelection>,
) -> Result<Json<JobList>, Problem> {
    let limit = selection.limit.unwrap_or(LIST);
    if !(1..=MAX_LIST).contains(&limit) {
        return Err(Problem::bad_request(format!("`limit` is {limit}; 1 to {MAX_LIST} are allowed")));
    }
    limits::check_chars(selection.q.as_deref().unwrap_or_default(), limits::SEARCH_CHARS, || "`q`".to_owned())
        .map_err(|error| Problem::bad_request(error.to_string()))?;
    let before = selection.before.as_deref().map(str::parse).transpose();
    let before = before.map_err(|_| Problem::bad_request("`before` is not the `next` of an earlier answer"))?;
    app.blocking(move |app| {
        let mut records = app.store().jobs().list(&selection, before, limit + 1)?;
        let has_more = records.len() > limit as usize;
        records.truncate(limit as usize);
        let next = records.last().filter(|_| has_more).map(|record| record.seq.to_string());
        // A list is for looking through: what was tried is told of one job at a time.
        let brief = |record| Ok::<_, Problem>(Job { attempts: Vec::new(), ..to_job(app, record)? });
        let jobs = records.into_iter().map(brief).collect::<Result<_, _>>()?;
        Ok(Json(JobList { jobs, next }))
    })
    .await
}

/// A job.
#[utoipa::path(get, path = "/api/jobs/{id}", tag = "jobs", params(("id" = String, Path)), responses(
    (status = 200, body = Job),
    (status = "4XX", body = ErrorReply), (status = "5XX", body = ErrorReply)))]
pub(super) async fn get(State(app): State<App>, JobId(id): JobId) -> Result<Json<Job>, Problem> {
    app.blocking(move |app| look_up(app, &id).map(Json)).await
}

/// End a job. One that is being painted ends as soon as a part of a network is done; one that has ended stays as it is.
#[utoipa::path(post, path = "/api/jobs/{id}/cancel", tag = "jobs", params(("id" = String, Path)), responses(
    (status = 200, body = Job),
    (status = "4XX", body = ErrorReply), (status = "5XX", body = ErrorReply)))]
pub(super) async fn cancel(State(app): State<App>, JobId(id): JobId) -> Result<Json<Job>, Problem> {
    app.blocking(move |app| {
        app.queue().cancel(&id)?;
        look_up(app, &id).map(Json)
    })
    .await
}

/// Forget a job and its picture. One that is being painted has to be cancelled first, and so has another that begins with its picture.
#[utoipa::path(delete, path = "/api/jobs/{id}", tag = "jobs", params(("id" = String, Path)), responses(
    (status = 204),
    (status = "4XX", body = ErrorReply), (status = "5XX", body = ErrorReply)))]
pub(super) async fn delete(State(app): State<App>, JobId(id): JobId) -> Result<StatusCode, Problem> {
    app.blocking(move |app| {
        if !app.queue().delete(&id)? {
            let record = app.store().jobs().get(&id)?.ok_or_else(no_job)?;
            return Err(match record.state {
                JobState::Running => Problem::conflict("the job is being painted").hint("cancel it first"),
                _ => Problem::conflict("another job begins with this picture")
                    .hint("cancel that one, or wait for its end"),
            });
        }
        Ok(StatusCode::NO_CONTENT)
    })
    .await
}

/// The picture, its recipe in it.
#[utoipa::path(get, path = "/api/jobs/{id}/image.png", tag = "jobs", params(("id" = String, Path), Rendering), responses(
    (status = 200, body = Vec<u8>, content_type = "image/png"),
    (status = "4XX", body = ErrorReply), (status = "5XX", body = ErrorReply)))]
pub(super) async fn image(app: State<App>, id: JobId, rendering: Params<Rendering>) -> Result<Response, Problem> {
    send_picture(app, id, PictureFormat::Png, rendering).await
}

/// The picture as a JPEG.
#[utoipa::path(get, path = "/api/jobs/{id}/image.jpeg", tag = "jobs", params(("id" = String, Path), Rendering), responses(
    (status = 200, body = Vec<u8>, content_type = "image/jpeg"),
    (status = "4XX", body = ErrorReply), (status = "5XX", body = ErrorReply)))]
pub(super) async fn image_jpeg(app: State<App>, id: JobId, rendering: Params<Rendering>) -> Result<Response, Problem> {
    send_picture(app, id, PictureFormat::Jpeg, rendering).await
}

/// The picture as a WebP without loss.
#[utoipa::path(get, path = "/api/jobs/{id}/image.webp", tag = "jobs", params(("id" = String, Path), Rendering), responses(
    (status = 200, body = Vec<u8>, content_type = "image/webp"),
    (status = "4XX", body = ErrorReply), (status = "5XX", body = ErrorReply)))]
pub(super) async fn image_webp(app: State<App>, id: JobId, rendering: Params<Rendering>) -> Result<Response, Problem> {
    send_picture(app, id, PictureFormat::Webp, rendering).await
}

async fn send_picture(
    State(app): State<App>,
    JobId(id): JobId,
    format: PictureFormat,
    Params(rendering): Params<Rendering>,
) -> Result<Response, Problem> {
    check_rendering(&rendering, &app.options().limits)?;
    let bytes = match format == PictureFormat::Png && rendering.size().is_none() {
        true => app.blocking(move |app| picture(app, &id).map(|(_, png)| png)).await?,
        false => {
            let render = move |app: &App| Ok(app.engine().render(&picture(app, &id)?.1, format, &rendering)?);
            app.rendering(render).await?
        }
    };
    // A picture that is there stays as it is; the browser of its owner may keep it.
    let headers = [(header::CONTENT_TYPE, format.media_type()), (header::CACHE_CONTROL, KEPT)];
    Ok((headers, bytes).into_response())
}

/// The picture of an attempt, by its number in `attempts`, such as `0.png`.
#[utoipa::path(get, path = "/api/jobs/{id}/attempts/{file}", tag = "jobs", params(("id" = String, Path), ("file" = String, Path)), responses(
    (status = 200, body = Vec<u8>, content_type = "image/png"),
    (status = "4XX", body = ErrorReply), (status = "5XX", body = ErrorReply)))]
pub(super) async fn attempt(State(app): State<App>, Attempted { job, number }: Attempted) -> Result<Response, Problem> {
    app.blocking(move |app| {
        let record = app.store().jobs().get(&job)?.ok_or_else(no_job)?;
        // A job that is begun again after a crash may replace what it tried before.
        let caching = if record.state.is_final() { KEPT } else { "no-store" };
        if number >= tried(app, &record).len() {
            return Err(no_attempt());
        }
        let png = app.store().artefacts().get_attempt(&job, number)?.ok_or_else(no_attempt)?;
        Ok(([(header::CONTENT_TYPE, "image/png"), (header::CACHE_CONTROL, caching)], png).into_response())
    })
    .await
}

/// What was tried for a job, so far if it is painted.
fn tried(app: &App, record: &Record) -> Vec<Attempt> {
    match record.state {
        JobState::Running => app.queue().tried(&record.id),
        _ => record.tried.clone(),
    }
}

/// Say of something that a detector finds wrong that it is fine, or take that back. It is remembered for the picture.
#[utoipa::path(post, path = "/api/jobs/{id}/decisions", tag = "jobs", request_body = Decision, params(("id" = String, Path)), responses(
    (status = 200, body = Job),
    (status = "4XX", body = ErrorReply), (status = "5XX", body = ErrorReply)))]
pub(super) async fn decide(
    State(app): State<App>,
    JobId(id): JobId,
    Body(decision): Body<Decision>,
) -> Result<Json<Job>, Problem> {
    app.blocking(move |app| {
        let record = app.store().jobs().get(&id)?.ok_or_else(no_job)?;
        let findings = record.verdict.as_ref().map_or(0, |verdict| verdict.count(decision.about));
        if decision.index as usize >= findings {
            return Err(Problem::bad_request(format!(
                "`index` is {}: the verdict has {findings} such findings",
                decision.index
            )));
        }
        app.store().jobs().decide(&id, decision)?;
        app.queue().announce(&id);
        look_up(app, &id).map(Json)
    })
    .await
}

fn check_rendering(rendering: &Rendering, limits: &Limits) -> Result<(), Problem> {
    let (min, max) = (Rendering::SIDES.start(), Rendering::SIDES.end());
    for (name, side, other) in
        [("width", rendering.width, rendering.height), ("height", rendering.height, rendering.width)]
    {
        match side {
            Some(side) if !Rendering::SIDES.contains(&side) => {
                return Err(Problem::bad_request(format!("`{name}` is {side}; {min} to {max} are allowed")));
            }
            None if other.is_some() => {
                return Err(Problem::bad_request(format!("`{name}` is missing: a size has two sides")));
            }
            _ => {}
        }
    }
    if let Some(size) = rendering.size() {
        check_rendered(size, limits)?;
    }
    match rendering.quality {
        Some(quality) if !(1..=100).contains(&quality) => {
            Err(Problem::bad_request(format!("`quality` is {quality}; 1 to 100 are allowed")))
        }
        _ => Ok(()),
    }
}

/// Refuses a picture that is larger, as it is sent, than the server makes of what it painted.
pub(super) fn check_rendered(size: Size, limits: &Limits) -> Result<(), Problem> {
    let (Size { width, height }, max) = (size, limits.rendered_pixels());
    match size.pixels() > max {
        true => Err(Problem::too_large(format!("{width} × {height} pixels are asked for, at most {max} are sent"))),
        false => Ok(()),
    }
}

/// Have a detector look at a finished picture.
#[utoipa::path(post, path = "/api/evaluate", tag = "jobs", request_body = EvaluateRequest, responses(
    (status = 200, body = Verdict),
    (status = "4XX", body = ErrorReply), (status = "5XX", body = ErrorReply)))]
pub(super) async fn evaluate(
    State(app): State<App>,
    Body(request): Body<EvaluateRequest>,
) -> Result<Json<Verdict>, Problem> {
    let JobId(id) = JobId::parse(&request.job)?;
    app.computing(move |app, cancellation| {
        let (record, png) = picture(app, &id)?;
        if let Some(verdict) = record.verdict {
            return Ok(Json(verdict));
        }
        let Some(layout) = &record.request.layout else {
            return Err(Problem::bad_request("the job has no layout: there are no boxes to look into"));
        };
        let verdict = app.engine().judge(&png, layout, cancellation)?;
        app.store().jobs().set_verdict(&id, &verdict)?;
        Ok(Json(verdict))
    })
    .await
}

/// Listen to a job: `job` at every change of state, `progress`, `preview`. The first event is the present state, the last a `job` that has ended.
#[utoipa::path(get, path = "/api/jobs/{id}/events", tag = "jobs", params(("id" = String, Path)), responses(
    (status = 200, body = String, content_type = "text/event-stream"),
    (status = "4XX", body = ErrorReply), (status = "5XX", body = ErrorReply)))]
pub(super) async fn events(State(app): State<App>, JobId(id): JobId) -> Result<Response, Problem> {
    let known = id.clone();
    app.blocking(move |app| look_up(app, &known)).await?;
    let (sender, receiver) = mpsc::channel(EVENTS);
    tokio::spawn(follow(app, id, sender));
    Ok(Sse::new(Events(receiver)).keep_alive(KeepAlive::new().interval(KEEP_ALIVE)).into_response())
}

/// Sends what happens to a job until it has ended, nobody listens, or the server stops.
async fn follow(app: App, id: String, to: mpsc::Sender<sse::Event>) {
    // Listening begins before the first look, so that nothing is missed between.
    let mut events = app.hub().subscribe(&id);
    let mut last = None;
    let mut news = Event::Changed;
    loop {
        let event = match news {
            Event::Changed => {
                let wanted = id.clone();
                let Ok(job) = app.blocking(move |app| look_up(app, &wanted)).await else { return };
                let is_final = job.state.is_final();
                let event = sse::Event::default().event("job").data(json!(job).to_string());
                if is_final {
                    let _ = to.send(event).await; // whether anybody still listens does not matter any more
                    return;
                }
                // Progress has events of its own.
                let seen = Some(Job { progress: None, ..job });
                let is_news = seen != last;
                last = seen;
                is_news.then_some(event)
            }
            Event::Progress(progress) => {
                Some(sse::Event::default().event("progress").data(json!(progress).to_string()))
            }
            Event::Preview(image) => {
                Some(sse::Event::default().event("preview").data(json!({ "image": image }).to_string()))
            }
        };
        if let Some(event) = event
            && to.send(event).await.is_err()
        {
            return;
        }
        news = tokio::select! {
            heard = events.recv() => match heard {
                Ok(event) => event,
                Err(RecvError::Lagged(_)) => Event::Changed,
                Err(RecvError::Closed) => return,
            },
            () = to.closed() => return,
        };
    }
}

/// A channel as a stream.
pub(super) struct Events(pub(super) mpsc::Receiver<sse::Event>);

impl Stream for Events {
    type Item = Result<sse::Event, Infallible>;

    fn poll_next(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        self.0.poll_recv(context).map(|event| event.map(Ok))
    }
}

/// A job by its name.
pub(super) fn look_up(app: &App, id: &str) -> Result<Job, Problem> {
    to_job(app, app.store().jobs().get(id)?.ok_or_else(no_job)?)
}

/// A finished job and its picture.
pub(super) fn picture(app: &App, id: &str) -> Result<(Record, Vec<u8>), Problem> {
    let record = app.store().jobs().get(id)?.ok_or_else(no_job)?;
    if record.state != JobState::Done {
        let message = format!("the job has no picture: it is {}", record.state.as_str());
        return Err(Problem::not_found(message));
    }
    let png = app.store().artefacts().get(id)?.ok_or_else(|| {
        Problem::gone("the picture is not there any more: somebody took it out of the server's folder")
            .hint("paint it again with the same settings, or delete the job")
    })?;
    Ok((record, png))
}

/// A record as clients see it.
fn to_job(app: &App, record: Record) -> Result<Job, Problem> {
    let tried = tried(app, &record);
    let Record { state, request, .. } = record;
    let position = match state {
        JobState::Queued => Some(app.store().jobs().queued_before(record.seq)?),
        _ => None,
    };
    let path = format!("/api/jobs/{}/attempts", record.id);
    Ok(Job {
        progress: if state == JobState::Running { app.queue().progress(&record.id) } else { None },
        image: (state == JobState::Done).then(|| image_path(&record.id, PictureFormat::Png)),
        id: record.id,
        state,
        caption: request.caption.unwrap_or_default(),
        layout: request.layout,
        method: request.method.unwrap_or_default(),
        model: request.model.unwrap_or_default(),
        seed: request.seed.unwrap_or_default(),
        seed_text: request.seed.unwrap_or_default().to_string(),
        steps: request.steps.unwrap_or_default(),
        guidance_scale: request.guidance_scale,
        scheduler: request.scheduler,
        options: exact_options(request.options),
        negative: request.negative,
        width: request.width,
        height: request.height,
        guidance_interval: request.guidance_interval,
        deep_every: request.deep_every,
        merge_tokens: request.merge_tokens,
        text_encoder: request.text_encoder,
        negative_encoder: request.negative_encoder,
        created: to_rfc3339(record.created_ms),
        started: record.started_ms.map(to_rfc3339),
        finished: record.finished_ms.map(to_rfc3339),
        position,
        error: record.error,
        verdict: record.verdict,
        attempts: tried.into_iter().enumerate().map(|(number, attempt)| shown(&path, number, attempt)).collect(),
        decisions: record.decisions,
        init: request.init,
        edit: request.edit,
        warnings: record.warnings,
    })
}

/// An attempt as clients see it.
fn shown(path: &str, number: usize, attempt: Attempt) -> Attempt {
    let (seed_text, image) = (attempt.seed.to_string(), Some(format!("{path}/{number}.png")));
    Attempt { seed_text, image, ..attempt }
}

/// Where a picture is.
pub(super) fn image_path(id: &str, format: PictureFormat) -> String {
    format!("/api/jobs/{id}/image.{}", format.as_str())
}

/// RFC 3339, in UTC.
fn to_rfc3339(ms: i64) -> String {
    let time = OffsetDateTime::from_unix_timestamp_nanos(i128::from(ms) * 1_000_000);
    time.ok().and_then(|time| time.format(&Rfc3339).ok()).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_told_in_utc() {
        assert_eq!(to_rfc3339(0), "1970-01-01T00:00:00Z");
        assert_eq!(to_rfc3339(1_700_000_000_123), "2023-11-14T22:13:20.123Z");
    }
}
