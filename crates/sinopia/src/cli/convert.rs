//! `sinopia convert`: layouts from and to the formats of other programs.

use sinopia_layout::exchange::{Imported, coco, ideogram, omost};
use sinopia_layout::{Canvas, Error, Layout, parse_answer_on, repair, svg, write_answer};

use super::args::{ConvertArgs, LayoutFormat};
use super::failure::bad_request;
use super::progress::Bars;
use super::{input, output};

pub(crate) fn run(args: &ConvertArgs) -> anyhow::Result<()> {
    output::check_writable(&args.out)?;
    let text = input::read(&args.layout)?;
    let from = match args.from {
        Some(LayoutFormat::Svg) => {
            return Err(bad_request("a drawing cannot be read back: `--from` is another format"));
        }
        Some(format) => format,
        None => guess(&text),
    };
    let origin = args.layout.display().to_string();
    let canvas = args.canvas.unwrap_or(Canvas::PUBLISHED);
    let read = read(&text, from, canvas, args.image)
        .map_err(|error| input::fault("cannot use the layout", &error, &origin))?;
    let bars = Bars::new(args.quiet);
    bars.lines(&read.left_out, "left out: ");
    let (layout, changes) = repair(read.layout);
    bars.lines(&changes.to_string().lines().map(str::to_owned).collect::<Vec<_>>(), "layout mended: ");
    if matches!(args.to, LayoutFormat::Ideogram | LayoutFormat::Omost) && !layout.negative.is_empty() {
        bars.warn(&format!("this format has no negative caption; `{}` is lost", layout.negative));
    }
    if args.to == LayoutFormat::Text && layout.canvas != Canvas::PUBLISHED {
        bars.warn(&format!("this format does not name its canvas; it is {}", layout.canvas));
    }
    output::write(&args.out, write(&layout, args.to, args.caption.as_deref())?.as_bytes())
}

/// The format that a text is in, by words that only that format has.
pub(super) fn guess(text: &str) -> LayoutFormat {
    let is_json = text.trim_start().starts_with('{');
    if text.contains(".add_local_description") || text.contains(".set_global_description") {
        LayoutFormat::Omost
    } else if is_json && text.contains("\"compositional_deconstruction\"") {
        LayoutFormat::Ideogram
    } else if is_json && text.contains("\"images\"") {
        LayoutFormat::Coco
    } else if is_json {
        LayoutFormat::Json
    } else {
        LayoutFormat::Text
    }
}

/// A layout in a format; `canvas` is for formats that do not name one, `image` for COCO files with several.
pub(super) fn read(text: &str, from: LayoutFormat, canvas: Canvas, image: Option<u64>) -> Result<Imported, Error> {
    let whole = |layout: Layout| Imported { layout, left_out: Vec::new() };
    match from {
        LayoutFormat::Json => Layout::from_json(text).map(whole),
        LayoutFormat::Text | LayoutFormat::Svg => parse_answer_on(text, canvas).map(whole),
        LayoutFormat::Coco => coco::read(text, image).map(whole),
        LayoutFormat::Ideogram => ideogram::read(text, canvas),
        LayoutFormat::Omost => omost::read(text, canvas),
    }
}

/// A layout in a format; `caption` is for formats that describe the whole picture.
pub(super) fn write(layout: &Layout, to: LayoutFormat, caption: Option<&str>) -> anyhow::Result<String> {
    Ok(match to {
        LayoutFormat::Json => layout.to_json(),
        LayoutFormat::Text => format!("{}\n", write_answer(layout)),
        LayoutFormat::Coco => coco::write(layout),
        LayoutFormat::Ideogram => ideogram::write(layout, caption.unwrap_or(&layout.background))?,
        LayoutFormat::Omost => omost::write(layout),
        LayoutFormat::Svg => svg::render(layout),
    })
}
