//! From left to right: the order that breaks the fewest directions.

use std::collections::HashMap;

use sinopia_english::PositionKind;

use crate::group::Group;
use crate::rule::{Constraint, Rule};

/// Places of things from left to right, as far as they are told.
pub(crate) struct Ranks {
    rules: Vec<(usize, usize)>,
    sides: HashMap<usize, i8>,
}

impl Ranks {
    pub(crate) fn new(constraints: &[Constraint], positions: &[(usize, PositionKind)]) -> Self {
        let rules = constraints.iter().filter(|c| c.rule == Rule::Before).map(|c| (c.first, c.second)).collect();
        let side = |(thing, at): &(usize, PositionKind)| {
            use PositionKind::*;
            let side = match at {
                Left | TopLeft | BottomLeft => -1,
                Middle => 0,
                Right | TopRight | BottomRight => 1,
                _ => return None,
            };
            Some((*thing, side))
        };
        Self { rules, sides: positions.iter().filter_map(side).collect() }
    }

    /// How badly two trees stand if the first is left of the second: broken directions.
    pub(crate) fn broken(&self, left: &Group, right: &Group) -> usize {
        let rules =
            self.rules.iter().filter(|(first, second)| right.contains(*first) && left.contains(*second)).count();
        let side =
            |group: &Group| self.sides.iter().filter(|(thing, _)| group.contains(**thing)).map(|(_, side)| *side).max();
        let sides = matches!((side(left), side(right)), (Some(left), Some(right)) if left > right)
            || matches!((side(left), side(right)), (Some(1), None) | (None, Some(-1)));
        rules + usize::from(sides)
    }
}

/// The best order found by moving single elements: few things are ever in one row.
pub(crate) fn best_order(count: usize, cost: impl Fn(&[usize]) -> f64) -> Vec<usize> {
    let mut order: Vec<usize> = (0..count).collect();
    let mut best = cost(&order);
    // Each round lowers the cost; a few suffice for what captions say.
    for _ in 0..8 {
        if best <= 0.0 {
            break;
        }
        let mut improved = false;
        for from in 0..count {
            for to in 0..count {
                let mut tried = order.clone();
                let moved = tried.remove(from);
                tried.insert(to, moved);
                let cost = cost(&tried);
                if cost < best - 1e-9 {
                    (order, best, improved) = (tried, cost, true);
                }
            }
        }
        if !improved {
            break;
        }
    }
    order
}

/// Brings what is fixed to the same carrier into the order that directions and positions ask for.
pub(crate) fn order(group: &mut Group, ranks: &Ranks) {
    for fixed in [&mut group.each, &mut group.whole] {
        let cost = |order: &[usize]| {
            let mut cost = 0.0;
            for (i, left) in order.iter().enumerate() {
                for right in &order[i + 1..] {
                    cost += ranks.broken(&fixed[*left].1, &fixed[*right].1) as f64;
                    cost += if left > right { 0.01 } else { 0.0 };
                }
            }
            cost
        };
        let sorted = best_order(fixed.len(), cost);
        *fixed = sorted.into_iter().map(|i| fixed[i].clone()).collect();
        for (_, child) in fixed {
            order(child, ranks);
        }
    }
}
