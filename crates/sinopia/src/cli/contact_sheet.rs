//! The contact sheet of `--grid`: the layout, each object painted on its own, and the result, side by side.

use std::convert::Infallible;

use embedded_graphics::mono_font::MonoTextStyle;
use embedded_graphics::mono_font::iso_8859_1::FONT_6X10;
use embedded_graphics::pixelcolor::Rgb888;
use embedded_graphics::prelude::*;
use embedded_graphics::primitives::{PrimitiveStyle, Rectangle};
use embedded_graphics::text::{Baseline, Text};
use image::{Rgb, RgbImage, imageops};
use sinopia_layout::{BBox, Layout};

/// Pixels between and around the panels.
const MARGIN: u32 = 8;
/// Height of the caption line under a panel, in pixels.
const LABEL_HEIGHT: u32 = 14;
/// Panels narrower than this are enlarged by a whole factor, so that labels can be read.
const MIN_PANEL: u32 = 192;
/// Panels in one row.
const PER_ROW: usize = 5;

const OUTLINES: [Rgb888; 8] = [
    Rgb888::new(0xd8, 0x3a, 0x3a),
    Rgb888::new(0x2f, 0x6f, 0xd0),
    Rgb888::new(0x2e, 0x9a, 0x4a),
    Rgb888::new(0xc0, 0x7a, 0x10),
    Rgb888::new(0x8a, 0x44, 0xc0),
    Rgb888::new(0x10, 0x94, 0x94),
    Rgb888::new(0xc8, 0x3f, 0x92),
    Rgb888::new(0x66, 0x66, 0x66),
];

/// A picture with a line of text under it.
pub(crate) struct Panel {
    pub(crate) image: RgbImage,
    pub(crate) label: String,
}

/// Draws the boxes of `layout` as a panel of `width` × `height` pixels (of the painting, before enlarging).
pub(crate) fn layout_panel(layout: &Layout, width: u32, height: u32) -> Panel {
    let factor = enlargement(width);
    let mut image = RgbImage::from_pixel(width * factor, height * factor, Rgb([255, 255, 255]));
    // Pixels of the panel for one of the layout's canvas.
    let x_scale = f64::from(image.width()) / f64::from(layout.canvas.width());
    let y_scale = f64::from(image.height()) / f64::from(layout.canvas.height());
    for (index, object) in layout.objects.iter().enumerate() {
        let colour = OUTLINES[index % OUTLINES.len()];
        let b = object.bbox;
        let corner = Point::new((b.x() * x_scale) as i32, (b.y() * y_scale) as i32);
        let size = Size::new((b.width() * x_scale) as u32, (b.height() * y_scale) as u32);
        let mut canvas = Canvas(&mut image);
        let outline = Rectangle::new(corner, size).into_styled(PrimitiveStyle::with_stroke(colour, 2));
        never_fails(outline.draw(&mut canvas));
        write_text(&mut image, &object.phrase, corner + Point::new(4, 4), colour);
    }
    Panel { image, label: format!("layout: {}", layout.background) }
}

/// Arranges `panels` in rows on a white sheet.
pub(crate) fn arrange(panels: &[Panel]) -> RgbImage {
    let images: Vec<RgbImage> = panels.iter().map(|p| enlarged(&p.image)).collect();
    let cell_width = images.iter().map(RgbImage::width).max().unwrap_or(1) + MARGIN;
    let cell_height = images.iter().map(RgbImage::height).max().unwrap_or(1) + LABEL_HEIGHT + MARGIN;
    let columns = panels.len().clamp(1, PER_ROW);
    let rows = panels.len().div_ceil(columns).max(1);
    let size = (cell_width * columns as u32 + MARGIN, cell_height * rows as u32 + MARGIN);
    let mut sheet = RgbImage::from_pixel(size.0, size.1, Rgb([255, 255, 255]));
    for (index, (image, panel)) in images.iter().zip(panels).enumerate() {
        let x = MARGIN + (index % columns) as u32 * cell_width;
        let y = MARGIN + (index / columns) as u32 * cell_height;
        imageops::replace(&mut sheet, image, i64::from(x), i64::from(y));
        let below = Point::new(x as i32, (y + image.height() + 2) as i32);
        write_text(&mut sheet, &shortened(&panel.label, image.width()), below, Rgb888::BLACK);
    }
    sheet
}

/// Colour of the boxes that attention should be in.
pub(crate) const TARGET: [u8; 3] = [0xff, 0x50, 0x40];
/// Room for the name of a row, in pixels.
const ROW_LABEL: u32 = 64;

/// A small picture in a [`table`], with boxes to draw on it.
pub(crate) struct Tile<'a> {
    pub(crate) image: RgbImage,
    pub(crate) label: String,
    pub(crate) bboxes: &'a [BBox],
}

