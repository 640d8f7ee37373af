//! How the built-in planner writes a layout: it points at words of the caption and adds numbers, so that it need not spell.
//!
//! ```text
//! square: two<1> red<2> apples<3> to<4> the<5> left<6> of<7> a<8> sleeping<9> cat<10>, no<11> dogs<12>
//!  2<1><3>: 14 14 10 40 26 40; 1<8><10>: 26 24 48 42 | | |<12><12>
//! ```
//!
//! Kinds of things, separated by `;`: how many, the first and the last word of their name, `:`, width and height in cells of a grid of
//! [`GRID`] × [`GRID`], then the cell of each centre. After each `|` follow the style, the settings, and what must not be there.
//! [`IndexedCaption::grammar`] lets nothing else be written: whatever the model's weights say, every name is the caption's, every kind has as many
//! boxes as its number says, and the number is the caption's where it tells one.
//!
//! # Source
//! `training/planner_world.py`, which the model has learned this from.

use std::ops::RangeInclusive;

use sinopia_layout::{Canvas, Layout, LayoutObject, PixelBox, nouns};

use crate::caption::{self, Claim};
use crate::words;

/// Cells on a side of the grid, whatever the canvas.
const GRID: f64 = 64.0;

/// Most words of a caption: as many as have numbers.
pub(crate) const MOST_WORDS: usize = 80;

/// Captions of more words may be sentences.
const LONG: usize = 30;

/// Most things of one kind, most kinds, and most words of a quotation.
pub(crate) const MOST_THINGS: usize = 20;
const MOST_KINDS: usize = 8;
const MOST_BETWEEN: usize = 2;
const MOST_QUOTED_WORDS: usize = 12;

/// Most styles, settings and exclusions.
const MOST_QUOTES: usize = 4;

/// Width by height from which a canvas is wide; its inverse is tall.
const WIDE: f64 = 1.25;

/// A caption whose words can be pointed at.
pub(crate) struct IndexedCaption {
    /// On one line, without the brackets that numbers stand in.
    text: String,
    /// Where each word stands in the text, signs around it left out.
    words: Vec<std::ops::Range<usize>>,
}

/// How many things a quotation can stand for that begins with a word.
enum Number {
    Exactly(usize),
    Any,
}

impl IndexedCaption {
    pub(crate) fn new(caption: &str) -> Self {
        let plain = caption.chars().map(|c| if c.is_control() || c == '<' || c == '>' { ' ' } else { c });
        let text = plain.collect::<String>().split_whitespace().collect::<Vec<_>>().join(" ");
        let mut words = Vec::new();
        let mut start = 0;
        for word in text.split(' ') {
            let lead = word.len() - word.trim_start_matches(is_sign).len();
            let bare = word.trim_matches(is_sign);
            if !bare.is_empty() {
                words.push(start + lead..start + lead + bare.len());
            }
            start += word.len() + 1;
        }
        Self { text, words }
    }

    /// Words that can be pointed at.
    pub(crate) fn len(&self) -> usize {
        self.words.len()
    }

    /// What is asked for the caption on a canvas.
    pub(crate) fn prompt(&self, canvas: Canvas) -> String {
        let aspect = f64::from(canvas.width()) / f64::from(canvas.height());
        let shape = match aspect {
            aspect if aspect >= WIDE => "wide",
            aspect if aspect <= 1.0 / WIDE => "tall",
            _ => "square",
        };
        let mut prompt = format!("{shape}: ");
        let mut at = 0;
        for (index, word) in self.words.iter().enumerate() {
            prompt.push_str(&format!("{}<{}>", &self.text[at..word.end], index + 1));
            at = word.end;
        }
        prompt.push_str(&self.text[at..]);
        prompt
    }

