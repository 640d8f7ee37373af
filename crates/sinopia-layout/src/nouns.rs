//! Counted noun phrases in English: `a bowl of soup` three times is `three bowls of soup`.

use num2words::Num2Words;

/// How a name that occurs several times is put into the overall prompt.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum CountNaming {
    /// A leading article is removed and the head noun becomes plural; a noun that is plural already stays.
    #[default]
    Fixed,
    /// As published: every `an ` and then every `a ` is removed wherever it stands, so that `a panda bear` becomes
    /// `pandbears`. The published library also makes `catss` of `cats`; that is not imitated.
    Published,
}

/// Words that a noun can be followed by without being the last of its phrase.
const PREPOSITIONS: &[&str] = &[
    "about",
    "above",
    "across",
    "after",
    "against",
    "along",
    "among",
    "around",
    "at",
    "behind",
    "below",
    "beneath",
    "beside",
    "between",
    "beyond",
    "by",
    "for",
    "from",
    "in",
    "inside",
    "into",
    "near",
    "of",
    "off",
    "on",
    "onto",
    "over",
    "that",
    "through",
    "to",
    "toward",
    "towards",
    "under",
    "underneath",
    "upon",
    "which",
    "who",
    "with",
    "within",
    "without",
];

/// Participles that describe the noun before them, if no noun of their own follows.
const PARTICIPLES: &[&str] = &[
    "carrying", "climbing", "drinking", "driving", "eating", "facing", "flying", "hanging", "holding", "jumping",
    "kneeling", "leaning", "looking", "lying", "playing", "reading", "resting", "riding", "running", "sitting",
    "sleeping", "smiling", "standing", "swimming", "walking", "watching", "wearing",
];

/// The phrase for `count` things of this name: the name itself for one, else `two blue dogs`.
pub fn counted_phrase(name: &str, count: usize, naming: CountNaming) -> String {
    if count == 1 {
        return name.to_owned();
    }
    let bare = match naming {
        CountNaming::Fixed => without_article(name).to_owned(),
        CountNaming::Published => name.replace("an ", "").replace("a ", ""),
    };
    format!("{} {}", number_word(count), plural(&bare))
}

/// The English word for a number: `two`, `twenty-one`.
pub fn number_word(count: usize) -> String {
    let number = i64::try_from(count).ok().and_then(|count| Num2Words::new(count).to_words().ok());
    number.unwrap_or_else(|| count.to_string())
}

/// The indefinite article of a phrase: `an` before a vowel that is heard.
///
/// ```
/// use sinopia_layout::nouns::article;
/// assert_eq!([article("orange cat"), article("unicorn"), article("hourglass")], ["an", "a", "an"]);
/// ```
pub fn article(phrase: &str) -> &'static str {
    let word = phrase.split_whitespace().next().unwrap_or_default().to_lowercase();
    let is_silent_h = ["hour", "honest", "heir"].iter().any(|start| word.starts_with(start));
    let is_you = ["uni", "use", "eu", "one", "ufo", "ut"].iter().any(|start| word.starts_with(start))
        && !word.starts_with("unin");
    let vowel = word.starts_with(['a', 'e', 'i', 'o', 'u']) && !is_you;
    if vowel || is_silent_h { "an" } else { "a" }
}

/// The noun phrase in the plural; only its head noun changes.
pub fn plural(phrase: &str) -> String {
    inflected(phrase, 2)
}

/// The noun phrase in the singular; only its head noun changes.
///
/// ```
/// use sinopia_layout::nouns::singular;
/// assert_eq!(singular("red bowls of soup"), "red bowl of soup");
/// ```
pub fn singular(phrase: &str) -> String {
    inflected(phrase, 1)
}

fn inflected(phrase: &str, count: isize) -> String {
    let words: Vec<&str> = phrase.split(' ').collect();
    let head = head_noun(&words);
    let mut words: Vec<String> = words.iter().map(|&word| word.to_owned()).collect();
    if let Some(word) = words.get_mut(head) {
        *word = pluralizer::pluralize(word, count, false);
    }
    words.join(" ")
}

