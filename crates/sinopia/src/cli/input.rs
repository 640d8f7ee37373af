//! What is read before painting: captions, layouts and caches of answers, from files or stdin.

use std::io::Read;
use std::path::Path;

use sinopia_layout::{Error, Layout, LayoutCache, parse_answer, repair};

use super::failure::{Given, bad_request};
use super::output::is_stdout as is_stdin;

/// A caption as typed, or from stdin for `-`. It must say something.
pub(crate) fn caption(typed: &str) -> anyhow::Result<String> {
    let caption = if typed == "-" { read(Path::new("-"))? } else { typed.to_owned() };
    let caption = caption.trim();
    if caption.is_empty() {
        return Err(bad_request("the caption is empty: say what to paint"));
    }
    Ok(caption.to_owned())
}

/// A layout from a file (JSON or an LLM's answer), every box inside its canvas; what was mended is in the lines.
pub(crate) fn layout(path: &Path) -> anyhow::Result<(Layout, Vec<String>)> {
    let text = read(path)?;
    let layout = if text.trim_start().starts_with('{') { Layout::from_json(&text) } else { parse_answer(&text) };
    mended(layout, &shown(path))
}

/// The layout that a cache of answers holds for `caption`.
pub(crate) fn replay(cache: &Path, caption: &str) -> anyhow::Result<(Layout, Vec<String>)> {
    let cached = LayoutCache::from_json(&read(cache)?).and_then(|answers| answers.layout(caption, 0));
    mended(cached, &shown(cache))
}

fn mended(layout: Result<Layout, Error>, origin: &str) -> anyhow::Result<(Layout, Vec<String>)> {
    let layout = layout.map_err(|error| fault("cannot use the layout", &error, origin))?;
    let (layout, report) = repair(layout);
    let changes = report.to_string();
    Ok((layout, changes.lines().map(str::to_owned).collect()))
}

/// What was wrong with the text of `origin`, with the line and a caret where there is a place.
pub(crate) fn fault(what: &str, error: &Error, origin: &str) -> anyhow::Error {
    match error.fault() {
        Some(fault) => bad_request(format!("{what} in `{origin}`\n{}", fault.snippet(origin))),
        None => bad_request(format!("{what} in `{origin}`: {error}")),
    }
}

/// The text of a file, or of stdin for `-`.
pub(crate) fn read(path: &Path) -> anyhow::Result<String> {
    if is_stdin(path) {
        let mut text = String::new();
        std::io::stdin().read_to_string(&mut text).given(|| "cannot read stdin".to_owned())?;
        return Ok(text);
    }
    std::fs::read_to_string(path).given(|| format!("cannot read `{}`", path.display()))
}

fn shown(path: &Path) -> String {
    if is_stdin(path) { "stdin".to_owned() } else { path.display().to_string() }
}
