//! How a failure is told: the chain of causes, a hint where one is known, and the exit code.
//!
//! 0 done; 2 what was typed or given (flags, captions, files, checkpoints, places to write to) cannot be used as it is; 1 something failed while
//! working (the network, a language model, the disk, numbers that overflow) or was cancelled. In short: after 2 the command has to change.

use std::fmt;
use std::io::ErrorKind;
use std::process::ExitCode;

use super::output::NobodyReads;
use super::terminal;

/// Something typed or given that cannot be used: exit code 2.
#[derive(Debug)]
pub(crate) struct BadRequest {
    message: String,
    hint: Option<String>,
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
    anyhow::Error::new(BadRequest { message: message.into(), hint: None, cause: None })
}

/// A bad request with what to do about it, if something is known to help.
pub(crate) fn with_hint(mut error: anyhow::Error, hint: Option<String>) -> anyhow::Error {
    if let (Some(bad), Some(hint)) = (error.downcast_mut::<BadRequest>(), hint) {
        bad.hint.get_or_insert(hint); // who is nearer to the fault knows better
    }
    error
}

/// What was done with something given: if that failed, it cannot be used.
pub(crate) trait Given<T> {
    /// The result, or an error of exit code 2 that says `what` was not possible.
    fn given(self, what: impl FnOnce() -> String) -> anyhow::Result<T>;
}

impl<T, E: Into<anyhow::Error>> Given<T> for Result<T, E> {
    fn given(self, what: impl FnOnce() -> String) -> anyhow::Result<T> {
        self.map_err(|cause| {
            // What the system says stays recognizable.
            let cause = cause.into().downcast::<std::io::Error>().map_or_else(Into::into, Into::into);
            anyhow::Error::new(BadRequest { message: what(), hint: None, cause: Some(cause) })
        })
    }
}

/// Prints `error` with its causes to stderr and returns the exit code that fits it.
pub(crate) fn report(error: &anyhow::Error) -> ExitCode {
    if error.chain().any(|cause| cause.is::<NobodyReads>()) {
        return ExitCode::SUCCESS;
    }
    for (index, cause) in causes(error).iter().enumerate() {
        let cause = terminal::message(cause);
        terminal::tell(&match index {
            0 => format!("error: {cause}"),
            _ => format!("  caused by: {}", cause.replace('\n', "\n  ")),
        });
    }
    if let Some(hint) = hint(error) {
        terminal::tell(&format!("hint: {}", terminal::message(&hint).replace('\n', "\n      ")));
    }
    if is_refused(error) { ExitCode::from(2) } else { ExitCode::from(1) }
}

/// `error` with its causes in one line, and what to do about it: for those who do not sit at this terminal.
pub(crate) fn in_one_line(error: &anyhow::Error) -> (String, Option<String>) {
    (causes(error).join(": "), hint(error))
}

/// What went wrong, from the outside in. Somebody who is not there is one sentence, and what the system says of that is part of it.
fn causes(error: &anyhow::Error) -> Vec<String> {
    let mut causes: Vec<String> = Vec::new();
    for cause in error.chain() {
        if let Some(sentence) = unreached(cause) {
            causes.push(sentence);
            break;
        }
        let text = cause.downcast_ref().map_or_else(|| cause.to_string(), of_system);
        // Many libraries repeat their cause in their own message; once is enough.
        if !causes.last().is_some_and(|outer| outer.contains(&text)) {
            causes.push(text);
        }
    }
    causes
}

/// What the system says of a file, in plain words.
fn of_system(error: &std::io::Error) -> String {
    match error.kind() {
        ErrorKind::NotFound => "there is no such file".to_owned(),
        ErrorKind::IsADirectory => "it is a folder".to_owned(),
        ErrorKind::NotADirectory => "it lies in a file, not in a folder".to_owned(),
        ErrorKind::AlreadyExists => "a file of that name is there".to_owned(),
        ErrorKind::InvalidData if error.to_string().contains("valid UTF-8") => "it is not text in UTF-8".to_owned(),
        _ => plain(&error.to_string()),
    }
}

