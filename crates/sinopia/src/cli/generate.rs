//! `sinopia generate`: from a caption, a layout or an image made before, to an image.

use std::path::{Path, PathBuf};

use sinopia_layout::Layout;
use sinopia_planner::{PlanContext, PlanTask, PlannerKind};

use sinopia_diffusion::{ImageSize, Recipe};
use sinopia_studio::checked::with_room;
use sinopia_studio::{CheckSettings, Error, PaintSpec, newer_version_warning};

use super::args::{GenerateArgs, LayoutSource, Painting, PlannerChoice};
use super::checking::CheckRequest;
use super::failure::{bad_request, with_hint};
use super::job::{CheckedJob, PaintJob};
use super::planning::Audience;
use super::progress::Bars;
use super::{checking, foreign, init, input, output, painting_file, planning, remote, settings};

pub(crate) fn run(mut args: GenerateArgs) -> anyhow::Result<()> {
    let typed = std::mem::take(&mut args.painting).painting()?;
    let typed = foreign::taken_over(&mut args, typed)?;
    let caption_from_stdin = args.caption.as_deref() == Some("-");
    if caption_from_stdin && args.source.layout.as_deref().is_some_and(output::is_stdout) {
        return Err(bad_request("stdin can hold the caption or the layout, not both"));
    }
    // The model of an image that is made again is the image's, and so is the one of which a variant is asked.
    let variant = typed.variant.clone().filter(|_| args.source.from.is_none());
    let painting = settings::merge(Painting { variant, ..typed.clone() })?;
    painting.machine.apply()?;
    let caption = args.caption.as_deref().map(input::caption).transpose()?;
    let (layout, told) = layout(&args, caption.as_deref())?;
    let LayoutSource { layout: file, replay, from } = &args.source;
    if caption.is_none() && layout.is_none() && from.is_none() {
        return Err(with_hint(bad_request("there is nothing to paint yet: say what"), Some(SAY_WHAT.to_owned())));
    }
    let inputs = [file, replay, from].into_iter().flatten().map(PathBuf::as_path);
    let inputs: Vec<&Path> = inputs.chain(init::files(&args.init.0)).collect();
    let init = init::picture(&args.init.0)?;
    let spec = PaintSpec { caption, layout, init, is_planned: true, ..PaintSpec::default() };
    if let Some(server) = &args.server {
        output::refuse_inputs(std::slice::from_ref(&args.output.out), &inputs)?;
        remote::refuse_local_flags(&args, &typed)?;
        let (check, _) = check_settings(&args, painting.config.as_deref())?;
        return remote::run(server, spec.with(painting.settings), painting.count, &check, &args.output);
    }
    let choice = settings::merge_planner(args.planner.clone(), painting.config.as_deref())?;
    let (check, left_out) = check_settings(&args, painting.config.as_deref())?;
    let told = told.into_iter().chain(left_out).collect();
    let bars = Bars::new(args.output.quiet);
    let job = match from {
        // What the file and the environment say was not said when the image was made; only speed may follow it.
        Some(image) => repeated(image, spec, typed, told, &check)?,
        None => {
            let spec = spec.with(painting.settings);
            let check = CheckRequest::new(&check, &spec)?;
            PaintJob::new(spec, told, painting.count, check)?
        }
    };
    let plans = Plans { layout: job.spec.lacks_layout()?, wanted: job.lacks_wanted()? };
    if plans.layout || plans.wanted {
        planning::config(&choice)?; // what is wrong with it is told before a model is fetched
    }
    // Nobody is asked for a layout before all else is known to be good.
    let checked = job.check(&inputs, &args.output, &bars)?;
    with_plan(checked, plans, &choice, &bars)?.paint(&args.output, &bars)
}

/// What of a job a planner has to lay out.
#[derive(Debug, Clone, Copy)]
struct Plans {
    /// What it is painted from.
    layout: bool,
    /// What its pictures have to show, which they are not painted from.
    wanted: bool,
}

