//! Words of an English caption and the lists that tell them apart.

/// A caption as lower-case words; punctuation that ends a phrase is a word of its own.
pub(crate) struct Words(Vec<String>);

impl Words {
    pub(crate) fn of(caption: &str) -> Self {
        let mut words = Vec::new();
        for token in without_quotations(caption).to_lowercase().split_whitespace() {
            let token = token.trim_start_matches(|c: char| !c.is_alphanumeric());
            let bare = token.trim_end_matches(|c: char| !c.is_alphanumeric());
            if !bare.is_empty() {
                words.push(bare.to_owned());
            }
            let comma = token[bare.len()..].starts_with(',');
            if token.len() > bare.len() {
                words.push(if comma { "," } else { "." }.to_owned());
            }
        }
        Words(words)
    }

    pub(crate) fn len(&self) -> usize {
        self.0.len()
    }

    pub(crate) fn get(&self, index: usize) -> Option<&str> {
        self.0.get(index).map(String::as_str)
    }

    pub(crate) fn slice(&self, first: usize, end: usize) -> Vec<&str> {
        self.0.get(first..end).unwrap_or_default().iter().map(String::as_str).collect()
    }

    pub(crate) fn is(&self, index: usize, list: &[&str]) -> bool {
        self.get(index).is_some_and(|word| list.contains(&word))
    }

    pub(crate) fn is_break(&self, index: usize) -> bool {
        self.is(index, &[",", "."])
    }

    pub(crate) fn is_comma(&self, index: usize) -> bool {
        self.is(index, &[","])
    }

    /// The number that begins at this word, up to [`LARGEST_NUMBER`]: `3`, `three`, `twenty-five`, `two dozen`; `pair` and `couple` are two.
    pub(crate) fn number(&self, index: usize) -> Option<usize> {
        let word = self.get(index)?;
        if is_anyone(|index, list| self.is(index, list), index) {
            return None;
        }
        if ["pair", "couple"].contains(&word) && self.is(index + 1, &["of"]) {
            return Some(2);
        }
        if word == "dozen" {
            let counted = index > 0 && self.get(index - 1).is_some_and(|before| number(before).is_some());
            return (!counted).then_some(12);
        }
        let dozens = if self.is(index + 1, &["dozen"]) { 12 } else { 1 };
        number(word).map(|number| number * dozens).filter(|number| *number <= LARGEST_NUMBER)
    }
}

/// Larger numbers count no things in a picture: years, distances.
const LARGEST_NUMBER: usize = 100;

/// The number that one word is.
fn number(word: &str) -> Option<usize> {
    let of_word = |word: &str| NUMBERS.iter().position(|&number| number == word).map(|position| position + 1);
    let tens = |word: &str| TENS.iter().position(|&tens| tens == word).map(|position| 10 * (position + 2));
    if let Some((first, second)) = word.split_once('-') {
        return Some(tens(first)? + of_word(second).filter(|unit| *unit < 10)?);
    }
    let digits =
        || word.parse().ok().filter(|number| (1..=LARGEST_NUMBER).contains(number) && !word.starts_with(['0', '+']));
    of_word(word).or_else(|| tens(word)).or_else(digits)
}

/// The caption without what stands in double quotation marks.
fn without_quotations(caption: &str) -> String {
    let straight = caption.replace(['“', '”', '„'], "\"");
    let parts = straight.split('"');
    // Only a closed quotation is left out: an odd part that another follows.
    let count = straight.matches('"').count();
    parts.enumerate().filter(|(i, _)| i % 2 == 0 || *i >= count).map(|(_, part)| part).collect::<Vec<_>>().join(" ")
}

/// Whether the word lists apply: Latin letters, and no small word that only another language has.
pub(crate) fn is_english(caption: &str) -> bool {
    let letters = caption.chars().filter(|c| c.is_alphabetic()).count();
    let ascii = caption.chars().filter(char::is_ascii_alphabetic).count();
    let words = Words::of(caption);
    let foreign = (0..words.len()).any(|index| words.is(index, FOREIGN));
    // `dwa czerwone jabłka i kot`: letters that English has not, and none of its small words.
    let strange = ascii < letters && words.len() >= 3 && !(0..words.len()).any(|index| words.is(index, ENGLISH));
    letters > 0 && ascii * 10 >= letters * 9 && !foreign && !strange
}

