//! Scores readings against a file of gold analyses: things, whole captions, relations.
//!
//! A gold file is a list of `{caption, things: [{phrase, count, count_max?, or?}], background, excluded, relations: [[subject, words, object]]}`, with `optional` (may be a thing or
//! not) and `thing_or_background` where people would differ. `or` is another reading of a thing or a list of them; `a|b` in a relation is either; what `somewhere` lists has to be a
//! thing or a setting.
//! A thing's `colours`, where given, are all of them. A relation to an empty object is a position in the picture.

use serde_json::Value;
use sinopia_english::{CaptionAnalysis, End, PositionKind, Relation, RelationKind, Thing, read, verb_stem};

/// What a file comes to.
#[derive(Debug, Default)]
pub(crate) struct Score {
    pub(crate) captions: usize,
    pub(crate) whole: usize,
    /// Things of the gold that were found with their number.
    pub(crate) found: usize,
    pub(crate) wanted: usize,
    /// Things that were read, found or not.
    pub(crate) read: usize,
    pub(crate) relations_found: usize,
    pub(crate) relations_wanted: usize,
    /// A line for each caption that is not whole or misses a relation.
    pub(crate) failures: Vec<String>,
}

impl Score {
    /// Harmonic mean of precision and recall of things.
    pub(crate) fn f1(&self) -> f64 {
        2.0 * self.found as f64 / (self.wanted + self.read).max(1) as f64
    }
}

/// Scores all captions of a gold file's text.
pub(crate) fn score(gold: &str) -> Score {
    let gold: Vec<Value> = serde_json::from_str(gold).expect("a list of captions");
    let mut score = Score::default();
    for case in &gold {
        add(&mut score, case);
    }
    score
}

fn strings<'a>(case: &'a Value, key: &str) -> Vec<&'a str> {
    case[key].as_array().into_iter().flatten().filter_map(Value::as_str).collect()
}

fn add(score: &mut Score, case: &Value) {
    let caption = case["caption"].as_str().expect("a caption");
    let analysis = read(caption);
    let mut faults = Vec::new();
    let wanted: Vec<&Value> = case["things"].as_array().into_iter().flatten().collect();
    let somewhere = strings(case, "somewhere");
    let either: Vec<&str> =
        [strings(case, "optional"), strings(case, "thing_or_background"), somewhere.clone()].concat();
    let mut free: Vec<&Thing> = analysis.things.iter().collect();
    let mut found = 0;
    for gold in &wanted {
        match free.iter().position(|thing| fits(thing, gold)) {
            Some(at) => {
                free.remove(at);
                found += 1;
            }
            None => faults.push(format!("missed {}", gold["phrase"])),
        }
    }
    free.retain(|thing| !either.iter().any(|either| names_match(either, &thing.phrase, &thing.name)));
    faults.extend(free.iter().map(|thing| format!("too much: {} × {}", thing.count.min, thing.phrase)));
    faults.extend(settings_faults(case, &analysis, &either));
    let nowhere = somewhere.iter().filter(|gold| !is_somewhere(gold, &analysis));
    faults.extend(nowhere.map(|gold| format!("missed {gold}, as a thing or a place")));
    let missed = missed_relations(case, &analysis);
    score.captions += 1;
    score.whole += usize::from(faults.is_empty());
    score.found += found;
    score.wanted += wanted.len();
    score.read += found + free.len();
    let relations = case["relations"].as_array().map_or(0, Vec::len);
    score.relations_wanted += relations;
    score.relations_found += relations - missed.len();
    if !faults.is_empty() || !missed.is_empty() {
        score
            .failures
            .push(format!("{caption}\n    {}", faults.into_iter().chain(missed).collect::<Vec<_>>().join("; ")));
    }
}

/// Whether a word of some thing or setting is the last word of `gold`.
fn is_somewhere(gold: &str, analysis: &CaptionAnalysis) -> bool {
    let settings = analysis.places.iter().chain(&analysis.weather).map(|setting| &setting.phrase);
    let mut phrases = analysis.things.iter().map(|thing| &thing.phrase).chain(settings);
    phrases.any(|phrase| phrase.split(' ').any(|word| last_word(word) == last_word(gold)))
}

