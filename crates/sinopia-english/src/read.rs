//! From a caption to its analysis: the steps in order.

use std::collections::HashMap;
use std::ops::Range;

use sinopia_layout::limits;

use crate::analysis::{
    CaptionAnalysis, Certainty, End, Exclusion, Language, Part, PartKind, Position, PositionKind, Quote, Relation,
    RelationKind, Setting, Span, Thing,
};
use crate::reading::{Entry, Reading, Role};
use crate::rules::links::LinkKind;
use crate::rules::phrase::Determiner;
use crate::rules::{
    deeds, governors, language, links, lists, multiples, of, phrases, predicates, relations, roles, splits, subjects,
    tags,
};
use crate::sentence::{Sentence, Word};
use crate::unread::Unread;
use crate::words::Words;

/// Relations back to one that says the same: `a box with a ball in it`.
const RECENT: usize = 100;

/// Reads a caption. Of one longer than [`limits::CAPTION_CHARS`] characters the rest is left out, and told.
pub fn read(caption: &str) -> CaptionAnalysis {
    let end = caption.char_indices().nth(limits::CAPTION_CHARS).map_or(caption.len(), |(end, _)| end);
    let text = &caption[..end];
    let language = language::of(text);
    let unread = Unread::find(text, language);
    let mut reading = understand(Sentence::parse(text, &unread.spans()), language);
    if unread.negatives.is_empty() {
        roles::show_lone_place(&mut reading);
    }
    let mut analysis = Builder::new(text, &reading).build();
    analysis.not_understood.extend(unread.foreign_words());
    analysis.exclusions.extend(unread.exclusions(text));
    analysis.not_understood.sort_by_key(|span| span.start);
    analysis.quotes = unread.quotes.into_iter().map(|span| quote(text, span, &analysis)).collect();
    analysis.controls = unread.controls;
    analysis.is_cut = end < caption.len();
    analysis.language = reading.language;
    analysis
}

fn understand(mut sentence: Sentence, language: Language) -> Reading {
    tags::correct(&mut sentence);
    let links = links::find(&sentence);
    let phrases = phrases::find(&sentence, &links);
    let mut reading = Reading::new(sentence, links, phrases, language);
    of::fold(&mut reading);
    governors::find(&mut reading);
    lists::join(&mut reading);
    roles::assign(&mut reading);
    splits::find(&mut reading);
    roles::own_bare_parts(&mut reading);
    roles::show_roofs(&mut reading);
    multiples::multiply(&mut reading);
    reading
}

fn quote(text: &str, span: Span, analysis: &CaptionAnalysis) -> Quote {
    let inner: String = text[span.clone()].chars().skip(1).collect();
    let text = inner.chars().take(inner.chars().count().saturating_sub(1)).collect();
    let thing = analysis.things.iter().rposition(|thing| thing.span.end <= span.start);
    Quote { span, text, thing }
}

struct Builder<'a> {
    text: &'a str,
    reading: &'a Reading,
    analysis: CaptionAnalysis,
    /// For each phrase what it became.
    ends: Vec<Option<End>>,
    /// For each phrase that became a part, its things and where among their parts.
    parts: HashMap<usize, Vec<(usize, usize)>>,
}

impl<'a> Builder<'a> {
    fn new(text: &'a str, reading: &'a Reading) -> Self {
        let ends = vec![None; reading.entries.len()];
        Self { text, reading, analysis: CaptionAnalysis::default(), ends, parts: HashMap::new() }
    }

    fn build(mut self) -> CaptionAnalysis {
        for i in 0..self.reading.entries.len() {
            self.entry(i);
        }
        for i in 0..self.reading.entries.len() {
            self.part(i);
        }
        self.mentions();
        self.distribute_adjectives();
        self.predicates();
        self.deeds();
        self.loose_styles();
        self.relations();
        self.positions();
        self.analysis
    }

    fn entry(&mut self, i: usize) {
        let entry = &self.reading.entries[i];
        match entry.role {
            Role::Thing if !entry.phrase.is_pronoun && !entry.is_replaced => {
                self.ends[i] = Some(End::Thing(self.analysis.things.len()));
                let thing = self.thing(entry);
                self.analysis.things.push(thing);
                self.unknown(entry);
            }
            Role::Place => {
                self.ends[i] = Some(End::Place(self.analysis.places.len()));
                let place = self.setting(entry, "place");
                self.analysis.places.push(place);
            }
            Role::Weather => self.analysis.weather.push(self.setting(entry, "weather")),
            Role::Time => self.analysis.times.push(self.setting(entry, "time")),
            Role::Style if roles::is_picture_itself(self.reading, i) => {}
            Role::Style => self.analysis.styles.push(self.setting(entry, "style")),
            Role::Excluded => self.analysis.exclusions.push(self.exclusion(entry)),
            Role::Unknown if !entry.phrase.is_pronoun => {
                self.analysis.not_understood.push(self.reading.sentence.span(&entry.phrase.words));
            }
            _ => {}
        }
    }

