//! `sinopia edit IMAGE`: a finished picture changed in one place, the rest of it kept.

pub(crate) mod args;
mod instruction;

use std::path::{Path, PathBuf};

use args::{EditArgs, EditOutput};
use image::RgbImage;
use serde_json::{Value, json};
use sinopia_diffusion::{CancellationToken, DenoiserWork, Operation, Recipe};
use sinopia_eval::Detector;
use sinopia_layout::limits::PICTURE_BYTES;
use sinopia_layout::{BBox, Canvas, Layout, counted};
use sinopia_studio::checked::LocalHand;
use sinopia_studio::editing::{
    DetectorSearch, EditJob, EditPlan, EditResources, EditSpec, EditedPicture, ObjectSearch, Source, Wanted,
};
use sinopia_studio::models::OpenedModel;
use sinopia_studio::verdict::{Look, Program};
use sinopia_studio::{
    AttemptReport, Error, PaintSettings, PaintSpec, Picture, ResolvedSpec, detector_for, open_detector, rgb,
};

use super::args::Painting;
use super::failure::{bad_request, with_hint};
use super::kinds::{self, Kind};
use super::progress::{Bars, cancellation_on_interrupt};
use super::{input, models, output, painting_file, settings};

pub(crate) fn run(args: EditArgs) -> anyhow::Result<()> {
    let bars = Bars::new(args.output.quiet);
    let typed = args.painting.clone().painting()?;
    if typed.count.is_some_and(|count| count != 1) {
        return Err(bad_request("`--count`: an edit makes one picture; another `--seed` makes another of it"));
    }
    let out = place(&args)?;
    let (wanted, mut told) = wanted(&args)?;
    let source = source(&args.image)?;
    let merged = settings::merge(Painting { variant: None, ..typed.clone() })?;
    merged.machine.apply()?;
    let wanted = match &args.instruction {
        None => wanted,
        Some(text) => {
            let config = merged.config.as_deref();
            let (wanted, understood) = instruction::wanted(text, &source, &args.planner, config, &bars)?;
            told.extend(understood);
            wanted
        }
    };
    let settings = settings_for(&source, typed, merged.settings)?;
    let caption = args.caption.as_deref().map(str::trim).filter(|caption| !caption.is_empty()).map(str::to_owned);
    let job = EditJob::new(EditSpec { source, wanted, caption, strength: args.strength, settings })?;
    bars.lines(&told, "");

    // All that can be refused is refused before anything is painted.
    let (resolved, opened) = models::resolve(job.paint_spec(), &bars)?;
    let ready = Ready::new(job, resolved, opened)?;
    let detector = detector(&args, &ready)?;
    let plan = ready.plan(detector.as_ref())?;
    tell_plan(&plan, &bars);
    let recolours = |operation: &Operation| matches!(operation, Operation::Recolour { .. });
    if args.strength.is_some() && !plan.operations.iter().any(recolours) {
        bars.warn("`--strength` is for what is recoloured: nothing is");
    }
    if args.output.in_place && !ready.job.is_repeated() {
        return Err(not_in_place());
    }
    let edited = ready.paint(plan, detector, args.until_right, &bars)?;
    if args.output.in_place && edited.is_inverted {
        return Err(not_in_place());
    }
    deliver(&edited, &args, &out, &bars)
}

/// A picture whose edit needs it, to be done again, is not written over.
fn not_in_place() -> anyhow::Error {
    let message = "`--in-place`: this picture cannot be painted again as it is, and what is made of it leans on it: it is not written over";
    with_hint(bad_request(message), Some("name another file with `--out`".to_owned()))
}

/// A job whose model is open.
struct Ready {
    job: EditJob,
    resolved: ResolvedSpec,
    opened: OpenedModel,
}

