//! What the network is conditioned on while a picture is edited.

use sinopia_layout::scene::{OVERALL_NEGATIVE, SceneObject};
use sinopia_layout::{Layout, LayoutObject, Scene, SceneOptions};

use super::Operation;
use super::context::Context;
use super::patch::{Patch, Wanted};
use crate::Result;
use crate::conditioning::PromptText;
use crate::grounding::{GroundingOptions, GuidanceGrounding, SlotPhrase, slots, wiring};
use crate::losses::GroundedTokens;
use crate::observer::Stage;
use crate::painting::Sampling;
use crate::pipeline::GuidedText;
use crate::prompts::{GroundedText, PromptToRead, joined};
use crate::window::Window;

/// Intersection over union from which on two boxes are one place, whatever is in them. Usual for detections: 0.5.
const SAME_PLACE: f64 = 0.5;

/// What a pass is told of the part of the picture that it sees.
pub(super) struct Texts {
    pub(super) prompt: GuidedText,
    /// The tokens of what is painted, where their attention has to be guided.
    pub(super) tokens: Vec<GroundedTokens>,
}

impl Texts {
    /// Of a pass that begins at call `first`, paints these patches and sees what is in a window.
    pub(super) fn read(first: usize, patches: &[&Patch], window: Window, context: &Context) -> Result<Self> {
        let layout = seen(patches, window, context)?;
        let wanted = patches.iter().filter_map(|patch| patch.wanted.as_ref());
        let wanted = wanted.filter_map(|wanted| Some(Wanted::new(&wanted.phrase, &window.bbox(&wanted.bbox)?)));
        let wanted: Vec<Wanted> = wanted.collect();
        context.run.stage(&Stage::Encode, || {
            let (prompt, tokens) = whole(&scene(&layout, context)?, first, &wanted, context)?;
            Ok(Self { prompt, tokens })
        })
    }

    /// Of a pass that removes things.
    pub(super) fn behind(context: &Context) -> Result<Self> {
        let prompt = context.run.stage(&Stage::Encode, || behind(&scene(&context.edit.layout, context)?, context))?;
        Ok(Self { prompt, tokens: Vec::new() })
    }
}

/// What is in the window after the edit, as far as it is told. Of other things than those that are painted anew nothing is said: they are there to be seen, and words for them would be
/// painted into the new one.
fn seen(patches: &[&Patch], window: Window, context: &Context) -> Result<Layout> {
    let layout = &context.edit.layout;
    let new = patches.iter().filter(|patch| patch.is_new).filter_map(|patch| patch.wanted.as_ref());
    let new: Vec<LayoutObject> = new
        .map(|wanted| LayoutObject { phrase: wanted.phrase.clone(), bbox: wanted.bbox.to_pixels(layout.canvas) })
        .collect();
    match new.is_empty() {
        true => window.layout(layout),
        false => window.layout(&Layout { objects: new, ..layout.clone() }),
    }
}

fn scene(layout: &Layout, context: &Context) -> Result<Scene> {
    let negative = context.source.request.negative.as_deref().unwrap_or(OVERALL_NEGATIVE);
    let options = SceneOptions { overall_negative: negative.trim().to_owned(), ..SceneOptions::default() };
    Ok(Scene::compose_with(layout, &options)?)
}

/// The prompt of a scene, conditioned on its boxes or with the tokens to guide.
fn whole(
    scene: &Scene,
    first: usize,
    wanted: &[Wanted],
    context: &Context,
) -> Result<(GuidedText, Vec<GroundedTokens>)> {
    let Context { pipeline, run, .. } = *context;
    let (sampling, mut prompt) = (context.source.sampling, scene.overall().clone());
    if prompt.text.is_empty() {
        prompt.text = context.source.request.caption.clone().unwrap_or_default();
    }
    let negative = scene.overall_negative();
    let has_adapters = pipeline.denoiser().has_grounding_adapters();
    if !has_adapters && !wanted.is_empty() && sampling.text_encoding.encoder.has_words() {
        let to_read = PromptToRead { prompt: &prompt, caption: None, negative };
        let read = GroundedText::read(to_read, pipeline, sampling, run)?;
        let tokens = tokens_of(&read, scene.objects(), wanted);
        return Ok((read.text, tokens));
    }
    let text = pipeline.encode_pairs(&[PromptText::new(&prompt.text)], negative, sampling, run)?.swap_remove(0);
    if !has_adapters {
        return Ok((text, Vec::new()));
    }
    let grounding = GroundingOptions {
        beta: grounded_share(first, context),
        guidance: GuidanceGrounding::None,
        wiring: wiring(context.source.method.options()["reground"].as_bool().unwrap_or(false)),
    };
    Ok((text.grounded(&slots(scene, SlotPhrase::Name), grounding, pipeline, run)?, Vec::new()))
}