    /// The answers that the caption can have, in llguidance's dialect of Lark.
    ///
    /// Things that the caption surely names have a place each, in its order, so that none is lost; between them stand those that the model finds.
    pub(crate) fn grammar(&self) -> String {
        let mut terminals = Vec::new();
        let excluded = self.excluded();
        let is_excluded =
            |start: usize, end: usize| excluded.iter().any(|range| range.start <= end && start < range.end);
        let required = self.required_spans(&is_excluded);
        let mut terminal = |name: &str, breaks: &[&str], starts: Starts<'_>, fits: Spans<'_>| {
            let regex = self.spans(breaks, starts, fits);
            if let Some(regex) = &regex {
                terminals.push(format!("{name}: /{regex}/"));
            }
            regex.is_some()
        };
        let mut kinds = |rule: &str, starts: Starts<'_>| {
            let of_count = |count: usize| {
                let name = format!("{}{count}", rule.to_uppercase());
                let fits = |start: usize, end: usize| self.is_name(start, end, count) && !is_excluded(start, end);
                let exists = terminal(&name, NAME_BREAKS, starts, &fits);
                exists.then(|| format!("\" {count}\" {name} \":\" size at{{{count}}}"))
            };
            let kinds: Vec<String> = (1..=MOST_THINGS).filter_map(of_count).collect();
            (!kinds.is_empty()).then(|| format!("{rule}: {}\n", kinds.join("\n    | ")))
        };
        let other = kinds("kind", &|index| self.can_begin(index) && !required.contains(&index));
        let slots: Vec<String> = required
            .iter()
            .enumerate()
            .filter_map(|(i, &start)| kinds(&format!("required{i}x"), &|index| index == start))
            .collect();
        let things = match (slots.len(), &other) {
            (0, None) => "\"\"".to_owned(),
            (0, Some(_)) => {
                let some = format!("kind (\";\" kind){{0,{}}}", MOST_KINDS - 1);
                if self.claims_things() { some } else { format!("({some})?") }
            }
            (_, None) => (0..slots.len()).map(|i| format!("required{i}x")).collect::<Vec<_>>().join(" \";\" "),
            (_, Some(_)) => {
                let slot = |i: usize| format!("required{i}x (\";\" kind){{0,{MOST_BETWEEN}}}");
                let slots: Vec<String> = (0..slots.len()).map(slot).collect();
                format!("(kind \";\"){{0,{MOST_BETWEEN}}} {}", slots.join(" \";\" "))
            }
        };
        let rules: String = slots.into_iter().chain(other).collect();
        let mut absent = Vec::new();
        for range in &excluded {
            let within = |start: usize, end: usize| range.contains(&start) && range.contains(&end);
            for index in range.clone().filter(|&index| index == range.start || self.can_begin(index)) {
                let name = format!("ABSENT{index}X");
                if terminal(&name, NAME_BREAKS, &|start| start == index, &within) {
                    absent.push(name);
                }
            }
        }
        let absent = if absent.is_empty() { "\"\"".to_owned() } else { absent.join(" \";\" ") };
        let has_style =
            terminal("STYLE", &["or"], &|index| self.can_begin(index), &|start, end| self.is_style(start, end));
        // `This picture shows a quiet park`, `In a kitchen …`.
        let is_told_first = |index: usize| index == 0 || (index < MOST_BEFORE_SCENE && self.is(index - 1, VERBS));
        let begins_scene = |index: usize| is_told_first(index) && self.can_begin_setting(index);
        let has_scene = terminal("SCENE", SETTING_BREAKS, &begins_scene, &|start, end| {
            self.is(end, PLACES) && self.is_setting(start, end) && !(start..end).any(|index| self.is(index, VERBS))
        });
        let has_setting = terminal("SETTING", SETTING_BREAKS, &|index| self.can_begin_setting(index), &|start, end| {
            self.is_setting(start, end)
        });
        let list = |name: &str, exists: bool| match exists {
            true => format!("({name} (\";\" {name}){{0,{}}})?", MOST_QUOTES - 1),
            false => "\"\"".to_owned(),
        };
        format!(
            "start: things \" |\" styles \" |\" settings \" |\" absent\nthings: {things}\n{rules}styles: {}\nsettings: {}\nabsent: {}\n{NUMBERS}{}\n",
            list("STYLE", has_style),
            if has_scene {
                format!("SCENE (\";\" SETTING){{0,{}}}", MOST_QUOTES - 1)
            } else {
                list("SETTING", has_setting)
            },
            absent,
            terminals.join("\n"),
        )
    }

    /// Whether so many things can have the name that a span is.
    fn is_name(&self, start: usize, end: usize, count: usize) -> bool {
        let fits = match self.number(start) {
            Number::Exactly(number) => number == count,
            Number::Any => true,
        };
        let is_picture =
            |index: usize| self.is(index + 1, &["of"]) && (self.is(index, words::PICTURE) || self.is(index, STYLES));
        // `a room with …`, `a photo of a beach with …`.
        let is_content = start == 0 || self.is(start - 1, VERBS) || (start > 1 && is_picture(start - 2));
        let is_scene = is_content && self.is(end, PLACES);
        fits && self.is_thing(start, end)
            && !is_scene
            && !self.is_known_thing(start, end)
            && (!self.is_prose() || self.is_noun_for_sure(start, end))
            && !(start..=end).any(|index| self.is(index, words::STAND_INS))
            && !(start..end).any(is_picture)
            && (count == 1 || (start..=end).any(|index| self.is_plural(index)))
    }

    /// Whether a phrase has an article, a number or a plural: sentences name things so, lists of keywords need not.
    fn is_noun_for_sure(&self, start: usize, end: usize) -> bool {
        let is_led = self.is(start, words::DETERMINERS) || self.is(start, &["another", "single", "several", "many"]);
        is_led || self.is_number(start) || self.is_plural(end)
    }

    /// Whether the caption is made of sentences rather than keywords.
    fn is_prose(&self) -> bool {
        self.len() > LONG
            && (0..self.len()).any(|index| self.is(index, &["is", "are", "there", "stands", "sits", "lies"]))
    }

    /// Whether a phrase speaks of something named before: `the bowl` behind `a white bowl`, but not `the blue car` behind `the red car`.
    fn is_known_thing(&self, start: usize, end: usize) -> bool {
        let named = |index: usize| self.word(index).map(|word| words::singular(&word.to_lowercase()));
        let is_bare = self.is(start, &["the"]) && end == start + 1;
        is_bare && (0..start).any(|before| self.can_end(before) && named(before) == named(end))
    }

    /// Where phrases begin that surely name a thing: behind a number or `a`, unless it stands in, on or with something or belongs to a verb; and
    /// bare nouns that the caption begins with.
    fn required_spans(&self, is_excluded: &dyn Fn(usize, usize) -> bool) -> Vec<usize> {
        let names_something = |start: usize| {
            self.ends(start, NAME_BREAKS)
                .any(|end| !is_excluded(start, end) && (1..=MOST_THINGS).any(|count| self.is_name(start, end, count)))
        };
        let mut required: Vec<usize> = Vec::new();
        for start in (0..self.len()).filter(|&start| self.can_begin(start) && names_something(start)) {
            let follows = |list: &[&str]| start > 0 && !self.is_broken_before(start) && self.is(start - 1, list);
            let is_content = start > 1
                && self.is(start - 1, &["of"])
                && (self.is(start - 2, words::PICTURE) || self.is(start - 2, STYLES));
            let is_counted = self.is_number(start) && !matches!(self.number(start), Number::Any);
            let is_single = self.is(start, &["a", "an", "another"])
                && (is_content || self.has_beside(start) || !follows(PERHAPS_NO_THING));
            let belongs_to_verb = start > 0 && !self.is_broken_before(start) && self.ends_with_ing(start - 1);
            let is_known_place = |end: usize| [PLACES, STYLES].iter().any(|list| self.is(end, list));
            let is_place = self.ends(start, NAME_BREAKS).any(is_known_place);
            let is_bare = !self.is(start, words::DETERMINERS) && !is_place;
            let begins_caption = start == 0
                || (follows(&["and"]) && required.len() == 1 && required[0] == 0 && self.is_bare_list(start));
            if is_counted || (is_single && !is_place && !belongs_to_verb) || (is_bare && begins_caption) {
                required.push(start);
            }
        }
        required
    }

    /// Whether nothing but bare nouns and `and` stand before a word: `apples and oranges`.
    fn is_bare_list(&self, index: usize) -> bool {
        (0..index).all(|before| {
            !self.is(before, words::DETERMINERS) && (!self.is(before, words::BOUNDARIES) || self.is(before, &["and"]))
        })
    }

    /// Words that say what must not be there, without the opening `no` or `without`.
    fn excluded(&self) -> Vec<std::ops::Range<usize>> {
        let mut found: Vec<std::ops::Range<usize>> = Vec::new();
        for opener in 0..self.len() {
            let known = words::exclusion_opener(|index, list| self.is(index, list), opener);
            let length = known.max(usize::from(self.is(opener, &["except", "nor"])));
            if length == 0 {
                continue;
            }
            let start = opener + length;
            let mut end = start;
            while end < self.len() && (end == start || self.goes_on_excluding(end)) {
                end += 1;
            }
            let means_nothing = (start..end).any(|index| self.is(index, words::NOT_EXCLUDED));
            if start < end && !means_nothing {
                found.push(start..end);
            }
        }
        found
    }

    /// Whether a word behind an excluded one is excluded too: `dogs, cats or birds`, `dogs and cats`, but not `no dogs and two cats`.
    fn goes_on_excluding(&self, index: usize) -> bool {
        let joins = |index: usize| self.is(index, &["or", "nor"]);
        let opens =
            |index: usize| self.is_number(index) || (self.is(index, words::DETERMINERS) && !self.is(index, &["any"]));
        if self.is_broken_before(index) {
            // A comma only continues the list if an `or` ends it.
            return (index..self.len()).take_while(|&later| later == index || !self.is_broken_before(later)).any(joins);
        }
        if self.is(index, &["and"]) {
            return index + 1 < self.len() && !opens(index + 1) && self.is_plural(index + 1);
        }
        joins(index) || !(opens(index) || self.is(index, words::BOUNDARIES) || self.is(index, words::ANYWHERE))
    }

    /// Whether the caption speaks of anything but places, so that an answer without a thing must be wrong.
    fn claims_things(&self) -> bool {
        let of_things = |claim: &Claim| match claim {
            Claim::Count { .. } | Claim::AtLeast { .. } | Claim::Relation { .. } | Claim::Place { .. } => true,
            Claim::Colored { noun, .. } => !words::SURROUNDINGS.contains(&noun.head.as_str()),
            Claim::Excluded(_) => false,
        };
        let is_thing = |noun: &caption::Noun| {
            let known =
                [words::SURROUNDINGS, PLACES, words::PICTURE, words::UNCOUNTED, words::PRONOUNS, words::COLORS, STYLES];
            !known.iter().any(|list| list.contains(&noun.head.as_str()))
        };
        caption::claims(&self.text).iter().any(of_things) || caption::mentions(&self.text).iter().any(is_thing)
    }

    /// All quotations of some kind, as a regular expression; `None` if there is none.
    fn spans(&self, breaks: &[&str], starts: Starts<'_>, fits: Spans<'_>) -> Option<String> {
        let of = |start: usize| {
            let ends = self.ends(start, breaks).filter(|&end| fits(start, end));
            let ends: Vec<String> = ends.map(|end| (end + 1).to_string()).collect();
            (!ends.is_empty()).then(|| format!("<{}><({})>", start + 1, ends.join("|")))
        };
        let spans: Vec<String> = (0..self.len()).filter(|&start| starts(start)).filter_map(of).collect();
        (!spans.is_empty()).then(|| spans.join("|"))
    }

    /// Where a quotation can end that begins at `start`: before the next sign and the next of `breaks`, at the end of a noun phrase.
    fn ends(&self, start: usize, breaks: &[&str]) -> impl Iterator<Item = usize> {
        let last = (start + MOST_QUOTED_WORDS).min(self.len());
        let breaks = move |end: usize| self.is_broken_before(end) || self.is(end, breaks) || self.is_verb(start, end);
        let unbroken = (start..last).take_while(move |&end| end == start || !breaks(end));
        unbroken.filter(move |&end| {
            let is_lone_number = end == start && self.len() > 1 && self.is_number(end);
            !self.is_open(end) && !is_lone_number && self.can_end(end)
        })
    }

    /// Whether a word is a verb behind the noun phrase that began at `start`.
    fn is_verb(&self, start: usize, index: usize) -> bool {
        index > start
            && !self.is_number(index - 1)
            && words::is_verb(|index, list| self.is(index, list), |index| self.is_plural(index), index)
    }

    /// Whether a comma or full stop stands between a word and the one before it.
    fn is_broken_before(&self, index: usize) -> bool {
        let Some(before) = index.checked_sub(1).and_then(|before| self.words.get(before)) else { return false };
        let between = self.words.get(index).map_or("", |word| &self.text[before.end..word.start]);
        between.contains([',', '.', ';', ':', '!', '?', '|', '(', ')'])
    }

    /// Whether a word joins phrases or opens one, so that none ends with it.
    fn is_open(&self, index: usize) -> bool {
        self.is(index, words::BOUNDARIES) || self.is(index, words::DETERMINERS)
    }

    /// Whether a noun phrase can begin here: behind a word that joins phrases, a sign, or a verb.
    fn can_begin(&self, index: usize) -> bool {
        // `Imagine a field`, but `paint cans on a shelf`.
        let asks = self.is(index, VERBS) && (self.is(index + 1, words::DETERMINERS) || self.is(index + 1, &["me"]));
        let is_verb = index > 0 && self.is_verb(index - 1, index);
        let is_anyone = words::is_anyone(|index, list| self.is(index, list), index);
        if asks || is_verb || is_anyone || self.is(index, words::BOUNDARIES) || self.begins_place_of(index) {
            return false;
        }
        let Some(before) = index.checked_sub(1) else { return true };
        let opens = self.is(index, words::DETERMINERS) || self.is_number(index);
        let belongs = (self.is(before, words::DETERMINERS) && !self.is(before, &["any"])) || self.is_number(before);
        let follows = self.is(before, words::BOUNDARIES)
            || self.is(before, VERBS)
            || self.is(before, &["any"])
            || self.ends_with_ing(before);
        self.is_broken_before(index) || (!belongs && (opens || follows))
    }

    /// Whether a word goes on with a place that something else has: `front of` behind `in`, `the left of` behind `to`.
    fn begins_place_of(&self, index: usize) -> bool {
        let part = if self.is(index, &["the"]) { index + 1 } else { index };
        let is_led = index > 0 && self.is(index - 1, words::BOUNDARIES);
        is_led && self.is(part, PARTS) && self.is(part + 1, &["of"])
    }

    /// Whether a phrase is what a thing stands in front or to a side of.
    fn has_beside(&self, start: usize) -> bool {
        start > 1 && self.is(start - 1, &["of"]) && self.is(start - 2, &["front", "left", "right"])
    }

    /// A setting begins with its preposition, or as a noun phrase does.
    fn can_begin_setting(&self, index: usize) -> bool {
        !self.is(index, NO_SETTING) && (self.is(index, words::BOUNDARIES) || self.can_begin(index))
    }

    /// Whether a phrase can be a setting, so that no thing is lost in one: `in …`, `on …` and the like can be anything; what stands under, beside
    /// or without a preposition must be known as a place.
    fn is_setting(&self, start: usize, end: usize) -> bool {
        let is_place = self.is(end, PLACES) || self.is(end, words::SURROUNDINGS);
        if self.is(end, PARTS) || (start..=end).any(|index| self.is(index, words::STAND_INS)) {
            return false; // `on the left`, `around them`
        }
        match self.is(start, words::BOUNDARIES) {
            true => is_place || !self.is(start, BESIDE_THINGS),
            false => {
                is_place && !(start..end).any(|index| self.is(index, words::BOUNDARIES) && !self.is(index, &["of"]))
            }
        }
    }

    /// Whether a noun phrase can end here: before a word that joins phrases or opens one, a sign, a participle, or a verb with its object.
    fn can_end(&self, index: usize) -> bool {
        let next = index + 1;
        // `an umbrella that is open`: what is told of a thing is no other one.
        let opens_another =
            |index: usize| !self.is(index, &["that"]) && (self.is(index, words::DETERMINERS) || self.is_number(index));
        // `a dog chasing a ball` is two things, `a glass of water` one; `a photo of` tells a style.
        let is_halfway = (self.is(next, &["of"]) && !self.is(index, words::PICTURE) && !self.is(index, STYLES))
            || (self.ends_with_ing(index) && self.is(next, words::DETERMINERS));
        if is_halfway && !self.is_broken_before(next) {
            return false;
        }
        next >= self.len()
            || self.is_broken_before(next)
            || self.is_open(next)
            || self.is(next, NAME_BREAKS)
            || self.is(next, words::ANYWHERE)
            || self.is(next, VERBS)
            || self.is_verb(index, next)
            || self.is_number(next)
            || self.ends_with_ing(next)
            || (!self.is_broken_before(next + 1) && opens_another(next + 1))
    }

    /// Whether a phrase can be a thing: no part of the picture, nothing that surrounds things, no praise, no place that something is in.
    fn is_thing(&self, start: usize, end: usize) -> bool {
        let is_inside = start.checked_sub(1).is_some_and(|before| self.is(before, &["in", "at", "on", "inside"]));
        let is_none =
            [words::PICTURE, words::SURROUNDINGS, PARTS, PRAISE, NO_NOUNS].iter().any(|list| self.is(end, list));
        let is_place = is_inside && self.is(end, PLACES);
        !is_none && !is_place && !self.is_participle(start, end)
    }

    /// Whether a phrase ends with a participle: `sitting` alone, `several things arranged`.
    fn is_participle(&self, start: usize, end: usize) -> bool {
        let ends_with_ed = self.word(end).is_some_and(|word| word.len() > 4 && word.to_lowercase().ends_with("ed"));
        (ends_with_ed && end > start && self.is_plural(end - 1)) || (start == end && self.ends_with_ing(end))
    }

    /// Whether a phrase can be a style: it counts nothing, excludes nothing, and names no content (`a photo of …`), only whose style it is.
    fn is_style(&self, start: usize, end: usize) -> bool {
        let tells_content = |index: usize| {
            let is_of = self.is(index, &["of"]) && !(index > start && self.is(index - 1, &["style", "manner"]));
            is_of || self.is_number(index) || self.is(index, EXCLUDING) || self.is(index, NAME_BREAKS)
        };
        let is_known = (start..=end).any(|index| self.is(index, words::PICTURE) || self.is(index, STYLES));
        !(start..=end).any(tells_content) && (is_known || !self.is(start, words::DETERMINERS))
    }

    fn ends_with_ing(&self, index: usize) -> bool {
        self.word(index).is_some_and(|word| word.len() > 4 && word.to_lowercase().ends_with("ing"))
            && !self.is(index, words::PICTURE)
            && !self.is(index, words::NOUNS_IN_ING)
    }

    fn word(&self, index: usize) -> Option<&str> {
        self.words.get(index).map(|word| &self.text[word.clone()])
    }

    fn is_plural(&self, index: usize) -> bool {
        self.words.get(index).is_some_and(|word| words::is_plural(&self.text[word.clone()].to_lowercase()))
    }

    /// How many things a name can mean that begins here.
    fn number(&self, index: usize) -> Number {
        let number =
            |index: usize| self.words.get(index).and_then(|word| words::Words::of(&self.text[word.start..]).number(0));
        if let Some(number) = number(index) {
            return Number::Exactly(number);
        }
        match self.is(index, &["a", "an", "another", "single", "this"]) {
            true if self.is(index + 1, &["dozen"]) => Number::Exactly(12),
            true if self.is(index + 1, GROUPS) => number(index + 1).map_or(Number::Any, Number::Exactly),
            true => Number::Exactly(1),
            false => Number::Any,
        }
    }

    fn is_number(&self, index: usize) -> bool {
        self.words.get(index).is_some_and(|word| words::Words::of(&self.text[word.clone()]).number(0).is_some())
    }

    fn is(&self, index: usize, list: &[&str]) -> bool {
        self.word(index).is_some_and(|word| list.iter().any(|known| word.eq_ignore_ascii_case(known)))
    }

    /// The layout that an answer describes; `None` if it has not the form that [`IndexedCaption::grammar`] enforces.
    pub(crate) fn read(&self, answer: &str, canvas: Canvas) -> Option<Layout> {
        let parts: Vec<&str> = answer.split(" |").collect();
        let [things, styles, settings, absent] = parts.as_slice() else { return None };
        let mut objects = Vec::new();
        // A word has one meaning: what is excluded is no thing, and a thing is told once.
        let mut taken: Vec<Span> = list(absent).map(|pointer| self.span(pointer)).collect::<Option<_>>()?;
        for kind in list(things) {
            let (span, boxes) = self.read_kind(kind, canvas)?;
            if !taken.iter().any(|other| overlap(other, &span)) {
                objects.extend(boxes);
                taken.push(span);
            }
        }
        let (styles, settings) = (self.quotes(styles)?, self.quotes(settings)?);
        let mut unwanted: Vec<String> = Vec::new();
        for name in self.quotes(absent)?.into_iter().map(|quote| bare(quote).text) {
            if !unwanted.contains(&name) {
                unwanted.push(name);
            }
        }
        Some(Layout { canvas, objects, background: background(&styles, &settings), negative: unwanted.join(", ") })
    }

    fn quotes(&self, pointers: &str) -> Option<Vec<&str>> {
        let quote = |pointer| self.quote(&self.span(pointer)?);
        let mut quotes = list(pointers).map(quote).collect::<Option<Vec<_>>>()?;
        // Saying a thing twice adds nothing.
        let mut seen = std::collections::HashSet::new();
        quotes.retain(|quote| seen.insert(*quote));
        Some(quotes)
    }

    /// The words that `<2><4>` points at, counted from 0.
    fn span(&self, pointer: &str) -> Option<Span> {
        let (first, last) = pointer.trim().strip_prefix('<')?.strip_suffix('>')?.split_once("><")?;
        let (first, last): (usize, usize) = (first.parse().ok()?, last.parse().ok()?);
        let span = first.checked_sub(1)?..=last.checked_sub(1)?;
        (!span.is_empty() && *span.end() < self.len()).then_some(span)
    }

    fn quote(&self, span: &Span) -> Option<&str> {
        self.text.get(self.words.get(*span.start())?.start..self.words.get(*span.end())?.end)
    }

    fn read_kind(&self, kind: &str, canvas: Canvas) -> Option<(Span, Vec<LayoutObject>)> {
        let (name, numbers) = kind.split_once(':')?;
        let (count, pointer) = name.trim().split_at_checked(name.trim().find('<')?)?;
        let count: usize = count.parse().ok()?;
        let numbers: Option<Vec<f64>> = numbers.split_whitespace().map(|number| number.parse().ok()).collect();
        let numbers = numbers?;
        let (size, centers) = numbers.split_at_checked(2)?;
        let span = self.span(pointer)?;
        let phrase = phrase(self.quote(&span)?, count);
        let (centers, rest) = centers.as_chunks::<2>();
        if centers.len() != count || !rest.is_empty() {
            return None;
        }
        let object = |center: &[f64; 2]| {
            let bbox = pixels((size[0], size[1]), *center, canvas)?;
            Some(LayoutObject { phrase: phrase.clone(), bbox })
        };
        let boxes: Option<Vec<LayoutObject>> = centers.iter().map(object).collect();
        Some((span, boxes?))
    }
}