/// The job with what a planner says of its caption, if it needs that.
fn with_plan(checked: CheckedJob, plans: Plans, choice: &PlannerChoice, bars: &Bars) -> anyhow::Result<CheckedJob> {
    let caption = checked.caption().map(str::to_owned);
    let Some(caption) = caption.filter(|_| plans.layout || plans.wanted) else { return Ok(checked) };
    let ImageSize { width, height } = checked.picture_size();
    let choice = choice.shaped_like(width as u32, height as u32);
    // Rules need no memory to speak of; a language model's file and the networks would be large together.
    let (checked, planned) = match planning::config(&choice)?.kind() {
        PlannerKind::BuiltIn => checked.loading(|| planned(&choice, &caption, bars)),
        PlannerKind::Gguf | PlannerKind::OpenAi => (checked, planned(&choice, &caption, bars)),
    };
    planning::tell_of_local_servers(&choice, Audience::Terminal, bars);
    let (layout, told) = planned?;
    Ok(match (plans.layout, checked.is_looked_at()) {
        (false, _) => checked.with_wanted(layout),
        (true, false) => checked.with_layout(layout, told),
        (true, true) => {
            let (layout, corrections) = with_room(&layout, checked.picture_size());
            checked.with_layout(layout, told.into_iter().chain(corrections).collect())
        }
    })
}

/// What is said about looking at pictures. When an image is made again, only what was typed decides whether somebody looks.
fn check_settings(args: &GenerateArgs, config: Option<&Path>) -> anyhow::Result<(CheckSettings, Vec<String>)> {
    let typed = &args.check.0;
    let (merged, told) = checking::settings(typed, config, args.init.0.init.is_some())?;
    Ok(match args.source.from {
        Some(_) => (CheckSettings { detector: merged.detector, ..typed.clone() }, Vec::new()),
        None => (merged, told),
    })
}

/// The job that made `image`, with what was typed in the place of what its recipe says.
fn repeated(
    image: &Path,
    spec: PaintSpec,
    typed: Painting,
    told: Vec<String>,
    check: &CheckSettings,
) -> anyhow::Result<PaintJob> {
    let recipe = Recipe::from_json(&painting_file::recipe_of(image)?);
    let recipe = recipe.map_err(|source| Error::Recipe { picture: image.to_owned(), source: Box::new(source) })?;
    let mut warnings: Vec<String> = newer_version_warning(&recipe).into_iter().collect();
    let is_recaptioned = spec.caption.as_ref().is_some_and(|caption| recipe.caption.as_ref() != Some(caption));
    if is_recaptioned && spec.layout.is_none() && recipe.layout.is_some() {
        let image = image.display();
        warnings.push(format!("the layout is still that of `{image}`: without `--from` the caption is laid out anew"));
    }
    let mut settings = typed.settings;
    if let Some(variant) = &typed.variant {
        settings.model = Some(PaintSpec::variant_of(&recipe, variant)?);
    }
    let num_edits = recipe.edits.len();
    let mut spec = PaintSpec::repeat(recipe, image, spec.with(settings))?;
    let check = CheckRequest::new(check, &spec)?;
    if check.is_some() || typed.count.is_some_and(|count| count > 1) {
        spec = PaintSpec { edits: Vec::new(), checked: None, ..spec };
    }
    if spec.edits.len() < num_edits {
        let image = image.display();
        warnings.push(format!("`{image}` was repaired or edited, which is not done again to another image"));
    }
    Ok(PaintJob { warnings, ..PaintJob::new(spec, told, typed.count, check)? })
}

const SAY_WHAT: &str = "\
a caption in quotes is laid out and painted: `sinopia generate \"two red apples to the left of a sleeping cat\"`,
`--layout FILE` paints a layout of your own, `--from IMAGE` an image that was made before";

/// The layout that the planner writes, and the lines that tell of it.
fn planned(choice: &PlannerChoice, caption: &str, bars: &Bars) -> anyhow::Result<(Layout, Vec<String>)> {
    let planner = planning::open(choice, bars)?;
    let tell = planning::progress(bars);
    let plan = planner.plan(&PlanTask::caption(caption), &PlanContext::default().on_event(&tell))?;
    bars.finish();
    planning::show(planner.as_ref(), &plan, bars);
    let told = input::told(&plan.understood, &plan.changes);
    Ok((plan.layout, told))
}

/// The layout that is named beside the caption, and the lines that tell of it.
fn layout(args: &GenerateArgs, caption: Option<&str>) -> anyhow::Result<(Option<Layout>, Vec<String>)> {
    Ok(match (&args.source.layout, &args.source.replay) {
        (Some(path), _) => input::layout(path).map(|(layout, told)| (Some(layout), told))?,
        (None, Some(cache)) => {
            let Some(caption) = caption else {
                return Err(bad_request("`--replay` looks up a caption: write it before the flag"));
            };
            input::replay(cache, caption).map(|(layout, told)| (Some(layout), told))?
        }
        (None, None) => (None, Vec::new()),
    })
}
