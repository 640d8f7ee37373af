//! Which tree stands in which row: on the ground, in the air, above others.

use sinopia_english::PositionKind;

use crate::forest::Forest;
use crate::group::Group;
use crate::order::{Ranks, best_order};
use crate::piece::piece_of;
use crate::rule::Rule;
use crate::sizes::Support;

/// Where a tree belongs if nothing is said.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Level {
    /// Sun, moon, clouds, birds, balloons.
    Air,
    /// Pictures and clocks on a wall.
    Wall,
    /// Everything else.
    Ground,
}

/// Which tree stands in which row, from the top, each row from left to right.
pub(crate) struct RowPlan {
    pub(crate) rows: Vec<Vec<usize>>,
    /// How many of them stand on the ground.
    pub(crate) ground_rows: usize,
}

impl RowPlan {
    pub(crate) fn new(forest: &Forest, ground_rows: usize) -> Self {
        let count = forest.roots.len();
        let root_of = |thing: usize| forest.roots.iter().position(|root| root.contains(thing));
        let mut heights: Vec<usize> = vec![0; count];
        let levels: Vec<Level> = forest.roots.iter().map(|root| level_of(root, forest)).collect();
        let above: Vec<(usize, usize)> = forest
            .constraints
            .iter()
            .filter(|c| c.rule == Rule::Above)
            .filter_map(|c| Some((root_of(c.first)?, root_of(c.second)?)))
            .filter(|(upper, lower)| upper != lower)
            .collect();
        // Heights follow the longest way down; more rounds than trees would be a circle.
        for _ in 0..count {
            for &(upper, lower) in &above {
                heights[upper] = heights[upper].max(heights[lower] + 1).min(count);
            }
        }
        let is_named = |i: &usize| above.iter().any(|(upper, lower)| upper == i || lower == i);
        let ground: Vec<usize> =
            (0..count).filter(|i| heights[*i] == 0 && (levels[*i] == Level::Ground || is_named(i))).collect();
        let aloft: Vec<usize> = (0..count).filter(|i| heights[*i] == 0 && !ground.contains(i)).collect();
        let mut rows: Vec<Vec<usize>> = Vec::new();
        let highest = heights.iter().copied().max().unwrap_or(0);
        for height in (1..=highest).rev() {
            rows.push((0..count).filter(|i| heights[*i] == height).collect());
        }
        if !aloft.is_empty() {
            match rows.first_mut() {
                Some(top) => top.extend(aloft),
                None => rows.push(aloft),
            }
        }
        let aloft_rows = rows.len();
        let is_behind = |i: &usize| forest.stands(&forest.roots[*i], |at| at == PositionKind::Background);
        let (behind, before): (Vec<usize>, Vec<usize>) = ground.into_iter().partition(is_behind);
        if !behind.is_empty() {
            rows.push(in_order(&behind, forest));
        }
        rows.extend(split(&in_order(&before, forest), ground_rows, forest));
        for row in rows.iter_mut().take(aloft_rows) {
            *row = in_order(row, forest);
        }
        rows.retain(|row| !row.is_empty());
        let ground_rows = rows.len().saturating_sub(aloft_rows);
        Self { rows, ground_rows }
    }
}

fn level_of(root: &Group, forest: &Forest) -> Level {
    let at = |kind| forest.positions.contains(&(root.thing, kind));
    // What is left or right of something is seen beside it, not over it.
    let is_beside = forest
        .constraints
        .iter()
        .any(|c| c.rule == Rule::Before && (root.contains(c.first) || root.contains(c.second)));
    match root.support {
        _ if is_beside => Level::Ground,
        _ if at(PositionKind::Bottom) || at(PositionKind::Foreground) => Level::Ground,
        Support::Air | Support::Sky => Level::Air,
        Support::Wall => Level::Wall,
        _ => Level::Ground,
    }
}

/// From left to right as directions, positions and neighbours ask for; else as the caption names them.
fn in_order(members: &[usize], forest: &Forest) -> Vec<usize> {
    let ranks = Ranks::new(&forest.constraints, &forest.positions);
    let roots: Vec<&Group> = members.iter().map(|i| &forest.roots[*i]).collect();
    let neighbours: Vec<(usize, usize)> = forest
        .constraints
        .iter()
        .filter(|c| matches!(c.rule, Rule::Beside | Rule::Apart))
        .filter_map(|c| {
            let at = |thing| roots.iter().position(|root| root.contains(thing));
            Some((at(c.first)?, at(c.second)?))
        })
        .filter(|(a, b)| a != b)
        .collect();
    if members.len() > 24 {
        return members.to_vec();
    }
    let cost = |order: &[usize]| {
        let mut cost = 0.0;
        let mut places = vec![0_usize; order.len()];
        for (place, i) in order.iter().enumerate() {
            places[*i] = place;
            for j in &order[place + 1..] {
                cost += 10.0 * ranks.broken(roots[*i], roots[*j]) as f64;
                cost += if i > j { 0.01 } else { 0.0 };
            }
        }
        cost + neighbours.iter().map(|(a, b)| (places[*a].abs_diff(places[*b]) - 1) as f64).sum::<f64>()
    };
    best_order(members.len(), cost).into_iter().map(|i| members[i]).collect()
}

/// Cuts a row into several of about the same width; the first ones stand farther back.
fn split(order: &[usize], rows: usize, forest: &Forest) -> Vec<Vec<usize>> {
    if rows < 2 || order.len() < 2 {
        return vec![order.to_vec()];
    }
    let width = |i: &usize| piece_of(&forest.roots[*i], 1.0, false).bounds().w;
    let total: f64 = order.iter().map(width).sum();
    let mut parts = vec![Vec::new(); rows];
    let mut so_far = 0.0;
    for i in order {
        let w = width(i);
        let part = ((so_far + w / 2.0) / total * rows as f64) as usize;
        parts[part.min(rows - 1)].push(*i);
        so_far += w;
    }
    // Tall things stand at the back, where they hide nothing.
    let height = |part: &Vec<usize>| part.iter().map(|i| forest.roots[*i].unit.1).fold(0.0, f64::max);
    parts.sort_by(|a, b| height(b).total_cmp(&height(a)));
    parts
}
