//! What relations mean for boxes: the rules by which layouts are made and judged.
//!
//! Boxes are judged by their edges and by where they stand: a box's lower edge is its ground line. Lengths are shares of the canvas, so that the rules are the same on every canvas;
//! y points down. The numbers are chosen so that what people accept holds and what nobody accepts is broken; between them a person would look twice, and the verdict is
//! [`Verdict::Doubtful`].

use sinopia_english::{PositionKind, RelationKind};
use sinopia_layout::{Canvas, PixelBox};

/// What a person would say of boxes that shall stand somehow. The worst comes first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Verdict {
    /// They stand otherwise: left for right, below for above.
    Broken,
    /// It could be meant so, or a box has no area.
    Doubtful,
    /// They stand so.
    Holds,
}

/// A distance that nobody sees.
const UNSEEN: f64 = 0.02;

/// Boxes with a gap up to this touch: models leave one between boxes, because they are told that boxes must not overlap.
const TOUCHING: f64 = 0.04;

/// Boxes with a larger gap do not touch.
const APART: f64 = 0.15;

/// A gap up to this is beside, whatever the sizes.
const NEAR: f64 = 0.2;

/// Boxes with a larger gap are not near each other.
const FAR: f64 = 0.6;

/// Share of the smaller extent that two boxes may have in common and still lie one after the other.
const SIDE_BY_SIDE: f64 = 0.5;

/// Share of the larger extent by which middles may stand in the wrong order before it is seen.
const SAME_MIDDLE: f64 = 0.1;

/// Share of a box from which it lies in another one.
const INSIDE: f64 = 0.6;

/// By how much what stands behind may reach lower than what stands before it.
const SAME_GROUND: f64 = 0.03;

/// By how much it must reach lower before it clearly stands in front.
const OTHER_GROUND: f64 = 0.15;

/// Ratio of areas down to which the one that shall be larger may be the smaller one.
const SAME_SIZE: f64 = 0.7;

/// Whether `subject` stands so to `object`.
///
/// ```
/// use sinopia_english::RelationKind;
/// use sinopia_layout::{Canvas, PixelBox};
/// use sinopia_solver::geometry::{Verdict, holds};
///
/// let cat = PixelBox::new(200.0, 150.0, 100.0, 90.0)?;
/// let table = PixelBox::new(100.0, 220.0, 300.0, 200.0)?;
/// assert_eq!(holds(RelationKind::On, &cat, &table, Canvas::PUBLISHED), Verdict::Holds);
/// assert_eq!(holds(RelationKind::Under, &cat, &table, Canvas::PUBLISHED), Verdict::Broken);
/// # Ok::<(), sinopia_layout::Error>(())
/// ```
///
/// What boxes cannot show (company, a chase, a way past something) holds wherever they are. [`RelationKind::Between`] needs two objects: [`is_between`].
pub fn holds(kind: RelationKind, subject: &PixelBox, object: &PixelBox, canvas: Canvas) -> Verdict {
    use RelationKind::*;
    if !subject.has_area() || !object.has_area() {
        return Verdict::Doubtful;
    }
    let (subject, object) = (Edges::new(subject, canvas), Edges::new(object, canvas));
    match kind {
        LeftOf => comes_before(subject.across, object.across),
        RightOf => comes_before(object.across, subject.across),
        Above => lies_above(subject, object),
        Below => lies_above(object, subject),
        On => lies_on(subject, object),
        Under => lies_under(subject, object),
        In => lies_in(subject, object),
        Behind => stands_behind(subject, object),
        InFrontOf => stands_behind(object, subject),
        NextTo => stands_beside(subject, object),
        At => stands_near(subject, object),
        // One thing around another covers a part of it: a fence, a scarf.
        Holding | Against | Around => touches(subject, object),
        BiggerThan => is_larger(subject, object),
        SmallerThan => is_larger(object, subject),
        Between | Among | Along | Across | Through | Past | Toward | From | Outside | With | FollowedBy | Action => {
            Verdict::Holds
        }
    }
}

