//! `sinopia paint LAYOUT`: the same as `generate --layout`, for when there is no caption.

use super::args::PaintArgs;
use super::job::Job;
use super::{input, job, settings};

pub(crate) fn run(args: PaintArgs) -> anyhow::Result<()> {
    let painting = settings::merge(args.painting)?;
    let caption = args.caption.as_deref().map(input::caption).transpose()?;
    let (layout, changes) = input::layout(&args.layout)?;
    job::run(Job::new(caption, Some(layout), changes, painting)?, &[&args.layout], &args.output)
}
