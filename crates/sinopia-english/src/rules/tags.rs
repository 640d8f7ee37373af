//! Tags that captions and WordNet correct: a noun that the tagger takes for a verb or an adjective, the plurals of nouns, tags of prompts such as `1girl`.

use super::ellipsis::is_plain_colour;
use super::phrase::class_of;
use crate::nouns::{NounClass, Nouns};
use crate::sentence::{Sentence, Word, singular};
use crate::words::Words;

/// Corrects tags in place, then fills in singulars.
pub(crate) fn correct(sentence: &mut Sentence) {
    for i in 0..sentence.len() {
        if is_doer_before_deed(sentence, i) {
            sentence.words[i].tag = "NN";
        }
        if is_end_of_compound(sentence, i) || is_lone_noun(sentence, i) || is_colour_worn(sentence, i) {
            sentence.words[i].tag = "NN";
        } else if is_plural_opening(sentence, i) {
            sentence.words[i].tag = "NNS";
        } else if is_misread_noun(sentence, i) {
            let plural = matches!(sentence.words[i].tag, "VBZ");
            sentence.words[i].tag = if plural { "NNS" } else { "NN" };
        } else if is_misread_modifier(sentence, i) {
            sentence.words[i].tag = if matches!(sentence.words[i].tag, "VBG" | "VBN") { "JJ" } else { "NN" };
        } else if is_misread_verb(sentence, i) {
            sentence.words[i].tag = if sentence.lower(i).ends_with("ing") { "VBG" } else { "VBP" };
            take_subject(sentence, i);
        } else if is_misread_agreeing_verb(sentence, i) {
            sentence.words[i].tag = "VBZ";
            take_subject(sentence, i);
        }
    }
    for i in 0..sentence.len() {
        if is_subject_behind(sentence, i) {
            sentence.words[i].label = "nsubj";
        }
    }
    for word in &mut sentence.words {
        if is_misread_plural(word) {
            word.tag = "NNS";
        }
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

/// `sofas`: no noun as it stands, but one without its ending.
fn is_misread_plural(word: &Word) -> bool {
    let nouns = Nouns::embedded();
    let lower = word.lower();
    let is_lower = word.token.text.starts_with(char::is_lowercase);
    let is_plural = lower.ends_with('s') && !nouns.contains(lower) && nouns.contains(&singular(lower));
    let is_irregular = Words::embedded().has("plural", lower);
    word.tag == "NN" && is_plural || word.tag == "NNP" && is_lower && (is_plural || is_irregular)
}

/// `a fire hydrant`, `a milk can`, `a stop sign`: the second word of what WordNet or the list has as one noun, where no verb of it would agree.
fn is_end_of_compound(sentence: &Sentence, i: usize) -> bool {
    let word = &sentence.words[i];
    let Some(before) = sentence.before(i).filter(|before| before.tag == "NN") else { return false };
    let compound = format!("{} {}", before.lower(), word.lower());
    matches!(word.tag, "RB" | "MD" | "VB" | "VBP" | "JJ")
        && sentence.get(i + 1).is_none_or(|next| !next.is_verb() && !next.is_noun())
        && class_of(&compound, true).is_some_and(NounClass::is_visible)
}

/// `a sled`: whatever the tagger says, behind `a` and before nothing stands a noun.
fn is_lone_noun(sentence: &Sentence, i: usize) -> bool {
    let word = &sentence.words[i];
    let ends = sentence.get(i + 1).is_none_or(|next| next.is_break() || matches!(next.tag, "IN" | "CC"));
    let opens = sentence.before(i).is_some_and(|before| matches!(before.lower(), "a" | "an"));
    let is_form = matches!(word.tag, "VBN" | "VBG" | "MD" | "RB" | "IN" | "VB" | "VBP" | "VBD");
    opens && ends && is_form && class_of(word.lower(), true).is_some_and(NounClass::is_visible)
}

/// `one in red and one in blue`: a colour alone behind a preposition.
fn is_colour_worn(sentence: &Sentence, i: usize) -> bool {
    let word = &sentence.words[i];
    // `in blue dancing`
    let is_deed = sentence.lower(i + 1).ends_with("ing") && !sentence.get(i + 2).is_some_and(Word::is_noun);
    let ends = is_deed || sentence.get(i + 1).is_none_or(|next| !next.is_noun() && !next.is_adjective());
    let is_in = sentence.before(i).is_some_and(|before| before.lower() == "in");
    word.tag == "JJ" && is_in && ends && Words::embedded().has("colour", word.lower())
}

/// `seagulls overhead`, `a mermaid on a rock, dolphins in the background`: what opens a part of a caption is rather a plural than a verb.
fn is_plural_opening(sentence: &Sentence, i: usize) -> bool {
    use NounClass::{Animal, Building, Clothing, Person, Plant, Vehicle};
    let word = &sentence.words[i];
    let opens = sentence.before(i).is_none_or(Word::is_break);
    let ends = sentence.get(i + 1).is_none_or(|next| next.is_break() || matches!(next.tag, "IN" | "RB" | "CC"));
    let class = class_of(&singular(word.lower()), true);
    word.tag == "VBZ" && opens && ends && matches!(class, Some(Animal | Person | Plant | Vehicle | Building | Clothing))
}

/// `a hummingbird drinking from`, `a elefant standing between`: an animal, or any word before a posture, that the tagger takes for an adjective of its deed.
fn is_doer_before_deed(sentence: &Sentence, i: usize) -> bool {
    let word = &sentence.words[i];
    let opens = sentence.before(i).is_some_and(|before| matches!(before.tag, "DT" | "CD" | "PRP$"));
    let is_deed = |next: &&Word| {
        let is_form = next.lower().ends_with("ing") || Words::embedded().has("posture", next.lower());
        next.tag == "NN" && is_form
    };
    let Some(deed) = sentence.get(i + 1).filter(is_deed) else { return false };
    let nouns = Nouns::embedded();
    let is_doer = nouns.class(word.lower()).is_some_and(NounClass::is_alive)
        || Words::embedded().has("posture", deed.lower()) && !Words::embedded().has("adjective", word.lower());
    let acts = nouns.class(deed.lower()).is_none_or(|class| !class.is_visible());
    let is_known = nouns.contains(&format!("{} {}", word.lower(), deed.lower()));
    word.tag == "JJ" && opens && is_doer && acts && !is_known && !is_plain_colour(word.lower())
}

/// `a bride and groom dancing`, `in a white hat cutting carrots`: a deed behind whoever does it, or behind what they wear, that the tagger takes for a noun.
fn is_deed_behind_doer(sentence: &Sentence, i: usize) -> bool {
    let word = &sentence.words[i];
    let Some(before) = sentence.before(i).filter(|before| before.is_noun()) else { return false };
    let nouns = Nouns::embedded();
    let noun = singular(before.lower());
    let class = class_of(&noun, true);
    let is_worn = is_worn(&noun);
    let is_known = nouns.contains(&format!("{noun} {}", word.lower()));
    let is_thing = nouns.class(word.lower()).is_some_and(|class| class.is_visible() && class != NounClass::Plant);
    let goes_on = sentence.get(i + 1).is_none_or(|next| {
        let is_object = next.tag == "NN"
            && (is_worn
                || Words::embedded().has("light", word.lower())
                || matches!(nouns.class(next.lower()), Some(NounClass::Food | NounClass::Substance)));
        next.is_break() || matches!(next.tag, "IN" | "DT" | "RB" | "CC" | "NNS" | "PRP$" | "CD" | "JJ") || is_object
    });
    // `a volcano erupting`
    let ends = sentence.get(i + 1).is_none_or(|next| next.is_break() || next.tag == "IN");
    let opens = i > 1 && matches!(sentence.words[i - 2].tag, "DT" | "JJ" | "CD");
    // `a busy Tokyo crossing`
    let is_common = !before.tag.starts_with("NNP") && !Words::embedded().has("place", word.lower());
    let happens = ends && opens && is_common && class.is_some_and(NounClass::is_visible);
    word.tag == "NN"
        && word.lower().ends_with("ing")
        && (is_worn || class.is_some_and(NounClass::is_alive) || happens || class == Some(NounClass::Group))
        && goes_on
        && !is_known
        && !is_thing
}

/// The noun right before a verb that the parser took for a noun is its subject; of clothes, who is in them.
fn take_subject(sentence: &mut Sentence, verb: usize) {
    let Some(subject) = verb.checked_sub(1) else { return };
    if let Some(wearer) = wearer(sentence, subject) {
        sentence.words[verb].head = wearer;
        sentence.words[verb].label = "acl";
        return;
    }
    sentence.words[subject].head = verb;
    sentence.words[subject].label = "nsubj";
    sentence.words[verb].head = verb;
    sentence.words[verb].label = "ROOT";
}

/// Clothes, and the colour of `a girl in blue`.
fn is_worn(noun: &str) -> bool {
    Nouns::embedded().can_be(noun, NounClass::Clothing) || Words::embedded().has("colour", noun)
}

/// The man of `a man in a red dress`.
fn wearer(sentence: &Sentence, worn: usize) -> Option<usize> {
    if !is_worn(&singular(sentence.lower(worn))) {
        return None;
    }
    let is_before = |word: &Word| word.is_noun() || word.is_adjective() || matches!(word.tag, "DT" | "PRP$" | "CC");
    let within = (0..worn).rev().take(6).find(|at| !is_before(&sentence.words[*at]))?;
    let wearer = within.checked_sub(1).filter(|_| matches!(sentence.lower(within), "in" | "wearing"))?;
    sentence.words[wearer].is_noun().then_some(wearer)
}

/// `on the shelf stands a vase`: who stands takes no object.
fn is_subject_behind(sentence: &Sentence, i: usize) -> bool {
    let word = &sentence.words[i];
    let verb = &sentence.words[word.head];
    let has_subject = || {
        (word.head.saturating_sub(12)..word.head)
            .any(|at| sentence.words[at].head == word.head && sentence.words[at].label.starts_with("nsubj"))
    };
    word.label == "dobj" && word.head < i && Words::embedded().has("posture", verb.lower()) && !has_subject()
}

/// `sunglasses`, `woods`, `scissors`: a plural form that is one thing, or a place.
fn is_pair_noun(plural: &str) -> bool {
    let class = Nouns::embedded().class(plural);
    let class = Words::embedded().get("class", plural).and_then(|class| class.parse().ok()).or(class);
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
    // `an old man on a bench, feeding pigeons`
    let has = |at: usize, label: &str| sentence.words[at].head == i && sentence.words[at].label == label;
    let has_subject = word.label == "advcl" || (i.saturating_sub(12)..i).any(|at| has(at, "nsubj"));
    let acts = has_subject && (i + 1..=i + nouns).any(|at| has(at, "dobj"));
    word.is_verb()
        && !acts
        && word.tag != "VB"
        && opens
        && nouns > 0
        && ends
        && !Words::embedded().has("link", word.lower())
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
    // `five cobs of corn lie in a bowl`
    let stands = matches!(word.lower(), "lie" | "stand" | "sit" | "rest" | "hang" | "float")
        && sentence.before(i).is_some_and(Word::is_noun)
        && sentence.get(i + 1).is_some_and(|next| next.tag == "IN");
    // `the candle cast shadows`
    let casts = word.lower() == "cast"
        && sentence.before(i).is_some_and(Word::is_noun)
        && sentence.get(i + 1).is_some_and(|next| next.is_plural() || next.tag == "DT");
    // `a fish swam in a pond`
    let is_past = Words::embedded().has("doing", word.lower())
        && !Nouns::embedded().contains(word.lower())
        && sentence.before(i).is_some_and(Word::is_noun);
    // `a dog on a leash walking past a shop`
    let moves = ["posture", "moving"].iter().any(|kind| Words::embedded().has(kind, word.lower()))
        && word.lower().ends_with("ing")
        && sentence.before(i).is_some_and(|before| before.tag == "NN")
        && sentence.get(i + 1).is_some_and(|next| matches!(next.tag, "IN" | "RB" | "RP" | "TO" | "VBN"));
    if word.tag == "NN" && (stands || casts || moves || is_past) || is_deed_behind_doer(sentence, i) {
        return true;
    }
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
        // `in a suit and tie`: behind one noun and before no object, where a verb would not agree.
        "VB" | "VBP"
            if before.is_some_and(|before| before.tag == "CC")
                && i > 1
                && sentence.words[i - 2].tag == "NN"
                && phrase_ends
                && is_noun() =>
        {
            true
        }
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
            after_article && phrase_ends && is_noun() && !is_plain_colour(word.lower())
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
        check("a fire hydrant", "hydrant", "NN", "hydrant");
        check("a milk can", "can", "NN", "can");
        check("a brown giraffe and a white stop sign", "sign", "NN", "sign");
        check("a sled", "sled", "NN", "sled");
        check("a robot and a dog playing chess", "playing", "VBG", "playing");
        check("a volcano erupting", "erupting", "VBG", "erupting");
        check("a busy Tokyo crossing at night", "crossing", "NN", "crossing");
        check("an old couple dancing", "dancing", "VBG", "dancing");
        check("a dog, a cat and a parrot sit on a sofa", "sit", "VBP", "sit");
        check("a woman sits at a table, drinking coffee, her laptop open", "drinking", "VBG", "drinking");
        check("an old man on a bench, feeding pigeons", "feeding", "VBG", "feeding");
        check("a boy in a raincoat chasing geese", "geese", "NNS", "goose");
        check("a fish swam in a pond", "swam", "VBP", "swam");
        check("two grey sofas", "sofas", "NNS", "sofa");
        check("a man in a suit and tie on a train", "tie", "NN", "tie");
        check("a chef in a white hat cutting carrots", "cutting", "VBG", "cutting");
        check("a chef in a hat slicing bread", "slicing", "VBG", "slicing");
        check("a bride and groom dancing", "dancing", "VBG", "dancing");
        check("a hummingbird drinking from a flower", "hummingbird", "NN", "hummingbird");
        check("a rock, dolphins in the background", "dolphins", "NNS", "dolphin");
    }

    #[test]
    fn glasses_are_worn_or_drunk_from() {
        check("three wine glasses", "glasses", "NNS", "glass");
        check("glasses of water", "glasses", "NNS", "glass");
        check("a pair of glasses", "glasses", "NNS", "glasses");
        check("a man with glasses", "glasses", "NNS", "glasses");
    }
}