/// Whether several stand so to several.
///
/// Directions and sizes hold of every pair; they are broken if one box stands wrong to all of the other side, or half of the pairs do. On, in, behind, beside and what touches hold if
/// every subject has an object to which it stands so: two cats on two chairs. One of none is doubtful.
pub fn group_holds(kind: RelationKind, subjects: &[PixelBox], objects: &[PixelBox], canvas: Canvas) -> Verdict {
    use RelationKind::*;
    if subjects.is_empty() || objects.is_empty() {
        return Verdict::Doubtful;
    }
    let pair = |subject: &PixelBox, object: &PixelBox| holds(kind, subject, object, canvas);
    match kind {
        // A bunch of balloons is above a cake, even where single ones are beside its column.
        Above | Below if subjects.len() + objects.len() > 2 => {
            let together = around(subjects).zip(around(objects)).map(|(a, b)| holds(kind, &a, &b, canvas));
            let single = every_pair(subjects, objects, pair);
            if single == Verdict::Doubtful && together == Some(Verdict::Holds) { Verdict::Holds } else { single }
        }
        LeftOf | RightOf | Above | Below | BiggerThan | SmallerThan => every_pair(subjects, objects, pair),
        Between => worst(subjects, |subject| is_between(subject, objects, canvas)),
        Among => worst(subjects, |subject| is_among(subject, objects, canvas)),
        Around if subjects.len() > 1 => worst(objects, |object| is_among(object, subjects, canvas)),
        Holding | Action => best(subjects, |subject| best(objects, |object| pair(subject, object))),
        _ => worst(subjects, |subject| best(objects, |object| pair(subject, object))),
    }
}

/// Whether something stands between others: within their reach in the direction in which they reach farthest. With fewer than two it is doubtful.
pub fn is_between(subject: &PixelBox, others: &[PixelBox], canvas: Canvas) -> Verdict {
    let middles: Vec<(f64, f64)> = others.iter().map(|other| Edges::new(other, canvas).middle()).collect();
    let (x, y) = Edges::new(subject, canvas).middle();
    let xs = Span::over(middles.iter().map(|middle| middle.0));
    let ys = Span::over(middles.iter().map(|middle| middle.1));
    let is_across = xs.length() >= ys.length();
    let (at, between) = if is_across { (x, xs) } else { (y, ys) };
    // In the other direction it reaches to where the others are.
    let edges = || others.iter().map(|other| Edges::new(other, canvas));
    let side = |edges: Edges| if is_across { edges.down } else { edges.across };
    let beside = Span::over(edges().flat_map(|edges| [side(edges).start, side(edges).end]));
    let is_level = side(Edges::new(subject, canvas)).gap(beside) <= NEAR;
    match () {
        () if others.len() < 2 || between.length() < UNSEEN => Verdict::Doubtful,
        () if between.contains(at) && is_level => Verdict::Holds,
        () if between.contains(at) => Verdict::Doubtful,
        () if between.widened(0.25 * between.length()).contains(at) => Verdict::Doubtful,
        () => Verdict::Broken,
    }
}

/// Whether something has others on several sides; a doubt is the worst.
fn is_among(subject: &PixelBox, others: &[PixelBox], canvas: Canvas) -> Verdict {
    let others: Vec<Edges> = others.iter().map(|other| Edges::new(other, canvas)).collect();
    let subject = Edges::new(subject, canvas);
    let (x, y) = subject.middle();
    let across = Span::over(others.iter().flat_map(|other| [other.across.start, other.across.end]));
    let down = Span::over(others.iter().flat_map(|other| [other.down.start, other.down.end]));
    if across.widened(UNSEEN).contains(x) && down.widened(UNSEEN).contains(y) {
        Verdict::Holds
    } else {
        Verdict::Doubtful
    }
}

