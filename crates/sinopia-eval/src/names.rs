//! What a box's name says: words, articles, plurals.

/// `a` or, before a vowel, `an`.
pub(crate) fn with_article(phrase: &str) -> String {
    let article = if phrase.starts_with(['a', 'e', 'i', 'o', 'u']) { "an" } else { "a" };
    format!("{article} {phrase}")
}

/// The words of a name in lower case, without punctuation.
pub(crate) fn words(name: &str) -> Vec<String> {
    let parts = name.split(|c: char| !c.is_alphanumeric());
    parts.filter(|part| !part.is_empty()).map(str::to_lowercase).collect()
}

/// Whether a name speaks of a kind of thing, in the singular or plural, as whole words: `cat` is in `two cats`, not in `cattle`.
pub(crate) fn names_kind(name: &str, kind: &str) -> bool {
    let (name, kind) = (words(name), words(kind));
    let Some((last, first)) = kind.split_last() else { return false };
    name.windows(kind.len()).any(|window| match window.split_last() {
        Some((end, start)) => start == first && (end == last || *end == sinopia_layout::nouns::plural(last)),
        None => false,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn kinds_are_whole_words_in_either_number() {
        for (name, kind, expected) in [
            ("a red car", "car", true),
            ("two cars", "car", true),
            ("a carrot", "car", false),
            ("cattle", "cat", false),
            ("A Teddy Bear.", "teddy bear", true),
            ("teddy bears", "teddy bear", true),
            ("a bear", "teddy bear", false),
            ("", "car", false),
        ] {
            assert_eq!(names_kind(name, kind), expected, "{name} / {kind}");
        }
    }

    #[test]
    fn orange_and_umbrellas_take_an() {
        assert_eq!(with_article("orange cat"), "an orange cat");
        assert_eq!(with_article("cup"), "a cup");
    }
}
