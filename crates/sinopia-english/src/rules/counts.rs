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
    let parse = |text: &str| without_commas(text).parse::<u32>().ok().filter(|number| *number <= LARGEST);
    Some((parse(min)?, parse(max)?))
}

/// `1,000` as `1000`; `1,2` is no number.
fn without_commas(text: &str) -> String {
    let is_grouped = text.split(',').skip(1).all(|group| group.len() == 3);
    if is_grouped { text.replace(',', "") } else { text.to_owned() }
}

/// `twenty-five`, `twenty five`: how many words it takes, and the number.
fn tens_and_units(sentence: &Sentence, i: usize) -> Option<(usize, (u32, u32))> {
    let (tens, _) = number(sentence.lower(i)).filter(|(tens, _)| matches!(tens, 20..=90) && tens % 10 == 0)?;
    let hyphen = usize::from(sentence.lower(i + 1) == "-");
    let word = sentence.lower(i + 1 + hyphen);
    let (units, most) = number(word).filter(|(units, most)| units == most && (1..=9).contains(units))?;
    let is_written_out = word.chars().all(char::is_alphabetic) && sentence.lower(i).chars().all(char::is_alphabetic);
    (is_written_out && !matches!(word, "a" | "an")).then_some((2 + hyphen, (tens + units, tens + most)))
}

/// The number that begins at word `i`, and how many words it takes; articles are no numbers by themselves.
pub(crate) fn at(sentence: &Sentence, i: usize) -> Option<(usize, Count)> {
    if sentence.lower(i) == "half" && sentence.lower(i + 1) == "a" && sentence.lower(i + 2) == "dozen" {
        return Some((3, Count::exactly(6)));
    }
    let (skipped, qualifier) = qualifier(sentence, i);
    let start = i + skipped;
    let first = number(sentence.lower(start)).filter(|_| !is_group(sentence, start))?;
    let is_article = matches!(sentence.lower(start), "a" | "an");
    let couple = start + usize::from(is_article);
    if sentence.lower(couple) == "couple" && !is_followed_by_noun(sentence, couple + 1) {
        return None; // `a couple dancing`
    }
    let second = sentence.lower(start + 1);
    // `a dozen`, `a few`, `two dozen`, `a couple`
    let (len, (min, max)) = match number(second) {
        _ if tens_and_units(sentence, start).is_some() => tens_and_units(sentence, start)?,
        Some((1000, _)) if second == "thousand" => (2, (LARGEST, LARGEST)),
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

fn is_followed_by_noun(sentence: &Sentence, i: usize) -> bool {
    sentence.get(i).is_some_and(|next| next.is_noun() || next.is_adjective() || matches!(next.tag, "CD" | "VBN"))
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
        check("twenty-five books", Some((3, 25, 25)));
        check("twenty five books", Some((2, 25, 25)));
        check("1,000 balloons", Some((1, 1000, 1000)));
        check("a thousand birds", Some((2, 1000, 1000)));
        check("a dozen roses", Some((2, 12, 12)));
        check("two dozen eggs", Some((2, 24, 24)));
        check("two or three dogs", Some((3, 2, 3)));
        check("2-3 dogs", Some((3, 2, 3)));
        check("at least five gulls", Some((3, 5, 9)));
        check("a few cats", Some((2, 2, 4)));
        check("half a dozen eggs", Some((3, 6, 6)));
        check("a couple dogs", Some((2, 2, 2)));
        check("a couple dancing under a lamp", None);
        check("a cat", None);
        check("dogs", None);
        check("lots of dogs", None);
        check("1999999 dogs", None);
    }
}