impl Ready {
    fn new(job: EditJob, resolved: ResolvedSpec, opened: OpenedModel) -> anyhow::Result<Self> {
        let job = job.fitted(opened.native_size(), opened.multiple());
        let resolved = match job.is_repeated() {
            true => resolved,
            false => job.paint_spec().resolve_for(|| Ok(opened.has_grounding_adapters()))?,
        };
        resolved.check_model(&opened)?;
        Ok(Self { job, resolved, opened })
    }

    /// What will be done. Who can look for what the layout does not name is asked for it.
    fn plan(&self, detector: Option<&Detector>) -> anyhow::Result<EditPlan> {
        let look =
            detector.map(|detector| move |image: &RgbImage, program: &Program| detector.look(image, program, None));
        let search = look.as_ref().map(|look| DetectorSearch { look, image: self.job.image() });
        Ok(self.job.plan(self.opened.multiple(), search.as_ref().map(|search| search as &dyn ObjectSearch))?)
    }

    /// Paints it; a detector looks at it then, to tell what is wrong, or to have it repaired.
    fn paint(
        &self,
        plan: EditPlan,
        detector: Option<Detector>,
        is_repaired: bool,
        bars: &Bars,
    ) -> anyhow::Result<EditedPicture> {
        let model = models::load(&self.resolved, &self.opened, bars)?;
        // From here on Ctrl-C ends the run in an orderly way; before, it just ends the program.
        let cancellation = cancellation_on_interrupt(bars)?;
        let (method, steps) = (self.resolved.method().name(), counted(self.resolved.steps(), "step"));
        bars.line(&match self.job.is_repeated() {
            true => format!("painting it again from its recipe, with {method} on {}, {steps}", model.id.id),
            false => format!("following it back to its noise, for {method} on {}, {steps}", model.id.id),
        });
        let resources =
            EditResources { resolved: &self.resolved, model: &model, observer: bars, cancellation: &cancellation };
        let edited = self.job.run(plan, resources)?;
        bars.finish();
        let edited = match detector {
            None => edited,
            Some(detector) if is_repaired => repaired(edited, &detector, resources, bars)?,
            Some(detector) => looked_at(edited, &detector, &cancellation)?,
        };
        Ok(self.job.at_full_size(edited)?)
    }
}

/// The edited picture with everything repaired that is not as its layout has it, as far as that can be.
fn repaired(
    edited: EditedPicture,
    look: &dyn Look,
    resources: EditResources,
    bars: &Bars,
) -> anyhow::Result<EditedPicture> {
    let Some(wanted) = edited.picture.recipe.final_layout().cloned() else { return Ok(edited) };
    let hand = LocalHand::new(resources.resolved, resources.model, resources.observer, resources.cancellation);
    let tell = |report: &AttemptReport, _: &Picture| match report.is_repair() {
        true => bars.line(&report.line()),
        false => bars.line(&format!("the edited picture: {}", report.verdict.summary())),
    };
    let checked = hand.repair(&edited.picture, look, &wanted, &tell)?;
    bars.finish();
    checked.shortfall().iter().for_each(|line| bars.warn(line));
    let seam = checked.tries.iter().filter(|tried| tried.accepted).filter_map(|tried| tried.seam);
    let seam = seam.fold(edited.seam, f64::max);
    let operations = checked.edits.iter().flat_map(|edit| edit.operations.clone());
    let operations = edited.operations.into_iter().chain(operations).collect();
    let (mut work, mut own_work) = (edited.work, edited.own_work);
    work.join(&hand.denoiser_work());
    own_work.join(&hand.denoiser_work());
    Ok(EditedPicture { picture: checked.picture, operations, seam, work, own_work, ..edited })
}

/// The edited picture with a note of what is not as its layout has it.
fn looked_at(
    mut edited: EditedPicture,
    look: &dyn Look,
    cancellation: &CancellationToken,
) -> anyhow::Result<EditedPicture> {
    let Picture { painting, recipe, .. } = &edited.picture;
    let Some(layout) = recipe.final_layout().filter(|layout| !layout.objects.is_empty()) else { return Ok(edited) };
    let program = Program::for_method(layout, None, &recipe.method)?;
    let verdict = look.look(&rgb(&painting.image)?, &program, Some(cancellation))?;
    if !verdict.is_right() {
        edited.notes.push(format!("the detector sees of the edited picture: {}", verdict.summary()));
    }
    Ok(edited)
}

