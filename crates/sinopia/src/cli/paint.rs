//! `sinopia paint LAYOUT`: the same as `generate --layout`, for when there is no caption.

use sinopia_studio::PaintSpec;

use super::args::PaintArgs;
use super::job::PaintJob;
use super::{input, settings};

pub(crate) fn run(args: PaintArgs) -> anyhow::Result<()> {
    let painting = settings::merge(args.painting.painting()?)?;
    painting.machine.apply()?;
    let caption = args.caption.as_deref().map(input::caption).transpose()?;
    let (layout, told) = input::layout(&args.layout)?;
    let spec = PaintSpec { caption, layout: Some(layout), settings: painting.settings, ..PaintSpec::default() };
    PaintJob::new(spec, told, painting.count)?.run(&[&args.layout], &args.output)
}
