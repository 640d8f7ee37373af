//! Several things told apart: `two dogs, one black and one white`, `five people: two men and three women`, `two birds, one is red and the other is blue`.

use super::links::LinkKind;
use super::phrase::Determiner;
use super::{ellipsis, mentions};
use crate::reading::{Reading, Role};
use crate::words::Words;

/// Most phrases after the plural that tell its members apart.
const REACH: usize = 10;

/// Most words from the plural to the colon before its members.
const TO_COLON: usize = 12;

/// Replaces each plural, or a part of it, by the phrases that tell its members apart.
pub(crate) fn find(reading: &mut Reading) {
    for whole in 0..reading.entries.len() {
        let count = reading.entries[whole].phrase.count;
        if reading.entries[whole].role != Role::Thing || !count.is_written || count.min != count.max || count.min < 2 {
            continue;
        }
        let members = members(reading, whole);
        let listed = if members.is_empty() { listed(reading, whole) } else { members };
        let sum: u32 = listed.iter().map(|member| reading.entries[*member].phrase.count.max).sum();
        if !listed.is_empty() && sum <= count.max && tells_apart(reading, &listed, sum == count.max) {
            split(reading, whole, listed, count.max - sum);
        } else {
            stand_for(reading, whole, &listed);
        }
    }
}

/// Phrases behind it that have its noun: `one black`, `the other`, `one cat` after `two cats`.
fn members(reading: &Reading, whole: usize) -> Vec<usize> {
    let name = &reading.entries[whole].phrase.name;
    let mut found = Vec::new();
    for after in whole + 1..reading.entries.len().min(whole + REACH) {
        let phrase = &reading.entries[after].phrase;
        let borrows = phrase.lender == Some(whole);
        let first = reading.sentence.lower(phrase.words.start);
        let second = reading.sentence.lower(phrase.words.start + 1);
        let is_placed = || {
            let link = reading.link_after(after);
            phrase.count.max == 1 && link.is_some_and(|link| matches!(reading.links[link].kind, LinkKind::Position(_)))
        };
        let tells = match first {
            "one" | "another" => true,
            "the" => matches!(second, "other" | "first" | "second" | "third") || is_placed(),
            _ => false,
        };
        let is_named = phrase.name == *name && !phrase.is_pronoun && phrase.lender.is_none() && tells;
        let is_another = clashes(reading, whole, after) || is_named && is_added(reading, whole, after, &found);
        if (borrows || is_named) && !is_another {
            found.push(after);
        }
    }
    found
}

/// `two red balls and one green`: what has another colour than all of them is none of them.
fn clashes(reading: &Reading, whole: usize, after: usize) -> bool {
    let colours = |entry: usize| {
        let words = reading.entries[entry].phrase.modifiers();
        words.filter_map(|at| Words::embedded().get("colour", reading.sentence.lower(at)))
    };
    let all: Vec<&str> = colours(whole).collect();
    !all.is_empty() && colours(after).any(|colour| !all.contains(&colour))
}

/// `two cats and one big cat` are three: with a noun of its own behind `and`. Behind the comma of `two cats, one big cat and one small cat` the first is a member, and so are those after it.
fn is_added(reading: &Reading, whole: usize, after: usize, members: &[usize]) -> bool {
    let start = reading.entries[after].phrase.words.start;
    let opens = matches!(reading.sentence.lower(start), "one" | "another");
    let is_joined = start.checked_sub(1).is_some_and(|before| reading.sentence.words[before].tag == "CC");
    let has_other = (whole + 1..after).any(|between| {
        let phrase = &reading.entries[between].phrase;
        phrase.name == reading.entries[whole].phrase.name && !members.contains(&between)
    });
    opens && (members.is_empty() && is_joined || has_other)
}

/// `five people: two men and three women`: a list right behind it, or behind the next colon, with as many of them.
fn listed(reading: &Reading, whole: usize) -> Vec<usize> {
    let end = reading.end_of(whole);
    let colon =
        (end..reading.sentence.len().min(end + TO_COLON)).find(|at| matches!(reading.sentence.lower(*at), ":" | "."));
    let after_colon = colon.filter(|colon| reading.sentence.lower(*colon) == ":");
    let is_sign = matches!(reading.sentence.lower(end), "," | "-" | "–" | "—");
    let Some(sign) = after_colon.or_else(|| is_sign.then_some(end)) else { return Vec::new() };
    let first = reading.entries.partition_point(|entry| entry.phrase.words.start <= sign);
    let has_number =
        |entry: usize| matches!(reading.entries[entry].phrase.determiner, Determiner::Number | Determiner::Indefinite);
    if reading.entries.get(first).is_none_or(|next| next.phrase.words.start != sign + 1) || !has_number(first) {
        return Vec::new();
    }
    let mut list = vec![first];
    for after in first + 1..reading.entries.len().min(first + REACH) {
        if reading.entries[after].joined == list.last().copied() && has_number(after) {
            list.push(after);
        }
    }
    let sum: u32 = list.iter().map(|entry| reading.entries[*entry].phrase.count.max).sum();
    let is_kind = |entry: &usize| {
        let (one, all) = (&reading.entries[*entry].phrase, &reading.entries[whole].phrase);
        let is_same_class = after_colon.is_some() && one.class == all.class && one.name != all.name;
        is_same_class || mentions::is_kind_of(one.class, &one.name, &all.name)
    };
    let is_all = sum == reading.entries[whole].phrase.count.max && list.len() > 1 && list.iter().all(is_kind);
    if is_all { list } else { Vec::new() }
}

