//! A part of a picture that is denoised by itself: what surrounds a change.
//!
//! The network is run on a rectangle around the cells that change, so that its work goes with the change and not with the picture. It sees the rest of the picture as far
//! as the margin reaches, and what is painted there is asked for in the rectangle's own terms: objects with their boxes on it. "Inpaint only masked" of
//! AUTOMATIC1111's web UI and "crop and stitch" of ComfyUI do the same.

use candle_core::Tensor;
use sinopia_layout::{BBox, Canvas, Grid, GridMask, GridRect, Layout, LayoutObject};
use sinopia_models::Denoiser;

use crate::Result;

/// Parts of a side that the margin on each end of a window has: one of so many. AUTOMATIC1111's margin is 32 of 512 pixels.
const MARGINS_A_SIDE: usize = 8;

/// Of an object's area the share that must be in a window, or of the window's what the object must fill, for it to be asked for there.
const SEEN_SHARE: f64 = 0.5;
const FILLED_SHARE: f64 = 0.25;

/// Pixels of a layout's canvas to a cell: any number would do.
const CANVAS_PIXELS: usize = 8;

/// A rectangle of the latents' cells.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Window {
    picture: Grid,
    rect: GridRect,
}

impl Window {
    /// All of a picture.
    pub fn whole(picture: Grid) -> Self {
        Self { picture, rect: GridRect { left: 0, top: 0, right: picture.width, bottom: picture.height } }
    }

    /// Around some cells with a margin of an eighth of the picture's side, at least five eighths of each side, so that it is like what the network was trained on, and
    /// where the network's coarsest grid has its cells. All of the picture if that is little more.
    pub fn around(cells: &GridMask, denoiser: &dyn Denoiser) -> Self {
        let picture = cells.grid();
        let whole = Self::whole(picture);
        let Some(rect) = cells.bounding_rect().filter(|rect| !rect.is_empty()) else { return whole };
        let layers = denoiser.attention_layers(picture);
        let coarsest = layers.iter().map(|layer| layer.grid).min_by_key(Grid::cells).unwrap_or(picture);
        let (top, bottom) = span(rect.top, rect.bottom, picture.height, coarsest.height);
        let (left, right) = span(rect.left, rect.right, picture.width, coarsest.width);
        let rect = GridRect { left, top, right, bottom };
        if 4 * rect.cells() > 3 * picture.cells() { whole } else { Self { picture, rect } }
    }

    /// Whether it is all of the picture.
    pub fn is_whole(&self) -> bool {
        *self == Self::whole(self.picture)
    }

    /// Its own cells.
    pub fn grid(&self) -> Grid {
        let GridRect { left, top, right, bottom } = self.rect;
        Grid::new(bottom - top, right - left)
    }

    /// Of the picture's latents (B, H, W, C) its own, (B, H', W', C).
    ///
    /// # Errors
    /// When they are of another grid.
    pub fn of(&self, latents: &Tensor) -> Result<Tensor> {
        if self.is_whole() {
            return Ok(latents.clone());
        }
        let Grid { height, width } = self.grid();
        Ok(latents.narrow(1, self.rect.top, height)?.narrow(2, self.rect.left, width)?.contiguous()?)
    }

    /// The picture's latents (B, H, W, C) with these of the window, (B, H', W', C), in their place.
    ///
    /// # Errors
    /// When they are of other grids.
    pub fn put(&self, inside: &Tensor, around: &Tensor) -> Result<Tensor> {
        if self.is_whole() {
            return Ok(inside.clone());
        }
        let (b, _, _, c) = around.dims4()?;
        let GridRect { left, top, right, bottom } = self.rect;
        Ok(around.slice_assign(&[0..b, top..bottom, left..right, 0..c], inside)?)
    }

    /// Of the picture's cells its own.
    pub fn mask(&self, cells: &GridMask) -> GridMask {
        let Grid { height, width } = self.grid();
        let rows = (0..height).flat_map(|row| (0..width).map(move |column| (row, column)));
        let inside = rows.map(|(row, column)| cells.contains(self.rect.top + row, self.rect.left + column));
        GridMask::from_cells(self.grid(), inside.collect()).unwrap_or_else(|| GridMask::empty(self.grid()))
    }

    /// The part of a box of the picture that is in it, in its own proportions; `None` if nothing is.
    pub fn bbox(&self, bbox: &BBox) -> Option<BBox> {
        if self.is_whole() {
            return Some(*bbox);
        }
        let GridRect { left, top, right, bottom } = self.rect;
        let along = |at: f64, cells: usize, from: usize, to: usize| {
            ((at * cells as f64 - from as f64) / (to - from) as f64).clamp(0.0, 1.0)
        };
        let x = |at: f64| along(at, self.picture.width, left, right);
        let y = |at: f64| along(at, self.picture.height, top, bottom);
        BBox::new(x(bbox.x0()), y(bbox.y0()), x(bbox.x1()), y(bbox.y1())).ok()
    }

