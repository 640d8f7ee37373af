//! Who gets what, so that the whole is best.

/// Gives each row at most one column and each column to at most one row, so that the sum of the weights is largest. `weights` has a row for each who may get something; pairs with a weight of
/// 0, of less or of no number are never joined. Of equally good assignments always the same is found.
///
/// ```
/// use sinopia_studio::assignment::assign;
///
/// // Greedily the first row would take its best, and leave the second one nothing.
/// assert_eq!(assign(&[vec![0.9, 0.8], vec![0.7, 0.0]]), [Some(1), Some(0)]);
/// ```
///
/// The Hungarian method with potentials, in (rows + columns)³ steps at most (Kuhn 1955; Jonker and Volgenant 1987).
pub fn assign(weights: &[Vec<f64>]) -> Vec<Option<usize>> {
    let num_columns = weights.iter().map(Vec::len).max().unwrap_or(0);
    let weight = |row: usize, column: usize| {
        let weight = weights[row].get(column).copied().unwrap_or(0.0);
        if weight.is_finite() && weight > 0.0 { weight } else { 0.0 }
    };
    // As many columns more as there are rows: whoever takes one of these gets nothing.
    let mut matching = Shortest::new(weights.len(), num_columns + weights.len());
    for row in 0..weights.len() {
        matching.add(row, &|row, column| if column < num_columns { -weight(row, column) } else { 0.0 });
    }
    let mut assigned = vec![None; weights.len()];
    for (column, row) in matching.row_of_column.iter().enumerate() {
        if let Some(row) = row
            && column < num_columns
            && weight(*row, column) > 0.0
        {
            assigned[*row] = Some(column);
        }
    }
    assigned
}

/// The cheapest matching of the rows added so far.
struct Shortest {
    row_of_column: Vec<Option<usize>>,
    of_rows: Vec<f64>,
    of_columns: Vec<f64>,
}

impl Shortest {
    fn new(num_rows: usize, num_columns: usize) -> Self {
        Self {
            row_of_column: vec![None; num_columns],
            of_rows: vec![0.0; num_rows],
            of_columns: vec![0.0; num_columns],
        }
    }

    /// Adds a row by the cheapest path of rows that change their columns. There are at least as many columns as rows.
    fn add(&mut self, row: usize, cost: &dyn Fn(usize, usize) -> f64) {
        let num_columns = self.row_of_column.len();
        let mut slack = vec![f64::INFINITY; num_columns];
        let mut before: Vec<Option<usize>> = vec![None; num_columns];
        let mut is_done = vec![false; num_columns];
        let (mut at, mut from) = (row, None);
        loop {
            let mut nearest: Option<usize> = None;
            for column in (0..num_columns).filter(|column| !is_done[*column]) {
                let reduced = cost(at, column) - self.of_rows[at] - self.of_columns[column];
                if reduced < slack[column] {
                    (slack[column], before[column]) = (reduced, from);
                }
                if nearest.is_none_or(|best| slack[column] < slack[best]) {
                    nearest = Some(column);
                }
            }
            let Some(column) = nearest else { return };
            let step = slack[column];
            self.of_rows[row] += step;
            for other in 0..num_columns {
                match (is_done[other], self.row_of_column[other]) {
                    (true, Some(taken_by)) => {
                        self.of_rows[taken_by] += step;
                        self.of_columns[other] -= step;
                    }
                    _ => slack[other] -= step,
                }
            }
            is_done[column] = true;
            match self.row_of_column[column] {
                Some(next) => (at, from) = (next, Some(column)),
                None => return self.turn(row, column, &before),
            }
        }
    }

    /// Gives the path's columns on, from its end to the new row.
    fn turn(&mut self, row: usize, mut column: usize, before: &[Option<usize>]) {
        while let Some(previous) = before[column] {
            self.row_of_column[column] = self.row_of_column[previous];
            column = previous;
        }
        self.row_of_column[column] = Some(row);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The largest sum by trying everything.
    fn best(weights: &[Vec<f64>], taken: &mut Vec<bool>) -> f64 {
        let Some((row, rest)) = weights.split_first() else { return 0.0 };
        let mut largest = best(rest, taken);
        for column in 0..row.len() {
            if !taken[column] && row[column] > 0.0 {
                taken[column] = true;
                largest = largest.max(row[column] + best(rest, taken));
                taken[column] = false;
            }
        }
        largest
    }

    #[test]
    fn the_sum_is_the_largest_one() {
        let mut state = 1_u64;
        let mut random = || {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            (state >> 33) as f64 / (1_u64 << 31) as f64
        };
        for (rows, columns) in [(1, 1), (3, 3), (2, 5), (5, 2), (4, 4), (5, 5), (6, 4)] {
            for _ in 0..30 {
                let weights: Vec<Vec<f64>> = (0..rows)
                    .map(|_| (0..columns).map(|_| if random() < 0.3 { 0.0 } else { random() }).collect())
                    .collect();
                let assigned = assign(&weights);
                let pairs = || assigned.iter().enumerate().filter_map(|(row, column)| Some((row, (*column)?)));
                let mut columns_taken: Vec<usize> = pairs().map(|(_, column)| column).collect();
                columns_taken.sort_unstable();
                columns_taken.dedup();
                assert_eq!(columns_taken.len(), pairs().count(), "{assigned:?}");
                let sum: f64 = pairs().map(|(row, column)| weights[row][column]).sum();
                assert!((sum - best(&weights, &mut vec![false; columns])).abs() < 1e-9, "{weights:?} {assigned:?}");
            }
        }
    }

    #[test]
    fn nothing_and_what_is_no_number_are_never_joined() {
        assert_eq!(assign(&[]), []);
        assert_eq!(assign(&[vec![], vec![]]), [None, None]);
        assert_eq!(assign(&[vec![f64::NAN, -1.0], vec![f64::INFINITY, 0.0]]), [None, None]);
        assert_eq!(assign(&[vec![0.5], vec![0.5, 0.1]]), [Some(0), Some(1)]);
    }
}
