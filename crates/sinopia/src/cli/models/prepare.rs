//! `sinopia models prepare`: weights packed once into a file, from which every later start takes them as they lie.

use std::time::{Duration, Instant};

use sinopia_diffusion::Pipeline;
use sinopia_models::packs::{self, CacheOptions, PackInfo, Prepared};
use sinopia_studio::models::{LoadedModel, OpenedModel, memory};
use sinopia_studio::{Compute, PaintSpec, PrecisionChoice};

use crate::cli::args::{Painting, PrepareArgs};
use crate::cli::failure::bad_request;
use crate::cli::progress::Bars;
use crate::cli::{output, settings};

/// From when on a start is told to be slow.
const SLOW_START: Duration = Duration::from_secs(1);

/// Bytes from which on a model is told to be loading.
const LARGE: u64 = 1 << 29;

pub(super) fn run(args: &PrepareArgs) -> anyhow::Result<()> {
    let painting = settings::merge(Painting {
        settings: args.paint.settings().clone(),
        machine: args.machine.settings().clone(),
        config: args.config.clone(),
        ..Painting::default()
    })?;
    painting.machine.apply()?;
    let options = packs::cache().unwrap_or_else(|| CacheOptions::new(settings::user_cache_folder()));
    let compute = PaintSpec::default().with(painting.settings).compute();
    match args.model.as_deref() {
        model if args.clear => clear(model, compute, &options),
        Some(model) => prepare(model, compute, &options),
        None => Err(bad_request("say which model is to be packed")),
    }
}

/// What would have made a start short that was not, if anything.
pub(super) fn hint(model: &LoadedModel, opened: &OpenedModel, compute: Compute) -> Option<String> {
    let time = model.packing_time.filter(|time| *time > SLOW_START)?;
    let gigabytes = gigabytes(memory::weight_bytes(opened, compute));
    let precision = match compute.precision {
        PrecisionChoice::Auto => String::new(),
        other => format!(" --precision {other}"),
    };
    Some(format!(
        "loading took {:.1} s; after `sinopia models prepare {}{precision}` (some {gigabytes} on disk), or once with `--pack-cache`, it takes a fraction of that",
        time.as_secs_f64(),
        opened.name()
    ))
}

/// What is told before networks are loaded that take their time.
pub(super) fn loading(opened: &OpenedModel, compute: Compute) -> Option<String> {
    let bytes = memory::weight_bytes(opened, compute);
    (bytes > LARGE).then(|| format!("loading {}, {}", opened.name(), gigabytes(bytes)))
}

/// A line for each pack.
pub(super) fn lines(packs: &[PackInfo]) -> Vec<String> {
    let line = |info: &PackInfo| match &info.made_of {
        Ok((model, key)) => {
            let version = match (info.is_stale(), info.is_newer()) {
                (true, _) => " (of an earlier version: prepare the model again)",
                (_, true) => " (of a later version, which alone uses it)",
                _ => "",
            };
            format!("{model:<48} packed, {}, {}{version}", option_of(&key.precision), gigabytes(info.bytes))
        }
        Err(problem) => format!("{:<48} no pack: {problem}", info.path.display().to_string()),
    };
    packs.iter().map(line).collect()
}

fn prepare(name: &str, compute: Compute, options: &CacheOptions) -> anyhow::Result<()> {
    if name == sinopia_miniature::NAME {
        return Err(bad_request(format!("`{name}` is built in, and loads at once as it is")));
    }
    let bars = Bars::new(false);
    let opened = super::open(name, compute, &bars)?;
    bars.finish();
    let (precision, size) = (compute.precision.resolved(), gigabytes(memory::weight_bytes(&opened, compute)));
    bars.line(&format!("packing {name} for {precision}, some {size}"));
    let begun = Instant::now();
    let prepared = packs::prepare::<_, sinopia_diffusion::Error>(opened.checkpoint(), options, Pipeline::load)?;
    // What an earlier version packed is of no use any more.
    options.packs().clear(PackInfo::is_stale)?;
    output::print(&told(name, compute, &prepared, begun.elapsed()))
}

fn told(name: &str, compute: Compute, prepared: &Prepared, time: Duration) -> String {
    let Prepared { path, bytes, is_new } = prepared;
    let (precision, size, place) = (compute.precision.resolved(), gigabytes(*bytes), path.display());
    match is_new {
        true => format!("{name} is packed for {precision}: {size}, {:.1} s, {place}", time.as_secs_f64()),
        false => format!("{name} was packed for {precision} already, and is as it was written: {size}, {place}"),
    }
}

/// What `--precision` calls the precision of a pack: numbers as the file has them are `auto` in its key.
fn option_of(precision: &str) -> &str {
    match precision {
        "auto" => PrecisionChoice::Stored.as_str(),
        other => other,
    }
}

/// Whether a pack was made of a model under this name.
fn is_of(info: &PackInfo, name: &str) -> bool {
    info.made_of.as_ref().is_ok_and(|(model, _)| model == name)
}

fn clear(name: Option<&str>, compute: Compute, options: &CacheOptions) -> anyhow::Result<()> {
    // A model that is still there is known by its content, whatever it was called.
    let content = match name {
        Some(name) => OpenedModel::open(name, compute, &Bars::new(true))
            .ok()
            .and_then(|opened| opened.checkpoint().content_hash().map(str::to_owned).ok()),
        None => None,
    };
    let has_content =
        |info: &PackInfo| matches!((&info.made_of, &content), (Ok((_, key)), Some(content)) if key.content == *content);
    let has_precision = |info: &PackInfo| match (compute.precision, &info.made_of) {
        (PrecisionChoice::Auto, _) => true,
        (precision, Ok((_, key))) => option_of(&key.precision) == precision.as_str(),
        (_, Err(_)) => false,
    };
    let folder = options.packs();
    let removed =
        folder.clear(|info| has_precision(info) && name.is_none_or(|name| is_of(info, name) || has_content(info)))?;
    let mut text = match removed.packs {
        0 => "no pack is removed".to_owned(),
        1 => format!("1 pack is removed, {}", gigabytes(removed.bytes)),
        packs => format!("{packs} packs are removed, {}", gigabytes(removed.bytes)),
    };
    match removed.leftovers {
        0 => {}
        bytes => text.push_str(&format!("; what a process left half written is, {}", gigabytes(bytes))),
    }
    match removed.in_use {
        0 => {}
        1 => text.push_str("; one that is in use stays"),
        packs => text.push_str(&format!("; {packs} that are in use stay")),
    }
    output::print(&format!("{text} ({})", folder.path().display()))
}

/// `2.6 GB`.
fn gigabytes(bytes: u64) -> String {
    match bytes {
        ..100_000_000 => format!("{:.1} MB", bytes as f64 / 1e6),
        _ => format!("{:.1} GB", bytes as f64 / 1e9),
    }
}
