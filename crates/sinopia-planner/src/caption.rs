//! What a caption says that a layout can be held to: counts, exclusions, where things stand, colours.
//!
//! This reads plain English with word lists, and rather too little than too much: a claim that is missed costs a check, a claim
//! that is misread costs a layout. Captions in other languages give no claims.

use std::collections::HashSet;

use crate::words::{self, Words};

/// One thing a caption says about its picture.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Claim {
    /// `three cats`.
    Count {
        /// What is counted, in the singular.
        noun: Noun,
        /// How many.
        count: usize,
    },
    /// `two people`: at least so many boxes, whatever they are called.
    AtLeast {
        /// The word of the caption.
        word: String,
        /// How many.
        count: usize,
    },
    /// `without dogs`, `no dogs`.
    Excluded(Noun),
    /// `a cat to the left of a dog`.
    Relation {
        /// What stands somewhere.
        subject: Noun,
        /// Where it stands.
        side: Side,
        /// What it stands there of.
        object: Noun,
    },
    /// `a cat on the left`.
    Place {
        /// What stands somewhere.
        subject: Noun,
        /// In which half of the picture.
        side: Side,
    },
    /// `a red book`.
    Colored {
        /// The thing, its colour among its adjectives.
        noun: Noun,
        /// The colour.
        color: String,
    },
}

/// A noun phrase of a caption in lower case, without its article.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Noun {
    /// The noun in the singular.
    pub head: String,
    /// The words before it.
    pub adjectives: Vec<String>,
}

/// A direction in the picture.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Side {
    /// Towards x = 0.
    Left,
    /// Away from x = 0.
    Right,
    /// Towards y = 0.
    Above,
    /// Away from y = 0.
    Below,
}

impl Side {
    /// The other end of the same axis.
    #[must_use]
    pub fn opposite(self) -> Side {
        match self {
            Side::Left => Side::Right,
            Side::Right => Side::Left,
            Side::Above => Side::Below,
            Side::Below => Side::Above,
        }
    }
}

impl std::fmt::Display for Side {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Side::Left => "left of",
            Side::Right => "right of",
            Side::Above => "above",
            Side::Below => "below",
        })
    }
}

impl Noun {
    fn new(words: &[&str]) -> Option<Noun> {
        let (head, adjectives) = words.split_last()?;
        let adjectives = adjectives.iter().map(|&word| word.to_owned()).collect();
        Some(Noun { head: words::singular(head), adjectives })
    }
}

impl std::fmt::Display for Noun {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        for adjective in &self.adjectives {
            write!(f, "{adjective} ")?;
        }
        f.write_str(&self.head)
    }
}

/// Everything that `caption` claims; nothing if it is not English.
///
/// ```
/// use sinopia_planner::caption::{Claim, claims};
///
/// let claims = claims("two red apples to the left of a sleeping cat, no dogs");
/// assert!(matches!(&claims[0], Claim::Count { noun, count: 2 } if noun.head == "apple"));
/// assert!(claims.iter().any(|claim| matches!(claim, Claim::Excluded(noun) if noun.head == "dog")));
/// ```
pub fn claims(caption: &str) -> Vec<Claim> {
    if !words::is_english(caption) {
        return Vec::new();
    }
    let words = Words::of(caption);
    let exclusions = exclusions(&words);
    let excluded = |index: usize| exclusions.iter().any(|exclusion| exclusion.range.contains(&index));
    let mut claims = counts(&words, &excluded);
    claims.extend(exclusions.iter().map(|exclusion| Claim::Excluded(exclusion.noun.clone())));
    claims.extend(places(&words, &excluded));
    claims.extend(colors(&words, &excluded));
    claims
}

/// Nouns after an article or a number, in order: what the caption talks about.
pub fn mentions(caption: &str) -> Vec<Noun> {
    if !words::is_english(caption) {
        return Vec::new();
    }
    let words = Words::of(caption);
    let exclusions = exclusions(&words);
    let free = |index: &usize| !exclusions.iter().any(|exclusion| exclusion.range.contains(index));
    let starts = (0..words.len()).filter(free).filter(|&i| words.is(i, words::ARTICLES) || words.number(i).is_some());
    starts.filter_map(|i| phrase_after(&words, i + 1)).map(|phrase| phrase.noun).collect()
}

/// Most words of a noun phrase, determiners included. What is longer is no English, and each of its words might begin another one.
const PHRASE_WORDS: usize = 32;

