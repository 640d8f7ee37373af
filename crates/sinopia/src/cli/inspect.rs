//! `sinopia inspect IMAGE`: how an image was made, for people or as JSON.

use anyhow::Context;
use serde_json::json;
use sinopia_diffusion::{InvertedSource, Operation, Recipe, Shortcuts, TryRecord};
use sinopia_layout::Canvas;
use sinopia_studio::pictures::Origin;

use super::args::InspectArgs;
use super::progress::Bars;
use super::{edit, foreign, output, painting_file, terminal};

pub(crate) fn run(args: &InspectArgs) -> anyhow::Result<()> {
    let text = match painting_file::read(&args.image)? {
        Origin::Sinopia { recipe } => recipe,
        Origin::Foreign(made) if args.json => {
            return output::print(&format!("{:#}", json!({ "foreign": foreign::wire(&made) })));
        }
        Origin::Foreign(made) => return output::print(&foreign::lines(&made).join("\n")),
    };
    let recipe = Recipe::from_json(&text).with_context(|| format!("cannot read `{}`", args.image.display()))?;
    match args.json {
        true => output::print(&format!("{:#}", serde_json::to_value(&recipe)?))?,
        false => output::print(&lines(&recipe).join("\n"))?,
    }
    // What it says may be of use even where it cannot be painted again.
    if let Err(error) = recipe.build_method() {
        Bars::new(false).warn(&format!("this version cannot paint it again: {error}"));
    }
    Ok(())
}

/// `seed 3, kept: 2 of 3 right`.
fn tried_words(tried: &TryRecord) -> String {
    let done = if tried.operations.is_empty() { String::new() } else { format!(", {}", operations(&tried.operations)) };
    format!("seed {}{done}, {}: {}", tried.seed.0, if tried.accepted { "kept" } else { "not kept" }, tried.summary)
}

/// `remove a bowl, add a cup`.
fn operations(operations: &[Operation]) -> String {
    operations.iter().map(|done| format!("{} {}", done.name(), done.phrase())).collect::<Vec<_>>().join(", ")
}

fn lines(recipe: &Recipe) -> Vec<String> {
    let sampling = &recipe.sampling;
    let mut lines = Vec::new();
    let mut say = |name: &str, value: String| lines.push(format!("{name:<11} {}", terminal::one_line(&value)));
    say("caption", recipe.caption.clone().unwrap_or_else(|| "(none)".to_owned()));
    if let Some(layout) = recipe.final_layout() {
        for object in &layout.objects {
            say("object", format!("{} {}", object.phrase, object.bbox));
        }
        say("background", layout.background.clone());
        if !layout.negative.is_empty() {
            say("negative", layout.negative.clone());
        }
    }
    if let Some(InvertedSource { sha256, .. }) = &recipe.inverted {
        say("made of", format!("another picture, inverted (sha256 {sha256})"));
    }
    let canvas = recipe.final_layout().map_or(Canvas::PUBLISHED, |layout| layout.canvas);
    for operation in recipe.edits.iter().flat_map(|edit| &edit.operations) {
        say("edit", edit::sentence(operation, canvas));
    }
    if let Some(negative) = &recipe.negative {
        say("--negative", negative.clone());
    }
    say("method", recipe.method.clone());
    say("seed", sampling.seed.0.to_string());
    say("size", format!("{} × {} px", sampling.width, sampling.height));
    let scheduler = sampling.scheduler_name().map_or("the model's own".to_owned(), |name| name.to_string());
    say(
        "steps",
        format!("{} with {scheduler}, guidance scale {}", sampling.num_inference_steps, sampling.guidance_scale),
    );
    let Shortcuts { guidance_interval, deep_every, merge_tokens } = sampling.shortcuts;
    let usual = Shortcuts::default();
    if guidance_interval != usual.guidance_interval {
        say("speed", format!("guidance in {}..{} of the steps", guidance_interval.0, guidance_interval.1));
    }
    if deep_every != usual.deep_every {
        say("speed", format!("deep layers every {deep_every} steps"));
    }
    if merge_tokens != usual.merge_tokens {
        say("speed", format!("tokens merged {merge_tokens} × {merge_tokens}"));
    }
    if sampling.guidance_rescale > 0.0 {
        say("rescale", sampling.guidance_rescale.to_string());
    }
    say("model", format!("{} ({}, sha256 {})", recipe.model.id, recipe.precision, recipe.model.hash));
    if let Some(sam) = &recipe.sam {
        say("sam", format!("{} (sha256 {})", sam.id, sam.hash));
    }
    if let Some(ella) = &recipe.ella {
        let (encoding, range) = (sampling.text_encoding.encoder.as_str(), ella.range.as_str());
        say(
            "text encoder",
            format!("{encoding}: {} and {} in {range} (sha256 {})", ella.t5, ella.connector, ella.hash),
        );
    }
    if let Some(checked) = &recipe.checked {
        say("checked", format!("by {} (sha256 {})", checked.evaluator.id, checked.evaluator.hash));
        checked.tries.iter().for_each(|tried| say("try", tried_words(tried)));
    }
    say("made by", format!("Sinopia {}", recipe.sinopia));
    if let serde_json::Value::Object(options) = &recipe.options {
        for (name, value) in options {
            say("option", format!("{name}={value}"));
        }
    }
    lines
}
