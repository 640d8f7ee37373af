//! What each phrase is: a thing, a part of one, a place, a time, the weather, a style, or what is not to be seen.

use super::links::LinkKind;
use super::phrases::Determiner;
use super::{pronouns, subjects};
use crate::analysis::RelationKind;
use crate::nouns::{NounClass, Nouns};
use crate::reading::{Reading, Role};
use crate::sentence::Word;
use crate::words::Words;

/// Most phrases back to the owner of a part.
const REACH: usize = 12;

/// Gives every phrase its role, from left to right: what a part belongs to is known before it.
pub(crate) fn assign(reading: &mut Reading) {
    for entry in 0..reading.entries.len() {
        if reading.entries[entry].role != Role::Unknown || reading.entries[entry].phrase.is_pronoun {
            continue;
        }
        if let Some(before) = pronouns::named_before(reading, entry) {
            reading.entries[entry].phrase.is_pronoun = true;
            reading.entries[entry].stands_for = vec![before];
            continue;
        }
        let (role, owner) = role_of(reading, entry);
        reading.entries[entry].role = role;
        reading.entries[entry].owner = owner;
    }
}

/// What the rules ask about a phrase.
struct Question<'a> {
    reading: &'a Reading,
    entry: usize,
    /// Its noun with the nouns before it, in the singular.
    name: &'a str,
    /// Its noun alone.
    head: &'a str,
    class: NounClass,
    determiner: Determiner,
    governor: Option<LinkKind>,
}

impl Question<'_> {
    fn is_listed(&self, kind: &'static str) -> bool {
        Words::embedded().has(kind, self.name) || Words::embedded().has(kind, self.head)
    }

    fn can_be(&self, class: NounClass) -> bool {
        self.class == class || Nouns::embedded().can_be(self.name, class) || Nouns::embedded().can_be(self.head, class)
    }

    /// Nothing that is seen by itself: deeds, states, qualities. Happenings with an article are seen: `a campfire`, `a sign`.
    fn is_abstract(&self) -> bool {
        let counted = matches!(self.determiner, Determiner::Indefinite | Determiner::Number);
        let happens = counted && matches!(self.class, NounClass::Event | NounClass::Communication);
        !self.class.is_visible() && self.class != NounClass::Weather && !happens
    }

    /// In a place rather than beside it: in, on, at, along …
    fn is_located(&self) -> bool {
        use RelationKind::*;
        let places = [In, On, At, Along, Across, Through, From, Toward, Past, Above, Among, Outside, NextTo, Around];
        matches!(self.governor, Some(LinkKind::Relation(kind)) if places.contains(&kind))
    }

    fn is_at(&self, kinds: &[RelationKind]) -> bool {
        matches!(self.governor, Some(LinkKind::Relation(kind)) if kinds.contains(&kind))
    }

    /// The first left end of the link before it.
    fn left(&self) -> Option<usize> {
        let link = self.reading.entries[self.entry].governor?;
        subjects::of_link(self.reading, link).0.first().copied()
    }

    fn left_class(&self) -> Option<NounClass> {
        self.left().map(|left| self.reading.entries[left].phrase.class)
    }
}

fn role_of(reading: &Reading, entry: usize) -> (Role, Option<usize>) {
    let phrase = &reading.entries[entry].phrase;
    // `a pirate's shoulder`
    if reading.sentence.before(phrase.words.start).is_some_and(|before| before.tag == "POS") && entry > 0 {
        return (Role::Had, Some(entry - 1));
    }
    let question = Question {
        reading,
        entry,
        name: &phrase.name,
        head: &reading.sentence.words[phrase.head].singular,
        class: phrase.class,
        determiner: phrase.determiner,
        governor: reading.governor_kind(entry),
    };
    if Words::embedded().get("nobody", question.head) == Some("-") {
        return (Role::None, None);
    }
    if reading.entries[entry].is_negated || question.is_listed("nobody") {
        return (Role::Excluded, None);
    }
    if let Some((role, owner)) = part(&question).or_else(|| definite_part(&question)) {
        return (role, Some(owner));
    }
    let rules = [style, time, weather, aside, place];
    let found = rules.iter().find_map(|rule| rule(&question));
    (found.unwrap_or_else(|| thing(&question)), None)
}

