//! Whether a caption is English: by its letters, and by the small words of other languages.

use std::ops::Range;

use super::foreign::is_latin;
use crate::analysis::Language;
use crate::nouns::Nouns;
use crate::sentence::singular;
use crate::words::Words;

/// The language of a caption. Words with a capital are no evidence: `Las Vegas`, `La La Land`.
pub(crate) fn of(text: &str) -> Language {
    let (mut latin, mut other) = (0_usize, 0_usize);
    let (mut english, mut foreign) = (0_usize, 0_usize);
    for letter in text.chars().filter(|letter| letter.is_alphabetic()) {
        match letter {
            _ if is_latin(letter) => latin += 1,
            // A letter is a word or a part of one: as much as three Latin ones.
            '\u{3040}'..='\u{9fff}' | '\u{ac00}'..='\u{d7ff}' => other += 3,
            _ => other += 1,
        }
    }
    let mut unknown = 0_usize;
    for word in text.split(|letter: char| !letter.is_alphanumeric()) {
        let is_foreign = Words::embedded().has("foreign", word);
        foreign += usize::from(is_foreign);
        english += usize::from(is_small_english(word) || word.len() > 2 && Words::embedded().has("number", word));
        unknown += usize::from(!is_foreign && word.len() > 2 && !is_known(word));
    }
    if other > latin && !has_english_part(text) {
        Language::OtherScript
    } else if foreign >= 2 && foreign > english || foreign == 1 && english == 0 && unknown > 0 {
        Language::OtherWords
    } else {
        Language::English
    }
}

/// `赤い猫 a red cat`: an article and known words are English, whatever stands beside them.
fn has_english_part(text: &str) -> bool {
    let is_latin_word = |word: &&str| !word.is_empty() && word.chars().all(is_latin);
    let words: Vec<&str> = text.split(|letter: char| !letter.is_alphanumeric()).filter(is_latin_word).collect();
    let is_article = |word: &&str| matches!(*word, "a" | "an" | "the");
    words.iter().any(is_article) && words.iter().all(|word| is_article(word) || is_known(word))
}

/// As an English noun, a number or a word of the list.
fn is_known(word: &str) -> bool {
    let lower = word.to_lowercase();
    let kinds = ["number", "colour", "link", "doing", "adjective", "position"];
    Nouns::embedded().contains(&singular(&lower))
        || Nouns::embedded().contains(&lower)
        || kinds.iter().any(|kind| Words::embedded().has(kind, &lower))
        || is_small_english(&lower)
}

/// The bytes of the small words that tell another language.
pub(crate) fn small_foreign_words(text: &str) -> Vec<Range<usize>> {
    let mut found = Vec::new();
    let mut start = 0;
    for part in text.split_inclusive(|letter: char| !letter.is_alphanumeric()) {
        let word = part.trim_end_matches(|letter: char| !letter.is_alphanumeric());
        if Words::embedded().has("foreign", word) {
            found.push(start..start + word.len());
        }
        start += part.len();
    }
    found
}

fn is_small_english(word: &str) -> bool {
    matches!(word, "the" | "and" | "of" | "with" | "an" | "is" | "are" | "on" | "at" | "to" | "from" | "by" | "its")
}

#[cfg(test)]
mod tests {
    use crate::{Language, read};

    #[test]
    fn other_languages_are_told() {
        for (caption, language) in [
            ("a cat on a sofa", Language::English),
            ("", Language::English),
            ("🐱", Language::English),
            ("猫が二匹", Language::OtherScript),
            ("две кошки на диване", Language::OtherScript),
            ("قطة سوداء", Language::OtherScript),
            ("un chat noir sur une chaise", Language::OtherWords),
            ("ein roter Apfel auf dem Tisch", Language::OtherWords),
            ("dos perros en la playa con un niño", Language::OtherWords),
            ("a café in Las Vegas, Los Angeles and La Paz", Language::English),
            ("a jalapeño", Language::English),
            ("ein roter Hund", Language::OtherWords),
            ("kein Hund, a cat", Language::OtherWords),
            ("赤い猫 a red cat", Language::English),
            ("a elefant standing bettween two tres", Language::English),
        ] {
            assert_eq!(read(caption).language, language, "{caption}");
        }
    }
}
