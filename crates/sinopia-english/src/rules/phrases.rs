//! Noun phrases: from an article or number over adjectives and nouns to the last noun.

use std::ops::Range;

use super::counts;
use super::ellipsis;
use super::links::Link;
use super::phrase::{Determiner, Phrase, class_of};
use super::tags::counted_tag;
use crate::analysis::Count;
use crate::nouns::{NounClass, Nouns};
use crate::sentence::{Sentence, Word};
use crate::words::Words;

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
        let open = no_one_at(sentence, i).or_else(|| ellipsis::open_at(sentence, i));
        let open = open.filter(|open| open.words.end <= end);
        match open.or_else(|| phrase_at(sentence, i, end)).or_else(|| pronoun_at(sentence, i)) {
            Some(phrase) => {
                i = phrase.words.end;
                phrases.extend(split_owner(sentence, phrase));
            }
            None => i += 1,
        }
    }
    ellipsis::lend(sentence, phrases)
}

/// `a pirate's shoulder` are two phrases, the pirate and a part of him; `a bird's nest` is one.
fn split_owner(sentence: &Sentence, phrase: Phrase) -> Vec<Phrase> {
    if phrase.name.is_empty() {
        return vec![phrase];
    }
    let possessive = phrase.core.clone().find(|at| sentence.words[*at].tag == "POS");
    let noun = &sentence.words[phrase.head].singular;
    let is_part =
        class_of(noun, true).unwrap_or(phrase.class) == NounClass::Body || Words::embedded().has("part", noun);
    let Some(at) = possessive.filter(|_| is_part) else { return vec![phrase] };
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

/// `no one is in the room`.
fn no_one_at(sentence: &Sentence, i: usize) -> Option<Phrase> {
    let is_no_one = sentence.lower(i) == "no"
        && sentence.lower(i + 1) == "one"
        && sentence.get(i + 2).is_none_or(|next| !next.is_noun() && !next.is_adjective());
    is_no_one.then(|| Phrase {
        words: i..i + 2,
        core: i..i + 2,
        head: i + 1,
        determiner: Determiner::No,
        count: Count::singular(),
        name: "no one".to_owned(),
        class: NounClass::Person,
        is_known: true,
        is_pronoun: false,
        lender: None,
    })
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
        lender: None,
    })
}

/// The phrase that begins at word `i` and ends before word `end`.
fn phrase_at(sentence: &Sentence, i: usize, end: usize) -> Option<Phrase> {
    if let Some((len, count)) = counts::at(sentence, i)
        && sentence.lower(i + len) == "of"
        && matches!(sentence.lower(i + len + 1), "the" | "these" | "those")
        && !matches!(sentence.lower(i + len - 1), "dozen" | "few" | "couple")
    {
        // `two of the cats`
        let all = plain_phrase_at(sentence, i + len + 1, end)?;
        return Some(Phrase { words: i..all.words.end, determiner: Determiner::Number, count, ..all });
    }
    plain_phrase_at(sentence, i, end)
}

