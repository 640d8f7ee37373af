//! What clients are told when something is wrong.

use std::any::Any;

use axum::Json;
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::engine::{Fault, Refusal};
use crate::error::Error;
use crate::queue::Refused;

/// Most characters of a message.
const MESSAGE_CHARS: usize = 1000;

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
    /// The field of the request that it is about, where it is about one.
    pub(crate) param: Option<String>,
}

/// Something that is wrong.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Problem {
    status: StatusCode,
    code: &'static str,
    message: String,
    hint: Option<String>,
    param: Option<String>,
    retry_after_secs: Option<u64>,
}

impl Problem {
    fn new(status: StatusCode, code: &'static str, message: impl Into<String>) -> Self {
        Self { status, code, message: cut(message.into()), hint: None, param: None, retry_after_secs: None }
    }

    pub(super) fn hint(self, hint: impl Into<String>) -> Self {
        Self { hint: Some(hint.into()), ..self }
    }

    /// With a code of OpenAI's, for clients that look at it.
    pub(super) fn code(self, code: &'static str) -> Self {
        Self { code, ..self }
    }

    /// A message that begins with a field's name in backticks is about that field, and so is `unknown method …` about `method`.
    pub(super) fn bad_request(message: impl Into<String>) -> Self {
        let message = message.into();
        let problem = Self::new(StatusCode::BAD_REQUEST, "bad_request", message);
        Self { param: field(&problem.message), ..problem }
    }

    pub(super) fn not_implemented(message: impl Into<String>) -> Self {
        Self::new(StatusCode::NOT_IMPLEMENTED, "not_implemented", message)
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

    pub(super) fn gone(what: impl Into<String>) -> Self {
        Self::new(StatusCode::GONE, "gone", what)
    }

    pub(super) fn method_not_allowed() -> Self {
        Self::new(StatusCode::METHOD_NOT_ALLOWED, "method_not_allowed", "this address takes other methods, see `Allow`")
    }

    pub(super) fn conflict(message: impl Into<String>) -> Self {
        Self::new(StatusCode::CONFLICT, "conflict", message)
    }

    pub(super) fn too_many(message: impl Into<String>) -> Self {
        Self::new(StatusCode::TOO_MANY_REQUESTS, "too_many", message)
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

    pub(super) fn disk_full() -> Self {
        Self::new(StatusCode::INSUFFICIENT_STORAGE, "disk_full", "disk full: the server cannot take this up")
            .hint("make room on the server's disk, by deleting jobs for example")
    }

    pub(super) fn internal(message: impl Into<String>) -> Self {
        Self::new(StatusCode::INTERNAL_SERVER_ERROR, "internal", message)
    }

    /// What goes over the wire.
    pub(super) fn into_reply(self) -> ErrorReply {
        let r#type = if self.status.is_server_error() { "server_error" } else { "invalid_request_error" };
        let (r#type, code) = (r#type.to_owned(), self.code.to_owned());
        ErrorReply { error: ErrorBody { message: self.message, hint: self.hint, code, r#type, param: self.param } }
    }
}

/// A message, not longer than anybody reads: some repeat what was sent.
fn cut(message: String) -> String {
    match message.char_indices().nth(MESSAGE_CHARS) {
        Some((end, _)) => format!("{}…", &message[..end]),
        None => message,
    }
}

/// The field that a message begins with.
fn field(message: &str) -> Option<String> {
    let quoted = message.strip_prefix('`').and_then(|rest| rest.split_once('`'));
    let (name, _) = quoted.or_else(|| message.strip_prefix("unknown ")?.split_once(" `"))?;
    let is_name = name.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_');
    is_name.then(|| name.to_owned())
}

impl From<Refusal> for Problem {
    fn from(refusal: Refusal) -> Self {
        let Refusal { fault, message, hint } = refusal;
        let problem = match fault {
            Fault::Request => Self::bad_request(message),
            Fault::TooLarge => Self::too_large(message),
            Fault::NoPlan => Self::new(StatusCode::UNPROCESSABLE_ENTITY, "planner_failed", message),
            Fault::Planner => Self::new(StatusCode::BAD_GATEWAY, "planner_failed", message),
            Fault::Cancelled => Self::unavailable(message, None),
            Fault::Engine => Self::internal(message),
        };
        Self { hint, ..problem }
    }
}

impl From<Error> for Problem {
    /// Paths and causes go to the log; clients are told that it is the server's fault.
    fn from(error: Error) -> Self {
        if error.is_disk_full() {
            // The log has it from when it became full.
            return Self::disk_full();
        }
        tracing::error!(error = error.with_causes(), "the folder of jobs failed");
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
        let (status, retry_after_secs) = (self.status, self.retry_after_secs);
        let mut response = (status, Json(self.into_reply())).into_response();
        let headers = response.headers_mut();
        if let Some(seconds) = retry_after_secs {
            headers.insert(header::RETRY_AFTER, seconds.into());
        }
        if status == StatusCode::UNAUTHORIZED {
            headers.insert(header::WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
        }
        if status == StatusCode::NOT_IMPLEMENTED {
            // OpenAI's own clients ask again after a 5xx unless they are told.
            headers.insert("x-should-retry", HeaderValue::from_static("false"));
        }
        response
    }
}

/// The answer of a handler that panicked.
pub(super) fn of_panic(_panic: Box<dyn Any + Send>) -> Response {
    tracing::error!("a handler panicked");
    Problem::internal("a fault of the program").into_response()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_message_names_its_field_first() {
        assert_eq!(Problem::bad_request("`n` is 99; 1 to 10 are allowed").param.as_deref(), Some("n"));
        assert_eq!(Problem::bad_request("unknown method `magic`: choose one of sd").param.as_deref(), Some("method"));
        assert_eq!(Problem::bad_request("there is no model `x` here").param, None);
        assert_eq!(Problem::bad_request("`--flag x` is wrong").param, None);
    }

    #[test]
    fn a_message_does_not_repeat_all_that_was_sent() {
        let message = Problem::bad_request(format!("unknown field `{}`", "ü".repeat(100_000))).message;
        assert_eq!(message.chars().count(), MESSAGE_CHARS + 1);
        assert!(message.starts_with("unknown field `ü") && message.ends_with('…'));
    }
}