/// Words by their places, the first and the last.
type Span = RangeInclusive<usize>;

fn overlap(a: &Span, b: &Span) -> bool {
    a.start() <= b.end() && b.start() <= a.end()
}

/// Where quotations of a kind begin, and which of them, by first and last word, are of that kind.
type Starts<'a> = &'a dyn Fn(usize) -> bool;
type Spans<'a> = &'a dyn Fn(usize, usize) -> bool;

/// Rules and terminals of the grammar that are the same for every caption.
const NUMBERS: &str = "\
size: LENGTH LENGTH
at: CELL CELL
LENGTH: / (6[0-4]|[1-5][0-9]|[3-9])/
CELL: / (6[0-3]|[1-5]?[0-9])/
";

/// Words that no name goes on after.
const NAME_BREAKS: &[&str] = &[
    "and",
    "or",
    "nor",
    "but",
    "plus",
    "with",
    "without",
    "no",
    "not",
    "above",
    "below",
    "under",
    "beneath",
    "underneath",
    "beside",
    "near",
    "next",
    "between",
    "behind",
    "left",
    "right",
    "is",
    "are",
    "there",
    "surrounded",
    "while",
    "facing",
    "alongside",
    "in",
    "on",
    "at",
    "over",
    "inside",
    "by",
    "to",
    "from",
    "against",
    "around",
    "across",
    "placed",
    "floating",
    "hovering",
    "hanging",
];

