//! `sinopia generate`: from a caption, a layout or an image made before, to an image.

use std::path::{Path, PathBuf};

use sinopia_layout::Layout;

use super::args::{GenerateArgs, PaintingArgs};
use super::failure::bad_request;
use super::job::Job;
use super::{input, job, output, painting_file, settings};

pub(crate) fn run(args: GenerateArgs) -> anyhow::Result<()> {
    let caption_from_stdin = args.caption.as_deref() == Some("-");
    if caption_from_stdin && args.source.layout.as_deref().is_some_and(output::is_stdout) {
        return Err(bad_request("stdin can hold the caption or the layout, not both"));
    }
    let settings = settings::merge(args.painting.clone())?;
    let caption = args.caption.as_deref().map(input::caption).transpose()?;
    let (layout, changes) = layout(&args, caption.as_deref())?;
    let job = match &args.source.from {
        Some(image) => {
            let recipe = painting_file::read_recipe(image)?;
            // What the file and the environment set was not set when the image was made; only speed may follow it.
            let flags = PaintingArgs { threads: settings.threads, ..args.painting };
            Job::again(&recipe, image, (caption, layout), changes, flags)?
        }
        None => Job::new(caption, layout, changes, settings)?,
    };
    let inputs: Vec<&Path> =
        [&args.source.layout, &args.source.replay].into_iter().flatten().map(PathBuf::as_path).collect();
    job::run(job, &inputs, &args.output)
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
