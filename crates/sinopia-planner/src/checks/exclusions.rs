//! Whether what the caption excludes is left out: no box, not in the background, but in the negative prompt.

use sinopia_english::{CaptionAnalysis, Exclusion, NounClass, Nouns};

use super::finding::{ExclusionProblem, Finding, Problem};
use super::matching::{Matching, Wanted};
use super::naming::{Named, Noun, words_of};

pub(super) fn find(
    analysis: &CaptionAnalysis,
    wanted: &[Wanted<'_>],
    matching: &Matching,
    layout: &Named<'_>,
) -> Vec<Finding> {
    analysis.exclusions.iter().flat_map(|exclusion| Excluded::new(exclusion, wanted).find(matching, layout)).collect()
}

pub(super) struct Excluded<'a> {
    pub(super) phrase: &'a str,
    pub(super) noun: Noun,
    /// What describes it: only red hats are excluded by `no red hat`.
    pub(super) marks: Vec<String>,
    /// Whether it is a known noun, and nothing of that name is wanted: `a dog without a hat beside a man with a hat`.
    pub(super) is_sure: bool,
}

impl<'a> Excluded<'a> {
    pub(super) fn new(exclusion: &'a Exclusion, wanted: &[Wanted<'_>]) -> Self {
        let nouns = Nouns::embedded();
        let head = exclusion.name.rsplit(' ').next().unwrap_or(&exclusion.name);
        let class = nouns.class(&exclusion.name).or_else(|| nouns.class(head));
        let noun = Noun::new(&exclusion.name, head, class.unwrap_or(NounClass::Object));
        let is_wanted = wanted.iter().any(|wanted| {
            let has_part = wanted.thing.parts.iter().any(|part| part.name == exclusion.name);
            has_part || wanted.noun.is_same(&noun)
        });
        let name = words_of(&exclusion.name);
        let own = |word: &String| name.contains(&sinopia_layout::nouns::singular(word)) || name.contains(word);
        let described = exclusion.phrase.to_lowercase();
        let marks = described.split_whitespace().map(str::to_owned).filter(|word| !own(word));
        // `nobody` is `people`, whose singular is a person: what is no adjective describes nothing.
        let marks = marks.filter(|word| !nouns.contains(&sinopia_layout::nouns::singular(word))).collect();
        Self { phrase: &exclusion.phrase, noun, marks, is_sure: class.is_some() && !is_wanted }
    }

    fn find(&self, matching: &Matching, layout: &Named<'_>) -> Vec<Finding> {
        let mut problems = Vec::new();
        let phrase = || self.phrase.to_owned();
        let negative = &layout.negative;
        let is_covered = negative.mentions(&self.noun)
            || negative.nouns.iter().any(|named| self.noun.is_a(named) || named.is_a(&self.noun));
        if !is_covered {
            problems.push(Finding::new(self.is_sure, Problem::Excluded(ExclusionProblem::NotInNegative(phrase()))));
        }
        let boxes = layout.boxes.iter().zip(&layout.layout.objects).zip(&matching.is_taken);
        let boxed = boxes
            .filter(|(_, is_taken)| !**is_taken)
            .map(|(named, _)| named)
            .find(|(name, _)| name.noun.is_a(&self.noun) && self.marks.iter().all(|mark| name.words.contains(mark)));
        if let Some((_, object)) = boxed {
            let problem = ExclusionProblem::Box(phrase(), object.phrase.clone());
            problems.push(Finding::new(self.is_sure, Problem::Excluded(problem)));
        }
        let background = &layout.background;
        let is_described = self.marks.iter().all(|mark| background.words.contains(mark));
        let shows = background.nouns.iter().any(|named| named.is_a(&self.noun)) && is_described;
        // Even that there are none makes a diffusion model think of them.
        let denies = background.analysis.exclusions.iter().any(|exclusion| exclusion.name == self.noun.name);
        if shows || denies {
            let problem = Problem::Excluded(ExclusionProblem::Background(phrase()));
            problems.push(Finding::new(shows && self.is_sure, problem));
        }
        problems
    }
}
