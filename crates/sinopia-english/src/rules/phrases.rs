//! Noun phrases: from an article or number over adjectives and nouns to the last noun.

use std::ops::Range;

use super::counts;
use super::links::Link;
use super::tags::counted_tag;
use crate::analysis::Count;
use crate::nouns::{NounClass, Nouns};
use crate::sentence::{Sentence, Word};
use crate::words::Words;

/// What a phrase begins with.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Determiner {
    /// Nothing, or an adjective.
    Bare,
    /// a, an, one of …
    Indefinite,
    /// the, this …
    Definite,
    /// its, her …
    Possessive,
    /// A number.
    Number,
    /// no, neither.
    No,
}

/// A noun with what belongs to it.
#[derive(Debug, Clone)]
pub(crate) struct Phrase {
    /// All of it.
    pub(crate) words: Range<usize>,
    /// Without article and number.
    pub(crate) core: Range<usize>,
    /// The noun.
    pub(crate) head: usize,
    pub(crate) determiner: Determiner,
    pub(crate) count: Count,
    /// Its noun in the singular with the nouns before it.
    pub(crate) name: String,
    pub(crate) class: NounClass,
    /// Whether WordNet has the noun.
    pub(crate) is_known: bool,
    /// it, them, both: what it stands for is found later.
    pub(crate) is_pronoun: bool,
}

/// All phrases that lie outside of links, in order.
pub(crate) fn find(sentence: &Sentence, links: &[Link]) -> Vec<Phrase> {
    let mut phrases = Vec::new();
    let mut links = links.iter().peekable();
    let mut i = 0;
    while i < sentence.len() {
        while links.next_if(|link| link.words.end <= i).is_some() {}
        if let Some(link) = links.peek().filter(|link| link.words.contains(&i)) {
            i = link.words.end;
            continue;
        }
        let end = links.peek().map_or(sentence.len(), |link| link.words.start);
        match phrase_at(sentence, i, end).or_else(|| pronoun_at(sentence, i)) {
            Some(phrase) => {
                i = phrase.words.end;
                phrases.extend(split_owner(sentence, phrase));
            }
            None => i += 1,
        }
    }
    phrases
}

/// `a pirate's shoulder` are two phrases, the pirate and a part of him; `a bird's nest` is one.
fn split_owner(sentence: &Sentence, phrase: Phrase) -> Vec<Phrase> {
    let possessive = phrase.core.clone().find(|at| sentence.words[*at].tag == "POS");
    let (Some(at), NounClass::Body) =
        (possessive, class_of(&sentence.words[phrase.head].singular, true).unwrap_or(phrase.class))
    else {
        return vec![phrase];
    };
    let Some(owner) = phrase_at(sentence, phrase.words.start, at) else { return vec![phrase] };
    let core = at + 1..phrase.core.end;
    let name = sentence.words[phrase.head].singular.clone();
    let part = Phrase {
        words: core.clone(),
        core,
        determiner: Determiner::Possessive,
        name,
        class: NounClass::Body,
        ..phrase
    };
    vec![owner, part]
}

fn pronoun_at(sentence: &Sentence, i: usize) -> Option<Phrase> {
    let word = &sentence.words[i];
    let is_pronoun =
        matches!(word.lower(), "it" | "them" | "him" | "her" | "they" | "he" | "she" | "both" | "each" | "all" | "one");
    let is_plural = matches!(word.lower(), "them" | "they" | "both" | "all");
    let count = if is_plural { Count::plural() } else { Count::singular() };
    is_pronoun.then(|| Phrase {
        words: i..i + 1,
        core: i..i + 1,
        head: i,
        determiner: Determiner::Definite,
        count,
        name: word.token.lower.clone(),
        class: NounClass::Other,
        is_known: true,
        is_pronoun: true,
    })
}

/// The phrase that begins at word `i` and ends before word `end`.
fn phrase_at(sentence: &Sentence, i: usize, end: usize) -> Option<Phrase> {
    let (mut at, mut determiner) = determiner_at(sentence, i);
    let mut written = None;
    if let Some((len, count)) = counts::at(sentence, if determiner == Determiner::Indefinite { i } else { at }) {
        at = if determiner == Determiner::Indefinite { i } else { at } + len;
        written = Some(count);
        determiner = if determiner == Determiner::No { determiner } else { Determiner::Number };
    }
    let start = at;
    let mut head = None;
    while at < end && !(head.is_some() && sentence.words[at].after_gap) {
        match step(sentence, at, head.is_some(), end) {
            Step::Noun => head = Some(at),
            Step::Modifier => {}
            Step::End => break,
        }
        at += 1;
    }
    let head = head.or_else(|| adjective_as_noun(sentence, start..at, determiner))?;
    let word = &sentence.words[head];
    // `some butter`: what has no plural form is one, whatever the vague number.
    let written = written.filter(|count| word.is_plural() || count.min == count.max);
    let count = written.unwrap_or_else(|| number_of(sentence, head, determiner));
    let (name, class, is_known) = name_of(sentence, start, head, determiner, count);
    let core = start..head + 1;
    let count = counted_tag(word.lower()).and_then(|_| word.lower()[..1].parse().ok()).map_or(count, Count::exactly);
    Some(Phrase { words: i..head + 1, core, head, determiner, count, name, class, is_known, is_pronoun: false })
}

