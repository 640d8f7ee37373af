//! A tree of groups as rectangles that keep their places towards each other.

use crate::group::{Arrangement, Group, Hold};
use crate::rect::{Rect, bounds};
use crate::sizes::Support;

/// Gap between the units of a group, as a share of a unit's side.
const UNIT_GAP: f64 = 0.1;

/// How far the units of a fan reach over each other, as a share of their width.
const FAN_OVERLAP: f64 = 0.4;

/// The shortest side of a unit, in shares of the canvas's shorter side: two cells of the miniature's grid hold a thing that can be told.
const SHORTEST: f64 = 0.1;

/// What lies is drawn so many times as wide as high.
const FLAT: f64 = 2.4;

/// Rectangles fixed to each other.
#[derive(Debug, Clone)]
pub(crate) struct Piece {
    /// The units, with the things that they are of.
    pub(crate) units: Vec<(usize, Rect)>,
    /// Around the units of the group itself, without what is fixed to it.
    pub(crate) core: Rect,
}

impl Piece {
    pub(crate) fn bounds(&self) -> Rect {
        bounds(self.units.iter().map(|(_, rect)| *rect))
    }

    pub(crate) fn move_by(&mut self, dx: f64, dy: f64) {
        self.core = self.core.moved(dx, dy);
        for (_, rect) in &mut self.units {
            *rect = rect.moved(dx, dy);
        }
    }

    fn move_to(&mut self, x: f64, y: f64) {
        let bounds = self.bounds();
        self.move_by(x - bounds.x, y - bounds.y);
    }

    fn take(&mut self, other: Piece) {
        self.units.extend(other.units);
    }
}

/// What is fixed to a carrier, at its own place.
struct Child<'a> {
    hold: Hold,
    group: &'a Group,
    piece: Piece,
}

/// Each is built once, or the work would double with every level of a tree.
fn children(fixed: &[(Hold, Group)], scale: f64, mirrored: bool) -> Vec<Child<'_>> {
    let child = |(hold, group): &'_ (Hold, Group)| (*hold, piece_of(group, scale, mirrored));
    fixed
        .iter()
        .map(|fixed| (child(fixed), &fixed.1))
        .map(|((hold, piece), group)| Child { hold, group, piece })
        .collect()
}

/// The tree at a scale. `mirrored` exchanges the sides that are free to choose.
pub(crate) fn piece_of(group: &Group, scale: f64, mirrored: bool) -> Piece {
    let (each, whole) = (children(&group.each, scale, mirrored), children(&group.whole, scale, mirrored));
    let single = unit_piece(group, &each, &whole, scale, mirrored);
    let center = row_of(&whole, Hold::Center).map(|row| row.bounds());
    let mut piece = arranged(group, &single, center.unwrap_or_default());
    if whole.iter().any(|child| child.hold == Hold::Between) {
        part(&mut piece, group, &whole);
    }
    attach_all(&mut piece, group, &whole, mirrored);
    piece
}

/// One unit with what is fixed to each.
fn unit_piece(group: &Group, each: &[Child<'_>], whole: &[Child<'_>], scale: f64, mirrored: bool) -> Piece {
    let (mut w, mut h) = (group.unit.0 * scale, group.unit.1 * scale);
    let grow = (SHORTEST / w.min(h)).clamp(1.0, 2.0);
    (w, h) = (w * grow, h * grow);
    (w, h) = room_for(group, each, (w, h));
    if group.count == 1 {
        (w, h) = room_for(group, whole, (w, h));
    }
    let rect = Rect::sized(w, h);
    let mut piece = Piece { units: vec![(group.thing, rect)], core: rect };
    attach_all(&mut piece, group, each, mirrored);
    piece
}