    /// A noun that no dictionary has is told, but names are not.
    fn unknown(&mut self, entry: &Entry) {
        let head = &self.reading.sentence.words[entry.phrase.head];
        let is_name = head.tag.starts_with("NNP") && head.token.text.starts_with(char::is_uppercase);
        if !entry.phrase.is_known && !is_name && self.reading.language == Language::English {
            self.analysis.not_understood.push(head.token.span.clone());
        }
    }

    /// With what its `of` holds.
    fn words(&self, entry: &Entry, start: usize) -> Range<usize> {
        let end =
            entry.contents.map_or(entry.phrase.words.end, |contents| self.reading.entries[contents].phrase.words.end);
        start..end
    }

    fn phrase(&self, entry: &Entry) -> String {
        let sentence = &self.reading.sentence;
        let own = sentence.text(self.words(entry, entry.phrase.core.start));
        if entry.phrase.lender.is_none() {
            return own;
        }
        // The noun stands elsewhere, and in its number.
        let head = &sentence.words[entry.phrase.head];
        let name = &entry.phrase.name;
        let before = name.strip_suffix(head.singular.as_str()).unwrap_or("");
        let noun = if entry.phrase.count.max > 1 { format!("{before}{}", head.lower()) } else { name.clone() };
        format!("{own} {noun}").trim_start().to_owned()
    }

    /// What a phrase became: itself, or its members.
    fn ends_of(&self, entry: usize) -> Vec<End> {
        let members = &self.reading.entries[entry].members;
        if members.is_empty() {
            return self.ends[entry].into_iter().collect();
        }
        members.iter().filter_map(|member| self.ends[*member]).collect()
    }

    /// The things that a phrase became, as indices.
    fn things_of(&self, entry: usize) -> Vec<usize> {
        let thing = |end: End| match end {
            End::Thing(thing) => Some(thing),
            End::Place(_) => None,
        };
        self.ends_of(entry).into_iter().filter_map(thing).collect()
    }

    fn thing(&self, entry: &Entry) -> Thing {
        let sentence = &self.reading.sentence;
        let (mut colours, mut adjectives) = self.adjectives(entry);
        if let Some(whole) = entry.member_of {
            let of_all = self.adjectives(&self.reading.entries[whole]);
            colours.extend(of_all.0);
            adjectives.extend(of_all.1);
        }
        let contents = entry.contents.map(|contents| self.phrase(&self.reading.entries[contents]));
        let is_sure = entry.phrase.is_known && self.reading.language == Language::English;
        Thing {
            span: sentence.span(&self.words(entry, entry.phrase.words.start)),
            phrase: self.phrase(entry),
            name: entry.phrase.name.clone(),
            head: sentence.words[entry.phrase.head].singular.clone(),
            contents,
            count: entry.phrase.count,
            colours,
            adjectives,
            parts: Vec::new(),
            doing: None,
            class: entry.phrase.class,
            certainty: if is_sure { Certainty::Sure } else { Certainty::Unsure },
        }
    }

    /// Colours and other adjectives between article and noun.
    fn adjectives(&self, entry: &Entry) -> (Vec<String>, Vec<String>) {
        let (mut colours, mut adjectives) = (Vec::new(), Vec::new());
        let mut hyphenated = false;
        if self.reading.sentence.lower(entry.phrase.words.start) == "half" && entry.phrase.count.max == 1 {
            adjectives.push("half".to_owned()); // `half a melon`
        }
        for i in entry.phrase.modifiers() {
            let word = &self.reading.sentence.words[i];
            if is_in_name(entry, i, word) {
                continue;
            }
            if let Some(colour) = Words::embedded().get("colour", word.lower()) {
                colours.push(colour.to_owned());
            } else if word.lower() == "-" {
                hyphenated = true;
                continue;
            } else if hyphenated && let Some(last) = adjectives.last_mut() {
                *last = format!("{last}-{}", word.lower());
            } else if word.is_adjective()
                || self.is_material(entry, i)
                || matches!(word.tag, "VBN" | "VBG" | "VBD") && word.label != "compound"
            {
                adjectives.push(word.token.text.clone());
            }
            hyphenated = false;
        }
        (colours, adjectives)
    }

