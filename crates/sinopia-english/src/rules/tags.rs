//! Tags that captions and WordNet correct: a noun that the tagger takes for a verb or an adjective, the plurals of nouns, tags of prompts such as `1girl`.

use crate::nouns::{NounClass, Nouns};
use crate::sentence::{Sentence, Word, singular};
use crate::words::Words;

/// Corrects tags in place, then fills in singulars.
pub(crate) fn correct(sentence: &mut Sentence) {
    for i in 0..sentence.len() {
        if is_misread_noun(sentence, i) {
            let plural = matches!(sentence.words[i].tag, "VBZ");
            sentence.words[i].tag = if plural { "NNS" } else { "NN" };
        } else if is_misread_modifier(sentence, i) {
            sentence.words[i].tag = if matches!(sentence.words[i].tag, "VBG" | "VBN") { "JJ" } else { "NN" };
        } else if is_misread_verb(sentence, i) {
            sentence.words[i].tag = if sentence.lower(i).ends_with("ing") { "VBG" } else { "VBP" };
        } else if is_misread_agreeing_verb(sentence, i) {
            sentence.words[i].tag = "VBZ";
        }
    }
    for word in &mut sentence.words {
        if let Some(tag) = counted_tag(&word.token.lower) {
            word.tag = if tag.ends_with('s') { "NNS" } else { "NN" };
            word.singular = singular(tag);
        } else if word.is_plural() || word.tag == "NN" && Words::embedded().has("plural", word.lower()) {
            word.tag = if word.tag == "NN" { "NNS" } else { word.tag };
            word.singular =
                if is_pair_noun(word.lower()) { word.token.lower.clone() } else { singular(&word.token.lower) };
        }
    }
    for i in 0..sentence.len() {
        if sentence.lower(i) == "glasses" && are_vessels(sentence, i) {
            sentence.words[i].singular = "glass".to_owned();
        }
    }
}

/// `sunglasses`, `woods`, `scissors`: a plural form that is one thing, or a place.
fn is_pair_noun(plural: &str) -> bool {
    let class = Nouns::embedded().class(plural);
    let is_one =
        matches!(class, Some(NounClass::Clothing | NounClass::Device)) || Words::embedded().has("place", plural);
    is_one && !Words::embedded().has("plural", plural)
}

/// `wine glasses`, `two glasses`, `glasses of water`: no spectacles.
fn are_vessels(sentence: &Sentence, i: usize) -> bool {
    let before = sentence.before(i);
    let drinks = |word: &Word| {
        Nouns::embedded()
            .senses(word.lower())
            .iter()
            .any(|sense| matches!(sense.class, NounClass::Food | NounClass::Substance))
    };
    let is_compound = before.is_some_and(|before| before.is_noun() && drinks(before));
    is_compound
        || before.is_some_and(|before| before.tag == "CD")
        || sentence.lower(i + 1) == "of" && before.is_none_or(|before| before.lower() != "of")
}

/// `rain, glowing lantern`, `astronaut, mars landscape`: between commas, a verb's form with nothing but a noun behind it.
fn is_misread_modifier(sentence: &Sentence, i: usize) -> bool {
    let word = &sentence.words[i];
    let opens = sentence.before(i).is_some_and(Word::is_break);
    let nouns = sentence.words[i + 1..].iter().take_while(|word| word.is_noun()).count();
    let ends = sentence.get(i + 1 + nouns).is_none_or(|word| matches!(word.lower(), "," | "." | "|"));
    word.is_verb() && word.tag != "VB" && opens && nouns > 0 && ends && !Words::embedded().has("link", word.lower())
}

/// `a taxi drives past`: a plural behind `a` and a noun does not agree with the article, so it is the verb.
fn is_misread_agreeing_verb(sentence: &Sentence, i: usize) -> bool {
    let word = &sentence.words[i];
    if word.tag != "NNS"
        || is_pair_noun(word.lower())
        || !sentence.before(i).is_some_and(|before| before.tag.starts_with("NN"))
    {
        return false;
    }
    let start = (0..i).rev().take(6).find(|at| !sentence.words[*at].is_noun() && !sentence.words[*at].is_adjective());
    start.is_some_and(|start| {
        matches!(sentence.lower(start), "a" | "an") && super::counts::at(sentence, start).is_none()
    })
}

