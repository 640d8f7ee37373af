//! The name that somebody probably meant.

/// The name among `names` with the smallest edit distance to `wanted`, if it is close enough to be of use.
pub(super) fn nearest(wanted: &str, names: &[String]) -> Option<String> {
    let limit = wanted.len() / 3;
    names
        .iter()
        .filter(|name| name.len().abs_diff(wanted.len()) <= limit)
        .map(|name| (strsim::levenshtein(wanted, name), name))
        .filter(|(distance, _)| *distance <= limit)
        .min()
        .map(|(_, name)| name.clone())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn unrelated_names_are_not_suggested() {
        let names = ["conv_in.weight".to_owned(), "conv_out.weight".to_owned()];
        assert_eq!(nearest("conv_inn.weight", &names).as_deref(), Some("conv_in.weight"));
        assert_eq!(nearest("alphas", &names), None);
    }
}
