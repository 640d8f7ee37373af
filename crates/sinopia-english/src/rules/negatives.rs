//! Negative prompts pasted with the caption: `Negative prompt: people, blurry`, `[negative: people]`, `exclude: cars`, `--no people, dogs`. The parser does not see them; what they list is not to be seen.

use std::ops::Range;

use crate::analysis::Exclusion;
use crate::nouns::Nouns;
use crate::sentence::singular;

/// What a list begins with, and how far it goes.
const MARKERS: [(&str, Reach); 8] = [
    ("negative prompts:", Reach::Rest),
    ("negative prompt:", Reach::Rest),
    ("negatives:", Reach::Sentence),
    ("negative:", Reach::Sentence),
    ("neg:", Reach::Sentence),
    ("exclude:", Reach::Sentence),
    ("avoid:", Reach::Sentence),
    ("--no ", Reach::Option),
];

/// Most bytes of what is listed between two commas.
const LONGEST: usize = 80;

#[derive(Clone, Copy, PartialEq)]
enum Reach {
    /// To the end of the caption or the parameters behind it.
    Rest,
    /// To the end of the line or of its sentence.
    Sentence,
    /// To the next option or the end of the line.
    Option,
}

/// A pasted list.
pub(crate) struct Negative {
    /// All of it, with what it begins with and the brackets around it.
    pub(crate) span: Range<usize>,
    /// What it lists.
    items: Range<usize>,
}

/// All pasted lists of a caption, in order and apart.
pub(crate) fn find(caption: &str) -> Vec<Negative> {
    let lower = caption.to_ascii_lowercase();
    let mut found: Vec<Negative> = Vec::new();
    let mut at = 0;
    while at < lower.len() {
        let starts = lower[..at].chars().next_back().is_none_or(|letter| !letter.is_alphanumeric() && letter != '-');
        match MARKERS.iter().find(|(marker, _)| starts && lower[at..].starts_with(marker)) {
            Some((marker, reach)) => {
                let negative = list_at(&lower, at, marker.len(), *reach);
                at = negative.span.end.max(at + marker.len());
                found.push(negative);
            }
            None => at += lower[at..].chars().next().map_or(1, char::len_utf8),
        }
    }
    found
}

fn list_at(lower: &str, start: usize, marker: usize, reach: Reach) -> Negative {
    let items = start + marker;
    let rest = &lower[items..];
    let closing = match lower[..start].chars().next_back() {
        Some('[') => rest.find(']'),
        Some('(') => rest.find(')'),
        _ => None,
    };
    if let Some(len) = closing {
        return Negative { span: start - 1..items + len + 1, items: items..items + len };
    }
    let ends: &[&str] = match reach {
        Reach::Rest => &["\nsteps:", " steps:"],
        Reach::Sentence => &["\n", ". ", " --"],
        Reach::Option => &["\n", " --"],
    };
    let end = ends.iter().filter_map(|end| rest.find(end)).min().unwrap_or(rest.len());
    Negative { span: start..items + end, items: items..items + end }
}

impl Negative {
    /// What is not to be seen, a phrase for each item.
    pub(crate) fn exclusions(&self, caption: &str) -> Vec<Exclusion> {
        let mut found = Vec::new();
        let mut start = self.items.start;
        for item in caption[self.items.clone()].split_inclusive([',', ';', '\n']) {
            found.extend(exclusion(caption, start..start + item.len()));
            start += item.len();
        }
        found
    }
}

/// An item without brackets, weights and its article.
fn exclusion(caption: &str, item: Range<usize>) -> Option<Exclusion> {
    let text = &caption[item.clone()];
    let text = text.split(['<', ':']).next().unwrap_or(text);
    let is_around = |letter: char| !letter.is_alphanumeric();
    let begins = item.start + (text.len() - text.trim_start_matches(is_around).len());
    let mut phrase = text.trim_matches(is_around);
    let article = ["a ", "an ", "the ", "any ", "no "].iter().find_map(|article| phrase.strip_prefix(article));
    let begins = begins + article.map_or(0, |rest| phrase.len() - rest.len());
    phrase = article.unwrap_or(phrase);
    if phrase.is_empty() || phrase.len() > LONGEST || phrase == "embedding" {
        return None;
    }
    let lower = phrase.to_lowercase();
    let last = singular(lower.rsplit(' ').next().unwrap_or(&lower));
    let name = if Nouns::embedded().contains(&last) { last } else { lower };
    Some(Exclusion { span: begins..begins + phrase.len(), phrase: phrase.to_owned(), name })
}

#[cfg(test)]
mod tests {
    use crate::testing::check;

    #[test]
    fn pasted_lists_are_exclusions() {
        check(
            "a dog and a cat\nNegative prompt: people, (blurry:1.2)\nSteps: 20, Sampler: Euler a, CFG scale: 7, Seed: 4",
            &["1 dog", "1 cat", "no person", "no blurry"],
        );
        check("a street. Negative: people, cars", &["street", "no person", "no car"]);
        check("negative prompt: blurry, lowres", &["no blurry", "no lowres"]);
        check("a beach [negative: people] with a dog", &["1 dog", "beach", "no person", "dog In beach"]);
        check("a beach --no people, dogs --ar 16:9", &["beach", "no person", "no dog"]);
    }

    #[test]
    fn parameters_are_no_words() {
        let analysis = crate::read("a dog\nSteps: 20, Sampler: Euler a, CFG scale: 7, Seed: 4, Size: 512x512");
        assert_eq!(analysis.things.len(), 1);
        assert_eq!(analysis.controls[0].text, "Steps: 20, Sampler: Euler a, CFG scale: 7, Seed: 4, Size: 512x512");
    }
}