/// Whether boxes stand where a position says; arrangements are judged as a whole, sides box by box: broken if half of the boxes stand elsewhere.
pub fn stands_at(at: PositionKind, boxes: &[PixelBox], canvas: Canvas) -> Verdict {
    use PositionKind::*;
    let boxes: Vec<Edges> = boxes.iter().map(|bbox| Edges::new(bbox, canvas)).collect();
    if boxes.is_empty() {
        return Verdict::Doubtful;
    }
    let each = |stands: &dyn Fn(&Edges) -> Verdict| {
        let elsewhere = boxes.iter().filter(|edges| stands(edges) == Verdict::Broken).count();
        if 2 * elsewhere >= boxes.len() { Verdict::Broken } else { worst(&boxes, stands).max(Verdict::Doubtful) }
    };
    let sides = |x: Option<Half>, y: Option<Half>| {
        each(&|edges: &Edges| {
            let across = x.map_or(Verdict::Holds, |half| half.has(edges.across));
            across.min(y.map_or(Verdict::Holds, |half| half.has(edges.down)))
        })
    };
    match at {
        Left => sides(Some(Half::First), None),
        Right => sides(Some(Half::Second), None),
        Top => sides(None, Some(Half::First)),
        Bottom => sides(None, Some(Half::Second)),
        TopLeft => sides(Some(Half::First), Some(Half::First)),
        TopRight => sides(Some(Half::Second), Some(Half::First)),
        BottomLeft => sides(Some(Half::First), Some(Half::Second)),
        BottomRight => sides(Some(Half::Second), Some(Half::Second)),
        Middle => in_the_middle(&boxes),
        Foreground => each(&|edges: &Edges| doubtful_unless(edges.down.end >= 0.5)),
        Background => each(&|edges: &Edges| doubtful_unless(edges.down.end <= 0.85)),
        Row => in_a_row(&boxes, |edges| edges.across, |edges| edges.down),
        Column | Stack => in_a_row(&boxes, |edges| edges.down, |edges| edges.across),
        Circle | Group => Verdict::Holds,
    }
}

/// A half of the canvas in one direction.
#[derive(Clone, Copy)]
enum Half {
    /// Left or upper.
    First,
    /// Right or lower.
    Second,
}

impl Half {
    /// A box stands in the half of its middle; a little beyond is a doubt.
    fn has(self, span: Span) -> Verdict {
        let beyond = match self {
            Half::First => span.middle() - 0.5,
            Half::Second => 0.5 - span.middle(),
        };
        match () {
            () if beyond <= 0.0 => Verdict::Holds,
            () if beyond <= 0.05 => Verdict::Doubtful,
            () => Verdict::Broken,
        }
    }
}

fn doubtful_unless(stands: bool) -> Verdict {
    if stands { Verdict::Holds } else { Verdict::Doubtful }
}

/// The middle of all of them is in the middle of the canvas.
fn in_the_middle(boxes: &[Edges]) -> Verdict {
    let whole = |of: fn(&Edges) -> Span| Span::over(boxes.iter().flat_map(|edges| [of(edges).start, of(edges).end]));
    let (across, down) = (whole(|edges| edges.across), whole(|edges| edges.down));
    let off = (across.middle() - 0.5).abs().max((down.middle() - 0.5).abs() - 0.05);
    match () {
        () if off <= 0.15 => Verdict::Holds,
        () if off <= 0.3 => Verdict::Doubtful,
        () => Verdict::Broken,
    }
}

/// One after the other in one direction, at about the same place in the other.
fn in_a_row(boxes: &[Edges], along: fn(&Edges) -> Span, beside: fn(&Edges) -> Span) -> Verdict {
    if boxes.len() < 2 {
        return Verdict::Doubtful;
    }
    let spread = |of: fn(&Edges) -> Span| Span::over(boxes.iter().map(|edges| of(edges).middle())).length();
    let thickest = boxes.iter().map(|edges| beside(edges).length()).fold(0.0, f64::max);
    match () {
        () if spread(along) > spread(beside) && spread(beside) <= thickest.max(0.1) => Verdict::Holds,
        () if spread(beside) > 2.0 * spread(along) + UNSEEN => Verdict::Broken,
        () => Verdict::Doubtful,
    }
}

/// A side of a box as shares of the canvas, from start to end.
#[derive(Debug, Clone, Copy)]
struct Span {
    start: f64,
    end: f64,
}

impl Span {
    /// From the smallest to the largest; of nothing, without length.
    fn over(values: impl Iterator<Item = f64>) -> Self {
        let (start, end) = values.fold((f64::INFINITY, f64::NEG_INFINITY), |(low, high), v| (low.min(v), high.max(v)));
        if start <= end { Self { start, end } } else { Self { start: 0.0, end: 0.0 } }
    }