/// A noun phrase and where it stands in the caption.
struct Phrase {
    noun: Noun,
    /// The word after it.
    end: usize,
}

/// The noun phrase that begins at `start`, after its article.
fn phrase_after(words: &Words, start: usize) -> Option<Phrase> {
    let last = words.len().min(start + PHRASE_WORDS);
    let first = (start..last).find(|&index| !words.is(index, words::DETERMINERS))?;
    let end = (first..last).find(|&index| ends_phrase(words, first, index)).unwrap_or(last);
    if end == start + PHRASE_WORDS {
        return None;
    }
    let noun = Noun::new(&words.slice(first, end))?;
    Some(Phrase { noun, end })
}

/// Whether the word at `index` no longer belongs to the noun phrase that began at `first`.
fn ends_phrase(words: &Words, first: usize, index: usize) -> bool {
    let opens = words.is(index, words::BOUNDARIES) || words.is(index, words::DETERMINERS);
    let is_plural = |index: usize| words.get(index).is_some_and(words::is_plural);
    let closes = || {
        let is_verb =
            words.number(index - 1).is_none() && words::is_verb(|i, list| words.is(i, list), is_plural, index);
        is_verb || words.is(index, words::ANYWHERE)
    };
    if words.is_break(index) || opens || (index > first && closes()) {
        return true;
    }
    if words.is(index, &["left", "right"]) && index > first {
        return true;
    }
    // `two dogs sleeping on a sofa`, but `two sleeping dogs`.
    let follows = words.is_break(index + 1)
        || words.is(index + 1, words::BOUNDARIES)
        || words.is(index + 1, words::DETERMINERS)
        || index + 1 >= words.len();
    let is_verb = words.get(index).is_some_and(|word| word.len() > 4 && word.ends_with("ing"))
        && !words.is(index, words::NOUNS_IN_ING);
    is_verb && index > first && (follows || is_plural(index - 1))
}

fn counts(words: &Words, excluded: &impl Fn(usize) -> bool) -> Vec<Claim> {
    let mut claims = Vec::new();
    for index in 0..words.len() {
        let Some(count) = words.number(index) else { continue };
        let vague = index > 0 && words.is(index - 1, words::VAGUE);
        let open = words.is(index + 1, &["or", "to", "and"]);
        if excluded(index) || vague || open || words.number(index + 1).is_some() {
            continue;
        }
        let start =
            if words.is(index + 1, &["of"]) && words.is(index, &["pair", "couple"]) { index + 2 } else { index + 1 };
        let start = start + usize::from(words.is(start, &["dozen"]));
        let Some(Phrase { noun, end }) = phrase_after(words, start) else { continue };
        let shared = words.is(end, &["and", "or"]) && words.get(end + 1).is_some_and(words::is_plural);
        let several = words.get(end - 1).is_some_and(words::is_plural);
        if shared || several != (count > 1) || words::UNCOUNTED.contains(&noun.head.as_str()) {
            continue;
        }
        if words::COLLECTIVE.contains(&noun.head.as_str()) {
            let word = words.get(end - 1).unwrap_or_default().to_owned();
            claims.push(Claim::AtLeast { word, count });
        } else {
            claims.push(Claim::Count { noun, count });
        }
    }
    claims
}

struct Exclusion {
    noun: Noun,
    range: std::ops::Range<usize>,
}

fn exclusions(words: &Words) -> Vec<Exclusion> {
    let mut found: Vec<Exclusion> = Vec::new();
    let mut index = 0;
    while index < words.len() {
        let opener = words::exclusion_opener(|index, list| words.is(index, list), index);
        let start = index;
        index += 1;
        if opener == 0 {
            continue;
        }
        let mut next = start + opener;
        // `without dogs, cats or birds`: a comma only continues the list if an `or` ends it.
        while let Some(Phrase { noun, end }) = phrase_after(words, next) {
            if words::NOT_EXCLUDED.contains(&noun.head.as_str()) {
                break;
            }
            found.push(Exclusion { noun, range: start..end });
            index = end;
            let or = words.is(end, &["or", "nor"]);
            let listed = words.is_comma(end)
                && phrase_after(words, end + 1).is_some_and(|phrase| words.is(phrase.end, &["or", "nor"]));
            if !or && !listed {
                break;
            }
            next = end + 1;
        }
    }
    // `a dog without a hat beside a man with a hat`: the hat is not excluded from the picture.
    let mut is_excluded = vec![false; words.len()];
    found.iter().for_each(|exclusion| is_excluded[exclusion.range.clone()].fill(true));
    let elsewhere: HashSet<String> = (0..words.len())
        .filter(|&index| !is_excluded[index])
        .filter_map(|index| words.get(index).map(words::singular))
        .collect();
    let kept: Vec<bool> = found
        .iter()
        .map(|Exclusion { noun, .. }| !noun.adjectives.is_empty() || !elsewhere.contains(&noun.head))
        .collect();
    let mut kept = kept.into_iter();
    found.retain(|_| kept.next().unwrap_or(true));
    found
}

