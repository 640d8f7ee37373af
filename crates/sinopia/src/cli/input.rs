//! What is read before painting: captions, layouts and caches of answers, from files or stdin.

use std::fs::File;
use std::path::Path;

use sinopia_layout::exchange::{self, Format, Hints, Imported};
use sinopia_layout::limits::{ANSWER_CACHE_BYTES, read_up_to};
use sinopia_layout::media::picture_kind;
use sinopia_layout::{Error, Layout, LayoutCache, RepairReport, lost_all, repair};

use super::failure::{Given, bad_request, with_hint};
use super::kinds::{self, Kind};
use super::output::is_stdout as is_stdin;

/// Bytes of a text: what its format allows is checked by its reader, and caches of answers are the largest of them.
const TEXT_BYTES: u64 = ANSWER_CACHE_BYTES;

/// A caption as typed, or from stdin for `-`. It must say something, and is no file that was put in its place.
pub(crate) fn caption(typed: &str) -> anyhow::Result<String> {
    let path = Path::new(typed);
    if path.extension().is_some() && path.is_file() {
        let hint = Kind::of(path).map(|kind| kind.use_of(path));
        return Err(with_hint(bad_request(format!("`{typed}` is a file, not a caption")), hint));
    }
    let caption = if typed == "-" { read(Path::new("-"))? } else { typed.to_owned() };
    let caption = caption.trim();
    if caption.is_empty() {
        return Err(bad_request("the caption is empty: say what to paint"));
    }
    Ok(caption.to_owned())
}

/// A layout from a file in any format that is read, every box inside its canvas; the lines tell what was understood and what was repaired.
pub(crate) fn layout(path: &Path) -> anyhow::Result<(Layout, Vec<String>)> {
    let hinted = |error| with_hint(error, kinds::hint(path, Kind::Layout));
    let text = read(path).map_err(hinted)?;
    repaired(exchange::read(&text, None, &Hints::default()), &shown(path)).map_err(hinted)
}

/// The layout that a cache of answers holds for `caption`.
pub(crate) fn replay(cache: &Path, caption: &str) -> anyhow::Result<(Layout, Vec<String>)> {
    let hinted = |error| with_hint(error, kinds::hint(cache, Kind::Answers));
    let answers = LayoutCache::from_json(&read(cache).map_err(hinted)?);
    let cached = answers.and_then(|answers| {
        let answer = answers.answer(caption, 0)?;
        // That it is an answer need not be told.
        let format = Some(exchange::guess(answer)).filter(|format| *format == Format::Text);
        exchange::read(answer, format, &Hints::default())
    });
    repaired(cached, &shown(cache)).map_err(hinted)
}

/// A layout that was read of `origin`, every box inside its canvas, and what is to be told of it.
pub(crate) fn repaired(read: Result<Imported, Error>, origin: &str) -> anyhow::Result<(Layout, Vec<String>)> {
    let unusable = |error| fault("cannot use the layout", &error, origin);
    let Imported { layout, notes } = read.map_err(unusable)?;
    if let Some(error) = lost_all(&layout) {
        // How it was read says why its boxes are lost, such as which canvas was taken.
        let how = Some(notes.join("\n")).filter(|notes| !notes.is_empty());
        return Err(with_hint(unusable(error), how));
    }
    let (layout, report) = repair(layout);
    Ok((layout, told(&notes, &report)))
}

/// The lines that tell of a layout: what was understood of it, and what was repaired.
pub(crate) fn told(notes: &[String], report: &RepairReport) -> Vec<String> {
    let notes = notes.iter().map(|note| format!("note: {note}"));
    let changes = report.changes.iter().map(|change| format!("layout repaired: {change}"));
    notes.chain(changes).collect()
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
    text(path, TEXT_BYTES)
}

/// The same, if it has at most `limit` bytes.
pub(crate) fn text(path: &Path, limit: u64) -> anyhow::Result<String> {
    let bytes = bytes(path, limit)?;
    String::from_utf8(bytes).map_err(|error| match picture_kind(error.as_bytes()) {
        Some(kind) => bad_request(format!("`{}` is a {kind} picture, not a text", shown(path))),
        None => bad_request(format!("`{}` is not text in UTF-8", shown(path))),
    })
}

/// The bytes of a file, or of stdin for `-`, if there are at most `limit`.
pub(crate) fn bytes(path: &Path, limit: u64) -> anyhow::Result<Vec<u8>> {
    let read = match is_stdin(path) {
        true => read_up_to(std::io::stdin(), limit),
        false => File::open(path).and_then(|file| read_up_to(file, limit)),
    };
    read.given(|| format!("cannot read `{}`", shown(path)))
}

pub(crate) fn shown(path: &Path) -> String {
    if is_stdin(path) { "stdin".to_owned() } else { path.display().to_string() }
}