    fn length(self) -> f64 {
        self.end - self.start
    }

    fn middle(self) -> f64 {
        (self.start + self.end) / 2.0
    }

    fn contains(self, at: f64) -> bool {
        (self.start..=self.end).contains(&at)
    }

    fn widened(self, by: f64) -> Self {
        Self { start: self.start - by, end: self.end + by }
    }

    /// Share of the shorter one that lies in the other.
    fn common(self, other: Self) -> f64 {
        self.shared(other) / self.length().min(other.length())
    }

    fn shared(self, other: Self) -> f64 {
        (self.end.min(other.end) - self.start.max(other.start)).max(0.0)
    }

    /// The distance between the two; 0 where they overlap.
    fn gap(self, other: Self) -> f64 {
        (other.start - self.end).max(self.start - other.end).max(0.0)
    }
}

/// A box in shares of the canvas.
#[derive(Debug, Clone, Copy)]
struct Edges {
    across: Span,
    down: Span,
}

impl Edges {
    fn new(bbox: &PixelBox, canvas: Canvas) -> Self {
        let (width, height) = (f64::from(canvas.width()), f64::from(canvas.height()));
        Self {
            across: Span { start: bbox.x() / width, end: bbox.right() / width },
            down: Span { start: bbox.y() / height, end: bbox.bottom() / height },
        }
    }

    fn middle(self) -> (f64, f64) {
        (self.across.middle(), self.down.middle())
    }

    fn area(self) -> f64 {
        self.across.length() * self.down.length()
    }

    fn longest(self) -> f64 {
        self.across.length().max(self.down.length())
    }

    /// Share of it that lies in the other.
    fn share_in(self, other: Self) -> f64 {
        self.across.shared(other.across) * self.down.shared(other.down) / self.area()
    }

    /// The distance of the nearest points; 0 where they overlap.
    fn gap(self, other: Self) -> f64 {
        self.across.gap(other.across).hypot(self.down.gap(other.down))
    }

    /// Whether it is over or under the other: in one column.
    fn shares_column(self, other: Self) -> bool {
        self.across.common(other.across) >= SIDE_BY_SIDE || other.across.contains(self.across.middle())
    }
}

/// Left of right, above of below: middles in that order, and most of the smaller one beside the other.
fn comes_before(first: Span, second: Span) -> Verdict {
    let ahead = second.middle() - first.middle();
    let longest = first.length().max(second.length());
    match () {
        () if ahead > 0.0 && first.common(second) <= SIDE_BY_SIDE => Verdict::Holds,
        // What reaches over an end of the other stands there too: a lamp at the left of a sofa.
        () if ahead > second.length() / 4.0 => Verdict::Holds,
        () if ahead > -UNSEEN.max(SAME_MIDDLE * longest) => Verdict::Doubtful,
        () => Verdict::Broken,
    }
}

/// Above, and not far aside.
fn lies_above(subject: Edges, object: Edges) -> Verdict {
    let order = comes_before(subject.down, object.down);
    if subject.across.gap(object.across) > NEAR { order.min(Verdict::Doubtful) } else { order }
}

/// Its foot is in the object, or just over its top, and in its column; or it is a part of the object's surface, as a picture on a wall.
fn lies_on(subject: Edges, object: Edges) -> Verdict {
    let foot = subject.down.end;
    let ground = Span { start: object.down.start - TOUCHING, end: object.down.end + UNSEEN };
    match () {
        () if !subject.shares_column(object) && subject.across.gap(object.across) > TOUCHING => Verdict::Broken,
        () if subject.shares_column(object) && ground.contains(foot) => Verdict::Holds,
        () if subject.share_in(object) >= INSIDE => Verdict::Holds,
        // Wholly below, or hanging under it.
        () if subject.down.start >= object.down.end - UNSEEN => Verdict::Broken,
        () if subject.down.middle() > object.down.end => Verdict::Broken,
        () => Verdict::Doubtful,
    }
}

/// In the object's column, lower than its middle or covered by it; a foot over that middle is none of both.
fn lies_under(subject: Edges, object: Edges) -> Verdict {
    match () {
        () if subject.across.gap(object.across) > TOUCHING => Verdict::Broken,
        () if subject.down.end <= object.down.middle() => Verdict::Broken,
        () if subject.shares_column(object) && subject.down.middle() > object.down.middle() => Verdict::Holds,
        () => Verdict::Doubtful,
    }
}

