//! `of`: a photo of (style), a row of (how many), the back of (a part), a bowl of (what it holds).

use super::links::LinkKind;
use super::phrase::Determiner;
use crate::analysis::Count;
use crate::nouns::{NounClass, Nouns};
use crate::reading::{Reading, Role};
use crate::words::Words;

/// Folds each `of` between two phrases.
pub(crate) fn fold(reading: &mut Reading) {
    for left in 0..reading.entries.len().saturating_sub(1) {
        let right = left + 1;
        let end = reading.entries[left].phrase.words.end;
        let is_of = reading.sentence.lower(end) == "of" && reading.entries[right].phrase.words.start == end + 1;
        if !is_of || reading.entries[right].phrase.is_pronoun {
            continue;
        }
        let head = reading.entries[left].phrase.head;
        let mut noun = reading.sentence.words[head].singular.clone();
        if Words::embedded().has("style", &reading.entries[left].phrase.name) {
            noun = reading.entries[left].phrase.name.clone(); // `close-up`
        }
        let written = reading.sentence.lower(head).to_owned();
        let words = Words::embedded();
        let count = words.get("group", &written).or_else(|| words.get("group", &noun));
        if let Some(count) = count.filter(|_| !is_bunch(reading, right, &noun)) {
            take_group(reading, left, right, count, &noun);
        } else if is_taken(reading, left) && words.has("style", &noun) {
            // `taking photos of a tower`: what is done to the tower.
            let link = reading.link_of_word[reading.entries[left].phrase.words.start - 1];
            reading.entries[left].governor = link;
            reading.entries[left].role = Role::Deed;
            reading.entries[right].governor = link;
        } else if let Some(kind) = words.get("style", &noun).filter(|_| opens(reading, left) && !hangs(reading, left)) {
            reading.entries[left].role = Role::Style;
            // `depth of field`: all of it says how, nothing what.
            if matches!(kind, "lens" | "quality") || noun == "style" {
                take_contents(reading, left, right, &noun);
            }
        } else if is_part_of_room(reading, right, &noun) {
            // `the wall of a bedroom`: both are seen.
        } else if is_part(reading, left, &noun) {
            reading.entries[left].role = Role::Had;
            reading.entries[left].owner = Some(right);
        } else if is_look_of(reading, right, &noun) {
            absorb(reading, left, right);
        } else if !reading.entries[left].phrase.is_pronoun {
            take_contents(reading, left, right, &noun);
        }
    }
}

/// A bunch of grapes or flowers is one thing.
fn is_bunch(reading: &Reading, right: usize, noun: &str) -> bool {
    noun == "bunch" && matches!(reading.entries[right].phrase.class, NounClass::Food | NounClass::Plant)
}

/// Whether it is the object of a verb that says little: `taking a picture of`.
fn is_taken(reading: &Reading, entry: usize) -> bool {
    let before = reading.sentence.before(reading.entries[entry].phrase.words.start);
    before.is_some_and(|before| before.is_verb() && Words::embedded().has("light", before.lower()))
}

/// `a painting of a horse hangs on a wall`: it is in the picture.
fn hangs(reading: &Reading, entry: usize) -> bool {
    let end = reading.entries[entry + 1].phrase.words.end;
    let next = reading.sentence.get(end);
    let verb = next
        .filter(|next| !matches!(next.lower(), "is" | "are" | "," | "which" | "that"))
        .or_else(|| reading.sentence.get(end + 1));
    verb.is_some_and(|verb| {
        matches!(
            verb.lower(),
            "hanging" | "hangs" | "hung" | "mounted" | "framed" | "displayed" | "leaning" | "leans" | "propped"
        )
    })
}

/// Whether a phrase stands at the start of the caption or after a sign.
fn opens(reading: &Reading, entry: usize) -> bool {
    let start = reading.entries[entry].phrase.words.start;
    reading
        .sentence
        .before(start)
        .is_none_or(|word| word.is_break() || word.tag == "CC" || matches!(word.lower(), "as" | "in"))
        || reading.link_of_word[start - 1].is_some_and(|link| {
            // `there is a painting of a ship`: it hangs there.
            let is_there = reading.sentence.before(start - 1).is_some_and(|before| before.lower() == "there");
            reading.links[link].kind == LinkKind::Copula && !is_there
        })
}

