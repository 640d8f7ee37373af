//! `sinopia generate`: from a caption, a layout or an image made before, to an image.

use std::path::{Path, PathBuf};

use sinopia_layout::Layout;

use sinopia_diffusion::methods;

use super::args::{GenerateArgs, PaintingArgs};
use super::failure::bad_request;
use super::job::Job;
use super::planning::Planning;
use super::progress::Bars;
use super::{input, job, output, painting_file, remote, settings};

pub(crate) fn run(args: GenerateArgs) -> anyhow::Result<()> {
    let caption_from_stdin = args.caption.as_deref() == Some("-");
    if caption_from_stdin && args.source.layout.as_deref().is_some_and(output::is_stdout) {
        return Err(bad_request("stdin can hold the caption or the layout, not both"));
    }
    let settings = settings::merge(args.painting.clone())?;
    let caption = args.caption.as_deref().map(input::caption).transpose()?;
    let (layout, changes) = layout(&args, caption.as_deref())?;
    if let Some(server) = &args.server {
        let inputs: Vec<&Path> = args.source.layout.iter().chain(&args.source.replay).map(PathBuf::as_path).collect();
        remote::check_inputs(&inputs, &args.output.out)?;
        return remote::run(server, &args, (caption, layout), &settings);
    }
    let job = match &args.source.from {
        Some(image) => {
            let recipe = painting_file::read_recipe(image)?;
            // What the file and the environment set was not set when the image was made; only speed may follow it.
            let flags = PaintingArgs { threads: settings.threads, ..args.painting };
            Job::again(&recipe, image, (caption, layout), changes, flags)?
        }
        None => {
            let (layout, changes) = match &caption {
                Some(caption) if layout.is_none() => planned(&args, caption, &settings)?,
                _ => (layout, changes),
            };
            Job::new(caption, layout, changes, settings)?
        }
    };
    let inputs: Vec<&Path> =
        [&args.source.layout, &args.source.replay].into_iter().flatten().map(PathBuf::as_path).collect();
    job::run(job, &inputs, &args.output)
}

/// The layout that the planner writes, if the method paints layouts.
fn planned(
    args: &GenerateArgs,
    caption: &str,
    settings: &PaintingArgs,
) -> anyhow::Result<(Option<Layout>, Vec<String>)> {
    let method = methods::find(settings.method.as_deref().unwrap_or("lmd"))?;
    let planner = settings::merge_planner(args.planner.clone(), args.painting.config.as_deref())?;
    if !method.needs_layout {
        return Ok((None, Vec::new()));
    }
    output::check_writable(&args.output.out)?;
    let bars = Bars::new(args.output.quiet);
    let planning = Planning::new(planner, &bars)?;
    let plan = planning.planner().plan(caption, 0, &|event| bars.line(&event.to_string()))?;
    planning.tell(&plan, &bars);
    let changes = plan.changes.to_string();
    Ok((Some(plan.layout), changes.lines().map(str::to_owned).collect()))
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