/// Where a phrase says that something stands.
struct Direction {
    subject: Noun,
    side: Side,
    /// What it is relative to; the picture if there is nothing.
    object: Option<Noun>,
}

fn places(words: &Words, excluded: &impl Fn(usize) -> bool) -> Vec<Claim> {
    let mut claims = Vec::new();
    let mut open: Vec<(Noun, Side)> = Vec::new();
    for index in (0..words.len()).filter(|&index| !excluded(index)) {
        let Some(Direction { subject, side, object }) = direction(words, index) else { continue };
        match object {
            Some(object) => claims.push(Claim::Relation { subject, side, object }),
            None => open.push((subject, side)),
        }
    }
    // `a cat on the left and a dog on the right` says where they stand to each other.
    let mut open = open.into_iter().peekable();
    while let Some((subject, side)) = open.next() {
        match open.next_if(|(_, other)| *other == side.opposite()) {
            Some((object, _)) => claims.push(Claim::Relation { subject, side, object }),
            None => claims.push(Claim::Place { subject, side }),
        }
    }
    claims
}

/// The direction that the word at `index` names, if it does and says of what.
fn direction(words: &Words, index: usize) -> Option<Direction> {
    let (side, relative) = match words.get(index)? {
        "left" => (Side::Left, false),
        "right" => (Side::Right, false),
        "top" => (Side::Above, false),
        "bottom" => (Side::Below, false),
        "above" => (Side::Above, true),
        "below" | "under" | "beneath" | "underneath" => (Side::Below, true),
        _ => return None,
    };
    let mut start = index; // first word of the expression
    if !relative {
        let in_corner = index > 0 && words.is(index - 1, &["top", "bottom", "upper", "lower"]);
        start -= usize::from(in_corner);
        let article = start > 0 && words.is(start - 1, &["the", "its"]);
        start -= usize::from(article);
        let preposition = start > 0 && words.is(start - 1, &["on", "to", "at", "in"]);
        start -= usize::from(preposition);
        let named_side = article && preposition;
        let of = words.is(index + 1, &["of"]) || (words.is(index + 1, &["side"]) && words.is(index + 2, &["of"]));
        if !(named_side || (of && (preposition || matches!(side, Side::Left | Side::Right)))) {
            return None;
        }
    }
    let mut next = index + 1;
    if !relative {
        // `in the top left corner` is read at its second word.
        next += usize::from(words.is(next, &["side", "corner", "half", "edge", "part"]));
        if words.is(next, &["left", "right"]) {
            return None;
        }
        let of = words.is(next, &["of"]);
        if !of {
            let subject = subject_before(words, start).or_else(|| subject_after(words, start, next));
            return subject.map(|subject| Direction { subject, side, object: None });
        }
        next += 1;
    }
    let Phrase { noun: object, end } = phrase_after(words, next)?;
    let subject = subject_before(words, start).or_else(|| subject_after(words, start, end))?;
    let object = (!words::PICTURE.contains(&object.head.as_str())).then_some(object);
    if object.as_ref().is_some_and(|object| words::PRONOUNS.contains(&object.head.as_str())) {
        return None;
    }
    Some(Direction { subject, side, object })
}

/// The noun phrase that ends before `end`, verbs and adverbs between them left out.
fn subject_before(words: &Words, end: usize) -> Option<Noun> {
    let skipped = |index: usize| {
        words.is(index, words::LINKING)
            || words.is(index, words::FINITE_VERBS)
            || words.get(index).is_some_and(|word| word.len() > 4 && word.ends_with("ing"))
    };
    let mut last = end;
    while last > 0 && skipped(last - 1) {
        last -= 1;
    }
    let mut first = last;
    while first > 0 {
        let before = first - 1;
        let stops = words.is_break(before)
            || words.is(before, words::BOUNDARIES)
            || words.is(before, words::DETERMINERS)
            || words.number(before).is_some();
        if stops {
            break;
        }
        first = before;
    }
    // `a cup in blue is on the left`
    if last - first == 1 && words.is(first, words::COLORS) && first > 0 && words.is(first - 1, &["in"]) {
        return subject_before(words, first - 1);
    }
    let noun = Noun::new(&words.slice(first, last))?;
    let usable = !words::PICTURE.contains(&noun.head.as_str()) && !words::PRONOUNS.contains(&noun.head.as_str());
    usable.then_some(noun)
}