fn fits(thing: &Thing, gold: &Value) -> bool {
    let one = |gold: &Value| {
        let min = gold["count"].as_u64().unwrap_or(1) as u32;
        let max = gold["count_max"].as_u64().map_or(min, |max| max as u32);
        let phrase = gold["phrase"].as_str().unwrap_or("");
        let is_range = gold["count_max"].is_u64();
        let counts = thing.count.min >= min && thing.count.min <= max && (is_range || thing.count.max == max);
        counts && has_colours(thing, gold) && is_called(thing, phrase)
    };
    let others = gold["or"].as_array().cloned().unwrap_or_else(|| vec![gold["or"].clone()]);
    one(gold) || others.iter().any(|other| other.is_object() && one(other))
}

/// By its name, its phrase, or the end of its phrase with some of its adjectives: `granite statue` of `majestic granite statue of a warrior`.
fn is_called(thing: &Thing, gold: &str) -> bool {
    let front = thing.phrase.split(" of ").next().unwrap_or(&thing.phrase);
    let ends_so = |phrase: &str| normal(phrase).ends_with(&format!(" {}", normal(gold)));
    names_match(gold, &thing.phrase, &thing.name)
        || with_colours(thing, gold)
        || ends_so(front)
        || ends_so(&thing.phrase)
}

fn has_colours(thing: &Thing, gold: &Value) -> bool {
    let Some(wanted) = gold["colours"].as_array() else { return true };
    wanted.len() == thing.colours.len()
        && wanted.iter().filter_map(Value::as_str).all(|colour| thing.colours.iter().any(|found| found == colour))
}

fn with_colours(thing: &Thing, gold: &str) -> bool {
    let before: String = thing.colours.iter().map(|colour| format!("{colour} ")).collect();
    normal(gold) == normal(&format!("{before}{}", thing.name))
}

/// In small letters, without articles, the last word in the singular.
pub(crate) fn normal(phrase: &str) -> String {
    let lower = phrase.to_lowercase();
    let words = lower.split_whitespace().filter(|word| !matches!(*word, "a" | "an" | "the" | "his" | "her" | "its"));
    words.map(one).collect::<Vec<_>>().join(" ")
}

fn one(word: &str) -> String {
    let irregular = [
        ("people", "person"),
        ("children", "child"),
        ("men", "man"),
        ("women", "woman"),
        ("mice", "mouse"),
        ("cherries", "cherry"),
        ("geese", "goose"),
    ];
    if let Some((_, one)) = irregular.iter().find(|(many, _)| *many == word) {
        return (*one).to_owned();
    }
    let stem = word.strip_suffix("ies").map(|stem| format!("{stem}y"));
    stem.or_else(|| {
        ["xes", "shes", "ches", "sses"]
            .iter()
            .find(|end| word.ends_with(**end))
            .map(|_| word[..word.len() - 2].to_owned())
    })
    .or_else(|| word.strip_suffix('s').filter(|stem| !stem.ends_with('s')).map(str::to_owned))
    .unwrap_or_else(|| word.to_owned())
}

pub(crate) fn names_match(gold: &str, phrase: &str, name: &str) -> bool {
    let gold = normal(gold);
    gold == normal(phrase) || gold == normal(name)
}

fn settings_faults(case: &Value, analysis: &CaptionAnalysis, either: &[&str]) -> Vec<String> {
    let settings = || analysis.places.iter().chain(&analysis.weather).chain(&analysis.times);
    let wanted = strings(case, "background");
    let mut faults: Vec<String> = Vec::new();
    for gold in &wanted {
        if !settings().any(|setting| {
            names_match(gold, &setting.phrase, &setting.name) || normal(&setting.phrase).contains(&normal(gold))
        }) {
            faults.push(format!("missed background {gold}"));
        }
    }
    for place in &analysis.places {
        let is_wanted = |gold: &&str| {
            names_match(gold, &place.phrase, &place.name) || normal(&place.phrase).contains(&normal(gold))
        };
        if !wanted.iter().any(is_wanted) && !either.iter().any(is_wanted) {
            faults.push(format!("too much background: {}", place.phrase));
        }
    }
    let excluded = strings(case, "excluded");
    for gold in &excluded {
        if !analysis.exclusions.iter().any(|exclusion| names_match(gold, &exclusion.phrase, &exclusion.name)) {
            faults.push(format!("missed exclusion {gold}"));
        }
    }
    if analysis.exclusions.len() > excluded.len() {
        faults.push(format!(
            "too many exclusions: {:?}",
            analysis.exclusions.iter().map(|exclusion| &exclusion.phrase).collect::<Vec<_>>()
        ));
    }
    faults
}