/// Clothes, hair, wheels: what belongs to the left end of the link, or to somebody named before.
fn part(question: &Question) -> Option<(Role, usize)> {
    let is_body =
        question.class == NounClass::Body && question.determiner != Determiner::Number || question.is_listed("part");
    let is_worn = question.can_be(NounClass::Clothing);
    match question.governor? {
        LinkKind::Wears => Some((Role::Worn, question.left()?)),
        LinkKind::Description => Some((Role::Description, question.left()?)),
        LinkKind::Relation(RelationKind::In) if is_worn || question.name.ends_with("armor") => {
            let left = question.left().filter(|_| question.left_class().is_some_and(NounClass::is_alive));
            Some((Role::Worn, left?))
        }
        LinkKind::With | LinkKind::Has if !question.reading.refers_back(question.entry) => {
            let left = question.left()?;
            let left_class = question.reading.entries[left].phrase.class;
            let is_dish = left_class == NounClass::Food
                && matches!(question.class, NounClass::Food | NounClass::Plant | NounClass::Substance);
            let is_abstract = question.is_abstract() || question.class == NounClass::Shape;
            let is_dressed = is_worn && question.class == NounClass::Clothing;
            let is_place = matches!(left_class, NounClass::Place | NounClass::Room);
            let holds = left_class == NounClass::Container;
            (!is_place && (is_body || is_dressed && !holds || is_dish && !holds || is_abstract))
                .then_some((Role::Had, left))
        }
        LinkKind::Verb | LinkKind::Relation(RelationKind::Holding) if is_body && question.class == NounClass::Body => {
            Some((Role::Had, question.left()?))
        }
        _ => None,
    }
}

/// `chopsticks resting on the rim`, `smoke rising from the chimney`: a part with `the` or `its` belongs to a thing named before, not to the one that lies there.
fn definite_part(question: &Question) -> Option<(Role, usize)> {
    let is_part = question.is_listed("part") || question.class == NounClass::Body;
    if !is_part
        || !matches!(question.determiner, Determiner::Definite | Determiner::Possessive)
        || !matches!(question.governor, Some(LinkKind::Relation(_)))
    {
        return None;
    }
    if question.reading.entries[question.entry].contents.is_some() {
        return None; // `the door of a shop` says whose it is
    }
    let left = question.left();
    let can_own = |entry: &usize| question.reading.entries[*entry].role == Role::Thing && Some(*entry) != left;
    let owner = (question.entry.saturating_sub(REACH)..question.entry).find(can_own)?;
    Some((Role::Had, owner))
}

/// Body parts and clothes between commas belong to whoever was named before: `portrait of a man, grey beard, red scarf`.
fn bare_part(question: &Question) -> Option<usize> {
    let is_part = matches!(question.class, NounClass::Body | NounClass::Clothing)
        || question.is_listed("part") && question.governor.is_none();
    if !is_part || question.governor.is_some() || question.determiner != Determiner::Bare {
        return None;
    }
    let start = question.entry.saturating_sub(REACH);
    (start..question.entry).rev().find(|before| {
        let entry = &question.reading.entries[*before];
        entry.role == Role::Thing && entry.phrase.class.is_alive()
    })
}

fn style(question: &Question) -> Option<Role> {
    let reading = question.reading;
    let end = reading.end_of(question.entry);
    let is_whole = reading.sentence.get(end).is_none_or(|word| word.is_break() || word.tag == "CC" || word.tag == "IN");
    let is_free = question.governor.is_none() || question.is_at(&[RelationKind::In, RelationKind::On]);
    let is_bare = matches!(question.determiner, Determiner::Bare | Determiner::Definite) || question.head == "style";
    // `by greg rutkowski` between commas names a painter.
    let link = reading.entries[question.entry].governor;
    let names_painter = link.is_some_and(|link| {
        let start = reading.links[link].words.start;
        reading.sentence.lower(start) == "by" && reading.sentence.before(start).is_some_and(Word::is_break)
    });
    if names_painter && question.determiner == Determiner::Bare && is_whole {
        return Some(Role::Style);
    }
    let all_listed = question.is_listed("style");
    let is_first = question.entry == 0 && end >= reading.sentence.len();
    (all_listed && is_whole && is_free && is_bare && !is_first).then_some(Role::Style)
}