/// Who looks at the result: who was asked for, or the built-in detector for the built-in model.
fn detector(args: &EditArgs, ready: &Ready) -> anyhow::Result<Option<Detector>> {
    match detector_for(args.detector.settings().detector.as_deref(), ready.opened.name()) {
        Ok(name) => Ok(Some(open_detector(name)?)),
        Err(Error::NoDetector { .. }) if !args.until_right => Ok(None),
        Err(error) => Err(error.into()),
    }
}

/// Where the result goes: not over the picture it is made of, unless that was asked for.
fn place(args: &EditArgs) -> anyhow::Result<PathBuf> {
    let EditOutput { out, in_place, json, preview, .. } = &args.output;
    let out = if *in_place { &args.image } else { out };
    if output::is_stdout(out) && (*json || *preview) {
        return Err(bad_request("with `--out -` stdout holds the picture: `--json` and `--preview` need a file"));
    }
    if *in_place && output::is_stdout(out) {
        return Err(bad_request("`--in-place`: the picture comes from stdin; name a file with `--out`"));
    }
    output::check_picture_name(out)?;
    output::check_writable(out)?;
    let inputs = [args.layout.as_deref(), args.from.as_deref()];
    let image = (!in_place).then_some(args.image.as_path());
    let inputs: Vec<&Path> = inputs.into_iter().flatten().chain(image).collect();
    let refused = output::refuse_inputs(std::slice::from_ref(out), &inputs);
    refused.map_err(|error| with_hint(error, Some("`--in-place` writes over the picture itself".to_owned())))?;
    Ok(out.clone())
}

/// What is to become of the picture, and the lines that tell of it.
fn wanted(args: &EditArgs) -> anyhow::Result<(Wanted, Vec<String>)> {
    let changes = args.changes.0.clone();
    let beside = |flag: &str| {
        bad_request(format!(
            "`{flag}` says what the picture is to be: leave the single changes out, or do them afterwards"
        ))
    };
    if args.instruction.is_some() && !changes.is_empty() {
        return Err(beside("--instruction"));
    }
    match (&args.layout, &args.from) {
        (Some(_), _) if !changes.is_empty() => Err(beside("--layout")),
        (_, Some(_)) if !changes.is_empty() => Err(beside("--from")),
        (Some(file), _) if output::is_stdout(file) && output::is_stdout(&args.image) => {
            Err(bad_request("stdin can hold the picture or the layout, not both"))
        }
        (Some(file), _) => input::layout(file).map(|(layout, told)| (Wanted::Layout(layout), told)),
        (None, Some(edited)) => {
            let recipe = Recipe::from_json(&painting_file::recipe_of(edited)?);
            let recipe =
                recipe.map_err(|source| Error::Recipe { picture: edited.clone(), source: Box::new(source) })?;
            Ok((Wanted::Again(Box::new(recipe)), Vec::new()))
        }
        (None, None) => Ok((Wanted::Changes(changes), Vec::new())),
    }
}

/// The picture in a file, or on stdin.
fn source(image: &Path) -> anyhow::Result<Source> {
    let bytes = input::bytes(image, PICTURE_BYTES).map_err(|error| with_hint(error, kinds::hint(image, Kind::Png)))?;
    let read = Source::read(&bytes, Path::new(&input::shown(image)));
    read.map_err(|error| match error {
        // What the file is instead is worth a word.
        Error::Decode(_) => {
            let message = format!("cannot change `{}`: {error}", input::shown(image));
            with_hint(bad_request(message), use_of(image))
        }
        other => anyhow::Error::new(other).context(format!("cannot change `{}`", input::shown(image))),
    })
}