fn missed_relations(case: &Value, analysis: &CaptionAnalysis) -> Vec<String> {
    let gold = case["relations"].as_array().into_iter().flatten();
    gold.filter(|gold| !has_relation(gold, analysis)).map(|gold| format!("missed relation {gold}")).collect()
}

/// A cell may hold several readings: `on|in`.
fn has_relation(gold: &Value, analysis: &CaptionAnalysis) -> bool {
    let cells = |i: usize| gold[i].as_str().unwrap_or("").split('|');
    cells(0).any(|subject| {
        cells(1).any(|words| cells(2).any(|object| has_one_relation([subject, words, object], analysis)))
    })
}

fn has_one_relation(gold: [&str; 3], analysis: &CaptionAnalysis) -> bool {
    let cell = |i: usize| gold[i];
    if (cell(1) == "at" || cell(2).is_empty())
        && !analysis.things.iter().any(|thing| last_word(&thing.name) == last_word(cell(2)))
    {
        let wanted = if cell(2).is_empty() { cell(1) } else { cell(2) };
        return analysis.positions.iter().any(|position| {
            position_name(position.at) == wanted
                && last_word(&analysis.things[position.thing].name) == last_word(cell(0))
        });
    }
    analysis.relations.iter().any(|relation| {
        let ends = is_end(analysis, relation.subject, cell(0)) && is_end(analysis, relation.object, cell(2));
        let swapped = is_end(analysis, relation.subject, cell(2)) && is_end(analysis, relation.object, cell(0));
        ends && says(relation, cell(1))
            || swapped && inverse(relation.kind).is_some_and(|kind| kinds(cell(1)).contains(&kind))
    })
}

fn position_name(at: PositionKind) -> &'static str {
    match at {
        PositionKind::Left => "left",
        PositionKind::Right => "right",
        PositionKind::Middle => "middle",
        PositionKind::Top => "top",
        PositionKind::Bottom => "bottom",
        PositionKind::Row => "row",
        PositionKind::Circle => "circle",
        PositionKind::TopLeft => "top left",
        PositionKind::TopRight => "top right",
        PositionKind::BottomLeft => "bottom left",
        PositionKind::BottomRight => "bottom right",
        PositionKind::Foreground => "foreground",
        PositionKind::Background => "background",
        PositionKind::Column => "column",
        PositionKind::Stack => "stack",
        PositionKind::Group => "group",
    }
}

fn last_word(name: &str) -> String {
    one(name.rsplit(' ').next().unwrap_or(name).to_lowercase().as_str())
}

fn is_end(analysis: &CaptionAnalysis, end: End, gold: &str) -> bool {
    let (name, head) = match end {
        End::Thing(i) => (&analysis.things[i].name, &analysis.things[i].head),
        End::Place(i) => (&analysis.places[i].name, &analysis.places[i].phrase),
    };
    let gold = last_word(gold);
    last_word(name) == gold || last_word(head) == gold
}

/// The kinds that gold words may be read as.
pub(crate) fn kinds(words: &str) -> Vec<RelationKind> {
    use RelationKind::*;
    match words {
        "next to" | "beside" | "near" => vec![NextTo],
        "on top of" | "on" => vec![On],
        "over" | "above" => vec![Above],
        "under" | "underneath" | "beneath" => vec![Under, Below],
        "below" => vec![Below, Under],
        "in" | "inside" | "into" => vec![In],
        "left of" => vec![LeftOf],
        "right of" => vec![RightOf],
        "bigger than" => vec![BiggerThan],
        "smaller than" => vec![SmallerThan],
        "around" => vec![Around],
        "at" => vec![At, In],
        _ => RelationKind::from_name(&words.replace(' ', "_")).into_iter().collect(),
    }
}

fn inverse(kind: RelationKind) -> Option<RelationKind> {
    use RelationKind::*;
    Some(match kind {
        LeftOf => RightOf,
        RightOf => LeftOf,
        Above => Below,
        Below => Above,
        NextTo => NextTo,
        InFrontOf => Behind,
        Behind => InFrontOf,
        _ => return None,
    })
}

fn first_word(words: &str) -> &str {
    words.split(' ').next().unwrap_or(words)
}

fn says(relation: &Relation, words: &str) -> bool {
    let kinds = kinds(words);
    let is_verb = relation.kind == RelationKind::Action || kinds.is_empty();
    kinds.contains(&relation.kind) || is_verb && verb_stem(first_word(&relation.words)) == verb_stem(first_word(words))
}