fn determiner_at(sentence: &Sentence, i: usize) -> (usize, Determiner) {
    let mut at = i;
    // `all the`, `both the`, `half a`, `such a`
    if matches!(sentence.lower(i), "all" | "both" | "half" | "such")
        && sentence.get(i + 1).is_some_and(|next| next.tag == "DT" || next.tag == "PRP$")
    {
        at += 1;
    }
    match (sentence.get(at), sentence.lower(at)) {
        (_, "no" | "neither" | "nor") => {
            (at + 1 + usize::from(matches!(sentence.lower(at + 1), "a" | "an")), Determiner::No)
        }
        (_, "a" | "an" | "another" | "each" | "every" | "either")
            if sentence.get(at + 1).is_some_and(|next| !next.is_break()) =>
        {
            (at + 1, Determiner::Indefinite)
        }
        (Some(word), _) if matches!(word.tag, "PRP$" | "WP$") => (at + 1, Determiner::Possessive),
        (Some(word), lower) if matches!(word.tag, "DT" | "PDT") && !matches!(lower, "all" | "both" | "some") => {
            (at + 1, Determiner::Definite)
        }
        _ => (i, Determiner::Bare),
    }
}

enum Step {
    Noun,
    Modifier,
    End,
}

/// What word `at` is within a phrase.
fn step(sentence: &Sentence, at: usize, has_noun: bool, end: usize) -> Step {
    let word = &sentence.words[at];
    let next = sentence.get(at + 1).filter(|_| at + 1 < end);
    let leads_on = next.is_some_and(|next| {
        next.is_noun()
            || next.is_adjective()
            || matches!(next.tag, "VBN" | "VBG" | "CD" | "HYPH")
            || next.lower() == "-"
    });
    match word.tag {
        _ if word.is_noun() => Step::Noun,
        _ if word.lower() == "-" && next.is_some() => Step::Modifier,
        "POS" if has_noun && leads_on => Step::Modifier,
        "HYPH" | "AFX" => Step::Modifier,
        _ if sentence.before(at).is_some_and(|before| before.lower() == "-") && leads_on => Step::Modifier,
        "VBG" | "VBN" if has_noun && !sentence.is_adjectival(at) => Step::End,
        _ if has_noun
            && !(leads_on
                && matches!(word.label, "compound" | "amod")
                && word.head > at
                && sentence.words[word.head].is_noun()
                && word.tag != "CD"
                && (at..word.head).all(|i| !sentence.words[i].is_break())) =>
        {
            Step::End
        }
        "VBN" | "VBG" | "VBD" | "CD" if leads_on => Step::Modifier,
        "RB" | "RBR" | "RBS" if leads_on => Step::Modifier,
        "," | "CC" if joins_adjectives(sentence, at) && at + 1 < end => Step::Modifier,
        _ if word.is_adjective() => Step::Modifier,
        _ => Step::End,
    }
}

/// `big, red ball`, `black and white cat`: between adjectives with a noun after the second.
fn joins_adjectives(sentence: &Sentence, at: usize) -> bool {
    let adjective = |word: Option<&Word>| word.is_some_and(|word| word.is_adjective() || word.tag == "VBN");
    let reaches_noun =
        sentence.words[at + 1..].iter().find(|word| !adjective(Some(word)) && word.tag != "RB" && word.lower() != "-");
    matches!(sentence.lower(at), "," | "and" | "&" | "or")
        && adjective(sentence.before(at))
        && adjective(sentence.get(at + 1))
        && reaches_noun.is_some_and(Word::is_noun)
}

/// `an orange`, `the unknown`: the last word, after an article, where WordNet has it as a noun.
fn adjective_as_noun(sentence: &Sentence, words: Range<usize>, determiner: Determiner) -> Option<usize> {
    let last = words.end.checked_sub(1).filter(|last| *last >= words.start)?;
    let lower = sentence.lower(last);
    let is_colour = Words::embedded().has("colour", lower) && lower != "orange";
    let is_noun = !is_colour && Nouns::embedded().senses(lower).iter().any(|sense| sense.class.is_visible());
    (matches!(determiner, Determiner::Indefinite | Determiner::Number) && is_noun).then_some(last)
}

fn number_of(sentence: &Sentence, head: usize, determiner: Determiner) -> Count {
    let word = &sentence.words[head];
    // `sunglasses`, `woods`: a plural form that is one thing.
    let is_pair =
        word.is_plural() && word.singular == word.token.lower && !Words::embedded().has("plural", word.lower());
    match determiner {
        Determiner::Indefinite => Count::exactly(1),
        _ if word.is_plural() && !is_pair => Count::plural(),
        _ => Count::singular(),
    }
}

