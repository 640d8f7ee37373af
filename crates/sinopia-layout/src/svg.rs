//! Draws a layout as a self-contained SVG picture: canvas, named outlines, and the two captions below.

use std::fmt::Write as _;

use crate::geometry::Canvas;
use crate::layout::{Layout, LayoutObject};

/// Outline colours that differ in hue and in lightness; reused in turn.
const COLORS: [&str; 10] =
    ["#c1442d", "#1f6f8b", "#5b8c2a", "#8e4585", "#c98a1b", "#2b4c9b", "#a8325e", "#2a7f62", "#6b4f2a", "#5a5a9e"];

/// Paper, ink and line of the drawing.
const PAPER: &str = "#faf6ef";
const INK: &str = "#3b2f2a";
const LINE: &str = "#c9bda9";

/// Width of an average character of the sans-serif font, in font sizes.
const CHAR_WIDTH: f64 = 0.56;

/// Draws the layout. Boxes are drawn where they are, cut at the edge of the canvas; one unit is one pixel.
pub fn render(layout: &Layout) -> String {
    let (width, height) = layout.canvas.sides();
    let font = (width.min(height) / 26.0).max(4.0);
    let captions = caption_lines(layout, width, font);
    let captions_height = if captions.is_empty() { 0.0 } else { (captions.len() as f64 + 0.8) * font * 1.4 };
    let total = height + captions_height;
    let mut svg = String::new();
    // Writing into a string cannot fail.
    let _ = write!(
        svg,
        r#"<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {total:.1}" width="{width}" height="{total:.1}" font-family="Helvetica, Arial, sans-serif" font-size="{font:.1}">
<rect width="{width}" height="{total:.1}" fill="{PAPER}"/>
<svg width="{width}" height="{height}" viewBox="0 0 {width} {height}">
"#
    );
    for (index, object) in layout.objects.iter().enumerate() {
        draw_box(&mut svg, object, COLORS[index % COLORS.len()], font);
    }
    for (index, object) in layout.objects.iter().enumerate() {
        draw_label(&mut svg, object, COLORS[index % COLORS.len()], layout.canvas, font);
    }
    let _ = writeln!(
        svg,
        "</svg>\n<rect x=\"0.5\" y=\"0.5\" width=\"{}\" height=\"{}\" fill=\"none\" stroke=\"{LINE}\"/>",
        width - 1.0,
        height - 1.0
    );
    for (index, line) in captions.iter().enumerate() {
        let y = height + (index as f64 + 1.2) * font * 1.4;
        let _ = writeln!(svg, "<text x=\"{:.1}\" y=\"{y:.1}\" fill=\"{INK}\">{}</text>", font * 0.6, escaped(line));
    }
    svg.push_str("</svg>\n");
    svg
}

fn draw_box(svg: &mut String, object: &LayoutObject, color: &str, font: f64) {
    let bbox = &object.bbox;
    if !bbox.has_area() {
        return;
    }
    let _ = writeln!(
        svg,
        "<rect x=\"{}\" y=\"{}\" width=\"{}\" height=\"{}\" fill=\"{color}\" fill-opacity=\"0.12\" stroke=\"{color}\" stroke-width=\"{:.1}\"/>",
        short(bbox.x()),
        short(bbox.y()),
        short(bbox.width()),
        short(bbox.height()),
        font / 8.0,
    );
}

/// The name in a filled tag at the box's top left corner, moved onto the canvas and shortened to its width.
fn draw_label(svg: &mut String, object: &LayoutObject, color: &str, canvas: Canvas, font: f64) {
    let (width, height) = canvas.sides();
    let padding = font * 0.35;
    let fitting = ((width - 2.0 * padding) / (font * CHAR_WIDTH)).max(1.0) as usize;
    let name = shortened(&object.phrase, fitting);
    let tag_width = (name.chars().count() as f64 * font * CHAR_WIDTH + 2.0 * padding).min(width);
    let tag_height = font * 1.35;
    let x = object.bbox.x().min(width - tag_width).max(0.0);
    let y = object.bbox.y().min(height - tag_height).max(0.0);
    let _ = writeln!(
        svg,
        "<rect x=\"{x}\" y=\"{y}\" width=\"{tag_width:.1}\" height=\"{tag_height:.1}\" fill=\"{color}\"/><text x=\"{text_x}\" y=\"{text_y}\" fill=\"#fff\">{name}</text>",
        x = short(x),
        y = short(y),
        text_x = short(x + padding),
        text_y = short(y + font),
        name = escaped(&name),
    );
}

