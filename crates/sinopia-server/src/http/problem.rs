//! What clients are told when something is wrong.

use std::any::Any;

use axum::Json;
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::engine::{Fault, Refusal};
use crate::error::Error;
use crate::queue::{Refused, chain};

/// Something that is wrong, as it goes over the wire.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub(crate) struct ErrorReply {
    /// What it is.
    pub(crate) error: ErrorBody,
}

/// What is wrong.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub(crate) struct ErrorBody {
    /// In a sentence.
    pub(crate) message: String,
    /// What to do about it.
    pub(crate) hint: Option<String>,
    /// In a word.
    pub(crate) code: String,
    /// Whose fault it is, in OpenAI's words: `invalid_request_error` or `server_error`.
    pub(crate) r#type: String,
    /// Always null; OpenAI's clients look for it.
    pub(crate) param: Option<String>,
}

/// Something that is wrong.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Problem {
    status: StatusCode,
    code: &'static str,
    message: String,
    hint: Option<String>,
    retry_after_secs: Option<u64>,
}

impl Problem {
    fn new(status: StatusCode, code: &'static str, message: impl Into<String>) -> Self {
        Self { status, code, message: message.into(), hint: None, retry_after_secs: None }
    }

    pub(super) fn hint(self, hint: impl Into<String>) -> Self {
        Self { hint: Some(hint.into()), ..self }
    }

    pub(super) fn bad_request(message: impl Into<String>) -> Self {
        Self::new(StatusCode::BAD_REQUEST, "bad_request", message)
    }

    pub(super) fn too_large(message: impl Into<String>) -> Self {
        Self::new(StatusCode::PAYLOAD_TOO_LARGE, "too_large", message)
    }

    pub(super) fn too_slow(message: impl Into<String>) -> Self {
        Self::new(StatusCode::REQUEST_TIMEOUT, "timeout", message)
    }

    pub(super) fn unsupported(message: impl Into<String>) -> Self {
        Self::new(StatusCode::UNSUPPORTED_MEDIA_TYPE, "unsupported_media_type", message)
    }

    pub(super) fn not_found(what: impl Into<String>) -> Self {
        Self::new(StatusCode::NOT_FOUND, "not_found", what)
    }

    pub(super) fn method_not_allowed() -> Self {
        Self::new(StatusCode::METHOD_NOT_ALLOWED, "method_not_allowed", "this address takes other methods, see `Allow`")
    }

    pub(super) fn conflict(message: impl Into<String>) -> Self {
        Self::new(StatusCode::CONFLICT, "conflict", message)
    }

    pub(super) fn unauthorized() -> Self {
        Self::new(StatusCode::UNAUTHORIZED, "unauthorized", "a token is needed")
            .hint("send `Authorization: Bearer TOKEN` with the token that the server was started with")
    }

    pub(super) fn forbidden(message: impl Into<String>) -> Self {
        Self::new(StatusCode::FORBIDDEN, "forbidden", message)
    }

    pub(super) fn unavailable(message: impl Into<String>, retry_after_secs: Option<u64>) -> Self {
        Self { retry_after_secs, ..Self::new(StatusCode::SERVICE_UNAVAILABLE, "unavailable", message) }
    }

    pub(super) fn internal(message: impl Into<String>) -> Self {
        Self::new(StatusCode::INTERNAL_SERVER_ERROR, "internal", message)
    }
}

impl From<Refusal> for Problem {
    fn from(refusal: Refusal) -> Self {
        let Refusal { fault, message, hint } = refusal;
        let problem = match fault {
            Fault::Request => Self::bad_request(message),
            Fault::TooLarge => Self::too_large(message),
            Fault::NoPlan => Self::new(StatusCode::UNPROCESSABLE_ENTITY, "planner_failed", message),
            Fault::Planner => Self::new(StatusCode::BAD_GATEWAY, "planner_failed", message),
            Fault::Interrupted => Self::unavailable(message, None),
            Fault::Engine => Self::internal(message),
        };
        Self { hint, ..problem }
    }
}

impl From<Error> for Problem {
    /// Paths and causes go to the log; clients are told that it is the server's fault.
    fn from(error: Error) -> Self {
        tracing::error!(error = chain(&error), "the record of jobs failed");
        Self::internal("the server cannot use its record of jobs; its log says why")
    }
}

impl From<Refused> for Problem {
    fn from(refused: Refused) -> Self {
        match refused {
            Refused::Store(error) => error.into(),
            Refused::Full { retry_after_secs } => Self {
                retry_after_secs: Some(retry_after_secs),
                ..Self::new(StatusCode::TOO_MANY_REQUESTS, "queue_full", "the queue is full")
                    .hint("try again later, or cancel jobs that wait")
            },
        }
    }
}

impl IntoResponse for Problem {
    fn into_response(self) -> Response {
        let r#type = if self.status.is_server_error() { "server_error" } else { "invalid_request_error" };
        let (r#type, code) = (r#type.to_owned(), self.code.to_owned());
        let error = ErrorBody { message: self.message, hint: self.hint, code, r#type, param: None };
        let mut response = (self.status, Json(ErrorReply { error })).into_response();
        if let Some(seconds) = self.retry_after_secs {
            response.headers_mut().insert(header::RETRY_AFTER, seconds.into());
        }
        if self.status == StatusCode::UNAUTHORIZED {
            response.headers_mut().insert(header::WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
        }
        response
    }
}

/// The answer of a handler that panicked.
pub(super) fn of_panic(_panic: Box<dyn Any + Send>) -> Response {
    tracing::error!("a handler panicked");
    Problem::internal("a fault of the program").into_response()
}
