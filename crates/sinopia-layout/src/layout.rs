//! The drawing before the painting: named boxes on a canvas, a background caption, a negative caption.

use crate::geometry::{Canvas, PixelBox};

/// A layout as an LLM or a person wrote it.
///
/// Boxes may overlap, leave the canvas or have no area; [`repair`](crate::repair::repair) mends that, and
/// [`Scene`](crate::scene::Scene) refuses what was not mended.
#[derive(Debug, Clone, PartialEq)]
pub struct Layout {
    /// Size of the picture that the boxes refer to.
    pub canvas: Canvas,
    /// The boxes, in the writer's order; none is fine (an empty scene, or a negated object).
    pub objects: Vec<LayoutObject>,
    /// What surrounds the objects, such as `A realistic photo of a beach`; may be empty.
    pub background: String,
    /// What the picture must not show, separated by commas; may be empty.
    pub negative: String,
}

/// One named box. Two cats are two objects with the same phrase.
#[derive(Debug, Clone, PartialEq)]
pub struct LayoutObject {
    /// The object in words, singular: `a blue dog`.
    pub phrase: String,
    /// Where it stands, in canvas pixels.
    pub bbox: PixelBox,
}

impl Layout {
    /// Most boxes that a layout read from outside may have. Each costs a generation of its own.
    pub const MAX_BOXES: usize = 100;

    /// Most characters of a phrase. A text encoder reads some hundred; whatever is longer is a mistake, and is carried into every message.
    pub const MAX_PHRASE_CHARS: usize = 1000;

    /// Whether every box has area and lies inside the canvas.
    pub fn is_inside_canvas(&self) -> bool {
        self.objects.iter().all(|object| object.bbox.has_area() && object.bbox.is_inside(self.canvas))
    }
}