/// A carrier grows until what it carries finds room.
fn room_for(group: &Group, fixed: &[Child<'_>], (mut w, mut h): (f64, f64)) -> (f64, f64) {
    if group.carrier.is_flat && fixed.iter().any(|child| child.hold == Hold::On) && w < FLAT * h {
        // As much of the picture, lying.
        let area = w * h;
        (w, h) = ((area * FLAT).sqrt(), (area / FLAT).sqrt());
    }
    for hold in [Hold::On, Hold::In, Hold::Under, Hold::At, Hold::Front] {
        let Some(row) = row_of(fixed, hold) else { continue };
        let inner = row.bounds();
        let grow = |share: f64| (inner.w / share / w).max(1.0);
        let grow_both = |across: f64, down: f64| (inner.w / across / w).max(inner.h / down / h).max(1.0);
        (w, h) = match hold {
            Hold::Front if group.carrier.is_backdrop => (w.max(1.8 * inner.w), h.max(1.15 * inner.h)),
            Hold::At => (w.max(inner.w), h),
            Hold::On if group.carrier.is_stretchable => (w.max(inner.w * 1.1), h),
            // Who balances on a ball reaches over it.
            Hold::On => {
                let is_crowd = row.units.len() > 1 && !group.class.is_alive();
                let grow = grow(if is_crowd { 1.0 / 0.95 } else { 2.0 });
                (w * grow, h * grow)
            }
            Hold::In if looks_out(group, inner, h) => (w * grow(0.85), h * grow(0.85).sqrt()),
            Hold::In => (w * grow_both(0.7, 0.7), h * grow_both(0.7, 0.7)),
            Hold::Under => (w * grow_both(0.8, 0.6), h * grow_both(0.8, 0.6)),
            _ => (w, h),
        };
    }
    (w, h)
}

/// Whether what is in a container shows above its rim: flowers do, a dozen fish in two rows are inside.
fn looks_out(group: &Group, inner: Rect, height: f64) -> bool {
    group.carrier.is_open && inner.h <= 1.6 * height
}

/// Side by side, those that are fixed in the same way; their feet on one line.
fn row_of(fixed: &[Child<'_>], hold: Hold) -> Option<Piece> {
    let pieces = fixed.iter().filter(|child| child.hold == hold).map(|child| child.piece.clone());
    pieces.reduce(|mut row, mut next| {
        let end = row.bounds();
        let gap = 0.12 * end.w.min(next.bounds().w);
        let foot = row.core.bottom() - next.core.bottom();
        let x = end.right() + gap - next.bounds().x;
        next.move_by(x, foot);
        row.core = row.core.union(next.core);
        row.take(next);
        row
    })
}

fn attach_all(piece: &mut Piece, group: &Group, fixed: &[Child<'_>], mirrored: bool) {
    for hold in [Hold::On, Hold::In, Hold::Under, Hold::At, Hold::Hanging, Hold::Center] {
        if let Some(mut row) = row_of(fixed, hold) {
            place(&mut row, piece, group, hold);
            piece.take(row);
        }
    }
    // These take turns on the two sides.
    let mut is_left = mirrored;
    let is_aside = |hold: Hold| matches!(hold, Hold::Behind | Hold::Front | Hold::Held | Hold::Against);
    for child in fixed.iter().filter(|child| is_aside(child.hold)) {
        let mut aside = child.piece.clone();
        place_aside(&mut aside, piece, (group, child.group), child.hold, is_left);
        piece.take(aside);
        is_left = !is_left;
    }
}

/// Moves what is on, in, under, between or around a carrier to its place.
fn place(row: &mut Piece, piece: &Piece, group: &Group, hold: Hold) {
    let core = piece.core;
    let own = row.core;
    let x = core.center().0 - own.center().0;
    let bottom = match hold {
        Hold::On => core.y + core.h * group.carrier.seat,
        Hold::In if looks_out(group, row.bounds(), core.h) => core.y + core.h * 0.5,
        Hold::In => core.bottom() - core.h * 0.12,
        Hold::At => core.y + core.h * 0.55,
        Hold::Hanging => (core.y + core.h * 0.25 + own.h).min(core.bottom() - core.h * 0.1),
        Hold::Center => core.bottom() + (own.h - core.h) / 2.0,
        _ => core.bottom(),
    };
    row.move_by(x, bottom - own.bottom());
}

/// Moves what is behind, before, against or in the hands of a carrier to its place.
fn place_aside(child: &mut Piece, piece: &Piece, (carrier, group): (&Group, &Group), hold: Hold, is_left: bool) {
    let (core, own) = (piece.core, child.core);
    let side = if is_left { -1.0 } else { 1.0 };
    // Half the widths apart they touch.
    let touching = (core.w + own.w) / 2.0;
    let (across, bottom) = match hold {
        Hold::Behind if own.h > 1.5 * core.h && own.w > 1.2 * core.w => (0.15 * own.w, core.bottom() - 0.1 * core.h),
        Hold::Behind => (0.8 * touching, core.bottom() - 0.15 * core.h.max(own.h)),
        Hold::Front if carrier.carrier.is_backdrop => (0.0, core.bottom()),
        // What flies in front of something is not at its foot.
        Hold::Front if group.support == Support::Air => (0.3 * core.w, core.center().1 + own.h / 2.0),
        Hold::Front if core.h > 1.5 * own.h && core.w > 1.2 * own.w => (0.15 * core.w, core.bottom() + 0.15 * own.h),
        Hold::Front => (0.8 * touching, core.bottom() + 0.15 * core.h.max(own.h)),
        Hold::Against => (0.92 * touching, core.bottom()),
        // A balloon is above the hand that has its string.
        Hold::Held if group.support == Support::Air => (0.95 * touching, core.y + 0.4 * core.h),
        Hold::Held if own.h > 0.8 * core.h => (0.95 * touching, core.bottom()),
        _ => (0.9 * touching, core.y + 0.5 * core.h + own.h / 2.0),
    };
    let x = core.center().0 + side * across - own.center().0;
    child.move_by(x, bottom - own.bottom());
}

/// The units of a group with their parts, arranged.
fn arranged(group: &Group, unit: &Piece, center: Rect) -> Piece {
    let cell = unit.bounds();
    let gap = if group.arrangement == Arrangement::Fan { -FAN_OVERLAP } else { UNIT_GAP };
    let (w, h) = (cell.w * (1.0 + gap), cell.h * (1.0 + UNIT_GAP));
    let places: Vec<(f64, f64)> = match group.arrangement {
        Arrangement::Row | Arrangement::Fan => grid(group.count, group.count, w, h),
        Arrangement::Column | Arrangement::Stack => grid(group.count, 1, w, h),
        Arrangement::Free => grid(group.count, columns(group.count, w, h), w, h),
        Arrangement::Circle => circle(group.count, cell, center),
        Arrangement::Pile => pile(group.count, cell),
    };
    let copies = places.into_iter().map(|(x, y)| {
        let mut copy = unit.clone();
        copy.move_to(x, y);
        copy
    });
    let arranged = copies.reduce(|mut all, copy| {
        all.core = all.core.union(copy.core);
        all.take(copy);
        all
    });
    arranged.unwrap_or_else(|| unit.clone())
}

/// Up to four stand in one row; more in as many as make the group about twice as wide as high.
fn columns(count: usize, w: f64, h: f64) -> usize {
    if count <= 4 && (count <= 3 || w <= 1.6 * h) {
        return count;
    }
    let wide = |columns: usize| {
        let rows = count.div_ceil(columns);
        let shape = (columns as f64 * w) / (rows as f64 * h);
        // Full rows are quieter to look at.
        let empty = (columns * rows - count) as f64 / count as f64;
        (shape / 1.8).ln().abs() + 0.8 * empty
    };
    (1..=count).min_by(|a, b| wide(*a).total_cmp(&wide(*b))).unwrap_or(count)
}

/// Top left corners in rows from the top; a shorter last row is centred.
fn grid(count: usize, columns: usize, w: f64, h: f64) -> Vec<(f64, f64)> {
    let columns = columns.max(1);
    let place = |i: usize| {
        let row = i / columns;
        let in_row = columns.min(count - row * columns);
        let indent = (columns - in_row) as f64 * w / 2.0;
        (indent + (i % columns) as f64 * w, row as f64 * h)
    };
    (0..count).map(place).collect()
}

/// On the smallest ellipse on which cells touch neither each other nor what is in its middle.
fn circle(count: usize, cell: Rect, center: Rect) -> Vec<(f64, f64)> {
    let step = std::f64::consts::TAU / count.max(1) as f64;
    let start = std::f64::consts::FRAC_PI_2 + if count.is_multiple_of(2) { step / 2.0 } else { 0.0 };
    // Machines differ in the last digits of a cosine.
    let rounded = |x: f64| (x * 1e6).round() / 1e6;
    let at = |rx: f64, ry: f64| -> Vec<Rect> {
        let angle = |i: usize| start + i as f64 * step;
        (0..count).map(|i| cell.at(rounded(rx * angle(i).cos()), rounded(ry * angle(i).sin()))).collect()
    };
    let middle = Rect { x: (cell.w - center.w) / 2.0, y: (cell.h - center.h) / 2.0, ..center };
    let (mut rx, mut ry) = (0.5 * (center.w + cell.w), 0.4 * (center.h + cell.h));
    let mut cells = at(rx, ry);
    // Each round is a twentieth wider: fifty are enough for any number of cells that a layout can have.
    for _ in 0..50 {
        let all: Vec<Rect> = cells.iter().copied().chain((center.w > 0.0).then_some(middle)).collect();
        let is_free = |i: usize| all[i + 1..].iter().all(|other| !all[i].touches(other));
        if (0..all.len()).all(is_free) {
            break;
        }
        (rx, ry) = (rx * 1.05, ry * 1.05);
        cells = at(rx, ry);
    }
    cells.iter().map(|cell| (cell.x, cell.y)).collect()
}

/// The broadest row lies at the bottom, and every unit rests on two.
fn pile(count: usize, cell: Rect) -> Vec<(f64, f64)> {
    let base = (1..).find(|base| base * (base + 1) / 2 >= count).unwrap_or(1);
    let mut places = Vec::with_capacity(count);
    for row in 0..base {
        let length = (base - row).min(count - places.len());
        let x = row as f64 * cell.w * 0.525 + (base - row - length) as f64 * cell.w * 0.525;
        places.extend((0..length).map(|i| (x + i as f64 * cell.w * 1.05, -(row as f64) * cell.h * 1.03)));
    }
    places
}

/// Opens a gap in a group, wide enough for what stands between its units, and puts that there.
fn part(piece: &mut Piece, group: &Group, whole: &[Child<'_>]) {
    let Some(mut between) = row_of(whole, Hold::Between) else { return };
    let inner = between.bounds();
    let gap = inner.w + 0.2 * piece.core.w.min(inner.w);
    let (start, end) = (piece.core.x, piece.core.right());
    // With an odd number of units one more stands on the right.
    let share = (group.count / 2) as f64 / group.count.max(1) as f64;
    let cut = start + share * (end - start);
    for (_, rect) in &mut piece.units {
        let side = if rect.center().0 < cut { -0.5 } else { 0.5 };
        *rect = rect.moved(side * gap, 0.0);
    }
    between.move_by(cut - inner.center().0, piece.core.bottom() - between.core.bottom());
    piece.core = Rect { x: start - gap / 2.0, w: end - start + gap, ..piece.core };
    piece.take(between);
}
