//! `sinopia eval`: how well pictures follow their captions.

pub(crate) mod args;
mod checks;
mod edit;
mod image;
mod jobs;
mod layout;
mod report;
pub(crate) mod vqa;

use std::path::Path;

use args::{EvalArgs, EvalCommand};
use sinopia_layout::LayoutCache;
use sinopia_layout::limits::ANSWER_CACHE_BYTES;

use super::failure::{bad_request, with_hint};
use super::input;
use super::kinds::{self, Kind};

pub(crate) fn run(args: EvalArgs) -> anyhow::Result<()> {
    match args.command {
        EvalCommand::Layout(args) => layout::run(&args),
        EvalCommand::Image(args) => image::run(*args),
        EvalCommand::Edit(args) => edit::run(*args),
        EvalCommand::Score(args) => report::score(&args),
        EvalCommand::Report(args) => report::report(&args),
    }
}

/// A cache of layouts and the bytes it was read from.
fn read_cache(path: &Path) -> anyhow::Result<(LayoutCache, Vec<u8>)> {
    let origin = path.display().to_string();
    let hinted = |error| with_hint(error, kinds::hint(path, Kind::Answers));
    let bytes = input::bytes(path, ANSWER_CACHE_BYTES).map_err(hinted)?;
    let text = std::str::from_utf8(&bytes).map_err(|_| hinted(bad_request(format!("`{origin}` is not text"))))?;
    let cache = LayoutCache::from_json(text).map_err(|error| match error.fault() {
        Some(fault) => hinted(bad_request(format!("`{origin}` is not a cache of answers\n{}", fault.snippet(&origin)))),
        None => hinted(bad_request(format!("`{origin}` is not a cache of answers: {error}"))),
    })?;
    Ok((cache, bytes))
}
