//! Trees on a canvas: into rows on the ground or in the air, then moved until everything that has to hold holds.

use sinopia_english::PositionKind;

use crate::forest::Forest;
use crate::group::Group;
use crate::piece::{Piece, piece_of};
use crate::rect::{Rect, bounds};
use crate::rows::RowPlan;
use crate::rule::{Constraint, Rule};
use crate::scene::Scene;

/// Free space along the canvas's edges, in shares of its shorter side.
const MARGIN: f64 = 0.03;

/// Free space between trees.
const GAP: f64 = 0.02;

/// Rounds of moving; most layouts settle within ten.
const ROUNDS: usize = 60;

/// What is left of all violations in a layout that holds, in shares of the shorter side.
const SETTLED: f64 = 0.004;

/// A canvas whose shorter side is 1.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Frame {
    pub(crate) w: f64,
    pub(crate) h: f64,
}

/// A tree at a scale, at a place.
#[derive(Debug, Clone)]
struct Body {
    piece: Piece,
    bounds: Rect,
    /// Counted from the top.
    row: usize,
}

impl Body {
    fn move_by(&mut self, dx: f64, dy: f64) {
        self.piece.move_by(dx, dy);
        self.bounds = self.bounds.moved(dx, dy);
    }

    fn rect_of(&self, thing: usize) -> Rect {
        bounds(self.piece.units.iter().filter(|(of, _)| *of == thing).map(|(_, rect)| *rect))
    }
}

/// The boxes of every thing, and how much is still wrong.
#[derive(Debug, Clone, Default)]
pub(crate) struct Arranged {
    pub(crate) units: Vec<(usize, Rect)>,
    /// Of what has to hold: directions, distance, the canvas's edges; in shares of the canvas's shorter side.
    pub(crate) violation: f64,
    /// Of what would be better: neighbours close to each other.
    pub(crate) looseness: f64,
    pub(crate) scale: f64,
}

impl Arranged {
    /// What is best is large and holds.
    pub(crate) fn score(&self) -> f64 {
        self.scale / ((1.0 + 40.0 * self.violation) * (1.0 + 0.5 * self.looseness))
    }
}

/// Finds the largest scale at which `forest` holds in `rows` rows on the ground.
pub(crate) fn arrange(forest: &Forest, scene: Scene, frame: Frame, rows: usize, mirrored: bool) -> Arranged {
    let plan = RowPlan::new(forest, rows);
    let most = largest_scale(forest, scene, frame, mirrored);
    let (mut low, mut high) = (0.15 * most, most);
    let settle = |scale: f64| Settling::new(forest, &plan, scene, frame, scale, mirrored).settle();
    let mut best = settle(high);
    if best.violation <= SETTLED {
        return best;
    }
    for _ in 0..7 {
        let middle = (low * high).sqrt();
        let tried = settle(middle);
        if tried.violation <= SETTLED {
            low = middle;
        } else {
            high = middle;
        }
        if tried.score() > best.score() {
            best = tried;
        }
    }
    best
}

/// The scale at which the largest tree would take as much of the canvas as it should: more if it is alone.
fn largest_scale(forest: &Forest, scene: Scene, frame: Frame, mirrored: bool) -> f64 {
    let units: usize = forest.roots.iter().map(units_of).sum();
    let share = match units {
        1 if scene.is_close => 0.94,
        1 => 0.76,
        2 => 0.82,
        _ => 0.86,
    };
    use PositionKind::*;
    let is_corner = |at| matches!(at, TopLeft | TopRight | BottomLeft | BottomRight);
    let is_side = |at| matches!(at, Left | Right | Top | Bottom | Background);
    let largest = forest.roots.iter().map(|root| {
        let bounds = piece_of(root, 1.0, mirrored).bounds();
        let share = match () {
            () if forest.stands(root, is_corner) => 0.42,
            () if forest.stands(root, is_side) => 0.62,
            () if root.carrier.is_backdrop => 0.94,
            () => share,
        };
        (share * frame.w / bounds.w).min(share * frame.h / bounds.h)
    });
    // A single unit never gets more than a good third of the area, unless it is seen from near.
    let most = if scene.is_close && units == 1 { 0.75 } else { 0.36 };
    let single = forest.roots.iter().map(|root| (most * frame.w * frame.h / largest_unit(root)).sqrt());
    largest.chain(single).fold(f64::INFINITY, f64::min)
}

