//! Many layouts on one drawing, to be judged by eye.

use std::fmt::Write as _;

use sinopia_layout::{Layout, PixelBox, svg};

/// Width and height of a cell, in pixels; a layout is drawn to fit.
const CELL: (f64, f64) = (400.0, 520.0);
/// What is left free around a layout, in pixels.
const MARGIN: f64 = 12.0;
/// The caption's letters, in pixels.
const FONT: f64 = 15.0;
/// Lines of a caption that are drawn.
const LINES: usize = 3;
/// Layouts in a row.
const PER_ROW: usize = 6;

/// An SVG with every caption over its layout, or over the reason that there is none.
pub(crate) fn draw(layouts: &[(String, Result<Layout, String>)]) -> String {
    let columns = layouts.len().clamp(1, PER_ROW);
    let rows = layouts.len().div_ceil(PER_ROW);
    let (width, height) = (columns as f64 * CELL.0, rows as f64 * CELL.1);
    let mut sheet = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"{width}\" height=\"{height}\" viewBox=\"0 0 {width} {height}\" \
         font-family=\"Helvetica, Arial, sans-serif\" font-size=\"{FONT}\">\n<rect width=\"100%\" height=\"100%\" fill=\"#fff\"/>\n"
    );
    for (index, (caption, layout)) in layouts.iter().enumerate() {
        let (x, y) = ((index % PER_ROW) as f64 * CELL.0, (index / PER_ROW) as f64 * CELL.1);
        // Writing into a string cannot fail.
        let _ = writeln!(sheet, "<g transform=\"translate({x} {y})\">");
        draw_cell(&mut sheet, &format!("{}. {caption}", index + 1), layout);
        sheet.push_str("</g>\n");
    }
    sheet.push_str("</svg>\n");
    sheet
}

fn draw_cell(sheet: &mut String, caption: &str, layout: &Result<Layout, String>) {
    let columns = ((CELL.0 - 2.0 * MARGIN) / (FONT * 0.52)) as usize;
    for (line, text) in wrapped(caption, columns).iter().take(LINES).enumerate() {
        let y = MARGIN + (line + 1) as f64 * FONT * 1.2;
        let _ = writeln!(sheet, "<text x=\"{MARGIN}\" y=\"{y}\" fill=\"#222\">{}</text>", escaped(text));
    }
    let top = MARGIN + (LINES as f64 + 0.6) * FONT * 1.2;
    match layout {
        Ok(layout) => {
            let (width, height) = (CELL.0 - 2.0 * MARGIN, CELL.1 - top - MARGIN);
            // Room for two lines of captions under the picture, as `svg::render` writes them.
            let scale =
                (width / f64::from(layout.canvas.width())).min(height / f64::from(layout.canvas.height()) / 1.16);
            let _ = writeln!(
                sheet,
                "<g transform=\"translate({MARGIN} {top}) scale({scale:.4})\">{}{}</g>",
                svg::render(layout),
                ground_lines(layout)
            );
        }
        Err(reason) => {
            let _ =
                writeln!(sheet, "<text x=\"{MARGIN}\" y=\"{}\" fill=\"#b00\">{}</text>", top + FONT, escaped(reason));
        }
    }
}

/// The lower edges, on which things stand.
fn ground_lines(layout: &Layout) -> String {
    let line = |bbox: &PixelBox| {
        let (from, to, y) = (bbox.x(), bbox.right(), bbox.bottom());
        format!("<path d=\"M{from:.1} {y:.1}H{to:.1}\" stroke=\"#3b2f2a\" stroke-width=\"4\"/>")
    };
    layout.objects.iter().map(|object| line(&object.bbox)).collect()
}

fn wrapped(text: &str, columns: usize) -> Vec<String> {
    let mut lines = vec![String::new()];
    for word in text.split_whitespace() {
        match lines.last_mut() {
            Some(line) if line.is_empty() || line.len() + 1 + word.len() <= columns => {
                if !line.is_empty() {
                    line.push(' ');
                }
                line.push_str(word);
            }
            _ => lines.push(word.to_owned()),
        }
    }
    lines
}

fn escaped(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;")
}
