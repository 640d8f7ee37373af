//! Which operations are done together.

use sinopia_layout::GridMask;

use super::context::Context;
use super::{Operation, remove};
use crate::Result;

/// The operations by their place in the edit, in the rounds in which they are done: together where none reaches into another, else one after the other, what takes
/// away before what paints.
pub(super) fn of(operations: &[Operation], context: &Context) -> Result<Vec<Vec<usize>>> {
    let mut order: Vec<usize> = (0..operations.len()).collect();
    order.sort_by_key(|index| rank(&operations[*index])); // stable
    let mut rounds: Vec<Vec<usize>> = Vec::new();
    let mut taken = context.no_cells();
    for index in order {
        let reach = reach(&operations[index], context)?;
        match rounds.last_mut().filter(|_| !overlap(&taken, &reach)) {
            Some(round) => round.push(index),
            None => {
                rounds.push(vec![index]);
                taken = context.no_cells();
            }
        }
        taken = taken.union(&reach)?;
    }
    Ok(rounds)
}

fn rank(operation: &Operation) -> u8 {
    match operation {
        Operation::Remove { .. } => 0,
        Operation::Move { .. } => 1,
        Operation::Recolour { .. } => 2,
        Operation::Replace { .. } => 3,
        Operation::Add { .. } => 4,
    }
}

/// The cells that an operation may change, and a margin for what an object's mask has beyond its box.
fn reach(operation: &Operation, context: &Context) -> Result<GridMask> {
    match operation {
        Operation::Add { bbox, .. }
        | Operation::Remove { bbox, .. }
        | Operation::Recolour { bbox, .. }
        | Operation::Replace { bbox, .. } => remove::cells(bbox, context),
        Operation::Move { from, to, .. } => Ok(remove::cells(from, context)?.union(&remove::cells(to, context)?)?),
    }
}

fn overlap(one: &GridMask, other: &GridMask) -> bool {
    one.cells().iter().zip(other.cells()).any(|(one, other)| *one && *other)
}