/// Verbs that ask for a picture or tell what is in one, before the first noun.
const VERBS: &[&str] = &[
    "draw",
    "paint",
    "show",
    "shows",
    "me",
    "see",
    "want",
    "imagine",
    "generate",
    "create",
    "depicts",
    "featuring",
    "has",
    "have",
    "contains",
    "captures",
];

/// Parts of a picture.
const PARTS: &[&str] = &[
    "left", "right", "top", "bottom", "middle", "center", "centre", "corner", "side", "half", "edge", "front", "back",
    "distance",
];

/// Adjectives and abstractions that no thing is named by alone.
const NO_NOUNS: &[&str] = &[
    "air",
    "ground",
    "part",
    "area",
    "space",
    "afternoon",
    "evening",
    "morning",
    "early",
    "late",
    "upper",
    "lower",
    "first",
    "second",
    "whole",
    "entire",
    "same",
    "several",
    "many",
    "care",
    "everything",
    "something",
    "nothing",
    "anything",
    "everyone",
    "someone",
    "everybody",
    "all",
    "warmth",
    "calm",
    "detail",
    "details",
];

/// What people write behind a caption so that the picture be good.
const PRAISE: &[&str] = &[
    "detailed",
    "quality",
    "resolution",
    "masterpiece",
    "focus",
    "artstation",
    "lighting",
    "4k",
    "8k",
    "hd",
    "photorealistic",
    "realistic",
    "cinematic",
];

