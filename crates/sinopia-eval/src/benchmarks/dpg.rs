//! DPG-Bench's file format: long captions, and questions about each that a vision model answers.
//!
//! Hu et al. 2024 (ELLA), arXiv 2403.05135. The captions are the user's copy of `dpg_bench.csv`, a row a question. Questions depend on others: who is not there
//! has no colour. The published judge is mPLUG-large; here any [`crate::evaluators::VqaModel`] answers.

use std::collections::HashMap;
use std::path::Path;

use crate::benchmark::{Benchmark, Capability, ImageSize, Prediction, Protocol, Query, Sample, Verdict};
use crate::{Error, Result};

/// The columns that are read; files have others beside them.
const ITEM: &str = "item_id";
const TEXT: &str = "text";
const NUMBER: &str = "proposition_id";
const DEPENDENCY: &str = "dependency";
const CATEGORY: &str = "category_broad";
const QUESTION: &str = "question_natural_language";
/// The dependency of a question that has none.
const INDEPENDENT: u32 = 0;
/// Questions that a reason repeats.
const SHOWN: usize = 3;

/// One question.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Proposition {
    number: u32,
    parents: Vec<u32>,
    category: String,
    question: String,
    /// The published scorer takes the first row for the header's continuation and never asks it.
    is_first_row: bool,
}

/// The benchmark over a file of questions.
#[derive(Debug)]
pub struct Dpg {
    samples: Vec<Sample>,
    propositions: Vec<Vec<Proposition>>,
}

impl Dpg {
    /// The name on the command line, before the file.
    pub const NAME: &'static str = "dpg";

    /// Reads the text of `dpg_bench.csv`; `path` stands for it in messages.
    ///
    /// # Errors
    /// [`Error::Caption`] for a row that is not of this kind, [`Error::NoCaptions`] if there is none.
    pub fn from_csv(path: &Path, text: &str) -> Result<Self> {
        let problem =
            |line: u64, problem: String| Error::Caption { path: path.to_owned(), line: line as usize, problem };
        let broken = |error: csv::Error| problem(error.position().map_or(1, csv::Position::line), error.to_string());
        let mut reader = csv::Reader::from_reader(text.as_bytes());
        let columns = Columns::find(reader.headers().map_err(broken)?).map_err(|missing| problem(1, missing))?;
        let mut items: Vec<(String, String, Vec<Proposition>)> = Vec::new();
        let mut places: HashMap<String, usize> = HashMap::new();
        for (row, record) in reader.records().enumerate() {
            let record = record.map_err(broken)?;
            let line = record.position().map_or(1, csv::Position::line);
            let (item, caption, proposition) = columns.read(&record, row == 0).map_err(|error| problem(line, error))?;
            let place = *places.entry(item.clone()).or_insert_with(|| {
                items.push((item.clone(), caption.clone(), Vec::new()));
                items.len() - 1
            });
            let (_, known, propositions) = &mut items[place];
            if caption.split_whitespace().ne(known.split_whitespace()) {
                return Err(problem(line, format!("`{item}` had another text before")));
            }
            propositions.push(proposition);
        }
        if items.is_empty() {
            return Err(Error::NoCaptions { path: path.to_owned() });
        }
        let samples = Sample::number(items.iter().map(|(item, caption, _)| (source(item), caption.clone())));
        Ok(Self { samples, propositions: items.into_iter().map(|(_, _, propositions)| propositions).collect() })
    }
}

/// Where a caption was taken from, by its name: `partiprompts12` from `partiprompts`; `unnamed` for numbers.
fn source(item: &str) -> String {
    let name: String = item.chars().take_while(|c| !c.is_ascii_digit()).collect();
    let name = name.trim_end_matches(['_', '-', ' ']);
    if name.is_empty() { "unnamed".to_owned() } else { name.to_owned() }
}

/// Where the columns stand.
struct Columns([usize; 6]);

impl Columns {
    fn find(header: &csv::StringRecord) -> Result<Self, String> {
        let mut places = [0; 6];
        for (place, name) in places.iter_mut().zip([ITEM, TEXT, NUMBER, DEPENDENCY, CATEGORY, QUESTION]) {
            let found = header.iter().position(|column| column.trim_start_matches('\u{feff}').trim() == name);
            *place = found.ok_or_else(|| format!("there is no column `{name}`"))?;
        }
        Ok(Self(places))
    }