    /// A material before the noun that is no part of its name, as it is of `pine tree`.
    fn is_material(&self, entry: &Entry, word: usize) -> bool {
        let lower = self.reading.sentence.lower(word);
        Words::embedded().has("material", lower) && !entry.phrase.name.split(' ').any(|part| part == lower)
    }

    fn setting(&self, entry: &Entry, kind: &'static str) -> Setting {
        let sentence = &self.reading.sentence;
        let head = &sentence.words[entry.phrase.head].singular;
        let words = Words::embedded();
        let listed = words.get(kind, &entry.phrase.name).or_else(|| words.get(kind, head)).filter(|_| kind != "place");
        let preposition =
            entry.governor.map(|link| sentence.joined(self.reading.links[link].words.clone())).unwrap_or_default();
        Setting {
            span: sentence.span(&self.words(entry, entry.phrase.words.start)),
            phrase: self.phrase(entry),
            name: listed.unwrap_or(&entry.phrase.name).to_owned(),
            preposition,
        }
    }

    fn exclusion(&self, entry: &Entry) -> Exclusion {
        let head = &self.reading.sentence.words[entry.phrase.head].singular;
        let words = Words::embedded();
        let nobody = words.get("nobody", &entry.phrase.name).or_else(|| words.get("nobody", head));
        Exclusion {
            span: self.reading.sentence.span(&self.words(entry, entry.phrase.words.start)),
            phrase: nobody.map_or_else(|| self.phrase(entry), |_| "people".to_owned()),
            name: nobody.unwrap_or(&entry.phrase.name).to_owned(),
        }
    }

    fn part(&mut self, i: usize) {
        let entry = &self.reading.entries[i];
        let kind = match entry.role {
            Role::Worn => PartKind::Wears,
            Role::Had => PartKind::Has,
            Role::Description => PartKind::Is,
            _ => return,
        };
        let owners = self.things_of(self.reading.whole(i));
        if owners.is_empty() {
            self.analysis.not_understood.push(self.reading.sentence.span(&entry.phrase.words));
            return;
        }
        let part = Part {
            span: self.reading.sentence.span(&self.words(entry, entry.phrase.words.start)),
            phrase: self.phrase(entry),
            counted: self.counted(entry) + if roles::is_missing(self.reading, i) { " missing" } else { "" },
            name: entry.phrase.name.clone(),
            kind,
            words: self.words_of_part(entry),
        };
        for owner in owners {
            let parts = &mut self.analysis.things[owner].parts;
            self.parts.entry(i).or_default().push((owner, parts.len()));
            parts.push(part.clone());
        }
    }

    /// Adjectives of what is named again: `the black cat` after `a cat`.
    fn mentions(&mut self) {
        for entry in self.reading.entries.iter().filter(|entry| entry.phrase.is_pronoun && entry.stands_for.len() == 1)
        {
            let (colours, adjectives) = self.adjectives(entry);
            for thing in self.things_of(entry.stands_for[0]) {
                let thing = &mut self.analysis.things[thing];
                colours.iter().for_each(|colour| push_once(&mut thing.colours, colour));
                adjectives.iter().for_each(|adjective| push_once(&mut thing.adjectives, adjective));
            }
        }
    }

    /// With its article or number; whose it is does not matter.
    fn counted(&self, entry: &Entry) -> String {
        let sentence = &self.reading.sentence;
        let head = &sentence.words[entry.phrase.head];
        match entry.phrase.determiner {
            Determiner::Possessive | Determiner::Definite => {
                let phrase = self.phrase(entry);
                let has_no_article = head.is_plural() || Words::embedded().has("mass", &head.singular);
                let is_vowel = phrase.to_lowercase().starts_with(['a', 'e', 'i', 'o', 'u']);
                match (has_no_article, is_vowel) {
                    (true, _) => phrase,
                    (false, true) => format!("an {phrase}"),
                    (false, false) => format!("a {phrase}"),
                }
            }
            _ => sentence.text(self.words(entry, entry.phrase.words.start)),
        }
    }