fn units_of(group: &Group) -> usize {
    let each: usize = group.each.iter().map(|(_, child)| units_of(child)).sum();
    let whole: usize = group.whole.iter().map(|(_, child)| units_of(child)).sum();
    group.count * (1 + each) + whole
}

fn largest_unit(group: &Group) -> f64 {
    let children = group.each.iter().chain(&group.whole).map(|(_, child)| largest_unit(child));
    children.fold(group.unit.0 * group.unit.1, f64::max)
}

/// Bodies on their way to where everything holds.
struct Settling<'a> {
    forest: &'a Forest,
    scene: Scene,
    frame: Frame,
    scale: f64,
    bodies: Vec<Body>,
    /// With the bodies of their two things.
    constraints: Vec<(Constraint, usize, usize)>,
}

impl<'a> Settling<'a> {
    fn new(forest: &'a Forest, plan: &RowPlan, scene: Scene, frame: Frame, scale: f64, mirrored: bool) -> Self {
        let mut rows = vec![0; forest.roots.len()];
        for (row, members) in plan.rows.iter().enumerate() {
            for i in members {
                rows[*i] = row;
            }
        }
        let body = |(i, root): (usize, &Group)| {
            let piece = piece_of(root, scale, mirrored);
            Body { bounds: piece.bounds(), piece, row: rows[i] }
        };
        let bodies: Vec<Body> = forest.roots.iter().enumerate().map(body).collect();
        let body_of = |thing: usize| forest.roots.iter().position(|root| root.contains(thing));
        let constraints = forest
            .constraints
            .iter()
            .filter_map(|c| Some((*c, body_of(c.first)?, body_of(c.second)?)))
            .filter(|(_, a, b)| a != b)
            .collect();
        let mut settling = Self { forest, scene, frame, scale, bodies, constraints };
        settling.stand_in_rows(plan);
        settling
    }

    /// Rows on the ground are drawn the lower the nearer they are; those above are spread over what is left.
    fn stand_in_rows(&mut self, plan: &RowPlan) {
        let Frame { w, h } = self.frame;
        let heights: Vec<f64> =
            plan.rows.iter().map(|row| row.iter().map(|i| self.bodies[*i].bounds.h).fold(0.0, f64::max)).collect();
        let total: f64 = heights.iter().sum();
        let free = h - 2.0 * MARGIN - total;
        let gap = free / (plan.rows.len() + 1) as f64;
        let lines = self.ground_lines(plan, &heights);
        let mut top = MARGIN + gap.max(0.0);
        for (row, members) in plan.rows.iter().enumerate() {
            let bottom = lines[row].unwrap_or(top + heights[row]);
            top = bottom + gap.max(GAP);
            let widths: f64 = members.iter().map(|i| self.bodies[*i].bounds.w).sum();
            let space = ((w - widths) / (members.len() + 1) as f64).max(GAP);
            let mut x = ((w - widths - space * (members.len() as f64 - 1.0)) / 2.0).max(MARGIN);
            for i in members {
                let body = &mut self.bodies[*i];
                let is_level = row + 1 > plan.rows.len() - plan.ground_rows;
                let y = if is_level { bottom - body.bounds.h } else { bottom - (heights[row] + body.bounds.h) / 2.0 };
                body.move_by(x - body.bounds.x, y - body.bounds.y);
                x += body.bounds.w + space;
            }
        }
    }

