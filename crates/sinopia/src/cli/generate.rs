//! `sinopia generate`: from a caption, a layout or an image made before, to an image.

use super::args::GenerateArgs;
use super::failure::bad_request;
use super::job::Job;
use super::{input, job, painting_file, settings};

pub(crate) fn run(args: GenerateArgs) -> anyhow::Result<()> {
    let job = match &args.source.from {
        Some(image) => Job::again(&painting_file::read_recipe(image)?, image, args.caption.as_deref(), args.painting)?,
        None => from_words(&args)?,
    };
    job::run(job, &args.output)
}

/// The job for a caption, with the layout named beside it.
fn from_words(args: &GenerateArgs) -> anyhow::Result<Job> {
    let painting = settings::merge(args.painting.clone())?;
    let caption = args.caption.as_deref().map(input::caption).transpose()?;
    let (layout, changes) = match (&args.source.layout, &args.source.replay) {
        (Some(path), _) => input::layout(path).map(|(layout, changes)| (Some(layout), changes))?,
        (None, Some(cache)) => {
            let Some(caption) = &caption else {
                return Err(bad_request("`--replay` looks up a caption: write it before the flag"));
            };
            input::replay(cache, caption).map(|(layout, changes)| (Some(layout), changes))?
        }
        (None, None) => (None, Vec::new()),
    };
    Job::new(caption, layout, changes, painting)
}