    /// What things do by themselves.
    fn deeds(&mut self) {
        let deeds = deeds::find(self.reading);
        self.analysis.not_understood.extend(deeds.of_nobody.iter().map(|words| self.reading.sentence.span(words)));
        for deed in deeds.denied {
            let text = deed.words.clone();
            self.deny(deed.entry, deed.verb..deed.verb + 1, &text);
        }
        for deed in deeds.told {
            for thing in self.things_of(deed.entry) {
                let doing = &mut self.analysis.things[thing].doing;
                *doing = Some(match doing.take() {
                    Some(before) => format!("{before} and {}", deed.words),
                    None => deed.words.clone(),
                });
            }
        }
    }

    /// `…, all blue`, `…, both red`: adjectives alone after such a word belong to every thing that no link leads to.
    fn distribute_adjectives(&mut self) {
        let sentence = &self.reading.sentence;
        for i in 0..sentence.len() {
            if !matches!(sentence.lower(i), "all" | "both" | "each") {
                continue;
            }
            let end = (i + 1..sentence.len()).find(|at| sentence.words[*at].is_break()).unwrap_or(sentence.len());
            let colours: Vec<String> = (i + 1..end)
                .map_while(|at| Words::embedded().get("colour", sentence.lower(at)).map(str::to_owned))
                .collect();
            if colours.is_empty() || colours.len() != end - i - 1 {
                continue;
            }
            for (entry, became) in self.reading.entries.iter().zip(&self.ends) {
                if let Some(End::Thing(thing)) = became
                    && entry.governor.is_none()
                    && entry.phrase.words.end <= i
                {
                    self.analysis.things[*thing].colours.extend(colours.iter().cloned());
                }
            }
        }
    }

    /// `the cat is black`: adjectives behind is and are. Of a part they are its own, of a place they go before its noun.
    fn predicates(&mut self) {
        for said in predicates::find(self.reading) {
            let word = &self.reading.sentence.words[said.word];
            let text = word.token.text.clone();
            let entry = self.reading.entries[said.entry].stands_for.first().copied().unwrap_or(said.entry);
            if let Some(places) = self.parts.get(&entry).filter(|_| !said.is_denied) {
                for (thing, part) in places {
                    self.analysis.things[*thing].parts[*part].describe(&text);
                }
                continue;
            }
            if said.is_denied {
                self.deny(entry, said.word..said.word + 1, &text);
                continue;
            }
            let colour = Words::embedded().get("colour", word.lower());
            let meant = subjects::meant_by(self.reading, said.entry);
            let ends: Vec<End> = meant.into_iter().flat_map(|entry| self.ends_of(entry)).collect();
            for end in ends {
                match (end, colour) {
                    (End::Thing(thing), Some(colour)) => push_once(&mut self.analysis.things[thing].colours, colour),
                    (End::Thing(thing), None) => push_once(&mut self.analysis.things[thing].adjectives, &text),
                    (End::Place(place), _) => {
                        let phrase = &mut self.analysis.places[place].phrase;
                        *phrase = format!("{text} {phrase}");
                    }
                }
            }
        }
    }

    /// `a car that isn't red`: no red car.
    fn deny(&mut self, entry: usize, words: Range<usize>, text: &str) {
        let span = self.reading.sentence.span(&words);
        let denied = &self.reading.entries[self.reading.whole(entry)];
        if denied.phrase.name.is_empty() || denied.phrase.is_pronoun {
            self.analysis.not_understood.push(span);
            return;
        }
        let phrase = format!("{text} {}", self.phrase(denied));
        self.analysis.exclusions.push(Exclusion { span, phrase, name: denied.phrase.name.clone() });
    }

    /// Tags of prompts that are no noun phrases: `highly detailed`, `8k`.
    fn loose_styles(&mut self) {
        let sentence = &self.reading.sentence;
        for i in 0..sentence.len() {
            let word = &sentence.words[i];
            let is_free = self.reading.entry_of_word[i].is_none()
                && self.reading.link_of_word[i].is_none_or(|link| self.reading.links[link].words.len() == 1);
            if !is_free || word.is_verb() && word.lower() == "painting" || !Words::embedded().has("style", word.lower())
            {
                continue;
            }
            let start = if sentence.before(i).is_some_and(|before| before.tag.starts_with("RB")) { i - 1 } else { i };
            let span = sentence.span(&(start..i + 1));
            let phrase = self.text[span.clone()].to_owned();
            let name = Words::embedded().get("style", word.lower()).unwrap_or_default().to_owned();
            self.analysis.styles.push(Setting { span, phrase, name, preposition: String::new() });
        }
    }

