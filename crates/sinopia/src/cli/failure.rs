//! How a failure is told: the chain of causes, a hint where one is known, and the exit code.
//!
//! 0 done; 1 the work failed or was cancelled; 2 the request itself was wrong (flags, caption, layout).

use std::fmt;
use std::process::ExitCode;

/// A request that cannot be carried out as it stands: exit code 2.
#[derive(Debug)]
pub(crate) struct BadRequest(pub(crate) String);

impl fmt::Display for BadRequest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for BadRequest {}

/// An error that says what is wrong with the request.
pub(crate) fn bad_request(message: impl Into<String>) -> anyhow::Error {
    anyhow::Error::new(BadRequest(message.into()))
}

/// Prints `error` with its causes to stderr and returns the exit code that fits it.
#[expect(clippy::print_stderr, reason = "errors of the program go to stderr")]
pub(crate) fn report(error: &anyhow::Error) -> ExitCode {
    eprintln!("error: {error}");
    let mut shown = error.to_string();
    for cause in error.chain().skip(1).map(ToString::to_string) {
        // Many libraries repeat their cause in their own message; once is enough.
        if !shown.contains(&cause) {
            eprintln!("  caused by: {}", cause.replace('\n', "\n  "));
        }
        shown = cause;
    }
    if let Some(hint) = error.chain().find_map(hint) {
        eprintln!("hint: {hint}");
    }
    if error.chain().any(is_bad_request) { ExitCode::from(2) } else { ExitCode::from(1) }
}

fn hint(cause: &(dyn std::error::Error + 'static)) -> Option<String> {
    if let Some(error) = cause.downcast_ref::<sinopia_planner::Error>() {
        return error.hint();
    }
    cause.downcast_ref::<sinopia_models::Error>()?.hint().map(|hint| hint.to_string())
}

fn is_bad_request(cause: &(dyn std::error::Error + 'static)) -> bool {
    use sinopia_diffusion::Error;
    let unpaintable = |error: &Error| {
        matches!(
            error,
            Error::UnknownMethod { .. }
                | Error::UnknownPreset { .. }
                | Error::NoAdapters { .. }
                | Error::UnknownScheduler { .. }
                | Error::MethodOptions { .. }
                | Error::Setting { .. }
                | Error::PictureSize { .. }
                | Error::Steps { .. }
                | Error::NoLayout { .. }
                | Error::NoCaption { .. }
                | Error::Layout(_)
        )
    };
    let unmeasurable = |error: &sinopia_eval::Error| {
        use sinopia_eval::Error;
        matches!(
            error,
            Error::UnknownBenchmark { .. }
                | Error::UnknownTask { .. }
                | Error::Shard { .. }
                | Error::Caption { .. }
                | Error::NoCaptions { .. }
                | Error::LayoutsMissing { .. }
                | Error::NotARun { .. }
                | Error::ForeignFolder { .. }
                | Error::RunVersion { .. }
                | Error::RunDiffers { .. }
                | Error::MixedRuns { .. }
                | Error::OtherEye { .. }
        )
    };
    let unplannable = |error: &sinopia_planner::Error| {
        use sinopia_planner::Error;
        matches!(
            error,
            Error::Template { .. }
                | Error::TemplateLacks { .. }
                | Error::BaseUrl { .. }
                | Error::Key { .. }
                | Error::Layout(_)
        )
    };
    cause.is::<BadRequest>()
        || cause.downcast_ref::<sinopia_eval::Error>().is_some_and(unmeasurable)
        || cause.downcast_ref::<sinopia_planner::Error>().is_some_and(unplannable)
        || cause.is::<sinopia_layout::Error>()
        || cause.downcast_ref::<Error>().is_some_and(unpaintable)
}
