//! `sinopia generate`: from a caption, a layout or an image made before, to an image.

use std::path::{Path, PathBuf};

use sinopia_layout::Layout;

use super::args::{GenerateArgs, LayoutSource, PaintingArgs};
use super::failure::{bad_request, with_hint};
use super::job::Job;
use super::planning::Planning;
use super::progress::Bars;
use super::{foreign, input, job, output, painting_file, remote, settings};

pub(crate) fn run(args: GenerateArgs) -> anyhow::Result<()> {
    let args = foreign::taken_over(args)?;
    let caption_from_stdin = args.caption.as_deref() == Some("-");
    if caption_from_stdin && args.source.layout.as_deref().is_some_and(output::is_stdout) {
        return Err(bad_request("stdin can hold the caption or the layout, not both"));
    }
    // The model of an image that is made again is the image's, and so is the one of which a variant is asked.
    let variant = args.painting.variant.clone().filter(|_| args.source.from.is_none());
    let settings = settings::merge(PaintingArgs { variant, ..args.painting.clone() })?;
    let caption = args.caption.as_deref().map(input::caption).transpose()?;
    let (layout, changes) = layout(&args, caption.as_deref())?;
    let LayoutSource { layout: file, replay, from } = &args.source;
    if caption.is_none() && layout.is_none() && from.is_none() {
        return Err(with_hint(bad_request("there is nothing to paint yet: say what"), Some(SAY_WHAT.to_owned())));
    }
    let inputs: Vec<&Path> = [file, replay, from].into_iter().flatten().map(PathBuf::as_path).collect();
    if let Some(server) = &args.server {
        output::refuse_inputs(std::slice::from_ref(&args.output.out), &inputs)?;
        return remote::run(server, &args, (caption, layout), &settings);
    }
    let planner = settings::merge_planner(args.planner.clone(), args.painting.config.as_deref())?;
    let bars = Bars::new(args.output.quiet);
    let job = match &args.source.from {
        Some(image) => {
            let recipe = painting_file::recipe_of(image)?;
            // What the file and the environment set was not set when the image was made; only speed may follow it.
            let flags = PaintingArgs { threads: settings.threads, ..args.painting.clone() };
            Job::again(&recipe, image, (caption.clone(), layout), changes, flags)?
        }
        None => Job::new(caption.clone(), layout, changes, settings)?,
    };
    // Nobody is asked for a layout before all else is known to be good.
    let planning = job.lacks_layout().then(|| Planning::new(planner, &bars)).transpose()?;
    let checkpoint = job::check(&job, &inputs, &args.output, &bars)?;
    let job = match (planning, &caption) {
        (Some(planning), Some(caption)) => {
            let (layout, changes) = planned(&planning, caption, &bars)?;
            job.with_layout(layout, changes)
        }
        _ => job,
    };
    job::paint(job, &checkpoint, &args.output, &bars)
}

const SAY_WHAT: &str = "\
a caption in quotes is laid out and painted: `sinopia generate \"two red apples to the left of a sleeping cat\"`,
`--layout FILE` paints a layout of your own, `--from IMAGE` an image that was made before";

/// The layout that the planner writes, and what had to be mended in it.
fn planned(planning: &Planning, caption: &str, bars: &Bars) -> anyhow::Result<(Layout, Vec<String>)> {
    let plan = planning.planner().plan(caption, 0, &|event| bars.line(&event.to_string()))?;
    planning.tell(&plan, bars);
    let changes = plan.changes.to_string();
    Ok((plan.layout, changes.lines().map(str::to_owned).collect()))
}

/// The layout that is named beside the caption, and what had to be mended in it.
fn layout(args: &GenerateArgs, caption: Option<&str>) -> anyhow::Result<(Option<Layout>, Vec<String>)> {
    Ok(match (&args.source.layout, &args.source.replay) {
        (Some(path), _) => input::layout(path).map(|(layout, changes)| (Some(layout), changes))?,
        (None, Some(cache)) => {
            let Some(caption) = caption else {
                return Err(bad_request("`--replay` looks up a caption: write it before the flag"));
            };
            input::replay(cache, caption).map(|(layout, changes)| (Some(layout), changes))?
        }
        (None, None) => (None, Vec::new()),
    })
}
