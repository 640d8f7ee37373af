//! Whether the background prompt has what surrounds the things, and not the things themselves.

use std::collections::HashSet;

use sinopia_english::{CaptionAnalysis, NounClass, Setting};

use super::finding::{BackgroundProblem, Finding, Problem};
use super::naming::{Named, Noun, words_of};

/// Places and styles that any background is, in the words of the reading.
const ANY: [&str; 8] = ["scene", "background", "picture", "photo", "image", "view", "place", "setting"];

/// What has a box and is in the background prompt too.
pub(super) fn repeats(layout: &Named<'_>) -> Vec<Finding> {
    let named: HashSet<&str> = layout.background.nouns.iter().flat_map(Noun::names).collect();
    let mut told = HashSet::new();
    let heads = layout.boxes.iter().map(|name| name.noun.head.as_str());
    let repeated = heads.filter(|head| named.contains(head) && told.insert(*head));
    repeated.map(|head| remark(BackgroundProblem::Repeats(head.to_owned()))).collect()
}

/// Places, weather, times and styles of the caption that the layout has nowhere.
pub(super) fn lacks(analysis: &CaptionAnalysis, layout: &Named<'_>) -> Vec<Finding> {
    let CaptionAnalysis { places, weather, times, styles, .. } = analysis;
    let settings = places.iter().chain(weather).chain(times).filter(|setting| !is_told(setting, layout));
    let styles = styles.iter().filter(|style| !is_style_told(style, layout));
    let lacked = settings.chain(styles).filter(|setting| !ANY.contains(&setting.name.as_str()));
    let mut told = HashSet::new();
    let lacked = lacked.filter(|setting| told.insert(setting.name.as_str()));
    lacked.map(|setting| remark(BackgroundProblem::Lacks(phrase(setting)))).collect()
}

fn is_told(setting: &Setting, layout: &Named<'_>) -> bool {
    let last = setting.name.rsplit(' ').next().unwrap_or(&setting.name);
    let noun = Noun::new(&setting.name, last, NounClass::Place);
    let is_general = layout.background.nouns.iter().any(|named| noun.is_a(named));
    is_general || layout.mentions(&noun) || is_style_told(setting, layout)
}

/// Whether a word of it is anywhere.
fn is_style_told(style: &Setting, layout: &Named<'_>) -> bool {
    let words: HashSet<String> = words_of(&style.phrase).union(&words_of(&style.name)).cloned().collect();
    let mut texts = std::iter::once(&layout.background.words).chain(layout.boxes.iter().map(|name| &name.words));
    texts.any(|text| !words.is_disjoint(text))
}

/// With its preposition: `in the snow` is no thing called snow.
fn phrase(setting: &Setting) -> String {
    format!("{} {}", setting.preposition, setting.phrase).trim_start().to_owned()
}

fn remark(problem: BackgroundProblem) -> Finding {
    Finding::remark(Problem::Background(problem))
}