/// Who could not be reached, and why, in a sentence.
fn unreached(cause: &(dyn std::error::Error + 'static)) -> Option<String> {
    if let Some(sinopia_models::Error::Unreachable { repo, endpoint, problem }) = model_error(cause) {
        let why = plain(problem);
        return Some(format!("no network: {endpoint} cannot be reached ({why}), so `{repo}` cannot be fetched"));
    }
    let sinopia_planner::error::Unreachable { address, problem } = planner_error(cause)?.unreachable()?;
    Some(format!("no language model answers at {address}: {}", plain(problem)))
}

/// What a library says of the system or a connection, in plain words.
pub(crate) fn plain(problem: &str) -> String {
    let text = problem.strip_prefix("io: ").unwrap_or(problem);
    let text = text.split(" (os error").next().unwrap_or(text);
    let says = |words: &[&str]| words.iter().any(|word| text.to_lowercase().contains(word));
    match () {
        () if says(&["lookup", "resolve", "host not found"]) => "its name is not found".to_owned(),
        () if says(&["connection refused"]) => "nothing listens there".to_owned(),
        () if says(&["timed out", "timeout"]) => "it does not answer".to_owned(),
        () => text.to_owned(),
    }
}

/// Whether the fault is with what was asked for.
pub(crate) fn is_refused(error: &anyhow::Error) -> bool {
    error.chain().filter_map(Told::by).any(|told| told.is_bad_input)
}

/// Whether it is an end that was asked for.
pub(crate) fn is_cancelled(error: &anyhow::Error) -> bool {
    error.chain().filter_map(Told::by).any(|told| told.is_cancelled)
}

/// What to do about an error, if something is known to help.
fn hint(error: &anyhow::Error) -> Option<String> {
    error.chain().filter_map(Told::by).find_map(|told| told.hint)
}

/// What an error says of itself.
#[derive(Debug, Default)]
struct Told {
    is_bad_input: bool,
    is_cancelled: bool,
    hint: Option<String>,
}

impl Told {
    /// Every library's errors know their own kind.
    fn by(cause: &(dyn std::error::Error + 'static)) -> Option<Self> {
        macro_rules! ask {
            ($($error:ty),+) => {
                $(if let Some(error) = cause.downcast_ref::<$error>() {
                    let (is_bad_input, is_cancelled, hint) = (error.is_bad_input(), error.is_cancelled(), error.hint());
                    return Some(Self { is_bad_input, is_cancelled, hint });
                })+
            };
        }
        ask!(
            sinopia_studio::Error,
            sinopia_diffusion::Error,
            sinopia_models::Error,
            sinopia_planner::Error,
            sinopia_eval::Error
        );
        if let Some(error) = cause.downcast_ref::<sinopia_server::Error>() {
            return Some(Self { is_bad_input: error.is_bad_input(), hint: error.hint(), ..Self::default() });
        }
        if let Some(bad) = cause.downcast_ref::<BadRequest>() {
            return Some(Self { is_bad_input: true, hint: bad.hint.clone(), ..Self::default() });
        }
        let is_given = cause.is::<sinopia_layout::Error>() || cause.is::<sinopia_studio::SourceError>();
        is_given.then(|| Self { is_bad_input: true, ..Self::default() })
    }
}

/// The error of a model, also where another crate passes it on as its own.
fn model_error<'a>(cause: &'a (dyn std::error::Error + 'static)) -> Option<&'a sinopia_models::Error> {
    match (cause.downcast_ref(), cause.downcast_ref(), cause.downcast_ref()) {
        (Some(sinopia_studio::Error::Model(error)), ..) => Some(error),
        (_, Some(sinopia_diffusion::Error::Model(error)), _) => Some(error),
        (.., Some(sinopia_eval::Error::Model(error))) => Some(error),
        _ => cause.downcast_ref(),
    }
}

/// The error of a planner, likewise.
pub(crate) fn planner_error<'a>(cause: &'a (dyn std::error::Error + 'static)) -> Option<&'a sinopia_planner::Error> {
    match cause.downcast_ref() {
        Some(sinopia_studio::Error::Planner(error)) => Some(error),
        _ => cause.downcast_ref(),
    }
}

#[cfg(test)]
mod tests {
    use anyhow::Context;

    use super::*;

    fn is_refused(error: impl Into<anyhow::Error>) -> bool {
        super::is_refused(&error.into().context("outside"))
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
        assert!(!is_refused(Error::from(ModelError::Cancelled)) && !is_refused(anyhow::anyhow!("no")));
        let unreadable: anyhow::Result<()> =
            Err(std::io::Error::other("broken")).given(|| "cannot read `x`".to_owned());
        let error = unreadable.context("outside").unwrap_err();
        assert!(super::is_refused(&error));
        assert_eq!(format!("{error:#}"), "outside: cannot read `x`: broken");
    }

    #[test]
    fn nobody_there_is_one_sentence() {
        use sinopia_planner::{CallError, Error};
        let refused = || "io: Connection refused (os error 111)".to_owned();
        let server = "openai http://localhost:11434/v1".to_owned();
        let error = anyhow::Error::new(Error::Call { server, calls: 1, source: CallError::Absent(refused()) });
        assert_eq!(causes(&error), ["no language model answers at http://localhost:11434/v1: nothing listens there"]);
        let (repo, endpoint) = ("a/b".to_owned(), "https://huggingface.co".to_owned());
        let problem = "io: failed to lookup address information: Name or service not known".to_owned();
        let error = anyhow::Error::new(sinopia_models::Error::Unreachable { repo, endpoint, problem });
        let sentence =
            "no network: https://huggingface.co cannot be reached (its name is not found), so `a/b` cannot be fetched";
        assert_eq!(causes(&error), [sentence]);
        assert_eq!(plain("timeout: connect"), "it does not answer");
        assert_eq!(plain("tls: bad certificate"), "tls: bad certificate");
    }

    #[test]
    fn what_the_system_says_is_put_in_plain_words() {
        let told = |kind: ErrorKind| causes(&anyhow::Error::from(std::io::Error::from(kind)));
        assert_eq!(told(ErrorKind::NotFound), ["there is no such file"]);
        assert_eq!(told(ErrorKind::IsADirectory), ["it is a folder"]);
        let not_text: std::io::Result<()> =
            Err(std::io::Error::new(ErrorKind::InvalidData, "stream did not contain valid UTF-8"));
        let error = not_text.given(|| "cannot read `x`".to_owned()).unwrap_err();
        assert_eq!(causes(&error), ["cannot read `x`", "it is not text in UTF-8"]);
    }

    #[test]
    fn hints_survive_being_passed_on() {
        let damaged = sinopia_models::Error::Damaged { file: "x".to_owned(), problem: "cut".to_owned() };
        let error = anyhow::Error::new(sinopia_diffusion::Error::from(damaged));
        assert!(hint(&error).is_some_and(|hint| hint.contains("fetch it again")));
    }
}