/// The noun in the singular with the nouns before it, its class, and whether it is known. The longest end of the phrase that WordNet has as one noun gives the class.
fn name_of(
    sentence: &Sentence,
    start: usize,
    head: usize,
    determiner: Determiner,
    count: Count,
) -> (String, NounClass, bool) {
    let nouns = Nouns::embedded();
    let mut first = head;
    while first > start && is_compound(sentence, first - 1, start) {
        first -= 1;
    }
    let name = |from: usize| {
        let before: String = sentence.words[from..head].iter().map(|word| word.lower().to_owned() + " ").collect();
        (before + &sentence.words[head].singular).replace(" - ", "-").replace(" 's ", "'s ").replace(" ’s ", "'s ")
    };
    let longest = (start..=head).find_map(|from| {
        let name = name(from);
        let is_listed = ["place", "time", "style"].iter().any(|kind| Words::embedded().has(kind, &name));
        // `black cat`, `old man` stand in WordNet, too, but are cats and men.
        let is_plain =
            from < head && ["colour", "adjective"].iter().any(|kind| Words::embedded().has(kind, sentence.lower(from)));
        (is_listed || !is_plain && nouns.contains(&name)).then_some(name)
    });
    let full = longest.clone().filter(|longest| longest.len() > name(first).len()).unwrap_or_else(|| name(first));
    let counted = !matches!(determiner, Determiner::Bare | Determiner::No)
        || count.is_written
        || sentence.words[head].is_plural();
    let known = longest.as_deref().unwrap_or("");
    let compound = class_of(known, counted);
    // A compound is a kind of its last noun where its own class cannot be seen: `full moon` is a time to WordNet.
    let class = compound
        .filter(|class| class.is_visible())
        .or_else(|| class_of(&sentence.words[head].singular, counted))
        .or(compound);
    (full, class.unwrap_or(NounClass::Object), class.is_some())
}

/// A noun, a participle or a hyphen that is one word with the noun behind it.
fn is_compound(sentence: &Sentence, i: usize, start: usize) -> bool {
    let word = &sentence.words[i];
    match word.tag {
        "NN" | "NNS" | "NNP" | "NNPS" => !Words::embedded().has("colour", word.lower()),
        "VBG" => word.label == "compound",
        "POS" => i > start,
        // `Spider-Man`
        _ if word.lower() == "-" => i > start && sentence.words[i - 1].is_noun() && sentence.words[i + 1].is_noun(),
        _ => false,
    }
}

/// The class of the first meaning; of something counted, of the first meaning that can be seen.
pub(crate) fn class_of(noun: &str, is_counted: bool) -> Option<NounClass> {
    let words = Words::embedded();
    if words.has("place", noun) && words.get("place", noun) != Some("celestial") {
        return Some(NounClass::Place);
    }
    let senses = Nouns::embedded().senses(noun);
    let first = senses.first()?.class;
    let countable = |class: NounClass| class.is_visible() && class != NounClass::Substance;
    if is_counted && !countable(first) {
        let seen = senses.iter().map(|sense| sense.class).find(|class| countable(*class));
        return seen.or(Some(first));
    }
    Some(first)
}

#[cfg(test)]
mod tests {
    use super::super::{links, tags};
    use super::*;

    fn check(text: &str, expected: &[&str]) {
        let mut sentence = Sentence::parse(text, &[]);
        tags::correct(&mut sentence);
        let phrases = find(&sentence, &links::find(&sentence));
        let found: Vec<String> = phrases
            .iter()
            .map(|phrase| format!("{}-{} {}", phrase.count.min, phrase.count.max, sentence.joined(phrase.core.clone())))
            .collect();
        assert_eq!(found, expected, "{text}");
    }

    #[test]
    fn names_are_nouns_with_the_nouns_before_them() {
        for (text, name) in [
            ("a black cat", "cat"),
            ("an old teddy bear", "teddy bear"),
            ("two park benches", "park bench"),
            ("a polar bear", "polar bear"),
        ] {
            let mut sentence = Sentence::parse(text, &[]);
            tags::correct(&mut sentence);
            assert_eq!(find(&sentence, &links::find(&sentence))[0].name, name);
        }
    }

    #[test]
    fn phrases_end_with_their_nouns() {
        check("a big, red ball and a black and white cat", &["1-1 big , red ball", "1-1 black and white cat"]);
        check("three hiking boots on an orange", &["3-3 hiking boots", "1-1 orange"]);
        check("a pirate's shoulder", &["1-1 pirate", "1-1 shoulder"]);
        check("the bird's nest", &["1-1 bird 's nest"]);
        check("a half-eaten sandwich", &["1-1 half - eaten sandwich"]);
        check("a chef cooking pasta", &["1-1 chef", "1-1 pasta"]);
        check("two dogs chase cats", &["2-2 dogs", "2-5 cats"]);
    }
}
