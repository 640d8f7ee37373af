//! The name that somebody probably meant.

/// The name among `names` with the smallest edit distance to `wanted`, if it is close enough to be of use.
pub(super) fn nearest(wanted: &str, names: &[String]) -> Option<String> {
    let limit = wanted.len() / 3;
    names
        .iter()
        .filter(|name| name.len().abs_diff(wanted.len()) <= limit)
        .map(|name| (distance(wanted.as_bytes(), name.as_bytes()), name))
        .filter(|(distance, _)| *distance <= limit)
        .min()
        .map(|(_, name)| name.clone())
}

/// Levenshtein's distance, one row at a time.
fn distance(a: &[u8], b: &[u8]) -> usize {
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (i, x) in a.iter().enumerate() {
        let mut diagonal = row[0];
        row[0] = i + 1;
        for (j, y) in b.iter().enumerate() {
            let substituted = diagonal + usize::from(x != y);
            diagonal = row[j + 1];
            row[j + 1] = substituted.min(row[j] + 1).min(row[j + 1] + 1);
        }
    }
    row[b.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn distance_counts_single_edits() {
        assert_eq!(distance(b"kitten", b"sitting"), 3);
        assert_eq!(distance(b"", b"abc"), 3);
        assert_eq!(distance(b"same", b"same"), 0);
    }

    #[test]
    fn unrelated_names_are_not_suggested() {
        let names = ["conv_in.weight".to_owned(), "conv_out.weight".to_owned()];
        assert_eq!(nearest("conv_inn.weight", &names).as_deref(), Some("conv_in.weight"));
        assert_eq!(nearest("alphas", &names), None);
    }
}
