//! `sinopia check IMAGE…`: whether pictures show what was asked for, as a detector or a vision model sees it.

use std::path::Path;

use anyhow::Context;
use image::RgbImage;
use serde_json::json;
use sinopia_diffusion::{CancellationToken, Recipe};
use sinopia_eval::Evaluator;
use sinopia_eval::evaluators::VqaEvaluator;
use sinopia_layout::Layout;
use sinopia_layout::limits::{PICTURE_BYTES, PICTURE_PIXELS};
use sinopia_planner::built_in::BuiltInPlanner;
use sinopia_planner::{PlanContext, PlanTask, Planner};
use sinopia_studio::verdict::{Look, ObjectState, ObjectVerdict, Program, Verdict};
use sinopia_studio::{detector_for, open_detector, pictures, recipe_in};

use super::args::CheckArgs;
use super::eval::args::VqaArgs;
use super::eval::vqa::Vqa;
use super::failure::{Given, bad_request, with_hint};
use super::kinds::{self, Kind};
use super::progress::{Bars, cancellation_on_interrupt};
use super::{input, output, terminal};

const NOTHING_ASKED: &str = "say what it should show with `--caption TEXT` or `--layout FILE`";
const WHICH_DETECTOR: &str = "\
name one with `--detector`: a folder such as a download of google/owlv2-base-patch16-ensemble, or `miniature` for pictures of its world;
or a vision model with `--llm-model NAME`, and its server with `--llm-base-url`";

pub(crate) fn run(args: &CheckArgs) -> anyhow::Result<()> {
    let bars = Bars::new(false);
    // What cannot be looked at is refused before anybody looks.
    let layout = args.layout.as_deref().map(|path| asked_for(path, &bars)).transpose()?;
    let asked = args.images.iter().map(|image| Asked::read(image, layout.as_ref(), args.caption.as_deref(), &bars));
    let asked: Vec<Asked> = asked.collect::<anyhow::Result<_>>()?;
    let evaluator = open(&asked, args, &bars)?;
    let cancellation = cancellation_on_interrupt(&bars)?;
    let mut told = Vec::new();
    for asked in &asked {
        let verdict = asked.look(evaluator.as_ref(), &cancellation)?;
        match args.json {
            true => told.push(json!({ "file": asked.file, "verdict": verdict })),
            false => output::print(&lines(&asked.file, &verdict).join("\n"))?,
        }
    }
    if args.json { output::print(&format!("{:#}", json!({ "images": told }))) } else { Ok(()) }
}

/// The layout that pictures should show; what was understood of it is told.
fn asked_for(path: &Path, bars: &Bars) -> anyhow::Result<Layout> {
    let (layout, told) = input::layout(path)?;
    bars.lines(&told, "");
    Ok(layout)
}

/// A picture, and what it has to show.
struct Asked {
    file: String,
    image: RgbImage,
    program: Program,
    /// The model that painted it, as far as the picture says.
    model: Option<String>,
}

impl Asked {
    /// Reads a picture and its recipe, if it has one. A layout that is given wins over a caption that is given, and both win over the recipe's.
    fn read(path: &Path, layout: Option<&Layout>, caption: Option<&str>, bars: &Bars) -> anyhow::Result<Self> {
        let file = input::shown(path);
        let hinted = |error| with_hint(error, kinds::hint(path, Kind::Png));
        let bytes = input::bytes(path, PICTURE_BYTES).map_err(hinted)?;
        let image =
            pictures::decode(&bytes, PICTURE_PIXELS).given(|| format!("cannot read `{file}`")).map_err(hinted)?;
        let recipe = recipe_in(&bytes).ok().map(|text| Recipe::from_json(&text)).transpose();
        let recipe = recipe.with_context(|| format!("cannot read the recipe in `{file}`"))?;
        let of_recipe = recipe.as_ref().and_then(Recipe::final_layout);
        let caption_of_recipe = recipe.as_ref().and_then(|recipe| recipe.caption.as_deref());
        // The recipe's layout was drawn for its caption, and not for another one.
        let is_other_caption = caption.is_some_and(|caption| caption_of_recipe != Some(caption));
        let program = match (layout, of_recipe.filter(|_| !is_other_caption)) {
            (Some(layout), _) => program(layout, caption, recipe.as_ref())?,
            (None, Some(layout)) => program(layout, caption_of_recipe, recipe.as_ref())?,
            (None, None) => {
                let caption = caption.or(caption_of_recipe).ok_or_else(|| {
                    let problem = bad_request(format!("`{file}` does not say what it should show"));
                    with_hint(problem, Some(NOTHING_ASKED.to_owned()))
                })?;
                program_of_caption(caption, bars)?
            }
        };
        Ok(Self { file, image: image.into_rgb8(), program, model: recipe.map(|recipe| recipe.model.id) })
    }