/// The noun phrase that a clause names behind a place at its head: `on the left there is a dog`.
fn subject_after(words: &Words, place: usize, place_end: usize) -> Option<Noun> {
    let opens_clause = place == 0 || words.is_break(place - 1) || words.is(place - 1, &["and", "while", "but"]);
    if !opens_clause {
        return None;
    }
    let leads = |index: usize| {
        words.is_comma(index)
            || words.is(index, words::LINKING)
            || words.is(index, words::INTRODUCING)
            || words::is_anyone(|index, list| words.is(index, list), index)
    };
    let first = (place_end..words.len()).find(|&index| !leads(index))?;
    let is_named = words.is(first, words::ARTICLES) || words.number(first).is_some();
    if !is_named {
        return None;
    }
    let noun = phrase_after(words, first + 1)?.noun;
    let usable = !words::PICTURE.contains(&noun.head.as_str()) && !words::PRONOUNS.contains(&noun.head.as_str());
    usable.then_some(noun)
}

fn colors(words: &Words, excluded: &impl Fn(usize) -> bool) -> Vec<Claim> {
    let mut claims = Vec::new();
    for index in (0..words.len()).filter(|&index| !excluded(index)) {
        if !words.is(index, words::ARTICLES) && words.number(index).is_none() {
            continue;
        }
        let Some(Phrase { noun, .. }) = phrase_after(words, index + 1) else { continue };
        let color = noun.adjectives.iter().find(|word| words::COLORS.contains(&word.as_str())).cloned();
        let is_thing = !words::PICTURE.contains(&noun.head.as_str()) && !words::COLORS.contains(&noun.head.as_str());
        if let Some(color) = color
            && is_thing
        {
            claims.push(Claim::Colored { noun, color });
        }
    }
    claims
}

#[cfg(test)]
mod tests {
    use super::*;

    fn told(caption: &str) -> Vec<String> {
        claims(caption)
            .into_iter()
            .map(|claim| match claim {
                Claim::Count { noun, count } => format!("{count}×{noun}"),
                Claim::AtLeast { word, count } => format!("≥{count} {word}"),
                Claim::Excluded(noun) => format!("no {noun}"),
                Claim::Relation { subject, side, object } => format!("{subject} {side} {object}"),
                Claim::Place { subject, side } => format!("{subject} {side} middle"),
                Claim::Colored { noun, color } => format!("{color}: {noun}"),
            })
            .collect()
    }

    #[track_caller]
    fn check(caption: &str, expected: &[&str]) {
        assert_eq!(told(caption), expected, "{caption}");
    }

    #[test]
    fn counts_are_numbers_before_nouns() {
        check("A realistic photo of a scene with three cats", &["3×cat"]);
        check("one cat and 4 small dogs", &["1×cat", "4×small dog"]);
        check("a pair of shoes", &["2×shoe"]);
        check("two mice and five sheep in a field", &["2×mouse", "5×sheep"]);
        check("two dogs sleeping on the sofa", &["2×dog"]);
        check("two big sleeping dogs", &["2×big sleeping dog"]);
        check("two men riding horses", &["2×man"]);
        check("two bowls of soup on a table", &["2×bowl"]);
        check("three people at the beach", &["≥3 people"]);
        check("two gold watches on a table", &["2×gold watch", "gold: gold watch"]);
        check("two black flies and two cans of soda", &["2×black fly", "2×can", "black: black fly"]);
        check("two planes landing on a runway", &["2×plane"]);
    }

    #[test]
    fn numbers_that_count_no_things_are_left_alone() {
        for caption in [
            "two or three cats on a wall",
            "at least two cats on a wall",
            "a tower of two hundred meters",
            "a two-story house",
            "a picture in two colors",
            "one of the cats is on a wall",
            "two of the cats",
            "two cats and dogs in a park",
            "a cat that is three years old",
        ] {
            check(caption, &[]);
        }
    }