    /// What of a layout stands in it: objects of which half is in it, or which fill a quarter of it.
    ///
    /// # Errors
    /// When a box leaves the layout's canvas.
    pub fn layout(&self, layout: &Layout) -> Result<Layout> {
        if self.is_whole() {
            return Ok(layout.clone());
        }
        let Grid { height, width } = self.grid();
        // As the cells are, so that nothing is stretched.
        let side = |cells: usize| u32::try_from(cells * CANVAS_PIXELS).unwrap_or(Canvas::MAX_SIDE);
        let canvas = Canvas::new(side(width), side(height))?;
        let share = (height * width) as f64 / self.picture.cells() as f64;
        let mut objects = Vec::new();
        for object in &layout.objects {
            let whole = BBox::from_pixels(&object.bbox, layout.canvas)?;
            let Some(bbox) = self.bbox(&whole) else { continue };
            if bbox.area() * share >= SEEN_SHARE * whole.area() || bbox.area() >= FILLED_SHARE {
                objects.push(LayoutObject { phrase: object.phrase.clone(), bbox: bbox.to_pixels(canvas) });
            }
        }
        Ok(Layout { canvas, objects, ..layout.clone() })
    }
}

/// From some cells of a side to a window's: with the margins, at least five eighths of the side, and on the bounds of the coarsest grid's cells.
fn span(from: usize, to: usize, len: usize, coarsest: usize) -> (usize, usize) {
    let margin = (len / MARGINS_A_SIDE).max(1);
    let (from, to) = (from.saturating_sub(margin), (to + margin).min(len));
    let least = (to - from).max((5 * len).div_ceil(8));
    let from = from.saturating_sub((least - (to - from)) / 2).min(len - least);
    let to = to.max(from + least);
    let cell = len.div_ceil(coarsest.max(1));
    (from / cell * cell, (to.div_ceil(cell) * cell).min(len))
}

#[cfg(test)]
mod tests {
    use candle_core::Device;

    use super::*;

    const PICTURE: Grid = Grid { height: 16, width: 16 };

    fn window(left: usize, top: usize, right: usize, bottom: usize) -> Window {
        Window { picture: PICTURE, rect: GridRect { left, top, right, bottom } }
    }

    #[test]
    fn spans_have_margins_a_least_length_and_whole_coarse_cells() {
        assert_eq!(span(6, 10, 16, 8), (2, 14));
        assert_eq!(span(5, 11, 16, 8), (2, 14));
        assert_eq!(span(0, 2, 16, 8), (0, 10));
        assert_eq!(span(14, 16, 16, 8), (6, 16));
        assert_eq!(span(20, 45, 64, 8), (8, 56));
        assert_eq!(span(24, 40, 64, 8), (8, 56));
        assert_eq!(span(0, 1, 1, 1), (0, 1));
        assert_eq!(span(3, 4, 7, 4), (0, 6));
    }

    #[test]
    fn what_is_cut_out_goes_back_to_its_place_to_the_bit() -> Result<()> {
        let latents = Tensor::arange(0f32, 1024.0, &Device::Cpu)?.reshape((1, 16, 16, 4))?;
        let window = window(2, 4, 12, 16);
        let inside = window.of(&latents)?;
        assert_eq!(inside.dims(), [1, 12, 10, 4]);
        assert_eq!(
            window.put(&inside, &latents)?.flatten_all()?.to_vec1::<f32>()?,
            latents.flatten_all()?.to_vec1::<f32>()?
        );
        let odd = (&latents * f64::NAN)?;
        let back = window.of(&window.put(&inside, &odd)?)?;
        assert_eq!(back.flatten_all()?.to_vec1::<f32>()?, inside.flatten_all()?.to_vec1::<f32>()?);
        let cells: Vec<bool> = (0..256).map(|cell| cell == 4 * 16 + 2 || cell == 0 || cell == 15 * 16 + 11).collect();
        let cells = GridMask::from_cells(PICTURE, cells).unwrap();
        let own = window.mask(&cells);
        assert!(own.count() == 2 && own.contains(0, 0) && own.contains(11, 9));
        let whole = Window::whole(PICTURE);
        assert!(whole.is_whole() && whole.mask(&cells) == cells);
        Ok(())
    }

    #[test]
    fn a_layout_keeps_what_is_seen_in_the_window() -> Result<()> {
        let object = |phrase: &str, x, y, width, height| LayoutObject {
            phrase: phrase.to_owned(),
            bbox: sinopia_layout::PixelBox::new(x, y, width, height).unwrap(),
        };
        let layout = Layout {
            canvas: Canvas::PUBLISHED,
            objects: vec![
                object("a dog", 0.0, 0.0, 128.0, 256.0),
                object("a cat", 192.0, 0.0, 256.0, 128.0),
                object("a table", 0.0, 128.0, 512.0, 384.0),
                object("a fox", 400.0, 400.0, 100.0, 100.0),
            ],
            background: "a room".to_owned(),
            negative: String::new(),
        };
        let own = window(0, 0, 8, 8).layout(&layout)?;
        assert_eq!((own.canvas.width(), own.canvas.height()), (64, 64));
        let phrases: Vec<&str> = own.objects.iter().map(|object| object.phrase.as_str()).collect();
        assert_eq!(phrases, ["a dog", "a table"], "a quarter of the cat is in it");
        assert_eq!(own.objects[0].bbox, sinopia_layout::PixelBox::new(0.0, 0.0, 32.0, 64.0)?);
        assert!(own.is_inside_canvas());
        assert_eq!(Window::whole(PICTURE).layout(&layout)?, layout);
        assert!(window(0, 0, 8, 8).bbox(&BBox::new(0.6, 0.6, 0.9, 0.9)?).is_none());
        Ok(())
    }
}
