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
    let read = read(&text, from, args).map_err(|error| input::fault("cannot use the layout", &error, &origin))?;
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
    output::write(&args.out, write(&layout, args)?.as_bytes())
}

/// The format that a text is in, by words that only that format has.
fn guess(text: &str) -> LayoutFormat {
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

fn read(text: &str, from: LayoutFormat, args: &ConvertArgs) -> Result<Imported, Error> {
    let canvas = args.canvas.unwrap_or(Canvas::PUBLISHED);
    let whole = |layout: Layout| Imported { layout, left_out: Vec::new() };
    match from {
        LayoutFormat::Json => Layout::from_json(text).map(whole),
        LayoutFormat::Text | LayoutFormat::Svg => parse_answer_on(text, canvas).map(whole),
        LayoutFormat::Coco => coco::read(text, args.image).map(whole),
        LayoutFormat::Ideogram => ideogram::read(text, canvas),
        LayoutFormat::Omost => omost::read(text, canvas),
    }
}

fn write(layout: &Layout, args: &ConvertArgs) -> anyhow::Result<String> {
    Ok(match args.to {
        LayoutFormat::Json => layout.to_json(),
        LayoutFormat::Text => format!("{}\n", write_answer(layout)),
        LayoutFormat::Coco => coco::write(layout),
        LayoutFormat::Ideogram => {
            let caption = args.caption.clone().unwrap_or_else(|| layout.background.clone());
            ideogram::write(layout, &caption)?
        }
        LayoutFormat::Omost => omost::write(layout),
        LayoutFormat::Svg => svg::render(layout),
    })
}
