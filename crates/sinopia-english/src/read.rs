//! From a caption to its analysis: the steps in order.

use std::ops::Range;

use sinopia_layout::limits;

use crate::analysis::{
    CaptionAnalysis, Certainty, End, Exclusion, Part, PartKind, Position, Quote, Relation, Setting, Span, Thing,
};
use crate::reading::{Entry, Reading, Role};
use crate::rules::links::LinkKind;
use crate::rules::{
    controls, governors, links, lists, of, phrases, pronouns, quotes, relations, roles, subjects, tags,
};
use crate::sentence::Sentence;
use crate::words::Words;

/// Relations back to one that says the same: `a box with a ball in it`.
const RECENT: usize = 100;

/// Reads a caption. Of one longer than [`limits::CAPTION_CHARS`] characters the rest is left out, and told.
pub fn read(caption: &str) -> CaptionAnalysis {
    let end = caption.char_indices().nth(limits::CAPTION_CHARS).map_or(caption.len(), |(end, _)| end);
    let text = &caption[..end];
    let controls = controls::find(text);
    let quotes = quotes::find(text);
    let mut skipped: Vec<Range<usize>> =
        controls.iter().map(|control| control.span.clone()).chain(quotes.iter().cloned()).collect();
    skipped.sort_by_key(|span| span.start);
    let reading = understand(Sentence::parse(text, &skipped));
    let mut analysis = Builder::new(text, &reading).build();
    analysis.quotes = quotes.into_iter().map(|span| quote(text, span, &analysis)).collect();
    analysis.controls = controls;
    analysis.is_cut = end < caption.len();
    analysis
}

fn understand(mut sentence: Sentence) -> Reading {
    tags::correct(&mut sentence);
    let links = links::find(&sentence);
    let phrases = phrases::find(&sentence, &links);
    let mut reading = Reading::new(sentence, links, phrases);
    of::fold(&mut reading);
    governors::find(&mut reading);
    lists::join(&mut reading);
    roles::assign(&mut reading);
    roles::own_bare_parts(&mut reading);
    pronouns::resolve(&mut reading);
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
}

impl<'a> Builder<'a> {
    fn new(text: &'a str, reading: &'a Reading) -> Self {
        Self { text, reading, analysis: CaptionAnalysis::default(), ends: vec![None; reading.entries.len()] }
    }

    fn build(mut self) -> CaptionAnalysis {
        for i in 0..self.reading.entries.len() {
            self.entry(i);
        }
        for i in 0..self.reading.entries.len() {
            self.part(i);
        }
        self.distribute_adjectives();
        self.predicates();
        self.loose_styles();
        self.relations();
        self.positions();
        self.analysis
    }

    fn entry(&mut self, i: usize) {
        let entry = &self.reading.entries[i];
        match entry.role {
            Role::Thing if !entry.phrase.is_pronoun => {
                self.ends[i] = Some(End::Thing(self.analysis.things.len()));
                let thing = self.thing(entry);
                self.analysis.things.push(thing);
            }
            Role::Place => {
                self.ends[i] = Some(End::Place(self.analysis.places.len()));
                let place = self.setting(entry, "place");
                self.analysis.places.push(place);
            }
            Role::Weather => self.analysis.weather.push(self.setting(entry, "weather")),
            Role::Time => self.analysis.times.push(self.setting(entry, "time")),
            Role::Style => self.analysis.styles.push(self.setting(entry, "style")),
            Role::Excluded => self.analysis.exclusions.push(self.exclusion(entry)),
            Role::Unknown if !entry.phrase.is_pronoun => {
                self.analysis.not_understood.push(self.reading.sentence.span(&entry.phrase.words));
            }
            _ => {}
        }
    }

    /// With what its `of` holds.
    fn words(&self, entry: &Entry, start: usize) -> Range<usize> {
        let end =
            entry.contents.map_or(entry.phrase.words.end, |contents| self.reading.entries[contents].phrase.words.end);
        start..end
    }

    fn phrase(&self, entry: &Entry) -> String {
        self.reading.sentence.text(self.words(entry, entry.phrase.core.start))
    }