    /// Item, caption and question of a row.
    fn read(&self, record: &csv::StringRecord, is_first_row: bool) -> Result<(String, String, Proposition), String> {
        let [item, text, number, dependency, category, question] =
            self.0.map(|place| record.get(place).unwrap_or_default().trim());
        for (name, value) in [(ITEM, item), (TEXT, text), (QUESTION, question)] {
            if value.is_empty() {
                return Err(format!("`{name}` is empty"));
            }
        }
        let parse = |name: &str, text: &str| {
            // Table programs write whole numbers with a fraction.
            let text = text.trim().trim_end_matches(".0");
            text.parse::<u32>().map_err(|_| format!("`{name}` is `{text}`, not a number"))
        };
        let parents = dependency.split([',', ';']).filter(|part| !part.trim().is_empty());
        let parents = parents.map(|part| parse(DEPENDENCY, part)).collect::<Result<Vec<_>, _>>()?;
        let proposition = Proposition {
            number: parse(NUMBER, number)?,
            parents: parents.into_iter().filter(|parent| *parent != INDEPENDENT).collect(),
            category: category.to_owned(),
            question: question.to_owned(),
            is_first_row,
        };
        Ok((item.to_owned(), text.to_owned(), proposition))
    }
}

/// Which questions count: answered with yes, and so are all that they depend on, in the file's order.
fn holding(propositions: &[&Proposition], seen: &[Prediction]) -> Vec<bool> {
    let said = |proposition: &Proposition| seen.iter().any(|seen| seen.label == proposition.question);
    // A parent that comes later counts by its own answer.
    let mut held: HashMap<u32, bool> = propositions.iter().map(|one| (one.number, said(one))).collect();
    let holds = |proposition: &&Proposition| {
        // A parent that is not asked, as the published first row, or that is nowhere in the file decides nothing.
        let parents = &proposition.parents;
        let holds = said(proposition) && parents.iter().all(|parent| held.get(parent).copied().unwrap_or(true));
        held.insert(proposition.number, holds);
        holds
    };
    propositions.iter().map(holds).collect()
}

impl Benchmark for Dpg {
    fn name(&self) -> &'static str {
        Self::NAME
    }

    fn note(&self) -> &'static str {
        "DPG-Bench's captions and questions (arXiv 2403.05135): the mean share of questions answered with yes, those about what is not there counted as no. \
         Published figures are of four images a caption judged by mPLUG-large; with another model compare methods, not tables."
    }

    fn capability(&self) -> Capability {
        Capability::Answers
    }

    fn samples(&self) -> &[Sample] {
        &self.samples
    }

    fn queries(&self, sample: &Sample, _protocol: Protocol) -> Vec<Query> {
        let questions = self.propositions[sample.index].iter().enumerate();
        questions.map(|(group, proposition)| Query { text: proposition.question.clone(), group }).collect()
    }

    fn judge(&self, sample: &Sample, seen: &[Prediction], _size: ImageSize, protocol: Protocol) -> Verdict {
        let all = self.propositions[sample.index].iter();
        let asked: Vec<&Proposition> = all.filter(|p| protocol == Protocol::Strict || !p.is_first_row).collect();
        let held = holding(&asked, seen);
        let right = held.iter().filter(|holds| **holds).count();
        let wrong = asked.iter().zip(&held).filter(|(_, holds)| !**holds);
        let wrong: Vec<String> = wrong.map(|(p, _)| format!("{} ({})", p.question, p.category)).collect();
        let mut reason = format!("{right} of {} hold", asked.len());
        if !wrong.is_empty() {
            let more = if wrong.len() > SHOWN { format!("; and {} more", wrong.len() - SHOWN) } else { String::new() };
            reason = format!("{reason}; not: {}{more}", wrong[..wrong.len().min(SHOWN)].join("; "));
        }
        let score = if asked.is_empty() { 0.0 } else { right as f64 / asked.len() as f64 };
        Verdict { score, reason }
    }
}

#[cfg(test)]
mod tests {
    use sinopia_layout::PixelBox;

    use super::*;

    const HEADER: &str = "item_id,text,keywords,proposition_id,dependency,category_broad,category_detailed,tuple,question_natural_language\n";
    const ROWS: &str = r#"partiprompts1,"A red kite, and a dog",,1,0,entity,whole,"entity - whole (kite)",Is there a kite?
partiprompts1,"A red kite, and a dog",,2,1,attribute,color,"attribute - color (kite, red)",Is the kite red?
partiprompts1,"A red kite, and a dog",,3,0,entity,whole,"entity - whole (dog)",Is there a dog?
partiprompts1,"A red kite, and a dog",,4,"2,3",relation,spatial,"relation (kite, dog)",Is the red kite above the dog?
17,A lamp,,1,0,entity,whole,"entity - whole (lamp)",Is there a lamp?
"#;

