//! `sinopia convert`: layouts from and to the formats of other programs.

use sinopia_layout::exchange::{self, Format, Hints, Imported, coco, flux3, ideogram, labelme, moss, omost};
use sinopia_layout::{Canvas, Error, Layout, lost_all, repair, svg, write_answer};

use super::args::{ConvertArgs, LayoutFormat};
use super::failure::{bad_request, with_hint};
use super::kinds::{self, Kind};
use super::progress::Bars;
use super::{input, output};

pub(crate) fn run(args: &ConvertArgs) -> anyhow::Result<()> {
    output::check_text(&args.out, &[&args.layout])?;
    // Layouts of all programs are in their place here.
    let kind = Kind::of(&args.layout).filter(|kind| kind.is_layout()).unwrap_or(Kind::Layout);
    let hinted = |error| with_hint(error, kinds::hint(&args.layout, kind));
    let text = input::read(&args.layout).map_err(hinted)?;
    let from = args.from.map(readable).transpose()?;
    let hints = Hints { canvas: args.canvas, image: args.image.clone() };
    let read = exchange::read(&text, from, &hints);
    let (layout, told) = input::repaired(read, &input::shown(&args.layout)).map_err(hinted)?;
    let bars = Bars::new(args.quiet);
    bars.lines(&told, "");
    for lost in lost_by(&layout, args.to) {
        bars.warn(&lost);
    }
    output::write(&args.out, write(&layout, args.to, args.caption.as_deref())?.as_bytes())
}

/// A layout in any format that is read, every box inside its canvas; what was left out and repaired is in the notes.
pub(super) fn import(text: &str) -> Result<Imported, Error> {
    let Imported { layout, mut notes } = exchange::read(text, None, &Hints::default())?;
    if let Some(error) = lost_all(&layout) {
        return Err(error);
    }
    let (layout, changes) = repair(layout);
    notes.extend(changes.to_string().lines().map(str::to_owned));
    Ok(Imported { layout, notes })
}

fn readable(format: LayoutFormat) -> anyhow::Result<Format> {
    Ok(match format {
        LayoutFormat::Json => Format::Json,
        LayoutFormat::Text => Format::Text,
        LayoutFormat::Coco => Format::Coco,
        LayoutFormat::Ideogram => Format::Ideogram,
        LayoutFormat::Omost => Format::Omost,
        LayoutFormat::Labelme => Format::Labelme,
        LayoutFormat::Moss => Format::Moss,
        LayoutFormat::Flux3 => Format::Flux3,
        LayoutFormat::Svg => return Err(bad_request("a drawing cannot be read back: `--from` is another format")),
    })
}

/// What a format has no place for, a sentence each.
fn lost_by(layout: &Layout, to: LayoutFormat) -> Vec<String> {
    let mut lost = Vec::new();
    let canvas = layout.canvas;
    let has_no_negative =
        matches!(to, LayoutFormat::Ideogram | LayoutFormat::Omost | LayoutFormat::Flux3 | LayoutFormat::Moss);
    if has_no_negative && !layout.negative.is_empty() {
        lost.push(format!("this format has no negative caption; `{}` is lost", layout.negative));
    }
    let has_another_canvas = match to {
        LayoutFormat::Text => canvas != Canvas::PUBLISHED,
        LayoutFormat::Ideogram | LayoutFormat::Omost | LayoutFormat::Flux3 => canvas.width() != canvas.height(),
        LayoutFormat::Moss => true,
        _ => false,
    };
    if has_another_canvas {
        lost.push(format!("this format does not name its canvas; it is {canvas}"));
    }
    if to == LayoutFormat::Omost {
        let moved = omost::read(&omost::write(layout), canvas).is_ok_and(|back| back.layout.objects != layout.objects);
        if moved {
            lost.push("this format has words for places: boxes are moved to the nearest ones".to_owned());
        }
    }
    lost
}

/// A layout in a format; `caption` is for formats that describe the whole picture.
pub(super) fn write(layout: &Layout, to: LayoutFormat, caption: Option<&str>) -> anyhow::Result<String> {
    Ok(match to {
        LayoutFormat::Json => layout.to_json(),
        LayoutFormat::Text => format!("{}\n", write_answer(layout)),
        LayoutFormat::Coco => coco::write(layout),
        LayoutFormat::Ideogram => ideogram::write(layout, caption.unwrap_or(&layout.background))?,
        LayoutFormat::Omost => omost::write(layout),
        LayoutFormat::Labelme => labelme::write(layout),
        LayoutFormat::Flux3 => flux3::write(layout, caption.unwrap_or(&layout.background))?,
        LayoutFormat::Moss => moss::write(layout, caption.unwrap_or(&layout.background)),
        LayoutFormat::Svg => svg::render(layout),
    })
}
