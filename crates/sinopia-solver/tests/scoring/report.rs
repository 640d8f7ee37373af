//! What the layouts of a file of captions come to.

use std::fmt;

use serde_json::Value;
use sinopia_english::read;
use sinopia_layout::Layout;

use super::geometry::Relations;
use super::gold::{Gold, Row};
use super::readings::{self, Score};
use super::verdict::{self, Verdict};

/// Sums over a file's captions.
#[derive(Default)]
pub(crate) struct Totals {
    pub(crate) captions: usize,
    pub(crate) without_layout: usize,
    pub(crate) whole: usize,
    found: usize,
    wanted: usize,
    drawn: usize,
    pub(crate) gold: Count,
    pub(crate) reading: Count,
    pub(crate) outside: usize,
    pub(crate) overlaps: usize,
    repeated: usize,
    pub(crate) lost: usize,
}

/// Relations by what geometry says.
#[derive(Default)]
pub(crate) struct Count {
    pub(crate) hold: usize,
    pub(crate) doubtful: usize,
    pub(crate) broken: usize,
    not_judged: usize,
}

impl Count {
    fn add(&mut self, relations: &Relations) {
        self.hold += relations.hold;
        self.doubtful += relations.doubtful.len();
        self.broken += relations.broken.len();
        self.not_judged += relations.not_judged;
    }
}

impl fmt::Display for Count {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { hold, doubtful, broken, not_judged } = self;
        write!(f, "{hold} hold, {doubtful} doubtful, {broken} broken, {not_judged} not judged")
    }
}

impl Totals {
    fn add(&mut self, row: &Row, verdict: &Verdict) {
        self.captions += 1;
        self.whole += usize::from(verdict.faults.is_empty());
        self.found += verdict.found;
        self.wanted += row.things.len();
        self.drawn += verdict.drawn;
        self.gold.add(&verdict.gold);
        self.reading.add(&verdict.reading);
        self.outside += verdict.outside.len();
        self.overlaps += verdict.overlaps.len();
        self.repeated += verdict.repeated.len();
        self.lost += verdict.lost.len();
    }
}

/// What a file comes to.
pub(crate) struct Report {
    /// None of a file of captions without gold.
    readings: Option<Score>,
    pub(crate) layouts: Totals,
    /// Caption by caption.
    pub(crate) failures: Vec<String>,
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let layouts = &self.layouts;
        if let Some(score) = &self.readings {
            let (whole, captions, f1) = (score.whole, score.captions, score.f1());
            let (relations, wanted) = (score.relations_found, score.relations_wanted);
            writeln!(f, "  readings: whole {whole}/{captions}, things F1 {f1:.2}, relations {relations}/{wanted}")?;
            let f1 = 2.0 * layouts.found as f64 / (layouts.wanted + layouts.drawn).max(1) as f64;
            writeln!(f, "  layouts: whole {}/{}, things F1 {f1:.2}", layouts.whole, layouts.captions)?;
            writeln!(f, "  gold's relations in geometry: {}", layouts.gold)?;
        }
        writeln!(f, "  reading's relations in geometry: {}", layouts.reading)?;
        write!(
            f,
            "  without a layout {}, boxes outside {}, unwanted overlaps {}, things in the background too {}, things read that have no box {}",
            layouts.without_layout, layouts.outside, layouts.overlaps, layouts.repeated, layouts.lost
        )
    }
}

/// Scores the layouts of a file, in the order of its rows. A file of captions without gold is only checked for what the reading and the boxes say.
pub(crate) fn score(gold: &Gold, layouts: &[Result<Layout, String>]) -> Report {
    let readings = (!gold.values.is_empty()).then(|| readings::score(&Value::from(gold.values.clone()).to_string()));
    let readings_that_fail = readings.iter().flat_map(|score| &score.failures);
    let mut failures: Vec<String> = readings_that_fail.map(|failure| format!("reading: {failure}")).collect();
    let mut totals = Totals::default();
    for (row, layout) in gold.rows.iter().zip(layouts) {
        let verdict = match layout {
            Ok(layout) if readings.is_some() => verdict::judge(row, &read(&row.caption), layout),
            Ok(layout) => verdict::check(row, &read(&row.caption), layout),
            Err(reason) => {
                totals.without_layout += 1;
                Verdict { faults: vec![format!("no layout: {reason}")], ..Verdict::default() }
            }
        };
        totals.add(row, &verdict);
        failures.extend(failure(&row.caption, &verdict));
    }
    Report { readings, layouts: totals, failures }
}

/// A caption with all that is wrong with its layout.
fn failure(caption: &str, verdict: &Verdict) -> Option<String> {
    let told = |word: &'static str, list: &[String]| -> Vec<String> {
        list.iter().map(|relation| format!("{word}: {relation}")).collect()
    };
    let all = [
        verdict.faults.clone(),
        told("broken", &verdict.gold.broken),
        told("doubtful", &verdict.gold.doubtful),
        told("broken as read", &verdict.reading.broken),
        told("doubtful as read", &verdict.reading.doubtful),
        verdict.lost.clone(),
        verdict.outside.clone(),
        verdict.overlaps.clone(),
        verdict.repeated.clone(),
    ]
    .concat();
    (!all.is_empty()).then(|| format!("layout: {caption}\n    {}", all.join("; ")))
}