/// The noun that a phrase is about: `bowl` in `a bowl of soup`, `cat` in `a sleeping cat`, `man` in `a man holding a kite`.
/// Empty for an empty phrase.
///
/// ```
/// use sinopia_layout::nouns::head;
/// assert_eq!(head("a white bowl of soup"), "bowl");
/// ```
pub fn head(phrase: &str) -> &str {
    let words: Vec<&str> = phrase.split_whitespace().collect();
    words.get(head_noun(&words)).copied().unwrap_or_default()
}

/// The name without `a`, `an` or `the` in front.
fn without_article(name: &str) -> &str {
    match name.split_once(' ') {
        Some((article, rest)) if is_article(article) && !rest.trim().is_empty() => rest.trim_start(),
        _ => name,
    }
}

fn is_article(word: &str) -> bool {
    ["a", "an", "the"].iter().any(|article| word.eq_ignore_ascii_case(article))
}

/// Index of the noun that a count applies to: the word before the first preposition or describing participle, or
/// the last word.
fn head_noun(words: &[&str]) -> usize {
    let describes = |index: usize| {
        let follows = |next: &&str| is_article(next) || is_one_of(next, PREPOSITIONS);
        let object_follows = words.get(index + 1).is_none_or(follows);
        let takes_object = ["carrying", "holding", "wearing"].contains(&words[index].to_lowercase().as_str());
        is_one_of(words[index], PREPOSITIONS)
            || (is_one_of(words[index], PARTICIPLES) && (object_follows || takes_object))
    };
    let end = (1..words.len()).find(|&index| describes(index)).unwrap_or(words.len());
    end.saturating_sub(1)
}

fn is_one_of(word: &str, list: &[&str]) -> bool {
    list.iter().any(|known| word.eq_ignore_ascii_case(known))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn plurals() {
        for (singular, expected) in [
            ("cat", "cats"),
            ("box", "boxes"),
            ("glass", "glasses"),
            ("puppy", "puppies"),
            ("toy", "toys"),
            ("knife", "knives"),
            ("mouse", "mice"),
            ("child", "children"),
            ("person", "people"),
            ("goose", "geese"),
            ("sheep", "sheep"),
            ("fish", "fish"),
            ("flower vase", "flower vases"),
            ("bowl of soup", "bowls of soup"),
            ("man in red", "men in red"),
            ("woman wearing a hat", "women wearing a hat"),
            ("cat sitting", "cats sitting"),
            ("flying saucer", "flying saucers"),
            ("blue flying saucer", "blue flying saucers"),
            ("red building", "red buildings"),
            ("cats", "cats"),
            ("scissors", "scissors"),
            ("", ""),
        ] {
            assert_eq!(plural(singular), expected, "{singular}");
        }
    }

    #[test]
    fn the_benchmarks_objects() {
        for name in ["backpack", "book", "bottle", "bowl", "car", "cat", "chair", "cup", "dog", "laptop"] {
            assert_eq!(counted_phrase(&format!("a {name}"), 3, CountNaming::Fixed), format!("three {name}s"));
            assert_eq!(counted_phrase(&format!("a {name}"), 3, CountNaming::Published), format!("three {name}s"));
        }
    }

    #[test]
    fn only_a_leading_article_goes() {
        let check = |name: &str, fixed: &str, published: &str| {
            assert_eq!(counted_phrase(name, 2, CountNaming::Fixed), fixed);
            assert_eq!(counted_phrase(name, 2, CountNaming::Published), published);
        };
        check("a panda bear", "two panda bears", "two pandbears");
        check("a human figure", "two human figures", "two humfigures");
        check("An apple", "two apples", "two An apples");
        check("a bowl of a kind", "two bowls of a kind", "two bowls of kind");
    }

    #[test]
    fn one_is_left_alone_and_numbers_are_words() {
        assert_eq!(counted_phrase("an orange cat", 1, CountNaming::Fixed), "an orange cat");
        assert_eq!(number_word(10), "ten");
        assert_eq!(number_word(21), "twenty-one");
    }
}