fn is_part_of_room(reading: &Reading, right: usize, noun: &str) -> bool {
    let is_place = matches!(reading.entries[right].phrase.class, NounClass::Room | NounClass::Place);
    is_place && matches!(noun, "wall" | "floor" | "ceiling" | "window" | "shore" | "bank" | "street")
}

fn is_part(reading: &Reading, entry: usize, noun: &str) -> bool {
    let phrase = &reading.entries[entry].phrase;
    (phrase.class == NounClass::Body
        || Words::embedded().has("part", noun)
        || matches!(noun, "back" | "top" | "front" | "end" | "corner"))
        && phrase.name != "close-up"
}

/// `two pairs of boots`: the boots, four; `a pair of glasses`: the glasses, one.
fn take_group(reading: &mut Reading, left: usize, right: usize, listed: &str, noun: &str) {
    let group = reading.entries[left].phrase.clone();
    let inner = reading.sentence.words[reading.entries[right].phrase.head].is_plural();
    let entry = &mut reading.entries[right];
    let one_of_pair = noun == "pair" && entry.phrase.count == Count::singular();
    if one_of_pair {
        entry.phrase.count = group.count;
    } else if matches!(noun, "slice" | "piece") && group.count.is_written && !inner {
        entry.phrase.count = group.count; // `three slices of bread`
    } else if !entry.phrase.count.is_written && inner {
        let (min, max) = listed.split_once('-').unwrap_or((listed, listed));
        let times = if noun == "pair" && group.count.is_written { group.count.min } else { 1 };
        if let (Ok(min), Ok(max)) = (min.parse::<u32>(), max.parse::<u32>())
            && max > 1
        {
            entry.phrase.count = Count::between(min * times, max * times);
        }
    }
    entry.group = Some(left);
    absorb(reading, left, right);
}

/// The right phrase takes the place of both.
fn absorb(reading: &mut Reading, left: usize, right: usize) {
    let taken = reading.entries[left].phrase.words.clone();
    reading.entries[right].phrase.words.start = taken.start;
    reading.entries[left].role = Role::None;
    reading.entry_of_word[taken].fill(Some(right));
}

/// `the texture of a saddle`, `the aroma of the coffee`: what is seen is the saddle.
fn is_look_of(reading: &Reading, right: usize, noun: &str) -> bool {
    use NounClass::{Attribute, Cognition, Feeling, Shape, State};
    let class = Nouns::embedded().class(noun);
    let is_look =
        matches!(class, Some(Attribute | Cognition | Feeling | State | Shape)) || Words::embedded().has("idle", noun);
    let seen = &reading.entries[right].phrase;
    let has_article = !matches!(seen.determiner, Determiner::Bare);
    is_look
        && has_article
        && seen.class.is_visible()
        && !Words::embedded().has("holder", noun)
        && !Words::embedded().has("class", noun)
}

fn take_contents(reading: &mut Reading, left: usize, right: usize, noun: &str) {
    if Words::embedded().has("holder", noun) {
        let phrase = &mut reading.entries[left].phrase;
        let is_placed = matches!(phrase.class, NounClass::Place | NounClass::Room);
        phrase.class = if is_placed { phrase.class } else { NounClass::Container };
    }
    reading.entries[left].contents = Some(right);
    reading.entries[right].role = Role::None;
}

#[cfg(test)]
mod tests {
    use crate::testing::check;

    #[test]
    fn folds() {
        check("a photo of a dog", &["1 dog", "style photo"]);
        check("two pairs of boots", &["4 boot"]);
        check("a pair of glasses", &["1 glasses"]);
        check("three slices of bread", &["3 bread"]);
        check("a sticker on the handle of a cup", &["1 sticker", "1 cup", "cup has handle", "sticker On cup"]);
        check("a bowl of soup", &["1 bowl of soup"]);
        check("a row of cats", &["3-7 cat", "cat Row"]);
    }
}
