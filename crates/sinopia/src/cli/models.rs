//! `sinopia models`: what is at hand, what it holds, and fetching more.

use serde_json::json;
use sinopia_models::checkpoint::ModelSource;
use sinopia_models::hub::{self, HubOptions};

use super::args::{ModelsArgs, ModelsCommand, PrecisionArg};
use super::failure::bad_request;
use super::progress::Bars;
use super::{model, output};

pub(crate) fn run(args: ModelsArgs) -> anyhow::Result<()> {
    match args.command {
        ModelsCommand::List { json } => list(json),
        ModelsCommand::Info { model, json } => info(&model, json),
        ModelsCommand::Pull { model } => pull(&model),
    }
}

fn list(as_json: bool) -> anyhow::Result<()> {
    let options = HubOptions::from_env();
    let cached = hub::cached_models(&options);
    if as_json {
        let mut models = vec![json!({ "name": sinopia_miniature::NAME, "where": "built in" })];
        models.extend(cached.iter().map(|name| json!({ "name": name, "where": options.cache.to_string_lossy() })));
        return output::print(&format!("{:#}", json!(models)));
    }
    output::print(&format!("{:<48} built in", sinopia_miniature::NAME))?;
    for name in cached {
        output::print(&format!("{name:<48} Hub cache"))?;
    }
    Ok(())
}

fn info(name: &str, as_json: bool) -> anyhow::Result<()> {
    let bars = Bars::new(false);
    let checkpoint = model::checkpoint(name, PrecisionArg::Auto, &bars)?;
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
    match model::source(model::without_variant(name))? {
        ModelSource::Hub(_) => {
            model::checkpoint(name, PrecisionArg::Auto, &bars)?;
            bars.finish();
            output::print(&format!("{name} is in the cache, {}", HubOptions::from_env().cache.display()))
        }
        _ => Err(bad_request(format!("`{name}` is on this machine already; `pull` takes a Hub id, `owner/name`"))),
    }
}
