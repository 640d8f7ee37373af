//! What grammar and WordNet cannot tell: the one list of words, `assets/words.tsv`, a reason beside each.

use std::collections::HashMap;
use std::sync::OnceLock;

/// The rows of the list, found by kind and words.
pub(crate) struct Words {
    values: HashMap<(&'static str, &'static str), &'static str>,
}

/// Most words of an entry.
pub(crate) const LONGEST: usize = 5;

impl Words {
    /// The embedded list.
    pub(crate) fn embedded() -> &'static Self {
        static WORDS: OnceLock<Words> = OnceLock::new();
        WORDS.get_or_init(|| {
            let rows = include_str!("../assets/words.tsv").lines().filter(|line| !line.starts_with('#'));
            let row = |line: &'static str| {
                let mut cells = line.split('\t');
                Some(((cells.next()?, cells.next()?), cells.next()?))
            };
            Self { values: rows.filter_map(row).collect() }
        })
    }

    /// What the list says of `words` under that kind.
    pub(crate) fn get(&self, kind: &'static str, words: &str) -> Option<&'static str> {
        // The keys are static, the question need not be: the borrow of a tuple cannot be shortened otherwise.
        let values: &HashMap<(&str, &str), &'static str> = &self.values;
        values.get(&(kind, words)).copied()
    }

    /// Whether the list has `words` under that kind.
    pub(crate) fn has(&self, kind: &'static str, words: &str) -> bool {
        self.get(kind, words).is_some()
    }
}

#[cfg(test)]
mod tests {
    #[test]
    fn every_row_has_four_cells_and_stands_once() {
        let mut seen = std::collections::HashSet::new();
        for line in include_str!("../assets/words.tsv").lines().filter(|line| !line.starts_with('#')) {
            let cells: Vec<&str> = line.split('\t').collect();
            assert!(cells.len() == 4 && cells.iter().all(|cell| !cell.is_empty()), "{line}");
            assert!(seen.insert((cells[0], cells[1])), "{line}");
            assert!(cells[1].split(' ').count() <= super::LONGEST, "{line}");
        }
    }
}