/// All members are told, or those that are differ by an adjective or a place: `one of them` alone is still one of them.
fn tells_apart(reading: &Reading, members: &[usize], is_all: bool) -> bool {
    is_all
        || members.iter().all(|member| {
            let phrase = &reading.entries[*member].phrase;
            !ellipsis::is_one_of(&reading.sentence, phrase) || is_described(reading, *member)
        })
}

/// `two of them black`, `two of which are black`, `two of them sleeping`: by an adjective, or by a deed without another thing.
fn is_described(reading: &Reading, member: usize) -> bool {
    let phrase = &reading.entries[member].phrase;
    let end = phrase.words.end;
    let is_said = matches!(reading.sentence.lower(end), "is" | "are" | "was" | "were");
    let word = reading.sentence.get(end + usize::from(is_said));
    let ends =
        reading.sentence.get(end + usize::from(is_said) + 1).is_none_or(|next| next.is_break() || next.tag == "IN");
    !phrase.core.is_empty()
        || word.is_some_and(|word| is_said && word.is_adjective() || matches!(word.tag, "VBG" | "VBN" | "VBD") && ends)
}

fn split(reading: &mut Reading, whole: usize, mut members: Vec<usize>, rest: u32) {
    for member in &members {
        let entry = &mut reading.entries[*member];
        entry.role = Role::Thing;
        entry.member_of = Some(whole);
    }
    if rest == 0 {
        reading.entries[whole].is_replaced = true;
    } else {
        let count = &mut reading.entries[whole].phrase.count;
        (count.min, count.max) = (rest, rest);
        members.push(whole);
    }
    reading.entries[whole].members = members;
}

/// What was not split off is another word for the whole.
fn stand_for(reading: &mut Reading, whole: usize, members: &[usize]) {
    for member in members {
        let entry = &mut reading.entries[*member];
        if entry.phrase.lender == Some(whole) {
            entry.phrase.is_pronoun = true;
            entry.stands_for = vec![whole];
        }
    }
}

#[cfg(test)]
mod tests {
    use crate::testing::check;

    #[test]
    fn members_are_told_apart() {
        check("five red and three blue balloons", &["5 balloon", "3 balloon"]);
        check("three cats, two of them sleeping", &["1 cat", "2 cat"]);
        check("three cats, two of which are black", &["1 cat", "2 cat"]);
        check("three cats, two of them black", &["1 cat", "2 cat"]);
        check("two cats: one big cat and one small cat", &["1 cat", "1 cat"]);
        check(
            "two dogs, one black and one white, on a sofa",
            &["1 dog", "1 dog", "1 sofa", "dog On sofa", "dog On sofa"],
        );
        check("five people: two men and three women", &["2 man", "3 woman"]);
        check(
            "three musicians on a chair: a singer and two drummers",
            &["1 chair", "1 singer", "2 drummer", "singer On chair", "drummer On chair"],
        );
        check(
            "two birds on a wire, one is red and the other is blue",
            &["1 wire", "1 bird", "1 bird", "bird On wire", "bird On wire"],
        );
        check(
            "Three cats sit on a fence. The cat in the middle is black.",
            &["2 cat", "1 fence", "1 cat", "cat On fence", "cat On fence", "cat Middle"],
        );
        check("three balls, the one on the left is red", &["2 ball", "1 ball", "ball Left"]);
        check(
            "two boys on a bench, one of them holding a kite",
            &["2 boy", "1 bench", "1 kite", "boy On bench", "boy Holding kite"],
        );
    }

    #[test]
    fn others_beside_them_are_no_members() {
        check("two red balls and one green ball", &["2 ball", "1 ball"]);
        check("two red balls, three blue balls and one green ball", &["2 ball", "3 ball", "1 ball"]);
        check("two cats, and one big cat", &["2 cat", "1 cat"]);
        check("three red apples and one green", &["3 apple", "1 apple"]);
        check("two red balls and a blue one", &["2 ball", "1 ball"]);
        check("four red chairs and two blue ones", &["4 chair", "2 chair"]);
        check("a white cat and a black one on a sofa", &["1 cat", "1 cat", "1 sofa", "cat On sofa", "cat On sofa"]);
        check("two kittens, a grey one and an orange one", &["1 kitten", "1 kitten"]);
        let analysis = crate::read("two blue cups and one red cup on a shelf");
        assert_eq!(
            (&analysis.things[0].colours[..], &analysis.things[1].colours[..]),
            (&["blue".to_owned()][..], &["red".to_owned()][..])
        );
    }
}