/// Words that exclude what follows them.
const EXCLUDING: &[&str] = &["no", "without", "not", "excluding", "free", "except", "nor"];

/// Places that a caption may consist of, and kinds of pictures.
const PLACES: &[&str] = &[
    "park",
    "garden",
    "meadow",
    "desert",
    "beach",
    "street",
    "road",
    "kitchen",
    "room",
    "bedroom",
    "bathroom",
    "office",
    "classroom",
    "library",
    "museum",
    "factory",
    "garage",
    "restaurant",
    "cafe",
    "bar",
    "stadium",
    "playground",
    "village",
    "city",
    "town",
    "harbor",
    "river",
    "lake",
    "mountain",
    "valley",
    "canyon",
    "cave",
    "jungle",
    "swamp",
    "island",
    "studio",
    "hall",
    "corridor",
    "hospital",
    "airport",
    "station",
    "backyard",
    "courtyard",
    "market",
    "skyline",
    "waterfall",
    "coastline",
    "storm",
    "thunderstorm",
    "night",
    "day",
    "morning",
    "evening",
    "range",
    "scenery",
    "place",
    "world",
    "universe",
    "pattern",
    "texture",
    "horizon",
    "coast",
    "hill",
];
const STYLES: &[&str] = &[
    "watercolor",
    "sketch",
    "cartoon",
    "render",
    "poster",
    "mosaic",
    "print",
    "comic",
    "graphic",
    "polaroid",
    "art",
    "photography",
    "portrait",
    "style",
];