/// What to do with a file that is no picture.
fn use_of(image: &Path) -> Option<String> {
    match Kind::of(image) {
        Some(kind) if kind.is_layout() => {
            let image = image.display();
            Some(format!(
                "`sinopia plan --edit \"{image}\" \"CHANGE\"` changes a layout, `sinopia paint \"{image}\"` paints it"
            ))
        }
        _ => kinds::hint(image, Kind::Png),
    }
}

/// How it is painted. What the file and the environment say was not said when a picture of ours was painted; to others it applies.
fn settings_for(source: &Source, typed: Painting, merged: PaintSettings) -> anyhow::Result<PaintSettings> {
    let Some(recipe) = source.recipe() else {
        if typed.variant.is_some() {
            return Err(Error::VariantOfNothing.into());
        }
        return Ok(merged);
    };
    let mut settings = typed.settings;
    if let Some(variant) = &typed.variant {
        settings.model = Some(PaintSpec::variant_of(recipe, variant)?);
    }
    Ok(settings)
}

fn tell_plan(plan: &EditPlan, bars: &Bars) {
    for operation in &plan.operations {
        bars.line(&format!("- {}", sentence(operation, plan.layout.canvas)));
    }
}

/// An operation in words, its boxes in pixels of a canvas.
pub(crate) fn sentence(operation: &Operation, canvas: Canvas) -> String {
    let at = |bbox: &BBox| {
        let bbox = bbox.to_pixels(canvas);
        let [x, y, w, h] = [bbox.x(), bbox.y(), bbox.width(), bbox.height()].map(|side| side.round());
        format!("[{x}, {y}, {w}, {h}]")
    };
    match operation {
        Operation::Add { phrase, bbox } => format!("add `{phrase}` at {}", at(bbox)),
        Operation::Remove { phrase, bbox } => format!("remove `{phrase}` at {}", at(bbox)),
        Operation::Move { phrase, from, to } => format!("move `{phrase}` from {} to {}", at(from), at(to)),
        Operation::Recolour { phrase, bbox, .. } => format!("recolour what is at {} to `{phrase}`", at(bbox)),
        Operation::Replace { phrase, bbox } => format!("replace what is at {} by `{phrase}`", at(bbox)),
    }
}

/// Writes the picture, and says what was done.
fn deliver(edited: &EditedPicture, args: &EditArgs, out: &Path, bars: &Bars) -> anyhow::Result<()> {
    let (notes, warnings) = (&edited.notes, &edited.picture.painting.warnings);
    notes.iter().chain(warnings).for_each(|note| bars.line(&format!("note: {note}")));
    output::write(out, &edited.picture.png)?;
    if !output::is_stdout(out) {
        let share = 100.0 * edited.changed_share();
        bars.line(&format!("wrote {}: {share:.0} % of its pixels are new, the others are the old ones", out.display()));
    }
    if args.output.json {
        output::print(&format!("{:#}", description(edited, &args.image, out)?))?;
    }
    if args.output.preview {
        bars.preview(&edited.picture.painting);
    }
    Ok(())
}

/// What `--json` prints.
fn description(edited: &EditedPicture, image: &Path, out: &Path) -> anyhow::Result<Value> {
    let EditedPicture { picture, operations, is_inverted, seam, notes, work, .. } = edited;
    let counted = |work: &DenoiserWork| {
        let mut counts = serde_json::to_value(work)?;
        counts["multiply_accumulates"] = work.total().into();
        Ok::<_, serde_json::Error>(counts)
    };
    let layout: Option<&Layout> = picture.recipe.final_layout();
    Ok(json!({
        "file": out.to_string_lossy(),
        "image": image.to_string_lossy(),
        "operations": operations,
        "layout": layout,
        "inverted": is_inverted,
        "changed_share": edited.changed_share(),
        "seam": seam,
        "notes": notes,
        "warnings": picture.painting.warnings,
        "timings": picture.painting.timings,
        "unet_work": counted(work)?,
        "change": {"unet_work": counted(&edited.own_work)?, "timings": edited.timings},
        "recipe": picture.recipe,
    }))
}