    #[test]
    fn exclusions_end_where_their_list_ends() {
        check("A realistic photo of a scene without backpacks", &["no backpack"]);
        check("a street with no cars or people", &["no car", "no person"]);
        check("a street, and there are no dogs anywhere in it", &["no dog"]);
        check("a table without apples, pears or plums", &["no apple", "no pear", "no plum"]);
        check("a table without apples, a cat sits on it", &["no apple"]);
        check("a garden free of weeds", &["no weed"]);
        check("a wooden table without bananas in an indoor scene", &["no banana"]);
        check("a dog without a hat beside a man with a hat", &[]);
        check("no one is on the beach", &[]);
        check("a man with no red hat and a woman with a hat", &["no red hat"]);
    }

    #[test]
    fn directions_name_what_stands_where() {
        check("a cat to the left of a dog", &["cat left of dog"]);
        check("a cat sitting on the right side of a white dog", &["cat right of white dog", "white: white dog"]);
        check("a bird above the house", &["bird above house"]);
        check("a cat is under a table", &["cat below table"]);
        check("a book on top of a table", &["book above table"]);
        check("a scene with a cat on the left and a dog on the right", &["cat left of dog"]);
        check("a scene with a cat on the bottom and a dog on the top", &["cat below dog"]);
        check("a cat on the left of the picture", &["cat left of middle"]);
        check("a moon in the top left corner", &["moon left of middle"]);
        check(
            "In an indoor scene, a blue cube directly above a red cube with a vase on the left of them",
            &["blue cube above red cube", "blue: blue cube", "red: red cube"],
        );
        check(
            "On the left there is a red car, and on the right stands a dog.",
            &["red car left of dog", "red: red car"],
        );
        check("To the right of the bowl you can see a cup", &["cup right of bowl"]);
        check("a purple dog can be seen on the left", &["purple dog left of middle", "purple: purple dog"]);
        check("a cup in blue is on the left", &["cup left of middle"]);
        check("a street. At the top, a bird", &["bird above middle"]);
        check("A clock. It hangs at the top, a lamp stands below it", &[]);
        check("A painting to the left of a window, a dog on a sofa", &[]);
        check("a man raises his left hand", &[]);
        check("the top of a hill", &[]);
    }

    #[test]
    fn colours_belong_to_their_noun() {
        check("a red book and a blue car", &["red: red book", "blue: blue car"]);
        check("a white and black dog", &[]);
        check("a black and white photo of a dog", &[]);
    }

    #[test]
    fn the_example_of_the_readme() {
        check(
            "two red apples to the left of a sleeping cat, no dogs",
            &["2×red apple", "no dog", "red apple left of sleeping cat", "red: red apple"],
        );
    }

    #[test]
    fn other_languages_and_empty_captions_claim_nothing() {
        for caption in ["drei Katzen auf dem Sofa", "3 gatos con un perro", "двое котов", "三只猫", "", "   "]
        {
            check(caption, &[]);
        }
    }

    /// Words of which each could begin a phrase of all that follow: read as they are, they would take minutes.
    #[test]
    fn captions_that_never_end_a_phrase_claim_little() {
        for words in
            ["two ", "a ", "red ", "a two ", "no cat ", "without red ", "the left ", "a x, ", "no a or ", "on the top "]
        {
            let caption: String = words.chars().cycle().take(4000).collect();
            let longest = mentions(&caption).iter().map(|noun| noun.adjectives.len()).max().unwrap_or(0);
            assert!(longest < PHRASE_WORDS, "{words}: {longest}");
            assert!(claims(&caption).len() <= 4000, "{words}");
        }
    }

    proptest::proptest! {
        #[test]
        fn no_text_makes_it_panic(caption in "\\PC{0,80}") {
            let _ = (claims(&caption), mentions(&caption));
        }

        #[test]
        fn no_order_of_its_own_words_makes_it_panic(indices in proptest::collection::vec(0_usize..24, 0..20)) {
            const WORDS: [&str; 24] = [
                "two", "a", "the", "pair", "of", "cats", "dog", "red", "no", "without", "or", ",", "left", "right", "top", "on",
                "to", "in", "side", "above", "sleeping", "and", "picture", "free",
            ];
            let caption = indices.into_iter().map(|index| WORDS[index]).collect::<Vec<_>>().join(" ");
            let _ = (claims(&caption), mentions(&caption));
        }
    }

    #[test]
    fn quoted_words_are_not_read() {
        check("a sign that says \"no dogs, two cats\"", &[]);
    }
}