/// Words that may stand before the place that a caption begins with.
const MOST_BEFORE_SCENE: usize = 6;

/// Words that no setting goes on after.
const SETTING_BREAKS: &[&str] = &["without", "no", "not"];

/// Words that no setting begins with.
const NO_SETTING: &[&str] = &[
    "and", "or", "of", "is", "are", "with", "without", "no", "not", "to", "left", "right", "above", "below", "stands",
    "stand", "sits", "sit", "lies", "lie", "has", "have", "it", "which", "where", "who", "while", "there", "both",
    "each",
];

/// Prepositions that tell where one thing is of another.
const BESIDE_THINGS: &[&str] = &[
    "under",
    "underneath",
    "beneath",
    "over",
    "beside",
    "besides",
    "between",
    "behind",
    "near",
    "next",
    "by",
    "around",
    "among",
    "across",
    "along",
];

/// Words before `a` behind which no thing of its own need stand: a place, a part, a material.
const PERHAPS_NO_THING: &[&str] = &[
    "in", "at", "on", "inside", "into", "onto", "during", "of", "with", "from", "as", "like", "through", "across",
    "along", "around", "against", "for", "than", "by",
];

/// Words behind an article that make it more than one.
const GROUPS: &[&str] = &[
    "pair",
    "couple",
    "group",
    "few",
    "lot",
    "bunch",
    "row",
    "number",
    "handful",
    "herd",
    "flock",
    "crowd",
    "pack",
    "pile",
    "set",
    "bouquet",
    "collection",
    "variety",
];

fn is_sign(c: char) -> bool {
    !c.is_alphanumeric()
}

fn list(text: &str) -> impl Iterator<Item = &str> {
    text.split(';').map(str::trim).filter(|part| !part.is_empty())
}

/// Cells to pixels, edges rounded half to even; a box that would leave the canvas is moved inside.
fn pixels((width, height): (f64, f64), [x, y]: [f64; 2], canvas: Canvas) -> Option<PixelBox> {
    let edges = |center: f64, length: f64, side: u32| {
        let length = length.clamp(1.0, GRID);
        let start = (center - length / 2.0).clamp(0.0, GRID - length);
        let pixel = |cell: f64| (cell / GRID * f64::from(side)).round_ties_even();
        (pixel(start), pixel(start + length))
    };
    let (left, right) = edges(x, width, canvas.width());
    let (top, bottom) = edges(y, height, canvas.height());
    PixelBox::new(left, top, (right - left).max(1.0), (bottom - top).max(1.0)).ok()
}

/// Words before a noun that say how many there are, or which; the longest first.
const LEADS: [&str; 41] = [
    "a pair of",
    "a couple of",
    "a group of",
    "lots of",
    "a lot of",
    "a bunch of",
    "a row of",
    "a number of",
    "a handful of",
    "a few",
    "a dozen",
    "a single",
    "pair of",
    "couple of",
    "group of",
    "dozens of",
    "another",
    "several",
    "various",
    "multiple",
    "some",
    "many",
    "both",
    "each",
    "every",
    "this",
    "that",
    "these",
    "those",
    "his",
    "her",
    "its",
    "their",
    "my",
    "your",
    "our",
    "the",
    "any",
    "an",
    "a",
    "single",
];

/// A quotation without what stands before its noun.
struct Bare {
    text: String,
    /// Whether something stood there, so that the noun can be counted.
    is_counted: bool,
}

fn bare(quote: &str) -> Bare {
    let mut rest = quote.trim();
    let mut is_counted = false;
    loop {
        let lead = LEADS.iter().find(|lead| starts_with_words(rest, lead)).map(|lead| lead.len());
        let number = rest.split(' ').next().filter(|word| words::Words::of(word).number(0).is_some()).map(str::len);
        let Some(length) = lead.or(number).filter(|&length| length < rest.len()) else { break };
        rest = rest[length..].trim_start();
        is_counted = true;
    }
    Bare { text: uncapitalised(rest, quote), is_counted }
}

/// Whether `text` begins with these words and goes on after them.
fn starts_with_words(text: &str, words: &str) -> bool {
    text.get(..words.len()).is_some_and(|start| start.eq_ignore_ascii_case(words))
        && text[words.len()..].starts_with(' ')
}

/// `Two Red Apples` as `red apples` and `Three cats` as `cats`, but `Anna` as it is: only where a lower-case form is sure.
fn uncapitalised(rest: &str, quote: &str) -> String {
    let shouts = quote.chars().any(char::is_alphabetic) && !quote.chars().any(char::is_lowercase);
    let is_title = quote.split(' ').count() > 1
        && quote.split(' ').all(|word| word.chars().next().is_none_or(|c| c.is_uppercase() || !c.is_alphabetic()));
    if (shouts && quote.len() > 4) || is_title { rest.to_lowercase() } else { rest.to_owned() }
}

/// The name of one thing: `a red apple` of `two red apples`, `a cat` of `The cat`.
fn phrase(quote: &str, count: usize) -> String {
    let Bare { text, is_counted } = bare(quote);
    let one = if count > 1 { nouns::singular(&text) } else { text };
    match is_counted || count > 1 {
        true => format!("{} {one}", if one.starts_with(is_vowel) { "an" } else { "a" }),
        false => one,
    }
}

fn is_vowel(c: char) -> bool {
    "aeiouAEIOU".contains(c)
}

/// What is said when the caption tells no setting, and before a setting without a style.
pub(crate) const PLAIN_BACKGROUND: &str = "A realistic scene";
const PHOTO: &str = "A realistic photo";