    fn relations(&mut self) {
        for found in relations::find(self.reading) {
            let span = found.link.map_or(0..0, |link| self.reading.sentence.span(&self.words_of_link(link)));
            let words = self.text[span.clone()].to_owned();
            for subject in self.ends_of(found.left) {
                for object in self.ends_of(found.right) {
                    let (mut kind, words, span) = (found.kind, words.clone(), span.clone());
                    if let (End::Thing(thing), End::Place(_)) = (subject, object)
                        && let Some(at) = side(kind)
                    {
                        // `on the left side of a street`: on it, and on that side of the picture.
                        self.analysis.positions.push(Position { thing, span: span.clone(), at });
                        kind = RelationKind::On;
                    }
                    self.relation(Relation { subject, kind, object, words, span, certainty: found.certainty });
                }
            }
        }
    }

    /// Once only: `a box with a ball in it` says it twice.
    fn relation(&mut self, relation: Relation) {
        let ends = (relation.subject, relation.kind, relation.object);
        let is_said = |said: &Relation| (said.subject, said.kind, said.object) == ends;
        if relation.subject != relation.object && !self.analysis.relations.iter().rev().take(RECENT).any(is_said) {
            self.analysis.relations.push(relation);
        }
    }

    /// The link before a part, if it says whose it is; `the door of a shop` has its place from there.
    fn words_of_part(&self, entry: &Entry) -> String {
        let says = |link: &usize| {
            use LinkKind::{Description, Has, Relation, Reversed, Wears, With};
            use RelationKind::In;
            matches!(self.reading.links[*link].kind, Description | Has | With | Wears | Relation(In) | Reversed(In))
        };
        entry.governor.filter(says).map(|link| self.text_of_link(link)).unwrap_or_default()
    }

    fn text_of_link(&self, link: usize) -> String {
        self.text[self.reading.sentence.span(&self.words_of_link(link))].to_owned()
    }

    /// With the verb right before a preposition: `staring at`.
    fn words_of_link(&self, link: usize) -> Range<usize> {
        let words = self.reading.links[link].words.clone();
        let is_verb = |before: usize| {
            self.reading.link_of_word[before].is_some_and(|before| self.reading.links[before].kind == LinkKind::Verb)
        };
        let start = words.start.checked_sub(1).filter(|before| is_verb(*before)).unwrap_or(words.start);
        start..words.end
    }

    fn positions(&mut self) {
        for placed in relations::positions(self.reading) {
            for thing in self.things_of(placed.entry) {
                let span = self.reading.sentence.span(&placed.words);
                self.analysis.positions.push(Position { thing, span, at: placed.at });
            }
        }
    }
}

/// Whether a word before the noun is a part of its name: `cream` of `ice cream cone`.
fn is_in_name(entry: &Entry, at: usize, word: &Word) -> bool {
    let named = entry.phrase.name.split(' ').count();
    at + named > entry.phrase.head && entry.phrase.name.split(' ').any(|part| part == word.lower())
}

fn side(kind: RelationKind) -> Option<PositionKind> {
    match kind {
        RelationKind::LeftOf => Some(PositionKind::Left),
        RelationKind::RightOf => Some(PositionKind::Right),
        _ => None,
    }
}

fn push_once(words: &mut Vec<String>, word: &str) {
    if !words.iter().any(|said| said == word) {
        words.push(word.to_owned());
    }
}

#[cfg(test)]
mod tests {
    use super::read;

    #[test]
    fn adjectives_behind_is_belong_to_its_subject() {
        let analysis = read("The cat is black and the dog is white.");
        assert_eq!(analysis.things[0].colours, ["black"]);
        assert_eq!(analysis.things[1].colours, ["white"]);
    }

    #[test]
    fn colours_behind_all_belong_to_all() {
        let analysis = read("a cup, a plate and a fork on a table, all blue");
        assert!(analysis.things[..3].iter().all(|thing| thing.colours == ["blue"]));
        assert!(analysis.things[3].colours.is_empty());
    }

    #[test]
    fn commands_are_taken_off_names() {
        let analysis = read("a girl (red car:1.2), <lora:x:1>, sunset --ar 16:9");
        let phrases: Vec<&str> = analysis.things.iter().map(|thing| thing.phrase.as_str()).collect();
        assert_eq!(phrases, ["girl", "red car"]);
        assert_eq!(analysis.times[0].name, "sunset");
        assert_eq!(analysis.controls.len(), 5);
    }

    #[test]
    fn quotes_belong_to_the_thing_before() {
        let analysis = read("a cat beside a sign that says \"OPEN\"");
        assert_eq!(analysis.quotes[0].text, "OPEN");
        assert_eq!(analysis.quotes[0].thing, Some(1));
    }
}
