//! Phrases that go without their noun: `five red and three blue balloons`, `two dogs, one black and one white`, `one is red and the other is blue`.

use std::ops::Range;

use super::counts;
use super::phrase::{Determiner, Phrase};
use crate::analysis::Count;
use crate::nouns::{NounClass, Nouns};
use crate::sentence::{Sentence, Word};
use crate::words::Words;

/// Most phrases back to the one whose noun is meant.
const REACH: usize = 8;
/// Most adjectives of a phrase without a noun.
const ADJECTIVES: usize = 4;

/// A phrase without a noun that begins at word `i`; its name is empty until [`lend`] gives it one.
pub(crate) fn open_at(sentence: &Sentence, i: usize) -> Option<Phrase> {
    numbered(sentence, i).or_else(|| of_them(sentence, i)).or_else(|| other(sentence, i))
}

/// `two of them`, `two of which`, with the adjectives right behind: `two of them black`.
fn of_them(sentence: &Sentence, i: usize) -> Option<Phrase> {
    let one = (sentence.lower(i) == "one").then(|| (1, Count::exactly(1)));
    let (len, count) = one.or_else(|| counts::at(sentence, i))?;
    let of = i + len;
    if count.min != count.max
        || sentence.lower(of) != "of"
        || !matches!(sentence.lower(of + 1), "them" | "which" | "whom")
    {
        return None;
    }
    let start = of + 2;
    let adjectives =
        (start..sentence.len()).take(ADJECTIVES).take_while(|at| is_plain_adjective(sentence, *at)).count();
    Some(open(i..start + adjectives, start..start + adjectives, Determiner::Number, count))
}

/// `five red`, `one black`, `a big` before `and a small dog`.
fn numbered(sentence: &Sentence, i: usize) -> Option<Phrase> {
    let article = matches!(sentence.lower(i), "a" | "an" | "the");
    let (len, count) = counts::at(sentence, i).or_else(|| article.then_some((1, Count::singular())))?;
    let start = i + len;
    // `an orange one`
    let is_colour = |at: usize| {
        matches!(sentence.lower(at + 1), "one" | "ones") && Words::embedded().has("colour", sentence.lower(at))
    };
    let adjectives = (start..sentence.len())
        .take(ADJECTIVES)
        .take_while(|at| is_plain_adjective(sentence, *at) || is_colour(*at))
        .count();
    let end = start + adjectives;
    let next = sentence.get(end);
    let ends = next.is_none_or(|next| next.is_break() || next.tag == "CC" || next.tag == "IN");
    let goes_on = next.is_some_and(|next| next.lower() == "," || next.tag == "CC")
        && (counts::at(sentence, end + 1).is_some() || matches!(sentence.lower(end + 1), "a" | "an" | "the"));
    // `a blue one`
    let is_one = matches!(sentence.lower(end), "one" | "ones") && !sentence.get(end + 1).is_some_and(Word::is_noun);
    let is_open = adjectives > 0 && (is_one || ends && (!article || goes_on));
    is_open.then(|| open(i..end + usize::from(is_one), start..end, Determiner::Number, count))
}

/// `the other`, `another`, `the one`, `one`, `the first`, where no noun follows.
fn other(sentence: &Sentence, i: usize) -> Option<Phrase> {
    let start = i + usize::from(sentence.lower(i) == "the");
    let word = sentence.lower(start);
    let listed = match (start > i, word) {
        (_, "one" | "other") | (false, "another") | (true, "first" | "second" | "third" | "last") => Count::exactly(1),
        (true, "others") => Count::plural(),
        _ => return None,
    };
    let of_them = sentence.lower(start + 1) == "of" && sentence.lower(start + 2) == "them";
    let end = start + 1 + if of_them { 2 } else { 0 };
    let follows = sentence.get(end);
    let alone = follows.is_none_or(|next| {
        next.is_break() || next.is_verb() || matches!(next.tag, "IN" | "MD" | "WDT" | "TO") && next.lower() != "of"
    });
    (alone && (start > i || word != "other")).then(|| open(i..end, end..end, Determiner::Number, listed))
}

fn open(words: Range<usize>, core: Range<usize>, determiner: Determiner, count: Count) -> Phrase {
    Phrase {
        head: words.start,
        words,
        core,
        determiner,
        count,
        name: String::new(),
        class: NounClass::Other,
        is_known: true,
        is_pronoun: false,
        lender: None,
    }
}