/// Mostly inside, or with its foot in the object, as flowers in a vase and a man in a boat.
fn lies_in(subject: Edges, object: Edges) -> Verdict {
    let foot_inside = subject.shares_column(object) && object.down.contains(subject.down.end);
    match () {
        () if subject.share_in(object) >= INSIDE || foot_inside => Verdict::Holds,
        () if subject.gap(object) > TOUCHING => Verdict::Broken,
        () => Verdict::Doubtful,
    }
}

/// What is behind stands higher in the picture, or shows all around what is before it. Something large behind something in the air may reach lower: mountains behind a bird.
fn stands_behind(subject: Edges, object: Edges) -> Verdict {
    let lower = subject.down.end - object.down.end;
    match () {
        () if lower <= SAME_GROUND || object.share_in(subject) >= INSIDE => Verdict::Holds,
        () if lower > OTHER_GROUND && subject.shares_column(object) && subject.area() <= object.area() => {
            Verdict::Broken
        }
        () => Verdict::Doubtful,
    }
}

/// At about the same height, with a gap smaller than the larger of the two.
fn stands_beside(subject: Edges, object: Edges) -> Verdict {
    let gap = subject.gap(object);
    let largest = subject.longest().max(object.longest());
    let is_level = subject.down.gap(object.down) <= TOUCHING;
    let is_inside = subject.share_in(object).max(object.share_in(subject)) > 0.9;
    match () {
        () if gap > FAR && gap > largest => Verdict::Broken,
        () if is_level && !is_inside && gap <= NEAR.max(largest) => Verdict::Holds,
        () => Verdict::Doubtful,
    }
}

/// Beside, before or in.
fn stands_near(subject: Edges, object: Edges) -> Verdict {
    match subject.gap(object) {
        gap if gap <= APART => Verdict::Holds,
        gap if gap <= FAR => Verdict::Doubtful,
        _ => Verdict::Broken,
    }
}

fn touches(subject: Edges, object: Edges) -> Verdict {
    match subject.gap(object) {
        gap if gap <= TOUCHING => Verdict::Holds,
        gap if gap <= APART => Verdict::Doubtful,
        _ => Verdict::Broken,
    }
}

/// By area; what is longer may be meant too.
fn is_larger(subject: Edges, object: Edges) -> Verdict {
    let ratio = subject.area() / object.area();
    match () {
        () if ratio > 1.0 => Verdict::Holds,
        () if ratio >= SAME_SIZE || subject.longest() > object.longest() => Verdict::Doubtful,
        () => Verdict::Broken,
    }
}

/// Holds if it does of every pair; broken if one box stands wrong to all of the other side, or half of the pairs do.
/// The smallest box around all of them.
fn around(boxes: &[PixelBox]) -> Option<PixelBox> {
    let least = |side: fn(&PixelBox) -> f64| boxes.iter().map(side).fold(f64::INFINITY, f64::min);
    let most = |side: fn(&PixelBox) -> f64| boxes.iter().map(side).fold(f64::NEG_INFINITY, f64::max);
    let (x, y) = (least(PixelBox::x), least(PixelBox::y));
    PixelBox::new(x, y, most(PixelBox::right) - x, most(PixelBox::bottom) - y).ok()
}

fn every_pair(subjects: &[PixelBox], objects: &[PixelBox], pair: impl Fn(&PixelBox, &PixelBox) -> Verdict) -> Verdict {
    let (mut broken, mut doubtful) = (0, 0);
    let mut broken_of_object = vec![0; objects.len()];
    let mut one_is_lost = false;
    for subject in subjects {
        let before = broken;
        for (object, broken_of_object) in objects.iter().zip(&mut broken_of_object) {
            match pair(subject, object) {
                Verdict::Broken => {
                    broken += 1;
                    *broken_of_object += 1;
                }
                Verdict::Doubtful => doubtful += 1,
                Verdict::Holds => {}
            }
        }
        one_is_lost |= broken - before == objects.len();
    }
    one_is_lost |= broken_of_object.contains(&subjects.len());
    match () {
        () if one_is_lost || 2 * broken >= subjects.len() * objects.len() => Verdict::Broken,
        () if broken + doubtful > 0 => Verdict::Doubtful,
        () => Verdict::Holds,
    }
}