/// The share of all calls such that the adapters are on for the first of those that are made.
fn grounded_share(first: usize, context: &Context) -> f64 {
    let calls = context.call_at(first, context.options.grounding_share);
    (calls as f64 + 0.5) / context.num_calls() as f64 // halves, so that rounding down gives the number of calls
}

/// Of the phrases that were found those that are painted, in the boxes that they are painted in.
fn tokens_of(read: &GroundedText, objects: &[SceneObject], wanted: &[Wanted]) -> Vec<GroundedTokens> {
    let places: Vec<_> = wanted.iter().map(|wanted| place_of(wanted, objects)).collect();
    let mut kept = Vec::new();
    for (tokens, range) in read.tokens.iter().zip(&read.objects) {
        let is_painted = |place: &Option<usize>| place.is_some_and(|place| range.contains(&place));
        let painted = wanted.iter().zip(&places).filter(|(_, place)| is_painted(place));
        let bboxes: Vec<_> = painted.map(|(wanted, _)| wanted.bbox).collect();
        if !bboxes.is_empty() {
            kept.push(GroundedTokens { bboxes, ..tokens.clone() });
        }
    }
    kept
}

/// Which object of the layout something is: boxes that are painted in may be wider than the layout's. The one of its name that it overlaps most, else one of another
/// name in nearly its place.
fn place_of(wanted: &Wanted, objects: &[SceneObject]) -> Option<usize> {
    let has_name = |object: &SceneObject| object.name().eq_ignore_ascii_case(wanted.phrase.trim());
    let candidates = objects.iter().enumerate().map(|(place, object)| {
        let overlap = object.bbox().iou(&wanted.bbox);
        (has_name(object), overlap, place)
    });
    let near = candidates.filter(|(has_name, overlap, _)| *overlap >= SAME_PLACE || (*has_name && *overlap > 0.0));
    near.max_by(|one, other| one.0.cmp(&other.0).then(one.1.total_cmp(&other.1))).map(|(.., place)| place)
}

/// The background's prompt. Where the network can erase it is weighed against nothing: erasing is; else against what is removed.
fn behind(scene: &Scene, context: &Context) -> Result<GuidedText> {
    let Context { pipeline, run, .. } = *context;
    let sampling = context.source.sampling;
    let prompt = [PromptText::new(context.edit.layout.background.trim())];
    if pipeline.denoiser().can_erase() {
        let unguided = Sampling { guidance_scale: 1.0, ..sampling.clone() };
        return Ok(pipeline.encode_pairs(&prompt, "", &unguided, run)?.swap_remove(0));
    }
    let gone = context.edit.operations.iter().filter(|operation| matches!(operation, Operation::Remove { .. }));
    let mut negative: Vec<&str> = gone.map(Operation::phrase).collect();
    negative.push(scene.overall_negative());
    Ok(pipeline.encode_pairs(&prompt, &joined(&negative), sampling, run)?.swap_remove(0))
}

#[cfg(test)]
mod tests {
    use sinopia_layout::{BBox, Canvas};

    use super::*;

    fn bbox(x0: f64, y0: f64, x1: f64, y1: f64) -> BBox {
        BBox::new(x0, y0, x1, y1).unwrap()
    }

    #[test]
    fn what_is_painted_is_found_by_its_name_and_else_by_its_place() {
        let (left, right) = (bbox(0.1, 0.1, 0.4, 0.5), bbox(0.6, 0.1, 0.9, 0.5));
        let object = |(phrase, bbox): (&str, BBox)| LayoutObject {
            phrase: phrase.to_owned(),
            bbox: bbox.to_pixels(Canvas::PUBLISHED),
        };
        let layout = Layout {
            canvas: Canvas::PUBLISHED,
            objects: [("a dog", left), ("a dog", right), ("a fox", left)].map(object).to_vec(),
            background: "a beach".to_owned(),
            negative: String::new(),
        };
        let scene = Scene::compose(&layout).unwrap();
        let found = |phrase: &str, bbox: BBox| place_of(&Wanted::new(phrase, &bbox), scene.objects());
        // Objects are sorted by name.
        assert_eq!(found("a dog", right), Some(1));
        assert_eq!(found("a dog", bbox(0.3, 0.0, 1.0, 0.6)), Some(1));
        assert_eq!(found("A fox", bbox(0.0, 0.0, 0.55, 0.6)), Some(2));
        assert_eq!(found("a wolf", bbox(0.58, 0.1, 0.9, 0.5)), Some(1));
        assert_eq!(found("a wolf", bbox(0.4, 0.0, 1.0, 1.0)), None);
        assert_eq!(found("a fox", bbox(0.7, 0.6, 0.9, 0.9)), None);
    }
}
