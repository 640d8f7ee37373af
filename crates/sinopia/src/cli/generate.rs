//! `sinopia generate`: from a caption, a layout or an image made before, to an image.

use std::path::{Path, PathBuf};

use sinopia_layout::Layout;
use sinopia_planner::{PlanContext, PlanTask};

use sinopia_diffusion::{ImageSize, Recipe};
use sinopia_studio::{Error, PaintSpec, newer_version_warning};

use super::args::{GenerateArgs, LayoutSource, Painting, PlannerChoice};
use super::failure::{bad_request, with_hint};
use super::job::PaintJob;
use super::planning::Audience;
use super::progress::Bars;
use super::{foreign, input, output, painting_file, planning, remote, settings};

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
    let inputs: Vec<&Path> = [file, replay, from].into_iter().flatten().map(PathBuf::as_path).collect();
    let spec = PaintSpec { caption, layout, is_planned: true, ..PaintSpec::default() };
    if let Some(server) = &args.server {
        output::refuse_inputs(std::slice::from_ref(&args.output.out), &inputs)?;
        remote::refuse_local_flags(&args, &typed)?;
        return remote::run(server, spec.with(painting.settings), painting.count, &args.output);
    }
    let choice = settings::merge_planner(args.planner.clone(), painting.config.as_deref())?;
    let bars = Bars::new(args.output.quiet);
    let job = match from {
        // What the file and the environment say was not said when the image was made; only speed may follow it.
        Some(image) => repeated(image, spec, typed, told)?,
        None => PaintJob::new(spec.with(painting.settings), told, painting.count)?,
    };
    let caption = job.spec.caption.clone();
    let is_planned = job.spec.lacks_layout()?;
    if is_planned {
        planning::config(&choice)?; // what is wrong with it is told before a model is fetched
    }
    // Nobody is asked for a layout before all else is known to be good.
    let checked = job.check(&inputs, &args.output, &bars)?;
    let checked = match caption.filter(|_| is_planned) {
        Some(caption) => {
            let ImageSize { width, height } = checked.picture_size();
            let choice = choice.shaped_like(width as u32, height as u32);
            let planned = planned(&choice, &caption, &bars);
            planning::tell_of_local_servers(&choice, Audience::Terminal, &bars);
            let (layout, told) = planned?;
            checked.with_layout(layout, told)
        }
        None => checked,
    };
    checked.paint(&args.output, &bars)
}

/// The job that made `image`, with what was typed in the place of what its recipe says.
fn repeated(image: &Path, spec: PaintSpec, typed: Painting, told: Vec<String>) -> anyhow::Result<PaintJob> {
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
    let spec = PaintSpec::repeat(recipe, image, spec.with(settings))?;
    Ok(PaintJob { warnings, ..PaintJob::new(spec, told, typed.count)? })
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