fn worst<T>(items: &[T], judge: impl Fn(&T) -> Verdict) -> Verdict {
    items.iter().map(judge).min().unwrap_or(Verdict::Doubtful)
}

fn best<T>(items: &[T], judge: impl Fn(&T) -> Verdict) -> Verdict {
    items.iter().map(judge).max().unwrap_or(Verdict::Doubtful)
}

#[cfg(test)]
mod tests {
    use super::*;
    use PositionKind::*;
    use RelationKind::*;
    use Verdict::*;

    fn bbox([x, y, width, height]: [f64; 4]) -> PixelBox {
        PixelBox::new(x, y, width, height).unwrap()
    }

    #[track_caller]
    fn check(kind: RelationKind, subject: [f64; 4], object: [f64; 4], expected: Verdict) {
        let (subject, object) = (bbox(subject), bbox(object));
        assert_eq!(holds(kind, &subject, &object, Canvas::PUBLISHED), expected, "{subject} {kind:?} {object}");
        // On a canvas of twice the size it is the same.
        let twice = |b: PixelBox| bbox([b.x() * 2.0, b.y() * 2.0, b.width() * 2.0, b.height() * 2.0]);
        let canvas = Canvas::new(1024, 1024).unwrap();
        assert_eq!(holds(kind, &twice(subject), &twice(object), canvas), expected, "{subject} {kind:?} {object}");
    }

    const TABLE: [f64; 4] = [100.0, 250.0, 300.0, 180.0];

    #[test]
    fn directions_are_an_order_of_middles_with_most_of_the_smaller_one_free() {
        let (left, right) = ([40.0, 200.0, 120.0, 120.0], [300.0, 210.0, 120.0, 120.0]);
        check(LeftOf, left, right, Holds);
        check(RightOf, left, right, Broken);
        check(RightOf, right, left, Holds);
        // Overlapping by a third, by most of it.
        check(LeftOf, [40.0, 200.0, 150.0, 120.0], [140.0, 200.0, 150.0, 120.0], Holds);
        check(LeftOf, [40.0, 200.0, 150.0, 120.0], [60.0, 200.0, 150.0, 120.0], Doubtful);
        check(LeftOf, [60.0, 200.0, 150.0, 120.0], [58.0, 200.0, 150.0, 120.0], Doubtful);
        // A lamp behind the left end of a sofa.
        check(LeftOf, [110.0, 100.0, 60.0, 250.0], [100.0, 250.0, 300.0, 150.0], Holds);
        check(Above, [200.0, 20.0, 90.0, 60.0], TABLE, Holds);
        check(Below, [200.0, 20.0, 90.0, 60.0], TABLE, Broken);
        check(Above, [0.0, 20.0, 60.0, 60.0], [400.0, 300.0, 100.0, 100.0], Doubtful);
    }

    #[test]
    fn what_is_on_something_has_its_foot_there() {
        check(On, [200.0, 150.0, 80.0, 110.0], TABLE, Holds);
        check(On, [200.0, 130.0, 80.0, 110.0], TABLE, Holds); // a small gap
        check(On, [200.0, 20.0, 80.0, 110.0], TABLE, Doubtful); // floating
        check(On, [200.0, 440.0, 80.0, 60.0], TABLE, Broken);
        check(On, [430.0, 150.0, 80.0, 110.0], TABLE, Broken);
        // A rider, a man on a bench, a picture on a wall, a cat on a mat.
        check(On, [180.0, 60.0, 120.0, 240.0], [100.0, 160.0, 280.0, 300.0], Holds);
        check(On, [180.0, 160.0, 100.0, 275.0], TABLE, Holds);
        check(On, [200.0, 100.0, 80.0, 80.0], [0.0, 0.0, 512.0, 300.0], Holds);
        check(On, [150.0, 200.0, 200.0, 200.0], [50.0, 360.0, 400.0, 50.0], Holds);
    }

