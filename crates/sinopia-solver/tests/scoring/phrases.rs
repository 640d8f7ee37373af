//! Whether the phrase of a box names a thing of the gold: the same noun, and all its adjectives.

use super::readings::normal;

/// Words after which the noun that names a box is over: `a bowl of ramen`, `a man in a red shirt`.
const AFTER_NOUN: [&str; 17] = [
    "of", "with", "in", "on", "at", "who", "that", "which", "under", "over", "from", "for", "near", "behind", "by",
    "to", "made",
];

/// Words before which a participle is no adjective: `a girl holding a balloon`.
const ARTICLES: [&str; 6] = ["a", "an", "the", "his", "her", "its"];

/// In small letters and the singular, without articles and punctuation.
pub(crate) fn words(phrase: &str) -> Vec<String> {
    let bare: String = phrase.chars().map(|c| if "\"“”‘,.;:()!?".contains(c) { ' ' } else { c }).collect();
    normal(&bare).split_whitespace().map(|word| word.trim_matches('\'').replace("gray", "grey")).collect()
}

/// The nouns that a phrase may be about: the last word before `of` and the like; the one before a participle (`a cat sleeping on a chair`); both where the participle may be an
/// adjective (`a gold wedding ring`, `a corgi wearing sunglasses`).
fn heads(phrase: &str) -> Vec<String> {
    let raw: Vec<String> = phrase.to_lowercase().split_whitespace().map(str::to_owned).collect();
    let raw: Vec<&str> = raw.iter().map(String::as_str).skip_while(|word| ARTICLES.contains(word)).collect();
    let end = raw.iter().position(|word| AFTER_NOUN.contains(word)).unwrap_or(raw.len());
    let is_participle = |word: &&str| word.ends_with("ing") || word.ends_with("ed");
    let participle = raw[..end].iter().skip(1).position(is_participle).map(|before| before + 1);
    let last = |end: usize| words(&raw[..end].join(" ")).pop();
    let Some(participle) = participle else { return last(end).into_iter().collect() };
    let is_clause = participle + 1 == end || ARTICLES.contains(&raw[participle + 1]);
    let both = [last(participle), last(end).filter(|_| !is_clause)];
    both.into_iter().flatten().collect()
}

/// Whether a box with this phrase shows what `gold` names; it may have more adjectives.
pub(crate) fn names(phrase: &str, gold: &str) -> bool {
    let is_about = heads(gold).last().is_some_and(|noun| heads(phrase).contains(noun));
    let phrase = words(phrase);
    is_about && words(gold).iter().all(|word| phrase.contains(word))
}

/// Whether all words of `gold` are in the text.
pub(crate) fn says(text: &str, gold: &str) -> bool {
    let text = words(text);
    let gold = words(gold);
    !gold.is_empty() && gold.iter().all(|word| text.contains(word))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_box_is_named_by_its_noun_and_all_adjectives() {
        assert!(names("a red balloon", "balloon") && names("a shiny red balloon", "red balloon"));
        assert!(!names("a balloon", "red balloon") && !names("a balloon seller", "balloon"));
        assert!(names("a grey cat", "gray cat") && names("people", "person"));
    }

    #[test]
    fn what_the_noun_has_or_does_names_nothing() {
        assert!(names("a bowl of ramen", "bowl of ramen") && names("a bowl of ramen", "bowl"));
        assert!(!names("a bowl of ramen", "ramen") && !names("a man in a red shirt", "red shirt"));
        assert!(names("a girl holding a red balloon", "girl") && !names("a girl holding a red balloon", "balloon"));
        assert!(
            names("a gold wedding ring", "ring") && names("a sleeping cat", "cat") && names("a cat sleeping", "cat")
        );
        assert!(names("the Eiffel Tower made of cheese", "Eiffel Tower"));
    }

    #[test]
    fn a_text_says_words_in_any_order() {
        assert!(
            says("A photo of a beach at night, in the rain", "rain")
                && says("field of tall sunflowers", "field of sunflowers")
        );
        assert!(!says("anything", ""));
    }
}
