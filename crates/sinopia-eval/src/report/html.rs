//! The report as one web page that needs nothing else: thumbnails, data, style and script are inside it.
//!
//! The page is a template with three places to fill. Texts go in as JSON with `<` escaped, and the script only ever sets text, so no
//! caption or file name becomes markup.

use std::io::Cursor;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use image::codecs::jpeg::JpegEncoder;
use image::imageops::FilterType;
use serde_json::{Value, json};

use super::markdown;
use super::runs::{Report, RunReport};
use crate::benchmark::{Protocol, tasks};
use crate::score::ImageScore;
use crate::tally::Tally;
use crate::{Error, Result, files};

const TEMPLATE: &str = include_str!("page.html");
/// Longest side of a picture in the page, in pixels.
const THUMBNAIL: u32 = 256;
/// JPEG quality of pictures in the page, 1..=100.
const QUALITY: u8 = 82;

/// The page.
///
/// # Errors
/// [`Error::Read`] or [`Error::Image`] for an image that cannot be read.
pub fn html(report: &Report) -> Result<String> {
    let mut images = Vec::new();
    for (position, run) in report.runs.iter().enumerate() {
        for index in &run.run.manifest().planned {
            for repeat in 0..run.run.manifest().settings.repeats {
                images.extend(image_entry(report, (position, run), *index, repeat)?);
            }
        }
    }
    let data = json!({ "tables": tables(report), "images": images, "runs": runs(report), "tasks": tasks(report.benchmark.as_ref()) });
    let data = data.to_string().replace('<', "\\u003c");
    let page =
        TEMPLATE.replace("{{title}}", report.benchmark.name()).replace("{{note}}", &escape(report.benchmark.note()));
    Ok(page.replace("{{data}}", &data)) // last: nothing in the data is taken for a place to fill
}

fn escape(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;")
}

fn runs(report: &Report) -> Vec<Value> {
    let about = |run: &RunReport| {
        let planned = run.run.manifest().planned.len();
        json!({ "label": run.label, "about": markdown::describe(run).replace(['*', '`'], ""), "planned": planned })
    };
    report.runs.iter().map(about).collect()
}

/// A table a protocol: rows of cells.
fn tables(report: &Report) -> Vec<Value> {
    Protocol::ALL.map(|protocol| json!({ "protocol": protocol.name(), "rows": rows(report, protocol), "pairs": pairs(report, protocol) })).to_vec()
}

fn rows(report: &Report, protocol: Protocol) -> Vec<Value> {
    let columns: Vec<&str> = tasks(report.benchmark.as_ref()).into_iter().chain([Tally::OVERALL]).collect();
    let ours = report.runs.iter().filter(|run| run.scores.is_some()).map(|run| {
        let tallies = report.tallies(run, protocol);
        let cell = |task: &&str| {
            tallies
                .iter()
                .find(|tally| tally.task == **task)
                .filter(|tally| tally.total > 0)
                .map(|tally| json!({ "rate": tally.rate, "interval": tally.interval, "total": tally.total }))
        };
        json!({ "name": run.label, "ours": true, "cells": columns.iter().map(cell).collect::<Vec<_>>() })
    });
    let others = report.benchmark.published().iter().filter(|row| !row.is_layout && protocol == Protocol::Published);
    let others = others.map(|row| {
        let cells = row.tasks.iter().chain([&row.overall]).map(|percent| json!({ "rate": percent / 100.0 }));
        json!({ "name": row.name, "ours": false, "cells": cells.collect::<Vec<_>>() })
    });
    ours.chain(others).collect()
}

fn pairs(report: &Report, protocol: Protocol) -> Vec<Value> {
    let pairs = report.comparisons(protocol).into_iter();
    pairs.map(|pair| json!([pair.first, pair.second, pair.shared, pair.only_first, pair.only_second, pair.p])).collect()
}

/// One image of a run with its boxes and verdicts, or what is known of a missing one; nothing for a caption that the benchmark lacks.
fn image_entry(
    report: &Report,
    (position, run): (usize, &RunReport),
    index: usize,
    repeat: usize,
) -> Result<Option<Value>> {
    let Some(sample) = report.benchmark.samples().get(index) else { return Ok(None) };
    let path = run.run.image(index, repeat);
    let picture = if path.is_file() { Some(thumbnail(&path)?) } else { None };
    let scored = run
        .scores
        .as_ref()
        .and_then(|scores| scores.images.iter().find(|image| (image.index, image.repeat) == (index, repeat)));
    let judged = |image: &ImageScore, protocol: Protocol| {
        let judged = image.by(protocol);
        json!({ "score": judged.verdict.score, "reason": judged.verdict.reason, "seen": judged.seen })
    };
    Ok(Some(json!({
        "run": position,
        "index": index,
        "repeat": repeat,
        "task": sample.task,
        "caption": sample.caption,
        "picture": picture,
        "size": scored.map(|image| image.size),
        "published": scored.map(|image| judged(image, Protocol::Published)),
        "strict": scored.map(|image| judged(image, Protocol::Strict)),
    })))
}

/// A small JPEG as a `data:` address.
fn thumbnail(path: &std::path::Path) -> Result<String> {
    let problem = |error: image::ImageError| Error::Image { path: path.to_owned(), problem: error.to_string() };
    let image = files::picture(path, &files::read_picture(path)?)?;
    let image = match image.width().max(image.height()) > THUMBNAIL {
        true => image.resize(THUMBNAIL, THUMBNAIL, FilterType::Triangle),
        false => image,
    };
    let mut bytes = Cursor::new(Vec::new());
    JpegEncoder::new_with_quality(&mut bytes, QUALITY).encode_image(&image.into_rgb8()).map_err(problem)?;
    Ok(format!("data:image/jpeg;base64,{}", STANDARD.encode(bytes.into_inner())))
}
