//! What a detector is asked.

use sinopia_layout::nouns;

use super::Program;
use super::colours::{BASIC, are_rivals};

/// A text that a detector is asked for, and what it means.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Asked {
    /// In the words of its training: `a photo of a red apple`.
    pub(super) text: String,
    /// An index of [`Program::kinds`].
    pub(super) kind: usize,
    /// Of this colour; of any, if none is said.
    pub(super) colour: Option<String>,
}

/// Every kind by its name; those whose colour matters in each colour too, as open-vocabulary detectors see a red car in any car if only that is asked for (FG-OVD, arXiv 2311.17518); every phrase
/// as it is written.
pub(super) fn queries(program: &Program) -> Vec<Asked> {
    let mut asked: Vec<Asked> = Vec::new();
    let mut ask = |words: &str, kind: usize, colour: Option<&str>| {
        let (text, colour) = (query(words), colour.map(str::to_owned));
        if !asked.iter().any(|known| known.kind == kind && known.text == text) {
            asked.push(Asked { text, kind, colour });
        }
    };
    for (index, kind) in program.kinds().iter().enumerate() {
        ask(&kind.name, index, None);
        for colour in colours_of(program, index) {
            ask(&format!("{colour} {}", kind.name), index, Some(&colour));
        }
    }
    for object in program.objects() {
        let colour = object.colours.first().filter(|_| object.colours.len() == 1);
        let phrase = object.phrase.trim();
        if !phrase.is_empty() && (colour.is_some() || object.colours.is_empty()) {
            ask(phrase, object.kind, colour.map(String::as_str));
        }
    }
    asked
}

/// The colours in which a kind is wanted or excluded and those that it must not be mistaken for; none where no colour matters.
fn colours_of(program: &Program, kind: usize) -> Vec<String> {
    let wanted = program.objects().iter().filter(|object| object.kind == kind).flat_map(|object| &object.colours);
    let excluded = program.excluded().iter().filter(|excluded| excluded.kind == kind);
    let named: Vec<&String> = wanted.chain(excluded.flat_map(|excluded| &excluded.colours)).collect();
    let rivals = BASIC.iter().filter(|basic| named.iter().any(|colour| are_rivals(colour, basic)));
    let mut colours: Vec<String> = Vec::new();
    for colour in named.iter().map(|colour| colour.as_str()).chain(rivals.copied()) {
        if !colours.iter().any(|known| known == colour) {
            colours.push(colour.to_owned());
        }
    }
    colours
}

/// What a detector is asked for a phrase.
fn query(phrase: &str) -> String {
    format!("a photo of {}", with_article(phrase))
}

/// Words that stand where an article would.
const DETERMINERS: [&str; 20] = [
    "a", "an", "another", "both", "each", "every", "few", "her", "his", "its", "many", "my", "no", "our", "several",
    "some", "the", "their", "these", "your",
];
/// Most that is written as a word before what is counted.
const LARGEST_NUMBER: usize = 99;

/// A phrase with an article, unless it has one or another determiner, or a number.
pub(super) fn with_article(phrase: &str) -> String {
    let phrase = phrase.trim();
    let first = phrase.split_whitespace().next().unwrap_or_default().to_lowercase();
    let is_number = || {
        first.starts_with(|c: char| c.is_ascii_digit())
            || (1..=LARGEST_NUMBER).any(|number| nouns::number_word(number) == first)
    };
    if first.is_empty() || DETERMINERS.contains(&first.as_str()) || is_number() {
        return phrase.to_owned();
    }
    format!("{} {phrase}", nouns::article(phrase))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn texts(boxes: &str) -> Vec<String> {
        let answer = format!("[{boxes}]\nBackground prompt: A table\nNegative prompt: dogs");
        let layout = sinopia_layout::parse_answer(&answer).unwrap();
        queries(&Program::compile(&layout, None)).into_iter().map(|asked| asked.text).collect()
    }

    #[test]
    fn phrases_are_asked_for_with_an_article() {
        assert_eq!(query("red apple"), "a photo of a red apple");
        assert_eq!(query("orange ball"), "a photo of an orange ball");
        assert_eq!(query(" the dog"), "a photo of the dog");
        assert_eq!(query("unicorn"), "a photo of a unicorn");
        assert_eq!(query("Hourglass"), "a photo of an Hourglass");
        for determined in ["five apples", "Twenty-one cats", "12 cups", "several dogs", "his hat", "one cat", ""] {
            assert_eq!(with_article(determined), determined);
        }
    }

    #[test]
    fn the_other_colours_are_asked_for_where_colour_matters() {
        let plain = texts("('a cat', [0, 0, 90, 90]), ('a sleeping cat', [0, 0, 90, 90])");
        assert_eq!(plain, ["a photo of a cat", "a photo of a dog", "a photo of a sleeping cat"]);
        let coloured = texts("('a navy car', [0, 0, 90, 90])");
        assert_eq!(coloured.len(), 1 + 1 + 9 + 1, "{coloured:?}"); // blue and black are no rivals of navy
        assert!(coloured.contains(&"a photo of an orange car".to_owned()));
    }
}