    #[test]
    fn what_is_under_something_has_it_over_its_head() {
        check(Under, [200.0, 340.0, 80.0, 80.0], TABLE, Holds);
        check(Under, [200.0, 150.0, 80.0, 110.0], TABLE, Broken);
        check(Under, [425.0, 340.0, 80.0, 80.0], TABLE, Broken);
        // A woman under an umbrella, a man under a tree, a child under a blanket.
        check(Under, [200.0, 180.0, 100.0, 300.0], [130.0, 100.0, 240.0, 130.0], Holds);
        check(Under, [160.0, 220.0, 80.0, 240.0], [60.0, 20.0, 300.0, 430.0], Holds);
        check(Under, [100.0, 100.0, 300.0, 250.0], [90.0, 200.0, 320.0, 180.0], Doubtful);
    }

    #[test]
    fn what_is_in_something_is_inside_or_has_its_foot_there() {
        check(In, [150.0, 280.0, 80.0, 60.0], TABLE, Holds);
        check(In, [200.0, 100.0, 110.0, 160.0], [210.0, 220.0, 90.0, 160.0], Holds);
        check(In, [200.0, 60.0, 110.0, 150.0], [210.0, 220.0, 90.0, 160.0], Doubtful);
        check(In, [20.0, 60.0, 90.0, 90.0], [210.0, 220.0, 90.0, 160.0], Broken);
    }

    #[test]
    fn what_is_behind_stands_higher() {
        let (house, tree) = ([150.0, 150.0, 250.0, 250.0], [180.0, 60.0, 100.0, 300.0]);
        check(Behind, tree, house, Holds);
        check(InFrontOf, house, tree, Holds);
        check(InFrontOf, [200.0, 300.0, 90.0, 150.0], house, Holds);
        check(Behind, [200.0, 340.0, 90.0, 150.0], house, Broken);
        check(InFrontOf, [200.0, 250.0, 90.0, 140.0], house, Holds); // inside
        check(Behind, [420.0, 300.0, 80.0, 140.0], house, Doubtful);
        check(Behind, [0.0, 120.0, 512.0, 180.0], [200.0, 90.0, 100.0, 60.0], Doubtful);
    }

    #[test]
    fn near_and_touching_depend_on_gaps() {
        let dog = [250.0, 280.0, 150.0, 120.0];
        check(NextTo, [100.0, 290.0, 120.0, 110.0], dog, Holds);
        check(NextTo, [100.0, 20.0, 80.0, 80.0], dog, Doubtful);
        check(NextTo, [0.0, 0.0, 40.0, 40.0], [460.0, 460.0, 50.0, 50.0], Broken);
        check(Holding, [100.0, 200.0, 150.0, 300.0], [240.0, 250.0, 40.0, 60.0], Holds);
        check(Holding, [100.0, 200.0, 100.0, 300.0], [230.0, 250.0, 40.0, 60.0], Doubtful);
        check(Holding, [10.0, 200.0, 100.0, 300.0], [400.0, 250.0, 40.0, 60.0], Broken);
        check(Around, [140.0, 190.0, 100.0, 40.0], [130.0, 100.0, 120.0, 350.0], Holds);
        check(At, [100.0, 150.0, 90.0, 200.0], TABLE, Holds);
    }

    #[test]
    fn larger_is_more_area() {
        check(BiggerThan, [0.0, 0.0, 300.0, 300.0], TABLE, Holds);
        check(BiggerThan, [0.0, 0.0, 100.0, 100.0], TABLE, Broken);
        check(SmallerThan, [0.0, 0.0, 100.0, 100.0], TABLE, Holds);
        check(BiggerThan, [0.0, 0.0, 50.0, 400.0], TABLE, Doubtful);
    }

    #[test]
    fn boxes_without_area_are_doubtful() {
        check(LeftOf, [0.0, 0.0, 0.0, 9.0], TABLE, Doubtful);
        check(With, [0.0, 0.0, 10.0, 9.0], TABLE, Holds);
    }

    #[track_caller]
    fn check_group(kind: RelationKind, subjects: &[[f64; 4]], objects: &[[f64; 4]], expected: Verdict) {
        let boxes = |list: &[[f64; 4]]| -> Vec<PixelBox> { list.iter().copied().map(bbox).collect() };
        let found = group_holds(kind, &boxes(subjects), &boxes(objects), Canvas::PUBLISHED);
        assert_eq!(found, expected, "{subjects:?} {kind:?} {objects:?}");
    }