/// Rows of small pictures, each row with its name, under a title.
pub(crate) fn table(title: &str, rows: &[(String, Vec<Tile>)]) -> RgbImage {
    let tiles = || rows.iter().flat_map(|(_, tiles)| tiles);
    let cell_width = tiles().map(|tile| tile.image.width()).max().unwrap_or(1) + MARGIN;
    let cell_height = tiles().map(|tile| tile.image.height()).max().unwrap_or(1) + LABEL_HEIGHT + MARGIN;
    let columns = rows.iter().map(|(_, tiles)| tiles.len()).max().unwrap_or(0) as u32;
    let width = (ROW_LABEL + columns * cell_width).max(6 * title.chars().count() as u32) + 2 * MARGIN;
    let height = LABEL_HEIGHT + MARGIN + rows.len() as u32 * cell_height + MARGIN;
    let mut sheet = RgbImage::from_pixel(width, height, Rgb([255, 255, 255]));
    let at = |x: u32, y: u32| Point::new(x as i32, y as i32);
    write_text(&mut sheet, title, at(MARGIN, MARGIN / 2), Rgb888::BLACK);
    for (row, (name, tiles)) in rows.iter().enumerate() {
        let y = LABEL_HEIGHT + MARGIN + row as u32 * cell_height;
        write_text(&mut sheet, name, at(MARGIN, y + 2), Rgb888::BLACK);
        for (column, tile) in tiles.iter().enumerate() {
            let x = MARGIN + ROW_LABEL + column as u32 * cell_width;
            imageops::replace(&mut sheet, &outlined(tile), i64::from(x), i64::from(y));
            write_text(&mut sheet, &tile.label, at(x, y + tile.image.height() + 2), Rgb888::BLACK);
        }
    }
    sheet
}

/// The tile's picture with its boxes.
fn outlined(tile: &Tile) -> RgbImage {
    let mut image = tile.image.clone();
    let (width, height) = (f64::from(image.width()), f64::from(image.height()));
    let style = PrimitiveStyle::with_stroke(Rgb888::new(TARGET[0], TARGET[1], TARGET[2]), 1);
    for bbox in tile.bboxes {
        let (x0, y0, x1, y1) = bbox.corners();
        let corner = Point::new((x0 * width) as i32, (y0 * height) as i32);
        let size = Size::new(((x1 - x0) * width).round() as u32, ((y1 - y0) * height).round() as u32);
        never_fails(Rectangle::new(corner, size).into_styled(style).draw(&mut Canvas(&mut image)));
    }
    image
}

fn enlargement(width: u32) -> u32 {
    MIN_PANEL.div_ceil(width.max(1)).max(1)
}

fn enlarged(image: &RgbImage) -> RgbImage {
    let factor = enlargement(image.width());
    imageops::resize(image, image.width() * factor, image.height() * factor, imageops::FilterType::Nearest)
}

/// `text` cut to the columns of the 6-pixel font that fit into `width` pixels.
fn shortened(text: &str, width: u32) -> String {
    let room = (width / 6) as usize;
    if text.chars().count() <= room {
        return text.to_owned();
    }
    text.chars().take(room.saturating_sub(2)).chain("..".chars()).collect()
}

fn write_text(image: &mut RgbImage, text: &str, at: Point, colour: Rgb888) {
    let style = MonoTextStyle::new(&FONT_6X10, colour);
    never_fails(Text::with_baseline(text, at, style, Baseline::Top).draw(&mut Canvas(image)).map(|_| ()));
}

fn never_fails(drawn: Result<(), Infallible>) {
    match drawn {
        Ok(()) => {}
    }
}

/// An image as something to draw on; what lies outside is left out.
struct Canvas<'a>(&'a mut RgbImage);

impl OriginDimensions for Canvas<'_> {
    fn size(&self) -> Size {
        Size::new(self.0.width(), self.0.height())
    }
}

impl DrawTarget for Canvas<'_> {
    type Color = Rgb888;
    type Error = Infallible;

    fn draw_iter<I: IntoIterator<Item = Pixel<Rgb888>>>(&mut self, pixels: I) -> Result<(), Infallible> {
        for Pixel(at, colour) in pixels {
            let (Ok(x), Ok(y)) = (u32::try_from(at.x), u32::try_from(at.y)) else { continue };
            if let Some(pixel) = self.0.get_pixel_mut_checked(x, y) {
                *pixel = Rgb([colour.r(), colour.g(), colour.b()]);
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn panel(width: u32, height: u32) -> Panel {
        Panel { image: RgbImage::from_pixel(width, height, Rgb([10, 20, 30])), label: "a very long label ".repeat(20) }
    }

    #[test]
    fn every_panel_has_its_place() {
        let sheet = arrange(&[panel(128, 128), panel(128, 128), panel(128, 128)]);
        assert_eq!(sheet.dimensions(), (3 * (256 + MARGIN) + MARGIN, 256 + LABEL_HEIGHT + 2 * MARGIN));
        assert_eq!(sheet.pixels().filter(|p| p.0 == [10, 20, 30]).count(), 3 * 256 * 256);
    }

    #[test]
    fn seven_panels_take_two_rows() {
        let panels: Vec<Panel> = (0..7).map(|_| panel(200, 100)).collect();
        let sheet = arrange(&panels);
        assert_eq!(sheet.height(), 2 * (100 + LABEL_HEIGHT + MARGIN) + MARGIN);
    }

    #[test]
    fn long_labels_are_cut() {
        assert_eq!(shortened("a blue dog", 36), "a bl..");
        assert_eq!(shortened("a dog", 36), "a dog");
    }
}
