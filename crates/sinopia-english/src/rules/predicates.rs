//! What `is` and `are` say of their subject: `the cat is black and fluffy`, `the door is closed`, `all of them are blue`.

use super::subjects;
use crate::reading::Reading;
use crate::words::Words;

/// A word and the phrase that it is said of.
pub(crate) struct Said {
    pub(crate) entry: usize,
    pub(crate) word: usize,
    /// `is not black`.
    pub(crate) is_denied: bool,
}

/// All words that are said of a subject, in order.
pub(crate) fn find(reading: &Reading) -> Vec<Said> {
    let said = |word| Some(Said { entry: subject(reading, word)?, word, is_denied: is_denied(reading, word) });
    (0..reading.sentence.len()).filter_map(said).collect()
}

fn subject(reading: &Reading, word: usize) -> Option<usize> {
    let said = &reading.sentence.words[word];
    if reading.entry_of_word[word].is_some() || Words::embedded().has("saying", said.lower()) {
        return None;
    }
    if is_state(reading, word) {
        return subjects::of_verb(reading, word);
    }
    // `and one of them is white`: whatever the parser takes for the subject
    let before = word.checked_sub(2).and_then(|at| reading.entry_of_word[at]);
    let is_said = said.is_adjective() && matches!(reading.sentence.lower(word.saturating_sub(1)), "is" | "are");
    if let Some(one) = before.filter(|one| is_said && reading.entries[*one].member_of.is_some()) {
        return Some(one);
    }
    if !said.is_adjective() || reading.link_of_word[word].is_some() {
        return None;
    }
    let head = &reading.sentence.words[said.head];
    match said.label {
        "acomp" => subjects::of_verb(reading, said.head),
        // `black and fluffy`
        "conj" if head.label == "acomp" => subjects::of_verb(reading, head.head),
        _ => None,
    }
}

/// `is not black`, and white in `is not black or white`.
fn is_denied(reading: &Reading, word: usize) -> bool {
    let said = &reading.sentence.words[word];
    let is_alternative = said.label == "conj" && reading.sentence.lower(word.saturating_sub(1)) != "but";
    reading.sentence.is_denied(word) || is_alternative && reading.sentence.is_denied(said.head)
}

/// `is closed`, `are folded`: a participle without anything behind it that would make a deed of it.
fn is_state(reading: &Reading, word: usize) -> bool {
    let said = &reading.sentence.words[word];
    let after = reading.sentence.get(word + 1);
    said.tag == "VBN"
        && said.label != "amod"
        && is_behind_is(reading, word)
        && after.is_none_or(|after| after.is_break() || after.tag == "CC")
        && !["doing", "saying"].iter().any(|kind| Words::embedded().has(kind, said.lower()))
}

/// `is closed`, `isn't closed`.
fn is_behind_is(reading: &Reading, word: usize) -> bool {
    let not = usize::from(reading.sentence.is_denied(word));
    matches!(reading.sentence.lower(word.saturating_sub(1 + not)), "is" | "are" | "was" | "were" | "'s")
}

#[cfg(test)]
mod tests {
    use crate::read;

    #[test]
    fn states_belong_to_their_subjects() {
        let analysis = read("A cat and a dog are on a sofa. The cat is black and fluffy. The sofa is torn.");
        assert_eq!(analysis.things.len(), 3);
        assert_eq!(
            (&analysis.things[0].colours[..], &analysis.things[0].adjectives[..]),
            (&["black".to_owned()][..], &["fluffy".to_owned()][..])
        );
        assert_eq!(analysis.things[2].adjectives, ["torn"]);
    }

    #[test]
    fn members_have_what_is_said_of_them() {
        let things = read("three dogs and one of them is white").things;
        let found: Vec<(u32, usize)> = things.iter().map(|thing| (thing.count.max, thing.colours.len())).collect();
        assert_eq!(found, [(2, 0), (1, 1)]);
    }

    #[test]
    fn what_is_denied_is_excluded() {
        for (caption, excluded) in [
            ("a car that isn't red", &["red car"][..]),
            ("The cat is not black or white.", &["black cat", "white cat"]),
            ("The sky is not blue.", &["blue sky"]),
            ("a house that isn't finished", &["finished house"]),
            ("a car that is neither red nor blue", &["red car", "blue car"]),
            ("a cat which isn't sleeping", &["sleeping cat"]),
        ] {
            let analysis = read(caption);
            let found: Vec<&str> = analysis.exclusions.iter().map(|exclusion| exclusion.phrase.as_str()).collect();
            assert_eq!(found, excluded, "{caption}");
            assert!(analysis.things.iter().all(|thing| thing.colours.is_empty() && thing.doing.is_none()), "{caption}");
        }
    }

    #[test]
    fn what_is_said_of_a_part_is_the_parts() {
        let analysis = read("A man with a beard stands on a hill. His beard is white.");
        assert_eq!(analysis.things.len(), 1);
        assert!(analysis.things[0].colours.is_empty());
    }
}