    fn at(x: f64) -> [f64; 4] {
        [x, 200.0, 80.0, 80.0]
    }

    #[test]
    fn groups_are_judged_box_by_box() {
        check_group(LeftOf, &[at(0.0), at(90.0)], &[at(300.0)], Holds);
        // One of the two is on the other side, though the middle of both is not.
        check_group(LeftOf, &[at(0.0), at(330.0)], &[at(230.0)], Broken);
        check_group(LeftOf, &[at(0.0), at(220.0)], &[at(110.0), at(330.0)], Doubtful);
        let chairs = [[10.0, 250.0, 150.0, 150.0], [340.0, 250.0, 150.0, 150.0]];
        check_group(On, &[[50.0, 180.0, 90.0, 90.0], [380.0, 180.0, 90.0, 90.0]], &chairs, Holds);
        check_group(On, &[[50.0, 180.0, 90.0, 90.0], [200.0, 20.0, 90.0, 90.0]], &chairs, Broken);
        check_group(Holding, &[at(0.0), at(300.0)], &[at(390.0)], Holds);
        check_group(LeftOf, &[], &[at(0.0)], Doubtful);
    }

    #[test]
    fn between_among_and_around() {
        check_group(Between, &[at(200.0)], &[at(0.0), at(400.0)], Holds);
        check_group(Between, &[at(420.0)], &[at(0.0), at(200.0)], Broken);
        check_group(Between, &[at(100.0)], &[at(0.0)], Doubtful);
        check_group(
            Between,
            &[[200.0, 200.0, 50.0, 50.0]],
            &[[190.0, 10.0, 60.0, 60.0], [180.0, 400.0, 60.0, 60.0]],
            Holds,
        );
        check_group(Among, &[at(200.0)], &[at(0.0), at(400.0)], Holds);
        check_group(Among, &[at(400.0)], &[at(0.0), at(200.0)], Doubtful);
        check_group(Around, &[at(0.0), at(400.0)], &[at(200.0)], Holds);
        check_group(Around, &[at(0.0), at(90.0)], &[at(400.0)], Doubtful);
    }

    #[track_caller]
    fn check_position(at: PositionKind, boxes: &[[f64; 4]], expected: Verdict) {
        let boxes: Vec<PixelBox> = boxes.iter().copied().map(bbox).collect();
        assert_eq!(stands_at(at, &boxes, Canvas::PUBLISHED), expected, "{boxes:?} {at:?}");
    }

    #[test]
    fn positions_are_halves_with_slack() {
        check_position(Left, &[at(100.0)], Holds);
        check_position(Left, &[at(230.0)], Doubtful);
        check_position(Left, &[at(300.0)], Broken);
        check_position(Left, &[at(100.0), at(300.0)], Broken);
        check_position(Left, &[at(0.0), at(100.0), at(300.0)], Doubtful);
        check_position(TopLeft, &[[10.0, 10.0, 90.0, 90.0]], Holds);
        check_position(TopLeft, &[[10.0, 300.0, 90.0, 90.0]], Broken);
        check_position(Middle, &[[200.0, 250.0, 120.0, 200.0]], Holds);
        check_position(Middle, &[[10.0, 250.0, 120.0, 200.0]], Broken);
        check_position(Foreground, &[[10.0, 10.0, 90.0, 90.0]], Doubtful);
        check_position(Background, &[[10.0, 10.0, 90.0, 90.0]], Holds);
    }

    #[test]
    fn rows_and_stacks_have_a_direction() {
        let row = [at(0.0), at(120.0), at(240.0)];
        let stack = [[200.0, 100.0, 100.0, 60.0], [200.0, 160.0, 100.0, 60.0], [200.0, 220.0, 100.0, 60.0]];
        check_position(Row, &row, Holds);
        check_position(Stack, &row, Broken);
        check_position(Stack, &stack, Holds);
        check_position(Row, &stack, Broken);
        check_position(Row, &[at(0.0)], Doubtful);
    }
}
