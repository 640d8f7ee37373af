//! How many: `two`, `2`, `a dozen`, `two or three`, `2-3`, `at least five`, `several`.

use crate::analysis::Count;
use crate::sentence::Sentence;
use crate::words::Words;

/// Beyond this a number is no count of things to draw (a year, a resolution).
const LARGEST: u32 = 1000;

/// What one word says of a number.
fn number(word: &str) -> Option<(u32, u32)> {
    let listed = Words::embedded().get("number", word);
    let text = listed.unwrap_or(word);
    let (min, max) = text.split_once('-').unwrap_or((text, text));
    let parse = |text: &str| text.parse::<u32>().ok().filter(|number| *number <= LARGEST);
    Some((parse(min)?, parse(max)?))
}

/// The number that begins at word `i`, and how many words it takes; articles are no numbers by themselves.
pub(crate) fn at(sentence: &Sentence, i: usize) -> Option<(usize, Count)> {
    let (skipped, qualifier) = qualifier(sentence, i);
    let start = i + skipped;
    let first = number(sentence.lower(start)).filter(|_| !is_group(sentence, start))?;
    let is_article = matches!(sentence.lower(start), "a" | "an");
    let second = sentence.lower(start + 1);
    // `a dozen`, `a few`, `two dozen`, `a couple`
    let (len, (min, max)) = match number(second) {
        Some((min, max)) if is_article && second != "one" && !is_group(sentence, start + 1) => (2, (min, max)),
        Some((12 | 100, _)) if matches!(second, "dozen" | "hundred") => {
            (2, (first.0 * number(second)?.0, first.1 * number(second)?.1))
        }
        _ if is_article => return None,
        _ => (1, first),
    };
    if let Some((more, to)) = range(sentence, start + len) {
        return Some((skipped + len + more, Count::between(min, to)));
    }
    let count = match qualifier {
        Qualifier::AtLeast => Count::between(min, max + 4),
        Qualifier::AtMost => Count::between(1, max),
        Qualifier::About => Count::between(min.saturating_sub(1 + min / 10).max(1), max + 1 + max / 10),
        Qualifier::None => Count::between(min, max),
    };
    Some((skipped + len, count))
}

/// `a pair of`, `a couple of` are read as groups, by the rule of `of`.
fn is_group(sentence: &Sentence, i: usize) -> bool {
    sentence.lower(i + 1) == "of" && Words::embedded().has("group", sentence.lower(i))
}

enum Qualifier {
    AtLeast,
    AtMost,
    About,
    None,
}

fn qualifier(sentence: &Sentence, i: usize) -> (usize, Qualifier) {
    match (sentence.lower(i), sentence.lower(i + 1)) {
        ("at", "least") | ("more", "than") => (2, Qualifier::AtLeast),
        ("at", "most") | ("up", "to") | ("fewer", "than") | ("less", "than") => (2, Qualifier::AtMost),
        ("about" | "around" | "approximately" | "nearly" | "almost", next) if number(next).is_some() => {
            (1, Qualifier::About)
        }
        ("exactly" | "only" | "just", next) if number(next).is_some() => (1, Qualifier::None),
        _ => (0, Qualifier::None),
    }
}

/// `or three`, `to four`, `- 3` after a number: its words, and the upper end.
fn range(sentence: &Sentence, i: usize) -> Option<(usize, u32)> {
    if !matches!(sentence.lower(i), "or" | "to" | "-" | "–") {
        return None;
    }
    let upper = sentence.lower(i + 1);
    let is_number =
        upper.starts_with(|letter: char| letter.is_ascii_digit()) || number(upper).is_some_and(|(min, _)| min > 1);
    let (min, max) = number(upper).filter(|_| is_number)?;
    (min == max && sentence.get(i + 2).is_some()).then_some((2, max))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(text: &str, expected: Option<(usize, u32, u32)>) {
        let found = at(&Sentence::parse(text, &[]), 0);
        assert_eq!(found.map(|(len, count)| (len, count.min, count.max)), expected, "{text}");
    }

    #[test]
    fn numbers_are_read() {
        check("two dogs", Some((1, 2, 2)));
        check("12 dogs", Some((1, 12, 12)));
        check("a dozen roses", Some((2, 12, 12)));
        check("two dozen eggs", Some((2, 24, 24)));
        check("two or three dogs", Some((3, 2, 3)));
        check("2-3 dogs", Some((3, 2, 3)));
        check("at least five gulls", Some((3, 5, 9)));
        check("a few cats", Some((2, 2, 4)));
        check("a cat", None);
        check("dogs", None);
        check("lots of dogs", None);
        check("1999999 dogs", None);
    }
}