/// Background and negative caption, wrapped to the canvas.
fn caption_lines(layout: &Layout, width: f64, font: f64) -> Vec<String> {
    let columns = ((width - 1.2 * font) / (font * CHAR_WIDTH)).max(8.0) as usize;
    let mut lines = Vec::new();
    for (label, caption) in [("background: ", &layout.background), ("without: ", &layout.negative)] {
        if !caption.trim().is_empty() {
            lines.extend(wrapped(&format!("{label}{}", caption.trim()), columns));
        }
    }
    lines
}

/// Breaks a text into lines of at most `columns` characters, between words where possible.
fn wrapped(text: &str, columns: usize) -> Vec<String> {
    let mut lines = vec![String::new()];
    for word in text.split_whitespace() {
        let mut word: Vec<char> = word.chars().collect();
        while !word.is_empty() {
            let used = lines.last().map_or(0, |line| line.chars().count());
            let gap = usize::from(used > 0);
            let room = columns.saturating_sub(used + gap);
            if word.len() > room && used > 0 {
                lines.push(String::new());
                continue;
            }
            let rest = word.split_off(word.len().min(room.max(1)));
            if let Some(line) = lines.last_mut() {
                line.extend(std::iter::repeat_n(' ', gap).chain(word));
            }
            word = rest;
        }
    }
    lines
}

fn shortened(text: &str, columns: usize) -> String {
    if text.chars().count() <= columns {
        return text.to_owned();
    }
    text.chars().take(columns.saturating_sub(1)).chain(['…']).collect()
}

/// A coordinate with at most one decimal.
fn short(value: f64) -> f64 {
    (value * 10.0).round() / 10.0 + 0.0
}

/// Text as XML character data; characters that XML cannot hold become spaces.
fn escaped(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '&' => escaped.push_str("&amp;"),
            '<' => escaped.push_str("&lt;"),
            '>' => escaped.push_str("&gt;"),
            '"' => escaped.push_str("&quot;"),
            c if c.is_control() || matches!(c, '\u{FFFE}' | '\u{FFFF}') => escaped.push(' '),
            c => escaped.push(c),
        }
    }
    escaped
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::parse::parse_answer;

    #[test]
    fn a_small_layout() {
        let layout =
            parse_answer("[('a <b> & \"c\"', [40, 210, 180, 200])]\nBackground prompt: A beach\nNegative prompt: dogs");
        insta::assert_snapshot!(render(&layout.unwrap()), @r##"
        <svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 512 589.2" width="512" height="589.2" font-family="Helvetica, Arial, sans-serif" font-size="19.7">
        <rect width="512" height="589.2" fill="#faf6ef"/>
        <svg width="512" height="512" viewBox="0 0 512 512">
        <rect x="40" y="210" width="180" height="200" fill="#c1442d" fill-opacity="0.12" stroke="#c1442d" stroke-width="2.5"/>
        <rect x="40" y="210" width="135.1" height="26.6" fill="#c1442d"/><text x="46.9" y="229.7" fill="#fff">a &lt;b&gt; &amp; &quot;c&quot;</text>
        </svg>
        <rect x="0.5" y="0.5" width="511" height="511" fill="none" stroke="#c9bda9"/>
        <text x="11.8" y="545.1" fill="#3b2f2a">background: A beach</text>
        <text x="11.8" y="572.7" fill="#3b2f2a">without: dogs</text>
        </svg>
        "##);
    }

    #[test]
    fn captions_are_wrapped_and_left_out_when_empty() {
        assert_eq!(wrapped("aaa bb cccccccccc d", 6), ["aaa bb", "cccccc", "cccc d"]);
        assert_eq!(wrapped("aa", 0), ["a", "a"]);
        assert!(!render(&parse_answer("[]\nBackground prompt: \nNegative prompt: ").unwrap()).contains("<text"));
    }

    #[test]
    fn a_label_stays_on_the_canvas() {
        let layout = parse_answer("[('a very long name', [500, 505, 900, 900])]\nBackground prompt: ").unwrap();
        let svg = render(&layout);
        let tag = svg.lines().find(|line| line.contains("<text")).unwrap();
        let number = |name: &str| -> f64 {
            tag.split(&format!("{name}=\"")).nth(1).unwrap().split('"').next().unwrap().parse().unwrap()
        };
        assert!(number("x") + number("width") <= 512.1 && number("y") + number("height") <= 512.1);
    }

    #[test]
    fn control_characters_do_not_reach_the_file() {
        assert_eq!(escaped("a\u{0}b\u{FFFF}c"), "a b c");
    }
}