    fn benchmark() -> Dpg {
        Dpg::from_csv(Path::new("dpg_bench.csv"), &format!("{HEADER}{ROWS}")).unwrap()
    }

    /// Scores by both protocols when these questions are answered with yes.
    fn scores(index: usize, yes: &[&str]) -> [f64; 2] {
        let (benchmark, bbox) = (benchmark(), PixelBox::new(0.0, 0.0, 9.0, 9.0).unwrap());
        let seen: Vec<Prediction> =
            yes.iter().map(|name| Prediction { label: (*name).to_owned(), score: 1.0, bbox }).collect();
        Protocol::ALL.map(|protocol| benchmark.judge(&benchmark.samples()[index], &seen, (9, 9).into(), protocol).score)
    }

    #[test]
    fn rows_become_captions_with_questions() {
        let benchmark = benchmark();
        let captions: Vec<(&str, &str)> =
            benchmark.samples().iter().map(|s| (s.task.as_str(), s.caption.as_str())).collect();
        assert_eq!(captions, [("partiprompts", "A red kite, and a dog"), ("unnamed", "A lamp")]);
        assert_eq!(benchmark.queries(&benchmark.samples()[0], Protocol::Published).len(), 4);
        assert_eq!(benchmark.capability(), Capability::Answers);
    }

    #[test]
    fn what_depends_on_something_absent_does_not_count() {
        let (kite, red, dog, above) =
            ("Is there a kite?", "Is the kite red?", "Is there a dog?", "Is the red kite above the dog?");
        assert_eq!(scores(0, &[kite, red, dog, above]), [1.0, 1.0]);
        assert_eq!(scores(0, &[kite, dog, above]), [1.0 / 3.0, 0.5], "above falls with red");
        // The published scorer never asks the first row, so the colour of a kite that is not there counts.
        assert_eq!(scores(0, &[red, dog, above]), [1.0, 0.25]);
        assert_eq!(scores(0, &[]), [0.0, 0.0]);
        assert_eq!(scores(1, &["Is there a lamp?"]), [1.0, 1.0]);
    }

    /// What files have beside the rule: dependencies on nothing, on what comes later and on what is not there.
    #[test]
    fn odd_dependencies_are_no_faults() {
        let rows = "1,a  red lamp,,1.0,3,e,w,t,Is it red?\n1,a red lamp,,2,,e,w,t,Is it lit?\n1,a red lamp,,3,7,e,w,t,Is there a lamp?\n";
        let benchmark = Dpg::from_csv(Path::new("dpg_bench.csv"), &format!("{HEADER}{ROWS}{rows}")).unwrap();
        let bbox = PixelBox::new(0.0, 0.0, 9.0, 9.0).unwrap();
        let score = |yes: &[&str]| {
            let seen: Vec<Prediction> =
                yes.iter().map(|name| Prediction { label: (*name).to_owned(), score: 1.0, bbox }).collect();
            benchmark.judge(&benchmark.samples()[2], &seen, (9, 9).into(), Protocol::Strict).score
        };
        assert_eq!(score(&["Is it red?", "Is it lit?", "Is there a lamp?"]), 1.0);
        assert_eq!(score(&["Is it red?", "Is it lit?"]), 1.0 / 3.0);
    }

    #[track_caller]
    fn refuses(rows: &str, part: &str) {
        let error = Dpg::from_csv(Path::new("dpg_bench.csv"), rows).unwrap_err().to_string();
        assert!(error.contains(part) && error.contains("dpg_bench.csv"), "{error}");
    }

    #[test]
    fn bad_rows_are_named() {
        refuses("item_id,text\n1,a\n", "line 1 of the captions");
        refuses("item_id,text\n1,a\n", "no column `proposition_id`");
        refuses(HEADER, "no captions");
        refuses(&format!("{HEADER}1,a lamp,,one,0,e,w,t,Is it?\n"), "`proposition_id` is `one`");
        refuses(&format!("{HEADER}1,a lamp,,1,x,e,w,t,Is it?\n"), "line 2 of the captions");
        refuses(&format!("{HEADER}1,a lamp,,1,x,e,w,t,Is it?\n"), "`dependency` is `x`");
        refuses(&format!("{HEADER}1,a lamp,,1,0,e,w,t,\n"), "`question_natural_language` is empty");
        refuses(&format!("{HEADER}1,a lamp,,1,0,e,w,t,A?\n1,a pear,,2,0,e,w,t,B?\n"), "another text before");
        refuses(&format!("{HEADER}1,a lamp\n"), "line");
    }
}