/// `two dogs chase cats`: a deed behind a plural and before another noun is the verb of both.
fn is_misread_verb(sentence: &Sentence, i: usize) -> bool {
    let word = &sentence.words[i];
    // `an old lady feeding pigeons`
    let acts = word.lower().ends_with("ing")
        && sentence.before(i).is_some_and(|before| {
            before.tag == "NN" && Nouns::embedded().class(before.lower()).is_some_and(NounClass::is_alive)
        })
        && sentence.get(i + 1).is_some_and(|next| next.is_plural() || next.tag == "DT");
    let is_deed = || Nouns::embedded().class(word.lower()).is_some_and(|class| !class.is_visible());
    word.tag == "NN" && acts
        || word.tag == "NN"
            && sentence.before(i).is_some_and(|before| before.tag == "NNS")
            && sentence.get(i + 1).is_some_and(|next| next.is_noun() || matches!(next.tag, "DT" | "PRP$" | "CD"))
            && is_deed()
}

/// `1girl`: the noun behind the digit.
pub(crate) fn counted_tag(word: &str) -> Option<&str> {
    let noun = word.strip_prefix(|letter: char| letter.is_ascii_digit())?;
    let is_known = noun.len() > 2 && Nouns::embedded().contains(&singular(noun));
    is_known.then_some(noun)
}

/// `a kitchen sink and a shower`: a word of a verb's form where only a noun can stand.
fn is_misread_noun(sentence: &Sentence, i: usize) -> bool {
    let word = &sentence.words[i];
    if matches!(word.lower(), "is" | "are" | "was" | "were" | "be" | "has" | "have" | "had" | "do" | "does") {
        return false;
    }
    let nouns = Nouns::embedded();
    let next = sentence.get(i + 1);
    let before = sentence.before(i);
    let phrase_ends = next.is_none_or(|next| {
        next.is_break() || matches!(next.tag, "CC" | "IN" | "VBG" | "WDT" | "POS" | "TO" | "VBZ" | "VBP")
    });
    let is_noun = || nouns.senses(&singular(word.lower())).first().is_some_and(|sense| sense.class.is_visible());
    match word.tag {
        // The parser knows better than the tagger: `a truck carrying logs`.
        "VBZ" | "VBP" if matches!(word.label, "dobj" | "pobj" | "nsubj") && nouns.contains(&singular(word.lower())) => {
            true
        }
        // After an article, a possessive or an adjective that has no noun yet.
        "VB" | "VBP" | "VBZ" | "VBD" => {
            let opens = before.is_some_and(|before| {
                matches!(before.tag, "DT" | "PRP$" | "POS" | "JJ")
                    && !matches!(before.lower(), "that" | "this" | "each" | "both" | "all")
            });
            // A base form does not agree with one noun before it.
            let clashes = word.tag != "VBZ" && word.tag != "VBD" && before.is_some_and(|before| before.tag == "NN");
            (opens || clashes) && phrase_ends && is_noun() || opens && nouns.contains(&singular(word.lower()))
        }
        // `an orange on a table`: an adjective with an article and nothing after it.
        "JJ" => {
            let after_article = before.is_some_and(|before| matches!(before.tag, "DT" | "PRP$" | "CD" | "JJ"));
            after_article && phrase_ends && is_noun()
        }
        "FW" | "XX" | "ADD" | "UH" | "RB" => {
            before.is_some_and(|before| matches!(before.tag, "DT" | "PRP$" | "CD" | "JJ"))
                && phrase_ends
                && (word.tag != "RB" || is_noun())
        }
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(text: &str, word: &str, tag: &str, singular: &str) {
        let mut sentence = Sentence::parse(text, &[]);
        correct(&mut sentence);
        let found = sentence.words.iter().find(|found| found.lower() == word).expect("a word of the text");
        assert_eq!((found.tag, found.singular.as_str()), (tag, singular), "{text}");
    }

    #[test]
    fn verbs_and_nouns_are_told_apart() {
        check("two dogs chase cats", "chase", "VBP", "chase");
        check("a bathroom with a sink and a shower", "sink", "NN", "sink");
        check("a yellow taxi drives past a theater", "drives", "VBZ", "drives");
        check("an orange on a table", "orange", "NN", "orange");
        check("a dozen cupcakes arranged in a circle", "cupcakes", "NNS", "cupcake");
        check("a big truck carrying logs down a mountain road", "logs", "NNS", "log");
        check("an old lady feeding pigeons", "feeding", "VBG", "feeding");
        check("1girl, red eyes", "1girl", "NN", "girl");
    }

    #[test]
    fn glasses_are_worn_or_drunk_from() {
        check("three wine glasses", "glasses", "NNS", "glass");
        check("glasses of water", "glasses", "NNS", "glass");
        check("a pair of glasses", "glasses", "NNS", "glasses");
        check("a man with glasses", "glasses", "NNS", "glasses");
    }
}
