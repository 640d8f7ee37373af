//! Rectangles in units of the canvas's shorter side, origin at the top left.

/// Left, top, width, height.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub(crate) struct Rect {
    pub(crate) x: f64,
    pub(crate) y: f64,
    pub(crate) w: f64,
    pub(crate) h: f64,
}

impl Rect {
    pub(crate) fn sized(w: f64, h: f64) -> Self {
        Self { x: 0.0, y: 0.0, w, h }
    }

    pub(crate) fn right(&self) -> f64 {
        self.x + self.w
    }

    pub(crate) fn bottom(&self) -> f64 {
        self.y + self.h
    }

    pub(crate) fn center(&self) -> (f64, f64) {
        (self.x + self.w / 2.0, self.y + self.h / 2.0)
    }

    /// The same size with its top left corner there.
    pub(crate) fn at(self, x: f64, y: f64) -> Self {
        Self { x, y, ..self }
    }

    pub(crate) fn touches(&self, other: &Self) -> bool {
        let (across, down) = self.penetration(other);
        across > 0.0 && down > 0.0
    }

    pub(crate) fn moved(self, dx: f64, dy: f64) -> Self {
        Self { x: self.x + dx, y: self.y + dy, ..self }
    }

    pub(crate) fn union(self, other: Self) -> Self {
        let (x, y) = (self.x.min(other.x), self.y.min(other.y));
        Self { x, y, w: self.right().max(other.right()) - x, h: self.bottom().max(other.bottom()) - y }
    }

    /// How far they reach into each other across and down; negative where they are apart.
    pub(crate) fn penetration(&self, other: &Self) -> (f64, f64) {
        (self.right().min(other.right()) - self.x.max(other.x), self.bottom().min(other.bottom()) - self.y.max(other.y))
    }
}

/// The smallest rectangle around all of them.
pub(crate) fn bounds(rects: impl IntoIterator<Item = Rect>) -> Rect {
    rects.into_iter().reduce(Rect::union).unwrap_or_default()
}