/// Words that a setting begins with if it is no noun of its own.
const PREPOSITIONS: [&str; 15] = [
    "in",
    "on",
    "at",
    "inside",
    "under",
    "underwater",
    "during",
    "by",
    "against",
    "near",
    "across",
    "over",
    "amid",
    "outside",
    "within",
];

/// Prepositions that name the whole place: `in a park` is a park.
const WITHIN: [&str; 5] = ["in", "on", "at", "inside", "within"];

/// What one is in without its being a place.
const CONDITIONS: [&str; 16] = [
    "rain",
    "snow",
    "fog",
    "mist",
    "dark",
    "darkness",
    "morning",
    "evening",
    "afternoon",
    "night",
    "moonlight",
    "sunlight",
    "day",
    "background",
    "air",
    "wind",
];

/// The background prompt: `An oil painting of a park at night`.
fn background(styles: &[&str], settings: &[&str]) -> String {
    let (mut places, mut circumstances) = (Vec::new(), Vec::new());
    for &setting in settings {
        match place_of(setting) {
            Some(place) => places.push(place),
            None => circumstances.push(setting),
        }
    }
    let has_noun = settings.first().is_some_and(|setting| !is_circumstance(setting));
    let mut text = match (styles.first(), places.first()) {
        (None, None) => PLAIN_BACKGROUND.to_owned(),
        (None, Some(place)) if has_noun => (*place).to_owned(),
        (style, Some(place)) => format!("{} of {}", style.unwrap_or(&PHOTO), lower_first(place)),
        (Some(style), None) => format!("{style} of a scene"),
    };
    for circumstance in circumstances {
        text = format!("{text} {}", lower_first(circumstance));
    }
    for style in styles.iter().skip(1) {
        text = format!("{text}, {}", lower_first(style));
    }
    upper_first(&text)
}

/// The noun of a setting that is a place: all of `a kitchen`, the last two words of `in a park`, nothing of `at night`.
fn place_of(setting: &str) -> Option<&str> {
    if !is_circumstance(setting) {
        return Some(setting);
    }
    let (preposition, place) = setting.split_once(' ')?;
    let (article, noun) = place.split_once(' ')?;
    let is_one_of = |word: &str, list: &[&str]| list.iter().any(|known| word.eq_ignore_ascii_case(known));
    let last = noun.rsplit(' ').next().unwrap_or_default();
    let is_place = is_one_of(preposition, &WITHIN)
        && is_one_of(article, words::ARTICLES)
        && !is_one_of(last, &CONDITIONS)
        && !noun.to_lowercase().starts_with("front of");
    is_place.then_some(place)
}

fn is_circumstance(setting: &str) -> bool {
    let first = setting.split(' ').next().unwrap_or_default();
    PREPOSITIONS.iter().any(|preposition| first.eq_ignore_ascii_case(preposition))
}

fn upper_first(text: &str) -> String {
    let mut letters = text.chars();
    letters.next().map_or_else(String::new, |first| first.to_uppercase().chain(letters).collect())
}