/// How many words at `index` say that what follows must not be there: `without`, `free of`; 0 if none do. `is` tells whether a word is in a list.
pub(crate) fn exclusion_opener(is: impl Fn(usize, &[&str]) -> bool, index: usize) -> usize {
    match () {
        () if is(index, &["without", "excluding", "no", "zero", "0"]) => 1,
        () if is(index, &["free"]) && is(index + 1, &["of"]) => 2,
        () if is(index, &["not"]) && is(index + 1, &["any"]) => 2,
        () => 0,
    }
}

/// The singular of a noun; a noun that has no other form stays.
pub(crate) fn singular(word: &str) -> String {
    pluralizer::pluralize(word, 1, false)
}

/// Whether the word is a plural, or a noun whose plural looks the same.
pub(crate) fn is_plural(word: &str) -> bool {
    let singular = singular(word);
    singular != word || (!word.ends_with("ing") && pluralizer::pluralize(word, 2, false) == word)
}

const NUMBERS: &[&str] = &[
    "one",
    "two",
    "three",
    "four",
    "five",
    "six",
    "seven",
    "eight",
    "nine",
    "ten",
    "eleven",
    "twelve",
    "thirteen",
    "fourteen",
    "fifteen",
    "sixteen",
    "seventeen",
    "eighteen",
    "nineteen",
    "twenty",
];

/// What has a colour and is no thing.
pub(crate) const SURROUNDINGS: &[&str] = &[
    "snow",
    "ice",
    "sand",
    "rain",
    "fog",
    "sky",
    "sea",
    "ocean",
    "water",
    "grass",
    "field",
    "wall",
    "light",
    "sunset",
    "sunrise",
    "floor",
    "landscape",
    "forest",
];

const TENS: &[&str] = &["twenty", "thirty", "forty", "fifty", "sixty", "seventy", "eighty", "ninety"];

/// Small words that nearly every English caption has one of.
const ENGLISH: &[&str] =
    &["a", "an", "the", "of", "with", "and", "in", "on", "no", "to", "two", "three", "at", "by", "next", "without"];

pub(crate) const ARTICLES: &[&str] = &["a", "an", "the"];

pub(crate) const DETERMINERS: &[&str] = &[
    "a", "an", "the", "any", "some", "his", "her", "its", "their", "my", "your", "our", "this", "that", "these",
    "those",
];

/// Words that cannot stand inside a noun phrase.
pub(crate) const BOUNDARIES: &[&str] = &[
    "about",
    "above",
    "across",
    "after",
    "against",
    "along",
    "among",
    "and",
    "are",
    "around",
    "as",
    "at",
    "be",
    "before",
    "behind",
    "being",
    "below",
    "beneath",
    "beside",
    "besides",
    "between",
    "but",
    "by",
    "each",
    "excluding",
    "for",
    "from",
    "has",
    "have",
    "having",
    "held",
    "in",
    "inside",
    "into",
    "is",
    "it",
    "lies",
    "lie",
    "near",
    "next",
    "no",
    "nor",
    "not",
    "of",
    "off",
    "on",
    "onto",
    "or",
    "over",
    "sit",
    "sits",
    "stand",
    "stands",
    "through",
    "to",
    "toward",
    "towards",
    "under",
    "underneath",
    "upon",
    "was",
    "were",
    "where",
    "which",
    "while",
    "who",
    "with",
    "within",
    "without",
    "there",
    "then",
    "directly",
    "placed",
    "located",
    "both",
    "plus",
];

/// Words between a thing and where it stands.
pub(crate) const LINKING: &[&str] = &[
    "is",
    "are",
    "was",
    "were",
    "be",
    "being",
    "directly",
    "just",
    "immediately",
    "slightly",
    "far",
    "placed",
    "located",
    "positioned",
    "situated",
    "sits",
    "sit",
    "stands",
    "stand",
    "lies",
    "lie",
    "sat",
    "that",
    "which",
    "who",
    "right",
    "can",
    "could",
    "seen",
    "visible",
    "shown",
];

