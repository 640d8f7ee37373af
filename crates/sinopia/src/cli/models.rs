//! `sinopia models`: what is at hand, what it holds, fetching more, and packing it.

mod prepare;

use std::path::Path;

use serde_json::json;
use sinopia_models::checkpoint::ModelSource;
use sinopia_models::hub::{self, HubOptions};
use sinopia_models::packs;

use sinopia_studio::models::{LoadedModel, OpenedModel, names};
use sinopia_studio::{Compute, PaintSpec, ResolvedSpec};

use super::args::{ModelsArgs, ModelsCommand};
use super::failure::{bad_request, with_hint};
use super::kinds::Kind;
use super::output;
use super::progress::Bars;

pub(crate) fn run(args: ModelsArgs) -> anyhow::Result<()> {
    match args.command {
        ModelsCommand::List { json } => list(json),
        ModelsCommand::Info { model, json } => info(&model, json),
        ModelsCommand::Pull { model } => pull(&model),
        ModelsCommand::Prepare(args) => prepare::run(&args),
    }
}

/// Opens the model called `name`, and tells what is odd about its files. A file that is no model at all is refused by what it is.
pub(crate) fn open(name: &str, compute: Compute, bars: &Bars) -> anyhow::Result<OpenedModel> {
    refuse_other_kinds(name)?;
    Ok(open_model(name, compute, bars)?)
}

/// Resolves a spec and opens its model, which is looked at once: all that can be refused before networks are loaded is refused.
pub(crate) fn resolve(spec: &PaintSpec, bars: &Bars) -> anyhow::Result<(ResolvedSpec, OpenedModel)> {
    let name = spec.model_name();
    let mut opened = None;
    let resolved = spec.resolve_for(|| {
        let model = open_model(name, spec.compute(), bars)?;
        Ok(opened.insert(model).has_grounding_adapters())
    })?;
    resolved.check_files()?;
    refuse_other_kinds(name)?;
    let opened = match opened {
        Some(opened) => opened,
        None => resolved.moved(open_model(name, spec.compute(), bars))?,
    };
    resolved.check_model(&opened)?;
    Ok((resolved, opened))
}

/// Loads the networks of a spec's model, and tells what whoever paints with it should know.
pub(crate) fn load(resolved: &ResolvedSpec, opened: &OpenedModel, bars: &Bars) -> anyhow::Result<LoadedModel> {
    if let Some(loading) = prepare::loading(opened, resolved.model().compute) {
        bars.line(&loading);
    }
    let model = resolved.load(opened)?;
    tell(&model, resolved, opened, bars);
    Ok(model)
}

/// Tells what whoever paints with a loaded model should know.
pub(crate) fn tell(model: &LoadedModel, resolved: &ResolvedSpec, opened: &OpenedModel, bars: &Bars) {
    bars.finish();
    warn_of(&model.notes, bars);
    if let Some(hint) = prepare::hint(model, opened, resolved.model().compute) {
        bars.line(&hint);
    }
}

/// Refuses a file that is no model at all, and says what it is.
fn refuse_other_kinds(name: &str) -> anyhow::Result<()> {
    let path = Path::new(name);
    match Kind::of(path) {
        None | Some(Kind::Model | Kind::LanguageModel | Kind::Captions | Kind::Empty) => Ok(()),
        Some(kind) => Err(with_hint(bad_request(format!("`{name}` is no model")), Some(kind.use_of(path)))),
    }
}

/// Opens what may be a model, and tells what is odd about its files.
fn open_model(name: &str, compute: Compute, bars: &Bars) -> sinopia_studio::Result<OpenedModel> {
    let opened = OpenedModel::open(name, compute, bars)?;
    warn_of(opened.notes(), bars);
    Ok(opened)
}

/// Tells what whoever paints with a model should know.
fn warn_of(notes: &[String], bars: &Bars) {
    notes.iter().for_each(|note| bars.warn(note));
}

fn list(as_json: bool) -> anyhow::Result<()> {
    let options = HubOptions::from_env();
    let cached = hub::cached_models(&options);
    let packed = packs::cache().map(|cache| cache.packs().list()).unwrap_or_default();
    if as_json {
        let mut models = vec![json!({ "name": sinopia_miniature::NAME, "where": "built in" })];
        models.extend(packed.iter().filter_map(|pack| {
            let (name, key) = pack.made_of.as_ref().ok()?;
            let place = pack.path.to_string_lossy();
            let about = json!({ "precision": key.precision, "bytes": pack.bytes, "stale": pack.is_stale() });
            Some(json!({ "name": name, "where": place, "packed": about }))
        }));
        models.extend(cached.iter().map(|name| json!({ "name": name, "where": options.cache.to_string_lossy() })));
        return output::print(&format!("{:#}", json!(models)));
    }
    output::print(&format!("{:<48} built in", sinopia_miniature::NAME))?;
    for name in cached {
        output::print(&format!("{name:<48} Hub cache"))?;
    }
    prepare::lines(&packed).iter().try_for_each(|line| output::print(line))
}

fn info(name: &str, as_json: bool) -> anyhow::Result<()> {
    let bars = Bars::new(false);
    let opened = open(name, Compute::default(), &bars)?;
    let checkpoint = opened.checkpoint();
    let (about, hash) = (checkpoint.describe(), checkpoint.content_hash()?);
    if as_json {
        let mut value = json!(about);
        value["hash"] = json!(hash);
        return output::print(&format!("{value:#}"));
    }
    let mut lines = vec![
        format!("model        {}", about.name),
        format!("family       {}", about.family),
        format!("size         {:.1} MB", about.bytes as f64 / 1e6),
        format!("predicts     {}, scheduler {}", about.prediction_type, about.scheduler),
        format!("latents      {} channels, 1 cell = {} px", about.latent_channels, about.vae_scale_factor),
    ];
    if let Some(side) = about.image_size {
        lines.push(format!("images       {side} × {side} px"));
    }
    if about.has_grounding_adapters {
        lines.push("adapters     GLIGEN's: `gligen` and `lmd-plus` paint with it".to_owned());
    }
    for part in &about.components {
        let millions = part.parameters as f64 / 1e6;
        lines.push(format!("{:<12} {millions:.2} M parameters, {}", part.name, part.formats.join(" ")));
    }
    lines.push(format!("sha256       {hash}"));
    output::print(&lines.join("\n"))
}

fn pull(name: &str) -> anyhow::Result<()> {
    if name == sinopia_miniature::NAME {
        return Err(bad_request(format!("`{name}` is built in: there is nothing to fetch")));
    }
    let bars = Bars::new(false);
    match names::source(names::without_variant(name))? {
        ModelSource::Hub(_) => {
            open(name, Compute::default(), &bars)?;
            bars.finish();
            output::print(&format!("{name} is in the cache, {}", HubOptions::from_env().cache.display()))
        }
        _ => Err(bad_request(format!("`{name}` is on this machine already; `pull` takes a Hub id, `owner/name`"))),
    }
}