fn lower_first(text: &str) -> String {
    let mut letters = text.chars();
    letters.next().map_or_else(String::new, |first| first.to_lowercase().chain(letters).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(caption: &str, answer: &str, expected: &str) {
        let layout = IndexedCaption::new(caption).read(answer, Canvas::PUBLISHED).unwrap();
        assert_eq!(sinopia_layout::write_answer(&layout), expected);
    }

    #[test]
    fn answers_are_read() {
        check(
            "two red apples to the left of a sleeping cat, no dogs",
            " 2<1><3>: 14 14 10 40 26 40; 1<8><10>: 26 24 48 42 | | |<12><12>",
            "[('a red apple', [24, 264, 112, 112]), ('a red apple', [152, 264, 112, 112]), ('a sleeping cat', [280, 240, 208, 192])]\nBackground prompt: A realistic scene\nNegative prompt: dogs",
        );
        check(
            "an oil painting of The old king on a beach at night, without any people or a dog, cubism",
            " 1<5><7>: 20 40 1 63 |<1><3>;<19><19> |<8><10>;<11><12> |<14><15>;<17><18>",
            "[('an old king', [0, 192, 160, 320])]\nBackground prompt: An oil painting of a beach at night, cubism\nNegative prompt: people, dog",
        );
        check(
            "an empty beach, no people, really no people",
            " | |<3><3> |<5><5>;<8><8>",
            "[]\nBackground prompt: Beach\nNegative prompt: people",
        );
        check("empty street", " | |<1><2>;<1><2> |", "[]\nBackground prompt: Empty street\nNegative prompt: ");
    }

    #[test]
    fn boxes_fill_any_canvas_and_stay_inside() {
        let canvas = Canvas::new(1024, 300).unwrap();
        let layout = IndexedCaption::new("3 cats").read(" 3<1><2>: 64 10 0 0 32 32 63 63 | | |", canvas).unwrap();
        assert!(layout.is_inside_canvas());
        assert_eq!(layout.objects[2].bbox, PixelBox::new(0.0, 253.0, 1024.0, 47.0).unwrap());
    }

    #[test]
    fn an_answer_of_another_form_is_none() {
        let two_cats = IndexedCaption::new("two cats");
        for answer in [
            "",
            " |",
            " 2<1><2>: 9 9 1 1 | | |",
            " 1<1><2>: 9 9 1 | | |",
            " x<1><2>: 9 9 1 1 | | |",
            " 1: 9 9 1 1 | | |",
            " 1<2><3>: 9 9 1 1 | | |",
            " 1<2><1>: 9 9 1 1 | | |",
            " 1<0><1>: 9 9 1 1 | | |",
            " | | | | |",
        ] {
            assert_eq!(two_cats.read(answer, Canvas::PUBLISHED), None, "{answer}");
        }
    }

    #[test]
    fn quotations_become_names_of_one_thing() {
        for (quote, count, expected) in [
            ("two red apples", 2, "a red apple"),
            ("5 cups of tea", 5, "a cup of tea"),
            ("a cat", 1, "a cat"),
            ("One dog", 1, "a dog"),
            ("the old man", 1, "an old man"),
            ("a pair of blorfs", 2, "a blorf"),
            ("several mice", 4, "a mouse"),
            ("birds", 3, "a bird"),
            ("bread", 1, "bread"),
            ("Anna", 1, "Anna"),
            ("Two Red Apples", 2, "a red apple"),
            ("A BIG DOG", 1, "a big dog"),
            ("a dozen eggs", 12, "an egg"),
            ("three girls reading a book", 3, "a girl reading a book"),
            ("one", 1, "one"),
        ] {
            assert_eq!(phrase(quote, count), expected, "{quote}");
        }
    }

    #[test]
    fn words_are_numbered_and_signs_left_out() {
        let caption = IndexedCaption::new("a  (red) cat;\tx-wings <7> “é”");
        assert_eq!(caption.prompt(Canvas::PUBLISHED), "square: a<1> (red<2>) cat<3>; x-wings<4> 7<5> “é<6>”");
        assert!(IndexedCaption::new("x").prompt(Canvas::new(768, 512).unwrap()).starts_with("wide: "));
        assert!(IndexedCaption::new("x").prompt(Canvas::new(512, 768).unwrap()).starts_with("tall: "));
        assert_eq!(IndexedCaption::new(" ... ").len(), 0);
    }

    #[test]
    fn names_end_before_signs_and_have_the_captions_number() {
        let grammar = IndexedCaption::new("two red apples, a cat and a pair of dogs, no old hats or coats").grammar();
        let quoted = |name: &str| {
            let of_name = |line: &'_ str| line.strip_prefix(&format!("{name}: ")).map(str::to_owned);
            grammar.lines().find_map(of_name).unwrap_or_default()
        };
        // Each has its place, in the caption's order.
        assert!(quoted("things").contains("required0x") && quoted("things").contains("required2x"), "{grammar}");
        assert_eq!((quoted("REQUIRED0X2"), quoted("REQUIRED0X1")), ("/<1><(3)>/".to_owned(), String::new()));
        assert_eq!((quoted("REQUIRED1X1"), quoted("REQUIRED2X2")), ("/<4><(5)>/".to_owned(), "/<7><(10)>/".to_owned()));
        assert_eq!((quoted("ABSENT11X"), quoted("ABSENT14X")), ("/<12><(13)>/".to_owned(), "/<15><(15)>/".to_owned()));
        assert_eq!(quoted("absent"), "ABSENT11X \";\" ABSENT14X");
    }

    #[test]
    fn what_the_caption_surely_names_is_required() {
        for (caption, required) in [
            ("cat", vec!["cat"]),
            ("apples and oranges", vec!["apples", "oranges"]),
            ("a photo of a bench", vec!["a bench"]),
            ("A photo of a beach with a blue dog and a yellow umbrella", vec!["a yellow umbrella"]),
            ("two dogs, one cat and three birds in a park", vec!["two dogs", "one cat", "three birds"]),
            ("a snowy mountain landscape at night, oil painting", vec![]),
            ("sunset over the ocean", vec![]),
            ("a room with no windows and two chairs", vec!["two chairs"]),
            ("a street market without any cars", vec![]),
            ("a can of soda", vec!["a can of soda"]),
            ("three watches", vec!["three watches"]),
            ("a big red present and a red watering can", vec!["a big red present", "a red watering can"]),
        ] {
            let caption = IndexedCaption::new(caption);
            let excluded = caption.excluded();
            let is_excluded =
                |start: usize, end: usize| excluded.iter().any(|range| range.start <= end && start < range.end);
            let last = |start: usize| caption.ends(start, NAME_BREAKS).last().unwrap();
            let named = |start: usize| caption.quote(&(start..=last(start))).unwrap();
            assert_eq!(caption.required_spans(&is_excluded).into_iter().map(named).collect::<Vec<_>>(), required);
        }
    }

    #[test]
    fn long_captions_name_things_and_no_other_words() {
        let caption = IndexedCaption::new(
            "This picture shows a calm street in the early evening. A black cat is sitting on the ground, two orange fishes swim in \
             the upper left corner, and above them a blue bird flies through the air. Several things are arranged with care, \
             a green bottle stands on the left of it, and there are no dogs anywhere.",
        );
        let no_one = |_: usize, _: usize| false;
        let named = |start: usize| {
            caption
                .ends(start, NAME_BREAKS)
                .filter(|&end| (1..=3).any(|count| caption.is_name(start, end, count)))
                .last()
        };
        let required: Vec<&str> = caption
            .required_spans(&no_one)
            .into_iter()
            .filter_map(|start| caption.quote(&(start..=named(start)?)))
            .collect();
        assert_eq!(required, ["A black cat", "two orange fishes", "a blue bird", "a green bottle"]);
        let others: Vec<&str> = (0..caption.len())
            .filter(|&start| caption.can_begin(start))
            .filter_map(|start| caption.quote(&(start..=named(start)?)))
            .filter(|name| !required.contains(name))
            .collect();
        assert_eq!(others, ["Several things", "dogs"]);
        assert_eq!(caption.excluded().len(), 1);
        assert_eq!(caption.quote(&(caption.excluded()[0].start..=caption.excluded()[0].end - 1)), Some("dogs"));
    }

    #[test]
    fn a_style_tells_no_content() {
        for (caption, style) in [
            ("a realistic photo of a scene without backpacks", "<1><(3)>"),
            ("a watercolor of two dogs", "<1><(2)>"),
            ("a house in the style of van gogh", "<4><(5|8)>"),
        ] {
            let grammar = IndexedCaption::new(caption).grammar();
            let styles = grammar.lines().find(|line| line.starts_with("STYLE:")).unwrap_or_default();
            assert!(styles.contains(style), "{caption}: {styles}");
            assert!(!styles.contains("<1><(3|"), "{caption}: {styles}");
        }
    }

    #[test]
    fn backgrounds() {
        for (style, settings, expected) in [
            ("", "", "A realistic scene"),
            ("", "in a park", "A realistic photo of a park"),
            ("", "in the rain", "A realistic scene in the rain"),
            ("", "in a park;on a rainy day", "A realistic photo of a park on a rainy day"),
            ("", "a kitchen;at night", "A kitchen at night"),
            ("A realistic photo", "", "A realistic photo of a scene"),
            ("A sketch", "In an indoor scene", "A sketch of an indoor scene"),
        ] {
            assert_eq!(background(&list(style).collect::<Vec<_>>(), &list(settings).collect::<Vec<_>>()), expected);
        }
    }
}