/// Words that make a number vague.
pub(crate) const VAGUE: &[&str] =
    &["least", "most", "than", "about", "around", "or", "to", "nearly", "almost", "roughly", "approximately"];

/// Nouns that numbers measure rather than count.
pub(crate) const UNCOUNTED: &[&str] = &[
    "meter",
    "metre",
    "foot",
    "inch",
    "mile",
    "kilometer",
    "year",
    "hour",
    "minute",
    "day",
    "night",
    "week",
    "month",
    "time",
    "color",
    "colour",
    "side",
    "story",
    "storey",
    "floor",
    "percent",
    "degree",
    "dimension",
    "hundred",
    "thousand",
    "million",
    "dozen",
    "pair",
    "group",
    "row",
    "set",
    "kind",
    "type",
    "part",
    "half",
    "third",
    "one",
    "another",
    "other",
    "o'clock",
    "am",
    "pm",
    "k",
    "d",
    "left",
    "right",
    "corner",
    "end",
    "hand",
    "point",
    "way",
    "stack",
    "pile",
    "bunch",
    "slice",
    "piece",
    "pack",
    "line",
    "column",
    "angle",
    "size",
    "style",
    "shade",
    "layer",
];

/// Nouns whose members go by other names: the boxes of *two animals* may be `a dog` and `a cat`.
pub(crate) const COLLECTIVE: &[&str] = &[
    "people",
    "person",
    "animal",
    "thing",
    "object",
    "item",
    "fruit",
    "vegetable",
    "vehicle",
    "toy",
    "friend",
    "figure",
    "pet",
    "bird",
    "child",
    "kid",
    "adult",
    "player",
    "character",
    "creature",
    "shape",
    "tool",
    "instrument",
    "flower",
    "adventurer",
];

/// What *no* before it does not exclude.
pub(crate) const NOT_EXCLUDED: &[&str] = &[
    "one",
    "longer",
    "doubt",
    "matter",
    "more",
    "less",
    "other",
    "way",
    "idea",
    "need",
    "parking sign",
    "entry",
    "smoking",
    "parking",
    "trespassing",
    "time",
];

/// Words for the whole picture.
pub(crate) const PICTURE: &[&str] = &[
    "picture",
    "image",
    "photo",
    "photograph",
    "painting",
    "scene",
    "frame",
    "canvas",
    "screen",
    "view",
    "composition",
    "background",
    "foreground",
    "drawing",
    "illustration",
    "shot",
];

pub(crate) const PRONOUNS: &[&str] =
    &["it", "them", "him", "her", "he", "she", "they", "other", "another", "each", "itself", "themselves", "one"];

/// Words behind what is excluded that say no more than that it is.
pub(crate) const ANYWHERE: &[&str] = &["anywhere", "around", "visible", "there", "whatsoever", "nearby"];

/// Words between a place at the head of a clause and what stands there: `on the left there is a dog`, `below it you can see a cat`.
pub(crate) const INTRODUCING: &[&str] = &["there", "you", "we", "can", "could", "see", "find", "also"];

/// Nouns that only look like verbs and participles.
pub(crate) const NOUNS_IN_ING: &[&str] = &[
    "evening",
    "morning",
    "building",
    "ceiling",
    "clothing",
    "spring",
    "string",
    "swing",
    "thing",
    "earring",
    "wedding",
    "pudding",
    "railing",
    "duckling",
    "sling",
    "offspring",
    "viking",
    "icing",
    "awning",
    "lightning",
    "herring",
    "starling",
    "dumpling",
    "sapling",
    "stocking",
    "gosling",
    "painting",
];

/// Whether the word at `index` is a verb behind a noun. `is` tells whether a word is in a list, `is_plural` whether it is a plural.
pub(crate) fn is_verb(is: impl Fn(usize, &[&str]) -> bool, is_plural: impl Fn(usize) -> bool, index: usize) -> bool {
    let Some(before) = index.checked_sub(1) else { return false };
    // `two black flies`, `a can`: there is no noun yet.
    if is(before, COLORS) || is(before, DETERMINERS) || is(before, BOUNDARIES) {
        return false;
    }
    is(index, FINITE_VERBS)
        || (is_plural(before) && is(index, PLURAL_VERBS))
        || (is(index, &["can", "could"]) && is(index + 1, &["be", "see", "not"]))
        || is(index, &["you", "we"])
        || is_anyone(&is, index)
        || (is(index, &["close"]) && is(index + 1, &["to", "by"]))
}