    fn thing(&self, entry: &Entry) -> Thing {
        let sentence = &self.reading.sentence;
        let (colours, adjectives) = self.adjectives(entry);
        let contents = entry.contents.map(|contents| self.phrase(&self.reading.entries[contents]));
        let is_sure = entry.phrase.is_known;
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
            class: entry.phrase.class,
            certainty: if is_sure { Certainty::Sure } else { Certainty::Unsure },
        }
    }

    /// Colours and other adjectives between article and noun.
    fn adjectives(&self, entry: &Entry) -> (Vec<String>, Vec<String>) {
        let (mut colours, mut adjectives) = (Vec::new(), Vec::new());
        let mut hyphenated = false;
        for i in entry.phrase.core.start..entry.phrase.head {
            let word = &self.reading.sentence.words[i];
            if let Some(colour) = Words::embedded().get("colour", word.lower()) {
                colours.push(colour.to_owned());
            } else if word.lower() == "-" {
                hyphenated = true;
                continue;
            } else if hyphenated && let Some(last) = adjectives.last_mut() {
                *last = format!("{last}-{}", word.lower());
            } else if word.is_adjective() || matches!(word.tag, "VBN" | "VBG" | "VBD") && word.label != "compound" {
                adjectives.push(word.token.text.clone());
            }
            hyphenated = false;
        }
        (colours, adjectives)
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
        let nobody = Words::embedded().get("nobody", head);
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
        let Some(End::Thing(owner)) = self.ends[self.reading.whole(i)] else {
            self.analysis.not_understood.push(self.reading.sentence.span(&entry.phrase.words));
            return;
        };
        let part = Part {
            span: self.reading.sentence.span(&self.words(entry, entry.phrase.words.start)),
            phrase: self.phrase(entry),
            name: entry.phrase.name.clone(),
            kind,
        };
        self.analysis.things[owner].parts.push(part);
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

    /// `the cat is black`: adjectives behind is and are.
    fn predicates(&mut self) {
        let sentence = &self.reading.sentence;
        for (i, word) in sentence.words.iter().enumerate() {
            let is_predicate = word.is_adjective()
                && word.label == "acomp"
                && self.reading.entry_of_word[i].is_none()
                && self.reading.link_of_word[i].is_none();
            let subject =
                Some(word.head).filter(|_| is_predicate).and_then(|verb| subjects::of_verb(self.reading, verb));
            let Some(End::Thing(thing)) = subject.and_then(|entry| self.ends[entry]) else { continue };
            let thing = &mut self.analysis.things[thing];
            match Words::embedded().get("colour", word.lower()) {
                Some(colour) => thing.colours.push(colour.to_owned()),
                None => thing.adjectives.push(word.token.text.clone()),
            }
        }
    }

    /// Tags of prompts that are no noun phrases: `highly detailed`, `8k`.
    fn loose_styles(&mut self) {
        let sentence = &self.reading.sentence;
        for i in 0..sentence.len() {
            let word = &sentence.words[i];
            let is_free = self.reading.entry_of_word[i].is_none()
                && self.reading.link_of_word[i].is_none_or(|link| self.reading.links[link].words.len() == 1);
            if !is_free || !Words::embedded().has("style", word.lower()) {
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
            let (Some(subject), Some(object)) = (self.ends[found.left], self.ends[found.right]) else { continue };
            let span = found.link.map_or(0..0, |link| self.reading.sentence.span(&self.words_of_link(link)));
            let words = self.text[span.clone()].to_owned();
            let relation = Relation { subject, kind: found.kind, object, words, span, certainty: found.certainty };
            let is_said = |said: &Relation| (said.subject, said.kind, said.object) == (subject, relation.kind, object);
            if !self.analysis.relations.iter().rev().take(RECENT).any(is_said) {
                self.analysis.relations.push(relation);
            }
        }
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
            if let Some(End::Thing(thing)) = self.ends[placed.entry] {
                let span = self.reading.sentence.span(&placed.words);
                self.analysis.positions.push(Position { thing, span, at: placed.at });
            }
        }
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