    /// The ground line of each row on the ground; nothing for rows in the air.
    fn ground_lines(&self, plan: &RowPlan, heights: &[f64]) -> Vec<Option<f64>> {
        let h = self.frame.h;
        let first = plan.rows.len() - plan.ground_rows;
        let mut lines = vec![None; plan.rows.len()];
        if self.scene.is_floating {
            return lines;
        }
        if let [height] = heights
            && plan.ground_rows == 0
        {
            // Alone in the air, and still above the middle.
            lines[0] = Some((0.42 * h + height / 2.0).max(height + MARGIN));
            return lines;
        }
        if plan.ground_rows == 0 {
            return lines;
        }
        // What is not as high as the picture stands so that it is somewhat below the middle of it.
        let front = self.scene.front * h;
        let mut line =
            (0.5 * h + 0.5 * heights[plan.rows.len() - 1] + 0.1 * h).clamp(self.scene.horizon * h + 0.1, front);
        if plan.ground_rows > 1 || first > 0 {
            line = front;
        }
        for row in (first..plan.rows.len()).rev() {
            lines[row] = Some(line);
            line -= heights[row] + 2.0 * GAP;
        }
        lines
    }

    fn settle(mut self) -> Arranged {
        let (mut violation, mut looseness) = (f64::INFINITY, 0.0);
        for round in 0..ROUNDS {
            // Neighbours come close in the first rounds; what has to hold has the last word.
            looseness = self.gather(round < ROUNDS / 2);
            violation = self.constrain() + self.separate() + self.stay_inside();
            if violation < SETTLED / 4.0 && round > ROUNDS / 2 {
                break;
            }
        }
        let units = self.bodies.into_iter().flat_map(|body| body.piece.units).collect();
        Arranged { units, violation, looseness, scale: self.scale }
    }

    /// Brings neighbours together and puts what is above into one column with what is below.
    fn gather(&mut self, moves: bool) -> f64 {
        let mut looseness = 0.0;
        for (constraint, a, b) in self.constraints.clone() {
            let (dx, dy) = match constraint.rule {
                Rule::Before => continue,
                Rule::Above => (
                    out_of_column(self.bodies[a].rect_of(constraint.first), self.bodies[b].rect_of(constraint.second)),
                    0.0,
                ),
                Rule::Beside => together(self.bodies[a].bounds, self.bodies[b].bounds, 0.04),
                Rule::Apart => together(self.bodies[a].bounds, self.bodies[b].bounds, 0.2),
            };
            looseness += dx.abs() + dy.abs();
            if moves {
                self.bodies[a].move_by(-dx / 2.0, -dy / 2.0);
                self.bodies[b].move_by(dx / 2.0, dy / 2.0);
            }
        }
        looseness
    }

    /// Moves both ends of broken rules by half of what is missing.
    fn constrain(&mut self) -> f64 {
        let mut violation = 0.0;
        for (constraint, a, b) in self.constraints.clone() {
            let (first, second) = (self.bodies[a].rect_of(constraint.first), self.bodies[b].rect_of(constraint.second));
            let (dx, dy) = missing(constraint.rule, first, second);
            violation += dx.abs() + dy.abs();
            self.bodies[a].move_by(-dx / 2.0, -dy / 2.0);
            self.bodies[b].move_by(dx / 2.0, dy / 2.0);
        }
        for (thing, at) in self.forest.positions.clone() {
            let Some(body) = self.bodies.iter_mut().find(|body| body.piece.units.iter().any(|(of, _)| *of == thing))
            else {
                continue;
            };
            let (dx, dy) = misplaced(at, body.rect_of(thing), self.frame);
            violation += dx.abs() + dy.abs();
            body.move_by(dx, dy);
        }
        violation
    }

    /// Pushes trees apart: those of one row sideways, others up and down, unless the other way is much shorter.
    fn separate(&mut self) -> f64 {
        let mut violation = 0.0;
        for a in 0..self.bodies.len() {
            for b in a + 1..self.bodies.len() {
                let (first, second) = (self.bodies[a].bounds, self.bodies[b].bounds);
                let (across, down) = first.penetration(&second);
                let (across, down) = (across + GAP, down + GAP);
                if across <= 1e-6 || down <= 1e-6 {
                    continue;
                }
                violation += across.min(down).max(0.0);
                let is_sideways =
                    if self.bodies[a].row == self.bodies[b].row { across < 4.0 * down } else { 2.5 * across < down };
                if is_sideways {
                    let side = if first.center().0 <= second.center().0 { 0.5 } else { -0.5 };
                    self.bodies[a].move_by(-side * across, 0.0);
                    self.bodies[b].move_by(side * across, 0.0);
                } else {
                    let side = if self.bodies[a].row <= self.bodies[b].row
                        && first.center().1 <= second.center().1 + 0.5 * first.h
                    {
                        0.5
                    } else {
                        -0.5
                    };
                    self.bodies[a].move_by(0.0, -side * down);
                    self.bodies[b].move_by(0.0, side * down);
                }
            }
        }
        violation
    }