    fn look(&self, evaluator: &dyn Evaluator, cancellation: &CancellationToken) -> anyhow::Result<Verdict> {
        let seen = evaluator.look(&self.image, &self.program, Some(cancellation));
        seen.with_context(|| format!("cannot look at `{}`", self.file))
    }
}

/// What a picture of a layout has to show; places count unless its recipe names a method that knows none.
fn program(layout: &Layout, caption: Option<&str>, recipe: Option<&Recipe>) -> anyhow::Result<Program> {
    Ok(match recipe {
        Some(recipe) => Program::for_method(layout, caption, &recipe.method)?,
        None => Program::compile(layout, caption),
    })
}

/// What a picture of a caption has to show, as the built-in planner reads it: what it does not understand is told, and things may stand wherever the caption's own words allow.
fn program_of_caption(caption: &str, bars: &Bars) -> anyhow::Result<Program> {
    let planner = BuiltInPlanner::new(BuiltInPlanner::default_options());
    let plan = planner.plan(&PlanTask::caption(caption), &PlanContext::default());
    let plan = plan.given(|| "cannot tell from the caption what to look for".to_owned())?;
    bars.lines(&plan.notes().into_iter().map(|note| note.text).collect::<Vec<_>>(), "");
    Ok(Program::compile(&plan.layout, Some(caption)).without_places())
}

/// Who looks: who is named, or the built-in detector if the miniature painted all of them.
fn open(asked: &[Asked], args: &CheckArgs, bars: &Bars) -> anyhow::Result<Box<dyn Evaluator>> {
    let vqa = VqaArgs { llm_model: args.llm_model.clone(), llm_base_url: args.llm_base_url.clone() };
    if vqa.llm_model.is_some() {
        return Ok(Box::new(VqaEvaluator(Vqa::new(&vqa, bars)?)));
    }
    // One looks at all of them: none is by another model, or who looks is named.
    let stranger = asked.iter().find(|asked| asked.model.as_deref() != Some(sinopia_miniature::NAME));
    let name = match (&args.detector, stranger) {
        (None, Some(Asked { file, model: None, .. })) => {
            Err(bad_request(format!("no detector is named, and `{file}` does not say which model painted it")))
        }
        (detector, stranger) => {
            let model = stranger.and_then(|asked| asked.model.as_deref()).unwrap_or(sinopia_miniature::NAME);
            detector_for(detector.as_deref(), model).map_err(anyhow::Error::from)
        }
    };
    let name = name.map_err(|error| with_hint(error, Some(WHICH_DETECTOR.to_owned())))?;
    Ok(Box::new(open_detector(name)?))
}

/// The summary, then each object, what is too much, and what cannot be told.
fn lines(file: &str, verdict: &Verdict) -> Vec<String> {
    let mut lines = vec![terminal::one_line(&format!("{file}: {}", verdict.summary()))];
    let mut say = |name: &str, what: String| {
        lines.push(terminal::one_line(&format!("  {name:<24} {what}")).trim_end().to_owned());
    };
    for object in &verdict.objects {
        say(&object.phrase, state(object));
    }
    for seen in &verdict.extra {
        say(&seen.phrase, format!("too many, score {:.2}", seen.score));
    }
    for seen in &verdict.excluded {
        say(&seen.phrase, format!("must not be there, score {:.2}", seen.score));
    }
    if !verdict.unknown.is_empty() {
        say("cannot tell", verdict.unknown.join("; "));
    }
    lines
}

fn state(object: &ObjectVerdict) -> String {
    let score = object.score;
    match object.state {
        ObjectState::Right => format!("right, score {score:.2}"),
        ObjectState::Unsure if score > 0.0 => format!("unsure, score {score:.2}"),
        ObjectState::Unsure => "unsure".to_owned(),
        ObjectState::Missing => "missing".to_owned(),
        ObjectState::WrongAttribute => match &object.seen_as {
            Some(seen_as) => format!("seen as {seen_as}"),
            None => "looks otherwise".to_owned(),
        },
        ObjectState::Misplaced => format!("elsewhere, overlap {:.2}", object.iou),
    }
}