fn time(question: &Question) -> Option<Role> {
    let is_free = question.governor.is_none()
        || question.is_at(&[RelationKind::In, RelationKind::On, RelationKind::At, RelationKind::Through]);
    let is_time = question.is_listed("time") || question.class == NounClass::Time && question.governor.is_some();
    (is_time && is_free).then_some(Role::Time)
}

fn weather(question: &Question) -> Option<Role> {
    let is_free = question.governor.is_none()
        || question.is_located()
        || matches!(question.governor, Some(LinkKind::With) | Some(LinkKind::Verb));
    let is_weather = question.is_listed("weather")
        || question.class == NounClass::Weather && Nouns::embedded().senses(question.head).len() == 1;
    if !is_weather || !is_free || matches!(question.determiner, Determiner::Number) {
        return None;
    }
    let is_ground = matches!(question.head, "snow" | "fog" | "mist")
        && question.is_at(&[RelationKind::In, RelationKind::On, RelationKind::Through, RelationKind::Across]);
    Some(if is_ground { Role::Place } else { Role::Weather })
}

/// Nouns that are drawn as nothing: purposes, deeds, states.
fn aside(question: &Question) -> Option<Role> {
    let counted = matches!(question.determiner, Determiner::Indefinite | Determiner::Number);
    let is_aside = question.governor == Some(LinkKind::Aside);
    let is_abstract = question.is_abstract();
    let prepositional =
        matches!(question.governor, Some(LinkKind::Relation(_) | LinkKind::With | LinkKind::Has | LinkKind::Verb));
    (question.is_listed("idle")
        || is_aside && !(counted && question.class.is_visible())
        || is_abstract && (prepositional || !counted))
        .then_some(Role::Unknown)
}

fn place(question: &Question) -> Option<Role> {
    use RelationKind::*;
    let listed =
        Words::embedded().get("place", question.name).or_else(|| Words::embedded().get("place", question.head));
    match listed {
        Some("surface") => return None,
        Some("celestial") => return question.is_at(&[On]).then_some(Role::Place),
        Some("background") => return Some(Role::Place),
        _ => {}
    }
    let is_land = listed.is_some() || matches!(question.class, NounClass::Place | NounClass::Room);
    let free = question.governor.is_none();
    let crosses = question.governor == Some(LinkKind::Verb);
    let beside = question.is_at(&[Behind, InFrontOf, Below, Under, Between, Against])
        || matches!(question.governor, Some(LinkKind::Reversed(_)));
    let stands =
        free && (question.can_be(NounClass::Building) || question.can_be(NounClass::Vehicle)) && listed.is_none();
    if stands {
        return None;
    }
    let is_inside = question.is_at(&[In]) && question.class == NounClass::Building;
    if is_land && (free || crosses || beside || question.is_located() || question.governor == Some(LinkKind::With))
        || is_inside
    {
        return Some(Role::Place);
    }
    None
}

fn thing(question: &Question) -> Role {
    if bare_part(question).is_some() { Role::Had } else { Role::Thing }
}

/// Gives bare parts their owners; what [`assign`] cannot, as it gives one owner by links only.
pub(crate) fn own_bare_parts(reading: &mut Reading) {
    for entry in 0..reading.entries.len() {
        if reading.entries[entry].role == Role::Had && reading.entries[entry].owner.is_none() {
            let start = entry.saturating_sub(REACH);
            let owner = (start..entry).rev().find(|before| {
                reading.entries[*before].role == Role::Thing && reading.entries[*before].phrase.class.is_alive()
            });
            reading.entries[entry].owner = owner;
        }
    }
}

#[cfg(test)]
mod tests {
    use crate::testing::check;

    #[test]
    fn clothes_and_parts_belong_to_things() {
        check("a man in a red shirt with a long beard", &["1 man", "man wears red shirt", "man has long beard"]);
        check("a house with a red door", &["1 house", "house has red door"]);
    }

    #[test]
    fn settings_are_no_things() {
        check(
            "a fox in the snow at night, oil painting",
            &["1 fox", "in snow", "time night", "style oil painting", "fox In snow"],
        );
        check("a boat on a lake in the rain", &["1 boat", "on lake", "weather rain", "boat On lake"]);
    }
}
