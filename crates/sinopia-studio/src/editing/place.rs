//! A box as somebody types it.

use sinopia_layout::{BBox, Canvas, PixelBox};

use super::EditError;

/// Four numbers X, Y, W, H that somebody typed: pixels of a canvas, or shares of it where none is above 1 or they end in `%`.
#[derive(Debug, Clone, PartialEq)]
pub struct Place {
    typed: String,
    sides: [f64; 4],
    /// How many of the unit make the whole side; `None` for pixels.
    whole: Option<f64>,
}

impl Place {
    /// Reads four numbers, whatever stands between and around them: `10,20,30,40`, `[10, 20, 30, 40]`, `10 20 30 40`, `5%,5%,20%,20%`.
    pub fn parse(text: &str) -> Option<Self> {
        let inner = text.trim().trim_start_matches(['[', '(']).trim_end_matches([']', ')']);
        let parts: Vec<&str> =
            inner.split(|c: char| c == ',' || c == ';' || c.is_whitespace()).filter(|part| !part.is_empty()).collect();
        let is_percent = parts.iter().all(|part| part.ends_with('%'));
        let number = |part: &&str| part.trim_end_matches('%').trim_end_matches("px").parse::<f64>().ok();
        let numbers: Vec<f64> = parts.iter().map(number).collect::<Option<_>>()?;
        let sides: [f64; 4] = numbers.try_into().ok()?;
        if !sides.iter().all(|side| side.is_finite()) || (!is_percent && text.contains('%')) {
            return None;
        }
        let is_share = sides.iter().all(|side| (0.0..=1.0).contains(side));
        let whole = if is_percent { Some(100.0) } else { is_share.then_some(1.0) };
        Some(Self { typed: text.trim().to_owned(), sides, whole })
    }

    /// The same, with an error that says what is expected.
    ///
    /// # Errors
    /// [`EditError::Box`].
    pub fn read(text: &str, canvas: Canvas) -> Result<Self, EditError> {
        Self::parse(text).ok_or_else(|| EditError::Box { text: text.to_owned(), canvas })
    }

    /// The box on a canvas, its part beyond the canvas cut off; and whether something was.
    ///
    /// # Errors
    /// [`EditError::Box`] without width or height, [`EditError::BoxOutside`] if nothing of it is on the canvas.
    pub fn on(&self, canvas: Canvas) -> Result<(BBox, bool), EditError> {
        let [x, y, w, h] = self.sides;
        let unit = |side: u32| self.whole.map_or(1.0, |whole| f64::from(side) / whole);
        let (across, down) = (unit(canvas.width()), unit(canvas.height()));
        let bbox = PixelBox::new(x * across, y * down, w * across, h * down);
        let refused = || EditError::Box { text: self.typed.clone(), canvas };
        // Less than a pixel is a slip between pixels and shares.
        let is_seen = |bbox: &PixelBox| bbox.width() >= 1.0 && bbox.height() >= 1.0;
        let bbox = bbox.ok().filter(is_seen).ok_or_else(refused)?;
        let outside = || EditError::BoxOutside { text: self.typed.clone(), canvas };
        let inside = Some(bbox.clipped_to(canvas)).filter(PixelBox::has_area).ok_or_else(outside)?;
        let shares = BBox::from_pixels(&inside, canvas).map_err(|_| outside())?;
        Ok((shares, !bbox.is_inside(canvas)))
    }
}

/// A box in words, in whole pixels of a canvas.
pub(super) fn shown(bbox: &BBox, canvas: Canvas) -> String {
    let pixels = bbox.to_pixels(canvas);
    let [x, y, w, h] = [pixels.x(), pixels.y(), pixels.width(), pixels.height()].map(|side| side.round());
    format!("{x},{y},{w},{h}")
}

#[cfg(test)]
mod tests {
    use super::*;

    const CANVAS: Canvas = Canvas::PUBLISHED;

    fn corners(text: &str) -> [f64; 4] {
        let (x0, y0, x1, y1) = Place::read(text, CANVAS).unwrap().on(CANVAS).unwrap().0.corners();
        [x0, y0, x1, y1]
    }

    #[test]
    fn boxes_are_read_as_people_write_them() {
        for text in
            ["128,256,128,64", "[128, 256, 128, 64]", " 128 256 128 64", "(128;256;128;64)", "128px,256px,128px,64px"]
        {
            assert_eq!(corners(text), [0.25, 0.5, 0.5, 0.625], "{text}");
        }
        assert_eq!(corners("0.25,0.5,0.25,0.125"), [0.25, 0.5, 0.5, 0.625]);
        assert_eq!(corners("25%,50%,25%,12.5%"), [0.25, 0.5, 0.5, 0.625]);
        assert_eq!(corners("0,0,1,1"), [0.0, 0.0, 1.0, 1.0], "the whole picture, not a pixel of it");
    }

    #[test]
    fn what_is_no_box_is_refused_with_an_example() {
        for text in ["", "left", "1,2,3", "1,2,3,4,5", "1,2,x,4", "nan,1,2,3", "5%,5,20%,20%"] {
            let message = Place::read(text, CANVAS).unwrap_err().to_string();
            assert!(message.contains("X,Y,W,H") && message.contains("512×512"), "{text}: {message}");
        }
        for slip in ["0.5,0.5,0.2,1.5", "0.5,0.5,0,0.1"] {
            assert!(matches!(Place::read(slip, CANVAS).unwrap().on(CANVAS), Err(EditError::Box { .. })), "{slip}");
        }
        let flat = Place::read("10,10,0,20", CANVAS).unwrap().on(CANVAS).unwrap_err();
        assert!(matches!(flat, EditError::Box { .. }));
    }

    #[test]
    fn a_part_beyond_the_canvas_is_cut_off_and_a_box_beyond_it_refused() {
        let (bbox, is_cut) = Place::read("400,-20,200,120", CANVAS).unwrap().on(CANVAS).unwrap();
        assert_eq!((shown(&bbox, CANVAS).as_str(), is_cut), ("400,0,112,100", true));
        let outside = Place::read("600,600,10,10", CANVAS).unwrap().on(CANVAS).unwrap_err();
        assert_eq!(outside.to_string(), "the box 600,600,10,10 lies outside the picture, whose canvas is 512×512");
    }
}