fn plain_phrase_at(sentence: &Sentence, i: usize, end: usize) -> Option<Phrase> {
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
        match step(sentence, start, at, head.is_some(), end) {
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
    // `a not so big dog`: its adjectives are denied.
    let is_denied = i > 1 && sentence.lower(i - 1) == "not" && sentence.words[i - 2].tag == "DT";
    let named = (head + 1).saturating_sub(name.split(' ').count()).max(start);
    let core = if is_denied { named } else { start }..head + 1;
    let count = counted_tag(word.lower()).and_then(|_| word.lower()[..1].parse().ok()).map_or(count, Count::exactly);
    Some(Phrase {
        words: i..head + 1,
        core,
        head,
        determiner,
        count,
        name,
        class,
        is_known,
        is_pronoun: false,
        lender: None,
    })
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
        (_, "no" | "neither" | "nor" | "zero" | "0") => {
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

/// Whether a new phrase begins behind a noun without a sign: `red ball blue cube`, `cat cat`, `dog cat`, `outside the window snow is falling`.
fn starts_another(sentence: &Sentence, start: usize, at: usize) -> bool {
    let (word, before) = (&sentence.words[at], &sentence.words[at - 1]);
    let is_colour = |at: usize| Words::embedded().has("colour", sentence.lower(at));
    let leads_to_noun = sentence.get(at + 1).is_some_and(|next| next.is_noun() || next.is_adjective());
    if is_colour(at) && leads_to_noun && (start..at - 1).any(is_colour) {
        return true;
    }
    if !word.is_noun() || !before.is_noun() {
        return false;
    }
    let is_animal = |word: &Word| class_of(&word.singular, true) == Some(NounClass::Animal);
    let is_young = Words::embedded().has("kin", &word.singular);
    let is_compound = Nouns::embedded().contains(&format!("{} {}", before.lower(), word.singular));
    let falls = Words::embedded().has("weather", word.lower())
        && sentence.get(at + 1).is_some_and(|next| matches!(next.lower(), "is" | "falls" | "falling"))
        && start.checked_sub(1).is_some_and(|article| sentence.words[article].tag == "DT");
    word.singular == before.singular || falls || is_animal(word) && is_animal(before) && !is_young && !is_compound
}

/// What word `at` is within a phrase.
fn step(sentence: &Sentence, start: usize, at: usize, has_noun: bool, end: usize) -> Step {
    let word = &sentence.words[at];
    let next = sentence.get(at + 1).filter(|_| at + 1 < end);
    let leads_on = next.is_some_and(|next| {
        next.is_noun()
            || next.is_adjective()
            || matches!(next.tag, "VBN" | "VBG" | "CD" | "HYPH")
            || next.lower() == "-"
    });
    match word.tag {
        _ if matches!(word.lower(), "|" | ":" | ";") => Step::End,
        _ if has_noun && starts_another(sentence, start, at) => Step::End,
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
    let adjective =
        |word: Option<&Word>| word.is_some_and(|word| word.is_adjective() || matches!(word.tag, "VBN" | "VBG"));
    let reaches_noun = sentence.words[at + 1..]
        .iter()
        .find(|word| !adjective(Some(word)) && !matches!(word.tag, "RB" | "CC" | ",") && word.lower() != "-");
    matches!(sentence.lower(at), "," | "and" | "&" | "or" | "yet" | "but")
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
        _ if matches!(word.lower(), "hands" | "feet" | "eyes" | "ears" | "arms" | "legs") => {
            Count { min: 2, max: 2, is_written: false }
        }
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
        (before + &sentence.words[head].singular)
            .replace(" - ", "-")
            .replace(" 's ", "'s ")
            .replace(" ’s ", "'s ")
            .replace(" ' ", "' ")
            .replace(" ’ ", "' ")
    };
    let longest = (start..=head).find_map(|from| {
        let name = name(from);
        let is_listed = ["place", "time", "style", "class"].iter().any(|kind| Words::embedded().has(kind, &name));
        // `black cat`, `old man` stand in WordNet, too, but are cats and men.
        let is_plain =
            from < head && ["colour", "adjective"].iter().any(|kind| Words::embedded().has(kind, sentence.lower(from)));
        let is_name = sentence.words[from].tag.starts_with("NNP") && nouns.is_name(&name); // `Big Ben`
        (is_listed || is_name || !is_plain && has_compound(&name)).then_some(name)
    });
    let full = longest.clone().filter(|longest| longest.len() > name(first).len()).unwrap_or_else(|| name(first));
    let counted = !matches!(determiner, Determiner::Bare | Determiner::No)
        || count.is_written
        || sentence.words[head].is_plural();
    let known = longest.as_deref().unwrap_or("");
    let compound = class_of(known, counted);
    // A compound is a kind of its last noun where its own class cannot be seen: `full moon` is a time to WordNet.
    // `a roast chicken` is no animal any more.
    let is_cooked = (start..head).any(|at| Words::embedded().has("cooked", sentence.lower(at)));
    let compound = if is_cooked { Some(NounClass::Food) } else { compound };
    let class = compound
        .filter(|class| class.is_visible())
        .or_else(|| class_of(&sentence.words[head].singular, counted))
        .or(compound);
    (full, class.unwrap_or(NounClass::Object), class.is_some())
}

/// `ice cream cone` and `hot air balloon` are written with a hyphen in WordNet.
fn has_compound(name: &str) -> bool {
    let nouns = Nouns::embedded();
    nouns.contains(name) || name.matches(' ').count() > 1 && nouns.contains(&name.replacen(' ', "-", 1))
}

/// A noun, a participle or a hyphen that is one word with the noun behind it.
fn is_compound(sentence: &Sentence, i: usize, start: usize) -> bool {
    let word = &sentence.words[i];
    match word.tag {
        "NN" | "NNS" | "NNP" | "NNPS" => {
            // `ice cream`
            let is_end =
                i > start && Nouns::embedded().contains(&format!("{} {}", sentence.lower(i - 1), word.lower()));
            is_end || !["colour", "material"].iter().any(|kind| Words::embedded().has(kind, word.lower()))
        }
        "VBG" => word.label == "compound",
        "POS" => i > start,
        // `Spider-Man`
        _ if word.lower() == "-" => i > start && sentence.words[i - 1].is_noun() && sentence.words[i + 1].is_noun(),
        _ => false,
    }
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
            ("an ice cream cone", "ice cream cone"),
            ("a red hot air balloon", "hot air balloon"),
            ("a gummy bear", "gummy bear"),
            ("an ice cream truck", "ice cream truck"),
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
        check("two of the cats are asleep", &["2-2 cats"]);
        check("red ball blue cube", &["1-1 red ball", "1-1 blue cube"]);
        check("dog cat cat", &["1-1 dog", "1-1 cat", "1-1 cat"]);
        check("an emerald green dress", &["1-1 emerald green dress"]);
    }
}
