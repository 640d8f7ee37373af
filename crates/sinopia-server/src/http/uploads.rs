//! Pictures that are sent, for jobs that begin with them.

use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};

use super::app::App;
use super::body::{JobId, Raw};
use super::problem::{ErrorReply, Problem};
use crate::engine::TakenIn;
use crate::wire::Upload;

/// Send a picture (PNG, JPEG or WebP) that jobs can begin with. Its pixels are kept, nothing else of it; a day later it is deleted if no job begins with it.
#[utoipa::path(post, path = "/api/uploads", tag = "jobs",
    request_body(content = Vec<u8>, content_type = "application/octet-stream"), responses(
    (status = 201, body = Upload),
    (status = 507, description = "There is no room on the server's disk", body = ErrorReply),
    (status = "4XX", body = ErrorReply), (status = "5XX", body = ErrorReply)))]
pub(super) async fn upload(State(app): State<App>, Raw(bytes): Raw) -> Result<Response, Problem> {
    let kept = app.computing(move |app, _| keep(app, &take_in(app, &bytes)?));
    Ok((StatusCode::CREATED, Json(kept.await?)).into_response())
}

/// Forget a picture that was sent. One that a job begins with stays until that has ended.
#[utoipa::path(delete, path = "/api/uploads/{id}", tag = "jobs", params(("id" = String, Path)), responses(
    (status = 204),
    (status = "4XX", body = ErrorReply), (status = "5XX", body = ErrorReply)))]
pub(super) async fn forget_upload(State(app): State<App>, id: Result<JobId, Problem>) -> Result<StatusCode, Problem> {
    let JobId(id) = id.map_err(|_| no_upload())?;
    app.blocking(move |app| match app.store().delete_upload(&id)? {
        true => Ok(StatusCode::NO_CONTENT),
        false if app.store().jobs().is_upload(&id)? => {
            Err(Problem::conflict("a job begins with this picture").hint("cancel the job first"))
        }
        false => Err(no_upload()),
    })
    .await
}

fn no_upload() -> Problem {
    Problem::not_found("there is no such upload")
}

/// The pixels of a picture from outside.
pub(super) fn take_in(app: &App, bytes: &[u8]) -> Result<TakenIn, Problem> {
    Ok(app.engine().take_in(bytes, app.options().limits.upload_pixels)?)
}

/// Keeps a picture under a name of its own.
pub(super) fn keep(app: &App, picture: &TakenIn) -> Result<Upload, Problem> {
    let Some(id) = app.store().put_upload(&picture.png, app.options().upload_room)? else {
        let problem = Problem::too_many("as many pictures are kept as there is room for");
        return Err(problem.hint("delete some, or wait: what no job begins with any more goes after a day"));
    };
    app.metrics().uploads.inc();
    Ok(Upload { id, size: picture.size, transparent: picture.is_transparent })
}
