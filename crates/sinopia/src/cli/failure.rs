//! How a failure is told: the chain of causes, a hint where one is known, and the exit code.
//!
//! 0 done; 2 what was typed or given (flags, captions, files, checkpoints, places to write to) cannot be used as it is; 1 something failed while
//! working (the network, a language model, the disk, numbers that overflow) or was cancelled. In short: after 2 the command has to change.

use std::fmt;
use std::process::ExitCode;

use super::terminal;

/// Something typed or given that cannot be used: exit code 2.
#[derive(Debug)]
pub(crate) struct BadRequest {
    message: String,
    cause: Option<Box<dyn std::error::Error + Send + Sync>>,
}

impl fmt::Display for BadRequest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl std::error::Error for BadRequest {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        self.cause.as_ref().map(|cause| &**cause as _)
    }
}

/// An error that says what is wrong with the request.
pub(crate) fn bad_request(message: impl Into<String>) -> anyhow::Error {
    anyhow::Error::new(BadRequest { message: message.into(), cause: None })
}

/// What was done with something given: if that failed, it cannot be used.
pub(crate) trait Given<T> {
    /// The result, or an error of exit code 2 that says `what` was not possible.
    fn given(self, what: impl FnOnce() -> String) -> anyhow::Result<T>;
}

impl<T, E: Into<anyhow::Error>> Given<T> for Result<T, E> {
    fn given(self, what: impl FnOnce() -> String) -> anyhow::Result<T> {
        self.map_err(|cause| anyhow::Error::new(BadRequest { message: what(), cause: Some(cause.into().into()) }))
    }
}

/// Prints `error` with its causes to stderr and returns the exit code that fits it.
#[expect(clippy::print_stderr, reason = "errors of the program go to stderr")]
pub(crate) fn report(error: &anyhow::Error) -> ExitCode {
    eprintln!("error: {}", terminal::message(&error.to_string()));
    let mut shown = error.to_string();
    for cause in error.chain().skip(1).map(ToString::to_string) {
        // Many libraries repeat their cause in their own message; once is enough.
        if !shown.contains(&cause) {
            eprintln!("  caused by: {}", terminal::message(&cause).replace('\n', "\n  "));
        }
        shown = cause;
    }
    if let Some(hint) = error.chain().find_map(hint) {
        eprintln!("hint: {}", terminal::message(&hint));
    }
    if error.chain().any(is_bad_request) { ExitCode::from(2) } else { ExitCode::from(1) }
}

/// `error` with its causes in one line, and what to do about it: for those who do not sit at this terminal.
pub(crate) fn told(error: &anyhow::Error) -> (String, Option<String>) {
    let mut message = error.to_string();
    for cause in error.chain().skip(1).map(ToString::to_string) {
        if !message.contains(&cause) {
            message = format!("{message}: {cause}");
        }
    }
    (message, error.chain().find_map(hint))
}

/// Whether the fault is with what was asked for.
pub(crate) fn is_refused(error: &anyhow::Error) -> bool {
    error.chain().any(is_bad_request)
}

fn hint(cause: &(dyn std::error::Error + 'static)) -> Option<String> {
    if let Some(error) = cause.downcast_ref::<sinopia_planner::Error>() {
        return error.hint();
    }
    model_error(cause)?.hint()
}

/// The error of a model, also where another crate passes it on as its own.
fn model_error<'a>(cause: &'a (dyn std::error::Error + 'static)) -> Option<&'a sinopia_models::Error> {
    if let Some(sinopia_diffusion::Error::Model(error)) = cause.downcast_ref() {
        return Some(error);
    }
    if let Some(sinopia_eval::Error::Model(error)) = cause.downcast_ref() {
        return Some(error);
    }
    cause.downcast_ref()
}

fn is_bad_request(cause: &(dyn std::error::Error + 'static)) -> bool {
    if let Some(error) = model_error(cause) {
        use sinopia_models::Error;
        return !matches!(
            error,
            Error::Offline { .. }
                | Error::Download { .. }
                | Error::Input { .. }
                | Error::Interrupted
                | Error::Nn(_)
                | Error::Candle(_)
        );
    }
    if let Some(error) = cause.downcast_ref() {
        use sinopia_diffusion::Error;
        return !matches!(
            error,
            Error::Cancelled | Error::NotFinite { .. } | Error::AttentionMap { .. } | Error::Candle(_)
        );
    }
    if let Some(error) = cause.downcast_ref() {
        use sinopia_eval::Error;
        return !matches!(error, Error::Write { .. } | Error::Painting { .. } | Error::Answer { .. });
    }
    if let Some(error) = cause.downcast_ref() {
        use sinopia_planner::Error;
        return matches!(
            error,
            Error::Template { .. }
                | Error::TemplateLacks { .. }
                | Error::BaseUrl { .. }
                | Error::Key { .. }
                | Error::CacheFormat { .. }
                | Error::Unable { .. }
                | Error::Model(_)
                | Error::Layout(_)
        );
    }
    if let Some(error) = cause.downcast_ref() {
        use sinopia_server::Error;
        // Where to listen, with which token, on which folder: all of it was given.
        return !matches!(error, Error::System { .. } | Error::RecordRow { .. });
    }
    cause.is::<BadRequest>() || cause.is::<sinopia_layout::Error>()
}

#[cfg(test)]
mod tests {
    use anyhow::Context;

    use super::*;

    fn is_refused(error: impl Into<anyhow::Error>) -> bool {
        error.into().context("outside").chain().any(is_bad_request)
    }

    #[test]
    fn what_was_given_is_told_from_what_failed() {
        use sinopia_diffusion::Error;
        use sinopia_models::Error as ModelError;
        let damaged = || ModelError::Damaged { file: "x".to_owned(), problem: "cut".to_owned() };
        let failed = || ModelError::Input { what: "x", expected: "y".to_owned(), found: "z".to_owned() };
        assert!(is_refused(damaged()) && is_refused(Error::from(damaged())));
        assert!(!is_refused(failed()) && !is_refused(Error::from(failed())));
        assert!(is_refused(Error::UnknownScheduler { name: "heun".to_owned() }));
        assert!(!is_refused(Error::from(ModelError::Interrupted)) && !is_refused(anyhow::anyhow!("no")));
        let unreadable: anyhow::Result<()> =
            Err(std::io::Error::other("broken")).given(|| "cannot read `x`".to_owned());
        let error = unreadable.context("outside").unwrap_err();
        assert!(error.chain().any(is_bad_request));
        assert_eq!(format!("{error:#}"), "outside: cannot read `x`: broken");
    }

    #[test]
    fn hints_survive_being_passed_on() {
        let damaged = sinopia_models::Error::Damaged { file: "x".to_owned(), problem: "cut".to_owned() };
        let error = anyhow::Error::new(sinopia_diffusion::Error::from(damaged));
        assert!(error.chain().find_map(hint).is_some_and(|hint| hint.contains("fetch it again")));
    }
}
