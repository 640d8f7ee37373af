//! The drawing before the painting: named boxes on a canvas, a background caption, a negative caption.

use crate::error::{Error, Result};
use crate::geometry::{Canvas, PixelBox};
use crate::limits;

/// A layout as an LLM or a person wrote it.
///
/// Boxes may overlap, leave the canvas or have no area; [`repair`](crate::repair::repair) changes that, and
/// [`Scene`](crate::scene::Scene) refuses what was not repaired.
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
    /// Most boxes that a layout read from outside may have: [`limits::BOXES`].
    pub const MAX_BOXES: usize = limits::BOXES;

    /// Most characters of a phrase: [`limits::PHRASE_CHARS`].
    pub const MAX_PHRASE_CHARS: usize = limits::PHRASE_CHARS;

    /// Most characters of a background or negative caption: [`limits::CAPTION_CHARS`].
    pub const MAX_CAPTION_CHARS: usize = limits::CAPTION_CHARS;

    /// The same with boxes in thousandths of a pixel, as [`PixelBox::rounded`] has them.
    #[must_use]
    pub fn rounded(mut self) -> Self {
        for object in &mut self.objects {
            object.bbox = object.bbox.rounded(self.canvas);
        }
        self
    }

    /// Whether every box has area and lies inside the canvas.
    pub fn is_inside_canvas(&self) -> bool {
        self.objects.iter().all(|object| object.bbox.has_area() && object.bbox.is_inside(self.canvas))
    }

    /// Refuses a layout with more boxes or longer texts than [`limits`] allow. [`repair`](crate::repair::repair) cuts texts instead, and says so.
    ///
    /// # Errors
    /// [`Error::TooManyBoxes`], [`Error::TooLong`].
    pub fn check_size(&self) -> Result<()> {
        if self.objects.len() > Self::MAX_BOXES {
            return Err(Error::TooManyBoxes { found: self.objects.len(), max: Self::MAX_BOXES });
        }
        for (index, object) in self.objects.iter().enumerate() {
            limits::check_chars(&object.phrase, Self::MAX_PHRASE_CHARS, || format!("the phrase of box {}", index + 1))?;
        }
        limits::check_chars(&self.background, Self::MAX_CAPTION_CHARS, || "`background`".to_owned())?;
        limits::check_chars(&self.negative, Self::MAX_CAPTION_CHARS, || "`negative`".to_owned())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn layout(phrase: &str, count: usize, background: &str, negative: &str) -> Layout {
        let object = LayoutObject { phrase: phrase.to_owned(), bbox: PixelBox::new(1.0, 1.0, 9.0, 9.0).unwrap() };
        let (background, negative) = (background.to_owned(), negative.to_owned());
        Layout { canvas: Canvas::PUBLISHED, objects: vec![object; count], background, negative }
    }

    #[test]
    fn every_text_and_the_number_of_boxes_have_a_limit() {
        // Characters count, not bytes.
        let (phrase, caption) = ("ü".repeat(300), "ü".repeat(4000));
        assert_eq!(layout(&phrase, 200, &caption, &caption).check_size(), Ok(()));
        let told = |layout: Layout| layout.check_size().unwrap_err().to_string();
        assert_eq!(told(layout("a", 201, "", "")), "the layout has 201 boxes; at most 200 are allowed");
        let long = told(layout(&"x".repeat(301), 2, "", ""));
        assert_eq!(long, "the phrase of box 1 has 301 characters; at most 300 are read");
        assert_eq!(
            told(layout("a", 1, &"x".repeat(4001), "")),
            "`background` has 4001 characters; at most 4000 are read"
        );
        assert_eq!(
            told(layout("a", 1, "", &"x".repeat(5000))),
            "`negative` has 5000 characters; at most 4000 are read"
        );
    }
}
