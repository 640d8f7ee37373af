//! `sinopia eval`: how well pictures follow their captions.

pub(crate) mod args;
mod image;
pub(super) mod jobs;
mod layout;
mod report;
mod vqa;

use std::path::Path;

use args::{EvalArgs, EvalCommand};
use sinopia_layout::LayoutCache;

use super::failure::{Given, bad_request};

pub(crate) fn run(args: EvalArgs) -> anyhow::Result<()> {
    match args.command {
        EvalCommand::Layout(args) => layout::run(&args),
        EvalCommand::Image(args) => image::run(*args),
        EvalCommand::Score(args) => report::score(&args),
        EvalCommand::Report(args) => report::report(&args),
    }
}

/// A cache of layouts and the bytes it was read from.
fn read_cache(path: &Path) -> anyhow::Result<(LayoutCache, Vec<u8>)> {
    let origin = path.display().to_string();
    let bytes = std::fs::read(path).given(|| format!("cannot read `{origin}`"))?;
    let text = std::str::from_utf8(&bytes).map_err(|_| bad_request(format!("`{origin}` is not text")))?;
    let cache = LayoutCache::from_json(text).map_err(|error| match error.fault() {
        Some(fault) => bad_request(format!("`{origin}` is not a cache of answers\n{}", fault.snippet(&origin))),
        None => bad_request(format!("`{origin}` is not a cache of answers: {error}")),
    })?;
    Ok((cache, bytes))
}
