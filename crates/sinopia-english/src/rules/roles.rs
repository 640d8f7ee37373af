//! What each phrase is: a thing, a part of one, a place, a time, the weather, a style, or what is not to be seen.

use super::links::LinkKind;
use super::phrase::{Determiner, class_of};
use super::{mentions, pronouns, subjects};
use crate::analysis::{Language, RelationKind};
use crate::nouns::{NounClass, Nouns};
use crate::reading::{Reading, Role};
use crate::sentence::Word;
use crate::words::Words;

/// Most phrases back to the owner of a part.
const REACH: usize = 12;

/// Gives every phrase its role, from left to right: what a part belongs to is known before it.
pub(crate) fn assign(reading: &mut Reading) {
    for entry in 0..reading.entries.len() {
        if reading.entries[entry].role != Role::Unknown {
            continue;
        }
        if reading.entries[entry].phrase.is_pronoun {
            pronouns::resolve(reading, entry);
            continue;
        }
        if let Some(before) = mentions::named_before(reading, entry) {
            reading.entries[entry].phrase.is_pronoun = true;
            reading.entries[entry].stands_for = vec![before];
            continue;
        }
        // Of another language only nouns are read that are known here.
        if reading.language != Language::English && !reading.entries[entry].phrase.is_known {
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

    /// Names a picture, its light or its lens. Several lights, icons or stickers are things.
    fn is_style(&self) -> bool {
        let written = self.reading.sentence.lower(self.reading.entries[self.entry].phrase.head);
        let listed = |name: &str| Words::embedded().has("style", name);
        let is_one = self.head == written;
        listed(written) || listed(self.name) && (is_one || self.name != self.head) || listed(self.head) && is_one
    }

    /// `the scene`, `through a wide-angle lens`: whatever stands before it.
    fn speaks_of_picture(&self) -> bool {
        let is_whole =
            matches!(self.head, "scene" | "view" | "depiction" | "rendition" | "composition" | "perspective");
        let is_lens = Words::embedded().get("style", self.head) == Some("lens");
        // `a still life with a bottle`, `a painting with two cats`
        let is_titled = self.entry == 0
            && matches!(
                self.head,
                "picture" | "image" | "photo" | "photograph" | "painting" | "drawing" | "illustration" | "life"
            )
            && self.reading.link_after(self.entry).is_some_and(|link| self.reading.links[link].kind == LinkKind::With);
        is_lens || (is_whole || is_titled) && !matches!(self.governor, Some(LinkKind::Verb | LinkKind::Wears))
    }

    fn can_be(&self, class: NounClass) -> bool {
        self.class == class || Nouns::embedded().can_be(self.name, class) || Nouns::embedded().can_be(self.head, class)
    }

    /// Nothing that is seen by itself: deeds, states, qualities. Happenings with an article are seen: `a campfire`, `a sign`.
    fn is_abstract(&self) -> bool {
        let counted = matches!(self.determiner, Determiner::Indefinite | Determiner::Number);
        let phrase = &self.reading.entries[self.entry].phrase;
        let is_said = self.reading.sentence.words[phrase.head].label == "attr";
        let happens = counted && !is_said && matches!(self.class, NounClass::Event | NounClass::Communication);
        !self.class.is_visible() && self.class != NounClass::Weather && !happens
    }

    /// `a sense of wonder`, `a ritual of energy`: nothing that could hold it, of nothing that is seen.
    fn holds_abstract(&self) -> bool {
        use NounClass::{Attribute, Cognition, Communication, Event, Feeling, State};
        let Some(contents) = self.reading.entries[self.entry].contents else { return false };
        let is_abstract = |class| matches!(class, Attribute | Cognition | Communication | Event | Feeling | State);
        let is_deed = |class| class == NounClass::Act || is_abstract(class) && !matches!(class, Communication | Event);
        // `a treasure of memory`, `a ritual of energy`: what the noun means first.
        let first = class_of(self.head, false);
        if self.governor.is_none() && first.is_some_and(is_deed) {
            return true;
        }
        let is_thing = first.is_none_or(NounClass::is_visible)
            && self.class.is_visible()
            && !matches!(self.class, NounClass::Object | NounClass::Group | NounClass::Shape);
        let is_abstract = |class| is_abstract(class) || matches!(class, NounClass::Time | NounClass::Act);
        // `centuries of wind`
        let is_time = Nouns::embedded().class(self.head) == Some(NounClass::Time);
        is_time || is_abstract(self.reading.entries[contents].phrase.class) && !is_thing
    }

    /// `their sheer faces` of cliffs: a part of the body behind a pronoun that means nobody.
    fn is_part_of_nothing(&self) -> bool {
        let is_theirs = self.determiner == Determiner::Possessive
            && matches!(
                self.reading.sentence.lower(self.reading.entries[self.entry].phrase.words.start),
                "its" | "their"
            );
        self.class == NounClass::Body && is_theirs && self.governor.is_none()
    }

    /// Has words before its noun, or is something.
    fn is_described(&self) -> bool {
        let phrase = &self.reading.entries[self.entry].phrase;
        let next = self.reading.sentence.lower(phrase.words.end);
        phrase.core.len() > 1 || self.governor.is_some() || matches!(next, "is" | "are" | "of")
    }

    /// In a place rather than beside it: in, on, at, along …
    fn is_located(&self) -> bool {
        use RelationKind::*;
        let places = [
            In, On, At, Along, Across, Through, From, Toward, Past, Above, Among, Outside, NextTo, Around, LeftOf,
            RightOf,
        ];
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
    if let Some(owner) = owned_by_pronoun(&question) {
        return (Role::Had, Some(owner));
    }
    if let Some(owner) = lost_by(&question) {
        return (Role::Had, Some(owner));
    }
    if let Some((role, owner)) = part(&question).or_else(|| definite_part(&question)) {
        return (role, Some(owner));
    }
    let rules = [style, deed, time, weather, aside, place];
    let found = rules.iter().find_map(|rule| rule(&question));
    (found.unwrap_or_else(|| thing(&question)), None)
}

/// `Its fur is long`, `her hair`: a part with nothing before it that says where it is.
fn owned_by_pronoun(question: &Question) -> Option<usize> {
    let is_part = question.class == NounClass::Body || question.is_listed("part");
    let is_free = question.governor.is_none() && question.determiner == Determiner::Possessive;
    if !is_part || !is_free {
        return None;
    }
    pronouns::owner(question.reading, question.entry)
}

/// Clothes, hair, wheels: what belongs to the left end of the link, or to somebody named before.
fn part(question: &Question) -> Option<(Role, usize)> {
    let is_body =
        question.class == NounClass::Body && question.determiner != Determiner::Number || question.is_listed("part");
    let is_colour = question.determiner == Determiner::Bare && Words::embedded().has("colour", question.name);
    let is_worn = question.can_be(NounClass::Clothing) || is_colour;
    match question.governor? {
        // `a pizza with a slice missing`
        LinkKind::With | LinkKind::Has if is_missing(question.reading, question.entry) => {
            Some((Role::Had, question.left()?))
        }
        // `a glass full of water`: what has no form of its own.
        LinkKind::Reversed(RelationKind::In)
            if question.is_listed("place") && question.determiner == Determiner::Bare =>
        {
            let holds = |class| !matches!(class, NounClass::Place | NounClass::Room);
            Some((Role::Description, question.left().filter(|_| question.left_class().is_some_and(holds))?))
        }
        // `holding hands`, `shaking hands` is what they do.
        LinkKind::Verb | LinkKind::Relation(RelationKind::Holding) if is_deed_of_hands(question) => None,
        LinkKind::Wears => Some((Role::Worn, question.left()?)),
        // `covered with two butterflies`
        LinkKind::Description if question.determiner == Determiner::Number && question.class.is_alive() => None,
        LinkKind::Description => Some((Role::Description, question.left()?)),
        LinkKind::Relation(RelationKind::In) if is_worn || question.name.ends_with("armor") => {
            let left = question.left().filter(|_| question.left_class().is_some_and(NounClass::is_alive));
            Some((Role::Worn, left?))
        }
        // `a dog on a leash`
        LinkKind::Relation(RelationKind::On) if question.head == "leash" => Some((Role::Had, question.left()?)),
        LinkKind::With | LinkKind::Has if !question.reading.refers_back(question.entry) => {
            let left = question.left()?;
            let left_class = question.reading.entries[left].phrase.class;
            let is_dish = left_class == NounClass::Food
                && matches!(question.class, NounClass::Food | NounClass::Plant | NounClass::Substance);
            let is_abstract = question.is_abstract() || question.class == NounClass::Shape;
            let is_dressed = is_worn && question.class == NounClass::Clothing;
            let is_place = matches!(left_class, NounClass::Place | NounClass::Room);
            let holds = left_class == NounClass::Container;
            let is_body = is_body || question.class == NounClass::Body; // `two stick arms`
            (!is_place && (is_body || is_dressed && !holds || is_dish && !holds || is_abstract))
                .then_some((Role::Had, left))
        }
        LinkKind::Verb | LinkKind::Relation(RelationKind::Holding) if is_body && question.class == NounClass::Body => {
            let left = question.left().filter(|_| question.left_class().is_some_and(NounClass::is_alive))?;
            // `she touches its nose`
            let is_its =
                question.reading.sentence.lower(question.reading.entries[question.entry].phrase.words.start) == "its";
            let other = is_its.then(|| pronouns::owner_but(question.reading, question.entry, left)).flatten();
            Some((Role::Had, other.unwrap_or(left)))
        }
        _ => None,
    }
}

/// `hands` alone behind a verb, and somebody alive before it.
fn is_deed_of_hands(question: &Question) -> bool {
    let Some(link) = question.reading.entries[question.entry].governor else { return false };
    let written = question.reading.sentence.lower(question.reading.entries[question.entry].phrase.head);
    let is_bare = question.determiner == Determiner::Bare
        && question.reading.entries[question.entry].phrase.core.len() == 1
        && matches!(written, "hands" | "arms" | "fingers" | "paws");
    let is_alive = |entry: &usize| {
        let class = question.reading.entries[*entry].phrase.class;
        class.is_alive() || class == NounClass::Group // a couple
    };
    is_bare && subjects::of_link(question.reading, link).0.iter().any(is_alive)
}

/// `a slice missing`, `one slice is missing`.
pub(crate) fn is_missing(reading: &Reading, entry: usize) -> bool {
    let end = reading.end_of(entry);
    let is = usize::from(matches!(reading.sentence.lower(end), "is" | "are"));
    reading.sentence.lower(end + is) == "missing"
        && reading.sentence.get(end + is + 1).is_none_or(|next| next.is_break() || next.tag == "CC" || next.tag == "IN")
}

/// `a pizza, one slice is missing`: what is missing is a part of the thing before.
fn lost_by(question: &Question) -> Option<usize> {
    let is_lost = question.governor.is_none() && is_missing(question.reading, question.entry);
    let can_lose = |entry: &usize| question.reading.entries[*entry].role == Role::Thing;
    (0..question.entry).rev().take(REACH).find(can_lose).filter(|_| is_lost)
}

/// `in this picture`, `the image`: speaks of the picture, and says nothing of how it looks.
pub(crate) fn is_picture_itself(reading: &Reading, entry: usize) -> bool {
    let phrase = &reading.entries[entry].phrase;
    let is_picture = matches!(phrase.name.as_str(), "picture" | "image" | "scene");
    phrase.core.len() == 1 && is_picture && matches!(reading.sentence.lower(phrase.words.start), "the" | "this")
}

/// `chopsticks resting on the rim`, `smoke rising from the chimney`: a part with `the` or `its` belongs to a thing named before, not to the one that lies there.
fn definite_part(question: &Question) -> Option<(Role, usize)> {
    let is_part = question.is_listed("part") || question.class == NounClass::Body;
    let is_one = question.class == NounClass::Body && question.determiner == Determiner::Number; // `in one hand`
    if !is_part
        || !is_one && !matches!(question.determiner, Determiner::Definite | Determiner::Possessive)
        || !matches!(question.governor, Some(LinkKind::Relation(_)))
    {
        return None;
    }
    if question.reading.entries[question.entry].contents.is_some() {
        return None; // `the door of a shop` says whose it is
    }
    let left = question.left();
    // `in her hands she holds`: hers who acts
    if question.determiner == Determiner::Possessive
        && question.class == NounClass::Body
        && question.left_class().is_some_and(NounClass::is_alive)
        && question.reading.entries[question.entry]
            .governor
            .is_some_and(|link| subjects::opens_sentence(question.reading, link))
    {
        return left.map(|left| (Role::Had, question.reading.whole(left)));
    }
    // `his hands in his pockets`
    let is_his = question.determiner == Determiner::Possessive && question.is_at(&[RelationKind::In]);
    if is_his && question.head == "pocket" && question.left_class().is_some_and(NounClass::is_alive) {
        return left.map(|left| (Role::Had, left));
    }
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
    let all_listed = question.is_style();
    if all_listed && question.speaks_of_picture() {
        return Some(Role::Style);
    }
    let is_first = question.entry == 0 && end >= reading.sentence.len();
    // `in this picture we can see`
    let is_told = question.is_at(&[RelationKind::In]) && is_picture_itself(reading, question.entry);
    if is_told && link.is_some_and(|link| subjects::opens_sentence(reading, link)) {
        return Some(Role::Style);
    }
    // `the image shows`
    let says = Words::embedded().has("saying", reading.sentence.lower(end));
    if all_listed && says && question.governor.is_none() {
        return Some(Role::Style);
    }
    (all_listed && is_whole && is_free && is_bare && !is_first).then_some(Role::Style)
}

/// `playing football`, `taking a nap`: what WordNet knows first as a deed, behind its verb; behind a verb that says little, whatever is not seen, and pictures.
fn deed(question: &Question) -> Option<Role> {
    if matches!(question.governor, Some(LinkKind::Verb | LinkKind::Relation(RelationKind::Holding)))
        && is_deed_of_hands(question)
    {
        return Some(Role::Deed);
    }
    let link =
        question.reading.entries[question.entry].governor.filter(|_| question.governor == Some(LinkKind::Verb))?;
    let verb = question.reading.sentence.lower(question.reading.links[link].words.start);
    let says_little = Words::embedded().has("light", verb);
    let first = Nouns::embedded().class(question.name).or_else(|| Nouns::embedded().class(question.head));
    let is_deed = match first? {
        NounClass::Act => true,
        first => says_little && (!first.is_visible() || question.is_listed("style")),
    };
    is_deed.then_some(Role::Deed)
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
    let is_abstract = question.is_abstract() || question.holds_abstract();
    let prepositional =
        matches!(question.governor, Some(LinkKind::Relation(_) | LinkKind::With | LinkKind::Has | LinkKind::Verb));
    // `looking at the camera`
    let is_towards = question.is_at(&[RelationKind::At, RelationKind::Toward, RelationKind::Along]);
    let is_viewer = is_towards && question.determiner == Determiner::Definite && question.name == "camera";
    (question.is_listed("idle")
        || is_viewer
        || is_aside && !(counted && question.class.is_visible() && !question.is_style())
        || question.holds_abstract()
        || question.is_part_of_nothing()
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
        // `the background` alone says nothing; `the background is blurred` does.
        Some("background") => return question.is_described().then_some(Role::Place).or(Some(Role::None)),
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
    // `pouring water`
    let is_mass = matches!(question.head, "water" | "sand" | "ice" | "snow");
    if crosses && is_mass && question.determiner == Determiner::Bare {
        return Some(Role::Deed);
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

/// `on the roof and the gutter`: a roof beside another thing is one.
pub(crate) fn show_roofs(reading: &mut Reading) {
    for entry in 1..reading.entries.len() {
        let Some(before) = reading.entries[entry].joined.filter(|_| reading.entries[entry].role == Role::Thing) else {
            continue;
        };
        let roof = &mut reading.entries[before];
        if roof.role == Role::Place && matches!(roof.phrase.name.as_str(), "roof" | "rooftop") {
            roof.role = Role::Thing;
        }
    }
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

/// `a mountain`, `a photo of a red forest`: a place with an article is the thing if the caption has nothing else. An empty one stays a place.
pub(crate) fn show_lone_place(reading: &mut Reading) {
    let says_something = |entry: &usize| !matches!(reading.entries[*entry].role, Role::None | Role::Style);
    let said: Vec<usize> = (0..reading.entries.len()).filter(says_something).collect();
    let [only] = said[..] else { return };
    let entry = &reading.entries[only];
    let is_empty = entry.phrase.modifiers().any(|at| {
        matches!(reading.sentence.lower(at), "empty" | "deserted" | "abandoned" | "quiet" | "blurred" | "blurry")
    });
    let has_article = entry.phrase.determiner == Determiner::Indefinite;
    let is_denied = reading.sentence.words.iter().any(|word| Words::embedded().has("negation", word.lower()));
    if entry.role == Role::Place && entry.governor.is_none() && has_article && !is_empty && !is_denied {
        reading.entries[only].role = Role::Thing;
    }
}

#[cfg(test)]
mod tests {
    use crate::testing::check;

    #[test]
    fn clothes_and_parts_belong_to_things() {
        check("a man in a red shirt with a long beard", &["1 man", "man wears red shirt", "man has long beard"]);
        check("a house with a red door", &["1 house", "house has red door"]);
        check("a pizza with a slice missing", &["1 pizza", "pizza has slice"]);
        check("a glass half full of water", &["1 glass", "glass is water"]);
        check("a robot and a girl holding hands", &["1 robot", "1 girl"]);
        check("a man with his hands in his pockets", &["1 man", "man has hands", "man has pockets"]);
        check(
            "two people, one in red and one in blue",
            &["1 person", "person wears red", "1 person", "person wears blue"],
        );
    }

    #[test]
    fn what_is_said_of_no_thing_is_no_thing() {
        check("a cup of coffee, a daily ritual of energy", &["1 cup of coffee"]);
        check(
            "Cliffs by the sea, their sheer faces weathered by centuries of wind.",
            &["Cliffs", "by sea", "cliff NextTo sea"],
        );
        check("a house, reminiscent of an oil painting", &["1 house"]);
        check("a woman looking at the camera", &["1 woman"]);
        check("snow on the roof and the gutter", &["1 roof", "1 gutter", "weather snow"]);
    }

    #[test]
    fn a_place_alone_is_the_thing() {
        check("a mountain", &["1 mountain"]);
        check("a photo of a red mountain", &["1 mountain", "style photo"]);
        check("an empty beach", &["empty beach"]);
        check("a beach at sunset", &["beach", "time sunset"]);
    }

    #[test]
    fn settings_are_no_things() {
        check(
            "a fox in the snow at night, oil painting",
            &["1 fox", "in snow", "time night", "style oil painting", "fox In snow"],
        );
        check("In this picture we can see two women.", &["2 woman"]);
        check("a crowd of people at a concert", &["5-12 person", "at concert", "person At concert"]);
        check("a boat on a lake in the rain", &["1 boat", "on lake", "weather rain", "boat On lake"]);
    }
}
