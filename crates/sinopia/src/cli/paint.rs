//! `sinopia paint LAYOUT`: the same as `generate --layout`, for when there is no caption.

use sinopia_studio::PaintSpec;

use super::args::PaintArgs;
use super::checking::CheckRequest;
use super::job::PaintJob;
use super::{checking, init, input, settings};

pub(crate) fn run(args: PaintArgs) -> anyhow::Result<()> {
    let painting = settings::merge(args.painting.painting()?)?;
    painting.machine.apply()?;
    let caption = args.caption.as_deref().map(input::caption).transpose()?;
    let (layout, told) = input::layout(&args.layout)?;
    let init = init::picture(&args.init.0)?;
    let spec = PaintSpec { caption, layout: Some(layout), init, settings: painting.settings, ..PaintSpec::default() };
    let inputs: Vec<_> = [args.layout.as_path()].into_iter().chain(init::files(&args.init.0)).collect();
    let (check, left_out) = checking::settings(&args.check.0, painting.config.as_deref(), spec.init.is_some())?;
    let told = told.into_iter().chain(left_out).collect();
    let check = CheckRequest::new(&check, &spec)?;
    PaintJob::new(spec, told, painting.count, check)?.run(&inputs, &args.output)
}
