//! What a plan needs to know of the picture that is to be changed.

use sinopia_layout::{BBox, Layout};

use crate::Result;

/// Something in a picture.
#[derive(Debug, Clone, PartialEq)]
pub struct Object {
    /// The object in words.
    pub phrase: String,
    /// Where it is.
    pub bbox: BBox,
}

/// Whoever looks for things in the picture that its layout does not name.
pub trait ObjectSearch {
    /// What is surely there of what is called `phrase`.
    ///
    /// # Errors
    /// Those of whoever looks.
    fn search(&self, phrase: &str) -> Result<Vec<Object>>;

    /// Where each object of a layout was painted.
    ///
    /// # Errors
    /// As [`search`](Self::search).
    fn seen(&self, layout: &Layout) -> Result<Vec<Sighting>> {
        Ok(vec![Sighting::Unsure; layout.objects.len()])
    }
}

/// What became of an object of a layout in its picture.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Sighting {
    /// It is there, overlapping its box.
    Near(BBox),
    /// It is elsewhere.
    Elsewhere(BBox),
    /// Nothing of the kind is in the picture.
    Nowhere,
    /// Nobody can tell.
    Unsure,
}

/// How much of a picture's sides a latent cell takes, as shares.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Cell {
    /// Of the width.
    pub across: f64,
    /// Of the height.
    pub down: f64,
}

impl Cell {
    /// Whether two boxes are the same to within a cell.
    pub(super) fn holds(self, a: &BBox, b: &BBox) -> bool {
        let near = |a: f64, b: f64, size: f64| (a - b).abs() < size;
        near(a.x0(), b.x0(), self.across)
            && near(a.x1(), b.x1(), self.across)
            && near(a.y0(), b.y0(), self.down)
            && near(a.y1(), b.y1(), self.down)
    }
}

/// The picture that is to be changed, as far as a plan needs to know it.
#[derive(Clone, Copy)]
pub struct EditContext<'a> {
    /// What it shows. Repaired: every box inside its canvas.
    pub layout: &'a Layout,
    /// Its latent cells.
    pub cell: Cell,
    /// Who looks for what the layout does not name, if somebody can.
    pub search: Option<&'a dyn ObjectSearch>,
}