/// Whether `one` at `index` is whoever looks: `one can see a cat`, but `one can of soup`.
pub(crate) fn is_anyone(is: impl Fn(usize, &[&str]) -> bool, index: usize) -> bool {
    let looks = |index: usize| is(index, &["see", "find", "spot", "notice", "also"]);
    is(index, &["one"]) && (is(index + 1, &["sees", "finds"]) || (is(index + 1, &["can", "could"]) && looks(index + 2)))
}

/// Verbs that no noun phrase goes on after.
pub(crate) const FINITE_VERBS: &[&str] = &[
    "stands", "sits", "lies", "rests", "leans", "jumps", "runs", "sleeps", "flies", "walks", "plays", "eats", "rides",
    "swims", "dances", "hangs", "floats", "grows", "waits", "shines", "appears", "shows", "depicts", "contains",
    "captures", "hovers", "has", "have",
];

/// The same of plurals: `fishes swim`, but `a fly`.
const PLURAL_VERBS: &[&str] = &[
    "sit", "lie", "rest", "lean", "sleep", "fly", "swim", "hang", "float", "grow", "wait", "shine", "appear", "hover",
];

/// Pronouns that stand for a thing told of elsewhere, wherever they stand.
pub(crate) const STAND_INS: &[&str] =
    &["it", "them", "him", "he", "she", "they", "itself", "themselves", "you", "we", "i"];

pub(crate) const COLORS: &[&str] = &[
    "red",
    "orange",
    "yellow",
    "green",
    "blue",
    "purple",
    "pink",
    "brown",
    "black",
    "white",
    "gray",
    "grey",
    "golden",
    "gold",
    "silver",
    "turquoise",
    "violet",
    "beige",
];

/// Small words of other languages that are no English words.
const FOREIGN: &[&str] = &[
    "der", "das", "und", "ein", "eine", "einem", "einer", "auf", "mit", "ohne", "dem", "den", "le", "les", "une", "et",
    "avec", "sur", "sans", "du", "des", "el", "los", "una", "con", "sin", "y", "unos", "il", "gli", "di", "della",
    "uno", "e", "um", "uma", "com", "sem", "het", "een", "met", "zonder", "og", "en", "på", "och", "med", "ett",
    "jeden", "dva", "deux", "trois", "quatre", "cinq", "dos", "tres", "cuatro", "cinco", "unas", "dois", "duas",
    "zwei", "drei", "vier", "due", "quattro", "twee", "drie", "två", "tre", "dwa", "trzy", "cztery", "dans", "aux",
    "gato", "perro", "gatos", "perros",
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn punctuation_is_a_word_and_case_is_gone() {
        assert_eq!(Words::of("A red, round Ball (big).").0, ["a", "red", ",", "round", "ball", "big", "."]);
        assert_eq!(Words::of("the dog's \"no entry\" sign").0, ["the", "dog's", "sign"]);
        assert_eq!(Words::of("an open \"quotation").0, ["an", "open", "quotation"]);
    }

    #[test]
    fn plurals() {
        for word in ["cats", "mice", "sheep", "glasses", "buses", "children"] {
            assert!(is_plural(word), "{word}");
        }
        for word in ["cat", "glass", "bus", "sleeping", "table"] {
            assert!(!is_plural(word), "{word}");
        }
    }

    #[test]
    fn numbers_as_words_and_digits() {
        let words = Words::of("two 3 07 twenty 21 101 pair of pair cat");
        let numbers: Vec<_> = (0..words.len()).map(|index| words.number(index)).collect();
        assert_eq!(numbers, [Some(2), Some(3), None, Some(20), Some(21), None, Some(2), None, None, None]);
        let words = Words::of("two dozen roses, a dozen eggs, thirty-five cats");
        let numbers: Vec<_> = (0..words.len()).filter_map(|index| words.number(index)).collect();
        assert_eq!(numbers, [24, 12, 35]);
        assert_eq!(Words::of("one can see").number(0), None);
        assert_eq!(Words::of("one can of soup").number(0), Some(1));
    }
}