    fn stay_inside(&mut self) -> f64 {
        let Frame { w, h } = self.frame;
        let mut violation = 0.0;
        for body in &mut self.bodies {
            let Rect { x, y, w: width, h: height } = body.bounds;
            let outside = (width - (w - 2.0 * MARGIN)).max(0.0) + (height - (h - 2.0 * MARGIN)).max(0.0);
            let target = |at: f64, length: f64, side: f64| at.min(side - MARGIN - length).max(MARGIN);
            let (dx, dy) = (target(x, width, w) - x, target(y, height, h) - y);
            violation += dx.abs() + dy.abs() + outside;
            body.move_by(dx, dy);
        }
        violation
    }
}

/// By how much the second has to move away from the first: right and down.
fn missing(rule: Rule, first: Rect, second: Rect) -> (f64, f64) {
    let beyond = |from: f64, to: f64| (from + GAP - to).max(0.0);
    match rule {
        Rule::Before => (beyond(first.right(), second.x), 0.0),
        Rule::Above => (0.0, beyond(first.bottom(), second.y)),
        Rule::Beside | Rule::Apart => (0.0, 0.0),
    }
}

/// How far the second is from where it is seen to be below the first: their middles at most half of the wider one apart.
fn out_of_column(first: Rect, second: Rect) -> f64 {
    let off = second.center().0 - first.center().0;
    let most = 0.3 * first.w.max(second.w);
    off.clamp(-most, most) - off
}

/// Side by side, with at most so much between them.
fn together(first: Rect, second: Rect, most: f64) -> (f64, f64) {
    (closer(first, second, most), levelled(first, second))
}

/// Brings them together if there is more than `most` between them.
fn closer(first: Rect, second: Rect, most: f64) -> f64 {
    let gap = (second.x - first.right()).max(first.x - second.right());
    if gap <= most {
        0.0
    } else if first.x < second.x {
        most - gap
    } else {
        gap - most
    }
}

/// What stands side by side reaches over some of the same height.
fn levelled(first: Rect, second: Rect) -> f64 {
    let common = first.bottom().min(second.bottom()) - first.y.max(second.y);
    let wanted = 0.5 * first.h.min(second.h);
    if common >= wanted {
        0.0
    } else if first.center().1 < second.center().1 {
        common - wanted
    } else {
        wanted - common
    }
}

/// How a thing has to move to stand where a position says.
fn misplaced(at: PositionKind, rect: Rect, frame: Frame) -> (f64, f64) {
    use PositionKind::*;
    let (x, y) = rect.center();
    let (left, right) = ((0.36 * frame.w - x).min(0.0), (0.64 * frame.w - x).max(0.0));
    let (top, bottom) = ((0.36 * frame.h - y).min(0.0), (0.64 * frame.h - y).max(0.0));
    // In a corner is near both of its sides.
    let near = 0.07;
    let (first, last) = ((near - rect.x).min(0.0), (frame.w - near - rect.right()).max(0.0));
    let (upper, lower) = ((near - rect.y).min(0.0), (frame.h - near - rect.bottom()).max(0.0));
    match at {
        Left => (left, 0.0),
        Right => (right, 0.0),
        Top => (0.0, top),
        Bottom => (0.0, bottom),
        TopLeft => (first, upper),
        TopRight => (last, upper),
        BottomLeft => (first, lower),
        BottomRight => (last, lower),
        Middle => (0.5 * frame.w - x, ((0.56 * frame.h - y).min(0.0)) + (0.44 * frame.h - y).max(0.0)),
        Background => (0.0, (0.62 * frame.h - rect.bottom()).min(0.0)),
        Foreground => (0.0, (0.85 * frame.h - rect.bottom()).max(0.0)),
        Row | Column | Circle | Stack | Group => (0.0, 0.0),
    }
}