/// A colour or an adjective that is no noun by itself.
fn is_plain_adjective(sentence: &Sentence, at: usize) -> bool {
    let word = &sentence.words[at];
    let is_noun = || Nouns::embedded().senses(word.lower()).iter().any(|sense| sense.class.is_visible());
    is_plain_colour(word.lower())
        || word.is_adjective() && (Words::embedded().has("adjective", word.lower()) || !is_noun())
}

/// A colour whose word names nothing else to draw.
pub(crate) fn is_plain_colour(word: &str) -> bool {
    matches!(
        word,
        "red" | "yellow" | "green" | "blue" | "purple" | "pink" | "brown" | "black" | "white" | "gray" | "grey"
    )
}

/// Gives each open phrase the noun of the next one of its list, or of a plural before it. One without any is a pronoun, or nothing.
pub(crate) fn lend(sentence: &Sentence, phrases: Vec<Phrase>) -> Vec<Phrase> {
    let lenders: Vec<Option<usize>> = (0..phrases.len()).map(|i| lender(sentence, &phrases, i)).collect();
    let mut kept_at = vec![None; phrases.len()];
    let mut kept = Vec::with_capacity(phrases.len());
    for (i, phrase) in phrases.iter().enumerate() {
        let filled =
            if phrase.name.is_empty() { fill(sentence, phrase, &phrases, lenders[i]) } else { Some(phrase.clone()) };
        if let Some(filled) = filled {
            kept_at[i] = Some(kept.len());
            kept.push(filled);
        }
    }
    for phrase in &mut kept {
        phrase.lender = phrase.lender.and_then(|lender| kept_at[lender]);
    }
    kept
}

fn fill(sentence: &Sentence, open: &Phrase, phrases: &[Phrase], lender: Option<usize>) -> Option<Phrase> {
    let Some(lender) = lender else {
        let is_pronoun = sentence.lower(open.head) == "one";
        return is_pronoun.then(|| Phrase {
            name: "one".to_owned(),
            is_pronoun: true,
            words: open.head..open.head + 1,
            core: open.head..open.head + 1,
            ..open.clone()
        });
    };
    let noun = &phrases[lender];
    Some(Phrase {
        head: noun.head,
        name: noun.name.clone(),
        class: noun.class,
        is_known: noun.is_known,
        lender: Some(lender),
        ..open.clone()
    })
}

fn lender(sentence: &Sentence, phrases: &[Phrase], i: usize) -> Option<usize> {
    if !phrases[i].name.is_empty() {
        return None;
    }
    let is_one = phrases[i].core.start < phrases[i].core.end && phrases[i].core.end < phrases[i].words.end;
    next_of_list(sentence, phrases, i)
        .or_else(|| plural_before(phrases, i))
        .or_else(|| is_one.then(|| named_before(phrases, i)).flatten())
}

/// `five red and three blue balloons`: over other open phrases to the first with a noun.
fn next_of_list(sentence: &Sentence, phrases: &[Phrase], i: usize) -> Option<usize> {
    let phrase = &phrases[i];
    if phrase.core.is_empty() || phrase.core.end < phrase.words.end || is_one_of(sentence, phrase) {
        return None;
    }
    let is_joined = |at: usize| {
        let between = phrases[at].words.end..phrases[at + 1].words.start;
        between.len() <= 2 && sentence.words[between].iter().all(|word| word.lower() == "," || word.tag == "CC")
    };
    let mut at = i;
    while at + 1 < phrases.len().min(i + REACH) && is_joined(at) {
        at += 1;
        if !phrases[at].name.is_empty() {
            let has_number =
                matches!(phrases[at].determiner, Determiner::Number | Determiner::Indefinite | Determiner::Definite);
            let has_adjective = phrases[at].core.start < phrases[at].head;
            return (has_number && has_adjective && !phrases[at].is_pronoun).then_some(at);
        }
    }
    None
}

/// `a white cat and a black one`.
fn named_before(phrases: &[Phrase], i: usize) -> Option<usize> {
    (i.saturating_sub(REACH)..i).rev().find(|before| !phrases[*before].name.is_empty() && !phrases[*before].is_pronoun)
}

fn plural_before(phrases: &[Phrase], i: usize) -> Option<usize> {
    (i.saturating_sub(REACH)..i).rev().find(|before| {
        let phrase = &phrases[*before];
        !phrase.name.is_empty() && !phrase.is_pronoun && phrase.count.is_written && phrase.count.min > 1
    })
}

/// Whether the word could end an open phrase's part of the caption.
pub(crate) fn is_one_of(sentence: &Sentence, phrase: &Phrase) -> bool {
    sentence.words[phrase.words.clone()].iter().any(|word: &Word| word.lower() == "of")
}
