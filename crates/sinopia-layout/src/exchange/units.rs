//! Boxes in thousandths of the picture, as formats of models have them.

use crate::error::Result;
use crate::geometry::{BBox, Canvas, PixelBox};

/// Units of a side of the picture.
pub(super) const UNITS: f64 = 1000.0;

/// The box as `[y_min, x_min, y_max, x_max]` in 0..=1000: **y before x**. `y_min = round(1000 · y / H)` and so on, half to even; a box thinner than a
/// unit gets one unit.
///
/// # Errors
/// [`Error::BBox`](crate::Error::BBox) if the box leaves the canvas or has no area.
pub(super) fn yxyx(bbox: &PixelBox, canvas: Canvas) -> Result<[u32; 4]> {
    let (x0, y0, x1, y1) = BBox::from_pixels(bbox, canvas)?.corners();
    let ((x_min, x_max), (y_min, y_max)) = (to_units(x0, x1), to_units(y0, y1));
    Ok([y_min, x_min, y_max, x_max])
}

fn to_units(start: f64, end: f64) -> (u32, u32) {
    let units = |share: f64| (share * UNITS).round_ties_even() as u32; // 0..=1000
    let (start, end) = (units(start), units(end));
    if start < end { (start, end) } else { (start.min(999), start.min(999) + 1) }
}
